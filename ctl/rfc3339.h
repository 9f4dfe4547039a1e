/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Points in time as RFC 3339 writes them: any offset in, UTC with milliseconds
 * out. The calendar is computed here, so that neither the time zone of the
 * daemon nor a lock of the C library has a say. Pure.
 */
#ifndef TANDEMFS_RFC3339_H
#define TANDEMFS_RFC3339_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define RFC3339_MAX 32

/*
 * 2026-11-20T16:50:03.217Z, 2026-11-20t17:50:03+01:00. Without
 * need_seconds also 2026-11-20T16:50Z. A leap second is the first moment after
 * it. -EINVAL for anything else; an offset is never guessed.
 */
int rfc3339_parse(const char *s, bool need_seconds, struct timespec *out);

/* For the years 0 to 9999, and "-" for other times; returns buf. */
const char *rfc3339_format(char buf[RFC3339_MAX], const struct timespec *t);
/* The same of milliseconds since 1970. */
const char *rfc3339_format_ms(char buf[RFC3339_MAX], uint64_t ms);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Values as a user types them and reads them. Each parser takes the whole
 * string or refuses it with -EINVAL: no blanks, no signs, no hexadecimal, no
 * exponents, nothing left over, nothing that overflows. Pure.
 */
#ifndef TANDEMFS_VALUES_H
#define TANDEMFS_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enumerations.h"

/* Decimal digits, at most max. */
int value_number(const char *s, uint64_t max, uint64_t *out);
/* Bytes: a number, or one with K, M, G or T (powers of 1024, either case). */
int value_size(const char *s, uint64_t *bytes);
/* A number with ms, s, m, h or d. The unit is required: 30 could be either. */
int value_duration(const char *s, uint64_t *ms);
/* true or false, or their numbers 1 and 0. */
int value_bool(const char *s, bool *out);

/* By name in any case, or by number; NULL when it is neither. `list` ends with a NULL name. */
const struct enum_value *value_enum(const struct enum_value *list, const char *s);

#define VALUE_TEXT_MAX 40

/* These write at most VALUE_TEXT_MAX bytes to buf and return it. */

/* 10G, or one decimal: 1.5G. */
const char *value_human_size(char *buf, uint64_t bytes);
/* The two greatest units: 3d4h, 4h12m, 1m5s, 45s. */
const char *value_age(char *buf, uint64_t seconds);
/* 12.3s; what is shorter than a tenth of a second is 0.0s. */
const char *value_seconds(char *buf, uint64_t ns);
const char *value_uuid(char *buf, const uint8_t id[16]);

#endif

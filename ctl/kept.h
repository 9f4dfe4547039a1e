/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From how a moment is written to the kept state that it means. */
#ifndef TANDEMFS_KEPT_H
#define TANDEMFS_KEPT_H

#include "snapshots.h"

/* A disk as it is now is of no generation that is kept. */
#define GENERATION_NOW UINT64_MAX

/*
 * The newest kept state not later than `text`; for `now` the disk itself,
 * GENERATION_NOW. -EINVAL: it is no moment. -ENOENT: it is in the future, or
 * before everything that is kept, or there is no such snapshot. -ESTALE: the
 * disk's past is not trusted. With why, which may be NULL.
 */
int kept_find(struct disk *d, const char *text, struct moment_record *out, struct why *why);
/* The same, but `now` is the newest kept state too. */
int kept_find_past(struct disk *d, const char *text, struct moment_record *out, struct why *why);
/* "A..B": *b may be GENERATION_NOW. -ENOENT also when A is later than B. */
int kept_find_range(struct disk *d, const char *text, uint64_t *a, uint64_t *b);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tandemfs check DISKDIR: whether what tandemfs keeps is whole, and fits what it keeps it of. The
 * images are not in use meanwhile, and nothing is changed: every file is opened for reading only,
 * nothing is replayed, nothing mended.
 */
#ifndef TANDEMFS_STATE_CHECK_H
#define TANDEMFS_STATE_CHECK_H

#include <stdbool.h>
#include <stdio.h>

/* As fsck's. */
enum check_result {
	CHECK_CLEAN = 0,
	CHECK_PENDING = 1, /* nothing is wrong, but the next start has something to do */
	CHECK_FAULTS = 4,
	CHECK_IMPOSSIBLE = 8, /* somebody serves it, or it cannot be read */
	CHECK_USAGE = 16,
};

struct state_check_options {
	const char *disk_dir, *state_dir; /* state_dir NULL: DISKDIR/.tandem */
	bool quiet;                       /* only faults, and no summary */
	bool json;
	bool data; /* the content of every record of the stores is read, too */
};

/* The report goes to out, why it cannot be done to err. */
enum check_result state_check(const struct state_check_options *o, FILE *out, FILE *err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does a format lose anything? Random work on a disk in a fake file, and at
 * every point of it what a power cut, or a kill of the program, may leave is
 * opened, read and compared with a model (disk_model.h); then it is worked on,
 * with another end in the middle of that.
 *
 *   power cut   each sector of the file is as it was at any time since the last
 *               flush; the notes are of another boot. What was flushed is there,
 *               and no sector holds what was never there.
 *   kill        the file and the notes are as they are. All that was
 *               acknowledged is there.
 *
 * Works through the members of struct image_format alone. What an end left is
 * used in the thread, and in the midst of the call, that it interrupted.
 */
#ifndef TESTS_CONTAINER_H
#define TESTS_CONTAINER_H

#include "image.h"

enum container_work {
	WORK_NONE,
	WORK_START, /* start, and the first change after it */
	WORK_WRITE,
	WORK_ZERO,
	WORK_FLUSH,
	WORK_GROW,
	WORK_REST,
	WORK_KINDS
};

struct container_case {
	const struct image_format *format;
	const char *kind;     /* for create */
	uint64_t size, max;   /* of the disk at first; it grows up to max (0: never) */
	uint32_t unit;        /* work is around multiples of it: the block size, or the like */
	uint32_t block_size;  /* for create; 0: the format's choice */
	uint32_t sector_size; /* likewise */
	const char *parent;   /* a kind: the disk has a parent of that */
	uint64_t parent_size;
	bool together; /* requests run while others do */
	bool ordered;  /* fake_ordered() */
	/* The nth flush of the file in each of such operations does nothing; 0: none. */
	enum container_work lose;
	unsigned lose_nth;
};

#define CONTAINER_WHY 1000

/*
 * So many of such ends. True if all was well; otherwise `why` says what was not,
 * with the seed that brings it back (unless `together`): TANDEMFS_SEED in the
 * environment counts before `seed`. Makes its directory with unit_dir().
 */
bool container_power_cuts(const struct container_case *c, uint64_t seed, unsigned cuts,
			  char why[CONTAINER_WHY]);
bool container_kills(const struct container_case *c, uint64_t seed, unsigned kills,
		     char why[CONTAINER_WHY]);

#endif

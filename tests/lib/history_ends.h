/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does a disk with a past lose anything? Random work on one, in fake files and a
 * real catalogue, and at every call that changes a file, before and after it,
 * what an end there leaves is opened, completed, and compared:
 *
 *   kill        image, log, store and catalogue are as they are. All that was
 *               acknowledged is there, and every moment that was recorded.
 *   power cut   of each file each sector is as it was at any time since its last
 *               flush, the catalogue is what its last commit left. All that was
 *               flushed is there, and every moment that was flushed and recorded.
 *
 * Then it is worked on, with other ends in the midst of that, and of completing.
 *
 * A moment of kept history is recorded without a flush: what a power cut leaves of
 * one that was not flushed must only stay as it was found.
 */
#ifndef TESTS_HISTORY_ENDS_H
#define TESTS_HISTORY_ENDS_H

#include <stdbool.h>
#include <stdint.h>

#include "image.h"

enum history_file {
	HISTORY_NONE,
	HISTORY_IMAGE,
	HISTORY_LOG,
	HISTORY_STORE,
};

enum history_work {
	HISTORY_OPEN,
	HISTORY_WRITE,
	HISTORY_ZERO,
	HISTORY_FLUSH,
	HISTORY_SNAPSHOT,
	HISTORY_TICK,
	HISTORY_DROP,
	HISTORY_SETTLE,
	HISTORY_RESIZE,
	HISTORY_REST,
	HISTORY_FILL,
	HISTORY_RESTORE,
	HISTORY_REFILL,
	HISTORY_ABORT,
	HISTORY_WORKS
};

struct history_case {
	uint32_t block_size;
	uint64_t size, max; /* of the disk at first; it grows up to max */
	/* A container that takes space in units of that size; NULL: raw. */
	const struct image_format *format;
	const char *kind;
	uint32_t unit;
	/* It is a clone of another disk, which is not written, and is filled now and then. */
	bool is_clone;
	/* Flushes of this file in the midst of such work do nothing. */
	enum history_file lose;
	enum history_work lose_in;
};

#define HISTORY_WHY 1000

/*
 * So many ends, of both kinds. True if all was well; otherwise `why` says what
 * was not, with the seed that brings it back: TANDEMFS_SEED in the environment
 * counts before `seed`. Makes its directories with unit_dir().
 */
bool history_ends(const struct history_case *c, uint64_t seed, unsigned ends,
		  char why[HISTORY_WHY]);

#endif

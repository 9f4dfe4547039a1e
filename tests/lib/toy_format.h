/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A container that is as small as can be, and is wrong on demand: what the tests
 * of containers are tested with.
 *
 *   sector 0       magic, size of the disk
 *   sectors 1..4   the table: for each block its place, 4 bytes; 0: zeros
 *   from 4 KiB on  places of 4 KiB, the first one is number 1
 *
 * A flush: D(data) -> table -> D. Changes of the table are noted.
 */
#ifndef TESTS_TOY_FORMAT_H
#define TESTS_TOY_FORMAT_H

#include "image.h"

enum toy_mistake {
	TOY_RIGHT,
	TOY_TABLE_FIRST,       /* the table is written before the data is durable */
	TOY_TABLE_NOT_FLUSHED, /* no D behind the table */
	TOY_TABLE_LATE,        /* a flush writes the table of the moment after its first D */
	TOY_PLACE_TOO_EARLY,   /* a discarded block's place is used before the table forgets it */
	TOY_PLACE_NOT_CLEAN,   /* what another block left in a place shows */
	TOY_SIZE_NOT_WRITTEN,  /* a new size is only in memory */
	TOY_END_NOT_CLEAN,   /* what an unflushed larger size had shows when the disk grows again */
	TOY_END_NOT_DURABLE, /* the same; it is cleared, but not before the new size is there */
	TOY_NO_NOTES,
	TOY_NOTES_DROPPED_EARLY, /* before the table is written */
	TOY_NO_D_AT_START,       /* takes what it read for durable */
	TOY_TORN,                /* a write of a block moves it, the old place is lost at once */
	TOY_MISTAKES
};

extern const struct image_format toy_format;
extern enum toy_mistake toy_mistake;

#endif

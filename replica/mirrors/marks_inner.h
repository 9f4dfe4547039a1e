/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the sources of marks share.
 *
 * Locks, in this order: rounds -> writing -> lock. `lock` is held for a few instructions, `writing`
 * across I/O of the file, `rounds` across a round with its flush of both sides. Who has begun holds
 * none of them, and may wait for whatever it likes but a round.
 */
#ifndef TANDEMFS_MARKS_INNER_H
#define TANDEMFS_MARKS_INNER_H

#include "marks.h"

#include <pthread.h>
#include <stdatomic.h>

/* The file is read and written in these. */
#define MARKS_PAGE 4096u
#define MARKS_PAGE_WORDS (MARKS_PAGE / 8)
#define MARKS_PAGE_BITS (MARKS_PAGE * 8)

/* Of `differs`. */
struct marks_page {
	uint16_t count; /* bits that are set */
	bool unsaved;   /* the file may say something else */
	bool saving;    /* under writing: is being saved, and not durable yet */
};

/* Whole pages of each; bits behind the size are 0. */
struct marks_maps {
	uint64_t differs_pages, area_pages;
	uint64_t *differs;
	struct marks_page *pages;
	uint64_t *fresh;      /* of differs, what was set since marks_watch */
	uint64_t *active;     /* D(that it is) */
	uint64_t *image;      /* what the file says of it at most: active, or about to be */
	uint64_t *touched;    /* since the last round began */
	uint64_t *candidates; /* of this round */
	bool *due;            /* under writing: pages of image that are to be written */
};

struct marks_want;

struct marks {
	struct file *file;
	uint32_t number;

	_Atomic enum outdated outdated; /* D(that it is, at least) */
	enum outdated head_says;        /* under writing: the head in the file does, or may do */
	int (*on_mixed)(void *arg);     /* fixed; NULL */
	void *on_mixed_arg;
	enum outdated least; /* under writing: what it is; who outdates it says so, too */

	pthread_mutex_t rounds; /* one at a time */

	pthread_mutex_t writing; /* who writes the file: never an older page over a newer */
	uint64_t buffer[MARKS_PAGE_WORDS]; /* the page that is being written */

	pthread_mutex_t lock;
	/* size, image and where the maps are: they change under writing and lock, and may be read
	 * under either. All else under lock. */
	uint64_t size;
	struct marks_maps maps;
	uint64_t differing;        /* bits of differs */
	bool watched;              /* fresh is kept */
	bool cut;                  /* it was made shorter since then */
	uint64_t imaged;           /* bits of image */
	struct marks_want *wanted; /* areas that wait to become active */
	/* As in RCU: who begins counts as of this turn, and a round begins another one. */
	unsigned turn;
	uint64_t running[2];
	pthread_cond_t ended;
};

static inline uint64_t marks_regions(uint64_t size)
{
	return size / MARKS_REGION + (size % MARKS_REGION != 0);
}

static inline uint64_t marks_areas(uint64_t size)
{
	return size / MARKS_AREA + (size % MARKS_AREA != 0);
}

/* ---- marks_differs.c; under lock ---- */

void marks_assign(struct marks *m, uint64_t first, uint64_t end, bool value);
void marks_assign_areas(struct marks *m, const uint64_t *areas);

/* ---- marks_file.c; under writing ---- */

/* The pages of image that are due. */
int marks_write_image(struct marks *m);
/* The pages of differs that are not saved, durably. */
int marks_save_differs(struct marks *m);
/* The head, of that size. Not durable. */
int marks_write_head(struct marks *m, uint64_t size);
/* All written before is durable; after -errno whatever was written since the last good one is to be
 * written again. */
int marks_flush(struct marks *m);

#endif

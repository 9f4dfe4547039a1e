/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One disk with a past, above fake files and a real catalogue: opened as the
 * daemon does it, with its moments recorded as snapshots do it, and a collector
 * of versions that nobody needs.
 */
#ifndef TESTS_HISTORY_WORLD_H
#define TESTS_HISTORY_WORLD_H

#include "history.h"
#include "tandem.h"

struct world {
	struct tandem *t;
	char dir[PATH_MAX]; /* the catalogue is in it, and "notes" */
	int dirfd;
	const struct image_format *format; /* NULL: raw */
	uint8_t boot[16];                  /* that notes count on */
	struct disk *source;               /* a new one is filled from it; NULL: from none */
	uint64_t generation;               /* and from that moment of it */
	struct disk *d;
	struct history *h;
};

/* A tandem, and a directory of its own for the catalogue. */
void world_new(struct world *w);
void world_free(struct world *w);
/*
 * Opens the catalogue, and a disk on these three, which are the world's from then
 * on whatever happens. A disk that has no past begins to have one, recorded.
 */
int world_open_catalogue(struct world *w);
int world_open(struct world *w, struct file *image, struct segment_dir *log,
	       struct segment_dir *store, uint32_t block_size);
/* Another disk of the same tandem, with that number. */
int world_open_disk(struct world *w, uint32_t number, struct file *image, struct segment_dir *log,
		    struct segment_dir *store, uint32_t block_size);
/* Until one of these two it has no thread of its own: batches are run by history_settle(). */
void world_without_settler(struct world *w);
/* It ends, after what it is at. */
void world_stop_settler(struct world *w);
/* The disk is closed as by its last user. */
int world_close(struct world *w);
/* Everything is let go of as it is; nothing is written. */
void world_abandon(struct world *w);

/* The catalogue now and then, from the same commit on. */
int world_record_moment(struct world *w, uint64_t g);
/* A moment of the disk: closed, flushed, recorded. */
int world_snapshot(struct world *w, uint64_t *g);
/* The same without a flush, where the disk was written; *g is 0 where it was not. */
int world_tick(struct world *w, uint64_t *g);
/* Not kept any more; what only it needed goes. */
int world_drop(struct world *w, uint64_t g);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One batch of the settler: from the write log into the store and the image. See history.h. */
#ifndef TANDEMFS_SETTLE_H
#define TANDEMFS_SETTLE_H

#include "history_inner.h"

/* A block of the batch, and what becomes of it. */
struct settle_item {
	uint64_t number;
	struct piece **pieces; /* by generation, then place */
	size_t count;
	char *content; /* a block, in the arena */
	uint64_t *
		needed; /* for each piece: it begins a generation before which the content is saved */
	bool load;      /* the content of the image is wanted */
	unsigned io;    /* of the image, as its clients have it */
	struct settle_span {
		uint32_t from, to;
	} * spans; /* what the pieces cover, in order, apart from each other */
	size_t span_count;
	uint64_t filled; /* it fills the block: what the image has is saved as of this; 0 */
	bool lacking;    /* the image never had the content: it is the origin's */
	bool zeros;      /* a piece that is zeros and the whole block came last */
};

struct settle_batch {
	struct history *h;
	struct settle_item *items;
	size_t count, room;
	size_t lacking; /* items that are */
	uint64_t begin; /* place of the first piece that was taken */
	uint64_t begun_ns;
	uint64_t store_from,
		store_to;  /* places in the store: what it has appended is between them */
	bool holds_blocks; /* no other batch may have them */
	char *arena;
	uint64_t *kept; /* generations of the moments, ascending */
	size_t kept_count;
	struct version *versions;
	size_t version_count, version_room;
};

/*
 * Takes the oldest blocks that may be settled now and are in no other batch;
 * -ENOENT: there are none. The caller frees b, whatever happened.
 */
int settle_choose(struct settle_batch *b);
/* Which contents are to be saved; and reads them. */
int settle_load(struct settle_batch *b);
/* Appends them to the store, and makes the new contents. */
int settle_save(struct settle_batch *b);
/* Into the image, durably. */
int settle_image(struct settle_batch *b);
void settle_free(struct settle_batch *b);

#endif

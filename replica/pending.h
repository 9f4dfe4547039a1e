/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is in a disk's write log and perhaps not in its image: pieces of blocks,
 * in the order of their places, for the whole disk and for each block. Pieces
 * that overlap were written one after the other, so later places are newer.
 *
 * A piece is settled once the image has it, and leaves only when no replay
 * of the log can bring it again. Callers lock; a piece stays where it is until
 * pending_leave().
 */
#ifndef TANDEMFS_PENDING_H
#define TANDEMFS_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pending_block;

struct piece {
	struct piece *next, *previous;           /* of the disk, by place */
	struct piece *block_next, *block_before; /* of the block, by place */
	struct pending_block *block;
	uint64_t place, generation;
	uint32_t from, length; /* in the block */
	uint32_t at;           /* where in the record's data it begins */
	uint8_t io;            /* how its client wrote it: IO_DIRECT */
	bool zero, settled;
};

struct pending_block {
	struct pending_block *chain;
	uint64_t number;
	struct piece *first, *last;
	bool chosen; /* for a batch; the settler's */
};

struct pending {
	struct pending_block **chains;
	size_t chain_count, blocks;
	struct piece *first, *last;
	_Atomic uint64_t pieces; /* any number but 0 needs the lock to say more */
	uint64_t bytes;          /* of those that are not settled */
};

int pending_init(struct pending *p);
void pending_free(struct pending *p);
struct pending_block *pending_find(const struct pending *p, uint64_t number);
/* The smallest number >= number of a block with pieces; UINT64_MAX. Looks at all of them. */
uint64_t pending_next(const struct pending *p, uint64_t number);
/*
 * The pieces of one record: [off, off + len) of the disk, cut into blocks, linked
 * by `next`. NULL: no memory. pending_join puts them in and cannot fail.
 */
struct piece *pending_make(uint64_t off, uint64_t len, uint32_t block_size, bool zero);
void pending_unmake(struct piece *pieces);
void pending_join(struct pending *p, struct piece *pieces, uint64_t place, uint64_t generation);
void pending_settle(struct pending *p, struct piece *piece);
/* The first piece of the disk, which is settled, leaves, and so does a block with its last. */
void pending_leave(struct pending *p);

#endif

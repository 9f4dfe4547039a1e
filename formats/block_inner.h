/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files block_*.c share. */
#ifndef TANDEMFS_BLOCK_INNER_H
#define TANDEMFS_BLOCK_INNER_H

#include "block_map.h"

/* In an entry: the block is in `changed`. */
#define BLOCK_CHANGED ((block_entry)4)

/* Kinds of notes. */
enum { NOTE_ENTRY = 1, NOTE_BITS = 2 };

struct note_entry {
	uint64_t block, entry;
	uint64_t before; /* what it was; notes of earlier versions end in front of it */
};

struct note_bits {
	uint64_t block;
	uint32_t first, count; /* sectors of the block that are there now */
};

/* Appends v to a list of numbers that grows. 0 or -ENOMEM. */
int block_list_push(uint64_t **list, size_t *count, size_t *room, uint64_t v);

/* Under lock. The block is in `changed`. */
static inline void block_publish(struct block_map *m, uint64_t block, block_entry e)
{
	atomic_store(&m->entries[block], e | BLOCK_CHANGED);
}

/* Under lock. The place can be used. */
void block_give_back(struct block_map *m, uint64_t place);
/* Frees places for blocks in a range that is nobody's, up to a number that is kept. */
void block_free_between(struct block_map *m, uint64_t start, uint64_t end);

/*
 * Under lock. Gives `block` a place if it has none; *out is its entry then.
 * *settle: it could not be noted, or much is noted, so the caller flushes before
 * it acknowledges. -EAGAIN: places that were given up wait for a flush, after
 * which the caller tries again.
 */
int block_allocate(struct image *img, struct block_map *m, uint64_t block, bool full,
		   block_entry *out, bool *settle);
/* Under lock. The block reads as zeros from now on, its place is given up. */
int block_discard(struct image *img, struct block_map *m, uint64_t block, bool *settle);

/*
 * The bitmap of a PARTIAL block. All under lock. It stays valid until the lock
 * is let go of.
 */
struct bitmap {
	struct bitmap *next;
	uint64_t block, used;
	bool dirty;     /* the file lacks it */
	bool saving;    /* a flush is writing it; till it is done, the file may lack it */
	uint8_t bits[]; /* LSB first */
};

/* Chains of m->bitmaps. */
#define BITMAP_CHAINS 1024
int bitmap_get(struct image *img, struct block_map *m, uint64_t block, struct bitmap **out);
/* Of a block that was just allocated: nothing is there. */
int bitmap_make(struct block_map *m, uint64_t block, struct bitmap **out);
void bitmap_forget(struct block_map *m, uint64_t block);
void bitmaps_free(struct block_map *m);
static inline size_t bitmap_bytes(const struct block_map *m)
{
	return (m->block_size / 512 + 7) / 8;
}
/* Sectors from `at` that are all there, or all not, up to `end`; *there tells which. */
uint32_t bitmap_run(const uint8_t *bits, uint32_t at, uint32_t end, bool *there);
/*
 * These sectors are there now: sets the bits, notes them; when all are, the
 * block is PRESENT.
 */
int bitmap_set(struct image *img, struct block_map *m, uint64_t block, uint32_t first,
	       uint32_t count, bool note, bool *settle);
/* So many bitmaps, or notes, wait for a flush that a writer should bring one about. */
bool block_waits_much(const struct image *img, const struct block_map *m);

#endif

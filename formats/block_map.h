/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk as blocks that lie somewhere in a file: what VHD and VHDX have in
 * common. Where each block is, is in memory; the tables of the file follow at a
 * flush.
 *
 *   ABSENT    reads as the parent does, or as zeros
 *   ZERO      reads as zeros whatever the parent says
 *   PRESENT   at a place of the file
 *   PARTIAL   at a place; a bitmap says which sectors (of 512 bytes) are there,
 *             the others read as if the block were absent
 *
 * What is on disk before what. A change of the map is
 *   1. noted (page cache) before it is acknowledged: it outlives this program
 *   2. at a flush: D(data of all blocks) -> tables and bitmaps -> D
 *   3. a place that a discard gave up is used again only after the tables no
 *      longer name it, durably
 * so that a power cut shows either the old or the new content of what was being
 * written, and never that of another block.
 *
 * Locks: flushing -> lock. Neither is held while a request reads or writes a
 * block that is PRESENT: the caller's range locks keep it there.
 */
#ifndef TANDEMFS_BLOCK_MAP_H
#define TANDEMFS_BLOCK_MAP_H

#include <pthread.h>
#include <stdatomic.h>

#include "image.h"

enum block_kind { BLOCK_ABSENT, BLOCK_ZERO, BLOCK_PRESENT, BLOCK_PARTIAL };

/* What a block is: its place, a multiple of 512 that its data begins at, and its kind. */
typedef uint64_t block_entry;
#define BLOCK_KIND(e) ((enum block_kind)((e)&3))
#define BLOCK_PLACE(e) ((e) & ~(uint64_t)511)
#define BLOCK_ENTRY(kind, place) ((block_entry)(place) | (kind))

struct block_change {
	uint64_t block;
	block_entry entry;
};

/*
 * What a container does in its own way. 0 or -errno. start_writing, save_bits,
 * save and finish take turns, and so do grow and prepare; one of the first may
 * run beside one of the second. load_bits may run at any time.
 */
struct block_tables {
	/*
	 * Before the first change of the file since open or finish: whatever must be
	 * durable before anything else changes (a replayed log, new identifiers, a
	 * footer mended). resumed: notes of a daemon that died were applied, so what
	 * it began goes on: what `binding` tells must stay as it is in the file.
	 */
	int (*start_writing)(struct image *img, bool resumed);
	/*
	 * The file shall be long enough for data up to `end`. When it returns,
	 * everything between the old and the new `end` may be overwritten.
	 */
	int (*grow)(struct image *img, uint64_t end);
	/*
	 * A place for `block` (data begins at `place`), not visible yet; `full` when
	 * it will be PRESENT, not PARTIAL. Gets space for the tables, writes what lies
	 * in front of the data.
	 */
	int (*prepare)(struct image *img, uint64_t block, uint64_t place, bool full);
	/* PARTIAL blocks: the bitmap, one bit for 512 bytes, LSB first. NULL: none. */
	int (*load_bits)(struct image *img, uint64_t block, uint64_t place, uint8_t *bits);
	/*
	 * Writes it; durable with the next save. NULL: none is ever written. Else the
	 * tables tell a place only, of PARTIAL and PRESENT blocks alike, and `prepare`
	 * writes the bitmap too.
	 */
	int (*save_bits)(struct image *img, uint64_t block, uint64_t place, const uint8_t *bits);
	/*
	 * Brings these entries into the tables, durably, each one old or new whatever
	 * happens. The data is durable already, what save_bits wrote is not. count
	 * may be 0: then only D(save_bits).
	 */
	int (*save)(struct image *img, const struct block_change *changes, size_t count);
	/*
	 * After the last save: the file is whole by itself, no longer than needed; the
	 * last place ends at `end`. Durable.
	 */
	int (*finish)(struct image *img, uint64_t end);
	/* What the notes are bound to: the image as start_writing left it. Also before it, from
	 * what open read. */
	void (*binding)(struct image *img, uint8_t binding[32]);
};

struct bitmap; /* block_bits.c */

struct block_map {
	/* Set by the format before block_map_ready(), then constant. */
	const struct block_tables *tables;
	uint64_t count;      /* of blocks; block_map_resize() raises it */
	uint32_t block_size; /* power of two, at least 4096 */
	uint32_t lead;       /* bytes in front of a place that belong to it (VHD's bitmap) */
	uint32_t align;      /* new places are a multiple of it, 512 or more */
	uint64_t first;      /* places, and their leads, are at or behind this */
	bool keeps_blocks;   /* fixed: discards leave blocks where they are */
	/* Blocks read as zeros behind this: the file is still shorter than it will be. */
	_Atomic uint64_t readable;
	_Atomic block_entry *entries; /* filled by the format, with BLOCK_ENTRY */

	/* The rest belongs to block_*.c. */
	uint32_t block_shift;
	_Atomic bool writing; /* start_writing was done */
	bool resumed;         /* notes were applied */
	bool flushed_once;    /* under flushing: what open read is durable */
	pthread_mutex_t flushing, lock;
	/* Under lock. */
	struct block_range {
		uint64_t start, end;
	} taken[16]; /* what the tables take behind `first` */
	size_t taken_count;
	uint64_t end;       /* behind all places and tables */
	uint64_t capacity;  /* what grow() was last told; at least end */
	uint64_t stale_end; /* what lies free before it may hold anything, behind it zeros */
	uint64_t *changed;  /* blocks whose entries the tables lack */
	size_t changed_count, changed_room;
	size_t saving; /* those that a flush is writing; in `changed` there is room for them, too */
	uint64_t *free; /* places that can be used */
	size_t free_count, free_room;
	uint64_t *freed; /* places that can be used once the tables don't name them */
	size_t freed_count, freed_room;
	struct bitmap **bitmaps; /* of PARTIAL blocks, those in memory: chains; NULL: none yet */
	size_t bitmap_count, bitmap_dirty;
	uint64_t bitmap_clock;
	size_t bitmap_hand; /* the chain where room is looked for next */
};

/* Would block_map_new take so many? */
bool block_map_can_be(uint64_t count, uint32_t block_size);
/*
 * Entries for `count` blocks, all ABSENT; count and block_size may be anything:
 * -EINVAL, -E2BIG when no sane image has that many.
 */
int block_map_new(uint64_t count, uint32_t block_size, const struct block_tables *tables,
		  struct block_map **out);
void block_map_free(struct block_map *m);
/* A range that the tables take behind `first`. Before block_map_ready. */
void block_map_taken(struct block_map *m, uint64_t start, uint64_t end);
/*
 * The format has filled the map from its tables: checks the entries, applies
 * img->notes, finds the free places. An entry that is not altogether inside
 * [first, file_end) becomes ABSENT; two that overlap each other or a table make
 * the image read_only. Both are told in img->complaint. 0 or -ENOMEM, or what
 * load_bits or reading notes returned.
 */
int block_map_ready(struct image *img, struct block_map *m, uint64_t file_end);
/* More entries, ABSENT. Nothing else runs but flushes. */
int block_map_resize(struct block_map *m, uint64_t count);
/* A range behind everything for a table. Nothing else runs but flushes. */
int block_map_take(struct image *img, struct block_map *m, uint64_t len, uint64_t align,
		   uint64_t *at);
/* Nothing names that table any more, durably. Nothing else runs but flushes. */
void block_map_give_back(struct image *img, struct block_map *m, uint64_t start, uint64_t len);
/* start_writing, if it was not done. Any thread. */
int block_map_start_writing(struct image *img, struct block_map *m);

/* The members of struct image_format, for a format whose image has this map. */
int block_map_read(struct image *img, struct block_map *m, void *buf, size_t len, uint64_t off,
		   unsigned io);
int block_map_write(struct image *img, struct block_map *m, const void *buf, size_t len,
		    uint64_t off, unsigned io);
int block_map_flush(struct image *img, struct block_map *m);
int block_map_zero(struct image *img, struct block_map *m, uint64_t off, uint64_t len,
		   enum zero_mode mode);
int block_map_seek(struct image *img, struct block_map *m, uint64_t off, int whence,
		   uint64_t *found);
int block_map_rest(struct image *img, struct block_map *m);

#endif

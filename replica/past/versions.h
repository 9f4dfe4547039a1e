/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the catalogue knows of the past: the moments that are kept of each disk,
 * the snapshots that name some of them, and where the earlier contents of blocks
 * are.
 *
 * A version (disk, block, last) is what a block held up to and with generation
 * `last`, from the generation after the `last` of the version before it on. A
 * block as of generation g is the version with the smallest last >= g; if there
 * is none, what the disk holds now. A version is needed as long as one of the
 * generations that it stands for is kept.
 *
 * Changes are made in a transaction of the catalogue. Reads take a read
 * transaction of their own, for their time; nobody holds one across I/O.
 * 0 or -errno.
 */
#ifndef TANDEMFS_VERSIONS_H
#define TANDEMFS_VERSIONS_H

#include "catalogue.h"

struct version {
	uint64_t block, last;
	uint64_t place;  /* in the disk's store; 0: zeros */
	uint32_t length; /* of the data at that place; shorter than a block at the disk's end */
};

/*
 * -EEXIST: a version is never replaced; the transaction goes on. `last` is at
 * least 1. Counts the space (see version_totals).
 */
int version_put(struct catalogue_txn *txn, uint32_t disk, const struct version *v);
/* -ENOENT; the transaction goes on. */
int version_del(struct catalogue_txn *txn, uint32_t disk, uint64_t block, uint64_t last);
/* The version of this block with the smallest last >= g; -ENOENT. Within the transaction. */
int version_at(struct catalogue_txn *txn, uint32_t disk, uint64_t block, uint64_t g,
	       struct version *v);
/* The version of this block with the largest last < before; -ENOENT. */
int version_before(struct catalogue_txn *txn, uint32_t disk, uint64_t block, uint64_t before,
		   struct version *v);

/*
 * Of each of `count` blocks from `first` on, the version with the smallest last
 * >= g. v[i].last is 0 where there is none. On failure v is of no use.
 */
int versions_find(struct catalogue *c, uint32_t disk, uint64_t first, size_t count, uint64_t g,
		  struct version *v);

/*
 * Versions with from <= last < to, in the order of (last, block), beginning
 * after `after` (NULL: from the start). At most `room`; *count says how many.
 * 0 of them: the end. Call it again with the last one as `after`.
 */
int versions_between(struct catalogue *c, uint32_t disk, uint64_t from, uint64_t to,
		     const struct version *after, struct version *v, size_t room, size_t *count);
/* Versions of blocks >= first, in the order of (block, last); likewise. */
int versions_of_blocks(struct catalogue *c, uint32_t disk, uint64_t first,
		       const struct version *after, struct version *v, size_t room, size_t *count);

/*
 * What all versions of a disk hold together (the lengths of their data; zeros hold
 * nothing), and how many there are: kept with them. All 0 where there is none.
 */
struct version_totals {
	uint64_t bytes, count;
};
int version_totals(struct catalogue *c, uint32_t disk, struct version_totals *out);
/* The same by segment of the store (place / SEGMENT_SIZE); -ENOENT: none is in it. */
int version_segment(struct catalogue_txn *txn, uint32_t disk, uint64_t segment,
		    struct version_totals *out);
/* Calls fn for each segment of that disk that a version is in. fn must not write. */
int version_segments(struct catalogue *c, uint32_t disk,
		     int (*fn)(void *arg, uint64_t segment, const struct version_totals *totals),
		     void *arg);

/* A moment of a disk that is kept: the end of a generation. */
struct moment_record {
	uint64_t generation;
	uint64_t time_ms; /* CLOCK_REALTIME */
	uint64_t size;    /* of the disk then */
	bool tick;        /* of kept history; goes when its time is over */
	uint32_t names;   /* snapshots that need it */
	bool dropped;     /* not kept any more; versions that only it needed are being collected */
	bool hidden;      /* nobody can name it: see history_restore; goes when that has ended */
};
int moment_put(struct catalogue_txn *txn, uint32_t disk, const struct moment_record *m);
int moment_del(struct catalogue_txn *txn, uint32_t disk, uint64_t generation);
int moment_get(struct catalogue *c, uint32_t disk, uint64_t generation,
	       struct moment_record *out); /* -ENOENT */
/* In order of their generations. fn must not write. */
int moments_each(struct catalogue *c, uint32_t disk,
		 int (*fn)(void *arg, const struct moment_record *m), void *arg);

/* What is remembered of a disk that has a past. */
struct track_record {
	uint32_t block_size;
	uint64_t settled;  /* place in the write log before which every record is in the image */
	uint64_t window_s; /* KeepHistory; 0: no ticks */
	uint64_t granularity_ms;
	uint64_t limit;                        /* bytes; 0: none */
	uint64_t restore_from, restore_before; /* see history_restore; 0: none is running */
	uint64_t swept; /* catalogue_crashes() up to which what they left in the store is gone */
	bool gone; /* forgotten, and only its files may be left: nobody else sees this record */
};
int track_put(struct catalogue_txn *txn, uint32_t disk, const struct track_record *t);
int track_get(struct catalogue *c, uint32_t disk, struct track_record *t); /* -ENOENT */
/* By disk. fn must not write. */
int tracks_each(struct catalogue *c,
		int (*fn)(void *arg, uint32_t disk, const struct track_record *t), void *arg);
/*
 * Everything of that disk: the record, moments, versions, totals, snapshots. May be a lot. That it had
 * them stays known until its files are removed, which is done after this is committed.
 */
int track_forget(struct catalogue_txn *txn, uint32_t disk);
/* The first of those after that number; 0: none. */
uint32_t track_gone(struct catalogue *c, uint32_t after);
/* Its files are removed. */
int track_removed(struct catalogue *c, uint32_t disk);

/* A snapshot: a name for a moment, and a relationship. */
struct snapshot_record {
	uint32_t number; /* catalogue_new_number() */
	uint32_t disk;
	uint64_t generation; /* of its moment; 0: none (inactive) */
	uint64_t sync_time_ms;
	uint8_t copy_state; /* CopyState's number: 4 Synchronized, 8 Inactive, 5 Broken, 13 Skewed */
	uint32_t overlay;   /* number of the disk that has what was written to it; 0: none */
	bool overlay_failed; /* a flush of that failed */
	char name[201];
	char hold[201]; /* tag; "" : not held */
};
int snapshot_put(struct catalogue_txn *txn, const struct snapshot_record *s);
int snapshot_del(struct catalogue_txn *txn, uint32_t number);
int snapshots_each(struct catalogue *c, int (*fn)(void *arg, const struct snapshot_record *s),
		   void *arg);

#endif

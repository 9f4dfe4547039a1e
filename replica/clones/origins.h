/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the catalogue knows of clones: which disks are still to be filled from a
 * moment of another one, and how far that is; and the relationships.
 *
 * Changes are made in a transaction of the catalogue. 0 or -errno.
 */
#ifndef TANDEMFS_ORIGINS_H
#define TANDEMFS_ORIGINS_H

#include "catalogue.h"

/* Of a disk that is not filled yet: what it lacks is what that disk was then. */
struct origin_record {
	uint32_t source;     /* number of a disk */
	uint64_t generation; /* a moment of it that is kept */
	uint64_t size;       /* of the source then: behind that there is nothing to be filled */
	uint64_t filled;     /* blocks before this one are filled */
};
int origin_put(struct catalogue_txn *txn, uint32_t disk, const struct origin_record *r);
int origin_get(struct catalogue *c, uint32_t disk, struct origin_record *out); /* -ENOENT */
/* By disk. fn must not write. */
int origins_each(struct catalogue *c,
		 int (*fn)(void *arg, uint32_t disk, const struct origin_record *r), void *arg);

/* Which blocks behind `filled` are filled nevertheless: a bit for each, in pages. */
#define FILLED_PAGE_BLOCKS 2048u
#define FILLED_PAGE_BYTES (FILLED_PAGE_BLOCKS / 8)
int filled_put(struct catalogue_txn *txn, uint32_t disk, uint64_t page,
	       const uint8_t bits[FILLED_PAGE_BYTES]);
/* Pages from `from` up to and without `to` go. */
int filled_del(struct catalogue_txn *txn, uint32_t disk, uint64_t from, uint64_t to);
/* In order. fn must not write. */
int filled_each(struct catalogue *c, uint32_t disk,
		int (*fn)(void *arg, uint64_t page, const uint8_t bits[FILLED_PAGE_BYTES]),
		void *arg);
/* How much the disk lacks, in blocks of that size. */
int origin_lacking(struct catalogue *c, uint32_t disk, uint32_t block_size, uint64_t *bytes);
/* The disk is filled, or gone: the record and its pages. May be a lot. */
int origin_forget(struct catalogue_txn *txn, uint32_t disk);

/* A clone, as a relationship; or a token for one that is still to be made. */
struct clone_record {
	uint32_t number;         /* catalogue_new_number() */
	uint32_t source, target; /* disks; target 0: it is a token */
	uint64_t generation;     /* of the source's moment */
	uint64_t time_ms, size;  /* of that moment */
	uint8_t copy_state;      /* CopyState's number */
	uint8_t priority, methodology;
	bool share;        /* its image may have the source's space */
	uint32_t replaces; /* a snapshot, which goes when it is filled; 0: none */
	char name[201];    /* under replicas/; of a token: the token */
};
int clone_put(struct catalogue_txn *txn, const struct clone_record *r);
int clone_del(struct catalogue_txn *txn, uint32_t number);
int clones_each(struct catalogue *c, int (*fn)(void *arg, const struct clone_record *r), void *arg);

#endif

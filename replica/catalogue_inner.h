/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files that implement the catalogue share; nobody else includes it. */
#ifndef TANDEMFS_CATALOGUE_INNER_H
#define TANDEMFS_CATALOGUE_INNER_H

#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "catalogue.h"
#include "key.h"

/* Read transactions that are kept for the next reader. */
#define IDLE_READS 16

/* A database that is not there, because this state never needed it: nothing is in it. */
#define NO_DATABASE ((MDB_dbi)-1)

struct catalogue {
	MDB_env *env;
	_Atomic uint64_t reserved; /* bytes of the file that have their space */
	_Atomic bool scarce;       /* there was no more when it was asked for last */
	MDB_dbi meta, disks, identities, pools;
	MDB_dbi versions, by_last, totals, store_segments;
	MDB_dbi moments, tracks, snapshots;
	MDB_dbi origins, filled, clones, pairs;
	MDB_dbi groups, members;

	uint64_t crashes; /* see catalogue_crashes() */

	pthread_mutex_t idle_lock; /* a leaf: for the two below */
	MDB_txn *idle[IDLE_READS]; /* each reset: it sees nothing and keeps nothing */
	size_t idle_count;
};

struct catalogue_txn {
	struct catalogue *c;
	MDB_txn *txn;
	int failed; /* the first error; commit returns it */
};

static inline int from_mdb(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_KEYEXIST:
		return -EEXIST;
	case MDB_MAP_FULL:
		return -ENOSPC;
	case MDB_READERS_FULL:
		return -EAGAIN;
	case MDB_VERSION_MISMATCH:
		return -EPROTO;
	default: /* LMDB's own are negative: damage, or a mistake of ours */
		return rc > 0 ? -rc : -EIO;
	}
}

static inline MDB_val val(const void *bytes, size_t len)
{
	return (MDB_val){ .mv_size = len, .mv_data = (void *)bytes };
}

static inline MDB_val key_val(const struct key *k)
{
	return val(k->bytes, k->len);
}

static inline void put_le(uint8_t *to, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = v >> (8 * i);
}

static inline uint64_t get_le(const uint8_t *from, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)from[i] << (8 * i);
	return v;
}

/*
 * Place and length of a version: packed like a key, for there may be a billion. Before schema 5
 * they took 12 bytes, of which the first was the place's lowest: a multiple of 64, so no count.
 */
static inline bool version_value_read(MDB_val v, uint64_t *place, uint64_t *length)
{
	const uint8_t *bytes = v.mv_data;
	uint64_t n[2];

	if (v.mv_size == 12 && bytes[0] % 64 == 0) {
		n[0] = get_le(bytes, 8);
		n[1] = get_le(bytes + 8, 4);
	} else if (!key_read(bytes, v.mv_size, n, 2) || n[1] > UINT32_MAX) {
		return false;
	}
	*place = n[0];
	*length = n[1];
	return true;
}

/* Returns err, which the transaction's commit will return if it is the first. */
static inline int remember(struct catalogue_txn *t, int err)
{
	if (err && !t->failed)
		t->failed = err;
	return err;
}

/*
 * Asks for disk space ahead of what is used: so many bytes, and the reserve. false: there is none;
 * what is committed nevertheless is out of the reserve.
 */
bool catalogue_reserve(struct catalogue *c, uint64_t more);

/* Numbers by name. -ENOENT. */
int catalogue_get_meta(struct catalogue *c, MDB_txn *txn, const char *name, uint64_t *value);
int catalogue_put_meta(struct catalogue *c, MDB_txn *txn, const char *name, uint64_t value);

struct track_record;
/* -ENOENT; one that is gone is there. */
int catalogue_read_track(const struct catalogue *c, MDB_txn *txn, uint32_t disk,
			 struct track_record *r);

/* What was committed when it began, until catalogue_end_read(). */
int catalogue_begin_read(struct catalogue *c, MDB_txn **txn);
void catalogue_end_read(struct catalogue *c, MDB_txn *txn);

/*
 * Calls fn for each record, in the order of their keys, whose key begins with
 * prefix (NULL: all). A non-zero return stops and is returned.
 */
int catalogue_each(struct catalogue *c, MDB_dbi dbi, const struct key *prefix,
		   int (*fn)(void *arg, MDB_val k, MDB_val v), void *arg);

struct record;
int catalogue_put_record(struct catalogue_txn *t, MDB_dbi dbi, const struct key *key,
			 const struct record *w);
/* What is not there needs no deletion. */
int catalogue_del_record(struct catalogue_txn *t, MDB_dbi dbi, const struct key *key);

/* One version more or less in the totals. -EIO if there are fewer than that. */
int catalogue_count_version(struct catalogue_txn *t, uint32_t disk, uint64_t place, uint32_t length,
			    bool add);

#endif

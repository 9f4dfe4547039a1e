// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the versions of a disk, and of each segment of its store, hold together:
 * changed with each of them, in the same transaction. Zeros have a length, but no
 * place that holds it: they are counted for the disk, with no bytes.
 */
#include "catalogue_inner.h"
#include "segments.h"
#include "versions.h"

/* Bytes and count. */
#define TOTALS_SIZE 16

static int decode_totals(MDB_val v, struct version_totals *out)
{
	if (v.mv_size != TOTALS_SIZE)
		return -EIO;
	out->bytes = get_le(v.mv_data, 8);
	out->count = get_le((const uint8_t *)v.mv_data + 8, 8);
	return 0;
}

static int get_totals(MDB_txn *txn, MDB_dbi dbi, const struct key *key, struct version_totals *out)
{
	MDB_val k = key_val(key), v;
	int err = from_mdb(mdb_get(txn, dbi, &k, &v));

	return err ? err : decode_totals(v, out);
}

static int put_totals(MDB_txn *txn, MDB_dbi dbi, const struct key *key,
		      const struct version_totals *totals)
{
	uint8_t bytes[TOTALS_SIZE];
	MDB_val k = key_val(key), v = val(bytes, sizeof(bytes));

	put_le(bytes, totals->bytes, 8);
	put_le(bytes + 8, totals->count, 8);
	return from_mdb(totals->count ? mdb_put(txn, dbi, &k, &v, 0) : mdb_del(txn, dbi, &k, NULL));
}

static int change_totals(MDB_txn *txn, MDB_dbi dbi, const struct key *key, uint64_t bytes, bool add)
{
	struct version_totals totals = { 0 };
	int err = get_totals(txn, dbi, key, &totals);

	if (err && err != -ENOENT)
		return err;
	if (!add && (!totals.count || totals.bytes < bytes))
		return -EIO;
	totals.bytes += add ? bytes : -bytes;
	totals.count += add ? 1 : -1ull;
	return put_totals(txn, dbi, key, &totals);
}

int catalogue_count_version(struct catalogue_txn *t, uint32_t disk, uint64_t place, uint32_t length,
			    bool add)
{
	struct key key = key_of1(disk);
	int err = change_totals(t->txn, t->c->totals, &key, place ? length : 0, add);

	if (err || !place)
		return err;
	key_add(&key, place / SEGMENT_SIZE);
	return change_totals(t->txn, t->c->store_segments, &key, length, add);
}

int version_totals(struct catalogue *c, uint32_t disk, struct version_totals *out)
{
	struct version_totals totals = { 0 };
	struct key key = key_of1(disk);
	MDB_txn *txn;
	int err = catalogue_begin_read(c, &txn);

	if (err)
		return err;
	err = get_totals(txn, c->totals, &key, &totals);
	catalogue_end_read(c, txn);
	if (err == -ENOENT)
		err = 0;
	if (!err)
		*out = totals;
	return err;
}

int version_segment(struct catalogue_txn *t, uint32_t disk, uint64_t segment,
		    struct version_totals *out)
{
	struct key key = key_of2(disk, segment);

	return get_totals(t->txn, t->c->store_segments, &key, out);
}

struct segment_visit {
	int (*fn)(void *, uint64_t, const struct version_totals *);
	void *arg;
};

static int visit_segment(void *arg, MDB_val k, MDB_val v)
{
	struct segment_visit *visit = arg;
	struct version_totals totals;
	uint64_t numbers[2];

	if (!key_read(k.mv_data, k.mv_size, numbers, 2) || decode_totals(v, &totals))
		return -EIO;
	return visit->fn(visit->arg, numbers[1], &totals);
}

int version_segments(struct catalogue *c, uint32_t disk,
		     int (*fn)(void *arg, uint64_t segment, const struct version_totals *totals),
		     void *arg)
{
	struct segment_visit visit = { fn, arg };
	struct key key = key_of1(disk);

	return catalogue_each(c, c->store_segments, &key, visit_segment, &visit);
}

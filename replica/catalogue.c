// SPDX-License-Identifier: GPL-2.0-or-later
/* Transactions, and the records of disks and pools. catalogue_env.c opens it all. */
#include "catalogue_inner.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

/* ---- transactions ---- */

int catalogue_begin(struct catalogue *c, struct catalogue_txn **out)
{
	struct catalogue_txn *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	t->c = c;
	catalogue_reserve(c, 0);
	err = from_mdb(mdb_txn_begin(c->env, NULL, 0, &t->txn));
	if (err) {
		free(t);
		return err;
	}
	*out = t;
	return 0;
}

static size_t leaves(struct catalogue_txn *t, MDB_dbi dbi, size_t records)
{
	MDB_stat st;

	mdb_stat(t->txn, dbi, &st);
	return st.ms_leaf_pages < records ? st.ms_leaf_pages : records;
}

/* No more bytes than this: each leaf that gets a record is another page, and perhaps two. */
static uint64_t growth(struct catalogue_txn *t, size_t records)
{
	size_t touched = leaves(t, t->c->versions, records) + leaves(t, t->c->by_last, records);
	MDB_stat st;

	mdb_env_stat(t->c->env, &st);
	return (2 * touched + records / 8 + 64) * st.ms_psize;
}

int catalogue_begin_growing(struct catalogue *c, size_t records, struct catalogue_txn **out)
{
	struct catalogue_txn *t;
	int err = catalogue_begin(c, &t);

	if (err)
		return err;
	if (!catalogue_reserve(c, growth(t, records))) {
		catalogue_abort(t);
		return -ENOSPC;
	}
	*out = t;
	return 0;
}

int catalogue_commit(struct catalogue_txn *t)
{
	int err = t->failed;

	if (err)
		mdb_txn_abort(t->txn);
	else
		err = from_mdb(mdb_txn_commit(t->txn));
	free(t);
	return err;
}

void catalogue_abort(struct catalogue_txn *t)
{
	mdb_txn_abort(t->txn);
	free(t);
}

int catalogue_new_number(struct catalogue_txn *t, uint32_t *number)
{
	uint64_t next = 1;
	int err = catalogue_get_meta(t->c, t->txn, "next_number", &next);

	if (err && err != -ENOENT)
		return remember(t, err);
	if (next > UINT32_MAX)
		return remember(t, -EOVERFLOW);
	*number = next;
	return remember(t, catalogue_put_meta(t->c, t->txn, "next_number", next + 1));
}

static int get_disk(struct catalogue *c, MDB_txn *txn, uint32_t number, struct disk_record *out)
{
	uint32_t be = htobe32(number);
	MDB_val k = val(&be, sizeof(be)), v;
	int err = from_mdb(mdb_get(txn, c->disks, &k, &v));

	return err ? err : record_decode_disk(v.mv_data, v.mv_size, out);
}

/* The identity that a disk had; unless it is another's by now. */
static int drop_identity(struct catalogue_txn *t, uint32_t number)
{
	uint32_t be = htobe32(number);
	struct disk_record old;
	MDB_val k, v;
	int err = get_disk(t->c, t->txn, number, &old);

	if (err || !old.identity.len)
		return err == -ENOENT ? 0 : err;
	k = val(old.identity.bytes, old.identity.len);
	err = from_mdb(mdb_get(t->txn, t->c->identities, &k, &v));
	if (!err && v.mv_size == sizeof(be) && !memcmp(v.mv_data, &be, sizeof(be)))
		err = from_mdb(mdb_del(t->txn, t->c->identities, &k, NULL));
	return err == -ENOENT ? 0 : err;
}

int catalogue_put_disk(struct catalogue_txn *t, const struct disk_record *r)
{
	uint32_t be = htobe32(r->number);
	struct record w;
	MDB_val k = val(&be, sizeof(be)), v;
	int err = drop_identity(t, r->number);

	if (err)
		return remember(t, err);
	record_encode_disk(&w, r);
	v = val(w.bytes, w.len);
	err = from_mdb(mdb_put(t->txn, t->c->disks, &k, &v, 0));
	if (!err && r->identity.len) {
		v = k;
		k = val(r->identity.bytes, r->identity.len);
		err = from_mdb(mdb_put(t->txn, t->c->identities, &k, &v, 0));
	}
	return remember(t, err);
}

int catalogue_del_disk(struct catalogue_txn *t, uint32_t number)
{
	uint32_t be = htobe32(number);
	MDB_val k = val(&be, sizeof(be));
	int err = drop_identity(t, number);

	if (!err)
		err = from_mdb(mdb_del(t->txn, t->c->disks, &k, NULL));
	return remember(t, err == -ENOENT ? 0 : err);
}

int catalogue_put_pool(struct catalogue_txn *t, const struct pool_record *r)
{
	uint32_t be = htobe32(r->number);
	struct record w;
	MDB_val k = val(&be, sizeof(be)), v;

	record_encode_pool(&w, r);
	v = val(w.bytes, w.len);
	return remember(t, from_mdb(mdb_put(t->txn, t->c->pools, &k, &v, 0)));
}

int catalogue_del_pool(struct catalogue_txn *t, uint32_t number)
{
	uint32_t be = htobe32(number);
	MDB_val k = val(&be, sizeof(be));
	int err = from_mdb(mdb_del(t->txn, t->c->pools, &k, NULL));

	return remember(t, err == -ENOENT ? 0 : err);
}

int catalogue_put_setting(struct catalogue_txn *t, const char *name, uint64_t value)
{
	char key[64];

	snprintf(key, sizeof(key), "set.%s", name);
	return remember(t, catalogue_put_meta(t->c, t->txn, key, value));
}

int catalogue_mark_clean(struct catalogue_txn *t)
{
	return remember(t, catalogue_put_meta(t->c, t->txn, "clean", 1));
}

/* ---- reading ---- */

int catalogue_disk_by_number(struct catalogue *c, uint32_t number, struct disk_record *out)
{
	MDB_txn *txn;
	int err = catalogue_begin_read(c, &txn);

	if (err)
		return err;
	err = get_disk(c, txn, number, out);
	catalogue_end_read(c, txn);
	return err;
}

int catalogue_disk_by_identity(struct catalogue *c, const struct identity *id,
			       struct disk_record *out)
{
	MDB_val k = val(id->bytes, id->len), v;
	uint32_t be;
	MDB_txn *txn;
	int err;

	if (!id->len)
		return -ENOENT;
	err = catalogue_begin_read(c, &txn);
	if (err)
		return err;
	err = from_mdb(mdb_get(txn, c->identities, &k, &v));
	if (!err && v.mv_size != sizeof(be))
		err = -EIO;
	if (!err) {
		memcpy(&be, v.mv_data, sizeof(be));
		err = get_disk(c, txn, be32toh(be), out);
	}
	catalogue_end_read(c, txn);
	return err;
}

int catalogue_get_setting(struct catalogue *c, const char *name, uint64_t *value)
{
	char key[64];
	MDB_txn *txn;
	int err = catalogue_begin_read(c, &txn);

	if (err)
		return err;
	snprintf(key, sizeof(key), "set.%s", name);
	err = catalogue_get_meta(c, txn, key, value);
	catalogue_end_read(c, txn);
	return err;
}

struct disk_visit {
	int (*fn)(void *, const struct disk_record *);
	void *arg;
};

static int visit_disk(void *arg, MDB_val k, MDB_val v)
{
	struct disk_visit *visit = arg;
	struct disk_record r;
	int err = record_decode_disk(v.mv_data, v.mv_size, &r);

	return err ? err : visit->fn(visit->arg, &r);
}

int catalogue_each_disk(struct catalogue *c, int (*fn)(void *arg, const struct disk_record *r),
			void *arg)
{
	struct disk_visit visit = { fn, arg };

	return catalogue_each(c, c->disks, NULL, visit_disk, &visit);
}

struct pool_visit {
	int (*fn)(void *, const struct pool_record *);
	void *arg;
};

static int visit_pool(void *arg, MDB_val k, MDB_val v)
{
	struct pool_visit *visit = arg;
	struct pool_record r;
	int err = record_decode_pool(v.mv_data, v.mv_size, &r);

	return err ? err : visit->fn(visit->arg, &r);
}

int catalogue_each_pool(struct catalogue *c, int (*fn)(void *arg, const struct pool_record *r),
			void *arg)
{
	struct pool_visit visit = { fn, arg };

	return catalogue_each(c, c->pools, NULL, visit_pool, &visit);
}

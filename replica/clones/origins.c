// SPDX-License-Identifier: GPL-2.0-or-later
/* Records of clones. A disk's origin has the disk as its key, its pages the disk and their number. */
#include "origins.h"

#include <errno.h>
#include <string.h>

#include "catalogue_inner.h"
#include "record.h"

/* ---- origins ---- */

int origin_put(struct catalogue_txn *t, uint32_t disk, const struct origin_record *r)
{
	struct key key = key_of1(disk);
	struct record w;

	record_encode_origin(&w, r);
	return catalogue_put_record(t, t->c->origins, &key, &w);
}

int origin_get(struct catalogue *c, uint32_t disk, struct origin_record *out)
{
	struct key key = key_of1(disk);
	MDB_val k = key_val(&key), v;
	MDB_txn *txn;
	int err = catalogue_begin_read(c, &txn);

	if (err)
		return err;
	err = from_mdb(mdb_get(txn, c->origins, &k, &v));
	if (!err)
		err = record_decode_origin(v.mv_data, v.mv_size, out);
	catalogue_end_read(c, txn);
	return err;
}

struct origin_visit {
	int (*fn)(void *, uint32_t, const struct origin_record *);
	void *arg;
};

static int visit_origin(void *arg, MDB_val k, MDB_val v)
{
	struct origin_visit *visit = arg;
	struct origin_record r;
	uint64_t disk;

	if (!key_read(k.mv_data, k.mv_size, &disk, 1) || disk > UINT32_MAX)
		return -EIO;
	return record_decode_origin(v.mv_data, v.mv_size, &r) ?: visit->fn(visit->arg, disk, &r);
}

int origins_each(struct catalogue *c,
		 int (*fn)(void *arg, uint32_t disk, const struct origin_record *r), void *arg)
{
	struct origin_visit visit = { fn, arg };

	return catalogue_each(c, c->origins, NULL, visit_origin, &visit);
}

int origin_forget(struct catalogue_txn *t, uint32_t disk)
{
	struct key key = key_of1(disk);
	int err = catalogue_del_record(t, t->c->origins, &key);

	return err ? err : filled_del(t, disk, 0, UINT64_MAX);
}

/* ---- pages ---- */

int filled_put(struct catalogue_txn *t, uint32_t disk, uint64_t page,
	       const uint8_t bits[FILLED_PAGE_BYTES])
{
	struct key key = key_of2(disk, page);
	MDB_val k = key_val(&key), v = val(bits, FILLED_PAGE_BYTES);

	return remember(t, from_mdb(mdb_put(t->txn, t->c->filled, &k, &v, 0)));
}

/* Deletes what the cursor is at, as long as it is of this disk and before `to`. */
static int del_pages(MDB_cursor *cursor, uint32_t disk, uint64_t from, uint64_t to)
{
	struct key key = key_of2(disk, from);
	MDB_val k = key_val(&key), v;
	uint64_t numbers[2];
	int err = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE));

	while (!err) {
		if (!key_read(k.mv_data, k.mv_size, numbers, 2))
			return -EIO;
		if (numbers[0] != disk || numbers[1] >= to)
			return 0;
		err = from_mdb(mdb_cursor_del(cursor, 0));
		/* The cursor is on the next one already; its first NEXT stays there. */
		if (!err)
			err = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_NEXT));
	}
	return err == -ENOENT ? 0 : err;
}

int filled_del(struct catalogue_txn *t, uint32_t disk, uint64_t from, uint64_t to)
{
	MDB_cursor *cursor;
	int err = from_mdb(mdb_cursor_open(t->txn, t->c->filled, &cursor));

	if (!err) {
		err = del_pages(cursor, disk, from, to);
		mdb_cursor_close(cursor);
	}
	return remember(t, err);
}

struct page_visit {
	int (*fn)(void *, uint64_t, const uint8_t *);
	void *arg;
};

static int visit_page(void *arg, MDB_val k, MDB_val v)
{
	struct page_visit *visit = arg;
	uint64_t numbers[2];

	if (!key_read(k.mv_data, k.mv_size, numbers, 2) || v.mv_size != FILLED_PAGE_BYTES)
		return -EIO;
	return visit->fn(visit->arg, numbers[1], v.mv_data);
}

int filled_each(struct catalogue *c, uint32_t disk,
		int (*fn)(void *arg, uint64_t page, const uint8_t bits[FILLED_PAGE_BYTES]),
		void *arg)
{
	struct page_visit visit = { fn, arg };
	struct key key = key_of1(disk);

	return catalogue_each(c, c->filled, &key, visit_page, &visit);
}

/* Marks behind a place. */
struct tally {
	uint64_t from, count;
};

static int count_page(void *arg, uint64_t page, const uint8_t bits[FILLED_PAGE_BYTES])
{
	struct tally *t = arg;

	for (uint64_t i = 0; i < FILLED_PAGE_BLOCKS; i++)
		if (page * FILLED_PAGE_BLOCKS + i >= t->from)
			t->count += bits[i / 8] >> i % 8 & 1;
	return 0;
}

int origin_lacking(struct catalogue *c, uint32_t disk, uint32_t block_size, uint64_t *bytes)
{
	struct origin_record o;
	struct tally t = { 0 };
	uint64_t blocks;
	int err = block_size ? origin_get(c, disk, &o) : -EIO;

	if (!err) {
		t.from = o.filled;
		err = filled_each(c, disk, count_page, &t);
	}
	if (err)
		return err;
	blocks = (o.size + block_size - 1) / block_size;
	blocks -= o.filled + t.count < blocks ? o.filled + t.count : blocks;
	*bytes = blocks * block_size < o.size ? blocks * block_size : o.size;
	return 0;
}

/* ---- relationships ---- */

int clone_put(struct catalogue_txn *t, const struct clone_record *r)
{
	struct key key = key_of1(r->number);
	struct record w;

	record_encode_clone(&w, r);
	return catalogue_put_record(t, t->c->clones, &key, &w);
}

int clone_del(struct catalogue_txn *t, uint32_t number)
{
	struct key key = key_of1(number);

	return catalogue_del_record(t, t->c->clones, &key);
}

struct clone_visit {
	int (*fn)(void *, const struct clone_record *);
	void *arg;
};

static int visit_clone(void *arg, MDB_val k, MDB_val v)
{
	struct clone_visit *visit = arg;
	struct clone_record r;
	int err = record_decode_clone(v.mv_data, v.mv_size, &r);

	return err ? err : visit->fn(visit->arg, &r);
}

int clones_each(struct catalogue *c, int (*fn)(void *arg, const struct clone_record *r), void *arg)
{
	struct clone_visit visit = { fn, arg };

	return catalogue_each(c, c->clones, NULL, visit_clone, &visit);
}

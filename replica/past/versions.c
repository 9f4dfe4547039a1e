// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A version is in two databases: `versions`, where all of a block follow each
 * other, with its place and length; and `by_last`, where all that a moment needs
 * do, with nothing. Both have the same set, and the totals are sums over it;
 * every change is made to all of them in its transaction.
 */
#include "versions.h"

#include "catalogue_inner.h"

/* Keys that are near are stepped to; a seek costs as much as a few steps. */
#define STEPS_MAX 4

/* ---- a cursor of one disk's versions ---- */

struct walk {
	MDB_cursor *cursor;
	uint32_t disk;
	bool placed, end; /* placed: the version or the end of the disk's is known */
	struct version at;
};

static int walk_open(struct walk *w, MDB_txn *txn, MDB_dbi dbi, uint32_t disk)
{
	*w = (struct walk){ .disk = disk };
	return from_mdb(mdb_cursor_open(txn, dbi, &w->cursor));
}

static int walk_move(struct walk *w, MDB_val k, MDB_cursor_op op)
{
	uint64_t numbers[3], length;
	MDB_val v;
	int err = from_mdb(mdb_cursor_get(w->cursor, &k, &v, op));

	w->placed = !err || err == -ENOENT;
	w->end = err == -ENOENT;
	if (err)
		return w->end ? 0 : err;
	if (!key_read(k.mv_data, k.mv_size, numbers, 3))
		return -EIO;
	w->end = numbers[0] != w->disk;
	if (w->end)
		return 0;
	if (!numbers[2] || !version_value_read(v, &w->at.place, &length))
		return -EIO;
	w->at.block = numbers[1];
	w->at.last = numbers[2];
	w->at.length = length;
	return 0;
}

static bool is_before(const struct version *v, uint64_t block, uint64_t last)
{
	return v->block < block || (v->block == block && v->last < last);
}

/* The first one at or after (block, last); only ever forwards. */
static int walk_to(struct walk *w, uint64_t block, uint64_t last)
{
	struct key k;

	for (int steps = 0; w->placed; steps++) {
		int err;

		if (w->end || !is_before(&w->at, block, last))
			return 0;
		if (steps == STEPS_MAX)
			break;
		err = walk_move(w, (MDB_val){ 0 }, MDB_NEXT);
		if (err)
			return err;
	}
	k = key_of3(w->disk, block, last);
	return walk_move(w, key_val(&k), MDB_SET_RANGE);
}

/* ---- changes ---- */

int version_put(struct catalogue_txn *t, uint32_t disk, const struct version *v)
{
	struct key block = key_of3(disk, v->block, v->last);
	struct key last = key_of3(disk, v->last, v->block);
	struct key packed = key_of2(v->place, v->length);
	MDB_val k = key_val(&block), value = key_val(&packed);
	int err;

	if (!v->last)
		return remember(t, -EINVAL);
	err = from_mdb(mdb_put(t->txn, t->c->versions, &k, &value, MDB_NOOVERWRITE));
	if (err == -EEXIST)
		return err;
	k = key_val(&last);
	value = val(NULL, 0);
	if (!err)
		err = from_mdb(mdb_put(t->txn, t->c->by_last, &k, &value, 0));
	if (!err)
		err = catalogue_count_version(t, disk, v->place, v->length, true);
	return remember(t, err);
}

int version_del(struct catalogue_txn *t, uint32_t disk, uint64_t block, uint64_t last)
{
	struct key by_last = key_of3(disk, last, block);
	MDB_val k = key_val(&by_last);
	struct walk w;
	int err = walk_open(&w, t->txn, t->c->versions, disk);

	if (err)
		return remember(t, err);
	err = walk_to(&w, block, last);
	if (!err && (w.end || w.at.block != block || w.at.last != last)) {
		mdb_cursor_close(w.cursor);
		return -ENOENT;
	}
	if (!err)
		err = from_mdb(mdb_cursor_del(w.cursor, 0));
	mdb_cursor_close(w.cursor);
	if (!err && mdb_del(t->txn, t->c->by_last, &k, NULL))
		err = -EIO;
	if (!err)
		err = catalogue_count_version(t, disk, w.at.place, w.at.length, false);
	return remember(t, err);
}

int version_at(struct catalogue_txn *t, uint32_t disk, uint64_t block, uint64_t g,
	       struct version *v)
{
	struct walk w;
	int err = walk_open(&w, t->txn, t->c->versions, disk);

	if (err)
		return err;
	err = walk_to(&w, block, g);
	mdb_cursor_close(w.cursor);
	if (err)
		return err;
	if (w.end || w.at.block != block)
		return -ENOENT;
	*v = w.at;
	return 0;
}

int version_before(struct catalogue_txn *t, uint32_t disk, uint64_t block, uint64_t before,
		   struct version *v)
{
	struct key key = key_of3(disk, block, before);
	MDB_val k = key_val(&key), ignored;
	MDB_cursor_op op = MDB_PREV;
	struct walk w;
	int err = walk_open(&w, t->txn, t->c->versions, disk);

	if (err)
		return err;
	err = from_mdb(mdb_cursor_get(w.cursor, &k, &ignored, MDB_SET_RANGE));
	if (err == -ENOENT) {
		op = MDB_LAST;
		err = 0;
	}
	if (!err)
		err = walk_move(&w, (MDB_val){ 0 }, op);
	mdb_cursor_close(w.cursor);
	if (err)
		return err;
	if (w.end || w.at.block != block)
		return -ENOENT;
	*v = w.at;
	return 0;
}

/* ---- reading ---- */

int versions_find(struct catalogue *c, uint32_t disk, uint64_t first, size_t count, uint64_t g,
		  struct version *v)
{
	struct walk w;
	MDB_txn *txn;
	int err = catalogue_begin_read(c, &txn);

	if (err)
		return err;
	err = walk_open(&w, txn, c->versions, disk);
	if (!err) {
		for (size_t i = 0; i < count && !err; i++) {
			err = walk_to(&w, first + i, g);
			if (!w.end && w.at.block == first + i)
				v[i] = w.at;
			else
				v[i] = (struct version){ .block = first + i };
		}
		mdb_cursor_close(w.cursor);
	}
	catalogue_end_read(c, txn);
	return err;
}

/* From (last, block) on; only the keys are there, the rest is looked up. */
static int read_between(MDB_cursor *by_last, struct walk *w, struct key start, uint64_t to,
			const struct version *after, struct version *v, size_t room, size_t *count)
{
	MDB_val k = key_val(&start), ignored;
	int err = from_mdb(mdb_cursor_get(by_last, &k, &ignored, MDB_SET_RANGE));
	uint64_t numbers[3], last = 0;

	while (!err && *count < room) {
		if (!key_read(k.mv_data, k.mv_size, numbers, 3))
			return -EIO;
		if (numbers[0] != w->disk || numbers[1] >= to)
			return 0;
		if (!after || numbers[1] != after->last || numbers[2] != after->block) {
			/* Blocks begin anew with each `last`. */
			w->placed = w->placed && numbers[1] == last;
			last = numbers[1];
			err = walk_to(w, numbers[2], last);
			if (err)
				return err;
			if (w->end || w->at.block != numbers[2] || w->at.last != last)
				return -EIO;
			v[(*count)++] = w->at;
		}
		err = from_mdb(mdb_cursor_get(by_last, &k, &ignored, MDB_NEXT));
	}
	return err == -ENOENT ? 0 : err;
}

int versions_between(struct catalogue *c, uint32_t disk, uint64_t from, uint64_t to,
		     const struct version *after, struct version *v, size_t room, size_t *count)
{
	struct key start = key_of2(disk, from);
	size_t found = 0;
	MDB_cursor *by_last;
	struct walk w;
	MDB_txn *txn;
	int err;

	if (after && after->last >= from)
		start = key_of3(disk, after->last, after->block);
	err = catalogue_begin_read(c, &txn);
	if (err)
		return err;
	err = walk_open(&w, txn, c->versions, disk);
	if (!err) {
		err = from_mdb(mdb_cursor_open(txn, c->by_last, &by_last));
		if (!err) {
			err = read_between(by_last, &w, start, to, after, v, room, &found);
			mdb_cursor_close(by_last);
		}
		mdb_cursor_close(w.cursor);
	}
	catalogue_end_read(c, txn);
	if (!err)
		*count = found;
	return err;
}

int versions_of_blocks(struct catalogue *c, uint32_t disk, uint64_t first,
		       const struct version *after, struct version *v, size_t room, size_t *count)
{
	bool goes_on = after && after->block >= first;
	size_t found = 0;
	struct walk w;
	MDB_txn *txn;
	int err = catalogue_begin_read(c, &txn);

	if (err)
		return err;
	err = walk_open(&w, txn, c->versions, disk);
	if (!err) {
		err = walk_to(&w, goes_on ? after->block : first, goes_on ? after->last : 0);
		while (!err && !w.end && found < room) {
			if (!goes_on || w.at.block != after->block || w.at.last != after->last)
				v[found++] = w.at;
			err = walk_move(&w, (MDB_val){ 0 }, MDB_NEXT);
		}
		mdb_cursor_close(w.cursor);
	}
	catalogue_end_read(c, txn);
	if (!err)
		*count = found;
	return err;
}

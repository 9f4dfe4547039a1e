// SPDX-License-Identifier: GPL-2.0-or-later
/* Moments, what is remembered of a disk that has a past, and snapshots. */
#include "catalogue_inner.h"
#include "origins.h"
#include "record.h"
#include "versions.h"

#include <string.h>

int catalogue_put_record(struct catalogue_txn *t, MDB_dbi dbi, const struct key *key,
			 const struct record *w)
{
	MDB_val k = key_val(key), v = val(w->bytes, w->len);

	return remember(t, from_mdb(mdb_put(t->txn, dbi, &k, &v, 0)));
}

int catalogue_del_record(struct catalogue_txn *t, MDB_dbi dbi, const struct key *key)
{
	MDB_val k = key_val(key);
	int err = from_mdb(mdb_del(t->txn, dbi, &k, NULL));

	return remember(t, err == -ENOENT ? 0 : err);
}

/* ---- moments ---- */

int moment_put(struct catalogue_txn *t, uint32_t disk, const struct moment_record *m)
{
	struct key key = key_of2(disk, m->generation);
	struct record w;

	record_encode_moment(&w, m);
	return catalogue_put_record(t, t->c->moments, &key, &w);
}

int moment_del(struct catalogue_txn *t, uint32_t disk, uint64_t generation)
{
	struct key key = key_of2(disk, generation);

	return catalogue_del_record(t, t->c->moments, &key);
}

int moment_get(struct catalogue *c, uint32_t disk, uint64_t generation, struct moment_record *out)
{
	struct key key = key_of2(disk, generation);
	MDB_val k = key_val(&key), v;
	MDB_txn *txn;
	int err = catalogue_begin_read(c, &txn);

	if (err)
		return err;
	err = from_mdb(mdb_get(txn, c->moments, &k, &v));
	if (!err)
		err = record_decode_moment(v.mv_data, v.mv_size, out);
	catalogue_end_read(c, txn);
	return err;
}

struct moment_visit {
	int (*fn)(void *, const struct moment_record *);
	void *arg;
};

static int visit_moment(void *arg, MDB_val k, MDB_val v)
{
	struct moment_visit *visit = arg;
	struct moment_record m;
	int err = record_decode_moment(v.mv_data, v.mv_size, &m);

	return err ? err : visit->fn(visit->arg, &m);
}

int moments_each(struct catalogue *c, uint32_t disk,
		 int (*fn)(void *arg, const struct moment_record *m), void *arg)
{
	struct moment_visit visit = { fn, arg };
	struct key key = key_of1(disk);

	return catalogue_each(c, c->moments, &key, visit_moment, &visit);
}

/* ---- snapshots ---- */

int snapshot_put(struct catalogue_txn *t, const struct snapshot_record *s)
{
	struct key key = key_of1(s->number);
	struct record w;

	record_encode_snapshot(&w, s);
	return catalogue_put_record(t, t->c->snapshots, &key, &w);
}

int snapshot_del(struct catalogue_txn *t, uint32_t number)
{
	struct key key = key_of1(number);

	return catalogue_del_record(t, t->c->snapshots, &key);
}

struct snapshot_visit {
	int (*fn)(void *, const struct snapshot_record *);
	void *arg;
};

static int visit_snapshot(void *arg, MDB_val k, MDB_val v)
{
	struct snapshot_visit *visit = arg;
	struct snapshot_record s;
	int err = record_decode_snapshot(v.mv_data, v.mv_size, &s);

	return err ? err : visit->fn(visit->arg, &s);
}

int snapshots_each(struct catalogue *c, int (*fn)(void *arg, const struct snapshot_record *s),
		   void *arg)
{
	struct snapshot_visit visit = { fn, arg };

	return catalogue_each(c, c->snapshots, NULL, visit_snapshot, &visit);
}

/* ---- tracks ---- */

int track_put(struct catalogue_txn *t, uint32_t disk, const struct track_record *r)
{
	struct key key = key_of1(disk);
	struct record w;

	record_encode_track(&w, r);
	return catalogue_put_record(t, t->c->tracks, &key, &w);
}

int catalogue_read_track(const struct catalogue *c, MDB_txn *txn, uint32_t disk,
			 struct track_record *r)
{
	struct key key = key_of1(disk);
	MDB_val k = key_val(&key), v;
	int err = from_mdb(mdb_get(txn, c->tracks, &k, &v));

	return err ? err : record_decode_track(v.mv_data, v.mv_size, r);
}

int track_get(struct catalogue *c, uint32_t disk, struct track_record *r)
{
	MDB_txn *txn;
	int err = catalogue_begin_read(c, &txn);

	if (err)
		return err;
	err = catalogue_read_track(c, txn, disk, r);
	catalogue_end_read(c, txn);
	return !err && r->gone ? -ENOENT : err;
}

struct track_visit {
	int (*fn)(void *, uint32_t, const struct track_record *);
	void *arg;
	bool gone;
};

static int visit_track(void *arg, MDB_val k, MDB_val v)
{
	struct track_visit *visit = arg;
	struct track_record r;
	uint64_t disk;
	int err;

	if (!key_read(k.mv_data, k.mv_size, &disk, 1) || disk > UINT32_MAX)
		return -EIO;
	err = record_decode_track(v.mv_data, v.mv_size, &r);
	return err || r.gone != visit->gone ? err : visit->fn(visit->arg, disk, &r);
}

int tracks_each(struct catalogue *c,
		int (*fn)(void *arg, uint32_t disk, const struct track_record *t), void *arg)
{
	struct track_visit visit = { .fn = fn, .arg = arg };

	return catalogue_each(c, c->tracks, NULL, visit_track, &visit);
}

struct gone_search {
	uint32_t after, found;
};

static int match_gone(void *arg, uint32_t disk, const struct track_record *r)
{
	struct gone_search *search = arg;

	(void)r;
	if (disk > search->after)
		search->found = disk;
	return search->found != 0;
}

uint32_t track_gone(struct catalogue *c, uint32_t after)
{
	struct gone_search search = { .after = after };
	struct track_visit visit = { .fn = match_gone, .arg = &search, .gone = true };

	catalogue_each(c, c->tracks, NULL, visit_track, &visit);
	return search.found;
}

int track_removed(struct catalogue *c, uint32_t disk)
{
	struct key key = key_of1(disk);
	struct track_record r;
	struct catalogue_txn *t;
	int err = catalogue_begin(c, &t);

	if (err)
		return err;
	if (!catalogue_read_track(c, t->txn, disk, &r) && r.gone)
		catalogue_del_record(t, c->tracks, &key);
	return catalogue_commit(t);
}

/* Goes on from `start` as long as there are keys that begin with it. */
static int forget_from(MDB_cursor *cursor, const struct key *start)
{
	MDB_val k = key_val(start), v;
	int err = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE));

	while (!err && k.mv_size >= start->len && !memcmp(k.mv_data, start->bytes, start->len)) {
		err = from_mdb(mdb_cursor_del(cursor, 0));
		/* The cursor is on the next one already; its first NEXT stays there. */
		if (!err)
			err = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_NEXT));
	}
	return err == -ENOENT ? 0 : err;
}

static int forget_snapshots(MDB_cursor *cursor, uint32_t disk)
{
	struct snapshot_record s;
	MDB_val k, v;
	int err = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_FIRST));

	while (!err) {
		err = record_decode_snapshot(v.mv_data, v.mv_size, &s);
		if (!err && s.disk == disk)
			err = from_mdb(mdb_cursor_del(cursor, 0));
		if (!err)
			err = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_NEXT));
	}
	return err == -ENOENT ? 0 : err;
}

/* All that begins with this disk, or its snapshots. */
static int forget_in(struct catalogue_txn *t, MDB_dbi dbi, uint32_t disk)
{
	struct key key = key_of1(disk);
	MDB_cursor *cursor;
	int err = from_mdb(mdb_cursor_open(t->txn, dbi, &cursor));

	if (err)
		return err;
	err = dbi == t->c->snapshots ? forget_snapshots(cursor, disk) : forget_from(cursor, &key);
	mdb_cursor_close(cursor);
	return err;
}

int track_forget(struct catalogue_txn *t, uint32_t disk)
{
	const struct catalogue *c = t->c;
	const MDB_dbi all[] = { c->versions, c->by_last, c->totals,   c->store_segments,
				c->moments,  c->tracks,  c->snapshots };
	struct track_record track = { 0 };
	bool had = catalogue_read_track(c, t->txn, disk, &track) != -ENOENT;
	int err = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && !err; i++)
		err = forget_in(t, all[i], disk);
	if (!err)
		err = origin_forget(t, disk);
	if (!err && had) {
		track = (struct track_record){ .gone = true };
		err = track_put(t, disk, &track);
	}
	return remember(t, err);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "versions.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>

#include "key.h"
#include "record.h"
#include "unit.h"

static char dir[4096];
static struct catalogue *c;

static void open_it(void)
{
	struct why why;
	bool clean;

	ck_assert_msg(!catalogue_open(dir, &c, &clean, &why), "%s", why.message);
}

static void setup(void)
{
	snprintf(dir, sizeof(dir), "%s", unit_dir());
	open_it();
}

static void teardown(void)
{
	catalogue_close(c);
}

static struct catalogue_txn *begun(void)
{
	struct catalogue_txn *txn;

	ck_assert_int_eq(catalogue_begin(c, &txn), 0);
	return txn;
}

static void commit(struct catalogue_txn *txn)
{
	ck_assert_int_eq(catalogue_commit(txn), 0);
}

static void open_again(void)
{
	catalogue_close(c);
	open_it();
}

struct seen {
	struct moment_record moments[10];
	struct snapshot_record snapshots[10];
	size_t count;
	int stop_with;
};

static int see_moment(void *arg, const struct moment_record *m)
{
	struct seen *s = arg;

	s->moments[s->count++] = *m;
	return s->stop_with;
}

static int see_snapshot(void *arg, const struct snapshot_record *r)
{
	struct seen *s = arg;

	s->snapshots[s->count++] = *r;
	return s->stop_with;
}

static struct seen moments(uint32_t disk)
{
	struct seen s = { .count = 0 };

	ck_assert_int_eq(moments_each(c, disk, see_moment, &s), 0);
	return s;
}

static struct seen snapshots(void)
{
	struct seen s = { .count = 0 };

	ck_assert_int_eq(snapshots_each(c, see_snapshot, &s), 0);
	return s;
}

static const struct moment_record small = { .generation = 255, .time_ms = 1, .tick = true };
static const struct moment_record large = { .generation = UINT64_MAX,
					    .time_ms = 1ull << 41,
					    .size = 1ull << 50,
					    .names = UINT32_MAX,
					    .dropped = true };

static void check_moment(const struct moment_record *a, const struct moment_record *b)
{
	ck_assert_uint_eq(a->generation, b->generation);
	ck_assert_uint_eq(a->time_ms, b->time_ms);
	ck_assert_uint_eq(a->size, b->size);
	ck_assert_uint_eq(a->names, b->names);
	ck_assert(a->tick == b->tick && a->dropped == b->dropped);
}

static void put_moments(uint32_t disk)
{
	struct moment_record middle = { .generation = 256 };
	struct catalogue_txn *txn = begun();

	ck_assert_int_eq(moment_put(txn, disk, &large), 0);
	ck_assert_int_eq(moment_put(txn, disk, &small), 0);
	ck_assert_int_eq(moment_put(txn, disk, &middle), 0);
	commit(txn);
}

START_TEST(moments_in_order)
{
	struct seen s, first = { .stop_with = -ENOENT };
	struct moment_record changed = small;
	struct catalogue_txn *txn;

	put_moments(1);
	put_moments(256);
	open_again();
	s = moments(1);
	ck_assert_uint_eq(s.count, 3);
	check_moment(&s.moments[0], &small);
	ck_assert_uint_eq(s.moments[1].generation, 256);
	check_moment(&s.moments[2], &large);
	ck_assert_int_eq(moments_each(c, 1, see_moment, &first), -ENOENT);
	ck_assert_uint_eq(first.count, 1);
	/* Put again: changed. Deleted twice: deleted. */
	changed.names = 4;
	txn = begun();
	ck_assert_int_eq(moment_put(txn, 1, &changed), 0);
	ck_assert_int_eq(moment_del(txn, 1, 256), 0);
	ck_assert_int_eq(moment_del(txn, 1, 256), 0);
	ck_assert_int_eq(moment_del(txn, 7, 256), 0);
	commit(txn);
	s = moments(1);
	ck_assert_uint_eq(s.count, 2);
	check_moment(&s.moments[0], &changed);
	ck_assert_uint_eq(moments(256).count, 3);
	ck_assert_uint_eq(moments(2).count, 0);
}
END_TEST

static void check_track(uint32_t disk, const struct track_record *want)
{
	struct track_record got;

	ck_assert_int_eq(track_get(c, disk, &got), 0);
	ck_assert_uint_eq(got.block_size, want->block_size);
	ck_assert_uint_eq(got.settled, want->settled);
	ck_assert_uint_eq(got.window_s, want->window_s);
	ck_assert_uint_eq(got.granularity_ms, want->granularity_ms);
	ck_assert_uint_eq(got.limit, want->limit);
	ck_assert_uint_eq(got.restore_from, want->restore_from);
	ck_assert_uint_eq(got.restore_before, want->restore_before);
	ck_assert_uint_eq(got.swept, want->swept);
}

START_TEST(tracks)
{
	static const struct track_record a = { 1, 2, 3, 4, 5, 6, 7, 8 };
	static const struct track_record b = { UINT32_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,
					       UINT64_MAX };
	struct track_record got = { .block_size = 77 };
	struct catalogue_txn *txn = begun();
	struct record w;

	ck_assert_int_eq(track_put(txn, 1, &a), 0);
	ck_assert_int_eq(track_put(txn, UINT32_MAX, &a), 0);
	ck_assert_int_eq(track_put(txn, UINT32_MAX, &b), 0);
	commit(txn);
	open_again();
	check_track(1, &a);
	check_track(UINT32_MAX, &b);
	ck_assert_int_eq(track_get(c, 2, &got), -ENOENT);
	ck_assert_uint_eq(got.block_size, 77);
	/* As it was before there was a last number. */
	record_encode_track(&w, &a);
	ck_assert_int_eq(record_decode_track(w.bytes, w.len - 8, &got), 0);
	ck_assert_uint_eq(got.restore_before, a.restore_before);
	ck_assert_uint_eq(got.swept, 0);
	ck_assert_int_eq(record_decode_track(w.bytes, w.len - 1, &got), -EIO);
}
END_TEST

static struct snapshot_record snapshot(uint32_t number, uint32_t disk)
{
	struct snapshot_record s = { .number = number,
				     .disk = disk,
				     .generation = UINT64_MAX - number,
				     .sync_time_ms = 1ull << 41,
				     .copy_state = 4 };

	memset(s.name, 0xff, sizeof(s.name) - 1);
	if (number & 1)
		memset(s.hold, 'h', sizeof(s.hold) - 1);
	return s;
}

static void put_snapshot(uint32_t number, uint32_t disk)
{
	struct snapshot_record s = snapshot(number, disk);
	struct catalogue_txn *txn = begun();

	ck_assert_int_eq(snapshot_put(txn, &s), 0);
	commit(txn);
}

START_TEST(snapshots_in_order)
{
	static const uint32_t numbers[] = { 256, 3, UINT32_MAX };
	struct catalogue_txn *txn;
	struct seen s;

	for (size_t i = 0; i < UNIT_LENGTH(numbers); i++)
		put_snapshot(numbers[i], 9);
	open_again();
	s = snapshots();
	ck_assert_uint_eq(s.count, 3);
	for (size_t i = 0; i < s.count; i++) {
		struct snapshot_record want = snapshot(s.snapshots[i].number, 9);

		ck_assert(!i || s.snapshots[i].number > s.snapshots[i - 1].number);
		ck_assert_uint_eq(s.snapshots[i].disk, 9);
		ck_assert_uint_eq(s.snapshots[i].generation, want.generation);
		ck_assert_uint_eq(s.snapshots[i].sync_time_ms, want.sync_time_ms);
		ck_assert_uint_eq(s.snapshots[i].copy_state, 4);
		ck_assert_str_eq(s.snapshots[i].name, want.name);
		ck_assert_str_eq(s.snapshots[i].hold, want.hold);
	}
	txn = begun();
	ck_assert_int_eq(snapshot_del(txn, 256), 0);
	ck_assert_int_eq(snapshot_del(txn, 5), 0);
	commit(txn);
	ck_assert_uint_eq(snapshots().count, 2);
}
END_TEST

START_TEST(forgotten)
{
	static const struct track_record record = { 1, 2, 3, 4, 5 };
	struct track_record got;
	struct catalogue_txn *txn;

	for (uint32_t disk = 1; disk < 4; disk++) {
		put_moments(disk);
		put_snapshot(10 + disk, disk);
		put_snapshot(20 + disk, disk);
		txn = begun();
		ck_assert_int_eq(track_put(txn, disk, &record), 0);
		commit(txn);
	}
	txn = begun();
	ck_assert_int_eq(track_forget(txn, 2), 0);
	ck_assert_int_eq(track_forget(txn, 99), 0);
	commit(txn);
	ck_assert_int_eq(track_get(c, 2, &got), -ENOENT);
	ck_assert_uint_eq(track_gone(c, 0), 2);
	ck_assert_uint_eq(track_gone(c, 2), 0);
	ck_assert_int_eq(track_removed(c, 1), 0);
	ck_assert_int_eq(track_removed(c, 2), 0);
	ck_assert_uint_eq(track_gone(c, 0), 0);
	ck_assert_uint_eq(moments(2).count, 0);
	ck_assert_uint_eq(snapshots().count, 4);
	for (size_t i = 0; i < 4; i++)
		ck_assert_uint_ne(snapshots().snapshots[i].disk, 2);
	for (uint32_t disk = 1; disk < 4; disk += 2) {
		ck_assert_uint_eq(moments(disk).count, 3);
		check_track(disk, &record);
	}
}
END_TEST

/* ---- from anywhere ---- */

/* Through LMDB's own hands, with the catalogue closed. */
static void change(void (*fn)(MDB_txn *txn, void *arg), void *arg)
{
	char path[5000];
	MDB_env *env;
	MDB_txn *txn;

	catalogue_close(c);
	snprintf(path, sizeof(path), "%s/catalogue", dir);
	ck_assert_int_eq(mdb_env_create(&env), 0);
	ck_assert_int_eq(mdb_env_set_maxdbs(env, 32), 0);
	ck_assert_int_eq(mdb_env_set_mapsize(env, 1 << 30), 0);
	ck_assert_int_eq(mdb_env_open(env, path, 0, 0600), 0);
	ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	fn(txn, arg);
	ck_assert_int_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	open_it();
}

/* The last byte of each value is cut off, or one more is there. */
static void cut(MDB_txn *txn, void *arg)
{
	static const char *const names[] = { "moments", "tracks", "snapshots" };

	for (size_t i = 0; i < UNIT_LENGTH(names); i++) {
		MDB_val k, v, less;
		uint8_t bytes[1000];
		MDB_cursor *cursor;
		MDB_dbi dbi;

		ck_assert_int_eq(mdb_dbi_open(txn, names[i], 0, &dbi), 0);
		ck_assert_int_eq(mdb_cursor_open(txn, dbi, &cursor), 0);
		ck_assert_int_eq(mdb_cursor_get(cursor, &k, &v, MDB_FIRST), 0);
		less = (MDB_val){ v.mv_size - 1, memcpy(bytes, v.mv_data, v.mv_size) };
		ck_assert_int_eq(mdb_cursor_put(cursor, &k, &less, MDB_CURRENT), 0);
		mdb_cursor_close(cursor);
	}
}

START_TEST(damaged)
{
	static const struct track_record record = { 1, 2, 3, 4, 5 };
	struct track_record got = { .block_size = 77 };
	struct seen s = { .count = 0 };
	struct catalogue_txn *txn;

	put_moments(1);
	put_snapshot(3, 1);
	txn = begun();
	ck_assert_int_eq(track_put(txn, 1, &record), 0);
	commit(txn);
	change(cut, NULL);
	ck_assert_int_eq(moments_each(c, 1, see_moment, &s), -EIO);
	ck_assert_int_eq(snapshots_each(c, see_snapshot, &s), -EIO);
	ck_assert_int_eq(track_get(c, 1, &got), -EIO);
	ck_assert_uint_eq(got.block_size, 77);
	ck_assert_uint_eq(s.count, 0);
	/* Whose snapshot it is cannot be told. */
	txn = begun();
	ck_assert_int_eq(track_forget(txn, 1), -EIO);
	ck_assert_int_eq(catalogue_commit(txn), -EIO);
	ck_assert_int_eq(track_get(c, 1, &got), -EIO);
}
END_TEST

/* ---- schema 1: it had none of these databases ---- */

static void drop(MDB_txn *txn, const char *name)
{
	MDB_dbi dbi;

	ck_assert_int_eq(mdb_dbi_open(txn, name, 0, &dbi), 0);
	ck_assert_int_eq(mdb_drop(txn, dbi, 1), 0);
}

static void to_schema_1(MDB_txn *txn, void *arg)
{
	static const char *const names[] = { "versions", "by_last", "totals",   "store_segments",
					     "moments",  "tracks",  "snapshots" };
	uint8_t one[8] = { 1 };
	MDB_val k = { 6, (void *)"schema" }, v = { sizeof(one), one };
	MDB_dbi dbi;

	for (size_t i = 0; i < UNIT_LENGTH(names); i++)
		drop(txn, names[i]);
	ck_assert_int_eq(mdb_dbi_open(txn, "meta", 0, &dbi), 0);
	ck_assert_int_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
}

static void read_schema(MDB_txn *txn, void *arg)
{
	MDB_val k = { 6, (void *)"schema" }, v;
	MDB_dbi dbi;

	ck_assert_int_eq(mdb_dbi_open(txn, "meta", 0, &dbi), 0);
	ck_assert_int_eq(mdb_get(txn, dbi, &k, &v), 0);
	ck_assert_uint_eq(v.mv_size, 8);
	*(uint8_t *)arg = *(uint8_t *)v.mv_data;
}

START_TEST(schema_1)
{
	struct disk_record disk = { .number = 5, .file_name = "a.img" }, got;
	struct catalogue_txn *txn = begun();
	uint8_t schema = 0;

	ck_assert_int_eq(catalogue_put_disk(txn, &disk), 0);
	commit(txn);
	change(to_schema_1, NULL);
	ck_assert_int_eq(catalogue_disk_by_number(c, 5, &got), 0);
	ck_assert_str_eq(got.file_name, "a.img");
	ck_assert_uint_eq(moments(5).count, 0);
	put_moments(5);
	change(read_schema, &schema);
	ck_assert_uint_eq(schema, CATALOGUE_SCHEMA);
	ck_assert_uint_eq(moments(5).count, 3);
}
END_TEST

UNIT_MAIN("moments", setup, teardown, moments_in_order, tracks, snapshots_in_order, forgotten,
	  damaged, schema_1)

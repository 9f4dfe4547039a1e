// SPDX-License-Identifier: GPL-2.0-or-later
#include "versions.h"

#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "key.h"
#include "segments.h"
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

static void put(uint32_t disk, uint64_t block, uint64_t last, uint64_t place)
{
	struct version v = { block, last, place, 16384 };
	struct catalogue_txn *txn = begun();

	ck_assert_int_eq(version_put(txn, disk, &v), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
}

static void check_same(const struct version *a, const struct version *b)
{
	ck_assert_uint_eq(a->block, b->block);
	ck_assert_uint_eq(a->last, b->last);
	ck_assert_uint_eq(a->place, b->place);
	ck_assert_uint_eq(a->length, b->length);
}

/* ---- a model: all versions in one array, sorted by (disk, block, last) ---- */

#define MODEL_MAX 4000

/* Numbers that sort wrong in other byte orders, or as bytes without a length. */
static const uint64_t numbers[] = { 0,
				    1,
				    2,
				    3,
				    4,
				    5,
				    6,
				    7,
				    127,
				    128,
				    254,
				    255,
				    256,
				    257,
				    258,
				    259,
				    511,
				    512,
				    65535,
				    65536,
				    65537,
				    0xffffff,
				    0x1000000,
				    0x01000001,
				    UINT32_MAX,
				    1ull << 32,
				    (1ull << 32) + 1,
				    1ull << 56,
				    1ull << 63,
				    UINT64_MAX - 2,
				    UINT64_MAX - 1,
				    UINT64_MAX };
static const uint32_t disks[] = { 1, 2, 255, 256, UINT32_MAX };

struct entry {
	uint32_t disk;
	struct version v;
};

static struct entry model[MODEL_MAX];
static size_t model_count;
static uint64_t seed = 1;

static uint64_t any_number(void)
{
	return numbers[unit_below(&seed, UNIT_LENGTH(numbers))];
}

static uint64_t any_last(void)
{
	return numbers[1 + unit_below(&seed, UNIT_LENGTH(numbers) - 1)];
}

static uint32_t any_disk(void)
{
	return disks[unit_below(&seed, UNIT_LENGTH(disks))];
}

static int order(const struct entry *e, uint32_t disk, uint64_t block, uint64_t last)
{
	if (e->disk != disk)
		return e->disk < disk ? -1 : 1;
	if (e->v.block != block)
		return e->v.block < block ? -1 : 1;
	return e->v.last < last ? -1 : e->v.last > last;
}

/* The first that is not before it. */
static size_t model_at(uint32_t disk, uint64_t block, uint64_t last)
{
	size_t i = 0;

	while (i < model_count && order(&model[i], disk, block, last) < 0)
		i++;
	return i;
}

static bool model_has(size_t i, uint32_t disk, uint64_t block)
{
	return i < model_count && model[i].disk == disk && model[i].v.block == block;
}

static int model_put(uint32_t disk, const struct version *v)
{
	size_t i = model_at(disk, v->block, v->last);

	if (model_has(i, disk, v->block) && model[i].v.last == v->last)
		return -EEXIST;
	ck_assert_uint_lt(model_count, MODEL_MAX);
	memmove(&model[i + 1], &model[i], (model_count++ - i) * sizeof(model[0]));
	model[i] = (struct entry){ disk, *v };
	return 0;
}

static int model_del(uint32_t disk, uint64_t block, uint64_t last)
{
	size_t i = model_at(disk, block, last);

	if (!model_has(i, disk, block) || model[i].v.last != last)
		return -ENOENT;
	memmove(&model[i], &model[i + 1], (--model_count - i) * sizeof(model[0]));
	return 0;
}

static struct version any_version(void)
{
	struct version v = { .block = any_number(), .last = any_last() };

	v.length = 1 + unit_below(&seed, UINT32_MAX);
	if (unit_below(&seed, 4))
		v.place = 1 + unit_below(&seed, 5 * SEGMENT_SIZE);
	return v;
}

static void change(struct catalogue_txn *txn)
{
	struct version v = any_version();
	uint32_t disk = any_disk();
	size_t i;

	if (unit_below(&seed, 5) < 3) {
		ck_assert_int_eq(version_put(txn, disk, &v), model_put(disk, &v));
		return;
	}
	if (model_count && unit_below(&seed, 4)) {
		i = unit_below(&seed, model_count);
		disk = model[i].disk;
		v = model[i].v;
	}
	ck_assert_int_eq(version_del(txn, disk, v.block, v.last), model_del(disk, v.block, v.last));
}

static void check_one(struct catalogue_txn *txn)
{
	uint64_t block = any_number(), g = any_number();
	uint32_t disk = any_disk();
	size_t i = model_at(disk, block, g);
	struct version v;

	if (model_has(i, disk, block)) {
		ck_assert_int_eq(version_at(txn, disk, block, g, &v), 0);
		check_same(&v, &model[i].v);
	} else {
		ck_assert_int_eq(version_at(txn, disk, block, g, &v), -ENOENT);
	}
	if (i && model_has(i - 1, disk, block)) {
		ck_assert_int_eq(version_before(txn, disk, block, g, &v), 0);
		check_same(&v, &model[i - 1].v);
	} else {
		ck_assert_int_eq(version_before(txn, disk, block, g, &v), -ENOENT);
	}
}

static void check_find(void)
{
	uint64_t first = any_number(), g = any_number();
	uint32_t disk = any_disk();
	size_t count = 1 + unit_below(&seed, 64);
	struct version v[64];

	if (count > UINT64_MAX - first)
		count = UINT64_MAX - first + 1;
	ck_assert_int_eq(versions_find(c, disk, first, count, g, v), 0);
	for (size_t k = 0; k < count; k++) {
		size_t i = model_at(disk, first + k, g);
		struct version none = { .block = first + k };

		check_same(&v[k], model_has(i, disk, first + k) ? &model[i].v : &none);
	}
}

static int by_last(const void *a, const void *b)
{
	const struct version *x = a, *y = b;

	if (x->last != y->last)
		return x->last < y->last ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

static void check_between(void)
{
	uint64_t from = any_number(), to = any_number();
	static struct version want[MODEL_MAX];
	const struct version *after = NULL;
	uint32_t disk = any_disk();
	size_t n = 0, count, seen = 0, room = 1 + unit_below(&seed, 20);
	struct version v[20], last;

	for (size_t i = 0; i < model_count; i++)
		if (model[i].disk == disk && model[i].v.last >= from && model[i].v.last < to)
			want[n++] = model[i].v;
	qsort(want, n, sizeof(want[0]), by_last);
	for (;;) {
		ck_assert_int_eq(versions_between(c, disk, from, to, after, v, room, &count), 0);
		if (!count)
			break;
		ck_assert_uint_le(seen + count, n);
		for (size_t i = 0; i < count; i++)
			check_same(&v[i], &want[seen++]);
		last = v[count - 1];
		after = &last;
	}
	ck_assert_uint_eq(seen, n);
}

static void check_of_blocks(void)
{
	size_t count, room = 1 + unit_below(&seed, 20);
	const struct version *after = NULL;
	uint32_t disk = any_disk();
	uint64_t first = any_number();
	size_t i = model_at(disk, first, 0);
	struct version v[20], last;

	for (;;) {
		ck_assert_int_eq(versions_of_blocks(c, disk, first, after, v, room, &count), 0);
		if (!count)
			break;
		for (size_t k = 0; k < count; k++, i++) {
			ck_assert(i < model_count && model[i].disk == disk);
			check_same(&v[k], &model[i].v);
		}
		last = v[count - 1];
		after = &last;
	}
	ck_assert(i == model_count || model[i].disk != disk);
}

struct segments_seen {
	struct version_totals sum;
	uint64_t next;
	uint32_t disk;
	struct catalogue_txn *txn;
};

static struct version_totals model_segment(uint32_t disk, uint64_t segment)
{
	struct version_totals t = { 0 };

	for (size_t i = 0; i < model_count; i++) {
		const struct version *v = &model[i].v;

		if (model[i].disk != disk || !v->place || v->place / SEGMENT_SIZE != segment)
			continue;
		t.bytes += v->length;
		t.count++;
	}
	return t;
}

static int see_segment(void *arg, uint64_t segment, const struct version_totals *totals)
{
	struct segments_seen *s = arg;
	struct version_totals want = model_segment(s->disk, segment);

	ck_assert_uint_ge(segment, s->next);
	s->next = segment + 1;
	ck_assert_uint_gt(totals->count, 0);
	ck_assert_uint_eq(totals->count, want.count);
	ck_assert_uint_eq(totals->bytes, want.bytes);
	s->sum.count += totals->count;
	s->sum.bytes += totals->bytes;
	return 0;
}

static void check_totals(uint32_t disk)
{
	struct segments_seen seen = { .disk = disk };
	struct version_totals totals;
	uint64_t zeros = 0, count = 0;

	for (size_t i = 0; i < model_count; i++) {
		count += model[i].disk == disk;
		zeros += model[i].disk == disk && !model[i].v.place;
	}
	ck_assert_int_eq(version_segments(c, disk, see_segment, &seen), 0);
	ck_assert_int_eq(version_totals(c, disk, &totals), 0);
	ck_assert_uint_eq(totals.count, count);
	ck_assert_uint_eq(seen.sum.count, count - zeros);
	ck_assert_uint_eq(totals.bytes, seen.sum.bytes);
}

static void check_segment(struct catalogue_txn *txn)
{
	uint32_t disk = any_disk();
	uint64_t segment = unit_below(&seed, 6);
	struct version_totals want = model_segment(disk, segment), got;

	ck_assert_int_eq(version_segment(txn, disk, segment, &got), want.count ? 0 : -ENOENT);
	if (want.count) {
		ck_assert_uint_eq(got.count, want.count);
		ck_assert_uint_eq(got.bytes, want.bytes);
	}
}

static void check_all(void)
{
	for (unsigned i = 0; i < 20; i++) {
		check_find();
		check_between();
		check_of_blocks();
	}
	for (size_t i = 0; i < UNIT_LENGTH(disks); i++)
		check_totals(disks[i]);
}

START_TEST(like_an_array)
{
	static struct entry before[MODEL_MAX];

	for (unsigned round = 0; round < unit_scaled(100); round++) {
		struct catalogue_txn *txn = begun();
		size_t count = model_count;

		memcpy(before, model, sizeof(before));
		for (unsigned i = unit_below(&seed, 60); i; i--) {
			change(txn);
			check_one(txn);
			check_segment(txn);
		}
		if (unit_below(&seed, 5)) {
			ck_assert_int_eq(catalogue_commit(txn), 0);
		} else {
			catalogue_abort(txn);
			memcpy(model, before, sizeof(before));
			model_count = count;
		}
		if (!unit_below(&seed, 10)) {
			catalogue_close(c);
			open_it();
		}
		check_all();
	}
	/* A disk that is forgotten leaves the others as they are. */
	for (size_t k = 0; k < UNIT_LENGTH(disks); k++) {
		struct catalogue_txn *txn = begun();
		size_t kept = 0;

		ck_assert_int_eq(track_forget(txn, disks[k]), 0);
		ck_assert_int_eq(catalogue_commit(txn), 0);
		for (size_t i = 0; i < model_count; i++)
			if (model[i].disk != disks[k])
				model[kept++] = model[i];
		model_count = kept;
		check_all();
	}
	ck_assert_uint_eq(model_count, 0);
}
END_TEST

START_TEST(keys_sort_as_numbers)
{
	for (size_t i = 0; i < UNIT_LENGTH(numbers); i++) {
		uint64_t back[3];
		struct key a = key_of3(1, numbers[i], UINT64_MAX);

		ck_assert(key_read(a.bytes, a.len, back, 3));
		ck_assert(back[0] == 1 && back[1] == numbers[i] && back[2] == UINT64_MAX);
		ck_assert(!key_read(a.bytes, a.len, back, 2));
		for (size_t len = 0; len < a.len; len++)
			ck_assert(!key_read(a.bytes, len, back, 3));
		if (i) {
			struct key b = key_of3(1, numbers[i - 1], UINT64_MAX);
			size_t len = a.len < b.len ? a.len : b.len;

			ck_assert_int_gt(memcmp(a.bytes, b.bytes, len), 0);
		}
	}
	/* One number has one key only. */
	ck_assert(!key_read("\2\0\1", 3, (uint64_t[1]){ 0 }, 1));
	ck_assert(!key_read("\x9\1\1\1\1\1\1\1\1\1", 10, (uint64_t[1]){ 0 }, 1));
}
END_TEST

/* ---- what is refused ---- */

START_TEST(never_replaced)
{
	struct version v = { 5, 7, 4096, 16384 }, other = { 5, 7, 8192, 1 }, got;
	struct version_totals totals;
	struct catalogue_txn *txn;

	put(1, 5, 7, 4096);
	txn = begun();
	ck_assert_int_eq(version_put(txn, 1, &other), -EEXIST);
	ck_assert_int_eq(version_del(txn, 1, 5, 8), -ENOENT);
	ck_assert_int_eq(version_del(txn, 1, 4, 7), -ENOENT);
	ck_assert_int_eq(version_put(txn, 2, &other), 0);
	/* Neither made the transaction fail. */
	ck_assert_int_eq(catalogue_commit(txn), 0);
	ck_assert_int_eq(versions_find(c, 1, 5, 1, 7, &got), 0);
	check_same(&got, &v);
	ck_assert_int_eq(versions_find(c, 2, 5, 1, 7, &got), 0);
	check_same(&got, &other);
	ck_assert_int_eq(version_totals(c, 1, &totals), 0);
	ck_assert(totals.count == 1 && totals.bytes == 16384);
}
END_TEST

/* 0 says "none" where versions are found. */
START_TEST(no_generation)
{
	struct version v = { .block = 1, .place = 1, .length = 1 };
	struct catalogue_txn *txn = begun();

	ck_assert_int_eq(version_put(txn, 1, &v), -EINVAL);
	ck_assert_int_eq(catalogue_commit(txn), -EINVAL);
}
END_TEST

static int stop(void *arg, uint64_t segment, const struct version_totals *totals)
{
	++*(unsigned *)arg;
	return -ENOENT;
}

START_TEST(a_visit_that_stops)
{
	unsigned calls = 0;

	put(1, 1, 1, 1);
	put(1, 2, 1, 5 * SEGMENT_SIZE);
	ck_assert_int_eq(version_segments(c, 1, stop, &calls), -ENOENT);
	ck_assert_uint_eq(calls, 1);
}
END_TEST

/* ---- from anywhere ---- */

/* Through LMDB's own hands, with the catalogue closed. NULL: deleted. */
static void damage(const char *database, const void *key, size_t key_len, const void *value,
		   size_t len)
{
	MDB_val k = { key_len, (void *)key }, v = { len, (void *)value };
	char path[5000];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	catalogue_close(c);
	snprintf(path, sizeof(path), "%s/catalogue", dir);
	ck_assert_int_eq(mdb_env_create(&env), 0);
	ck_assert_int_eq(mdb_env_set_maxdbs(env, 32), 0);
	ck_assert_int_eq(mdb_env_set_mapsize(env, 1 << 30), 0);
	ck_assert_int_eq(mdb_env_open(env, path, 0, 0600), 0);
	ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	ck_assert_int_eq(mdb_dbi_open(txn, database, MDB_CREATE, &dbi), 0);
	if (value)
		ck_assert_int_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
	else
		ck_assert_int_eq(mdb_del(txn, dbi, &k, NULL), 0);
	ck_assert_int_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	open_it();
}

/* The 12 bytes that were written before schema 5: place and length in full. */
START_TEST(as_it_was_before)
{
	const uint8_t before[12] = { 0x40, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0 };
	const struct version v = { 5, 7, 0x2040, 16384 };
	struct key k = key_of3(1, 5, 7);
	struct version_totals totals;
	struct catalogue_txn *txn;
	struct version got;

	put(1, 5, 7, 4096);
	damage("versions", k.bytes, k.len, before, sizeof(before));
	ck_assert_int_eq(versions_find(c, 1, 5, 1, 7, &got), 0);
	check_same(&got, &v);
	txn = begun();
	ck_assert_int_eq(version_del(txn, 1, 5, 7), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	ck_assert_int_eq(version_totals(c, 1, &totals), 0);
	ck_assert(!totals.count && !totals.bytes);
}
END_TEST

static int pass(void *arg, uint64_t segment, const struct version_totals *totals)
{
	return 0;
}

static void check_unreadable(void)
{
	struct version v[3] = { 0 };
	struct catalogue_txn *txn;
	size_t count = 77;

	ck_assert_int_eq(versions_find(c, 1, 5, 3, 1, v), -EIO);
	ck_assert_int_eq(versions_between(c, 1, 0, 10, NULL, v, 3, &count), -EIO);
	ck_assert_int_eq(versions_of_blocks(c, 1, 0, NULL, v, 3, &count), -EIO);
	ck_assert_uint_eq(count, 77);
	txn = begun();
	ck_assert_int_eq(version_at(txn, 1, 5, 1, v), -EIO);
	ck_assert_int_eq(version_before(txn, 1, 5, 10, v), -EIO);
	ck_assert_int_eq(version_del(txn, 1, 5, 7), -EIO);
	ck_assert_int_eq(catalogue_commit(txn), -EIO);
}

START_TEST(damaged_versions)
{
	struct key k = key_of3(1, 5, 7);
	struct key longer = k;

	put(1, 5, 7, 4096);
	damage("versions", k.bytes, k.len, "12345678901", 11);
	check_unreadable();
	damage("versions", k.bytes, k.len, "1234567890123", 13);
	check_unreadable();
	/* A key of four numbers. */
	damage("versions", k.bytes, k.len, NULL, 0);
	key_add(&longer, 1);
	damage("versions", longer.bytes, longer.len, "123456789012", 12);
	check_unreadable();
}
END_TEST

/* One database has it, and the other has not. */
START_TEST(damaged_order)
{
	struct key block = key_of3(1, 5, 7), last = key_of3(1, 7, 5);
	struct catalogue_txn *txn;
	struct version v;
	size_t count;

	put(1, 5, 7, 4096);
	damage("by_last", last.bytes, last.len, NULL, 0);
	txn = begun();
	ck_assert_int_eq(version_del(txn, 1, 5, 7), -EIO);
	ck_assert_int_eq(catalogue_commit(txn), -EIO);
	damage("by_last", last.bytes, last.len, "", 0);
	damage("versions", block.bytes, block.len, NULL, 0);
	ck_assert_int_eq(versions_between(c, 1, 0, 10, NULL, &v, 1, &count), -EIO);
	damage("by_last", last.bytes, last.len - 1, "", 0);
	ck_assert_int_eq(versions_between(c, 1, 0, 10, NULL, &v, 1, &count), -EIO);
}
END_TEST

START_TEST(damaged_totals)
{
	struct key disk = key_of1(1), segment = key_of2(1, 0);
	static const uint8_t one[16] = { 1, [8] = 1 };
	struct version v = { 5, 8, 4096, 16384 };
	struct version_totals totals;
	struct catalogue_txn *txn;

	put(1, 5, 7, 4096);
	/* Less than what there is. */
	damage("totals", disk.bytes, disk.len, one, sizeof(one));
	txn = begun();
	ck_assert_int_eq(version_del(txn, 1, 5, 7), -EIO);
	ck_assert_int_eq(catalogue_commit(txn), -EIO);
	damage("totals", disk.bytes, disk.len, "", 0);
	ck_assert_int_eq(version_totals(c, 1, &totals), -EIO);
	txn = begun();
	ck_assert_int_eq(version_put(txn, 1, &v), -EIO);
	ck_assert_int_eq(catalogue_commit(txn), -EIO);
	damage("totals", disk.bytes, disk.len, NULL, 0);
	damage("store_segments", segment.bytes, segment.len, "123", 3);
	ck_assert_int_eq(version_segments(c, 1, pass, NULL), -EIO);
	txn = begun();
	ck_assert_int_eq(version_segment(txn, 1, 0, &totals), -EIO);
	ck_assert_int_eq(version_put(txn, 1, &v), -EIO);
	ck_assert_int_eq(catalogue_commit(txn), -EIO);
}
END_TEST

/* ---- threads ---- */

#define BLOCKS 64

static atomic_bool done;
static atomic_uint wrong;

/* Each transaction puts one version of each block, all with the same generation. */
static void *writer(void *arg)
{
	for (uint64_t g = 1; g <= unit_scaled(150); g++) {
		struct catalogue_txn *txn = NULL;
		int err = catalogue_begin(c, &txn);

		for (uint64_t b = 0; b < BLOCKS && !err; b++)
			err = version_put(txn, 1, &(struct version){ b, g, g * BLOCKS + b, 1 });
		for (uint64_t b = 0; b < BLOCKS && !err && g > 20; b++)
			err = version_del(txn, 1, b, g - 20);
		if (err || catalogue_commit(txn)) {
			atomic_fetch_add(&wrong, 1);
			break;
		}
	}
	atomic_store(&done, true);
	return NULL;
}

/* So each reader sees all of a generation, or none of it. */
static void *reader(void *arg)
{
	struct version v[BLOCKS];

	while (!atomic_load(&done)) {
		size_t count = 0;
		uint64_t g = 0;

		if (!versions_between(c, 1, 0, UINT64_MAX, NULL, v, 1, &count) && count)
			g = v[0].last + 10;
		if (versions_find(c, 1, 0, BLOCKS, g, v))
			atomic_fetch_add(&wrong, 1);
		for (uint64_t b = 0; b < BLOCKS; b++)
			if (v[b].block != b || v[b].last != v[0].last ||
			    (v[b].last && v[b].place != v[b].last * BLOCKS + b))
				atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

START_TEST(readers_and_a_writer)
{
	pthread_t threads[21]; /* more than transactions are kept for */

	for (int i = 0; i < 21; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, i ? reader : writer, NULL), 0);
	for (int i = 0; i < 21; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
}
END_TEST

UNIT_MAIN("versions", setup, teardown, like_an_array, keys_sort_as_numbers, never_replaced,
	  no_generation, a_visit_that_stops, as_it_was_before, damaged_versions, damaged_order,
	  damaged_totals, readers_and_a_writer)

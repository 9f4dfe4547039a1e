// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Deaths, power cuts and hostile files, over several lives of one directory.
 *
 * The model is the row of numbers that are there: those of a life go on from what
 * its replay found. Whatever happens, a replay finds 0, 1, 2 ... without a gap,
 * not less than what was promised: acknowledged for a death, flushed for a cut.
 */
#include "segments.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_dir.h"
#include "unit.h"

static struct segment_dir *dir;
static struct segments *s;
static uint8_t data[RECORD_DATA_MAX];

static void open_on(struct segment_dir *d, enum segments_kind kind)
{
	dir = d;
	ck_assert_int_eq(segments_open(dir, kind, 0, &s), 0);
}

static void setup(void)
{
	open_on(fake_dir_new(), SEGMENTS_LOG);
}

static void teardown(void)
{
	segments_close(s);
}

static void go_on_with(struct segment_dir *left, enum segments_kind kind)
{
	segments_close(s);
	open_on(left, kind);
}

static int append(uint64_t number, uint64_t len)
{
	struct record r = { .kind = RECORD_WRITE, .length = len, .generation = number };
	uint64_t place;

	memset(data, (int)(number * 37 + 1), len);
	return segments_append(s, &r, data, &place);
}

struct finds {
	uint64_t next; /* the number that comes next */
	uint64_t last; /* place */
};

static int find_one(void *arg, uint64_t place, const struct record *r, const void *bytes)
{
	struct finds *f = arg;
	const uint8_t *b = bytes;

	ck_assert_uint_eq(r->generation, f->next);
	ck_assert_uint_gt(place, f->last);
	ck_assert(b[0] == (uint8_t)(f->next * 37 + 1) && !memcmp(b, b + 1, r->length - 1));
	f->next++;
	f->last = place;
	return 0;
}

/* So many are there, without a gap. */
static uint64_t replay(void)
{
	struct finds f = { 0, 0 };
	uint64_t end;

	ck_assert_int_eq(segments_replay(s, 0, find_one, &f, &end), 0);
	return f.next;
}

/* ---- many lives ---- */

static uint64_t some_length(uint64_t *seed)
{
	switch (unit_below(seed, 16)) {
	case 0:
		return 1 + unit_below(seed, RECORD_DATA_MAX);
	case 1:
		return RECORD_DATA_MAX;
	default:
		return 1 + unit_below(seed, 9000);
	}
}

/* Appends, flushes, and now and then fails; *flushed is how many are durable. */
static uint64_t live(uint64_t *seed, uint64_t next, uint64_t *flushed)
{
	uint64_t steps = unit_below(seed, 120);
	char name[17];

	while (steps--) {
		snprintf(name, sizeof(name), "%016llx",
			 (unsigned long long)(segments_end(s) / SEGMENT_SIZE));
		if (unit_below(seed, 20) == 0 && fake_dir_file(dir, name))
			fake_fail(fake_dir_file(dir, name), FAKE_WRITE, 1, 1, ENOSPC);
		if (unit_below(seed, 12) == 0 && !segments_flush(s))
			*flushed = next;
		else if (!append(next, some_length(seed)))
			next++;
	}
	return next;
}

/* Nearly one file, so that the next records need another one. */
static uint64_t fill_file(uint64_t next)
{
	while (segments_end(s) % SEGMENT_SIZE + 4 * RECORD_DATA_MAX < SEGMENT_SIZE)
		ck_assert_int_eq(append(next++, RECORD_DATA_MAX), 0);
	return next;
}

static void lives(enum segments_kind kind, uint64_t seed)
{
	uint64_t next = 0, flushed = 0, there;
	unsigned count = 2 + unit_below(&seed, 5);

	go_on_with(fake_dir_new(), kind);
	while (count--) {
		if (unit_below(&seed, 6) == 0)
			next = fill_file(next);
		if (unit_below(&seed, 2) && !segments_flush(s))
			flushed = next;
		next = live(&seed, next, &flushed);
		if (kind == SEGMENTS_LOG && unit_below(&seed, 3) == 0) {
			go_on_with(fake_dir_twin(dir), kind);
			there = replay();
			ck_assert_uint_eq(there, next);
		} else {
			go_on_with(fake_dir_crashed(dir, unit_random(&seed)), kind);
			there = replay();
			ck_assert_uint_ge(there, flushed);
			ck_assert_uint_le(there, next);
			flushed = there;
		}
		/* Looking twice makes no difference. */
		if (count == 1)
			ck_assert_uint_eq(replay(), there);
		next = there;
	}
}

START_TEST(lives_of_a_log)
{
	for (unsigned round = 0; round < unit_scaled(25); round++)
		lives(SEGMENTS_LOG, round);
}
END_TEST

START_TEST(lives_of_a_store)
{
	for (unsigned round = 0; round < unit_scaled(25); round++)
		lives(SEGMENTS_STORE, 100000 + round);
}
END_TEST

/* In a twin, from `from` on, where record `first` is: so much and not more is there. */
static void check_cut(uint64_t seed, uint64_t from, uint64_t first, uint64_t least, uint64_t most)
{
	struct finds f = { first, 0 };
	struct segments *after;
	uint64_t end;

	ck_assert_int_eq(segments_open(fake_dir_crashed(dir, seed), SEGMENTS_LOG, 0, &after), 0);
	ck_assert_int_eq(segments_replay(after, from, find_one, &f, &end), 0);
	ck_assert(f.next >= least && f.next <= most);
	segments_close(after);
}

/* Many power cuts at each step, while the next file begins. */
START_TEST(cuts_around_a_new_file)
{
	for (uint64_t round = 0; round < 2; round++) {
		uint64_t seed = round, first, n, sure, from;

		go_on_with(fake_dir_new(), round % 2 ? SEGMENTS_STORE : SEGMENTS_LOG);
		first = n = sure = fill_file(0);
		from = segments_end(s);
		ck_assert_int_eq(segments_flush(s), 0);
		for (int step = 0; step < 20; step++) {
			if (unit_below(&seed, 8) == 0) {
				ck_assert_int_eq(segments_flush(s), 0);
				sure = n;
			} else {
				ck_assert_int_eq(append(n++, RECORD_DATA_MAX / 3), 0);
			}
			for (unsigned i = 0; i < unit_scaled(25); i++)
				check_cut(unit_random(&seed), from, first, sure, n);
		}
		ck_assert_uint_eq(fake_dir_count(dir), 2);
	}
}
END_TEST

/* A file that a power cut took away is never taken for one that was dropped. */
START_TEST(cuts_of_names)
{
	ck_assert_int_eq(append(0, 512), 0);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	ck_assert_uint_eq(replay(), 1);
	ck_assert_int_eq(append(1, 512), 0);
	for (uint64_t seed = 0; seed < 200; seed++)
		check_cut(seed, 0, 0, 0, 2);
}
END_TEST

/* Files that nobody needs come back, or not, and hide nothing. */
START_TEST(cuts_after_a_drop)
{
	uint64_t next = 0, from;

	while (segments_end(s) / SEGMENT_SIZE < 4)
		ck_assert_int_eq(append(next++, RECORD_DATA_MAX), 0);
	ck_assert_int_eq(segments_flush(s), 0);
	from = 3 * SEGMENT_SIZE + 64;
	ck_assert_int_eq(segments_drop_before(s, from), 0);
	for (uint64_t seed = 0; seed < 30; seed++) {
		struct segment_dir *left = fake_dir_crashed(dir, seed);
		struct finds whole = { .next = 126 }, rest = { .next = 126 };
		struct segments *after;
		uint64_t end;

		ck_assert_int_eq(segments_open(left, SEGMENTS_LOG, 0, &after), 0);
		ck_assert_int_eq(segments_replay(after, from, find_one, &whole, &end), 0);
		ck_assert_uint_eq(whole.next, next);
		/* From a place whose file is gone, or before it is. */
		if (!fake_dir_file(left, "0000000000000001") &&
		    !fake_dir_file(left, "0000000000000002")) {
			ck_assert_int_eq(segments_replay(after, 64 + SEGMENT_SIZE, find_one, &rest,
							 &end),
					 0);
			ck_assert_uint_eq(rest.next, next);
		}
		segments_close(after);
	}
}
END_TEST

/* ---- threads ---- */

#define WRITERS 4
#define EACH 1000

static _Atomic uint64_t acknowledged[WRITERS], flushed_of[WRITERS];
static _Atomic bool stop;
static _Atomic unsigned failures;

static void *writer(void *arg)
{
	uint64_t me = (uintptr_t)arg, seed = me, place;
	static uint8_t bytes[WRITERS][9000];

	for (uint64_t i = 1; i <= unit_scaled(EACH); i++) {
		struct record r = { .kind = RECORD_VERSION,
				    .offset = me,
				    .length = 1 + unit_below(&seed, sizeof(bytes[me])),
				    .generation = i };
		uint8_t back[16];

		memset(bytes[me], (int)i, r.length);
		if (segments_append(s, &r, bytes[me], &place) ||
		    segments_read(s, place, 0, back, r.length < 16 ? r.length : 16) ||
		    back[0] != (uint8_t)i)
			atomic_fetch_add(&failures, 1);
		atomic_store(&acknowledged[me], i);
	}
	return NULL;
}

static void *flusher(void *arg)
{
	uint64_t before[WRITERS];

	while (!atomic_load(&stop)) {
		for (int i = 0; i < WRITERS; i++)
			before[i] = atomic_load(&acknowledged[i]);
		if (segments_flush(s))
			atomic_fetch_add(&failures, 1);
		for (int i = 0; i < WRITERS; i++) {
			uint64_t old = atomic_load(&flushed_of[i]);

			while (old < before[i] &&
			       !atomic_compare_exchange_weak(&flushed_of[i], &old, before[i]))
				;
		}
		segments_allocated(s);
		usleep(500);
	}
	return NULL;
}

static int count_each(void *arg, uint64_t place, const struct record *r, const void *bytes)
{
	uint64_t *counts = arg;
	const uint8_t *b = bytes;

	ck_assert_uint_eq(r->generation, ++counts[r->offset]);
	ck_assert(b[0] == (uint8_t)r->generation && !memcmp(b, b + 1, r->length - 1));
	return 0;
}

static void check_left(struct segment_dir *left, const uint64_t least[WRITERS])
{
	uint64_t counts[WRITERS] = { 0 }, end;
	struct segments *after;

	ck_assert_int_eq(segments_open(left, SEGMENTS_LOG, 0, &after), 0);
	ck_assert_int_eq(segments_replay(after, 0, count_each, counts, &end), 0);
	for (int i = 0; i < WRITERS; i++)
		ck_assert_uint_ge(counts[i], least[i]);
	segments_close(after);
}

static void by_many_threads(enum segments_kind kind)
{
	pthread_t threads[WRITERS + 2];
	uint64_t least[WRITERS];

	go_on_with(fake_dir_new(), kind);
	for (uintptr_t i = 0; i < WRITERS + 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, i < WRITERS ? writer : flusher,
						(void *)i),
				 0);
	for (uint64_t seed = 0; seed < 8; seed++) {
		for (int i = 0; i < WRITERS; i++)
			least[i] = atomic_load(&flushed_of[i]);
		check_left(fake_dir_crashed(dir, seed), least);
		for (int i = 0; i < WRITERS && kind == SEGMENTS_LOG; i++)
			least[i] = atomic_load(&acknowledged[i]);
		check_left(fake_dir_twin(dir), least);
		usleep(5000);
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stop, true);
	for (int i = WRITERS; i < WRITERS + 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&failures), 0);
	ck_assert_int_eq(segments_flush(s), 0);
	for (int i = 0; i < WRITERS; i++)
		least[i] = unit_scaled(EACH);
	check_left(fake_dir_crashed(dir, 99), least);
}

START_TEST(log_by_many_threads)
{
	by_many_threads(SEGMENTS_LOG);
}
END_TEST

START_TEST(store_by_many_threads)
{
	by_many_threads(SEGMENTS_STORE);
}
END_TEST

/* What became of each record of each writer, as far as it was told. */
enum fate { UNKNOWN, APPENDED, FAILED };
#define TROUBLED 6
#define TRIES 300
static _Atomic uint8_t fates[TROUBLED][TRIES + 1];

static void *writer_in_trouble(void *arg)
{
	static const uint8_t content[1000];
	uint64_t me = (uintptr_t)arg, place;
	bool failed = false;

	/* However little it has to do, until one of its own has failed. */
	for (uint64_t i = 1; i <= TRIES && (i <= unit_scaled(TRIES) || !failed); i++) {
		struct record r = { RECORD_WRITE, me, sizeof(content), i };
		int err = segments_append(s, &r, content, &place);

		failed |= err;
		atomic_store(&fates[me][i], err ? FAILED : APPENDED);
	}
	return NULL;
}

/* Of a write that fails half is in the file: some of the records of those who waited together. */
static void *trouble_maker(void *arg)
{
	uint64_t seed = 5;

	while (!atomic_load(&stop)) {
		struct file *f = fake_dir_file(dir, "0000000000000001");

		if (f)
			fake_delay(f, FAKE_WRITE, 50); /* so that others come meanwhile */
		if (f)
			fake_fail(f, FAKE_WRITE, 1 + unit_below(&seed, 3), 1, EIO);
		usleep(unit_below(&seed, 300));
	}
	return NULL;
}

static int find_fate(void *arg, uint64_t place, const struct record *r, const void *bytes)
{
	uint8_t(*found_of)[TRIES + 1] = arg;

	found_of[r->offset][r->generation]++;
	return 0;
}

/* As it was told before it ended, so it is. */
static void check_fates(void)
{
	static uint8_t told[TROUBLED][TRIES + 1], found_of[TROUBLED][TRIES + 1];
	struct segments *after;
	uint64_t end;

	for (int i = 0; i < TROUBLED; i++)
		for (int n = 1; n <= TRIES; n++)
			told[i][n] = atomic_load(&fates[i][n]);
	memset(found_of, 0, sizeof(found_of));
	ck_assert_int_eq(segments_open(fake_dir_twin(dir), SEGMENTS_LOG, 0, &after), 0);
	ck_assert_int_eq(segments_replay(after, 0, find_fate, found_of, &end), 0);
	segments_close(after);
	for (int i = 0; i < TROUBLED; i++)
		for (int n = 1; n <= TRIES; n++) {
			ck_assert_uint_le(found_of[i][n], 1);
			if (told[i][n] != UNKNOWN)
				ck_assert_int_eq(found_of[i][n], told[i][n] == APPENDED);
		}
}

START_TEST(many_threads_and_writes_that_fail)
{
	struct record first = { RECORD_WRITE, 0, 1, 0 };
	pthread_t threads[TROUBLED + 1];
	bool failed = false;
	uint64_t place;

	/* Writers can be through before the trouble maker has run at all: the first failure waits. */
	ck_assert_int_eq(segments_append(s, &first, "", &place), 0);
	fake_fail(fake_dir_file(dir, "0000000000000001"), FAKE_WRITE, 1, 1, EIO);
	for (uintptr_t i = 0; i < TROUBLED + 1; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL,
						i < TROUBLED ? writer_in_trouble : trouble_maker,
						(void *)i),
				 0);
	for (int n = 0; n < 20; n++)
		check_fates();
	for (int i = 0; i < TROUBLED; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stop, true);
	pthread_join(threads[TROUBLED], NULL);
	check_fates();
	for (int i = 0; i < TROUBLED; i++)
		for (int n = 1; n <= TRIES; n++)
			failed |= atomic_load(&fates[i][n]) == FAILED;
	ck_assert(failed);
}
END_TEST

static uint64_t places[400];

static void *reader(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	for (unsigned i = 0; i < unit_scaled(2000); i++) {
		uint64_t n = unit_below(&seed, UNIT_LENGTH(places));
		struct record r;
		uint8_t bytes[64];
		int err = segments_check(s, places[n], &r, bytes, sizeof(bytes));

		/* All of it, or it was dropped. */
		if (err ? err != -EBADMSG : bytes[0] != (uint8_t)(n * 37 + 1))
			atomic_fetch_add(&failures, 1);
	}
	return NULL;
}

/* Old files are opened and closed, and dropped, under those who read them. */
START_TEST(reads_beside_drops)
{
	pthread_t threads[4];

	for (uint64_t n = 0; n < UNIT_LENGTH(places); n++) {
		struct record r = { .kind = RECORD_VERSION, .length = 64, .generation = n };

		if (n % 4 == 0) {
			go_on_with(fake_dir_twin(dir), SEGMENTS_STORE);
			segments_replay(s, n ? places[n - 1] : 0, find_one,
					&(struct finds){ n ? n - 1 : 0 }, &(uint64_t){ 0 });
		}
		memset(data, (int)(n * 37 + 1), 64);
		ck_assert_int_eq(segments_append(s, &r, data, &places[n]), 0);
		ck_assert_int_eq(segments_flush(s), 0);
	}
	for (uintptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, (void *)i), 0);
	for (uint64_t n = 1; n < 90; n++) {
		ck_assert_int_eq(segments_drop(s, n), 0);
		usleep(500);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&failures), 0);
}
END_TEST

/* Its replay begins in a file of which a death left the name alone. */
START_TEST(a_file_that_was_not_begun)
{
	uint64_t from = segments_end(s), end;
	struct finds f = { 0, 0 };

	fake_dir_put(dir, "0000000000000001", fake_file_new(NULL, 0));
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	ck_assert_int_eq(segments_replay(s, from, find_one, &f, &end), 0);
	for (uint64_t n = 0; n < 3; n++)
		ck_assert_int_eq(append(n, 100), 0);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	ck_assert_int_eq(segments_replay(s, from, find_one, &f, &end), 0);
	ck_assert_uint_eq(f.next, 3);
}
END_TEST

/* ---- hostile files ---- */

static int count_one(void *arg, uint64_t place, const struct record *r, const void *bytes)
{
	++*(uint64_t *)arg;
	return 0;
}

static uint64_t open_and_look(struct segment_dir *d)
{
	uint64_t count = 0, end;
	struct record r;

	if (segments_open(d, SEGMENTS_LOG, 0, &s)) {
		d->ops->close(d);
		s = NULL;
		return 0;
	}
	dir = d;
	ck_assert_int_eq(segments_replay(s, 0, count_one, &count, &end), 0);
	for (uint64_t at = 64; at < 8192; at += 64)
		segments_check(s, SEGMENT_SIZE + at, &r, data, 100);
	/* It goes on to work, whatever it has found. */
	ck_assert_int_eq(append(0, 512), 0);
	ck_assert_int_eq(segments_flush(s), 0);
	segments_drop(s, 1);
	segments_drop_before(s, UINT64_MAX);
	segments_allocated(s);
	return count;
}

START_TEST(bytes_that_are_changed)
{
	uint64_t seed = 1;
	struct segment_dir *good;

	for (int i = 0; i < 10; i++)
		append(i, 300);
	good = fake_dir_twin(dir);
	for (unsigned round = 0; round < unit_scaled(3000); round++) {
		struct segment_dir *d = fake_dir_twin(good);
		struct file *f = fake_dir_file(d, "0000000000000001");
		uint64_t at = unit_below(&seed, 64 + 10 * 384);
		uint8_t b;

		f->ops->read(f, &b, 1, at, 0);
		b ^= 1 << unit_below(&seed, 8);
		f->ops->write(f, &b, 1, at, 0);
		segments_close(s);
		/* Padding behind 300 bytes is not looked at. */
		if (at >= 64 && (at - 64) % 384 >= 364)
			ck_assert_uint_eq(open_and_look(d), 10);
		else
			ck_assert_uint_eq(open_and_look(d), at < 64 ? 0 : (at - 64) / 384);
	}
	good->ops->close(good);
}
END_TEST

START_TEST(names_and_files_of_others)
{
	static const char *const names[] = { "",
					     "1",
					     "0000000000000000",
					     "000000000000000A",
					     "00000000000000001",
					     "ffffffffffffffff",
					     "0000002000000000",
					     ".",
					     "..",
					     "000000000000000g",
					     "lost+found" };

	for (size_t i = 0; i < UNIT_LENGTH(names); i++)
		fake_dir_put(dir, names[i], fake_file_new("x", 1));
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	ck_assert_uint_eq(segments_end(s) / SEGMENT_SIZE, 1);
	/* Files with our names, and nothing in them. */
	fake_dir_put(dir, "0000000000000003", fake_file_new(NULL, 0));
	fake_dir_put(dir, "0000000000000004", fake_file_new(NULL, 63));
	fake_dir_put(dir, "0000000000000005", fake_file_new(NULL, 1 << 20));
	ck_assert_int_eq(append(0, 512), 0);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	ck_assert_uint_eq(replay(), 1);
	ck_assert_uint_eq(segments_end(s) / SEGMENT_SIZE, 6);
	ck_assert_int_eq(append(1, 512), 0);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	ck_assert_uint_eq(replay(), 2);
	/* The last number there is. */
	fake_dir_put(dir, "0000001fffffffff", fake_file_new(NULL, 0));
	segments_close(s);
	s = NULL;
}
END_TEST

/* What a guest writes looks like records, of the very places where it is. */
START_TEST(records_inside_of_records)
{
	uint64_t first = segments_end(s);
	struct file *f;
	uint8_t *copy = malloc(4096);

	ck_assert_int_eq(append(0, 512), 0);
	f = fake_dir_file(dir, "0000000000000001");
	f->ops->read(f, copy, 576, first % SEGMENT_SIZE, 0);
	/* The same record under another writer: it is in the file, and does not count. */
	go_on_with(fake_dir_new(), SEGMENTS_LOG);
	ck_assert_int_eq(append(0, 512), 0);
	f = fake_dir_file(dir, "0000000000000001");
	f->ops->write(f, copy, 576, first % SEGMENT_SIZE, 0);
	free(copy);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	ck_assert_uint_eq(replay(), 0);
}
END_TEST

START_TEST(a_directory_that_cannot_be_read)
{
	struct segments *none = NULL;
	uint64_t end = 7;

	ck_assert_int_eq(append(0, 512), 0);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	fake_dir_fail(dir, FAKE_DIR_LIST, 1, 1, EIO);
	ck_assert_int_eq(segments_open(dir, SEGMENTS_LOG, 0, &none), -EIO);
	fake_dir_fail(dir, FAKE_DIR_OPEN, 1, 1, EMFILE);
	ck_assert_int_eq(segments_open(dir, SEGMENTS_LOG, 0, &none), -EMFILE);
	fake_fail(fake_dir_file(dir, "0000000000000001"), FAKE_READ, 1, 1, EIO);
	ck_assert_int_eq(segments_open(dir, SEGMENTS_LOG, 0, &none), -EIO);
	ck_assert_ptr_null(none);
	/* An error is not an end. */
	fake_fail(fake_dir_file(dir, "0000000000000001"), FAKE_READ, 2, 1, EIO);
	ck_assert_int_eq(segments_replay(s, 0, find_one, &(struct finds){ 0, 0 }, &end), -EIO);
	ck_assert_uint_eq(end, 7);
	ck_assert_uint_eq(replay(), 1);
	fake_dir_fail(dir, FAKE_DIR_REMOVE, 1, 1, EROFS);
	ck_assert_int_eq(append(1, 512), 0);
	ck_assert_int_eq(segments_drop(s, 1), -EROFS);
	ck_assert_uint_eq(fake_dir_count(dir), 2);
}
END_TEST

UNIT_MAIN("segments' ends", setup, teardown, lives_of_a_log, lives_of_a_store,
	  a_file_that_was_not_begun, cuts_around_a_new_file, cuts_of_names, cuts_after_a_drop,
	  log_by_many_threads, store_by_many_threads, many_threads_and_writes_that_fail,
	  reads_beside_drops, bytes_that_are_changed, names_and_files_of_others,
	  records_inside_of_records, a_directory_that_cannot_be_read)

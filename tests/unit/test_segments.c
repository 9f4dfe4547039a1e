// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Records that are appended and found again: after a death all of them, after a
 * power cut those before the last good flush, and never one without those before
 * it.
 */
#include "segments.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_dir.h"
#include "unit.h"

#define MANY 20000

static struct segment_dir *dir;
static struct segments *s;
static uint8_t data[RECORD_DATA_MAX], got[RECORD_DATA_MAX];

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

/* Another one on what is left. */
static void go_on_with(struct segment_dir *left, enum segments_kind kind)
{
	segments_close(s);
	open_on(left, kind);
}

/* ---- records that tell their number ---- */

static void fill(uint8_t *to, uint64_t number, uint64_t len)
{
	uint64_t seed = number;

	for (uint64_t i = 0; i < len; i += 8) {
		uint64_t v = unit_random(&seed);

		memcpy(to + i, &v, len - i < 8 ? len - i : 8);
	}
}

static struct record record_of(uint64_t number, uint64_t len)
{
	return (struct record){ .kind = RECORD_WRITE,
				.offset = number * 512,
				.length = len,
				.generation = number };
}

static int append(uint64_t number, uint64_t len, uint64_t *place)
{
	struct record r = record_of(number, len);

	fill(data, number, len);
	return segments_append(s, &r, data, place);
}

static uint64_t put(uint64_t number, uint64_t len)
{
	uint64_t place = 0;

	ck_assert_int_eq(append(number, len, &place), 0);
	return place;
}

static void check_record(uint64_t place, uint64_t number, uint64_t len)
{
	struct record r;

	ck_assert_int_eq(segments_check(s, place, &r, got, sizeof(got)), 0);
	ck_assert(r.kind == RECORD_WRITE && r.offset == number * 512 && r.length == len &&
		  r.generation == number);
	fill(data, number, len);
	ck_assert_mem_eq(got, data, len);
}

/* ---- what a replay finds ---- */

static struct {
	uint64_t count, first, places[MANY], numbers[MANY];
	bool in_order; /* each number is the one after that before it */
	uint64_t stop_at;
} found;

static int find_one(void *arg, uint64_t place, const struct record *r, const void *bytes)
{
	uint64_t i = found.count;

	if (i && found.stop_at == i)
		return 77;
	if (bytes) {
		fill(data, r->generation, r->length);
		ck_assert_mem_eq(bytes, data, r->length);
	}
	if (i)
		found.in_order &= r->generation == found.numbers[i - 1] + 1 &&
				  place > found.places[i - 1];
	else
		found.first = r->generation;
	ck_assert_uint_lt(i, MANY);
	found.places[i] = place;
	found.numbers[i] = r->generation;
	found.count++;
	return 0;
}

static uint64_t replay(uint64_t from)
{
	uint64_t end = 0;

	memset(&found, 0, sizeof(found));
	found.in_order = true;
	ck_assert_int_eq(segments_replay(s, from, find_one, NULL, &end), 0);
	ck_assert(found.in_order);
	return end;
}

/* ---- round trips ---- */

static const uint64_t sizes[] = { 1,    2,    63,    64,     65,      512,    4095,
				  4096, 4097, 65536, 524288, 1048575, 1048576 };

static void round_trip(enum segments_kind kind)
{
	uint64_t places[UNIT_LENGTH(sizes)], end;

	go_on_with(fake_dir_new(), kind);
	for (size_t i = 0; i < UNIT_LENGTH(sizes); i++) {
		places[i] = put(i, sizes[i]);
		ck_assert(i == 0 || places[i] == places[i - 1] + record_space(sizes[i - 1]));
	}
	for (size_t i = 0; i < UNIT_LENGTH(sizes); i++) {
		check_record(places[i], i, sizes[i]);
		ck_assert_int_eq(segments_read(s, places[i], sizes[i] / 2, got,
					       sizes[i] - sizes[i] / 2),
				 0);
		ck_assert_mem_eq(got, data + sizes[i] / 2, sizes[i] - sizes[i] / 2);
	}
	end = segments_end(s);
	ck_assert_int_eq(segments_flush(s), 0);
	go_on_with(fake_dir_crashed(dir, 1), kind);
	ck_assert_uint_eq(replay(0), end);
	ck_assert_uint_eq(found.count, UNIT_LENGTH(sizes));
	for (size_t i = 0; i < UNIT_LENGTH(sizes); i++)
		check_record(places[i], i, sizes[i]);
	ck_assert_uint_eq(replay(places[5]), end);
	ck_assert(found.first == 5 && found.count == UNIT_LENGTH(sizes) - 5);
	ck_assert_uint_eq(replay(end), end);
	ck_assert_uint_eq(found.count, 0);
}

START_TEST(log_gives_back)
{
	round_trip(SEGMENTS_LOG);
}
END_TEST

START_TEST(store_gives_back)
{
	round_trip(SEGMENTS_STORE);
}
END_TEST

START_TEST(zeros_have_no_data)
{
	struct record r = { .kind = RECORD_ZERO, .length = 1ull << 40, .generation = 1 };
	uint64_t place;

	ck_assert_int_eq(segments_append(s, &r, NULL, &place), 0);
	ck_assert_uint_eq(segments_end(s), place + record_space(0));
	memset(&r, 0, sizeof(r));
	ck_assert_int_eq(segments_check(s, place, &r, NULL, 0), 0);
	ck_assert(r.kind == RECORD_ZERO && r.length == 1ull << 40);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	replay(0);
	ck_assert_uint_eq(found.count, 1);
}
END_TEST

START_TEST(what_is_refused)
{
	struct record bad[] = {
		{ .kind = RECORD_NONE, .length = 1 },
		{ .kind = RECORD_VERSION + 1, .length = 1 },
		{ .kind = RECORD_WRITE, .length = 0 },
		{ .kind = RECORD_WRITE, .length = RECORD_DATA_MAX + 1 },
		{ .kind = RECORD_ZERO, .offset = INT64_MAX, .length = 1 },
		{ .kind = RECORD_ZERO, .length = UINT64_MAX },
	};
	struct record r = record_of(0, 512);
	uint64_t place, first = put(0, 512);

	for (size_t i = 0; i < UNIT_LENGTH(bad); i++)
		ck_assert_int_eq(segments_append(s, &bad[i], data, &place), -EINVAL);
	ck_assert_int_eq(segments_append(s, &r, NULL, &place), -EINVAL);
	ck_assert_int_eq(segments_read(s, first, RECORD_DATA_MAX, got, 1), -EINVAL);
	ck_assert_int_eq(segments_read(s, first, UINT64_MAX, got, 1), -EINVAL);
	ck_assert_int_eq(segments_read(s, first + 1, 0, got, 1), -EINVAL);
	ck_assert_int_eq(segments_read(s, 5 * SEGMENT_SIZE + 64, 0, got, 1), -ENODATA);
	ck_assert_int_eq(segments_read(s, first + (5 << 20), 0, got, 1), -ENODATA);
	ck_assert_int_eq(segments_check(s, first + 64, &r, NULL, 0), -EBADMSG);
	ck_assert_int_eq(segments_check(s, first + 1, &r, NULL, 0), -EBADMSG);
	ck_assert_int_eq(segments_check(s, 0, &r, NULL, 0), -EBADMSG);
	ck_assert_int_eq(segments_check(s, 5 * SEGMENT_SIZE + 64, &r, NULL, 0), -EBADMSG);
	ck_assert_int_eq(segments_check(s, first + (5 << 20), &r, NULL, 0), -EBADMSG);
	check_record(first, 0, 512);
}
END_TEST

START_TEST(a_replay_that_is_stopped)
{
	uint64_t end = 5;

	for (int i = 0; i < 10; i++)
		put(i, 512);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	memset(&found, 0, sizeof(found));
	found.stop_at = 4;
	ck_assert_int_eq(segments_replay(s, 0, find_one, NULL, &end), 77);
	ck_assert(end == 5 && found.count == 4);
}
END_TEST

/* ---- many files ---- */

/* Goes on from `number` until there are so many files; the next number. */
static uint64_t fill_files(uint64_t number, uint64_t files, uint64_t len)
{
	while (segments_end(s) / SEGMENT_SIZE < files)
		put(number++, len);
	return number;
}

START_TEST(goes_on_in_the_next_file)
{
	uint64_t n = fill_files(0, 3, RECORD_DATA_MAX), end;

	ck_assert_uint_eq(fake_dir_count(dir), 3);
	end = segments_end(s);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	ck_assert_uint_eq(replay(0), end);
	ck_assert_uint_eq(found.count, n);
	/* What follows is in a new file, and found after it. */
	ck_assert_uint_eq(put(n, 512) / SEGMENT_SIZE, 4);
	end = segments_end(s);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	ck_assert_uint_eq(replay(0), end);
	ck_assert_uint_eq(found.count, n + 1);
	ck_assert_uint_eq(replay(found.places[n - 1]), end);
	ck_assert_uint_eq(found.count, 2);
}
END_TEST

START_TEST(beyond)
{
	segments_close(s);
	dir = fake_dir_new();
	ck_assert_int_eq(segments_open(dir, SEGMENTS_LOG, 41 * SEGMENT_SIZE + 4096, &s), 0);
	ck_assert_uint_eq(segments_end(s) / SEGMENT_SIZE, 42);
	ck_assert_uint_eq(put(0, 512), 42 * SEGMENT_SIZE + 64);
	segments_close(s);
	dir = fake_dir_new();
	ck_assert_int_eq(segments_open(dir, SEGMENTS_LOG, UINT64_MAX, &s), -EOVERFLOW);
	/* It was not taken over. */
	open_on(dir, SEGMENTS_LOG);
	put(0, 512);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	ck_assert_uint_eq(put(0, 512) / SEGMENT_SIZE, 2);
}
END_TEST

START_TEST(few_files_are_open)
{
	uint64_t place[100];

	for (int i = 0; i < 100; i++) {
		struct segment_dir *twin = fake_dir_twin(dir);

		go_on_with(twin, SEGMENTS_LOG);
		replay(0);
		place[i] = put(i, 512);
	}
	ck_assert_uint_eq(fake_dir_count(dir), 100);
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 100; i++) {
			check_record(place[i], i, 512);
			ck_assert_uint_le(fake_dir_open_files(dir), 40);
		}
	ck_assert_uint_gt(segments_allocated(s), 100 * 4096 - 1);
	ck_assert_uint_le(fake_dir_open_files(dir), 40);
	ck_assert_int_eq(segments_flush(s), 0);
	ck_assert_uint_le(fake_dir_open_files(dir), 40);
	go_on_with(fake_dir_crashed(dir, 1), SEGMENTS_LOG);
	/* None is opened to ask what space they take; the last one was to go on behind it. */
	ck_assert_uint_gt(segments_allocated(s), 100 * 4096 - 1);
	ck_assert_uint_le(fake_dir_open_files(dir), 1);
	replay(0);
	ck_assert_uint_eq(found.count, 100);
}
END_TEST

/* ---- giving back ---- */

START_TEST(freed_space_is_whole_pages)
{
	uint64_t a = put(0, 65536), b = put(1, 65536), c = put(2, 65536), before;

	before = segments_allocated(s);
	ck_assert_int_eq(segments_free_range(s, b, b + record_space(65536)), 0);
	ck_assert_uint_ge(before - segments_allocated(s), 60 << 10);
	check_record(a, 0, 65536);
	check_record(c, 2, 65536);
	ck_assert_int_eq(segments_free_range(s, 9 * SEGMENT_SIZE + 64, 9 * SEGMENT_SIZE + 640), 0);
}
END_TEST

/* What is not needed from one place to another, over the end of a file. */
START_TEST(freed_ranges)
{
	uint64_t n = fill_files(0, 2, RECORD_DATA_MAX), before, end;

	(void)n;
	end = put(1000, 65536);
	put(1001, 512);
	before = segments_allocated(s);
	ck_assert_int_eq(segments_free_range(s, SEGMENT_SIZE, end), 0);
	ck_assert_uint_ge(before - segments_allocated(s), 63 << 20);
	check_record(end, 1000, 65536);
	ck_assert_int_eq(segments_free_range(s, 9 * SEGMENT_SIZE, 11 * SEGMENT_SIZE), 0);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	replay(end);
	ck_assert_uint_eq(found.count, 2);
}
END_TEST

static struct segment_dir_ops ops_meanwhile;
static const struct segment_dir_ops *ops_before;

/* Somebody gives the first file's space back between our looking at it and our noting it. */
static int space_meanwhile(struct segment_dir *d, const char *name, uint64_t *bytes)
{
	int err = ops_before->space(d, name, bytes);

	d->ops = ops_before;
	ck_assert_int_eq(segments_free_range(s, SEGMENT_SIZE, 2 * SEGMENT_SIZE), 0);
	return err;
}

START_TEST(freed_while_it_is_measured)
{
	uint64_t before;

	fill_files(0, 2, RECORD_DATA_MAX);
	ops_before = dir->ops;
	ops_meanwhile = *ops_before;
	ops_meanwhile.space = space_meanwhile;
	dir->ops = &ops_meanwhile;
	before = segments_allocated(s);
	ck_assert_uint_ge(before - segments_allocated(s), 63 << 20);
}
END_TEST

static const char *name_of(uint64_t place)
{
	static char name[17];

	snprintf(name, sizeof(name), "%016llx", (unsigned long long)(place / SEGMENT_SIZE));
	return name;
}

/* What is in memory keeps the space that it has in the file. */
START_TEST(freed_ranges_of_a_store)
{
	uint64_t a, b;

	go_on_with(fake_dir_twin(dir), SEGMENTS_STORE);
	a = put(0, 65536);
	ck_assert_int_eq(segments_flush(s), 0);
	b = put(1, 65536);
	ck_assert_int_eq(segments_free_range(s, b, segments_end(s)), 0);
	fake_space(fake_dir_file(dir, name_of(b)), 0);
	ck_assert_int_eq(segments_flush(s), 0);
	check_record(a, 0, 65536);
	check_record(b, 1, 65536);
}
END_TEST

START_TEST(dropped_files_are_gone)
{
	uint64_t n = fill_files(0, 4, RECORD_DATA_MAX), end, first;
	struct record r;

	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	replay(0);
	first = found.places[0];
	end = put(n, 512);
	ck_assert_int_eq(segments_drop(s, 2), 0);
	ck_assert_int_eq(segments_drop(s, 2), 0);
	ck_assert_uint_eq(fake_dir_count(dir), 4);
	ck_assert_int_eq(segments_check(s, 2 * SEGMENT_SIZE + 64, &r, NULL, 0), -EBADMSG);
	ck_assert_int_eq(segments_read(s, 2 * SEGMENT_SIZE + 64, 0, got, 1), -ENOENT);
	ck_assert_int_eq(segments_drop_before(s, first), 0);
	ck_assert_uint_eq(fake_dir_count(dir), 4);
	ck_assert_int_eq(segments_drop_before(s, 3 * SEGMENT_SIZE), 0);
	ck_assert_uint_eq(fake_dir_count(dir), 3);
	/* File 4 ends before this place, and is not the one that is appended to. */
	ck_assert_int_eq(segments_drop_before(s, end), 0);
	ck_assert_uint_eq(fake_dir_count(dir), 1);
	ck_assert_int_eq(segments_drop_before(s, UINT64_MAX), 0);
	ck_assert_uint_eq(fake_dir_count(dir), 1);
	check_record(end, n, 512);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	replay(0);
	ck_assert(found.count == 1 && found.first == n);
}
END_TEST

START_TEST(a_file_that_ends_at_that_place_is_dropped)
{
	uint64_t end;

	put(0, 512);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	end = replay(0);
	put(1, 512);
	ck_assert_int_eq(segments_drop_before(s, end - 64), 0);
	ck_assert_uint_eq(fake_dir_count(dir), 2);
	ck_assert_int_eq(segments_drop_before(s, end), 0);
	ck_assert_uint_eq(fake_dir_count(dir), 1);
}
END_TEST

START_TEST(replay_passes_a_dropped_file)
{
	uint64_t n = fill_files(0, 3, RECORD_DATA_MAX), in_2 = 0;

	ck_assert_int_eq(segments_flush(s), 0);
	ck_assert_int_eq(segments_drop(s, 2), 0);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	memset(&found, 0, sizeof(found));
	ck_assert_int_eq(segments_replay(s, 0, find_one, NULL, &in_2), 0);
	ck_assert_uint_lt(found.count, n);
	ck_assert_uint_gt(found.count, n / 2 - 2);
	ck_assert_uint_eq(found.numbers[found.count - 1], n - 1);
	replay(SEGMENT_SIZE * 2 + 64);
	ck_assert_uint_eq(found.numbers[found.count - 1], n - 1);
}
END_TEST

START_TEST(the_current_file_is_emptied)
{
	uint64_t before, place, end;

	for (int kind = SEGMENTS_LOG; kind <= SEGMENTS_STORE; kind++) {
		go_on_with(fake_dir_new(), kind);
		for (int i = 0; i < 20; i++)
			put(i, 100000);
		before = segments_allocated(s);
		ck_assert_int_eq(segments_drop(s, 1), 0);
		ck_assert_uint_ge(before - segments_allocated(s), 1900000);
		place = put(20, 4096);
		check_record(place, 20, 4096);
		end = segments_end(s);
		ck_assert_int_eq(segments_flush(s), 0);
		go_on_with(fake_dir_crashed(dir, 3), kind);
		ck_assert_uint_eq(replay(0), end);
		ck_assert(found.count == 1 && found.first == 20);
	}
}
END_TEST

/* ---- failures ---- */

static const char *const first_name = "0000000000000001";

START_TEST(a_failed_append_leaves_its_place)
{
	uint64_t place, a = put(0, 512), end = segments_end(s);
	struct file *f = fake_dir_file(dir, first_name);

	fake_fail(f, FAKE_WRITE, 1, 4, ENOSPC); /* each record, and taking it back */
	ck_assert_int_eq(append(1, 40000, &place), -ENOSPC);
	ck_assert_int_eq(append(1, 40000, &place), -ENOSPC);
	ck_assert_uint_eq(segments_end(s), end);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	ck_assert_uint_eq(replay(0), end);
	ck_assert_uint_eq(found.count, 1);
	check_record(a, 0, 512);

	f = fake_dir_file(dir, first_name);
	go_on_with(fake_dir_new(), SEGMENTS_LOG);
	put(0, 512);
	fake_fail(fake_dir_file(dir, first_name), FAKE_WRITE, 1, 1, EIO);
	ck_assert_int_eq(append(1, 40000, &place), -EIO);
	ck_assert_uint_eq(put(1, 512), end);
	put(2, 30000);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	replay(0);
	ck_assert_uint_eq(found.count, 3);
}
END_TEST

/* It is in the file as a whole, although the write failed, when the next record needs a new file. */
START_TEST(a_failed_append_at_the_end_of_a_file)
{
	uint64_t n = 0, place, size;
	struct file *f;
	uint8_t *whole;

	while (segments_end(s) % SEGMENT_SIZE + record_space(RECORD_DATA_MAX) < SEGMENT_SIZE)
		put(n++, RECORD_DATA_MAX);
	place = put(n, 512);
	f = fake_dir_file(dir, first_name);
	whole = malloc(record_space(512));
	f->ops->read(f, whole, record_space(512), place % SEGMENT_SIZE, 0);
	/* The same again at the same place, as if it had not been acknowledged. */
	size = place % SEGMENT_SIZE;
	go_on_with(fake_dir_new(), SEGMENTS_LOG);
	for (uint64_t i = 0; i < n; i++)
		put(i, RECORD_DATA_MAX);
	ck_assert_uint_eq(segments_end(s), place);
	f = fake_dir_file(dir, first_name);
	f->ops->write(f, whole, record_space(512), size, 0);
	ck_assert_uint_eq(put(n, RECORD_DATA_MAX) / SEGMENT_SIZE, 2);
	put(n + 1, 512);
	free(whole);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	replay(0);
	ck_assert_uint_eq(found.count, n + 2);
}
END_TEST

START_TEST(a_new_file_that_fails)
{
	uint64_t place, end = segments_end(s);

	fake_dir_fail(dir, FAKE_DIR_CREATE, 1, 1, EMFILE);
	ck_assert_int_eq(append(0, 512, &place), -EMFILE);
	ck_assert_uint_eq(segments_end(s), end);
	/* Its head is no reason for a flush to fail. */
	fake_dir_fail_new(dir, FAKE_WRITE, 1, 1000, ENOSPC);
	ck_assert_int_eq(append(0, 512, &place), -ENOSPC);
	ck_assert_int_eq(segments_flush(s), 0);
	fake_fail(fake_dir_file(dir, first_name), FAKE_WRITE, 1, 0, 0);
	ck_assert_uint_eq(put(0, 512), end);
	/* Somebody else's file is in the way. */
	go_on_with(fake_dir_new(), SEGMENTS_LOG);
	fake_dir_put(dir, first_name, fake_file_new("foreign", 7));
	ck_assert_int_eq(append(0, 512, &place), -EEXIST);
	ck_assert_uint_eq(put(0, 512) / SEGMENT_SIZE, 2);
}
END_TEST

START_TEST(no_space_to_reserve)
{
	uint64_t place[10];

	for (int kind = SEGMENTS_LOG; kind <= SEGMENTS_STORE; kind++) {
		go_on_with(fake_dir_new(), kind);
		fake_dir_fail_new(dir, FAKE_ALLOCATE, 1, 1000, ENOSPC);
		for (int i = 0; i < 10; i++)
			place[i] = put(i, 4096);
		for (int i = 0; i < 10; i++)
			check_record(place[i], i, 4096);
		/* Nothing is held back that might find no space later. */
		ck_assert_uint_eq(fake_calls(fake_dir_file(dir, first_name), FAKE_WRITE), 10);
		fake_space(fake_dir_file(dir, first_name), 0);
		ck_assert_int_eq(append(10, 8192, place), -ENOSPC);
		ck_assert_int_eq(segments_flush(s), 0);
		go_on_with(fake_dir_crashed(dir, 1), kind);
		replay(0);
		ck_assert_uint_eq(found.count, 10);
	}
}
END_TEST

START_TEST(no_way_to_reserve)
{
	go_on_with(fake_dir_new(), SEGMENTS_STORE);
	fake_dir_fail_new(dir, FAKE_ALLOCATE, 1, 1000, EOPNOTSUPP);
	for (int i = 0; i < 10; i++)
		put(i, 4096);
	ck_assert_uint_eq(fake_calls(fake_dir_file(dir, first_name), FAKE_WRITE), 0);
	ck_assert_uint_eq(fake_calls(fake_dir_file(dir, first_name), FAKE_ALLOCATE), 1);
}
END_TEST

static void is_broken(int err)
{
	uint64_t place;
	unsigned flushes;

	ck_assert_int_eq(segments_flush(s), err);
	flushes = fake_calls(fake_dir_file(dir, first_name), FAKE_FLUSH);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(segments_flush(s), err);
		ck_assert_int_eq(append(9, 512, &place), err);
	}
	ck_assert_uint_eq(fake_calls(fake_dir_file(dir, first_name), FAKE_FLUSH), flushes);
	check_record(SEGMENT_SIZE + 64, 0, 512);
}

START_TEST(a_failed_flush_is_final)
{
	put(0, 512);
	fake_fail(fake_dir_file(dir, first_name), FAKE_FLUSH, 1, 1, EIO);
	is_broken(-EIO);
	go_on_with(fake_dir_new(), SEGMENTS_LOG);
	put(0, 512);
	fake_dir_fail(dir, FAKE_DIR_FLUSH, 1, 1, EDQUOT);
	is_broken(-EDQUOT);
	go_on_with(fake_dir_new(), SEGMENTS_STORE);
	put(0, 512);
	fake_fail(fake_dir_file(dir, first_name), FAKE_WRITE, 1, 1, EIO);
	is_broken(-EIO);
}
END_TEST

START_TEST(names_that_cannot_be_flushed)
{
	uint64_t place, n = 0;

	while (segments_end(s) % SEGMENT_SIZE + record_space(RECORD_DATA_MAX) < SEGMENT_SIZE)
		put(n++, RECORD_DATA_MAX);
	fake_dir_fail(dir, FAKE_DIR_FLUSH, 1, 1, EIO);
	ck_assert_int_eq(append(n, RECORD_DATA_MAX, &place), -EIO);
	ck_assert_int_eq(append(n, 512, &place), -EIO);
	ck_assert_int_eq(segments_flush(s), -EIO);
}
END_TEST

START_TEST(flushes_that_are_passed_over)
{
	struct file *f;

	put(0, 512);
	f = fake_dir_file(dir, first_name);
	ck_assert_int_eq(segments_flush(s), 0);
	ck_assert_int_eq(segments_flush(s), 0);
	ck_assert_uint_eq(fake_calls(f, FAKE_FLUSH), 1);
	ck_assert_uint_eq(fake_dir_calls(dir, FAKE_DIR_FLUSH), 1);
	put(1, 512);
	ck_assert_int_eq(segments_flush(s), 0);
	ck_assert_uint_eq(fake_calls(f, FAKE_FLUSH), 2);
	ck_assert_uint_eq(fake_dir_calls(dir, FAKE_DIR_FLUSH), 1);
}
END_TEST

/* What one that died acknowledged is flushed with ours. */
START_TEST(a_flush_covers_those_before_us)
{
	for (uint64_t seed = 0; seed < 50; seed++) {
		go_on_with(fake_dir_new(), SEGMENTS_LOG);
		for (int i = 0; i < 10; i++)
			put(i, 4096);
		go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
		replay(0);
		ck_assert_uint_eq(found.count, 10);
		if (seed % 2)
			put(10, 512);
		ck_assert_int_eq(segments_flush(s), 0);
		go_on_with(fake_dir_crashed(dir, seed), SEGMENTS_LOG);
		replay(0);
		ck_assert_uint_eq(found.count, 10 + seed % 2);
	}
}
END_TEST

START_TEST(what_was_flushed_before_us_is_not_again)
{
	struct file *first;

	fill_files(0, 2, RECORD_DATA_MAX);
	ck_assert_int_eq(segments_flush(s), 0);
	fill_files(1000, 3, RECORD_DATA_MAX);
	go_on_with(fake_dir_twin(dir), SEGMENTS_LOG);
	first = fake_dir_file(dir, first_name);
	ck_assert_int_eq(segments_flush(s), 0);
	ck_assert_uint_eq(fake_calls(first, FAKE_FLUSH), 0);
	ck_assert_uint_eq(fake_calls(fake_dir_file(dir, "0000000000000002"), FAKE_FLUSH), 1);
	ck_assert_uint_eq(fake_calls(fake_dir_file(dir, "0000000000000003"), FAKE_FLUSH), 1);
}
END_TEST

/* ---- a real directory ---- */

START_TEST(a_real_directory)
{
	const char *path = unit_dir();
	uint64_t places[200], end;
	struct segment_dir *d;

	for (int life = 0; life < 2; life++) {
		ck_assert_int_eq(segment_dir_open(open(path, O_RDONLY | O_DIRECTORY), &d), 0);
		go_on_with(d, life ? SEGMENTS_STORE : SEGMENTS_LOG);
		replay(0);
		ck_assert_uint_eq(found.count, life * 100);
		for (int i = 0; i < 100; i++)
			places[life * 100 + i] = put(life * 100 + i, 70000);
		ck_assert_int_eq(segments_flush(s), 0);
	}
	end = segments_end(s);
	ck_assert_int_eq(segment_dir_open(open(path, O_RDONLY | O_DIRECTORY), &d), 0);
	go_on_with(d, SEGMENTS_LOG);
	ck_assert_uint_eq(replay(0), end);
	ck_assert_uint_eq(found.count, 200);
	for (int i = 0; i < 200; i++)
		check_record(places[i], i, 70000);
	ck_assert_uint_ge(segments_allocated(s), 200 * 70000);
	ck_assert_int_eq(segments_free_range(s, places[3], places[3] + record_space(70000)), 0);
	check_record(places[2], 2, 70000);
	check_record(places[4], 4, 70000);
	ck_assert_int_eq(segments_drop_before(s, places[100]), 0);
	ck_assert_int_eq(segments_check(s, places[4], &(struct record){ 0 }, NULL, 0), -EBADMSG);
	check_record(places[100], 100, 70000);
}
END_TEST

UNIT_MAIN("segments", setup, teardown, log_gives_back, store_gives_back, zeros_have_no_data,
	  what_is_refused, a_replay_that_is_stopped, goes_on_in_the_next_file, beyond,
	  few_files_are_open, freed_space_is_whole_pages, freed_ranges, freed_while_it_is_measured,
	  freed_ranges_of_a_store, dropped_files_are_gone,
	  a_file_that_ends_at_that_place_is_dropped, replay_passes_a_dropped_file,
	  the_current_file_is_emptied, a_failed_append_leaves_its_place,
	  a_failed_append_at_the_end_of_a_file, a_new_file_that_fails, no_space_to_reserve,
	  no_way_to_reserve, a_failed_flush_is_final, names_that_cannot_be_flushed,
	  flushes_that_are_passed_over, a_flush_covers_those_before_us,
	  what_was_flushed_before_us_is_not_again, a_real_directory)

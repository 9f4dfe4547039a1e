// SPDX-License-Identifier: GPL-2.0-or-later
#include "marks.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "tap_file.h"
#include "unit.h"

#define REGION ((uint64_t)MARKS_REGION)
#define AREA ((uint64_t)MARKS_AREA)
#define NUMBER 7
/* Two pages of differs, and the last region and area are parts of one. */
#define SIZE (700 * AREA + 3 * REGION + 5000)
#define ACTIVE_AT 4096
#define DIFFERS_AT (16u << 20)

static struct file *file;
static struct marks *m;
static unsigned flushes; /* of both sides */

static void setup(void)
{
	file = fake_file_new(NULL, 0);
	ck_assert_int_eq(marks_create(file, NUMBER, SIZE, false, &m), 0);
	flushes = 0;
}

static void teardown(void)
{
	marks_close(m);
}

static void go_on_with(struct file *left)
{
	marks_close(m);
	file = left;
	ck_assert_int_eq(marks_open(file, NUMBER, &m), 0);
}

static void die(void)
{
	go_on_with(fake_twin(file));
}

/* Only what is surely there is. */
static void cut_power(void)
{
	struct file *left = fake_crashed(file, 0);

	for (uint64_t seed = 1; seed < 5; seed++) {
		marks_close(m);
		ck_assert_int_eq(marks_open(left, NUMBER, &m), 0);
		file = left;
		left = fake_crashed(file, seed);
	}
	left->ops->close(left);
}

static int flush(void *arg)
{
	flushes++;
	return arg ? *(int *)arg : 0;
}

static int clean(void)
{
	return marks_clean(m, false, flush, NULL);
}

static void touch(uint64_t off, uint64_t len)
{
	unsigned turn;

	ck_assert_int_eq(marks_begin(m, off, len, &turn), 0);
	marks_end(m, turn);
}

static void set(uint64_t off, uint64_t len)
{
	unsigned turn;

	ck_assert_int_eq(marks_begin(m, off, len, &turn), 0);
	marks_set(m, off, len);
	marks_end(m, turn);
}

static void clear(uint64_t off, uint64_t len)
{
	unsigned turn;

	ck_assert_int_eq(marks_begin(m, off, len, &turn), 0);
	marks_clear(m, off, len);
	marks_end(m, turn);
}

static bool differs(uint64_t off)
{
	uint64_t run;

	return marks_differs(m, off, 1, &run);
}

/* [off, off + len) differs, and nothing else. */
static void check_only(uint64_t off, uint64_t len)
{
	uint64_t run;

	ck_assert_uint_eq(marks_bytes(m), len);
	ck_assert_uint_eq(marks_next(m, 0), len ? off : UINT64_MAX);
	if (!len)
		return;
	ck_assert(marks_differs(m, off, marks_size(m) - off, &run));
	ck_assert_uint_eq(run, len);
}

static unsigned file_flushes(void)
{
	return fake_calls(file, FAKE_FLUSH);
}

/* ---- create and open ---- */

START_TEST(a_new_one_is_durable)
{
	for (int all = 0; all < 2; all++) {
		file = fake_file_new(NULL, 0);
		marks_close(m);
		ck_assert_int_eq(marks_create(file, NUMBER, SIZE, all, &m), 0);
		check_only(0, all ? SIZE : 0);
		ck_assert(!marks_any_active(m));
		cut_power();
		check_only(0, all ? SIZE : 0);
		ck_assert_uint_eq(marks_size(m), SIZE);
		ck_assert(!marks_any_active(m));
	}
}
END_TEST

START_TEST(of_any_size)
{
	static const uint64_t sizes[] = {
		0, 1, REGION, AREA, AREA + 1, 32768 * REGION, 32768 * AREA
	};

	for (size_t i = 0; i < UNIT_LENGTH(sizes); i++) {
		file = fake_file_new(NULL, 0);
		marks_close(m);
		ck_assert_int_eq(marks_create(file, NUMBER, sizes[i], true, &m), 0);
		check_only(0, sizes[i]);
		die();
		check_only(0, sizes[i]);
		if (sizes[i])
			clear(sizes[i] - 1, 1);
		/* Its first byte is its only one, or it lies in it in part only. */
		ck_assert_uint_eq(marks_bytes(m),
				  sizes[i] == 1 || sizes[i] == AREA + 1 ? sizes[i] - 1 : sizes[i]);
	}
	file = fake_file_new(NULL, 0);
	marks_close(m);
	m = NULL;
	ck_assert_int_eq(marks_create(file, NUMBER, 1ull << 50, true, &m), -EFBIG);
	ck_assert_ptr_null(m);
	file->ops->close(file);
}
END_TEST

/* Of whatever was there, nothing is left. */
START_TEST(over_an_old_one)
{
	struct file *twin;

	set(0, SIZE);
	ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
	twin = fake_twin(file);
	marks_close(m);
	file = twin;
	ck_assert_int_eq(marks_create(file, NUMBER + 1, SIZE / 2, false, &m), 0);
	check_only(0, 0);
	twin = fake_crashed(file, 1);
	marks_close(m);
	ck_assert_int_eq(marks_open(twin, NUMBER, &m), -EIO);
	ck_assert_int_eq(marks_open(twin, NUMBER + 1, &m), 0);
	file = twin;
	check_only(0, 0);
}
END_TEST

START_TEST(what_is_no_such_file)
{
	struct marks *none = NULL;
	struct file *other;
	uint64_t size;
	uint8_t *bytes = fake_crash(file, 1, &size);

	for (unsigned at = 0; at < 512; at++) {
		bytes[at] ^= 4;
		other = fake_file_new(bytes, size);
		ck_assert_int_eq(marks_open(other, NUMBER, &none), -EIO);
		other->ops->close(other);
		bytes[at] ^= 4;
		at += at > 32 && at < 500 ? 99 : 0;
	}
	other = fake_file_new(bytes, size);
	ck_assert_int_eq(marks_open(other, NUMBER + 1, &none), -EIO);
	ck_assert_int_eq(other->ops->resize(other, size - 4096), 0);
	ck_assert_int_eq(marks_open(other, NUMBER, &none), -EIO);
	ck_assert_int_eq(other->ops->resize(other, 0), 0);
	ck_assert_int_eq(marks_open(other, NUMBER, &none), -EIO);
	ck_assert_ptr_null(none);
	other->ops->close(other);
	free(bytes);
}
END_TEST

/* All that can fail does once. */
START_TEST(create_and_open_fail)
{
	static const struct {
		enum fake_call call;
		unsigned times;
	} list[] = { { FAKE_RESIZE, 1 },
		     { FAKE_ALLOCATE, 2 },
		     { FAKE_WRITE, 4 },
		     { FAKE_FLUSH, 3 } };
	struct marks *none = NULL;
	struct file *f;

	for (size_t i = 0; i < UNIT_LENGTH(list); i++)
		for (unsigned nth = 1; nth <= list[i].times; nth++) {
			f = fake_file_new(NULL, 0);
			fake_fail(f, list[i].call, nth, 1, ENOSPC);
			ck_assert_int_eq(marks_create(f, NUMBER, SIZE, true, &none), -ENOSPC);
			ck_assert_int_eq(marks_open(f, NUMBER, &none), -EIO);
			/* The same file serves. */
			ck_assert_int_eq(marks_create(f, NUMBER, SIZE, true, &none), 0);
			marks_close(none);
			none = NULL;
		}
	for (unsigned nth = 1; nth <= 3; nth++) {
		fake_fail(file, FAKE_READ, nth, 1, ENXIO);
		ck_assert_int_eq(marks_open(file, NUMBER, &none), -ENXIO);
		ck_assert_ptr_null(none);
	}
}
END_TEST

static void needs_no_space(void)
{
	fake_space(file, 0);
	set(0, SIZE);
	ck_assert_int_eq(clean(), 0);
	ck_assert_int_eq(clean(), 0);
	clear(0, SIZE);
	ck_assert_int_eq(marks_set_all(m), 0);
	ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
}

START_TEST(all_of_its_space_at_once)
{
	uint64_t longer = 40000 * AREA;

	needs_no_space();
	ck_assert_int_eq(marks_resize(m, longer, false), -ENOSPC);
	ck_assert_uint_eq(marks_size(m), SIZE);
	fake_space(file, UINT64_MAX / 2);
	ck_assert_int_eq(marks_resize(m, longer, false), 0);
	needs_no_space();
}
END_TEST

START_TEST(space_that_comes_with_writing)
{
	uint64_t longer = 40000 * AREA;

	marks_close(m);
	file = fake_file_new(NULL, 0);
	fake_fail(file, FAKE_ALLOCATE, 1, 2, EOPNOTSUPP);
	ck_assert_int_eq(marks_create(file, NUMBER, SIZE, false, &m), 0);
	needs_no_space();
	fake_space(file, UINT64_MAX / 2);
	ck_assert_int_eq(marks_resize(m, longer, true), 0);
	needs_no_space();
	cut_power();
	check_only(0, longer);
}
END_TEST

/* ---- what differs ---- */

#define REGIONS (SIZE / REGION + 1)

static bool model[REGIONS];

static uint64_t model_bytes(void)
{
	uint64_t bytes = 0;

	for (uint64_t r = 0; r < REGIONS; r++)
		if (model[r])
			bytes += r == REGIONS - 1 ? SIZE % REGION : REGION;
	return bytes;
}

static void check_model(uint64_t *seed)
{
	uint64_t off = unit_below(seed, SIZE), len = 1 + unit_below(seed, SIZE - off), run;
	uint64_t r = off / REGION;
	bool value = marks_differs(m, off, len, &run);

	ck_assert_uint_eq(marks_bytes(m), model_bytes());
	ck_assert_int_eq(value, model[r]);
	while (r < REGIONS && model[r] == value)
		r++;
	ck_assert_uint_eq(run, (r * REGION < off + len ? r * REGION : off + len) - off);
	for (r = off / REGION; r < REGIONS && !model[r];)
		r++;
	ck_assert_uint_eq(marks_next(m, off), r < REGIONS ? r * REGION : UINT64_MAX);
}

START_TEST(set_and_clear_as_one_by_one)
{
	uint64_t seed = 1;

	for (unsigned round = 0; round < unit_scaled(2000); round++) {
		bool is_long = unit_below(&seed, 30) == 0;
		uint64_t off = unit_below(&seed, SIZE + 1), room = SIZE - off;
		uint64_t len = unit_below(&seed, room + 1);

		if (!is_long && len > 40 * REGION)
			len %= 40 * REGION;
		if (unit_below(&seed, 10) == 0)
			len = room;
		if (unit_below(&seed, 2)) {
			set(off, len);
			for (uint64_t r = off / REGION; len && r * REGION < off + len; r++)
				model[r] = true;
		} else {
			clear(off, len);
			for (uint64_t r = 0; r < REGIONS; r++)
				if (r * REGION >= off &&
				    ((r + 1) * REGION <= off + len || off + len == SIZE))
					model[r] = false;
		}
		check_model(&seed);
		if (unit_below(&seed, 100) == 0) {
			ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
			cut_power();
			check_model(&seed);
		}
	}
}
END_TEST

/* ---- active areas ---- */

START_TEST(what_was_active_differs)
{
	touch(5 * AREA + 7, 100);
	check_only(0, 0);
	ck_assert(marks_any_active(m));
	die();
	check_only(5 * AREA, AREA);
	cut_power();
	check_only(5 * AREA, AREA);
	ck_assert(marks_any_active(m));
	/* It goes on being known when it is active no more. */
	ck_assert_int_eq(clean(), 0);
	ck_assert(!marks_any_active(m));
	cut_power();
	check_only(5 * AREA, AREA);
	/* The last area is shorter. */
	clear(0, SIZE);
	ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
	touch(SIZE - 1, 1);
	cut_power();
	check_only(700 * AREA, SIZE % AREA);
}
END_TEST

START_TEST(a_request_over_two_areas)
{
	touch(8 * AREA - 1, 2);
	cut_power();
	check_only(7 * AREA, 2 * AREA);
}
END_TEST

START_TEST(nothing_touches_nothing)
{
	unsigned before = file_flushes();

	touch(AREA, 0);
	touch(SIZE, 0);
	ck_assert_uint_eq(file_flushes(), before);
	ck_assert(!marks_any_active(m));
}
END_TEST

START_TEST(an_area_costs_one_flush)
{
	unsigned before = file_flushes(), writes = fake_calls(file, FAKE_WRITE);

	for (int i = 0; i < 64; i++)
		touch(9 * AREA + i * REGION, REGION);
	ck_assert_uint_eq(file_flushes(), before + 1);
	ck_assert_uint_eq(fake_calls(file, FAKE_WRITE), writes + 1);
	touch(30 * AREA, 1);
	ck_assert_uint_eq(file_flushes(), before + 2);
}
END_TEST

START_TEST(sequential_work_looks_ahead)
{
	unsigned before = file_flushes();

	for (uint64_t off = 0; off < SIZE; off += REGION)
		touch(off, off + REGION < SIZE ? REGION : SIZE - off);
	/* The first, and then each 17th. */
	ck_assert_uint_eq(file_flushes() - before, 1 + (700 + 16) / 17);
	ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
	touch(20 * AREA, 1);
	touch(21 * AREA, 1);
	cut_power();
	check_only(20 * AREA, 18 * AREA);
}
END_TEST

START_TEST(what_lies_ahead_has_a_round_to_come)
{
	unsigned before;

	touch(0, 1);
	touch(AREA, 1);
	ck_assert_int_eq(clean(), 0);
	before = file_flushes();
	touch(17 * AREA, 1);
	ck_assert_uint_eq(file_flushes(), before);
}
END_TEST

START_TEST(an_area_that_cannot_be_marked)
{
	static const enum fake_call calls[] = { FAKE_WRITE, FAKE_FLUSH };
	unsigned turn = 99;

	for (size_t i = 0; i < UNIT_LENGTH(calls); i++) {
		fake_fail(file, calls[i], 1, 2, EIO);
		ck_assert_int_eq(marks_begin(m, i * 9 * AREA, 1, &turn), -EIO);
		/* Not durable now either. */
		ck_assert_int_eq(marks_begin(m, i * 9 * AREA, 1, &turn), -EIO);
		ck_assert_uint_eq(turn, 99);
		touch(i * 9 * AREA, 1);
		cut_power();
		ck_assert(differs(i * 9 * AREA));
		/* Nobody has begun, so nobody is waited for. */
		ck_assert_int_eq(clean(), 0);
	}
}
END_TEST

/* ---- rounds ---- */

START_TEST(what_is_not_touched_becomes_inactive)
{
	touch(0, 1);
	touch(20 * AREA, 1);
	ck_assert_int_eq(clean(), 0); /* touched since the last one, which there was not */
	ck_assert_uint_eq(flushes, 0);
	ck_assert(marks_any_active(m));
	touch(20 * AREA, 1);
	ck_assert_int_eq(clean(), 0);
	ck_assert_uint_eq(flushes, 1);
	cut_power();
	/* What is written without a flush need not be there. */
	ck_assert(differs(20 * AREA));
	ck_assert_uint_le(marks_bytes(m), 2 * AREA);
}
END_TEST

START_TEST(nothing_to_do_flushes_nothing)
{
	unsigned before = file_flushes(), writes = fake_calls(file, FAKE_WRITE);

	ck_assert_int_eq(clean(), 0);
	ck_assert_uint_eq(flushes, 0);
	/* In step, a round costs no flush of ours. */
	touch(0, 1);
	before = file_flushes();
	writes = fake_calls(file, FAKE_WRITE);
	ck_assert_int_eq(clean(), 0);
	ck_assert_int_eq(clean(), 0);
	ck_assert(!marks_any_active(m));
	ck_assert_uint_eq(flushes, 1);
	ck_assert_uint_eq(file_flushes(), before);
	ck_assert_uint_eq(fake_calls(file, FAKE_WRITE), writes + 1);
}
END_TEST

START_TEST(a_clean_stop_is_durable)
{
	set(0, REGION);
	touch(50 * AREA, 3 * AREA);
	ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
	ck_assert_uint_eq(flushes, 1);
	ck_assert(!marks_any_active(m));
	cut_power();
	check_only(0, REGION);
	ck_assert(!marks_any_active(m));
}
END_TEST

/* Called between: touches an area that the round would let go of. */
static int flush_and_touch(void *arg)
{
	touch(3 * AREA, 1);
	return 0;
}

START_TEST(touched_while_the_round_runs)
{
	for (int all = 0; all < 2; all++) {
		touch(3 * AREA, 1);
		ck_assert_int_eq(clean(), 0);
		ck_assert_int_eq(marks_clean(m, all, flush_and_touch, NULL), all ? -EBUSY : 0);
		cut_power();
		ck_assert(differs(3 * AREA));
		clear(0, SIZE);
		ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
	}
}
END_TEST

START_TEST(a_round_that_fails)
{
	static const struct {
		enum fake_call call;
		unsigned nth;
	} list[] = { { FAKE_WRITE, 1 }, { FAKE_FLUSH, 1 }, { FAKE_WRITE, 2 }, { FAKE_FLUSH, 2 } };
	int err = -EDQUOT;

	for (size_t i = 0; i <= UNIT_LENGTH(list); i++) {
		set(3 * AREA, 1);
		if (i < UNIT_LENGTH(list))
			fake_fail(file, list[i].call, list[i].nth, 1, EIO);
		ck_assert_int_eq(marks_clean(m, true, flush, i == UNIT_LENGTH(list) ? &err : NULL),
				 i == UNIT_LENGTH(list) ? err : -EIO);
		cut_power();
		ck_assert(differs(3 * AREA));
		clear(0, SIZE);
		ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
	}
}
END_TEST

/* After a round that failed, the same is done again, and no less. */
START_TEST(a_round_again)
{
	static const struct {
		enum fake_call call;
		unsigned nth;
	} list[] = { { FAKE_WRITE, 1 }, { FAKE_FLUSH, 1 }, { FAKE_WRITE, 2 }, { FAKE_FLUSH, 2 } };

	for (size_t i = 0; i < UNIT_LENGTH(list); i++) {
		set(3 * AREA, 1);
		fake_fail(file, list[i].call, list[i].nth, 1, EIO);
		ck_assert_int_eq(marks_clean(m, true, flush, NULL), -EIO);
		ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
		cut_power();
		check_only(3 * AREA, REGION);
		clear(0, SIZE);
	}
}
END_TEST

START_TEST(inactive_in_the_file_too)
{
	touch(3 * AREA, 1);
	ck_assert_int_eq(clean(), 0);
	fake_fail(file, FAKE_WRITE, 1, 1, EIO);
	ck_assert_int_eq(clean(), -EIO);
	/* The file may say that it is active. */
	ck_assert(marks_any_active(m));
	ck_assert_int_eq(clean(), 0);
	ck_assert(!marks_any_active(m));
	die();
	check_only(0, 0);
}
END_TEST

/* ---- everything, or what is in doubt ---- */

START_TEST(one_side_was_lost)
{
	touch(3 * AREA, 1);
	touch(9 * AREA, 1);
	ck_assert_int_eq(clean(), 0);
	touch(9 * AREA, 1);
	ck_assert_int_eq(clean(), 0); /* of 3, nothing is in doubt */
	marks_doubt(m);
	check_only(9 * AREA, AREA);
	ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
	cut_power();
	check_only(9 * AREA, AREA);
}
END_TEST

static bool doubt_once(void *arg, const struct tap_call *call)
{
	bool *armed = arg;

	/* What differs is durable, and nothing is inactive yet. */
	if (call->call == FAKE_FLUSH && call->after && *armed) {
		*armed = false;
		marks_doubt(m);
	}
	return true;
}

START_TEST(lost_while_a_round_runs)
{
	bool armed = false;
	struct file *left;

	marks_close(m);
	file = fake_file_new(NULL, 0);
	ck_assert_int_eq(marks_create(tap_file_new(file, doubt_once, &armed), NUMBER, SIZE, false,
				      &m),
			 0);
	set(3 * AREA, 1);
	ck_assert_int_eq(clean(), 0);
	armed = true;
	ck_assert_int_eq(clean(), 0);
	ck_assert(!armed);
	check_only(3 * AREA, AREA);
	left = fake_twin(file);
	marks_close(m);
	ck_assert_int_eq(marks_open(left, NUMBER, &m), 0);
	check_only(3 * AREA, AREA);
}
END_TEST

START_TEST(all_of_it_again)
{
	static const enum fake_call calls[] = { FAKE_WRITE, FAKE_FLUSH };

	ck_assert_int_eq(marks_set_all(m), 0);
	check_only(0, SIZE);
	cut_power();
	check_only(0, SIZE);
	for (size_t i = 0; i < UNIT_LENGTH(calls); i++) {
		clear(0, SIZE);
		ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
		fake_fail(file, calls[i], 1, 1, EIO);
		ck_assert_int_eq(marks_set_all(m), -EIO);
		check_only(0, SIZE);
		ck_assert_int_eq(marks_set_all(m), 0);
		cut_power();
		check_only(0, SIZE);
	}
}
END_TEST

/* ---- sizes ---- */

START_TEST(longer)
{
	/* In the same region; to its end; another area; more pages of both maps. */
	static const uint64_t sizes[] = { SIZE + 1,        SIZE / REGION * REGION + REGION,
					  SIZE + 2 * AREA, SIZE + 1000 * AREA,
					  33000 * AREA,    70000 * AREA + 1 };
	uint64_t first;

	for (size_t i = 0; i < UNIT_LENGTH(sizes); i++)
		for (int with = 0; with < 2; with++) {
			marks_close(m);
			setup();
			set(0, REGION);
			touch(SIZE - 1, 1);
			ck_assert_int_eq(marks_resize(m, sizes[i], with), 0);
			ck_assert_uint_eq(marks_size(m), sizes[i]);
			first = SIZE / REGION * REGION;
			ck_assert_uint_eq(marks_bytes(m), REGION + (with ? sizes[i] - first : 0));
			ck_assert_uint_eq(marks_next(m, REGION), with ? first : UINT64_MAX);
			touch(sizes[i] - 1, 1);
			ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
			cut_power();
			ck_assert_uint_eq(marks_size(m), sizes[i]);
			ck_assert_uint_eq(marks_bytes(m), REGION + (with ? sizes[i] - first : 0));
		}
	ck_assert_int_eq(marks_resize(m, 1ull << 50, true), -EFBIG);
	ck_assert_uint_eq(marks_size(m), sizes[UNIT_LENGTH(sizes) - 1]);
}
END_TEST

/* What becomes longer without differing, where the old last region was marked. */
START_TEST(shorter_and_longer)
{
	uint64_t small = 20 * AREA + REGION + 1;

	set(0, SIZE);
	ck_assert_int_eq(marks_resize(m, small, false), 0);
	check_only(0, small);
	cut_power();
	check_only(0, small);
	clear(0, small);
	ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
	ck_assert(!marks_any_active(m));
	/* Nothing of what the file had behind the end comes back. */
	ck_assert_int_eq(marks_resize(m, SIZE, false), 0);
	check_only(0, 0);
	cut_power();
	check_only(0, 0);
	ck_assert(!marks_any_active(m));
	ck_assert_int_eq(marks_resize(m, SIZE, true), 0); /* it has that size */
	check_only(0, 0);
}
END_TEST

START_TEST(what_was_active_behind_the_end)
{
	touch(SIZE - 1, 1);
	ck_assert_int_eq(marks_resize(m, SIZE / 2, false), 0);
	ck_assert(!marks_any_active(m));
	ck_assert_int_eq(marks_resize(m, SIZE, false), 0);
	die();
	check_only(0, 0);
}
END_TEST

START_TEST(a_size_that_fails)
{
	static const enum fake_call calls[] = { FAKE_ALLOCATE, FAKE_WRITE, FAKE_FLUSH };
	uint64_t sizes[] = { SIZE + 100 * AREA, SIZE / 2 };
	bool succeeded;

	for (size_t s = 0; s < UNIT_LENGTH(sizes); s++)
		for (size_t i = 0; i < UNIT_LENGTH(calls); i++)
			for (unsigned nth = 1; nth < 10; nth++) {
				marks_close(m);
				setup();
				set(AREA, REGION);
				fake_fail(file, calls[i], nth, 1, EIO);
				succeeded = !marks_resize(m, sizes[s], true);
				fake_fail(file, calls[i], 1, 0, EIO);
				ck_assert_uint_eq(marks_size(m), succeeded ? sizes[s] : SIZE);
				ck_assert_int_eq(marks_clean(m, true, flush, NULL), 0);
				cut_power();
				ck_assert_uint_eq(marks_size(m), succeeded ? sizes[s] : SIZE);
				ck_assert(differs(AREA));
				/* The last region of before may be marked, too. */
				if (!succeeded)
					ck_assert_uint_le(marks_bytes(m), REGION + SIZE % REGION);
				ck_assert(succeeded || nth < 6);
				if (succeeded)
					break;
			}
}
END_TEST

static int flush_and_resize(void *arg)
{
	uint64_t *size = arg;

	ck_assert_int_eq(marks_resize(m, *size, false), 0);
	return 0;
}

START_TEST(a_size_while_a_round_runs)
{
	uint64_t sizes[] = { 100 * AREA, 100000 * AREA };

	for (size_t i = 0; i < UNIT_LENGTH(sizes); i++) {
		touch(5 * AREA, 1);
		touch(marks_size(m) - 1, 1);
		ck_assert_int_eq(clean(), 0);
		ck_assert_int_eq(marks_clean(m, false, flush_and_resize, &sizes[i]), 0);
		ck_assert_uint_eq(marks_size(m), sizes[i]);
		ck_assert(!marks_any_active(m));
		die();
		check_only(0, 0);
	}
}
END_TEST

static void clear_unset(uint64_t off, uint64_t len)
{
	unsigned turn;

	ck_assert_int_eq(marks_begin(m, off, len, &turn), 0);
	marks_clear_unset(m, off, len);
	marks_end(m, turn);
}

/* What is set since the watch began is not cleared, whoever sets it; nor what is cut. */
START_TEST(what_is_set_while_it_is_watched)
{
	set(10 * REGION, 20 * REGION);
	marks_watch(m);
	set(15 * REGION + 1, 1);
	clear_unset(0, 20 * REGION);
	ck_assert(!differs(14 * REGION));
	ck_assert(differs(15 * REGION));
	ck_assert(!differs(16 * REGION));
	ck_assert(differs(20 * REGION));
	marks_watch(m);
	clear_unset(0, SIZE);
	check_only(0, 0);
	/* Whatever may be lost of an area is set. */
	marks_watch(m);
	marks_doubt(m);
	clear_unset(0, SIZE);
	ck_assert(differs(15 * REGION));
	marks_watch(m);
	ck_assert_int_eq(marks_set_all(m), 0);
	clear_unset(0, SIZE);
	check_only(0, SIZE);
	/* Also in a longer one, whose maps are others. */
	marks_watch(m);
	set(7 * REGION, 1);
	ck_assert(!marks_were_cut(m));
	ck_assert_int_eq(marks_resize(m, 40 * SIZE, true), 0);
	clear_unset(0, 40 * SIZE);
	ck_assert(differs(7 * REGION));
	ck_assert(!differs(8 * REGION));
	ck_assert(differs(20 * SIZE));
	ck_assert(!marks_were_cut(m));
	ck_assert_int_eq(marks_resize(m, SIZE, false), 0);
	ck_assert(marks_were_cut(m));
	marks_watch(m);
	ck_assert(!marks_were_cut(m));
}
END_TEST

static _Atomic bool watches, has_ended;

static void *watch(void *arg)
{
	bool *waited = arg;

	watches = true;
	marks_watch(m);
	*waited = has_ended;
	return NULL;
}

/* Who has begun before may write what is not watched; so nobody has when the watch has begun. */
START_TEST(a_watch_waits_for_who_has_begun)
{
	bool waited = false;
	pthread_t thread;
	unsigned turn;

	ck_assert_int_eq(marks_begin(m, 0, 1, &turn), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, watch, &waited), 0);
	while (!watches)
		sched_yield();
	usleep(20000); /* if it does not wait, it has returned by then */
	has_ended = true;
	marks_end(m, turn);
	pthread_join(thread, NULL);
	ck_assert(waited);
}
END_TEST

/* ---- outdated ---- */

START_TEST(outdated_is_durable)
{
	unsigned before;

	ck_assert_int_eq(marks_outdated(m), UP_TO_DATE);
	cut_power();
	ck_assert_int_eq(marks_outdated(m), UP_TO_DATE);
	before = file_flushes();
	ck_assert_int_eq(marks_outdate(m, OUTDATED), 0);
	ck_assert_uint_eq(file_flushes(), before + 1);
	ck_assert_int_eq(marks_outdate(m, OUTDATED), 0);
	ck_assert_uint_eq(file_flushes(), before + 1);
	cut_power();
	ck_assert_int_eq(marks_outdated(m), OUTDATED);
	ck_assert_int_eq(marks_outdate(m, MIXED), 0);
	ck_assert_int_eq(marks_outdate(m, OUTDATED), 0);
	cut_power();
	ck_assert_int_eq(marks_outdated(m), MIXED);
	/* Whatever else is written there. */
	ck_assert_int_eq(marks_resize(m, SIZE + 9 * AREA, true), 0);
	ck_assert_int_eq(marks_resize(m, SIZE, true), 0);
	cut_power();
	ck_assert_int_eq(marks_outdated(m), MIXED);
	/* Nobody knows anything of a new one. */
	file = fake_file_new(NULL, 0);
	marks_close(m);
	ck_assert_int_eq(marks_create(file, NUMBER, SIZE, true, &m), 0);
	cut_power();
	ck_assert_int_eq(marks_outdated(m), MIXED);
}
END_TEST

START_TEST(not_known_to_be_outdated)
{
	static const enum fake_call calls[] = { FAKE_WRITE, FAKE_FLUSH };

	for (size_t i = 0; i < UNIT_LENGTH(calls); i++) {
		fake_fail(file, calls[i], 1, 1, EIO);
		ck_assert_int_eq(marks_outdate(m, OUTDATED), -EIO);
		ck_assert_int_eq(marks_outdated(m), UP_TO_DATE);
	}
	ck_assert_int_eq(marks_outdate(m, OUTDATED), 0);
	cut_power();
	ck_assert_int_eq(marks_outdated(m), OUTDATED);
}
END_TEST

START_TEST(renewed)
{
	ck_assert_int_eq(marks_outdate(m, MIXED), 0);
	/* It was not, after all. */
	marks_renew_begin(m);
	marks_renew_end(m, false);
	ck_assert_int_eq(marks_outdated(m), MIXED);
	cut_power();
	ck_assert_int_eq(marks_outdated(m), MIXED);
	/* Or somebody came between. */
	for (int fails = 0; fails < 2; fails++) {
		marks_renew_begin(m);
		if (fails)
			fake_fail(file, FAKE_FLUSH, 1, 1, EIO);
		ck_assert_int_eq(marks_outdate(m, OUTDATED), fails ? -EIO : 0);
		marks_renew_end(m, !fails);
		ck_assert_int_eq(marks_outdated(m), MIXED);
		cut_power();
		ck_assert_int_eq(marks_outdated(m), MIXED);
	}
	marks_renew_begin(m);
	marks_renew_end(m, true);
	ck_assert_int_eq(marks_outdated(m), UP_TO_DATE);
	die();
	ck_assert_int_eq(marks_outdated(m), UP_TO_DATE);
}
END_TEST

/* One that died may have written it, and not flushed. */
START_TEST(outdated_by_one_that_died)
{
	unsigned before;

	fake_fail(file, FAKE_FLUSH, 1, 1, EIO);
	ck_assert_int_eq(marks_outdate(m, OUTDATED), -EIO);
	die();
	ck_assert_int_eq(marks_outdated(m), OUTDATED);
	before = file_flushes();
	ck_assert_int_eq(marks_outdate(m, OUTDATED), 0);
	ck_assert_uint_eq(file_flushes(), before + 1);
	cut_power();
	ck_assert_int_eq(marks_outdated(m), OUTDATED);
}
END_TEST

UNIT_MAIN("marks", setup, teardown, a_new_one_is_durable, of_any_size, over_an_old_one,
	  what_is_no_such_file, create_and_open_fail, all_of_its_space_at_once,
	  space_that_comes_with_writing, set_and_clear_as_one_by_one, what_was_active_differs,
	  a_request_over_two_areas, nothing_touches_nothing, an_area_costs_one_flush,
	  sequential_work_looks_ahead, what_lies_ahead_has_a_round_to_come,
	  an_area_that_cannot_be_marked, what_is_not_touched_becomes_inactive,
	  nothing_to_do_flushes_nothing, a_clean_stop_is_durable, touched_while_the_round_runs,
	  a_round_that_fails, a_round_again, inactive_in_the_file_too, one_side_was_lost,
	  lost_while_a_round_runs, all_of_it_again, longer, shorter_and_longer,
	  what_was_active_behind_the_end, a_size_that_fails, a_size_while_a_round_runs,
	  what_is_set_while_it_is_watched, a_watch_waits_for_who_has_begun, outdated_is_durable,
	  not_known_to_be_outdated, renewed, outdated_by_one_that_died)

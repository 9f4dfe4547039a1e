// SPDX-License-Identifier: GPL-2.0-or-later
#include "disk_model.h"

#include <string.h>

#include "unit.h"

#define SECTORS 16
#define SIZE (SECTORS * MODEL_SECTOR)

static struct disk_model *m;

static void setup(void)
{
	m = model_new(SIZE / 2, SIZE);
}

static void teardown(void)
{
	model_free(m);
}

static uint32_t begin(uint64_t sector, uint64_t content)
{
	uint32_t op = model_begin(m);

	model_set(m, op, sector, content);
	return op;
}

static void done(uint64_t sector, uint64_t content)
{
	model_done(m, begin(sector, content));
}

static void flush(void)
{
	model_flush_end(m, model_flush_begin(m));
}

static bool cut(uint64_t sector, uint64_t content)
{
	return model_allows(m, MODEL_POWER_CUT, sector, content);
}

static bool killed(uint64_t sector, uint64_t content)
{
	return model_allows(m, MODEL_KILL, sector, content);
}

START_TEST(a_power_cut_leaves_what_there_was_since_the_flush)
{
	ck_assert(cut(3, 0) && !cut(3, 7));
	done(3, 7);
	done(3, 8);
	ck_assert(cut(3, 0) && cut(3, 7) && cut(3, 8) && !cut(3, 9) && !cut(4, 7));
	flush();
	ck_assert(!cut(3, 0) && !cut(3, 7) && cut(3, 8));
	done(3, 0);
	ck_assert(cut(3, 0) && !cut(3, 7) && cut(3, 8));
}
END_TEST

START_TEST(a_kill_leaves_what_was_done)
{
	uint32_t op;

	done(3, 7);
	done(3, 8);
	ck_assert(killed(3, 8) && !killed(3, 7) && !killed(3, 0));
	op = begin(3, 9);
	ck_assert(killed(3, 8) && killed(3, 9) && !killed(3, 7));
	model_done(m, op);
	ck_assert(!killed(3, 8) && killed(3, 9));
}
END_TEST

START_TEST(a_flush_promises_what_was_done_before_it_began)
{
	uint32_t op = begin(1, 7);
	uint64_t mark;

	done(2, 7);
	mark = model_flush_begin(m);
	done(2, 8);
	model_done(m, op);
	done(3, 9);
	ck_assert(cut(2, 0));
	model_flush_end(m, mark);
	ck_assert(cut(1, 0) && cut(1, 7));
	ck_assert(!cut(2, 0) && cut(2, 7) && cut(2, 8));
	ck_assert(cut(3, 0) && cut(3, 9));
}
END_TEST

START_TEST(sizes)
{
	uint32_t op = model_begin(m);

	model_resize(m, op, SIZE);
	ck_assert(model_allows_size(m, MODEL_KILL, SIZE / 2));
	model_done(m, op);
	ck_assert(!model_allows_size(m, MODEL_KILL, SIZE / 2));
	ck_assert(model_allows_size(m, MODEL_POWER_CUT, SIZE / 2));
	ck_assert(model_allows_size(m, MODEL_POWER_CUT, SIZE));
	flush();
	ck_assert(!model_allows_size(m, MODEL_POWER_CUT, SIZE / 2));
	ck_assert_uint_eq(model_size(m), SIZE);
}
END_TEST

START_TEST(what_a_power_cut_left_is_durable)
{
	struct disk_model *before = m;

	done(3, 7);
	done(4, 7);
	m = model_after(before, MODEL_POWER_CUT, SIZE / 2);
	model_found(m, MODEL_POWER_CUT, 3, 7);
	model_found(m, MODEL_POWER_CUT, 4, 0);
	ck_assert(cut(3, 7) && !cut(3, 0) && cut(4, 0) && !cut(4, 7));
	model_free(before);
}
END_TEST

START_TEST(what_a_kill_left_is_not)
{
	struct disk_model *before = m;
	uint32_t op;

	done(3, 7);
	op = begin(4, 8);
	model_set(m, op, 5, 8);
	m = model_after(before, MODEL_KILL, SIZE / 2);
	model_found(m, MODEL_KILL, 3, 7);
	model_found(m, MODEL_KILL, 4, 0);
	model_found(m, MODEL_KILL, 5, 8);
	ck_assert(cut(3, 7) && cut(3, 0));
	ck_assert(killed(4, 0) && !killed(4, 8) && cut(4, 8));
	ck_assert(killed(5, 8) && !killed(5, 0) && cut(5, 0));
	flush();
	ck_assert(!cut(3, 0) && cut(4, 0) && !cut(4, 8) && cut(5, 8) && !cut(5, 0));
	model_free(before);
}
END_TEST

START_TEST(names_of_contents)
{
	uint8_t a[MODEL_SECTOR] = { 0 }, b[MODEL_SECTOR];

	ck_assert_uint_eq(content_name(a), 0);
	a[100] = 1;
	ck_assert_uint_ne(content_name(a), 0);
	memcpy(b, a, sizeof(b));
	ck_assert_uint_eq(content_name(a), content_name(b));
	b[101] = 1;
	ck_assert_uint_ne(content_name(a), content_name(b));
	content_fill(a, 5 * MODEL_SECTOR, sizeof(a), content_of_op(9, 5));
	ck_assert_uint_eq(content_name(a), content_of_op(9, 5));
	/* In two pieces, at any place. */
	content_fill(b, 5 * MODEL_SECTOR, 13, content_of_op(9, 5));
	content_fill(b + 13, 5 * MODEL_SECTOR + 13, sizeof(b) - 13, content_of_op(9, 5));
	ck_assert_mem_eq(a, b, sizeof(a));
}
END_TEST

START_TEST(describes)
{
	char text[400];

	done(3, content_of_op(1, 3));
	model_describe(m, MODEL_POWER_CUT, 3, content_of_op(2, 4), text, sizeof(text));
	ck_assert_str_eq(text, "sector 3 holds 2@4, may hold 1@3 or zeros (operation@its sector)");
	model_describe(m, MODEL_KILL, 3, 0, text, sizeof(text));
	ck_assert_str_eq(text, "sector 3 holds zeros, may hold 1@3 (operation@its sector)");
}
END_TEST

UNIT_MAIN("disk model", setup, teardown, a_power_cut_leaves_what_there_was_since_the_flush,
	  a_kill_leaves_what_was_done, a_flush_promises_what_was_done_before_it_began, sizes,
	  what_a_power_cut_left_is_durable, what_a_kill_left_is_not, names_of_contents, describes)

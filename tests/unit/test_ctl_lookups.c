// SPDX-License-Identifier: GPL-2.0-or-later
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "lookups.h"

static struct lookups *l;

static void setup(void)
{
	ck_assert_int_eq(lookups_new(&l), 0);
}

static void teardown(void)
{
	lookups_free(l);
}

static uint32_t put(uint64_t a)
{
	uint32_t number = 0;

	ck_assert_int_eq(lookups_put(l, &(struct lookup){ 7, 9, a, 1 }, &number), 0);
	ck_assert_uint_ne(number, 0);
	return number;
}

START_TEST(numbers)
{
	struct lookup what;
	uint32_t first = put(1), second = put(2), other;

	ck_assert_uint_ne(first, second);
	ck_assert_uint_eq(put(1), first);
	ck_assert_int_eq(lookups_put(l, &(struct lookup){ 8, 9, 1, 1 }, &other), 0);
	ck_assert_uint_ne(other, first);
	ck_assert(lookups_get(l, second, &what));
	ck_assert_uint_eq(what.row, 7);
	ck_assert_uint_eq(what.object, 9);
	ck_assert_uint_eq(what.a, 2);
	ck_assert(!lookups_get(l, 0, &what));
	ck_assert(!lookups_get(l, 99, &what));
	ck_assert(!lookups_hold(l, 99));
	lookups_drop(l, 99);
}
END_TEST

/* The one that was used longest ago goes, but not one that is held. */
START_TEST(forgotten)
{
	struct lookup what;
	uint32_t held = put(0), used = put(1), idle = put(2);

	ck_assert(lookups_hold(l, held));
	for (uint64_t i = 3; i < LOOKUPS_MAX; i++)
		put(i);
	ck_assert(lookups_get(l, used, &what));
	put(LOOKUPS_MAX);
	ck_assert(!lookups_get(l, idle, &what));
	ck_assert(lookups_get(l, used, &what));
	ck_assert_uint_ne(put(2), idle);
	for (uint64_t i = 0; i < 2 * LOOKUPS_MAX; i++)
		put(10000 + i);
	ck_assert(!lookups_get(l, used, &what));
	ck_assert(lookups_get(l, held, &what));
	lookups_drop(l, held);
	for (uint64_t i = 0; i < LOOKUPS_MAX; i++)
		put(20000 + i);
	ck_assert(!lookups_get(l, held, &what));
}
END_TEST

START_TEST(all_held)
{
	uint32_t number = 0;

	for (uint64_t i = 0; i < LOOKUPS_MAX; i++)
		ck_assert(lookups_hold(l, put(i)));
	ck_assert_int_eq(lookups_put(l, &(struct lookup){ 1 }, &number), -EAGAIN);
	ck_assert_uint_eq(number, 0);
	lookups_drop(l, put(17));
	put(LOOKUPS_MAX);
}
END_TEST

/* The next daemon finds them by the same numbers, held by nobody, and gives new ones. */
START_TEST(in_memory_of_others)
{
	static char memory[LOOKUPS_MEMORY] __attribute__((aligned(16)));
	struct lookup what;
	uint32_t number;

	lookups_use_memory(l, memory);
	number = put(5);
	ck_assert(lookups_hold(l, number));
	lookups_free(l);
	ck_assert_int_eq(lookups_new(&l), 0);
	lookups_use_memory(l, memory);
	ck_assert(lookups_get(l, number, &what));
	ck_assert_uint_eq(put(5), number);
	ck_assert_uint_gt(put(6), number);
	for (uint64_t i = 0; i < LOOKUPS_MAX; i++)
		put(1000 + i);
	ck_assert(!lookups_get(l, number, &what));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl lookups");
	TCase *c = tcase_create("lookups");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, numbers);
	tcase_add_test(c, forgotten);
	tcase_add_test(c, all_held);
	tcase_add_test(c, in_memory_of_others);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

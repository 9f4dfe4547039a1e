// SPDX-License-Identifier: GPL-2.0-or-later
/* Bits that say "written since the newest moment": never one too many. */
#include "direct_map.h"
#include "unit.h"

#define BLOCKS 100000u

static struct direct_map map;

static void teardown(void)
{
	direct_free(&map);
}

START_TEST(nothing_at_first)
{
	ck_assert(!direct_has(&map, 0, 0));
	ck_assert(!direct_has(&map, 0, 5));
	ck_assert(!direct_has(&map, UINT64_MAX, 5));
}
END_TEST

START_TEST(one_bit)
{
	direct_add(&map, 40000, 5);
	ck_assert(direct_has(&map, 40000, 5));
	ck_assert(!direct_has(&map, 39999, 5));
	ck_assert(!direct_has(&map, 40001, 5));
	ck_assert(!direct_has(&map, 40000 - 32768, 5));
}
END_TEST

START_TEST(a_moment_voids_them)
{
	direct_add(&map, 7, 5);
	direct_add(&map, 8, 5);
	ck_assert(!direct_has(&map, 7, 6));
	direct_add(&map, 8, 6);
	ck_assert(direct_has(&map, 8, 6));
	ck_assert(!direct_has(&map, 7, 6));
}
END_TEST

/* What was written since the moment that went was written since the one before it, too. */
START_TEST(a_moment_that_goes_leaves_them)
{
	direct_add(&map, 7, 9);
	ck_assert(direct_has(&map, 7, 5));
	direct_add(&map, 8, 5);
	ck_assert(direct_has(&map, 7, 5));
	ck_assert(direct_has(&map, 8, 5));
	ck_assert(!direct_has(&map, 8, 10));
}
END_TEST

/* Against the newest moment each block was added with; moments come and go. */
START_TEST(random_against_a_list)
{
	static uint64_t added[BLOCKS];
	uint64_t seed = 1, moments[8] = { 1 }, clock = 1;
	size_t kept = 1;

	for (unsigned i = 0; i < unit_scaled(300000); i++) {
		uint64_t block = unit_below(&seed, BLOCKS), newest = moments[kept - 1];

		switch (unit_below(&seed, 1000)) {
		case 0:
			clock += 1 + unit_below(&seed, 3);
			if (kept == UNIT_LENGTH(moments))
				kept--;
			moments[kept++] = clock;
			break;
		case 1:
			kept -= kept > 1;
			break;
		default:
			if (unit_below(&seed, 2)) {
				direct_add(&map, block, newest);
				added[block] = clock;
				ck_assert(direct_has(&map, block, newest));
			} else if (direct_has(&map, block, newest)) {
				ck_assert_uint_ge(added[block], newest);
			}
		}
	}
}
END_TEST

UNIT_MAIN("direct map", NULL, teardown, nothing_at_first, one_bit, a_moment_voids_them,
	  a_moment_that_goes_leaves_them, random_against_a_list)

// SPDX-License-Identifier: GPL-2.0-or-later
/* What finds lost data in containers finds it: each order is broken once. */
#include "container.h"

#include <string.h>

#include "raw.h"
#include "toy_format.h"
#include "unit.h"

#define ENOUGH 20000 /* ends in which a mistake has to show */

static const struct container_case raw = { .format = &raw_format,
					   .kind = "raw",
					   .size = 128 << 10,
					   .max = 256 << 10,
					   .unit = 16 << 10 };

static const struct container_case toy = { .format = &toy_format,
					   .kind = "toy",
					   .size = 40 << 10,
					   .max = 80 << 10,
					   .unit = 4 << 10 };

static char why[CONTAINER_WHY];

static void passes(struct container_case c)
{
	unsigned n = unit_scaled(5000);

	for (unsigned together = 0; together < 2; together++) {
		c.together = together;
		ck_assert_msg(container_power_cuts(&c, 1, n, why), "%s", why);
		ck_assert_msg(container_kills(&c, 2, n, why), "%s", why);
	}
}

static void fails(const struct container_case *c)
{
	ck_assert(!container_power_cuts(c, 1, ENOUGH, why));
	ck_assert(why[0]);
}

START_TEST(raw_loses_nothing)
{
	passes(raw);
}
END_TEST

START_TEST(toy_loses_nothing)
{
	passes(toy);
}
END_TEST

START_TEST(a_flush_that_does_nothing_shows)
{
	struct container_case c = raw;

	c.lose = WORK_FLUSH;
	c.lose_nth = 1;
	fails(&c);
	/* It is one flush of the disk that had to be durable, and not others. */
	ck_assert_msg(strstr(why, "may hold"), "%s", why);
	c.lose_nth = 2;
	ck_assert_msg(container_power_cuts(&c, 1, unit_scaled(1000), why), "%s", why);
}
END_TEST

START_TEST(each_flush_of_the_toy_is_needed)
{
	struct container_case c = toy;

	c.lose = WORK_FLUSH;
	for (c.lose_nth = 1; c.lose_nth <= 2; c.lose_nth++)
		fails(&c);
	c.lose = WORK_REST;
	for (c.lose_nth = 1; c.lose_nth <= 2; c.lose_nth++)
		fails(&c);
	c.lose = WORK_START;
	c.lose_nth = 1;
	ck_assert(!container_kills(&c, 1, 10 * ENOUGH, why));
}
END_TEST

START_TEST(mistakes_show_after_power_cuts)
{
	static const enum toy_mistake mistakes[] = { TOY_TABLE_FIRST,      TOY_TABLE_NOT_FLUSHED,
						     TOY_PLACE_TOO_EARLY,  TOY_PLACE_NOT_CLEAN,
						     TOY_SIZE_NOT_WRITTEN, TOY_END_NOT_CLEAN };

	for (size_t i = 0; i < UNIT_LENGTH(mistakes); i++) {
		toy_mistake = mistakes[i];
		ck_assert_msg(!container_power_cuts(&toy, 1, ENOUGH, why), "mistake %d",
			      toy_mistake);
	}
	/* This takes two power cuts. */
	toy_mistake = TOY_END_NOT_DURABLE;
	ck_assert(!container_power_cuts(&toy, 1, 10 * ENOUGH, why));
}
END_TEST

START_TEST(mistakes_show_after_kills)
{
	static const enum toy_mistake mistakes[] = { TOY_NO_NOTES, TOY_NOTES_DROPPED_EARLY,
						     TOY_TORN };

	for (size_t i = 0; i < UNIT_LENGTH(mistakes); i++) {
		toy_mistake = mistakes[i];
		ck_assert_msg(!container_kills(&toy, 1, ENOUGH, why), "mistake %d", toy_mistake);
	}
	/* This takes a kill, and then a power cut. */
	toy_mistake = TOY_NO_D_AT_START;
	ck_assert(!container_kills(&toy, 1, 10 * ENOUGH, why));
	ck_assert_msg(strstr(why, "power cut"), "%s", why);
}
END_TEST

START_TEST(mistakes_show_when_two_work_together)
{
	struct container_case c = toy;

	toy_mistake = TOY_TABLE_LATE;
	ck_assert_msg(container_power_cuts(&c, 1, unit_scaled(2000), why), "%s", why);
	c.together = true;
	ck_assert(!container_power_cuts(&c, 1, 10 * ENOUGH, why));
}
END_TEST

UNIT_MAIN("container", NULL, NULL, raw_loses_nothing, toy_loses_nothing,
	  a_flush_that_does_nothing_shows, each_flush_of_the_toy_is_needed,
	  mistakes_show_after_power_cuts, mistakes_show_after_kills,
	  mistakes_show_when_two_work_together)

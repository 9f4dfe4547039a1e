// SPDX-License-Identifier: GPL-2.0-or-later
/* VHDs lose nothing, whenever the power is cut or the program killed. */
#include "container.h"
#include "unit.h"
#include "vhd.h"

#define KIB 1024u

static const struct container_case dynamic = {
	.format = &vhd_format,
	.kind = "vhd",
	.size = 136 * KIB + 512,
	.max = 300 * KIB,
	.unit = 16 * KIB,
	.block_size = 16 * KIB,
};

/* The table has 128 entries at first. */
static const struct container_case larger_table = {
	.format = &vhd_format,
	.kind = "vhd",
	.size = 4 * 120 * KIB,
	.max = 4 * 190 * KIB,
	.unit = 4 * KIB,
	.block_size = 4 * KIB,
};

/*
 * With a file that is not longer than what was written: it has one footer, whose
 * place is the end of the file.
 */
static const struct container_case fixed = {
	.format = &vhd_format,
	.kind = "vhd-fixed",
	.size = 128 * KIB,
	.max = 256 * KIB,
	.unit = 16 * KIB,
	.ordered = true,
};

/* The parent ends within a block. */
static const struct container_case differencing = {
	.format = &vhd_format,
	.kind = "vhd-differencing",
	.size = 136 * KIB + 512,
	.max = 300 * KIB,
	.unit = 16 * KIB,
	.block_size = 16 * KIB,
	.parent = "vhd",
	.parent_size = 100 * KIB,
};

static char why[CONTAINER_WHY];

static void survives_power_cuts(struct container_case c)
{
	ck_assert_msg(container_power_cuts(&c, 1, unit_scaled(40000), why), "%s", why);
	c.together = true;
	ck_assert_msg(container_power_cuts(&c, 2, unit_scaled(10000), why), "%s", why);
}

static void survives_kills(struct container_case c)
{
	ck_assert_msg(container_kills(&c, 3, unit_scaled(80000), why), "%s", why);
	c.together = true;
	ck_assert_msg(container_kills(&c, 4, unit_scaled(10000), why), "%s", why);
}

START_TEST(dynamic_power_cuts)
{
	survives_power_cuts(dynamic);
}
END_TEST

START_TEST(dynamic_kills)
{
	survives_kills(dynamic);
}
END_TEST

START_TEST(larger_table_power_cuts)
{
	survives_power_cuts(larger_table);
}
END_TEST

START_TEST(larger_table_kills)
{
	survives_kills(larger_table);
}
END_TEST

START_TEST(fixed_power_cuts)
{
	survives_power_cuts(fixed);
}
END_TEST

START_TEST(fixed_kills)
{
	survives_kills(fixed);
}
END_TEST

START_TEST(differencing_power_cuts)
{
	survives_power_cuts(differencing);
}
END_TEST

START_TEST(differencing_kills)
{
	survives_kills(differencing);
}
END_TEST

/*
 * Each of these flushes of the file is there for a reason: without it something
 * is lost. Those that are not here have another one behind them, or the copy of
 * the footer.
 */
static const struct {
	const struct container_case *c;
	enum container_work work;
	unsigned nth;
	bool kill;
} needed[] = {
	{ &dynamic, WORK_START, 1, true },       { &dynamic, WORK_FLUSH, 1, false },
	{ &dynamic, WORK_FLUSH, 2, false },      { &dynamic, WORK_GROW, 1, false },
	{ &dynamic, WORK_REST, 1, false },       { &dynamic, WORK_REST, 2, false },
	{ &larger_table, WORK_GROW, 3, false },  { &larger_table, WORK_GROW, 4, false },
	{ &fixed, WORK_FLUSH, 1, false },        { &fixed, WORK_REST, 1, false },
	{ &differencing, WORK_FLUSH, 1, false }, { &differencing, WORK_FLUSH, 2, false },
	{ &differencing, WORK_REST, 1, false },  { &differencing, WORK_REST, 2, false },
};

START_TEST(each_flush_is_needed)
{
	for (size_t i = 0; i < UNIT_LENGTH(needed); i++) {
		struct container_case c = *needed[i].c;
		bool lost;

		c.lose = needed[i].work;
		c.lose_nth = needed[i].nth;
		lost = needed[i].kill ? !container_kills(&c, 1, 200000, why)
				      : !container_power_cuts(&c, 1, 200000, why);
		ck_assert_msg(lost, "number %zu", i);
	}
}
END_TEST

UNIT_MAIN("power cut vhd", NULL, NULL, dynamic_power_cuts, dynamic_kills, larger_table_power_cuts,
	  larger_table_kills, fixed_power_cuts, fixed_kills, differencing_power_cuts,
	  differencing_kills, each_flush_is_needed)

// SPDX-License-Identifier: GPL-2.0-or-later
/* VHDX images lose nothing, whenever the power is cut or the program killed. */
#include "container.h"
#include "unit.h"
#include "vhdx.h"

#define MIB (1u << 20)

static const struct container_case dynamic = {
	.format = &vhdx_format,
	.kind = "vhdx",
	.size = 4 * MIB + 1000 * 512,
	.max = 6 * MIB,
	.unit = MIB,
	.block_size = MIB,
};

static const struct container_case fixed = {
	.format = &vhdx_format,
	.kind = "vhdx-fixed",
	.size = 2 * MIB + 1000 * 512,
	.max = 4 * MIB,
	.unit = MIB,
	.block_size = MIB,
};

static const struct container_case large_sectors = {
	.format = &vhdx_format,
	.kind = "vhdx",
	.size = 4 * MIB + 125 * 4096,
	.max = 6 * MIB,
	.unit = MIB,
	.block_size = MIB,
	.sector_size = 4096,
};

static const struct container_case large_blocks = {
	.format = &vhdx_format,
	.kind = "vhdx",
	.size = 4 * MIB + 1000 * 512,
	.max = 10 * MIB,
	.unit = 2 * MIB,
	.block_size = 2 * MIB,
};

static char why[CONTAINER_WHY];

static void survives_power_cuts(struct container_case c)
{
	ck_assert_msg(container_power_cuts(&c, 1, unit_scaled(10000), why), "%s", why);
	c.together = true;
	ck_assert_msg(container_power_cuts(&c, 2, unit_scaled(4000), why), "%s", why);
}

static void survives_kills(struct container_case c)
{
	ck_assert_msg(container_kills(&c, 3, unit_scaled(10000), why), "%s", why);
	c.together = true;
	ck_assert_msg(container_kills(&c, 4, unit_scaled(4000), why), "%s", why);
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

/* Of these fewer: their tables and their log are those of the others. */
static void survives_some(struct container_case c)
{
	ck_assert_msg(container_power_cuts(&c, 5, unit_scaled(1500), why), "%s", why);
	ck_assert_msg(container_kills(&c, 6, unit_scaled(1000), why), "%s", why);
	c.together = true;
	ck_assert_msg(container_power_cuts(&c, 7, unit_scaled(500), why), "%s", why);
	ck_assert_msg(container_kills(&c, 8, unit_scaled(500), why), "%s", why);
}

START_TEST(large_sectors_survive)
{
	survives_some(large_sectors);
}
END_TEST

START_TEST(large_blocks_survive)
{
	survives_some(large_blocks);
}
END_TEST

/*
 * Without any of these flushes of the file something is lost. Those of a growth that are not here have
 * another one behind them, or the log; a table that moves is of larger disks.
 */
static const struct {
	const struct container_case *c;
	enum container_work work;
	unsigned nth;
} needed[] = {
	{ &dynamic, WORK_START, 1 }, { &dynamic, WORK_START, 2 }, { &dynamic, WORK_START, 3 },
	{ &dynamic, WORK_START, 4 }, { &dynamic, WORK_START, 5 }, { &dynamic, WORK_FLUSH, 1 },
	{ &dynamic, WORK_FLUSH, 2 }, { &dynamic, WORK_GROW, 1 },  { &dynamic, WORK_REST, 1 },
	{ &dynamic, WORK_REST, 3 },  { &dynamic, WORK_REST, 4 },  { &fixed, WORK_START, 1 },
	{ &fixed, WORK_START, 2 },   { &fixed, WORK_START, 4 },   { &fixed, WORK_START, 5 },
	{ &fixed, WORK_FLUSH, 1 },   { &fixed, WORK_FLUSH, 2 },   { &fixed, WORK_REST, 1 },
	{ &fixed, WORK_REST, 3 },
};

static void needs_each_flush(const struct container_case *of)
{
	for (size_t i = 0; i < UNIT_LENGTH(needed); i++) {
		struct container_case c = *of;

		c.lose = needed[i].work;
		c.lose_nth = needed[i].nth;
		if (needed[i].c == of)
			ck_assert_msg(!container_power_cuts(&c, 1, 20000, why), "number %zu", i);
	}
}

START_TEST(each_flush_is_needed)
{
	needs_each_flush(&dynamic);
}
END_TEST

START_TEST(each_flush_of_fixed_is_needed)
{
	needs_each_flush(&fixed);
}
END_TEST

UNIT_MAIN("power cut vhdx", NULL, NULL, dynamic_power_cuts, dynamic_kills, fixed_power_cuts,
	  fixed_kills, large_sectors_survive, large_blocks_survive, each_flush_is_needed,
	  each_flush_of_fixed_is_needed)

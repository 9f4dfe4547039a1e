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

/* Without any of these flushes of the file something is lost. */
static const struct {
	enum container_work work;
	unsigned nth;
} needed[] = {
	{ WORK_START, 1 }, { WORK_START, 2 }, { WORK_START, 3 }, { WORK_FLUSH, 1 },
	{ WORK_FLUSH, 2 }, { WORK_REST, 1 },  { WORK_REST, 3 },  { WORK_REST, 4 },
};

START_TEST(each_flush_is_needed)
{
	for (size_t i = 0; i < UNIT_LENGTH(needed); i++) {
		struct container_case c = dynamic;

		c.lose = needed[i].work;
		c.lose_nth = needed[i].nth;
		ck_assert_msg(!container_power_cuts(&c, 1, 20000, why), "number %zu", i);
	}
}
END_TEST

UNIT_MAIN("power cut vhdx", NULL, NULL, dynamic_power_cuts, dynamic_kills, fixed_power_cuts,
	  fixed_kills, each_flush_is_needed)

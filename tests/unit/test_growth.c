// SPDX-License-Identifier: GPL-2.0-or-later
/* How fast old contents grow: what samples say, and what disks and the store tell, under a clock of the test. */
#include "growth.h"

#include <stdio.h>
#include <string.h>

#include "fake_clock.h"
#include "past_disk.h"
#include "space.h"
#include "unit.h"

#define MINUTE GROWTH_STEP_NS
#define MIB (1ll << 20)
#define BLOCKS 256
#define SIZE (BLOCKS * PAST_BLOCK)

static struct growth growth;
static uint64_t now;

/* So much more each minute. */
static uint64_t grow(uint64_t bytes, int64_t by, unsigned minutes)
{
	for (unsigned i = 0; i < minutes; i++) {
		growth_note(&growth, now, bytes);
		now += MINUTE;
		bytes += by;
	}
	return bytes;
}

static void is(uint64_t bytes, uint64_t at_least, int64_t per_hour, uint64_t span)
{
	struct growth_rate r = { 0 };

	ck_assert(growth_rate(&growth, now, bytes, at_least, &r));
	ck_assert_int_eq(r.per_hour, per_hour);
	ck_assert_uint_eq(r.span_ns, span);
}

START_TEST(is_unknown_without_time)
{
	struct growth_rate r;

	ck_assert(!growth_rate(&growth, now, 5, 0, &r));
	growth_note(&growth, now, 5);
	ck_assert(!growth_rate(&growth, now, 5, 0, &r));
	/* What began now has a part in what grew. */
	is(5 + 6 * MIB, 10 * MINUTE, 36 * MIB, 0);
	now += MINUTE;
	is(5, 0, 0, MINUTE);
	is(5 + MIB, 0, 60 * MIB, MINUTE);
	is(5 + MIB, 2 * MINUTE, 30 * MIB, MINUTE);
}
END_TEST

START_TEST(is_of_the_last_hour)
{
	uint64_t bytes = grow(0, MIB, 37);

	is(bytes, 0, 60 * MIB, 37 * MINUTE);
	/* A burst becomes less, and is forgotten after an hour. */
	bytes = grow(bytes + 100 * MIB, 0, 60);
	is(bytes, 0, 0, GROWTH_SPAN_NS);
	bytes = grow(bytes, 2 * MIB, 200);
	is(bytes, 0, 120 * MIB, GROWTH_SPAN_NS);
}
END_TEST

START_TEST(shrinks)
{
	uint64_t bytes = grow(100 * MIB, -MIB, 10);

	is(bytes, 0, -60 * MIB, 10 * MINUTE);
	is(0, 0, -600 * MIB, 10 * MINUTE);
}
END_TEST

/* Samples that come more often, or late. */
START_TEST(whenever_it_is_sampled)
{
	struct growth_rate r;

	for (unsigned i = 0; i < 1200; i++) {
		growth_note(&growth, now, i * MIB);
		now += MINUTE / 10;
	}
	is(1200 * MIB, 0, 600 * MIB, GROWTH_SPAN_NS);
	now += GROWTH_SPAN_NS + 1;
	ck_assert(!growth_rate(&growth, now, 1200 * MIB, 0, &r));
	growth_note(&growth, now, 1200 * MIB);
	now += 3 * MINUTE;
	is(1200 * MIB, 0, 0, 3 * MINUTE);
}
END_TEST

/* ---- of disks ---- */

static struct past_disk p;

static void setup(void)
{
	growth = (struct growth){ 0 };
	now = 1000 * MINUTE;
	clock_begin(NULL);
	temp_tandem_begin();
	temp.options.block_size = PAST_BLOCK;
	temp_open();
	ck_assert_int_eq(snapshots_start(temp.t), 0);
	past_disk_begin(&p, "a.img", SIZE);
}

static void teardown(void)
{
	past_disk_end(&p);
	temp_tandem_end();
}

static bool is_looked_at(void *unused)
{
	struct store_facts f;

	(void)unused;
	store_facts(temp.t, &f);
	return f.free != UINT64_MAX;
}

/* The ticker looks too, when it gets to it. */
static void pass_minutes(unsigned minutes)
{
	struct history *h = atomic_load(&p.d->history);

	for (unsigned i = 0; i < minutes; i++) {
		clock_pass(MINUTE);
		if (h)
			history_note_growth(h);
	}
}

static struct past_facts facts(void)
{
	struct past_facts f;

	disk_past(p.d, &f);
	return f;
}

START_TEST(of_a_disk_and_of_all)
{
	struct store_facts s;
	uint64_t bytes;

	store_facts(temp.t, &s);
	ck_assert(!s.growth_known);
	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "one");
	ck_assert(!facts().growth_known);
	past_write(&p, 0, SIZE, 2);
	past_close(&p);
	bytes = facts().bytes;
	ck_assert_uint_ge(bytes, SIZE);
	ck_assert(!facts().growth_known);
	pass_minutes(1);
	ck_assert(!facts().growth_known);
	pass_minutes(9);
	ck_assert(facts().growth_known);
	/* It was nothing ten minutes ago. */
	ck_assert_int_ge(facts().growth.per_hour, 6 * SIZE);
	ck_assert_uint_eq(facts().growth.span_ns, 10 * MINUTE);
	ck_assert(unit_until(is_looked_at, NULL, 10));
	store_facts(temp.t, &s);
	ck_assert(s.growth_known);
	ck_assert_uint_eq(s.growth_ns, 10 * MINUTE);
	ck_assert_int_eq(s.growth, facts().growth.per_hour);
	ck_assert_uint_eq(s.full_in_s, (uint64_t)((double)s.free * 3600 / s.growth));
	/* Half of it, over twice of the time; then it stands still. */
	pass_minutes(10);
	ck_assert_int_le(facts().growth.per_hour, s.growth / 2 + 1);
	pass_minutes(60);
	ck_assert(facts().growth_known);
	ck_assert_int_eq(facts().growth.per_hour, 0);
	store_facts(temp.t, &s);
	ck_assert(s.growth_known);
	ck_assert_int_eq(s.growth, 0);
	ck_assert_uint_eq(s.full_in_s, UINT64_MAX);
}
END_TEST

/* An hour after what it began with. */
static bool is_known_later(void *begun)
{
	if (monotonic_ns() > *(uint64_t *)begun + GROWTH_SPAN_NS + 2 * MINUTE &&
	    facts().growth_known)
		return true;
	clock_pass(MINUTE / 6);
	return false;
}

START_TEST(the_ticker_looks)
{
	uint64_t begun = monotonic_ns();

	past_snapshot(&p, "one");
	past_close(&p);
	ck_assert(unit_until(is_known_later, &begun, 30));
	ck_assert_uint_ge(facts().growth.span_ns, GROWTH_LEAST_NS);
}
END_TEST

/* One that is not tracked has nothing that grows. */
START_TEST(of_none)
{
	struct store_facts s;

	pass_minutes(3);
	ck_assert(!facts().growth_known);
	store_facts(temp.t, &s);
	ck_assert(s.growth_known);
	ck_assert_int_eq(s.growth, 0);
	ck_assert_uint_eq(s.full_in_s, UINT64_MAX);
}
END_TEST

UNIT_MAIN("growth", setup, teardown, is_unknown_without_time, is_of_the_last_hour, shrinks,
	  whenever_it_is_sampled, of_a_disk_and_of_all, the_ticker_looks, of_none)

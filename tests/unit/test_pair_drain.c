// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Asynchronous mirrors that are to have everything at once, for an operation; under a clock that the
 * test moves.
 */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "fake_clock.h"
#include "pairs_inner.h"
#include "snapshots_inner.h"
#include "temp_pair.h"
#include "unit.h"

#define SECOND 1000000000ull

static struct pair *pair;
static struct disk *target;

static void prepare(void)
{
	const struct pair_request q = { .mode = MODE_ASYNCHRONOUS, .objective_s = 3600 };

	clock_begin(NULL);
	setup();
	ck_assert_msg(!mirror("b.img", q), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	pair = pair_of_number(temp.t->pairs, number);
	target = temp_disk("b.img");
}

static void end(void)
{
	disk_unref(target);
	teardown();
}

/* ---- others meanwhile ---- */

static void *split(void *err)
{
	*(int *)err = operate(OP_SPLIT, false);
	return NULL;
}

static bool is_held_up(void *arg)
{
	struct disk *d = arg;
	bool is;

	pthread_mutex_lock(&d->ranges.mutex);
	is = d->ranges.waiting > 0;
	pthread_mutex_unlock(&d->ranges.mutex);
	return is;
}

static bool is_asked(void *arg)
{
	(void)arg;
	return async_drain_wanted(pair) == DRAIN_WANTED;
}

/* Somebody waits for it with the pair's lock, or will not wait any more. */
static bool is_waited_for(void *arg)
{
	(void)arg;
	return clock_is_waited_for(&pair->poked);
}

/* ---- tests ---- */

/* What it gets is what was written before it was asked for, not before somebody else gave up. */
START_TEST(who_asks_again)
{
	struct range held;
	pthread_t thread;
	int err = -1;

	ck_assert_int_eq(change(source, 0, 4096), 0);
	range_lock_write(&target->ranges, &held, 0, REGION);
	ck_assert(!pthread_create(&thread, NULL, split, &err));
	ck_assert(unit_until(is_held_up, target, 20));
	ck_assert(unit_until(is_waited_for, NULL, 20));
	clock_pass(31 * SECOND);
	pthread_join(thread, NULL);
	ck_assert_int_eq(err, -ETIMEDOUT);
	ck_assert_int_eq(facts().state, COPY_SYNCHRONIZED);

	/* Its cycle goes on, and has a moment of before that. */
	ck_assert_int_eq(change(source, 5 * REGION, 4096), 0);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert(!pthread_create(&thread, NULL, split, &err));
	ck_assert(unit_until(is_asked, NULL, 20));
	ck_assert(is_held_up(target));
	range_unlock(&target->ranges, &held);
	pthread_join(thread, NULL);
	ck_assert_msg(!err, "%s", why.message);
	ck_assert_int_eq(facts().state, COPY_SPLIT);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

UNIT_MAIN("asked for everything", prepare, end, who_asks_again)

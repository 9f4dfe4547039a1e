// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Asynchronous mirrors that are to have everything at once, for an operation; under a clock that the
 * test moves.
 */
#include <errno.h>
#include <pthread.h>

#include "fake_clock.h"
#include "pairs_inner.h"
#include "snapshots_inner.h"
#include "temp_pair.h"
#include "unit.h"

#define SECOND 1000000000ull

static struct pair *pair;
static struct disk *target, *other;

static void prepare(void)
{
	const struct pair_request q = { .mode = MODE_ASYNCHRONOUS, .objective_s = 3600 };

	clock_begin(NULL);
	seed = 7;
	temp_tandem_begin();
	temp_make("a.img", SIZE);
	temp_make("c.img", MIB);
	begin();
	open_source();
	ck_assert_msg(!mirror("b.img", q), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	pair = pair_of_number(temp.t->pairs, number);
	target = temp_disk("b.img");
}

static void end(void)
{
	if (other)
		disk_close(other);
	disk_unref(other);
	disk_unref(target);
	teardown();
}

/* ---- others meanwhile ---- */

static void *split(void *err)
{
	*(int *)err = operate(OP_SPLIT, false);
	return NULL;
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

/* ---- at a moment that others have, too ---- */

struct meeting_call {
	struct pair *pairs[2];
	struct why why;
	size_t which;
	int err;
};

static void *meet(void *arg)
{
	struct meeting_call *c = arg;

	c->err = async_meet(temp.t, c->pairs, 2, &c->which, &c->why);
	return NULL;
}

static enum meeting_state meeting_of(struct pair *p)
{
	enum meeting_state is;

	pthread_mutex_lock(&p->lock);
	is = p->meeting.is;
	pthread_mutex_unlock(&p->lock);
	return is;
}

static bool is_called(void *p)
{
	return meeting_of(p) == MEETING_CALLED;
}

static bool is_here(void *p)
{
	return meeting_of(p) == MEETING_HERE;
}

static bool is_off(void *p)
{
	return meeting_of(p) == MEETING_OFF;
}

static bool is_to_go(void *p)
{
	return meeting_of(p) == MEETING_GO;
}

/* c.img -> d.img, whose keeper is the test. */
static struct pair *make_other(void)
{
	struct pair_request q = { .target = "d.img",
				  .mode = MODE_ASYNCHRONOUS,
				  .mode_bits = 0600,
				  .objective_s = 3600 };
	uint32_t kept = number;
	struct pair_facts f;
	struct pair *p;

	other = temp_disk("c.img");
	ck_assert_int_eq(disk_open(other, true), 0);
	ck_assert_msg(!tandem_mirror(temp.t, other, &q, &f, &why), "%s", why.message);
	number = f.number;
	await(COPY_SYNCHRONIZED);
	p = pair_of_number(temp.t->pairs, number);
	number = kept;
	keeper_end(p);
	pthread_mutex_lock(&p->lock);
	p->ending = false;
	pthread_mutex_unlock(&p->lock);
	return p;
}

static void be(struct pair *p, enum meeting_state is, bool ending)
{
	pthread_mutex_lock(&p->lock);
	p->meeting.is = is;
	p->ending = ending;
	pthread_cond_broadcast(&p->poked);
	pthread_mutex_unlock(&p->lock);
}

/* The keeper was told, and has not noticed when they give it up: the source keeps nothing for it. */
START_TEST(who_never_sets_out)
{
	struct meeting_call c = { .pairs = { pair, make_other() } };
	struct pair *slow = c.pairs[1];
	pthread_t thread;

	ck_assert(!pthread_create(&thread, NULL, meet, &c));
	ck_assert(unit_until(is_called, slow, 20));
	be(slow, MEETING_HERE, false);
	ck_assert(unit_until(is_to_go, slow, 20));
	ck_assert(history_is_pinned(atomic_load(&other->history), slow->meeting.at));
	be(slow, MEETING_GO, true);
	pthread_join(thread, NULL);
	ck_assert_int_eq(c.err, -ETIMEDOUT);
	ck_assert_uint_eq(c.which, 1);
	ck_assert(!history_is_pinned(atomic_load(&other->history), slow->meeting.at));
	ck_assert(meeting_of(pair) == MEETING_NONE && meeting_of(slow) == MEETING_NONE);
}
END_TEST

static void *suspend(void *unused)
{
	(void)unused;
	do_it(OP_SUSPEND);
	return NULL;
}

/* There is nothing to go for, then, and no moment. No time passes while it is suspended. */
START_TEST(who_leaves_before_all_are_there)
{
	struct meeting_call c = { .pairs = { pair, make_other() } };
	struct pair *late = c.pairs[1];
	pthread_t thread, other_thread;

	ck_assert(!pthread_create(&thread, NULL, meet, &c));
	ck_assert(unit_until(is_here, pair, 20));
	ck_assert(unit_until(is_called, late, 20));
	ck_assert(!pthread_create(&other_thread, NULL, suspend, NULL));
	ck_assert(unit_until(is_off, pair, 20));
	pthread_join(other_thread, NULL);
	be(late, MEETING_HERE, false);
	pthread_join(thread, NULL);
	ck_assert_int_eq(c.err, -ETIMEDOUT);
	ck_assert_uint_eq(c.which, 0);
	ck_assert_uint_eq(late->meeting.at, 0);
	ck_assert_int_eq(facts().state, COPY_SUSPENDED);
}
END_TEST

UNIT_MAIN("asked for everything", prepare, end, who_asks_again, who_never_sets_out,
	  who_leaves_before_all_are_there)

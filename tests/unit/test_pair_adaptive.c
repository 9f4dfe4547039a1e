// SPDX-License-Identifier: GPL-2.0-or-later
/* Adaptive mirrors, under a clock that the test moves: which mode they have, and for how long. */
#include <errno.h>

#include "fake_clock.h"
#include "pairs_inner.h"
#include "temp_pair.h"
#include "unit.h"

#define SECOND 1000000000ull
#define LIMIT (8 * REGION)

static void prepare(void)
{
	clock_begin(NULL);
	setup();
}

static bool is_settled(void *arg)
{
	struct pair *p = pair_of_number(temp.t->pairs, number);
	bool poked;

	(void)arg;
	pthread_mutex_lock(&p->lock);
	poked = p->poke;
	pthread_mutex_unlock(&p->lock);
	return !poked && clock_is_waited_for(&p->poked);
}

static void settle(void)
{
	ck_assert(unit_until(is_settled, NULL, 20));
}

static void pass(uint64_t ns)
{
	clock_pass(ns);
	settle();
}

static void expect(enum sync_mode mode)
{
	struct pair_facts f;

	settle();
	f = facts();
	ck_assert_int_eq(f.mode, mode);
	ck_assert(f.adaptive);
	ck_assert_uint_eq(f.objective_s, mode == MODE_ASYNCHRONOUS ? 60 : 0);
}

/* It is Synchronized, and has had a rest. */
static void make_adaptive(void)
{
	const struct pair_request q = { .mode = MODE_ADAPTIVE, .skew_limit = LIMIT };

	change_much(source, 20);
	ck_assert_msg(!mirror("b.img", q), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	pass(3 * SECOND);
	expect(MODE_ASYNCHRONOUS);
}

static void differ(unsigned regions)
{
	for (unsigned i = 0; i < regions; i++)
		ck_assert_int_eq(change(source, i * REGION, 512), 0);
}

START_TEST(little_is_let_behind)
{
	make_adaptive();
	differ(8);
	expect(MODE_ASYNCHRONOUS);
	ck_assert_uint_eq(facts().differs, LIMIT);
	pass(61 * SECOND);
	ck_assert_uint_eq(facts().differs, 0);
	expect(MODE_ASYNCHRONOUS);
	ck_assert_int_eq(facts().state, COPY_SYNCHRONIZED);
}
END_TEST

/* No time passes before that. */
START_TEST(much_is_not)
{
	make_adaptive();
	differ(9);
	await(COPY_SYNCHRONIZED);
	expect(MODE_SYNCHRONOUS);
	ck_assert_uint_eq(facts().differs, 0);
	ck_assert(is_same("a.img", "b.img"));
	differ(20);
	expect(MODE_SYNCHRONOUS);
	ck_assert_int_eq(facts().state, COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

/* How long it is synchronous: 10 s, and longer each time that it comes again soon. */
static unsigned rests_for(void)
{
	unsigned seconds = 0;

	differ(9);
	await(COPY_SYNCHRONIZED);
	expect(MODE_SYNCHRONOUS);
	while (facts().mode == MODE_SYNCHRONOUS && seconds < 1000) {
		pass(SECOND);
		seconds++;
	}
	return seconds;
}

START_TEST(it_does_not_flap)
{
	unsigned last;

	make_adaptive();
	last = rests_for();
	ck_assert_uint_ge(last, 10);
	ck_assert_uint_le(last, 13);
	for (unsigned i = 0; i < 5; i++) {
		unsigned now = rests_for();

		ck_assert_uint_ge(now, 2 * last - 6);
		last = now;
	}
	ck_assert_uint_le(rests_for(), 323);
	pass(1000 * SECOND);
	ck_assert_uint_le(rests_for(), 13);
}
END_TEST

START_TEST(it_is_recorded)
{
	make_adaptive();
	again();
	expect(MODE_ASYNCHRONOUS);
	ck_assert_uint_eq(facts().skew_limit, LIMIT);
	differ(9);
	await(COPY_SYNCHRONIZED);
	expect(MODE_SYNCHRONOUS);
	again();
	ck_assert(facts().adaptive);
	pass(11 * SECOND);
	expect(MODE_ASYNCHRONOUS);
}
END_TEST

START_TEST(reset)
{
	struct disk *target;
	struct pair_request q = { .target = "c.img", .mode = MODE_SYNCHRONOUS };
	struct pair_facts f;

	make();
	await(COPY_SYNCHRONIZED);
	do_it(OP_RESET_TO_ADAPTIVE);
	pass(3 * SECOND);
	expect(MODE_ASYNCHRONOUS);
	ck_assert_uint_eq(facts().skew_limit, PAIR_SKEW_LIMIT);
	target = temp_disk("b.img");
	ck_assert_int_eq(tandem_mirror(temp.t, target, &q, &f, &why), -EBUSY);
	disk_unref(target);
	do_it(OP_RESET_TO_ASYNC);
	ck_assert(!facts().adaptive);
	ck_assert_int_eq(facts().mode, MODE_ASYNCHRONOUS);
	do_it(OP_RESET_TO_ADAPTIVE);
	do_it(OP_RESET_TO_SYNC);
	await(COPY_SYNCHRONIZED);
	ck_assert(!facts().adaptive);
	ck_assert_int_eq(facts().mode, MODE_SYNCHRONOUS);
	ck_assert_uint_eq(facts().objective_s, 0);
	pass(60 * SECOND);
	ck_assert_int_eq(facts().mode, MODE_SYNCHRONOUS);
}
END_TEST

/* What nobody copies stays behind, however much it is; and is caught up with as it says. */
START_TEST(suspended)
{
	make_adaptive();
	do_it(OP_SUSPEND);
	differ(100);
	pass(60 * SECOND);
	expect(MODE_ASYNCHRONOUS);
	ck_assert_int_eq(facts().state, COPY_SUSPENDED);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	expect(MODE_SYNCHRONOUS);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

START_TEST(nobody_uses_it)
{
	const struct pair_request q = { .mode = MODE_ADAPTIVE, .skew_limit = LIMIT };

	change_much(source, 20);
	ck_assert_msg(!mirror("b.img", q), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	close_source();
	pass(3 * SECOND);
	expect(MODE_ASYNCHRONOUS);
	open_source();
	differ(9);
	await(COPY_SYNCHRONIZED);
	expect(MODE_SYNCHRONOUS);
}
END_TEST

UNIT_MAIN("adaptive mirrors", prepare, teardown, little_is_let_behind, much_is_not,
	  it_does_not_flap, it_is_recorded, reset, suspended, nobody_uses_it)

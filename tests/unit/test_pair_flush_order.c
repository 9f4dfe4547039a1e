// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors that acknowledge at flush: whatever is done to one waits for what was sent, and what is not
 * sent does not overtake it.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "pairs_inner.h"
#include "sender.h"
#include "slow_target.h"
#include "snapshots.h"
#include "unit.h"

/* ---- what else happens to it ---- */

/* The last of these is not under way yet while the target does not answer. */
#define LAST (SENDER_THREADS + 3)

struct act {
	void (*fn)(void);
	atomic_bool done;
};

static void *act(void *arg)
{
	struct act *a = arg;

	a->fn();
	atomic_store(&a->done, true);
	return NULL;
}

static bool it_helps_or_not(void *arg)
{
	struct act *a = arg;

	return atomic_load(&a->done) || slow_waiting() > SENDER_THREADS;
}

/* It waits for what was sent, and helps with that. */
static void do_behind(void (*fn)(void))
{
	struct act a = { .fn = fn };
	pthread_t thread;

	slow_gate_of_sent(true);
	write_regions(LAST + 1);
	pthread_create(&thread, NULL, act, &a);
	ck_assert(unit_until(it_helps_or_not, &a, 20));
	ck_assert(!atomic_load(&a.done));
	slow_gate_of_sent(false);
	pthread_join(thread, NULL);
}

static void check_same(void)
{
	if (source)
		ck_assert_int_eq(disk_flush(source), 0);
	ck_assert(files_are_same(0, SIZE));
}

static void suspend(void)
{
	do_it(OP_SUSPEND);
	ck_assert_uint_eq(facts().sent, 0);
}

static void part(void)
{
	struct leg *leg = &the_pair()->leg;
	size_t which;

	ck_assert_int_eq(mirror_part(&leg, &source, 1, &which), 0);
	ck_assert_uint_eq(facts().sent, 0);
	ck_assert(files_are_same(0, SIZE));
	mirror_rejoin(source, leg);
}

static void set_to_write(void)
{
	struct pair_settings s = { .has_acknowledge = true };

	ck_assert_int_eq(tandem_set_pair(temp.t, number, &s, false, &why), 0);
	ck_assert_uint_eq(facts().sent, 0);
	s.at_flush = true;
	ck_assert_int_eq(tandem_set_pair(temp.t, number, &s, false, &why), 0);
}

static void reverse(void)
{
	do_it(OP_REVERSE_ROLES);
}

static void detach(void)
{
	do_it(OP_DETACH);
}

START_TEST(whoever_changes_it_waits)
{
	synchronize((struct pair_request){ 0 });
	do_behind(suspend);
	check_same();
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	do_behind(part);
	do_behind(set_to_write);
	check_same();
	do_behind(close_source);
	check_same();
	open_source();
	do_behind(reverse);
	check_same();
	await(COPY_SYNCHRONIZED);
	slow_watch();
	do_behind(detach);
	check_same();
}
END_TEST

/* One that is larger than what is sent, over the last of those that are. */
static void write_much(void)
{
	ck_assert_int_eq(change(source, LAST * REGION, SENDER_MOST + 4096), 0);
}

static void cut(void)
{
	ck_assert_int_eq(disk_resize(source, LAST * REGION, true), 0);
}

START_TEST(what_is_not_sent_does_not_overtake)
{
	synchronize((struct pair_request){ 0 });
	do_behind(write_much);
	check_same();
	do_behind(cut);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert(is_same("a.img", "b.img"));
	ck_assert(files_are_same(0, LAST * REGION));
}
END_TEST

/* Other content, that is no write: as a restore brings it. */
static void change_and_mark(void)
{
	char buf[4096] = { 3 };
	struct change c = { .buf = buf, .len = sizeof(buf), .off = LAST * REGION };
	struct leg *leg = &the_pair()->leg;
	unsigned turn;

	ck_assert_int_eq(disk_apply(source, &c), 0);
	ck_assert_int_eq(marks_begin(leg->marks, c.off, c.len, &turn), 0);
	marks_set(leg->marks, c.off, c.len);
	marks_end(leg->marks, turn);
	leg->lost(leg->owner);
	while (!files_are_same(c.off, c.len))
		usleep(1000);
}

START_TEST(a_copy_does_not_overtake)
{
	synchronize((struct pair_request){ 0 });
	do_behind(change_and_mark);
	await(COPY_SYNCHRONIZED);
	check_same();
}
END_TEST

static void verify(void)
{
	uint32_t job;

	ck_assert_int_eq(tandem_verify_pair(temp.t, number, false, &job, &why), 0);
	while (facts().verifying)
		usleep(1000);
	ck_assert_uint_eq(facts().mended, 0);
}

START_TEST(a_proof_waits_for_what_is_on_its_way)
{
	synchronize((struct pair_request){ 0 });
	do_behind(verify);
	check_same();
}
END_TEST

static void *writer(void *arg)
{
	uint64_t mine = (uintptr_t)&mine;
	atomic_bool *enough = arg;
	char buf[4096];

	while (!atomic_load(enough)) {
		memset(buf, unit_below(&mine, 256), sizeof(buf));
		ck_assert_int_eq(disk_write(source, buf, sizeof(buf),
					    unit_below(&mine, SIZE / 1024 - 4) * 1024, 0),
				 0);
	}
	return NULL;
}

static bool is_second_synchronized(void *arg)
{
	struct pair_facts f;

	return !pair_numbered(temp.t, *(uint32_t *)arg, &f) && f.state == COPY_SYNCHRONIZED;
}

static bool is_verified(void *arg)
{
	(void)arg;
	return !facts().verifying;
}

/* Each of these waits for what is on its way, so that nothing of it comes later. */
START_TEST(what_ends_it_waits_first)
{
	static const enum replica_operation ends[] = { OP_SUSPEND, OP_SPLIT, OP_FRACTURE };
	atomic_bool enough = false;
	pthread_t threads[2];
	uint32_t job;

	synchronize((struct pair_request){ 0 });
	slow_delay(300);
	for (size_t i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, writer, &enough);
	for (unsigned i = 0; i < 6; i++) {
		do_it(ends[i % 3]);
		ck_assert_uint_eq(facts().sent, 0);
		do_it(i % 3 ? OP_RESYNC_REPLICA : OP_RESUME);
		await(COPY_SYNCHRONIZED);
		ck_assert_int_eq(disk_resize(source, SIZE + (i % 2) * MIB, true), 0);
		await(COPY_SYNCHRONIZED);
	}
	ck_assert_int_eq(tandem_verify_pair(temp.t, number, false, &job, &why), 0);
	ck_assert(unit_until(is_verified, NULL, 60));
	ck_assert_uint_eq(facts().mended, 0);
	atomic_store(&enough, true);
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert_int_eq(facts().state, COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
	again();
	ck_assert_int_eq(facts().state, COPY_SYNCHRONIZED);
	ck_assert(files_are_same(0, SIZE));
}
END_TEST

START_TEST(it_is_detached_with_all)
{
	synchronize((struct pair_request){ 0 });
	slow_delay(2000);
	write_regions(50);
	do_it(OP_DETACH);
	ck_assert(files_are_same(0, SIZE));
}
END_TEST

/* Whoever comes behind its target waits for both. */
START_TEST(of_a_chain)
{
	struct pair_facts second;
	struct pair_request q = { .target = "c.img",
				  .mode = MODE_SYNCHRONOUS,
				  .mode_bits = 0600,
				  .at_flush = true };
	struct snapshot_facts s;
	struct disk *b, *c;

	synchronize((struct pair_request){ 0 });
	b = temp_disk("b.img");
	ck_assert_int_eq(tandem_mirror(temp.t, b, &q, &second, &why), 0);
	ck_assert(unit_until(is_second_synchronized, &second.number, 20));
	slow_delay(2000);
	write_regions(50);
	c = temp_disk("c.img");
	ck_assert_int_eq(tandem_snapshot(temp.t, &c, 1, "s", false, &s, &why), 0);
	ck_assert(files_are_same(0, SIZE));
	ck_assert(is_same("a.img", "c.img"));
	write_regions(50);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert(is_same("a.img", "c.img"));
	disk_unref(b);
	disk_unref(c);
}
END_TEST

START_TEST(a_failover_loses_nothing)
{
	synchronize((struct pair_request){ 0 });
	slow_delay(2000);
	for (unsigned i = 0; i < 50; i++)
		ck_assert_int_eq(change(source, unit_below(&seed, SIZE / 4096) * 4096, 4096), 0);
	do_it(OP_REVERSE_ROLES);
	ck_assert(files_are_same(0, SIZE));
	await(COPY_SYNCHRONIZED);
}
END_TEST

START_TEST(it_is_set)
{
	struct pair_settings s = { .has_acknowledge = true };

	synchronize((struct pair_request){ 0 });
	slow_delay(2000);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(change(source, i * REGION, 4096), 0);
	ck_assert_int_eq(tandem_set_pair(temp.t, number, &s, false, &why), 0);
	ck_assert(!facts().at_flush);
	ck_assert(files_are_same(0, SIZE));
	ck_assert_int_eq(change(source, 0, 4096), 0);
	ck_assert(files_are_same(0, SIZE));
	s.at_flush = true;
	ck_assert_int_eq(tandem_set_pair(temp.t, number, &s, false, &why), 0);
	again();
	ck_assert(facts().at_flush);
	do_it(OP_RESET_TO_ASYNC);
	ck_assert(!facts().at_flush);
	ck_assert_int_eq(tandem_set_pair(temp.t, number, &s, false, &why), -EOPNOTSUPP);
	ck_assert(!facts().at_flush);
}
END_TEST

UNIT_MAIN("pair_flush_order", setup, slow_end, whoever_changes_it_waits,
	  what_is_not_sent_does_not_overtake, a_copy_does_not_overtake,
	  a_proof_waits_for_what_is_on_its_way, what_ends_it_waits_first, it_is_detached_with_all,
	  of_a_chain, a_failover_loses_nothing, it_is_set)

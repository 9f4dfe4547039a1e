// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors that acknowledge at flush: whatever is done to one waits for what was sent, and what is not
 * sent does not overtake it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clones.h"
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

static bool somebody_helps(void *arg)
{
	return slow_waiting() > SENDER_THREADS;
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
	/* Nothing that it leads to is recorded by then: who died now would not know what is missing. */
	ck_assert(!pair_is_gone(the_pair()) && pair_record_of(the_pair()).at_flush);
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

/* Whatever is written meanwhile. */
static void check_part(void)
{
	struct leg *leg = &the_pair()->leg;
	size_t which;

	if (mirror_part(&leg, &source, 1, &which))
		return;
	ck_assert_uint_eq(facts().sent, 0);
	mirror_rejoin(source, leg);
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

/* While the disk is resized what is new differs for a moment, and the keeper may come by just then. */
static bool begins_to_verify(void *arg)
{
	int err = tandem_verify_pair(temp.t, number, false, arg, &why);

	ck_assert(!err || err == -EBUSY);
	return !err;
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
		check_part();
		await(COPY_SYNCHRONIZED);
		do_it(ends[i % 3]);
		ck_assert_uint_eq(facts().sent, 0);
		do_it(i % 3 ? OP_RESYNC_REPLICA : OP_RESUME);
		await(COPY_SYNCHRONIZED);
		ck_assert_int_eq(disk_resize(source, SIZE + (i % 2) * MIB, true), 0);
		await(COPY_SYNCHRONIZED);
	}
	ck_assert(unit_until(begins_to_verify, &job, 60));
	ck_assert(unit_until(is_verified, NULL, 60));
	ck_assert_uint_eq(facts().mended, 0);
	for (unsigned i = 0; i < 2; i++) {
		do_it(OP_REVERSE_ROLES);
		await(COPY_SYNCHRONIZED);
	}
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

static struct disk *last;
static struct snapshot_facts taken;

static void take_snapshot(void)
{
	ck_assert_int_eq(tandem_snapshot(temp.t, &last, 1, "s", false, &taken, &why), 0);
	ck_assert_uint_eq(facts().sent, 0);
}

static void renew_snapshot(void)
{
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, taken.number, false, false, &why), 0);
	ck_assert_uint_eq(facts().sent, 0);
}

static void take_token(void)
{
	struct clone_request token = { .generation = UINT64_MAX };
	struct clone_facts made;

	ck_assert_int_eq(tandem_tokenize(temp.t, last, &token, &made, &why), 0);
	ck_assert_uint_eq(facts().sent, 0);
}

/* Whoever comes behind its target waits for both. */
START_TEST(of_a_chain)
{
	struct pair_facts second;
	struct pair_request q = { .target = "c.img",
				  .mode = MODE_SYNCHRONOUS,
				  .mode_bits = 0600,
				  .at_flush = true };
	struct disk *b;

	synchronize((struct pair_request){ 0 });
	b = temp_disk("b.img");
	ck_assert_int_eq(tandem_mirror(temp.t, b, &q, &second, &why), 0);
	ck_assert(unit_until(is_second_synchronized, &second.number, 20));
	last = temp_disk("c.img");
	do_behind(take_snapshot);
	do_behind(renew_snapshot);
	do_behind(take_token);
	slow_delay(2000);
	write_regions(50);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert(is_same("a.img", "c.img"));
	disk_unref(b);
	disk_unref(last);
}
END_TEST

/* ---- what does not arrive ---- */

static atomic_int result;

static void *act_and_tell(void *arg)
{
	atomic_store(&result, operate(*(enum replica_operation *)arg, false));
	return NULL;
}

/* It is refused, and the mirror is as before. */
START_TEST(nobody_detaches_what_lacks_something)
{
	enum replica_operation op = OP_DETACH;
	pthread_t thread;

	synchronize((struct pair_request){ .manual = true });
	slow_gate(true);
	write_regions(LAST + 1);
	pthread_create(&thread, NULL, act_and_tell, &op);
	ck_assert(unit_until(somebody_helps, NULL, 20));
	slow_fail(true);
	slow_gate(false);
	pthread_join(thread, NULL);
	ck_assert_int_eq(result, -EBUSY);
	await(COPY_BROKEN);
	ck_assert(atomic_load(&the_pair()->leg.at_flush));
}
END_TEST

/* What was written when a Failover was begun already; also if that cannot be remembered. */
static void check_failover(bool marks_fail)
{
	enum replica_operation op = OP_FAILOVER;
	_Atomic uint64_t *flushes;
	pthread_t thread;
	struct disk *b;
	uint64_t before;

	synchronize((struct pair_request){ .manual = true });
	write_regions(LAST + 1);
	ck_assert_int_eq(disk_flush(source), 0);
	b = temp_disk("b.img");
	flushes = &b->ops[DISK_OP_FLUSH].count;
	before = atomic_load(flushes);
	pthread_mutex_lock(&temp.t->discovery);
	pthread_create(&thread, NULL, act_and_tell, &op);
	while (atomic_load(flushes) == before)
		usleep(1000);
	slow_gate(true);
	write_regions(LAST + 1);
	pthread_mutex_unlock(&temp.t->discovery);
	ck_assert(unit_until(somebody_helps, NULL, 20));
	if (marks_fail)
		break_marks();
	slow_fail(true);
	slow_gate(false);
	pthread_join(thread, NULL);
	ck_assert_int_eq(result, -EPERM);
	ck_assert_str_eq(facts().source, "a.img");
	disk_unref(b);
	slow_mend();
	await(COPY_BROKEN);
	do_it(OP_RESYNC_REPLICA);
	await(COPY_SYNCHRONIZED);
	check_same();
}

START_TEST(a_failover_is_refused_what_does_not_arrive)
{
	check_failover(false);
}
END_TEST

START_TEST(a_failover_is_refused_what_cannot_be_remembered)
{
	check_failover(true);
}
END_TEST

/* What the source does not have. */
START_TEST(what_the_source_refuses_is_not_sent)
{
	struct stat st;

	synchronize((struct pair_request){ .manual = true });
	ck_assert_int_eq(change(source, 5 * REGION, 4096), 0);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert_int_eq(stat(temp_path("a.img"), &st), 0);
	slow_gate(true);
	slow_break(st.st_ino);
	ck_assert_int_eq(change(source, 5 * REGION, 4096), -EIO);
	ck_assert_uint_eq(facts().sent, 0);
	slow_mend();
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
	  of_a_chain, nobody_detaches_what_lacks_something,
	  a_failover_is_refused_what_does_not_arrive,
	  a_failover_is_refused_what_cannot_be_remembered, what_the_source_refuses_is_not_sent,
	  a_failover_loses_nothing, it_is_set)

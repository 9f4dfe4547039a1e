// SPDX-License-Identifier: GPL-2.0-or-later
/* What is done to asynchronous mirrors: whatever it is, the target is a generation of its source. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "stamps.h"
#include "unit.h"

static pthread_t writer;

static void write_on(void)
{
	atomic_store(&journal->stop, false);
	ck_assert_int_eq(pthread_create(&writer, NULL, stamper, NULL), 0);
}

static void stop_writing(void)
{
	atomic_store(&journal->stop, true);
	pthread_join(writer, NULL);
}

/* What is in a write log is in the image a moment later. */
static bool files_are_same(void *arg)
{
	(void)arg;
	return is_same("a.img", "b.img");
}

static void follow(void)
{
	stamp_some(300);
	make_async();
	await(COPY_SYNCHRONIZED);
}

static bool is_half(void *arg)
{
	(void)arg;
	return facts().shows && facts().applied;
}

/* In the middle of a generation, with its copying stopped by that operation. */
static void stop_half(enum replica_operation op, enum copy_state state)
{
	follow();
	write_on();
	for (unsigned i = 0; i < 200; i++) {
		ck_assert(unit_until(is_half, NULL, 20));
		do_it(op);
		ck_assert_int_eq(facts().state, state);
		if (facts().shows)
			break;
		do_it(op == OP_SUSPEND ? OP_RESUME : OP_ACTIVATE);
		await(COPY_SYNCHRONIZED);
	}
	stop_writing();
	ck_assert_uint_ne(facts().shows, 0);
}

START_TEST(suspended)
{
	uint64_t n;

	stop_half(OP_SUSPEND, COPY_SUSPENDED);
	n = target_generation();
	stamp_some(100);
	ck_assert_uint_eq(target_generation(), n);
	again();
	ck_assert_int_eq(facts().state, COPY_SUSPENDED);
	ck_assert_uint_eq(target_generation(), n);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert_uint_eq(facts().shows, 0);
	ck_assert(unit_until(files_are_same, NULL, 20));
}
END_TEST

/* What it was at the command, with all that was answered before; and a disk from then on. */
START_TEST(split)
{
	struct disk *target;
	uint64_t n, before;

	follow();
	target = temp_disk("b.img");
	write_on();
	ck_assert(unit_until(is_half, NULL, 20));
	before = atomic_load(&journal->done);
	do_it(OP_SPLIT);
	ck_assert_int_eq(facts().state, COPY_SPLIT);
	ck_assert_uint_eq(facts().shows, 0);
	n = target_generation();
	ck_assert_uint_ge(n, before);
	stop_writing();
	ck_assert_uint_eq(target_generation(), n);
	ck_assert_int_eq(disk_open(target, true), 0);
	ck_assert_int_eq(change(target, 0, 4096), 0);
	ck_assert_int_eq(change(target, 9 * REGION, 4096), 0);
	disk_close(target);
	ck_assert_int_eq(facts().state, COPY_SKEWED);
	ck_assert_int_eq(operate(OP_RESYNC_REPLICA, false), -EPERM);
	ck_assert_msg(!operate(OP_RESYNC_REPLICA, true), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	ck_assert(unit_until(files_are_same, NULL, 20));
	disk_unref(target);
}
END_TEST

static void check_detached(uint64_t n)
{
	struct pair_facts f;
	struct disk *target;

	ck_assert_int_eq(pair_numbered(temp.t, number, &f), -ENOENT);
	ck_assert_uint_eq(target_generation(), n);
	again();
	ck_assert_uint_eq(target_generation(), n);
	target = temp_disk("b.img");
	ck_assert_int_eq(disk_open(target, true), 0);
	ck_assert_int_eq(change(target, 0, 4096), 0);
	disk_close(target);
	disk_unref(target);
}

/* Back to what it shows. */
START_TEST(detached_in_the_middle)
{
	uint64_t n;

	stop_half(OP_SUSPEND, COPY_SUSPENDED);
	n = target_generation();
	do_it(OP_DETACH);
	check_detached(n);
}
END_TEST

START_TEST(detached_while_it_follows)
{
	follow();
	stamp_some(1000);
	do_it(OP_DETACH);
	check_detached(atomic_load(&journal->done));
}
END_TEST

START_TEST(fractured_and_resynced)
{
	follow();
	write_on();
	ck_assert(unit_until(is_half, NULL, 20));
	do_it(OP_FRACTURE);
	ck_assert_int_eq(facts().state, COPY_FRACTURED);
	target_generation();
	stop_writing();
	do_it(OP_RESYNC_REPLICA);
	await(COPY_SYNCHRONIZED);
	ck_assert(unit_until(files_are_same, NULL, 20));
}
END_TEST

/* There and back, while it is written. */
START_TEST(synchronous_and_asynchronous)
{
	follow();
	write_on();
	for (unsigned i = 0; i < unit_scaled(4); i++) {
		do_it(OP_RESET_TO_SYNC);
		ck_assert_int_eq(facts().mode, MODE_SYNCHRONOUS);
		await(COPY_SYNCHRONIZED);
		stop_writing();
		ck_assert(unit_until(files_are_same, NULL, 20));
		write_on();
		ck_assert_int_eq(facts().objective_s, 0);
		do_it(OP_RESET_TO_ASYNC);
		ck_assert_int_eq(facts().mode, MODE_ASYNCHRONOUS);
		ck_assert_int_eq(facts().state, COPY_SYNCHRONIZED);
		target_generation();
	}
	stop_writing();
	do_it(OP_SUSPEND);
	do_it(OP_RESUME);
	follows();
	again();
	ck_assert_int_eq(facts().mode, MODE_ASYNCHRONOUS);
	stamp_some(10);
	await(COPY_SYNCHRONIZED);
}
END_TEST

/* It is Broken, and what it was as soon as it is there again. */
START_TEST(a_lost_target)
{
	uint64_t n;

	follow();
	write_on();
	ck_assert(unit_until(is_half, NULL, 20));
	ck_assert_int_eq(rename(temp_path("b.img"), temp_path("b.txt")), 0);
	temp_rescan();
	await(COPY_BROKEN);
	n = atomic_load(&journal->done);
	ck_assert_int_eq(operate(OP_SPLIT, false), -EBUSY);
	ck_assert_int_eq(rename(temp_path("b.txt"), temp_path("b.img")), 0);
	temp_rescan();
	target_generation();
	await(COPY_SYNCHRONIZED);
	stop_writing();
	ck_assert_uint_gt(atomic_load(&journal->done), n);
	follows();
}
END_TEST

/* The source gets another size, or becomes another disk, in the middle of it. */
START_TEST(another_source)
{
	follow();
	stamp_some(1000);
	ck_assert_int_eq(disk_resize(source, SIZE - 3 * MIB - 4096, true), 0);
	ck_assert_int_eq(disk_resize(source, SIZE + 5 * MIB, false), 0);
	ck_assert_int_eq(change(source, SIZE + MIB, 4096), 0);
	do_it(OP_SUSPEND);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert(unit_until(files_are_same, NULL, 20));
	ck_assert_int_eq(disk_resize(source, SIZE - MIB, true), 0);
	do_it(OP_SPLIT);
	ck_assert(unit_until(files_are_same, NULL, 20));
}
END_TEST

/* Snapshots of what is half copied, or mirrors of it, would be no moment of anything. */
START_TEST(refused)
{
	struct snapshot_facts made;
	struct pair_facts f;
	struct disk *target;
	struct pair_request q = { .target = "c.img", .mode = MODE_SYNCHRONOUS };
	uint32_t job;

	stop_half(OP_SUSPEND, COPY_SUSPENDED);
	target = temp_disk("b.img");
	ck_assert_int_eq(tandem_snapshot(temp.t, &target, 1, "s", false, &made, &why), -EBUSY);
	ck_assert_int_eq(tandem_mirror(temp.t, target, &q, &f, &why), -EBUSY);
	ck_assert_int_eq(operate(OP_RESET_TO_SYNC, false), -EBUSY);
	ck_assert_int_eq(tandem_verify_pair(temp.t, number, false, &job, &why), -EBUSY);
	ck_assert_int_eq(facts().state, COPY_SUSPENDED);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	do_it(OP_SPLIT);
	ck_assert_msg(!tandem_snapshot(temp.t, &target, 1, "s", false, &made, &why), "%s",
		      why.message);
	disk_unref(target);
}
END_TEST

static void write_target(void)
{
	struct disk *target = temp_disk("b.img");

	ck_assert_int_eq(disk_open(target, true), 0);
	ck_assert_int_eq(change(target, 0, 4096), 0);
	disk_close(target);
	disk_unref(target);
	ck_assert_int_eq(facts().state, COPY_SKEWED);
}

/* It is no moment of its source any more, whatever is done with it but copying. */
START_TEST(written_by_clients)
{
	make();
	await(COPY_SYNCHRONIZED);
	do_it(OP_SPLIT);
	ck_assert(facts().whole);
	write_target();
	ck_assert(!facts().whole);
	ck_assert_int_eq(operate(OP_UNPREPARE, true), 0);
	ck_assert(!facts().whole);
	do_it(OP_ACTIVATE);
	await(COPY_SYNCHRONIZED);
	ck_assert(facts().whole);
	do_it(OP_SPLIT);
	do_it(OP_RESET_TO_ASYNC);
	ck_assert(facts().whole);
	write_target();
	ck_assert(!facts().whole);
	again();
	ck_assert(!facts().whole);
	do_it(OP_RESET_TO_SYNC);
	ck_assert(!facts().whole);
	do_it(OP_RESET_TO_ASYNC);
	ck_assert_int_eq(operate(OP_RESYNC_REPLICA, true), 0);
	await(COPY_SYNCHRONIZED);
	ck_assert(facts().whole);
}
END_TEST

static bool is_later(void *arg)
{
	return facts().sync_time_ms > *(uint64_t *)arg;
}

/* Also not if it had everything until now, and nothing was copied. */
START_TEST(sync_time_does_not_go_back)
{
	uint64_t first, last;

	follow();
	first = facts().sync_time_ms;
	ck_assert(unit_until(is_later, &first, 20));
	last = facts().sync_time_ms;
	do_it(OP_RESET_TO_SYNC);
	ck_assert_uint_ge(facts().sync_time_ms, last);
}
END_TEST

UNIT_MAIN("modes of mirrors", stamps_setup, teardown, suspended, written_by_clients,
	  sync_time_does_not_go_back, split, detached_in_the_middle, detached_while_it_follows,
	  fractured_and_resynced, synchronous_and_asynchronous, a_lost_target, another_source,
	  refused)

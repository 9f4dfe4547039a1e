// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The target of an asynchronous mirror takes over: it is one generation of its source then, whenever
 * that is asked for. Refused, it is as before.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pairs_inner.h"
#include "stamps.h"
#include "unit.h"

/* ---- a file that is read slowly ---- */

static _Atomic ino_t slow; /* 0: none */

__attribute__((visibility("default"))) ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	struct stat st;

	if (atomic_load(&slow) && !fstat(fd, &st) && st.st_ino == atomic_load(&slow))
		usleep(5000);
	return syscall(SYS_pread64, fd, buf, len, off);
}

static void be_slow(const char *file)
{
	struct stat st;

	ck_assert_int_eq(stat(temp_path(file), &st), 0);
	atomic_store(&slow, st.st_ino);
}

/* ---- one that writes ---- */

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

/* By the name in the mount, which it keeps. */
static void open_named(void)
{
	struct pool *p = tandem_pool_named(temp.t, "");

	source = tandem_disk_mounted(temp.t, p, "a.img");
	pool_unref(p);
	ck_assert_ptr_nonnull(source);
	ck_assert_int_eq(disk_open(source, true), 0);
}

static void restart(void)
{
	close_source();
	temp_close();
	begin();
	open_named();
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

/* In the middle of a generation that is not copied on; nobody has the source open. */
static void stop_half(void)
{
	follow();
	write_on();
	for (unsigned i = 0; i < 200; i++) {
		ck_assert(unit_until(is_half, NULL, 20));
		do_it(OP_SUSPEND);
		if (facts().shows)
			break;
		do_it(OP_RESUME);
		await(COPY_SYNCHRONIZED);
	}
	stop_writing();
	ck_assert_uint_ne(facts().shows, 0);
}

static void check_sides(const char *is, const char *target)
{
	ck_assert_str_eq(facts().source, is);
	ck_assert_str_eq(facts().target, target);
}

/* The source holds that generation, and goes on from there. */
static void goes_on_from(uint64_t n)
{
	ck_assert_uint_eq(generation_of(source), n);
	atomic_store(&journal->done, n);
	stamp_some(50);
	ck_assert_uint_eq(generation_of(source), n + 50);
}

/* It follows at once then, and is asynchronous again when it is back. */
static void is_asynchronous_for_settings(void)
{
	struct pair_settings at_flush = { .has_acknowledge = true, .at_flush = true };
	struct pair_settings none = { .has_objective = true }, some = { .has_objective = true };

	some.objective_s = facts().objective_s ?: 1;
	ck_assert_int_eq(tandem_set_pair(temp.t, number, &at_flush, false, &why), -EOPNOTSUPP);
	ck_assert_int_eq(tandem_set_pair(temp.t, number, &none, false, &why), -EINVAL);
	ck_assert_int_eq(tandem_set_pair(temp.t, number, &some, false, &why), 0);
}

static void go_back(void)
{
	uint64_t n = atomic_load(&journal->done);

	ck_assert_int_eq(operate(OP_FAILBACK, false), -EPERM);
	ck_assert_msg(!operate(OP_FAILBACK, true), "%s", why.message);
	is_asynchronous_for_settings();
	await(COPY_SYNCHRONIZED);
	ck_assert_int_eq(facts().mode, MODE_ASYNCHRONOUS);
	check_sides("a.img", "b.img");
	ck_assert_uint_eq(generation_of(source), n);
	stamp_some(200);
	follows();
}

static int plan(enum replica_operation op)
{
	return tandem_operate_pair(temp.t, number, op, facts().state, false, true, &why);
}

START_TEST(in_the_middle)
{
	uint64_t n;

	stop_half();
	n = target_generation();
	ck_assert_int_eq(plan(OP_FAILOVER), -EBUSY);
	ck_assert_int_eq(operate(OP_FAILOVER, false), -EBUSY); /* who has it open would not know */
	ck_assert_uint_ne(facts().shows, 0);
	ck_assert_uint_eq(target_generation(), n);
	close_source();
	ck_assert_int_eq(plan(OP_FAILOVER), 0);
	ck_assert_uint_ne(facts().shows, 0);
	do_it(OP_FAILOVER);
	open_named();
	ck_assert_int_eq(facts().state, COPY_FAILEDOVER);
	check_sides("b.img", "a.img");
	goes_on_from(n);
	restart();
	ck_assert_int_eq(facts().state, COPY_FAILEDOVER);
	ck_assert_uint_eq(generation_of(source), n + 50);
	go_back();
	restart();
	follows();
}
END_TEST

START_TEST(while_it_follows)
{
	uint64_t n;

	follow();
	for (unsigned i = 0; i < unit_scaled(5); i++) {
		write_on();
		ck_assert(unit_until(is_half, NULL, 20));
		stop_writing();
		close_source();
		do_it(OP_FAILOVER); /* no copy counts as somebody who has it open */
		open_named();
		n = generation_of(source);
		ck_assert_uint_le(n, atomic_load(&journal->done));
		goes_on_from(n);
		ck_assert_msg(!operate(OP_FAILBACK, true), "%s", why.message);
		await(COPY_SYNCHRONIZED);
		ck_assert_uint_eq(generation_of(source), n + 50);
		check_sides("a.img", "b.img");
	}
	stamp_some(100);
	follows();
}
END_TEST

/* What it was is the target from then on. */
START_TEST(it_stays_there)
{
	uint64_t n;

	stop_half();
	close_source();
	do_it(OP_FAILOVER);
	open_named();
	n = generation_of(source);
	goes_on_from(n);
	ck_assert_msg(!operate(OP_REVERSE_ROLES, true), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	check_sides("b.img", "a.img");
	ck_assert_int_eq(facts().mode, MODE_ASYNCHRONOUS);
	ck_assert_int_eq(operate(OP_REVERSE_ROLES, false), -EBUSY);
	stamp_some(100);
	do_it(OP_SPLIT);
	ck_assert(is_same("a.img", "b.img"));
	do_it(OP_REVERSE_ROLES);
	await(COPY_SYNCHRONIZED);
	check_sides("a.img", "b.img");
	stamp_some(100);
	follows();
}
END_TEST

START_TEST(restored_from_it)
{
	uint64_t n;

	follow();
	stamp_some(100);
	do_it(OP_SPLIT);
	n = atomic_load(&journal->done);
	stamp_some(200);
	close_source();
	do_it(OP_RESTORE_FROM_REPLICA);
	open_named();
	ck_assert_uint_eq(generation_of(source), n);
	await(COPY_SYNCHRONIZED);
	check_sides("a.img", "b.img");
	goes_on_from(n);
	follows();
}
END_TEST

/* Its moments are given up, so that its roles can change. */
START_TEST(after_reset_to_sync)
{
	follow();
	do_it(OP_RESET_TO_SYNC);
	await(COPY_SYNCHRONIZED);
	do_it(OP_REVERSE_ROLES);
	check_sides("b.img", "a.img");
	stamp_some(100);
	do_it(OP_REVERSE_ROLES);
	check_sides("a.img", "b.img");
	ck_assert_uint_eq(generation_of(source), atomic_load(&journal->done));
	restart();
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
	ck_assert_uint_eq(generation_of(source), atomic_load(&journal->done));
}
END_TEST

/* A snapshot of either is of what it holds. */
START_TEST(refused_for_its_moments)
{
	struct snapshot_facts made;
	struct disk *target;
	uint64_t n;

	follow();
	do_it(OP_SPLIT);
	n = target_generation();
	stamp_some(100);
	target = temp_disk("b.img");
	ck_assert_msg(!tandem_snapshot(temp.t, &target, 1, "s", false, &made, &why), "%s",
		      why.message);
	disk_unref(target);
	close_source();
	ck_assert_int_eq(operate(OP_FAILOVER, true), -EBUSY);
	ck_assert_int_eq(facts().state, COPY_SPLIT);
	ck_assert_uint_eq(target_generation(), n);
	open_source();
	ck_assert_uint_eq(generation_of(source), atomic_load(&journal->done));
}
END_TEST

/* ---- another mirror of the same source ---- */

/* In the middle of a generation that is read in part before the source becomes an older one. */
START_TEST(another_one_that_is_copied)
{
	struct pair_request q = { .mode = MODE_ASYNCHRONOUS, .objective_s = 1 };
	uint32_t first, second;
	uint64_t n;

	follow();
	first = number;
	ck_assert_msg(!mirror("c.img", q), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	second = number;
	do_it(OP_SUSPEND);
	number = first;
	do_it(OP_SPLIT);
	n = target_generation();
	stamp_some(500);
	number = second;
	be_slow("a.img");
	do_it(OP_RESUME);
	ck_assert(unit_until(is_half, NULL, 20));
	close_source();
	number = first;
	do_it(OP_FAILOVER);
	open_named();
	goes_on_from(n);
	close_source(); /* what is written next would make a good one of a mixture */
	number = second;
	atomic_store(&slow, 0);
	for (uint64_t is = 0; is != n + 50;) {
		is = generation_in("c.img");
		ck_assert_msg(is <= n + 50 || facts().shows, "it is Synchronized at %d", (int)is);
	}
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("b.img", "c.img"));
	open_named();
}
END_TEST

/* ---- the source is gone ---- */

/* Until it is killed. */
static void run_child(void)
{
	begin();
	open_source();
	stamper(NULL);
	_exit(1);
}

static void kill_in_the_middle(void)
{
	uint64_t moments = 5;
	bool half = false;

	follow();
	close_source();
	temp_close();
	for (unsigned i = 0; i < 200 && !half; i++) {
		pid_t child = fork();

		if (!child)
			run_child();
		usleep(100000 + unit_below(&moments, 1000000));
		kill(child, SIGKILL);
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
		ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.away")), 0);
		begin();
		/* And something is in its write log only, which is settled now and then. */
		half = facts().shows &&
		       past_check_absent(temp.t, temp_number("a.img"), "a.img", "is away", &why);
		if (half)
			return;
		temp_close();
		ck_assert_int_eq(rename(temp_path("a.away"), temp_path("a.img")), 0);
		/* Where the writer goes on. */
		temp_open();
		source = temp_disk("a.img");
		ck_assert_int_eq(disk_open(source, false), 0);
		atomic_store(&journal->done, generation_of(source));
		close_source();
		temp_close();
	}
	ck_abort_msg("it is never in the middle");
}

START_TEST(a_source_that_is_gone)
{
	enum copy_state state;
	uint64_t n, differs;

	kill_in_the_middle();
	n = target_generation();
	ck_assert_uint_lt(n, atomic_load(&journal->begun));
	state = facts().state;
	differs = facts().differs;
	/* What is in its write log only is lost for good. */
	ck_assert_int_eq(operate(OP_FAILOVER, false), -EPERM);
	ck_assert_int_eq(facts().state, state);
	ck_assert_uint_eq(facts().differs, differs);
	ck_assert_uint_eq(target_generation(), n);
	ck_assert_msg(!operate(OP_FAILOVER, true), "%s", why.message);
	open_named();
	ck_assert_int_eq(facts().state, COPY_FAILEDOVER);
	goes_on_from(n);
	restart();
	ck_assert_uint_eq(generation_of(source), n + 50);
	ck_assert_int_eq(rename(temp_path("a.away"), temp_path("a.img")), 0);
	temp_rescan();
	check_sides("b.img", "a.img");
	go_back();
	restart();
	await(COPY_SYNCHRONIZED);
	stamp_some(50);
	follows();
}
END_TEST

/* Longer than its target, which has no part of that yet. */
START_TEST(a_source_that_was_resized_and_is_gone)
{
	struct disk *d;
	uint64_t n;

	stop_half();
	n = target_generation();
	ck_assert_int_eq(disk_resize(source, 2 * SIZE, true), 0);
	/* One that is there is refused, and nothing is taken back for that. */
	ck_assert_int_eq(operate(OP_FAILOVER, true), -EBUSY);
	ck_assert_str_eq(why.advice, "Resize");
	ck_assert_uint_ne(facts().shows, 0);
	close_source();
	temp_close();
	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.away")), 0);
	begin();
	do_it(OP_FAILOVER);
	open_named();
	ck_assert_uint_eq(disk_size(source), SIZE);
	goes_on_from(n);
	ck_assert_int_eq(rename(temp_path("a.away"), temp_path("a.img")), 0);
	temp_rescan();
	ck_assert_msg(!operate(OP_REVERSE_ROLES, true), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	follows();
	d = temp_disk("a.img");
	ck_assert_uint_eq(disk_size(d), SIZE);
	disk_unref(d);
}
END_TEST

/* It has some of what was written behind its end, and is not complete. */
static void stop_in_growth(void)
{
	struct marks *marks;
	uint64_t run, shows = 0;

	follow();
	do_it(OP_SUSPEND);
	ck_assert_int_eq(disk_resize(source, 3 * SIZE, true), 0);
	ck_assert_int_eq(change(source, SIZE + MIB, 4096), 0);
	for (uint64_t off = 2 * SIZE; off < 3 * SIZE; off += 2 * REGION)
		ck_assert_int_eq(change(source, off, 4096), 0);
	marks = pair_of_number(temp.t->pairs, number)->leg.marks;
	be_slow("a.img");
	do_it(OP_RESUME);
	while (!shows || marks_differs(marks, SIZE + MIB, REGION, &run)) {
		usleep(1000);
		shows = facts().shows;
	}
	do_it(OP_SUSPEND);
	atomic_store(&slow, 0);
	ck_assert_uint_ne(facts().shows, 0);
	ck_assert(!marks_differs(marks, SIZE + MIB, REGION, &run));
}

START_TEST(back_from_a_longer_one)
{
	struct pair *p;

	stop_in_growth();
	p = pair_of_number(temp.t->pairs, number);
	pthread_mutex_lock(&p->changing);
	ck_assert_msg(!async_make_whole(p, false, &why), "%s", why.message);
	pthread_mutex_unlock(&p->changing);
	ck_assert_uint_eq(facts().shows, 0);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	do_it(OP_SPLIT);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

/* What it lacks is what is behind its end. */
START_TEST(a_longer_source_that_is_gone)
{
	stop_in_growth();
	close_source();
	temp_close();
	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.away")), 0);
	begin();
	do_it(OP_FAILOVER);
	ck_assert_int_eq(rename(temp_path("a.away"), temp_path("a.img")), 0);
	temp_rescan();
	ck_assert_int_eq(operate(OP_REVERSE_ROLES, false), -EPERM);
	ck_assert_msg(!operate(OP_REVERSE_ROLES, true), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	open_named();
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

static void flip(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	char c;

	ck_assert_int_eq(pread(fd, &c, 1, at), 1);
	c ^= 1;
	ck_assert_int_eq(pwrite(fd, &c, 1, at), 1);
	close(fd);
}

/* The first record of each file, and so nobody knows what is behind it. */
static void damage_log(uint32_t disk)
{
	char pattern[PATH_MAX + 64];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/.tandem/past/%u/log/*", temp.dir, disk);
	ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++)
		flip(found.gl_pathv[i], 64 + 20);
	globfree(&found);
}

START_TEST(a_log_that_is_damaged)
{
	uint64_t n;
	int err;

	kill_in_the_middle();
	damage_log(temp_number("a.img"));
	n = target_generation();
	/*
	 * Where nothing of it was flushed it looks like one that was cut off; and where the first
	 * record was settled already, it is not looked at.
	 */
	err = operate(OP_FAILOVER, false);
	ck_assert_msg(err == -EIO ? strstr(why.message, "cannot be read") != NULL
				  : err == -EPERM && strstr(why.message, "in its write log only"),
		      "%d: %s", err, why.message);
	ck_assert_ptr_nonnull(strstr(why.advice, "Failover Force"));
	ck_assert_uint_eq(target_generation(), n);
	ck_assert_str_eq(facts().source, "a.img");
	ck_assert_msg(!operate(OP_FAILOVER, true), "%s", why.message);
	open_named();
	goes_on_from(n);
}
END_TEST

UNIT_MAIN("roles of asynchronous mirrors", stamps_setup, teardown, in_the_middle, while_it_follows,
	  it_stays_there, restored_from_it, another_one_that_is_copied, after_reset_to_sync,
	  refused_for_its_moments, a_source_that_is_gone, a_source_that_was_resized_and_is_gone,
	  back_from_a_longer_one, a_longer_source_that_is_gone, a_log_that_is_damaged)

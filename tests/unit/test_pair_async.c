// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Asynchronous mirrors: what is read of the target is always one generation of its source.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stamps.h"
#include "unit.h"

/* ---- tests ---- */

START_TEST(it_follows)
{
	stamp_some(300);
	make_async();
	ck_assert_int_eq(facts().mode, MODE_ASYNCHRONOUS);
	await(COPY_SYNCHRONIZED);
	ck_assert_uint_eq(facts().objective_s, 1);
	ck_assert(is_same("a.img", "b.img"));
	for (int i = 0; i < 3; i++) {
		uint64_t time = facts().sync_time_ms;

		stamp_some(500);
		ck_assert_int_eq(facts().state, COPY_SYNCHRONIZED);
		follows();
		ck_assert_uint_gt(facts().sync_time_ms, time);
	}
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

START_TEST(it_is_always_one_generation)
{
	uint64_t last = 0, n, until = unit_now_ms() + 30 * unit_scaled(100);
	unsigned different = 0;
	pthread_t thread;

	make_async();
	await(COPY_SYNCHRONIZED);
	pthread_create(&thread, NULL, stamper, NULL);
	while (unit_now_ms() < until || different < 2) {
		n = target_generation();
		ck_assert_uint_ge(n, last);
		different += n > last;
		last = n;
	}
	atomic_store(&journal->stop, true);
	pthread_join(thread, NULL);
	ck_assert_msg(different, "error %d, differs %d, shows %d, applied %d, last %d of %d",
		      facts().error, (int)facts().differs, (int)facts().shows, (int)facts().applied,
		      (int)last, (int)journal->done);
	follows();
}
END_TEST

static bool is_newer(void *arg)
{
	return facts().sync_time_ms > *(uint64_t *)arg;
}

/* Who has it open reads one generation, however long that takes. */
START_TEST(readers_of_one_generation)
{
	struct disk *target;
	pthread_t thread;
	uint64_t n;

	make_async();
	await(COPY_SYNCHRONIZED);
	target = temp_disk("b.img");
	pthread_create(&thread, NULL, stamper, NULL);
	for (unsigned i = 0; i < unit_scaled(4); i++) {
		uint64_t time = facts().sync_time_ms;

		ck_assert_int_eq(disk_open(target, false), 0);
		n = generation_of(target);
		for (unsigned k = 0; k < 3; k++, time = facts().sync_time_ms) {
			ck_assert(unit_until(is_newer, &time, 20));
			ck_assert_uint_eq(generation_of(target), n);
			/* Also who opens it meanwhile. */
			ck_assert_uint_eq(target_generation(), n);
		}
		disk_close(target);
		ck_assert_uint_gt(target_generation(), n);
	}
	atomic_store(&journal->stop, true);
	pthread_join(thread, NULL);
	disk_unref(target);
	follows();
}
END_TEST

/* Of a disk that ends within a region. */
static void *write_the_end(void *arg)
{
	char buf[4096] = "the end";

	while (!atomic_load(&journal->stop))
		ck_assert_int_eq(disk_write(source, buf, sizeof(buf), SIZE, 0), 0);
	return arg;
}

/* What is set again while it is copied is left to the next generation. */
START_TEST(the_end_is_written_all_the_time)
{
	pthread_t thread;

	stamp_some(300);
	ck_assert_int_eq(disk_resize(source, SIZE + 4096, false), 0);
	pthread_create(&thread, NULL, write_the_end, NULL);
	make_async();
	await(COPY_SYNCHRONIZED);
	for (unsigned k = 0; k < 3; k++) {
		uint64_t time = facts().sync_time_ms;

		ck_assert(unit_until(is_newer, &time, 20));
	}
	atomic_store(&journal->stop, true);
	pthread_join(thread, NULL);
}
END_TEST

/* Until it is killed. */
static void run_child(bool first, int whole)
{
	begin();
	open_source();
	if (first) {
		make_async();
		await(COPY_SYNCHRONIZED);
		ck_assert_int_eq(write(whole, "", 1), 1);
	}
	stamper(NULL);
	_exit(1);
}

static struct pair_facts of_m(void)
{
	struct pair_facts f;

	ck_assert_int_eq(pair_named(temp.t, "m", &f), 0);
	return f;
}

/* The first copy has ended. */
static bool is_whole(void)
{
	return !of_m().first;
}

START_TEST(it_is_one_generation_after_a_kill)
{
	uint64_t last = 0, moments = 9, shown = 0;
	int whole[2];
	char c;

	stamp_some(300);
	close_source();
	temp_close();
	ck_assert_int_eq(pipe(whole), 0);
	for (unsigned i = 0; i < unit_scaled(25); i++) {
		pid_t child = fork();
		uint64_t n;
		int status;

		if (!child)
			run_child(!i, whole[1]);
		/* However long the first copy takes. */
		if (!i) {
			close(whole[1]);
			ck_assert_int_eq(read(whole[0], &c, 1), 1);
		}
		usleep(unit_below(&moments, 1000000));
		kill(child, SIGKILL);
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert(WIFSIGNALED(status));
		/* As it was left, before its keeper does anything. */
		temp_open();
		if (is_whole()) {
			struct pair_facts f = of_m();

			shown += f.shows != 0;
			n = target_generation();
			ck_assert_uint_ge(n, last);
			ck_assert_uint_le(n, atomic_load(&journal->begun));
			last = n;
		}
		source = temp_disk("a.img");
		ck_assert_int_eq(disk_open(source, false), 0);
		n = generation_of(source);
		ck_assert_uint_ge(n, atomic_load(&journal->done));
		atomic_store(&journal->done, n);
		close_source();
		temp_close();
	}
	ck_assert_uint_gt(last, 0);
	printf("%d of the kills were in the middle of a generation\n", (int)shown);
	begin();
	open_source();
	number = of_m().number;
	follows();
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

UNIT_MAIN("asynchronous mirrors", stamps_setup, teardown, it_follows, it_is_always_one_generation,
	  readers_of_one_generation, the_end_is_written_all_the_time,
	  it_is_one_generation_after_a_kill)

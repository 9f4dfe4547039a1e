// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of jobs, and copiers that wait for each other in it. What they decide by is in test_turns.c. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "jobs_inner.h"
#include "temp_tandem.h"
#include "unit.h"

#define COPIERS 6

static struct tandem *t;
static struct jobs *js;

static void setup(void)
{
	temp_tandem_begin();
	temp_make("a.img", 1 << 20);
	temp_open();
	t = temp.t;
	js = t->jobs;
}

static void begin(uint32_t id, enum copy_priority priority)
{
	const struct job_spec spec = {
		.id = id,
		.operation = "Clone",
		.object = "disks/b.img",
		.moment = 7,
		.replica = id + 1000,
		.disks = { temp_number("a.img") },
		.priority = priority,
	};

	ck_assert_int_eq(job_begin(js, &spec), 0);
}

static struct job_facts facts(uint32_t id)
{
	struct job_facts f;

	ck_assert_int_eq(job_numbered(js, id, &f), 0);
	return f;
}

START_TEST(from_begin_to_end)
{
	struct job_facts f;

	begin(5, PRIORITY_SAME);
	ck_assert_uint_eq(temp_events("JobStarted disks/b.img Operation=Clone Moment=g7 Job=5"), 1);
	f = facts(5);
	ck_assert_int_eq(f.state, JOB_NEW);
	ck_assert_str_eq(f.object, "disks/b.img");
	ck_assert_uint_eq(f.started_ms, 0);
	ck_assert_uint_eq(f.percent, 0);
	ck_assert(!f.ended);
	ck_assert(job_pause_point(js, 5, 0, NULL));
	job_progress(js, 5, 50, 200);
	f = facts(5);
	ck_assert_int_eq(f.state, JOB_RUNNING);
	ck_assert_uint_ge(f.started_ms, f.submitted_ms);
	ck_assert_uint_eq(f.percent, 25);
	ck_assert_uint_eq(f.done, 50);
	ck_assert_uint_eq(f.total, 200);
	ck_assert_str_eq(f.waits_for, "");
	job_wait_for(js, 5, "Input/output error");
	ck_assert_str_eq(facts(5).waits_for, "Input/output error");
	ck_assert(job_pause_point(js, 5, 0, NULL));
	ck_assert_str_eq(facts(5).waits_for, "");
	job_progress(js, 5, 200, 200);
	ck_assert_uint_eq(facts(5).percent, 99);
	job_end(js, 5, JOB_COMPLETED, 0);
	job_end(js, 5, JOB_EXCEPTION, -EIO);
	f = facts(5);
	ck_assert_int_eq(f.state, JOB_COMPLETED);
	ck_assert_uint_eq(f.percent, 100);
	ck_assert(f.ended && !f.error);
	ck_assert_uint_eq(temp_events("JobEnded"), 1);
	ck_assert_uint_eq(temp_events("JobEnded disks/b.img Operation=Clone Moment=g7 Job=5 "
				      "JobState=Completed"),
			  1);
	ck_assert(!job_pause_point(js, 5, 0, NULL));
}
END_TEST

START_TEST(other_ends)
{
	begin(1, PRIORITY_SAME);
	job_end_as(js, 1, JOB_KILLED);
	job_end(js, 1, JOB_TERMINATED, 0);
	ck_assert_int_eq(facts(1).state, JOB_KILLED);
	begin(2, PRIORITY_SAME);
	job_end_as(js, 2, JOB_KILLED);
	job_end_as(js, 2, 0);
	job_end(js, 2, JOB_TERMINATED, 0);
	ck_assert_int_eq(facts(2).state, JOB_TERMINATED);
	begin(3, PRIORITY_SAME);
	job_end_as(js, 3, JOB_KILLED);
	job_end(js, 3, JOB_COMPLETED, 0);
	ck_assert_int_eq(facts(3).state, JOB_COMPLETED);
	begin(4, PRIORITY_SAME);
	job_end(js, 4, JOB_EXCEPTION, -ESTALE);
	ck_assert_int_eq(facts(4).error, -ESTALE);
	ck_assert_uint_eq(temp_events("Major JobEnded"), 1);
	ck_assert_uint_eq(temp_events("JobState=Exception Error=Stale"), 1);
}
END_TEST

START_TEST(found)
{
	uint32_t disk = temp_number("a.img");
	struct job_facts *list, f;
	struct job_spec spec;
	size_t count;

	ck_assert_int_eq(job_numbered(js, 1, &f), -ENOENT);
	ck_assert_int_eq(jobs_list(js, &list, &count), 0);
	ck_assert_uint_eq(count, 0);
	free(list);
	begin(9, PRIORITY_SAME);
	begin(8, PRIORITY_SAME);
	ck_assert_int_eq(jobs_list(js, &list, &count), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(list[0].id, 8);
	ck_assert_uint_eq(list[1].id, 9);
	free(list);
	ck_assert_uint_eq(job_of_replica(js, 1009, false), 9);
	job_end(js, 8, JOB_COMPLETED, 0);
	ck_assert_uint_eq(job_of_disk(js, disk, true), 0);
	spec = (struct job_spec){ .id = 7,
				  .operation = "RestoreTo",
				  .object = "disks/a.img",
				  .disks = { disk } };
	ck_assert_int_eq(job_begin(js, &spec), 0);
	begin(6, PRIORITY_SAME);
	ck_assert_uint_eq(job_of_disk(js, disk, false), 7);
	job_end(js, 7, JOB_COMPLETED, 0);
	ck_assert_uint_eq(job_of_disk(js, disk, false), 0);
	ck_assert_uint_eq(job_of_disk(js, disk, true), 7);
	ck_assert_uint_eq(job_of_replica(js, 1008, false), 0);
	ck_assert_uint_eq(job_of_replica(js, 1008, true), 8);
	ck_assert_uint_eq(job_of_replica(js, 0, true), 0);
}
END_TEST

START_TEST(so_many_ended_ones)
{
	struct job_facts f;

	begin(1, PRIORITY_SAME);
	for (uint32_t id = 2; id < 2 + 2 * JOB_ENDED_MAX; id++) {
		begin(id, PRIORITY_SAME);
		job_end(js, id, JOB_COMPLETED, 0);
	}
	facts(1 + 2 * JOB_ENDED_MAX);
	facts(2 + JOB_ENDED_MAX);
	ck_assert_int_eq(job_numbered(js, 1 + JOB_ENDED_MAX, &f), -ENOENT);
	ck_assert_int_eq(facts(1).state, JOB_NEW); /* it has not ended */
}
END_TEST

START_TEST(forgotten_after_a_while)
{
	struct job_facts f;
	uint64_t now;

	begin(1, PRIORITY_SAME);
	begin(2, PRIORITY_SAME);
	job_end(js, 2, JOB_COMPLETED, 0);
	now = monotonic_ns();
	jobs_forget_old(js, now + (JOB_REMOVAL_S - 1) * SECOND);
	facts(2);
	jobs_forget_old(js, now + (JOB_REMOVAL_S + 1) * SECOND);
	ck_assert_int_eq(job_numbered(js, 2, &f), -ENOENT);
	facts(1);
}
END_TEST

START_TEST(without_jobs)
{
	_Atomic bool stop = false;
	struct job_spec spec = { .operation = "Clone", .object = "disks/b.img" };

	ck_assert_int_eq(job_begin(js, &spec), 0);
	ck_assert(job_pause_point(js, 0, 1, &stop));
	ck_assert(job_pause_point(NULL, 5, 1, &stop));
	ck_assert_uint_eq(job_step(NULL, 5, 77), 77);
	ck_assert_uint_eq(job_step(js, 0, 77), 77);
	job_progress(NULL, 5, 1, 2);
	job_progress(js, 0, 1, 2);
	job_wait_for(js, 0, "");
	job_end(js, 0, JOB_COMPLETED, 0);
	job_end(NULL, 5, JOB_COMPLETED, 0);
	stop = true;
	ck_assert(!job_pause_point(js, 0, 1, &stop));
	ck_assert(!job_pause_point(NULL, 5, 1, &stop));
	ck_assert_uint_eq(temp_events("Job"), 0);
}
END_TEST

/* ---- with threads ---- */

static _Atomic unsigned running, most, steps_done;
static _Atomic bool stop_all;

static void *copy(void *arg)
{
	uint32_t id = (uintptr_t)arg;

	for (int i = 0; i < 200 && job_pause_point(js, id, 4096, &stop_all); i++) {
		unsigned now = atomic_fetch_add(&running, 1) + 1, was = atomic_load(&most);

		while (was < now && !atomic_compare_exchange_weak(&most, &was, now))
			;
		sched_yield();
		atomic_fetch_add(&steps_done, 1);
		atomic_fetch_sub(&running, 1);
	}
	job_end(js, id, JOB_COMPLETED, 0);
	return NULL;
}

START_TEST(at_most_two_at_a_time)
{
	static const enum copy_priority priorities[] = { PRIORITY_LOW, PRIORITY_SAME,
							 PRIORITY_HIGH };
	pthread_t threads[COPIERS];

	jobs_set_limits(js, 0, 2);
	for (uint32_t i = 0; i < COPIERS; i++)
		begin(i + 1, priorities[i % 3]);
	for (uintptr_t i = 0; i < COPIERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, copy, (void *)(i + 1)), 0);
	for (int i = 0; i < COPIERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&steps_done), COPIERS * 200);
	ck_assert_uint_ge(atomic_load(&most), 1);
	ck_assert_uint_le(atomic_load(&most), 2);
}
END_TEST

static bool waits(void *arg)
{
	struct job_facts f;

	return !job_numbered(js, 1, &f) && !strcmp(f.waits_for, arg);
}

static bool is_through(void *arg)
{
	return facts(1).ended;
}

/* A thread of job 1 that cannot go on, for that reason. */
static pthread_t stuck(const char *why)
{
	pthread_t thread;

	begin(1, PRIORITY_LOW);
	if (!strcmp(why, "Start"))
		job_suspend(js, 1, true);
	ck_assert_int_eq(pthread_create(&thread, NULL, copy, (void *)(uintptr_t)1), 0);
	ck_assert(unit_until(waits, (void *)(uintptr_t)why, 10));
	return thread;
}

START_TEST(suspended_until_start)
{
	pthread_t thread = stuck("Start");

	ck_assert_int_eq(facts(1).state, JOB_SUSPENDED);
	ck_assert_uint_eq(atomic_load(&steps_done), 0);
	job_suspend(js, 1, false);
	ck_assert(unit_until(is_through, NULL, 10));
	pthread_join(thread, NULL);
	ck_assert_uint_eq(atomic_load(&steps_done), 200);
}
END_TEST

START_TEST(a_turn_of_others)
{
	pthread_t thread;

	jobs_set_limits(js, 0, 1);
	begin(2, PRIORITY_SAME);
	ck_assert(job_pause_point(js, 2, 0, NULL));
	thread = stuck("Turn");
	ck_assert_int_eq(facts(1).state, JOB_NEW);
	job_end(js, 2, JOB_COMPLETED, 0);
	ck_assert(unit_until(is_through, NULL, 10));
	pthread_join(thread, NULL);
}
END_TEST

static void *steps_of_low(void *arg)
{
	_Atomic unsigned *steps = arg;

	while (job_pause_point(js, 1, 0, &stop_all))
		atomic_fetch_add(steps, 1);
	return NULL;
}

/* Not even between two steps of one that goes first. */
START_TEST(nobody_comes_between)
{
	_Atomic unsigned steps = 0;
	pthread_t thread;

	jobs_set_limits(js, 0, 1);
	begin(1, PRIORITY_SAME);
	begin(2, PRIORITY_HIGH);
	ck_assert(job_pause_point(js, 2, 0, NULL));
	ck_assert_int_eq(pthread_create(&thread, NULL, steps_of_low, &steps), 0);
	ck_assert(unit_until(waits, (void *)(uintptr_t) "Turn", 10));
	for (unsigned i = 0; i < unit_scaled(20000); i++) {
		ck_assert(job_pause_point(js, 2, 0, NULL));
		if (i % 64 == 0)
			sched_yield();
	}
	ck_assert_uint_eq(atomic_load(&steps), 0);
	atomic_store(&stop_all, true);
	jobs_wake(js);
	pthread_join(thread, NULL);
	job_end(js, 2, JOB_COMPLETED, 0);
}
END_TEST

/* Guests that write as fast as it copies make no way, and it copies nevertheless. */
START_TEST(how_fast_it_is)
{
	struct job_facts f;

	begin(2, PRIORITY_SAME);
	ck_assert(job_pause_point(js, 2, 0, NULL));
	ck_assert_uint_eq(facts(2).rate, 0);
	ck_assert_uint_eq(facts(2).left_s, UINT64_MAX);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert(job_pause_point(js, 2, 1000, NULL));
		job_progress(js, 2, 2000 - 1000 * i, (uint64_t)1 << 60);
	}
	f = facts(2);
	ck_assert_uint_gt(f.rate, 0);
	ck_assert_uint_eq(f.left_s, ((uint64_t)1 << 60) / f.rate);
	job_suspend(js, 2, true);
	ck_assert_uint_eq(facts(2).rate, 0);
	job_end(js, 2, JOB_COMPLETED, 0);
}
END_TEST

START_TEST(a_rate_that_is_lifted)
{
	pthread_t thread;

	jobs_set_limits(js, 4096, 0); /* 200 s */
	thread = stuck("CopyRate");
	jobs_set_limits(js, 0, 0);
	ck_assert(unit_until(is_through, NULL, 10));
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(in_a_hurry_nobody_waits)
{
	pthread_t thread = stuck("Start");

	jobs_hurry(js);
	ck_assert(unit_until(is_through, NULL, 10));
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(stopped_while_it_waits)
{
	pthread_t thread = stuck("Start");

	atomic_store(&stop_all, true);
	jobs_wake(js);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(atomic_load(&steps_done), 0);
}
END_TEST

START_TEST(ended_by_others_while_it_waits)
{
	pthread_t thread = stuck("Start");

	job_end(js, 1, JOB_EXCEPTION, -ESTALE);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(atomic_load(&steps_done), 0);
	ck_assert_int_eq(facts(1).state, JOB_EXCEPTION);
}
END_TEST

/* ---- its disk's guests ---- */

static struct disk *d;

static void *let_guest_go(void *arg)
{
	ck_assert(unit_until(waits, (void *)(uintptr_t) "Guests", 10));
	gate_leave(&d->gate, arg);
	return NULL;
}

START_TEST(low_waits_for_a_request)
{
	struct gate_item item;
	uint64_t began, came;
	pthread_t thread;

	d = temp_disk("a.img");
	begin(1, PRIORITY_LOW);
	ck_assert(job_pause_point(js, 1, 0, NULL));
	ck_assert(gate_enter(&d->gate, &item));
	ck_assert(gate_is_busy(&d->gate, &came));
	ck_assert_uint_eq(came, 1);
	for (began = unit_now_ms(); unit_now_ms() - began < 200;)
		sched_yield(); /* the step, so that there is time to be seen waiting */
	ck_assert_int_eq(pthread_create(&thread, NULL, let_guest_go, &item), 0);
	ck_assert(job_pause_point(js, 1, 0, NULL));
	pthread_join(thread, NULL);
	ck_assert(!gate_is_busy(&d->gate, &came));
	/* The other ones do not. */
	begin(2, PRIORITY_SAME);
	ck_assert(job_pause_point(js, 2, 0, NULL));
	ck_assert(gate_enter(&d->gate, &item));
	ck_assert(job_pause_point(js, 2, 0, NULL));
	gate_leave(&d->gate, &item);
	disk_unref(d);
}
END_TEST

START_TEST(high_comes_before_guests)
{
	d = temp_disk("a.img");
	begin(1, PRIORITY_HIGH);
	begin(2, PRIORITY_SAME);
	ck_assert(job_pause_point(js, 2, 0, NULL));
	ck_assert_uint_eq(d->hurried, 0);
	ck_assert(job_pause_point(js, 1, 0, NULL));
	ck_assert_uint_eq(d->hurried, 1);
	ck_assert(job_pause_point(js, 1, 0, NULL));
	ck_assert_uint_eq(d->hurried, 1);
	job_wait_for(js, 1, "");
	ck_assert_uint_eq(d->hurried, 0);
	ck_assert(job_pause_point(js, 1, 0, NULL));
	job_end(js, 1, JOB_COMPLETED, 0);
	ck_assert_uint_eq(d->hurried, 0);
	disk_unref(d);
}
END_TEST

START_TEST(percents)
{
	ck_assert_uint_eq(percent_of_bytes(0, 0), 0);
	ck_assert_uint_eq(percent_of_bytes(0, 10), 0);
	ck_assert_uint_eq(percent_of_bytes(1, 3), 33);
	ck_assert_uint_eq(percent_of_bytes(3, 3), 99);
	ck_assert_uint_eq(percent_of_bytes(7, 3), 99);
	ck_assert_uint_eq(percent_of_bytes(UINT64_MAX / 2, UINT64_MAX), 50);
}
END_TEST

UNIT_MAIN("jobs", setup, temp_tandem_end, from_begin_to_end, other_ends, found, so_many_ended_ones,
	  forgotten_after_a_while, without_jobs, at_most_two_at_a_time, suspended_until_start,
	  a_turn_of_others, nobody_comes_between, how_fast_it_is, a_rate_that_is_lifted,
	  in_a_hurry_nobody_waits, stopped_while_it_waits, ended_by_others_while_it_waits,
	  low_waits_for_a_request, high_comes_before_guests, percents)

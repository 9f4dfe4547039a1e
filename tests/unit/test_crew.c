// SPDX-License-Identifier: GPL-2.0-or-later
#include "crew.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "unit.h"

#define THREADS 4
#define STEPS 1000

static struct crew *c;

static void setup(void)
{
	ck_assert_int_eq(crew_new(THREADS, &c), 0);
}

static void teardown(void)
{
	crew_free(c);
}

static int count_step(void *arg, size_t i)
{
	atomic_uint *done = arg;

	atomic_fetch_add(&done[i], 1);
	return 0;
}

START_TEST(each_step_once)
{
	for (int round = 0; round < 50; round++) {
		static atomic_uint done[STEPS];

		for (size_t i = 0; i < STEPS; i++)
			atomic_store(&done[i], 0);
		ck_assert_int_eq(crew_run(round % 2 ? c : NULL, STEPS, count_step, done), 0);
		for (size_t i = 0; i < STEPS; i++)
			ck_assert_uint_eq(atomic_load(&done[i]), 1);
	}
	ck_assert_int_eq(crew_run(c, 0, count_step, NULL), 0);
}
END_TEST

/* Each waits until all are there: they are at work at the same time, with whoever brought it. */
static int meet(void *arg, size_t i)
{
	pthread_barrier_wait(arg);
	return 0;
}

START_TEST(at_the_same_time)
{
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	ck_assert_int_eq(crew_run(c, THREADS + 1, meet, &barrier), 0);
	ck_assert_int_eq(crew_run(c, THREADS + 1, meet, &barrier), 0);
	pthread_barrier_destroy(&barrier);
}
END_TEST

struct failing {
	size_t at;
	atomic_size_t begun;
};

static int fail_at(void *arg, size_t i)
{
	struct failing *f = arg;

	atomic_fetch_add(&f->begun, 1);
	return i == f->at ? -ENOSPC : 0;
}

START_TEST(none_begins_after_an_error)
{
	for (size_t at = 0; at < 20; at++) {
		struct failing f = { .at = at };

		ck_assert_int_eq(crew_run(NULL, 20, fail_at, &f), -ENOSPC);
		ck_assert_uint_eq(atomic_load(&f.begun), at + 1);
		atomic_store(&f.begun, 0);
		ck_assert_int_eq(crew_run(c, 20, fail_at, &f), -ENOSPC);
		ck_assert_uint_ge(atomic_load(&f.begun), at + 1);
	}
}
END_TEST

static int bring_more(void *arg, size_t i)
{
	return crew_run(c, 10, count_step, (atomic_uint *)arg + 10 * i);
}

START_TEST(steps_that_bring_work)
{
	static atomic_uint done[100 * 10];

	ck_assert_int_eq(crew_run(c, 100, bring_more, done), 0);
	for (size_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(atomic_load(&done[i]), 1);
}
END_TEST

struct stuck {
	pthread_barrier_t all_stuck;
	pthread_mutex_t until;
};

static int get_stuck(void *arg, size_t i)
{
	struct stuck *s = arg;

	pthread_barrier_wait(&s->all_stuck);
	pthread_mutex_lock(&s->until);
	pthread_mutex_unlock(&s->until);
	return 0;
}

static void *bring_stuck(void *arg)
{
	ck_assert_int_eq(crew_run(c, THREADS + 1, get_stuck, arg), 0);
	return NULL;
}

START_TEST(while_all_are_stuck)
{
	static atomic_uint done[STEPS];
	struct stuck s;
	pthread_t other;

	pthread_barrier_init(&s.all_stuck, NULL, THREADS + 2);
	pthread_mutex_init(&s.until, NULL);
	pthread_mutex_lock(&s.until);
	pthread_create(&other, NULL, bring_stuck, &s);
	pthread_barrier_wait(&s.all_stuck);
	ck_assert_int_eq(crew_run(c, STEPS, count_step, done), 0);
	for (size_t i = 0; i < STEPS; i++)
		ck_assert_uint_eq(atomic_load(&done[i]), 1);
	pthread_mutex_unlock(&s.until);
	pthread_join(other, NULL);
	pthread_mutex_destroy(&s.until);
	pthread_barrier_destroy(&s.all_stuck);
}
END_TEST

UNIT_MAIN("crew", setup, teardown, each_step_once, at_the_same_time, none_begins_after_an_error,
	  steps_that_bring_work, while_all_are_stuck)

// SPDX-License-Identifier: GPL-2.0-or-later
/* Many at once: writers, rounds, sizes. */
#include "marks_inner.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tap_file.h"
#include "unit.h"

#define REGION ((uint64_t)MARKS_REGION)
#define AREA ((uint64_t)MARKS_AREA)
#define NUMBER 1
#define ACTIVE_AT 4096
#define THREADS 6
#define AREAS 64 /* where they write */
#define SIZE (AREAS * AREA)

static struct file *file;
static struct marks *m;
static bool (*at_file)(const struct tap_call *call);
static atomic_uint writers[AREAS];        /* between begin and end */
static bool model[AREAS * AREA / REGION]; /* each thread has its own regions */
static atomic_bool is_flushing, has_flushed, stop;
static atomic_uint errors, wrong;
static unsigned rounds;

static bool tap(void *arg, const struct tap_call *call)
{
	return !at_file || at_file(call);
}

static void setup(void)
{
	at_file = NULL;
	memset(model, 0, sizeof(model));
	is_flushing = has_flushed = stop = false;
	errors = wrong = 0;
	file = fake_file_new(NULL, 0);
	ck_assert_int_eq(marks_create(tap_file_new(file, tap, NULL), NUMBER, SIZE, false, &m), 0);
}

static void teardown(void)
{
	marks_close(m);
}

/* ---- one flush for all who wait ---- */

static uint64_t begun(void)
{
	uint64_t n;

	pthread_mutex_lock(&m->lock);
	n = m->running[0] + m->running[1];
	pthread_mutex_unlock(&m->lock);
	return n;
}

static bool all_have_come(void *arg)
{
	return begun() == THREADS;
}

/* The first flush takes until all wait. */
static bool wait_in_flush(const struct tap_call *call)
{
	if (call->call == FAKE_FLUSH && !call->after && !atomic_exchange(&is_flushing, true))
		unit_until(all_have_come, NULL, 10);
	return true;
}

static void *begin_one(void *arg)
{
	uintptr_t i = (uintptr_t)arg;
	unsigned turn;

	if (marks_begin(m, i * 3 * AREA, 1, &turn))
		atomic_fetch_add(&errors, 1);
	else
		marks_end(m, turn);
	return NULL;
}

static void run(void *(*fn)(void *))
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, fn, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

START_TEST(who_waits_shares_a_flush)
{
	unsigned before = fake_calls(file, FAKE_FLUSH);

	at_file = wait_in_flush;
	run(begin_one);
	ck_assert_uint_eq(errors, 0);
	/* One for the first, one for all others. */
	ck_assert_uint_eq(fake_calls(file, FAKE_FLUSH), before + 2);
}
END_TEST

START_TEST(who_waits_shares_a_failure)
{
	at_file = wait_in_flush;
	fake_fail(file, FAKE_FLUSH, 2, 1, EIO);
	run(begin_one);
	ck_assert_uint_eq(errors, THREADS - 1);
	ck_assert_uint_eq(begun(), 0);
	run(begin_one);
	ck_assert_uint_eq(errors, THREADS - 1);
}
END_TEST

static bool flush_began(void *arg)
{
	return atomic_load(&is_flushing);
}

static void *begin_next(void *arg)
{
	uintptr_t i = (uintptr_t)arg;
	unsigned turn;

	if (i)
		unit_until(flush_began, NULL, 10);
	if (marks_begin(m, (1 + i) * AREA, 1, &turn))
		atomic_fetch_add(&errors, 1);
	else
		marks_end(m, turn);
	return NULL;
}

/* They came while the flush ran that looked ahead for them. */
START_TEST(who_waited_looks_again)
{
	unsigned before, turn;

	ck_assert_int_eq(marks_begin(m, 0, 1, &turn), 0);
	marks_end(m, turn);
	before = fake_calls(file, FAKE_FLUSH);
	at_file = wait_in_flush;
	run(begin_next);
	ck_assert_uint_eq(errors, 0);
	ck_assert_uint_eq(fake_calls(file, FAKE_FLUSH), before + 1);
}
END_TEST

/* ---- a round waits ---- */

static int flush_and_tell(void *arg)
{
	atomic_store(&has_flushed, true);
	return 0;
}

static void *clean_once(void *arg)
{
	if (marks_clean(m, false, flush_and_tell, NULL))
		atomic_fetch_add(&errors, 1);
	return NULL;
}

static bool has_turned(void *arg)
{
	unsigned turn;

	pthread_mutex_lock(&m->lock);
	turn = m->turn;
	pthread_mutex_unlock(&m->lock);
	return turn != *(unsigned *)arg;
}

START_TEST(a_round_waits_for_those_before_it)
{
	unsigned before, after, other;
	pthread_t thread;

	ck_assert_int_eq(marks_begin(m, 0, 1, &before), 0);
	ck_assert_int_eq(marks_begin(m, 9 * AREA, 1, &other), 0);
	marks_end(m, other);
	ck_assert_int_eq(marks_clean(m, false, flush_and_tell, NULL), 0); /* nothing yet */
	ck_assert_int_eq(pthread_create(&thread, NULL, clean_once, NULL), 0);
	ck_assert(unit_until(has_turned, &before, 10));
	/* Not for this one. */
	ck_assert_int_eq(marks_begin(m, 0, 1, &after), 0);
	ck_assert(!atomic_load(&has_flushed));
	marks_end(m, before);
	pthread_join(thread, NULL);
	ck_assert(atomic_load(&has_flushed));
	ck_assert(marks_any_active(m)); /* the first area, of which somebody has begun */
	marks_end(m, after);
	ck_assert_uint_eq(errors, 0);
}
END_TEST

/* ---- a crowd ---- */

/* Whoever has begun is in what is written. */
static bool check_image(const struct tap_call *call)
{
	const uint8_t *bits = call->buf;

	if (call->call == FAKE_WRITE && !call->after && call->off == ACTIVE_AT)
		for (unsigned a = 0; a < AREAS; a++)
			if (atomic_load(&writers[a]) && !(bits[a / 8] >> a % 8 & 1))
				atomic_fetch_add(&wrong, 1);
	return true;
}

/* Regions of a thread: each THREADS-th, so that all of them share areas and words. */
static void write_one(uint64_t thread, uint64_t *seed)
{
	uint64_t r = unit_below(seed, SIZE / REGION / THREADS) * THREADS + thread, run;
	uint64_t off = r * REGION, area = off / AREA;
	unsigned turn;

	if (marks_begin(m, off, REGION, &turn))
		return;
	atomic_fetch_add(&writers[area], 1);
	if (marks_differs(m, off, REGION, &run) != model[r])
		atomic_fetch_add(&wrong, 1);
	switch (unit_below(seed, 4)) {
	case 0:
		marks_set(m, off, 1);
		model[r] = true;
		break;
	case 1:
		marks_clear(m, off, REGION);
		model[r] = false;
		break;
	case 2:
		sched_yield();
		break;
	default:
		break;
	}
	atomic_fetch_sub(&writers[area], 1);
	marks_end(m, turn);
}

static void *write_many(void *arg)
{
	uint64_t thread = (uintptr_t)arg, seed = thread + 1;

	for (unsigned i = 0; i < rounds; i++)
		write_one(thread, &seed);
	return NULL;
}

static int flush_nothing(void *arg)
{
	sched_yield();
	return 0;
}

static void *clean_all_the_time(void *arg)
{
	while (!atomic_load(&stop))
		if (marks_clean(m, false, flush_nothing, NULL) && !arg)
			atomic_fetch_add(&wrong, 1);
	return NULL;
}

/* Behind what is written. */
static void *resize_all_the_time(void *arg)
{
	uint64_t seed = 77;

	while (!atomic_load(&stop)) {
		uint64_t size = SIZE + unit_below(&seed, 3) * 40000 * AREA;

		if (marks_resize(m, size, false) && !arg)
			atomic_fetch_add(&wrong, 1);
		marks_next(m, unit_below(&seed, SIZE));
		marks_bytes(m);
		marks_any_active(m);
	}
	return NULL;
}

static void *fail_now_and_then(void *arg)
{
	uint64_t seed = 5;

	while (arg && !atomic_load(&stop)) {
		fake_fail(file, unit_below(&seed, 2) ? FAKE_WRITE : FAKE_FLUSH,
			  1 + unit_below(&seed, 20), 1, EIO);
		sched_yield();
	}
	return NULL;
}

static void check_model(void)
{
	uint64_t count = 0, run;

	for (uint64_t r = 0; r < SIZE / REGION; r++) {
		ck_assert_int_eq(marks_differs(m, r * REGION, 1, &run), model[r]);
		count += model[r];
	}
	ck_assert_uint_eq(marks_bytes(m), count * REGION);
}

static void crowd(bool fails)
{
	void *(*const others[])(void *) = { clean_all_the_time, resize_all_the_time,
					    fail_now_and_then };
	pthread_t threads[UNIT_LENGTH(others)];
	struct file *left;

	rounds = unit_scaled(60000);
	at_file = check_image;
	for (size_t i = 0; i < UNIT_LENGTH(others); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, others[i],
						fails ? &fails : NULL),
				 0);
	run(write_many);
	atomic_store(&stop, true);
	for (size_t i = 0; i < UNIT_LENGTH(others); i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(wrong, 0);
	check_model();
	fake_fail(file, FAKE_WRITE, 1, 0, EIO);
	fake_fail(file, FAKE_FLUSH, 1, 0, EIO);
	ck_assert_int_eq(marks_clean(m, true, flush_nothing, NULL), 0);
	left = fake_crashed(file, 1);
	marks_close(m);
	ck_assert_int_eq(marks_open(left, NUMBER, &m), 0);
	check_model();
}

START_TEST(a_crowd)
{
	crowd(false);
}
END_TEST

START_TEST(a_crowd_on_a_file_that_fails)
{
	crowd(true);
}
END_TEST

UNIT_MAIN("marks, threads", setup, teardown, who_waits_shares_a_flush, who_waits_shares_a_failure,
	  who_waited_looks_again, a_round_waits_for_those_before_it, a_crowd,
	  a_crowd_on_a_file_that_fails)

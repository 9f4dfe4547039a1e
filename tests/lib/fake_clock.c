// SPDX-License-Identifier: GPL-2.0-or-later
#include "fake_clock.h"

#include <errno.h>
#include <time.h>

#define EPOCH_MS 1700000000000ull
#define BEGINNING_NS 1000000000000ull
/* A wait of the thread that makes time pass: so long, in real time, before a step of it. */
#define REAL_NS 2000000
#define STEP_NS 100000000ull

struct waiter {
	struct waiter *next;
	pthread_cond_t *cond;
	uint64_t until;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static pthread_cond_t left = PTHREAD_COND_INITIALIZER;
static struct waiter *waiters; /* on their stacks */
static _Atomic uint64_t nothing;
static _Atomic uint64_t *passed = &nothing;
static _Thread_local bool makes_it_pass;

uint64_t monotonic_ns(void)
{
	return BEGINNING_NS + *passed;
}

void clock_begin(_Atomic uint64_t *passed_ns)
{
	makes_it_pass = true;
	passed = passed_ns ? passed_ns : &nothing;
}

uint64_t clock_ms(void)
{
	return EPOCH_MS + *passed / 1000000;
}

static struct timespec really_soon(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += REAL_NS;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	return ts;
}

/* Under lock. Who is due is told until he has noticed: he may not wait yet. */
static void wake_due(void)
{
	for (;;) {
		struct timespec soon = really_soon();
		bool due = false;

		for (struct waiter *w = waiters; w; w = w->next) {
			if (w->until > monotonic_ns())
				continue;
			due = true;
			pthread_cond_broadcast(w->cond);
		}
		if (!due)
			return;
		pthread_cond_clockwait(&left, &lock, CLOCK_MONOTONIC, &soon);
	}
}

void clock_pass(uint64_t ns)
{
	pthread_mutex_lock(&lock);
	*passed += ns;
	wake_due();
	pthread_mutex_unlock(&lock);
}

/* Nobody else makes it pass meanwhile. */
static bool wait_and_pass(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t until)
{
	struct timespec soon = really_soon();
	uint64_t now = monotonic_ns();

	if (now >= until)
		return false;
	if (pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &soon) != ETIMEDOUT)
		return true;
	pthread_mutex_unlock(mutex);
	clock_pass(until - now < STEP_NS ? until - now : STEP_NS);
	pthread_mutex_lock(mutex);
	return true; /* whatever it waits for may have come meanwhile */
}

static bool enter(struct waiter *w)
{
	bool waits;

	pthread_mutex_lock(&lock);
	waits = w->until > monotonic_ns();
	if (waits) {
		w->next = waiters;
		waiters = w;
	}
	pthread_mutex_unlock(&lock);
	return waits;
}

/* Whether its time has come. */
static bool leave(struct waiter *w)
{
	struct waiter **link = &waiters;
	bool came;

	pthread_mutex_lock(&lock);
	while (*link != w)
		link = &(*link)->next;
	*link = w->next;
	came = w->until <= monotonic_ns();
	pthread_cond_broadcast(&left);
	pthread_mutex_unlock(&lock);
	return came;
}

bool clock_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t until_ns)
{
	struct waiter w = { .cond = cond, .until = until_ns };

	if (makes_it_pass)
		return wait_and_pass(cond, mutex, until_ns);
	if (!enter(&w))
		return false;
	pthread_cond_wait(cond, mutex);
	return !leave(&w);
}

bool clock_is_waited_for(pthread_cond_t *cond)
{
	bool waits = false;

	pthread_mutex_lock(&lock);
	for (struct waiter *w = waiters; w; w = w->next)
		waits = waits || (w->cond == cond && w->until > monotonic_ns());
	pthread_mutex_unlock(&lock);
	return waits;
}

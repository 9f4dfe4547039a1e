// SPDX-License-Identifier: GPL-2.0-or-later
#include "gate.h"

#include <sched.h>
#include <stdatomic.h>

#include "unit.h"

#define THREADS 8
#define LIMIT 3

static struct gate g;

static void setup(void)
{
	gate_init(&g, LIMIT);
}

static void teardown(void)
{
	gate_destroy(&g);
}

START_TEST(in_order_and_not_more_than_the_limit)
{
	struct gate_item i[8];

	for (int n = 0; n < 8; n++)
		ck_assert_int_eq(gate_enter(&g, &i[n]), n < LIMIT);
	ck_assert_uint_eq(g.running, LIMIT);
	ck_assert_ptr_eq(gate_leave(&g, &i[1]), &i[3]);
	ck_assert_ptr_eq(gate_leave(&g, &i[0]), &i[4]);
	ck_assert_ptr_eq(gate_leave(&g, &i[4]), &i[5]);
	ck_assert_ptr_eq(gate_leave(&g, &i[5]), &i[6]);
	ck_assert_ptr_eq(gate_leave(&g, &i[2]), &i[7]);
	ck_assert_uint_eq(g.running, LIMIT);
	ck_assert_ptr_null(gate_leave(&g, &i[6]));
	ck_assert_ptr_null(gate_leave(&g, &i[3]));
	/* Parked once more, after the queue was empty. */
	ck_assert(gate_enter(&g, &i[0]));
	ck_assert(gate_enter(&g, &i[1]));
	ck_assert(!gate_enter(&g, &i[2]));
	ck_assert_ptr_eq(gate_leave(&g, &i[0]), &i[2]);
	ck_assert_ptr_null(gate_leave(&g, &i[2]));
	ck_assert_ptr_null(gate_leave(&g, &i[1]));
	ck_assert_ptr_null(gate_leave(&g, &i[7]));
	ck_assert_uint_eq(g.running, 0);
}
END_TEST

START_TEST(the_oldest_counts_from_when_it_came)
{
	struct gate_item i[LIMIT + 1];
	uint64_t now = monotonic_ns();

	ck_assert_uint_eq(gate_oldest(&g, now), 0);
	for (int n = 0; n <= LIMIT; n++)
		gate_enter(&g, &i[n]);
	i[0].since = now - 5000;
	i[1].since = now - 9000;
	i[LIMIT].since = now - 7000; /* parked: how long it waits there counts once it runs */
	ck_assert_uint_eq(gate_oldest(&g, now), 9000);
	ck_assert_ptr_eq(gate_leave(&g, &i[1]), &i[LIMIT]);
	ck_assert_uint_eq(gate_oldest(&g, now), 7000);
	gate_leave(&g, &i[LIMIT]);
	ck_assert_uint_eq(gate_oldest(&g, now), 5000);
	gate_leave(&g, &i[0]);
	gate_leave(&g, &i[2]);
	/* One that came after `now` was read is not ages old. */
	gate_enter(&g, &i[0]);
	ck_assert_uint_eq(gate_oldest(&g, now), 0);
	gate_leave(&g, &i[0]);
}
END_TEST

/* A request as the daemon has it: whoever finishes one runs the next. */
struct job {
	struct gate_item gate; /* first */
	unsigned *done;        /* only its runner writes it: TSan watches */
	atomic_bool finished;
};
static atomic_int running, most;
static atomic_uint finished, wrong;
static unsigned rounds;

static void run(struct job *j)
{
	int now = atomic_fetch_add(&running, 1) + 1, m = atomic_load(&most);

	while (now > m && !atomic_compare_exchange_weak(&most, &m, now))
		;
	++*j->done;
	atomic_fetch_sub(&running, 1);
}

static void *client(void *arg)
{
	unsigned done = 0;

	for (unsigned i = 0; i < rounds; i++) {
		struct job mine = { .done = &done }, *j = &mine;

		if (gate_enter(&g, &j->gate))
			while (j) {
				struct job *was = j;

				run(j);
				j = (struct job *)gate_leave(&g, &j->gate);
				atomic_fetch_add(&finished, 1);
				atomic_store(&was->finished, true); /* it may be gone now */
			}
		while (!atomic_load(&mine.finished))
			sched_yield();
	}
	if (done != rounds)
		atomic_fetch_add(&wrong, 1);
	return NULL;
}

START_TEST(everyone_runs_once)
{
	pthread_t threads[THREADS];

	rounds = unit_scaled(20000);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, client, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
	ck_assert_uint_eq(atomic_load(&finished), THREADS * rounds);
	ck_assert_int_le(atomic_load(&most), LIMIT);
	ck_assert_uint_eq(g.running, 0);
	ck_assert_ptr_null(g.parked);
}
END_TEST

UNIT_MAIN("gate", setup, teardown, in_order_and_not_more_than_the_limit,
	  the_oldest_counts_from_when_it_came, everyone_runs_once)

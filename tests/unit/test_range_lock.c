// SPDX-License-Identifier: GPL-2.0-or-later
#include "range_lock.h"

#include <stdatomic.h>
#include <stdio.h>

#include "unit.h"

#define THREADS 8
#define PAGES 64

static struct range_lock l;

static void setup(void)
{
	range_lock_init(&l);
}

static void teardown(void)
{
	range_lock_destroy(&l);
}

/* One that may have to wait, in a thread of its own. */
struct taker {
	struct range r;
	uint64_t off, len;
	bool exclusive;
	atomic_bool granted;
	pthread_t thread;
};

static void *take(void *arg)
{
	struct taker *t = arg;

	if (t->exclusive)
		range_lock_write(&l, &t->r, t->off, t->len);
	else
		range_lock_read(&l, &t->r, t->off, t->len);
	atomic_store(&t->granted, true);
	return NULL;
}

static bool is_granted(void *arg)
{
	struct taker *t = arg;

	return atomic_load(&t->granted);
}

static unsigned waiting(void)
{
	unsigned n;

	pthread_mutex_lock(&l.mutex);
	n = l.waiting;
	pthread_mutex_unlock(&l.mutex);
	return n;
}

struct queue {
	const struct taker *t;
	unsigned before;
};

static bool has_come(void *arg)
{
	const struct queue *q = arg;

	return atomic_load(&q->t->granted) || waiting() > q->before;
}

/* Has it, or waits for it. Returns whether it has it. */
static bool start(struct taker *t, uint64_t off, uint64_t len, bool exclusive)
{
	struct queue q = { t, waiting() };

	t->r = (struct range){ 0 };
	t->off = off;
	t->len = len;
	t->exclusive = exclusive;
	atomic_init(&t->granted, false);
	ck_assert_int_eq(pthread_create(&t->thread, NULL, take, t), 0);
	ck_assert(unit_until(has_come, &q, 10));
	return atomic_load(&t->granted);
}

static void let_go(struct taker *t)
{
	ck_assert(unit_until(is_granted, t, 10));
	pthread_join(t->thread, NULL);
	range_unlock(&l, &t->r);
}

START_TEST(who_waits_for_whom)
{
	static const struct {
		uint64_t off, len, off2, len2;
		bool overlap;
	} list[] = {
		{ 0, 4096, 4096, 4096, false }, /* neighbours */
		{ 0, 1, 4095, 1,
		  true }, /* one page: a cached and a direct request never share it */
		{ 0, 4097, 8191, 1, true },
		{ 8192, 4096, 0, 8192, false },
		{ 0, UINT64_MAX, 1ull << 40, 1, true },
		{ 1ull << 62, UINT64_MAX - (1ull << 62), 1ull << 63, 512, true },
		{ UINT64_MAX - 10, 5, UINT64_MAX - 3000, 1, true },
		{ 1ull << 63, 1ull << 63, (1ull << 63) + 8192, 1, true }, /* the sum overflows */
		{ 4096, 0, 4096, 4096, false }, /* nothing overlaps nothing */
	};

	for (size_t i = 0; i < UNIT_LENGTH(list); i++)
		for (int kinds = 0; kinds < 4; kinds++) {
			bool first = kinds & 1, second = kinds & 2, at_once;
			struct taker a, b;

			ck_assert(start(&a, list[i].off, list[i].len, first));
			at_once = start(&b, list[i].off2, list[i].len2, second);
			ck_assert_msg(at_once == (!list[i].overlap || (!first && !second)),
				      "row %zu kinds %d", i, kinds);
			let_go(&a);
			let_go(&b);
		}
}
END_TEST

START_TEST(first_come_first_served)
{
	struct taker reader, writer, late;

	ck_assert(start(&reader, 0, 4096, false));
	ck_assert(!start(&writer, 0, 8192, true));
	/* It could run beside the first one, but would starve the writer. */
	ck_assert(!start(&late, 0, 4096, false));
	let_go(&reader);
	ck_assert(unit_until(is_granted, &writer, 10));
	ck_assert(!atomic_load(&late.granted));
	let_go(&writer);
	let_go(&late);
}
END_TEST

START_TEST(a_waiter_holds_up_only_whom_it_overlaps)
{
	struct taker a, b, c;

	ck_assert(start(&a, 0, 4096, true));
	ck_assert(!start(&b, 0, 8192, true));
	ck_assert(start(&c, 8192, 4096, true));
	let_go(&c);
	let_go(&a);
	let_go(&b);
}
END_TEST

/* Per page: how many read it, or -1 while one writes it. */
static atomic_int pages[PAGES];
static uint64_t written[PAGES]; /* under the range lock alone: TSan watches */
static atomic_uint wrong;
static unsigned rounds;

static void enter(unsigned page, bool exclusive)
{
	int was = exclusive ? atomic_exchange(&pages[page], -1) : atomic_fetch_add(&pages[page], 1);

	if (exclusive ? was != 0 : was < 0)
		atomic_fetch_add(&wrong, 1);
	if (exclusive)
		written[page]++;
	else if (written[page] == UINT64_MAX)
		atomic_fetch_add(&wrong, 1);
}

static void leave(unsigned page, bool exclusive)
{
	if (exclusive)
		atomic_store(&pages[page], 0);
	else
		atomic_fetch_sub(&pages[page], 1);
}

static void *crowd(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	for (unsigned i = 0; i < rounds; i++) {
		unsigned first = unit_below(&seed, PAGES), count = 1 + unit_below(&seed, 8);
		bool exclusive = unit_below(&seed, 2);
		struct range r;

		if (first + count > PAGES)
			count = PAGES - first;
		if (exclusive)
			range_lock_write(&l, &r, first * 4096 + 1, count * 4096 - 2);
		else
			range_lock_read(&l, &r, first * 4096, count * 4096);
		for (unsigned p = first; p < first + count; p++)
			enter(p, exclusive);
		for (unsigned p = first; p < first + count; p++)
			leave(p, exclusive);
		range_unlock(&l, &r);
	}
	return NULL;
}

START_TEST(no_two_at_once)
{
	pthread_t threads[THREADS];

	rounds = unit_scaled(20000);
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, crowd, (void *)(i + 1)), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
	ck_assert_ptr_null(l.first);
	ck_assert_ptr_eq(l.last, &l.first);
	ck_assert_uint_eq(l.waiting, 0);
}
END_TEST

UNIT_MAIN("range lock", setup, teardown, who_waits_for_whom, first_come_first_served,
	  a_waiter_holds_up_only_whom_it_overlaps, no_two_at_once)

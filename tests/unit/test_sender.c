// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a leg is sent, with a target that locks no ranges: so it is the sender that keeps writes of one
 * place in their order, and that says what is missing before it says that it has ended.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mirror.h"
#include "sender.h"
#include "unit.h"

/* ---- what it calls ---- */

static int target_write(struct disk *d, const void *buf, size_t len, uint64_t off, unsigned io);
static int target_zero(struct disk *d, uint64_t off, uint64_t len, enum zero_mode mode);
static void lose(struct leg *leg, int err);
static void set(struct marks *m, uint64_t off, uint64_t len);
static void end(struct marks *m, unsigned turn);
static int outdate(struct marks *m, enum outdated how);
static int get_memory(void **out, size_t align, size_t len);
static int get_thread(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);

#define disk_write_once target_write
#define disk_zero_once target_zero
#define leg_lose lose
#define marks_set set
#define marks_end end
#define marks_outdate outdate
#define posix_memalign get_memory
#define pthread_create get_thread
/* All of it, so that it gets these. */
#include "../../replica/mirrors/sender.c"
#undef posix_memalign
#undef pthread_create

#define BLOCK 4096
#define BLOCKS 64

static struct leg leg;
static struct sender *s;
static char source[BLOCKS * BLOCK], target[BLOCKS * BLOCK];
static uint64_t seed;
static atomic_bool no_memory, no_thread;

/* What was done, in its order. */
enum what { WRITES = 1, WROTE, LOST, SET, OUTDATES, ENDED };
static struct {
	enum what what;
	uint64_t off;
} done[10000];
static size_t count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static bool shut[BLOCKS], fails;
static unsigned delay_us, waiting;

static void did(enum what what, uint64_t off)
{
	ck_assert_uint_lt(count, UNIT_LENGTH(done));
	done[count].what = what;
	done[count++].off = off;
}

static void tell(enum what what, uint64_t off)
{
	pthread_mutex_lock(&lock);
	did(what, off);
	pthread_mutex_unlock(&lock);
}

static bool has_done(enum what what, uint64_t off)
{
	bool has = false;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < count && !has; i++)
		has = done[i].what == what && done[i].off == off;
	pthread_mutex_unlock(&lock);
	return has;
}

/* At the first block that it is about. */
static int go_through(const void *buf, uint64_t off, uint64_t len)
{
	static _Thread_local uint64_t mine;
	bool failed;

	pthread_mutex_lock(&lock);
	did(WRITES, off);
	waiting++;
	while (shut[off / BLOCK])
		pthread_cond_wait(&opened, &lock);
	waiting--;
	failed = fails;
	pthread_mutex_unlock(&lock);
	mine = mine ? mine : (uintptr_t)&mine;
	if (delay_us)
		usleep(unit_below(&mine, delay_us));
	if (failed)
		return -EIO;
	if (buf)
		memcpy(target + off, buf, len);
	else
		memset(target + off, 0, len);
	tell(WROTE, off);
	return 0;
}

static int target_write(struct disk *d, const void *buf, size_t len, uint64_t off, unsigned io)
{
	return go_through(buf, off, len);
}

static int target_zero(struct disk *d, uint64_t off, uint64_t len, enum zero_mode mode)
{
	return go_through(NULL, off, len);
}

static void lose(struct leg *l, int err)
{
	atomic_store(&l->failed, true);
	tell(LOST, 0);
}

static void set(struct marks *m, uint64_t off, uint64_t len)
{
	ck_assert(atomic_load(&leg.missed) && atomic_load(&leg.lacks));
	tell(SET, off);
}

/* The turn is the block, here. */
static void end(struct marks *m, unsigned turn)
{
	tell(ENDED, turn * BLOCK);
}

static int outdate(struct marks *m, enum outdated how)
{
	ck_assert_int_eq(how, MIXED);
	tell(OUTDATES, 0);
	return 0;
}

static int get_memory(void **out, size_t align, size_t len)
{
	return atomic_load(&no_memory) ? ENOMEM : posix_memalign(out, align, len);
}

static int get_thread(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
	return atomic_load(&no_thread) ? EAGAIN : pthread_create(t, a, fn, arg);
}

/* ---- what is sent ---- */

static void begin(void)
{
	seed = 11;
	leg = (struct leg){ .writes = true };
	ck_assert_int_eq(sender_new(&leg, &s), 0);
}

static void finish(void)
{
	sender_free(s);
}

/* As a client of the source, who holds the range meanwhile. */
static bool write_to(size_t first, size_t blocks)
{
	struct change c = { .buf = source + first * BLOCK,
			    .len = blocks * BLOCK,
			    .off = first * BLOCK };

	memset(source + first * BLOCK, unit_below(&seed, 256), blocks * BLOCK);
	return sender_send(s, &c, first);
}

static void zero(size_t first, size_t blocks)
{
	struct change c = { .len = blocks * BLOCK, .off = first * BLOCK, .mode = ZERO_PUNCH };

	memset(source + first * BLOCK, 0, blocks * BLOCK);
	ck_assert(sender_send(s, &c, first));
}

static void set_gate(size_t block, bool to_shut)
{
	pthread_mutex_lock(&lock);
	shut[block] = to_shut;
	pthread_cond_broadcast(&opened);
	pthread_mutex_unlock(&lock);
}

static void set_gates(bool to_shut)
{
	for (size_t i = 0; i < BLOCKS; i++)
		set_gate(i, to_shut);
}

static bool is_there(void *arg)
{
	return has_done(WROTE, *(size_t *)arg * BLOCK);
}

static void await_there(size_t block)
{
	ck_assert(unit_until(is_there, &block, 20));
}

static bool are_waiting(void *arg)
{
	bool are;

	pthread_mutex_lock(&lock);
	are = waiting == *(unsigned *)arg;
	pthread_mutex_unlock(&lock);
	return are;
}

static void await_waiting(unsigned n)
{
	ck_assert(unit_until(are_waiting, &n, 20));
}

/* ---- in what order ---- */

/*
 * What is sent later goes on, by other threads than the one that waits, so there is somebody who could have done
 * what waits. They come for many at once only: fewer are left to the first.
 */
static void others_arrive(void)
{
	for (unsigned i = 10; i < 10 + 2 * MANY; i++)
		set_gate(i, true);
	for (unsigned i = 10; i < 10 + 2 * MANY; i++)
		write_to(i, 1);
	for (unsigned i = 10; i < 10 + 2 * MANY; i++)
		set_gate(i, false);
	for (unsigned i = 10; i < 10 + 2 * MANY; i++)
		await_there(i);
}

START_TEST(overlapping_ones_wait)
{
	set_gate(0, true);
	write_to(0, 4);
	await_waiting(1);
	for (unsigned i = 1; i < 4; i++)
		write_to(i, 1); /* of what is on its way */
	zero(3, 2);
	write_to(4, 1); /* and of what waits for that */
	others_arrive();
	for (unsigned i = 1; i < 5; i++)
		ck_assert(!has_done(WRITES, i * BLOCK));
	set_gate(0, false);
	sender_wait(s);
	ck_assert(!memcmp(source, target, sizeof(source)));
}
END_TEST

/* Also where they share a page only. */
START_TEST(parts_of_a_page_wait)
{
	struct change c = { .buf = source, .len = 512, .off = 0 };

	set_gate(0, true);
	ck_assert(sender_send(s, &c, 0));
	await_waiting(1);
	c.off = 512;
	ck_assert(sender_send(s, &c, 0));
	others_arrive();
	ck_assert(!has_done(WRITES, 512));
	set_gate(0, false);
}
END_TEST

START_TEST(the_target_becomes_the_source)
{
	unsigned turns = unit_scaled(3000);

	delay_us = 100;
	for (unsigned i = 0; i < turns; i++) {
		size_t first = unit_below(&seed, 12), blocks = 1 + unit_below(&seed, 4);

		if (unit_below(&seed, 5))
			ck_assert(write_to(first, blocks));
		else
			zero(first, blocks);
		if (!unit_below(&seed, 200))
			sender_wait_range(s, first * BLOCK, BLOCK);
		if (!unit_below(&seed, 100)) {
			sender_wait(s);
			ck_assert(!memcmp(source, target, sizeof(source)));
			count = 0;
		}
	}
	sender_wait(s);
	ck_assert(!memcmp(source, target, sizeof(source)));
}
END_TEST

/* ---- who waits ---- */

static void *wait_for_all(void *arg)
{
	sender_wait(s);
	ck_assert(!memcmp(source, target, sizeof(source)));
	atomic_store((atomic_bool *)arg, true);
	return NULL;
}

/* He writes to the target like its threads: so it is known when he does. */
START_TEST(all_that_was_sent_is_waited_for)
{
	atomic_bool answered = false;
	pthread_t thread;

	set_gates(true);
	for (unsigned i = 0; i < SENDER_THREADS + 2 * MANY; i++)
		write_to(i, 1);
	await_waiting(SENDER_THREADS);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_all, &answered), 0);
	await_waiting(SENDER_THREADS + 1);
	ck_assert(!atomic_load(&answered));
	set_gates(false);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(sender_bytes(s), 0);
	ck_assert_uint_eq(sender_busy(s), 0);
}
END_TEST

/* Of what is sent later nothing, or a writer could keep him for ever. */
START_TEST(what_is_sent_later_is_not_waited_for)
{
	set_gate(1, true);
	write_to(0, 1);
	await_there(0);
	write_to(1, 1);
	await_waiting(1);
	sender_wait_range(s, 0, BLOCK);
	ck_assert_uint_eq(sender_bytes(s), BLOCK);
	ck_assert_uint_gt(sender_busy(s), 0);
	set_gate(1, false);
	sender_wait_range(s, BLOCK, BLOCK);
	ck_assert(has_done(WROTE, BLOCK));
}
END_TEST

/* One more would not go in, so he who sends them waits. */
static bool is_full(void *arg)
{
	bool is;

	pthread_mutex_lock(&s->lock);
	is = s->cost + sizeof(source) + sizeof(struct sent) > SENDER_ROOM;
	pthread_mutex_unlock(&s->lock);
	return is;
}

static void *send_much(void *arg)
{
	static char much[SENDER_MOST];
	struct change c = { .buf = much, .len = sizeof(source) };

	for (unsigned i = 0; i < SENDER_ROOM / sizeof(source) + 20; i++) {
		ck_assert(sender_send(s, &c, i));
		ck_assert_uint_le(sender_bytes(s), SENDER_ROOM);
	}
	return NULL;
}

START_TEST(no_more_than_there_is_room_for)
{
	pthread_t thread;

	delay_us = 2000;
	set_gate(0, true);
	ck_assert_int_eq(pthread_create(&thread, NULL, send_much, NULL), 0);
	ck_assert(unit_until(is_full, NULL, 20));
	ck_assert_uint_le(sender_bytes(s), SENDER_ROOM);
	set_gate(0, false);
	pthread_join(thread, NULL);
	sender_wait(s);
	ck_assert_uint_eq(sender_bytes(s), 0);
}
END_TEST

/* ---- who is woken ---- */

static bool is_asleep(void *arg)
{
	bool is;

	pthread_mutex_lock(&s->lock);
	is = s->asleep;
	pthread_mutex_unlock(&s->lock);
	return is;
}

static bool is_empty(void *arg)
{
	return !sender_bytes(s);
}

static void *wait_for_now(void *arg)
{
	sender_wait(s);
	return NULL;
}

/* Who helped has what he waited for, and leaves what could not go before that. */
START_TEST(what_a_helper_leaves_is_not_forgotten)
{
	pthread_t thread;

	set_gate(0, true);
	set_gate(1, true);
	write_to(1, 1);
	await_waiting(1); /* that is its thread */
	write_to(0, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_now, NULL), 0);
	await_waiting(2); /* and that is he */
	set_gate(1, false);
	await_there(1);
	write_to(0, 1);
	ck_assert(unit_until(is_asleep, NULL, 20));
	set_gate(0, false);
	pthread_join(thread, NULL);
	ck_assert(unit_until(is_empty, NULL, 20));
	ck_assert(!memcmp(source, target, sizeof(source)));
}
END_TEST

/* Its first thread is busy for long; the others had nothing to do for a while. */
START_TEST(what_piles_up_is_done)
{
	for (unsigned round = 0; round < 2; round++) {
		set_gate(0, true);
		write_to(0, 1);
		await_waiting(1);
		for (unsigned i = 10; i < 10 + 2 * MANY; i++)
			write_to(i, 1);
		for (unsigned i = 10; i < 10 + MANY; i++)
			await_there(i);
		set_gate(0, false);
		ck_assert(unit_until(is_empty, NULL, 20));
		ck_assert(unit_until(is_asleep, NULL, 20));
		count = 0;
	}
}
END_TEST

/* ---- what fails ---- */

/* Where `what` was done for that block; it was, and once. */
static size_t place(enum what what, uint64_t off)
{
	size_t at = count;

	for (size_t i = 0; i < count; i++) {
		if (done[i].what != what || done[i].off != off)
			continue;
		ck_assert_uint_eq(at, count);
		at = i;
	}
	ck_assert_uint_lt(at, count);
	return at;
}

/* The leg is lost, what is missing marked, and the target outdated, before it is said to have ended. */
START_TEST(what_does_not_arrive_is_marked_first)
{
	set_gates(true);
	for (unsigned i = 0; i < 3; i++)
		write_to(i, 1);
	await_waiting(1);
	pthread_mutex_lock(&lock);
	fails = true;
	pthread_mutex_unlock(&lock);
	set_gates(false);
	sender_wait(s);
	write_to(5, 1);
	sender_wait(s);
	ck_assert(has_done(LOST, 0));
	for (unsigned i = 0; i < 6; i += i == 2 ? 3 : 1) {
		size_t marked = place(SET, i * BLOCK), ended = place(ENDED, i * BLOCK);
		bool outdated = false;

		ck_assert_uint_lt(marked, ended);
		for (size_t k = 0; k < ended; k++)
			outdated = outdated || done[k].what == OUTDATES;
		ck_assert(outdated);
		ck_assert(!has_done(WROTE, i * BLOCK));
	}
	ck_assert(!has_done(WRITES, 5 * BLOCK)); /* a lost target is left alone */
	ck_assert(atomic_load(&leg.missed));
}
END_TEST

START_TEST(what_arrives_has_ended_after_it)
{
	for (unsigned i = 0; i < 30; i++)
		write_to(i, 1);
	sender_wait(s);
	for (unsigned i = 0; i < 30; i++)
		ck_assert_uint_lt(place(WROTE, i * BLOCK), place(ENDED, i * BLOCK));
	ck_assert(!atomic_load(&leg.missed));
}
END_TEST

START_TEST(without_memory_it_is_not_sent)
{
	atomic_store(&no_memory, true);
	ck_assert(!write_to(0, 1));
	ck_assert_uint_eq(sender_bytes(s), 0);
	ck_assert_uint_eq(s->cost, 0);
	zero(1, 1); /* which needs none */
	atomic_store(&no_memory, false);
	ck_assert(write_to(2, 1));
	sender_wait(s);
	ck_assert(!has_done(ENDED, 0)); /* it is for who sends to end */
	ck_assert(has_done(ENDED, 2 * BLOCK));
}
END_TEST

START_TEST(without_threads_who_sends_does_it)
{
	atomic_store(&no_thread, true);
	for (unsigned i = 0; i < 10; i++) {
		ck_assert(write_to(i, 1));
		ck_assert(has_done(ENDED, i * BLOCK));
	}
	ck_assert(!memcmp(source, target, sizeof(source)));
}
END_TEST

UNIT_MAIN("sender", begin, finish, overlapping_ones_wait, parts_of_a_page_wait,
	  the_target_becomes_the_source, all_that_was_sent_is_waited_for,
	  what_is_sent_later_is_not_waited_for, no_more_than_there_is_room_for,
	  what_a_helper_leaves_is_not_forgotten, what_piles_up_is_done,
	  what_does_not_arrive_is_marked_first, what_arrives_has_ended_after_it,
	  without_memory_it_is_not_sent, without_threads_who_sends_does_it)

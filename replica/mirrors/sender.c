// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One list in the order in which it was sent. What is in it is on its way, and leaves it when the
 * target has it, or it is known not to.
 *
 * Waking a thread costs what a write of a page does. So the first thread looks again a millisecond
 * after there was nothing left to do, and is woken only if it found nothing then.
 */
#include "sender.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mirror.h"
#include "tandem.h"

/* So many are waiting for their turn, and one more thread is to help. */
#define MANY 4
/* So far is looked for one that may go. */
#define AHEAD 64
#define LOOK_AGAIN_NS 1000000
/* What the least of them costs, which bounds how many they are. */
#define PAGE 4096

struct sent {
	struct sent *next, **link;
	struct change c; /* its data is ours */
	uint64_t start, end, number, since;
	uint64_t began; /* to be given to the target */
	size_t cost;
	unsigned turn;
	bool going;
};

struct sender {
	struct leg *leg;
	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t came;  /* the first thread sleeps */
	pthread_cond_t more;  /* the others do */
	pthread_cond_t left;  /* something is on the target */
	struct sent *first, **last;
	uint64_t number; /* of the last one */
	size_t cost;     /* of what is in it, or is being copied for it */
	size_t going;
	_Atomic size_t count;
	pthread_t threads[SENDER_THREADS];
	size_t running;
	bool asleep, ending;
};

/* ---- the list; under lock ---- */

static bool overlap(const struct sent *a, uint64_t start, uint64_t end)
{
	return a->start < end && start < a->end;
}

static bool may_go(const struct sender *s, const struct sent *e)
{
	for (const struct sent *o = s->first; o != e; o = o->next)
		if (overlap(o, e->start, e->end))
			return false;
	return true;
}

static struct sent *next(struct sender *s)
{
	unsigned seen = 0;

	for (struct sent *e = s->first; e && seen < AHEAD; e = e->next) {
		if (e->going)
			continue;
		if (may_go(s, e))
			return e;
		seen++;
	}
	return NULL;
}

static void append(struct sender *s, struct sent *e)
{
	e->number = ++s->number;
	e->next = NULL;
	e->link = s->last;
	*s->last = e;
	s->last = &e->next;
	atomic_fetch_add(&s->count, 1);
}

static void take_out(struct sender *s, struct sent *e)
{
	*e->link = e->next;
	if (e->next)
		e->next->link = e->link;
	else
		s->last = e->link;
	s->cost -= e->cost;
	atomic_fetch_sub(&s->count, 1);
}

static void sent_free(struct sent *e)
{
	free((void *)e->c.buf);
	free(e);
}

/* ---- to the target ---- */

static int give(struct leg *leg, const struct change *c)
{
	int err;

	if (atomic_load(&leg->failed))
		return -ECANCELED;
	err = c->buf ? disk_write_once(leg->to, c->buf, c->len, c->off, c->io)
		     : disk_zero_once(leg->to, c->off, c->len, c->mode);
	if (err)
		leg_lose(leg, err);
	return err;
}

/*
 * It was answered, and what was sent after it may be there. That it cannot be made durable is
 * answered to who flushes, who tries again.
 */
static void miss(struct leg *leg, const struct sent *e)
{
	atomic_store(&leg->missed, true);
	atomic_store(&leg->lacks, true);
	marks_set(leg->marks, e->c.off, e->c.len);
	marks_outdate(leg->marks, MIXED);
}

/*
 * Under lock, which it lets go of meanwhile. Who does it may have nothing to do with what may go after
 * it, and nobody else may come.
 */
static void go(struct sender *s, struct sent *e)
{
	e->going = true;
	e->began = monotonic_ns();
	s->going++;
	if (atomic_load(&s->count) - s->going >= MANY)
		pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	if (give(s->leg, &e->c))
		miss(s->leg, e);
	marks_end(s->leg->marks, e->turn);
	pthread_mutex_lock(&s->lock);
	s->going--;
	take_out(s, e);
	if (s->first && s->asleep)
		pthread_cond_signal(&s->came);
	pthread_cond_broadcast(&s->left);
	sent_free(e);
}

/* Under lock: gives the target something, or waits until somebody else has. */
static void help(struct sender *s)
{
	struct sent *e = next(s);

	if (e)
		go(s, e);
	else
		pthread_cond_wait(&s->left, &s->lock);
}

/* ---- threads ---- */

/* Under lock. Whether there was nothing for a while, and nobody but a signal ends that. */
static bool look_again(struct sender *s)
{
	const struct timespec while_ = { .tv_nsec = LOOK_AGAIN_NS };

	pthread_mutex_unlock(&s->lock);
	nanosleep(&while_, NULL);
	pthread_mutex_lock(&s->lock);
	return !next(s);
}

static void *run_first(void *arg)
{
	struct sender *s = arg;
	struct sent *e;

	pthread_mutex_lock(&s->lock);
	while (!s->ending) {
		while ((e = next(s)))
			go(s, e);
		if (s->ending || !look_again(s))
			continue;
		s->asleep = true;
		while (!s->ending && !next(s))
			pthread_cond_wait(&s->came, &s->lock);
		s->asleep = false;
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void *run_other(void *arg)
{
	struct sender *s = arg;
	struct sent *e;

	pthread_mutex_lock(&s->lock);
	while (!s->ending) {
		while ((e = next(s)))
			go(s, e);
		if (!s->ending)
			pthread_cond_wait(&s->more, &s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* Under lock. */
static void wake(struct sender *s)
{
	bool many = atomic_load(&s->count) - s->going >= MANY;

	if (!s->running || (many && s->running < SENDER_THREADS))
		s->running += !pthread_create(&s->threads[s->running], NULL,
					      s->running ? run_other : run_first, s);
	if (s->asleep)
		pthread_cond_signal(&s->came);
	if (many)
		pthread_cond_signal(&s->more);
}

/* ---- for mirrors ---- */

int sender_new(struct leg *leg, struct sender **out)
{
	struct sender *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->leg = leg;
	s->last = &s->first;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->came, NULL);
	pthread_cond_init(&s->more, NULL);
	pthread_cond_init(&s->left, NULL);
	*out = s;
	return 0;
}

void sender_end(struct sender *s)
{
	sender_wait(s);
	pthread_mutex_lock(&s->lock);
	assert(!s->first);
	s->ending = true;
	pthread_cond_broadcast(&s->came);
	pthread_cond_broadcast(&s->more);
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < s->running; i++)
		pthread_join(s->threads[i], NULL);
	s->running = 0;
}

void sender_free(struct sender *s)
{
	if (!s)
		return;
	sender_end(s);
	pthread_cond_destroy(&s->left);
	pthread_cond_destroy(&s->more);
	pthread_cond_destroy(&s->came);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* NULL: out of memory. */
static struct sent *copy(const struct change *c, unsigned turn, size_t cost)
{
	uint64_t grain = RANGE_LOCK_GRAIN;
	struct sent *e = calloc(1, sizeof(*e));
	void *data = NULL;

	if (e && c->buf && posix_memalign(&data, c->io & IO_DIRECT ? PAGE : 64, c->len)) {
		free(e);
		e = NULL;
	}
	if (!e)
		return NULL;
	if (c->buf)
		memcpy(data, c->buf, c->len);
	e->c = *c;
	e->c.buf = data;
	e->c.io &= IO_DIRECT;
	e->cost = cost;
	e->start = c->off & ~(grain - 1);
	e->end = (c->off + c->len + grain - 1) & ~(grain - 1);
	e->turn = turn;
	e->since = monotonic_ns();
	return e;
}

/* Under lock. */
static void wait_upto(struct sender *s, uint64_t number)
{
	while (s->first && s->first->number <= number)
		help(s);
}

bool sender_send(struct sender *s, const struct change *c, unsigned turn)
{
	size_t cost = sizeof(struct sent) + (c->buf && c->len > PAGE ? c->len : PAGE);
	struct sent *e;

	assert(!c->buf || c->len <= SENDER_MOST);
	pthread_mutex_lock(&s->lock);
	while (s->cost && s->cost + cost > SENDER_ROOM)
		help(s);
	s->cost += cost;
	pthread_mutex_unlock(&s->lock);
	e = copy(c, turn, cost);
	pthread_mutex_lock(&s->lock);
	if (e) {
		append(s, e);
		wake(s);
		/* Rounds of the marks wait for what is sent, and do not help. */
		if (!s->running)
			wait_upto(s, s->number);
	} else {
		s->cost -= cost;
		pthread_cond_broadcast(&s->left); /* there is room */
	}
	pthread_mutex_unlock(&s->lock);
	return e != NULL;
}

void sender_wait(struct sender *s)
{
	if (!s || !atomic_load(&s->count))
		return;
	pthread_mutex_lock(&s->lock);
	wait_upto(s, s->number);
	pthread_mutex_unlock(&s->lock);
}

static bool is_sent(const struct sender *s, uint64_t off, uint64_t len)
{
	for (const struct sent *e = s->first; e; e = e->next)
		if (overlap(e, off, off + len))
			return true;
	return false;
}

void sender_wait_range(struct sender *s, uint64_t off, uint64_t len)
{
	if (!s || !atomic_load(&s->count))
		return;
	pthread_mutex_lock(&s->lock);
	while (is_sent(s, off, len))
		help(s);
	pthread_mutex_unlock(&s->lock);
}

uint64_t sender_bytes(struct sender *s)
{
	uint64_t bytes = 0;

	if (!s || !atomic_load(&s->count))
		return 0;
	pthread_mutex_lock(&s->lock);
	for (const struct sent *e = s->first; e; e = e->next)
		bytes += e->c.len;
	pthread_mutex_unlock(&s->lock);
	return bytes;
}

static uint64_t age(uint64_t since)
{
	uint64_t now = monotonic_ns();

	return now > since ? now - since : 1;
}

uint64_t sender_behind(struct sender *s)
{
	uint64_t since = 0;

	if (!s || !atomic_load(&s->count))
		return 0;
	pthread_mutex_lock(&s->lock);
	if (s->first)
		since = s->first->since;
	pthread_mutex_unlock(&s->lock);
	return since ? age(since) : 0;
}

uint64_t sender_busy(struct sender *s)
{
	uint64_t began = 0;
	size_t left;

	if (!s || !atomic_load(&s->count))
		return 0;
	pthread_mutex_lock(&s->lock);
	left = s->going;
	for (const struct sent *e = s->first; e && left; e = e->next) {
		if (!e->going)
			continue;
		left--;
		began = began && began < e->began ? began : e->began;
	}
	if (!began && s->first)
		began = s->first->since;
	pthread_mutex_unlock(&s->lock);
	return began ? age(began) : 0;
}

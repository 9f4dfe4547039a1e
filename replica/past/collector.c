// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A thread that collects dropped moments, all that a disk has at a time: see collect.c. What
 * it does not come to is recorded as dropped, and the next start finds it.
 */
#include <errno.h>
#include <stdlib.h>

#include "snapshots_inner.h"

/* Jobs that could not be done are tried again. */
#define RETRY_NS 10000000000ull
/* Moments that are collected at once. */
#define BATCH 512

struct job {
	uint32_t disk;
	uint64_t generation; /* 0: whatever nobody needs */
	struct job *next;
};

struct jobs {
	struct job *first, **last;
};

/* Jobs of one disk. What is not of a moment is one of its own. */
struct batch {
	uint32_t disk;
	struct job *jobs[BATCH];
	struct dropped list[BATCH];
	size_t count;
	uint64_t woken; /* when it was taken */
};

struct collector {
	struct tandem *t;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under lock. */
	struct jobs ready, later; /* later: somebody reads that moment, or there was an error */
	uint32_t busy;            /* the disk that it works for; 0 */
	uint64_t woken;           /* how often somebody let go of a moment */
	uint64_t given;           /* how often space was given back */
	pthread_cond_t gave;      /* that, or a job has ended */
	bool running;
	_Atomic bool stop;
	pthread_t thread;
	struct batch batch; /* of the thread */
};

/* ---- jobs ---- */

static void jobs_add(struct jobs *q, struct job *j)
{
	j->next = NULL;
	*q->last = j;
	q->last = &j->next;
}

static struct job *jobs_take(struct jobs *q)
{
	struct job *j = q->first;

	if (j && !(q->first = j->next))
		q->last = &q->first;
	return j;
}

static bool jobs_have(const struct jobs *q, uint32_t disk)
{
	for (const struct job *j = q->first; j; j = j->next)
		if (j->disk == disk)
			return true;
	return false;
}

/* Under lock. */
static void again(struct collector *c)
{
	struct job *j;

	while ((j = jobs_take(&c->later)))
		jobs_add(&c->ready, j);
}

void collector_add(struct collector *c, struct disk *d, uint64_t generation)
{
	struct job *j = c ? malloc(sizeof(*j)) : NULL;

	if (!j)
		return; /* it is recorded as dropped: the next start collects it */
	j->disk = d->number;
	j->generation = generation;
	pthread_mutex_lock(&c->lock);
	jobs_add(&c->ready, j);
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

void collector_wake(struct collector *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->woken++;
	if (c->later.first) {
		again(c);
		pthread_cond_signal(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
}

bool collector_is_idle(struct collector *c, uint32_t disk)
{
	bool idle;

	pthread_mutex_lock(&c->lock);
	idle = c->busy != disk && !jobs_have(&c->ready, disk) && !jobs_have(&c->later, disk);
	pthread_mutex_unlock(&c->lock);
	return idle;
}

void collector_gave(struct collector *c)
{
	pthread_mutex_lock(&c->lock);
	c->given++;
	pthread_cond_broadcast(&c->gave);
	pthread_mutex_unlock(&c->lock);
}

bool collector_await(struct collector *c)
{
	uint64_t given;
	bool had;

	pthread_mutex_lock(&c->lock);
	given = c->given;
	had = c->running && (c->busy || c->ready.first);
	while (c->running && (c->busy || c->ready.first) && c->given == given &&
	       !atomic_load(&c->stop))
		pthread_cond_wait(&c->gave, &c->lock);
	pthread_mutex_unlock(&c->lock);
	return had;
}

/* Under lock. false: there is nothing to do. */
static bool take_batch(struct collector *c, struct batch *b)
{
	struct jobs others = { .last = &others.first };
	struct job *j = jobs_take(&c->ready);

	if (!j)
		return false;
	b->woken = c->woken;
	b->disk = j->disk;
	b->jobs[0] = j;
	b->count = 1;
	if (!j->generation)
		return true;
	while (b->count < BATCH && (j = jobs_take(&c->ready))) {
		if (j->disk == b->disk && j->generation)
			b->jobs[b->count++] = j;
		else
			jobs_add(&others, j);
	}
	if (others.first) {
		*others.last = c->ready.first;
		if (!c->ready.first)
			c->ready.last = others.last;
		c->ready.first = others.first;
	}
	return true;
}

static void set_error(struct batch *b, int err)
{
	for (size_t i = 0; i < b->count; i++)
		b->list[i].err = err;
}

static void run(struct collector *c, struct batch *b)
{
	struct disk *d = tandem_disk_numbered(c->t, b->disk);
	struct track_record track;

	for (size_t i = 0; i < b->count; i++)
		b->list[i] = (struct dropped){ b->jobs[i]->generation, 0 };
	if (!d) /* deleted; or it is not listed yet, or its pool is away */
		set_error(b, track_get(c->t->catalogue, b->disk, &track) ? 0 : -EAGAIN);
	else if (!atomic_load(&d->history))
		set_error(b, 0); /* comes again with its image */
	else if (b->list[0].generation)
		collect(c->t, d, b->list, b->count, &c->stop);
	else
		set_error(b, collect_rest(c->t, d, &c->stop));
	disk_unref(d);
}

/* Under lock. */
static void end_batch(struct collector *c, struct batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		struct job *j = b->jobs[i];

		if (!b->list[i].err || b->list[i].err == -ENOENT) {
			free(j);
			continue;
		}
		j->generation = b->list[i].generation; /* the list was sorted */
		/* What kept us from it may have gone since we looked. */
		jobs_add(b->woken == c->woken ? &c->later : &c->ready, j);
	}
}

static void wait_for_jobs(struct collector *c)
{
	if (!c->later.first) {
		pthread_cond_wait(&c->changed, &c->lock);
		return;
	}
	if (!clock_wait(&c->changed, &c->lock, monotonic_ns() + RETRY_NS))
		again(c);
}

static void *collector(void *arg)
{
	struct collector *c = arg;
	struct batch *b = &c->batch;

	pthread_mutex_lock(&c->lock);
	while (!atomic_load(&c->stop)) {
		if (!take_batch(c, b)) {
			wait_for_jobs(c);
			continue;
		}
		c->busy = b->disk;
		pthread_mutex_unlock(&c->lock);
		run(c, b);
		pthread_mutex_lock(&c->lock);
		c->busy = 0;
		pthread_cond_broadcast(&c->gave);
		end_batch(c, b);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* ---- start and stop ---- */

int collector_new(struct tandem *t, struct collector **out)
{
	struct collector *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->t = t;
	c->ready.last = &c->ready.first;
	c->later.last = &c->later.first;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	pthread_cond_init(&c->gave, NULL);
	*out = c;
	return 0;
}

int collector_start(struct collector *c)
{
	int err = -pthread_create(&c->thread, NULL, collector, c);

	c->running = !err;
	return err;
}

/* What is not collected yet is recorded as dropped. */
void collector_free(struct collector *c)
{
	struct job *j;

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	atomic_store(&c->stop, true);
	pthread_cond_signal(&c->changed);
	pthread_cond_broadcast(&c->gave);
	pthread_mutex_unlock(&c->lock);
	if (c->running)
		pthread_join(c->thread, NULL);
	again(c);
	while ((j = jobs_take(&c->ready)))
		free(j);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->changed);
	pthread_cond_destroy(&c->gave);
	free(c);
}

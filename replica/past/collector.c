// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A thread that collects dropped moments, one at a time: see collect.c. What it
 * does not come to is recorded as dropped, and the next start finds it.
 */
#include <errno.h>
#include <stdlib.h>

#include "snapshots_inner.h"

/* Jobs that could not be done are tried again. */
#define RETRY_NS 10000000000ull

struct job {
	uint32_t disk;
	uint64_t generation; /* 0: whatever nobody needs */
	struct job *next;
};

struct jobs {
	struct job *first, **last;
};

struct collector {
	struct tandem *t;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under lock. */
	struct jobs ready, later; /* later: somebody reads that moment, or there was an error */
	uint32_t busy;            /* the disk that it works for; 0 */
	uint64_t given;           /* how often space was given back */
	pthread_cond_t gave;      /* that, or a job has ended */
	bool running;
	_Atomic bool stop;
	pthread_t thread;
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

/* 0: it is done, or there is nothing to be done any more. */
static int run(struct collector *c, const struct job *j)
{
	struct disk *d = tandem_disk_numbered(c->t, j->disk);
	struct track_record track;
	int err;

	if (!d) /* deleted; or it is not listed yet, or its pool is away */
		err = track_get(c->t->catalogue, j->disk, &track) ? 0 : -EAGAIN;
	else if (!atomic_load(&d->history))
		err = 0; /* comes again with its image */
	else
		err = collect(c->t, d, j->generation, &c->stop);
	disk_unref(d);
	return err == -ENOENT ? 0 : err;
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

	pthread_mutex_lock(&c->lock);
	while (!atomic_load(&c->stop)) {
		struct job *j = jobs_take(&c->ready);
		int err;

		if (!j) {
			wait_for_jobs(c);
			continue;
		}
		c->busy = j->disk;
		pthread_mutex_unlock(&c->lock);
		err = run(c, j);
		pthread_mutex_lock(&c->lock);
		c->busy = 0;
		pthread_cond_broadcast(&c->gave);
		if (err)
			jobs_add(&c->later, j);
		else
			free(j);
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

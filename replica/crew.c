// SPDX-License-Identifier: GPL-2.0-or-later
#include "crew.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <unistd.h>

/* Of 19: a fifth of what a thread has that serves a client. */
#define NICE 7

/* On the stack of whoever brought it. */
struct job {
	TAILQ_ENTRY(job) link; /* while it has steps that nobody has begun */
	int (*step)(void *arg, size_t i);
	void *arg;
	size_t count, next;
	size_t running; /* steps */
	int err;
	pthread_cond_t ended;
};

struct crew {
	pthread_mutex_t lock;
	pthread_cond_t work;
	TAILQ_HEAD(, job) jobs;
	unsigned threads, idle, most;
	bool stop;
	pthread_t thread[];
};

static bool has_more(const struct job *j)
{
	return j->next < j->count;
}

/* Under lock; lets go of it meanwhile. */
static void do_step(struct crew *c, struct job *j)
{
	size_t i = j->next++;
	int err;

	if (!has_more(j))
		TAILQ_REMOVE(&c->jobs, j, link);
	j->running++;
	pthread_mutex_unlock(&c->lock);
	err = j->step(j->arg, i);
	pthread_mutex_lock(&c->lock);
	j->running--;
	if (err && !j->err)
		j->err = err;
	if (err && has_more(j)) {
		j->next = j->count;
		TAILQ_REMOVE(&c->jobs, j, link);
	}
	if (!j->running && !has_more(j))
		pthread_cond_signal(&j->ended);
}

void crew_give_way(void)
{
	setpriority(PRIO_PROCESS, gettid(), NICE);
}

static void *run_thread(void *arg)
{
	struct crew *c = arg;

	crew_give_way();
	pthread_mutex_lock(&c->lock);
	for (;;) {
		struct job *j = TAILQ_FIRST(&c->jobs);

		if (j) {
			do_step(c, j);
		} else if (c->stop) {
			break;
		} else {
			c->idle++;
			pthread_cond_wait(&c->work, &c->lock);
			c->idle--;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* Under lock. As many as there are steps for; without them it takes longer. */
static void call_threads(struct crew *c, size_t wanted)
{
	for (unsigned i = c->idle; i < wanted && c->threads < c->most; i++) {
		if (pthread_create(&c->thread[c->threads], NULL, run_thread, c))
			break;
		c->threads++;
	}
	for (size_t i = 0; i < wanted && i < c->idle; i++)
		pthread_cond_signal(&c->work);
}

static int run_alone(size_t count, int (*step)(void *arg, size_t i), void *arg)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		err = step(arg, i);
	return err;
}

int crew_run(struct crew *c, size_t count, int (*step)(void *arg, size_t i), void *arg)
{
	struct job j = { .step = step, .arg = arg, .count = count };

	if (!c || count < 2)
		return run_alone(count, step, arg);
	pthread_cond_init(&j.ended, NULL);
	pthread_mutex_lock(&c->lock);
	TAILQ_INSERT_TAIL(&c->jobs, &j, link);
	call_threads(c, count - 1);
	while (has_more(&j))
		do_step(c, &j);
	while (j.running)
		pthread_cond_wait(&j.ended, &c->lock);
	pthread_mutex_unlock(&c->lock);
	pthread_cond_destroy(&j.ended);
	return j.err;
}

static int do_request(void *arg, size_t i)
{
	struct image_request *q = (struct image_request *)arg + i;

	rings_do(NULL, q, 1);
	return q->err;
}

int crew_requests(struct crew *c, struct rings *r, struct image_request *q, size_t count)
{
	size_t taken = 0;
	int err = 0;

	for (size_t i = 0; i < count; i++)
		taken += rings_take(r, &q[i]);
	if (taken < count - taken)
		return crew_run(c, count, do_request, q);
	rings_do(r, q, count);
	for (size_t i = 0; i < count && !err; i++)
		err = q[i].err;
	return err;
}

int crew_new(unsigned threads, struct crew **out)
{
	struct crew *c = calloc(1, sizeof(*c) + threads * sizeof(c->thread[0]));

	if (!c)
		return -ENOMEM;
	c->most = threads;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->work, NULL);
	TAILQ_INIT(&c->jobs);
	*out = c;
	return 0;
}

void crew_free(struct crew *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_broadcast(&c->work);
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; i < c->threads; i++)
		pthread_join(c->thread[i], NULL);
	pthread_cond_destroy(&c->work);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

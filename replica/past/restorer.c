// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The thread of a restore: it fills what the disk serves already, and at the end of it
 *
 *   every block filled, D -> its record goes -> its moments may go
 *
 * Whoever aborts it halts the thread, and lets it go on with another restore.
 */
#include "restorer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jobs.h"

#define RETRY_NS 1000000000ull
/* Of one turn. */
#define STEP (4ull << 20)

/* ---- its job ---- */

static struct jobs *jobs_of(const struct restorer *r)
{
	return r->d->tandem->jobs;
}

void restorer_begin_job(struct restorer *r, uint32_t number)
{
	char object[JOB_OBJECT_MAX];
	struct job_spec spec = {
		.id = number,
		.operation = r->back ? "Abort" : "RestoreTo",
		.object = disk_object(r->d, object, sizeof(object)),
		.moment = r->restore.from,
		.disks = { r->d->number },
	};

	/* There may be no memory for one. */
	atomic_store(&r->job, job_begin(jobs_of(r), &spec) ? 0 : number);
	snapshots_changed(r->d->tandem, r->d);
}

void restorer_end_job(struct restorer *r, enum job_state state)
{
	job_end(jobs_of(r), r->job, state, 0);
	snapshots_changed(r->d->tandem, r->d);
}

/* ---- at its end ---- */

/* Its moments can go only once no start can take it up again. */
static int conclude(struct restorer *r)
{
	static const struct history_restore none;
	struct history *h = atomic_load(&r->d->history);
	struct range whole;
	int err;

	range_lock_write(&r->d->ranges, &whole, 0, UINT64_MAX);
	history_set_restore(h, &none);
	err = past_record(r->d, h);
	if (err)
		history_set_restore(h, &r->restore);
	range_unlock(&r->d->ranges, &whole);
	return err;
}

static void let_moments_go(const struct restorer *r)
{
	moment_unpin(r->d, r->restore.before);
	moment_unpin(r->d, r->restore.from);
	if (r->back)
		collector_add(r->d->tandem->snapshots->collector, r->d, r->restore.before);
}

/* ---- halting ---- */

/* Until nobody wants it to stand in that state. */
static void stand(struct restorer *r, enum restorer_state state)
{
	struct snapshots *s = r->d->tandem->snapshots;

	pthread_mutex_lock(&s->restoring);
	r->state = state;
	pthread_cond_broadcast(&s->halted);
	while (r->wanted)
		pthread_cond_wait(&s->halted, &s->restoring);
	if (state == RESTORER_HALTED)
		r->state = RESTORER_FILLS;
	pthread_mutex_unlock(&s->restoring);
}

/* Under restoring. */
static struct restorer *find(struct snapshots *s, const struct disk *d)
{
	struct restorer *r = s->restorers;

	while (r && (r->d != d || r->state == RESTORER_OVER || atomic_load(&r->cancelled)))
		r = r->next;
	return r;
}

int restorer_halt(struct disk *d, struct restorer **out)
{
	struct snapshots *s = d->tandem->snapshots;
	struct restorer *r;
	int err;

	pthread_mutex_lock(&s->restoring);
	r = find(s, d);
	err = !r ? -ENOENT : r->wanted ? -EBUSY : 0;
	if (!err) {
		r->wanted = true;
		jobs_wake(s->t->jobs);
		while (r->state == RESTORER_FILLS)
			pthread_cond_wait(&s->halted, &s->restoring);
		if (r->state == RESTORER_OVER) {
			r->wanted = false;
			pthread_cond_broadcast(&s->halted);
			err = -ENOENT;
		}
	}
	pthread_mutex_unlock(&s->restoring);
	if (!err)
		*out = r;
	return err;
}

void restorer_go_on(struct restorer *r)
{
	struct snapshots *s = r->d->tandem->snapshots;

	pthread_mutex_lock(&s->restoring);
	r->wanted = false;
	pthread_cond_broadcast(&s->halted);
	pthread_mutex_unlock(&s->restoring);
}

void restorer_turn(struct restorer *r, const struct history_restore *restore)
{
	struct snapshots *s = r->d->tandem->snapshots;

	pthread_mutex_lock(&s->restoring);
	r->restore = *restore;
	r->back = true;
	atomic_store(&r->done, 0);
	atomic_store(&r->total, 0);
	pthread_mutex_unlock(&s->restoring);
}

/* ---- the thread ---- */

/* Between two turns. */
static bool pause_point(struct restorer *r, uint64_t bytes)
{
	uint64_t copied = history_copied(atomic_load(&r->d->history));
	bool go_on = job_pause_point(jobs_of(r), r->job, copied - r->copied, &r->wanted);

	r->copied = copied;
	r->told = bytes;
	r->step = job_step(jobs_of(r), r->job, STEP);
	return go_on;
}

static bool progress(void *arg, uint64_t bytes)
{
	struct restorer *r = arg;

	atomic_store(&r->done, bytes);
	if (atomic_load(&r->wanted))
		return false;
	if (bytes - r->told < r->step)
		return true;
	job_progress(jobs_of(r), r->job, bytes, atomic_load(&r->total));
	return pause_point(r, bytes);
}

static void measure(struct restorer *r)
{
	struct history *h = atomic_load(&r->d->history);
	struct version v[256];
	const struct version *after = NULL;
	uint64_t total = 0;
	size_t count;

	while (!versions_between(r->d->tandem->catalogue, r->d->number, r->restore.from,
				 r->restore.before, after, v, 256, &count) &&
	       count) {
		total += count * (uint64_t)history_block_size(h);
		v[0] = v[count - 1];
		after = &v[0];
	}
	atomic_store(&r->total, total);
}

/* Until whoever begins it knows whether it is recorded. */
static bool is_begun(struct restorer *r)
{
	struct range first;

	range_lock_read(&r->d->ranges, &first, 0, 1);
	range_unlock(&r->d->ranges, &first);
	return !atomic_load(&r->cancelled);
}

/* -ECANCELED: somebody wants it to halt. */
static int fill(struct restorer *r)
{
	int err;

	measure(r);
	job_progress(jobs_of(r), r->job, 0, atomic_load(&r->total));
	if (!pause_point(r, 0))
		return -ECANCELED;
	err = history_fill(atomic_load(&r->d->history), progress, r);
	return err ? err : conclude(r);
}

static void follow(struct restorer *r)
{
	static const struct timespec pause = { RETRY_NS / 1000000000, RETRY_NS % 1000000000 };
	struct snapshots *s = r->d->tandem->snapshots;
	int err;

	r->copied = history_copied(atomic_load(&r->d->history));
	do {
		if (atomic_load(&r->wanted))
			stand(r, RESTORER_HALTED);
		err = fill(r);
		if (err)
			job_wait_for(jobs_of(r), r->job, err == -ECANCELED ? "" : strerror(-err));
		if (err && err != -ECANCELED)
			nanosleep(&pause, NULL); /* of what fails the disk tells itself */
	} while (err && (err == -ECANCELED || !atomic_load(&s->ending)));
	r->error = err;
	if (err) /* it is served from them until the end */
		history_keep_restore(atomic_load(&r->d->history), true);
	else
		let_moments_go(r);
	stand(r, RESTORER_OVER);
	disk_close(r->d); /* who waits for the job finds it closed */
	if (!err)
		restorer_end_job(r, JOB_COMPLETED);
}

static void *run(void *arg)
{
	struct restorer *r = arg;

	if (is_begun(r))
		follow(r);
	else
		stand(r, RESTORER_OVER);
	return NULL;
}

int restorer_start(struct disk *d, const struct history_restore *restore, bool back,
		   uint64_t written, struct restorer **out)
{
	struct snapshots *s = d->tandem->snapshots;
	struct restorer *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->d = disk_ref(d);
	r->restore = *restore;
	r->back = back;
	r->written = written;
	pthread_mutex_lock(&s->restoring);
	if (pthread_create(&r->thread, NULL, run, r)) {
		pthread_mutex_unlock(&s->restoring);
		disk_unref(r->d);
		free(r);
		return -ENOMEM;
	}
	r->next = s->restorers;
	s->restorers = r;
	pthread_mutex_unlock(&s->restoring);
	*out = r;
	return 0;
}

int restorers_end(struct snapshots *s, const struct disk *d)
{
	struct restorer **link, *r;
	int err = 0;

	pthread_mutex_lock(&s->restoring);
	for (link = &s->restorers; (r = *link);) {
		if (d && r->d != d) {
			link = &r->next;
			continue;
		}
		*link = r->next;
		pthread_mutex_unlock(&s->restoring);
		pthread_join(r->thread, NULL);
		err = err ?: r->error;
		disk_unref(r->d);
		free(r);
		pthread_mutex_lock(&s->restoring);
		link = &s->restorers;
	}
	pthread_mutex_unlock(&s->restoring);
	return err;
}

/* ---- facts ---- */

uint64_t restorer_written(struct disk *d)
{
	return atomic_load(&d->ops[DISK_OP_WRITE].count) +
	       atomic_load(&d->ops[DISK_OP_ZERO].count) +
	       atomic_load(&d->ops[DISK_OP_RESIZE].count);
}

bool restorer_follows(struct disk *d)
{
	struct snapshots *s = d->tandem->snapshots;
	bool follows;

	pthread_mutex_lock(&s->restoring);
	follows = find(s, d);
	pthread_mutex_unlock(&s->restoring);
	return follows;
}

static bool find_facts(struct disk *d, struct restore_facts *out)
{
	struct snapshots *s = d->tandem->snapshots;
	struct restorer *r;

	pthread_mutex_lock(&s->restoring);
	r = find(s, d);
	if (r)
		*out = (struct restore_facts){
			.from = r->restore.from,
			.job = r->job,
			.followed = true,
			.back = r->back,
			.written = r->written != restorer_written(d),
			.done = atomic_load(&r->done),
			.total = atomic_load(&r->total),
		};
	pthread_mutex_unlock(&s->restoring);
	return r != NULL;
}

bool restore_facts(struct disk *d, struct restore_facts *out)
{
	struct history *h = atomic_load(&d->history);
	struct history_restore restore;
	struct moment_record before;

	if (!h)
		return false;
	/* First: one that is followed may end meanwhile, and is none then. */
	restore = history_restore(h);
	if (find_facts(d, out))
		return true;
	if (!restore.before || !history_restore(h).before)
		return false;
	*out = (struct restore_facts){
		.from = restore.from,
		.back = !moment_exactly(d, restore.before, &before) && before.hidden,
		.written = true,
	};
	return true;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Threads that fill clones, each its own. One that is stopped has recorded how
 * far it came, and goes on from there. Nobody who joins one may hold what it
 * takes; so it only tries to get discovery, which whoever deletes a disk holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clones_inner.h"
#include "jobs.h"
#include "operations.h"

/* Of one flush, and one commit. */
#define STEP (16ull << 20)
#define RETRY_NS 1000000000ull
#define BUSY_NS 10000000ull

/* Until it is to stop, but no longer than that. */
static void pause_for(struct clone *c, uint64_t ns)
{
	struct clones *cs = c->of;
	uint64_t until = monotonic_ns() + ns;

	pthread_mutex_lock(&cs->lock);
	while (!atomic_load(&c->stop) && clock_wait(&cs->changed, &cs->lock, until))
		;
	pthread_mutex_unlock(&cs->lock);
}

static struct jobs *jobs_of(struct clone *c)
{
	return c->of->s->t->jobs;
}

/* ---- at its end ---- */

static int record_end(struct clone *c)
{
	struct snapshots *s = c->of->s;
	struct catalogue_txn *txn;
	int err;

	pthread_mutex_lock(&s->changing);
	err = c->r.copy_state == COPY_BROKEN ? -ECANCELED : clone_replace_begin(c);
	if (err) {
		pthread_mutex_unlock(&s->changing);
		return err;
	}
	err = catalogue_begin(s->t->catalogue, &txn);
	if (!err) {
		err = clone_record_end(c, txn, true);
		if (err)
			catalogue_abort(txn);
		else
			err = catalogue_commit(txn);
	}
	clone_replace_end(c, err);
	pthread_mutex_unlock(&s->changing);
	return err;
}

/* Who has the snapshot open whose place it takes keeps it: -EBUSY. */
static int check_readers(struct clone *c)
{
	struct snapshots *s = c->of->s;
	struct disk *source = c->r.replaces ? tandem_disk_numbered(s->t, c->r.source) : NULL;
	bool busy = source && moment_is_read(source, c->r.generation);

	if (busy)
		job_wait_for(jobs_of(c), c->job, "Readers");
	disk_unref(source);
	return busy ? -EBUSY : 0;
}

static int conclude(struct clone *c, struct disk *d)
{
	int err = check_readers(c) ?: operations_complete_name(d);

	if (!err)
		err = record_end(c);
	if (err)
		return err;
	history_end_origin(atomic_load(&d->history));
	pthread_mutex_lock(&c->of->s->changing);
	clone_ended(c);
	pthread_mutex_unlock(&c->of->s->changing);
	clone_announce(c, "Unsynchronized", "Synchronized");
	job_end(jobs_of(c), c->job, JOB_COMPLETED, 0);
	return 0;
}

/* ---- the thread ---- */

static void tell_progress(struct clone *c, struct disk *d)
{
	uint64_t lacking = history_lacking(atomic_load(&d->history)), size = c->r.size;

	job_progress(jobs_of(c), c->job, lacking < size ? size - lacking : 0, size);
	snapshots_changed(d->tandem, d);
}

/* 0: it is filled, and its end recorded. -EAGAIN: there is more. */
static int step(struct clone *c, struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	int err = history_fill_step(h, job_step(jobs_of(c), c->job, STEP), c->r.share);

	if (err == -ENOENT)
		return conclude(c, d);
	tell_progress(c, d);
	return err ? err : -EAGAIN;
}

static void tell(struct clone *c, struct disk *d, int err)
{
	char object[sizeof(c->r.name) + 16], word[200];

	if (err == -EAGAIN || err == -EBUSY || err == -ECANCELED)
		err = 0;
	if (err)
		job_wait_for(jobs_of(c), c->job, strerror(-err));
	if (atomic_exchange(&c->error, err) == err)
		return;
	snprintf(object, sizeof(object), "replicas/%s", c->r.name);
	if (err)
		events_emit(c->of->s->t->events, EVENT_MAJOR, "Stalled", object, "WaitsFor=%s",
			    event_word(word, sizeof(word), strerror(-err)));
	snapshots_changed(c->of->s->t, d);
}

/* The disk is open. After an error it is to be opened again: its source may be another by then. */
static int fill(struct clone *c, struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	uint64_t copied = history_copied(h), before;
	int err;

	tell_progress(c, d);
	do {
		before = copied;
		err = step(c, d);
		tell(c, d, err);
		if (err == -EBUSY)
			pause_for(c, BUSY_NS);
		copied = history_copied(h);
	} while ((err == -EAGAIN || err == -EBUSY) &&
		 job_pause_point(jobs_of(c), c->job, copied - before, &c->stop));
	return err;
}

/* The disk, open; NULL: not now. */
static struct disk *take_disk(struct clone *c)
{
	struct disk *d = tandem_disk_numbered(c->of->s->t, c->r.target);
	struct history *h = d ? atomic_load(&d->history) : NULL;
	int err = h && history_has_origin(h) ? disk_open_filler(d) : -ENOENT;

	if (!err)
		return d;
	tell(c, d, err);
	disk_unref(d);
	return NULL;
}

static void *run(void *arg)
{
	struct clone *c = arg;
	int err = -EAGAIN;

	/* Whoever waits for his first turn has nothing open. */
	while (err && job_pause_point(jobs_of(c), c->job, 0, &c->stop)) {
		struct disk *d = take_disk(c);

		if (!d) {
			pause_for(c, RETRY_NS);
			continue;
		}
		err = fill(c, d);
		snapshots_changed(d->tandem, d);
		disk_close(d);
		disk_unref(d);
		if (err)
			pause_for(c, RETRY_NS);
	}
	job_wait_for(jobs_of(c), c->job, "");
	return NULL;
}

/* ---- who runs them ---- */

static bool wants_filler(const struct clone *c)
{
	bool wants;

	pthread_mutex_lock(&c->of->lock);
	wants = c->r.number && !c->filled && c->r.copy_state == COPY_UNSYNCHRONIZED &&
		c->r.methodology != METHOD_COPY_ON_ACCESS;
	pthread_mutex_unlock(&c->of->lock);
	return wants;
}

static void set_runs(struct clone *c, bool runs)
{
	pthread_mutex_lock(&c->of->lock);
	c->runs = runs;
	pthread_mutex_unlock(&c->of->lock);
}

/* Under managing. */
static void end(struct clone *c)
{
	if (!c->runs)
		return;
	pthread_mutex_lock(&c->of->lock);
	atomic_store(&c->stop, true);
	pthread_cond_broadcast(&c->of->changed);
	pthread_mutex_unlock(&c->of->lock);
	jobs_wake(jobs_of(c));
	pthread_join(c->thread, NULL);
	set_runs(c, false);
}

/* Under managing. */
static void begin(struct clone *c)
{
	if (c->runs || c->held || c->of->ending)
		return;
	/* It may become Broken at any time, which says so here. */
	atomic_store(&c->stop, false);
	if (!wants_filler(c))
		return;
	set_runs(c, !pthread_create(&c->thread, NULL, run, c));
}

static bool wants_job(const struct clone_record *r)
{
	return r->number && r->target && r->methodology != METHOD_COPY_ON_ACCESS &&
	       (r->copy_state == COPY_UNSYNCHRONIZED || r->copy_state == COPY_SUSPENDED);
}

void filler_begin_job(struct clone *c)
{
	struct tandem *t = c->of->s->t;
	char object[JOB_OBJECT_MAX];
	struct clone_record r;
	struct disk *d;

	pthread_mutex_lock(&c->of->lock);
	r = c->r;
	pthread_mutex_unlock(&c->of->lock);
	if (c->filled || !wants_job(&r))
		return;
	d = tandem_disk_numbered(t, r.target);
	if (d)
		disk_object(d, object, sizeof(object));
	else
		snprintf(object, sizeof(object), "replicas/%s", r.name);
	disk_unref(d);
	const struct job_spec spec = {
		.id = r.number,
		.operation = "Clone",
		.object = object,
		.moment = r.generation,
		.replica = r.number,
		.disks = { r.target, r.source },
		.priority = r.priority,
		.suspended = r.copy_state == COPY_SUSPENDED,
	};

	if (job_begin(t->jobs, &spec))
		return;
	c->job = r.number;
	/* It may be suspended since before a restart. */
	job_progress(t->jobs, r.number, clone_done(t, &r), r.size);
}

void filler_start(struct clone *c)
{
	pthread_mutex_lock(&c->of->managing);
	begin(c);
	pthread_mutex_unlock(&c->of->managing);
}

void filler_stop(struct clone *c, bool hold)
{
	pthread_mutex_lock(&c->of->managing);
	end(c);
	c->held |= hold;
	pthread_mutex_unlock(&c->of->managing);
}

void filler_release(struct clone *c)
{
	pthread_mutex_lock(&c->of->managing);
	c->held = false;
	begin(c);
	pthread_mutex_unlock(&c->of->managing);
}

static struct clone *after(struct clones *cs, struct clone *c)
{
	struct clone *next;

	pthread_mutex_lock(&cs->lock);
	next = c ? c->next : cs->list;
	pthread_mutex_unlock(&cs->lock);
	return next;
}

void clones_start(struct clones *cs)
{
	for (struct clone *c = NULL; (c = after(cs, c));) {
		filler_begin_job(c);
		filler_start(c);
	}
}

static int complete(struct clone *c)
{
	struct disk *d = take_disk(c);
	int err = -EAGAIN;

	if (!d)
		return atomic_load(&c->error) ?: -EBUSY;
	while (err == -EAGAIN)
		err = step(c, d);
	disk_close(d);
	disk_unref(d);
	return err;
}

int clones_complete(struct clones *cs, struct why *why)
{
	int err = 0;

	for (struct clone *c = NULL; (c = after(cs, c));) {
		int e = 0;

		filler_begin_job(c);
		if (wants_filler(c))
			e = complete(c);
		if (e && !err)
			err = refuse(why, e, "replicas/%s cannot be filled: %s", c->r.name,
				     strerror(-e));
	}
	return err;
}

void clones_stop(struct clones *cs)
{
	if (!cs)
		return;
	pthread_mutex_lock(&cs->managing);
	cs->ending = true;
	for (struct clone *c = NULL; (c = after(cs, c));)
		end(c);
	pthread_mutex_unlock(&cs->managing);
}

void tandem_stop_copying(struct tandem *t)
{
	if (t->snapshots)
		clones_stop(t->snapshots->clones);
}

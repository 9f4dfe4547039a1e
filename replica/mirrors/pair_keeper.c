// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The thread of a mirror. It copies what differs (pair_copy.c) and verifies
 * (pair_verify.c), cleans marks, makes of a lost leg a Broken pair, and tries again
 * what can be tried.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jobs.h"
#include "operations.h"
#include "pair_beside.h"
#include "pair_facts.h"
#include "pairs_inner.h"
#include "sender.h"
#include "snapshots_inner.h"

#define CLEAN_NS 2000000000ull
#define RETRY_NS 1000000000ull
#define RETRY_MAX_NS 30000000000ull

/* ---- waiting ---- */

void keeper_poke(struct pair *p)
{
	pthread_mutex_lock(&p->lock);
	p->poke = true;
	/* It may wait for its turn to copy. Before it wakes: what it begins then is not interrupted. */
	atomic_store(&p->interrupt, true);
	pthread_cond_broadcast(&p->poked);
	pthread_mutex_unlock(&p->lock);
	jobs_wake(p->of->t->jobs);
}

bool keeper_is_ending(struct pair *p)
{
	bool ending;

	pthread_mutex_lock(&p->lock);
	ending = p->ending || p->gone;
	pthread_mutex_unlock(&p->lock);
	return ending;
}

/* Until it is poked, or then. */
static void wait_until(struct pair *p, uint64_t ns)
{
	pthread_mutex_lock(&p->lock);
	while (!p->poke && !p->ending && !p->gone && clock_wait(&p->poked, &p->lock, ns))
		;
	p->poke = false;
	pthread_mutex_unlock(&p->lock);
}

static void say(struct pair *p, bool copying, int error)
{
	bool changed;

	pthread_mutex_lock(&p->lock);
	changed = p->copying != copying || p->error != error;
	p->copying = copying;
	p->error = error;
	if (!copying)
		pthread_cond_broadcast(&p->set);
	pthread_mutex_unlock(&p->lock);
	if (changed)
		pair_changed(p);
}

/* Before it uses anything, for who waits until nothing is copied. What was wrong may be so still. */
static void say_copying(struct pair *p)
{
	int error;

	pthread_mutex_lock(&p->lock);
	error = p->error;
	pthread_mutex_unlock(&p->lock);
	say(p, true, error);
}

/* ---- cleaning ---- */

/*
 * Whatever its state: what a target was given before it was suspended may not be durable.
 * What cannot be made so differs, which keeps it marked.
 */
static int flush_for_marks(void *arg)
{
	struct pair *p = arg;
	struct pair_record r = pair_record_of(p);
	struct disk *source = pair_source(p), *target = pair_target(p);
	bool failed = atomic_load(&p->leg.failed) || !target || !target->image;
	int err = source && source->image ? disk_flush(source) : -ENOENT;

	if (!err && !failed) {
		int lost = disk_flush(target);

		failed = lost;
		if (lost && pair_writes(&r))
			leg_lose(&p->leg, lost);
	}
	if (!err && failed)
		marks_doubt(p->leg.marks);
	disk_unref(source);
	disk_unref(target);
	return err;
}

/* A round, if it is time for one. The source is open. */
void keeper_clean(struct pair *p)
{
	uint64_t now = monotonic_ns();

	if ((now < p->clean_at && !p->clean_all) || !marks_any_active(p->leg.marks))
		return;
	marks_clean(p->leg.marks, p->clean_all, flush_for_marks, p);
	p->clean_all = false;
	p->clean_at = monotonic_ns() + CLEAN_NS;
}

static void clean(struct pair *p)
{
	struct disk *source = pair_source(p);

	if (source && marks_any_active(p->leg.marks) && !disk_read_apart(source)) {
		keeper_clean(p);
		disk_close_apart(source);
	}
	disk_unref(source);
}

/* ---- states ---- */

static int flush_both(struct pair *p, struct disk *source, struct disk *target)
{
	int err = disk_flush(source);

	if (err)
		return err;
	err = disk_flush(target);
	if (err)
		leg_lose(&p->leg, err);
	return err;
}

/* Both are the same, and durably so. */
static int conclude(struct pair *p, struct disk *source, struct disk *target)
{
	int err = flush_both(p, source, target);
	struct pair_record r;
	bool lacked, missed, mixed, first;

	if (err)
		return err;
	/* Others write it, perhaps still: that is told once more when it is closed. */
	if (disk_state(source) == DISK_CHANGED)
		return -EBUSY;
	if (pair_record_of(p).back)
		return pair_turn_back(p);
	pthread_mutex_lock(&p->changing);
	r = pair_record_of(p);
	/* Before it is asked what differs: a write may be next. */
	lacked = atomic_exchange(&p->leg.lacks, false);
	missed = atomic_exchange(&p->leg.missed, false);
	mixed = atomic_exchange(&p->mixed, false);
	marks_renew_begin(p->leg.marks);
	first = r.first;
	if (r.back || p->leg.to != target || atomic_load(&p->stop) || atomic_load(&p->leg.failed) ||
	    marks_bytes(p->leg.marks) || !pair_follow(FACT_COPIED, &r))
		err = -EAGAIN;
	if (!err && first)
		err = operations_complete_name(target);
	if (err == -EBUSY) /* not just now */
		err = -EAGAIN;
	if (!err) {
		uint64_t had_all_ms = pair_had_all_ms(p);

		/* It rounds down: a millisecond after the last time it can be before that. */
		if (had_all_ms > r.sync_time_ms)
			r.sync_time_ms = had_all_ms;
		err = pair_set(p, COPY_UNSYNCHRONIZED, &r);
	}
	marks_renew_end(p->leg.marks, !err);
	/* What was copied is active still: after a crash it would all be copied again. */
	p->clean_all |= !err;
	if (err && lacked)
		atomic_store(&p->leg.lacks, true);
	if (err && missed)
		atomic_store(&p->leg.missed, true);
	if (err && mixed)
		atomic_store(&p->mixed, true);
	pthread_mutex_unlock(&p->changing);
	return err;
}

/* The source is open. */
static int synchronize(struct pair *p, struct disk *source)
{
	struct disk *target = pair_target(p);
	struct pair_record r;
	struct why why = { 0 };
	int err = target ? 0 : -ENOENT;

	pthread_mutex_lock(&p->changing);
	r = pair_record_of(p);
	/* One that is gone may not have its target any more: nobody would close it. */
	if (!err && (pair_is_gone(p) || r.copy_state != COPY_UNSYNCHRONIZED || pair_is_async(&r)))
		err = -ECANCELED;
	if (!err && p->leg.to != target) {
		err = pair_engage(p, source, &why);
		if (err)
			leg_lose(&p->leg, err);
	}
	pthread_mutex_unlock(&p->changing);
	if (!err)
		err = pair_copy(p, source, target);
	if (!err)
		err = conclude(p, source, target);
	disk_unref(target);
	return err;
}

/* What is recorded of a lost target tells whether it misses something that was sent. */
static void drain(struct pair *p)
{
	struct disk *source = p->leg.at_flush ? pair_source(p) : NULL;

	if (source)
		mirror_drain(source, &p->leg);
	disk_unref(source);
}

int keeper_lose(struct pair *p)
{
	struct pair_record r = pair_record_of(p);
	enum copy_state from = r.copy_state;
	int err = 0;

	if (atomic_load(&p->leg.failed) && pair_follow(FACT_TARGET_LOST, &r)) {
		drain(p);
		err = pair_set(p, from, &r);
		if (!err)
			pair_disengage(p);
	}
	return err;
}

static int lose(struct pair *p)
{
	int err;

	pthread_mutex_lock(&p->changing);
	err = keeper_lose(p);
	pthread_mutex_unlock(&p->changing);
	say(p, false, atomic_load(&p->leg.error));
	return err;
}

/* It was in step, and is not any more: something of the source went wrong, or of both by a crash. */
static int unsynchronize(struct pair *p)
{
	struct pair_record r;
	int err = 0;

	pthread_mutex_lock(&p->changing);
	r = pair_record_of(p);
	if (r.copy_state != COPY_SYNCHRONIZED || pair_is_async(&r) || p->leg.writes)
		atomic_store(&p->stopped_in_vain, false);
	if (!pair_is_async(&r) && (marks_bytes(p->leg.marks) || !p->leg.writes) &&
	    pair_follow(FACT_DIFFERS, &r)) {
		err = pair_set(p, COPY_SYNCHRONIZED, &r);
		if (!err)
			atomic_store(&p->stopped_in_vain, false);
		if (!err && !pair_writes(&r))
			pair_disengage(p);
	}
	pthread_mutex_unlock(&p->changing);
	return err;
}

static void try_again(struct pair *p)
{
	struct pair_record r;
	struct why why = { 0 };

	pthread_mutex_lock(&p->changing);
	r = pair_record_of(p);
	if (!pair_is_gone(p) && pair_follow(FACT_TARGET_TRIED, &r))
		pair_resume(p, &why);
	pthread_mutex_unlock(&p->changing);
}

/* ---- its job ---- */

static struct jobs *jobs_of(const struct pair *p)
{
	return p->of->t->jobs;
}

static const char *job_name(struct pair *p)
{
	struct pair_record r = pair_record_of(p);

	return r.restores ? "RestoreFromReplica" : r.back ? "Failback" : "Mirror";
}

/* Each copy is one, also if it is suspended meanwhile. */
static void begin_job(struct pair *p)
{
	char object[JOB_OBJECT_MAX];
	struct job_spec spec = {
		.operation = job_name(p),
		.object = object,
		.replica = p->number,
		.disks = { p->leg.source, p->leg.target },
		.priority = pair_record_of(p).priority,
	};

	if (p->job) {
		job_suspend(jobs_of(p), p->job, false);
		return;
	}
	if (job_new_number(p->of->t, &spec.id))
		return; /* it goes on all the same */
	snprintf(object, sizeof(object), "replicas/%.*s", (int)sizeof(object) - 10, p->name);
	if (job_begin(jobs_of(p), &spec))
		return;
	p->job = spec.id;
	/* It may have been set before there was a job. */
	job_set_priority(jobs_of(p), p->job, pair_record_of(p).priority);
}

static void end_job(struct pair *p, enum job_state state, int err)
{
	job_end(jobs_of(p), p->job, state, err);
	p->job = 0;
}

/* After a copy that is not complete; or something else came between. */
static void stop_job(struct pair *p, int err)
{
	enum copy_state state = pair_record_of(p).copy_state;

	if (keeper_is_ending(p) || !p->job)
		return;
	if (atomic_load(&p->leg.failed))
		end_job(p, JOB_EXCEPTION, atomic_load(&p->leg.error));
	else if (state == COPY_UNSYNCHRONIZED)
		job_wait_for(jobs_of(p), p->job, err == -ECANCELED ? "" : strerror(-err));
	else if (state == COPY_SUSPENDED)
		job_suspend(jobs_of(p), p->job, true);
	else
		end_job(p, JOB_TERMINATED, 0);
}

/* ---- the thread ---- */

static int copy_on(struct pair *p)
{
	struct pair_record r = pair_record_of(p);
	struct disk *source = pair_source(p);
	int err;

	atomic_store(&p->interrupt, false);
	/* One generation more is no work that people look for. */
	if (r.copy_state == COPY_UNSYNCHRONIZED)
		begin_job(p);
	say_copying(p);
	err = source ? disk_read_apart(source) : -ENOENT;
	if (!err) {
		say(p, true, 0);
		err = pair_is_async(&r) ? async_cycle(p, source) : synchronize(p, source);
		disk_close_apart(source);
	}
	if (err)
		stop_job(p, err);
	else if (p->job)
		end_job(p, JOB_COMPLETED, 0);
	disk_unref(source);
	if (err == -ECANCELED || err == -EAGAIN)
		say(p, false, 0);
	else
		say(p, false, err);
	return err;
}

/* Its target is gone, though nobody writes to it. */
static void look_at_target(struct pair *p)
{
	struct disk *target = pair_target(p);

	if (!target || !disk_is_served(target))
		leg_lose(&p->leg, -ENOENT);
	disk_unref(target);
}

static bool has_source(struct pair *p)
{
	struct disk *source = pair_source(p);
	bool has = source && source->image && !atomic_load(&source->lost);

	disk_unref(source);
	return has;
}

/* They may have closed its target. */
static void look_at_readers(struct pair *p, const struct pair_record *r)
{
	struct disk *target = pair_is_async(r) ? pair_target(p) : NULL;

	if (target && atomic_load(&target->history)) {
		pthread_mutex_lock(&p->changing);
		async_look_at_readers(p, target);
		pthread_mutex_unlock(&p->changing);
	}
	disk_unref(target);
}

/* Likewise, of an asynchronous one that is to follow its source. */
static uint64_t work_async(struct pair *p, const struct pair_record *r)
{
	unsigned asked = async_drain_asked(p);
	uint64_t next;
	int err;

	look_at_readers(p, r);
	if (!async_is_due(p, r, &next))
		return next < monotonic_ns() + CLEAN_NS ? next : monotonic_ns() + CLEAN_NS;
	err = copy_on(p);
	async_cycle_ended(p, asked, err);
	if (!err)
		p->retry_ns = RETRY_NS;
	if (!err || atomic_load(&p->leg.failed))
		return 0;
	if (err == -ECANCELED || err == -EAGAIN)
		return monotonic_ns() + RETRY_NS / 100;
	if (async_is_to_prove(p, r)) /* there is no moment to compare with */
		pair_end_verify(p, err);
	return monotonic_ns() + RETRY_NS;
}

/* 0: look again at once; else when to do so if nobody pokes. */
static uint64_t work(struct pair *p)
{
	struct pair_record r = pair_record_of(p);
	uint64_t now = monotonic_ns();
	int err;

	if (atomic_load(&p->leave)) {
		pair_leave_target(p);
		return 0;
	}
	if (pair_writes(&r) && !atomic_load(&p->leg.failed))
		look_at_target(p);
	if (pair_writes(&r) && atomic_load(&p->leg.failed)) {
		p->retry_at = now + p->retry_ns;
		return lose(p) ? now + RETRY_NS : 0;
	}
	if ((r.adaptive || atomic_load(&p->leg.limit)) && adaptive_step(p))
		return 0;
	if (pair_is_async(&r) && pair_writes(&r) && !atomic_load(&p->stop))
		return work_async(p, &r);
	/* Without its source nothing can be copied, and nothing is lost: see Failover. */
	if (r.copy_state == COPY_SYNCHRONIZED && !pair_is_async(&r) &&
	    (marks_bytes(p->leg.marks) || atomic_load(&p->stopped_in_vain)) && has_source(p))
		return unsynchronize(p) ? now + RETRY_NS : 0;
	if (r.copy_state == COPY_UNSYNCHRONIZED && !atomic_load(&p->stop)) {
		err = copy_on(p);
		if (!err)
			p->retry_ns = RETRY_NS;
		if (!err || atomic_load(&p->leg.failed))
			return 0;
		return now + (err == -EAGAIN ? RETRY_NS / 100 : RETRY_NS);
	}
	stop_job(p, 0);
	look_at_readers(p, &r);
	if (atomic_load(&p->verify) && r.copy_state != COPY_SYNCHRONIZED)
		pair_end_verify(p, -ECANCELED);
	if (atomic_load(&p->verify) && !atomic_load(&p->stop)) {
		bool later;

		return pair_verify(p, &later) == -EAGAIN && later ? now + CLEAN_NS : 0;
	}
	if (now >= p->retry_at && pair_follow(FACT_TARGET_TRIED, &r)) {
		try_again(p);
		p->retry_ns = 2 * p->retry_ns < RETRY_MAX_NS ? 2 * p->retry_ns : RETRY_MAX_NS;
		p->retry_at = monotonic_ns() + p->retry_ns;
		return 0;
	}
	return now + CLEAN_NS;
}

static void forget_marks(struct pair *p)
{
	struct marks *marks;

	pthread_mutex_lock(&p->recording);
	pthread_mutex_lock(&p->lock);
	marks = p->leg.marks;
	p->leg.marks = NULL;
	pthread_mutex_unlock(&p->lock);
	pthread_mutex_unlock(&p->recording);
	sender_end(p->leg.sender);
	marks_close(marks);
	pair_forget_images(p);
}

static void *run(void *arg)
{
	struct pair *p = arg;

	p->retry_ns = RETRY_NS;
	while (!keeper_is_ending(p)) {
		uint64_t next = work(p);

		clean(p);
		beside_refresh(p);
		if (next)
			wait_until(p, next);
	}
	if (p->gone)
		end_job(p, JOB_TERMINATED, 0);
	/* Who lets it go has taken the leg away before he says so. */
	pthread_mutex_lock(&p->changing);
	if (p->gone)
		forget_marks(p);
	pthread_mutex_unlock(&p->changing);
	return NULL;
}

void keeper_start(struct pair *p)
{
	pthread_mutex_lock(&p->of->managing);
	if (!p->runs && !p->of->ending)
		p->runs = !pthread_create(&p->thread, NULL, run, p);
	pthread_mutex_unlock(&p->of->managing);
}

void keeper_end(struct pair *p)
{
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_broadcast(&p->set);
	pthread_mutex_unlock(&p->lock);
	keeper_poke(p); /* also if it waits for its turn to copy */
	pthread_mutex_lock(&p->of->managing);
	if (p->runs)
		pthread_join(p->thread, NULL);
	p->runs = false;
	pthread_mutex_unlock(&p->of->managing);
}

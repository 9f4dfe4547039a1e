// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The proof that a target is what its source is, while both are used: a job of the keeper, which
 * it does a chunk at a time, between whatever else there is to do. What is a hole on both sides is
 * not read.
 *
 * Of a synchronous one a range of the source is held, so that nobody writes it on either side: what
 * differs then really does. Of an asynchronous one each part is compared when a cycle has just
 * ended, with the moment of the source that it was about. What differs is marked, and copied again.
 *
 * That there is to be a proof is recorded; how far it is, is not: after a restart it begins again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs.h"
#include "pairs_inner.h"
#include "sender.h"
#include "snapshots_inner.h"

#define CHUNK (1u << 20)
#define LOOK_NS 2000000000ull
/* Chunks, and the time for their turns, that there are in each cycle. */
#define PART 8
#define PART_NS 200000000ull

struct proof {
	struct pair *p;
	struct disk *source, *target;
	const struct moment_record
		*m; /* of an asynchronous one; its cycle began with so many of these */
	unsigned stops, rewrites;
	char *a, *b;
};

static struct jobs *jobs_of(const struct pair *p)
{
	return p->of->t->jobs;
}

/* ---- one part ---- */

static int seek_source(struct proof *f, uint64_t off, uint64_t *found)
{
	return f->m ? history_seek_at(atomic_load(&f->source->history), f->m->generation, off,
				      SEEK_DATA, found)
		    : disk_seek_locked(f->source, off, SEEK_DATA, found);
}

/* Both read as zeros, and nothing has to be read for that. */
static bool are_holes(struct proof *f, uint64_t off, uint64_t len)
{
	uint64_t found;
	int err = seek_source(f, off, &found);

	if (err != -ENXIO && (err || found < off + len))
		return false;
	err = f->m ? disk_seek_locked(f->target, off, SEEK_DATA, &found)
		   : disk_seek(f->target, off, SEEK_DATA, &found);
	return err == -ENXIO || (!err && found >= off + len);
}

static int read_target(struct proof *f, uint64_t off, uint64_t len)
{
	uint64_t size = disk_size(f->target);
	size_t done = 0;
	int err;

	if (!f->m) {
		err = disk_read(f->target, f->b, len, off, IO_DIRECT, &done);
	} else { /* what it holds, whatever clients read */
		done = off < size ? (size - off < len ? size - off : len) : 0;
		err = done ? disk_read_locked(f->target, f->b, done, off, IO_DIRECT) : 0;
	}
	if (!err && done < len)
		memset(f->b + done, 0xff, len - done); /* there is none: it differs */
	if (err)
		leg_lose(&f->p->leg, err);
	return err;
}

static int read_both(struct proof *f, uint64_t off, uint64_t len)
{
	int err = f->m ? history_read_at(atomic_load(&f->source->history), f->m->generation, f->a,
					 len, off)
		       : disk_read_locked(f->source, f->a, len, off, IO_DIRECT);

	return err ? err : read_target(f, off, len);
}

static int mark(struct proof *f, uint64_t off, uint64_t len)
{
	struct marks *marks = f->p->leg.marks;
	unsigned turn;
	int err = marks_begin(marks, off, len, &turn);

	if (err)
		return err;
	atomic_store(&f->p->leg.lacks, true); /* it is no moment of its source */
	marks_set(marks, off, len);
	err = marks_outdate(marks, MIXED);
	marks_end(marks, turn);
	atomic_fetch_add(&f->p->mended, len);
	return err;
}

/* With the range held, or of a moment. */
static int compare(struct proof *f, uint64_t off, uint64_t len)
{
	uint64_t alike;
	int err;

	if (are_holes(f, off, len))
		return 0;
	err = read_both(f, off, len);
	for (uint64_t at = 0, n; !err && at < len; at += n) {
		n = len - at < MARKS_REGION ? len - at : MARKS_REGION;
		/* What is known to differ is to be copied anyway; not so of a moment that is over. */
		if ((f->m || !marks_differs(f->p->leg.marks, off + at, n, &alike)) &&
		    memcmp(f->a + at, f->b + at, n) != 0)
			err = mark(f, off + at, n);
	}
	return err;
}

static int compare_present(struct proof *f, uint64_t off, uint64_t *size)
{
	struct range r;
	int err = 0;

	range_lock_read(&f->source->ranges, &r, off, CHUNK);
	sender_wait_range(f->p->leg.sender, off, CHUNK);
	*size = disk_size(f->source);
	if (f->p->leg.to != f->target || atomic_load(&f->p->leg.failed))
		err = -ECANCELED;
	else if (off < *size)
		err = compare(f, off, *size - off < CHUNK ? *size - off : CHUNK);
	range_unlock(&f->source->ranges, &r);
	return err;
}

/* The size that the source had then; it may be shorter by now, which needs no mark. */
static int compare_moment(struct proof *f, uint64_t off, uint64_t *size)
{
	struct pair *p = f->p;
	struct range r;
	uint64_t now;
	int err = 0;

	pthread_mutex_lock(&p->applying); /* nobody else gets the target meanwhile */
	range_lock_read(&f->source->ranges, &r, INT64_MAX, 1); /* nor changes the size */
	now = disk_size(f->source);
	*size = f->m->size < now ? f->m->size : now;
	if (atomic_load(&p->leg.failed))
		err = -ECANCELED;
	else if (atomic_load(&p->stop) || p->stops != f->stops ||
		 atomic_load(&p->rewrites) != f->rewrites)
		err = -EAGAIN;
	else if (off < *size)
		err = compare(f, off, *size - off < CHUNK ? *size - off : CHUNK);
	range_unlock(&f->source->ranges, &r);
	pthread_mutex_unlock(&p->applying);
	return err;
}

/* Somebody waits for the next generation, or it is time for one; but each cycle has its part. */
static bool is_over(const struct proof *f, unsigned done)
{
	struct pair *p = f->p;

	return f->m &&
	       (async_drain_wanted(p) != DRAIN_NONE ||
		(done >= PART && marks_bytes(p->leg.marks) && monotonic_ns() >= p->cycle_at));
}

/* ---- its job ---- */

/* Under changing. 0 for *job: it is made without one that is seen. */
static void begin_job(struct pair *p)
{
	char object[JOB_OBJECT_MAX];
	struct job_spec spec = {
		.operation = "Verify",
		.object = object,
		.disks = { p->leg.target, p->leg.source },
		.priority = pair_record_of(p).priority,
	};

	snprintf(object, sizeof(object), "replicas/%.*s", (int)sizeof(object) - 10, p->name);
	p->proof_began_ms = past_now(p->of->t->snapshots);
	atomic_store(&p->verified, 0);
	atomic_store(&p->mended, 0);
	if (!job_new_number(p->of->t, &spec.id) && !job_begin(jobs_of(p), &spec))
		p->proof_job = spec.id;
}

static int record(struct pair *p, bool verifies, uint64_t verified_ms)
{
	struct pair_record r;
	int err;

	do { /* what others do to its disks can change its state at any time */
		r = pair_record_of(p);
		r.verifies = verifies;
		if (verified_ms)
			r.verified_ms = verified_ms;
		err = pair_set(p, r.copy_state, &r);
	} while (err == -EAGAIN && !pair_is_gone(p));
	return err;
}

/* What it found is told, whatever became of it. */
void pair_end_verify(struct pair *p, int err)
{
	uint64_t mended = atomic_load(&p->mended);
	char words[48];

	pthread_mutex_lock(&p->changing);
	record(p, false, !err && !mended ? p->proof_began_ms : 0);
	snprintf(words, sizeof(words), "Differed=%llu", (unsigned long long)mended);
	job_note(jobs_of(p), p->proof_job, words, mended);
	job_end(jobs_of(p), p->proof_job,
		!err                ? JOB_COMPLETED
		: err == -ECANCELED ? JOB_TERMINATED
				    : JOB_EXCEPTION,
		err == -ECANCELED ? 0 : err);
	p->proof_job = 0;
	atomic_store(&p->verify, false);
	pthread_mutex_unlock(&p->changing);
	pair_changed(p);
}

/* ---- until there is something else to do ---- */

static int prepare(struct proof *f)
{
	void *a = NULL, *b = NULL;
	int err = posix_memalign(&a, 4096, CHUNK) || posix_memalign(&b, 4096, CHUNK) ? -ENOMEM : 0;

	f->a = a;
	f->b = b;
	return err;
}

/* It may wait for its turn for long, and there is else to do. */
static uint64_t give_up_at(const struct proof *f)
{
	uint64_t now = monotonic_ns();

	if (!f->m)
		return now + LOOK_NS;
	return f->p->cycle_at > now + PART_NS ? f->p->cycle_at : now + PART_NS;
}

/* -EAGAIN: it was interrupted. */
static int prove(struct proof *f)
{
	struct pair *p = f->p;
	uint64_t off = atomic_load(&p->verified), size = UINT64_MAX, copied = 0;
	uint64_t until = give_up_at(f);
	unsigned done = 0;
	int err = 0;

	while (!err && off < size) {
		/* Before it waits as well: whoever stops it says so before he wakes it. */
		if (atomic_load(&p->stop) || is_over(f, done) ||
		    !job_pause_until(jobs_of(p), p->proof_job, copied, &p->interrupt, until) ||
		    atomic_load(&p->stop) || is_over(f, done))
			return -EAGAIN;
		err = f->m ? compare_moment(f, off, &size) : compare_present(f, off, &size);
		off += CHUNK;
		copied = CHUNK;
		done++;
		if (!err) {
			atomic_store(&p->verified, off < size ? off : size);
			job_progress(jobs_of(p), p->proof_job, off < size ? off : size, size);
		}
		keeper_clean(p);
		pair_changed(p);
	}
	return err;
}

/* Whether there is something to go on with. -ECANCELED: somebody ended its job. */
static int resume(struct pair *p)
{
	if (!p->proof_job) {
		pthread_mutex_lock(&p->changing);
		begin_job(p);
		pthread_mutex_unlock(&p->changing);
	} else if (job_has_ended(jobs_of(p), p->proof_job)) {
		return -ECANCELED;
	}
	return job_is_suspended(jobs_of(p), p->proof_job) ? -EAGAIN : 0;
}

static int go_on(struct proof *f)
{
	int err = prepare(f) ?: prove(f);

	free(f->a);
	free(f->b);
	job_wait_for(jobs_of(f->p), f->p->proof_job, "");
	return err;
}

int pair_verify(struct pair *p, bool *later)
{
	struct proof f = { .p = p, .source = pair_source(p), .target = pair_target(p) };
	int err = resume(p);

	*later = err == -EAGAIN;
	atomic_store(&p->interrupt, false);
	if (!err)
		err = f.source && f.target ? disk_read_apart(f.source) : -ENOENT;
	if (!err) {
		err = go_on(&f);
		disk_close_apart(f.source);
	}
	disk_unref(f.source);
	disk_unref(f.target);
	if (err != -EAGAIN)
		pair_end_verify(p, err);
	return err;
}

void pair_verify_moment(struct pair *p, struct disk *source, struct disk *target,
			const struct moment_record *m, unsigned stops, unsigned rewrites)
{
	struct proof f = { .p = p,
			   .source = source,
			   .target = target,
			   .m = m,
			   .stops = stops,
			   .rewrites = rewrites };
	int err = resume(p);

	if (!err)
		err = go_on(&f);
	/* The moment was given up for want of space: there will be another one. */
	if (err != -EAGAIN && err != -ESTALE)
		pair_end_verify(p, err);
}

/* ---- commands ---- */

static int check(struct pair *p, const struct pair_facts *f, struct why *why)
{
	if (f->state != COPY_SYNCHRONIZED)
		return refuse_advise(why, -EBUSY, "wait until it is Synchronized",
				     "CopyState is %s; Verify needs Synchronized",
				     enum_name(copy_states, f->state));
	if (atomic_load(&p->verify))
		return refuse(why, -EBUSY, "it is being verified: %u %%", f->verified);
	return 0;
}

int tandem_verify_pair(struct tandem *t, uint32_t number, bool plan, uint32_t *job, struct why *why)
{
	struct pair_facts f;
	struct pair *p;
	int err = pair_to_change(t, number, &p, why);

	if (err)
		return err;
	pthread_mutex_lock(&p->changing);
	err = pair_numbered(t, number, &f) ? refuse(why, -ENOENT, "there is no such mirror")
					   : check(p, &f, why);
	if (!err && !plan && (err = record(p, true, 0)))
		refuse(why, err, "it cannot be recorded: %s", strerror(-err));
	if (!err && !plan) {
		begin_job(p);
		*job = p->proof_job;
		atomic_store(&p->verify, true);
	}
	pthread_mutex_unlock(&p->changing);
	if (!err && !plan)
		keeper_poke(p);
	return err;
}

void tandem_end_verify(struct tandem *t, uint32_t job, enum job_state as)
{
	job_end(t->jobs, job, as, 0);
	pairs_look_at_proofs(t);
}

void pairs_look_at_proofs(struct tandem *t)
{
	for (struct pair *p = NULL; t->pairs && (p = pairs_after(t->pairs, p));)
		if (atomic_load(&p->verify))
			keeper_poke(p);
}

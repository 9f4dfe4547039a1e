// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * An asynchronous mirror: its source's writes are only marked, and the target goes from one
 * generation of the source to the next. What clients read of it is always a whole one.
 *
 * Both have a past. A cycle:
 *
 *   the target: a moment of what it holds, D -> the pair's record says that it shows
 *   that, D -> clients read that moment
 *   the source: regions that are set from here on are watched; who wrote before has ended
 *   -> a moment n of it, in memory only -> writes of n have ended
 *   -> what is marked is read as of n and written to the target; a region that was not set
 *   since the watch began is equal then, and not marked any more
 *   -> D(target) -> the record says that it shows what it holds, D -> clients read that
 *   -> both moments go
 *
 * So every region that was written in a generation <= n is marked when the copy begins,
 * and every one that is cleared has not been written since. A cycle that is interrupted, by
 * whatever, leaves marks that say where the two differ, and a moment that the target shows;
 * the next one goes on from there, to another n. Writers are never waited for, and wait for
 * nobody: what they overwrite meanwhile is kept for n by the source's past.
 *
 * Of a target that was never whole nothing is kept: the first copy.
 *
 * Of one in a pool all of a cycle is kept beside it, as a delta, before it is written there, and at
 * its end its write log is brought into the image: pair_beside.h.
 *
 * Who has the target open when the next generation is whole goes on reading the one before, and so
 * does everybody else until all of them have closed it (disk_show): that moment is `read`, in
 * memory only, and may be lost for want of space.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "crew.h"
#include "jobs.h"
#include "operations.h"
#include "pair_beside.h"
#include "snapshots_inner.h"

/* What is copied at once, and how many of them. */
#define CHUNK (1u << 20)
#define CHUNKS 4

struct cycle {
	struct pair *p;
	struct disk *source, *target;
	struct history *from;
	struct moment_record moment; /* of the source: what the target becomes */
	bool meets, joint;           /* its moment is that of others, too; its end as well */
	unsigned stops;
	unsigned rewrites; /* before the moment: what is read of it is of one disk */
	void *buffers[CHUNKS];
	struct chunk {
		uint64_t off, len;
	} chunks[CHUNKS];
	size_t count;
};

/* Under applying. */
static bool is_ended(const struct cycle *c)
{
	struct pair *p = c->p;

	return atomic_load(&p->stop) || p->stops != c->stops || atomic_load(&p->leg.failed) ||
	       keeper_is_ending(p);
}

/* ---- the source, as of its moment ---- */

static int find(struct cycle *c, uint64_t off, int whence, uint64_t end, uint64_t *found)
{
	int err = history_seek_at(c->from, c->moment.generation, off, whence, found);

	if (err == -ENXIO || (!err && *found > end))
		*found = end;
	return err == -ENXIO ? 0 : err;
}

/* What fails at the target is its loss. It makes room for itself: no range is held. */
static int send_data(struct cycle *c, char *buf, uint64_t off, uint64_t len)
{
	int err = history_read_at(c->from, c->moment.generation, buf, len, off);
	bool zeros;

	if (err)
		return err;
	for (size_t at = 0, n; at < len && !err; at += n) {
		n = pair_next_run(c->p, buf + at, len - at, &zeros);
		err = zeros ? disk_zero(c->target, off + at, n, ZERO_PUNCH)
			    : disk_write(c->target, buf + at, n, off + at, IO_DIRECT);
	}
	if (err)
		leg_lose(&c->p->leg, err);
	return err;
}

static int send_hole(struct cycle *c, uint64_t off, uint64_t len)
{
	int err = disk_zero(c->target, off, len, ZERO_PUNCH);

	if (err)
		leg_lose(&c->p->leg, err);
	return err;
}

static int send_range(struct cycle *c, void *buf, uint64_t off, uint64_t end)
{
	uint64_t data, hole;
	int err = 0;

	while (!err && off < end) {
		err = find(c, off, SEEK_DATA, end, &data);
		if (!err && data > off)
			err = send_hole(c, off, data - off);
		if (err || data == end)
			break;
		err = find(c, data, SEEK_HOLE, end, &hole);
		if (!err)
			err = send_data(c, buf, data, hole - data);
		off = hole;
	}
	return err;
}

/* The target has it. */
static int clear(struct cycle *c, uint64_t off, uint64_t len)
{
	struct marks *marks = c->p->leg.marks;
	struct range r;
	uint64_t size;
	unsigned turn;
	int err = 0;

	pair_hold_size(c->source, &r);
	size = marks_size(marks);
	if (off + len > size)
		len = size > off ? size - off : 0;
	if (len)
		err = marks_begin(marks, off, len, &turn);
	if (len && !err) {
		marks_clear_unset(marks, off, len);
		marks_end(marks, turn);
	}
	range_unlock(&c->source->ranges, &r);
	return err;
}

static int send_chunk(void *arg, size_t i)
{
	struct cycle *c = arg;
	uint64_t off = c->chunks[i].off, len = c->chunks[i].len;
	int err = send_range(c, c->buffers[i], off, off + len);

	if (!err)
		err = clear(c, off, len);
	if (!err)
		atomic_fetch_add(&c->p->applied, len);
	return err;
}

/* ---- all that is marked ---- */

/* The next ones from there on. */
static void choose(struct cycle *c, uint64_t step, uint64_t *at)
{
	struct marks *marks = c->p->leg.marks;
	uint64_t off, run, size;
	struct range r;

	pair_hold_size(c->source, &r);
	size = marks_size(marks);
	if (size > c->moment.size)
		size = c->moment.size;
	for (c->count = 0; c->count < CHUNKS && step >= MARKS_REGION; c->count++) {
		uint64_t most = step < CHUNK ? step / MARKS_REGION * MARKS_REGION : CHUNK;

		off = marks_next(marks, *at);
		if (off >= size)
			break;
		marks_differs(marks, off, size - off < most ? size - off : most, &run);
		c->chunks[c->count] = (struct chunk){ off, run };
		/* The last region may end before its time, and be marked again. */
		*at = (off + run + MARKS_REGION - 1) / MARKS_REGION * MARKS_REGION;
		step -= run < step ? run : step;
	}
	range_unlock(&c->source->ranges, &r);
}

static int send_chunks(struct cycle *c)
{
	int err = -ECANCELED;

	pthread_mutex_lock(&c->p->applying);
	if (!is_ended(c))
		err = crew_run(c->source->tandem->crew, c->count, send_chunk, c);
	pthread_mutex_unlock(&c->p->applying);
	return err;
}

static void tell_progress(struct pair *p)
{
	uint64_t size = marks_size(p->leg.marks), differs = marks_bytes(p->leg.marks);

	job_progress(p->of->t->jobs, p->job, differs < size ? size - differs : 0, size);
	pair_changed(p);
}

/* Whoever pokes the keeper may want it for something else; what others wait for is not begun again. */
static bool goes_on(struct cycle *c, uint64_t copied)
{
	struct pair *p = c->p;

	while (!job_pause_point(p->of->t->jobs, p->job, copied, &p->interrupt)) {
		if (!(c->meets || (c->joint && async_drain_wanted(p) == DRAIN_NONE)) ||
		    atomic_load(&p->stop) || atomic_load(&p->leg.failed) || keeper_is_ending(p) ||
		    !atomic_exchange(&p->interrupt, false))
			return false;
		copied = 0;
	}
	return true;
}

static int send_all(struct cycle *c)
{
	struct pair *p = c->p;
	uint64_t at = 0, copied = 0;
	int err = 0;

	while (!err && goes_on(c, copied)) {
		choose(c, job_step(p->of->t->jobs, p->job, CHUNKS * CHUNK), &at);
		if (!c->count)
			return 0;
		err = send_chunks(c);
		keeper_clean(p);
		tell_progress(p);
		copied = 0;
		for (size_t i = 0; i < c->count; i++)
			copied += c->chunks[i].len;
	}
	return err ? err : -ECANCELED;
}

/* ---- what is kept beside the target ---- */

struct staging {
	struct cycle *c;
	struct delta_writer delta;
};

static int stage_range(struct staging *s, void *buf, uint64_t off, uint64_t end)
{
	struct cycle *c = s->c;
	uint64_t data, hole;
	int err = 0;

	while (!err && off < end) {
		err = find(c, off, SEEK_DATA, end, &data);
		if (!err && data > off)
			err = delta_zeros(&s->delta, off, data - off);
		if (err || data == end)
			break;
		err = find(c, data, SEEK_HOLE, end, &hole);
		if (!err)
			err = history_read_at(c->from, c->moment.generation, buf, hole - data,
					      data);
		if (!err)
			err = delta_data(&s->delta, buf, hole - data, data);
		off = hole;
	}
	return err;
}

/* All that is marked, which is all that may differ from what the target is beside us. */
static int stage_all(struct staging *s)
{
	struct cycle *c = s->c;
	uint64_t at = 0, all;
	int err = 0;

	while (!err) {
		pthread_mutex_lock(&c->p->applying);
		err = is_ended(c) ? -ECANCELED : 0;
		pthread_mutex_unlock(&c->p->applying);
		if (!err)
			choose(c, CHUNKS * CHUNK, &at);
		if (err || !c->count)
			break;
		for (size_t i = 0; i < c->count && !err; i++) {
			all = c->chunks[i].off + c->chunks[i].len;
			err = stage_range(s, c->buffers[i], c->chunks[i].off, all);
		}
	}
	return err;
}

/* Before anything of this cycle is written to the target. */
static int stage(struct cycle *c)
{
	struct delta_head head = { .time_ms = c->moment.time_ms, .size = c->moment.size };
	struct staging s = { .c = c };
	int err;

	if (!beside_needs_delta(c->p))
		return 0;
	err = beside_new_delta(c->p, &head, &s.delta);
	if (!err) {
		err = stage_all(&s);
		if (!err)
			err = delta_end(&s.delta);
		err = beside_keep_delta(c->p, &s.delta, err);
	}
	if (!err || err == -ECANCELED || err == -ESTALE)
		return err;
	err = beside_go_without(c->p, err);
	if (err)
		leg_lose(&c->p->leg, err);
	return err;
}

/* What an interrupted cycle may have written is marked still, or is again. */
static int mark_what_was_begun(struct cycle *c)
{
	int err = beside_needs_delta(c->p) ? beside_mark_delta(c->p) : 0;

	return err ? beside_go_without(c->p, err) : 0;
}

/* For want of space its write log may have a part of it still. */
static bool settle(struct disk *target)
{
	struct history *h = atomic_load(&target->history);

	return !h || !history_settle(h);
}

/* ---- what the target shows meanwhile ---- */

static void drop(struct disk *target, uint64_t generation)
{
	moment_unpin(target, generation);
	collector_add(target->tandem->snapshots->collector, target, generation);
}

void async_look_at_readers(struct pair *p, struct disk *target)
{
	struct history *h = atomic_load(&target->history);

	if (!p->read)
		return;
	/* Also if it was lost: who has it open gets errors, and nothing of another one. */
	disk_show(target, history_shown(h), SHOW_NEXT);
	if (history_seen(h) == p->read)
		return;
	history_lend(h, p->read, false);
	drop(target, p->read);
	p->read = 0;
}

/* It shows what it holds; what it showed is kept for those who have it open. */
static void retire_base(struct pair *p, struct disk *target, uint64_t base)
{
	struct history *h = atomic_load(&target->history);

	disk_show(target, 0, SHOW_NEXT);
	async_look_at_readers(p, target); /* who read an older one may have closed it meanwhile */
	if (history_seen(h) != base) {
		drop(target, base);
	} else {
		p->read = base;
		history_lend(h, base, true);
	}
}

void async_show_present(struct pair *p, struct disk *target, uint64_t base)
{
	disk_show(target, 0, SHOW_TO_ALL);
	async_look_at_readers(p, target);
	if (base)
		drop(target, base);
}

static int record_moment(struct disk *d, const struct moment_record *m)
{
	struct catalogue_txn *txn;
	struct track_record track;
	int err = catalogue_begin_growing(d->tandem->catalogue, 1, &txn);

	if (err)
		return err;
	history_record(atomic_load(&d->history), &track);
	err = moment_put(txn, d->number, m) ?: track_put(txn, d->number, &track);
	if (err) {
		catalogue_abort(txn);
		return err;
	}
	return catalogue_commit(txn);
}

/* It stays as long as it is pinned; *out is valid on success. */
static int take_moment(struct disk *d, struct moment_record *out)
{
	struct history *h = atomic_load(&d->history);
	struct tandem *t = d->tandem;
	uint64_t g;
	int err = generation_close(t, &h, 1, MOMENT_SENT, past_now(t->snapshots), NULL, &g);

	if (err)
		return err;
	err = moment_exactly(d, g, out) ?: moment_pin(d, g);
	if (err)
		collector_add(t->snapshots->collector, d, g);
	return err;
}

/* Under changing. The target is whole, and nobody has written to it since it was flushed. */
static int keep_base(struct pair *p, struct disk *target, struct pair_record *r)
{
	struct moment_record m;
	int err;

	/* Once more: that it does not may be what the disk has of a commit that failed. */
	if (r->shows || !r->steady)
		return pair_set(p, r->copy_state, r);
	err = take_moment(target, &m);
	if (err)
		return err;
	err = record_moment(target, &m);
	r->shows = m.generation;
	if (!err)
		err = pair_set(p, r->copy_state, r);
	if (err)
		drop(target, m.generation);
	else
		disk_show(target, m.generation, SHOW_SAME);
	return err;
}

int async_check_conclusion(struct cycle *c, struct pair_record *r)
{
	struct pair *p = c->p;
	int err = 0;

	*r = pair_record_of(p);
	pthread_mutex_lock(&p->applying);
	if (is_ended(c) || !pair_writes(r) || marks_were_cut(p->leg.marks) ||
	    marks_size(p->leg.marks) < c->moment.size || disk_state(c->source) == DISK_CHANGED ||
	    atomic_load(&p->rewrites) != c->rewrites)
		err = -EAGAIN;
	pthread_mutex_unlock(&p->applying);
	if (!err && r->first)
		err = operations_complete_name(c->target);
	if (err)
		return err == -EBUSY ? -EAGAIN : err; /* somebody looks for disks */
	r->copy_state = COPY_SYNCHRONIZED;
	r->first = r->written = false;
	r->steady = true;
	r->shows = 0;
	r->of = c->moment.generation;
	r->sync_time_ms = c->moment.time_ms;
	return 0;
}

void async_concluded(struct cycle *c, uint64_t shown)
{
	if (shown)
		retire_base(c->p, c->target, shown);
	atomic_store(&c->p->applied, 0);
	c->p->fitted = c->moment.size;
}

static int conclude_alone(struct cycle *c)
{
	struct pair *p = c->p;
	struct pair_record was, r;
	int err;

	pthread_mutex_lock(&p->changing);
	was = pair_record_of(p);
	err = async_check_conclusion(c, &r) ?: pair_set(p, was.copy_state, &r);
	if (!err)
		async_concluded(c, was.shows);
	pthread_mutex_unlock(&p->changing);
	return err;
}

/* Both are the same as of the moment, and durably so. */
static int conclude(struct cycle *c)
{
	struct pair *p = c->p;
	bool settled = !beside_is_kept(c->target) || settle(c->target);
	int err = disk_flush(c->target);

	if (err) {
		leg_lose(&p->leg, err);
		return err;
	}
	err = c->joint ? meeting_conclude(p, c) : conclude_alone(c);
	if (!err && settled)
		beside_refresh(p);
	return err;
}

/* ---- a cycle ---- */

/* What it is to have, and what is gone. The size is the first thing that it gets. */
static int fit(struct cycle *c)
{
	uint64_t has = disk_size(c->target), size = c->moment.size;
	int err = has == size  ? 0
		  : has < size ? leg_grow(&c->p->leg, c->target, size)
			       : disk_resize(c->target, size, true);

	/* It stays longer if it cannot be cut off. */
	if (err && has > size)
		return 0;
	if (err)
		leg_lose(&c->p->leg, err);
	return err;
}

/* Under applying, as all that writes to the target. */
static int fit_target(struct cycle *c)
{
	int err = -ECANCELED;

	pthread_mutex_lock(&c->p->applying);
	if (!is_ended(c))
		err = fit(c);
	pthread_mutex_unlock(&c->p->applying);
	return err;
}

static int send(struct cycle *c)
{
	struct collector *collector = c->p->of->t->snapshots->collector;
	uint64_t g;
	int err = mark_what_was_begun(c);

	/* Where they could not follow the source, what is new there is not marked yet. */
	err = err ?: mirror_fit_marks(c->source, &c->p->leg);
	if (err)
		return err;
	marks_watch(c->p->leg.marks);
	c->rewrites = atomic_load(&c->p->rewrites);
	c->meets = meeting_is_called(c->p, &c->p->meeting);
	c->joint = !c->meets && meeting_is_called(c->p, &c->p->joint);
	err = c->meets   ? meeting_attend(c->p, &c->p->meeting, c->source, &c->moment)
	      : c->joint ? meeting_attend(c->p, &c->p->joint, c->source, &c->moment)
			 : take_moment(c->source, &c->moment);
	if (err)
		return err;
	g = c->moment.generation;
	/* For want of space it may go: then there will be another one. */
	history_lend(c->from, g, true);
	for (size_t i = 0; i < CHUNKS && !err; i++)
		err = posix_memalign(&c->buffers[i], 4096, CHUNK) ? -ENOMEM : 0;
	if (!err)
		err = stage(c);
	if (!err)
		err = fit_target(c);
	if (!err)
		err = send_all(c);
	if (!err)
		err = conclude(c);
	for (size_t i = 0; i < CHUNKS; i++)
		free(c->buffers[i]);
	if (!err && atomic_load(&c->p->verify))
		pair_verify_moment(c->p, c->source, c->target, &c->moment, c->stops, c->rewrites);
	history_lend(c->from, g, false);
	moment_unpin(c->source, g);
	collector_add(collector, c->source, g);
	return err;
}

/* Both are open. */
static int begin(struct cycle *c)
{
	struct pair *p = c->p;
	struct why why = { 0 };
	struct history *to;
	struct pair_record r;
	int err = past_begin(c->source, &c->from, &why) ?: past_begin(c->target, &to, &why);

	if (err)
		return err;
	if (beside_is_kept(c->target))
		settle(c->target);
	/* What it holds is what it shows next: clients may have written it, as a Split one. */
	err = disk_flush(c->target);
	if (err) {
		leg_lose(&p->leg, err);
		return err;
	}
	if (beside_is_kept(c->target))
		beside_refresh(p);
	pthread_mutex_lock(&p->changing);
	r = pair_record_of(p);
	pthread_mutex_lock(&p->applying);
	c->stops = p->stops;
	/* Who stops them says so before he goes on to `stops`: that may be before this. */
	if (!pair_is_async(&r) || !pair_writes(&r) || is_ended(c) ||
	    async_drain_wanted(p) == DRAIN_DONE)
		err = -ECANCELED;
	pthread_mutex_unlock(&p->applying);
	async_look_at_readers(p, c->target);
	if (!err && beside_is_kept(c->target) && (err = beside_begin_cycle(p, r.steady)))
		leg_lose(&p->leg, err);
	if (!err)
		err = keep_base(p, c->target, &r);
	pthread_mutex_unlock(&p->changing);
	return err;
}

int async_cycle(struct pair *p, struct disk *source)
{
	struct cycle c = { .p = p, .source = source, .target = pair_target(p) };
	int err;

	/* Who has stopped them has seen that nothing is copied, or waits until that is so. */
	if (async_drain_wanted(p) == DRAIN_DONE) {
		disk_unref(c.target);
		return -ECANCELED;
	}
	err = c.target ? disk_open_apart(c.target) : -ENOENT;
	if (err) {
		leg_lose(&p->leg, err);
	} else {
		err = begin(&c);
		if (!err)
			err = send(&c);
		disk_close_apart(c.target);
	}
	disk_unref(c.target);
	return err == -ESTALE ? -EAGAIN : err;
}

/* ---- when ---- */

enum drain async_drain_wanted(struct pair *p)
{
	enum drain drain;

	pthread_mutex_lock(&p->lock);
	drain = p->drain;
	pthread_mutex_unlock(&p->lock);
	return drain;
}

unsigned async_drain_asked(struct pair *p)
{
	unsigned asked;

	pthread_mutex_lock(&p->lock);
	asked = p->drain == DRAIN_WANTED ? p->drain_asked : 0;
	pthread_mutex_unlock(&p->lock);
	return asked;
}

/* What was written is on the target half of its objective later, at most, and the time of a cycle. */
static uint64_t period_ns(const struct pair_record *r)
{
	return r->objective_s * 500000000ull;
}

/* What is cut off is not marked. */
static bool is_in_step(struct pair *p, const struct pair_record *r)
{
	return r->copy_state == COPY_SYNCHRONIZED && !r->shows && !marks_bytes(p->leg.marks) &&
	       marks_size(p->leg.marks) == p->fitted;
}

/* Its objective is missed, or met again. */
static void tell_objective(struct pair *p, const struct pair_record *r)
{
	uint64_t now = past_now(p->of->t->snapshots), at = atomic_load(&p->in_step_ms);
	char object[sizeof(p->name) + 16];
	uint64_t lag;
	bool missed;

	at = at > r->sync_time_ms ? at : r->sync_time_ms;
	lag = at && now > at && !is_in_step(p, r) ? now - at : 0;
	missed = lag > r->objective_s * 1000ull;
	if (missed == p->missed)
		return;
	p->missed = missed;
	snprintf(object, sizeof(object), "replicas/%s", p->name);
	events_emit(p->of->t->events, missed ? EVENT_WARNING : EVENT_INFORMATION,
		    missed ? "RpoMissed" : "RpoMet", object, "Rpo=%u Lag=%llu.%llu", r->objective_s,
		    (unsigned long long)lag / 1000, (unsigned long long)lag % 1000 / 100);
	pair_changed(p);
}

/* Which needs a moment that both have. */
bool async_is_to_prove(struct pair *p, const struct pair_record *r)
{
	return atomic_load(&p->verify) && r->copy_state == COPY_SYNCHRONIZED &&
	       !job_is_suspended(p->of->t->jobs, p->proof_job);
}

bool async_is_due(struct pair *p, const struct pair_record *r, uint64_t *next)
{
	uint64_t time_ms = past_now(p->of->t->snapshots), now = monotonic_ns();
	enum drain drain = async_drain_wanted(p);
	unsigned asked = async_drain_asked(p);
	bool in_step = is_in_step(p, r), prove = async_is_to_prove(p, r);
	bool joint = meeting_is_called(p, &p->joint);
	bool meets = meeting_is_called(p, &p->meeting) || joint;

	atomic_store(&p->behind, !in_step);
	if (in_step)
		atomic_store(&p->in_step_ms, time_ms);
	tell_objective(p, r);
	*next = now + period_ns(r);
	if (drain == DRAIN_DONE)
		return false; /* until it is released, which is a poke */
	if (in_step && !meets && asked)
		async_cycle_ended(p, asked, 0);
	if (in_step && !meets && (!prove || asked))
		return false;
	if (atomic_load(&p->jointly) && r->copy_state == COPY_SYNCHRONIZED && !asked && !joint)
		return false;
	if (p->cycle_at > *next) /* its objective is shorter by now */
		p->cycle_at = *next;
	if (r->copy_state == COPY_SYNCHRONIZED && !asked && !prove && !joint && now < p->cycle_at) {
		*next = p->cycle_at;
		return false;
	}
	p->cycle_at = *next;
	return true;
}

void async_cycle_ended(struct pair *p, unsigned asked, int err)
{
	pthread_mutex_lock(&p->lock);
	/* One that was stopped in the middle goes on, whenever its time would be. */
	if (err)
		p->cycle_at = 0;
	meeting_cycle_ended(p);
	if (p->meeting.is == MEETING_GOING) {
		p->meeting.is = err ? MEETING_OFF : MEETING_MET;
		p->drain = err ? p->drain : DRAIN_DONE;
	} else if (!err && asked && asked == p->drain_asked && p->drain == DRAIN_WANTED &&
		   p->meeting.is == MEETING_NONE) {
		p->drain = DRAIN_DONE;
	}
	pthread_cond_broadcast(&p->poked);
	pthread_mutex_unlock(&p->lock);
}

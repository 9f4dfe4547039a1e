// SPDX-License-Identifier: GPL-2.0-or-later
#include "mirror.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crew.h"
#include "rings.h"
#include "sender.h"
#include "tandem.h"

/* Requests at once that are handed on to other threads. */
#define FEW 2

struct mirror *mirror_of(struct disk *d)
{
	struct mirror *m = atomic_load(&d->mirror), *mine;

	if (m)
		return m;
	mine = calloc(1, sizeof(*mine));
	if (!mine || atomic_compare_exchange_strong(&d->mirror, &m, mine))
		return mine;
	free(mine);
	return m;
}

void leg_lose(struct leg *leg, int err)
{
	if (!atomic_exchange(&leg->failed, true))
		atomic_store(&leg->error, err);
	/* Also what was acknowledged there and is not durable. */
	marks_doubt(leg->marks);
	leg->lost(leg->owner);
}

static bool is_writing(const struct leg *leg)
{
	return leg->writes && leg->to && !atomic_load(&leg->failed) && !atomic_load(&leg->parted);
}

/* ---- a change ---- */

struct fan {
	struct disk *d;
	struct mirror *m;
	const struct change *c;
	int (*flush)(struct disk *d); /* instead of a change */
	unsigned turns[MIRROR_LEGS_MAX];
	bool writing[MIRROR_LEGS_MAX]; /* still to be done */
	bool alike[MIRROR_LEGS_MAX];   /* nothing of the range differs */
	bool later[MIRROR_LEGS_MAX];   /* sent once the source has it, with its turn */
	bool given[MIRROR_LEGS_MAX];   /* it was, or is being, done there, too */
	bool source_done;
	bool left_out[MIRROR_LEGS_MAX]; /* something was, because it differs */
	int errors[1 + MIRROR_LEGS_MAX];
};

static int leg_write(struct leg *leg, const struct change *c, uint64_t off, uint64_t len)
{
	unsigned io = c->io & IO_DIRECT;

	return c->buf ? disk_write_once(leg->to, (const char *)c->buf + (off - c->off), len, off,
					io)
		      : disk_zero_once(leg->to, off, len, c->mode);
}

/* What differs is left to whoever copies it. */
static int leg_change(struct leg *leg, const struct change *c, bool *left_out)
{
	uint64_t off = c->off, end = c->off + c->len, run;
	int err = end > disk_size(leg->to) ? leg_grow(leg, leg->to, end) : 0;

	for (; !err && off < end; off += run) {
		if (!marks_differs(leg->marks, off, end - off, &run))
			err = leg_write(leg, c, off, run);
		else
			*left_out = true;
	}
	return err;
}

/* Under flushing. Also one that is to write no more just now: what it has is flushed by nobody else. */
static bool has_to_flush(const struct leg *leg)
{
	return leg->writes && leg->to && !atomic_load(&leg->failed);
}

/* With what it was sent. One that is lost by that has nothing to flush. */
static int leg_flush(struct leg *leg)
{
	sender_wait(leg->sender);
	return has_to_flush(leg) ? disk_flush(leg->to) : 0;
}

static int fan_step(void *arg, size_t i)
{
	struct fan *f = arg;
	struct leg *leg = i ? f->m->legs[i - 1] : NULL;

	if (!leg && f->source_done)
		return 0;
	if (!leg)
		f->errors[0] = f->flush ? f->flush(f->d) : disk_apply(f->d, f->c);
	else if (f->writing[i - 1])
		f->errors[i] = f->flush ? leg_flush(leg)
					: leg_change(leg, f->c, &f->left_out[i - 1]);
	return 0; /* one that fails stops no other */
}

/* -EAGAIN: it takes more than a write of the target. */
static int begin_leg(struct leg *leg, const struct change *c, struct half_write *w)
{
	struct change copy = *c;

	copy.io &= IO_DIRECT;
	return disk_begin_write(leg->to, &copy, w);
}

/*
 * The source and the legs of which it takes no more than a write: they go to the kernel together,
 * and take as long as the slowest. The others are still to be done.
 */
static void write_together(struct fan *f)
{
	struct half_write half[MIRROR_LEGS_MAX];
	struct image_request all[1 + MIRROR_LEGS_MAX];
	size_t leg[MIRROR_LEGS_MAX], count = 0;

	if (!f->c || !disk_is_one_write(f->d, f->c, &all[0]))
		return;
	for (size_t i = 0; i < f->m->count; i++) {
		int err;

		if (!f->writing[i] || !f->alike[i])
			continue;
		err = begin_leg(f->m->legs[i], f->c, &half[count]);
		if (err == -EAGAIN)
			continue;
		f->errors[1 + i] = err;
		if (!err) {
			leg[count] = i;
			all[1 + count] = half[count].request;
			count++;
		}
		f->writing[i] = false;
	}
	rings_do(f->d->tandem->rings, all, 1 + count);
	for (size_t k = 0; k < count; k++) {
		half[k].request.err = all[1 + k].err;
		f->errors[1 + leg[k]] = disk_end_write(&half[k]);
	}
	f->errors[0] = all[0].err;
	f->source_done = true;
}

/* Where all of it differs there is nothing to do for a target now, and no other thread to wake for that. */
static void look_at_leg(struct fan *f, size_t i)
{
	struct leg *leg = f->m->legs[i];
	const struct change *c = f->c;
	uint64_t run;
	bool differs = marks_differs(leg->marks, c->off, c->len, &run), one = run >= c->len;

	f->alike[i] = one && !differs;
	if (one && differs && c->off + c->len <= disk_size(leg->to)) {
		f->left_out[i] = true;
		f->writing[i] = false;
	}
}

static size_t legs_left(const struct fan *f)
{
	size_t left = 0;

	for (size_t i = 0; i < f->m->count; i++)
		left += f->writing[i];
	return left;
}

static void fan_out(struct fan *f)
{
	size_t left;

	for (size_t i = 0; i < f->m->count && f->c; i++)
		if (f->writing[i])
			look_at_leg(f, i);
	left = legs_left(f);
	if (left) {
		write_together(f);
		left = legs_left(f);
	}
	if (left) {
		bool many = atomic_fetch_add(&f->m->under_way, 1) >= FEW;

		crew_run(many ? NULL : f->d->tandem->crew, 1 + f->m->count, fan_step, f);
		atomic_fetch_sub(&f->m->under_way, 1);
	} else if (!f->source_done) {
		fan_step(f, 0);
	}
	for (size_t i = 0; i < f->m->count; i++)
		if (f->errors[1 + i])
			leg_lose(f->m->legs[i], f->errors[1 + i]);
}

/* What is new there is zeros on both sides only if they end at the same place. */
static bool grows_alike(const struct leg *leg, uint64_t from)
{
	return is_writing(leg) && disk_size(leg->to) == from;
}

/*
 * With everything from the end of the disk on locked, if it is to grow. Else they did not when it did,
 * and several may find that at once.
 */
static int fit_marks(struct leg *leg, const struct disk *d, const struct change *c)
{
	uint64_t end = c->off + c->len, has = marks_size(leg->marks), size = d->image->size;
	bool alike;

	if (end <= has)
		return 0;
	alike = has == size && grows_alike(leg, has);
	return marks_grow(leg->marks, end > size ? end : size, !alike);
}

static void look_at_limit(struct leg *leg)
{
	uint64_t limit = atomic_load(&leg->limit);

	if (limit && marks_bytes(leg->marks) > limit && atomic_exchange(&leg->limit, 0))
		leg->lost(leg->owner);
}

/* It is answered when the source has it, and sent. */
static bool goes_later(struct leg *leg, const struct disk *d, const struct change *c)
{
	uint64_t end = c->off + c->len, run;

	return atomic_load(&leg->at_flush) && is_writing(leg) &&
	       (!c->buf || c->len <= SENDER_MOST) && end <= d->image->size &&
	       end <= disk_size(leg->to) && !marks_differs(leg->marks, c->off, c->len, &run) &&
	       run == c->len;
}

/* Nothing is written before it is marked, nor to a target before what it was sent. */
static int begin(struct fan *f, size_t i)
{
	struct leg *leg = f->m->legs[i];
	int err = leg->stops && atomic_load(&leg->failed) ? -EIO : fit_marks(leg, f->d, f->c);

	if (!err)
		err = marks_begin(leg->marks, f->c->off, f->c->len, &f->turns[i]);
	if (err)
		return err;
	f->later[i] = goes_later(leg, f->d, f->c);
	if (!f->later[i])
		sender_wait(leg->sender);
	f->given[i] = f->later[i] || is_writing(leg);
	f->writing[i] = f->given[i] && !f->later[i];
	if (!f->given[i]) {
		marks_set(leg->marks, f->c->off, f->c->len);
		look_at_limit(leg);
	}
	return 0;
}

/* It did not grow. */
static void take_back(struct disk *d, struct mirror *m, const struct change *c)
{
	uint64_t size = d->image->size;

	for (size_t i = 0; i < m->count && c->off + c->len > size; i++)
		if (marks_size(m->legs[i]->marks) > size)
			marks_resize(m->legs[i]->marks, size, false);
}

/*
 * What its target was not given is not answered before that is durable. Where it cannot be made so,
 * the client gets an error, and what became of his write is open.
 */
static int end_leg(struct fan *f, size_t i, bool failed)
{
	struct leg *leg = f->m->legs[i];
	int lost = f->errors[1 + i], err = 0;

	/* What the source holds now nobody knows; the targets may have it. */
	if (failed)
		marks_set(leg->marks, f->c->off, f->c->len);
	else if (leg->stops && lost)
		err = -EIO;
	else if (lost || !f->given[i] || f->left_out[i])
		err = marks_outdate(leg->marks, f->left_out[i] ? MIXED : OUTDATED);
	if (!failed && f->left_out[i])
		atomic_store(&leg->lacks, true);
	marks_end(leg->marks, f->turns[i]);
	if (failed)
		leg->lost(leg->owner);
	return err;
}

/* The source has it. Where there is no memory for it, it is written while the client waits. */
static void send_later(struct fan *f, size_t i)
{
	struct leg *leg = f->m->legs[i];
	struct sender *s = leg->sender;
	int err;

	if (sender_send(s, f->c, f->turns[i]))
		return;
	f->later[i] = false;
	sender_wait(s);
	f->given[i] = is_writing(leg);
	if (!f->given[i]) {
		marks_set(leg->marks, f->c->off, f->c->len);
		return;
	}
	err = leg_change(leg, f->c, &f->left_out[i]);
	if (err)
		leg_lose(leg, err);
	f->errors[1 + i] = err;
}

static int change_source(struct disk *d, struct mirror *m, const struct change *c)
{
	struct fan f = { .d = d, .m = m, .c = c };
	size_t begun = 0;
	int err = 0, refused = 0;

	while (!err && begun < m->count) {
		err = begin(&f, begun);
		begun += !err;
	}
	if (!err) {
		fan_out(&f);
		err = f.errors[0];
	}
	for (size_t i = 0; i < begun; i++) {
		if (f.later[i] && !err)
			send_later(&f, i);
		else
			f.later[i] = false;
	}
	for (size_t i = 0; i < begun; i++)
		if (!f.later[i])
			refused = end_leg(&f, i, err != 0) ?: refused;
	if (err)
		take_back(d, m, c);
	return err ? err : refused;
}

/* By a client, which is allowed to: the two will not be the same any more. */
static int mark_target(struct leg *leg, uint64_t off, uint64_t len)
{
	uint64_t size = marks_size(leg->marks);
	unsigned turn;
	int err = leg->skewed(leg->owner);

	/* What lies behind the source's end is cut off, or marked, when it is copied again. */
	if (err || off >= size)
		return err;
	if (len > size - off)
		len = size - off;
	err = marks_begin(leg->marks, off, len, &turn);
	if (err)
		return err;
	marks_set(leg->marks, off, len);
	marks_end(leg->marks, turn);
	return 0;
}

bool mirror_has_work(struct disk *d)
{
	struct mirror *m = atomic_load(&d->mirror);
	struct leg *of = m ? atomic_load(&m->of) : NULL;

	return m && (m->count || (of && atomic_load(&of->skews)));
}

int mirror_change(struct disk *d, struct mirror *m, const struct change *c)
{
	struct leg *of = atomic_load(&m->of);
	int err = of && atomic_load(&of->skews) ? mark_target(of, c->off, c->len) : 0;

	if (err)
		return err;
	return m->count ? change_source(d, m, c) : disk_apply(d, c);
}

int mirror_may_resize(struct mirror *m, uint64_t from, uint64_t to)
{
	struct leg *of = atomic_load(&m->of);
	uint64_t first = from < to ? from : to;

	return of && atomic_load(&of->skews) ? mark_target(of, first, UINT64_MAX - first) : 0;
}

/*
 * A crash between leaves a target of another size, which is found when it is opened next;
 * and what is new differs until it has it.
 */
static int resize_leg(struct leg *leg, uint64_t from, uint64_t size)
{
	bool writing, alike;
	unsigned turn;
	int err;

	sender_wait(leg->sender);
	writing = is_writing(leg);
	alike = grows_alike(leg, from);
	err = marks_resize(leg->marks, size, true);
	if (!err && writing)
		err = leg_fit(leg, leg->to, size);
	if (err || size <= from || !alike)
		return err;
	err = marks_begin(leg->marks, from, size - from, &turn);
	if (err)
		return err;
	marks_clear(leg->marks, from, size - from);
	marks_end(leg->marks, turn);
	return 0;
}

int mirror_resized(struct disk *d, struct mirror *m, uint64_t from)
{
	for (size_t i = 0; i < m->count; i++) {
		int err = resize_leg(m->legs[i], from, d->image->size);

		if (err)
			leg_lose(m->legs[i], err);
		else
			m->legs[i]->lost(m->legs[i]->owner); /* there may be something to copy */
	}
	return mirror_remember(m);
}

int mirror_remember(struct mirror *m)
{
	int err = 0;

	/* One that writes and is not open is not in use: it was flushed when it was closed. */
	for (size_t i = 0; i < m->count; i++) {
		struct leg *leg = m->legs[i];
		bool missed;

		if (atomic_load(&leg->failed))
			sender_wait(leg->sender); /* what it misses is known then */
		missed = atomic_load(&leg->missed);
		if (missed || !leg->writes || atomic_load(&leg->failed))
			err = marks_outdate(leg->marks, missed ? MIXED : OUTDATED) ?: err;
		/* What was answered is not to be safe without its target, which has it when nothing differs; of one that was stopped nobody waits for that. */
		if (missed && leg->stops && (leg->writes || atomic_load(&leg->failed)) &&
		    (marks_bytes(leg->marks) || atomic_load(&leg->owes)))
			err = err ? err : -EIO;
	}
	return err;
}

int mirror_flush(struct disk *d, struct mirror *m, int (*flush)(struct disk *d))
{
	struct fan f = { .d = d, .m = m, .flush = flush };

	for (size_t i = 0; i < m->count; i++) {
		struct leg *leg = m->legs[i];

		atomic_store(&leg->owes, atomic_load(&leg->missed) && marks_bytes(leg->marks));
		f.writing[i] = has_to_flush(leg);
	}
	fan_out(&f);
	for (size_t i = 0; i < m->count; i++)
		if (f.errors[1 + i] && m->legs[i]->stops)
			return f.errors[0] ? f.errors[0] : -EIO;
	return f.errors[0];
}

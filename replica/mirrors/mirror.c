// SPDX-License-Identifier: GPL-2.0-or-later
#include "mirror.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crew.h"
#include "rings.h"
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
	int err = end > disk_size(leg->to) ? disk_resize(leg->to, end, false) : 0;

	for (; !err && off < end; off += run) {
		if (!marks_differs(leg->marks, off, end - off, &run))
			err = leg_write(leg, c, off, run);
		else
			*left_out = true;
	}
	return err;
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
		f->errors[i] = f->flush ? disk_flush(leg->to)
					: leg_change(leg, f->c, &f->left_out[i - 1]);
	return 0; /* one that fails stops no other */
}

/* -EAGAIN: it takes more than a write of the target. */
static int begin_leg(struct leg *leg, const struct change *c, struct half_write *w)
{
	struct change copy = *c;
	uint64_t run;

	copy.io &= IO_DIRECT;
	if (marks_differs(leg->marks, c->off, c->len, &run) || run < c->len)
		return -EAGAIN;
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
		int err = f->writing[i] ? begin_leg(f->m->legs[i], f->c, &half[count]) : 0;

		if (err == -EAGAIN)
			continue;
		f->errors[1 + i] = err;
		if (f->writing[i] && !err) {
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

static void fan_out(struct fan *f)
{
	size_t left = 0;

	write_together(f);
	for (size_t i = 0; i < f->m->count; i++)
		left += f->writing[i];
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

/* With everything from the end of the disk on locked, if it is to grow. */
static int fit_marks(struct leg *leg, const struct change *c)
{
	uint64_t end = c->off + c->len, has = marks_size(leg->marks);

	return end > has ? marks_resize(leg->marks, end, !grows_alike(leg, has)) : 0;
}

static void look_at_limit(struct leg *leg)
{
	uint64_t limit = atomic_load(&leg->limit);

	if (limit && marks_bytes(leg->marks) > limit && atomic_exchange(&leg->limit, 0))
		leg->lost(leg->owner);
}

/* Nothing is written before it is marked. */
static int begin(struct fan *f, size_t i)
{
	struct leg *leg = f->m->legs[i];
	int err = leg->stops && atomic_load(&leg->failed) ? -EIO : fit_marks(leg, f->c);

	if (!err)
		err = marks_begin(leg->marks, f->c->off, f->c->len, &f->turns[i]);
	if (err)
		return err;
	f->writing[i] = f->given[i] = is_writing(leg);
	if (!f->writing[i]) {
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
	for (size_t i = 0; i < begun; i++)
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
	bool writing = is_writing(leg), alike = grows_alike(leg, from);
	unsigned turn;
	int err = marks_resize(leg->marks, size, true);

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
	for (size_t i = 0; i < m->count; i++)
		if (!m->legs[i]->writes || atomic_load(&m->legs[i]->failed))
			err = marks_outdate(m->legs[i]->marks, OUTDATED) ?: err;
	return err;
}

int mirror_flush(struct disk *d, struct mirror *m, int (*flush)(struct disk *d))
{
	struct fan f = { .d = d, .m = m, .flush = flush };

	for (size_t i = 0; i < m->count; i++)
		f.writing[i] = is_writing(m->legs[i]);
	fan_out(&f);
	for (size_t i = 0; i < m->count; i++)
		if (f.errors[1 + i] && m->legs[i]->stops)
			return f.errors[0] ? f.errors[0] : -EIO;
	return f.errors[0];
}

/* ---- in use, and not ---- */

static int mark(struct leg *leg, uint64_t off, uint64_t end)
{
	unsigned turn;
	int err = off < end ? marks_begin(leg->marks, off, end - off, &turn) : 0;

	if (!err && off < end) {
		marks_set(leg->marks, off, end - off);
		marks_end(leg->marks, turn);
	}
	return err;
}

int leg_fit(struct leg *leg, struct disk *to, uint64_t size)
{
	uint64_t has = disk_size(to), known = marks_size(leg->marks);
	int err;

	if (has > size) {
		disk_resize(to, size, true);
		return 0;
	}
	if (has == size)
		return 0;
	err = mark(leg, has, size < known ? size : known);
	return err ? err : disk_resize(to, size, false);
}

static int open_target(struct disk *d, struct leg *leg, struct disk **out)
{
	struct disk *to = tandem_disk_numbered(d->tandem, leg->target);
	int err = to ? disk_open_target(to) : -ENOENT;

	if (!err) {
		err = leg_fit(leg, to, d->image->size);
		if (err)
			disk_close(to);
	}
	if (err)
		disk_unref(to);
	else
		*out = to;
	return err;
}

void mirror_open(struct disk *d)
{
	struct mirror *m = atomic_load(&d->mirror);

	for (size_t i = 0; m && i < m->count; i++) {
		struct leg *leg = m->legs[i];
		struct disk *to = NULL;
		int err = leg->writes && !leg->to ? open_target(d, leg, &to) : 0;

		if (err)
			leg_lose(leg, err);
		pthread_mutex_lock(&d->flushing);
		if (to)
			leg->to = to;
		pthread_mutex_unlock(&d->flushing);
	}
}

static struct disk *take_target(struct disk *d, struct leg *leg)
{
	struct disk *to;

	pthread_mutex_lock(&d->flushing);
	to = leg->to;
	leg->to = NULL;
	pthread_mutex_unlock(&d->flushing);
	return to;
}

static void close_target(struct disk *to)
{
	if (!to)
		return;
	disk_close(to);
	disk_unref(to);
}

void mirror_close(struct disk *d)
{
	struct mirror *m = atomic_load(&d->mirror);

	for (size_t i = 0; m && i < m->count; i++)
		close_target(take_target(d, m->legs[i]));
}

/* ---- changes of legs ---- */

/* Nobody uses them: see the head of mirror.h. */
static void lock_all(struct disk *d, struct range *whole)
{
	pthread_mutex_lock(&d->opening);
	range_lock_write(&d->ranges, whole, 0, UINT64_MAX);
	pthread_mutex_lock(&d->flushing);
}

static void unlock_all(struct disk *d, struct range *whole)
{
	pthread_mutex_unlock(&d->flushing);
	range_unlock(&d->ranges, whole);
	pthread_mutex_unlock(&d->opening);
}

int mirror_add(struct disk *d, struct leg *leg)
{
	struct mirror *m = mirror_of(d);
	struct range whole;
	int err = m ? 0 : -ENOMEM;

	if (err)
		return err;
	lock_all(d, &whole);
	if (m->count == MIRROR_LEGS_MAX)
		err = -EBUSY;
	else if (marks_size(leg->marks) != d->image->size)
		err = marks_resize(leg->marks, d->image->size, true);
	if (!err)
		m->legs[m->count++] = leg;
	unlock_all(d, &whole);
	return err;
}

struct disk *mirror_take_out(struct disk *d, struct leg *leg)
{
	struct mirror *m = atomic_load(&d->mirror);
	struct disk *to = NULL;
	size_t kept = 0;

	for (size_t i = 0; i < m->count; i++)
		if (m->legs[i] != leg)
			m->legs[kept++] = m->legs[i];
	if (kept < m->count)
		to = leg->to;
	m->count = kept;
	leg->to = NULL;
	leg->writes = false;
	return to;
}

void mirror_remove(struct disk *d, struct leg *leg)
{
	struct disk *to;
	struct range whole;

	if (!atomic_load(&d->mirror))
		return;
	lock_all(d, &whole);
	to = mirror_take_out(d, leg);
	unlock_all(d, &whole);
	close_target(to);
}

bool mirror_set(struct disk *d, struct leg *leg, struct disk *to)
{
	struct range whole;
	struct disk *old;
	bool same;

	lock_all(d, &whole);
	same = leg->writes && !atomic_load(&leg->failed) &&
	       (atomic_load(&leg->parted) || !marks_bytes(leg->marks));
	atomic_store(&leg->parted, false);
	old = leg->to;
	leg->to = to;
	leg->writes = to != NULL;
	if (to) {
		/* It was written while nothing was given to the target. */
		if (marks_bytes(leg->marks))
			atomic_store(&leg->lacks, true);
		atomic_store(&leg->error, 0);
		atomic_store(&leg->failed, false);
	}
	unlock_all(d, &whole);
	close_target(old);
	return same;
}

/* ---- legs of several disks ---- */

int mirror_part(struct leg *const *legs, struct disk *const *sources, size_t count, size_t *which)
{
	struct range *whole = calloc(count + 1, sizeof(*whole));
	int err = whole ? 0 : -ENOMEM;

	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		if (!i || sources[i] != sources[i - 1])
			range_lock_write(&sources[i]->ranges, &whole[i], 0, UINT64_MAX);
	for (size_t i = 0; i < count && !err; i++) {
		*which = i;
		if (!legs[i]->writes || atomic_load(&legs[i]->failed) ||
		    marks_bytes(legs[i]->marks))
			err = -EAGAIN;
	}
	for (size_t i = 0; i < count && !err; i++)
		atomic_store(&legs[i]->parted, true);
	for (size_t i = count; i-- > 0;)
		if (!i || sources[i] != sources[i - 1])
			range_unlock(&sources[i]->ranges, &whole[i]);
	free(whole);
	return err;
}

void mirror_rejoin(struct disk *source, struct leg *leg)
{
	struct range whole;

	range_lock_write(&source->ranges, &whole, 0, UINT64_MAX);
	if (atomic_exchange(&leg->parted, false) && marks_bytes(leg->marks))
		atomic_store(&leg->lacks, true);
	range_unlock(&source->ranges, &whole);
	leg->lost(leg->owner); /* there may be something to copy */
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Legs come, go, get another target, and stop at one instant. What they were sent arrives first. */
#include <errno.h>
#include <stdlib.h>

#include "mirror.h"
#include "sender.h"
#include "tandem.h"

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

int leg_grow(struct leg *leg, struct disk *to, uint64_t size)
{
	int err = disk_resize(to, size, false);

	return err || !leg->full ? err : file_take_space(to->image->file);
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
	return err ? err : leg_grow(leg, to, size);
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
	struct leg *of = m ? atomic_load(&m->of) : NULL;

	atomic_store(&d->image->keeps_space, of && of->full);
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

	for (size_t i = 0; m && i < m->count; i++) {
		sender_wait(m->legs[i]->sender);
		close_target(take_target(d, m->legs[i]));
	}
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

int mirror_fit_marks(struct disk *d, struct leg *leg)
{
	struct range whole;
	int err = 0;

	if (marks_size(leg->marks) == disk_size(d))
		return 0;
	sender_wait(leg->sender); /* most of it before anybody has to wait */
	lock_all(d, &whole);
	sender_wait(leg->sender);
	if (marks_size(leg->marks) != d->image->size)
		err = marks_resize(leg->marks, d->image->size, true);
	unlock_all(d, &whole);
	return err;
}

struct disk *mirror_take_out(struct disk *d, struct leg *leg)
{
	struct mirror *m = atomic_load(&d->mirror);
	struct disk *to = NULL;
	size_t kept = 0;

	sender_wait(leg->sender);
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
	sender_wait(leg->sender);
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

	sender_wait(leg->sender); /* most of it before anybody has to wait */
	lock_all(d, &whole);
	sender_wait(leg->sender);
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
	/* Most of it before anybody has to wait. */
	for (size_t i = 0; i < count; i++)
		sender_wait(legs[i]->sender);
	for (size_t i = 0; i < count; i++)
		if (!i || sources[i] != sources[i - 1])
			range_lock_write(&sources[i]->ranges, &whole[i], 0, UINT64_MAX);
	for (size_t i = 0; i < count && !err; i++) {
		*which = i;
		sender_wait(legs[i]->sender);
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

void mirror_settle(struct disk *source)
{
	struct mirror *m = atomic_load(&source->mirror);

	for (size_t i = 0; m && i < m->count; i++)
		sender_wait(m->legs[i]->sender);
}

void mirror_drain(struct disk *source, struct leg *leg)
{
	struct range whole;

	sender_wait(leg->sender);
	range_lock_write(&source->ranges, &whole, 0, UINT64_MAX);
	sender_wait(leg->sender);
	range_unlock(&source->ranges, &whole);
}

void mirror_acknowledge(struct disk *source, struct leg *leg, bool at_flush)
{
	atomic_store(&leg->at_flush, at_flush);
	if (!at_flush && source)
		mirror_drain(source, leg);
}

/* A leg is there as long as its disks are. */
static struct leg *leg_to(struct disk *target)
{
	struct mirror *m = atomic_load(&target->mirror);

	return m ? atomic_load(&m->of) : NULL;
}

void mirror_arrive(struct disk *target)
{
	struct leg *of = leg_to(target);
	struct disk *source = of ? tandem_disk_numbered(target->tandem, of->source) : NULL;

	if (source)
		mirror_arrive(source);
	if (of)
		sender_wait(of->sender);
	disk_unref(source);
}

uint64_t mirror_busy(struct disk *target)
{
	struct leg *of = leg_to(target);

	return of ? sender_busy(of->sender) : 0;
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

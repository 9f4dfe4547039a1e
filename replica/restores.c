// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Restores of disks, each with a thread that fills what it serves already. In this
 * order, with the whole disk's range locked, so that no write is between:
 *
 *   everything settled and flushed -> the snapshot of what is replaced, recorded
 *   -> the restore, recorded -> the old content is served
 *
 * and at its end: every block filled, D -> its record goes -> its moments may go.
 * A crash between leaves a snapshot more, or a restore that goes on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clones_inner.h"

#define RETRY_NS 1000000000ull

struct restorer {
	struct restorer *next;
	struct disk *d;                 /* open, and a reference */
	struct history_restore restore; /* both moments pinned */
	pthread_t thread;
	_Atomic uint64_t done, total;
	_Atomic bool over; /* only its thread is still to be joined */
};

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

static void tell_begun(struct restorer *r)
{
	char object[DISK_LABEL_MAX + 8];

	events_emit(r->d->tandem->events, EVENT_INFORMATION, "JobStarted",
		    disk_object(r->d, object, sizeof(object)), "Operation=RestoreTo Moment=g%llu",
		    (unsigned long long)r->restore.from);
	snapshots_changed(r->d->tandem, r->d);
}

static void tell_ended(struct restorer *r)
{
	char object[DISK_LABEL_MAX + 8];

	events_emit(r->d->tandem->events, EVENT_INFORMATION, "JobEnded",
		    disk_object(r->d, object, sizeof(object)),
		    "Operation=RestoreTo Moment=g%llu JobState=Completed",
		    (unsigned long long)r->restore.from);
	snapshots_changed(r->d->tandem, r->d);
}

/* ---- the thread ---- */

static bool progress(void *arg, uint64_t bytes)
{
	struct restorer *r = arg;

	atomic_store(&r->done, bytes);
	return true;
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

static void *run(void *arg)
{
	static const struct timespec pause = { RETRY_NS / 1000000000, RETRY_NS % 1000000000 };
	struct restorer *r = arg;
	int err;

	measure(r);
	do {
		err = history_fill(atomic_load(&r->d->history), progress, r);
		if (!err)
			err = conclude(r);
		if (err)
			nanosleep(&pause, NULL); /* of what fails the disk tells itself */
	} while (err && !atomic_load(&r->d->tandem->snapshots->ending));
	moment_unpin(r->d, r->restore.before);
	moment_unpin(r->d, r->restore.from);
	atomic_store(&r->over, true);
	if (!err)
		tell_ended(r);
	disk_close(r->d);
	return NULL;
}

/* It has the disk open, and both moments pinned. */
static int start(struct disk *d, const struct history_restore *restore)
{
	struct snapshots *s = d->tandem->snapshots;
	struct restorer *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->d = disk_ref(d);
	r->restore = *restore;
	tell_begun(r);
	pthread_mutex_lock(&s->restoring);
	if (pthread_create(&r->thread, NULL, run, r)) {
		pthread_mutex_unlock(&s->restoring);
		disk_unref(r->d);
		free(r);
		return -EAGAIN;
	}
	r->next = s->restorers;
	s->restorers = r;
	pthread_mutex_unlock(&s->restoring);
	return 0;
}

/* Under restoring. */
static struct restorer *find(struct snapshots *s, const struct disk *d)
{
	struct restorer *r = s->restorers;

	while (r && (r->d != d || atomic_load(&r->over)))
		r = r->next;
	return r;
}

/* Waits for those of a disk, or (NULL) of all. */
static void end(struct snapshots *s, const struct disk *d)
{
	struct restorer **link, *r;

	pthread_mutex_lock(&s->restoring);
	for (link = &s->restorers; (r = *link);) {
		if (d && r->d != d) {
			link = &r->next;
			continue;
		}
		*link = r->next;
		pthread_mutex_unlock(&s->restoring);
		pthread_join(r->thread, NULL);
		disk_unref(r->d);
		free(r);
		pthread_mutex_lock(&s->restoring);
		link = &s->restorers;
	}
	pthread_mutex_unlock(&s->restoring);
}

void restores_end(struct snapshots *s)
{
	atomic_store(&s->ending, true);
	end(s, NULL);
}

bool restore_progress(struct disk *d, uint64_t *done, uint64_t *total)
{
	struct snapshots *s = d->tandem->snapshots;
	struct restorer *r;

	pthread_mutex_lock(&s->restoring);
	r = find(s, d);
	*done = r ? atomic_load(&r->done) : 0;
	*total = r ? atomic_load(&r->total) : 0;
	pthread_mutex_unlock(&s->restoring);
	return r != NULL;
}

/* ---- beginning ---- */

/* With the whole range locked: nothing is pending, nothing unflushed, and nobody writes. */
static int quiet(struct disk *d)
{
	int err = history_settle(atomic_load(&d->history));

	return err ? err : disk_flush(d);
}

/* The disk is open, `from` pinned. */
static int switch_over(struct disk *d, uint64_t from, const char *name,
		       struct snapshot_facts *before, struct why *why)
{
	static const struct history_restore none;
	struct history *h = atomic_load(&d->history);
	struct history_restore restore = { .from = from };
	struct range whole;
	int err;

	range_lock_write(&d->ranges, &whole, 0, UINT64_MAX);
	err = quiet(d);
	if (!err)
		err = tandem_snapshot(d->tandem, &d, 1, name, false, before, why);
	if (!err)
		err = moment_pin(d, before->generation);
	if (!err) {
		restore.before = before->generation;
		history_set_restore(h, &restore);
		err = past_record(d, h);
		if (!err)
			err = start(d, &restore);
		if (err) {
			history_set_restore(h, &none);
			past_record(d, h);
			moment_unpin(d, restore.before);
		}
	}
	range_unlock(&d->ranges, &whole);
	return err;
}

/* A disk is as long as it was, at least: what is longer stays, and is zeros. */
static int long_enough(struct disk *d, uint64_t generation)
{
	struct moment_record m;
	int err = moment_exactly(d, generation, &m);

	return !err && m.size > disk_size(d) ? disk_resize(d, m.size, false) : err;
}

static int begin(struct disk *d, uint64_t from, const char *name, struct snapshot_facts *before,
		 struct why *why)
{
	int err = disk_open(d, true);

	if (err)
		return refuse(why, err, "%s cannot be opened for writing: %s", d->label,
			      strerror(-err));
	err = moment_pin(d, from);
	if (!err) {
		err = long_enough(d, from);
		if (!err)
			err = switch_over(d, from, name, before, why);
		if (err)
			moment_unpin(d, from);
	}
	if (err) {
		disk_close(d);
		if (!why->message[0])
			refuse(why, err, "%s", strerror(-err));
	}
	return err;
}

static int check(struct disk *d, uint64_t from, bool force, struct why *why)
{
	struct moment_record m;
	unsigned openers;
	int err = past_check_disk(d, why);

	if (err)
		return err;
	if (disk_is_clone(d))
		return refuse_advise(why, -EBUSY, "wait until it is filled",
				     "%s is a clone that is not filled yet", d->label);
	err = moment_exactly(d, from, &m);
	if (err)
		return refuse(why, err, "g%llu is not kept", (unsigned long long)from);
	pthread_mutex_lock(&d->lock);
	openers = d->openers;
	pthread_mutex_unlock(&d->lock);
	if (openers && !force)
		return refuse_advise(why, -EBUSY, "close it, or RestoreTo with Force",
				     "%s is open (%u): who has it open would see it change",
				     d->label, openers);
	return 0;
}

static void name_for(char name[SNAPSHOT_NAME_MAX + 1], uint64_t now_ms)
{
	time_t now = now_ms / 1000;
	struct tm tm;

	gmtime_r(&now, &tm);
	snprintf(name, SNAPSHOT_NAME_MAX + 1, "before-restore-%04d%02d%02dT%02d%02d%02d.%03dZ",
		 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		 (int)(now_ms % 1000));
}

int tandem_restore(struct tandem *t, struct disk *d, uint64_t generation, bool force, bool plan,
		   struct snapshot_facts *before, struct why *why)
{
	char name[SNAPSHOT_NAME_MAX + 1];
	int err = check(d, generation, force, why);

	*before = (struct snapshot_facts){ 0 };
	if (err || plan)
		return err;
	/* One that has ended is still in the list. */
	end(t->snapshots, d);
	name_for(name, past_now(t->snapshots));
	return begin(d, generation, name, before, why);
}

/* ---- at the start ---- */

int restore_resume(struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	struct history_restore restore = h ? history_restore(h) : (struct history_restore){ 0 };
	int err;

	if (!restore.before)
		return 0;
	err = disk_open(d, true);
	if (err)
		return err;
	err = moment_pin(d, restore.from);
	if (!err) {
		err = moment_pin(d, restore.before);
		if (!err) {
			err = start(d, &restore);
			if (err)
				moment_unpin(d, restore.before);
		}
		if (err)
			moment_unpin(d, restore.from);
	}
	if (err)
		disk_close(d);
	return err;
}

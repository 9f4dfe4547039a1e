// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Restores of disks, each with a thread that fills what it serves already. They begin
 * in this order, with the whole ranges of all disks locked, so that no write is between:
 *
 *   everything settled and flushed -> the snapshots of what is replaced, of one
 *   moment, recorded -> the restores, recorded in one transaction -> the old
 *   content is served
 *
 * and at the end of each: every block filled, D -> its record goes -> its moments may go.
 * A crash between leaves snapshots more, or restores that go on.
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
	bool cancelled;    /* set before its range is free: it never began */
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

static void tell_begun(struct disk *d, uint64_t from)
{
	char object[DISK_LABEL_MAX + 8];

	events_emit(d->tandem->events, EVENT_INFORMATION, "JobStarted",
		    disk_object(d, object, sizeof(object)), "Operation=RestoreTo Moment=g%llu",
		    (unsigned long long)from);
	snapshots_changed(d->tandem, d);
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

/* Until whoever begins it knows whether it is recorded. */
static bool is_begun(struct restorer *r)
{
	struct range first;

	range_lock_read(&r->d->ranges, &first, 0, 1);
	range_unlock(&r->d->ranges, &first);
	return !r->cancelled;
}

static void follow(struct restorer *r)
{
	static const struct timespec pause = { RETRY_NS / 1000000000, RETRY_NS % 1000000000 };
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
}

static void *run(void *arg)
{
	struct restorer *r = arg;

	if (is_begun(r))
		follow(r);
	else
		atomic_store(&r->over, true);
	return NULL;
}

/*
 * Its thread. If it is not to wait for its range, the restore is recorded, the disk
 * open, and both moments are pinned.
 */
static int start(struct disk *d, const struct history_restore *restore, struct restorer **out)
{
	struct snapshots *s = d->tandem->snapshots;
	struct restorer *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->d = disk_ref(d);
	r->restore = *restore;
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

/* Disks that go back together. */
struct switching {
	struct tandem *t;
	struct one {
		struct disk *d;
		uint64_t from;
		size_t place; /* as the caller has it */
		struct range whole;
		struct restorer *r; /* NULL: it has no thread */
		bool set;           /* the old content is served */
	} * all;                    /* by number, as ranges are locked */
	size_t count, opened, locked;
	struct disk **disks;           /* the same */
	struct snapshot_facts *before; /* likewise */
};

static int by_number(const void *a, const void *b)
{
	const struct one *x = a, *y = b;

	return x->d->number < y->d->number ? -1 : x->d->number > y->d->number;
}

static int switching_init(struct switching *w, struct tandem *t, struct disk *const *disks,
			  const uint64_t *from, size_t count)
{
	*w = (struct switching){ .t = t, .count = count };
	w->all = calloc(count + 1, sizeof(*w->all));
	w->disks = calloc(count + 1, sizeof(*w->disks));
	w->before = calloc(count + 1, sizeof(*w->before));
	if (!w->all || !w->disks || !w->before)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		w->all[i] = (struct one){ .d = disks[i], .from = from[i], .place = i };
	qsort(w->all, count, sizeof(*w->all), by_number);
	for (size_t i = 0; i < count; i++)
		w->disks[i] = w->all[i].d;
	return 0;
}

static void switching_free(struct switching *w)
{
	free(w->all);
	free(w->disks);
	free(w->before);
}

/* A disk is as long as it was, at least: what is longer stays, and is zeros. */
static int long_enough(struct disk *d, uint64_t generation)
{
	struct moment_record m;
	int err = moment_exactly(d, generation, &m);

	return !err && m.size > disk_size(d) ? disk_resize(d, m.size, false) : err;
}

static int open_one(struct one *o, struct why *why)
{
	int err = disk_open(o->d, true);

	if (err)
		return refuse(why, err, "%s cannot be opened for writing: %s", o->d->label,
			      strerror(-err));
	err = moment_pin(o->d, o->from);
	if (!err) {
		err = long_enough(o->d, o->from);
		if (err)
			moment_unpin(o->d, o->from);
	}
	if (!err) /* most of it before anybody has to wait */
		history_settle(atomic_load(&o->d->history));
	else
		disk_close(o->d);
	return err ? refuse(why, err, "%s: %s", o->d->label, strerror(-err)) : 0;
}

static int open_all(struct switching *w, struct why *why)
{
	int err = 0;

	while (!err && w->opened < w->count) {
		err = open_one(&w->all[w->opened], why);
		w->opened += !err;
	}
	return err;
}

static void close_all(struct switching *w)
{
	for (size_t i = 0; i < w->opened; i++) {
		moment_unpin(w->all[i].d, w->all[i].from);
		disk_close(w->all[i].d);
	}
}

/* With the ranges locked: nothing is pending, nothing unflushed, and nobody writes. */
static int quiet_all(struct switching *w, struct why *why)
{
	int err = 0;

	for (size_t i = 0; i < w->count && !err; i++) {
		struct disk *d = w->all[i].d;

		err = history_settle(atomic_load(&d->history)) ?: disk_flush(d);
		if (err)
			refuse(why, err, "%s cannot be completed: %s", d->label, strerror(-err));
	}
	return err;
}

static int record_all(struct switching *w)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin(w->t->catalogue, &txn);

	if (err)
		return err;
	for (size_t i = 0; i < w->count; i++) {
		struct track_record track;

		history_record(atomic_load(&w->all[i].d->history), &track);
		track_put(txn, w->all[i].d->number, &track);
	}
	return catalogue_commit(txn);
}

static int set_one(struct one *o, uint64_t before)
{
	struct history_restore restore = { .from = o->from, .before = before };
	struct history *h = atomic_load(&o->d->history);
	int err = moment_pin(o->d, before);

	if (err)
		return err;
	err = start(o->d, &restore, &o->r);
	if (err) {
		moment_unpin(o->d, before);
		return err;
	}
	history_set_restore(h, &restore);
	o->set = true;
	return 0;
}

/* Nothing of it is left: what they were served instead nobody has seen. */
static void take_back(struct switching *w)
{
	static const struct history_restore none;
	struct why ignored;

	for (size_t i = 0; i < w->count; i++) {
		if (!w->all[i].set)
			continue;
		w->all[i].r->cancelled = true;
		history_set_restore(atomic_load(&w->all[i].d->history), &none);
	}
	record_all(w); /* a settler may have recorded what it found set */
	for (size_t i = 0; i < w->count; i++) {
		if (w->all[i].set)
			moment_unpin(w->all[i].d, w->before[i].generation);
		tandem_delete_snapshot(w->t, w->before[i].number, false, false, &ignored);
	}
}

/* With the ranges locked. */
static int switch_all(struct switching *w, const char *name, struct why *why)
{
	int err = quiet_all(w, why);

	if (!err)
		err = tandem_snapshot(w->t, w->disks, w->count, name, false, w->before, why);
	if (err)
		return err;
	for (size_t i = 0; i < w->count && !err; i++)
		err = set_one(&w->all[i], w->before[i].generation);
	if (!err)
		err = record_all(w);
	if (err) {
		refuse(why, err, "it cannot be begun: %s", strerror(-err));
		take_back(w);
	}
	return err;
}

/* All or none. */
static int begin_all(struct switching *w, const char *name, struct why *why)
{
	int err = open_all(w, why);

	for (; !err && w->locked < w->count; w->locked++)
		range_lock_write(&w->disks[w->locked]->ranges, &w->all[w->locked].whole, 0,
				 UINT64_MAX);
	if (!err)
		err = switch_all(w, name, why);
	/* Before its range is free: its end is told of after its beginning. */
	for (size_t i = 0; i < w->count && !err; i++)
		tell_begun(w->all[i].d, w->all[i].from);
	while (w->locked-- > 0)
		range_unlock(&w->disks[w->locked]->ranges, &w->all[w->locked].whole);
	if (err)
		close_all(w);
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

int tandem_restore(struct tandem *t, struct disk *const *disks, const uint64_t *generations,
		   size_t count, bool force, bool plan, struct snapshot_facts *before,
		   struct why *why)
{
	char name[SNAPSHOT_NAME_MAX + 1];
	struct switching w;
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		if (!force && !plan)
			disk_await_close(disks[i]);
		err = check(disks[i], generations[i], force, why);
	}
	if (err || plan)
		return err;
	/* One that has ended is still in the list. */
	for (size_t i = 0; i < count; i++)
		end(t->snapshots, disks[i]);
	name_for(name, past_now(t->snapshots));
	err = switching_init(&w, t, disks, generations, count);
	if (err)
		refuse(why, err, "%s", strerror(-err));
	else
		err = begin_all(&w, name, why);
	for (size_t i = 0; i < count && !err; i++)
		before[w.all[i].place] = w.before[i];
	switching_free(&w);
	return err;
}

/* ---- at the start ---- */

int restore_resume(struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	struct history_restore restore = h ? history_restore(h) : (struct history_restore){ 0 };
	struct restorer *r;
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
			tell_begun(d, restore.from);
			err = start(d, &restore, &r);
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

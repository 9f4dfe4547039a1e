// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Restores of disks, each with a thread that fills what it serves already (restorer.c). They
 * begin in this order, with the whole ranges of all disks locked, so that no write is between:
 *
 *   everything settled and flushed -> the snapshots of what is replaced, of one
 *   moment, recorded -> the restores, recorded in one transaction -> the old
 *   content is served
 *
 * A crash between leaves snapshots more, or restores that go on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "close_wait.h"
#include "jobs.h"
#include "pairs.h"
#include "restorer.h"

/* Disks that go back together. */
struct switching {
	struct tandem *t;
	struct one {
		struct disk *d;
		uint64_t from;
		size_t place; /* as the caller has it */
		uint32_t job;
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

int restore_quiet(struct disk *d, struct why *why)
{
	int err = history_settle(atomic_load(&d->history)) ?: disk_flush(d);

	return err ? refuse(why, err, "%s cannot be completed: %s", d->label, strerror(-err)) : 0;
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
	err = pairs_differ(o->d)
		      ?: restorer_start(o->d, &restore, false, restorer_written(o->d), &o->r);
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
		atomic_store(&w->all[i].r->cancelled, true);
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
	int err = 0;

	for (size_t i = 0; i < w->count && !err; i++)
		err = restore_quiet(w->all[i].d, why);
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
		restorer_begin_job(w->all[i].r, w->all[i].job);
	while (w->locked-- > 0)
		range_unlock(&w->disks[w->locked]->ranges, &w->all[w->locked].whole);
	if (err)
		close_all(w);
	return err;
}

static int check(struct disk *d, uint64_t from, bool force, struct why *why)
{
	struct moment_record m;
	unsigned openers = disk_openers(d);
	int err = past_check_disk(d, why);

	if (err)
		return err;
	if (disk_is_clone(d))
		return refuse_advise(why, -EBUSY, "wait until it is filled",
				     "%s is a clone that is not filled yet", d->label);
	err = moment_exactly(d, from, &m);
	if (err)
		return refuse(why, err, "g%llu is not kept", (unsigned long long)from);
	if (openers && !force)
		return refuse_advise(while_open(d, why), -EBUSY,
				     "close it, or RestoreTo with Force",
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

/* Two may be begun in a millisecond. */
static bool is_free(struct tandem *t, struct disk *const *disks, size_t count, const char *name)
{
	struct snapshot_facts f;

	for (size_t i = 0; i < count; i++)
		if (!snapshot_named(t, disks[i], name, &f))
			return false;
	return true;
}

int tandem_restore(struct tandem *t, struct disk *const *disks, const uint64_t *generations,
		   size_t count, bool force, bool plan, struct snapshot_facts *before,
		   struct why *why)
{
	char name[SNAPSHOT_NAME_MAX + 1];
	struct switching w;
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		err = check(disks[i], generations[i], force, why);
	}
	if (err || plan)
		return err;
	/* One that has ended is still in the list. */
	for (size_t i = 0; i < count; i++)
		restorers_end(t->snapshots, disks[i]);
	for (uint64_t now = past_now(t->snapshots);; now++) {
		name_for(name, now);
		if (is_free(t, disks, count, name))
			break;
	}
	err = switching_init(&w, t, disks, generations, count);
	for (size_t i = 0; i < count && !err; i++)
		err = job_new_number(t, &w.all[i].job);
	if (err)
		refuse(why, err, "%s", strerror(-err));
	else
		err = begin_all(&w, name, why);
	for (size_t i = 0; i < count && !err; i++)
		before[w.all[i].place] = w.before[i];
	switching_free(&w);
	return err;
}

/* ---- at the start and the stop ---- */

/* What it is served from stays, though nobody fills it. */
static int pin_for_none(struct disk *d, const struct history_restore *restore)
{
	int err = moment_pin(d, restore->from);

	if (err)
		return err;
	err = moment_pin(d, restore->before);
	if (err)
		moment_unpin(d, restore->from);
	else
		history_keep_restore(atomic_load(&d->history), true);
	return err;
}

void restore_keep(struct disk *d)
{
	struct history_restore restore = history_restore(atomic_load(&d->history));

	/* Of one that is Changed they do not fit, and go with Accept. */
	if (restore.before && disk_state(d) != DISK_CHANGED)
		pin_for_none(d, &restore);
}

/* With its range locked. */
static int follow(struct disk *d, const struct history_restore *restore)
{
	struct history *h = atomic_load(&d->history);
	struct moment_record before;
	struct restorer *r;
	uint32_t job;
	int err;

	if (restorer_follows(d))
		return -EALREADY;
	err = moment_exactly(d, restore->before, &before);
	if (err)
		return err;
	/* Its pins are the restorer's from now on; without them it cannot be filled. */
	if (!history_keep_restore(h, false))
		return -ENOENT;
	if (job_new_number(d->tandem, &job))
		job = 0; /* it goes on all the same */
	err = restorer_start(d, restore, before.hidden, UINT64_MAX, &r);
	if (err)
		history_keep_restore(h, true);
	else
		restorer_begin_job(r, job);
	return err;
}

int restore_resume(struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	struct history_restore restore = h ? history_restore(h) : (struct history_restore){ 0 };
	struct range first;
	int err;

	if (!restore.before)
		return 0;
	err = disk_open(d, true);
	if (err)
		return err;
	range_lock_write(&d->ranges, &first, 0, 1); /* its end is told of after its beginning */
	err = follow(d, &restore);
	range_unlock(&d->ranges, &first);
	if (err)
		disk_close(d);
	return err == -EALREADY ? 0 : err;
}

static void set_restore(struct disk *d, const struct history_restore *restore)
{
	struct range whole;

	range_lock_write(&d->ranges, &whole, 0, UINT64_MAX);
	history_set_restore(atomic_load(&d->history), restore);
	range_unlock(&d->ranges, &whole);
}

struct forgotten_restore restore_forget(struct disk *d)
{
	static const struct history_restore none;
	struct history *h = atomic_load(&d->history);
	struct forgotten_restore was = { h ? history_restore(h) : none, false };

	if (!was.restore.before || restorer_follows(d))
		return (struct forgotten_restore){ none, false };
	set_restore(d, &none);
	was.kept = history_keep_restore(h, false);
	if (was.kept) {
		moment_unpin(d, was.restore.from);
		moment_unpin(d, was.restore.before);
	}
	return was;
}

void restore_remember(struct disk *d, const struct forgotten_restore *was)
{
	if (!was->restore.before)
		return;
	set_restore(d, &was->restore);
	if (was->kept)
		pin_for_none(d, &was->restore);
}

int restores_end(struct snapshots *s)
{
	atomic_store(&s->ending, true);
	jobs_hurry(s->t->jobs);
	return restorers_end(s, NULL);
}

int restore_complete(struct disk *d)
{
	return restore_resume(d) ?: restores_end(d->tandem->snapshots);
}

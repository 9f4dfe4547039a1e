// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * To abort restores: their disks are at once what they were before, by a restore of the
 * moment that was recorded when they began; in this order, with the restorers halted and
 * then with the whole ranges of all disks locked:
 *
 *   everything settled and flushed -> a moment of all, which nobody sees -> that, and the
 *   restores back, recorded in one transaction -> what was before is served
 *
 * A crash comes before or after that transaction. The moment that nobody sees is collected
 * when its restore has ended, or at a start that finds no restore with it.
 */
#include "restorer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "close_wait.h"
#include "jobs.h"
#include "pairs.h"

/* Disks that go back together. */
struct aborting {
	struct tandem *t;
	struct one {
		struct disk *d;
		struct restorer *r; /* halted; NULL: not yet */
		uint32_t job;       /* of the way back */
		struct range whole;
		struct history_restore old;
		struct moment_record hidden;
		bool pinned;
	} * all; /* by number, as ranges are locked */
	struct history **hs;
	size_t count, locked;
	uint64_t hidden; /* the moment of all; 0: not yet */
};

static int by_number(const void *a, const void *b)
{
	const struct one *x = a, *y = b;

	return x->d->number < y->d->number ? -1 : x->d->number > y->d->number;
}

static int aborting_init(struct aborting *a, struct tandem *t, struct disk *const *disks,
			 size_t count)
{
	*a = (struct aborting){ .t = t, .count = count };
	a->all = calloc(count + 1, sizeof(*a->all));
	a->hs = calloc(count + 1, sizeof(*a->hs));
	if (!a->all || !a->hs)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		a->all[i].d = disks[i];
	qsort(a->all, count, sizeof(*a->all), by_number);
	for (size_t i = 0; i < count; i++)
		a->hs[i] = atomic_load(&a->all[i].d->history);
	return 0;
}

static void aborting_free(struct aborting *a)
{
	free(a->all);
	free(a->hs);
}

/* ---- what it needs ---- */

static int refuse_none(const struct disk *d, struct why *why)
{
	return refuse(why, -EBUSY, "%s is not being restored; there is nothing to abort", d->label);
}

/* One that nobody follows has to go on first, as it would at a start. */
static int follow(struct disk *d, struct why *why)
{
	struct restore_facts f;
	int err = 0;

	if (restore_facts(d, &f) && !f.followed)
		err = restore_resume(d);
	return err ? refuse(why, err, "%s of %s cannot go on, nor be aborted: %s",
			    f.back ? "the abort of the restore" : "the restore", d->label,
			    strerror(-err))
		   : 0;
}

static int check(struct disk *d, bool force, struct why *why)
{
	struct restore_facts f;
	unsigned openers;

	if (!restore_facts(d, &f))
		return refuse_none(d, why);
	if (f.back)
		return refuse_advise(why, -EBUSY, "wait for its end",
				     "the restore of %s is aborted already", d->label);
	openers = disk_openers(d) - f.followed;
	if (openers && !force)
		return refuse_advise(while_open(d, why), -EBUSY, "close it, or the same with Force",
				     "%s is open (%u): who has it open would see it change",
				     d->label, openers);
	if (f.written && !force)
		return refuse_advise(why, -EPERM, "the same with Force",
				     "what was written to %s since the restore began would be lost",
				     d->label);
	return 0;
}

/* ---- the moment ---- */

/* In the ranges of all: nobody else ends a generation of theirs, or sees it. */
static int take_moment(struct aborting *a)
{
	int err = generation_close(a->t, a->hs, a->count, MOMENT_HIDDEN, past_now(a->t->snapshots),
				   NULL, &a->hidden);

	for (size_t i = 0; i < a->count && !err; i++) {
		struct one *o = &a->all[i];

		err = moment_exactly(o->d, a->hidden, &o->hidden) ?: moment_pin(o->d, a->hidden);
		o->pinned = !err;
	}
	return err;
}

static void give_up_moment(struct aborting *a, bool collect)
{
	for (size_t i = 0; i < a->count; i++) {
		struct one *o = &a->all[i];

		if (o->pinned)
			moment_unpin(o->d, a->hidden);
		if (collect && a->hidden)
			collector_add(a->t->snapshots->collector, o->d, a->hidden);
	}
}

/* ---- recording ---- */

static int put_one(struct one *o, struct catalogue_txn *txn)
{
	struct history *h = atomic_load(&o->d->history);
	struct history_restore back = { .from = o->old.before, .before = o->hidden.generation };
	struct track_record track;

	/* First in memory: who is next to write the catalogue records what is there. */
	history_set_restore(h, &back);
	history_record(h, &track);
	return moment_put(txn, o->d->number, &o->hidden) ?: track_put(txn, o->d->number, &track);
}

static int record_all(struct aborting *a)
{
	struct catalogue_txn *txn;
	int err = 0;

	for (size_t i = 0; i < a->count && !err; i++)
		err = pairs_differ(a->all[i].d);
	if (!err)
		err = catalogue_begin_growing(a->t->catalogue, a->count, &txn);
	if (err)
		return err;
	for (size_t i = 0; i < a->count; i++)
		a->all[i].old = history_restore(a->hs[i]);
	for (size_t i = 0; i < a->count && !err; i++)
		err = put_one(&a->all[i], txn);
	if (err)
		catalogue_abort(txn);
	else
		err = catalogue_commit(txn);
	return err;
}

/* What was in memory for a moment somebody may have recorded. */
static int take_back(struct aborting *a)
{
	int err = 0;

	for (size_t i = 0; i < a->count; i++)
		if (a->all[i].old.before) {
			history_set_restore(a->hs[i], &a->all[i].old);
			err = past_record(a->all[i].d, a->hs[i]) ?: err;
		}
	return err;
}

/* ---- all or none ---- */

static int halt_all(struct aborting *a, struct why *why)
{
	int err = 0;

	for (size_t i = 0; i < a->count && !err; i++) {
		struct one *o = &a->all[i];

		err = restorer_halt(o->d, &o->r);
		if (err == -ENOENT)
			err = refuse_none(o->d, why);
		else if (!err && o->r->back)
			err = refuse(why, -EBUSY, "the restore of %s is aborted already",
				     o->d->label);
		else if (err)
			refuse(why, err, "the restore of %s is being aborted", o->d->label);
	}
	return err;
}

static void go_on_all(struct aborting *a)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->all[i].r)
			restorer_go_on(a->all[i].r);
}

static void lock_all(struct aborting *a)
{
	/* Most of it before anybody has to wait. */
	for (size_t i = 0; i < a->count; i++)
		history_settle(a->hs[i]);
	for (; a->locked < a->count; a->locked++)
		range_lock_write(&a->all[a->locked].d->ranges, &a->all[a->locked].whole, 0,
				 UINT64_MAX);
}

static void unlock_all(struct aborting *a)
{
	while (a->locked-- > 0)
		range_unlock(&a->all[a->locked].d->ranges, &a->all[a->locked].whole);
}

static void turn_all(struct aborting *a)
{
	for (size_t i = 0; i < a->count; i++) {
		struct one *o = &a->all[i];
		const struct history_restore back = history_restore(a->hs[i]);

		restorer_end_job(o->r, JOB_TERMINATED);
		restorer_turn(o->r, &back);
		restorer_begin_job(o->r, o->job);
		moment_unpin(o->d, o->old.from);
	}
}

/* With the ranges locked. */
static int switch_all(struct aborting *a, struct why *why)
{
	int err = 0;

	for (size_t i = 0; i < a->count && !err; i++)
		err = restore_quiet(a->all[i].d, why);
	if (err)
		return err;
	err = take_moment(a) ?: record_all(a);
	if (err) {
		/* One that may be recorded is collected at the next start. */
		give_up_moment(a, !take_back(a));
		return refuse(why, err, "it cannot be aborted: %s", strerror(-err));
	}
	turn_all(a);
	return 0;
}

int tandem_abort_restore(struct tandem *t, struct disk *const *disks, size_t count, bool force,
			 bool plan, struct why *why)
{
	struct aborting a;
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		err = past_check_served(disks[i], why);
		if (!err && !plan)
			err = follow(disks[i], why);
		if (!err)
			err = check(disks[i], force, why);
	}
	if (err || plan)
		return err;
	err = aborting_init(&a, t, disks, count);
	for (size_t i = 0; i < count && !err; i++)
		err = job_new_number(t, &a.all[i].job);
	if (err) {
		refuse(why, err, "%s", strerror(-err));
	} else {
		err = halt_all(&a, why);
		if (!err) {
			lock_all(&a);
			err = switch_all(&a, why);
			unlock_all(&a);
		}
		go_on_all(&a);
	}
	aborting_free(&a);
	return err;
}

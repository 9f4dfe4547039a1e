// SPDX-License-Identifier: GPL-2.0-or-later
/* What an administrator does with a snapshot that is there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clones_inner.h"
#include "close_wait.h"

/* ---- what is done with one ---- */

/* Under changing. On success there is a reference to its disk. */
static int target_find(struct tandem *t, uint32_t number, struct target *g, struct why *why)
{
	int err = 0;

	*g = (struct target){ .s = t->snapshots, .sn = table_numbered(t->snapshots, number) };
	if (g->sn)
		g->d = tandem_disk_numbered(t, g->sn->disk);
	if (!g->d)
		err = refuse(why, -ENOENT, "there is no such snapshot");
	else if (t->read_only)
		err = refuse(why, -EROFS, "the mount is read-only");
	else if (g->sn->busy)
		err = refuse(why, -EBUSY, "%s is being renewed, or detached", g->sn->name);
	if (!err)
		table_facts(g->s, g->sn, &g->before);
	else
		disk_unref(g->d);
	return err;
}

int target_begin(struct tandem *t, uint32_t number, struct target *g, struct why *why)
{
	int err;

	if (!t->snapshots)
		return refuse(why, -ENOENT, "there is no such snapshot");
	pthread_mutex_lock(&t->snapshots->changing);
	err = target_find(t, number, g, why);
	if (err)
		pthread_mutex_unlock(&t->snapshots->changing);
	return err;
}

void target_end(struct target *g, bool changed)
{
	pthread_mutex_unlock(&g->s->changing);
	if (changed)
		snapshots_changed(g->s->t, g->d);
	disk_unref(g->d);
}

int check_not_held(const struct target *g, struct why *why)
{
	return g->sn->hold ? refuse_advise(why, -EBUSY, "Unhold", "%s is held: %s", g->before.label,
					   g->sn->hold)
			   : 0;
}

/* It stays as it is until it goes, or the clone is given up. */
int check_not_detaching(const struct target *g, struct why *why)
{
	return g->sn->detaching
		       ? refuse_advise(why, -EBUSY, "Abort Force of the clone that takes its place",
				       "%s is being detached", g->before.label)
		       : 0;
}

/* A clone keeps the moment by itself: nothing is lost, and no space is given back. */
static int check_not_cloned(const struct target *g, bool force, struct why *why)
{
	if (force || !g->sn->generation ||
	    !clones_names(g->s->clones, g->d->number, g->sn->generation))
		return 0;
	return refuse_advise(why, -EBUSY,
			     "wait until it is filled; with Force the moment stays until then",
			     "a clone is not filled from %s yet", g->before.label);
}

int leave_moment(const struct target *g, struct moment_record *less, struct why *why)
{
	int err = 0;

	*less = (struct moment_record){ 0 };
	if (!g->sn->generation)
		return 0;
	err = dropping_begin(g->s, g->d, g->sn->generation);
	if (err)
		return refuse_advise(err == -EBUSY ? while_open(g->d, why) : why, err,
				     "close it first", "%s is open", g->before.label);
	err = moment_exactly(g->d, g->sn->generation, less);
	if (err == -ENOENT) { /* nothing to lose; the snapshot can go */
		dropping_end(g->s, g->d, g->sn->generation);
		*less = (struct moment_record){ 0 };
		return 0;
	}
	if (err) {
		dropping_end(g->s, g->d, g->sn->generation);
		return refuse(why, err, "its moment: %s", strerror(-err));
	}
	less->names = table_names(g->s, g->d->number, g->sn->generation, NULL) - 1;
	less->dropped = !less->names && !less->tick;
	return 0;
}

void moment_left(const struct target *g, const struct moment_record *less, int err)
{
	if (!less->generation)
		return;
	if (err)
		dropping_end(g->s, g->d, less->generation);
	else
		moment_changed(g->s, g->d, less);
}

int commit_change(const struct target *g, const struct moment_record *less,
		  const struct snapshot_record *to)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin(g->s->t->catalogue, &txn);

	if (err)
		return err;
	err = snapshot_put(txn, to);
	if (!err && to->overlay != g->sn->overlay)
		err = overlay_forget(txn, g->sn->overlay);
	if (!err && less && less->generation)
		err = moment_put(txn, g->d->number, less);
	if (err) {
		catalogue_abort(txn);
		return err;
	}
	return catalogue_commit(txn);
}

/* Some snapshots that go together. */
struct leaving {
	struct target *targets;
	struct moment_record *less; /* of each; until moment_left() nobody begins to read it */
	struct overlay_hold *holds; /* of each; before changing */
	size_t count, held;
};

/* Under changing. All of them can go, or (-errno) nothing was begun. */
static int leaving_begin(struct tandem *t, const uint32_t *numbers, size_t count, bool force,
			 struct leaving *l, struct why *why)
{
	int err = 0;

	while (!err && l->count < count) {
		struct target *g = &l->targets[l->count];

		err = target_find(t, numbers[l->count], g, why);
		if (err)
			break;
		err = check_not_held(g, why) ?: check_not_cloned(g, force, why);
		err = err ?: overlay_check_held(g->s, &l->holds[l->count], g->sn, why);
		err = err ?: leave_moment(g, &l->less[l->count], why);
		if (err)
			disk_unref(g->d);
		else
			l->count++;
	}
	return err;
}

static int commit_leaving(struct tandem *t, const struct leaving *l)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin(t->catalogue, &txn);

	if (err)
		return err;
	for (size_t i = 0; i < l->count; i++) {
		overlay_forget(txn, l->targets[i].sn->overlay);
		snapshot_del(txn, l->targets[i].sn->number);
		if (l->less[i].generation)
			moment_put(txn, l->targets[i].d->number, &l->less[i]);
	}
	return catalogue_commit(txn);
}

/* Under changing. err: they stay. */
static void leaving_end(struct tandem *t, struct leaving *l, int err)
{
	for (size_t i = 0; i < l->count; i++) {
		struct target *g = &l->targets[i];

		if (!err)
			table_remove(g->s, g->sn);
		moment_left(g, &l->less[i], err);
		if (!err)
			snapshot_announce(t, &g->before, snapshot_state_name(g->before.state), "-");
	}
}

static int delete_all(struct tandem *t, const uint32_t *numbers, size_t count, bool force,
		      bool plan, struct leaving *l, struct why *why)
{
	int err = 0;

	for (; !err && l->held < count; l->held += !err)
		err = overlay_hold(t->snapshots, numbers[l->held], false, &l->holds[l->held], why);
	pthread_mutex_lock(&t->snapshots->changing);
	if (!err)
		err = leaving_begin(t, numbers, count, force, l, why);
	if (!err && !plan) {
		err = commit_leaving(t, l);
		if (err)
			unrecorded(why, err);
	}
	leaving_end(t, l, plan ? -ECANCELED : err);
	pthread_mutex_unlock(&t->snapshots->changing);
	for (size_t i = 0; i < l->count; i++) {
		if (!err && !plan)
			snapshots_changed(t, l->targets[i].d);
		disk_unref(l->targets[i].d);
	}
	while (l->held-- > 0)
		overlay_let_go(t->snapshots, &l->holds[l->held], !err && !plan);
	return err;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

int tandem_delete_snapshots(struct tandem *t, const uint32_t *numbers, size_t count, bool force,
			    bool plan, struct why *why)
{
	uint32_t *sorted = calloc(count + 1, sizeof(*sorted));
	struct leaving l = { .targets = calloc(count + 1, sizeof(*l.targets)),
			     .less = calloc(count + 1, sizeof(*l.less)),
			     .holds = calloc(count + 1, sizeof(*l.holds)) };
	int err;

	if (!l.targets || !l.less || !l.holds || !sorted)
		err = refuse(why, -ENOMEM, "out of memory");
	else if (!t->snapshots)
		err = refuse(why, -ENOENT, "there is no such snapshot");
	else {
		/* Overlays are held in one order, whatever the disks of a group are called by now. */
		memcpy(sorted, numbers, count * sizeof(*sorted));
		qsort(sorted, count, sizeof(*sorted), by_number);
		err = delete_all(t, sorted, count, force, plan, &l, why);
	}
	free(sorted);
	free(l.targets);
	free(l.less);
	free(l.holds);
	return err;
}

int tandem_delete_snapshot(struct tandem *t, uint32_t number, bool force, bool plan,
			   struct why *why)
{
	return tandem_delete_snapshots(t, &number, 1, force, plan, why);
}

static int check_tag(const char *tag, struct why *why)
{
	if (!tag[0] || strlen(tag) > SNAPSHOT_NAME_MAX)
		return refuse(why, -EINVAL, "a tag has 1 to %d bytes", SNAPSHOT_NAME_MAX);
	for (const char *c = tag; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return refuse(why, -EINVAL, "a tag has no control characters");
	return 0;
}

static int set_hold(const struct target *g, const char *tag, struct why *why)
{
	char *hold = tag ? strdup(tag) : NULL;
	struct snapshot_record r;
	int err = tag && !hold ? -ENOMEM : 0;

	table_record(g->sn, &r);
	snprintf(r.hold, sizeof(r.hold), "%s", tag ? tag : "");
	if (!err)
		err = commit_change(g, NULL, &r);
	if (err) {
		free(hold);
		return unrecorded(why, err);
	}
	table_hold(g->s, g->sn, hold);
	return 0;
}

int tandem_hold_snapshot(struct tandem *t, uint32_t number, const char *tag, bool plan,
			 struct why *why)
{
	int err = tag ? check_tag(tag, why) : 0;
	struct target g;

	if (!err)
		err = target_begin(t, number, &g, why);
	if (err)
		return err;
	if (tag)
		err = check_not_detaching(&g, why);
	if (!err && tag && g.sn->hold && strcmp(g.sn->hold, tag))
		err = refuse(why, -EBUSY, "%s is held already: %s", g.before.label, g.sn->hold);
	if (!err && !plan)
		err = set_hold(&g, tag, why);
	target_end(&g, !err && !plan);
	return err;
}

/* ---- its place is taken ---- */

int snapshot_detach_begin(struct tandem *t, uint32_t number, uint64_t generation, bool plan,
			  struct why *why)
{
	struct target g;
	int err = target_find(t, number, &g, why);

	if (err)
		return err;
	err = check_not_held(&g, why) ?: check_not_detaching(&g, why);
	if (!err && g.sn->overlay)
		err = refuse_advise(why, -EBUSY, "Activate ReadOnly=true",
				    "%s can be written, and only its moment becomes a disk",
				    g.before.label);
	if (!err && g.sn->generation != generation)
		err = refuse(why, -EBUSY, "%s has another moment by now", g.before.label);
	if (!err && !plan)
		g.sn->busy = true;
	disk_unref(g.d);
	return err;
}

void snapshot_detach_end(struct tandem *t, uint32_t number, uint32_t clone)
{
	struct snapshot *sn = table_numbered(t->snapshots, number);

	if (!sn)
		return;
	sn->busy = false;
	table_detach(t->snapshots, number, 0, clone);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* A snapshot gets another moment, or has none; it can be written, or not any more. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clones_inner.h"
#include "mirror.h"

/* With its overlay held; end() lets go of both. */
static int begin(struct tandem *t, uint32_t number, bool force, bool plan, struct target *g,
		 struct overlay_hold *hold, struct why *why)
{
	int err;

	if (!t->snapshots)
		return refuse(why, -ENOENT, "there is no such snapshot");
	err = overlay_hold(t->snapshots, number, force, hold, why);
	if (err)
		return err;
	err = target_begin(t, number, g, why);
	if (!err) {
		err = overlay_check_held(g->s, hold, g->sn, why);
		if (err)
			target_end(g, false);
	}
	if (err)
		overlay_let_go(t->snapshots, hold, false);
	return err;
}

/* changed: the snapshot is another one, and has that overlay no more. */
static void end(struct target *g, struct overlay_hold *hold, bool changed)
{
	struct snapshots *s = g->s;

	target_end(g, changed);
	overlay_let_go(s, hold, changed);
}

static void announce(const struct target *g, const char *to)
{
	snapshot_announce(g->s->t, &g->before, snapshot_state_name(g->before.state), to);
}

static int check_not_written(const struct target *g, bool force, const char *advice,
			     struct why *why)
{
	return force || g->sn->state != SNAPSHOT_SKEWED
		       ? 0
		       : refuse_advise(why, -EPERM, advice,
				       "CopyState is Skewed: what was written to %s would be lost",
				       g->before.label);
}

static int refuse_place(const struct target *g, int err, struct why *why)
{
	return refuse(why, err, "what is written cannot have a place in %s: %s", g->s->t->state_dir,
		      strerror(-err));
}

/* ---- no moment ---- */

/* Under changing. */
static int give_up_moment(struct target *g, const struct moment_record *less, struct why *why)
{
	struct snapshot_record r;
	int err;

	table_record(g->sn, &r);
	r.generation = 0;
	r.copy_state = SNAPSHOT_INACTIVE;
	r.overlay = 0;
	err = commit_change(g, less, &r);
	if (err)
		return unrecorded(why, err);
	table_set(g->s, g->sn, g->sn->number, NULL, SNAPSHOT_INACTIVE);
	disk_unref(table_overlay(g->s, g->sn, 0, NULL));
	return 0;
}

int tandem_deactivate_snapshot(struct tandem *t, uint32_t number, bool force, bool plan,
			       struct why *why)
{
	struct moment_record less;
	struct overlay_hold hold;
	struct target g;
	int err = begin(t, number, force, plan, &g, &hold, why);

	if (err)
		return err;
	if (g.sn->state != SNAPSHOT_SYNCHRONIZED && g.sn->state != SNAPSHOT_SKEWED)
		err = refuse(why, -EBUSY,
			     "CopyState is %s; Deactivate needs Synchronized or Skewed",
			     snapshot_state_name(g.sn->state));
	if (!err)
		err = check_not_held(&g, why) ?: check_not_detaching(&g, why);
	if (!err)
		err = leave_moment(&g, &less, why);
	if (!err) {
		err = plan ? 0 : give_up_moment(&g, &less, why);
		moment_left(&g, &less, plan ? -ECANCELED : err);
	}
	if (!err && !plan)
		announce(&g, "Inactive");
	end(&g, &hold, !err && !plan);
	return err;
}

/* ---- a new moment for one that is there ---- */

/* Under changing again: the old moment loses the name that the new one gets. */
static int renew(struct target *g, struct making *m, struct why *why)
{
	struct moment_record less;
	int err = leave_moment(g, &less, why);

	if (!err) {
		err = making_record(m, less.generation ? &less : NULL);
		if (err)
			unrecorded(why, err);
		else
			making_list(m, NULL);
		moment_left(g, &less, err);
	}
	if (err)
		making_drop(m);
	return err;
}

/* Its moment, and for one that is to be writable what it is written to. */
static int take(struct target *g, struct making *m, bool writable, struct why *why)
{
	int err = making_take(m, why);

	if (err || !writable)
		return err;
	err = overlay_make(g->d, &m->moments[0], &m->over);
	if (err) {
		refuse_place(g, err, why);
		making_drop(m);
	}
	return err;
}

static void list_overlay(struct target *g, struct making *m)
{
	if (m->over)
		overlay_list(g, m->over);
	else
		disk_unref(table_overlay(g->s, g->sn, 0, NULL));
}

static int renew_one(struct target *g, bool writable, struct why *why)
{
	struct making m;
	int err = making_init(&m, g->s->t, &g->d, 1);

	if (err) {
		making_free(&m);
		return refuse(why, err, "%s", strerror(-err));
	}
	m.made[0] = g->sn;
	m.numbers[0] = g->sn->number;
	g->sn->busy = true; /* while the disk is waited for */
	pthread_mutex_unlock(&g->s->changing);
	mirror_arrive(g->d);
	err = take(g, &m, writable, why);
	pthread_mutex_lock(&g->s->changing);
	g->sn->busy = false;
	if (!err)
		err = renew(g, &m, why);
	if (!err)
		list_overlay(g, &m);
	else if (m.over)
		overlay_remove(g->s, m.over->number, m.over);
	making_free(&m);
	return err;
}

/* Under changing. */
static int renew_target(struct target *g, bool writable, bool force, bool plan, struct why *why)
{
	struct moment_record less;
	int err = past_check_disk(g->d, why) ?: check_not_held(g, why);

	err = err ?: check_not_detaching(g, why);
	err = err ?: check_not_written(g, force, "ResyncReplica with Force", why);
	if (!err)
		err = leave_moment(g, &less, why);
	if (!err)
		moment_left(g, &less, -ECANCELED); /* it was only asked whether it can be */
	if (!err && !plan)
		err = renew_one(g, writable, why);
	if (!err && !plan)
		announce(g, "Synchronized");
	return err;
}

int tandem_renew_snapshot(struct tandem *t, uint32_t number, bool force, bool plan, struct why *why)
{
	struct overlay_hold hold;
	struct target g;
	int err = begin(t, number, false, plan, &g, &hold, why);

	if (err)
		return err;
	err = renew_target(&g, false, force, plan, why);
	end(&g, &hold, !err && !plan);
	return err;
}

/* ---- writable, and not ---- */

static int record_overlay(const struct target *g, const struct disk *over,
			  const struct moment_record *m)
{
	struct snapshot_record r;
	struct catalogue_txn *txn;
	int err = catalogue_begin_growing(g->s->t->catalogue, 3, &txn);

	if (err)
		return err;
	table_record(g->sn, &r);
	r.overlay = over->number;
	err = snapshot_put(txn, &r) ?: overlay_put(txn, over, g->d, m);
	if (err) {
		catalogue_abort(txn);
		return err;
	}
	return catalogue_commit(txn);
}

/* Under changing, which is let go of meanwhile: its moment stays. */
static int add_overlay(struct target *g, struct why *why)
{
	struct moment_record m = { .generation = g->sn->generation, .size = g->sn->size };
	struct disk *over;
	int err;

	g->sn->busy = true;
	pthread_mutex_unlock(&g->s->changing);
	err = overlay_make(g->d, &m, &over);
	pthread_mutex_lock(&g->s->changing);
	g->sn->busy = false;
	if (err)
		return refuse_place(g, err, why);
	err = record_overlay(g, over, &m);
	if (err) {
		overlay_remove(g->s, over->number, over);
		return unrecorded(why, err);
	}
	overlay_list(g, over);
	return 0;
}

/* Under changing. */
static int make_writable(struct target *g, bool plan, struct why *why)
{
	int err = check_not_detaching(g, why) ?: past_check_served(g->d, why);

	if (err)
		return err;
	if (g->before.overlay_lost)
		return refuse_advise(why, -EIO, "Activate ReadOnly=true with Force",
				     "what was written to %s cannot be used", g->before.label);
	if (g->sn->state == SNAPSHOT_INACTIVE)
		return renew_target(g, true, false, plan, why);
	if (g->sn->state != SNAPSHOT_SYNCHRONIZED && g->sn->state != SNAPSHOT_SKEWED)
		return refuse_advise(why, -EBUSY, "ResyncReplica",
				     "CopyState is %s; Activate needs Inactive or Synchronized",
				     snapshot_state_name(g->sn->state));
	return g->sn->overlay || plan ? 0 : add_overlay(g, why);
}

int tandem_make_snapshot_writable(struct tandem *t, uint32_t number, bool plan, struct why *why)
{
	struct target g;
	int err = target_begin(t, number, &g, why);

	if (err)
		return err;
	err = make_writable(&g, plan, why);
	target_end(&g, !err && !plan);
	return err;
}

/* Under changing. */
static int drop_overlay(struct target *g, struct why *why)
{
	struct snapshot_record r;
	int err;

	table_record(g->sn, &r);
	r.overlay = 0;
	if (r.copy_state == SNAPSHOT_SKEWED)
		r.copy_state = SNAPSHOT_SYNCHRONIZED;
	err = commit_change(g, NULL, &r);
	if (err)
		return unrecorded(why, err);
	disk_unref(table_overlay(g->s, g->sn, 0, NULL));
	if (g->sn->state == SNAPSHOT_SKEWED) {
		table_set_state(g->s, g->sn, SNAPSHOT_SYNCHRONIZED);
		announce(g, "Synchronized");
	}
	return 0;
}

int tandem_make_snapshot_read_only(struct tandem *t, uint32_t number, bool force, bool plan,
				   struct why *why)
{
	struct overlay_hold hold;
	struct target g;
	bool changes;
	int err = begin(t, number, force, plan, &g, &hold, why);

	if (err)
		return err;
	changes = g.sn->overlay || g.sn->state == SNAPSHOT_INACTIVE;
	err = check_not_written(&g, force, "Activate ReadOnly=true with Force", why);
	if (!err && g.sn->state == SNAPSHOT_INACTIVE)
		err = renew_target(&g, false, false, plan, why);
	else if (!err && g.sn->overlay && !plan)
		err = drop_overlay(&g, why);
	end(&g, &hold, !err && !plan && changes);
	return err;
}

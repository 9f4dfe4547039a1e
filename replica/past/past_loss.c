// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A disk's past goes: with the disk, because its image is not what it was, or a part of it for want
 * of space.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clones_inner.h"
#include "close_wait.h"

/* Under changing. One that is being made or renewed; or, unless held is NULL, is held. */
static struct snapshot *in_use(struct snapshots *s, uint32_t disk, bool *held, struct why *why)
{
	struct snapshot *sn = table_next(s, disk, NULL);

	for (; sn; sn = table_next(s, disk, sn))
		if (!sn->number || sn->busy || overlay_is_open(s, sn, why) ||
		    (held && (*held = sn->hold != NULL)))
			break;
	return sn;
}

static int is_kept(void *arg, const struct moment_record *m)
{
	return !m->dropped;
}

/* Also where they cannot be read, because its image is not there. */
static bool has_moments(struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	struct moment_record m;

	if (!disk_is_clone(d) && disk_has_past(d))
		return true;
	if (h)
		return snapshots_count(d) || !history_moment_seen(h, UINT64_MAX, &m);
	/* What cannot be told may be one. */
	return snapshots_count(d) || moments_each(d->tandem->catalogue, d->number, is_kept, NULL);
}

int snapshots_check_delete(struct disk *d, bool force, struct why *why)
{
	struct snapshots *s = d->tandem->snapshots;
	struct snapshot *sn;
	bool held = false;
	int err = 0;

	/* A clone is nobody's past: it goes like any disk. */
	if (!has_moments(d))
		return 0;
	if (!force)
		return refuse_advise(why, -EPERM, "DeleteDisk Name= Force",
				     "%s has a past: %u snapshots and its history would be lost",
				     d->label, snapshots_count(d));
	pthread_mutex_lock(&s->changing);
	sn = in_use(s, d->number, &held, why);
	if (sn && held)
		err = refuse_advise(why, -EBUSY, "Unhold", "the snapshot %s is held: %s", sn->name,
				    sn->hold);
	else if (sn)
		err = refuse(why, -EBUSY, "the snapshot %s is being made", sn->name);
	pthread_mutex_unlock(&s->changing);
	return err;
}

/* ---- what does not fit the image any more ---- */

static void lose(struct snapshots *s, struct snapshot *sn, enum event_severity severity,
		 const char *reason)
{
	char object[DISK_LABEL_MAX + SNAPSHOT_NAME_MAX + 16];
	struct snapshot_facts f;

	overlay_lose(s, sn);
	table_set(s, sn, sn->number, NULL, SNAPSHOT_BROKEN);
	table_facts(s, sn, &f);
	snprintf(object, sizeof(object), "replicas/%s", f.label);
	events_emit(s->t->events, severity, "SnapshotLost", object, "Reason=%s", reason);
}

static void lose_all(struct snapshots *s, uint32_t disk)
{
	struct snapshot *sn = NULL;

	while ((sn = table_next(s, disk, sn)))
		if (sn->generation)
			lose(s, sn, EVENT_MAJOR, "DiskChanged");
}

static int put_broken(struct catalogue_txn *txn, const struct snapshot *sn)
{
	struct snapshot_record r;

	table_record(sn, &r);
	r.generation = 0;
	r.copy_state = SNAPSHOT_BROKEN;
	return snapshot_put(txn, &r);
}

/* One that is inactive loses nothing. Under changing. */
static int record_lost(struct disk *d, struct catalogue_txn *txn)
{
	struct snapshots *s = d->tandem->snapshots;
	struct snapshot *sn = NULL;
	int err = 0;

	while (!err && (sn = table_next(s, d->number, sn))) {
		if (sn->generation)
			err = put_broken(txn, sn);
	}
	return err;
}

/*
 * One transaction for all of it: half a past would be as wrong as the whole. The versions of a
 * history that is open are the collector's work; for those of one that could not be opened nobody
 * else will ever ask.
 */
static int record_break(struct disk *d, struct moment_record *list, size_t count)
{
	struct tandem *t = d->tandem;
	struct catalogue_txn *txn;
	int err = catalogue_begin(t->catalogue, &txn);

	if (err)
		return err;
	if (atomic_load(&d->history)) {
		struct track_record track;

		history_record(atomic_load(&d->history), &track); /* with no restore */
		err = track_put(txn, d->number, &track);
	} else {
		err = track_forget(txn, d->number);
	}
	for (size_t i = 0; i < count && !err; i++) {
		list[i].names = 0;
		list[i].tick = false;
		list[i].dropped = true;
		err = moment_put(txn, d->number, &list[i]);
	}
	if (!err)
		err = record_lost(d, txn) ?: clones_record_loss(d, txn, false);
	if (err) {
		catalogue_abort(txn);
		return err;
	}
	return catalogue_commit(txn);
}

/* Under changing. Nobody begins to read a moment of a disk that is Changed. */
static int break_moments(struct disk *d, struct moment_record *list, size_t count)
{
	struct snapshots *s = d->tandem->snapshots;
	size_t begun = 0;
	int err = in_use(s, d->number, NULL, NULL) ? -EBUSY : 0;

	while (!err && begun < count) {
		err = dropping_begin(s, d, list[begun].generation);
		begun += !err;
	}
	if (!err)
		err = record_break(d, list, count);
	for (size_t i = 0; i < begun; i++)
		if (err)
			dropping_end(s, d, list[i].generation);
		else
			moment_changed(s, d, &list[i]);
	if (!err) {
		lose_all(s, d->number);
		clones_lose(d, false);
	}
	return err;
}

int snapshots_break(struct disk *d, struct why *why)
{
	struct snapshots *s = d->tandem->snapshots;
	struct history *h = atomic_load(&d->history);
	struct forgotten_restore restore = restore_forget(d);
	struct moment_record *list = NULL;
	size_t count = 0;
	int err;

	pthread_mutex_lock(&s->changing);
	err = h ? history_moments(h, &list, &count) : 0;
	if (!err)
		err = break_moments(d, list, count);
	pthread_mutex_unlock(&s->changing);
	free(list);
	if (err)
		restore_remember(d, &restore);
	if (err == -EBUSY)
		return refuse_advise(while_open(d, why), err, "close them first",
				     "moments of %s are open", d->label);
	if (err)
		return refuse(why, err, "it cannot be recorded: %s", strerror(-err));
	snapshots_changed(d->tandem, d);
	return 0;
}

/* ---- for want of space ---- */

/* Under changing, or lock: the snapshot with that moment after n others; NULL. */
static struct snapshot *table_at(struct snapshots *s, uint32_t disk, uint64_t generation, size_t n)
{
	const struct snapshot key = { .disk = disk, .generation = generation };
	struct snapshot *sn = order_at(&s->by_moment,
				       order_position(&s->by_moment, &key, NULL) + n);

	return sn && sn->disk == disk && sn->generation == generation ? sn : NULL;
}

/* Of a moment of that disk. Under changing. */
static enum importance importance(struct snapshots *s, struct disk *d,
				  const struct moment_record *m)
{
	struct history *h = atomic_load(&d->history);
	bool held = false, named = false;
	struct snapshot *sn;

	for (size_t i = 0; (sn = table_at(s, d->number, m->generation, i)); i++) {
		named = true;
		held |= sn->hold || sn->overlay; /* nobody else has what was written to it */
		if (sn->busy)
			return INDISPENSABLE;
	}
	/* What a clone has from it is not old content. */
	if (clones_names(s->clones, d->number, m->generation) ||
	    history_is_needed(h, m->generation))
		return INDISPENSABLE;
	/* One of neither is being made, or only needed as long as somebody reads it. */
	if (!named && !m->tick)
		return m->hidden && history_is_pinned(h, m->generation) ? READ_NOW : INDISPENSABLE;
	if (held)
		return HELD;
	return history_is_pinned(h, m->generation) ? READ_NOW : LOOSE;
}

uint64_t oldest_to_lose(struct snapshots *s, struct disk *d, enum importance most)
{
	struct history *h = atomic_load(&d->history);
	struct moment_record *list;
	uint64_t found = 0;
	size_t count;

	if (!h || history_moments(h, &list, &count))
		return 0;
	for (size_t i = 0; i < count && !found; i++)
		if (importance(s, d, &list[i]) <= most)
			found = list[i].generation;
	free(list);
	return found;
}

static int record_loss(struct snapshots *s, struct disk *d, const struct moment_record *m)
{
	struct catalogue_txn *txn;
	struct snapshot *sn;
	int err = catalogue_begin(s->t->catalogue, &txn);

	if (err)
		return err;
	err = moment_put(txn, d->number, m);
	for (size_t i = 0; !err && (sn = table_at(s, d->number, m->generation, i)); i++)
		err = put_broken(txn, sn);
	if (err) {
		catalogue_abort(txn);
		return err;
	}
	return catalogue_commit(txn);
}

int moment_lose(struct snapshots *s, struct disk *d, uint64_t generation)
{
	struct moment_record m;
	struct snapshot *sn;
	int err = moment_exactly(d, generation, &m);

	if (!err)
		err = dropping_force(s, d, generation);
	if (err)
		return err;
	m.names = 0;
	m.tick = false;
	m.dropped = true;
	err = record_loss(s, d, &m);
	if (err) {
		dropping_end(s, d, generation);
		return err;
	}
	while ((sn = table_at(s, d->number, generation, 0)))
		lose(s, sn, sn->hold || sn->overlay ? EVENT_CRITICAL : EVENT_MAJOR, "NoSpace");
	moment_changed(s, d, &m);
	return 0;
}

/* ---- with the disk ---- */

void snapshots_forget(struct tandem *t, struct disk *d)
{
	struct snapshots *s = t->snapshots;
	struct catalogue_txn *txn;
	struct snapshot *sn = NULL;

	if (!s)
		return;
	pthread_mutex_lock(&s->changing);
	if (!catalogue_begin(t->catalogue, &txn)) {
		clones_record_loss(d, txn, true);
		while ((sn = table_next(s, d->number, sn)))
			overlay_forget(txn, sn->overlay);
		track_forget(txn, d->number);
		catalogue_commit(txn);
	}
	clones_lose(d, true);
	while ((sn = table_next(s, d->number, NULL))) {
		uint32_t overlay = sn->overlay;

		if (overlay)
			overlay_remove(s, overlay, table_overlay(s, sn, 0, NULL));
		table_remove(s, sn);
	}
	pthread_mutex_unlock(&s->changing);
	past_remove_files(t, d->number);
	snapshots_changed(t, d);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* A disk's past goes: with the disk, or because its image is not what it was. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clones_inner.h"

/* Under changing. One that is being made or renewed; or, unless held is NULL, is held. */
static struct snapshot *in_use(struct snapshots *s, uint32_t disk, bool *held)
{
	struct snapshot *sn = table_next(s, disk, NULL);

	for (; sn; sn = table_next(s, disk, sn))
		if (!sn->number || sn->busy || (held && (*held = sn->hold != NULL)))
			break;
	return sn;
}

static bool has_moments(struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	struct moment_record m;

	if (!disk_is_clone(d))
		return disk_has_past(d);
	return snapshots_count(d) || (h && !history_moment(h, UINT64_MAX, &m));
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
	sn = in_use(s, d->number, &held);
	if (sn && held)
		err = refuse_advise(why, -EBUSY, "Unhold", "the snapshot %s is held: %s", sn->name,
				    sn->hold);
	else if (sn)
		err = refuse(why, -EBUSY, "the snapshot %s is being made", sn->name);
	pthread_mutex_unlock(&s->changing);
	return err;
}

/* ---- what does not fit the image any more ---- */

static void lose(struct snapshots *s, struct snapshot *sn)
{
	char object[DISK_LABEL_MAX + SNAPSHOT_NAME_MAX + 16];
	struct snapshot_facts f;

	table_set(s, sn, sn->number, NULL, SNAPSHOT_BROKEN);
	table_facts(s, sn, &f);
	snprintf(object, sizeof(object), "replicas/%s", f.label);
	events_emit(s->t->events, EVENT_MAJOR, "SnapshotLost", object, "Reason=DiskChanged");
}

static void lose_all(struct snapshots *s, uint32_t disk)
{
	struct snapshot *sn = NULL;

	while ((sn = table_next(s, disk, sn)))
		if (sn->generation)
			lose(s, sn);
}

/* One that is inactive loses nothing. Under changing. */
static int record_lost(struct disk *d, struct catalogue_txn *txn)
{
	struct snapshots *s = d->tandem->snapshots;
	struct snapshot *sn = NULL;
	int err = 0;

	while (!err && (sn = table_next(s, d->number, sn))) {
		struct snapshot_record r;

		table_record(sn, &r);
		if (sn->generation) {
			r.generation = 0;
			r.copy_state = SNAPSHOT_BROKEN;
		}
		err = snapshot_put(txn, &r);
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
	if (!atomic_load(&d->history))
		err = track_forget(txn, d->number);
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
	int err = in_use(s, d->number, NULL) ? -EBUSY : 0;

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
	struct moment_record *list = NULL;
	size_t count = 0;
	int err;

	pthread_mutex_lock(&s->changing);
	err = h ? history_moments(h, &list, &count) : 0;
	if (!err)
		err = break_moments(d, list, count);
	pthread_mutex_unlock(&s->changing);
	free(list);
	if (err == -EBUSY)
		return refuse_advise(why, err, "close them first", "moments of %s are open",
				     d->label);
	if (err)
		return refuse(why, err, "it cannot be recorded: %s", strerror(-err));
	snapshots_changed(d->tandem, d);
	return 0;
}

/* ---- with the disk ---- */

void snapshots_forget(struct tandem *t, struct disk *d)
{
	struct snapshots *s = t->snapshots;
	struct catalogue_txn *txn;
	struct snapshot *sn;

	if (!s)
		return;
	pthread_mutex_lock(&s->changing);
	if (!catalogue_begin(t->catalogue, &txn)) {
		clones_record_loss(d, txn, true);
		track_forget(txn, d->number);
		catalogue_commit(txn);
	}
	clones_lose(d, true);
	while ((sn = table_next(s, d->number, NULL)))
		table_remove(s, sn);
	pthread_mutex_unlock(&s->changing);
	past_remove_files(t, d->number);
	snapshots_changed(t, d);
}

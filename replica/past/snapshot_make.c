// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Making snapshots, in this order:
 *
 *   names taken -> the moment, of all disks at once -> D(what they held then)
 *   -> moments and snapshots in the catalogue, one durable commit -> listed
 *
 * Whatever fails on the way, the moments are dropped again and the names are free.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mirror.h"
#include "names.h"
#include "snapshots_inner.h"

/* ---- announcing ---- */

const char *snapshot_state_name(enum snapshot_state s)
{
	switch (s) {
	case SNAPSHOT_SYNCHRONIZED:
		return "Synchronized";
	case SNAPSHOT_BROKEN:
		return "Broken";
	case SNAPSHOT_INACTIVE:
		return "Inactive";
	case SNAPSHOT_SKEWED:
		return "Skewed";
	}
	return "-";
}

void snapshot_announce(struct tandem *t, const struct snapshot_facts *f, const char *from,
		       const char *to)
{
	char object[sizeof(f->label) + 16];

	snprintf(object, sizeof(object), "replicas/%s", f->label);
	events_emit(t->events, EVENT_INFORMATION, "StateChanged", object, "From=%s To=%s", from,
		    to);
}

int unrecorded(struct why *why, int err)
{
	return refuse(why, err, "it cannot be recorded: %s", strerror(-err));
}

/* ---- making ---- */

void making_free(struct making *m)
{
	free(m->made);
	free(m->hs);
	free(m->moments);
	free(m->numbers);
}

int making_init(struct making *m, struct tandem *t, struct disk *const *disks, size_t count)
{
	*m = (struct making){ .t = t, .s = t->snapshots, .disks = disks, .count = count };
	m->made = calloc(count, sizeof(*m->made));
	m->hs = calloc(count, sizeof(*m->hs));
	m->moments = calloc(count, sizeof(*m->moments));
	m->numbers = calloc(count, sizeof(*m->numbers));
	return m->made && m->hs && m->moments && m->numbers ? 0 : -ENOMEM;
}

/* Under changing: whoever deletes a disk has looked for names before, or will find ours. */
static int take_name(struct making *m, size_t i, const char *name, struct why *why)
{
	char made_up[SNAPSHOT_NAME_MAX + 1];
	struct disk *d = m->disks[i];
	int err = past_check_disk(d, why);

	if (err)
		return err;
	if (!name || !name[0]) {
		err = table_make_up(m->s, d, made_up);
		name = made_up;
	}
	if (!err)
		err = table_reserve(m->s, d->number, name, &m->made[i]);
	if (err == -EEXIST)
		return refuse(why, err, "%s has a snapshot '%s' already", d->label, name);
	return err ? refuse(why, err, "%s", strerror(-err)) : 0;
}

static void give_up_names(struct making *m)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->made[i])
			table_remove(m->s, m->made[i]);
}

static int take_names(struct making *m, const char *name, bool plan, struct why *why)
{
	int err = 0;

	pthread_mutex_lock(&m->s->changing);
	for (size_t i = 0; i < m->count && !err; i++)
		err = take_name(m, i, name, why);
	if (err || plan)
		give_up_names(m);
	pthread_mutex_unlock(&m->s->changing);
	return err;
}

void making_drop(struct making *m)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->moments[i].generation)
			collector_add(m->s->collector, m->disks[i], m->moments[i].generation);
}

/* Of a closed disk: is it still what we know, and is nobody else writing it? */
static int look(struct disk *d, struct why *why)
{
	int err = disk_look(d);

	if (!err)
		return 0;
	if (past_check_disk(d, why)) /* it was found now */
		return -EBUSY;
	return refuse(why, err, "%s cannot be read now: %s", d->label, strerror(-err));
}

int making_take(struct making *m, struct why *why)
{
	uint64_t g;
	int err = 0;

	for (size_t i = 0; i < m->count && !err; i++)
		err = look(m->disks[i], why) ?: past_begin(m->disks[i], &m->hs[i], why);
	if (err)
		return err;
	err = generation_close(m->t, m->hs, m->count, MOMENT_NAMED, past_now(m->s), NULL, &g);
	if (err)
		return refuse(why, err, "there is no moment to be had: %s", strerror(-err));
	for (size_t i = 0; i < m->count && !err; i++)
		err = moment_exactly(m->disks[i], g, &m->moments[i]);
	for (size_t i = 0; i < m->count && !err; i++) {
		history_await(m->hs[i], g);
		err = past_flush(m->disks[i]);
		if (err)
			refuse(why, err, "%s cannot be flushed: %s", m->disks[i]->label,
			       strerror(-err));
	}
	if (err)
		making_drop(m);
	return err;
}

static void fill_record(struct snapshot_record *r, const struct snapshot *sn,
			const struct moment_record *m)
{
	table_record(sn, r);
	r->generation = m->generation;
	r->sync_time_ms = m->time_ms;
	r->copy_state = SNAPSHOT_SYNCHRONIZED;
	r->overlay = 0;
}

/* What was written over the old moment goes with it. */
static int put_overlay(struct making *m, size_t i, struct catalogue_txn *txn,
		       struct snapshot_record *r)
{
	int err = m->made[i]->overlay ? overlay_forget(txn, m->made[i]->overlay) : 0;

	if (err || !m->over)
		return err;
	r->overlay = m->over->number;
	return overlay_put(txn, m->over, m->disks[i], &m->moments[i]);
}

static int put_one(struct making *m, size_t i, struct catalogue_txn *txn)
{
	uint32_t disk = m->disks[i]->number;
	struct track_record track;
	struct snapshot_record r;
	int err = m->numbers[i] ? 0 : catalogue_new_number(txn, &m->numbers[i]);

	fill_record(&r, m->made[i], &m->moments[i]);
	r.number = m->numbers[i];
	history_record(m->hs[i], &track);
	if (!err)
		err = put_overlay(m, i, txn, &r);
	if (!err)
		err = track_put(txn, disk, &track);
	if (!err)
		err = moment_put(txn, disk, &m->moments[i]);
	return err ? err : snapshot_put(txn, &r);
}

int making_record(struct making *m, const struct moment_record *less)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin_growing(m->t->catalogue, m->count, &txn);

	if (err)
		return err;
	for (size_t i = 0; i < m->count && !err; i++)
		err = put_one(m, i, txn);
	if (!err && less)
		err = moment_put(txn, m->disks[0]->number, less);
	if (err) {
		catalogue_abort(txn);
		return err;
	}
	return catalogue_commit(txn);
}

void making_list(struct making *m, struct snapshot_facts *out)
{
	for (size_t i = 0; i < m->count; i++) {
		table_set(m->s, m->made[i], m->numbers[i], &m->moments[i], SNAPSHOT_SYNCHRONIZED);
		if (out)
			table_facts(m->s, m->made[i], &out[i]);
	}
}

static void announce_all(struct making *m)
{
	for (size_t i = 0; i < m->count; i++) {
		struct snapshot_facts f;

		if (!snapshot_numbered(m->t, m->numbers[i], &f))
			snapshot_announce(m->t, &f, "-", "Synchronized");
		snapshots_changed(m->t, m->disks[i]);
	}
}

static int snapshot_all(struct making *m, const char *name, bool plan, struct snapshot_facts *out,
			struct why *why)
{
	int err = take_names(m, name, plan, why);

	if (err || plan)
		return err;
	err = making_take(m, why);
	pthread_mutex_lock(&m->s->changing);
	if (!err) {
		err = making_record(m, NULL);
		if (err) {
			unrecorded(why, err);
			making_drop(m);
		}
	}
	if (err)
		give_up_names(m);
	else
		making_list(m, out);
	pthread_mutex_unlock(&m->s->changing);
	if (!err)
		announce_all(m);
	return err;
}

static int check_group(struct disk *const *disks, size_t count, const char *name, struct why *why)
{
	int err = name && name[0] ? name_check(name, why) : 0;

	if (!count)
		return refuse(why, -EINVAL, "there are no disks");
	for (size_t i = 0; i < count && !err; i++)
		err = past_check_disk(disks[i], why);
	return err;
}

int tandem_snapshot(struct tandem *t, struct disk *const *disks, size_t count, const char *name,
		    bool plan, struct snapshot_facts *out, struct why *why)
{
	struct making m;
	int err = check_group(disks, count, name, why);

	if (err)
		return err;
	for (size_t i = 0; i < count && !plan; i++)
		mirror_arrive(disks[i]);
	err = making_init(&m, t, disks, count);
	if (err)
		refuse(why, err, "%s", strerror(-err));
	else
		err = snapshot_all(&m, name, plan, out, why);
	making_free(&m);
	return err;
}

/* ---- a name for a moment that is kept ---- */

/* Under changing, and pinned, so that it is still kept. */
static int name_moment(struct making *m, const char *name, uint64_t g, bool plan,
		       struct snapshot_facts *out, struct why *why)
{
	int err = moment_exactly(m->disks[0], g, &m->moments[0]);

	if (err)
		return refuse(why, err, "g%llu is not kept", (unsigned long long)g);
	err = take_name(m, 0, name, why);
	if (!err && !plan) {
		m->moments[0].names = table_names(m->s, m->disks[0]->number, g, NULL) + 1;
		err = making_record(m, NULL);
		if (err)
			unrecorded(why, err);
	}
	if (err || plan) {
		give_up_names(m);
		return err;
	}
	moment_changed(m->s, m->disks[0], &m->moments[0]);
	making_list(m, out);
	return 0;
}

int tandem_snapshot_at(struct tandem *t, struct disk *d, const char *name, uint64_t generation,
		       bool plan, struct snapshot_facts *out, struct why *why)
{
	struct making m;
	int err = check_group(&d, 1, name, why);

	if (err)
		return err;
	err = making_init(&m, t, &d, 1);
	m.hs[0] = atomic_load(&d->history);
	if (!err)
		err = moment_pin(d, generation);
	if (err) {
		making_free(&m);
		return refuse(why, err, "g%llu is not kept", (unsigned long long)generation);
	}
	/* A tick was not flushed. */
	if (!plan)
		err = past_flush(d);
	if (err)
		refuse(why, err, "%s cannot be flushed: %s", d->label, strerror(-err));
	if (!err) {
		pthread_mutex_lock(&m.s->changing);
		err = name_moment(&m, name, generation, plan, out, why);
		pthread_mutex_unlock(&m.s->changing);
	}
	moment_unpin(d, generation);
	if (!err && !plan)
		announce_all(&m);
	making_free(&m);
	return err;
}

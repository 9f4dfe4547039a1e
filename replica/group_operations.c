// SPDX-License-Identifier: GPL-2.0-or-later
/* CreateGroup, DeleteGroup, and who is in a group. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groups_inner.h"
#include "pairs.h"
#include "scan.h"

#define OBJECT_NAME_MAX (sizeof("groups/") + NAME_BYTES_MAX)

static const char *object_of(const char *name, char buf[OBJECT_NAME_MAX])
{
	snprintf(buf, OBJECT_NAME_MAX, "groups/%s", name);
	return buf;
}

void group_announce(struct tandem *t, const char *name, const char *how, const char *member)
{
	char object[OBJECT_NAME_MAX], word[4 * DISK_LABEL_MAX + 1];

	events_emit(t->events, EVENT_INFORMATION, "GroupChanged", object_of(name, object), "%s%s",
		    how, member ? event_word(word, sizeof(word), member) : "");
	tandem_changed(t, NULL);
	joint_groups_changed(t);
}

static int unrecorded(struct why *why, int err)
{
	return refuse(why, err, "the group cannot be recorded: %s", strerror(-err));
}

static int check_writable(struct tandem *t, struct why *why)
{
	return t->read_only ? refuse(why, -EROFS, "the mount is read-only") : 0;
}

int group_find(struct tandem *t, uint32_t number, struct group **out, struct why *why)
{
	*out = group_of_number(t->groups, number);
	return *out ? check_writable(t, why) : refuse(why, -ENOENT, "the group is gone");
}

static void put_group(struct catalogue_txn *txn, const struct group *g, bool consistent)
{
	struct group_record r = {
		.number = g->number,
		.consistent = consistent,
		.pending = g->pending,
	};

	snprintf(r.name, sizeof(r.name), "%s", g->name);
	catalogue_put_group(txn, &r);
}

/* ---- CreateGroup, DeleteGroup ---- */

static int record_new(struct tandem *t, struct group *g)
{
	struct catalogue_txn *txn;
	int err = tandem_txn(t, &txn);

	if (err)
		return err;
	catalogue_new_number(txn, &g->number);
	put_group(txn, g, false);
	return tandem_commit(t);
}

static int make_group(struct tandem *t, const char *name, bool pending, struct why *why)
{
	struct group *g;
	int err = groups_room(t->groups) ?: group_new(0, name, false, &g);

	if (err)
		return refuse(why, err, "out of memory");
	g->pending = pending;
	err = record_new(t, g);
	if (err) {
		group_free(g);
		return unrecorded(why, err);
	}
	groups_put(t->groups, g);
	return 0;
}

static int create_group(struct tandem *t, const char *name, bool pending, bool plan,
			struct why *why)
{
	int err = name_check(name, why) ?: check_writable(t, why);
	char object[OBJECT_NAME_MAX];

	if (err)
		return err;
	pthread_mutex_lock(&t->discovery);
	if (group_of_name(t->groups, name))
		err = refuse(why, -EEXIST, "there is a group '%s' already", name);
	else if (!plan)
		err = make_group(t, name, pending, why);
	pthread_mutex_unlock(&t->discovery);
	if (err || plan)
		return err;
	events_emit(t->events, EVENT_INFORMATION, "GroupAdded", object_of(name, object), "%s", "");
	tandem_changed(t, NULL);
	return 0;
}

int tandem_create_group(struct tandem *t, const char *name, bool plan, struct why *why)
{
	return create_group(t, name, false, plan, why);
}

int tandem_begin_group(struct tandem *t, const char *name, struct why *why)
{
	return create_group(t, name, true, false, why);
}

/* With discovery held. */
static int record_finished(struct tandem *t, struct group *g)
{
	struct catalogue_txn *txn;
	int err = tandem_txn(t, &txn);

	g->pending = false;
	if (!err) {
		put_group(txn, g, g->consistent);
		err = tandem_commit(t);
	}
	return err;
}

int tandem_finish_group(struct tandem *t, uint32_t number, struct why *why)
{
	struct group *g;
	int err;

	pthread_mutex_lock(&t->discovery);
	err = group_find(t, number, &g, why);
	if (!err && g->pending && (err = record_finished(t, g)))
		unrecorded(why, err);
	pthread_mutex_unlock(&t->discovery);
	return err;
}

/* With discovery held. */
static struct group *next_pending(struct groups *gs)
{
	for (size_t i = 0; i < gs->count; i++)
		if (gs->list[i]->pending)
			return gs->list[i];
	return NULL;
}

void groups_settle_pending(struct tandem *t)
{
	char name[NAME_BYTES_MAX + 1];
	struct why ignored;
	struct group *g;

	for (;;) {
		pthread_mutex_lock(&t->discovery);
		g = t->groups ? next_pending(t->groups) : NULL;
		name[0] = '\0';
		if (g && g->pairs.count)
			record_finished(t, g); /* what fails is tried by the next start */
		else if (g)
			snprintf(name, sizeof(name), "%s", g->name);
		if (g)
			g->pending = false;
		pthread_mutex_unlock(&t->discovery);
		if (!g)
			return;
		if (name[0])
			tandem_delete_group(t, name, false, &ignored);
	}
}

/* With discovery held. One whose image is gone was shown for its group, maybe. */
static void look_again(struct tandem *t, uint32_t disk)
{
	struct disk *d = tandem_disk_numbered(t, disk);

	if (d && disk_state(d) == DISK_MISSING)
		scan_settle(t, d);
	disk_unref(d);
}

static void forget_group(struct tandem *t, struct group *g)
{
	groups_take_out(t->groups, g);
	for (size_t i = 0; i < g->disks.count; i++)
		look_again(t, g->disks.list[i]);
	group_free(g);
}

static int del_group(struct tandem *t, struct group *g)
{
	struct catalogue_txn *txn;
	uint32_t *pairs;
	size_t count;
	int err = group_pairs(t, g->number, &pairs, &count);

	if (err)
		return err;
	err = tandem_txn(t, &txn);
	if (err) {
		free(pairs);
		return err;
	}
	for (size_t i = 0; i < g->disks.count; i++)
		catalogue_del_member(txn, g->number, g->disks.list[i]);
	for (size_t i = 0; i < count; i++)
		catalogue_del_member(txn, g->number, pairs[i]);
	free(pairs);
	catalogue_del_group(txn, g->number);
	return tandem_commit(t);
}

int tandem_delete_group(struct tandem *t, const char *name, bool plan, struct why *why)
{
	int err = check_writable(t, why);
	char object[OBJECT_NAME_MAX];
	struct group *g;

	if (err)
		return err;
	pthread_mutex_lock(&t->discovery);
	g = group_of_name(t->groups, name);
	if (!g)
		err = refuse(why, -ENOENT, "there is no group '%.200s'", name);
	else if (!plan && (err = del_group(t, g)))
		unrecorded(why, err);
	else if (!plan)
		forget_group(t, g);
	pthread_mutex_unlock(&t->discovery);
	if (err || plan)
		return err;
	events_emit(t->events, EVENT_INFORMATION, "GroupRemoved", object_of(name, object), "%s",
		    "");
	tandem_changed(t, NULL);
	return 0;
}

static int record_consistent(struct tandem *t, const struct group *g, bool consistent)
{
	struct catalogue_txn *txn;
	int err = tandem_txn(t, &txn);

	if (err)
		return err;
	put_group(txn, g, consistent);
	return tandem_commit(t);
}

int tandem_set_group_consistent(struct tandem *t, uint32_t number, bool consistent, bool plan,
				struct why *why)
{
	char name[NAME_BYTES_MAX + 1];
	bool changes = false;
	struct group *g;
	int err;

	pthread_mutex_lock(&t->discovery);
	err = group_find(t, number, &g, why);
	if (!err && consistent)
		err = group_check_modes(t, number, why);
	if (!err) {
		snprintf(name, sizeof(name), "%s", g->name);
		changes = !plan && g->consistent != consistent;
	}
	if (changes) {
		err = record_consistent(t, g, consistent);
		if (err)
			unrecorded(why, err);
	}
	if (!err && changes) {
		pthread_rwlock_wrlock(&t->groups->lock);
		g->consistent = consistent;
		pthread_rwlock_unlock(&t->groups->lock);
	}
	pthread_mutex_unlock(&t->discovery);
	if (!err && changes)
		group_announce(t, name, consistent ? "Consistent=true" : "Consistent=false", NULL);
	return err;
}

/* ---- members ---- */

int group_record_member(struct tandem *t, uint32_t group, uint32_t member, bool add,
			struct why *why)
{
	struct catalogue_txn *txn;
	int err = tandem_txn(t, &txn);

	if (!err) {
		if (add)
			catalogue_put_member(txn, group, member);
		else
			catalogue_del_member(txn, group, member);
		err = tandem_commit(t);
	}
	return err ? unrecorded(why, err) : 0;
}

/* Of a disk that is being deleted there would be nothing to bring back. */
static int check_listed(struct disk *d, struct why *why)
{
	bool listed;

	pthread_mutex_lock(&d->lock);
	listed = d->listed;
	pthread_mutex_unlock(&d->lock);
	if (!listed)
		return refuse(why, -ENOENT, "%s is gone", d->label);
	/* By its identity it is found again; what has none gets another number at each start. */
	if (!d->identity.len)
		return refuse(why, -EBUSY, "%s is %s; this needs an image that can be known again",
			      d->label, disk_state_name(disk_state(d)));
	return 0;
}

int tandem_add_to_group(struct tandem *t, uint32_t number, struct disk *d, bool plan,
			struct why *why)
{
	struct group *g;
	int err;

	pthread_mutex_lock(&t->discovery);
	err = group_find(t, number, &g, why) ?: check_listed(d, why);
	if (!err && group_has(g, d->number))
		err = refuse(why, -EEXIST, "%s is in the group already", d->label);
	if (err || plan)
		goto out;
	err = numbers_room(t->groups, &g->disks)
		      ? refuse(why, -ENOMEM, "out of memory")
		      : group_record_member(t, number, d->number, true, why);
	if (err)
		goto out;
	numbers_put(t->groups, &g->disks, d->number);
	group_announce(t, g->name, "Added=", d->label);
out:
	pthread_mutex_unlock(&t->discovery);
	return err;
}

static void announce_removed(struct tandem *t, const struct group *g, uint32_t disk)
{
	struct disk *d = tandem_disk_numbered(t, disk);

	group_announce(t, g->name, "Removed=", d ? d->label : "-");
	disk_unref(d);
}

int tandem_remove_from_group(struct tandem *t, uint32_t number, uint32_t disk, bool plan,
			     struct why *why)
{
	struct group *g;
	int err;

	pthread_mutex_lock(&t->discovery);
	err = group_find(t, number, &g, why);
	if (!err && !group_has(g, disk))
		err = refuse(why, -ENOENT, "it is not in the group");
	if (err || plan)
		goto out;
	err = group_record_member(t, number, disk, false, why);
	if (err)
		goto out;
	numbers_take_out(t->groups, &g->disks, disk);
	announce_removed(t, g, disk);
	look_again(t, disk);
out:
	pthread_mutex_unlock(&t->discovery);
	return err;
}

/* ---- a disk is deleted ---- */

int groups_check_delete(struct disk *d, bool force, struct why *why)
{
	struct groups *gs = d->tandem->groups;

	for (size_t i = 0; gs && !force && i < gs->count; i++)
		if (group_has(gs->list[i], d->number))
			return refuse_advise(why, -EPERM, "DeleteDisk Name= Force",
					     "%s is in the group %s, and would leave it", d->label,
					     gs->list[i]->name);
	return 0;
}

void groups_forget(struct tandem *t, struct disk *d)
{
	struct groups *gs = t->groups;

	for (size_t i = 0; gs && i < gs->count; i++) {
		struct group *g = gs->list[i];

		if (!group_has(g, d->number))
			continue;
		/* What cannot be recorded is a member without a disk, which the next start drops. */
		group_record_member(t, g->number, d->number, false, NULL);
		numbers_take_out(gs, &g->disks, d->number);
		group_announce(t, g->name, "Removed=", d->label);
	}
}

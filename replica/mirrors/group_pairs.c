// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors as members of groups. All of a group have one mode, and none is behind another, so that
 * what is done to all can be done at one moment.
 *
 * A mirror joins under its changing, under which it also ends: so it is in no group then.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groups_inner.h"
#include "pairs_inner.h"

static const char *member_name(const char *name, char buf[SNAPSHOT_NAME_MAX + 10])
{
	snprintf(buf, SNAPSHOT_NAME_MAX + 10, "replicas/%s", name);
	return buf;
}

int group_pairs(struct tandem *t, uint32_t number, uint32_t **out, size_t *count)
{
	struct groups *gs = t->groups;
	struct group *g;
	int err = -ENOENT;

	if (!gs)
		return err;
	pthread_rwlock_rdlock(&gs->lock);
	g = group_of_number(gs, number);
	if (g) {
		*out = malloc((g->pairs.count + 1) * sizeof(**out));
		err = *out ? 0 : -ENOMEM;
	}
	if (!err) {
		*count = g->pairs.count;
		if (*count)
			memcpy(*out, g->pairs.list, *count * sizeof(**out));
	}
	pthread_rwlock_unlock(&gs->lock);
	return err;
}

static bool has(struct groups *gs, const struct group *g, uint32_t pair)
{
	bool is;

	pthread_rwlock_rdlock(&gs->lock);
	is = numbers_have(&g->pairs, pair);
	pthread_rwlock_unlock(&gs->lock);
	return is;
}

/* ---- may it join ---- */

/* The mode that was asked for: that of an adaptive one goes back and forth by itself. */
static const struct enum_value *mode_of(const struct pair_facts *f)
{
	static const struct enum_value adaptive = { "Adaptive", MODE_ADAPTIVE };
	const struct enum_value *mode = sync_modes;

	while (!f->adaptive && mode->name && mode->number != f->mode)
		mode++;
	return f->adaptive ? &adaptive : mode;
}

static const char *reset_to(const struct pair_facts *f)
{
	return f->adaptive                   ? "ResetToAdaptive"
	       : f->mode == MODE_SYNCHRONOUS ? "ResetToSync"
					     : "ResetToAsync";
}

static bool is_same_mode(const struct pair_facts *f, const struct pair_facts *o)
{
	return mode_of(f)->number == mode_of(o)->number;
}

/* It does not go with that one. */
static int check_beside(const struct pair *p, const struct pair_facts *f, const struct pair *other,
			const struct pair_facts *o, struct why *why)
{
	if (!is_same_mode(f, o))
		return refuse_advise(why, -EINVAL, reset_to(o), "it is %s, and %s is %s",
				     mode_of(f)->name, o->name, mode_of(o)->name);
	if (p->leg.source == other->leg.target)
		return refuse(why, -EINVAL, "its source is the target of %s", o->name);
	if (p->leg.target == other->leg.source)
		return refuse(why, -EINVAL, "its target is the source of %s", o->name);
	return 0;
}

static int check_members(struct tandem *t, uint32_t group, struct pair *p,
			 const struct pair_facts *f, struct why *why)
{
	struct pair_facts o;
	uint32_t *pairs;
	size_t count;
	int err = group_pairs(t, group, &pairs, &count);

	if (err)
		return refuse(why, err, "out of memory");
	for (size_t i = 0; i < count && !err; i++)
		if (!pair_numbered(t, pairs[i], &o))
			err = check_beside(p, f, pair_of_number(t->pairs, pairs[i]), &o, why);
	free(pairs);
	return err;
}

int group_check_modes(struct tandem *t, uint32_t number, struct why *why)
{
	struct pair_facts first = { 0 }, f;
	uint32_t *pairs;
	size_t count;
	int err = group_pairs(t, number, &pairs, &count);

	if (err)
		return refuse(why, err, "out of memory");
	for (size_t i = 0; i < count && !err; i++) {
		if (pair_numbered(t, pairs[i], &f))
			continue;
		if (!first.number)
			first = f;
		if (!is_same_mode(&f, &first))
			err = refuse_advise(why, -EBUSY, reset_to(&first), "%s is %s, and %s is %s",
					    f.name, mode_of(&f)->name, first.name,
					    mode_of(&first)->name);
	}
	free(pairs);
	return err;
}

/* A copy that goes on ends, or is suspended, by itself; what is done to a group is done to all. */
static int check_rest(const struct pair_facts *f, struct why *why)
{
	if (f->state == COPY_UNSYNCHRONIZED && f->copying)
		return refuse_advise(why, -EBUSY, "wait until it is Synchronized",
				     "%s is being copied, %u %% of it is done", f->target,
				     f->percent);
	return 0;
}

static int check_join(struct tandem *t, struct group *g, struct pair *p, struct why *why)
{
	struct pair_facts f;

	if (pair_numbered(t, p->number, &f))
		return refuse(why, -ENOENT, "there is no such mirror");
	if (has(t->groups, g, p->number))
		return refuse(why, -EEXIST, "%s is in the group already", f.name);
	if (f.moves)
		return refuse_advise(why, -EBUSY, "BreakMirrorVirtualDisk",
				     "it is there to move %s to %s", f.source, f.target);
	return check_rest(&f, why) ?: check_members(t, g->number, p, &f, why);
}

/* ---- AddSyncPair, RemoveSyncPair ---- */

/* With discovery and changing. */
static int join(struct tandem *t, struct group *g, struct pair *p, bool plan, struct why *why)
{
	char name[SNAPSHOT_NAME_MAX + 10];
	int err = check_join(t, g, p, why);

	if (err || plan)
		return err;
	if (numbers_room(t->groups, &g->pairs))
		return refuse(why, -ENOMEM, "out of memory");
	err = group_record_member(t, g->number, p->number, true, why);
	if (err)
		return err;
	numbers_put(t->groups, &g->pairs, p->number);
	group_announce(t, g->name, "Added=", member_name(p->name, name));
	return 0;
}

static int leave(struct tandem *t, struct group *g, struct pair *p, bool plan, struct why *why)
{
	char name[SNAPSHOT_NAME_MAX + 10];
	struct pair_facts f;
	int err = 0;

	if (!has(t->groups, g, p->number) || pair_numbered(t, p->number, &f))
		return refuse(why, -ENOENT, "it is not in the group");
	err = check_rest(&f, why);
	if (err || plan)
		return err;
	err = group_record_member(t, g->number, p->number, false, why);
	if (err)
		return err;
	numbers_take_out(t->groups, &g->pairs, p->number);
	group_announce(t, g->name, "Removed=", member_name(p->name, name));
	return 0;
}

static int change(struct tandem *t, uint32_t number, uint32_t pair,
		  int (*how)(struct tandem *, struct group *, struct pair *, bool, struct why *),
		  bool plan, struct why *why)
{
	struct group *g;
	struct pair *p;
	int err = pair_to_change(t, pair, &p, why);

	if (err)
		return err;
	pthread_mutex_lock(&t->discovery);
	pthread_mutex_lock(&p->changing);
	err = group_find(t, number, &g, why) ?: how(t, g, p, plan, why);
	pthread_mutex_unlock(&p->changing);
	pthread_mutex_unlock(&t->discovery);
	return err;
}

int tandem_add_pair_to_group(struct tandem *t, uint32_t number, uint32_t pair, bool plan,
			     struct why *why)
{
	return change(t, number, pair, join, plan, why);
}

int tandem_remove_pair_from_group(struct tandem *t, uint32_t number, uint32_t pair, bool plan,
				  struct why *why)
{
	return change(t, number, pair, leave, plan, why);
}

/* ---- a mirror ends ---- */

/* The first group behind `after` that has it, which may be gone by now; 0: none. */
static uint32_t next_of(struct groups *gs, uint32_t pair, uint32_t after,
			char name[NAME_BYTES_MAX + 1])
{
	uint32_t next = 0;

	pthread_rwlock_rdlock(&gs->lock);
	for (size_t i = 0; i < gs->count; i++) {
		const struct group *g = gs->list[i];

		if (g->number <= after || (next && g->number > next) ||
		    !numbers_have(&g->pairs, pair))
			continue;
		next = g->number;
		snprintf(name, NAME_BYTES_MAX + 1, "%s", g->name);
	}
	pthread_rwlock_unlock(&gs->lock);
	return next;
}

int groups_drop_pair(struct tandem *t, struct catalogue_txn *txn, uint32_t pair)
{
	char name[NAME_BYTES_MAX + 1];
	int err = 0;

	for (uint32_t g = 0; t->groups && !err && (g = next_of(t->groups, pair, g, name));)
		err = catalogue_del_member(txn, g, pair);
	return err;
}

void groups_forget_pair(struct tandem *t, uint32_t pair, const char *name)
{
	char group[NAME_BYTES_MAX + 1], member[SNAPSHOT_NAME_MAX + 10];
	struct groups *gs = t->groups;

	for (uint32_t number = 0; gs && (number = next_of(gs, pair, number, group));) {
		struct group *g;

		pthread_rwlock_wrlock(&gs->lock);
		g = group_of_number(gs, number);
		if (g)
			numbers_drop(&g->pairs, pair);
		pthread_rwlock_unlock(&gs->lock);
		group_announce(t, group, "Removed=", member_name(name, member));
	}
}

/* ---- at the start ---- */

/* One that ended, as far as an older program knows, is not missed. */
int group_load_pair(struct tandem *t, struct group *g, uint32_t number)
{
	struct pair_facts f;
	int err;

	if (pair_numbered(t, number, &f))
		return 0;
	err = numbers_room(t->groups, &g->pairs);
	if (!err)
		numbers_put(t->groups, &g->pairs, number);
	return err;
}

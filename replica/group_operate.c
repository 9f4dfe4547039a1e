// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One operation on the mirrors of a group: all or none. With discovery and the changing of all held,
 * by number, each is checked; then each is prepared, which a later one that cannot be takes back;
 * then all are recorded in one transaction, and ended. Who waits for disks that change images
 * waits until all have.
 *
 * Of a consistent group the synchronous ones stop at one instant, at which all their sources have no
 * request under way (mirror_part): what was answered before is on all targets, and nothing that
 * was begun later on any. The asynchronous ones stop, or take over, at one moment of their sources, to
 * which each is copied first, with no lock held (pair_meet.c). Where a source is not there any more, they
 * take over if that is what they did last: each records of which generation of its source it is, and
 * there is one counter of these for all disks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groups_inner.h"
#include "pairs_inner.h"
#include "sender.h"

/* A source that has not answered for so long would keep the others waiting. */
#define STUCK_NS 1000000000ull

struct operation {
	struct tandem *t;
	uint32_t group;
	enum replica_operation op;
	bool force, plan, consistent;
	bool together; /* they stop at one instant */
	bool met;   /* asynchronous, and their targets are what their sources were at one moment */
	bool apart; /* they did not get to one */
	bool alike; /* they are of one all the same */
	struct pair_step *steps; /* of those that are not skipped, by number */
	/* The same by source: who holds ranges of several disks takes them by the number of the disk. */
	struct pair_step **order;
	struct roles **roles;  /* of the same, where they change */
	bool *first, *drained; /* of the same: its target is half a disk; async_release is due */
	struct disk **parted;  /* likewise: its source, until it is recorded; references */
	size_t count, prepared;
};

static int refuse_of(const struct operation *o, size_t i, int err, struct why *why)
{
	struct why because = { .message = "" };

	if (!why)
		return err;
	because = *why;
	return refuse_advise(why, err, because.advice, "%s: %s", o->steps[i].p->name,
			     because.message);
}

/* ---- before ---- */

static int by_source(const void *a, const void *b)
{
	const struct pair_step *x = *(struct pair_step *const *)a;
	const struct pair_step *y = *(struct pair_step *const *)b;

	return x->p->leg.source < y->p->leg.source ? -1 : x->p->leg.source > y->p->leg.source;
}

static int operation_init(struct operation *o, const struct group_step *steps, size_t count)
{
	o->steps = calloc(count + 1, sizeof(*o->steps));
	o->order = calloc(count + 1, sizeof(struct pair_step *));
	o->first = calloc(count + 1, sizeof(*o->first));
	o->drained = calloc(count + 1, sizeof(*o->drained));
	o->parted = calloc(count + 1, sizeof(*o->parted));
	o->roles = calloc(count + 1, sizeof(*o->roles));
	if (!o->steps || !o->order || !o->roles || !o->first || !o->drained || !o->parted)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct pair *p = pair_of_number(o->t->pairs, steps[i].pair);

		if (!p)
			return -EAGAIN;
		if (!steps[i].skip)
			o->steps[o->count++] = (struct pair_step){ .p = p, .from = steps[i].from };
	}
	for (size_t i = 0; i < o->count; i++)
		o->order[i] = &o->steps[i];
	qsort(o->order, o->count, sizeof(struct pair_step *), by_source);
	return 0;
}

static void operation_free(struct operation *o)
{
	for (size_t i = 0; o->drained && i < o->count; i++)
		if (o->drained[i])
			async_release(o->steps[i].p);
	for (size_t i = 0; o->roles && i < o->count; i++)
		roles_free(o->roles[i]);
	free(o->roles);
	free(o->order);
	free(o->steps);
	free(o->first);
	free(o->drained);
	free(o->parted);
}

/* They are those of which it was looked at whether this may be done. */
static int check_members(const struct operation *o, const struct group_step *steps, size_t count)
{
	uint32_t *pairs;
	size_t now;
	int err = group_pairs(o->t, o->group, &pairs, &now);

	if (err)
		return err;
	if (now != count)
		err = -EAGAIN;
	for (size_t i = 0; i < count && !err; i++)
		err = pairs[i] == steps[i].pair ? 0 : -EAGAIN;
	free(pairs);
	return err;
}

static bool stops(const struct operation *o)
{
	return o->op == OP_SPLIT || o->op == OP_SUSPEND;
}

static bool are_async(const struct operation *o)
{
	bool all = o->count;

	for (size_t i = 0; i < o->count && all; i++) {
		struct pair_record r = pair_record_of(o->steps[i].p);

		all = pair_is_async(&r);
	}
	return all;
}

static bool has_source(const struct operation *o, size_t i)
{
	struct disk *d = pair_source(o->steps[i].p);
	bool has = d && d->image && disk_is_served(d);

	disk_unref(d);
	return has;
}

/* Those of a consistent group, if all follow their sources. */
static bool is_to_meet(const struct operation *o)
{
	struct group_facts g;
	bool all = (stops(o) || o->op == OP_FAILOVER) && are_async(o) &&
		   !group_numbered(o->t, o->group, &g) && g.consistent;

	for (size_t i = 0; i < o->count && all; i++)
		all = pair_record_of(o->steps[i].p).copy_state == COPY_SYNCHRONIZED &&
		      (o->op != OP_FAILOVER || has_source(o, i));
	return all;
}

static int meet_all(struct operation *o, struct why *why)
{
	struct pair **pairs = calloc(o->count, sizeof(struct pair *));
	size_t which = 0;
	int err = pairs ? 0 : -ENOMEM;

	for (size_t i = 0; i < o->count && !err; i++)
		pairs[i] = o->steps[i].p;
	if (!err) {
		err = async_meet(o->t, pairs, o->count, &which, why);
		if (err)
			refuse_of(o, which, err, why);
	}
	for (size_t i = 0; i < o->count && !err; i++)
		o->drained[i] = true;
	o->met = !err;
	free(pairs);
	/* What a source does not give any more is no reason not to go on without it. */
	o->apart = err == -ETIMEDOUT && o->op == OP_FAILOVER;
	return o->apart ? 0 : err;
}

/* With no lock held: what may take long. */
static int copy_all(struct operation *o, struct why *why)
{
	int err = 0;

	for (size_t i = 0; i < o->count && !err; i++) {
		struct pair_step *s = &o->steps[i];

		if (o->op == OP_SPLIT && s->from == COPY_UNSYNCHRONIZED &&
		    !pair_record_of(s->p).back) {
			err = pair_drain(s->p, why);
			s->from = COPY_SYNCHRONIZED;
		}
		if (err)
			refuse_of(o, i, err, why);
	}
	return err;
}

/* Likewise. */
static int drain_all(struct operation *o, struct why *why)
{
	int err = copy_all(o, why);

	if (!err && is_to_meet(o))
		return meet_all(o, why);
	for (size_t i = 0; i < o->count && !err; i++) {
		err = async_prepare(o->steps[i].p, o->op, o->force, &o->drained[i], why);
		if (err)
			refuse_of(o, i, err, why);
	}
	return err;
}

static bool changes_roles(const struct operation *o)
{
	return o->op == OP_FAILOVER || o->op == OP_FAILBACK || o->op == OP_REVERSE_ROLES;
}

static bool takes_back(const struct operation *o)
{
	bool takes = false;

	for (size_t i = 0; i < o->count && changes_roles(o) && !takes; i++) {
		struct pair_record r = pair_record_of(o->steps[i].p);

		takes = pair_is_async(&r);
	}
	return takes;
}

/* Likewise. */
static int begin_roles(struct operation *o, struct why *why)
{
	int err = 0;

	for (size_t i = 0; i < o->count && !err && changes_roles(o); i++) {
		o->roles[i] = roles_new(o->steps[i].p, o->op, o->force);
		if (!o->roles[i])
			return -ENOMEM;
		err = async_check_operation(o->steps[i].p, o->op, why)
			      ?: roles_begin(o->roles[i], o->steps[i].from, o->met, o->plan, why);
		if (err)
			refuse_of(o, i, err, why);
	}
	return err;
}

/* ---- checks ---- */

static int check_one(struct operation *o, size_t i, struct why *why)
{
	struct pair_step *s = &o->steps[i];
	int err = async_check_operation(s->p, o->op, why);

	if (!err && o->op != OP_FAILOVER) /* that ends it */
		err = pair_check_back(&s->r, o->op, why);
	if (err)
		return err;
	switch (o->op) {
	case OP_FAILOVER:
	case OP_FAILBACK:
	case OP_REVERSE_ROLES:
		return roles_check(o->roles[i], s, why);
	case OP_ACTIVATE:
	case OP_RESUME:
	case OP_RESYNC_REPLICA:
		return pair_check_copy(s->p, &s->r, o->force, why);
	case OP_DETACH:
		return pair_check_end(&s->r, o->force, why);
	default:
		return 0;
	}
}

static bool is_target(struct tandem *t, uint32_t disk)
{
	struct disk *d = tandem_disk_numbered(t, disk);
	struct mirror *m = d ? atomic_load(&d->mirror) : NULL;
	bool is = m && atomic_load(&m->of);

	disk_unref(d);
	return is;
}

/* Who writes holds a range of a source and waits for one of its target. */
static int check_source(struct operation *o, size_t i, struct why *why)
{
	struct disk *d = pair_source(o->steps[i].p);
	const char *instead = o->together ? "DeactivateConsistency"
					  : "give it to each, in replicas/NAME/control";
	uint64_t busy = d ? gate_oldest(&d->gate, monotonic_ns()) : 0;
	uint64_t sent = sender_busy(o->steps[i].p->leg.sender);
	int err = 0;

	busy = sent > busy ? sent : busy;

	if (is_target(o->t, o->steps[i].p->leg.source))
		err = refuse_advise(why, -EBUSY, instead,
				    "%s is the target of another mirror, and cannot stop at one "
				    "instant with others",
				    d ? d->label : "its source");
	else if (busy > STUCK_NS)
		err = refuse_advise(why, -ETIMEDOUT, instead,
				    "%s has not answered a request for %llu ms", d->label,
				    (unsigned long long)busy / 1000000);
	disk_unref(d);
	return err;
}

/* It is in the state in which it was, in which the table allows this. */
static int look_at(struct operation *o, size_t i)
{
	struct pair_step *s = &o->steps[i];
	struct pair_facts f;

	if (pair_numbered(o->t, s->p->number, &f) || f.state != s->from)
		return -EAGAIN;
	s->r = pair_record_of(s->p);
	if (!changes_roles(o)) /* that something is lost is a fact before it is recorded */
		s->from = s->r.copy_state;
	o->first[i] = f.first;
	if (f.state != COPY_SYNCHRONIZED || pair_is_async(&s->r))
		o->together = false;
	return 0;
}

/* Images of one source change places with one target. */
static int check_alone(struct operation *o, size_t i, struct why *why)
{
	for (size_t k = 0; k < i; k++)
		if (o->steps[k].p->leg.source == o->steps[i].p->leg.source)
			return refuse_advise(why, -EBUSY, "RemoveSyncPair",
					     "it has the source of %s", o->steps[k].p->name);
	return 0;
}

/* Its target is used as it is then, beside those of the others. */
static bool leaves_targets(const struct operation *o, size_t i)
{
	return stops(o) || o->op == OP_FAILOVER ||
	       (o->op == OP_REVERSE_ROLES && o->steps[i].from != COPY_FAILEDOVER);
}

/* Of a consistent group, and asynchronous. */
static int check_met(struct operation *o, struct why *why)
{
	if (o->met || (o->plan && are_async(o)))
		return 0;
	/* It is consistent since it was asked; or one is Synchronized by now. */
	if (is_to_meet(o))
		return -EAGAIN;
	/* Those that are being copied are suspended each for itself. */
	if (o->op == OP_SUSPEND)
		return 0;
	return refuse_advise(why, -EOPNOTSUPP, "DeactivateConsistency",
			     "not all mirrors are asynchronous just now");
}

static bool are_of_one_moment(const struct operation *o)
{
	uint64_t of = o->steps[0].r.of;
	bool are = of;

	for (size_t i = 1; i < o->count && are; i++)
		are = o->steps[i].r.of == of;
	return are;
}

/*
 * Each target is what its source is, or was when that went: so it was when the first of them was looked
 * at, if no cycle went on since.
 */
static bool all_lack_nothing(const struct operation *o)
{
	bool all = true;

	for (size_t i = 0; i < o->count && all; i++) {
		const struct pair_step *s = &o->steps[i];
		struct disk *target = pair_target(s->p);

		all = target && target->image && pair_is_async(&s->r) && s->r.steady &&
		      !s->r.written && !s->r.shows && !marks_bytes(s->p->leg.marks) &&
		      marks_size(s->p->leg.marks) == disk_size(target);
		disk_unref(target);
	}
	return all;
}

/* Likewise, where targets are used from here on: those that have met, now or before. */
static int check_moment(struct operation *o, struct why *why)
{
	if (o->met || (o->plan && is_to_meet(o)))
		return 0;
	if (!o->apart && is_to_meet(o))
		return -EAGAIN;
	if (o->alike)
		return 0;
	return refuse_advise(
		why, -EOPNOTSUPP,
		o->op == OP_FAILOVER
			? "DeactivateConsistency, and then this: each takes over as of "
			  "its own generation"
			: "ResyncReplica and Split of the group, and then this",
		"the targets are generations of different moments, and cannot be copied "
		"to one just now");
}

/* What several of them hold at once nobody may wait for who holds what others want. */
static int check_together(struct operation *o, size_t i, struct why *why)
{
	int err = changes_roles(o) ? check_alone(o, i, why) : 0;

	if (err)
		return err;
	if (o->together || (changes_roles(o) && o->count > 1))
		err = check_source(o, i, why);
	if (err || o->together)
		return err;
	if (!o->consistent || !leaves_targets(o, i) || !pair_is_async(&o->steps[i].r))
		return 0;
	return stops(o) ? check_met(o, why) : check_moment(o, why);
}

static int check_all(struct operation *o, struct why *why)
{
	int err = o->consistent ? group_check_modes(o->t, o->group, why) : 0;

	o->together = o->count && o->consistent && (o->op == OP_SPLIT || o->op == OP_SUSPEND);
	for (size_t i = 0; i < o->count && !err; i++)
		err = look_at(o, i);
	/* Before that is what it is to be. */
	o->alike = !err && o->count && (are_of_one_moment(o) || all_lack_nothing(o));
	for (size_t i = 0; i < o->count && !err; i++) {
		err = check_together(o, i, why) ?: check_one(o, i, why);
		if (err)
			refuse_of(o, i, err, why);
	}
	return err;
}

/* ---- one instant ---- */

/* Those that write: none of another state is left by then. */
static int part_all(struct operation *o, struct why *why)
{
	struct leg **legs = calloc(o->count, sizeof(struct leg *));
	struct disk **sources = calloc(o->count, sizeof(struct disk *));
	size_t which = 0, found = 0;
	int err = legs && sources ? 0 : -ENOMEM;

	for (; found < o->count && !err; found += !err) {
		legs[found] = &o->order[found]->p->leg;
		sources[found] = pair_source(o->order[found]->p);
		err = sources[found] ? 0 : -ENOENT;
	}
	if (!err)
		err = mirror_part(legs, sources, o->count, &which);
	if (err == -EAGAIN)
		refuse(why, err, "%s: it is not Synchronized just now", o->order[which]->p->name);
	else if (err)
		refuse(why, err, "%s", strerror(-err));
	for (size_t i = 0; i < o->count && !err; i++)
		o->parted[i] = pair_source(o->steps[i].p);
	for (size_t i = 0; i < found; i++)
		disk_unref(sources[i]);
	free(legs);
	free(sources);
	return err;
}

static void rejoin_all(struct operation *o)
{
	for (size_t i = 0; i < o->count; i++) {
		if (!o->parted[i])
			continue;
		if (atomic_load(&o->steps[i].p->leg.parted))
			mirror_rejoin(o->parted[i], &o->steps[i].p->leg);
		disk_unref(o->parted[i]);
		o->parted[i] = NULL;
	}
}

/* ---- the operation ---- */

static int prepare_one(struct operation *o, struct pair_step *s, struct why *why)
{
	switch (o->op) {
	case OP_FAILOVER:
	case OP_FAILBACK:
	case OP_REVERSE_ROLES:
		return roles_prepare(s, why);
	case OP_ACTIVATE:
		s->r.pending = false;
		return pair_prepare_copy(s, why);
	case OP_RESUME:
	case OP_RESYNC_REPLICA:
		return pair_prepare_copy(s, why);
	case OP_DETACH:
		return pair_prepare_end(s, o->force, why);
	case OP_SPLIT:
		return pair_prepare_stop(s, COPY_SPLIT, why);
	case OP_SUSPEND:
		return pair_prepare_stop(s, COPY_SUSPENDED, why);
	default:
		return refuse(why, -EOPNOTSUPP, "a group has no %s",
			      enum_name(replica_operations, o->op));
	}
}

static int prepare_all(struct operation *o, struct why *why)
{
	int err = 0;

	while (!err && o->prepared < o->count) {
		struct pair_step *s = o->order[o->prepared];

		err = prepare_one(o, s, why);
		if (err)
			refuse_of(o, s - o->steps, err, why);
		o->prepared += !err;
	}
	return err;
}

/* With discovery and changing of all. */
static int do_all(struct operation *o, struct why *why)
{
	int err = o->together ? part_all(o, why) : 0;

	if (!err)
		err = prepare_all(o, why);
	if (!err && o->count) {
		err = pair_record_steps(o->steps, o->count);
		if (err)
			refuse(why, err, "it cannot be recorded: %s", strerror(-err));
	}
	for (size_t i = 0; i < o->prepared; i++)
		o->order[i]->end(o->order[i], !err);
	rejoin_all(o);
	return err;
}

static int operate_held(struct operation *o, const struct group_step *steps, size_t count,
			struct why *why)
{
	struct group *g;
	int err = group_find(o->t, o->group, &g, why);

	if (err)
		return err;
	o->consistent = g->consistent;
	err = check_members(o, steps, count) ?: check_all(o, why);
	return err || o->plan ? err : do_all(o, why);
}

int tandem_operate_group(struct tandem *t, uint32_t number, enum replica_operation op,
			 const struct group_step *steps, size_t count, bool force, bool plan,
			 struct why *why)
{
	struct operation o = { .t = t, .group = number, .op = op, .force = force, .plan = plan };
	int err = operation_init(&o, steps, count);

	/* What one of them is refused is so before a generation of another is taken back. */
	if (!err && !plan && takes_back(&o))
		err = tandem_operate_group(t, number, op, steps, count, force, true, why);
	if (!err && !plan)
		err = drain_all(&o, why);
	if (!err)
		err = begin_roles(&o, why);
	if (!err) {
		pthread_mutex_lock(&t->discovery);
		for (size_t i = 0; i < o.count; i++)
			pthread_mutex_lock(&o.steps[i].p->changing);
		err = operate_held(&o, steps, count, why);
		for (size_t i = o.count; i-- > 0;)
			pthread_mutex_unlock(&o.steps[i].p->changing);
		for (size_t i = 0; i < o.count && changes_roles(&o); i++)
			roles_finish(o.roles[i]);
		pthread_mutex_unlock(&t->discovery);
	}
	for (size_t i = 0; !err && !plan && op == OP_DETACH && i < o.count; i++)
		if (o.first[i])
			pair_delete_half(o.steps[i].p);
	operation_free(&o);
	return err == -ENOMEM ? refuse(why, err, "out of memory") : err;
}

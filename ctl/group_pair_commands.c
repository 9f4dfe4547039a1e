// SPDX-License-Identifier: GPL-2.0-or-later
/* What groups/NAME/control does with the mirrors of a group. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groups.h"
#include "inner.h"
#include "replica_facts.h"
#include "replica_operations.h"

enum { MEMBER_NAME };

/* As under replicas/, or as `members` has it. */
static const char *pair_name(const struct request *r)
{
	static const char prefix[] = "replicas/";
	const char *name = r->args[MEMBER_NAME].text;

	return strncmp(name, prefix, strlen(prefix)) ? name : name + strlen(prefix);
}

static int refuse_name(const struct request *r, const char *name)
{
	struct snapshot_facts s;
	struct clone_facts c;

	if (!snapshot_labelled(r->ctl->tandem, name, &s) || !clone_named(r->ctl->tandem, name, &c))
		return refuse(&r->result->why, -EOPNOTSUPP,
			      "%.256s is no mirror; of relationships a group has mirrors only",
			      name);
	return refuse(&r->result->why, -ENOENT, "there is no relationship %.200s", name);
}

int group_add_pair(const struct request *r)
{
	const char *name = pair_name(r);
	struct pair_facts p;
	int err;

	if (pair_named(r->ctl->tandem, name, &p))
		return refuse_name(r, name);
	err = tandem_add_pair_to_group(r->ctl->tandem, r->group, p.number, r->plan,
				       &r->result->why);
	if (!err)
		result_say(r->result, "%s %s", r->plan ? "would add" : "added", p.name);
	return err;
}

int group_remove_pair(const struct request *r)
{
	const char *name = pair_name(r);
	struct pair_facts p;
	int err;

	if (pair_named(r->ctl->tandem, name, &p))
		return refuse(&r->result->why, -ENOENT, "there is no mirror %.200s", name);
	err = tandem_remove_pair_from_group(r->ctl->tandem, r->group, p.number, r->plan,
					    &r->result->why);
	if (!err)
		result_say(r->result, "%s %s; it stays what it is",
			   r->plan ? "would remove" : "removed", p.name);
	return err;
}

/* ---- operations on all ---- */

/* The members are looked at again so often when one changes meanwhile. */
#define TRIES 20

struct plan {
	struct group_step *steps;
	size_t count, skipped;
	uint8_t next; /* of the others */
	const char *loses;
};

#define IS(state) (1u << (state))

/* CopyStates in which a member is where the operation leads, or on its way there. */
static const uint32_t goals[OP_MAX] = {
	[OP_FAILOVER] = IS(COPY_FAILEDOVER),
	[OP_FAILBACK] = IS(COPY_UNSYNCHRONIZED) | IS(COPY_SYNCHRONIZED),
	[OP_RESYNC_REPLICA] = IS(COPY_UNSYNCHRONIZED) | IS(COPY_SYNCHRONIZED),
	[OP_RESUME] = IS(COPY_UNSYNCHRONIZED) | IS(COPY_SYNCHRONIZED),
	[OP_SPLIT] = IS(COPY_SPLIT),
	[OP_SUSPEND] = IS(COPY_SUSPENDED),
};

static int plan_one(const struct request *r, enum replica_operation op, struct group_step *step,
		    struct plan *plan)
{
	struct replica_facts f;
	struct why why = { .message = "" };
	const char *loses;
	uint8_t next;
	int err;

	if (replica_facts(r->ctl->tandem, step->pair, &f))
		return -EAGAIN;
	step->from = f.copy_state;
	step->skip = goals[op] & IS(f.copy_state);
	if (step->skip) {
		plan->skipped++;
		return 0;
	}
	err = replica_operation_check(f.sync_type, op, f.copy_state, f.whole, r->force, &next,
				      &why);
	if (err)
		return refuse_advise(&r->result->why, err, why.advice, "%s: %s", f.label,
				     why.message);
	loses = replica_operation_loses(f.sync_type, op, f.copy_state, f.whole);
	plan->loses = loses ? loses : plan->loses;
	plan->next = next;
	return 0;
}

static int make_plan(const struct request *r, enum replica_operation op, struct plan *plan)
{
	uint32_t *pairs;
	int err = group_pairs(r->ctl->tandem, r->group, &pairs, &plan->count);

	if (err)
		return refuse(&r->result->why, err,
			      err == -ENOENT ? "the group is gone" : "out of memory");
	plan->steps = calloc(plan->count + 1, sizeof(*plan->steps));
	if (!plan->steps)
		err = refuse(&r->result->why, -ENOMEM, "out of memory");
	else if (!plan->count)
		err = refuse_advise(&r->result->why, -EBUSY,
				    "AddSyncPair Name=", "the group has no mirrors");
	for (size_t i = 0; i < plan->count && !err; i++) {
		plan->steps[i].pair = pairs[i];
		err = plan_one(r, op, &plan->steps[i], plan);
	}
	free(pairs);
	return err;
}

static void say(const struct request *r, enum replica_operation op, const struct plan *plan)
{
	size_t done = plan->count - plan->skipped;
	char skipped[60] = "";

	if (plan->skipped)
		snprintf(skipped, sizeof(skipped), "; %zu %s already", plan->skipped,
			 plan->skipped == 1 ? "was so" : "were so");
	if (!done)
		result_say(r->result, "all mirrors are so already; nothing %s",
			   r->plan ? "would be done" : "was done");
	else
		result_say(r->result, "%zu mirror%s %s %s: %s%s%s%s", done, done == 1 ? "" : "s",
			   r->plan    ? "would be"
			   : done > 1 ? "are"
				      : "is",
			   plan->next == GONE ? "gone" : enum_name(copy_states, plan->next),
			   replica_operation_means(op), skipped,
			   plan->loses ? "; Force agreed, although " : "",
			   plan->loses ? plan->loses : "");
}

static int operate_once(const struct request *r, enum replica_operation op)
{
	struct plan plan = { .next = 0 };
	int err = make_plan(r, op, &plan);

	if (!err && plan.skipped < plan.count)
		err = tandem_operate_group(r->ctl->tandem, r->group, op, plan.steps, plan.count,
					   r->force, r->plan, &r->result->why);
	if (!err) {
		say(r, op, &plan);
		if (plan.next == COPY_UNSYNCHRONIZED || goals[op] & IS(COPY_SYNCHRONIZED))
			r->result->copy = r->group;
	}
	free(plan.steps);
	return err;
}

int group_operate(const struct request *r)
{
	enum replica_operation op = r->command->number;
	int err = -EAGAIN;

	for (int i = 0; i < TRIES && err == -EAGAIN; i++)
		err = operate_once(r, op);
	return err == -EAGAIN ? refuse(&r->result->why, -EBUSY,
				       "its mirrors change from one CopyState to another just now")
			      : err;
}

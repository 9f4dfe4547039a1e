// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The properties of a group: what its mirrors have in common. CopyState, RequestedCopyState and
 * ProgressStatus have a word for what they have not, Mixed; of numbers the one that promises
 * least counts; all else is NULL then.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "groups.h"
#include "inner.h"
#include "replica_facts.h"

/* Each field has a value that property_value() takes for NULL. */
static const struct replica_facts none = {
	.copy_state = COPY_NOT_APPLICABLE,
	.requested = COPY_NOT_APPLICABLE,
	.progress = PROGRESS_NOT_APPLICABLE,
	.percent = REPLICA_UNKNOWN,
	.objective_s = REPLICA_UNKNOWN,
	.replica_type = REPLICA_UNKNOWN,
	.priority = REPLICA_UNKNOWN,
	.methodology = REPLICA_UNKNOWN,
};

#define UNLESS_SAME(field, other)             \
	do {                                  \
		if (all->field != one->field) \
			all->field = other;   \
	} while (0)

static void merge(struct replica_facts *all, const struct replica_facts *one)
{
	UNLESS_SAME(copy_state, COPY_MIXED);
	UNLESS_SAME(requested, COPY_MIXED);
	UNLESS_SAME(progress, PROGRESS_MIXED);
	UNLESS_SAME(sync_type, none.sync_type);
	UNLESS_SAME(sync_mode, none.sync_mode);
	UNLESS_SAME(copy_type, none.copy_type);
	UNLESS_SAME(sync_state, none.sync_state);
	UNLESS_SAME(replica_type, none.replica_type);
	UNLESS_SAME(priority, none.priority);
	UNLESS_SAME(methodology, none.methodology);
	all->error = all->error ? all->error : one->error;
	if (one->sync_time_ms < all->sync_time_ms)
		all->sync_time_ms = one->sync_time_ms;
	if (one->percent < all->percent)
		all->percent = one->percent;
	if (one->objective_s > all->objective_s)
		all->objective_s = one->objective_s;
}

static bool ends_waits(const struct replica_facts *r)
{
	return r->copy_state == COPY_BROKEN || r->copy_state == COPY_ABORTED ||
	       r->copy_state == COPY_FAILEDOVER;
}

int group_replica_facts(struct tandem *t, uint32_t number, struct replica_facts *out)
{
	struct replica_facts all = none, one;
	struct pair_facts p;
	bool any = false;
	uint32_t *pairs;
	size_t count;
	int err = group_pairs(t, number, &pairs, &count);

	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		if (pair_numbered(t, pairs[i], &p))
			continue; /* it ends just now */
		replica_facts_of_pair(&p, &one);
		one.error = ends_waits(&one) ? -ECANCELED : 0;
		if (any)
			merge(&all, &one);
		else
			all = one;
		any = true;
	}
	free(pairs);
	all.number = number;
	*out = all;
	return 0;
}

int property_facts(struct tandem *t, uint32_t object, struct replica_facts *out)
{
	int err = replica_facts(t, object, out);

	return err == -ENOENT ? group_replica_facts(t, object, out) : err;
}

bool property_is_of_groups(const struct property *p)
{
	return p->type != PROPERTY_STRING; /* it has several sources and targets */
}

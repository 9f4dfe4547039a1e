// SPDX-License-Identifier: GPL-2.0-or-later
/* Set of replicas/NAME/control. */
#include "inner.h"

#include <errno.h>

#include "clones.h"
#include "pairs.h"
#include "replica_facts.h"

enum { SET_PRIORITY, SET_RECOVERY, SET_STOPS_HOST_IO, SET_OBJECTIVE, SET_ACKNOWLEDGE };

const struct parameter replica_set_parameters[] = {
	[SET_PRIORITY] = { "CopyPriority", VALUE_ENUM, .values = copy_priorities },
	[SET_RECOVERY] = { "CopyRecoveryMode", VALUE_ENUM, .values = recovery_modes },
	[SET_STOPS_HOST_IO] = { "FailedCopyStopsHostIO", VALUE_BOOL },
	[SET_OBJECTIVE] = { "RecoveryPointObjective", VALUE_NUMBER },
	[SET_ACKNOWLEDGE] = { "AcknowledgeAt", VALUE_ENUM, .values = acknowledge_points },
	{ NULL },
};

static int set_pair(const struct request *r)
{
	const struct argument *a = r->args;
	const struct pair_settings s = {
		.has_priority = a[SET_PRIORITY].given,
		.priority = a[SET_PRIORITY].number,
		.has_recovery = a[SET_RECOVERY].given,
		.manual = a[SET_RECOVERY].number == RECOVERY_MANUAL,
		.has_stops = a[SET_STOPS_HOST_IO].given,
		.stops_host_io = a[SET_STOPS_HOST_IO].number,
		.has_objective = a[SET_OBJECTIVE].given,
		.objective_s = a[SET_OBJECTIVE].number,
		.has_acknowledge = a[SET_ACKNOWLEDGE].given,
		.at_flush = a[SET_ACKNOWLEDGE].number == ACKNOWLEDGE_FLUSH,
	};

	if (s.has_objective && a[SET_OBJECTIVE].number > UINT32_MAX)
		return refuse(&r->result->why, -EINVAL, "RecoveryPointObjective is too large");
	return tandem_set_pair(r->ctl->tandem, r->replica, &s, r->plan, &r->result->why);
}

static int set_clone(const struct request *r, const struct replica_facts *f)
{
	for (int i = SET_RECOVERY; i <= SET_ACKNOWLEDGE; i++)
		if (r->args[i].given)
			return refuse(&r->result->why, -EOPNOTSUPP, "a %s has no %s",
				      enum_name(sync_types, f->sync_type),
				      replica_set_parameters[i].key);
	return tandem_set_clone_priority(r->ctl->tandem, f->number,
					 (enum copy_priority)r->args[SET_PRIORITY].number, r->plan,
					 &r->result->why);
}

int set_replica(const struct request *r)
{
	struct replica_facts f;
	int err;

	if (replica_facts(r->ctl->tandem, r->replica, &f))
		return refuse(&r->result->why, -ENOENT, "the relationship is gone");
	if (f.sync_type == SYNC_MIRROR)
		err = set_pair(r);
	else if (f.sync_type == SYNC_CLONE)
		err = set_clone(r, &f);
	else
		err = refuse(&r->result->why, -EOPNOTSUPP, "nothing is copied of a %s",
			     enum_name(sync_types, f.sync_type));
	if (!err)
		result_say(r->result, r->plan ? "would be set" : "is set");
	return err;
}

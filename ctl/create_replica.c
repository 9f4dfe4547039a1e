// SPDX-License-Identifier: GPL-2.0-or-later
/* CreateReplica of disks/DISK/control: which words go with which SyncType. */
#include "inner.h"

#include <errno.h>

#include "clones.h"
#include "kept.h"
#include "pairs.h"

enum {
	REPLICA_SYNC_TYPE,
	REPLICA_ELEMENT_NAME,
	REPLICA_COPY_PRIORITY,
	REPLICA_COPY_METHODOLOGY,
	REPLICA_TARGET_VOLUME,
	REPLICA_FORMAT,
	REPLICA_TOKEN,
	REPLICA_TARGET_POOL,
	REPLICA_MODE,
	REPLICA_SUPPLIER,
	REPLICA_STOPS_HOST_IO,
	REPLICA_RECOVERY,
	REPLICA_WAIT_FOR,
	REPLICA_OBJECTIVE,
	REPLICA_SKEW_LIMIT,
	REPLICA_ACKNOWLEDGE,
	REPLICA_THIN,
	REPLICA_QUORUM,
	REPLICA_TARGET_SYSTEM,
	REPLICA_USERNAME,
	REPLICA_PASSWORD,
};

enum supplier { USE_EXISTING = 1, CREATE_NEW, USE_AND_CREATE, WE_DECIDE, CLIENT_MUST_SUPPLY };

// clang-format off
static const struct enum_value suppliers[] = {
	{ "Use Existing", USE_EXISTING },
	{ "Create New", CREATE_NEW },
	{ "Use and Create", USE_AND_CREATE },
	{ "Implementation decides", WE_DECIDE },
	{ "Client Must Supply", CLIENT_MUST_SUPPLY },
	{ NULL },
};

enum thin { THIN_TO_THIN = 2, THIN_TO_FULL, FULL_TO_THIN, AS_SOURCE, THIN_WE_DECIDE = 7 };

static const struct enum_value thin_policies[] = {
	{ "Copy thin source to thin target", THIN_TO_THIN },
	{ "Copy thin source to full target", THIN_TO_FULL },
	{ "Copy full source to thin target", FULL_TO_THIN },
	{ "Provisioning of target same as source", AS_SOURCE },
	{ "Implementation decides", THIN_WE_DECIDE },
	{ NULL },
};

/* How far CreateReplica gets by itself; from the others Activate leads on. */
static const struct enum_value first_states[] = {
	{ "Initialized", COPY_INITIALIZED },
	{ "Unsynchronized", COPY_UNSYNCHRONIZED },
	{ "Prepared", COPY_PREPARED },
	{ NULL },
};

const struct parameter create_replica_parameters[] = {
	[REPLICA_SYNC_TYPE]        = { "SyncType", VALUE_ENUM, .required = true,
				       .values = sync_types },
	[REPLICA_ELEMENT_NAME]     = { "ElementName", VALUE_NAME },
	[REPLICA_COPY_PRIORITY]    = { "CopyPriority", VALUE_ENUM, .values = copy_priorities },
	[REPLICA_COPY_METHODOLOGY] = { "CopyMethodology", VALUE_ENUM,
				       .values = copy_methodologies },
	[REPLICA_TARGET_VOLUME]    = { "TargetStorageVolume", VALUE_TEXT },
	[REPLICA_FORMAT]           = { "Format", VALUE_TEXT },
	[REPLICA_TOKEN]            = { "Token", VALUE_TEXT },
	[REPLICA_TARGET_POOL]      = { "TargetStoragePool", VALUE_TEXT },
	/* Of mirrors. */
	[REPLICA_MODE]             = { "Mode", VALUE_ENUM, .values = create_modes },
	[REPLICA_SUPPLIER]         = { "TargetElementSupplier", VALUE_ENUM, .values = suppliers },
	[REPLICA_STOPS_HOST_IO]    = { "FailedCopyStopsHostIO", VALUE_BOOL },
	[REPLICA_RECOVERY]         = { "CopyRecoveryMode", VALUE_ENUM, .values = recovery_modes },
	[REPLICA_WAIT_FOR]         = { "WaitForCopyState", VALUE_ENUM, .values = first_states },
	[REPLICA_OBJECTIVE]        = { "RecoveryPointObjective", VALUE_NUMBER },
	[REPLICA_SKEW_LIMIT]       = { "SkewLimit", VALUE_SIZE },
	[REPLICA_ACKNOWLEDGE]      = { "AcknowledgeAt", VALUE_ENUM, .values = acknowledge_points },
	[REPLICA_THIN]             = { "ThinProvisioningPolicy", VALUE_ENUM, .values = thin_policies },
	/* None of them has these; they are known, so that a refusal says why. */
	[REPLICA_QUORUM]           = { "ReplicationQuorum", VALUE_NUMBER, .hidden = true },
	[REPLICA_TARGET_SYSTEM]    = { "TargetStorageSystem", VALUE_TEXT, .hidden = true },
	[REPLICA_USERNAME]         = { "Username", VALUE_TEXT, .hidden = true },
	[REPLICA_PASSWORD]         = { "Password", VALUE_TEXT, .hidden = true },
	{ NULL },
};
// clang-format on

/* 0 and what the implementation decides are always right. */
static bool fits_snapshot(const struct argument *priority, const struct argument *methodology)
{
	if (priority->number != PRIORITY_NOT_MANAGED)
		return false;
	return methodology->number == METHOD_NOT_SPECIFIED ||
	       methodology->number == METHOD_IMPLEMENTATION_DECIDES ||
	       methodology->number == METHOD_COPY_ON_WRITE;
}

/* Of a SyncType that has none of these. */
static int refuse_any(const struct request *r, int first, int last)
{
	for (int i = first; i <= last; i++) {
		if (r->args[i].given)
			return refuse(&r->result->why, -EOPNOTSUPP, "a %s has no %s",
				      r->args[REPLICA_SYNC_TYPE].text,
				      create_replica_parameters[i].key);
	}
	return 0;
}

static int check_replica(const struct request *r)
{
	const struct argument *a = r->args;
	struct why *why = &r->result->why;

	if (a[REPLICA_USERNAME].given || a[REPLICA_PASSWORD].given)
		return refuse(why, -EACCES,
			      "no name and no password is taken here, where they can be read; "
			      "they belong in STATE/credentials/PEER, with mode 0600");
	if (a[REPLICA_SYNC_TYPE].number == SYNC_MIRROR)
		return 0;
	if (r->force)
		return refuse(why, -EINVAL, "a %s never needs Force", a[REPLICA_SYNC_TYPE].text);
	return refuse_any(r, REPLICA_MODE, REPLICA_TARGET_SYSTEM);
}

static int check_snapshot(const struct request *r)
{
	const struct argument *a = r->args;
	struct why *why = &r->result->why;
	int err = refuse_any(r, REPLICA_TARGET_VOLUME, REPLICA_TARGET_POOL);

	if (err)
		return err;
	if (!fits_snapshot(&a[REPLICA_COPY_PRIORITY], &a[REPLICA_COPY_METHODOLOGY]))
		return refuse(why, -EOPNOTSUPP,
			      "of a snapshot nothing is copied but what is written over: "
			      "CopyPriority is Not Managed, CopyMethodology Copy-On-Write");
	return 0;
}

static int check_clone(const struct request *r)
{
	bool tokenized = r->args[REPLICA_SYNC_TYPE].number == SYNC_TOKENIZED_CLONE;
	const struct argument *token = &r->args[REPLICA_TOKEN];
	struct why *why = &r->result->why;

	if (token->given && !tokenized)
		return refuse(why, -EINVAL, "a Token is for SyncType=TokenizedClone");
	if (!r->args[REPLICA_TARGET_VOLUME].given && !r->args[REPLICA_TARGET_POOL].given &&
	    (!tokenized || token->given))
		return refuse(why, -EINVAL,
			      "a clone needs TargetStorageVolume= or TargetStoragePool=");
	switch (r->args[REPLICA_COPY_METHODOLOGY].number) {
	case METHOD_NOT_SPECIFIED:
	case METHOD_IMPLEMENTATION_DECIDES:
	case METHOD_FULL_COPY:
	case METHOD_COPY_ON_ACCESS:
	case METHOD_SNAP_AND_CLONE:
		return 0;
	}
	return refuse(why, -EOPNOTSUPP,
		      "CopyMethodology of a clone is Full-Copy, Copy-On-Access or Snap-And-Clone");
}

static int create_clone(const struct request *r)
{
	const struct argument *a = r->args;
	uint64_t method = a[REPLICA_COPY_METHODOLOGY].number;
	struct clone_request q = {
		.target = argument_text(&a[REPLICA_TARGET_VOLUME]),
		.pool = argument_text(&a[REPLICA_TARGET_POOL]),
		.name = argument_text(&a[REPLICA_ELEMENT_NAME]),
		.format = argument_text(&a[REPLICA_FORMAT]),
		.generation = GENERATION_NOW,
		.priority = a[REPLICA_COPY_PRIORITY].number,
		.methodology = method == METHOD_COPY_ON_ACCESS || method == METHOD_SNAP_AND_CLONE
				       ? method
				       : METHOD_FULL_COPY,
	};
	int err = check_clone(r);

	if (err)
		return err;
	if (a[REPLICA_TOKEN].given)
		return redeem_token(r, a[REPLICA_TOKEN].text, &q);
	if (!q.target && !q.pool)
		return make_token(r, &q);
	return method == METHOD_SNAP_AND_CLONE ? snap_and_clone(r, &q) : make_clone(r, &q);
}

/* All of the source, then what differs; the words for that, and those that leave it to us. */
static bool fits_mirror(uint64_t methodology)
{
	return methodology == METHOD_NOT_SPECIFIED ||
	       methodology == METHOD_IMPLEMENTATION_DECIDES || methodology == METHOD_FULL_COPY ||
	       methodology == METHOD_DELTA_UPDATE;
}

/* What is lost with the source of a synchronous one is nothing, which may be said. */
static int check_objective(const struct request *r)
{
	const struct argument *a = &r->args[REPLICA_OBJECTIVE];
	struct why *why = &r->result->why;

	if (!a->given)
		return 0;
	if (mirror_mode(&r->args[REPLICA_MODE]) == MODE_SYNCHRONOUS)
		return a->number ? refuse(why, -EOPNOTSUPP,
					  "RecoveryPointObjective of a synchronous mirror is 0")
				 : 0;
	if (!a->number || a->number > PAIR_OBJECTIVE_MAX_S)
		return refuse(why, -EINVAL,
			      "RecoveryPointObjective of an asynchronous mirror is 1 to %u seconds",
			      PAIR_OBJECTIVE_MAX_S);
	return 0;
}

static int check_skew_limit(const struct request *r)
{
	const struct argument *a = &r->args[REPLICA_SKEW_LIMIT];
	struct why *why = &r->result->why;

	if (!a->given)
		return 0;
	if (mirror_mode(&r->args[REPLICA_MODE]) != MODE_ADAPTIVE)
		return refuse(why, -EOPNOTSUPP, "SkewLimit is of a mirror with Mode=Adaptive");
	return a->number ? 0 : refuse(why, -EINVAL, "SkewLimit is 1 byte at least");
}

static int check_acknowledge(const struct request *r)
{
	const struct argument *a = r->args;

	if (a[REPLICA_ACKNOWLEDGE].number != ACKNOWLEDGE_FLUSH ||
	    mirror_mode(&a[REPLICA_MODE]) == MODE_SYNCHRONOUS)
		return 0;
	return refuse(&r->result->why, -EOPNOTSUPP,
		      "AcknowledgeAt=Flush is of a mirror with Mode=Synchronous");
}

/* Which the client supplies by naming it. */
static bool is_there(const struct argument *supplier)
{
	return supplier->number == USE_EXISTING || supplier->number == CLIENT_MUST_SUPPLY;
}

/* What is done is that holes stay holes, and what is not one takes space. */
static int check_settings(const struct request *r)
{
	const struct argument *thin = &r->args[REPLICA_THIN];
	struct why *why = &r->result->why;

	if (thin->number == THIN_TO_FULL || thin->number == FULL_TO_THIN)
		return refuse(why, -EOPNOTSUPP,
			      "holes of the source are holes of its target, and nothing else is: "
			      "ThinProvisioningPolicy=2, 5 or 7");
	if (r->args[REPLICA_QUORUM].given)
		return refuse_advise(why, -EOPNOTSUPP, "FailedCopyStopsHostIO=true, of each mirror",
				     "writes are answered whatever becomes of the mirrors, or "
				     "need each that says so; a number of them cannot be said");
	return 0;
}

static int check_mirror(const struct request *r)
{
	const struct argument *a = r->args, *supplier = &a[REPLICA_SUPPLIER];
	struct why *why = &r->result->why;
	int err = refuse_any(r, REPLICA_TOKEN, REPLICA_TARGET_POOL);

	if (!err)
		err = refuse_any(r, REPLICA_TARGET_SYSTEM, REPLICA_TARGET_SYSTEM);
	if (!err)
		err = check_objective(r) ?: check_skew_limit(r) ?: check_acknowledge(r);
	if (!err)
		err = check_settings(r);
	if (err)
		return err;
	if (!a[REPLICA_TARGET_VOLUME].given)
		return refuse(why, -EINVAL, "a mirror needs TargetStorageVolume=");
	if (supplier->number == USE_AND_CREATE)
		return refuse(
			why, -EOPNOTSUPP,
			"a target is there, TargetElementSupplier=1 or 5, or it is made, 2 or 4");
	if (r->force && !is_there(supplier))
		return refuse(why, -EINVAL,
			      "Force is for a target that is there: "
			      "TargetElementSupplier=1");
	if (!fits_mirror(a[REPLICA_COPY_METHODOLOGY].number))
		return refuse(
			why, -EOPNOTSUPP,
			"CopyMethodology of a mirror is Full Copy, and Delta-Update behind it");
	return 0;
}

static int create_mirror(const struct request *r)
{
	const struct argument *a = r->args;
	struct pair_request q = {
		.target = argument_text(&a[REPLICA_TARGET_VOLUME]),
		.name = argument_text(&a[REPLICA_ELEMENT_NAME]),
		.format = argument_text(&a[REPLICA_FORMAT]),
		.mode = mirror_mode(&a[REPLICA_MODE]),
		.objective_s = a[REPLICA_OBJECTIVE].number,
		.skew_limit = a[REPLICA_SKEW_LIMIT].number,
		.priority = a[REPLICA_COPY_PRIORITY].number,
		.existing = is_there(&a[REPLICA_SUPPLIER]),
		.stops_host_io = a[REPLICA_STOPS_HOST_IO].number,
		.at_flush = a[REPLICA_ACKNOWLEDGE].number == ACKNOWLEDGE_FLUSH,
		.manual = a[REPLICA_RECOVERY].number == RECOVERY_MANUAL,
		.state = a[REPLICA_WAIT_FOR].number,
		.force = r->force,
	};
	int err = check_mirror(r);

	return err ? err : make_mirror(r, &q);
}

int create_replica_check(const struct request *r, const char **name)
{
	int err = check_replica(r);

	*name = argument_text(&r->args[REPLICA_ELEMENT_NAME]);
	if (!err && r->args[REPLICA_SYNC_TYPE].number != SYNC_SNAPSHOT)
		err = refuse(&r->result->why, -EOPNOTSUPP,
			     "of a group there are snapshots, and no %s",
			     r->args[REPLICA_SYNC_TYPE].text);
	return err ? err : check_snapshot(r);
}

int disk_create_replica(const struct request *r)
{
	int err = check_replica(r);

	if (err)
		return err;
	if (r->args[REPLICA_SYNC_TYPE].number == SYNC_MIRROR)
		return create_mirror(r);
	if (r->args[REPLICA_SYNC_TYPE].number != SYNC_SNAPSHOT)
		return create_clone(r);
	err = check_snapshot(r);
	return err ? err : make_snapshot(r, argument_text(&r->args[REPLICA_ELEMENT_NAME]), NULL);
}

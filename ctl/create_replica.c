// SPDX-License-Identifier: GPL-2.0-or-later
/* CreateReplica of disks/DISK/control: which words go with which SyncType; and of a group. */
#include "inner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clones.h"
#include "kept.h"
#include "pairs.h"

enum {
	REPLICA_SYNC_TYPE,
	REPLICA_ELEMENT_NAME,
	REPLICA_COPY_PRIORITY,
	REPLICA_COPY_METHODOLOGY,
	REPLICA_CONSISTENT,
	REPLICA_READ_ONLY,
	REPLICA_TARGET_VOLUME,
	REPLICA_FORMAT,
	REPLICA_TARGET_POOL,
	REPLICA_SUPPLIER,
	REPLICA_THIN,
	REPLICA_TOKEN,
	REPLICA_MODE,
	REPLICA_STOPS_HOST_IO,
	REPLICA_RECOVERY,
	REPLICA_WAIT_FOR,
	REPLICA_OBJECTIVE,
	REPLICA_SKEW_LIMIT,
	REPLICA_ACKNOWLEDGE,
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
	[REPLICA_CONSISTENT]       = { "ConsistentPointInTime", VALUE_BOOL },
	[REPLICA_READ_ONLY]        = { "ReadOnly", VALUE_BOOL },
	/* Of what has a target that is a file. */
	[REPLICA_TARGET_VOLUME]    = { "TargetStorageVolume", VALUE_TEXT },
	[REPLICA_FORMAT]           = { "Format", VALUE_TEXT },
	[REPLICA_TARGET_POOL]      = { "TargetStoragePool", VALUE_TEXT },
	[REPLICA_SUPPLIER]         = { "TargetElementSupplier", VALUE_ENUM, .values = suppliers },
	[REPLICA_THIN]             = { "ThinProvisioningPolicy", VALUE_ENUM, .values = thin_policies },
	/* Of clones. */
	[REPLICA_TOKEN]            = { "Token", VALUE_TEXT },
	/* Of mirrors. */
	[REPLICA_MODE]             = { "Mode", VALUE_ENUM, .values = create_modes },
	[REPLICA_STOPS_HOST_IO]    = { "FailedCopyStopsHostIO", VALUE_BOOL },
	[REPLICA_RECOVERY]         = { "CopyRecoveryMode", VALUE_ENUM, .values = recovery_modes },
	[REPLICA_WAIT_FOR]         = { "WaitForCopyState", VALUE_ENUM, .values = first_states },
	[REPLICA_OBJECTIVE]        = { "RecoveryPointObjective", VALUE_NUMBER },
	[REPLICA_SKEW_LIMIT]       = { "SkewLimit", VALUE_SIZE },
	[REPLICA_ACKNOWLEDGE]      = { "AcknowledgeAt", VALUE_ENUM, .values = acknowledge_points },
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

int create_replica_check(const struct request *r)
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
	int err = refuse_any(r, REPLICA_TARGET_VOLUME, REPLICA_TOKEN);

	if (err)
		return err;
	if (!fits_snapshot(&a[REPLICA_COPY_PRIORITY], &a[REPLICA_COPY_METHODOLOGY]))
		return refuse(why, -EOPNOTSUPP,
			      "of a snapshot nothing is copied but what is written over: "
			      "CopyPriority is Not Managed, CopyMethodology Copy-On-Write");
	return 0;
}

/* ---- the target ---- */

/* Which the client supplies by naming it. */
static bool is_there(const struct argument *supplier)
{
	return supplier->number == USE_EXISTING || supplier->number == CLIENT_MUST_SUPPLY;
}

/* All of it, whether or not it holds anything. */
static bool takes_all(struct disk *d)
{
	struct disk_facts f;

	disk_facts(d, &f);
	return f.format && (image_kind_is_fixed(f.format) || !strcmp(f.format, "raw")) && f.size &&
	       f.allocated >= f.size;
}

static enum provisioning provisioning(const struct request *r)
{
	switch (r->args[REPLICA_THIN].number) {
	case THIN_TO_FULL:
		return PROVISION_FULL;
	case FULL_TO_THIN:
		return PROVISION_THIN;
	case THIN_AS_SOURCE:
		return takes_all(r->disk) ? PROVISION_FULL : PROVISION_AS_IT_COMES;
	}
	return PROVISION_AS_IT_COMES;
}

/* ---- clones ---- */

static int check_methodology(const struct request *r)
{
	switch (r->args[REPLICA_COPY_METHODOLOGY].number) {
	case METHOD_NOT_SPECIFIED:
	case METHOD_IMPLEMENTATION_DECIDES:
	case METHOD_FULL_COPY:
	case METHOD_COPY_ON_ACCESS:
	case METHOD_SNAP_AND_CLONE:
		return 0;
	}
	return refuse(&r->result->why, -EOPNOTSUPP,
		      "CopyMethodology of a clone is Full-Copy, Copy-On-Access or Snap-And-Clone");
}

/* It takes no space, and nobody opens it. */
static int check_token(const struct request *r)
{
	const struct argument *a = r->args;

	if (a[REPLICA_READ_ONLY].given || a[REPLICA_THIN].given)
		return refuse_advise(&r->result->why, -EINVAL, "say it when it is redeemed",
				     "a token has no target yet, and no %s",
				     a[REPLICA_THIN].given ? "ThinProvisioningPolicy" : "ReadOnly");
	return 0;
}

/* A file that has a name says its pool with it. */
static int check_place(const struct request *r)
{
	const struct argument *a = r->args;

	if (!a[REPLICA_TARGET_VOLUME].given || !a[REPLICA_TARGET_POOL].given)
		return 0;
	return refuse_advise(&r->result->why, -EINVAL, "TargetStorageVolume=POOL:FILE",
			     "TargetStoragePool is for a target whose name we make up");
}

static int check_clone(const struct request *r)
{
	bool tokenized = r->args[REPLICA_SYNC_TYPE].number == SYNC_TOKENIZED_CLONE;
	const struct argument *a = r->args;
	struct why *why = &r->result->why;

	if (a[REPLICA_TOKEN].given && !tokenized)
		return refuse(why, -EINVAL, "a Token is for SyncType=TokenizedClone");
	if (is_there(&a[REPLICA_SUPPLIER]) || a[REPLICA_SUPPLIER].number == USE_AND_CREATE)
		return refuse_advise(why, -EOPNOTSUPP, "a mirror of it, and Detach",
				     "the target of a clone is made, since it is a disk from the "
				     "first moment on: TargetElementSupplier=2 or 4");
	if (!a[REPLICA_TARGET_VOLUME].given && !a[REPLICA_TARGET_POOL].given && !r->group) {
		if (!tokenized || a[REPLICA_TOKEN].given)
			return refuse(why, -EINVAL,
				      "a clone needs TargetStorageVolume= or TargetStoragePool=");
		return check_token(r) ?: check_methodology(r);
	}
	return check_place(r) ?: check_methodology(r);
}

int create_replica_clone(const struct request *r, struct clone_request *out)
{
	const struct argument *a = r->args;
	uint64_t method = a[REPLICA_COPY_METHODOLOGY].number;

	*out = (struct clone_request){
		.target = argument_text(&a[REPLICA_TARGET_VOLUME]),
		.pool = argument_text(&a[REPLICA_TARGET_POOL]),
		.name = argument_text(&a[REPLICA_ELEMENT_NAME]),
		.format = argument_text(&a[REPLICA_FORMAT]),
		.generation = GENERATION_NOW,
		.priority = a[REPLICA_COPY_PRIORITY].number,
		.methodology = method == METHOD_COPY_ON_ACCESS || method == METHOD_SNAP_AND_CLONE
				       ? method
				       : METHOD_FULL_COPY,
		.provisioning = provisioning(r),
		.read_only = a[REPLICA_READ_ONLY].number,
	};
	return check_clone(r);
}

static int create_clone(const struct request *r)
{
	const struct argument *a = r->args;
	struct clone_request q;
	int err = create_replica_clone(r, &q);

	if (err)
		return err;
	if (a[REPLICA_TOKEN].given)
		return redeem_token(r, a[REPLICA_TOKEN].text, &q);
	if (!q.target && !q.pool)
		return make_token(r, &q);
	return q.methodology == METHOD_SNAP_AND_CLONE ? snap_and_clone(r, &q) : make_clone(r, &q);
}

/* ---- mirrors ---- */

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

static int check_quorum(const struct request *r)
{
	if (!r->args[REPLICA_QUORUM].given)
		return 0;
	return refuse_advise(&r->result->why, -EOPNOTSUPP,
			     "FailedCopyStopsHostIO=true, of each mirror",
			     "writes are answered whatever becomes of the mirrors, or "
			     "need each that says so; a number of them cannot be said");
}

/* Its source alone writes it while it follows; more can be asked for, and not less. */
static int check_read_only(const struct request *r)
{
	const struct argument *a = &r->args[REPLICA_READ_ONLY];

	if (!a->given || a->number)
		return 0;
	return refuse_advise(&r->result->why, -EOPNOTSUPP, "Split, or Fracture",
			     "what clients write to the target of a mirror would be lost with the "
			     "next write of its source: it is read-only while it follows that");
}

static int check_target(const struct request *r)
{
	const struct argument *a = r->args, *supplier = &a[REPLICA_SUPPLIER];
	struct why *why = &r->result->why;

	if (is_there(supplier) && !a[REPLICA_TARGET_VOLUME].given)
		return refuse(why, -EINVAL, "a target that is there needs TargetStorageVolume=");
	if (!a[REPLICA_TARGET_VOLUME].given && !a[REPLICA_TARGET_POOL].given && !r->group)
		return refuse(why, -EINVAL,
			      "a mirror needs TargetStorageVolume= or TargetStoragePool=");
	if (r->force && !is_there(supplier) && supplier->number != USE_AND_CREATE)
		return refuse(why, -EINVAL,
			      "Force is for a target that is there: "
			      "TargetElementSupplier=1");
	return 0;
}

static int check_mirror(const struct request *r)
{
	int err = refuse_any(r, REPLICA_TOKEN, REPLICA_TOKEN);

	if (!err)
		err = refuse_any(r, REPLICA_TARGET_SYSTEM, REPLICA_TARGET_SYSTEM);
	if (!err)
		err = check_objective(r) ?: check_skew_limit(r) ?: check_acknowledge(r);
	if (!err)
		err = check_quorum(r) ?: check_read_only(r) ?: check_place(r) ?: check_target(r);
	if (!err && !fits_mirror(r->args[REPLICA_COPY_METHODOLOGY].number))
		err = refuse(
			&r->result->why, -EOPNOTSUPP,
			"CopyMethodology of a mirror is Full Copy, and Delta-Update behind it");
	return err;
}

int create_replica_mirror(const struct request *r, struct pair_request *out)
{
	const struct argument *a = r->args;

	*out = (struct pair_request){
		.target = argument_text(&a[REPLICA_TARGET_VOLUME]),
		.pool = argument_text(&a[REPLICA_TARGET_POOL]),
		.name = argument_text(&a[REPLICA_ELEMENT_NAME]),
		.format = argument_text(&a[REPLICA_FORMAT]),
		.mode = mirror_mode(&a[REPLICA_MODE]),
		.objective_s = a[REPLICA_OBJECTIVE].number,
		.skew_limit = a[REPLICA_SKEW_LIMIT].number,
		.priority = a[REPLICA_COPY_PRIORITY].number,
		.existing = is_there(&a[REPLICA_SUPPLIER]),
		.either = a[REPLICA_SUPPLIER].number == USE_AND_CREATE,
		.provisioning = provisioning(r),
		.read_only = a[REPLICA_READ_ONLY].number,
		.stops_host_io = a[REPLICA_STOPS_HOST_IO].number,
		.at_flush = a[REPLICA_ACKNOWLEDGE].number == ACKNOWLEDGE_FLUSH,
		.manual = a[REPLICA_RECOVERY].number == RECOVERY_MANUAL,
		.state = a[REPLICA_WAIT_FOR].number,
		.force = r->force,
	};
	return check_mirror(r);
}

static int create_mirror(const struct request *r)
{
	struct pair_request q;
	int err = create_replica_mirror(r, &q);

	return err ? err : make_mirror(r, &q);
}

/* ---- snapshots ---- */

/* One that can be written from the beginning, or none. */
static int create_writable(const struct request *r, const char *name)
{
	struct tandem *t = r->ctl->tandem;
	struct snapshot_facts s;
	struct why ignored;
	int err = tandem_snapshot(t, &r->disk, 1, name, r->plan, &s, &r->result->why);

	if (!err && r->plan)
		result_say(r->result, "would make a snapshot that can be written");
	if (err || r->plan)
		return err;
	err = tandem_make_snapshot_writable(t, s.number, false, &r->result->why);
	if (err) {
		tandem_delete_snapshot(t, s.number, true, false, &ignored);
		return err;
	}
	snprintf(r->result->element_name, sizeof(r->result->element_name), "%s", s.label);
	result_say(r->result, "%.256s is the disk as it is now, and can be written", s.label);
	return 0;
}

static int create_snapshot(const struct request *r)
{
	const struct argument *read_only = &r->args[REPLICA_READ_ONLY];
	const char *name = argument_text(&r->args[REPLICA_ELEMENT_NAME]);
	int err = check_snapshot(r);

	if (err)
		return err;
	return read_only->given && !read_only->number ? create_writable(r, name)
						      : make_snapshot(r, name, NULL);
}

/* ---- the operation ---- */

/* Of one disk everything is of one moment. */
int disk_create_replica(const struct request *r)
{
	int err = create_replica_check(r);

	if (err)
		return err;
	switch (r->args[REPLICA_SYNC_TYPE].number) {
	case SYNC_MIRROR:
		return create_mirror(r);
	case SYNC_SNAPSHOT:
		return create_snapshot(r);
	default:
		return create_clone(r);
	}
}

/* ---- of a group ---- */

enum sync_type create_replica_type(const struct request *r)
{
	return r->args[REPLICA_SYNC_TYPE].number;
}

static int check_group_snapshot(const struct request *r)
{
	const struct argument *read_only = &r->args[REPLICA_READ_ONLY];

	if (read_only->given && !read_only->number)
		return refuse_advise(&r->result->why, -EOPNOTSUPP,
				     "Activate ReadOnly=false of each",
				     "snapshots of a group are made read-only, so that they are of "
				     "one kind");
	return check_snapshot(r);
}

int create_replica_check_group(const struct request *r)
{
	const struct argument *a = r->args;
	struct why *why = &r->result->why;
	int err = create_replica_check(r);

	if (err)
		return err;
	if (!a[REPLICA_ELEMENT_NAME].given)
		return refuse(why, -EINVAL, "what is made of a group needs ElementName=");
	switch (a[REPLICA_SYNC_TYPE].number) {
	case SYNC_SNAPSHOT:
		return check_group_snapshot(r);
	case SYNC_TOKENIZED_CLONE:
		return refuse_advise(why, -EOPNOTSUPP, "SyncType=Clone",
				     "a token stands for one disk, and not for a group");
	}
	if (a[REPLICA_COPY_METHODOLOGY].number == METHOD_SNAP_AND_CLONE)
		return refuse_advise(why, -EOPNOTSUPP, "snapshot, and then SyncType=Clone",
				     "clones of a group are made without a snapshot that stays");
	if (a[REPLICA_TARGET_VOLUME].given)
		return refuse_advise(why, -EINVAL, "TargetStoragePool=",
				     "one TargetStorageVolume cannot be the target of all");
	if (a[REPLICA_SUPPLIER].given && a[REPLICA_SUPPLIER].number != CREATE_NEW &&
	    a[REPLICA_SUPPLIER].number != WE_DECIDE)
		return refuse_advise(why, -EOPNOTSUPP, "CreateReplica of each, and AddSyncPair",
				     "the targets of a group are made: "
				     "TargetElementSupplier=2 or 4");
	return 0;
}

const char *create_replica_name(const struct request *r)
{
	return argument_text(&r->args[REPLICA_ELEMENT_NAME]);
}

bool create_replica_is_consistent(const struct request *r)
{
	return r->args[REPLICA_CONSISTENT].number;
}

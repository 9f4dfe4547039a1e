// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The operations of replicas/NAME/control. Those of SetReplicationRelationship
 * go through the table of replica_operations.c, then to what does them.
 */
#include "inner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clones.h"
#include "jobs.h"
#include "replica_facts.h"
#include "replica_operations.h"
#include "rfc3339.h"

const char *snapshot_loses(const struct snapshot_facts *s)
{
	return s->state == SNAPSHOT_SKEWED ? "; what was written to it is lost" : "";
}

static int return_to_pool(const struct request *r, const struct snapshot_facts *s)
{
	int err = tandem_delete_snapshot(r->ctl->tandem, s->number, r->force, r->plan,
					 &r->result->why);

	if (!err)
		result_say(r->result, "%s %.256s, and gives back what only it holds%s",
			   r->plan ? "would delete" : "deleted", s->label, snapshot_loses(s));
	return err;
}

static int renew(const struct request *r, const struct snapshot_facts *s)
{
	int err = tandem_renew_snapshot(r->ctl->tandem, s->number, r->force, r->plan,
					&r->result->why);

	if (!err)
		result_say(r->result, "%s the disk as it is now%s",
			   r->plan ? "would hold" : "it holds", snapshot_loses(s));
	return err;
}

enum { ACTIVATE_READ_ONLY };

static const struct parameter activate_parameters[] = {
	[ACTIVATE_READ_ONLY] = { "ReadOnly", VALUE_BOOL },
	{ NULL },
};

/* SetReplicationRelationship has other arguments. */
static const struct argument *read_only_asked(const struct request *r)
{
	const struct argument *a = &r->args[ACTIVATE_READ_ONLY];

	return r->command->parameters == activate_parameters && a->given ? a : NULL;
}

static int make_read_only(const struct request *r, const struct snapshot_facts *s)
{
	int err = tandem_make_snapshot_read_only(r->ctl->tandem, s->number, r->force, r->plan,
						 &r->result->why);

	if (!err)
		result_say(r->result, "%s its moment%s%s", r->plan ? "would hold" : "it holds",
			   s->state == SNAPSHOT_SKEWED ? " again" : "", snapshot_loses(s));
	return err;
}

static int make_writable(const struct request *r, const struct snapshot_facts *s)
{
	int err = tandem_make_snapshot_writable(r->ctl->tandem, s->number, r->plan,
						&r->result->why);

	if (!err)
		result_say(r->result, "it %s be written, and its moment stays",
			   r->plan ? "could" : "can");
	return err;
}

static int deactivate(const struct request *r, const struct snapshot_facts *s)
{
	int err = tandem_deactivate_snapshot(r->ctl->tandem, s->number, r->force, r->plan,
					     &r->result->why);

	if (!err)
		result_say(r->result, "%s its moment; Activate gives it another%s",
			   r->plan ? "would give up" : "gave up", snapshot_loses(s));
	return err;
}

static int restore(const struct request *r, const struct snapshot_facts *s)
{
	struct disk *d = tandem_disk_numbered(r->ctl->tandem, s->disk);
	int err = d ? restore_disk(r, d, s->generation)
		    : refuse(&r->result->why, -ENOENT, "its source is gone");

	disk_unref(d);
	return err;
}

static int abort_restore(const struct request *r, const struct snapshot_facts *s)
{
	struct disk *d = tandem_disk_numbered(r->ctl->tandem, s->disk);
	struct restore_facts f;
	int err = 0;

	if (!d)
		err = refuse(&r->result->why, -ENOENT, "its source is gone");
	else if (!restore_facts(d, &f) || f.back || f.from != s->generation)
		err = refuse(&r->result->why, -EBUSY,
			     "nothing is running; its source is not being restored from it");
	else
		err = abort_restores(r, &d, 1);
	disk_unref(d);
	return err;
}

enum { DETACH_TARGET };

static const struct parameter detach_parameters[] = {
	[DETACH_TARGET] = { "TargetStorageVolume", VALUE_TEXT },
	{ NULL },
};

/* SetReplicationRelationship has other arguments. */
static const char *detach_target(const struct request *r)
{
	return r->command->parameters == detach_parameters ? argument_text(&r->args[DETACH_TARGET])
							   : NULL;
}

static int detach(const struct request *r, const struct snapshot_facts *s)
{
	struct disk *d = tandem_disk_numbered(r->ctl->tandem, s->disk);
	struct clone_request q = {
		.target = detach_target(r),
		.generation = s->generation,
		.replaces = s->number,
		.methodology = METHOD_FULL_COPY,
		.mode = 0600,
		.uid = r->caller->uid,
		.gid = r->caller->gid,
		.plan = r->plan,
	};
	struct clone_facts c;
	int err = d ? tandem_clone(r->ctl->tandem, d, &q, &c, &r->result->why)
		    : refuse(&r->result->why, -ENOENT, "its source is gone");

	disk_unref(d);
	if (err)
		return err;
	snprintf(r->result->target, sizeof(r->result->target), "%s", c.target);
	if (!r->plan) { /* it has no name before */
		snprintf(r->result->element_name, sizeof(r->result->element_name), "%s", c.name);
		result_add_job(r->result, job_of_replica(r->ctl->tandem->jobs, c.number, true));
		r->result->copy = c.number;
	}
	result_say(r->result, "%.256s %s its place once it is filled, and can be used at once",
		   c.target, r->plan ? "would take" : "takes");
	return 0;
}

static int (*const doers[OP_MAX])(const struct request *r, const struct snapshot_facts *s) = {
	[OP_ABORT] = abort_restore,
	[OP_ACTIVATE] = renew,
	[OP_DEACTIVATE] = deactivate,
	[OP_DETACH] = detach,
	[OP_RESYNC_REPLICA] = renew,
	[OP_RESTORE_FROM_REPLICA] = restore,
	[OP_RETURN_TO_RESOURCE_POOL] = return_to_pool,
};

static int snapshot_of(const struct request *r, struct snapshot_facts *s)
{
	if (!snapshot_numbered(r->ctl->tandem, r->replica, s))
		return 0;
	return refuse(&r->result->why, -ENOENT, "the relationship is gone");
}

/* ---- of clones ---- */

static int drop_token(const struct request *r, const struct replica_facts *c)
{
	int err = tandem_drop_token(r->ctl->tandem, c->number, r->plan, &r->result->why);

	if (!err)
		result_say(r->result, "%s what it stood for",
			   r->plan ? "would let go of" : "let go of");
	return err;
}

static int abort_clone(const struct request *r, const struct replica_facts *c)
{
	int err;

	if (c->sync_type == SYNC_TOKENIZED_CLONE)
		return drop_token(r, c);
	if (!r->force)
		return refuse_advise(&r->result->why, -EPERM, "the same with Force",
				     "%.255s would be deleted, with what was written to it",
				     c->target);
	err = tandem_abort_clone(r->ctl->tandem, c->number, r->plan, &r->result->why);
	if (!err)
		result_say(r->result, "%s %.255s", r->plan ? "would delete" : "deleted", c->target);
	return err;
}

static int suspend(const struct request *r, const struct replica_facts *c)
{
	int err = tandem_suspend_clone(r->ctl->tandem, c->number, true, r->plan, &r->result->why);

	if (!err)
		result_say(r->result, "%s filled by what is written only, until Resume",
			   r->plan ? "would be" : "is");
	return err;
}

static int resume(const struct request *r, const struct replica_facts *c)
{
	int err = tandem_suspend_clone(r->ctl->tandem, c->number, false, r->plan, &r->result->why);

	if (!err)
		result_say(r->result, "%s filled on", r->plan ? "would be" : "is");
	r->result->copy = c->methodology == METHOD_COPY_ON_ACCESS ? 0 : c->number;
	return err;
}

static int (*const clone_doers[OP_MAX])(const struct request *r, const struct replica_facts *c) = {
	[OP_ABORT] = abort_clone,
	[OP_RETURN_TO_RESOURCE_POOL] = drop_token,
	[OP_SUSPEND] = suspend,
	[OP_RESUME] = resume,
};

/* What is done with it next is done with the disk that it becomes. */
static int refuse_detaching(const struct request *r, const struct replica_facts *f)
{
	struct snapshot_facts s;
	struct clone_facts c;
	int err = snapshot_of(r, &s);

	if (err)
		return err;
	if (clone_numbered(r->ctl->tandem, s.detaching, &c))
		return refuse(&r->result->why, -EBUSY, "%s is being detached", f->label);
	return refuse_advise(&r->result->why, -EBUSY,
			     "Abort Force of that relationship, to keep it",
			     "%s is being detached: replicas/%s becomes what it is", f->label,
			     c.name);
}

/* ---- of mirrors ---- */

/* What is so afterwards, and until when. */
static const char *const means[OP_MAX] = {
	[OP_ABORT] = "nothing is copied until ResyncReplica",
	[OP_ACTIVATE] = "what differs is copied",
	[OP_DEACTIVATE] = "nothing is copied until Activate",
	[OP_DETACH] = "the target is a disk by itself",
	[OP_DISSOLVE] = "the target is a disk by itself",
	[OP_FAILBACK] = "what the target took is copied to what was the source, and then they "
			"change places",
	[OP_FAILOVER] = "the source is what the target was, and what is written is remembered "
			"until Failback or ReverseRoles",
	[OP_FRACTURE] = "the target stays as it is until ResyncReplica",
	[OP_RESYNC_REPLICA] = "what differs is copied",
	[OP_PREPARE] = "nothing is copied until Activate",
	[OP_RESTORE_FROM_REPLICA] = "the source is what the target was, and what differs is copied",
	[OP_RESUME] = "what was written meanwhile is copied",
	[OP_REVERSE_ROLES] = "source and target have changed places",
	[OP_SPLIT] = "the target stays what its source was at this moment until ResyncReplica",
	[OP_SUSPEND] = "what is written is copied after Resume",
	[OP_UNPREPARE] = "nothing is copied until Activate",
};

const char *replica_operation_means(enum replica_operation op)
{
	return means[op];
}

static void say_pair(const struct request *r, enum replica_operation op,
		     const struct replica_facts *f, uint8_t next)
{
	const char *lost = replica_operation_loses(f->sync_type, op, f->copy_state, f->whole);
	const char *state = next == GONE ? "gone" : enum_name(copy_states, next);

	if (next == GONE && f->first)
		result_say(r->result, "%s gone, and %.255s with it, which is no disk yet",
			   r->plan ? "would be" : "is", f->target);
	else
		result_say(r->result, "%s %s; %s%s%s", r->plan ? "would be" : "is", state,
			   means[op], lost ? "; Force agreed, although " : "", lost ? lost : "");
}

static int operate_pair(const struct request *r, enum replica_operation op,
			const struct replica_facts *f, uint8_t next)
{
	int err = tandem_operate_pair(r->ctl->tandem, f->number, op, f->copy_state, r->force,
				      r->plan, &r->result->why);
	if (err)
		return err;
	if (f->back && op == OP_ABORT)
		next = COPY_FAILEDOVER;
	say_pair(r, op, f, next);
	if (next == COPY_UNSYNCHRONIZED)
		r->result->copy = f->number;
	return 0;
}

static bool is_reset(enum replica_operation op)
{
	return op == OP_RESET_TO_SYNC || op == OP_RESET_TO_ASYNC || op == OP_RESET_TO_ADAPTIVE;
}

static bool has_mode(enum replica_operation op, const struct replica_facts *f)
{
	if (op == OP_RESET_TO_ADAPTIVE || f->adaptive)
		return f->adaptive && op == OP_RESET_TO_ADAPTIVE;
	return f->sync_mode == (op == OP_RESET_TO_SYNC ? MODE_SYNCHRONOUS : MODE_ASYNCHRONOUS);
}

/* Its CopyState stays, or is Unsynchronized until it has caught up. */
static int reset_mode(const struct request *r, enum replica_operation op,
		      const struct replica_facts *f)
{
	bool sync = op == OP_RESET_TO_SYNC;
	int err = tandem_operate_pair(r->ctl->tandem, f->number, op, f->copy_state, r->force,
				      r->plan, &r->result->why);
	if (err)
		return err;
	if (sync && !r->plan &&
	    (f->copy_state == COPY_SYNCHRONIZED || f->copy_state == COPY_UNSYNCHRONIZED))
		r->result->copy = f->number;
	if (op == OP_RESET_TO_ADAPTIVE)
		result_say(r->result,
			   "SyncMode %s Asynchronous while no more than its SkewLimit differs",
			   r->plan ? "would be" : "is");
	else
		result_say(r->result, "SyncMode %s %s", r->plan ? "would be" : "is",
			   sync ? "Synchronous, once it has caught up"
				: "Asynchronous: no write waits for the target any more");
	return 0;
}

static int stays(const struct request *r, enum replica_operation op, const struct replica_facts *f)
{
	const char *nothing = r->plan ? "would be done" : "was done";

	if (is_reset(op))
		result_say(r->result, "%s is %s already; nothing %s",
			   f->adaptive ? "RequestedMode" : "SyncMode",
			   enum_name(create_modes, f->adaptive ? MODE_ADAPTIVE : f->sync_mode),
			   nothing);
	else
		result_say(r->result, "CopyState is %s already; nothing %s",
			   enum_name(copy_states, f->copy_state), nothing);
	/* It is being copied, or was: who waits for that gets what he waits for. */
	if (op == OP_ACTIVATE && f->sync_type == SYNC_MIRROR)
		r->result->copy = f->number;
	return 0;
}

static int do_it(const struct request *r, enum replica_operation op, const struct replica_facts *f,
		 uint8_t next)
{
	struct snapshot_facts s;
	int err;

	if (f->sync_type == SYNC_MIRROR && op == OP_DETACH && detach_target(r))
		return refuse(&r->result->why, -EINVAL, "%.255s is the target already", f->target);
	if (f->sync_type == SYNC_MIRROR)
		return operate_pair(r, op, f, next);
	if (f->sync_type != SYNC_SNAPSHOT)
		return clone_doers[op] ? clone_doers[op](r, f) : -EOPNOTSUPP;
	err = snapshot_of(r, &s);
	if (err)
		return err;
	return doers[op] ? doers[op](r, &s) : -EOPNOTSUPP;
}

/* A snapshot that is to be writable, or not: whatever its CopyState leads to. */
static int activate_as(const struct request *r, bool read_only, const struct replica_facts *f)
{
	struct snapshot_facts s;
	int err;

	if (f->sync_type != SYNC_SNAPSHOT)
		return refuse(&r->result->why, -EINVAL, "ReadOnly is of snapshots, not of a %s",
			      enum_name(sync_types, f->sync_type));
	err = snapshot_of(r, &s);
	if (err)
		return err;
	return read_only ? make_read_only(r, &s) : make_writable(r, &s);
}

static int operate_from(const struct request *r, enum replica_operation op,
			const struct replica_facts *f)
{
	uint8_t next;
	int err = replica_operation_check(f->sync_type, op, f->copy_state, f->whole, r->force,
					  &next, &r->result->why);

	if (f->progress == PROGRESS_DETACHING && op != OP_RETURN_TO_RESOURCE_POOL &&
	    err != -EOPNOTSUPP)
		return refuse_detaching(r, f);
	if (err)
		return err;
	if (op == OP_ACTIVATE && read_only_asked(r))
		return activate_as(r, read_only_asked(r)->number, f);
	if (next == STAYS && is_reset(op) && !has_mode(op, f))
		return reset_mode(r, op, f);
	if (next == STAYS)
		return stays(r, op, f);
	err = do_it(r, op, f, next);
	if (err == -EOPNOTSUPP &&
	    !r->result->why.message[0]) /* the table knows more than this file */
		return refuse(&r->result->why, err, "tandemfs %s cannot do it", TANDEMFS_VERSION);
	return err;
}

/* A mirror's CopyState may be another at any time: what holds is the one that it is done from. */
int operate_replica(const struct request *r, enum replica_operation op)
{
	struct tandem *t = r->ctl->tandem;
	struct replica_facts f, now;
	int err;

	do {
		if (replica_facts(t, r->replica, &f))
			return refuse(&r->result->why, -ENOENT, "the relationship is gone");
		err = operate_from(r, op, &f);
	} while (err == -EBUSY && f.sync_type == SYNC_MIRROR &&
		 !replica_facts(t, r->replica, &now) && now.copy_state != f.copy_state);
	return err;
}

static int do_operation(const struct request *r)
{
	return operate_replica(r, (enum replica_operation)r->command->number);
}

enum { SET_OPERATION, SET_PEER };

const struct parameter relationship_parameters[] = {
	[SET_OPERATION] = { "Operation", VALUE_ENUM, .required = true,
			    .values = replica_operations },
	[SET_PEER] = { "VirtualDiskReplicaPeer", VALUE_LATER },
	{ NULL },
};

static int set_relationship(const struct request *r)
{
	return operate_replica(r, (enum replica_operation)r->args[SET_OPERATION].number);
}

/* ---- holds ---- */

enum { HOLD_TAG };

static const struct parameter hold_parameters[] = {
	[HOLD_TAG] = { "Tag", VALUE_NAME, .required = true },
	{ NULL },
};

static int hold(const struct request *r)
{
	const char *tag = r->args[HOLD_TAG].text;
	struct snapshot_facts s;
	int err = snapshot_of(r, &s);

	if (err)
		return err;
	if (*s.hold && strcmp(s.hold, tag) != 0)
		return refuse(&r->result->why, -EBUSY, "it is held already, by %s", s.hold);
	err = tandem_hold_snapshot(r->ctl->tandem, s.number, tag, r->plan, &r->result->why);
	if (!err)
		result_say(r->result, "%s held by %s, and cannot be deleted",
			   r->plan ? "would be" : "is", tag);
	return err;
}

static int unhold(const struct request *r)
{
	const char *tag = r->args[HOLD_TAG].text;
	struct snapshot_facts s;
	int err = snapshot_of(r, &s);

	if (err)
		return err;
	if (strcmp(s.hold, tag) != 0)
		return refuse(&r->result->why, -ENOENT,
			      *s.hold ? "it is not held by %s" : "nothing holds it, not %s", tag);
	err = tandem_hold_snapshot(r->ctl->tandem, s.number, NULL, r->plan, &r->result->why);
	if (!err)
		result_say(r->result, "%s not held any more", r->plan ? "would be" : "is");
	return err;
}

/* ---- proofs ---- */

static int verify(const struct request *r)
{
	struct replica_facts f;
	uint32_t job = 0;
	int err;

	if (replica_facts(r->ctl->tandem, r->replica, &f))
		return refuse(&r->result->why, -ENOENT, "the relationship is gone");
	if (f.sync_type != SYNC_MIRROR)
		return refuse(&r->result->why, -EOPNOTSUPP, "Verify is not for a %s",
			      enum_name(sync_types, f.sync_type));
	err = tandem_verify_pair(r->ctl->tandem, r->replica, r->plan, &job, &r->result->why);
	if (!err)
		result_add_job(r->result, job);
	if (!err)
		result_say(r->result, "both %s compared, while they are used; status tells of it",
			   r->plan ? "would be" : "are");
	return err;
}

#define OPERATION(word, op) .name = word, .number = op, .run = do_operation
#define REFUSED(word, op) .name = word, .number = op, .run = do_operation, .refused = true

// clang-format off
const struct command replica_commands[] = {
	{ OPERATION("Abort", OP_ABORT), .force = true,
	  .help = "a restore goes back; no copy goes on; a clone goes: Force" },
	{ REFUSED("ActivateConsistency", OP_ACTIVATE_CONSISTENCY), .help = "of groups" },
	{ OPERATION("Activate", OP_ACTIVATE), .parameters = activate_parameters, .force = true,
	  .help = "an Inactive snapshot holds the disk of now, a mirror is copied" },
	{ REFUSED("AddSyncPair", OP_ADD_SYNC_PAIR), .help = "of groups" },
	{ REFUSED("DeactivateConsistency", OP_DEACTIVATE_CONSISTENCY), .help = "of groups" },
	{ OPERATION("Deactivate", OP_DEACTIVATE), .force = true, .help = "gives up its moment; a mirror stops" },
	{ OPERATION("Detach", OP_DETACH), .parameters = detach_parameters, .force = true,
	  .help = "a snapshot, or a mirror's target, is a disk of its own" },
	{ OPERATION("Dissolve", OP_DISSOLVE), .force = true,
	  .help = "ends it, the target lives on" },
	{ OPERATION("Failover", OP_FAILOVER), .force = true,
	  .help = "the source goes on in the target" },
	{ OPERATION("Failback", OP_FAILBACK), .force = true,
	  .help = "what the target took is copied back" },
	{ OPERATION("Fracture", OP_FRACTURE), .force = true,
	  .help = "the target is left as it is; in the middle of a copy: Force" },
	{ REFUSED("RemoveSyncPair", OP_REMOVE_SYNC_PAIR), .help = "of groups" },
	{ OPERATION("ResyncReplica", OP_RESYNC_REPLICA), .force = true,
	  .help = "the target is what its source is; over what was written on it: Force" },
	{ OPERATION("RestoreFromReplica", OP_RESTORE_FROM_REPLICA), .force = true,
	  .help = "the source becomes what the target is" },
	{ OPERATION("Resume", OP_RESUME), .help = "after Suspend" },
	{ OPERATION("ResetToSync", OP_RESET_TO_SYNC), .help = "a mirror is synchronous" },
	{ OPERATION("ResetToAsync", OP_RESET_TO_ASYNC), .help = "a mirror is asynchronous" },
	{ OPERATION("ReturnToResourcePool", OP_RETURN_TO_RESOURCE_POOL), .force = true,
	  .help = "deletes a snapshot" },
	{ OPERATION("ReverseRoles", OP_REVERSE_ROLES), .force = true,
	  .help = "source and target change places" },
	{ OPERATION("Split", OP_SPLIT), .help = "the target stays one moment of its source" },
	{ OPERATION("Suspend", OP_SUSPEND), .help = "nothing is copied until Resume" },
	{ OPERATION("Unprepare", OP_UNPREPARE), .force = true,
	  .help = "a mirror starts over, with Activate" },
	{ OPERATION("Prepare", OP_PREPARE), .help = "an Initialized mirror waits for Activate" },
	{ OPERATION("ResetToAdaptive", OP_RESET_TO_ADAPTIVE),
	  .help = "a mirror is asynchronous while little differs" },
	{ .name = "SetReplicationRelationship", .parameters = relationship_parameters, .force = true,
	  .run = set_relationship, .help = "one of these" },
	{ .name = "Hold", .parameters = hold_parameters, .run = hold,
	  .help = "a snapshot that cannot be deleted" },
	{ .name = "Unhold", .parameters = hold_parameters, .run = unhold,
	  .help = "takes back Hold" },
	{ .name = "Set", .parameters = replica_set_parameters, .needs_any = true,
	  .run = set_replica, .help = "who goes first; what becomes of a mirror" },
	{ .name = "Verify", .run = verify, .help = "compares a mirror with its source" },
	{ NULL },
};
// clang-format on

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The operations of jobs/ID/control. A job of a relationship has no state of its own
 * that could be set: what is done to it is done to the relationship.
 */
#include "inner.h"

#include <errno.h>
#include <string.h>

#include "clones.h"
#include "jobs.h"
#include "pairs.h"

static struct jobs *jobs_of(const struct request *r)
{
	return r->ctl->tandem->jobs;
}

/* A job that has not ended. */
static int live_job(const struct request *r, struct job_facts *f)
{
	if (job_numbered(jobs_of(r), r->job, f))
		return refuse(&r->result->why, -ENOENT, "the job is gone");
	if (f->ended)
		return refuse(&r->result->why, -EBUSY, "JobState is %s; nothing is running",
			      enum_name(job_states, f->state));
	return 0;
}

static int of_replica(const struct request *r, const struct job_facts *f, enum replica_operation op)
{
	struct request of = *r;

	of.replica = f->replica;
	return operate_replica(&of, op);
}

static bool is_proof(const struct job_facts *f)
{
	return !strcmp(f->operation, "Verify");
}

/* Of one that has no relationship. */
static void suspend_job(const struct request *r, const struct job_facts *f, bool suspended)
{
	if (r->plan)
		return;
	job_suspend(jobs_of(r), f->id, suspended);
	if (is_proof(f))
		pairs_look_at_proofs(r->ctl->tandem);
}

static int suspend(const struct request *r)
{
	struct job_facts f;
	int err = live_job(r, &f);

	if (err)
		return err;
	if (f.replica)
		return of_replica(r, &f, OP_SUSPEND);
	suspend_job(r, &f, true);
	result_say(r->result, "%s on until Start, or a restart of the daemon",
		   r->plan ? "would not go" : "does not go");
	return 0;
}

static int start(const struct request *r)
{
	struct job_facts f;
	int err = live_job(r, &f);

	if (err)
		return err;
	if (f.state != JOB_SUSPENDED) {
		result_say(r->result, "JobState is %s already; nothing %s",
			   enum_name(job_states, f.state), r->plan ? "would be done" : "was done");
		return 0;
	}
	if (f.replica)
		return of_replica(r, &f, OP_RESUME);
	suspend_job(r, &f, false);
	result_say(r->result, "%s on", r->plan ? "would go" : "goes");
	return 0;
}

/* Of a job without a relationship, which is a restore. */
static int abort_restore(const struct request *r, const struct job_facts *f)
{
	struct disk *d = tandem_disk_numbered(r->ctl->tandem, f->disk);
	struct restore_facts restore;
	int err;

	if (!d || !restore_facts(d, &restore) || restore.job != f->id)
		err = refuse(&r->result->why, -EBUSY, "it ends just now; nothing is running");
	else
		err = abort_restores(r, &d, 1);
	disk_unref(d);
	return err;
}

static int end_proof(const struct request *r, const struct job_facts *f, enum job_state as)
{
	if (!r->plan)
		tandem_end_verify(r->ctl->tandem, f->id, as);
	result_say(r->result, "%s is proved",
		   r->plan ? "would end, and nothing" : "ended; nothing");
	return 0;
}

static int end_job(const struct request *r, enum job_state as)
{
	struct job_facts f;
	int err = live_job(r, &f);

	if (err)
		return err;
	if (is_proof(&f))
		return end_proof(r, &f, as);
	if (!r->plan)
		job_end_as(jobs_of(r), f.id, as);
	err = f.replica ? of_replica(r, &f, OP_ABORT) : abort_restore(r, &f);
	if (err && !r->plan)
		job_end_as(jobs_of(r), f.id, 0);
	return err;
}

static int terminate_job(const struct request *r)
{
	return end_job(r, JOB_TERMINATED);
}

static int kill_job(const struct request *r)
{
	return end_job(r, JOB_KILLED);
}

enum { SET_PRIORITY };

static const struct parameter set_parameters[] = {
	[SET_PRIORITY] = { "CopyPriority", VALUE_ENUM, .values = copy_priorities },
	{ NULL },
};

static int set_priority(const struct request *r, const struct job_facts *f, enum copy_priority p)
{
	struct tandem *t = r->ctl->tandem;
	struct why *why = &r->result->why;
	struct pair_settings pair = { .has_priority = true, .priority = p };
	struct clone_facts clone;

	if (!f->replica) {
		if (!r->plan)
			job_set_priority(jobs_of(r), f->id, p);
		return 0;
	}
	if (!clone_numbered(t, f->replica, &clone))
		return tandem_set_clone_priority(t, f->replica, p, r->plan, why);
	return tandem_set_pair(t, f->replica, &pair, r->plan, why);
}

static int set(const struct request *r)
{
	const struct argument *priority = &r->args[SET_PRIORITY];
	struct job_facts f;
	int err = live_job(r, &f);

	if (!err)
		err = set_priority(r, &f, (enum copy_priority)priority->number);
	if (!err)
		result_say(r->result, "%s CopyPriority=%s", r->plan ? "would have" : "now",
			   priority->text);
	return err;
}

// clang-format off
const struct command job_commands[] = {
	{ .name = "Suspend", .run = suspend, .help = "does not go on" },
	{ .name = "Start", .run = start, .help = "goes on" },
	{ .name = "Terminate", .force = true, .run = terminate_job,
	  .help = "as Abort of what it does: Force" },
	{ .name = "Kill", .force = true, .run = kill_job, .help = "likewise, and JobState is Killed" },
	{ .name = "Set", .parameters = set_parameters, .needs_any = true, .run = set,
	  .help = "who goes first" },
	{ NULL },
};
// clang-format on

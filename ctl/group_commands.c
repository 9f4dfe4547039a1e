// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The operations of groups/NAME/control, and CreateGroup and DeleteGroup. What is done
 * to all disks is checked of all before it is done to one.
 */
#include "groups.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inner.h"
#include "jobs.h"
#include "kept.h"
#include "replica_operations.h"
#include "rfc3339.h"

/* ---- groups ---- */

enum { GROUP_NAME };

int create_group(const struct request *r)
{
	const char *name = r->args[GROUP_NAME].text;
	int err = tandem_create_group(r->ctl->tandem, name, r->plan, &r->result->why);

	if (err)
		return err;
	result_say(r->result, "%s the group %s, without members",
		   r->plan ? "would create" : "created", name);
	if (!r->plan)
		snprintf(r->result->element_name, sizeof(r->result->element_name), "%s", name);
	return 0;
}

int delete_group(const struct request *r)
{
	const char *name = r->args[GROUP_NAME].text;
	int err = tandem_delete_group(r->ctl->tandem, name, r->plan, &r->result->why);

	if (err)
		return err;
	result_say(r->result, "%s the group %s; its members and their snapshots stay",
		   r->plan ? "would delete" : "deleted", name);
	return 0;
}

/* ---- members ---- */

enum { MEMBER_NAME };

static const struct parameter member_parameters[] = {
	[MEMBER_NAME] = { "Name", VALUE_TEXT, .required = true },
	{ NULL },
};

static int add_disk(const struct request *r)
{
	const char *name = r->args[MEMBER_NAME].text;
	struct disk *d = tandem_disk_called(r->ctl->tandem, name);
	int err;

	if (!d)
		return refuse(&r->result->why, -ENOENT, "there is no disk %.200s", name);
	err = tandem_add_to_group(r->ctl->tandem, r->group, d, r->plan, &r->result->why);
	disk_unref(d);
	if (!err)
		result_say(r->result, "%s %.200s", r->plan ? "would add" : "added", name);
	return err;
}

/* One that is not there any more is called as the group shows it. */
static int member_called(const struct request *r, const char *name, uint32_t *number)
{
	struct disk *d = tandem_disk_called(r->ctl->tandem, name);
	struct group_member *members;
	size_t count, i = 0;
	int err;

	if (d) {
		*number = d->number;
		disk_unref(d);
		return 0;
	}
	err = group_members(r->ctl->tandem, r->group, &members, &count);
	if (err)
		return err;
	while (i < count && strcmp(members[i].label, name) != 0)
		i++;
	if (i < count)
		*number = members[i].disk;
	free(members);
	return i < count ? 0 : -ENOENT;
}

static int remove_disk(const struct request *r)
{
	const char *name = r->args[MEMBER_NAME].text;
	struct why *why = &r->result->why;
	uint32_t number = 0;
	int err = member_called(r, name, &number);

	if (err)
		return refuse(why, err, "there is no disk %.200s", name);
	err = tandem_remove_from_group(r->ctl->tandem, r->group, number, r->plan, why);
	if (!err)
		result_say(r->result, "%s %.200s; it and its snapshots stay",
			   r->plan ? "would remove" : "removed", name);
	return err;
}

/* ---- consistency ---- */

static int set_consistency(const struct request *r, bool consistent)
{
	int err = tandem_set_group_consistent(r->ctl->tandem, r->group, consistent, r->plan,
					      &r->result->why);

	if (!err)
		result_say(r->result, "what is done to its members %s %s",
			   r->plan ? "would be done" : "is done",
			   consistent ? "at one moment" : "to each for itself");
	return err;
}

static int activate_consistency(const struct request *r)
{
	return set_consistency(r, true);
}

static int deactivate_consistency(const struct request *r)
{
	return set_consistency(r, false);
}

/* ---- all disks ---- */

struct all {
	struct disk **disks; /* by number, a reference on each */
	size_t count;
	bool consistent;
};

static int all_begin(const struct request *r, struct all *all)
{
	struct group_facts g;

	if (group_numbered(r->ctl->tandem, r->group, &g))
		return refuse(&r->result->why, -ENOENT, "the group is gone");
	all->consistent = g.consistent;
	return group_disks(r->ctl->tandem, r->group, &all->disks, &all->count, &r->result->why);
}

static void all_end(struct all *all)
{
	disks_free(all->disks, all->count);
}

static const char *plural(size_t count)
{
	return count == 1 ? "" : "s";
}

/* Of whichever disk it is. */
static int refuse_of(const struct request *r, const struct disk *d, int err, const struct why *why)
{
	return refuse_advise(&r->result->why, err, why->advice, "%.200s: %s", d->label,
			     why->message);
}

/* ---- snapshots ---- */

/* Those that were made are taken back. */
static int snapshot_each(const struct request *r, const struct all *all, const char *name,
			 struct snapshot_facts *made)
{
	struct tandem *t = r->ctl->tandem;
	struct why ignored;
	size_t n = 0;
	int err = 0;

	while (!err && n < all->count) {
		err = tandem_snapshot(t, &all->disks[n], 1, name, false, &made[n], &r->result->why);
		n += !err;
	}
	while (err && n-- > 0)
		tandem_delete_snapshot(t, made[n].number, false, false, &ignored);
	return err;
}

static int snapshot_all(const struct request *r, const struct all *all, const char *name,
			struct snapshot_facts *made)
{
	struct tandem *t = r->ctl->tandem;
	struct why *why = &r->result->why;
	int err = 0;

	if (all->consistent)
		return tandem_snapshot(t, all->disks, all->count, name, r->plan, made, why);
	err = tandem_snapshot(t, all->disks, all->count, name, true, NULL, why);
	return err || r->plan ? err : snapshot_each(r, all, name, made);
}

int group_make_snapshots(const struct request *r, const char *name, bool consistent)
{
	struct snapshot_facts *made = NULL;
	char time[RFC3339_MAX];
	struct all all;
	int err;

	err = all_begin(r, &all);
	if (err)
		return err;
	all.consistent |= consistent;
	made = calloc(all.count, sizeof(*made));
	err = made ? snapshot_all(r, &all, name, made)
		   : refuse(&r->result->why, -ENOMEM, "out of memory");
	if (!err && r->plan)
		result_say(r->result, "would make the snapshot %s of %zu disk%s, %s", name,
			   all.count, plural(all.count),
			   all.consistent ? "at one moment" : "each for itself");
	else if (!err && all.consistent)
		result_say(r->result, "%s is %zu disk%s as of %s, g%" PRIu64, name, all.count,
			   plural(all.count), rfc3339_format_ms(time, made[0].time_ms),
			   made[0].generation);
	else if (!err)
		result_say(r->result, "%s is %zu disk%s, each as of a moment of its own", name,
			   all.count, plural(all.count));
	free(made);
	all_end(&all);
	return err;
}

static const struct parameter group_snapshot_parameters[] = {
	[GROUP_NAME] = { "Name", VALUE_NAME, .required = true },
	{ NULL },
};

static int group_snapshot(const struct request *r)
{
	return group_make_snapshots(r, r->args[GROUP_NAME].text, false);
}

/* A disk without one is where it leads already. */
static int find_snapshots(const struct request *r, const struct group_member *members,
			  size_t *count, uint32_t *numbers)
{
	size_t n = 0;

	for (size_t i = 0; i < *count; i++) {
		struct disk *d = tandem_disk_numbered(r->ctl->tandem, members[i].disk);
		struct snapshot_facts s;

		if (d && !snapshot_named(r->ctl->tandem, d, r->args[GROUP_NAME].text, &s))
			numbers[n++] = s.number;
		disk_unref(d);
	}
	*count = n;
	return n ? 0
		 : refuse(&r->result->why, -ENOENT, "no disk of the group has a snapshot %.200s",
			  r->args[GROUP_NAME].text);
}

static int group_unsnapshot(const struct request *r)
{
	struct tandem *t = r->ctl->tandem;
	struct group_member *members;
	uint32_t *numbers;
	size_t count;
	int err = group_members(t, r->group, &members, &count);

	if (err)
		return refuse(&r->result->why, err, "the group is gone");
	numbers = calloc(count + 1, sizeof(*numbers));
	if (!numbers)
		err = refuse(&r->result->why, -ENOMEM, "out of memory");
	if (!err)
		err = find_snapshots(r, members, &count, numbers);
	if (!err)
		err = tandem_delete_snapshots(t, numbers, count, r->force, r->plan,
					      &r->result->why);
	if (!err)
		result_say(r->result, "%s %.200s of %zu disk%s, and gives back what only it holds",
			   r->plan ? "would delete" : "deleted", r->args[GROUP_NAME].text, count,
			   plural(count));
	free(numbers);
	free(members);
	return err;
}

/* ---- the past ---- */

enum { RESTORE_AT };

/* *g is 0 where each has a moment of its own. */
static int find_moments(const struct request *r, const struct all *all, uint64_t *generations,
			uint64_t *g)
{
	struct moment_record m;
	struct why why = { 0 };

	*g = 0;
	for (size_t i = 0; i < all->count; i++) {
		int err = kept_find_past(all->disks[i], r->args[RESTORE_AT].text, &m, &why);

		if (err)
			return refuse_of(r, all->disks[i], err, &why);
		generations[i] = m.generation;
	}
	return all->consistent
		       ? group_moment(all->disks, generations, all->count, g, &r->result->why)
		       : 0;
}

static int restore_all(const struct request *r, const struct all *all, uint64_t *generations,
		       struct snapshot_facts *before)
{
	const char *are = r->plan ? "would be" : "are";
	char moment[40] = "what each was";
	uint64_t g;
	int err = find_moments(r, all, generations, &g);

	if (!err)
		err = tandem_restore(r->ctl->tandem, all->disks, generations, all->count, r->force,
				     r->plan, before, &r->result->why);
	if (err)
		return err;
	if (g)
		snprintf(moment, sizeof(moment), "those of g%" PRIu64, g);
	for (size_t i = 0; i < all->count && !r->plan; i++)
		result_add_job(r->result,
			       job_of_disk(r->ctl->tandem->jobs, all->disks[i]->number, true));
	r->result->jobs_of = r->group;
	if (r->plan)
		result_say(r->result, "%zu disk%s %s %s at once, after snapshots of now",
			   all->count, plural(all->count), are, moment);
	else
		result_say(r->result,
			   "%zu disk%s %s %s; what they were before is the snapshot %.200s",
			   all->count, plural(all->count), are, moment, before[0].name);
	return 0;
}

static int group_restore(const struct request *r)
{
	struct snapshot_facts *before;
	uint64_t *generations;
	struct all all;
	int err = all_begin(r, &all);

	if (err)
		return err;
	before = calloc(all.count, sizeof(*before));
	generations = calloc(all.count, sizeof(*generations));
	err = before && generations ? restore_all(r, &all, generations, before)
				    : refuse(&r->result->why, -ENOMEM, "out of memory");
	free(before);
	free(generations);
	all_end(&all);
	return err;
}

/* One that is not being restored, or goes back already, is where it leads. */
static int group_abort(const struct request *r)
{
	struct restore_facts f;
	struct disk **running;
	size_t count = 0;
	struct all all;
	int err = all_begin(r, &all);

	if (err)
		return err;
	running = calloc(all.count, sizeof(*running));
	for (size_t i = 0; running && i < all.count; i++)
		if (restore_facts(all.disks[i], &f) && !f.back)
			running[count++] = all.disks[i];
	if (!running)
		err = refuse(&r->result->why, -ENOMEM, "out of memory");
	else if (!count)
		err = refuse(&r->result->why, -EBUSY, "no disk of the group is being restored");
	else
		err = abort_restores(r, running, count);
	r->result->jobs_of = r->group;
	free(running);
	all_end(&all);
	return err;
}

static int keep_each(const struct request *r, const struct all *all, const struct history_window *w,
		     bool plan)
{
	struct why why = { 0 };

	for (size_t i = 0; i < all->count; i++) {
		int err = tandem_keep_history(r->ctl->tandem, all->disks[i], w, r->force, plan,
					      &why);

		if (err)
			return refuse_of(r, all->disks[i], err, &why);
	}
	return 0;
}

static int group_keep_history(const struct request *r)
{
	struct history_window w;
	struct all all;
	int err = keep_history_window(r, &w) ?: all_begin(r, &all);

	if (err)
		return err;
	err = keep_each(r, &all, &w, true);
	if (!err && !r->plan)
		err = keep_each(r, &all, &w, false);
	all_end(&all);
	if (!err)
		keep_history_say(r, &w);
	return err;
}

/* ---- relationships ---- */

static int refuse_relationships(const struct request *r)
{
	return refuse_advise(&r->result->why, -EOPNOTSUPP,
			     "give it to each, in replicas/NAME/control",
			     "%s is for one relationship, not for a group", r->command->name);
}

enum { SET_OPERATION };

/* Its own arguments are not theirs. */
static int set_relationship(const struct request *r)
{
	struct request as = *r;

	as.command = command_find(group_commands, r->args[SET_OPERATION].text);
	if (as.command->parameters)
		return refuse_advise(&r->result->why, -EINVAL, as.command->name,
				     "%s needs a Name=, and is an operation of its own",
				     as.command->name);
	return as.command->run(&as);
}

#define REFUSED(word, op) .name = word, .number = op, .run = refuse_relationships, .refused = true

// clang-format off
const struct command group_commands[] = {
	{ .name = "AddDisk", .parameters = member_parameters, .run = add_disk,
	  .help = "a disk, or one more" },
	{ .name = "RemoveDisk", .parameters = member_parameters, .run = remove_disk,
	  .help = "the disk stays" },
	{ .name = "AddSyncPair", .number = OP_ADD_SYNC_PAIR, .parameters = member_parameters,
	  .run = group_add_pair, .help = "a mirror, or one more" },
	{ .name = "RemoveSyncPair", .number = OP_REMOVE_SYNC_PAIR,
	  .parameters = member_parameters, .run = group_remove_pair,
	  .help = "the mirror stays" },
	{ .name = "ActivateConsistency", .number = OP_ACTIVATE_CONSISTENCY,
	  .run = activate_consistency, .help = "all members at one moment" },
	{ .name = "DeactivateConsistency", .number = OP_DEACTIVATE_CONSISTENCY,
	  .run = deactivate_consistency, .help = "each member for itself" },
	{ .name = "snapshot", .parameters = group_snapshot_parameters, .positional = "Name",
	  .run = group_snapshot, .help = "all disks as they are now" },
	{ .name = "unsnapshot", .parameters = unsnapshot_parameters, .positional = "Name",
	  .force = true, .run = group_unsnapshot, .help = "deletes it, of all disks" },
	{ .name = "Abort", .number = OP_ABORT, .force = true, .run = group_abort,
	  .help = "restores go back; open or written: Force" },
	{ .name = "CreateReplica", .parameters = create_replica_parameters,
	  .run = group_create_replica, .help = "of each disk, all or none" },
	{ .name = "KeepHistory", .parameters = keep_history_parameters, .force = true,
	  .run = group_keep_history, .help = "of all disks; less than before: Force" },
	{ .name = "RestoreTo", .parameters = restore_parameters, .force = true,
	  .run = group_restore, .help = "all disks are what they were; open: Force" },
	{ .name = "SetReplicationRelationship", .parameters = relationship_parameters, .force = true,
	  .run = set_relationship, .help = "one of these that groups have" },
	{ .name = "Detach", .number = OP_DETACH, .force = true, .run = group_operate,
	  .help = "of all mirrors; half a target: Force" },
	{ .name = "Failover", .number = OP_FAILOVER, .force = true, .run = group_operate,
	  .help = "all sources go on in their targets; half a target: Force" },
	{ .name = "Failback", .number = OP_FAILBACK, .force = true, .run = group_operate,
	  .help = "of all mirrors; what sources have alone: Force" },
	{ .name = "ReverseRoles", .number = OP_REVERSE_ROLES, .force = true,
	  .run = group_operate, .help = "of all mirrors; what sources have alone: Force" },
	{ .name = "ResyncReplica", .number = OP_RESYNC_REPLICA, .force = true,
	  .run = group_operate, .help = "of all mirrors; a written target: Force" },
	{ .name = "Resume", .number = OP_RESUME, .run = group_operate, .help = "of all mirrors" },
	{ .name = "Split", .number = OP_SPLIT, .run = group_operate,
	  .help = "of all mirrors, at one moment" },
	{ .name = "Suspend", .number = OP_SUSPEND, .run = group_operate,
	  .help = "of all mirrors, at one moment" },
	{ REFUSED("Activate", OP_ACTIVATE), .help = "of relationships" },
	{ REFUSED("Deactivate", OP_DEACTIVATE), .force = true, .help = "of relationships" },
	{ REFUSED("Dissolve", OP_DISSOLVE), .force = true, .help = "of relationships" },
	{ REFUSED("Fracture", OP_FRACTURE), .force = true, .help = "of relationships" },
	{ REFUSED("RestoreFromReplica", OP_RESTORE_FROM_REPLICA), .force = true,
	  .help = "of relationships" },
	{ REFUSED("ResetToSync", OP_RESET_TO_SYNC), .help = "of relationships" },
	{ REFUSED("ResetToAsync", OP_RESET_TO_ASYNC), .help = "of relationships" },
	{ REFUSED("ReturnToResourcePool", OP_RETURN_TO_RESOURCE_POOL), .force = true,
	  .help = "of relationships" },
	{ REFUSED("Unprepare", OP_UNPREPARE), .force = true, .help = "of relationships" },
	{ REFUSED("Prepare", OP_PREPARE), .help = "of relationships" },
	{ REFUSED("ResetToAdaptive", OP_RESET_TO_ADAPTIVE), .help = "of relationships" },
	{ NULL },
};
// clang-format on

// SPDX-License-Identifier: GPL-2.0-or-later
/* CreateReplica of groups/NAME/control. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clones.h"
#include "groups.h"
#include "inner.h"
#include "jobs.h"
#include "pairs.h"
#include "rfc3339.h"

static const char *plural(size_t count)
{
	return count == 1 ? "" : "s";
}

static int ask_for(const struct request *r, struct disk *d,
		   int (*ask)(const struct request *r, void *out), void *out)
{
	struct request as = *r;

	as.disk = d;
	return ask(&as, out);
}

/* ---- clones ---- */

static int ask_for_clone(const struct request *r, void *out)
{
	struct clone_request *q = out;
	int err = create_replica_clone(r, q);

	q->mode = 0600;
	q->uid = r->caller->uid;
	q->gid = r->caller->gid;
	return err;
}

/* Who waits, waits for all that was made. */
static void wait_for_group(const struct request *r, const struct group_replicas *q,
			   uint32_t *number)
{
	struct group_facts g;

	if (!q->plan && !group_named(r->ctl->tandem, q->name, &g))
		*number = g.number;
}

static void say_clones(const struct request *r, const struct group_replicas *q,
		       const struct clone_facts *made)
{
	char time[RFC3339_MAX];

	if (q->plan) {
		result_say(r->result, "would make %zu clone%s, %s, and the group %.200s of them",
			   q->count, plural(q->count),
			   q->consistent ? "of one moment" : "each of a moment of its own",
			   q->name);
		return;
	}
	for (size_t i = 0; i < q->count; i++)
		result_add_job(r->result,
			       job_of_replica(r->ctl->tandem->jobs, made[i].number, true));
	if (q->consistent)
		result_say(r->result, "the group %.200s is %zu clone%s as of %s, g%" PRIu64,
			   q->name, q->count, plural(q->count),
			   rfc3339_format_ms(time, made[0].time_ms), made[0].generation);
	else
		result_say(r->result,
			   "the group %.200s is %zu clone%s, each as of a moment of its own",
			   q->name, q->count, plural(q->count));
}

static int make_clones(const struct request *r, struct group_replicas *q)
{
	struct clone_request *all = calloc(q->count, sizeof(*all));
	struct clone_facts *made = calloc(q->count, sizeof(*made));
	int err = all && made ? 0 : refuse(&r->result->why, -ENOMEM, "out of memory");

	for (size_t i = 0; i < q->count && !err; i++)
		err = ask_for(r, q->disks[i], ask_for_clone, &all[i]);
	q->clones = all;
	if (!err)
		err = tandem_clone_group(r->ctl->tandem, q, made, &r->result->why);
	if (!err)
		say_clones(r, q, made);
	wait_for_group(r, q, &r->result->jobs_of);
	free(all);
	free(made);
	return err;
}

/* ---- mirrors ---- */

static int ask_for_mirror(const struct request *r, void *out)
{
	struct pair_request *q = out;
	int err = create_replica_mirror(r, q);

	q->mode_bits = 0600;
	q->uid = r->caller->uid;
	q->gid = r->caller->gid;
	return err;
}

static int make_mirrors(const struct request *r, struct group_replicas *q)
{
	struct pair_request *all = calloc(q->count, sizeof(*all));
	struct pair_facts *made = calloc(q->count, sizeof(*made));
	int err = all && made ? 0 : refuse(&r->result->why, -ENOMEM, "out of memory");

	for (size_t i = 0; i < q->count && !err; i++)
		err = ask_for(r, q->disks[i], ask_for_mirror, &all[i]);
	q->mirrors = all;
	if (!err)
		err = tandem_mirror_group(r->ctl->tandem, q, made, &r->result->why);
	if (!err)
		result_say(r->result,
			   "%s %zu mirror%s, and the group %.200s of them and their targets",
			   q->plan ? "would make" : "made", q->count, plural(q->count), q->name);
	if (!err && (!all[0].state || all[0].state == COPY_UNSYNCHRONIZED))
		wait_for_group(r, q, &r->result->copy);
	free(all);
	free(made);
	return err;
}

/* ---- the operation ---- */

int group_create_replica(const struct request *r)
{
	struct group_replicas q = { .name = create_replica_name(r), .plan = r->plan };
	struct disk **disks;
	struct group_facts g;
	int err = create_replica_check_group(r);

	if (err)
		return err;
	if (create_replica_type(r) == SYNC_SNAPSHOT)
		return group_make_snapshots(r, q.name, create_replica_is_consistent(r));
	if (group_numbered(r->ctl->tandem, r->group, &g))
		return refuse(&r->result->why, -ENOENT, "the group is gone");
	err = group_disks(r->ctl->tandem, r->group, &disks, &q.count, &r->result->why);
	if (err)
		return err;
	q.disks = disks;
	q.consistent = g.consistent || create_replica_is_consistent(r);
	err = create_replica_type(r) == SYNC_MIRROR ? make_mirrors(r, &q) : make_clones(r, &q);
	if (!err && !r->plan)
		snprintf(r->result->element_name, sizeof(r->result->element_name), "%s", q.name);
	disks_free(disks, q.count);
	return err;
}

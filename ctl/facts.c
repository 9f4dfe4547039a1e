// SPDX-License-Identifier: GPL-2.0-or-later
#include "facts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How bad a state is; Ready and ReadOnly are no problem. */
// clang-format off
static const enum event_severity state_severity[DISK_STATE_MAX] = {
	[DISK_FAILED]   = EVENT_CRITICAL, /* data is in doubt */
	[DISK_MISSING]  = EVENT_MAJOR,
	[DISK_CHANGED]  = EVENT_MAJOR,
	[DISK_CONFLICT] = EVENT_WARNING,
	[DISK_INVALID]  = EVENT_WARNING,  /* perhaps it never was a disk */
};
// clang-format on

const char *severity_name(enum event_severity s)
{
	static const char *const names[] = {
		[EVENT_INFORMATION] = "Information",
		[EVENT_WARNING] = "Warning",
		[EVENT_MINOR] = "Minor",
		[EVENT_MAJOR] = "Major",
		[EVENT_CRITICAL] = "Critical",
	};

	return names[s];
}

const char *health_name(enum health h)
{
	static const char *const names[] = {
		[HEALTH_OK] = "OK",
		[HEALTH_WARN] = "WARN",
		[HEALTH_FAIL] = "FAIL",
	};

	return names[h];
}

bool facts_served(const struct disk_facts *d)
{
	return d->state == DISK_READY || d->state == DISK_READ_ONLY;
}

const char *facts_mount_path(const struct disk_facts *d, char buf[MOUNT_PATH_MAX])
{
	buf[0] = '\0';
	if (facts_served(d))
		snprintf(buf, MOUNT_PATH_MAX, "%s%s%s", d->mount_dir, *d->mount_dir ? "/" : "",
			 d->mount_name);
	return buf;
}

static void fill_pool(struct pool *p, struct pool_facts *out)
{
	memset(out, 0, sizeof(*out));
	out->number = p->number;
	snprintf(out->name, sizeof(out->name), "%s", p->name);
	snprintf(out->dir, sizeof(out->dir), "%s", p->dir);
	pool_status(p, &out->status);
}

static int collect_disks(struct tandem *t, struct facts *f)
{
	size_t count;
	struct disk **disks = tandem_disks(t, &count);

	f->disks = calloc(count + 1, sizeof(*f->disks));
	f->pasts = calloc(count + 1, sizeof(*f->pasts));
	if (!disks || !f->disks || !f->pasts) {
		disks_free(disks, disks ? count : 0);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		disk_facts(disks[i], &f->disks[i]);
		disk_past(disks[i], &f->pasts[i]);
	}
	f->disk_count = count;
	disks_free(disks, count);
	return 0;
}

/* Room for one more. */
static bool make_room(struct facts *f, struct replica_facts **list, size_t count, size_t *room)
{
	struct replica_facts *more;

	if (count < *room)
		return true;
	*room = 2 * *room + 16;
	more = realloc(*list, *room * sizeof(*more));
	f->failed = !more;
	if (more)
		*list = more;
	return more;
}

static bool collect_snapshot(void *arg, const struct snapshot_facts *s)
{
	struct facts *f = arg;

	if (!make_room(f, &f->replicas, f->replica_count, &f->replica_room))
		return false;
	replica_facts_of_snapshot(s, &f->replicas[f->replica_count++]);
	return true;
}

static bool collect_clone(void *arg, const struct clone_facts *c)
{
	struct facts *f = arg;

	if (!make_room(f, &f->clones, f->clone_count, &f->clone_room))
		return false;
	replica_facts_of_clone(c, &f->clones[f->clone_count++]);
	return true;
}

static bool collect_pair(void *arg, const struct pair_facts *p)
{
	struct facts *f = arg;

	if (!make_room(f, &f->clones, f->clone_count, &f->clone_room))
		return false;
	replica_facts_of_pair(p, &f->clones[f->clone_count++]);
	return true;
}

static int compare_replicas(const void *a, const void *b)
{
	const struct replica_facts *x = a, *y = b;

	int order = strcmp(x->source, y->source);

	return order ? order : strcmp(x->label, y->label);
}

/* d: only of this disk, or NULL. */
static int collect_replicas(struct tandem *t, struct disk *d, struct facts *f)
{
	snapshots_list(t, d, collect_snapshot, f);
	if (!d)
		clones_list(t, collect_clone, f);
	if (!d && !f->failed)
		pairs_list(t, collect_pair, f);
	if (f->failed)
		return -ENOMEM;
	if (f->replica_count)
		qsort(f->replicas, f->replica_count, sizeof(*f->replicas), compare_replicas);
	return 0;
}

static int collect_pools(struct tandem *t, struct facts *f)
{
	size_t count;
	struct pool **pools = tandem_pools(t, &count);

	f->pools = calloc(count + 1, sizeof(*f->pools));
	if (!pools || !f->pools) {
		pools_free(pools, pools ? count : 0);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		fill_pool(pools[i], &f->pools[i]);
		for (size_t d = 0; d < f->disk_count; d++)
			f->pools[i].disks += !strcmp(f->disks[d].pool, f->pools[i].name);
	}
	f->pool_count = count;
	pools_free(pools, count);
	return 0;
}

static void add_disk_problem(struct facts *f, const struct disk_facts *d,
			     const struct past_facts *past)
{
	struct problem *p = &f->problems[f->problem_count];

	*p = (struct problem){
		.kind = "disks",
		.name = d->label,
		.severity = state_severity[d->state],
		.state = disk_state_name(d->state),
		.reason = d->reason,
	};
	if (!p->severity && d->stalled) {
		p->severity = EVENT_WARNING;
		p->state = "Stalled";
		p->reason = "a request waits for its image";
	}
	if (!p->severity && d->warning[0]) {
		p->severity = EVENT_WARNING;
		p->state = "Warning";
		p->reason = d->warning;
	}
	if (!p->severity && past->settle_error) {
		p->severity = EVENT_MAJOR;
		p->state = "Unsettled";
		p->reason = "what was written does not get into the image";
	}
	f->problem_count += p->severity != 0;
}

static void add_replica_problem(struct facts *f, const struct replica_facts *r)
{
	const char *trouble = replica_trouble(r);

	if (!trouble && replica_misses_objective(r, f->time_ms))
		trouble = "the target is older than its RecoveryPointObjective";
	if (!trouble && !r->differed)
		return;
	f->problems[f->problem_count] = (struct problem){
		.kind = "replicas",
		.name = r->label,
		.severity = r->source_state ? EVENT_MAJOR : EVENT_WARNING,
		.state = enum_name(copy_states, r->copy_state),
		.reason = trouble,
	};
	if (!trouble) {
		f->problems[f->problem_count].state = "Differed";
		f->problems[f->problem_count].reason =
			"Verify found that the two were not the same";
	}
	f->problem_count++;
}

static void add_group_problem(struct facts *f, const struct group_facts *g)
{
	if (!g->absent)
		return;
	f->problems[f->problem_count++] = (struct problem){
		.kind = "groups",
		.name = g->name,
		.severity = EVENT_WARNING,
		.state = "Incomplete",
		.reason = "not all of its disks are there, so that it has no snapshots now",
	};
}

static void add_pool_problem(struct facts *f, const struct pool_facts *pool)
{
	if (pool->status.ready)
		return;
	f->problems[f->problem_count++] = (struct problem){
		.kind = "pools",
		.name = pool->name,
		.severity = EVENT_MAJOR,
		.state = "Missing",
		.reason = pool->status.problem,
	};
}

static void add_space_problem(struct facts *f)
{
	if (!f->space_low)
		return;
	f->problems[f->problem_count++] = (struct problem){
		.kind = "",
		.name = "daemon",
		.severity = EVENT_WARNING,
		.state = "SpaceLow",
		.reason = "there is little space for old content: some is given up",
	};
}

const char *problem_object(const struct problem *p, char buf[PROBLEM_OBJECT_MAX])
{
	snprintf(buf, PROBLEM_OBJECT_MAX, "%s%s%s", p->kind, *p->kind ? "/" : "", p->name);
	return buf;
}

/* The worst first; what is equally bad stays in the order of names. */
static int compare_problems(const void *a, const void *b)
{
	const struct problem *x = a, *y = b;
	int order;

	if (x->severity != y->severity)
		return x->severity < y->severity ? 1 : -1;
	order = strcmp(y->kind, x->kind); /* replicas, pools, disks, the daemon */
	return order ? order : strcmp(x->name, y->name);
}

static int collect_problems(struct facts *f)
{
	f->problems = calloc(f->disk_count + f->pool_count + f->replica_count + f->clone_count +
				     f->group_count + 2,
			     sizeof(*f->problems));
	if (!f->problems)
		return -ENOMEM;
	add_space_problem(f);
	for (size_t i = 0; i < f->pool_count; i++)
		add_pool_problem(f, &f->pools[i]);
	for (size_t i = 0; i < f->disk_count; i++)
		add_disk_problem(f, &f->disks[i], &f->pasts[i]);
	for (size_t i = 0; i < f->replica_count; i++)
		add_replica_problem(f, &f->replicas[i]);
	for (size_t i = 0; i < f->clone_count; i++)
		add_replica_problem(f, &f->clones[i]);
	for (size_t i = 0; i < f->group_count; i++)
		add_group_problem(f, &f->groups[i]);
	qsort(f->problems, f->problem_count, sizeof(*f->problems), compare_problems);
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * UINT64_C(1000) + now.tv_nsec / 1000000;
}

int facts_collect(struct tandem *t, struct facts *out)
{
	struct facts f = { .time_ms = now_ms(), .space_low = space_is_low(t) };
	int err = collect_disks(t, &f);

	store_facts(t, &f.store);
	if (!err)
		err = collect_pools(t, &f);
	if (!err)
		err = collect_replicas(t, NULL, &f);
	if (!err)
		err = groups_list(t, &f.groups, &f.group_count);
	if (!err)
		err = jobs_list(t->jobs, &f.jobs, &f.job_count);
	if (!err)
		err = collect_problems(&f);
	if (err)
		facts_free(&f);
	else
		*out = f;
	return err;
}

int facts_of_disk(struct tandem *t, uint32_t number, struct facts *out)
{
	struct facts f = { .disk_count = 1 };
	struct disk *d = tandem_disk_numbered(t, number);
	int err = d ? 0 : -ENOENT;

	f.disks = calloc(1, sizeof(*f.disks));
	f.pasts = calloc(1, sizeof(*f.pasts));
	if (!err && (!f.disks || !f.pasts))
		err = -ENOMEM;
	if (!err) {
		disk_facts(d, f.disks);
		disk_past(d, f.pasts);
		err = collect_replicas(t, d, &f);
	}
	disk_unref(d);
	if (err)
		facts_free(&f);
	else
		*out = f;
	return err;
}

static int compare_source(const void *source, const void *replica)
{
	return strcmp(source, ((const struct replica_facts *)replica)->source);
}

const struct replica_facts *facts_snapshots(const struct facts *f, size_t i, size_t *count)
{
	const char *source = f->disks[i].label;
	const struct replica_facts *end = f->replicas + f->replica_count, *first, *last;

	*count = 0;
	if (!f->replica_count)
		return NULL;
	first = bsearch(source, f->replicas, f->replica_count, sizeof(*first), compare_source);
	if (!first)
		return NULL;
	for (last = first; last < end && strcmp(last->source, source) == 0; last++)
		;
	while (first > f->replicas && strcmp(first[-1].source, source) == 0)
		first--;
	*count = last - first;
	return first;
}

void facts_free(struct facts *f)
{
	free(f->disks);
	free(f->pasts);
	free(f->replicas);
	free(f->clones);
	free(f->groups);
	free(f->jobs);
	free(f->pools);
	free(f->problems);
	*f = (struct facts){ 0 };
}

enum health facts_health(const struct facts *f)
{
	if (f->problem_count == 0)
		return HEALTH_OK;
	return f->problems[0].severity >= EVENT_MAJOR ? HEALTH_FAIL : HEALTH_WARN;
}

int pool_facts_of(struct tandem *t, uint32_t number, struct pool_facts *out)
{
	struct pool *p = tandem_pool_numbered(t, number);
	struct facts f = { 0 };
	int err;

	if (!p)
		return -ENOENT;
	fill_pool(p, out);
	pool_unref(p);
	err = collect_disks(t, &f);
	for (size_t d = 0; d < f.disk_count; d++)
		out->disks += !strcmp(f.disks[d].pool, out->name);
	facts_free(&f);
	return err;
}

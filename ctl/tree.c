// SPDX-License-Identifier: GPL-2.0-or-later
/* The constant table of the files under .replication/, and walking in it. */
#include "inner.h"

#include <errno.h>
#include <string.h>

#include "lookups.h"
#include "objects.h"

struct row {
	uint8_t parent;
	const char *name; /* NULL: one for each object, named by it */
	enum node_kind kind;
	uint16_t mode;
	enum object_kind object;       /* to which it belongs */
	const struct objects *objects; /* of the rows without a name: where they come from */
	bool unlisted;
	bool property; /* its name is one */
	int (*render)(struct ctl *c, uint32_t object, struct text *out);
	uint64_t (*version)(struct ctl *c, uint32_t object); /* NULL: it never changes */
	int (*content)(struct ctl *c, uint32_t object, struct content *out);
};

static uint64_t tandem_version(struct ctl *c, uint32_t object)
{
	/* Neither number goes down, so the sum tells of both. */
	return c->tandem->changes + snapshots_version(c->tandem);
}

static uint64_t events_version(struct ctl *c, uint32_t object)
{
	return events_last(c->tandem->events);
}

/*
 * Node ids are made of these numbers: within one run of the daemon nothing else
 * depends on them, but a resumed mount would, so new ones come at the end.
 */
enum {
	ROW_NONE,
	ROW_ROOT,
	ROW_HELP,
	ROW_CONTROL,
	ROW_STATUS,
	ROW_STATUS_JSON,
	ROW_CAPABILITIES,
	ROW_EVENTS,
	ROW_EVENTS_PIPE,
	ROW_METRICS,
	ROW_DISKS,
	ROW_REPLICAS,
	ROW_GROUPS,
	ROW_JOBS,
	ROW_POOLS,
	ROW_PEERS,
	ROW_DISK,
	ROW_DISK_CONTROL,
	ROW_DISK_STATUS,
	ROW_DISK_STATUS_JSON,
	ROW_POOL,
	ROW_POOL_STATUS,
	ROW_DISK_HISTORY,
	ROW_DISK_SNAPSHOTS,
	ROW_SNAPSHOT,
	ROW_DISK_AT,
	ROW_AT,
	ROW_DISK_CHANGES,
	ROW_CHANGES,
	ROW_REPLICA,
	ROW_REPLICA_CONTROL,
	ROW_REPLICA_STATUS,
	ROW_REPLICA_STATUS_JSON,
	ROW_SOURCE_VIRTUAL_DISK,
	ROW_TARGET_VIRTUAL_DISK,
	ROW_SYNC_TIME,
	ROW_SYNC_MAINTAINED,
	ROW_COPY_STATE,
	ROW_REQUESTED_COPY_STATE,
	ROW_SYNC_TYPE,
	ROW_SYNC_MODE,
	ROW_PROGRESS_STATUS,
	ROW_PERCENT_SYNCED,
	ROW_COPY_TYPE,
	ROW_REPLICA_TYPE,
	ROW_SYNC_STATE,
	ROW_COPY_PRIORITY,
	ROW_COPY_METHODOLOGY,
	ROW_RECOVERY_POINT_OBJECTIVE,
	ROW_SOURCE,
	ROW_TARGET,
	ROW_REPLICA_WAIT,
	ROW_WAIT,
	ROW_GROUP,
	ROW_GROUP_CONTROL,
	ROW_GROUP_STATUS,
	ROW_GROUP_STATUS_JSON,
	ROW_GROUP_MEMBERS,
	ROW_GROUP_CONSISTENT,
	ROW_JOB,
	ROW_JOB_CONTROL,
	ROW_JOB_STATUS,
	ROW_JOB_STATUS_JSON,
	ROW_JOB_PERCENT,
	ROW_JOB_WAIT,
	ROW_GROUP_SYNC_TIME,
	ROW_GROUP_SYNC_MAINTAINED,
	ROW_GROUP_COPY_STATE,
	ROW_GROUP_REQUESTED_COPY_STATE,
	ROW_GROUP_SYNC_TYPE,
	ROW_GROUP_SYNC_MODE,
	ROW_GROUP_PROGRESS_STATUS,
	ROW_GROUP_PERCENT_SYNCED,
	ROW_GROUP_COPY_TYPE,
	ROW_GROUP_REPLICA_TYPE,
	ROW_GROUP_SYNC_STATE,
	ROW_GROUP_COPY_PRIORITY,
	ROW_GROUP_COPY_METHODOLOGY,
	ROW_GROUP_RECOVERY_POINT_OBJECTIVE,
	ROW_GROUP_WAITS,
	ROW_GROUP_WAIT,
	ROW_MAX
};

#define DIRECTORY .kind = NODE_DIR, .mode = 0555
#define TEXT .kind = NODE_TEXT, .mode = 0444
#define PIPE .kind = NODE_PIPE, .mode = 0444
#define CONTROL .kind = NODE_CONTROL, .mode = 0600
#define CONTENT .kind = NODE_CONTENT, .mode = 0444
#define CHANGES .kind = NODE_CHANGES, .mode = 0444
#define LINK .kind = NODE_LINK, .mode = 0777
#define WAIT .kind = NODE_WAIT, .mode = 0444
#define GROUP_PROPERTY(name)                                                                    \
	{                                                                                       \
		ROW_GROUP, name, TEXT, OBJECT_GROUP, .property = true, .version = group_version \
	}
#define PROPERTY(name)                                                              \
	{                                                                           \
		ROW_REPLICA, name, TEXT, OBJECT_REPLICA, .property = true,          \
							 .version = replica_version \
	}

// clang-format off
static const struct row rows[ROW_MAX] = {
	[ROW_ROOT]         = { ROW_NONE, ".replication", DIRECTORY, .version = tandem_version },
	[ROW_HELP]         = { ROW_ROOT, "help", TEXT, .render = help_render },
	[ROW_CONTROL]      = { ROW_ROOT, "control", CONTROL, OBJECT_ROOT },
	[ROW_STATUS]       = { ROW_ROOT, "status", TEXT, .render = status_render,
			       .version = tandem_version },
	[ROW_STATUS_JSON]  = { ROW_ROOT, "status.json", TEXT, .render = status_json_render,
			       .version = tandem_version },
	[ROW_CAPABILITIES] = { ROW_ROOT, "capabilities", TEXT, .render = capabilities_render },
	[ROW_EVENTS]       = { ROW_ROOT, "events", TEXT, .render = events_render,
			       .version = events_version },
	[ROW_EVENTS_PIPE]  = { ROW_ROOT, "events_pipe", PIPE, .unlisted = true,
			       .version = events_version },
	[ROW_METRICS]      = { ROW_ROOT, "metrics", TEXT, .render = metrics_render,
			       .version = tandem_version },
	[ROW_DISKS]        = { ROW_ROOT, "disks", DIRECTORY, .version = tandem_version },
	[ROW_REPLICAS]     = { ROW_ROOT, "replicas", DIRECTORY, .version = tandem_version },
	[ROW_GROUPS]       = { ROW_ROOT, "groups", DIRECTORY, .version = tandem_version },
	[ROW_JOBS]         = { ROW_ROOT, "jobs", DIRECTORY, .version = tandem_version },
	[ROW_POOLS]        = { ROW_ROOT, "pools", DIRECTORY, .version = tandem_version },
	[ROW_PEERS]        = { ROW_ROOT, "peers", DIRECTORY, .version = tandem_version },

	[ROW_DISK]         = { ROW_DISKS, NULL, DIRECTORY, OBJECT_DISK, &disk_objects,
			       .version = disk_version },
	[ROW_DISK_CONTROL] = { ROW_DISK, "control", CONTROL, OBJECT_DISK },
	[ROW_DISK_STATUS]  = { ROW_DISK, "status", TEXT, OBJECT_DISK, .render = disk_status_render,
			       .version = disk_version },
	[ROW_DISK_STATUS_JSON] = { ROW_DISK, "status.json", TEXT, OBJECT_DISK,
			       .render = disk_status_json_render, .version = disk_version },

	[ROW_POOL]         = { ROW_POOLS, NULL, DIRECTORY, OBJECT_POOL, &pool_objects,
			       .version = pool_version },
	[ROW_POOL_STATUS]  = { ROW_POOL, "status", TEXT, OBJECT_POOL, .render = pool_status_render,
			       .version = pool_version },

	[ROW_DISK_HISTORY] = { ROW_DISK, "history", TEXT, OBJECT_DISK, .render = history_render,
			       .version = disk_version },
	[ROW_DISK_SNAPSHOTS] = { ROW_DISK, "snapshots", DIRECTORY, OBJECT_DISK,
			       .version = disk_version },
	[ROW_SNAPSHOT]     = { ROW_DISK_SNAPSHOTS, NULL, CONTENT, OBJECT_SNAPSHOT,
			       &snapshot_objects, .content = snapshot_content },
	[ROW_DISK_AT]      = { ROW_DISK, "at", DIRECTORY, OBJECT_DISK },
	[ROW_AT]           = { ROW_DISK_AT, NULL, CONTENT, OBJECT_MOMENT, &moment_objects,
			       .content = moment_content },
	[ROW_DISK_CHANGES] = { ROW_DISK, "changes", DIRECTORY, OBJECT_DISK },
	[ROW_CHANGES]      = { ROW_DISK_CHANGES, NULL, CHANGES, OBJECT_CHANGES, &changes_objects,
			       .render = changes_render, .content = changes_content },

	[ROW_REPLICA]      = { ROW_REPLICAS, NULL, DIRECTORY, OBJECT_REPLICA, &replica_objects,
			       .version = replica_version },
	[ROW_REPLICA_CONTROL] = { ROW_REPLICA, "control", CONTROL, OBJECT_REPLICA },
	[ROW_REPLICA_STATUS]  = { ROW_REPLICA, "status", TEXT, OBJECT_REPLICA,
			       .render = replica_status_render, .version = replica_version },
	[ROW_REPLICA_STATUS_JSON] = { ROW_REPLICA, "status.json", TEXT, OBJECT_REPLICA,
			       .render = replica_status_json_render, .version = replica_version },
	[ROW_SOURCE_VIRTUAL_DISK] = PROPERTY("SourceVirtualDisk"),
	[ROW_TARGET_VIRTUAL_DISK] = PROPERTY("TargetVirtualDisk"),
	[ROW_SYNC_TIME] = PROPERTY("SyncTime"),
	[ROW_SYNC_MAINTAINED] = PROPERTY("SyncMaintained"),
	[ROW_COPY_STATE] = PROPERTY("CopyState"),
	[ROW_REQUESTED_COPY_STATE] = PROPERTY("RequestedCopyState"),
	[ROW_SYNC_TYPE] = PROPERTY("SyncType"),
	[ROW_SYNC_MODE] = PROPERTY("SyncMode"),
	[ROW_PROGRESS_STATUS] = PROPERTY("ProgressStatus"),
	[ROW_PERCENT_SYNCED] = PROPERTY("PercentSynced"),
	[ROW_COPY_TYPE] = PROPERTY("CopyType"),
	[ROW_REPLICA_TYPE] = PROPERTY("ReplicaType"),
	[ROW_SYNC_STATE] = PROPERTY("SyncState"),
	[ROW_COPY_PRIORITY] = PROPERTY("CopyPriority"),
	[ROW_COPY_METHODOLOGY] = PROPERTY("CopyMethodology"),
	[ROW_RECOVERY_POINT_OBJECTIVE] = PROPERTY("RecoveryPointObjective"),
	[ROW_SOURCE]       = { ROW_REPLICA, "source", LINK, OBJECT_REPLICA,
			       .render = source_render, .version = replica_version },
	[ROW_TARGET]       = { ROW_REPLICA, "target", LINK, OBJECT_REPLICA,
			       .render = target_render, .version = replica_version },
	[ROW_REPLICA_WAIT] = { ROW_REPLICA, "wait", DIRECTORY, OBJECT_REPLICA },
	[ROW_WAIT]         = { ROW_REPLICA_WAIT, NULL, WAIT, OBJECT_WAIT, &wait_objects,
			       .render = wait_render, .version = wait_version },

	[ROW_GROUP]        = { ROW_GROUPS, NULL, DIRECTORY, OBJECT_GROUP, &group_objects,
			       .version = group_version },
	[ROW_GROUP_CONTROL] = { ROW_GROUP, "control", CONTROL, OBJECT_GROUP },
	[ROW_GROUP_STATUS] = { ROW_GROUP, "status", TEXT, OBJECT_GROUP,
			       .render = group_status_render, .version = group_version },
	[ROW_GROUP_STATUS_JSON] = { ROW_GROUP, "status.json", TEXT, OBJECT_GROUP,
			       .render = group_status_json_render, .version = group_version },
	[ROW_GROUP_MEMBERS] = { ROW_GROUP, "members", TEXT, OBJECT_GROUP,
			       .render = members_render, .version = group_version },
	[ROW_GROUP_CONSISTENT] = { ROW_GROUP, "ConsistentPointInTime", TEXT, OBJECT_GROUP,
			       .render = consistent_render, .version = group_version },

	[ROW_GROUP_SYNC_TIME] = GROUP_PROPERTY("SyncTime"),
	[ROW_GROUP_SYNC_MAINTAINED] = GROUP_PROPERTY("SyncMaintained"),
	[ROW_GROUP_COPY_STATE] = GROUP_PROPERTY("CopyState"),
	[ROW_GROUP_REQUESTED_COPY_STATE] = GROUP_PROPERTY("RequestedCopyState"),
	[ROW_GROUP_SYNC_TYPE] = GROUP_PROPERTY("SyncType"),
	[ROW_GROUP_SYNC_MODE] = GROUP_PROPERTY("SyncMode"),
	[ROW_GROUP_PROGRESS_STATUS] = GROUP_PROPERTY("ProgressStatus"),
	[ROW_GROUP_PERCENT_SYNCED] = GROUP_PROPERTY("PercentSynced"),
	[ROW_GROUP_COPY_TYPE] = GROUP_PROPERTY("CopyType"),
	[ROW_GROUP_REPLICA_TYPE] = GROUP_PROPERTY("ReplicaType"),
	[ROW_GROUP_SYNC_STATE] = GROUP_PROPERTY("SyncState"),
	[ROW_GROUP_COPY_PRIORITY] = GROUP_PROPERTY("CopyPriority"),
	[ROW_GROUP_COPY_METHODOLOGY] = GROUP_PROPERTY("CopyMethodology"),
	[ROW_GROUP_RECOVERY_POINT_OBJECTIVE] = GROUP_PROPERTY("RecoveryPointObjective"),
	[ROW_GROUP_WAITS]  = { ROW_GROUP, "wait", DIRECTORY, OBJECT_GROUP },
	[ROW_GROUP_WAIT]   = { ROW_GROUP_WAITS, NULL, WAIT, OBJECT_WAIT, &wait_objects,
			       .render = wait_render, .version = wait_version },

	[ROW_JOB]          = { ROW_JOBS, NULL, DIRECTORY, OBJECT_JOB, &job_objects,
			       .version = job_version },
	[ROW_JOB_CONTROL]  = { ROW_JOB, "control", CONTROL, OBJECT_JOB },
	[ROW_JOB_STATUS]   = { ROW_JOB, "status", TEXT, OBJECT_JOB, .render = job_status_render,
			       .version = job_version },
	[ROW_JOB_STATUS_JSON] = { ROW_JOB, "status.json", TEXT, OBJECT_JOB,
			       .render = job_status_json_render, .version = job_version },
	[ROW_JOB_PERCENT]  = { ROW_JOB, "percent", TEXT, OBJECT_JOB, .render = percent_render,
			       .version = job_version },
	[ROW_JOB_WAIT]     = { ROW_JOB, "wait", WAIT, OBJECT_JOB, .unlisted = true,
			       .render = job_wait_render, .version = job_wait_version },
};
// clang-format on

const struct node node_root = { .row = ROW_ROOT };

static const struct row *row_of(struct node n)
{
	return n.row < ROW_MAX ? &rows[n.row] : &rows[ROW_NONE];
}

/* ---- nodes ---- */

enum node_kind node_kind(struct node n)
{
	return row_of(n)->kind;
}

uint32_t node_mode(struct node n)
{
	return row_of(n)->mode;
}

enum object_kind node_object_kind(struct node n)
{
	return row_of(n)->object;
}

/* The table whose rows stand for objects of this kind. */
static const struct objects *objects_of(enum object_kind kind)
{
	for (int i = ROW_NONE + 1; i < ROW_MAX; i++) {
		if (rows[i].objects && rows[i].object == kind)
			return rows[i].objects;
	}
	return NULL;
}

/* A link is there while what it points to is. */
static bool link_is_there(struct ctl *c, const struct row *row, uint32_t object)
{
	struct text ignored = { 0 };
	int err = row->render(c, object, &ignored);

	text_free(&ignored);
	return !err;
}

bool node_exists(struct ctl *c, struct node n)
{
	const struct row *row = row_of(n);
	const struct objects *objects = objects_of(row->object);

	if (row->kind == NODE_NONE)
		return false;
	if (objects ? !objects->exists(c, n.object) : n.object != 0)
		return false;
	return row->kind != NODE_LINK || link_is_there(c, row, n.object);
}

int node_open(struct ctl *c, struct node n)
{
	const struct objects *objects = objects_of(row_of(n)->object);

	if (objects && objects->looked_up && !lookups_hold(c->lookups, n.object))
		return -ESTALE;
	if (node_exists(c, n))
		return 0;
	node_close(c, n);
	return -ENOENT;
}

void node_close(struct ctl *c, struct node n)
{
	const struct objects *objects = objects_of(row_of(n)->object);

	if (objects && objects->looked_up)
		lookups_drop(c->lookups, n.object);
}

int wait_node(struct ctl *c, uint32_t object, uint64_t states, uint64_t job, struct node *out)
{
	struct node n = { .row = ROW_WAIT };
	int err = lookups_put(c->lookups, &(struct lookup){ ROW_WAIT, object, states, job },
			      &n.object);

	if (!err)
		err = node_open(c, n);
	if (!err)
		*out = n;
	return err;
}

int node_lookup(struct ctl *c, struct node dir, const char *name, struct node *out)
{
	uint32_t object = dir.object;
	int err;

	if (node_kind(dir) != NODE_DIR)
		return -ENOTDIR;
	for (int i = ROW_NONE + 1; i < ROW_MAX; i++) {
		const struct row *row = &rows[i];

		if (row->parent != dir.row || (row->name && strcmp(row->name, name) != 0))
			continue;
		err = row->name ? 0 : row->objects->find(c, dir, i, name, &object);
		if (err)
			return err;
		*out = (struct node){ .row = i, .object = object };
		return node_exists(c, *out) ? 0 : -ENOENT;
	}
	return -ENOENT;
}

int node_list(struct ctl *c, struct node dir,
	      bool (*fn)(void *arg, const char *name, struct node child), void *arg)
{
	if (node_kind(dir) != NODE_DIR)
		return -ENOTDIR;
	if (!node_exists(c, dir))
		return -ENOENT;
	for (int i = ROW_NONE + 1; i < ROW_MAX; i++) {
		const struct row *row = &rows[i];
		struct node child = { .row = i, .object = dir.object };

		if (row->parent != dir.row || row->unlisted)
			continue;
		/* A directory of objects has nothing else, so that its listing decides. */
		if (!row->name)
			return row->objects->list ? row->objects->list(c, dir, i, fn, arg) : 0;
		if (row->kind == NODE_LINK && !link_is_there(c, row, dir.object))
			continue;
		if (!fn(arg, row->name, child))
			return 0;
	}
	return 0;
}

int node_render(struct ctl *c, struct node n, struct text *out)
{
	const struct row *row = row_of(n);
	int err = 0;

	if (!node_exists(c, n))
		return -ENOENT;
	if (row->kind == NODE_CONTROL)
		ledger_get(c->ledger, row->object, n.object, out);
	else if (row->property)
		err = property_render(c, n.object, row->name, out);
	else if (row->render)
		err = row->render(c, n.object, out);
	else
		return -EINVAL;
	if (err)
		return err;
	return text_ok(out) ? 0 : -ENOMEM;
}

int node_content(struct ctl *c, struct node n, struct content *out)
{
	const struct row *row = row_of(n);

	return row->content ? row->content(c, n.object, out) : -EINVAL;
}

uint64_t node_version(struct ctl *c, struct node n)
{
	const struct row *row = row_of(n);

	if (row->kind == NODE_CONTROL)
		return ledger_version(c->ledger, row->object, n.object);
	return row->version ? row->version(c, n.object) : 1;
}

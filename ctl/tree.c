// SPDX-License-Identifier: GPL-2.0-or-later
/* The constant table of the files under .replication/, and walking in it. */
#include "inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Directories with one entry for each object of a kind. */
struct objects {
	/* The object's number; -ENOENT. */
	int (*find)(struct ctl *c, const char *name, uint32_t *number);
	bool (*exists)(struct ctl *c, uint32_t number);
	/* As node_list; `row` is the row of each child. */
	int (*list)(struct ctl *c, uint8_t row, bool (*fn)(void *, const char *, struct node),
		    void *arg);
	/* Goes up when an object's status changes in words; 0 when it is gone. */
	uint64_t (*version)(struct ctl *c, uint32_t number);
};

static const struct objects disk_objects, pool_objects;

struct row {
	uint8_t parent;
	const char *name; /* NULL: one for each object, named by it */
	enum node_kind kind;
	uint16_t mode;
	enum object_kind object;       /* to which it belongs */
	const struct objects *objects; /* of the rows without a name: where they come from */
	bool unlisted;
	int (*render)(struct ctl *c, uint32_t object, struct text *out);
	uint64_t (*version)(struct ctl *c, uint32_t object); /* NULL: it never changes */
};

static uint64_t tandem_version(struct ctl *c, uint32_t object)
{
	return c->tandem->changes;
}

static uint64_t events_version(struct ctl *c, uint32_t object)
{
	return events_last(c->tandem->events);
}

static uint64_t disk_version(struct ctl *c, uint32_t object);
static uint64_t pool_version(struct ctl *c, uint32_t object);

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
	ROW_MAX
};

#define DIRECTORY .kind = NODE_DIR, .mode = 0555
#define TEXT .kind = NODE_TEXT, .mode = 0444
#define PIPE .kind = NODE_PIPE, .mode = 0444
#define CONTROL .kind = NODE_CONTROL, .mode = 0600

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
};
// clang-format on

const struct node node_root = { .row = ROW_ROOT };

static const struct row *row_of(struct node n)
{
	return n.row < ROW_MAX ? &rows[n.row] : &rows[ROW_NONE];
}

/* ---- disks ---- */

static int find_disk(struct ctl *c, const char *name, uint32_t *number)
{
	struct disk *d = tandem_disk_labelled(c->tandem, name);

	if (!d)
		return -ENOENT;
	*number = d->number;
	disk_unref(d);
	return 0;
}

static bool disk_exists(struct ctl *c, uint32_t number)
{
	struct disk *d = tandem_disk_numbered(c->tandem, number);

	disk_unref(d);
	return d;
}

static int list_disks(struct ctl *c, uint8_t row, bool (*fn)(void *, const char *, struct node),
		      void *arg)
{
	char label[DISK_LABEL_MAX + 1];
	size_t count;
	struct disk **disks = tandem_disks(c->tandem, &count);

	if (!disks)
		return count ? -ENOMEM : 0;
	for (size_t i = 0; i < count; i++) {
		struct node child = { .row = row, .object = disks[i]->number };

		pthread_mutex_lock(&disks[i]->lock);
		memcpy(label, disks[i]->label, sizeof(label));
		pthread_mutex_unlock(&disks[i]->lock);
		if (!fn(arg, label, child))
			break;
	}
	disks_free(disks, count);
	return 0;
}

static uint64_t disk_version(struct ctl *c, uint32_t object)
{
	struct disk *d = tandem_disk_numbered(c->tandem, object);
	uint64_t version = d ? d->changes + 1 : 0;

	disk_unref(d);
	return version;
}

static const struct objects disk_objects = { find_disk, disk_exists, list_disks, disk_version };

/* ---- pools: those with a name; DISKDIR is the whole itself ---- */

static int find_pool(struct ctl *c, const char *name, uint32_t *number)
{
	struct pool *p = *name ? tandem_pool_named(c->tandem, name) : NULL;

	if (!p)
		return -ENOENT;
	*number = p->number;
	pool_unref(p);
	return 0;
}

static bool pool_exists(struct ctl *c, uint32_t number)
{
	struct pool *p = tandem_pool_numbered(c->tandem, number);

	pool_unref(p);
	return p;
}

static int list_pools(struct ctl *c, uint8_t row, bool (*fn)(void *, const char *, struct node),
		      void *arg)
{
	size_t count;
	struct pool **pools = tandem_pools(c->tandem, &count);

	if (!pools)
		return count ? -ENOMEM : 0;
	for (size_t i = 0; i < count; i++) {
		struct node child = { .row = row, .object = pools[i]->number };

		if (*pools[i]->name && !fn(arg, pools[i]->name, child))
			break;
	}
	pools_free(pools, count);
	return 0;
}

static uint64_t pool_version(struct ctl *c, uint32_t object)
{
	struct pool *p = tandem_pool_numbered(c->tandem, object);
	/* It also counts its disks. Neither number goes down, so the sum tells of both. */
	uint64_t version = p ? p->changes + c->tandem->changes + 1 : 0;

	pool_unref(p);
	return version;
}

static const struct objects pool_objects = { find_pool, pool_exists, list_pools, pool_version };

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

bool node_exists(struct ctl *c, struct node n)
{
	const struct row *row = row_of(n);
	const struct objects *objects = objects_of(row->object);

	if (row->kind == NODE_NONE)
		return false;
	return objects ? objects->exists(c, n.object) : n.object == 0;
}

int node_lookup(struct ctl *c, struct node dir, const char *name, struct node *out)
{
	uint32_t object = dir.object;

	if (node_kind(dir) != NODE_DIR)
		return -ENOTDIR;
	for (int i = ROW_NONE + 1; i < ROW_MAX; i++) {
		const struct row *row = &rows[i];

		if (row->parent != dir.row)
			continue;
		if (row->name ? strcmp(row->name, name) != 0 : row->objects->find(c, name, &object))
			continue;
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
			return row->objects->list(c, i, fn, arg);
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
	else if (row->render)
		err = row->render(c, n.object, out);
	else
		return -EINVAL;
	if (err)
		return err;
	return text_ok(out) ? 0 : -ENOMEM;
}

uint64_t node_version(struct ctl *c, struct node n)
{
	const struct row *row = row_of(n);

	if (row->kind == NODE_CONTROL)
		return ledger_version(c->ledger, row->object, n.object);
	return row->version ? row->version(c, n.object) : 1;
}

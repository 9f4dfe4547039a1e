// SPDX-License-Identifier: GPL-2.0-or-later
/* snapshots/NAME.raw of a disk, and replicas/NAME. */
#include "objects.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "facts.h"
#include "inner.h"
#include "replica_facts.h"

#define ENDING ".raw"

struct listing {
	uint8_t row;
	bool (*fn)(void *arg, const char *name, struct node child);
	void *arg;
};

/* ---- snapshots/NAME.raw ---- */

bool name_before_raw(const char *name, char *out, size_t size)
{
	size_t len = strlen(name), ending = strlen(ENDING);

	if (len <= ending || len - ending >= size || strcmp(name + len - ending, ENDING) != 0)
		return false;
	memcpy(out, name, len - ending);
	out[len - ending] = '\0';
	return true;
}

/* One that has no moment has no file. */
static bool has_file(const struct snapshot_facts *s)
{
	return s->state != SNAPSHOT_INACTIVE;
}

static int find_snapshot(struct ctl *c, struct node dir, uint8_t row, const char *name,
			 uint32_t *number)
{
	struct disk *d = tandem_disk_numbered(c->tandem, dir.object);
	char wanted[SNAPSHOT_NAME_MAX + 1];
	struct snapshot_facts s;
	int err = d && name_before_raw(name, wanted, sizeof(wanted)) ? 0 : -ENOENT;

	if (!err)
		err = snapshot_named(c->tandem, d, wanted, &s);
	if (!err && !has_file(&s))
		err = -ENOENT;
	if (!err)
		*number = s.number;
	disk_unref(d);
	return err;
}

static bool snapshot_exists(struct ctl *c, uint32_t number)
{
	struct snapshot_facts s;

	return !snapshot_numbered(c->tandem, number, &s) && has_file(&s);
}

static bool list_file(void *arg, const struct snapshot_facts *s)
{
	const struct listing *l = arg;
	char name[SNAPSHOT_NAME_MAX + sizeof(ENDING)];

	if (!has_file(s))
		return true;
	snprintf(name, sizeof(name), "%s" ENDING, s->name);
	return l->fn(l->arg, name, (struct node){ .row = l->row, .object = s->number });
}

static int list_snapshots(struct ctl *c, struct node dir, uint8_t row,
			  bool (*fn)(void *, const char *, struct node), void *arg)
{
	struct disk *d = tandem_disk_numbered(c->tandem, dir.object);
	struct listing l = { row, fn, arg };

	if (!d)
		return -ENOENT;
	snapshots_list(c->tandem, d, list_file, &l);
	disk_unref(d);
	return 0;
}

int snapshot_content(struct ctl *c, uint32_t object, struct content *out)
{
	struct content found = { 0 };
	struct snapshot_facts s;
	int err = snapshot_numbered(c->tandem, object, &s);

	if (!err && !has_file(&s))
		err = -ENOENT;
	if (err)
		return err;
	found.disk = tandem_disk_numbered(c->tandem, s.disk);
	if (!found.disk)
		return -ENOENT;
	/* Without the number the file can be looked at all the same. */
	if (snapshot_exclusive(c->tandem, object, &found.allocated))
		found.allocated = 0;
	found.generation = s.state == SNAPSHOT_BROKEN ? 0 : s.generation;
	if (s.writable && !s.overlay_lost && s.state != SNAPSHOT_BROKEN)
		found.overlay = snapshot_overlay(c->tandem, object);
	if (s.writable && !found.overlay)
		found.generation = 0; /* its moment is not what was asked for */
	found.time_ms = s.time_ms;
	found.size = s.size;
	*out = found;
	return 0;
}

const struct objects snapshot_objects = { find_snapshot, snapshot_exists, list_snapshots };

/* ---- replicas/NAME ---- */

static int find_replica(struct ctl *c, struct node dir, uint8_t row, const char *name,
			uint32_t *number)
{
	struct snapshot_facts s;
	struct clone_facts clone;
	struct pair_facts pair;
	int err = snapshot_labelled(c->tandem, name, &s);

	if (!err) {
		*number = s.number;
		return 0;
	}
	err = clone_named(c->tandem, name, &clone);
	if (!err) {
		*number = clone.number;
		return 0;
	}
	err = pair_named(c->tandem, name, &pair);
	if (!err)
		*number = pair.number;
	return err;
}

static bool replica_exists(struct ctl *c, uint32_t number)
{
	struct replica_facts r;

	return !replica_facts(c->tandem, number, &r);
}

static bool list_clone(void *arg, const struct clone_facts *clone)
{
	const struct listing *l = arg;

	return l->fn(l->arg, clone->name, (struct node){ .row = l->row, .object = clone->number });
}

static bool list_pair(void *arg, const struct pair_facts *pair)
{
	const struct listing *l = arg;

	return l->fn(l->arg, pair->name, (struct node){ .row = l->row, .object = pair->number });
}

static bool list_directory(void *arg, const struct snapshot_facts *s)
{
	const struct listing *l = arg;

	return l->fn(l->arg, s->label, (struct node){ .row = l->row, .object = s->number });
}

static int list_replicas(struct ctl *c, struct node dir, uint8_t row,
			 bool (*fn)(void *, const char *, struct node), void *arg)
{
	struct listing l = { row, fn, arg };

	snapshots_list(c->tandem, NULL, list_directory, &l);
	clones_list(c->tandem, list_clone, &l);
	pairs_list(c->tandem, list_pair, &l);
	return 0;
}

uint64_t replica_version(struct ctl *c, uint32_t object)
{
	/* Neither number goes down, so the sum tells of both: mirrors are told of like disks. */
	return replica_exists(c, object) ? snapshots_version(c->tandem) + c->tandem->changes + 1
					 : 0;
}

const struct objects replica_objects = { find_replica, replica_exists, list_replicas };

/* ---- source and target ---- */

static int render_disk(struct ctl *c, const char *label, struct text *out)
{
	char path[MOUNT_PATH_MAX];
	struct disk_facts facts;
	struct disk *d = tandem_disk_labelled(c->tandem, label);

	if (!d)
		return -ENOENT;
	disk_facts(d, &facts);
	disk_unref(d);
	if (!facts_served(&facts))
		return -ENOENT;
	text_addf(out, "../../../%s", facts_mount_path(&facts, path));
	return 0;
}

int source_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct replica_facts r;
	int err = replica_facts(c->tandem, object, &r);

	return err ? err : render_disk(c, r.source, out);
}

int target_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct replica_facts r;
	struct snapshot_facts s;
	int err;

	if (!replica_facts(c->tandem, object, &r) && r.sync_type != SYNC_SNAPSHOT)
		return render_disk(c, r.target, out);
	err = snapshot_numbered(c->tandem, object, &s);
	if (!err && !has_file(&s))
		err = -ENOENT;
	if (err)
		return err;
	replica_facts_of_snapshot(&s, &r);
	text_addf(out, "../../disks/%s/snapshots/%s" ENDING, r.source, s.name);
	return 0;
}

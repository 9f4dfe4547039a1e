// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Status for programs. Within a Schema keys are only added; what is unknown is
 * null and never missing.
 */
#include "inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "facts.h"
#include "json.h"
#include "rfc3339.h"
#include "space.h"
#include "values.h"

#define SCHEMA 1

void status_json_head(struct json *j, struct ctl *c)
{
	struct timespec now;
	char time[RFC3339_MAX];

	clock_gettime(CLOCK_REALTIME, &now);
	json_uint_at(j, "Schema", SCHEMA);
	json_string_at(j, "Time", rfc3339_format(time, &now));
	json_uint_at(j, "LastEvent", events_last(c->tandem->events));
}

static void add_daemon(struct json *j, const struct tandem *t)
{
	struct timespec started = { .tv_sec = t->started };
	char time[RFC3339_MAX];

	json_object_at(j, "Daemon");
	json_uint_at(j, "Pid", getpid());
	json_string_at(j, "Version", TANDEMFS_VERSION);
	json_string_at(j, "StartTime", rfc3339_format(time, &started));
	json_string_at(j, "DiskDir", t->disk_dir);
	json_string_at(j, "StateDir", t->state_dir);
	json_bool_at(j, "ReadOnly", t->read_only);
	json_bool_at(j, "SpaceLow", space_is_low(t));
	json_object_end(j);
}

static void add_health(struct json *j, const struct facts *f)
{
	char object[PROBLEM_OBJECT_MAX], message[500];

	json_object_at(j, "Health");
	json_string_at(j, "State", health_name(facts_health(f)));
	json_key(j, "Problems");
	json_array(j);
	for (size_t i = 0; i < f->problem_count; i++) {
		const struct problem *p = &f->problems[i];

		snprintf(message, sizeof(message), "%s%s%s", p->state, *p->reason ? ": " : "",
			 p->reason);
		json_object(j);
		json_string_at(j, "Object", problem_object(p, object));
		json_string_at(j, "Severity", severity_name(p->severity));
		json_string_at(j, "Message", message);
		json_object_end(j);
	}
	json_array_end(j);
	json_object_end(j);
}

/* Of history, and how long it was watched: both are known, or none. */
static void add_growth(struct json *j, bool known, int64_t per_hour, uint64_t over_ns)
{
	json_key(j, "GrowthPerHour");
	if (known)
		json_int(j, per_hour);
	else
		json_null(j);
	json_known_at(j, "GrowthSeconds", known, over_ns / 1000000000);
}

static void add_store(struct json *j, const struct store_facts *s)
{
	json_object_at(j, "Store");
	json_known_at(j, "Free", s->free != UINT64_MAX, s->free);
	add_growth(j, s->growth_known, s->growth, s->growth_ns);
	json_known_at(j, "FullInSeconds", s->full_in_s != UINT64_MAX, s->full_in_s);
	json_object_end(j);
}

static const char *or_null(const char *s)
{
	return *s ? s : NULL;
}

static void add_history(struct json *j, const struct past_facts *past)
{
	const struct history_window *w = &past->window;
	char time[RFC3339_MAX];

	json_object_at(j, "History");
	json_known_at(j, "Bytes", past->tracked, past->bytes);
	add_growth(j, past->growth_known, past->growth.per_hour, past->growth.span_ns);
	json_uint_at(j, "Moments", past->moments);
	json_string_at(j, "Oldest",
		       past->oldest_ms ? rfc3339_format_ms(time, past->oldest_ms) : NULL);
	json_known_at(j, "WindowSeconds", w->window_s != 0, w->window_s);
	json_key(j, "GranularitySeconds");
	if (w->window_s)
		json_seconds(j, w->granularity_ms);
	else
		json_null(j);
	json_known_at(j, "Limit", w->limit != 0, w->limit);
	json_object_end(j);
}

static void add_snapshots(struct json *j, const struct replica_facts *r, size_t count)
{
	char time[RFC3339_MAX];

	json_object_at(j, "Snapshots");
	for (; count; count--, r++) {
		json_object_at(j, r->label + strlen(r->source) + 1); /* DISK@NAME */
		json_string_at(j, "CopyState", enum_name(copy_states, r->copy_state));
		json_known_at(j, "Generation", r->generation != 0, r->generation);
		json_string_at(j, "Time",
			       r->sync_time_ms ? rfc3339_format_ms(time, r->sync_time_ms) : NULL);
		json_uint_at(j, "Size", r->size);
		json_string_at(j, "Hold", or_null(r->hold));
		json_object_end(j);
	}
	json_object_end(j);
}

/* The inside of a disk's object. */
static void add_disk(struct json *j, const struct facts *f, size_t i)
{
	const struct disk_facts *d = &f->disks[i];
	const struct past_facts *past = &f->pasts[i];
	size_t count;
	const struct replica_facts *snapshots = facts_snapshots(f, i, &count);
	char path[MOUNT_PATH_MAX], id[VALUE_TEXT_MAX];
	bool known = d->sector_size != 0; /* the image could be opened */

	json_string_at(j, "State", disk_state_name(d->state));
	json_string_at(j, "Reason", or_null(d->reason));
	json_string_at(j, "Name", or_null(facts_mount_path(d, path)));
	json_string_at(j, "Image", d->file_name);
	json_string_at(j, "Pool", or_null(d->pool));
	json_string_at(j, "Format", d->format);
	json_known_at(j, "Size", known, d->size);
	json_known_at(j, "Allocated", known, d->allocated);
	json_uint_at(j, "Openers", d->openers);
	json_bool_at(j, "ReadOnly", d->read_only);
	json_known_at(j, "LogicalSectorSize", known, d->sector_size);
	json_known_at(j, "BlockSize", d->block_size != 0, d->block_size);
	json_string_at(j, "Parent", or_null(d->parent));
	json_uint_at(j, "Children", d->children);
	json_string_at(j, "Warning", or_null(d->warning));
	json_string_at(j, "Identity", value_uuid(id, d->id));
	json_key(j, "BusySeconds");
	json_seconds(j, d->busy_ns / 1000000);
	json_known_at(j, "Generation", past->generation != 0, past->generation);
	json_known_at(j, "TrackedBlockSize", past->tracked, past->block_size);
	json_known_at(j, "Unsettled", past->tracked, past->unsettled);
	json_string_at(j, "SettleError",
		       past->settle_error ? strerror(abs(past->settle_error)) : NULL);
	json_known_at(j, "RestoringPercent", past->restoring, past->restored);
	json_known_at(j, "AbortingPercent", past->aborting, past->restored);
	add_history(j, past);
	add_snapshots(j, snapshots, count);
}

static void add_disks(struct json *j, const struct facts *f)
{
	json_object_at(j, "Disks");
	for (size_t i = 0; i < f->disk_count; i++) {
		json_object_at(j, f->disks[i].label);
		add_disk(j, f, i);
		json_object_end(j);
	}
	json_object_end(j);
}

/* DISKDIR has no name and is not among them: see Daemon. */
static void add_pools(struct json *j, const struct facts *f)
{
	json_object_at(j, "Pools");
	for (size_t i = 0; i < f->pool_count; i++) {
		const struct pool_facts *p = &f->pools[i];

		if (!*p->name)
			continue;
		json_object_at(j, p->name);
		json_string_at(j, "Dir", p->dir);
		json_string_at(j, "State", p->status.ready ? "Ready" : "Missing");
		json_string_at(j, "Problem", or_null(p->status.problem));
		json_uint_at(j, "Disks", p->disks);
		json_known_at(j, "Size", p->status.space_known, p->status.size);
		json_known_at(j, "Free", p->status.space_known, p->status.free);
		json_object_end(j);
	}
	json_object_end(j);
}

static void add_replicas(struct json *j, const struct facts *f)
{
	json_object_at(j, "Replicas");
	for (size_t i = 0; i < f->replica_count; i++) {
		json_object_at(j, f->replicas[i].label);
		replica_json(j, &f->replicas[i]);
		json_object_end(j);
	}
	for (size_t i = 0; i < f->clone_count; i++) {
		json_object_at(j, f->clones[i].label);
		replica_json(j, &f->clones[i]);
		json_object_end(j);
	}
	json_object_end(j);
}

/* One that is gone by now is not added. */
static void add_groups(struct json *j, struct tandem *t, const struct facts *f)
{
	json_object_at(j, "Groups");
	for (size_t i = 0; i < f->group_count; i++)
		j->out->failed |= group_json(j, t, &f->groups[i], f->groups[i].name) == -ENOMEM;
	json_object_end(j);
}

static void add_jobs(struct json *j, const struct facts *f)
{
	char id[16];

	json_object_at(j, "Jobs");
	for (size_t i = 0; i < f->job_count; i++) {
		snprintf(id, sizeof(id), "%u", f->jobs[i].id);
		json_object_at(j, id);
		job_json(j, &f->jobs[i]);
		json_object_end(j);
	}
	json_object_end(j);
}

static void add_none(struct json *j, const char *key)
{
	json_object_at(j, key);
	json_object_end(j);
}

int status_json_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct json j = { .out = out };
	struct facts f;
	int err = facts_collect(c->tandem, &f);

	if (err)
		return err;
	json_object(&j);
	status_json_head(&j, c);
	add_daemon(&j, c->tandem);
	add_health(&j, &f);
	add_store(&j, &f.store);
	add_disks(&j, &f);
	add_replicas(&j, &f);
	add_groups(&j, c->tandem, &f);
	add_jobs(&j, &f);
	add_pools(&j, &f);
	add_none(&j, "Peers");
	json_object_end(&j);
	text_add(out, "\n", 1);
	facts_free(&f);
	return 0;
}

int disk_status_json_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct json j = { .out = out };
	struct facts f;
	int err = facts_of_disk(c->tandem, object, &f);

	if (err)
		return err;
	json_object(&j);
	status_json_head(&j, c);
	add_disk(&j, &f, 0);
	json_object_end(&j);
	text_add(out, "\n", 1);
	facts_free(&f);
	return 0;
}

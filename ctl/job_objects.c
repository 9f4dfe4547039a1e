// SPDX-License-Identifier: GPL-2.0-or-later
/* jobs/ID: the directories, and what their files say. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clones.h"
#include "groups.h"
#include "inner.h"
#include "jobs.h"
#include "json.h"
#include "objects.h"
#include "rfc3339.h"
#include "snapshots.h"
#include "values.h"

static int find_job(struct ctl *c, struct node dir, uint8_t row, const char *name, uint32_t *number)
{
	struct job_facts f;
	char same[16];
	uint64_t id;

	if (value_number(name, UINT32_MAX, &id) || job_numbered(c->tandem->jobs, id, &f))
		return -ENOENT;
	snprintf(same, sizeof(same), "%u", f.id);
	if (strcmp(same, name) != 0)
		return -ENOENT; /* 017 */
	*number = id;
	return 0;
}

static bool job_exists(struct ctl *c, uint32_t number)
{
	struct job_facts f;

	return !job_numbered(c->tandem->jobs, number, &f);
}

static int list_jobs(struct ctl *c, struct node dir, uint8_t row,
		     bool (*fn)(void *, const char *, struct node), void *arg)
{
	struct job_facts *jobs;
	char name[16];
	size_t count;
	int err = jobs_list(c->tandem->jobs, &jobs, &count);

	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%u", jobs[i].id);
		if (!fn(arg, name, (struct node){ row, jobs[i].id }))
			break;
	}
	free(jobs);
	return err;
}

uint64_t job_version(struct ctl *c, uint32_t object)
{
	return job_exists(c, object) ? jobs_version(c->tandem->jobs) + 1 : 0;
}

const struct objects job_objects = { find_job, job_exists, list_jobs };

/* ---- files ---- */

static void add_time(struct text *out, const char *key, uint64_t ms)
{
	char time[RFC3339_MAX];

	text_add_field(out, key, ms ? rfc3339_format_ms(time, ms) : "");
}

static void add_bytes(struct text *out, const char *key, bool known, uint64_t bytes)
{
	char human[VALUE_TEXT_MAX];

	if (known)
		text_add_fieldf(out, key, "%" PRIu64 " (%s)", bytes,
				value_human_size(human, bytes));
	else
		text_add_field(out, key, "");
}

static void add_amounts(struct text *out, const struct job_facts *f)
{
	char age[VALUE_TEXT_MAX];

	text_add_fieldf(out, "PercentComplete", "%u", f->percent);
	add_bytes(out, "BytesDone", true, f->done);
	add_bytes(out, "BytesTotal", f->total != 0, f->total);
	add_bytes(out, "BytesPerSecond", f->rate != 0, f->rate);
	text_add_field(out, "TimeLeft", f->left_s != UINT64_MAX ? value_age(age, f->left_s) : "");
	text_add_field(out, "WaitsFor", f->waits_for);
}

static void add_times(struct text *out, const struct job_facts *f)
{
	char age[VALUE_TEXT_MAX];

	add_time(out, "TimeSubmitted", f->submitted_ms);
	add_time(out, "StartTime", f->started_ms);
	add_time(out, "TimeOfLastStateChange", f->changed_ms);
	text_add_field(out, "ElapsedTime",
		       f->started_ms ? value_seconds(age, f->elapsed_ms * 1000000) : "");
}

int job_status_render(struct ctl *c, uint32_t object, struct text *out)
{
	char age[VALUE_TEXT_MAX];
	struct job_facts f;
	int err = job_numbered(c->tandem->jobs, object, &f);

	if (err)
		return err;
	text_add_fieldf(out, "Job", "%u", f.id);
	text_add_field(out, "Object", f.object);
	text_add_field(out, "Operation", f.operation);
	text_add_fieldf(out, "JobState", "%s (%d)", enum_name(job_states, f.state), (int)f.state);
	text_add_fieldf(out, "CopyPriority", "%s (%d)", enum_name(copy_priorities, f.priority),
			(int)f.priority);
	add_amounts(out, &f);
	add_times(out, &f);
	if (f.ended)
		text_add_fieldf(out, "ErrorCode", "%d", -f.error);
	else
		text_add_field(out, "ErrorCode", "");
	text_add_field(out, "ErrorDescription", f.error ? strerror(-f.error) : "");
	text_add_field(out, "DeleteOnCompletion", "true");
	text_add_field(out, "TimeBeforeRemoval", value_age(age, JOB_REMOVAL_S));
	return 0;
}

static void time_at(struct json *j, const char *key, uint64_t ms)
{
	char time[RFC3339_MAX];

	json_string_at(j, key, ms ? rfc3339_format_ms(time, ms) : NULL);
}

void job_json(struct json *j, const struct job_facts *f)
{
	json_string_at(j, "Object", f->object);
	json_string_at(j, "Operation", f->operation);
	json_string_at(j, "JobState", enum_name(job_states, f->state));
	json_string_at(j, "CopyPriority", enum_name(copy_priorities, f->priority));
	json_uint_at(j, "PercentComplete", f->percent);
	json_uint_at(j, "BytesDone", f->done);
	json_known_at(j, "BytesTotal", f->total != 0, f->total);
	json_known_at(j, "BytesPerSecond", f->rate != 0, f->rate);
	json_known_at(j, "TimeLeft", f->left_s != UINT64_MAX, f->left_s);
	json_string_at(j, "WaitsFor", *f->waits_for ? f->waits_for : NULL);
	time_at(j, "TimeSubmitted", f->submitted_ms);
	time_at(j, "StartTime", f->started_ms);
	time_at(j, "TimeOfLastStateChange", f->changed_ms);
	json_key(j, "ElapsedTime");
	if (f->started_ms)
		json_seconds(j, f->elapsed_ms);
	else
		json_null(j);
	json_known_at(j, "ErrorCode", f->ended, -f->error);
	json_string_at(j, "ErrorDescription", f->error ? strerror(-f->error) : NULL);
	json_bool_at(j, "DeleteOnCompletion", true);
	json_uint_at(j, "TimeBeforeRemoval", JOB_REMOVAL_S);
}

int job_status_json_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct json j = { .out = out };
	struct job_facts f;
	int err = job_numbered(c->tandem->jobs, object, &f);

	if (err)
		return err;
	json_object(&j);
	status_json_head(&j, c);
	json_uint_at(&j, "Job", f.id);
	job_json(&j, &f);
	json_object_end(&j);
	text_add(out, "\n", 1);
	return 0;
}

int percent_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct job_facts f;
	int err = job_numbered(c->tandem->jobs, object, &f);

	if (!err)
		text_addf(out, "%u\n", f.percent);
	return err;
}

/* ---- wait ---- */

int job_wait_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct job_facts f;

	if (job_numbered(c->tandem->jobs, object, &f))
		return -ENODEV;
	if (!f.ended)
		return -EAGAIN;
	text_addf(out, "%s\n", enum_name(job_states, f.state));
	return 0;
}

/*
 * What was begun of a disk with a command whose first job has that number: later ones are those of
 * others, and what has a relationship is none of these, unless it fills a clone. After a restart it has
 * another number, or none yet.
 */
static const struct job_facts *begun_with(uint32_t first, uint32_t disk,
					  const struct job_facts *jobs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (jobs[i].id >= first && jobs[i].disk == disk &&
		    (!jobs[i].replica || !strcmp(jobs[i].operation, "Clone")))
			return &jobs[i];
	return NULL;
}

static int reached(const struct job_facts *f)
{
	if (!f->ended)
		return -EAGAIN;
	return f->state == JOB_COMPLETED ? 0 : -ECANCELED;
}

/* That is known no more; or it began before, as an abort that was under way. */
static int is_at_rest(struct ctl *c, uint32_t disk)
{
	struct disk *d = tandem_disk_numbered(c->tandem, disk);
	struct restore_facts f;
	bool busy = d && (restore_facts(d, &f) || disk_is_clone(d));

	disk_unref(d);
	return busy ? -EAGAIN : 0;
}

/* One that failed is told at once: who ended long ago is forgotten. */
static int disks_wait(struct ctl *c, uint32_t first, const uint32_t *disks, size_t count)
{
	struct job_facts *jobs;
	size_t n;
	int err = jobs_list(c->tandem->jobs, &jobs, &n), all = 0;

	for (size_t i = 0; i < count && !err; i++) {
		const struct job_facts *f = begun_with(first, disks[i], jobs, n);
		int one = f ? reached(f) : is_at_rest(c, disks[i]);

		if (one && all != -ECANCELED)
			all = one;
	}
	free(jobs);
	return err ? err : all;
}

int jobs_wait(struct ctl *c, uint32_t of, uint32_t first)
{
	struct group_member *members;
	struct job_facts f;
	uint32_t *disks;
	size_t count;
	int err;

	if (!of) /* a proof, which goes with the daemon */
		return job_numbered(c->tandem->jobs, first, &f) ? -ECANCELED : reached(&f);
	if (group_members(c->tandem, of, &members, &count))
		return disks_wait(c, first, &of, 1);
	disks = calloc(count + 1, sizeof(*disks));
	for (size_t i = 0; disks && i < count; i++)
		disks[i] = members[i].disk;
	err = disks ? disks_wait(c, first, disks, count) : -EAGAIN;
	free(disks);
	free(members);
	return err;
}

uint64_t job_wait_version(struct ctl *c, uint32_t object)
{
	struct job_facts f;

	return !job_numbered(c->tandem->jobs, object, &f) && !f.ended ? NODE_WAITS : NODE_WAITS + 1;
}

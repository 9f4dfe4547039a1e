// SPDX-License-Identifier: GPL-2.0-or-later
/* Status for people: of the whole, of a disk, of a pool. */
#include "inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "facts.h"
#include "rfc3339.h"
#include "table.h"
#include "values.h"

static void add_health(const struct facts *f, struct text *out)
{
	const struct problem *p = f->problems;
	char object[PROBLEM_OBJECT_MAX];

	text_addf(out, "Health: %s", health_name(facts_health(f)));
	if (f->problem_count > 0) {
		text_addf(out, " ");
		text_add_word(out, problem_object(p, object));
		text_addf(out, " %s", p->state);
		if (*p->reason) {
			text_addf(out, ": ");
			text_add_prose(out, p->reason);
		}
		if (f->problem_count > 1)
			text_addf(out, " (+%zu more)", f->problem_count - 1);
	}
	text_add(out, "\n", 1);
}

static void add_store(const struct store_facts *s, struct text *out)
{
	char age[VALUE_TEXT_MAX], free[VALUE_TEXT_MAX], growth[VALUE_TEXT_MAX];

	if (!s->growth_known) {
		text_addf(out, "StoreFullIn: unknown\n");
		return;
	}
	if (s->full_in_s == UINT64_MAX)
		text_addf(out, "StoreFullIn: not growing (");
	else
		text_addf(out, "StoreFullIn: %s (%s free, history grows %s per hour, ",
			  value_age(age, s->full_in_s), value_human_size(free, s->free),
			  value_human_size(growth, s->growth));
	text_addf(out, "over the last %s)\n", value_age(age, s->growth_ns / 1000000000));
}

static void add_disks(const struct facts *f, struct text *out)
{
	char path[MOUNT_PATH_MAX], size[VALUE_TEXT_MAX], open[16], count[16];
	struct table table;
	bool known;

	table_begin(&table, "DISK STATE SIZE USED OPEN SNAPSHOTS HISTORY NAME");
	for (size_t i = 0; i < f->disk_count; i++) {
		const struct disk_facts *d = &f->disks[i];
		const struct past_facts *past = &f->pasts[i];

		table_add(&table, d->label);
		table_add(&table, disk_state_name(d->state));
		known = d->sector_size != 0; /* the image could be opened */
		table_add(&table, known ? value_human_size(size, d->size) : "");
		table_add(&table, known ? value_human_size(size, d->allocated) : "");
		snprintf(open, sizeof(open), "%u", d->openers);
		table_add(&table, open);
		snprintf(count, sizeof(count), "%u", past->snapshots);
		table_add(&table, past->tracked ? count : "");
		table_add(&table, past->tracked ? value_human_size(size, past->bytes) : "");
		table_add(&table, facts_mount_path(d, path));
	}
	table_end(&table, out);
}

/* Its source may go, and what is lost with it is no more than that. */
static bool keeps_objective(const struct replica_facts *r)
{
	return r->objective_s != REPLICA_UNKNOWN && r->copy_state == COPY_SYNCHRONIZED;
}

static void add_replicas(const struct facts *f, struct text *out)
{
	char percent[16], buf[VALUE_TEXT_MAX];
	struct table table;
	const char *mode;

	table_begin(&table,
		    "REPLICA TYPE MODE SOURCE TARGET COPYSTATE PROGRESS PERCENT BEHIND RPO");
	for (size_t i = 0; i < f->clone_count; i++) {
		const struct replica_facts *r = &f->clones[i];

		table_add(&table, r->label);
		table_add(&table, enum_name(sync_types, r->sync_type));
		mode = r->sync_mode == MODE_UNKNOWN ? "" : enum_name(sync_modes, r->sync_mode);
		table_add(&table, mode);
		table_add(&table, r->source);
		table_add(&table, r->target);
		table_add(&table, enum_name(copy_states, r->copy_state));
		table_add(&table, enum_name(progress_statuses, r->progress));
		snprintf(percent, sizeof(percent), "%u", r->percent);
		table_add(&table, percent);
		table_add(&table,
			  r->sync_type == SYNC_MIRROR ? value_human_size(buf, r->behind) : "");
		table_add(&table, keeps_objective(r) ? value_age(buf, r->objective_s) : "");
	}
	table_end(&table, out);
}

static void add_jobs(const struct facts *f, struct text *out)
{
	char word[VALUE_TEXT_MAX + 2];
	struct table table;

	table_begin(&table, "JOB OBJECT OPERATION STATE PERCENT RATE LEFT WAITS-FOR");
	for (size_t i = 0; i < f->job_count; i++) {
		const struct job_facts *j = &f->jobs[i];

		snprintf(word, sizeof(word), "%u", j->id);
		table_add(&table, word);
		table_add(&table, j->object);
		table_add(&table, j->operation);
		table_add(&table, enum_name(job_states, j->state));
		snprintf(word, sizeof(word), "%u", j->percent);
		table_add(&table, word);
		value_human_size(word, j->rate);
		table_add(&table, j->rate ? strcat(word, "/s") : "");
		table_add(&table, j->left_s != UINT64_MAX ? value_age(word, j->left_s) : "");
		table_add(&table, j->waits_for);
	}
	table_end(&table, out);
}

int status_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct tandem *t = c->tandem;
	uint64_t up = (monotonic_ns() - t->started_ns) / 1000000000u;
	char age[VALUE_TEXT_MAX];
	struct facts f;
	int err = facts_collect(t, &f);

	if (err)
		return err;
	text_addf(out, "Daemon: %d  Version: %s  Up: %s\n", (int)getpid(), TANDEMFS_VERSION,
		  value_age(age, up));
	add_health(&f, out);
	add_store(&f.store, out);
	text_add(out, "\n", 1);
	add_disks(&f, out);
	text_add(out, "\n", 1);
	add_replicas(&f, out);
	text_add(out, "\n", 1);
	add_jobs(&f, out);
	facts_free(&f);
	return 0;
}

/* Bytes, and what that is for people. */
static void add_size(struct text *out, const char *key, bool known, uint64_t bytes)
{
	char human[VALUE_TEXT_MAX];

	if (known)
		text_add_fieldf(out, key, "%" PRIu64 " (%s)", bytes,
				value_human_size(human, bytes));
	else
		text_add_field(out, key, "");
}

/* 24h of history, a moment each second, in at most 10G */
static void add_window(struct text *out, const struct history_window *w)
{
	char buf[VALUE_TEXT_MAX];

	text_add_field(out, "HistoryWindow", w->window_s ? value_age(buf, w->window_s) : "");
	if (w->window_s)
		text_add_fieldf(out, "HistoryGranularity", "%" PRIu64 "ms", w->granularity_ms);
	else
		text_add_field(out, "HistoryGranularity", "");
	add_size(out, "HistoryLimit", w->limit != 0, w->limit);
}

/* 123456 (120.6K per hour, over the last 37m) */
static void add_growth(struct text *out, const struct past_facts *past)
{
	const struct growth_rate *g = &past->growth;
	char human[VALUE_TEXT_MAX], age[VALUE_TEXT_MAX];

	if (!past->growth_known)
		text_add_field(out, "HistoryGrowth", "");
	else
		text_add_fieldf(out, "HistoryGrowth",
				"%" PRId64 " (%s%s per hour, over the last %s)", g->per_hour,
				g->per_hour < 0 ? "-" : "",
				value_human_size(human, imaxabs(g->per_hour)),
				value_age(age, g->span_ns / 1000000000));
}

static void add_past(struct text *out, const struct past_facts *past)
{
	char time[RFC3339_MAX];

	text_add_fieldf(out, "Snapshots", "%u", past->snapshots);
	add_size(out, "History", past->tracked, past->bytes);
	add_growth(out, past);
	text_add_fieldf(out, "Moments", "%zu", past->moments);
	if (past->generation)
		text_add_fieldf(out, "Generation", "g%" PRIu64, past->generation);
	else
		text_add_field(out, "Generation", "");
	text_add_field(out, "OldestHistory",
		       past->oldest_ms ? rfc3339_format_ms(time, past->oldest_ms) : "");
	add_window(out, &past->window);
	add_size(out, "Unsettled", past->tracked, past->unsettled);
	text_add_field(out, "SettleError",
		       past->settle_error ? strerror(abs(past->settle_error)) : "");
	if (past->restoring)
		text_add_fieldf(out, "Restoring", "%u%%", past->restored);
	else
		text_add_field(out, "Restoring", "");
	if (past->aborting)
		text_add_fieldf(out, "Aborting", "%u%%", past->restored);
	else
		text_add_field(out, "Aborting", "");
	if (past->tracked)
		text_add_fieldf(out, "TrackedBlockSize", "%u", past->block_size);
	else
		text_add_field(out, "TrackedBlockSize", "");
}

int disk_status_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct disk *disk = tandem_disk_numbered(c->tandem, object);
	char path[MOUNT_PATH_MAX], buf[VALUE_TEXT_MAX];
	struct past_facts past;
	struct disk_facts d;

	if (!disk)
		return -ENOENT;
	disk_facts(disk, &d);
	disk_past(disk, &past);
	disk_unref(disk);
	text_add_field(out, "State", disk_state_name(d.state));
	text_add_field(out, "Reason", d.reason);
	text_add_field(out, "Name", facts_mount_path(&d, path));
	text_add_field(out, "Image", d.file_name);
	text_add_field(out, "Pool", d.pool);
	text_add_field(out, "Format", d.format ? d.format : "");
	add_size(out, "Size", d.sector_size != 0, d.size);
	add_size(out, "Allocated", d.sector_size != 0, d.allocated);
	text_add_fieldf(out, "Openers", "%u", d.openers);
	text_add_field(out, "ReadOnly", d.read_only ? "true" : "false");
	if (d.sector_size)
		text_add_fieldf(out, "LogicalSectorSize", "%u", d.sector_size);
	else
		text_add_field(out, "LogicalSectorSize", "");
	if (d.block_size)
		text_add_fieldf(out, "BlockSize", "%u", d.block_size);
	else
		text_add_field(out, "BlockSize", "");
	text_add_field(out, "Parent", d.parent);
	text_add_fieldf(out, "Children", "%u", d.children);
	text_add_field(out, "Warning", d.warning);
	text_add_field(out, "Identity", value_uuid(buf, d.id));
	text_add_field(out, "Busy", d.busy_ns ? value_seconds(buf, d.busy_ns) : "");
	add_past(out, &past);
	return 0;
}

int pool_status_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct pool_facts p;
	int err = pool_facts_of(c->tandem, object, &p);

	if (err)
		return err;
	text_add_field(out, "Name", p.name);
	text_add_field(out, "Dir", p.dir);
	text_add_field(out, "State", p.status.ready ? "Ready" : "Missing");
	text_add_field(out, "Problem", p.status.problem);
	text_add_fieldf(out, "Disks", "%zu", p.disks);
	add_size(out, "Size", p.status.space_known, p.status.size);
	add_size(out, "Free", p.status.space_known, p.status.free);
	return 0;
}

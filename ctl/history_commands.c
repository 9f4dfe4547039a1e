// SPDX-License-Identifier: GPL-2.0-or-later
/* What disks/DISK/control does to a disk's past: snapshots, kept history, settling. */
#include "inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "jobs.h"
#include "kept.h"
#include "rfc3339.h"

/* ---- snapshots ---- */

static int say_snapshot(const struct request *r, const struct snapshot_facts *s)
{
	char time[RFC3339_MAX];

	if (r->plan) {
		result_say(r->result,
			   "would make a snapshot, at no cost but what is written after");
		return 0;
	}
	snprintf(r->result->element_name, sizeof(r->result->element_name), "%s", s->label);
	result_say(r->result, "%.256s is the disk of %s, g%" PRIu64, s->label,
		   rfc3339_format_ms(time, s->time_ms), s->generation);
	return 0;
}

int make_snapshot(const struct request *r, const char *name, const char *at)
{
	struct tandem *t = r->ctl->tandem;
	struct why *why = &r->result->why;
	struct moment_record m = { .generation = GENERATION_NOW };
	struct snapshot_facts s;
	int err = at ? kept_find(r->disk, at, &m, why) : 0;

	if (err)
		return err;
	if (m.generation == GENERATION_NOW)
		err = tandem_snapshot(t, &r->disk, 1, name, r->plan, &s, why);
	else
		err = tandem_snapshot_at(t, r->disk, name, m.generation, r->plan, &s, why);
	return err ? err : say_snapshot(r, &s);
}

enum { SNAPSHOT_NAME, SNAPSHOT_AT };

const struct parameter snapshot_parameters[] = {
	[SNAPSHOT_NAME] = { "Name", VALUE_NAME },
	[SNAPSHOT_AT] = { "At", VALUE_MOMENT },
	{ NULL },
};

int disk_snapshot(const struct request *r)
{
	return make_snapshot(r, argument_text(&r->args[SNAPSHOT_NAME]),
			     argument_text(&r->args[SNAPSHOT_AT]));
}

enum { UNSNAPSHOT_NAME };

const struct parameter unsnapshot_parameters[] = {
	[UNSNAPSHOT_NAME] = { "Name", VALUE_TEXT, .required = true },
	{ NULL },
};

int disk_unsnapshot(const struct request *r)
{
	const char *name = r->args[UNSNAPSHOT_NAME].text;
	struct snapshot_facts s;
	int err = snapshot_named(r->ctl->tandem, r->disk, name, &s);

	if (err)
		return refuse(&r->result->why, err, "there is no snapshot %.200s", name);
	err = tandem_delete_snapshot(r->ctl->tandem, s.number, r->force, r->plan, &r->result->why);
	if (err)
		return err;
	result_say(r->result, "%s %.256s, and gives back what only it holds%s",
		   r->plan ? "would delete" : "deleted", s.label, snapshot_loses(&s));
	return 0;
}

/* ---- kept history ---- */

enum { KEEP_WINDOW, KEEP_GRANULARITY, KEEP_LIMIT };

const struct parameter keep_history_parameters[] = {
	[KEEP_WINDOW] = { "Window", VALUE_SECONDS, .required = true },
	[KEEP_GRANULARITY] = { "Granularity", VALUE_DURATION },
	[KEEP_LIMIT] = { "Limit", VALUE_SIZE },
	{ NULL },
};

#define DEFAULT_GRANULARITY_MS 1000

int keep_history_window(const struct request *r, struct history_window *out)
{
	const struct argument *a = r->args;

	*out = (struct history_window){
		.window_s = a[KEEP_WINDOW].number,
		.granularity_ms = a[KEEP_GRANULARITY].given ? a[KEEP_GRANULARITY].number
							    : DEFAULT_GRANULARITY_MS,
		.limit = a[KEEP_LIMIT].number,
	};
	if (out->window_s && !out->granularity_ms)
		return refuse(&r->result->why, -EINVAL, "Granularity is more than 0");
	if (a[KEEP_LIMIT].given && !out->limit)
		return refuse(&r->result->why, -EINVAL, "Limit is more than 0");
	return 0;
}

void keep_history_say(const struct request *r, const struct history_window *w)
{
	const char *keeps = r->plan ? "would keep" : "keeps";
	char age[VALUE_TEXT_MAX], size[VALUE_TEXT_MAX];

	if (!w->window_s)
		result_say(r->result, "%s no history", keeps);
	else
		result_say(r->result, "%s %s of history, a moment each %" PRIu64 " ms%s%s", keeps,
			   value_age(age, w->window_s), w->granularity_ms,
			   w->limit ? ", in at most " : "",
			   w->limit ? value_human_size(size, w->limit) : "");
}

int disk_keep_history(const struct request *r)
{
	struct history_window w;
	int err = keep_history_window(r, &w);

	if (!err)
		err = tandem_keep_history(r->ctl->tandem, r->disk, &w, r->force, r->plan,
					  &r->result->why);
	if (!err)
		keep_history_say(r, &w);
	return err;
}

enum { FORGET_BEFORE };

const struct parameter forget_history_parameters[] = {
	[FORGET_BEFORE] = { "Before", VALUE_MOMENT, .required = true },
	{ NULL },
};

int disk_forget_history(const struct request *r)
{
	const char *before = r->args[FORGET_BEFORE].text;
	struct why *why = &r->result->why;
	struct moment_record m;
	int err = kept_find_past(r->disk, before, &m, why);

	if (!err)
		err = tandem_forget_history(r->ctl->tandem, r->disk, m.generation, r->force,
					    r->plan, why);
	if (err)
		return err;
	result_say(r->result, "%s the kept history before g%" PRIu64 "; snapshots stay",
		   r->plan ? "would give up" : "gave up", m.generation);
	return 0;
}

/* ---- restoring ---- */

/* Of the disk to a moment of it, from whichever control. */
int restore_disk(const struct request *r, struct disk *d, uint64_t generation)
{
	struct snapshot_facts before;
	struct why *why = &r->result->why;
	int err = tandem_restore(r->ctl->tandem, &d, &generation, 1, r->force, r->plan, &before,
				 why);

	if (err)
		return err;
	if (!r->plan)
		result_add_job(r->result, job_of_disk(r->ctl->tandem->jobs, d->number, true));
	r->result->jobs_of = d->number;
	if (r->plan)
		result_say(r->result,
			   "would be the disk of g%" PRIu64 " at once, after a snapshot of now",
			   generation);
	else
		result_say(r->result,
			   "is the disk of g%" PRIu64 "; what it was before is the snapshot %.200s",
			   generation, before.name);
	return 0;
}

enum { RESTORE_AT };

const struct parameter restore_parameters[] = {
	[RESTORE_AT] = { "At", VALUE_MOMENT, .required = true },
	{ NULL },
};

int disk_restore(const struct request *r)
{
	struct moment_record m;
	int err = kept_find_past(r->disk, r->args[RESTORE_AT].text, &m, &r->result->why);

	return err ? err : restore_disk(r, r->disk, m.generation);
}

int abort_restores(const struct request *r, struct disk *const *disks, size_t count)
{
	int err = tandem_abort_restore(r->ctl->tandem, disks, count, r->force, r->plan,
				       &r->result->why);

	r->result->jobs_of = disks[0]->number;
	for (size_t i = 0; i < count && !err && !r->plan; i++)
		result_add_job(r->result,
			       job_of_disk(r->ctl->tandem->jobs, disks[i]->number, true));
	if (!err)
		result_say(r->result,
			   "%zu disk%s %s at once what %s before the restore; "
			   "what was written since %s lost",
			   count, count == 1 ? "" : "s",
			   r->plan      ? "would be"
			   : count == 1 ? "is"
					: "are",
			   count == 1 ? "it was" : "they were", r->plan ? "would be" : "is");
	return err;
}

int disk_abort(const struct request *r)
{
	return abort_restores(r, &r->disk, 1);
}

/* ---- settling ---- */

int disk_settle(const struct request *r)
{
	struct past_facts past;
	char size[VALUE_TEXT_MAX];
	int err = 0;

	disk_past(r->disk, &past);
	if (!r->plan && past.tracked)
		err = tandem_settle_disk(r->ctl->tandem, r->disk, &r->result->why);
	if (err)
		return err;
	if (!past.unsettled)
		result_say(r->result, "the image has everything");
	else
		result_say(r->result, "%s %s into the image", r->plan ? "would bring" : "brought",
			   value_human_size(size, past.unsettled));
	return 0;
}

/* Goes on after a disk that cannot be settled, and tells of the first. */
int settle_all(const struct request *r)
{
	struct tandem *t = r->ctl->tandem;
	size_t count;
	struct disk **disks = tandem_disks(t, &count);
	char size[VALUE_TEXT_MAX];
	struct past_facts past;
	uint64_t bytes = 0;
	int err = disks || !count ? 0 : -ENOMEM;

	for (size_t i = 0; disks && i < count; i++) {
		struct why ignored;
		int e = 0;

		disk_past(disks[i], &past);
		if (!r->plan && past.tracked)
			e = tandem_settle_disk(t, disks[i], err ? &ignored : &r->result->why);
		err = err ? err : e;
		bytes += past.unsettled;
	}
	disks_free(disks, count);
	if (err)
		return err;
	result_say(r->result, "%s %s into the images", r->plan ? "would bring" : "brought",
		   value_human_size(size, bytes));
	return 0;
}

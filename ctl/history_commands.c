// SPDX-License-Identifier: GPL-2.0-or-later
/* What disks/DISK/control does to a disk's past: snapshots, kept history, settling. */
#include "inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clones.h"
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

/* name NULL: one is made up. at NULL: now. */
static int make_snapshot(const struct request *r, const char *name, const char *at)
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
	result_say(r->result, "%s %.256s, and gives back what only it holds",
		   r->plan ? "would delete" : "deleted", s.label);
	return 0;
}

/* ---- CreateReplica ---- */

enum {
	REPLICA_SYNC_TYPE,
	REPLICA_ELEMENT_NAME,
	REPLICA_COPY_PRIORITY,
	REPLICA_COPY_METHODOLOGY,
	REPLICA_TARGET_VOLUME,
	REPLICA_FORMAT,
	REPLICA_TOKEN,
	REPLICA_TARGET_POOL,
	REPLICA_MODE,
	REPLICA_TARGET_SYSTEM,
	REPLICA_OBJECTIVE,
	REPLICA_USERNAME,
	REPLICA_PASSWORD,
};

// clang-format off
const struct parameter create_replica_parameters[] = {
	[REPLICA_SYNC_TYPE]        = { "SyncType", VALUE_ENUM, .required = true,
				       .values = sync_types },
	[REPLICA_ELEMENT_NAME]     = { "ElementName", VALUE_NAME },
	[REPLICA_COPY_PRIORITY]    = { "CopyPriority", VALUE_ENUM, .values = copy_priorities },
	[REPLICA_COPY_METHODOLOGY] = { "CopyMethodology", VALUE_ENUM,
				       .values = copy_methodologies },
	[REPLICA_TARGET_VOLUME]    = { "TargetStorageVolume", VALUE_TEXT },
	[REPLICA_FORMAT]           = { "Format", VALUE_TEXT },
	[REPLICA_TOKEN]            = { "Token", VALUE_TEXT },
	[REPLICA_TARGET_POOL]      = { "TargetStoragePool", VALUE_TEXT },
	/* None of them has these; they are known, so that a refusal says why. */
	[REPLICA_MODE]             = { "Mode", VALUE_ENUM, .values = create_modes, .hidden = true },
	[REPLICA_TARGET_SYSTEM]    = { "TargetStorageSystem", VALUE_TEXT, .hidden = true },
	[REPLICA_OBJECTIVE]        = { "RecoveryPointObjective", VALUE_NUMBER, .hidden = true },
	[REPLICA_USERNAME]         = { "Username", VALUE_TEXT, .hidden = true },
	[REPLICA_PASSWORD]         = { "Password", VALUE_TEXT, .hidden = true },
	{ NULL },
};
// clang-format on

/* 0 and what the implementation decides are always right. */
static bool fits_snapshot(const struct argument *priority, const struct argument *methodology)
{
	if (priority->number != PRIORITY_NOT_MANAGED)
		return false;
	return methodology->number == METHOD_NOT_SPECIFIED ||
	       methodology->number == METHOD_IMPLEMENTATION_DECIDES ||
	       methodology->number == METHOD_COPY_ON_WRITE;
}

static int check_replica(const struct request *r)
{
	const struct argument *a = r->args;
	struct why *why = &r->result->why;

	if (a[REPLICA_USERNAME].given || a[REPLICA_PASSWORD].given)
		return refuse(why, -EACCES,
			      "no name and no password is taken here, where they can be read; "
			      "they belong in STATE/credentials/PEER, with mode 0600");
	if (a[REPLICA_SYNC_TYPE].number == SYNC_MIRROR)
		return refuse(why, -EOPNOTSUPP, "tandemfs %s makes snapshots and clones, and no %s",
			      TANDEMFS_VERSION, a[REPLICA_SYNC_TYPE].text);
	for (int i = REPLICA_MODE; i < REPLICA_USERNAME; i++) {
		if (a[i].given)
			return refuse(why, -EOPNOTSUPP, "a %s has no %s", a[REPLICA_SYNC_TYPE].text,
				      create_replica_parameters[i].key);
	}
	return 0;
}

static int check_snapshot(const struct request *r)
{
	const struct argument *a = r->args;
	struct why *why = &r->result->why;

	for (int i = REPLICA_TARGET_VOLUME; i <= REPLICA_TARGET_POOL; i++) {
		if (a[i].given)
			return refuse(why, -EOPNOTSUPP, "a Snapshot has no %s",
				      create_replica_parameters[i].key);
	}
	if (!fits_snapshot(&a[REPLICA_COPY_PRIORITY], &a[REPLICA_COPY_METHODOLOGY]))
		return refuse(why, -EOPNOTSUPP,
			      "of a snapshot nothing is copied but what is written over: "
			      "CopyPriority is Not Managed, CopyMethodology Copy-On-Write");
	return 0;
}

static int check_clone(const struct request *r)
{
	bool tokenized = r->args[REPLICA_SYNC_TYPE].number == SYNC_TOKENIZED_CLONE;
	const struct argument *token = &r->args[REPLICA_TOKEN];
	struct why *why = &r->result->why;

	if (token->given && !tokenized)
		return refuse(why, -EINVAL, "a Token is for SyncType=TokenizedClone");
	if (!r->args[REPLICA_TARGET_VOLUME].given && !r->args[REPLICA_TARGET_POOL].given &&
	    (!tokenized || token->given))
		return refuse(why, -EINVAL,
			      "a clone needs TargetStorageVolume= or TargetStoragePool=");
	switch (r->args[REPLICA_COPY_METHODOLOGY].number) {
	case METHOD_NOT_SPECIFIED:
	case METHOD_IMPLEMENTATION_DECIDES:
	case METHOD_FULL_COPY:
	case METHOD_COPY_ON_ACCESS:
	case METHOD_SNAP_AND_CLONE:
		return 0;
	}
	return refuse(why, -EOPNOTSUPP,
		      "CopyMethodology of a clone is Full-Copy, Copy-On-Access or Snap-And-Clone");
}

static int create_clone(const struct request *r)
{
	const struct argument *a = r->args;
	uint64_t method = a[REPLICA_COPY_METHODOLOGY].number;
	struct clone_request q = {
		.target = argument_text(&a[REPLICA_TARGET_VOLUME]),
		.pool = argument_text(&a[REPLICA_TARGET_POOL]),
		.name = argument_text(&a[REPLICA_ELEMENT_NAME]),
		.format = argument_text(&a[REPLICA_FORMAT]),
		.generation = GENERATION_NOW,
		.priority = a[REPLICA_COPY_PRIORITY].number,
		.methodology = method == METHOD_COPY_ON_ACCESS || method == METHOD_SNAP_AND_CLONE
				       ? method
				       : METHOD_FULL_COPY,
	};
	int err = check_clone(r);

	if (err)
		return err;
	if (a[REPLICA_TOKEN].given)
		return redeem_token(r, a[REPLICA_TOKEN].text, &q);
	if (!q.target && !q.pool)
		return make_token(r, &q);
	return method == METHOD_SNAP_AND_CLONE ? snap_and_clone(r, &q) : make_clone(r, &q);
}

int create_replica_check(const struct request *r, const char **name)
{
	int err = check_replica(r);

	*name = argument_text(&r->args[REPLICA_ELEMENT_NAME]);
	if (!err && r->args[REPLICA_SYNC_TYPE].number != SYNC_SNAPSHOT)
		err = refuse(&r->result->why, -EOPNOTSUPP,
			     "of a group there are snapshots, and no %s",
			     r->args[REPLICA_SYNC_TYPE].text);
	return err ? err : check_snapshot(r);
}

int disk_create_replica(const struct request *r)
{
	int err = check_replica(r);

	if (err)
		return err;
	if (r->args[REPLICA_SYNC_TYPE].number != SYNC_SNAPSHOT)
		return create_clone(r);
	err = check_snapshot(r);
	return err ? err : make_snapshot(r, argument_text(&r->args[REPLICA_ELEMENT_NAME]), NULL);
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

// SPDX-License-Identifier: GPL-2.0-or-later
#include "replica_facts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rfc3339.h"

/* What is shown together with a snapshot's CopyState. */
// clang-format off
static const struct {
	enum progress_status progress;
	enum sync_state sync_state;
	enum copy_state requested;
	uint32_t percent;
} shown[COPY_STATE_MAX] = {
	[COPY_SYNCHRONIZED] = { PROGRESS_COMPLETED, SYNC_IDLE, COPY_NOT_APPLICABLE, 100 },
	/* What it should be is still asked for. */
	[COPY_BROKEN]       = { PROGRESS_COMPLETED, SYNC_BROKEN, COPY_SYNCHRONIZED, 0 },
	[COPY_INACTIVE]     = { PROGRESS_DORMANT, SYNC_IDLE, COPY_NOT_APPLICABLE, 0 },
	/* Written, and no more what its source was. */
	[COPY_SKEWED]       = { PROGRESS_COMPLETED, SYNC_BROKEN, COPY_NOT_APPLICABLE, 0 },
};
// clang-format on

void replica_facts_of_snapshot(const struct snapshot_facts *s, struct replica_facts *out)
{
	enum copy_state state = (enum copy_state)s->state;
	size_t name = strlen(s->name) + 1, label = strlen(s->label);

	memset(out, 0, sizeof(*out));
	out->number = s->number;
	memcpy(out->label, s->label, label + 1);
	/* DISK@NAME: no name has an '@'. */
	if (label > name)
		snprintf(out->source, sizeof(out->source), "%.*s", (int)(label - name), s->label);
	memcpy(out->target, s->label, label + 1);
	out->sync_time_ms = s->time_ms;
	out->copy_state = state;
	out->requested = shown[state].requested;
	out->sync_type = SYNC_SNAPSHOT;
	out->progress = s->detaching ? PROGRESS_DETACHING : shown[state].progress;
	out->percent = shown[state].percent;
	out->objective_s = REPLICA_UNKNOWN;
	out->copy_type = COPY_UNSYNC_ASSOC;
	out->replica_type = REPLICA_AFTER_DELTA;
	out->sync_state = shown[state].sync_state;
	out->methodology = METHOD_COPY_ON_WRITE;
	out->generation = s->generation;
	out->size = s->size;
	memcpy(out->hold, s->hold, sizeof(out->hold));
	out->writable = s->writable;
	out->overlay_lost = s->overlay_lost;
}

/* Of a clone; one that is not being copied waits. */
// clang-format off
static const struct {
	enum progress_status progress;
	enum sync_state sync_state;
	enum copy_state requested;
} shown_of_clone[COPY_STATE_MAX] = {
	[COPY_UNSYNCHRONIZED] = { PROGRESS_SYNCHRONIZING, SYNC_COPY_IN_PROGRESS, COPY_SYNCHRONIZED },
	[COPY_SYNCHRONIZED]   = { PROGRESS_COMPLETED, SYNC_FROZEN, COPY_NOT_APPLICABLE },
	[COPY_BROKEN]         = { PROGRESS_COMPLETED, SYNC_BROKEN, COPY_SYNCHRONIZED },
	[COPY_SUSPENDED]      = { PROGRESS_DORMANT, SYNC_QUIESCED, COPY_NOT_APPLICABLE },
	[COPY_PREPARED]       = { PROGRESS_REQUIRES_ACTIVATE, SYNC_PREPARED, COPY_NOT_APPLICABLE },
};
// clang-format on

void replica_facts_of_clone(const struct clone_facts *c, struct replica_facts *out)
{
	memset(out, 0, sizeof(*out));
	out->number = c->number;
	snprintf(out->label, sizeof(out->label), "%s", c->name);
	snprintf(out->source, sizeof(out->source), "%s", c->source);
	snprintf(out->target, sizeof(out->target), "%s", c->target);
	out->sync_time_ms = c->time_ms;
	out->copy_state = c->state;
	out->requested = shown_of_clone[c->state].requested;
	out->sync_type = c->token ? SYNC_TOKENIZED_CLONE : SYNC_CLONE;
	out->progress = shown_of_clone[c->state].progress;
	if (c->state == COPY_UNSYNCHRONIZED && (!c->copying || c->error || c->source_state))
		out->progress = PROGRESS_PENDING;
	out->percent = c->percent;
	out->objective_s = REPLICA_UNKNOWN;
	out->copy_type = COPY_UNSYNC_UNASSOC;
	out->replica_type = REPLICA_FULL_COPY;
	out->sync_state = shown_of_clone[c->state].sync_state;
	out->priority = c->priority;
	out->methodology = c->methodology;
	out->generation = c->generation;
	out->size = c->size;
	out->error = c->error;
	out->source_state = c->source_state;
	out->job = c->job;
}

/* Of a clone whose source is so. */
static const char *const source_troubles[DISK_STATE_MAX] = {
	[DISK_INVALID] = "its source is Invalid, and has what is not filled",
	[DISK_CONFLICT] = "its source is in Conflict, and has what is not filled",
	[DISK_MISSING] = "its source is Missing, and has what is not filled",
	[DISK_FAILED] = "its source is Failed, and has what is not filled",
	[DISK_CHANGED] = "its source is Changed, and has what is not filled",
};

const char *replica_trouble(const struct replica_facts *r)
{
	if (r->copy_state == COPY_BROKEN && r->sync_type != SYNC_MIRROR)
		return "its content had to be given up";
	if (r->copy_state == COPY_BROKEN && !r->error)
		return "its target is not what the source is";
	if (r->copy_state == COPY_FAILEDOVER && !r->error)
		return "its source is in the target's image, and what was its own is not kept up";
	if (r->copy_state == COPY_SKEWED && r->rewritten)
		return "another program wrote its target";
	if (r->overlay_lost)
		return "what was written to it cannot be opened, or a flush of it failed";
	if (r->source_state)
		return source_troubles[r->source_state];
	return r->error ? strerror(-r->error) : NULL;
}

/* Of a mirror. Where a way leads to its CopyState, SyncState says both. */
// clang-format off
static const struct {
	enum progress_status rest, way;
	enum sync_state sync_state, sync_way;
} shown_of_pair[COPY_STATE_MAX] = {
	[COPY_INITIALIZED]    = { PROGRESS_REQUIRES_ACTIVATE, PROGRESS_INITIALIZING,
				  SYNC_INITIALIZED, SYNC_INITIALIZED },
	[COPY_UNSYNCHRONIZED] = { PROGRESS_SYNCHRONIZING, PROGRESS_RESTORING,
				  SYNC_RESYNC_IN_PROGRESS, SYNC_RESTORE_IN_PROGRESS },
	[COPY_SYNCHRONIZED]   = { PROGRESS_COMPLETED, 0, SYNC_SYNCHRONIZED, 0 },
	[COPY_BROKEN]         = { PROGRESS_COMPLETED, 0, SYNC_BROKEN, 0 },
	[COPY_FRACTURED]      = { PROGRESS_COMPLETED, PROGRESS_FRACTURING,
				  SYNC_FRACTURED, SYNC_FRACTURE_IN_PROGRESS },
	[COPY_SPLIT]          = { PROGRESS_COMPLETED, PROGRESS_SPLITTING,
				  SYNC_FRACTURED, SYNC_FRACTURE_IN_PROGRESS },
	[COPY_INACTIVE]       = { PROGRESS_DORMANT, 0, SYNC_QUIESCED, 0 },
	[COPY_SUSPENDED]      = { PROGRESS_DORMANT, PROGRESS_SUSPENDING,
				  SYNC_QUIESCED, SYNC_QUIESCE_IN_PROGRESS },
	[COPY_FAILEDOVER]     = { PROGRESS_COMPLETED, PROGRESS_FAILING_OVER,
				  SYNC_BROKEN, SYNC_BROKEN },
	[COPY_PREPARED]       = { PROGRESS_REQUIRES_ACTIVATE, PROGRESS_PREPARING,
				  SYNC_PREPARED, SYNC_PREPARE_IN_PROGRESS },
	[COPY_ABORTED]        = { PROGRESS_REQUIRES_RESYNC, PROGRESS_ABORTING,
				  SYNC_BROKEN, SYNC_BROKEN },
	[COPY_SKEWED]         = { PROGRESS_COMPLETED, 0, SYNC_BROKEN, 0 },
};
// clang-format on

/* What the pair says of itself, or what its state says; one that should be copied and is not waits. */
static enum progress_status progress_of_pair(const struct pair_facts *p)
{
	if (p->state == COPY_UNSYNCHRONIZED && (!p->copying || p->error))
		return PROGRESS_PENDING;
	if (p->progress != PROGRESS_UNKNOWN)
		return p->progress;
	if (p->state == COPY_UNSYNCHRONIZED && !p->first)
		return PROGRESS_RESYNCING;
	return shown_of_pair[p->state].rest;
}

void replica_facts_of_pair(const struct pair_facts *p, struct replica_facts *out)
{
	enum progress_status progress = progress_of_pair(p), way = shown_of_pair[p->state].way;
	bool synchronous = p->mode != MODE_ASYNCHRONOUS;

	memset(out, 0, sizeof(*out));
	out->number = p->number;
	snprintf(out->label, sizeof(out->label), "%s", p->name);
	snprintf(out->source, sizeof(out->source), "%s", p->source);
	snprintf(out->target, sizeof(out->target), "%s", p->target);
	out->sync_time_ms = p->sync_time_ms;
	out->copy_state = p->state;
	out->requested = p->requested ? p->requested : COPY_NOT_APPLICABLE;
	out->sync_type = SYNC_MIRROR;
	out->sync_mode = synchronous ? MODE_SYNCHRONOUS : MODE_ASYNCHRONOUS;
	out->progress = progress;
	out->percent = p->percent;
	if (p->state == COPY_SYNCHRONIZED)
		out->percent = 100;
	else if (out->percent > 99)
		out->percent = 99;
	out->objective_s = synchronous ? 0 : p->objective_s;
	out->copy_type = synchronous ? COPY_SYNC : COPY_ASYNC;
	out->replica_type = REPLICA_FULL_COPY;
	out->sync_state = way && progress == way ? shown_of_pair[p->state].sync_way
						 : shown_of_pair[p->state].sync_state;
	out->priority = p->priority;
	/* Delta-Update is, in the class page's words, what comes after the initial copy: only what
	 * differs. Incremental-Copy would be the same without the initial one. */
	out->methodology = p->first ? METHOD_FULL_COPY : METHOD_DELTA_UPDATE;
	out->size = p->size;
	out->error = p->error;
	out->job = p->job;
	out->first = p->first;
	out->whole = p->whole;
	out->adaptive = p->adaptive;
	out->skew_limit = p->skew_limit;
	out->rewritten = p->rewritten;
	out->back = p->back;
	out->stops_host_io = p->stops_host_io;
	out->manual = p->manual;
	out->at_flush = p->at_flush;
	out->thin_policy = p->provisioning == PROVISION_FULL   ? THIN_TO_FULL
			   : p->provisioning == PROVISION_THIN ? FULL_TO_THIN
							       : THIN_WE_DECIDE;
	out->read_only = p->read_only;
	out->behind = p->differs + p->applied + p->sent;
	if (out->behind > p->size)
		out->behind = p->size;
	out->shows_old = p->shows != 0;
	out->verified_ms = p->verified_ms;
	out->verifying = p->verifying;
	out->verified = p->verified;
	out->differed = p->mended;
}

bool replica_lag(const struct replica_facts *r, uint64_t now_ms, uint64_t *lag_ms)
{
	if (r->sync_type != SYNC_MIRROR || !r->sync_time_ms)
		return false;
	if ((!r->behind && !r->shows_old) || now_ms < r->sync_time_ms)
		*lag_ms = 0;
	else
		*lag_ms = now_ms - r->sync_time_ms;
	return true;
}

bool replica_misses_objective(const struct replica_facts *r, uint64_t now_ms)
{
	uint64_t lag;

	return r->sync_mode == MODE_ASYNCHRONOUS && r->copy_state == COPY_SYNCHRONIZED &&
	       replica_lag(r, now_ms, &lag) && lag > r->objective_s * UINT64_C(1000);
}

int replica_facts(struct tandem *t, uint32_t number, struct replica_facts *out)
{
	struct snapshot_facts s;
	struct clone_facts c;
	struct pair_facts p;
	int err = snapshot_numbered(t, number, &s);

	if (!err) {
		replica_facts_of_snapshot(&s, out);
		return 0;
	}
	err = clone_numbered(t, number, &c);
	if (!err) {
		replica_facts_of_clone(&c, out);
		return 0;
	}
	err = pair_numbered(t, number, &p);
	if (!err)
		replica_facts_of_pair(&p, out);
	return err;
}

/* ---- properties ---- */

static const char *source(const struct replica_facts *r)
{
	return r->source;
}

static const char *target(const struct replica_facts *r)
{
	return r->target;
}

static uint64_t sync_maintained(const struct replica_facts *r)
{
	return r->sync_state == SYNC_SYNCHRONIZED;
}

static uint64_t sync_mode(const struct replica_facts *r)
{
	return r->sync_mode ? r->sync_mode : REPLICA_UNKNOWN;
}

#define NUMBER_OF(function, field)                              \
	static uint64_t function(const struct replica_facts *r) \
	{                                                       \
		return r->field;                                \
	}

NUMBER_OF(sync_time, sync_time_ms)
NUMBER_OF(copy_state, copy_state)
NUMBER_OF(requested, requested)
NUMBER_OF(sync_type, sync_type)
NUMBER_OF(progress, progress)
NUMBER_OF(percent, percent)
NUMBER_OF(copy_type, copy_type)
NUMBER_OF(replica_type, replica_type)
NUMBER_OF(sync_state, sync_state)
NUMBER_OF(priority, priority)
NUMBER_OF(methodology, methodology)
NUMBER_OF(objective, objective_s)

#define STRING .type = PROPERTY_STRING, .string
#define TIME .type = PROPERTY_TIME, .number
#define BOOL .type = PROPERTY_BOOL, .number
#define NUMBER .type = PROPERTY_NUMBER, .number
#define ENUM(list) .type = PROPERTY_ENUM, .names = list, .number

// clang-format off
const struct property replica_properties[] = {
	{ "SourceVirtualDisk",      STRING = source },
	{ "TargetVirtualDisk",      STRING = target },
	{ "SyncTime",               TIME = sync_time },
	{ "SyncMaintained",         BOOL = sync_maintained },
	{ "CopyState",              ENUM(copy_states) = copy_state },
	{ "RequestedCopyState",     ENUM(copy_states) = requested },
	{ "SyncType",               ENUM(sync_types) = sync_type },
	{ "SyncMode",               ENUM(sync_modes) = sync_mode },
	{ "ProgressStatus",         ENUM(progress_statuses) = progress },
	{ "PercentSynced",          NUMBER = percent },
	{ "CopyType",               ENUM(copy_types) = copy_type },
	{ "ReplicaType",            ENUM(replica_types) = replica_type },
	{ "SyncState",              ENUM(sync_states) = sync_state },
	{ "CopyPriority",           ENUM(copy_priorities) = priority },
	{ "CopyMethodology",        ENUM(copy_methodologies) = methodology },
	{ "RecoveryPointObjective", NUMBER = objective },
	{ NULL },
};
// clang-format on

static bool add_enum(const struct property *p, uint64_t n, bool numbered, struct text *out)
{
	const char *name = n <= UINT32_MAX ? enum_name(p->names, n) : NULL;

	if (!name)
		return false;
	text_addf(out, "%s", name);
	if (numbered)
		text_addf(out, " (%" PRIu64 ")", n);
	return true;
}

bool property_value(const struct property *p, const struct replica_facts *r, bool numbered,
		    struct text *out)
{
	uint64_t n = p->number ? p->number(r) : 0;
	const char *s = p->string ? p->string(r) : "";
	char time[RFC3339_MAX];

	switch (p->type) {
	case PROPERTY_STRING:
		if (*s)
			text_add_line(out, s);
		return *s;
	case PROPERTY_TIME:
		if (n)
			text_addf(out, "%s", rfc3339_format_ms(time, n));
		return n;
	case PROPERTY_BOOL:
		text_addf(out, "%s", n ? "true" : "false");
		return true;
	case PROPERTY_ENUM:
		return add_enum(p, n, numbered, out);
	case PROPERTY_NUMBER:
		if (n != REPLICA_UNKNOWN)
			text_addf(out, "%" PRIu64, n);
		return n != REPLICA_UNKNOWN;
	}
	return false;
}

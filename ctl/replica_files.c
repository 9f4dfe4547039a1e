// SPDX-License-Identifier: GPL-2.0-or-later
/* replicas/NAME: the property files and the status. */
#include "inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "replica_facts.h"
#include "rfc3339.h"
#include "values.h"

int property_render(struct ctl *c, uint32_t object, const char *name, struct text *out)
{
	const struct property *p = replica_properties;
	struct replica_facts r;
	int err = property_facts(c->tandem, object, &r);

	if (err)
		return err;
	while (p->name && strcmp(p->name, name) != 0)
		p++;
	if (!p->name)
		return -ENOENT;
	if (!property_value(p, &r, false, out))
		text_addf(out, "NULL");
	text_add(out, "\n", 1);
	return 0;
}

static void add_properties(const struct replica_facts *r, bool group, struct text *out)
{
	for (const struct property *p = replica_properties; p->name; p++) {
		if (group && !property_is_of_groups(p))
			continue;
		text_addf(out, "%s: ", p->name);
		if (!property_value(p, r, true, out))
			text_add(out, "-", 1);
		text_add(out, "\n", 1);
	}
}

void group_properties_render(const struct replica_facts *r, struct text *out)
{
	add_properties(r, true, out);
}

/* That it is Broken is told as such. */
static const char *error_of(const struct replica_facts *r)
{
	const char *trouble = replica_trouble(r);

	if (r->copy_state == COPY_BROKEN && !(r->sync_type == SYNC_MIRROR && r->error))
		return "";
	return trouble ? trouble : "";
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * UINT64_C(1000) + now.tv_nsec / 1000000;
}

static const char *recovery_mode(const struct replica_facts *r)
{
	return r->manual ? "Manual" : "Automatic";
}

static const char *acknowledge_at(const struct replica_facts *r)
{
	return enum_name(acknowledge_points, r->at_flush ? ACKNOWLEDGE_FLUSH : ACKNOWLEDGE_WRITE);
}

/* SyncMode is what an adaptive one has now. */
static unsigned requested_mode(const struct replica_facts *r)
{
	return r->adaptive ? MODE_ADAPTIVE : r->sync_mode;
}

/* Of what follows its source; others have the lines, with nothing to tell. */
static void add_following(const struct replica_facts *r, struct text *out)
{
	bool mirror = r->sync_type == SYNC_MIRROR;
	char buf[VALUE_TEXT_MAX], time[RFC3339_MAX];
	uint64_t lag;

	if (mirror)
		text_add_fieldf(out, "Behind", "%" PRIu64 " (%s)", r->behind,
				value_human_size(buf, r->behind));
	else
		text_add_field(out, "Behind", "");
	text_add_field(out, "Lag",
		       replica_lag(r, now_ms(), &lag) ? value_age(buf, lag / 1000) : "");
	text_add_field(out, "FailedCopyStopsHostIO",
		       !mirror            ? ""
		       : r->stops_host_io ? "true"
					  : "false");
	text_add_field(out, "CopyRecoveryMode", mirror ? recovery_mode(r) : "");
	if (mirror)
		text_add_fieldf(out, "RequestedMode", "%s (%u)",
				enum_name(create_modes, requested_mode(r)), requested_mode(r));
	else
		text_add_field(out, "RequestedMode", "");
	if (r->adaptive)
		text_add_fieldf(out, "SkewLimit", "%" PRIu64 " (%s)", r->skew_limit,
				value_human_size(buf, r->skew_limit));
	else
		text_add_field(out, "SkewLimit", "");
	text_add_field(out, "AcknowledgeAt", mirror ? acknowledge_at(r) : "");
	text_add_field(out, "Verified",
		       r->verified_ms ? rfc3339_format_ms(time, r->verified_ms) : "");
	if (r->verifying)
		text_add_fieldf(out, "Verifying", "%u%%", r->verified);
	else
		text_add_field(out, "Verifying", "");
	if (mirror)
		text_add_fieldf(out, "Differed", "%" PRIu64 " (%s)", r->differed,
				value_human_size(buf, r->differed));
	else
		text_add_field(out, "Differed", "");
	text_add_field(out, "ThinProvisioningPolicy",
		       mirror ? enum_name(thin_policies, r->thin_policy) : "");
	text_add_field(out, "ReadOnly", !mirror ? "" : r->read_only ? "true" : "false");
}

int replica_status_render(struct ctl *c, uint32_t object, struct text *out)
{
	char human[VALUE_TEXT_MAX];
	struct replica_facts r;
	uint64_t bytes;
	int err = replica_facts(c->tandem, object, &r);

	if (err)
		return err;
	text_add_field(out, "Name", r.label);
	add_properties(&r, false, out);
	if (r.generation)
		text_add_fieldf(out, "Generation", "g%" PRIu64, r.generation);
	else
		text_add_field(out, "Generation", "");
	text_add_fieldf(out, "Size", "%" PRIu64 " (%s)", r.size, value_human_size(human, r.size));
	if (snapshot_exclusive(c->tandem, object, &bytes))
		text_add_field(out, "Exclusive", "");
	else
		text_add_fieldf(out, "Exclusive", "%" PRIu64 " (%s)", bytes,
				value_human_size(human, bytes));
	text_add_field(out, "Hold", r.hold);
	bytes = snapshot_overlay_bytes(c->tandem, object);
	if (r.writable)
		text_add_fieldf(out, "Overlay", "%" PRIu64 " (%s)", bytes,
				value_human_size(human, bytes));
	else
		text_add_field(out, "Overlay", "");
	text_add_field(out, "Error", error_of(&r));
	if (r.job)
		text_add_fieldf(out, "Job", "%u", r.job);
	else
		text_add_field(out, "Job", "");
	add_following(&r, out);
	return 0;
}

static void add_property(struct json *j, const struct property *p, const struct replica_facts *r)
{
	struct text value = { 0 };
	bool known = property_value(p, r, false, &value);

	if (!known)
		json_null_at(j, p->name);
	else if (p->type == PROPERTY_BOOL)
		json_bool_at(j, p->name, p->number(r));
	else if (p->type == PROPERTY_NUMBER)
		json_uint_at(j, p->name, p->number(r));
	else if (p->type == PROPERTY_STRING)
		json_string_at(j, p->name, p->string(r)); /* JSON has escapes of its own */
	else
		json_string_at(j, p->name, value.bytes);
	j->out->failed |= value.failed;
	text_free(&value);
}

static void add_following_json(struct json *j, const struct replica_facts *r)
{
	bool mirror = r->sync_type == SYNC_MIRROR;
	char time[RFC3339_MAX];
	uint64_t lag;

	json_key(j, "LagSeconds");
	if (replica_lag(r, now_ms(), &lag))
		json_seconds(j, lag);
	else
		json_null(j);
	json_known_at(j, "BehindBytes", mirror, r->behind);
	/* What differs is known by its place, not by how many writes made it. */
	json_known_at(j, "BehindWrites",
		      r->copy_state == COPY_SYNCHRONIZED && mirror && !r->behind && !r->shows_old,
		      0);
	if (mirror)
		json_bool_at(j, "FailedCopyStopsHostIO", r->stops_host_io);
	else
		json_null_at(j, "FailedCopyStopsHostIO");
	json_string_at(j, "CopyRecoveryMode", mirror ? recovery_mode(r) : NULL);
	json_string_at(j, "RequestedMode",
		       mirror ? enum_name(create_modes, requested_mode(r)) : NULL);
	json_known_at(j, "SkewLimit", r->adaptive, r->skew_limit);
	json_string_at(j, "AcknowledgeAt", mirror ? acknowledge_at(r) : NULL);
	json_string_at(j, "Verified",
		       r->verified_ms ? rfc3339_format_ms(time, r->verified_ms) : NULL);
	json_known_at(j, "VerifyingPercent", r->verifying, r->verified);
	json_known_at(j, "Differed", mirror, r->differed);
	json_string_at(j, "ThinProvisioningPolicy",
		       mirror ? enum_name(thin_policies, r->thin_policy) : NULL);
	if (mirror)
		json_bool_at(j, "ReadOnly", r->read_only);
	else
		json_null_at(j, "ReadOnly");
	json_known_at(j, "Job", r->job != 0, r->job);
}

void group_properties_json(struct json *j, const struct replica_facts *r)
{
	for (const struct property *p = replica_properties; p->name; p++)
		if (property_is_of_groups(p))
			add_property(j, p, r);
}

void replica_json(struct json *j, const struct replica_facts *r)
{
	for (const struct property *p = replica_properties; p->name; p++)
		add_property(j, p, r);
	json_known_at(j, "Generation", r->generation != 0, r->generation);
	json_uint_at(j, "Size", r->size);
	json_string_at(j, "Hold", *r->hold ? r->hold : NULL);
	json_bool_at(j, "Writable", r->writable);
	json_string_at(j, "Error", *error_of(r) ? error_of(r) : NULL);
	add_following_json(j, r);
}

int replica_status_json_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct json j = { .out = out };
	struct replica_facts r;
	uint64_t bytes = 0;
	bool known;
	int err = replica_facts(c->tandem, object, &r);

	if (err)
		return err;
	json_object(&j);
	status_json_head(&j, c);
	json_string_at(&j, "Name", r.label);
	replica_json(&j, &r);
	known = !snapshot_exclusive(c->tandem, object, &bytes);
	json_known_at(&j, "Exclusive", known, bytes);
	json_known_at(&j, "OverlayBytes", r.writable, snapshot_overlay_bytes(c->tandem, object));
	json_object_end(&j);
	text_add(out, "\n", 1);
	return 0;
}

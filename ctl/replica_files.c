// SPDX-License-Identifier: GPL-2.0-or-later
/* replicas/NAME: the property files and the status. */
#include "inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "replica_facts.h"
#include "values.h"

int property_render(struct ctl *c, uint32_t object, const char *name, struct text *out)
{
	const struct property *p = replica_properties;
	struct replica_facts r;
	int err = replica_facts(c->tandem, object, &r);

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

static void add_properties(const struct replica_facts *r, struct text *out)
{
	for (const struct property *p = replica_properties; p->name; p++) {
		text_addf(out, "%s: ", p->name);
		if (!property_value(p, r, true, out))
			text_add(out, "-", 1);
		text_add(out, "\n", 1);
	}
}

/* That it is Broken is told as such. */
static const char *error_of(const struct replica_facts *r)
{
	return r->copy_state != COPY_BROKEN && replica_trouble(r) ? replica_trouble(r) : "";
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
	add_properties(&r, out);
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
	text_add_field(out, "Error", error_of(&r));
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

void replica_json(struct json *j, const struct replica_facts *r)
{
	for (const struct property *p = replica_properties; p->name; p++)
		add_property(j, p, r);
	json_known_at(j, "Generation", r->generation != 0, r->generation);
	json_uint_at(j, "Size", r->size);
	json_string_at(j, "Hold", *r->hold ? r->hold : NULL);
	json_string_at(j, "Error", *error_of(r) ? error_of(r) : NULL);
	/* Of what follows its source, which a snapshot does not. */
	json_null_at(j, "LagSeconds");
	json_null_at(j, "BehindBytes");
	json_null_at(j, "BehindWrites");
	json_null_at(j, "Job");
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
	json_object_end(&j);
	text_add(out, "\n", 1);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* groups/NAME: the directories, and what their files say. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groups.h"
#include "inner.h"
#include "json.h"
#include "objects.h"
#include "replica_facts.h"

static int find_group(struct ctl *c, struct node dir, uint8_t row, const char *name,
		      uint32_t *number)
{
	struct group_facts g;
	int err = group_named(c->tandem, name, &g);

	if (!err)
		*number = g.number;
	return err;
}

static bool group_exists(struct ctl *c, uint32_t number)
{
	struct group_facts g;

	return !group_numbered(c->tandem, number, &g);
}

static int list_groups(struct ctl *c, struct node dir, uint8_t row,
		       bool (*fn)(void *, const char *, struct node), void *arg)
{
	struct group_facts *groups;
	size_t count;
	int err = groups_list(c->tandem, &groups, &count);

	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		if (!fn(arg, groups[i].name, (struct node){ row, groups[i].number }))
			break;
	free(groups);
	return 0;
}

uint64_t group_version(struct ctl *c, uint32_t object)
{
	/* It also tells of its disks. */
	return group_exists(c, object) ? c->tandem->changes + 1 : 0;
}

const struct objects group_objects = { find_group, group_exists, list_groups };

/* ---- files ---- */

/* Its mirrors by number, as they were made; each is called so that no disk is. */
static int each_pair(struct tandem *t, uint32_t number, void (*fn)(void *arg, const char *member),
		     void *arg)
{
	char member[sizeof("replicas/") + SNAPSHOT_NAME_MAX];
	struct pair_facts p;
	uint32_t *pairs;
	size_t count;
	int err = group_pairs(t, number, &pairs, &count);

	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		if (pair_numbered(t, pairs[i], &p))
			continue; /* it ends just now */
		snprintf(member, sizeof(member), "replicas/%s", p.name);
		fn(arg, member);
	}
	free(pairs);
	return 0;
}

static void add_pair_line(void *arg, const char *member)
{
	struct text *out = arg;

	text_add_line(out, member);
	text_add(out, "\n", 1);
}

static void add_pair_string(void *arg, const char *member)
{
	json_string(arg, member);
}

int members_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct group_member *members;
	size_t count;
	int err = group_members(c->tandem, object, &members, &count);

	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		text_add_line(out, members[i].label);
		text_add(out, "\n", 1);
	}
	free(members);
	return each_pair(c->tandem, object, add_pair_line, out);
}

int consistent_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct group_facts g;
	int err = group_numbered(c->tandem, object, &g);

	if (!err)
		text_addf(out, "%s\n", g.consistent ? "true" : "false");
	return err;
}

int group_status_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct replica_facts r;
	struct group_facts g;
	int err = group_numbered(c->tandem, object, &g)
			  ?: group_replica_facts(c->tandem, object, &r);

	if (err)
		return err;
	text_add_field(out, "Name", g.name);
	text_add_field(out, "ConsistentPointInTime", g.consistent ? "true" : "false");
	text_add_fieldf(out, "Disks", "%zu", g.disks);
	text_add_fieldf(out, "Absent", "%zu", g.absent);
	text_add_fieldf(out, "Pairs", "%zu", g.pairs);
	group_properties_render(&r, out);
	return 0;
}

int group_json(struct json *j, struct tandem *t, const struct group_facts *g, const char *key)
{
	struct group_member *members;
	struct replica_facts r;
	size_t count;
	int err = group_replica_facts(t, g->number, &r)
			  ?: group_members(t, g->number, &members, &count);

	if (err)
		return err;
	if (key)
		json_object_at(j, key);
	json_bool_at(j, "ConsistentPointInTime", g->consistent);
	json_uint_at(j, "Absent", g->absent);
	json_key(j, "Members");
	json_array(j);
	for (size_t i = 0; i < count; i++)
		json_string(j, members[i].label);
	each_pair(t, g->number, add_pair_string, j);
	json_array_end(j);
	group_properties_json(j, &r);
	if (key)
		json_object_end(j);
	free(members);
	return 0;
}

int group_status_json_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct json j = { .out = out };
	struct group_facts g;
	int err = group_numbered(c->tandem, object, &g);

	if (err)
		return err;
	json_object(&j);
	status_json_head(&j, c);
	json_string_at(&j, "Name", g.name);
	err = group_json(&j, c->tandem, &g, NULL);
	json_object_end(&j);
	text_add(out, "\n", 1);
	return err;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is looked up by name and never listed: at/MOMENT.raw, changes/A..B,
 * wait/STATE[,STATE].
 */
#include "objects.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "inner.h"
#include "kept.h"
#include "lookups.h"
#include "replica_facts.h"

#define NAME_MAX_HERE 512

static int remember(struct ctl *c, uint8_t row, uint32_t object, uint64_t a, uint64_t b,
		    uint32_t *number)
{
	return lookups_put(c->lookups, &(struct lookup){ row, object, a, b }, number);
}

/* The disk that it is about: a reference, or NULL. */
static struct disk *disk_of(struct ctl *c, uint32_t number, struct lookup *what)
{
	if (!lookups_get(c->lookups, number, what))
		return NULL;
	return tandem_disk_numbered(c->tandem, what->object);
}

static bool disk_is_there(struct ctl *c, uint32_t number)
{
	struct lookup what;
	struct disk *d = disk_of(c, number, &what);

	disk_unref(d);
	return d;
}

/* ---- at/MOMENT.raw ---- */

static int find_moment(struct ctl *c, struct node dir, uint8_t row, const char *name,
		       uint32_t *number)
{
	struct disk *d = tandem_disk_numbered(c->tandem, dir.object);
	char text[NAME_MAX_HERE];
	struct moment_record m;
	int err = d && name_before_raw(name, text, sizeof(text)) ? 0 : -ENOENT;

	if (!err)
		err = kept_find_past(d, text, &m, NULL);
	if (!err)
		err = remember(c, row, dir.object, m.generation, 0, number);
	disk_unref(d);
	return err == -EINVAL ? -ENOENT : err; /* a name that nothing has */
}

int moment_content(struct ctl *c, uint32_t object, struct content *out)
{
	struct moment_record m;
	struct lookup what;
	struct moment_spec spec = { .how = MOMENT_GENERATION };
	struct disk *d = disk_of(c, object, &what);
	int err;

	if (!d)
		return -ESTALE;
	spec.value = what.a;
	err = disk_moment(d, &spec, &m);
	/* An older one stands in for nothing: it was given up since it was looked up. */
	if (err == -ENOENT || (!err && m.generation != what.a))
		err = -ESTALE;
	if (err) {
		disk_unref(d);
		return err;
	}
	*out = (struct content){ d, m.generation, m.time_ms, m.size };
	return 0;
}

const struct objects moment_objects = { find_moment, disk_is_there, .looked_up = true };

/* ---- changes/A..B ---- */

static int find_changes(struct ctl *c, struct node dir, uint8_t row, const char *name,
			uint32_t *number)
{
	struct disk *d = tandem_disk_numbered(c->tandem, dir.object);
	uint64_t a, b;
	int err = d ? kept_find_range(d, name, &a, &b) : -ENOENT;

	if (!err)
		err = remember(c, row, dir.object, a, b, number);
	disk_unref(d);
	return err;
}

int changes_content(struct ctl *c, uint32_t object, struct content *out)
{
	struct lookup what;
	struct disk *d = disk_of(c, object, &what);

	if (!d)
		return -ESTALE;
	*out = (struct content){ .disk = d };
	return 0;
}

const struct objects changes_objects = { find_changes, disk_is_there, .looked_up = true };

/* ---- wait/STATE[,STATE]: a is a set of CopyStates, as bits; or b is a job, of a command ---- */

static int find_wait(struct ctl *c, struct node dir, uint8_t row, const char *name,
		     uint32_t *number)
{
	char copy[NAME_MAX_HERE], *save, *word;
	uint64_t states = 0;

	/* strtok would take empty words for none. */
	if (strlen(name) >= sizeof(copy) || *name == ',' || strstr(name, ",,") ||
	    (*name && name[strlen(name) - 1] == ','))
		return -ENOENT;
	snprintf(copy, sizeof(copy), "%s", name);
	for (word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		const struct enum_value *v = value_enum(copy_states, word);

		if (!v)
			return -ENOENT;
		states |= 1u << v->number;
	}
	return states ? remember(c, row, dir.object, states, 0, number) : -ENOENT;
}

static bool wait_exists(struct ctl *c, uint32_t number)
{
	struct lookup what;

	/* It ends with a word of its own when the relationship goes. */
	return lookups_get(c->lookups, number, &what);
}

int wait_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct replica_facts r;
	struct lookup what;

	if (!lookups_get(c->lookups, object, &what))
		return -ESTALE;
	if (what.b)
		return jobs_wait(c, what.object, what.b);
	if (property_facts(c->tandem, what.object, &r))
		return -ENODEV;
	if (what.a & 1u << r.copy_state) {
		text_addf(out, "%s\n", enum_name(copy_states, r.copy_state));
		return 0;
	}
	return r.copy_state == COPY_BROKEN || r.copy_state == COPY_ABORTED ||
			       r.copy_state == COPY_FAILEDOVER ||
			       (r.copy_state == COPY_MIXED && r.error)
		       ? -ECANCELED
		       : -EAGAIN;
}

uint64_t wait_version(struct ctl *c, uint32_t object)
{
	struct text ignored = { 0 };
	int err = wait_render(c, object, &ignored);

	text_free(&ignored);
	return err == -EAGAIN ? NODE_WAITS : NODE_WAITS + 1;
}

const struct objects wait_objects = { find_wait, wait_exists, .looked_up = true };

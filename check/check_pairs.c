// SPDX-License-Identifier: GPL-2.0-or-later
/* Mirrors with their marks, and groups. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check_inner.h"
#include "enumerations.h"
#include "marks.h"
#include "pair_records.h"

/* ---- marks ---- */

static int open_marks(struct check *c, uint32_t number, struct marks **out)
{
	int dir = check_open_dir(c->state_fd, "pairs"), err;
	bool read_only = true;
	struct file *file;
	char name[16];

	if (dir < 0)
		return dir;
	snprintf(name, sizeof(name), "%u", number);
	err = file_open(dir, name, &read_only, &file);
	close(dir);
	if (err)
		return err;
	err = marks_open(file, number, out);
	if (err)
		file->ops->close(file);
	return err;
}

/* A crash in a resize leaves one size or the other, which the next start finds. */
static void compare_size(struct check *c, const char *where, const struct check_disk *d,
			 uint64_t size)
{
	if (d && d->opened && !d->noted && d->size != size)
		report(&c->report, c->clean ? FINDING_MARKS : FINDING_COPYING, where,
		       "its marks are for %llu bytes, and %s has %llu", (unsigned long long)size,
		       d->where, (unsigned long long)d->size);
}

static void check_marks(struct check *c, const char *where, const struct pair_record *r)
{
	struct marks *marks;
	int err = open_marks(c, r->number, &marks);

	if (err) {
		report(&c->report, FINDING_MARKS, where, "pairs/%u: %s", r->number,
		       err == -EIO ? "it is damaged, or of another mirror" : strerror(-err));
		return;
	}
	compare_size(c, where, check_disk_numbered(c, r->source), marks_size(marks));
	if (r->copy_state == COPY_UNSYNCHRONIZED)
		report(&c->report, FINDING_COPYING, where, "%llu bytes are to be copied",
		       (unsigned long long)marks_bytes(marks));
	marks_close(marks);
}

/* ---- mirrors ---- */

static bool is_state_of_mirror(uint8_t state)
{
	return state >= COPY_INITIALIZED && state <= COPY_SKEWED;
}

static int check_pair(void *arg, const struct pair_record *r)
{
	struct check *c = arg;
	const uint32_t sides[] = { r->source, r->target };
	char where[256];

	snprintf(where, sizeof(where), "replicas/%s", r->name);
	for (size_t i = 0; i < 2; i++)
		if (!check_disk_numbered(c, sides[i]))
			report(&c->report, FINDING_MIRROR, where, "its %s, disk %u, is not there",
			       i ? "target" : "source", sides[i]);
	if (!is_state_of_mirror(r->copy_state))
		report(&c->report, FINDING_MIRROR, where, "is in a state that there is not (%u)",
		       r->copy_state);
	if (r->shows && !check_has_moment(c, r->target, r->shows))
		report(&c->report, FINDING_MIRROR, where,
		       "its target shows g%llu, which is not kept", (unsigned long long)r->shows);
	check_marks(c, where, r);
	return 0;
}

static int match_pair(void *arg, const struct pair_record *r)
{
	return r->number == *(const uint32_t *)arg;
}

static void look_for_pair(struct check *c, const char *directory, uint32_t number)
{
	char where[40];

	snprintf(where, sizeof(where), "%s/%u", directory, number);
	if (!pairs_each(c->catalogue, match_pair, &number))
		report(&c->report, FINDING_LEFT, where, "no mirror has that number");
}

/* Two disks that changed their images have each other's files; no name of the mount is twice. */
static void check_names(struct check *c)
{
	for (size_t i = 0; i < c->disk_count; i++)
		for (size_t k = i + 1; k < c->disk_count; k++) {
			const struct disk_record *a = &c->disks[i].r, *b = &c->disks[k].r;

			if (a->mount_name[0] && a->mount_pool == b->mount_pool &&
			    !strcmp(a->mount_name, b->mount_name))
				report(&c->report, FINDING_MIRROR, c->disks[i].where,
				       "%s has the same name in the mount", c->disks[k].where);
		}
}

void check_pairs(struct check *c)
{
	if (pairs_each(c->catalogue, check_pair, c))
		report(&c->report, FINDING_RECORD, "catalogue/pairs",
		       "a record cannot be read, and what comes behind it was not checked");
	check_numbers(c, "pairs", look_for_pair);
	check_names(c);
}

/* ---- groups ---- */

struct other_group {
	const struct group_record *r;
	bool found;
};

static int match_name(void *arg, const struct group_record *r)
{
	struct other_group *o = arg;

	o->found = r->number < o->r->number && !strcmp(r->name, o->r->name);
	return o->found;
}

static int check_group(void *arg, const struct group_record *r)
{
	struct check *c = arg;
	struct other_group o = { .r = r };
	char where[256];

	snprintf(where, sizeof(where), "groups/%s", r->name);
	catalogue_each_group(c->catalogue, match_name, &o);
	if (o.found)
		report(&c->report, FINDING_GROUP, where, "another group has its name");
	return 0;
}

void check_groups(struct check *c)
{
	if (catalogue_each_group(c->catalogue, check_group, c))
		report(&c->report, FINDING_RECORD, "catalogue/groups",
		       "a record cannot be read, and what comes behind it was not checked");
}

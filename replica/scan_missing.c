// SPDX-License-Identifier: GPL-2.0-or-later
/* Recorded disks whose images were not found, and that are kept for their past, or for a group. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groups.h"
#include "pairs.h"
#include "scan.h"
#include "snapshots.h"

struct records {
	struct disk_record *list;
	size_t count, room;
};

static int keep_record(void *arg, const struct disk_record *r)
{
	struct records *records = arg;

	if (records->count == records->room) {
		size_t room = records->room ? 2 * records->room : 64;
		struct disk_record *more = realloc(records->list, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		records->list = more;
		records->room = room;
	}
	records->list[records->count++] = *r;
	return 0;
}

/* Another image may have its name by now. */
static void free_name(struct tandem *t, struct pool *p, const struct disk_record *r,
		      char name[NAME_MAX + 1])
{
	struct disk *other = tandem_disk_of_file(t, p, r->file_name);

	if (other)
		snprintf(name, NAME_MAX + 1, "%.*s.gone-%u", NAME_MAX - 20, r->file_name,
			 r->number);
	else
		snprintf(name, NAME_MAX + 1, "%s", r->file_name);
	disk_unref(other);
}

static int list_missing(struct tandem *t, struct pool *p, const struct disk_record *r)
{
	char name[NAME_MAX + 1];
	struct disk *d;
	bool past, member, source, paired;
	int err;

	free_name(t, p, r, name);
	err = disk_new(t, p, name, r->number, r->id, NULL, &d);
	if (err)
		return err;
	disk_keep_name(d, r->mount_pool, r->mount_name);
	disk_set_names(d, name);
	d->identity = r->identity;
	d->notes = r->notes;
	d->guest_bytes = r->guest_bytes;
	d->want_read_only = r->read_only;
	d->state = DISK_MISSING;
	past = disk_has_past(d);
	member = groups_have(t, r->number);
	source = disk_is_mirrored(d);
	paired = disk_is_paired(d);
	snprintf(d->reason, sizeof(d->reason), "%s",
		 source   ? MISSING_SOURCE
		 : past   ? MISSING_WITH_PAST
		 : paired ? MISSING_TARGET
		 : member ? MISSING_MEMBER
			  : MISSING_WITH_NAME);
	/* A name that it keeps is nobody else's while it is away. */
	if (past || member || paired || r->mount_name[0]) {
		err = tandem_list_disk(t, d);
		if (!err)
			scan_announce(t, d);
	}
	disk_unref(d);
	return err;
}

int scan_missing(struct tandem *t)
{
	struct records records = { 0 };
	int err = catalogue_each_disk(t->catalogue, keep_record, &records);

	for (size_t i = 0; i < records.count && !err; i++) {
		struct disk *d = tandem_disk_numbered(t, records.list[i].number);
		struct pool *p = d ? NULL : tandem_pool_numbered(t, records.list[i].pool);

		if (p)
			err = list_missing(t, p, &records.list[i]);
		pool_unref(p);
		disk_unref(d);
	}
	free(records.list);
	return err;
}

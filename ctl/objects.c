// SPDX-License-Identifier: GPL-2.0-or-later
#include "objects.h"

#include <errno.h>
#include <string.h>

#include "inner.h"

/* ---- disks ---- */

static int find_disk(struct ctl *c, struct node dir, uint8_t row, const char *name,
		     uint32_t *number)
{
	struct disk *d = tandem_disk_labelled(c->tandem, name);

	if (!d)
		return -ENOENT;
	*number = d->number;
	disk_unref(d);
	return 0;
}

static bool disk_exists(struct ctl *c, uint32_t number)
{
	struct disk *d = tandem_disk_numbered(c->tandem, number);

	disk_unref(d);
	return d;
}

static int list_disks(struct ctl *c, struct node dir, uint8_t row,
		      bool (*fn)(void *, const char *, struct node), void *arg)
{
	char label[DISK_LABEL_MAX + 1];
	size_t count;
	struct disk **disks = tandem_disks(c->tandem, &count);

	if (!disks)
		return count ? -ENOMEM : 0;
	for (size_t i = 0; i < count; i++) {
		struct node child = { .row = row, .object = disks[i]->number };

		pthread_mutex_lock(&disks[i]->lock);
		memcpy(label, disks[i]->label, sizeof(label));
		pthread_mutex_unlock(&disks[i]->lock);
		if (!fn(arg, label, child))
			break;
	}
	disks_free(disks, count);
	return 0;
}

uint64_t disk_version(struct ctl *c, uint32_t object)
{
	struct disk *d = tandem_disk_numbered(c->tandem, object);
	/* Neither number goes down, so the sum tells of both. */
	uint64_t version = d ? d->changes + snapshots_version(c->tandem) + 1 : 0;

	disk_unref(d);
	return version;
}

const struct objects disk_objects = { find_disk, disk_exists, list_disks };

/* ---- pools: those with a name; DISKDIR is the whole itself ---- */

static int find_pool(struct ctl *c, struct node dir, uint8_t row, const char *name,
		     uint32_t *number)
{
	struct pool *p = *name ? tandem_pool_named(c->tandem, name) : NULL;

	if (!p)
		return -ENOENT;
	*number = p->number;
	pool_unref(p);
	return 0;
}

static bool pool_exists(struct ctl *c, uint32_t number)
{
	struct pool *p = tandem_pool_numbered(c->tandem, number);

	pool_unref(p);
	return p;
}

static int list_pools(struct ctl *c, struct node dir, uint8_t row,
		      bool (*fn)(void *, const char *, struct node), void *arg)
{
	size_t count;
	struct pool **pools = tandem_pools(c->tandem, &count);

	if (!pools)
		return count ? -ENOMEM : 0;
	for (size_t i = 0; i < count; i++) {
		struct node child = { .row = row, .object = pools[i]->number };

		if (*pools[i]->name && !fn(arg, pools[i]->name, child))
			break;
	}
	pools_free(pools, count);
	return 0;
}

uint64_t pool_version(struct ctl *c, uint32_t object)
{
	struct pool *p = tandem_pool_numbered(c->tandem, object);
	/* It also counts its disks. */
	uint64_t version = p ? p->changes + c->tandem->changes + 1 : 0;

	pool_unref(p);
	return version;
}

const struct objects pool_objects = { find_pool, pool_exists, list_pools };

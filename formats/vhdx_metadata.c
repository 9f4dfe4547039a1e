// SPDX-License-Identifier: GPL-2.0-or-later
/* The metadata of a VHDX file: what kind of disk it is. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhdx_layout.h"

static_assert(sizeof(struct vhdx_metadata_head) == 32, "as on disk");
static_assert(sizeof(struct vhdx_metadata_entry) == 32, "as on disk");

#define ITEMS_MAX ((VHDX_TABLE - 32) / 32)

enum item { PARAMETERS, SIZE, LOGICAL, PAGE83, PHYSICAL, LOCATOR, ITEMS };

/* What is known, and how long it must be at least. */
static const struct {
	const uint8_t *guid;
	uint32_t length;
	bool needed;
} items[ITEMS] = {
	[PARAMETERS] = { vhdx_guid_parameters, 8, true },
	[SIZE] = { vhdx_guid_size, 8, true },
	[LOGICAL] = { vhdx_guid_logical, 4, true },
	[PAGE83] = { vhdx_guid_page83, 16, false },
	[PHYSICAL] = { vhdx_guid_physical, 4, false },
	[LOCATOR] = { vhdx_guid_locator, 20, false },
};

static enum item which(const uint8_t guid[16])
{
	int i = 0;

	while (i < ITEMS && memcmp(items[i].guid, guid, 16))
		i++;
	return i;
}

static int take_item(const struct vhdx_layout *l, const struct vhdx_metadata_entry *e,
		     struct vhdx_range found[ITEMS], char reason[IMAGE_REASON])
{
	uint32_t at = le32toh(e->at), length = le32toh(e->length);
	enum item i = which(e->guid);

	if (i == ITEMS)
		return le32toh(e->flags) & VHDX_REQUIRED
			       ? image_fail(reason, -EOPNOTSUPP,
					    "it has metadata that are required and not known")
			       : 0;
	if (found[i].length)
		return image_fail(reason, -EINVAL, "it has the same metadata twice");
	if (length < items[i].length || length > VHDX_MIB || at < VHDX_TABLE ||
	    at > l->metadata.length || length > l->metadata.length - at)
		return image_fail(reason, -EINVAL,
				  "its metadata have an impossible place or length");
	found[i] = (struct vhdx_range){ l->metadata.at + at, length };
	return 0;
}

static int find_items(struct file *file, const struct vhdx_overlay *o, const struct vhdx_layout *l,
		      struct vhdx_range found[ITEMS], char reason[IMAGE_REASON])
{
	uint8_t *table = malloc(VHDX_TABLE);
	struct vhdx_metadata_head head;
	int err;

	if (!table)
		return -ENOMEM;
	err = vhdx_overlay_read(o, file, table, VHDX_TABLE, l->metadata.at);
	if (err) {
		image_fail(reason, err, "its metadata cannot be read");
		goto out;
	}
	memcpy(&head, table, sizeof(head));
	if (memcmp(head.signature, "metadata", 8) || le16toh(head.count) > ITEMS_MAX) {
		err = image_fail(reason, -EINVAL, "its metadata are damaged");
		goto out;
	}
	for (unsigned i = 0; i < le16toh(head.count) && !err; i++) {
		struct vhdx_metadata_entry e;

		memcpy(&e, table + sizeof(head) + i * sizeof(e), sizeof(e));
		err = take_item(l, &e, found, reason);
	}
	for (int i = 0; i < ITEMS && !err; i++)
		if (items[i].needed && !found[i].length)
			err = image_fail(reason, -EINVAL, "some of its metadata are missing");
out:
	free(table);
	return err;
}

static int check(const struct vhdx_layout *l, char reason[IMAGE_REASON])
{
	if (l->sector_size != 512 && l->sector_size != 4096)
		return image_fail(reason, -EINVAL,
				  "its sectors have %u bytes; they have 512 or 4096",
				  l->sector_size);
	if (l->block_size < VHDX_MIB || l->block_size > VHDX_BLOCK_MAX ||
	    l->block_size & (l->block_size - 1))
		return image_fail(reason, -EINVAL,
				  "its blocks have %u bytes; they have 1 MiB to 256 MiB",
				  l->block_size);
	if (!l->size || l->size % l->sector_size || l->size > VHDX_SIZE_MAX)
		return image_fail(reason, -EINVAL, "a disk cannot have %llu bytes",
				  (unsigned long long)l->size);
	if (vhdx_bat_count(l, vhdx_blocks(l, l->size)) > l->bat.length / 8)
		return image_fail(reason, -EINVAL, "its block table is too short for its size");
	if (l->has_parent && !l->locator.length)
		return image_fail(reason, -EINVAL, "it has a parent and does not say which");
	return 0;
}

int vhdx_read_metadata(struct file *file, const struct vhdx_overlay *o, struct vhdx_layout *l,
		       char reason[IMAGE_REASON])
{
	struct vhdx_range found[ITEMS] = { { 0, 0 } };
	uint32_t parameters[2], sector;
	uint64_t size;
	int err = find_items(file, o, l, found, reason);

	if (err)
		return err;
	err = vhdx_overlay_read(o, file, parameters, sizeof(parameters), found[PARAMETERS].at);
	if (!err)
		err = vhdx_overlay_read(o, file, &size, sizeof(size), found[SIZE].at);
	if (!err)
		err = vhdx_overlay_read(o, file, &sector, sizeof(sector), found[LOGICAL].at);
	if (err)
		return image_fail(reason, err, "its metadata cannot be read");
	l->block_size = le32toh(parameters[0]);
	l->fixed = le32toh(parameters[1]) & VHDX_KEEPS_BLOCKS;
	l->has_parent = le32toh(parameters[1]) & VHDX_HAS_PARENT;
	l->size = le64toh(size);
	l->size_at = found[SIZE].at;
	l->sector_size = le32toh(sector);
	l->locator = found[LOCATOR];
	return check(l, reason);
}

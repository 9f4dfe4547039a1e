// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A new VHDX file: header, log, metadata, block table, and for a fixed disk all
 * its blocks, one behind the other.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "vhdx_inner.h"

#define LOG_AT VHDX_MIB
#define METADATA_AT (2 * VHDX_MIB)
#define BAT_AT (3 * VHDX_MIB)
#define BAT_PIECE ((size_t)8192) /* entries written at a time */

static int put(struct file *file, const void *buf, size_t len, uint64_t off)
{
	return file->ops->write(file, buf, len, off, 0);
}

/* ---- what it shall be ---- */

/* An entry for a block takes 8 bytes of memory. */
static uint32_t usual_block_size(uint64_t size)
{
	if (size <= (uint64_t)1 << 40)
		return 2 << 20;
	return size <= (uint64_t)8 << 40 ? 8 << 20 : 32 << 20;
}

static int plan(const struct image_create *c, struct vhdx_layout *l, char reason[IMAGE_REASON])
{
	l->fixed = !strcmp(c->kind, "vhdx-fixed");
	if (c->parent || !strcmp(c->kind, "vhdx-differencing"))
		return image_fail(reason, -EOPNOTSUPP,
				  "differencing VHDX images are not made by this build");
	l->size = c->size;
	l->sector_size = c->sector_size ? c->sector_size : 512;
	l->block_size = c->block_size ? c->block_size : usual_block_size(c->size);
	if (l->sector_size != 512 && l->sector_size != 4096)
		return image_fail(reason, -EINVAL, "the sectors of a VHDX have 512 or 4096 bytes");
	if (l->block_size < VHDX_MIB || l->block_size > VHDX_BLOCK_MAX ||
	    l->block_size & (l->block_size - 1))
		return image_fail(reason, -EINVAL,
				  "the blocks of a VHDX have 1, 2, 4, ... or 256 MiB");
	if (!l->size || l->size % l->sector_size)
		return image_fail(reason, -EINVAL,
				  "the size of a VHDX is a multiple of its sectors' %u bytes",
				  l->sector_size);
	if (l->size > VHDX_SIZE_MAX)
		return image_fail(reason, -EFBIG, "a VHDX has 64 TiB at most");
	return 0;
}

/* The table has room for a disk twice as large. */
static void place(struct vhdx_layout *l)
{
	uint64_t room = l->size > VHDX_SIZE_MAX / 2 ? VHDX_SIZE_MAX : 2 * l->size;

	l->header.log_at = LOG_AT;
	l->header.log_length = VHDX_MIB;
	l->metadata = (struct vhdx_range){ METADATA_AT, VHDX_MIB };
	l->bat.at = BAT_AT;
	l->bat.length = vhdx_round_up(vhdx_bat_count(l, vhdx_blocks(l, room)) * sizeof(uint64_t),
				      VHDX_MIB);
}

/* ---- writing it ---- */

static int write_identifier(struct file *file)
{
	uint8_t id[8 + 512] = "vhdxfile";
	const char *creator = "tandemfs";

	for (size_t i = 0; creator[i]; i++)
		put_le16(id + 8 + 2 * i, creator[i]);
	return put(file, id, sizeof(id), 0);
}

static int write_headers(struct file *file, struct vhdx_layout *l)
{
	int err = vhdx_guid_make(l->header.file_write);

	if (!err)
		err = vhdx_guid_make(l->header.data_write);
	for (unsigned slot = 0; slot < 2 && !err; slot++) {
		l->header.sequence = slot + 1;
		err = vhdx_write_header(file, slot, &l->header);
	}
	return err;
}

static int write_regions(struct file *file, const struct vhdx_layout *l)
{
	struct vhdx_region_head head = { .signature = { 'r', 'e', 'g', 'i' }, .count = htole32(2) };
	struct vhdx_region_entry e[2] = {
		{ .at = htole64(l->bat.at),
		  .length = htole32(l->bat.length),
		  .required = htole32(1) },
		{ .at = htole64(l->metadata.at),
		  .length = htole32(l->metadata.length),
		  .required = htole32(1) },
	};
	uint8_t *table = calloc(1, VHDX_TABLE);
	int err = 0;

	if (!table)
		return -ENOMEM;
	memcpy(e[0].guid, vhdx_guid_bat, 16);
	memcpy(e[1].guid, vhdx_guid_metadata, 16);
	memcpy(table, &head, sizeof(head));
	memcpy(table + sizeof(head), e, sizeof(e));
	vhdx_seal_regions(table);
	for (unsigned copy = 0; copy < 2 && !err; copy++)
		err = put(file, table, VHDX_TABLE, VHDX_REGIONS_AT(copy));
	free(table);
	return err;
}

/* Items lie one behind the other behind the table. */
struct items {
	uint8_t table[32 + 5 * 32], values[64];
	uint32_t count, length;
};

static void add_item(struct items *i, const uint8_t guid[16], uint32_t flags, const void *value,
		     uint32_t length)
{
	struct vhdx_metadata_entry e = { .at = htole32(VHDX_TABLE + i->length),
					 .length = htole32(length),
					 .flags = htole32(flags) };

	memcpy(e.guid, guid, 16);
	memcpy(i->values + i->length, value, length);
	i->length += length;
	memcpy(i->table + sizeof(struct vhdx_metadata_head) + i->count++ * sizeof(e), &e,
	       sizeof(e));
}

static int write_metadata(struct file *file, const struct vhdx_layout *l)
{
	struct vhdx_metadata_head head = { .count = htole16(5) };
	uint32_t parameters[2] = { htole32(l->block_size),
				   htole32(l->fixed ? VHDX_KEEPS_BLOCKS : 0) };
	uint32_t logical = htole32(l->sector_size), physical = htole32(4096);
	uint64_t size = htole64(l->size);
	struct items items = { .count = 0 };
	uint8_t page83[16];
	int err = vhdx_guid_make(page83);

	if (err)
		return err;
	memcpy(head.signature, "metadata", 8);
	memcpy(items.table, &head, sizeof(head));
	add_item(&items, vhdx_guid_parameters, VHDX_REQUIRED, parameters, 8);
	add_item(&items, vhdx_guid_size, VHDX_REQUIRED | VHDX_FOR_DISK, &size, 8);
	add_item(&items, vhdx_guid_page83, VHDX_REQUIRED | VHDX_FOR_DISK, page83, 16);
	add_item(&items, vhdx_guid_logical, VHDX_REQUIRED | VHDX_FOR_DISK, &logical, 4);
	add_item(&items, vhdx_guid_physical, VHDX_REQUIRED | VHDX_FOR_DISK, &physical, 4);
	err = put(file, items.table, sizeof(items.table), l->metadata.at);
	return err ? err : put(file, items.values, items.length, l->metadata.at + VHDX_TABLE);
}

/* Of a fixed disk. That of a dynamic one is empty. */
static int write_bat(struct file *file, const struct vhdx_layout *l, uint64_t first)
{
	uint64_t count = vhdx_bat_count(l, vhdx_blocks(l, l->size)), chunk = vhdx_chunk(l);
	uint64_t *piece = calloc(BAT_PIECE, sizeof(*piece));
	int err = piece ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < count && !err; at += BAT_PIECE) {
		size_t n = count - at < BAT_PIECE ? count - at : BAT_PIECE;

		for (size_t i = 0; i < n; i++) {
			uint64_t index = at + i, block = index - index / (chunk + 1);
			uint64_t e = (first + block * l->block_size) | VHDX_PRESENT;

			piece[i] = index % (chunk + 1) == chunk ? 0 : htole64(e);
		}
		err = put(file, piece, n * sizeof(*piece), l->bat.at + at * sizeof(*piece));
	}
	free(piece);
	return err;
}

int vhdx_create(struct file *file, const struct image_create *c, char reason[IMAGE_REASON])
{
	struct vhdx_layout l = { .slot = 0 };
	uint64_t first, end;
	int err = plan(c, &l, reason);

	if (err)
		return err;
	place(&l);
	first = end = l.bat.at + l.bat.length;
	if (l.fixed)
		end += vhdx_blocks(&l, l.size) * l.block_size;
	err = file->ops->resize(file, end);
	if (!err)
		err = write_identifier(file);
	if (!err)
		err = write_headers(file, &l);
	if (!err)
		err = write_regions(file, &l);
	if (!err)
		err = write_metadata(file, &l);
	if (!err && l.fixed)
		err = write_bat(file, &l, first);
	return err ? image_fail(reason, err, "the file cannot be written") : 0;
}

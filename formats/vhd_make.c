// SPDX-License-Identifier: GPL-2.0-or-later
/* New VHDs, and larger ones. */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "vhd.h"
#include "vhd_inner.h"

#define BLOCK_SIZE (2u << 20)
/* Room for the names of the parent, each. */
#define NAME_SPACE 4096

/* ---- create ---- */

static int check(const struct image_create *c, bool fixed, char reason[IMAGE_REASON])
{
	if (!c->size || c->size % VHD_SECTOR || c->size > VHD_SIZE_MAX)
		return image_fail(reason, -EINVAL,
				  "a VHD has a multiple of 512 bytes, at most 2040 GiB");
	if (c->sector_size && c->sector_size != VHD_SECTOR)
		return image_fail(reason, -EINVAL, "a VHD has sectors of 512 bytes only");
	if (fixed && (c->block_size || c->parent))
		return image_fail(reason, -EINVAL, "a fixed VHD has neither blocks nor a parent");
	if (c->block_size && (c->block_size & (c->block_size - 1) || c->block_size < 4096 ||
			      c->block_size > 256 << 20))
		return image_fail(reason, -EINVAL, "a block is a power of two from 4K to 256M");
	if (c->block_size && !block_map_can_be(c->size / c->block_size + 1, c->block_size))
		return image_fail(reason, -EINVAL, "so large a disk needs larger blocks");
	if (c->parent && c->parent->format != &vhd_format)
		return image_fail(reason, -EINVAL, "the parent of a VHD is a VHD");
	return 0;
}

static int create_fixed(struct file *f, const struct image_create *c, struct vhd_footer *footer)
{
	uint8_t bytes[VHD_SECTOR];

	footer->type = VHD_FIXED;
	vhd_footer_write(bytes, footer, time(NULL));
	return f->ops->write(f, bytes, VHD_SECTOR, c->size, 0);
}

static int write_table(struct file *f, uint64_t at, uint64_t from, uint64_t to)
{
	uint8_t absent[VHD_PAGE];
	int err = 0;

	memset(absent, 0xff, sizeof(absent));
	for (uint64_t done = from; done < to && !err; done += VHD_PAGE)
		err = f->ops->write(f, absent, to - done < VHD_PAGE ? to - done : VHD_PAGE,
				    at + done, 0);
	return err;
}

static int write_locator(struct file *f, struct vhd_locator *l, uint32_t code, const char *prefix,
			 const char *name, uint64_t *at)
{
	uint8_t bytes[NAME_SPACE] = { 0 };
	size_t len;

	if (!name)
		return 0;
	len = vhd_name_to_utf16(prefix, false, bytes, sizeof(bytes));
	len += vhd_name_to_utf16(name, false, bytes + len, sizeof(bytes) - len);
	*l = (struct vhd_locator){ .code = code,
				   .length = len,
				   .offset = *at,
				   .space = NAME_SPACE };
	*at += NAME_SPACE;
	return f->ops->write(f, bytes, NAME_SPACE, l->offset, 0);
}

static int describe_parent(struct file *f, const struct image_create *c, struct vhd_header *h,
			   uint64_t *at)
{
	const char *name = c->parent_at.relative ? c->parent_at.relative : c->parent_at.absolute;
	const char *last = name ? strrchr(name, '/') : NULL;
	struct file_stat st;
	int err = c->parent->file->ops->stat(c->parent->file, &st);

	if (err)
		return err;
	memcpy(h->parent_uuid, c->parent->identity, sizeof(h->parent_uuid));
	h->parent_time = vhd_time(st.mtime.tv_sec);
	if (name)
		strncat(h->parent_name, last ? last + 1 : name, sizeof(h->parent_name) - 1);
	err = write_locator(f, &h->locators[0], VHD_RELATIVE, "./", c->parent_at.relative, at);
	if (!err)
		err = write_locator(f, &h->locators[1], VHD_ABSOLUTE, "", c->parent_at.absolute,
				    at);
	return err;
}

static int create_blocks(struct file *f, const struct image_create *c, struct vhd_footer *footer)
{
	struct vhd_header h = { .block_size = c->block_size ? c->block_size : BLOCK_SIZE };
	uint64_t entries = (c->size + h.block_size - 1) / h.block_size, at;
	uint8_t bytes[VHD_SECTOR], header[VHD_HEADER];
	int err;

	footer->type = c->parent ? VHD_DIFFERENCING : VHD_DYNAMIC;
	footer->header_offset = VHD_SECTOR;
	h.table_offset = VHD_SECTOR + VHD_HEADER;
	h.entries = entries;
	at = h.table_offset + vhd_table_bytes(entries);
	err = write_table(f, h.table_offset, 0, vhd_table_bytes(entries));
	if (!err && c->parent)
		err = describe_parent(f, c, &h, &at);
	if (err)
		return err;
	vhd_footer_write(bytes, footer, time(NULL));
	vhd_header_write(header, &h);
	err = f->ops->write(f, bytes, VHD_SECTOR, 0, 0);
	if (!err)
		err = f->ops->write(f, header, VHD_HEADER, VHD_SECTOR, 0);
	return err ? err : f->ops->write(f, bytes, VHD_SECTOR, at, 0);
}

int vhd_create(struct file *file, const struct image_create *c, char reason[IMAGE_REASON])
{
	bool fixed = c->kind && !strcasecmp(c->kind, "vhd-fixed");
	struct vhd_footer footer = { .size = c->size };
	int err = check(c, fixed, reason);

	if (err)
		return err;
	if (getrandom(footer.uuid, sizeof(footer.uuid), 0) != sizeof(footer.uuid))
		return -EIO;
	return fixed ? create_fixed(file, c, &footer) : create_blocks(file, c, &footer);
}

/* ---- resize ---- */

static int write_footer(struct image *img, uint64_t at)
{
	struct vhd *v = img->private;
	int err = img->file->ops->write(img->file, v->footer, VHD_SECTOR, at, 0);

	return err ? err : img->file->ops->flush(img->file);
}

/*
 * The new footer tells the old size until the old footer, which will be data of
 * the disk, is gone: a power cut leaves no moment without a right footer, and no
 * footer in the disk.
 */
static int grow_fixed(struct image *img, struct vhd *v, uint64_t size)
{
	uint64_t old = v->tail;
	/* The footer that open found may be in the page cache alone. */
	int err = img->file->ops->flush(img->file);

	if (err)
		return err;
	if (size <= old) { /* there was more room in front of the footer than needed */
		err = img->file->ops->zero(img->file, img->size, size - img->size, ZERO_PUNCH);
		if (!err)
			err = img->file->ops->flush(img->file);
		vhd_footer_set_size(v->footer, size);
		return err ? err : write_footer(img, old);
	}
	err = write_footer(img, size);
	if (err)
		return err;
	v->tail = size;
	/* Also what may lie between the disk's end and the footer. */
	err = img->file->ops->zero(img->file, img->size, old + VHD_SECTOR - img->size, ZERO_PUNCH);
	if (!err)
		err = img->file->ops->flush(img->file);
	if (err)
		return err;
	vhd_footer_set_size(v->footer, size);
	return write_footer(img, size);
}

static int copy_table(struct image *img, uint64_t from, uint64_t to, uint64_t len)
{
	uint8_t bytes[VHD_PAGE];
	int err = 0;

	for (uint64_t done = 0; done < len && !err; done += VHD_PAGE) {
		size_t n = len - done < VHD_PAGE ? len - done : VHD_PAGE;

		err = img->file->ops->read(img->file, bytes, n, from + done, 0);
		if (!err)
			err = img->file->ops->write(img->file, bytes, n, to + done, 0);
	}
	return err;
}

/* A longer table, somewhere else. The header names it with one sector's write. */
static int move_table(struct image *img, struct vhd *v, uint64_t blocks)
{
	uint64_t entries = blocks + blocks / 4, bytes = vhd_table_bytes(entries);
	uint64_t used = vhd_sectors(v->map->count * 4) < v->table_bytes
				? vhd_sectors(v->map->count * 4)
				: v->table_bytes;
	struct file *f = img->file;
	uint64_t at;
	int err;

	entries = bytes / 4;
	err = block_map_take(img, v->map, bytes, VHD_PAGE, &at);
	if (err)
		return err;
	err = write_table(f, at, 0, bytes);
	if (!err)
		err = copy_table(img, v->table_offset, at, used);
	if (!err)
		err = f->ops->flush(f);
	if (err) {
		block_map_give_back(img, v->map, at, bytes);
		return err;
	}
	vhd_header_set_table(v->header, at, entries);
	err = f->ops->write(f, v->header, VHD_SECTOR, v->header_offset, 0);
	if (!err)
		err = f->ops->flush(f);
	if (err)
		return err; /* either may be the table */
	block_map_give_back(img, v->map, v->table_offset, v->table_bytes);
	v->table_offset = at;
	v->table_bytes = bytes;
	v->table_entries = entries;
	return 0;
}

/* What lay behind the old end in its block was nobody's; now it is the disk's. */
static int clear_last_block(struct image *img, struct vhd *v, uint64_t old, uint64_t size)
{
	uint64_t end = (old + v->map->block_size - 1) & ~(uint64_t)(v->map->block_size - 1);

	if (end > size)
		end = size;
	if (end == old || BLOCK_KIND(v->map->entries[old / v->map->block_size]) < BLOCK_PRESENT)
		return 0;
	return block_map_zero(img, v->map, old, end - old, ZERO_KEEP);
}

/* Entries that no disk had yet may hold anything. */
static int clear_entries(struct image *img, struct vhd *v, uint64_t blocks)
{
	uint64_t used = v->map->count * 4, end = vhd_table_bytes(blocks);
	int err;

	if (end > v->table_bytes)
		end = v->table_bytes;
	if (used >= end)
		return 0;
	err = write_table(img->file, v->table_offset, used, end);
	return err ? err : img->file->ops->flush(img->file);
}

static int grow_blocks(struct image *img, struct vhd *v, uint64_t size)
{
	uint64_t blocks = (size + v->map->block_size - 1) / v->map->block_size, old = img->size;
	int err = block_map_start_writing(img, v->map);

	if (!err)
		err = clear_last_block(img, v, old, size);
	if (!err)
		err = block_map_flush(img, v->map);
	if (!err)
		err = clear_entries(img, v, blocks);
	if (!err && blocks > v->table_entries)
		err = move_table(img, v, blocks);
	if (!err)
		err = block_map_resize(v->map, blocks);
	if (err)
		return err;
	vhd_footer_set_size(v->footer, size);
	err = write_footer(img, v->tail);
	return err ? err : write_footer(img, 0);
}

int vhd_resize(struct image *img, uint64_t size)
{
	struct vhd *v = img->private;
	int err;

	if (size < img->size)
		return -EOPNOTSUPP;
	/* What the parent has there would show. */
	if (img->parent && size > img->size && img->parent->size > img->size)
		return -EOPNOTSUPP;
	if (size % VHD_SECTOR)
		return -EINVAL;
	if (size > VHD_SIZE_MAX)
		return -EFBIG;
	err = v->map ? grow_blocks(img, v, size) : grow_fixed(img, v, size);
	if (!err)
		img->size = size;
	else /* the footer in memory tells what the file tells */
		vhd_footer_set_size(v->footer, img->size);
	return err;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Reading what a VHD says of itself, and finding its parent. Nothing of it is trusted. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "parent.h"
#include "vhd.h"
#include "vhd_inner.h"

static int read_at(struct image *img, void *buf, size_t len, uint64_t off)
{
	return img->file->ops->read(img->file, buf, len, off, 0);
}

/*
 * A disk that was fixed has its guest's data up to where its footer was: what looks like a footer
 * there, at the begin or at the end of a file that was cut off, is the guest's word.
 */
static int check_fixed(const struct image *img, const struct vhd *v, char reason[IMAGE_REASON])
{
	if (!img->guest_bytes)
		return 0;
	if (v->tail < img->guest_bytes)
		return image_fail(
			reason, -EINVAL,
			"it was fixed, with %llu bytes, and its file ends within them: what is "
			"left is its guest's, and says nothing of the image; see Damage",
			(unsigned long long)img->guest_bytes);
	if (!v->has_tail)
		return image_fail(
			reason, -EINVAL,
			"its footer is damaged; it was fixed, so the file's begin is its guest's "
			"data, and no copy of the footer; see Damage");
	return 0;
}

/*
 * The footer at the end counts; where it is bad, the copy of a dynamic image, unless it is known that
 * it was fixed.
 */
static int read_footer(struct image *img, struct vhd *v, uint64_t file_size, struct vhd_footer *out,
		       char reason[IMAGE_REASON])
{
	uint8_t copy[VHD_SECTOR];
	char copy_reason[IMAGE_REASON];
	struct vhd_footer at_front;
	bool has_copy;
	int err;

	if (file_size < VHD_SECTOR)
		return image_fail(reason, -EINVAL, "it is too short to be a VHD");
	v->tail = file_size / VHD_SECTOR * VHD_SECTOR - VHD_SECTOR;
	err = read_at(img, v->footer, VHD_SECTOR, v->tail);
	if (!err)
		err = read_at(img, copy, VHD_SECTOR, 0);
	if (err)
		return image_fail(reason, err, "its VHD footer cannot be read");
	v->has_tail = !vhd_footer_read(v->footer, out, reason);
	err = check_fixed(img, v, reason);
	if (err)
		return err;
	has_copy = !vhd_footer_read(copy, &at_front, copy_reason) && at_front.type != VHD_FIXED;
	if (v->has_tail) {
		v->mend = out->type != VHD_FIXED && memcmp(copy, v->footer, VHD_SECTOR);
		return 0;
	}
	if (!has_copy)
		return -EINVAL;
	memcpy(v->footer, copy, VHD_SECTOR);
	*out = at_front;
	v->mend = true;
	return 0;
}

static int open_fixed(struct image *img, struct vhd *v, char reason[IMAGE_REASON])
{
	if (img->size > v->tail)
		return image_fail(reason, -EINVAL, "the file is shorter than its disk");
	img->kind = "vhd-fixed";
	return 0;
}

/* In front of `end`: the footer there moves, and would take what lies under it along. */
static int read_header(struct image *img, struct vhd *v, const struct vhd_footer *footer,
		       uint64_t end, struct vhd_header *h, char reason[IMAGE_REASON])
{
	uint64_t blocks;
	int err;

	v->header_offset = footer->header_offset;
	if (v->header_offset > end || end - v->header_offset < VHD_HEADER ||
	    v->header_offset % VHD_SECTOR)
		return image_fail(reason, -EINVAL, "its VHD header lies outside of the file");
	err = read_at(img, v->header, VHD_HEADER, v->header_offset);
	if (err)
		return image_fail(reason, err, "its VHD header cannot be read");
	err = vhd_header_read(v->header, h, reason);
	if (err)
		return err;
	v->table_offset = h->table_offset;
	v->table_entries = h->entries;
	v->table_bytes = vhd_table_bytes(h->entries);
	if (h->block_size < 4096 || h->block_size & (h->block_size - 1) ||
	    h->block_size > 256 << 20)
		return image_fail(reason, -EINVAL, "its block size (%u) is not one of VHD",
				  h->block_size);
	blocks = (footer->size + h->block_size - 1) / h->block_size;
	if (h->entries < blocks)
		return image_fail(reason, -EINVAL, "its block table is too short for its size");
	if (v->table_offset % VHD_SECTOR || v->table_offset > end ||
	    end - v->table_offset < v->table_bytes)
		return image_fail(reason, -EINVAL, "its block table lies outside of the file");
	return 0;
}

static bool is_inside(const struct block_map *m, uint64_t place, uint64_t end)
{
	return place - m->lead >= m->first && place <= end && end - place >= m->block_size;
}

static int read_table(struct image *img, struct vhd *v, uint64_t end)
{
	struct block_map *m = v->map;
	uint8_t bytes[VHD_PAGE];

	for (uint64_t b = 0; b < m->count; b += VHD_PAGE_ENTRIES) {
		uint64_t n = m->count - b < VHD_PAGE_ENTRIES ? m->count - b : VHD_PAGE_ENTRIES;
		int err = read_at(img, bytes, n * 4, v->table_offset + b * 4);

		if (err)
			return err;
		for (uint64_t i = 0; i < n; i++) {
			uint32_t sector = get_be32(bytes + i * 4);
			uint64_t place = (uint64_t)sector * VHD_SECTOR + m->lead;

			if (sector == VHD_ABSENT)
				continue;
			m->entries[b + i] = BLOCK_ENTRY(BLOCK_PARTIAL, place);
			if (!is_inside(m, place, end))
				v->outsiders = true;
		}
	}
	return 0;
}

/* ---- the parent ---- */

/* "./base.vhd" and "base.vhd" are the same. */
static int read_locator(struct image *img, const struct vhd_header *h, uint32_t code,
			uint64_t file_size, char name[4096])
{
	uint8_t *bytes = malloc(4096); /* chains are deep: not on the stack */
	int err = -ENOENT;

	for (size_t i = 0; bytes && err && i < VHD_LOCATORS; i++) {
		const struct vhd_locator *l = &h->locators[i];

		if (l->code != code || l->length > 4096 || l->offset > file_size ||
		    file_size - l->offset < l->length)
			continue;
		if (read_at(img, bytes, l->length, l->offset))
			continue;
		vhd_name_from_utf16(bytes, l->length, false, name, 4096);
		err = 0;
	}
	free(bytes);
	return err;
}

static int verify_parent(struct image *img, const struct image *parent, const void *said,
			 char reason[IMAGE_REASON])
{
	const struct vhd_header *h = said;
	struct file_stat st;

	if (parent->format != &vhd_format)
		return image_fail(reason, -EINVAL, "its parent is not a VHD");
	if (memcmp(parent->identity, h->parent_uuid, sizeof(h->parent_uuid)))
		return image_fail(reason, -EINVAL,
				  "the file with its parent's name is another disk");
	if (!parent->file->ops->stat(parent->file, &st) &&
	    vhd_time(st.mtime.tv_sec) > h->parent_time)
		image_fail(img->complaint, 0,
			   "its parent was written after it was made: they may not fit together");
	return 0;
}

static int open_parent(struct image *img, const struct vhd_header *h, uint64_t file_size,
		       char reason[IMAGE_REASON])
{
	char *relative = malloc(4096), *absolute = malloc(4096);
	struct parent_name names[2] = { 0 };
	int err = -ENOMEM;

	if (relative && absolute) {
		if (!read_locator(img, h, VHD_RELATIVE, file_size, relative))
			names[0].relative = relative;
		else if (h->parent_name[0])
			names[0].relative = h->parent_name;
		if (!read_locator(img, h, VHD_ABSOLUTE, file_size, absolute))
			names[1].absolute = absolute;
		err = parent_find(img, names, 2, verify_parent, h, reason);
	}
	free(relative);
	free(absolute);
	return err;
}

/* ---- open ---- */

#define PLACE_MAX ((uint64_t)UINT32_MAX * VHD_SECTOR)

static void take_ranges(struct vhd *v, const struct vhd_header *h)
{
	struct block_map *m = v->map;

	m->first = VHD_SECTOR; /* behind the footer's copy */
	block_map_taken(m, v->header_offset, v->header_offset + VHD_HEADER);
	block_map_taken(m, v->table_offset, v->table_offset + v->table_bytes);
	for (size_t i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator *l = &h->locators[i];

		/* Also behind the file's end, which will move; no block is behind PLACE_MAX. */
		if (l->code && l->space && l->offset < PLACE_MAX)
			block_map_taken(m, l->offset, l->offset + l->space);
	}
}

static int open_blocks(struct image *img, struct vhd *v, const struct vhd_footer *footer,
		       uint64_t file_size, char reason[IMAGE_REASON])
{
	struct vhd_header h = { 0 };
	uint64_t end = v->has_tail ? v->tail : file_size;
	int err = read_header(img, v, footer, end, &h, reason);

	if (!err && footer->type == VHD_DIFFERENCING)
		err = open_parent(img, &h, file_size, reason);
	if (err)
		return err;
	img->kind = footer->type == VHD_DIFFERENCING ? "vhd-differencing" : "vhd";
	img->block_size = h.block_size;
	err = block_map_new((img->size + h.block_size - 1) / h.block_size, h.block_size,
			    &vhd_tables, &v->map);
	if (err)
		return image_fail(reason, err, "it has more blocks than a sane image");
	v->map->lead = vhd_bitmap_size(h.block_size);
	take_ranges(v, &h);
	err = read_table(img, v, end);
	if (err)
		return image_fail(reason, err, "its block table cannot be read");
	err = block_map_ready(img, v->map, end);
	return err ? image_fail(reason, err, "its blocks cannot be looked at") : 0;
}

int vhd_open(struct image *img, char reason[IMAGE_REASON])
{
	struct vhd_footer footer = { 0 };
	struct file_stat st;
	struct vhd *v;
	int err = img->file->ops->stat(img->file, &st);

	if (err)
		return image_fail(reason, err, "its size cannot be read");
	v = img->private = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	err = read_footer(img, v, st.size, &footer, reason);
	if (err)
		return err;
	img->size = footer.size;
	img->sector_size = VHD_SECTOR;
	memcpy(img->identity, footer.uuid, sizeof(img->identity));
	if (footer.type == VHD_FIXED)
		return open_fixed(img, v, reason);
	return open_blocks(img, v, &footer, st.size, reason);
}

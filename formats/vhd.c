// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * VHD. A fixed one is raw data with a footer behind it; the others are a block
 * map. While a dynamic image is written its file is longer than needed and has
 * its footer at that end; `finish` pulls it in. There is a footer at the end at
 * every instant: a new one is durable before the old one may be overwritten.
 */
#include "vhd.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "block_map.h"
#include "vhd_inner.h"

static const char *const vhd_kinds[] = { "vhd", "vhd-fixed", NULL };
static const char *const vhd_endings[] = { "vhd", "avhd", NULL };

static struct vhd *vhd_of(const struct image *img)
{
	return img->private;
}

/* ---- tables of the block map ---- */

static uint32_t bitmap_size(const struct vhd *v)
{
	return v->map->lead;
}

static int drop_in_page(struct image *img, uint64_t page)
{
	struct vhd *v = vhd_of(img);
	uint64_t at = page * VHD_PAGE, block = page * VHD_PAGE_ENTRIES;
	size_t len = v->table_bytes - at < VHD_PAGE ? v->table_bytes - at : VHD_PAGE;
	uint8_t bytes[VHD_PAGE];
	bool found = false;
	int err = img->file->ops->read(img->file, bytes, len, v->table_offset + at, 0);

	for (size_t i = 0; !err && i < len / 4 && block + i < v->map->count; i++)
		/* One that notes know will be saved anyway, the same as this. */
		if (get_be32(bytes + i * 4) != VHD_ABSENT &&
		    BLOCK_KIND(atomic_load(&v->map->entries[block + i])) == BLOCK_ABSENT) {
			put_be32(bytes + i * 4, VHD_ABSENT);
			found = true;
		}
	if (!err && found)
		err = img->file->ops->write(img->file, bytes, len, v->table_offset + at, 0);
	return err;
}

/* Blocks that open did not believe: their places will be given to others. */
static int drop_outsiders(struct image *img)
{
	struct vhd *v = vhd_of(img);
	int err = 0;

	for (uint64_t page = 0; page * VHD_PAGE_ENTRIES < v->map->count && !err; page++)
		err = drop_in_page(img, page);
	if (!err)
		err = img->file->ops->flush(img->file);
	if (!err)
		v->outsiders = false;
	return err;
}

static int mend_footers(struct image *img)
{
	struct vhd *v = vhd_of(img);
	struct file *f = img->file;
	int err = 0;

	if (!v->has_tail) {
		v->tail = vhd_sectors(v->map->capacity);
		err = f->ops->write(f, v->footer, VHD_SECTOR, v->tail, 0);
	}
	if (!err)
		err = f->ops->write(f, v->footer, VHD_SECTOR, 0, 0);
	if (!err)
		err = f->ops->flush(f);
	if (!err) {
		v->mend = false;
		v->has_tail = true;
	}
	return err;
}

static int vhd_start_writing(struct image *img, bool resumed)
{
	struct vhd *v = vhd_of(img);
	/* Before the file gets longer: they would be inside then. */
	int err = v->outsiders ? drop_outsiders(img) : 0;

	return !err && v->mend ? mend_footers(img) : err;
}

/* A footer at the new end first; the old one may be overwritten once that is durable. */
static int move_tail(struct image *img, uint64_t to)
{
	struct vhd *v = vhd_of(img);
	struct file *f = img->file;
	int err;

	if (to / VHD_SECTOR > UINT32_MAX - 1)
		return -EFBIG;
	err = f->ops->write(f, v->footer, VHD_SECTOR, to, 0);
	return err ? err : f->ops->flush(f);
}

static int clear_old_tail(struct image *img)
{
	struct vhd *v = vhd_of(img);
	int err = 0;

	if (v->old_tail)
		err = img->file->ops->zero(img->file, v->old_tail, VHD_SECTOR, ZERO_PUNCH);
	if (!err)
		v->old_tail = 0;
	return err;
}

static int vhd_grow(struct image *img, uint64_t end)
{
	struct vhd *v = vhd_of(img);
	uint64_t to = vhd_sectors(end);
	int err = clear_old_tail(img); /* which may have failed before */

	if (err || to <= v->tail)
		return err;
	err = move_tail(img, to);
	if (err)
		return err;
	v->old_tail = v->tail;
	v->tail = to;
	return clear_old_tail(img);
}

static int vhd_prepare(struct image *img, uint64_t block, uint64_t place, bool full)
{
	static const uint8_t ones[VHD_SECTOR] = { [0 ... VHD_SECTOR - 1] = 0xff };
	static const uint8_t zeros[VHD_SECTOR];
	struct vhd *v = vhd_of(img);
	int err = 0;

	for (uint32_t at = 0; at < bitmap_size(v) && !err; at += VHD_SECTOR)
		err = img->file->ops->write(img->file, full ? ones : zeros, VHD_SECTOR,
					    place - bitmap_size(v) + at, 0);
	return err;
}

/* VHD counts from the highest bit, the map from the lowest. */
static void turn_bits(uint8_t *bits, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t b = bits[i];

		b = (b & 0xf0) >> 4 | (b & 0x0f) << 4;
		b = (b & 0xcc) >> 2 | (b & 0x33) << 2;
		bits[i] = (b & 0xaa) >> 1 | (b & 0x55) << 1;
	}
}

static size_t bitmap_used(const struct vhd *v)
{
	return (v->map->block_size / VHD_SECTOR + 7) / 8;
}

static int vhd_load_bits(struct image *img, uint64_t block, uint64_t place, uint8_t *bits)
{
	struct vhd *v = vhd_of(img);
	int err = img->file->ops->read(img->file, bits, bitmap_used(v), place - bitmap_size(v), 0);

	if (!err)
		turn_bits(bits, bitmap_used(v));
	return err;
}

static int vhd_save_bits(struct image *img, uint64_t block, uint64_t place, const uint8_t *bits)
{
	struct vhd *v = vhd_of(img);
	uint8_t *turned = calloc(1, bitmap_size(v));
	int err;

	if (!turned)
		return -ENOMEM;
	memcpy(turned, bits, bitmap_used(v));
	turn_bits(turned, bitmap_used(v));
	err = img->file->ops->write(img->file, turned, bitmap_size(v), place - bitmap_size(v), 0);
	free(turned);
	return err;
}

static int compare_changes(const void *a, const void *b)
{
	uint64_t x = ((const struct block_change *)a)->block;
	uint64_t y = ((const struct block_change *)b)->block;

	return (x > y) - (x < y);
}

static uint32_t table_entry(const struct vhd *v, block_entry e)
{
	if (BLOCK_KIND(e) != BLOCK_PRESENT && BLOCK_KIND(e) != BLOCK_PARTIAL)
		return VHD_ABSENT;
	return (BLOCK_PLACE(e) - bitmap_size(v)) / VHD_SECTOR;
}

/* What the file's table says otherwise stays: later changes are not durable yet. */
static int save_page(struct image *img, const struct block_change *changes, size_t count)
{
	struct vhd *v = vhd_of(img);
	uint64_t page = changes[0].block / VHD_PAGE_ENTRIES;
	uint64_t at = v->table_offset + page * VHD_PAGE;
	uint8_t bytes[VHD_PAGE];
	size_t len = v->table_bytes - page * VHD_PAGE;
	int err;

	if (len > VHD_PAGE)
		len = VHD_PAGE;
	err = img->file->ops->read(img->file, bytes, len, at, 0);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		put_be32(bytes + changes[i].block % VHD_PAGE_ENTRIES * 4,
			 table_entry(v, changes[i].entry));
	return img->file->ops->write(img->file, bytes, len, at, 0);
}

static int vhd_save(struct image *img, const struct block_change *changes, size_t count)
{
	struct block_change *sorted = malloc((count + 1) * sizeof(*sorted));
	int err = sorted ? 0 : -ENOMEM;

	if (!err && count) {
		memcpy(sorted, changes, count * sizeof(*sorted));
		qsort(sorted, count, sizeof(*sorted), compare_changes);
	}
	for (size_t i = 0, n; i < count && !err; i += n) {
		for (n = 1; i + n < count && sorted[i + n].block / VHD_PAGE_ENTRIES ==
						     sorted[i].block / VHD_PAGE_ENTRIES;
		     n++)
			;
		err = save_page(img, sorted + i, n);
	}
	free(sorted);
	return err ? err : img->file->ops->flush(img->file);
}

static int vhd_finish(struct image *img, uint64_t end)
{
	struct vhd *v = vhd_of(img);
	uint64_t to = vhd_sectors(end);
	int err;

	if (to >= v->tail)
		return 0;
	err = move_tail(img, to);
	if (!err)
		err = img->file->ops->resize(img->file, to + VHD_SECTOR);
	if (err)
		return err;
	v->tail = to;
	v->old_tail = 0;
	return img->file->ops->flush(img->file);
}

static void vhd_binding(struct image *img, uint8_t binding[32])
{
	/* Nothing in a VHD tells that it was written; its blocks will (block_load.c). */
	memcpy(binding, img->identity, 16);
}

const struct block_tables vhd_tables = {
	.start_writing = vhd_start_writing,
	.grow = vhd_grow,
	.prepare = vhd_prepare,
	.load_bits = vhd_load_bits,
	.save_bits = vhd_save_bits,
	.save = vhd_save,
	.finish = vhd_finish,
	.binding = vhd_binding,
};

/* ---- members ---- */

static void vhd_close(struct image *img)
{
	struct vhd *v = vhd_of(img);

	if (!v)
		return;
	block_map_free(v->map);
	free(v);
}

static int vhd_rest(struct image *img)
{
	struct vhd *v = vhd_of(img);

	if (v->map)
		return block_map_rest(img, v->map);
	return img->read_only ? 0 : img->file->ops->flush(img->file);
}

static int vhd_read(struct image *img, void *buf, size_t len, uint64_t off, unsigned io)
{
	struct vhd *v = vhd_of(img);

	return v->map ? block_map_read(img, v->map, buf, len, off, io)
		      : img->file->ops->read(img->file, buf, len, off, io);
}

static int vhd_write(struct image *img, const void *buf, size_t len, uint64_t off, unsigned io)
{
	struct vhd *v = vhd_of(img);

	return v->map ? block_map_write(img, v->map, buf, len, off, io)
		      : img->file->ops->write(img->file, buf, len, off, io);
}

static int vhd_flush(struct image *img)
{
	struct vhd *v = vhd_of(img);

	return v->map ? block_map_flush(img, v->map) : img->file->ops->flush(img->file);
}

static int vhd_zero(struct image *img, uint64_t off, uint64_t len, enum zero_mode mode)
{
	struct vhd *v = vhd_of(img);

	return v->map ? block_map_zero(img, v->map, off, len, mode)
		      : img->file->ops->zero(img->file, off, len, mode);
}

static int vhd_seek(struct image *img, uint64_t off, int whence, uint64_t *found)
{
	struct vhd *v = vhd_of(img);
	int err;

	if (v->map)
		return block_map_seek(img, v->map, off, whence, found);
	err = img->file->ops->seek(img->file, off, whence, found);
	/* The footer is data of the file, but not of the disk. */
	if (!err && *found >= img->size) {
		*found = img->size;
		err = whence == SEEK_DATA ? -ENXIO : 0;
	}
	return err;
}

static bool vhd_copies(struct image *img, char reason[IMAGE_REASON])
{
	if (vhd_of(img)->mend)
		image_fail(reason, 0, "a copy of its footer is damaged, or is not the same");
	return !vhd_of(img)->mend;
}

const struct image_format vhd_format = {
	.name = "vhd",
	.kinds = vhd_kinds,
	.endings = vhd_endings,
	.open = vhd_open,
	.close = vhd_close,
	.rest = vhd_rest,
	.read = vhd_read,
	.write = vhd_write,
	.flush = vhd_flush,
	.zero = vhd_zero,
	.seek = vhd_seek,
	.resize = vhd_resize,
	.create = vhd_create,
	.copies = vhd_copies,
};

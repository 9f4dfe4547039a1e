// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Growing a VHDX disk. Up to the last step the file says the old size; what is
 * changed before does not show in it.
 *
 *   the last block's rest and the table's unused entries are zeros
 *   [a longer table: copied -> D -> log entry: both region tables name it]
 *   -> D -> log entry: the size
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "vhdx_inner.h"

#define COPY_PIECE VHDX_TABLE

/* A log entry of these bytes. Under saving. */
struct change {
	uint64_t at;
	const uint8_t *bytes;
	size_t length;
};

static int log_changes(struct image *img, const struct change *changes, size_t count)
{
	struct vhdx *v = vhdx_of(img);
	int err = vhdx_settle(img);

	if (!err)
		err = vhdx_have_log(img);
	if (!err)
		err = vhdx_log_begin(&v->log);
	for (size_t i = 0; i < count && !err; i++)
		for (size_t done = 0; done < changes[i].length && !err;) {
			uint64_t at = changes[i].at + done;
			size_t n = VHDX_PAGE - at % VHDX_PAGE;
			uint8_t *page;

			if (n > changes[i].length - done)
				n = changes[i].length - done;
			err = vhdx_log_page(&v->log, at - at % VHDX_PAGE, &page);
			if (!err)
				memcpy(page + at % VHDX_PAGE, changes[i].bytes + done, n);
			done += n;
		}
	return err ? err : vhdx_log_commit(&v->log, v->flushed, v->flushed);
}

/* ---- a longer table ---- */

static bool is_zero(const uint8_t *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

/* To a place that reads as zeros. */
static int copy_table(struct image *img, uint64_t to)
{
	const struct vhdx_range *bat = &vhdx_of(img)->layout.bat;
	uint8_t *piece = malloc(COPY_PIECE);
	int err = piece ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < bat->length && !err; at += COPY_PIECE) {
		err = img->file->ops->read(img->file, piece, COPY_PIECE, bat->at + at, 0);
		if (!err && !is_zero(piece, COPY_PIECE))
			err = img->file->ops->write(img->file, piece, COPY_PIECE, to + at, 0);
	}
	free(piece);
	return err;
}

/* Both region tables say that the block table is there. */
static int name_table(struct image *img, const struct vhdx_range *bat)
{
	struct vhdx *v = vhdx_of(img);
	uint8_t *table = malloc(VHDX_TABLE);
	int err;

	if (!table)
		return -ENOMEM;
	v->overlay.file_size = v->overlay.end = atomic_load(&v->file_size);
	err = vhdx_load_regions(img->file, &v->overlay, table);
	for (uint32_t i = 0; !err && i < get_le32(table + 8); i++) {
		uint8_t *e = table + sizeof(struct vhdx_region_head) +
			     i * sizeof(struct vhdx_region_entry);

		if (memcmp(e, vhdx_guid_bat, 16))
			continue;
		put_le64(e + 16, bat->at);
		put_le32(e + 24, bat->length);
	}
	if (!err) {
		const struct change changes[] = {
			{ VHDX_REGIONS_AT(0), table, VHDX_TABLE },
			{ VHDX_REGIONS_AT(1), table, VHDX_TABLE },
		};

		vhdx_seal_regions(table);
		err = log_changes(img, changes, 2);
	}
	free(table);
	return err;
}

/* With room for as much again. */
static int move_table(struct image *img, uint64_t size)
{
	struct vhdx *v = vhdx_of(img);
	uint64_t room = size > VHDX_SIZE_MAX / 2 ? VHDX_SIZE_MAX : 2 * size;
	struct vhdx_range bat;
	int err;

	bat.length = vhdx_bat_count(&v->layout, vhdx_blocks(&v->layout, room)) * sizeof(uint64_t);
	bat.length = vhdx_round_up(bat.length, VHDX_MIB);
	err = block_map_take(img, v->map, bat.length, VHDX_MIB, &bat.at);
	if (err)
		return err;
	/* A flush brings nothing into the old table meanwhile. */
	pthread_mutex_lock(&v->saving);
	err = vhdx_log_begin(&v->log);
	if (!err)
		err = copy_table(img, bat.at);
	if (!err)
		err = name_table(img, &bat);
	if (!err)
		v->layout.bat = bat;
	pthread_mutex_unlock(&v->saving);
	return err;
}

/* Entries that no disk had yet may hold anything. */
static int clear_entries(struct image *img, uint64_t blocks)
{
	const struct vhdx_layout *l = &vhdx_of(img)->layout;
	uint64_t start = vhdx_bat_count(l, vhdx_blocks(l, l->size));
	uint64_t end = vhdx_bat_count(l, blocks);

	if (end * sizeof(uint64_t) > l->bat.length)
		end = l->bat.length / sizeof(uint64_t);
	if (start >= end)
		return 0;
	return img->file->ops->zero(img->file, l->bat.at + start * sizeof(uint64_t),
				    (end - start) * sizeof(uint64_t), ZERO_PUNCH);
}

/* ---- the disk ---- */

/* What lies in the last block behind the disk's end will be seen. */
static int clear_rest(struct image *img)
{
	struct vhdx *v = vhdx_of(img);
	uint64_t within = v->layout.size % v->layout.block_size;
	block_entry e;

	if (!within)
		return 0;
	e = atomic_load(&v->map->entries[v->layout.size / v->layout.block_size]);
	if (BLOCK_KIND(e) != BLOCK_PRESENT)
		return 0;
	return img->file->ops->zero(img->file, BLOCK_PLACE(e) + within,
				    v->layout.block_size - within, ZERO_PUNCH);
}

static int save_size(struct image *img, uint64_t size)
{
	struct vhdx *v = vhdx_of(img);
	struct change change = { .at = v->layout.size_at, .length = sizeof(size) };
	uint8_t bytes[sizeof(size)];
	int err;

	put_le64(bytes, size);
	change.bytes = bytes;
	pthread_mutex_lock(&v->saving);
	err = log_changes(img, &change, 1);
	pthread_mutex_unlock(&v->saving);
	if (!err) {
		v->layout.size = size;
		img->size = size;
	}
	return err;
}

/*
 * The new blocks of a fixed disk. The disk has its new size already: those that
 * get no place here get one when they are written.
 */
static void place_blocks(struct image *img, uint64_t from)
{
	struct vhdx *v = vhdx_of(img);
	static const char zeros[512];

	for (uint64_t b = from; b < v->map->count; b++)
		if (block_map_write(img, v->map, zeros, sizeof(zeros), b * v->layout.block_size, 0))
			return;
}

static int check_size(const struct vhdx_layout *l, uint64_t size)
{
	if (size < l->size || l->has_parent)
		return -EOPNOTSUPP;
	if (size > VHDX_SIZE_MAX)
		return -EFBIG;
	return size % l->sector_size ? -EINVAL : 0;
}

int vhdx_resize(struct image *img, uint64_t size)
{
	struct vhdx *v = vhdx_of(img);
	uint64_t old = v->map->count, blocks;
	int err = check_size(&v->layout, size);

	if (err || size == v->layout.size)
		return err;
	blocks = vhdx_blocks(&v->layout, size);
	err = block_map_start_writing(img, v->map);
	if (!err)
		err = block_map_flush(img, v->map);
	if (!err)
		err = clear_rest(img);
	if (!err)
		err = clear_entries(img, blocks);
	if (!err && vhdx_bat_count(&v->layout, blocks) * sizeof(uint64_t) > v->layout.bat.length)
		err = move_table(img, size);
	if (!err)
		err = block_map_resize(v->map, blocks);
	if (!err)
		err = save_size(img, size);
	if (!err && v->layout.fixed)
		place_blocks(img, old);
	return err;
}

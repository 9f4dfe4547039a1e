// SPDX-License-Identifier: GPL-2.0-or-later
/* What the block map needs of a VHDX file while it is used. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "vhdx_inner.h"

/* ---- places ---- */

static int vhdx_grow(struct image *img, uint64_t end)
{
	struct vhdx *v = vhdx_of(img);
	int err;

	end = vhdx_round_up(end, VHDX_MIB);
	if (end <= atomic_load(&v->file_size))
		return 0;
	err = img->file->ops->resize(img->file, end);
	if (!err)
		atomic_store(&v->file_size, end);
	return err;
}

/* Space for the page of the table, where a flush will write it. */
static int vhdx_prepare(struct image *img, uint64_t block, uint64_t place, bool full)
{
	struct vhdx *v = vhdx_of(img);
	uint64_t page = vhdx_bat_place(&v->layout, block) & ~(uint64_t)(VHDX_PAGE - 1);
	int err;

	if (page == v->prepared)
		return 0;
	err = img->file->ops->allocate(img->file, page, VHDX_PAGE, false);
	if (err && err != -EOPNOTSUPP)
		return err;
	v->prepared = page;
	return 0;
}

/* ---- bitmaps ---- */

/* A bit of the file is a sector of the disk, LSB first; the map wants one for 512 bytes. */
static int vhdx_load_bits(struct image *img, uint64_t block, uint64_t place, uint8_t *bits)
{
	struct vhdx *v = vhdx_of(img);
	const struct vhdx_layout *l = &v->layout;
	uint64_t chunk = vhdx_chunk(l);
	uint32_t bytes = l->block_size / l->sector_size / 8;
	uint64_t at = v->bitmaps[block / chunk] + block % chunk * bytes;
	uint8_t *own;
	int err;

	if (l->sector_size == 512)
		return vhdx_overlay_read(&v->overlay, img->file, bits, bytes, at);
	own = malloc(bytes);
	if (!own)
		return -ENOMEM;
	err = vhdx_overlay_read(&v->overlay, img->file, own, bytes, at);
	for (uint32_t i = 0; !err && i < bytes * 8; i++)
		bits[i] = own[i / 8] >> (i % 8) & 1 ? 0xff : 0;
	free(own);
	return err;
}

/* ---- save ---- */

static uint64_t table_entry(block_entry e)
{
	switch (BLOCK_KIND(e)) {
	case BLOCK_PRESENT:
		return BLOCK_PLACE(e) | VHDX_PRESENT;
	case BLOCK_ZERO:
		return VHDX_ZERO;
	default:
		return VHDX_ABSENT; /* PARTIAL ones are never written */
	}
}

static int by_block(const void *a, const void *b)
{
	const struct block_change *x = a, *y = b;

	return (x->block > y->block) - (x->block < y->block);
}

static int commit(struct image *img, uint64_t flushed)
{
	struct vhdx *v = vhdx_of(img);
	uint64_t size = atomic_load(&v->file_size);
	int err = vhdx_log_commit(&v->log, flushed, size > flushed ? size : flushed);

	if (!err && size > v->flushed)
		v->flushed = size;
	return err;
}

/*
 * Entries that no disk had yet may hold anything. What is logged of them comes back when the log is
 * replayed, also after a growing disk has cleared them, so it is zeros.
 */
static void clear_unused(const struct vhdx_layout *l, uint64_t at, uint8_t *page)
{
	uint64_t end = l->bat.at + vhdx_bat_count(l, vhdx_blocks(l, l->size)) * sizeof(uint64_t);

	if (end < at + VHDX_PAGE)
		memset(page + (end > at ? end - at : 0), 0, at + VHDX_PAGE - (end > at ? end : at));
}

/* Sorted, so that a page of the table is changed in one entry. */
static int save_sorted(struct image *img, const struct block_change *changes, size_t count)
{
	struct vhdx *v = vhdx_of(img);
	int err = vhdx_have_log(img) ?: vhdx_log_begin(&v->log);
	uint64_t flushed = v->flushed;

	for (size_t i = 0; i < count && !err; i++) {
		uint64_t at = vhdx_bat_place(&v->layout, changes[i].block);
		uint64_t first = at & ~(uint64_t)(VHDX_PAGE - 1);
		uint64_t end = BLOCK_PLACE(changes[i].entry) + v->layout.block_size;
		uint8_t *page;

		err = vhdx_log_page(&v->log, first, &page);
		if (err == -E2BIG) {
			err = commit(img, flushed);
			if (!err)
				err = vhdx_settle(img);
			/* It may not have come in place. */
			if (!err)
				err = vhdx_log_begin(&v->log);
			if (!err)
				err = vhdx_log_page(&v->log, first, &page);
		}
		if (err)
			break;
		clear_unused(&v->layout, first, page);
		put_le64(page + at % VHDX_PAGE, table_entry(changes[i].entry));
		/* Their data is durable, so the file is so long. */
		if (BLOCK_KIND(changes[i].entry) == BLOCK_PRESENT && end > flushed)
			flushed = end;
	}
	return err ? err : commit(img, flushed);
}

int vhdx_save(struct image *img, const struct block_change *changes, size_t count)
{
	struct vhdx *v = vhdx_of(img);
	struct block_change *sorted;
	int err;

	if (!count)
		return img->file->ops->flush(img->file);
	sorted = malloc(count * sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, changes, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), by_block);
	pthread_mutex_lock(&v->saving);
	err = save_sorted(img, sorted, count);
	pthread_mutex_unlock(&v->saving);
	free(sorted);
	return err;
}

/* ---- notes ---- */

static void vhdx_binding(struct image *img, uint8_t binding[32])
{
	const struct vhdx_layout *l = &vhdx_of(img)->layout;

	memcpy(binding, l->header.file_write, 16);
	put_le32(binding + 16, l->block_size);
	put_le32(binding + 20, l->sector_size);
	put_le64(binding + 24, l->header.log_at);
}

const struct block_tables vhdx_tables = {
	.start_writing = vhdx_start_writing,
	.grow = vhdx_grow,
	.prepare = vhdx_prepare,
	.load_bits = vhdx_load_bits,
	.save = vhdx_save,
	.finish = vhdx_finish,
	.binding = vhdx_binding,
};

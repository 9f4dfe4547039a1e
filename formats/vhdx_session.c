// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How changes come into a VHDX file.
 *
 * start_writing   [a log of others: header says who writes -> D -> replay -> D ->
 *                 header without a log -> D] -> our empty log -> D -> header that
 *                 names it -> D -> the other header -> D
 * save            log entry -> D -> block table in place
 * finish          D(block table) -> header without a log -> D -> the other header,
 *                 the log's space given back, the file cut -> D
 *
 * So a header never names a log in which nothing is whole. A finish that fails
 * may leave a file without a log, though whoever writes may go on: the next entry begins a new one.
 *
 * Children know the disk by the identifier that start_writing makes anew because the disk may change
 * from then on. What is only brought in order reads as before, and keeps it.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhdx_inner.h"

int vhdx_settle(struct image *img)
{
	struct vhdx *v = vhdx_of(img);
	uint64_t size = atomic_load(&v->file_size);
	int err = img->file->ops->flush(img->file);

	if (!err)
		v->flushed = size;
	return err;
}

/* ---- headers ---- */

/* The header is this from now on, durably. The copy that counted till then stays. */
static int put_header(struct image *img, struct vhdx_header *h)
{
	struct vhdx *v = vhdx_of(img);
	struct vhdx_layout *l = &v->layout;
	int err;

	h->sequence = l->header.sequence + 1;
	err = vhdx_write_header(img->file, !l->slot, h);
	if (!err)
		err = vhdx_settle(img);
	if (!err) {
		l->slot = !l->slot;
		l->header = *h;
	}
	return err;
}

/*
 * No sequence is higher than the last one: the other copy gets one that is low,
 * and counts as soon as the copy with the last one is written over.
 */
static int restart_sequence(struct image *img)
{
	struct vhdx_layout *l = &vhdx_of(img)->layout;
	struct vhdx_header h = l->header;
	int err;

	if (l->header.sequence < UINT64_MAX - 8)
		return 0;
	h.sequence = 1;
	err = vhdx_write_header(img->file, !l->slot, &h);
	if (!err)
		err = vhdx_settle(img);
	h.sequence = 2;
	if (!err)
		err = vhdx_write_header(img->file, l->slot, &h);
	if (!err)
		err = vhdx_settle(img);
	if (!err)
		l->header.sequence = h.sequence;
	return err;
}

/* ---- start ---- */

/*
 * What others left in the log comes into the file. Then no header names it any
 * more: with its newest entry written over, an older one would be taken for it.
 */
static int replay(struct image *img, struct vhdx_header *h)
{
	struct vhdx *v = vhdx_of(img);
	int err = put_header(img, h);

	if (!err)
		err = vhdx_overlay_apply(&v->overlay, img->file);
	/* After a start that failed the log is ours: the file may have been cut since it was opened. */
	if (!err && v->overlay.end > v->overlay.file_size)
		atomic_store(&v->file_size, v->overlay.end);
	if (!err)
		err = vhdx_settle(img);
	memset(h->log, 0, sizeof(h->log));
	if (!err)
		err = put_header(img, h);
	if (!err) {
		vhdx_overlay_clear(&v->overlay);
		v->overlay.file_size = v->overlay.end;
	}
	return err;
}

static int start_log(struct image *img, struct vhdx_header *h)
{
	struct vhdx *v = vhdx_of(img);
	uint64_t size = atomic_load(&v->file_size);
	int err = 0;

	if (size < v->needed) {
		err = img->file->ops->resize(img->file, v->needed);
		if (!err)
			atomic_store(&v->file_size, size = v->needed);
	}
	if (!err)
		atomic_store(&v->map->readable, UINT64_MAX);
	/* A flush shall not find the disk full. */
	if (!err)
		err = img->file->ops->allocate(img->file, h->log_at, VHDX_LOG_USED, false);
	if (err && err != -EOPNOTSUPP)
		return err;
	err = vhdx_log_start(&v->log, img->file, h->log_at, size);
	if (err)
		return err;
	memcpy(h->log, v->log.guid, sizeof(h->log));
	err = put_header(img, h);
	if (!err)
		err = put_header(img, h);
	if (!err)
		v->log_ended = false;
	return err;
}

int vhdx_have_log(struct image *img)
{
	struct vhdx_header h = vhdx_of(img)->layout.header;
	int err;

	if (!vhdx_of(img)->log_ended)
		return 0;
	/* A header may name the old one still, of which nothing may be written over then. */
	memset(h.log, 0, sizeof(h.log));
	err = put_header(img, &h);
	return err ? err : start_log(img, &h);
}

/* Both copies say what the one says that counts: others may read the one only that is bad. */
static int mend_regions(struct image *img)
{
	struct vhdx *v = vhdx_of(img);
	uint8_t *good = malloc(2 * VHDX_TABLE);
	bool mended = false;
	int err = good ? 0 : -ENOMEM;

	if (!err)
		err = vhdx_load_regions(img->file, &v->overlay, good);
	for (int copy = 0; copy < 2 && !err; copy++) {
		err = img->file->ops->read(img->file, good + VHDX_TABLE, VHDX_TABLE,
					   VHDX_REGIONS_AT(copy), 0);
		if (err || !memcmp(good, good + VHDX_TABLE, VHDX_TABLE))
			continue;
		err = img->file->ops->write(img->file, good, VHDX_TABLE, VHDX_REGIONS_AT(copy), 0);
		mended = true;
	}
	free(good);
	return !err && mended ? vhdx_settle(img) : err;
}

static int start(struct image *img, bool resumed)
{
	struct vhdx *v = vhdx_of(img);
	struct vhdx_header h = v->layout.header;
	int err = restart_sequence(img);

	if (!err && !resumed)
		err = vhdx_guid_make(h.file_write);
	if (!err && memcmp(h.log, vhdx_guid_none, sizeof(h.log)))
		err = replay(img, &h);
	if (!err)
		err = mend_regions(img);
	if (!err && !resumed && !img->mend)
		err = vhdx_guid_make(h.data_write);
	if (!err)
		err = start_log(img, &h);
	if (err)
		return err;
	memcpy(img->identity, h.data_write, sizeof(img->identity));
	v->prepared = 0;
	return 0;
}

/* Those of one page of the table, from `block` on. */
static int drop_page(struct image *img, uint64_t block, uint64_t *next)
{
	struct vhdx *v = vhdx_of(img);
	uint64_t at = vhdx_bat_place(&v->layout, block), page[VHDX_PAGE / 8];
	struct block_change changes[VHDX_PAGE / 8];
	uint64_t start = at & ~(uint64_t)(VHDX_PAGE - 1);
	size_t count = 0;
	int err = img->file->ops->read(img->file, page, sizeof(page), start, 0);

	for (; block < v->map->count && at < start + VHDX_PAGE;
	     at = vhdx_bat_place(&v->layout, ++block)) {
		unsigned state = VHDX_ENTRY_STATE(le64toh(page[(at - start) / 8]));
		block_entry e = atomic_load(&v->map->entries[block]);

		/* One that notes know will be saved anyway, the same as this. */
		if (state == VHDX_PRESENT && BLOCK_KIND(e) == BLOCK_ABSENT)
			changes[count++] = (struct block_change){ .block = block };
	}
	*next = block;
	if (!err && count)
		err = vhdx_save(img, changes, count);
	return !err && count ? vhdx_settle(img) : err;
}

/* Blocks that open did not believe: their places will be given to others. */
static int drop_outsiders(struct image *img)
{
	struct vhdx *v = vhdx_of(img);
	int err = 0;

	for (uint64_t block = 0; block < v->map->count && !err;)
		err = drop_page(img, block, &block);
	if (!err)
		v->outsiders = false;
	return err;
}

int vhdx_start_writing(struct image *img, bool resumed)
{
	struct vhdx *v = vhdx_of(img);
	int err;

	pthread_mutex_lock(&v->saving);
	err = start(img, resumed);
	pthread_mutex_unlock(&v->saving);
	return !err && v->outsiders ? drop_outsiders(img) : err;
}

/* ---- finish ---- */

static uint64_t end_of(const struct vhdx_range *r)
{
	return r->at + r->length;
}

/* So long the file has to be, whatever blocks there are. */
static uint64_t tables_end(const struct vhdx_layout *l)
{
	uint64_t end = l->header.log_at + l->header.log_length;

	if (end_of(&l->bat) > end)
		end = end_of(&l->bat);
	if (end_of(&l->metadata) > end)
		end = end_of(&l->metadata);
	for (size_t i = 0; i < l->others_count; i++)
		if (end_of(&l->others[i]) > end)
			end = end_of(&l->others[i]);
	return end;
}

static int cut_file(struct image *img, uint64_t end)
{
	struct vhdx *v = vhdx_of(img);
	uint64_t least = tables_end(&v->layout);
	int err;

	end = vhdx_round_up(end > least ? end : least, VHDX_MIB);
	if (end >= atomic_load(&v->file_size))
		return 0;
	err = img->file->ops->resize(img->file, end);
	if (!err)
		atomic_store(&v->file_size, end);
	return err;
}

static int finish(struct image *img, uint64_t end)
{
	struct vhdx *v = vhdx_of(img);
	struct vhdx_header h = v->layout.header;
	int err = vhdx_log_begin(&v->log);

	if (!err)
		err = vhdx_settle(img);
	memset(h.log, 0, sizeof(h.log));
	if (!err) {
		v->log_ended = true; /* one that fails may be there all the same */
		err = put_header(img, &h);
	}
	if (!err) /* only space, which a fixed one keeps: it is as good with it */
		img->file->ops->zero(img->file, h.log_at, VHDX_LOG_USED,
				     v->layout.fixed ? ZERO_KEEP : ZERO_PUNCH);
	if (!err)
		err = cut_file(img, end);
	if (!err)
		err = put_header(img, &h);
	if (!err) {
		v->needed = 0;
		vhdx_log_end(&v->log);
	}
	return err;
}

int vhdx_finish(struct image *img, uint64_t end)
{
	struct vhdx *v = vhdx_of(img);
	int err;

	pthread_mutex_lock(&v->saving);
	err = finish(img, end);
	pthread_mutex_unlock(&v->saving);
	return err;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Opening a VHDX file: each step verifies what the next one relies on. */
#include "vhdx.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhdx_inner.h"

const char *const vhdx_kinds[] = { "vhdx", "vhdx-fixed", "vhdx-differencing", NULL };
static const char *const vhdx_endings[] = { "vhdx", "avhdx", NULL };

/* Of the block table, at a time; entries. */
#define BAT_PIECE ((size_t)128 << 10)
/* Changes by the log of what is no table: looked at one by one. */
#define LOGGED_ELSEWHERE 64

static void complain(struct image *img, const char *what)
{
	if (!img->complaint[0])
		image_fail(img->complaint, 0, "%s", what);
}

/* ---- the block table ---- */

/* An entry of the file as one of the map. */
static block_entry take_entry(struct image *img, uint64_t e)
{
	struct vhdx *v = vhdx_of(img);
	uint64_t place = VHDX_ENTRY_PLACE(e);

	switch (VHDX_ENTRY_STATE(e)) {
	case VHDX_ABSENT:
		return BLOCK_ENTRY(BLOCK_ABSENT, 0);
	case VHDX_UNDEFINED:
	case VHDX_ZERO:
	case VHDX_UNMAPPED:
		return BLOCK_ENTRY(BLOCK_ZERO, 0);
	case VHDX_PRESENT:
		if (place < VHDX_MIB || place > v->overlay.end ||
		    v->overlay.end - place < v->layout.block_size)
			v->outsiders = true;
		return BLOCK_ENTRY(BLOCK_PRESENT, place);
	case VHDX_PARTIAL:
		if (!v->layout.has_parent)
			break;
		return BLOCK_ENTRY(BLOCK_PARTIAL, place);
	}
	/* A write would make it look whole. */
	img->read_only = true;
	complain(img, "a block is in a state that does not exist: it reads as zeros");
	return BLOCK_ENTRY(BLOCK_ABSENT, 0);
}

static void take_bitmap(struct image *img, uint64_t chunk, uint64_t e)
{
	struct vhdx *v = vhdx_of(img);
	uint64_t place = VHDX_ENTRY_PLACE(e);

	if (!v->layout.has_parent || VHDX_ENTRY_STATE(e) != VHDX_PRESENT)
		return;
	if (place < VHDX_MIB || place > v->overlay.end || v->overlay.end - place < VHDX_MIB)
		complain(img, "a bitmap lies outside of the file: its blocks are the parent's");
	else
		v->bitmaps[chunk] = place;
}

static void take_piece(struct image *img, const uint64_t *piece, uint64_t index, size_t count)
{
	struct vhdx *v = vhdx_of(img);
	uint64_t chunk = vhdx_chunk(&v->layout);

	for (size_t i = 0; i < count; i++, index++) {
		uint64_t e = le64toh(piece[i]), block = index - index / (chunk + 1);
		block_entry entry;

		if (!e)
			continue;
		if (index % (chunk + 1) == chunk) {
			take_bitmap(img, index / (chunk + 1), e);
			continue;
		}
		entry = block < v->map->count ? take_entry(img, e) : 0;
		if (entry)
			v->map->entries[block] = entry;
	}
}

static int read_bat(struct image *img, char reason[IMAGE_REASON])
{
	struct vhdx *v = vhdx_of(img);
	uint64_t count = vhdx_bat_count(&v->layout, v->map->count);
	uint64_t *piece = malloc(BAT_PIECE * sizeof(*piece));
	int err = piece ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < count && !err; at += BAT_PIECE) {
		size_t n = count - at < BAT_PIECE ? count - at : BAT_PIECE;

		err = vhdx_overlay_read(&v->overlay, img->file, piece, n * sizeof(*piece),
					v->layout.bat.at + at * sizeof(*piece));
		if (err)
			image_fail(reason, err, "its block table cannot be read");
		else
			take_piece(img, piece, at, n);
	}
	free(piece);
	return err;
}

/* A block of which only some is there needs its chunk's bitmap. */
static void check_bitmaps(struct image *img)
{
	struct vhdx *v = vhdx_of(img);

	for (uint64_t b = 0; b < v->map->count; b++)
		if (BLOCK_KIND(v->map->entries[b]) == BLOCK_PARTIAL &&
		    !v->bitmaps[b / vhdx_chunk(&v->layout)]) {
			v->map->entries[b] = BLOCK_ENTRY(BLOCK_ABSENT, 0);
			complain(img, "a block has no bitmap: it reads as the parent does");
		}
}

/* ---- what the log writes ---- */

static bool touches(const struct vhdx_patch *p, uint64_t at, uint64_t length)
{
	return p->at < at + length && at < p->at + p->length;
}

static bool is_inside(const struct vhdx_patch *p, const struct vhdx_range *r)
{
	return p->at >= r->at && p->at + p->length <= r->at + r->length;
}

/*
 * Reads of the disk go past the overlay: the log may not change what is the
 * disk's own. Nobody's does.
 */
static int check_log(struct image *img, char reason[IMAGE_REASON])
{
	struct vhdx *v = vhdx_of(img);
	const struct vhdx_patch *elsewhere[LOGGED_ELSEWHERE];
	size_t n = 0;

	for (size_t i = 0; i < v->overlay.count; i++) {
		const struct vhdx_patch *p = &v->overlay.patches[i];

		if (p->at + p->length <= VHDX_MIB || is_inside(p, &v->layout.bat) ||
		    is_inside(p, &v->layout.metadata) || !p->length)
			continue;
		if (n == LOGGED_ELSEWHERE)
			return image_fail(reason, -EOPNOTSUPP,
					  "its log holds more than changes of its tables");
		elsewhere[n++] = p;
	}
	for (uint64_t b = 0; n && b < v->map->count; b++) {
		block_entry e = v->map->entries[b];

		if (BLOCK_KIND(e) != BLOCK_PRESENT && BLOCK_KIND(e) != BLOCK_PARTIAL)
			continue;
		for (size_t i = 0; i < n; i++)
			if (touches(elsewhere[i], BLOCK_PLACE(e), v->layout.block_size))
				return image_fail(reason, -EOPNOTSUPP,
						  "its log holds data of the disk");
	}
	return 0;
}

/* ---- open ---- */

static int read_tables(struct image *img, char reason[IMAGE_REASON])
{
	struct vhdx *v = vhdx_of(img);
	struct vhdx_layout *l = &v->layout;
	struct file_stat st;
	bool lost;
	int err = img->file->ops->stat(img->file, &st);

	if (err)
		return image_fail(reason, err, "its size cannot be read");
	atomic_store(&v->file_size, st.size);
	v->overlay.file_size = v->overlay.end = st.size;
	err = vhdx_read_headers(img->file, st.size, l, reason);
	if (!err)
		err = vhdx_log_replay(img->file, &l->header, &v->overlay, &lost, reason);
	if (err)
		return err;
	if (lost)
		complain(img, "its log should hold changes and holds none that is whole");
	err = vhdx_read_regions(img->file, &v->overlay, l, reason);
	if (!err)
		err = vhdx_read_metadata(img->file, &v->overlay, l, reason);
	if (!err && l->too_many_others) {
		img->read_only = true;
		complain(img, "it has many regions that are not known: it is only read");
	}
	return err;
}

static int make_map(struct image *img)
{
	struct vhdx *v = vhdx_of(img);
	const struct vhdx_layout *l = &v->layout;
	uint64_t blocks = vhdx_blocks(l, l->size), chunk = vhdx_chunk(l);
	int err = block_map_new(blocks, l->block_size, &vhdx_tables, &v->map);

	if (err)
		return err;
	v->map->align = VHDX_MIB;
	v->map->first = VHDX_MIB;
	v->map->keeps_blocks = l->fixed;
	block_map_taken(v->map, l->header.log_at, l->header.log_at + l->header.log_length);
	block_map_taken(v->map, l->bat.at, l->bat.at + l->bat.length);
	block_map_taken(v->map, l->metadata.at, l->metadata.at + l->metadata.length);
	for (size_t i = 0; i < l->others_count; i++)
		block_map_taken(v->map, l->others[i].at, l->others[i].at + l->others[i].length);
	if (l->has_parent) {
		v->bitmaps = calloc((blocks + chunk - 1) / chunk, sizeof(*v->bitmaps));
		err = v->bitmaps ? 0 : -ENOMEM;
	}
	return err;
}

/*
 * Where blocks may end. Some programs let a file end with the disk, in the
 * middle of the last block.
 */
static uint64_t blocks_end(const struct vhdx *v)
{
	uint64_t last = v->map->count - 1, end = v->overlay.end;
	uint64_t rest = v->layout.size - last * v->layout.block_size;
	block_entry e = v->map->entries[last];
	uint64_t place = BLOCK_PLACE(e);

	if (BLOCK_KIND(e) == BLOCK_PRESENT && place <= end && end - place >= rest &&
	    end - place < v->layout.block_size)
		return place + v->layout.block_size;
	return end;
}

static int load_blocks(struct image *img, char reason[IMAGE_REASON])
{
	struct vhdx *v = vhdx_of(img);
	int err = make_map(img);

	if (!err)
		err = read_bat(img, reason);
	if (!err && v->layout.has_parent)
		check_bitmaps(img);
	if (!err && v->overlay.count)
		err = check_log(img, reason);
	if (err)
		return err;
	v->needed = blocks_end(v);
	if (v->needed > v->overlay.file_size)
		v->map->readable = v->overlay.file_size;
	return block_map_ready(img, v->map, v->needed);
}

static void describe(struct image *img)
{
	const struct vhdx_layout *l = &vhdx_of(img)->layout;

	img->kind = vhdx_kinds[l->has_parent ? 2 : l->fixed ? 1 : 0];
	img->size = l->size;
	img->sector_size = l->sector_size;
	img->block_size = l->block_size;
	memcpy(img->identity, l->header.data_write, sizeof(img->identity));
	img->unclean = memcmp(l->header.log, vhdx_guid_none, sizeof(l->header.log));
}

static int vhdx_open(struct image *img, char reason[IMAGE_REASON])
{
	struct vhdx *v = calloc(1, sizeof(*v));
	int err;

	if (!v)
		return -ENOMEM;
	pthread_mutex_init(&v->saving, NULL);
	img->private = v;
	err = read_tables(img, reason);
	if (err)
		return err;
	describe(img);
	if (v->layout.has_parent) {
		img->read_only = true;
		img->read_only_because = "a VHDX with a parent is only read by this version";
		err = vhdx_open_parent(img, reason);
	}
	if (!err)
		err = load_blocks(img, reason);
	if (err && !reason[0])
		image_fail(reason, err,
			   err == -ENOMEM ? "there is no memory for its block table"
					  : "its block table cannot be used");
	return err;
}

static void vhdx_close(struct image *img)
{
	struct vhdx *v = vhdx_of(img);

	if (!v)
		return;
	block_map_free(v->map);
	vhdx_overlay_clear(&v->overlay);
	vhdx_log_end(&v->log);
	free(v->bitmaps);
	pthread_mutex_destroy(&v->saving);
	free(v);
	img->private = NULL;
}

/* ---- requests ---- */

static int vhdx_read(struct image *img, void *buf, size_t len, uint64_t off, unsigned io)
{
	return block_map_read(img, vhdx_of(img)->map, buf, len, off, io);
}

static int vhdx_write(struct image *img, const void *buf, size_t len, uint64_t off, unsigned io)
{
	return block_map_write(img, vhdx_of(img)->map, buf, len, off, io);
}

static int vhdx_flush(struct image *img)
{
	return block_map_flush(img, vhdx_of(img)->map);
}

static int vhdx_zero(struct image *img, uint64_t off, uint64_t len, enum zero_mode mode)
{
	return block_map_zero(img, vhdx_of(img)->map, off, len, mode);
}

static int vhdx_seek(struct image *img, uint64_t off, int whence, uint64_t *found)
{
	return block_map_seek(img, vhdx_of(img)->map, off, whence, found);
}

static int vhdx_rest(struct image *img)
{
	return block_map_rest(img, vhdx_of(img)->map);
}

static bool vhdx_copies(struct image *img, char reason[IMAGE_REASON])
{
	return vhdx_copies_are_whole(img->file, &vhdx_of(img)->overlay, reason);
}

const struct image_format vhdx_format = {
	.name = "vhdx",
	.kinds = vhdx_kinds,
	.endings = vhdx_endings,
	.open = vhdx_open,
	.close = vhdx_close,
	.rest = vhdx_rest,
	.read = vhdx_read,
	.write = vhdx_write,
	.flush = vhdx_flush,
	.zero = vhdx_zero,
	.seek = vhdx_seek,
	.resize = vhdx_resize,
	.create = vhdx_create,
	.copies = vhdx_copies,
};

// SPDX-License-Identifier: GPL-2.0-or-later
/* Requests for a disk that is blocks. One that meets only PRESENT blocks takes no lock. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block_inner.h"

/* Bits of a PARTIAL block are looked at for so many sectors at a time. */
#define PIECE_SECTORS 2048

static block_entry entry_of(const struct block_map *m, uint64_t block)
{
	return atomic_load_explicit(&m->entries[block], memory_order_acquire);
}

/*
 * The range locks of requests are as fine as a page of the disk. Where that is
 * not a page of the file too, all requests go through the page cache: a cached
 * and a direct write of one page at the same time could lose one of them.
 */
static unsigned io_at(uint64_t place, unsigned io)
{
	return place & 4095 ? io & ~(unsigned)IO_DIRECT : io;
}

/* The part of [off, off + len) that lies in one block. */
static size_t piece(const struct block_map *m, uint64_t off, uint64_t len, uint64_t *block,
		    uint32_t *within)
{
	uint64_t left;

	*block = off >> m->block_shift;
	*within = off & (m->block_size - 1);
	left = m->block_size - *within;
	return len < left ? len : left;
}

/* ---- read ---- */

static int read_parent(struct image *img, void *buf, size_t len, uint64_t off, unsigned io)
{
	struct image *parent = img->parent;
	uint64_t size = parent ? (uint64_t)parent->size : 0;
	size_t there = off >= size ? 0 : len < size - off ? len : size - off;

	memset((char *)buf + there, 0, len - there);
	return there ? parent->format->read(parent, buf, there, off, io) : 0;
}

/*
 * The bits of `count` sectors from `first`, moved so that the first of them is
 * bit 0. false: the block is PRESENT by now.
 */
static int copy_bits(struct image *img, struct block_map *m, uint64_t block, uint32_t first,
		     uint32_t count, uint8_t *bits)
{
	struct bitmap *b;
	int err;

	pthread_mutex_lock(&m->lock);
	if (BLOCK_KIND(entry_of(m, block)) == BLOCK_PARTIAL)
		err = bitmap_get(img, m, block, &b);
	else
		err = -EALREADY;
	if (!err) {
		memset(bits, 0, (count + 7) / 8);
		for (uint32_t i = 0; i < count; i++)
			if (b->bits[(first + i) / 8] >> ((first + i) % 8) & 1)
				bits[i / 8] |= 1 << (i % 8);
	}
	pthread_mutex_unlock(&m->lock);
	return err;
}

/* At a place of the file. */
static int read_place(struct image *img, struct block_map *m, void *buf, size_t len, uint64_t at,
		      unsigned io)
{
	uint64_t end = atomic_load_explicit(&m->readable, memory_order_relaxed);
	size_t there = at >= end ? 0 : len < end - at ? len : end - at;

	memset((char *)buf + there, 0, len - there);
	return there ? img->file->ops->read(img->file, buf, there, at, io) : 0;
}

/* One run of sectors that are all there or all not. */
static int read_run(struct image *img, struct block_map *m, uint64_t place, bool there, void *buf,
		    size_t len, uint64_t off, unsigned io)
{
	if (!there)
		return read_parent(img, buf, len, off, io);
	return read_place(img, m, buf, len, place + (off & (m->block_size - 1)), io);
}

static int read_partial(struct image *img, struct block_map *m, void *buf, size_t len, uint64_t off,
			unsigned io)
{
	uint64_t block = off >> m->block_shift, place = BLOCK_PLACE(entry_of(m, block));
	uint8_t bits[PIECE_SECTORS / 8];
	int err = 0;

	io = io_at(place, io);
	while (len && !err) {
		uint32_t first = (off & (m->block_size - 1)) / 512, skip = off % 512;
		uint64_t count = (skip + len + 511) / 512;
		size_t done = 0, all;

		if (count > PIECE_SECTORS)
			count = PIECE_SECTORS;
		all = count * 512 - skip < len ? count * 512 - skip : len;
		err = copy_bits(img, m, block, first, count, bits);
		if (err == -EALREADY) {
			err = read_run(img, m, place, true, buf, all, off, io);
			done = all;
		}
		while (!err && done < all) {
			uint32_t at = (skip + done) / 512;
			bool there;
			size_t run = (size_t)bitmap_run(bits, at, count, &there) * 512;

			run -= (skip + done) % 512;
			if (run > all - done)
				run = all - done;
			err = read_run(img, m, place, there, (char *)buf + done, run, off + done,
				       io);
			done += run;
		}
		buf = (char *)buf + all;
		off += all;
		len -= all;
	}
	return err;
}

int block_map_read(struct image *img, struct block_map *m, void *buf, size_t len, uint64_t off,
		   unsigned io)
{
	int err = 0;

	while (len && !err) {
		uint64_t block;
		uint32_t within;
		size_t n = piece(m, off, len, &block, &within);
		block_entry e = entry_of(m, block);

		switch (BLOCK_KIND(e)) {
		case BLOCK_PRESENT:
			err = read_place(img, m, buf, n, BLOCK_PLACE(e) + within,
					 io_at(BLOCK_PLACE(e), io));
			break;
		case BLOCK_PARTIAL:
			err = read_partial(img, m, buf, n, off, io);
			break;
		case BLOCK_ABSENT:
			err = read_parent(img, buf, n, off, io);
			break;
		case BLOCK_ZERO:
			memset(buf, 0, n);
			break;
		}
		buf = (char *)buf + n;
		off += n;
		len -= n;
	}
	return err;
}

/* ---- write ---- */

/*
 * A block without a bitmap, or one that shall have nothing from a parent, is
 * there as a whole. Not one that is about to be written as a whole: the map
 * would say so before the data is there.
 */
static bool will_be_full(const struct image *img, const struct block_map *m, block_entry e)
{
	return !m->tables->load_bits || !img->parent || BLOCK_KIND(e) == BLOCK_ZERO;
}

static int try_allocate(struct image *img, struct block_map *m, uint64_t block, block_entry *e,
			bool *settle)
{
	int err;

	pthread_mutex_lock(&m->lock);
	*e = entry_of(m, block);
	err = block_allocate(img, m, block, will_be_full(img, m, *e), e, settle);
	pthread_mutex_unlock(&m->lock);
	return err;
}

/* What a flush frees may be another's at once; then it goes on as long as more is given up. */
static int allocate(struct image *img, struct block_map *m, uint64_t block, block_entry *e,
		    bool *settle)
{
	int err = try_allocate(img, m, block, e, settle);

	while (err == -EAGAIN) {
		err = block_map_flush(img, m);
		if (!err)
			err = try_allocate(img, m, block, e, settle);
	}
	return err;
}

static int set_bits(struct image *img, struct block_map *m, uint64_t off, size_t len, bool *settle)
{
	uint64_t block = off >> m->block_shift;
	int err = 0;

	pthread_mutex_lock(&m->lock);
	if (BLOCK_KIND(entry_of(m, block)) == BLOCK_PARTIAL)
		err = bitmap_set(img, m, block, (off & (m->block_size - 1)) / 512, len / 512, true,
				 settle);
	pthread_mutex_unlock(&m->lock);
	return err;
}

/* Whole sectors of a PARTIAL block: data first, then the bits. */
static int write_sectors(struct image *img, struct block_map *m, block_entry e, const void *buf,
			 size_t len, uint64_t off, unsigned io, bool *settle)
{
	uint64_t place = BLOCK_PLACE(e);
	int err = img->file->ops->write(img->file, buf, len, place + (off & (m->block_size - 1)),
					io_at(place, io));

	return err ? err : set_bits(img, m, off, len, settle);
}

/* A bitmap knows whole sectors only: the rest of the first and the last come from what is read. */
static int write_unaligned(struct image *img, struct block_map *m, block_entry e, const void *buf,
			   size_t len, uint64_t off, bool *settle)
{
	uint64_t start = off & ~(uint64_t)511, end = (off + len + 511) & ~(uint64_t)511;
	char *whole = malloc(end - start);
	int err;

	if (!whole)
		return -ENOMEM;
	err = read_partial(img, m, whole, end - start, start, 0);
	if (!err) {
		memcpy(whole + (off - start), buf, len);
		err = write_sectors(img, m, e, whole, end - start, start, 0, settle);
	}
	free(whole);
	return err;
}

static int write_piece(struct image *img, struct block_map *m, const void *buf, size_t len,
		       uint64_t off, unsigned io, bool *settle)
{
	uint64_t block = off >> m->block_shift;
	block_entry e = entry_of(m, block);
	int err = 0;

	if (BLOCK_KIND(e) == BLOCK_ABSENT || BLOCK_KIND(e) == BLOCK_ZERO)
		err = allocate(img, m, block, &e, settle);
	if (err)
		return err;
	if (BLOCK_KIND(e) == BLOCK_PRESENT)
		return img->file->ops->write(img->file, buf, len,
					     BLOCK_PLACE(e) + (off & (m->block_size - 1)),
					     io_at(BLOCK_PLACE(e), io));
	if ((off | len) % 512)
		return write_unaligned(img, m, e, buf, len, off, settle);
	return write_sectors(img, m, e, buf, len, off, io, settle);
}

int block_map_write(struct image *img, struct block_map *m, const void *buf, size_t len,
		    uint64_t off, unsigned io)
{
	int err = block_map_start_writing(img, m);
	bool settle = false;

	while (len && !err) {
		uint64_t block;
		uint32_t within;
		size_t n = piece(m, off, len, &block, &within);

		err = write_piece(img, m, buf, n, off, io, &settle);
		buf = (const char *)buf + n;
		off += n;
		len -= n;
	}
	return !err && settle ? block_map_flush(img, m) : err;
}

/* ---- zero ---- */

static int write_zeros(struct image *img, struct block_map *m, size_t len, uint64_t off,
		       bool *settle)
{
	static const char zeros[512];

	return len ? write_piece(img, m, zeros, len, off, 0, settle) : 0;
}

/* In a block that asks a parent, zeros have to be there. */
static int zero_over_parent(struct image *img, struct block_map *m, uint64_t off, size_t len,
			    enum zero_mode mode, bool *settle)
{
	uint64_t start = (off + 511) & ~(uint64_t)511, end = (off + len) & ~(uint64_t)511;
	uint64_t block = off >> m->block_shift;
	block_entry e;
	int err;

	if (end <= start) { /* within one sector, or two halves */
		size_t head = start - off < len ? start - off : len;

		err = write_zeros(img, m, head, off, settle);
		return err ? err : write_zeros(img, m, len - head, off + head, settle);
	}
	err = write_zeros(img, m, start - off, off, settle);
	if (!err)
		err = write_zeros(img, m, off + len - end, end, settle);
	if (!err)
		err = allocate(img, m, block, &e, settle);
	if (!err)
		err = img->file->ops->zero(img->file,
					   BLOCK_PLACE(e) + (start & (m->block_size - 1)),
					   end - start, mode);
	return err ? err : set_bits(img, m, start, end - start, settle);
}

static int discard(struct image *img, struct block_map *m, uint64_t block, bool *settle)
{
	int err;

	pthread_mutex_lock(&m->lock);
	err = block_discard(img, m, block, settle);
	pthread_mutex_unlock(&m->lock);
	return err;
}

static int zero_piece(struct image *img, struct block_map *m, uint64_t off, size_t len,
		      enum zero_mode mode, bool *settle)
{
	uint64_t block = off >> m->block_shift;
	uint32_t within = off & (m->block_size - 1);
	block_entry e = entry_of(m, block);
	bool whole = !within && (len == m->block_size || off + len == img->size);

	if (BLOCK_KIND(e) == BLOCK_ZERO || (BLOCK_KIND(e) == BLOCK_ABSENT && !img->parent))
		return 0;
	if (img->parent && BLOCK_KIND(e) != BLOCK_PRESENT)
		return zero_over_parent(img, m, off, len, mode, settle);
	if (whole && mode == ZERO_PUNCH && !m->keeps_blocks && !img->parent)
		return discard(img, m, block, settle);
	/* Sectors that are not there read as zeros already. */
	return img->file->ops->zero(img->file, BLOCK_PLACE(e) + within, len, mode);
}

int block_map_zero(struct image *img, struct block_map *m, uint64_t off, uint64_t len,
		   enum zero_mode mode)
{
	int err = block_map_start_writing(img, m);
	bool settle = false;

	while (len && !err) {
		uint64_t block;
		uint32_t within;
		size_t n = piece(m, off, len, &block, &within);

		err = zero_piece(img, m, off, n, mode, &settle);
		off += n;
		len -= n;
	}
	return !err && settle ? block_map_flush(img, m) : err;
}

/* ---- seek ---- */

/* Where, from `off` on, data or a hole begins, in one block; its end if it does not. */
static int seek_in_file(struct image *img, struct block_map *m, uint64_t place, uint64_t off,
			uint64_t end, int whence, uint64_t *found)
{
	uint64_t start = off & ~(uint64_t)(m->block_size - 1), at;
	int err = img->file->ops->seek(img->file, place + (off - start), whence, &at);

	if (err == -ENXIO)
		at = UINT64_MAX;
	else if (err)
		return err;
	*found = at - place < end - start ? start + (at - place) : end;
	return 0;
}

static int seek_in_parent(struct image *img, uint64_t off, uint64_t end, int whence,
			  uint64_t *found)
{
	struct image *parent = img->parent;
	int err;

	if (!parent || off >= parent->size) {
		*found = whence == SEEK_HOLE ? off : end;
		return 0;
	}
	err = parent->format->seek(parent, off, whence, found);
	if (err == -ENXIO)
		*found = end;
	else if (err)
		return err;
	if (*found > end)
		*found = end;
	return 0;
}

int block_map_seek(struct image *img, struct block_map *m, uint64_t off, int whence,
		   uint64_t *found)
{
	uint64_t size = img->size;

	if (off >= size)
		return -ENXIO;
	while (off < size) {
		uint64_t block, end;
		uint32_t within;
		block_entry e;
		int err = 0;

		end = off + piece(m, off, size - off, &block, &within);
		e = entry_of(m, block);
		*found = whence == SEEK_DATA ? off : end; /* PARTIAL counts as data */
		if (BLOCK_KIND(e) == BLOCK_PRESENT)
			err = seek_in_file(img, m, BLOCK_PLACE(e), off, end, whence, found);
		else if (BLOCK_KIND(e) == BLOCK_ABSENT)
			err = seek_in_parent(img, off, end, whence, found);
		else if (BLOCK_KIND(e) == BLOCK_ZERO)
			*found = whence == SEEK_DATA ? end : off;
		if (err)
			return err;
		if (*found < end)
			return 0;
		off = end;
	}
	if (whence == SEEK_DATA)
		return -ENXIO;
	*found = size;
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Filling a clone, from its beginning to its end. A fill is no change: what it
 * brings is what the block was for every reader, of any moment. So it goes into
 * the image past the log, of blocks that have no pieces, with their range locked:
 *
 *   into the image -> D(image) -> the place before which all are filled, D
 *
 * A block that has pieces is the settler's, which marks it. The place waits for that:
 * a moment may still need what the block was before, and the image does not have it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "history_inner.h"

/* At most so much with its range locked. */
#define CHUNK (1u << 20)
/* The same where nothing is copied. */
#define SHARED_CHUNK (4u << 20)
#define PAGE_BYTES 4096u

struct filling {
	struct history *h;
	char *buf;
	bool written;  /* something is in the image since the last flush */
	bool awaiting; /* a block has pieces */
	bool share;    /* rather than to copy */
};

/*
 * The block is to be brought into the image now. Its pieces are asked for first: none can
 * come meanwhile, and those that leave have marked it.
 */
static bool wants(struct filling *f, uint64_t block)
{
	bool pieces = has_pieces(f->h, block), lacks = origin_lacks(f->h, block);

	f->awaiting |= pieces && lacks;
	return lacks && !pieces;
}

static bool is_zero(const char *p, size_t len)
{
	return !len || (!*p && !memcmp(p, p + 1, len - 1));
}

/* What is zeros is so in the image already. */
static int write_blocks(struct filling *f, uint64_t off, size_t len)
{
	struct image *img = f->h->disk->image;
	size_t bs = f->h->block_size;
	int err = 0;

	for (size_t at = 0, n; at < len && !err; at += n) {
		n = len - at < bs ? len - at : bs;
		if (is_zero(f->buf + at, n))
			continue;
		while (at + n < len &&
		       !is_zero(f->buf + at + n, len - at - n < bs ? len - at - n : bs))
			n += len - at - n < bs ? len - at - n : bs;
		f->written = true;
		err = img->format->write(img, f->buf + at, n, off + at, 0);
	}
	return err;
}

static int fill_blocks(struct filling *f, uint64_t first, uint64_t end)
{
	uint64_t size = f->h->disk->image->size, off = first * f->h->block_size;
	uint64_t stop = end * f->h->block_size;
	int err;

	if (stop > size)
		stop = size;
	if (off >= stop)
		return 0;
	atomic_fetch_add(&f->h->copied, stop - off);
	err = origin_read(f->h, f->buf, stop - off, off);
	return err ? err : write_blocks(f, off, stop - off);
}

static int fill_chunk(struct filling *f, uint64_t off, uint64_t len)
{
	struct disk *d = f->h->disk;
	uint64_t bs = f->h->block_size, end = (off + len) / bs;
	struct range r;
	int err = 0;

	range_lock_write(&d->ranges, &r, off, len);
	atomic_fetch_add(&d->begun, 1);
	if (atomic_load(&d->lost) || atomic_load(&d->broken_flush))
		err = -EIO;
	for (uint64_t b = off / bs, next; b < end && !err; b = next) {
		for (next = b; next < end && wants(f, next); next++)
			;
		if (next > b)
			err = fill_blocks(f, b, next);
		else
			next++;
	}
	range_unlock(&d->ranges, &r);
	return err;
}

/* -EOPNOTSUPP: it has to be copied. */
static int share_chunk(struct filling *f, uint64_t off, uint64_t len)
{
	struct disk *d = f->h->disk;
	uint64_t bs = f->h->block_size;
	struct range r;
	int err = 0;

	range_lock_write(&d->ranges, &r, off, len);
	atomic_fetch_add(&d->begun, 1);
	for (uint64_t b = off / bs; b * bs < off + len && !err; b++)
		err = wants(f, b) ? 0 : -EOPNOTSUPP;
	if (!err &&
	    (off + len > d->image->size || atomic_load(&d->lost) || atomic_load(&d->broken_flush)))
		err = -EOPNOTSUPP;
	if (!err)
		err = origin_share(f->h, off, len);
	f->written |= !err;
	range_unlock(&d->ranges, &r);
	return err;
}

/* *n is how much; the last part of a page cannot be shared. */
static int bring_chunk(struct filling *f, uint64_t pos, uint64_t room, uint64_t limit, uint64_t *n)
{
	int err = -EOPNOTSUPP;

	*n = room < SHARED_CHUNK ? room : SHARED_CHUNK;
	if (*n > limit - pos)
		*n = (limit - pos) / PAGE_BYTES * PAGE_BYTES;
	if (f->share && *n && *n % f->h->block_size == 0)
		err = share_chunk(f, pos, *n);
	if (err != -EOPNOTSUPP)
		return err;
	*n = room < CHUNK ? room : CHUNK;
	return fill_chunk(f, pos, *n);
}

/* Up to where there is something to be filled, and from there on; *pos is where it ended. */
static int fill_from(struct filling *f, uint64_t *pos, uint64_t limit, uint64_t room)
{
	uint64_t bs = f->h->block_size, data;
	int err = 0;

	for (uint64_t n; room && *pos < limit && !err; room -= n) {
		n = room;
		err = origin_seek(f->h, *pos, SEEK_DATA, &data);
		if (err == -ENXIO || (!err && data >= limit)) {
			*pos = limit;
			return 0;
		}
		if (err)
			break;
		*pos = data - data % bs;
		err = bring_chunk(f, *pos, room, limit, &n);
		if (!err)
			*pos += n;
	}
	return err;
}

/* What was filled up to there is so for good. */
static int conclude(struct filling *f, uint64_t pos)
{
	struct history *h = f->h;
	int err = f->written ? history_flush_image(h) : 0;

	if (!err && f->awaiting)
		err = history_settle(h);
	return err ? err : origin_advance(h, (pos + h->block_size - 1) / h->block_size);
}

int history_fill_step(struct history *h, uint64_t bytes, bool share)
{
	struct filling f = { .h = h, .share = share };
	uint64_t size, pos = origin_filled(h, &size) * h->block_size, limit = h->disk->image->size;
	uint64_t room = (bytes + h->block_size - 1) / h->block_size * h->block_size;
	int err;

	if (limit > size)
		limit = size;
	if (pos >= limit)
		return -ENOENT;
	f.buf = aligned_alloc(4096, CHUNK);
	err = f.buf ? fill_from(&f, &pos, limit, room) : -ENOMEM;
	if (!err)
		err = conclude(&f, pos);
	free(f.buf);
	return err;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* What the disk holds, and held: the image, with pieces of the log over it, and versions. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "history_inner.h"

/* Pieces over one request that need no memory of their own. */
#define FEW 64

struct overlay_piece {
	uint64_t place, off; /* of the disk */
	uint32_t at, length;
	bool zero;
};

struct overlay {
	struct ongoing_read reading;
	struct overlay_piece *pieces, few[FEW];
	size_t count, room;
};

static int by_place(const void *a, const void *b)
{
	const struct overlay_piece *x = a, *y = b;

	return x->place < y->place ? -1 : x->place > y->place;
}

static int overlay_put(struct overlay *o, const struct overlay_piece *piece)
{
	if (o->count == o->room) {
		struct overlay_piece *more = malloc(2 * o->room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		memcpy(more, o->pieces, o->count * sizeof(*more));
		if (o->pieces != o->few)
			free(o->pieces);
		o->pieces = more;
		o->room *= 2;
	}
	o->pieces[o->count++] = *piece;
	return 0;
}

/* The part of a piece that lies in [off, end). */
static int put_part(struct overlay *o, const struct history *h, const struct piece *p, uint64_t off,
		    uint64_t end)
{
	uint64_t start = p->block->number * h->block_size + p->from, stop = start + p->length;
	uint64_t first = start > off ? start : off, last = stop < end ? stop : end;
	struct overlay_piece part = { p->place, first, p->at + (uint32_t)(first - start),
				      (uint32_t)(last - first), p->zero };

	return first < last ? overlay_put(o, &part) : 0;
}

/*
 * The pieces of generations <= g that the image may lack, in the order in which
 * they go over it. What is taken stays in the log until overlay_drop.
 */
static int overlay_take(struct history *h, uint64_t g, uint64_t off, uint64_t len,
			struct overlay *o)
{
	uint64_t end = off + len;
	int err = 0;

	o->pieces = o->few;
	o->count = 0;
	o->room = FEW;
	pthread_mutex_lock(&h->lock);
	o->reading.begin = h->pending.first ? h->pending.first->place : UINT64_MAX;
	o->reading.next = h->reads;
	o->reading.link = &h->reads;
	if (h->reads)
		h->reads->link = &o->reading.next;
	h->reads = &o->reading;
	for (uint64_t n = off / h->block_size; !err && n * h->block_size < end; n++) {
		struct pending_block *b = pending_find(&h->pending, n);

		for (const struct piece *p = b ? b->first : NULL; p && !err; p = p->block_next)
			if (!p->settled && p->generation <= g)
				err = put_part(o, h, p, off, end);
	}
	pthread_mutex_unlock(&h->lock);
	qsort(o->pieces, o->count, sizeof(*o->pieces), by_place);
	return err;
}

static void overlay_drop(struct history *h, struct overlay *o)
{
	pthread_mutex_lock(&h->lock);
	*o->reading.link = o->reading.next;
	if (o->reading.next)
		o->reading.next->link = o->reading.link;
	pthread_mutex_unlock(&h->lock);
	if (o->pieces != o->few)
		free(o->pieces);
}

/* One piece over all of it: the image need not be asked. */
static bool overlay_covers(const struct overlay *o, uint64_t off, uint64_t len)
{
	const struct overlay_piece *last = o->count ? &o->pieces[o->count - 1] : NULL;

	return last && last->off <= off && last->off + last->length >= off + len;
}

static int overlay_apply(struct history *h, const struct overlay *o, char *buf, uint64_t off)
{
	int err = 0;

	for (size_t i = 0; i < o->count && !err; i++) {
		const struct overlay_piece *p = &o->pieces[i];

		if (p->zero)
			memset(buf + (p->off - off), 0, p->length);
		else
			err = segments_read(h->log, p->place, p->at, buf + (p->off - off),
					    p->length);
	}
	return err;
}

/* The range of one request in blocks: where block i of it begins and ends in the buffer. */
struct cut {
	uint64_t off, end, first, block_size;
};

static uint64_t cut_start(const struct cut *c, size_t i)
{
	uint64_t start = (c->first + i) * c->block_size;

	return start > c->off ? start : c->off;
}

static uint64_t cut_end(const struct cut *c, size_t i)
{
	uint64_t end = (c->first + i + 1) * c->block_size;

	return end < c->end ? end : c->end;
}

int read_version(struct history *h, const struct version *v, char *buf, size_t len, uint64_t off)
{
	uint64_t from = off - v->block * h->block_size, have = v->place ? v->length : 0;

	have = from < have ? have - from : 0;
	if (have > len)
		have = len;
	memset(buf + have, 0, len - have);
	return have ? segments_read(h->store, v->place, from, buf, have) : 0;
}

/* Runs of blocks that are still to be filled from elsewhere, over what the image gave. */
static int put_over(struct history *h, const struct cut *c, const struct unfilled *u, size_t count,
		    char *buf)
{
	int err = 0;

	for (size_t i = 0, j; i < count && !err; i = j) {
		j = i + 1;
		if (u[i].from == FROM_IMAGE)
			continue;
		while (u[i].from == FROM_ORIGIN && j < count && u[j].from == FROM_ORIGIN)
			j++;
		err = unfilled_read(h, &u[i], buf + (cut_start(c, i) - c->off),
				    cut_end(c, j - 1) - cut_start(c, i), cut_start(c, i));
	}
	return err;
}

static int read_image(struct history *h, char *buf, size_t len, uint64_t off, unsigned io)
{
	struct image *img = h->disk->image;
	uint64_t size = img->size, inside = off >= size ? 0 : len < size - off ? len : size - off;

	memset(buf + inside, 0, len - inside);
	return inside ? img->format->read(img, buf, inside, off, io) : 0;
}

/*
 * What the image has, or will have. What it lacks is asked before: a block that is
 * filled meanwhile is the same where it comes from.
 */
static int read_filled(struct history *h, uint64_t g, char *buf, size_t len, uint64_t off,
		       unsigned io)
{
	struct cut c = { off, off + len, off / h->block_size, h->block_size };
	size_t count = (off + len - 1) / h->block_size - c.first + 1;
	struct unfilled *u;
	int err;

	if (!h->origin && (g != UINT64_MAX || !h->restore.before))
		return read_image(h, buf, len, off, io);
	u = malloc(count * sizeof(*u));
	err = u ? unfilled_find(h, g, c.first, count, u) : -ENOMEM;
	if (!err)
		err = read_image(h, buf, len, off, io);
	if (!err)
		err = put_over(h, &c, u, count, buf);
	free(u);
	return err;
}

/* As of generation g where nothing was saved since; the range may pass the disk's end. */
static int read_range(struct history *h, uint64_t g, char *buf, size_t len, uint64_t off,
		      unsigned io)
{
	struct overlay o;
	int err = overlay_take(h, g, off, len, &o);

	if (!err && !overlay_covers(&o, off, len))
		err = read_filled(h, g, buf, len, off, io);
	if (!err)
		err = overlay_apply(h, &o, buf, off);
	overlay_drop(h, &o);
	return err;
}

int history_read(struct history *h, void *buf, size_t len, uint64_t off, unsigned io)
{
	struct image *img = h->disk->image;

	if (!h->pending.pieces && !h->restore.before && !h->origin)
		return img->format->read(img, buf, len, off, io);
	return read_range(h, UINT64_MAX, buf, len, off, io);
}

/* ---- the past ---- */

static int read_blocks(struct history *h, uint64_t g, const struct cut *c, size_t count,
		       struct version *v, char *buf)
{
	struct catalogue *catalogue = h->disk->tandem->catalogue;
	int err = versions_find(catalogue, h->disk->number, c->first, count, g, v);
	bool asked = false;

	/* What has no version is read now, whole runs of it ... */
	for (size_t i = 0, j; i < count && !err; i = j) {
		for (j = i; j < count && !v[j].last; j++)
			;
		if (j == i) {
			j++;
			continue;
		}
		asked = true;
		err = read_range(h, g, buf + (cut_start(c, i) - c->off),
				 cut_end(c, j - 1) - cut_start(c, i), cut_start(c, i), 0);
	}
	/* ... and if it has one by now, what was read may be newer. */
	if (!err && asked)
		err = versions_find(catalogue, h->disk->number, c->first, count, g, v);
	for (size_t i = 0; i < count && !err; i++)
		if (v[i].last)
			err = read_version(h, &v[i], buf + (cut_start(c, i) - c->off),
					   cut_end(c, i) - cut_start(c, i), cut_start(c, i));
	return err;
}

/*
 * While it was read it may have been dropped, and then nothing of it was saved any more. If it
 * is kept still, everything was.
 */
static int unless_dropped(struct history *h, uint64_t g, int err)
{
	struct moment_record m;

	return !history_moment(h, g, &m) && m.generation == g ? err : -ESTALE;
}

int history_read_at(struct history *h, uint64_t g, void *buf, size_t len, uint64_t off)
{
	struct cut c = { off, off + len, off / h->block_size, h->block_size };
	size_t count = len ? (off + len - 1) / h->block_size - c.first + 1 : 0;
	struct version *v = malloc((count + 1) * sizeof(*v));
	struct moment_record m;
	int err = v ? history_moment_kept(h, g, &m) : -ENOMEM;

	if (!err) {
		pthread_rwlock_rdlock(&h->resizing);
		err = unless_dropped(h, g, read_blocks(h, g, &c, count, v, buf));
		pthread_rwlock_unlock(&h->resizing);
	}
	/* The disk may have been longer since. */
	if (!err && off + len > m.size) {
		uint64_t inside = off < m.size ? m.size - off : 0;

		memset((char *)buf + inside, 0, len - inside);
	}
	free(v);
	return err;
}

/* ---- holes ---- */

/* The pieces of a block are data, also those that are zeros: that is true enough. */
static uint64_t next_piece(struct history *h, uint64_t off)
{
	uint64_t found;

	if (!h->pending.pieces)
		return UINT64_MAX;
	pthread_mutex_lock(&h->lock);
	found = pending_next(&h->pending, off / h->block_size);
	pthread_mutex_unlock(&h->lock);
	if (found == UINT64_MAX)
		return found;
	return found * h->block_size > off ? found * h->block_size : off;
}

/* The block at off has a version of that moment, which is not zeros. */
static int has_version(struct history *h, uint64_t g, uint64_t off, bool *has)
{
	struct version v = { 0 };
	int err = g ? versions_find(h->disk->tandem->catalogue, h->disk->number,
				    off / h->block_size, 1, g, &v)
		    : 0;

	*has = v.last && v.place;
	return err;
}

/* The next version of that moment from off on that is not zeros. */
static int next_version(struct history *h, uint64_t g, uint64_t off, uint64_t *found)
{
	struct version v[64];
	const struct version *after = NULL;
	uint64_t done = UINT64_MAX;
	size_t count;

	*found = UINT64_MAX;
	if (!g)
		return 0;
	for (;;) {
		int err = versions_of_blocks(h->disk->tandem->catalogue, h->disk->number,
					     off / h->block_size, after, v, 64, &count);

		if (err || !count)
			return err;
		for (size_t i = 0; i < count; i++) {
			/* The first of each block with last >= g is that of the moment. */
			if (v[i].last < g || v[i].block == done)
				continue;
			done = v[i].block;
			if (!v[i].place)
				continue;
			*found = v[i].block * h->block_size > off ? v[i].block * h->block_size
								  : off;
			return 0;
		}
		v[0] = v[count - 1];
		after = &v[0];
	}
}

/* Also where it is filled by now: that is true enough, too. */
static int next_of_origin(struct history *h, uint64_t off, uint64_t *found)
{
	int err = h->origin ? origin_seek(h, off, SEEK_DATA, found) : -ENXIO;

	if (err == -ENXIO)
		*found = UINT64_MAX;
	return err == -ENXIO ? 0 : err;
}

/* g 0: the present. Where data may be: in the image, in the log, in a version, in the source. */
static int next_data(struct history *h, uint64_t g, uint64_t off, uint64_t size, uint64_t *found)
{
	struct image *img = h->disk->image;
	uint64_t piece = next_piece(h, off), version = UINT64_MAX, origin = UINT64_MAX,
		 image = UINT64_MAX;
	bool here = piece == off;
	int err = here ? 0 : has_version(h, g, off, &here);

	/* Then the image, which may be looked through to its end, need not be. */
	if (!err && here) {
		*found = off;
		return off < size ? 0 : -ENXIO;
	}
	/* Versions behind it, because they are saved before the image has something else. */
	if (!err)
		err = off < img->size ? img->format->seek(img, off, SEEK_DATA, &image) : -ENXIO;
	if (err == -ENXIO) {
		image = UINT64_MAX;
		err = 0;
	}
	if (!err)
		err = next_version(h, g, off, &version) ?: next_of_origin(h, off, &origin);
	if (err)
		return err;
	*found = image < piece ? image : piece;
	if (version < *found)
		*found = version;
	if (origin < *found)
		*found = origin;
	return *found < size ? 0 : -ENXIO;
}

/* Behind that there may be data in one of both, so that this is asked again there. */
static int leave_data(struct history *h, uint64_t off, uint64_t *hole)
{
	struct image *img = h->disk->image;
	uint64_t origin = off;
	int err = 0;

	*hole = off;
	if (off < img->size)
		err = img->format->seek(img, off, SEEK_HOLE, hole);
	if ((!err || err == -ENXIO) && h->origin)
		err = origin_seek(h, off, SEEK_HOLE, &origin);
	if (err && err != -ENXIO)
		return err;
	if (origin > *hole)
		*hole = origin;
	if (*hole <= off)
		*hole = (off / h->block_size + 1) * h->block_size;
	return 0;
}

/* Past the block in which there is data, until one begins without. */
static int next_hole(struct history *h, uint64_t g, uint64_t off, uint64_t size, uint64_t *found)
{
	while (off < size) {
		uint64_t data;
		int err = next_data(h, g, off, size, &data);

		if (err && err != -ENXIO)
			return err;
		if (err || data > off)
			break;
		err = leave_data(h, off, &off);
		if (err)
			return err;
	}
	*found = off < size ? off : size;
	return 0;
}

static int seek(struct history *h, uint64_t g, uint64_t size, uint64_t off, int whence,
		uint64_t *found)
{
	if (off >= size)
		return -ENXIO;
	return whence == SEEK_DATA ? next_data(h, g, off, size, found)
				   : next_hole(h, g, off, size, found);
}

int history_seek(struct history *h, uint64_t off, int whence, uint64_t *found)
{
	struct image *img = h->disk->image;

	if (!h->pending.pieces && !h->restore.before && !h->origin)
		return img->format->seek(img, off, whence, found);
	return seek(h, h->restore.from, img->size, off, whence, found);
}

int history_seek_at(struct history *h, uint64_t g, uint64_t off, int whence, uint64_t *found)
{
	struct moment_record m;
	int err = history_moment_kept(h, g, &m);

	if (err)
		return err;
	pthread_rwlock_rdlock(&h->resizing);
	err = unless_dropped(h, g, seek(h, g, m.size, off, whence, found));
	pthread_rwlock_unlock(&h->resizing);
	return err;
}

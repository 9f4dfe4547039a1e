// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where a clone comes from: see history_set_origin in history.h. A block lacks
 * its content until it is marked as filled; the marks are a place, before which all
 * are, and a bit for each block behind it that a guest's write has filled.
 *
 * The pointer is set before anybody uses the disk, and taken away with the whole range,
 * settling, resizing and lock: whoever has one of these may go on with it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "history_inner.h"
#include "origins.h"
#include "snapshots.h"

struct origin {
	struct disk *source; /* a reference */
	uint64_t generation, size;
	bool open;               /* the source is; under the clone's opening */
	_Atomic uint64_t filled; /* blocks before this one; changes under history.lock */
	uint8_t **pages;         /* under history.lock */
	size_t room;
	uint64_t marked; /* of the bits in them, those that are behind `filled` */
};

static struct origin *origin_of(struct history *h)
{
	return atomic_load(&h->origin);
}

/* ---- marks; under lock ---- */

static uint8_t *page_of(const struct origin *o, uint64_t page)
{
	return page < o->room ? o->pages[page] : NULL;
}

static uint8_t *page_for(struct origin *o, uint64_t page)
{
	if (page >= o->room) {
		size_t room = page + 1 + page / 2;
		uint8_t **more = realloc(o->pages, room * sizeof(*more));

		if (!more)
			return NULL;
		memset(more + o->room, 0, (room - o->room) * sizeof(*more));
		o->pages = more;
		o->room = room;
	}
	if (!o->pages[page])
		o->pages[page] = calloc(1, FILLED_PAGE_BYTES);
	return o->pages[page];
}

static void set_bit(uint8_t *bits, uint64_t block)
{
	uint64_t i = block % FILLED_PAGE_BLOCKS;

	bits[i / 8] |= 1u << i % 8;
}

static bool is_marked(const struct origin *o, uint64_t block)
{
	const uint8_t *bits = page_of(o, block / FILLED_PAGE_BLOCKS);
	uint64_t i = block % FILLED_PAGE_BLOCKS;

	return bits && bits[i / 8] >> i % 8 & 1;
}

/* ---- what is lacking ---- */

/* All that lie before this place are filled, and where the source ends none is to be. */
static bool may_lack(struct history *h, const struct origin *o, uint64_t block)
{
	return o && block * h->block_size < o->size && block >= atomic_load(&o->filled);
}

bool origin_lacks_locked(struct history *h, uint64_t block)
{
	const struct origin *o = origin_of(h);

	return may_lack(h, o, block) && !is_marked(o, block);
}

/* Blocks of a page that are not there are not looked at one by one. */
uint64_t origin_lacking_end(struct history *h, uint64_t block, uint64_t end)
{
	const struct origin *o = origin_of(h);

	pthread_mutex_lock(&h->lock);
	while (block < end && may_lack(h, o, block)) {
		uint64_t next = (block / FILLED_PAGE_BLOCKS + 1) * FILLED_PAGE_BLOCKS;

		if (page_of(o, block / FILLED_PAGE_BLOCKS))
			next = block + 1;
		if (is_marked(o, block))
			break;
		block = next;
	}
	pthread_mutex_unlock(&h->lock);
	return block < end ? block : end;
}

/* Before the place, and behind the source's end, none is looked at; of the others a page at most. */
uint64_t origin_filled_end(struct history *h, uint64_t block, uint64_t end)
{
	const struct origin *o = origin_of(h);
	uint64_t most;

	pthread_mutex_lock(&h->lock);
	if (o && block < atomic_load(&o->filled))
		block = atomic_load(&o->filled);
	most = block + FILLED_PAGE_BLOCKS;
	while (block < end && block < most && !origin_lacks_locked(h, block))
		block++;
	if (!o || block * h->block_size >= o->size)
		block = end;
	pthread_mutex_unlock(&h->lock);
	return block < end ? block : end;
}

bool origin_lacks(struct history *h, uint64_t block)
{
	const struct origin *o = origin_of(h);
	bool lacks;

	if (!may_lack(h, o, block))
		return false;
	pthread_mutex_lock(&h->lock);
	lacks = !is_marked(o, block);
	pthread_mutex_unlock(&h->lock);
	return lacks;
}

/* The source's error is no word of ours: to the clone's reader it is one of the store. */
static int foreign_error(int err)
{
	return err == -ENOMEM || !err ? err : -EIO;
}

int origin_read(struct history *h, char *buf, size_t len, uint64_t off)
{
	struct origin *o = origin_of(h);
	size_t done = 0;
	int err = foreign_error(moment_read(o->source, o->generation, buf, len, off, &done));

	if (!err)
		memset(buf + done, 0, len - done);
	return err;
}

int origin_share(struct history *h, uint64_t off, uint64_t len)
{
	struct origin *o = origin_of(h);

	if (!h->disk->format->flat || disk_state(o->source) == DISK_CHANGED ||
	    atomic_load(&o->source->lost))
		return -EOPNOTSUPP;
	return history_share_at(atomic_load(&o->source->history), o->generation,
				h->disk->image->file, off, len);
}

int origin_seek(struct history *h, uint64_t off, int whence, uint64_t *found)
{
	struct origin *o = origin_of(h);

	if (off >= o->size)
		return -ENXIO;
	return moment_seek(o->source, o->generation, off, whence, found);
}

static uint64_t blocks_of(const struct history *h, const struct origin *o)
{
	return (o->size + h->block_size - 1) / h->block_size;
}

uint64_t history_lacking(struct history *h)
{
	uint64_t blocks, done, bytes = 0;
	struct origin *o;

	pthread_mutex_lock(&h->lock);
	o = origin_of(h);
	if (o) {
		blocks = blocks_of(h, o);
		done = atomic_load(&o->filled) + o->marked; /* may be past the end */
		bytes = done < blocks ? (blocks - done) * h->block_size : 0;
		if (bytes > o->size)
			bytes = o->size;
	}
	pthread_mutex_unlock(&h->lock);
	return bytes;
}

bool history_has_origin(struct history *h)
{
	return origin_of(h);
}

/* ---- marking ---- */

/* A page as it will be, of those of the blocks that are in it; *next is the first that is not. */
static int put_page(struct history *h, struct catalogue_txn *txn, const uint64_t *blocks,
		    size_t count, size_t *next)
{
	uint64_t page = blocks[*next] / FILLED_PAGE_BLOCKS;
	uint8_t bits[FILLED_PAGE_BYTES] = { 0 }, *known;

	pthread_mutex_lock(&h->lock);
	known = page_for(origin_of(h), page); /* there, so that setting bits cannot fail */
	if (known)
		memcpy(bits, known, sizeof(bits));
	pthread_mutex_unlock(&h->lock);
	if (!known)
		return -ENOMEM;
	while (*next < count && blocks[*next] / FILLED_PAGE_BLOCKS == page)
		set_bit(bits, blocks[(*next)++]);
	return filled_put(txn, h->disk->number, page, bits);
}

int origin_put_marks(struct history *h, struct catalogue_txn *txn, const uint64_t *blocks,
		     size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && !err;)
		err = put_page(h, txn, blocks, count, &i);
	return err;
}

void origin_set_mark(struct history *h, uint64_t block)
{
	struct origin *o;
	uint8_t *bits;

	pthread_mutex_lock(&h->lock);
	o = origin_of(h);
	bits = page_of(o, block / FILLED_PAGE_BLOCKS);
	/* It went meanwhile: the place before which all are filled has passed it. */
	if (bits) {
		o->marked += may_lack(h, o, block) && !is_marked(o, block);
		set_bit(bits, block);
	}
	pthread_mutex_unlock(&h->lock);
}

static void free_pages(struct origin *o, uint64_t before)
{
	for (size_t i = 0; i < o->room && i < before; i++) {
		free(o->pages[i]);
		o->pages[i] = NULL;
	}
}

/* Marks of blocks in [from, to). */
static uint64_t count_marks(const struct origin *o, uint64_t from, uint64_t to)
{
	uint64_t count = 0, end = o->room * FILLED_PAGE_BLOCKS;

	for (; from < to && from < end; from++) {
		if (page_of(o, from / FILLED_PAGE_BLOCKS))
			count += is_marked(o, from);
		else
			from |= FILLED_PAGE_BLOCKS - 1;
	}
	return count;
}

int origin_advance(struct history *h, uint64_t filled)
{
	struct origin *o = origin_of(h);
	uint64_t from = atomic_load(&o->filled) / FILLED_PAGE_BLOCKS,
		 to = filled / FILLED_PAGE_BLOCKS;
	struct origin_record r = { o->source->number, o->generation, o->size, filled };
	struct catalogue_txn *txn;
	int err = catalogue_begin(h->disk->tandem->catalogue, &txn);

	if (err)
		return err;
	origin_put(txn, h->disk->number, &r);
	filled_del(txn, h->disk->number, from, to);
	err = catalogue_commit(txn);
	if (err)
		return err;
	pthread_mutex_lock(&h->lock);
	o->marked -= count_marks(o, atomic_load(&o->filled), filled);
	atomic_store(&o->filled, filled);
	free_pages(o, to);
	pthread_mutex_unlock(&h->lock);
	return 0;
}

uint64_t origin_filled(struct history *h, uint64_t *size)
{
	struct origin *o = origin_of(h);

	*size = o->size;
	return atomic_load(&o->filled);
}

/* ---- it comes and goes ---- */

static void destroy(struct origin *o)
{
	free_pages(o, o->room);
	free(o->pages);
	disk_unref(o->source);
	free(o);
}

struct loading {
	struct origin *o;
	uint64_t blocks;
};

static int load_page(void *arg, uint64_t page, const uint8_t bits[FILLED_PAGE_BYTES])
{
	struct loading *l = arg;
	uint8_t *known;

	if (page > l->blocks / FILLED_PAGE_BLOCKS)
		return -EIO;
	known = page_for(l->o, page);
	if (!known)
		return -ENOMEM;
	memcpy(known, bits, FILLED_PAGE_BYTES);
	return 0;
}

int history_set_origin(struct history *h, struct disk *source, const struct origin_record *r)
{
	struct origin *o = r->size > INT64_MAX ? NULL : calloc(1, sizeof(*o));
	struct loading l = { o, (r->size + h->block_size - 1) / h->block_size };
	int err;

	if (!o)
		return r->size > INT64_MAX ? -EIO : -ENOMEM;
	o->source = disk_ref(source);
	o->generation = r->generation;
	o->size = r->size;
	/* A fill may have gone past the end, in whole chunks. */
	atomic_store(&o->filled, r->filled < l.blocks ? r->filled : l.blocks);
	err = filled_each(h->disk->tandem->catalogue, h->disk->number, load_page, &l);
	if (err) {
		destroy(o);
		return err;
	}
	o->marked = count_marks(o, atomic_load(&o->filled), l.blocks);
	atomic_store(&h->origin, o);
	return 0;
}

int origin_open(struct history *h)
{
	struct origin *o = origin_of(h);
	struct disk *now;
	int err;

	if (!o || o->open)
		return 0;
	/* Its image may have been looked at as a new one since. */
	now = tandem_disk_numbered(h->disk->tandem, o->source->number);
	if (now && now != o->source) {
		disk_unref(o->source);
		o->source = disk_ref(now);
	}
	disk_unref(now);
	err = disk_open(o->source, false);
	o->open = !err;
	return foreign_error(err);
}

void origin_close(struct history *h)
{
	struct origin *o = origin_of(h);

	if (!o || !o->open)
		return;
	o->open = false;
	disk_close(o->source);
}

static struct origin *take_away(struct history *h)
{
	struct origin *o;

	pthread_rwlock_wrlock(&h->resizing);
	pthread_mutex_lock(&h->lock);
	o = atomic_exchange(&h->origin, NULL);
	pthread_mutex_unlock(&h->lock);
	pthread_rwlock_unlock(&h->resizing);
	return o;
}

static void let_go(struct origin *o)
{
	if (!o)
		return;
	if (o->open)
		disk_close(o->source);
	destroy(o);
}

void history_end_origin(struct history *h)
{
	struct origin *o;
	struct range whole;

	range_lock_write(&h->disk->ranges, &whole, 0, UINT64_MAX);
	history_pause(h);
	o = take_away(h);
	history_resume(h);
	range_unlock(&h->disk->ranges, &whole);
	let_go(o);
}

void origin_drop(struct history *h)
{
	let_go(take_away(h));
}

/* Nobody uses the disk any more. */
void origin_free(struct history *h)
{
	struct origin *o = atomic_exchange(&h->origin, NULL);

	if (o)
		destroy(o);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a batch does to each of its blocks: its pieces are taken generation by
 * generation; where a moment lies between what is there and the next
 * generation, and nothing was saved for that moment yet, what is there is saved.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crew.h"
#include "settle.h"

/* ---- what is to be saved ---- */

/* The newest kept moment before this generation; 0: none. */
static uint64_t moment_before(const struct settle_batch *b, uint64_t generation)
{
	size_t low = 0, high = b->kept_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (b->kept[middle] < generation)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? b->kept[low - 1] : 0;
}

/* A replay finds what was saved before: what is in the image now is newer than that moment. */
static int is_saved(const struct settle_batch *b, uint64_t block, uint64_t moment, bool *saved)
{
	const struct disk *d = b->h->disk;
	struct version v;
	int err = versions_find(d->tandem->catalogue, d->number, block, 1, moment, &v);

	if (!err)
		*saved = v.last;
	return err;
}

/* needed[i]: up to which generation the content before piece i is saved; 0: it is not. */
static int find_needs(struct settle_batch *b, struct settle_item *item)
{
	item->filled = 0;
	if (history_is_unfilled(b->h)) {
		struct unfilled u;
		int err = unfilled_find(b->h, UINT64_MAX, item->number, 1, &u);

		if (err)
			return err;
		/* The version is what tells that it is filled. Its first piece is the whole block. */
		if (u.from == FROM_VERSION) {
			item->filled = history_restore(b->h).before;
			item->load = true;
		}
		item->lacking = u.from == FROM_ORIGIN;
		b->lacking += item->lacking;
	}
	for (size_t i = 0; i < item->count; i++) {
		uint64_t generation = item->pieces[i]->generation, moment;
		uint64_t before = i ? item->pieces[i - 1]->generation : item->filled + 1;
		bool saved;
		int err;

		item->needed[i] = 0;
		if (generation == before)
			continue;
		moment = moment_before(b, generation);
		if (!moment || moment < before)
			continue;
		err = is_saved(b, item->number, moment, &saved);
		if (err)
			return err;
		if (saved)
			continue;
		item->needed[i] = generation - 1;
		item->load = true;
	}
	return 0;
}

/* ---- reading ---- */

static uint64_t start_of(const struct settle_batch *b, const struct settle_item *item)
{
	return item->number * b->h->block_size;
}

/* Bytes of a block inside of the disk. */
static uint32_t inside(const struct settle_batch *b, const struct settle_item *item)
{
	uint64_t size = b->h->disk->image->size, start = start_of(b, item);

	if (start >= size)
		return 0;
	return size - start < b->h->block_size ? size - start : b->h->block_size;
}

/* Of image and arena. */
struct extents {
	struct settle_batch *b;
	struct image_request *of;
	size_t count, room;
};

/* Longer ones keep others waiting. Holes move nothing. */
#define EXTENT_MAX (1u << 20)

static bool goes_on(const struct image_request *e, uint64_t off, uint64_t len, const char *content,
		    unsigned io)
{
	if (e->off + e->len != off || e->io != io)
		return false;
	if (!e->buf || !content)
		return !e->buf && !content;
	return (char *)e->buf + e->len == content && e->len + len <= EXTENT_MAX;
}

/* What one request can have is one. content NULL: a hole. */
static int add_extent(struct extents *all, uint64_t off, uint64_t len, char *content, unsigned io)
{
	struct image_request *last = all->count ? &all->of[all->count - 1] : NULL;

	if (!len)
		return 0;
	if (last && goes_on(last, off, len, content, io)) {
		last->len += len;
		return 0;
	}
	if (all->count == all->room) {
		size_t room = all->room ? 2 * all->room : 256;
		struct image_request *more = realloc(all->of, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		all->of = more;
		all->room = room;
	}
	all->of[all->count++] = (struct image_request){ .image = all->b->h->disk->image,
							.buf = content,
							.len = len,
							.off = off,
							.io = io };
	return 0;
}

static int do_extents(struct extents *all, bool write)
{
	const struct tandem *t = all->b->h->disk->tandem;

	for (size_t i = 0; i < all->count; i++)
		all->of[i].write = write;
	return crew_requests(t->crew, t->rings, all->of, all->count);
}

static int load(struct settle_batch *b)
{
	struct extents all = { .b = b };
	int err = 0;

	for (size_t i = 0; i < b->count && !err; i++) {
		struct settle_item *item = &b->items[i];
		uint32_t have = inside(b, item);

		if (!item->load)
			continue;
		if (item->lacking) {
			err = origin_read(b->h, item->content, b->h->block_size, start_of(b, item));
			continue;
		}
		memset(item->content + have, 0, b->h->block_size - have);
		err = add_extent(&all, start_of(b, item), have, item->content, item->io);
	}
	if (!err)
		err = do_extents(&all, false);
	free(all.of);
	return err;
}

/* ---- saving ---- */

static bool is_zero(const char *p, size_t len)
{
	return !len || (!*p && !memcmp(p, p + 1, len - 1));
}

static int save_block(struct settle_batch *b, const struct settle_item *item, uint64_t last)
{
	struct version v = { item->number, last, 0, inside(b, item) };
	struct record r = { RECORD_VERSION, start_of(b, item), v.length, last };

	if (b->version_count == b->version_room) {
		size_t room = b->version_room ? 2 * b->version_room : 256;
		struct version *more = realloc(b->versions, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		b->versions = more;
		b->version_room = room;
	}
	if (!is_zero(item->content, v.length)) {
		int err = segments_append(b->h->store, &r, item->content, &v.place);

		if (err)
			return err;
	}
	b->versions[b->version_count++] = v;
	return 0;
}

/* ---- the new content ---- */

static void add_span(struct settle_item *item, uint32_t from, uint32_t to)
{
	struct settle_span *s = item->spans;
	size_t first = 0, last;

	while (first < item->span_count && s[first].to < from)
		first++;
	for (last = first; last < item->span_count && s[last].from <= to; last++) {
		from = s[last].from < from ? s[last].from : from;
		to = s[last].to > to ? s[last].to : to;
	}
	memmove(s + first + 1, s + last, (item->span_count - last) * sizeof(*s));
	item->span_count += 1 - (last - first);
	s[first] = (struct settle_span){ from, to };
}

static int apply(struct settle_batch *b, struct settle_item *item, const struct piece *p)
{
	add_span(item, p->from, p->from + p->length);
	item->zeros = p->zero && !p->from && p->length >= inside(b, item);
	if (!p->zero)
		return segments_read(b->h->log, p->place, p->at, item->content + p->from,
				     p->length);
	memset(item->content + p->from, 0, p->length);
	return 0;
}

int settle_load(struct settle_batch *b)
{
	int err = 0;

	for (size_t i = 0; i < b->count && !err; i++)
		err = find_needs(b, &b->items[i]);
	return err ? err : load(b);
}

int settle_save(struct settle_batch *b)
{
	int err = 0;

	for (size_t i = 0; i < b->count && !err; i++) {
		struct settle_item *item = &b->items[i];

		if (item->filled)
			err = save_block(b, item, item->filled);
		for (size_t k = 0; k < item->count && !err; k++) {
			if (item->needed[k])
				err = save_block(b, item, item->needed[k]);
			if (!err)
				err = apply(b, item, item->pieces[k]);
		}
	}
	return err;
}

/* ---- the image ---- */

static int add_item(struct extents *all, const struct settle_item *item)
{
	struct settle_batch *b = all->b;
	uint64_t start = start_of(b, item);
	int err = 0;

	if (item->zeros)
		return add_extent(all, start, inside(b, item), NULL, 0);
	for (size_t s = 0; s < item->span_count && !err; s++) {
		const struct settle_span *span = &item->spans[s];

		err = add_extent(all, start + span->from, span->to - span->from,
				 item->content + span->from, item->io);
	}
	return err;
}

static void raise_to(_Atomic uint64_t *v, uint64_t to)
{
	uint64_t old = atomic_load(v);

	while (old < to && !atomic_compare_exchange_weak(v, &old, to))
		;
}

int history_flush_image(struct history *h)
{
	struct disk *d = h->disk;
	uint64_t size;
	int err;

	pthread_mutex_lock(&d->flushing);
	size = d->image->size;
	err = atomic_load(&d->broken_flush) ? -EIO : d->image->format->flush(d->image);
	if (err)
		disk_flush_failed(d, err);
	else
		raise_to(&h->durable_size, size);
	pthread_mutex_unlock(&d->flushing);
	return err;
}

int settle_image(struct settle_batch *b)
{
	struct disk *d = b->h->disk;
	struct extents all = { .b = b };
	int err = 0;

	for (size_t i = 0; i < b->count && !err; i++)
		err = add_item(&all, &b->items[i]);
	atomic_fetch_add(&d->begun, 1);
	if (!err)
		err = do_extents(&all, true);
	free(all.of);
	return err ? err : history_flush_image(b->h);
}

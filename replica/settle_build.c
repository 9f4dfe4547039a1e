// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a batch does to each of its blocks: its pieces are taken generation by
 * generation; where a moment lies between what is there and the next
 * generation, and nothing was saved for that moment yet, what is there is saved.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
static int find_needs(const struct settle_batch *b, struct settle_item *item)
{
	struct history_restore restore = history_restore(b->h);

	item->filled = 0;
	if (restore.before) {
		struct version v;
		int err = restore_find(b->h, item->number, 1, &v);

		if (err)
			return err;
		/* The version is what tells that it is filled. Its first piece is the whole block. */
		if (v.last) {
			item->filled = restore.before;
			item->load = true;
		}
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

/* Runs of neighbours lie beside each other in the arena too: one call for a run. */
static int load_run(struct settle_batch *b, size_t first, size_t end)
{
	struct image *img = b->h->disk->image;
	const struct settle_item *item = &b->items[first];
	uint64_t len = (end - first) * (uint64_t)b->h->block_size, start = start_of(b, item);
	uint64_t size = img->size, have = start >= size ? 0 : size - start;

	if (have > len)
		have = len;
	memset(item->content + have, 0, len - have);
	return have ? img->format->read(img, item->content, have, start, 0) : 0;
}

static int load(struct settle_batch *b)
{
	int err = 0;

	for (size_t i = 0, j; i < b->count && !err; i = j) {
		for (j = i; j < b->count && b->items[j].load &&
			    b->items[j].number == b->items[i].number + (j - i);
		     j++)
			;
		if (j == i)
			j++;
		else
			err = load_run(b, i, j);
	}
	return err;
}

/* ---- saving ---- */

static bool is_zero(const char *p, size_t len)
{
	return !len || (!*p && !memcmp(p, p + 1, len - 1));
}

static int save(struct settle_batch *b, const struct settle_item *item, uint64_t last)
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

int settle_build(struct settle_batch *b)
{
	int err = 0;

	for (size_t i = 0; i < b->count && !err; i++)
		err = find_needs(b, &b->items[i]);
	if (!err)
		err = load(b);
	for (size_t i = 0; i < b->count && !err; i++) {
		struct settle_item *item = &b->items[i];

		if (item->filled)
			err = save(b, item, item->filled);
		for (size_t k = 0; k < item->count && !err; k++) {
			if (item->needed[k])
				err = save(b, item, item->needed[k]);
			if (!err)
				err = apply(b, item, item->pieces[k]);
		}
	}
	return err;
}

/* ---- the image ---- */

/* Neighbours that end and begin at the border of their blocks are one request. */
static size_t run_from(const struct settle_batch *b, size_t i, size_t span, uint64_t *len)
{
	const struct settle_item *item = &b->items[i];
	uint64_t bs = b->h->block_size;
	size_t j = i;

	*len = item->spans[span].to - item->spans[span].from;
	while (b->items[j].spans[b->items[j].span_count - 1].to == bs &&
	       (j > i || span == item->span_count - 1) && j + 1 < b->count &&
	       b->items[j + 1].number == b->items[j].number + 1 && !b->items[j + 1].zeros &&
	       b->items[j + 1].spans[0].from == 0) {
		j++;
		*len += b->items[j].spans[0].to;
		if (b->items[j].span_count > 1)
			break;
	}
	return j - i;
}

static int write_spans(struct settle_batch *b, size_t i, size_t *skip, size_t *next)
{
	struct image *img = b->h->disk->image;
	const struct settle_item *item = &b->items[i];
	size_t more = 0;
	uint64_t len;
	int err = 0;

	for (size_t s = *skip; s < item->span_count && !err; s++) {
		const struct settle_span *span = &item->spans[s];

		more = run_from(b, i, s, &len);
		err = img->format->write(img, item->content + span->from, len,
					 start_of(b, item) + span->from, 0);
	}
	*next = more ? i + more : i + 1;
	*skip = more ? 1 : 0; /* of that one the first is written */
	return err;
}

static int zero_run(struct settle_batch *b, size_t i, size_t *next)
{
	struct image *img = b->h->disk->image;
	size_t j = i;

	while (j + 1 < b->count && b->items[j + 1].zeros &&
	       b->items[j + 1].number == b->items[j].number + 1)
		j++;
	*next = j + 1;
	return img->format->zero(img, start_of(b, &b->items[i]),
				 (j - i) * (uint64_t)b->h->block_size + inside(b, &b->items[j]),
				 ZERO_PUNCH);
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
	size_t skip = 0, next;
	int err = 0;

	atomic_fetch_add(&d->begun, 1);
	for (size_t i = 0; i < b->count && !err; i = next) {
		if (b->items[i].zeros)
			err = zero_run(b, i, &next);
		else
			err = write_spans(b, i, &skip, &next);
	}
	return err ? err : history_flush_image(b->h);
}

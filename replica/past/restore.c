// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A restore: what the disk was at a moment is served at once, and brought
 * into the image behind. See history_restore in history.h.
 *
 * A block is unfilled if its content as of `from` is a version of before the
 * restore (last < before: it was written between) and nothing was saved of it since.
 * Filling it is a write like any other, of what it was: through the log, and its
 * present content is saved, as of `before`, which is what marks it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "history_inner.h"

void history_set_restore(struct history *h, const struct history_restore *r)
{
	pthread_mutex_lock(&h->lock);
	h->restore = *r;
	pthread_mutex_unlock(&h->lock);
}

bool history_keep_restore(struct history *h, bool kept)
{
	bool was;

	pthread_mutex_lock(&h->lock);
	was = h->restore_kept;
	h->restore_kept = kept;
	pthread_mutex_unlock(&h->lock);
	return was;
}

struct history_restore history_restore(struct history *h)
{
	struct history_restore r;

	pthread_mutex_lock(&h->lock);
	r = h->restore;
	pthread_mutex_unlock(&h->lock);
	return r;
}

int restore_find(struct history *h, uint64_t first, size_t count, struct version *v)
{
	struct catalogue *c = h->disk->tandem->catalogue;
	struct history_restore r = history_restore(h);
	struct version few[32], *saved = few;
	int err;

	if (count > sizeof(few) / sizeof(few[0]))
		saved = malloc(count * sizeof(*saved));
	if (!saved)
		return -ENOMEM;
	err = versions_find(c, h->disk->number, first, count, r.from, v);
	if (!err)
		err = versions_find(c, h->disk->number, first, count, r.before, saved);
	for (size_t i = 0; i < count && !err; i++)
		if (saved[i].last || v[i].last >= r.before)
			v[i].last = 0;
	if (saved != few)
		free(saved);
	return err;
}

/* ---- filling ---- */

uint64_t history_copied(struct history *h)
{
	return atomic_load(&h->copied);
}

/* As a guest would, with what is there: nothing of it is lost if one writes meanwhile. */
static int fill_block(struct history *h, uint64_t block)
{
	struct disk *d = h->disk;
	uint64_t off = block * h->block_size, size = d->image->size;
	uint32_t len = off >= size ? 0 : size - off < h->block_size ? size - off : h->block_size;
	char *content = malloc(h->block_size);
	struct version v = { 0 };
	struct range r;
	bool there;
	int err = content ? 0 : -ENOMEM;

	if (!err && len) {
		range_lock_write(&d->ranges, &r, off, h->block_size);
		pthread_mutex_lock(&h->lock);
		there = pending_find(&h->pending, block);
		pthread_mutex_unlock(&h->lock);
		err = there ? 0 : restore_find(h, block, 1, &v);
		if (!err && v.last)
			err = read_version(h, &v, content, len, off);
		if (!err && v.last) {
			atomic_fetch_add(&d->begun, 1);
			err = history_write(h, content, len, off, 0, ZERO_KEEP);
			atomic_fetch_add(&d->unflushed, 1);
			atomic_fetch_add(&h->copied, len);
		}
		range_unlock(&d->ranges, &r);
	}
	free(content);
	return err;
}

int history_fill(struct history *h, bool (*progress)(void *arg, uint64_t bytes), void *arg)
{
	struct history_restore r = history_restore(h);
	struct version v[128];
	const struct version *after = NULL;
	uint64_t bytes = 0;
	size_t count;

	if (!r.before)
		return 0;
	for (;;) {
		int err = versions_between(h->disk->tandem->catalogue, h->disk->number, r.from,
					   r.before, after, v, 128, &count);

		if (!err && !count)
			break;
		for (size_t i = 0; i < count && !err; i++) {
			err = fill_block(h, v[i].block);
			bytes += h->block_size;
			if (!err && !progress(arg, bytes))
				err = -ECANCELED;
		}
		if (err)
			return err;
		v[0] = v[count - 1];
		after = &v[0];
	}
	return history_settle(h);
}

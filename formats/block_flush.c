// SPDX-License-Identifier: GPL-2.0-or-later
/* How the map of blocks comes into the tables: at a flush, and when the image comes to rest. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block_inner.h"
#include "notes.h"

/* ---- flush ---- */

/* What one flush brings into the file. */
struct batch {
	uint64_t mark;
	struct block_change *changes;
	size_t count;
	struct bitmap_copy {
		uint64_t block, place;
		uint8_t *bits;
	} * bitmaps;
	size_t bitmap_count;
	size_t freed; /* of m->freed, from its beginning */
};

static void batch_free(struct block_map *m, struct batch *b)
{
	for (size_t i = 0; i < b->bitmap_count; i++)
		free(b->bitmaps[i].bits);
	free(b->bitmaps);
	free(b->changes);
}

static int copy_bitmap(struct block_map *m, struct batch *b, struct bitmap *bits)
{
	struct bitmap_copy *copy = &b->bitmaps[b->bitmap_count];

	copy->bits = malloc(bitmap_bytes(m));
	if (!copy->bits)
		return -ENOMEM;
	memcpy(copy->bits, bits->bits, bitmap_bytes(m));
	copy->block = bits->block;
	copy->place = BLOCK_PLACE(atomic_load(&m->entries[bits->block]));
	b->bitmap_count++;
	return 0;
}

static int collect_bitmaps(struct block_map *m, struct batch *b)
{
	int err = 0;

	if (!m->bitmap_dirty)
		return 0;
	b->bitmaps = calloc(m->bitmap_dirty, sizeof(*b->bitmaps));
	if (!b->bitmaps)
		return -ENOMEM;
	for (size_t i = 0; m->bitmaps && i < BITMAP_CHAINS; i++)
		for (struct bitmap *bits = m->bitmaps[i]; bits && !err; bits = bits->next)
			if (bits->dirty)
				err = copy_bitmap(m, b, bits);
	return err;
}

static void set_bitmaps_saving(struct block_map *m)
{
	for (size_t i = 0; m->bitmaps && i < BITMAP_CHAINS; i++)
		for (struct bitmap *bits = m->bitmaps[i]; bits; bits = bits->next) {
			bits->saving = bits->dirty;
			bits->dirty = false;
		}
	m->bitmap_dirty = 0;
}

/* Under lock. They are in the file now, or all of it has to be done again. */
static void set_bitmaps_saved(struct block_map *m, bool failed)
{
	for (size_t i = 0; m->bitmaps && i < BITMAP_CHAINS; i++)
		for (struct bitmap *bits = m->bitmaps[i]; bits; bits = bits->next) {
			if (failed && bits->saving && !bits->dirty) {
				bits->dirty = true;
				m->bitmap_dirty++;
			}
			bits->saving = false;
		}
}

/* Under lock. What is acknowledged now, and nothing that comes later. */
static int collect(struct image *img, struct block_map *m, struct batch *b)
{
	int err;

	b->mark = img->notes ? notes_mark(img->notes) : 0;
	b->freed = m->freed_count;
	b->changes = malloc((m->changed_count + 1) * sizeof(*b->changes));
	err = b->changes ? collect_bitmaps(m, b) : -ENOMEM;
	if (err)
		return err;
	for (size_t i = 0; i < m->changed_count; i++) {
		uint64_t block = m->changed[i];
		block_entry e = atomic_load(&m->entries[block]) & ~BLOCK_CHANGED;

		b->changes[i] = (struct block_change){ .block = block, .entry = e };
		atomic_store(&m->entries[block], e);
	}
	b->count = m->saving = m->changed_count;
	m->changed_count = 0;
	set_bitmaps_saving(m);
	return 0;
}

/*
 * Under lock. A flush that failed has brought nothing into the file for sure. There is
 * room for them: the next flush must not succeed without one.
 */
static void put_back(struct block_map *m, const struct batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		uint64_t block = b->changes[i].block;
		block_entry e = atomic_load(&m->entries[block]);

		if (e & BLOCK_CHANGED)
			continue;
		assert(m->changed_count < m->changed_room);
		m->changed[m->changed_count++] = block;
		block_publish(m, block, e);
	}
}

/* Under lock. The tables name them no longer. */
static void free_places(struct block_map *m, size_t count)
{
	if (!count)
		return;
	for (size_t i = 0; i < count; i++)
		block_give_back(m, m->freed[i]);
	memmove(m->freed, m->freed + count, (m->freed_count - count) * sizeof(*m->freed));
	m->freed_count -= count;
}

static int save(struct image *img, struct block_map *m, const struct batch *b)
{
	int err = 0;

	for (size_t i = 0; i < b->bitmap_count && !err; i++)
		err = m->tables->save_bits(img, b->bitmaps[i].block, b->bitmaps[i].place,
					   b->bitmaps[i].bits);
	if (!err && (b->count || b->bitmap_count))
		err = m->tables->save(img, b->changes, b->count);
	return err;
}

/* Under flushing. */
static int flush(struct image *img, struct block_map *m)
{
	struct batch b = { 0 };
	int err;

	pthread_mutex_lock(&m->lock);
	err = collect(img, m, &b);
	pthread_mutex_unlock(&m->lock);
	if (!err) {
		err = img->file->ops->flush(img->file);
		if (!err)
			err = save(img, m, &b);
		pthread_mutex_lock(&m->lock);
		set_bitmaps_saved(m, err);
		if (err)
			put_back(m, &b);
		else
			free_places(m, b.freed);
		m->saving = 0;
		pthread_mutex_unlock(&m->lock);
	}
	if (!err && img->notes)
		notes_drop(img->notes, b.mark); /* what stays is only applied once more */
	batch_free(m, &b);
	return err;
}

/* Under flushing. */
static int start_writing(struct image *img, struct block_map *m)
{
	uint8_t binding[NOTES_BINDING] = { 0 };
	int err;

	if (img->read_only)
		return -EROFS;
	/*
	 * What open read, of a daemon that died, may be in the page cache alone. It has to
	 * be durable before a place that it gives as free is used.
	 */
	err = m->flushed_once ? 0 : img->file->ops->flush(img->file);
	/* None counts, and their binding is about to change. */
	if (!err && img->notes && !m->resumed)
		err = notes_clear(img->notes);
	if (!err)
		err = m->tables->start_writing(img, m->resumed);
	if (!err && img->notes && !m->resumed) {
		m->tables->binding(img, binding);
		err = notes_begin(img->notes, binding);
	}
	if (!err) {
		m->flushed_once = true;
		atomic_store(&m->writing, true);
	}
	return err;
}

int block_map_start_writing(struct image *img, struct block_map *m)
{
	int err = 0;

	if (atomic_load(&m->writing))
		return 0;
	pthread_mutex_lock(&m->flushing);
	if (!atomic_load(&m->writing))
		err = start_writing(img, m);
	pthread_mutex_unlock(&m->flushing);
	return err;
}

int block_map_flush(struct image *img, struct block_map *m)
{
	int err = 0;

	if (img->read_only)
		return 0;
	if (!atomic_load(&m->writing) && !m->resumed)
		return img->file->ops->flush(img->file);
	pthread_mutex_lock(&m->flushing);
	if (!atomic_load(&m->writing))
		err = start_writing(img, m);
	if (!err)
		err = flush(img, m);
	pthread_mutex_unlock(&m->flushing);
	return err;
}

/* ---- rest ---- */

/* Under lock. What lies behind the last place in use is not needed. */
static void pull_in_end(struct block_map *m)
{
	uint64_t end = m->first;
	size_t kept = 0;

	for (size_t i = 0; i < m->taken_count; i++)
		if (m->taken[i].end > end)
			end = m->taken[i].end;
	for (uint64_t b = 0; b < m->count; b++) {
		block_entry e = atomic_load_explicit(&m->entries[b], memory_order_relaxed);

		if (BLOCK_KIND(e) >= BLOCK_PRESENT && BLOCK_PLACE(e) + m->block_size > end)
			end = BLOCK_PLACE(e) + m->block_size;
	}
	for (size_t i = 0; i < m->free_count; i++)
		if (m->free[i] < end)
			m->free[kept++] = m->free[i];
	m->free_count = kept;
	m->end = m->capacity = end;
	if (m->stale_end > end)
		m->stale_end = end;
}

int block_map_rest(struct image *img, struct block_map *m)
{
	uint64_t stale;
	int err = 0;

	if (img->read_only)
		return 0;
	if (img->mend && !img->in_doubt)
		err = block_map_start_writing(img, m);
	if (err)
		return err;
	if (!atomic_load(&m->writing) && !m->resumed) {
		/* What a daemon that died wrote in place may be in the page cache alone. */
		err = m->flushed_once ? 0 : block_map_flush(img, m);
		m->flushed_once |= !err;
		return !err && img->notes ? notes_clear(img->notes) : err;
	}
	err = block_map_flush(img, m);
	if (err)
		return err;
	m->flushed_once = true;
	pthread_mutex_lock(&m->flushing);
	pthread_mutex_lock(&m->lock);
	stale = m->stale_end > m->capacity ? m->stale_end : m->capacity;
	pull_in_end(m);
	pthread_mutex_unlock(&m->lock);
	err = m->tables->finish(img, m->end);
	if (!err) {
		atomic_store(&m->writing, false);
		m->resumed = img->unclean = false;
	} else {
		m->stale_end = stale; /* the file may be as long as it was, with anything */
	}
	pthread_mutex_unlock(&m->flushing);
	return !err && img->notes ? notes_clear(img->notes) : err;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where blocks are: places given and taken back, and how a flush brings the map
 * into the tables.
 *
 * A place is in exactly one of: an entry, `free`, `freed`, what lies behind
 * `end`. `changed` has each block whose entry is BLOCK_CHANGED, once.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block_inner.h"
#include "notes.h"

/* Entries for a TiB; at 8 bytes each, 32 MiB of memory. */
#define ENTRIES_PER_TIB ((uint64_t)4 << 20)
/* How far ahead of need a file is made longer. */
#define GROW_BLOCKS 32
#define GROW_MAX ((uint64_t)1 << 30)

bool block_map_can_be(uint64_t count, uint32_t block_size)
{
	return count <= UINT64_MAX / 2 / block_size &&
	       count <= ENTRIES_PER_TIB * (1 + (count * block_size >> 40));
}

int block_map_new(uint64_t count, uint32_t block_size, const struct block_tables *tables,
		  struct block_map **out)
{
	struct block_map *m;

	if (block_size < 4096 || block_size > 256 << 20 || block_size & (block_size - 1))
		return -EINVAL;
	if (!block_map_can_be(count, block_size))
		return -E2BIG;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->entries = calloc(count ? count : 1, sizeof(*m->entries));
	if (!m->entries) {
		free(m);
		return -ENOMEM;
	}
	m->tables = tables;
	m->count = count;
	m->block_size = block_size;
	m->block_shift = __builtin_ctz(block_size);
	m->align = 4096;
	m->readable = UINT64_MAX;
	pthread_mutex_init(&m->flushing, NULL);
	pthread_mutex_init(&m->lock, NULL);
	*out = m;
	return 0;
}

void block_map_free(struct block_map *m)
{
	if (!m)
		return;
	bitmaps_free(m);
	pthread_mutex_destroy(&m->flushing);
	pthread_mutex_destroy(&m->lock);
	free(m->changed);
	free(m->free);
	free(m->freed);
	free((void *)m->entries);
	free(m);
}

/* ---- lists of numbers ---- */

/* There shall be room for `need`. */
static int reserve(uint64_t **list, size_t *room, size_t need)
{
	size_t more = *room ? 2 * *room : 64;
	uint64_t *grown;

	if (need <= *room)
		return 0;
	if (more < need)
		more = need;
	grown = realloc(*list, more * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*list = grown;
	*room = more;
	return 0;
}

int block_list_push(uint64_t **list, size_t *count, size_t *room, uint64_t v)
{
	int err = reserve(list, room, *count + 1);

	if (!err)
		(*list)[(*count)++] = v;
	return err;
}

/* ---- changes of the map ---- */

/* Under lock. Makes sure that the next publish of this block cannot fail. */
static int will_change(struct block_map *m, uint64_t block)
{
	int err;

	if (atomic_load(&m->entries[block]) & BLOCK_CHANGED)
		return 0;
	err = reserve(&m->changed, &m->changed_room, m->changed_count + m->saving + 1);
	if (!err)
		m->changed[m->changed_count++] = block;
	return err;
}

static void publish(struct block_map *m, uint64_t block, block_entry e)
{
	atomic_store(&m->entries[block], e | BLOCK_CHANGED);
}

static void note_change(struct image *img, struct block_map *m, uint64_t block, block_entry before,
			block_entry e, bool *settle)
{
	struct note_entry note = { .block = block, .entry = e, .before = before & ~BLOCK_CHANGED };

	if (img->notes && notes_add(img->notes, NOTE_ENTRY, &note, sizeof(note), NULL, 0))
		*settle = true;
	if (block_waits_much(img, m))
		*settle = true;
}

/* ---- places ---- */

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

/* Where the first place behind `at` can be. */
static uint64_t place_behind(const struct block_map *m, uint64_t at)
{
	return round_up(at + m->lead, m->align);
}

/* By how much more than is needed a file is made longer: that costs flushes. */
static uint64_t how_far(const struct block_map *m, uint64_t end)
{
	uint64_t ahead = (uint64_t)GROW_BLOCKS * (m->lead + m->block_size);

	if (ahead < end / 2)
		ahead = end / 2;
	return ahead < GROW_MAX ? ahead : GROW_MAX;
}

static int reach(struct image *img, struct block_map *m, uint64_t end)
{
	uint64_t ahead;
	int err;

	if (end <= m->capacity)
		return 0;
	ahead = round_up(end + how_far(m, end), m->align);
	err = m->tables->grow(img, ahead);
	if (err == -EFBIG || lacks_space(err)) {
		ahead = end;
		err = m->tables->grow(img, ahead);
	}
	if (!err)
		m->capacity = ahead;
	return err;
}

/*
 * Room for a block behind all others. Not while places that a flush frees are worth as
 * much as the file would get longer, or while there is none otherwise: -EAGAIN.
 */
static int reach_block(struct image *img, struct block_map *m, uint64_t end)
{
	uint64_t waiting = m->freed_count * (uint64_t)(m->lead + m->block_size);
	int err;

	if (end > m->capacity && waiting >= how_far(m, end))
		return -EAGAIN;
	err = reach(img, m, end);
	return m->freed_count && (err == -EFBIG || lacks_space(err)) ? -EAGAIN : err;
}

/* A place that reads as zeros. */
static int take_place(struct image *img, struct block_map *m, uint64_t *out)
{
	uint64_t place;
	int err;

	if (m->free_count) {
		place = m->free[m->free_count - 1];
	} else {
		place = place_behind(m, m->end);
		err = reach_block(img, m, place + m->block_size);
		if (err)
			return err;
	}
	if (place < m->stale_end) {
		err = img->file->ops->zero(img->file, place, m->block_size, ZERO_PUNCH);
		if (err)
			return err;
	}
	if (m->free_count)
		m->free_count--;
	else
		m->end = place + m->block_size;
	*out = place;
	return 0;
}

static void give_back(struct block_map *m, uint64_t place)
{
	/* Without memory for it the space waits for the next time the image is opened. */
	block_list_push(&m->free, &m->free_count, &m->free_room, place);
}

int block_allocate(struct image *img, struct block_map *m, uint64_t block, bool full,
		   block_entry *out, bool *settle)
{
	block_entry e = atomic_load(&m->entries[block]), before = e;
	struct bitmap *bits;
	uint64_t place;
	int err;

	if (BLOCK_KIND(e) == BLOCK_PRESENT || BLOCK_KIND(e) == BLOCK_PARTIAL) {
		*out = e;
		return 0;
	}
	err = will_change(m, block);
	if (!err)
		err = full ? 0 : bitmap_make(m, block, &bits);
	if (!err)
		err = take_place(img, m, &place);
	if (err)
		goto undo;
	err = m->tables->prepare(img, block, place, full);
	if (err) {
		give_back(m, place);
		goto undo;
	}
	e = BLOCK_ENTRY(full ? BLOCK_PRESENT : BLOCK_PARTIAL, place);
	note_change(img, m, block, before, e, settle);
	publish(m, block, e);
	*out = e;
	return 0;
undo:
	if (!full)
		bitmap_forget(m, block);
	/* In `changed` without being changed is harmless only if it is marked so. */
	if (m->changed_count && m->changed[m->changed_count - 1] == block &&
	    !(atomic_load(&m->entries[block]) & BLOCK_CHANGED))
		m->changed_count--;
	return err;
}

int block_discard(struct image *img, struct block_map *m, uint64_t block, bool *settle)
{
	block_entry e = atomic_load(&m->entries[block]);
	int err;

	if (BLOCK_KIND(e) == BLOCK_ABSENT || BLOCK_KIND(e) == BLOCK_ZERO)
		return 0;
	err = img->file->ops->zero(img->file, BLOCK_PLACE(e), m->block_size, ZERO_PUNCH);
	if (!err)
		err = block_list_push(&m->freed, &m->freed_count, &m->freed_room, BLOCK_PLACE(e));
	if (err)
		return err;
	err = will_change(m, block);
	if (err) {
		m->freed_count--;
		return err;
	}
	bitmap_forget(m, block);
	note_change(img, m, block, e, BLOCK_ENTRY(BLOCK_ABSENT, 0), settle);
	publish(m, block, BLOCK_ENTRY(BLOCK_ABSENT, 0));
	return 0;
}

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
		publish(m, block, e);
	}
}

/* Under lock. The tables name them no longer. */
static void free_places(struct block_map *m, size_t count)
{
	if (!count)
		return;
	for (size_t i = 0; i < count; i++)
		give_back(m, m->freed[i]);
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

/* ---- sizes ---- */

int block_map_resize(struct block_map *m, uint64_t count)
{
	_Atomic block_entry *entries;
	int err = 0;

	if (!block_map_can_be(count, m->block_size))
		return -E2BIG;
	pthread_mutex_lock(&m->flushing);
	pthread_mutex_lock(&m->lock);
	if (count > m->count) {
		entries = realloc((void *)m->entries, count * sizeof(*entries));
		if (entries) {
			memset((void *)(entries + m->count), 0,
			       (count - m->count) * sizeof(*entries));
			m->entries = entries;
			m->count = count;
		} else {
			err = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&m->lock);
	pthread_mutex_unlock(&m->flushing);
	return err;
}

void block_map_taken(struct block_map *m, uint64_t start, uint64_t end)
{
	if (m->taken_count < sizeof(m->taken) / sizeof(m->taken[0]))
		m->taken[m->taken_count++] = (struct block_range){ start, end };
}

int block_map_take(struct image *img, struct block_map *m, uint64_t len, uint64_t align,
		   uint64_t *at)
{
	uint64_t start;
	int err;

	if (m->taken_count == sizeof(m->taken) / sizeof(m->taken[0]))
		return -E2BIG;
	pthread_mutex_lock(&m->lock);
	start = round_up(m->end, align);
	err = reach(img, m, start + len);
	if (!err && start < m->stale_end)
		err = img->file->ops->zero(img->file, start, len, ZERO_PUNCH);
	if (!err) {
		m->end = start + len;
		block_map_taken(m, start, m->end);
	}
	pthread_mutex_unlock(&m->lock);
	if (!err)
		*at = start;
	return err;
}

void block_map_give_back(struct image *img, struct block_map *m, uint64_t start, uint64_t len)
{
	size_t kept = 0;

	/* A block's place reads as zeros. Until the image is opened again this is nobody's, then. */
	if (img->file->ops->zero(img->file, start, len, ZERO_PUNCH))
		len = 0;
	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < m->taken_count; i++)
		if (m->taken[i].start != start)
			m->taken[kept++] = m->taken[i];
	m->taken_count = kept;
	block_free_between(m, start, start + len);
	pthread_mutex_unlock(&m->lock);
}

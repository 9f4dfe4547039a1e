// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where blocks are: places given and taken back. block_flush.c brings the map into
 * the tables.
 *
 * A place is in exactly one of: an entry, `free`, `freed`, what lies behind
 * `end`. `changed` has each block whose entry is BLOCK_CHANGED, once.
 */
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

void block_give_back(struct block_map *m, uint64_t place)
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
		block_give_back(m, place);
		goto undo;
	}
	e = BLOCK_ENTRY(full ? BLOCK_PRESENT : BLOCK_PARTIAL, place);
	note_change(img, m, block, before, e, settle);
	block_publish(m, block, e);
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
	block_publish(m, block, BLOCK_ENTRY(BLOCK_ABSENT, 0));
	return 0;
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

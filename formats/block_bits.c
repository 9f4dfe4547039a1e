// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bitmaps of partly present blocks. Only so many are kept: those that a flush
 * has yet to write, and of the others the ones used last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block_inner.h"
#include "notes.h"

#define BITMAPS_MEMORY (4u << 20)
#define BITMAPS_LEAST 16
/* Notes are for each write, or discard; more than this and they are brought into the image. */
#define NOTES_MANY (16u << 20)

static size_t most(const struct block_map *m)
{
	size_t n = BITMAPS_MEMORY / (sizeof(struct bitmap) + bitmap_bytes(m));

	return n > BITMAPS_LEAST ? n : BITMAPS_LEAST;
}

bool block_waits_much(const struct image *img, const struct block_map *m)
{
	return m->bitmap_dirty > most(m) / 2 ||
	       (img->notes && notes_bytes(img->notes) > NOTES_MANY);
}

static struct bitmap **chain_of(struct block_map *m, uint64_t block)
{
	return &m->bitmaps[block % BITMAP_CHAINS];
}

/* The link to it, or to NULL; NULL when there are no chains yet. */
static struct bitmap **find(struct block_map *m, uint64_t block)
{
	struct bitmap **link = m->bitmaps ? chain_of(m, block) : NULL;

	while (link && *link && (*link)->block != block)
		link = &(*link)->next;
	return link;
}

static void drop(struct block_map *m, struct bitmap **link)
{
	struct bitmap *b = *link;

	*link = b->next;
	m->bitmap_count--;
	if (b->dirty)
		m->bitmap_dirty--;
	free(b);
}

/* The one not used for the longest time in the next chain that has any to give. */
static void make_room(struct block_map *m)
{
	struct bitmap **oldest = NULL;

	if (m->bitmap_count < most(m))
		return;
	for (size_t i = 0; i < BITMAP_CHAINS && !oldest; i++) {
		m->bitmap_hand = (m->bitmap_hand + 1) % BITMAP_CHAINS;
		for (struct bitmap **link = &m->bitmaps[m->bitmap_hand]; *link;
		     link = &(*link)->next)
			if (!(*link)->dirty && !(*link)->saving &&
			    (!oldest || (*link)->used < (*oldest)->used))
				oldest = link;
	}
	if (oldest)
		drop(m, oldest);
}

int bitmap_make(struct block_map *m, uint64_t block, struct bitmap **out)
{
	struct bitmap *b;

	if (!m->bitmaps)
		m->bitmaps = calloc(BITMAP_CHAINS, sizeof(*m->bitmaps));
	if (!m->bitmaps)
		return -ENOMEM;
	bitmap_forget(m, block);
	make_room(m);
	b = calloc(1, sizeof(*b) + bitmap_bytes(m));
	if (!b)
		return -ENOMEM;
	b->block = block;
	b->used = ++m->bitmap_clock;
	b->next = *chain_of(m, block);
	*chain_of(m, block) = b;
	m->bitmap_count++;
	*out = b;
	return 0;
}

void bitmap_forget(struct block_map *m, uint64_t block)
{
	struct bitmap **link = find(m, block);

	if (link && *link)
		drop(m, link);
}

void bitmaps_free(struct block_map *m)
{
	for (size_t i = 0; m->bitmaps && i < BITMAP_CHAINS; i++)
		while (m->bitmaps[i])
			drop(m, &m->bitmaps[i]);
	free(m->bitmaps);
}

uint32_t bitmap_run(const uint8_t *bits, uint32_t at, uint32_t end, bool *there)
{
	uint32_t i = at;

	*there = bits[i / 8] >> (i % 8) & 1;
	while (i < end) {
		if (i % 8 == 0 && i + 8 <= end && bits[i / 8] == (*there ? 0xff : 0))
			i += 8;
		else if ((bits[i / 8] >> (i % 8) & 1) == *there)
			i++;
		else
			break;
	}
	return i - at;
}

static bool is_full(const struct block_map *m, const struct bitmap *b)
{
	uint32_t sectors = m->block_size / 512;
	bool there;

	return bitmap_run(b->bits, 0, sectors, &there) == sectors && there;
}

/* Nobody needs to look at its bits any more. */
static void make_present(struct block_map *m, struct bitmap *b)
{
	block_entry e = atomic_load(&m->entries[b->block]);

	atomic_store(&m->entries[b->block], (e & ~(block_entry)3) | BLOCK_PRESENT);
	if (!b->dirty && !b->saving)
		bitmap_forget(m, b->block);
}

int bitmap_get(struct image *img, struct block_map *m, uint64_t block, struct bitmap **out)
{
	block_entry e = atomic_load(&m->entries[block]);
	struct bitmap **link = find(m, block), *b = link ? *link : NULL;
	int err;

	if (!b) {
		err = bitmap_make(m, block, &b);
		if (err)
			return err;
		err = m->tables->load_bits(img, block, BLOCK_PLACE(e), b->bits);
		if (err) {
			bitmap_forget(m, block);
			return err;
		}
	}
	b->used = ++m->bitmap_clock;
	*out = b;
	if (!is_full(m, b))
		return 0;
	make_present(m, b);
	return -EALREADY;
}

int bitmap_set(struct image *img, struct block_map *m, uint64_t block, uint32_t first,
	       uint32_t count, bool note, bool *settle)
{
	struct note_bits head = { .block = block, .first = first, .count = count };
	struct bitmap *b;
	bool there;
	int err = bitmap_get(img, m, block, &b);

	if (err)
		return err == -EALREADY ? 0 : err;
	if (bitmap_run(b->bits, first, first + count, &there) == count && there)
		return 0;
	if (note && img->notes && notes_add(img->notes, NOTE_BITS, &head, sizeof(head), NULL, 0))
		*settle = true;
	for (uint32_t i = first; i < first + count; i++)
		b->bits[i / 8] |= 1 << (i % 8);
	if (!b->dirty) {
		b->dirty = true;
		m->bitmap_dirty++;
	}
	if (is_full(m, b))
		make_present(m, b);
	if (block_waits_much(img, m))
		*settle = true;
	return 0;
}

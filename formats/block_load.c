// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A map that was read from a file: is it sane, what do the notes of an earlier
 * daemon add, which places are free?
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block_inner.h"
#include "notes.h"

/* Free places that are remembered: more wait for the next time. */
#define FREE_MAX (1u << 20)

static void complain(struct image *img, const char *what)
{
	if (!img->complaint[0])
		image_fail(img->complaint, 0, "%s", what);
}

/* Half of the notes may be applied: what the image says by itself is gone for us. */
static void doubt(struct image *img)
{
	img->read_only = img->in_doubt = true;
	complain(img, "another program changed the image after tandemfs died, so that its last "
		      "writes cannot be added");
}

static bool has_place(block_entry e)
{
	return BLOCK_KIND(e) == BLOCK_PRESENT || BLOCK_KIND(e) == BLOCK_PARTIAL;
}

static bool is_inside(const struct block_map *m, block_entry e, uint64_t file_end)
{
	uint64_t place = BLOCK_PLACE(e);

	return place >= m->lead && place - m->lead >= m->first && place <= file_end &&
	       file_end - place >= m->block_size;
}

static void drop_outsiders(struct image *img, struct block_map *m, uint64_t file_end)
{
	for (uint64_t b = 0; b < m->count; b++)
		if (has_place(m->entries[b]) && !is_inside(m, m->entries[b], file_end)) {
			m->entries[b] = BLOCK_ENTRY(BLOCK_ABSENT, 0);
			complain(img, "a block lies outside of the file: it reads as zeros");
		}
}

/* ---- notes ---- */

struct replay {
	struct image *img;
	struct block_map *m;
	uint64_t file_end;
	/* The tables' entries of blocks that notes change, where they have a place. */
	struct block_change *tables;
	size_t count, room;
};

static int remember(struct replay *r, uint64_t block, block_entry e)
{
	if (!has_place(e))
		return 0;
	if (r->count == r->room) {
		size_t room = r->room ? 2 * r->room : 64;
		struct block_change *more = realloc(r->tables, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		r->tables = more;
		r->room = room;
	}
	r->tables[r->count++] = (struct block_change){ .block = block, .entry = e };
	return 0;
}

/* Places that the tables name and the map does not: they are used again after the next flush. */
static int give_up_places(struct block_map *m, const struct replay *r)
{
	if (!r->count)
		return 0;
	m->freed = malloc(r->count * sizeof(*m->freed));
	if (!m->freed)
		return -ENOMEM;
	m->freed_room = r->count;
	for (size_t i = 0; i < r->count; i++) {
		block_entry now = m->entries[r->tables[i].block];
		uint64_t place = BLOCK_PLACE(r->tables[i].entry);

		if (!has_place(now) || BLOCK_PLACE(now) != place)
			m->freed[m->freed_count++] = place;
	}
	return 0;
}

static int replay_entry(struct replay *r, const struct note_entry *note)
{
	struct block_map *m = r->m;
	block_entry e = note->entry & ~BLOCK_CHANGED;
	int err;

	if (note->block >= m->count || (has_place(e) && !is_inside(m, e, r->file_end)) ||
	    BLOCK_KIND(e) == BLOCK_ZERO ||
	    (BLOCK_KIND(e) == BLOCK_PARTIAL && !m->tables->save_bits))
		return -EILSEQ;
	/*
	 * Tables with bitmaps name places only. The bitmap, which is older than the note,
	 * says what is there; after the next flush nothing else would.
	 */
	if (BLOCK_KIND(e) == BLOCK_PRESENT && m->tables->save_bits)
		e = BLOCK_ENTRY(BLOCK_PARTIAL, BLOCK_PLACE(e));
	bitmap_forget(m, note->block);
	if (!(m->entries[note->block] & BLOCK_CHANGED)) {
		err = remember(r, note->block, m->entries[note->block]);
		if (!err)
			err = block_list_push(&m->changed, &m->changed_count, &m->changed_room,
					      note->block);
		if (err)
			return err;
	}
	m->entries[note->block] = e | BLOCK_CHANGED;
	return 0;
}

static int replay_bits(struct replay *r, const struct note_bits *note)
{
	uint32_t sectors = r->m->block_size / 512;
	bool settle;

	if (note->block >= r->m->count || !r->m->tables->save_bits || note->first > sectors ||
	    note->count > sectors - note->first)
		return -EILSEQ;
	/* It may be full by now, or gone with a later note. */
	if (BLOCK_KIND(r->m->entries[note->block]) != BLOCK_PARTIAL)
		return 0;
	return bitmap_set(r->img, r->m, note->block, note->first, note->count, false, &settle);
}

static int replay(void *arg, uint32_t kind, const void *data, size_t len)
{
	if (kind == NOTE_ENTRY && len == sizeof(struct note_entry))
		return replay_entry(arg, data);
	if (kind == NOTE_BITS && len == sizeof(struct note_bits))
		return replay_bits(arg, data);
	return -EILSEQ;
}

static int apply_notes(struct image *img, struct block_map *m, uint64_t file_end)
{
	struct replay r = { .img = img, .m = m, .file_end = file_end };
	uint8_t binding[NOTES_BINDING] = { 0 };
	bool foreign = false;
	int err;

	if (!img->notes)
		return 0;
	m->tables->binding(img, binding);
	err = notes_replay(img->notes, binding, replay, &r, &foreign);
	if (!err)
		err = give_up_places(m, &r);
	free(r.tables);
	if (err == -EILSEQ || foreign) {
		doubt(img);
		return 0;
	}
	m->resumed = !err && (m->changed_count || m->bitmap_dirty);
	return err;
}

/* ---- overlaps and free places ---- */

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void free_between(struct block_map *m, uint64_t start, uint64_t end)
{
	uint64_t footprint = m->block_size;

	for (uint64_t at = start; m->free_count < FREE_MAX;) {
		uint64_t place = (at + m->lead + m->align - 1) / m->align * m->align;

		if (place + footprint > end)
			return;
		if (block_list_push(&m->free, &m->free_count, &m->free_room, place))
			return;
		at = place + footprint;
	}
}

/* What is taken by blocks and tables: starts, each with its end behind it. */
static struct block_range *ranges_of(struct block_map *m, size_t *count)
{
	struct block_range *list;
	size_t n = m->taken_count;

	for (uint64_t b = 0; b < m->count; b++)
		n += has_place(m->entries[b]);
	list = malloc((n + m->freed_count + 1) * sizeof(*list));
	if (!list)
		return NULL;
	memcpy(list, m->taken, m->taken_count * sizeof(*list));
	n = m->taken_count;
	for (uint64_t b = 0; b < m->count; b++)
		if (has_place(m->entries[b])) {
			uint64_t place = BLOCK_PLACE(m->entries[b]);

			list[n++] = (struct block_range){ place - m->lead, place + m->block_size };
		}
	*count = n;
	return list;
}

static void sort(struct block_range *list, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (list[i - 1].start > list[i].start) {
			qsort(list, count, sizeof(*list), compare);
			return;
		}
}

/* Places in `freed` are taken too, but for those that a block has got since. */
static size_t add_freed(struct block_map *m, struct block_range *list, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->freed_count; i++) {
		uint64_t start = m->freed[i] - m->lead;

		if (!bsearch(&start, list, count, sizeof(*list), compare))
			m->freed[kept++] = m->freed[i];
	}
	m->freed_count = kept;
	for (size_t i = 0; i < kept; i++)
		list[count++] = (struct block_range){ m->freed[i] - m->lead,
						      m->freed[i] + m->block_size };
	sort(list, count);
	return count;
}

static int find_free(struct image *img, struct block_map *m, uint64_t file_end)
{
	size_t count;
	struct block_range *list = ranges_of(m, &count);
	uint64_t end = m->first;

	if (!list)
		return -ENOMEM;
	sort(list, count);
	if (m->freed_count)
		count = add_freed(m, list, count);
	for (size_t i = 0; i < count; i++) {
		if (list[i].start < end && m->resumed) {
			doubt(img);
		} else if (list[i].start < end) {
			img->read_only = true;
			complain(img, "two blocks lie at the same place: the image is damaged");
		} else if (!m->keeps_blocks) {
			/* A table may lie behind the file's end: places are in front of it. */
			free_between(m, end, list[i].start < file_end ? list[i].start : file_end);
		}
		if (list[i].end > end)
			end = list[i].end;
	}
	m->end = end;
	free(list);
	return 0;
}

/* The last one is taken first: the lowest place shall be. */
static void turn_around(struct block_map *m)
{
	for (size_t i = 0; i < m->free_count / 2; i++) {
		uint64_t t = m->free[i];

		m->free[i] = m->free[m->free_count - 1 - i];
		m->free[m->free_count - 1 - i] = t;
	}
}

int block_map_ready(struct image *img, struct block_map *m, uint64_t file_end)
{
	int err;

	drop_outsiders(img, m, file_end);
	err = apply_notes(img, m, file_end);
	if (!err)
		err = find_free(img, m, file_end);
	if (err)
		return err;
	turn_around(m);
	m->capacity = file_end > m->end ? file_end : m->end;
	m->stale_end = m->capacity;
	return 0;
}

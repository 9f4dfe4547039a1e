// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A map that was read from a file: is it sane, what do the notes of an earlier
 * daemon add, which places are free?
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
	/* By block: what the tables say, of those that notes change. Only these take memory. */
	block_entry *tables;
};

/* In `tables`: notes know it. */
#define FITS ((block_entry)8)

static bool same_place(block_entry a, block_entry b)
{
	return has_place(a) ? has_place(b) && BLOCK_PLACE(a) == BLOCK_PLACE(b) : !has_place(b);
}

/* The tables name a place for it that the map does not: it was discarded. */
static bool is_given_up(const struct replay *r, uint64_t block)
{
	return has_place(r->tables[block]) && !same_place(r->tables[block], r->m->entries[block]);
}

/* These places are used again after the next flush. */
static int give_up_places(struct replay *r)
{
	struct block_map *m = r->m;

	if (!m->changed_count)
		return 0;
	m->freed = malloc(m->changed_count * sizeof(*m->freed));
	if (!m->freed)
		return -ENOMEM;
	m->freed_room = m->changed_count;
	for (size_t i = 0; i < m->changed_count; i++)
		if (is_given_up(r, m->changed[i]))
			m->freed[m->freed_count++] = BLOCK_PLACE(r->tables[m->changed[i]]);
	return 0;
}

/* 1 or 0, or -errno. */
static int reads_as_zeros(struct image *img, uint64_t at, uint64_t end)
{
	const size_t step = 64 << 10;
	char *bytes = malloc(step);
	int err = bytes ? 0 : -ENOMEM, zeros = 1;

	while (!err && zeros) {
		size_t n;

		err = img->file->ops->seek(img->file, at, SEEK_DATA, &at);
		if (err || at >= end)
			break;
		n = end - at < step ? end - at : step;
		err = img->file->ops->read(img->file, bytes, n, at, 0);
		if (!err)
			zeros = !bytes[0] && !memcmp(bytes, bytes + 1, n - 1);
		at += n;
	}
	free(bytes);
	return err && err != -ENXIO ? err : zeros;
}

/*
 * Another program that wrote the image after we died may have left no other trace than
 * these: a block that it gave a place, though the notes have none or another for it; and
 * data in a place that was discarded, which was emptied then. To apply the notes would be
 * to lose what it wrote. -EILSEQ then.
 */
static int find_strange(struct replay *r)
{
	struct block_map *m = r->m;
	int zeros = 1;

	for (size_t i = 0; i < m->changed_count && zeros > 0; i++) {
		uint64_t block = m->changed[i], place = BLOCK_PLACE(r->tables[block]);

		if (!(r->tables[block] & FITS))
			return -EILSEQ;
		if (is_given_up(r, block))
			zeros = reads_as_zeros(r->img, place, place + m->block_size);
	}
	return zeros < 0 ? zeros : zeros ? 0 : -EILSEQ;
}

static int first_note_of(struct replay *r, uint64_t block)
{
	struct block_map *m = r->m;

	if (!r->tables)
		r->tables = calloc(m->count, sizeof(*r->tables));
	if (!r->tables)
		return -ENOMEM;
	r->tables[block] = m->entries[block];
	return block_list_push(&m->changed, &m->changed_count, &m->changed_room, block);
}

/* before: NULL when nobody knows. */
static int replay_entry(struct replay *r, uint64_t block, block_entry e, const uint64_t *before)
{
	struct block_map *m = r->m;
	int err;

	e &= ~BLOCK_CHANGED;
	if (block >= m->count || (has_place(e) && !is_inside(m, e, r->file_end)) ||
	    BLOCK_KIND(e) == BLOCK_ZERO ||
	    (BLOCK_KIND(e) == BLOCK_PARTIAL && !m->tables->save_bits))
		return -EILSEQ;
	/*
	 * Tables with bitmaps name places only. The bitmap, which is older than the note,
	 * says what is there; after the next flush nothing else would.
	 */
	if (BLOCK_KIND(e) == BLOCK_PRESENT && m->tables->save_bits)
		e = BLOCK_ENTRY(BLOCK_PARTIAL, BLOCK_PLACE(e));
	bitmap_forget(m, block);
	if (!(m->entries[block] & BLOCK_CHANGED)) {
		err = first_note_of(r, block);
		if (err)
			return err;
		if (!before || same_place(r->tables[block], *before))
			r->tables[block] |= FITS;
	}
	/* A flush may have brought it into the tables, and not dropped the notes any more. */
	if (same_place(r->tables[block], e))
		r->tables[block] |= FITS;
	m->entries[block] = e | BLOCK_CHANGED;
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
	const struct note_entry *entry = data;

	if (kind == NOTE_ENTRY && len == sizeof(*entry))
		return replay_entry(arg, entry->block, entry->entry, &entry->before);
	if (kind == NOTE_ENTRY && len == offsetof(struct note_entry, before))
		return replay_entry(arg, entry->block, entry->entry, NULL);
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
		err = find_strange(&r);
	if (!err)
		err = give_up_places(&r);
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

void block_free_between(struct block_map *m, uint64_t start, uint64_t end)
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

static struct block_range footprint(const struct block_map *m, uint64_t place)
{
	return (struct block_range){ place - m->lead, place + m->block_size };
}

/* What is taken by blocks and tables, and by blocks that the tables still name. */
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
		if (has_place(m->entries[b]))
			list[n++] = footprint(m, BLOCK_PLACE(m->entries[b]));
	for (size_t i = 0; i < m->freed_count; i++)
		list[n++] = footprint(m, m->freed[i]);
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

static int find_free(struct image *img, struct block_map *m, uint64_t file_end)
{
	size_t count;
	struct block_range *list = ranges_of(m, &count);
	uint64_t end = m->first;

	if (!list)
		return -ENOMEM;
	sort(list, count);
	for (size_t i = 0; i < count; i++) {
		if (list[i].start < end && m->resumed) {
			doubt(img);
		} else if (list[i].start < end) {
			img->read_only = true;
			complain(img, "two blocks lie at the same place: the image is damaged");
		} else if (!m->keeps_blocks) {
			/* A table may lie behind the file's end: places are in front of it. */
			block_free_between(m, end,
					   list[i].start < file_end ? list[i].start : file_end);
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

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The file:
 *
 *   0        one sector that tells whose it is, of what size, and whether the target is outdated, in a
 *            page of its own
 *   4 KiB    active: a bit for each area, the lowest bit of a byte first
 *   16 MiB   differs: a bit for each region
 *
 * All that is used has been written, so that a write of a page later takes no space, and its flush
 * no commit of the file system's journal. Bits behind the size mean nothing: shrinking leaves them,
 * growing writes all pages from the old end on before the new size.
 *
 * A page may be torn between sectors. Each of its bits is then of either page, which is what the
 * order is made for.
 */
#include "marks_inner.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "bytes.h"
#include "crc32c.h"
#include "file.h"

#define MAGIC "tndmarks"
#define VERSION 2
/* It had no word for what is outdated. */
#define VERSION_WITHOUT_WORD 1
#define ACTIVE_AT MARKS_PAGE
#define DIFFERS_AT (16u << 20)
#define MARKS_MAX (500ull << 40) /* what there is room for between the two, nearly */

/* The first sector; the rest of it is zero. */
enum {
	HEAD_MAGIC = 0,
	HEAD_VERSION = 8,
	HEAD_NUMBER = 12,
	HEAD_SIZE = 16,
	HEAD_REGION = 24,
	HEAD_AREA = 28,
	HEAD_OUTDATED = 32,
	HEAD_CRC = 508, /* of all before it */
};

/* ---- memory ---- */

static void free_maps(struct marks_maps *maps)
{
	free(maps->differs);
	free(maps->fresh);
	free(maps->pages);
	free(maps->active);
	free(maps->image);
	free(maps->touched);
	free(maps->candidates);
	free(maps->due);
}

static int make_maps(uint64_t size, struct marks_maps *out)
{
	struct marks_maps maps = {
		.differs_pages = marks_regions(size) / MARKS_PAGE_BITS + 1,
		.area_pages = marks_areas(size) / MARKS_PAGE_BITS + 1,
	};

	maps.differs = calloc(maps.differs_pages, MARKS_PAGE);
	maps.fresh = calloc(maps.differs_pages, MARKS_PAGE);
	maps.pages = calloc(maps.differs_pages, sizeof(*maps.pages));
	maps.active = calloc(maps.area_pages, MARKS_PAGE);
	maps.image = calloc(maps.area_pages, MARKS_PAGE);
	maps.touched = calloc(maps.area_pages, MARKS_PAGE);
	maps.candidates = calloc(maps.area_pages, MARKS_PAGE);
	maps.due = calloc(maps.area_pages, sizeof(*maps.due));
	if (!maps.differs || !maps.fresh || !maps.pages || !maps.active || !maps.image ||
	    !maps.touched || !maps.candidates || !maps.due) {
		free_maps(&maps);
		return -ENOMEM;
	}
	*out = maps;
	return 0;
}

static void copy_maps(struct marks_maps *to, const struct marks_maps *from, bool watched)
{
	if (watched) /* else it takes no memory */
		memcpy(to->fresh, from->fresh, from->differs_pages * MARKS_PAGE);
	memcpy(to->differs, from->differs, from->differs_pages * MARKS_PAGE);
	memcpy(to->pages, from->pages, from->differs_pages * sizeof(*from->pages));
	memcpy(to->active, from->active, from->area_pages * MARKS_PAGE);
	memcpy(to->image, from->image, from->area_pages * MARKS_PAGE);
	memcpy(to->touched, from->touched, from->area_pages * MARKS_PAGE);
	memcpy(to->candidates, from->candidates, from->area_pages * MARKS_PAGE);
	memcpy(to->due, from->due, from->area_pages * sizeof(*from->due));
}

/* Under writing: the maps have room for that size. */
static int make_room(struct marks *m, uint64_t size)
{
	struct marks_maps maps, old = m->maps;
	int err;

	if (marks_regions(size) < old.differs_pages * MARKS_PAGE_BITS &&
	    marks_areas(size) < old.area_pages * MARKS_PAGE_BITS)
		return 0;
	err = make_maps(size, &maps);
	if (err)
		return err;
	pthread_mutex_lock(&m->lock);
	copy_maps(&maps, &old, m->watched);
	m->maps = maps;
	pthread_mutex_unlock(&m->lock);
	free_maps(&old);
	return 0;
}

static int new_marks(uint32_t number, uint64_t size, struct marks **out)
{
	struct marks *m;
	int err;

	if (size > MARKS_MAX)
		return -EFBIG;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	err = make_maps(size, &m->maps);
	if (err) {
		free(m);
		return err;
	}
	m->number = number;
	m->size = size;
	pthread_mutex_init(&m->rounds, NULL);
	pthread_mutex_init(&m->writing, NULL);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->ended, NULL);
	*out = m;
	return 0;
}

void marks_close(struct marks *m)
{
	if (!m)
		return;
	assert(!m->running[0] && !m->running[1]);
	if (m->file)
		m->file->ops->close(m->file);
	free_maps(&m->maps);
	pthread_mutex_destroy(&m->rounds);
	pthread_mutex_destroy(&m->writing);
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->ended);
	free(m);
}

/* ---- writing ---- */

static int put_buffer(struct marks *m, uint64_t at)
{
	for (unsigned i = 0; i < MARKS_PAGE_WORDS; i++)
		m->buffer[i] = htole64(m->buffer[i]);
	return m->file->ops->write(m->file, m->buffer, MARKS_PAGE, at, 0);
}

int marks_write_image(struct marks *m)
{
	int err = 0;

	for (uint64_t p = 0; p < m->maps.area_pages && !err; p++) {
		if (!m->maps.due[p])
			continue;
		memcpy(m->buffer, m->maps.image + p * MARKS_PAGE_WORDS, MARKS_PAGE);
		err = put_buffer(m, ACTIVE_AT + p * MARKS_PAGE);
		m->maps.due[p] = err != 0;
	}
	return err;
}

/* Is there a page to save? If so it is in the buffer. */
static bool take_unsaved(struct marks *m, uint64_t page)
{
	struct marks_page *p = &m->maps.pages[page];
	bool unsaved;

	pthread_mutex_lock(&m->lock);
	unsaved = p->unsaved;
	if (unsaved) {
		p->unsaved = false;
		p->saving = true;
		memcpy(m->buffer, m->maps.differs + page * MARKS_PAGE_WORDS, MARKS_PAGE);
	}
	pthread_mutex_unlock(&m->lock);
	return unsaved;
}

static void end_saving(struct marks *m, bool saved)
{
	pthread_mutex_lock(&m->lock);
	for (uint64_t i = 0; i < m->maps.differs_pages; i++) {
		struct marks_page *p = &m->maps.pages[i];

		p->unsaved |= p->saving && !saved;
		p->saving = false;
	}
	pthread_mutex_unlock(&m->lock);
}

int marks_save_differs(struct marks *m)
{
	bool any = false;
	int err = 0;

	for (uint64_t p = 0; p < m->maps.differs_pages && !err; p++)
		if (take_unsaved(m, p)) {
			any = true;
			err = put_buffer(m, DIFFERS_AT + p * MARKS_PAGE);
		}
	if (any && !err)
		err = marks_flush(m);
	if (any)
		end_saving(m, !err);
	return err;
}

int marks_flush(struct marks *m)
{
	int err = m->file->ops->flush(m->file);

	if (err)
		m->file->ops->forgive(m->file);
	return err;
}

int marks_write_head(struct marks *m, uint64_t size)
{
	uint8_t head[MARKS_PAGE] = { 0 };

	memcpy(head + HEAD_MAGIC, MAGIC, 8);
	put_le32(head + HEAD_VERSION, VERSION);
	put_le32(head + HEAD_NUMBER, m->number);
	put_le64(head + HEAD_SIZE, size);
	put_le32(head + HEAD_REGION, MARKS_REGION);
	put_le32(head + HEAD_AREA, MARKS_AREA);
	put_le32(head + HEAD_OUTDATED, m->head_says);
	put_le32(head + HEAD_CRC, crc32c(0, head, HEAD_CRC));
	return m->file->ops->write(m->file, head, sizeof(head), 0, 0);
}

/* Durable. */
static int write_head(struct marks *m, uint64_t size)
{
	int err = marks_write_head(m, size);

	return err ? err : marks_flush(m);
}

/* ---- create and open ---- */

/*
 * Gets space for what a size needs, in few pieces. A file system that cannot do so gives it where all
 * of it is written.
 */
static int allocate(struct file *f, uint64_t size)
{
	uint64_t active = (marks_areas(size) / MARKS_PAGE_BITS + 1) * MARKS_PAGE;
	uint64_t differs = (marks_regions(size) / MARKS_PAGE_BITS + 1) * MARKS_PAGE;
	int err = f->ops->allocate(f, 0, ACTIVE_AT + active, true);

	if (!err)
		err = f->ops->allocate(f, DIFFERS_AT, differs, true);
	return err == -EOPNOTSUPP ? 0 : err;
}

/* All of the maps; the head is what makes them count. */
static int write_all(struct marks *m)
{
	int err;

	for (uint64_t p = 0; p < m->maps.differs_pages; p++)
		m->maps.pages[p].unsaved = true;
	for (uint64_t p = 0; p < m->maps.area_pages; p++)
		m->maps.due[p] = true;
	err = marks_write_image(m);
	return err ? err : marks_save_differs(m);
}

int marks_create(struct file *file, uint32_t number, uint64_t size, bool all, struct marks **out)
{
	struct marks *m;
	int err = new_marks(number, size, &m);

	if (err)
		return err;
	m->file = file;
	/* An old head is gone before anything is written behind it. */
	err = file->ops->resize(file, 0);
	if (!err)
		err = marks_flush(m);
	if (!err)
		err = allocate(file, size);
	if (!err) {
		marks_assign(m, 0, all ? marks_regions(size) : 0, true);
		err = write_all(m);
	}
	m->head_says = m->least = all ? MIXED : UP_TO_DATE;
	if (!err)
		err = write_head(m, size);
	atomic_store(&m->outdated, m->head_says);
	if (err) {
		file->ops->resize(file, 0);
		m->file = NULL;
		marks_close(m);
		return err;
	}
	*out = m;
	return 0;
}

static int read_head(struct file *f, uint32_t number, uint64_t *size, uint32_t *version,
		     enum outdated *outdated)
{
	uint8_t head[MARKS_PAGE];
	int err = f->ops->read(f, head, sizeof(head), 0, 0);

	if (err)
		return err;
	*version = get_le32(head + HEAD_VERSION);
	if (memcmp(head + HEAD_MAGIC, MAGIC, 8) ||
	    (*version != VERSION && *version != VERSION_WITHOUT_WORD) ||
	    get_le32(head + HEAD_NUMBER) != number ||
	    get_le32(head + HEAD_REGION) != MARKS_REGION ||
	    get_le32(head + HEAD_AREA) != MARKS_AREA ||
	    get_le32(head + HEAD_CRC) != crc32c(0, head, HEAD_CRC))
		return -EIO;
	*size = get_le64(head + HEAD_SIZE);
	*outdated = get_le32(head + HEAD_OUTDATED);
	return *size <= MARKS_MAX && *outdated <= MIXED ? 0 : -EIO;
}

/* Bits of `count` things, in so many pages. */
static int read_map(struct file *f, uint64_t *words, uint64_t pages, uint64_t count, uint64_t at)
{
	int err = f->ops->read(f, words, pages * MARKS_PAGE, at, 0);

	if (err)
		return err;
	for (uint64_t i = 0; i < pages * MARKS_PAGE_WORDS; i++)
		words[i] = le64toh(words[i]);
	bits_assign(words, count, pages * MARKS_PAGE_BITS, false);
	return 0;
}

/* What we read one that died may have written and not made durable: nothing is active, nor saved. */
static int read_maps(struct marks *m, struct file *f)
{
	struct marks_maps *maps = &m->maps;
	uint64_t areas = maps->area_pages;
	int err = read_map(f, maps->image, areas, marks_areas(m->size), ACTIVE_AT);

	if (!err)
		err = read_map(f, maps->differs, maps->differs_pages, marks_regions(m->size),
			       DIFFERS_AT);
	if (err)
		return err;
	m->imaged = bits_count(maps->image, areas * MARKS_PAGE_WORDS);
	for (uint64_t p = 0; p < maps->differs_pages; p++) {
		maps->pages[p].count = bits_count(maps->differs + p * MARKS_PAGE_WORDS,
						  MARKS_PAGE_WORDS);
		maps->pages[p].unsaved = maps->pages[p].count;
		m->differing += maps->pages[p].count;
	}
	marks_assign_areas(m, maps->image);
	return 0;
}

int marks_open(struct file *file, uint32_t number, struct marks **out)
{
	struct marks *m;
	uint64_t size;
	uint32_t version;
	enum outdated outdated;
	int err = read_head(file, number, &size, &version, &outdated);

	if (!err)
		err = new_marks(number, size, &m);
	if (err)
		return err;
	err = read_maps(m, file);
	if (err) {
		marks_close(m);
		return err;
	}
	m->file = file;
	if (version == VERSION_WITHOUT_WORD && marks_bytes(m))
		outdated = MIXED;
	/* It may have been written by one that died before it was durable. */
	m->head_says = m->least = outdated;
	*out = m;
	return 0;
}

/* ---- resize ---- */

/* The head says the new size, or still the old one. */
static int change_head(struct marks *m, uint64_t size)
{
	int err = write_head(m, size);

	if (err)
		write_head(m, m->size);
	return err;
}

/* Pages from the old end on, as they shall be, with [first, end) set. The maps are not changed. */
static int write_growth(struct marks *m, uint64_t size, uint64_t first, uint64_t end)
{
	uint64_t p = m->size / MARKS_REGION / MARKS_PAGE_BITS;
	int err = 0;

	for (; p < m->maps.differs_pages && !err; p++) {
		uint64_t from = p * MARKS_PAGE_BITS, to = from + MARKS_PAGE_BITS;

		pthread_mutex_lock(&m->lock);
		memcpy(m->buffer, m->maps.differs + p * MARKS_PAGE_WORDS, MARKS_PAGE);
		pthread_mutex_unlock(&m->lock);
		from = first > from ? first : from;
		to = end < to ? end : to;
		if (from < to)
			bits_assign(m->buffer, from % MARKS_PAGE_BITS,
				    from % MARKS_PAGE_BITS + to - from, true);
		err = put_buffer(m, DIFFERS_AT + p * MARKS_PAGE);
	}
	for (p = m->size / MARKS_AREA / MARKS_PAGE_BITS; p < m->maps.area_pages; p++)
		m->maps.due[p] = true;
	if (!err)
		err = marks_write_image(m);
	return err ? err : marks_flush(m);
}

static int grow(struct marks *m, uint64_t size, bool differs)
{
	/* What is new may begin inside of a region. */
	uint64_t end = marks_regions(size), first = differs ? m->size / MARKS_REGION : end;
	int err = size > MARKS_MAX ? -EFBIG : make_room(m, size);

	if (!err)
		err = allocate(m->file, size);
	if (!err)
		err = write_growth(m, size, first, end);
	if (!err)
		err = change_head(m, size);
	if (err)
		return err;
	pthread_mutex_lock(&m->lock);
	m->size = size;
	marks_assign(m, first, end, true);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int shrink(struct marks *m, uint64_t size)
{
	uint64_t areas = marks_areas(size), end = marks_areas(m->size);
	int err = change_head(m, size);

	if (err)
		return err;
	pthread_mutex_lock(&m->lock);
	marks_assign(m, marks_regions(size), marks_regions(m->size), false);
	bits_assign(m->maps.active, areas, end, false);
	m->imaged -= bits_assign(m->maps.image, areas, end, false);
	bits_assign(m->maps.touched, areas, end, false);
	bits_assign(m->maps.candidates, areas, end, false);
	m->size = size;
	m->cut = true;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

int marks_grow(struct marks *m, uint64_t size, bool differs)
{
	int err = 0;

	pthread_mutex_lock(&m->writing);
	if (size > m->size)
		err = grow(m, size, differs);
	pthread_mutex_unlock(&m->writing);
	return err;
}

int marks_resize(struct marks *m, uint64_t size, bool differs)
{
	int err = 0;

	pthread_mutex_lock(&m->writing);
	if (size > m->size)
		err = grow(m, size, differs);
	else if (size < m->size)
		err = shrink(m, size);
	pthread_mutex_unlock(&m->writing);
	return err;
}

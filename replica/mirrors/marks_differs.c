// SPDX-License-Identifier: GPL-2.0-or-later
/* What differs. */
#include "marks_inner.h"

#include <assert.h>

#include "bits.h"

void marks_assign(struct marks *m, uint64_t first, uint64_t end, bool value)
{
	while (first < end) {
		struct marks_page *p = &m->maps.pages[first / MARKS_PAGE_BITS];
		uint64_t stop = (first / MARKS_PAGE_BITS + 1) * MARKS_PAGE_BITS;
		uint64_t changed;

		stop = stop < end ? stop : end;
		changed = bits_assign(m->maps.differs, first, stop, value);
		if (value && m->watched)
			bits_assign(m->maps.fresh, first, stop, true);
		if (changed) {
			p->count += value ? changed : -changed;
			m->differing += value ? changed : -changed;
			p->unsaved = true;
		}
		first = stop;
	}
}

/* All of these areas differs. */
void marks_assign_areas(struct marks *m, const uint64_t *areas)
{
	const uint64_t ratio = MARKS_AREA / MARKS_REGION;
	uint64_t count = marks_areas(m->size), regions = marks_regions(m->size), end;

	for (uint64_t a = bits_find(areas, 0, count, true); a < count;
	     a = bits_find(areas, end, count, true)) {
		end = bits_find(areas, a, count, false);
		marks_assign(m, a * ratio, end * ratio < regions ? end * ratio : regions, true);
	}
}

/* Takes the lock. */
static void lock_range(struct marks *m, uint64_t off, uint64_t len)
{
	pthread_mutex_lock(&m->lock);
	assert(off <= m->size && len <= m->size - off);
}

void marks_set(struct marks *m, uint64_t off, uint64_t len)
{
	lock_range(m, off, len);
	if (len)
		marks_assign(m, off / MARKS_REGION, marks_regions(off + len), true);
	pthread_mutex_unlock(&m->lock);
}

void marks_clear(struct marks *m, uint64_t off, uint64_t len)
{
	uint64_t end;

	lock_range(m, off, len);
	end = off + len == m->size ? marks_regions(m->size) : (off + len) / MARKS_REGION;
	marks_assign(m, marks_regions(off), end, false);
	pthread_mutex_unlock(&m->lock);
}

void marks_clear_unset(struct marks *m, uint64_t off, uint64_t len)
{
	uint64_t first, stop, end;

	lock_range(m, off, len);
	assert(m->watched);
	end = off + len == m->size ? marks_regions(m->size) : (off + len) / MARKS_REGION;
	for (first = marks_regions(off); first < end; first = stop) {
		first = bits_find(m->maps.fresh, first, end, false);
		stop = bits_find(m->maps.fresh, first, end, true);
		marks_assign(m, first, stop, false);
	}
	pthread_mutex_unlock(&m->lock);
}

bool marks_differs(struct marks *m, uint64_t off, uint64_t len, uint64_t *run)
{
	uint64_t first = off / MARKS_REGION, end = marks_regions(off + len), same;
	bool value;

	lock_range(m, off, len);
	assert(len);
	value = bits_find(m->maps.differs, first, first + 1, true) == first;
	same = bits_find(m->maps.differs, first, end, !value);
	pthread_mutex_unlock(&m->lock);
	*run = same == end ? len : same * MARKS_REGION - off;
	return value;
}

uint64_t marks_next(struct marks *m, uint64_t off)
{
	uint64_t at = off / MARKS_REGION, count, stop;

	pthread_mutex_lock(&m->lock);
	count = marks_regions(m->size);
	while (at < count) {
		stop = (at / MARKS_PAGE_BITS + 1) * MARKS_PAGE_BITS;
		stop = stop < count ? stop : count;
		if (m->maps.pages[at / MARKS_PAGE_BITS].count)
			at = bits_find(m->maps.differs, at, stop, true);
		else
			at = stop;
		if (at < stop)
			break;
	}
	pthread_mutex_unlock(&m->lock);
	return at < count ? at * MARKS_REGION : UINT64_MAX;
}

uint64_t marks_bytes(struct marks *m)
{
	uint64_t bytes, last;

	pthread_mutex_lock(&m->lock);
	bytes = m->differing * MARKS_REGION;
	last = m->size / MARKS_REGION;
	/* The last region may be a part of one. */
	if (m->size % MARKS_REGION && bits_find(m->maps.differs, last, last + 1, true) == last)
		bytes -= MARKS_REGION - m->size % MARKS_REGION;
	pthread_mutex_unlock(&m->lock);
	return bytes;
}

bool marks_were_cut(struct marks *m)
{
	bool cut;

	pthread_mutex_lock(&m->lock);
	cut = m->cut;
	pthread_mutex_unlock(&m->lock);
	return cut;
}

uint64_t marks_size(struct marks *m)
{
	uint64_t size;

	pthread_mutex_lock(&m->lock);
	size = m->size;
	pthread_mutex_unlock(&m->lock);
	return size;
}

void marks_doubt(struct marks *m)
{
	uint64_t words;

	pthread_mutex_lock(&m->lock);
	marks_assign_areas(m, m->maps.active);
	/* A round that has saved what differs does not let go of them. */
	words = m->maps.area_pages * MARKS_PAGE_WORDS;
	for (uint64_t i = 0; i < words; i++)
		m->maps.touched[i] |= m->maps.active[i];
	pthread_mutex_unlock(&m->lock);
}

int marks_set_all(struct marks *m)
{
	int err;

	pthread_mutex_lock(&m->writing);
	pthread_mutex_lock(&m->lock);
	marks_assign(m, 0, marks_regions(m->size), true);
	pthread_mutex_unlock(&m->lock);
	err = marks_save_differs(m);
	pthread_mutex_unlock(&m->writing);
	return err;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Giving space back, and how much there is. */
#include "segments_inner.h"

#include <errno.h>

#define PAGE 4096ull

/* Whole pages in [from, to) of that file. */
static int punch(struct segments *s, struct segment *seg, uint64_t from, uint64_t to)
{
	uint64_t first = (from + PAGE - 1) / PAGE * PAGE, end = to / PAGE * PAGE;
	int err = 0;

	if (first < end)
		err = seg->file->ops->zero(seg->file, first, end - first, ZERO_PUNCH);
	segment_punched(s, seg);
	return err;
}

/* What is in memory has its space in the file, and is to have it. */
int segments_free_range(struct segments *s, uint64_t from, uint64_t to)
{
	uint64_t in_memory = atomic_load(&s->in_memory), next;
	int err = 0;

	if (s->kind == SEGMENTS_STORE && to > in_memory)
		to = in_memory;
	for (; from < to && !err; from = next) {
		uint64_t start = from / SEGMENT_SIZE * SEGMENT_SIZE;
		struct segment *seg;

		next = start + SEGMENT_SIZE < to ? start + SEGMENT_SIZE : to;
		err = segment_get(s, from / SEGMENT_SIZE, &seg);
		if (err == -ENOENT) {
			err = 0;
			continue;
		}
		if (err)
			break;
		err = punch(s, seg, from == start ? SEGMENT_HEAD : from - start, next - start);
		segment_put(s, seg);
	}
	return err;
}

/* Its head says that nothing in front of the next record counts, so that replay goes on there. */
static int empty_current(struct segments *s)
{
	struct segment *seg = s->current;
	uint8_t bytes[SEGMENT_HEAD];
	struct segment_head h = seg->head;
	int err = segments_write_out(s);

	if (err)
		return err;
	h.begin = s->at;
	segment_head_put(&h, bytes);
	err = seg->file->ops->write(seg->file, bytes, sizeof(bytes), 0, 0);
	segment_changed(s, seg);
	if (err)
		return err;
	seg->head = h;
	return punch(s, seg, SEGMENT_HEAD, s->at);
}

int segments_drop(struct segments *s, uint64_t segment)
{
	uint64_t unflushed = segment_unflushed(s, atomic_load(&s->clean_before)), current;
	int err = 0;

	if (unflushed && unflushed < segment)
		err = segments_flush(s);
	if (err)
		return err;
	pthread_mutex_lock(&s->appending);
	current = s->current ? s->current->number : s->next;
	if (s->current && current == segment)
		err = empty_current(s);
	pthread_mutex_unlock(&s->appending);
	return segment < current ? segment_remove(s, segment) : err;
}

/* Does it hold nothing from that place on? */
static bool ends_before(struct segments *s, uint64_t number, uint64_t place)
{
	bool ends = number < place / SEGMENT_SIZE;
	struct segment *seg;

	if (ends || segment_get(s, number, &seg))
		return ends;
	pthread_mutex_lock(&s->table);
	ends = seg->end && seg->end <= place;
	pthread_mutex_unlock(&s->table);
	segment_put(s, seg);
	return ends;
}

int segments_drop_before(struct segments *s, uint64_t place)
{
	uint64_t n, current;
	int err = 0;

	pthread_mutex_lock(&s->appending);
	current = s->current ? s->current->number : s->next;
	pthread_mutex_unlock(&s->appending);
	for (n = segment_from(s, 1);
	     n && !err && n < current && n <= place / SEGMENT_SIZE && ends_before(s, n, place);
	     n = segment_from(s, n + 1))
		err = segment_remove(s, n);
	return err;
}

/* ---- how much ---- */

uint64_t segments_number_from(struct segments *s, uint64_t number)
{
	return segment_from(s, number);
}

/* Measured once: there may be thousands, and hardly any is open. */
uint64_t segments_allocated_in(struct segments *s, uint64_t segment)
{
	char name[SEGMENT_NAME];
	uint64_t allocated, since;

	if (segment_measured(s, segment, &allocated, &since))
		return allocated;
	segment_name(segment, name);
	if (s->dir->ops->space(s->dir, name, &allocated))
		allocated = 0;
	segment_set_measured(s, segment, allocated, since);
	return allocated;
}

uint64_t segments_allocated(struct segments *s)
{
	uint64_t sum = 0;

	for (uint64_t n = segment_from(s, 1); n; n = segment_from(s, n + 1))
		sum += segments_allocated_in(s, n);
	return sum;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Space that a crash left behind in segments of the store: its versions went out of the catalogue
 * and their records had not been given back yet, or records were appended whose versions never came
 * into it. Nobody appends to segments from before this start, and versions come with new records
 * only: what lies between the versions there is of nobody, and stays so.
 *
 * It is looked for by what a segment takes beyond its versions. That is never nothing, because of
 * pages that a version has in part: up to SPARE it is left alone. After a crash only; what a stop
 * leaves in the middle of this, the next start goes on with.
 */
#include <errno.h>
#include <stdlib.h>

#include "snapshots_inner.h"

#define SPARE (SEGMENT_SIZE / 64)
/* Of versions in memory, 16 bytes each. More segments at a time save passes over all versions. */
#define PLACES_MAX (1u << 20)
#define PAGE 512

struct segment_use {
	uint64_t number;
	struct version_totals totals;
};

struct piece {
	uint64_t from, to; /* places */
};

struct sweep {
	struct tandem *t;
	struct disk *d;
	struct segments *store;
	_Atomic bool *stop;
	struct segment_use *segments; /* in order */
	size_t count, room;
	struct piece *pieces;
	size_t piece_count, piece_room;
};

static int add_segment(void *arg, uint64_t number, const struct version_totals *totals)
{
	struct sweep *s = arg;

	if (number >= segments_own_from(s->store))
		return 0;
	if (s->count == s->room) {
		size_t room = 2 * s->room + 64;
		void *more = realloc(s->segments, room * sizeof(*s->segments));

		if (!more)
			return -ENOMEM;
		s->segments = more;
		s->room = room;
	}
	s->segments[s->count++] = (struct segment_use){ .number = number, .totals = *totals };
	return 0;
}

/* Those that take little more than their versions are not looked at. */
static void leave_alone(struct sweep *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->count; i++) {
		const struct segment_use *u = &s->segments[i];
		uint64_t used = u->totals.bytes + u->totals.count * record_space(0);

		if (segments_allocated_in(s->store, u->number) > used + SPARE)
			s->segments[n++] = *u;
	}
	s->count = n;
}

/* ---- some segments at a time ---- */

static int by_number(const void *key, const void *of)
{
	uint64_t number = *(const uint64_t *)key, n = ((const struct segment_use *)of)->number;

	return (number > n) - (number < n);
}

static int add_pieces(struct sweep *s, const struct segment_use *first, size_t count,
		      const struct version *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t number = v[i].place / SEGMENT_SIZE;

		if (!v[i].place || !bsearch(&number, first, count, sizeof(*first), by_number))
			continue;
		if (s->piece_count == s->piece_room) {
			size_t room = 2 * s->piece_room + PAGE;
			void *more = realloc(s->pieces, room * sizeof(*s->pieces));

			if (!more)
				return -ENOMEM;
			s->pieces = more;
			s->piece_room = room;
		}
		s->pieces[s->piece_count++] =
			(struct piece){ v[i].place, v[i].place + record_space(v[i].length) };
	}
	return 0;
}

static int find_pieces(struct sweep *s, const struct segment_use *first, size_t count)
{
	struct version *page = malloc((PAGE + 1) * sizeof(*page)), *after = NULL;
	int err = page ? 0 : -ENOMEM;
	size_t n = 1;

	s->piece_count = 0;
	while (!err && n) {
		err = versions_of_blocks(s->t->catalogue, s->d->number, 0, after, page, PAGE, &n);
		if (!err)
			err = add_pieces(s, first, count, page, n);
		if (!err && n) {
			after = &page[PAGE];
			*after = page[n - 1];
		}
		if (!err && atomic_load(s->stop))
			err = -ECANCELED;
	}
	free(page);
	return err;
}

static int by_place(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return (x->from > y->from) - (x->from < y->from);
}

/* Versions in pieces[at...] are in segments from that one on. */
static void free_gaps(struct sweep *s, uint64_t number, size_t *at)
{
	uint64_t from = number * SEGMENT_SIZE, end = from + SEGMENT_SIZE;

	/* What cannot be given back is space only. */
	for (; *at < s->piece_count && s->pieces[*at].from < end; ++*at) {
		const struct piece *p = &s->pieces[*at];

		if (p->from > from)
			segments_free_range(s->store, from, p->from);
		if (p->to > from)
			from = p->to;
	}
	if (from < end)
		segments_free_range(s->store, from, end);
}

static int sweep_some(struct sweep *s, const struct segment_use *first, size_t count)
{
	int err = find_pieces(s, first, count);
	size_t at = 0;

	if (!err && s->piece_count)
		qsort(s->pieces, s->piece_count, sizeof(*s->pieces), by_place);
	for (size_t i = 0; i < count && !err; i++) {
		free_gaps(s, first[i].number, &at);
		err = atomic_load(s->stop) ? -ECANCELED : 0;
	}
	collector_gave(s->t->snapshots->collector); /* who waits for space looks again */
	return err;
}

int sweep_store(struct tandem *t, struct disk *d, struct segments *store, _Atomic bool *stop)
{
	struct sweep s = { .t = t, .d = d, .store = store, .stop = stop };
	int err = version_segments(t->catalogue, d->number, add_segment, &s);
	size_t n;

	if (!err)
		leave_alone(&s);
	for (size_t i = 0; i < s.count && !err; i += n) {
		uint64_t places = s.segments[i].totals.count;

		for (n = 1; i + n < s.count; n++) {
			places += s.segments[i + n].totals.count;
			if (places > PLACES_MAX)
				break;
		}
		err = sweep_some(&s, &s.segments[i], n);
	}
	free(s.segments);
	free(s.pieces);
	return err;
}

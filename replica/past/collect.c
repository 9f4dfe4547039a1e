// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Giving back what no kept moment needs, for dropped moments, as many as there are.
 *
 * A version stands for the generations (end of the one before it, its own end],
 * and is needed as long as one of them is kept. Let `lower` and `upper` be the kept
 * moments on both sides of a dropped one. Versions that only it needed end in
 * [dropped, upper), and begin after lower: the one before them ends at lower or
 * later. What ends before was looked at with another moment, or lower needs it.
 * Of several that are dropped, whichever is collected last finds what only they
 * needed together; so those between the same two kept moments are collected in one go,
 * from the first of them on. A moment that is kept from now on has a generation that is
 * not over yet, so nothing beyond that is looked at.
 *
 * The order: D(moments dropped) -> the settler goes by them no more -> versions out of
 * the catalogue, by the page -> D -> their space -> the moments out of the
 * catalogue. A crash on the way leaves the moments dropped, and they are collected
 * again; the space of what was to be FREED at once is found at the next start (sweep.c).
 * A segment goes while the settler pauses: then what no version is in is of nobody.
 *
 * Space is given back for many versions at once because a call for each of them takes longer
 * than a guest needs to make another: those of several moments lie side by side, and most
 * of it goes as a whole segment, which is one call.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshots_inner.h"
#include "space.h"

/* Versions of one transaction; and when there is no space but for what gives some back. */
#define PAGE 512
#define PAGE_SMALL 64
/* Of which the space is given back at once. */
#define FREED (32 * PAGE)

/* Places. */
struct freed {
	uint64_t from, to;
};

/* What a job is about. */
struct work {
	struct tandem *t;
	_Atomic bool *stop;
	struct disk *d;
	struct history *h;
	uint64_t lower, from, upper;
	struct freed *freed;
	size_t count;
};

/* ---- space ---- */

/* Segments of the disk that versions are in. */
struct sweep {
	bool *used;
	uint64_t count;
};

static int visit_segment(void *arg, uint64_t segment, const struct version_totals *totals)
{
	struct sweep *s = arg;

	(void)totals;
	if (segment < s->count)
		s->used[segment] = true;
	return 0;
}

/* used is to be freed, also after an error. */
static int look_at_segments(const struct work *w, struct sweep *s)
{
	s->count = segments_end(history_store(w->h)) / SEGMENT_SIZE + 1;
	s->used = calloc(s->count, sizeof(*s->used));
	if (!s->used)
		return -ENOMEM;
	return version_segments(w->t->catalogue, w->d->number, visit_segment, s);
}

/* Unless the settler has put something into it since. false: it stays; an error costs space only. */
static bool drop_segment(const struct work *w, uint64_t segment)
{
	struct version_totals totals;
	struct catalogue_txn *txn;
	bool dropped = false;

	history_pause(w->h);
	if (!catalogue_begin(w->t->catalogue, &txn)) {
		dropped = version_segment(txn, w->d->number, segment, &totals) == -ENOENT;
		catalogue_abort(txn);
		if (dropped)
			dropped = !segments_drop(history_store(w->h), segment);
	}
	history_resume(w->h);
	return dropped;
}

static int by_place(const void *a, const void *b)
{
	const struct freed *x = a, *y = b;

	return (x->from > y->from) - (x->from < y->from);
}

/* Those that follow on each other, from the first of `count` on. */
static size_t run_of(const struct freed *list, size_t count)
{
	size_t n = 1;

	while (n < count && list[n].from == list[n - 1].to)
		n++;
	return n;
}

/* Those that were only emptied, as they were appended to then, and are not any more. */
static void drop_empty(const struct work *w, const struct sweep *s)
{
	struct segments *store = history_store(w->h);

	for (uint64_t n = segments_number_from(store, 1); n && n + 1 < s->count;
	     n = segments_number_from(store, n + 1))
		if (!s->used[n])
			drop_segment(w, n);
}

/* Of versions that are not in the catalogue any more. */
static void give_back(struct work *w)
{
	struct segments *store = history_store(w->h);
	uint64_t segment = UINT64_MAX;
	bool known, dropped = false;
	struct sweep s;
	size_t n;

	if (!w->count)
		return;
	known = !look_at_segments(w, &s);
	qsort(w->freed, w->count, sizeof(*w->freed), by_place);
	for (size_t i = 0; i < w->count; i += n) {
		n = run_of(w->freed + i, w->count - i);
		if (w->freed[i].from / SEGMENT_SIZE != segment) {
			segment = w->freed[i].from / SEGMENT_SIZE;
			dropped = known && segment < s.count && !s.used[segment] &&
				  drop_segment(w, segment);
		}
		if (!dropped)
			segments_free_range(store, w->freed[i].from, w->freed[i + n - 1].to);
	}
	if (known)
		drop_empty(w, &s);
	free(s.used);
	collector_gave(w->t->snapshots->collector);
	w->count = 0;
}

/* ---- one page ---- */

/* 1: nobody needs it. */
static int is_garbage(const struct work *w, struct catalogue_txn *txn, const struct version *v)
{
	struct version before;
	int err = version_before(txn, w->d->number, v->block, v->last, &before);

	if (err == -ENOENT)
		return w->lower == 0;
	return err ? err : before.last >= w->lower;
}

/* *freed: how many of them have space. */
static int delete_garbage(struct work *w, struct catalogue_txn *txn, const struct version *list,
			  size_t count, size_t *freed)
{
	int err = 0;

	*freed = 0;
	for (size_t i = 0; i < count && !err; i++) {
		const struct version *v = &list[i];
		int garbage = is_garbage(w, txn, v);

		if (garbage <= 0) {
			err = garbage;
			continue;
		}
		err = version_del(txn, w->d->number, v->block, v->last);
		if (!err && v->place)
			w->freed[w->count + (*freed)++] =
				(struct freed){ v->place, v->place + record_space(v->length) };
	}
	return err;
}

static int collect_page(struct work *w, const struct version *list, size_t count)
{
	struct catalogue_txn *txn;
	size_t freed = 0;
	int err = catalogue_begin(w->t->catalogue, &txn);

	if (!err) {
		err = delete_garbage(w, txn, list, count, &freed);
		if (err)
			catalogue_abort(txn);
		else
			err = catalogue_commit(txn);
	}
	if (!err)
		w->count += freed;
	return err;
}

static int collect_versions(struct work *w)
{
	struct version *list = malloc((PAGE + 1) * sizeof(*list)), *last = NULL;
	int err = list ? 0 : -ENOMEM;

	while (!err) {
		bool scarce = catalogue_is_scarce(w->t->catalogue);
		size_t count, room = scarce ? PAGE_SMALL : PAGE;

		err = versions_between(w->t->catalogue, w->d->number, w->from, w->upper, last, list,
				       room, &count);
		if (err || !count)
			break;
		last = &list[PAGE];
		*last = list[count - 1];
		err = collect_page(w, list, count);
		if (scarce || space_is_low(w->t) || w->count + PAGE > FREED)
			give_back(w);
		if (!err && atomic_load(w->stop))
			err = -ECANCELED;
	}
	free(list);
	return err;
}

/* ---- moments ---- */

/* A restore goes by it, or it is what is seen of the disk. */
static bool is_in_use(struct disk *d, const struct moment_record *m)
{
	struct history *h = atomic_load(&d->history);

	return m->hidden && (history_restore(h).before == m->generation ||
			     history_shown(h) == m->generation || history_seen(h) == m->generation);
}

/* A moment whose making failed, or that lost its last name while it was read, is still there. */
static int drop_moment(struct tandem *t, struct disk *d, uint64_t generation, bool *needed)
{
	struct snapshots *s = t->snapshots;
	struct moment_record m;
	int err;

	pthread_mutex_lock(&s->changing);
	err = moment_exactly(d, generation, &m);
	*needed = !err &&
		  (m.tick || table_names(s, d->number, generation, NULL) || is_in_use(d, &m));
	if (!err && !*needed) {
		err = dropping_begin(s, d, generation);
		if (!err) {
			m.names = 0;
			m.dropped = true;
			history_change_moment(atomic_load(&d->history), &m);
			dropping_end(s, d, generation);
		}
	}
	pthread_mutex_unlock(&s->changing);
	return err == -ENOENT ? 0 : err; /* dropped already */
}

/* Which versions are in question. */
static void set_range(struct work *w, uint64_t generation)
{
	uint64_t now = atomic_load(&w->t->generation); /* before the moments are looked at */
	struct moment_record newest;

	history_barrier(w->h);
	if (history_moment(w->h, UINT64_MAX, &newest)) {
		w->lower = w->from = 0; /* none is kept: everything goes */
		w->upper = now;
	} else if (generation) {
		moment_neighbours(w->h, generation, &w->lower, &w->upper);
		w->from = generation;
	} else {
		w->lower = w->from = newest.generation; /* of a moment that was never recorded */
		w->upper = now;
	}
	if (w->upper > now)
		w->upper = now;
}

/* All of them, or none. */
static int forget_moments(const struct work *w, const struct dropped *list, size_t count)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin(w->t->catalogue, &txn);

	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++) {
		err = moment_del(txn, w->d->number, list[i].generation);
		if (err == -ENOENT) /* it never was recorded */
			err = 0;
	}
	if (!err)
		return catalogue_commit(txn);
	catalogue_abort(txn);
	return err;
}

/* Segments that no version is in: a crash came between the catalogue and them. */
static int drop_segments(const struct work *w)
{
	struct sweep s;
	int err = look_at_segments(w, &s);

	for (uint64_t i = 0; i < s.count && !err; i++)
		if (!s.used[i])
			drop_segment(w, i);
	free(s.used);
	return err;
}

static int by_generation(const void *a, const void *b)
{
	const struct dropped *x = a, *y = b;

	return (x->generation > y->generation) - (x->generation < y->generation);
}

/* How many of a sorted list have no kept moment between them. */
static size_t together(const struct work *w, const struct dropped *list, size_t count)
{
	size_t n = 1;

	while (n < count && list[n].generation < w->upper)
		n++;
	return n;
}

/* Of the list those that are dropped by now come first, sorted; how many. */
static size_t drop_moments(struct tandem *t, struct disk *d, struct dropped *list, size_t count)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		bool needed;

		list[i].err = drop_moment(t, d, list[i].generation, &needed);
		if (!list[i].err && !needed) {
			struct dropped swap = list[n];

			list[n++] = list[i];
			list[i] = swap;
		}
	}
	qsort(list, n, sizeof(*list), by_generation);
	return n;
}

void collect(struct tandem *t, struct disk *d, struct dropped *list, size_t count,
	     _Atomic bool *stop)
{
	struct work w = { .t = t, .d = d, .h = atomic_load(&d->history), .stop = stop };
	size_t n, dropped = drop_moments(t, d, list, count);

	w.freed = malloc(FREED * sizeof(*w.freed));
	for (size_t i = 0; i < dropped; i += n) {
		/* What is wrong with some keeps nobody from the others. */
		int err = !w.freed ? -ENOMEM : atomic_load(stop) ? -ECANCELED : 0;

		n = 1;
		if (!err) {
			set_range(&w, list[i].generation);
			n = together(&w, list + i, dropped - i);
			err = collect_versions(&w);
			give_back(&w);
		}
		if (!err)
			err = forget_moments(&w, list + i, n);
		for (size_t k = i; k < i + n; k++)
			list[k].err = err;
	}
	free(w.freed);
	if (dropped)
		snapshots_changed(t, d);
}

int collect_rest(struct tandem *t, struct disk *d, _Atomic bool *stop)
{
	struct work w = { .t = t, .d = d, .h = atomic_load(&d->history), .stop = stop };
	int err;

	w.freed = malloc(FREED * sizeof(*w.freed));
	if (!w.freed)
		return -ENOMEM;
	set_range(&w, 0);
	err = collect_versions(&w);
	give_back(&w);
	free(w.freed);
	if (!err)
		err = drop_segments(&w);
	if (!err)
		err = sweep_store(t, d, history_store(w.h), stop);
	if (!err) {
		history_set_swept(w.h);
		err = past_record(d, w.h);
	}
	if (!err)
		snapshots_changed(t, d);
	return err;
}

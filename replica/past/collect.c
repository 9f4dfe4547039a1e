// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Giving back what no kept moment needs, one dropped moment after the other.
 *
 * A version stands for the generations (end of the one before it, its own end],
 * and is needed as long as one of them is kept. Let `lower` and `upper` be the kept
 * moments on both sides of a dropped one. Versions that only it needed end in
 * [dropped, upper), and begin after lower: the one before them ends at lower or
 * later. What ends before was looked at with another moment, or lower needs it.
 * Of several that are dropped, whichever is collected last finds what only they
 * needed together. A moment that is kept from now on has a generation that is
 * not over yet, so nothing beyond that is looked at.
 *
 * The order: D(moment dropped) -> the settler goes by it no more -> versions out of
 * the catalogue, by the page -> D -> their space -> the moment out of the
 * catalogue. A crash on the way leaves the moment dropped, and it is collected
 * again; only the space of one page may stay behind, until its segment goes. A
 * segment goes while the settler pauses: then what no version is in is of nobody.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshots_inner.h"

/* Versions of one transaction; and when there is no space but for what gives some back. */
#define PAGE 512
#define PAGE_SMALL 64

/* ---- one page ---- */

/* What a job is about. */
struct work {
	struct tandem *t;
	_Atomic bool *stop;
	struct disk *d;
	struct history *h;
	uint64_t lower, from, upper;
};

/* Versions that went, and their segments. */
struct page {
	struct version went[PAGE];
	size_t count;
	uint64_t segments[PAGE]; /* distinct */
	bool empty[PAGE];        /* no version is in it */
	size_t segment_count;
};

/* 1: nobody needs it. */
static int is_garbage(const struct work *w, struct catalogue_txn *txn, const struct version *v)
{
	struct version before;
	int err = version_before(txn, w->d->number, v->block, v->last, &before);

	if (err == -ENOENT)
		return w->lower == 0;
	return err ? err : before.last >= w->lower;
}

static void note_segment(struct page *p, uint64_t segment)
{
	for (size_t i = p->segment_count; i-- > 0;)
		if (p->segments[i] == segment)
			return;
	p->segments[p->segment_count++] = segment;
}

static int delete_garbage(const struct work *w, struct catalogue_txn *txn,
			  const struct version *list, size_t count, struct page *p)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		int garbage = is_garbage(w, txn, &list[i]);

		if (garbage <= 0) {
			err = garbage;
			continue;
		}
		err = version_del(txn, w->d->number, list[i].block, list[i].last);
		if (err || !list[i].place)
			continue;
		p->went[p->count++] = list[i];
		note_segment(p, list[i].place / SEGMENT_SIZE);
	}
	for (size_t i = 0; i < p->segment_count && !err; i++) {
		struct version_totals totals;

		err = version_segment(txn, w->d->number, p->segments[i], &totals);
		p->empty[i] = err == -ENOENT;
		if (p->empty[i])
			err = 0;
	}
	return err;
}

/* Unless the settler has put something into it since. An error costs space only. */
static void drop_segment(const struct work *w, uint64_t segment)
{
	struct version_totals totals;
	struct catalogue_txn *txn;
	bool empty;

	history_pause(w->h);
	if (!catalogue_begin(w->t->catalogue, &txn)) {
		empty = version_segment(txn, w->d->number, segment, &totals) == -ENOENT;
		catalogue_abort(txn);
		if (empty)
			segments_drop(history_store(w->h), segment);
	}
	history_resume(w->h);
}

/* After the commit. */
static void give_back(const struct work *w, const struct page *p)
{
	struct segments *store = history_store(w->h);

	for (size_t i = 0; i < p->segment_count; i++) {
		if (p->empty[i]) {
			drop_segment(w, p->segments[i]);
			continue;
		}
		for (size_t k = 0; k < p->count; k++)
			if (p->went[k].place / SEGMENT_SIZE == p->segments[i])
				segments_free(store, p->went[k].place, p->went[k].length);
	}
}

static int collect_page(const struct work *w, const struct version *list, size_t count,
			struct page *p)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin(w->t->catalogue, &txn);

	p->count = p->segment_count = 0;
	if (!err) {
		err = delete_garbage(w, txn, list, count, p);
		if (err)
			catalogue_abort(txn);
		else
			err = catalogue_commit(txn);
	}
	if (!err) {
		give_back(w, p);
		collector_gave(w->t->snapshots->collector);
	}
	return err;
}

static int collect_versions(const struct work *w)
{
	struct version *list = malloc((PAGE + 1) * sizeof(*list)), *last = NULL;
	struct page *p = malloc(sizeof(*p));
	int err = list && p ? 0 : -ENOMEM;

	while (!err) {
		size_t count, room = catalogue_is_scarce(w->t->catalogue) ? PAGE_SMALL : PAGE;

		err = versions_between(w->t->catalogue, w->d->number, w->from, w->upper, last, list,
				       room, &count);
		if (err || !count)
			break;
		last = &list[PAGE];
		*last = list[count - 1];
		err = collect_page(w, list, count, p);
		if (!err && atomic_load(w->stop))
			err = -ECANCELED;
	}
	free(list);
	free(p);
	return err;
}

/* ---- one job ---- */

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

static int forget_moment(struct tandem *t, struct disk *d, uint64_t generation)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin(t->catalogue, &txn);

	if (err)
		return err;
	err = moment_del(txn, d->number, generation);
	if (err == -ENOENT) { /* it never was recorded */
		catalogue_abort(txn);
		return 0;
	}
	if (err) {
		catalogue_abort(txn);
		return err;
	}
	return catalogue_commit(txn);
}

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

/* Segments that no version is in: a crash came between the catalogue and them. */
static int drop_segments(const struct work *w)
{
	struct sweep s = { .count = segments_end(history_store(w->h)) / SEGMENT_SIZE };
	int err;

	s.used = calloc(s.count + 1, sizeof(*s.used));
	err = s.used ? version_segments(w->t->catalogue, w->d->number, visit_segment, &s) : -ENOMEM;
	for (uint64_t i = 0; i < s.count && !err; i++)
		if (!s.used[i])
			drop_segment(w, i);
	free(s.used);
	return err;
}

int collect(struct tandem *t, struct disk *d, uint64_t generation, _Atomic bool *stop)
{
	struct work w = { .t = t, .d = d, .h = atomic_load(&d->history), .stop = stop };
	bool needed = false;
	int err = generation ? drop_moment(t, d, generation, &needed) : 0;

	if (err || needed)
		return err;
	set_range(&w, generation);
	err = collect_versions(&w);
	if (!err && generation)
		err = forget_moment(t, d, generation);
	if (!err && !generation)
		err = drop_segments(&w);
	if (!err)
		snapshots_changed(t, d);
	return err;
}

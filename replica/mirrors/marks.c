// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who may write, and when an area is no longer active.
 *
 * Why an area with a writer never becomes inactive: a round lets go of areas that were touched
 * neither between the round before it and itself, nor after it began, and it waits for all who
 * began before it. A writer touches its areas when it begins. So one that began before the round is
 * waited for, and one that began after it is seen.
 *
 *   active, in memory  ->  it is in the file, durably, in each page that was written since
 *   image, in memory   <-  it is in the file
 */
#include "marks_inner.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "bits.h"

/*
 * When an area is touched whose predecessor is active, so many behind it become active with it:
 * otherwise a sequential writer would wait for a flush each 4 MiB, and behind a busy device one
 * takes milliseconds.
 */
#define LOOK_AHEAD 16
/*
 * Where everything differs anyway, so many: nothing more is copied after a crash for that, and a first
 * copy would else wait for the journal, and so for what it has just written itself, each 64 MiB.
 */
#define FAR_AHEAD 4096
#define AREA_REGIONS (MARKS_AREA / MARKS_REGION)

/* Somebody who waits for [first, end); on the stack of its thread, which waits for `writing`. */
struct marks_want {
	struct marks_want *next;
	uint64_t first, end;
	bool done; /* under writing: err is valid, and it is in no list */
	int err;
};

/* ---- begin and end ---- */

/* Under lock. */
static bool is_active(const struct marks *m, const struct marks_want *w)
{
	return bits_find(m->maps.active, w->first, w->end, false) == w->end;
}

/* Under lock. */
static bool differs_all_over(const struct marks *m, uint64_t area)
{
	uint64_t end = (area + 1) * AREA_REGIONS;

	return end <= marks_regions(m->size) &&
	       bits_find(m->maps.differs, area * AREA_REGIONS, end, false) == end;
}

/* Under writing and lock: it is in the image, with what lies ahead of it. */
static void put_in_image(struct marks *m, struct marks_want *w)
{
	uint64_t areas = marks_areas(m->size);
	uint64_t before = w->first - 1; /* w->first 0: not < areas */

	if (before < areas && bits_find(m->maps.active, before, w->first, true) == before)
		w->end = areas - w->end < LOOK_AHEAD ? areas : w->end + LOOK_AHEAD;
	while (w->end < areas && w->end - w->first < FAR_AHEAD && differs_all_over(m, w->end))
		w->end++;
	m->imaged += bits_assign(m->maps.image, w->first, w->end, true);
	for (uint64_t p = w->first / MARKS_PAGE_BITS; p * MARKS_PAGE_BITS < w->end; p++)
		m->maps.due[p] = true;
}

/* Under writing. Takes all who wait but those whose areas have become active; they are done. */
static struct marks_want *take_wanted(struct marks *m)
{
	struct marks_want *list, *w, **link = &list;

	pthread_mutex_lock(&m->lock);
	list = m->wanted;
	m->wanted = NULL;
	while ((w = *link)) {
		if (is_active(m, w)) {
			w->done = true;
			*link = w->next;
		} else {
			put_in_image(m, w);
			link = &w->next;
		}
	}
	pthread_mutex_unlock(&m->lock);
	return list;
}

/* Under writing: for all who wait, one flush. */
static void activate_wanted(struct marks *m)
{
	struct marks_want *list = take_wanted(m);
	int err;

	if (!list)
		return;
	err = marks_write_image(m);
	if (!err)
		err = marks_flush(m);
	pthread_mutex_lock(&m->lock);
	for (struct marks_want *w = list; w; w = w->next) {
		if (!err) {
			bits_assign(m->maps.active, w->first, w->end, true);
			bits_assign(m->maps.touched, w->first, w->end, true);
		}
		w->err = err;
		w->done = true;
	}
	pthread_mutex_unlock(&m->lock);
}

/* Its areas are durably active, or why not. It is in the list. */
static int wait_for(struct marks *m, struct marks_want *w)
{
	pthread_mutex_lock(&m->writing);
	if (!w->done)
		activate_wanted(m);
	assert(w->done);
	pthread_mutex_unlock(&m->writing);
	return w->err;
}

int marks_begin(struct marks *m, uint64_t off, uint64_t len, unsigned *turn)
{
	struct marks_want w = { .first = off / MARKS_AREA };
	unsigned mine;
	bool ready;
	int err = 0;

	pthread_mutex_lock(&m->lock);
	assert(off <= m->size && len <= m->size - off);
	w.end = len ? marks_areas(off + len) : w.first;
	mine = m->turn;
	m->running[mine]++;
	bits_assign(m->maps.touched, w.first, w.end, true);
	ready = is_active(m, &w);
	if (!ready) {
		w.next = m->wanted;
		m->wanted = &w;
	}
	pthread_mutex_unlock(&m->lock);
	if (!ready)
		err = wait_for(m, &w);
	if (err)
		marks_end(m, mine);
	else
		*turn = mine;
	return err;
}

void marks_end(struct marks *m, unsigned turn)
{
	pthread_mutex_lock(&m->lock);
	assert(turn < 2 && m->running[turn]);
	if (!--m->running[turn])
		pthread_cond_signal(&m->ended);
	pthread_mutex_unlock(&m->lock);
}

/* ---- rounds ---- */

/* Under lock. */
static bool choose_candidates(struct marks *m, bool all)
{
	uint64_t words = m->maps.area_pages * MARKS_PAGE_WORDS;
	bool any = all;

	for (uint64_t i = 0; i < words; i++) {
		m->maps.candidates[i] = m->maps.image[i] & ~(all ? 0 : m->maps.touched[i]);
		m->maps.touched[i] = 0;
		any |= m->maps.candidates[i] != 0;
	}
	return any;
}

/* Under rounds and lock: all who have begun before this end. */
static void await_begun(struct marks *m)
{
	unsigned old = m->turn;

	assert(!m->running[!old]); /* the call before has waited for them */
	m->turn = !old;
	while (m->running[old])
		pthread_cond_wait(&m->ended, &m->lock);
}

/* False: there is nothing to do. Else all who began before this have ended. */
static bool begin_round(struct marks *m, bool all)
{
	bool any;

	pthread_mutex_lock(&m->lock);
	any = choose_candidates(m, all);
	if (any)
		await_begun(m);
	pthread_mutex_unlock(&m->lock);
	return any;
}

/*
 * Under writing: candidates that nobody touched meanwhile are not active, and the pages where that
 * changes something, or all, are written. Not flushed: what is lost marks too much.
 */
static int retire(struct marks *m, bool all)
{
	struct marks_maps *maps = &m->maps;
	uint64_t words = maps->area_pages * MARKS_PAGE_WORDS;
	int err;

	pthread_mutex_lock(&m->lock);
	for (uint64_t i = 0; i < words; i++) {
		maps->candidates[i] &= ~maps->touched[i];
		maps->active[i] &= ~maps->candidates[i];
		maps->image[i] &= ~maps->candidates[i];
		if (maps->candidates[i] || all)
			maps->due[i / MARKS_PAGE_WORDS] = true;
	}
	m->imaged = bits_count(maps->image, words);
	pthread_mutex_unlock(&m->lock);
	err = marks_write_image(m);
	if (err) {
		/* The file may still say so; the next round tries again. */
		pthread_mutex_lock(&m->lock);
		for (uint64_t i = 0; i < words; i++)
			maps->image[i] |= maps->candidates[i];
		m->imaged = bits_count(maps->image, words);
		pthread_mutex_unlock(&m->lock);
	}
	return err;
}

/* Both sides are durable as they were when the round had waited. */
static int end_round(struct marks *m, bool all)
{
	int err;

	pthread_mutex_lock(&m->writing);
	err = marks_save_differs(m);
	if (!err)
		err = retire(m, all);
	if (!err && all)
		err = marks_flush(m);
	if (!err && all && m->imaged)
		err = -EBUSY;
	pthread_mutex_unlock(&m->writing);
	return err;
}

int marks_clean(struct marks *m, bool all, int (*flush)(void *arg), void *arg)
{
	int err = 0;

	pthread_mutex_lock(&m->rounds);
	if (begin_round(m, all)) {
		err = flush(arg);
		if (!err)
			err = end_round(m, all);
	}
	pthread_mutex_unlock(&m->rounds);
	return err;
}

void marks_watch(struct marks *m)
{
	pthread_mutex_lock(&m->rounds);
	pthread_mutex_lock(&m->lock);
	memset(m->maps.fresh, 0, m->maps.differs_pages * MARKS_PAGE);
	m->watched = true;
	m->cut = false;
	await_begun(m);
	pthread_mutex_unlock(&m->lock);
	pthread_mutex_unlock(&m->rounds);
}

bool marks_any_active(struct marks *m)
{
	bool any;

	pthread_mutex_lock(&m->lock);
	any = m->imaged;
	pthread_mutex_unlock(&m->lock);
	return any;
}

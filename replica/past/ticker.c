// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Kept history: a thread that closes a generation for all disks whose time has
 * come, in one transaction, and gives up what is older than their windows.
 *
 * The newest tick that is not in the window any more stays: it is what the disk
 * was when the window begins. Looking for old ones costs as much as there are
 * ticks, so it is done seldom, and a window is up to a sixty-fourth longer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshots_inner.h"
#include "space.h"

#define SECOND 1000000000ull
#define SPACE_NS (10 * SECOND)
/* While space is short. */
#define SHORT_NS SECOND

struct ticker {
	struct tandem *t;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop, woken; /* under lock */
	bool running;
	pthread_t thread;
	/* Of the thread alone. */
	uint64_t space_ns;  /* when it is looked at again */
	uint64_t growth_ns; /* likewise what histories take */
};

/* The disks of one round whose time has come. */
struct round {
	struct ticker *k;
	struct disk **disks; /* references */
	struct history **hs;
	bool *kept;
	size_t count, due;
	uint64_t now, next;
};

/* ---- one tick ---- */

static int put_ticks(struct round *r, struct catalogue_txn *txn, uint64_t g)
{
	int err = 0;

	for (size_t i = 0; i < r->due && !err; i++) {
		struct moment_record m;

		/* One that was deleted meanwhile has no records any more. */
		r->kept[i] = r->kept[i] && !past_check_disk(r->disks[i], NULL) &&
			     !moment_exactly(r->disks[i], g, &m);
		if (r->kept[i])
			err = moment_put(txn, r->disks[i]->number, &m);
	}
	return err;
}

static int record(struct round *r, uint64_t g)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin_growing(r->k->t->catalogue, r->due, &txn);

	if (err)
		return err;
	err = put_ticks(r, txn, g);
	if (err) {
		catalogue_abort(txn);
		return err;
	}
	return catalogue_commit(txn);
}

/* What cannot be recorded is no moment. */
static void undo(struct disk *d, uint64_t g)
{
	struct moment_record m;

	if (moment_exactly(d, g, &m))
		return;
	m.tick = false;
	history_change_moment(atomic_load(&d->history), &m);
	collector_add(d->tandem->snapshots->collector, d, g);
}

static bool any_kept(const struct round *r)
{
	for (size_t i = 0; i < r->due; i++)
		if (r->kept[i])
			return true;
	return false;
}

static void tick(struct round *r)
{
	struct snapshots *s = r->k->t->snapshots;
	uint64_t g;
	int err;

	if (!r->due ||
	    generation_close(r->k->t, r->hs, r->due, MOMENT_TICK, past_now(s), r->kept, &g) ||
	    !any_kept(r))
		return;
	pthread_mutex_lock(&s->changing);
	err = record(r, g);
	for (size_t i = 0; i < r->due && err; i++)
		if (r->kept[i])
			undo(r->disks[i], g);
	pthread_mutex_unlock(&s->changing);
	for (size_t i = 0; i < r->due; i++)
		if (r->kept[i])
			snapshots_changed(r->k->t, r->disks[i]);
}

/* ---- what is given up ---- */

static void shed_old(struct disk *d, struct history *h, const struct history_window *w)
{
	uint64_t now = past_now(d->tandem->snapshots), window = w->window_s * 1000;
	struct moment_record m;

	if (now > window && !history_moment_before(h, now - window, &m))
		ticks_drop(d, m.generation);
}

static bool over_limit(struct disk *d, const struct history_window *w)
{
	struct version_totals totals;

	return w->limit && !version_totals(d->tandem->catalogue, d->number, &totals) &&
	       totals.bytes > w->limit;
}

static void shed(struct round *r, size_t i)
{
	struct disk *d = r->disks[i];
	struct history_window w = history_window(r->hs[i]);
	uint64_t pause = w.window_s * SECOND / 64, granularity = w.granularity_ms * 1000000;

	if (atomic_load(&d->shed_ns) <= r->now) {
		atomic_store(&d->shed_ns, r->now + (pause > granularity ? pause : granularity));
		shed_old(d, r->hs[i], &w);
	}
	if (over_limit(d, &w) && collector_is_idle(d->tandem->snapshots->collector, d->number))
		space_shed(d);
}

/* ---- rounds ---- */

/* Those whose time has come are moved to the front; where there is no space, none has. Returns whether any disk has a past. */
static bool choose(struct round *r)
{
	bool any = false, out = atomic_load(&r->k->t->snapshots->out);

	for (size_t i = 0; i < r->count; i++) {
		struct disk *d = r->disks[i];
		struct history *h = atomic_load(&d->history);
		struct history_window w = { 0 };
		uint64_t due = atomic_load(&d->tick_ns), step;

		any |= h != NULL;
		if (h)
			w = history_window(h);
		if (!w.window_s || out || !disk_is_served(d))
			continue;
		step = w.granularity_ms * 1000000;
		if (due <= r->now) {
			/* Disks of one granularity are due together, for moments of one generation. */
			due = (r->now / step + 1) * step;
			atomic_store(&d->tick_ns, due);
			r->disks[i] = r->disks[r->due];
			r->disks[r->due] = d;
			r->hs[r->due++] = h;
		}
		r->next = due < r->next ? due : r->next;
	}
	return any;
}

/* Without a past there is nothing to give up; but what was told is taken back. */
static void look_at_space(struct round *r, bool past)
{
	struct ticker *k = r->k;

	if (!past && !space_is_low(k->t))
		return;
	if (k->space_ns <= r->now) {
		space_look(k->t->snapshots);
		k->space_ns = r->now + SPACE_NS;
	}
	if (space_is_low(k->t) && k->space_ns > r->now + SHORT_NS)
		k->space_ns = r->now + SHORT_NS;
	if (k->space_ns < r->next)
		r->next = k->space_ns;
}

/* Rounds come often enough for that. */
static void note_growth(struct round *r)
{
	if (r->k->growth_ns > r->now)
		return;
	for (size_t i = 0; i < r->count; i++) {
		struct history *h = atomic_load(&r->disks[i]->history);

		if (h)
			history_note_growth(h);
	}
	r->k->growth_ns = r->now + GROWTH_STEP_NS;
}

/* Returns when the next one begins. */
static uint64_t do_round(struct ticker *k)
{
	struct round r = { .k = k, .now = monotonic_ns() };
	bool past;

	r.next = r.now + SPACE_NS;
	r.disks = tandem_disks(k->t, &r.count);
	r.hs = calloc(r.count + 1, sizeof(*r.hs));
	r.kept = calloc(r.count + 1, sizeof(*r.kept));
	if (r.disks && r.hs && r.kept) {
		past = choose(&r);
		tick(&r);
		for (size_t i = 0; i < r.due; i++)
			shed(&r, i);
		look_at_space(&r, past);
		note_growth(&r);
	}
	free(r.hs);
	free(r.kept);
	disks_free(r.disks, r.count);
	return r.next;
}

static void *ticker(void *arg)
{
	struct ticker *k = arg;

	pthread_mutex_lock(&k->lock);
	while (!k->stop) {
		uint64_t next;

		k->woken = false;
		pthread_mutex_unlock(&k->lock);
		next = do_round(k);
		pthread_mutex_lock(&k->lock);
		while (!k->stop && !k->woken && clock_wait(&k->changed, &k->lock, next))
			;
	}
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

void ticker_wake(struct ticker *k)
{
	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	k->woken = true;
	pthread_cond_signal(&k->changed);
	pthread_mutex_unlock(&k->lock);
}

/* ---- start and stop ---- */

int ticker_new(struct tandem *t, struct ticker **out)
{
	struct ticker *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	k->t = t;
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->changed, NULL);
	*out = k;
	return 0;
}

int ticker_start(struct ticker *k)
{
	int err = -pthread_create(&k->thread, NULL, ticker, k);

	k->running = !err;
	return err;
}

void ticker_free(struct ticker *k)
{
	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	k->stop = true;
	pthread_cond_signal(&k->changed);
	pthread_mutex_unlock(&k->lock);
	if (k->running)
		pthread_join(k->thread, NULL);
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->changed);
	free(k);
}

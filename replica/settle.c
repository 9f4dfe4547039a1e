// SPDX-License-Identifier: GPL-2.0-or-later
/* Batches, one after the other: by the settler's thread, or by whoever waits for them. */
#include "settle.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Memory of the contents of one batch. */
#define ARENA (16u << 20)
#define ITEMS_MAX 2048u
/* So long may a little wait for more. */
#define PATIENCE_NS 3000000000ull
/* The settler tries again after an error. */
#define RETRY_NS 1000000000ull

/* ---- choosing ---- */

/* Under lock. A write of an older generation may still come, and belongs before. */
static uint64_t oldest_generation(const struct history *h)
{
	uint64_t g = UINT64_MAX;

	for (const struct ongoing_write *w = h->writes; w; w = w->next)
		g = w->generation < g ? w->generation : g;
	return g;
}

static bool may_settle(const struct piece *p, uint64_t generation)
{
	return !p->settled && p->generation <= generation;
}

/* By generation; those of one stay in the order of their places. */
static int take_pieces(struct settle_item *item, const struct pending_block *block, uint64_t g)
{
	size_t count = 0;

	for (const struct piece *p = block->first; p; p = p->block_next)
		count += may_settle(p, g);
	item->number = block->number;
	item->pieces = malloc(count * sizeof(struct piece *));
	item->needed = malloc(count * sizeof(uint64_t));
	item->spans = malloc((count + 1) * sizeof(*item->spans));
	if (!item->pieces || !item->needed || !item->spans)
		return -ENOMEM;
	for (struct piece *p = block->first; p; p = p->block_next) {
		size_t at = item->count;

		if (!may_settle(p, g))
			continue;
		for (; at && item->pieces[at - 1]->generation > p->generation; at--)
			item->pieces[at] = item->pieces[at - 1];
		item->pieces[at] = p;
		item->count++;
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct settle_item *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* Under lock. */
static int take_blocks(struct settle_batch *b)
{
	struct history *h = b->h;
	uint64_t g = oldest_generation(h);
	int err = 0;

	for (struct piece *p = h->pending.first; p && b->count < b->room && !err; p = p->next) {
		if (p->block->chosen || !may_settle(p, g))
			continue;
		p->block->chosen = true;
		err = take_pieces(&b->items[b->count++], p->block, g);
	}
	for (size_t i = 0; i < b->count; i++)
		pending_find(&h->pending, b->items[i].number)->chosen = false;
	return err;
}

static int copy_moments(struct settle_batch *b)
{
	const struct history *h = b->h;

	b->kept = malloc((h->moment_count + 1) * sizeof(*b->kept));
	if (!b->kept)
		return -ENOMEM;
	b->kept_count = h->moment_count;
	for (size_t i = 0; i < h->moment_count; i++)
		b->kept[i] = h->moments[i].generation;
	return 0;
}

int settle_choose(struct history *h, struct settle_batch *b)
{
	int err;

	*b = (struct settle_batch){ .h = h, .room = ARENA / h->block_size };
	if (b->room > ITEMS_MAX)
		b->room = ITEMS_MAX;
	b->items = calloc(b->room, sizeof(*b->items));
	if (!b->items)
		return -ENOMEM;
	pthread_mutex_lock(&h->lock);
	err = take_blocks(b);
	if (!err)
		err = copy_moments(b);
	pthread_mutex_unlock(&h->lock);
	if (!err && !b->count)
		return -ENOENT;
	if (!err)
		b->arena = aligned_alloc(4096, b->count * (size_t)h->block_size);
	if (!err && !b->arena)
		err = -ENOMEM;
	if (err)
		return err;
	qsort(b->items, b->count, sizeof(*b->items), by_number);
	for (size_t i = 0; i < b->count; i++)
		b->items[i].content = b->arena + i * h->block_size;
	return 0;
}

void settle_free(struct settle_batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		free(b->items[i].pieces);
		free(b->items[i].needed);
		free(b->items[i].spans);
	}
	free(b->items);
	free(b->arena);
	free(b->kept);
	free(b->versions);
}

/* ---- the catalogue ---- */

/* The new versions, and up to where the batches before have brought the image. */
static int record(struct history *h, const struct version *versions, size_t count)
{
	struct disk *d = h->disk;
	struct catalogue_txn *txn;
	struct track_record track;
	int err = catalogue_begin(d->tandem->catalogue, &txn);

	if (err)
		return err;
	history_record(h, &track);
	for (size_t i = 0; i < count && !err; i++) {
		err = version_put(txn, d->number, &versions[i]);
		/* One that is there is right: this one comes from a replay. */
		if (err == -EEXIST)
			err = 0;
	}
	if (!err)
		err = track_put(txn, d->number, &track);
	if (err) {
		catalogue_abort(txn);
		return err;
	}
	err = catalogue_commit(txn);
	if (err)
		return err;
	pthread_mutex_lock(&h->lock);
	h->recorded = track.settled;
	pthread_mutex_unlock(&h->lock);
	return 0;
}

/* No replay brings them again: they leave, and their blocks are direct. */
static void let_leave(struct history *h)
{
	uint64_t keep;

	pthread_mutex_lock(&h->lock);
	keep = h->recorded;
	while (h->pending.first && h->pending.first->settled && h->pending.first->place < keep) {
		struct piece *p = h->pending.first;
		uint64_t number = p->block->number, generation = p->generation;
		bool last = p->block->last == p;

		pending_leave(&h->pending);
		if (last && h->newest && generation > h->newest)
			direct_add(&h->direct, number, h->newest);
	}
	for (const struct ongoing_read *r = h->reads; r; r = r->next)
		keep = r->begin < keep ? r->begin : keep;
	if (!h->pending.bytes)
		h->oldest_ns = 0;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	segments_drop_before(h->log, keep); /* space only: the next one drops it too */
}

/* Under lock. Every record before this place is in the image. */
static uint64_t settled_place(const struct history *h)
{
	uint64_t place = segments_end(h->log);

	for (const struct ongoing_write *w = h->writes; w; w = w->next)
		place = w->begin < place ? w->begin : place;
	for (const struct piece *p = h->pending.first; p; p = p->next)
		if (!p->settled)
			return p->place < place ? p->place : place;
	return place;
}

static void mark_settled(struct settle_batch *b)
{
	struct history *h = b->h;

	pthread_mutex_lock(&h->lock);
	for (size_t i = 0; i < b->count; i++)
		for (size_t k = 0; k < b->items[i].count; k++)
			pending_settle(&h->pending, b->items[i].pieces[k]);
	h->settled = settled_place(h);
	pthread_cond_broadcast(&h->changed);
	pthread_cond_broadcast(&h->room);
	pthread_mutex_unlock(&h->lock);
}

/* ---- a batch ---- */

/* Under settling. Nothing is to be done: what was done last is recorded. */
static int rest_a_while(struct history *h)
{
	bool behind;
	int err = 0;

	pthread_mutex_lock(&h->lock);
	h->settled = settled_place(h);
	behind = h->pending.first && h->recorded != h->settled;
	pthread_mutex_unlock(&h->lock);
	if (behind)
		err = record(h, NULL, 0);
	if (!err && behind)
		let_leave(h);
	return err;
}

static int run(struct history *h)
{
	struct settle_batch b;
	int err = settle_choose(h, &b);

	if (err == -ENOENT) {
		settle_free(&b);
		return rest_a_while(h) ?: -ENOENT;
	}
	if (!err) {
		err = segments_flush(h->log);
		if (err)
			disk_flush_failed(h->disk, err); /* what was acknowledged is in doubt */
	}
	if (!err)
		err = settle_build(&b);
	if (!err && b.version_count)
		err = segments_flush(h->store);
	if (!err)
		err = record(h, b.versions, b.version_count);
	if (!err) {
		let_leave(h);
		err = settle_image(&b);
	}
	if (!err)
		mark_settled(&b);
	settle_free(&b);
	return err;
}

static void tell(struct history *h, int err)
{
	bool news;

	pthread_mutex_lock(&h->lock);
	news = h->settle_error != err;
	h->settle_error = err;
	pthread_cond_broadcast(&h->changed);
	if (err)
		pthread_cond_broadcast(&h->room);
	pthread_mutex_unlock(&h->lock);
	if (news)
		tandem_changed(h->disk->tandem, h->disk);
}

/* -ENOENT: nothing could be done. */
static int batch(struct history *h)
{
	int err;

	pthread_mutex_lock(&h->settling);
	err = run(h);
	pthread_mutex_unlock(&h->settling);
	tell(h, err == -ENOENT ? 0 : err);
	return err;
}

void history_pause(struct history *h)
{
	pthread_mutex_lock(&h->settling);
}

void history_resume(struct history *h)
{
	pthread_mutex_unlock(&h->settling);
}

void history_barrier(struct history *h)
{
	history_pause(h);
	history_resume(h);
}

/* ---- who runs them ---- */

static void wait_changed(struct history *h, uint64_t ns)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ns / 1000000000;
	until.tv_nsec += ns % 1000000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_clockwait(&h->changed, &h->lock, CLOCK_MONOTONIC, &until);
}

int history_settle(struct history *h)
{
	uint64_t target = segments_end(h->log);
	int err = 0;

	for (;;) {
		bool done;

		pthread_mutex_lock(&h->lock);
		done = !h->pending.first || h->pending.first->place >= target;
		/* An older write is under way: it ends soon, or its store is stuck. */
		if (!done && err == -ENOENT)
			wait_changed(h, 10000000);
		pthread_mutex_unlock(&h->lock);
		if (done)
			return 0;
		err = batch(h);
		if (err && err != -ENOENT)
			return err;
	}
}

/* Under lock: how long there is no need to begin. */
static uint64_t leisure(const struct history *h)
{
	uint64_t age, now = monotonic_ns();

	if (h->settler_stop || !h->oldest_ns)
		return PATIENCE_NS;
	if (h->settler_hurry || h->pending.bytes > HISTORY_LOG_MAX / 2)
		return 0;
	age = now - h->oldest_ns;
	return age >= PATIENCE_NS ? 0 : PATIENCE_NS - age;
}

static void *settler(void *arg)
{
	struct history *h = arg;
	bool stop = false;

	while (!stop) {
		uint64_t wait;
		int err;

		pthread_mutex_lock(&h->lock);
		while (!h->settler_stop && (wait = leisure(h)))
			wait_changed(h, wait);
		stop = h->settler_stop;
		h->settler_hurry = false;
		pthread_mutex_unlock(&h->lock);
		do {
			err = stop ? -ENOENT : batch(h);
		} while (!err);
		if (stop)
			break;
		pthread_mutex_lock(&h->lock);
		if (err != -ENOENT)
			wait_changed(h, RETRY_NS);
		else if (h->pending.bytes)
			wait_changed(h, 10000000);
		pthread_mutex_unlock(&h->lock);
	}
	return NULL;
}

void settler_wake(struct history *h, bool hurry)
{
	if (!h->settler_runs) {
		h->settler_stop = false;
		h->settler_runs = !pthread_create(&h->settler, NULL, settler, h);
	}
	if (hurry)
		h->settler_hurry = true;
	if (hurry || h->pending.bytes > HISTORY_LOG_MAX / 2)
		pthread_cond_broadcast(&h->changed);
}

static void stop_settler(struct history *h)
{
	bool runs;

	pthread_mutex_lock(&h->lock);
	runs = h->settler_runs;
	h->settler_stop = true;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	if (runs)
		pthread_join(h->settler, NULL);
	h->settler_runs = false;
}

int history_rest(struct history *h)
{
	/* After a flush that failed nothing more is written: it stays in the log. */
	int err = atomic_load(&h->disk->broken_flush) ? 0 : history_settle(h);

	stop_settler(h);
	return err;
}

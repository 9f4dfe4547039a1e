// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The counter of generations, common to all disks. Numbers are given in advance:
 * the catalogue has one that no generation reached yet, so that none is used twice,
 * whatever ends us.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "history_inner.h"

#define SETTING "Generation"
#define AHEAD 1024

static int reserve(struct tandem *t, uint64_t upto)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin(t->catalogue, &txn);

	if (err)
		return err;
	catalogue_put_setting(txn, SETTING, upto);
	err = catalogue_commit(txn);
	if (!err)
		t->generation_reserved = upto;
	return err;
}

int generation_load(struct tandem *t)
{
	uint64_t next = 1;
	int err = catalogue_get_setting(t->catalogue, SETTING, &next);

	if (err && err != -ENOENT)
		return err;
	atomic_store(&t->generation, next);
	t->generation_reserved = next; /* the first one that is closed takes more */
	return 0;
}

int generation_save(struct tandem *t, struct catalogue_txn *txn)
{
	return catalogue_put_setting(txn, SETTING, atomic_load(&t->generation) + 1);
}

static int by_number(const void *a, const void *b)
{
	const struct history *x = *(struct history *const *)a, *y = *(struct history *const *)b;

	return x->disk->number < y->disk->number ? -1 : x->disk->number > y->disk->number;
}

/* What it holds may be not what it reads as. */
static bool has_moments(struct history *h, enum moment_kind kind)
{
	if (kind == MOMENT_HIDDEN)
		return true;
	return !h->restore.before && (kind == MOMENT_SENT || !atomic_load(&h->shown));
}

static int lock_all(struct history **hs, size_t count, enum moment_kind kind)
{
	int err = 0;

	for (size_t i = 0; i < count; i++) {
		pthread_mutex_lock(&hs[i]->lock);
		if (kind != MOMENT_TICK && !has_moments(hs[i], kind))
			err = err ?: -EBUSY;
		err = err ?: history_moment_room(hs[i]);
	}
	return err;
}

/* Under all locks. */
static void keep(struct history *h, enum moment_kind kind, uint64_t g, uint64_t time_ms)
{
	const struct moment_record *last = h->moment_count ? &h->moments[h->moment_count - 1]
							   : NULL;
	struct moment_record m = {
		.generation = g,
		.time_ms = last && last->time_ms > time_ms ? last->time_ms : time_ms,
		.size = h->disk->image->size,
		.tick = kind == MOMENT_TICK,
		.hidden = kind == MOMENT_HIDDEN || kind == MOMENT_SENT,
		.names = kind == MOMENT_NAMED,
	};

	history_moment_add(h, &m);
}

/* All are locked before the generation ends, so that no write of one of them can be between. */
static int close_locked(struct tandem *t, struct history **sorted, struct history *const *hs,
			size_t count, enum moment_kind kind, uint64_t time_ms, bool *kept,
			uint64_t *g)
{
	int err = lock_all(sorted, count, kind);

	if (!err) {
		*g = atomic_load(&t->generation);
		for (size_t i = 0; i < count; i++) {
			bool wanted = kind != MOMENT_TICK ||
				      (hs[i]->written && has_moments(hs[i], kind));

			if (kept)
				kept[i] = wanted;
			if (wanted)
				keep(hs[i], kind, *g, time_ms);
		}
		atomic_store(&t->generation, *g + 1);
	}
	for (size_t i = count; i-- > 0;)
		pthread_mutex_unlock(&sorted[i]->lock);
	return err;
}

int generation_close(struct tandem *t, struct history *const *hs, size_t count,
		     enum moment_kind kind, uint64_t time_ms, bool *kept, uint64_t *g)
{
	struct history **sorted = malloc((count + 1) * sizeof(*sorted));
	int err = 0;

	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, hs, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), by_number);
	pthread_mutex_lock(&t->generation_lock);
	/* Also the one that begins now is reserved: its writes are in the log at once. */
	if (atomic_load(&t->generation) + 2 > t->generation_reserved)
		err = reserve(t, atomic_load(&t->generation) + AHEAD);
	if (!err)
		err = close_locked(t, sorted, hs, count, kind, time_ms, kept, g);
	pthread_mutex_unlock(&t->generation_lock);
	free(sorted);
	return err;
}

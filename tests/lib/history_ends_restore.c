// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Restores of one disk, and what aborts them: begun, filled a few blocks at a time and
 * ended, each in the order of restores.c, restorer.c and restore_abort.c.
 */
#include <errno.h>

#include "history_ends_inner.h"
#include "history_inner.h"
#include "unit.h"

#define SECTOR MODEL_SECTOR

/* All sectors get what the moment had, zeros behind its end. */
static uint32_t model_restore(struct life *l, const struct promise *p)
{
	uint32_t op = model_begin(l->model);

	for (uint64_t s = 0; s < model_size(l->model) / SECTOR; s++) {
		uint64_t name = s < p->size / SECTOR ? p->names[s] : 0;

		if (model_now(l->model, s) != name)
			model_set(l->model, op, s, name);
	}
	return op;
}

/* It is recorded durably: nothing of it can be lost. */
static void model_restored(struct life *l, uint32_t op)
{
	model_done(l->model, op);
	model_flush_end(l->model, model_flush_begin(l->model));
}

bool life_is_restoring(struct life *l)
{
	return history_restore(l->w.h).before;
}

bool life_is_restored_with(struct life *l, uint64_t generation)
{
	struct history_restore r = history_restore(l->w.h);

	return r.before && (r.from == generation || r.before == generation);
}

static bool is_hidden(struct life *l, uint64_t generation)
{
	struct moment_record m;

	return !history_moment(l->w.h, generation, &m) && m.generation == generation && m.hidden;
}

/* ---- beginning ---- */

/* With the whole range locked. *g is the moment of now, recorded. */
static bool take_before(struct life *l, uint64_t *g)
{
	struct promise *p;

	if (!life_done(l, "settle", history_settle(l->w.h)) ||
	    !life_done(l, "moment",
		       generation_close(l->w.t, &l->w.h, 1, MOMENT_NAMED, unit_now_ms(), NULL, g)))
		return false;
	p = promise_make(l, *g);
	return life_flush(l) && life_record(l, p);
}

bool life_restore(struct life *l)
{
	struct history_restore r;
	struct range whole;
	size_t i;
	uint32_t op;
	bool right;

	if (l->count == HISTORY_MOMENTS && !life_drop(l))
		return false;
	if (life_is_restoring(l) || l->rig->c->is_clone || !l->count)
		return true;
	i = unit_below(&l->seed, l->count);
	if (l->kept[i].size > model_size(l->model))
		return true;
	l->work = HISTORY_RESTORE;
	r.from = l->kept[i].generation;
	range_lock_write(&l->w.d->ranges, &whole, 0, UINT64_MAX);
	right = take_before(l, &r.before);
	if (right) {
		op = model_restore(l, &l->kept[i]);
		history_set_restore(l->w.h, &r);
		right = life_done(l, "restore", world_record_moment(&l->w, r.before));
		model_restored(l, op);
	}
	range_unlock(&l->w.d->ranges, &whole);
	return right;
}

/* ---- aborting ---- */

bool life_abort(struct life *l)
{
	struct history_restore r = history_restore(l->w.h), back = { .from = r.before };
	struct range whole;
	size_t i = 0;
	uint32_t op;
	bool right;

	if (!r.before || is_hidden(l, r.before))
		return true;
	l->work = HISTORY_ABORT;
	while (l->kept[i].generation != r.before)
		i++;
	range_lock_write(&l->w.d->ranges, &whole, 0, UINT64_MAX);
	right = life_done(l, "settle", history_settle(l->w.h)) && life_flush(l) &&
		life_done(l, "moment",
			  generation_close(l->w.t, &l->w.h, 1, MOMENT_HIDDEN, unit_now_ms(), NULL,
					   &back.before));
	if (right) {
		op = model_restore(l, &l->kept[i]);
		history_set_restore(l->w.h, &back);
		right = life_done(l, "abort", world_record_moment(&l->w, back.before));
		model_restored(l, op);
	}
	range_unlock(&l->w.d->ranges, &whole);
	return right;
}

/* ---- filling, and the end ---- */

static bool some(void *arg, uint64_t bytes)
{
	struct life *l = arg;

	return unit_below(&l->seed, 4);
}

static bool conclude(struct life *l)
{
	static const struct history_restore none;
	uint64_t before = history_restore(l->w.h).before;
	struct range whole;
	int err;

	range_lock_write(&l->w.d->ranges, &whole, 0, UINT64_MAX);
	history_set_restore(l->w.h, &none);
	err = world_record_moment(&l->w, before);
	range_unlock(&l->w.d->ranges, &whole);
	return life_done(l, "end of a restore", err) && life_drop_hidden(l);
}

bool life_refill(struct life *l)
{
	int err;

	if (!life_is_restoring(l))
		return true;
	l->work = HISTORY_REFILL;
	err = history_fill(l->w.h, some, l);
	if (err == -ECANCELED)
		return true;
	return life_done(l, "fill", err) && conclude(l);
}

bool life_drop_hidden(struct life *l)
{
	struct moment_record m;

	if (history_moment(l->w.h, UINT64_MAX, &m) || !m.hidden ||
	    life_is_restored_with(l, m.generation))
		return true;
	return life_done(l, "drop", world_drop(&l->w, m.generation));
}

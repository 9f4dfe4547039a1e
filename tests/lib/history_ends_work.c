// SPDX-License-Identifier: GPL-2.0-or-later
/* Random work, and what is promised by it. */
#include "history_ends_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "history_inner.h"
#include "unit.h"

#define SECTOR MODEL_SECTOR

static uint64_t below(struct life *l, uint64_t bound)
{
	return unit_below(&l->seed, bound);
}

bool life_done(struct life *l, const char *what, int err)
{
	return !err || life_fail(l, "%s failed: %s", what, strerror(-err));
}

/* ---- promises ---- */

struct promise *promise_make(struct life *l, uint64_t generation)
{
	struct promise *p = &l->kept[l->count++];
	uint64_t size = model_size(l->model);

	*p = (struct promise){ .generation = generation, .size = size };
	p->names = malloc(size / SECTOR * sizeof(*p->names) + 1);
	for (uint64_t s = 0; s < size / SECTOR; s++)
		p->names[s] = model_now(l->model, s);
	return p;
}

void promise_drop(struct life *l, size_t i)
{
	free(l->kept[i].names);
	l->count--;
	memmove(l->kept + i, l->kept + i + 1, (l->count - i) * sizeof(*l->kept));
}

bool life_flush(struct life *l)
{
	uint64_t mark = model_flush_begin(l->model);

	if (!life_done(l, "flush", disk_flush(l->w.d)))
		return false;
	model_flush_end(l->model, mark);
	for (size_t i = 0; i < l->count; i++)
		l->kept[i].flushed = true;
	return true;
}

/* ---- moments ---- */

bool life_drop(struct life *l)
{
	size_t i;
	int err;

	if (!l->count)
		return true;
	i = below(l, l->count);
	if (life_is_restored_with(l, l->kept[i].generation))
		i = 0;
	while (life_is_restored_with(l, l->kept[i].generation))
		if (++i == l->count)
			return true;
	l->work = HISTORY_DROP;
	l->kept[i].dropping = true;
	err = world_drop(&l->w, l->kept[i].generation);
	promise_drop(l, i);
	return life_done(l, "drop", err);
}

bool life_record(struct life *l, struct promise *p)
{
	int err = world_record_moment(&l->w, p->generation);

	p->recorded = !err;
	return life_done(l, "record", err);
}

static bool snapshot(struct life *l)
{
	struct promise *p;
	uint64_t g;

	if (life_is_restoring(l))
		return true;
	if (l->count == HISTORY_MOMENTS && !life_drop(l))
		return false;
	l->work = HISTORY_SNAPSHOT;
	if (!life_done(l, "moment",
		       generation_close(l->w.t, &l->w.h, 1, MOMENT_NAMED, unit_now_ms(), NULL, &g)))
		return false;
	p = promise_make(l, g);
	history_await(l->w.h, g);
	return life_flush(l) && life_record(l, p);
}

static bool tick(struct life *l)
{
	bool kept;
	uint64_t g;

	if (l->count == HISTORY_MOMENTS && !life_drop(l))
		return false;
	l->work = HISTORY_TICK;
	if (!life_done(l, "tick",
		       generation_close(l->w.t, &l->w.h, 1, MOMENT_TICK, unit_now_ms(), &kept, &g)))
		return false;
	return !kept || life_record(l, promise_make(l, g));
}

/* ---- writes ---- */

/* In sectors, more often around the borders of blocks. */
static void choose(struct life *l, uint64_t end, uint64_t *off, uint64_t *len)
{
	uint64_t bs = l->rig->c->block_size, room;

	*off = below(l, end / SECTOR) * SECTOR;
	*len = (1 + below(l, 12)) * SECTOR;
	switch (below(l, 6)) {
	case 0:
	case 1:
		*off -= *off % bs;
		*len = bs;
		break;
	case 2:
		*off -= *off % bs;
		*len = (1 + below(l, 4)) * bs;
		break;
	case 3:
		*off -= *off % bs;
		break;
	case 4:
		*len = SECTOR + below(l, bs / SECTOR) * SECTOR;
		break;
	}
	room = end - *off;
	if (*len > room)
		*len = room;
}

static bool write_some(struct life *l)
{
	uint64_t off, len, size = model_size(l->model);
	uint32_t op = model_begin(l->model);
	uint8_t *buf;
	int err;

	l->work = HISTORY_WRITE;
	choose(l, below(l, 40) || l->rig->c->format ? size : l->rig->c->max, &off, &len);
	buf = malloc(len);
	if (off + len > size)
		model_resize(l->model, op, off + len);
	for (uint64_t at = off; at < off + len; at += SECTOR) {
		uint64_t content = content_of_op(op, at / SECTOR);

		content_fill(buf + (at - off), at, SECTOR, content);
		model_set(l->model, op, at / SECTOR, content);
	}
	err = disk_write(l->w.d, buf, len, off, 0);
	free(buf);
	model_done(l->model, op);
	return life_done(l, "write", err);
}

static bool zero_some(struct life *l)
{
	enum zero_mode mode = below(l, 3) ? ZERO_PUNCH : ZERO_KEEP;
	uint32_t op = model_begin(l->model);
	uint64_t off, len;
	int err;

	l->work = HISTORY_ZERO;
	choose(l, model_size(l->model), &off, &len);
	for (uint64_t s = off / SECTOR; s < (off + len) / SECTOR; s++)
		model_set(l->model, op, s, 0);
	err = disk_zero(l->w.d, off, len, mode);
	model_done(l->model, op);
	return life_done(l, "zero", err);
}

/* What is cut off is zeros, and so it is when the disk is as long again. */
static bool resize(struct life *l)
{
	uint64_t size = model_size(l->model), to = (1 + below(l, l->rig->c->max / SECTOR)) * SECTOR;
	uint32_t op;
	int err;

	if (below(l, 2))
		to = l->rig->c->max - below(l, 4) * SECTOR;
	if ((l->rig->c->format || life_is_restoring(l)) && to <= size)
		return true; /* containers do not shrink, nor what somebody has open */
	l->work = HISTORY_RESIZE;
	op = model_begin(l->model);
	for (uint64_t s = to / SECTOR; s < size / SECTOR; s++)
		model_set(l->model, op, s, 0);
	model_resize(l->model, op, to);
	err = disk_resize(l->w.d, to, true);
	model_done(l->model, op);
	return life_done(l, "resize", err);
}

/* ---- the rest ---- */

static bool settle(struct life *l)
{
	l->work = HISTORY_SETTLE;
	return life_done(l, "settle", history_settle(l->w.h));
}

/* The last user closes the disk, and the next one opens it. */
static bool rest(struct life *l)
{
	l->work = HISTORY_REST;
	l->w.h->settler_runs = false;
	disk_close(l->w.d);
	world_without_settler(&l->w);
	if (l->w.h->pending.first || atomic_load(&l->w.d->broken_flush))
		return life_fail(l, "the disk does not come to rest");
	return life_done(l, "open", disk_open(l->w.d, true));
}

static bool fill(struct life *l)
{
	int err;

	if (!l->rig->c->is_clone)
		return true;
	l->work = HISTORY_FILL;
	err = history_fill_step(l->w.h, (1 + below(l, 3)) * l->rig->c->block_size, false);
	return life_done(l, "fill", err == -ENOENT ? 0 : err);
}

static bool flush_alone(struct life *l)
{
	l->work = HISTORY_FLUSH;
	return life_flush(l);
}

static const struct {
	bool (*fn)(struct life *l);
	unsigned weight;
} works[] = {
	{ write_some, 400 }, { zero_some, 100 }, { flush_alone, 60 },  { snapshot, 60 },
	{ tick, 50 },        { life_drop, 30 },  { settle, 120 },      { resize, 14 },
	{ rest, 10 },        { fill, 60 },       { life_restore, 12 }, { life_refill, 30 },
	{ life_abort, 8 },
};

static bool work_once(struct life *l)
{
	unsigned sum = 0, what = 0, at;

	for (size_t i = 0; i < UNIT_LENGTH(works); i++)
		sum += works[i].weight;
	for (at = below(l, sum); at >= works[what].weight; what++)
		at -= works[what].weight;
	return works[what].fn(l);
}

bool life_work(struct life *l, unsigned n)
{
	bool right = true;

	while (right && n-- && !l->rig->why[0])
		right = work_once(l);
	return right && !l->rig->why[0];
}

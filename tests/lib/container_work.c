// SPDX-License-Identifier: GPL-2.0-or-later
/* Random work on a disk, in one thread or two. */
#include "container_inner.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#define PAGE 4096
/* A request that waits for a lock of the one that waits for it. */
#define BLOCKED_NS 500000

struct helper {
	struct run *run;
	pthread_t thread;
	pthread_cond_t wake, idle;
	bool busy, quits;
	struct doing other; /* what it runs beside */
};

static _Thread_local struct doing doing;

struct doing *work_doing(void)
{
	return &doing;
}

static uint64_t below(struct run *r, uint64_t bound)
{
	return unit_below(&r->seed, bound);
}

static void enter(struct run *r, enum container_work work, uint64_t off, uint64_t len)
{
	bool changes = work == WORK_WRITE || work == WORK_ZERO || work == WORK_GROW;

	if (r->first && changes) {
		work = WORK_START;
		r->first = false;
	}
	doing = (struct doing){ .work = work, .inside = true, .off = off, .len = len };
	r->inside++;
	pthread_mutex_unlock(&r->turn);
}

/* What a failed call was, for people; true when it did not fail. */
static bool leave(struct run *r, const char *what, int err)
{
	pthread_mutex_lock(&r->turn);
	r->inside--;
	doing = (struct doing){ 0 };
	return !err || container_fail(r, "%s failed: %s", what, strerror(-err));
}

/* ---- where ---- */

struct range {
	uint64_t off, len;
};

static struct range cut_to_size(struct run *r, uint64_t off, uint64_t len)
{
	uint64_t size = model_size(r->model);

	if (off >= size)
		off = size - 1;
	return (struct range){ off, len < size - off ? len : size - off };
}

static struct range some_range(struct run *r)
{
	uint64_t unit = r->rig->c->unit, size = model_size(r->model);
	uint64_t start = below(r, (size + unit - 1) / unit) * unit;
	uint64_t near = unit < 4 * PAGE ? unit : 4 * PAGE; /* where the same is hit again */

	switch (below(r, 8)) {
	case 0:
		return cut_to_size(r, start + below(r, unit), 1 + below(r, 3000));
	case 1:
		return cut_to_size(r, start + below(r, near), 1 + below(r, 1200));
	case 2:
		return cut_to_size(r, start + below(r, near / 512) * 512, 512 + 512 * below(r, 8));
	case 3:
		return cut_to_size(r, start, 512);
	case 4:
		return cut_to_size(r, start + unit - 512, 512);
	case 5:
		return cut_to_size(r, start + unit - 1 - below(r, 2000), 2 + below(r, 4000));
	case 6:
		return cut_to_size(r, start + below(r, near / PAGE) * PAGE, PAGE);
	default:
		if (unit > 64u << 10 && below(r, 4))
			return cut_to_size(r, start, 3 * PAGE);
		return cut_to_size(r, start, unit + (below(r, 2) ? 0 : 1 + below(r, unit)));
	}
}

static struct range some_units(struct run *r)
{
	uint64_t unit = r->rig->c->unit, size = model_size(r->model);
	uint64_t n = (size + unit - 1) / unit, first = below(r, n);

	return cut_to_size(r, first * unit, unit * (1 + below(r, 3)));
}

/* ---- requests ---- */

static bool write_range(struct run *r, struct range at)
{
	uint64_t first = at.off / MODEL_SECTOR, last = (at.off + at.len - 1) / MODEL_SECTOR;
	uint8_t *buf = malloc((last - first + 1) * MODEL_SECTOR);
	uint64_t skip = at.off % MODEL_SECTOR, done = 0;
	uint32_t op = model_begin(r->model);
	bool right = container_read(r, first, 1, buf) &&
		     container_read(r, last, 1, buf + (last - first) * MODEL_SECTOR);

	for (uint64_t s = first; s <= last && right; s++) {
		uint64_t off = at.off + done, n = MODEL_SECTOR - off % MODEL_SECTOR;

		n = n < at.len - done ? n : at.len - done;
		content_fill(buf + skip + done, off, n, content_of_op(op, s));
		done += n;
		model_set(r->model, op, s, content_name(buf + (s - first) * MODEL_SECTOR));
	}
	if (right) {
		enter(r, WORK_WRITE, at.off, at.len);
		right = leave(r, "write",
			      r->img->format->write(r->img, buf + skip, at.len, at.off, 0));
		model_done(r->model, op);
	}
	free(buf);
	return right;
}

/* What a sector is when [from, to) of it becomes zeros. */
static bool zero_in_sector(struct run *r, uint64_t s, uint64_t from, uint64_t to, uint64_t *content)
{
	uint8_t buf[MODEL_SECTOR];

	*content = 0;
	if (to - from == MODEL_SECTOR)
		return true;
	if (!container_read(r, s, 1, buf))
		return false;
	memset(buf + from, 0, to - from);
	*content = content_name(buf);
	return true;
}

static bool zero_range(struct run *r, struct range at)
{
	enum zero_mode mode = below(r, 4) ? ZERO_PUNCH : ZERO_KEEP;
	uint64_t first = at.off / MODEL_SECTOR, end = at.off + at.len;
	uint32_t op = model_begin(r->model);

	for (uint64_t s = first; s * MODEL_SECTOR < end; s++) {
		uint64_t start = s * MODEL_SECTOR, content;
		uint64_t from = at.off > start ? at.off - start : 0;
		uint64_t to = end < start + MODEL_SECTOR ? end - start : MODEL_SECTOR;

		if (!zero_in_sector(r, s, from, to, &content))
			return false;
		model_set(r->model, op, s, content);
	}
	enter(r, WORK_ZERO, at.off, at.len);
	if (!leave(r, "zero", r->img->format->zero(r->img, at.off, at.len, mode)))
		return false;
	model_done(r->model, op);
	return true;
}

static bool flush(struct run *r)
{
	uint64_t mark = model_flush_begin(r->model);

	enter(r, WORK_FLUSH, 0, 0);
	if (!leave(r, "flush", r->img->format->flush(r->img)))
		return false;
	model_flush_end(r->model, mark);
	return true;
}

static bool grow(struct run *r)
{
	uint64_t size = model_size(r->model), max = r->rig->c->max, unit = r->rig->c->unit;
	uint64_t sector = r->rig->c->sector_size ? r->rig->c->sector_size : 512;
	uint64_t to = size + (below(r, 2) ? sector * (1 + below(r, 8)) : unit * (1 + below(r, 2)));
	uint32_t op;

	if (size >= max)
		return true;
	to = to < max ? to : max;
	op = model_begin(r->model);
	model_resize(r->model, op, to);
	enter(r, WORK_GROW, 0, 0);
	if (!leave(r, "resize", r->img->format->resize(r->img, to)))
		return false;
	model_done(r->model, op);
	return true;
}

/* ---- start and rest ---- */

bool work_start(struct run *r)
{
	char reason[IMAGE_REASON] = "";
	int err;

	enter(r, WORK_START, 0, 0);
	err = r->img->format->start ? r->img->format->start(r->img, reason) : 0;
	if (!leave(r, "start", err))
		return false;
	r->first = true;
	container_done(r);
	return true;
}

/* Another program, or this one later, sees what was left. */
static bool open_anew(struct run *r)
{
	struct file *same = fake_twin(r->disk);

	image_close(r->img);
	r->img = NULL;
	r->disk = same;
	return container_open(r);
}

static bool reload(struct run *r)
{
	char reason[IMAGE_REASON] = "";
	int err = image_reload(r->img, reason);

	return !err || container_fail(r, "reload failed: %s (%s)", strerror(-err), reason);
}

bool work_rest(struct run *r)
{
	uint64_t mark = model_flush_begin(r->model);
	uint64_t how;

	if (r->img->format->rest) {
		enter(r, WORK_REST, 0, 0);
		if (!leave(r, "rest", r->img->format->rest(r->img)))
			return false;
		model_flush_end(r->model, mark);
		/* Nobody has touched what is left of another boot if nothing was changed. */
		if (!r->first && !faccessat(r->rig->dirfd, r->notes, F_OK, 0))
			return container_fail(r, "there are notes at rest");
	}
	container_done(r);
	how = below(r, 3);
	return how == 0 ? true : how == 1 ? reload(r) : open_anew(r);
}

/* ---- all of it ---- */

static bool work_one(struct run *r)
{
	uint64_t what = below(r, 100);

	if (what < 52)
		return write_range(r, some_range(r));
	if (what < 68)
		return zero_range(r, below(r, 3) ? some_units(r) : some_range(r));
	if (what < 84)
		return flush(r);
	if (what < 90)
		return grow(r);
	if (what < 95) /* what an end left is verified at its end */
		return r->depth ? grow(r) : container_verify(r);
	return work_rest(r) && work_start(r);
}

static void wait_for_helper(struct run *r)
{
	while (r->helper && r->helper->busy)
		pthread_cond_wait(&r->helper->idle, &r->turn);
}

bool work_some(struct run *r, unsigned n)
{
	while (n-- && !r->rig->why[0]) {
		if (!work_one(r))
			return false;
		wait_for_helper(r);
		container_done(r);
	}
	return !r->rig->why[0];
}

/* ---- two at a time ---- */

/* Requests for the same page take turns. */
static bool touch(const struct doing *d, struct range at)
{
	return d->len && at.off / PAGE <= (d->off + d->len - 1) / PAGE &&
	       d->off / PAGE <= (at.off + at.len - 1) / PAGE;
}

static void request_beside(struct run *r, const struct doing *other)
{
	uint64_t what = below(r, 8);
	struct range at = what == 7 ? some_units(r) : some_range(r);

	if (what == 0)
		flush(r);
	else if (touch(other, at))
		return;
	else if (what >= 6)
		zero_range(r, at);
	else
		write_range(r, at);
}

static void *help(void *arg)
{
	struct helper *h = arg;
	struct run *r = h->run;

	pthread_mutex_lock(&r->turn);
	while (!h->quits) {
		if (h->busy) {
			request_beside(r, &h->other);
			h->busy = false;
			pthread_cond_signal(&h->idle);
		} else {
			pthread_cond_wait(&h->wake, &r->turn);
		}
	}
	pthread_mutex_unlock(&r->turn);
	return NULL;
}

void work_beside(struct run *r)
{
	struct helper *h = r->helper;
	struct timespec until;

	if (!h || h->busy || r->rig->why[0] || below(r, 12) ||
	    (doing.work != WORK_WRITE && doing.work != WORK_ZERO && doing.work != WORK_FLUSH))
		return;
	h->other = doing;
	h->busy = true;
	pthread_cond_signal(&h->wake);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += BLOCKED_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (h->busy && !pthread_cond_timedwait(&h->idle, &r->turn, &until))
		;
}

void work_together_begin(struct run *r)
{
	struct helper *h = calloc(1, sizeof(*h));
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h->wake, &attr);
	pthread_cond_init(&h->idle, &attr);
	pthread_condattr_destroy(&attr);
	h->run = r;
	r->helper = h;
	ck_assert_int_eq(pthread_create(&h->thread, NULL, help, h), 0);
}

void work_together_end(struct run *r)
{
	struct helper *h = r->helper;

	if (!h)
		return;
	wait_for_helper(r);
	h->quits = true;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&r->turn);
	pthread_join(h->thread, NULL);
	pthread_mutex_lock(&r->turn);
	pthread_cond_destroy(&h->wake);
	pthread_cond_destroy(&h->idle);
	free(h);
	r->helper = NULL;
}

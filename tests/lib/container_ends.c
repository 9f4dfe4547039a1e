// SPDX-License-Identifier: GPL-2.0-or-later
/* Ends: what they leave, and whether that is right. */
#include "container_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "notes.h"
#include "unit.h"

#define PIECE (64u << 10)
/* Operations of a run after an end. */
#define AFTER 6
/* How deep an end may happen in what an end left. */
#define DEPTH 2

static const char *const work_names[WORK_KINDS] = {
	[WORK_NONE] = "nothing", [WORK_START] = "start", [WORK_WRITE] = "write",
	[WORK_ZERO] = "zero",    [WORK_FLUSH] = "flush", [WORK_GROW] = "grow",
	[WORK_REST] = "rest",
};

static const char *const call_names[FAKE_CALLS] = {
	[FAKE_WRITE] = "write",       [FAKE_FLUSH] = "flush",   [FAKE_ZERO] = "zero",
	[FAKE_ALLOCATE] = "allocate", [FAKE_RESIZE] = "resize",
};

bool container_fail(struct run *r, const char *format, ...)
{
	char *why = r->rig->why;
	size_t n;
	va_list args;

	if (why[0])
		return false;
	n = snprintf(why, CONTAINER_WHY, "%s, seed %llu: ", r->rig->c->kind,
		     (unsigned long long)r->rig->episode);
	va_start(args, format);
	n += vsnprintf(why + n, CONTAINER_WHY - n, format, args);
	va_end(args);
	for (; r && n < CONTAINER_WHY; r = r->before)
		if (r->where[0])
			n += snprintf(why + n, CONTAINER_WHY - n, "; %s", r->where);
	return false;
}

/* ---- reading ---- */

static bool wrong_sector(struct run *r, uint64_t sector, uint64_t content, enum model_end end,
			 const struct disk_model *m)
{
	char text[400];

	model_describe(m, end, sector, content, text, sizeof(text));
	return container_fail(r, "%s, of %llu in a unit", text,
			      (unsigned long long)r->rig->c->unit / MODEL_SECTOR);
}

/* It may have to wait for a request of the other thread. */
static int read_disk(struct run *r, uint8_t *buf, uint64_t len, uint64_t off)
{
	int err;

	r->inside++;
	pthread_mutex_unlock(&r->turn);
	err = r->img->format->read(r->img, buf, len, off, 0);
	pthread_mutex_lock(&r->turn);
	r->inside--;
	return err;
}

bool container_read(struct run *r, uint64_t first, uint64_t count, uint8_t *buf)
{
	int err = read_disk(r, buf, count * MODEL_SECTOR, first * MODEL_SECTOR);

	if (err)
		return container_fail(r, "read failed: %s", strerror(-err));
	for (uint64_t i = 0; i < count; i++) {
		uint64_t content = content_name(buf + i * MODEL_SECTOR);

		if (content != model_now(r->model, first + i))
			return wrong_sector(r, first + i, content, MODEL_KILL, r->model);
	}
	return true;
}

/* What it calls a hole reads as zeros. */
static bool holes_are_zeros(struct run *r)
{
	uint64_t size = r->img->size, at = 0, hole, data;

	while (at < size) {
		int err = r->img->format->seek(r->img, at, SEEK_HOLE, &hole);

		if (!err && hole < size)
			err = r->img->format->seek(r->img, hole, SEEK_DATA, &data);
		if (!err && hole >= size)
			return true;
		if (err == -ENXIO)
			data = size;
		else if (err)
			return container_fail(r, "seek failed: %s", strerror(-err));
		for (uint64_t s = (hole + MODEL_SECTOR - 1) / MODEL_SECTOR;
		     (s + 1) * MODEL_SECTOR <= data; s++)
			if (model_now(r->model, s))
				return container_fail(r, "sector %llu is in a hole",
						      (unsigned long long)s);
		at = data > at ? data : size;
	}
	return true;
}

bool container_verify(struct run *r)
{
	uint64_t sectors = model_size(r->model) / MODEL_SECTOR, n = PIECE / MODEL_SECTOR;
	uint8_t buf[PIECE];

	if (r->img->size != model_size(r->model))
		return container_fail(r, "its size is %llu", (unsigned long long)r->img->size);
	for (uint64_t s = 0; s < sectors; s += n)
		if (!container_read(r, s, sectors - s < n ? sectors - s : n, buf))
			return false;
	return holes_are_zeros(r);
}

/* Holds what was found against the model of the run before, and makes one of it. */
static bool compare(struct run *r, enum model_end end)
{
	const struct disk_model *m = r->before->model;
	uint64_t size = r->img->size, n;
	uint8_t buf[PIECE];

	if (!model_allows_size(m, end, size))
		return container_fail(r, "its size is %llu", (unsigned long long)size);
	r->model = model_after(m, end, size);
	for (uint64_t off = 0; off < size; off += n) {
		int err;

		n = size - off < PIECE ? size - off : PIECE;
		err = read_disk(r, buf, n, off);
		if (err)
			return container_fail(r, "read failed: %s", strerror(-err));
		for (uint64_t i = 0; i < n; i += MODEL_SECTOR) {
			uint64_t s = (off + i) / MODEL_SECTOR, content = content_name(buf + i);

			if (!model_allows(m, end, s, content))
				return wrong_sector(r, s, content, end, m);
			model_found(r->model, end, s, content);
		}
	}
	return true;
}

/* ---- runs ---- */

bool container_open(struct run *r)
{
	struct image_around around = { .parents = &r->rig->parents };
	struct file *tap = tap_file_new(r->disk, container_point, r);
	char reason[IMAGE_REASON];
	int err = notes_open(r->rig->dirfd, r->notes, r->boot, &around.notes);

	if (!err) {
		err = image_open(tap, r->rig->c->format, &around, &r->img, reason);
		if (err)
			notes_close(around.notes);
	}
	if (err) {
		tap->ops->close(tap);
		r->disk = NULL;
		return container_fail(r, "open failed: %s (%s)", strerror(-err), reason);
	}
	if (r->img->complaint[0] || r->img->read_only)
		return container_fail(r, "complaint: %s", r->img->complaint);
	if (strcmp(r->img->kind, r->rig->c->kind) != 0)
		return container_fail(r, "its kind is %s", r->img->kind);
	return true;
}

void container_run(struct rig *rig, struct run *r)
{
	r->rig = rig;
	snprintf(r->notes, sizeof(r->notes), "n%u", rig->names++);
	pthread_mutex_init(&r->turn, NULL);
	pthread_mutex_lock(&r->turn);
}

void container_close(struct run *r)
{
	image_close(r->img);
	if (r->model)
		model_free(r->model);
	unlinkat(r->rig->dirfd, r->notes, 0);
	pthread_mutex_unlock(&r->turn);
	pthread_mutex_destroy(&r->turn);
}

/* The notes as they are now, for another run. */
static void copy_notes(struct run *r, struct run *to)
{
	int dir = r->rig->dirfd, in = openat(dir, r->notes, O_RDONLY | O_CLOEXEC), out;
	char buf[16384];
	ssize_t n;

	if (in < 0)
		return;
	out = openat(dir, to->notes, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		ck_assert_int_eq(write(out, buf, n), n);
	ck_assert_int_eq(close(out), 0);
	close(in);
}

/* What is left is worked on. */
static bool go_on(struct run *r)
{
	return work_start(r) && work_some(r, 1 + unit_below(&r->seed, AFTER)) && work_rest(r) &&
	       container_verify(r);
}

/* ---- ends ---- */

/* A kill in a write leaves some pages of it written. */
static void write_some(struct file *disk, const struct tap_call *call, uint64_t *seed)
{
	uint64_t first = 4096 - call->off % 4096, pages = (call->len + 4095) / 4096;
	uint64_t len = first + 4096 * unit_below(seed, pages);

	if (len < call->len)
		disk->ops->write(disk, call->buf, len, call->off, 0);
}

static void describe(const struct run *r, const struct tap_call *call, enum model_end end,
		     uint64_t seed, char *buf, size_t len)
{
	size_t n = snprintf(buf, len, "%s of %llu at point %u of depth %u, in %s",
			    end == MODEL_KILL ? "kill" : "power cut", (unsigned long long)seed,
			    r->points, r->depth, work_names[work_doing()->work]);

	if (call)
		snprintf(buf + n, len - n, ", %s %s(%llu+%llu)", call->after ? "after" : "before",
			 call_names[call->call], (unsigned long long)call->off,
			 (unsigned long long)call->len);
	else
		snprintf(buf + n, len - n, ", which is done");
}

/* What an end here leaves is opened, compared and perhaps worked on. */
static void end_here(struct run *r, const struct tap_call *call, enum model_end end)
{
	uint64_t seed = unit_random(&r->seed);
	struct run *left = calloc(1, sizeof(*left));
	struct doing was = *work_doing();

	*left = (struct run){ .before = r, .depth = r->depth + 1, .seed = seed };
	container_run(r->rig, left);
	copy_notes(r, left);
	memcpy(left->boot, r->boot, sizeof(left->boot));
	describe(r, call, end, seed, left->where, sizeof(left->where));
	if (end == MODEL_KILL) {
		left->disk = fake_twin(r->disk);
		if (call && !call->after && call->call == FAKE_WRITE)
			write_some(left->disk, call, &left->seed);
	} else {
		left->disk = fake_crashed(r->disk, unit_random(&left->seed));
		left->boot[0]++;
	}
	if (container_open(left) && compare(left, end) && unit_below(&left->seed, 2))
		go_on(left);
	container_close(left);
	free(left);
	*work_doing() = was;
}

static bool is_lost(struct run *r, const struct tap_call *call)
{
	const struct container_case *c = r->rig->c;
	struct doing *d = work_doing();

	if (call->call != FAKE_FLUSH || call->after)
		return false;
	return ++d->flushes == c->lose_nth && d->work == c->lose;
}

/*
 * Does this run end here, too, and how? The first one always does. What an end
 * left does now and then, above all while it is mended.
 */
static bool ends_here(struct run *r, const struct tap_call *call, enum model_end *end)
{
	/* After a call of the file is no other moment for power than before the next one. */
	bool kill_only = call && call->after;

	if (!r->depth) {
		*end = r->rig->end;
		return r->rig->ends < r->rig->wanted && !(kill_only && *end == MODEL_POWER_CUT);
	}
	*end = kill_only || !unit_below(&r->seed, 3) ? MODEL_KILL : MODEL_POWER_CUT;
	return r->depth < DEPTH && !unit_below(&r->seed, work_doing()->work == WORK_START ? 8 : 32);
}

static void point(struct run *r, const struct tap_call *call)
{
	enum model_end end;

	r->points++;
	if (r->rig->why[0] || !ends_here(r, call, &end))
		return;
	/* A kill takes the file and the notes of one moment. */
	if (end == MODEL_KILL && r->inside)
		return;
	r->rig->ends += !r->depth;
	end_here(r, call, end);
}

void container_done(struct run *r)
{
	point(r, NULL);
}

bool container_point(void *arg, const struct tap_call *call)
{
	struct run *r = arg;
	bool goes_on;

	if (!work_doing()->inside)
		return container_fail(r, "a change by what must not change anything") || true;
	pthread_mutex_lock(&r->turn);
	r->inside--;
	work_beside(r);
	point(r, call);
	goes_on = !is_lost(r, call);
	r->inside++;
	pthread_mutex_unlock(&r->turn);
	return goes_on;
}

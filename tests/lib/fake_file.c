// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Invariants, asserted by check():
 *   - pending is sorted by seq
 *   - durable_seq[s] is the seq of the change that made sector s what it is in
 *     durable; a pending change of a lower seq says nothing about s any more
 *   - durable is `room` bytes long, zero past durable_size
 */
#include "fake_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#define SECTOR 512
#define ROOM (64u << 20) /* no fake is larger */

/* One change: whole sectors as they are after it, and the size. */
struct change {
	struct change *next;
	uint64_t seq, size;
	uint64_t first, count; /* sectors */
	bool cuts;             /* size went down: what is behind it is zero */
	bool in_doubt;         /* a flush of it failed */
	uint8_t data[];
};

struct fake_file {
	struct file base;
	pthread_mutex_t lock;
	uint8_t *now, *durable;
	bool *taken; /* blocks with space */
	uint64_t *durable_seq;
	uint64_t room, size, durable_size, durable_size_seq, seq, space;
	struct change *pending, **last;
	struct {
		unsigned calls, fail_at, fail_times, delay_us, return_us;
		int err;
	} kinds[FAKE_CALLS];
};

static struct fake_file *fake(struct file *f)
{
	return (struct fake_file *)f;
}

static void check(const struct fake_file *f)
{
	for (const struct change *c = f->pending; c && c->next; c = c->next)
		assert(c->seq < c->next->seq);
	assert(f->size <= f->room && f->durable_size <= f->room);
}

/* ---- calls ---- */

static void wait_us(unsigned us)
{
	if (us)
		nanosleep(&(struct timespec){ us / 1000000, us % 1000000 * 1000 }, NULL);
}

/* Counts, waits, and takes the lock. What the call has to return now, or 0. */
static int enter(struct fake_file *f, enum fake_call call)
{
	unsigned n, us;
	int err = 0;

	pthread_mutex_lock(&f->lock);
	n = ++f->kinds[call].calls;
	if (f->kinds[call].err && n >= f->kinds[call].fail_at &&
	    n - f->kinds[call].fail_at < f->kinds[call].fail_times)
		err = -f->kinds[call].err;
	us = f->kinds[call].delay_us;
	pthread_mutex_unlock(&f->lock);
	wait_us(us);
	pthread_mutex_lock(&f->lock);
	check(f);
	return err;
}

static int leave(struct fake_file *f, enum fake_call call, int err)
{
	unsigned us = f->kinds[call].return_us;

	check(f);
	pthread_mutex_unlock(&f->lock);
	wait_us(us);
	return err;
}

/* ---- changes ---- */

static bool has_room(struct fake_file *f, uint64_t size)
{
	uint64_t room = (size + FAKE_BLOCK - 1) / FAKE_BLOCK * FAKE_BLOCK;
	uint64_t blocks = room / FAKE_BLOCK, old = f->room / FAKE_BLOCK;
	uint64_t sectors = room / SECTOR;

	if (size <= f->room)
		return true;
	if (size > ROOM)
		return false;
	f->now = realloc(f->now, room);
	f->durable = realloc(f->durable, room);
	f->taken = realloc(f->taken, blocks * sizeof(*f->taken));
	f->durable_seq = realloc(f->durable_seq, sectors * sizeof(*f->durable_seq));
	memset(f->now + f->room, 0, room - f->room);
	memset(f->durable + f->room, 0, room - f->room);
	memset(f->taken + old, 0, (blocks - old) * sizeof(*f->taken));
	memset(f->durable_seq + f->room / SECTOR, 0,
	       (room - f->room) / SECTOR * sizeof(*f->durable_seq));
	f->room = room;
	return true;
}

/* Records that [off, off + len) of now, or only the size, is not what it was. */
static struct change *changed(struct fake_file *f, uint64_t off, uint64_t len, bool cuts)
{
	uint64_t first = off / SECTOR, count = len ? (off + len - 1) / SECTOR - first + 1 : 0;
	struct change *c = malloc(sizeof(*c) + count * SECTOR);

	*c = (struct change){ .seq = ++f->seq,
			      .size = f->size,
			      .first = first,
			      .count = count,
			      .cuts = cuts };
	memcpy(c->data, f->now + first * SECTOR, count * SECTOR);
	*f->last = c;
	f->last = &c->next;
	return c;
}

/* The size as after c, in an image of this room. */
static void apply_size(uint8_t *image, uint64_t room, uint64_t *size, const struct change *c)
{
	*size = c->size;
	if (c->cuts)
		memset(image + c->size, 0, room - c->size);
}

static void make_size_durable(struct fake_file *f, uint64_t upto)
{
	for (const struct change *c = f->pending; c && c->seq <= upto; c = c->next)
		if (c->seq > f->durable_size_seq) {
			apply_size(f->durable, f->room, &f->durable_size, c);
			f->durable_size_seq = c->seq;
			for (uint64_t s = (c->size + SECTOR - 1) / SECTOR;
			     c->cuts && s < f->room / SECTOR; s++)
				f->durable_seq[s] = c->seq;
		}
}

static void make_data_durable(struct fake_file *f, const struct change *c)
{
	for (uint64_t i = 0; i < c->count; i++)
		if (f->durable_seq[c->first + i] < c->seq) {
			f->durable_seq[c->first + i] = c->seq;
			memcpy(f->durable + (c->first + i) * SECTOR, c->data + i * SECTOR, SECTOR);
		}
}

static void drop(struct fake_file *f, struct change **link)
{
	struct change *c = *link;

	*link = c->next;
	if (!c->next)
		f->last = link;
	free(c);
}

static void make_durable(struct fake_file *f, uint64_t upto)
{
	struct change **link = &f->pending;

	make_size_durable(f, upto);
	while (*link && (*link)->seq <= upto) {
		if ((*link)->in_doubt) {
			link = &(*link)->next;
			continue;
		}
		make_data_durable(f, *link);
		drop(f, link);
	}
}

/* ---- space ---- */

static bool take_space(struct fake_file *f, uint64_t off, uint64_t len)
{
	uint64_t first = off / FAKE_BLOCK, end = (off + len + FAKE_BLOCK - 1) / FAKE_BLOCK;
	uint64_t need = 0;

	for (uint64_t b = first; b < end; b++)
		need += !f->taken[b];
	if (need > f->space)
		return false;
	f->space -= need;
	for (uint64_t b = first; b < end; b++)
		f->taken[b] = true;
	return true;
}

/* Of blocks that lie in the range altogether. */
static void give_space_back(struct fake_file *f, uint64_t off, uint64_t end)
{
	for (uint64_t b = (off + FAKE_BLOCK - 1) / FAKE_BLOCK; (b + 1) * FAKE_BLOCK <= end; b++)
		if (f->taken[b]) {
			f->taken[b] = false;
			f->space++;
		}
}

/* ---- the members ---- */

static int fake_read(struct file *file, void *buf, size_t len, uint64_t off, unsigned io)
{
	struct fake_file *f = fake(file);
	int err = enter(f, FAKE_READ);

	if (!err && off + len > f->size)
		err = -EIO;
	if (!err)
		memcpy(buf, f->now + off, len);
	return leave(f, FAKE_READ, err);
}

static int put(struct fake_file *f, const void *buf, size_t len, uint64_t off, unsigned io)
{
	struct change *c;

	if (!has_room(f, off + len))
		return -EFBIG;
	if (!take_space(f, off, len))
		return -ENOSPC;
	memcpy(f->now + off, buf, len);
	if (off + len > f->size)
		f->size = off + len;
	c = changed(f, off, len, false);
	if (io & IO_DSYNC) {
		make_size_durable(f, c->seq);
		make_data_durable(f, c);
	}
	return 0;
}

static int fake_write(struct file *file, const void *buf, size_t len, uint64_t off, unsigned io)
{
	struct fake_file *f = fake(file);
	int err = enter(f, FAKE_WRITE);

	if (!err)
		err = put(f, buf, len, off, io);
	else if (off + len <= f->size) /* half of it was written */
		put(f, buf, len / 2, off, 0);
	return leave(f, FAKE_WRITE, err);
}

/* What was written while it runs may or may not be durable after it. */
static int fake_flush(struct file *file)
{
	struct fake_file *f = fake(file);
	uint64_t upto;
	int err;

	pthread_mutex_lock(&f->lock);
	upto = f->seq;
	pthread_mutex_unlock(&f->lock);
	err = enter(f, FAKE_FLUSH);
	if (err)
		for (struct change *c = f->pending; c && c->seq <= upto; c = c->next)
			c->in_doubt = true;
	else
		make_durable(f, upto);
	return leave(f, FAKE_FLUSH, err);
}

static int fake_zero(struct file *file, uint64_t off, uint64_t len, enum zero_mode mode)
{
	struct fake_file *f = fake(file);
	int err = enter(f, FAKE_ZERO);
	uint64_t end = off + len < f->size ? off + len : f->size;

	if (!err && off < end) {
		if (mode == ZERO_KEEP && !take_space(f, off, end - off))
			err = -ENOSPC;
		else if (mode == ZERO_PUNCH)
			give_space_back(f, off, end);
		if (!err) {
			memset(f->now + off, 0, end - off);
			changed(f, off, end - off, false);
		}
	}
	return leave(f, FAKE_ZERO, err);
}

static int fake_allocate(struct file *file, uint64_t off, uint64_t len, bool grow)
{
	struct fake_file *f = fake(file);
	int err = enter(f, FAKE_ALLOCATE);

	if (!err && !has_room(f, off + len))
		err = -EFBIG;
	if (!err && !take_space(f, off, len))
		err = -ENOSPC;
	if (!err && grow && off + len > f->size) {
		f->size = off + len;
		changed(f, off, 0, false);
	}
	return leave(f, FAKE_ALLOCATE, err);
}

static int fake_resize(struct file *file, uint64_t size)
{
	struct fake_file *f = fake(file);
	int err = enter(f, FAKE_RESIZE);

	if (!err && !has_room(f, size))
		err = -EFBIG;
	if (!err) {
		bool cuts = size < f->size;

		if (cuts) {
			memset(f->now + size, 0, f->room - size);
			give_space_back(f, size, f->room);
		}
		f->size = size;
		changed(f, size, size % SECTOR ? 1 : 0, cuts);
	}
	return leave(f, FAKE_RESIZE, err);
}

static int fake_seek(struct file *file, uint64_t off, int whence, uint64_t *found)
{
	struct fake_file *f = fake(file);
	int err = enter(f, FAKE_SEEK);
	uint64_t at = off;

	if (!err && off >= f->size)
		err = -ENXIO;
	while (!err && at < f->size && f->taken[at / FAKE_BLOCK] != (whence == SEEK_DATA))
		at = (at / FAKE_BLOCK + 1) * FAKE_BLOCK;
	if (!err && at >= f->size) {
		at = f->size;
		err = whence == SEEK_DATA ? -ENXIO : 0;
	}
	if (!err)
		*found = at;
	return leave(f, FAKE_SEEK, err);
}

static int fake_stat(struct file *file, struct file_stat *st)
{
	struct fake_file *f = fake(file);
	int err = enter(f, FAKE_STAT);

	if (!err) {
		*st = (struct file_stat){ .size = f->size, .ino = 1, .mode = 0100600, .nlink = 1 };
		st->mtime.tv_sec = 1 + f->seq;
		for (uint64_t b = 0; b < f->room / FAKE_BLOCK; b++)
			st->allocated += f->taken[b] ? FAKE_BLOCK : 0;
	}
	return leave(f, FAKE_STAT, err);
}

static void fake_close(struct file *file)
{
	struct fake_file *f = fake(file);

	while (f->pending)
		drop(f, &f->pending);
	pthread_mutex_destroy(&f->lock);
	free(f->now);
	free(f->durable);
	free(f->taken);
	free(f->durable_seq);
	free(f);
}

static const struct file_ops fake_ops = {
	.read = fake_read,
	.write = fake_write,
	.flush = fake_flush,
	.zero = fake_zero,
	.allocate = fake_allocate,
	.resize = fake_resize,
	.seek = fake_seek,
	.stat = fake_stat,
	.close = fake_close,
};

/* ---- for tests ---- */

struct file *fake_file_new(const void *content, uint64_t size)
{
	struct fake_file *f = calloc(1, sizeof(*f));

	assert(size <= ROOM);
	f->base.ops = &fake_ops;
	pthread_mutex_init(&f->lock, NULL);
	f->last = &f->pending;
	f->space = UINT64_MAX;
	has_room(f, size ? size : 1);
	f->size = f->durable_size = size;
	if (content) {
		memcpy(f->now, content, size);
		memcpy(f->durable, content, size);
		take_space(f, 0, size);
	}
	return &f->base;
}

void fake_fail(struct file *file, enum fake_call call, unsigned nth, unsigned times, int err)
{
	struct fake_file *f = fake(file);

	pthread_mutex_lock(&f->lock);
	f->kinds[call].fail_at = f->kinds[call].calls + nth;
	f->kinds[call].fail_times = times;
	f->kinds[call].err = err;
	pthread_mutex_unlock(&f->lock);
}

void fake_delay(struct file *file, enum fake_call call, unsigned us)
{
	struct fake_file *f = fake(file);

	pthread_mutex_lock(&f->lock);
	f->kinds[call].delay_us = us;
	pthread_mutex_unlock(&f->lock);
}

void fake_delay_return(struct file *file, enum fake_call call, unsigned us)
{
	struct fake_file *f = fake(file);

	pthread_mutex_lock(&f->lock);
	f->kinds[call].return_us = us;
	pthread_mutex_unlock(&f->lock);
}

void fake_space(struct file *file, uint64_t blocks)
{
	struct fake_file *f = fake(file);

	pthread_mutex_lock(&f->lock);
	f->space = blocks;
	pthread_mutex_unlock(&f->lock);
}

unsigned fake_calls(struct file *file, enum fake_call call)
{
	struct fake_file *f = fake(file);
	unsigned n;

	pthread_mutex_lock(&f->lock);
	n = f->kinds[call].calls;
	pthread_mutex_unlock(&f->lock);
	return n;
}

/* Now and then a whole change is kept or lost, else each of its sectors by itself. */
static void keep_some(const struct fake_file *f, const struct change *c, uint8_t *image,
		      uint64_t *seed)
{
	uint64_t how = unit_below(seed, 4);

	for (uint64_t i = 0; i < c->count; i++) {
		bool keep = how == 0 || (how != 1 && unit_below(seed, 2));

		if (keep && f->durable_seq[c->first + i] < c->seq)
			memcpy(image + (c->first + i) * SECTOR, c->data + i * SECTOR, SECTOR);
	}
}

uint8_t *fake_crash(struct file *file, uint64_t seed, uint64_t *size)
{
	struct fake_file *f = fake(file);
	uint64_t last_size;
	uint8_t *image;

	pthread_mutex_lock(&f->lock);
	check(f);
	image = malloc(f->room);
	memcpy(image, f->durable, f->room);
	*size = f->durable_size;
	/* The sizes of the changes up to here are kept, of those after it lost. */
	last_size = f->durable_size_seq + unit_below(&seed, f->seq - f->durable_size_seq + 1);
	for (const struct change *c = f->pending; c; c = c->next) {
		keep_some(f, c, image, &seed);
		if (c->seq > f->durable_size_seq && c->seq <= last_size)
			apply_size(image, f->room, size, c);
	}
	memset(image + *size, 0, f->room - *size);
	pthread_mutex_unlock(&f->lock);
	return image;
}

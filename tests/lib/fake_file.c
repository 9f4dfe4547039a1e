// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Invariants, asserted by check():
 *   - pending is sorted by seq
 *   - durable_seq[s] is the seq of the change that made sector s what it is in
 *     durable; a pending change of a lower seq says nothing about s any more
 *   - durable is zero past durable_size
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

#include "pages.h"
#include "unit.h"

#define SECTOR 512

/* One change: whole sectors as they are after it, and the size. */
struct change {
	struct change *next;
	uint64_t seq, size;
	uint64_t first, count; /* sectors */
	bool cuts;             /* size went down: what is behind it is zero */
	bool in_doubt;         /* a flush of it failed */
	bool zeros;            /* they are, and there is no data */
	bool extends;          /* a write that made the file longer */
	uint8_t data[];
};

struct fake_file {
	struct file base;
	int broken; /* a flush failed; until forgive */
	pthread_mutex_t lock;
	struct pages *now, *durable;
	bool *taken; /* blocks with space */
	uint64_t *durable_seq;
	uint64_t room, size, durable_size, durable_size_seq, seq, space;
	bool ordered;
	struct change *pending, **last;
	enum file_use use;
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
	if (size > PAGES_ROOM)
		return false;
	f->taken = realloc(f->taken, blocks * sizeof(*f->taken));
	f->durable_seq = realloc(f->durable_seq, sectors * sizeof(*f->durable_seq));
	memset(f->taken + old, 0, (blocks - old) * sizeof(*f->taken));
	memset(f->durable_seq + f->room / SECTOR, 0,
	       (room - f->room) / SECTOR * sizeof(*f->durable_seq));
	f->room = room;
	return true;
}

static size_t data_bytes(const struct change *c)
{
	return c->zeros ? 0 : c->count * SECTOR;
}

static void append(struct fake_file *f, struct change *c)
{
	*f->last = c;
	f->last = &c->next;
}

/* Records that [off, off + len) of now, or only the size, is not what it was. */
static struct change *changed(struct fake_file *f, uint64_t off, uint64_t len, bool cuts,
			      bool zeros)
{
	uint64_t first = off / SECTOR, count = len ? (off + len - 1) / SECTOR - first + 1 : 0;
	bool whole = zeros && off % SECTOR == 0 && len % SECTOR == 0;
	struct change *c = malloc(sizeof(*c) + (whole ? 0 : count * SECTOR));

	*c = (struct change){ .seq = ++f->seq,
			      .size = f->size,
			      .first = first,
			      .count = count,
			      .cuts = cuts,
			      .zeros = whole };
	pages_read(f->now, c->data, data_bytes(c), first * SECTOR);
	append(f, c);
	return c;
}

/* The size as after c. */
static void apply_size(struct pages *image, uint64_t *size, const struct change *c)
{
	*size = c->size;
	if (c->cuts)
		pages_zero(image, c->size, PAGES_ROOM);
}

/* Its ith sector. */
static void apply_sector(struct pages *image, const struct change *c, uint64_t i)
{
	uint64_t at = (c->first + i) * SECTOR;

	if (c->zeros)
		pages_zero(image, at, at + SECTOR);
	else
		pages_write(image, c->data + i * SECTOR, SECTOR, at);
}

static void make_size_durable(struct fake_file *f, uint64_t upto)
{
	for (const struct change *c = f->pending; c && c->seq <= upto; c = c->next)
		if (c->seq > f->durable_size_seq) {
			apply_size(f->durable, &f->durable_size, c);
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
			apply_sector(f->durable, c, i);
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
		pages_read(f->now, buf, len, off);
	return leave(f, FAKE_READ, err);
}

static int put(struct fake_file *f, const void *buf, size_t len, uint64_t off, unsigned io)
{
	struct change *c;
	bool extends;

	if (!has_room(f, off + len))
		return -EFBIG;
	if (!take_space(f, off, len))
		return -ENOSPC;
	pages_write(f->now, buf, len, off);
	extends = off + len > f->size;
	if (extends)
		f->size = off + len;
	c = changed(f, off, len, false, false);
	c->extends = extends;
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
	if (f->broken)
		err = f->broken;
	f->broken = err;
	if (err)
		for (struct change *c = f->pending; c && c->seq <= upto; c = c->next)
			c->in_doubt = true;
	else
		make_durable(f, upto);
	return leave(f, FAKE_FLUSH, err);
}

static void fake_forgive(struct file *file)
{
	struct fake_file *f = fake(file);

	pthread_mutex_lock(&f->lock);
	f->broken = 0;
	pthread_mutex_unlock(&f->lock);
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
			pages_zero(f->now, off, end);
			changed(f, off, end - off, false, true);
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
		changed(f, off, 0, false, false);
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
			pages_zero(f->now, size, PAGES_ROOM);
			give_space_back(f, size, f->room);
		}
		f->size = size;
		changed(f, size, size % SECTOR ? 1 : 0, cuts, false);
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

static int fake_lock(struct file *file, enum file_use use)
{
	struct fake_file *f = fake(file);
	int err = enter(f, FAKE_LOCK);

	if (!err)
		f->use = use;
	return leave(f, FAKE_LOCK, err);
}

static void fake_close(struct file *file)
{
	struct fake_file *f = fake(file);

	while (f->pending)
		drop(f, &f->pending);
	pthread_mutex_destroy(&f->lock);
	pages_free(f->now);
	pages_free(f->durable);
	free(f->taken);
	free(f->durable_seq);
	free(f);
}

static const struct file_ops fake_ops = {
	.read = fake_read,
	.write = fake_write,
	.flush = fake_flush,
	.forgive = fake_forgive,
	.zero = fake_zero,
	.allocate = fake_allocate,
	.resize = fake_resize,
	.seek = fake_seek,
	.stat = fake_stat,
	.lock = fake_lock,
	.close = fake_close,
};

/* ---- for tests ---- */

/* Takes over the pages. */
static struct fake_file *new_of(struct pages *content, uint64_t size)
{
	struct fake_file *f = calloc(1, sizeof(*f));

	assert(size <= PAGES_ROOM);
	f->base.ops = &fake_ops;
	pthread_mutex_init(&f->lock, NULL);
	f->last = &f->pending;
	f->space = UINT64_MAX;
	has_room(f, size ? size : 1);
	f->size = f->durable_size = size;
	f->now = content;
	f->durable = pages_copy(content);
	return f;
}

struct file *fake_file_new(const void *content, uint64_t size)
{
	struct pages *pages = pages_new();
	struct fake_file *f;

	if (content)
		pages_write(pages, content, size, 0);
	f = new_of(pages, size);
	if (content)
		take_space(f, 0, size);
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

enum file_use fake_use(struct file *file)
{
	struct fake_file *f = fake(file);
	enum file_use use;

	pthread_mutex_lock(&f->lock);
	use = f->use;
	pthread_mutex_unlock(&f->lock);
	return use;
}

/* ---- power cuts ---- */

/*
 * What a power cut likes to keep. What breaks an order is often one change that
 * is there before all others, or one that is missing, so these are frequent.
 */
struct taste {
	enum { ANY, NEWEST, ALL_BUT_ONE, ONLY_ONE } shape;
	uint64_t seq; /* the one, or the first of the newest */
};

static struct taste taste_of(const struct fake_file *f, uint64_t *seed)
{
	uint64_t shape = unit_below(seed, 8), n = 0, nth;
	const struct change *c = f->pending;

	for (; c; c = c->next)
		n++;
	if (!n || shape > ONLY_ONE)
		return (struct taste){ ANY, 0 };
	nth = unit_below(seed, n);
	for (c = f->pending; nth; nth--)
		c = c->next;
	return (struct taste){ shape, c->seq };
}

/* Does it keep all of c, nothing, or some? */
static enum { NOTHING, SOME, ALL } how_much(struct taste t, const struct change *c, uint64_t *seed)
{
	uint64_t how;

	switch (t.shape) {
	case NEWEST:
		return c->seq >= t.seq ? ALL : NOTHING;
	case ALL_BUT_ONE:
		return c->seq != t.seq ? ALL : NOTHING;
	case ONLY_ONE:
		return c->seq == t.seq ? ALL : NOTHING;
	default:
		how = unit_below(seed, 4);
		return how == 0 ? ALL : how == 1 ? NOTHING : SOME;
	}
}

static void keep_some(const struct fake_file *f, const struct change *c, struct pages *image,
		      struct taste t, bool is_long, uint64_t *seed)
{
	int how = how_much(t, c, seed);

	if (f->ordered && c->extends && is_long)
		how = ALL;

	for (uint64_t i = 0; i < c->count && how != NOTHING; i++)
		if (f->durable_seq[c->first + i] < c->seq && (how == ALL || unit_below(seed, 2)))
			apply_sector(image, c, i);
}

/* Under lock. */
static struct pages *crash(struct fake_file *f, uint64_t seed, uint64_t *size)
{
	struct pages *image = pages_copy(f->durable);
	struct taste t = taste_of(f, &seed);
	uint64_t last_size;

	check(f);
	*size = f->durable_size;
	/* The sizes of the changes up to here are kept, of those after it lost. */
	last_size = f->durable_size_seq + unit_below(&seed, f->seq - f->durable_size_seq + 1);
	for (const struct change *c = f->pending; c; c = c->next) {
		bool is_long = c->seq > f->durable_size_seq && c->seq <= last_size;

		keep_some(f, c, image, t, is_long, &seed);
		if (is_long)
			apply_size(image, size, c);
	}
	pages_zero(image, *size, PAGES_ROOM);
	return image;
}

void fake_ordered(struct file *file)
{
	fake(file)->ordered = true;
}

uint8_t *fake_crash(struct file *file, uint64_t seed, uint64_t *size)
{
	struct fake_file *f = fake(file);
	struct pages *image;
	uint8_t *bytes;

	pthread_mutex_lock(&f->lock);
	image = crash(f, seed, size);
	bytes = malloc(f->room);
	pages_read(image, bytes, f->room, 0);
	pthread_mutex_unlock(&f->lock);
	pages_free(image);
	return bytes;
}

struct file *fake_crashed(struct file *file, uint64_t seed)
{
	struct fake_file *f = fake(file), *new;
	struct pages *image;
	uint64_t size;

	pthread_mutex_lock(&f->lock);
	image = crash(f, seed, &size);
	new = new_of(image, size);
	/* What was to be given back may still be there. */
	for (uint64_t b = 0; b < new->room / FAKE_BLOCK; b++) {
		new->taken[b] = f->taken[b] || pages_written(image, b * FAKE_BLOCK);
		new->space -= new->taken[b];
	}
	new->ordered = f->ordered;
	pthread_mutex_unlock(&f->lock);
	return &new->base;
}

struct file *fake_twin(struct file *file)
{
	struct fake_file *f = fake(file), *new;

	pthread_mutex_lock(&f->lock);
	new = new_of(pages_copy(f->now), f->size);
	pages_free(new->durable);
	new->durable = pages_copy(f->durable);
	has_room(new, f->room);
	new->durable_size = f->durable_size;
	new->durable_size_seq = f->durable_size_seq;
	new->seq = f->seq;
	new->space = f->space;
	new->ordered = f->ordered;
	memcpy(new->taken, f->taken, f->room / FAKE_BLOCK * sizeof(*f->taken));
	memcpy(new->durable_seq, f->durable_seq, f->room / SECTOR * sizeof(*f->durable_seq));
	for (const struct change *c = f->pending; c; c = c->next) {
		struct change *copy = malloc(sizeof(*copy) + data_bytes(c));

		memcpy(copy, c, sizeof(*copy) + data_bytes(c));
		copy->next = NULL;
		append(new, copy);
	}
	pthread_mutex_unlock(&f->lock);
	return &new->base;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The verbs of a disk. Each takes its range, asks whether the disk may still
 * be used, calls the image, and counts.
 *
 * unflushed is raised after a write has reached the backing file and before it
 * is acknowledged; a flush reads it before it begins. So a flush that is passed
 * over, because nothing was written since the last good one began, misses
 * nothing that was acknowledged.
 */
#include "disk.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "history.h"
#include "mirror.h"
#include "snapshots.h"
#include "space.h"
#include "tandem.h"
#include "watch.h"

const uint32_t disk_time_bounds_us[DISK_TIME_BOUNDS] = { 50,    200,    500,     1000,    5000,
							 20000, 100000, 1000000, 10000000 };

static void count(struct disk *d, enum disk_op op, int err, uint64_t bytes, uint64_t began)
{
	struct disk_op_counters *c = &d->ops[op];
	uint64_t ns = monotonic_ns() - began;
	size_t i = 0;

	atomic_fetch_add_explicit(&c->count, 1, memory_order_relaxed);
	if (err)
		atomic_fetch_add_explicit(&c->errors, 1, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(&c->bytes, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->nanoseconds, ns, memory_order_relaxed);
	while (i < DISK_TIME_BOUNDS && ns > disk_time_bounds_us[i] * 1000ull)
		i++;
	atomic_fetch_add_explicit(&c->times[i], 1, memory_order_relaxed);
}

/* At most one event in ten seconds: a dead disk makes thousands of errors. */
static void announce_error(struct disk *d, enum disk_op op, int err)
{
	bool space = lacks_space(err);
	_Atomic uint64_t *announced = &d->error_event_ns[space];
	uint64_t now = monotonic_ns(), last = atomic_load(announced);
	char object[DISK_LABEL_MAX + 8], word[200];

	if ((last && now - last < 10000000000u) ||
	    !atomic_compare_exchange_strong(announced, &last, now))
		return;
	events_emit(d->tandem->events, EVENT_MAJOR, space ? "SpaceLow" : "DiskFailed",
		    disk_object(d, object, sizeof(object)), "Operation=%s Error=%s",
		    disk_op_name(op), event_word(word, sizeof(word), strerror(-err)));
}

static int finish(struct disk *d, enum disk_op op, int err, uint64_t bytes, uint64_t began)
{
	count(d, op, err, bytes, began);
	if (err == -EIO || lacks_space(err))
		announce_error(d, op, err);
	return err;
}

/* What is written to an image that is gone, or after a flush failed, would be lost silently. */
static int may_change(struct disk *d)
{
	if (atomic_load(&d->lost) || atomic_load(&d->broken_flush))
		return -EIO;
	return d->image->read_only || d->want_read_only || atomic_load(&d->children) ? -EROFS : 0;
}

/* With its range locked. What comes first of all to an overlay is recorded before it is done. */
static int may_write(struct disk *d)
{
	int err = may_change(d);

	return !err && atomic_load(&d->untouched) ? overlay_touch(d) : err;
}

static void begin_change(struct disk *d)
{
	atomic_fetch_add(&d->begun, 1);
}

static void changed(struct disk *d)
{
	atomic_fetch_add(&d->unflushed, 1);
}

int disk_read_locked(struct disk *d, void *buf, size_t len, uint64_t off, unsigned io)
{
	struct history *h = atomic_load(&d->history);

	return h ? history_read(h, buf, len, off, io)
		 : d->image->format->read(d->image, buf, len, off, io);
}

/*
 * The moment that is seen of the disk, if it shows one; with the range locked, so that what is not shown is
 * written only after this.
 */
static uint64_t seen(struct disk *d)
{
	struct history *h = atomic_load(&d->history);

	return h ? history_seen(h) : 0;
}

/* -ESTALE: it shows another by now. */
static int read_shown(struct disk *d, uint64_t g, void *buf, size_t *len, uint64_t off)
{
	struct history *h = atomic_load(&d->history);
	struct moment_record m;
	int err;

	/* It is partly what the image holds, which others have changed. */
	if (disk_state(d) == DISK_CHANGED)
		return -EIO;
	err = history_moment_kept(h, g, &m);
	if (!err && off >= m.size)
		*len = 0;
	else if (!err && *len > m.size - off)
		*len = m.size - off;
	return err || !*len ? err : history_read_at(h, g, buf, *len, off);
}

static int read_present(struct disk *d, void *buf, size_t *len, uint64_t off, unsigned io)
{
	uint64_t size = d->image->size;

	if (off >= size)
		*len = 0;
	else if (*len > size - off)
		*len = size - off;
	return *len ? disk_read_locked(d, buf, *len, off, io) : 0;
}

static int read_seen(struct disk *d, void *buf, size_t *len, uint64_t off, unsigned io)
{
	size_t asked = *len;
	uint64_t g;
	int err;

	do {
		*len = asked;
		g = seen(d);
		err = g ? read_shown(d, g, buf, len, off) : read_present(d, buf, len, off, io);
	} while (err == -ESTALE && g && seen(d) != g);
	return err == -ESTALE ? -EIO : err;
}

int disk_read(struct disk *d, void *buf, size_t len, uint64_t off, unsigned io, size_t *done)
{
	uint64_t began = monotonic_ns();
	struct range r;
	int err;

	range_lock_read(&d->ranges, &r, off, len);
	err = atomic_load(&d->lost) ? -EIO : read_seen(d, buf, &len, off, io);
	range_unlock(&d->ranges, &r);
	if (!err)
		*done = len;
	return finish(d, DISK_OP_READ, err, len, began);
}

static void raise_to(_Atomic uint64_t *v, uint64_t to)
{
	uint64_t old = atomic_load(v);

	while (old < to && !atomic_compare_exchange_weak(v, &old, to))
		;
}

void disk_flush_failed(struct disk *d, int err)
{
	char reason[120];

	if (atomic_exchange(&d->broken_flush, true))
		return;
	snprintf(reason, sizeof(reason),
		 "a flush failed (%s): writes since the one before are in doubt", strerror(-err));
	disk_set_state(d, DISK_FAILED, reason);
	watch_poke(d->tandem->watch); /* to record it; this thread must not wait for that */
}

/* A request that passes the end also keeps out all others that do. */
static void lock_range(struct disk *d, struct range *r, uint64_t off, uint64_t len)
{
	uint64_t size = d->image->size, start = off < size ? off : size;

	if (off + len <= size)
		range_lock_write(&d->ranges, r, off, len);
	else
		range_lock_write(&d->ranges, r, start, UINT64_MAX - start);
}

/* A restore, which wants whole blocks, begins and ends while nobody has a range. */
static void lock_for_write(struct disk *d, struct range *r, uint64_t off, uint64_t len)
{
	for (;;) {
		struct history *h = atomic_load(&d->history);
		uint64_t from = off, wide = len;

		if (h)
			history_widen(h, &from, &wide);
		lock_range(d, r, from, wide);
		h = atomic_load(&d->history);
		from = off;
		wide = len;
		if (h)
			history_widen(h, &from, &wide);
		if (r->start <= from && r->end >= from + wide)
			return;
		range_unlock(&d->ranges, r);
	}
}

int disk_apply(struct disk *d, const struct change *c)
{
	/* Needs the lock: a disk gets its past while nobody has a range. */
	struct history *h = atomic_load(&d->history);
	struct image *img = d->image;
	int err = 0;

	if (h && c->off + c->len > img->size)
		err = img->format->resize(img, c->off + c->len);
	if (err)
		return err;
	if (h)
		return history_write(h, c->buf, c->len, c->off, c->io, c->mode);
	return c->buf ? img->format->write(img, c->buf, c->len, c->off, c->io)
		      : image_zero(img, c->off, c->len, c->mode);
}

/* With the range locked. */
static int change(struct disk *d, const struct change *c)
{
	struct mirror *m = atomic_load(&d->mirror);
	int err;

	begin_change(d);
	err = c->len ? may_write(d) : may_change(d);
	if (!err && c->len)
		err = m ? mirror_change(d, m, c) : disk_apply(d, c);
	changed(d); /* also after a failure: some of it may have been written */
	return err;
}

static int write_range(struct disk *d, const void *buf, size_t len, uint64_t off, unsigned io)
{
	struct change c = { .buf = buf, .len = len, .off = off, .io = io, .mode = ZERO_KEEP };
	struct range r;
	int err;

	lock_for_write(d, &r, off, len);
	/* It may have moved to a container meanwhile, which does not grow so. */
	if (off + len > d->image->size && !d->image->format->grows_by_write)
		err = -EFBIG;
	else
		err = change(d, &c);
	range_unlock(&d->ranges, &r);
	return err;
}

/*
 * O_SYNC and O_DSYNC are a write and then a flush like any other: the kernel
 * tells an error of write-back once, to whoever syncs next, and only a flush
 * knows what to make of it.
 */
int disk_write(struct disk *d, const void *buf, size_t len, uint64_t off, unsigned io)
{
	struct space_attempts attempts = space_attempts(d->tandem);
	uint64_t began = monotonic_ns();
	int err;

	if (off + len < off || off + len > INT64_MAX)
		return -EFBIG;
	if (!len)
		return 0;
	/* As a block device says it; it is no lack of space. */
	if (!d->image->format->grows_by_write && off + len > d->image->size) {
		count(d, DISK_OP_WRITE, -ENOSPC, 0, began);
		return -ENOSPC;
	}
	do
		err = write_range(d, buf, len, off, io);
	while (err && !(err = space_make(d, err, &attempts)));
	if (!err && io & IO_DSYNC)
		err = disk_flush(d);
	return finish(d, DISK_OP_WRITE, err, len, began);
}

int disk_write_once(struct disk *d, const void *buf, size_t len, uint64_t off, unsigned io)
{
	uint64_t began = monotonic_ns();

	return finish(d, DISK_OP_WRITE, write_range(d, buf, len, off, io), len, began);
}

bool disk_is_one_write(struct disk *d, const struct change *c, struct image_request *out)
{
	*out = (struct image_request){
		.image = d->image,
		.buf = (void *)c->buf,
		.len = c->len,
		.off = c->off,
		.io = c->io,
		.write = true,
	};
	return !atomic_load(&d->history) && rings_take(d->tandem->rings, out);
}

int disk_begin_write(struct disk *d, const struct change *c, struct half_write *w)
{
	int err;

	w->disk = d;
	w->began = monotonic_ns();
	lock_for_write(d, &w->range, c->off, c->len);
	begin_change(d);
	err = may_change(d);
	if (!err && (mirror_has_work(d) || !disk_is_one_write(d, c, &w->request)))
		err = -EAGAIN;
	if (!err)
		return 0;
	changed(d);
	range_unlock(&d->ranges, &w->range);
	return err == -EAGAIN ? err : finish(d, DISK_OP_WRITE, err, c->len, w->began);
}

int disk_end_write(struct half_write *w)
{
	changed(w->disk);
	range_unlock(&w->disk->ranges, &w->range);
	return finish(w->disk, DISK_OP_WRITE, w->request.err, w->request.len, w->began);
}

static int flush_disk(struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	int err = h ? history_flush(h) : 0;

	return err ? err : d->image->format->flush(d->image);
}

/* Under flushing. The one that waited for another may find its work done. */
static int flush_upto(struct disk *d, uint64_t upto)
{
	struct mirror *m = atomic_load(&d->mirror);
	int err;

	if (atomic_load(&d->broken_flush) || atomic_load(&d->lost))
		return -EIO;
	if (upto <= atomic_load(&d->flushed))
		return 0;
	upto = atomic_load(&d->unflushed);
	if (!d->format->flat)
		begin_change(d); /* of its tables */
	err = m ? mirror_flush(d, m, flush_disk) : flush_disk(d);
	if (err) {
		disk_flush_failed(d, err);
		return err;
	}
	err = m ? mirror_remember(m) : 0;
	if (!err)
		raise_to(&d->flushed, upto);
	return err;
}

/*
 * One at a time: the kernel tells an error of write-back to one of two that
 * flush a descriptor at once, and the other would say that all is well.
 */
int disk_flush(struct disk *d)
{
	uint64_t began = monotonic_ns(), upto = atomic_load(&d->unflushed);
	int err;

	pthread_mutex_lock(&d->flushing);
	err = flush_upto(d, upto);
	pthread_mutex_unlock(&d->flushing);
	return finish(d, DISK_OP_FLUSH, err, 0, began);
}

/* Clips *len to the disk. */
static int zero_inside(struct disk *d, uint64_t off, uint64_t *len, enum zero_mode mode)
{
	struct change c = { .off = off, .mode = mode };
	struct range r;
	uint64_t size;
	int err;

	lock_for_write(d, &r, off, *len);
	size = d->image->size;
	if (off >= size)
		*len = 0;
	else if (*len > size - off)
		*len = size - off;
	c.len = *len;
	err = change(d, &c);
	range_unlock(&d->ranges, &r);
	return err;
}

int disk_zero_once(struct disk *d, uint64_t off, uint64_t len, enum zero_mode mode)
{
	uint64_t began = monotonic_ns();
	int err = zero_inside(d, off, &len, mode);

	return finish(d, DISK_OP_ZERO, err, len, began);
}

int disk_zero(struct disk *d, uint64_t off, uint64_t len, enum zero_mode mode)
{
	struct space_attempts attempts = space_attempts(d->tandem);
	uint64_t began = monotonic_ns();
	int err;

	do
		err = zero_inside(d, off, &len, mode);
	while (err && !(err = space_make(d, err, &attempts)));
	return finish(d, DISK_OP_ZERO, err, len, began);
}

/* With everything from the smaller of both sizes on locked. */
static int may_resize(struct disk *d, uint64_t size)
{
	struct mirror *m = atomic_load(&d->mirror);

	return m ? mirror_may_resize(m, d->image->size, size) : 0;
}

static int resized(struct disk *d, uint64_t from)
{
	struct mirror *m = atomic_load(&d->mirror);

	return m && d->image->size != from ? mirror_resized(d, m, from) : 0;
}

int disk_allocate(struct disk *d, uint64_t off, uint64_t len, bool grow)
{
	uint64_t began = monotonic_ns(), size;
	struct range r;
	int err;

	if (!d->image->format->allocate)
		return -EOPNOTSUPP;
	if (off + len < off || off + len > INT64_MAX)
		return -EFBIG;
	lock_for_write(d, &r, off, len);
	size = d->image->size;
	begin_change(d);
	err = may_write(d);
	if (!err && !d->image->format->allocate)
		err = -EOPNOTSUPP; /* it moved to a container meanwhile */
	if (!err && grow && off + len > size)
		err = may_resize(d, off + len);
	if (!err)
		err = d->image->format->allocate(d->image, off, len, grow);
	err = resized(d, size) ?: err;
	changed(d);
	range_unlock(&d->ranges, &r);
	return finish(d, DISK_OP_RESIZE, err, 0, began);
}

int disk_seek_locked(struct disk *d, uint64_t off, int whence, uint64_t *found)
{
	struct history *h = atomic_load(&d->history);

	return h ? history_seek(h, off, whence, found)
		 : d->image->format->seek(d->image, off, whence, found);
}

static int seek_shown(struct disk *d, uint64_t g, uint64_t off, int whence, uint64_t *found)
{
	struct history *h = atomic_load(&d->history);
	struct moment_record m;
	int err = history_moment_kept(h, g, &m);

	if (!err && off >= m.size)
		return -ENXIO;
	return err ? err : history_seek_at(h, g, off, whence, found);
}

static int seek_seen(struct disk *d, uint64_t off, int whence, uint64_t *found)
{
	uint64_t g;
	int err;

	do {
		g = seen(d);
		if (g)
			err = seek_shown(d, g, off, whence, found);
		else if (off >= d->image->size)
			err = -ENXIO;
		else
			err = disk_seek_locked(d, off, whence, found);
	} while (err == -ESTALE && g && seen(d) != g);
	return err == -ESTALE ? -EIO : err;
}

int disk_seek(struct disk *d, uint64_t off, int whence, uint64_t *found)
{
	struct range r;
	int err;

	range_lock_read(&d->ranges, &r, off, UINT64_MAX - off);
	err = atomic_load(&d->lost) ? -EIO : seek_seen(d, off, whence, found);
	range_unlock(&d->ranges, &r);
	return err;
}

static int resize_image(struct disk *d, uint64_t size)
{
	struct history *h = atomic_load(&d->history);

	return h ? history_resize(h, size) : d->image->format->resize(d->image, size);
}

int disk_resize(struct disk *d, uint64_t size, bool shrink)
{
	uint64_t began = monotonic_ns(), from;
	struct range r;
	int err;

	if (size > INT64_MAX)
		return -EFBIG;
	range_lock_write(&d->ranges, &r, 0, UINT64_MAX);
	from = d->image->size;
	begin_change(d);
	err = may_write(d);
	if (!err && size < d->image->size && !shrink)
		err = -EINVAL;
	if (!err && size != d->image->size && !d->image->format->resize)
		err = -EOPNOTSUPP;
	if (!err && size != d->image->size)
		err = may_resize(d, size) ?: resize_image(d, size);
	err = resized(d, from) ?: err;
	changed(d);
	range_unlock(&d->ranges, &r);
	if (!err && !d->format->flat)
		watch_poke(d->tandem->watch); /* how much of its file is the guest's is recorded */
	return finish(d, DISK_OP_RESIZE, err, 0, began);
}

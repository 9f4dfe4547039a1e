// SPDX-License-Identifier: GPL-2.0-or-later
#include "tap_file.h"

#include <stdlib.h>

struct tap_file {
	struct file base;
	struct file *inner;
	bool (*fn)(void *arg, const struct tap_call *call);
	void *arg;
};

static struct tap_file *tap(struct file *f)
{
	return (struct tap_file *)f;
}

static bool before(struct tap_file *t, struct tap_call *call)
{
	return t->fn(t->arg, call);
}

static int after(struct tap_file *t, struct tap_call *call, int err)
{
	call->after = true;
	t->fn(t->arg, call);
	return err;
}

static int tap_read(struct file *f, void *buf, size_t len, uint64_t off, unsigned io)
{
	return tap(f)->inner->ops->read(tap(f)->inner, buf, len, off, io);
}

static int tap_write(struct file *f, const void *buf, size_t len, uint64_t off, unsigned io)
{
	struct tap_file *t = tap(f);
	struct tap_call call = { .call = FAKE_WRITE, .buf = buf, .off = off, .len = len };

	if (!before(t, &call))
		return 0;
	return after(t, &call, t->inner->ops->write(t->inner, buf, len, off, io));
}

static int tap_flush(struct file *f)
{
	struct tap_file *t = tap(f);
	struct tap_call call = { .call = FAKE_FLUSH };

	if (!before(t, &call))
		return 0;
	return after(t, &call, t->inner->ops->flush(t->inner));
}

static int tap_zero(struct file *f, uint64_t off, uint64_t len, enum zero_mode mode)
{
	struct tap_file *t = tap(f);
	struct tap_call call = { .call = FAKE_ZERO, .off = off, .len = len, .mode = mode };

	if (!before(t, &call))
		return 0;
	return after(t, &call, t->inner->ops->zero(t->inner, off, len, mode));
}

static int tap_allocate(struct file *f, uint64_t off, uint64_t len, bool grow)
{
	struct tap_file *t = tap(f);
	struct tap_call call = { .call = FAKE_ALLOCATE, .off = off, .len = len };

	if (!before(t, &call))
		return 0;
	return after(t, &call, t->inner->ops->allocate(t->inner, off, len, grow));
}

static int tap_resize(struct file *f, uint64_t size)
{
	struct tap_file *t = tap(f);
	struct tap_call call = { .call = FAKE_RESIZE, .off = size };

	if (!before(t, &call))
		return 0;
	return after(t, &call, t->inner->ops->resize(t->inner, size));
}

static int tap_seek(struct file *f, uint64_t off, int whence, uint64_t *found)
{
	return tap(f)->inner->ops->seek(tap(f)->inner, off, whence, found);
}

static int tap_stat(struct file *f, struct file_stat *st)
{
	return tap(f)->inner->ops->stat(tap(f)->inner, st);
}

static int tap_lock(struct file *f, enum file_use use)
{
	return tap(f)->inner->ops->lock(tap(f)->inner, use);
}

static void tap_forgive(struct file *f)
{
	tap(f)->inner->ops->forgive(tap(f)->inner);
}

static void tap_close(struct file *f)
{
	tap(f)->inner->ops->close(tap(f)->inner);
	free(f);
}

static const struct file_ops tap_ops = {
	.read = tap_read,
	.write = tap_write,
	.flush = tap_flush,
	.forgive = tap_forgive,
	.zero = tap_zero,
	.allocate = tap_allocate,
	.resize = tap_resize,
	.seek = tap_seek,
	.stat = tap_stat,
	.lock = tap_lock,
	.close = tap_close,
};

struct file *tap_file_new(struct file *inner, bool (*fn)(void *arg, const struct tap_call *call),
			  void *arg)
{
	struct tap_file *t = malloc(sizeof(*t));

	*t = (struct tap_file){ .base.ops = &tap_ops, .inner = inner, .fn = fn, .arg = arg };
	return &t->base;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "history_ends_tap.h"

#include <stdio.h>
#include <stdlib.h>

/* A file, and whose it is: a tap_file around the fake, and this around that. */
struct told {
	struct file base;
	struct file *tap;
	struct life *life;
	enum history_file file;
	char name[32];
};

struct told_dir {
	struct segment_dir base;
	struct segment_dir *inner;
	struct life *life;
	enum history_file file;
};

/* ---- files ---- */

static struct file *tap_of(struct file *f)
{
	return ((struct told *)f)->tap;
}

static int told_read(struct file *f, void *buf, size_t len, uint64_t off, unsigned io)
{
	return tap_of(f)->ops->read(tap_of(f), buf, len, off, io);
}

static int told_write(struct file *f, const void *buf, size_t len, uint64_t off, unsigned io)
{
	return tap_of(f)->ops->write(tap_of(f), buf, len, off, io);
}

static int told_flush(struct file *f)
{
	return tap_of(f)->ops->flush(tap_of(f));
}

static void told_forgive(struct file *f)
{
	tap_of(f)->ops->forgive(tap_of(f));
}

static int told_zero(struct file *f, uint64_t off, uint64_t len, enum zero_mode mode)
{
	return tap_of(f)->ops->zero(tap_of(f), off, len, mode);
}

static int told_allocate(struct file *f, uint64_t off, uint64_t len, bool grow)
{
	return tap_of(f)->ops->allocate(tap_of(f), off, len, grow);
}

static int told_resize(struct file *f, uint64_t size)
{
	return tap_of(f)->ops->resize(tap_of(f), size);
}

static int told_seek(struct file *f, uint64_t off, int whence, uint64_t *found)
{
	return tap_of(f)->ops->seek(tap_of(f), off, whence, found);
}

static int told_stat(struct file *f, struct file_stat *st)
{
	return tap_of(f)->ops->stat(tap_of(f), st);
}

static int told_lock(struct file *f, enum file_use use)
{
	return tap_of(f)->ops->lock(tap_of(f), use);
}

static void told_close(struct file *f)
{
	tap_of(f)->ops->close(tap_of(f));
	free(f);
}

static const struct file_ops told_ops = {
	.read = told_read,
	.write = told_write,
	.flush = told_flush,
	.forgive = told_forgive,
	.zero = told_zero,
	.allocate = told_allocate,
	.resize = told_resize,
	.seek = told_seek,
	.stat = told_stat,
	.lock = told_lock,
	.close = told_close,
};

static bool file_point(void *arg, const struct tap_call *call)
{
	struct told *t = arg;

	return life_point(t->life, t->name, t->file, call);
}

static struct file *tell(struct life *l, enum history_file file, const char *name,
			 struct file *inner)
{
	struct told *t = calloc(1, sizeof(*t));

	*t = (struct told){ .base.ops = &told_ops, .life = l, .file = file };
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->tap = tap_file_new(inner, file_point, t);
	return &t->base;
}

struct file *tap_image(struct life *l)
{
	return tell(l, HISTORY_IMAGE, "", l->image);
}

/* ---- directories ---- */

static struct told_dir *told(struct segment_dir *d)
{
	return (struct told_dir *)d;
}

static void name_point(struct told_dir *d, const char *name, bool after)
{
	const struct tap_call call = { .call = FAKE_STAT, .after = after };

	life_point(d->life, name, d->file, &call);
}

static int dir_open(struct segment_dir *base, const char *name, bool create, struct file **out)
{
	struct told_dir *d = told(base);
	int err;

	if (create)
		name_point(d, name, false);
	err = d->inner->ops->open(d->inner, name, create, out);
	if (!err)
		*out = tell(d->life, d->file, name, *out);
	if (create)
		name_point(d, name, true);
	return err;
}

static int dir_remove(struct segment_dir *base, const char *name)
{
	struct told_dir *d = told(base);
	int err;

	name_point(d, name, false);
	err = d->inner->ops->remove(d->inner, name);
	name_point(d, name, true);
	return err;
}

static int dir_space(struct segment_dir *base, const char *name, uint64_t *bytes)
{
	return told(base)->inner->ops->space(told(base)->inner, name, bytes);
}

static int dir_list(struct segment_dir *base, int (*fn)(void *arg, const char *name), void *arg)
{
	return told(base)->inner->ops->list(told(base)->inner, fn, arg);
}

static int dir_flush(struct segment_dir *base)
{
	struct told_dir *d = told(base);
	int err;

	name_point(d, "", false);
	err = d->inner->ops->flush(d->inner);
	name_point(d, "", true);
	return err;
}

static void dir_close(struct segment_dir *base)
{
	told(base)->inner->ops->close(told(base)->inner);
	free(base);
}

static const struct segment_dir_ops told_dir_ops = {
	.open = dir_open,
	.remove = dir_remove,
	.space = dir_space,
	.list = dir_list,
	.flush = dir_flush,
	.close = dir_close,
};

static struct segment_dir *tell_dir(struct life *l, enum history_file file,
				    struct segment_dir *inner)
{
	struct told_dir *d = calloc(1, sizeof(*d));

	*d = (struct told_dir){ .base.ops = &told_dir_ops,
				.inner = inner,
				.life = l,
				.file = file };
	return &d->base;
}

struct segment_dir *tap_log(struct life *l)
{
	return tell_dir(l, HISTORY_LOG, l->log);
}

struct segment_dir *tap_store(struct life *l)
{
	return tell_dir(l, HISTORY_STORE, l->store);
}

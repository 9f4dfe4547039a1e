// SPDX-License-Identifier: GPL-2.0-or-later
#include "fake_dir.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

struct entry {
	struct entry *next;
	char *name;
	struct file *content;
	bool now;                       /* it is there */
	bool may_be_there, may_be_gone; /* after a power cut */
};

struct fault {
	unsigned calls, fail_at, times;
	int err;
};

struct fake_dir {
	struct segment_dir base;
	pthread_mutex_t lock;
	struct entry *first, **last; /* in the order of their creation */
	struct fault faults[FAKE_DIR_CALLS];
	struct fault of_new[FAKE_CALLS];
	unsigned open_files;
};

/* What the product holds: it may be closed, and another one opened. */
struct handle {
	struct file base;
	struct fake_dir *dir;
	struct file *content;
};

static struct fake_dir *fake(struct segment_dir *d)
{
	return (struct fake_dir *)d;
}

static struct file *content_of(struct file *f)
{
	return ((struct handle *)f)->content;
}

/* ---- files ---- */

static int handle_read(struct file *f, void *buf, size_t len, uint64_t off, unsigned io)
{
	return content_of(f)->ops->read(content_of(f), buf, len, off, io);
}

static int handle_write(struct file *f, const void *buf, size_t len, uint64_t off, unsigned io)
{
	return content_of(f)->ops->write(content_of(f), buf, len, off, io);
}

static int handle_flush(struct file *f)
{
	return content_of(f)->ops->flush(content_of(f));
}

static int handle_zero(struct file *f, uint64_t off, uint64_t len, enum zero_mode mode)
{
	return content_of(f)->ops->zero(content_of(f), off, len, mode);
}

static int handle_allocate(struct file *f, uint64_t off, uint64_t len, bool grow)
{
	return content_of(f)->ops->allocate(content_of(f), off, len, grow);
}

static int handle_resize(struct file *f, uint64_t size)
{
	return content_of(f)->ops->resize(content_of(f), size);
}

static int handle_stat(struct file *f, struct file_stat *st)
{
	return content_of(f)->ops->stat(content_of(f), st);
}

static void handle_close(struct file *f)
{
	struct fake_dir *d = ((struct handle *)f)->dir;

	pthread_mutex_lock(&d->lock);
	d->open_files--;
	pthread_mutex_unlock(&d->lock);
	free(f);
}

static const struct file_ops handle_ops = {
	.read = handle_read,
	.write = handle_write,
	.flush = handle_flush,
	.zero = handle_zero,
	.allocate = handle_allocate,
	.resize = handle_resize,
	.stat = handle_stat,
	.close = handle_close,
};

static struct file *open_handle(struct fake_dir *d, struct file *content)
{
	struct handle *h = calloc(1, sizeof(*h));

	h->base.ops = &handle_ops;
	h->dir = d;
	h->content = content;
	d->open_files++;
	return &h->base;
}

/* ---- entries; under lock ---- */

static struct entry *find(struct fake_dir *d, const char *name)
{
	struct entry *e = d->first;

	while (e && !(e->now && !strcmp(e->name, name)))
		e = e->next;
	return e;
}

static struct entry *add(struct fake_dir *d, const char *name, struct file *content)
{
	struct entry *e = calloc(1, sizeof(*e));

	e->name = strdup(name);
	e->content = content;
	e->now = e->may_be_there = true;
	*d->last = e;
	d->last = &e->next;
	return e;
}

/* Counts, and takes the lock. What the call has to return now, or 0. */
static int enter(struct fake_dir *d, enum fake_dir_call call)
{
	struct fault *f = &d->faults[call];
	unsigned n;

	pthread_mutex_lock(&d->lock);
	n = ++f->calls;
	return f->err && n >= f->fail_at && n - f->fail_at < f->times ? -f->err : 0;
}

static int leave(struct fake_dir *d, int err)
{
	pthread_mutex_unlock(&d->lock);
	return err;
}

/* ---- the members ---- */

static struct file *make_content(struct fake_dir *d)
{
	struct file *f = fake_file_new(NULL, 0);

	for (int call = 0; call < FAKE_CALLS; call++)
		if (d->of_new[call].err)
			fake_fail(f, call, d->of_new[call].fail_at, d->of_new[call].times,
				  d->of_new[call].err);
	return f;
}

static int dir_open(struct segment_dir *base, const char *name, bool create, struct file **out)
{
	struct fake_dir *d = fake(base);
	int err = enter(d, create ? FAKE_DIR_CREATE : FAKE_DIR_OPEN);
	struct entry *e = find(d, name);

	if (!err && create && e)
		err = -EEXIST;
	if (!err && !create && !e)
		err = -ENOENT;
	if (!err && create)
		e = add(d, name, make_content(d));
	if (!err && create)
		e->may_be_gone = true;
	if (!err)
		*out = open_handle(d, e->content);
	return leave(d, err);
}

static int dir_remove(struct segment_dir *base, const char *name)
{
	struct fake_dir *d = fake(base);
	int err = enter(d, FAKE_DIR_REMOVE);
	struct entry *e = find(d, name);

	if (!err && !e)
		err = -ENOENT;
	if (!err) {
		e->now = false;
		e->may_be_gone = true;
	}
	return leave(d, err);
}

static int dir_space(struct segment_dir *base, const char *name, uint64_t *bytes)
{
	struct fake_dir *d = fake(base);
	struct file_stat st = { 0 };
	struct entry *e;
	int err;

	pthread_mutex_lock(&d->lock);
	e = find(d, name);
	err = e ? e->content->ops->stat(e->content, &st) : -ENOENT;
	*bytes = st.allocated;
	return leave(d, err);
}

/* The newest first: nobody should count on an order. */
static int dir_list(struct segment_dir *base, int (*fn)(void *arg, const char *name), void *arg)
{
	struct fake_dir *d = fake(base);
	int err = enter(d, FAKE_DIR_LIST);
	struct entry *e, *list[4096];
	size_t n = 0;

	for (e = d->first; e && n < UNIT_LENGTH(list); e = e->next)
		if (e->now)
			list[n++] = e;
	leave(d, 0);
	while (!err && n)
		err = fn(arg, list[--n]->name);
	return err;
}

static int dir_flush(struct segment_dir *base)
{
	struct fake_dir *d = fake(base);
	int err = enter(d, FAKE_DIR_FLUSH);

	for (struct entry *e = d->first; e && !err; e = e->next) {
		e->may_be_there = e->now;
		e->may_be_gone = !e->now;
	}
	return leave(d, err);
}

static void dir_close(struct segment_dir *base)
{
	struct fake_dir *d = fake(base);
	struct entry *e;

	assert(!d->open_files);
	while ((e = d->first)) {
		d->first = e->next;
		e->content->ops->close(e->content);
		free(e->name);
		free(e);
	}
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static const struct segment_dir_ops fake_dir_ops = {
	.open = dir_open,
	.remove = dir_remove,
	.space = dir_space,
	.list = dir_list,
	.flush = dir_flush,
	.close = dir_close,
};

/* ---- for tests ---- */

struct segment_dir *fake_dir_new(void)
{
	struct fake_dir *d = calloc(1, sizeof(*d));

	d->base.ops = &fake_dir_ops;
	pthread_mutex_init(&d->lock, NULL);
	d->last = &d->first;
	return &d->base;
}

struct segment_dir *fake_dir_crashed(struct segment_dir *base, uint64_t seed)
{
	struct segment_dir *left = fake_dir_new();
	struct fake_dir *d = fake(base);

	pthread_mutex_lock(&d->lock);
	for (struct entry *e = d->first; e; e = e->next)
		if (e->may_be_there && !(e->may_be_gone && unit_below(&seed, 2)))
			add(fake(left), e->name, fake_crashed(e->content, unit_random(&seed)));
	pthread_mutex_unlock(&d->lock);
	return left;
}

struct segment_dir *fake_dir_twin(struct segment_dir *base)
{
	struct segment_dir *twin = fake_dir_new();
	struct fake_dir *d = fake(base);

	pthread_mutex_lock(&d->lock);
	for (struct entry *e = d->first; e; e = e->next) {
		struct entry *copy = add(fake(twin), e->name, fake_twin(e->content));

		copy->now = e->now;
		copy->may_be_there = e->may_be_there;
		copy->may_be_gone = e->may_be_gone;
	}
	pthread_mutex_unlock(&d->lock);
	return twin;
}

struct file *fake_dir_file(struct segment_dir *base, const char *name)
{
	struct fake_dir *d = fake(base);
	struct entry *e;

	pthread_mutex_lock(&d->lock);
	e = find(d, name);
	pthread_mutex_unlock(&d->lock);
	return e ? e->content : NULL;
}

void fake_dir_put(struct segment_dir *base, const char *name, struct file *content)
{
	struct fake_dir *d = fake(base);

	pthread_mutex_lock(&d->lock);
	add(d, name, content);
	pthread_mutex_unlock(&d->lock);
}

void fake_dir_fail(struct segment_dir *base, enum fake_dir_call call, unsigned nth, unsigned times,
		   int err)
{
	struct fake_dir *d = fake(base);
	struct fault *f = &d->faults[call];

	pthread_mutex_lock(&d->lock);
	f->fail_at = f->calls + nth;
	f->times = times;
	f->err = err;
	pthread_mutex_unlock(&d->lock);
}

void fake_dir_fail_new(struct segment_dir *base, enum fake_call call, unsigned nth, unsigned times,
		       int err)
{
	struct fake_dir *d = fake(base);

	pthread_mutex_lock(&d->lock);
	d->of_new[call] = (struct fault){ .fail_at = nth, .times = times, .err = err };
	pthread_mutex_unlock(&d->lock);
}

unsigned fake_dir_calls(struct segment_dir *base, enum fake_dir_call call)
{
	struct fake_dir *d = fake(base);
	unsigned n;

	pthread_mutex_lock(&d->lock);
	n = d->faults[call].calls;
	pthread_mutex_unlock(&d->lock);
	return n;
}

unsigned fake_dir_count(struct segment_dir *base)
{
	struct fake_dir *d = fake(base);
	unsigned n = 0;

	pthread_mutex_lock(&d->lock);
	for (struct entry *e = d->first; e; e = e->next)
		n += e->now;
	pthread_mutex_unlock(&d->lock);
	return n;
}

unsigned fake_dir_open_files(struct segment_dir *base)
{
	struct fake_dir *d = fake(base);
	unsigned n;

	pthread_mutex_lock(&d->lock);
	n = d->open_files;
	pthread_mutex_unlock(&d->lock);
	return n;
}

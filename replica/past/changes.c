// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What differs between two moments, and the list of moments. A block differs if
 * one of its contents ended between the two; what it holds at the end is asked of
 * the moment itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshots_inner.h"

#define PAGE 256

/* ---- changes ---- */

struct changes {
	struct disk *d;
	struct history *h;
	uint64_t from, to;     /* versions that ended in [from, to) */
	uint64_t end;          /* the moment whose content counts; UINT64_MAX: now */
	uint64_t common, size; /* what both have, and the disk's size at the end */
	uint64_t start, stop;  /* a run that is not told yet */
	bool (*fn)(void *arg, uint64_t offset, uint64_t length, bool zero);
	void *arg;
	bool stopped; /* by fn */
};

static int seek_end(struct changes *c, uint64_t off, int whence, uint64_t *found)
{
	int err = c->end == UINT64_MAX ? disk_seek(c->d, off, whence, found)
				       : history_seek_at(c->h, c->end, off, whence, found);

	if (err == -ENXIO) { /* zeros up to the end */
		*found = c->size;
		err = 0;
	}
	return err;
}

/* A run as pieces of data and of zeros. */
static int tell(struct changes *c)
{
	uint64_t off = c->start, stop = c->stop < c->size ? c->stop : c->size;

	while (off < stop && !c->stopped) {
		uint64_t data, hole = stop;
		int err = seek_end(c, off, SEEK_DATA, &data);

		if (!err && data < stop)
			err = seek_end(c, data, SEEK_HOLE, &hole);
		if (err)
			return err;
		data = data < stop ? data : stop;
		hole = hole < stop ? hole : stop;
		if (data > off)
			c->stopped = !c->fn(c->arg, off, data - off, true);
		if (hole > data && !c->stopped)
			c->stopped = !c->fn(c->arg, data, hole - data, false);
		off = hole;
	}
	return 0;
}

/* Ranges come in ascending order. */
static int add_range(struct changes *c, uint64_t start, uint64_t stop)
{
	int err = 0;

	if (start >= stop)
		return 0;
	if (start > c->stop || c->start == c->stop) {
		err = tell(c);
		c->start = start;
		c->stop = stop;
	} else if (stop > c->stop) {
		c->stop = stop;
	}
	return err;
}

static int add_version(struct changes *c, const struct version *v)
{
	uint64_t bs = history_block_size(c->h), start = v->block * bs, stop = start + bs;

	if (v->last < c->from || v->last >= c->to || start >= c->common)
		return 0;
	return add_range(c, start, stop < c->common ? stop : c->common);
}

static int walk(struct changes *c)
{
	struct version page[PAGE], last = { 0 };
	size_t count = 0;
	int err = 0;

	do {
		err = versions_of_blocks(c->d->tandem->catalogue, c->d->number, 0,
					 last.last ? &last : NULL, page, PAGE, &count);
		for (size_t i = 0; i < count && !err && !c->stopped; i++)
			err = add_version(c, &page[i]);
		if (count)
			last = page[count - 1];
	} while (count && !err && !c->stopped);
	/* What only one of them has differs. */
	if (!err && !c->stopped)
		err = add_range(c, c->common, c->size);
	if (!err && !c->stopped)
		err = tell(c);
	return err;
}

/* UINT64_MAX is now, which needs no pin. */
static int pin(struct disk *d, uint64_t generation, uint64_t *size)
{
	struct moment_record m = { .size = disk_size(d) };
	int err = generation == UINT64_MAX ? 0 : moment_pin(d, generation);

	if (!err && generation != UINT64_MAX) {
		err = moment_exactly(d, generation, &m);
		if (err)
			moment_unpin(d, generation);
	}
	if (!err)
		*size = m.size;
	return err == -ENOENT ? -ESTALE : err;
}

static void unpin(struct disk *d, uint64_t generation)
{
	if (generation != UINT64_MAX)
		moment_unpin(d, generation);
}

int disk_changes(struct disk *d, uint64_t a, uint64_t b,
		 bool (*fn)(void *arg, uint64_t offset, uint64_t length, bool zero), void *arg)
{
	struct changes c = {
		.d = d,
		.h = atomic_load(&d->history),
		.from = a < b ? a : b,
		.to = a < b ? b : a,
		.end = b,
		.fn = fn,
		.arg = arg,
	};
	struct history_restore r;
	uint64_t size_a;
	int err = !c.h || disk_state(d) == DISK_CHANGED ? -ESTALE : pin(d, a, &size_a);

	if (err)
		return err;
	/*
	 * What a restore has not filled yet reads as it was then, and has no version for it until it is. So all
	 * that was written since then may differ; asked before what is pending, into which it fills.
	 */
	r = history_restore(c.h);
	if (c.to == UINT64_MAX && r.before && r.from < c.from)
		c.from = r.from;
	err = pin(d, b, &c.size);
	if (!err) {
		c.common = size_a < c.size ? size_a : c.size;
		/* What is pending is no version yet. */
		err = history_settle(c.h) ?: walk(&c);
		unpin(d, b);
	}
	unpin(d, a);
	return err;
}

/* ---- history ---- */

struct listing {
	struct disk *d;
	struct moment_record *moments;
	size_t count, at;
	uint64_t bytes; /* of versions that ended with moments[at] */
	bool (*fn)(void *arg, const struct moment_record *m, uint64_t bytes, const char *snapshot);
	void *arg;
	bool stopped;
};

static void tell_moment(struct listing *l)
{
	const struct moment_record *m = &l->moments[l->at++];
	char name[SNAPSHOT_NAME_MAX + 1];

	table_names(l->d->tandem->snapshots, l->d->number, m->generation, name);
	l->stopped = !l->fn(l->arg, m, l->bytes, name[0] ? name : NULL);
	l->bytes = 0;
}

/* Versions come in the order of their ends, and moments are in order: one walk over both. */
static int walk_moments(struct listing *l)
{
	struct version page[PAGE], last;
	size_t count = 0;

	for (bool first = true;; first = false) {
		int err = versions_between(l->d->tandem->catalogue, l->d->number,
					   l->moments[0].generation, UINT64_MAX,
					   first ? NULL : &last, page, PAGE, &count);

		if (err || !count)
			return err;
		for (size_t i = 0; i < count && !l->stopped; i++) {
			while (l->at + 1 < l->count && !l->stopped &&
			       l->moments[l->at + 1].generation <= page[i].last)
				tell_moment(l);
			l->bytes += page[i].place ? page[i].length : 0;
		}
		if (l->stopped)
			return 0;
		last = page[count - 1];
	}
}

/* What ended with a hidden one counts for the one before it. */
static size_t only_seen(struct moment_record *list, size_t count)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		if (!list[i].hidden)
			list[n++] = list[i];
	return n;
}

int disk_history(struct disk *d,
		 bool (*fn)(void *arg, const struct moment_record *m, uint64_t bytes,
			    const char *snapshot),
		 void *arg)
{
	struct history *h = atomic_load(&d->history);
	struct listing l = { .d = d, .fn = fn, .arg = arg };
	int err = h ? history_moments(h, &l.moments, &l.count) : 0;

	l.count = err ? 0 : only_seen(l.moments, l.count);
	if (err || !l.count) {
		free(l.moments);
		return err;
	}
	err = walk_moments(&l);
	while (!err && !l.stopped && l.at < l.count)
		tell_moment(&l);
	free(l.moments);
	return err;
}

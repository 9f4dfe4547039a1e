// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The proof that a target is what its source is, while both are used. With a range of
 * the source held nobody writes it on either side, so what differs then really does:
 * it is marked, which makes the pair Unsynchronized, and copied again. What is a hole on
 * both sides is not read.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pairs_inner.h"
#include "snapshots_inner.h"

#define CHUNK (1u << 20)

struct proof {
	struct pair *p;
	struct disk *source, *target;
	char *a, *b;
};

static bool is_ended(struct proof *f)
{
	return keeper_is_ending(f->p) || atomic_load(&f->p->stop) || f->p->leg.to != f->target ||
	       atomic_load(&f->p->leg.failed);
}

static bool is_hole(struct disk *d, uint64_t off, uint64_t len, bool locked)
{
	uint64_t found;
	int err = locked ? disk_seek_locked(d, off, SEEK_DATA, &found)
			 : disk_seek(d, off, SEEK_DATA, &found);

	return err == -ENXIO || (!err && found >= off + len);
}

static int read_both(struct proof *f, uint64_t off, uint64_t len)
{
	size_t done = 0;
	int err = disk_read_locked(f->source, f->a, len, off, IO_DIRECT);

	if (err)
		return err;
	err = disk_read(f->target, f->b, len, off, IO_DIRECT, &done);
	if (!err && done < len)
		memset(f->b + done, 0xff, len - done); /* there is none: it differs */
	if (err)
		leg_lose(&f->p->leg, err);
	return err;
}

static int mark(struct proof *f, uint64_t off, uint64_t len)
{
	struct marks *marks = f->p->leg.marks;
	unsigned turn;
	int err = marks_begin(marks, off, len, &turn);

	if (err)
		return err;
	atomic_store(&f->p->leg.lacks, true); /* it is no moment of its source */
	marks_set(marks, off, len);
	err = marks_outdate(marks, MIXED);
	marks_end(marks, turn);
	atomic_fetch_add(&f->p->mended, len);
	return err;
}

/* With the range held. */
static int compare(struct proof *f, uint64_t off, uint64_t len)
{
	int err;

	if (is_hole(f->source, off, len, true) && is_hole(f->target, off, len, false))
		return 0;
	err = read_both(f, off, len);
	for (uint64_t at = 0, n, alike; !err && at < len; at += n) {
		n = len - at < MARKS_REGION ? len - at : MARKS_REGION;
		/* What is known to differ is to be copied anyway. */
		if (!marks_differs(f->p->leg.marks, off + at, n, &alike) &&
		    memcmp(f->a + at, f->b + at, n) != 0)
			err = mark(f, off + at, n);
	}
	return err;
}

static int prove(struct proof *f)
{
	uint64_t off = 0, size = 1;
	int err = 0;

	while (!err && off < size) {
		struct range r;

		range_lock_read(&f->source->ranges, &r, off, CHUNK);
		size = disk_size(f->source);
		if (is_ended(f))
			err = -ECANCELED;
		else if (off < size)
			err = compare(f, off, size - off < CHUNK ? size - off : CHUNK);
		range_unlock(&f->source->ranges, &r);
		off += CHUNK;
		atomic_store(&f->p->verified, off < size ? off : size);
		keeper_clean(f->p);
		pair_changed(f->p);
	}
	return err;
}

static int record(struct pair *p, uint64_t began_ms)
{
	struct pair_record r;
	int err;

	pthread_mutex_lock(&p->changing);
	r = pair_record_of(p);
	r.verified_ms = began_ms;
	err = pair_set(p, r.copy_state, &r);
	pthread_mutex_unlock(&p->changing);
	return err;
}

int pair_verify(struct pair *p, struct disk *source, struct disk *target)
{
	struct proof f = { .p = p, .source = source, .target = target };
	uint64_t began_ms = past_now(p->of->t->snapshots), mended;
	char object[sizeof(p->name) + 16];
	void *a = NULL, *b = NULL;
	int err = posix_memalign(&a, 4096, CHUNK) || posix_memalign(&b, 4096, CHUNK) ? -ENOMEM : 0;

	atomic_store(&p->verified, 0);
	atomic_store(&p->mended, 0);
	f.a = a;
	f.b = b;
	if (!err)
		err = prove(&f);
	free(a);
	free(b);
	mended = atomic_load(&p->mended);
	if (!err && !mended)
		err = record(p, began_ms);
	snprintf(object, sizeof(object), "replicas/%s", p->name);
	events_emit(p->of->t->events, mended ? EVENT_MAJOR : EVENT_INFORMATION, "JobEnded", object,
		    "Operation=Verify JobState=%s Differed=%llu", err ? "Exception" : "Completed",
		    (unsigned long long)mended);
	return err;
}

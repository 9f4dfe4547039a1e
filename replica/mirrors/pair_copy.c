// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copies what differs of a mirror. It is a client like others in that: it takes the
 * ranges of the source that it reads, so that nobody writes them meanwhile, on either side.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crew.h"
#include "jobs.h"
#include "pairs_inner.h"
#include "sender.h"

/* What is copied at once, how many of them at a time, and in a step. */
#define CHUNK (1u << 20)
#define LANES 16
#define CHUNKS 64
/* So often what was copied is flushed while more is copied: else all of it is waited for at the end. */
#define FLUSH_BYTES (96u << 20)
/* Whoever says Suspend waits for a step, and PercentSynced is told after each. */
#define STEP_NS 200000000ull
/* In which zeros are looked for. */
#define PAGE_BYTES 4096u

struct copy {
	struct pair *p;
	struct disk *source, *target;
	char *buffers; /* a chunk for each lane */
	struct chunk {
		uint64_t off, len;
	} chunks[CHUNKS];
	size_t count;
	size_t most;              /* in a step, as fast as both are */
	uint64_t unflushed;       /* bytes, about */
	atomic_size_t next;       /* of the chunks */
	_Atomic int source_error; /* of what was passed over */
};

static bool is_stopped(struct copy *c)
{
	return atomic_load(&c->p->stop) || atomic_load(&c->p->leg.failed) || keeper_is_ending(c->p);
}

static bool is_zero(const char *bytes, size_t len)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, len - 1);
}

size_t pair_next_run(const struct pair *p, const char *buf, size_t len, bool *zeros)
{
	size_t end, n;

	*zeros = false;
	if (p->thin)
		*zeros = is_zero(buf, len < PAGE_BYTES ? len : PAGE_BYTES);
	for (end = 0; p->thin && end < len; end += n) {
		n = len - end < PAGE_BYTES ? len - end : PAGE_BYTES;
		if (is_zero(buf + end, n) != *zeros)
			return end;
	}
	return len;
}

/* What fails at the target is its loss; at the source, it is tried again. */
static int copy_data(struct copy *c, char *buf, uint64_t off, uint64_t len)
{
	int err = disk_read_locked(c->source, buf, len, off, IO_DIRECT);
	bool zeros;

	if (err)
		return err;
	for (size_t at = 0, n; at < len && !err; at += n) {
		n = pair_next_run(c->p, buf + at, len - at, &zeros);
		err = zeros ? disk_zero_once(c->target, off + at, n, ZERO_PUNCH)
			    : disk_write_once(c->target, buf + at, n, off + at, IO_COPY);
	}
	if (err)
		leg_lose(&c->p->leg, err);
	return err;
}

static int copy_hole(struct copy *c, uint64_t off, uint64_t len)
{
	int err = disk_zero_once(c->target, off, len, ZERO_PUNCH);

	if (err)
		leg_lose(&c->p->leg, err);
	return err;
}

void pair_hold_size(struct disk *source, struct range *r)
{
	range_lock_read(&source->ranges, r, INT64_MAX, 1);
}

static int find(struct disk *d, uint64_t off, int whence, uint64_t end, uint64_t *found)
{
	int err = disk_seek_locked(d, off, whence, found);

	if (err == -ENXIO || (!err && *found > end))
		*found = end;
	return err == -ENXIO ? 0 : err;
}

/* With the range locked, and marked. */
static int copy_range(struct copy *c, void *buf, uint64_t off, uint64_t end)
{
	uint64_t data, hole;
	int err = 0;

	while (!err && off < end) {
		err = find(c->source, off, SEEK_DATA, end, &data);
		if (!err && data > off)
			err = copy_hole(c, off, data - off);
		if (err || data == end)
			break;
		err = find(c->source, data, SEEK_HOLE, end, &hole);
		if (!err)
			err = copy_data(c, buf, data, hole - data);
		off = hole;
	}
	return err;
}

static int copy_marked(struct copy *c, void *buf, uint64_t off, uint64_t len)
{
	struct marks *marks = c->p->leg.marks;
	unsigned turn, rewrites = atomic_load(&c->p->rewrites);
	int err = marks_begin(marks, off, len, &turn);

	if (err)
		return err;
	err = copy_range(c, buf, off, off + len);
	if (!err)
		marks_clear(marks, off, len);
	/* Others wrote one of the two meanwhile, after which all was marked. */
	if (atomic_load(&c->p->rewrites) != rewrites)
		marks_set(marks, off, len);
	marks_end(marks, turn);
	return err;
}

static int copy_chunk(struct copy *c, void *buf, uint64_t off, uint64_t len)
{
	uint64_t size;
	struct range r;
	int err = 0;

	range_lock_read(&c->source->ranges, &r, off, len);
	/* What is older than what is copied comes first. */
	sender_wait_range(c->p->leg.sender, off, len);
	size = disk_size(c->source);
	if (off + len > size)
		len = size > off ? size - off : 0;
	/* Changed by who has all ranges: see mirror.h. */
	if (c->p->leg.to != c->target || is_stopped(c))
		err = -ECANCELED;
	else if (len)
		err = copy_marked(c, buf, off, len);
	range_unlock(&c->source->ranges, &r);
	/* What cannot be read keeps nobody from the rest. */
	if (err && err != -ECANCELED && !atomic_load(&c->p->leg.failed)) {
		atomic_store(&c->source_error, err);
		err = 0;
	}
	return err;
}

static int flush_target(struct copy *c)
{
	int err = disk_flush(c->target);

	if (err)
		leg_lose(&c->p->leg, err);
	return err;
}

/* One reads while another writes; behind the last of them there is one that flushes. */
static int copy_lane(void *arg, size_t lane)
{
	struct copy *c = arg;
	size_t i;
	int err = 0;

	if (lane == LANES)
		return flush_target(c);
	while (!err && (i = atomic_fetch_add(&c->next, 1)) < c->count)
		err = copy_chunk(c, c->buffers + lane * CHUNK, c->chunks[i].off, c->chunks[i].len);
	return err;
}

static struct jobs *jobs_of(const struct pair *p)
{
	return p->of->t->jobs;
}

/* The next ones from there on. */
static void choose(struct copy *c, uint64_t *at)
{
	uint64_t step = job_step(jobs_of(c->p), c->p->job, c->most * CHUNK);
	struct marks *marks = c->p->leg.marks;
	uint64_t off, run, size, has;
	struct range r;

	pair_hold_size(c->source, &r);
	size = marks_size(marks);
	has = disk_size(c->source);
	if (size > has)
		size = has;
	for (c->count = 0; c->count < c->most && step >= MARKS_REGION; c->count++) {
		uint64_t most = step < CHUNK ? step / MARKS_REGION * MARKS_REGION : CHUNK;

		off = marks_next(marks, *at);
		if (off >= size)
			break;
		marks_differs(marks, off, size - off < most ? size - off : most, &run);
		c->chunks[c->count] = (struct chunk){ off, run };
		/* The last region may end before its time, and be marked again. */
		*at = (off + run + MARKS_REGION - 1) / MARKS_REGION * MARKS_REGION;
		step -= run < step ? run : step;
	}
	range_unlock(&c->source->ranges, &r);
}

static void tell_progress(struct pair *p)
{
	uint64_t size = marks_size(p->leg.marks), differs = marks_bytes(p->leg.marks);

	job_progress(jobs_of(p), p->job, differs < size ? size - differs : 0, size);
	pair_changed(p);
}

static int copy_step(struct copy *c)
{
	uint64_t began = monotonic_ns(), took;
	size_t lanes = c->count < LANES ? c->count : LANES;
	int err;

	if (lanes == LANES && c->unflushed >= FLUSH_BYTES) {
		c->unflushed = 0;
		lanes++;
	}
	for (size_t i = 0; i < c->count; i++)
		c->unflushed += c->chunks[i].len;
	atomic_store(&c->next, 0);
	err = crew_run(c->source->tandem->crew, lanes, copy_lane, c);
	took = monotonic_ns() - began;
	if (took > STEP_NS && c->most > LANES)
		c->most /= 2;
	else if (took < STEP_NS / 2 && c->most < CHUNKS)
		c->most *= 2;
	return err;
}

/* From the beginning to the end, once. */
static int copy_pass(struct copy *c)
{
	uint64_t at = 0, copied = 0;
	int err = 0;

	while (!err && !is_stopped(c) &&
	       job_pause_point(jobs_of(c->p), c->p->job, copied, &c->p->interrupt)) {
		choose(c, &at);
		if (!c->count)
			return 0;
		err = copy_step(c);
		keeper_clean(c->p);
		tell_progress(c->p);
		copied = 0;
		for (size_t i = 0; i < c->count; i++)
			copied += c->chunks[i].len;
	}
	return err ? err : -ECANCELED;
}

/* Behind the source's end nothing can be copied, and so nothing ends to differ. */
static int copy_all(struct copy *c)
{
	int err;

	do
		err = mirror_fit_marks(c->source, &c->p->leg)
			      ?: copy_pass(c) ?: atomic_load(&c->source_error);
	while (!err && marks_bytes(c->p->leg.marks));
	return err;
}

int pair_copy(struct pair *p, struct disk *source, struct disk *target)
{
	struct copy c = { .p = p, .source = source, .target = target, .most = LANES };
	int err;

	/* Not of the heap, which would keep it. */
	c.buffers = mmap(NULL, LANES * CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	if (c.buffers == MAP_FAILED)
		return -ENOMEM;
	err = copy_all(&c);
	munmap(c.buffers, LANES * CHUNK);
	return err;
}

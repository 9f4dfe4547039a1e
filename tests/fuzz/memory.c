// SPDX-License-Identifier: GPL-2.0-or-later
#include "memory.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096u
#define CHAINS 1024u
#define NEIGHBOURS 8u
/* The time of every file. */
#define TIME 1600000000

struct page {
	struct page *next;
	uint64_t number;
	uint8_t bytes[PAGE];
};

struct memory {
	uint64_t size, size_max;
	struct page *chains[CHAINS];
	size_t pages;
	uint64_t may_read;
	enum memory_call fail;
	unsigned fail_nth, fail_times;
	bool trusted, stopped, broken;
	unsigned changes;
};

struct memory_file {
	struct file file;
	struct memory *memory;
	bool owned;
};

/* Pages of earlier runs: quicker than malloc, which keeps freed memory out of use for long. */
static struct page *unused;

/* ---- pages ---- */

/* Many numbers are multiples of a MiB's. Neighbours are in one chain, so that a hole is few of them. */
static size_t chain_of(uint64_t number)
{
	return (number / NEIGHBOURS * 0x9e3779b97f4a7c15) >> 32 & (CHAINS - 1);
}

static struct page **find(const struct memory *m, uint64_t number)
{
	struct page *const *link = &m->chains[chain_of(number)];

	while (*link && (*link)->number != number)
		link = &(*link)->next;
	return (struct page **)link;
}

static struct page *make(struct memory *m, uint64_t number)
{
	struct page **link = find(m, number), *p = *link;

	if (p)
		return p;
	p = unused;
	if (p)
		unused = p->next;
	else
		p = malloc(sizeof(*p));
	assert(p);
	p->next = NULL;
	p->number = number;
	memset(p->bytes, 0, PAGE);
	*link = p;
	m->pages++;
	return p;
}

static void drop(struct memory *m, struct page **link)
{
	struct page *p = *link;

	*link = p->next;
	p->next = unused;
	unused = p;
	m->pages--;
}

static void drop_in_chain(struct memory *m, size_t i, uint64_t first, uint64_t end)
{
	for (struct page **link = &m->chains[i]; *link;)
		if ((*link)->number >= first && (*link)->number < end)
			drop(m, link);
		else
			link = &(*link)->next;
}

static void drop_between(struct memory *m, uint64_t first, uint64_t end)
{
	if (end - first >= CHAINS * NEIGHBOURS)
		for (size_t i = 0; i < CHAINS; i++)
			drop_in_chain(m, i, first, end);
	else
		for (uint64_t n = first; n < end; n += NEIGHBOURS - n % NEIGHBOURS)
			drop_in_chain(m, chain_of(n), first, end);
}

static void zero(struct memory *m, uint64_t at, uint64_t len)
{
	uint64_t first = (at + PAGE - 1) / PAGE, end = (at + len) / PAGE;
	struct page *p;

	if (first > end) { /* inside one page */
		p = *find(m, at / PAGE);
		if (p)
			memset(p->bytes + at % PAGE, 0, len);
		return;
	}
	p = at % PAGE ? *find(m, at / PAGE) : NULL;
	if (p)
		memset(p->bytes + at % PAGE, 0, PAGE - at % PAGE);
	p = (at + len) % PAGE ? *find(m, end) : NULL;
	if (p)
		memset(p->bytes, 0, (at + len) % PAGE);
	drop_between(m, first, end);
}

/* ---- contents ---- */

struct memory *memory_new(uint64_t size)
{
	struct memory *m = calloc(1, sizeof(*m));

	assert(m && size <= INT64_MAX);
	m->size = size;
	m->size_max = size < INT64_MAX - MEMORY_GROWS ? size + MEMORY_GROWS : INT64_MAX;
	m->may_read = UINT64_MAX;
	return m;
}

struct memory *memory_copy(const struct memory *from)
{
	struct memory *m = memory_new(from->size);

	for (size_t i = 0; i < CHAINS; i++)
		for (const struct page *p = from->chains[i]; p; p = p->next)
			memcpy(make(m, p->number)->bytes, p->bytes, PAGE);
	return m;
}

void memory_free(struct memory *m)
{
	if (m)
		drop_between(m, 0, UINT64_MAX);
	free(m);
}

void memory_put(struct memory *m, uint64_t at, const void *bytes, size_t len)
{
	if (at >= m->size)
		return;
	if (len > m->size - at)
		len = m->size - at;
	for (size_t done = 0, n; done < len; done += n) {
		size_t within = (at + done) % PAGE;

		n = PAGE - within < len - done ? PAGE - within : len - done;
		memcpy(make(m, (at + done) / PAGE)->bytes + within, (const char *)bytes + done, n);
	}
}

void memory_get(const struct memory *m, uint64_t at, void *bytes, size_t len)
{
	for (size_t done = 0, n; done < len; done += n) {
		size_t within = (at + done) % PAGE;
		const struct page *p = *find(m, (at + done) / PAGE);

		n = PAGE - within < len - done ? PAGE - within : len - done;
		if (p)
			memcpy((char *)bytes + done, p->bytes + within, n);
		else
			memset((char *)bytes + done, 0, n);
	}
}

void memory_set_size(struct memory *m, uint64_t size)
{
	assert(size <= INT64_MAX);
	if (size < m->size)
		zero(m, size, m->size - size);
	m->size = size;
}

uint64_t memory_size(const struct memory *m)
{
	return m->size;
}

/* ---- limits ---- */

void memory_may_read(struct memory *m, uint64_t bytes)
{
	m->may_read = bytes;
}

void memory_fail(struct memory *m, enum memory_call call, unsigned nth, unsigned times)
{
	m->fail = call;
	m->fail_nth = nth;
	m->fail_times = times;
}

void memory_trust(struct memory *m, bool trusted)
{
	m->trusted = trusted;
}

bool memory_stopped(struct memory *m)
{
	bool stopped = m->stopped;

	m->stopped = false;
	return stopped;
}

bool memory_broken(const struct memory *m)
{
	return m->broken;
}

unsigned memory_changes(const struct memory *m)
{
	return m->changes;
}

static int stop(struct memory *m, int err)
{
	m->stopped = true;
	return err;
}

/* Every call begins here. */
static int begin(struct memory *m, enum memory_call call)
{
	if (call != MEMORY_READ && call != MEMORY_FLUSH)
		m->changes++;
	if (m->trusted || m->fail != call || !m->fail_times)
		return 0;
	if (m->fail_nth > 1) {
		m->fail_nth--;
		return 0;
	}
	m->fail_times--;
	return stop(m, call == MEMORY_ALLOCATE || call == MEMORY_RESIZE ? -ENOSPC : -EIO);
}

/* ---- members ---- */

static struct memory *memory_of(struct file *f)
{
	return ((struct memory_file *)f)->memory;
}

static int memory_read(struct file *f, void *buf, size_t len, uint64_t off, unsigned io)
{
	struct memory *m = memory_of(f);
	int err = begin(m, MEMORY_READ);

	if (err)
		return err;
	if (off > m->size || len > m->size - off)
		return -EIO;
	if (!m->trusted) {
		if (len > m->may_read)
			return stop(m, -EIO);
		m->may_read -= len;
	}
	memory_get(m, off, buf, len);
	return 0;
}

static int reach(struct memory *m, uint64_t end)
{
	if (end <= m->size)
		return 0;
	if (end > m->size_max)
		return stop(m, -EFBIG);
	m->size = end;
	return 0;
}

static int memory_write(struct file *f, const void *buf, size_t len, uint64_t off, unsigned io)
{
	struct memory *m = memory_of(f);
	int err = begin(m, MEMORY_WRITE);

	if (!err && (off > INT64_MAX || len > INT64_MAX - off))
		err = -EINVAL;
	if (!err && !m->trusted && m->pages * PAGE + len > MEMORY_SPACE)
		err = stop(m, -ENOSPC);
	if (!err)
		err = reach(m, off + len);
	if (!err)
		memory_put(m, off, buf, len);
	return err;
}

static int memory_flush(struct file *f)
{
	struct memory *m = memory_of(f);

	if (!m->broken)
		m->broken = begin(m, MEMORY_FLUSH);
	return m->broken ? stop(m, -EIO) : 0;
}

static void memory_forgive(struct file *f)
{
	memory_of(f)->broken = false;
}

static int memory_zero(struct file *f, uint64_t off, uint64_t len, enum zero_mode mode)
{
	struct memory *m = memory_of(f);
	int err = begin(m, MEMORY_ZERO);

	if (!err && (off > INT64_MAX || len > INT64_MAX - off))
		err = -EINVAL;
	if (err || off >= m->size)
		return err;
	zero(m, off, len < m->size - off ? len : m->size - off);
	return 0;
}

static int memory_allocate(struct file *f, uint64_t off, uint64_t len, bool grow)
{
	struct memory *m = memory_of(f);
	int err = begin(m, MEMORY_ALLOCATE);

	if (!err && (off > INT64_MAX || len > INT64_MAX - off))
		err = -EINVAL;
	return err || !grow ? err : reach(m, off + len);
}

static int memory_resize(struct file *f, uint64_t size)
{
	struct memory *m = memory_of(f);
	int err = begin(m, MEMORY_RESIZE);

	if (!err && size > INT64_MAX)
		err = -EINVAL;
	if (!err && size > m->size)
		return reach(m, size);
	if (!err)
		memory_set_size(m, size);
	return err;
}

static uint64_t next_data(const struct memory *m, uint64_t off)
{
	uint64_t best = UINT64_MAX;

	if (*find(m, off / PAGE))
		return off;
	for (size_t i = 0; i < CHAINS; i++)
		for (const struct page *p = m->chains[i]; p; p = p->next)
			if (p->number * PAGE >= off && p->number * PAGE < best)
				best = p->number * PAGE;
	return best;
}

static int memory_seek(struct file *f, uint64_t off, int whence, uint64_t *found)
{
	struct memory *m = memory_of(f);
	uint64_t at = off;

	if (off >= m->size)
		return -ENXIO;
	if (whence == SEEK_DATA)
		at = next_data(m, off);
	else
		while (*find(m, at / PAGE))
			at = at / PAGE * PAGE + PAGE;
	if (at >= m->size && whence == SEEK_DATA)
		return -ENXIO;
	*found = at < m->size ? at : m->size;
	return 0;
}

static int memory_stat(struct file *f, struct file_stat *st)
{
	struct memory *m = memory_of(f);

	*st = (struct file_stat){
		.size = m->size,
		.allocated = m->pages * PAGE,
		.mtime = { TIME, 0 },
		.ctime = { TIME, 0 },
		.ino = 1,
		.nlink = 1,
	};
	return 0;
}

static int memory_lock(struct file *f, enum file_use use)
{
	return 0;
}

static void memory_close(struct file *f)
{
	struct memory_file *mf = (struct memory_file *)f;

	if (mf->owned)
		memory_free(mf->memory);
	free(mf);
}

struct file *memory_file(struct memory *m, bool owned)
{
	static const struct file_ops ops = {
		.read = memory_read,
		.write = memory_write,
		.flush = memory_flush,
		.forgive = memory_forgive,
		.zero = memory_zero,
		.allocate = memory_allocate,
		.resize = memory_resize,
		.seek = memory_seek,
		.stat = memory_stat,
		.lock = memory_lock,
		.close = memory_close,
	};
	struct memory_file *mf = calloc(1, sizeof(*mf));

	assert(mf);
	m->broken = false;
	*mf = (struct memory_file){ { &ops }, m, owned };
	return &mf->file;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The operations of the model: each does one thing to the disk and the same to the array. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model.h"
#include "random.h"

static void grown_to(struct model *m, uint64_t end)
{
	if (end > m->size)
		m->size = end;
}

static void wrote(struct model *m)
{
	put(m, m->buffer, m->offset, m->length);
	grown_to(m, m->offset + m->length);
}

static void do_read(struct model *m)
{
	uint64_t asked;

	choose(m, "pread");
	asked = m->length;
	if (m->which == PLAIN && one_in(&m->random, 16))
		asked = pick_length(m); /* perhaps over the end, which ends the answer */
	m->length = min_of(asked, m->size - m->offset);
	memset(m->buffer, 0x5a, m->length);
	must_be(m, pread(m->fd[m->which], m->buffer, asked, m->offset), m->length);
	compare(m, m->buffer, m->offset, m->length);
}

static void do_read_past_end(struct model *m)
{
	choose_plain(m, "pread past the end");
	m->offset = m->size + below(m, BLOCK);
	must_be(m, pread(m->fd[PLAIN], m->buffer, m->length, m->offset), 0);
}

static void do_readv(struct model *m)
{
	struct iovec pieces[MAX_SEGMENTS];

	choose(m, "preadv");
	must_be(m, preadv(m->fd[m->which], pieces, cut(m, pieces), m->offset), m->length);
	compare(m, m->buffer, m->offset, m->length);
}

static void do_write(struct model *m)
{
	choose(m, "pwrite");
	fill(m);
	must_be(m, pwrite(m->fd[m->which], m->buffer, m->length, m->offset), m->length);
	wrote(m);
}

static void do_writev(struct model *m)
{
	struct iovec pieces[MAX_SEGMENTS];

	choose(m, "pwritev");
	fill(m);
	must_be(m, pwritev(m->fd[m->which], pieces, cut(m, pieces), m->offset), m->length);
	wrote(m);
}

static void do_write_dsync(struct model *m)
{
	struct iovec piece;

	choose(m, "pwritev2 RWF_DSYNC");
	fill(m);
	piece = (struct iovec){ m->buffer, m->length };
	must_be(m, pwritev2(m->fd[m->which], &piece, 1, m->offset, RWF_DSYNC), m->length);
	wrote(m);
}

static void do_write_past_end(struct model *m)
{
	choose_plain(m, "pwrite past the end");
	m->offset = min_of(m->size + below(m, 2 * BLOCK), m->limit);
	m->length = min_of(min_of(m->length, 4 * BLOCK), m->limit - m->offset);
	if (m->length == 0)
		return;
	fill(m);
	must_be(m, pwrite(m->fd[PLAIN], m->buffer, m->length, m->offset), m->length);
	wrote(m);
}

static void do_append(struct model *m)
{
	struct iovec piece;

	choose_plain(m, "pwritev2 RWF_APPEND");
	m->offset = m->size;
	m->length = min_of(min_of(m->length, BLOCK), m->limit - m->offset);
	if (m->length == 0)
		return;
	fill(m);
	piece = (struct iovec){ m->buffer, m->length };
	must_be(m, pwritev2(m->fd[PLAIN], &piece, 1, 0, RWF_APPEND), m->length);
	wrote(m);
}

static void do_truncate(struct model *m)
{
	choose_plain(m, "ftruncate");
	m->offset = min_of(m->size + below(m, BLOCK), m->limit);
	m->length = 0;
	must_be(m, ftruncate(m->fd[PLAIN], m->offset), 0);
	grown_to(m, m->offset);
}

static void zero(struct model *m, int mode)
{
	must_be(m, fallocate(m->fd[m->which], mode, m->offset, m->length), 0);
	put_zeros(m, m->offset, m->length);
}

static void do_punch(struct model *m)
{
	choose(m, "fallocate PUNCH_HOLE");
	zero(m, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

static void do_zero_range(struct model *m)
{
	choose(m, "fallocate ZERO_RANGE");
	zero(m, FALLOC_FL_ZERO_RANGE | (below(m, 2) ? FALLOC_FL_KEEP_SIZE : 0));
}

static void do_zero_range_past_end(struct model *m)
{
	bool keep = below(m, 2);

	choose(m, keep ? "fallocate ZERO_RANGE KEEP_SIZE" : "fallocate ZERO_RANGE growing");
	m->length = min_of(m->size - m->offset + 1 + below(m, BLOCK), m->limit - m->offset);
	if (m->length == 0)
		return;
	zero(m, FALLOC_FL_ZERO_RANGE | (keep ? FALLOC_FL_KEEP_SIZE : 0));
	if (!keep)
		grown_to(m, m->offset + m->length);
}

static void do_zero_blocks(struct model *m)
{
	if (below(m, 4)) {
		choose_blocks(m, "fallocate PUNCH_HOLE of blocks");
		zero(m, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	} else {
		choose_blocks(m, "fallocate ZERO_RANGE of blocks");
		zero(m, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
	}
}

static void do_sync(struct model *m)
{
	choose(m, below(m, 2) ? "fsync" : "fdatasync");
	must_be(m, m->op[1] == 's' ? fsync(m->fd[m->which]) : fdatasync(m->fd[m->which]), 0);
	m->map_unsynced = false;
}

static void do_stat(struct model *m)
{
	struct stat st;

	choose(m, "fstat");
	must_be(m, fstat(m->fd[m->which], &st), 0);
	must_have_size(m, &st);
	m->op = "stat";
	must_be(m, stat(m->path, &st), 0);
	must_have_size(m, &st);
}

void sync_mapped(struct model *m)
{
	if (m->map_unsynced)
		must_be(m, fdatasync(m->fd[m->which]), 0);
	m->map_unsynced = false;
}

uint64_t walk(struct model *m, uint64_t from)
{
	off_t data = lseek(m->fd[m->which], from, SEEK_DATA);
	off_t hole;

	if (data < 0 && errno == ENXIO) {
		must_be_zero(m, from, m->size);
		return m->size;
	}
	if (data < 0 || (uint64_t)data < from || (uint64_t)data >= m->size)
		fail(m, "SEEK_DATA from %" PRIu64 " gives %" PRId64 " (%s)", from, (int64_t)data,
		     data < 0 ? strerror(errno) : "out of range");
	must_be_zero(m, from, data);
	hole = lseek(m->fd[m->which], data, SEEK_HOLE);
	if (hole <= data || (uint64_t)hole > m->size)
		fail(m, "SEEK_HOLE from the data at %" PRId64 " gives %" PRId64 " (%s)",
		     (int64_t)data, (int64_t)hole, hole < 0 ? strerror(errno) : "out of range");
	return hole;
}

static void do_seek(struct model *m)
{
	uint64_t at;

	choose(m, "lseek");
	sync_mapped(m);
	at = m->offset;
	for (int i = below(m, 3); i >= 0 && at < m->size; i--)
		at = walk(m, at);
}

static void do_seek_at_end(struct model *m)
{
	off_t at;

	choose(m, "lseek SEEK_HOLE to the end");
	at = lseek(m->fd[m->which], m->size - 1, SEEK_HOLE);
	if (at < 0 || ((uint64_t)at != m->size && m->want[at]))
		fail(m, "from the last byte it gives %" PRId64, (int64_t)at);
	for (int i = 0; i < 2; i++) {
		m->op = i ? "lseek SEEK_HOLE past the end" : "lseek SEEK_DATA past the end";
		at = lseek(m->fd[m->which], m->size, i ? SEEK_HOLE : SEEK_DATA);
		if (at >= 0 || errno != ENXIO)
			fail(m, "%" PRId64 " was returned, not ENXIO", (int64_t)at);
	}
}

/* A mapping over the request's bytes, or NULL where the kernel has none to give. */
static uint8_t *map(struct model *m, int protection)
{
	uint64_t skip = m->offset % PAGE;
	uint8_t *at = mmap(NULL, m->length + skip, protection, MAP_SHARED, m->fd[m->which],
			   m->offset - skip);

	if (at == MAP_FAILED && errno == ENODEV) {
		m->no_shared_map = true;
		printf("skipped: shared mappings: %s\n", strerror(errno));
		return NULL;
	}
	if (at == MAP_FAILED)
		fail(m, "mmap: %s", strerror(errno));
	return at + skip;
}

static void unmap(struct model *m, uint8_t *at)
{
	uint64_t skip = m->offset % PAGE;

	must_be(m, munmap(at - skip, m->length + skip), 0);
}

static void do_map_read(struct model *m)
{
	uint8_t *at;

	choose(m, "mmap read");
	at = m->no_shared_map ? NULL : map(m, PROT_READ);
	if (!at)
		return;
	compare(m, at, m->offset, m->length);
	unmap(m, at);
}

static void do_map_write(struct model *m)
{
	uint8_t *at;

	choose(m, "mmap write");
	at = m->no_shared_map ? NULL : map(m, PROT_READ | PROT_WRITE);
	if (!at)
		return;
	fill(m);
	memcpy(at, m->buffer, m->length);
	wrote(m);
	if (below(m, 2))
		must_be(m, msync(at - m->offset % PAGE, m->length + m->offset % PAGE, MS_SYNC), 0);
	else
		m->map_unsynced = true;
	unmap(m, at);
}

void open_all(struct model *m)
{
	static const int flags[FD_COUNT] = { [PLAIN] = 0, [DIRECT] = O_DIRECT };

	for (int i = 0; i < FD_COUNT; i++) {
		m->which = i;
		m->fd[i] = open(m->path, O_RDWR | O_CLOEXEC | flags[i]);
		if (m->fd[i] < 0)
			fail(m, "open: %s", strerror(errno));
	}
}

void close_all(struct model *m)
{
	for (int i = 0; i < FD_COUNT; i++)
		must_be(m, close(m->fd[i]), 0);
}

static void do_reopen(struct model *m)
{
	choose(m, "reopen");
	close_all(m);
	open_all(m);
}

static const struct {
	void (*run)(struct model *m);
	unsigned int weight, in_container;
} operations[] = {
	{ do_read, 300, 300 },      { do_readv, 60, 60 },
	{ do_write, 300, 300 },     { do_writev, 60, 60 },
	{ do_append, 2, 0 },        { do_write_past_end, 3, 0 },
	{ do_truncate, 2, 0 },      { do_zero_range_past_end, 2, 0 },
	{ do_punch, 40, 40 },       { do_zero_range, 40, 40 },
	{ do_zero_blocks, 0, 5 },   { do_sync, 4, 8 },
	{ do_write_dsync, 3, 6 },   { do_stat, 30, 30 },
	{ do_read_past_end, 5, 5 }, { do_seek, 60, 60 },
	{ do_seek_at_end, 5, 5 },   { do_map_read, 20, 20 },
	{ do_map_write, 20, 20 },   { do_reopen, 2, 3 },
};

#define OPERATION_COUNT (sizeof(operations) / sizeof(*operations))

static unsigned int weight_of(const struct model *m, size_t i)
{
	return m->block ? operations[i].in_container : operations[i].weight;
}

void do_any(struct model *m)
{
	uint64_t total = 0;
	uint64_t at;

	for (size_t i = 0; i < OPERATION_COUNT; i++)
		total += weight_of(m, i);
	at = below(m, total);
	for (size_t i = 0; i < OPERATION_COUNT; i++) {
		if (at < weight_of(m, i)) {
			operations[i].run(m);
			return;
		}
		at -= weight_of(m, i);
	}
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a request of the model's, and judging what came of it. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "model.h"
#include "random.h"

#define HOT (2UL << 20) /* half of the requests meet in here, so that they overlap */

uint64_t below(struct model *m, uint64_t bound)
{
	return random_below(&m->random, bound);
}

uint64_t min_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Of a large disk one MiB of sixteen, so that requests meet, and its content is not large. */
static uint64_t pick_anywhere(struct model *m)
{
	uint64_t at = below(m, m->size);

	return m->size > 64UL << 20 ? at & ~(15UL << 20) : at;
}

/* Either side of an edge of the container's blocks. */
static uint64_t pick_edge(struct model *m)
{
	uint64_t at = m->block * below(m, m->size / m->block + 1) + below(m, 8 * BLOCK);

	return at < 4 * BLOCK ? at : min_of(at - 4 * BLOCK, m->size - 1);
}

static uint64_t pick_place(struct model *m)
{
	if (below(m, 2))
		return below(m, min_of(m->size, HOT));
	return m->block && below(m, 2) ? pick_edge(m) : pick_anywhere(m);
}

/* Offsets gather where mistakes live: sectors, pages, either side of a block's edge, the end. */
static uint64_t pick_offset(struct model *m)
{
	uint64_t at = pick_place(m);

	switch (below(m, 8)) {
	case 0:
		return at;
	case 1:
	case 2:
		return at & ~511UL;
	case 3:
	case 4:
		return at & ~(PAGE - 1);
	case 5:
		return at & ~(BLOCK - 1);
	case 6:
		at = (at & ~(BLOCK - 1)) + below(m, 17);
		return at < 8 ? at : min_of(at - 8, m->size - 1);
	default:
		return m->size - 1 - below(m, min_of(m->size, 2 * BLOCK));
	}
}

uint64_t pick_length(struct model *m)
{
	switch (below(m, 16)) {
	case 0:
		return 1 + below(m, 16);
	case 1:
		return 512;
	case 2 ... 6:
		return PAGE;
	case 7 ... 9:
		return 1 + below(m, PAGE);
	case 10:
	case 11:
		return PAGE * (1 + below(m, 8));
	case 12:
		return 1 + below(m, 4 * BLOCK);
	case 13:
		return 512 * (1 + below(m, 256));
	case 14:
		return BLOCK * (1 + below(m, 4));
	default:
		return one_in(&m->random, 3) ? 1 + below(m, MAX_IO) : 1;
	}
}

void choose(struct model *m, const char *op)
{
	m->op = op;
	m->which = below(m, FD_COUNT);
	m->offset = pick_offset(m);
	m->length = min_of(pick_length(m), m->size - m->offset);
	m->buffer = m->memory + (one_in(&m->random, 4) ? below(m, PAGE) : 0);
	if (m->which == DIRECT && m->direct_is_strict) {
		m->offset &= ~(PAGE - 1);
		m->length &= ~(PAGE - 1);
		m->buffer = m->memory;
		if (m->length == 0) {
			m->which = PLAIN;
			m->length = 1;
		}
	}
}

void choose_blocks(struct model *m, const char *op)
{
	uint64_t count = (m->size - 1) / m->block + 1;
	uint64_t first = below(m, count);

	choose(m, op);
	if (m->length >= BLOCK)
		m->length = 0; /* a bit more, or nothing */
	m->offset = first * m->block;
	m->length += m->block * (1 + below(m, min_of(count - first, 4)));
	if (below(m, 2) && m->offset >= BLOCK) {
		m->offset -= BLOCK;
		m->length += BLOCK;
	}
	m->length = min_of(m->length, m->size - m->offset);
}

void choose_plain(struct model *m, const char *op)
{
	do
		choose(m, op);
	while (m->which != PLAIN);
}

/* Zeros and one value all over are contents of their own: somebody may look for them. */
void fill(struct model *m)
{
	uint64_t kind = below(m, 8);

	if (kind < 2) {
		memset(m->buffer, kind ? 0xa5 : 0, m->length);
		return;
	}
	for (uint64_t i = 0; i < m->length; i += sizeof(uint64_t)) {
		uint64_t word = next_random(&m->random);

		memcpy(m->buffer + i, &word, min_of(sizeof(word), m->length - i));
	}
}

int cut(struct model *m, struct iovec *pieces)
{
	int count = m->which == DIRECT && m->direct_is_strict ? 1 : 1 + below(m, MAX_SEGMENTS);
	uint64_t done = 0;

	for (int i = 0; i < count; i++) {
		uint64_t left = m->length - done;
		uint64_t piece = i == count - 1 ? left : below(m, left + 1);

		pieces[i].iov_base = m->buffer + done;
		pieces[i].iov_len = piece;
		done += piece;
	}
	return count;
}

static uint64_t chunk_end(uint64_t at, uint64_t end)
{
	return min_of((at / CHUNK + 1) * CHUNK, end);
}

void put(struct model *m, const uint8_t *bytes, uint64_t offset, uint64_t length)
{
	memcpy(m->want + offset, bytes, length);
	for (uint64_t at = offset; at < offset + length; at = chunk_end(at, offset + length))
		m->touched[at / CHUNK] = true;
}

void put_zeros(struct model *m, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;

	for (uint64_t at = offset, next; at < end; at = next) {
		next = chunk_end(at, end);
		if (!m->touched[at / CHUNK])
			continue;
		if (next - at == CHUNK) {
			m->touched[at / CHUNK] = false;
			must_be(m, madvise(m->want + at, CHUNK, MADV_DONTNEED), 0);
		} else {
			memset(m->want + at, 0, next - at);
		}
	}
}

void compare(const struct model *m, const uint8_t *got, uint64_t offset, uint64_t length)
{
	const uint8_t *want = m->want + offset;
	uint64_t first = 0;
	uint64_t wrong = 0;

	if (!memcmp(got, want, length))
		return;
	for (uint64_t i = length; i-- > 0;) {
		if (got[i] != want[i]) {
			first = i;
			wrong++;
		}
	}
	fail(m, "byte %" PRIu64 " is 0x%02x and should be 0x%02x; %" PRIu64 " bytes are wrong",
	     offset + first, got[first], want[first], wrong);
}

void must_be_zero(const struct model *m, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++) {
		if (!m->touched[i / CHUNK])
			i = chunk_end(i, to) - 1;
		else if (m->want[i])
			fail(m,
			     "a hole from %" PRIu64 " to %" PRIu64 " is reported over byte %" PRIu64
			     ", which is 0x%02x",
			     from, to, i, m->want[i]);
	}
}

void must_be(const struct model *m, int64_t got, uint64_t want)
{
	if (got < 0)
		fail(m, "%s", strerror(errno));
	if ((uint64_t)got != want)
		fail(m, "%" PRId64 " was returned, not %" PRIu64, got, want);
}

void must_have_size(const struct model *m, const struct stat *st)
{
	if ((uint64_t)st->st_size != m->size)
		fail(m, "st_size is %" PRIu64, (uint64_t)st->st_size);
}

void fail(const struct model *m, const char *format, ...)
{
	va_list args;

	fprintf(stderr,
		"seed %" PRIu64 ", step %" PRIu64 ": %s (%s) at %" PRIu64 ", %" PRIu64
		" bytes, disk of %" PRIu64 ": ",
		m->seed, m->step, m->op, m->which == DIRECT ? "O_DIRECT" : "buffered", m->offset,
		m->length, m->size);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

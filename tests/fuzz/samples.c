// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "work_inner.h"

/* A disk up to this size is read as a whole once. */
#define READ_ALL ((uint64_t)2 << 20)
#define WRITE_MAX ((uint64_t)192 << 10)

/* ---- where operations are ---- */

static uint64_t unit_of(const struct work *w, unsigned n)
{
	uint64_t block = w->img->block_size ? w->img->block_size : 65536;

	switch (n & 3) {
	case 0:
		return 1;
	case 1:
		return 512;
	case 2:
		return 4096;
	}
	return block;
}

void span_of(const struct work *w, const struct script_op *op, struct span *out)
{
	uint64_t size = w->img->size, align = unit_of(w, op->mode), unit, off;

	if (op->mode & MODE_DATA && w->data_count)
		off = w->data[op->position % w->data_count] +
		      (op->position >> 8) % (2 * unit_of(w, 3));
	else if (op->mode & MODE_END)
		off = size - 1 - op->position % (size < 1 << 20 ? size : 1 << 20);
	else
		off = op->position;
	off %= size;
	out->off = off - off % align;
	unit = unit_of(w, (op->mode & MODE_UNIT) >> 2);
	out->len = op->length * unit;
	if (op->kind % OP_KINDS == OP_READ || op->kind % OP_KINDS == OP_WRITE)
		out->len %= WRITE_MAX;
	if (!out->len)
		out->len = 1;
	if (out->len > size - out->off)
		out->len = size - out->off;
}

uint8_t span_byte(uint32_t seed, uint64_t off)
{
	return seed ? (seed * 37 + off + (off >> 9) * 101) | 1 : 0;
}

/* ---- samples ---- */

static void read_disk(struct work *w, void *buf, size_t len, uint64_t off)
{
	int err = w->img->format->read(w->img, buf, len, off, 0);

	MUST(!err, "%zu bytes at %llu of %llu cannot be read: error %d", len,
	     (unsigned long long)off, (unsigned long long)w->img->size, err);
}

void samples_add(struct work *w, uint64_t off, bool new)
{
	struct sample *s = &w->samples[w->sample_count];
	uint64_t size = w->img->size;

	if (w->sample_count == SAMPLES || off >= size)
		return;
	off -= new || off < SAMPLE / 2 ? 0 : SAMPLE / 2;
	s->off = off;
	s->len = size - off < SAMPLE ? size - off : SAMPLE;
	if (new)
		memset(s->bytes, 0, s->len);
	else
		read_disk(w, s->bytes, s->len, off);
	w->sample_count++;
}

static void read_all(struct work *w)
{
	size_t step = 65536 + 512;
	uint8_t *buf = malloc(step);

	for (uint64_t off = 0; off < w->img->size; off += step)
		read_disk(w, buf, w->img->size - off < step ? w->img->size - off : step, off);
	free(buf);
}

/* Blocks that have data, so that operations can be there. */
static void find_data(struct work *w)
{
	uint64_t off = 0, block = unit_of(w, 3);

	while (w->data_count < DATA_BLOCKS && off < w->img->size) {
		int err = w->img->format->seek(w->img, off, SEEK_DATA, &off);

		if (err || off >= w->img->size)
			return;
		w->data[w->data_count++] = off;
		off = off / block * block + block;
	}
}

/* Around both ends of what operations touch, where there is data, and at the ends of the disk. */
void samples_begin(struct work *w)
{
	memory_trust(w->memory, true);
	find_data(w);
	samples_add(w, 0, false);
	samples_add(w, w->img->size - 1, false);
	for (unsigned i = 0; i < w->data_count; i++)
		samples_add(w, w->data[i], false);
	for (unsigned i = 0; i < w->script->op_count; i++) {
		struct span at;

		span_of(w, &w->script->ops[i], &at);
		samples_add(w, at.off, false);
		samples_add(w, at.off + at.len, false);
	}
	if (w->img->size <= READ_ALL)
		read_all(w);
	memory_trust(w->memory, false);
}

/* The bytes of a sample that lie in the range. */
static bool common(const struct sample *s, uint64_t off, uint64_t len, uint32_t *from, uint32_t *to)
{
	uint64_t start = s->off > off ? s->off : off;
	uint64_t stop = len < UINT64_MAX - off ? off + len : UINT64_MAX;

	if (stop > s->off + s->len)
		stop = s->off + s->len;
	*from = start - s->off;
	*to = stop - s->off;
	return start < stop;
}

void samples_set(struct work *w, const struct span *at, uint32_t seed)
{
	uint32_t from, to;

	for (struct sample *s = w->samples; s < w->samples + w->sample_count; s++)
		if (common(s, at->off, at->len, &from, &to))
			for (uint32_t i = from; i < to; i++)
				s->bytes[i] = span_byte(seed, s->off + i);
}

void samples_either(struct work *w, const struct span *at, uint32_t seed)
{
	uint8_t now[SAMPLE];
	uint32_t from, to;

	memory_trust(w->memory, true);
	for (struct sample *s = w->samples; s < w->samples + w->sample_count; s++) {
		if (!common(s, at->off, at->len, &from, &to))
			continue;
		read_disk(w, now, s->len, s->off);
		for (uint32_t i = from; i < to; i++)
			MUST(now[i] == s->bytes[i] || now[i] == span_byte(seed, s->off + i),
			     "byte %llu is neither old nor new", (unsigned long long)(s->off + i));
		memcpy(s->bytes + from, now + from, to - from);
	}
	memory_trust(w->memory, false);
}

void samples_take(struct work *w)
{
	memory_trust(w->memory, true);
	for (struct sample *s = w->samples; s < w->samples + w->sample_count; s++)
		read_disk(w, s->bytes, s->len, s->off);
	memory_trust(w->memory, false);
}

void samples_zero(struct work *w, uint64_t off, uint64_t len)
{
	uint32_t from, to;

	for (struct sample *s = w->samples; s < w->samples + w->sample_count; s++)
		if (common(s, off, len, &from, &to))
			for (uint32_t i = from; i < to; i++)
				MUST(!s->bytes[i], "byte %llu is in a hole",
				     (unsigned long long)(s->off + i));
}

static void check_one(struct work *w, const struct sample *s)
{
	uint8_t now[SAMPLE];

	read_disk(w, now, s->len, s->off);
	for (uint32_t i = 0; i < s->len; i++)
		MUST(now[i] == s->bytes[i], "byte %llu is %02x, was %02x",
		     (unsigned long long)(s->off + i), now[i], s->bytes[i]);
}

void samples_check(struct work *w, uint64_t off, uint64_t len)
{
	uint32_t from, to;

	memory_trust(w->memory, true);
	for (unsigned i = 0; i < w->sample_count; i++)
		if (common(&w->samples[i], off, len, &from, &to) || i % 8 == w->seed % 8)
			check_one(w, &w->samples[i]);
	memory_trust(w->memory, false);
}

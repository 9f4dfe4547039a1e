// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mutations of scripts: numbers that matter get values that matter, operations
 * and patches come and go. What libFuzzer does by itself to bytes is one of them.
 */
#include <string.h>

#include "bytes.h"
#include "subject.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);

/* A script with patches of its own. */
struct draft {
	struct script s;
	uint8_t bytes[SCRIPT_PATCHES][SCRIPT_LENGTH];
	uint64_t random;
};

static uint64_t below(struct draft *d, uint64_t n)
{
	return fuzz_random(&d->random) % n;
}

static void draft_read(struct draft *d, const uint8_t *data, size_t size)
{
	script_read(&d->s, data, size);
	for (unsigned i = 0; i < d->s.patch_count; i++) {
		memcpy(d->bytes[i], d->s.patches[i].bytes, d->s.patches[i].length);
		d->s.patches[i].bytes = d->bytes[i];
	}
}

/* ---- values ---- */

/* Near a power of two, all ones, a few, a place in units of sectors or MiB. */
static uint64_t value(struct draft *d)
{
	uint64_t n = (uint64_t)1 << below(d, 64);

	switch (below(d, 9)) {
	case 0:
		return n;
	case 1:
		return n - 1;
	case 2:
		return n + 1;
	case 3:
		return UINT64_MAX - below(d, 4);
	case 4:
		return below(d, 16);
	case 5: /* a sector, an entry of a VHD */
		return below(d, 1 << 14);
	case 6: /* an entry of a VHDX */
		return below(d, 24) << 20 | below(d, 8);
	case 7:
		return below(d, 4096) << below(d, 40);
	default:
		return fuzz_random(&d->random);
	}
}

static void put_number(const struct subject *s, struct draft *d, uint8_t *at, unsigned width,
		       uint64_t v)
{
	uint8_t bytes[8];

	if (s->big_endian)
		put_be64(bytes, v << (64 - 8 * width));
	else
		put_le64(bytes, v);
	memcpy(at, bytes, width);
}

static uint64_t get_number(const struct subject *s, const uint8_t *at, unsigned width)
{
	uint8_t bytes[8] = { 0 };

	memcpy(bytes, at, width);
	return s->big_endian ? get_be64(bytes) >> (64 - 8 * width) : get_le64(bytes);
}

/* ---- patches ---- */

static struct script_patch *add_patch(struct draft *d, uint8_t **bytes)
{
	unsigned i = d->s.patch_count < SCRIPT_PATCHES ? d->s.patch_count++
						       : (unsigned)below(d, SCRIPT_PATCHES);

	*bytes = d->bytes[i];
	d->s.patches[i].bytes = d->bytes[i];
	return &d->s.patches[i];
}

static void patch_hot(const struct subject *s, struct draft *d)
{
	const struct hot_field *hot = &s->hot[below(d, s->hot_count)];
	uint32_t which = hot->count ? below(d, hot->count) : 0;
	unsigned width = hot->width <= 8 ? hot->width : 8;
	uint8_t *bytes;
	struct script_patch *p = add_patch(d, &bytes);

	p->space = hot->space;
	p->at = hot->at + (uint64_t)which * hot->stride;
	p->length = hot->width;
	for (unsigned i = 0; i < hot->width; i += width)
		put_number(s, d, bytes + i, width, value(d));
}

static void patch_anywhere(struct draft *d)
{
	uint8_t *bytes;
	struct script_patch *p = add_patch(d, &bytes);

	p->space = below(d, 4) == 0;
	p->at = below(d, 3) ? below(d, 1 << (9 + below(d, 15))) : value(d) & 0x3fffffffffff;
	p->length = 1 + below(d, 16);
	for (unsigned i = 0; i < p->length; i++)
		bytes[i] = fuzz_random(&d->random);
}

static void patch_invented(const struct subject *s, struct draft *d)
{
	uint8_t *bytes;
	struct script_patch *p;

	if (!s->invent) {
		patch_hot(s, d);
		return;
	}
	p = add_patch(d, &bytes);
	s->invent(p, bytes, &d->random);
}

static void drop_patch(struct draft *d)
{
	unsigned i = below(d, d->s.patch_count), last = --d->s.patch_count;

	for (; i < last; i++) {
		struct script_patch *p = &d->s.patches[i];

		*p = d->s.patches[i + 1];
		memcpy(d->bytes[i], p->bytes, p->length);
		p->bytes = d->bytes[i];
	}
}

static void change_number(const struct subject *s, struct draft *d, struct script_patch *p,
			  uint8_t *bytes)
{
	unsigned width = 1u << below(d, 4), at;
	uint64_t v;

	while (width > p->length)
		width /= 2;
	at = below(d, p->length - width + 1);
	if (below(d, 4))
		at -= at % width;
	v = get_number(s, bytes + at, width);
	switch (below(d, 4)) {
	case 0:
		v += below(d, 33) - 16;
		break;
	case 1:
		v ^= (uint64_t)1 << below(d, 8 * width);
		break;
	default:
		v = value(d);
	}
	put_number(s, d, bytes + at, width, v);
}

static void change_patch(const struct subject *s, struct draft *d)
{
	unsigned i = below(d, d->s.patch_count);
	struct script_patch *p = &d->s.patches[i];
	uint8_t *bytes = d->bytes[i];

	switch (below(d, 8)) {
	case 0:
		p->length = LLVMFuzzerMutate(bytes, p->length, SCRIPT_LENGTH);
		break;
	case 1:
		p->at = value(d) & 0xffffffffffff;
		break;
	case 2:
		p->at += (below(d, 65) - 32) << (below(d, 2) ? 0 : below(d, 24));
		break;
	case 3:
		drop_patch(d);
		break;
	default:
		change_number(s, d, p, bytes);
	}
}

/* ---- operations ---- */

static void invent_op(struct draft *d, struct script_op *op)
{
	/* More of what changes something. */
	static const uint8_t kinds[] = {
		OP_READ, OP_WRITE, OP_WRITE, OP_WRITE, OP_WRITE,  OP_ZERO,   OP_ZERO, OP_ZERO_KEEP,
		OP_SEEK, OP_GROW,  OP_FLUSH, OP_REST,  OP_REOPEN, OP_RELOAD, OP_KILL, OP_COMPLETE,
	};

	op->kind = kinds[below(d, sizeof(kinds))];
	op->mode = fuzz_random(&d->random);
	op->length = 1 + below(d, 1 << below(d, 12));
	op->position = below(d, 2) ? below(d, 1 << 24) : fuzz_random(&d->random);
}

static void change_ops(struct draft *d)
{
	struct script *s = &d->s;
	unsigned i = below(d, SCRIPT_OPS);

	if (i >= s->op_count && s->op_count < SCRIPT_OPS) {
		invent_op(d, &s->ops[s->op_count++]);
		return;
	}
	i = below(d, s->op_count);
	switch (below(d, 6)) {
	case 0: /* once more, perhaps elsewhere */
		if (s->op_count == SCRIPT_OPS)
			break;
		s->ops[s->op_count] = s->ops[i];
		s->ops[s->op_count++].kind = below(d, OP_KINDS);
		break;
	case 1:
		s->ops[i] = s->ops[--s->op_count];
		break;
	case 2:
		s->ops[i].position += (below(d, 9) - 4) * 512;
		break;
	case 3:
		s->ops[i].mode = fuzz_random(&d->random);
		break;
	default:
		invent_op(d, &s->ops[i]);
	}
}

static void change_head(const struct subject *s, struct draft *d)
{
	switch (below(d, 8)) {
	case 0:
		d->s.base = below(d, s->bases);
		break;
	case 1:
		d->s.options ^= 1 << below(d, 8);
		break;
	case 2:
		d->s.unsealed = below(d, 2) ? 0 : 1 << below(d, 8);
		break;
	case 3:
		d->s.file_size = value(d);
		break;
	case 4:
		d->s.file_size = below(d, 2) ? below(d, 16) << 20 : 0;
		break;
	case 5:
		d->s.fail_call = 0;
		break;
	default:
		d->s.fail_call = below(d, MEMORY_CALLS);
		d->s.fail_nth = 1 + below(d, 1 << below(d, 8));
		d->s.fail_times = 1 + below(d, 4);
	}
}

/* ---- all ---- */

static void mutate_once(const struct subject *s, struct draft *d)
{
	switch (below(d, 12)) {
	case 0:
		change_head(s, d);
		break;
	case 1:
	case 2:
		change_ops(d);
		break;
	case 3:
	case 4:
		patch_hot(s, d);
		break;
	case 5:
	case 6:
		patch_invented(s, d);
		break;
	case 7:
		patch_anywhere(d);
		break;
	default:
		if (d->s.patch_count)
			change_patch(s, d);
		else
			patch_hot(s, d);
	}
}

size_t subject_mutate(const struct subject *s, uint8_t *data, size_t size, size_t room,
		      unsigned seed)
{
	static struct draft d;
	size_t length;

	d.random = ((uint64_t)seed << 1 | 1) * 0x9e3779b97f4a7c15;
	if (!below(&d, 16))
		return LLVMFuzzerMutate(data, size, room);
	draft_read(&d, data, size);
	for (uint64_t n = 1 + below(&d, 4); n; n--)
		mutate_once(s, &d);
	length = script_write(&d.s, data, room);
	return length ? length : LLVMFuzzerMutate(data, size, room);
}

/* What one makes of the image and what the other does with it; or the changes of both. */
size_t subject_cross(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
		     size_t room, unsigned seed)
{
	static struct draft d;
	struct script other;

	d.random = ((uint64_t)seed << 1 | 1) * 0x9e3779b97f4a7c15;
	draft_read(&d, a, a_size);
	script_read(&other, b, b_size);
	if (below(&d, 2)) {
		memcpy(d.s.ops, other.ops, sizeof(other.ops));
		d.s.op_count = other.op_count;
	}
	for (unsigned i = 0; i < other.patch_count && d.s.patch_count < SCRIPT_PATCHES; i++)
		if (below(&d, 2))
			d.s.patches[d.s.patch_count++] = other.patches[i];
	return script_write(&d.s, out, room);
}

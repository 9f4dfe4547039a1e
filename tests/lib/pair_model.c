// SPDX-License-Identifier: GPL-2.0-or-later
#include "pair_model.h"

#include <string.h>

#include "unit.h"

void pair_model_begin(struct model *m)
{
	memset(m, 0, sizeof(*m));
	for (unsigned b = 0; b < MODEL_BLOCKS; b++)
		m->images[0].count[b] = 1;
}

uint16_t pair_model_stamp(struct model *m)
{
	return ++m->stamps;
}

static bool may_hold(const struct model_image *i, unsigned b, uint16_t value)
{
	for (unsigned k = 0; k < i->count[b]; k++)
		if (i->values[b][k] == value)
			return true;
	return false;
}

void pair_model_write(struct model *m, unsigned first, unsigned count, uint16_t stamp,
		      bool answered, uint64_t ms)
{
	struct model_image *i;

	ck_assert_uint_lt(m->now + 1, MODEL_WRITES);
	m->images[m->now + 1] = m->images[m->now];
	i = &m->images[++m->now];
	m->ended_ms[m->now] = ms;
	for (unsigned b = first; b < first + count; b++) {
		if (answered)
			i->count[b] = 0;
		if (may_hold(i, b, stamp))
			continue;
		ck_assert_uint_lt(i->count[b], MODEL_CHOICES);
		i->values[b][i->count[b]++] = stamp;
	}
}

void pair_model_read(const char *bytes, uint16_t *values)
{
	for (unsigned b = 0; b < MODEL_BLOCKS; b++) {
		const char *at = bytes + b * MODEL_BLOCK;

		memcpy(&values[b], at, sizeof(*values));
		if (memcmp(at, at + 2, MODEL_BLOCK - 2) != 0)
			values[b] = MODEL_TORN;
	}
}

void pair_model_fill(char *bytes, unsigned count, uint16_t stamp)
{
	for (size_t at = 0; at < count * MODEL_BLOCK; at += sizeof(stamp))
		memcpy(bytes + at, &stamp, sizeof(stamp));
}

bool pair_model_is(const struct model *m, unsigned image, const uint16_t *values, unsigned *block)
{
	for (*block = 0; *block < MODEL_BLOCKS; ++*block)
		if (!may_hold(&m->images[image], *block, values[*block]))
			return false;
	return true;
}

int pair_model_find(const struct model *m, unsigned low, const uint16_t *values)
{
	unsigned block;

	for (unsigned i = m->now + 1; i-- > low;)
		if (pair_model_is(m, i, values, &block))
			return i;
	return -1;
}

unsigned pair_model_at(const struct model *m, uint64_t ms)
{
	unsigned i = 0;

	while (i < m->now && m->ended_ms[i + 1] < ms)
		i++;
	return i;
}

void pair_model_become(struct model *m, unsigned image)
{
	m->images[0] = m->images[image];
	m->ended_ms[0] = 0;
	m->now = m->low = 0;
}

void pair_model_adopt(struct model *m, const uint16_t *values)
{
	m->now = m->low = 0;
	for (unsigned b = 0; b < MODEL_BLOCKS; b++) {
		m->images[0].count[b] = 1;
		m->images[0].values[b][0] = values[b];
	}
}

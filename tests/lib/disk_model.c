// SPDX-License-Identifier: GPL-2.0-or-later
#include "disk_model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the highest byte of a name. */
#define OF_OP 0xd1ull
#define OF_PARENT 0xd2ull
#define OF_HASH 0xd3ull

struct older {
	struct older *next; /* before it */
	uint64_t content;
	uint32_t op;
};

struct value {
	uint64_t now;
	uint32_t op; /* that made it; 0: none, it was there */
	struct older *older;
};

struct disk_model {
	uint64_t sectors, seq;
	struct value *values; /* of sectors, and at the end the size */
	uint32_t ops, ops_room;
	uint64_t *done; /* when each operation was; 0: it was not */
	uint64_t *open; /* values with something older */
	size_t open_count, open_room;
};

struct disk_model *model_new(uint64_t size, uint64_t max)
{
	struct disk_model *m = calloc(1, sizeof(*m));

	assert(size % MODEL_SECTOR == 0 && max % MODEL_SECTOR == 0 && size <= max);
	m->sectors = max / MODEL_SECTOR;
	m->values = calloc(m->sectors + 1, sizeof(*m->values));
	m->values[m->sectors].now = size;
	m->ops_room = 64;
	m->done = calloc(m->ops_room, sizeof(*m->done));
	m->done[0] = m->seq = 1;
	return m;
}

static struct older *copy_older(const struct older *o)
{
	struct older *first = NULL, **link = &first;

	for (; o; o = o->next) {
		*link = malloc(sizeof(**link));
		**link = *o;
		link = &(*link)->next;
	}
	*link = NULL;
	return first;
}

struct disk_model *model_copy(const struct disk_model *m)
{
	struct disk_model *copy = malloc(sizeof(*copy));

	*copy = *m;
	copy->values = malloc((m->sectors + 1) * sizeof(*m->values));
	memcpy(copy->values, m->values, (m->sectors + 1) * sizeof(*m->values));
	copy->done = malloc(m->ops_room * sizeof(*m->done));
	memcpy(copy->done, m->done, m->ops_room * sizeof(*m->done));
	copy->open = malloc(m->open_room * sizeof(*m->open) + 1);
	for (size_t i = 0; i < m->open_count; i++) {
		struct value *v = &copy->values[m->open[i]];

		copy->open[i] = m->open[i];
		v->older = copy_older(v->older);
	}
	return copy;
}

static void forget(struct older **link)
{
	while (*link) {
		struct older *o = *link;

		*link = o->next;
		free(o);
	}
}

void model_free(struct disk_model *m)
{
	for (size_t i = 0; i < m->open_count; i++)
		forget(&m->values[m->open[i]].older);
	free(m->open);
	free(m->done);
	free(m->values);
	free(m);
}

/* ---- operations ---- */

uint32_t model_begin(struct disk_model *m)
{
	if (++m->ops == m->ops_room) {
		m->ops_room *= 2;
		m->done = realloc(m->done, m->ops_room * sizeof(*m->done));
	}
	m->done[m->ops] = 0;
	return m->ops;
}

static void set(struct disk_model *m, uint32_t op, uint64_t i, uint64_t content)
{
	struct value *v = &m->values[i];
	struct older *o = malloc(sizeof(*o));

	*o = (struct older){ .next = v->older, .content = v->now, .op = v->op };
	if (!v->older) {
		if (m->open_count == m->open_room) {
			m->open_room = m->open_room ? 2 * m->open_room : 64;
			m->open = realloc(m->open, m->open_room * sizeof(*m->open));
		}
		m->open[m->open_count++] = i;
	}
	v->older = o;
	v->now = content;
	v->op = op;
}

void model_set(struct disk_model *m, uint32_t op, uint64_t sector, uint64_t content)
{
	assert(sector < m->sectors);
	set(m, op, sector, content);
}

void model_resize(struct disk_model *m, uint32_t op, uint64_t size)
{
	assert(size <= m->sectors * MODEL_SECTOR);
	set(m, op, m->sectors, size);
}

void model_done(struct disk_model *m, uint32_t op)
{
	m->done[op] = ++m->seq;
}

uint64_t model_flush_begin(struct disk_model *m)
{
	return ++m->seq;
}

static bool was_done(const struct disk_model *m, uint32_t op, uint64_t mark)
{
	return m->done[op] && m->done[op] <= mark;
}

/* What is older than the newest that was done by then goes. */
static void promise(struct disk_model *m, struct value *v, uint64_t mark)
{
	struct older **link = &v->older;
	bool kept = was_done(m, v->op, mark);

	for (; !kept && *link; link = &(*link)->next)
		kept = was_done(m, (*link)->op, mark);
	forget(link);
}

void model_flush_end(struct disk_model *m, uint64_t mark)
{
	size_t left = 0;

	for (size_t i = 0; i < m->open_count; i++) {
		struct value *v = &m->values[m->open[i]];

		promise(m, v, mark);
		if (v->older)
			m->open[left++] = m->open[i];
	}
	m->open_count = left;
}

/* ---- questions ---- */

uint64_t model_size(const struct disk_model *m)
{
	return m->values[m->sectors].now;
}

uint64_t model_now(const struct disk_model *m, uint64_t sector)
{
	return m->values[sector].now;
}

static bool allows(const struct disk_model *m, enum model_end end, uint64_t i, uint64_t content)
{
	const struct value *v = &m->values[i];

	if (v->now == content)
		return true;
	if (end == MODEL_KILL)
		return !m->done[v->op] && v->older->content == content;
	for (const struct older *o = v->older; o; o = o->next)
		if (o->content == content)
			return true;
	return false;
}

bool model_allows(const struct disk_model *m, enum model_end end, uint64_t sector, uint64_t content)
{
	return sector < m->sectors && allows(m, end, sector, content);
}

bool model_allows_size(const struct disk_model *m, enum model_end end, uint64_t size)
{
	return allows(m, end, m->sectors, size);
}

struct disk_model *model_after(const struct disk_model *m, enum model_end end, uint64_t size)
{
	struct disk_model *after;

	if (end == MODEL_KILL) {
		after = model_copy(m);
		model_found(after, end, m->sectors, size);
		return after;
	}
	after = model_new(size, m->sectors * MODEL_SECTOR);
	while (after->ops < m->ops) /* so that names stay different */
		model_done(after, model_begin(after));
	return after;
}

void model_found(struct disk_model *m, enum model_end end, uint64_t sector, uint64_t content)
{
	struct value *v = &m->values[sector];

	if (end == MODEL_POWER_CUT) {
		v->now = content;
	} else if (!m->done[v->op]) {
		/* Neither of the two is durable yet, and what is there now is the newest. */
		set(m, 0, sector, content);
	}
}

/* ---- contents ---- */

uint64_t content_of_op(uint32_t op, uint64_t sector)
{
	return (op ? OF_OP : OF_PARENT) << 56 | (uint64_t)op << 28 | sector;
}

void content_fill(uint8_t *buf, uint64_t off, size_t len, uint64_t content)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = content >> (off + i) % 8 * 8;
}

uint64_t content_name(const uint8_t sector[MODEL_SECTOR])
{
	uint64_t word, h = 0;

	memcpy(&word, sector, 8);
	if (!memcmp(sector, sector + 8, MODEL_SECTOR - 8))
		return word;
	for (size_t i = 0; i < MODEL_SECTOR; i += 8) {
		memcpy(&word, sector + i, 8);
		h = (h ^ word) * 0x9e3779b97f4a7c15;
		h ^= h >> 29;
	}
	return OF_HASH << 56 | h >> 8;
}

static int describe_content(uint64_t content, char *buf, size_t len)
{
	unsigned long long op = content >> 28 & 0xfffffff, sector = content & 0xfffffff;

	switch (content >> 56) {
	case OF_OP:
		return snprintf(buf, len, "%llu@%llu", op, sector);
	case OF_PARENT:
		return snprintf(buf, len, "parent@%llu", sector);
	case OF_HASH:
		return snprintf(buf, len, "mixed-%04llx", (unsigned long long)content & 0xffff);
	default:
		return snprintf(buf, len, content ? "strange" : "zeros");
	}
}

void model_describe(const struct disk_model *m, enum model_end end, uint64_t sector,
		    uint64_t content, char *buf, size_t len)
{
	const struct value *v = &m->values[sector];
	size_t n = snprintf(buf, len, "sector %llu holds ", (unsigned long long)sector);

	n += describe_content(content, buf + n, len - n);
	n += snprintf(buf + n, len - n, ", may hold ");
	n += describe_content(v->now, buf + n, len - n);
	for (const struct older *o = v->older; o && n + 64 < len; o = o->next) {
		if (end == MODEL_KILL && (m->done[v->op] || o != v->older))
			break;
		n += snprintf(buf + n, len - n, " or ");
		n += describe_content(o->content, buf + n, len - n);
	}
	snprintf(buf + n, len - n, " (operation@its sector)");
}

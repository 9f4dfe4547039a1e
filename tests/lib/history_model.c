// SPDX-License-Identifier: GPL-2.0-or-later
#include "history_model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#define PIECE (256u << 10)

void copies_new(struct history_model *m, uint64_t size, uint64_t max)
{
	*m = (struct history_model){ .size = size, .max = max };
	m->now = calloc(1, max);
}

void copies_free(struct history_model *m)
{
	while (m->count)
		copies_drop(m, m->count - 1);
	free(m->kept);
	free(m->now);
}

void copies_write(struct history_model *m, const void *buf, uint64_t len, uint64_t off)
{
	memcpy(m->now + off, buf, len);
	if (off + len > m->size)
		m->size = off + len;
}

void copies_zero(struct history_model *m, uint64_t len, uint64_t off)
{
	if (off < m->size)
		memset(m->now + off, 0, len < m->size - off ? len : m->size - off);
}

void copies_resize(struct history_model *m, uint64_t size)
{
	if (size < m->size)
		memset(m->now + size, 0, m->size - size);
	m->size = size;
}

void copies_keep(struct history_model *m, uint64_t generation)
{
	struct history_copy *c;

	m->kept = realloc(m->kept, (m->count + 1) * sizeof(*m->kept));
	c = &m->kept[m->count++];
	*c = (struct history_copy){ generation, m->size, malloc(m->size + 1) };
	memcpy(c->content, m->now, m->size);
}

void copies_restore(struct history_model *m, uint64_t generation)
{
	size_t i = 0;

	while (m->kept[i].generation != generation)
		i++;
	memset(m->now, 0, m->size);
	memcpy(m->now, m->kept[i].content, m->kept[i].size);
}

void copies_drop(struct history_model *m, size_t i)
{
	free(m->kept[i].content);
	m->count--;
	memmove(m->kept + i, m->kept + i + 1, (m->count - i) * sizeof(*m->kept));
}

/* ---- comparing ---- */

static struct history_copy copy_of(const struct history_model *m, size_t i)
{
	return i < m->count ? m->kept[i] : (struct history_copy){ 0, m->size, m->now };
}

/* Check says where it is at each assertion, in a file: these are too many. */
static void fail_at(const struct history_model *m, const struct history_copy *c, uint64_t off,
		    const char *what)
{
	ck_abort_msg("step %llu (%s): generation %llu at %llu: %s", (unsigned long long)m->step,
		     m->doing, (unsigned long long)c->generation, (unsigned long long)off, what);
}

static void compare(const struct history_model *m, const struct history_copy *c,
		    const uint8_t *found, uint64_t off, uint64_t len)
{
	uint64_t at = 0;

	if (!memcmp(found, c->content + off, len))
		return;
	while (found[at] == c->content[off + at])
		at++;
	ck_abort_msg("step %llu (%s): generation %llu at %llu is %u and not %u",
		     (unsigned long long)m->step, m->doing, (unsigned long long)c->generation,
		     (unsigned long long)(off + at), found[at], c->content[off + at]);
}

static int read_some(struct world *w, uint64_t g, uint8_t *buf, uint64_t len, uint64_t off)
{
	size_t done = len;
	int err = g ? history_read_at(w->h, g, buf, len, off)
		    : disk_read(w->d, buf, len, off, 0, &done);

	return err ? err : done == len ? 0 : -ERANGE;
}

void copies_check(const struct history_model *m, struct world *w, size_t i, uint64_t off,
		  uint64_t len)
{
	struct history_copy c = copy_of(m, i);
	uint8_t *buf = malloc(PIECE);

	for (uint64_t n; off < c.size && len; off += n, len -= n) {
		int err;

		n = len < PIECE ? len : PIECE;
		n = n < c.size - off ? n : c.size - off;
		err = read_some(w, c.generation, buf, n, off);
		if (err)
			fail_at(m, &c, off, strerror(-err));
		compare(m, &c, buf, off, n);
	}
	free(buf);
}

static int seek(struct world *w, uint64_t g, uint64_t off, int whence, uint64_t *found)
{
	return g ? history_seek_at(w->h, g, off, whence, found)
		 : disk_seek(w->d, off, whence, found);
}

void copies_check_holes(const struct history_model *m, struct world *w, size_t i)
{
	struct history_copy c = copy_of(m, i);
	uint64_t at = 0, hole, data;
	int err;

	while (at < c.size) {
		err = seek(w, c.generation, at, SEEK_HOLE, &hole);
		if (err || hole > c.size)
			fail_at(m, &c, at, "a wrong hole");
		if (hole == c.size)
			break;
		err = seek(w, c.generation, hole, SEEK_DATA, &data);
		if (err == -ENXIO)
			data = c.size;
		else if (err || data < hole)
			fail_at(m, &c, hole, "wrong data");
		for (uint64_t b = hole; b < data; b++)
			if (c.content[b])
				fail_at(m, &c, b, "it is in a hole");
		at = data;
	}
	if (seek(w, c.generation, c.size, SEEK_DATA, &data) != -ENXIO)
		fail_at(m, &c, c.size, "data behind the end");
}

void copies_check_all(const struct history_model *m, struct world *w)
{
	struct moment_record *moments;
	size_t count, seen = 0;

	ck_assert_uint_eq(disk_size(w->d), m->size);
	ck_assert_int_eq(history_moments(w->h, &moments, &count), 0);
	for (size_t i = 0; i < count; i++) {
		if (moments[i].hidden)
			continue;
		ck_assert_uint_lt(seen, m->count);
		ck_assert_uint_eq(moments[i].generation, m->kept[seen].generation);
		ck_assert_uint_eq(moments[i].size, m->kept[seen].size);
		seen++;
	}
	ck_assert_uint_eq(seen, m->count);
	free(moments);
	for (size_t i = 0; i <= m->count; i++) {
		copies_check(m, w, i, 0, UINT64_MAX);
		copies_check_holes(m, w, i);
	}
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "notes_inner.h"

/* A piece of the file in memory, for records one after the other. */
struct window {
	int fd;
	uint8_t *buf;
	uint64_t at;
	size_t have;
};
#define WINDOW (sizeof(struct notes_record) + NOTES_RECORD_MAX + 8)

/* *p: the bytes there; NULL: the file ends before. */
static int look(struct window *w, uint64_t off, size_t len, const void **p)
{
	ssize_t n;

	if (off < w->at || off + len > w->at + w->have) {
		do
			n = pread(w->fd, w->buf, WINDOW, off);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			return -errno;
		w->at = off;
		w->have = n;
	}
	*p = len <= w->have - (off - w->at) ? w->buf + (off - w->at) : NULL;
	return 0;
}

/* *r: the record at that offset, whole and right; or NULL. Its data follows it. */
static int look_at_record(struct window *w, uint64_t off, uint64_t position,
			  const struct notes_record **r)
{
	const struct notes_record *found;
	const void *p;
	int err;

	*r = NULL;
	err = look(w, off, sizeof(*found), &p);
	if (err || !p)
		return err;
	found = p;
	if (found->crc != crc32c(0, &found->data_crc, sizeof(*found) - sizeof(found->crc)) ||
	    found->position != position || found->len > NOTES_RECORD_MAX)
		return 0;
	err = look(w, off, notes_footprint(found->len), &p);
	if (err || !p)
		return err;
	found = p;
	if (found->data_crc == crc32c(0, found + 1, found->len))
		*r = found;
	return 0;
}

static int replay_records(struct notes *n, uint64_t *end,
			  int (*fn)(void *arg, uint32_t kind, const void *data, size_t len),
			  void *arg)
{
	struct window w = { .fd = n->fd, .buf = malloc(WINDOW) };
	const struct notes_record *r;
	int err;

	if (!w.buf)
		return -ENOMEM;
	*end = n->start;
	for (;;) {
		err = look_at_record(&w, notes_offset(n, *end), *end, &r);
		if (err || !r)
			break;
		*end += notes_footprint(r->len);
		err = fn(arg, r->kind, r + 1, r->len);
		if (err < 0)
			break;
	}
	free(w.buf);
	return err < 0 ? err : 0;
}

enum found { FOUND_NOTHING, FOUND_FOREIGN, FOUND_OURS };

/* One that we can have written: what counts begins inside of the file. */
static int check_head(const struct notes *n, const struct notes_head *h, bool *is_right)
{
	struct stat st;

	if (fstat(n->fd, &st))
		return -errno;
	*is_right = !memcmp(h->magic, NOTES_MAGIC, sizeof(h->magic)) &&
		    h->crc == crc32c(0, h, offsetof(struct notes_head, crc)) &&
		    (h->start == h->base || h->start - h->base <= notes_room(st.st_size));
	return 0;
}

static int read_head(const struct notes *n, const uint8_t *binding, struct notes_head *h,
		     enum found *found)
{
	bool is_right;
	ssize_t len;
	int err;

	*found = FOUND_NOTHING;
	do
		len = n->fd < 0 ? 0 : pread(n->fd, h, sizeof(*h), 0);
	while (len < 0 && errno == EINTR);
	if (len < 0)
		return -errno;
	/* A file without a whole head has no records. */
	if (len < (ssize_t)sizeof(*h) || memcmp(h->boot, n->boot, sizeof(h->boot)))
		return 0;
	err = check_head(n, h, &is_right);
	if (err)
		return err;
	*found = is_right && !memcmp(h->binding, binding, sizeof(h->binding)) ? FOUND_OURS
									      : FOUND_FOREIGN;
	return 0;
}

static int count_record(void *arg, uint32_t kind, const void *data, size_t len)
{
	(*(size_t *)arg)++;
	return 0;
}

/* All was dropped before the program died: whatever they were bound to, nothing is lost. */
static bool has_records(struct notes *n, const struct notes_head *h)
{
	uint64_t start = n->start, end = n->end, base = n->base, last;
	size_t count = 0;
	bool is_right;

	if (check_head(n, h, &is_right) || !is_right)
		return true; /* nobody knows */
	n->base = h->base;
	n->start = n->end = h->start;
	if (replay_records(n, &last, count_record, &count))
		count = 1;
	n->base = base;
	n->start = start;
	n->end = end;
	return count > 0;
}

int notes_replay(struct notes *n, const uint8_t binding[NOTES_BINDING],
		 int (*fn)(void *arg, uint32_t kind, const void *data, size_t len), void *arg,
		 bool *foreign)
{
	enum found found;
	struct notes_head h;
	uint64_t end;
	int err;

	n->ready = n->usable = false;
	/* Nothing else runs, and fn may ask for notes_bytes: no lock. */
	n->base = n->start = n->end;
	err = read_head(n, binding, &h, &found);
	if (err)
		return err;
	if (found == FOUND_FOREIGN && !has_records(n, &h))
		found = FOUND_NOTHING;
	if (found == FOUND_OURS) {
		n->base = h.base;
		n->start = n->end = h.start;
		err = replay_records(n, &end, fn, arg);
		if (err)
			return err;
		n->end = end;
		n->punched = 0;
		n->tail = n->usable = true;
	}
	if (found != FOUND_FOREIGN) {
		memcpy(n->binding, binding, sizeof(n->binding));
		n->ready = true;
	}
	*foreign = found == FOUND_FOREIGN;
	return 0;
}

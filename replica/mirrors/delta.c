// SPDX-License-Identifier: GPL-2.0-or-later
#include "delta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"

#define MAGIC "TFDELTA1"
#define HEAD (8 + 3 * 8 + 4)
#define RECORD (4 + 4 + 8 + 8 + 4)

enum { KIND_DATA = 1, KIND_ZEROS, KIND_END };

static void put(uint8_t **at, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*(*at)++ = v >> (8 * i);
}

static uint64_t get(const uint8_t **at, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v |= (uint64_t) * (*at)++ << (8 * i);
	return v;
}

/* ---- writing ---- */

static int write_all(int fd, const void *buf, size_t len)
{
	const char *at = buf;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= n;
	}
	return 0;
}

int delta_begin(struct delta_writer *w, int fd, const struct delta_head *head)
{
	uint8_t bytes[HEAD], *at = bytes + 8;

	memcpy(bytes, MAGIC, 8);
	put(&at, head->base, 8);
	put(&at, head->time_ms, 8);
	put(&at, head->size, 8);
	*w = (struct delta_writer){ .fd = fd, .crc = crc32c(0, bytes, HEAD - 4) };
	put(&at, w->crc, 4);
	return write_all(fd, bytes, HEAD);
}

static int write_record(struct delta_writer *w, uint32_t kind, uint64_t off, uint64_t len)
{
	uint8_t bytes[RECORD], *at = bytes;

	put(&at, kind, 4);
	put(&at, w->count++, 4);
	put(&at, off, 8);
	put(&at, len, 8);
	w->crc = crc32c(w->crc, bytes, RECORD - 4);
	put(&at, w->crc, 4);
	return write_all(w->fd, bytes, RECORD);
}

int delta_data(struct delta_writer *w, const void *buf, uint32_t len, uint64_t off)
{
	uint8_t sum[4], *at = sum;
	int err = write_record(w, KIND_DATA, off, len) ?: write_all(w->fd, buf, len);

	w->crc = crc32c(w->crc, buf, len);
	w->data += len;
	put(&at, w->crc, 4);
	return err ? err : write_all(w->fd, sum, sizeof(sum));
}

int delta_zeros(struct delta_writer *w, uint64_t off, uint64_t len)
{
	return write_record(w, KIND_ZEROS, off, len);
}

int delta_end(struct delta_writer *w)
{
	return write_record(w, KIND_END, w->data, 0);
}

/* ---- reading; nothing is believed ---- */

struct reader {
	int fd;
	uint32_t crc, count;
	uint64_t data, end; /* bytes so far; of the record before */
	uint8_t *buf;
};

/* -EIO: it ends before. */
static int read_all(int fd, void *buf, size_t len)
{
	char *at = buf;

	while (len) {
		ssize_t n = read(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		at += n;
		len -= n;
	}
	return 0;
}

static int read_head(struct reader *r, struct delta_head *head)
{
	uint8_t bytes[HEAD];
	const uint8_t *at = bytes + 8;
	int err = read_all(r->fd, bytes, HEAD);

	if (err)
		return err;
	head->base = get(&at, 8);
	head->time_ms = get(&at, 8);
	head->size = get(&at, 8);
	r->crc = crc32c(0, bytes, HEAD - 4);
	return memcmp(bytes, MAGIC, 8) || get(&at, 4) != r->crc || head->size > INT64_MAX ? -EIO
											  : 0;
}

static int read_data(struct reader *r, uint64_t len)
{
	uint8_t sum[4];
	const uint8_t *at = sum;
	int err = read_all(r->fd, r->buf, len) ?: read_all(r->fd, sum, sizeof(sum));

	if (err)
		return err;
	r->crc = crc32c(r->crc, r->buf, len);
	r->data += len;
	return get(&at, 4) == r->crc ? 0 : -EIO;
}

static bool is_in_place(const struct reader *r, const struct delta_head *head, uint32_t kind,
			uint64_t off, uint64_t len)
{
	return len && off >= r->end && off <= head->size && len <= head->size - off &&
	       (kind == KIND_ZEROS || len <= DELTA_DATA_MAX);
}

static int read_end(struct reader *r, uint64_t data, uint64_t len)
{
	char more;
	ssize_t n;

	if (data != r->data || len)
		return -EIO;
	while ((n = read(r->fd, &more, 1)) < 0 && errno == EINTR)
		;
	return n < 0 ? -errno : n ? -EIO : 0;
}

static int read_record(struct reader *r, const struct delta_head *head,
		       int (*fn)(void *arg, const struct delta_record *r), void *arg, bool *ended)
{
	uint8_t bytes[RECORD];
	const uint8_t *at = bytes;
	struct delta_record record;
	uint32_t kind, count;
	int err = read_all(r->fd, bytes, RECORD);

	if (err)
		return err;
	kind = get(&at, 4);
	count = get(&at, 4);
	record.off = get(&at, 8);
	record.len = get(&at, 8);
	r->crc = crc32c(r->crc, bytes, RECORD - 4);
	if (get(&at, 4) != r->crc || count != r->count++)
		return -EIO;
	if (kind == KIND_END) {
		*ended = true;
		return read_end(r, record.off, record.len);
	}
	if ((kind != KIND_DATA && kind != KIND_ZEROS) ||
	    !is_in_place(r, head, kind, record.off, record.len))
		return -EIO;
	record.data = kind == KIND_DATA ? r->buf : NULL;
	err = kind == KIND_DATA ? read_data(r, record.len) : 0;
	r->end = record.off + record.len;
	return err || !fn ? err : fn(arg, &record);
}

int delta_read(int fd, struct delta_head *head, int (*fn)(void *arg, const struct delta_record *r),
	       void *arg)
{
	struct reader r = { .fd = fd };
	bool ended = false;
	int err;

	if (posix_memalign((void **)&r.buf, 4096, DELTA_DATA_MAX))
		return -ENOMEM;
	err = read_head(&r, head);
	while (!err && !ended)
		err = read_record(&r, head, fn, arg, &ended);
	free(r.buf);
	return err;
}

bool delta_is_one(int fd)
{
	char begins[8];

	return pread(fd, begins, sizeof(begins), 0) == sizeof(begins) && !memcmp(begins, MAGIC, 8);
}

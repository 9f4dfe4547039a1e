// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The file: "TFREPL01", then 32 bits of how much follows, the fields, little-endian, and a CRC-32C
 * over all before it.
 */
#include "beside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "names.h"
#include "record.h"

#define MAGIC "TFREPL01"
#define MAGIC_KIND 6 /* bytes of it; what follows is a version */
#define HEAD (8 + 4)
#define NEW "replica.new"

/* ---- as bytes ---- */

struct writer {
	uint8_t *bytes;
	size_t len;
};

static void put_u(struct writer *w, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		w->bytes[w->len++] = v >> (8 * i);
}

static void put_bytes(struct writer *w, const void *b, size_t len)
{
	put_u(w, len, 2);
	memcpy(w->bytes + w->len, b, len);
	w->len += len;
}

size_t beside_encode(const struct beside *b, uint8_t bytes[BESIDE_MAX])
{
	struct writer w = { bytes, 0 };
	struct record pair;

	record_encode_pair(&pair, &b->pair);
	memcpy(bytes, MAGIC, 8);
	w.len = HEAD;
	memcpy(bytes + w.len, b->owner, BESIDE_OWNER);
	w.len += BESIDE_OWNER;
	put_u(&w, b->claim, 8);
	put_u(&w, b->holds, 1);
	put_u(&w, b->size, 8);
	put_bytes(&w, b->image.bytes, b->image.len);
	put_bytes(&w, pair.bytes, pair.len);
	put_bytes(&w, b->source, strlen(b->source));
	put_bytes(&w, b->source_name, strlen(b->source_name));
	put_u(&(struct writer){ bytes + 8, 0 }, w.len - HEAD + 4, 4);
	put_u(&w, crc32c(0, bytes, w.len), 4);
	return w.len;
}

struct reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

static uint64_t get_u(struct reader *r, size_t n)
{
	uint64_t v = 0;

	if (r->bad || r->left < n) {
		r->bad = true;
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)r->at[i] << (8 * i);
	r->at += n;
	r->left -= n;
	return v;
}

static size_t get_bytes(struct reader *r, void *dst, size_t room)
{
	size_t len = get_u(r, 2);

	if (r->bad || len > r->left || len > room) {
		r->bad = true;
		return 0;
	}
	memcpy(dst, r->at, len);
	r->at += len;
	r->left -= len;
	return len;
}

/* A name of a file, which is to be one. */
static void get_name(struct reader *r, char *dst, size_t size)
{
	size_t len = get_bytes(r, dst, size - 1);

	dst[len] = '\0';
	r->bad |= !len || memchr(dst, '\0', len) || memchr(dst, '/', len) || dst[0] == '.';
}

static int check_frame(const uint8_t *bytes, size_t len, struct reader *r)
{
	*r = (struct reader){ bytes, len, false };
	if (len < HEAD + 4 || memcmp(bytes, MAGIC, MAGIC_KIND))
		return -EIO;
	r->at += 8;
	r->left -= 8;
	if (get_u(r, 4) != len - HEAD)
		return -EIO;
	r->left -= 4;
	if (get_u(&(struct reader){ bytes + len - 4, 4, false }, 4) != crc32c(0, bytes, len - 4))
		return -EIO;
	return memcmp(bytes, MAGIC, 8) ? -EPROTO : 0;
}

int beside_decode(const void *bytes, size_t len, struct beside *out)
{
	struct beside b = { 0 };
	struct record pair;
	struct reader r;
	int err = check_frame(bytes, len, &r);

	if (err)
		return err;
	for (size_t i = 0; i < BESIDE_OWNER; i++)
		b.owner[i] = get_u(&r, 1);
	b.claim = get_u(&r, 8);
	b.holds = get_u(&r, 1);
	b.size = get_u(&r, 8);
	b.image.len = get_bytes(&r, b.image.bytes, sizeof(b.image.bytes));
	pair.len = get_bytes(&r, pair.bytes, sizeof(pair.bytes));
	get_name(&r, b.source, sizeof(b.source));
	get_name(&r, b.source_name, sizeof(b.source_name));
	if (r.bad || r.left || b.holds < BESIDE_HALF || b.holds > BESIDE_TAKEN || !b.image.len ||
	    record_decode_pair(pair.bytes, pair.len, &b.pair))
		return -EIO;
	*out = b;
	return 0;
}

/* ---- as files ---- */

void beside_name(const char *file, const char *ending, char name[NAME_MAX + 1])
{
	char whole[NAME_MAX + 1];

	name_whole(file, whole);
	if (snprintf(name, NAME_MAX + 1, ".%s.%s", whole, ending) > NAME_MAX)
		name[0] = '\0';
}

bool beside_is_of(const char *name, char file[NAME_MAX + 1])
{
	static const char *const endings[] = { BESIDE_STATE, NEW, BESIDE_DELTA, BESIDE_DELTA_NEW };
	size_t len = strlen(name), end;

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		end = strlen(endings[i]) + 1;
		if (name[0] != '.' || len < end + 2 || len > NAME_MAX || name[len - end] != '.' ||
		    strcmp(name + len - end + 1, endings[i]))
			continue;
		memcpy(file, name + 1, len - end - 1);
		file[len - end - 1] = '\0';
		return true;
	}
	return false;
}

static int read_all(int fd, uint8_t *bytes, size_t room, size_t *len)
{
	for (*len = 0; *len < room;) {
		ssize_t n = read(fd, bytes + *len, room - *len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return 0;
		*len += n;
	}
	return -EIO; /* longer than any */
}

int beside_read(int dirfd, const char *file, struct beside *out)
{
	uint8_t bytes[BESIDE_MAX + 1];
	char name[NAME_MAX + 1];
	struct stat st;
	size_t len;
	int fd, err;

	beside_name(file, BESIDE_STATE, name);
	if (!name[0])
		return -ENOENT;
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = fstat(fd, &st) ? -errno : S_ISREG(st.st_mode) ? 0 : -EIO;
	if (!err)
		err = read_all(fd, bytes, sizeof(bytes), &len);
	close(fd);
	return err ? err : beside_decode(bytes, len, out);
}

int beside_sync(int dirfd)
{
	/* Where a directory cannot be synced, its names are as durable as can be. */
	return fsync(dirfd) && errno != EINVAL && errno != EOPNOTSUPP ? -errno : 0;
}

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= n;
	}
	return 0;
}

int beside_write(int dirfd, const char *file, const struct beside *b)
{
	char name[NAME_MAX + 1], new[NAME_MAX + 1];
	uint8_t bytes[BESIDE_MAX];
	size_t len = beside_encode(b, bytes);
	int fd, err;

	beside_name(file, BESIDE_STATE, name);
	beside_name(file, NEW, new);
	if (!name[0] || !new[0])
		return -ENAMETOOLONG;
	if (unlinkat(dirfd, new, 0) && errno != ENOENT)
		return -errno;
	fd = openat(dirfd, new, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = write_all(fd, bytes, len);
	if (!err && fdatasync(fd))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && renameat(dirfd, new, dirfd, name))
		err = -errno;
	if (err)
		unlinkat(dirfd, new, 0);
	return err ? err : beside_sync(dirfd);
}

static int drop(int dirfd, const char *file, const char *ending)
{
	char name[NAME_MAX + 1];

	beside_name(file, ending, name);
	if (!name[0])
		return 0;
	return unlinkat(dirfd, name, 0) && errno != ENOENT ? -errno : 0;
}

int beside_remove(int dirfd, const char *file)
{
	/* Also if it is gone: that may not be durable yet. */
	int err = drop(dirfd, file, BESIDE_STATE) ?: beside_sync(dirfd);

	if (!err)
		beside_drop_delta(dirfd, file);
	return err;
}

void beside_drop_delta(int dirfd, const char *file)
{
	drop(dirfd, file, BESIDE_DELTA);
	drop(dirfd, file, BESIDE_DELTA_NEW);
}

void beside_rename(int dirfd, const char *from, const char *to)
{
	static const char *const endings[] = { BESIDE_DELTA, BESIDE_STATE };
	char name[NAME_MAX + 1], new[NAME_MAX + 1];

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		beside_name(from, endings[i], name);
		beside_name(to, endings[i], new);
		if (name[0] && new[0] && strcmp(name, new))
			renameat(dirfd, name, dirfd, new);
	}
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The file: a head, then records, each a multiple of 8 bytes long.
 *
 * Every record has a position: 0 for the first that was ever added, then the sum
 * of the lengths before it. Positions are never given twice in a file, so an old
 * record that is still in the file is never taken for a new one. The head says
 * what position the place behind it has (base), and which one is the first that
 * counts (start). Both change in one write inside one page, so that a kill leaves
 * the head as it was before or after it. Positions may wrap around: what is compared
 * is how far they are from another.
 *
 *   add       one write at the end. A kill leaves a record that is cut off, where
 *             replay ends; it is cut from the file before the next is added, so
 *             that nothing of it can stand behind the next one.
 *   drop      head with a new start, then the space in front of it is punched
 *   drop all  head with base and start at the end, then the file is cut behind the
 *             head. In between, the old records are there with positions below
 *             base: none counts.
 */
#include "notes_inner.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "crc32c.h"

/* In what units space is given back; the one with the head in it stays. */
#define PUNCH (64u << 10)
/* A record up to this size is put together in memory, which is faster than pwritev. */
#define SMALL 512

/* ---- open and close ---- */

int notes_open(int dirfd, const char *name, const uint8_t boot[16], struct notes **out)
{
	struct notes *n = calloc(1, sizeof(*n));
	struct stat st;
	int err = 0;

	assert(!strchr(name, '/') && strcmp(name, "..") && strlen(name) <= NAME_MAX);
	if (!n)
		return -ENOMEM;
	pthread_mutex_init(&n->lock, NULL);
	n->dirfd = dirfd;
	memcpy(n->boot, boot, sizeof(n->boot));
	snprintf(n->name, sizeof(n->name), "%s", name);
	n->fd = openat(dirfd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (n->fd < 0 && errno != ENOENT)
		err = errno == EISDIR ? -EINVAL : -errno;
	else if (n->fd >= 0 && fstat(n->fd, &st))
		err = -errno;
	else if (n->fd >= 0 && !S_ISREG(st.st_mode))
		err = -EINVAL;
	if (err) {
		notes_close(n);
		return err;
	}
	*out = n;
	return 0;
}

void notes_close(struct notes *n)
{
	if (!n)
		return;
	if (n->fd >= 0)
		close(n->fd);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

int notes_boot(uint8_t boot[16])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC), digits = 0;
	uint8_t id[16] = { 0 };
	char text[64];
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = read(fd, text, sizeof(text));
	close(fd);
	for (ssize_t i = 0; i < len && text[i] != '\n'; i++) {
		const char *digit = text[i] ? strchr("0123456789abcdef", text[i]) : NULL;

		if (text[i] == '-')
			continue;
		if (!digit || digits == 32)
			return -EINVAL;
		id[digits / 2] |= (digit - "0123456789abcdef") << (digits % 2 ? 0 : 4);
		digits++;
	}
	if (digits != 32)
		return -EINVAL;
	memcpy(boot, id, sizeof(id));
	return 0;
}

/* ---- the file ---- */

/* On failure it is what it was: the write lies in one page, and so does what is written. */
static int write_head(int fd, const struct notes *n, uint64_t base, uint64_t start)
{
	alignas(128) struct notes_head h = { .magic = NOTES_MAGIC, .base = base, .start = start };
	ssize_t done;

	memcpy(h.boot, n->boot, sizeof(h.boot));
	memcpy(h.binding, n->binding, sizeof(h.binding));
	h.crc = crc32c(0, &h, offsetof(struct notes_head, crc));
	do
		done = pwrite(fd, &h, sizeof(h), 0);
	while (done < 0 && errno == EINTR);
	if (done < 0)
		return -errno;
	return done == sizeof(h) ? 0 : -ENOSPC;
}

/* With a head, and no records. Whatever is called so was found to be of no use. */
static int create(struct notes *n)
{
	int fd, err;

	if (unlinkat(n->dirfd, n->name, 0) && errno != ENOENT)
		return -errno;
	fd = openat(n->dirfd, n->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = write_head(fd, n, n->end, n->end);
	if (err) {
		unlinkat(n->dirfd, n->name, 0);
		close(fd);
		return err;
	}
	if (n->fd >= 0)
		close(n->fd);
	n->fd = fd;
	n->base = n->start = n->end;
	n->punched = 0;
	n->tail = false;
	n->usable = true;
	return 0;
}

static int cut_tail(struct notes *n)
{
	if (ftruncate(n->fd, notes_offset(n, n->end)))
		return -errno;
	n->tail = false;
	return 0;
}

static int remove_file(struct notes *n)
{
	if (unlinkat(n->dirfd, n->name, 0) && errno != ENOENT)
		return -errno;
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
	n->usable = n->tail = false;
	n->base = n->start = n->end;
	return 0;
}

/* ---- add ---- */

static int write_parts(int fd, struct iovec *part, int parts, uint64_t off)
{
	while (parts > 0) {
		ssize_t done = pwritev(fd, part, parts, off);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done ? -errno : -ENOSPC;
		/* A short write: the next one tells why. */
		off += done;
		while (parts > 0 && (size_t)done >= part->iov_len) {
			done -= part->iov_len;
			part++;
			parts--;
		}
		if (parts > 0) {
			part->iov_base = (char *)part->iov_base + done;
			part->iov_len -= done;
		}
	}
	return 0;
}

static int write_record(int fd, uint64_t off, const struct notes_record *r, const void *head,
			size_t head_len, const void *data, size_t len)
{
	uint64_t zeros = 0, total = notes_footprint(head_len + len);
	struct iovec part[] = {
		{ (void *)r, sizeof(*r) },
		{ (void *)head, head_len },
		{ (void *)data, len },
		{ &zeros, total - sizeof(*r) - head_len - len },
	};
	uint8_t small[SMALL], *p = small;

	if (total > SMALL)
		return write_parts(fd, part, 4, off);
	for (int i = 0; i < 4; i++)
		if (part[i].iov_len)
			p = mempcpy(p, part[i].iov_base, part[i].iov_len);
	return write_parts(fd, &(struct iovec){ small, total }, 1, off);
}

/* Under lock: the file is there, and ends where the next record begins. */
static int make_ready(struct notes *n)
{
	if (!n->usable)
		return create(n);
	return n->tail ? cut_tail(n) : 0;
}

int notes_add(struct notes *n, uint32_t kind, const void *head, size_t head_len, const void *data,
	      size_t len)
{
	struct notes_record r = { .len = head_len + len, .kind = kind };
	int err;

	if (head_len > NOTES_RECORD_MAX || len > NOTES_RECORD_MAX - head_len)
		return -EMSGSIZE;
	r.data_crc = crc32c(crc32c(0, head, head_len), data, len);
	pthread_mutex_lock(&n->lock);
	assert(n->ready);
	err = make_ready(n);
	if (!err) {
		r.position = n->end;
		r.crc = crc32c(0, &r.data_crc, sizeof(r) - sizeof(r.crc));
		err = write_record(n->fd, notes_offset(n, n->end), &r, head, head_len, data, len);
		if (err) {
			n->tail = true;
			cut_tail(n); /* or before the next one */
		} else {
			n->end += notes_footprint(r.len);
		}
	}
	pthread_mutex_unlock(&n->lock);
	return err;
}

uint64_t notes_mark(struct notes *n)
{
	uint64_t end;

	pthread_mutex_lock(&n->lock);
	end = n->end;
	pthread_mutex_unlock(&n->lock);
	return end;
}

bool notes_exist(struct notes *n)
{
	bool exist;

	pthread_mutex_lock(&n->lock);
	exist = n->fd >= 0;
	pthread_mutex_unlock(&n->lock);
	return exist;
}

uint64_t notes_bytes(struct notes *n)
{
	uint64_t bytes;

	pthread_mutex_lock(&n->lock);
	bytes = n->end - n->start;
	pthread_mutex_unlock(&n->lock);
	return bytes;
}

/* ---- drop ---- */

static int drop_all(struct notes *n)
{
	int err = write_head(n->fd, n, n->end, n->end);

	if (err)
		return err;
	n->base = n->start = n->end;
	n->punched = 0;
	n->tail = true;
	return cut_tail(n);
}

static int drop_some(struct notes *n, uint64_t mark)
{
	int err = write_head(n->fd, n, n->base, mark);
	uint64_t from, to;

	if (err)
		return err;
	n->start = mark;
	from = n->punched ? n->punched : PUNCH;
	to = notes_offset(n, mark) & ~(uint64_t)(PUNCH - 1);
	if (to <= from)
		return 0;
	if (fallocate(n->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to - from))
		return errno == EOPNOTSUPP ? 0 : -errno;
	n->punched = to;
	return 0;
}

int notes_drop(struct notes *n, uint64_t mark)
{
	uint64_t more, all;
	int err = 0;

	pthread_mutex_lock(&n->lock);
	more = mark - n->start;
	all = n->end - n->start;
	/* More than all: a mark from before the start. */
	if (more && more <= all)
		err = more == all ? drop_all(n) : drop_some(n, mark);
	pthread_mutex_unlock(&n->lock);
	return err;
}

int notes_clear(struct notes *n)
{
	int err;

	pthread_mutex_lock(&n->lock);
	err = remove_file(n);
	pthread_mutex_unlock(&n->lock);
	return err;
}

int notes_begin(struct notes *n, const uint8_t binding[NOTES_BINDING])
{
	int err = notes_clear(n);

	if (err)
		return err;
	memcpy(n->binding, binding, sizeof(n->binding));
	n->ready = true;
	return 0;
}

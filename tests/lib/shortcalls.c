// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * To be preloaded: half of the reads and writes at a place are done in part only, which POSIX allows
 * and a full or interrupted file system does. What is done is right, and how much is told. LMDB takes
 * a short write for an error, so its file is left alone. SHORTCALLS is a file of three
 * numbers of 8 bytes: how many reads, writes and writes of several buffers were short.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "preloaded.h"

#define DIRECT_UNIT 4096
#define PARTS_MAX 64

enum which { READ, WRITE, WRITE_PARTS };

static _Atomic uint64_t own_counts[3], *counts = own_counts;
static _Atomic uint64_t turn;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("SHORTCALLS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map = fd < 0 ? MAP_FAILED
			   : mmap(NULL, sizeof(own_counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				  0);

	if (map != MAP_FAILED)
		counts = map;
	if (fd >= 0)
		close(fd);
}

static uint64_t any(void)
{
	uint64_t x = atomic_fetch_add(&turn, 1) * UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* How much of it to do. */
static size_t part_of(enum which which, int fd, size_t size)
{
	uint64_t x = any();
	size_t unit;

	if (x % 2 || is_of_lmdb(fd))
		return size;
	unit = fcntl(fd, F_GETFL) & O_DIRECT ? DIRECT_UNIT : 1;
	if (size <= unit)
		return size;
	atomic_fetch_add(&counts[which], 1);
	return unit * (1 + x / 2 % ((size - 1) / unit));
}

EXPORT ssize_t pread64(int fd, void *buf, size_t size, off_t off)
{
	static ssize_t (*next)(int, void *, size_t, off_t);

	if (!next)
		next = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread64");
	return next(fd, buf, part_of(READ, fd, size), off);
}

EXPORT ssize_t pwrite64(int fd, const void *buf, size_t size, off_t off)
{
	static ssize_t (*next)(int, const void *, size_t, off_t);

	if (!next)
		next = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
	return next(fd, buf, part_of(WRITE, fd, size), off);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t off)
{
	static ssize_t (*next)(int, const struct iovec *, int, off_t);
	struct iovec some[PARTS_MAX];
	size_t size = 0, left;
	int n = 0;

	if (!next)
		next = (ssize_t(*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT,
										"pwritev64");
	for (int i = 0; i < count; i++)
		size += parts[i].iov_len;
	left = part_of(WRITE_PARTS, fd, size);
	if (left == size || count > PARTS_MAX)
		return next(fd, parts, count, off);
	for (; left; n++) {
		some[n] = parts[n];
		if (some[n].iov_len > left)
			some[n].iov_len = left;
		left -= some[n].iov_len;
	}
	return next(fd, some, n, off);
}

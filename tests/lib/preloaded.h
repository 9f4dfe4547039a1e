/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is preloaded into a daemon replaces what libc has, for all files but LMDB's. */
#ifndef TESTS_PRELOADED_H
#define TESTS_PRELOADED_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static inline bool is_of_lmdb(int fd)
{
	char link[32], path[4096] = "";

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return readlink(link, path, sizeof(path) - 1) > 0 && strstr(path, "/data.mdb");
}

#endif

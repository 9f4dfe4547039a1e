// SPDX-License-Identifier: GPL-2.0-or-later
#include "directory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 128

static struct {
	char *path;
	int fd;
} hidden[MOST];
static size_t count;

int directory_hidden(const char *path, int fd)
{
	char *copy = count < MOST ? strdup(path) : NULL;

	if (!copy)
		return count < MOST ? -ENOMEM : -ENOSPC;
	hidden[count].path = copy;
	hidden[count++].fd = fd;
	return 0;
}

static int descriptor_of(const char *path)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(hidden[i].path, path))
			return hidden[i].fd;
	return -1;
}

bool directory_is_hidden(const char *path)
{
	return descriptor_of(path) >= 0;
}

int directory_open(const char *path)
{
	int fd = descriptor_of(path);
	char link[32];

	if (fd >= 0 && !(fcntl(fd, F_GETFL) & O_PATH))
		return fcntl(fd, F_DUPFD_CLOEXEC, 0); /* it has a lock that is to stay */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return open(fd >= 0 ? link : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

bool directory_resolve(const char *path, char *resolved)
{
	if (!directory_is_hidden(path))
		return realpath(path, resolved);
	snprintf(resolved, PATH_MAX, "%s", path);
	return true;
}

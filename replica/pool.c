// SPDX-License-Identifier: GPL-2.0-or-later
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lock.h"

int pool_new(uint32_t number, const char *name, const char *dir, struct pool **out)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->number = number;
	p->dirfd = p->watch = -1;
	atomic_store(&p->refs, 1);
	snprintf(p->name, sizeof(p->name), "%s", name);
	snprintf(p->dir, sizeof(p->dir), "%s", dir);
	*out = p;
	return 0;
}

struct pool *pool_ref(struct pool *p)
{
	atomic_fetch_add(&p->refs, 1);
	return p;
}

void pool_unref(struct pool *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	if (p->dirfd >= 0)
		close(p->dirfd);
	free(p);
}

int pool_open(struct pool *p, struct why *why)
{
	int fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0 && errno == ENOTDIR)
		return refuse(why, -ENOTDIR, "%s is not a directory", p->dir);
	if (fd < 0)
		return refuse(why, -errno, "%s: %s", p->dir,
			      errno == ENOENT ? "no such directory" : strerror(errno));
	err = lock_exclusive(fd, p->dir, why);
	if (err) {
		close(fd);
		return err;
	}
	p->dirfd = fd;
	p->problem[0] = '\0';
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A directory of images: DISKDIR itself (the pool with no name, number 0) or a
 * second one. The descriptor is opened before the mount and kept, because the
 * mount may hide the path; everything in it is reached from there.
 */
#ifndef TANDEMFS_POOL_H
#define TANDEMFS_POOL_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "why.h"

#define POOL_NAME_MAX 200

struct pool {
	uint32_t number; /* never given to another pool */
	char name[POOL_NAME_MAX + 1];
	char dir[PATH_MAX];
	atomic_uint refs;
	int dirfd; /* -1: not there; locked against other daemons when it is */
	int watch; /* inotify's, -1 when none */
	bool recorded; /* by AddPool: comes back after a restart */
	bool listed;
	char problem[200]; /* why it is not there, for status */
	_Atomic uint64_t changes;
};

int pool_new(uint32_t number, const char *name, const char *dir, struct pool **out);
struct pool *pool_ref(struct pool *p);
void pool_unref(struct pool *p);
/* Opens and locks the directory. */
int pool_open(struct pool *p, struct why *why);

#endif

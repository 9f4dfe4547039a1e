/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A directory of images: DISKDIR itself (the pool with no name, number 0) or a
 * second one. The descriptor is opened before the mount and kept, because the
 * mount may hide the path; everything in it is reached from there.
 */
#ifndef TANDEMFS_POOL_H
#define TANDEMFS_POOL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "parents.h"
#include "pool_marker.h"
#include "why.h"

#define POOL_NAME_MAX 200

/*
 * What a status and the mount show. Space and attributes are as they were
 * sampled last, so that a stuck store holds up nobody who only looks.
 */
struct pool_status {
	bool ready;
	char problem[200];      /* why it is not there, "" when it is */
	struct stat attributes; /* of the directory; zero when not known */
	bool space_known;
	struct statvfs space; /* of its file system, when known */
	uint64_t size, free;  /* of its file system, in bytes; free for everybody */
};

struct pool {
	uint32_t number; /* never given to another pool */
	char name[POOL_NAME_MAX + 1];
	char dir[PATH_MAX];
	struct pool_id id; /* when it is known, no other directory is the pool */
	atomic_uint refs;
	atomic_uint remembered; /* without a reference: what it is stays, its directory is closed */
	_Atomic int dirfd;      /* -1: not there; locked against other daemons when it is */
	int watch;              /* inotify's, -1 when none */
	struct parents parents; /* of images in it */
	bool recorded;          /* by AddPool: comes back after a restart */
	bool listed;
	_Atomic uint64_t changes;
	pthread_mutex_t lock;
	struct pool_status status; /* under lock */
};

int pool_new(uint32_t number, const char *name, const char *dir, struct pool **out);
struct pool *pool_ref(struct pool *p);
void pool_unref(struct pool *p);
/* Its name and number can be read until pool_forget, also without a reference. */
void pool_remember(struct pool *p);
void pool_forget(struct pool *p);
/* Opens and locks the directory. When it can't, the pool's problem says why, too. */
int pool_open(struct pool *p, struct why *why);
void pool_close(struct pool *p, const char *problem);
/* -ESTALE, and why: what is at its path is not the pool. */
int pool_is_another(const struct pool *p, struct why *why);
/* Asks the store now, and may wait for it: after the directory was changed, and now and then. */
void pool_sample(struct pool *p);
void pool_status(struct pool *p, struct pool_status *out);

#endif

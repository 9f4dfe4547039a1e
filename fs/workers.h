/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The threads that read requests from /dev/fuse and serve them.
 *
 * They read one descriptor and wait in the kernel, a few at a time; when none is
 * left waiting, an idle one joins, or another is started, up to a limit. Requests for a disk go through its gate (see gate.h): those
 * over its limit are parked with their buffer and without a thread.
 *
 * A request is read so that the payload of a write lies on a page boundary:
 * it goes to the backing file with O_DIRECT from where it is. The answer to a
 * read is put in the same place.
 */
#ifndef TANDEMFS_WORKERS_H
#define TANDEMFS_WORKERS_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>

#include "disk.h"
#include "gate.h"

struct handle;
struct mount;

#define WORKERS_DEFAULT 128
/* Requests of one disk that may occupy a thread; the rest of the threads serve others. */
#define WORKERS_PER_DISK 32

struct workers {
	struct mount *mount;
	unsigned limit;
	pthread_mutex_t lock;
	pthread_cond_t gone;
	pthread_t *threads; /* of those alive */
	unsigned count, waiting;
	_Atomic bool stop;
	_Atomic unsigned in_jobs; /* threads that serve a disk now */
	struct idle_worker *idle; /* under lock, as what follows */
	struct request_buffer *spare;
	unsigned spares;
};

/* What libfuse does not tell of a request. */
struct request_facts {
	uint64_t unique; /* the same when it is sent again */
	uint64_t poll;   /* see kernel_poll_handle() */
	bool resent;     /* a daemon before this one has read it, and perhaps begun it */
};

/* A disk's request: what to do with it when it may run. */
struct disk_job {
	struct gate_item gate; /* first */
	struct request_buffer *buffer;
	fuse_req_t req;
	struct mount *mount;
	struct disk *disk;
	/* Does it and replies. `payload` is page-aligned room for MOUNT_MAX_WRITE bytes. */
	void (*run)(struct disk_job *job, char *payload);
	/* Arguments, as the kind of request has them. */
	uint64_t off, len;
	unsigned io;
	int how;
	uint64_t unique, ino;
	bool close_after;      /* opened only for this request */
	struct handle *handle; /* of the file, where the disk is not enough */
	struct fuse_file_info fi;
};

int workers_start(struct workers *w, struct mount *m, unsigned limit);
/* Requests that were read are finished; then the threads end. */
void workers_stop(struct workers *w);

/*
 * In a handler: the job of the request being handled, zeroed. It lives in the
 * request's buffer. Then workers_submit runs it, now or later, in this thread
 * or another; nothing of the request may be touched afterwards.
 */
struct disk_job *workers_job(struct mount *m, fuse_req_t req, struct disk *d);
void workers_submit(struct disk_job *job);
/* In a handler, and before workers_submit(). */
struct request_facts workers_request(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One mount: what all of fs/ shares, and its start and end. */
#ifndef TANDEMFS_MOUNT_H
#define TANDEMFS_MOUNT_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "ctl.h"
#include "handles.h"
#include "held.h"
#include "kernel.h"
#include "notify.h"
#include "options.h"
#include "tandem.h"
#include "workers.h"

/* The largest request we ask the kernel for. */
#define MOUNT_MAX_WRITE (1u << 20)

struct mount {
	struct tandem *tandem;
	struct ctl *ctl;
	struct fuse_session *session;
	char mount_point[PATH_MAX]; /* absolute */
	uid_t owner;
	gid_t group;
	struct timespec mounted; /* time of the files that we make up */

	struct kernel kernel; /* known once `ready` */
	char kernel_has[128], kernel_lacks[256], protocol[32], io_flusher[8];
	struct capability capabilities[10];
	struct held *mounter; /* mounts and unmounts for us; NULL: we do */

	struct session *memory; /* what another daemon needs to go on with this mount */
	int memory_fd;
	struct handles handles;
	struct notify notify;
	struct workers workers;

	/* Told through wake_fd to the main thread. */
	_Atomic bool ready; /* the kernel's INIT was answered */
	_Atomic bool ended; /* the kernel ended the session */
	int wake_fd;
};

/* Could it be mounted there? Changes nothing. resolved: PATH_MAX bytes. */
int mount_check(const char *given, char *resolved, struct why *why);
/* Mounts, without serving: for who serves. *fd is /dev/fuse. */
int mount_make(const struct options *o, const char *disk_dir, const char *mount_point, int *fd,
	       struct why *why);
/* What is mounted there out of the tree of files; who has files open there can go on. */
void mount_remove(const char *mount_point);
/* Of what is mounted there last, by the table of mounts; -1: nothing is, or it cannot be told. */
int mount_id_at(const char *path);
/*
 * Mounts and serves. On failure nothing is left mounted and why says what is wrong. The holder of h
 * does it for who is confined, and unmounts; h stays the caller's.
 */
int mount_start(const struct options *o, struct tandem *t, struct ctl *c, struct held *h,
		struct mount **out, struct why *why);
/* The same with the mount of a daemon before this one: takes over both descriptors of h. */
int mount_take_over(const struct options *o, struct tandem *t, struct ctl *c, struct held *h,
		    struct mount **out, struct why *why);
/* Another daemon goes on: what has no answer gets none. Instead of mount_detach() and mount_stop(). */
void mount_hand_over(struct mount *m);
/* Out of the tree of files; who has files open there can go on until mount_stop. */
void mount_detach(struct mount *m);
/* Finishes the requests in progress, ends the threads. After that no disk is used. */
void mount_stop(struct mount *m);
void mount_free(struct mount *m);

/* Another daemon goes on if this one dies; for `capabilities`. */
void mount_set_restart(struct mount *m, bool yes);

/* The reply to OPEN or CREATE that this thread sends next is for a disk. */
void mount_patch_next_open(void);
/* The request that this thread handles next is INIT. */
void mount_patch_init(struct mount *m, const void *request, size_t len);

/* ops.c */
extern const struct fuse_lowlevel_ops mount_ops;

#endif

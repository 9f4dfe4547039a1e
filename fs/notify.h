/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Those who wait for something to happen: poll() on a text file, a read of
 * events_pipe or of a wait/, a command that said `wait`. One thread answers them. It is the only one that sends
 * notifications, because the kernel may send requests for one and a worker
 * must be free to take them.
 */
#ifndef TANDEMFS_NOTIFY_H
#define TANDEMFS_NOTIFY_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>

struct mount;
struct handle;
struct command_record;
struct waiter;

struct notify {
	struct mount *mount;
	pthread_mutex_t lock;
	struct handle *polled;
	struct waiter *waiters;
	pthread_t thread;
	bool running;
	_Atomic bool stop;
	int wake_fd;
};

int notify_start(struct notify *n, struct mount *m);
/* Whoever still waits is answered with ENODEV. */
void notify_stop(struct notify *n);
/* The same without an answer: they wait for another daemon. */
void notify_hand_over(struct notify *n);
/* Something changed. Any thread, never blocks. */
void notify_poke(void *n);

/* Wakes the handle's poll() once node_version is not what it has seen. Takes over ph. */
void notify_poll(struct notify *n, struct handle *h, struct fuse_pollhandle *ph);
/*
 * Answers the read: of events_pipe, once there is an event that h has not given;
 * of a NODE_WAIT, once it can be rendered, or never will.
 */
void notify_read(struct notify *n, struct handle *h, fuse_req_t req, size_t size);
/*
 * Answers the write at `off`, of a command that was accepted, once what it waits for can be
 * rendered. ETIME: it cannot yet; ECANCELED: it never will. Closes that node.
 */
void notify_write(struct notify *n, struct handle *h, fuse_req_t req, size_t size, off_t off,
		  struct command_record *c);
/* The file is being closed. */
void notify_forget(struct notify *n, struct handle *h);

#endif

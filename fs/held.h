/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's end of its holder: what they say to each other, by a socket of packets. Each is
 * one byte that says what it is, text, and descriptors.
 */
#ifndef TANDEMFS_HELD_H
#define TANDEMFS_HELD_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum held_word {
	/*
	 * Of a daemon; the holder gives the next one the same. KEEP: /dev/fuse and the session's
	 * memory; as text DISKDIR and MOUNTPOINT, each with a NUL, of which the holder believes nothing:
	 * it says its own. It is the last. DIRECTORY: first DISKDIR, with its lock, which so is never
	 * free while there is a mount; but not the lock of the state: that tells when the kernel has
	 * done with the last daemon's requests (rings.h).
	 */
	HELD_DIRECTORY =
		'D', /* a path and its descriptor: of DISKDIR, the state, and what the mount hides */
	HELD_KEEP = 'K',
	/* Of the daemon. */
	HELD_READY = 'R',
	HELD_FAILED = 'F',   /* and why; it does not start, and ends */
	HELD_STOPPING = 'S', /* the mount ends with it */
	HELD_OVER = 'O',     /* as it was asked: whoever comes next goes on */
	/*
	 * Of a daemon that is confined (confinement.h), and answered with the same word. MOUNT: with
	 * /dev/fuse, or with why not; once. UNMOUNT: when it is done, or there is nothing to do.
	 */
	HELD_MOUNT = 'M',
	HELD_UNMOUNT = 'U',
	/* Of the holder. */
	HELD_HAND_OVER = 'H',
	HELD_STOP = 'T', /* for each SIGTERM or SIGINT: those who signal all of us mean one stop */
};

#define HELD_FDS 2
#define HELD_TEXT (2 * PATH_MAX + 16)

/* The number of the socket, in the environment of a daemon that takes a mount over. */
#define HELD_ENVIRONMENT "TANDEMFS_HOLDER"

/* 0 or -errno; text may have NULs. */
int held_send(int sock, enum held_word word, const char *text, size_t len, const int *fds,
	      int count);
/* To who may not listen any more: -EAGAIN instead of a wait for him. fd: -1 for none. */
int held_offer(int sock, enum held_word word, const char *text, int fd);
/*
 * The next one, -EAGAIN if there is none and wait was not said, -EPIPE if nobody is there. Text
 * gets a NUL more. fds: -1 where there is none; close-on-exec.
 */
int held_receive(int sock, bool wait, enum held_word *word, char text[HELD_TEXT + 1],
		 int fds[HELD_FDS]);
/* Those that are left: who keeps one puts -1 in its place. */
void held_close(int fds[HELD_FDS]);

struct held {
	int sock; /* -1: there is no holder */
	/* Of the daemon before, which this one follows; -1: it is the first. */
	int fuse_fd, memory_fd;
	unsigned stops; /* how often it said STOP */
	bool hand_over; /* it said so */
};

#define HELD_NONE                                          \
	(struct held)                                      \
	{                                                  \
		.sock = -1, .fuse_fd = -1, .memory_fd = -1 \
	}

/*
 * What the holder has said meanwhile. -EAGAIN: there is no more; -EPIPE: it has ended. By the main
 * thread alone, as the next one.
 */
int held_hear(struct held *h);
/*
 * Says the word and waits for the answer: its text, and fd, -1 if it has none. -ETIMEDOUT, -EPIPE:
 * there is none.
 */
int held_ask(struct held *h, enum held_word word, unsigned limit_ms, char answer[HELD_TEXT + 1],
	     int *fd);

/*
 * If a holder has started this program for a mount that there is: 0 with what there is to
 * take over. Directories that are hidden are known from here on (directories.h).
 */
int held_begin(struct held *h);

#endif

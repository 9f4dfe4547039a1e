/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the holder share; nobody else includes it. */
#ifndef TANDEMFS_HOLDER_INNER_H
#define TANDEMFS_HOLDER_INNER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "holder.h"

#define HOLDER_DIRECTORIES 128
#define HOLDER_REASON 512

struct holder {
	char program[PATH_MAX];  /* that the next daemon is */
	char previous[PATH_MAX]; /* while another one is tried; else empty */
	/* The file that served last: its path may be that of another one by now. -1: unknown. */
	int served_fd;
	bool went_back; /* to that file */
	char **argv;
	bool foreground;
	int signal_fd;
	int listen_fd; /* for questions; -1: nobody can ask */
	int asker;     /* who waits for the new program; -1: nobody */

	/* What is kept. */
	bool kept;
	int fuse_fd, memory_fd;
	char disk_dir[PATH_MAX], mount_point[PATH_MAX];
	struct {
		char *path;
		int fd;
	} directories[HOLDER_DIRECTORIES];
	size_t directory_count;

	/* The daemon: 0 is none. */
	pid_t daemon;
	int sock;  /* to it */
	bool deaf; /* it has closed its end of that */
	bool dead; /* its end was seen; what it has started may live still */
	int wait_status;
	bool ready, stopping, over;
	bool served; /* one of them was ready */
	uint64_t ready_ns;

	bool asked_to_stop; /* tell each daemon, until one has stopped */
	bool told_to_stop;  /* this one was: a second word would not let it wait for guests */
	bool waits;         /* for next_ns, to start one */
	uint64_t next_ns;
	unsigned delay_ms, restarts;
	char last_end[64];          /* how the last one ended */
	char reason[HOLDER_REASON]; /* why it did not start */
};

/* holder_ask.c: questions */
void holder_listen(struct holder *h);
void holder_deaf(struct holder *h);
/* Somebody asks: an answer, or what comes of it. */
void holder_hear(struct holder *h);
/* To who waits for the new program; does nothing when nobody does. */
void holder_answer(struct holder *h, bool good, const char *text);

/* holder.c: the new program is h->program; the daemon hands over. */
void holder_exchange(struct holder *h);

#endif

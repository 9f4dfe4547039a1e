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

struct candidate {
	char path[PATH_MAX]; /* empty: none */
	/* The file, once it served: its path may be that of another one by now. -1: unknown. */
	int fd;
	bool by_fd; /* that file is what is started */
};

struct holder {
	struct candidate program; /* that the next daemon is */
	/* The one before it, until it has served for a while: where one fails, the other is next. */
	struct candidate other;
	bool tried; /* a daemon of h->program was started */
	bool went_back;
	int started; /* the file of the daemon that was started last, until that serves; -1: none */
	char **argv;
	const struct options *options;
	int ruleset; /* that each daemon is confined by; -1: none is */
	int signal_fd;
	int listen_fd; /* for questions; -1: nobody can ask */
	int asker;     /* who waits for the new program; -1: nobody */

	/* Of the command line, before there was a daemon; empty: there is no such directory. */
	char disk_dir[PATH_MAX], mount_point[PATH_MAX];

	bool mounted; /* by us, and not unmounted yet */
	int mount_id; /* of that */

	/* What is kept. */
	bool kept;
	int fuse_fd, memory_fd;
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
	bool asked_over; /* it was told to hand over */
	bool served;     /* one of them was ready */
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

/* holder_words.c: what the daemon has said, a part of it where it is much. */
void holder_hear_daemon(struct holder *h);
void holder_tell_to_stop(struct holder *h);

/* holder.c: what we have mounted, if it is there still. */
void holder_unmount(struct holder *h);
/* What is started next, from now on. */
void holder_take_program(struct holder *h, const char *path);
/* The daemon hands over to it. */
void holder_exchange(struct holder *h);

#endif

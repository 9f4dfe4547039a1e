/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All that another daemon has to know of this one to go on with its mount: what was
 * agreed with the kernel, the open files, the commands under way. It lies in memory
 * of its own (memfd), which the holder keeps as long as the mount: so it survives a daemon,
 * and needs no file. Each part is at every moment either whole or not there.
 *
 * What is here is read by other versions of the program. Whoever changes its layout
 * changes SESSION_VERSION, and such a program does not take over the other's mount.
 */
#ifndef TANDEMFS_SESSION_H
#define TANDEMFS_SESSION_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "ctl.h"
#include "why.h"

#define SESSION_VERSION 1

#define SESSION_OPENS (1u << 20)
#define SESSION_COMMANDS 1024
#define SESSION_RESULT 3072

/* An open file, by its place in the table of handles; see handles.h. */
struct open_record {
	_Atomic uint32_t kind; /* enum handle_kind; HANDLE_FREE: none of the rest means anything */
	uint32_t serial;       /* of the handle's number; another one for each open */
	uint64_t ino, unique;  /* unique: of the request that opened it */
	uint32_t flags;        /* of open(2) */
	uint32_t commanded;    /* what it reads is the result of a command */
	uint64_t command;      /* its unique */
	uint64_t base;         /* file offset at which the text begins */
	/* Of what was rendered: its length and a hash; length 0: nothing was. */
	uint64_t text_len, text_hash;
	/* events_pipe: the last event given, and the one before the read `seen_by` */
	uint64_t seen, seen_before, seen_by;
	uint64_t poll; /* what the kernel waits to be told with; 0: nothing */
	uint64_t generation, time_ms, size, allocated; /* of a HANDLE_MOMENT */
};

enum command_state { COMMAND_NONE, COMMAND_BEGUN, COMMAND_DONE, COMMAND_ANSWERED };

/* A write of a control file. */
struct command_record {
	_Atomic uint32_t state; /* enum command_state */
	int32_t err;            /* its outcome, 0 or -errno */
	uint64_t unique;
	uint64_t waits, deadline_ns; /* it said `wait`, and until when (CLOCK_MONOTONIC) */
	uint32_t wait_row, wait_object;
	uint32_t len; /* of the result; UINT32_MAX: it did not fit */
	char result[SESSION_RESULT];
};

struct session {
	uint32_t version, size;
	_Atomic uint32_t init_len;
	uint8_t init[256]; /* the kernel's INIT, as it was read */
	char disk_dir[PATH_MAX], state_dir[PATH_MAX], mount_point[PATH_MAX];
	struct timespec mounted;
	uint32_t owner, group;
	_Atomic uint32_t fresh;           /* see ino_fresh() */
	_Atomic uint32_t largest_request; /* bytes of payload that came up to now */
	_Atomic uint32_t opens;           /* of those below, that were ever used */
	_Alignas(64) char ctl[CTL_MEMORY];
	struct command_record commands[SESSION_COMMANDS];
	struct open_record open[SESSION_OPENS];
};

/* New, all zeros but for version and size. *fd is its memory, close-on-exec. */
int session_new(struct session **out, int *fd);
/* What another daemon has left. -EPROTO: by a program that keeps it in another way. */
int session_take(int fd, struct session **out, struct why *why);
/* May be NULL. */
void session_free(struct session *s);

/* ---- commands ---- */

/* What became of a command that is sent again; NULL: nobody began it. */
struct command_record *session_command(struct session *s, uint64_t unique);
/* Before it is done. NULL: there are too many under way. */
struct command_record *session_command_begin(struct session *s, uint64_t unique);
/* Before it is answered. */
void session_command_done(struct command_record *c, int err, const char *result, size_t len,
			  const struct wait_for *wait, uint64_t deadline_ns);
/* The kernel has the answer: only its result may be asked for now. c may be NULL. */
void session_command_answered(struct command_record *c);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Other programs, started from a process with many threads. They get the
 * descriptors they are given and no others, a session of their own (so that ^C
 * is not for them), an almost empty environment, and SIGKILL when the thread
 * that started them ends, however it ends. They are confined (confine.h).
 */
#ifndef TANDEMFS_PROGRAM_H
#define TANDEMFS_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROGRAM_PATH 256
#define PROGRAM_FDS 2
#define PROGRAM_TAIL 1024

/*
 * Looks in the absolute directories of PATH, then /usr/bin, /usr/sbin and
 * /usr/local/bin. -ENOENT.
 */
int program_find(const char *name, char path[PROGRAM_PATH]);

struct program {
	const char *path;
	const char *const *argv; /* NULL at the end */
	int fds[PROGRAM_FDS];    /* become 3 and up; they stay the caller's */
	size_t fd_count;
	bool listens; /* descriptor 3 is a socket, passed as by systemd */
};

/*
 * What it says (stdout and stderr) comes out of *output, which gets full if
 * nobody reads it: then the rest is lost, and the program not held up.
 */
int program_start(const struct program *p, pid_t *pid, int *output);

/*
 * What was closed before is closed. A program has all descriptors of ours for the instant of its
 * start, so that others can still see as open what we have closed meanwhile. Gives up after seconds.
 */
void program_await_starts(void);

/*
 * Reads until nobody can write any more. tail: the last of it, as a string;
 * what it had stays in front. -ETIMEDOUT after so many milliseconds (0: never).
 */
int program_read(int output, char tail[PROGRAM_TAIL], unsigned limit_ms);

/*
 * Starts it and waits for its end. Its exit status, 128 and up when a signal
 * ended it, or -errno; -ETIMEDOUT: it was killed.
 */
int program_run(const struct program *p, char tail[PROGRAM_TAIL], unsigned limit_ms);

#endif

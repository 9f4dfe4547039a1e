// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vfork(): a fork() would copy the page tables of the whole process, and hold
 * up writes of its other threads meanwhile. Until exec the child runs in our
 * memory with this thread stopped, and makes system calls only. posix_spawn()
 * does the same, but can neither tell the child its own process id
 * (LISTEN_PID) nor set what it gets when we die.
 */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "confine.h"

#define FIRST_FD 3
/* Descriptors are moved above what the child's will be, so that none is overwritten. */
#define SAFE_FD 16

/* A start that takes longer is stuck, and may be for ever. */
#define START_SECONDS 2

/* Read: until the child has let go of what is not its own. Who waits for that goes first. */
static pthread_rwlock_t starting = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

static bool found_in(const char *dir, size_t len, const char *name, char path[PROGRAM_PATH])
{
	char at[PROGRAM_PATH];
	int n = snprintf(at, sizeof(at), "%.*s/%s", (int)len, dir, name);

	if (dir[0] != '/' || n < 0 || (size_t)n >= sizeof(at) || access(at, X_OK))
		return false;
	memcpy(path, at, sizeof(at));
	return true;
}

int program_find(const char *name, char path[PROGRAM_PATH])
{
	static const char usual[] = "/usr/bin:/usr/sbin:/usr/local/bin";
	const char *lists[] = { getenv("PATH"), usual };

	for (size_t i = 0; i < 2; i++)
		for (const char *dir = lists[i]; dir && *dir;) {
			size_t len = strcspn(dir, ":");

			if (found_in(dir, len, name, path))
				return 0;
			dir += len;
			dir += *dir == ':';
		}
	return -ENOENT;
}

/* All that the child needs, made before it is there. */
struct child {
	const struct program *program;
	int fds[PROGRAM_FDS]; /* above SAFE_FD, as the others */
	int output, null, failed;
	int ruleset; /* -1: this kernel has none */
	pid_t parent;
	char listen_pid[32];
	char *env[6];
};

static void write_number(char *at, pid_t pid)
{
	char digits[16];
	size_t n = 0;

	for (; pid; pid /= 10)
		digits[n++] = '0' + pid % 10;
	while (n)
		*at++ = digits[--n];
	*at = '\0';
}

static void usual_signals(void)
{
	struct sigaction usual = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		sigaction(s, &usual, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child. Returns only when something went wrong. *way: for an errno, closed by exec. */
static int become(struct child *c, int *way)
{
	size_t count = c->program->fd_count;
	int err;

	usual_signals();
	setsid();
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != c->parent)
		return ESRCH;
	if (dup2(c->null, 0) < 0 || dup2(c->output, 1) < 0 || dup2(c->output, 2) < 0)
		return errno;
	for (size_t i = 0; i < count; i++)
		if (dup2(c->fds[i], FIRST_FD + i) < 0)
			return errno;
	if (dup3(c->failed, FIRST_FD + count, O_CLOEXEC) < 0)
		return errno;
	*way = FIRST_FD + count;
	err = c->ruleset >= 0 ? confine_self(c->ruleset) : 0;
	if (err)
		return err;
	if (close_range(*way + 1, ~0u, 0))
		return errno;
	write_number(c->listen_pid + strlen("LISTEN_PID="), getpid());
	execve(c->program->path, (char *const *)c->program->argv, c->env);
	return errno;
}

/* A frame of its own: what it changes there is not the parent's. */
static _Noreturn __attribute__((noinline)) void child_main(struct child *c)
{
	int way = c->failed;
	int err = become(c, &way);

	while (write(way, &err, sizeof(err)) < 0 && errno == EINTR)
		;
	_exit(127);
}

static pid_t start_child(struct child *c)
{
	pid_t pid = vfork();

	if (!pid)
		child_main(c);
	return pid < 0 ? -errno : pid;
}

static void fill_environment(struct child *c)
{
	static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	static char language[] = "LC_ALL=C", listen_fds[] = "LISTEN_FDS=1";
	size_t n = 0;

	strcpy(c->listen_pid, "LISTEN_PID=");
	c->env[n++] = path;
	c->env[n++] = language;
	if (c->program->listens) {
		c->env[n++] = listen_fds;
		c->env[n++] = c->listen_pid;
	}
	c->env[n] = NULL;
}

/* With no signal in between: a handler must not run in the child. */
static int start_quietly(struct child *c, int came, pid_t *pid)
{
	sigset_t all, before;
	int failed = 0;
	ssize_t n;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_rwlock_rdlock(&starting);
	*pid = start_child(c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (*pid < 0) {
		pthread_rwlock_unlock(&starting);
		return *pid;
	}
	close(c->failed);
	c->failed = -1;
	do
		n = read(came, &failed, sizeof(failed));
	while (n < 0 && errno == EINTR);
	if (n != sizeof(failed))
		failed = 0; /* it runs */
	while (failed && waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
		;
	pthread_rwlock_unlock(&starting);
	return -failed;
}

static void close_all(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* A pipe whose ends are above SAFE_FD and closed by exec. */
static int high_pipe(int ends[2])
{
	int low[2], err = 0;

	if (pipe2(low, O_CLOEXEC))
		return -errno;
	for (size_t i = 0; i < 2; i++) {
		ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, SAFE_FD);
		if (ends[i] < 0)
			err = -errno;
		close(low[i]);
	}
	return err;
}

static int prepare_fds(struct child *c, int output[2], int failed[2])
{
	int low, err = high_pipe(output);

	if (!err)
		err = high_pipe(failed);
	if (err)
		return err;
	c->output = output[1];
	c->failed = failed[1];
	/* A full pipe must not stop the program. */
	if (fcntl(output[1], F_SETFL, O_NONBLOCK))
		return -errno;
	low = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (low < 0)
		return -errno;
	c->null = fcntl(low, F_DUPFD_CLOEXEC, SAFE_FD);
	close(low);
	for (size_t i = 0; i < c->program->fd_count && c->null >= 0; i++) {
		c->fds[i] = fcntl(c->program->fds[i], F_DUPFD_CLOEXEC, SAFE_FD);
		if (c->fds[i] < 0)
			return -errno;
	}
	return c->null < 0 ? -errno : 0;
}

static int prepare_confinement(struct child *c)
{
	int low = confine_make(c->program->path, c->program->fds, c->program->fd_count);

	if (low < 0)
		return low == -ENOSYS ? 0 : low;
	c->ruleset = fcntl(low, F_DUPFD_CLOEXEC, SAFE_FD);
	close(low);
	return c->ruleset < 0 ? -errno : 0;
}

int program_start(const struct program *p, pid_t *pid, int *output)
{
	struct child c = { .program = p,
			   .null = -1,
			   .failed = -1,
			   .ruleset = -1,
			   .parent = getpid() };
	int out[2] = { -1, -1 }, failed[2] = { -1, -1 };
	pid_t started = 0;
	int err;

	for (size_t i = 0; i < PROGRAM_FDS; i++)
		c.fds[i] = -1;
	fill_environment(&c);
	err = prepare_fds(&c, out, failed);
	if (!err)
		err = prepare_confinement(&c);
	if (!err) {
		err = start_quietly(&c, failed[0], &started);
		failed[1] = c.failed;
	}
	close_all(&c.null, 1);
	close_all(&c.ruleset, 1);
	close_all(c.fds, PROGRAM_FDS);
	close_all(failed, 2);
	close_all(&out[1], 1);
	if (err) {
		close_all(&out[0], 1);
		return err;
	}
	*pid = started;
	*output = out[0];
	return 0;
}

void program_await_starts(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += START_SECONDS;
	if (!pthread_rwlock_timedwrlock(&starting, &until))
		pthread_rwlock_unlock(&starting);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Keeps the newest. */
static void append(char tail[PROGRAM_TAIL], const char *text, size_t len)
{
	size_t have = strlen(tail), room = PROGRAM_TAIL - 1;

	if (len > room) {
		text += len - room;
		len = room;
	}
	if (have + len > room) {
		size_t drop = have + len - room;

		memmove(tail, tail + drop, have - drop);
		have -= drop;
	}
	memcpy(tail + have, text, len);
	tail[have + len] = '\0';
}

int program_read(int output, char tail[PROGRAM_TAIL], unsigned limit_ms)
{
	int64_t end = now_ms() + limit_ms;
	struct pollfd p = { .fd = output, .events = POLLIN };
	char text[512];

	for (;;) {
		int64_t left = limit_ms ? end - now_ms() : -1;
		int ready;
		ssize_t n;

		if (limit_ms && left <= 0)
			return -ETIMEDOUT;
		ready = poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left);
		if (ready <= 0)
			continue;
		n = read(output, text, sizeof(text));
		if (!n)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		for (ssize_t i = 0; i < n; i++)
			if (!text[i])
				text[i] = ' ';
		if (n > 0)
			append(tail, text, n);
	}
}

int program_run(const struct program *p, char tail[PROGRAM_TAIL], unsigned limit_ms)
{
	int output, err, status;
	pid_t pid, ended;

	tail[0] = '\0';
	err = program_start(p, &pid, &output);
	if (err)
		return err;
	err = program_read(output, tail, limit_ms);
	if (err)
		kill(pid, SIGKILL);
	close(output);
	do
		ended = waitpid(pid, &status, 0);
	while (ended < 0 && errno == EINTR);
	if (err)
		return err;
	if (ended < 0)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "confine.h"
#include "unit.h"

static char tail[PROGRAM_TAIL];

static int shell(const char *script, int fd, unsigned limit_ms)
{
	const char *const argv[] = { "sh", "-c", script, NULL };
	struct program p = { .path = "/bin/sh", .argv = argv, .fds = { fd }, .fd_count = fd >= 0 };

	return program_run(&p, tail, limit_ms);
}

START_TEST(found)
{
	char path[PROGRAM_PATH] = "as it was", dir[512];

	ck_assert_int_eq(program_find("no such program", path), -ENOENT);
	ck_assert_str_eq(path, "as it was");
	ck_assert_int_eq(program_find("env", path), 0);
	ck_assert(path[0] == '/' && !strcmp(path + strlen(path) - 4, "/env"));
	/* Not here, not where it is relative, and not what cannot be run. */
	snprintf(dir, sizeof(dir), "%s", unit_dir());
	ck_assert_int_eq(chdir(dir), 0);
	close(open("mine", O_CREAT | O_WRONLY, 0755));
	setenv("PATH", "::.:nowhere", 1);
	ck_assert_int_eq(program_find("mine", path), -ENOENT);
	ck_assert_int_eq(program_find("env", path), 0); /* where it usually is */
	setenv("PATH", dir, 1);
	ck_assert_int_eq(program_find("mine", path), 0);
	ck_assert_int_eq(chmod("mine", 0644), 0);
	ck_assert_int_eq(program_find("mine", path), -ENOENT);
	unsetenv("PATH");
	ck_assert_int_eq(program_find("env", path), 0);
}
END_TEST

START_TEST(results)
{
	ck_assert_int_eq(shell("exit 0", -1, 0), 0);
	ck_assert_int_eq(shell("exit 7", -1, 0), 7);
	ck_assert_int_eq(shell("kill -SEGV $$", -1, 0), 128 + SIGSEGV);
	ck_assert_int_eq(shell("echo one; echo two >&2; printf 'a\\0b'", -1, 0), 0);
	ck_assert_str_eq(tail, "one\ntwo\na b");
	ck_assert_int_eq(shell("while :; do :; done", -1, 200), -ETIMEDOUT);
	/* Of much, the end; and nobody is held up. */
	ck_assert_int_eq(shell("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; "
			       "echo the end",
			       -1, 20000),
			 0);
	ck_assert_uint_lt(strlen(tail), PROGRAM_TAIL);
	ck_assert_str_eq(tail + strlen(tail) - 8, "the end\n");
}
END_TEST

START_TEST(not_started)
{
	const char *const argv[] = { "x", NULL };
	struct program p = { .path = "/nowhere/x", .argv = argv };
	int output = -5;
	pid_t pid = -5;

	ck_assert_int_eq(program_start(&p, &pid, &output), -ENOENT);
	p.path = "/etc/passwd";
	ck_assert_int_eq(program_start(&p, &pid, &output), -EACCES);
	p.path = "/bin/true";
	p.fds[0] = 9999;
	p.fd_count = 1;
	ck_assert_int_eq(program_start(&p, &pid, &output), -EBADF);
	ck_assert(pid == -5 && output == -5);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
}
END_TEST

/* It has what it was given as 3, nothing else of ours, and none of our signals. */
START_TEST(surroundings)
{
	int fd = open("/etc/passwd", O_RDONLY), more = open("/etc/group", O_RDONLY);
	sigset_t all;

	ck_assert_int_ge(more, 0);
	setenv("SECRET", "1", 1);
	signal(SIGUSR1, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	ck_assert_int_eq(shell("ls /proc/$$/fd; readlink /proc/$$/fd/3", fd, 0), 0);
	ck_assert_str_eq(tail, "0\n1\n2\n3\n/etc/passwd\n");
	ck_assert_int_eq(shell("exec grep -E '^Sig(Blk|Ign)' /proc/self/status", -1, 0), 0);
	ck_assert_str_eq(tail, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
	ck_assert_int_eq(shell("echo $SECRET$LISTEN_FDS; cut -d' ' -f5,6 /proc/$$/stat; echo $$",
			       -1, 0),
			 0);
	/* A session of its own: group and session are the process. */
	{
		int group, session, pid;

		ck_assert_int_eq(sscanf(tail, " %d %d %d", &group, &session, &pid), 3);
		ck_assert(group == pid && session == pid);
	}
}
END_TEST

/* Ours and its own may have the same numbers. */
START_TEST(descriptors_cross)
{
	const char *const argv[] = {
		"sh", "-c", "readlink /proc/$$/fd/3 /proc/$$/fd/4; echo $LISTEN_FDS $LISTEN_PID $$",
		NULL
	};
	int a = open("/etc/passwd", O_RDONLY), b = open("/etc/group", O_RDONLY);
	struct program p = { .path = "/bin/sh", .argv = argv, .fd_count = 2, .listens = true };
	int fds, listen_pid, pid;
	char first[64], second[64];

	dup2(a, 34);
	dup2(b, 33);
	dup2(34, 4);
	dup2(33, 3);
	p.fds[0] = 4;
	p.fds[1] = 3;
	ck_assert_int_eq(program_run(&p, tail, 0), 0);
	ck_assert_int_eq(sscanf(tail, "%63s %63s %d %d %d", first, second, &fds, &listen_pid, &pid),
			 5);
	ck_assert_str_eq(first, "/etc/passwd");
	ck_assert_str_eq(second, "/etc/group");
	ck_assert(fds == 1 && listen_pid == pid);
}
END_TEST

static pid_t started;
static int started_output;

static void *start_and_end(void *arg)
{
	const char *const argv[] = { "sleep", "1000", NULL };
	struct program p = { .path = "/bin/sleep", .argv = argv };

	if (program_start(&p, &started, &started_output))
		started = 0;
	return NULL;
}

START_TEST(ends_with_the_thread)
{
	pthread_t thread;
	int status;

	pthread_create(&thread, NULL, start_and_end, NULL);
	pthread_join(thread, NULL);
	ck_assert_int_gt(started, 0);
	ck_assert_int_eq(waitpid(started, &status, 0), started);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	ck_assert_int_eq(program_read(started_output, tail, 0), 0);
}
END_TEST

/* From many threads at a time, and no descriptor is lost. */
static void *run_many(void *arg)
{
	const char *const argv[] = { "true", NULL };
	struct program p = { .path = "/bin/true", .argv = argv };
	char text[PROGRAM_TAIL];

	for (unsigned i = 0; i < unit_scaled(50); i++)
		if (program_run(&p, text, 20000))
			return arg;
	return NULL;
}

START_TEST(many)
{
	pthread_t threads[4];
	int before = open("/dev/null", O_RDONLY), after;
	void *failed;

	close(before);
	for (size_t i = 0; i < UNIT_LENGTH(threads); i++)
		pthread_create(&threads[i], NULL, run_many, &threads);
	for (size_t i = 0; i < UNIT_LENGTH(threads); i++) {
		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
	}
	after = open("/dev/null", O_RDONLY);
	ck_assert_int_eq(before, after);
	close(after);
}
END_TEST

static _Atomic bool enough;

static void *run_until(void *arg)
{
	const char *const argv[] = { "true", NULL };
	struct program p = { .path = "/bin/true", .argv = argv };
	char text[PROGRAM_TAIL];

	while (!atomic_load(&enough))
		if (program_run(&p, text, 20000))
			return arg;
	return NULL;
}

/* What was written and closed here is nobody's any more, while programs are started. */
START_TEST(closed_is_closed)
{
	pthread_t threads[3];
	void *failed;
	int fd;

	ck_assert_int_eq(chdir(unit_dir()), 0);
	close(open("file", O_CREAT | O_RDONLY, 0600));
	fd = open("file", O_RDONLY);
	atomic_store(&enough, false);
	for (size_t i = 0; i < UNIT_LENGTH(threads); i++)
		pthread_create(&threads[i], NULL, run_until, &threads);
	for (unsigned i = 0; i < unit_scaled(4000); i++) {
		close(open("file", O_RDWR | O_CLOEXEC));
		program_await_starts();
		ck_assert_msg(!fcntl(fd, F_SETLEASE, F_RDLCK), "%s at %u", strerror(errno), i);
		ck_assert_int_eq(fcntl(fd, F_SETLEASE, F_UNLCK), 0);
	}
	atomic_store(&enough, true);
	for (size_t i = 0; i < UNIT_LENGTH(threads); i++) {
		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
	}
	close(fd);
}
END_TEST

static int put_file(const char *name, int flags)
{
	int fd = open(name, O_CREAT | O_WRONLY, 0644);

	ck_assert_int_eq(write(fd, "given", 5), 5);
	close(fd);
	return open(name, flags);
}

static void check_denied(const char *script, int fd)
{
	int status = shell(script, fd, 0);

	ck_assert_msg(status != 0 && status < 128, "%s: %d, %s", script, status, tail);
	ck_assert_msg(strstr(tail, "ermission denied") || strstr(tail, "not permitted"), "%s: %s",
		      script, tail);
}

/* Only what it was given, and as it was given. Without Landlock there is nothing to test. */
START_TEST(confined)
{
	char script[512];
	int fd;

	if (!confine_available()) {
		fprintf(stderr, "SKIP: this kernel has no Landlock\n");
		return;
	}
	ck_assert_int_eq(chdir(unit_dir()), 0);
	close(put_file("others", O_RDONLY));
	fd = put_file("read", O_RDONLY);
	ck_assert_int_eq(shell("cat /proc/self/fd/3", fd, 0), 0);
	ck_assert_str_eq(tail, "given");
	check_denied("echo more >>/proc/self/fd/3", fd);
	check_denied("cat others", fd);
	check_denied("cat /etc/shadow", fd);
	check_denied("echo >new", fd);
	check_denied("echo >/dev/shm/tandemfs-test-confined", fd);
	check_denied("rm others", fd);
	check_denied("mkdir new", fd);
	check_denied("mv others new", fd);
	snprintf(script, sizeof(script), "cat /proc/%d/mem", getpid());
	check_denied(script, fd);
	if (access("/bin/bash", X_OK) == 0)
		check_denied("exec /bin/bash -c 'exec 5<>/dev/tcp/127.0.0.1/1'", fd);
	close(fd);
	fd = put_file("written", O_RDWR);
	ck_assert_int_eq(shell("echo more >>/proc/self/fd/3 && cat /proc/self/fd/3", fd, 0), 0);
	ck_assert_str_eq(tail, "givenmore\n");
	close(fd);
}
END_TEST

UNIT_MAIN("program", NULL, NULL, found, results, not_started, surroundings, descriptors_cross,
	  ends_with_the_thread, many, closed_is_closed, confined)

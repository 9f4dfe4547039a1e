// SPDX-License-Identifier: GPL-2.0-or-later
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

static char dir[4096];

static void setup(void)
{
	snprintf(dir, sizeof(dir), "%s", unit_dir());
}

static int directory(void)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(one_at_a_time)
{
	int a = directory(), b = directory();
	struct why why;

	ck_assert_int_eq(lock_exclusive(a, dir, &why), 0);
	ck_assert_int_eq(lock_exclusive(a, dir, &why), 0);
	ck_assert_int_eq(lock_exclusive(b, dir, &why), -EBUSY);
	ck_assert_int_eq(lock_exclusive(b, dir, NULL), -EBUSY);
	close(a);
	ck_assert_int_eq(lock_exclusive(b, dir, &why), 0);
	close(b);
}
END_TEST

/* Whatever path led there, and whoever asks. */
START_TEST(names_who_has_it)
{
	char other[4200], pid[40];
	int to_child[2], from_child[2], a;
	struct why why;
	pid_t child;
	char c = 0;

	ck_assert_int_eq(pipe(to_child) | pipe(from_child), 0);
	child = fork();
	if (child == 0) {
		int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		c = lock_exclusive(fd, dir, NULL) ? 'n' : 'y';
		if (write(from_child[1], &c, 1) != 1 || read(to_child[0], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	ck_assert_int_eq(read(from_child[0], &c, 1), 1);
	ck_assert_int_eq(c, 'y');
	snprintf(other, sizeof(other), "%s/../%s", dir, strrchr(dir, '/') + 1);
	a = open(other, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(lock_exclusive(a, other, &why), -EBUSY);
	snprintf(pid, sizeof(pid), "pid %d", child);
	ck_assert_msg(strstr(why.message, pid) && strstr(why.message, other), "%s", why.message);
	ck_assert_int_eq(write(to_child[1], &c, 1), 1);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert_int_eq(lock_exclusive(a, other, &why), 0);
	close(a);
}
END_TEST

static void *let_go(void *arg)
{
	struct timespec longer_than_for_the_living = { .tv_sec = 1, .tv_nsec = 500000000 };

	nanosleep(&longer_than_for_the_living, NULL);
	close(*(int *)arg);
	return NULL;
}

/* What the kernel still does for one that is dead. */
START_TEST(the_dead_are_waited_for)
{
	int a = directory(), b = directory(), status;
	struct why why;
	pthread_t thread;
	pid_t child = fork();

	if (child == 0)
		_exit(lock_exclusive(a, dir, NULL) ? 1 : 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(flock(b, LOCK_EX | LOCK_NB), -1);
	ck_assert_int_eq(pthread_create(&thread, NULL, let_go, &a), 0);
	ck_assert_msg(!lock_exclusive(b, dir, &why), "%s", why.message);
	pthread_join(thread, NULL);
	close(b);
}
END_TEST

START_TEST(what_cannot_be_locked)
{
	struct why why;

	ck_assert_int_eq(lock_exclusive(-1, "nothing", &why), -EBADF);
	ck_assert_ptr_nonnull(strstr(why.message, "nothing"));
}
END_TEST

UNIT_MAIN("lock", setup, NULL, one_at_a_time, names_who_has_it, the_dead_are_waited_for,
	  what_cannot_be_locked)

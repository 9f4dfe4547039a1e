// SPDX-License-Identifier: GPL-2.0-or-later
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define TRY_MS 20
#define LIVING_TRIES (1000 / TRY_MS)
#define DEAD_TRIES (60000 / TRY_MS)

/* Who holds the flock of this inode, by /proc/locks; 0 when nobody can be named. */
static int holder_of(int fd)
{
	char line[256];
	struct stat st;
	int pid = 0;
	FILE *f;

	if (fstat(fd, &st))
		return 0;
	f = fopen("/proc/locks", "re");
	if (!f)
		return 0;
	while (!pid && fgets(line, sizeof(line), f)) {
		unsigned maj, min;
		uint64_t ino;
		int p;

		if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%" SCNu64, &p, &maj, &min, &ino) ==
			    4 &&
		    ino == st.st_ino && maj == major(st.st_dev) && min == minor(st.st_dev))
			pid = p;
	}
	fclose(f);
	return pid;
}

/* A zombie has no program any more. */
static bool is_alive(int pid)
{
	char path[32], program[2];

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	return pid > 0 && (readlink(path, program, sizeof(program)) >= 0 || errno == EACCES);
}

/*
 * umount returns before the daemon has ended: one that is about to end is waited for. Of one that
 * is dead the kernel may still have requests under way (rings.h), which takes as long as the disk.
 */
static int try_for_a_while(int fd)
{
	struct timespec pause = { .tv_nsec = TRY_MS * 1000000 };

	for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB); tries++) {
		if (errno != EWOULDBLOCK)
			return -1;
		if (tries >= (is_alive(holder_of(fd)) ? LIVING_TRIES : DEAD_TRIES)) {
			errno = EWOULDBLOCK;
			return -1;
		}
		nanosleep(&pause, NULL);
	}
	return 0;
}

int lock_exclusive(int fd, const char *what, struct why *why)
{
	int pid;

	if (!try_for_a_while(fd))
		return 0;
	if (errno != EWOULDBLOCK)
		return refuse(why, -errno, "%s cannot be locked: %s", what, strerror(errno));
	pid = holder_of(fd);
	if (pid > 0 && !is_alive(pid))
		return refuse(
			why, -EBUSY,
			"%s: requests of a tandemfs that has died, pid %d, are still under way",
			what, pid);
	if (pid > 0)
		return refuse(why, -EBUSY, "%s is already served by another tandemfs, pid %d", what,
			      pid);
	return refuse(why, -EBUSY, "%s is already served by another tandemfs", what);
}

static bool is_tandemfs(dev_t dev)
{
	char line[4096];
	bool yes = false;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	while (f && !yes && fgets(line, sizeof(line), f)) {
		const char *type = strstr(line, " - ");
		unsigned maj, min;

		yes = type && !strncmp(type + 3, "fuse.tandemfs ", 14) &&
		      sscanf(line, "%*d %*d %u:%u", &maj, &min) == 2 && maj == major(dev) &&
		      min == minor(dev);
	}
	if (f)
		fclose(f);
	return yes;
}

int lock_refuse_own_kind(int dirfd, const char *what, struct why *why)
{
	char text[64] = "";
	struct stat st;
	int fd, pid = 0;

	if (fstat(dirfd, &st))
		return refuse(why, -errno, "%s: %s", what, strerror(errno));
	if (!is_tandemfs(st.st_dev))
		return 0;
	fd = openat(dirfd, ".replication/status", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) > 0)
			sscanf(text, "Daemon: %d", &pid);
		close(fd);
	}
	if (pid > 0 && pid != getpid())
		return refuse(why, -EBUSY, "%s is already served by another tandemfs, pid %d", what,
			      pid);
	return refuse(why, -EBUSY, "%s is inside a mount of %s", what,
		      pid > 0 ? "this tandemfs" : "tandemfs");
}

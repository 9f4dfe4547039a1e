// SPDX-License-Identifier: GPL-2.0-or-later
#include "lock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

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

		if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%" SCNu64, &p, &maj, &min, &ino) == 4 &&
		    ino == st.st_ino && maj == major(st.st_dev) && min == minor(st.st_dev))
			pid = p;
	}
	fclose(f);
	return pid;
}

int lock_exclusive(int fd, const char *what, struct why *why)
{
	int pid;

	if (!flock(fd, LOCK_EX | LOCK_NB))
		return 0;
	if (errno != EWOULDBLOCK)
		return refuse(why, -errno, "%s cannot be locked: %s", what, strerror(errno));
	pid = holder_of(fd);
	if (pid > 0)
		return refuse(why, -EBUSY, "%s is already served by another tandemfs, pid %d", what,
			      pid);
	return refuse(why, -EBUSY, "%s is already served by another tandemfs", what);
}

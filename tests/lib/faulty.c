// SPDX-License-Identifier: GPL-2.0-or-later
#include "faulty.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "unit.h"

/* Also for the libraries. */
#define OURS __attribute__((visibility("default")))

static struct {
	_Atomic ino_t inode;
	atomic_uint faults;
} files[2];
static atomic_int flushes_left = -1;
static _Thread_local bool spared;

void faulty_file(unsigned slot, const char *path, unsigned faults)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	atomic_store(&files[slot].inode, st.st_ino);
	atomic_store(&files[slot].faults, faults);
}

void faulty_heal(void)
{
	atomic_store(&files[0].faults, 0);
	atomic_store(&files[1].faults, 0);
}

void faulty_die_at(int flushes)
{
	atomic_store(&flushes_left, flushes);
}

void faulty_spare_me(bool spare)
{
	spared = spare;
}

/* 0, or what it fails with. */
static int fails(int fd, unsigned fault)
{
	struct stat st;

	for (unsigned i = 0; i < 2; i++) {
		unsigned has = atomic_load(&files[i].faults);

		if (!has || spared || fstat(fd, &st) || st.st_ino != atomic_load(&files[i].inode))
			continue;
		if (fault == FAULT_WRITE && has & FAULT_FULL)
			return ENOSPC;
		if (has & fault)
			return EIO;
	}
	return 0;
}

static bool refuse_it(int fd, unsigned fault)
{
	int err = fails(fd, fault);

	if (err)
		errno = err;
	return err;
}

static void maybe_die(void)
{
	if (atomic_load(&flushes_left) >= 0 && atomic_fetch_sub(&flushes_left, 1) == 0)
		raise(SIGKILL);
}

OURS ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	return refuse_it(fd, FAULT_READ) ? -1 : syscall(SYS_pread64, fd, buf, len, off);
}

OURS ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	return refuse_it(fd, FAULT_WRITE) ? -1 : syscall(SYS_pwrite64, fd, buf, len, off);
}

OURS int fallocate(int fd, int mode, off_t off, off_t len)
{
	return refuse_it(fd, FAULT_WRITE) ? -1 : syscall(SYS_fallocate, fd, mode, off, len);
}

OURS int fdatasync(int fd)
{
	maybe_die();
	return refuse_it(fd, FAULT_FLUSH) ? -1 : syscall(SYS_fdatasync, fd);
}

OURS int fsync(int fd)
{
	maybe_die();
	return refuse_it(fd, FAULT_FLUSH) ? -1 : syscall(SYS_fsync, fd);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * To be preloaded: flushes that are answered and not done, as somebody would have it who wants speed. LMDB's are done,
 * or its file would be the first that is missed.
 */
#include <sys/syscall.h>

#include "preloaded.h"

EXPORT int fdatasync(int fd)
{
	return is_of_lmdb(fd) ? (int)syscall(SYS_fdatasync, fd) : 0;
}

EXPORT int fsync(int fd)
{
	return is_of_lmdb(fd) ? (int)syscall(SYS_fsync, fd) : 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exclusive use of directories: a lock on the inode, whatever path led to it. */
#ifndef TANDEMFS_LOCK_H
#define TANDEMFS_LOCK_H

#include "why.h"

/*
 * Takes the lock of an open file or directory; released when the descriptor is
 * closed. -EBUSY when another process has it; the message names its pid.
 */
int lock_exclusive(int fd, const char *what, struct why *why);

/* -EBUSY when the directory is inside a mount of tandemfs: what is served is not served again. */
int lock_refuse_own_kind(int dirfd, const char *what, struct why *why);

#endif

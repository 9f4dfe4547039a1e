/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a pool's directory is known by: a random id in a hidden file in it. A copy of the directory
 * has it too, and is the pool; the mount point below it has not.
 */
#ifndef TANDEMFS_POOL_MARKER_H
#define TANDEMFS_POOL_MARKER_H

#include <stdbool.h>
#include <stdint.h>

#define POOL_MARKER ".tandem-pool"

/* All zero: none is known. */
struct pool_id {
	uint8_t bytes[16];
};

bool pool_id_is_known(const struct pool_id *id);
/* -ENOENT: the directory has none; -EIO: what it has is none. */
int pool_marker_read(int dirfd, struct pool_id *out);
/* The id that is there, or a new one; durable when it returns. */
int pool_marker_make(int dirfd, struct pool_id *out);

#endif

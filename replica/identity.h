/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which file this is, for as long as it exists: its handle, where the file
 * system has handles, and the file system's id. An inode number alone is given
 * to the next file as soon as the old one is gone.
 */
#ifndef TANDEMFS_IDENTITY_H
#define TANDEMFS_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IDENTITY_MAX 160

struct identity {
	uint16_t len; /* 0: unknown, equal to nothing */
	uint8_t bytes[IDENTITY_MAX];
};

/* Of an open file. 0 or -errno. */
int identity_of(int fd, struct identity *out);
/* No later file has it, as one may have an inode's number. */
bool identity_is_for_good(const struct identity *id);
bool identity_equal(const struct identity *a, const struct identity *b);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What foreign_heads.c and foreign_vmdk.c share. */
#ifndef TANDEMFS_FOREIGN_INNER_H
#define TANDEMFS_FOREIGN_INNER_H

#include "foreign_heads.h"

#define FOREIGN_SECTOR 512u

/* The size of the file, and its first `len` bytes; what the file lacks of them are zeros. */
int foreign_begin(struct file *f, uint8_t *head, size_t len, uint64_t *file_size,
		  char reason[IMAGE_REASON]);
/* `len` bytes at `at` end inside a file of that size. */
bool foreign_inside(uint64_t at, uint64_t len, uint64_t file_size);
/* Sets the size, in whole sectors; a disk without any is refused. */
int foreign_size(struct foreign_head *h, uint64_t size, char reason[IMAGE_REASON]);
/* Can be read, but not written, because. */
void foreign_only_read(struct foreign_head *h, const char *why);

static inline bool foreign_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static inline uint64_t foreign_divide_up(uint64_t n, uint64_t by)
{
	return n / by + (n % by ? 1 : 0);
}

#endif

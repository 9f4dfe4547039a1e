/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that fail, and a process that dies at the next thing that it makes durable: instead of what
 * libc has of these, for the whole program, LMDB's part of it, too. Not for what a ring does.
 */
#ifndef TESTS_FAULTY_H
#define TESTS_FAULTY_H

#include <stdbool.h>

enum fault {
	FAULT_NONE,
	FAULT_READ = 1, /* bits: EIO */
	FAULT_WRITE = 2,
	FAULT_FLUSH = 4,
	FAULT_FULL = 8, /* ENOSPC of what is written */
};

/* Some of two files, `slot` 0 and 1, which go by their inode. */
void faulty_file(unsigned slot, const char *path, unsigned faults);
void faulty_heal(void);
/* So many more flushes, then it is killed; -1: never. */
void faulty_die_at(int flushes);
/* For this thread nothing fails. */
void faulty_spare_me(bool spare);

#endif

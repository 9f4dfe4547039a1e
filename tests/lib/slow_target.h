/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mirror b.img of a.img (temp_pair.h) that acknowledges at flush, and whose target is slow, waits
 * at a gate, or fails, as a test wants it: writes and flushes of its file come through here.
 */
#ifndef TESTS_SLOW_TARGET_H
#define TESTS_SLOW_TARGET_H

#include <sys/types.h>

#include "temp_pair.h"

/* The mirror is made, is Synchronized, and its target's file is watched. */
void synchronize(struct pair_request q);
struct pair *the_pair(void);
/* 4 KiB at the beginning of each of so many regions: none of them overlaps another. */
void write_regions(unsigned count);
/* In the files, whatever the mount would say. */
bool files_are_same(uint64_t off, size_t len);

/* The file of what is the target now is the one that all this is about. */
void slow_watch(void);
/* Who writes to it waits as long as it is shut; who writes a region or more at once, only with the first. */
void slow_gate(bool shut);
void slow_gate_of_sent(bool shut);
/* So many wait there, or are just about to write. */
unsigned slow_waiting(void);
bool somebody_waits(void *unused);
/* Each write takes that at most. */
void slow_delay(unsigned us);
/* Writes get EIO; those of that other file, too, or of none: 0. */
void slow_fail(bool fails);
void slow_break(ino_t other);
void break_marks(void);
/* It was written since it was flushed last. */
bool slow_is_dirty(void);
/* It is like others again; that, and the end of all. */
void slow_mend(void);
void slow_end(void);

#endif

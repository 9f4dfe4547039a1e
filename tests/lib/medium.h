/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a medium has of a directory when the power goes. A process that records writes down each call
 * that changes a file below that directory, or a name, in their order: instead of what libc has of
 * these calls, for the whole program, LMDB's part of it, too. Not what a ring does. Its parent plays
 * that back, call by call, into fake files (fake_file.h), and makes of the directory what a power cut
 * at that point may leave of it.
 *
 * Of names that were made or removed since their directory was flushed each is there or not. One that
 * was changed is so at once.
 *
 * What is left is in other files each time, which have the identity of those that they are left of; so
 * the directory is to be one that can have extended attributes of root's, as a tmpfs can.
 */
#ifndef TESTS_MEDIUM_H
#define TESTS_MEDIUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct medium;

/* The directory, absolute, with no link in it. Shared with processes that are forked from here on. */
struct medium *medium_new(const char *dir);
void medium_free(struct medium *m);

/* All that is in the directory is durable, and nothing recorded. */
void medium_load(struct medium *m);
/* From here on this process records. With no other thread yet. */
void medium_record(struct medium *m);
/* So many calls were recorded so far. */
uint64_t medium_calls(struct medium *m);
/* Bytes that were written since into files whose path ends with that. */
uint64_t medium_written(struct medium *m, const char *end);

/* By another process, at its end. The next call is made; false: there is none. */
bool medium_play(struct medium *m);
uint64_t medium_played(const struct medium *m);
/* Flushes of files whose path contains that are left out of it; NULL: of none. */
void medium_lose(struct medium *m, const char *part);
/* The call that was played last. */
void medium_describe(const struct medium *m, char *buf, size_t size);
/* The power goes: the directory is what is left, and it is another boot. */
void medium_cut(struct medium *m, uint64_t seed);

#endif

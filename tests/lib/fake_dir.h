/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A directory of segments in memory, made of fake files. Closing a file that was
 * opened in it leaves the content; closing the directory ends all.
 *
 * A power cut keeps of the names made and removed since the last flush any
 * subset: each by itself is there or not. Any thread.
 */
#ifndef TESTS_FAKE_DIR_H
#define TESTS_FAKE_DIR_H

#include "fake_file.h"
#include "segments.h"

enum fake_dir_call {
	FAKE_DIR_OPEN,
	FAKE_DIR_CREATE,
	FAKE_DIR_REMOVE,
	FAKE_DIR_LIST,
	FAKE_DIR_FLUSH,
	FAKE_DIR_CALLS
};

struct segment_dir *fake_dir_new(void);
/* What a power cut now would leave. The directory goes on. */
struct segment_dir *fake_dir_crashed(struct segment_dir *d, uint64_t seed);
/* What the death of the daemon leaves: everything, and what is not flushed still is not. */
struct segment_dir *fake_dir_twin(struct segment_dir *d);

/* The file of that name, for faults and to spoil it; NULL. Its owner is the directory. */
struct file *fake_dir_file(struct segment_dir *d, const char *name);
/* Puts a file there, durable, behind everybody's back. Takes over the fake file. */
void fake_dir_put(struct segment_dir *d, const char *name, struct file *content);
/* As fake_fail(), for calls of the directory. */
void fake_dir_fail(struct segment_dir *d, enum fake_dir_call call, unsigned nth, unsigned times,
		   int err);
/* As fake_fail(), for files that are created from now on, from their first call on; err 0: no more. */
void fake_dir_fail_new(struct segment_dir *d, enum fake_call call, unsigned nth, unsigned times,
		       int err);
unsigned fake_dir_calls(struct segment_dir *d, enum fake_dir_call call);
/* How many names there are, and how many files are open. */
unsigned fake_dir_count(struct segment_dir *d);
unsigned fake_dir_open_files(struct segment_dir *d);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backing file in memory that forgets, fails and waits as real ones do.
 *
 *   now        what reads see: every change, at once
 *   pending    changes since the last flush, in order
 *   durable    what a power cut leaves for sure
 *
 * A power cut keeps of each 512-byte sector any content that it had since it was
 * last durable, each sector by itself: nothing else is atomic or in order. Only
 * changes of the size keep theirs, as in a journal.
 *
 * A flush that fails is final: what was pending is in doubt for good, and every
 * flush after it fails, until forgive.
 */
#ifndef TESTS_FAKE_FILE_H
#define TESTS_FAKE_FILE_H

#include "file.h"

enum fake_call {
	FAKE_READ,
	FAKE_WRITE,
	FAKE_FLUSH,
	FAKE_ZERO,
	FAKE_ALLOCATE,
	FAKE_RESIZE,
	FAKE_SEEK,
	FAKE_STAT,
	FAKE_LOCK,
	FAKE_CALLS
};

/* What space is counted in. */
#define FAKE_BLOCK 4096

/* Of this durable content; NULL: `size` zeros, without space. Any thread may call all of these. */
struct file *fake_file_new(const void *content, uint64_t size);

/* The nth call of this kind from now, and all after it up to `times`, return -err. */
void fake_fail(struct file *f, enum fake_call call, unsigned nth, unsigned times, int err);
/* Each call of this kind takes so long: after it began, before it does anything or returns. */
void fake_delay(struct file *f, enum fake_call call, unsigned us);
/* The same once it is done (or failed), before it returns. */
void fake_delay_return(struct file *f, enum fake_call call, unsigned us);
/* So many blocks may still be taken; then -ENOSPC. */
void fake_space(struct file *f, uint64_t blocks);
/* Calls of this kind so far, failed ones too. */
unsigned fake_calls(struct file *f, enum fake_call call);
/* What it was last locked for; there is nobody else to be in the way. */
enum file_use fake_use(struct file *f);

/*
 * After a power cut a file is not longer than what was written into it: where a
 * write made it longer, what was written is there (ext4's data=ordered, XFS).
 * Without this call each sector is by itself there, too. Before anything else.
 */
void fake_ordered(struct file *f);
/* What a power cut now would leave; malloc'd. The file goes on. */
uint8_t *fake_crash(struct file *f, uint64_t seed, uint64_t *size);
/* The same as a new file, at little cost. */
struct file *fake_crashed(struct file *f, uint64_t seed);
/* Another file in the same state: what is pending here is pending there. Faults are not copied. */
struct file *fake_twin(struct file *f);

#endif

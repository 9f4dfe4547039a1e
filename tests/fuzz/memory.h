/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backing file in memory for hostile images: as long as the image claims, with
 * memory only for what was written, and with limits, so that nothing an image says
 * makes a run long. Calls that a limit or a fault stops fail and are remembered.
 * One thread.
 */
#ifndef FUZZ_MEMORY_H
#define FUZZ_MEMORY_H

#include "file.h"

enum memory_call {
	MEMORY_NONE,
	MEMORY_READ,
	MEMORY_WRITE,
	MEMORY_FLUSH,
	MEMORY_ZERO,
	MEMORY_ALLOCATE,
	MEMORY_RESIZE,
	MEMORY_CALLS
};

/* How much longer than at first a file may become: then -EFBIG. */
#define MEMORY_GROWS ((uint64_t)256 << 30)
/* What may be written, in bytes: then -ENOSPC. */
#define MEMORY_SPACE ((uint64_t)32 << 20)

struct memory;

struct memory *memory_new(uint64_t size);
struct memory *memory_copy(const struct memory *m);
/* NULL is fine. */
void memory_free(struct memory *m);

/* Past limits and faults. What lies behind the end is not written, and reads as zeros. */
void memory_put(struct memory *m, uint64_t at, const void *bytes, size_t len);
void memory_get(const struct memory *m, uint64_t at, void *bytes, size_t len);
void memory_set_size(struct memory *m, uint64_t size);
uint64_t memory_size(const struct memory *m);

/* An open file of it. Closing it leaves the memory there, or frees it if it is `owned`. */
struct file *memory_file(struct memory *m, bool owned);

/* So many bytes may be read from now on; then -EIO. */
void memory_may_read(struct memory *m, uint64_t bytes);
/* The nth call of that kind from now, and all after it up to `times`, fail. */
void memory_fail(struct memory *m, enum memory_call call, unsigned nth, unsigned times);
/* No limits and no faults until they are turned on again. */
void memory_trust(struct memory *m, bool trusted);
/* A limit or a fault stopped a call since the last time this was asked. */
bool memory_stopped(struct memory *m);
/* A flush failed, so all of this file do, trusted or not, until forgive or another file. */
bool memory_broken(const struct memory *m);
/* Calls so far that changed it. */
unsigned memory_changes(const struct memory *m);

#endif

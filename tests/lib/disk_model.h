/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each sector (512 bytes) of a disk may hold after a power cut or a kill:
 *
 *   now     what was written last
 *   older   what it held before, back to what the last completed flush promised
 *
 * A power cut leaves any of them, each sector by itself; a kill leaves `now`,
 * or, of an operation that was not done, what was before it. The size is one
 * more such value.
 *
 * Contents are 64-bit names: of a sector that repeats 8 bytes, these (0 is
 * zeros), else a hash. Used by one thread at a time.
 */
#ifndef TESTS_DISK_MODEL_H
#define TESTS_DISK_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_SECTOR 512

struct disk_model;

enum model_end { MODEL_POWER_CUT, MODEL_KILL };

/* Zeros, and promised. It can grow to `max`. Sizes are multiples of a sector. */
struct disk_model *model_new(uint64_t size, uint64_t max);
struct disk_model *model_copy(const struct disk_model *m);
void model_free(struct disk_model *m);

/* An operation begins: its number, 1 or higher. What it changes may be there from now on. */
uint32_t model_begin(struct disk_model *m);
void model_set(struct disk_model *m, uint32_t op, uint64_t sector, uint64_t content);
void model_resize(struct disk_model *m, uint32_t op, uint64_t size);
/* It was acknowledged. */
void model_done(struct disk_model *m, uint32_t op);
/* What was done before a flush began is promised when it has ended. */
uint64_t model_flush_begin(struct disk_model *m);
void model_flush_end(struct disk_model *m, uint64_t mark);

uint64_t model_size(const struct disk_model *m);
uint64_t model_now(const struct disk_model *m, uint64_t sector);
bool model_allows(const struct disk_model *m, enum model_end end, uint64_t sector,
		  uint64_t content);
bool model_allows_size(const struct disk_model *m, enum model_end end, uint64_t size);

/*
 * After such an end, once all was found to be allowed: a model of the disk that
 * was found, of this size. What was found goes in with model_found. After a kill
 * it is not more durable than it was before.
 */
struct disk_model *model_after(const struct disk_model *m, enum model_end end, uint64_t size);
void model_found(struct disk_model *m, enum model_end end, uint64_t sector, uint64_t content);

/* The content that operation `op` gives to a sector; 0 is not an operation, but a parent. */
uint64_t content_of_op(uint32_t op, uint64_t sector);
/* Bytes of this content for [off, off + len), at buf. */
void content_fill(uint8_t *buf, uint64_t off, size_t len, uint64_t content);
/* Its name. */
uint64_t content_name(const uint8_t sector[MODEL_SECTOR]);
/* "sector 7 holds ..., may hold ...", for people. */
void model_describe(const struct disk_model *m, enum model_end end, uint64_t sector,
		    uint64_t content, char *buf, size_t len);

#endif

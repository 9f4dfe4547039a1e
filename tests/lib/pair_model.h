/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a mirror's source holds, and held, as somebody knows who has counted his own writes. Blocks
 * hold stamps: each write has a number, and fills its blocks with it. Plain memory, which can be
 * shared with a process that dies.
 */
#ifndef TESTS_PAIR_MODEL_H
#define TESTS_PAIR_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_BLOCK 4096u
#define MODEL_BLOCKS 256u
#define MODEL_SIZE (MODEL_BLOCK * MODEL_BLOCKS)
#define MODEL_WRITES 96u
#define MODEL_TORN UINT16_MAX
#define MODEL_CHOICES 8u

/* What was not answered may be there, or not: then a block may hold any of some. */
struct model_image {
	uint8_t count[MODEL_BLOCKS];
	uint16_t values[MODEL_BLOCKS][MODEL_CHOICES];
};

struct model {
	/* From the oldest that a target may be to the present; each write makes one. */
	struct model_image images[MODEL_WRITES];
	uint64_t ended_ms[MODEL_WRITES];
	unsigned now; /* the present */
	unsigned low; /* a target that is whole is not older than that */
	uint16_t stamps;
};

void pair_model_begin(struct model *m);
/* A new stamp. */
uint16_t pair_model_stamp(struct model *m);
/* It was written, or was to be and failed. */
void pair_model_write(struct model *m, unsigned first, unsigned count, uint16_t stamp,
		      bool answered, uint64_t ms);
/* What the blocks of a disk hold. */
void pair_model_read(const char *bytes, uint16_t *values);
void pair_model_fill(char *bytes, unsigned count, uint16_t stamp);
/* Is that image what it holds? Else *block is one that is wrong. */
bool pair_model_is(const struct model *m, unsigned image, const uint16_t *values, unsigned *block);
/* The newest from there on that it is; or -1. */
int pair_model_find(const struct model *m, unsigned low, const uint16_t *values);
/* The oldest that has all that had ended before then. */
unsigned pair_model_at(const struct model *m, uint64_t ms);
/* The source is another disk from now on: that image, or what is found there. */
void pair_model_become(struct model *m, unsigned image);
void pair_model_adopt(struct model *m, const uint16_t *values);

#endif

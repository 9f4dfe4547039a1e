/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A kind of image that is fuzzed: what an input of it is made into. */
#ifndef FUZZ_SUBJECT_H
#define FUZZ_SUBJECT_H

#include "block_map.h"
#include "found.h"
#include "image.h"
#include "memory.h"
#include "script.h"

/* A number in the file that matters, or some of the same kind. */
struct hot_field {
	uint8_t space, width; /* bytes */
	uint64_t at;
	uint32_t count, stride; /* 0: one */
};

struct subject {
	const struct image_format *format;
	const struct block_tables *tables;
	/* Base 0 is an empty file. The others are built once, and kept in `built`. */
	unsigned bases;
	struct memory *(*build)(unsigned base);
	struct memory **built;
	/* A patch of another space than SPACE_FILE and SPACE_END; or NULL. */
	void (*put)(struct memory *m, const struct script_patch *p);
	/* Makes the sums right, but for those whose bit is set. */
	void (*seal)(struct memory *m, unsigned unsealed);
	/* It was written and rests: says what is not as it should be, or NULL. */
	const char *(*wrong)(const struct memory *m);
	const struct image_parents *parents;
	bool big_endian;
	const struct hot_field *hot;
	size_t hot_count;
	/* Bytes for a new patch of such another space: sets all but p->bytes. Or NULL. */
	void (*invent)(struct script_patch *p, uint8_t bytes[SCRIPT_LENGTH], uint64_t *random);
};

extern const struct subject vhd_subject, vhdx_subject;

/* The image that the script describes. */
struct memory *subject_make(const struct subject *s, const struct script *script);

/* What LLVMFuzzerCustomMutator and LLVMFuzzerCustomCrossOver do. */
size_t subject_mutate(const struct subject *s, uint8_t *data, size_t size, size_t room,
		      unsigned seed);
size_t subject_cross(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
		     size_t room, unsigned seed);

/* From a seed that is not 0. */
uint64_t fuzz_random(uint64_t *seed);
/* Random bytes that the product asks for come from this seed from here on. */
void fuzz_steady(uint64_t seed);

#endif

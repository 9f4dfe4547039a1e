/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What work.c and samples.c share. */
#ifndef FUZZ_WORK_INNER_H
#define FUZZ_WORK_INNER_H

#include "work.h"

#define SAMPLES 64
#define SAMPLE 1024
#define DATA_BLOCKS 16

/* A part of the disk that an operation is for. */
struct span {
	uint64_t off, len;
};

/* What a part of the disk must read as. */
struct sample {
	uint64_t off;
	uint32_t len;
	uint8_t bytes[SAMPLE];
};

struct work {
	const struct subject *subject;
	const struct script *script;
	work_notes *prepare;
	struct memory *memory;
	struct image *img;
	bool any_stopped;    /* a limit or a fault stopped a call */
	uint64_t asked_size; /* of a resize that failed */
	unsigned changes;    /* of the file, when it was opened last */
	uint32_t seed;       /* of the last write */
	uint64_t data[DATA_BLOCKS];
	unsigned data_count;
	struct sample samples[SAMPLES];
	unsigned sample_count;
};

/* Where an operation is, inside the disk. */
void span_of(const struct work *w, const struct script_op *op, struct span *out);
/* What a write puts there; seed 0: zeros. */
uint8_t span_byte(uint32_t seed, uint64_t off);

/* Chooses samples, and reads what they are. */
void samples_begin(struct work *w);
/* One more around `off`: as it reads, or zeros if it is `new`. */
void samples_add(struct work *w, uint64_t off, bool new);
void samples_set(struct work *w, const struct span *at, uint32_t seed);
/* A write failed: each byte is old or new; takes what it is. */
void samples_either(struct work *w, const struct span *at, uint32_t seed);
/* They are what they are now: nobody promised more. */
void samples_take(struct work *w);
/* They must be zeros there. */
void samples_zero(struct work *w, uint64_t off, uint64_t len);
/* Those that touch the range, or else a few. */
void samples_check(struct work *w, uint64_t off, uint64_t len);

#endif

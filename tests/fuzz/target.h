/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What libFuzzer calls, of a fuzzer for images. */
#ifndef FUZZ_TARGET_H
#define FUZZ_TARGET_H

#include "work.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
				 uint8_t *out, size_t room, unsigned seed);

/* subject and notes as for work(). */
#define FUZZ_IMAGES(subject, notes)                                  \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) \
	{                                                            \
		struct script s;                                     \
                                                                     \
		script_read(&s, data, size);                         \
		work(&(subject), &s, notes);                         \
		return 0;                                            \
	}                                                            \
	FUZZ_MUTATIONS(subject)

#define FUZZ_MUTATIONS(subject)                                                                   \
	size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)    \
	{                                                                                         \
		return subject_mutate(&(subject), data, size, room, seed);                        \
	}                                                                                         \
                                                                                                  \
	size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b,       \
					 size_t b_size, uint8_t *out, size_t room, unsigned seed) \
	{                                                                                         \
		return subject_cross(a, a_size, b, b_size, out, room, seed);                      \
	}

#endif

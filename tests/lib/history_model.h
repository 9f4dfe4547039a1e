/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a disk must hold, now and at each moment that is kept of it: whole copies,
 * compared byte for byte through the verbs of disk.h and history.h. A difference
 * fails the test.
 */
#ifndef TESTS_HISTORY_MODEL_H
#define TESTS_HISTORY_MODEL_H

#include "history_world.h"

struct history_copy {
	uint64_t generation, size;
	uint8_t *content;
};

struct history_model {
	uint8_t *now;
	uint64_t size, max;
	struct history_copy *kept;
	size_t count;
	const char *doing; /* for messages */
	uint64_t step;
};

/* Zeros. The disk may grow to `max`. */
void copies_new(struct history_model *m, uint64_t size, uint64_t max);
void copies_free(struct history_model *m);
void copies_write(struct history_model *m, const void *buf, uint64_t len, uint64_t off);
void copies_zero(struct history_model *m, uint64_t len, uint64_t off);
void copies_resize(struct history_model *m, uint64_t size);
/* What is now is kept as of that generation. */
void copies_keep(struct history_model *m, uint64_t generation);
/* It is now what it was then, as far as that went, and zeros behind. */
void copies_restore(struct history_model *m, uint64_t generation);
void copies_drop(struct history_model *m, size_t i);

/* Of the present (i == count), or of moment i; clipped to its end. */
void copies_check(const struct history_model *m, struct world *w, size_t i, uint64_t off,
		  uint64_t len);
/* What is called a hole is zeros. */
void copies_check_holes(const struct history_model *m, struct world *w, size_t i);
/* All of it. */
void copies_check_all(const struct history_model *m, struct world *w);

#endif

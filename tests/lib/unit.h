/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every Check program here begins with: one suite, one main().
 *
 *   UNIT_MAIN("gate", setup, teardown, order, parked_ones, stress)
 *
 * runs each START_TEST in a process of its own, setup and teardown (or NULL)
 * around it. Directories that tests make are removed at the end, whatever
 * happened to the tests.
 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNIT_MAIN(name, setup, teardown, ...)                                      \
	int main(void)                                                             \
	{                                                                          \
		const TTest *const tests[] = { __VA_ARGS__ };                      \
                                                                                   \
		return unit_run(name, setup, teardown, tests, UNIT_LENGTH(tests)); \
	}

#define UNIT_LENGTH(array) (sizeof(array) / sizeof(*(array)))

int unit_run(const char *name, void (*setup)(void), void (*teardown)(void),
	     const TTest *const *tests, size_t count);

/* TANDEMFS_SCALE percent of n, at least 1: how often to go round. */
unsigned unit_scaled(unsigned n);
/* Milliseconds on CLOCK_MONOTONIC. */
uint64_t unit_now_ms(void);
/* How many times longer things may take. */
unsigned unit_patience(void);
/* Until it is true, asking every few milliseconds; false after so many seconds of patience. */
bool unit_until(bool (*is_true)(void *arg), void *arg, unsigned seconds);
/* An empty directory of this test's own, absolute. */
const char *unit_dir(void);
/* With all that is in it; without, it is removed at the end of the program. */
void unit_remove(const char *dir);

/* From a seed that brings the same numbers back. */
uint64_t unit_random(uint64_t *seed);
uint64_t unit_below(uint64_t *seed, uint64_t bound);

#endif

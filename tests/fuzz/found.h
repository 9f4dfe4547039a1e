/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FUZZ_FOUND_H
#define FUZZ_FOUND_H

/* A finding: says so and ends. */
#define MUST(condition, ...)                                                     \
	do {                                                                     \
		if (!(condition))                                                \
			fuzz_found(__FILE__, __LINE__, #condition, __VA_ARGS__); \
	} while (0)
_Noreturn void fuzz_found(const char *file, int line, const char *condition, const char *format,
			  ...) __attribute__((format(printf, 4, 5)));

#endif

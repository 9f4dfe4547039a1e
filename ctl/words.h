/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One command, split into words:
 *
 *	[Plan] OPERATION [VALUE | Key=Value]... [Force] [wait[=DURATION]]
 *
 * Blanks are spaces and tabs. A value with blanks stands in double quotes, in
 * which \" and \\ mean " and \; a quoted word is never Force or wait. What the
 * words mean is for the tables of commands. Pure.
 */
#ifndef TANDEMFS_WORDS_H
#define TANDEMFS_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "why.h"

#define COMMAND_MAX 4096
#define WORDS_MAX 64
#define WAIT_FOREVER UINT64_MAX

struct word {
	const char *key; /* NULL: a value by itself */
	const char *value;
};

struct words {
	const char *operation; /* never NULL: "" when it could not be read */
	bool plan, force, wait;
	uint64_t wait_ms;
	unsigned count;
	struct word list[WORDS_MAX];
	char bytes[COMMAND_MAX + 2]; /* what the pointers point into */
};

/*
 * -E2BIG for more than COMMAND_MAX bytes, -EINVAL for what is no command, with
 * why. `out` is set as far as it was understood. It must not be moved.
 */
int words_split(const char *bytes, size_t len, struct words *out, struct why *why);

#endif

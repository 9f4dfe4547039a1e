/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text that grows. An allocation that fails is remembered and everything after
 * it ignored, so that only the end has to ask text_ok().
 */
#ifndef TANDEMFS_TEXT_H
#define TANDEMFS_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
	char *bytes; /* NUL after the last, NULL when empty */
	size_t len, room;
	bool failed;
};

void text_free(struct text *t);
bool text_ok(const struct text *t);
void text_add(struct text *t, const char *bytes, size_t len);
__attribute__((format(printf, 2, 3))) void text_addf(struct text *t, const char *fmt, ...);

/*
 * Strings from outside, so that they cannot end a line or a column early.
 * What is escaped becomes a backslash and three octal digits; "-" when empty.
 */

/* For a column: blanks, control characters and backslashes are escaped. */
void text_add_word(struct text *t, const char *word);
/* For the value of a `Key: value` line: control characters and backslashes. */
void text_add_line(struct text *t, const char *value);
/* For prose: control characters only, as names in it may be escaped already. */
void text_add_prose(struct text *t, const char *prose);

/* `Key: value` and a newline, the value as text_add_line. */
void text_add_field(struct text *t, const char *key, const char *value);
/* The same with a value that is made here and needs no escapes. */
__attribute__((format(printf, 3, 4))) void text_add_fieldf(struct text *t, const char *key,
							   const char *fmt, ...);

#endif

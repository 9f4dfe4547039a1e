/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above
 * U+10FFFF. Names of images may be any bytes; names that we give are UTF-8.
 */
#ifndef TANDEMFS_UTF8_H
#define TANDEMFS_UTF8_H

#include <stddef.h>
#include <stdint.h>

/*
 * The character at the start of a string that ends with NUL: its length in
 * bytes, 1 to 4, and its number; 0 at the end or when the first byte starts none.
 */
size_t utf8_char(const char *s, uint32_t *code);

/* How many characters; near enough for aligning columns when it is not UTF-8. */
size_t utf8_columns(const char *s, size_t len);

#endif

// SPDX-License-Identifier: GPL-2.0-or-later
#include "utf8.h"

size_t utf8_char(const char *s, uint32_t *code)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *b = (const unsigned char *)s;
	size_t len, i;
	uint32_t c;

	if (b[0] == 0)
		return 0;
	if (b[0] < 0x80) {
		*code = b[0];
		return 1;
	}
	if (b[0] < 0xc0 || b[0] >= 0xf8)
		return 0;
	len = b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
	c = b[0] & (0x7f >> len);
	for (i = 1; i < len; i++) {
		if ((b[i] & 0xc0) != 0x80) /* the NUL too */
			return 0;
		c = c << 6 | (b[i] & 0x3f);
	}
	if (c < smallest[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*code = c;
	return len;
}

size_t utf8_columns(const char *s, size_t len)
{
	size_t columns = 0;

	for (size_t i = 0; i < len; i++)
		columns += ((unsigned char)s[i] & 0xc0) != 0x80;
	return columns;
}

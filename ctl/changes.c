// SPDX-License-Identifier: GPL-2.0-or-later
#include "changes.h"

#include <inttypes.h>

/* The longest line: two numbers of 20 digits, a word, blanks, a newline. */
#define LINE_MAX_BYTES 48

void changes_end(struct changes *c)
{
	if (c->from < c->end)
		text_addf(c->out, "%" PRIu64 " %" PRIu64 " %s\n", c->from, c->end - c->from,
			  c->zero ? "zero" : "data");
	c->from = c->end;
}

/*
 * How near extents are one. In the second half of the text, so near that what is
 * left of it is enough for what is left of the disk.
 */
static uint64_t nearness(const struct changes *c)
{
	size_t lines;

	if (c->out->len <= c->limit / 2)
		return 0;
	if (c->out->len + 2 * LINE_MAX_BYTES >= c->limit)
		return UINT64_MAX;
	lines = (c->limit - c->out->len) / LINE_MAX_BYTES;
	return c->size > c->end ? (c->size - c->end) / lines + 1 : 1;
}

void changes_add(struct changes *c, uint64_t offset, uint64_t length, bool zero)
{
	uint64_t near = nearness(c);

	if (!length)
		return;
	/* What lies between is not known to be zeros; and short extents are many lines too. */
	if (c->from < c->end && near &&
	    (offset - c->end < near || offset + length - c->from < near)) {
		c->zero = c->zero && zero && offset == c->end;
		c->end = offset + length;
		return;
	}
	if (c->from < c->end && offset == c->end && zero == c->zero) {
		c->end = offset + length;
		return;
	}
	changes_end(c);
	c->from = offset;
	c->end = offset + length;
	c->zero = zero;
}

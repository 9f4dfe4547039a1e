/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lines `OFFSET LENGTH data|zero`, of extents that come in ascending order. The
 * text has a bound, whatever the disk's size: past half of it, extents that lie
 * near each other become one, which may then tell of more than has changed, never
 * of less. Pure.
 */
#ifndef TANDEMFS_CHANGES_H
#define TANDEMFS_CHANGES_H

#include "text.h"

#define CHANGES_TEXT_MAX (32u << 20)

struct changes {
	struct text *out;
	uint64_t size;      /* of the disk */
	size_t limit;       /* of the text: CHANGES_TEXT_MAX */
	uint64_t from, end; /* the extent that is not written yet; none when they are equal */
	bool zero;
};

void changes_add(struct changes *c, uint64_t offset, uint64_t length, bool zero);
/* The last one is written. */
void changes_end(struct changes *c);

#endif

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Blocks whose content the image still lacks: a restore serves what they were
 * at a moment of their own disk, a clone what they were on another one. For
 * readers and writers they are the same.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "history_inner.h"

bool history_is_unfilled(struct history *h)
{
	return history_has_origin(h) || history_restore(h).before;
}

/* The past is of the image: a restore is no part of it. What a clone lacks it lacked always. */
int unfilled_find(struct history *h, uint64_t g, uint64_t first, size_t count, struct unfilled *u)
{
	bool restoring = g == UINT64_MAX && history_restore(h).before;
	struct version *v;
	int err = 0;

	for (size_t i = 0; i < count; i++) {
		bool lacks = origin_lacks(h, first + i);

		u[i] = (struct unfilled){ .block = first + i,
					  .from = lacks ? FROM_ORIGIN : FROM_IMAGE };
	}
	if (!restoring)
		return 0;
	v = malloc(count * sizeof(*v));
	err = v ? restore_find(h, first, count, v) : -ENOMEM;
	for (size_t i = 0; i < count && !err; i++)
		if (v[i].last)
			u[i] = (struct unfilled){ first + i, FROM_VERSION, v[i] };
	free(v);
	return err;
}

int unfilled_read(struct history *h, const struct unfilled *u, char *buf, size_t len, uint64_t off)
{
	return u->from == FROM_VERSION ? read_version(h, &u->v, buf, len, off)
				       : origin_read(h, buf, len, off);
}

void history_widen(struct history *h, uint64_t *off, uint64_t *len)
{
	uint64_t bs = h->block_size, end = *off + *len;

	if (!history_is_unfilled(h))
		return;
	*off -= *off % bs;
	*len = (end + bs - 1) / bs * bs - *off;
}

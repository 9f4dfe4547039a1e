/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a differencing image comes to its parent, whatever its format. */
#ifndef TANDEMFS_PARENT_H
#define TANDEMFS_PARENT_H

#include "image.h"

/* Whether `parent` is the one that img was made upon; `said` is what img says of it. */
typedef int parent_verify(struct image *img, const struct image *parent, const void *said,
			  char reason[IMAGE_REASON]);

/*
 * Sets img->parent to the first that has one of these names, each with one member set or none, and
 * is the right one. The reason is that of the first name, unless nothing has it and another is no
 * place to look at, or of what is there and cannot be opened.
 */
int parent_find(struct image *img, const struct parent_name *names, size_t count,
		parent_verify *verify, const void *said, char reason[IMAGE_REASON]);

#endif

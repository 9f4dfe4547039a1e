/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking at one file: is it an image that can be served, and if not, why not? */
#ifndef TANDEMFS_PROBE_H
#define TANDEMFS_PROBE_H

#include <sys/stat.h>

#include "tandem.h"

/* What a look at one file found. */
struct found {
	enum disk_state state;
	char reason[200];
	char warning
		[IMAGE_REASON]; /* what is wrong though it can be served, but not image->complaint */
	bool written_elsewhere;
	bool awaits_parent; /* which may come, or be closed */
	struct image *image;
	struct disk_ancestry
		ancestry; /* without an image: what it is built upon, as far as known */
	struct identity identity;
	struct stat st;
};

/*
 * fd is the file, open for reading; f->st and f->identity are set already; r is what is
 * recorded of it. Sets the rest; the caller closes f->image.
 */
void probe_file(struct tandem *t, struct pool *p, const char *name, const struct image_name *kind,
		int fd, const struct disk_record *r, struct found *f);
/*
 * libvhdi's opinion, "" if it has none that differs. With discovery held, so one at a time. Nobody uses
 * the image.
 */
void probe_witness(struct image *img, char opinion[IMAGE_REASON]);
/* It is Invalid, for this reason. */
void probe_invalid(struct found *f, const char *reason);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the parents of images are looked for: in DISKDIR and the pools, nowhere
 * else, whatever path an image names.
 */
#ifndef TANDEMFS_PARENTS_H
#define TANDEMFS_PARENTS_H

#include "image.h"

struct disk;
struct disk_ancestry;
struct pool;
struct tandem;

/* For images of one directory. */
struct parents {
	struct image_parents base; /* what the images get */
	struct tandem *tandem;
	const struct pool *pool;
	unsigned depth;   /* 0 for the image of a disk, 1 for its parent, ... */
	unsigned *opened; /* files, for one image of depth 0; NULL: that is it */
};
void parents_init(struct parents *p, struct tandem *t, const struct pool *pool);

/*
 * Counts for each listed disk the listed disks whose parent it is, directly or
 * not, and makes those that have any ReadOnly. Also a child that cannot be used counts, where its
 * parents could be found. Under discovery.
 */
void parents_settle(struct tandem *t);

/* A disk of another pool is built upon this one. Under discovery. */
bool parents_needed_elsewhere(struct tandem *t, struct disk *parent);
/* Of an image that cannot be reloaded meanwhile: its parent as commands call it, "" without one. */
void parents_label(struct tandem *t, const struct image *img, char *label);

/* Likewise, with all that is behind that one. */
void parents_of(struct tandem *t, const struct image *img, struct disk_ancestry *out);

/* How much of an open file was its guest's, as is recorded of the disk that has it; else 0. */
uint64_t parents_guest_bytes(const struct tandem *t, int fd);

/* "/pool/dir/x/../base.vhd" to its directory and name; false when it has none. Pure. */
bool parents_split(const char *path, char *dir, size_t size, const char **name);

#endif

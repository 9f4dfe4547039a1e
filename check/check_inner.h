/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of a check share. One thread; nothing is changed by any of it. */
#ifndef TANDEMFS_CHECK_INNER_H
#define TANDEMFS_CHECK_INNER_H

#include <limits.h>

#include "catalogue.h"
#include "check_report.h"
#include "image.h"
#include "segments.h"
#include "state_check.h"
#include "versions.h"

/* "disks/POOL:FILE" */
#define WHERE_MAX (NAME_MAX + 220)

struct check_pool {
	uint32_t number;
	char name[201], dir[PATH_MAX];
	int dirfd; /* -1: it is not there */
	struct pool_id id;
};

/* A recorded disk, and what was found of its image. */
struct check_disk {
	struct disk_record r;
	char where[WHERE_MAX];
	bool found;    /* its file, by its identity */
	bool opened;   /* and that is an image: size is known */
	bool noted;    /* it has notes */
	bool needed;   /* it has a past, or is in a relationship or a group */
	uint64_t size; /* of the disk */
};

struct check {
	const struct state_check_options *o;
	struct check_report report;
	char disk_dir[PATH_MAX], state_dir[PATH_MAX];
	int state_fd, lock_fd;
	struct catalogue *catalogue;
	bool clean; /* the last stop was one */
	uint64_t next_generation;
	struct check_pool *pools;
	size_t pool_count;
	struct check_disk *disks; /* by number */
	size_t disk_count;
};

struct check_disk *check_disk_numbered(struct check *c, uint32_t number);
/* A directory in the state; -errno. */
int check_open_dir(int parent, const char *name);
/* Calls fn for each name that is a number; others are told of as left. */
void check_numbers(struct check *c, const char *directory,
		   void (*fn)(struct check *c, const char *directory, uint32_t number));

/* ---- check_catalogue.c: first; -errno: nothing else can be relied on ---- */

int check_catalogue(struct check *c);

/* ---- check_images.c: sets what was found of the disks ---- */

void check_images(struct check *c);
/* That is recorded of an open file; NULL: none. */
struct check_disk *check_disk_of_file(const struct check *c, int fd);

/* ---- check_parents.c ---- */

/* Finds parents like the daemon, and takes no lock. Of images in that pool. */
struct check_parents {
	struct image_parents base;
	struct check *c;
	const struct check_pool *pool;
	unsigned depth;   /* 0 for an image itself, 1 for its parent, ... */
	unsigned *opened; /* files, for one image of depth 0; NULL: that is it */
};
void check_parents_init(struct check_parents *p, struct check *c, const struct check_pool *pool);

/* ---- check_past.c, check_store.c ---- */

/* Moments, snapshots, restores, clones, overlays; each disk's log and store. */
void check_past(struct check *c);
/* The versions of a disk and its store. limit: no block of it begins behind that; UINT64_MAX. */
void check_store(struct check *c, const char *where, uint32_t disk, uint32_t block_size,
		 uint64_t limit, int dirfd);

/* ---- check_pairs.c ---- */

void check_pairs(struct check *c);
void check_groups(struct check *c);

/* The moment of that generation is kept. */
bool check_has_moment(struct check *c, uint32_t disk, uint64_t generation);

#endif

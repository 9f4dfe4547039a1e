/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image: a flat disk inside a backing file. One table of formats; a format
 * is chosen by the ending of the file's name (or by what was recorded for the
 * disk) and then verified by content, never chosen by content, because a guest
 * can write any header into its raw disk.
 */
#ifndef TANDEMFS_IMAGE_H
#define TANDEMFS_IMAGE_H

#include "file.h"

struct image;

/*
 * The contract of a format. Members run in any thread at the same time, for
 * ranges that do not overlap unless all of them read (the caller holds range
 * locks). They return 0 or -errno, all or nothing.
 */
struct image_format {
	const char *name; /* as in status and CreateDisk Format= */
	/* Name endings without the dot, lower case, NULL at the end. */
	const char *const *endings;
	/* Its mount name is the file's name (raw), not FILE.raw. */
	bool flat;
	/*
	 * Reads what it needs of img->file and sets img->size, sector_size and
	 * private. *reason, when it fails, is a constant sentence for people.
	 */
	int (*open)(struct image *img, const char **reason);
	/*
	 * Somebody else changed the file while nobody used the disk: reads again what
	 * open read. On failure the image is as it was and must not be used.
	 */
	int (*reload)(struct image *img, const char **reason);
	/* Frees private. Takes half-open ones. The caller closes the file. */
	void (*close)(struct image *img);
	/* The range lies inside the disk. */
	int (*read)(struct image *img, void *buf, size_t len, uint64_t off, unsigned io);
	/* May pass the disk's end only where `grows_by_write`. */
	int (*write)(struct image *img, const void *buf, size_t len, uint64_t off, unsigned io);
	/* Everything acknowledged before is durable, metadata included. */
	int (*flush)(struct image *img);
	/* Inside the disk. Reads as zeros afterwards. */
	int (*zero)(struct image *img, uint64_t off, uint64_t len, enum zero_mode mode);
	/* NULL: there is no such thing, -EOPNOTSUPP. May grow where `grows_by_write`. */
	int (*allocate)(struct image *img, uint64_t off, uint64_t len, bool grow);
	/* As lseek: -ENXIO past the end; the disk's end is a hole. */
	int (*seek)(struct image *img, uint64_t off, int whence, uint64_t *found);
	/* To any size. NULL: -EOPNOTSUPP. Nothing else runs meanwhile. */
	int (*resize)(struct image *img, uint64_t size);
	/*
	 * Makes an empty disk in an empty file. NULL: this build cannot. Durable
	 * only after flush.
	 */
	int (*create)(struct file *file, uint64_t size);
	bool grows_by_write;
};

struct image {
	const struct image_format *format;
	struct file *file;
	_Atomic uint64_t size; /* of the disk, not of the file */
	uint32_t sector_size;
	bool read_only;
	void *private;
};

/* Every format this build serves, NULL at the end; the first is raw. */
extern const struct image_format *const image_formats[];

/* By name, any case; NULL when there is none. */
const struct image_format *image_format_named(const char *name);

/*
 * What the name of a file says it is. known: it is called like a disk.
 * format: what serves it, NULL when this build has nothing for it; then
 * `ending` tells what it would be. A name without any ending is known with
 * `raw` and needs_sectors: it is a disk only when its size is a multiple of 512
 * and not 0.
 */
struct image_name {
	bool known, needs_sectors;
	const char *ending;
	const struct image_format *format;
};
struct image_name image_name_classify(const char *file_name);

/* Takes over `file` on success only. */
int image_open(struct file *file, const struct image_format *format, bool read_only,
	       struct image **out, const char **reason);
/* Closes the file too; NULL is fine. */
void image_close(struct image *img);

#endif

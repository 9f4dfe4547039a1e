/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image: a flat disk inside a backing file. One table of formats; a format
 * is chosen by the ending of the file's name (or by what was recorded for the
 * disk) and then verified by content, never chosen by content, because a guest
 * can write any header into its raw disk.
 *
 * An image is opened once and then, in turns, used and at rest:
 *
 *   image_open   looks at the file, changes nothing in it
 *   start        somebody uses the disk now
 *   rest         nobody does any more: the file is whole by itself again
 */
#ifndef TANDEMFS_IMAGE_H
#define TANDEMFS_IMAGE_H

#include "file.h"

struct image;
struct notes;

/* A sentence for people: why not. */
#define IMAGE_REASON 200
/* The longest chain. */
#define IMAGE_PARENTS_MAX 16
/*
 * So many files are opened to find all parents of one image. A long chain has 16; but each of these
 * may name several, whose own parents are looked for before it is known that they are others.
 */
#define IMAGE_PARENTS_OPENED_MAX 64

/* How an image names its parent. */
struct parent_name {
	const char *relative; /* from the child's directory; '/' between names, UTF-8; NULL: none */
	const char *absolute; /* likewise; may be of another system ("C:/...") */
};

/* Who finds parents, for formats that have them. */
struct image_parents {
	/*
	 * Opens the image of that name, which has one member set, for reading, its own parent
	 * included, and locks it against writers. The caller verifies that it is the
	 * right one, and closes it with the child. -ENOENT: nothing has that name, and -EXDEV: it
	 * is no place to look at, so it may be elsewhere. All else is of what is there; -ENOLINK:
	 * a parent of its own is not.
	 */
	int (*open)(const struct image_parents *p, const struct parent_name *name,
		    struct image **out, char reason[IMAGE_REASON]);
};

/* What a new image shall be. */
struct image_create {
	const char *kind; /* one of the format's kinds */
	uint64_t size;
	uint32_t block_size;          /* 0: the format's choice */
	uint32_t sector_size;         /* 0: 512 */
	const struct image *parent;   /* NULL: none */
	struct parent_name parent_at; /* where it is */
	const char *path;             /* of the file, for formats that others make; or NULL */
};

/*
 * The contract of a format. Members run in any thread at the same time, for
 * ranges that do not overlap unless all of them read (the caller holds range
 * locks). They return 0 or -errno, all or nothing.
 */
struct image_format {
	const char *name; /* "vhdx" */
	/* What CreateDisk Format= can say, the usual one first, and what img->kind is one of. */
	const char *const *kinds;
	/* Name endings without the dot, lower case, NULL at the end. */
	const char *const *endings;
	/* Its mount name is the file's name (raw), not FILE.raw. */
	bool flat;
	/* Another program does its I/O, and locks the file. */
	bool locks_itself;
	/*
	 * Reads what it needs of img->file and img->notes, and sets img->kind, size,
	 * sector_size, block_size, identity, private, and, if it has one, parent. It
	 * may set read_only, and complaint. Changes nothing in the file.
	 */
	int (*open)(struct image *img, char reason[IMAGE_REASON]);
	/* Frees private. Takes half-open ones. The caller closes the file and the parent. */
	void (*close)(struct image *img);
	/*
	 * Somebody uses the disk from now on. Nothing else runs meanwhile. NULL: nothing
	 * is to be done.
	 */
	int (*start)(struct image *img, char reason[IMAGE_REASON]);
	/*
	 * Nobody uses the disk: everything is durable, the file is whole by itself,
	 * img->notes are empty. Nothing else runs meanwhile. After a failure the notes
	 * still have what the file lacks. NULL: nothing is to be done.
	 */
	int (*rest)(struct image *img);
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
	/*
	 * To another size; -EOPNOTSUPP where it can't (containers do not shrink). Durable
	 * only after flush. NULL: never. Nothing else runs meanwhile.
	 */
	int (*resize)(struct image *img, uint64_t size);
	/*
	 * Makes an empty disk in an empty file. NULL: this build cannot. Durable
	 * only after flush.
	 */
	int (*create)(struct file *file, const struct image_create *c, char reason[IMAGE_REASON]);
	/*
	 * Of what the file has twice, both are whole; else a reason. After open, and before start.
	 * NULL: it has nothing twice.
	 */
	bool (*copies)(struct image *img, char reason[IMAGE_REASON]);
	bool grows_by_write;
};

struct image {
	const struct image_format *format;
	const char *kind; /* "vhd-fixed", ... */
	struct file *file;
	struct notes *notes; /* where acknowledged changes wait that the file lacks; or NULL */
	const struct image_parents *parents;
	uint64_t guest_bytes;  /* as it was known when it was opened; see image_around */
	struct image *parent;  /* what is not in this one is there; or NULL */
	_Atomic uint64_t size; /* of the disk, not of the file */
	uint32_t sector_size;
	uint32_t block_size;    /* in which a container takes space; 0 */
	uint8_t identity[16];   /* by which children know it; zeros: none */
	_Atomic bool read_only; /* as it is; a status may ask while it is read again */
	bool asked_read_only;   /* as it was asked for */
	const char *
		read_only_because; /* a constant sentence, where the image itself is why; or NULL */
	/*
	 * The notes do not fit what the file holds: another program changed it after we
	 * died, and acknowledged writes are missing. read_only then.
	 */
	bool in_doubt;
	/* The file says itself that its last writer did not close it. Until rest. */
	bool unclean;
	/* What is zeroed keeps its space, whoever asks. Changed while nobody uses the disk. */
	_Atomic bool keeps_space;
	bool mend; /* set by who starts it: rest shall bring that in order, though nothing was written */
	/* It can be read, but something is wrong with it. Of the time when it was opened. */
	char complaint[IMAGE_REASON];
	void *private;
};

/* Every format this build serves, NULL at the end; the first is raw. */
extern const struct image_format *const image_formats[];

/* By a kind, any case; NULL when there is none. *kind is the table's own string; may be NULL. */
const struct image_format *image_format_named(const char *name, const char **kind);

/*
 * What the name of a file says it is. format: NULL when it is not called like a
 * disk. A name without any ending is raw and needs_sectors: it is a disk only
 * when its size is a multiple of 512 and not 0.
 */
struct image_name {
	const struct image_format *format;
	bool needs_sectors;
};
struct image_name image_name_classify(const char *file_name);

/* What an image has around it. Zeros: nothing of all that. */
struct image_around {
	bool read_only;
	struct notes *notes;                 /* taken over with the file */
	const struct image_parents *parents; /* outlives the image */
	/*
	 * So much of the file, from its begin, was its guest's when it was last opened
	 * (image_guest_bytes): nothing there says what the image is. 0: not known.
	 */
	uint64_t guest_bytes;
};

/* Takes over `file` and around->notes on success only. */
int image_open(struct file *file, const struct image_format *format,
	       const struct image_around *around, struct image **out, char reason[IMAGE_REASON]);
/* Closes the file, the parent and the notes too; NULL is fine. */
void image_close(struct image *img);
/* Likewise, but what it was (its size, its format) can be read until image_close. */
void image_shut(struct image *img);
/*
 * Somebody else changed the file while nobody used the disk: reads again what
 * open read. On failure the image is as it was and must not be used.
 */
int image_reload(struct image *img, char reason[IMAGE_REASON]);

/*
 * Nobody uses the disk: what notes have, and what its last writer left, is
 * brought into the file. -EBUSY while another program has it open. Nothing else
 * runs.
 */
int image_complete(struct image *img, char reason[IMAGE_REASON]);

/* Instead of the format's own: an image that keeps its space does. */
int image_zero(struct image *img, uint64_t off, uint64_t len, enum zero_mode mode);

/* vhd-fixed, ...: its blocks have their places from the start, whether or not these take space. */
bool image_kind_is_fixed(const char *kind);
/* Of a disk of this kind and size: so much of its file is the guest's, from the begin on. Else 0. */
uint64_t image_guest_bytes(const char *kind, uint64_t size);
/* All that the file reaches over has its space; what it holds stays. */
int file_take_space(struct file *f);
/* It has. */
bool file_has_space(struct file *f);

/* For formats: fills reason, returns err. */
int image_fail(char reason[IMAGE_REASON], int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif

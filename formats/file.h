/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One open backing file: the only way this program reads or writes the
 * contents of images. The real one is made by file_open(); tests make others
 * that fail, delay or forget what was not flushed.
 *
 * Every member may be called from any thread at the same time. Every function
 * returns 0 or -errno and does all of the work or fails; after a failed write
 * the range holds old or new bytes.
 */
#ifndef TANDEMFS_FILE_H
#define TANDEMFS_FILE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* What the caller asked of one request. */
enum io_flags {
	IO_DIRECT =
		1 << 0,    /* the client said O_DIRECT: keep it out of the page cache if possible */
	IO_DSYNC = 1 << 1, /* the client said O_SYNC or O_DSYNC; files and formats ignore it */
	/*
	 * Of a write that copies: nobody reads it soon. It goes to the device before it returns, and leaves no page in
	 * the cache; where there is no direct I/O it may still be on its way. Where there was a hole that is twice as fast
	 * as IO_DIRECT on ext4, and elsewhere no slower.
	 */
	IO_COPY = 1 << 2,
};

/* What a file is used for, towards other programs. */
enum file_use {
	FILE_UNUSED,
	FILE_READ,  /* nobody may write it */
	FILE_WRITE, /* nobody else may write it, nor rely on what it holds */
};

/* What to do with a range that shall read as zeros. */
enum zero_mode {
	ZERO_PUNCH, /* give the space back */
	ZERO_KEEP,  /* keep, or get, the space: later writes there will not lack it */
};

struct file_stat {
	uint64_t size;
	uint64_t allocated; /* bytes of disk space */
	struct timespec mtime, ctime;
	uint64_t dev, ino;
	uint32_t mode, uid, gid, nlink;
};

struct file;

struct file_ops {
	/* -EIO when the file ends before the range does. */
	int (*read)(struct file *f, void *buf, size_t len, uint64_t off, unsigned io);
	/* Grows the file when the range passes its end. */
	int (*write)(struct file *f, const void *buf, size_t len, uint64_t off, unsigned io);
	/*
	 * Everything written before is durable. The kernel tells an error of write-back
	 * once; what was lost is in doubt for good. So after one failure every flush
	 * fails, until forgive.
	 */
	int (*flush)(struct file *f);
	/* What the file holds is taken as it is. */
	void (*forgive)(struct file *f);
	/* Never grows the file. */
	int (*zero)(struct file *f, uint64_t off, uint64_t len, enum zero_mode mode);
	/* Gets space for the range, growing the file when `grow`. */
	int (*allocate)(struct file *f, uint64_t off, uint64_t len, bool grow);
	int (*resize)(struct file *f, uint64_t size);
	/* lseek's SEEK_DATA and SEEK_HOLE; *found is set on success. */
	int (*seek)(struct file *f, uint64_t off, int whence, uint64_t *found);
	int (*stat)(struct file *f, struct file_stat *st);
	/*
	 * Tells other programs what it is used for, in the way that QEMU understands
	 * (OFD locks), and finds out what they use it for. -EBUSY when the two don't go
	 * together; then what was said before stays. Programs that ask for no lock are
	 * not seen. FILE_UNUSED always succeeds. Callers take turns.
	 */
	int (*lock)(struct file *f, enum file_use use);
	/* The only one that may not run beside others. Takes half-built ones. */
	void (*close)(struct file *f);
};

struct file {
	const struct file_ops *ops;
};

/*
 * Opens `name` in the directory `dirfd`: a regular file with one link, never
 * through a symbolic link or out of the directory. *read_only tells what was
 * asked for, and on return whether only reading is possible (a read-only file
 * system, an immutable file, a running program).
 */
int file_open(int dirfd, const char *name, bool *read_only, struct file **out);

/*
 * Takes over `fd`, open for reading and, unless read_only, writing, on success
 * only. A second descriptor for direct I/O is opened where that works.
 */
int file_adopt(int fd, bool read_only, struct file **out);

/*
 * The range in `to` has the content of that in `from`, and the same space for as long as nobody
 * writes it. -EOPNOTSUPP: these two cannot, and nothing was changed.
 */
int file_share(struct file *from, struct file *to, uint64_t off, uint64_t len);

/* The file system is full, or somebody's quota is. */
static inline bool lacks_space(int err)
{
	return err == -ENOSPC || err == -EDQUOT;
}

/* Through which the kernel can do this request as it is, out of the page cache; -1: it cannot. */
int file_direct_fd(const struct file *f, const void *buf, size_t len, uint64_t off, unsigned io);

/* The descriptor behind a file of file_open(), for chown, chmod, utimens. */
int file_fd(const struct file *f);

#endif

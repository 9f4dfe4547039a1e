// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The real backing file. It has two descriptors of one inode: one through the
 * page cache and one O_DIRECT, and every request takes the way its client
 * asked for. A guest with cache=none gets no second cache and no memory of the
 * host, one with cache=writeback gets the host's, as on a plain file. (Measured
 * with the benchmark: see HACKING.md, "Direct or cached".)
 *
 * The kernel keeps the two coherent: a direct write drops the cached pages, a
 * direct read writes them out first. Only a cached and a direct write of the
 * same page at the same time could lose one of them; the caller's range locks
 * are never finer than a page, so that does not happen.
 */
#include "file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x00002000U
#endif

/* Permissions of QEMU's block layer, as bits of a set. */
enum permission {
	PERMISSION_READ = 1 << 0, /* and what is read is consistent */
	PERMISSION_WRITE = 1 << 1,
	PERMISSION_REWRITE = 1 << 2, /* the same content again */
	PERMISSION_RESIZE = 1 << 3,
};
#define PERMISSIONS 4

/* What one program says: what it does, and what nobody else may do. */
struct held {
	uint8_t used, unshared;
};

struct posix_file {
	struct file base;
	int fd;        /* through the page cache */
	int direct_fd; /* O_DIRECT, or -1 */
	/* What a direct request must be a multiple of. */
	uint32_t direct_align, memory_align;
	struct held locks; /* on lock_fd() */
	pthread_mutex_t flushing;
	int broken; /* under flushing: how a flush failed, or 0 */
	bool untold; /* likewise: it is what write-back told, and the next fdatasync would be told, too */
};

static struct posix_file *posix(const struct file *f)
{
	return (struct posix_file *)f;
}

static int fd_for(const struct posix_file *p, const void *buf, size_t len, uint64_t off,
		  unsigned io)
{
	if (!(io & IO_DIRECT) || p->direct_fd < 0)
		return p->fd;
	if ((len | off) & (p->direct_align - 1) || (uintptr_t)buf & (p->memory_align - 1))
		return p->fd;
	return p->direct_fd;
}

static int posix_read(struct file *f, void *buf, size_t len, uint64_t off, unsigned io)
{
	struct posix_file *p = posix(f);
	int fd = fd_for(p, buf, len, off, io);

	while (len > 0) {
		ssize_t n = pread(fd, buf, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* the file is shorter than it was */
		buf = (char *)buf + n;
		off += n;
		len -= n;
		if (len > 0)
			fd = fd_for(p, buf, len, off, io);
	}
	return 0;
}

/*
 * An error of write-back is told each open file once, so who waits for it asks another one than a
 * flush does: one that runs meanwhile would else be told of none. Without another one nobody waits.
 */
static int write_back(struct posix_file *p, uint64_t off, uint64_t len)
{
	unsigned wait = p->direct_fd < 0 ? 0
					 : SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER;
	int fd = p->direct_fd < 0 ? p->fd : p->direct_fd;
	int err = sync_file_range(fd, off, len, SYNC_FILE_RANGE_WRITE | wait) ? -errno : 0;

	if (err) {
		pthread_mutex_lock(&p->flushing);
		p->untold |= !p->broken;
		if (!p->broken)
			p->broken = err;
		pthread_mutex_unlock(&p->flushing);
	}
	posix_fadvise(p->fd, off, len, POSIX_FADV_DONTNEED);
	return err;
}

static int posix_write(struct file *f, const void *buf, size_t len, uint64_t off, unsigned io)
{
	struct posix_file *p = posix(f);
	int fd = fd_for(p, buf, len, off, io);
	uint64_t first = off, all = len;

	while (len > 0) {
		ssize_t n = pwrite(fd, buf, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		buf = (const char *)buf + n;
		off += n;
		len -= n;
		if (len > 0)
			fd = fd_for(p, buf, len, off, io);
	}
	return io & IO_COPY ? write_back(p, first, all) : 0;
}

/* One at a time: of two at once only one is told of an error. */
static int posix_flush(struct file *f)
{
	struct posix_file *p = posix(f);
	int err;

	pthread_mutex_lock(&p->flushing);
	if (!p->broken && fdatasync(p->fd))
		p->broken = -errno;
	err = p->broken;
	pthread_mutex_unlock(&p->flushing);
	return err;
}

static void posix_forgive(struct file *f)
{
	struct posix_file *p = posix(f);

	pthread_mutex_lock(&p->flushing);
	/* What one of the two was told of, the other one may not have been yet. */
	if (p->untold)
		sync_file_range(p->fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE);
	if (p->direct_fd >= 0)
		sync_file_range(p->direct_fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE);
	p->untold = false;
	p->broken = 0;
	pthread_mutex_unlock(&p->flushing);
}

static int write_zeros(struct file *f, uint64_t off, uint64_t len)
{
	static const char zeros[64 << 10];

	while (len > 0) {
		size_t n = len < sizeof(zeros) ? len : sizeof(zeros);
		int err = posix_write(f, zeros, n, off, 0);

		if (err)
			return err;
		off += n;
		len -= n;
	}
	return 0;
}

static int posix_zero(struct file *f, uint64_t off, uint64_t len, enum zero_mode mode)
{
	int how = mode == ZERO_PUNCH ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
	struct stat st;

	if (!fallocate(posix(f)->fd, how | FALLOC_FL_KEEP_SIZE, off, len))
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	/* Not every file system can (tmpfs has no ZERO_RANGE); zeros always can. */
	if (fstat(posix(f)->fd, &st))
		return -errno;
	if (off >= (uint64_t)st.st_size)
		return 0;
	return write_zeros(f, off, len < st.st_size - off ? len : st.st_size - off);
}

static int posix_allocate(struct file *f, uint64_t off, uint64_t len, bool grow)
{
	return fallocate(posix(f)->fd, grow ? 0 : FALLOC_FL_KEEP_SIZE, off, len) ? -errno : 0;
}

static int posix_resize(struct file *f, uint64_t size)
{
	return ftruncate(posix(f)->fd, size) ? -errno : 0;
}

static int posix_seek(struct file *f, uint64_t off, int whence, uint64_t *found)
{
	off_t at = lseek(posix(f)->fd, off, whence);

	if (at < 0)
		return -errno;
	*found = at;
	return 0;
}

static int posix_stat(struct file *f, struct file_stat *out)
{
	struct stat st;

	if (fstat(posix(f)->fd, &st))
		return -errno;
	*out = (struct file_stat){
		.size = st.st_size,
		.allocated = (uint64_t)st.st_blocks * 512,
		.mtime = st.st_mtim,
		.ctime = st.st_ctim,
		.dev = st.st_dev,
		.ino = st.st_ino,
		.mode = st.st_mode,
		.uid = st.st_uid,
		.gid = st.st_gid,
		.nlink = st.st_nlink,
	};
	return 0;
}

/* ---- locks ---- */

/* A byte is read-locked for each permission in use, and another for each that is not shared. */
#define LOCK_USED 100
#define LOCK_UNSHARED 200

static const struct held uses[] = {
	[FILE_UNUSED] = { 0, 0 },
	[FILE_READ] = { PERMISSION_READ, PERMISSION_WRITE | PERMISSION_RESIZE },
	[FILE_WRITE] = { PERMISSION_READ | PERMISSION_WRITE | PERMISSION_RESIZE,
			 (1 << PERMISSIONS) - 1 },
};

static int lock_byte(int fd, int command, short type, int at, short *found)
{
	struct flock byte = { .l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };

	if (fcntl(fd, command, &byte))
		return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
	*found = byte.l_type;
	return 0;
}

/* From one set of bytes to another. Unlocking goes on after an error. */
static int lock_change(int fd, int base, uint8_t from, uint8_t to)
{
	int err = 0;
	short found;

	for (int i = 0; i < PERMISSIONS; i++) {
		bool now = from & 1 << i, then = to & 1 << i;

		if (!now && then && !err)
			err = lock_byte(fd, F_OFD_SETLK, F_RDLCK, base + i, &found);
		else if (now && !then)
			lock_byte(fd, F_OFD_SETLK, F_UNLCK, base + i, &found);
	}
	return err;
}

/* Has anybody else one of these bytes? */
static int lock_probe(int fd, int base, uint8_t set)
{
	short found = F_UNLCK;
	int err = 0;

	for (int i = 0; i < PERMISSIONS && !err && found == F_UNLCK; i++)
		if (set & 1 << i)
			err = lock_byte(fd, F_OFD_GETLK, F_WRLCK, base + i, &found);
	return err ? err : found == F_UNLCK ? 0 : -EBUSY;
}

/* Says the new first, besides the old, and then looks: of two that do so at once, one sees it. */
static int lock_try(int fd, struct held old, struct held new)
{
	int err = lock_change(fd, LOCK_USED, old.used, old.used | new.used);

	if (!err)
		err = lock_change(fd, LOCK_UNSHARED, old.unshared, old.unshared | new.unshared);
	if (!err)
		err = lock_probe(fd, LOCK_UNSHARED, new.used);
	if (!err)
		err = lock_probe(fd, LOCK_USED, new.unshared);
	return err;
}

/* That of requests that the kernel may still have when we are dead (rings.h): until they have ended. */
static int lock_fd(const struct posix_file *p)
{
	return p->direct_fd >= 0 ? p->direct_fd : p->fd;
}

static int posix_lock(struct file *f, enum file_use use)
{
	struct posix_file *p = posix(f);
	struct held new = uses[use], all;
	int err = use == FILE_UNUSED ? 0 : lock_try(lock_fd(p), p->locks, new);

	/* Without locks on this file system nobody else has any either. */
	if (err == -EOPNOTSUPP || err == -ENOLCK || err == -EINVAL || err == -ENOSYS) {
		new = (struct held){ 0, 0 };
		err = 0;
	}
	all.used = p->locks.used | uses[use].used;
	all.unshared = p->locks.unshared | uses[use].unshared;
	if (!err)
		p->locks = new;
	lock_change(lock_fd(p), LOCK_USED, all.used, p->locks.used);
	lock_change(lock_fd(p), LOCK_UNSHARED, all.unshared, p->locks.unshared);
	return err;
}

static void posix_close(struct file *f)
{
	struct posix_file *p = posix(f);

	if (p->direct_fd >= 0)
		close(p->direct_fd);
	if (p->fd >= 0)
		close(p->fd);
	pthread_mutex_destroy(&p->flushing);
	free(p);
}

static const struct file_ops posix_ops = {
	.read = posix_read,
	.write = posix_write,
	.flush = posix_flush,
	.forgive = posix_forgive,
	.zero = posix_zero,
	.allocate = posix_allocate,
	.resize = posix_resize,
	.seek = posix_seek,
	.stat = posix_stat,
	.lock = posix_lock,
	.close = posix_close,
};

/* A file system that can't do direct I/O leaves direct_fd at -1. */
static void open_direct(struct posix_file *p, bool read_only)
{
	char path[32];
	struct statx sx;

	p->direct_align = p->memory_align = 4096;
	if (!statx(p->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) && sx.stx_mask & STATX_DIOALIGN) {
		/* The kernel's struct has these two where glibc 2.36 has spare room. */
		uint32_t dio[2];

		memcpy(dio, (char *)&sx + 0x98, sizeof(dio));
		if (!dio[0] || !dio[1])
			return;
		p->memory_align = dio[0];
		p->direct_align = dio[1];
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p->fd);
	p->direct_fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC);
}

int file_adopt(int fd, bool read_only, struct file **out)
{
	struct posix_file *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->base.ops = &posix_ops;
	pthread_mutex_init(&p->flushing, NULL);
	p->fd = fd;
	p->direct_fd = -1;
	open_direct(p, read_only);
	*out = &p->base;
	return 0;
}

/*
 * One name in one directory, and never a link: it cannot lead anywhere else.
 * NONBLOCK: a fifo that took a file's place must not hold us.
 */
static int open_beneath(int dirfd, const char *name, int flags)
{
	assert(!strchr(name, '/') && strcmp(name, ".."));
	return openat(dirfd, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

static bool means_read_only(int err)
{
	return err == EROFS || err == EACCES || err == EPERM || err == ETXTBSY;
}

int file_open(int dirfd, const char *name, bool *read_only, struct file **out)
{
	bool ro = *read_only;
	struct stat st;
	int fd, err;

	fd = open_beneath(dirfd, name, ro ? O_RDONLY : O_RDWR);
	if (fd < 0 && !ro && means_read_only(errno)) {
		ro = true;
		fd = open_beneath(dirfd, name, O_RDONLY);
	}
	if (fd < 0)
		return -errno;
	err = fstat(fd, &st) ? -errno : 0;
	if (!err && !S_ISREG(st.st_mode))
		err = -EINVAL;
	if (!err && st.st_nlink > 1)
		err = -EMLINK;
	if (!err)
		err = file_adopt(fd, ro, out);
	if (err) {
		close(fd);
		return err;
	}
	*read_only = ro;
	return 0;
}

int file_share(struct file *from, struct file *to, uint64_t off, uint64_t len)
{
	struct file_clone_range range = { .src_offset = off,
					  .src_length = len,
					  .dest_offset = off };

	if (from->ops != &posix_ops || to->ops != &posix_ops)
		return -EOPNOTSUPP;
	range.src_fd = posix(from)->fd;
	if (!ioctl(posix(to)->fd, FICLONERANGE, &range))
		return 0;
	return errno == EIO || errno == ENOSPC || errno == EDQUOT ? -errno : -EOPNOTSUPP;
}

int file_direct_fd(const struct file *f, const void *buf, size_t len, uint64_t off, unsigned io)
{
	const struct posix_file *p = posix(f);

	if (f->ops != &posix_ops || p->direct_fd < 0)
		return -1;
	return fd_for(p, buf, len, off, io) == p->direct_fd ? p->direct_fd : -1;
}

int file_fd(const struct file *f)
{
	assert(f->ops == &posix_ops);
	return posix(f)->fd;
}

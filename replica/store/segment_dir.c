// SPDX-License-Identifier: GPL-2.0-or-later
/* The real directory of segments. */
#include "segments.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct real_dir {
	struct segment_dir base;
	int fd;
	bool read_only;
};

static int fd_of(const struct segment_dir *d)
{
	return ((const struct real_dir *)d)->fd;
}

static int create(int dirfd, const char *name, struct file **out)
{
	int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int err;

	if (fd < 0)
		return -errno;
	err = file_adopt(fd, false, out);
	if (err) {
		close(fd);
		unlinkat(dirfd, name, 0);
	}
	return err;
}

static int real_open(struct segment_dir *d, const char *name, bool make, struct file **out)
{
	bool read_only = ((const struct real_dir *)d)->read_only;

	return make ? create(fd_of(d), name, out) : file_open(fd_of(d), name, &read_only, out);
}

static int real_remove(struct segment_dir *d, const char *name)
{
	return unlinkat(fd_of(d), name, 0) ? -errno : 0;
}

static int real_space(struct segment_dir *d, const char *name, uint64_t *bytes)
{
	struct stat st;

	if (fstatat(fd_of(d), name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	*bytes = (uint64_t)st.st_blocks * 512;
	return 0;
}

static int real_list(struct segment_dir *d, int (*fn)(void *arg, const char *name), void *arg)
{
	int fd = openat(fd_of(d), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	struct dirent *e;
	DIR *dir;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		err = -errno;
		close(fd);
		return err;
	}
	while (!err) {
		errno = 0;
		e = readdir(dir);
		if (!e) {
			err = -errno;
			break;
		}
		err = fn(arg, e->d_name);
	}
	closedir(dir);
	return err;
}

static int real_flush(struct segment_dir *d)
{
	return fsync(fd_of(d)) ? -errno : 0;
}

static void real_close(struct segment_dir *d)
{
	close(fd_of(d));
	free(d);
}

static const struct segment_dir_ops real_ops = {
	.open = real_open,
	.remove = real_remove,
	.space = real_space,
	.list = real_list,
	.flush = real_flush,
	.close = real_close,
};

static int open_real(int dirfd, bool read_only, struct segment_dir **out)
{
	struct real_dir *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->base.ops = &real_ops;
	d->fd = dirfd;
	d->read_only = read_only;
	*out = &d->base;
	return 0;
}

int segment_dir_open(int dirfd, struct segment_dir **out)
{
	return open_real(dirfd, false, out);
}

int segment_dir_open_to_read(int dirfd, struct segment_dir **out)
{
	return open_real(dirfd, true, out);
}

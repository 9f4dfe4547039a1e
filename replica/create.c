// SPDX-License-Identifier: GPL-2.0-or-later
/* CreateDisk, and open(O_CREAT) in the mount. A file has its name only once it is whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "operations.h"
#include "scan.h"
#include "watch.h"

int check_file_name(const char *name, struct why *why)
{
	if (!name[0])
		return refuse(why, -EINVAL, "the name is empty");
	if (strlen(name) > NAME_MAX)
		return refuse(why, -EINVAL, "the name is longer than %d bytes", NAME_MAX);
	if (name[0] == '.' || name[0] == '-')
		return refuse(why, -EINVAL, "a name does not begin with '%c'", name[0]);
	for (const char *s = name; *s; s++)
		if (*s == '/' || *s == ':' || (unsigned char)*s < ' ' || *s == 0x7f)
			return refuse(why, -EINVAL,
				      "a name holds no '/', ':' or control character");
	return 0;
}

/* "[POOL:]FILE" to its parts; *pool is a reference. */
static int split_name(struct tandem *t, const char *name, struct pool **pool, const char **file,
		      struct why *why)
{
	const char *colon = strchr(name, ':');
	char pool_name[POOL_NAME_MAX + 1] = "";

	if (colon) {
		if (colon - name > POOL_NAME_MAX)
			return refuse(why, -ENOENT, "there is no such pool");
		memcpy(pool_name, name, colon - name);
	}
	*file = colon ? colon + 1 : name;
	*pool = tandem_pool_named(t, pool_name);
	if (!*pool || (colon && colon == name)) {
		pool_unref(*pool);
		return refuse(why, -ENOENT, "there is no pool '%s'", pool_name);
	}
	if ((*pool)->dirfd < 0) {
		pool_unref(*pool);
		return refuse_advise(why, -EBUSY, "see the pool's status, then Rescan",
				     "the directory of pool '%s' is not there", pool_name);
	}
	return 0;
}

static int choose_format(const struct create_disk *c, const char *file,
			 const struct image_format **format, struct why *why)
{
	struct image_name kind = image_name_classify(file);

	if (c->as_file) {
		if (!kind.known || !kind.format || !kind.format->flat || kind.needs_sectors)
			return refuse(
				why, -EPERM,
				"only names of raw disks (.img .raw .iso) are made like files");
		*format = kind.format;
		return 0;
	}
	if (!kind.known)
		return refuse_advise(why, -EINVAL, "a name that ends in .img or .raw",
				     "'%s' is not called like a disk", file);
	*format = kind.format;
	if (c->format) {
		*format = image_format_named(c->format);
		if (!*format)
			return refuse(why, -EOPNOTSUPP, "this tandemfs makes no %s images",
				      c->format);
		if (kind.format != *format)
			return refuse(why, -EINVAL, "a %s image is not called '%s'", c->format,
				      file);
	}
	if (!*format || !(*format)->create)
		return refuse(why, -EOPNOTSUPP, "this tandemfs makes no %s images", kind.ending);
	return 0;
}

static int check_create(struct tandem *t, const struct create_disk *c, struct pool *p,
			const char *file, const struct image_format **format, struct why *why)
{
	struct stat st;
	int err;

	if (t->read_only)
		return refuse(why, -EROFS, "the mount is read-only");
	err = choose_format(c, file, format, why);
	if (err)
		return err;
	err = check_file_name(file, why);
	if (err)
		return err;
	if (!c->as_file && (c->size == 0 || c->size % 512))
		return refuse(why, -EINVAL, "Size is a multiple of 512 and not 0");
	if (c->size > INT64_MAX)
		return refuse(why, -EINVAL, "Size is too large");
	if (!fstatat(p->dirfd, file, &st, AT_SYMLINK_NOFOLLOW))
		return refuse(why, -EEXIST, "there is a file '%s' already", file);
	for (size_t i = 1; i < t->pool_count && p->number == 0; i++)
		if (!strcmp(t->pools[i]->name, file))
			return refuse(why, -EEXIST, "there is a pool '%s' already", file);
	return 0;
}

/* The descriptor is closed with the file. */
static int fill_image(int fd, const struct create_disk *c, const struct image_format *format)
{
	struct file *f;
	int err;

	if ((c->uid != geteuid() || c->gid != getegid()) && fchown(fd, c->uid, c->gid))
		err = -errno;
	else
		err = fchmod(fd, c->mode & 07777) ? -errno : 0;
	if (err || (err = file_adopt(dup(fd), false, &f)))
		return err;
	err = format->create(f, c->size);
	if (!err)
		err = f->ops->flush(f);
	f->ops->close(f);
	return err;
}

/* Nothing has a name before it is whole and durable. */
static int make_unnamed(struct pool *p, const char *file, const struct create_disk *c,
			const struct image_format *format)
{
	int fd = openat(p->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), reading, err;
	char path[32];

	if (fd < 0)
		return -errno;
	err = fill_image(fd, c, format);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* It has no name yet while a descriptor that could write is closed: nobody hears of it. */
	reading = open(path, O_RDONLY | O_CLOEXEC);
	if (reading < 0 && !err)
		err = -errno;
	close(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", reading);
	if (!err && linkat(AT_FDCWD, path, p->dirfd, file, AT_SYMLINK_FOLLOW))
		err = -errno;
	if (reading >= 0)
		close(reading);
	return err;
}

/* Where files cannot be without a name. */
static int make_named(struct tandem *t, struct pool *p, const char *file,
		      const struct create_disk *c, const struct image_format *format)
{
	int fd = openat(p->dirfd, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int err;

	if (fd < 0)
		return -errno;
	err = fill_image(fd, c, format);
	watch_own_close(t->watch, p, file);
	close(fd);
	if (err)
		unlinkat(p->dirfd, file, 0);
	return err;
}

static int create_in(struct tandem *t, const struct create_disk *c, struct pool *p,
		     const char *file, const struct image_format *format, struct disk **out,
		     struct why *why)
{
	int err = make_unnamed(p, file, c, format);

	if (err == -EOPNOTSUPP || err == -EISDIR || err == -EINVAL)
		err = make_named(t, p, file, c, format);
	if (err)
		return refuse(why, err, "'%s' cannot be made: %s", file, strerror(-err));
	err = fsync(p->dirfd) ? -errno : scan_name(t, p, file, SCAN_LOOK);
	if (err)
		unlinkat(p->dirfd, file, 0);
	if (err)
		return refuse(why, err, "'%s' cannot be made: %s", file, strerror(-err));
	*out = tandem_disk_of_file(t, p, file);
	if (*out && disk_is_served(*out))
		return 0;
	disk_unref(*out);
	return refuse(why, -EIO, "'%s' was made, but is not served", file);
}

int tandem_create_disk(struct tandem *t, const struct create_disk *c, struct disk **out,
		       struct why *why)
{
	const struct image_format *format = NULL;
	struct disk *made = NULL;
	struct pool *p = NULL;
	const char *file = NULL;
	int err;

	pthread_mutex_lock(&t->discovery);
	err = split_name(t, c->name, &p, &file, why);
	if (!err) {
		err = check_create(t, c, p, file, &format, why);
		if (!err && !c->plan)
			err = create_in(t, c, p, file, format, &made, why);
		pool_unref(p);
	}
	pthread_mutex_unlock(&t->discovery);
	if (!err)
		*out = made;
	return err;
}

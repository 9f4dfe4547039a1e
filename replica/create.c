// SPDX-License-Identifier: GPL-2.0-or-later
/* CreateDisk, and open(O_CREAT) in the mount. A file has its name only once it is whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "close_wait.h"
#include "names.h"
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

/* What will be made, and of what. */
struct plan {
	struct pool *pool;
	const char *file;
	char image_file[NAME_MAX + 1]; /* as it is called at first */
	const struct image_format *format;
	struct disk *parent; /* a reference, or NULL */
	struct image_create image;
	char parent_path[PATH_MAX + NAME_MAX + 2];
};

/* Of a kind that was not asked for: the one that can be so. */
static int choose_kind(const struct create_disk *c, struct plan *p, struct why *why)
{
	const char *const *kind = p->format->kinds;
	bool full = c->provisioning == PROVISION_FULL;

	if (p->format->flat || c->provisioning == PROVISION_AS_IT_COMES)
		return 0;
	if (c->format && image_kind_is_fixed(p->image.kind) == full)
		return 0;
	if (c->format && !full)
		return refuse_advise(why, -EINVAL, p->format->kinds[0],
				     "a %s image has all of its space from the start",
				     p->image.kind);
	while (full && *kind && !image_kind_is_fixed(*kind))
		kind++;
	if (c->format && *kind)
		return refuse_advise(why, -EINVAL, *kind, "a %s image takes space as it is written",
				     p->image.kind);
	if (!*kind)
		return refuse_advise(why, -EOPNOTSUPP, "a name that ends in .img, .vhd or .vhdx",
				     "a %s image takes space as it is written, and cannot have "
				     "all of it before",
				     p->format->kinds[0]);
	p->image.kind = *kind;
	return 0;
}

static int choose_format(const struct create_disk *c, struct plan *p, struct why *why)
{
	struct image_name kind = image_name_classify(p->file);

	if (c->as_file) {
		if (!kind.format || !kind.format->flat || kind.needs_sectors)
			return refuse(
				why, -EPERM,
				"only names of raw disks (.img .raw .iso) are made like files");
		p->format = kind.format;
		p->image.kind = p->format->kinds[0];
		return 0;
	}
	if (!kind.format)
		return refuse_advise(why, -EINVAL, "a name that ends in .img, .vhdx, ...",
				     "'%s' is not called like a disk", p->file);
	p->format = kind.format;
	if (c->format) {
		p->format = image_format_named(c->format, &p->image.kind);
		if (!p->format)
			return refuse(why, -EOPNOTSUPP, "this tandemfs makes no %s images",
				      c->format);
		if (kind.format != p->format)
			return refuse(why, -EINVAL, "a %s image is not called '%s'", c->format,
				      p->file);
	}
	if (!p->image.kind)
		p->image.kind = p->format->kinds[0];
	return choose_kind(c, p, why);
}

/* A parent is not written any more: nobody may have it open for that. */
static int choose_parent(struct tandem *t, const struct create_disk *c, struct plan *p,
			 struct why *why)
{
	struct disk *d;

	if (!c->parent)
		return 0;
	d = p->parent = tandem_disk_called(t, c->parent);
	if (!d || !disk_is_served(d))
		return refuse(why, -ENOENT, "there is no disk '%s' that is served", c->parent);
	if (disk_is_written(d))
		return refuse_advise(while_open(d, why), -EBUSY, "close it first",
				     "%s is open for writing", d->label);
	if (d->pool == p->pool)
		p->image.parent_at.relative = d->file_name;
	snprintf(p->parent_path, sizeof(p->parent_path), "%s/%s", d->pool->dir, d->file_name);
	p->image.parent_at.absolute = p->parent_path;
	p->image.parent = d->image;
	if (!c->size)
		p->image.size = disk_size(d);
	return 0;
}

/* As a file; or in the mount, where a disk may be called otherwise than its file, served or not. */
static bool is_listed(struct tandem *t, const struct plan *p)
{
	char mount_name[NAME_MAX + 1 + 4];
	struct disk *d = tandem_disk_of_file(t, p->pool, p->file);

	snprintf(mount_name, sizeof(mount_name), "%s%s", p->file, p->format->flat ? "" : ".raw");
	disk_unref(d);
	return d || tandem_name_is_known(t, p->pool, mount_name);
}

static int name_image(const struct create_disk *c, struct plan *p, struct why *why)
{
	const char *ending = c->incomplete ? INCOMPLETE : "";

	if (snprintf(p->image_file, sizeof(p->image_file), "%s%s", p->file, ending) > NAME_MAX)
		return refuse(why, -EINVAL, "the name is too long");
	return 0;
}

static int check_create(struct tandem *t, const struct create_disk *c, struct plan *p,
			struct why *why)
{
	const char *file = p->file;
	struct stat st;
	int err;

	if (t->read_only)
		return refuse(why, -EROFS, "the mount is read-only");
	p->image.size = c->size;
	p->image.block_size = c->block_size;
	p->image.sector_size = c->sector_size;
	err = choose_format(c, p, why);
	if (!err)
		err = choose_parent(t, c, p, why);
	if (!err)
		err = check_file_name(file, why) ?: name_image(c, p, why);
	if (err)
		return err;
	if (!c->as_file &&
	    (p->image.size == 0 || (p->image.size % 512 && !(c->incomplete && p->format->flat))))
		return refuse(why, -EINVAL, "Size is a multiple of 512 and not 0");
	/* Without an ending it is a disk only in whole sectors. */
	if (p->image.size % 512 && image_name_classify(file).needs_sectors)
		return refuse_advise(why, -EINVAL, "a name that ends in .img",
				     "'%s' would have a size that is no multiple of 512", file);
	if (p->image.size > INT64_MAX)
		return refuse(why, -EINVAL, "Size is too large");
	if (!fstatat(p->pool->dirfd, file, &st, AT_SYMLINK_NOFOLLOW))
		return refuse(why, -EEXIST, "there is a file '%s' already", file);
	if (is_listed(t, p))
		return refuse(why, -EEXIST, "there is a disk '%s' already", file);
	if (c->incomplete && !fstatat(p->pool->dirfd, p->image_file, &st, AT_SYMLINK_NOFOLLOW))
		return refuse_advise(why, -EEXIST, "remove it",
				     "there is a file '%s' that is of no disk", p->image_file);
	for (size_t i = 1; i < t->pool_count && p->pool->number == 0; i++)
		if (!strcmp(t->pools[i]->name, file))
			return refuse(why, -EEXIST, "there is a pool '%s' already", file);
	return 0;
}

/* What is sure to fail is not begun: it would take what there is from others meanwhile. */
static int take_space(int fd, struct file *f)
{
	struct file_stat st;
	struct statvfs fs;

	if (!f->ops->stat(f, &st) && !fstatvfs(fd, &fs) &&
	    st.size - st.allocated > (uint64_t)fs.f_bfree * fs.f_frsize && st.size > st.allocated)
		return -ENOSPC;
	return file_take_space(f);
}

/* The descriptor is closed with the file. */
static int fill_image(int fd, const struct create_disk *c, const struct plan *p,
		      char reason[IMAGE_REASON])
{
	struct image_create image = p->image;
	struct file *f;
	char path[32];
	int err;

	if ((c->uid != geteuid() || c->gid != getegid()) && fchown(fd, c->uid, c->gid))
		err = -errno;
	else
		err = fchmod(fd, c->mode & 07777) ? -errno : 0;
	if (err || (err = file_adopt(dup(fd), false, &f)))
		return err;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file_fd(f));
	image.path = path;
	err = p->format->create(f, &image, reason);
	if (!err && c->provisioning == PROVISION_FULL)
		err = take_space(fd, f);
	if (!err)
		err = f->ops->flush(f);
	f->ops->close(f);
	return err;
}

/* Nothing has a name before it is whole and durable; in a plan, never. */
static int make_unnamed(const struct create_disk *c, const struct plan *p,
			char reason[IMAGE_REASON])
{
	int fd = openat(p->pool->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), reading, err;
	char path[32];

	if (fd < 0)
		return -errno;
	err = fill_image(fd, c, p, reason);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* It has no name yet while a descriptor that could write is closed: nobody hears of it. */
	reading = open(path, O_RDONLY | O_CLOEXEC);
	if (reading < 0 && !err)
		err = -errno;
	close(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", reading);
	if (!err && !c->plan &&
	    linkat(AT_FDCWD, path, p->pool->dirfd, p->image_file, AT_SYMLINK_FOLLOW))
		err = -errno;
	if (reading >= 0)
		close(reading);
	return err;
}

/* Where files cannot be without a name. */
static int make_named(struct tandem *t, const struct create_disk *c, const struct plan *p,
		      char reason[IMAGE_REASON])
{
	int dir = p->pool->dirfd, err;
	int fd = openat(dir, p->image_file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
			0600);

	if (fd < 0)
		return -errno;
	err = fill_image(fd, c, p, reason);
	watch_own_close(t->watch, p->pool, p->image_file);
	close(fd);
	if (err)
		unlinkat(dir, p->image_file, 0);
	return err;
}

static int create_in(struct tandem *t, const struct create_disk *c, const struct plan *p,
		     struct disk **out, struct why *why)
{
	char reason[IMAGE_REASON] = "";
	struct disk *made;
	int err = make_unnamed(c, p, reason);

	if ((err == -EOPNOTSUPP || err == -EISDIR || err == -EINVAL) && !reason[0])
		err = c->plan ? 0 : make_named(t, c, p, reason);
	if (err && reason[0])
		return refuse(why, err, "'%s' cannot be made: %s", p->file, reason);
	if (err)
		return refuse(why, err, "'%s' cannot be made: %s", p->file, strerror(-err));
	if (c->plan)
		return 0;
	err = fsync(p->pool->dirfd) ? -errno
				    : scan_new(t, p->pool, p->image_file, c->record, c->arg);
	if (err)
		unlinkat(p->pool->dirfd, p->image_file, 0);
	if (err)
		return refuse(why, err, "'%s' cannot be made: %s", p->file, strerror(-err));
	made = tandem_disk_of_file(t, p->pool, p->file);
	if (made && disk_is_served(made)) {
		*out = made;
		return 0;
	}
	err = refuse(why, -EIO, "'%s' was made, but is not served: %s", p->file,
		     made ? made->reason : "it is gone");
	unlinkat(p->pool->dirfd, p->image_file, 0);
	if (made) /* its records are there already */
		operations_forget(t, made);
	disk_unref(made);
	return err;
}

int tandem_create_disk(struct tandem *t, const struct create_disk *c, struct disk **out,
		       struct why *why)
{
	struct plan p = { 0 };
	struct disk *made = NULL;
	int err;

	pthread_mutex_lock(&t->discovery);
	err = split_name(t, c->name, &p.pool, &p.file, why);
	if (!err) {
		err = check_create(t, c, &p, why);
		if (!err)
			err = create_in(t, c, &p, &made, why);
		disk_unref(p.parent);
		pool_unref(p.pool);
	}
	pthread_mutex_unlock(&t->discovery);
	if (!err)
		*out = made;
	return err;
}

/* ---- a file gets its name ---- */

/* One that has its name may have it from a life before this, or from others. */
static int rename_whole(struct disk *d)
{
	char whole[NAME_MAX + 1];
	struct catalogue_txn *txn;
	struct disk_record r;
	int dir = d->pool->dirfd;

	if (name_whole(d->file_name, whole)) {
		if (renameat2(dir, d->file_name, dir, whole, RENAME_NOREPLACE))
			return -errno;
		tandem_rename_listed(d->tandem, d, whole);
	}
	if (fsync(dir))
		return -errno;
	scan_record(d, &r);
	if (tandem_txn(d->tandem, &txn))
		return 0; /* a start finds it by its identity */
	catalogue_put_disk(txn, &r);
	tandem_commit(d->tandem);
	return 0;
}

int operations_complete_name(struct disk *d)
{
	struct tandem *t = d->tandem;
	int err;

	if (pthread_mutex_trylock(&t->discovery))
		return -EBUSY;
	err = rename_whole(d);
	pthread_mutex_unlock(&t->discovery);
	return err;
}

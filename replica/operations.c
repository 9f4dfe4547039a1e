// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an administrator asks for. Each operation holds discovery, checks
 * everything, stops there for a plan, and then does all of it or nothing.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scan.h"
#include "tandem.h"
#include "watch.h"

/* ---- names ---- */

/* What a file may be called that we make. */
static int check_file_name(const char *name, struct why *why)
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

/* ---- CreateDisk ---- */

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
	int fd = openat(p->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), err;
	char path[32];

	if (fd < 0)
		return -errno;
	err = fill_image(fd, c, format);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!err && linkat(AT_FDCWD, path, p->dirfd, file, AT_SYMLINK_FOLLOW))
		err = -errno;
	close(fd);
	return err;
}

/* Where files cannot be without a name. */
static int make_named(struct pool *p, const char *file, const struct create_disk *c,
		      const struct image_format *format)
{
	int fd = openat(p->dirfd, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int err;

	if (fd < 0)
		return -errno;
	err = fill_image(fd, c, format);
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
		err = make_named(p, file, c, format);
	if (!err && fsync(p->dirfd))
		err = -errno;
	if (!err)
		err = scan_name(t, p, file, SCAN_LOOK);
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

/* ---- DeleteDisk, rename ---- */

/* The directory may have been changed behind us: what has the name must be this image. */
static int check_still_there(struct disk *d, struct why *why)
{
	struct stat named, ours;

	if (!d->image)
		return 0; /* could not be opened; the name is all there is */
	if (fstatat(d->pool->dirfd, d->file_name, &named, AT_SYMLINK_NOFOLLOW))
		return 0; /* nothing else can be hit */
	if (fstat(file_fd(d->image->file), &ours) || named.st_ino != ours.st_ino ||
	    named.st_dev != ours.st_dev)
		return refuse_advise(why, -ENOENT, "Rescan", "%s is not the image it was",
				     d->file_name);
	return 0;
}

/* From here on nobody opens it. -EBUSY when somebody has. */
static int claim(struct disk *d, struct why *why)
{
	int err = 0;

	pthread_mutex_lock(&d->lock);
	if (!d->listed)
		err = refuse(why, -ENOENT, "%s is gone", d->label);
	else if (d->openers)
		err = refuse_advise(why, -EBUSY, "close it first", "%s is open (%u)", d->label,
				    d->openers);
	else
		d->listed = false;
	pthread_mutex_unlock(&d->lock);
	return err;
}

static void unclaim(struct disk *d)
{
	pthread_mutex_lock(&d->lock);
	d->listed = true;
	pthread_mutex_unlock(&d->lock);
}

static void forget(struct tandem *t, struct disk *d)
{
	char object[DISK_LABEL_MAX + 8];
	struct catalogue_txn *txn;

	tandem_unlist_disk(t, d);
	if (!tandem_txn(t, &txn)) {
		catalogue_del_disk(txn, d->number);
		tandem_commit(t);
	}
	events_emit(t->events, EVENT_INFORMATION, "DiskRemoved",
		    disk_object(d, object, sizeof(object)), "By=command");
}

int tandem_delete_disk(struct tandem *t, struct disk *d, bool plan, struct why *why)
{
	int err;

	pthread_mutex_lock(&t->discovery);
	err = t->read_only ? refuse(why, -EROFS, "the mount is read-only")
			   : check_still_there(d, why);
	if (!err)
		err = claim(d, why);
	if (!err && plan) {
		unclaim(d);
	} else if (!err) {
		if (unlinkat(d->pool->dirfd, d->file_name, 0) && errno != ENOENT) {
			err = refuse(why, -errno, "%s: %s", d->file_name, strerror(errno));
			unclaim(d);
		} else {
			fsync(d->pool->dirfd);
			forget(t, d);
		}
	}
	pthread_mutex_unlock(&t->discovery);
	return err;
}

static int check_rename(struct tandem *t, struct disk *d, const char *new_name, unsigned flags,
			struct why *why)
{
	struct image_name kind = image_name_classify(new_name);

	if (flags & ~(unsigned)RENAME_NOREPLACE)
		return refuse(why, -EINVAL, "only RENAME_NOREPLACE");
	if (t->read_only)
		return refuse(why, -EROFS, "the mount is read-only");
	if (!d->format || !d->format->flat || kind.format != d->format || kind.needs_sectors)
		return refuse(why, -EPERM, "only raw disks, to names of raw disks");
	if (check_file_name(new_name, why))
		return -EPERM;
	return check_still_there(d, why);
}

static void rename_done(struct tandem *t, struct disk *d, const char *new_name)
{
	char object[DISK_LABEL_MAX + 8], from[4 * NAME_MAX + 1];
	struct catalogue_txn *txn;
	struct disk_record r;

	event_word(from, sizeof(from), d->file_name);
	tandem_rename_listed(t, d, new_name);
	unclaim(d);
	scan_record(d, &r);
	if (!tandem_txn(t, &txn)) {
		catalogue_put_disk(txn, &r);
		tandem_commit(t);
	}
	events_emit(t->events, EVENT_INFORMATION, "DiskRenamed",
		    disk_object(d, object, sizeof(object)), "From=%s", from);
	tandem_changed(t, d);
}

static int rename_claimed(struct tandem *t, struct disk *d, struct disk *over, const char *new_name,
			  struct why *why)
{
	int dir = d->pool->dirfd;

	/* A file there that is no disk of ours is never replaced. */
	if (renameat2(dir, d->file_name, dir, new_name, over ? 0 : RENAME_NOREPLACE))
		return refuse(why, -errno, "%s: %s", d->file_name, strerror(errno));
	fsync(dir);
	if (over)
		forget(t, over);
	rename_done(t, d, new_name);
	return 0;
}

int tandem_rename_disk(struct tandem *t, struct disk *d, const char *new_name, unsigned flags,
		       struct why *why)
{
	struct disk *over = NULL;
	int err;

	pthread_mutex_lock(&t->discovery);
	err = check_rename(t, d, new_name, flags, why);
	if (!err && !strcmp(d->file_name, new_name))
		goto out;
	if (!err) {
		over = tandem_disk_of_file(t, d->pool, new_name);
		if (over && flags & RENAME_NOREPLACE)
			err = refuse(why, -EEXIST, "'%s' exists", new_name);
	}
	if (!err)
		err = claim(d, why);
	if (!err) {
		err = over ? claim(over, why) : 0;
		if (!err) {
			err = rename_claimed(t, d, over, new_name, why);
			if (err && over)
				unclaim(over);
		}
		if (err)
			unclaim(d);
	}
	disk_unref(over);
out:
	pthread_mutex_unlock(&t->discovery);
	return err;
}

/* ---- one disk ---- */

static int check_served(struct disk *d, struct why *why)
{
	enum disk_state s = disk_state(d);

	if (disk_is_served(d))
		return 0;
	return refuse_advise(why, -EBUSY, s == DISK_FAILED ? "Accept Force" : "",
			     "the disk is %s; this needs Ready", disk_state_name(s));
}

int tandem_resize_disk(struct tandem *t, struct disk *d, uint64_t size, bool force, bool plan,
		       struct why *why)
{
	int err = check_served(d, why);

	if (err)
		return err;
	if (disk_state(d) == DISK_READ_ONLY)
		return refuse(why, -EROFS, "the disk is ReadOnly");
	if (size == 0 || size % 512 || size > INT64_MAX)
		return refuse(why, -EINVAL, "Size is a multiple of 512 and not 0");
	if (!d->format->resize)
		return refuse(why, -EOPNOTSUPP, "a %s image keeps its size", d->format->name);
	if (size < disk_size(d) && !force)
		return refuse_advise(why, -EPERM, "Resize with Force",
				     "this cuts off and loses the last %" PRIu64 " bytes",
				     disk_size(d) - size);
	if (size < disk_size(d) && disk_is_open(d))
		return refuse_advise(why, -EBUSY, "close it first",
				     "the disk is open; only a closed one can shrink");
	if (plan)
		return 0;
	/* Counts as a client meanwhile, so that the disk stays what it is. */
	err = disk_open(d, true);
	if (err)
		return refuse(why, err, "%s", strerror(-err));
	err = disk_resize(d, size, force);
	if (!err)
		err = disk_flush(d);
	disk_close(d);
	if (err)
		return refuse(why, err, "the image cannot be resized: %s", strerror(-err));
	return 0;
}

int tandem_set_disk_read_only(struct tandem *t, struct disk *d, bool read_only, bool plan,
			      struct why *why)
{
	struct catalogue_txn *txn;
	struct disk_record r;
	int err;

	pthread_mutex_lock(&t->discovery);
	err = check_served(d, why);
	if (!err && disk_is_open(d) && read_only != d->want_read_only)
		err = refuse_advise(why, -EBUSY, "close it first", "the disk is open");
	if (err || plan || read_only == d->want_read_only)
		goto out;
	scan_record(d, &r);
	r.read_only = read_only;
	err = tandem_txn(t, &txn);
	if (!err) {
		catalogue_put_disk(txn, &r);
		err = tandem_commit(t);
	}
	if (err) {
		refuse(why, err, "the setting cannot be recorded: %s", strerror(-err));
		goto out;
	}
	pthread_mutex_lock(&d->lock);
	d->want_read_only = read_only;
	pthread_mutex_unlock(&d->lock);
	disk_set_state(d, read_only || d->image->read_only ? DISK_READ_ONLY : DISK_READY, "");
out:
	pthread_mutex_unlock(&t->discovery);
	return err;
}

static int check_accept(struct disk *d, bool force, struct why *why)
{
	enum disk_state s = disk_state(d);

	if (s != DISK_CHANGED && s != DISK_FAILED)
		return refuse(why, -EBUSY, "the disk is %s; Accept needs Changed or Failed",
			      disk_state_name(s));
	if (!force)
		return refuse_advise(why, -EPERM, "Accept Force",
				     "what the image holds now becomes the truth: %s", d->reason);
	/* A container's tables must not change under who reads it. */
	if (!d->format->flat && disk_is_open(d))
		return refuse_advise(why, -EBUSY, "close it first", "the disk is open");
	return 0;
}

int tandem_accept_disk(struct tandem *t, struct disk *d, bool force, bool plan, struct why *why)
{
	struct catalogue_txn *txn;
	struct disk_record r;
	int err;

	pthread_mutex_lock(&t->discovery);
	err = check_accept(d, force, why);
	if (err || plan)
		goto out;
	/* Recorded first: a crash now leaves a disk that is known to be in doubt, or is not any more. */
	scan_record(d, &r);
	r.failed = false;
	err = tandem_txn(t, &txn);
	if (!err) {
		catalogue_put_disk(txn, &r);
		err = tandem_commit(t);
	}
	if (!err)
		err = scan_reload(t, d);
	if (err)
		refuse(why, err, "the image cannot be accepted: %s", strerror(-err));
out:
	pthread_mutex_unlock(&t->discovery);
	return err;
}

/* ---- pools ---- */

static int check_pool_dir(struct tandem *t, const char *name, const char *dir, char *path,
			  struct why *why)
{
	struct stat st, other;

	if (dir[0] != '/')
		return refuse(why, -EINVAL, "Dir is an absolute path");
	if (!realpath(dir, path))
		return refuse(why, errno == ENOENT ? -ENOENT : -EINVAL, "%s: %s", dir,
			      strerror(errno));
	if (stat(path, &st))
		return refuse(why, -errno, "%s: %s", path, strerror(errno));
	for (size_t i = 0; i < t->pool_count; i++) {
		struct pool *p = t->pools[i];

		if (!strcmp(p->name, name))
			return refuse(why, -EEXIST, "there is a pool '%s' already", name);
		if (p->dirfd >= 0 && !fstat(p->dirfd, &other) && st.st_dev == other.st_dev &&
		    st.st_ino == other.st_ino)
			return refuse(why, -EEXIST, "%s is served already", path);
	}
	if (!fstat(t->state_dirfd, &other) && st.st_dev == other.st_dev &&
	    st.st_ino == other.st_ino)
		return refuse(why, -EINVAL, "%s is the state directory", path);
	return 0;
}

static int record_pool(struct tandem *t, const char *name, const char *path, uint32_t *number)
{
	struct pool_record r = { 0 };
	struct catalogue_txn *txn;
	int err = tandem_txn(t, &txn);

	if (err)
		return err;
	catalogue_new_number(txn, &r.number);
	snprintf(r.name, sizeof(r.name), "%s", name);
	snprintf(r.dir, sizeof(r.dir), "%s", path);
	catalogue_put_pool(txn, &r);
	*number = r.number;
	return tandem_commit(t);
}

static int add_pool(struct tandem *t, const char *name, const char *dir, bool plan, struct why *why)
{
	struct disk *same = tandem_disk_of_file(t, t->pools[0], name);
	char path[PATH_MAX], object[POOL_NAME_MAX + 8], word[PATH_MAX];
	struct pool *p;
	int err;

	disk_unref(same);
	if (same)
		return refuse(why, -EEXIST, "there is a disk '%s' already", name);
	err = check_pool_dir(t, name, dir, path, why);
	if (err)
		return err;
	/* The number is set once it is recorded; until then nobody can see the pool. */
	err = pool_new(0, name, path, &p);
	if (err)
		return refuse(why, err, "out of memory");
	err = pool_open(p, why);
	if (err || plan)
		goto out;
	err = watch_pool(t->watch, p);
	if (!err)
		err = record_pool(t, name, path, &p->number);
	p->recorded = true;
	if (!err)
		err = tandem_list_pool(t, p);
	if (err) {
		watch_forget(t->watch, p);
		refuse(why, err, "the pool cannot be recorded: %s", strerror(-err));
		goto out;
	}
	snprintf(object, sizeof(object), "pools/%s", name);
	events_emit(t->events, EVENT_INFORMATION, "PoolAdded", object, "Dir=%s",
		    event_word(word, sizeof(word), path));
	scan_pool(t, p, SCAN_LOOK);
out:
	pool_unref(p);
	return err;
}

int tandem_add_pool(struct tandem *t, const char *name, const char *dir, bool plan, struct why *why)
{
	int err;

	pthread_mutex_lock(&t->discovery);
	err = add_pool(t, name, dir, plan, why);
	pthread_mutex_unlock(&t->discovery);
	return err;
}

/* All or none are claimed. */
static int claim_all(struct pool *p, struct disk **disks, size_t count, struct why *why)
{
	for (size_t i = 0; i < count; i++) {
		int err = disks[i]->pool == p ? claim(disks[i], why) : 0;

		if (err) {
			while (i-- > 0)
				if (disks[i]->pool == p)
					unclaim(disks[i]);
			return err;
		}
	}
	return 0;
}

static int remove_pool(struct tandem *t, struct pool *p, bool plan, struct why *why)
{
	char object[POOL_NAME_MAX + 8];
	struct catalogue_txn *txn;
	size_t count;
	struct disk **disks = tandem_disks(t, &count);
	int err = claim_all(p, disks, count, why);

	if (err)
		goto out;
	if (!plan) {
		err = tandem_txn(t, &txn);
		if (!err) {
			catalogue_del_pool(txn, p->number);
			err = tandem_commit(t);
		}
		if (err)
			refuse(why, err, "the pool cannot be forgotten: %s", strerror(-err));
	}
	for (size_t i = 0; i < count; i++) {
		if (disks[i]->pool != p)
			continue;
		if (plan || err)
			unclaim(disks[i]);
		else
			tandem_unlist_disk(t, disks[i]);
	}
	if (!plan && !err) {
		watch_forget(t->watch, p);
		tandem_unlist_pool(t, p);
		snprintf(object, sizeof(object), "pools/%s", p->name);
		events_emit(t->events, EVENT_INFORMATION, "PoolRemoved", object, "%s", "");
	}
out:
	disks_free(disks, count);
	return err;
}

int tandem_remove_pool(struct tandem *t, const char *name, bool plan, struct why *why)
{
	struct pool *p;
	int err;

	pthread_mutex_lock(&t->discovery);
	p = name[0] ? tandem_pool_named(t, name) : NULL;
	err = p ? remove_pool(t, p, plan, why)
		: refuse(why, -ENOENT, "there is no pool '%s'", name);
	pool_unref(p);
	pthread_mutex_unlock(&t->discovery);
	return err;
}

/* ---- Rescan ---- */

/* A pool that was not there may be now. */
static void open_again(struct tandem *t, struct pool *p)
{
	struct why why = { 0 };

	if (p->dirfd >= 0 || pool_open(p, &why) || watch_pool(t->watch, p))
		return;
	atomic_fetch_add(&p->changes, 1);
	tandem_changed(t, NULL);
}

int tandem_rescan(struct tandem *t, bool plan, struct why *why)
{
	struct pool **pools;
	size_t count;
	int err = 0;

	if (plan)
		return 0;
	pthread_mutex_lock(&t->discovery);
	pools = tandem_pools(t, &count);
	for (size_t i = 0; i < count; i++) {
		int e;

		open_again(t, pools[i]);
		e = scan_pool(t, pools[i], SCAN_LOOK);
		if (e && !err)
			err = refuse(why, e, "%s cannot be read: %s", pools[i]->dir, strerror(-e));
	}
	pools_free(pools, count);
	pthread_mutex_unlock(&t->discovery);
	return err;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* MOUNTPOINT and MOUNTPOINT/POOL. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ops.h"

static struct pool *pool_of(struct mount *m, uint32_t number)
{
	return tandem_pool_numbered(m->tandem, number);
}

/* Owner, mode and times of the backing directory. One that is not there is empty. */
static void dir_attributes(struct mount *m, struct pool *p, struct stat *st)
{
	struct pool_status status;

	*st = (struct stat){
		.st_ino = ino_of((struct place){ .kind = PLACE_DIR, .number = p->number }),
		.st_mode = S_IFDIR | 0555,
		.st_nlink = 2,
		.st_uid = m->owner,
		.st_gid = m->group,
		.st_atim = m->mounted,
		.st_mtim = m->mounted,
		.st_ctim = m->mounted,
	};
	pool_status(p, &status);
	if (!status.ready || !status.attributes.st_mode)
		return;
	st->st_mode = S_IFDIR | (status.attributes.st_mode & 07777);
	st->st_uid = status.attributes.st_uid;
	st->st_gid = status.attributes.st_gid;
	st->st_mtim = status.attributes.st_mtim;
	st->st_ctim = status.attributes.st_ctim;
}

void dir_getattr(fuse_req_t req, uint32_t pool)
{
	struct mount *m = mount_of(req);
	struct pool *p = pool_of(m, pool);
	struct stat st;

	if (!p) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	dir_attributes(m, p, &st);
	fuse_reply_attr(req, &st, 0);
	pool_unref(p);
}

/* ---- lookup ---- */

static int find_disk(struct mount *m, struct pool *p, const char *name, struct fuse_entry_param *e)
{
	struct disk *d = tandem_disk_mounted(m->tandem, p, name);
	int err = d ? disk_attributes(d, &e->attr) : -ENOENT;

	if (!err)
		e->ino = e->attr.st_ino;
	disk_unref(d);
	return err;
}

static int find_in_root(struct mount *m, const char *name, struct fuse_entry_param *e)
{
	struct pool *p;

	if (!strcmp(name, ".replication")) {
		tree_attributes(m, node_root, &e->attr);
		e->ino = e->attr.st_ino;
		return 0;
	}
	p = name[0] ? tandem_pool_named(m->tandem, name) : NULL;
	if (!p)
		return -ENOENT;
	dir_attributes(m, p, &e->attr);
	e->ino = e->attr.st_ino;
	pool_unref(p);
	return 0;
}

/* No time-outs: what is gone from the directory is gone from the mount at once. */
void dir_lookup(fuse_req_t req, uint32_t pool, const char *name)
{
	struct mount *m = mount_of(req);
	struct fuse_entry_param e = { 0 };
	struct pool *p = pool_of(m, pool);
	int err = p ? -ENOENT : -ESTALE;

	if (p && pool == 0)
		err = find_in_root(m, name, &e);
	if (err == -ENOENT)
		err = find_disk(m, p, name, &e);
	pool_unref(p);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_entry(req, &e);
}

void dir_list(struct mount *m, uint32_t pool, struct text *names)
{
	size_t count;
	struct disk **disks;

	if (pool == 0) {
		struct pool **pools = tandem_pools(m->tandem, &count);

		dir_add(names, ".replication",
			ino_of((struct place){ .kind = PLACE_TREE, .node = node_root }), S_IFDIR);
		for (size_t i = 1; i < count; i++)
			dir_add(names, pools[i]->name,
				ino_of((struct place){ .kind = PLACE_DIR,
						       .number = pools[i]->number }),
				S_IFDIR);
		pools_free(pools, count);
	}
	disks = tandem_disks(m->tandem, &count);
	for (size_t i = 0; i < count; i++) {
		struct disk *d = disks[i];
		char name[sizeof(d->mount_name)];
		bool here;

		pthread_mutex_lock(&d->lock);
		here = d->mount_pool == pool;
		memcpy(name, d->mount_name, sizeof(name));
		pthread_mutex_unlock(&d->lock);
		if (!here || !disk_is_served(d))
			continue;
		dir_add(names, name,
			ino_of((struct place){ .kind = PLACE_DISK, .number = d->number }), S_IFREG);
	}
	disks_free(disks, count);
}

/* ---- changes ---- */

static struct disk *made_before(struct mount *m, uint32_t pool, const char *name)
{
	struct pool *p = pool_of(m, pool);
	struct disk *d = p ? tandem_disk_mounted(m->tandem, p, name) : NULL;

	pool_unref(p);
	if (!d || !disk_size(d))
		return d;
	disk_unref(d);
	return NULL;
}

void dir_create(fuse_req_t req, uint32_t pool, const char *name, mode_t mode,
		struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct pool *p = pool_of(m, pool);
	struct fuse_entry_param e = { 0 };
	char label[DISK_LABEL_MAX + 1];
	struct create_disk c = { .name = label,
				 .mode = mode & 07777,
				 .uid = ctx->uid,
				 .gid = ctx->gid,
				 .as_file = true };
	struct disk *d = NULL;
	int err;

	if (!p) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	snprintf(label, sizeof(label), "%s%s%s", p->name, p->name[0] ? ":" : "", name);
	pool_unref(p);
	/* The daemon before had made it already, if it is there, and empty. */
	d = workers_request().resent ? made_before(m, pool, name) : NULL;
	if (d)
		err = 0;
	else if (m->tandem->read_only)
		err = -EROFS;
	else if (strchr(name, ':') || !strcmp(name, ".replication"))
		err = -EPERM;
	else
		err = tandem_create_disk(m->tandem, &c, &d, NULL);
	if (err == -EINVAL)
		err = -EPERM; /* a name that no disk can have */
	if (!err)
		err = disk_attributes(d, &e.attr);
	if (!err)
		err = disk_open(d, (fi->flags & O_ACCMODE) != O_RDONLY);
	if (err) {
		disk_unref(d);
		fuse_reply_err(req, -err);
		return;
	}
	e.ino = e.attr.st_ino;
	disk_file_opened(req, d, fi, &e, e.ino, workers_request().unique);
}

/*
 * The kernel knew the name: the daemon before has removed it, or renamed it. One that is only not
 * served now, or whose pool is away, is there still.
 */
static bool was_done(const struct pool *p, const char *name)
{
	struct stat st;

	return workers_request().resent && p->dirfd >= 0 &&
	       fstatat(p->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) && errno == ENOENT;
}

/* As commands call it; the bytes are in label. */
static const char *called(const struct pool *p, const char *name, char label[DISK_LABEL_MAX + 1])
{
	snprintf(label, DISK_LABEL_MAX + 1, "%s%s%s", p->name, p->name[0] ? ":" : "", name);
	return label;
}

void dir_unlink(fuse_req_t req, uint32_t pool, const char *name)
{
	char label[DISK_LABEL_MAX + 1];
	struct mount *m = mount_of(req);
	struct pool *p = pool_of(m, pool);
	struct disk *d = p ? tandem_disk_mounted(m->tandem, p, name) : NULL;
	int err = d ? 0 : -ENOENT;

	if (p && !d && was_done(p, name)) {
		pool_unref(p);
		fuse_reply_err(req, 0);
		return;
	}
	/* Other formats go by DeleteDisk. */
	if (!err && !d->format->flat)
		err = -EPERM;
	if (!err)
		err = tandem_delete_patiently(m->tandem, d, called(p, name, label), false);
	if (err == -EPERM && d->format->flat)
		err = -EBUSY; /* it has a past, or is in a group; DeleteDisk Force takes it */
	disk_unref(d);
	pool_unref(p);
	fuse_reply_err(req, -err);
}

void dir_rename(fuse_req_t req, uint32_t pool, const char *name, uint32_t new_pool,
		const char *new_name, unsigned flags)
{
	char label[DISK_LABEL_MAX + 1];
	struct mount *m = mount_of(req);
	struct pool *p = pool_of(m, pool);
	struct disk *d = p ? tandem_disk_mounted(m->tandem, p, name) : NULL;
	int err = d ? 0 : -ENOENT;

	if (p && !d && pool == new_pool && was_done(p, name) &&
	    (d = tandem_disk_mounted(m->tandem, p, new_name))) {
		disk_unref(d);
		pool_unref(p);
		fuse_reply_err(req, 0);
		return;
	}
	if (!err && pool != new_pool)
		err = -EXDEV; /* mv copies */
	if (!err)
		err = tandem_rename_disk(m->tandem, d, called(p, name, label), new_name, flags,
					 NULL);
	disk_unref(d);
	pool_unref(p);
	fuse_reply_err(req, -err);
}

void dir_sync(fuse_req_t req, uint32_t pool)
{
	struct pool *p = pool_of(mount_of(req), pool);
	int err = !p || p->dirfd < 0 ? EIO : fsync(p->dirfd) ? errno : 0;

	pool_unref(p);
	fuse_reply_err(req, err);
}

void dir_statfs(fuse_req_t req, uint32_t pool)
{
	struct pool *p = pool_of(mount_of(req), pool);
	struct pool_status status = { 0 };

	if (p)
		pool_status(p, &status);
	if (status.space_known)
		fuse_reply_statfs(req, &status.space);
	else
		fuse_reply_err(req, EIO);
	pool_unref(p);
}

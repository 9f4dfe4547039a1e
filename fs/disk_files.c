// SPDX-License-Identifier: GPL-2.0-or-later
/* The disks as files. Whatever can wait for a backing store is a job. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>

#include "ops.h"

int disk_attributes(struct disk *d, struct stat *st)
{
	struct file_stat f;
	int err = disk_stat(d, &f);

	if (err)
		return err;
	*st = (struct stat){
		.st_ino = ino_of((struct place){ .kind = PLACE_DISK, .number = d->number }),
		.st_mode = S_IFREG | (f.mode & 07777),
		.st_nlink = 1,
		.st_uid = f.uid,
		.st_gid = f.gid,
		.st_size = f.size,
		.st_blocks = f.allocated / 512,
		.st_blksize = 128 << 10, /* what cmp and stdio read at a time */
		.st_atim = f.mtime,
		.st_mtim = f.mtime,
		.st_ctim = f.ctime,
	};
	return 0;
}

void disk_file_getattr(fuse_req_t req, uint32_t number)
{
	struct disk *d = tandem_disk_numbered(mount_of(req)->tandem, number);
	struct stat st;
	int err = d ? disk_attributes(d, &st) : -ENOENT;

	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_attr(req, &st, 0);
	disk_unref(d);
}

/* ---- setattr ---- */

static void reply_attributes(fuse_req_t req, struct disk *d, int err)
{
	struct stat st;

	if (!err)
		err = disk_attributes(d, &st);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_attr(req, &st, 0);
}

static void run_resize(struct disk_job *job, char *payload)
{
	struct disk *d = job->disk;
	int err = disk_resize(d, job->len, false);

	reply_attributes(job->req, d, err);
	if (job->close_after) {
		disk_close(d);
		disk_unref(d);
	}
}

static struct timespec time_to_set(int to_set, int flag, int now_flag, struct timespec given)
{
	if (to_set & now_flag)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	if (to_set & flag)
		return given;
	return (struct timespec){ .tv_nsec = UTIME_OMIT };
}

static int set_plain_attributes(struct disk *d, const struct stat *attr, int to_set)
{
	struct disk_attributes a = {
		.mode = to_set & FUSE_SET_ATTR_MODE ? attr->st_mode : UINT32_MAX,
		.uid = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : UINT32_MAX,
		.gid = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : UINT32_MAX,
		.atime = time_to_set(to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW,
				     attr->st_atim),
		.mtime = time_to_set(to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW,
				     attr->st_mtim),
	};

	return disk_set_attributes(d, &a);
}

/* Takes over the reference of an opened disk when close_after. */
static void resize(fuse_req_t req, struct disk *d, uint64_t size, bool close_after)
{
	struct disk_job *job = workers_job(mount_of(req), req, d);

	job->run = run_resize;
	job->len = size;
	job->close_after = close_after;
	workers_submit(job);
}

void disk_file_setattr(fuse_req_t req, uint32_t number, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct disk *d;
	int err = 0;

	if (to_set & FUSE_SET_ATTR_SIZE) {
		struct handle *h = fi && fi->fh ? handle_get(&m->handles, fi->fh) : NULL;

		if (h && h->disk) {
			resize(req, h->disk, attr->st_size, false);
			return;
		}
		d = tandem_disk_numbered(m->tandem, number);
		err = d ? disk_open(d, true) : -ENOENT;
		if (err) {
			disk_unref(d);
			fuse_reply_err(req, -err);
			return;
		}
		resize(req, d, attr->st_size, true);
		return;
	}
	d = tandem_disk_numbered(m->tandem, number);
	if (d && m->tandem->read_only)
		err = -EROFS;
	else
		err = d ? set_plain_attributes(d, attr, to_set) : -ENOENT;
	reply_attributes(req, d, err);
	disk_unref(d);
}

/* ---- open ---- */

void disk_file_opened(fuse_req_t req, struct disk *d, struct fuse_file_info *fi,
		      const struct fuse_entry_param *entry, uint64_t ino, uint64_t unique)
{
	struct mount *m = mount_of(req);
	struct handle *h;
	int err = handle_new(&m->handles, HANDLE_DISK, &h, &fi->fh);

	if (err) {
		disk_close(d);
		disk_unref(d);
		fuse_reply_err(req, -err);
		return;
	}
	h->disk = d;
	handle_record(h, ino, fi->flags, unique);
	fi->direct_io = 1;
	fi->noflush = 1;
	mount_patch_next_open();
	/* Interrupted: the kernel will not send a release. */
	if ((entry ? fuse_reply_create(req, entry, fi) : fuse_reply_open(req, fi)) == -ENOENT)
		handle_free(&m->handles, fi->fh);
}

/* Opening may wait for the store, or for a server to start: like any request of this disk. */
static void run_open(struct disk_job *job, char *payload)
{
	struct disk *d = job->disk;
	int err = disk_open(d, (job->fi.flags & O_ACCMODE) != O_RDONLY);

	if (!err) {
		disk_file_opened(job->req, d, &job->fi, NULL, job->ino, job->unique);
		return;
	}
	fuse_reply_err(job->req, -err);
	disk_unref(d);
}

void disk_file_open(fuse_req_t req, uint32_t number, struct fuse_file_info *fi)
{
	const struct place p = { .kind = PLACE_DISK, .number = number };

	disk_file_open_of(req, p, tandem_disk_numbered(mount_of(req)->tandem, number), fi);
}

void disk_file_open_of(fuse_req_t req, struct place p, struct disk *d, struct fuse_file_info *fi)
{
	struct disk_job *job;
	int err = d ? 0 : -ENOENT;

	/* Nobody throws a disk away with a '>'. An empty one has nothing to lose. */
	if (!err && fi->flags & O_TRUNC && disk_size(d))
		err = -EPERM;
	if (err) {
		disk_unref(d);
		fuse_reply_err(req, -err);
		return;
	}
	job = workers_job(mount_of(req), req, d);
	job->run = run_open;
	job->ino = ino_of(p);
	job->fi = *fi;
	workers_submit(job);
}

/* The last close writes what is left. */
static void run_release(struct disk_job *job, char *payload)
{
	handle_free(&job->mount->handles, job->fi.fh);
	fuse_reply_err(job->req, 0);
}

void disk_file_release(fuse_req_t req, struct handle *h, const struct fuse_file_info *fi)
{
	struct disk_job *job = workers_job(mount_of(req), req, h->disk);

	job->run = run_release;
	job->fi = *fi;
	workers_submit(job);
}

/* ---- data ---- */

static unsigned io_of(int open_flags)
{
	return (open_flags & O_DIRECT ? IO_DIRECT : 0) | (open_flags & O_DSYNC ? IO_DSYNC : 0);
}

static void run_read(struct disk_job *job, char *payload)
{
	size_t done;
	int err = disk_read(job->disk, payload, job->len, job->off, job->io, &done);

	if (err)
		fuse_reply_err(job->req, -err);
	else
		fuse_reply_buf(job->req, payload, done);
}

void disk_file_read(fuse_req_t req, struct handle *h, size_t size, off_t off, int flags)
{
	struct disk_job *job = workers_job(mount_of(req), req, h->disk);

	job->run = run_read;
	job->off = off;
	job->len = size < MOUNT_MAX_WRITE ? size : MOUNT_MAX_WRITE;
	job->io = io_of(flags);
	workers_submit(job);
}

static void run_write(struct disk_job *job, char *payload)
{
	int err = disk_write(job->disk, payload, job->len, job->off, job->io);

	if (err)
		fuse_reply_err(job->req, -err);
	else
		fuse_reply_write(job->req, job->len);
}

void disk_file_write(fuse_req_t req, struct handle *h, const char *buf, size_t size, off_t off,
		     const struct fuse_file_info *fi)
{
	struct disk_job *job = workers_job(mount_of(req), req, h->disk);

	/* buf is the payload; see workers.h. */
	job->run = run_write;
	job->off = off;
	job->len = size;
	/* A page of a mapping is written back with the flags of whatever file was at hand. */
	job->io = fi->writepage ? 0 : io_of(fi->flags);
	workers_submit(job);
}

static void run_flush(struct disk_job *job, char *payload)
{
	fuse_reply_err(job->req, -disk_flush(job->disk));
}

void disk_file_fsync(fuse_req_t req, struct handle *h)
{
	struct disk_job *job = workers_job(mount_of(req), req, h->disk);

	job->run = run_flush;
	workers_submit(job);
}

static void run_fallocate(struct disk_job *job, char *payload)
{
	int err;

	switch (job->how) {
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
		err = disk_zero(job->disk, job->off, job->len, ZERO_PUNCH);
		break;
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		err = disk_zero(job->disk, job->off, job->len, ZERO_KEEP);
		break;
	case FALLOC_FL_ZERO_RANGE:
		err = disk_allocate(job->disk, job->off, job->len, true);
		/* A container has no space to keep; zeros inside of the disk it can have. */
		if (err == -EOPNOTSUPP && job->off + job->len <= disk_size(job->disk))
			err = 0;
		if (!err)
			err = disk_zero(job->disk, job->off, job->len, ZERO_KEEP);
		break;
	case FALLOC_FL_KEEP_SIZE:
		err = disk_allocate(job->disk, job->off, job->len, false);
		break;
	case 0:
		err = disk_allocate(job->disk, job->off, job->len, true);
		break;
	default:
		err = -EOPNOTSUPP;
	}
	fuse_reply_err(job->req, -err);
}

void disk_file_fallocate(fuse_req_t req, struct handle *h, int mode, off_t off, off_t len)
{
	struct disk_job *job = workers_job(mount_of(req), req, h->disk);

	job->run = run_fallocate;
	job->how = mode;
	job->off = off;
	job->len = len;
	workers_submit(job);
}

static void run_lseek(struct disk_job *job, char *payload)
{
	uint64_t found;
	int err = disk_seek(job->disk, job->off, job->how, &found);

	if (err)
		fuse_reply_err(job->req, -err);
	else
		fuse_reply_lseek(job->req, found);
}

void disk_file_lseek(fuse_req_t req, struct handle *h, off_t off, int whence)
{
	struct disk_job *job = workers_job(mount_of(req), req, h->disk);

	job->run = run_lseek;
	job->how = whence;
	job->off = off;
	workers_submit(job);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Disks as they were: snapshots/NAME.raw and at/MOMENT.raw. An open one keeps its
 * moment, and counts as one that has the disk open for reading. Like a disk's,
 * its requests go through the disk's gate. A snapshot that can be written is a
 * disk from its open on; who opened it before goes on reading the moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "ops.h"
#include "snapshots.h"

static void content_unref(struct content *c)
{
	disk_unref(c->disk);
	disk_unref(c->overlay);
}

/* Of an image that may not be written itself, too, whoever owns it may write what is over it. */
static mode_t mode_of(const struct content *c, mode_t mode)
{
	return c->overlay ? (mode & 0777) | (mode & 0400 ? 0200 : 0) : mode & 0555;
}

/*
 * The moment, or what is written over it, which is another inode: the kernel keeps the pages of
 * mappings by inode, and a page of the one must never be written to the other.
 */
static struct place place_of_content(struct node n, const struct content *c)
{
	return (struct place){
		.kind = PLACE_TREE,
		.node = n,
		.variant = c->overlay ? 1 + c->overlay->number % (PLACE_VARIANTS - 1) : 0,
	};
}

/* Owner and mode as the disk has them now. */
static int fill(struct node n, const struct content *c, struct stat *st)
{
	struct timespec time = { c->time_ms / 1000, c->time_ms % 1000 * 1000000 };
	struct file_stat f;
	int err = disk_stat(c->disk, &f);

	if (err)
		return err;
	*st = (struct stat){
		.st_ino = ino_of(place_of_content(n, c)),
		.st_mode = S_IFREG | mode_of(c, f.mode),
		.st_nlink = 1,
		.st_uid = f.uid,
		.st_gid = f.gid,
		.st_size = c->size,
		.st_blocks = c->allocated / 512,
		.st_blksize = 128 << 10,
		.st_atim = time,
		.st_mtim = time,
		.st_ctim = time,
	};
	if (c->overlay && !atomic_load(&c->overlay->untouched) && !disk_stat(c->overlay, &f)) {
		st->st_size = f.size;
		st->st_mtim = st->st_atim = f.mtime;
		st->st_ctim = f.ctime;
	}
	return 0;
}

int moment_attributes(struct mount *m, struct node n, struct stat *st)
{
	struct content c;
	int err = node_content(m->ctl, n, &c);

	if (err)
		return err;
	err = fill(n, &c, st);
	content_unref(&c);
	return err;
}

bool moment_is_writable(struct mount *m, struct node n)
{
	struct content c;
	bool writable = false;

	if (!node_content(m->ctl, n, &c)) {
		writable = c.overlay;
		content_unref(&c);
	}
	return writable;
}

struct disk *moment_overlay(struct mount *m, const struct place *p)
{
	struct disk *overlay = NULL;
	struct content c;

	if (node_content(m->ctl, p->node, &c))
		return NULL;
	if (c.overlay && place_of_content(p->node, &c).variant == p->variant)
		overlay = disk_ref(c.overlay);
	content_unref(&c);
	return overlay;
}

void moment_file_getattr(fuse_req_t req, struct handle *h)
{
	struct stat st;
	int err = fill(h->node, &h->moment, &st);

	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_attr(req, &st, 0);
}

/* ---- open ---- */

static void run_open(struct disk_job *job, char *payload)
{
	struct handle *h = job->handle;
	struct content *c = &h->moment;
	struct handles *handles = &job->mount->handles;
	int err = moment_open(c->disk, c->generation);

	if (err) {
		c->generation = 0;
		handle_free(handles, job->fi.fh);
		/* It was there a moment ago: who looks again is told what there is now. */
		fuse_reply_err(job->req, err == -ENOENT ? ESTALE : -err);
		return;
	}
	handle_record(h, ino_of((struct place){ .kind = PLACE_TREE, .node = h->node }),
		      job->fi.flags, job->unique);
	job->fi.direct_io = 1;
	job->fi.noflush = 1;
	/* Interrupted: the kernel will not send a release. */
	if (fuse_reply_open(job->req, &job->fi) == -ENOENT)
		handle_free(handles, job->fi.fh);
}

void moment_file_open(fuse_req_t req, const struct place *p, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct content c;
	struct handle *h;
	struct disk_job *job;
	int err = node_content(m->ctl, p->node, &c);

	if (!err && place_of_content(p->node, &c).variant != p->variant) {
		content_unref(&c);
		err = -ESTALE; /* the kernel looks it up again */
	}
	if (!err && c.overlay) {
		disk_unref(c.disk);
		disk_file_open_of(req, *p, c.overlay, fi);
		return;
	}
	if (!err) {
		if ((fi->flags & O_ACCMODE) != O_RDONLY)
			err = -EROFS;
		else if (!c.generation)
			err = -ESTALE; /* its content had to be given up */
		else
			err = handle_new(&m->handles, HANDLE_MOMENT, &h, &fi->fh);
		if (err)
			disk_unref(c.disk);
	}
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	h->moment = c;
	h->node = p->node;
	job = workers_job(m, req, c.disk);
	job->run = run_open;
	job->handle = h;
	job->fi = *fi;
	workers_submit(job);
}

/* It may be the last one that has the disk open, and what was a moment's may be collected. */
static void run_release(struct disk_job *job, char *payload)
{
	handle_free(&job->mount->handles, job->fi.fh);
	fuse_reply_err(job->req, 0);
}

void moment_file_release(fuse_req_t req, struct handle *h, const struct fuse_file_info *fi)
{
	struct disk_job *job = workers_job(mount_of(req), req, h->moment.disk);

	job->run = run_release;
	job->fi = *fi;
	workers_submit(job);
}

/* ---- content ---- */

static void run_read(struct disk_job *job, char *payload)
{
	size_t done;
	int err = moment_read(job->disk, job->handle->moment.generation, payload, job->len,
			      job->off, &done);

	if (err)
		fuse_reply_err(job->req, -err);
	else
		fuse_reply_buf(job->req, payload, done);
}

void moment_file_read(fuse_req_t req, struct handle *h, size_t size, off_t off)
{
	struct disk_job *job = workers_job(mount_of(req), req, h->moment.disk);

	job->run = run_read;
	job->handle = h;
	job->off = off;
	job->len = size < MOUNT_MAX_WRITE ? size : MOUNT_MAX_WRITE;
	workers_submit(job);
}

static void run_lseek(struct disk_job *job, char *payload)
{
	uint64_t found;
	int err = moment_seek(job->disk, job->handle->moment.generation, job->off, job->how,
			      &found);

	if (err)
		fuse_reply_err(job->req, -err);
	else
		fuse_reply_lseek(job->req, found);
}

void moment_file_lseek(fuse_req_t req, struct handle *h, off_t off, int whence)
{
	struct disk_job *job = workers_job(mount_of(req), req, h->moment.disk);

	job->run = run_lseek;
	job->handle = h;
	job->off = off;
	job->how = whence;
	workers_submit(job);
}

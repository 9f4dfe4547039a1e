// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of handlers, and the way from a node id to the one that serves it. */
#include "ops.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "log.h"

/* kind:4 row:8 object:32 variant:20; the mount's own directory is FUSE_ROOT_ID. */
#define KIND_SHIFT 60
#define ROW_SHIFT 52
#define OBJECT_SHIFT 20
_Static_assert(PLACE_VARIANTS == 1u << OBJECT_SHIFT, "they fit below the object");

struct place place_of(fuse_ino_t ino)
{
	struct place p = { .kind = ino >> KIND_SHIFT,
			   .number = ino >> OBJECT_SHIFT,
			   .variant = ino % PLACE_VARIANTS };

	if (ino == FUSE_ROOT_ID)
		return (struct place){ .kind = PLACE_DIR };
	if (p.kind == PLACE_TREE)
		p.node = (struct node){ .row = ino >> ROW_SHIFT & 0xff, .object = p.number };
	return p;
}

fuse_ino_t ino_of(struct place p)
{
	uint32_t object = p.kind == PLACE_TREE ? p.node.object : p.number;
	uint64_t row = p.kind == PLACE_TREE ? p.node.row : 0;

	if (p.kind == PLACE_DIR && !p.number)
		return FUSE_ROOT_ID;
	return (uint64_t)p.kind << KIND_SHIFT | row << ROW_SHIFT |
	       (uint64_t)object << OBJECT_SHIFT | p.variant;
}

fuse_ino_t ino_fresh(struct mount *m, struct place p)
{
	p.variant = atomic_fetch_add(&m->memory->fresh, 1) % PLACE_VARIANTS;
	return ino_of(p);
}

/* NULL: what is open is not there now, and the request has its answer. */
static struct handle *handle_of(fuse_req_t req, const struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_get(&m->handles, fi->fh);
	int err = h ? take_over_file(m, h) : -ESTALE;

	if (!err)
		return h;
	fuse_reply_err(req, -err);
	return NULL;
}

/* One that the daemon before has opened for a request of which the kernel has no answer. */
static void close_unanswered(fuse_req_t req)
{
	struct mount *m = mount_of(req);
	struct request_facts r = workers_request();
	uint64_t number = r.resent ? handles_opened_by(&m->handles, r.unique) : 0;
	struct handle *h = number ? handle_get(&m->handles, number) : NULL;

	if (h && h->kind == HANDLE_TREE)
		node_close(m->ctl, h->node);
	if (h)
		handle_free(&m->handles, number);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;
	uint64_t one = 1;

	conn->max_write = MOUNT_MAX_WRITE;
	conn->max_readahead = MOUNT_MAX_WRITE;
	/* The kernel holds back asynchronous requests over this; the gates do it better. */
	conn->max_background = 128;
	conn->congestion_threshold = 128;
	conn->want |= conn->capable & (FUSE_CAP_ASYNC_DIO | FUSE_CAP_ASYNC_READ |
				       FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS);
	/* The page cache would hide writes from snapshots; splicing gains nothing here. */
	conn->want &= ~(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
			FUSE_CAP_SPLICE_MOVE | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
	atomic_store(&m->ready, true);
	if (write(m->wake_fd, &one, sizeof(one)) < 0)
		log_line(LOG_LEVEL_ERROR, "the main thread cannot be told that the mount is ready");
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct place p = place_of(parent);

	if (p.kind == PLACE_DIR)
		dir_lookup(req, p.number, name);
	else if (p.kind == PLACE_TREE)
		tree_lookup(req, p.node, name);
	else
		fuse_reply_err(req, ENOTDIR);
}

/* Nothing is kept for a node id. */
static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct place p = place_of(ino);

	switch (p.kind) {
	case PLACE_DIR:
		dir_getattr(req, p.number);
		break;
	case PLACE_DISK:
		if (fi && fi->fh) {
			/* Of an open one, whatever became of its name. */
			struct handle *h = handle_of(req, fi);
			struct stat st;
			int err;

			if (!h)
				return;
			err = disk_attributes(h->disk, &st);
			err ? fuse_reply_err(req, -err) : fuse_reply_attr(req, &st, 0);
		} else {
			disk_file_getattr(req, p.number);
		}
		break;
	case PLACE_TREE:
		if (fi && fi->fh) {
			struct handle *h = handle_of(req, fi);

			if (!h)
				return;
			if (h->kind == HANDLE_MOMENT) {
				moment_file_getattr(req, h);
				return;
			}
		}
		tree_getattr(req, p.node);
		break;
	default:
		fuse_reply_err(req, ESTALE);
	}
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct place p = place_of(ino);

	if (p.kind == PLACE_DISK)
		disk_file_setattr(req, p.number, attr, to_set, fi);
	else if (p.kind == PLACE_TREE)
		tree_setattr(req, p.node, attr, to_set);
	else
		fuse_reply_err(req, EPERM);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct place p = place_of(ino);

	if (p.kind == PLACE_TREE)
		tree_readlink(req, p.node);
	else
		fuse_reply_err(req, EINVAL);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct place p = place_of(ino);

	close_unanswered(req);
	if (p.kind == PLACE_DISK)
		disk_file_open(req, p.number, fi);
	else if (p.kind == PLACE_TREE)
		tree_open(req, &p, fi);
	else
		fuse_reply_err(req, EISDIR);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct handle *h = handle_of(req, fi);

	if (!h)
		return;
	if (h->kind == HANDLE_DISK)
		disk_file_read(req, h, size, off, fi->flags);
	else if (h->kind == HANDLE_MOMENT)
		moment_file_read(req, h, size, off);
	else
		tree_read(req, h, size, off, fi->flags);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct handle *h = handle_of(req, fi);

	if (!h)
		return;
	if (h->kind == HANDLE_DISK)
		disk_file_write(req, h, buf, size, off, fi);
	else if (h->kind == HANDLE_MOMENT)
		fuse_reply_err(req, EROFS);
	else
		tree_write(req, h, buf, size, off);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_get(&m->handles, fi->fh);

	/* The daemon before has done it, or there is nothing behind it. */
	if (!h || (h->kind == HANDLE_DISK && !h->disk) ||
	    (h->kind == HANDLE_MOMENT && !h->moment.disk)) {
		if (h)
			handle_free(&m->handles, fi->fh);
		fuse_reply_err(req, 0);
		return;
	}
	switch (h->kind) {
	case HANDLE_DISK:
		disk_file_release(req, h, fi);
		break;
	case HANDLE_MOMENT:
		moment_file_release(req, h, fi);
		break;
	case HANDLE_TREE:
		tree_release(req, h, fi);
		break;
	default:
		handle_free(&m->handles, fi->fh);
		fuse_reply_err(req, 0);
	}
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(req, fi);

	if (!h)
		return;
	if (h->kind == HANDLE_DISK)
		disk_file_fsync(req, h);
	else
		fuse_reply_err(req, 0);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	struct handle *h = handle_of(req, fi);

	if (!h)
		return;
	if (h->kind == HANDLE_DISK)
		disk_file_fallocate(req, h, mode, off, len);
	else
		fuse_reply_err(req, EOPNOTSUPP);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	struct handle *h = handle_of(req, fi);

	if (!h)
		return;
	if (h->kind == HANDLE_DISK)
		disk_file_lseek(req, h, off, whence);
	else if (h->kind == HANDLE_MOMENT)
		moment_file_lseek(req, h, off, whence);
	else
		fuse_reply_err(req, EINVAL);
}

static void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		    struct fuse_pollhandle *ph)
{
	struct handle *h = handle_of(req, fi);

	if (!h)
		return;
	if (h->kind == HANDLE_TREE) {
		h->record->poll = workers_request().poll;
		tree_poll(req, h, ph);
		return;
	}
	if (ph)
		fuse_pollhandle_destroy(ph);
	fuse_reply_poll(req, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM);
}

/* ---- directories ---- */

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct place p = place_of(ino);
	struct handle *h;
	int err;

	if (p.kind != PLACE_DIR && (p.kind != PLACE_TREE || node_kind(p.node) != NODE_DIR)) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	close_unanswered(req);
	err = handle_new(&m->handles, HANDLE_DIR, &h, &fi->fh);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	handle_record(h, ino, fi->flags, workers_request().unique);
	/* Interrupted: the kernel will not send a release. */
	if (fuse_reply_open(req, fi) == -ENOENT)
		handle_free(&m->handles, fi->fh);
}

static void list(struct mount *m, fuse_ino_t ino, struct text *out)
{
	struct place p = place_of(ino);

	text_free(out);
	dir_add(out, ".", ino, S_IFDIR);
	dir_add(out, "..", FUSE_ROOT_ID, S_IFDIR);
	if (p.kind == PLACE_DIR)
		dir_list(m, p.number, out);
	else
		tree_list(m, p.node, out);
}

/*
 * The listing is made whole when it is read from its start, so that names
 * neither repeat nor get lost while it is read on. An offset is a position in it.
 */
static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_of(req, fi);
	char buf[16 << 10];
	size_t used = 0;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	if (off == 0) {
		list(m, ino, &h->text);
		handle_record_text(h);
		h->rendered = true;
	} else if (h->taken_over && !h->rendered && h->record->text_len) {
		/* The daemon before has given the beginning: on, if it is still the same. */
		list(m, ino, &h->text);
		if (!handle_is_recorded_text(h, &h->text)) {
			fuse_reply_err(req, ESTALE);
			pthread_mutex_unlock(&h->lock);
			return;
		}
		h->rendered = true;
	}
	if (size > sizeof(buf))
		size = sizeof(buf);
	for (size_t at = off; at < h->text.len;) {
		struct stat st = { 0 };
		uint64_t entry_ino;
		uint32_t type;
		const char *name = h->text.bytes + at + sizeof(entry_ino) + sizeof(type);
		size_t n;

		memcpy(&entry_ino, h->text.bytes + at, sizeof(entry_ino));
		memcpy(&type, h->text.bytes + at + sizeof(entry_ino), sizeof(type));
		st.st_ino = entry_ino;
		st.st_mode = type;
		at += sizeof(entry_ino) + sizeof(type) + strlen(name) + 1;
		n = fuse_add_direntry(req, buf + used, size - used, name, &st, at);
		if (n > size - used)
			break;
		used += n;
	}
	if (text_ok(&h->text))
		fuse_reply_buf(req, buf, used);
	else
		fuse_reply_err(req, ENOMEM);
	pthread_mutex_unlock(&h->lock);
}

void dir_add(struct text *names, const char *name, fuse_ino_t ino, mode_t type)
{
	uint64_t i = ino;
	uint32_t t = type;

	text_add(names, (char *)&i, sizeof(i));
	text_add(names, (char *)&t, sizeof(t));
	text_add(names, name, strlen(name) + 1);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct place p = place_of(ino);

	if (p.kind == PLACE_DIR)
		dir_sync(req, p.number);
	else
		fuse_reply_err(req, 0);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct place p = place_of(ino);

	dir_statfs(req, p.kind == PLACE_DIR ? p.number : 0);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct place p = place_of(parent);

	close_unanswered(req);
	if (p.kind == PLACE_DIR)
		dir_create(req, p.number, name, mode, fi);
	else
		fuse_reply_err(req, EPERM);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct place p = place_of(parent);

	if (p.kind == PLACE_DIR)
		dir_unlink(req, p.number, name);
	else
		fuse_reply_err(req, EPERM);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
		      const char *newname, unsigned int flags)
{
	struct place p = place_of(parent), q = place_of(newparent);

	if (p.kind == PLACE_DIR && q.kind == PLACE_DIR)
		dir_rename(req, p.number, name, q.number, newname, flags);
	else
		fuse_reply_err(req, EPERM);
}

/* Only disks are made, and only as files. */

static void refuse_to_make(fuse_req_t req)
{
	fuse_reply_err(req, mount_of(req)->tandem->read_only ? EROFS : EPERM);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	refuse_to_make(req);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	refuse_to_make(req);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	refuse_to_make(req);
}

static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	refuse_to_make(req);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	refuse_to_make(req);
}

const struct fuse_lowlevel_ops mount_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.release = op_release,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.poll = op_poll,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_release,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.create = op_create,
	.unlink = op_unlink,
	.rename = op_rename,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.link = op_link,
};

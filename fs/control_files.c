// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * .replication/ as files. A text file is rendered whole when it is read from
 * its start, and the reader goes on in what was rendered then. A control file
 * takes each write as one command, whatever the offset; what is read through
 * the same open file afterwards, from where its offset then is, is the result.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "ops.h"

void tree_attributes(struct mount *m, struct node n, struct stat *st)
{
	bool dir = node_kind(n) == NODE_DIR;

	*st = (struct stat){
		.st_ino = ino_of((struct place){ .kind = PLACE_TREE, .node = n }),
		.st_mode = (dir ? S_IFDIR : S_IFREG) | node_mode(n),
		.st_nlink = dir ? 2 : 1,
		.st_uid = m->owner,
		.st_gid = m->group,
		.st_atim = m->mounted,
		.st_mtim = m->mounted,
		.st_ctim = m->mounted,
		.st_blksize = 4096,
	};
}

void tree_lookup(fuse_req_t req, struct node dir, const char *name)
{
	struct mount *m = mount_of(req);
	struct fuse_entry_param e = { 0 };
	struct place p = { .kind = PLACE_TREE };
	int err = node_lookup(m->ctl, dir, name, &p.node);

	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	tree_attributes(m, p.node, &e.attr);
	/* A command that waits holds its inode's lock: the next `echo` gets another inode. */
	e.ino = node_kind(p.node) == NODE_CONTROL || node_kind(p.node) == NODE_PIPE ? ino_fresh(p)
										    : ino_of(p);
	fuse_reply_entry(req, &e);
}

void tree_getattr(fuse_req_t req, struct node n)
{
	struct mount *m = mount_of(req);
	struct stat st;

	if (!node_exists(m->ctl, n)) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	tree_attributes(m, n, &st);
	fuse_reply_attr(req, &st, 0);
}

/* A shell's '>' may truncate to nothing; these files have no other attribute to set. */
void tree_setattr(fuse_req_t req, struct node n, struct stat *attr, int to_set)
{
	if (!(to_set & FUSE_SET_ATTR_SIZE))
		fuse_reply_err(req, EPERM);
	else if (attr->st_size != 0)
		fuse_reply_err(req, EINVAL);
	else
		tree_getattr(req, n);
}

void tree_open(fuse_req_t req, struct node n, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h;
	int err;

	if (!node_exists(m->ctl, n)) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	if ((fi->flags & O_ACCMODE) != O_RDONLY && node_kind(n) != NODE_CONTROL) {
		fuse_reply_err(req, EACCES);
		return;
	}
	err = handle_new(&m->handles, HANDLE_TREE, &h, &fi->fh);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	h->node = n;
	if (node_kind(n) == NODE_PIPE) {
		h->seen = events_last(m->tandem->events);
		fi->nonseekable = 1;
	}
	fi->direct_io = 1;
	fi->noflush = 1;
	if (fuse_reply_open(req, fi) == -ENOENT)
		handle_free(&m->handles, fi->fh);
}

/* ---- read ---- */

/* Under h->lock. */
static int render(struct mount *m, struct handle *h, uint64_t off)
{
	/* Before the text: a change meanwhile is told again rather than never. */
	uint64_t version = node_version(m->ctl, h->node);
	int err;

	text_free(&h->text);
	err = node_render(m->ctl, h->node, &h->text);
	if (!err && !text_ok(&h->text))
		err = -ENOMEM;
	h->rendered = !err;
	h->seen = version;
	h->base = off;
	return err;
}

static void reply_text(fuse_req_t req, struct handle *h, size_t size, uint64_t off)
{
	uint64_t at = off - h->base;

	if (at >= h->text.len)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, h->text.bytes + at,
			       size < h->text.len - at ? size : h->text.len - at);
}

static void read_text(fuse_req_t req, struct handle *h, size_t size, uint64_t off)
{
	struct mount *m = mount_of(req);
	int err = 0;

	pthread_mutex_lock(&h->lock);
	if (h->commanded) {
		if (off < h->base)
			h->base = off; /* went back to the start: the same result again */
	} else if (off == 0 || !h->rendered) {
		err = render(m, h, node_kind(h->node) == NODE_CONTROL ? off : 0);
	}
	if (err)
		fuse_reply_err(req, -err);
	else
		reply_text(req, h, size, off);
	pthread_mutex_unlock(&h->lock);
}

static void read_pipe(fuse_req_t req, struct handle *h, size_t size, int flags)
{
	struct mount *m = mount_of(req);
	bool none;

	if (flags & O_NONBLOCK) {
		pthread_mutex_lock(&h->lock);
		none = events_last(m->tandem->events) == h->seen;
		pthread_mutex_unlock(&h->lock);
		if (none) {
			fuse_reply_err(req, EAGAIN);
			return;
		}
	}
	notify_read(&m->notify, h, req, size);
}

void tree_read(fuse_req_t req, struct handle *h, size_t size, off_t off, int flags)
{
	if (node_kind(h->node) == NODE_PIPE)
		read_pipe(req, h, size, flags);
	else
		read_text(req, h, size, off);
}

/* ---- write ---- */

void tree_write(fuse_req_t req, struct handle *h, const char *buf, size_t size, off_t off)
{
	struct mount *m = mount_of(req);
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct caller caller = { ctx->uid, ctx->gid, ctx->pid, m->owner };
	struct text result = { 0 };
	int err = node_command(m->ctl, h->node, buf, size, &caller, &result);

	pthread_mutex_lock(&h->lock);
	text_free(&h->text);
	h->text = result;
	h->commanded = true;
	/* A refused write leaves the offset where it was. */
	h->base = err ? (uint64_t)off : off + size;
	pthread_mutex_unlock(&h->lock);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_write(req, size);
}

/* ---- poll ---- */

void tree_poll(fuse_req_t req, struct handle *h, struct fuse_pollhandle *ph)
{
	struct mount *m = mount_of(req);
	enum node_kind kind = node_kind(h->node);
	unsigned events = 0;
	bool news;

	pthread_mutex_lock(&h->lock);
	news = node_version(m->ctl, h->node) != h->seen;
	pthread_mutex_unlock(&h->lock);
	if (kind == NODE_PIPE) {
		events = news ? POLLIN | POLLRDNORM : 0;
	} else {
		events = POLLIN | POLLRDNORM | (news ? POLLERR | POLLPRI : 0);
		if (kind == NODE_CONTROL)
			events |= POLLOUT | POLLWRNORM;
	}
	if (ph && news)
		fuse_pollhandle_destroy(ph);
	else if (ph)
		notify_poll(&m->notify, h, ph);
	fuse_reply_poll(req, events);
}

/* ---- listing ---- */

struct listing {
	struct text *names;
};

static bool add_child(void *arg, const char *name, struct node child)
{
	struct listing *l = arg;

	dir_add(l->names, name, ino_of((struct place){ .kind = PLACE_TREE, .node = child }),
		node_kind(child) == NODE_DIR ? S_IFDIR : S_IFREG);
	return true;
}

void tree_list(struct mount *m, struct node dir, struct text *names)
{
	struct listing l = { names };

	node_list(m->ctl, dir, add_child, &l);
}

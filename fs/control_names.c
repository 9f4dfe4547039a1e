// SPDX-License-Identifier: GPL-2.0-or-later
/* .replication/ as names: what there is, its attributes, where links point. */
#include <errno.h>
#include <string.h>

#include "ops.h"

/* Where a link points; free it. */
static int link_text(struct mount *m, struct node n, struct text *out)
{
	int err = node_kind(n) == NODE_LINK ? node_render(m->ctl, n, out) : -EINVAL;

	if (!err && !text_ok(out))
		err = -ENOMEM;
	return err;
}

/* What maps a disk's content is for those who may read the disk. */
static int owned_by_disk(struct mount *m, struct node n, struct stat *st)
{
	struct stat content;
	int err = moment_attributes(m, n, &content);

	if (err)
		return err;
	st->st_mode = content.st_mode;
	st->st_uid = content.st_uid;
	st->st_gid = content.st_gid;
	return 0;
}

int tree_attributes(struct mount *m, struct node n, struct stat *st)
{
	enum node_kind kind = node_kind(n);
	bool dir = kind == NODE_DIR;
	struct text target = { 0 };
	mode_t type = dir ? S_IFDIR : kind == NODE_LINK ? S_IFLNK : S_IFREG;
	int err = 0;

	if (kind == NODE_CONTENT)
		return moment_attributes(m, n, st);
	*st = (struct stat){
		.st_ino = ino_of((struct place){ .kind = PLACE_TREE, .node = n }),
		.st_mode = type | node_mode(n),
		.st_nlink = dir ? 2 : 1,
		.st_uid = m->owner,
		.st_gid = m->group,
		.st_atim = m->mounted,
		.st_mtim = m->mounted,
		.st_ctim = m->mounted,
		.st_blksize = 4096,
	};
	if (kind == NODE_CHANGES)
		return owned_by_disk(m, n, st);
	if (kind == NODE_LINK) {
		err = link_text(m, n, &target);
		st->st_size = target.len;
		text_free(&target);
	}
	return err;
}

/* Those in which somebody may wait, with the inode's lock held. */
static bool is_fresh(enum node_kind kind)
{
	return kind == NODE_CONTROL || kind == NODE_PIPE || kind == NODE_WAIT;
}

void tree_lookup(fuse_req_t req, struct node dir, const char *name)
{
	struct mount *m = mount_of(req);
	struct fuse_entry_param e = { 0 };
	struct place p = { .kind = PLACE_TREE };
	int err = node_lookup(m->ctl, dir, name, &p.node);

	if (!err)
		err = tree_attributes(m, p.node, &e.attr);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	/* A command that waits holds its inode's lock: the next `echo` gets another inode. */
	if (is_fresh(node_kind(p.node)))
		e.ino = ino_fresh(m, p);
	else
		e.ino = e.attr.st_ino;
	fuse_reply_entry(req, &e);
}

void tree_getattr(fuse_req_t req, struct node n)
{
	struct mount *m = mount_of(req);
	struct stat st;
	int err = node_exists(m->ctl, n) ? tree_attributes(m, n, &st) : -ENOENT;

	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_attr(req, &st, 0);
}

/* A shell's '>' may truncate to nothing; these files have no other attribute to set. */
void tree_setattr(fuse_req_t req, struct node n, struct stat *attr, int to_set)
{
	if (!(to_set & FUSE_SET_ATTR_SIZE))
		fuse_reply_err(req, EPERM);
	else if (node_kind(n) == NODE_CONTENT)
		fuse_reply_err(req, moment_is_writable(mount_of(req), n) ? EPERM : EROFS);
	else if (attr->st_size != 0)
		fuse_reply_err(req, EINVAL);
	else
		tree_getattr(req, n);
}

void tree_readlink(fuse_req_t req, struct node n)
{
	struct text target = { 0 };
	int err = link_text(mount_of(req), n, &target);

	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_readlink(req, target.bytes);
	text_free(&target);
}

/* ---- listing ---- */

struct listing {
	struct text *names;
};

static bool add_child(void *arg, const char *name, struct node child)
{
	struct listing *l = arg;
	enum node_kind kind = node_kind(child);

	dir_add(l->names, name, ino_of((struct place){ .kind = PLACE_TREE, .node = child }),
		kind == NODE_DIR    ? S_IFDIR
		: kind == NODE_LINK ? S_IFLNK
				    : S_IFREG);
	return true;
}

void tree_list(struct mount *m, struct node dir, struct text *names)
{
	struct listing l = { names };

	node_list(m->ctl, dir, add_child, &l);
}

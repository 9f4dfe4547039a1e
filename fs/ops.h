/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which file a request is about, and the handlers by kind of file. A node id
 * holds everything: kind, row of the control tree, number of the object. So
 * nothing is remembered for it, forgetting one is nothing to do, and it means
 * the same to the next daemon.
 */
#ifndef TANDEMFS_OPS_H
#define TANDEMFS_OPS_H

#include "mount.h"

enum place_kind { PLACE_NONE, PLACE_DIR, PLACE_DISK, PLACE_TREE };

struct place {
	enum place_kind kind;
	uint32_t number;  /* of the pool of a PLACE_DIR, of the disk of a PLACE_DISK */
	struct node node; /* PLACE_TREE */
	/* Which one of those that are called so, each with pages and locks of its own in the kernel. */
	uint32_t variant; /* less than PLACE_VARIANTS */
};
#define PLACE_VARIANTS (1u << 20)

struct place place_of(fuse_ino_t ino);
fuse_ino_t ino_of(struct place p);
/* The same with another number each time: another inode to the kernel, with a lock of its own. */
fuse_ino_t ino_fresh(struct mount *m, struct place p);

static inline struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* disk_files.c */
int disk_attributes(struct disk *d, struct stat *st);
void disk_file_getattr(fuse_req_t req, uint32_t number);
void disk_file_setattr(fuse_req_t req, uint32_t number, struct stat *attr, int to_set,
		       struct fuse_file_info *fi);
void disk_file_open(fuse_req_t req, uint32_t number, struct fuse_file_info *fi);
/* p is what the next daemon finds it by. Takes over the reference; d may be NULL. */
void disk_file_open_of(fuse_req_t req, struct place p, struct disk *d, struct fuse_file_info *fi);
void disk_file_release(fuse_req_t req, struct handle *h, const struct fuse_file_info *fi);
/*
 * d is opened; replies to CREATE or, when entry is NULL, to OPEN, of this unique number. Takes over
 * the reference.
 */
void disk_file_opened(fuse_req_t req, struct disk *d, struct fuse_file_info *fi,
		      const struct fuse_entry_param *entry, uint64_t ino, uint64_t unique);
void disk_file_read(fuse_req_t req, struct handle *h, size_t size, off_t off, int flags);
void disk_file_write(fuse_req_t req, struct handle *h, const char *buf, size_t size, off_t off,
		     const struct fuse_file_info *fi);
void disk_file_fsync(fuse_req_t req, struct handle *h);
void disk_file_fallocate(fuse_req_t req, struct handle *h, int mode, off_t off, off_t len);
void disk_file_lseek(fuse_req_t req, struct handle *h, off_t off, int whence);

/* take_over.c */
/* Of a file that the daemon before has opened: what is behind it, at last. 0, -ESTALE, -EIO. */
int take_over_file(struct mount *m, struct handle *h);

/* moment_files.c */
int moment_attributes(struct mount *m, struct node n, struct stat *st);
bool moment_is_writable(struct mount *m, struct node n);
/* A reference on what is written to that snapshot, if it is that still; or NULL. */
struct disk *moment_overlay(struct mount *m, const struct place *p);
void moment_file_getattr(fuse_req_t req, struct handle *h);
/* -ESTALE: it is another variant by now. */
void moment_file_open(fuse_req_t req, const struct place *p, struct fuse_file_info *fi);
void moment_file_release(fuse_req_t req, struct handle *h, const struct fuse_file_info *fi);
void moment_file_read(fuse_req_t req, struct handle *h, size_t size, off_t off);
void moment_file_lseek(fuse_req_t req, struct handle *h, off_t off, int whence);

/* directories.c: the mount's own directory and those of the pools */
void dir_lookup(fuse_req_t req, uint32_t pool, const char *name);
void dir_getattr(fuse_req_t req, uint32_t pool);
void dir_create(fuse_req_t req, uint32_t pool, const char *name, mode_t mode,
		struct fuse_file_info *fi);
void dir_unlink(fuse_req_t req, uint32_t pool, const char *name);
void dir_rename(fuse_req_t req, uint32_t pool, const char *name, uint32_t new_pool,
		const char *new_name, unsigned flags);
void dir_statfs(fuse_req_t req, uint32_t pool);
void dir_sync(fuse_req_t req, uint32_t pool);
void dir_list(struct mount *m, uint32_t pool, struct text *names);
/* One entry of a listing, kept until the directory is closed. */
void dir_add(struct text *names, const char *name, fuse_ino_t ino, mode_t type);

/* control_names.c, control_files.c: .replication/ */
void tree_lookup(fuse_req_t req, struct node dir, const char *name);
int tree_attributes(struct mount *m, struct node n, struct stat *st);
void tree_getattr(fuse_req_t req, struct node n);
void tree_setattr(fuse_req_t req, struct node n, struct stat *attr, int to_set);
void tree_readlink(fuse_req_t req, struct node n);
void tree_open(fuse_req_t req, const struct place *p, struct fuse_file_info *fi);
void tree_release(fuse_req_t req, struct handle *h, const struct fuse_file_info *fi);
void tree_read(fuse_req_t req, struct handle *h, size_t size, off_t off, int flags);
void tree_write(fuse_req_t req, struct handle *h, const char *buf, size_t size, off_t off);
void tree_poll(fuse_req_t req, struct handle *h, struct fuse_pollhandle *ph);
void tree_list(struct mount *m, struct node dir, struct text *names);

#endif

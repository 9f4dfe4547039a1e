// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an administrator asks for of one disk. Each operation holds discovery,
 * checks everything, stops there for a plan, and then does all of it or nothing.
 */
#include "operations.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beside.h"
#include "clones.h"
#include "close_wait.h"
#include "groups.h"
#include "notes.h"
#include "pairs.h"
#include "scan.h"
#include "snapshots.h"

/* ---- DeleteDisk, rename ---- */

/* Since the name was looked up, a scan may have found the image under another one. */
static int check_still_called(struct tandem *t, struct disk *d, const char *called, struct why *why)
{
	struct disk *now = called ? tandem_disk_called(t, called) : d;
	bool same = now == d;

	if (called)
		disk_unref(now);
	return same ? 0 : refuse(why, -ENOENT, "%s is called %s now", called, d->label);
}

/* The directory may have been changed behind us: what has the name must be this image. */
static int check_still_there(struct disk *d, struct why *why)
{
	struct stat named, ours;

	if (d->shut)
		return refuse(why, -ENOENT, "%s is gone", d->label);
	if (!d->image)
		return 0; /* could not be opened; the name is all there is */
	if (fstatat(d->pool->dirfd, d->file_name, &named, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT)
			return 0; /* nothing else can be hit */
		return refuse(why, -errno, "%s: %s", d->file_name, strerror(errno));
	}
	if (fstat(file_fd(d->image->file), &ours) || named.st_ino != ours.st_ino ||
	    named.st_dev != ours.st_dev)
		return refuse_advise(why, -ENOENT, "Rescan", "%s is not the image it was",
				     d->file_name);
	return 0;
}

void operations_forget(struct tandem *t, struct disk *d)
{
	char object[DISK_LABEL_MAX + 8];
	struct catalogue_txn *txn;

	tandem_unlist_disk(t, d);
	parents_settle(t);
	if (d->image && d->image->notes)
		notes_clear(d->image->notes);
	snapshots_forget(t, d);
	groups_forget(t, d);
	if (!tandem_txn(t, &txn)) {
		catalogue_del_disk(txn, d->number);
		tandem_commit(t);
	}
	events_emit(t->events, EVENT_INFORMATION, "DiskRemoved",
		    disk_object(d, object, sizeof(object)), "By=command");
}

static int check_no_children(struct disk *d, struct why *why)
{
	unsigned children = atomic_load(&d->children);

	return children ? refuse(why, -EBUSY, "%u disk%s built upon %s", children,
				 children == 1 ? " is" : "s are", d->label)
			: 0;
}

/* From here on no operation begins on it, and none is under way. */
static int claim_for_delete(struct disk *d, bool force, struct why *why)
{
	int err = disk_claim(d, why);

	if (err)
		return err;
	err = snapshots_check_delete(d, force, why) ?: groups_check_delete(d, force, why);
	if (err)
		disk_unclaim(d);
	return err;
}

/* It may have been filled, and be a disk like others. Once nobody fills it any more. */
static int check_still_clone(struct disk *d, uint32_t clone, struct why *why)
{
	return !clone || disk_is_that_clone(d, clone)
		       ? 0
		       : refuse(why, -EBUSY, "CopyState is Synchronized by now");
}

struct deletion {
	const char *called; /* or NULL */
	uint32_t clone;     /* the relationship that it has to be the target of still, or 0 */
	bool force, plan;
};

static int delete_disk(struct tandem *t, struct disk *d, const struct deletion *q, struct why *why)
{
	int err;

	pthread_mutex_lock(&t->discovery);
	err = t->read_only ? refuse(why, -EROFS, "the mount is read-only")
			   : check_still_called(t, d, q->called, why);
	if (!err)
		err = check_no_children(d, why) ?: pair_check_disk(d, why);
	if (!err)
		err = check_still_there(d, why);
	if (!err)
		err = clones_check_delete(d, q->force, why) ?: check_still_clone(d, q->clone, why);
	if (!err)
		err = claim_for_delete(d, q->force, why);
	if (!err && q->plan) {
		disk_unclaim(d);
	} else if (!err) {
		if (unlinkat(d->pool->dirfd, d->file_name, 0) && errno != ENOENT) {
			err = refuse(why, -errno, "%s: %s", d->file_name, strerror(errno));
			disk_unclaim(d);
		} else {
			beside_remove(d->pool->dirfd, d->file_name);
			fsync(d->pool->dirfd);
			operations_forget(t, d);
		}
	}
	clones_go_on(d);
	pthread_mutex_unlock(&t->discovery);
	return err;
}

int tandem_delete_disk(struct tandem *t, struct disk *d, const char *called, bool force, bool plan,
		       struct why *why)
{
	const struct deletion q = { .called = called, .force = force, .plan = plan };

	return delete_disk(t, d, &q, why);
}

int tandem_delete_patiently(struct tandem *t, struct disk *d, const char *called, bool force)
{
	struct why why = { 0 };
	struct close_wait w;
	int err;

	close_wait_begin(&w, t);
	do
		err = tandem_delete_disk(t, d, called, force, false, &why);
	while (close_wait_again(&w, err, &why));
	return err;
}

int tandem_delete_clone(struct tandem *t, struct disk *d, uint32_t clone, bool plan,
			struct why *why)
{
	const struct deletion q = { .clone = clone, .force = true, .plan = plan };

	return delete_disk(t, d, &q, why);
}

/* Its file has another name until it is filled. */
static int check_whole(struct disk *d, struct why *why)
{
	return disk_is_clone(d) ? refuse_advise(why, -EBUSY, "wait until it is filled",
						"%s is a clone that is not filled yet", d->label)
				: 0;
}

static int check_rename(struct tandem *t, struct disk *d, const char *new_name, unsigned flags,
			struct why *why)
{
	struct image_name kind = image_name_classify(new_name);
	int err;

	if (flags & ~(unsigned)RENAME_NOREPLACE)
		return refuse(why, -EINVAL, "only RENAME_NOREPLACE");
	if (t->read_only)
		return refuse(why, -EROFS, "the mount is read-only");
	if (!d->format || !d->format->flat || kind.format != d->format || kind.needs_sectors)
		return refuse(why, -EPERM, "only raw disks, to names of raw disks");
	if (check_file_name(new_name, why))
		return -EPERM;
	if (disk_keeps_name(d))
		return refuse(why, -EPERM, "%s was moved, and keeps its name", d->label);
	err = check_whole(d, why) ?: pair_check_disk(d, why) ?: check_no_children(d, why);
	return err ?: check_still_there(d, why);
}

static void rename_done(struct tandem *t, struct disk *d, const char *new_name)
{
	char object[DISK_LABEL_MAX + 8], from[4 * NAME_MAX + 1];
	struct catalogue_txn *txn;
	struct disk_record r;

	event_word(from, sizeof(from), d->file_name);
	tandem_rename_listed(t, d, new_name);
	disk_unclaim(d);
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
	beside_rename(dir, d->file_name, new_name);
	fsync(dir);
	if (over)
		operations_forget(t, over);
	rename_done(t, d, new_name);
	return 0;
}

static int rename_disk(struct tandem *t, struct disk *d, const char *called, const char *new_name,
		       unsigned flags, struct why *why)
{
	struct disk *over = NULL;
	int err;

	pthread_mutex_lock(&t->discovery);
	err = check_still_called(t, d, called, why);
	if (!err)
		err = check_rename(t, d, new_name, flags, why);
	if (!err && !strcmp(d->file_name, new_name))
		goto out;
	if (!err) {
		over = tandem_disk_of_file(t, d->pool, new_name);
		/* Its file has another name, so that a rename would not replace it. */
		if (!over && tandem_name_is_known(t, d->pool, new_name))
			err = refuse(why, -EEXIST, "'%s' is the name of another disk", new_name);
		else if (over && disk_is_served(over) &&
			 !disk_is_mounted_as(over, d->pool->number, new_name))
			err = refuse(why, -EEXIST, "'%s' is the file of %s, which was moved",
				     new_name, over->mount_name);
		else if (over && flags & RENAME_NOREPLACE)
			err = refuse(why, -EEXIST, "'%s' exists", new_name);
		else if (over && !disk_is_served(over))
			err = refuse(why, -EEXIST, "'%s' is a disk that is %s", new_name,
				     disk_state_name(disk_state(over)));
		else if (over)
			err = check_whole(over, why) ?: pair_check_disk(over, why)
				      ?: check_no_children(over, why)
				      ?: check_still_there(over, why);
	}
	if (!err)
		err = disk_claim(d, why);
	if (!err) {
		err = over ? claim_for_delete(over, false, why) : 0;
		if (err == -EPERM)
			err = -EBUSY; /* nobody can say Force here */
		if (!err) {
			err = rename_claimed(t, d, over, new_name, why);
			if (err && over)
				disk_unclaim(over);
		}
		if (err)
			disk_unclaim(d);
	}
	disk_unref(over);
out:
	pthread_mutex_unlock(&t->discovery);
	return err;
}

int tandem_rename_disk(struct tandem *t, struct disk *d, const char *called, const char *new_name,
		       unsigned flags, struct why *out)
{
	struct why why = { 0 };
	struct close_wait w;
	int err;

	close_wait_begin(&w, t);
	do
		err = rename_disk(t, d, called, new_name, flags, &why);
	while (close_wait_again(&w, err, &why));
	if (out)
		*out = why;
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

static bool only_opener(struct disk *d)
{
	bool only;

	pthread_mutex_lock(&d->lock);
	only = d->openers == 1;
	pthread_mutex_unlock(&d->lock);
	return only;
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
	if (size < disk_size(d) && !d->format->flat)
		return refuse(why, -EOPNOTSUPP, "a %s image does not shrink", d->format->name);
	if (size < disk_size(d) && !force)
		return refuse_advise(why, -EPERM, "Resize with Force",
				     "this cuts off and loses the last %" PRIu64 " bytes",
				     disk_size(d) - size);
	if (size < disk_size(d) && disk_is_open(d))
		return refuse_advise(while_open(d, why), -EBUSY, "close it first",
				     "the disk is open; only a closed one can shrink");
	if (plan)
		return 0;
	/* Counts as a client meanwhile, so that the disk stays what it is. */
	err = disk_open(d, true);
	if (err)
		return refuse(why, err, "%s", strerror(-err));
	err = size < disk_size(d) && !only_opener(d) ? -EBUSY : disk_resize(d, size, force);
	if (!err)
		err = disk_flush(d);
	disk_close(d);
	if (err)
		return refuse(err == -EBUSY ? while_open(d, why) : why, err,
			      "the image cannot be resized: %s", strerror(-err));
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
		err = refuse_advise(while_open(d, why), -EBUSY, "close it first",
				    "the disk is open");
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
	disk_set_state(d, disk_natural_state(d), "");
	parents_settle(t); /* which has a reason of its own */
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
	/* What its image holds is not all of it. */
	if (disk_is_clone(d))
		return refuse_advise(why, -EBUSY, "delete it, and clone again",
				     "%s is a clone that is not filled yet", d->label);
	if (!force)
		return refuse_advise(why, -EPERM, "Accept Force",
				     "what the image holds now becomes the truth: %s", d->reason);
	/* A container's tables must not change under who reads it. */
	if (!d->format->flat && disk_is_open(d))
		return refuse_advise(while_open(d, why), -EBUSY, "close it first",
				     "the disk is open");
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
	/* A past that fits no more, or cannot be opened. */
	if (disk_has_past(d) && (disk_state(d) == DISK_CHANGED || !atomic_load(&d->history))) {
		err = snapshots_break(d, why);
		if (err)
			goto out;
	}
	err = pairs_differ(d);
	if (err) {
		refuse(why, err, "what its mirrors lack cannot be marked: %s", strerror(-err));
		goto out;
	}
	/* Recorded first: a crash now leaves a disk that is known to be in doubt, or is not any more. */
	scan_record(d, &r);
	r.failed = r.changed = false;
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

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * BreakMirrorVirtualDisk: a disk goes on in its mirror's file. The disk stays what it is, with
 * its number, its past, its other mirrors and whoever has it open, and gets the image of the
 * target, while nobody uses either; the target's disk takes the old one, and goes with it.
 *
 *   all settled and flushed, the two are the same -> the notes of both are empty
 *   -> in one transaction: the disk is in that file, under its old name in the mount; the
 *      target's disk and the mirror are gone, D
 *   -> the images change places -> requests go on -> the old file is called FILE.left-TIME
 *
 * After a crash before the last step the old file has its name still, and is in Conflict
 * with the disk, whose name in the mount it would have.
 *
 * Locks, in this order, and the other way around at the end:
 *
 *   discovery -> pair.changing -> opening of both -> all of the ranges of both
 *   -> stages and resizing of its history -> flushing of both -> looking of both -> table
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clones.h"
#include "groups.h"
#include "history.h"
#include "names.h"
#include "notes.h"
#include "pairs_inner.h"
#include "scan.h"
#include "watch.h"

struct breaking {
	struct disk *d, *goes; /* goes: a reference, or NULL */
	struct pair *p;
	enum copy_state from;
	struct range range, other;
	char mount_name[NAME_MAX + 1 + 4]; /* what the disk keeps; "": its file is called so */
	uint32_t mount_pool;
	struct disk *to; /* the target as the mirror had it open */
	struct stat had; /* its owner and mode */
};

/* ---- may it be ---- */

static int check_pair(struct breaking *b, struct why *why)
{
	struct pair_facts f;

	if (pair_numbered(b->d->tandem, b->p->number, &f))
		return refuse(why, -ENOENT, "%s is not being mirrored any more", b->d->label);
	b->from = f.state;
	if (f.state != COPY_SYNCHRONIZED)
		return refuse_advise(why, -EBUSY, "wait until it is Synchronized, or CancelIo",
				     "the mirror is %s, at %u %%; this needs all of it",
				     enum_name(copy_states, f.state), f.percent);
	return f.verifying ? refuse(why, -EBUSY, "it is being verified: %u %%", f.verified) : 0;
}

static int check_disk(struct disk *d, struct why *why)
{
	struct history *h = atomic_load(&d->history);

	if (!disk_is_served(d))
		return refuse(why, -EBUSY, "%s is %s", d->label, disk_state_name(disk_state(d)));
	if (disk_is_clone(d))
		return refuse_advise(why, -EBUSY, "wait until it is filled",
				     "%s is a clone that is not filled yet", d->label);
	if (h && history_restore(h).before)
		return refuse_advise(why, -EBUSY, "wait until that is done", "%s is being restored",
				     d->label);
	return atomic_load(&d->children)
		       ? refuse(why, -EBUSY, "disks are built upon %s, and know its file", d->label)
		       : 0;
}

static unsigned openers_of(struct disk *d)
{
	unsigned openers;

	pthread_mutex_lock(&d->lock);
	openers = d->openers;
	pthread_mutex_unlock(&d->lock);
	return openers;
}

/* Nothing is known of it that would be lost with it. */
static int check_target(struct disk *d, struct why *why)
{
	if (!disk_is_served(d))
		return refuse(why, -EBUSY, "%s is %s", d->label, disk_state_name(disk_state(d)));
	/* Also one that has nothing in it any more has files, and a place in the catalogue. */
	if (atomic_load(&d->history) || disk_is_cloned(d))
		return refuse_advise(why, -EBUSY, "CancelIo, and mirror to a new file",
				     "%s has, or had, a past of its own", d->label);
	if (disk_is_mirrored(d))
		return refuse_advise(why, -EBUSY, "Detach them", "%s has mirrors of its own",
				     d->label);
	if (groups_have(d->tandem, d->number))
		return refuse_advise(why, -EBUSY, "RemoveDisk", "%s is in a group", d->label);
	if (atomic_load(&d->children))
		return refuse(why, -EBUSY, "disks are built upon %s", d->label);
	if (!d->identity.len)
		return refuse(why, -EOPNOTSUPP, "%s cannot be known again after a restart",
			      d->label);
	/* The mirror, while the source is in use. */
	if (openers_of(d) > 1)
		return refuse_advise(why, -EBUSY, "close it first", "%s is open", d->label);
	return 0;
}

static int check_both(struct breaking *b, struct why *why)
{
	int err = check_disk(b->d, why) ?: check_target(b->goes, why);

	if (err || disk_size(b->d) == disk_size(b->goes))
		return err;
	return refuse_advise(why, -EBUSY, "Resize", "%s has %llu bytes, and %s has %llu",
			     b->d->label, (unsigned long long)disk_size(b->d), b->goes->label,
			     (unsigned long long)disk_size(b->goes));
}

/* ---- its names ---- */

/* What it is called in the mount it is called from now on, whatever its file is called. */
static void choose_name(struct breaking *b)
{
	char whole[NAME_MAX + 1], would[NAME_MAX + 1 + 4];

	name_whole(b->goes->file_name, whole);
	snprintf(would, sizeof(would), "%s%s", whole, b->goes->format->flat ? "" : ".raw");
	pthread_mutex_lock(&b->d->lock);
	memcpy(b->mount_name, b->d->mount_name, sizeof(b->mount_name));
	b->mount_pool = b->d->mount_pool;
	pthread_mutex_unlock(&b->d->lock);
	if (b->mount_pool == b->goes->pool->number && !strcmp(b->mount_name, would))
		b->mount_name[0] = '\0';
}

/* ---- while nobody uses them ---- */

static void lock_both(struct breaking *b)
{
	pthread_mutex_lock(&b->d->opening);
	pthread_mutex_lock(&b->goes->opening);
	range_lock_write(&b->d->ranges, &b->range, 0, UINT64_MAX);
	range_lock_write(&b->goes->ranges, &b->other, 0, UINT64_MAX);
}

static void unlock_both(struct breaking *b)
{
	range_unlock(&b->goes->ranges, &b->other);
	range_unlock(&b->d->ranges, &b->range);
	pthread_mutex_unlock(&b->goes->opening);
	pthread_mutex_unlock(&b->d->opening);
}

/* From here on also those wait who take no range. */
static void hold_both(struct breaking *b)
{
	struct history *h = atomic_load(&b->d->history);

	if (h)
		history_hold_image(h);
	pthread_mutex_lock(&b->d->flushing);
	pthread_mutex_lock(&b->goes->flushing);
}

static void release_both(struct breaking *b)
{
	struct history *h = atomic_load(&b->d->history);

	pthread_mutex_unlock(&b->goes->flushing);
	pthread_mutex_unlock(&b->d->flushing);
	if (h)
		history_release_image(h);
}

static int quiet(struct breaking *b, struct why *why)
{
	struct history *h = atomic_load(&b->d->history);
	int err = h ? history_settle(h) : 0;

	err = err ?: disk_flush(b->d) ?: disk_flush(b->goes);
	return err ? refuse(why, err, "%s cannot be completed: %s", b->d->label, strerror(-err))
		   : 0;
}

static bool is_flushed(struct disk *d)
{
	return atomic_load(&d->unflushed) == atomic_load(&d->flushed) &&
	       !atomic_load(&d->broken_flush) && !atomic_load(&d->lost);
}

static int drop_notes(struct notes *n)
{
	if (!n)
		return 0;
	return notes_bytes(n) ? -EBUSY : notes_clear(n);
}

/* Durably. */
static int set_attributes(struct disk *d, const struct stat *to)
{
	int fd = file_fd(d->image->file);
	struct stat has;

	if (fstat(fd, &has))
		return -errno;
	if (to->st_uid == has.st_uid && to->st_gid == has.st_gid &&
	    (to->st_mode & 07777) == (has.st_mode & 07777))
		return 0;
	return fchown(fd, to->st_uid, to->st_gid) || fchmod(fd, to->st_mode & 07777) || fsync(fd)
		       ? -errno
		       : 0;
}

/* Whoever could read or write the old file, and nobody else, can the new one. */
static int copy_attributes(struct breaking *b)
{
	struct stat is;
	int err;

	if (fstat(file_fd(b->d->image->file), &is) || fstat(file_fd(b->goes->image->file), &b->had))
		return -errno;
	err = set_attributes(b->goes, &is);
	if (err)
		set_attributes(b->goes, &b->had);
	return err;
}

/* The last that can fail. */
static int record(struct breaking *b)
{
	struct catalogue_txn *txn;
	struct disk_record r;
	int err;

	scan_record(b->d, &r);
	r.identity = b->goes->identity;
	r.pool = b->goes->pool->number;
	memcpy(r.file_name, b->goes->file_name, sizeof(r.file_name));
	memcpy(r.mount_name, b->mount_name, sizeof(r.mount_name));
	r.mount_pool = b->mount_pool;
	pthread_mutex_lock(&b->p->recording);
	err = catalogue_begin(b->d->tandem->catalogue, &txn);
	if (!err) {
		pair_del(txn, b->p->number);
		catalogue_del_disk(txn, b->goes->number);
		catalogue_put_disk(txn, &r);
		err = catalogue_commit(txn);
	}
	if (!err) {
		pthread_mutex_lock(&b->p->lock);
		b->p->gone = true;
		pthread_mutex_unlock(&b->p->lock);
	}
	pthread_mutex_unlock(&b->p->recording);
	return err;
}

static int prepare(struct breaking *b, struct why *why)
{
	int err = check_pair(b, why) ?: check_both(b, why);

	if (err)
		return err;
	if (b->p->leg.to != b->goes || !is_flushed(b->d) || !is_flushed(b->goes))
		return refuse(why, -EBUSY, "it cannot be completed just now");
	err = drop_notes(b->d->image->notes) ?: drop_notes(b->goes->image->notes);
	if (err)
		return refuse(why, err, "its notes cannot be given up: %s", strerror(-err));
	err = copy_attributes(b);
	if (err)
		return refuse(why, err, "%s cannot have the owner and mode of %s: %s",
			      b->goes->label, b->d->label, strerror(-err));
	choose_name(b);
	err = record(b);
	if (err)
		set_attributes(b->goes, &b->had);
	return err ? refuse(why, err, "it cannot be recorded: %s", strerror(-err)) : 0;
}

/* ---- the images change places ---- */

#define EXCHANGE(field)                              \
	do {                                         \
		__typeof__(d->field) was = d->field; \
		d->field = goes->field;              \
		goes->field = was;                   \
	} while (0)

static void name_notes(struct disk *d)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", d->number);
	if (d->image->notes)
		notes_rename(d->image->notes, name);
}

/* Under table. All else stays: what has been written and flushed is the same by now. */
static void swap(struct disk *d, struct disk *goes)
{
	char here[NAME_MAX + 1], there[NAME_MAX + 1];
	struct disk **last = &goes->left;

	memcpy(here, d->file_name, sizeof(here));
	memcpy(there, goes->file_name, sizeof(there));
	pthread_mutex_lock(&d->lock);
	pthread_mutex_lock(&goes->lock);
	EXCHANGE(image);
	EXCHANGE(format);
	EXCHANGE(pool);
	EXCHANGE(identity);
	EXCHANGE(use);
	EXCHANGE(about);
	EXCHANGE(known);
	atomic_fetch_add(&d->attributes_set, 1); /* whoever asks just now gets an old answer */
	goes->listed = false;
	pthread_mutex_unlock(&goes->lock);
	pthread_mutex_unlock(&d->lock);
	atomic_store(&goes->lost, true); /* who knows it still does nothing to the file */
	for (size_t i = 0; i < 2; i++)
		atomic_store(&d->error_event_ns[i], 0);
	disk_set_names(d, there);
	disk_set_names(goes, here);
	name_notes(d);
	name_notes(goes);
	while (*last)
		last = &(*last)->left;
	*last = d->left;
	d->left = disk_ref(goes);
}

static void change_places(struct breaking *b)
{
	struct mirror *m = atomic_load(&b->goes->mirror);

	atomic_store(&b->p->stop, true);
	atomic_store(&b->p->leg.skews, false);
	atomic_store(&m->of, NULL);
	b->to = mirror_take_out(b->d, &b->p->leg);
	disk_keep_name(b->d, b->mount_pool, b->mount_name);
	pthread_rwlock_wrlock(&b->d->looking);
	pthread_rwlock_wrlock(&b->goes->looking);
	tandem_swap_listed(b->d->tandem, b->d, b->goes, swap);
	pthread_rwlock_unlock(&b->goes->looking);
	pthread_rwlock_unlock(&b->d->looking);
	disk_know(b->d);
}

/* ---- the old file ---- */

static bool is_named(struct disk *d)
{
	struct stat named, ours;

	return !fstatat(d->pool->dirfd, d->file_name, &named, AT_SYMLINK_NOFOLLOW) &&
	       !fstat(file_fd(d->image->file), &ours) && named.st_ino == ours.st_ino &&
	       named.st_dev == ours.st_dev;
}

/* It is no name of a disk. */
static int leave_file(struct disk *goes, char name[NAME_MAX + 1])
{
	int dir = goes->pool->dirfd, err = -EEXIST;
	time_t now = time(NULL);
	char when[32];
	struct tm tm;

	if (!is_named(goes))
		return -ENOENT;
	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm);
	for (unsigned n = 1; err == -EEXIST && n < 100; n++) {
		char again[8] = "";

		if (n > 1)
			snprintf(again, sizeof(again), "-%u", n);
		snprintf(name, NAME_MAX + 1, "%.*s.left-%s%s", NAME_MAX - 40, goes->file_name, when,
			 again);
		err = renameat2(dir, goes->file_name, dir, name, RENAME_NOREPLACE) ? -errno : 0;
	}
	if (!err)
		fsync(dir);
	return err;
}

static void close_file(struct disk *goes)
{
	watch_own_close(goes->tandem->watch, goes->pool, goes->file_name);
	pthread_rwlock_wrlock(&goes->looking);
	goes->shut = true;
	image_shut(goes->image);
	pthread_rwlock_unlock(&goes->looking);
	pool_remember(goes->pool);
	pool_unref(goes->pool);
}

static void announce(struct breaking *b, const char *left)
{
	char object[DISK_LABEL_MAX + 8], from[4 * DISK_LABEL_MAX], word[4 * DISK_LABEL_MAX];

	pair_announce(b->p, enum_name(copy_states, b->from), "-");
	events_emit(b->d->tandem->events, EVENT_INFORMATION, "DiskRenamed",
		    disk_object(b->d, object, sizeof(object)), "From=%s%s%s",
		    event_word(from, sizeof(from), b->goes->label), left[0] ? " Left=" : "",
		    left[0] ? event_word(word, sizeof(word), left) : "");
	tandem_changed(b->d->tandem, b->d);
}

/* With discovery held, and nothing else. Requests go on already. */
static void finish(struct breaking *b, char left[DISK_LABEL_MAX + 1])
{
	struct tandem *t = b->d->tandem;
	struct disk *goes = b->goes;
	struct pool *was = pool_ref(goes->pool);
	const char *because = b->d->image->read_only_because;
	char name[NAME_MAX + 1];
	int err;

	disk_set_state(b->d, disk_natural_state(b->d), because ? because : "");
	/* A flush that failed just between said so before that. */
	if (atomic_load(&b->d->broken_flush) && disk_state(b->d) != DISK_FAILED) {
		disk_set_state(b->d, DISK_FAILED, "a flush failed: what was written is in doubt");
		watch_poke(t->watch);
	}
	pair_drop_marks(b->p);
	keeper_poke(b->p); /* it ends */
	disk_close(b->to); /* the old image is at rest */
	disk_unref(b->to);
	err = leave_file(goes, name);
	close_file(goes);
	left[0] = '\0';
	if (!err)
		snprintf(left, DISK_LABEL_MAX + 1, "%s%s%s", goes->pool->name,
			 goes->pool->name[0] ? ":" : "", name);
	announce(b, left);
	parents_settle(t);
	tandem_settle_names(t);
	if (err)
		scan_name(t, was, goes->file_name, SCAN_LOOK);
	pool_unref(was);
}

/* ---- the operation ---- */

/* With discovery, and its pair's changing. */
static int switch_over(struct breaking *b, struct why *why)
{
	int err;

	lock_both(b);
	err = quiet(b, why);
	if (!err) {
		hold_both(b);
		err = prepare(b, why);
		if (!err)
			change_places(b);
		release_both(b);
	}
	unlock_both(b);
	return err;
}

static int break_pair(struct breaking *b, bool plan, char left[DISK_LABEL_MAX + 1], struct why *why)
{
	int err;

	pthread_mutex_lock(&b->p->changing);
	err = check_pair(b, why);
	b->goes = err ? NULL : pair_target(b->p);
	if (!err && !b->goes)
		err = refuse(why, -ENOENT, "its target is not there");
	err = err ?: check_both(b, why);
	if (!err && !plan)
		err = switch_over(b, why);
	pthread_mutex_unlock(&b->p->changing);
	if (!err && !plan)
		finish(b, left);
	disk_unref(b->goes);
	return err;
}

/* Most of it before anybody has to wait. */
static int begin(struct disk *d, struct why *why)
{
	struct history *h = atomic_load(&d->history);
	int err = disk_open(d, false);

	if (err)
		return refuse(why, err, "%s cannot be opened: %s", d->label, strerror(-err));
	if (h)
		history_settle(h);
	disk_flush(d);
	return 0;
}

int tandem_break_mirror(struct disk *source, bool plan, char left[DISK_LABEL_MAX + 1],
			struct why *why)
{
	struct breaking b = { .d = source };
	struct tandem *t = source->tandem;
	struct pair_facts f;
	int err;

	if (pair_moving(source, &f))
		return refuse_advise(why, -ENOENT, "MirrorVirtualDisk", "%s is not being mirrored",
				     source->label);
	b.p = pair_of_number(t->pairs, f.number);
	err = check_pair(&b, why);
	if (!err && !plan)
		err = begin(source, why);
	if (err)
		return err;
	pthread_mutex_lock(&t->discovery);
	err = break_pair(&b, plan, left, why);
	pthread_mutex_unlock(&t->discovery);
	if (!plan)
		disk_close(source);
	return err;
}

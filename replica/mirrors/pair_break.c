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
 * After a crash before the last step the old file has its name still: it is a disk like others,
 * and in Conflict with the one that moved, where that has its name in the mount.
 *
 * Locks: see pair_swap.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "groups.h"
#include "history.h"
#include "pair_swap.h"
#include "pairs_inner.h"
#include "scan.h"

struct breaking {
	struct disk *d, *goes; /* goes: a reference, or NULL */
	struct swap swap;      /* of the two */
	struct pair *p;
	enum copy_state from;
	struct disk *to; /* the target as the mirror had it open */
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

static int check_both(struct breaking *b, struct why *why)
{
	int err;

	if (!disk_is_served(b->d))
		return refuse(why, -EBUSY, "%s is %s", b->d->label,
			      disk_state_name(disk_state(b->d)));
	/* Also one that has nothing in it any more has files, and a place in the catalogue. */
	if (atomic_load(&b->goes->history))
		return refuse_advise(why, -EBUSY, "CancelIo, and MirrorVirtualDisk to a new file",
				     "%s has, or had, a past of its own", b->goes->label);
	/* The mirror has the target open, while the source is in use. */
	err = swap_check_disk(b->d, why) ?: swap_check_other(b->goes, 1, why);
	if (!err && groups_have(b->d->tandem, b->goes->number))
		err = refuse_advise(why, -EBUSY, "RemoveDisk", "%s is in a group", b->goes->label);
	if (err || disk_size(b->d) == disk_size(b->goes))
		return err;
	return refuse_advise(why, -EBUSY, "Resize", "%s has %llu bytes, and %s has %llu",
			     b->d->label, (unsigned long long)disk_size(b->d), b->goes->label,
			     (unsigned long long)disk_size(b->goes));
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

/* The last that can fail. */
static int record(struct breaking *b)
{
	struct catalogue_txn *txn;
	struct disk_record r;
	int err;

	swap_record(&b->swap, &r);
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
	err = swap_drop_notes(b->d) ?: swap_drop_notes(b->goes);
	if (err)
		return refuse(why, err, "its notes cannot be given up: %s", strerror(-err));
	err = swap_copy_attributes(&b->swap);
	if (err)
		return refuse(why, err, "%s cannot have the owner and mode of %s: %s",
			      b->goes->label, b->d->label, strerror(-err));
	swap_choose_names(&b->swap);
	err = record(b);
	if (err)
		swap_take_back_attributes(&b->swap);
	return err ? refuse(why, err, "it cannot be recorded: %s", strerror(-err)) : 0;
}

/* ---- the images change places ---- */

static void change_places(struct breaking *b)
{
	struct mirror *m = atomic_load(&b->goes->mirror);

	atomic_store(&b->p->stop, true);
	atomic_store(&b->p->leg.skews, false);
	atomic_store(&m->of, NULL);
	b->to = mirror_take_out(b->d, &b->p->leg);
	swap_images(&b->swap, true);
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
	char name[NAME_MAX + 1];
	int err;

	swap_settle_states(&b->swap, true);
	pair_drop_marks(b->p);
	keeper_poke(b->p); /* it ends */
	disk_close(b->to); /* the old image is at rest */
	disk_unref(b->to);
	err = leave_file(goes, name);
	swap_shut(goes);
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

	b->swap = (struct swap){ .d = b->d, .other = b->goes };
	swap_lock(&b->swap);
	err = quiet(b, why);
	if (!err) {
		swap_hold(&b->swap);
		err = prepare(b, why);
		if (!err)
			change_places(b);
		swap_release(&b->swap);
	}
	swap_unlock(&b->swap);
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
	err = pair_to_change(t, f.number, &b.p, why) ?: check_pair(&b, why);
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

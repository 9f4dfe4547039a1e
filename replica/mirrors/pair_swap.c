// SPDX-License-Identifier: GPL-2.0-or-later
#include "pair_swap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clones.h"
#include "close_wait.h"
#include "history.h"
#include "mirror.h"
#include "names.h"
#include "notes.h"
#include "pairs.h"
#include "snapshots.h"
#include "scan.h"
#include "watch.h"

/* ---- may it be ---- */

int swap_check_disk(struct disk *d, struct why *why)
{
	struct history *h = atomic_load(&d->history);

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

/* Those that are hidden are of a copy that has ended, and nobody reads them any more. */
bool swap_has_moments(struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	struct moment_record m;

	return snapshots_count(d) || disk_is_cloned(d) ||
	       (h && !history_moment_seen(h, UINT64_MAX, &m));
}

int swap_check_other(struct disk *d, unsigned ours, struct why *why)
{
	int err;

	if (!disk_is_served(d))
		return refuse(why, -EBUSY, "%s is %s", d->label, disk_state_name(disk_state(d)));
	if (swap_has_moments(d))
		return refuse_advise(why, -EBUSY, "delete its snapshots and ForgetHistory",
				     "%s has a past of its own", d->label);
	err = swap_check_disk(d, why);
	if (err)
		return err;
	if (disk_is_mirrored(d))
		return refuse_advise(why, -EBUSY, "Detach them", "%s has mirrors of its own",
				     d->label);
	if (!d->identity.len)
		return refuse(why, -EOPNOTSUPP, "%s cannot be known again after a restart",
			      d->label);
	if (disk_clients(d) > ours)
		return refuse_advise(while_open(d, why), -EBUSY, "close it first", "%s is open",
				     d->label);
	return 0;
}

/* ---- while nobody uses them ---- */

void swap_lock(struct swap *s)
{
	pthread_mutex_lock(&s->d->opening);
	pthread_mutex_lock(&s->other->opening);
	range_lock_write(&s->d->ranges, &s->range, 0, UINT64_MAX);
	mirror_settle(s->d); /* before the target's are taken, which it needs */
	range_lock_write(&s->other->ranges, &s->other_range, 0, UINT64_MAX);
}

void swap_unlock(struct swap *s)
{
	range_unlock(&s->other->ranges, &s->other_range);
	range_unlock(&s->d->ranges, &s->range);
	pthread_mutex_unlock(&s->other->opening);
	pthread_mutex_unlock(&s->d->opening);
}

void swap_hold(struct swap *s)
{
	struct history *h = atomic_load(&s->d->history), *o = atomic_load(&s->other->history);

	if (h)
		history_hold_image(h);
	if (o)
		history_hold_image(o);
	pthread_mutex_lock(&s->d->flushing);
	pthread_mutex_lock(&s->other->flushing);
}

void swap_release(struct swap *s)
{
	struct history *h = atomic_load(&s->d->history), *o = atomic_load(&s->other->history);

	pthread_mutex_unlock(&s->other->flushing);
	pthread_mutex_unlock(&s->d->flushing);
	if (o)
		history_release_image(o);
	if (h)
		history_release_image(h);
}

int swap_drop_notes(struct disk *d)
{
	struct notes *n = d->image->notes;

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

int swap_copy_attributes(struct swap *s)
{
	struct stat is;
	int err;

	if (fstat(file_fd(s->d->image->file), &is) ||
	    fstat(file_fd(s->other->image->file), &s->had))
		return -errno;
	err = set_attributes(s->other, &is);
	if (err)
		set_attributes(s->other, &s->had);
	return err;
}

void swap_take_back_attributes(struct swap *s)
{
	set_attributes(s->other, &s->had);
}

/* ---- names and records ---- */

/* In the file of `to`. */
static void choose_name(struct disk *d, const struct disk *to, struct kept *kept)
{
	char whole[NAME_MAX + 1], would[NAME_MAX + 1 + 4];
	const struct image_format *format = to->format;

	name_whole(to->file_name, whole);
	snprintf(would, sizeof(would), "%s%s", whole, format && format->flat ? "" : ".raw");
	pthread_mutex_lock(&d->lock);
	memcpy(kept->name, d->mount_name, sizeof(kept->name));
	kept->pool = d->mount_pool;
	pthread_mutex_unlock(&d->lock);
	if (kept->pool == to->pool->number && !strcmp(kept->name, would))
		kept->name[0] = '\0';
}

void swap_choose_names(struct swap *s)
{
	choose_name(s->d, s->other, &s->kept);
	choose_name(s->other, s->d, &s->other_kept);
}

static void record(struct disk *d, struct disk *to, const struct kept *kept, struct disk_record *r)
{
	struct disk_record of;

	scan_record(d, r);
	scan_record(to, &of);
	r->identity = of.identity;
	r->pool = of.pool;
	r->failed = of.failed;
	r->changed = of.changed;
	memcpy(r->file_name, of.file_name, sizeof(r->file_name));
	memcpy(r->mount_name, kept->name, sizeof(r->mount_name));
	r->mount_pool = kept->pool;
	r->notes = of.notes;
	r->guest_bytes = of.guest_bytes;
}

void swap_record(const struct swap *s, struct disk_record *r)
{
	record(s->d, s->other, &s->kept, r);
}

void swap_record_other(const struct swap *s, struct disk_record *r)
{
	record(s->other, s->d, &s->other_kept, r);
}

/* How an image was left that was not found since tells whether it was changed when it comes back. */
static void keep_stopped(struct catalogue *c, uint32_t was_in, struct disk_record *r)
{
	struct disk_record was;

	if (catalogue_disk_by_number(c, was_in, &was))
		return;
	r->stopped = was.stopped;
	r->gone = was.gone;
}

void swap_put(const struct swap *s, struct catalogue_txn *txn)
{
	struct catalogue *c = s->d->tandem->catalogue;
	struct disk_record d, other;

	swap_record(s, &d);
	swap_record_other(s, &other);
	keep_stopped(c, other.number, &d);
	keep_stopped(c, d.number, &other);
	/* Each has the other's identity. */
	catalogue_del_disk(txn, d.number);
	catalogue_del_disk(txn, other.number);
	catalogue_put_disk(txn, &d);
	catalogue_put_disk(txn, &other);
}

/* ---- the images change places ---- */

#define EXCHANGE(field)                              \
	do {                                         \
		__typeof__(d->field) was = d->field; \
		d->field = other->field;             \
		other->field = was;                  \
	} while (0)

/* Under table. All else stays. */
static void exchange(struct disk *d, struct disk *other)
{
	char here[NAME_MAX + 1], there[NAME_MAX + 1];

	memcpy(here, d->file_name, sizeof(here));
	memcpy(there, other->file_name, sizeof(there));
	pthread_mutex_lock(&d->lock);
	pthread_mutex_lock(&other->lock);
	EXCHANGE(image);
	EXCHANGE(format);
	EXCHANGE(pool);
	EXCHANGE(identity);
	EXCHANGE(notes); /* they go with what they are of */
	EXCHANGE(guest_bytes);
	EXCHANGE(use);
	EXCHANGE(about);
	EXCHANGE(unasked);
	EXCHANGE(known);
	EXCHANGE(lost);
	EXCHANGE(broken_flush);
	/* Whoever asks just now gets an old answer. */
	atomic_fetch_add(&d->attributes_set, 1);
	atomic_fetch_add(&other->attributes_set, 1);
	/* What a flush made durable was another file. */
	atomic_fetch_add(&d->unflushed, 1);
	atomic_fetch_add(&other->unflushed, 1);
	pthread_mutex_unlock(&other->lock);
	pthread_mutex_unlock(&d->lock);
	for (size_t i = 0; i < 2; i++) {
		atomic_store(&d->error_event_ns[i], 0);
		atomic_store(&other->error_event_ns[i], 0);
	}
	disk_set_names(d, there);
	disk_set_names(other, here);
}

/* Who knows it still does nothing to the file; what it has stays in memory as long as d. */
static void exchange_and_go(struct disk *d, struct disk *goes)
{
	struct disk **last = &goes->left;

	exchange(d, goes);
	pthread_mutex_lock(&goes->lock);
	goes->listed = false;
	pthread_mutex_unlock(&goes->lock);
	atomic_store(&goes->lost, true);
	while (*last)
		last = &(*last)->left;
	*last = d->left;
	d->left = disk_ref(goes);
}

static void note_state(struct disk *d, struct had_state *was)
{
	pthread_mutex_lock(&d->lock);
	was->state = d->state;
	memcpy(was->reason, d->reason, sizeof(was->reason));
	pthread_mutex_unlock(&d->lock);
}

void swap_images(struct swap *s, bool goes)
{
	note_state(s->d, &s->was);
	note_state(s->other, &s->other_was);
	disk_keep_name(s->d, s->kept.pool, s->kept.name);
	if (!goes)
		disk_keep_name(s->other, s->other_kept.pool, s->other_kept.name);
	pthread_rwlock_wrlock(&s->d->looking);
	pthread_rwlock_wrlock(&s->other->looking);
	tandem_swap_listed(s->d->tandem, s->d, s->other, goes ? exchange_and_go : exchange, goes);
	pthread_rwlock_unlock(&s->other->looking);
	pthread_rwlock_unlock(&s->d->looking);
	disk_know(s->d);
	if (!goes)
		disk_know(s->other);
}

/* What was wrong with an image is so still. */
static void settle_state(struct disk *d, const struct had_state *was)
{
	enum disk_state state = was->state;
	const char *reason = was->reason;

	if (state == DISK_READY || state == DISK_READ_ONLY) {
		state = disk_natural_state(d);
		reason = d->image->read_only_because ? d->image->read_only_because : "";
		if (state == DISK_FAILED)
			reason = "a flush failed: what was written is in doubt";
	}
	disk_set_state(d, state, reason);
	if (state == DISK_FAILED)
		watch_poke(d->tandem->watch); /* to record it */
}

void swap_settle_states(struct swap *s, bool goes)
{
	settle_state(s->d, &s->other_was);
	if (!goes)
		settle_state(s->other, &s->was);
}

void swap_shut(struct disk *d)
{
	watch_own_close(d->tandem->watch, d->pool, d->file_name);
	pthread_rwlock_wrlock(&d->looking);
	d->shut = true;
	image_shut(d->image);
	pthread_rwlock_unlock(&d->looking);
	pool_remember(d->pool);
	pool_unref(d->pool);
}

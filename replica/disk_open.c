// SPDX-License-Identifier: GPL-2.0-or-later
/* A disk's openers: what its first one takes up and its last one leaves. */
#include "disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>

#include "close_wait.h"
#include "mirror.h"
#include "pairs.h"
#include "tandem.h"
#include "watch.h"

static int take_changes(struct disk *d, const struct file_stat *st)
{
	char reason[IMAGE_REASON], object[DISK_LABEL_MAX + 8];
	int err = image_reload(d->image, reason);

	if (err)
		return err; /* the watcher will look at it and find why */
	disk_describe(d, NULL);
	atomic_store(&d->unasked, true);
	disk_know(d);
	watch_own_close(d->tandem->watch, d->pool, d->file_name); /* the event is answered */
	watch_poke(d->tandem->watch);                             /* to record what it is now */
	events_emit(d->tandem->events, EVENT_WARNING, "DiskChanged",
		    disk_object(d, object, sizeof(object)), "While=closed Size=%llu",
		    (unsigned long long)st->size);
	disk_reloaded(d);
	return 0;
}

void disk_is_changed(struct disk *d, const char *when, uint64_t size)
{
	char object[DISK_LABEL_MAX + 8];

	events_emit(d->tandem->events, EVENT_WARNING, "DiskChanged",
		    disk_object(d, object, sizeof(object)), "While=%s Size=%llu", when,
		    (unsigned long long)size);
	disk_set_state(
		d, DISK_CHANGED,
		"another program changed the image: its snapshots and moments do not fit it");
	watch_poke(d->tandem->watch); /* to record it */
}

static int start(struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	char reason[IMAGE_REASON];
	int err = h ? origin_open(h) : 0;

	if (err)
		return err;
	if (d->format->start) {
		atomic_fetch_add(&d->begun, 1); /* it may write */
		err = d->format->start(d->image, reason);
	}
	if (err && h)
		origin_close(h);
	if (!err)
		mirror_open(d);
	return err;
}

/* Somebody else may have changed the image since it was closed, and the event still be under way. */
static int look_again(struct disk *d)
{
	struct file_stat st, known = disk_known(d);
	int err = d->image->file->ops->stat(d->image->file, &st);

	if (err || (st.size == known.size && st.mtime.tv_sec == known.mtime.tv_sec &&
		    st.mtime.tv_nsec == known.mtime.tv_nsec))
		return err;
	pairs_changed(d); /* before anybody is told; one that cannot be told is Broken */
	if (!disk_has_past(d))
		return take_changes(d, &st);
	disk_is_changed(d, "closed", st.size);
	return -ENOENT;
}

static int take_up(struct disk *d)
{
	int err = look_again(d);

	if (err)
		return err;
	/* A close by others that is heard from now on was before this look: locks keep them out. */
	if (!d->format->flat)
		watch_own_close(d->tandem->watch, d->pool, d->file_name);
	if (d->closed_late)
		watch_late_close(d->tandem->watch, d->pool, d->file_name);
	d->closed_late = false;
	return start(d);
}

int disk_use_image(struct disk *d, enum file_use use)
{
	int err;

	if (use <= d->use)
		return 0;
	err = d->format->locks_itself ? 0 : d->image->file->ops->lock(d->image->file, use);
	if (!err)
		d->use = use;
	return err;
}

static void leave_image(struct disk *d)
{
	if (!d->format->locks_itself)
		d->image->file->ops->lock(d->image->file, FILE_UNUSED);
	d->use = FILE_UNUSED;
}

/* Who opens it. What it is to clients is nothing to those who make it what it is. */
enum opener { OPENER_CLIENT, OPENER_SOURCE, OPENER_FILLER };

/* Under lock. */
static bool is_read_only_to(const struct disk *d, enum opener who)
{
	return who == OPENER_FILLER ? d->image->read_only : d->state == DISK_READ_ONLY;
}

static int may_open(struct disk *d, bool write, enum opener who, bool *first)
{
	enum target_use use = who == OPENER_CLIENT ? atomic_load(&d->target_use) : TARGET_FREE;
	int err = 0;

	pthread_mutex_lock(&d->lock);
	*first = d->openers == 0;
	if (!disk_serves(d))
		err = -ENOENT;
	else if (use == TARGET_HIDDEN)
		err = -EIO;
	else if (write && (is_read_only_to(d, who) || use))
		err = -EROFS;
	pthread_mutex_unlock(&d->lock);
	return err;
}

unsigned disk_clients(struct disk *d)
{
	unsigned clients;

	pthread_mutex_lock(&d->lock);
	clients = d->openers - d->apart;
	pthread_mutex_unlock(&d->lock);
	return clients;
}

/* Under opening: what is shown is seen, unless somebody sees something else. */
static void see_newest(struct disk *d)
{
	struct history *h = atomic_load(&d->history);

	if (h && history_seen(h) != history_shown(h) && !disk_clients(d))
		history_show(h, history_shown(h), history_shown(h));
}

void disk_show(struct disk *d, uint64_t generation, enum disk_show how)
{
	struct history *h = atomic_load(&d->history);
	uint64_t seen;
	bool all;

	pthread_mutex_lock(&d->opening);
	seen = history_seen(h);
	if (how == SHOW_SAME)
		all = seen == history_shown(h);
	else
		all = how == SHOW_TO_ALL || !disk_clients(d);
	history_show(h, generation, all ? generation : seen);
	pthread_mutex_unlock(&d->opening);
}

static int open_disk(struct disk *d, bool write, enum opener who, bool apart)
{
	bool first, taken = false;
	int err;

	pthread_mutex_lock(&d->opening);
	err = may_open(d, write, who, &first);
	if (!err)
		err = disk_use_image(d, write ? FILE_WRITE : FILE_READ);
	if (!err && first) {
		err = take_up(d);
		taken = !err;
		if (err)
			leave_image(d);
	}
	if (!err)
		err = may_open(d, write, who, &first); /* it may have changed meanwhile */
	if (err && taken)
		disk_rest(d);
	if (!err) {
		see_newest(d);
		pthread_mutex_lock(&d->lock);
		if (d->openers++ == 0)
			atomic_fetch_add(&d->tandem->openers, 1);
		d->apart += apart;
		pthread_mutex_unlock(&d->lock);
	}
	pthread_mutex_unlock(&d->opening);
	if (!err)
		tandem_changed(d->tandem, d);
	return err;
}

int disk_open(struct disk *d, bool write)
{
	return open_disk(d, write, OPENER_CLIENT, false);
}

int disk_open_target(struct disk *d)
{
	return open_disk(d, true, OPENER_SOURCE, false);
}

int disk_open_filler(struct disk *d)
{
	return open_disk(d, true, OPENER_FILLER, false);
}

int disk_join(struct disk *d)
{
	int err = -ENOENT;

	pthread_mutex_lock(&d->opening); /* it may just be closed by its last client */
	pthread_mutex_lock(&d->lock);
	if (d->openers) {
		d->openers++;
		err = 0;
	}
	pthread_mutex_unlock(&d->lock);
	pthread_mutex_unlock(&d->opening);
	return err;
}

int disk_open_apart(struct disk *d)
{
	return open_disk(d, true, OPENER_SOURCE, true);
}

int disk_read_apart(struct disk *d)
{
	return open_disk(d, false, OPENER_CLIENT, true);
}

int disk_set_target_use(struct disk *d, enum target_use use)
{
	int err = 0;

	pthread_mutex_lock(&d->opening);
	if (use == TARGET_HIDDEN && atomic_load(&d->target_use) != use && disk_is_open(d))
		err = -EBUSY;
	else if (use && !atomic_load(&d->target_use) && disk_is_written(d))
		err = -EBUSY;
	else
		atomic_store(&d->target_use, use);
	pthread_mutex_unlock(&d->opening);
	tandem_changed(d->tandem, d);
	return err;
}

int disk_rest(struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	/* What could not be settled is in the log still, and nothing of it in doubt. */
	int behind = h ? history_rest(h) : 0, err = 0;

	/* Also one that is gone from its directory: it may have been moved, or come back. */
	if (d->format->rest && !atomic_load(&d->broken_flush)) {
		pthread_mutex_lock(&d->flushing);
		err = d->format->rest(d->image);
		pthread_mutex_unlock(&d->flushing);
	}
	if (err)
		disk_flush_failed(d, err);
	leave_image(d);
	if (h)
		origin_close(h);
	mirror_close(d);
	return err ? err : behind;
}

int disk_look(struct disk *d)
{
	bool first;
	int err;

	pthread_mutex_lock(&d->opening);
	err = may_open(d, false, false, &first);
	if (!err && first) {
		err = disk_use_image(d, FILE_READ) ?: look_again(d);
		leave_image(d);
		err = err ?: may_open(d, false, false, &first);
	}
	pthread_mutex_unlock(&d->opening);
	return err;
}

int disk_complete(struct disk *d, int (*with)(void *arg), void *arg)
{
	int err, rests;

	pthread_mutex_lock(&d->opening);
	err = disk_use_image(d, FILE_WRITE);
	if (!err) {
		err = start(d);
		if (!err) {
			err = with ? with(arg) : 0;
			rests = disk_rest(d);
			err = err ? err : rests;
		}
		leave_image(d);
		if (atomic_load(&d->history))
			origin_close(atomic_load(&d->history));
		mirror_close(d);
		disk_know(d);
	}
	pthread_mutex_unlock(&d->opening);
	return err;
}

static void close_disk(struct disk *d, bool apart)
{
	struct tandem *t = d->tandem;
	bool last, unsettled, written, doubted;

	pthread_mutex_lock(&d->opening);
	written = d->use == FILE_WRITE;
	pthread_mutex_lock(&d->lock);
	assert(d->openers > 0);
	last = d->openers == 1;
	d->closing = last;
	doubted = d->about.opinion[0];
	pthread_mutex_unlock(&d->lock);
	if (last) {
		/* Before the count goes down: from then on a difference is somebody else's. */
		atomic_fetch_add(&d->begun, 1);
		disk_rest(d);
		disk_know(d);
	}
	if (last && written && doubted && disk_differs_from_asked(d))
		atomic_store(&d->unasked, true); /* what was written may have mended it */
	pthread_mutex_lock(&d->lock);
	d->openers--;
	d->apart -= apart;
	d->closing = false;
	unsettled = last && d->state != DISK_READY && d->state != DISK_READ_ONLY;
	pthread_mutex_unlock(&d->lock);
	pthread_mutex_unlock(&d->opening);
	tandem_changed(t, d);
	/* A child may wait for it. */
	if (unsettled || (last && ((written && !d->format->flat) || atomic_load(&d->unasked))))
		watch_poke(t->watch);
	if (last)
		atomic_fetch_sub(&t->openers, 1);
	closes_tell(t);
}

void disk_close(struct disk *d)
{
	close_disk(d, false);
}

void disk_close_apart(struct disk *d)
{
	close_disk(d, true);
}

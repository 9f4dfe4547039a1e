// SPDX-License-Identifier: GPL-2.0-or-later
/* What is known of a disk's image as a file: sizes, times, attributes. */
#include "disk.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "history.h"

static int stat_file(struct disk *d, struct file_stat *st)
{
	int err = -ENOENT;

	pthread_rwlock_rdlock(&d->looking);
	if (!d->shut)
		err = d->image->file->ops->stat(d->image->file, st);
	pthread_rwlock_unlock(&d->looking);
	return err;
}

/* Under lock. Not when attributes were set since it was asked for. */
static void remember_stat(struct disk *d, const struct file_stat *st, uint64_t writes, uint64_t set)
{
	if (set != atomic_load(&d->attributes_set))
		return;
	d->last_stat = *st;
	d->last_stat_writes = writes;
}

void disk_know(struct disk *d)
{
	uint64_t begun = atomic_load(&d->begun), writes = atomic_load(&d->unflushed);
	uint64_t set = atomic_load(&d->attributes_set);
	struct file_stat st;

	if (!d->image || stat_file(d, &st))
		return;
	/* Another size than the one we go by is a change that is still to be found. */
	if (d->format->flat && st.size != d->image->size)
		return;
	pthread_mutex_lock(&d->lock);
	d->known = st;
	d->known_begun = begun;
	remember_stat(d, &st, writes, set);
	pthread_mutex_unlock(&d->lock);
}

void disk_asked(struct disk *d)
{
	pthread_mutex_lock(&d->lock);
	d->about.asked = d->known;
	d->about.asked_writes = atomic_load(&d->unflushed);
	pthread_mutex_unlock(&d->lock);
}

bool disk_differs_from_asked(struct disk *d)
{
	const struct file_stat *asked = &d->about.asked;
	bool differs;

	pthread_mutex_lock(&d->lock);
	/* A write may be in one tick of the file system's clock with what was asked. */
	differs = d->known.size != asked->size || d->known.mtime.tv_sec != asked->mtime.tv_sec ||
		  d->known.mtime.tv_nsec != asked->mtime.tv_nsec ||
		  d->about.asked_writes != atomic_load(&d->unflushed);
	pthread_mutex_unlock(&d->lock);
	return differs;
}

struct file_stat disk_known(struct disk *d)
{
	struct file_stat known;

	pthread_mutex_lock(&d->lock);
	known = d->known;
	pthread_mutex_unlock(&d->lock);
	return known;
}

/*
 * While requests are in progress the file may be stuck, and asking it too. What
 * was true before they came is then as good an answer, unless one has ended
 * since; after a tenth of a second it has to do.
 */
static bool use_last_stat(struct disk *d)
{
	uint64_t oldest = gate_oldest(&d->gate, monotonic_ns());

	return oldest > 100000000u || (oldest && d->last_stat_writes == atomic_load(&d->unflushed));
}

static int stat_image(struct disk *d, struct file_stat *st)
{
	uint64_t writes = atomic_load(&d->unflushed), set = atomic_load(&d->attributes_set);
	bool last;
	int err;

	pthread_mutex_lock(&d->lock);
	last = use_last_stat(d);
	if (last)
		*st = d->last_stat;
	pthread_mutex_unlock(&d->lock);
	if (last)
		return 0;
	err = stat_file(d, st);
	if (err)
		return err;
	pthread_mutex_lock(&d->lock);
	remember_stat(d, st, writes, set);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

/* Of what clients read of it. */
static uint64_t seen_size(struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	uint64_t g = h ? history_seen(h) : 0;
	struct moment_record m;

	return g && !history_moment_kept(h, g, &m) ? m.size : d->image->size;
}

int disk_stat(struct disk *d, struct file_stat *out)
{
	struct file_stat st;
	int err;

	if (!d->image)
		return -ENOENT;
	err = stat_image(d, &st);
	if (err)
		return err;
	st.size = seen_size(d);
	if (d->image->read_only)
		st.mode &= ~0222u;
	*out = st;
	return 0;
}

static int set_attributes(int fd, const struct disk_attributes *a)
{
	struct timespec times[2] = { a->atime, a->mtime };

	if (a->mode != UINT32_MAX && fchmod(fd, a->mode & 07777))
		return -errno;
	if ((a->uid != UINT32_MAX || a->gid != UINT32_MAX) && fchown(fd, a->uid, a->gid))
		return -errno;
	if (a->atime.tv_nsec == UTIME_OMIT && a->mtime.tv_nsec == UTIME_OMIT)
		return 0;
	return futimens(fd, times) ? -errno : 0;
}

int disk_set_attributes(struct disk *d, const struct disk_attributes *a)
{
	bool times = a->atime.tv_nsec != UTIME_OMIT || a->mtime.tv_nsec != UTIME_OMIT, ours;
	struct file_stat st;
	uint64_t writes = atomic_load(&d->unflushed), set;
	int err;

	if (!d->image)
		return -ENOENT;
	pthread_rwlock_rdlock(&d->looking);
	err = d->shut ? -ENOENT : set_attributes(file_fd(d->image->file), a);
	pthread_rwlock_unlock(&d->looking);
	set = atomic_fetch_add(&d->attributes_set, 1) + 1;
	/* Whoever asks while requests are in progress is told of it, too. */
	if (!stat_file(d, &st)) {
		pthread_mutex_lock(&d->lock);
		remember_stat(d, &st, writes, set);
		pthread_mutex_unlock(&d->lock);
	}
	pthread_mutex_lock(&d->lock);
	ours = d->known_begun == atomic_load(&d->begun);
	pthread_mutex_unlock(&d->lock);
	/* Nothing else could have moved it: the new time is no foreign change. */
	if (!err && times && ours)
		disk_know(d);
	return err;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where the past of a disk is: STATE/past/NUMBER, with its write log in `log` and
 * its old contents in `store`. It is made when the first moment is kept, and
 * stays attached to the disk for as long as that exists.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clones_inner.h"
#include "pairs.h"
#include "segment_check.h"

/* ---- directories ---- */

static int open_dir(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Its name is durable. */
static int make_dir(int parent, const char *name)
{
	if (mkdirat(parent, name, 0700) && errno != EEXIST)
		return -errno;
	if (fsync(parent))
		return -errno;
	return open_dir(parent, name);
}

static int get_dir(int parent, const char *name, bool create)
{
	return create ? make_dir(parent, name) : open_dir(parent, name);
}

static int dir_of(struct tandem *t, uint32_t number, bool create)
{
	int past = get_dir(t->state_dirfd, "past", create), fd;
	char name[16];

	if (past < 0)
		return past;
	snprintf(name, sizeof(name), "%u", number);
	fd = get_dir(past, name, create);
	close(past);
	return fd;
}

/* Only the files: it is one of ours, without directories in it. */
static void empty_dir(int dirfd, const char *name)
{
	int fd = open_dir(dirfd, name);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			unlinkat(fd, e->d_name, 0);
	closedir(dir);
}

static int open_segments(int dirfd, const char *name, bool create, struct segment_dir **out)
{
	int fd = get_dir(dirfd, name, create);
	int err = fd < 0 ? fd : segment_dir_open(fd, out);

	if (err && fd >= 0)
		close(fd);
	return err;
}

/* fresh: what is there is of nobody, left by a crash before anything was recorded. */
static int open_dirs(struct disk *d, bool fresh, struct segment_dir **log,
		     struct segment_dir **store)
{
	int fd = dir_of(d->tandem, d->number, fresh), err;

	if (fd < 0)
		return fd;
	if (fresh) {
		empty_dir(fd, "log");
		empty_dir(fd, "store");
	}
	err = open_segments(fd, "log", fresh, log);
	if (!err) {
		err = open_segments(fd, "store", fresh, store);
		if (err)
			(*log)->ops->close(*log);
	}
	close(fd);
	return err;
}

int past_prepare(struct disk *d)
{
	struct segment_dir *log, *store;
	int err = open_dirs(d, true, &log, &store);

	if (err)
		return err;
	log->ops->close(log);
	store->ops->close(store);
	return 0;
}

/* ---- the first moment ---- */

int past_record(struct disk *d, struct history *h)
{
	struct catalogue_txn *txn;
	struct track_record track;
	int err = catalogue_begin(d->tandem->catalogue, &txn);

	if (err)
		return err;
	history_record(h, &track);
	track_put(txn, d->number, &track);
	return catalogue_commit(txn);
}

int past_make(struct disk *d, uint32_t block_size, struct history **out)
{
	struct segment_dir *log, *store;
	int err = open_dirs(d, true, &log, &store);

	if (err)
		return err;
	err = history_new(d, block_size, log, store, out);
	if (err) {
		log->ops->close(log);
		store->ops->close(store);
	}
	return err;
}

/* Under opening. From here on the disk's requests go through its history. */
static int begin(struct disk *d, struct history **out)
{
	struct track_record track;
	struct range whole;
	int err = track_get(d->tandem->catalogue, d->number, &track);

	/* It has one, which could not be opened. */
	if (err != -ENOENT)
		return err ? err : -EIO;
	err = past_make(d, tandem_get_settings(d->tandem).block_size, out);
	if (err)
		return err;
	/* From its first record on the log is to be found after a crash. */
	err = past_record(d, *out);
	if (err) {
		history_close(*out);
		return err;
	}
	range_lock_write(&d->ranges, &whole, 0, UINT64_MAX);
	atomic_store(&d->history, *out);
	range_unlock(&d->ranges, &whole);
	return 0;
}

int past_begin(struct disk *d, struct history **out, struct why *why)
{
	struct history *h = atomic_load(&d->history);
	int err = 0;

	pairs_past_begins(d);
	if (!h) {
		pthread_mutex_lock(&d->opening);
		h = atomic_load(&d->history);
		if (!h) /* one that moved, or whose image is gone, has no future either */
			err = atomic_load(&d->lost) ? -ENOENT : begin(d, &h);
		pthread_mutex_unlock(&d->opening);
	}
	if (err)
		return refuse(why, err, "%s/past cannot have a directory for %s: %s",
			      d->tandem->state_dir, d->label, strerror(-err));
	*out = h;
	return 0;
}

/* ---- a disk is found, or deleted ---- */

/* What the catalogue has of a moment beyond what history reads. */
static int visit_moment(void *arg, const struct moment_record *m)
{
	struct disk *d = arg;
	struct snapshots *s = d->tandem->snapshots;

	if (m->dropped) {
		collector_add(s->collector, d, m->generation);
		return 0;
	}
	/* It was taken for something that was never recorded: the collector asks again. */
	if (!m->tick && !table_names(s, d->number, m->generation, NULL))
		collector_add(s->collector, d, m->generation);
	table_set_size(s, d->number, m);
	if (atomic_load(&s->last_ms) < m->time_ms)
		atomic_store(&s->last_ms, m->time_ms);
	return 0;
}

/*
 * What was acknowledged and is in the log only is brought into the image. For want of space it stays
 * where it is, and readers find it there.
 */
static int complete(struct disk *d, struct history *h)
{
	struct history_facts f;
	int err;

	history_facts(h, &f);
	if (!f.unsettled || d->image->read_only || d->tandem->read_only ||
	    d->state == DISK_FAILED || d->state == DISK_CHANGED)
		return 0;
	err = disk_complete(d, NULL, NULL);
	return lacks_space(err) ? 0 : err;
}

int past_reopen(struct disk *d, struct history **out)
{
	struct segment_dir *log, *store;
	int err = open_dirs(d, false, &log, &store);

	if (err)
		return err;
	err = history_open(d, log, store, out);
	if (err) {
		log->ops->close(log);
		store->ops->close(store);
	}
	return err;
}

int snapshots_attach(struct tandem *t, struct disk *d, char reason[200])
{
	struct track_record track;
	struct history *h;
	int err = t->snapshots && d->image ? track_get(t->catalogue, d->number, &track) : -ENOENT;

	if (err)
		return err == -ENOENT ? 0 : err;
	err = past_reopen(d, &h);
	if (!err) {
		err = clone_attach(d, h);
		if (err)
			history_close(h);
	}
	if (err) {
		snprintf(reason, 200, "its past cannot be opened: %s", strerror(-err));
		return err;
	}
	atomic_store(&d->history, h);
	restore_keep(d); /* before anything can be given up */
	err = moments_each(t->catalogue, d->number, visit_moment, d);
	if (!history_is_swept(h))
		collector_add(t->snapshots->collector, d, 0);
	if (!err)
		err = complete(d, h);
	if (err)
		snprintf(reason, 200, "what its write log has cannot be brought into the image: %s",
			 strerror(-err));
	else
		overlays_attach(d);
	return err;
}

int past_remove_files(struct tandem *t, uint32_t number)
{
	int past = open_dir(t->state_dirfd, "past"), fd, err;
	char name[16];

	if (past < 0)
		return past == -ENOENT ? track_removed(t->catalogue, number) : past;
	snprintf(name, sizeof(name), "%u", number);
	fd = open_dir(past, name);
	if (fd >= 0) {
		empty_dir(fd, "log");
		empty_dir(fd, "store");
		unlinkat(fd, "log", AT_REMOVEDIR);
		unlinkat(fd, "store", AT_REMOVEDIR);
		close(fd);
	}
	err = unlinkat(past, name, AT_REMOVEDIR) && errno != ENOENT ? -errno : 0;
	if (!err && fsync(past))
		err = -errno;
	close(past);
	return err ? err : track_removed(t->catalogue, number);
}

/* What keeps it from going now will be asked again at the next start. */
void past_remove_left_overs(struct tandem *t)
{
	for (uint32_t number = 0; (number = track_gone(t->catalogue, number));)
		past_remove_files(t, number);
}

/* ---- of a disk without its image ---- */

static int add_length(void *arg, uint64_t place, const struct record *r, const void *data)
{
	(void)place;
	(void)data;
	*(uint64_t *)arg += r->length;
	return 0;
}

static void note_trouble(void *arg, uint64_t segment, enum segment_trouble trouble)
{
	(void)segment;
	(void)trouble;
	*(bool *)arg = true;
}

/* Where it is damaged nobody knows what is behind that: -EIO. */
static int count_unsettled(struct segments *log, uint64_t settled, uint64_t *bytes, bool *torn)
{
	bool trouble = false;
	uint64_t end;
	int err = segments_survey(log, settled, note_trouble, &trouble)
			  ?: segments_replay(log, settled, add_length, bytes, &end);

	if (err)
		return err;
	*torn = segments_is_torn(log, end);
	return trouble || end < segments_flushed_before(log) ? -EIO : 0;
}

int past_unsettled(struct tandem *t, uint32_t number, uint64_t settled, uint64_t *bytes, bool *torn)
{
	int past = dir_of(t, number, false), fd, err;
	struct segment_dir *dir;
	struct segments *log;
	uint64_t found = 0;
	bool cut = false;

	if (past < 0)
		return past;
	fd = open_dir(past, "log");
	close(past);
	err = fd < 0 ? fd : segment_dir_open_to_read(fd, &dir);
	if (err) {
		if (fd >= 0)
			close(fd);
		return err;
	}
	err = segments_open(dir, SEGMENTS_LOG, settled, &log);
	if (err) {
		dir->ops->close(dir);
		return err;
	}
	err = count_unsettled(log, settled, &found, &cut);
	segments_close(log);
	if (err)
		return err;
	*bytes = found;
	*torn = cut;
	return 0;
}

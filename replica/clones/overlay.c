// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Overlays: what is written to a snapshot. One is a struct disk like any other, with an image, a
 * log and an origin, that is in no table: the snapshot has it. Its image is STATE/overlays/NUMBER,
 * its past STATE/past/NUMBER; what is recorded when is said in snapshots.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "close_wait.h"
#include "origins.h"
#include "raw.h"
#include "snapshots_inner.h"

#define DIRECTORY "overlays"
#define NUMBER_MAX 16

/* ---- files ---- */

static void name_of(uint32_t number, char name[NUMBER_MAX])
{
	snprintf(name, NUMBER_MAX, "%u", number);
}

static int open_dir(struct tandem *t)
{
	int fd = openat(t->state_dirfd, DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* It is there, durably, from here on. */
static int need_dir(struct snapshots *s)
{
	int state = s->t->state_dirfd, none = -1, fd;

	if (atomic_load(&s->overlays->dirfd) >= 0)
		return 0;
	if (mkdirat(state, DIRECTORY, 0700) && errno != EEXIST)
		return -errno;
	fd = fsync(state) ? -errno : open_dir(s->t);
	if (fd < 0)
		return fd;
	if (!atomic_compare_exchange_strong(&s->overlays->dirfd, &none, fd))
		close(fd); /* another one was quicker */
	return 0;
}

/* Nobody was told of that number before: what has it is left over. */
static int make_file(struct snapshots *s, uint32_t number, uint64_t size)
{
	char name[NUMBER_MAX];
	int err = need_dir(s), dir = s->overlays->dirfd, fd;

	if (err)
		return err;
	name_of(number, name);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = ftruncate(fd, size) || fsync(fd) || fsync(dir) ? -errno : 0;
	close(fd);
	if (err)
		unlinkat(dir, name, 0);
	return err;
}

/* The image is the last to go, once its past has, durably: what a crash leaves is found by it. */
static void remove_files(struct snapshots *s, uint32_t number)
{
	char name[NUMBER_MAX];

	name_of(number, name);
	if (!past_remove_files(s->t, number) && s->overlays->dirfd >= 0)
		unlinkat(s->overlays->dirfd, name, 0);
}

/* ---- the disk ---- */

/* For events: where its content is below .replication/. */
static void set_label(struct disk *over, const char *source, const char *name)
{
	pthread_mutex_lock(&over->lock);
	if (snprintf(over->label, sizeof(over->label), "%s/snapshots/%s.raw", source, name) >=
	    (int)sizeof(over->label))
		snprintf(over->label, sizeof(over->label), "%s", source);
	pthread_mutex_unlock(&over->lock);
}

static int open_image(struct snapshots *s, uint32_t number, struct image **out)
{
	struct image_around around = { .read_only = s->t->read_only };
	char name[NUMBER_MAX], reason[IMAGE_REASON];
	struct file *file;
	int err = s->overlays->dirfd < 0 ? -ENOENT : 0;

	name_of(number, name);
	if (!err)
		err = file_open(s->overlays->dirfd, name, &around.read_only, &file);
	if (err)
		return err;
	err = image_open(file, &raw_format, &around, out, reason);
	if (err)
		file->ops->close(file);
	return err;
}

static int open_disk(struct snapshots *s, uint32_t number, struct disk **out)
{
	static const uint8_t no_id[16];
	char name[NUMBER_MAX];
	struct image *image;
	struct disk *d;
	int err = open_image(s, number, &image);

	if (err)
		return err;
	name_of(number, name);
	err = disk_new(s->t, s->overlays, name, number, no_id, image, &d);
	if (err) {
		image_close(image);
		return err;
	}
	d->state = disk_natural_state(d);
	disk_know(d);
	*out = d;
	return 0;
}

/* Nobody uses it yet: of a disk that was made, or is found. */
static int set_past(struct disk *over, struct history *h, struct disk *source,
		    const struct origin_record *o)
{
	int err = history_set_origin(h, source, o);

	if (err)
		history_close(h);
	else
		atomic_store(&over->history, h);
	return err;
}

/* ---- it is made, and goes ---- */

static int new_number(struct tandem *t, uint32_t *number)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin_growing(t->catalogue, 1, &txn);

	if (err)
		return err;
	err = catalogue_new_number(txn, number);
	if (err) {
		catalogue_abort(txn);
		return err;
	}
	return catalogue_commit(txn);
}

static struct origin_record origin_of(const struct disk *source, const struct moment_record *m)
{
	return (struct origin_record){ source->number, m->generation, m->size, 0 };
}

int overlay_make(struct disk *source, const struct moment_record *m, struct disk **out)
{
	struct snapshots *s = source->tandem->snapshots;
	struct origin_record o = origin_of(source, m);
	struct disk *over = NULL;
	struct history *h;
	uint32_t number;
	int err = new_number(s->t, &number);

	if (err)
		return err;
	err = make_file(s, number, m->size);
	if (!err)
		err = open_disk(s, number, &over);
	if (!err)
		err = past_make(over, history_block_size(atomic_load(&source->history)), &h);
	if (!err)
		err = set_past(over, h, source, &o);
	if (err)
		overlay_remove(s, number, over);
	else
		*out = over;
	return err;
}

/* Whoever looked it up before does not open it any more. */
static void close_for_good(struct disk *over)
{
	pthread_mutex_lock(&over->lock);
	over->listed = false;
	pthread_mutex_unlock(&over->lock);
	atomic_store(&over->lost, true);
}

void overlay_remove(struct snapshots *s, uint32_t number, struct disk *over)
{
	if (over)
		close_for_good(over);
	remove_files(s, number);
	disk_unref(over);
}

int overlay_put(struct catalogue_txn *txn, const struct disk *over, const struct disk *source,
		const struct moment_record *m)
{
	struct origin_record o = origin_of(source, m);
	struct track_record track;
	int err;

	history_record(atomic_load(&over->history), &track);
	err = track_put(txn, over->number, &track);
	return err ? err : origin_put(txn, over->number, &o);
}

int overlay_forget(struct catalogue_txn *txn, uint32_t number)
{
	return number ? track_forget(txn, number) : 0;
}

/* Under changing: from here on it can be opened. */
static void list(struct disk *over, const struct disk *source, const struct snapshot *sn)
{
	set_label(over, source->label, sn->name);
	if (sn->state == SNAPSHOT_SYNCHRONIZED)
		atomic_store(&over->untouched, sn->number);
	atomic_store(&over->lost, sn->state == SNAPSHOT_BROKEN);
	disk_unclaim(over);
}

void overlay_list(const struct target *g, struct disk *over)
{
	list(over, g->d, g->sn);
	disk_unref(table_overlay(g->s, g->sn, over->number, over));
}

/* ---- it is found ---- */

static bool is_known(struct snapshots *s, uint32_t number)
{
	for (size_t i = 0; i < s->by_number.count; i++)
		if (s->by_number.list[i]->overlay == number)
			return true;
	return false;
}

/* The number of a disk is given once, so that a past that is recorded is that of another object. */
static void remove_left_over(struct snapshots *s, const char *name)
{
	unsigned long number = strtoul(name, NULL, 10);
	struct track_record track;

	if (number && number <= UINT32_MAX && is_known(s, number))
		return;
	if (number && number <= UINT32_MAX &&
	    track_get(s->t->catalogue, number, &track) == -ENOENT &&
	    past_remove_files(s->t, number))
		return;
	unlinkat(s->overlays->dirfd, name, 0);
}

static int remove_left_overs(struct snapshots *s)
{
	int fd = open_dir(s->t);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		int err = fd < 0 ? fd : -errno;

		if (fd >= 0)
			close(fd);
		return err;
	}
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			remove_left_over(s, e->d_name);
	closedir(dir);
	return 0;
}

int overlays_load(struct snapshots *s)
{
	char path[PATH_MAX + sizeof(DIRECTORY) + 1];
	int err, fd = open_dir(s->t);

	snprintf(path, sizeof(path), "%s/%s", s->t->state_dir, DIRECTORY);
	err = pool_new(UINT32_MAX, "", path, &s->overlays);
	if (err) {
		if (fd >= 0)
			close(fd);
		return err;
	}
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	s->overlays->dirfd = fd;
	return s->t->read_only ? 0 : remove_left_overs(s);
}

void overlays_free(struct snapshots *s)
{
	pool_unref(s->overlays);
}

static int attach(struct snapshots *s, struct disk *source, const struct snapshot *sn,
		  struct disk **out)
{
	struct origin_record o;
	struct disk *over;
	struct history *h;
	int err = open_disk(s, sn->overlay, &over);

	if (err)
		return err;
	if (sn->overlay_failed) {
		atomic_store(&over->broken_flush, true);
		over->state = DISK_FAILED;
	}
	err = past_reopen(over, &h);
	if (!err) {
		err = origin_get(s->t->catalogue, sn->overlay, &o);
		if (err)
			history_close(h);
		else
			err = set_past(over, h, source, &o);
	}
	if (err) {
		disk_unref(over);
		return err;
	}
	list(over, source, sn);
	*out = over;
	return 0;
}

void overlays_attach(struct disk *source)
{
	struct snapshots *s = source->tandem->snapshots;
	struct snapshot *sn = NULL;
	struct disk *over;

	pthread_mutex_lock(&s->changing);
	while ((sn = table_next(s, source->number, sn)))
		if (sn->overlay && !sn->over && !attach(s, source, sn, &over))
			table_overlay(s, sn, sn->overlay, over);
	pthread_mutex_unlock(&s->changing);
}

/* Under lock: the next snapshot of that disk from *i on that has one. */
static struct snapshot *next_with_overlay(struct snapshots *s, uint32_t disk, size_t *i)
{
	struct snapshot *sn = NULL;

	while ((sn = order_at(&s->by_name, *i)) && sn->disk == disk && !sn->over)
		++*i;
	return sn && sn->disk == disk ? sn : NULL;
}

static struct disk *take_one(struct snapshots *s, uint32_t disk)
{
	struct snapshot *sn;
	struct disk *over = NULL;
	size_t i;

	pthread_rwlock_wrlock(&s->lock);
	i = order_after(&s->by_name, disk, "");
	sn = next_with_overlay(s, disk, &i);
	if (sn) {
		over = sn->over;
		sn->over = NULL;
	}
	pthread_rwlock_unlock(&s->lock);
	return over;
}

void overlays_detach(struct disk *source)
{
	struct snapshots *s = source->tandem->snapshots;
	struct disk *over;

	while (s && (over = take_one(s, source->number))) {
		close_for_good(over);
		disk_unref(over);
	}
}

void overlays_relabel(struct disk *source)
{
	struct snapshots *s = source->tandem->snapshots;
	char label[DISK_LABEL_MAX + 1];
	struct snapshot *sn;

	if (!s)
		return;
	pthread_mutex_lock(&source->lock);
	memcpy(label, source->label, sizeof(label));
	pthread_mutex_unlock(&source->lock);
	pthread_rwlock_rdlock(&s->lock);
	for (size_t i = order_after(&s->by_name, source->number, "");
	     (sn = next_with_overlay(s, source->number, &i)); i++)
		set_label(sn->over, label, sn->name);
	pthread_rwlock_unlock(&s->lock);
}

/* ---- who asks for it ---- */

struct disk *snapshot_overlay(struct tandem *t, uint32_t number)
{
	struct snapshots *s = t->snapshots;
	struct snapshot *sn;
	struct disk *over;

	if (!s)
		return NULL;
	pthread_rwlock_rdlock(&s->lock);
	sn = table_numbered(s, number);
	over = sn && sn->over ? disk_ref(sn->over) : NULL;
	pthread_rwlock_unlock(&s->lock);
	return over;
}

uint64_t snapshot_overlay_bytes(struct tandem *t, uint32_t number)
{
	struct disk *over = snapshot_overlay(t, number);
	struct history_facts f;
	struct file_stat st;
	uint64_t bytes = 0;

	if (!over)
		return 0;
	history_facts(atomic_load(&over->history), &f);
	bytes = f.log_bytes + f.bytes;
	if (!disk_stat(over, &st))
		bytes += st.allocated;
	disk_unref(over);
	return bytes;
}

bool overlay_is_open(struct snapshots *s, const struct snapshot *sn, struct why *why)
{
	struct disk *over = snapshot_overlay(s->t, sn->number);
	bool open = over && disk_is_open(over);

	if (open)
		while_open(over, why);
	disk_unref(over);
	return open;
}

/* Its space comes back with the snapshot. */
void overlay_lose(struct snapshots *s, const struct snapshot *sn)
{
	struct disk *over = snapshot_overlay(s->t, sn->number);

	if (over)
		atomic_store(&over->lost, true);
	disk_unref(over);
}

struct disk **overlays_now(struct tandem *t, size_t *count)
{
	struct snapshots *s = t->snapshots;
	struct disk **list = NULL;

	*count = 0;
	if (!s)
		return NULL;
	pthread_rwlock_rdlock(&s->lock);
	list = malloc((s->by_number.count + 1) * sizeof(*list));
	for (size_t i = 0; list && i < s->by_number.count; i++)
		if (s->by_number.list[i]->over)
			list[(*count)++] = disk_ref(s->by_number.list[i]->over);
	pthread_rwlock_unlock(&s->lock);
	return list;
}

void overlays_close(struct tandem *t)
{
	struct snapshots *s = t->snapshots;

	for (size_t i = 0; s && i < s->by_number.count; i++) {
		struct snapshot *sn = s->by_number.list[i];

		disk_unref(table_overlay(s, sn, sn->overlay, NULL));
	}
}

/* ---- what becomes of it ---- */

static int put_record(struct snapshots *s, const struct snapshot_record *r)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin(s->t->catalogue, &txn);

	if (err)
		return err;
	snapshot_put(txn, r);
	return catalogue_commit(txn);
}

void overlays_record_failures(struct tandem *t)
{
	struct snapshots *s = t->snapshots;

	if (!s)
		return;
	pthread_mutex_lock(&s->changing);
	for (size_t i = 0; i < s->by_number.count; i++) {
		struct snapshot *sn = s->by_number.list[i];
		struct snapshot_record r;

		if (!sn->over || sn->overlay_failed || !atomic_load(&sn->over->broken_flush))
			continue;
		table_record(sn, &r);
		r.overlay_failed = true;
		if (!put_record(s, &r))
			sn->overlay_failed = true;
	}
	pthread_mutex_unlock(&s->changing);
}

/* Under changing. */
static int record_touch(struct snapshots *s, struct snapshot *sn)
{
	struct snapshot_record r;

	table_record(sn, &r);
	r.copy_state = SNAPSHOT_SKEWED;
	return put_record(s, &r);
}

int overlay_touch(struct disk *over)
{
	struct snapshots *s = over->tandem->snapshots;
	struct snapshot_facts before;
	struct snapshot *sn;
	int err = 0;

	pthread_mutex_lock(&s->changing);
	sn = table_numbered(s, atomic_load(&over->untouched));
	if (!atomic_load(&over->untouched)) { /* by another write, just now */
		pthread_mutex_unlock(&s->changing);
		return 0;
	}
	if (!sn || sn->over != over || sn->state != SNAPSHOT_SYNCHRONIZED)
		err = -EIO;
	if (!err) {
		table_facts(s, sn, &before);
		err = record_touch(s, sn);
	}
	if (!err) {
		table_set_state(s, sn, SNAPSHOT_SKEWED);
		atomic_store(&over->untouched, 0);
	}
	pthread_mutex_unlock(&s->changing);
	if (err)
		return err;
	snapshot_announce(s->t, &before, snapshot_state_name(before.state), "Skewed");
	snapshots_changed(s->t, NULL);
	return 0;
}

/* ---- it is taken away ---- */

static int refuse_open(struct disk *over, struct why *why)
{
	return refuse_advise(while_open(over, why), -EBUSY, "close it first",
			     "disks/%s is open (%u)", over->label, disk_openers(over));
}

int overlay_hold(struct snapshots *s, uint32_t snapshot, bool force, struct overlay_hold *hold,
		 struct why *why)
{
	struct disk *over = snapshot_overlay(s->t, snapshot);

	*hold = (struct overlay_hold){ 0 };
	if (!over)
		return 0;
	pthread_mutex_lock(&over->opening);
	if (!force && disk_is_open(over)) {
		pthread_mutex_unlock(&over->opening);
		refuse_open(over, why);
		disk_unref(over);
		return -EBUSY;
	}
	range_lock_write(&over->ranges, &hold->whole, 0, UINT64_MAX);
	history_pause(atomic_load(&over->history));
	hold->d = over;
	return 0;
}

int overlay_check_held(struct snapshots *s, struct overlay_hold *hold, const struct snapshot *sn,
		       struct why *why)
{
	bool same;

	pthread_rwlock_rdlock(&s->lock);
	same = hold->d == sn->over;
	pthread_rwlock_unlock(&s->lock);
	hold->number = sn->overlay;
	return same ? 0
		    : refuse(why, -EBUSY, "%s became writable, or read-only, just now", sn->name);
}

void overlay_let_go(struct snapshots *s, struct overlay_hold *hold, bool gone)
{
	struct disk *over = hold->d;
	struct history *h;

	if (!over && gone && hold->number)
		remove_files(s, hold->number);
	if (!over)
		return;
	h = atomic_load(&over->history);
	if (gone) {
		close_for_good(over);
		history_abandon(h);
	}
	history_resume(h);
	range_unlock(&over->ranges, &hold->whole);
	pthread_mutex_unlock(&over->opening);
	if (gone)
		overlay_remove(s, over->number, over);
	else
		disk_unref(over);
	hold->d = NULL;
}

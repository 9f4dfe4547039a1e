// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Starting and stopping. The order of starting: locks, state, catalogue,
 * pools with their watches, then the scan, so that nothing that happens in a
 * directory falls between. One destructor, tandem_close, takes what there is.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beside.h"
#include "crew.h"
#include "directory.h"
#include "groups.h"
#include "history.h"
#include "lock.h"
#include "nbd_server.h"
#include "rings.h"
#include "jobs.h"
#include "notes.h"
#include "pairs.h"
#include "pool_known.h"
#include "scan.h"
#include "snapshots.h"
#include "tandem.h"
#include "watch.h"

#define CREW_THREADS 24
/* A first write saves all of its block: half as much costs a third less than 16 KiB. */
#define DEFAULT_BLOCK_SIZE (8 << 10)
#define DEFAULT_RESCAN_INTERVAL_S 60
#define DEFAULT_STOP_TIMEOUT_S 90
#define DEFAULT_MAX_COPIES 4
#define LEAST_COPY_RATE (64 << 10)

static const struct {
	const char *name;
	size_t offset;
	uint32_t by_default;
} settings[] = {
	{ "BlockSize", offsetof(struct tandem_settings, block_size), DEFAULT_BLOCK_SIZE },
	{ "RescanInterval", offsetof(struct tandem_settings, rescan_interval_s),
	  DEFAULT_RESCAN_INTERVAL_S },
	{ "StopTimeout", offsetof(struct tandem_settings, stop_timeout_s), DEFAULT_STOP_TIMEOUT_S },
	{ "CopyRate", offsetof(struct tandem_settings, copy_rate), 0 },
	{ "MaxCopies", offsetof(struct tandem_settings, max_copies), DEFAULT_MAX_COPIES },
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static uint32_t *setting_of(struct tandem_settings *s, size_t i)
{
	return (uint32_t *)((char *)s + settings[i].offset);
}

static int load_settings(struct tandem *t, const struct tandem_options *o)
{
	for (size_t i = 0; i < SETTINGS; i++) {
		uint64_t v = settings[i].by_default;
		int err = catalogue_get_setting(t->catalogue, settings[i].name, &v);

		if (err && err != -ENOENT)
			return err;
		*setting_of(&t->settings, i) = v;
	}
	if (o->block_size)
		t->settings.block_size = o->block_size;
	if (o->stop_timeout_s)
		t->settings.stop_timeout_s = o->stop_timeout_s;
	jobs_set_limits(t->jobs, t->settings.copy_rate, t->settings.max_copies);
	return 0;
}

struct tandem_settings tandem_get_settings(struct tandem *t)
{
	struct tandem_settings s;

	pthread_mutex_lock(&t->settings_lock);
	s = t->settings;
	pthread_mutex_unlock(&t->settings_lock);
	return s;
}

int tandem_set(struct tandem *t, const struct tandem_settings *s, bool plan, struct why *why)
{
	struct tandem_settings now = *s;
	struct catalogue_txn *txn;
	int err;

	if (s->block_size < 4096 || s->block_size > (1 << 20) ||
	    (s->block_size & (s->block_size - 1)))
		return refuse(why, -EINVAL, "BlockSize is a power of two from 4K to 1M");
	if (s->rescan_interval_s < 1)
		return refuse(why, -EINVAL, "RescanInterval is at least 1s");
	if (s->copy_rate && s->copy_rate < LEAST_COPY_RATE)
		return refuse(why, -EINVAL, "CopyRate is at least 64K, or 0 for no limit");
	if (plan)
		return 0;
	err = catalogue_begin(t->catalogue, &txn);
	if (!err) {
		for (size_t i = 0; i < SETTINGS; i++)
			catalogue_put_setting(txn, settings[i].name, *setting_of(&now, i));
		err = catalogue_commit(txn);
	}
	if (err)
		return refuse(why, err, "the setting cannot be recorded: %s", strerror(-err));
	pthread_mutex_lock(&t->settings_lock);
	t->settings = now;
	pthread_mutex_unlock(&t->settings_lock);
	jobs_set_limits(t->jobs, now.copy_rate, now.max_copies);
	tandem_changed(t, NULL);
	return 0;
}

/* ---- the state directory ---- */

static bool has_state(const char *path)
{
	char catalogue[PATH_MAX + 16];

	snprintf(catalogue, sizeof(catalogue), "%s/catalogue", path);
	return !access(catalogue, F_OK) || errno != ENOENT;
}

static int open_state(struct tandem *t, const struct tandem_options *o, struct why *why)
{
	char path[PATH_MAX];
	int err;

	if (o->state_dir)
		snprintf(path, sizeof(path), "%s", o->state_dir);
	else if (snprintf(path, sizeof(path), "%s/.tandem", t->disk_dir) >= (int)sizeof(path))
		return refuse(why, -ENAMETOOLONG, "%s: the path is too long", t->disk_dir);
	if (o->known && !has_state(path))
		return refuse(why, -ENOENT, "there is no state in %s%s", path,
			      o->state_dir ? "" : " (if it is elsewhere: --state DIR)");
	t->made_state = !directory_is_hidden(path) && !mkdir(path, 0700);
	if (!t->made_state && !directory_is_hidden(path) && errno != EEXIST)
		return refuse(why, -errno, "the state directory %s cannot be made: %s%s", path,
			      strerror(errno), errno == EROFS ? " (use --state DIR)" : "");
	if (!directory_resolve(path, t->state_dir))
		return refuse(why, -errno, "%s: %s", path, strerror(errno));
	t->state_dirfd = directory_open(t->state_dir);
	if (t->state_dirfd < 0)
		return refuse(why, -errno, "%s: %s", t->state_dir, strerror(errno));
	t->lock_fd = openat(t->state_dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
			    0600);
	if (t->lock_fd < 0)
		return refuse(why, -errno, "%s/lock: %s", t->state_dir, strerror(errno));
	err = lock_exclusive(t->lock_fd, t->state_dir, why);
	if (err)
		return err;
	nbd_server_place(t->state_dirfd);
	if (mkdirat(t->state_dirfd, "notes", 0700) && errno != EEXIST)
		return refuse(why, -errno, "%s/notes: %s", t->state_dir, strerror(errno));
	t->notes_dirfd = openat(t->state_dirfd, "notes",
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (t->notes_dirfd < 0)
		return refuse(why, -errno, "%s/notes: %s", t->state_dir, strerror(errno));
	err = notes_boot(t->boot);
	return err ? refuse(why, err, "the boot's id cannot be read: %s", strerror(-err)) : 0;
}

/* ---- pools ---- */

static int open_pool(struct tandem *t, struct pool *p, struct why *why)
{
	int err = pool_open(p, why);

	return err ? err : watch_pool(t->watch, p);
}

static int add_recorded_pool(void *arg, const struct pool_record *r)
{
	struct pool *p;
	int err = pool_new(r->number, r->name, r->dir, &p);

	if (err)
		return err;
	p->recorded = true;
	p->id = r->id;
	err = tandem_list_pool(arg, p);
	pool_unref(p);
	return err;
}

/* One that is not there now is shown, and looked for again at each rescan. */
static void open_recorded_pools(struct tandem *t)
{
	for (size_t i = 1; i < t->pool_count; i++) {
		struct why why = { 0 };

		pool_open_known(t, t->pools[i], &why);
	}
}

static int add_option_pool(struct tandem *t, const char *name, const char *dir, struct why *why)
{
	struct pool *known = tandem_pool_named(t, name), *p;
	char path[PATH_MAX];
	int err;

	if (!realpath(dir, path))
		err = refuse(why, -errno, "--pool %s: %s: %s", name, dir, strerror(errno));
	else if (known && strcmp(known->dir, path))
		err = refuse(why, -EEXIST, "the pool %s is %s, not %s", name, known->dir, path);
	else if (known)
		err = 0;
	else
		err = tandem_add_pool(t, name, path, false, why);
	pool_unref(known);
	if (err)
		return err;
	/* What the command refuses later, it must refuse at the start: it is there or we don't start. */
	p = tandem_pool_named(t, name);
	if (p->dirfd < 0)
		err = pool_open_known(t, p, why); /* says why not */
	pool_unref(p);
	return err;
}

static int open_pools(struct tandem *t, const struct tandem_options *o, struct why *why)
{
	int err = catalogue_each_pool(t->catalogue, add_recorded_pool, t);

	if (err)
		return refuse(why, err, "the catalogue's pools: %s", strerror(-err));
	open_recorded_pools(t);
	for (size_t i = 0; !err && i < o->pool_count; i++)
		err = add_option_pool(t, o->pool_names[i], o->pool_dirs[i], why);
	return err;
}

static int scan_all(struct tandem *t, struct why *why)
{
	size_t count;
	struct pool **pools = tandem_pools(t, &count);
	int err = 0;

	for (size_t i = 0; !err && i < count; i++) {
		err = scan_pool(t, pools[i], t->was_clean ? SCAN_STARTUP : SCAN_LOOK);
		if (err)
			refuse(why, err, "%s cannot be read: %s", pools[i]->dir, strerror(-err));
	}
	pools_free(pools, count);
	if (!err && (err = scan_missing(t)))
		refuse(why, err, "the catalogue's disks: %s", strerror(-err));
	return err;
}

/* ---- start ---- */

static int open_disk_dir(struct tandem *t, const char *dir, struct why *why)
{
	struct pool *p;
	int err;

	if (!directory_resolve(dir, t->disk_dir))
		return refuse(why, -errno, "%s: %s", dir,
			      errno == ENOENT ? "no such directory" : strerror(errno));
	err = pool_new(0, "", t->disk_dir, &p);
	if (err)
		return err;
	err = open_pool(t, p, why);
	if (!err)
		err = tandem_list_pool(t, p);
	pool_unref(p);
	return err;
}

static struct tandem *allocate(void)
{
	struct tandem *t = calloc(1, sizeof(*t));
	struct timespec now;

	if (!t)
		return NULL;
	clock_gettime(CLOCK_REALTIME, &now);
	t->started = now.tv_sec;
	t->started_ns = monotonic_ns();
	t->state_dirfd = t->lock_fd = t->notes_dirfd = -1;
	pthread_mutex_init(&t->discovery, NULL);
	pthread_mutex_init(&t->closes_lock, NULL);
	pthread_mutex_init(&t->settings_lock, NULL);
	pthread_mutex_init(&t->generation_lock, NULL);
	pthread_cond_init(&t->closed, NULL);
	pthread_rwlock_init(&t->table, NULL);
	return t;
}

/* LMDB takes a path: of the directory that is open, where its own path is hidden. */
static int open_catalogue(struct tandem *t, struct why *why)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", t->state_dirfd);
	return catalogue_open(directory_is_hidden(t->state_dir) ? path : t->state_dir,
			      &t->catalogue, &t->was_clean, why);
}

static int open_all(struct tandem *t, const struct tandem_options *o, struct why *why)
{
	int err = crew_new(CREW_THREADS, &t->crew) ?: jobs_new(t, &t->jobs);

	if (err)
		return refuse(why, err, "out of memory");
	err = watch_new(t, &t->watch);
	if (err)
		return refuse(why, err, "inotify: %s", strerror(-err));
	err = open_disk_dir(t, o->disk_dir, why);
	if (!err)
		err = open_state(t, o, why);
	/* Whoever serves the images next waits until none of our requests is under way any more. */
	if (!err && rings_new(t->lock_fd, &t->rings))
		t->rings = NULL;
	if (!err)
		err = open_catalogue(t, why);
	if (err)
		return err;
	err = events_open(t->state_dirfd, &t->events);
	if (err)
		return refuse(why, err, "%s/events: %s", t->state_dir, strerror(-err));
	err = load_settings(t, o);
	if (!err)
		err = generation_load(t);
	if (err)
		return refuse(why, err, "the catalogue's settings: %s", strerror(-err));
	events_emit(t->events, EVENT_INFORMATION, "Started", "daemon", "Pid=%d Version=%s After=%s",
		    getpid(), TANDEMFS_VERSION, t->was_clean ? "stop" : "crash-or-first-start");
	err = snapshots_load(t, why) ?: pairs_load(t, why) ?: groups_load(t, why);
	if (!err)
		err = open_pools(t, o, why);
	return err ? err : scan_all(t, why);
}

int tandem_open(const struct tandem_options *o, struct tandem **out, struct why *why)
{
	struct tandem *t = allocate();
	int err;

	if (!t)
		return refuse(why, -ENOMEM, "out of memory");
	/* A lease that we hold for an instant, to see who writes a file, may be asked back. */
	signal(SIGIO, SIG_IGN);
	t->read_only = o->read_only;
	t->requests_per_disk = o->requests_per_disk;
	why->message[0] = '\0';
	err = open_all(t, o, why);
	if (err) {
		if (!why->message[0])
			refuse(why, err, "%s", strerror(-err));
		tandem_close(t);
		return err;
	}
	*out = t;
	return 0;
}

int tandem_start(struct tandem *t, struct why *why)
{
	int err = watch_start(t->watch);

	t->serving = true;
	if (err)
		return refuse(why, err, "the watcher cannot start: %s", strerror(-err));
	err = snapshots_start(t);
	if (err)
		return refuse(why, err, "the threads of snapshots cannot start: %s",
			      strerror(-err));
	pairs_start(t);
	return 0;
}

/* ---- stop ---- */

/* Whether the image has everything, durably. */
static bool settle_disk(struct tandem *t, struct disk *d)
{
	bool good = !atomic_load(&d->broken_flush);

	/* After a crash, what the daemon before us wrote may still be in the page cache alone. */
	if (d->image && !atomic_load(&d->lost) &&
	    (atomic_load(&d->unflushed) > 1 || (!t->was_clean && !d->image->read_only)))
		good = disk_flush(d) == 0;
	pthread_mutex_lock(&d->opening);
	if (d->image && good && d->use != FILE_UNUSED)
		good = disk_rest(d) == 0; /* somebody has it open still */
	pthread_mutex_unlock(&d->opening);
	return good;
}

/* How the image is left, to know at the next start whether somebody changed it. */
static void record_stop(struct disk *d, bool good, struct catalogue_txn *txn)
{
	struct disk_record r;

	if (!d->identity.len || !d->image)
		return;
	scan_record(d, &r);
	if (good)
		d->image->file->ops->stat(d->image->file, &r.stopped);
	catalogue_put_disk(txn, &r);
}

static void record_stops(struct tandem *t, struct disk **disks, const bool *good, size_t count,
			 bool all)
{
	struct catalogue_txn *txn;

	if (!t->catalogue || catalogue_begin(t->catalogue, &txn))
		return;
	for (size_t i = 0; i < count; i++) {
		record_stop(disks[i], good[i], txn);
		all &= good[i];
	}
	/* A start that failed changed nothing: it leaves what it found. */
	if (all && (t->serving || t->was_clean)) {
		catalogue_mark_clean(txn);
		generation_save(t, txn);
	}
	catalogue_commit(txn);
}

static int newest_first(const void *a, const void *b)
{
	uint32_t x = (*(struct disk *const *)a)->number, y = (*(struct disk *const *)b)->number;

	return (x < y) - (x > y);
}

/* Also what was written to snapshots, before what that is over is closed. */
static bool settle_overlays(struct tandem *t)
{
	size_t count;
	struct disk **overlays = overlays_now(t, &count);
	bool good = true;

	for (size_t i = 0; i < count; i++)
		good &= settle_disk(t, overlays[i]);
	disks_free(overlays, count);
	overlays_record_failures(t);
	overlays_close(t);
	return good;
}

/* No transaction is open while disks settle: that takes ones of its own. */
static void settle_all(struct tandem *t)
{
	size_t count;
	bool overlays = settle_overlays(t);
	struct disk **disks = tandem_disks(t, &count);
	bool *good = calloc(count + 1, sizeof(*good));

	/* A clone, which has the greater number, before its source, which it may read. */
	qsort(disks, count, sizeof(*disks), newest_first);
	for (size_t i = 0; i < count && good; i++)
		good[i] = settle_disk(t, disks[i]);
	/* By notes that come back the next start would write to an image before it has compared it with its stop. */
	if (good && count && beside_sync(t->notes_dirfd))
		memset(good, false, count);
	if (good)
		record_stops(t, disks, good, count, overlays);
	for (size_t i = 0; i < count; i++)
		tandem_unlist_disk(t, disks[i]);
	disks_free(disks, count);
	free(good);
}

/* A start that failed leaves nothing where nothing was. */
static void remove_state(struct tandem *t)
{
	static const char *const files[] = { "catalogue/data.mdb", "catalogue/lock.mdb", "events",
					     "events.new", "lock" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlinkat(t->state_dirfd, files[i], 0);
	unlinkat(t->state_dirfd, "catalogue", AT_REMOVEDIR);
	unlinkat(t->state_dirfd, "notes", AT_REMOVEDIR);
	unlinkat(t->state_dirfd, "pairs", AT_REMOVEDIR);
	rmdir(t->state_dir);
}

void tandem_close(struct tandem *t)
{
	if (!t)
		return;
	pairs_stop(t); /* keepers use all of what ends now */
	watch_stop(t->watch);
	snapshots_stop(t);
	if (t->events)
		settle_all(t);
	while (t->pool_count)
		tandem_unlist_pool(t, t->pools[t->pool_count - 1]);
	snapshots_free(t);
	groups_free(t);
	pairs_free(t);
	crew_free(t->crew);
	rings_free(t->rings);
	jobs_free(t->jobs);
	watch_free(t->watch);
	events_close(t->events);
	catalogue_close(t->catalogue);
	if (t->made_state && !t->serving && t->state_dirfd >= 0)
		remove_state(t);
	if (t->lock_fd >= 0)
		close(t->lock_fd); /* whoever waits for it may now have the images */
	if (t->state_dirfd >= 0) {
		nbd_server_place(-1);
		close(t->state_dirfd);
	}
	if (t->notes_dirfd >= 0)
		close(t->notes_dirfd);
	free(t->by_label);
	free(t->by_number);
	free(t->pools);
	pthread_rwlock_destroy(&t->table);
	pthread_cond_destroy(&t->closed);
	pthread_mutex_destroy(&t->closes_lock);
	pthread_mutex_destroy(&t->settings_lock);
	pthread_mutex_destroy(&t->generation_lock);
	pthread_mutex_destroy(&t->discovery);
	free(t);
}

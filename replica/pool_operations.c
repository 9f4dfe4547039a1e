// SPDX-License-Identifier: GPL-2.0-or-later
/* AddPool, RemovePool, Rescan. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "operations.h"
#include "clones.h"
#include "pairs.h"
#include "pool_known.h"
#include "scan.h"
#include "watch.h"

/* ---- pools ---- */

static int check_pool_dir(struct tandem *t, const char *name, const char *dir, char *path,
			  struct why *why)
{
	struct stat st, other;

	if (dir[0] != '/')
		return refuse(why, -EINVAL, "Dir is an absolute path");
	if (!realpath(dir, path))
		return refuse(why, errno == ENOENT ? -ENOENT : -EINVAL, "%s: %s", dir,
			      strerror(errno));
	if (stat(path, &st))
		return refuse(why, -errno, "%s: %s", path, strerror(errno));
	for (size_t i = 0; i < t->pool_count; i++) {
		struct pool *p = t->pools[i];

		if (!strcmp(p->name, name))
			return refuse(why, -EEXIST, "there is a pool '%s' already", name);
		if (p->dirfd >= 0 && !fstat(p->dirfd, &other) && st.st_dev == other.st_dev &&
		    st.st_ino == other.st_ino)
			return refuse(why, -EEXIST, "%s is served already", path);
	}
	if (!fstat(t->state_dirfd, &other) && st.st_dev == other.st_dev &&
	    st.st_ino == other.st_ino)
		return refuse(why, -EINVAL, "%s is the state directory", path);
	return 0;
}

static int record_new(struct tandem *t, struct pool *p)
{
	struct catalogue_txn *txn;
	int err = tandem_txn(t, &txn);

	if (err)
		return err;
	catalogue_new_number(txn, &p->number);
	return pool_put_record(t, p);
}

static int add_pool(struct tandem *t, const char *name, const char *dir, bool plan, struct why *why)
{
	struct disk *same = tandem_disk_of_file(t, t->pools[0], name)
				    ?: tandem_disk_mounted(t, t->pools[0], name);
	char path[PATH_MAX], object[POOL_NAME_MAX + 8], word[PATH_MAX];
	struct pool *p;
	int err;

	disk_unref(same);
	if (same)
		return refuse(why, -EEXIST, "there is a disk '%s' already", name);
	err = check_pool_dir(t, name, dir, path, why);
	if (err)
		return err;
	/* The number is set once it is recorded; until then nobody can see the pool. */
	err = pool_new(0, name, path, &p);
	if (err)
		return refuse(why, err, "out of memory");
	err = pool_open(p, why);
	if (err || plan)
		goto out;
	err = watch_pool(t->watch, p);
	if (!err) {
		pool_identify(t, p);
		err = record_new(t, p);
	}
	p->recorded = true;
	if (!err)
		err = tandem_list_pool(t, p);
	if (err) {
		watch_forget(t->watch, p);
		refuse(why, err, "the pool cannot be recorded: %s", strerror(-err));
		goto out;
	}
	snprintf(object, sizeof(object), "pools/%s", name);
	events_emit(t->events, EVENT_INFORMATION, "PoolAdded", object, "Dir=%s",
		    event_word(word, sizeof(word), path));
	scan_pool(t, p, SCAN_LOOK);
out:
	pool_unref(p);
	return err;
}

int tandem_add_pool(struct tandem *t, const char *name, const char *dir, bool plan, struct why *why)
{
	int err;

	pthread_mutex_lock(&t->discovery);
	err = add_pool(t, name, dir, plan, why);
	pthread_mutex_unlock(&t->discovery);
	return err;
}

static int claim(struct disk *d, struct why *why)
{
	if (parents_needed_elsewhere(d->tandem, d))
		return refuse(why, -EBUSY, "a disk of another pool is built upon %s", d->label);
	if (disk_is_cloned_elsewhere(d))
		return refuse_advise(why, -EBUSY, "wait until it is filled",
				     "a disk of another pool is a clone of %s", d->label);
	return pair_check_disk(d, why) ?: disk_claim(d, why);
}

/* Its file was moved out of the pool, and its name is there still. */
static int check_not_shown(struct disk *d, const struct pool *p, struct why *why)
{
	bool shown;

	pthread_mutex_lock(&d->lock);
	shown = d->mount_pool == p->number;
	pthread_mutex_unlock(&d->lock);
	return shown ? refuse_advise(why, -EBUSY, "move it back, or delete it",
				     "%s is in its directory of the mount", d->label)
		     : 0;
}

/* All or none are claimed. */
static int claim_all(struct pool *p, struct disk **disks, size_t count, struct why *why)
{
	for (size_t i = 0; i < count; i++) {
		int err = disks[i]->pool == p ? claim(disks[i], why)
					      : check_not_shown(disks[i], p, why);

		if (err) {
			while (i-- > 0)
				if (disks[i]->pool == p)
					disk_unclaim(disks[i]);
			return err;
		}
	}
	return 0;
}

/* Nobody flushes them after this; *failed is how many of them could not be. */
static int flush_all(struct pool *p, struct disk **disks, size_t count, bool force,
		     unsigned *failed, struct why *why)
{
	for (size_t i = 0; i < count; i++) {
		struct disk *d = disks[i];
		int err = d->pool == p && d->image && !d->image->read_only ? disk_flush(d) : 0;

		if (err && !force)
			return refuse_advise(why, err, "RemovePool Name= Force",
					     "%s cannot be flushed: %s", d->label, strerror(-err));
		*failed += err != 0;
	}
	return 0;
}

static int remove_pool(struct tandem *t, struct pool *p, bool force, bool plan, struct why *why)
{
	char object[POOL_NAME_MAX + 8];
	unsigned failed = 0;
	struct catalogue_txn *txn;
	size_t count;
	struct disk **disks = tandem_disks(t, &count);
	int err = claim_all(p, disks, count, why);

	if (err)
		goto out;
	if (!plan)
		err = flush_all(p, disks, count, force, &failed, why);
	if (!plan && !err) {
		err = tandem_txn(t, &txn);
		if (!err) {
			catalogue_del_pool(txn, p->number);
			err = tandem_commit(t);
		}
		if (err)
			refuse(why, err, "the pool cannot be forgotten: %s", strerror(-err));
	}
	for (size_t i = 0; i < count; i++) {
		if (disks[i]->pool != p)
			continue;
		if (plan || err)
			disk_unclaim(disks[i]);
		else
			tandem_unlist_disk(t, disks[i]);
	}
	if (!plan && !err) {
		watch_forget(t->watch, p);
		tandem_unlist_pool(t, p);
		parents_settle(t);
		snprintf(object, sizeof(object), "pools/%s", p->name);
		if (failed)
			events_emit(t->events, EVENT_MAJOR, "PoolRemoved", object, "Unflushed=%u",
				    failed);
		else
			events_emit(t->events, EVENT_INFORMATION, "PoolRemoved", object, "%s", "");
	}
out:
	disks_free(disks, count);
	return err;
}

int tandem_remove_pool(struct tandem *t, const char *name, bool force, bool plan, struct why *why)
{
	struct pool *p;
	int err;

	pthread_mutex_lock(&t->discovery);
	p = name[0] ? tandem_pool_named(t, name) : NULL;
	err = p ? remove_pool(t, p, force, plan, why)
		: refuse(why, -ENOENT, "there is no pool '%s'", name);
	pool_unref(p);
	pthread_mutex_unlock(&t->discovery);
	return err;
}

/* ---- Rescan ---- */

/* A pool that was not there may be now. */
static void open_again(struct tandem *t, struct pool *p)
{
	struct why why = { 0 };

	if (p->dirfd >= 0 || pool_open_known(t, p, &why))
		return;
	atomic_fetch_add(&p->changes, 1);
	tandem_changed(t, NULL);
}

int tandem_rescan(struct tandem *t, bool plan, struct why *why)
{
	struct pool **pools;
	size_t count;
	int err = 0;

	if (plan)
		return 0;
	pthread_mutex_lock(&t->discovery);
	pools = tandem_pools(t, &count);
	for (size_t i = 0; i < count; i++) {
		int e;

		open_again(t, pools[i]);
		e = scan_pool(t, pools[i], SCAN_LOOK);
		if (e && !err)
			err = refuse(why, e, "%s cannot be read: %s", pools[i]->dir, strerror(-e));
	}
	pools_free(pools, count);
	pthread_mutex_unlock(&t->discovery);
	return err;
}

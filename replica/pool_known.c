// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pools that are recorded: whether what is at their path is them. A directory on which no file
 * system is mounted now is there as well, and whatever is made in it is lost below the mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "pool_known.h"
#include "watch.h"

int pool_put_record(struct tandem *t, const struct pool *p)
{
	struct pool_record r = { .number = p->number, .id = p->id };
	struct catalogue_txn *txn;
	int err = tandem_txn(t, &txn);

	if (err)
		return err;
	snprintf(r.name, sizeof(r.name), "%s", p->name);
	snprintf(r.dir, sizeof(r.dir), "%s", p->dir);
	catalogue_put_pool(txn, &r);
	return tandem_commit(t);
}

void pool_identify(const struct tandem *t, struct pool *p)
{
	/* One that takes no names, or has no space, has an identity when it does. */
	if (!t->read_only)
		pool_marker_make(p->dirfd, &p->id);
}

struct known_disks {
	const struct pool *pool;
	bool any, found;
};

static int look_for_disk(void *arg, const struct disk_record *r)
{
	struct known_disks *known = arg;
	struct stat st;

	if (r->pool != known->pool->number || r->gone)
		return 0;
	known->any = true;
	known->found = !fstatat(known->pool->dirfd, r->file_name, &st, AT_SYMLINK_NOFOLLOW) &&
		       S_ISREG(st.st_mode);
	return known->found;
}

/* Recorded before pools had identities, or where none could be made. */
static int identify_by_disks(struct tandem *t, struct pool *p, struct why *why)
{
	struct known_disks known = { .pool = p };
	int err = catalogue_each_disk(t->catalogue, look_for_disk, &known);

	if (err < 0)
		return refuse(why, err, "the catalogue's disks: %s", strerror(-err));
	if (known.any && !known.found)
		return pool_is_another(p, why);
	pool_identify(t, p);
	err = pool_id_is_known(&p->id) ? pool_put_record(t, p) : 0;
	return err ? refuse(why, err, "the pool cannot be recorded: %s", strerror(-err)) : 0;
}

static int open_identified(struct tandem *t, struct pool *p, struct why *why)
{
	int err = pool_open(p, why);

	if (err || pool_id_is_known(&p->id))
		return err;
	err = identify_by_disks(t, p, why);
	if (err)
		pool_close(p, why->message);
	return err;
}

int pool_open_known(struct tandem *t, struct pool *p, struct why *why)
{
	char object[POOL_NAME_MAX + 8], word[4 * sizeof(why->message)];
	struct pool_status was, now;
	int err;

	pool_status(p, &was);
	err = open_identified(t, p, why);
	pool_status(p, &now);
	if (!err)
		return watch_pool(t->watch, p);
	/* Not again at each Rescan. */
	if (strcmp(was.problem, now.problem) != 0) {
		snprintf(object, sizeof(object), "pools/%s", p->name);
		events_emit(t->events, EVENT_WARNING, "PoolMissing", object, "Reason=%s",
			    event_word(word, sizeof(word), now.problem));
	}
	return err;
}

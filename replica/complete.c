// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Images get what they lack, so that they can be used by others. What was acknowledged is in them
 * once they are found (past.c, probe.c) but for lack of space, and flushed here; offline, restores
 * and clones are filled too. A mirror is not copied: that may take a source which is not there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clones.h"
#include "pairs.h"
#include "snapshots.h"
#include "tandem.h"

static bool has_notes(const struct tandem *t, uint32_t number)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", number);
	return !faccessat(t->notes_dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW);
}

/* Something was acknowledged that its file may not have. */
static bool lacks_writes(struct tandem *t, struct disk *d)
{
	struct past_facts past;

	disk_past(d, &past);
	return past.unsettled || disk_state(d) == DISK_FAILED || has_notes(t, d->notes);
}

static const char *reason_of(const struct disk *d, int err)
{
	return d->reason[0]                                     ? d->reason
	       : err == -EIO && d->image && d->image->read_only ? "the image can only be read"
								: strerror(-err);
}

int tandem_settle(struct tandem *t, struct why *why)
{
	size_t count;
	struct disk **disks = tandem_disks(t, &count);
	int err = 0;

	t->serving = true; /* from here on the stop is a clean one */
	for (size_t i = 0; i < count; i++) {
		struct disk *d = disks[i];
		int e = d->image && !d->image->read_only ? disk_flush(d) : 0;

		if (!e && lacks_writes(t, d))
			e = -EIO;
		if (e && !err)
			err = refuse(why, e, "%s cannot be completed: %s", d->label,
				     reason_of(d, e));
	}
	disks_free(disks, count);
	return err;
}

/* ---- what is not there ---- */

static int check_listed(struct tandem *t, struct disk *d, struct why *why)
{
	char absent[sizeof(d->reason) + 50];

	snprintf(absent, sizeof(absent), "is %s: %s", disk_state_name(disk_state(d)), d->reason);
	return past_check_absent(t, d->number, d->label, absent, why);
}

static int check_all_listed(struct tandem *t, struct why *why)
{
	size_t count;
	struct disk **disks = tandem_disks(t, &count);
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		if (!disks[i]->image)
			err = check_listed(t, disks[i], why);
	disks_free(disks, count);
	return err;
}

struct absent {
	struct tandem *t;
	struct why *why;
};

#define POOL_IS_ABSENT "the pool is not there"

static int check_recorded(struct absent *a, const struct pool *p, const struct disk_record *r)
{
	char label[2 * NAME_MAX + 2];

	snprintf(label, sizeof(label), "%s:%s", p->name, r->file_name);
	if (has_notes(a->t, r->notes))
		return refuse(a->why, -ENOENT,
			      "%s lacks what was written to it, and " POOL_IS_ABSENT, label);
	return past_check_absent(a->t, r->number, label, POOL_IS_ABSENT, a->why);
}

/*
 * Of a pool that is not there, whose disks are listed only while something is kept of them; of a
 * file that is gone from a directory that is, others have disposed.
 */
static int check_if_pool_absent(void *arg, const struct disk_record *r)
{
	struct absent *a = arg;
	struct pool *p = tandem_pool_numbered(a->t, r->pool);
	int err = p && p->dirfd < 0 ? check_recorded(a, p, r) : 0;

	pool_unref(p);
	return err;
}

static int check_absent(struct tandem *t, struct why *why)
{
	struct absent a = { t, why };
	int err = check_all_listed(t, why);

	return err ? err : catalogue_each_disk(t->catalogue, check_if_pool_absent, &a);
}

int tandem_complete(struct tandem *t, struct why *why)
{
	int err = tandem_settle(t, why), filled;

	/* All that can be completed is; the first that cannot is told of. */
	filled = snapshots_complete(t, err ? NULL : why);
	err = err ?: filled;
	return err ? err : check_absent(t, why);
}

/* ---- what is not whole by itself ---- */

struct telling {
	struct tandem *t;
	void (*tell)(void *arg, const char *text);
	void *arg;
	bool any;
};

static void tell(struct telling *g, const struct disk *d, const char *name, enum copy_state state,
		 const char *what)
{
	char text[2 * NAME_MAX + SNAPSHOT_NAME_MAX + 100];

	snprintf(text, sizeof(text), "%s%s%s: %s (replicas/%s is %s)", d->pool->name,
		 *d->pool->name ? ":" : "", d->file_name, what, name,
		 enum_name(copy_states, state));
	g->any = true;
	g->tell(g->arg, text);
}

static bool tell_of_clone(void *arg, const struct clone_facts *c)
{
	struct telling *g = arg;
	struct disk *d = tandem_disk_labelled(g->t, c->target);

	if (d)
		tell(g, d, c->name, c->state, "a clone that is not filled");
	disk_unref(d);
	return true;
}

static bool tell_of_pair(void *arg, const struct pair_facts *p)
{
	struct telling *g = arg;
	struct disk *d = tandem_disk_labelled(g->t, p->target);

	if (d && atomic_load(&d->target_use) != TARGET_FREE && (!p->whole || p->shows))
		tell(g, d, p->name, p->state, "the target of a mirror, in the middle of a copy");
	disk_unref(d);
	return true;
}

bool tandem_tell_incomplete(struct tandem *t, void (*fn)(void *arg, const char *text), void *arg)
{
	struct telling g = { .t = t, .tell = fn, .arg = arg };

	clones_list(t, tell_of_clone, &g);
	pairs_list(t, tell_of_pair, &g);
	return g.any;
}

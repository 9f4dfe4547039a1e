// SPDX-License-Identifier: GPL-2.0-or-later
/* A disk's names, state and openers. Its verbs are in disk_io.c. */
#include "disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clones.h"
#include "mirror.h"
#include "names.h"
#include "pairs.h"
#include "tandem.h"
#include "watch.h"

static const char *const state_names[DISK_STATE_MAX] = {
	[DISK_READY] = "Ready",       [DISK_READ_ONLY] = "ReadOnly", [DISK_INVALID] = "Invalid",
	[DISK_CONFLICT] = "Conflict", [DISK_MISSING] = "Missing",    [DISK_FAILED] = "Failed",
	[DISK_CHANGED] = "Changed",
};

static const char *const op_names[DISK_OP_MAX] = {
	[DISK_OP_READ] = "read", [DISK_OP_WRITE] = "write",   [DISK_OP_FLUSH] = "flush",
	[DISK_OP_ZERO] = "zero", [DISK_OP_RESIZE] = "resize",
};

const char *disk_state_name(enum disk_state s)
{
	assert(s < DISK_STATE_MAX && state_names[s]);
	return state_names[s];
}

const char *disk_op_name(enum disk_op op)
{
	assert(op < DISK_OP_MAX && op_names[op]);
	return op_names[op];
}

int disk_new(struct tandem *t, struct pool *p, const char *file_name, uint32_t number,
	     const uint8_t id[16], struct image *image, struct disk **out)
{
	struct disk *d = calloc(1, sizeof(*d));
	char whole[NAME_MAX + 1];

	if (!d)
		return -ENOMEM;
	d->number = number;
	memcpy(d->id, id, sizeof(d->id));
	d->tandem = t;
	d->pool = pool_ref(p);
	d->image = image;
	name_whole(file_name, whole);
	d->format = image ? image->format : image_name_classify(whole).format;
	atomic_store(&d->refs, 1);
	range_lock_init(&d->ranges);
	gate_init(&d->gate, t->requests_per_disk);
	pthread_mutex_init(&d->flushing, NULL);
	pthread_mutex_init(&d->opening, NULL);
	pthread_rwlock_init(&d->looking, NULL);
	pthread_mutex_init(&d->lock, NULL);
	/* What was written before we came may not be durable: the first flush is a real one. */
	atomic_store(&d->unflushed, 1);
	if (image)
		disk_describe(d, "");
	disk_set_names(d, file_name);
	*out = d;
	return 0;
}

void disk_describe(struct disk *d, const char *opinion)
{
	const struct image *img = d->image;
	struct disk_ancestor ancestors[IMAGE_PARENTS_MAX] = { 0 };
	char parent[DISK_LABEL_MAX + 1];
	unsigned count = 0;
	struct file_stat st;

	for (const struct image *p = img->parent; p && count < IMAGE_PARENTS_MAX; p = p->parent) {
		if (p->file->ops->stat(p->file, &st))
			continue;
		ancestors[count].dev = st.dev;
		ancestors[count].ino = st.ino;
		memcpy(ancestors[count++].identity, p->identity, sizeof(p->identity));
	}
	parents_label(d->tandem, img, parent);
	pthread_mutex_lock(&d->lock);
	memcpy(d->about.ancestors, ancestors, sizeof(ancestors));
	d->about.ancestor_count = count;
	d->about.kind = img->kind;
	d->about.sector_size = img->sector_size;
	d->about.block_size = img->block_size;
	memcpy(d->about.parent, parent, sizeof(parent));
	snprintf(d->about.warning, sizeof(d->about.warning), "%s%s%s", img->complaint,
		 img->complaint[0] && opinion[0] ? "; " : "", opinion);
	pthread_mutex_unlock(&d->lock);
}

struct disk *disk_ref(struct disk *d)
{
	atomic_fetch_add(&d->refs, 1);
	return d;
}

void disk_unref(struct disk *d)
{
	if (!d || atomic_fetch_sub(&d->refs, 1) != 1)
		return;
	if (d->image && !d->image->read_only && !d->shut)
		watch_own_close(d->tandem->watch, d->pool, d->file_name);
	free(atomic_load(&d->mirror));
	history_close(atomic_load(&d->history));
	image_close(d->image);
	if (d->shut)
		pool_forget(d->pool);
	else
		pool_unref(d->pool);
	gate_destroy(&d->gate);
	range_lock_destroy(&d->ranges);
	pthread_mutex_destroy(&d->lock);
	pthread_mutex_destroy(&d->flushing);
	pthread_mutex_destroy(&d->opening);
	pthread_rwlock_destroy(&d->looking);
	disk_unref(d->left);
	free(d);
}

void disk_set_names(struct disk *d, const char *file_name)
{
	char name[NAME_MAX + 1], whole[NAME_MAX + 1]; /* file_name may be the disk's own */

	snprintf(name, sizeof(name), "%s", file_name);
	name_whole(name, whole);
	pthread_mutex_lock(&d->lock);
	memcpy(d->file_name, name, sizeof(name));
	file_name = whole;
	if (d->pool->name[0])
		snprintf(d->label, sizeof(d->label), "%s:%s", d->pool->name, file_name);
	else
		snprintf(d->label, sizeof(d->label), "%s", file_name);
	snprintf(d->mount_name, sizeof(d->mount_name), "%s%s", file_name,
		 d->format && d->format->flat ? "" : ".raw");
	d->mount_pool = d->pool->number;
	snprintf(d->mount_dir, sizeof(d->mount_dir), "%s", d->pool->name);
	if (d->kept_name.known) {
		memcpy(d->mount_name, d->kept_name.name, sizeof(d->mount_name));
		d->mount_pool = d->kept_name.pool;
		memcpy(d->mount_dir, d->kept_name.dir, sizeof(d->mount_dir));
	}
	pthread_mutex_unlock(&d->lock);
}

void disk_keep_name(struct disk *d, uint32_t pool, const char *mount_name)
{
	struct pool *p = tandem_pool_numbered(d->tandem, pool);

	pthread_mutex_lock(&d->lock);
	snprintf(d->kept_name.name, sizeof(d->kept_name.name), "%s", mount_name);
	d->kept_name.pool = pool;
	snprintf(d->kept_name.dir, sizeof(d->kept_name.dir), "%s", p ? p->name : "");
	/* Without its directory it is where its file is, until the pool is back. */
	d->kept_name.known = p && mount_name[0];
	pthread_mutex_unlock(&d->lock);
	pool_unref(p);
}

bool disk_is_mounted_as(struct disk *d, uint32_t pool, const char *mount_name)
{
	bool is;

	pthread_mutex_lock(&d->lock);
	is = d->mount_pool == pool && !strcmp(d->mount_name, mount_name);
	pthread_mutex_unlock(&d->lock);
	return is;
}

bool disk_keeps_name(struct disk *d)
{
	bool keeps;

	pthread_mutex_lock(&d->lock);
	keeps = d->kept_name.known;
	pthread_mutex_unlock(&d->lock);
	return keeps;
}

const char *disk_object(struct disk *d, char *buf, size_t size)
{
	pthread_mutex_lock(&d->lock);
	snprintf(buf, size, "disks/%s", d->label);
	pthread_mutex_unlock(&d->lock);
	return buf;
}

static enum event_severity severity_of(enum disk_state s)
{
	switch (s) {
	case DISK_READY:
	case DISK_READ_ONLY:
		return EVENT_INFORMATION;
	case DISK_FAILED:
	case DISK_MISSING:
		return EVENT_MAJOR;
	default:
		return EVENT_WARNING;
	}
}

void disk_set_state(struct disk *d, enum disk_state state, const char *reason)
{
	char object[DISK_LABEL_MAX + 8], word[800];
	enum disk_state from;

	pthread_mutex_lock(&d->lock);
	from = d->state;
	d->state = state;
	snprintf(d->reason, sizeof(d->reason), "%s", reason);
	pthread_mutex_unlock(&d->lock);
	/* A new disk is announced by DiskAdded, with its state. */
	if (from != DISK_STATE_INVALID_VALUE && from != state)
		events_emit(d->tandem->events, severity_of(state), "StateChanged",
			    disk_object(d, object, sizeof(object)), "From=%s To=%s%s%s",
			    disk_state_name(from), disk_state_name(state),
			    reason[0] ? " Reason=" : "", event_word(word, sizeof(word), reason));
	clones_tell(d);
	tandem_changed(d->tandem, d);
}

enum disk_state disk_state(struct disk *d)
{
	enum disk_state s;

	pthread_mutex_lock(&d->lock);
	s = d->state;
	pthread_mutex_unlock(&d->lock);
	return s;
}

enum disk_state disk_natural_state(const struct disk *d)
{
	if (atomic_load(&d->broken_flush))
		return DISK_FAILED;
	return d->image->read_only || d->want_read_only || atomic_load(&d->children)
		       ? DISK_READ_ONLY
		       : DISK_READY;
}

unsigned disk_openers(struct disk *d)
{
	unsigned openers;

	pthread_mutex_lock(&d->lock);
	openers = d->openers;
	pthread_mutex_unlock(&d->lock);
	return openers;
}

bool disk_is_open(struct disk *d)
{
	return disk_openers(d) > 0;
}

bool disk_is_written(struct disk *d)
{
	return atomic_load(&d->use) == FILE_WRITE;
}

static bool served(const struct disk *d)
{
	return d->listed && (d->state == DISK_READY || d->state == DISK_READ_ONLY);
}

bool disk_is_served(struct disk *d)
{
	bool yes;

	pthread_mutex_lock(&d->lock);
	yes = served(d);
	pthread_mutex_unlock(&d->lock);
	return yes;
}

void disk_reloaded(struct disk *d)
{
	enum disk_state state = disk_state(d);
	const char *reason = d->image->read_only_because;

	if (d->image->in_doubt)
		reason = d->image->complaint;
	atomic_store(&d->broken_flush, d->image->in_doubt);
	if (state == DISK_READY || state == DISK_READ_ONLY || state == DISK_CHANGED ||
	    state == DISK_FAILED)
		disk_set_state(d, disk_natural_state(d), reason ? reason : "");
}

static int take_changes(struct disk *d, const struct file_stat *st)
{
	char reason[IMAGE_REASON], object[DISK_LABEL_MAX + 8];
	int err = image_reload(d->image, reason);

	if (err)
		return err; /* the watcher will look at it and find why */
	disk_describe(d, "");
	disk_know(d);
	watch_own_close(d->tandem->watch, d->pool, d->file_name); /* the event is answered */
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

/* source: it is the source of a mirror that asks. */
static int may_open(struct disk *d, bool write, bool source, bool *first)
{
	enum target_use use = source ? TARGET_FREE : atomic_load(&d->target_use);
	int err = 0;

	pthread_mutex_lock(&d->lock);
	*first = d->openers == 0;
	if (!served(d))
		err = -ENOENT;
	else if (use == TARGET_HIDDEN)
		err = -EIO;
	else if (write && (d->state == DISK_READ_ONLY || use))
		err = -EROFS;
	pthread_mutex_unlock(&d->lock);
	return err;
}

/* Under opening. */
static bool has_clients(struct disk *d)
{
	bool has;

	pthread_mutex_lock(&d->lock);
	has = d->openers > d->apart;
	pthread_mutex_unlock(&d->lock);
	return has;
}

/* Under opening: what is shown is seen, unless somebody sees something else. */
static void see_newest(struct disk *d)
{
	struct history *h = atomic_load(&d->history);

	if (h && history_seen(h) != history_shown(h) && !has_clients(d))
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
		all = how == SHOW_TO_ALL || !has_clients(d);
	history_show(h, generation, all ? generation : seen);
	pthread_mutex_unlock(&d->opening);
}

static int open_disk(struct disk *d, bool write, bool source)
{
	bool first, taken = false;
	int err;

	pthread_mutex_lock(&d->opening);
	err = may_open(d, write, source, &first);
	if (!err)
		err = disk_use_image(d, write ? FILE_WRITE : FILE_READ);
	if (!err && first) {
		err = take_up(d);
		taken = !err;
		if (err)
			leave_image(d);
	}
	if (!err)
		err = may_open(d, write, source, &first); /* it may have changed meanwhile */
	if (err && taken)
		disk_rest(d);
	if (!err) {
		see_newest(d);
		pthread_mutex_lock(&d->lock);
		if (d->openers++ == 0)
			atomic_fetch_add(&d->tandem->openers, 1);
		pthread_mutex_unlock(&d->lock);
	}
	pthread_mutex_unlock(&d->opening);
	if (!err)
		tandem_changed(d->tandem, d);
	return err;
}

int disk_open(struct disk *d, bool write)
{
	return open_disk(d, write, false);
}

int disk_open_target(struct disk *d)
{
	return open_disk(d, true, true);
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
	int err = disk_open_target(d);

	if (err)
		return err;
	pthread_mutex_lock(&d->lock);
	d->apart++;
	pthread_mutex_unlock(&d->lock);
	return 0;
}

void disk_close_apart(struct disk *d)
{
	pthread_mutex_lock(&d->lock);
	d->apart--;
	pthread_mutex_unlock(&d->lock);
	disk_close(d);
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

int disk_complete(struct disk *d)
{
	int err;

	pthread_mutex_lock(&d->opening);
	err = disk_use_image(d, FILE_WRITE);
	if (!err) {
		err = start(d) ?: disk_rest(d);
		leave_image(d);
		origin_close(atomic_load(&d->history));
		mirror_close(d);
		disk_know(d);
	}
	pthread_mutex_unlock(&d->opening);
	return err;
}

void disk_close(struct disk *d)
{
	struct tandem *t = d->tandem;
	bool last, unsettled, written;

	pthread_mutex_lock(&d->opening);
	written = d->use == FILE_WRITE;
	pthread_mutex_lock(&d->lock);
	assert(d->openers > 0);
	last = d->openers == 1;
	pthread_mutex_unlock(&d->lock);
	if (last) {
		/* Before the count goes down: from then on a difference is somebody else's. */
		atomic_fetch_add(&d->begun, 1);
		disk_rest(d);
		disk_know(d);
	}
	pthread_mutex_lock(&d->lock);
	d->openers--;
	unsettled = last && d->state != DISK_READY && d->state != DISK_READ_ONLY;
	pthread_mutex_unlock(&d->lock);
	pthread_mutex_unlock(&d->opening);
	tandem_changed(t, d);
	/* A child may wait for it. */
	if (unsettled || (last && written && !d->format->flat))
		watch_poke(t->watch);
	if (last)
		atomic_fetch_sub(&t->openers, 1);
	pthread_mutex_lock(&t->idle_lock);
	pthread_cond_broadcast(&t->idle);
	pthread_mutex_unlock(&t->idle_lock);
}

uint64_t disk_patience(void)
{
	return monotonic_ns() + 250000000;
}

void disk_await_close(struct disk *d, unsigned ours)
{
	uint64_t until = disk_patience();
	struct tandem *t = d->tandem;

	pthread_mutex_lock(&t->idle_lock);
	while (disk_openers(d) > ours && clock_wait(&t->idle, &t->idle_lock, until))
		;
	pthread_mutex_unlock(&t->idle_lock);
}

int disk_claim(struct disk *d, struct why *why)
{
	int err = 0;

	pthread_mutex_lock(&d->lock);
	if (!d->listed)
		err = refuse(why, -ENOENT, "%s is gone", d->label);
	else if (d->openers)
		err = refuse_advise(why, -EBUSY, "close it first", "%s is open (%u)", d->label,
				    d->openers);
	else
		d->listed = false;
	pthread_mutex_unlock(&d->lock);
	return err;
}

void disk_unclaim(struct disk *d)
{
	pthread_mutex_lock(&d->lock);
	d->listed = true;
	pthread_mutex_unlock(&d->lock);
}

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

struct file_stat disk_known(struct disk *d)
{
	struct file_stat known;

	pthread_mutex_lock(&d->lock);
	known = d->known;
	pthread_mutex_unlock(&d->lock);
	return known;
}

uint64_t disk_size(struct disk *d)
{
	return d->image ? d->image->size : 0;
}

void disk_facts(struct disk *d, struct disk_facts *out)
{
	uint64_t busy = gate_oldest(&d->gate, monotonic_ns());
	struct file_stat st;

	memset(out, 0, sizeof(*out));
	out->number = d->number;
	memcpy(out->id, d->id, sizeof(out->id));
	snprintf(out->pool, sizeof(out->pool), "%s", d->pool->name);
	out->children = atomic_load(&d->children);
	out->size = disk_size(d);
	if (!disk_stat(d, &st))
		out->allocated = st.allocated;
	out->busy_ns = busy;
	pthread_mutex_lock(&d->lock);
	memcpy(out->label, d->label, sizeof(out->label));
	memcpy(out->mount_name, d->mount_name, sizeof(out->mount_name));
	memcpy(out->file_name, d->file_name, sizeof(out->file_name));
	memcpy(out->mount_dir, d->mount_dir, sizeof(out->mount_dir));
	memcpy(out->reason, d->reason, sizeof(out->reason));
	out->format = d->about.kind ? d->about.kind : d->format ? d->format->name : NULL;
	out->sector_size = d->about.sector_size;
	out->block_size = d->about.block_size;
	memcpy(out->parent, d->about.parent, sizeof(out->parent));
	memcpy(out->warning, d->about.warning, sizeof(out->warning));
	out->state = d->state;
	out->openers = d->openers;
	out->stalled = d->stalled;
	out->read_only = d->state == DISK_READ_ONLY || !d->image || d->image->read_only ||
			 d->want_read_only || out->children || atomic_load(&d->target_use);
	pthread_mutex_unlock(&d->lock);
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

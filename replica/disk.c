// SPDX-License-Identifier: GPL-2.0-or-later
/* A disk's names and state. Its openers are in disk_open.c, its verbs in disk_io.c. */
#include "disk.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clones.h"
#include "close_wait.h"
#include "names.h"
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
	d->number = d->notes = number;
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
	struct disk_ancestry ancestry;

	parents_of(d->tandem, img, &ancestry);
	pthread_mutex_lock(&d->lock);
	d->about.ancestry = ancestry;
	d->about.kind = img->kind;
	d->about.sector_size = img->sector_size;
	d->about.block_size = img->block_size;
	if (opinion)
		snprintf(d->about.opinion, sizeof(d->about.opinion), "%s", opinion);
	opinion = d->about.opinion;
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

bool disk_serves(const struct disk *d)
{
	return d->listed && (d->state == DISK_READY || d->state == DISK_READ_ONLY);
}

bool disk_is_served(struct disk *d)
{
	bool yes;

	pthread_mutex_lock(&d->lock);
	yes = disk_serves(d);
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

int disk_claim(struct disk *d, struct why *why)
{
	unsigned openers;
	bool listed;

	pthread_mutex_lock(&d->lock);
	listed = d->listed;
	openers = d->openers;
	if (!openers)
		d->listed = false;
	pthread_mutex_unlock(&d->lock);
	if (!listed)
		return refuse(why, -ENOENT, "%s is gone", d->label);
	return openers ? refuse_advise(while_open(d, why), -EBUSY, "close it first",
				       "%s is open (%u)", d->label, openers)
		       : 0;
}

void disk_unclaim(struct disk *d)
{
	pthread_mutex_lock(&d->lock);
	d->listed = true;
	pthread_mutex_unlock(&d->lock);
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
	memcpy(out->parent, d->about.ancestry.parent, sizeof(out->parent));
	memcpy(out->warning, d->about.warning, sizeof(out->warning));
	out->state = d->state;
	out->openers = d->openers;
	out->stalled = d->stalled;
	out->read_only = d->state == DISK_READ_ONLY || !d->image || d->image->read_only ||
			 d->want_read_only || out->children || atomic_load(&d->target_use);
	pthread_mutex_unlock(&d->lock);
}

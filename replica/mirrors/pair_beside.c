// SPDX-License-Identifier: GPL-2.0-or-later
#include "pair_beside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "history.h"
#include "names.h"

/* So often it is said anew that a target that is written has everything. */
#define AGAIN_NS 60000000000ull
/* Space that a delta leaves to the images. */
#define LEAVES_FREE (64ull << 20)

static uint64_t make_up(void)
{
	uint64_t v;

	return getrandom(&v, sizeof(v), 0) == sizeof(v) ? v : 0;
}

int beside_load_owner(struct pairs *ps)
{
	static const char *const names[] = { "StateId0", "StateId1" };
	struct catalogue *c = ps->t->catalogue;
	struct catalogue_txn *txn;
	uint64_t id[2];
	int err = 0;

	for (size_t i = 0; i < 2 && !err; i++)
		err = catalogue_get_setting(c, names[i], &id[i]);
	if (err == -ENOENT) {
		err = catalogue_begin(c, &txn);
		for (size_t i = 0; i < 2 && !err; i++) {
			id[i] = make_up();
			catalogue_put_setting(txn, names[i], id[i]);
		}
		err = err ?: catalogue_commit(txn);
	}
	if (!err)
		memcpy(ps->owner, id, sizeof(ps->owner));
	return err;
}

/* ---- where it is ---- */

struct place {
	struct pool *pool; /* a reference */
	int dirfd;
	char file[NAME_MAX + 1];
};

bool beside_is_kept(struct disk *target)
{
	return target->pool->number && !target->tandem->read_only;
}

/* false: the pool is not there. */
static bool find_place(struct disk *target, struct place *at)
{
	at->pool = pool_ref(target->pool);
	at->dirfd = at->pool->dirfd;
	pthread_mutex_lock(&target->lock);
	memcpy(at->file, target->file_name, sizeof(at->file));
	pthread_mutex_unlock(&target->lock);
	return at->dirfd >= 0;
}

static bool is_ours(const struct pair *p, const struct beside *b)
{
	return !memcmp(b->owner, p->of->owner, BESIDE_OWNER);
}

/*
 * Under keeping. What it says is known until the image is called otherwise, or is another, or it could not
 * be written. -errno: nobody knows.
 */
static int know(struct pair *p, const struct place *at)
{
	int err;

	if (p->beside_known && p->beside_pool == at->pool->number &&
	    !strcmp(p->beside_file, at->file))
		return 0;
	memset(&p->beside, 0, sizeof(p->beside));
	p->beside_pool = at->pool->number;
	memcpy(p->beside_file, at->file, sizeof(p->beside_file));
	/* It may have got its name, and not durably. */
	err = beside_sync(at->dirfd) ?: beside_read(at->dirfd, at->file, &p->beside);
	err = err == -ENOENT ? 0 : err;
	p->beside_known = !err;
	return err;
}

/* ---- taking back ---- */

/* Under keeping. A file that cannot be written may go still. */
static int write_or_remove(struct pair *p, const struct place *at, struct beside *b)
{
	int err = beside_write(at->dirfd, at->file, b);

	if (err) {
		b->holds = BESIDE_NONE;
		err = beside_remove(at->dirfd, at->file);
	}
	p->beside_known = !err;
	if (!err)
		p->beside = *b;
	return err;
}

/* Under keeping. What nobody knows goes, whatever it says. */
static int end_claim(struct pair *p, const struct place *at, enum beside_holds holds, bool others)
{
	struct beside b;
	bool known = !know(p, at);
	int err;

	b = p->beside;
	if (known && (b.holds == BESIDE_NONE || (!others && !is_ours(p, &b)) ||
		      (b.holds == holds && is_ours(p, &b))))
		return 0;
	if (!known || holds == BESIDE_NONE) {
		err = beside_remove(at->dirfd, at->file);
		p->beside_known = !err;
		if (!err)
			memset(&p->beside, 0, sizeof(p->beside));
		return err;
	}
	memcpy(b.owner, p->of->owner, BESIDE_OWNER);
	b.holds = holds;
	b.claim = make_up();
	err = write_or_remove(p, at, &b);
	if (!err)
		beside_drop_delta(at->dirfd, at->file);
	return err;
}

/*
 * It makes no claim when this returns 0. others: also if it is somebody else's, who has taken it over;
 * what he says stays until T is written.
 */
static int take_back(struct pair *p, enum beside_holds holds, bool others)
{
	struct disk *target = pair_target(p);
	struct place at = { 0 };
	int err;

	if (!target || !beside_is_kept(target)) {
		disk_unref(target);
		return 0;
	}
	pthread_mutex_lock(&p->keeping);
	p->taken_back++;
	if (find_place(target, &at))
		err = end_claim(p, &at, holds, others);
	else
		err = p->beside.holds == BESIDE_WHOLE ? -ENOENT : 0;
	pthread_mutex_unlock(&p->keeping);
	pool_unref(at.pool);
	disk_unref(target);
	return err;
}

int beside_end_whole(struct pair *p)
{
	struct pair_record r = pair_record_of(p);

	atomic_store(&p->mixed, true);
	/* An asynchronous one stays a generation of what its source was. */
	return pair_is_async(&r) ? 0 : take_back(p, BESIDE_HALF, true);
}

/* Of one that is not written any more it is merely old; with `at_flush` nobody takes it for whole. */
static bool claim_may_stay(struct pair *p)
{
	struct pair_record r = pair_record_of(p);
	bool at_flush;

	pthread_mutex_lock(&p->keeping);
	at_flush = p->beside_known && p->beside.pair.at_flush;
	pthread_mutex_unlock(&p->keeping);
	return at_flush || !pair_writes(&r) || atomic_load(&p->leg.failed);
}

int beside_on_mixed(void *pair)
{
	int err = beside_end_whole(pair);

	return err && claim_may_stay(pair) ? 0 : err;
}

void pairs_past_begins(struct disk *d)
{
	struct pairs *ps = d->tandem->pairs;

	for (struct pair *p = NULL; ps && (p = pairs_after(ps, p));) {
		struct pair_record r = pair_record_of(p);

		if (p->leg.target != d->number || pair_is_gone(p) || pair_is_async(&r))
			continue;
		atomic_store(&p->has_past, true);
		take_back(p, BESIDE_HALF, false);
	}
}

/* ---- what is true ---- */

/* Of a record; NONE: it is no replica, or was never one. */
static enum beside_holds holds_of(const struct pair *p, const struct pair_record *r)
{
	bool whole = pair_is_async(r) ? r->steady && !r->written
				      : r->whole && !atomic_load(&p->mixed);

	if (r->first || r->moves || r->back || r->copy_state == COPY_FAILEDOVER)
		return BESIDE_NONE;
	return whole && !r->rewritten ? BESIDE_WHOLE : BESIDE_HALF;
}

/* In DISKDIR it is kept only if it was found there: see pair_found.c. */
static int before_in_diskdir(const struct pair_step *s, struct disk *target)
{
	struct place at = { 0 };
	struct beside b;
	int err = 0;

	if (!s->goes && !s->swap && pair_target_use(&s->r) != TARGET_FREE)
		return 0;
	if (find_place(target, &at) && !target->tandem->read_only &&
	    !beside_read(at.dirfd, at.file, &b) && b.holds != BESIDE_TAKEN) {
		memcpy(b.owner, s->p->of->owner, BESIDE_OWNER);
		b.holds = BESIDE_TAKEN;
		b.claim = make_up();
		err = beside_write(at.dirfd, at.file, &b);
		if (!err)
			beside_drop_delta(at.dirfd, at.file);
	}
	pool_unref(at.pool);
	return err;
}

int beside_before(const struct pair_step *s)
{
	struct pair *p = s->p;
	struct pair_record was = pair_record_of(p);
	struct disk *target = pair_target(p);
	bool none = s->goes || s->swap;
	enum beside_holds holds = none ? BESIDE_NONE : holds_of(p, &s->r);
	/* What the claim means depends on them, and what is done with the target from here on. */
	bool other = s->r.mode != was.mode || (s->r.at_flush && !was.at_flush);
	/* Else it is about what was done already, or nothing is before the file says it. */
	bool must = s->swap || (s->r.written && !was.written && !s->r.rewritten) ||
		    (other && pair_writes(&was) && !atomic_load(&p->leg.failed));
	int err = 0;

	if (other && holds == BESIDE_WHOLE)
		holds = BESIDE_HALF; /* until its keeper says it anew */
	if (target && !target->pool->number)
		err = before_in_diskdir(s, target);
	else if (target && holds != BESIDE_WHOLE)
		err = take_back(p, holds, s->swap);
	disk_unref(target);
	return must ? err : 0;
}

static bool is_in_step(struct pair *p, const struct pair_record *r)
{
	return r->copy_state == COPY_SYNCHRONIZED && !atomic_load(&p->leg.failed) &&
	       !marks_bytes(p->leg.marks);
}

/* What the state has of the image. */
static bool is_by_itself(struct pair *p, const struct pair_record *r, struct disk *target)
{
	struct history *h = atomic_load(&target->history);
	struct history_facts f = { 0 };
	struct moment_record m;

	if (!h)
		return true;
	history_facts(h, &f);
	if (pair_is_async(r))
		return !r->shows && !f.unsettled;
	return !f.unsettled && !atomic_load(&p->has_past) &&
	       history_moment(h, UINT64_MAX, &m) == -ENOENT;
}

/* Under keeping: the same claim, with everything else as it is now. */
static void describe(struct pair *p, const struct pair_record *r, struct disk *target,
		     struct beside *b)
{
	struct disk *source = pair_source(p);
	uint64_t time_ms = b->pair.sync_time_ms;

	b->pair = *r;
	b->pair.verifies = false;
	b->pair.verified_ms = 0;
	/* That it follows is said now and then. */
	if (is_in_step(p, r) && time_ms > r->sync_time_ms)
		b->pair.sync_time_ms = time_ms;
	b->image = target->identity;
	b->size = disk_size(target);
	if (source) {
		pthread_mutex_lock(&source->lock);
		name_whole(source->file_name, b->source);
		memcpy(b->source_name, source->mount_name, sizeof(b->source_name));
		pthread_mutex_unlock(&source->lock);
		disk_unref(source);
	}
}

static bool is_same(const struct beside *a, const struct beside *b)
{
	uint8_t x[BESIDE_MAX], y[BESIDE_MAX];
	size_t len = beside_encode(a, x);

	return a->holds == b->holds && beside_encode(b, y) == len && !memcmp(x, y, len);
}

/* Told once, until it can be kept again. */
static void tell(struct pair *p, int err)
{
	char object[sizeof(p->name) + 16];

	/* What is no replica yet is not missed. */
	if (p->beside_told == !!err || pair_record_of(p).first)
		return;
	p->beside_told = err;
	snprintf(object, sizeof(object), "replicas/%s", p->name);
	if (err)
		events_emit(p->of->t->events, EVENT_WARNING, "ReplicaNotKept", object, "Error=%d",
			    -err);
	else
		events_emit(p->of->t->events, EVENT_INFORMATION, "ReplicaKept", object, "%s", "");
}

/* Under keeping. What is to be said now; false: the file says it. */
static bool prepare_claim(struct pair *p, const struct pair_record *r, struct disk *target,
			  enum beside_holds holds, struct beside *b)
{
	bool again = is_in_step(p, r) && marks_any_active(p->leg.marks) &&
		     monotonic_ns() > p->beside_at + AGAIN_NS;

	*b = p->beside;
	/* Somebody else's stays until it is copied over. */
	if (b->holds != BESIDE_NONE && !is_ours(p, b))
		return false;
	if (b->holds != holds)
		memset(b, 0, sizeof(*b));
	memcpy(b->owner, p->of->owner, BESIDE_OWNER);
	b->holds = holds;
	describe(p, r, target, b);
	if (again)
		b->pair.sync_time_ms = pair_had_all_ms(p);
	return b->source[0] && b->image.len && !is_same(b, &p->beside);
}

/* Likewise: D(T) was before. */
static int make_claim(struct pair *p, const struct place *at, struct beside *b)
{
	int err;

	b->claim = make_up();
	if (b->holds != BESIDE_WHOLE)
		err = write_or_remove(p, at, b);
	else
		err = beside_write(at->dirfd, at->file, b);
	/* It may have its name all the same. */
	p->beside_known = !err;
	if (err)
		return err;
	p->beside = *b;
	p->beside_at = monotonic_ns();
	beside_drop_delta(at->dirfd, at->file);
	return 0;
}

/* What was left behind where it was. */
static void forget_old(struct pair *p, const struct place *at)
{
	if (p->beside_known && p->beside_pool == at->pool->number &&
	    strcmp(p->beside_file, at->file) && is_ours(p, &p->beside)) {
		struct beside old;

		if (!beside_read(at->dirfd, p->beside_file, &old) && is_ours(p, &old) &&
		    identity_equal(&old.image, &p->beside.image))
			beside_remove(at->dirfd, p->beside_file);
	}
}

/* Its image is not what the claim is about while a generation is on its way. */
static bool is_to_be_looked_at(struct pair *p, const struct pair_record *r, struct disk *target)
{
	/* Of one that is lost it is true of an older time, and its store may be stuck. */
	return holds_of(p, r) != BESIDE_NONE && !atomic_load(&p->leg.failed) &&
	       disk_is_served(target) && !(pair_is_async(r) && r->shows);
}

static bool is_recorded(struct pair *p, const struct pair_record *r)
{
	struct pair_record now = pair_record_of(p);

	return pair_record_is(r, &now);
}

/* Whatever is recorded or taken back meanwhile, it is not said. */
static int refresh(struct pair *p, struct disk *target, const struct place *at)
{
	unsigned taken_back;
	struct pair_record r;
	enum beside_holds holds;
	struct beside b;
	bool differs = false;
	int err;

	pthread_mutex_lock(&p->keeping);
	taken_back = p->taken_back;
	r = pair_record_of(p);
	holds = holds_of(p, &r);
	if (holds == BESIDE_WHOLE && !is_by_itself(p, &r, target))
		holds = pair_is_async(&r) ? BESIDE_NONE : BESIDE_HALF;
	forget_old(p, at);
	err = know(p, at);
	/* None: it is as it was, with its delta. */
	differs = !err && is_to_be_looked_at(p, &r, target) && holds != BESIDE_NONE &&
		  prepare_claim(p, &r, target, holds, &b);
	pthread_mutex_unlock(&p->keeping);
	if (!differs)
		return err;
	err = holds == BESIDE_WHOLE ? disk_flush(target) : 0;
	if (err)
		return err;
	/* What was taken back for what is just being recorded stays so. */
	pthread_mutex_lock(&p->recording);
	pthread_mutex_lock(&p->keeping);
	if (taken_back == p->taken_back && !pair_is_gone(p) && is_recorded(p, &r))
		err = make_claim(p, at, &b);
	pthread_mutex_unlock(&p->keeping);
	pthread_mutex_unlock(&p->recording);
	return err == -ENAMETOOLONG ? 0 : err;
}

void beside_refresh(struct pair *p)
{
	struct disk *target = pair_target(p);
	struct place at = { 0 };

	if (target && beside_is_kept(target) && !pair_is_gone(p) && find_place(target, &at))
		tell(p, refresh(p, target, &at));
	pool_unref(at.pool);
	disk_unref(target);
}

/* ---- asynchronous ---- */

int beside_begin_cycle(struct pair *p, bool steady)
{
	bool whole, fits;

	pthread_mutex_lock(&p->keeping);
	whole = p->beside.holds == BESIDE_WHOLE;
	fits = is_ours(p, &p->beside) && p->beside.pair.mode == MODE_ASYNCHRONOUS;
	fits = steady && p->beside_known && (!whole || fits);
	pthread_mutex_unlock(&p->keeping);
	return fits ? 0 : take_back(p, BESIDE_HALF, true);
}

bool beside_needs_delta(struct pair *p)
{
	bool needs;

	pthread_mutex_lock(&p->keeping);
	needs = p->beside_known && p->beside.holds == BESIDE_WHOLE && is_ours(p, &p->beside);
	pthread_mutex_unlock(&p->keeping);
	return needs;
}

static int open_beside(struct pair *p, const char *ending, int flags, struct place *at)
{
	struct disk *target = pair_target(p);
	char name[NAME_MAX + 1];
	int fd = -ENOENT;

	at->pool = NULL;
	if (target && find_place(target, at)) {
		beside_name(at->file, ending, name);
		if (flags & O_EXCL)
			unlinkat(at->dirfd, name, 0);
		fd = name[0] ? openat(at->dirfd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
				      0600)
			     : -1;
		fd = fd < 0 ? (name[0] ? -errno : -ENAMETOOLONG) : fd;
	}
	disk_unref(target);
	return fd;
}

static int mark_record(void *arg, const struct delta_record *r)
{
	return async_mark(arg, r->off, r->len);
}

int beside_mark_delta(struct pair *p)
{
	struct delta_head head = { 0 };
	struct place at;
	int fd = open_beside(p, BESIDE_DELTA, O_RDONLY, &at), err = fd;

	if (fd >= 0) {
		err = delta_read(fd, &head, mark_record, p);
		close(fd);
	}
	pool_unref(at.pool);
	return err == -ENOENT ? 0 : err;
}

int beside_new_delta(struct pair *p, const struct delta_head *head, struct delta_writer *w)
{
	struct delta_head h = *head;
	struct statvfs space;
	struct place at;
	int fd = open_beside(p, BESIDE_DELTA_NEW, O_WRONLY | O_CREAT | O_EXCL, &at), err = fd;

	pthread_mutex_lock(&p->keeping);
	h.base = p->beside.claim;
	pthread_mutex_unlock(&p->keeping);
	if (fd >= 0) {
		err = !fstatvfs(fd, &space) && (uint64_t)space.f_bavail * space.f_frsize <
						       marks_bytes(p->leg.marks) + LEAVES_FREE
			      ? -ENOSPC
			      : delta_begin(w, fd, &h);
		if (err)
			close(fd);
	}
	pool_unref(at.pool);
	return err;
}

int beside_keep_delta(struct pair *p, struct delta_writer *w, int err)
{
	struct disk *target = pair_target(p);
	char name[NAME_MAX + 1], new[NAME_MAX + 1];
	struct place at = { 0 };

	if (!err && fdatasync(w->fd))
		err = -errno;
	if (close(w->fd) && !err)
		err = -errno;
	if (!target || !find_place(target, &at)) {
		err = -ENOENT;
	} else {
		beside_name(at.file, BESIDE_DELTA, name);
		beside_name(at.file, BESIDE_DELTA_NEW, new);
		if (!err && (renameat(at.dirfd, new, at.dirfd, name) || fsync(at.dirfd)))
			err = -errno;
		if (err)
			unlinkat(at.dirfd, new, 0);
	}
	pool_unref(at.pool);
	disk_unref(target);
	return err;
}

int beside_go_without(struct pair *p, int because)
{
	int err = take_back(p, BESIDE_HALF, true);

	tell(p, because);
	return err;
}

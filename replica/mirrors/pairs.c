// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of mirrors, their files, and what their disks have to do with them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "groups.h"
#include "jobs.h"
#include "pair_beside.h"
#include "pair_facts.h"
#include "pairs_inner.h"
#include "sender.h"

/* ---- the table ---- */

static void lost(void *owner)
{
	keeper_poke(owner);
}

int pair_new(struct pairs *ps, const struct pair_record *r, struct marks *marks, struct pair **out)
{
	struct pair *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->of = ps;
	p->number = r->number;
	memcpy(p->name, r->name, sizeof(p->name));
	p->r = *r;
	p->verify = r->verifies;
	p->thin = r->provisioning == PROVISION_THIN;
	p->leg = (struct leg){
		.owner = p,
		.lost = lost,
		.skewed = pair_skewed,
		.marks = marks,
		.source = r->source,
		.target = r->target,
		.stops = r->stops_host_io,
		.at_flush = r->at_flush,
		.full = r->provisioning == PROVISION_FULL,
	};
	if (sender_new(&p->leg, &p->leg.sender)) {
		free(p);
		return -ENOMEM;
	}
	pthread_mutex_init(&p->changing, NULL);
	pthread_mutex_init(&p->recording, NULL);
	pthread_mutex_init(&p->applying, NULL);
	pthread_mutex_init(&p->keeping, NULL);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->poked, NULL);
	pthread_cond_init(&p->set, NULL);
	p->mixed = !pair_is_async(r) && marks_outdated(marks) == MIXED;
	marks_on_mixed(marks, beside_on_mixed, p);
	pthread_mutex_lock(&ps->lock);
	p->next = ps->list;
	ps->list = p;
	pthread_mutex_unlock(&ps->lock);
	*out = p;
	return 0;
}

static void pair_free(struct pair *p)
{
	sender_free(p->leg.sender);
	marks_close(p->leg.marks); /* NULL once it is gone */
	pthread_mutex_destroy(&p->changing);
	pthread_mutex_destroy(&p->recording);
	pthread_mutex_destroy(&p->applying);
	pthread_mutex_destroy(&p->keeping);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->poked);
	pthread_cond_destroy(&p->set);
	free(p);
}

struct pair *pair_of_number(struct pairs *ps, uint32_t number)
{
	struct pair *p;

	pthread_mutex_lock(&ps->lock);
	for (p = ps->list; p && p->number != number; p = p->next)
		;
	pthread_mutex_unlock(&ps->lock);
	return p;
}

int pair_to_change(struct tandem *t, uint32_t number, struct pair **out, struct why *why)
{
	*out = t->pairs ? pair_of_number(t->pairs, number) : NULL;
	if (!*out || pair_is_gone(*out))
		return refuse(why, -ENOENT, "there is no such mirror");
	return t->read_only ? refuse(why, -EROFS, "the mount is read-only") : 0;
}

struct pair *pairs_after(struct pairs *ps, const struct pair *p)
{
	struct pair *next;

	pthread_mutex_lock(&ps->lock);
	next = p ? p->next : ps->list;
	pthread_mutex_unlock(&ps->lock);
	return next;
}

struct pair_record pair_record_of(struct pair *p)
{
	struct pair_record r;

	pthread_mutex_lock(&p->lock);
	r = p->r;
	pthread_mutex_unlock(&p->lock);
	return r;
}

bool pair_is_gone(struct pair *p)
{
	bool gone;

	pthread_mutex_lock(&p->lock);
	gone = p->gone;
	pthread_mutex_unlock(&p->lock);
	return gone;
}

struct disk *pair_source(struct pair *p)
{
	return tandem_disk_numbered(p->of->t, p->leg.source);
}

struct disk *pair_target(struct pair *p)
{
	return tandem_disk_numbered(p->of->t, p->leg.target);
}

void pair_changed(struct pair *p)
{
	tandem_changed(p->of->t, NULL);
}

void pair_announce(struct pair *p, const char *from, const char *to)
{
	char object[sizeof(p->name) + 16];

	snprintf(object, sizeof(object), "replicas/%s", p->name);
	events_emit(p->of->t->events,
		    !strcmp(to, "Broken")   ? EVENT_MAJOR
		    : !strcmp(to, "Skewed") ? EVENT_WARNING
					    : EVENT_INFORMATION,
		    "StateChanged", object, "From=%s To=%s", from, to);
	pair_changed(p);
}

/* ---- what follows from a state ---- */

bool pair_writes(const struct pair_record *r)
{
	return r->copy_state == COPY_UNSYNCHRONIZED || r->copy_state == COPY_SYNCHRONIZED;
}

enum target_use pair_target_use(const struct pair_record *r)
{
	switch (r->copy_state) {
	case COPY_FRACTURED:
	case COPY_SPLIT:
	case COPY_SKEWED:
		return r->read_only ? TARGET_READS : TARGET_FREE;
	case COPY_BROKEN:
	case COPY_ABORTED:
	case COPY_FAILEDOVER:
		/* One that is asynchronous shows its last whole generation. */
		return pair_is_async(r) && r->steady ? TARGET_READS : TARGET_HIDDEN;
	default:
		return r->back ? TARGET_HIDDEN : TARGET_READS;
	}
}

/* ---- facts ---- */

static void label_of(struct disk *d, char label[DISK_LABEL_MAX + 1])
{
	label[0] = '\0';
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	memcpy(label, d->label, sizeof(d->label));
	pthread_mutex_unlock(&d->lock);
}

static bool serves(struct disk *d)
{
	return d && disk_is_served(d);
}

/* What is true now, also before its keeper has recorded it. */
static enum copy_state state_now(const struct pair *p, const struct pair_record *r,
				 struct disk *source, struct disk *target, uint64_t differs)
{
	struct pair_record lost = *r;

	if (!pair_writes(r))
		return r->copy_state;
	if ((atomic_load(&p->leg.failed) || !serves(target)) &&
	    pair_follow(FACT_TARGET_LOST, &lost))
		return lost.copy_state;
	if (pair_is_async(r)) /* it is behind, and that is no state */
		return serves(source) ? r->copy_state : COPY_UNSYNCHRONIZED;
	return differs || !serves(source) ? COPY_UNSYNCHRONIZED : r->copy_state;
}

static enum progress_status progress_of(const struct pair_facts *f)
{
	switch (f->state) {
	case COPY_UNSYNCHRONIZED:
		if (f->error)
			return PROGRESS_PENDING;
		if (f->back)
			return f->restores ? PROGRESS_RESTORING : PROGRESS_FAILING_BACK;
		return f->first ? PROGRESS_SYNCHRONIZING : PROGRESS_RESYNCING;
	case COPY_INACTIVE:
	case COPY_SUSPENDED:
		return PROGRESS_DORMANT;
	case COPY_PREPARED:
	case COPY_INITIALIZED:
		return PROGRESS_REQUIRES_ACTIVATE;
	case COPY_ABORTED:
		return PROGRESS_REQUIRES_RESYNC;
	default:
		return PROGRESS_COMPLETED;
	}
}

static unsigned percent_of(const struct pair_facts *f)
{
	uint64_t same = f->size > f->differs ? f->size - f->differs : 0;
	unsigned percent = f->size ? same / (f->size / 100 + 1) : 0;

	if (f->state == COPY_SYNCHRONIZED)
		return 100;
	return percent < 99 ? percent : 99;
}

static int facts_of(struct pair *p, struct pair_facts *out)
{
	struct disk *source = pair_source(p), *target = pair_target(p);
	struct pair_facts f = { 0 };
	struct pair_record r;
	bool gone;

	pthread_mutex_lock(&p->lock);
	r = p->r;
	gone = p->gone;
	f.error = p->error;
	f.copying = p->copying;
	if (p->leg.marks) {
		f.size = marks_size(p->leg.marks);
		f.differs = marks_bytes(p->leg.marks);
	}
	pthread_mutex_unlock(&p->lock);
	f.number = r.number;
	memcpy(f.name, r.name, sizeof(f.name));
	label_of(source, f.source);
	label_of(target, f.target);
	f.state = state_now(p, &r, source, target, f.differs);
	if (!f.error && (f.state == COPY_BROKEN || f.state == COPY_FAILEDOVER) &&
	    atomic_load(&p->leg.error))
		f.error = atomic_load(&p->leg.error);
	if (!f.error && f.state == COPY_BROKEN)
		f.error = serves(target) ? 0 : -ENOENT;
	f.moves = r.moves;
	f.rewritten = r.rewritten;
	f.first = r.first;
	f.back = r.back && f.state != COPY_FAILEDOVER;
	f.whole = f.back || (pair_is_async(&r) ? r.steady && !r.written
					       : r.whole && !atomic_load(&p->leg.lacks));
	f.restores = r.restores;
	f.requested = f.state == COPY_UNSYNCHRONIZED || f.state == COPY_BROKEN
			      ? COPY_SYNCHRONIZED
			      : COPY_NOT_APPLICABLE;
	f.progress = progress_of(&f);
	f.mode = r.mode;
	f.adaptive = r.adaptive;
	f.skew_limit = r.skew_limit;
	f.priority = r.priority;
	f.job = job_of_replica(p->of->t->jobs, p->number, false);
	f.stops_host_io = r.stops_host_io;
	f.at_flush = r.at_flush;
	f.provisioning = r.provisioning;
	f.read_only = r.read_only;
	f.manual = r.manual;
	f.sync_time_ms = r.sync_time_ms;
	pair_add_sent_facts(p, &f);
	if (pair_is_async(&r))
		pair_add_async_facts(p, &r, &f);
	f.verified_ms = r.verified_ms;
	f.verifying = atomic_load(&p->verify);
	f.verified = f.size ? atomic_load(&p->verified) / (f.size / 100 + 1) : 0;
	f.mended = atomic_load(&p->mended);
	f.percent = percent_of(&f);
	disk_unref(source);
	disk_unref(target);
	if (!gone)
		*out = f;
	return gone ? -ENOENT : 0;
}

void pairs_list(struct tandem *t, bool (*fn)(void *arg, const struct pair_facts *p), void *arg)
{
	struct pair_facts f;

	/* The newest is first in the list; the order that is shown is that of their making. */
	for (uint32_t last = 0;;) {
		struct pair *next = NULL;

		for (struct pair *p = NULL; t->pairs && (p = pairs_after(t->pairs, p));)
			if (p->number > last && (!next || p->number < next->number))
				next = p;
		if (!next)
			return;
		last = next->number;
		if (!facts_of(next, &f) && !fn(arg, &f))
			return;
	}
}

int pair_numbered(struct tandem *t, uint32_t number, struct pair_facts *out)
{
	struct pair *p = t->pairs && number ? pair_of_number(t->pairs, number) : NULL;

	return p ? facts_of(p, out) : -ENOENT;
}

int pair_named(struct tandem *t, const char *name, struct pair_facts *out)
{
	for (struct pair *p = NULL; t->pairs && (p = pairs_after(t->pairs, p));)
		if (!pair_is_gone(p) && p->number && !strcmp(p->name, name))
			return facts_of(p, out);
	return -ENOENT;
}

int pair_moving(struct disk *source, struct pair_facts *out)
{
	struct pairs *ps = source->tandem->pairs;

	for (struct pair *p = NULL; ps && (p = pairs_after(ps, p));)
		if (p->leg.source == source->number && !pair_is_gone(p) && pair_record_of(p).moves)
			return facts_of(p, out);
	return -ENOENT;
}

bool pairs_have(struct tandem *t, const char *name)
{
	struct pair_facts f;

	return !pair_named(t, name, &f);
}

/* ---- their disks ---- */

bool disk_is_mirrored(const struct disk *d)
{
	struct pairs *ps = d->tandem->pairs;

	for (struct pair *p = NULL; ps && (p = pairs_after(ps, p));)
		if (p->leg.source == d->number && !pair_is_gone(p))
			return true;
	return false;
}

bool disk_is_paired(const struct disk *d)
{
	struct pairs *ps = d->tandem->pairs;

	for (struct pair *p = NULL; ps && (p = pairs_after(ps, p));)
		if ((p->leg.source == d->number || p->leg.target == d->number) && !pair_is_gone(p))
			return true;
	return false;
}

bool is_target_of_async(const struct disk *d)
{
	struct pairs *ps = d->tandem->pairs;

	for (struct pair *p = NULL; ps && (p = pairs_after(ps, p));) {
		struct pair_record r = pair_record_of(p);

		if (p->leg.target == d->number && !pair_is_gone(p) &&
		    (r.mode == MODE_ASYNCHRONOUS || r.adaptive))
			return true;
	}
	return false;
}

bool pairs_fill(struct tandem *t, uint32_t disk)
{
	for (struct pair *p = NULL; t->pairs && (p = pairs_after(t->pairs, p));)
		if (p->leg.target == disk && !pair_is_gone(p) && pair_record_of(p).first)
			return true;
	return false;
}

int pair_check_disk(struct disk *d, struct why *why)
{
	if (!disk_is_paired(d))
		return 0;
	return refuse_advise(why, -EBUSY, "Detach", "%s is in a mirror", d->label);
}

int pairs_attach(struct disk *d)
{
	struct pairs *ps = d->tandem->pairs;
	int err = 0;

	for (struct pair *p = NULL; ps && !err && (p = pairs_after(ps, p));) {
		struct pair_record r = pair_record_of(p);

		if (pair_is_gone(p))
			continue;
		if (p->leg.source == d->number && r.number && d->image) {
			p->leg.writes = pair_writes(&r) && !pair_is_async(&r);
			if (r.copy_state == COPY_BROKEN)
				atomic_store(&p->leg.failed, true);
			err = mirror_add(d, &p->leg);
		}
		if (!err && p->leg.target == d->number)
			err = async_attach_target(p, &r, d) ?: pair_attach_target(p, &r, d);
	}
	return err;
}

int pair_attach_target(struct pair *p, const struct pair_record *r, struct disk *d)
{
	enum target_use use = pair_target_use(r);
	struct mirror *m = mirror_of(d);
	int err;

	if (!m)
		return -ENOMEM;
	atomic_store(&m->of, &p->leg);
	/* As long as somebody may write, it is heard of. */
	if (use == TARGET_FREE)
		atomic_store(&p->leg.skews, true);
	err = disk_set_target_use(d, use);
	if (err == -EBUSY && use == TARGET_HIDDEN)
		err = disk_set_target_use(d, TARGET_READS); /* somebody reads it */
	if (!err && use != TARGET_FREE)
		atomic_store(&p->leg.skews, false);
	return err;
}

/* ---- start and stop ---- */

int pairs_open_file(struct pairs *ps, uint32_t number, int flags, struct file **out)
{
	char name[16];
	int fd, err;

	snprintf(name, sizeof(name), "%u", number);
	fd = openat(ps->dirfd, name, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	err = file_adopt(fd, false, out);
	if (err)
		close(fd);
	return err;
}

/* One that is lost, or is none, is replaced: everything differs then. */
static int open_marks(struct pairs *ps, uint32_t number, struct marks **out)
{
	struct file *file;
	int err = pairs_open_file(ps, number, O_CREAT, &file);

	if (err)
		return err;
	err = marks_open(file, number, out);
	if (err == -EIO)
		err = marks_create(file, number, 0, true, out);
	if (err)
		file->ops->close(file);
	return err;
}

/* What was answered may have been on its way to the target: it may have what was written later. */
static int outdate_sent(const struct pair_record *r, struct marks *marks, bool crashed)
{
	return crashed && r->at_flush && pair_writes(r) && marks_bytes(marks)
		       ? marks_outdate(marks, MIXED)
		       : 0;
}

/* We died before it could be recorded that the target was lost, or stopped; or in a copy. */
static void find_outdated(struct pair_record *r, enum outdated outdated)
{
	if (pair_is_async(r) || !pair_writes(r) || outdated == UP_TO_DATE)
		return;
	if (r->copy_state == COPY_UNSYNCHRONIZED || outdated == MIXED || r->at_flush)
		r->whole = false;
	if (r->copy_state == COPY_SYNCHRONIZED)
		pair_follow(r->at_flush ? FACT_DIFFERS : FACT_TARGET_LOST, r);
}

static int load_one(void *arg, const struct pair_record *record)
{
	struct pair_record r = *record;
	struct pairs *ps = arg;
	struct marks *marks;
	struct pair *p;
	int err = open_marks(ps, r.number, &marks);

	if (err)
		return err;
	err = outdate_sent(&r, marks, !ps->t->was_clean);
	/* First, while it is in the state that it died in: one that is Suspended tells nothing. */
	find_outdated(&r, marks_outdated(marks));
	if (!ps->t->was_clean) {
		pair_follow(FACT_CRASHED, &r);
		/* A generation that is half copied is a copy in progress. */
		if (pair_is_async(&r) && r.copy_state == COPY_SYNCHRONIZED && r.shows && r.manual)
			r.copy_state = COPY_SUSPENDED;
	}
	if (r.rewritten)
		err = err ?: marks_set_all(marks);
	r.rewritten = r.copy_state == COPY_SKEWED && r.rewritten;
	/* An older program did not say it. */
	r.written = r.written || (r.copy_state == COPY_SKEWED && r.whole);
	err = err ?: pair_new(ps, &r, marks, &p);
	if (err)
		marks_close(marks);
	return err;
}

int pairs_load(struct tandem *t, struct why *why)
{
	struct pairs *ps = t->pairs = calloc(1, sizeof(*ps));
	int err;

	if (!ps)
		return refuse(why, -ENOMEM, "out of memory");
	ps->t = t;
	pthread_mutex_init(&ps->lock, NULL);
	pthread_mutex_init(&ps->managing, NULL);
	if (mkdirat(t->state_dirfd, "pairs", 0700) && errno != EEXIST)
		err = -errno;
	else
		err = (ps->dirfd = openat(t->state_dirfd, "pairs",
					  O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)) < 0
			      ? -errno
			      : beside_load_owner(ps) ?: pairs_each(t->catalogue, load_one, ps);
	return err ? refuse(why, err, "the catalogue's mirrors: %s", strerror(-err)) : 0;
}

/* We died while they were made. */
static void take_pending_back(struct tandem *t)
{
	for (struct pair *p = NULL; (p = pairs_after(t->pairs, p));)
		if (!pair_is_gone(p) && pair_record_of(p).pending)
			pair_abandon(p);
	groups_settle_pending(t);
}

void pairs_start(struct tandem *t)
{
	/* What they are to each other stays: nothing can be copied, and nothing is written that would have to be. */
	if (!t->pairs || t->read_only)
		return;
	take_pending_back(t);
	joint_start(t);
	for (struct pair *p = NULL; (p = pairs_after(t->pairs, p));)
		if (!pair_is_gone(p))
			keeper_start(p);
}

static int flush_both(void *arg)
{
	struct pair *p = arg;
	struct disk *source = pair_source(p), *target = pair_target(p);
	int err = source && source->image ? disk_flush(source) : -ENOENT;

	if (!err)
		err = target && target->image ? disk_flush(target) : -ENOENT;
	disk_unref(source);
	disk_unref(target);
	return err;
}

void pairs_stop(struct tandem *t)
{
	struct pairs *ps = t->pairs;

	if (!ps)
		return;
	pthread_mutex_lock(&ps->managing);
	ps->ending = true;
	pthread_mutex_unlock(&ps->managing);
	for (struct pair *p = NULL; (p = pairs_after(ps, p));) {
		keeper_end(p);
		pair_forget_images(p);
	}
	joint_stop(ps);
	/* What cannot be flushed is marked still at the next start. */
	for (struct pair *p = NULL; t->serving && (p = pairs_after(ps, p));)
		if (p->leg.marks && !atomic_load(&p->leg.failed))
			marks_clean(p->leg.marks, true, flush_both, p);
}

void pairs_free(struct tandem *t)
{
	struct pairs *ps = t->pairs;
	struct pair *p;

	if (!ps)
		return;
	while ((p = ps->list)) {
		ps->list = p->next;
		pair_free(p);
	}
	if (ps->dirfd >= 0)
		close(ps->dirfd);
	pthread_mutex_destroy(&ps->lock);
	pthread_mutex_destroy(&ps->managing);
	free(ps);
	t->pairs = NULL;
}

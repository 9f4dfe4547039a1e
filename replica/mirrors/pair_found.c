// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The target of a mirror whose state is lost, or elsewhere: what was kept beside it (pair_beside.h)
 * is enough to make the mirror again, without its source.
 *
 *   D(the file says that it is ours) -> the delta, if there is one that goes on from what the image
 *   is, is applied, D -> the file says what it is then, D -> STATE/pairs/NUMBER, D -> the source and
 *   the pair in the catalogue, D
 *
 * A crash in between leaves what is found again, and a delta can be applied over its own half. The
 * state that had it knows by the first step that it is not its own any more. Its source is a disk that
 * no file can be: what is in the file of the old one may lack what is in the old state.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "names.h"
#include "pair_beside.h"

struct finding {
	struct pairs *ps;
	struct disk *target;
	struct beside b;
	const char *file;
	int dirfd;
	char *reason;
};

static bool is_ours(const struct pairs *ps, const struct beside *b)
{
	return !memcmp(b->owner, ps->owner, BESIDE_OWNER);
}

bool pairs_were_taken(struct tandem *t, uint32_t disk, const struct identity *image,
		      const struct pool *pool, const char *file)
{
	struct beside b;
	bool taken = false;

	if (!t->pairs || !pool->number || beside_read(pool->dirfd, file, &b) ||
	    is_ours(t->pairs, &b) || !identity_equal(&b.image, image))
		return false;
	for (struct pair *p = NULL; (p = pairs_after(t->pairs, p));)
		if (p->leg.target == disk && !pair_is_gone(p)) {
			atomic_store(&p->taken, true);
			taken = true;
		}
	return taken;
}

/* ---- the delta ---- */

static int apply(void *arg, const struct delta_record *r)
{
	struct disk *d = arg;

	return r->data ? disk_write(d, r->data, r->len, r->off, IO_DIRECT)
		       : disk_zero(d, r->off, r->len, ZERO_PUNCH);
}

struct applying {
	struct disk *d;
	int fd;
	const struct delta_head *head;
};

/* It was read as a whole before. */
static int apply_all(void *arg)
{
	const struct applying *a = arg;
	struct disk *d = a->d;
	struct delta_head again;
	int err = disk_size(d) == a->head->size ? 0 : disk_resize(d, a->head->size, true);

	if (err && disk_size(d) > a->head->size)
		err = 0; /* it stays longer if it cannot be cut off */
	if (!err)
		err = lseek(a->fd, 0, SEEK_SET) ? -errno : delta_read(a->fd, &again, apply, d);
	return err ? err : disk_flush(d);
}

/* -ENOENT: there is none that goes on from what it is. */
static int open_delta(struct finding *f, struct delta_head *head)
{
	char name[NAME_MAX + 1];
	int fd, err;

	beside_name(f->file, BESIDE_DELTA, name);
	fd = openat(f->dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = delta_read(fd, head, NULL, NULL);
	if (!err && head->base != f->b.claim)
		err = -ENOENT;
	if (!err)
		return fd;
	close(fd);
	return err;
}

static int bring_up(struct finding *f)
{
	struct delta_head head;
	int fd = open_delta(f, &head), err;

	if (fd == -ENOENT)
		return 0;
	/* It was whole before anything of it was written. */
	if (fd < 0) {
		snprintf(f->reason, 200, "the delta beside it cannot be read: %s", strerror(-fd));
		return fd;
	}
	err = disk_complete(f->target, apply_all, &(struct applying){ f->target, fd, &head });
	close(fd);
	if (!err) {
		f->b.pair.sync_time_ms = head.time_ms;
		f->b.size = disk_size(f->target);
		getrandom(&f->b.claim, sizeof(f->b.claim), 0);
		err = beside_write(f->dirfd, f->file, &f->b);
	}
	if (err)
		snprintf(f->reason, 200, "the delta beside it cannot be applied: %s",
			 strerror(-err));
	return err;
}

/* ---- its record ---- */

static void choose_state(struct pair_record *r, bool whole)
{
	bool async = r->mode == MODE_ASYNCHRONOUS;

	/* What was not flushed when it died may have come in any order. */
	whole = whole && !r->at_flush;
	r->first = r->moves = r->diverged = r->back = r->restores = r->verifies = false;
	r->rewritten = false;
	r->whole = whole && !async;
	r->steady = whole && async;
	r->written = r->written || (async && !whole);
	r->shows = 0;
	if (r->copy_state == COPY_UNSYNCHRONIZED && whole)
		r->copy_state = COPY_SYNCHRONIZED;
	/* What was said last may be of before it became half. */
	if (!whole && (r->copy_state == COPY_SYNCHRONIZED || r->copy_state == COPY_SPLIT ||
		       r->copy_state == COPY_FRACTURED))
		r->copy_state = COPY_UNSYNCHRONIZED;
}

static void choose_name(struct pairs *ps, struct pair_record *r)
{
	char stem[sizeof(r->name)];

	snprintf(stem, sizeof(stem), "%.*s", (int)sizeof(stem) - 12, r->name);
	for (unsigned n = 1; pairs_have(ps->t, r->name); n++)
		snprintf(r->name, sizeof(r->name), "%.180s-%u", stem, n);
}

/* A disk whose file is nowhere. */
static void describe_source(const struct finding *f, uint32_t number, struct disk_record *r)
{
	*r = (struct disk_record){ .number = number, .gone = true, .notes = number };
	getrandom(r->id, sizeof(r->id), 0);
	r->id[6] = (r->id[6] & 0x0f) | 0x40;
	r->id[8] = (r->id[8] & 0x3f) | 0x80;
	r->identity.len = 24; /* no file system's */
	memcpy(r->identity.bytes, "missing ", 8);
	getrandom(r->identity.bytes + 8, 16, 0);
	snprintf(r->file_name, sizeof(r->file_name), "%s", f->b.source);
}

static int record(struct finding *f, struct pair **out)
{
	struct pair_record r = f->b.pair;
	struct disk_record source;
	struct catalogue_txn *txn;
	struct marks *marks = NULL;
	int err;

	choose_state(&r, f->b.holds == BESIDE_WHOLE);
	choose_name(f->ps, &r);
	r.target = f->target->number;
	err = catalogue_begin(f->ps->t->catalogue, &txn);
	if (err)
		return err;
	err = catalogue_new_number(txn, &r.source) ?: catalogue_new_number(txn, &r.number);
	if (!err)
		err = pair_make_marks(f->ps, r.number, disk_size(f->target),
				      r.copy_state == COPY_BROKEN, &marks);
	if (!err)
		err = pair_new(f->ps, &r, marks, out);
	if (err) {
		catalogue_abort(txn);
		marks_close(marks);
		return err;
	}
	describe_source(f, r.source, &source);
	catalogue_put_disk(txn, &source);
	pair_put(txn, &r);
	err = catalogue_commit(txn);
	if (err)
		(*out)->gone = true;
	return err;
}

/* ---- finding ---- */

static void tell(struct finding *f, bool found, const char *what)
{
	char object[DISK_LABEL_MAX + 8], name[4 * sizeof(f->b.pair.name)], word[400];

	events_emit(f->ps->t->events, EVENT_WARNING, found ? "ReplicaFound" : "ReplicaIgnored",
		    disk_object(f->target, object, sizeof(object)), "Replica=%s Reason=%s",
		    event_word(name, sizeof(name), f->b.pair.name[0] ? f->b.pair.name : "-"),
		    event_word(word, sizeof(word), what));
}

/* It was on its way to a generation that is shorter. */
static bool is_cut(struct finding *f)
{
	struct delta_head head;
	int fd = f->b.holds == BESIDE_WHOLE ? open_delta(f, &head) : -ENOENT;

	if (fd >= 0)
		close(fd);
	return fd >= 0 && disk_size(f->target) >= head.size;
}

/* NULL: it is the mirror's. */
static const char *misfit(struct finding *f)
{
	if (!identity_equal(&f->b.image, &f->target->identity))
		return "it is of another file";
	if (disk_size(f->target) < f->b.size && !is_cut(f))
		return "the image is shorter than it was";
	return NULL;
}

static bool has_delta(int dirfd, const char *file, const char *ending)
{
	char name[NAME_MAX + 1];
	bool has;
	int fd;

	beside_name(file, ending, name);
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return false;
	has = delta_is_one(fd);
	close(fd);
	return has;
}

/* By a mirror that is gone. Without what it goes on from a delta is nobody's. */
static void remove_kept(struct pairs *ps, int dirfd, const char *file)
{
	struct beside b;
	int err = beside_read(dirfd, file, &b);

	if (!err && is_ours(ps, &b))
		beside_remove(dirfd, file);
	else if (err == -ENOENT &&
		 (has_delta(dirfd, file, BESIDE_DELTA) || has_delta(dirfd, file, BESIDE_DELTA_NEW)))
		beside_drop_delta(dirfd, file);
}

/* One of a pool that has no mirror any more: what was kept could not be removed then. */
static void clean_up(struct finding *f)
{
	for (struct pair *p = NULL; (p = pairs_after(f->ps, p));)
		if (p->leg.target == f->target->number && !pair_is_gone(p))
			return;
	remove_kept(f->ps, f->dirfd, f->file);
}

/* ---- what is beside nothing ---- */

/* It may come back, with its mirror: what is kept beside it is needed then. */
static bool is_a_target(struct tandem *t, const struct pool *p, const char *file)
{
	for (struct pair *pair = NULL; (pair = pairs_after(t->pairs, pair));) {
		struct disk_record r;

		if (pair_is_gone(pair))
			continue;
		if (catalogue_disk_by_number(t->catalogue, pair->leg.target, &r))
			return true; /* nobody knows */
		name_whole(r.file_name, r.file_name);
		if (r.pool == p->number && !strcmp(r.file_name, file))
			return true;
	}
	return false;
}

static void look_at_kept(struct tandem *t, struct pool *p, const char *name)
{
	char file[NAME_MAX + 1];
	struct stat st;

	if (!beside_is_of(name, file) || !fstatat(p->dirfd, file, &st, AT_SYMLINK_NOFOLLOW) ||
	    errno != ENOENT || is_a_target(t, p, file))
		return;
	remove_kept(t->pairs, p->dirfd, file);
}

void pairs_clean_pool(struct tandem *t, struct pool *p)
{
	struct dirent *e;
	DIR *dir;
	int fd;

	if (!t->pairs || !p->number || p->dirfd < 0 || t->read_only)
		return;
	fd = openat(p->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir && fd >= 0)
		close(fd);
	while (dir && (e = readdir(dir)))
		look_at_kept(t, p, e->d_name);
	if (dir)
		closedir(dir);
}

/* ---- taking over ---- */

static int take(struct finding *f, bool *found)
{
	struct pair *p;
	int err;

	memcpy(f->b.owner, f->ps->owner, BESIDE_OWNER);
	err = beside_write(f->dirfd, f->file, &f->b);
	if (err) { /* nobody has changed anything */
		tell(f, false, strerror(-err));
		return 0;
	}
	err = f->b.holds == BESIDE_WHOLE && f->b.pair.mode == MODE_ASYNCHRONOUS ? bring_up(f) : 0;
	if (!err) {
		err = record(f, &p);
		if (err)
			snprintf(f->reason, 200, "its mirror cannot be recorded: %s",
				 strerror(-err));
	}
	if (err)
		return err;
	beside_drop_delta(f->dirfd, f->file);
	tell(f, true,
	     f->b.holds == BESIDE_WHOLE
		     ? "its source may have answered writes later than SyncTime tells"
		     : "it is in the middle of a copy");
	*found = true;
	if (f->ps->t->serving)
		keeper_start(p);
	return 0;
}

int pairs_find(struct disk *d, bool *found, char reason[200])
{
	struct finding f = {
		.ps = d->tandem->pairs,
		.target = d,
		.file = d->file_name,
		.dirfd = d->pool->dirfd,
		.reason = reason,
	};
	const char *why;
	int err;

	if (f.ps && d->pool->number && f.dirfd >= 0 && !d->tandem->read_only)
		clean_up(&f);
	if (!f.ps || d->pool->number || !d->image || !d->identity.len || d->tandem->read_only ||
	    d->image->read_only || d->want_read_only || disk_is_paired(d))
		return 0;
	err = beside_read(f.dirfd, f.file, &f.b);
	if (err == -ENOENT || (!err && f.b.holds == BESIDE_TAKEN))
		return 0;
	why = err == -EPROTO ? "it is of a newer version"
	      : err          ? "what is beside it cannot be read"
			     : misfit(&f);
	if (!why)
		return take(&f, found);
	tell(&f, false, why);
	return 0;
}

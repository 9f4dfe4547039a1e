// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Finding images. What probe.c says of a file, and its identity, tell what it
 * is: a listed disk that was renamed, a recorded one that came back, or new.
 */
#include "scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beside.h"
#include "clones.h"
#include "names.h"
#include "groups.h"
#include "notes.h"
#include "pairs.h"
#include "probe.h"
#include "snapshots.h"
#include "watch.h"

#define FAILED_BEFORE \
	"a flush failed before the last stop: what was written since the one before it is in doubt"

#define CHANGED_WITH_PAST \
	"another program changed the image: its snapshots and moments do not fit it"

/* The disks that one pass found; they are listed once the catalogue has them. */
struct batch {
	struct tandem *t;
	enum scan_hint hint;
	struct disk **added;
	size_t count, room;
	int err;            /* what was found before could not be recorded */
	bool other_parents; /* of a disk that cannot be used, and was listed before */
	/* See scan_new. */
	int (*record)(void *arg, struct catalogue_txn *txn, struct disk *d);
	void *arg;
};

/* ---- the batch ---- */

static int put_record(struct tandem *t, const struct disk_record *r)
{
	struct catalogue_txn *txn;
	int err = tandem_txn(t, &txn);

	return err ? err : catalogue_put_disk(txn, r);
}

/* Of an image that cannot be used it is what was known of it. */
static uint64_t guest_bytes_of(struct disk *d)
{
	const char *kind;

	pthread_mutex_lock(&d->lock);
	kind = d->about.kind;
	pthread_mutex_unlock(&d->lock);
	if (!identity_is_for_good(&d->identity))
		return 0; /* it would be believed of another file */
	return d->image ? image_guest_bytes(kind, d->image->size) : d->guest_bytes;
}

void scan_record(struct disk *d, struct disk_record *r)
{
	memset(r, 0, sizeof(*r));
	r->number = d->number;
	memcpy(r->id, d->id, sizeof(r->id));
	r->pool = d->pool->number;
	r->read_only = d->want_read_only;
	/* What is in doubt because of notes is found anew each time. */
	r->failed = atomic_load(&d->broken_flush) && !(d->image && d->image->in_doubt);
	r->changed = d->state == DISK_CHANGED && disk_has_past(d);
	r->identity = d->identity;
	memcpy(r->file_name, d->file_name, sizeof(r->file_name));
	memcpy(r->mount_name, d->kept_name.name, sizeof(r->mount_name));
	r->mount_pool = d->kept_name.pool;
	r->notes = d->notes;
	r->guest_bytes = guest_bytes_of(d);
}

static void make_uuid(uint8_t id[16])
{
	if (getrandom(id, 16, 0) != 16)
		abort(); /* cannot fail for 16 bytes once the kernel is up */
	id[6] = (id[6] & 0x0f) | 0x40;
	id[8] = (id[8] & 0x3f) | 0x80;
}

static int batch_keep(struct batch *b, struct disk *d)
{
	if (b->count == b->room) {
		size_t room = b->room ? 2 * b->room : 16;
		struct disk **more = realloc(b->added, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		b->added = more;
		b->room = room;
	}
	b->added[b->count++] = d;
	return 0;
}

static void announce_warning(struct tandem *t, struct disk *d)
{
	char object[DISK_LABEL_MAX + 8], word[4 * sizeof(d->about.warning)];
	char warning[sizeof(d->about.warning)];

	pthread_mutex_lock(&d->lock);
	memcpy(warning, d->about.warning, sizeof(warning));
	pthread_mutex_unlock(&d->lock);
	if (warning[0])
		events_emit(t->events, EVENT_WARNING, "DiskWarning",
			    disk_object(d, object, sizeof(object)), "Reason=%s",
			    event_word(word, sizeof(word), warning));
}

void scan_announce(struct tandem *t, struct disk *d)
{
	char object[DISK_LABEL_MAX + 8], word[4 * sizeof(d->reason)];

	events_emit(t->events, EVENT_INFORMATION, "DiskAdded",
		    disk_object(d, object, sizeof(object)), "State=%s Size=%llu%s%s",
		    disk_state_name(d->state), (unsigned long long)disk_size(d),
		    d->reason[0] ? " Reason=" : "", event_word(word, sizeof(word), d->reason));
	announce_warning(t, d);
}

/* With no transaction open. What it cannot be given back is said in its state. */
static void attach(struct tandem *t, struct disk *d, bool *found)
{
	char reason[sizeof(d->reason)];

	int err = snapshots_attach(t, d, reason) ?: pairs_find(d, found, reason);

	if (!err) {
		err = (d->changed_unseen ? pairs_changed(d) : 0) ?: pairs_attach(d);
		snprintf(reason, sizeof(reason), "what its mirrors lack cannot be marked: %s",
			 strerror(-err));
	}
	if (!err)
		return;
	d->state = DISK_FAILED;
	snprintf(d->reason, sizeof(d->reason), "%s", reason);
}

/* What its mirrors know of it does not fit what others wrote; before anybody is told of that. */
static void tell_pairs(struct batch *b, struct disk *d)
{
	if (!disk_is_paired(d))
		return;
	/* They have transactions of their own. */
	b->err = tandem_commit(b->t) ?: b->err;
	pairs_changed(d); /* one that cannot be told is Broken */
}

/* Whether disks came that can be used. */
static bool batch_finish(struct batch *b, int *result)
{
	int err = tandem_commit(b->t) ?: b->err;
	bool usable = false, found = false;

	for (size_t i = 0; i < b->count; i++) {
		struct disk *d = b->added[i];

		if (!err) {
			attach(b->t, d, &found);
			err = tandem_list_disk(b->t, d);
		}
		if (!err)
			scan_announce(b->t, d);
		if (!err && b->t->serving) /* at the start it is done after all pools */
			snapshots_resume(d);
		usable |= !err; /* also one that is not: then the reason is another */
		disk_unref(d);
	}
	free(b->added);
	if (b->count || b->other_parents)
		parents_settle(b->t);
	if (found && b->t->serving) /* at the start it is done after all pools */
		scan_missing(b->t);
	if (err)
		events_emit(b->t->events, EVENT_MAJOR, "CatalogueFailed", "daemon", "Error=%d",
			    -err);
	*result = err;
	return usable;
}

/* ---- what a name means now ---- */

/*
 * Was it changed while we did not look? Only a clean stop left something to compare with, until
 * the image is looked at again: a Missing one may come back much later.
 */
static bool changed_since_stop(const struct disk_record *r, const struct found *f)
{
	if (r->gone || !r->stopped.mtime.tv_sec)
		return false;
	return (uint64_t)f->st.st_size != r->stopped.size ||
	       f->st.st_mtim.tv_sec != r->stopped.mtime.tv_sec ||
	       f->st.st_mtim.tv_nsec != r->stopped.mtime.tv_nsec;
}

static void compare_with_stop(struct batch *b, struct disk *d, const struct disk_record *r,
			      const struct found *f)
{
	char object[DISK_LABEL_MAX + 8];
	bool taken = pairs_were_taken(b->t, r->number, &f->identity, d->pool, d->file_name);
	bool changed = taken || changed_since_stop(r, f), past = disk_has_past(d);
	bool paired = disk_is_paired(d);

	d->changed_unseen = changed && paired;
	d->closed_late = !b->t->was_clean && !b->t->serving;
	if (changed && (past || paired || b->hint == SCAN_STARTUP))
		events_emit(b->t->events, EVENT_WARNING, "DiskChanged",
			    disk_object(d, object, sizeof(object)), "While=stopped Size=%llu",
			    (unsigned long long)f->st.st_size);
	if (d->image && past && (changed || r->changed)) {
		d->state = DISK_CHANGED;
		snprintf(d->reason, sizeof(d->reason), "%s", CHANGED_WITH_PAST);
	}
}

/* What is recorded of the file, or a number for a new one; *known tells which. */
static int find_record(struct batch *b, const struct found *f, struct disk_record *r, bool *known)
{
	struct catalogue_txn *txn;
	int err = catalogue_disk_by_identity(b->t->catalogue, &f->identity, r);

	*known = !err;
	if (err != -ENOENT)
		return err;
	memset(r, 0, sizeof(*r));
	make_uuid(r->id);
	err = tandem_txn(b->t, &txn);
	err = err ?: catalogue_new_number(txn, &r->number);
	r->notes = r->number;
	return err;
}

static int add_disk(struct batch *b, struct pool *p, const char *name, struct found *f,
		    const struct disk_record *record, bool known)
{
	struct disk_record r = *record, now;
	struct disk *d;
	int err = disk_new(b->t, p, name, r.number, r.id, f->image, &d);

	if (err)
		return err;
	f->image = NULL;
	disk_keep_name(d, r.mount_pool, r.mount_name);
	disk_set_names(d, name);
	d->identity = f->identity;
	d->notes = r.notes;
	d->guest_bytes = r.guest_bytes;
	d->want_read_only = r.read_only;
	d->written_elsewhere = f->written_elsewhere;
	d->awaits_parent = f->awaits_parent;
	d->state = f->state == DISK_READY && r.read_only ? DISK_READ_ONLY : f->state;
	snprintf(d->reason, sizeof(d->reason), "%s", f->reason);
	d->known.dev = f->st.st_dev;
	d->known.ino = f->st.st_ino;
	disk_know(d);
	if (!d->image) {
		d->about.ancestry = f->ancestry;
		d->known.size = f->st.st_size;
		d->known.mtime = f->st.st_mtim;
		d->known.ctime = f->st.st_ctim;
	}
	if (d->image) {
		disk_describe(d, f->warning);
		disk_asked(d);
	}
	if (known)
		compare_with_stop(b, d, &r, f);
	if (d->image && ((known && r.failed) || d->image->in_doubt)) {
		atomic_store(&d->broken_flush, true);
		d->state = DISK_FAILED;
		snprintf(d->reason, sizeof(d->reason), "%s",
			 d->image->in_doubt ? d->image->complaint : FAILED_BEFORE);
	}
	if (b->record)
		err = b->record(b->arg, b->t->txn, d);
	scan_record(d, &now);
	/* What cannot be known again is not remembered. */
	if (!err && d->identity.len &&
	    (!known || r.gone || r.failed != now.failed || r.changed != now.changed ||
	     r.pool != now.pool || strcmp(r.file_name, now.file_name) || r.stopped.mtime.tv_sec ||
	     r.guest_bytes != now.guest_bytes))
		err = put_record(b->t, &now);
	if (!err)
		d->guest_bytes = now.guest_bytes;
	if (!err)
		err = batch_keep(b, d);
	if (err)
		disk_unref(d);
	return err;
}

static void renamed(struct batch *b, struct disk *d, const char *name)
{
	char object[DISK_LABEL_MAX + 8], from[4 * NAME_MAX + 1];
	struct disk_record r;
	bool back = disk_state(d) == DISK_MISSING;

	beside_rename(d->pool->dirfd, d->file_name, name);

	event_word(from, sizeof(from), d->file_name);
	atomic_store(&d->lost, false);
	if (back)
		disk_set_state(d, disk_natural_state(d), "");
	tandem_rename_listed(b->t, d, name); /* its name may be taken by now */
	events_emit(b->t->events, EVENT_INFORMATION, "DiskRenamed",
		    disk_object(d, object, sizeof(object)), "From=%s", from);
	scan_record(d, &r);
	put_record(b->t, &r);
	tandem_changed(b->t, d);
}

static bool same_file(struct disk *d, const struct stat *st)
{
	/* An inode that we hold open is not given to another file. */
	return disk_known(d).ino == (uint64_t)st->st_ino;
}

static bool same_times(struct disk *d, const struct stat *st)
{
	struct file_stat known = disk_known(d);

	return known.size == (uint64_t)st->st_size && known.mtime.tv_sec == st->st_mtim.tv_sec &&
	       known.mtime.tv_nsec == st->st_mtim.tv_nsec;
}

/*
 * Did somebody else change an image that we have open? Asked anew, and in this
 * order: our own writes raise `begun` before they touch the file, and the size
 * after.
 */
static bool changed_by_others(struct disk *d, enum scan_hint hint)
{
	uint64_t size = d->image->size, known_begun;
	struct file_stat st, known;

	/* The program that writes it for us closes it too, and keeps others out. */
	if (d->format->locks_itself && disk_is_open(d))
		return false;
	if (d->image->file->ops->stat(d->image->file, &st))
		return false;
	if (d->format->flat && st.size < size)
		return true;
	/* Nobody writes through us, so it grew without us. */
	if (d->format->flat && st.size != size && !disk_is_open(d))
		return true;
	pthread_mutex_lock(&d->lock);
	known = d->known;
	known_begun = d->known_begun;
	pthread_mutex_unlock(&d->lock);
	/* It is being opened or closed just now. */
	if (d->format->locks_itself && known_begun != atomic_load(&d->begun))
		return false;
	if (known_begun == atomic_load(&d->begun))
		return known.size != st.size || known.mtime.tv_sec != st.mtime.tv_sec ||
		       known.mtime.tv_nsec != st.mtime.tv_nsec;
	/*
	 * We write it too, so its time tells nothing; that somebody closed it does, unless
	 * it was found and taken by whoever opened the disk since.
	 */
	return hint == SCAN_CLOSED && !watch_is_own_close(d->tandem->watch, d->pool, d->file_name);
}

/* Under opening, of an image that nobody uses. Whether libvhdi has something new to say. */
static bool ask_witness(struct disk *d)
{
	char was[IMAGE_REASON], opinion[IMAGE_REASON];

	pthread_mutex_lock(&d->lock);
	memcpy(was, d->about.opinion, sizeof(was));
	pthread_mutex_unlock(&d->lock);
	atomic_store(&d->unasked, false);
	probe_witness(d->image, opinion);
	disk_describe(d, opinion);
	return strcmp(opinion, was) != 0;
}

static void ask_again(struct tandem *t, struct disk *d)
{
	bool news = false, asked = false;

	if (!d->image || !atomic_load(&d->unasked))
		return;
	/* Who has it may wait for the image, and closes it then. */
	if (pthread_mutex_trylock(&d->opening))
		return;
	if (!disk_is_open(d)) {
		news = ask_witness(d);
		disk_asked(d);
		asked = true;
	}
	pthread_mutex_unlock(&d->opening);
	if (news)
		announce_warning(t, d);
	if (asked)
		tandem_changed(t, d);
}

int scan_reload(struct tandem *t, struct disk *d)
{
	bool news = false;
	char reason[IMAGE_REASON];
	struct range whole;
	int err = 0;

	pthread_mutex_lock(&d->opening);
	/* A write that grows it must not come between looking and setting. */
	range_lock_write(&d->ranges, &whole, 0, UINT64_MAX);
	/* Somebody opened it just now; disk_open() looked whether it was changed. */
	if (!d->format->flat && disk_is_open(d))
		err = -EALREADY;
	if (!err && d->image->in_doubt) /* it is taken as it is: what does not fit goes */
		err = notes_clear(d->image->notes);
	if (!err)
		err = image_reload(d->image, reason);
	if (!err && !d->image->read_only && d->image->notes && notes_exist(d->image->notes))
		err = image_complete(d->image, reason);
	if (!err)
		news = ask_witness(d);
	range_unlock(&d->ranges, &whole);
	pthread_mutex_unlock(&d->opening);
	if (err)
		return err;
	disk_know(d);
	disk_asked(d);
	disk_reloaded(d);
	tandem_serve_again(t, d);
	if (news)
		announce_warning(t, d);
	watch_poke(t->watch); /* to record what it is now */
	parents_settle(t);    /* which has a reason of its own for ReadOnly */
	tandem_changed(t, d);
	return 0;
}

/*
 * Somebody else may have changed an image that we have open. Returns whether
 * it must be looked at as a new one, because it does not verify any more.
 */
static bool take_changes(struct batch *b, struct disk *d, const struct stat *st)
{
	char object[DISK_LABEL_MAX + 8];
	bool open = disk_is_open(d);
	int err;

	if ((disk_state(d) == DISK_CHANGED && (open || disk_has_past(d))) ||
	    disk_state(d) == DISK_FAILED || !changed_by_others(d, b->hint))
		return false;
	tell_pairs(b, d);
	if (disk_has_past(d)) {
		disk_is_changed(d, open ? "open" : "closed", st->st_size);
		return false;
	}
	events_emit(b->t->events, EVENT_WARNING, "DiskChanged",
		    disk_object(d, object, sizeof(object)), "While=%s Size=%llu",
		    open ? "open" : "closed", (unsigned long long)st->st_size);
	if (open) {
		disk_set_state(d, DISK_CHANGED,
			       "another program changed the image while it was open");
		watch_poke(b->t->watch); /* its mirror may have closed it by now */
		return false;
	}
	/* Nothing depends on the old content: the image is taken as it is now. */
	err = scan_reload(b->t, d);
	if (!err || err == -EALREADY)
		return false;
	tandem_unlist_disk(b->t, d);
	return true;
}

/*
 * A listed disk has this identity under another name. Returns whether that
 * settles it. Before anything else is asked of the file, since we have it open
 * ourselves.
 */
static bool settle_moved(struct batch *b, struct pool *p, const char *name,
			 const struct image_name *kind, struct found *f)
{
	struct disk_record r;
	struct disk *d;
	bool settled = true;

	if (catalogue_disk_by_identity(b->t->catalogue, &f->identity, &r))
		return false;
	d = tandem_disk_numbered(b->t, r.number);
	if (!d)
		return false;
	if (d->pool == p && d->image && f->st.st_nlink == 1 && kind->format == d->format) {
		renamed(b, d, name);
		take_changes(b, d, &f->st);
	} else if (!disk_is_open(d)) {
		tandem_unlist_disk(b->t, d);
		settled = false;
	} /* else: to another pool while open; looked at again when it is closed */
	disk_unref(d);
	return settled;
}

/* A file that is incomplete by itself is a disk only with what the catalogue has of it. */
static bool is_known_incomplete(struct tandem *t, const struct found *f)
{
	struct origin_record o;
	struct disk_record r;

	return !catalogue_disk_by_identity(t->catalogue, &f->identity, &r) &&
	       (!origin_get(t->catalogue, r.number, &o) || pairs_fill(t, r.number));
}

static void probe(struct batch *b, struct pool *p, const char *name, const struct image_name *kind,
		  int fd, const struct disk_record *r, struct found *f)
{
	char reason[200];

	if (b->record || clone_has_source(b->t, r->number, reason)) {
		probe_file(b->t, p, name, kind, fd, r, f);
	} else {
		probe_invalid(f, reason);
		f->awaits_parent = true;
	}
}

/* was: the disk that this file is already, which could not be used; or NULL. */
static int find_new(struct batch *b, struct pool *p, const char *name,
		    const struct image_name *kind, const struct stat *st, struct disk *was)
{
	struct found f = { .st = *st };
	char whole[NAME_MAX + 1];
	struct disk_record r;
	bool known;
	int err = 0, fd;

	fd = openat(p->dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &f.st)) {
		close(fd);
		fd = -1;
	}
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		probe_invalid(&f, strerror(errno));
	else if (!S_ISREG(f.st.st_mode))
		goto out;
	else if (f.st.st_nlink == 1)
		identity_of(fd, &f.identity); /* of two links, each is shown for itself */
	if (name_whole(name, whole) && !b->record && !is_known_incomplete(b->t, &f))
		goto out;
	if (!was && settle_moved(b, p, name, kind, &f))
		goto out;
	err = find_record(b, &f, &r, &known);
	if (err)
		goto out;
	if (fd >= 0)
		probe(b, p, name, kind, fd, &r, &f);
	if (was && !f.image && !strcmp(was->reason, f.reason)) {
		/* Nothing new to say; but our own close of it is no reason to look again. */
		pthread_mutex_lock(&was->lock);
		was->known.size = f.st.st_size;
		was->known.mtime = f.st.st_mtim;
		was->known.ctime = f.st.st_ctim;
		b->other_parents |= memcmp(&was->about.ancestry, &f.ancestry, sizeof(f.ancestry));
		was->about.ancestry = f.ancestry;
		was->awaits_parent = f.awaits_parent;
		pthread_mutex_unlock(&was->lock);
		goto out;
	}
	if (was)
		tandem_unlist_disk(b->t, was);
	err = add_disk(b, p, name, &f, &r, known);
out:
	image_close(f.image);
	if (fd >= 0)
		close(fd);
	return err;
}

/* Another image has the name now; who has the old one open keeps it under a name of its own. */
static void give_up_name(struct tandem *t, struct disk *d)
{
	char name[NAME_MAX + 1];

	if (disk_state(d) != DISK_MISSING)
		return;
	snprintf(name, sizeof(name), "%.*s.gone-%u", NAME_MAX - 20, d->file_name, d->number);
	tandem_rename_listed(t, d, name);
}

/* Listed under this name already. Returns whether the file is to be looked at as a new one. */
static bool look_again(struct batch *b, struct disk *d, const struct stat *st)
{
	if (!same_file(d, st)) {
		scan_vanished(b->t, d);
		give_up_name(b->t, d);
		return true;
	}
	if (!d->image) {
		/* It could not be used; is there a reason to think that it can be now? */
		return !same_times(d, st) || d->written_elsewhere || b->hint != SCAN_CLOSED;
	}
	if (st->st_nlink > 1 && !disk_is_open(d)) {
		tandem_unlist_disk(b->t, d);
		return true;
	}
	if (disk_state(d) == DISK_MISSING)
		renamed(b, d, d->file_name);
	return take_changes(b, d, st);
}

static int look(struct batch *b, struct pool *p, const char *name);

/* The disks that are, or were, the same file under another name: that changes what they are. */
static void look_at_links(struct batch *b, struct pool *p, uint64_t ino, bool usable)
{
	size_t count;
	struct disk **disks = tandem_disks(b->t, &count);
	char name[NAME_MAX + 1];

	for (size_t i = 0; i < count; i++) {
		struct disk *d = disks[i];

		if (d->pool != p || disk_known(d).ino != ino || !d->image == usable)
			continue;
		memcpy(name, d->file_name, sizeof(name));
		look(b, p, name);
	}
	disks_free(disks, count);
}

/* A clone that is not listed yet is to have this name. */
static bool is_reserved(struct batch *b, struct pool *p, const char *name)
{
	char incomplete[NAME_MAX + sizeof(INCOMPLETE)];
	struct found f = { 0 };
	int fd;

	snprintf(incomplete, sizeof(incomplete), "%s" INCOMPLETE, name);
	fd = openat(p->dirfd, incomplete,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (!fstat(fd, &f.st) && S_ISREG(f.st.st_mode) && f.st.st_nlink == 1)
		identity_of(fd, &f.identity);
	close(fd);
	return f.identity.len && is_known_incomplete(b->t, &f);
}

/*
 * FILE and FILE.incomplete would be one disk: the first that was there is, unless it is this very
 * file.
 */
static bool is_of_another(struct batch *b, struct pool *p, const char *name, struct disk *d)
{
	char whole[NAME_MAX + 1];
	bool incomplete = name_whole(name, whole);
	struct stat st;

	if (!d)
		return !incomplete && is_reserved(b, p, name);
	if (!strcmp(d->file_name, name))
		return false;
	return fstatat(p->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) || st.st_nlink > 1 ||
	       !same_file(d, &st);
}

/* Found in this pass already, as another name of a file: it is not listed yet. */
static bool is_added(const struct batch *b, const struct pool *p, const char *name)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->added[i]->pool == p && !strcmp(b->added[i]->file_name, name))
			return true;
	return false;
}

static int look(struct batch *b, struct pool *p, const char *name)
{
	char whole[NAME_MAX + 1];
	bool fresh = true, there, missing, moved;
	struct image_name kind = { 0 };
	struct disk *d = tandem_disk_of_file(b->t, p, name);
	struct stat st;
	int err = 0;

	name_whole(name, whole);
	kind = image_name_classify(whole);
	if (!kind.format || is_of_another(b, p, name, d))
		goto out;
	moved = d && strcmp(d->file_name, name);
	there = !fstatat(p->dirfd, name, &st, AT_SYMLINK_NOFOLLOW);
	if (!there && errno != ENOENT)
		goto out; /* not known: nobody loses a disk for that */
	if (!there || !S_ISREG(st.st_mode) ||
	    (kind.needs_sectors && !d && (st.st_size == 0 || st.st_size % 512))) {
		/* One that is kept nevertheless was looked at when it went. */
		missing = d && disk_state(d) == DISK_MISSING;
		if (d)
			scan_vanished(b->t, d);
		if (d && !d->image && !missing)
			look_at_links(b, p, disk_known(d).ino, false);
		goto out;
	}
	if (!d && st.st_nlink > 1 && is_added(b, p, name))
		goto out;
	if (d && !moved)
		fresh = look_again(b, d, &st);
	if (fresh)
		err = find_new(b, p, name, &kind, &st,
			       d && !moved && d->listed && !d->image ? d : NULL);
	if (fresh && st.st_nlink > 1)
		look_at_links(b, p, st.st_ino, true);
out:
	disk_unref(d);
	return err;
}

/* Disks that could not be used without a parent: what came may be it. */
static void look_at_orphans(struct tandem *t)
{
	struct batch b = { .t = t, .hint = SCAN_LOOK };
	size_t count;
	struct disk **disks = tandem_disks(t, &count);
	char name[NAME_MAX + 1];
	int err;

	for (size_t i = 0; i < count; i++)
		if (disks[i]->awaits_parent && !disks[i]->image) {
			memcpy(name, disks[i]->file_name, sizeof(name));
			look(&b, disks[i]->pool, name);
		}
	disks_free(disks, count);
	/* One of them may be what another one waits for. */
	if (batch_finish(&b, &err))
		look_at_orphans(t);
}

static int scan_one(struct batch *b, struct pool *p, const char *name)
{
	int err, last;

	if (p->dirfd < 0)
		return 0;
	err = look(b, p, name);
	if (batch_finish(b, &last))
		look_at_orphans(b->t);
	pool_sample(p);
	return err ? err : last;
}

int scan_name(struct tandem *t, struct pool *p, const char *name, enum scan_hint hint)
{
	struct batch b = { .t = t, .hint = hint };

	return scan_one(&b, p, name);
}

int scan_new(struct tandem *t, struct pool *p, const char *name,
	     int (*record)(void *arg, struct catalogue_txn *txn, struct disk *d), void *arg)
{
	struct batch b = { .t = t, .hint = SCAN_LOOK, .record = record, .arg = arg };

	return scan_one(&b, p, name);
}

/* Those whose files were not met. Each costs one stat. */
static void drop_missing(struct tandem *t, struct pool *p)
{
	size_t count;
	struct disk **disks = tandem_disks(t, &count);
	struct stat st;

	for (size_t i = 0; i < count; i++) {
		struct disk *d = disks[i];

		if (d->pool == p && disk_state(d) != DISK_MISSING &&
		    fstatat(p->dirfd, d->file_name, &st, AT_SYMLINK_NOFOLLOW) && errno == ENOENT)
			scan_vanished(t, d);
	}
	disks_free(disks, count);
}

/* incomplete: those that are so by themselves, which need others; else all but them. */
static int look_at_names(struct batch *b, struct pool *p, DIR *dir, bool incomplete)
{
	char whole[NAME_MAX + 1];
	struct dirent *e;
	int err = 0;

	rewinddir(dir);
	while (!err && (e = readdir(dir)))
		if (name_whole(e->d_name, whole) == incomplete)
			err = look(b, p, e->d_name);
	return err;
}

static int scan_directory(struct tandem *t, struct pool *p, enum scan_hint hint, DIR *dir)
{
	int err = 0, last = 0;

	for (int pass = 0; pass < 2 && !err && !last; pass++) {
		struct batch b = { .t = t, .hint = hint };

		err = look_at_names(&b, p, dir, pass);
		/* After the names, so that a renamed one was found under its new name. */
		if (!err && pass)
			drop_missing(t, p);
		if (batch_finish(&b, &last))
			look_at_orphans(t);
	}
	pool_sample(p);
	return err ? err : last;
}

int scan_pool(struct tandem *t, struct pool *p, enum scan_hint hint)
{
	int err, fd;
	DIR *dir;

	if (p->dirfd < 0)
		return 0;
	fd = openat(p->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	err = scan_directory(t, p, hint, dir);
	closedir(dir);
	if (!err)
		pairs_clean_pool(t, p);
	return err;
}

/* ---- disks that go ---- */

static void record_gone(struct tandem *t, struct disk *d)
{
	struct disk_record r;

	if (!d->identity.len)
		return;
	scan_record(d, &r);
	r.gone = true;
	put_record(t, &r);
}

static void remove_disk(struct tandem *t, struct disk *d)
{
	char object[DISK_LABEL_MAX + 8];

	tandem_unlist_disk(t, d);
	parents_settle(t);
	record_gone(t, d);
	events_emit(t->events, EVENT_INFORMATION, "DiskRemoved",
		    disk_object(d, object, sizeof(object)), "%s", "");
}

void scan_vanished(struct tandem *t, struct disk *d)
{
	bool open, needed, past = disk_has_past(d), member = groups_have(t, d->number);
	bool source = disk_is_mirrored(d), paired = disk_is_paired(d);

	/* Not opened again from here on, or kept by who has it open, is built upon it, by its
	 * own past, or by a group. */
	pthread_mutex_lock(&d->lock);
	open = d->openers > 0;
	needed = open || past || paired || member || d->kept_name.known ||
		 atomic_load(&d->children);
	if (!needed)
		d->listed = false;
	pthread_mutex_unlock(&d->lock);
	if (!needed) {
		remove_disk(t, d);
		return;
	}
	if (disk_state(d) == DISK_MISSING)
		return;
	/* What is written to a file without a name is lost with its last descriptor. */
	atomic_store(&d->lost, true);
	disk_set_state(
		d, DISK_MISSING,
		open     ? "the image is gone from its directory while it is open"
		: source ? MISSING_SOURCE
		: past   ? MISSING_WITH_PAST
		: paired ? MISSING_TARGET
		: member ? MISSING_MEMBER
		: disk_keeps_name(d)
			? MISSING_WITH_NAME
			: "the image is gone from its directory, and disks are built upon it");
}

/* Failed is remembered: a restart makes nothing certain that was in doubt. */
static void record_failure(struct tandem *t, struct disk *d)
{
	struct disk_record now, was;

	scan_record(d, &now);
	if (!catalogue_disk_by_number(t->catalogue, d->number, &was) && !was.failed)
		put_record(t, &now);
}

/* Nor does one make what was changed fit again. */
static void record_change(struct tandem *t, struct disk *d)
{
	struct disk_record now, was;

	scan_record(d, &now);
	if (!catalogue_disk_by_number(t->catalogue, d->number, &was) && !was.changed)
		put_record(t, &now);
}

/* It grew, or another program made another kind of it. */
static void record_guest_bytes(struct tandem *t, struct disk *d)
{
	struct disk_record now;

	if (!d->identity.len || guest_bytes_of(d) == d->guest_bytes)
		return;
	scan_record(d, &now);
	if (!put_record(t, &now) && !tandem_commit(t))
		d->guest_bytes = now.guest_bytes;
}

void scan_settle(struct tandem *t, struct disk *d)
{
	enum disk_state state = disk_state(d);
	struct batch b = { .t = t };
	char name[NAME_MAX + 1];
	int err;

	record_guest_bytes(t, d);
	ask_again(t, d);
	if (state == DISK_FAILED) {
		record_failure(t, d);
	} else if (state == DISK_CHANGED && disk_has_past(d)) {
		record_change(t, d);
	} else if (disk_is_open(d)) {
		return;
	} else if (state == DISK_MISSING) {
		/* It is back, or another is there, or it is gone for good. */
		memcpy(name, d->file_name, sizeof(name));
		look(&b, d->pool, name);
		if (d->listed && disk_state(d) == DISK_MISSING)
			scan_vanished(t, d); /* under a name that no image has */
	} else if (state == DISK_CHANGED) {
		tell_pairs(&b, d); /* whoever changed it may have gone on since */
		err = scan_reload(t, d);
		if (err && err != -EALREADY) {
			memcpy(name, d->file_name, sizeof(name));
			tandem_unlist_disk(t, d);
			look(&b, d->pool, name);
		}
	} else if (d->awaits_parent && !d->image) {
		memcpy(name, d->file_name, sizeof(name));
		look(&b, d->pool, name);
	}
	batch_finish(&b, &err);
}

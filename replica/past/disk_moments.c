// SPDX-License-Identifier: GPL-2.0-or-later
/* Moments: which are kept, what one holds, and what differs between two. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "close_wait.h"
#include "snapshots_inner.h"

/* ---- finding ---- */

struct search {
	uint64_t generation;
	struct moment_record found;
};

static int match(void *arg, const struct moment_record *m)
{
	struct search *s = arg;

	if (m->generation != s->generation || m->dropped)
		return 0;
	s->found = *m;
	return 1;
}

int moment_exactly(struct disk *d, uint64_t generation, struct moment_record *out)
{
	struct history *h = atomic_load(&d->history);
	struct search s = { .generation = generation };
	int err;

	if (h) {
		err = history_moment(h, generation, &s.found);
		if (!err && s.found.generation != generation)
			err = -ENOENT;
	} else {
		err = moments_each(d->tandem->catalogue, d->number, match, &s);
		err = err == 1 ? 0 : err ? err : -ENOENT;
	}
	if (!err)
		*out = s.found;
	return err;
}

static int moment_of_snapshot(struct disk *d, const char *name, struct moment_record *out)
{
	struct snapshot_facts f;
	int err = snapshot_named(d->tandem, d, name, &f);

	if (err)
		return err;
	return f.generation ? moment_exactly(d, f.generation, out) : -ENOENT;
}

int disk_moment(struct disk *d, const struct moment_spec *spec, struct moment_record *out)
{
	struct history *h = atomic_load(&d->history);
	struct tandem *t = d->tandem;
	struct moment_record m = { .generation = UINT64_MAX };
	int err = -ENOENT;

	if (spec->how == MOMENT_NOW) {
		m.size = disk_size(d);
		m.time_ms = t->snapshots ? past_now(t->snapshots) : 0;
		*out = m;
		return 0;
	}
	if (!h || !t->snapshots)
		return -ENOENT;
	if (disk_state(d) == DISK_CHANGED)
		return -ESTALE;
	if (spec->how == MOMENT_SNAPSHOT)
		err = moment_of_snapshot(d, spec->name, &m);
	else if (spec->how == MOMENT_GENERATION && spec->value < atomic_load(&t->generation))
		err = history_moment_seen(h, spec->value, &m);
	else if (spec->how == MOMENT_TIME && spec->value <= past_now(t->snapshots))
		err = history_moment_before(h, spec->value, &m);
	if (!err)
		*out = m;
	return err;
}

/* ---- readers ---- */

static bool is_dropping(struct snapshots *s, uint32_t disk, uint64_t generation)
{
	bool found = false;

	pthread_mutex_lock(&s->dropping_lock);
	for (size_t i = 0; i < s->dropping_count && !found; i++)
		found = s->dropping[i].disk == disk && s->dropping[i].generation == generation;
	pthread_mutex_unlock(&s->dropping_lock);
	return found;
}

int moment_pin(struct disk *d, uint64_t generation)
{
	struct history *h = atomic_load(&d->history);
	int err = h ? history_pin(h, generation) : -ENOENT;

	if (!err && is_dropping(d->tandem->snapshots, d->number, generation)) {
		history_unpin(h, generation);
		err = -ENOENT;
	}
	return err;
}

void moment_unpin(struct disk *d, uint64_t generation)
{
	history_unpin(atomic_load(&d->history), generation);
	collector_wake(d->tandem->snapshots->collector);
}

static int begin_dropping(struct snapshots *s, struct disk *d, uint64_t generation,
			  bool (*in_use)(struct history *h, uint64_t g))
{
	struct history *h = atomic_load(&d->history);
	int err = 0;

	pthread_mutex_lock(&s->dropping_lock);
	if (s->dropping_count == s->dropping_room) {
		size_t room = s->dropping_room ? 2 * s->dropping_room : 16;
		struct dropping *more = realloc(s->dropping, room * sizeof(*more));

		if (more) {
			s->dropping = more;
			s->dropping_room = room;
		} else {
			err = -ENOMEM;
		}
	}
	if (!err)
		s->dropping[s->dropping_count++] = (struct dropping){ d->number, generation };
	pthread_mutex_unlock(&s->dropping_lock);
	if (!err && h && in_use(h, generation)) {
		dropping_end(s, d, generation);
		err = -EBUSY;
	}
	return err;
}

int dropping_begin(struct snapshots *s, struct disk *d, uint64_t generation)
{
	return begin_dropping(s, d, generation, history_is_pinned);
}

int dropping_force(struct snapshots *s, struct disk *d, uint64_t generation)
{
	return begin_dropping(s, d, generation, history_is_needed);
}

void dropping_end(struct snapshots *s, struct disk *d, uint64_t generation)
{
	pthread_mutex_lock(&s->dropping_lock);
	for (size_t i = s->dropping_count; i-- > 0;)
		if (s->dropping[i].disk == d->number && s->dropping[i].generation == generation) {
			s->dropping[i] = s->dropping[--s->dropping_count];
			break;
		}
	pthread_mutex_unlock(&s->dropping_lock);
}

void moment_changed(struct snapshots *s, struct disk *d, const struct moment_record *m)
{
	struct history *h = atomic_load(&d->history);

	if (h)
		history_change_moment(h, m);
	dropping_end(s, d, m->generation);
	if (m->dropped)
		collector_add(s->collector, d, m->generation);
}

int moment_open(struct disk *d, uint64_t generation)
{
	int err = disk_state(d) == DISK_CHANGED ? -ESTALE : moment_pin(d, generation);

	if (err)
		return err;
	err = disk_open(d, false);
	if (err)
		moment_unpin(d, generation);
	else
		history_lend(atomic_load(&d->history), generation, true);
	return err;
}

void moment_close(struct disk *d, uint64_t generation)
{
	history_lend(atomic_load(&d->history), generation, false);
	disk_close(d);
	moment_unpin(d, generation);
	closes_tell(d->tandem);
}

bool moment_is_read(struct disk *d, uint64_t generation)
{
	struct history *h = atomic_load(&d->history);

	return h && history_is_pinned(h, generation);
}

/* A moment that somebody reads can only be lost with the truth of the whole disk. */
static int readable(struct disk *d, uint64_t generation, struct moment_record *m)
{
	if (disk_state(d) == DISK_CHANGED || moment_exactly(d, generation, m))
		return -ESTALE;
	return atomic_load(&d->lost) ? -EIO : 0;
}

int moment_read(struct disk *d, uint64_t generation, void *buf, size_t len, uint64_t off,
		size_t *done)
{
	struct moment_record m;
	int err = readable(d, generation, &m);

	if (err)
		return err;
	if (off >= m.size)
		len = 0;
	else if (len > m.size - off)
		len = m.size - off;
	if (len)
		err = history_read_at(atomic_load(&d->history), generation, buf, len, off);
	if (!err)
		*done = len;
	return err;
}

int moment_seek(struct disk *d, uint64_t generation, uint64_t off, int whence, uint64_t *found)
{
	struct moment_record m;
	int err = readable(d, generation, &m);

	if (!err && off >= m.size)
		err = -ENXIO;
	return err ? err
		   : history_seek_at(atomic_load(&d->history), generation, off, whence, found);
}

/* ---- what a moment costs ---- */

void moment_neighbours(struct history *h, uint64_t generation, uint64_t *lower, uint64_t *upper)
{
	struct moment_record m;

	*lower = generation && !history_moment(h, generation - 1, &m) ? m.generation : 0;
	*upper = history_moment_after(h, generation + 1, &m) ? UINT64_MAX : m.generation;
}

/* Versions that end in [from, upper), and whose predecessor does not end before `lower`. */
static int sum_exclusive(struct disk *d, uint64_t lower, uint64_t from, uint64_t upper,
			 uint64_t *bytes)
{
	enum { ROOM = 256 };
	struct catalogue *c = d->tandem->catalogue;
	struct version page[ROOM], last, older;
	size_t count = 0;
	uint64_t sum = 0;
	int err;

	for (bool first = true;; first = false) {
		err = versions_between(c, d->number, from, upper, first ? NULL : &last, page, ROOM,
				       &count);
		if (err || !count)
			break;
		for (size_t i = 0; i < count && !err; i++) {
			older = page[i];
			if (lower)
				err = versions_find(c, d->number, page[i].block, 1, lower, &older);
			/* The first that ends at or after that moment: it needs this one too. */
			if (!err && (!lower || older.last != page[i].last))
				sum += page[i].place ? page[i].length : 0;
		}
		last = page[count - 1];
	}
	if (!err)
		*bytes = sum;
	return err;
}

/* What was found last, if it still holds; and then what was found now. */
static bool exclusive_known(struct snapshots *s, uint32_t number, struct exclusive *e)
{
	struct snapshot *sn;
	bool known;

	pthread_rwlock_rdlock(&s->lock);
	sn = table_numbered(s, number);
	known = sn && sn->exclusive.upper == e->upper && sn->exclusive.lower == e->lower &&
		sn->exclusive.versions == e->versions;
	if (known)
		e->bytes = sn->exclusive.bytes;
	pthread_rwlock_unlock(&s->lock);
	return known;
}

static void exclusive_remember(struct snapshots *s, uint32_t number, const struct exclusive *e)
{
	struct snapshot *sn;

	pthread_rwlock_wrlock(&s->lock);
	sn = table_numbered(s, number);
	if (sn)
		sn->exclusive = *e;
	pthread_rwlock_unlock(&s->lock);
}

static int exclusive_of(struct disk *d, const struct snapshot_facts *f, uint64_t *bytes)
{
	struct tandem *t = d->tandem;
	struct history *h = atomic_load(&d->history);
	struct version_totals totals;
	struct moment_record m;
	struct exclusive e = { 0 };
	int err;

	/* Deleting it would give nothing back. */
	if (!h || moment_exactly(d, f->generation, &m) || m.tick ||
	    table_names(t->snapshots, d->number, f->generation, NULL) > 1) {
		*bytes = 0;
		return 0;
	}
	moment_neighbours(h, f->generation, &e.lower, &e.upper);
	err = version_totals(t->catalogue, d->number, &totals);
	e.versions = totals.count;
	if (!err && !exclusive_known(t->snapshots, f->number, &e)) {
		err = sum_exclusive(d, e.lower, f->generation, e.upper, &e.bytes);
		if (!err)
			exclusive_remember(t->snapshots, f->number, &e);
	}
	if (!err)
		*bytes = e.bytes;
	return err;
}

int snapshot_exclusive(struct tandem *t, uint32_t number, uint64_t *bytes)
{
	struct snapshot_facts f;
	struct disk *d;
	int err = snapshot_numbered(t, number, &f);

	if (err)
		return err;
	d = tandem_disk_numbered(t, f.disk);
	err = d ? exclusive_of(d, &f, bytes) : -ENOENT;
	disk_unref(d);
	if (!err)
		*bytes += snapshot_overlay_bytes(t, number);
	return err;
}

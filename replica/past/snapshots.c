// SPDX-License-Identifier: GPL-2.0-or-later
/* The ways to find a snapshot, and to name a new one; start and stop. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clones_inner.h"
#include "names.h"

void snapshots_changed(struct tandem *t, struct disk *d)
{
	atomic_fetch_add(&t->snapshots->version, 1);
	tandem_changed(t, d);
}

/* ---- made-up names ---- */

/* Which numbers are taken, of the names that begin with the stem: they are neighbours. */
static void mark_taken(const struct order *o, uint32_t disk, const char *stem, bool *taken,
		       size_t room)
{
	const struct snapshot key = { .disk = disk };
	size_t len = strlen(stem);

	for (size_t i = order_position(o, &key, stem); i < o->count; i++) {
		const char *rest = o->list[i]->name + len;
		unsigned long n;

		if (o->list[i]->disk != disk || strncmp(o->list[i]->name, stem, len))
			break;
		if (rest[0] < '1' || rest[0] > '9' || rest[strspn(rest, "0123456789")])
			continue;
		n = strtoul(rest, NULL, 10);
		if (n < room)
			taken[n] = true;
	}
}

int table_make_up(struct snapshots *s, struct disk *d, char name[SNAPSHOT_NAME_MAX + 1])
{
	char file[NAME_MAX + 1], stem[SNAPSHOT_NAME_MAX + 1];
	size_t room, n = 1;
	bool *taken;

	pthread_mutex_lock(&d->lock);
	memcpy(file, d->file_name, sizeof(file));
	pthread_mutex_unlock(&d->lock);
	name_whole(file, file);
	name_stem(file, stem, sizeof(stem) - 12);
	strcat(stem, "-");
	pthread_rwlock_rdlock(&s->lock);
	room = s->by_name.count + 2;
	taken = calloc(room, sizeof(*taken));
	if (taken)
		mark_taken(&s->by_name, d->number, stem, taken, room);
	pthread_rwlock_unlock(&s->lock);
	if (!taken)
		return -ENOMEM;
	while (taken[n]) /* there are fewer names than room */
		n++;
	free(taken);
	snprintf(name, SNAPSHOT_NAME_MAX + 1, "%s%zu", stem, n);
	return 0;
}

/* ---- facts ---- */

/* Under lock. Everything but the label. */
static void copy(const struct snapshot *sn, struct snapshot_facts *out)
{
	*out = (struct snapshot_facts){
		.number = sn->number,
		.disk = sn->disk,
		.state = sn->state,
		.generation = sn->generation,
		.time_ms = sn->time_ms,
		.size = sn->size,
		.detaching = sn->detaching,
		.writable = sn->overlay != 0,
		.overlay_lost = sn->overlay && (!sn->over || atomic_load(&sn->over->broken_flush)),
	};
	snprintf(out->name, sizeof(out->name), "%s", sn->name);
	snprintf(out->hold, sizeof(out->hold), "%s", sn->hold ? sn->hold : "");
}

static void set_label(struct disk *d, struct snapshot_facts *out)
{
	pthread_mutex_lock(&d->lock);
	snprintf(out->label, sizeof(out->label), "%s@%s", d->label, out->name);
	pthread_mutex_unlock(&d->lock);
}

static int label_facts(struct tandem *t, struct snapshot_facts *out)
{
	struct disk *d = tandem_disk_numbered(t, out->disk);

	if (!d)
		return -ENOENT; /* its pool was removed: there is nothing that it is of */
	set_label(d, out);
	disk_unref(d);
	return 0;
}

void table_facts(struct snapshots *s, const struct snapshot *sn, struct snapshot_facts *out)
{
	pthread_rwlock_rdlock(&s->lock);
	copy(sn, out);
	pthread_rwlock_unlock(&s->lock);
	label_facts(s->t, out);
}

void table_record(const struct snapshot *sn, struct snapshot_record *out)
{
	*out = (struct snapshot_record){
		.number = sn->number,
		.disk = sn->disk,
		.generation = sn->generation,
		.sync_time_ms = sn->time_ms,
		.copy_state = sn->state,
		.overlay = sn->overlay,
		.overlay_failed = sn->overlay_failed,
	};
	snprintf(out->name, sizeof(out->name), "%s", sn->name);
	snprintf(out->hold, sizeof(out->hold), "%s", sn->hold ? sn->hold : "");
}

/* Under lock; sn may be NULL. */
static int take_facts(struct snapshots *s, const struct snapshot *sn, struct snapshot_facts *out)
{
	int err = sn && sn->number ? 0 : -ENOENT;

	if (!err)
		copy(sn, out);
	pthread_rwlock_unlock(&s->lock);
	return err;
}

int snapshot_numbered(struct tandem *t, uint32_t number, struct snapshot_facts *out)
{
	struct snapshots *s = t->snapshots;
	struct snapshot_facts f;
	int err;

	if (!s)
		return -ENOENT;
	pthread_rwlock_rdlock(&s->lock);
	err = take_facts(s, table_numbered(s, number), &f) ?: label_facts(t, &f);
	if (!err)
		*out = f;
	return err;
}

int snapshot_named(struct tandem *t, struct disk *d, const char *name, struct snapshot_facts *out)
{
	struct snapshots *s = t->snapshots;
	struct snapshot_facts f;
	int err;

	if (!s)
		return -ENOENT;
	pthread_rwlock_rdlock(&s->lock);
	err = take_facts(s, table_named(s, d->number, name), &f);
	if (err)
		return err;
	set_label(d, &f);
	*out = f;
	return 0;
}

int snapshot_labelled(struct tandem *t, const char *label, struct snapshot_facts *out)
{
	const char *mark = strrchr(label, '@'); /* a disk's name may have one */
	char of[DISK_LABEL_MAX + 1];
	struct disk *d;
	int err;

	if (!mark || mark - label > DISK_LABEL_MAX)
		return -ENOENT;
	memcpy(of, label, mark - label);
	of[mark - label] = '\0';
	d = tandem_disk_labelled(t, of);
	err = d ? snapshot_named(t, d, mark + 1, out) : -ENOENT;
	disk_unref(d);
	return err;
}

/* ---- lists ---- */

/* The next ones by name after `last`; only of one disk, if it is not NULL. Under lock. */
static size_t copy_page(struct snapshots *s, const struct disk *d, struct snapshot_facts *page,
			size_t room, const struct snapshot_facts *last)
{
	uint32_t disk = last ? last->disk : d ? d->number : 0;
	size_t i = order_after(&s->by_name, disk, last ? last->name : ""), n = 0;
	struct snapshot *sn = order_at(&s->by_name, i);

	for (; sn && n < room && (!d || sn->disk == d->number); sn = order_at(&s->by_name, ++i))
		if (sn->number)
			copy(sn, &page[n++]);
	return n;
}

/* Nothing is held while fn is called; a page is what was there at one moment. */
void snapshots_list(struct tandem *t, struct disk *d,
		    bool (*fn)(void *arg, const struct snapshot_facts *s), void *arg)
{
	enum { ROOM = 64 };
	struct snapshot_facts *page = malloc((ROOM + 1) * sizeof(*page)), *last = NULL;
	bool more = page && t->snapshots;

	while (more) {
		size_t count;

		pthread_rwlock_rdlock(&t->snapshots->lock);
		count = copy_page(t->snapshots, d, page, ROOM, last);
		pthread_rwlock_unlock(&t->snapshots->lock);
		more = count > 0;
		for (size_t i = 0; i < count && more; i++) {
			if (d)
				set_label(d, &page[i]);
			else if (label_facts(t, &page[i]))
				continue;
			more = fn(arg, &page[i]);
		}
		if (more) {
			last = &page[ROOM];
			*last = page[count - 1];
		}
	}
	free(page);
}

unsigned snapshots_count(const struct disk *d)
{
	const struct snapshot from = { .disk = d->number }, to = { .disk = d->number + 1 };
	struct snapshots *s = d->tandem->snapshots;
	unsigned count;

	if (!s)
		return 0;
	pthread_rwlock_rdlock(&s->lock);
	count = order_position(&s->by_name, &to, "") - order_position(&s->by_name, &from, "");
	pthread_rwlock_unlock(&s->lock);
	return count;
}

uint64_t snapshots_version(struct tandem *t)
{
	return t->snapshots ? atomic_load(&t->snapshots->version) : 0;
}

/* ---- start and stop ---- */

int snapshots_load(struct tandem *t, struct why *why)
{
	struct snapshots *s = t->snapshots = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return refuse(why, -ENOMEM, "out of memory");
	s->t = t;
	atomic_store(&s->free, UINT64_MAX);
	s->watched_ns = monotonic_ns();
	pthread_rwlock_init(&s->lock, NULL);
	pthread_mutex_init(&s->changing, NULL);
	pthread_mutex_init(&s->dropping_lock, NULL);
	pthread_mutex_init(&s->restoring, NULL);
	pthread_cond_init(&s->halted, NULL);
	pthread_mutex_init(&s->making, NULL);
	err = collector_new(t, &s->collector);
	if (!err)
		err = ticker_new(t, &s->ticker);
	if (!err)
		err = table_load(s);
	if (!err)
		err = clones_new(s, &s->clones);
	if (!err)
		err = overlays_load(s);
	if (!err && !t->read_only)
		past_remove_left_overs(t);
	return err ? refuse(why, err, "the catalogue's snapshots: %s", strerror(-err)) : 0;
}

void snapshots_resume(struct disk *d)
{
	char object[DISK_LABEL_MAX + 8], word[200];
	int err = restore_resume(d);

	if (err)
		events_emit(d->tandem->events, EVENT_MAJOR, "Stalled",
			    disk_object(d, object, sizeof(object)), "WaitsFor=%s",
			    event_word(word, sizeof(word), strerror(-err)));
}

int snapshots_start(struct tandem *t)
{
	size_t count;
	struct disk **disks = tandem_disks(t, &count);
	int err;

	for (size_t i = 0; i < count; i++)
		snapshots_resume(disks[i]);
	disks_free(disks, count);
	clones_start(t->snapshots->clones);
	err = collector_start(t->snapshots->collector);
	return err ? err : ticker_start(t->snapshots->ticker);
}

int snapshots_complete(struct tandem *t, struct why *why)
{
	size_t count;
	struct disk **disks = tandem_disks(t, &count);
	int err = 0, filled;

	for (size_t i = 0; i < count; i++) {
		int e = restore_complete(disks[i]);

		if (e && !err)
			err = refuse(why, e, "%s is restored in part only: %s", disks[i]->label,
				     strerror(-e));
	}
	disks_free(disks, count);
	filled = clones_complete(t->snapshots->clones, err ? NULL : why);
	return err ? err : filled;
}

void snapshots_stop(struct tandem *t)
{
	struct snapshots *s = t->snapshots;

	if (!s)
		return;
	clones_stop(s->clones);
	restores_end(s);
	ticker_free(s->ticker);
	collector_free(s->collector);
	s->ticker = NULL;
	s->collector = NULL;
}

void snapshots_free(struct tandem *t)
{
	struct snapshots *s = t->snapshots;

	if (!s)
		return;
	snapshots_stop(t);
	table_free(s);
	overlays_free(s);
	clones_free(s->clones);
	free(s->dropping);
	pthread_rwlock_destroy(&s->lock);
	pthread_mutex_destroy(&s->changing);
	pthread_mutex_destroy(&s->dropping_lock);
	pthread_mutex_destroy(&s->making);
	free(s);
	t->snapshots = NULL;
}

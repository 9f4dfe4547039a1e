// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The table of snapshots: three sorted lists of the same. A search is a few
 * comparisons, an insertion moves pointers.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clones_inner.h"

/* ---- orders ---- */

static int compare_u64(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int order_numbers(const struct snapshot *s, const struct snapshot *key, const char *name)
{
	(void)name;
	return compare_u64(s->number, key->number);
}

static int order_names(const struct snapshot *s, const struct snapshot *key, const char *name)
{
	return compare_u64(s->disk, key->disk) ?: strcmp(s->name, name);
}

static int order_moments(const struct snapshot *s, const struct snapshot *key, const char *name)
{
	(void)name;
	return compare_u64(s->disk, key->disk)
		       ?: (compare_u64(s->generation, key->generation)
				   ?: compare_u64(s->number, key->number));
}

size_t order_position(const struct order *o, const struct snapshot *key, const char *name)
{
	size_t low = 0, high = o->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (o->compare(o->list[middle], key, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int make_room(struct order *o, size_t count)
{
	size_t room = o->room ? o->room : 64;
	struct snapshot **more;

	if (count <= o->room)
		return 0;
	while (room < count)
		room *= 2;
	more = realloc(o->list, room * sizeof(*more));
	if (!more)
		return -ENOMEM;
	o->list = more;
	o->room = room;
	return 0;
}

static void put_in(struct order *o, struct snapshot *s)
{
	size_t at = order_position(o, s, s->name);

	assert(o->count < o->room);
	memmove(o->list + at + 1, o->list + at, (o->count - at) * sizeof(*o->list));
	o->list[at] = s;
	o->count++;
}

static void take_out(struct order *o, struct snapshot *s)
{
	size_t at = order_position(o, s, s->name);

	assert(at < o->count && o->list[at] == s);
	o->count--;
	memmove(o->list + at, o->list + at + 1, (o->count - at) * sizeof(*o->list));
}

struct snapshot *order_at(const struct order *o, size_t i)
{
	return i < o->count ? o->list[i] : NULL;
}

struct snapshot *table_named(struct snapshots *s, uint32_t disk, const char *name)
{
	const struct snapshot key = { .disk = disk };
	struct snapshot *sn = order_at(&s->by_name, order_position(&s->by_name, &key, name));

	return sn && sn->disk == disk && !strcmp(sn->name, name) ? sn : NULL;
}

struct snapshot *table_numbered(struct snapshots *s, uint32_t number)
{
	const struct snapshot key = { .number = number };
	struct snapshot *sn = order_at(&s->by_number, order_position(&s->by_number, &key, NULL));

	return sn && sn->number == number ? sn : NULL;
}

size_t order_after(const struct order *o, uint32_t disk, const char *name)
{
	const struct snapshot key = { .disk = disk };
	size_t i = order_position(o, &key, name);
	const struct snapshot *sn = order_at(o, i);

	return i + (sn && sn->disk == disk && !strcmp(sn->name, name));
}

struct snapshot *table_next(struct snapshots *s, uint32_t disk, const struct snapshot *last)
{
	struct snapshot *sn;

	pthread_rwlock_rdlock(&s->lock);
	sn = order_at(&s->by_name, order_after(&s->by_name, disk, last ? last->name : ""));
	pthread_rwlock_unlock(&s->lock);
	return sn && sn->disk == disk ? sn : NULL;
}

uint32_t table_names(struct snapshots *s, uint32_t disk, uint64_t generation,
		     char name[SNAPSHOT_NAME_MAX + 1])
{
	const struct snapshot key = { .disk = disk, .generation = generation },
			      end = { .disk = disk, .generation = generation + 1 };
	size_t from, to;

	pthread_rwlock_rdlock(&s->lock);
	from = order_position(&s->by_moment, &key, NULL);
	to = order_position(&s->by_moment, &end, NULL);
	if (name)
		snprintf(name, SNAPSHOT_NAME_MAX + 1, "%s",
			 from < to ? s->by_moment.list[from]->name : "");
	pthread_rwlock_unlock(&s->lock);
	return to - from + clones_names(s->clones, disk, generation);
}

/* ---- changes ---- */

static struct snapshot *make(uint32_t disk, const char *name)
{
	struct snapshot *sn = calloc(1, sizeof(*sn) + strlen(name) + 1);

	if (!sn)
		return NULL;
	sn->disk = disk;
	strcpy(sn->name, name);
	return sn;
}

static void destroy(struct snapshot *sn)
{
	if (sn) {
		free(sn->hold);
		disk_unref(sn->over);
	}
	free(sn);
}

int table_reserve(struct snapshots *s, uint32_t disk, const char *name, struct snapshot **out)
{
	struct snapshot *sn = make(disk, name);
	int err = sn ? 0 : -ENOMEM;
	size_t count;

	pthread_rwlock_wrlock(&s->lock);
	count = s->by_name.count + 1;
	if (!err && table_named(s, disk, name))
		err = -EEXIST;
	/* Room in all of them, so that setting a number or a moment cannot fail. */
	if (!err)
		err = make_room(&s->by_name, count);
	if (!err)
		err = make_room(&s->by_number, count);
	if (!err)
		err = make_room(&s->by_moment, count);
	if (!err)
		put_in(&s->by_name, sn);
	pthread_rwlock_unlock(&s->lock);
	if (err)
		destroy(sn);
	else
		*out = sn;
	return err;
}

void table_set(struct snapshots *s, struct snapshot *sn, uint32_t number,
	       const struct moment_record *m, enum snapshot_state state)
{
	pthread_rwlock_wrlock(&s->lock);
	if (sn->generation)
		take_out(&s->by_moment, sn);
	if (!sn->number) {
		sn->number = number;
		put_in(&s->by_number, sn);
	}
	sn->state = state;
	sn->generation = m ? m->generation : 0;
	if (m) { /* SyncTime keeps its value without one */
		sn->time_ms = m->time_ms;
		sn->size = m->size;
		put_in(&s->by_moment, sn);
	}
	pthread_rwlock_unlock(&s->lock);
}

void table_set_size(struct snapshots *s, uint32_t disk, const struct moment_record *m)
{
	const struct snapshot key = { .disk = disk, .generation = m->generation };
	struct snapshot *sn;

	pthread_rwlock_wrlock(&s->lock);
	for (size_t i = order_position(&s->by_moment, &key, NULL);
	     (sn = order_at(&s->by_moment, i)); i++) {
		if (sn->disk != disk || sn->generation != m->generation)
			break;
		sn->size = m->size;
	}
	pthread_rwlock_unlock(&s->lock);
}

void table_hold(struct snapshots *s, struct snapshot *sn, char *hold)
{
	char *old;

	pthread_rwlock_wrlock(&s->lock);
	old = sn->hold;
	sn->hold = hold;
	pthread_rwlock_unlock(&s->lock);
	free(old);
}

void table_detach(struct snapshots *s, uint32_t number, uint32_t from, uint32_t to)
{
	struct snapshot *sn;

	pthread_rwlock_wrlock(&s->lock);
	sn = table_numbered(s, number);
	if (sn && sn->detaching == from)
		sn->detaching = to;
	pthread_rwlock_unlock(&s->lock);
}

void table_set_state(struct snapshots *s, struct snapshot *sn, enum snapshot_state state)
{
	pthread_rwlock_wrlock(&s->lock);
	sn->state = state;
	pthread_rwlock_unlock(&s->lock);
}

struct disk *table_overlay(struct snapshots *s, struct snapshot *sn, uint32_t number,
			   struct disk *over)
{
	struct disk *old;

	pthread_rwlock_wrlock(&s->lock);
	old = sn->over;
	sn->over = over;
	sn->overlay_failed = sn->overlay_failed && sn->overlay == number;
	sn->overlay = number;
	pthread_rwlock_unlock(&s->lock);
	return old;
}

void table_remove(struct snapshots *s, struct snapshot *sn)
{
	pthread_rwlock_wrlock(&s->lock);
	take_out(&s->by_name, sn);
	if (sn->generation)
		take_out(&s->by_moment, sn);
	if (sn->number)
		take_out(&s->by_number, sn);
	pthread_rwlock_unlock(&s->lock);
	destroy(sn);
}

/* ---- start and stop ---- */

static int compare_in(const void *a, const void *b, void *order)
{
	const struct snapshot *x = *(struct snapshot *const *)a, *y = *(struct snapshot *const *)b;

	return ((const struct order *)order)->compare(x, y, y->name);
}

static void sort(struct order *o)
{
	if (o->count)
		qsort_r(o->list, o->count, sizeof(*o->list), compare_in, o);
}

/* At the end of each list; they are sorted when all are there. */
static int load_one(void *arg, const struct snapshot_record *r)
{
	struct snapshots *s = arg;
	struct snapshot *sn = make(r->disk, r->name);
	size_t count = s->by_name.count + 1;
	int err = sn ? 0 : -ENOMEM;

	if (!err)
		err = make_room(&s->by_name, count);
	if (!err)
		err = make_room(&s->by_number, count);
	if (!err)
		err = make_room(&s->by_moment, count);
	if (err) {
		destroy(sn);
		return err;
	}
	sn->number = r->number;
	sn->generation = r->generation;
	sn->time_ms = r->sync_time_ms;
	sn->state = r->copy_state;
	sn->overlay = r->overlay;
	sn->overlay_failed = r->overlay_failed;
	sn->hold = r->hold[0] ? strdup(r->hold) : NULL;
	s->by_name.list[s->by_name.count++] = sn;
	s->by_number.list[s->by_number.count++] = sn;
	if (sn->generation)
		s->by_moment.list[s->by_moment.count++] = sn;
	return 0;
}

int table_load(struct snapshots *s)
{
	int err;

	s->by_number.compare = order_numbers;
	s->by_name.compare = order_names;
	s->by_moment.compare = order_moments;
	err = snapshots_each(s->t->catalogue, load_one, s);
	sort(&s->by_name);
	sort(&s->by_number);
	sort(&s->by_moment);
	return err;
}

void table_free(struct snapshots *s)
{
	for (size_t i = 0; i < s->by_name.count; i++)
		destroy(s->by_name.list[i]);
	free(s->by_name.list);
	free(s->by_number.list);
	free(s->by_moment.list);
}

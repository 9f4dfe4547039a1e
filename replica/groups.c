// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of groups, and the ways to find something in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groups_inner.h"

/* ---- finding ---- */

static size_t position(const struct groups *gs, const char *name)
{
	size_t low = 0, high = gs->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (strcmp(gs->list[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct group *group_of_name(struct groups *gs, const char *name)
{
	size_t i = position(gs, name);

	return i < gs->count && !strcmp(gs->list[i]->name, name) ? gs->list[i] : NULL;
}

struct group *group_of_number(struct groups *gs, uint32_t number)
{
	for (size_t i = 0; i < gs->count; i++)
		if (gs->list[i]->number == number)
			return gs->list[i];
	return NULL;
}

/* Where the first one is that is not less. */
static size_t place_of(const struct numbers *n, uint32_t number)
{
	size_t low = 0, high = n->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (n->list[middle] < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool numbers_have(const struct numbers *n, uint32_t number)
{
	size_t i = place_of(n, number);

	return i < n->count && n->list[i] == number;
}

bool group_has(const struct group *g, uint32_t disk)
{
	return numbers_have(&g->disks, disk);
}

/* ---- changing ---- */

int group_new(uint32_t number, const char *name, bool consistent, struct group **out)
{
	struct group *g = calloc(1, sizeof(*g) + strlen(name) + 1);

	if (!g)
		return -ENOMEM;
	g->number = number;
	g->consistent = consistent;
	strcpy(g->name, name);
	*out = g;
	return 0;
}

void group_free(struct group *g)
{
	if (!g)
		return;
	free(g->disks.list);
	free(g->pairs.list);
	free(g);
}

int groups_room(struct groups *gs)
{
	size_t room = 2 * gs->room + 16;
	struct group **more;

	if (gs->count < gs->room)
		return 0;
	pthread_rwlock_wrlock(&gs->lock);
	more = realloc(gs->list, room * sizeof(*more));
	if (more) {
		gs->list = more;
		gs->room = room;
	}
	pthread_rwlock_unlock(&gs->lock);
	return more ? 0 : -ENOMEM;
}

int numbers_room(struct groups *gs, struct numbers *n)
{
	size_t room = 2 * n->room + 16;
	uint32_t *more;

	pthread_rwlock_wrlock(&gs->lock);
	more = n->count < n->room ? n->list : realloc(n->list, room * sizeof(*more));
	if (more && n->count == n->room) {
		n->list = more;
		n->room = room;
	}
	pthread_rwlock_unlock(&gs->lock);
	return more ? 0 : -ENOMEM;
}

void groups_put(struct groups *gs, struct group *g)
{
	size_t at = position(gs, g->name);

	pthread_rwlock_wrlock(&gs->lock);
	memmove(gs->list + at + 1, gs->list + at, (gs->count - at) * sizeof(*gs->list));
	gs->list[at] = g;
	gs->count++;
	pthread_rwlock_unlock(&gs->lock);
}

void groups_take_out(struct groups *gs, struct group *g)
{
	size_t at = position(gs, g->name);

	pthread_rwlock_wrlock(&gs->lock);
	gs->count--;
	memmove(gs->list + at, gs->list + at + 1, (gs->count - at) * sizeof(*gs->list));
	pthread_rwlock_unlock(&gs->lock);
}

void numbers_put(struct groups *gs, struct numbers *n, uint32_t number)
{
	size_t at;

	pthread_rwlock_wrlock(&gs->lock);
	at = place_of(n, number);
	memmove(n->list + at + 1, n->list + at, (n->count - at) * sizeof(*n->list));
	n->list[at] = number;
	n->count++;
	pthread_rwlock_unlock(&gs->lock);
}

void numbers_drop(struct numbers *n, uint32_t number)
{
	size_t at = place_of(n, number);

	if (!numbers_have(n, number))
		return;
	n->count--;
	memmove(n->list + at, n->list + at + 1, (n->count - at) * sizeof(*n->list));
}

void numbers_take_out(struct groups *gs, struct numbers *n, uint32_t number)
{
	pthread_rwlock_wrlock(&gs->lock);
	numbers_drop(n, number);
	pthread_rwlock_unlock(&gs->lock);
}

/* ---- facts ---- */

/* Under lock. What the disks are is another matter: facts_of_disks(). */
static void copy(const struct group *g, struct group_facts *out)
{
	*out = (struct group_facts){
		.number = g->number,
		.consistent = g->consistent,
		.disks = g->disks.count,
		.pairs = g->pairs.count,
	};
	snprintf(out->name, sizeof(out->name), "%s", g->name);
}

int group_copy_disks(struct tandem *t, uint32_t number, struct group_facts *out, uint32_t **disks,
		     size_t *count)
{
	struct groups *gs = t->groups;
	struct group *g;
	int err = -ENOENT;

	if (!gs)
		return err;
	pthread_rwlock_rdlock(&gs->lock);
	g = group_of_number(gs, number);
	if (g) {
		*disks = malloc((g->disks.count + 1) * sizeof(**disks));
		err = *disks ? 0 : -ENOMEM;
	}
	if (!err) {
		*count = g->disks.count;
		if (*count)
			memcpy(*disks, g->disks.list, *count * sizeof(**disks));
		if (out)
			copy(g, out);
	}
	pthread_rwlock_unlock(&gs->lock);
	return err;
}

static size_t count_absent(struct tandem *t, const uint32_t *disks, size_t count)
{
	size_t absent = 0;

	for (size_t i = 0; i < count; i++) {
		struct disk *d = tandem_disk_numbered(t, disks[i]);

		absent += !d || !disk_is_served(d);
		disk_unref(d);
	}
	return absent;
}

int group_numbered(struct tandem *t, uint32_t number, struct group_facts *out)
{
	uint32_t *disks;
	size_t count;
	int err = group_copy_disks(t, number, out, &disks, &count);

	if (err)
		return err;
	out->absent = count_absent(t, disks, count);
	free(disks);
	return 0;
}

int group_named(struct tandem *t, const char *name, struct group_facts *out)
{
	struct groups *gs = t->groups;
	uint32_t number = 0;
	struct group *g;

	if (!gs)
		return -ENOENT;
	pthread_rwlock_rdlock(&gs->lock);
	g = group_of_name(gs, name);
	if (g)
		number = g->number;
	pthread_rwlock_unlock(&gs->lock);
	return g ? group_numbered(t, number, out) : -ENOENT;
}

int groups_list(struct tandem *t, struct group_facts **out, size_t *count)
{
	struct groups *gs = t->groups;
	struct group_facts *list;
	size_t all = 0, n = 0;

	if (gs)
		pthread_rwlock_rdlock(&gs->lock);
	list = malloc(((gs ? gs->count : 0) + 1) * sizeof(*list));
	for (; list && gs && all < gs->count; all++)
		copy(gs->list[all], &list[all]);
	if (gs)
		pthread_rwlock_unlock(&gs->lock);
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < all; i++) /* one may be gone by now */
		if (!group_numbered(t, list[i].number, &list[n]))
			n++;
	*out = list;
	*count = n;
	return 0;
}

/* ---- members ---- */

static int compare_labels(const void *a, const void *b)
{
	return strcmp(((const struct group_member *)a)->label,
		      ((const struct group_member *)b)->label);
}

/* As it was last known, of one that is not listed: its pool was removed. */
static void fill_from_record(struct tandem *t, struct group_member *m)
{
	struct disk_record r;
	struct pool *p = NULL;

	m->state = DISK_MISSING;
	if (catalogue_disk_by_number(t->catalogue, m->disk, &r)) {
		snprintf(m->label, sizeof(m->label), "disk-%u", m->disk);
		return;
	}
	if (r.pool)
		p = tandem_pool_numbered(t, r.pool);
	snprintf(m->label, sizeof(m->label), "%s%s%s", p ? p->name : "", p ? ":" : "", r.file_name);
	pool_unref(p);
}

static void fill_member(struct tandem *t, struct group_member *m)
{
	struct disk *d = tandem_disk_numbered(t, m->disk);

	if (!d) {
		fill_from_record(t, m);
		return;
	}
	pthread_mutex_lock(&d->lock);
	memcpy(m->label, d->label, sizeof(m->label));
	m->state = d->state;
	pthread_mutex_unlock(&d->lock);
	disk_unref(d);
}

int group_members(struct tandem *t, uint32_t number, struct group_member **out, size_t *count)
{
	struct group_member *list;
	uint32_t *disks;
	int err = group_copy_disks(t, number, NULL, &disks, count);

	if (err)
		return err;
	list = malloc((*count + 1) * sizeof(*list));
	for (size_t i = 0; list && i < *count; i++) {
		list[i].disk = disks[i];
		fill_member(t, &list[i]);
	}
	free(disks);
	if (!list)
		return -ENOMEM;
	qsort(list, *count, sizeof(*list), compare_labels);
	*out = list;
	return 0;
}

/* One is not served. */
static int refuse_absent(struct tandem *t, uint32_t disk, struct why *why)
{
	struct group_member m = { .disk = disk };

	fill_member(t, &m);
	return refuse_advise(why, -EBUSY, "bring it back, or RemoveDisk",
			     "%s is %s; this needs all disks of the group", m.label,
			     disk_state_name(m.state));
}

int group_disks(struct tandem *t, uint32_t number, struct disk ***out, size_t *count,
		struct why *why)
{
	uint32_t *disks;
	struct disk **list;
	size_t n = 0;
	int err = group_copy_disks(t, number, NULL, &disks, count);

	if (err)
		return refuse(why, err, err == -ENOENT ? "the group is gone" : "out of memory");
	list = calloc(*count + 1, sizeof(*list));
	if (!list)
		err = refuse(why, -ENOMEM, "out of memory");
	else if (!*count)
		err = refuse_advise(why, -EBUSY, "AddDisk Name=", "the group has no disks");
	for (; !err && n < *count; n++) {
		list[n] = tandem_disk_numbered(t, disks[n]);
		if (!list[n] || !disk_is_served(list[n]))
			err = refuse_absent(t, disks[n], why);
	}
	free(disks);
	if (err)
		disks_free(list, n);
	else
		*out = list;
	return err;
}

bool groups_have(struct tandem *t, uint32_t disk)
{
	struct groups *gs = t->groups;
	bool have = false;

	if (!gs)
		return false;
	pthread_rwlock_rdlock(&gs->lock);
	for (size_t i = 0; i < gs->count && !have; i++)
		have = group_has(gs->list[i], disk);
	pthread_rwlock_unlock(&gs->lock);
	return have;
}

/* ---- start and stop ---- */

static int load_group(void *arg, const struct group_record *r)
{
	struct groups *gs = arg;
	struct group *g;
	int err = groups_room(gs) ?: group_new(r->number, r->name, r->consistent, &g);

	if (err)
		return err;
	g->pending = r->pending;
	groups_put(gs, g);
	return 0;
}

/* A disk that an older program deleted, or a group whose deletion a crash cut short, is not missed. */
static int load_member(void *arg, uint32_t group, uint32_t disk)
{
	struct tandem *t = arg;
	struct group *g = group_of_number(t->groups, group);
	struct disk_record r;
	int err;

	if (!g)
		return 0;
	err = catalogue_disk_by_number(t->catalogue, disk, &r);
	if (err == -ENOENT)
		return group_load_pair(t, g, disk);
	if (!err)
		err = numbers_room(t->groups, &g->disks);
	if (!err)
		numbers_put(t->groups, &g->disks, disk);
	return err;
}

int groups_load(struct tandem *t, struct why *why)
{
	struct groups *gs = t->groups = calloc(1, sizeof(*gs));
	int err;

	if (!gs)
		return refuse(why, -ENOMEM, "out of memory");
	pthread_rwlock_init(&gs->lock, NULL);
	err = catalogue_each_group(t->catalogue, load_group, gs);
	if (!err)
		err = catalogue_each_member(t->catalogue, load_member, t);
	return err ? refuse(why, err, "the catalogue's groups: %s", strerror(-err)) : 0;
}

void groups_free(struct tandem *t)
{
	struct groups *gs = t->groups;

	if (!gs)
		return;
	for (size_t i = 0; i < gs->count; i++)
		group_free(gs->list[i]);
	free(gs->list);
	pthread_rwlock_destroy(&gs->lock);
	free(gs);
	t->groups = NULL;
}

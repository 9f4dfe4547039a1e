// SPDX-License-Identifier: GPL-2.0-or-later
/* The tables of disks and pools, and the ways to find something in them. */
#include "tandem.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "snapshots.h"

/* ---- sorted tables ---- */

static int compare_labels(const void *a, const void *b)
{
	return strcmp((*(struct disk *const *)a)->label, (*(struct disk *const *)b)->label);
}

static int compare_numbers(const void *a, const void *b)
{
	uint32_t x = (*(struct disk *const *)a)->number, y = (*(struct disk *const *)b)->number;

	return (x > y) - (x < y);
}

/* Keeps what is sorted already sorted, cheaply: most come at the end. */
static void insert(struct disk **list, size_t count, struct disk *d,
		   int (*compare)(const void *, const void *))
{
	size_t i = count;

	while (i > 0 && compare(&list[i - 1], &d) > 0) {
		list[i] = list[i - 1];
		i--;
	}
	list[i] = d;
}

static void take_out(struct disk **list, size_t count, const struct disk *d)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == d) {
			memmove(&list[i], &list[i + 1], (count - i - 1) * sizeof(*list));
			return;
		}
	assert(!"a listed disk is in both tables");
}

static int make_room(struct tandem *t)
{
	size_t room = t->disk_room ? 2 * t->disk_room : 64;
	struct disk **a, **b;

	if (t->disk_count < t->disk_room)
		return 0;
	a = realloc(t->by_label, room * sizeof(*a));
	if (a)
		t->by_label = a;
	b = realloc(t->by_number, room * sizeof(*b));
	if (b)
		t->by_number = b;
	if (!a || !b)
		return -ENOMEM;
	t->disk_room = room;
	return 0;
}

/* Under table: who is served under that name, or keeps it also when he is not; but for one. */
static struct disk *holder(struct tandem *t, uint32_t pool, const char *name,
			   const struct disk *but)
{
	for (size_t i = 0; i < t->disk_count; i++) {
		struct disk *o = t->by_label[i];

		if (o != but && disk_is_mounted_as(o, pool, name) &&
		    (disk_keeps_name(o) || disk_is_served(o)))
			return o;
	}
	return NULL;
}

/* Who has the disk's mount name already: text for people, or NULL. Under table. */
static const char *name_taken(struct tandem *t, const struct disk *d)
{
	for (size_t i = 1; i < t->pool_count && d->mount_pool == t->pools[0]->number; i++)
		if (!strcmp(t->pools[i]->name, d->mount_name))
			return "a pool has its mount name";
	return holder(t, d->mount_pool, d->mount_name, d) ? "another image has its mount name"
							  : NULL;
}

/*
 * Under table. A name that a disk keeps is not that of whose file happens to be called so,
 * whichever was found first. Returns who has to give it up.
 */
static struct disk *who_gives_way(struct tandem *t, struct disk *d)
{
	struct disk *o;

	if (!disk_keeps_name(d))
		return NULL;
	o = holder(t, d->mount_pool, d->mount_name, d);
	return o && !disk_keeps_name(o) && !disk_is_open(o) ? disk_ref(o) : NULL;
}

int tandem_list_disk(struct tandem *t, struct disk *d)
{
	struct disk *gives_way = NULL;
	const char *taken;
	int err;

	pthread_rwlock_wrlock(&t->table);
	err = make_room(t);
	if (!err) {
		gives_way = who_gives_way(t, d);
		insert(t->by_label, t->disk_count, d, compare_labels);
		insert(t->by_number, t->disk_count, d, compare_numbers);
		t->disk_count++;
		disk_ref(d);
		taken = d->image && !gives_way ? name_taken(t, d) : NULL;
		pthread_mutex_lock(&d->lock);
		if (taken) {
			d->state = DISK_CONFLICT;
			snprintf(d->reason, sizeof(d->reason), "%s", taken);
		}
		d->listed = true;
		pthread_mutex_unlock(&d->lock);
	}
	pthread_rwlock_unlock(&t->table);
	if (gives_way) {
		disk_set_state(gives_way, DISK_CONFLICT, "another image has its mount name");
		disk_unref(gives_way);
	}
	if (!err)
		tandem_changed(t, d);
	return err;
}

void tandem_serve_again(struct tandem *t, struct disk *d)
{
	const char *taken;

	pthread_rwlock_rdlock(&t->table);
	taken = disk_is_served(d) ? name_taken(t, d) : NULL;
	pthread_rwlock_unlock(&t->table);
	if (taken)
		disk_set_state(d, DISK_CONFLICT, taken);
}

/* A mount name is free again: whoever was waiting for it gets it. */
void tandem_settle_names(struct tandem *t)
{
	size_t count;
	struct disk **disks = tandem_disks(t, &count);

	for (size_t i = 0; i < count; i++) {
		const char *taken = NULL;

		if (disk_state(disks[i]) == DISK_CONFLICT) {
			pthread_rwlock_rdlock(&t->table);
			taken = name_taken(t, disks[i]);
			pthread_rwlock_unlock(&t->table);
			if (!taken)
				disk_set_state(disks[i], disk_natural_state(disks[i]), "");
		}
	}
	disks_free(disks, count);
}

void tandem_unlist_disk(struct tandem *t, struct disk *d)
{
	pthread_rwlock_wrlock(&t->table);
	take_out(t->by_label, t->disk_count, d);
	take_out(t->by_number, t->disk_count, d);
	t->disk_count--;
	pthread_mutex_lock(&d->lock);
	d->listed = false;
	pthread_mutex_unlock(&d->lock);
	pthread_rwlock_unlock(&t->table);
	overlays_detach(d);
	tandem_settle_names(t);
	tandem_changed(t, d);
	disk_unref(d);
}

void tandem_swap_listed(struct tandem *t, struct disk *d, struct disk *other,
			void (*swap)(struct disk *d, struct disk *other), bool goes)
{
	pthread_rwlock_wrlock(&t->table);
	if (goes) {
		take_out(t->by_label, t->disk_count, other);
		take_out(t->by_number, t->disk_count, other);
		t->disk_count--;
	}
	swap(d, other);
	qsort(t->by_label, t->disk_count, sizeof(*t->by_label), compare_labels);
	pthread_rwlock_unlock(&t->table);
	overlays_relabel(d);
	if (goes)
		disk_unref(other);
	else
		overlays_relabel(other);
}

void tandem_rename_listed(struct tandem *t, struct disk *d, const char *file_name)
{
	const char *taken;

	pthread_rwlock_wrlock(&t->table);
	disk_set_names(d, file_name);
	taken = disk_is_served(d) ? name_taken(t, d) : NULL;
	qsort(t->by_label, t->disk_count, sizeof(*t->by_label), compare_labels);
	pthread_rwlock_unlock(&t->table);
	overlays_relabel(d);
	if (taken)
		disk_set_state(d, DISK_CONFLICT, taken);
	tandem_settle_names(t);
}

int tandem_list_pool(struct tandem *t, struct pool *p)
{
	int err = 0;

	pthread_rwlock_wrlock(&t->table);
	if (t->pool_count == t->pool_room) {
		size_t room = t->pool_room ? 2 * t->pool_room : 8;
		struct pool **more = realloc(t->pools, room * sizeof(*more));

		if (more) {
			t->pools = more;
			t->pool_room = room;
		} else {
			err = -ENOMEM;
		}
	}
	if (!err) {
		parents_init(&p->parents, t, p);
		t->pools[t->pool_count++] = pool_ref(p);
		p->listed = true;
	}
	pthread_rwlock_unlock(&t->table);
	if (!err)
		tandem_changed(t, NULL);
	return err;
}

void tandem_unlist_pool(struct tandem *t, struct pool *p)
{
	pthread_rwlock_wrlock(&t->table);
	for (size_t i = 0; i < t->pool_count; i++)
		if (t->pools[i] == p) {
			memmove(&t->pools[i], &t->pools[i + 1],
				(--t->pool_count - i) * sizeof(*t->pools));
			break;
		}
	p->listed = false;
	pthread_rwlock_unlock(&t->table);
	tandem_settle_names(t);
	tandem_changed(t, NULL);
	pool_unref(p);
}

/* ---- finding ---- */

struct disk **tandem_disks(struct tandem *t, size_t *count)
{
	struct disk **list;

	pthread_rwlock_rdlock(&t->table);
	list = malloc((t->disk_count + 1) * sizeof(*list));
	*count = list ? t->disk_count : 0;
	for (size_t i = 0; i < *count; i++)
		list[i] = disk_ref(t->by_label[i]);
	pthread_rwlock_unlock(&t->table);
	return list;
}

void disks_free(struct disk **disks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		disk_unref(disks[i]);
	free(disks);
}

struct pool **tandem_pools(struct tandem *t, size_t *count)
{
	struct pool **list;

	pthread_rwlock_rdlock(&t->table);
	list = malloc((t->pool_count + 1) * sizeof(*list));
	*count = list ? t->pool_count : 0;
	for (size_t i = 0; i < *count; i++)
		list[i] = pool_ref(t->pools[i]);
	pthread_rwlock_unlock(&t->table);
	return list;
}

void pools_free(struct pool **pools, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pool_unref(pools[i]);
	free(pools);
}

struct disk *tandem_disk_numbered(struct tandem *t, uint32_t number)
{
	struct disk *d = NULL;
	size_t low = 0, high;

	pthread_rwlock_rdlock(&t->table);
	high = t->disk_count;
	while (low < high && !d) {
		size_t mid = (low + high) / 2;

		if (t->by_number[mid]->number == number)
			d = disk_ref(t->by_number[mid]);
		else if (t->by_number[mid]->number < number)
			low = mid + 1;
		else
			high = mid;
	}
	pthread_rwlock_unlock(&t->table);
	return d;
}

/* Under table. */
static struct disk *labelled(struct tandem *t, const char *label)
{
	size_t low = 0, high = t->disk_count;

	while (low < high) {
		size_t mid = (low + high) / 2;
		int order = strcmp(t->by_label[mid]->label, label);

		if (!order)
			return t->by_label[mid];
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

struct disk *tandem_disk_labelled(struct tandem *t, const char *label)
{
	struct disk *d;

	pthread_rwlock_rdlock(&t->table);
	d = labelled(t, label);
	if (d)
		disk_ref(d);
	pthread_rwlock_unlock(&t->table);
	return d;
}

struct disk *tandem_disk_of_file(struct tandem *t, const struct pool *p, const char *file_name)
{
	char label[DISK_LABEL_MAX + 1], whole[NAME_MAX + 1];

	name_whole(file_name, whole);
	snprintf(label, sizeof(label), "%s%s%s", p->name, p->name[0] ? ":" : "", whole);
	return tandem_disk_labelled(t, label);
}

struct disk *tandem_disk_mounted(struct tandem *t, const struct pool *pool, const char *name)
{
	struct disk *d = tandem_disk_of_file(t, pool, name);

	/* Flat formats are called like their files, as a rule; the others are looked for. */
	if (d && disk_is_mounted_as(d, pool->number, name) && disk_is_served(d))
		return d;
	disk_unref(d);
	pthread_rwlock_rdlock(&t->table);
	d = holder(t, pool->number, name, NULL);
	d = d && disk_is_served(d) ? disk_ref(d) : NULL;
	pthread_rwlock_unlock(&t->table);
	return d;
}

bool tandem_name_is_known(struct tandem *t, const struct pool *pool, const char *name)
{
	bool known = false;

	pthread_rwlock_rdlock(&t->table);
	for (size_t i = 0; i < t->disk_count && !known; i++)
		known = disk_is_mounted_as(t->by_label[i], pool->number, name);
	pthread_rwlock_unlock(&t->table);
	return known;
}

struct disk *tandem_disk_called(struct tandem *t, const char *name)
{
	struct disk *d = tandem_disk_labelled(t, name);
	char pool_name[POOL_NAME_MAX + 1] = "";
	const char *file = name, *mark;
	struct pool *p;

	if (d)
		return d;
	p = tandem_pool_named(t, "");
	d = tandem_disk_mounted(t, p, name);
	pool_unref(p);
	/* POOL:FILE.raw, or as the path in the mount: POOL/FILE.raw */
	mark = strpbrk(name, ":/");
	if (d || !mark || mark == name || mark - name > POOL_NAME_MAX)
		return d;
	memcpy(pool_name, name, mark - name);
	file = mark + 1;
	p = tandem_pool_named(t, pool_name);
	if (p)
		d = tandem_disk_mounted(t, p, file);
	pool_unref(p);
	return d;
}

struct pool *tandem_pool_numbered(struct tandem *t, uint32_t number)
{
	struct pool *p = NULL;

	pthread_rwlock_rdlock(&t->table);
	for (size_t i = 0; i < t->pool_count && !p; i++)
		if (t->pools[i]->number == number)
			p = pool_ref(t->pools[i]);
	pthread_rwlock_unlock(&t->table);
	return p;
}

struct pool *tandem_pool_named(struct tandem *t, const char *name)
{
	struct pool *p = NULL;

	pthread_rwlock_rdlock(&t->table);
	for (size_t i = 0; i < t->pool_count && !p; i++)
		if (!strcmp(t->pools[i]->name, name))
			p = pool_ref(t->pools[i]);
	pthread_rwlock_unlock(&t->table);
	return p;
}

/* ---- changes ---- */

int tandem_txn(struct tandem *t, struct catalogue_txn **txn)
{
	int err = t->txn ? 0 : catalogue_begin(t->catalogue, &t->txn);

	*txn = t->txn;
	return err;
}

int tandem_commit(struct tandem *t)
{
	struct catalogue_txn *txn = t->txn;

	t->txn = NULL;
	return txn ? catalogue_commit(txn) : 0;
}

void tandem_changed(struct tandem *t, struct disk *d)
{
	void (*fn)(void *) = atomic_load(&t->on_change);

	if (d)
		atomic_fetch_add(&d->changes, 1);
	atomic_fetch_add(&t->changes, 1);
	if (fn)
		fn(t->on_change_arg);
}

void tandem_set_listener(struct tandem *t, void (*fn)(void *), void *arg)
{
	if (fn)
		t->on_change_arg = arg;
	atomic_store(&t->on_change, fn);
}

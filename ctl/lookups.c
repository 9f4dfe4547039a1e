// SPDX-License-Identifier: GPL-2.0-or-later
#include "lookups.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct entry {
	struct lookup what;
	uint32_t number; /* 0: free */
	unsigned holders;
	uint64_t used; /* 0: never */
};

struct lookups {
	pthread_mutex_t lock;
	uint32_t last; /* number */
	uint64_t clock;
	struct entry entries[LOOKUPS_MAX];
};

int lookups_new(struct lookups **out)
{
	struct lookups *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	pthread_mutex_init(&l->lock, NULL);
	*out = l;
	return 0;
}

void lookups_free(struct lookups *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static bool is_same(const struct lookup *x, const struct lookup *y)
{
	return x->row == y->row && x->object == y->object && x->a == y->a && x->b == y->b;
}

/* The entry of the same, or the best to make one of; NULL: all are held. */
static struct entry *entry_for(struct lookups *l, const struct lookup *what)
{
	struct entry *best = NULL;

	for (struct entry *e = l->entries; e < l->entries + LOOKUPS_MAX; e++) {
		if (e->number && is_same(&e->what, what))
			return e;
		if (!e->holders && (!best || e->used < best->used))
			best = e;
	}
	if (best)
		best->number = 0;
	return best;
}

int lookups_put(struct lookups *l, const struct lookup *what, uint32_t *number)
{
	struct entry *e;

	pthread_mutex_lock(&l->lock);
	e = entry_for(l, what);
	if (e) {
		if (!e->number) {
			e->what = *what;
			e->number = ++l->last ? l->last : ++l->last;
		}
		e->used = ++l->clock;
		*number = e->number;
	}
	pthread_mutex_unlock(&l->lock);
	return e ? 0 : -EAGAIN;
}

/* Under lock. */
static struct entry *numbered(struct lookups *l, uint32_t number)
{
	for (struct entry *e = l->entries; number && e < l->entries + LOOKUPS_MAX; e++) {
		if (e->number == number)
			return e;
	}
	return NULL;
}

bool lookups_get(struct lookups *l, uint32_t number, struct lookup *out)
{
	struct entry *e;

	pthread_mutex_lock(&l->lock);
	e = numbered(l, number);
	if (e) {
		e->used = ++l->clock;
		*out = e->what;
	}
	pthread_mutex_unlock(&l->lock);
	return e;
}

bool lookups_hold(struct lookups *l, uint32_t number)
{
	struct entry *e;

	pthread_mutex_lock(&l->lock);
	e = numbered(l, number);
	if (e)
		e->holders++;
	pthread_mutex_unlock(&l->lock);
	return e;
}

void lookups_drop(struct lookups *l, uint32_t number)
{
	struct entry *e;

	pthread_mutex_lock(&l->lock);
	e = numbered(l, number);
	if (e)
		e->holders--;
	pthread_mutex_unlock(&l->lock);
}

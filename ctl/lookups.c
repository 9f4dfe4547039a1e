// SPDX-License-Identifier: GPL-2.0-or-later
#include "lookups.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct entry {
	struct lookup what;
	uint32_t number; /* 0: free */
	unsigned holders;
	uint64_t used; /* 0: never */
};

/* What another daemon can go on with: it is there at each moment, or free. */
struct table {
	uint32_t last; /* number */
	uint64_t clock;
	struct entry entries[LOOKUPS_MAX];
};

struct lookups {
	pthread_mutex_t lock;
	struct table own, *table;
};
_Static_assert(sizeof(struct table) <= LOOKUPS_MEMORY, "what callers make room for");

int lookups_new(struct lookups **out)
{
	struct lookups *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	pthread_mutex_init(&l->lock, NULL);
	l->table = &l->own;
	*out = l;
	return 0;
}

void lookups_use_memory(struct lookups *l, void *memory)
{
	l->table = memory;
	for (struct entry *e = l->table->entries; e < l->table->entries + LOOKUPS_MAX; e++)
		e->holders = 0;
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

	for (struct entry *e = l->table->entries; e < l->table->entries + LOOKUPS_MAX; e++) {
		if (e->number && is_same(&e->what, what))
			return e;
		if (!e->holders && (!best || e->used < best->used))
			best = e;
	}
	if (best)
		best->number = 0;
	atomic_signal_fence(memory_order_seq_cst); /* free before it is another */
	return best;
}

int lookups_put(struct lookups *l, const struct lookup *what, uint32_t *number)
{
	struct entry *e;

	pthread_mutex_lock(&l->lock);
	e = entry_for(l, what);
	if (e) {
		if (!e->number) {
			struct table *t = l->table;
			uint32_t fresh = ++t->last ? t->last : ++t->last;

			e->what = *what;
			atomic_signal_fence(memory_order_seq_cst); /* whole when it has a number */
			e->number = fresh;
		}
		e->used = ++l->table->clock;
		*number = e->number;
	}
	pthread_mutex_unlock(&l->lock);
	return e ? 0 : -EAGAIN;
}

/* Under lock. */
static struct entry *numbered(struct lookups *l, uint32_t number)
{
	for (struct entry *e = l->table->entries; number && e < l->table->entries + LOOKUPS_MAX;
	     e++) {
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
		e->used = ++l->table->clock;
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

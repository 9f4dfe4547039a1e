// SPDX-License-Identifier: GPL-2.0-or-later
#include "ledger.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	enum object_kind kind; /* OBJECT_NONE: free */
	uint32_t object;
	uint64_t when; /* sequence number of the command, 1 for the first */
	char *bytes;
	size_t len;
};

struct count {
	const char *operation;
	unsigned value;
	const char *name;
	uint64_t count;
};

struct ledger {
	pthread_mutex_t lock;
	uint64_t last;
	struct entry entries[LEDGER_RESULTS];
	struct count *counts;
	size_t count, room;
};

int ledger_new(struct ledger **out)
{
	struct ledger *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	pthread_mutex_init(&l->lock, NULL);
	*out = l;
	return 0;
}

void ledger_free(struct ledger *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < LEDGER_RESULTS; i++)
		free(l->entries[i].bytes);
	free(l->counts);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static struct entry *find(struct ledger *l, enum object_kind kind, uint32_t object)
{
	for (struct entry *e = l->entries; e < l->entries + LEDGER_RESULTS; e++) {
		if (e->kind == kind && e->object == object)
			return e;
	}
	return NULL;
}

/* A free one has `when` 0. */
static struct entry *oldest(struct ledger *l)
{
	struct entry *best = l->entries;

	for (struct entry *e = l->entries; e < l->entries + LEDGER_RESULTS; e++) {
		if (e->when < best->when)
			best = e;
	}
	return best;
}

void ledger_put(struct ledger *l, enum object_kind kind, uint32_t object, const char *bytes,
		size_t len)
{
	char *copy = malloc(len ? len : 1), *old;
	struct entry *e;

	if (!copy)
		return;
	if (len)
		memcpy(copy, bytes, len);
	pthread_mutex_lock(&l->lock);
	e = find(l, kind, object);
	if (!e)
		e = oldest(l);
	old = e->bytes;
	*e = (struct entry){ kind, object, ++l->last, copy, len };
	pthread_mutex_unlock(&l->lock);
	free(old);
}

void ledger_get(struct ledger *l, enum object_kind kind, uint32_t object, struct text *out)
{
	const struct entry *e;

	pthread_mutex_lock(&l->lock);
	e = find(l, kind, object);
	if (e)
		text_add(out, e->bytes, e->len);
	pthread_mutex_unlock(&l->lock);
}

uint64_t ledger_version(struct ledger *l, enum object_kind kind, uint32_t object)
{
	const struct entry *e;
	uint64_t when;

	pthread_mutex_lock(&l->lock);
	e = find(l, kind, object);
	when = e ? e->when : 0;
	pthread_mutex_unlock(&l->lock);
	return when;
}

static struct count *find_count(struct ledger *l, const char *operation,
				const struct return_code *code)
{
	struct count *more;

	for (size_t i = 0; i < l->count; i++) {
		struct count *c = &l->counts[i];

		/* Several errnos share one return value: the name is one too. */
		if (c->value == code->value && strcmp(c->operation, operation) == 0)
			return c;
	}
	if (l->count == l->room) {
		more = realloc(l->counts, (l->room + 32) * sizeof(*more));
		if (!more)
			return NULL;
		l->counts = more;
		l->room += 32;
	}
	l->counts[l->count] = (struct count){ operation, code->value, code->name, 0 };
	return &l->counts[l->count++];
}

void ledger_count(struct ledger *l, const char *operation, const struct return_code *code)
{
	struct count *c;

	pthread_mutex_lock(&l->lock);
	c = find_count(l, operation, code);
	if (c)
		c->count++;
	pthread_mutex_unlock(&l->lock);
}

void ledger_each_count(struct ledger *l,
		       void (*fn)(void *arg, const char *operation, unsigned value,
				  const char *name, uint64_t count),
		       void *arg)
{
	pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < l->count; i++) {
		const struct count *c = &l->counts[i];

		fn(arg, c->operation, c->value, c->name, c->count);
	}
	pthread_mutex_unlock(&l->lock);
}

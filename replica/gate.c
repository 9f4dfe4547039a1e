// SPDX-License-Identifier: GPL-2.0-or-later
#include "gate.h"

#include <assert.h>
#include <stddef.h>

void gate_init(struct gate *g, unsigned limit)
{
	pthread_mutex_init(&g->mutex, NULL);
	g->limit = limit;
	g->running = 0;
	g->came = 0;
	g->active = NULL;
	g->parked = NULL;
	g->parked_last = &g->parked;
}

void gate_destroy(struct gate *g)
{
	assert(!g->running && !g->parked);
	pthread_mutex_destroy(&g->mutex);
}

static void activate(struct gate *g, struct gate_item *item)
{
	g->running++;
	item->next = g->active;
	item->link = &g->active;
	if (item->next)
		item->next->link = &item->next;
	g->active = item;
}

bool gate_enter_few(struct gate *g, struct gate_item *item, unsigned limit)
{
	bool enter;

	item->since = monotonic_ns();
	pthread_mutex_lock(&g->mutex);
	g->came++;
	enter = g->running < limit && g->running < g->limit;
	if (enter) {
		activate(g, item);
	} else {
		item->next = NULL;
		*g->parked_last = item;
		g->parked_last = &item->next;
	}
	pthread_mutex_unlock(&g->mutex);
	return enter;
}

bool gate_enter(struct gate *g, struct gate_item *item)
{
	return gate_enter_few(g, item, g->limit);
}

struct gate_item *gate_leave(struct gate *g, struct gate_item *done)
{
	struct gate_item *next;

	pthread_mutex_lock(&g->mutex);
	*done->link = done->next;
	if (done->next)
		done->next->link = done->link;
	g->running--;
	next = g->parked;
	if (next) {
		g->parked = next->next;
		if (!g->parked)
			g->parked_last = &g->parked;
		activate(g, next);
	}
	pthread_mutex_unlock(&g->mutex);
	return next;
}

bool gate_is_busy(struct gate *g, uint64_t *came)
{
	bool busy;

	pthread_mutex_lock(&g->mutex);
	busy = g->running || g->parked;
	*came = g->came;
	pthread_mutex_unlock(&g->mutex);
	return busy;
}

uint64_t gate_oldest(struct gate *g, uint64_t now)
{
	uint64_t oldest = now;

	pthread_mutex_lock(&g->mutex);
	for (struct gate_item *i = g->active; i; i = i->next)
		if (i->since < oldest)
			oldest = i->since;
	pthread_mutex_unlock(&g->mutex);
	return now - oldest;
}

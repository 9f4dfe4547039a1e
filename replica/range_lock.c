// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One list in the order of arrival. An entry is granted when no entry before it
 * overlaps and either of the two is exclusive. The list is as long as
 * there are requests of one disk in progress, a few dozen: walking it costs
 * less than a tree would.
 */
#include "range_lock.h"

#include <assert.h>
#include <stddef.h>

void range_lock_init(struct range_lock *l)
{
	pthread_mutex_init(&l->mutex, NULL);
	pthread_cond_init(&l->released, NULL);
	l->first = NULL;
	l->last = &l->first;
	l->waiting = 0;
}

void range_lock_destroy(struct range_lock *l)
{
	assert(!l->first);
	pthread_cond_destroy(&l->released);
	pthread_mutex_destroy(&l->mutex);
}

static bool must_wait(const struct range_lock *l, const struct range *r)
{
	for (const struct range *o = l->first; o != r; o = o->next)
		if (o->start < r->end && r->start < o->end && (o->exclusive || r->exclusive))
			return true;
	return false;
}

static void take(struct range_lock *l, struct range *r, uint64_t off, uint64_t len, bool exclusive)
{
	uint64_t grain = RANGE_LOCK_GRAIN;

	r->start = off & ~(grain - 1);
	/* To the very end when rounding up would overflow. */
	r->end = off + len > UINT64_MAX - grain || off + len < off
			 ? UINT64_MAX
			 : (off + len + grain - 1) & ~(grain - 1);
	r->exclusive = exclusive;
	r->next = NULL;

	pthread_mutex_lock(&l->mutex);
	r->link = l->last;
	*l->last = r;
	l->last = &r->next;
	l->waiting++;
	while (must_wait(l, r))
		pthread_cond_wait(&l->released, &l->mutex);
	l->waiting--;
	r->granted = true;
	pthread_mutex_unlock(&l->mutex);
}

void range_lock_read(struct range_lock *l, struct range *r, uint64_t off, uint64_t len)
{
	take(l, r, off, len, false);
}

void range_lock_write(struct range_lock *l, struct range *r, uint64_t off, uint64_t len)
{
	take(l, r, off, len, true);
}

void range_unlock(struct range_lock *l, struct range *r)
{
	pthread_mutex_lock(&l->mutex);
	assert(r->granted);
	*r->link = r->next;
	if (r->next)
		r->next->link = r->link;
	else
		l->last = r->link;
	r->granted = false;
	if (l->waiting)
		pthread_cond_broadcast(&l->released);
	pthread_mutex_unlock(&l->mutex);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "close_wait.h"

#include <errno.h>

#include "clock.h"
#include "tandem.h"

#define PATIENCE_NS 250000000ull
/* What a slow device may take for a close; names of the mount wait for that long, too. */
#define CLOSE_NS (PATIENCE_NS + 2000000000ull)

/* Whoever tries opens and closes disks himself, and is not to be woken by that. */
static __thread uint64_t own_closes;

void closes_tell(struct tandem *t)
{
	own_closes++;
	pthread_mutex_lock(&t->closes_lock);
	t->closes++;
	pthread_cond_broadcast(&t->closed);
	pthread_mutex_unlock(&t->closes_lock);
}

/* Under closes_lock. */
static uint64_t others_closes(const struct tandem *t)
{
	return t->closes - own_closes;
}

void close_wait_begin(struct close_wait *w, struct tandem *t)
{
	*w = (struct close_wait){ .t = t, .start = monotonic_ns() };
	w->tried = w->start;
	pthread_mutex_lock(&t->closes_lock);
	w->closes = others_closes(t);
	pthread_mutex_unlock(&t->closes_lock);
}

bool close_wait_again(struct close_wait *w, int err, struct why *why)
{
	uint64_t until = w->start + (why->closing ? CLOSE_NS : PATIENCE_NS);
	struct tandem *t = w->t;

	/* One try begins when the time is over: whatever was closed until then, it finds closed. */
	if (err != -EBUSY || !why->open || w->tried >= until)
		return false;
	pthread_mutex_lock(&t->closes_lock);
	while (others_closes(t) == w->closes && clock_wait(&t->closed, &t->closes_lock, until))
		;
	w->closes = others_closes(t);
	pthread_mutex_unlock(&t->closes_lock);
	w->tried = monotonic_ns();
	*why = (struct why){ 0 };
	return true;
}

struct why *while_open(struct disk *d, struct why *why)
{
	if (!why)
		return NULL;
	pthread_mutex_lock(&d->lock);
	why->open = true;
	why->closing = d->closing;
	pthread_mutex_unlock(&d->lock);
	return why;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "turns.h"

#define SECOND 1000000000ull
/* Guests are quiet if nothing came for so long. */
#define QUIET_NS 20000000ull
#define LOOK_NS 10000000ull
/* With a rate, steps in a second; but none is smaller than that. */
#define STEPS 4
#define SMALLEST_STEP (64ull << 10)
#define SAMPLE_NS SECOND

/*
 * What guests get of a device is little while copiers have much under way there: a request of theirs waits behind all
 * of it. So whoever gives way is soon done with a step, and then waits for them at most so many times as long as it took.
 */
static const struct manners {
	int rank;
	unsigned waits;
	uint64_t step; /* at most, beside guests */
} manners[] = {
	[PRIORITY_NOT_MANAGED] = { 1, 1, 4ull << 20 },
	[PRIORITY_LOW] = { 2, 14, 1ull << 20 },
	[PRIORITY_SAME] = { 1, 1, 4ull << 20 },
	[PRIORITY_HIGH] = { 0, 0, UINT64_MAX },
};

void turns_join(struct turns *ts, struct turn *t)
{
	t->next = ts->list;
	ts->list = t;
}

void turns_leave(struct turns *ts, struct turn *t)
{
	struct turn **link = &ts->list;

	while (*link && *link != t)
		link = &(*link)->next;
	if (*link)
		*link = t->next;
	t->asks = t->has = false;
}

static int rank(const struct turn *t)
{
	return manners[t->priority].rank;
}

static bool is_before(const struct turn *a, const struct turn *b)
{
	return rank(a) != rank(b) ? rank(a) < rank(b) : a->order < b->order;
}

/* Those who have a turn, and those who are to have one first, are as many as there may be. */
static bool is_full(const struct turns *ts, const struct turn *t)
{
	uint32_t others = 0;

	for (const struct turn *o = ts->list; o; o = o->next)
		others += o != t && (o->has || (o->asks && is_before(o, t)));
	return ts->most && others >= ts->most;
}

static bool is_outranked(const struct turns *ts, const struct turn *t)
{
	for (const struct turn *o = ts->list; o; o = o->next)
		if ((o->asks || o->has) && rank(o) < rank(t))
			return true;
	return false;
}

/* It gives way to guests, and looks again soon. */
static bool gives_way(struct turn *t, uint64_t now, struct guests g, uint64_t *until)
{
	if (g.busy || g.requests != t->requests)
		t->way_ns = now;
	t->requests = g.requests;
	t->amid_guests = t->way_ns && now - t->way_ns < QUIET_NS;
	if (now >= t->way_until || !t->amid_guests)
		return false;
	*until = now + LOOK_NS < t->way_until ? now + LOOK_NS : t->way_until;
	return true;
}

enum turn_answer turns_ask(struct turns *ts, struct turn *t, uint64_t now, struct guests guests,
			   uint64_t *until)
{
	t->asks = false;
	*until = TURNS_NEVER;
	if (t->suspended)
		return TURN_SUSPENDED;
	/* One of low priority is in nobody's way meanwhile. */
	t->asks = t->priority != PRIORITY_LOW;
	if (gives_way(t, now, guests, until))
		return TURN_OF_GUESTS;
	t->asks = true;
	if (is_full(ts, t) || (ts->rate && is_outranked(ts, t)))
		return TURN_OF_OTHERS;
	if (ts->rate && now < ts->due) {
		*until = ts->due;
		return TURN_TOO_FAST;
	}
	t->asks = false;
	t->has = true;
	t->began = now;
	return TURN_TAKEN;
}

void turns_give_back(struct turns *ts, struct turn *t, uint64_t now, uint64_t copied)
{
	uint64_t from = t->has ? t->began : now;

	/* What was not used before is not saved up: nobody wants it all at once. */
	if (ts->rate && copied)
		ts->due = (ts->due > from ? ts->due : from) +
			  (uint64_t)((double)copied / ts->rate * SECOND);
	if (t->has)
		t->way_until = now + manners[t->priority].waits * (now - t->began);
	t->has = t->asks = false;
}

uint64_t turns_step(const struct turns *ts, const struct turn *t, uint64_t most)
{
	uint64_t paid = ts->rate ? ts->rate / STEPS : most, amid = manners[t->priority].step;

	if (paid < SMALLEST_STEP)
		paid = SMALLEST_STEP;
	if ((t->amid_guests || t->priority == PRIORITY_LOW) && most > amid)
		most = amid;
	return paid < most ? paid : most;
}

/* ---- how fast it is ---- */

static unsigned oldest(const struct pace *p)
{
	return p->count < PACE_SAMPLES ? 0 : p->at;
}

void pace_note(struct pace *p, uint64_t now, uint64_t done)
{
	unsigned last = (p->at + PACE_SAMPLES - 1) % PACE_SAMPLES;

	if (p->count && now - p->samples[last].ns < SAMPLE_NS)
		return;
	p->samples[p->at].ns = now;
	p->samples[p->at].done = done;
	p->at = (p->at + 1) % PACE_SAMPLES;
	p->count += p->count < PACE_SAMPLES;
}

uint64_t pace_rate(const struct pace *p, uint64_t now, uint64_t done)
{
	unsigned i = oldest(p);

	if (!p->count || now <= p->samples[i].ns || done <= p->samples[i].done)
		return 0;
	return (double)(done - p->samples[i].done) * SECOND / (now - p->samples[i].ns);
}

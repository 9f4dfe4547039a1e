// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * An adaptive mirror: asynchronous while its target lacks no more than the SkewLimit, synchronous
 * above that, until both are the same.
 *
 *   asynchronous -> synchronous   when more differs. Who writes tells the keeper (leg.limit). A
 *                                 generation that is half copied is completed first; then nothing
 *                                 more is let behind, and the target is whole when both are the same
 *   synchronous -> asynchronous   when both are the same, and have been kept so for a while: 10 s,
 *                                 twice as long each time that it was too much again soon
 *
 * So it does not flap: a source that is written faster than its target can follow is synchronous
 * nearly all of the time. What it was told (`adaptive`) and the mode that it has (`mode`) are
 * recorded; how long it rests is not, and begins again with the daemon.
 */
#include "pairs_inner.h"

#define REST_NS 10000000000ull
#define REST_MAX_NS 320000000000ull

/* So long it stays synchronous, if it becomes that now. */
static uint64_t next_rest(const struct pair *p, uint64_t now)
{
	bool soon = p->rest_ns && now - p->async_at < 2 * p->rest_ns;

	if (!soon)
		return REST_NS;
	return 2 * p->rest_ns < REST_MAX_NS ? 2 * p->rest_ns : REST_MAX_NS;
}

static bool is_too_much(struct pair *p, const struct pair_record *r)
{
	return pair_writes(r) && !r->shows && marks_bytes(p->leg.marks) > r->skew_limit &&
	       async_drain_wanted(p) == DRAIN_NONE;
}

static bool has_rested(struct pair *p, const struct pair_record *r, uint64_t now)
{
	return r->copy_state == COPY_SYNCHRONIZED && now >= p->rest_until &&
	       !marks_bytes(p->leg.marks) && !atomic_load(&p->verify);
}

/* Under changing. */
static bool adapt(struct pair *p, const struct pair_record *r)
{
	uint64_t now = monotonic_ns();
	bool async = pair_is_async(r);

	if (!r->adaptive || r->back || atomic_load(&p->stop) || atomic_load(&p->leg.failed))
		return false;
	if (!(async ? is_too_much(p, r) : has_rested(p, r, now)) ||
	    pair_adapt(p, async ? MODE_SYNCHRONOUS : MODE_ASYNCHRONOUS))
		return false;
	if (async) {
		p->rest_ns = next_rest(p, now);
		p->rest_until = now + p->rest_ns;
	} else {
		p->async_at = now;
	}
	return true;
}

/* Who is told already, and can do nothing about it just now, is not told again by each write. */
static uint64_t limit_now(struct pair *p, const struct pair_record *r)
{
	bool watched = r->adaptive && pair_is_async(r) && pair_writes(r) &&
		       marks_bytes(p->leg.marks) <= r->skew_limit;

	return watched ? r->skew_limit : 0;
}

bool adaptive_step(struct pair *p)
{
	struct pair_record r;
	bool adapted;

	pthread_mutex_lock(&p->changing);
	r = pair_record_of(p);
	adapted = adapt(p, &r);
	r = pair_record_of(p);
	atomic_store(&p->leg.limit, limit_now(p, &r));
	pthread_mutex_unlock(&p->changing);
	if (adapted)
		pair_changed(p);
	return adapted;
}

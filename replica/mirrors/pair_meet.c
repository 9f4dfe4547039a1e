// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Asynchronous mirrors whose targets become what their sources were at one moment. For a group that
 * stops, or takes over, and then they stay that:
 *
 *   each keeper comes to where its cycle takes a moment, with what is set from there on watched: HERE
 *   -> one moment of all sources: GO
 *   -> each target becomes what its source was then, durably, and no other cycle begins: MET
 *
 * And for the next generation of a consistent group:
 *
 *   HERE -> GO -> each target has all of it, durably, and shows what it was still: READY
 *   -> the records of all say so, in one transaction -> MET
 *
 * Writers wait for nobody. Whoever does not come, or does not get there, ends it for all; then each
 * follows its source as before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pairs_inner.h"
#include "snapshots_inner.h"

/* All come in that time; and all get there. */
#define MEET_NS 30000000000ull

/* ---- by the keeper ---- */

bool meeting_is_called(struct pair *p, struct meeting *m)
{
	bool called;

	pthread_mutex_lock(&p->lock);
	called = m->is == MEETING_CALLED;
	pthread_mutex_unlock(&p->lock);
	return called;
}

/* Under lock. An operation is not kept waiting by a generation. */
static bool stays(const struct pair *p, const struct meeting *m)
{
	return !p->ending && !p->gone && !atomic_load(&p->stop) && !atomic_load(&p->leg.failed) &&
	       (m != &p->joint || p->drain == DRAIN_NONE);
}

int meeting_attend(struct pair *p, struct meeting *m, struct disk *source,
		   struct moment_record *out)
{
	uint64_t until = monotonic_ns() + MEET_NS, g = 0;
	int err = 0;

	pthread_mutex_lock(&p->lock);
	if (m->is == MEETING_CALLED) {
		m->is = MEETING_HERE;
		pthread_cond_broadcast(&p->poked);
	}
	while (m->is == MEETING_HERE && stays(p, m) && clock_wait(&p->poked, &p->lock, until))
		;
	if (m->is == MEETING_GO) {
		m->is = MEETING_GOING;
		g = m->at;
	} else if (m->is == MEETING_HERE) {
		m->is = MEETING_OFF;
	}
	pthread_cond_broadcast(&p->poked);
	pthread_mutex_unlock(&p->lock);
	if (!g)
		return -ECANCELED;
	err = moment_exactly(source, g, out);
	if (err) {
		moment_unpin(source, g);
		collector_add(source->tandem->snapshots->collector, source, g);
	}
	return err;
}

/* Who has agreed to it waits for the record, and for nothing else. */
int meeting_conclude(struct pair *p, struct cycle *c)
{
	struct meeting *m = &p->joint;
	bool met;

	pthread_mutex_lock(&p->lock);
	if (m->is == MEETING_GOING) {
		m->is = MEETING_READY;
		p->ready = c;
		pthread_cond_broadcast(&p->poked);
	}
	while (m->is == MEETING_AGREED || (m->is == MEETING_READY && stays(p, m)))
		pthread_cond_wait(&p->poked, &p->lock);
	met = m->is == MEETING_MET;
	p->ready = NULL;
	pthread_mutex_unlock(&p->lock);
	return met ? 0 : -EAGAIN;
}

/* Under lock. What does not get there is told; what was told is over. */
void meeting_cycle_ended(struct pair *p)
{
	struct meeting *m = &p->joint;

	if (m->is == MEETING_GOING || m->is == MEETING_READY)
		m->is = MEETING_OFF;
	else if (m->is == MEETING_CALLED_OFF || m->is == MEETING_MET)
		m->is = MEETING_NONE;
}

/* ---- by who calls them ---- */

struct meeting_of {
	struct tandem *t;
	bool joint; /* for a generation */
	struct pair *const *pairs;
	size_t count, called;
	struct disk **sources; /* references */
	uint64_t until;
};

static struct meeting *of(const struct meeting_of *m, struct pair *p)
{
	return m->joint ? &p->joint : &p->meeting;
}

/* Under lock. One that ends is seen by its keeper first. */
static int ask_to_join(struct pair *p)
{
	if (p->joint.is != MEETING_NONE || p->drain != DRAIN_NONE)
		return -EBUSY;
	p->poke = true;
	pthread_cond_broadcast(&p->poked);
	return 0;
}

static int call(const struct meeting_of *m, struct pair *p, struct why *why)
{
	int err;

	pthread_mutex_lock(&p->lock);
	err = m->joint ? ask_to_join(p) : async_ask_to_drain(p);
	if (!err)
		of(m, p)->is = MEETING_CALLED;
	pthread_mutex_unlock(&p->lock);
	return err ? refuse(why, err, "another operation waits for its next generation") : 0;
}

static int await(struct meeting_of *m, struct pair *p, enum meeting_state is, struct why *why)
{
	const struct meeting *at = of(m, p);
	int err;

	pthread_mutex_lock(&p->lock);
	while (at->is != is && at->is != MEETING_OFF && async_can_drain(p) &&
	       clock_wait(&p->poked, &p->lock, m->until))
		;
	err = at->is == is ? 0 : -ETIMEDOUT;
	pthread_mutex_unlock(&p->lock);
	return err ? refuse(why, err, "what it lacks could not be copied in time") : 0;
}

/* They have a past by now, and each is open. Those of one source have one history. */
static int take_moment(struct meeting_of *m, uint64_t *g, struct why *why)
{
	struct history **hs = calloc(m->count + 1, sizeof(struct history *));
	size_t n = 0, k;
	int err = hs ? 0 : -ENOMEM;

	for (size_t i = 0; i < m->count && !err; i++) {
		struct history *h;

		m->sources[i] = pair_source(m->pairs[i]);
		h = m->sources[i] ? atomic_load(&m->sources[i]->history) : NULL;
		err = h ? 0 : -ENOENT;
		for (k = 0; k < n && hs[k] != h; k++)
			;
		if (k == n)
			hs[n++] = h;
	}
	if (!err)
		err = generation_close(m->t, hs, n, MOMENT_SENT, past_now(m->t->snapshots), NULL,
				       g);
	free(hs);
	return err ? refuse(why, err, "there is no moment of all to be had: %s", strerror(-err))
		   : 0;
}

/* It has its own pin of the moment, or does not come. */
static int send_off(struct meeting_of *m, size_t i, uint64_t g, struct why *why)
{
	struct pair *p = m->pairs[i];
	struct meeting *at = of(m, p);
	struct disk *source = m->sources[i];
	int err = moment_pin(source, g);
	bool goes = false;

	pthread_mutex_lock(&p->lock);
	if (!err && at->is == MEETING_HERE) {
		goes = true;
		at->is = MEETING_GO;
		at->at = g;
		pthread_cond_broadcast(&p->poked);
	}
	pthread_mutex_unlock(&p->lock);
	if (!err && !goes)
		moment_unpin(source, g);
	/* It may have been the last who needed it. */
	if (!goes)
		collector_add(m->t->snapshots->collector, source, g);
	return goes ? 0 : refuse(why, -ETIMEDOUT, "it does not follow its source just now");
}

/* A keeper that has not seen yet that it is to go will not: nobody else lets go of its moment. */
static void call_off(struct meeting_of *m, size_t i)
{
	struct pair *p = m->pairs[i];
	struct meeting *at = of(m, p);
	uint64_t g = 0;

	pthread_mutex_lock(&p->lock);
	if (at->is == MEETING_GO) {
		at->is = MEETING_OFF;
		g = at->at;
	}
	if (m->joint)
		at->is = at->is == MEETING_GOING || at->is == MEETING_READY ||
					 at->is == MEETING_CALLED_OFF
				 ? MEETING_CALLED_OFF
				 : MEETING_NONE;
	pthread_cond_broadcast(&p->poked);
	pthread_mutex_unlock(&p->lock);
	if (g) {
		moment_unpin(m->sources[i], g);
		collector_add(m->t->snapshots->collector, m->sources[i], g);
	}
	if (!m->joint)
		async_release(p);
}

/* Under changing of all. */
static int agree(struct meeting_of *m)
{
	int err = 0;

	for (size_t i = 0; i < m->count && !err; i++) {
		struct pair *p = m->pairs[i];

		pthread_mutex_lock(&p->lock);
		if (p->joint.is == MEETING_READY && stays(p, &p->joint))
			p->joint.is = MEETING_AGREED;
		else
			err = -EAGAIN;
		pthread_mutex_unlock(&p->lock);
	}
	return err;
}

/* Likewise. */
static void dismiss(struct meeting_of *m, int err)
{
	for (size_t i = 0; i < m->count; i++) {
		struct pair *p = m->pairs[i];

		pthread_mutex_lock(&p->lock);
		if (p->joint.is == MEETING_AGREED)
			p->joint.is = err ? MEETING_CALLED_OFF : MEETING_MET;
		pthread_cond_broadcast(&p->poked);
		pthread_mutex_unlock(&p->lock);
	}
}

/* Likewise. They show it from here on, also after a crash; or what they showed. */
static int conclude_agreed(struct meeting_of *m)
{
	struct pair_step *steps = calloc(m->count, sizeof(*steps));
	int err = steps ? 0 : -ENOMEM;

	for (size_t i = 0; i < m->count && !err; i++) {
		steps[i].p = m->pairs[i];
		steps[i].from = pair_record_of(m->pairs[i]).copy_state;
		err = async_check_conclusion(m->pairs[i]->ready, &steps[i].r);
	}
	if (!err) {
		uint64_t *shown = calloc(m->count, sizeof(*shown));

		for (size_t i = 0; i < m->count && shown; i++)
			shown[i] = pair_record_of(m->pairs[i]).shows;
		err = shown ? pair_record_steps(steps, m->count) : -ENOMEM;
		for (size_t i = 0; i < m->count && !err; i++)
			async_concluded(m->pairs[i]->ready, shown[i]);
		free(shown);
	}
	free(steps);
	return err;
}

/* All are READY, or were. By number, as who operates a group. */
static int conclude_all(struct meeting_of *m)
{
	int err;

	for (size_t i = 0; i < m->count; i++)
		pthread_mutex_lock(&m->pairs[i]->changing);
	err = agree(m) ?: conclude_agreed(m);
	dismiss(m, err);
	for (size_t i = m->count; i-- > 0;)
		pthread_mutex_unlock(&m->pairs[i]->changing);
	return err;
}

static int meet(struct meeting_of *m, size_t *which, struct why *why)
{
	uint64_t g = 0;
	int err = 0, one;

	for (size_t i = 0; i < m->count && !err; i++) {
		*which = i;
		err = call(m, m->pairs[i], why);
		m->called += !err;
	}
	m->until = monotonic_ns() + MEET_NS;
	for (size_t i = 0; i < m->count && !err; i++) {
		*which = i;
		err = await(m, m->pairs[i], MEETING_HERE, why);
	}
	/* Who was there first may have gone while others were waited for. */
	for (size_t i = 0; i < m->count && !err; i++) {
		*which = i;
		err = await(m, m->pairs[i], MEETING_HERE, why);
	}
	if (!err)
		err = take_moment(m, &g, why);
	/* All of them, so that nobody has it who does not let go of it. */
	for (size_t i = 0; i < m->count && g; i++) {
		one = send_off(m, i, g, why);
		*which = one && !err ? i : *which;
		err = err ? err : one;
	}
	/* A generation takes what it takes. */
	m->until = m->joint ? UINT64_MAX : monotonic_ns() + MEET_NS;
	for (size_t i = 0; i < m->count && !err; i++) {
		*which = i;
		err = await(m, m->pairs[i], m->joint ? MEETING_READY : MEETING_MET, why);
	}
	return err || !m->joint ? err : conclude_all(m);
}

static int hold(struct meeting_of *m, size_t *which, struct why *why)
{
	int err;

	*which = 0;
	m->sources = calloc(m->count + 1, sizeof(struct disk *));
	err = m->sources ? meet(m, which, why) : refuse(why, -ENOMEM, "out of memory");
	while (err && m->called-- > 0)
		call_off(m, m->called);
	for (size_t i = 0; i < m->count && m->sources; i++)
		disk_unref(m->sources[i]);
	free(m->sources);
	return err;
}

int async_meet(struct tandem *t, struct pair *const *pairs, size_t count, size_t *which,
	       struct why *why)
{
	struct meeting_of m = { .t = t, .pairs = pairs, .count = count };

	return hold(&m, which, why);
}

int async_make_joint(struct tandem *t, struct pair *const *pairs, size_t count)
{
	struct meeting_of m = { .t = t, .joint = true, .pairs = pairs, .count = count };
	struct why why = { 0 };
	size_t which;

	return hold(&m, &which, &why);
}

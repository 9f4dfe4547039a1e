// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Asynchronous mirrors whose targets become what their sources were at one moment, and stay that. For
 * a group that stops, or takes over:
 *
 *   each keeper comes to where its cycle takes a moment, with what is set from there on watched: HERE
 *   -> one moment of all sources: GO
 *   -> each target becomes what its source was then, durably, and no other cycle begins: MET
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

bool meeting_is_called(struct pair *p)
{
	bool called;

	pthread_mutex_lock(&p->lock);
	called = p->meeting == MEETING_CALLED;
	pthread_mutex_unlock(&p->lock);
	return called;
}

/* Under lock. */
static bool is_wanted(const struct pair *p)
{
	return p->meeting == MEETING_HERE && !p->ending && !p->gone && !atomic_load(&p->stop) &&
	       !atomic_load(&p->leg.failed);
}

int meeting_attend(struct pair *p, struct disk *source, struct moment_record *out)
{
	uint64_t until = monotonic_ns() + MEET_NS, g = 0;
	int err = 0;

	pthread_mutex_lock(&p->lock);
	if (p->meeting == MEETING_CALLED) {
		p->meeting = MEETING_HERE;
		pthread_cond_broadcast(&p->poked);
	}
	while (is_wanted(p) && clock_wait(&p->poked, &p->lock, until))
		;
	if (p->meeting == MEETING_GO) {
		p->meeting = MEETING_GOING;
		g = p->meeting_at;
	} else if (p->meeting == MEETING_HERE) {
		p->meeting = MEETING_OFF;
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

/* ---- by who calls them ---- */

struct meeting_of {
	struct tandem *t;
	struct pair *const *pairs;
	size_t count, called;
	struct disk **sources; /* references */
	uint64_t until;
};

static int call(struct pair *p, struct why *why)
{
	int err;

	pthread_mutex_lock(&p->lock);
	err = async_ask_to_drain(p);
	if (!err)
		p->meeting = MEETING_CALLED;
	pthread_mutex_unlock(&p->lock);
	return err ? refuse(why, err, "another operation waits for its next generation") : 0;
}

static int await(struct meeting_of *m, struct pair *p, enum meeting is, struct why *why)
{
	int err;

	pthread_mutex_lock(&p->lock);
	while (p->meeting != is && p->meeting != MEETING_OFF && async_can_drain(p) &&
	       clock_wait(&p->poked, &p->lock, m->until))
		;
	err = p->meeting == is ? 0 : -ETIMEDOUT;
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
	struct disk *source = m->sources[i];
	int err = moment_pin(source, g);
	bool goes = false;

	pthread_mutex_lock(&p->lock);
	if (!err && p->meeting == MEETING_HERE) {
		goes = true;
		p->meeting = MEETING_GO;
		p->meeting_at = g;
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
	uint64_t g = 0;

	pthread_mutex_lock(&p->lock);
	if (p->meeting == MEETING_GO) {
		p->meeting = MEETING_OFF;
		g = p->meeting_at;
	}
	pthread_mutex_unlock(&p->lock);
	if (g) {
		moment_unpin(m->sources[i], g);
		collector_add(m->t->snapshots->collector, m->sources[i], g);
	}
	async_release(p);
}

static int meet(struct meeting_of *m, size_t *which, struct why *why)
{
	uint64_t g = 0;
	int err = 0, one;

	for (size_t i = 0; i < m->count && !err; i++) {
		*which = i;
		err = call(m->pairs[i], why);
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
	m->until = monotonic_ns() + MEET_NS;
	for (size_t i = 0; i < m->count && !err; i++) {
		*which = i;
		err = await(m, m->pairs[i], MEETING_MET, why);
	}
	return err;
}

int async_meet(struct tandem *t, struct pair *const *pairs, size_t count, size_t *which,
	       struct why *why)
{
	struct meeting_of m = { .t = t, .pairs = pairs, .count = count };
	int err;

	*which = 0;
	m.sources = calloc(count + 1, sizeof(struct disk *));
	err = m.sources ? meet(&m, which, why) : refuse(why, -ENOMEM, "out of memory");
	while (err && m.called-- > 0)
		call_off(&m, m.called);
	for (size_t i = 0; i < count && m.sources; i++)
		disk_unref(m.sources[i]);
	free(m.sources);
	return err;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Generations of consistent groups. As long as all mirrors of one follow their sources asynchronously
 * and are Synchronized, none has generations of its own: all get the next one, of one moment, or none
 * does. So if sources are lost, the targets are what all of them were at one moment.
 *
 * That is also so while a source is not there: the others wait for it, as who takes over may want
 * the moment of all. Where a mirror is not Synchronized, or not asynchronous, each goes on by itself.
 *
 * A thread for each such group. A mirror belongs to one of them only, the first that takes it.
 */
#include <errno.h>
#include <stdlib.h>

#include "groups.h"
#include "pair_facts.h"
#include "pairs_inner.h"

/* Whether they can go on together, and lack something, is looked at so often. */
#define LOOK_NS 1000000000ull
#define LOOKS 4 /* in each period */

struct joint_group {
	struct joint_group *next;
	struct joint_keeper *of;
	uint32_t group;
	uint64_t begun_at; /* its last generation */
	pthread_t thread;
	bool over; /* under lock: the thread has ended */
};

struct joint_keeper {
	struct tandem *t;
	pthread_mutex_t lock;
	pthread_cond_t poked;
	unsigned pokes;
	bool stop;
	struct joint_group *groups;
};

/* ---- a group ---- */

struct members {
	struct pair **pairs; /* by number */
	size_t count;
};

/* None: it is no group that has generations. */
static struct members members_of(struct joint_group *g)
{
	struct tandem *t = g->of->t;
	struct members m = { 0 };
	struct group_facts f;
	uint32_t *numbers;
	size_t count;

	if (group_numbered(t, g->group, &f) || !f.consistent ||
	    group_pairs(t, g->group, &numbers, &count))
		return m;
	m.pairs = calloc(count + 1, sizeof(struct pair *));
	for (size_t i = 0; i < count && m.pairs; i++) {
		struct pair *p = pair_of_number(t->pairs, numbers[i]);

		if (p)
			m.pairs[m.count++] = p;
	}
	free(numbers);
	return m;
}

static bool follows(struct pair *p)
{
	struct pair_record r = pair_record_of(p);

	return !pair_is_gone(p) && pair_is_async(&r) && pair_writes(&r) &&
	       r.copy_state == COPY_SYNCHRONIZED;
}

/* Those that left the group, too. */
static void let_go_of_others(struct joint_group *g, const struct members *m)
{
	for (struct pair *p = NULL; (p = pairs_after(g->of->t->pairs, p));) {
		uint32_t mine = g->group;
		size_t i = 0;

		while (i < m->count && m->pairs[i] != p)
			i++;
		if (i == m->count && atomic_compare_exchange_strong(&p->jointly, &mine, 0))
			keeper_poke(p);
	}
}

static bool take(struct joint_group *g, struct pair *p)
{
	uint32_t none = 0;

	return atomic_load(&p->jointly) == g->group ||
	       atomic_compare_exchange_strong(&p->jointly, &none, g->group);
}

/* All of them, or none. */
static bool take_all(struct joint_group *g, const struct members *m)
{
	const struct members none = { 0 };
	bool all = m->count > 1;

	for (size_t i = 0; i < m->count && all; i++)
		all = follows(m->pairs[i]);
	for (size_t i = 0; i < m->count && all; i++)
		all = take(g, m->pairs[i]);
	let_go_of_others(g, all ? m : &none);
	return all;
}

static uint64_t period_ns(const struct members *m)
{
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < m->count; i++) {
		uint64_t ns = pair_record_of(m->pairs[i]).objective_s * 500000000ull;

		least = ns < least ? ns : least;
	}
	return least;
}

static bool is_behind(struct pair *p)
{
	struct pair_record r = pair_record_of(p);
	struct pair_facts f;

	return atomic_load(&p->behind) || async_is_to_prove(p, &r) ||
	       (!pair_numbered(p->of->t, p->number, &f) && f.differs);
}

/* One lacks something, or they are of different moments. */
static bool is_wanted(const struct members *m)
{
	uint64_t of = pair_record_of(m->pairs[0]).of;
	bool wanted = !of;

	for (size_t i = 0; i < m->count && !wanted; i++)
		wanted = is_behind(m->pairs[i]) || pair_record_of(m->pairs[i]).of != of;
	return wanted;
}

/* When to look again. */
static uint64_t work(struct joint_group *g)
{
	struct members m = members_of(g);
	uint64_t now = monotonic_ns(), next = now + LOOK_NS, period;

	if (take_all(g, &m)) {
		period = period_ns(&m);
		if (period / LOOKS < LOOK_NS)
			next = now + period / LOOKS;
		if (now >= g->begun_at + period && is_wanted(&m)) {
			g->begun_at = now;
			/* At once: it was no generation. */
			if (async_make_joint(g->of->t, m.pairs, m.count))
				g->begun_at = 0;
		}
	}
	free(m.pairs);
	return next;
}

/* ---- threads ---- */

static bool is_over(struct joint_group *g)
{
	struct group_facts f;

	return group_numbered(g->of->t, g->group, &f) || !f.consistent;
}

/* Under lock, until it is over, or all are. */
static void *keep(void *arg)
{
	struct joint_group *g = arg;
	struct joint_keeper *k = g->of;
	bool over = false;

	pthread_mutex_lock(&k->lock);
	while (!k->stop && !over) {
		unsigned seen = k->pokes;
		uint64_t next;

		pthread_mutex_unlock(&k->lock);
		over = is_over(g);
		next = work(g);
		pthread_mutex_lock(&k->lock);
		while (!k->stop && !over && seen == k->pokes &&
		       clock_wait(&k->poked, &k->lock, next))
			;
	}
	g->over = over;
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

/* Under lock. */
static bool has_thread(const struct joint_keeper *k, uint32_t group)
{
	const struct joint_group *g = k->groups;

	while (g && (g->over || g->group != group))
		g = g->next;
	return g;
}

/* Likewise. Before it follows by itself, who is started with it. */
static void begin(struct joint_keeper *k, uint32_t group)
{
	struct joint_group *g = calloc(1, sizeof(*g));
	struct members m;

	if (!g)
		return; /* each follows by itself, until a group is changed again */
	g->of = k;
	g->group = group;
	m = members_of(g);
	take_all(g, &m);
	free(m.pairs);
	if (pthread_create(&g->thread, NULL, keep, g)) {
		let_go_of_others(g, &(struct members){ 0 });
		free(g);
		return;
	}
	g->next = k->groups;
	k->groups = g;
}

/* Likewise. Those that are over; or all, of which each is over soon. */
static void end(struct joint_keeper *k, bool all)
{
	struct joint_group **at = &k->groups, *g;

	while ((g = *at)) {
		if (!all && !g->over) {
			at = &g->next;
			continue;
		}
		*at = g->next;
		pthread_mutex_unlock(&k->lock);
		pthread_join(g->thread, NULL);
		pthread_mutex_lock(&k->lock);
		free(g);
		at = &k->groups;
	}
}

void joint_groups_changed(struct tandem *t)
{
	struct joint_keeper *k = t->pairs ? t->pairs->joint : NULL;
	struct group_facts *groups;
	size_t count;

	if (!k || groups_list(t, &groups, &count))
		return;
	pthread_mutex_lock(&k->lock);
	end(k, false);
	for (size_t i = 0; i < count; i++)
		if (groups[i].consistent && !k->stop && !has_thread(k, groups[i].number))
			begin(k, groups[i].number);
	k->pokes++;
	pthread_cond_broadcast(&k->poked);
	pthread_mutex_unlock(&k->lock);
	free(groups);
}

void joint_start(struct tandem *t)
{
	struct joint_keeper *k = calloc(1, sizeof(*k));

	if (!k)
		return; /* each follows by itself */
	k->t = t;
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->poked, NULL);
	t->pairs->joint = k;
	joint_groups_changed(t);
}

void joint_stop(struct pairs *ps)
{
	struct joint_keeper *k = ps->joint;

	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	k->stop = true;
	pthread_cond_broadcast(&k->poked);
	end(k, true);
	pthread_mutex_unlock(&k->lock);
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->poked);
	free(k);
	ps->joint = NULL;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* What is done to one mirror, or to several, is recorded in one transaction: all or none. */
#include <errno.h>
#include <string.h>

#include "groups.h"
#include "pair_beside.h"
#include "pair_swap.h"
#include "pairs_inner.h"
#include "versions.h"

static void put_step(struct catalogue_txn *txn, const struct pair_step *s)
{
	if (s->goes) {
		pair_del(txn, s->p->number);
		groups_drop_pair(s->p->of->t, txn,
				 s->p->number); /* what fails, the commit returns */
	} else {
		if (s->swap)
			swap_put(s->swap, txn);
		if (s->forgets)
			track_forget(txn, s->p->leg.source);
		pair_put(txn, &s->r);
	}
}

/* Under recording of all. */
static int record(struct pair_step *steps, size_t count)
{
	struct catalogue_txn *txn;
	int err = 0;

	for (size_t i = 0; i < count; i++) {
		struct pair_step *s = &steps[i];

		if (!s->swap)
			s->r.whole = s->r.whole && !atomic_load(&s->p->leg.lacks);
		if (s->p->gone || s->p->r.copy_state != s->from)
			return -EAGAIN;
	}
	for (size_t i = 0; i < count; i++)
		if ((err = beside_before(&steps[i])))
			return err;
	err = catalogue_begin(steps[0].p->of->t->catalogue, &txn);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		put_step(txn, &steps[i]);
	return catalogue_commit(txn);
}

static void set_step(const struct pair_step *s)
{
	struct pair *p = s->p;

	pthread_mutex_lock(&p->lock);
	if (s->goes)
		p->gone = true;
	else
		p->r = s->r;
	pthread_cond_broadcast(&p->set);
	pthread_mutex_unlock(&p->lock);
}

int pair_record_steps(struct pair_step *steps, size_t count)
{
	int err = 0;

	/* These take `recording` of other mirrors. */
	for (size_t i = 0; i < count && !err; i++)
		err = steps[i].mark ? steps[i].mark(&steps[i]) : 0;
	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		pthread_mutex_lock(&steps[i].p->recording);
	err = record(steps, count);
	for (size_t i = 0; i < count && !err; i++)
		set_step(&steps[i]);
	for (size_t i = count; i-- > 0;)
		pthread_mutex_unlock(&steps[i].p->recording);
	for (size_t i = 0; i < count && !err; i++)
		if (!steps[i].goes && !steps[i].swap && steps[i].from != steps[i].r.copy_state)
			pair_announce(steps[i].p, enum_name(copy_states, steps[i].from),
				      enum_name(copy_states, steps[i].r.copy_state));
	return err;
}

int pair_set_locked(struct pair *p, enum copy_state from, const struct pair_record *wanted)
{
	struct pair_step s = { .p = p, .from = from, .r = *wanted };
	int err = record(&s, 1);

	if (!err)
		set_step(&s);
	return err;
}

int pair_set(struct pair *p, enum copy_state from, const struct pair_record *wanted)
{
	struct pair_step s = { .p = p, .from = from, .r = *wanted };

	return pair_record_steps(&s, 1);
}

int pair_end_step(struct pair_step *s, struct why *why)
{
	int err = pair_record_steps(s, 1);

	if (err) {
		s->end(s, false);
		return refuse(why, err, "it cannot be recorded: %s", strerror(-err));
	}
	s->end(s, true);
	return 0;
}

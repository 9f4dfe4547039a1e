// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A disk of a mirror that becomes another by other means than writes of its source.
 *
 * Which blocks another program wrote to an image nobody knows, so all of it differs. Of a target
 * that is recorded first, with the state to which it leads, and the marks follow; a crash between
 * leaves `rewritten`, by which the next start marks all. Of a source the marks are all that there
 * is to be said. Only then is anybody told that the disk was changed.
 */
#include <errno.h>
#include <string.h>

#include "pair_facts.h"
#include "pairs_inner.h"

/*
 * By a client's write, with its range of the target held; so not under changing. Whoever takes
 * the target from clients waits for that first.
 */
int pair_skewed(void *owner)
{
	struct pair *p = owner;
	struct pair_record r = pair_record_of(p);
	enum copy_state from = r.copy_state;
	int err;

	if (!pair_follow(FACT_TARGET_WRITTEN, &r))
		return 0;
	err = pair_set(p, from, &r);
	return err == -EAGAIN ? 0 : err;
}

int pairs_differ(struct disk *d)
{
	return pairs_differ_but(d, NULL);
}

int pairs_differ_but(struct disk *d, const struct pair *but)
{
	struct pairs *ps = d->tandem->pairs;
	int err = 0;

	for (struct pair *p = NULL; ps && !err && (p = pairs_after(ps, p));) {
		if (p == but || (p->leg.source != d->number && p->leg.target != d->number) ||
		    pair_is_gone(p))
			continue;
		/* A client's, like a write. */
		if (p->leg.target == d->number && atomic_load(&p->leg.skews))
			err = pair_skewed(p);
		pthread_mutex_lock(&p->recording);
		/* What is copied just now may be of both: see copy_marked(), and struct cycle. */
		atomic_fetch_add(&p->rewrites, 1);
		/* Marked first: who proves meanwhile that it lacks nothing asks for marks last. */
		if (!err && p->leg.marks) {
			err = marks_set_all(p->leg.marks);
			err = marks_outdate(p->leg.marks, MIXED) ?: err;
			/* A copy goes over what its target is. */
			if (pair_writes(&p->r))
				atomic_store(&p->leg.lacks, true);
		}
		pthread_mutex_unlock(&p->recording);
		keeper_poke(p);
	}
	return err;
}

/* ---- by others ---- */

/* Under recording. What clients saw of an asynchronous one was kept for an image that is no more. */
static int record_rewritten(struct pair *p, struct pair_record *r)
{
	enum copy_state from = r->copy_state;
	int err;

	r->rewritten = true;
	r->whole = r->steady = false;
	r->of = 0;
	r->shows = 0;
	/* Nothing is copied over what they wrote, from before that is recorded. */
	if (pair_follow(FACT_TARGET_CHANGED, r))
		atomic_store(&p->stop, true);
	/* Whatever it was to become: what they wrote is not overwritten unasked. */
	if (atomic_load(&p->taken) && r->copy_state != COPY_FAILEDOVER) {
		r->copy_state = COPY_SKEWED;
		r->written = true;
		r->back = r->restores = false;
		atomic_store(&p->stop, true);
	}
	err = pair_set_locked(p, from, r);
	if (err)
		atomic_store(&p->stop, false);
	atomic_store(&p->leave, true);
	return err;
}

/* Under recording. The state to which it leads is in *r. */
static int target_changed(struct pair *p, struct pair_record *r)
{
	int err, marked;

	atomic_store(&p->leg.lacks, true);
	err = record_rewritten(p, r);
	marked = marks_set_all(p->leg.marks);
	if (err || marked)
		return err ? err : marked;
	if (r->copy_state == COPY_SKEWED)
		return 0; /* it is told until it is copied over */
	r->rewritten = false;
	return pair_set_locked(p, r->copy_state, r);
}

/* Under recording. */
static int source_changed(struct pair *p)
{
	if (pair_writes(&p->r))
		atomic_store(&p->leg.lacks, true);
	return marks_set_all(p->leg.marks);
}

static int tell(struct pair *p, const struct disk *d)
{
	struct pair_record r;
	enum copy_state from;
	int err = 0;

	pthread_mutex_lock(&p->recording);
	r = p->r;
	from = r.copy_state;
	if (!p->gone && p->leg.marks) {
		/* What is copied just now may be what they wrote over: see copy_marked(). */
		atomic_fetch_add(&p->rewrites, 1);
		err = p->leg.target == d->number ? target_changed(p, &r) : source_changed(p);
		if (err)
			leg_lose(&p->leg, err);
	}
	pthread_mutex_unlock(&p->recording);
	if (!err && from != r.copy_state)
		pair_announce(p, enum_name(copy_states, from),
			      enum_name(copy_states, r.copy_state));
	keeper_poke(p);
	return err;
}

int pairs_changed(struct disk *d)
{
	struct pairs *ps = d->tandem->pairs;
	int err = 0;

	for (struct pair *p = NULL; ps && (p = pairs_after(ps, p));)
		if (p->leg.source == d->number || p->leg.target == d->number)
			err = tell(p, d) ?: err;
	return err;
}

bool pair_skews(const struct disk *d)
{
	struct pairs *ps = d->tandem->pairs;
	bool skews = false;

	for (struct pair *p = NULL; ps && !skews && (p = pairs_after(ps, p));) {
		struct pair_record r = pair_record_of(p);

		if (p->leg.target == d->number && !pair_is_gone(p) && !pair_is_async(&r))
			skews = r.copy_state == COPY_SKEWED || pair_follow(FACT_TARGET_CHANGED, &r);
	}
	return skews;
}

void pair_leave_target(struct pair *p)
{
	struct disk *target = pair_target(p);
	struct history *h = target ? atomic_load(&target->history) : NULL;
	struct pair_record r;
	uint64_t shown;

	pthread_mutex_lock(&p->changing);
	atomic_store(&p->leave, false);
	r = pair_record_of(p);
	if (!pair_writes(&r))
		pair_disengage(p);
	shown = h ? history_shown(h) : 0;
	if (pair_is_async(&r) && shown && !r.shows)
		async_show_present(p, target, shown);
	pthread_mutex_unlock(&p->changing);
	disk_unref(target);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Failover, Failback, ReverseRoles and RestoreFromReplica: the source goes on in the target's
 * image, or back in its own. Two disks change images (pair_swap.h), so that whoever has the source
 * open uses the other image with his next request. Then what differs is copied to the target, or
 * only remembered.
 *
 *   Failover             images change places, the source's image is left alone: Failedover
 *   Failback             what differs is copied, then the images change places: Synchronized
 *   ReverseRoles         the same images as after Failover, which are kept the same: at once where
 *                        nothing differs, else what differs is copied first
 *   RestoreFromReplica   Failover and then Failback
 *
 *   target flushed -> in one transaction: each disk is in the other's file,
 *   and the pair in its new state, D -> the images change places -> requests go on
 *
 * A source that cannot be flushed any more stops no Failover: what may not be durable there is
 * marked, as it is for a target that is lost.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clones.h"
#include "close_wait.h"
#include "history.h"
#include "operations.h"
#include "pair_roles.h"
#include "snapshots_inner.h"

/* A request that takes so long may not come back. */
#define STUCK_NS 5000000000ull

/* ---- in use, or not ---- */

/*
 * Both or none, so that an image that is in use stays so. A source that nobody can open, and
 * nobody has open, is not in use.
 */
static int take_up(struct roles *c, struct why *why)
{
	int err;

	if (disk_open(c->source, false) && disk_join(c->source))
		return 0;
	err = disk_open_target(c->target);
	if (err) {
		disk_close(c->source);
		return refuse(why, err, "%s cannot be opened: %s", c->target->label,
			      strerror(-err));
	}
	c->used = c->ours = true;
	return 0;
}

static void let_go(struct roles *c)
{
	if (c->to) {
		disk_close(c->to);
		disk_unref(c->to);
	}
	if (c->ours) {
		disk_close(c->target);
		disk_close(c->source);
	}
}

/* Who waits for it would keep others waiting, who look for disks. */
static int check_stuck(struct roles *c, struct why *why)
{
	uint64_t busy = gate_oldest(&c->source->gate, monotonic_ns());
	uint64_t sent = mirror_busy(c->target);
	struct disk *d = sent > busy ? c->target : c->source;

	busy = sent > busy ? sent : busy;
	return busy < STUCK_NS ? 0
			       : refuse(why, -ETIMEDOUT, "%s has not answered a request for %llu s",
					d->label, (unsigned long long)(busy / 1000000000));
}

/* Most of it before anybody has to wait. */
static void settle_early(struct roles *c)
{
	struct history *h = atomic_load(&c->source->history);
	struct history *o = atomic_load(&c->target->history);

	if (h)
		history_settle(h);
	if (o)
		history_settle(o);
	disk_flush(c->source);
	disk_flush(c->target);
}

/* ---- while nobody uses them ---- */

static int quiet(struct roles *c, struct why *why)
{
	struct history *h = atomic_load(&c->source->history);
	struct history *o = atomic_load(&c->target->history);
	struct leg *leg = &c->p->leg;
	int settled = h ? history_settle(h) : 0, err = settled ?: disk_flush(c->source);
	int target = (o ? history_settle(o) : 0) ?: disk_flush(c->target);

	if (!c->used && (disk_is_open(c->source) || disk_is_open(c->target)))
		return refuse(while_open(c->source, why), -EBUSY, "%s was opened just now",
			      c->source->label);
	if (target)
		return refuse(why, target, "%s cannot be completed: %s", c->target->label,
			      strerror(-target));
	if (err && c->op != OP_FAILOVER)
		return refuse(why, err, "%s cannot be completed: %s", c->source->label,
			      strerror(-err));
	c->flushed = !err;
	c->differ = marks_bytes(leg->marks) != 0;
	c->outdated = c->differ && (marks_outdated(leg->marks) || atomic_load(&leg->missed));
	/* What is in its log goes with its image, and its moments need both. */
	if (settled && (c->differ || swap_has_moments(c->source)))
		return refuse_advise(why, settled,
				     c->differ ? "restart without its file, and Failover Force then"
					       : "delete its snapshots and ForgetHistory",
				     "%s lacks what is in its write log: %s", c->source->label,
				     strerror(-settled));
	return 0;
}

/* What other mirrors are told to write next is what their source is from here on. */
static int mark_swap(struct pair_step *s)
{
	struct roles *c = s->roles;

	if (!c->flushed)
		marks_doubt(c->p->leg.marks);
	return c->differ ? pairs_differ_but(c->source, c->p) : 0;
}

/* All that can fail. */
static int prepare(struct roles *c, struct why *why)
{
	bool written = c->used && pair_writes(&c->next);
	struct leg *leg = &c->p->leg;
	int err = roles_check_disks(c, why) ?: roles_check_content(c, why);

	if (err)
		return err;
	if (c->next.copy_state == COPY_SYNCHRONIZED &&
	    (c->differ || !leg->writes || atomic_load(&leg->failed)))
		return refuse(why, c->op == OP_FAILBACK ? -EAGAIN : -EBUSY,
			      "it is not Synchronized just now");
	/* Its image is written from here on. */
	err = written ? disk_use_image(c->source, FILE_WRITE) : 0;
	if (err)
		return refuse(why, err, "another program uses %s", c->source->label);
	err = swap_copy_attributes(&c->swap);
	if (err)
		return refuse(why, err, "%s cannot have the owner and mode of %s: %s",
			      c->target->label, c->source->label, strerror(-err));
	swap_choose_names(&c->swap);
	return 0;
}

/* Under changing: whoever asks for what is in them has no lock, and may be late. */
static void keep_images(struct pair *p, struct disk *source, struct disk *target)
{
	if (p->swapped[0])
		return;
	p->swapped[0] = disk_ref(source);
	p->swapped[1] = disk_ref(target);
}

void pair_forget_images(struct pair *p)
{
	for (size_t i = 0; i < 2; i++) {
		disk_unref(p->swapped[i]);
		p->swapped[i] = NULL;
	}
}

static void change_places(struct roles *c)
{
	struct leg *leg = &c->p->leg;
	bool writes = c->next.copy_state == COPY_SYNCHRONIZED && !pair_is_async(&c->next);

	if (!writes) {
		c->to = leg->to;
		leg->to = NULL;
	}
	leg->writes = writes;
	atomic_store(&leg->failed, false);
	atomic_store(&leg->error, 0);
	atomic_store(&leg->lacks, false);
	atomic_store(&leg->missed, false);
	if (writes) { /* it has everything, and that is recorded */
		atomic_store(&c->p->mixed, false);
		marks_renew_begin(leg->marks);
		marks_renew_end(leg->marks, true);
	}
	atomic_store(&leg->skews, false);
	atomic_store(&c->target->target_use, pair_target_use(&c->next));
	atomic_store(&c->p->stop, !pair_writes(&c->next));
	keep_images(c->p, c->source, c->target);
	swap_images(&c->swap, false);
}

/* ---- the operations ---- */

static void tell(struct roles *c, struct disk *d, struct disk *was)
{
	char object[DISK_LABEL_MAX + 8], from[4 * DISK_LABEL_MAX];

	events_emit(d->tandem->events, EVENT_INFORMATION, "DiskRenamed",
		    disk_object(d, object, sizeof(object)), "From=%s",
		    event_word(from, sizeof(from), was->label));
	tandem_changed(c->p->of->t, d);
}

/* With discovery held and nothing else. Requests go on already. */
static void finish(struct roles *c)
{
	struct tandem *t = c->p->of->t;

	swap_settle_states(&c->swap, false);
	tell(c, c->source, c->target);
	tell(c, c->target, c->source);
	if (c->r.copy_state != c->next.copy_state)
		pair_announce(c->p, enum_name(copy_states, c->r.copy_state),
			      enum_name(copy_states, c->next.copy_state));
	parents_settle(t);
	tandem_settle_names(t);
	pair_changed(c->p);
	keeper_poke(c->p);
}

static void end_swap(struct pair_step *s, bool recorded)
{
	struct roles *c = s->roles;

	if (recorded)
		change_places(c);
	else
		swap_take_back_attributes(&c->swap);
	swap_release(&c->swap);
	swap_unlock(&c->swap);
	c->swapped = recorded;
}

/* With discovery and changing. All that can fail: nobody uses them until its end. */
static int prepare_swap(struct pair_step *s, struct why *why)
{
	struct roles *c = s->roles;
	int err;

	c->swap = (struct swap){ .d = c->source, .other = c->target };
	swap_lock(&c->swap);
	err = quiet(c, why);
	if (!err) {
		swap_hold(&c->swap);
		c->next.diverged = c->op == OP_FAILOVER && c->outdated;
		err = prepare(c, why);
		if (err)
			swap_release(&c->swap);
	}
	if (err)
		swap_unlock(&c->swap);
	s->r = c->next;
	s->swap = &c->swap;
	s->mark = mark_swap;
	s->end = end_swap;
	return err;
}

/* Whether they change places now; else they do when what differs is copied, or have. */
static bool choose(struct roles *c)
{
	struct pair_record *next = &c->next;

	next->whole = next->steady = next->written = false;
	next->of = 0;
	/* That it had everything since is known of one that follows only. */
	if (pair_is_async(&c->r) && atomic_load(&c->p->in_step_ms) > next->sync_time_ms)
		next->sync_time_ms = atomic_load(&c->p->in_step_ms);
	switch (c->op) {
	case OP_FAILOVER:
		next->copy_state = COPY_FAILEDOVER;
		next->back = next->restores = false;
		return !c->r.back;
	case OP_RESTORE_FROM_REPLICA:
		next->copy_state = COPY_UNSYNCHRONIZED;
		next->back = next->restores = true;
		return true;
	case OP_FAILBACK:
		next->back = true;
		return false;
	default:
		next->whole = c->r.copy_state == COPY_SYNCHRONIZED;
		next->diverged = false;
		if (c->r.copy_state == COPY_FRACTURED || c->r.copy_state == COPY_SPLIT)
			next->copy_state = COPY_UNSYNCHRONIZED;
		return c->r.copy_state != COPY_FAILEDOVER;
	}
}

/* They have not changed places yet. */
static int stop_going_back(struct roles *c, struct why *why)
{
	struct pair_record r = c->next;

	r.copy_state = c->r.copy_state;
	return pair_stop_in(c->p, r, COPY_FAILEDOVER, why);
}

/* ---- in steps ---- */

struct roles *roles_new(struct pair *p, enum replica_operation op, bool force)
{
	struct roles *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	*c = (struct roles){
		.p = p,
		.op = op,
		.force = force,
		.source = pair_source(p),
		.target = pair_target(p),
	};
	return c;
}

void roles_free(struct roles *c)
{
	if (!c)
		return;
	let_go(c);
	if (c->stopped)
		async_release(c->p);
	disk_unref(c->source);
	disk_unref(c->target);
	free(c);
}

static bool is_missing(const struct roles *c)
{
	return c->swaps && !c->source->image;
}

/* With discovery. What was found again since is another struct disk of the same number. */
static bool are_listed(struct roles *c)
{
	struct disk *source = pair_source(c->p), *target = pair_target(c->p);
	bool are = source == c->source && target == c->target;

	disk_unref(source);
	disk_unref(target);
	return are;
}

int roles_check(struct roles *c, struct pair_step *s, struct why *why)
{
	int err = roles_check_state(c, s->from, why);

	if (!err && !are_listed(c))
		err = refuse(why, -EBUSY, "one of its disks was found again just now");

	if (err)
		return err;
	s->from = c->r.copy_state;
	s->roles = c;
	c->swaps = choose(c);
	s->r = c->next;
	if (!c->swaps && c->op == OP_FAILOVER)
		return 0;
	if (!c->swaps) {
		s->r.copy_state = c->r.copy_state;
		return roles_check_copy_back(c, why) ?: pair_check_copy(c->p, &s->r, true, why);
	}
	if (pair_is_async(&c->r) && !c->plan && !c->stopped && !c->met)
		return refuse(why, -EBUSY, "it has just become asynchronous");
	c->swap = (struct swap){ .d = c->source, .other = c->target };
	err = roles_check_whole(c, why);
	if (err)
		return err;
	if (is_missing(c))
		return missing_check(c->p, &c->swap, c->force, why);
	/* As they are just now; whether they differ is asked again when nobody uses them. */
	c->differ = c->r.shows || marks_bytes(c->p->leg.marks);
	c->outdated = c->differ && marks_outdated(c->p->leg.marks);
	return roles_check_disks(c, why) ?: roles_check_content(c, why);
}

/*
 * Of an asynchronous one: its target is the last whole generation, and holds it. Whoever is refused
 * after that has lost nothing: it showed it anyway.
 */
static int make_whole(struct roles *c, struct why *why)
{
	int err;

	if (!pair_is_async(&c->r)) /* adaptive */
		return 0;
	err = async_make_whole(c->p, false, why);
	if (!err)
		async_let_go(c->p); /* nobody has it open */
	return err;
}

/* What is certain to be refused is so before anything is taken back. */
static int stop_following(struct roles *c, enum copy_state from, struct why *why)
{
	struct pair_step s = { .p = c->p, .from = from };
	struct tandem *t = c->p->of->t;
	int err = check_stuck(c, why) ?: c->met ? 0 : async_stop_cycles(c->p, why);

	c->stopped = !err && !c->met;
	if (err)
		return err;
	pthread_mutex_lock(&t->discovery);
	pthread_mutex_lock(&c->p->changing);
	err = roles_check(c, &s, why);
	pthread_mutex_unlock(&t->discovery);
	err = err ?: make_whole(c, why);
	pthread_mutex_unlock(&c->p->changing);
	return err;
}

int roles_begin(struct roles *c, enum copy_state from, bool met, bool plan, struct why *why)
{
	int err;

	if (!c->source || !c->target || (!c->source->image && c->op != OP_FAILOVER))
		return refuse(why, -ENOENT, "its %s is not there", c->target ? "source" : "target");
	c->plan = plan;
	c->met = met;
	c->r = c->next = pair_record_of(c->p);
	if (!choose(c) || plan)
		return 0;
	err = pair_is_async(&c->r) ? stop_following(c, from, why) : 0;
	if (err || !c->source->image)
		return err;
	err = check_stuck(c, why) ?: take_up(c, why);
	if (!err)
		settle_early(c);
	return err;
}

int roles_prepare(struct pair_step *s, struct why *why)
{
	struct roles *c = s->roles;

	if (is_missing(c))
		return missing_prepare(s, &c->swap, why);
	if (c->swaps)
		return prepare_swap(s, why);
	if (c->op != OP_FAILOVER)
		return pair_prepare_copy(s, why);
	s->r.copy_state = c->r.copy_state; /* they have not changed places yet */
	return pair_prepare_stop(s, COPY_FAILEDOVER, why);
}

void roles_finish(struct roles *c)
{
	if (c->swapped)
		finish(c);
}

int pair_change_roles(struct pair *p, enum replica_operation op, enum copy_state from, bool force,
		      bool plan, struct why *why)
{
	struct roles *c = roles_new(p, op, force);
	struct pair_step s = { .p = p, .from = from };
	struct tandem *t = p->of->t;
	int err = c ? roles_begin(c, from, false, plan, why)
		    : refuse(why, -ENOMEM, "out of memory");

	if (!err) {
		pthread_mutex_lock(&t->discovery);
		pthread_mutex_lock(&p->changing);
		err = roles_check(c, &s, why);
		if (!err && !plan)
			err = roles_prepare(&s, why) ?: pair_end_step(&s, why);
		pthread_mutex_unlock(&p->changing);
		roles_finish(c);
		pthread_mutex_unlock(&t->discovery);
	}
	roles_free(c);
	return err;
}

/* Something came between that lasts. It is copied, so that nothing is lost by that. */
static int give_up_going_back(struct roles *c, int because)
{
	int err;

	c->next = c->r;
	c->next.back = c->next.restores = false;
	err = stop_going_back(c, NULL);
	if (!err)
		atomic_store(&c->p->leg.error, because);
	return err ? err : -ECANCELED;
}

int pair_turn_back(struct pair *p)
{
	struct roles c = {
		.p = p,
		.op = OP_FAILBACK,
		.used = true,
		.source = pair_source(p),
		.target = pair_target(p),
	};
	struct pair_step s = { .p = p, .roles = &c };
	struct tandem *t = p->of->t;
	struct why why;
	int err = c.source && c.target ? 0 : -ENOENT;

	if (!err && pthread_mutex_trylock(&t->discovery))
		err = -EAGAIN;
	if (!err) {
		pthread_mutex_lock(&p->changing);
		c.r = c.next = pair_record_of(p);
		c.next.copy_state = COPY_SYNCHRONIZED;
		c.next.back = c.next.restores = c.next.diverged = c.next.written = false;
		c.next.whole = c.r.mode != MODE_ASYNCHRONOUS;
		c.next.steady = !c.next.whole;
		c.next.sync_time_ms = past_now(t->snapshots);
		s.from = c.r.copy_state;
		err = c.r.copy_state == COPY_UNSYNCHRONIZED && c.r.back && are_listed(&c) &&
				      !atomic_load(&p->stop)
			      ? prepare_swap(&s, &why) ?: pair_end_step(&s, &why)
			      : -EAGAIN;
		if (err && c.differ) /* it was written since it was copied */
			err = -EAGAIN;
		if (err == -EBUSY)
			err = give_up_going_back(&c, err);
		pthread_mutex_unlock(&p->changing);
		if (!err)
			finish(&c);
		pthread_mutex_unlock(&t->discovery);
	}
	let_go(&c);
	disk_unref(c.source);
	disk_unref(c.target);
	return err;
}

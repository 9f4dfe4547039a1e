// SPDX-License-Identifier: GPL-2.0-or-later
/* How mirrors get from one state to another. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "close_wait.h"
#include "groups.h"
#include "pair_beside.h"

/* So long a Split waits until all is copied. */
#define DRAIN_S 10

/* ---- the leg ---- */

/* As the state says. */
static void settle_target(struct pair *p)
{
	struct pair_record r = pair_record_of(p);
	struct disk *target = pair_target(p);

	if (target)
		pair_attach_target(p, &r, target);
	disk_unref(target);
}

static int take_target(struct pair *p, struct disk *source, struct disk *target, struct why *why)
{
	bool hidden = pair_record_of(p).back;
	int err = disk_set_target_use(target, hidden ? TARGET_HIDDEN : TARGET_READS);

	if (err)
		return refuse_advise(while_open(target, why), err, "close it first", "%s is open%s",
				     target->label, hidden ? "" : " for writing");
	atomic_store(&p->leg.skews, false);
	err = disk_open_target(target);
	if (err)
		return refuse(why, err, "%s cannot be opened: %s", target->label, strerror(-err));
	err = leg_fit(&p->leg, target, disk_size(source));
	if (!err)
		return 0;
	disk_close(target);
	return refuse(why, err, "%s cannot have the size of %s: %s", target->label, source->label,
		      strerror(-err));
}

int pair_engage(struct pair *p, struct disk *source, struct why *why)
{
	struct disk *target = pair_target(p);
	int err;

	if (!target)
		return refuse(why, -ENOENT, "its target is not there");
	/* Made shorter only when nobody else writes the target, and marks what he writes: see copy_all. */
	err = marks_grow(p->leg.marks, disk_size(source), true);
	/* What is marked is copied, and new writes do not wait for that: then it is no moment. */
	if (!err && marks_bytes(p->leg.marks))
		err = beside_end_whole(p) ?: marks_outdate(p->leg.marks, MIXED);
	if (err)
		refuse(why, err, "what differs cannot be written down: %s", strerror(-err));
	else if (marks_bytes(p->leg.marks))
		atomic_store(&p->leg.lacks, true);
	err = err ?: take_target(p, source, target, why);
	if (err) {
		settle_target(p);
		disk_unref(target);
		return err;
	}
	mirror_set(source, &p->leg, target); /* takes over both */
	return 0;
}

bool pair_stop_writing(struct pair *p)
{
	struct pair_record r = pair_record_of(p);
	struct disk *source, *target;
	bool same;

	/* One that was going back may be recorded as asynchronous again already. */
	if (pair_is_async(&r) && !p->leg.writes)
		return async_halt(p);
	source = pair_source(p);
	target = pair_target(p);
	same = source && mirror_set(source, &p->leg, NULL);
	if (!source)
		p->leg.writes = false;
	/* Nobody flushes it for the source any more. */
	if (!target || !target->image || atomic_load(&p->leg.failed)) {
		same = false;
	} else {
		int err = disk_flush(target);

		if (err)
			leg_lose(&p->leg, err);
		same = same && !err;
	}
	disk_unref(source);
	disk_unref(target);
	return same;
}

void pair_disengage(struct pair *p)
{
	pair_stop_writing(p);
	settle_target(p);
}

/* ---- operations ---- */

static int check_source(struct disk *source, struct why *why)
{
	if (!source || !disk_is_served(source))
		return refuse(why, -ENOENT, "its source is not there");
	return 0;
}

/* What is known of its image may be wrong, which its marks do not say. */
static int refuse_not_served(struct disk *target, struct why *why)
{
	enum disk_state s = disk_state(target);

	return refuse_advise(why, -ENOENT,
			     s == DISK_FAILED || s == DISK_CHANGED
				     ? "Accept Force of it, after which all of it is copied"
				     : "",
			     "%s is %s", target->label, disk_state_name(s));
}

static int check_copy(struct pair *p, const struct pair_record *r, bool force, struct why *why)
{
	struct disk *target = pair_target(p);
	int err = 0;

	if (!target || !target->image)
		err = refuse(why, -ENOENT, "its target is not there");
	else if (!disk_is_served(target))
		err = refuse_not_served(target, why);
	else if (!atomic_load(&target->target_use) && disk_is_written(target))
		err = refuse_advise(while_open(target, why), -EBUSY, "close it first",
				    "%s is open for writing", target->label);
	else if (r->copy_state == COPY_SKEWED && !force)
		err = refuse_advise(why, -EPERM, "ResyncReplica Force",
				    "what was written to %s itself would be lost", target->label);
	disk_unref(target);
	return err;
}

int pair_check_copy(struct pair *p, const struct pair_record *r, bool force, struct why *why)
{
	struct disk *source = pair_source(p);
	int err = check_source(source, why) ?: check_copy(p, r, force, why);

	disk_unref(source);
	return err;
}

static void end_begin_copy(struct pair_step *s, bool recorded)
{
	struct pair *p = s->p;

	if (!recorded) {
		settle_target(p);
		return;
	}
	/* Its keeper waits for changing before it makes anything of these. */
	atomic_store(&p->leg.failed, false);
	atomic_store(&p->leg.error, 0);
	atomic_store(&p->stop, false);
	keeper_poke(p);
}

/*
 * What differs is copied by the keeper, which engages first: until it is recorded the target is
 * what it was.
 */
int pair_prepare_copy(struct pair_step *s, struct why *why)
{
	struct disk *target = pair_target(s->p);
	/* What is recorded next tells whether clients see it meanwhile. */
	int err = target ? disk_set_target_use(target, s->r.back ? TARGET_HIDDEN : TARGET_READS)
			 : -ENOENT;

	if (err) {
		refuse_advise(target ? while_open(target, why) : why, err, "close it first",
			      "%s is open for writing", target ? target->label : "its target");
	} else {
		atomic_store(&s->p->leg.skews, false);
		s->r.copy_state = COPY_UNSYNCHRONIZED;
		s->r.rewritten = false; /* its marks say it */
		s->r.whole = s->r.whole && !marks_bytes(s->p->leg.marks);
		s->end = end_begin_copy;
	}
	disk_unref(target);
	return err;
}

int pair_begin_copy(struct pair *p, struct pair_record r, bool force, bool plan, struct why *why)
{
	struct pair_step s = { .p = p, .from = r.copy_state, .r = r };
	int err = pair_check_copy(p, &r, force, why);

	if (!err && !plan)
		err = pair_prepare_copy(&s, why) ?: pair_end_step(&s, why);
	return err;
}

int pair_resume(struct pair *p, struct why *why)
{
	return pair_begin_copy(p, pair_record_of(p), false, false, why);
}

/* The keeper goes on. */
static void go_on(struct pair *p)
{
	settle_target(p);
	/* Its leg may have been taken off already: the keeper engages it again. */
	atomic_store(&p->stopped_in_vain, true);
	atomic_store(&p->stop, false);
	keeper_poke(p);
}

/* Clients do not write to it any more. */
static int close_to_clients(struct pair *p, const struct pair_record *r, struct why *why)
{
	struct disk *target = pair_target(p);
	int err = 0;

	if (target && pair_target_use(&p->r) == TARGET_FREE && pair_target_use(r) != TARGET_FREE)
		err = disk_set_target_use(target, TARGET_READS);
	if (err)
		refuse_advise(while_open(target, why), err, "close it first",
			      "%s is open for writing", target->label);
	disk_unref(target);
	return err;
}

static void end_stop(struct pair_step *s, bool recorded)
{
	if (!recorded) {
		go_on(s->p);
		return;
	}
	if (pair_target_use(&s->r) == TARGET_FREE && !s->r.shows)
		async_let_go(s->p); /* before clients write */
	settle_target(s->p);
	keeper_poke(s->p); /* it may wait for a turn */
}

/*
 * Nothing is written to the target any more, only marked. A crash before it is recorded leaves a
 * pair with marks, whose copy goes on.
 */
int pair_prepare_stop(struct pair_step *s, enum copy_state to, struct why *why)
{
	struct pair *p = s->p;
	bool whole = to == COPY_SPLIT ||
		     (to == COPY_FRACTURED && (s->from == COPY_SYNCHRONIZED || s->r.steady));
	int err;

	s->r.copy_state = to;
	s->r.rewritten = false; /* its marks say it */
	s->end = end_stop;
	err = close_to_clients(p, &s->r, why);
	if (err)
		return err;
	atomic_store(&p->stop, true);
	if (!pair_stop_writing(p) && whole)
		err = refuse(why, -EBUSY, "it is not Synchronized just now");
	if (!err && to == COPY_PREPARED && (err = marks_set_all(p->leg.marks)))
		refuse(why, err, "it cannot be marked: %s", strerror(-err));
	if (err)
		go_on(p);
	return err;
}

int pair_stop_in(struct pair *p, struct pair_record r, enum copy_state to, struct why *why)
{
	struct pair_step s = { .p = p, .from = r.copy_state, .r = r };

	return pair_prepare_stop(&s, to, why) ?: pair_end_step(&s, why);
}

void pair_drop_marks(struct pair *p)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", p->number);
	unlinkat(p->of->dirfd, name, 0);
}

/* The two have nothing to do with each other any more. */
static void part_disks(struct pair *p, enum copy_state from)
{
	struct disk *source = pair_source(p), *target = pair_target(p);
	struct range whole;
	struct mirror *m;

	groups_forget_pair(p->of->t, p->number, p->name);
	pair_drop_marks(p);
	if (source)
		mirror_remove(source, &p->leg);
	if (target) {
		atomic_store(&p->leg.skews, false);
		if (target->image)
			disk_flush(target); /* what fails is said of the disk */
		m = atomic_load(&target->mirror);
		if (m)
			atomic_store(&m->of, NULL);
		/* Whoever found it there is done with it. */
		range_lock_write(&target->ranges, &whole, 0, UINT64_MAX);
		range_unlock(&target->ranges, &whole);
		disk_set_target_use(target, TARGET_FREE);
	}
	disk_unref(source);
	disk_unref(target);
	pair_announce(p, enum_name(copy_states, from), "-");
	keeper_poke(p); /* it ends */
}

int pair_let_go(struct pair *p)
{
	struct pair_step s = { .p = p, .goes = true, .from = pair_record_of(p).copy_state };
	int err;

	atomic_store(&p->stop, true);
	err = pair_record_steps(&s, 1);
	if (err)
		atomic_store(&p->stop, false);
	else
		part_disks(p, s.from);
	return err;
}

/* It was made for the pair, and nobody has ever had it. If it stays, no start takes it for a disk. */
void pair_delete_half(struct pair *p)
{
	struct disk *target = pair_target(p);

	if (target)
		tandem_delete_patiently(p->of->t, target, NULL, true);
	disk_unref(target);
}

void pair_abandon(struct pair *p)
{
	bool first = pair_record_of(p).first;

	pthread_mutex_lock(&p->changing);
	if (pair_let_go(p)) { /* it stays recorded, and goes on at the next start */
		pthread_mutex_unlock(&p->changing);
		return;
	}
	pthread_mutex_unlock(&p->changing);
	if (first)
		pair_delete_half(p);
}

/* The target is half of something. */
int pair_check_end(const struct pair_record *r, bool force, struct why *why)
{
	if (force || (r->copy_state != COPY_UNSYNCHRONIZED && !r->first))
		return 0;
	return refuse_advise(why, -EPERM, "wait until it is Synchronized, or Detach Force",
			     r->first ? "the target, which is no disk yet, would be deleted"
				      : "the target would be neither what it was nor its source");
}

static void end_end(struct pair_step *s, bool recorded)
{
	if (!recorded) {
		pair_acknowledge(s->p, s->r.at_flush);
		go_on(s->p);
		return;
	}
	part_disks(s->p, s->from);
	async_let_go(s->p); /* also of one that could not be brought back */
}

int pair_prepare_end(struct pair_step *s, bool force, struct why *why)
{
	struct pair *p = s->p;
	int err;

	atomic_store(&p->stop, true);
	err = pair_end_sending(s, force, why);
	if (!err && pair_is_async(&s->r)) {
		async_halt(p);
		err = async_make_whole(p, force, why);
	}
	if (!err && pair_is_async(&s->r) && !pair_record_of(p).shows)
		async_let_go(p); /* before clients write */
	s->goes = true;
	s->end = end_end;
	if (err) {
		pair_acknowledge(p, s->r.at_flush);
		go_on(p);
	}
	return err;
}

int pair_check_back(const struct pair_record *r, enum replica_operation op, struct why *why)
{
	if (!r->back || op == OP_ABORT || op == OP_SUSPEND || op == OP_RESUME)
		return 0;
	return refuse_advise(
		why, -EBUSY, "Abort",
		"what the target took goes back to its source, after which roles change");
}

static int operate(struct pair *p, enum replica_operation op, struct pair_record r, bool force,
		   bool plan, struct why *why)
{
	static const uint8_t stops[OP_MAX] = {
		[OP_ABORT] = COPY_ABORTED,      [OP_DEACTIVATE] = COPY_INACTIVE,
		[OP_FRACTURE] = COPY_FRACTURED, [OP_PREPARE] = COPY_PREPARED,
		[OP_SPLIT] = COPY_SPLIT,        [OP_SUSPEND] = COPY_SUSPENDED,
		[OP_UNPREPARE] = COPY_PREPARED,
	};
	struct pair_step s = { .p = p, .from = r.copy_state, .r = r };
	int err;

	err = pair_check_back(&r, op, why);
	if (err)
		return err;
	switch (op) {
	case OP_ABORT:
		if (!r.back)
			break;
		r.back = r.restores = false; /* nothing is lost, so it is as before */
		return plan ? 0 : pair_stop_in(p, r, COPY_FAILEDOVER, why);
	case OP_ACTIVATE:
	case OP_RESUME:
	case OP_RESYNC_REPLICA:
		return pair_begin_copy(p, r, force, plan, why);
	case OP_DETACH:
	case OP_DISSOLVE:
		err = pair_check_end(&r, force, why);
		return err || plan ? err : pair_prepare_end(&s, force, why) ?: pair_end_step(&s, why);
	case OP_RESET_TO_SYNC:
		return pair_reset_mode(p, MODE_SYNCHRONOUS, plan, why);
	case OP_RESET_TO_ASYNC:
		return pair_reset_mode(p, MODE_ASYNCHRONOUS, plan, why);
	case OP_RESET_TO_ADAPTIVE:
		return pair_reset_mode(p, MODE_ADAPTIVE, plan, why);
	default:
		break;
	}
	if (!stops[op])
		return refuse(why, -EOPNOTSUPP, "a mirror has no %s",
			      enum_name(replica_operations, op));
	return plan ? 0 : pair_stop_in(p, r, stops[op], why);
}

/* With no lock held. The keeper copies on until nothing differs; or for so long. */
int pair_drain(struct pair *p, struct why *why)
{
	uint64_t until = monotonic_ns() + DRAIN_S * 1000000000ull;
	bool moving = true;

	pthread_mutex_lock(&p->lock);
	while (moving && p->r.copy_state == COPY_UNSYNCHRONIZED && !p->gone && !p->ending)
		moving = clock_wait(&p->set, &p->lock, until);
	pthread_mutex_unlock(&p->lock);
	return moving ? 0
		      : refuse_advise(why, -ETIMEDOUT, "wait until it is Synchronized",
				      "after %d s %llu bytes are still to be copied", DRAIN_S,
				      (unsigned long long)marks_bytes(p->leg.marks));
}

static bool changes_roles(enum replica_operation op)
{
	return op == OP_FAILOVER || op == OP_FAILBACK || op == OP_REVERSE_ROLES ||
	       op == OP_RESTORE_FROM_REPLICA;
}

int tandem_operate_pair(struct tandem *t, uint32_t number, enum replica_operation op,
			enum copy_state from, bool force, bool plan, struct why *why)
{
	struct pair_facts f = { 0 };
	bool drained = false;
	struct pair *p;
	int err = pair_to_change(t, number, &p, why) ?: async_check_operation(p, op, why);

	if (err)
		return err;
	if (changes_roles(op))
		return pair_change_roles(p, op, from, force, plan, why);
	if (op == OP_SPLIT && from == COPY_UNSYNCHRONIZED && !plan && !pair_record_of(p).back) {
		err = pair_drain(p, why);
		if (err)
			return err;
		from = COPY_SYNCHRONIZED;
	}
	err = plan ? 0 : async_prepare(p, op, force, &drained, why);
	if (err)
		return err;
	pthread_mutex_lock(&p->changing);
	if (pair_numbered(t, number, &f))
		err = refuse(why, -ENOENT, "there is no such mirror");
	else if (f.state != from)
		err = refuse(why, -EBUSY, "CopyState is %s by now",
			     enum_name(copy_states, f.state));
	else
		err = operate(p, op, pair_record_of(p), force, plan, why);
	pthread_mutex_unlock(&p->changing);
	if (drained)
		async_release(p);
	if (!err && !plan && f.first && (op == OP_DETACH || op == OP_DISSOLVE))
		pair_delete_half(p);
	return err;
}

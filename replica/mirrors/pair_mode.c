// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an asynchronous mirror needs for its states: to be stopped, to be brought to a whole
 * generation first (drained) or back to one, and to become a synchronous one, or one of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pairs_inner.h"
#include "sender.h"
#include "snapshots_inner.h"

/* An operation waits so long for the generation that it needs. */
#define DRAIN_NS 30000000000ull

/* What goes back to its source is given what is written to that, too, until roles change. */
bool pair_is_async(const struct pair_record *r)
{
	return r->mode == MODE_ASYNCHRONOUS && !r->back;
}

/* ---- with its disk ---- */

/* What it showed was given up: it is nothing whole. */
static int lose_base(struct pair *p, struct pair_record r)
{
	enum copy_state from = r.copy_state;

	r.steady = false;
	r.shows = r.of = 0;
	if (r.copy_state == COPY_SYNCHRONIZED)
		r.copy_state = COPY_UNSYNCHRONIZED;
	return pair_set(p, from, &r);
}

int async_attach_target(struct pair *p, const struct pair_record *r, struct disk *target)
{
	struct history *h = atomic_load(&target->history);
	int err;

	pthread_mutex_lock(&p->changing);
	p->read = 0; /* nobody has this one open */
	pthread_mutex_unlock(&p->changing);
	/* Without its image nobody reads it; with it, it is another disk. */
	if (!r->shows || !target->image || (!h && disk_has_past(target)))
		return 0;
	err = h ? moment_pin(target, r->shows) : -ENOENT;
	if (!err) {
		uint64_t size = marks_size(p->leg.marks), differs = marks_bytes(p->leg.marks);

		history_show(h, r->shows, r->shows);
		/* How much of the next one it has is not recorded: all that it can be. */
		atomic_store(&p->applied, size > differs ? size - differs : 0);
	}
	return err == -ENOENT ? lose_base(p, *r) : err;
}

/* ---- stopping ---- */

bool async_halt(struct pair *p)
{
	struct pair_record r = pair_record_of(p);
	struct disk *target = pair_target(p);
	bool there = target && disk_is_served(target);

	pthread_mutex_lock(&p->applying);
	p->stops++;
	pthread_mutex_unlock(&p->applying);
	disk_unref(target);
	return there && r.steady && !r.shows && !atomic_load(&p->leg.failed);
}

bool async_can_drain(const struct pair *p)
{
	return !p->gone && !p->ending && pair_is_async(&p->r) && pair_writes(&p->r) &&
	       !atomic_load(&p->leg.failed);
}

int async_ask_to_drain(struct pair *p)
{
	if (p->drain != DRAIN_NONE)
		return -EBUSY;
	p->drain = DRAIN_WANTED;
	if (!++p->drain_asked) /* 0 is nobody */
		p->drain_asked = 1;
	p->poke = true;
	pthread_cond_broadcast(&p->poked);
	return 0;
}

/* One at a time. The keeper begins a cycle after it has seen this very one, and none after that. */
static int drain(struct pair *p)
{
	uint64_t until = monotonic_ns() + DRAIN_NS;
	int err;

	pthread_mutex_lock(&p->lock);
	err = async_ask_to_drain(p);
	if (!err) {
		while (p->drain != DRAIN_DONE && async_can_drain(p) &&
		       clock_wait(&p->poked, &p->lock, until))
			;
		if (p->drain != DRAIN_DONE) {
			p->drain = DRAIN_NONE;
			err = -ETIMEDOUT;
		}
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

void async_release(struct pair *p)
{
	pthread_mutex_lock(&p->lock);
	p->drain = DRAIN_NONE;
	p->meeting.is = MEETING_NONE;
	pthread_mutex_unlock(&p->lock);
	keeper_poke(p);
}

int async_check_operation(struct pair *p, enum replica_operation op, struct why *why)
{
	static const bool known[OP_MAX] = {
		[OP_ABORT] = true,
		[OP_ACTIVATE] = true,
		[OP_DEACTIVATE] = true,
		[OP_DETACH] = true,
		[OP_DISSOLVE] = true,
		[OP_FRACTURE] = true,
		[OP_RESYNC_REPLICA] = true,
		[OP_RESUME] = true,
		[OP_RESET_TO_SYNC] = true,
		[OP_RESET_TO_ASYNC] = true,
		[OP_SPLIT] = true,
		[OP_SUSPEND] = true,
		[OP_UNPREPARE] = true,
		[OP_PREPARE] = true,
		[OP_FAILOVER] = true,
		[OP_FAILBACK] = true,
		[OP_REVERSE_ROLES] = true,
		[OP_RESTORE_FROM_REPLICA] = true,
		[OP_RESET_TO_ADAPTIVE] = true,
	};
	struct pair_record r = pair_record_of(p);

	if (pair_is_async(&r) && !known[op])
		return refuse(why, -EOPNOTSUPP, "an asynchronous mirror has no %s",
			      enum_name(replica_operations, op));
	/* The target is behind as long as the source is written. */
	if (pair_is_async(&r) && op == OP_REVERSE_ROLES && r.copy_state == COPY_SYNCHRONIZED)
		return refuse_advise(
			why, -EBUSY,
			"ResetToSync, ReverseRoles, ResetToAsync; or Split, and then this",
			"the target of an asynchronous mirror is not what its source is");
	return 0;
}

/*
 * With no lock held. No cycle runs when this returns, and none begins before async_release; the target
 * is what it is.
 */
int async_stop_cycles(struct pair *p, struct why *why)
{
	uint64_t ns = monotonic_ns() + DRAIN_NS;
	struct timespec until = { ns / 1000000000, ns % 1000000000 };
	bool waits = true;

	pthread_mutex_lock(&p->lock);
	if (p->drain != DRAIN_NONE) {
		pthread_mutex_unlock(&p->lock);
		return refuse(why, -EBUSY, "another operation waits for its next generation");
	}
	p->drain = DRAIN_DONE;
	pthread_mutex_unlock(&p->lock);
	keeper_poke(p); /* it may wait for its turn */
	async_halt(p);
	pthread_mutex_lock(&p->lock);
	while (p->copying && waits)
		waits = !pthread_cond_clockwait(&p->set, &p->lock, CLOCK_MONOTONIC, &until);
	pthread_mutex_unlock(&p->lock);
	if (waits)
		return 0;
	async_release(p);
	return refuse(why, -ETIMEDOUT, "its copy does not end");
}

/* They leave a target that clients may write. */
static bool needs_whole(enum replica_operation op)
{
	return op == OP_SPLIT || op == OP_FRACTURE || op == OP_RESET_TO_SYNC || op == OP_DETACH ||
	       op == OP_DISSOLVE;
}

int async_prepare(struct pair *p, enum replica_operation op, bool force, bool *drained,
		  struct why *why)
{
	struct pair_record r = pair_record_of(p);
	struct pair_facts f;
	int err;

	*drained = false;
	if (!pair_is_async(&r) || !r.steady || !pair_writes(&r) || !needs_whole(op))
		return 0;
	/* What is done, or refused, needs no generation. */
	if (pair_numbered(p->of->t, p->number, &f) || f.state == COPY_BROKEN)
		return 0;
	/* It goes also without its source; what it shows is what it will be then. */
	if ((op == OP_DETACH || op == OP_DISSOLVE) && force)
		return 0;
	err = drain(p);
	*drained = !err;
	if (err == -EBUSY)
		return refuse(why, err, "another operation waits for its next generation");
	return err ? refuse(why, err, "what it lacks could not be copied in time") : 0;
}

/* ---- back to the last whole generation ---- */

int async_mark(struct pair *p, uint64_t off, uint64_t len)
{
	struct disk *source = pair_source(p);
	struct marks *marks = p->leg.marks;
	struct range r;
	uint64_t size;
	unsigned turn;
	int err = 0;

	if (source)
		pair_hold_size(source, &r);
	size = marks_size(marks);
	if (off + len > size)
		len = size > off ? size - off : 0;
	if (len)
		err = marks_begin(marks, off, len, &turn);
	if (len && !err) {
		marks_set(marks, off, len);
		marks_end(marks, turn);
	}
	if (source)
		range_unlock(&source->ranges, &r);
	disk_unref(source);
	return err;
}

static int put_back(struct pair *p, struct disk *target, const struct moment_record *m,
		    uint64_t block, char *buf)
{
	struct history *h = atomic_load(&target->history);
	uint64_t size = history_block_size(h), off = block * size;

	if (off >= m->size)
		return 0;
	if (size > m->size - off)
		size = m->size - off;
	return async_mark(p, off, size)
		       ?: history_read_at(h, m->generation, buf, size, off)
		       ?: disk_write(target, buf, size, off, 0);
}

/* All blocks that were written since that moment, which have versions. The disk is open. */
static int put_all_back(struct pair *p, struct disk *target, const struct moment_record *m)
{
	struct history *h = atomic_load(&target->history);
	struct version v[64];
	const struct version *after = NULL;
	char *buf = malloc(history_block_size(h));
	uint64_t has = disk_size(target);
	size_t count = 1;
	int err = buf ? history_settle(h) : -ENOMEM;

	if (!err && has > m->size) /* what it has of the next one there, it lacks again */
		err = async_mark(p, m->size, has - m->size);
	if (!err && has != m->size)
		err = disk_resize(target, m->size, true);
	while (!err && count) {
		err = versions_between(target->tandem->catalogue, target->number, m->generation,
				       UINT64_MAX, after, v, 64, &count);
		for (size_t i = 0; i < count && !err; i++)
			err = put_back(p, target, m, v[i].block, buf);
		if (!err && count) {
			v[0] = v[count - 1];
			after = &v[0];
		}
	}
	free(buf);
	return err;
}

static int go_back(struct pair *p, struct disk *target, struct pair_record r)
{
	uint64_t shown = r.shows;
	struct moment_record m;
	int err = moment_exactly(target, shown, &m) ?: disk_open_apart(target);

	if (err)
		return err;
	err = put_all_back(p, target, &m) ?: disk_flush(target);
	r.shows = 0;
	if (!err)
		err = pair_set(p, r.copy_state, &r);
	if (!err)
		async_show_present(p, target, shown);
	disk_close_apart(target);
	return err;
}

int async_make_whole(struct pair *p, bool force, struct why *why)
{
	struct pair_record r = pair_record_of(p);
	struct disk *target;
	int err;

	if (!r.shows)
		return 0;
	target = pair_target(p);
	err = target && disk_is_served(target) ? go_back(p, target, r) : -ENOENT;
	if (force) /* who forces it knows what he does not get back */
		err = 0;
	disk_unref(target);
	return err ? refuse_advise(why, err, "Resume or ResyncReplica, and then this",
				   "its target cannot be brought back to the generation that it "
				   "shows: %s",
				   strerror(-err))
		   : 0;
}

void async_let_go(struct pair *p)
{
	struct pair_record r = pair_record_of(p);
	struct disk *target = pair_target(p);

	if (target && atomic_load(&target->history))
		async_show_present(p, target, r.shows);
	disk_unref(target);
}

/* ---- its mode ---- */

/* Whether its target is some moment of its source though nobody writes to it. */
static bool is_whole(enum copy_state state)
{
	return state == COPY_SPLIT;
}

static int record_mode(struct pair *p, enum copy_state from, struct pair_record *r, struct why *why)
{
	bool at_flush = atomic_load(&p->leg.at_flush);
	int err;

	pair_acknowledge(p, r->at_flush);
	err = pair_set(p, from, r);
	if (err)
		pair_acknowledge(p, at_flush);
	return err ? refuse(why, err, "it cannot be recorded: %s", strerror(-err)) : 0;
}

/* Its copy goes on, in whatever mode it is. */
static void go_on(struct pair *p)
{
	atomic_store(&p->stopped_in_vain, true);
	atomic_store(&p->stop, false);
	keeper_poke(p);
}

/* Its own mirrors would be what it holds, which is no generation while one is copied. */
static int check_target(struct pair *p, struct why *why)
{
	struct disk *target = pair_target(p);
	int err = 0;

	if (target && disk_is_mirrored(target))
		err = refuse(why, -EBUSY, "%s is the source of a mirror itself", target->label);
	disk_unref(target);
	return err;
}

static int to_async(struct pair *p, struct pair_record r, struct why *why)
{
	uint64_t time_ms = past_now(p->of->t->snapshots);
	bool same = false, running = pair_writes(&r);
	int err = check_target(p, why);

	if (err)
		return err;
	if (running) {
		atomic_store(&p->stop, true);
		same = pair_stop_writing(p);
	}
	if (r.copy_state == COPY_SYNCHRONIZED && !same)
		err = refuse(why, -EBUSY, "it is not Synchronized just now");
	r.mode = MODE_ASYNCHRONOUS;
	r.at_flush = false; /* nothing is on its way: it does not write */
	if (!r.adaptive)
		r.objective_s = PAIR_OBJECTIVE_S;
	r.steady = same || is_whole(r.copy_state);
	r.of = 0;
	r.whole = false; /* `steady` says it */
	if (same)
		r.sync_time_ms = time_ms;
	if (!err)
		err = record_mode(p, r.copy_state, &r, why);
	/* A flush is not for its target any more. */
	if (!err)
		atomic_store(&p->leg.missed, false);
	if (running)
		go_on(p);
	return err;
}

/* It catches up: what it lacks is copied, and it writes what is written from now on. */
static int to_sync(struct pair *p, struct pair_record r, struct why *why)
{
	enum copy_state from = r.copy_state;
	bool running = pair_writes(&r);
	int err = 0;

	if (running) {
		atomic_store(&p->stop, true);
		async_halt(p);
		r.shows = pair_record_of(p).shows;
		r.steady = pair_record_of(p).steady;
	}
	if (r.shows)
		err = refuse_advise(why, -EBUSY, "Resume or ResyncReplica, and then this",
				    "its target is on the way to another generation");
	r.mode = MODE_SYNCHRONOUS;
	if (!r.adaptive)
		r.objective_s = 0;
	if (atomic_load(&p->in_step_ms) > r.sync_time_ms)
		r.sync_time_ms = atomic_load(&p->in_step_ms);
	r.whole = r.steady && !r.written;
	r.steady = false;
	r.of = 0;
	if (running)
		r.copy_state = COPY_UNSYNCHRONIZED;
	if (!err)
		err = record_mode(p, from, &r, why);
	if (!err)
		async_let_go(p);
	if (running)
		go_on(p);
	return err;
}

/* It keeps the mode that it has, which its keeper changes from now on, or does not. */
static int stay(struct pair *p, struct pair_record r, struct why *why)
{
	int err;

	if (!r.adaptive && !pair_is_async(&r))
		r.objective_s = 0;
	err = record_mode(p, r.copy_state, &r, why);
	if (!err)
		keeper_poke(p);
	return err;
}

static int to_adaptive(struct pair *p, struct pair_record r, struct why *why)
{
	int err = check_target(p, why);

	r.adaptive = true;
	r.at_flush = false;
	r.skew_limit = PAIR_SKEW_LIMIT;
	if (!r.objective_s)
		r.objective_s = PAIR_OBJECTIVE_S;
	return err ? err : stay(p, r, why);
}

int pair_reset_mode(struct pair *p, enum sync_mode mode, bool plan, struct why *why)
{
	struct pair_record r = pair_record_of(p);

	bool adaptive = mode == MODE_ADAPTIVE;

	if (plan || (r.adaptive == adaptive && (adaptive || r.mode == mode)))
		return 0;
	if (r.back)
		return refuse_advise(why, -EBUSY, "wait until it is Synchronized",
				     "its roles are about to change");
	if (r.moves)
		return refuse(why, -EOPNOTSUPP, "the mirror of MirrorVirtualDisk is synchronous");
	if (adaptive)
		return to_adaptive(p, r, why);
	r.adaptive = false;
	r.skew_limit = 0;
	if (r.mode == mode)
		return stay(p, r, why);
	return mode == MODE_ASYNCHRONOUS ? to_async(p, r, why) : to_sync(p, r, why);
}

int pair_adapt(struct pair *p, enum sync_mode mode)
{
	struct pair_record r = pair_record_of(p);
	struct why ignored = { 0 };

	return mode == MODE_ASYNCHRONOUS ? to_async(p, r, &ignored) : to_sync(p, r, &ignored);
}

/* ---- facts ---- */

void pair_add_async_facts(struct pair *p, const struct pair_record *r, struct pair_facts *f)
{
	uint64_t in_step = atomic_load(&p->in_step_ms);

	f->objective_s = r->objective_s;
	f->shows = r->shows;
	/* What it has of the next generation is not seen yet. */
	f->applied = r->shows ? atomic_load(&p->applied) : 0;
	/* What was written and copied again counts twice there. */
	if (f->differs + f->applied > f->size)
		f->applied = f->size > f->differs ? f->size - f->differs : 0;
	if (in_step > f->sync_time_ms)
		f->sync_time_ms = in_step;
}

/* Before the first of what is on its way was sent. */
uint64_t pair_had_all_ms(struct pair *p)
{
	uint64_t behind = sender_behind(p->leg.sender), now_ms = past_now(p->of->t->snapshots);
	uint64_t ago_ms = behind ? behind / 1000000 + 1 : 0;

	return now_ms > ago_ms ? now_ms - ago_ms : 0;
}

void pair_add_sent_facts(struct pair *p, struct pair_facts *f)
{
	uint64_t in_step = atomic_load(&p->in_step_ms), had_all = pair_had_all_ms(p);

	f->sent = sender_bytes(p->leg.sender);
	/* A large discard is sent at once, and again. */
	if (f->sent > f->size)
		f->sent = f->size;
	/* What was told once stays so, until the next start. Of one that is lost the first may have failed. */
	if (f->sent && f->state == COPY_SYNCHRONIZED && !atomic_load(&p->leg.failed) &&
	    had_all > in_step)
		atomic_compare_exchange_strong(&p->in_step_ms, &in_step, had_all);
	in_step = atomic_load(&p->in_step_ms);
	if (in_step > f->sync_time_ms)
		f->sync_time_ms = in_step;
}

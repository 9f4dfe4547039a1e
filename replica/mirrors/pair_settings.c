// SPDX-License-Identifier: GPL-2.0-or-later
/* What of a mirror can be set while it is there. */
#include <errno.h>
#include <string.h>

#include "jobs.h"
#include "pairs_inner.h"

static int check(const struct pair_record *r, const struct pair_settings *s, struct why *why)
{
	/* Now, or again: while it goes back it follows at once. */
	bool async = r->mode == MODE_ASYNCHRONOUS || r->adaptive;

	if (s->has_acknowledge && s->at_flush && (async || r->moves))
		return refuse(why, -EOPNOTSUPP,
			      "AcknowledgeAt=Flush is of a mirror with Mode=Synchronous");
	if (!s->has_objective)
		return 0;
	if (!async)
		return s->objective_s
			       ? refuse(why, -EOPNOTSUPP,
					"RecoveryPointObjective of a synchronous mirror is 0")
			       : 0;
	if (!s->objective_s || s->objective_s > PAIR_OBJECTIVE_MAX_S)
		return refuse(why, -EINVAL,
			      "RecoveryPointObjective of an asynchronous mirror is 1 to %u seconds",
			      PAIR_OBJECTIVE_MAX_S);
	return 0;
}

static void apply(struct pair_record *r, const struct pair_settings *s)
{
	if (s->has_priority)
		r->priority = s->priority;
	if (s->has_recovery)
		r->manual = s->manual;
	if (s->has_stops)
		r->stops_host_io = s->stops_host_io;
	if (s->has_objective)
		r->objective_s = s->objective_s;
	if (s->has_acknowledge)
		r->at_flush = s->at_flush;
}

void pair_acknowledge(struct pair *p, bool at_flush)
{
	struct disk *source = pair_source(p);

	if (atomic_load(&p->leg.at_flush) != at_flush)
		mirror_acknowledge(source, &p->leg, at_flush);
	disk_unref(source);
}

int pair_end_sending(struct pair_step *s, bool force, struct why *why)
{
	struct leg *leg = &s->p->leg;

	pair_acknowledge(s->p, false);
	return force || s->from != COPY_SYNCHRONIZED || !atomic_load(&leg->missed)
		       ? 0
		       : refuse(why, -EBUSY, "it is not Synchronized just now");
}

/* Under changing. Recorded first: a copy that begins looks there. */
static int set(struct pair *p, const struct pair_settings *s, struct why *why)
{
	struct pair_record r;
	struct jobs *js = p->of->t->jobs;
	int err;

	if (s->has_acknowledge && !s->at_flush)
		pair_acknowledge(p, false);
	do { /* what others write to its disks can change its state at any time */
		r = pair_record_of(p);
		apply(&r, s);
		err = pair_set(p, r.copy_state, &r);
	} while (err == -EAGAIN && !pair_is_gone(p));
	pair_acknowledge(p, pair_record_of(p).at_flush);
	if (err)
		return refuse(why, err, "it cannot be recorded: %s", strerror(-err));
	atomic_store(&p->leg.stops, r.stops_host_io);
	job_set_priority(js, job_of_replica(js, p->number, false), r.priority);
	return 0;
}

int tandem_set_pair(struct tandem *t, uint32_t number, const struct pair_settings *s, bool plan,
		    struct why *why)
{
	struct pair_record r;
	struct pair *p;
	int err = pair_to_change(t, number, &p, why);

	if (err)
		return err;
	pthread_mutex_lock(&p->changing);
	r = pair_record_of(p);
	err = pair_is_gone(p) ? refuse(why, -ENOENT, "there is no such mirror") : check(&r, s, why);
	if (!err && !plan)
		err = set(p, s, why);
	pthread_mutex_unlock(&p->changing);
	if (!err && !plan) {
		keeper_poke(p);
		pair_changed(p);
	}
	return err;
}

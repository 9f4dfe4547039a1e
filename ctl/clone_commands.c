// SPDX-License-Identifier: GPL-2.0-or-later
/* Clones: what disks/DISK/control makes of them, and CreateReplica. */
#include "inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clones.h"
#include "jobs.h"
#include "kept.h"
#include "rfc3339.h"

static int say_clone(const struct request *r, const struct clone_request *q,
		     const struct clone_facts *c)
{
	char time[RFC3339_MAX];

	if (r->plan) {
		result_say(r->result, "would make %.255s, which can be used at once%s", c->target,
			   q->methodology == METHOD_COPY_ON_ACCESS ? "" : " and is filled behind");
		return 0;
	}
	snprintf(r->result->element_name, sizeof(r->result->element_name), "%s", c->name);
	snprintf(r->result->target, sizeof(r->result->target), "%s", c->target);
	result_add_job(r->result, job_of_replica(r->ctl->tandem->jobs, c->number, true));
	/* Nobody fills one that is filled by what is written to it only. */
	r->result->copy = q->methodology == METHOD_COPY_ON_ACCESS ? 0 : c->number;
	result_say(r->result, "%.255s is the disk of %s, g%" PRIu64 "%s", c->target,
		   rfc3339_format_ms(time, c->time_ms), c->generation,
		   q->methodology == METHOD_COPY_ON_ACCESS ? "" : ", and is being filled");
	return 0;
}

int make_clone(const struct request *r, struct clone_request *q)
{
	struct clone_facts c;
	int err;

	/* What is in it is in its source: it is for its owner alone, like any that is made here. */
	q->mode = 0600;
	q->uid = r->caller->uid;
	q->gid = r->caller->gid;
	q->plan = r->plan;
	err = tandem_clone(r->ctl->tandem, r->disk, q, &c, &r->result->why);
	return err ? err : say_clone(r, q, &c);
}

/* A snapshot first, which is no part of the clone and stays. */
int snap_and_clone(const struct request *r, struct clone_request *q)
{
	struct tandem *t = r->ctl->tandem;
	struct why ignored, *why = &r->result->why;
	struct snapshot_facts s;
	int err = tandem_snapshot(t, &r->disk, 1, q->name, r->plan, &s, why);

	if (err)
		return err;
	if (!r->plan)
		q->generation = s.generation;
	err = make_clone(r, q);
	if (err && !r->plan)
		tandem_delete_snapshot(t, s.number, true, false, &ignored);
	return err;
}

int make_token(const struct request *r, struct clone_request *q)
{
	char time[RFC3339_MAX];
	struct clone_facts c;
	int err;

	q->plan = r->plan;
	err = tandem_tokenize(r->ctl->tandem, r->disk, q, &c, &r->result->why);
	if (err)
		return err;
	if (r->plan) {
		result_say(r->result, "would make a token, which keeps what the disk is now");
		return 0;
	}
	snprintf(r->result->token, sizeof(r->result->token), "%s", c.name);
	snprintf(r->result->element_name, sizeof(r->result->element_name), "%s", c.name);
	result_say(r->result, "the token stands for the disk of %s, g%" PRIu64,
		   rfc3339_format_ms(time, c.time_ms), c.generation);
	return 0;
}

/* It stays good: what it stands for is let go of with ReturnToResourcePool. */
int redeem_token(const struct request *r, const char *token, struct clone_request *q)
{
	struct why *why = &r->result->why;
	struct clone_facts c;
	char source[DISK_LABEL_MAX + 1];

	pthread_mutex_lock(&r->disk->lock);
	snprintf(source, sizeof(source), "%s", r->disk->label);
	pthread_mutex_unlock(&r->disk->lock);
	if (clone_named(r->ctl->tandem, token, &c) || !c.token || strcmp(c.source, source) != 0)
		return refuse(why, -ENOENT, "there is no such token of %.200s", source);
	if (c.state != COPY_PREPARED)
		return refuse(why, -ESTALE, "what the token stood for had to be given up");
	q->generation = c.generation;
	q->share = true;
	return make_clone(r, q);
}

enum { CLONE_TARGET, CLONE_AT };

const struct parameter clone_parameters[] = {
	[CLONE_TARGET] = { "Target", VALUE_TEXT, .required = true },
	[CLONE_AT] = { "At", VALUE_MOMENT },
	{ NULL },
};

int disk_clone(const struct request *r)
{
	const char *at = argument_text(&r->args[CLONE_AT]);
	struct moment_record m = { .generation = GENERATION_NOW };
	int err = at ? kept_find(r->disk, at, &m, &r->result->why) : 0;
	struct clone_request q = {
		.target = r->args[CLONE_TARGET].text,
		.generation = m.generation,
		.methodology = METHOD_FULL_COPY,
	};

	return err ? err : make_clone(r, &q);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Mirrors: what disks/DISK/control makes of them. */
#include "inner.h"

#include <inttypes.h>
#include <stdio.h>

#include "pairs.h"

enum sync_mode mirror_mode(const struct argument *mode)
{
	return mode->given ? (enum sync_mode)mode->number : MODE_SYNCHRONOUS;
}

static int say_plan(const struct request *r, const struct pair_request *q,
		    const struct pair_facts *p)
{
	char size[VALUE_TEXT_MAX];
	struct disk_facts facts;

	disk_facts(r->disk, &facts);
	value_human_size(size, facts.allocated);
	if (!p->first)
		result_say(
			r->result,
			"%.255s would lose what it holds, get about %s, and stay what this disk is",
			p->target, size);
	else
		result_say(r->result,
			   "would make %.255s%s, copy about %s, and keep it what this disk is",
			   p->target,
			   q->provisioning == PROVISION_FULL ? ", with all of its space" : "",
			   size);
	return 0;
}

int make_mirror(const struct request *r, struct pair_request *q)
{
	struct pair_facts p;
	int err;

	/* Like any disk that is made here. */
	q->mode_bits = 0600;
	q->uid = r->caller->uid;
	q->gid = r->caller->gid;
	q->plan = r->plan;
	err = tandem_mirror(r->ctl->tandem, r->disk, q, &p, &r->result->why);
	if (err)
		return err;
	if (r->plan)
		return say_plan(r, q, &p);
	snprintf(r->result->element_name, sizeof(r->result->element_name), "%s", p.name);
	snprintf(r->result->target, sizeof(r->result->target), "%s", p.target);
	if (q->state && q->state != COPY_UNSYNCHRONIZED) {
		result_say(r->result, "%.255s becomes what %.255s is after Activate", p.target,
			   p.source);
		return 0;
	}
	r->result->copy = p.number;
	if (p.adaptive)
		result_say(r->result,
			   "%.255s becomes what %.255s is, and lacks %" PRIu64
			   " bytes of it at most for long",
			   p.target, p.source, p.skew_limit);
	else if (p.mode == MODE_ASYNCHRONOUS)
		result_say(r->result, "%.255s becomes what %.255s is, and follows it, %u s behind",
			   p.target, p.source, p.objective_s);
	else
		result_say(r->result,
			   "%.255s becomes what %.255s is, and is written with it from now on",
			   p.target, p.source);
	return 0;
}

enum { MIRROR_TARGET, MIRROR_MODE };

const struct parameter mirror_parameters[] = {
	[MIRROR_TARGET] = { "Target", VALUE_TEXT, .required = true },
	[MIRROR_MODE] = { "Mode", VALUE_ENUM, .values = create_modes },
	{ NULL },
};

int disk_mirror(const struct request *r)
{
	struct pair_request q = { .target = r->args[MIRROR_TARGET].text,
				  .mode = mirror_mode(&r->args[MIRROR_MODE]) };

	return make_mirror(r, &q);
}

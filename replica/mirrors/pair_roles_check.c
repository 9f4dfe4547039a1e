// SPDX-License-Identifier: GPL-2.0-or-later
/* Whether a disk and the target of its mirror may change images. Nothing is changed. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "close_wait.h"
#include "pair_roles.h"
#include "snapshots_inner.h"

static bool is_whole(const struct roles *c)
{
	return pair_is_async(&c->r) ? c->r.steady && !c->r.written
				    : c->r.whole && !atomic_load(&c->p->leg.lacks);
}

/* Of the target, once it is what it shows. */
static uint64_t size_then(const struct roles *c)
{
	struct moment_record m;

	return c->r.shows && !moment_exactly(c->target, c->r.shows, &m) ? m.size
									: disk_size(c->target);
}

int roles_check_disks(struct roles *c, struct why *why)
{
	unsigned opened = c->ours + (c->p->leg.to != NULL);
	struct disk *s = c->source, *t = c->target;
	int err = swap_check_disk(s, why) ?: swap_check_other(t, opened, why);

	if (err)
		return err;
	if (!s->identity.len)
		return refuse(why, -EOPNOTSUPP, "%s cannot be known again after a restart",
			      s->label);
	if (disk_size(s) != size_then(c))
		return refuse_advise(why, -EBUSY, "Resize", "%s has %llu bytes, and %s has %llu",
				     s->label, (unsigned long long)disk_size(s), t->label,
				     (unsigned long long)size_then(c));
	if (c->op != OP_FAILOVER && (!disk_is_served(s) || s->image->read_only))
		return refuse(why, -EBUSY, "%s is %s", s->label, disk_state_name(disk_state(s)));
	return 0;
}

/* It becomes another disk, or an older one. */
int roles_check_content(struct roles *c, struct why *why)
{
	bool open = disk_clients(c->source) > (unsigned)c->ours;

	if (!c->differ)
		return 0;
	if (swap_has_moments(c->source))
		return refuse_advise(why, -EBUSY, "delete its snapshots and ForgetHistory",
				     "%s and %s differ, and the snapshots and kept history of %s "
				     "go with what it holds now",
				     c->source->label, c->target->label, c->source->label);
	if (!c->outdated)
		return 0;
	/* It was on its way when this was asked for, and did not arrive. */
	if (!c->force && atomic_load(&c->p->leg.missed))
		return refuse_advise(why, -EPERM, "wait until it is Synchronized; or Force",
				     "%s lacks what was written to %s and answered",
				     c->target->label, c->source->label);
	if (open && c->op == OP_REVERSE_ROLES)
		return refuse_advise(while_open(c->source, why), -EBUSY, "close it first",
				     "%s is open, and %s is not what it is now", c->source->label,
				     c->target->label);
	if (open && !c->force)
		return refuse_advise(while_open(c->source, why), -EBUSY, "close it first; or Force",
				     "%s is open, and %s is not what it is now", c->source->label,
				     c->target->label);
	if (c->op == OP_REVERSE_ROLES && !c->force)
		return refuse_advise(why, -EPERM, "ReverseRoles Force",
				     "what was written to %s since would be lost",
				     c->source->label);
	return 0;
}

int roles_check_state(struct roles *c, enum copy_state from, struct why *why)
{
	struct pair_facts f;
	int err;

	if (pair_numbered(c->p->of->t, c->p->number, &f))
		return refuse(why, -ENOENT, "there is no such mirror");
	if (f.state != from)
		return refuse(why, -EBUSY, "CopyState is %s by now",
			      enum_name(copy_states, f.state));
	/* That its target is lost is a fact before it is recorded. */
	err = from == COPY_FAILEDOVER || from == COPY_BROKEN ? keeper_lose(c->p) : 0;
	if (err)
		return refuse(why, err, "it cannot be recorded: %s", strerror(-err));
	c->r = c->next = pair_record_of(c->p);
	if (c->r.first)
		return refuse_advise(why, -EBUSY, "wait until it is Synchronized",
				     "the first copy is not complete, and %s is no disk yet",
				     f.target);
	if (c->r.moves)
		return refuse_advise(why, -EBUSY, "BreakMirrorVirtualDisk",
				     "it is there to move %s to %s", f.source, f.target);
	return 0;
}

/* The target has what its source lacks, and the other way around. */
int roles_check_copy_back(struct roles *c, struct why *why)
{
	const char *op = enum_name(replica_operations, c->op);
	char advice[40];
	int err;

	if (!disk_is_served(c->target))
		return refuse(why, -ETIMEDOUT, "%s, which was the source, is %s", c->target->label,
			      disk_state_name(disk_state(c->target)));
	snprintf(advice, sizeof(advice), "%s Force", op);
	err = c->op == OP_FAILBACK ? roles_check_disks(c, why) : 0;
	if (err)
		return err;
	if (c->r.diverged && !c->force)
		return refuse_advise(why, -EPERM, advice,
				     "%s, which was the source, has what was written to it and not "
				     "to its target: that would be lost",
				     c->target->label);
	return 0;
}

/* Of one that is stopped in another state somebody has said so. */
static bool is_behind(const struct roles *c)
{
	struct marks *marks = c->p->leg.marks;

	return c->r.copy_state == COPY_BROKEN && !pair_is_async(&c->r) && marks_bytes(marks) &&
	       marks_outdated(marks);
}

int roles_check_whole(struct roles *c, struct why *why)
{
	char advice[40];

	if (c->force)
		return 0;
	if (is_behind(c) && is_whole(c))
		return refuse_advise(why, -EPERM,
				     "ResyncReplica, if its source is there; or Failover Force",
				     "%s was lost, and lacks what was written to %s and answered "
				     "since",
				     c->target->label, c->source->label);
	if (is_whole(c) || c->r.copy_state == COPY_SYNCHRONIZED)
		return 0;
	snprintf(advice, sizeof(advice), "%s Force", enum_name(replica_operations, c->op));
	return refuse_advise(why, -EPERM, advice,
			     c->r.at_flush
				     ? "%s may lack what was written to its source and not "
				       "flushed, or is in the middle of a copy"
				     : "%s is in the middle of a copy, and would be half a disk",
			     c->target->label);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Failover of a source that was not found at the start: there are no two images to change places.
 * The catalogue says that the source is in the target's file, and then that file is looked at as
 * if it had just come: it is the source, with its past and its mirrors.
 */
#include <errno.h>
#include <string.h>

#include "pair_swap.h"
#include "pairs_inner.h"
#include "scan.h"
#include "snapshots_inner.h"

/* Its moments are of what it held; what its write log has nobody can look at just now. */
static int check_past(struct pair *p, struct disk *source, struct disk *target, struct why *why)
{
	struct track_record track;

	if (!marks_bytes(p->leg.marks) ||
	    track_get(source->tandem->catalogue, source->number, &track) == -ENOENT)
		return 0;
	return refuse(why, -EBUSY, "%s has, or had, a past, and is not what %s is", source->label,
		      target->label);
}

int missing_check(struct pair *p, const struct swap *swap, struct why *why)
{
	struct disk *source = swap->d, *target = swap->other;
	uint64_t size = marks_size(p->leg.marks);
	int err = swap_check_other(target, 0, why);

	if (!err && !source->identity.len)
		err = refuse(why, -EOPNOTSUPP, "%s cannot be known again after a restart",
			     source->label);
	if (!err && disk_size(target) != size)
		err = refuse(why, -EBUSY, "%s had %llu bytes, and %s has %llu", source->label,
			     (unsigned long long)size, target->label,
			     (unsigned long long)disk_size(target));
	return err ? err : check_past(p, source, target, why);
}

static int prepare(struct pair_step *s, struct swap *swap, struct why *why)
{
	struct pair *p = s->p;
	int err = disk_flush(swap->other) ?: swap_drop_notes(swap->other);

	if (err)
		return refuse(why, err, "%s cannot be completed: %s", swap->other->label,
			      strerror(-err));
	swap_choose_names(swap);
	/* After a crash, what was under way may be marked, and nothing that was answered be missing. */
	s->r.diverged = marks_bytes(p->leg.marks) && marks_outdated(p->leg.marks);
	/* What other mirrors of it have is not what it is from here on. */
	err = marks_bytes(p->leg.marks) ? pairs_differ_but(swap->d, p) : 0;
	return err ? refuse(why, err, "it cannot be recorded: %s", strerror(-err)) : 0;
}

/* Nobody uses either, and nobody can before they are found again. */
static void find_again(struct pair *p, struct disk *source, struct disk *target)
{
	struct tandem *t = p->of->t;
	struct pool *pool = pool_ref(target->pool);
	struct swap both = { .d = source, .other = target };
	char name[NAME_MAX + 1];

	memcpy(name, target->file_name, sizeof(name));
	atomic_store(&p->stop, true);
	atomic_store(&p->leg.failed, false);
	atomic_store(&p->leg.error, 0);
	atomic_store(&p->leg.lacks, false);
	atomic_store(&p->leg.skews, false);
	swap_lock(&both);
	swap_hold(&both);
	atomic_store(&target->lost, true); /* who knows it still does nothing to the file */
	swap_release(&both);
	swap_unlock(&both);
	tandem_unlist_disk(t, source);
	tandem_unlist_disk(t, target);
	swap_shut(target);
	scan_name(t, pool, name, SCAN_LOOK);
	scan_missing(t);
	pool_unref(pool);
}

static void end(struct pair_step *s, bool recorded)
{
	if (!recorded) {
		disk_unclaim(s->swap->other);
		return;
	}
	find_again(s->p, s->swap->d, s->swap->other);
	pair_announce(s->p, enum_name(copy_states, s->from), "Failedover");
	keeper_poke(s->p);
}

int missing_prepare(struct pair_step *s, struct swap *swap, struct why *why)
{
	int err = disk_claim(swap->other, why);

	if (err)
		return err;
	s->swap = swap;
	s->end = end;
	err = prepare(s, swap, why);
	if (err)
		disk_unclaim(swap->other);
	return err;
}

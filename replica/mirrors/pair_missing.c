// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Failover of a source that was not found at the start: there are no two images to change places.
 * The catalogue says that the source is in the target's file, and then that file is looked at as
 * if it had just come: it is the source, with its past and its mirrors.
 */
#include <errno.h>
#include <string.h>

#include "clones.h"
#include "history.h"
#include "pair_swap.h"
#include "pairs_inner.h"
#include "scan.h"
#include "snapshots_inner.h"

static int is_seen(void *arg, const struct moment_record *m)
{
	(void)arg;
	return !m->dropped && !m->hidden;
}

/* Its past is of an image that it is not in any more. */
static bool has_past_to_lose(struct pair *p, struct disk *source, struct track_record *track)
{
	/* What is taken back is marked then. */
	return (marks_bytes(p->leg.marks) || pair_record_of(p).shows) &&
	       track_get(source->tandem->catalogue, source->number, track) != -ENOENT;
}

/* What is in its write log alone goes with its past. What was answered its target has, unless it is
 * outdated. */
static int check_log(struct pair *p, struct disk *source, const struct track_record *track,
		     bool force, struct why *why)
{
	uint64_t bytes = 0;
	bool torn = false;
	int err = force || !marks_outdated(p->leg.marks)
			  ? 0
			  : past_unsettled(source->tandem, source->number, track->settled, &bytes,
					   &torn);

	if (err)
		return refuse_advise(why, err, "bring its file back; or Failover Force",
				     "the write log of %s cannot be read: %s", source->label,
				     strerror(-err));
	if (!bytes && !torn)
		return 0;
	return refuse_advise(why, -EPERM, "bring its file back; or Failover Force",
			     "%llu bytes that were written to %s%s are in its write log only, and "
			     "would be lost for good",
			     (unsigned long long)bytes, source->label,
			     torn ? ", and a write that cannot be read," : "");
}

/* Its moments are of what it held. */
static int check_past(struct pair *p, const struct swap *swap, bool force, struct why *why)
{
	struct disk *source = swap->d;
	struct track_record track = { 0 };

	if (!has_past_to_lose(p, source, &track))
		return 0;
	if (track.window_s || track.restore_from || snapshots_count(source) ||
	    disk_is_cloned(source) || disk_is_clone(source) ||
	    moments_each(source->tandem->catalogue, source->number, is_seen, NULL))
		return refuse(why, -EBUSY, "%s has a past, and is not what %s is", source->label,
			      swap->other->label);
	return check_log(p, source, &track, force, why);
}

int missing_check(struct pair *p, const struct swap *swap, bool force, struct why *why)
{
	struct disk *source = swap->d, *target = swap->other;
	int err = swap_check_other(target, 0, why);

	if (!err && !source->identity.len)
		err = refuse(why, -EOPNOTSUPP, "%s cannot be known again after a restart",
			     source->label);
	return err ? err : check_past(p, swap, force, why);
}

/* Nobody has it open: what its write log has still is there because there was no space for it. */
static int check_settled(struct disk *target)
{
	struct history *h = atomic_load(&target->history);
	struct history_facts f = { 0 };

	if (h)
		history_facts(h, &f);
	return f.unsettled ? -ENOSPC : 0;
}

static int prepare(struct pair_step *s, struct swap *swap, struct why *why)
{
	struct pair *p = s->p;
	struct track_record track;
	int err = check_settled(swap->other)
			  ?: disk_flush(swap->other)
			  ?: swap_drop_notes(swap->other);

	if (err)
		return refuse(why, err, "%s cannot be completed: %s", swap->other->label,
			      strerror(-err));
	swap_choose_names(swap);
	s->forgets = has_past_to_lose(p, swap->d, &track);
	/* After a crash, what was under way may be marked, and nothing that was answered be missing. */
	s->r.diverged = marks_bytes(p->leg.marks) && marks_outdated(p->leg.marks);
	return 0;
}

static int mark(struct pair_step *s)
{
	struct marks *marks = s->p->leg.marks;
	/* What other mirrors of it have is not what it is from here on. */
	int err = marks_bytes(marks) ? pairs_differ_but(s->swap->d, s->p) : 0;

	/* What is in its write log alone its old image lacks. */
	return err ? err : s->forgets ? marks_set_all(marks) : 0;
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
	atomic_store(&p->leg.missed, false);
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
	if (s->forgets)
		past_remove_files(s->swap->d->tandem, s->swap->d->number);
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
	s->mark = mark;
	s->end = end;
	err = prepare(s, swap, why);
	if (err)
		disk_unclaim(swap->other);
	return err;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* What there is to know of a disk's past, and small things that operations share. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clones_inner.h"
#include "jobs.h"
#include "pairs.h"

int past_check_served(struct disk *d, struct why *why)
{
	enum disk_state state;
	bool listed;

	if (!d->tandem->snapshots)
		return refuse(why, -EOPNOTSUPP, "there is no catalogue");
	if (d->tandem->read_only)
		return refuse(why, -EROFS, "the mount is read-only");
	pthread_mutex_lock(&d->lock);
	state = d->state;
	listed = d->listed;
	pthread_mutex_unlock(&d->lock);
	if (!listed)
		return refuse(why, -ENOENT, "%s is gone", d->label);
	if (state != DISK_READY && state != DISK_READ_ONLY)
		return refuse(why, -EBUSY, "%s is %s; this needs Ready or ReadOnly", d->label,
			      disk_state_name(state));
	return 0;
}

int past_check_disk(struct disk *d, struct why *why)
{
	struct history *h = atomic_load(&d->history);
	int err = past_check_served(d, why);

	if (!err && h && history_restore(h).before)
		return refuse_advise(why, -EBUSY, "wait for its end, or Abort",
				     "%s is being restored", d->label);
	return err;
}

int past_flush(struct disk *d)
{
	int err;

	if (d->image->read_only || atomic_load(&d->unflushed) == atomic_load(&d->flushed))
		return 0;
	err = disk_open(d, false);
	if (err)
		return err;
	err = disk_flush(d);
	disk_close(d);
	return err;
}

uint64_t past_now(struct snapshots *s)
{
	uint64_t last = atomic_load(&s->last_ms), now = clock_ms();

	do {
		if (now < last)
			now = last;
	} while (!atomic_compare_exchange_weak(&s->last_ms, &last, now));
	return now;
}

int tandem_settle_disk(struct tandem *t, struct disk *d, struct why *why)
{
	struct history *h = atomic_load(&d->history);
	int err;

	(void)t;
	if (!h)
		return 0;
	err = disk_open(d, false);
	if (!err) {
		err = history_settle(h);
		disk_close(d);
	}
	return err ? refuse(why, err, "%s cannot be completed: %s", d->label, strerror(-err)) : 0;
}

int past_check_absent(struct tandem *t, uint32_t number, const char *label, const char *absent,
		      struct why *why)
{
	struct track_record track;
	uint64_t bytes = 0;
	bool torn;
	int err = track_get(t->catalogue, number, &track);

	if (err == -ENOENT)
		return 0;
	err = err ?: past_unsettled(t, number, track.settled, &bytes, &torn);
	if (err)
		return refuse(why, err, "what %s lacks cannot be read: %s", label, strerror(-err));
	if (bytes)
		return refuse(why, -ENOENT, "%s lacks %llu bytes that were written to it, and %s",
			      label, (unsigned long long)bytes, absent);
	if (track.restore_before)
		return refuse(why, -ENOENT, "%s is restored in part only, and %s", label, absent);
	return 0;
}

/* ---- facts ---- */

bool disk_has_past(const struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	struct track_record track;
	struct moment_record m;

	if (!d->tandem->snapshots)
		return false;
	/*
	 * What another program writes to a source is not to be copied by itself, nor copied over on a
	 * target, unless the mirror says so: a Skewed one needs Force for that.
	 */
	if (disk_is_paired(d) && (disk_is_mirrored(d) || !pair_skews(d)))
		return true;
	if (snapshots_count(d) || disk_is_clone(d) || disk_is_cloned(d))
		return true;
	if (h)
		return history_window(h).window_s || !history_moment_seen(h, UINT64_MAX, &m);
	/* One whose image is not there, or that is only being found. */
	return !track_get(d->tandem->catalogue, d->number, &track) && track.window_s;
}

static uint64_t oldest_tick(struct history *h)
{
	struct moment_record *list;
	uint64_t oldest = 0;
	size_t count;

	if (history_moments(h, &list, &count))
		return 0;
	for (size_t i = 0; i < count && !oldest; i++)
		if (list[i].tick)
			oldest = list[i].time_ms;
	free(list);
	return oldest;
}

void disk_past(struct disk *d, struct past_facts *out)
{
	struct restore_facts r = { 0 };
	struct history *h = atomic_load(&d->history);
	struct history_facts f;
	struct moment_record m;

	*out = (struct past_facts){ .snapshots = snapshots_count(d), .tracked = h != NULL };
	if (!h)
		return;
	history_facts(h, &f);
	out->block_size = history_block_size(h);
	out->unsettled = f.unsettled;
	out->bytes = f.bytes;
	out->growth_known = history_growth(h, f.bytes, 0, &out->growth) &&
			    out->growth.span_ns >= GROWTH_LEAST_NS;
	out->window = history_window(h);
	out->moments = f.moments;
	out->settle_error = f.settle_error;
	if (restore_facts(d, &r)) {
		out->restoring = !r.back;
		out->aborting = r.back;
	}
	out->restored = percent_of_bytes(r.done, r.total);
	if (f.ticks)
		out->oldest_ms = oldest_tick(h);
	if (!history_moment_seen(h, UINT64_MAX, &m))
		out->generation = m.generation;
}

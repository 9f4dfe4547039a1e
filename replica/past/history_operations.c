// SPDX-License-Identifier: GPL-2.0-or-later
/* Kept history, as an administrator sets it; and how its moments go. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "snapshots_inner.h"

/* Ticks that go in one transaction. */
#define PAGE 500
#define GRANULARITY_MIN_MS 100

/* ---- ticks go ---- */

/* Under changing. Those that somebody reads stay: *count is how many are in list then. */
static int untick(struct disk *d, struct moment_record *list, size_t *count)
{
	struct snapshots *s = d->tandem->snapshots;
	size_t n = 0;
	int err = 0;

	for (size_t i = 0; i < *count && !err; i++) {
		struct moment_record m;

		if (moment_exactly(d, list[i].generation, &m) || !m.tick)
			continue;
		m.tick = false;
		m.names = table_names(s, d->number, m.generation, NULL);
		m.dropped = !m.names;
		err = m.dropped ? dropping_begin(s, d, m.generation) : 0;
		if (!err)
			list[n++] = m;
		else if (err == -EBUSY)
			err = 0;
	}
	*count = n;
	return err;
}

static int record(struct disk *d, const struct moment_record *list, size_t count)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin(d->tandem->catalogue, &txn);

	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++)
		err = moment_put(txn, d->number, &list[i]);
	if (err) {
		catalogue_abort(txn);
		return err;
	}
	return catalogue_commit(txn);
}

static int drop_page(struct disk *d, struct moment_record *list, size_t count)
{
	struct snapshots *s = d->tandem->snapshots;
	int err;

	pthread_mutex_lock(&s->changing);
	err = untick(d, list, &count);
	if (!err && count)
		err = record(d, list, count);
	for (size_t i = 0; i < count; i++)
		if (err)
			dropping_end(s, d, list[i].generation);
		else
			moment_changed(s, d, &list[i]);
	pthread_mutex_unlock(&s->changing);
	return err;
}

/* Only the ticks, and only those before; returns how many. */
static size_t sift(struct moment_record *list, size_t count, uint64_t before)
{
	size_t n = 0;

	for (size_t i = 0; i < count && list[i].generation < before; i++)
		if (list[i].tick)
			list[n++] = list[i];
	return n;
}

int ticks_drop(struct disk *d, uint64_t before)
{
	struct history *h = atomic_load(&d->history);
	struct moment_record *list = NULL;
	size_t count = 0;
	int err = h ? history_moments(h, &list, &count) : 0;

	if (err)
		return err;
	count = sift(list, count, before);
	for (size_t i = 0; i < count && !err; i += PAGE)
		err = drop_page(d, list + i, count - i < PAGE ? count - i : PAGE);
	free(list);
	if (count)
		snapshots_changed(d->tandem, d);
	return err;
}

/* ---- KeepHistory ---- */

static int check_window(const struct history_window *w, struct why *why)
{
	if (!w->window_s)
		return 0;
	if (w->window_s > UINT32_MAX)
		return refuse(why, -EINVAL, "Window is too long");
	if (w->granularity_ms < GRANULARITY_MIN_MS)
		return refuse(why, -EINVAL, "Granularity is at least %dms", GRANULARITY_MIN_MS);
	if (w->granularity_ms > w->window_s * 1000)
		return refuse(why, -EINVAL, "Granularity is at most the Window");
	return 0;
}

static bool is_less(const struct history_window *w, const struct history_window *old)
{
	return old->window_s && (w->window_s < old->window_s ||
				 (w->limit && (!old->limit || w->limit < old->limit)));
}

/* Recorded, and then in memory. */
static int set_window(struct disk *d, struct history *h, const struct history_window *w)
{
	struct snapshots *s = d->tandem->snapshots;
	struct history_window old = history_window(h);
	struct catalogue_txn *txn;
	struct track_record track;
	int err;

	pthread_mutex_lock(&s->changing);
	err = past_check_disk(d, NULL) ?: catalogue_begin(d->tandem->catalogue, &txn);
	if (!err) {
		/* First in memory: the settler may record what it finds there at any time. */
		history_set_window(h, w);
		history_record(h, &track);
		track_put(txn, d->number, &track);
		err = catalogue_commit(txn);
		if (err)
			history_set_window(h, &old);
	}
	pthread_mutex_unlock(&s->changing);
	return err;
}

int tandem_keep_history(struct tandem *t, struct disk *d, const struct history_window *w,
			bool force, bool plan, struct why *why)
{
	struct history_window old = { 0 };
	struct history *h = atomic_load(&d->history);
	int err = past_check_disk(d, why) ?: check_window(w, why);

	if (err)
		return err;
	if (h)
		old = history_window(h);
	if (is_less(w, &old) && !force)
		return refuse_advise(why, -EPERM, "KeepHistory Force",
				     "less than before: moments of the last %" PRIu64
				     "s would be given up",
				     old.window_s);
	if (plan || (!w->window_s && !h))
		return 0;
	err = past_begin(d, &h, why);
	if (err)
		return err;
	err = set_window(d, h, w);
	if (!err && !w->window_s)
		err = ticks_drop(d, UINT64_MAX);
	if (err)
		return refuse(why, err, "it cannot be recorded: %s", strerror(-err));
	atomic_store(&d->tick_ns, 0);
	atomic_store(&d->shed_ns, 0);
	ticker_wake(t->snapshots->ticker);
	snapshots_changed(t, d);
	return 0;
}

static size_t ticks_before(struct history *h, uint64_t before)
{
	struct moment_record *list;
	size_t count;

	if (history_moments(h, &list, &count))
		return 0;
	count = sift(list, count, before);
	free(list);
	return count;
}

int tandem_forget_history(struct tandem *t, struct disk *d, uint64_t before, bool force, bool plan,
			  struct why *why)
{
	struct history *h = atomic_load(&d->history);
	size_t count;
	int err = past_check_disk(d, why);

	(void)t;
	if (err)
		return err;
	count = h ? ticks_before(h, before) : 0;
	if (count && !force)
		return refuse_advise(why, -EPERM, "ForgetHistory Before= Force",
				     "%zu moments of %s would be given up", count, d->label);
	if (!count || plan)
		return 0;
	err = ticks_drop(d, before);
	return err ? refuse(why, err, "it cannot be recorded: %s", strerror(-err)) : 0;
}

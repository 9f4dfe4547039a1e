// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What old content has to give up when there is little space, and when there is none.
 *
 * Little: kept history goes, a part at a time, the oldest first, until there is more (space_look,
 * from the ticker). None, and a write needs some: whoever writes makes room, one at a time, with
 * the least that may help, and tries again:
 *
 *   what was given up before is collected -> what is in the write log is settled, and its space
 *   given back -> the oldest of kept history -> the oldest snapshot that nobody holds or reads -> one
 *   that is read -> one that is held -> nothing is kept any more, and writes go to the image
 *
 * A snapshot is durably Broken before anything is written that it does not have. The catalogue has
 * space of its own for that.
 */
#include "space.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "snapshots_inner.h"

#define MIB (1ull << 20)
/* Little is less than a twentieth of the file system, or than this; but not than a quarter of it. */
#define LOW_MIN (1ull << 30)
/* Of a disk's ticks, so many go at a time. */
#define SHARE 16
/* A file system with more than this, or an eighth, is not full, whatever a write to it says. */
#define FULL_MAX (64 * MIB)
/* When there is so much again, or a sixteenth, waiting for still more would be for nothing. */
#define ENOUGH (16 * MIB)
/* So often a request is done again although nothing is in its way. */
#define VAIN_MAX 8

/* ---- how much there is ---- */

struct space {
	uint64_t size, free;
};

/* What is kept for root is there for a daemon that is root. */
static bool space_of(const struct tandem *t, struct space *out)
{
	struct statvfs st;

	if (fstatvfs(t->state_dirfd, &st))
		return false;
	out->size = (uint64_t)st.f_blocks * st.f_frsize;
	out->free = (uint64_t)(geteuid() ? st.f_bavail : st.f_bfree) * st.f_frsize;
	return true;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t low_mark(const struct space *s)
{
	uint64_t min = least(LOW_MIN, s->size / 4);

	return s->size / 20 > min ? s->size / 20 : min;
}

bool space_is_low(const struct tandem *t)
{
	return t->snapshots && atomic_load(&t->snapshots->low);
}

/* Once each, also when it goes up and down around the mark. */
static void tell(struct snapshots *s, bool low, uint64_t free)
{
	if (!low)
		atomic_store(&s->out, false);
	if (atomic_exchange(&s->low, low) == low)
		return;
	events_emit(s->t->events, low ? EVENT_MAJOR : EVENT_INFORMATION,
		    low ? "SpaceLow" : "SpaceOk", "daemon", "Free=%llu", (unsigned long long)free);
	tandem_changed(s->t, NULL);
}

/* ---- how fast it goes ---- */

/* Whether there is anything that could grow. */
static bool add_growth(struct tandem *t, uint64_t growth_ns, int64_t *growth)
{
	size_t count;
	struct disk **disks = tandem_disks(t, &count);
	bool any = false;

	for (size_t i = 0; i < count; i++) {
		struct history *h = atomic_load(&disks[i]->history);
		struct history_facts f;
		struct growth_rate rate;

		if (!h)
			continue;
		any = true;
		history_facts(h, &f);
		if (history_growth(h, f.bytes, growth_ns, &rate))
			*growth += rate.per_hour;
	}
	disks_free(disks, count);
	return any;
}

void store_facts(struct tandem *t, struct store_facts *out)
{
	struct snapshots *s = t->snapshots;
	uint64_t watched = s ? monotonic_ns() - s->watched_ns : 0;

	*out = (struct store_facts){ .free = s ? atomic_load(&s->free) : UINT64_MAX,
				     .full_in_s = UINT64_MAX };
	if (watched < GROWTH_LEAST_NS)
		return;
	out->growth_ns = least(watched, GROWTH_SPAN_NS);
	/* Without a past nobody looks how much is free. */
	out->growth_known = !add_growth(t, out->growth_ns, &out->growth) || out->free != UINT64_MAX;
	if (out->growth_known && out->growth > 0)
		out->full_in_s = (double)out->free * 3600 / out->growth;
}

/* ---- kept history ---- */

static uint64_t end_of_share(struct history *h, const struct moment_record *list, size_t count)
{
	size_t ticks = 0, n = 0;
	uint64_t end = 0;

	/* One that is read now cannot go. */
	for (size_t i = 0; i < count; i++)
		ticks += list[i].tick && !history_is_pinned(h, list[i].generation);
	for (size_t i = 0; i < count && n < (ticks + SHARE - 1) / SHARE; i++)
		if (list[i].tick && !history_is_pinned(h, list[i].generation)) {
			end = list[i].generation + 1;
			n++;
		}
	return end;
}

bool space_shed(struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	struct moment_record *list;
	uint64_t before;
	size_t count;

	if (!h || history_moments(h, &list, &count))
		return false;
	before = end_of_share(h, list, count);
	free(list);
	return before && !ticks_drop(d, before);
}

/* Unless those given up before are still being collected. */
static bool shed_all(struct snapshots *s)
{
	size_t count;
	struct disk **disks = tandem_disks(s->t, &count);
	bool any = false;

	for (size_t i = 0; i < count; i++)
		if (collector_is_idle(s->collector, disks[i]->number))
			any |= space_shed(disks[i]);
	disks_free(disks, count);
	return any;
}

/* Closed disks whose writes have waited for space; who has one open needs nobody for that. */
static void settle_closed(struct snapshots *s)
{
	size_t count;
	struct disk **disks = tandem_disks(s->t, &count);

	for (size_t i = 0; i < count; i++) {
		struct history_facts f = { 0 };
		struct history *h = atomic_load(&disks[i]->history);
		struct why why;

		if (h)
			history_facts(h, &f);
		if (f.unsettled && !disk_is_open(disks[i]))
			tandem_settle_disk(s->t, disks[i], &why);
	}
	disks_free(disks, count);
}

void space_look(struct snapshots *s)
{
	bool was = atomic_load(&s->low), low;
	struct space now;
	uint64_t mark;

	if (!space_of(s->t, &now))
		return;
	atomic_store(&s->free, now.free);
	mark = low_mark(&now);
	low = now.free < (was ? mark + mark / 4 : mark);
	tell(s, low, now.free);
	if (low)
		shed_all(s);
	else if (was)
		settle_closed(s);
}

/* ---- snapshots ---- */

/* Of the disk whose old content takes most. Under changing. */
static uint64_t choose(struct snapshots *s, struct disk **disks, size_t count, enum importance most,
		       struct disk **of)
{
	uint64_t found = 0, bytes = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t g = oldest_to_lose(s, disks[i], most);
		struct version_totals totals = { 0 };

		if (!g || version_totals(s->t->catalogue, disks[i]->number, &totals))
			continue;
		if (found && totals.bytes <= bytes)
			continue;
		found = g;
		bytes = totals.bytes;
		*of = disks[i];
	}
	return found;
}

static bool lose_moment(struct snapshots *s, enum importance most)
{
	size_t count;
	struct disk **disks = tandem_disks(s->t, &count), *of = NULL;
	uint64_t g;
	bool lost;

	pthread_mutex_lock(&s->changing);
	g = choose(s, disks, count, most, &of);
	lost = g && !moment_lose(s, of, g);
	pthread_mutex_unlock(&s->changing);
	if (lost)
		snapshots_changed(s->t, of);
	disks_free(disks, count);
	return lost;
}

/* ---- room for a write ---- */

static bool await_collector(struct snapshots *s)
{
	struct space now;
	bool any = false;

	while (collector_await(s->collector)) {
		any = true;
		if (space_of(s->t, &now) && now.free >= least(ENOUGH, now.size / 16))
			break;
	}
	return any;
}

/* What waits in the log of this disk is in the way, and other logs have space to give back. */
static bool settle(struct snapshots *s, struct disk *d)
{
	struct history *h = atomic_load(&d->history);
	size_t count;
	struct disk **disks = tandem_disks(s->t, &count);
	bool any = h && history_clear(h);

	for (size_t i = 0; i < count; i++) {
		h = atomic_load(&disks[i]->history);
		any |= h && history_trim(h);
	}
	disks_free(disks, count);
	return any;
}

/* A snapshot that is being made is there, or not, in a moment. */
static bool await_making(struct snapshots *s)
{
	static const struct timespec moment = { .tv_nsec = 10000000 };
	bool any;

	pthread_rwlock_rdlock(&s->lock);
	any = s->by_name.count > s->by_number.count;
	pthread_rwlock_unlock(&s->lock);
	if (any)
		nanosleep(&moment, NULL);
	return any;
}

static bool give_up(struct snapshots *s)
{
	struct space now = { 0 };

	space_of(s->t, &now);
	tell(s, true, now.free);
	atomic_store(&s->out, true);
	return shed_all(s) || lose_moment(s, LOOSE) || lose_moment(s, READ_NOW) ||
	       lose_moment(s, HELD) || await_making(s);
}

/* Whether old content is in the way of this write: on another file system it is not. */
static bool is_in_the_way(struct disk *d, int err)
{
	struct history *h = atomic_load(&d->history);
	struct stat state, images;
	struct space now;

	if (h && history_lacks_space(h))
		return true;
	/* An image's quota is its own. */
	if (err != -ENOSPC || fstat(d->tandem->state_dirfd, &state) ||
	    fstat(d->pool->dirfd, &images) || state.st_dev != images.st_dev)
		return false;
	return space_of(d->tandem, &now) && now.free <= least(FULL_MAX, now.size / 8);
}

/*
 * There may be some again since it failed. The settler's error is of its last batch: another one
 * tells how it is now.
 */
static bool try_again(struct disk *d, struct space_attempts *a)
{
	struct history *h = atomic_load(&d->history);

	if (a->vain++ >= VAIN_MAX)
		return false;
	if (h)
		history_clear(h);
	return true;
}

struct space_attempts space_attempts(const struct tandem *t)
{
	return (struct space_attempts){ t->snapshots ? atomic_load(&t->snapshots->made) : 0, 0 };
}

int space_make(struct disk *d, int err, struct space_attempts *a)
{
	struct snapshots *s = d->tandem->snapshots;

	if (!s || !s->collector || !lacks_space(err))
		return err;
	if (!is_in_the_way(d, err))
		return try_again(d, a) ? 0 : err;
	pthread_mutex_lock(&s->making);
	if (atomic_load(&s->made) != a->made)
		err = 0; /* somebody else did, since */
	else if (await_collector(s) || settle(s, d) || give_up(s) || await_collector(s))
		err = 0;
	if (!err)
		a->made = atomic_fetch_add(&s->made, 1) + 1;
	pthread_mutex_unlock(&s->making);
	return err;
}

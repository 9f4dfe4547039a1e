// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The thread of a restore: it fills what the disk serves already, and at the end of it
 *
 *   every block filled, D -> its record goes -> its moments may go
 *
 * Whoever aborts it halts the thread, and lets it go on with another restore.
 */
#include "restorer.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define RETRY_NS 1000000000ull

/* ---- what it tells ---- */

static const char *operation(const struct restorer *r)
{
	return r->back ? "Abort" : "RestoreTo";
}

void restorer_tell_begun(const struct restorer *r)
{
	char object[DISK_LABEL_MAX + 8];

	events_emit(r->d->tandem->events, EVENT_INFORMATION, "JobStarted",
		    disk_object(r->d, object, sizeof(object)), "Operation=%s Moment=g%llu",
		    operation(r), (unsigned long long)r->restore.from);
	snapshots_changed(r->d->tandem, r->d);
}

void restorer_tell_ended(const struct restorer *r, const char *outcome)
{
	char object[DISK_LABEL_MAX + 8];

	events_emit(r->d->tandem->events, EVENT_INFORMATION, "JobEnded",
		    disk_object(r->d, object, sizeof(object)),
		    "Operation=%s Moment=g%llu JobState=%s", operation(r),
		    (unsigned long long)r->restore.from, outcome);
	snapshots_changed(r->d->tandem, r->d);
}

/* ---- at its end ---- */

/* Its moments can go only once no start can take it up again. */
static int conclude(struct restorer *r)
{
	static const struct history_restore none;
	struct history *h = atomic_load(&r->d->history);
	struct range whole;
	int err;

	range_lock_write(&r->d->ranges, &whole, 0, UINT64_MAX);
	history_set_restore(h, &none);
	err = past_record(r->d, h);
	if (err)
		history_set_restore(h, &r->restore);
	range_unlock(&r->d->ranges, &whole);
	return err;
}

static void let_moments_go(const struct restorer *r)
{
	moment_unpin(r->d, r->restore.before);
	moment_unpin(r->d, r->restore.from);
	if (r->back)
		collector_add(r->d->tandem->snapshots->collector, r->d, r->restore.before);
}

/* ---- halting ---- */

/* Until nobody wants it to stand in that state. */
static void stand(struct restorer *r, enum restorer_state state)
{
	struct snapshots *s = r->d->tandem->snapshots;

	pthread_mutex_lock(&s->restoring);
	r->state = state;
	pthread_cond_broadcast(&s->halted);
	while (r->wanted)
		pthread_cond_wait(&s->halted, &s->restoring);
	if (state == RESTORER_HALTED)
		r->state = RESTORER_FILLS;
	pthread_mutex_unlock(&s->restoring);
}

/* Under restoring. */
static struct restorer *find(struct snapshots *s, const struct disk *d)
{
	struct restorer *r = s->restorers;

	while (r && (r->d != d || r->state == RESTORER_OVER))
		r = r->next;
	return r;
}

int restorer_halt(struct disk *d, struct restorer **out)
{
	struct snapshots *s = d->tandem->snapshots;
	struct restorer *r;
	int err;

	pthread_mutex_lock(&s->restoring);
	r = find(s, d);
	err = !r ? -ENOENT : r->wanted ? -EBUSY : 0;
	if (!err) {
		r->wanted = true;
		while (r->state == RESTORER_FILLS)
			pthread_cond_wait(&s->halted, &s->restoring);
		if (r->state == RESTORER_OVER) {
			r->wanted = false;
			pthread_cond_broadcast(&s->halted);
			err = -ENOENT;
		}
	}
	pthread_mutex_unlock(&s->restoring);
	if (!err)
		*out = r;
	return err;
}

void restorer_go_on(struct restorer *r)
{
	struct snapshots *s = r->d->tandem->snapshots;

	pthread_mutex_lock(&s->restoring);
	r->wanted = false;
	pthread_cond_broadcast(&s->halted);
	pthread_mutex_unlock(&s->restoring);
}

void restorer_turn(struct restorer *r, const struct history_restore *restore)
{
	struct snapshots *s = r->d->tandem->snapshots;

	pthread_mutex_lock(&s->restoring);
	r->restore = *restore;
	r->back = true;
	atomic_store(&r->done, 0);
	atomic_store(&r->total, 0);
	pthread_mutex_unlock(&s->restoring);
}

/* ---- the thread ---- */

static bool progress(void *arg, uint64_t bytes)
{
	struct restorer *r = arg;

	atomic_store(&r->done, bytes);
	return !atomic_load(&r->wanted);
}

static void measure(struct restorer *r)
{
	struct history *h = atomic_load(&r->d->history);
	struct version v[256];
	const struct version *after = NULL;
	uint64_t total = 0;
	size_t count;

	while (!versions_between(r->d->tandem->catalogue, r->d->number, r->restore.from,
				 r->restore.before, after, v, 256, &count) &&
	       count) {
		total += count * (uint64_t)history_block_size(h);
		v[0] = v[count - 1];
		after = &v[0];
	}
	atomic_store(&r->total, total);
}

/* Until whoever begins it knows whether it is recorded. */
static bool is_begun(struct restorer *r)
{
	struct range first;

	range_lock_read(&r->d->ranges, &first, 0, 1);
	range_unlock(&r->d->ranges, &first);
	return !r->cancelled;
}

static void follow(struct restorer *r)
{
	static const struct timespec pause = { RETRY_NS / 1000000000, RETRY_NS % 1000000000 };
	struct snapshots *s = r->d->tandem->snapshots;
	int err;

	do {
		if (atomic_load(&r->wanted))
			stand(r, RESTORER_HALTED);
		measure(r);
		err = history_fill(atomic_load(&r->d->history), progress, r);
		if (!err)
			err = conclude(r);
		if (err && err != -ECANCELED)
			nanosleep(&pause, NULL); /* of what fails the disk tells itself */
	} while (err && (err == -ECANCELED || !atomic_load(&s->ending)));
	let_moments_go(r);
	stand(r, RESTORER_OVER);
	if (!err)
		restorer_tell_ended(r, "Completed");
	disk_close(r->d);
}

static void *run(void *arg)
{
	struct restorer *r = arg;

	if (is_begun(r))
		follow(r);
	else
		stand(r, RESTORER_OVER);
	return NULL;
}

int restorer_start(struct disk *d, const struct history_restore *restore, bool back,
		   uint64_t written, struct restorer **out)
{
	struct snapshots *s = d->tandem->snapshots;
	struct restorer *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->d = disk_ref(d);
	r->restore = *restore;
	r->back = back;
	r->written = written;
	pthread_mutex_lock(&s->restoring);
	if (pthread_create(&r->thread, NULL, run, r)) {
		pthread_mutex_unlock(&s->restoring);
		disk_unref(r->d);
		free(r);
		return -ENOMEM;
	}
	r->next = s->restorers;
	s->restorers = r;
	pthread_mutex_unlock(&s->restoring);
	*out = r;
	return 0;
}

void restorers_end(struct snapshots *s, const struct disk *d)
{
	struct restorer **link, *r;

	pthread_mutex_lock(&s->restoring);
	for (link = &s->restorers; (r = *link);) {
		if (d && r->d != d) {
			link = &r->next;
			continue;
		}
		*link = r->next;
		pthread_mutex_unlock(&s->restoring);
		pthread_join(r->thread, NULL);
		disk_unref(r->d);
		free(r);
		pthread_mutex_lock(&s->restoring);
		link = &s->restorers;
	}
	pthread_mutex_unlock(&s->restoring);
}

/* ---- facts ---- */

uint64_t restorer_written(struct disk *d)
{
	return atomic_load(&d->ops[DISK_OP_WRITE].count) +
	       atomic_load(&d->ops[DISK_OP_ZERO].count) +
	       atomic_load(&d->ops[DISK_OP_RESIZE].count);
}

bool restore_facts(struct disk *d, struct restore_facts *out)
{
	struct snapshots *s = d->tandem->snapshots;
	struct restorer *r;

	pthread_mutex_lock(&s->restoring);
	r = find(s, d);
	if (r)
		*out = (struct restore_facts){
			.from = r->restore.from,
			.back = r->back,
			.written = r->written != restorer_written(d),
			.done = atomic_load(&r->done),
			.total = atomic_load(&r->total),
		};
	pthread_mutex_unlock(&s->restoring);
	return r != NULL;
}

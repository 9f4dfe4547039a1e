// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two threads. One looks at directories, and may have to wait for a store that
 * is stuck; the other only looks at clocks, and tells of those that wait.
 *
 * An event is a hint: the name is looked at again, and what is found decides.
 * A name that was moved away is looked at a little later, so that the same
 * image is first found under its new name and counts as renamed; so is one that
 * was created, because it may be a link to a whole image or the start of one. When events
 * were lost, and now and then anyway, everything is looked at.
 */
#include "watch.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "mirror.h"
#include "scan.h"
#include "snapshots.h"

#define SECOND 1000000000ull
#define LATER_NS (200 * 1000000ull)
#define OWN_CLOSE_NS SECOND
/* Of the daemon before; we may be slow, and a guest would get errors. */
#define LATE_CLOSE_NS (10 * SECOND)
#define STALLED_NS SECOND
#define TICK_NS (500 * 1000000l)
#define SAMPLE_NS (5 * SECOND)

struct later {
	uint64_t due;
	uint32_t pool;
	char name[NAME_MAX + 1];
	struct later *next;
};

/* A close of our own that will be heard, or was. */
struct own_close {
	uint64_t until;
	uint32_t pool;
	char name[NAME_MAX + 1];
	struct own_close *next;
};

struct watch {
	struct tandem *t;
	int inotify, wake;
	pthread_t thread, clock;
	bool running, clock_running;
	_Atomic bool stop;
	pthread_mutex_t tick;
	pthread_cond_t stopping;
	struct later *later; /* of the thread alone */
	pthread_mutex_t own_lock;
	struct own_close *own;      /* under own_lock */
	_Atomic uint64_t last_scan; /* 0: now */
	uint64_t next_sample;
};

int watch_new(struct tandem *t, struct watch **out)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->t = t;
	pthread_mutex_init(&w->tick, NULL);
	pthread_mutex_init(&w->own_lock, NULL);
	pthread_cond_init(&w->stopping, NULL);
	w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->wake < 0 || w->inotify < 0) {
		int err = -errno;

		watch_free(w);
		return err;
	}
	*out = w;
	return 0;
}

int watch_pool(struct watch *w, struct pool *p)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", p->dirfd);
	p->watch = inotify_add_watch(w->inotify, path,
				     IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO |
					     IN_DELETE | IN_DELETE_SELF | IN_ONLYDIR);
	return p->watch < 0 ? -errno : 0;
}

void watch_forget(struct watch *w, struct pool *p)
{
	if (p->watch >= 0)
		inotify_rm_watch(w->inotify, p->watch);
	p->watch = -1;
}

void watch_poke(struct watch *w)
{
	uint64_t one = 1;

	if (w && write(w->wake, &one, sizeof(one)) < 0) {
		/* Full is as good as one more. */
	}
}

void watch_look(struct watch *w)
{
	atomic_store(&w->last_scan, 0);
	watch_poke(w);
}

/* ---- closes of our own ---- */

/* Under own_lock. */
static void drop_own_closes(struct watch *w, uint64_t before)
{
	struct own_close **link = &w->own;

	while (*link) {
		struct own_close *c = *link;

		if (c->until > before) {
			link = &c->next;
			continue;
		}
		*link = c->next;
		free(c);
	}
}

static void expect_close(struct watch *w, const struct pool *p, const char *name, uint64_t ns)
{
	struct own_close *c = w ? malloc(sizeof(*c)) : NULL;

	if (!c)
		return; /* at worst it is taken for somebody else's */
	c->until = monotonic_ns() + ns;
	c->pool = p->number;
	snprintf(c->name, sizeof(c->name), "%s", name);
	pthread_mutex_lock(&w->own_lock);
	drop_own_closes(w, monotonic_ns());
	c->next = w->own;
	w->own = c;
	pthread_mutex_unlock(&w->own_lock);
}

void watch_own_close(struct watch *w, const struct pool *p, const char *name)
{
	expect_close(w, p, name, OWN_CLOSE_NS);
}

void watch_late_close(struct watch *w, const struct pool *p, const char *name)
{
	expect_close(w, p, name, LATE_CLOSE_NS);
}

/* Events of one name may be merged into one, so closes are not counted off. */
bool watch_is_own_close(struct watch *w, const struct pool *p, const char *name)
{
	bool own = false;

	if (!w)
		return false;

	pthread_mutex_lock(&w->own_lock);
	for (struct own_close *c = w->own; c && !own; c = c->next)
		own = c->pool == p->number && !strcmp(c->name, name) && c->until > monotonic_ns();
	pthread_mutex_unlock(&w->own_lock);
	return own;
}

/* ---- hints ---- */

static struct pool *pool_watched(struct tandem *t, int wd)
{
	struct pool *p = NULL;

	pthread_rwlock_rdlock(&t->table);
	for (size_t i = 0; i < t->pool_count && !p; i++)
		if (t->pools[i]->watch == wd)
			p = pool_ref(t->pools[i]);
	pthread_rwlock_unlock(&t->table);
	return p;
}

static void look_later(struct watch *w, struct pool *p, const char *name)
{
	struct later *l;

	for (l = w->later; l; l = l->next)
		if (l->pool == p->number && !strcmp(l->name, name))
			return; /* it will be looked at, and the look tells everything */
	l = malloc(sizeof(*l));
	if (!l) {
		w->last_scan = 0; /* everything, then */
		return;
	}
	l->due = monotonic_ns() + LATER_NS;
	l->pool = p->number;
	snprintf(l->name, sizeof(l->name), "%s", name);
	l->next = w->later;
	w->later = l;
}

static bool is_unusable(struct tandem *t, const struct pool *p, const char *name)
{
	struct disk *d = tandem_disk_of_file(t, p, name);
	bool unusable = d && !d->image;

	disk_unref(d);
	return unusable;
}

static void handle(struct watch *w, const struct inotify_event *e)
{
	enum scan_hint hint = SCAN_LOOK;
	bool own, unusable;
	struct pool *p;

	if (e->mask & (IN_Q_OVERFLOW | IN_UNMOUNT | IN_DELETE_SELF)) {
		if (e->mask & IN_Q_OVERFLOW)
			events_emit(w->t->events, EVENT_WARNING, "WatchOverflow", "daemon",
				    "Action=Rescan");
		w->last_scan = 0;
		return;
	}
	if (!e->len)
		return;
	pthread_mutex_lock(&w->t->discovery);
	p = pool_watched(w->t, e->wd);
	/* A file is created before it is written, and told of as closed before that is done. */
	own = p && e->mask & IN_CLOSE_WRITE && watch_is_own_close(w, p, e->name);
	/* Our own look at an image that cannot be used is no reason for another, unless it changed. */
	unusable = own && is_unusable(w->t, p, e->name);
	if (p && e->mask & IN_CLOSE_WRITE && (!own || unusable))
		hint = SCAN_CLOSED;
	if (p && e->mask & (IN_MOVED_FROM | IN_CREATE | IN_CLOSE_WRITE) && !unusable)
		look_later(w, p, e->name);
	if (p && !(e->mask & (IN_MOVED_FROM | IN_CREATE)))
		scan_name(w->t, p, e->name, hint);
	pthread_mutex_unlock(&w->t->discovery);
	pool_unref(p);
}

static void read_events(struct watch *w)
{
	char buf[64 << 10] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n;

	while (!atomic_load(&w->stop) && (n = read(w->inotify, buf, sizeof(buf))) > 0)
		for (char *at = buf; at < buf + n;) {
			struct inotify_event *e = (struct inotify_event *)at;

			handle(w, e);
			at += sizeof(*e) + e->len;
		}
}

static void look_at_due(struct watch *w, uint64_t now)
{
	struct later **link = &w->later;

	while (*link) {
		struct later *l = *link;
		struct pool *p;

		if (l->due > now) {
			link = &l->next;
			continue;
		}
		*link = l->next;
		pthread_mutex_lock(&w->t->discovery);
		p = tandem_pool_numbered(w->t, l->pool);
		if (p)
			scan_name(w->t, p, l->name, SCAN_LOOK);
		pthread_mutex_unlock(&w->t->discovery);
		pool_unref(p);
		free(l);
	}
}

/* ---- now and then ---- */

static void settle_disks(struct watch *w)
{
	size_t count;
	struct disk **disks;

	pthread_mutex_lock(&w->t->discovery);
	disks = tandem_disks(w->t, &count);
	for (size_t i = 0; i < count; i++)
		scan_settle(w->t, disks[i]);
	disks_free(disks, count);
	overlays_record_failures(w->t);
	pthread_mutex_unlock(&w->t->discovery);
}

static void announce_stalled(struct tandem *t, struct disk *d, uint64_t busy)
{
	char object[DISK_LABEL_MAX + 8];
	bool stalled = busy >= STALLED_NS, was;

	pthread_mutex_lock(&d->lock);
	was = d->stalled;
	d->stalled = stalled;
	pthread_mutex_unlock(&d->lock);
	if (stalled && !was)
		events_emit(t->events, EVENT_WARNING, "Stalled",
			    disk_object(d, object, sizeof(object)),
			    "Seconds=%.1f WaitsFor=backing-file", busy / 1e9);
	if (stalled != was)
		tandem_changed(t, d);
}

static void look_at(struct tandem *t, struct disk **disks, size_t count, uint64_t now)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t busy = gate_oldest(&disks[i]->gate, now), sent = mirror_busy(disks[i]);

		announce_stalled(t, disks[i], sent > busy ? sent : busy);
	}
	disks_free(disks, count);
}

static void look_for_stalls(struct watch *w, uint64_t now)
{
	size_t count, overlays;
	struct disk **disks;

	if (!atomic_load(&w->t->openers))
		return;
	disks = tandem_disks(w->t, &count);
	look_at(w->t, disks, count, now);
	disks = overlays_now(w->t, &overlays);
	look_at(w->t, disks, overlays, now);
}

static void sample_pools(struct tandem *t)
{
	size_t count;
	struct pool **pools = tandem_pools(t, &count);

	for (size_t i = 0; i < count; i++)
		pool_sample(pools[i]);
	pools_free(pools, count);
}

static void *run(void *arg)
{
	struct watch *w = arg;
	struct why why;

	while (!atomic_load(&w->stop)) {
		struct pollfd fds[] = { { w->inotify, POLLIN, 0 }, { w->wake, POLLIN, 0 } };
		uint64_t now, ignored;

		poll(fds, 2, w->later ? 50 : 500);
		now = monotonic_ns();
		read_events(w);
		if (read(w->wake, &ignored, sizeof(ignored)) > 0)
			settle_disks(w);
		look_at_due(w, now);
		if (now >= w->next_sample) {
			w->next_sample = now + SAMPLE_NS;
			sample_pools(w->t);
		}
		if (!w->last_scan ||
		    now - w->last_scan >= tandem_get_settings(w->t).rescan_interval_s * SECOND) {
			/* First the time, so that a hint during the scan asks for another. */
			w->last_scan = now;
			tandem_rescan(w->t, false, &why);
		}
	}
	return NULL;
}

static void *run_clock(void *arg)
{
	struct watch *w = arg;

	pthread_mutex_lock(&w->tick);
	while (!atomic_load(&w->stop)) {
		clock_wait(&w->stopping, &w->tick, monotonic_ns() + TICK_NS);
		look_for_stalls(w, monotonic_ns());
	}
	pthread_mutex_unlock(&w->tick);
	return NULL;
}

int watch_start(struct watch *w)
{
	int err;

	w->last_scan = monotonic_ns();
	err = pthread_create(&w->thread, NULL, run, w);
	w->running = err == 0;
	if (!err) {
		err = pthread_create(&w->clock, NULL, run_clock, w);
		w->clock_running = err == 0;
	}
	return -err;
}

void watch_stop(struct watch *w)
{
	if (!w)
		return;
	atomic_store(&w->stop, true);
	if (w->running) {
		watch_poke(w);
		pthread_join(w->thread, NULL);
	}
	w->running = false;
	if (w->clock_running) {
		pthread_mutex_lock(&w->tick);
		pthread_cond_signal(&w->stopping);
		pthread_mutex_unlock(&w->tick);
		pthread_join(w->clock, NULL);
	}
	w->clock_running = false;
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	watch_stop(w);
	while (w->later) {
		struct later *l = w->later;

		w->later = l->next;
		free(l);
	}
	if (w->inotify >= 0)
		close(w->inotify);
	if (w->wake >= 0)
		close(w->wake);
	pthread_cond_destroy(&w->stopping);
	pthread_mutex_destroy(&w->tick);
	drop_own_closes(w, UINT64_MAX);
	pthread_mutex_destroy(&w->own_lock);
	free(w);
}

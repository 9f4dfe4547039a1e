// SPDX-License-Identifier: GPL-2.0-or-later
#include "notify.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "mount.h"

struct waiter {
	struct handle *handle;
	fuse_req_t req;
	size_t size;
	bool interrupted;
	/* Of a write. */
	bool writes;
	off_t off;
	struct node node;
	uint64_t deadline_ns; /* UINT64_MAX: none */
	struct command_record *command;
	/* Of a read. */
	uint64_t unique;
	struct waiter *next;
};

void notify_poke(void *arg)
{
	struct notify *n = arg;
	uint64_t one = 1;

	if (write(n->wake_fd, &one, sizeof(one)) < 0) {
		/* The counter is full: it wakes as well. */
	}
}

/* ---- poll ---- */

static void drop_poll(struct notify *n, struct handle *h)
{
	struct handle **link = &n->polled;

	while (*link && *link != h)
		link = &(*link)->next_polled;
	if (*link)
		*link = h->next_polled;
	h->poll = NULL;
}

void notify_poll(struct notify *n, struct handle *h, struct fuse_pollhandle *ph)
{
	struct fuse_pollhandle *old;

	pthread_mutex_lock(&n->lock);
	old = h->poll;
	if (!old) {
		h->next_polled = n->polled;
		n->polled = h;
	}
	h->poll = ph;
	pthread_mutex_unlock(&n->lock);
	if (old)
		fuse_pollhandle_destroy(old);
	/* A change may have come between the caller's look and now. */
	notify_poke(n);
}

static bool has_news(struct notify *n, struct handle *h)
{
	/* Without its lock: somebody may be rendering, and that may take its time. */
	return node_version(n->mount->ctl, h->node) != h->seen;
}

static void wake_polls(struct notify *n)
{
	struct fuse_pollhandle *due[64];
	size_t count;

	do {
		count = 0;
		pthread_mutex_lock(&n->lock);
		for (struct handle *h = n->polled, *next; h && count < 64; h = next) {
			next = h->next_polled;
			if (has_news(n, h)) {
				due[count++] = h->poll;
				drop_poll(n, h);
			}
		}
		pthread_mutex_unlock(&n->lock);
		for (size_t i = 0; i < count; i++) {
			fuse_lowlevel_notify_poll(due[i]);
			fuse_pollhandle_destroy(due[i]);
		}
	} while (count == 64);
}

/* ---- reads, and writes that wait ---- */

/*
 * Runs while libfuse holds locks of the request, and perhaps inside
 * notify_read: it may not reply, only say that there is something to do.
 */
static void interrupted(fuse_req_t req, void *arg)
{
	struct notify *n = arg;

	pthread_mutex_lock(&n->lock);
	for (struct waiter *w = n->waiters; w; w = w->next)
		if (w->req == req)
			w->interrupted = true;
	pthread_mutex_unlock(&n->lock);
	notify_poke(n);
}

/* False: no memory. */
static bool add_waiter(struct notify *n, const struct waiter *what)
{
	struct waiter *w = malloc(sizeof(*w));

	if (!w)
		return false;
	*w = *what;
	fuse_req_interrupt_func(w->req, interrupted, n);
	pthread_mutex_lock(&n->lock);
	/* One that came before the function was set. */
	w->interrupted = fuse_req_interrupted(w->req);
	w->next = n->waiters;
	n->waiters = w;
	pthread_mutex_unlock(&n->lock);
	notify_poke(n);
	return true;
}

void notify_read(struct notify *n, struct handle *h, fuse_req_t req, size_t size)
{
	struct waiter w = { .handle = h,
			    .req = req,
			    .size = size,
			    .unique = workers_request().unique };

	if (!add_waiter(n, &w))
		fuse_reply_err(req, ENOMEM);
}

/* A write that fails leaves the offset, from which the result is read, where it was. */
static void end_write(struct notify *n, const struct waiter *w, int err)
{
	pthread_mutex_lock(&w->handle->lock);
	if (err)
		w->handle->base = w->handle->record->base = w->off;
	pthread_mutex_unlock(&w->handle->lock);
	node_close(n->mount->ctl, w->node);
	if (err)
		fuse_reply_err(w->req, err);
	else
		fuse_reply_write(w->req, w->size);
	session_command_answered(w->command);
}

void notify_write(struct notify *n, struct handle *h, fuse_req_t req, size_t size, off_t off,
		  struct command_record *c)
{
	struct waiter w = {
		.handle = h,
		.req = req,
		.size = size,
		.writes = true,
		.off = off,
		.node = { .row = c->wait_row, .object = c->wait_object },
		.deadline_ns = c->deadline_ns,
		.command = c,
	};

	if (!add_waiter(n, &w))
		end_write(n, &w, ECANCELED);
}

static bool answer_write(struct notify *n, const struct waiter *w)
{
	struct text ignored = { 0 };
	int err = node_render(n->mount->ctl, w->node, &ignored);

	text_free(&ignored);
	if (err == -EAGAIN && monotonic_ns() < w->deadline_ns)
		return false;
	if (err)
		err = err == -EAGAIN ? ETIME : ECANCELED;
	end_write(n, w, err);
	return true;
}

static bool answer_wait(struct notify *n, struct waiter *r)
{
	struct handle *h = r->handle;
	struct text text = { 0 };
	int err = node_render(n->mount->ctl, h->node, &text);

	if (err) {
		text_free(&text);
		if (err == -EAGAIN)
			return false;
		fuse_reply_err(r->req, -err);
		return true;
	}
	pthread_mutex_lock(&h->lock);
	text_free(&h->text);
	h->text = text;
	h->base = 0;
	h->rendered = true;
	handle_record_text(h);
	fuse_reply_buf(r->req, text.bytes, text.len < r->size ? text.len : r->size);
	pthread_mutex_unlock(&h->lock);
	return true;
}

static bool answer_events(struct notify *n, struct waiter *r)
{
	uint64_t last;
	char *lines;
	size_t len;

	pthread_mutex_lock(&r->handle->lock);
	lines = events_after(n->mount->tandem->events, r->handle->seen, r->size, &len, &last);
	if (lines && len <= r->size) {
		struct open_record *record = r->handle->record;

		record->seen_before = r->handle->seen;
		record->seen_by = r->unique;
		atomic_signal_fence(memory_order_seq_cst); /* it may be asked for again */
		r->handle->seen = record->seen = last;
	}
	pthread_mutex_unlock(&r->handle->lock);
	if (!lines)
		return false;
	if (len > r->size)
		fuse_reply_err(r->req, EINVAL); /* not even one line fits */
	else
		fuse_reply_buf(r->req, lines, len);
	free(lines);
	return true;
}

/* Answers if there is an answer. Under lock, so that nobody else does. */
static bool answer(struct notify *n, struct waiter *w, int gone)
{
	int err = gone ? gone : w->interrupted ? EINTR : 0;

	if (w->writes && err)
		end_write(n, w, err == ENODEV ? ECANCELED : err);
	else if (err)
		fuse_reply_err(w->req, err);
	else if (w->writes)
		return answer_write(n, w);
	else if (node_kind(w->handle->node) == NODE_WAIT)
		return answer_wait(n, w);
	else
		return answer_events(n, w);
	return true;
}

static void answer_waiters(struct notify *n, struct handle *only, int gone)
{
	struct waiter **link = &n->waiters;

	pthread_mutex_lock(&n->lock);
	while (*link) {
		struct waiter *w = *link;

		if ((only && w->handle != only) || !answer(n, w, gone)) {
			link = &w->next;
			continue;
		}
		*link = w->next;
		free(w);
	}
	pthread_mutex_unlock(&n->lock);
}

/* Milliseconds until the first of them has waited long enough; -1: none ever has. */
static int until_deadline(struct notify *n)
{
	uint64_t first = UINT64_MAX, now = monotonic_ns();

	pthread_mutex_lock(&n->lock);
	for (const struct waiter *w = n->waiters; w; w = w->next)
		if (w->writes && w->deadline_ns < first)
			first = w->deadline_ns;
	pthread_mutex_unlock(&n->lock);
	if (first == UINT64_MAX)
		return -1;
	if (first <= now)
		return 0;
	return (first - now) / 1000000 < 1000000 ? (int)((first - now) / 1000000) + 1 : 1000000;
}

void notify_forget(struct notify *n, struct handle *h)
{
	struct fuse_pollhandle *ph;

	pthread_mutex_lock(&n->lock);
	ph = h->poll;
	drop_poll(n, h);
	pthread_mutex_unlock(&n->lock);
	if (ph)
		fuse_pollhandle_destroy(ph);
	answer_waiters(n, h, EINTR);
}

/* ---- the thread ---- */

static void *run(void *arg)
{
	struct notify *n = arg;

	while (!atomic_load(&n->stop)) {
		struct pollfd fd = { n->wake_fd, POLLIN, 0 };
		uint64_t ignored;

		poll(&fd, 1, until_deadline(n));
		if (read(n->wake_fd, &ignored, sizeof(ignored)) < 0) {
			/* Nobody woke us: somebody has waited long enough. */
		}
		answer_waiters(n, NULL, 0);
		wake_polls(n);
	}
	return NULL;
}

int notify_start(struct notify *n, struct mount *m)
{
	int err;

	n->mount = m;
	pthread_mutex_init(&n->lock, NULL);
	n->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->wake_fd < 0)
		return -errno;
	err = pthread_create(&n->thread, NULL, run, n);
	n->running = err == 0;
	if (err)
		return -err;
	events_set_listener(m->tandem->events, notify_poke, n);
	tandem_set_listener(m->tandem, notify_poke, n);
	return 0;
}

static void end_thread(struct notify *n)
{
	events_set_listener(n->mount->tandem->events, NULL, NULL);
	tandem_set_listener(n->mount->tandem, NULL, NULL);
	atomic_store(&n->stop, true);
	notify_poke(n);
	pthread_join(n->thread, NULL);
	n->running = false;
}

static void drop_polls(struct notify *n)
{
	while (n->polled) {
		fuse_pollhandle_destroy(n->polled->poll);
		drop_poll(n, n->polled);
	}
}

/* wake_fd stays open: the watcher may still be announcing something. */
void notify_stop(struct notify *n)
{
	if (!n->running)
		return;
	end_thread(n);
	answer_waiters(n, NULL, ENODEV);
	drop_polls(n);
}

void notify_hand_over(struct notify *n)
{
	end_thread(n);
	/* Their requests come again, to the next daemon. */
	while (n->waiters) {
		struct waiter *w = n->waiters;

		n->waiters = w->next;
		if (w->writes)
			node_close(n->mount->ctl, w->node);
		fuse_reply_none(w->req); /* tells the kernel nothing */
		free(w);
	}
	drop_polls(n);
}

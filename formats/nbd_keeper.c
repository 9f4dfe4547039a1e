// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The keeper of a disk starts its server, waits for its death, and starts the
 * next one. It is a thread of its own because a server ends with the thread
 * that started it, and because somebody has to read what the server says.
 */
#include "nbd_inner.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "nbd_notes.h"

/* Between two tries; each time twice as long, six times. */
#define PAUSE_MS 25

uint64_t nbd_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void set_state(struct nbd_disk *d, enum nbd_state state)
{
	d->state = state;
	pthread_cond_broadcast(&d->changed);
	pthread_cond_broadcast(&d->idle);
}

void nbd_lose(struct nbd_disk *d)
{
	if (d->alive)
		nbd_server_kill(&d->server);
	if (d->state == NBD_SERVING)
		set_state(d, NBD_MENDING);
}

/* ---- doing again what was noted ---- */

static int ask_again(struct nbd_disk *d, struct nbd_request *r)
{
	bool flush = r->op == NBD_OP_FLUSH;

	return nbd_client_ask(d->connections[0].handle, r,
			      flush ? nbd_limits.flush_ms : nbd_limits.answer_ms);
}

static int write_again(void *arg, const void *buf, size_t len, uint64_t off)
{
	struct nbd_request r = { .op = NBD_OP_WRITE, .out = buf, .len = len, .off = off };

	return ask_again(arg, &r);
}

static int zero_again(void *arg, uint64_t off, uint64_t len, bool keep)
{
	int err = 0;

	while (len > 0 && !err) {
		uint64_t n = len < NBD_REQUEST_MAX ? len : NBD_REQUEST_MAX;
		struct nbd_request r = { .op = NBD_OP_ZERO, .len = n, .off = off, .keep = keep };

		err = ask_again(arg, &r);
		off += n;
		len -= n;
	}
	return err;
}

/* What an earlier process left is made durable, so that our notes begin with nothing. */
static int take_over_notes(struct nbd_disk *d, bool any)
{
	struct nbd_request flush = { .op = NBD_OP_FLUSH };
	int err = any ? ask_again(d, &flush) : 0;

	if (!err)
		err = notes_begin(d->source.notes, d->source.binding);
	if (!err)
		d->noting = true;
	return err;
}

static int replay(struct nbd_disk *d, char reason[IMAGE_REASON])
{
	const struct nbd_replay to = { .write = write_again, .zero = zero_again, .arg = d };
	const struct nbd_source *s = &d->source;
	bool any;
	int err;

	if (!s->notes || s->read_only)
		return 0;
	err = nbd_notes_replay(s->notes, s->binding, s->size, &to, &any);
	if (!err && !d->noting)
		err = take_over_notes(d, any);
	else if (!err && notes_mark(s->notes) != d->notes_end)
		err = -EIO; /* some can't be read any more */
	if (err)
		return image_fail(reason, err, "what was noted cannot be written: %s",
				  strerror(-err));
	return 0;
}

/* ---- one server ---- */

static int connect_first(struct nbd_disk *d, char reason[IMAGE_REASON])
{
	struct nbd_handle *h;
	int err = nbd_server_connect(&d->server, nbd_limits.flush_ms, &h);

	if (err)
		return image_fail(reason, err, "qemu-nbd does not answer");
	d->connections[0].handle = h;
	d->opened = true;
	if (nbd_client_size(h) != d->source.size)
		return image_fail(reason, -EINVAL, "QEMU takes its disk for one of %llu bytes",
				  (unsigned long long)nbd_client_size(h));
	d->limit = nbd_client_shares(h) && !d->source.one_at_a_time ? NBD_CONNECTIONS : 1;
	return 0;
}

static void set_alive(struct nbd_disk *d, bool alive)
{
	pthread_mutex_lock(&d->lock);
	d->alive = alive;
	if (alive && d->state == NBD_ENDING)
		nbd_server_kill(&d->server);
	pthread_mutex_unlock(&d->lock);
}

/* From its start until it serves; it has to be ended also after a failure, if `alive`. */
static int bring_up(struct nbd_disk *d, char reason[IMAGE_REASON])
{
	const struct nbd_source *s = &d->source;
	int err = s->before ? s->before(s->arg, reason) : 0;

	if (!err)
		err = nbd_server_start(&d->server, s->driver, s->fd, s->read_only, reason);
	if (err)
		return err;
	set_alive(d, true);
	err = connect_first(d, reason);
	if (!err)
		err = replay(d, reason);
	pthread_mutex_lock(&d->lock);
	if (err || d->state == NBD_ENDING)
		nbd_server_kill(&d->server);
	else
		set_state(d, NBD_SERVING);
	pthread_mutex_unlock(&d->lock);
	return err;
}

/*
 * Until the server is dead and nobody uses its connections. They are closed
 * before it is reaped: until then no other process has its id.
 */
static void see_off(struct nbd_disk *d)
{
	nbd_server_wait(&d->server);
	pthread_mutex_lock(&d->lock);
	d->alive = false;
	if (d->state == NBD_SERVING)
		set_state(d, NBD_MENDING);
	while (d->busy)
		pthread_cond_wait(&d->changed, &d->lock);
	for (size_t i = 0; i < NBD_CONNECTIONS; i++) {
		nbd_client_close(d->connections[i].handle);
		d->connections[i].handle = NULL;
	}
	pthread_mutex_unlock(&d->lock);
	d->clean = nbd_server_reap(&d->server);
}

/* ---- one after the other ---- */

/* Whether that was one too many in the time. */
static bool died_too_often(struct nbd_disk *d)
{
	unsigned n = nbd_limits.deaths < NBD_DEATHS_MAX ? nbd_limits.deaths : NBD_DEATHS_MAX - 1;
	uint64_t now = nbd_now_ms(), oldest;

	memmove(d->deaths, d->deaths + 1, sizeof(d->deaths) - sizeof(d->deaths[0]));
	d->deaths[NBD_DEATHS_MAX - 1] = now;
	oldest = d->deaths[NBD_DEATHS_MAX - 1 - n];
	return oldest && now - oldest < nbd_limits.deaths_ms;
}

/* False when it shall end. */
static bool pause_keeping(struct nbd_disk *d)
{
	uint64_t until = nbd_now_ms() + (PAUSE_MS << (d->failures < 6 ? d->failures : 6));
	struct timespec at = { .tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000 };
	bool on;

	pthread_mutex_lock(&d->lock);
	while (d->state != NBD_ENDING &&
	       pthread_cond_timedwait(&d->changed, &d->lock, &at) != ETIMEDOUT)
		;
	on = d->state != NBD_ENDING;
	pthread_mutex_unlock(&d->lock);
	return on;
}

static bool is_ending(struct nbd_disk *d)
{
	bool ending;

	pthread_mutex_lock(&d->lock);
	ending = d->state == NBD_ENDING;
	pthread_mutex_unlock(&d->lock);
	return ending;
}

/*
 * One server's whole life. 0: it served, and died or was ended. -EBUSY:
 * somebody else has the image, perhaps a server of an earlier process.
 */
static int keep_one(struct nbd_disk *d, char reason[IMAGE_REASON])
{
	int err;

	d->clean = d->opened = false;
	err = bring_up(d, reason);
	if (!d->alive)
		return err;
	see_off(d);
	if (err == NBD_LOST && qemu_said(d->server.tail, reason))
		err = -EBUSY;
	return err;
}

/* Only a server of ours that died, or of a daemon that did, is waited for. */
static unsigned lock_limit(const struct nbd_disk *d, bool served)
{
	bool after_death = served || (d->source.notes && notes_bytes(d->source.notes));

	return after_death ? nbd_limits.lock_ms : nbd_limits.lock_ms / 10;
}

/*
 * Whether to try again after err. At first, what cannot begin never will;
 * later it has to. But a server that opened the image and then died, or died
 * without a word, is like any other that died.
 */
static bool goes_on(struct nbd_disk *d, int err, bool served, uint64_t since)
{
	if (is_ending(d))
		return false;
	if (err == -EBUSY)
		return nbd_now_ms() - since < lock_limit(d, served) && pause_keeping(d);
	if (died_too_often(d))
		return false;
	if (!err)
		return true;
	return (served || (err == NBD_LOST && (d->opened || !d->server.tail[0]))) &&
	       pause_keeping(d);
}

void *nbd_keep(void *disk)
{
	struct nbd_disk *d = disk;
	char reason[IMAGE_REASON] = "qemu-nbd died too often";
	uint64_t since = nbd_now_ms();
	bool served = false;
	int err;

	do {
		err = keep_one(d, reason);
		d->failures = err ? d->failures + 1 : 0;
		if (!err) {
			served = true;
			since = nbd_now_ms();
			if (d->noting)
				d->notes_end = notes_mark(d->source.notes);
		}
	} while (goes_on(d, err, served, since));
	pthread_mutex_lock(&d->lock);
	d->ended = true;
	d->err = !err || err == NBD_LOST ? -EIO : err;
	memcpy(d->reason, reason, sizeof(d->reason));
	set_state(d, d->state == NBD_ENDING ? NBD_ENDING : NBD_FAILED);
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

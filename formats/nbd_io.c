// SPDX-License-Identifier: GPL-2.0-or-later
/* Requests, on a pool of connections of which each has one at a time. */
#include <errno.h>
#include <unistd.h>

#include "nbd_inner.h"
#include "nbd_notes.h"

/* One request is sent so often. */
#define TRIES 5
/* How far one look for data goes: at first, and where much is alike. */
#define STATUS_MIN (32u << 20)
#define STATUS_MAX (1u << 30)

/* ---- connections ---- */

static bool is_change(const struct nbd_request *r)
{
	return r->op == NBD_OP_WRITE || r->op == NBD_OP_ZERO;
}

/* One that is made, or one that can be. Under lock. */
static struct nbd_connection *free_connection(struct nbd_disk *d)
{
	struct nbd_connection *unmade = NULL;

	for (unsigned i = d->limit; i-- > 0;) {
		struct nbd_connection *c = &d->connections[i];

		if (c->busy)
			continue;
		if (c->handle)
			return c;
		unmade = c;
	}
	return unmade;
}

/*
 * What is noted before the mark was acknowledged: it leaves out what others
 * noted and have no answer to. What has no connection now was done again after
 * the last death, or is not noted. Under lock.
 */
static uint64_t acknowledged_mark(struct nbd_disk *d)
{
	uint64_t mark = notes_mark(d->source.notes);

	for (size_t i = 0; i < NBD_CONNECTIONS; i++)
		if (d->connections[i].busy && d->connections[i].noted_from < mark)
			mark = d->connections[i].noted_from;
	return mark;
}

/* Waits for a server and for a connection; the caller has it until give(). -EIO. */
static int take(struct nbd_disk *d, const struct nbd_request *r, struct nbd_connection **out,
		uint64_t *mark)
{
	struct nbd_connection *c = NULL;

	pthread_mutex_lock(&d->lock);
	for (;;) {
		if (d->state == NBD_STARTING || d->state == NBD_MENDING) {
			pthread_cond_wait(&d->changed, &d->lock);
			continue;
		}
		if (d->state != NBD_SERVING)
			break;
		c = free_connection(d);
		if (c)
			break;
		pthread_cond_wait(&d->idle, &d->lock);
	}
	if (c) {
		if (d->source.notes && r->op == NBD_OP_FLUSH)
			*mark = acknowledged_mark(d);
		c->busy = true;
		c->noted_from = UINT64_MAX;
		if (d->source.notes && is_change(r))
			c->noted_from = notes_mark(d->source.notes);
		d->busy++;
	}
	pthread_mutex_unlock(&d->lock);
	*out = c;
	return c ? 0 : -EIO;
}

static void give(struct nbd_disk *d, struct nbd_connection *c, bool lost)
{
	pthread_mutex_lock(&d->lock);
	c->busy = false;
	if (lost)
		nbd_lose(d);
	if (!--d->busy)
		pthread_cond_broadcast(&d->changed);
	pthread_cond_signal(&d->idle);
	pthread_mutex_unlock(&d->lock);
}

/* ---- requests ---- */

static int note(struct nbd_disk *d, const struct nbd_request *r)
{
	struct notes *n = d->source.notes;
	int err = r->op == NBD_OP_WRITE ? nbd_note_write(n, r->off, r->out, r->len)
					: nbd_note_zero(n, r->off, r->len, r->keep);

	if (!err && notes_bytes(n) >= nbd_limits.notes_bytes)
		d->crowded = true;
	return err;
}

static int drop_notes(struct nbd_disk *d, uint64_t mark)
{
	int err = notes_drop(d->source.notes, mark);

	if (!err)
		d->crowded = notes_bytes(d->source.notes) >= nbd_limits.notes_bytes;
	return err;
}

static unsigned limit_of(const struct nbd_request *r)
{
	return r->op == NBD_OP_FLUSH ? nbd_limits.flush_ms : nbd_limits.answer_ms;
}

static int ask_once(struct nbd_disk *d, struct nbd_connection *c, struct nbd_request *r)
{
	struct nbd_request flush = { .op = NBD_OP_FLUSH };
	int err;

	if (!c->handle) {
		err = nbd_server_connect(&d->server, limit_of(r), &c->handle);
		if (err)
			return err;
	}
	err = nbd_client_ask(c->handle, r, limit_of(r));
	if (!err && is_change(r) && !d->source.notes)
		err = nbd_client_ask(c->handle, &flush, limit_of(&flush));
	return err;
}

/* It was not done, and nobody thinks so: it need not be done again either. */
static void give_up(struct nbd_disk *d, const struct nbd_request *r)
{
	if (d->source.notes && is_change(r) && nbd_note_void(d->source.notes, r->off, r->len)) {
		/* Then it may be done after all: bytes of a failed write are either. */
	}
}

/*
 * Notes are used only by who has a connection: then the keeper does not read
 * them. Where the keeper gave up, what has no answer stays noted.
 */
static int ask(struct nbd_disk *d, struct nbd_request *r)
{
	bool noted = !d->source.notes || !is_change(r);
	int err = -EIO;

	for (unsigned i = 0; i < TRIES; i++) {
		struct nbd_connection *c;
		uint64_t mark = 0;
		bool lost;

		err = take(d, r, &c, &mark);
		if (err)
			break; /* the keeper has ended */
		if (!noted) {
			err = note(d, r);
			if (err) {
				give(d, c, false);
				return err;
			}
			noted = true;
		}
		err = ask_once(d, c, r);
		lost = err == NBD_LOST;
		if (!err && r->op == NBD_OP_FLUSH && d->source.notes)
			err = drop_notes(d, mark);
		if (lost && i + 1 == TRIES)
			err = -EIO;
		if (err && err != NBD_LOST)
			give_up(d, r);
		give(d, c, lost);
		if (err != NBD_LOST)
			return err;
	}
	return err;
}

int nbd_disk_flush(struct nbd_disk *d)
{
	struct nbd_request r = { .op = NBD_OP_FLUSH };

	if (!d)
		return -EIO;
	return d->source.read_only ? 0 : ask(d, &r);
}

/* Notes that nobody flushes would grow for ever. */
static int make_room(struct nbd_disk *d)
{
	int err = 0;

	if (!d->crowded)
		return 0;
	pthread_mutex_lock(&d->making_room);
	if (d->crowded)
		err = nbd_disk_flush(d);
	pthread_mutex_unlock(&d->making_room);
	return err;
}

int nbd_disk_read(struct nbd_disk *d, void *buf, size_t len, uint64_t off)
{
	int err = d ? 0 : -EIO;

	for (size_t done = 0; done < len && !err;) {
		size_t n = len - done < NBD_REQUEST_MAX ? len - done : NBD_REQUEST_MAX;
		struct nbd_request r = { .op = NBD_OP_READ,
					 .in = (char *)buf + done,
					 .len = n,
					 .off = off + done };

		err = ask(d, &r);
		done += n;
	}
	return err;
}

int nbd_disk_write(struct nbd_disk *d, const void *buf, size_t len, uint64_t off)
{
	int err = 0;

	if (!d || d->source.read_only)
		return d ? -EROFS : -EIO;
	for (size_t done = 0; done < len && !err;) {
		size_t n = len - done < NBD_NOTE_MAX ? len - done : NBD_NOTE_MAX;
		struct nbd_request r = { .op = NBD_OP_WRITE,
					 .out = (const char *)buf + done,
					 .len = n,
					 .off = off + done };

		err = make_room(d);
		if (!err)
			err = ask(d, &r);
		done += n;
	}
	return err;
}

/* ---- what is where ---- */

/* *step: how far to look, and next time. */
static int status(struct nbd_disk *d, uint64_t off, uint64_t len, uint64_t *step,
		  struct nbd_extent *extents, size_t *count)
{
	struct nbd_request r = { .op = NBD_OP_STATUS,
				 .off = off,
				 .len = len < *step ? len : *step,
				 .extents = extents };
	int err = ask(d, &r);

	if (err)
		return err;
	*count = r.extent_count;
	if (r.extent_count > 1)
		*step = STATUS_MIN;
	else if (*step < STATUS_MAX)
		*step *= 2;
	return 0;
}

static int zero_all(struct nbd_disk *d, uint64_t off, uint64_t len, bool keep)
{
	int err = 0;

	while (len > 0 && !err) {
		uint64_t n = len < NBD_REQUEST_MAX ? len : NBD_REQUEST_MAX;
		struct nbd_request r = { .op = NBD_OP_ZERO, .off = off, .len = n, .keep = keep };

		err = make_room(d);
		if (!err)
			err = ask(d, &r);
		off += n;
		len -= n;
	}
	return err;
}

/*
 * What takes no space already is left alone: some formats cannot give space
 * back, and QEMU would write zeros there. The whole of a new disk is discarded
 * by mkfs.
 */
int nbd_disk_zero(struct nbd_disk *d, uint64_t off, uint64_t len, enum zero_mode mode)
{
	struct nbd_extent extents[NBD_EXTENTS];
	uint64_t step = STATUS_MIN;
	size_t count;
	int err = 0;

	if (!d || d->source.read_only)
		return d ? -EROFS : -EIO;
	if (mode == ZERO_KEEP)
		return zero_all(d, off, len, true);
	while (len > 0 && !err) {
		err = status(d, off, len, &step, extents, &count);
		for (size_t i = 0; !err && i < count; i++) {
			if (!extents[i].hole || !extents[i].zero)
				err = zero_all(d, off, extents[i].len, false);
			off += extents[i].len;
			len -= extents[i].len;
		}
	}
	return err;
}

int nbd_disk_seek(struct nbd_disk *d, uint64_t off, int whence, uint64_t *found)
{
	struct nbd_extent extents[NBD_EXTENTS];
	bool hole = whence == SEEK_HOLE;
	uint64_t step = STATUS_MIN;
	size_t count;

	if (!d || off >= d->source.size)
		return d ? -ENXIO : -EIO;
	while (off < d->source.size) {
		int err = status(d, off, d->source.size - off, &step, extents, &count);

		if (err)
			return err;
		for (size_t i = 0; i < count; i++) {
			if (extents[i].zero == hole) {
				*found = off;
				return 0;
			}
			off += extents[i].len;
		}
	}
	if (!hole)
		return -ENXIO;
	*found = d->source.size;
	return 0;
}

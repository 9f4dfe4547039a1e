// SPDX-License-Identifier: GPL-2.0-or-later
/* Writes: to the image where nobody needs what is there, else to the log. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "history_inner.h"

/* Pieces of one zero record: more would hold the lock for long. */
#define ZERO_BLOCKS 1024u
/* As many are looked at under the lock. */
#define RUN_BLOCKS 4096u

/* ---- writes under way ---- */

static void write_begins(struct history *h, struct ongoing_write *w)
{
	pthread_mutex_lock(&h->lock);
	w->generation = atomic_load(&h->disk->tandem->generation);
	w->begin = segments_end(h->log);
	w->next = h->writes;
	w->link = &h->writes;
	if (w->next)
		w->next->link = &w->next;
	h->writes = w;
	h->written = true;
	pthread_mutex_unlock(&h->lock);
}

static void write_ends(struct history *h, struct ongoing_write *w)
{
	pthread_mutex_lock(&h->lock);
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	if (h->awaiting)
		pthread_cond_broadcast(&h->ended);
	pthread_mutex_unlock(&h->lock);
}

bool block_is_direct(const struct history *h, uint64_t block)
{
	if (h->pending.pieces && pending_find(&h->pending, block))
		return false;
	return !h->newest || direct_has(&h->direct, block, h->newest);
}

/*
 * From off on, how much of len may go to the image, or, if none, how much may
 * not: *direct says which.
 */
static uint64_t run_of(struct history *h, uint64_t off, uint64_t len, bool *direct)
{
	uint64_t block = off / h->block_size, last = (off + len - 1) / h->block_size, end;

	if (h->restore.before || h->origin)
		last = block; /* the next one may be still to be filled */
	pthread_mutex_lock(&h->lock);
	*direct = block_is_direct(h, block);
	if (*direct && !h->newest && !h->pending.pieces)
		block = last; /* all of it, however long */
	while (block < last && block < off / h->block_size + RUN_BLOCKS &&
	       block_is_direct(h, block + 1) == *direct)
		block++;
	pthread_mutex_unlock(&h->lock);
	end = (block + 1) * h->block_size;
	return end - off < len ? end - off : len;
}

/* ---- the log ---- */

/*
 * The last eighth of the room is given away at about the pace at which it gets free,
 * slower the less is left: else all writers would wait for the end of a whole batch,
 * again and again.
 */
uint64_t write_pause(struct history *h, uint64_t len, uint64_t now)
{
	const uint64_t slow = h->log_max - h->log_max / 8;
	uint64_t bytes = h->pending.bytes, cost, pause, begin;

	/* Zeros of any length are not much to settle. */
	cost = ((len < RECORD_DATA_MAX ? len : RECORD_DATA_MAX) * h->ns_per_mib) >> 20;
	if (bytes <= slow || h->settle_error)
		return 0;
	pause = 2 * cost + 1000000;
	if (bytes < h->log_max && cost * (bytes - slow) / (h->log_max - bytes) < pause)
		pause = cost * (bytes - slow) / (h->log_max - bytes);
	begin = h->admit_ns > now ? h->admit_ns : now;
	h->admit_ns = begin + pause;
	return begin - now;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec t = { ns / 1000000000, ns % 1000000000 };

	nanosleep(&t, NULL);
}

/* Under lock. What begins there goes into the log. */
static bool goes_to_log(struct history *h, uint64_t off)
{
	uint64_t block = off / h->block_size;

	return !block_is_direct(h, block) || (h->origin && origin_lacks_locked(h, block));
}

/*
 * Before the write has a generation: the settler does not pass the generation of
 * a write that has not ended.
 */
static int await_room(struct history *h, uint64_t len, uint64_t off)
{
	uint64_t pause = 0;
	int err = 0;

	pthread_mutex_lock(&h->lock);
	if (h->pending.bytes && goes_to_log(h, off))
		pause = write_pause(h, len, monotonic_ns());
	if (pause) {
		pthread_mutex_unlock(&h->lock);
		sleep_ns(pause);
		pthread_mutex_lock(&h->lock);
	}
	while (h->pending.bytes >= h->log_max && goes_to_log(h, off) && !(err = h->settle_error)) {
		settler_wake(h, true);
		if (!h->settler_runs)
			err = -EAGAIN; /* it could not be started */
		else
			pthread_cond_wait(&h->room, &h->lock);
		if (err)
			break;
	}
	pthread_mutex_unlock(&h->lock);
	return err;
}

/*
 * D(the image's size) -> records behind its end: after a power cut the log would
 * else know of more than the image has.
 */
static int await_size(struct history *h, uint64_t end)
{
	return end <= atomic_load(&h->durable_size) ? 0 : history_flush_image(h);
}

static int log_record(struct history *h, const struct ongoing_write *w, const void *buf,
		      uint64_t len, uint64_t off, unsigned io)
{
	struct record r = { buf ? RECORD_WRITE : RECORD_ZERO, off, len, w->generation };
	struct piece *pieces = pending_make(off, len, h->block_size, !buf);
	uint64_t place;
	int err = pieces ? await_size(h, off + len) : -ENOMEM;

	if (!err)
		err = segments_append(h->log, &r, buf, &place);
	atomic_store(&h->log_starved, lacks_space(err));
	/* Before anybody writes over it: a replay may bring what failed. */
	if (err && segments_broken(h->log))
		disk_flush_failed(h->disk, err);
	if (err) {
		pending_unmake(pieces);
		return err;
	}
	for (struct piece *p = pieces; p; p = p->next)
		p->io = io & IO_DIRECT;
	pthread_mutex_lock(&h->lock);
	if (!h->oldest_ns)
		h->oldest_ns = monotonic_ns();
	pending_join(&h->pending, pieces, place, w->generation);
	settler_wake(h, false);
	pthread_mutex_unlock(&h->lock);
	return 0;
}

static int log_write(struct history *h, const struct ongoing_write *w, const char *buf,
		     uint64_t len, uint64_t off, unsigned io)
{
	int err = 0;

	for (uint64_t n; !err && len; buf += n, off += n, len -= n) {
		n = len < RECORD_DATA_MAX ? len : RECORD_DATA_MAX;
		err = log_record(h, w, buf, n, off, io);
	}
	return err;
}

/* The first block from there on; UINT64_MAX: none. */
static uint64_t next_with_pieces(struct history *h, uint64_t block)
{
	uint64_t next;

	pthread_mutex_lock(&h->lock);
	next = h->pending.pieces ? pending_next(&h->pending, block) : UINT64_MAX;
	pthread_mutex_unlock(&h->lock);
	return next;
}

/* Where the first block begins that a restore may have to fill: none that has no version. */
static uint64_t restored_end(struct history *h, uint64_t off)
{
	struct version v;
	size_t count;

	if (versions_of_blocks(h->disk->tandem->catalogue, h->disk->number, off / h->block_size,
			       NULL, &v, 1, &count))
		return off;
	return count ? v.block * h->block_size : UINT64_MAX;
}

/* How much of it is in the image, or in the log. */
static uint64_t filled_len(struct history *h, uint64_t off, uint64_t len)
{
	uint64_t bs = h->block_size, end = off + len, to = end;

	if (h->origin)
		to = origin_filled_end(h, off / bs, (end + bs - 1) / bs) * bs;
	if (h->restore.before && to > off) {
		uint64_t restored = restored_end(h, off);

		to = restored < to ? restored : to;
	}
	to = to < end ? to : end;
	return to > off ? to - off : 0;
}

/*
 * Where the log has nothing and the image a hole, zeros are there already, if all that was to be
 * filled is. The log is asked first: a piece that leaves it meanwhile is in the image by then, and
 * what it was about has a version, or is marked.
 */
static uint64_t already_zero(struct history *h, uint64_t off, uint64_t len)
{
	struct image *img = h->disk->image;
	uint64_t found, next;
	int err;

	/* The log is gone through as a whole: not for a block that has something anyway. */
	if (has_pieces(h, off / h->block_size) ||
	    (!img->format->seek(img, off, SEEK_DATA, &found) &&
	     found / h->block_size == off / h->block_size))
		return 0;
	next = next_with_pieces(h, off / h->block_size);
	err = img->format->seek(img, off, SEEK_DATA, &found);
	if (err && err != -ENXIO)
		return 0;
	if (err || found > off + len)
		found = off + len;
	if (next != UINT64_MAX && next * h->block_size < found)
		found = next * h->block_size;
	/* Only whole blocks: what holds data in part is not looked at in parts. */
	if (found < off + len)
		found -= found % h->block_size;
	return found > off ? filled_len(h, off, found - off) : 0;
}

/* Up to where zeros may be there already: nothing has to be kept of them. */
static uint64_t up_to_a_hole(struct history *h, uint64_t off, uint64_t len)
{
	struct image *img = h->disk->image;
	uint64_t bs = h->block_size, found, end;

	if (img->format->seek(img, off, SEEK_HOLE, &found))
		return len;
	/* At a hole the log has something of the block. */
	end = found > off ? (found + bs - 1) / bs * bs : (off / bs + 1) * bs;
	return end - off < len ? end - off : len;
}

/*
 * Zeros that a clone lacks, and reads from a hole of its source, it has already, and had at all
 * moments of its own. Pieces are asked for before what is lacking: see origin_fill.c.
 */
static uint64_t lacks_zeros(struct history *h, uint64_t off, uint64_t len)
{
	uint64_t bs = h->block_size, end = off + len, found, next;
	int err;

	if (!h->origin || !origin_lacks(h, off / bs))
		return 0;
	err = origin_seek(h, off, SEEK_DATA, &found);
	if (err && err != -ENXIO)
		return 0;
	/* A block that has data in part goes the way of others. */
	if (!err && found < end)
		end = found - found % bs;
	if (end <= off)
		return 0;
	next = next_with_pieces(h, off / bs);
	if (next < (end + bs - 1) / bs)
		end = next * bs;
	if (end > off)
		next = origin_lacking_end(h, off / bs, (end + bs - 1) / bs) * bs;
	if (end > next)
		end = next;
	return end > off ? end - off : 0;
}

static int log_zero(struct history *h, const struct ongoing_write *w, uint64_t len, uint64_t off)
{
	const uint64_t most = (uint64_t)ZERO_BLOCKS * h->block_size;
	int err = 0;

	for (uint64_t n; !err && len; off += n, len -= n) {
		n = len < most - off % h->block_size ? len : most - off % h->block_size;
		err = log_record(h, w, NULL, n, off, 0);
	}
	return err;
}

/* ---- the verb ---- */

static int write_image(struct history *h, const void *buf, uint64_t len, uint64_t off, unsigned io,
		       enum zero_mode mode)
{
	struct image *img = h->disk->image;

	return buf ? img->format->write(img, buf, len, off, io) : image_zero(img, off, len, mode);
}

/*
 * A part of a block that is still to be filled: all of it goes to the log, as it is
 * with that part. The range of the block is locked.
 */
static int write_filling(struct history *h, const struct ongoing_write *w, const void *buf,
			 uint64_t len, uint64_t off, unsigned io, const struct unfilled *u)
{
	uint64_t start = off - off % h->block_size, size = h->disk->image->size;
	uint32_t whole = size - start < h->block_size ? size - start : h->block_size;
	char *content;
	int err;

	if (off == start && len == whole)
		return log_record(h, w, buf, len, off, io);
	content = malloc(whole);
	err = content ? unfilled_read(h, u, content, whole, start) : -ENOMEM;
	if (!err) {
		if (buf)
			memcpy(content + (off - start), buf, len);
		else
			memset(content + (off - start), 0, len);
		err = log_record(h, w, content, whole, start, io);
	}
	free(content);
	return err;
}

bool has_pieces(struct history *h, uint64_t block)
{
	bool has;

	pthread_mutex_lock(&h->lock);
	has = pending_find(&h->pending, block);
	pthread_mutex_unlock(&h->lock);
	return has;
}

/* At most to the end of the block; *n is how much was done, 0: nothing. */
static int write_unfilled(struct history *h, const struct ongoing_write *w, const void *buf,
			  uint64_t len, uint64_t off, unsigned io, uint64_t *n)
{
	uint64_t block = off / h->block_size, room = (block + 1) * h->block_size - off;
	struct unfilled u;
	int err;

	*n = 0;
	if (has_pieces(h, block))
		return 0;
	err = unfilled_find(h, UINT64_MAX, block, 1, &u);
	if (err || u.from == FROM_IMAGE)
		return err;
	*n = len < room ? len : room;
	return write_filling(h, w, buf, *n, off, io, &u);
}

/* The first blocks of the range that go the same way; *n is how long they are. */
static int write_run(struct history *h, const struct ongoing_write *w, const void *buf,
		     uint64_t len, uint64_t off, unsigned io, enum zero_mode mode, uint64_t *n)
{
	bool punch = !buf && mode == ZERO_PUNCH, direct;
	int err = 0;

	*n = punch ? lacks_zeros(h, off, len) ?: already_zero(h, off, len) : 0;
	if (!*n && (h->restore.before || h->origin))
		err = write_unfilled(h, w, buf, len, off, io, n);
	if (*n || err)
		return err;
	*n = run_of(h, off, len, &direct);
	if (punch && !direct)
		*n = up_to_a_hole(h, off, *n);
	if (direct)
		return write_image(h, buf, *n, off, io, mode);
	return buf ? log_write(h, w, buf, *n, off, io) : log_zero(h, w, *n, off);
}

/*
 * What is written is of one generation. Zeros may be of any length, and each run of
 * them is a write of its own: a whole disk of them has to wait for room in between.
 */
static int write_part(struct history *h, const char *buf, uint64_t len, uint64_t off, unsigned io,
		      enum zero_mode mode, uint64_t *done)
{
	struct ongoing_write w;
	int err = await_room(h, len, off);
	uint64_t n;

	*done = 0;
	if (err)
		return err;
	write_begins(h, &w);
	do {
		err = write_run(h, &w, buf ? buf + *done : NULL, len - *done, off + *done, io, mode,
				&n);
		*done += n;
	} while (!err && buf && *done < len);
	write_ends(h, &w);
	return err;
}

int history_write(struct history *h, const void *buf, uint64_t len, uint64_t off, unsigned io,
		  enum zero_mode mode)
{
	const char *from = buf;
	int err = 0;

	for (uint64_t n; !err && len; off += n, len -= n, from = from ? from + n : NULL)
		err = write_part(h, from, len, off, io, mode, &n);
	return err;
}

void history_hold_image(struct history *h)
{
	history_pause(h);
	pthread_rwlock_wrlock(&h->resizing);
}

void history_release_image(struct history *h)
{
	pthread_rwlock_unlock(&h->resizing);
	history_resume(h);
}

static int resize_image(struct history *h, uint64_t size)
{
	struct image *img = h->disk->image;
	int err;

	history_hold_image(h);
	if (size < atomic_load(&h->durable_size))
		atomic_store(&h->durable_size, size);
	err = img->format->resize(img, size);
	history_release_image(h);
	return err;
}

int history_resize(struct history *h, uint64_t size)
{
	uint64_t old = h->disk->image->size;
	int err = 0;

	/*
	 * What is cut off is zeros, durably, before the disk is shorter. A tick of that is recorded without
	 * a flush; a power cut may give the file its old length again, and what was there with it, and a
	 * restore from the tick would find nothing saved that says otherwise.
	 */
	if (size < old)
		err = history_write(h, NULL, old - size, size, 0, ZERO_PUNCH)
			      ?: history_settle(h) ?: history_flush_image(h);
	return err ? err : resize_image(h, size);
}

int history_flush(struct history *h)
{
	return segments_flush(h->log);
}

void history_await(struct history *h, uint64_t g)
{
	const struct ongoing_write *w;

	pthread_mutex_lock(&h->lock);
	for (;;) {
		for (w = h->writes; w && w->generation > g; w = w->next)
			;
		if (!w)
			break;
		h->awaiting++;
		pthread_cond_wait(&h->ended, &h->lock);
		h->awaiting--;
	}
	pthread_mutex_unlock(&h->lock);
}

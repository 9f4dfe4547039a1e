// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which files belong together is found from the last one backwards: the head of
 * each says where the records before it end. What is behind that place in the
 * file before was lost in a power cut, or was never acknowledged, and so were
 * the files between the two; whoever came after it went on without. Then the
 * records are read forwards, each file up to where the next one says.
 *
 *   file 3 [ head | a b c . . ]      4 [ head follows c' | d e ]      7 [ head follows c | f ]
 *
 * The power was cut before c' was on disk, c was the last one found, and 7 went
 * on from there: a b c f.
 *
 * A file that is not there although the next one follows it was dropped, see
 * segments.c: nothing is missed.
 */
#include "segments_inner.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "crc32c.h"

struct link {
	uint64_t number;
	uint64_t limit; /* offset where its records end; 0: at the first bad one */
};

struct replay {
	struct segments *s;
	int (*fn)(void *arg, uint64_t place, const struct record *r, const void *data);
	void *arg;
	uint64_t from, end;
	uint8_t *data;
	bool torn; /* a record is missing: nothing counts from here on */
};

/* ---- the chain of files ---- */

/* The newest file with a head; one without may have been made just before a power cut. */
static int find_last(struct segments *s, uint64_t *number)
{
	uint64_t n;
	int err = 0;

	for (n = segment_upto(s, SEGMENT_NUMBER_MAX); n; n = segment_upto(s, n - 1)) {
		struct segment *seg;
		bool good;

		err = segment_get(s, n, &seg);
		if (err)
			return err;
		good = seg->good;
		segment_put(s, seg);
		if (good)
			break;
	}
	*number = n;
	return 0;
}

/* The one before it, as far as that is known. */
static int find_before(struct segments *s, struct link of, struct link *before)
{
	struct segment *seg;
	uint64_t follows;
	int err = segment_get(s, of.number, &seg);

	if (err)
		return err;
	follows = seg->good ? seg->head.follows : 0;
	segment_put(s, seg);
	*before = (struct link){ 0, 0 };
	before->number = segment_upto(s, follows ? follows / SEGMENT_SIZE : of.number - 1);
	if (follows && before->number == follows / SEGMENT_SIZE)
		before->limit = follows % SEGMENT_SIZE;
	return 0;
}

/* From the last one down to that which `from` is in; malloc'd. */
static int find_chain(struct segments *s, uint64_t from, struct link **out, size_t *count)
{
	struct link *chain = NULL, at = { 0, 0 };
	size_t n = 0, room = 0;
	int err = find_last(s, &at.number);

	while (!err && at.number && at.number >= from / SEGMENT_SIZE) {
		if (n == room) {
			struct link *more = realloc(chain, (room = room * 2 + 16) * sizeof(*chain));

			if (!more) {
				err = -ENOMEM;
				break;
			}
			chain = more;
		}
		chain[n++] = at;
		err = find_before(s, at, &at);
	}
	if (err) {
		free(chain);
		return err;
	}
	*out = chain;
	*count = n;
	return 0;
}

/* ---- the records of a file ---- */

/* -EBADMSG: there is none. *next is the offset behind it. */
static int read_record(struct replay *p, const struct segment *seg, uint64_t at, uint64_t limit,
		       struct record *r, uint64_t *next)
{
	const struct file_ops *ops = seg->file->ops;
	uint8_t bytes[RECORD_HEAD];
	struct record_head h;
	uint64_t len;
	int err;

	if (at + RECORD_HEAD > limit)
		return -EBADMSG;
	err = ops->read(seg->file, bytes, sizeof(bytes), at, 0);
	if (err)
		return err;
	if (!record_head_get(&h, seg->number * SEGMENT_SIZE + at, bytes) ||
	    h.writer != seg->head.writer)
		return -EBADMSG;
	len = record_data(&h.record);
	if (at + record_space(len) > limit)
		return -EBADMSG;
	err = len ? ops->read(seg->file, p->data, len, at + RECORD_HEAD, 0) : 0;
	if (!err && crc32c(0, p->data, len) != h.data_crc)
		err = -EBADMSG;
	*r = h.record;
	*next = at + record_space(len);
	return err;
}

static int replay_records(struct replay *p, struct segment *seg, uint64_t at, uint64_t limit)
{
	uint64_t base = seg->number * SEGMENT_SIZE, next;
	struct file_stat st;
	struct record r;
	int err = seg->file->ops->stat(seg->file, &st);

	while (!err && !(limit && at >= limit)) {
		uint64_t end = limit && limit < st.size ? limit : st.size;

		err = read_record(p, seg, at, end, &r, &next);
		if (err)
			break;
		err = p->fn(p->arg, base + at, &r, record_data(&r) ? p->data : NULL);
		if (err)
			return err;
		at = next;
		p->end = base + at;
	}
	if (err == -EBADMSG) {
		p->torn = limit;
		err = 0;
	}
	return err;
}

static int replay_file(struct replay *p, struct link l)
{
	uint64_t at = SEGMENT_HEAD;
	struct segment *seg;
	int err = segment_get(p->s, l.number, &seg);

	if (err) /* fn may have dropped it */
		return err == -ENOENT ? 0 : err;
	if (seg->good)
		at = seg->head.begin;
	if (l.number == p->from / SEGMENT_SIZE && p->from % SEGMENT_SIZE > at)
		at = p->from % SEGMENT_SIZE;
	/* One that was made and not begun: whoever went on behind it missed nothing. */
	if (!seg->good)
		p->torn = !l.limit || at < l.limit;
	else
		err = replay_records(p, seg, at, l.limit);
	if (!err && p->end / SEGMENT_SIZE == l.number) {
		pthread_mutex_lock(&p->s->table);
		seg->end = p->end;
		pthread_mutex_unlock(&p->s->table);
	}
	segment_put(p->s, seg);
	return err;
}

int segments_replay(struct segments *s, uint64_t from,
		    int (*fn)(void *arg, uint64_t place, const struct record *r, const void *data),
		    void *arg, uint64_t *end)
{
	struct replay p = { .s = s, .fn = fn, .arg = arg, .from = from, .end = from };
	struct link *chain = NULL;
	size_t n = 0;
	int err;

	assert(!s->current);
	p.data = malloc(RECORD_DATA_MAX);
	err = p.data ? find_chain(s, from, &chain, &n) : -ENOMEM;
	while (!err && n && !p.torn)
		err = replay_file(&p, chain[--n]);
	free(chain);
	free(p.data);
	if (err)
		return err;
	*end = p.end;
	s->replayed = p.end ? p.end : SEGMENTS_NOTHING;
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Appending. The current file is `written` bytes long, and `used` more are in buf.
 * For a log that is nothing, or the head of a new file, as soon as append returns:
 * what cannot be written is taken out of buf again, and the next record comes to the
 * same place.
 */
#include <errno.h>
#include <string.h>

#include "crc32c.h"
#include "segments_inner.h"

/* A file grows in steps of these. */
#define STEP (4ull << 20)
/* Files with something to flush are kept open. */
#define BEGUN_MAX 16

/* ---- files; under appending ---- */

/*
 * Is there space up to this offset? It is got in steps, with the file's size, so
 * that a flush has no size to record.
 */
static bool reserve(struct segments *s, uint64_t end)
{
	struct file *f = s->current->file;
	uint64_t to = (end + STEP - 1) / STEP * STEP;
	int err;

	if (end <= s->reserved)
		return true;
	err = f->ops->allocate(f, s->reserved, to - s->reserved, true);
	if (!err)
		s->reserved = to;
	else if (err == -EOPNOTSUPP) /* nobody can know, then */
		s->reserved = SEGMENT_SIZE;
	return end <= s->reserved;
}

int segments_write_out(struct segments *s)
{
	struct file *f;
	int err;

	if (!s->used)
		return 0;
	f = s->current->file;
	err = f->ops->write(f, s->buf, s->used, s->written, 0);
	segment_changed(s, s->current); /* also after a failure: some of it may be there */
	if (err)
		return err;
	s->written += s->used;
	s->used = 0;
	atomic_store(&s->in_memory, segments_place(s->current->number, s->written));
	return 0;
}

uint64_t segments_end_place(const struct segments *s)
{
	return s->current ? segments_place(s->current->number, s->at)
			  : segments_place(s->next, SEGMENT_HEAD);
}

/* Where the records before end. A replay from behind all files has found no such place. */
static uint64_t follows(const struct segments *s)
{
	if (s->current)
		return segments_end_place(s);
	return s->replayed / SEGMENT_SIZE < s->next ? s->replayed : 0;
}

/* Its head goes into the file with the first record. */
static void begin_with_head(struct segments *s, struct segment *seg)
{
	seg->head = (struct segment_head){
		.number = seg->number,
		.writer = s->writer,
		.follows = follows(s),
		.durable = atomic_load(&s->durable),
		.begin = SEGMENT_HEAD,
	};
	segment_head_put(&seg->head, s->buf);
	s->written = s->reserved = 0;
	s->used = s->at = SEGMENT_HEAD;
	atomic_store(&s->in_memory, segments_place(seg->number, 0));
}

static int begin_segment(struct segments *s)
{
	struct segment *seg, *old = s->current;
	int err = segments_write_out(s);

	if (!err && s->next > SEGMENT_NUMBER_MAX)
		err = -EOVERFLOW;
	if (!err)
		err = segment_make(s, s->next, &seg);
	if (err == -EEXIST) /* whose it is, we do not know */
		s->next++;
	if (err)
		return err;
	begin_with_head(s, seg);
	s->next++;
	atomic_fetch_add(&s->names_made, 1);
	atomic_fetch_add(&s->begun, 1);
	s->current = seg;
	if (old) {
		pthread_mutex_lock(&s->table);
		old->end = seg->head.follows;
		pthread_mutex_unlock(&s->table);
		segment_put(s, old);
	}
	return 0;
}

/* In the current file, or a new one. Lets go of the lock while names are flushed. */
static int find_room(struct segments *s, uint64_t space)
{
	for (;;) {
		int err = atomic_load(&s->broken);

		if (err || (s->current && s->at + space <= SEGMENT_ROOM))
			return err;
		if (atomic_load(&s->names_flushed) == atomic_load(&s->names_made)) {
			err = begin_segment(s);
			if (err)
				return err;
			continue;
		}
		pthread_mutex_unlock(&s->appending);
		pthread_mutex_lock(&s->flushing);
		err = segments_flush_names(s);
		pthread_mutex_unlock(&s->flushing);
		pthread_mutex_lock(&s->appending);
		if (err)
			return err;
	}
}

/* ---- one record ---- */

static bool fits(const struct segments *s, uint64_t space)
{
	return s->current && s->at + space <= SEGMENT_ROOM && s->used + space <= SEGMENTS_BUFFER;
}

/* Behind what is in buf, which has room for it. */
static void put_record(struct segments *s, struct record_head *h, const void *data)
{
	uint64_t len = record_data(&h->record), space = record_space(len);
	uint8_t *to = s->buf + s->used;

	h->place = segments_end_place(s);
	record_head_put(h, to);
	if (len)
		memcpy(to + RECORD_HEAD, data, len);
	memset(to + RECORD_HEAD + len, 0, space - RECORD_HEAD - len);
	s->used += space;
	s->at += space;
}

static void appended(struct segments *s, unsigned records)
{
	atomic_store(&s->end, segments_end_place(s));
	atomic_fetch_add(&s->appended, records);
}

/* ---- the store ---- */

/*
 * A record may stay in memory when there is space for it: then it is append that
 * fails for want of space, and not a flush, which is final.
 */
static int store_append(struct segments *s, struct record_head *h, const void *data)
{
	uint64_t space = record_space(record_data(&h->record));
	int err = find_room(s, space);

	if (!err && !fits(s, space))
		err = segments_write_out(s);
	if (err)
		return err;
	put_record(s, h, data);
	if (!reserve(s, s->at))
		err = segments_write_out(s);
	if (err) {
		s->used -= space;
		s->at -= space;
		return err;
	}
	appended(s, 1);
	return 0;
}

/* ---- the log ---- */

struct appender {
	struct appender *next;
	struct record_head head;
	const void *data;
	enum { APPENDER_WAITS, APPENDER_LEADS, APPENDER_DONE } state;
	pthread_cond_t told;
	int err;
};

/*
 * A write that failed may have landed all the same, and a replay would find records
 * that nobody was told are there, over what was written elsewhere since. So their
 * heads are wiped; the next flush makes that durable. If one is there and cannot be
 * wiped, nothing of this row can be trusted any more.
 */
static void take_back(struct segments *s, uint64_t place, int err)
{
	static const uint8_t nothing[RECORD_HEAD];
	struct file *f = s->current->file;
	uint64_t off = place % SEGMENT_SIZE;
	struct file_stat st;
	uint8_t head[RECORD_HEAD];
	struct record_head h;

	if (!f->ops->write(f, nothing, sizeof(nothing), off, 0))
		return;
	if (!f->ops->stat(f, &st) && st.size < off + RECORD_HEAD)
		return;
	if (!f->ops->read(f, head, sizeof(head), off, 0) && !record_head_get(&h, place, head))
		return;
	atomic_store(&s->broken, err);
}

/* From `first` up to `end` they are in buf, behind `used` bytes that are not theirs. */
static void write_records(struct segments *s, struct appender *first, struct appender *end,
			  uint64_t used)
{
	uint64_t records = 0;
	int err = segments_write_out(s);

	if (err) {
		s->at -= s->used - used;
		s->used = used;
	}
	for (struct appender *a = first; a != end; a = a->next, records++) {
		a->err = err;
		if (err)
			take_back(s, a->head.place, err);
	}
	if (err) {
		atomic_fetch_add(&s->appended, 1); /* so that a flush is needed */
		segment_changed(s, s->current);
	} else {
		appended(s, records);
	}
}

/* As many as the buffer takes with one write. */
static void append_all(struct segments *s, struct appender *first)
{
	struct appender *a = first, *begin;

	while (a) {
		uint64_t used;
		int err = find_room(s, record_space(record_data(&a->head.record)));

		if (err) {
			a->err = err;
			a = a->next;
			continue;
		}
		used = s->used;
		begin = a;
		do {
			put_record(s, &a->head, a->data);
			a = a->next;
		} while (a && fits(s, record_space(record_data(&a->head.record))));
		reserve(s, s->at); /* without it the write fails, or not */
		write_records(s, begin, a, used);
	}
}

/*
 * One appends for all who wait: each of them waits for one write only, in the order in
 * which they came, however many there are, and however few processors.
 */
static void lead(struct segments *s, struct appender *me)
{
	struct appender *first = s->waiting, *next;

	s->waiting = NULL;
	s->last_waiting = &s->waiting;
	pthread_mutex_unlock(&s->queueing);
	pthread_mutex_lock(&s->appending);
	append_all(s, first);
	pthread_mutex_unlock(&s->appending);
	pthread_mutex_lock(&s->queueing);
	for (struct appender *a = first; a; a = next) {
		next = a->next; /* it is gone as soon as it is told */
		a->state = APPENDER_DONE;
		if (a != me)
			pthread_cond_signal(&a->told);
	}
	s->led = s->waiting;
	if (s->led) {
		s->waiting->state = APPENDER_LEADS;
		pthread_cond_signal(&s->waiting->told);
	}
}

static int log_append(struct segments *s, struct record_head *h, const void *data)
{
	struct appender me = { .head = *h, .data = data };

	pthread_cond_init(&me.told, NULL);
	pthread_mutex_lock(&s->queueing);
	*s->last_waiting = &me;
	s->last_waiting = &me.next;
	if (!s->led) {
		s->led = true;
		me.state = APPENDER_LEADS;
	}
	while (me.state == APPENDER_WAITS)
		pthread_cond_wait(&me.told, &s->queueing);
	if (me.state == APPENDER_LEADS)
		lead(s, &me);
	pthread_mutex_unlock(&s->queueing);
	pthread_cond_destroy(&me.told);
	h->place = me.head.place;
	return me.err;
}

int segments_append(struct segments *s, const struct record *r, const void *data, uint64_t *place)
{
	struct record_head h = { .record = *r, .writer = s->writer };
	int err;

	if (!record_valid(r) || (record_data(r) && !data))
		return -EINVAL;
	h.data_crc = crc32c(0, data, record_data(r));
	if (atomic_load(&s->begun) >= BEGUN_MAX) {
		err = segments_flush(s);
		if (err)
			return err;
	}
	if (s->kind == SEGMENTS_LOG) {
		err = log_append(s, &h, data);
	} else {
		pthread_mutex_lock(&s->appending);
		err = store_append(s, &h, data);
		pthread_mutex_unlock(&s->appending);
	}
	if (!err)
		*place = h.place;
	return err;
}

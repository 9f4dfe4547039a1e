// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Opening and appending. segment_flush.c flushes, segment_space.c gives space back.
 *
 * The current file is `written` bytes long, and `used` more are in buf. For a
 * log that is one record at a time, and what cannot be written is taken out of
 * buf again: the next one comes to the same place.
 *
 * What is on disk before what:
 *   - A file's name is durable before the next file is created. So of the files
 *     that a power cut leaves only the last may be missing, and any other that
 *     is not there was removed because nobody needed it: replay goes on after it.
 *   - A file is removed when those before it have nothing to flush; a power cut
 *     could otherwise take a record out of the middle, and hide that it was there.
 *   - What one before us wrote and did not flush is flushed with the first flush:
 *     it was acknowledged, and its readers now count on us. The head of each file
 *     says what needs no flush any more.
 */
#include "segments_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "crc32c.h"

#define STEP (4ull << 20)
#define BUFFER (SEGMENT_HEAD + RECORD_HEAD + RECORD_DATA_MAX)
/* Files with something to flush are kept open. */
#define BEGUN_MAX 16

/* ---- open and close ---- */

static uint64_t place_of(uint64_t number, uint64_t offset)
{
	return number * SEGMENT_SIZE + offset;
}

/* The newest one with a head knows what was flushed before it. */
static int find_durable(struct segments *s)
{
	uint64_t durable = 0;
	int err = 0;

	for (uint64_t n = segment_upto(s, SEGMENT_NUMBER_MAX); n && !err && !durable;
	     n = segment_upto(s, n - 1)) {
		struct segment *seg;

		err = segment_get(s, n, &seg);
		if (err)
			break;
		if (seg->good)
			durable = seg->head.durable ? seg->head.durable : 1;
		segment_put(s, seg);
	}
	atomic_init(&s->durable, durable);
	atomic_init(&s->clean_before, durable / SEGMENT_SIZE);
	return err;
}

static int load(struct segments *s, uint64_t beyond)
{
	uint64_t last;
	int err = segment_table_load(s);

	if (!err)
		err = find_durable(s);
	if (err)
		return err;
	last = segment_upto(s, SEGMENT_NUMBER_MAX);
	atomic_init(&s->names_made, last ? 1 : 0);
	if (beyond / SEGMENT_SIZE > last)
		last = beyond / SEGMENT_SIZE;
	s->next = last + 1;
	atomic_init(&s->in_memory, place_of(s->next, 0));
	atomic_init(&s->end, segments_end_place(s));
	return last < SEGMENT_NUMBER_MAX ? 0 : -EOVERFLOW;
}

static void destroy(struct segments *s)
{
	segment_table_free(s);
	pthread_mutex_destroy(&s->flushing);
	pthread_mutex_destroy(&s->appending);
	pthread_mutex_destroy(&s->opening);
	pthread_mutex_destroy(&s->table);
	free(s->buf);
	free(s);
}

int segments_open(struct segment_dir *dir, enum segments_kind kind, uint64_t beyond,
		  struct segments **out)
{
	struct segments *s = calloc(1, sizeof(*s));
	int err = 0;

	if (!s)
		return -ENOMEM;
	s->dir = dir;
	s->kind = kind;
	pthread_mutex_init(&s->flushing, NULL);
	pthread_mutex_init(&s->appending, NULL);
	pthread_mutex_init(&s->opening, NULL);
	pthread_mutex_init(&s->table, NULL);
	TAILQ_INIT(&s->open);
	atomic_init(&s->appended, 1);
	s->buf = malloc(BUFFER);
	if (!s->buf)
		err = -ENOMEM;
	else if (getrandom(&s->writer, sizeof(s->writer), 0) != sizeof(s->writer))
		err = -errno;
	if (!err)
		err = load(s, beyond);
	if (err)
		destroy(s);
	else
		*out = s;
	return err;
}

void segments_release(struct segments *s)
{
	/* What was reserved and is not needed; if it stays, it is no harm. */
	if (s->current && s->reserved > s->written)
		s->current->file->ops->resize(s->current->file, s->written);
	destroy(s);
}

void segments_close(struct segments *s)
{
	struct segment_dir *dir = s ? s->dir : NULL;

	if (!s)
		return;
	segments_release(s);
	dir->ops->close(dir);
}

/* ---- appending; under that lock ---- */

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
	atomic_store(&s->in_memory, place_of(s->current->number, s->written));
	return 0;
}

uint64_t segments_end_place(const struct segments *s)
{
	return s->current ? place_of(s->current->number, s->at) : place_of(s->next, SEGMENT_HEAD);
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
	atomic_store(&s->in_memory, place_of(seg->number, 0));
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
}

/*
 * A write that failed may have landed all the same, and a replay would find a record
 * that nobody was told is there, over what was written elsewhere since. So its head is
 * wiped; the next flush makes that durable. If it is there and cannot be wiped, nothing
 * of this row can be trusted any more.
 */
static void take_back(struct segments *s, int err)
{
	static const uint8_t nothing[RECORD_HEAD];
	struct file *f = s->current->file;
	struct file_stat st;
	uint8_t head[RECORD_HEAD];
	struct record_head h;

	atomic_fetch_add(&s->appended, 1);
	segment_changed(s, s->current);
	if (!f->ops->write(f, nothing, sizeof(nothing), s->at, 0))
		return;
	if (!f->ops->stat(f, &st) && st.size < s->at + RECORD_HEAD)
		return;
	if (!f->ops->read(f, head, sizeof(head), s->at, 0) &&
	    !record_head_get(&h, segments_end_place(s), head))
		return;
	atomic_store(&s->broken, err);
}

/*
 * For the store, a record may stay in memory when there is space for it: then
 * it is append that fails for want of space, and not a flush, which is final.
 */
static int append(struct segments *s, struct record_head *h, const void *data)
{
	uint64_t space = record_space(record_data(&h->record));
	int err = find_room(s, space);

	if (!err && s->used + space > BUFFER)
		err = segments_write_out(s);
	if (err)
		return err;
	put_record(s, h, data);
	if (!reserve(s, s->at + space) || s->kind == SEGMENTS_LOG)
		err = segments_write_out(s);
	if (err) {
		s->used -= space;
		if (s->kind == SEGMENTS_LOG)
			take_back(s, err);
		return err;
	}
	s->at += space;
	atomic_store(&s->end, segments_end_place(s));
	atomic_fetch_add(&s->appended, 1);
	return 0;
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
	pthread_mutex_lock(&s->appending);
	err = append(s, &h, data);
	pthread_mutex_unlock(&s->appending);
	if (!err)
		*place = h.place;
	return err;
}

int segments_broken(struct segments *s)
{
	return atomic_load(&s->broken);
}

uint64_t segments_end(struct segments *s)
{
	return atomic_load(&s->end);
}

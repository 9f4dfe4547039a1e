// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Opening. segment_append.c appends, segment_flush.c flushes, segment_space.c gives
 * space back.
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

/* ---- open and close ---- */

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
	s->next = s->own_from = last + 1;
	atomic_init(&s->in_memory, segments_place(s->next, 0));
	atomic_init(&s->end, segments_end_place(s));
	return last < SEGMENT_NUMBER_MAX ? 0 : -EOVERFLOW;
}

static void destroy(struct segments *s)
{
	segment_table_free(s);
	pthread_mutex_destroy(&s->flushing);
	pthread_mutex_destroy(&s->appending);
	pthread_mutex_destroy(&s->queueing);
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
	pthread_mutex_init(&s->queueing, NULL);
	s->last_waiting = &s->waiting;
	pthread_mutex_init(&s->opening, NULL);
	pthread_mutex_init(&s->table, NULL);
	TAILQ_INIT(&s->open);
	atomic_init(&s->appended, 1);
	s->buf = malloc(SEGMENTS_BUFFER);
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

int segments_broken(struct segments *s)
{
	return atomic_load(&s->broken);
}

uint64_t segments_end(struct segments *s)
{
	return atomic_load(&s->end);
}

uint64_t segments_own_from(const struct segments *s)
{
	return s->own_from;
}

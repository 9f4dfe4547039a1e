// SPDX-License-Identifier: GPL-2.0-or-later
/* Flushing, one at a time: all under that lock. Appending goes on meanwhile. */
#include "segments_inner.h"

#include <errno.h>

int segments_flush_names(struct segments *s)
{
	uint64_t names = atomic_load(&s->names_made);
	int err = atomic_load(&s->broken);

	if (err || names == atomic_load(&s->names_flushed))
		return err;
	err = s->dir->ops->flush(s->dir);
	if (err)
		atomic_store(&s->broken, err);
	else
		atomic_store(&s->names_flushed, names);
	return err;
}

/* One that was dropped meanwhile needs no flush. */
static int flush_file(struct segments *s, uint64_t number)
{
	struct segment *seg;
	uint64_t changed;
	int err = segment_get(s, number, &seg);

	if (err)
		return err == -ENOENT ? 0 : err;
	pthread_mutex_lock(&s->table);
	changed = seg->changed;
	pthread_mutex_unlock(&s->table);
	err = seg->file->ops->flush(seg->file);
	if (!err) {
		pthread_mutex_lock(&s->table);
		seg->flushed = changed;
		seg->old = false;
		pthread_mutex_unlock(&s->table);
	}
	segment_put(s, seg);
	return err;
}

static int flush_files(struct segments *s)
{
	uint64_t n = segment_unflushed(s, atomic_load(&s->clean_before));
	int err = 0;

	for (; n && !err; n = segment_unflushed(s, n + 1))
		err = flush_file(s, n);
	return err;
}

/* Everything up to where appending is now. */
static int flush_all(struct segments *s)
{
	uint64_t upto, end, number;
	unsigned begun;
	int err;

	pthread_mutex_lock(&s->appending);
	upto = atomic_load(&s->appended);
	begun = atomic_load(&s->begun);
	number = s->current ? s->current->number : s->next;
	end = segments_end_place(s);
	/* A head without a record waits for one: there may be no space for it. */
	err = s->at > SEGMENT_HEAD ? segments_write_out(s) : 0;
	pthread_mutex_unlock(&s->appending);
	if (!err)
		err = flush_files(s);
	if (!err)
		err = segments_flush_names(s);
	if (err) {
		atomic_store(&s->broken, err);
		return err;
	}
	atomic_store(&s->flushed, upto);
	atomic_store(&s->durable, end);
	atomic_store(&s->clean_before, number);
	atomic_fetch_sub(&s->begun, begun);
	return 0;
}

/* The one that waited for another may find its work done. */
int segments_flush(struct segments *s)
{
	uint64_t wanted = atomic_load(&s->appended);
	int err;

	pthread_mutex_lock(&s->flushing);
	err = atomic_load(&s->broken);
	if (!err && atomic_load(&s->flushed) < wanted)
		err = flush_all(s);
	pthread_mutex_unlock(&s->flushing);
	return err;
}

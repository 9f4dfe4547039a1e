// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The files: which there are, which of them are open, which have something to
 * flush. A file is closed when nobody has a reference and too many are open, but
 * not while it has something of ours to flush: another descriptor might not be
 * told that writing it back failed.
 */
#include "segments_inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each has two descriptors, and each disk has two such tables. */
#define OPEN_MAX_FILES 32

void segment_name(uint64_t number, char name[SEGMENT_NAME])
{
	snprintf(name, SEGMENT_NAME, "%016" PRIx64, number);
}

/* 0: not a name of ours. */
static uint64_t number_of(const char *name)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t number = 0;

	if (strlen(name) != SEGMENT_NAME - 1)
		return 0;
	for (; *name; name++) {
		const char *digit = strchr(digits, *name);

		if (!digit)
			return 0;
		number = number << 4 | (uint64_t)(digit - digits);
	}
	return number <= SEGMENT_NUMBER_MAX ? number : 0;
}

/* ---- the table; all under its lock, or before anybody else knows it ---- */

/* Of the first that is not smaller. */
static size_t index_from(const struct segments *s, uint64_t number)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (s->files[mid]->number < number)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct segment *find(const struct segments *s, uint64_t number)
{
	size_t i = index_from(s, number);

	return i < s->count && s->files[i]->number == number ? s->files[i] : NULL;
}

static int make_room(struct segments *s)
{
	size_t room = s->room ? s->room * 2 : 16;
	struct segment **files;

	if (s->count < s->room)
		return 0;
	files = realloc(s->files, room * sizeof(*files));
	if (!files)
		return -ENOMEM;
	s->files = files;
	s->room = room;
	return 0;
}

static void set_open(struct segments *s, struct segment *seg, struct file *f)
{
	seg->file = f;
	TAILQ_INSERT_TAIL(&s->open, seg, lru);
	s->open_count++;
}

/* The caller closes it, when it has let go of the lock. */
static struct file *set_closed(struct segments *s, struct segment *seg)
{
	struct file *f = seg->file;

	if (f) {
		TAILQ_REMOVE(&s->open, seg, lru);
		s->open_count--;
		seg->file = NULL;
	}
	return f;
}

static struct file *one_too_many(struct segments *s)
{
	struct segment *seg;

	if (s->open_count > OPEN_MAX_FILES)
		TAILQ_FOREACH(seg, &s->open, lru)
	if (!seg->refs && seg->changed == seg->flushed)
		return set_closed(s, seg);
	return NULL;
}

/* ---- loading ---- */

static int add_name(void *arg, const char *name)
{
	struct segments *s = arg;
	uint64_t number = number_of(name);
	struct segment *seg;
	int err;

	if (!number)
		return 0;
	err = make_room(s);
	seg = err ? NULL : calloc(1, sizeof(*seg));
	if (!seg)
		return -ENOMEM;
	seg->number = number;
	seg->old = true;
	s->files[s->count++] = seg;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = (*(struct segment *const *)a)->number,
		 y = (*(struct segment *const *)b)->number;

	return x < y ? -1 : x > y;
}

int segment_table_load(struct segments *s)
{
	int err = s->dir->ops->list(s->dir, add_name, s);

	if (!err && s->count)
		qsort(s->files, s->count, sizeof(*s->files), by_number);
	return err;
}

static void destroy(struct segment *seg)
{
	if (seg->file)
		seg->file->ops->close(seg->file);
	free(seg);
}

void segment_table_free(struct segments *s)
{
	for (size_t i = 0; i < s->count; i++)
		destroy(s->files[i]);
	free(s->files);
}

/* ---- references ---- */

int segment_make(struct segments *s, uint64_t number, struct segment **out)
{
	struct segment *seg = calloc(1, sizeof(*seg));
	char name[SEGMENT_NAME];
	struct file *f;
	int err = -ENOMEM;

	pthread_mutex_lock(&s->table);
	if (seg)
		err = make_room(s);
	pthread_mutex_unlock(&s->table);
	segment_name(number, name);
	if (!err)
		err = s->dir->ops->open(s->dir, name, true, &f);
	if (err) {
		free(seg);
		return err;
	}
	seg->number = number;
	seg->known = seg->good = true;
	seg->refs = 1;
	pthread_mutex_lock(&s->table);
	set_open(s, seg, f);
	s->files[s->count++] = seg; /* greater than all others */
	pthread_mutex_unlock(&s->table);
	*out = seg;
	return 0;
}

/* A file that is too short for a head has none. */
static int read_head(struct segment *seg, struct file *f)
{
	uint8_t bytes[SEGMENT_HEAD];
	struct file_stat st;
	int err = f->ops->stat(f, &st);

	if (err || st.size < SEGMENT_HEAD)
		return err;
	err = f->ops->read(f, bytes, sizeof(bytes), 0, 0);
	if (!err)
		seg->good = segment_head_get(&seg->head, seg->number, bytes);
	return err;
}

/* With a reference. */
static int open_again(struct segments *s, struct segment *seg)
{
	char name[SEGMENT_NAME];
	struct file *f;
	int err = 0;

	segment_name(seg->number, name);
	pthread_mutex_lock(&s->opening);
	if (!seg->file) {
		err = s->dir->ops->open(s->dir, name, false, &f);
		if (!err && !seg->known) {
			err = read_head(seg, f);
			if (err)
				f->ops->close(f);
		}
		if (!err) {
			pthread_mutex_lock(&s->table);
			seg->known = true;
			set_open(s, seg, f);
			pthread_mutex_unlock(&s->table);
		}
	}
	pthread_mutex_unlock(&s->opening);
	return err;
}

int segment_get(struct segments *s, uint64_t number, struct segment **out)
{
	struct segment *seg;
	bool is_open = false;
	int err = 0;

	pthread_mutex_lock(&s->table);
	seg = find(s, number);
	if (seg) {
		seg->refs++;
		is_open = seg->file;
	}
	if (is_open) {
		TAILQ_REMOVE(&s->open, seg, lru);
		TAILQ_INSERT_TAIL(&s->open, seg, lru);
	}
	pthread_mutex_unlock(&s->table);
	if (!seg)
		return -ENOENT;
	if (!is_open)
		err = open_again(s, seg);
	if (err)
		segment_put(s, seg);
	else
		*out = seg;
	return err;
}

void segment_put(struct segments *s, struct segment *seg)
{
	struct file *f = NULL;

	pthread_mutex_lock(&s->table);
	seg->refs--;
	if (seg->dropped && !seg->refs) {
		f = set_closed(s, seg);
		free(seg);
	} else {
		f = one_too_many(s);
	}
	pthread_mutex_unlock(&s->table);
	if (f)
		f->ops->close(f);
}

int segment_remove(struct segments *s, uint64_t number)
{
	char name[SEGMENT_NAME];
	struct segment *seg;
	int err;

	segment_name(number, name);
	err = s->dir->ops->remove(s->dir, name);
	if (err && err != -ENOENT)
		return err;
	pthread_mutex_lock(&s->table);
	seg = find(s, number);
	if (seg) {
		size_t i = index_from(s, number);

		memmove(s->files + i, s->files + i + 1, (--s->count - i) * sizeof(*s->files));
		seg->dropped = true;
		seg->refs++; /* segment_put() sees whether it was the last */
	}
	pthread_mutex_unlock(&s->table);
	if (seg)
		segment_put(s, seg);
	return 0;
}

/* ---- questions ---- */

uint64_t segment_upto(struct segments *s, uint64_t number)
{
	uint64_t found = 0;
	size_t i;

	pthread_mutex_lock(&s->table);
	i = index_from(s, number + 1);
	if (i)
		found = s->files[i - 1]->number;
	pthread_mutex_unlock(&s->table);
	return found;
}

uint64_t segment_from(struct segments *s, uint64_t number)
{
	uint64_t found = 0;
	size_t i;

	pthread_mutex_lock(&s->table);
	i = index_from(s, number);
	if (i < s->count)
		found = s->files[i]->number;
	pthread_mutex_unlock(&s->table);
	return found;
}

void segment_changed(struct segments *s, struct segment *seg)
{
	pthread_mutex_lock(&s->table);
	seg->changed = ++s->changes;
	pthread_mutex_unlock(&s->table);
}

uint64_t segment_unflushed(struct segments *s, uint64_t number)
{
	uint64_t found = 0;

	pthread_mutex_lock(&s->table);
	for (size_t i = index_from(s, number); i < s->count && !found; i++)
		if (s->files[i]->old || s->files[i]->changed != s->files[i]->flushed)
			found = s->files[i]->number;
	pthread_mutex_unlock(&s->table);
	return found;
}

bool segment_measured(struct segments *s, uint64_t number, uint64_t *allocated, uint64_t *since)
{
	struct segment *seg;
	bool measured;

	pthread_mutex_lock(&s->table);
	seg = find(s, number);
	measured = seg && seg->measured;
	if (measured)
		*allocated = seg->allocated;
	*since = seg && s->files[s->count - 1] != seg ? seg->punched : UINT64_MAX;
	pthread_mutex_unlock(&s->table);
	return measured;
}

void segment_set_measured(struct segments *s, uint64_t number, uint64_t allocated, uint64_t since)
{
	struct segment *seg;

	pthread_mutex_lock(&s->table);
	seg = find(s, number);
	if (seg && seg->punched == since) {
		seg->allocated = allocated;
		seg->measured = true;
	}
	pthread_mutex_unlock(&s->table);
}

void segment_punched(struct segments *s, struct segment *seg)
{
	pthread_mutex_lock(&s->table);
	seg->punched++;
	seg->measured = false;
	pthread_mutex_unlock(&s->table);
}

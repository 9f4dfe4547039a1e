// SPDX-License-Identifier: GPL-2.0-or-later
/* Reading one record, wherever it is. */
#include "segments_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"

bool segment_is_place(uint64_t place)
{
	return place % SEGMENT_SIZE >= SEGMENT_HEAD && place % SEGMENT_UNIT == 0;
}

/* Under appending; false if it is in the file by now. */
static bool fetch_from_memory(struct segments *s, uint64_t place, uint64_t skip, void *buf,
			      size_t len, int *err)
{
	uint64_t base = atomic_load(&s->in_memory);

	if (place < base)
		return false;
	if (place + skip + len > base + s->used)
		*err = -ENODATA;
	else
		memcpy(buf, s->buf + (place - base) + skip, len);
	return true;
}

static int fetch_from_file(struct segments *s, uint64_t place, uint64_t skip, void *buf, size_t len)
{
	uint64_t off = place % SEGMENT_SIZE + skip;
	struct file_stat st;
	struct segment *seg;
	int err = segment_get(s, place / SEGMENT_SIZE, &seg);

	if (err)
		return err;
	err = seg->file->ops->read(seg->file, buf, len, off, 0);
	if (err == -EIO && !seg->file->ops->stat(seg->file, &st) && st.size < off + len)
		err = -ENODATA;
	segment_put(s, seg);
	return err;
}

/* -ENOENT: that segment is gone; -ENODATA: nothing was appended there. */
static int fetch(struct segments *s, uint64_t place, uint64_t skip, void *buf, size_t len)
{
	if (place >= atomic_load(&s->in_memory)) {
		bool found;
		int err = 0;

		pthread_mutex_lock(&s->appending);
		found = fetch_from_memory(s, place, skip, buf, len, &err);
		pthread_mutex_unlock(&s->appending);
		if (found)
			return err;
	}
	return fetch_from_file(s, place, skip, buf, len);
}

int segments_read(struct segments *s, uint64_t place, uint64_t from, void *buf, size_t len)
{
	if (!segment_is_place(place) || from > RECORD_DATA_MAX || len > RECORD_DATA_MAX - from)
		return -EINVAL;
	return fetch(s, place, RECORD_HEAD + from, buf, len);
}

static int look(struct segments *s, uint64_t place, struct record_head *h)
{
	uint8_t head[RECORD_HEAD];
	int err = segment_is_place(place) ? fetch(s, place, 0, head, sizeof(head)) : -EBADMSG;

	return !err && !record_head_get(h, place, head) ? -EBADMSG : err;
}

static int check(struct segments *s, uint64_t place, struct record_head *h, uint8_t **data)
{
	uint64_t len;
	int err = look(s, place, h);

	if (err)
		return err;
	len = record_data(&h->record);
	*data = malloc(len ? len : 1);
	if (!*data)
		return -ENOMEM;
	err = len ? fetch(s, place, RECORD_HEAD, *data, len) : 0;
	if (!err && crc32c(0, *data, len) != h->data_crc)
		err = -EBADMSG;
	return err;
}

int segments_check(struct segments *s, uint64_t place, struct record *r, void *data, size_t room)
{
	struct record_head h;
	uint8_t *found = NULL;
	int err = check(s, place, &h, &found);

	if (!err) {
		uint64_t len = record_data(&h.record);

		*r = h.record;
		if (data)
			memcpy(data, found, len < room ? len : room);
	}
	free(found);
	return err == -ENOENT || err == -ENODATA ? -EBADMSG : err;
}

int segments_look(struct segments *s, uint64_t place, struct record *r)
{
	struct record_head h;
	int err = look(s, place, &h);

	if (!err)
		*r = h.record;
	return err == -ENOENT || err == -ENODATA ? -EBADMSG : err;
}

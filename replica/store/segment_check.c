// SPDX-License-Identifier: GPL-2.0-or-later
#include "segment_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "segments_inner.h"

#define PAGE 4096ull

uint64_t segments_flushed_before(struct segments *s)
{
	return atomic_load(&s->durable);
}

static int head_of(struct segments *s, uint64_t number, bool *has, struct segment_head *head)
{
	struct segment *seg;
	int err = segment_get(s, number, &seg);

	if (err)
		return err;
	*has = seg->good;
	*head = seg->head;
	segment_put(s, seg);
	return 0;
}

int segments_has_head(struct segments *s, uint64_t number, bool *has)
{
	struct segment_head head;

	return head_of(s, number, has, &head);
}

/*
 * From the last one backwards, as a replay does: each head says where the records before it end.
 * What lies between was lost in a power cut, and nobody follows it.
 */
int segments_survey(struct segments *s, uint64_t from,
		    void (*bad)(void *arg, uint64_t number, enum segment_trouble trouble),
		    void *arg)
{
	uint64_t first = from / SEGMENT_SIZE, number, followed = 0;
	int err = 0;

	for (number = segment_upto(s, SEGMENT_NUMBER_MAX); number && number >= first && !err;
	     number = segment_upto(s, number - 1)) {
		struct segment_head head;
		bool has;

		if (followed && number > followed)
			continue;
		err = head_of(s, number, &has, &head);
		if (err)
			break;
		if (followed > number)
			bad(arg, followed, SEGMENT_MISSING);
		if (followed == number && !has)
			bad(arg, number, SEGMENT_HEADLESS);
		/* Where it ended behind `from` it has something. */
		followed = has && head.follows > from ? head.follows / SEGMENT_SIZE : 0;
	}
	if (!err && followed)
		bad(arg, followed, SEGMENT_MISSING);
	return err;
}

/* Of a file system that tells no holes all of it is data. */
int segments_taken(struct segments *s, uint64_t number, uint64_t from, uint64_t to, uint64_t *bytes)
{
	uint64_t at = (from + PAGE - 1) / PAGE * PAGE, end = to / PAGE * PAGE;
	struct segment *seg;
	int err = segment_get(s, number, &seg);

	*bytes = 0;
	if (err)
		return err;
	while (at < end && !err) {
		uint64_t data, hole;

		err = seg->file->ops->seek(seg->file, at, SEEK_DATA, &data);
		if (err || data >= end)
			break;
		err = seg->file->ops->seek(seg->file, data, SEEK_HOLE, &hole);
		if (err)
			break;
		at = hole < end ? hole : end;
		*bytes += at - data;
	}
	segment_put(s, seg);
	return err == -ENXIO ? 0 : err;
}

int segments_next_taken(struct segments *s, uint64_t number, uint64_t from, uint64_t *found)
{
	struct segment *seg;
	int err = segment_get(s, number, &seg);

	if (err)
		return err;
	err = seg->file->ops->seek(seg->file, from, SEEK_DATA, found);
	segment_put(s, seg);
	return err;
}

/* Its data are what its head says. */
static bool has_its_data(const struct segment *seg, uint64_t at, const struct record_head *h)
{
	uint64_t len = record_data(&h->record);
	uint8_t *data = malloc(len + 1);
	bool has = data &&
		   !(len ? seg->file->ops->read(seg->file, data, len, at + RECORD_HEAD, 0) : 0) &&
		   crc32c(0, data, len) == h->data_crc;

	free(data);
	return has;
}

bool segments_is_torn(struct segments *s, uint64_t place)
{
	static const uint8_t nothing[RECORD_HEAD];
	uint8_t head[RECORD_HEAD] = { 0 };
	struct record_head h;
	struct segment *seg;
	bool torn;

	if (!segment_is_place(place) || segment_get(s, place / SEGMENT_SIZE, &seg))
		return false;
	if (seg->file->ops->read(seg->file, head, sizeof(head), place % SEGMENT_SIZE, 0))
		memset(head, 0, sizeof(head)); /* the file ends there */
	if (record_head_get(&h, place, head))
		torn = h.writer == seg->head.writer && !has_its_data(seg, place % SEGMENT_SIZE, &h);
	else
		torn = memcmp(head, nothing, sizeof(head));
	segment_put(s, seg);
	return torn;
}

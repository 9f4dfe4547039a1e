// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The versions of a disk and the records of its store, both ways. Versions come in the order of
 * their blocks, records lie in that of their places; so versions are taken for so many segments at
 * a time as there is memory for, sorted by place, and held against the files. One pass through all
 * versions of the disk for each time.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check_inner.h"
#include "segment_check.h"

/* 64 MiB. */
#define ENTRIES_MAX (2u << 20)
#define PAGE 4096u

struct segment_count {
	uint64_t number, bytes, count;
};

/* What of a disk is looked at at one time. */
struct part {
	struct check *c;
	const char *where;
	uint32_t disk, block_size;
	uint64_t limit;
	struct segments *store;
	uint64_t from, to; /* numbers of segments; to: not with it */
	struct version *list;
	size_t count, room;
	struct segment_count *counted; /* by the catalogue */
	size_t counted_count, counted_room, at_counted;
	uint64_t entries; /* by the same */
	uint64_t leaked, leaked_in;
	bool failed; /* memory */
};

static bool make_room(void **list, size_t count, size_t *room, size_t size)
{
	size_t more = *room ? 2 * *room : 256;
	void *bytes;

	if (count < *room)
		return true;
	bytes = realloc(*list, more * size);
	if (bytes) {
		*list = bytes;
		*room = more;
	}
	return bytes;
}

/* ---- a version by itself ---- */

__attribute__((format(printf, 4, 5))) static void say(const struct part *p, enum finding finding,
						      const struct version *v, const char *fmt, ...)
{
	char what[200];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	report(&p->c->report, finding, p->where, "block %llu up to g%llu: %s",
	       (unsigned long long)v->block, (unsigned long long)v->last, what);
}

static void look_at_version(const struct part *p, const struct version *v)
{
	p->c->report.versions++;
	if (v->length > p->block_size)
		say(p, FINDING_VERSION, v, "is longer than a block");
	else if (v->block >= UINT64_MAX / p->block_size - 1 ||
		 v->block * p->block_size + v->length > p->limit)
		say(p, FINDING_VERSION, v, "lies behind the end that the disk ever had");
}

/* ---- its record ---- */

static uint64_t end_of(const struct version *v)
{
	return v->place + record_space(v->length);
}

static int read_record(const struct part *p, const struct version *v, struct record *r)
{
	if (!p->c->o->data)
		return segments_look(p->store, v->place, r);
	p->c->report.bytes += v->length;
	return segments_check(p->store, v->place, r, NULL, 0);
}

static void look_at_record(const struct part *p, const struct version *v)
{
	struct record r;
	int err = read_record(p, v, &r);

	if (err == -EBADMSG)
		say(p, FINDING_CONTENT, v,
		    "its record in the store (segment %llx, offset %llu) is damaged",
		    (unsigned long long)(v->place / SEGMENT_SIZE),
		    (unsigned long long)(v->place % SEGMENT_SIZE));
	else if (err)
		say(p, FINDING_CONTENT, v, "its record in the store cannot be read: %s",
		    strerror(-err));
	else if (r.kind != RECORD_VERSION || r.generation != v->last ||
		 r.offset != v->block * p->block_size || r.length != v->length)
		say(p, FINDING_VERSION, v,
		    "its place in the store holds the record of another one");
}

/* ---- what is not referred to ---- */

/* Of a record that was let go of only pages that it has in part take space. */
static bool leak(struct part *p, uint64_t number, uint64_t at, uint64_t end, uint64_t *next)
{
	struct record r;
	uint64_t taken = 0;

	if (segments_look(p->store, number * SEGMENT_SIZE + at, &r) || r.kind != RECORD_VERSION)
		return false;
	*next = at + record_space(r.length);
	if (*next > end)
		return false;
	segments_taken(p->store, number, at, *next, &taken);
	p->leaked += taken ? *next - at : 0;
	return true;
}

static void look_at_gap(struct part *p, uint64_t number, uint64_t at, uint64_t end)
{
	uint64_t taken, next;

	while (at + 64 <= end) {
		if (at % PAGE == 0) { /* else it is known already */
			if (segments_next_taken(p->store, number, at, &taken) || taken >= end)
				return;
			at = taken > at ? taken : at;
		}
		if (leak(p, number, at, end, &next))
			at = next;
		else
			at += 64;
	}
}

/* ---- a segment ---- */

/* first..end of the list lie in it. The last one of the store is being written. */
static void look_at_segment(struct part *p, uint64_t number, size_t first, size_t end, bool last)
{
	uint64_t base = number * SEGMENT_SIZE, at = base + 64, leaked = p->leaked;

	for (size_t i = first; i < end; i++) {
		const struct version *v = &p->list[i];

		if (v->place < at)
			say(p, FINDING_VERSION, v,
			    "its place in the store is that of another one, too");
		else if (!last && v->place > at)
			look_at_gap(p, number, at - base, v->place - base);
		look_at_record(p, v);
		at = end_of(v) > at ? end_of(v) : at;
	}
	if (!last && at < base + SEGMENT_SIZE)
		look_at_gap(p, number, at - base, SEGMENT_SIZE);
	p->leaked_in += p->leaked > leaked;
}

static void compare_count(struct part *p, uint64_t number, size_t first, size_t end)
{
	struct segment_count is = { number, 0, end - first }, counted = { number, 0, 0 };

	for (size_t i = first; i < end; i++)
		is.bytes += p->list[i].length;
	while (p->at_counted < p->counted_count && p->counted[p->at_counted].number < number)
		p->at_counted++;
	if (p->at_counted < p->counted_count && p->counted[p->at_counted].number == number)
		counted = p->counted[p->at_counted];
	if (is.bytes != counted.bytes || is.count != counted.count)
		report(&p->c->report, FINDING_RECORD, p->where,
		       "segment %llx of its store has %llu versions, and %llu are counted",
		       (unsigned long long)number, (unsigned long long)is.count,
		       (unsigned long long)counted.count);
}

static void look_at_missing(struct part *p, uint64_t number, size_t first, size_t end)
{
	report(&p->c->report, FINDING_SEGMENT, p->where,
	       "segment %llx of its store is not there: %llu versions, the first of block %llu up to "
	       "g%llu",
	       (unsigned long long)number, (unsigned long long)(end - first),
	       (unsigned long long)p->list[first].block, (unsigned long long)p->list[first].last);
}

static void look_at_file(struct part *p, uint64_t number, size_t first, size_t end, uint64_t newest)
{
	bool has = true;

	if (segments_has_head(p->store, number, &has) || (!has && end > first))
		report(&p->c->report, FINDING_SEGMENT, p->where,
		       "the head of segment %llx of its store is damaged",
		       (unsigned long long)number);
	look_at_segment(p, number, first, end, number == newest);
}

static int by_place(const void *a, const void *b)
{
	const struct version *x = a, *y = b;

	return (x->place > y->place) - (x->place < y->place);
}

/* The files and the versions in them, in step. */
static void look_at_part(struct part *p)
{
	uint64_t file = segments_number_from(p->store, p->from), newest = 0;
	size_t at = 0, end;

	for (uint64_t n = 1; (n = segments_number_from(p->store, n)); n++)
		newest = n;
	if (p->count)
		qsort(p->list, p->count, sizeof(*p->list), by_place);
	while ((file && file < p->to) || at < p->count) {
		uint64_t number = at < p->count ? p->list[at].place / SEGMENT_SIZE : UINT64_MAX;

		number = file && file < number ? file : number;
		for (end = at; end < p->count && p->list[end].place / SEGMENT_SIZE == number; end++)
			;
		compare_count(p, number, at, end);
		if (file == number) {
			look_at_file(p, number, at, end, newest);
			file = segments_number_from(p->store, file + 1);
		} else {
			look_at_missing(p, number, at, end);
		}
		at = end;
	}
}

/* ---- all versions ---- */

static int collect(struct part *p, const struct version *v, size_t count, bool first)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t segment = v[i].place / SEGMENT_SIZE;

		if (first)
			look_at_version(p, &v[i]);
		if (!v[i].place || segment < p->from || segment >= p->to)
			continue;
		if (!make_room((void **)&p->list, p->count, &p->room, sizeof(*p->list)))
			return -ENOMEM;
		p->list[p->count++] = v[i];
	}
	return 0;
}

/* One pass. Then a new part begins where this one ends. */
static int end_part(struct part *p)
{
	enum { ROOM = 1024 };
	struct version *page = malloc((ROOM + 1) * sizeof(*page)), *after = NULL;
	bool first = !p->from;
	size_t count = 1;
	int err = page ? 0 : -ENOMEM;

	p->count = p->at_counted = 0;
	while (!err && count) {
		err = versions_of_blocks(p->c->catalogue, p->disk, 0, after, page, ROOM, &count);
		if (!err && count) {
			err = collect(p, page, count, first);
			after = &page[ROOM];
			*after = page[count - 1];
		}
	}
	free(page);
	if (!err)
		look_at_part(p);
	p->from = p->to;
	p->counted_count = 0;
	p->entries = 0;
	return err;
}

static int add_count(void *arg, uint64_t segment, const struct version_totals *totals)
{
	struct part *p = arg;
	int err = 0;

	if (p->entries && p->entries + totals->count > ENTRIES_MAX) {
		p->to = segment;
		err = end_part(p);
	}
	if (!err && !make_room((void **)&p->counted, p->counted_count, &p->counted_room,
			       sizeof(*p->counted)))
		err = -ENOMEM;
	if (err)
		return err;
	p->counted[p->counted_count++] = (struct segment_count){ segment, totals->bytes,
								 totals->count };
	p->entries += totals->count;
	return 0;
}

void check_store(struct check *c, const char *where, uint32_t disk, uint32_t block_size,
		 uint64_t limit, int dirfd)
{
	struct part p = { .c = c,
			  .where = where,
			  .disk = disk,
			  .block_size = block_size,
			  .limit = limit };
	struct segment_dir *dir;
	int err = segment_dir_open_to_read(dirfd, &dir);

	if (err) {
		close(dirfd);
	} else {
		err = segments_open(dir, SEGMENTS_STORE, 0, &p.store);
		if (err)
			dir->ops->close(dir);
	}
	if (!err) {
		err = version_segments(c->catalogue, disk, add_count, &p);
		p.to = UINT64_MAX;
		if (!err)
			err = end_part(&p);
		segments_close(p.store);
	}
	if (err)
		report(&c->report, FINDING_SEGMENT, where, "its store cannot be read: %s",
		       strerror(-err));
	if (p.leaked)
		report(&c->report, FINDING_LEAK, where,
		       "%llu bytes in %llu segments of its store are of no version",
		       (unsigned long long)p.leaked, (unsigned long long)p.leaked_in);
	free(p.list);
	free(p.counted);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The records are read twice. The first time only their ranges are kept. The
 * ends of all ranges cut the disk into cells; from the newest record to the
 * oldest each takes the cells of its range that nobody has yet. The second
 * time each record writes what it has.
 */
#include "nbd_notes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NOTE_WRITE = 1, NOTE_ZERO = 2, NOTE_VOID = 3 };

/* The same machine reads them: bytes as they are in memory. */
struct note_range {
	uint64_t off, len;
	uint64_t keep; /* ZERO */
};

#define NOBODY UINT32_MAX

struct range {
	uint64_t off, end; /* equal: a record that has nothing */
};

/* A part of a record that nothing newer covers. */
struct piece {
	uint32_t record;
	uint64_t off, end;
};

struct plan {
	uint64_t size;
	struct range *ranges; /* one for each record */
	size_t count, room;
	struct piece *pieces; /* by record */
	size_t piece_count;
	/* The second time. */
	size_t at_record, at_piece;
	const struct nbd_replay *to;
};

int nbd_note_write(struct notes *n, uint64_t off, const void *buf, size_t len)
{
	struct note_range head = { .off = off, .len = len };

	return notes_add(n, NOTE_WRITE, &head, sizeof(head), buf, len);
}

int nbd_note_zero(struct notes *n, uint64_t off, uint64_t len, bool keep)
{
	struct note_range head = { .off = off, .len = len, .keep = keep };

	return notes_add(n, NOTE_ZERO, &head, sizeof(head), NULL, 0);
}

int nbd_note_void(struct notes *n, uint64_t off, uint64_t len)
{
	struct note_range head = { .off = off, .len = len };

	return notes_add(n, NOTE_VOID, &head, sizeof(head), NULL, 0);
}

/* ---- the first time: the ranges ---- */

static void make_void(struct plan *p, const struct note_range *head)
{
	for (size_t i = p->count; i-- > 0;)
		if (p->ranges[i].off == head->off && p->ranges[i].end == head->off + head->len) {
			p->ranges[i].end = p->ranges[i].off;
			return;
		}
}

static int collect(void *arg, uint32_t kind, const void *data, size_t len)
{
	struct range range = { 0 };
	struct note_range head;
	struct plan *p = arg;

	if (len < sizeof(head))
		return -EINVAL;
	memcpy(&head, data, sizeof(head));
	if (head.off > p->size || head.len > p->size - head.off ||
	    (kind == NOTE_WRITE && head.len != len - sizeof(head)))
		return -EINVAL;
	if (kind == NOTE_VOID)
		make_void(p, &head);
	else if (kind == NOTE_WRITE || kind == NOTE_ZERO)
		range = (struct range){ head.off, head.off + head.len };
	else
		return -EINVAL;
	if (p->count == p->room) {
		size_t room = p->room ? 2 * p->room : 256;
		struct range *more = reallocarray(p->ranges, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		p->ranges = more;
		p->room = room;
	}
	if (p->count == NOBODY)
		return -E2BIG;
	p->ranges[p->count++] = range;
	return 0;
}

/* ---- who has which cell ---- */

struct cells {
	uint64_t *edges; /* cell i is from edge i to edge i + 1 */
	size_t count;    /* of edges */
	uint32_t *owner; /* of cell i */
	uint32_t *next;  /* the first cell at or behind i that may be free */
};

static int compare_edges(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int cells_make(struct cells *c, const struct plan *p)
{
	size_t n = 0, kept = 0;

	c->edges = calloc(2 * p->count + 1, sizeof(*c->edges));
	c->owner = calloc(2 * p->count + 1, sizeof(*c->owner));
	c->next = calloc(2 * p->count + 1, sizeof(*c->next));
	if (!c->edges || !c->owner || !c->next)
		return -ENOMEM;
	for (size_t i = 0; i < p->count; i++)
		if (p->ranges[i].off < p->ranges[i].end) {
			c->edges[n++] = p->ranges[i].off;
			c->edges[n++] = p->ranges[i].end;
		}
	qsort(c->edges, n, sizeof(*c->edges), compare_edges);
	for (size_t i = 0; i < n; i++)
		if (!kept || c->edges[kept - 1] != c->edges[i])
			c->edges[kept++] = c->edges[i];
	c->count = kept;
	for (size_t i = 0; i < kept; i++) {
		c->owner[i] = NOBODY;
		c->next[i] = i;
	}
	return 0;
}

static void cells_free(struct cells *c)
{
	free(c->edges);
	free(c->owner);
	free(c->next);
}

static size_t cell_at(const struct cells *c, uint64_t edge)
{
	size_t low = 0, high = c->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (c->edges[middle] < edge)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Shortens the way for the next one who asks. */
static uint32_t free_cell(struct cells *c, uint32_t i)
{
	while (c->next[i] != i) {
		c->next[i] = c->next[c->next[i]];
		i = c->next[i];
	}
	return i;
}

/* The last edge begins no cell: it is always free, and ends every search. */
static void cells_take(struct cells *c, const struct range *range, uint32_t record)
{
	size_t end = cell_at(c, range->end);

	for (uint32_t i = free_cell(c, cell_at(c, range->off)); i < end; i = free_cell(c, i)) {
		c->owner[i] = record;
		c->next[i] = i + 1;
	}
}

static int compare_pieces(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	if (x->record != y->record)
		return x->record < y->record ? -1 : 1;
	return x->off < y->off ? -1 : x->off > y->off;
}

static int pieces_make(struct plan *p, const struct cells *c)
{
	p->pieces = calloc(c->count + 1, sizeof(*p->pieces));
	if (!p->pieces)
		return -ENOMEM;
	for (size_t i = 0; i + 1 < c->count; i++) {
		struct piece *last = p->piece_count ? &p->pieces[p->piece_count - 1] : NULL;

		if (c->owner[i] == NOBODY)
			continue;
		if (last && last->record == c->owner[i] && last->end == c->edges[i])
			last->end = c->edges[i + 1];
		else
			p->pieces[p->piece_count++] = (struct piece){ c->owner[i], c->edges[i],
								      c->edges[i + 1] };
	}
	qsort(p->pieces, p->piece_count, sizeof(*p->pieces), compare_pieces);
	return 0;
}

static int divide(struct plan *p)
{
	struct cells c = { 0 };
	int err = cells_make(&c, p);

	for (size_t i = err ? 0 : p->count; i-- > 0;)
		if (p->ranges[i].off < p->ranges[i].end)
			cells_take(&c, &p->ranges[i], i);
	if (!err)
		err = pieces_make(p, &c);
	cells_free(&c);
	return err;
}

/* ---- the second time: the bytes ---- */

static int apply(void *arg, uint32_t kind, const void *data, size_t len)
{
	struct note_range head;
	struct plan *p = arg;
	size_t record = p->at_record++;
	int err = 0;

	if (len < sizeof(head))
		return -EINVAL;
	memcpy(&head, data, sizeof(head));
	for (; !err && p->at_piece < p->piece_count; p->at_piece++) {
		const struct piece *piece = &p->pieces[p->at_piece];
		uint64_t n = piece->end - piece->off;

		if (piece->record != record)
			break;
		if (piece->off < head.off || piece->end > head.off + head.len ||
		    (kind == NOTE_WRITE && head.len != len - sizeof(head)))
			return -EIO; /* it was another record the first time */
		if (kind == NOTE_ZERO)
			err = p->to->zero(p->to->arg, piece->off, n, head.keep);
		else
			err = p->to->write(p->to->arg,
					   (const char *)data + sizeof(head) + piece->off -
						   head.off,
					   n, piece->off);
	}
	return err;
}

static int walk(struct notes *n, const uint8_t *binding, struct plan *p,
		int (*fn)(void *arg, uint32_t kind, const void *data, size_t len))
{
	bool foreign;
	int err = notes_replay(n, binding, fn, p, &foreign);

	return !err && foreign ? -ESTALE : err;
}

int nbd_notes_replay(struct notes *n, const uint8_t binding[NOTES_BINDING], uint64_t size,
		     const struct nbd_replay *to, bool *any)
{
	struct plan p = { .size = size, .to = to };
	int err = walk(n, binding, &p, collect);

	if (!err && p.count)
		err = divide(&p);
	if (!err && p.count)
		err = walk(n, binding, &p, apply);
	if (!err)
		*any = p.count > 0;
	free(p.ranges);
	free(p.pieces);
	return err;
}

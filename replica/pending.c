// SPDX-License-Identifier: GPL-2.0-or-later
#include "pending.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define CHAINS_FIRST 1024u

int pending_init(struct pending *p)
{
	*p = (struct pending){ .chain_count = CHAINS_FIRST };
	p->chains = calloc(CHAINS_FIRST, sizeof(*p->chains));
	return p->chains ? 0 : -ENOMEM;
}

void pending_free(struct pending *p)
{
	struct piece *piece, *next;

	for (piece = p->first; piece; piece = next) {
		next = piece->next;
		free(piece);
	}
	for (size_t i = 0; p->chains && i < p->chain_count; i++)
		for (struct pending_block *b = p->chains[i], *after; b; b = after) {
			after = b->chain;
			free(b);
		}
	free(p->chains);
	*p = (struct pending){ 0 };
}

/* ---- blocks ---- */

static size_t chain_of(size_t count, uint64_t number)
{
	return (number * 0x9e3779b97f4a7c15) >> 32 & (count - 1);
}

struct pending_block *pending_find(const struct pending *p, uint64_t number)
{
	struct pending_block *b = p->chains[chain_of(p->chain_count, number)];

	while (b && b->number != number)
		b = b->chain;
	return b;
}

uint64_t pending_next(const struct pending *p, uint64_t number)
{
	uint64_t found = UINT64_MAX;

	for (size_t i = 0; i < p->chain_count; i++)
		for (const struct pending_block *b = p->chains[i]; b; b = b->chain)
			if (b->number >= number && b->number < found)
				found = b->number;
	return found;
}

/* Without memory chains just get longer. */
static void grow(struct pending *p)
{
	size_t count = p->chain_count * 4;
	struct pending_block **chains = calloc(count, sizeof(*chains));

	if (!chains)
		return;
	for (size_t i = 0; i < p->chain_count; i++)
		for (struct pending_block *b = p->chains[i], *after; b; b = after) {
			size_t c = chain_of(count, b->number);

			after = b->chain;
			b->chain = chains[c];
			chains[c] = b;
		}
	free(p->chains);
	p->chains = chains;
	p->chain_count = count;
}

static void put_block(struct pending *p, struct pending_block *b)
{
	size_t c;

	if (p->blocks++ > p->chain_count)
		grow(p);
	c = chain_of(p->chain_count, b->number);
	b->chain = p->chains[c];
	p->chains[c] = b;
}

static void take_block(struct pending *p, struct pending_block *b)
{
	struct pending_block **link = &p->chains[chain_of(p->chain_count, b->number)];

	while (*link != b)
		link = &(*link)->chain;
	*link = b->chain;
	p->blocks--;
	free(b);
}

/* ---- pieces ---- */

static struct piece *make_piece(uint64_t number)
{
	struct piece *piece = calloc(1, sizeof(*piece));
	struct pending_block *b = calloc(1, sizeof(*b));

	if (!piece || !b) {
		free(piece);
		free(b);
		return NULL;
	}
	b->number = number;
	piece->block = b;
	return piece;
}

struct piece *pending_make(uint64_t off, uint64_t len, uint32_t block_size, bool zero)
{
	struct piece *first = NULL, **link = &first;

	for (uint64_t at = 0; at < len; at += (*link)->length, link = &(*link)->next) {
		uint64_t number = (off + at) / block_size, from = (off + at) % block_size;
		uint64_t room = block_size - from;

		*link = make_piece(number);
		if (!*link) {
			pending_unmake(first);
			return NULL;
		}
		(*link)->from = from;
		(*link)->length = room < len - at ? room : len - at;
		(*link)->at = at;
		(*link)->zero = zero;
	}
	return first;
}

void pending_unmake(struct piece *pieces)
{
	for (struct piece *next; pieces; pieces = next) {
		next = pieces->next;
		free(pieces->block);
		free(pieces);
	}
}

/* Places come nearly in order: those that were appended at the same time may not. */
static void join_disk(struct pending *p, struct piece *piece)
{
	struct piece *before = p->last;

	while (before && before->place > piece->place)
		before = before->previous;
	piece->previous = before;
	piece->next = before ? before->next : p->first;
	*(before ? &before->next : &p->first) = piece;
	*(piece->next ? &piece->next->previous : &p->last) = piece;
}

static void join_block(struct pending_block *b, struct piece *piece)
{
	struct piece *before = b->last;

	while (before && before->place > piece->place)
		before = before->block_before;
	piece->block_before = before;
	piece->block_next = before ? before->block_next : b->first;
	*(before ? &before->block_next : &b->first) = piece;
	*(piece->block_next ? &piece->block_next->block_before : &b->last) = piece;
}

void pending_join(struct pending *p, struct piece *pieces, uint64_t place, uint64_t generation)
{
	for (struct piece *piece = pieces, *next; piece; piece = next) {
		struct pending_block *b = pending_find(p, piece->block->number);

		next = piece->next;
		if (b)
			free(piece->block);
		else
			put_block(p, b = piece->block);
		piece->block = b;
		piece->place = place;
		piece->generation = generation;
		join_disk(p, piece);
		join_block(b, piece);
		p->bytes += piece->length;
		p->pieces++;
	}
}

void pending_settle(struct pending *p, struct piece *piece)
{
	assert(!piece->settled);
	piece->settled = true;
	p->bytes -= piece->length;
}

void pending_leave(struct pending *p)
{
	struct piece *piece = p->first;
	struct pending_block *b = piece->block;

	assert(piece->settled && b->first == piece);
	p->first = piece->next;
	*(p->first ? &p->first->previous : &p->last) = NULL;
	b->first = piece->block_next;
	*(b->first ? &b->first->block_before : &b->last) = NULL;
	if (!b->first)
		take_block(p, b);
	p->pieces--;
	free(piece);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Pieces of blocks: cut right, in the order of their places, and gone when they left. */
#include "pending.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

#define BS 16384u

static struct pending p;

static void setup(void)
{
	ck_assert_int_eq(pending_init(&p), 0);
}

static void teardown(void)
{
	pending_free(&p);
}

static void join(uint64_t off, uint64_t len, uint64_t place, uint64_t generation)
{
	struct piece *pieces = pending_make(off, len, BS, false);

	ck_assert_ptr_nonnull(pieces);
	pending_join(&p, pieces, place, generation);
}

/* All that the head of pending.h says. */
static void check(void)
{
	uint64_t pieces = 0, bytes = 0, blocks = 0;

	for (struct piece *x = p.first; x; x = x->next, pieces++) {
		ck_assert_ptr_eq(pending_find(&p, x->block->number), x->block);
		ck_assert_uint_le(x->from + x->length, BS);
		ck_assert(x->next ? x->next->previous == x && x->next->place >= x->place
				  : p.last == x);
		ck_assert(x->block_next ? x->block_next->block_before == x &&
						  x->block_next->place >= x->place &&
						  x->block_next->block == x->block
					: x->block->last == x);
		if (!x->block_before)
			ck_assert_ptr_eq(x->block->first, x);
		blocks += !x->block_before;
		bytes += x->settled ? 0 : x->length;
	}
	ck_assert_uint_eq(p.pieces, pieces);
	ck_assert_uint_eq(p.bytes, bytes);
	ck_assert_uint_eq(p.blocks, blocks);
}

START_TEST(one_record_is_cut)
{
	const struct piece *x;

	join(BS - 100, 2 * BS, 64, 3);
	check();
	ck_assert_uint_eq(p.pieces, 3);
	x = p.first;
	ck_assert(x->block->number == 0 && x->from == BS - 100 && x->length == 100 && x->at == 0);
	x = x->next;
	ck_assert(x->block->number == 1 && x->from == 0 && x->length == BS && x->at == 100);
	x = x->next;
	ck_assert(x->block->number == 2 && !x->from && x->length == BS - 100 && x->at == BS + 100);
	ck_assert(x->generation == 3 && x->place == 64 && !x->zero && !x->settled);
}
END_TEST

START_TEST(places_out_of_order)
{
	join(0, 10, 300, 1);
	join(5, 10, 100, 1);
	join(BS, 10, 200, 1);
	join(0, 10, 200, 1);
	check();
	ck_assert_uint_eq(p.first->place, 100);
	ck_assert_uint_eq(p.last->place, 300);
	ck_assert_uint_eq(pending_find(&p, 0)->first->place, 100);
}
END_TEST

START_TEST(blocks_go_with_their_last_piece)
{
	join(0, 10, 100, 1);
	join(BS, 10, 200, 1);
	join(0, 10, 300, 1);
	for (unsigned i = 0; i < 3; i++) {
		pending_settle(&p, p.first);
		pending_leave(&p);
		check();
		ck_assert(!pending_find(&p, 0) == (i == 2));
		ck_assert(!pending_find(&p, 1) == (i > 0));
	}
	ck_assert_ptr_null(p.first);
	ck_assert_ptr_null(p.last);
}
END_TEST

START_TEST(the_next_block)
{
	ck_assert_uint_eq(pending_next(&p, 0), UINT64_MAX);
	join(7 * BS, 10, 100, 1);
	join(3 * BS, 10, 200, 1);
	ck_assert_uint_eq(pending_next(&p, 0), 3);
	ck_assert_uint_eq(pending_next(&p, 3), 3);
	ck_assert_uint_eq(pending_next(&p, 4), 7);
	ck_assert_uint_eq(pending_next(&p, 8), UINT64_MAX);
}
END_TEST

START_TEST(what_was_made_can_be_given_up)
{
	pending_unmake(pending_make(100, 10 * BS, BS, true));
	pending_unmake(NULL);
	check();
}
END_TEST

START_TEST(random_work)
{
	uint64_t seed = 1, place = 64;

	for (unsigned i = 0; i < unit_scaled(40000); i++) {
		uint64_t what = unit_below(&seed, 100);
		struct piece *x = p.first;

		place += 64 * (1 + unit_below(&seed, 3));
		/* Now and then one of those that were appended at the same time. */
		if (what < 50 && p.pieces < 2000)
			join(unit_below(&seed, 3000 * BS), 1 + unit_below(&seed, 4 * BS),
			     unit_below(&seed, 8) ? place : place - 256, i);
		for (unsigned k = 0; what >= 50 && what < 70 && x && k < 40; x = x->next, k++)
			if (!x->settled && unit_below(&seed, 2))
				pending_settle(&p, x);
		while (what >= 70 && p.first && p.first->settled)
			pending_leave(&p);
		if (i % 500 == 0)
			check();
	}
	check();
}
END_TEST

UNIT_MAIN("pending", setup, teardown, one_record_is_cut, places_out_of_order,
	  blocks_go_with_their_last_piece, the_next_block, what_was_made_can_be_given_up,
	  random_work)

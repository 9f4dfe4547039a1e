// SPDX-License-Identifier: GPL-2.0-or-later
/* Mirrors of sources that become longer or shorter, while others are at work, or where that fails. */
#include <pthread.h>

#include "marks.h"
#include "pairs_inner.h"
#include "slow_target.h"
#include "unit.h"

/* ---- the keeper ---- */

static bool is_held_up(void *arg)
{
	struct disk *d = arg;
	bool is;

	pthread_mutex_lock(&d->ranges.mutex);
	is = d->ranges.waiting > 0;
	pthread_mutex_unlock(&d->ranges.mutex);
	return is;
}

/* As long as somebody makes the source another size, nobody looks for what is to be copied. */
START_TEST(a_source_whose_size_changes)
{
	struct marks *marks;
	struct range end;
	unsigned turn;

	make();
	await(COPY_SYNCHRONIZED);
	marks = the_pair()->leg.marks;
	range_lock_write(&source->ranges, &end, INT64_MAX, 1);
	ck_assert_int_eq(marks_begin(marks, 0, REGION, &turn), 0);
	marks_set(marks, 0, REGION);
	marks_end(marks, turn);
	keeper_poke(the_pair());
	ck_assert(unit_until(is_held_up, source, 20));
	ck_assert_uint_eq(marks_bytes(marks), REGION);
	range_unlock(&source->ranges, &end);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

UNIT_MAIN("pair sizes", setup, slow_end, a_source_whose_size_changes)

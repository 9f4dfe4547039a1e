// SPDX-License-Identifier: GPL-2.0-or-later
/* Mirrors of sources that become longer or shorter, while others are at work, or where that fails. */
#include <pthread.h>
#include <unistd.h>

#include "marks_inner.h"
#include "pairs_inner.h"
#include "slow_target.h"
#include "unit.h"

/* ---- the keeper ---- */

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

/* ---- marks that could not follow their source ---- */

#define LONGER (SIZE + 16 * REGION)

/* It is longer than what is known of it, and nothing is copied. */
static struct marks *leave_marks_of_that_behind(void)
{
	struct marks *marks;

	slow_watch();
	do_it(OP_SUSPEND);
	marks = the_pair()->leg.marks;
	break_marks();
	disk_resize(source, LONGER, false);
	slow_break(0);
	ck_assert_uint_eq(disk_size(source), LONGER);
	ck_assert_uint_eq(marks_size(marks), SIZE);
	return marks;
}

static struct marks *leave_marks_behind(void)
{
	make();
	await(COPY_SYNCHRONIZED);
	return leave_marks_of_that_behind();
}

static bool has_size(void *marks)
{
	return marks_size(marks) == LONGER;
}

/* Those of an asynchronous one before its next generation. */
START_TEST(marks_follow_before_a_generation)
{
	struct marks *marks;

	make();
	await(COPY_SYNCHRONIZED);
	do_it(OP_RESET_TO_ASYNC);
	await(COPY_SYNCHRONIZED);
	marks = leave_marks_of_that_behind();
	do_it(OP_RESUME);
	ck_assert(unit_until(has_size, marks, 20));
	await(COPY_SYNCHRONIZED);
	do_it(OP_SPLIT);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

START_TEST(marks_follow_before_a_copy)
{
	struct marks *marks = leave_marks_behind();

	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert_uint_eq(marks_size(marks), LONGER);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

static void *write_there(void *off)
{
	static const char buf[4096] = "something";

	ck_assert_int_eq(disk_write(source, buf, sizeof(buf), *(uint64_t *)off, 0), 0);
	return NULL;
}

/* Each of the two finds them too short, and neither takes from them what the other one needs. */
START_TEST(two_write_behind_the_end_of_the_marks)
{
	struct marks *marks = leave_marks_behind();
	uint64_t offs[] = { LONGER - 4096, SIZE + REGION };
	pthread_t threads[2];

	pthread_mutex_lock(&marks->writing);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert(!pthread_create(&threads[i], NULL, write_there, &offs[i]));
		usleep(100000); /* until it waits for that */
	}
	pthread_mutex_unlock(&marks->writing);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(marks_size(marks), LONGER);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

static bool nothing_differs(void *marks)
{
	return !marks_bytes(marks);
}

/* What is marked behind its end is never copied, and keeps nothing from coming to an end. */
START_TEST(marks_that_are_too_long)
{
	struct marks *marks;
	unsigned turn;

	make();
	await(COPY_SYNCHRONIZED);
	marks = the_pair()->leg.marks;
	ck_assert_int_eq(marks_resize(marks, SIZE + 512, true), 0);
	ck_assert_int_eq(marks_begin(marks, 0, REGION, &turn), 0);
	marks_set(marks, 0, REGION);
	marks_end(marks, turn);
	keeper_poke(the_pair());
	ck_assert(unit_until(nothing_differs, marks, 20));
	await(COPY_SYNCHRONIZED);
	ck_assert_uint_eq(marks_size(marks), SIZE);
}
END_TEST

UNIT_MAIN("pair sizes", setup, slow_end, a_source_whose_size_changes, marks_follow_before_a_copy,
	  marks_follow_before_a_generation, two_write_behind_the_end_of_the_marks,
	  marks_that_are_too_long)

// SPDX-License-Identifier: GPL-2.0-or-later
/* Turns of copiers, under a clock of the test. */
#include "turns.h"

#include "unit.h"

#define MS 1000000ull
#define SECOND (1000 * MS)
#define MIB (1ull << 20)
#define COUNT 4

static struct turns turns;
static struct turn turn[COUNT];
static uint64_t now, until;
static struct guests guests;

static void begin(void)
{
	turns = (struct turns){ 0 };
	now = 1000 * SECOND;
	guests = (struct guests){ 0 };
	for (int i = 0; i < COUNT; i++)
		turn[i] = (struct turn){ .order = i + 1 };
}

static void join(int i, enum copy_priority priority)
{
	turn[i].priority = priority;
	turns_join(&turns, &turn[i]);
}

static enum turn_answer ask(int i)
{
	return turns_ask(&turns, &turn[i], now, guests, &until);
}

static void give_back(int i, uint64_t copied)
{
	turns_give_back(&turns, &turn[i], now, copied);
}

START_TEST(so_many_at_a_time)
{
	turns.most = 2;
	for (int i = 0; i < COUNT; i++)
		join(i, PRIORITY_NOT_MANAGED);
	ck_assert_int_eq(ask(0), TURN_TAKEN);
	ck_assert_int_eq(ask(1), TURN_TAKEN);
	ck_assert_int_eq(ask(3), TURN_OF_OTHERS);
	ck_assert_uint_eq(until, TURNS_NEVER);
	ck_assert_int_eq(ask(2), TURN_OF_OTHERS);
	give_back(1, 0);
	/* It came before them; so it goes on to its end, and then they do. */
	ck_assert_int_eq(ask(3), TURN_OF_OTHERS);
	ck_assert_int_eq(ask(1), TURN_TAKEN);
	turns_leave(&turns, &turn[1]);
	ck_assert_int_eq(ask(3), TURN_OF_OTHERS);
	ck_assert_int_eq(ask(2), TURN_TAKEN);
	turns_leave(&turns, &turn[0]);
	ck_assert_int_eq(ask(3), TURN_TAKEN);
	turns.most = 0;
	turns_join(&turns, &turn[0]);
	ck_assert_int_eq(ask(0), TURN_TAKEN);
}
END_TEST

START_TEST(the_higher_goes_first)
{
	turns.most = 1;
	join(0, PRIORITY_LOW);
	join(1, PRIORITY_SAME);
	join(2, PRIORITY_HIGH);
	join(3, PRIORITY_NOT_MANAGED);
	ck_assert_int_eq(ask(0), TURN_TAKEN);
	for (int i = 1; i < COUNT; i++)
		ck_assert_int_eq(ask(i), TURN_OF_OTHERS);
	/* It was first, and has its turn to the end of its step. */
	give_back(0, 0);
	ck_assert_int_eq(ask(0), TURN_OF_OTHERS);
	ck_assert_int_eq(ask(3), TURN_OF_OTHERS);
	ck_assert_int_eq(ask(2), TURN_TAKEN);
	turns_leave(&turns, &turn[2]);
	ck_assert_int_eq(ask(3), TURN_OF_OTHERS);
	ck_assert_int_eq(ask(1), TURN_TAKEN);
	turns_leave(&turns, &turn[1]);
	ck_assert_int_eq(ask(0), TURN_OF_OTHERS);
	ck_assert_int_eq(ask(3), TURN_TAKEN);
	turns_leave(&turns, &turn[3]);
	ck_assert_int_eq(ask(0), TURN_TAKEN);
}
END_TEST

START_TEST(who_does_not_go_on_is_in_nobodys_way)
{
	turns.most = 1;
	join(0, PRIORITY_HIGH);
	join(1, PRIORITY_LOW);
	turn[0].suspended = true;
	ck_assert_int_eq(ask(0), TURN_SUSPENDED);
	ck_assert_uint_eq(until, TURNS_NEVER);
	ck_assert_int_eq(ask(1), TURN_TAKEN);
	give_back(1, 0);
	turn[0].suspended = false;
	ck_assert_int_eq(ask(0), TURN_TAKEN);
	ck_assert_int_eq(ask(1), TURN_OF_OTHERS);
	give_back(0, 0);
	ck_assert_int_eq(ask(1), TURN_TAKEN);
}
END_TEST

/* Steps of various sizes, for a minute. */
START_TEST(no_faster_than_the_rate)
{
	uint64_t copied[2] = { 0 }, began = now, seed = 1;

	turns.rate = 10 * MIB;
	join(0, PRIORITY_SAME);
	join(1, PRIORITY_SAME);
	for (unsigned n = 0; now - began < 60 * SECOND; n++) {
		int i = unit_below(&seed, 2);

		if (ask(i) != TURN_TAKEN) {
			ck_assert_uint_gt(until, now);
			now = until;
			continue;
		}
		now += (n % 7) * MS;
		copied[i] += (1 + n % 5) * MIB;
		give_back(i, (1 + n % 5) * MIB);
	}
	ck_assert_uint_le(copied[0] + copied[1], 60 * turns.rate + 10 * MIB);
	ck_assert_uint_ge(copied[0] + copied[1], 60 * turns.rate - 10 * MIB);
	ck_assert_uint_ge(copied[0], 20 * turns.rate);
	ck_assert_uint_ge(copied[1], 20 * turns.rate);
}
END_TEST

START_TEST(nothing_is_saved_up)
{
	turns.rate = 10 * MIB;
	join(0, PRIORITY_SAME);
	ck_assert_int_eq(ask(0), TURN_TAKEN);
	give_back(0, MIB);
	now += 1000 * SECOND;
	ck_assert_int_eq(ask(0), TURN_TAKEN);
	give_back(0, 10 * MIB);
	ck_assert_int_eq(ask(0), TURN_TOO_FAST);
	ck_assert_uint_eq(until, now + SECOND);
	/* What had to be copied only counts. */
	now = until;
	ck_assert_int_eq(ask(0), TURN_TAKEN);
	give_back(0, 0);
	ck_assert_int_eq(ask(0), TURN_TAKEN);
}
END_TEST

START_TEST(the_rate_is_of_the_higher)
{
	turns.rate = MIB;
	join(0, PRIORITY_SAME);
	join(1, PRIORITY_HIGH);
	ck_assert_int_eq(ask(1), TURN_TAKEN);
	ck_assert_int_eq(ask(0), TURN_OF_OTHERS);
	give_back(1, MIB);
	ck_assert_int_eq(ask(1), TURN_TOO_FAST);
	now = until;
	ck_assert_int_eq(ask(0), TURN_OF_OTHERS);
	turns_leave(&turns, &turn[1]);
	ck_assert_int_eq(ask(0), TURN_TAKEN);
}
END_TEST

START_TEST(low_gives_way_to_guests)
{
	join(0, PRIORITY_LOW);
	join(1, PRIORITY_SAME);
	guests.requests = 5;
	ck_assert_int_eq(ask(0), TURN_TAKEN); /* nothing was in anybody's way yet */
	guests.requests++;
	now += 100 * MS;
	give_back(0, 0);
	ck_assert_int_eq(ask(0), TURN_OF_GUESTS);
	ck_assert_int_eq(ask(1), TURN_TAKEN);
	now += 20 * MS;
	ck_assert_int_eq(ask(0), TURN_TAKEN);
	now += 100 * MS;
	give_back(0, 0);
	ck_assert_int_eq(ask(0), TURN_TAKEN); /* nobody came meanwhile */
	guests.requests++;
	now += 100 * MS;
	give_back(0, 0);
	ck_assert_int_eq(ask(0), TURN_OF_GUESTS);
	ck_assert_uint_gt(until, now);
	ck_assert_uint_le(until, now + 20 * MS);
	guests.busy = true;
	for (int i = 0; i < 40; i++, now += 20 * MS)
		ck_assert_int_eq(ask(0), TURN_OF_GUESTS);
	guests.busy = false;
	now += 20 * MS;
	ck_assert_int_eq(ask(0), TURN_TAKEN);
}
END_TEST

/* Of 150 s in which guests never are quiet. */
static uint64_t works(enum copy_priority priority)
{
	uint64_t began = now, worked = 0;

	join(0, priority);
	guests.busy = true;
	while (now - began < 150 * SECOND) {
		if (ask(0) != TURN_TAKEN) {
			now = until;
			continue;
		}
		now += 50 * MS;
		worked += 50 * MS;
		give_back(0, MIB);
	}
	turns_leave(&turns, &turn[0]);
	return worked;
}

START_TEST(everybody_gets_on)
{
	ck_assert_uint_le(works(PRIORITY_LOW), 11 * SECOND);
	ck_assert_uint_ge(works(PRIORITY_LOW), 9 * SECOND);
	ck_assert_uint_le(works(PRIORITY_SAME), 76 * SECOND);
	ck_assert_uint_ge(works(PRIORITY_SAME), 74 * SECOND);
	ck_assert_uint_eq(works(PRIORITY_NOT_MANAGED), works(PRIORITY_SAME));
	ck_assert_uint_eq(works(PRIORITY_HIGH), 150 * SECOND);
}
END_TEST

START_TEST(same_keeps_its_place)
{
	turns.most = 1;
	join(0, PRIORITY_SAME);
	join(1, PRIORITY_SAME);
	guests.busy = true;
	ck_assert_int_eq(ask(0), TURN_TAKEN);
	now += 10 * MS;
	give_back(0, MIB);
	ck_assert_int_eq(ask(0), TURN_OF_GUESTS);
	ck_assert_uint_eq(until, now + 10 * MS);
	ck_assert_int_eq(ask(1), TURN_OF_OTHERS);
	now = until;
	ck_assert_int_eq(ask(0), TURN_TAKEN);
}
END_TEST

START_TEST(steps)
{
	join(0, PRIORITY_SAME);
	join(1, PRIORITY_LOW);
	ck_assert_uint_eq(turns_step(&turns, &turn[0], 16 * MIB), 16 * MIB);
	ck_assert_uint_eq(turns_step(&turns, &turn[1], 16 * MIB), MIB);
	guests.busy = true;
	ask(0);
	ck_assert_uint_eq(turns_step(&turns, &turn[0], 16 * MIB), 4 * MIB);
	turns.rate = 4 * MIB;
	ck_assert_uint_eq(turns_step(&turns, &turn[0], 16 * MIB), MIB);
	turns.rate = 64 << 10;
	ck_assert_uint_eq(turns_step(&turns, &turn[0], 16 * MIB), 64 << 10);
	ck_assert_uint_eq(turns_step(&turns, &turn[0], 4096), 4096);
}
END_TEST

START_TEST(pace)
{
	struct pace p = { 0 };

	ck_assert_uint_eq(pace_rate(&p, now, 0), 0);
	pace_note(&p, now, 0);
	ck_assert_uint_eq(pace_rate(&p, now, MIB), 0); /* no time has passed */
	ck_assert_uint_eq(pace_rate(&p, now + SECOND / 2, MIB), 2 * MIB);
	for (int i = 1; i <= 100; i++) {
		now += SECOND;
		pace_note(&p, now, i * MIB);
		pace_note(&p, now + MS, i * MIB + 1); /* too soon */
	}
	ck_assert_uint_eq(pace_rate(&p, now, 100 * MIB), MIB);
	/* Of lately: what stands still is slow after some seconds. */
	for (int i = 0; i < PACE_SAMPLES; i++) {
		now += SECOND;
		pace_note(&p, now, 100 * MIB);
	}
	ck_assert_uint_eq(pace_rate(&p, now, 100 * MIB), 0);
}
END_TEST

UNIT_MAIN("turns", begin, NULL, so_many_at_a_time, the_higher_goes_first,
	  who_does_not_go_on_is_in_nobodys_way, no_faster_than_the_rate, nothing_is_saved_up,
	  the_rate_is_of_the_higher, low_gives_way_to_guests, everybody_gets_on,
	  same_keeps_its_place, steps, pace)

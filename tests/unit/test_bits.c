// SPDX-License-Identifier: GPL-2.0-or-later
#include "bits.h"

#include <string.h>

#include "unit.h"

#define WORDS 5
#define BITS (WORDS * 64)

static uint64_t words[WORDS];
static bool model[BITS];

static void fill(uint64_t *seed)
{
	/* Often whole words are alike. */
	for (int i = 0; i < WORDS; i++)
		switch (unit_below(seed, 4)) {
		case 0:
			words[i] = 0;
			break;
		case 1:
			words[i] = UINT64_MAX;
			break;
		default:
			words[i] = unit_random(seed);
		}
	for (unsigned i = 0; i < BITS; i++)
		model[i] = words[i / 64] >> i % 64 & 1;
}

static uint64_t model_find(uint64_t first, uint64_t end, bool value)
{
	while (first < end && model[first] != value)
		first++;
	return first;
}

static uint64_t model_assign(uint64_t first, uint64_t end, bool value)
{
	uint64_t changed = 0;

	for (uint64_t i = first; i < end; i++) {
		changed += model[i] != value;
		model[i] = value;
	}
	return changed;
}

START_TEST(as_one_by_one)
{
	uint64_t seed = 1;

	for (unsigned round = 0; round < unit_scaled(20000); round++) {
		uint64_t first = unit_below(&seed, BITS + 1), set = 0, wrong = 0;
		uint64_t end = first + unit_below(&seed, BITS + 1 - first);
		bool value = unit_below(&seed, 2);

		if (round % 8 == 0)
			fill(&seed);
		ck_assert_uint_eq(bits_find(words, first, end, value),
				  model_find(first, end, value));
		ck_assert_uint_eq(bits_assign(words, first, end, value),
				  model_assign(first, end, value));
		for (unsigned i = 0; i < BITS; i++) {
			wrong += (words[i / 64] >> i % 64 & 1) != model[i];
			set += model[i];
		}
		ck_assert_uint_eq(wrong, 0);
		ck_assert_uint_eq(bits_count(words, WORDS), set);
	}
}
END_TEST

/* No word behind the end is looked at: there may be none. */
START_TEST(at_the_end_of_a_word)
{
	uint64_t one[1] = { 0 };

	ck_assert_uint_eq(bits_find(one, 64, 64, true), 64);
	ck_assert_uint_eq(bits_assign(one, 64, 64, true), 0);
	ck_assert_uint_eq(bits_assign(one, 0, 64, true), 64);
	ck_assert_uint_eq(bits_find(one, 0, 64, false), 64);
	ck_assert_uint_eq(bits_assign(one, 63, 64, false), 1);
	ck_assert_uint_eq(bits_find(one, 0, 64, false), 63);
}
END_TEST

UNIT_MAIN("bits", NULL, NULL, as_one_by_one, at_the_end_of_a_word)

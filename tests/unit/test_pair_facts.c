// SPDX-License-Identifier: GPL-2.0-or-later
/* What becomes of a mirror by itself: each fact in each CopyState. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "pair_facts.h"
#include "unit.h"

/*
 * As the operations of mirrors are walked: a CopyState's letter is where it leads, = stays. Of one
 * with CopyRecoveryMode Automatic, with Manual, and of one that goes back to its source.
 */
static const struct walk {
	enum pair_fact fact;
	/* INI UNS SYN BRO FRA SPL INA SUS FOV PRE ABO SKW */
	const char *automatic, *manual, *back;
} facts[] = {
	{ FACT_TARGET_LOST, "=bb=========", "=bb=========", "=oo=========" },
	{ FACT_TARGET_TRIED, "===u========", "============", "===u========" },
	{ FACT_DIFFERS, "==u=========", "==h=========", "==u=========" },
	{ FACT_COPIED, "=s==========", "=s==========", "=s==========" },
	{ FACT_TARGET_WRITTEN, "====kk======", "====kk======", "====kk======" },
	{ FACT_TARGET_CHANGED, "==k=kk======", "==k=kk======", "==k=kk======" },
	{ FACT_CRASHED, "=u==========", "=h==========", "=u==========" },
};

static enum copy_state meant(char cell)
{
	switch (cell) {
	case 'b':
		return COPY_BROKEN;
	case 'h':
		return COPY_SUSPENDED;
	case 'k':
		return COPY_SKEWED;
	case 'o':
		return COPY_FAILEDOVER;
	case 's':
		return COPY_SYNCHRONIZED;
	default:
		return COPY_UNSYNCHRONIZED;
	}
}

static void check(enum pair_fact fact, const char *cells, bool manual, bool back)
{
	ck_assert_uint_eq(strlen(cells), COPY_MIXED - COPY_INITIALIZED);
	for (uint32_t state = COPY_INITIALIZED; state < COPY_MIXED; state++) {
		struct pair_record r = {
			.copy_state = state,
			.manual = manual,
			.first = true,
			.back = back,
			.restores = back,
		};
		char cell = cells[state - COPY_INITIALIZED];
		bool follows = pair_follow(fact, &r);

		ck_assert_msg(follows == (cell != '=') &&
				      r.copy_state == (follows ? meant(cell) : state),
			      "%s in %s: %s", pair_fact_name(fact), enum_name(copy_states, state),
			      enum_name(copy_states, r.copy_state));
		ck_assert(r.whole == (cell == 's') && r.first == (cell != 's'));
		ck_assert(r.back == (back && cell != 'o') && r.restores == r.back);
	}
}

START_TEST(every_cell)
{
	const unsigned states = COPY_MIXED - COPY_INITIALIZED, rows = FACT_MAX - FACT_NONE - 1;

	ck_assert_uint_eq(UNIT_LENGTH(facts), FACT_MAX - FACT_NONE - 1);
	for (size_t i = 0; i < UNIT_LENGTH(facts); i++) {
		ck_assert_uint_eq(facts[i].fact, i + 1);
		ck_assert_ptr_nonnull(pair_fact_name(facts[i].fact));
		check(facts[i].fact, facts[i].automatic, false, false);
		check(facts[i].fact, facts[i].manual, true, false);
		check(facts[i].fact, facts[i].back, false, true);
	}
	printf("table: mirrors, facts x states, %zu of %u cells\n", UNIT_LENGTH(facts) * states,
	       rows * states);
}
END_TEST

UNIT_MAIN("pair facts", NULL, NULL, every_cell)

// SPDX-License-Identifier: GPL-2.0-or-later
#include "pair_facts.h"

#include <assert.h>

/* What a cell has beside the number of a CopyState. */
enum {
	STAYS = 32,
	IF_AUTOMATIC = 64, /* a bit: with CopyRecoveryMode Manual it stays */
	OR_SUSPENDED = 128 /* a bit: with CopyRecoveryMode Manual it is Suspended */
};

// clang-format off
#define STY STAYS
#define BRO COPY_BROKEN
#define SYN COPY_SYNCHRONIZED
#define SKW COPY_SKEWED
#define AUN (IF_AUTOMATIC | COPY_UNSYNCHRONIZED)
#define UNM (OR_SUSPENDED | COPY_UNSYNCHRONIZED)

/* The two columns before are no states; MIX and N/A are no states of one relationship. */
static const uint8_t facts_of_mirrors[FACT_MAX][COPY_STATE_MAX] = {
  /* in:                          -    -   INI  UNS  SYN  BRO  FRA  SPL  INA  SUS  FOV  PRE  ABO  SKW */
  [FACT_TARGET_LOST]        = {  0,   0,  STY, BRO, BRO, STY, STY, STY, STY, STY, STY, STY, STY, STY },
  /* UNS, SYN → BRO  the others are not written to: it is found by what would begin to. The source does
   *                 not notice. One that goes back to its source is Failedover again instead */
  [FACT_TARGET_TRIED]       = {  0,   0,  STY, STY, STY, AUN, STY, STY, STY, STY, STY, STY, STY, STY },
  /* BRO → UNS       by itself; the others wait for somebody to say so, or are not lost */
  [FACT_DIFFERS]            = {  0,   0,  STY, STY, UNM, STY, STY, STY, STY, STY, STY, STY, STY, STY },
  /* SYN → UNS       the others need not be the same. The target stays whole */
  [FACT_COPIED]             = {  0,   0,  STY, SYN, STY, STY, STY, STY, STY, STY, STY, STY, STY, STY },
  /* UNS → SYN       the others are not copied, or are the same already */
  [FACT_TARGET_WRITTEN]     = {  0,   0,  STY, STY, STY, STY, SKW, SKW, STY, STY, STY, STY, STY, STY },
  /* FRA, SPL → SKW  the others let no client write */
  [FACT_TARGET_CHANGED]     = {  0,   0,  STY, STY, SKW, STY, SKW, SKW, STY, STY, STY, STY, STY, STY },
  /* SYN, FRA, SPL → SKW  the others are to be copied over, or are already: all of it differs then */
  [FACT_CRASHED]            = {  0,   0,  STY, UNM, STY, STY, STY, STY, STY, STY, STY, STY, STY, STY },
  /* UNS → UNS       the copy goes on where it was; what SYN had under way is marked, which is FACT_DIFFERS */
};
// clang-format on

static const char *const names[FACT_MAX] = {
	[FACT_TARGET_LOST] = "TargetLost",
	[FACT_TARGET_TRIED] = "TargetTried",
	[FACT_DIFFERS] = "Differs",
	[FACT_COPIED] = "Copied",
	[FACT_TARGET_WRITTEN] = "TargetWritten",
	[FACT_TARGET_CHANGED] = "TargetChanged",
	[FACT_CRASHED] = "Crashed",
};

const char *pair_fact_name(enum pair_fact fact)
{
	return names[fact];
}

static uint8_t next_state(enum pair_fact fact, const struct pair_record *r)
{
	uint8_t cell = facts_of_mirrors[fact][r->copy_state];

	assert(cell); /* each is filled */
	if (cell & OR_SUSPENDED && r->manual)
		return COPY_SUSPENDED;
	if (cell & IF_AUTOMATIC && r->manual)
		return STAYS;
	if (cell == COPY_BROKEN && r->back)
		return COPY_FAILEDOVER;
	return cell & ~(IF_AUTOMATIC | OR_SUSPENDED);
}

bool pair_follow(enum pair_fact fact, struct pair_record *r)
{
	uint8_t next = next_state(fact, r);

	if (next == STAYS)
		return false;
	r->copy_state = next;
	if (next == COPY_SYNCHRONIZED) {
		r->first = r->written = false;
		r->whole = true;
	}
	if (next == COPY_SKEWED) {
		r->whole = false;
		r->written = true;
	}
	if (next == COPY_FAILEDOVER)
		r->back = r->restores = false;
	return true;
}

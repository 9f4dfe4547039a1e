// SPDX-License-Identifier: GPL-2.0-or-later
/* Which operation is possible in which CopyState; and the names. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "replica_operations.h"

#define NONE 0

struct expected {
	int err;
	uint8_t next;
	const char *says;
};

static void check(enum replica_operation op, enum copy_state from, struct expected e)
{
	struct why why = { .message = "" };
	uint8_t next = NONE;
	int err = replica_operation_check(SYNC_SNAPSHOT, op, from, false, false, &next, &why);

	ck_assert_msg(err == e.err && next == e.next, "%s from %d: %d, %d", why.message, from, err,
		      next);
	ck_assert_msg(!e.says || strcmp(why.message, e.says) == 0, "%s", why.message);
}

START_TEST(possible)
{
	struct expected synchronized = { 0, COPY_SYNCHRONIZED, NULL };
	struct expected stays = { 0, STAYS, NULL }, gone = { 0, GONE, NULL };

	check(OP_ABORT, COPY_SYNCHRONIZED, synchronized);
	check(OP_ABORT, COPY_SKEWED, (struct expected){ 0, COPY_SKEWED, NULL });
	check(OP_ACTIVATE, COPY_INACTIVE, synchronized);
	check(OP_ACTIVATE, COPY_SYNCHRONIZED, stays);
	check(OP_DEACTIVATE, COPY_SYNCHRONIZED, (struct expected){ 0, COPY_INACTIVE, NULL });
	check(OP_DEACTIVATE, COPY_INACTIVE, stays);
	check(OP_DEACTIVATE, COPY_SKEWED, (struct expected){ 0, COPY_INACTIVE, NULL });
	check(OP_ACTIVATE, COPY_SKEWED, stays);
	check(OP_RETURN_TO_RESOURCE_POOL, COPY_SKEWED, gone);
	check(OP_RESYNC_REPLICA, COPY_SYNCHRONIZED, synchronized);
	check(OP_RESYNC_REPLICA, COPY_BROKEN, synchronized);
	check(OP_DETACH, COPY_SYNCHRONIZED, gone);
	check(OP_RETURN_TO_RESOURCE_POOL, COPY_SYNCHRONIZED, gone);
	check(OP_RETURN_TO_RESOURCE_POOL, COPY_BROKEN, gone);
	check(OP_RETURN_TO_RESOURCE_POOL, COPY_INACTIVE, gone);
}
END_TEST

START_TEST(wrong_state)
{
	check(OP_RESUME, COPY_SYNCHRONIZED,
	      (struct expected){ -EBUSY, NONE,
				 "CopyState is Synchronized; Resume needs Suspended" });
	check(OP_ACTIVATE, COPY_BROKEN,
	      (struct expected){ -EBUSY, NONE, "CopyState is Broken; Activate needs Inactive" });
	check(OP_ABORT, COPY_INACTIVE,
	      (struct expected){ -EBUSY, NONE,
				 "CopyState is Inactive; Abort needs Synchronized, Skewed" });
	check(OP_RESYNC_REPLICA, COPY_INACTIVE, (struct expected){ -EBUSY, NONE, NULL });
	check(OP_DEACTIVATE, COPY_BROKEN, (struct expected){ -EBUSY, NONE, NULL });
	check(OP_DETACH, COPY_BROKEN,
	      (struct expected){ -EBUSY, NONE, "CopyState is Broken; Detach needs Synchronized" });
	check(OP_DETACH, COPY_INACTIVE, (struct expected){ -EBUSY, NONE, NULL });
	check(OP_DISSOLVE, COPY_SYNCHRONIZED, (struct expected){ -EOPNOTSUPP, NONE, NULL });
	check(OP_DISSOLVE, COPY_BROKEN, (struct expected){ -EBUSY, NONE, NULL });
	check(OP_RESTORE_FROM_REPLICA, COPY_SKEWED,
	      (struct expected){ -EBUSY, NONE,
				 "CopyState is Skewed; RestoreFromReplica needs Synchronized" });
	check(OP_RESYNC_REPLICA, COPY_SKEWED,
	      (struct expected){ -EPERM, NONE,
				 "CopyState is Skewed: what was written on the target would be "
				 "lost" });
}
END_TEST

START_TEST(never)
{
	// clang-format off
	static const enum replica_operation others[] = {
		OP_ACTIVATE_CONSISTENCY, OP_ADD_SYNC_PAIR, OP_DEACTIVATE_CONSISTENCY, OP_FAILOVER,
		OP_FAILBACK, OP_REMOVE_SYNC_PAIR, OP_RESET_TO_SYNC, OP_RESET_TO_ASYNC,
		OP_REVERSE_ROLES, OP_SUSPEND, OP_UNPREPARE, OP_PREPARE, OP_RESET_TO_ADAPTIVE,
	};
	// clang-format on

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		check(others[i], COPY_SYNCHRONIZED, (struct expected){ -EOPNOTSUPP, NONE, NULL });
		check(others[i], COPY_INACTIVE, (struct expected){ -EOPNOTSUPP, NONE, NULL });
	}
	check(OP_FAILOVER, COPY_BROKEN,
	      (struct expected){ -EOPNOTSUPP, NONE, "Failover is not for a Snapshot" });
	/* No table, no success. */
	ck_assert_int_eq(replica_operation_check(0, OP_SPLIT, COPY_SYNCHRONIZED, true, true,
						 &(uint8_t){ 0 }, NULL),
			 -EOPNOTSUPP);
}
END_TEST

/*
 * Of mirrors, each cell, as semantics has it: a CopyState's letter is where it leads, = stays, g is
 * gone, b EBUSY, n EOPNOTSUPP; a capital letter needs Force, and W and V do, to be Failedover and
 * Unsynchronized, if the target is in the middle of a copy.
 */
struct walk {
	enum replica_operation op;
	/* INI UNS SYN BRO FRA SPL INA SUS FOV PRE ABO SKW */
	const char *cells;
};

// clang-format off
static const struct walk mirrors[] = {
	{ OP_ABORT,                   "aabbbbaababb" },
	{ OP_ACTIVATE_CONSISTENCY,    "nnnnnnnnnnnn" },
	{ OP_ACTIVATE,                "u==bbbubbubb" },
	{ OP_ADD_SYNC_PAIR,           "nnnnnnnnnnnn" },
	{ OP_DEACTIVATE_CONSISTENCY,  "nnnnnnnnnnnn" },
	{ OP_DEACTIVATE,              "biibbb=bbbbI" },
	{ OP_DETACH,                  "gGggggggGggg" },
	{ OP_DISSOLVE,                "bbggggbbbbgg" },
	{ OP_FAILOVER,                "bWoWWobW=bWb" },
	{ OP_FAILBACK,                "bbbbbbbbubbb" },
	{ OP_FRACTURE,                "bFfbbbbbbbbb" },
	{ OP_REMOVE_SYNC_PAIR,        "nnnnnnnnnnnn" },
	{ OP_RESYNC_REPLICA,          "bbbuuubbbbuU" },
	{ OP_RESTORE_FROM_REPLICA,    "bbbbVubbbbbb" },
	{ OP_RESUME,                  "bbbbbbbubbbb" },
	{ OP_RESET_TO_SYNC,           "========b=b=" },
	{ OP_RESET_TO_ASYNC,          "========b=b=" },
	{ OP_RETURN_TO_RESOURCE_POOL, "nnnnnnnnnnnn" },
	{ OP_REVERSE_ROLES,           "bbsbVubbubbb" },
	{ OP_SPLIT,                   "bllbbbbbbbbb" },
	{ OP_SUSPEND,                 "bhhbbbb=bbbb" },
	{ OP_UNPREPARE,               "pppppppbb=pP" },
	{ OP_PREPARE,                 "pbbbbbbbb=bb" },
	{ OP_RESET_TO_ADAPTIVE,       "========b=b=" },
};
// clang-format on

static uint8_t meant(char cell)
{
	switch (cell) {
	case '=':
		return STAYS;
	case 'g':
		return GONE;
	case 'a':
		return COPY_ABORTED;
	case 'f':
		return COPY_FRACTURED;
	case 'h':
		return COPY_SUSPENDED;
	case 'i':
		return COPY_INACTIVE;
	case 'l':
		return COPY_SPLIT;
	case 'o':
	case 'w':
		return COPY_FAILEDOVER;
	case 's':
		return COPY_SYNCHRONIZED;
	case 'p':
		return COPY_PREPARED;
	case 'u':
	case 'v':
		return COPY_UNSYNCHRONIZED;
	}
	return NONE;
}

static void check_mirror(enum replica_operation op, enum copy_state from, char cell, bool whole,
			 bool force)
{
	bool can_need = strchr("AFGHILPUVW", cell);
	bool needs = can_need && !(strchr("VW", cell) && whole);
	int wanted = cell == 'b'       ? -EBUSY
		     : cell == 'n'     ? -EOPNOTSUPP
		     : needs && !force ? -EPERM
				       : 0;
	uint8_t leads = wanted ? NONE : meant(can_need ? cell + 'a' - 'A' : cell), next = NONE;
	struct why why = { .message = "" };
	int err = replica_operation_check(SYNC_MIRROR, op, from, whole, force, &next, &why);
	const char *loses = replica_operation_loses(SYNC_MIRROR, op, from, whole);

	ck_assert_msg(err == wanted && next == leads, "%s from %s: %d, %d, not %d, %d: %s",
		      enum_name(replica_operations, op), enum_name(copy_states, from), err, next,
		      wanted, leads, why.message);
	ck_assert(!err || *why.message);
	ck_assert(!loses == !needs);
	ck_assert(err != -EPERM || strstr(why.message, loses));
}

START_TEST(every_cell_of_mirrors)
{
	unsigned walked = 0;

	ck_assert_uint_eq(sizeof(mirrors) / sizeof(*mirrors), OP_MAX - OP_ABORT);
	for (size_t i = 0; i < sizeof(mirrors) / sizeof(*mirrors); i++) {
		ck_assert_uint_eq(mirrors[i].op, OP_ABORT + i);
		ck_assert_uint_eq(strlen(mirrors[i].cells), COPY_MIXED - COPY_INITIALIZED);
		for (uint32_t state = COPY_INITIALIZED; state < COPY_MIXED; state++) {
			char cell = mirrors[i].cells[state - COPY_INITIALIZED];

			walked++;
			for (unsigned how = 0; how < 4; how++)
				check_mirror(mirrors[i].op, state, cell, how & 1, how & 2);
		}
	}
	printf("table: mirrors, operations x states, %u of %u cells\n", walked,
	       (OP_MAX - OP_ABORT) * (COPY_MIXED - COPY_INITIALIZED));
}
END_TEST

static void says(enum replica_operation op, enum copy_state from, const char *message,
		 const char *advice)
{
	struct why why = { .message = "" };

	replica_operation_check(SYNC_MIRROR, op, from, false, false, &(uint8_t){ 0 }, &why);
	ck_assert_str_eq(why.message, message);
	ck_assert_str_eq(why.advice, advice);
}

START_TEST(refused_mirrors)
{
	says(OP_RESUME, COPY_SPLIT, "CopyState is Split; Resume needs Suspended", "ResyncReplica");
	says(OP_SPLIT, COPY_BROKEN, "CopyState is Broken; Split needs Unsynchronized, Synchronized",
	     "ResyncReplica");
	says(OP_RESYNC_REPLICA, COPY_SKEWED,
	     "CopyState is Skewed: what was written on the target would be lost",
	     "ResyncReplica with Force");
	says(OP_RESYNC_REPLICA, COPY_SUSPENDED,
	     "CopyState is Suspended; ResyncReplica needs Broken, Fractured, Split, Aborted, Skewed",
	     "Resume");
	says(OP_RESET_TO_SYNC, COPY_ABORTED,
	     "CopyState is Aborted; ResetToSync needs Initialized, Unsynchronized, Synchronized, "
	     "Broken, Fractured, Split, Inactive, Suspended, Prepared, Skewed",
	     "ResyncReplica");
	says(OP_RETURN_TO_RESOURCE_POOL, COPY_SPLIT, "ReturnToResourcePool is not for a Mirror",
	     "");
}
END_TEST

static void every_cell_of(enum sync_type type)
{
	for (uint32_t op = OP_ABORT; op < OP_MAX; op++) {
		for (uint32_t state = 0; state < COPY_STATE_MAX; state++) {
			struct why why = { .message = "" };
			uint8_t next = NONE;
			int err = replica_operation_check(type, op, state, true, true, &next, &why);

			if (enum_name(copy_states, state) == NULL) {
				ck_assert_int_ne(err, 0);
				continue;
			}
			ck_assert(err == 0 || err == -EBUSY || err == -EOPNOTSUPP);
			ck_assert(err ? *why.message : next != NONE);
			if (!err && next < COPY_STATE_MAX)
				ck_assert_ptr_nonnull(enum_name(copy_states, next));
		}
	}
}

/* Every cell says something: success or an errno with a reason. */
START_TEST(every_cell)
{
	every_cell_of(SYNC_MIRROR);
	every_cell_of(SYNC_SNAPSHOT);
	every_cell_of(SYNC_CLONE);
	every_cell_of(SYNC_TOKENIZED_CLONE);
}
END_TEST

/* The commands have the names and numbers of the enumeration, all of them. */
START_TEST(commands_and_numbers)
{
	for (uint32_t op = OP_ABORT; op < OP_MAX; op++) {
		const char *name = enum_name(replica_operations, op);
		const struct command *c = command_find(replica_commands, name);
		char number[8];

		ck_assert_ptr_nonnull(c);
		ck_assert_uint_eq(c->number, op);
		snprintf(number, sizeof(number), "%u", op);
		ck_assert_ptr_eq(command_find(replica_commands, number), c);
	}
	ck_assert_ptr_null(command_find(replica_commands, "26"));
	ck_assert_ptr_null(command_find(replica_commands, "1"));
	ck_assert_ptr_null(enum_name(replica_operations, OP_MAX));
	ck_assert_str_eq(enum_name(copy_states, 15), "Not Applicable");
	ck_assert_str_eq(enum_name(progress_statuses, 21), "Detaching");
	ck_assert_str_eq(enum_name(sync_states, 11), "Idle");
	ck_assert_str_eq(enum_name(copy_methodologies, 6), "Copy-On-Write");
	ck_assert_str_eq(enum_name(sync_types, 9), "TokenizedClone");
	ck_assert_str_eq(enum_name(replica_types, 5), "Log");
	ck_assert_str_eq(enum_name(copy_types, 4), "UnSyncAssoc");
	ck_assert_str_eq(enum_name(create_modes, 4), "Adaptive");
	ck_assert_ptr_null(enum_name(sync_modes, 4));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl operations");
	TCase *c = tcase_create("operations");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, possible);
	tcase_add_test(c, wrong_state);
	tcase_add_test(c, never);
	tcase_add_test(c, every_cell_of_mirrors);
	tcase_add_test(c, refused_mirrors);
	tcase_add_test(c, every_cell);
	tcase_add_test(c, commands_and_numbers);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "replica_operations.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

// clang-format off
#define NO_ NOT_NOW
#define STY STAYS
#define GON GONE
#define NS_ NOT_OF_THIS
#define LTR NOT_IN_THIS
#define FUL NEEDS_FULL_COPY
#define SYN COPY_SYNCHRONIZED
#define INA COPY_INACTIVE
#define UNS COPY_UNSYNCHRONIZED
#define SUS COPY_SUSPENDED
#define FRA COPY_FRACTURED
#define SPL COPY_SPLIT
#define PRE COPY_PREPARED
#define ABO COPY_ABORTED
#define FOV COPY_FAILEDOVER
#define SKW COPY_SKEWED
/* With Force only. */
#define FGO (WITH_FORCE | GONE)
#define FSY (WITH_FORCE | COPY_SYNCHRONIZED)
#define FUN (WITH_FORCE | COPY_UNSYNCHRONIZED)
#define FFR (WITH_FORCE | COPY_FRACTURED)
#define FIN (WITH_FORCE | COPY_INACTIVE)
#define FPR (WITH_FORCE | COPY_PREPARED)
/* With Force only, if the target is in the middle of a copy. */
#define WFO (UNLESS_WHOLE | COPY_FAILEDOVER)
#define WUN (UNLESS_WHOLE | COPY_UNSYNCHRONIZED)

typedef uint8_t operation_table[OP_MAX][COPY_STATE_MAX];

/*
 * Of snapshots. Theirs are the columns SYN, BRO, INA and SKW; an empty one fails. The
 * two columns before are no states, MIX and N/A are no states of one relationship.
 * SKW is one that was written: its own writes are not its moment.
 */
static const operation_table of_snapshots = {
  /* from:                             -    -   INI  UNS  SYN  BRO  FRA  SPL  INA  SUS  FOV  PRE  ABO  SKW */
  [OP_ABORT]                     = { NO_, NO_, NO_, NO_, SYN, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, SKW },
  /* there is a copy while its source is restored from it, also if it is written meanwhile: the source is
   * as before again */
  [OP_ACTIVATE_CONSISTENCY]      = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_ACTIVATE]                  = { NO_, NO_, NO_, NO_, STY, NO_, NO_, NO_, SYN, NO_, NO_, NO_, NO_, STY },
  /* INA → SYN   its moment is now. With ReadOnly=true SKW → SYN, and its own writes are lost */
  [OP_ADD_SYNC_PAIR]             = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_DEACTIVATE_CONSISTENCY]    = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_DEACTIVATE]                = { NO_, NO_, NO_, NO_, INA, NO_, NO_, NO_, STY, NO_, NO_, NO_, NO_, INA },
  /* → INA       its moment is given up, and its own writes; name and hold stay */
  [OP_DETACH]                    = { NO_, NO_, NO_, NO_, GON, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  /* once it is a full copy: a clone of its moment takes its place. BRO and INA have nothing to copy */
  [OP_DISSOLVE]                  = { NO_, NO_, NO_, NO_, LTR, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  /* Detach that remembers the common point: of use only to what could copy on from there */
  [OP_FAILOVER]                  = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_FAILBACK]                  = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_FRACTURE]                  = { NO_, NO_, NO_, NO_, LTR, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  [OP_REMOVE_SYNC_PAIR]          = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_RESYNC_REPLICA]            = { NO_, NO_, NO_, NO_, SYN, SYN, SYN, SYN, NO_, NO_, NO_, NO_, SYN, FSY },
  /* SYN → SYN   a new moment, now, under the old name; so also out of BRO */
  [OP_RESTORE_FROM_REPLICA]      = { NO_, NO_, NO_, NO_, SYN, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  /* SKW         what would be restored is not what whoever looks at it sees: its moment first */
  [OP_RESUME]                    = { NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, LTR, NO_, NO_, NO_, NO_ },
  /* nothing of a snapshot can be suspended, so none ever is */
  [OP_RESET_TO_SYNC]             = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_RESET_TO_ASYNC]            = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_RETURN_TO_RESOURCE_POOL]   = { NO_, NO_, GON, GON, GON, GON, GON, GON, GON, GON, GON, GON, GON, GON },
  [OP_REVERSE_ROLES]             = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_SPLIT]                     = { NO_, NO_, NO_, LTR, LTR, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  [OP_SUSPEND]                   = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_UNPREPARE]                 = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_PREPARE]                   = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_RESET_TO_ADAPTIVE]         = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
};

/*
 * Of clones that are not filled yet: UNS, BRO and SUS; one that is filled is a relationship no more.
 * Of tokens: PRE and BRO.
 */
static const operation_table of_clones = {
  /* from:                             -    -   INI  UNS  SYN  BRO  FRA  SPL  INA  SUS  FOV  PRE  ABO  SKW */
  [OP_ABORT]                     = { NO_, NO_, NO_, GON, NO_, GON, NO_, NO_, NO_, GON, NO_, GON, NO_, NO_ },
  /* the target goes with it: by itself it would be half a disk */
  [OP_ACTIVATE_CONSISTENCY]      = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_ACTIVATE]                  = { NO_, NO_, LTR, STY, STY, NO_, NO_, NO_, LTR, NO_, NO_, LTR, NO_, NO_ },
  [OP_ADD_SYNC_PAIR]             = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_DEACTIVATE_CONSISTENCY]    = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_DEACTIVATE]                = { NO_, NO_, NO_, LTR, LTR, NO_, NO_, NO_, STY, NO_, NO_, NO_, NO_, LTR },
  [OP_DETACH]                    = { NO_, NO_, NO_, FUL, GON, FUL, NO_, NO_, NO_, FUL, NO_, NO_, NO_, NO_ },
  /* by itself it would be half a disk; once it is filled it is detached */
  [OP_DISSOLVE]                  = { NO_, NO_, NO_, FUL, GON, FUL, NO_, NO_, NO_, FUL, NO_, NO_, NO_, NO_ },
  [OP_FAILOVER]                  = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_FAILBACK]                  = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_FRACTURE]                  = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_REMOVE_SYNC_PAIR]          = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_RESYNC_REPLICA]            = { NO_, NO_, NO_, NO_, LTR, LTR, LTR, LTR, NO_, NO_, NO_, NO_, LTR, LTR },
  [OP_RESTORE_FROM_REPLICA]      = { NO_, NO_, NO_, NO_, LTR, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, LTR },
  [OP_RESUME]                    = { NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, UNS, NO_, NO_, NO_, NO_ },
  /* SUS → UNS   it is filled on */
  [OP_RESET_TO_SYNC]             = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_RESET_TO_ASYNC]            = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_RETURN_TO_RESOURCE_POOL]   = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, GON, NS_, NS_ },
  /* a token only */
  [OP_REVERSE_ROLES]             = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_SPLIT]                     = { NO_, NO_, NO_, LTR, LTR, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  [OP_SUSPEND]                   = { NO_, NO_, NO_, SUS, NO_, NO_, NO_, NO_, NO_, STY, NO_, NO_, NO_, NO_ },
  /* UNS → SUS   it is used on, and filled by what is written only */
  [OP_UNPREPARE]                 = { NO_, NO_, LTR, LTR, LTR, LTR, NO_, NO_, LTR, NO_, NO_, LTR, LTR, NO_ },
  [OP_PREPARE]                   = { NO_, NO_, LTR, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  [OP_RESET_TO_ADAPTIVE]         = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
};

/*
 * Of mirrors. INI and PRE are those that were made so, with WaitForCopyState. SKW is a target that was written: what goes over that
 * needs Force, because nobody else has it.
 */
static const operation_table of_mirrors = {
  /* from:                             -    -   INI  UNS  SYN  BRO  FRA  SPL  INA  SUS  FOV  PRE  ABO  SKW */
  [OP_ABORT]                     = { NO_, NO_, ABO, ABO, NO_, NO_, NO_, NO_, ABO, ABO, NO_, ABO, NO_, NO_ },
  /* UNS → ABO   the copy ends where it is, or will not begin; in the others none runs nor waits */
  [OP_ACTIVATE_CONSISTENCY]      = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_ACTIVATE]                  = { NO_, NO_, UNS, STY, STY, NO_, NO_, NO_, UNS, NO_, NO_, UNS, NO_, NO_ },
  /* → UNS       what differs is copied */
  [OP_ADD_SYNC_PAIR]             = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  /* of groups, as the two of consistency and RemoveSyncPair */
  [OP_DEACTIVATE_CONSISTENCY]    = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_DEACTIVATE]                = { NO_, NO_, NO_, INA, INA, NO_, NO_, NO_, STY, NO_, NO_, NO_, NO_, FIN },
  /* UNS, SYN → INA   the target stays as it is. SKW forgets that it was written: Activate would go over it */
  [OP_DETACH]                    = { NO_, NO_, GON, FGO, GON, GON, GON, GON, GON, GON, FGO, GON, GON, GON },
  /* any at rest; UNS has half a copy, FOV what the source never got */
  [OP_DISSOLVE]                  = { NO_, NO_, NO_, NO_, GON, GON, GON, GON, NO_, NO_, NO_, NO_, GON, GON },
  /* the target lives on; where a copy waits to go on it is no disk to live on with: Detach */
  [OP_FAILOVER]                  = { NO_, NO_, NO_, WFO, FOV, WFO, WFO, FOV, NO_, WFO, STY, NO_, WFO, NO_ },
  /* → FOV       the source goes on in the target, which lacks what was written since it was the same */
  [OP_FAILBACK]                  = { NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, UNS, NO_, NO_, NO_ },
  /* FOV → UNS   what the target took is copied, then roles change back; FOV again if it fails */
  [OP_FRACTURE]                  = { NO_, NO_, NO_, FFR, FRA, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  /* UNS → FRA   in the middle of a copy: the target is no moment of its source */
  [OP_REMOVE_SYNC_PAIR]          = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_RESYNC_REPLICA]            = { NO_, NO_, NO_, NO_, NO_, UNS, UNS, UNS, NO_, NO_, NO_, NO_, UNS, FUN },
  /* → UNS   what differs is copied; of SKW also what was written on the target */
  [OP_RESTORE_FROM_REPLICA]      = { NO_, NO_, NO_, NO_, NO_, NO_, WUN, UNS, NO_, NO_, NO_, NO_, NO_, NO_ },
  /* → UNS       the source is at once what the target is; then as Failback */
  [OP_RESUME]                    = { NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, UNS, NO_, NO_, NO_, NO_ },
  /* SUS → UNS   what was written meanwhile is copied */
  [OP_RESET_TO_SYNC]             = { NO_, NO_, STY, STY, STY, STY, STY, STY, STY, STY, NO_, STY, NO_, STY },
  [OP_RESET_TO_ASYNC]            = { NO_, NO_, STY, STY, STY, STY, STY, STY, STY, STY, NO_, STY, NO_, STY },
  /* the state stays; ResetToSync of one that follows leads to UNS until it has caught up */
  [OP_RETURN_TO_RESOURCE_POOL]   = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  /* of snapshots and tokens: the target of a mirror is a disk, which DeleteDisk deletes */
  [OP_REVERSE_ROLES]             = { NO_, NO_, NO_, NO_, SYN, NO_, WUN, UNS, NO_, NO_, UNS, NO_, NO_, NO_ },
  /* SYN → SYN   while it is used; FOV → UNS what was the source is the target from now on */
  [OP_SPLIT]                     = { NO_, NO_, NO_, SPL, SPL, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  /* SYN → SPL   nothing is under way then; UNS is drained first, if that does not take long */
  [OP_SUSPEND]                   = { NO_, NO_, NO_, SUS, SUS, NO_, NO_, NO_, NO_, STY, NO_, NO_, NO_, NO_ },
  /* UNS, SYN → SUS   what is written is remembered, and copied after Resume */
  [OP_UNPREPARE]                 = { NO_, NO_, PRE, PRE, PRE, PRE, PRE, PRE, PRE, NO_, NO_, STY, PRE, FPR },
  /* → PRE   nothing is copied until Activate, which goes over what was written on SKW */
  [OP_PREPARE]                   = { NO_, NO_, PRE, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, STY, NO_, NO_ },
  /* INI → PRE   nothing is copied yet in either */
  [OP_RESET_TO_ADAPTIVE]         = { NO_, NO_, STY, STY, STY, STY, STY, STY, STY, STY, NO_, STY, NO_, STY },
  /* as the other two */
};

/* What leads on, for who was refused. */
static const char *const way_out[COPY_STATE_MAX] = {
	[COPY_INITIALIZED] = "Activate",
	[COPY_BROKEN]      = "ResyncReplica",
	[COPY_FRACTURED]   = "ResyncReplica",
	[COPY_SPLIT]       = "ResyncReplica",
	[COPY_INACTIVE]    = "Activate",
	[COPY_SUSPENDED]   = "Resume",
	[COPY_FAILEDOVER]  = "Failback",
	[COPY_PREPARED]    = "Activate",
	[COPY_ABORTED]     = "ResyncReplica",
	[COPY_SKEWED]      = "ResyncReplica",
};
// clang-format on

static const operation_table *table_of(enum sync_type type)
{
	if (type == SYNC_MIRROR)
		return &of_mirrors;
	if (type == SYNC_CLONE || type == SYNC_TOKENIZED_CLONE)
		return &of_clones;
	return type == SYNC_SNAPSHOT ? &of_snapshots : NULL;
}

/* What is lost, by the state that it is in; nothing else ever is. */
static const char *const at_stake[COPY_STATE_MAX] = {
	[COPY_UNSYNCHRONIZED] = "a copy is under way, and the target would be half a disk",
	[COPY_FAILEDOVER] = "what was written to the target would never get to its source",
	[COPY_SKEWED] = "what was written on the target would be lost",
};

/* "Synchronized, Broken": the states from which it leads somewhere; none may. */
static size_t list_states(const uint8_t *row, bool stays, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (uint32_t s = COPY_INITIALIZED; s < COPY_STATE_MAX && len < size; s++) {
		if (row[s] != NOT_NOW && (row[s] == STAYS) == stays)
			len += snprintf(buf + len, size - len, "%s%s", len ? ", " : "",
					enum_name(copy_states, s));
	}
	return len;
}

static int refuse_now(const uint8_t *row, const char *op, enum sync_type type, enum copy_state from,
		      struct why *why)
{
	const char *state = enum_name(copy_states, from), *way = way_out[from];
	char states[200];
	int err;

	if (list_states(row, false, states, sizeof(states)) ||
	    list_states(row, true, states, sizeof(states)))
		err = refuse(why, -EBUSY, "CopyState is %s; %s needs %s", state, op, states);
	else
		err = refuse(why, -EBUSY, "CopyState is %s; nothing is running", state);
	if (type == SYNC_SNAPSHOT &&
	    from == COPY_SKEWED) /* ResyncReplica would lose its moment too */
		way = "Activate ReadOnly=true with Force";
	if (why && way)
		snprintf(why->advice, sizeof(why->advice), "%s", way);
	return err;
}

static uint8_t cell_of(enum sync_type type, enum replica_operation op, enum copy_state from)
{
	const operation_table *table = table_of(type);

	return table ? (*table)[op][from] : NOT_OF_THIS;
}

const char *replica_operation_loses(enum sync_type type, enum replica_operation op,
				    enum copy_state from, bool whole)
{
	uint8_t cell = cell_of(type, op, from);

	if (cell & UNLESS_WHOLE && !whole)
		return "the target is in the middle of a copy, and the disk would be half of it";
	return cell & WITH_FORCE ? at_stake[from] : NULL;
}

int replica_operation_check(enum sync_type type, enum replica_operation op, enum copy_state from,
			    bool whole, bool force, uint8_t *next, struct why *why)
{
	const operation_table *table = table_of(type);
	const char *name = enum_name(replica_operations, op), *of = enum_name(sync_types, type);
	const char *loses = replica_operation_loses(type, op, from, whole);
	uint8_t cell = cell_of(type, op, from);

	switch (cell) {
	case NOT_NOW:
		return refuse_now((*table)[op], name, type, from, why);
	case NOT_OF_THIS:
		return refuse(why, -EOPNOTSUPP, "%s is not for a %s", name, of);
	case NOT_IN_THIS:
		return refuse_advise(why, -EOPNOTSUPP, op == OP_DISSOLVE ? "Detach" : "",
				     "tandemfs %s has no %s of a %s", TANDEMFS_VERSION, name, of);
	case NEEDS_FULL_COPY:
		return refuse_advise(why, -EBUSY, "Abort, which deletes its target",
				     "a %s that is no full copy is nothing without its source", of);
	}
	if (loses && !force) {
		char advice[40];

		snprintf(advice, sizeof(advice), "%s with Force", name);
		return refuse_advise(why, -EPERM, advice, "CopyState is %s: %s",
				     enum_name(copy_states, from), loses);
	}
	*next = cell & ~(WITH_FORCE | UNLESS_WHOLE);
	return 0;
}

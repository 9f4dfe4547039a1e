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

typedef uint8_t operation_table[OP_MAX][COPY_STATE_MAX];

/*
 * Of snapshots. Theirs are the columns SYN, BRO and INA; an empty one fails. The
 * two columns before are no states, MIX and N/A are no states of one relationship.
 */
static const operation_table of_snapshots = {
  /* from:                             -    -   INI  UNS  SYN  BRO  FRA  SPL  INA  SUS  FOV  PRE  ABO  SKW */
  [OP_ABORT]                     = { NO_, NO_, NO_, NO_, SYN, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  /* SYN → SYN   there is a copy while its source is restored from it: that is as before again */
  [OP_ACTIVATE_CONSISTENCY]      = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_ACTIVATE]                  = { NO_, NO_, NO_, NO_, STY, NO_, NO_, NO_, SYN, NO_, NO_, NO_, NO_, NO_ },
  /* INA → SYN   its moment is now */
  [OP_ADD_SYNC_PAIR]             = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_DEACTIVATE_CONSISTENCY]    = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_DEACTIVATE]                = { NO_, NO_, NO_, NO_, INA, NO_, NO_, NO_, STY, NO_, NO_, NO_, NO_, NO_ },
  /* SYN → INA   its moment is given up, name and hold stay */
  [OP_DETACH]                    = { NO_, NO_, NO_, NO_, GON, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  /* once it is a full copy: a clone of its moment takes its place. BRO and INA have nothing to copy */
  [OP_DISSOLVE]                  = { NO_, NO_, NO_, NO_, LTR, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  /* Detach that remembers the common point: of use only to what could copy on from there */
  [OP_FAILOVER]                  = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_FAILBACK]                  = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_FRACTURE]                  = { NO_, NO_, NO_, NO_, LTR, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_ },
  [OP_REMOVE_SYNC_PAIR]          = { NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_, NS_ },
  [OP_RESYNC_REPLICA]            = { NO_, NO_, NO_, NO_, SYN, SYN, SYN, SYN, NO_, NO_, NO_, NO_, SYN, SYN },
  /* SYN → SYN   a new moment, now, under the old name; so also out of BRO */
  [OP_RESTORE_FROM_REPLICA]      = { NO_, NO_, NO_, NO_, SYN, NO_, NO_, NO_, NO_, NO_, NO_, NO_, NO_, LTR },
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
	if (type == SYNC_CLONE || type == SYNC_TOKENIZED_CLONE)
		return &of_clones;
	return type == SYNC_SNAPSHOT ? &of_snapshots : NULL;
}

/* "Synchronized, Broken": the states from which it is possible; empty when there is none. */
static const char *needed(const uint8_t *row, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (uint32_t s = COPY_INITIALIZED; s < COPY_STATE_MAX && len < size; s++) {
		if (row[s] != NOT_NOW && row[s] != STAYS)
			len += snprintf(buf + len, size - len, "%s%s", len ? ", " : "",
					enum_name(copy_states, s));
	}
	return buf;
}

static int refuse_now(const uint8_t *row, const char *op, enum copy_state from, struct why *why)
{
	const char *state = enum_name(copy_states, from), *way = way_out[from];
	char states[200];
	int err;

	if (*needed(row, states, sizeof(states)))
		err = refuse(why, -EBUSY, "CopyState is %s; %s needs %s", state, op, states);
	else
		err = refuse(why, -EBUSY, "CopyState is %s; nothing is running", state);
	if (why && way)
		snprintf(why->advice, sizeof(why->advice), "%s", way);
	return err;
}

int replica_operation_check(enum sync_type type, enum replica_operation op, enum copy_state from,
			    uint8_t *next, struct why *why)
{
	const operation_table *table = table_of(type);
	const char *name = enum_name(replica_operations, op), *of = enum_name(sync_types, type);
	uint8_t cell = table ? (*table)[op][from] : NOT_OF_THIS;

	switch (cell) {
	case NOT_NOW:
		return refuse_now((*table)[op], name, from, why);
	case NOT_OF_THIS:
		return refuse(why, -EOPNOTSUPP, "%s is not for a %s", name, of);
	case NOT_IN_THIS:
		return refuse_advise(why, -EOPNOTSUPP, op == OP_DISSOLVE ? "Detach" : "",
				     "tandemfs %s has no %s of a %s", TANDEMFS_VERSION, name, of);
	case NEEDS_FULL_COPY:
		return refuse_advise(why, -EBUSY, "Abort, which deletes its target",
				     "a %s that is no full copy is nothing without its source", of);
	}
	*next = cell;
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What may follow what: which operation is possible in which CopyState, and where
 * it leads. The tables give the next state only. What else stands in the way
 * (somebody has it open, it is held) is for who does the operation. Pure.
 */
#ifndef TANDEMFS_REPLICA_OPERATIONS_H
#define TANDEMFS_REPLICA_OPERATIONS_H

#include <stdbool.h>

#include "enumerations.h"
#include "why.h"

/* What a table has for an operation in a state, beside the number of a CopyState. */
enum transition {
	NOT_NOW = 0,        /* in other states it is possible, or nothing is there to be done */
	STAYS = 32,         /* it is already where the operation leads: success, nothing done */
	GONE,               /* the relationship ends */
	NOT_OF_THIS,        /* never with this SyncType */
	NOT_IN_THIS,        /* this version cannot do it */
	NEEDS_FULL_COPY,    /* the target is no disk without its source */
	WITH_FORCE = 64,    /* a bit, beside GONE or a CopyState: something would be lost */
	UNLESS_WHOLE = 128, /* likewise: so if the target is in the middle of a copy */
};

/*
 * whole: the target is one moment of its source. *next is STAYS, GONE or a CopyState. -EOPNOTSUPP, -EBUSY, and -EPERM without force, with
 * why.
 */
int replica_operation_check(enum sync_type type, enum replica_operation op, enum copy_state from,
			    bool whole, bool force, uint8_t *next, struct why *why);

/* What would be lost: it needs Force. NULL: nothing. */
const char *replica_operation_loses(enum sync_type type, enum replica_operation op,
				    enum copy_state from, bool whole);

#endif

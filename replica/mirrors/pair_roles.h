/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What pair_roles.c and its checks share. */
#ifndef TANDEMFS_PAIR_ROLES_H
#define TANDEMFS_PAIR_ROLES_H

#include "operations.h"
#include "pair_swap.h"
#include "pairs_inner.h"

struct roles {
	struct pair *p;
	enum replica_operation op;
	bool force;
	struct disk *source, *target; /* references */
	bool used;                    /* both are open */
	bool ours;                    /* by us as well */
	struct disk *to;              /* the target, which the mirror does not need any more */
	struct pair_record r, next;   /* what is recorded, and is to be */
	struct swap swap;
	bool swaps, swapped; /* they are to change places at once; they have */
	bool plan, stopped;  /* nothing is done; its cycles are stopped */
	bool met;            /* they are, by async_meet, until who called that releases it */
	/* While nobody uses them: */
	bool flushed;  /* the source has everything, durably */
	bool differ;   /* something is marked */
	bool outdated; /* because the target was not given what was answered */
};

/*
 * Checks, with discovery and changing. It is in this state still, of which c->r and c->next are set;
 * the disks as they are; what is lost or turns up in them, as c->differ and c->outdated say; the target
 * is one moment; what is copied back may be.
 */
int roles_check_state(struct roles *c, enum copy_state from, struct why *why);
int roles_check_disks(struct roles *c, struct why *why);
int roles_check_content(struct roles *c, struct why *why);
int roles_check_whole(struct roles *c, struct why *why);
int roles_check_copy_back(struct roles *c, struct why *why);

#endif

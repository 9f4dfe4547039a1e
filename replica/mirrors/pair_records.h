/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the catalogue knows of mirrors. Changes are made in a transaction. 0 or -errno. */
#ifndef TANDEMFS_PAIR_RECORDS_H
#define TANDEMFS_PAIR_RECORDS_H

#include "catalogue.h"

struct pair_record {
	uint32_t number;         /* catalogue_new_number() */
	uint32_t source, target; /* disks */
	uint64_t sync_time_ms;   /* when they were in step last; 0: never */
	uint64_t verified_ms;    /* when a proof began that they are the same; 0: never */
	uint8_t copy_state;      /* CopyState's number */
	uint8_t mode, priority;
	bool stops_host_io; /* without its target the source takes no writes */
	bool read_only;     /* clients do not write its target */
	bool pending;       /* what it is a part of is not complete: the next start takes it back */
	bool manual;        /* after a crash or a failure somebody has to say Resume */
	bool first;         /* it was never in step: the target is no disk yet */
	bool moves;         /* by MirrorVirtualDisk: the disk is to have the target's image */
	bool whole;         /* the target is one moment of its source, and no copy went on since */
	/* After a Failover: what was the source is the target now. */
	bool diverged; /* it was given what its target was not */
	bool back;     /* it is copied to, and is the source again once that is complete */
	bool restores; /* likewise, by RestoreFromReplica */
	bool written;  /* by clients, the target: no moment of its source, until it is copied */
	bool at_flush; /* of a synchronous one: AcknowledgeAt=Flush */
	uint8_t provisioning; /* of the target: enum provisioning */
	bool adaptive;        /* its mode follows from what differs */
	bool verifies;        /* a proof is to be made, also after a restart */
	bool rewritten; /* others wrote its target: all of it differs, and its marks may not say so yet */
	bool steady; /* of an asynchronous one: the target is read as some moment of its source */
	uint32_t objective_s; /* likewise, and of an adaptive one: RecoveryPointObjective */
	uint64_t shows; /* likewise: this generation of its past is that moment; 0: what it holds */
	uint64_t of;    /* likewise: which generation of its source that is; 0: nobody knows */
	uint64_t skew_limit; /* of an adaptive one: SkewLimit */
	char name[201];      /* under replicas/ */
};
int pair_put(struct catalogue_txn *txn, const struct pair_record *r);
int pair_del(struct catalogue_txn *txn, uint32_t number);
/* By number. fn must not write. */
/* Recorded they are the same. */
bool pair_record_is(const struct pair_record *a, const struct pair_record *b);
int pairs_each(struct catalogue *c, int (*fn)(void *arg, const struct pair_record *r), void *arg);

#endif

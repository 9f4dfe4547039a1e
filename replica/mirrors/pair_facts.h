/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What becomes of a mirror by itself: which fact leads from which CopyState to which. Pure. */
#ifndef TANDEMFS_PAIR_FACTS_H
#define TANDEMFS_PAIR_FACTS_H

#include "enumerations.h"
#include "pair_records.h"

enum pair_fact {
	FACT_NONE,           /* 0 is never right */
	FACT_TARGET_LOST,    /* the target failed, is full, or is not there */
	FACT_TARGET_TRIED,   /* it is time to try again whether it is back */
	FACT_DIFFERS,        /* something is marked: the source failed, or both by a crash */
	FACT_COPIED,         /* nothing is, and that is durable */
	FACT_TARGET_WRITTEN, /* by a client */
	FACT_TARGET_CHANGED, /* by another program, in its directory */
	FACT_CRASHED,        /* the daemon started after one, or after a power cut */
	FACT_MAX
};

/* "TargetLost", ...; for tests and the manual. */
const char *pair_fact_name(enum pair_fact fact);
/*
 * *r is what is to be recorded then. false: nothing follows from it. Not for FACT_COPIED of one
 * that goes back, which changes roles.
 */
bool pair_follow(enum pair_fact fact, struct pair_record *r);

#endif

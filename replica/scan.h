/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looking at the directories and making the set of disks agree with what is
 * there. Whatever hint led here, the decision is made from what is found.
 * Everything with discovery held.
 */
#ifndef TANDEMFS_SCAN_H
#define TANDEMFS_SCAN_H

#include "tandem.h"

enum scan_hint {
	SCAN_LOOK,    /* nothing special is known */
	SCAN_CLOSED,  /* somebody closed it who could have written */
	SCAN_STARTUP, /* the first look of this daemon, after a clean stop */
};

/* One name in a pool's directory. */
int scan_name(struct tandem *t, struct pool *p, const char *name, enum scan_hint hint);
/*
 * One that was just made. record (may be NULL) puts more into the transaction in which the disk is
 * recorded; then it may be called FILE.incomplete.
 */
int scan_new(struct tandem *t, struct pool *p, const char *name,
	     int (*record)(void *arg, struct catalogue_txn *txn, struct disk *d), void *arg);
/* All names, and the disks whose files are gone. A transaction for all, and one for clones. */
int scan_pool(struct tandem *t, struct pool *p, enum scan_hint hint);
/* After all pools, at the start: disks with a past whose images were not found are Missing. */
int scan_missing(struct tandem *t);
/* Its image is no longer in the directory. */
void scan_vanished(struct tandem *t, struct disk *d);
/* What a state that is not Ready had to wait for: its last client, or somebody to record it. */
void scan_settle(struct tandem *t, struct disk *d);
/* The image as it is now is the truth. Not while anything but a flat format is open. */
int scan_reload(struct tandem *t, struct disk *d);
#define MISSING_WITH_PAST "the image is gone from its directory, and something of its past is kept"
#define MISSING_WITH_NAME "the image is gone from its directory, and the disk was moved to it"
#define MISSING_SOURCE "the image is gone from its directory, and it has a mirror: Failover"
#define MISSING_TARGET "the image is gone from its directory, and it is the target of a mirror"
#define MISSING_MEMBER "the image is gone from its directory, and the disk is in a group"

/* DiskAdded, of one that is listed now. */
void scan_announce(struct tandem *t, struct disk *d);
/* The record as it should be now. */
void scan_record(struct disk *d, struct disk_record *out);

#endif

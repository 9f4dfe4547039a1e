/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * With --confine a daemon has DISKDIR, the state and the directories of --pool, and the programs of
 * the system: guests have written what it reads. The holder decides that, by its command line and
 * before there is a daemon; each of them is confined before it does anything, also before it opens
 * the catalogue, which the one before it could write. What needs more, mounting and unmounting, the
 * holder does.
 */
#ifndef TANDEMFS_CONFINEMENT_H
#define TANDEMFS_CONFINEMENT_H

#include "options.h"
#include "why.h"

/* In the holder: *ruleset is a descriptor, for all daemons. -errno, and why: it cannot be had. */
int confinement_new(const struct options *o, int *ruleset, struct why *why);
/* In the child that becomes a daemon, while it has one thread. 0 or -errno. */
int confinement_enter(int ruleset);

/* Nobody else reads our memory, in a core dump or otherwise. */
void confinement_hide_memory(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pools of the catalogue, and the directories that are at their paths. Under discovery. */
#ifndef TANDEMFS_POOL_KNOWN_H
#define TANDEMFS_POOL_KNOWN_H

#include "tandem.h"

int pool_put_record(struct tandem *t, const struct pool *p);
/* Gives an open directory an identity, durably, before it is recorded; none where that cannot be. */
void pool_identify(const struct tandem *t, struct pool *p);
/* Opens and watches one that is recorded, if its directory is the pool; else an event says why not. */
int pool_open_known(struct tandem *t, struct pool *p, struct why *why);

#endif

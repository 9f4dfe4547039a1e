/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Space in the file system of the state. Old content may take what nobody else needs, and a write
 * never fails for want of what it takes: then it is given up. See space.c.
 */
#ifndef TANDEMFS_SPACE_H
#define TANDEMFS_SPACE_H

#include "tandem.h"

/* Of one request: what space_make knows of its attempts. Begins before the first. */
struct space_attempts {
	uint64_t made;
	unsigned vain;
};
struct space_attempts space_attempts(const struct tandem *t);
/*
 * An attempt of this disk failed with err; 0: there may be space for it now, try again. Else err: it
 * is not for want of space, or nothing is left that could be given up. Waits. With no lock and no
 * range held, and no transaction open.
 */
int space_make(struct disk *d, int err, struct space_attempts *a);
/*
 * The file system of the state, and the old contents of all disks that are there; of what began to be
 * kept while it was watched all counts, and what was given up against it.
 */
struct store_facts {
	uint64_t free;      /* bytes, as looked at last; UINT64_MAX: unknown */
	bool growth_known;  /* else it was not watched for long enough */
	int64_t growth;     /* bytes in an hour */
	uint64_t growth_ns; /* watched for so long */
	uint64_t full_in_s; /* at that growth; UINT64_MAX: unknown, or it does not grow */
};
void store_facts(struct tandem *t, struct store_facts *out);
/* There is little: kept history is being given up. */
bool space_is_low(const struct tandem *t);

#endif

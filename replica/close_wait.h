/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel tells of a close a moment after close() returned, so what follows may overtake it and
 * find the disk open still. Whoever is refused for that tries again with each close, and a last time
 * when a quarter of a second is over. A close that is under way is waited for for longer: what it
 * writes takes as long as the device does.
 *
 *   close_wait_begin(&w, t);
 *   do
 *           err = what may be refused(..., &why);
 *   while (close_wait_again(&w, err, &why));
 *
 * What is refused has changed nothing, so each try is a new one. It is waited with no lock held.
 */
#ifndef TANDEMFS_CLOSE_WAIT_H
#define TANDEMFS_CLOSE_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "why.h"

struct disk;
struct tandem;

struct close_wait {
	struct tandem *t;
	uint64_t start, tried; /* CLOCK_MONOTONIC; when the last try began */
	uint64_t closes;       /* by others, until then */
};

void close_wait_begin(struct close_wait *w, struct tandem *t);
/* false: that is the answer, or it is not because of an opener. *why is empty if true. */
bool close_wait_again(struct close_wait *w, int err, struct why *why);

/* `refuse(while_open(d, why), ...)`: for no other reason than that somebody has d open, -EBUSY. */
struct why *while_open(struct disk *d, struct why *why);

/* Something is not open any more. With no lock that anybody waits with. */
void closes_tell(struct tandem *t);

#endif

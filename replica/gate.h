/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may occupy a thread with one disk's requests. A disk whose backing store
 * is stuck would otherwise take every worker with it, and nobody could even
 * read a status. A request over the limit is parked, in order, without a
 * thread; whoever finishes one takes the next.
 */
#ifndef TANDEMFS_GATE_H
#define TANDEMFS_GATE_H

#include "clock.h"

struct gate_item {
	struct gate_item *next, **link;
	uint64_t since; /* CLOCK_MONOTONIC, nanoseconds: when it came */
};

struct gate {
	pthread_mutex_t mutex;
	unsigned limit, running;
	uint64_t came;            /* requests, ever */
	struct gate_item *active; /* running now, newest first */
	struct gate_item *parked, **parked_last;
};

void gate_init(struct gate *g, unsigned limit);
void gate_destroy(struct gate *g);
/* True: run it now, then call gate_leave. False: parked, another thread will run it. */
bool gate_enter(struct gate *g, struct gate_item *item);
/* The same with a lower limit, at least 1, for when threads are short. */
bool gate_enter_few(struct gate *g, struct gate_item *item, unsigned limit);
/* The item is done. Returns the next to run, which has entered, or NULL. */
struct gate_item *gate_leave(struct gate *g, struct gate_item *done);
/* Some are under way, or parked; and how many came ever. */
bool gate_is_busy(struct gate *g, uint64_t *came);
/* How long the oldest request has been with us, in nanoseconds; 0 when idle. */
uint64_t gate_oldest(struct gate *g, uint64_t now);

#endif

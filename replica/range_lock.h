/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks on byte ranges of one disk. Writers of overlapping ranges come one
 * after the other, readers see all of a write or nothing of it. Ranges are
 * widened to RANGE_LOCK_GRAIN, so that a cached and a direct request never
 * share a page. First come, first served: nobody starves.
 */
#ifndef TANDEMFS_RANGE_LOCK_H
#define TANDEMFS_RANGE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define RANGE_LOCK_GRAIN 4096

/* One holder or waiter; lives on the stack of its thread. */
struct range {
	uint64_t start, end; /* end is past the last byte */
	bool exclusive, granted;
	struct range *next, **link;
};

struct range_lock {
	pthread_mutex_t mutex;
	pthread_cond_t released;
	struct range *first, **last; /* in the order they came */
	unsigned waiting;
};

void range_lock_init(struct range_lock *l);
void range_lock_destroy(struct range_lock *l);
/* Waits until nobody who came before holds or wants a conflicting range. */
void range_lock_read(struct range_lock *l, struct range *r, uint64_t off, uint64_t len);
void range_lock_write(struct range_lock *l, struct range *r, uint64_t off, uint64_t len);
void range_unlock(struct range_lock *l, struct range *r);

#endif

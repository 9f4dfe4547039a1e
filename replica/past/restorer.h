/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread that fills a disk behind a restore, for restores.c and restore_abort.c;
 * nobody else includes it.
 */
#ifndef TANDEMFS_RESTORER_H
#define TANDEMFS_RESTORER_H

#include "clones_inner.h"
#include "enumerations.h"

enum restorer_state {
	RESTORER_FILLS,
	RESTORER_HALTED,
	RESTORER_OVER, /* only its thread is still to be joined */
};

struct restorer {
	struct restorer *next;
	struct disk *d;                 /* open, and a reference */
	struct history_restore restore; /* both moments pinned */
	bool back;                      /* it is the abort of one: its second moment is hidden */
	uint64_t written;               /* restorer_written() when it began; UINT64_MAX: unknown */
	pthread_t thread;
	_Atomic uint64_t done, total;
	_Atomic uint32_t job;        /* 0: it has none */
	uint64_t step, told, copied; /* its thread's: of its next turn, and when the last began */
	atomic_bool cancelled;       /* set before its range is free: it never began */
	_Atomic bool wanted;         /* somebody wants it to halt; changes under restoring */
	enum restorer_state state;   /* under restoring */
	int error;                   /* its thread's: why it ended without being complete; 0 */
};

/*
 * Its thread. If it is not to wait for its range, the restore is recorded, the disk
 * open, and both moments are pinned; what it cannot complete before the stop, they stay. written: as
 * above.
 */
int restorer_start(struct disk *d, const struct history_restore *restore, bool back,
		   uint64_t written, struct restorer **out);
/* Waits for those of a disk, or (NULL) of all. Why one of them is not complete, or 0. */
int restorers_end(struct snapshots *s, const struct disk *d);
/*
 * The restorer of a disk, which stands still until restorer_go_on, and may be given another
 * restore meanwhile. -ENOENT: there is none, or it has ended. -EBUSY: somebody else has it.
 */
int restorer_halt(struct disk *d, struct restorer **out);
void restorer_go_on(struct restorer *r);
/* While it is halted: it aborts its restore by this one. */
void restorer_turn(struct restorer *r, const struct history_restore *restore);
/* A disk has one that has not ended. */
bool restorer_follows(struct disk *d);
/* How many requests of clients may have changed the disk since the daemon began. */
uint64_t restorer_written(struct disk *d);
/* Before its range is free, or it goes on. 0: it has none. */
void restorer_begin_job(struct restorer *r, uint32_t number);
void restorer_end_job(struct restorer *r, enum job_state state);

/* With the whole range locked: nothing is pending, nothing unflushed, and nobody writes. */
int restore_quiet(struct disk *d, struct why *why);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files behind clones.h share with snapshots.c and past_loss.c; nobody else includes it. */
#ifndef TANDEMFS_CLONES_INNER_H
#define TANDEMFS_CLONES_INNER_H

#include "clones.h"
#include "snapshots_inner.h"

struct clone {
	struct clone *next;
	struct clone_record r; /* number 0: it is being made, and keeps its name and moment */
	bool filled;           /* only its number is known still */
	/* The filler; under managing. */
	pthread_t thread;
	bool runs, held; /* held: nobody may start it */
	/* Its own. */
	_Atomic bool stop;
	_Atomic int error;
	_Atomic uint32_t job; /* 0: it has none. Its number is the relationship's */
	struct clones *of;
};

/* None is ever taken out of the list before the daemon ends. */
struct clones {
	struct snapshots *s;
	pthread_mutex_t lock; /* a leaf */
	struct clone *list;
	pthread_cond_t changed;   /* a filler is to stop */
	pthread_mutex_t managing; /* who starts and ends fillers; a filler never takes it */
	bool ending;              /* under managing */
};

/* ---- clones.c ---- */

int clones_new(struct snapshots *s, struct clones **out);
void clones_free(struct clones *c);
/* How many need that moment. Under changing it stays so. */
uint32_t clones_names(struct clones *c, uint32_t source, uint64_t generation);
/* The one that fills this disk, or has this number. Under changing it stays. NULL. */
struct clone *clone_of_target(struct clones *c, uint32_t target);
struct clone *clone_of_number(struct clones *c, uint32_t number);
/* From Unsynchronized to Synchronized, ... */
void clone_announce(struct clone *c, const char *from, const char *to);
/* Bytes of its target that it does not lack. */
uint64_t clone_done(struct tandem *t, const struct clone_record *r);

/*
 * It is filled, which takes a snapshot's place, or goes: in a transaction; and after the commit.
 * Under changing.
 */
int clone_record_end(struct clone *c, struct catalogue_txn *txn, bool filled);
void clone_ended(struct clone *c);
/*
 * Of one that takes a snapshot's place, around the transaction in which it is filled, under
 * changing: the snapshot goes. -EBUSY: somebody reads it.
 */
int clone_replace_begin(struct clone *c);
void clone_replace_end(struct clone *c, int err);

/* ---- clone_names.c ---- */

/* [POOL:]FILE of a path in one of our directories, or of what is called so. */
int clone_name_target(struct tandem *t, const char *target, char name[DISK_LABEL_MAX + 1],
		      struct why *why);
/*
 * A free one, after the source's: STEM-AFTER, then STEM-AFTER-2 and so on; without `after` it is
 * STEM-1. pool NULL: the source's own. format NULL: as the source's ending.
 */
int clone_make_up_target(struct disk *source, const char *pool, const char *after,
			 const char *format, char name[DISK_LABEL_MAX + 1], struct why *why);

/*
 * Under changing, in a transaction: the disk goes, or its moments are not to be trusted. What
 * is filled into it is let go of, what is filled from it is Broken. And after the commit.
 */
int clones_record_loss(struct disk *d, struct catalogue_txn *txn, bool deleted);
void clones_lose(struct disk *d, bool deleted);

/* ---- clone_filler.c ---- */

/* At the start, after restores. */
void clones_start(struct clones *c);
/* Instead, where nobody is served: all that a filler would fill. */
int clones_complete(struct clones *c, struct why *why);
/* All fillers have ended; none begins. */
void clones_stop(struct clones *c);
void filler_start(struct clone *c);
/* One that somebody fills, or is to after Resume, is a job from now on, of that disk. */
void filler_begin_job(struct clone *c);
/* hold: none begins until filler_release. */
void filler_stop(struct clone *c, bool hold);
void filler_release(struct clone *c);

#endif

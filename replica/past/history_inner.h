/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of history share; nobody else includes it. */
#ifndef TANDEMFS_HISTORY_INNER_H
#define TANDEMFS_HISTORY_INNER_H

#include "direct_map.h"
#include "history.h"
#include "pending.h"
#include "tandem.h"

/* A write under way, on its thread's stack. */
struct ongoing_write {
	uint64_t generation;
	uint64_t begin; /* its records are at this place of the log or later */
	struct ongoing_write *next, **link;
};

/* A reader of the log: what is there from `begin` on stays. */
struct ongoing_read {
	uint64_t begin;
	struct ongoing_read *next, **link;
};

struct pin {
	uint64_t generation;
	unsigned count, lent; /* lent: of these, who can do without */
};

/* Memory of the contents of one batch, and how many blocks it may have. */
#define SETTLE_ARENA (16u << 20)
#define SETTLE_BLOCKS_MAX 2048u

/* What a batch goes through. A later one is behind it. */
enum settle_stage {
	SETTLE_LOAD,   /* is chosen, and what is to be saved is read */
	SETTLE_SAVE,   /* into the store, not durably; and the new content is made */
	SETTLE_FLUSH,  /* and that is durable */
	SETTLE_RECORD, /* into the catalogue */
	SETTLE_IMAGE,  /* into the image */
	SETTLE_STAGES
};

struct history {
	struct disk *disk;
	uint32_t block_size;
	uint64_t log_max; /* unsettled bytes beyond which writers wait */
	struct segments *log, *store;

	pthread_mutex_t lock;
	pthread_cond_t ended;   /* a write; whoever waits for it counts in awaiting */
	pthread_cond_t room;    /* in the log, or there won't be any */
	pthread_cond_t changed; /* for the settler, and who waits for a batch */
	unsigned awaiting;
	/* Under lock. */
	struct moment_record *moments; /* kept ones, by generation */
	size_t moment_count, moment_room;
	struct pin *pins;
	size_t pin_count, pin_room;
	uint64_t newest; /* generation of the newest moment; 0 */
	bool written;    /* since then */
	struct direct_map direct;
	struct pending pending;
	struct ongoing_write *writes;
	struct ongoing_read *reads;
	struct history_window window;
	/* Changes with the whole range locked too: whoever has a range needs no lock. */
	struct history_restore restore;
	bool restore_kept;               /* its moments are pinned for no restorer; under lock */
	_Atomic(struct origin *) origin; /* see origin.c */
	_Atomic uint64_t copied;         /* to fill it; needs no lock */
	_Atomic uint64_t shown, seen;    /* see history_show; changed under the disk's opening */
	_Atomic uint64_t durable_size;   /* the image is durably at least as long; needs no lock */
	uint64_t settled;     /* every record before this place is in the image, durably */
	uint64_t recorded;    /* what the catalogue has of it */
	uint64_t swept;       /* see struct track_record */
	uint64_t trimmed;     /* the log's space before this place was given back */
	struct growth growth; /* of what the store takes */
	int settle_error;
	uint64_t oldest_ns; /* when the first of the unsettled came; 0: none */
	bool settler_runs, settler_stop, settler_hurry;
	pthread_t settler;

	/* Under lock. */
	size_t batch_blocks;         /* how many one may have */
	unsigned batches;            /* under way */
	uint64_t ns_per_mib;         /* of what was settled lately; 0: not known yet */
	uint64_t marked_ns;          /* when the last batch ended */
	uint64_t admit_ns;           /* the next write that needs room may go on; see write_pause */
	uint64_t err_place;          /* where the batch began that ended with settle_error */
	char *arenas[SETTLE_STAGES]; /* memory of batches that have ended */
	size_t arena_count;

	_Atomic bool log_starved, store_starved; /* no space was found there last */

	pthread_mutex_t stages[SETTLE_STAGES]; /* one batch in each; see settle.c */
	pthread_rwlock_t resizing;             /* held for reading by whoever reads the past */
};

/* Under lock: whether a write of this block may go to the image. */
bool block_is_direct(const struct history *h, uint64_t block);
/* The log is about this block still. With its range locked for writing, none can come. */
bool has_pieces(struct history *h, uint64_t block);
/* Under lock: room for one moment more; and that one. */
int history_moment_room(struct history *h);
void history_moment_add(struct history *h, const struct moment_record *m);

/* history_read.c: the part of a version that [off, off + len) asks for; all in its block. */
int read_version(struct history *h, const struct version *v, char *buf, size_t len, uint64_t off);

/* history_space.c: HISTORY_LOG_MAX, or less. */
uint64_t history_log_max(const struct tandem *t);

/* restore.c */
/* Of each of `count` blocks from `first` on: v[i].last is not 0 where it is still to be filled, with that. */
int restore_find(struct history *h, uint64_t first, size_t count, struct version *v);

/* unfilled.c: where a block's content is. */
struct unfilled {
	uint64_t block;
	enum { FROM_IMAGE, FROM_VERSION, FROM_ORIGIN } from;
	struct version v;
};
/* For a reader of generation g, UINT64_MAX: now. With a range of it, settling or resizing held. */
int unfilled_find(struct history *h, uint64_t g, uint64_t first, size_t count, struct unfilled *u);
/* Of one that is not FROM_IMAGE; all in its block, of FROM_ORIGIN any range. */
int unfilled_read(struct history *h, const struct unfilled *u, char *buf, size_t len, uint64_t off);

/* origin.c; likewise */
bool origin_lacks(struct history *h, uint64_t block);
/* The first block from `block` on that does not lack, or `end`. */
uint64_t origin_lacking_end(struct history *h, uint64_t block, uint64_t end);
/* The first one that may lack, or `end`; perhaps one before it. */
uint64_t origin_filled_end(struct history *h, uint64_t block, uint64_t end);
bool origin_lacks_locked(struct history *h,
			 uint64_t block); /* under lock; of what is there still */
int origin_read(struct history *h, char *buf, size_t len, uint64_t off);
/* Into the image, by sharing; see history_share_at. */
int origin_share(struct history *h, uint64_t off, uint64_t len);
int origin_seek(struct history *h, uint64_t off, int whence, uint64_t *found);
/*
 * The log has all of these blocks, ascending, and every moment that is older has a
 * version by the same transaction; and, of each, once that is committed. One caller at a time.
 */
int origin_put_marks(struct history *h, struct catalogue_txn *txn, const uint64_t *blocks,
		     size_t count);
void origin_set_mark(struct history *h, uint64_t block);
/* All blocks before that one are. */
int origin_advance(struct history *h, uint64_t filled);
uint64_t origin_filled(struct history *h, uint64_t *size);
void origin_free(struct history *h);
/* With all that history_abandon wants. */
void origin_drop(struct history *h);

/* settle_build.c: flushes the image; an error is final. */
int history_flush_image(struct history *h);

/*
 * history_write.c, under lock: how long a write of so many bytes has to wait at
 * `now`, for room in the log.
 */
uint64_t write_pause(struct history *h, uint64_t len, uint64_t now);

/* settle.c */
void settle_free_arenas(struct history *h);
/* Somebody waits, or there is much: the settler begins now, if it doesn't run. Under lock. */
void settler_wake(struct history *h, bool hurry);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What history_ends.c, history_ends_work.c and history_ends_check.c share. */
#ifndef TESTS_HISTORY_ENDS_INNER_H
#define TESTS_HISTORY_ENDS_INNER_H

#include "disk_model.h"
#include "history_ends.h"
#include "history_world.h"
#include "tap_file.h"

/* How deep an end may happen in what an end left. */
#define HISTORY_DEPTH 2
#define HISTORY_MOMENTS 7

struct rig;

/* A moment, as names of the disk's sectors. */
struct promise {
	uint64_t generation, size, *names;
	bool recorded, dropping;
	bool flushed; /* a power cut must leave it as it is */
};

/* From one start of the daemon to its end. */
struct life {
	struct rig *rig;
	struct life *before; /* it ended, and this is what was left; or NULL */
	unsigned depth, points;
	char where[200]; /* the point in `before` */
	uint64_t seed;
	struct world w;
	struct file *image; /* the fakes */
	struct segment_dir *log, *store;
	struct disk *source; /* of a clone; a reference */
	struct disk_model *model;
	struct promise kept[HISTORY_MOMENTS + 1];
	size_t count;
	enum history_work work;
	bool over;
	/* The catalogue as it was last copied. */
	uint8_t *catalogue;
	size_t catalogue_size;
	uint64_t commit;
};

struct rig {
	const struct history_case *c;
	unsigned ends, wanted;
	uint64_t episode; /* its seed */
	char *why;        /* empty: all was well */
	struct world worlds[HISTORY_DEPTH + 2];
	struct life first;
	struct file *source; /* of a clone: what it is filled from */
	uint64_t generation; /* and that moment of it; 0: there is none yet */
	unsigned flushes_lost;
};

/* ---- history_ends.c ---- */

/* Says what is wrong, once; false. */
bool life_fail(struct life *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Opens what is in l's files with the catalogue of the world of its depth. */
bool life_open(struct life *l);
void life_close(struct life *l);

/* ---- history_ends_check.c ---- */

/* Holds what is there against what the life before promised, and makes promises of it. */
bool life_compare(struct life *l, enum model_end end);
/* Everything is as its own promises say. */
bool life_verify(struct life *l);

/* ---- history_ends_work.c ---- */

/* Says what failed; false. */
bool life_done(struct life *l, const char *what, int err);
bool life_flush(struct life *l);
/* One that no restore needs, if there is one. */
bool life_drop(struct life *l);
bool life_record(struct life *l, struct promise *p);
/* n random operations. */
bool life_work(struct life *l, unsigned n);
void promise_drop(struct life *l, size_t i);
/* A copy of what the model has now. */
struct promise *promise_make(struct life *l, uint64_t generation);

/* ---- history_ends_restore.c ---- */

bool life_is_restoring(struct life *l);
bool life_is_restored_with(struct life *l, uint64_t generation);
/* What may be done is: these do nothing where it may not. */
bool life_restore(struct life *l);
bool life_refill(struct life *l);
bool life_abort(struct life *l);
/* A hidden moment that no restore needs goes. */
bool life_drop_hidden(struct life *l);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clones as an administrator knows them: a disk of its own that is, from the first
 * moment on, what another one was at a moment, and is filled behind. On top of
 * history.h, which has what a block of it reads as.
 *
 * In this order:
 *
 *   the source's moment, D(what it held) -> an empty image, D, called FILE.incomplete, D
 *   -> disk, past, origin, relationship and the moment's name in the catalogue, one
 *   durable commit -> it is listed, and written at once
 *   ... filled ... D -> FILE.incomplete is called FILE, D -> the records go, one
 *   durable commit -> the source is let go of, and its moment
 *
 * A crash leaves a file that nobody knows of, a clone that goes on, or one that has to
 * be let go of. One that takes a snapshot's place says so in its record, and the snapshot
 * goes in the commit in which that does: until then it is what it was.
 *
 * As operations in snapshots.h: 0, or -errno with why and nothing changed.
 */
#ifndef TANDEMFS_CLONES_H
#define TANDEMFS_CLONES_H

#include "enumerations.h"
#include "origins.h"
#include "snapshots.h"

struct clone_request {
	const char *target;  /* [POOL:]FILE, or a path in DISKDIR or a pool; NULL: made up */
	const char *pool;    /* where that is then; NULL: with the source */
	uint32_t replaces;   /* a snapshot of that generation, which goes once it is filled; 0 */
	const char *name;    /* under replicas/; NULL: made up */
	const char *format;  /* NULL: by ending */
	uint64_t generation; /* a kept one; UINT64_MAX: now */
	enum copy_priority priority;
	enum copy_methodology methodology;
	uint32_t mode, uid, gid; /* of the file */
	bool share;              /* space with the source, where the file system can */
	enum provisioning provisioning;
	bool read_only;    /* recorded of the disk, as by Set */
	const char *after; /* what a made-up target is called behind its source; NULL: a number */
	bool plan;
};

struct clone_facts {
	uint32_t number; /* never given to another object */
	char name[SNAPSHOT_NAME_MAX + 1];
	bool token;                                                  /* it has no target yet */
	char source[DISK_LABEL_MAX + 1], target[DISK_LABEL_MAX + 1]; /* "": not there now */
	uint64_t generation, time_ms, size;                          /* of the source's moment */
	enum copy_state state;
	enum copy_priority priority;
	enum copy_methodology methodology;
	unsigned percent;             /* 100 only once it is Synchronized */
	bool copying;                 /* a thread fills it */
	int error;                    /* why that does not get on; 0 */
	enum disk_state source_state; /* where not all of what it needs of it can be read; or 0 */
	uint32_t job;                 /* that is under way; 0 */
};

/* Of a plan, out has only the target. */
int tandem_clone(struct tandem *t, struct disk *source, const struct clone_request *q,
		 struct clone_facts *out, struct why *why);
/*
 * A token for the disk as it is now, or at a kept moment: out->name. It keeps that moment until
 * it is let go of. q has its name, or NULL, its generation, and plan.
 */
int tandem_tokenize(struct tandem *t, struct disk *source, const struct clone_request *q,
		    struct clone_facts *out, struct why *why);
int tandem_drop_token(struct tandem *t, uint32_t number, bool plan, struct why *why);
/* It goes, and its target with it. Open: -EBUSY. */
int tandem_abort_clone(struct tandem *t, uint32_t number, bool plan, struct why *why);
/* Nobody fills it any more, or again. */
int tandem_suspend_clone(struct tandem *t, uint32_t number, bool suspend, bool plan,
			 struct why *why);
/* Of its job, too; recorded. */
int tandem_set_clone_priority(struct tandem *t, uint32_t number, enum copy_priority priority,
			      bool plan, struct why *why);

/* Calls fn for each that is not filled yet, until it returns false. */
void clones_list(struct tandem *t, bool (*fn)(void *arg, const struct clone_facts *c), void *arg);
/* -ENOENT. One that has been filled is found by its number until the daemon ends. */
int clone_numbered(struct tandem *t, uint32_t number, struct clone_facts *out);
int clone_named(struct tandem *t, const char *name, struct clone_facts *out);
/* The disk is a clone that is not filled yet. */
bool disk_is_clone(const struct disk *d);
/* And that is the relationship. */
bool disk_is_that_clone(const struct disk *d, uint32_t number);
/* Such a one needs a moment of it. */
bool disk_is_cloned(const struct disk *d);
/* The clone is in another pool. */
bool disk_is_cloned_elsewhere(const struct disk *d);

/* ---- for the rest of replica/ ---- */

/* The disk has another state: what is told of clones of it may be different. */
void clones_tell(struct disk *d);

/* Nobody copies any more; what is not filled yet goes on at the next start. */
void tandem_stop_copying(struct tandem *t);
/*
 * With discovery held: -EBUSY without force, while clones of it are not filled. With force nobody
 * fills them any more, nor one that it is itself, until clones_go_on.
 */
int clones_check_delete(struct disk *d, bool force, struct why *why);
void clones_go_on(struct disk *d);
/* What a disk with this record needs is there; else a reason for people. */
bool clone_has_source(struct tandem *t, uint32_t number, char reason[200]);
/* Of a disk that is not listed yet, with its history open: what it is filled from. */
int clone_attach(struct disk *d, struct history *h);

#endif

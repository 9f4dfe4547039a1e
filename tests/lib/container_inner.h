/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What container.c and container_work.c share. */
#ifndef TESTS_CONTAINER_INNER_H
#define TESTS_CONTAINER_INNER_H

#include <pthread.h>

#include "container.h"
#include "disk_model.h"
#include "tap_file.h"

struct helper; /* the other thread */
struct rig;

/*
 * One disk in use. The first of a test meets an end at each point; what an end
 * left is a run of its own, one deeper.
 */
struct run {
	struct rig *rig;
	struct run *before; /* it ended, and this is what was left; or NULL */
	unsigned depth, points;
	char where[160]; /* the point in `before` */
	uint64_t seed;
	struct file *disk; /* the fake */
	struct image *img;
	struct disk_model *model;
	char notes[16]; /* their name */
	uint8_t boot[16];
	bool first;           /* no change since start */
	pthread_mutex_t turn; /* held by who is not in a call of the format */
	unsigned inside;      /* threads that are, and not at a point */
	struct helper *helper;
};

/* What all runs of one test share. */
struct rig {
	const struct container_case *c;
	enum model_end end; /* what the first run meets at each point */
	int dirfd;          /* of notes */
	unsigned names;     /* of notes, so far */
	struct file *parent_file;
	struct image_parents parents;
	unsigned ends, wanted;
	uint64_t episode; /* its seed */
	char *why;        /* empty: all was well */
	struct run first;
};

/* What a thread does on a disk. */
struct doing {
	enum container_work work;
	bool inside;       /* in a call of the format */
	unsigned flushes;  /* of the file, so far */
	uint64_t off, len; /* of a write or zero */
};

/* ---- container_ends.c ---- */

/* Says what is wrong, once; false. */
bool container_fail(struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Begins a run; it is this thread's turn. */
void container_run(struct rig *rig, struct run *r);
/* Opens r->disk with r's notes. */
bool container_open(struct run *r);
/* Ends a run. It is abandoned if it is not at rest. */
void container_close(struct run *r);
/* Reads these sectors; they are as the last operation left them. */
bool container_read(struct run *r, uint64_t first, uint64_t count, uint8_t *buf);
/* The same of the whole disk. */
bool container_verify(struct run *r);
/* A call of the file, or the end of an operation: perhaps the end of all. */
bool container_point(void *arg, const struct tap_call *call);
void container_done(struct run *r);

/* ---- container_work.c ---- */

bool work_start(struct run *r);
/* n random operations. */
bool work_some(struct run *r, unsigned n);
/* All is well then, also for who opens the file anew. */
bool work_rest(struct run *r);
/* At a point of an operation, now and then: a request of another thread. */
void work_beside(struct run *r);
/* For a run that shall have such requests. */
void work_together_begin(struct run *r);
void work_together_end(struct run *r);
/* What this thread does. */
struct doing *work_doing(void);

#endif

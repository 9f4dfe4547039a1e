/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Open files. The kernel keeps a small number for each and hands it back with
 * every request; the number says nothing about this process, so that a table
 * of the same numbers can be made again by another.
 */
#ifndef TANDEMFS_HANDLES_H
#define TANDEMFS_HANDLES_H

#include <pthread.h>
#include <stdint.h>

#include "ctl.h"
#include "disk.h"
#include "text.h"

#define HANDLES_PER_CHUNK 256
#define HANDLES_CHUNKS 4096

struct fuse_pollhandle;

enum handle_kind { HANDLE_FREE, HANDLE_DISK, HANDLE_TREE, HANDLE_DIR, HANDLE_MOMENT };

struct handle {
	enum handle_kind kind;
	uint32_t next_free;
	/* HANDLE_DISK: counts as one of its openers and holds a reference. */
	struct disk *disk;
	/* HANDLE_MOMENT: keeps the moment, unless its generation is 0, and the reference. */
	struct content moment;
	/* HANDLE_TREE, HANDLE_MOMENT */
	struct node node;
	pthread_mutex_t lock; /* of what follows, except where said */
	struct text text;     /* as rendered last, or the listing of a HANDLE_DIR */
	uint64_t base;        /* file offset at which text begins */
	bool commanded;       /* text is the result of a command given through this handle */
	bool rendered;
	_Atomic uint64_t seen;        /* version of the text; of a pipe, the last event it gave */
	struct fuse_pollhandle *poll; /* under notify.lock */
	struct handle *next_polled;   /* likewise */
};

struct handles {
	pthread_mutex_t lock;
	_Atomic(struct handle *) chunks[HANDLES_CHUNKS];
	uint32_t chunk_count, free; /* 0: none */
};

void handles_init(struct handles *t);
/* Closes what is still open. */
void handles_destroy(struct handles *t);
/* *number is never 0. -ENFILE when a million are open. */
int handle_new(struct handles *t, enum handle_kind kind, struct handle **out, uint64_t *number);
struct handle *handle_get(struct handles *t, uint64_t number);
void handle_free(struct handles *t, uint64_t number);

#endif

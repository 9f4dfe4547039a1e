/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Open files. The kernel keeps a number for each and hands it back with every
 * request. What another daemon needs to make the same table of them again is in a
 * record of each, outside of this process: see session.h. A number is a place in the
 * table and, above that, how often the place was used: a RELEASE that is sent
 * again does not close the next one's file.
 */
#ifndef TANDEMFS_HANDLES_H
#define TANDEMFS_HANDLES_H

#include <pthread.h>
#include <stdint.h>

#include "ctl.h"
#include "disk.h"
#include "session.h"
#include "text.h"

#define HANDLES_PER_CHUNK 256
#define HANDLES_CHUNKS (SESSION_OPENS / HANDLES_PER_CHUNK)

struct fuse_pollhandle;

/* Only added to at the end: they are recorded. */
enum handle_kind { HANDLE_FREE, HANDLE_DISK, HANDLE_TREE, HANDLE_DIR, HANDLE_MOMENT };

struct handle {
	enum handle_kind kind;
	uint32_t next_free;
	struct open_record *record; /* for life; see handle_record */
	/*
	 * HANDLE_DISK: counts as one of its openers and holds a reference. NULL in one that was
	 * taken over and cannot be opened now; another try sets it, under lock.
	 */
	_Atomic(struct disk *) disk;
	/*
	 * HANDLE_MOMENT: keeps the moment, unless its generation is 0, and the reference, which
	 * one that was taken over, and is gone, has not.
	 */
	struct content moment;
	/* HANDLE_TREE, HANDLE_MOMENT */
	struct node node;
	pthread_mutex_t lock; /* of what follows, except where said */
	struct text text;     /* as rendered last, or the listing of a HANDLE_DIR */
	uint64_t base;        /* file offset at which text begins */
	bool commanded;       /* text is the result of a command given through this handle */
	bool rendered;
	bool taken_over;              /* nothing was rendered yet, but by the daemon before */
	_Atomic uint64_t seen;        /* version of the text; of a pipe, the last event it gave */
	struct fuse_pollhandle *poll; /* under notify.lock */
	struct handle *next_polled;   /* likewise */
};

struct handles {
	struct session *session;
	pthread_mutex_t lock;
	_Atomic(struct handle *) chunks[HANDLES_CHUNKS];
	uint32_t chunk_count, free; /* 0: none */
};

/* The session stays the caller's. Nothing of it is used but where handles_take_over says. */
void handles_init(struct handles *t, struct session *s);
/* Closes what is still open; the records stay, for another daemon. */
void handles_destroy(struct handles *t);
/* *number is never 0. -ENFILE when a million are open. */
int handle_new(struct handles *t, enum handle_kind kind, struct handle **out, uint64_t *number);
/*
 * From here on another daemon has it, too: the node that was opened, open(2)'s flags, and the
 * request that asked for it. Before the answer.
 */
void handle_record(struct handle *h, uint64_t ino, uint32_t flags, uint64_t unique);
/* NULL: no such file is open. */
struct handle *handle_get(struct handles *t, uint64_t number);
void handle_free(struct handles *t, uint64_t number);

/* Of what is rendered now, under h->lock; another daemon can tell whether it renders the same. */
void handle_record_text(struct handle *h);
bool handle_is_recorded_text(const struct handle *h, const struct text *text);

/*
 * Makes a handle for each record that the daemon before has left, with what fits into the
 * handle itself. Then fn opens what is behind it. Once, before any other use.
 */
int handles_take_over(struct handles *t, void (*fn)(void *arg, struct handle *h), void *arg);
/* The number of one that was opened by this request, of which the kernel had no answer; 0: none. */
uint64_t handles_opened_by(struct handles *t, uint64_t unique);

#endif

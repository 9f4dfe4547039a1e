/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What nbd.c, nbd_io.c (requests) and nbd_keeper.c (the server's life) share.
 *
 *   STARTING   nothing could be served yet
 *   SERVING    requests take connections
 *   MENDING    the server is dead or dying; requests wait
 *   FAILED     for good; requests fail. The keeper has ended
 *   ENDING     nobody uses the disk; the server is told to end
 *
 * Invariants: a connection is used by one request, or by the keeper while none
 * is busy. The keeper mends only while none is busy. The server's process id is
 * valid while `alive`.
 */
#ifndef TANDEMFS_NBD_INNER_H
#define TANDEMFS_NBD_INNER_H

#include <pthread.h>

#include "nbd.h"
#include "nbd_client.h"
#include "nbd_server.h"
#include "notes.h"

#define NBD_DEATHS_MAX 64

enum nbd_state { NBD_STARTING = 1, NBD_SERVING, NBD_MENDING, NBD_FAILED, NBD_ENDING };

struct nbd_connection {
	struct nbd_handle *handle; /* NULL: not made yet */
	bool busy;
	uint64_t noted_from; /* what it notes is behind this mark; UINT64_MAX: nothing */
};

struct nbd_disk {
	struct nbd_source source;
	_Atomic bool crowded; /* there are many notes: a writer flushes */
	pthread_t keeper;
	pthread_mutex_t making_room; /* a writer flushes; before lock */
	pthread_mutex_t lock;
	/* Under lock. */
	pthread_cond_t changed; /* state, ended, none busy */
	pthread_cond_t idle;    /* a connection is free, or state */
	enum nbd_state state;
	bool alive;           /* there is a server, not reaped */
	bool ended;           /* the keeper ends */
	bool clean;           /* the server ended by itself */
	bool noting;          /* the notes are ours (notes_begin) */
	unsigned limit, busy; /* connections that may be, that are used */
	struct nbd_connection connections[NBD_CONNECTIONS];
	int err; /* why FAILED */
	char reason[IMAGE_REASON];
	/* The keeper's. */
	struct nbd_server server;
	uint64_t notes_end;              /* when the last server died; a replay must come so far */
	bool opened;                     /* this server could open the image */
	unsigned failures;               /* servers in turn that never served */
	uint64_t deaths[NBD_DEATHS_MAX]; /* when, newest last */
};

uint64_t nbd_now_ms(void);
/* Kills the server; MENDING. Under lock. */
void nbd_lose(struct nbd_disk *d);
/* The keeper: a thread for each disk. */
void *nbd_keep(void *disk);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads that help with work that comes as many steps of its own, most of which
 * wait for a store: a device serves sixteen small requests at once nearly as fast
 * as one. Who brings the work takes part in it, so it gets on also while every
 * thread of the crew is stuck elsewhere, and a step may bring work itself.
 */
#ifndef TANDEMFS_CREW_H
#define TANDEMFS_CREW_H

#include <stddef.h>

#include "rings.h"

struct crew;

/* The calling thread leaves the processors to those that serve clients, as the crew does. */
void crew_give_way(void);
/* Threads begin when there is work for them. */
int crew_new(unsigned threads, struct crew **out);
/* Nobody uses it any more. NULL is fine. */
void crew_free(struct crew *c);
/*
 * step(arg, i) for each i < count, in any order and at the same time; returns
 * when all have ended. After one that fails no other begins; the first error is
 * returned. NULL: one after the other.
 */
int crew_run(struct crew *c, size_t count, int (*step)(void *arg, size_t i), void *arg);
/*
 * All of them; the first error is returned. They go to the kernel together or, where it takes few
 * of them so (rings.h), each to a thread.
 */
int crew_requests(struct crew *c, struct rings *r, struct image_request *q, size_t count);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lives of a whole tandem, and what the power leaves of its directory at any of their calls (medium.h):
 * each is taken up by a process of its own, which says what is wrong with it. Now and then it is cut
 * again while it is taken up.
 */
#ifndef TESTS_POWER_CUT_H
#define TESTS_POWER_CUT_H

#include <stdbool.h>
#include <stdint.h>

#include "temp_tandem.h"

/*
 * Each is called in a process of its own, with temp.dir made and no tandem open, and returns or says
 * what is wrong. What they are to know of each other is in memory that they share.
 */
struct power_cut {
	void (*begin)(void);             /* in a process that forks all others: memory, settings */
	void (*prepare)(uint64_t *seed); /* what is there before; all of it is durable */
	void (*live)(uint64_t *seed);
	/* What is left after so many calls of that life. */
	void (*look)(uint64_t calls, uint64_t *seed);
	unsigned cuts; /* of a life, about */
};

/*
 * So many states of lives from that seed on, some lives at a time: most of it is waiting. False: `why`
 * says what was wrong with one, and the seed of its life, which TANDEMFS_SEED brings back, as far as
 * threads do not differ. lose: see medium_lose.
 */
#define POWER_CUT_WHY 2000
bool power_cut(const struct power_cut *c, uint64_t seed, unsigned states, const char *lose,
	       char why[POWER_CUT_WHY]);

/* For the three. */
void power_cut_wrong(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Calls of the life so far. */
uint64_t power_cut_now(void);
/* What is left was taken up, and cut again meanwhile. */
bool power_cut_again(void);
/* This process may be cut, and what it leaves be looked at. */
bool power_cut_may_come(void);
/* If so: what was written to the file of that name since it is taken up. */
uint64_t power_cut_written(const char *name);
/* Zeros, shared by all processes that come. */
void *power_cut_memory(size_t size);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who of several copiers may go on, and when: so many at a time, so many bytes in a
 * second, and whoever has the lower priority lets others go first. Pure: knows no
 * clock, no threads, and no disk. Times are nanoseconds of a clock that goes on.
 *
 * A copier works in steps. Before each it asks for a turn, and behind it gives that
 * back. Those that ask come in this order: High, then Same and Not Managed, then Low;
 * of the same priority who came first.
 *
 *   at most `most` have a turn at a time
 *   with a rate, nobody has a turn while the bytes before are not paid for, nor while
 *   one of a higher priority asks for one, or has one
 *   Low waits behind each step until guests are quiet, at most fourteen times as long as
 *   the step took: it gets on also where they never are. Same and Not Managed wait at most
 *   as long as it took, and keep their place meanwhile
 */
#ifndef TANDEMFS_TURNS_H
#define TANDEMFS_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#include "enumerations.h"

#define TURNS_NEVER UINT64_MAX

struct turn {
	struct turn *next;
	enum copy_priority priority;
	uint64_t order; /* the lower one came first */
	bool suspended;
	bool asks, has;
	uint64_t began;            /* its turn */
	uint64_t way_until;        /* it gives way to guests no longer than that */
	uint64_t requests, way_ns; /* of guests, as last seen, and when that changed */
	bool amid_guests;          /* a moment ago, some had requests */
};

struct turns {
	struct turn *list;
	uint32_t most; /* 0: any number */
	uint64_t rate; /* bytes in a second; 0: any */
	uint64_t due;  /* what was copied is paid for then */
};

enum turn_answer {
	TURN_TAKEN,
	TURN_SUSPENDED,
	TURN_OF_OTHERS,
	TURN_OF_GUESTS,
	TURN_TOO_FAST,
};

/* Requests of guests that the copier would be in the way of. */
struct guests {
	uint64_t requests; /* that came ever */
	bool busy;         /* some are under way */
};

void turns_join(struct turns *ts, struct turn *t);
void turns_leave(struct turns *ts, struct turn *t);
/* *until: when to ask again, if nothing else happens first. */
enum turn_answer turns_ask(struct turns *ts, struct turn *t, uint64_t now, struct guests guests,
			   uint64_t *until);
/* Its step is done, and so many bytes were copied; or it does not ask any more. */
void turns_give_back(struct turns *ts, struct turn *t, uint64_t now, uint64_t copied);
/* A step has at most so many bytes, of those that the copier would like. */
uint64_t turns_step(const struct turns *ts, const struct turn *t, uint64_t most);

/* ---- how fast it is ---- */

#define PACE_SAMPLES 8

/* What was done when, at most one in a second. */
struct pace {
	struct {
		uint64_t ns, done;
	} samples[PACE_SAMPLES];
	unsigned count, at;
};

void pace_note(struct pace *p, uint64_t now, uint64_t done);
/* In a second, over the last samples; 0: not known, or nothing. */
uint64_t pace_rate(const struct pace *p, uint64_t now, uint64_t done);

#endif

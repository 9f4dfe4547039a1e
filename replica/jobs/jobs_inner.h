/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What jobs.c, job_turns.c and job_facts.c share; nobody else includes it. */
#ifndef TANDEMFS_JOBS_INNER_H
#define TANDEMFS_JOBS_INNER_H

#include <pthread.h>

#include "jobs.h"
#include "tandem.h"
#include "turns.h"

#define SECOND 1000000000ull

struct job {
	struct job *next;
	struct job_spec spec; /* its object is below */
	char object[JOB_OBJECT_MAX];
	enum job_state state, end_as;
	struct turn turn;
	enum turn_answer answer; /* to its last question */
	char reason[64];         /* of job_wait_for */
	char note[48];           /* of job_note */
	bool major;
	struct disk *slowed[2]; /* while it has a turn, and comes before their guests; references */
	uint64_t done, total;
	uint64_t copied; /* in all: a guest that writes meanwhile makes `done` less, not this */
	struct pace pace;
	uint64_t submitted_ms, started_ms, changed_ms;
	uint64_t started_ns, ended_ns;
	int error;
};

struct jobs {
	struct tandem *t;
	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t changed;
	struct job *list; /* the newest first */
	struct turns turns;
	uint64_t order;
	bool hurry;
	_Atomic uint64_t version;
};

/* ---- jobs.c ---- */

/* With no lock held. */
void jobs_tell_change(struct jobs *js);
/* Under lock. NULL; live: it has not ended. */
struct job *jobs_find(struct jobs *js, uint32_t id);
struct job *jobs_find_live(struct jobs *js, uint32_t id);
/* Under lock: those that ended long ago go, and the oldest of too many. */
void jobs_forget_old(struct jobs *js, uint64_t now);
/* Under lock. */
void job_set_state(struct job *j, enum job_state state);

/* ---- job_turns.c ---- */

/* Of the disks of one job: references, and what their guests ask for. */
struct around {
	struct disk *disks[2];
	struct guests guests;
};
void around_let_go(struct around *a);
/* Its turn is over. Under lock; what is to be let go of without it is in *a. */
void job_give_back(struct jobs *js, struct job *j, uint64_t copied, struct around *a);

#endif

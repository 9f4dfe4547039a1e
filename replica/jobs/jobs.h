/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs: work that takes long, as an administrator sees it, and the one place where
 * whoever copies waits for his turn (see turns.h).
 *
 * A copier joins so:
 *
 *	job_begin(jobs, &spec);
 *	while (there is more && job_pause_point(jobs, id, copied, &stop)) {
 *		... about job_step(jobs, id, MOST) bytes ...
 *		job_progress(jobs, id, done, total);
 *	}
 *	job_end(jobs, id, JOB_COMPLETED, 0);
 *
 * It calls job_wait_for() when it cannot get on, or stops for a while: then it has no
 * turn. Nothing that others wait for is held at a pause point.
 *
 * A job is known by its number from its begin on; one that has ended for five minutes
 * more, unless too many have. Jobs are in memory only: what goes on after a restart
 * begins its job again. NULL for jobs, or 0 for one, is fine: nothing is told then, and
 * nobody waits.
 *
 * Any thread. Nothing here waits for a disk. With no lock held but tandem.discovery,
 * snapshots.changing and ranges: events are told.
 */
#ifndef TANDEMFS_JOBS_H
#define TANDEMFS_JOBS_H

#include <stdatomic.h>

#include "disk.h"
#include "enumerations.h"

#define JOB_OBJECT_MAX (sizeof("replicas/") + DISK_LABEL_MAX)
#define JOB_REMOVAL_S 300
#define JOB_ENDED_MAX 128

struct jobs;

struct job_spec {
	uint32_t id;           /* of catalogue_new_number(); not known already */
	const char *operation; /* "Clone"; a constant */
	const char *object;    /* "disks/x.img", for events and people */
	uint64_t moment;       /* a generation, for the events; 0: none */
	uint32_t replica;      /* the relationship that it belongs to: its state is the job's; 0 */
	uint32_t disks[2];     /* whose guests are in its way; 0: none */
	enum copy_priority priority;
	bool suspended;
};

struct job_facts {
	uint32_t id;
	const char *operation;
	char object[JOB_OBJECT_MAX];
	uint32_t replica, disk; /* as in its spec, the first one */
	enum job_state state;
	enum copy_priority priority;
	char waits_for[64];   /* "": for nothing */
	uint64_t done, total; /* bytes; total 0: not known yet */
	unsigned percent;     /* 100 only once it is Completed */
	uint64_t rate;        /* bytes copied in a second; 0: not known, or none */
	uint64_t left_s;      /* UINT64_MAX: not known, or it has ended */
	uint64_t submitted_ms, started_ms, changed_ms; /* since 1970; started 0: not yet */
	uint64_t elapsed_ms;
	bool ended;
	int error; /* of one that has ended; 0: none */
};

int jobs_new(struct tandem *t, struct jobs **out);
void jobs_free(struct jobs *js);
/* CopyRate and MaxCopies; 0: no limit. */
void jobs_set_limits(struct jobs *js, uint32_t rate, uint32_t most);
/* From here on nobody waits for a turn: what is to be complete at the stop gets on. */
void jobs_hurry(struct jobs *js);
/* Whoever waits looks at his `stop` again. */
void jobs_wake(struct jobs *js);

/* ---- for who copies ---- */

/* A number for one that has none of its own. -errno. */
int job_new_number(struct tandem *t, uint32_t *number);

/* JobStarted is told. -ENOMEM: there is no such job, and nobody waits for a turn of it. */
int job_begin(struct jobs *js, const struct job_spec *spec);
void job_progress(struct jobs *js, uint32_t id, uint64_t done, uint64_t total);
/*
 * The step is done, in which so many bytes were copied; waits until the next one may begin.
 * False: *stop was set (and jobs_wake called), or the job has ended.
 */
bool job_pause_point(struct jobs *js, uint32_t id, uint64_t copied, const _Atomic bool *stop);
/* Also false: it is that time (monotonic_ns), and it had no turn. */
bool job_pause_until(struct jobs *js, uint32_t id, uint64_t copied, const _Atomic bool *stop,
		     uint64_t deadline);
/* How large the next step is to be, at most that. */
uint64_t job_step(struct jobs *js, uint32_t id, uint64_t most);
/* It has no turn, until its next pause point. why: what people are told, or "". */
void job_wait_for(struct jobs *js, uint32_t id, const char *why);
/* By who has recorded that it is, or is not any more. */
void job_suspend(struct jobs *js, uint32_t id, bool suspended);
void job_set_priority(struct jobs *js, uint32_t id, enum copy_priority priority);
/* What JobEnded tells besides, as Key=Value; major: it is nothing good. */
void job_note(struct jobs *js, uint32_t id, const char *words, bool major);
/* It waits for somebody to say Start; it has ended, or there never was one. */
bool job_is_suspended(struct jobs *js, uint32_t id);
bool job_has_ended(struct jobs *js, uint32_t id);
/* JobEnded is told; not of one that has ended. JOB_TERMINATED becomes what job_end_as said. */
void job_end(struct jobs *js, uint32_t id, enum job_state state, int error);
/* JOB_KILLED, before who ends it is told to; 0 takes it back. */
void job_end_as(struct jobs *js, uint32_t id, enum job_state state);

/* ---- for who looks ---- */

/* -ENOENT. */
int job_numbered(struct jobs *js, uint32_t id, struct job_facts *out);
/* By number; the caller frees. */
int jobs_list(struct jobs *js, struct job_facts **out, size_t *count);
/* The newest of a relationship, or, of none, of the first of its disks; ended ones only if asked for. 0. */
uint32_t job_of_replica(struct jobs *js, uint32_t replica, bool ended);
uint32_t job_of_disk(struct jobs *js, uint32_t disk, bool ended);
/* Goes up when a job is another than it was. */
uint64_t jobs_version(struct jobs *js);
/* Pure: in percent, never 100. */
unsigned percent_of_bytes(uint64_t done, uint64_t total);

#endif

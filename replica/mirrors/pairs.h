/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mirrors as an administrator knows them: a relationship of two disks, of which
 * the target becomes and stays what the source is. On top of mirror.h, which does
 * what a write needs.
 *
 * A state is recorded, then set, then announced, then acted upon. As operations in
 * snapshots.h: 0, or -errno with why and nothing changed. Any thread, with no lock
 * held.
 */
#ifndef TANDEMFS_PAIRS_H
#define TANDEMFS_PAIRS_H

#include "enumerations.h"
#include "snapshots.h"

struct pair;

/* RecoveryPointObjective where nobody says one; and the largest. */
#define PAIR_OBJECTIVE_S 60u
#define PAIR_OBJECTIVE_MAX_S (7u * 24 * 3600)

/* SkewLimit where nobody says one. */
#define PAIR_SKEW_LIMIT (64u << 20)

struct pair_request {
	const char *target; /* [POOL:]FILE, or a path in DISKDIR or a pool; NULL: made up */
	const char *pool;   /* where that is then */
	const char *after;  /* what it is called behind its source then; NULL: a number */
	const char *name;   /* under replicas/; NULL: made up */
	const char *format; /* NULL: by ending */
	enum sync_mode mode;
	uint32_t
		objective_s; /* RecoveryPointObjective of an asynchronous one; 0: PAIR_OBJECTIVE_S */
	uint64_t skew_limit; /* of an adaptive one, bytes; 0: PAIR_SKEW_LIMIT */
	enum copy_priority priority;
	enum copy_state state; /* Initialized or Prepared, until Activate; 0: it is copied */
	bool moves;            /* by MirrorVirtualDisk: see tandem_break_mirror */
	bool existing;         /* the target is a disk that is there; else it must not be */
	bool either;           /* it may be there, or not */
	bool read_only; /* clients do not write the target while it is one, whatever the state */
	bool stops_host_io; /* FailedCopyStopsHostIO */
	bool manual;        /* CopyRecoveryMode=Manual: after a crash it does not go on by itself */
	bool at_flush;      /* AcknowledgeAt=Flush, of a synchronous one */
	enum provisioning provisioning; /* of the target */
	bool pending; /* until pairs_finish: a start takes it back, with a target that was made */
	bool force;   /* an existing target may hold something */
	uint32_t mode_bits, uid, gid; /* of a new file */
	bool plan;
};

/* Of a plan, only the target, and whether it would be made: first. */
struct pair_facts {
	uint32_t number; /* never given to another object */
	char name[SNAPSHOT_NAME_MAX + 1];
	char source[DISK_LABEL_MAX + 1], target[DISK_LABEL_MAX + 1]; /* "": not there now */
	enum copy_state state;
	enum copy_state requested; /* COPY_NOT_APPLICABLE: it is where it should be */
	enum progress_status progress;
	enum sync_mode mode; /* that it has now */
	bool adaptive;       /* that is asked for is Adaptive */
	uint64_t skew_limit; /* of one that is */
	enum copy_priority priority;
	bool stops_host_io, manual;
	bool at_flush;                  /* AcknowledgeAt=Flush */
	enum provisioning provisioning; /* of the target */
	bool read_only;                 /* clients do not write the target, also a Split one */
	uint64_t sent;                  /* likewise: bytes that are on their way to the target */
	bool moves;                     /* by MirrorVirtualDisk */
	bool first;                     /* its first copy is not complete yet */
	bool rewritten;                 /* Skewed, by another program */
	bool whole;            /* the target is one moment of the source, perhaps an older one */
	bool back;             /* what is copied is followed by a change of roles: Failback */
	bool restores;         /* likewise: RestoreFromReplica */
	uint64_t sync_time_ms; /* when it was in step last, or of its generation; 0: never */
	uint32_t objective_s;  /* of an asynchronous one: RecoveryPointObjective */
	uint64_t shows;   /* likewise: clients read that generation of its past; 0: what it holds */
	uint64_t applied; /* likewise: bytes that it has of the next one */
	uint64_t verified_ms; /* when the last proof began that both are the same; 0: never */
	bool verifying;
	unsigned verified; /* percent */
	uint64_t mended;   /* bytes of regions that the last proof found different */
	uint64_t size;     /* of the source */
	uint64_t differs;  /* bytes of regions that are to be copied */
	unsigned percent;  /* 100 only while it is Synchronized */
	bool copying;
	uint32_t job; /* of its copy; 0: none is under way */
	int error;    /* why it does not get on; 0 */
};

int tandem_mirror(struct tandem *t, struct disk *source, const struct pair_request *q,
		  struct pair_facts *out, struct why *why);
/*
 * One of: Abort, Activate, Deactivate, Detach, Dissolve, Failback, Failover, Fracture,
 * Prepare, ResetToAdaptive, ResetToAsync, ResetToSync, RestoreFromReplica, ResyncReplica, Resume, ReverseRoles,
 * Split, Suspend, Unprepare. It leads to `next`, or the relationship goes, or stays as it is
 * (cells of replica_operation_check). -EBUSY: its state is not `from` any more.
 */
int tandem_operate_pair(struct tandem *t, uint32_t number, enum replica_operation op,
			enum copy_state from, bool force, bool plan, struct why *why);

/*
 * Reads both, while they are used, and compares. What differs is marked, and so copied
 * again. Of an asynchronous one, each part with what its source was at a moment that the target
 * has just become. It is a job, and begins again after a restart. -EBUSY: not Synchronized, or it
 * is being done.
 */
int tandem_verify_pair(struct tandem *t, uint32_t number, bool plan, uint32_t *job,
		       struct why *why);
/* It is to end so, and is no proof. */
void tandem_end_verify(struct tandem *t, uint32_t job, enum job_state as);
/* Such a job is suspended, or goes on. */
void pairs_look_at_proofs(struct tandem *t);

/* Of a group: its members, or whether it is consistent. With no lock of theirs held. */
void joint_groups_changed(struct tandem *t);

/* Those that were made pending are so no more, in one transaction. By number. */
int pairs_finish(struct tandem *t, const uint32_t *numbers, size_t count, struct why *why);

/* What is to be another than it is. */
struct pair_settings {
	bool has_priority, has_recovery, has_stops, has_objective, has_acknowledge;
	enum copy_priority priority;
	bool manual, stops_host_io, at_flush;
	uint32_t objective_s;
};
int tandem_set_pair(struct tandem *t, uint32_t number, const struct pair_settings *s, bool plan,
		    struct why *why);

/* The mirror that MirrorVirtualDisk made of the disk. -ENOENT. */
int pair_moving(struct disk *source, struct pair_facts *out);
/*
 * BreakMirrorVirtualDisk: the disk, whoever has it open, is in the target's file from now on,
 * under its own name in the mount, and with its snapshots; the target is no disk any more. The
 * file where it was is called FILE.left-TIME, which `left` says; "": it could not be renamed.
 * -EBUSY: it is not Synchronized; or see pair_break.c.
 */
int tandem_break_mirror(struct disk *source, bool plan, char left[DISK_LABEL_MAX + 1],
			struct why *why);

/* Calls fn for each, by number, until it returns false. */
void pairs_list(struct tandem *t, bool (*fn)(void *arg, const struct pair_facts *p), void *arg);
/* -ENOENT. */
int pair_numbered(struct tandem *t, uint32_t number, struct pair_facts *out);
int pair_named(struct tandem *t, const char *name, struct pair_facts *out);

bool pairs_have(struct tandem *t, const char *name);

/* It is the source of a mirror. */
bool disk_is_mirrored(const struct disk *d);
/* It is the source or the target of a mirror; then: -EBUSY. */
bool disk_is_paired(const struct disk *d);
int pair_check_disk(struct disk *d, struct why *why);
/* It is the target of a synchronous one that is Skewed, or would be if somebody else wrote it. */
bool pair_skews(const struct disk *d);
/* What it holds is on the way from one generation to the next. */
bool is_target_of_async(const struct disk *d);

/* ---- for the rest of replica/ ---- */

/* At the start, before the scan; with disks; and at the stop, before they rest. */
int pairs_load(struct tandem *t, struct why *why);
void pairs_start(struct tandem *t);
void pairs_stop(struct tandem *t);
void pairs_free(struct tandem *t);
/* It is the target of one whose first copy is not complete: half a disk. */
bool pairs_fill(struct tandem *t, uint32_t disk);
/* Of a disk that is not listed yet. */
int pairs_attach(struct disk *d);
/* The disk becomes another by other means than writes: all of it differs, durably. */
int pairs_differ(struct disk *d);
/* But for that one's. */
int pairs_differ_but(struct disk *d, const struct pair *but);
/* It is about to have moments: what it holds is in its image only in part from then on. */
void pairs_past_begins(struct disk *d);
/*
 * The image of that disk, found under that name: somebody else went on in it, from what was kept
 * beside it. pairs_changed is to follow.
 */
bool pairs_were_taken(struct tandem *t, uint32_t disk, const struct identity *image,
		      const struct pool *pool, const char *file);
/*
 * Of a disk of DISKDIR that is not listed yet, with no transaction open: where it was the target of
 * a mirror of another state, which was kept beside it, that mirror is there, its source Missing, and
 * *found is set; scan_missing lists that. -errno, and why in reason: what it holds is half of something.
 */
int pairs_find(struct disk *d, bool *found, char reason[200]);
/*
 * With discovery held, of a pool whose images are known by now: what was kept there beside a target that
 * is gone, by a mirror that is gone, goes. Nobody else's does.
 */
void pairs_clean_pool(struct tandem *t, struct pool *p);
/*
 * Another program changed its image: as pairs_differ, and what was its own is not overwritten before
 * somebody says so. Before that is told; with no transaction open, and no range held.
 */
int pairs_changed(struct disk *d);

#endif

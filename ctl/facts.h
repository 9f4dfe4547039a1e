/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Everything that the status of the whole says, collected once, so that its
 * texts agree with themselves; and what of it is a problem.
 */
#ifndef TANDEMFS_FACTS_H
#define TANDEMFS_FACTS_H

#include "groups.h"
#include "jobs.h"
#include "replica_facts.h"
#include "snapshots.h"
#include "space.h"
#include "tandem.h"

struct pool_facts {
	uint32_t number;
	char name[POOL_NAME_MAX + 1]; /* "" for DISKDIR */
	char dir[PATH_MAX];
	size_t disks;
	struct pool_status status;
};

struct problem {
	const char *kind, *name; /* "disks", "x.img"; kind "": of the daemon */
	enum event_severity severity;
	const char *state, *reason; /* "Invalid", "Stalled", ...; reason may be "" */
};

struct facts {
	uint64_t time_ms;         /* when it was collected */
	struct disk_facts *disks; /* sorted by label */
	struct past_facts *pasts; /* of the same disks */
	size_t disk_count;
	struct replica_facts *replicas; /* snapshots, sorted by source, then by name */
	size_t replica_count, replica_room;
	struct replica_facts *clones; /* and mirrors behind them, each by number */
	size_t clone_count, clone_room;
	struct group_facts *groups; /* sorted by name */
	size_t group_count;
	struct job_facts *jobs; /* by number */
	size_t job_count;
	bool failed;              /* no memory for one of them */
	struct pool_facts *pools; /* DISKDIR first */
	size_t pool_count;
	bool space_low;           /* where the state is */
	struct store_facts store; /* likewise */
	struct problem *problems; /* the worst first; points into the above */
	size_t problem_count;
};

enum health { HEALTH_OK, HEALTH_WARN, HEALTH_FAIL };

/* 0 or -ENOMEM. */
int facts_collect(struct tandem *t, struct facts *out);
/* The same of one disk, without pools and problems. -ENOENT, -ENOMEM. */
int facts_of_disk(struct tandem *t, uint32_t number, struct facts *out);
void facts_free(struct facts *f);
/* Those of disk i, which stand together. */
const struct replica_facts *facts_snapshots(const struct facts *f, size_t i, size_t *count);
enum health facts_health(const struct facts *f);
/* What it is of: "disks/x.img", "daemon"; returns buf. */
#define PROBLEM_OBJECT_MAX (sizeof("replicas/") + DISK_LABEL_MAX + 1 + SNAPSHOT_NAME_MAX)
const char *problem_object(const struct problem *p, char buf[PROBLEM_OBJECT_MAX]);
/* "OK", "WARN", "FAIL" */
const char *health_name(enum health h);
const char *severity_name(enum event_severity s);

/* It is in the mount. */
bool facts_served(const struct disk_facts *d);
/* Its name in the mount, POOL/FILE in a pool; "" when it is not served. Returns buf. */
#define MOUNT_PATH_MAX (POOL_NAME_MAX + 1 + NAME_MAX + 1 + 4)
const char *facts_mount_path(const struct disk_facts *d, char buf[MOUNT_PATH_MAX]);

/* -ENOENT when there is no such pool. */
int pool_facts_of(struct tandem *t, uint32_t number, struct pool_facts *out);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The properties of a relationship, collected once, for its property files, its
 * status and status.json. A relationship is a snapshot, a clone or a mirror.
 */
#ifndef TANDEMFS_REPLICA_FACTS_H
#define TANDEMFS_REPLICA_FACTS_H

#include "clones.h"
#include "enumerations.h"
#include "pairs.h"
#include "snapshots.h"
#include "text.h"

#define REPLICA_LABEL_MAX (DISK_LABEL_MAX + 1 + SNAPSHOT_NAME_MAX)
#define REPLICA_UNKNOWN UINT32_MAX /* of a number: NULL */

struct replica_facts {
	uint32_t number;
	char label[REPLICA_LABEL_MAX + 1]; /* its name under replicas/ */
	char source[DISK_LABEL_MAX + 1];
	char target[REPLICA_LABEL_MAX + 1]; /* "": none */
	uint64_t sync_time_ms;              /* 0: never */
	enum copy_state copy_state, requested;
	enum sync_type sync_type;
	enum sync_mode sync_mode; /* 0: nobody chose one */
	enum progress_status progress;
	uint32_t percent, objective_s; /* or REPLICA_UNKNOWN */
	enum copy_type copy_type;
	enum replica_type replica_type;
	enum sync_state sync_state;
	enum copy_priority priority;
	enum copy_methodology methodology;
	uint64_t generation; /* of its moment; 0: none */
	uint64_t size;
	char hold[SNAPSHOT_NAME_MAX + 1]; /* of a snapshot */
	bool writable, overlay_lost;      /* likewise: it has an overlay; which cannot be used */
	enum disk_state source_state;     /* of a clone: its source is not as it needs it; 0 */
	uint32_t job;                     /* that is under way; 0 */
	int error;                        /* why it is not copied further; 0 */
	/* Of a mirror. */
	bool first;                 /* the target is not whole yet */
	bool whole;                 /* it is one moment of its source, and not half of one */
	bool adaptive;              /* what was asked for is Adaptive, and not the mode of now */
	uint64_t skew_limit;        /* of one that is */
	bool rewritten;             /* Skewed, by another program */
	bool back;                  /* its copy goes back to what was the source */
	bool stops_host_io, manual; /* as CreateReplica was told */
	bool at_flush;              /* likewise */
	uint8_t thin_policy;        /* likewise: ThinProvisioningPolicy's number */
	bool read_only;             /* likewise: clients never write its target */
	uint64_t behind;            /* bytes that the target lacks, or does not show yet */
	bool shows_old;             /* of what it lacks it may have all, and shows nothing of it */
	uint64_t verified_ms;       /* 0: never */
	bool verifying;
	unsigned verified; /* percent, of that */
	uint64_t differed; /* bytes, in the last proof */
};

/* What is wrong, in words; NULL: nothing. */
const char *replica_trouble(const struct replica_facts *r);

/* Pure. */
void replica_facts_of_snapshot(const struct snapshot_facts *s, struct replica_facts *out);
void replica_facts_of_clone(const struct clone_facts *c, struct replica_facts *out);
void replica_facts_of_pair(const struct pair_facts *p, struct replica_facts *out);
/*
 * How old the target is at most: of what the source was given since, some would be lost with it.
 * 0: it lacks nothing. False: it is no mirror, or was never what its source was.
 */
bool replica_lag(const struct replica_facts *r, uint64_t now_ms, uint64_t *lag_ms);
/* It is older than its RecoveryPointObjective allows. */
bool replica_misses_objective(const struct replica_facts *r, uint64_t now_ms);
/* -ENOENT. */
int replica_facts(struct tandem *t, uint32_t number, struct replica_facts *out);

/*
 * Of a group: what its mirrors have in common; see group_properties.c. error is -ECANCELED while one
 * does not get on by itself. -ENOENT.
 */
int group_replica_facts(struct tandem *t, uint32_t number, struct replica_facts *out);
/* Of either: no two have the same number. */
int property_facts(struct tandem *t, uint32_t object, struct replica_facts *out);

/* One property as its file holds it: a word, a number, a time, true, false or NULL. */
struct property {
	const char *name;
	enum {
		PROPERTY_STRING, /* "" is NULL */
		PROPERTY_TIME,
		PROPERTY_BOOL,
		PROPERTY_ENUM,
		PROPERTY_NUMBER
	} type;
	const struct enum_value *names;
	/* PROPERTY_STRING */
	const char *(*string)(const struct replica_facts *r);
	/* All others; of a time its milliseconds. REPLICA_UNKNOWN is NULL, for a time 0 is. */
	uint64_t (*number)(const struct replica_facts *r);
};

/* In the order of the class page; ends with a NULL name. */
extern const struct property replica_properties[];
/*
 * The value and no newline, appended; false and nothing when it is NULL. With
 * `numbered`, an enumeration as `Name (number)`.
 */
bool property_value(const struct property *p, const struct replica_facts *r, bool numbered,
		    struct text *out);

/* A group has it, too. */
bool property_is_of_groups(const struct property *p);

#endif

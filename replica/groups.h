/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Groups of disks and of mirrors: a name, and members by their numbers, so that they stay
 * members whatever they are called, and while their images are gone. A disk, or a mirror, may
 * be in several. A consistent group does things to all its disks, or all its mirrors, at one
 * moment, all or none.
 *
 * The operations are like those of tandem.h: they hold discovery, check everything,
 * stop there for a plan, record, and only then are seen. 0, or -errno with why and
 * nothing changed. All else: any thread.
 */
#ifndef TANDEMFS_GROUPS_H
#define TANDEMFS_GROUPS_H

#include "enumerations.h"
#include "names.h"
#include "tandem.h"

struct groups;

struct group_facts {
	uint32_t number; /* never given to another object */
	char name[NAME_BYTES_MAX + 1];
	bool consistent;
	size_t disks;
	size_t absent; /* of these: neither Ready nor ReadOnly */
	size_t pairs;  /* mirrors */
};

struct group_member {
	uint32_t disk;
	enum disk_state state; /* DISK_MISSING also where its pool is not there */
	char label[DISK_LABEL_MAX + 1];
};

/* -ENOENT. */
int group_numbered(struct tandem *t, uint32_t number, struct group_facts *out);
int group_named(struct tandem *t, const char *name, struct group_facts *out);
/* All of them now, sorted by name; free() it. */
int groups_list(struct tandem *t, struct group_facts **out, size_t *count);
/* Sorted by label; likewise. -ENOENT: no such group. */
int group_members(struct tandem *t, uint32_t number, struct group_member **out, size_t *count);
/*
 * A reference to each of its disks, by number; free with disks_free. -EBUSY, in words:
 * there are none, or one is neither Ready nor ReadOnly.
 */
int group_disks(struct tandem *t, uint32_t number, struct disk ***out, size_t *count,
		struct why *why);

/* The numbers of its mirrors, ascending; free() it. -ENOENT: no such group. */
int group_pairs(struct tandem *t, uint32_t number, uint32_t **out, size_t *count);

/*
 * Each disk has a kept moment, the newest that is not later than what was asked for.
 * Is what they held then what they held at one moment, *g, as far as can be known?
 * -ENOENT, with a moment that all have as the advice, if there is one.
 */
int group_moment(struct disk *const *disks, const uint64_t *kept, size_t count, uint64_t *g,
		 struct why *why);

int tandem_create_group(struct tandem *t, const char *name, bool plan, struct why *why);
/* One that is pending until it is finished: a start that finds it so, and no mirror in it, deletes it. */
int tandem_begin_group(struct tandem *t, const char *name, struct why *why);
int tandem_finish_group(struct tandem *t, uint32_t number, struct why *why);
/* Its disks and their snapshots stay. */
int tandem_delete_group(struct tandem *t, const char *name, bool plan, struct why *why);
/* -EEXIST: it is a member already. */
int tandem_add_to_group(struct tandem *t, uint32_t number, struct disk *d, bool plan,
			struct why *why);
/* -ENOENT: no member has this number. */
int tandem_remove_from_group(struct tandem *t, uint32_t number, uint32_t disk, bool plan,
			     struct why *why);
/*
 * A mirror joins. -EEXIST: it is a member already; -EINVAL: it does not go with the other mirrors;
 * -EBUSY: it is not at rest. Or leaves: -ENOENT. It stays what it is.
 */
int tandem_add_pair_to_group(struct tandem *t, uint32_t number, uint32_t pair, bool plan,
			     struct why *why);
int tandem_remove_pair_from_group(struct tandem *t, uint32_t number, uint32_t pair, bool plan,
				  struct why *why);
/* A mirror of the group, all in the order of group_pairs. */
struct group_step {
	uint32_t pair;
	enum copy_state from;
	bool skip; /* it is where the operation leads */
};
/*
 * One of Activate, Detach, Failover, Failback, ResyncReplica, Resume, ReverseRoles, Split and Suspend, with all mirrors that are not skipped, or
 * none. -EAGAIN: the members are others by now, or one is not in the state `from` any more.
 */
int tandem_operate_group(struct tandem *t, uint32_t number, enum replica_operation op,
			 const struct group_step *steps, size_t count, bool force, bool plan,
			 struct why *why);
/* What CreateReplica of a group makes. */
struct clone_request;
struct clone_facts;
struct pair_request;
struct pair_facts;
struct group_replicas {
	struct disk *const *disks;
	size_t count;
	const char *name; /* of the new group: what is made has it in its names */
	bool consistent;  /* so is the new group; and clones are of one moment */
	bool plan;
	/* One of these for each disk; name, after, plan and the moment are chosen. */
	const struct clone_request *clones;
	const struct pair_request *mirrors;
};
/*
 * A clone, or a mirror, of each, all or none, and a new group of their targets and the mirrors. out
 * has room for count. -EEXIST: there is a group of that name.
 */
int tandem_clone_group(struct tandem *t, const struct group_replicas *q, struct clone_facts *out,
		       struct why *why);
int tandem_mirror_group(struct tandem *t, const struct group_replicas *q, struct pair_facts *out,
			struct why *why);
/* -EBUSY: its mirrors have different modes by now. */
int tandem_set_group_consistent(struct tandem *t, uint32_t number, bool consistent, bool plan,
				struct why *why);

/* ---- for the rest of replica/ ---- */

/* At the start, after the mirrors and before the scan; and at the stop. */
int groups_load(struct tandem *t, struct why *why);
void groups_free(struct tandem *t);
/* Before anybody is served, and when pending mirrors were taken back: what became of those groups. */
void groups_settle_pending(struct tandem *t);
/* One at least has this disk; so it is shown also while its image is gone. */
bool groups_have(struct tandem *t, uint32_t disk);
/* Whether they let it be deleted: -EPERM, only with force. With discovery held. */
int groups_check_delete(struct disk *d, bool force, struct why *why);
/* With discovery held, and no transaction: the disk is deleted, and leaves them. */
void groups_forget(struct tandem *t, struct disk *d);
/*
 * A mirror ends, with its changing held: in the transaction that says so it leaves all groups,
 * and they are told when that is durable.
 */
int groups_drop_pair(struct tandem *t, struct catalogue_txn *txn, uint32_t pair);
void groups_forget_pair(struct tandem *t, uint32_t pair, const char *name);

#endif

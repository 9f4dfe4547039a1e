/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files behind groups.h share; nobody else includes it. The table is
 * changed with discovery held, under its lock, which is a leaf that readers take; but a
 * mirror that ends leaves without discovery, so that lists of mirrors are read under the lock.
 */
#ifndef TANDEMFS_GROUPS_INNER_H
#define TANDEMFS_GROUPS_INNER_H

#include "groups.h"

/* Ascending. */
struct numbers {
	uint32_t *list;
	size_t count, room;
};

struct group {
	uint32_t number;
	bool consistent;
	bool pending; /* with discovery held */
	struct numbers disks, pairs;
	char name[];
};

struct groups {
	pthread_rwlock_t lock;
	struct group **list; /* sorted by name */
	size_t count, room;
};

/* ---- groups.c ---- */

/* Under lock, or with discovery held. NULL. */
struct group *group_of_number(struct groups *gs, uint32_t number);
struct group *group_of_name(struct groups *gs, const char *name);
bool numbers_have(const struct numbers *n, uint32_t number);
/* Under lock, or with discovery held: the disk is a member. */
bool group_has(const struct group *g, uint32_t disk);

/* With discovery held. Room is made first, so that what was recorded can be listed. */
int group_new(uint32_t number, const char *name, bool consistent, struct group **out);
void group_free(struct group *g);
int groups_room(struct groups *gs);
int numbers_room(struct groups *gs, struct numbers *n);
void groups_put(struct groups *gs, struct group *g);
void groups_take_out(struct groups *gs, struct group *g); /* the caller frees it */
void numbers_put(struct groups *gs, struct numbers *n, uint32_t number);
/* Under lock. */
void numbers_drop(struct numbers *n, uint32_t number);
void numbers_take_out(struct groups *gs, struct numbers *n, uint32_t number);
/* Those of a group now, and (unless out is NULL) what it is; free() them. -ENOENT. Any thread. */
int group_copy_disks(struct tandem *t, uint32_t number, struct group_facts *out, uint32_t **disks,
		     size_t *count);

/* ---- group_operations.c; with discovery held ---- */

/* -ENOENT, -EROFS. */
int group_find(struct tandem *t, uint32_t number, struct group **out, struct why *why);
/* One member is recorded, or not any more: a disk's number, or a mirror's. */
int group_record_member(struct tandem *t, uint32_t group, uint32_t member, bool add,
			struct why *why);
/* member NULL: `how` is all of it. */
void group_announce(struct tandem *t, const char *name, const char *how, const char *member);

/* ---- group_pairs.c ---- */

/* -EBUSY: its mirrors have different modes. */
int group_check_modes(struct tandem *t, uint32_t number, struct why *why);

/* At the start: a member whose disk is not known. */
int group_load_pair(struct tandem *t, struct group *g, uint32_t number);

#endif

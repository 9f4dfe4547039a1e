/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files behind groups.h share; nobody else includes it. The table is
 * changed with discovery held, under its lock, which is a leaf that readers take.
 */
#ifndef TANDEMFS_GROUPS_INNER_H
#define TANDEMFS_GROUPS_INNER_H

#include "groups.h"

struct group {
	uint32_t number;
	bool consistent;
	uint32_t *disks; /* their numbers, ascending */
	size_t count, room;
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
/* Where the first member is whose number is not less. */
size_t group_position(const struct group *g, uint32_t disk);
bool group_has(const struct group *g, uint32_t disk);

/* With discovery held. Room is made first, so that what was recorded can be listed. */
int group_new(uint32_t number, const char *name, bool consistent, struct group **out);
void group_free(struct group *g);
int groups_room(struct groups *gs);
int group_room(struct groups *gs, struct group *g);
void groups_put(struct groups *gs, struct group *g);
void groups_take_out(struct groups *gs, struct group *g); /* the caller frees it */
void group_put_disk(struct groups *gs, struct group *g, uint32_t disk);
void group_take_out_disk(struct groups *gs, struct group *g, uint32_t disk);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Directories of .replication/ with one entry for each object of a kind. */
#ifndef TANDEMFS_OBJECTS_H
#define TANDEMFS_OBJECTS_H

#include "ctl.h"

struct objects {
	/* The number of what has this name in dir, as a child of that row; -ENOENT, -ESTALE. */
	int (*find)(struct ctl *c, struct node dir, uint8_t row, const char *name,
		    uint32_t *number);
	bool (*exists)(struct ctl *c, uint32_t number);
	/* As node_list; `row` is the row of each child. NULL: nothing is listed. */
	int (*list)(struct ctl *c, struct node dir, uint8_t row,
		    bool (*fn)(void *, const char *, struct node), void *arg);
	/* `number` is one of lookups.h. */
	bool looked_up;
};

extern const struct objects disk_objects, pool_objects;
/* snapshots/NAME.raw of a disk; replicas/NAME. The numbers are the same. */
extern const struct objects snapshot_objects, replica_objects;
extern const struct objects group_objects, job_objects;
/* at/MOMENT.raw, changes/A..B, wait/STATE */
extern const struct objects moment_objects, changes_objects, wait_objects;

/* Another number when a status of the object would be another; 0 when it is gone. */
uint64_t disk_version(struct ctl *c, uint32_t object);
uint64_t pool_version(struct ctl *c, uint32_t object);
uint64_t replica_version(struct ctl *c, uint32_t object);
uint64_t group_version(struct ctl *c, uint32_t object);
uint64_t job_version(struct ctl *c, uint32_t object);
uint64_t job_wait_version(struct ctl *c, uint32_t object);
uint64_t wait_version(struct ctl *c, uint32_t object);

/* As node_content. */
int snapshot_content(struct ctl *c, uint32_t object, struct content *out);
int moment_content(struct ctl *c, uint32_t object, struct content *out);
int changes_content(struct ctl *c, uint32_t object, struct content *out);

/* Where source and target of a relationship are, from its directory; -ENOENT: not here. */
int source_render(struct ctl *c, uint32_t object, struct text *out);
int target_render(struct ctl *c, uint32_t object, struct text *out);
int wait_render(struct ctl *c, uint32_t object, struct text *out);

#endif

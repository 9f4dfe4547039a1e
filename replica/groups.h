/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Groups of disks: a name, and disks by their numbers, so that they stay members
 * whatever they are called, and while their images are gone. A disk may be in
 * several. A consistent group does things to all its disks at one moment, all or none.
 *
 * The operations are like those of tandem.h: they hold discovery, check everything,
 * stop there for a plan, record, and only then are seen. 0, or -errno with why and
 * nothing changed. All else: any thread.
 */
#ifndef TANDEMFS_GROUPS_H
#define TANDEMFS_GROUPS_H

#include "names.h"
#include "tandem.h"

struct groups;

struct group_facts {
	uint32_t number; /* never given to another object */
	char name[NAME_BYTES_MAX + 1];
	bool consistent;
	size_t disks;
	size_t absent; /* of these: neither Ready nor ReadOnly */
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

/*
 * Each disk has a kept moment, the newest that is not later than what was asked for.
 * Is what they held then what they held at one moment, *g, as far as can be known?
 * -ENOENT, with a moment that all have as the advice, if there is one.
 */
int group_moment(struct disk *const *disks, const uint64_t *kept, size_t count, uint64_t *g,
		 struct why *why);

int tandem_create_group(struct tandem *t, const char *name, bool plan, struct why *why);
/* Its disks and their snapshots stay. */
int tandem_delete_group(struct tandem *t, const char *name, bool plan, struct why *why);
/* -EEXIST: it is a member already. */
int tandem_add_to_group(struct tandem *t, uint32_t number, struct disk *d, bool plan,
			struct why *why);
/* -ENOENT: no member has this number. */
int tandem_remove_from_group(struct tandem *t, uint32_t number, uint32_t disk, bool plan,
			     struct why *why);
int tandem_set_group_consistent(struct tandem *t, uint32_t number, bool consistent, bool plan,
				struct why *why);

/* ---- for the rest of replica/ ---- */

/* At the start, before the scan; and at the stop. */
int groups_load(struct tandem *t, struct why *why);
void groups_free(struct tandem *t);
/* One at least has this disk; so it is shown also while its image is gone. */
bool groups_have(struct tandem *t, uint32_t disk);
/* Whether they let it be deleted: -EPERM, only with force. With discovery held. */
int groups_check_delete(struct disk *d, bool force, struct why *why);
/* With discovery held, and no transaction: the disk is deleted, and leaves them. */
void groups_forget(struct tandem *t, struct disk *d);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two disks change images. Each stays the disk that it is, with its number, its past, its
 * mirrors, its name in the mount and whoever has it open, and is in the other's file
 * afterwards. What is known of an image goes with it: that it is gone, that a flush of it
 * failed, what it was when it was looked at last.
 *
 * Who calls has discovery, and the pair's changing. Then, in this order, and the other way
 * around at the end:
 *
 *   swap_lock: opening of both -> all of the ranges of both
 *   swap_hold: stages and resizing of their histories -> flushing of both
 *   swap_images: looking of both -> table
 */
#ifndef TANDEMFS_PAIR_SWAP_H
#define TANDEMFS_PAIR_SWAP_H

#include <sys/stat.h>

#include "catalogue.h"
#include "disk.h"

struct swap {
	struct disk *d, *other; /* other has no moments */
	struct range range, other_range;
	struct kept { /* what it is called in the mount afterwards; "": its file is called so */
		char name[NAME_MAX + 1 + 4];
		uint32_t pool;
	} kept, other_kept;
	struct stat had; /* the owner and mode of other's file */
	struct had_state {
		enum disk_state state;
		char reason[200];
	} was, other_was; /* before */
};

/* What keeps a disk in its file. 0, or -EBUSY, whatever its state. */
int swap_check_disk(struct disk *d, struct why *why);
/* Moments of it are what it holds now, where nothing was written since. */
bool swap_has_moments(struct disk *d);
/*
 * Nothing is known of it that is about its content and would be about another one; and nobody
 * has it open, but for `ours` and a copy. It is served.
 */
int swap_check_other(struct disk *d, unsigned ours, struct why *why);

void swap_lock(struct swap *s);
void swap_unlock(struct swap *s);
/* From here on also those wait who take no range. */
void swap_hold(struct swap *s);
void swap_release(struct swap *s);

/* ---- held ---- */

/* Its image has no notes any more. -EBUSY: something is in them. */
int swap_drop_notes(struct disk *d);
/* Whoever could read or write d's file, and nobody else, can other's, durably. */
int swap_copy_attributes(struct swap *s);
void swap_take_back_attributes(struct swap *s);
/* Both keep their names in the mount. */
void swap_choose_names(struct swap *s);
/* d, or other, as it is to be recorded. */
void swap_record(const struct swap *s, struct disk_record *r);
void swap_record_other(const struct swap *s, struct disk_record *r);
/* Both, in a transaction. */
void swap_put(const struct swap *s, struct catalogue_txn *txn);
/* When that is durable. `goes`: other is no disk any more. */
void swap_images(struct swap *s, bool goes);

/* With discovery held and nothing else. Of one that is lost, and listed no more: its file is closed,
 * whoever knows it still. */
void swap_shut(struct disk *d);
/* Likewise: each is in the state in which the other was. */
void swap_settle_states(struct swap *s, bool goes);

#endif

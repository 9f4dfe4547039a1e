/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a mirror keeps beside its target, in a pool (beside.h), so that it can take over with the
 * state directory lost. Nothing is kept beside a target in DISKDIR.
 *
 * What is on disk before what, D is durable, T the target:
 *
 *   D(T is a moment of its source) -> D(the file says so)
 *   D(it does not any more) -> what makes T none: a copy that goes over it (MIXED of marks.h), a
 *   client's write, other images after a change of roles, a past of its own, of which the state has a part
 *
 * An asynchronous target is on its way from one generation to the next most of the time, and its
 * write log in the state, so that a delta is kept beside it as well:
 *
 *   D(.NAME.delta.new: all that may differ from what the file says it is) -> it is .NAME.delta, D
 *   -> T is written -> its write log is in its image, D -> the pair's record, D -> the file says
 *   what it is now, D -> the delta goes
 *
 * An older delta that is replaced was written to T in part, perhaps; what it has is marked first, so
 * that the next one has it too. With no space for a delta the file says that T is none by itself.
 */
#ifndef TANDEMFS_PAIR_BESIDE_H
#define TANDEMFS_PAIR_BESIDE_H

#include "delta.h"
#include "pairs_inner.h"

/* At the load: whose state this is. */
int beside_load_owner(struct pairs *ps);
/* For its marks: see marks_on_mixed. */
int beside_on_mixed(void *pair);
/* T is to be copied over. -errno: it must not. */
int beside_end_whole(struct pair *p);
/*
 * Under recording: it is about to be recorded so. -errno: it is not to be, for what follows from it
 * would make the file lie.
 */
int beside_before(const struct pair_step *s);
/* The file says what is true. By the keeper, with no lock; what fails is tried again. */
void beside_refresh(struct pair *p);

/* ---- an asynchronous one; by the keeper. With no lock, but for the first two ---- */

/* It is to be kept for that target. */
bool beside_is_kept(struct disk *target);
/*
 * Under changing: a cycle begins, after T was settled as far as possible and the file refreshed. steady: T
 * is a whole generation. -errno: it must not.
 */
int beside_begin_cycle(struct pair *p, bool steady);
/* The file makes a claim, so there is to be a delta. */
bool beside_needs_delta(struct pair *p);
/* What an older delta has is marked. */
int beside_mark_delta(struct pair *p);
int beside_new_delta(struct pair *p, const struct delta_head *head, struct delta_writer *w);
/* It takes the place of the one before, durably; or, after an error, it goes. */
int beside_keep_delta(struct pair *p, struct delta_writer *w, int err);
/* There is none: T is none by itself from here on. -errno: it is not to be written. */
int beside_go_without(struct pair *p, int because);

#endif

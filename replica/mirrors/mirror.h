/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a request does to the mirrors of a disk. A disk that is mirrored has a leg
 * for each target; a leg either writes, so that what is in step stays in step, or
 * only marks what its target misses. What differs, and what may differ after a
 * crash, is in marks.h:
 *
 *   D(mark: somebody writes there) -> source and target -> reply
 *
 * One request goes to both at the same time, so that it takes as long as the slower of
 * them: to the kernel together where it is a write of the image on each side (rings.h), else
 * by another thread. Of many at once each goes to one after the other then: the devices are
 * busy, and handing on work to another thread would cost more than it saves.
 *
 * A leg may acknowledge at flush: then the reply does not wait for its target, which is sent a copy
 * (sender.h), and a flush does.
 *
 * A region that is marked as different is not written to the target: whoever copies
 * it (pair_keeper.c) has its range, and takes all of it. An error of a target is
 * no error of the source: the leg is lost, everything that may not be durable on it
 * differs, and its owner is told. However it comes that a target was not given something,
 * that it is outdated is durable before the first such request is answered (marks_outdate). An error of the source is the client's, and what
 * it was about differs.
 *
 * Locks: legs, their mode and target are changed with the source's opening, all of its
 * range and its flushing held, and so are read with any of the three; who asks only which target it is needs none. A source's locks come
 * before its targets', which are disks like others; there is no ring of them.
 */
#ifndef TANDEMFS_MIRROR_H
#define TANDEMFS_MIRROR_H

#include "disk.h"
#include "marks.h"

struct sender;

#define MIRROR_LEGS_MAX 8

struct leg {
	void *owner;
	void (*lost)(void *owner);  /* never blocks */
	int (*skewed)(void *owner); /* a client is about to write to the target: recorded first */
	struct marks *marks;
	uint32_t source, target;   /* disks */
	_Atomic bool stops;        /* the source takes no writes while it is lost */
	bool writes;               /* else it marks */
	_Atomic(struct disk *) to; /* open, while it writes and the source is in use; a reference */
	_Atomic bool parted;       /* it is to write no more: see mirror_part */
	_Atomic bool failed;       /* it writes no more */
	_Atomic int error;         /* of that */
	_Atomic bool lacks;     /* while it writes: something of the source was never given to it */
	_Atomic uint64_t limit; /* more differs: its owner is told, once; 0: never */
	_Atomic bool skews;     /* clients may write its target, which is to be marked */
	_Atomic bool at_flush;  /* writes are answered before its target has them */
	bool full;              /* its target has all of its space, and keeps it; fixed */
	_Atomic bool missed;    /* likewise, and something that was answered never reached it */
	_Atomic bool owes;      /* nor had it, when a flush of it began */
	struct sender *sender;  /* fixed */
};

struct mirror {
	struct leg *legs[MIRROR_LEGS_MAX];
	size_t count;
	_Atomic(struct leg *) of; /* the disk is this one's target; NULL */
	atomic_uint under_way;    /* requests that go to legs */
};

/* A disk's; made when first needed, lives as long as the disk. NULL: no memory. */
struct mirror *mirror_of(struct disk *d);

/* For disk_io.c. With the range locked for writing. */
/* Whether mirror_change() does more than the disk itself. */
bool mirror_has_work(struct disk *d);
int mirror_change(struct disk *d, struct mirror *m, const struct change *c);
/*
 * With everything locked from the smaller of the two on. Before it gets another size: what a
 * client does so to a target is marked; -errno: it is not to be. And after: what fails is the leg's;
 * -errno: it is not to be answered.
 */
int mirror_may_resize(struct mirror *m, uint64_t from, uint64_t to);
int mirror_resized(struct disk *d, struct mirror *m, uint64_t from);
/* The disk itself, and every leg that writes. Under flushing. */
int mirror_flush(struct disk *d, struct mirror *m, int (*flush)(struct disk *d));
/* After a good one, before it is answered: whose target may lack what was flushed is outdated. */
int mirror_remember(struct mirror *m);

/* Under opening: the disk's first client comes, its last one has gone. */
void mirror_open(struct disk *d);
void mirror_close(struct disk *d);

/* ---- for pairs ---- */

/* The disk has one more, whose marks have its size from here on; or one less. -EBUSY: too many. */
int mirror_add(struct disk *d, struct leg *leg);
void mirror_remove(struct disk *d, struct leg *leg);
/* Where its marks could not follow it, they get its size. It is open, and nobody else writes the target. */
int mirror_fit_marks(struct disk *d, struct leg *leg);
/* As mirror_remove, with all of that locked. Returns its target: open, and a reference; or NULL. */
struct disk *mirror_take_out(struct disk *d, struct leg *leg);
/*
 * From here on it writes to `to`, which is open and a reference, both taken over, or only marks
 * (NULL): then its target is closed. Whether both were the same at that instant.
 */
bool mirror_set(struct disk *d, struct leg *leg, struct disk *to);
/*
 * All legs at one instant, at which no request is under way on any of their sources: they only mark
 * from then on, and mirror_set is to follow, for which they are what they were at that instant; or
 * mirror_rejoin. Legs of one source are next to each other, and no source is a target. -EAGAIN,
 * and nothing is changed: `which` is not the same as its source.
 */
int mirror_part(struct leg *const *legs, struct disk *const *sources, size_t count, size_t *which);
void mirror_rejoin(struct disk *source, struct leg *leg);
/* With its range locked: what its legs were sent has arrived, or is marked. */
void mirror_settle(struct disk *source);
/* All that the leg was sent has; what is answered meanwhile, too. With no range. */
void mirror_drain(struct disk *source, struct leg *leg);
/* Likewise, and what is answered later has too, if not `at_flush`. */
void mirror_acknowledge(struct disk *source, struct leg *leg, bool at_flush);
/*
 * What was sent to the disk, a target, before; also by way of others. With none of its locks, but where
 * nothing can be on its way: clients may write it.
 */
void mirror_arrive(struct disk *target);
/* So long the disk, a target, has not answered what it was sent, in ns. Waits for nothing. */
uint64_t mirror_busy(struct disk *target);
/* The target gets the size of the source, or stays longer if it cannot be cut off. It is open. */
int leg_fit(struct leg *leg, struct disk *to, uint64_t size);
/* Likewise, to a larger one; one that has all of its space gets that of the new part. */
int leg_grow(struct leg *leg, struct disk *to, uint64_t size);
/* Something of its target went wrong. */
void leg_lose(struct leg *leg, int err);

#endif

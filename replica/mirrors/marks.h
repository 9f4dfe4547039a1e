/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a disk and its mirror may differ, in memory and in a file. A crash in the middle of writes
 * leaves them so that either side may have what the other has not; the marks are what makes the
 * next copy one of these places only.
 *
 *   differs   a bit for each region: it is known to differ, and to be copied
 *   active    a bit for each area: somebody writes there, and so the two may differ after a crash
 *
 * After a stop that was not clean each region of an active area differs. That is all of the
 * recovery, and marks_open does it. On disk, with D for durable:
 *
 *   D(active) -> a write to either side of the area
 *   D(both sides), D(differs) -> not active
 *
 * While its area is active nobody needs a bit of `differs` in the file, so those are written when
 * areas become inactive, by marks_clean. A write to an area that is active costs the test of a bit;
 * one that makes an area active waits for a flush, which all who wait share.
 *
 *   outdated  whether the target lacks something of the source that was answered
 *
 * Regions say where the two may differ, also for writes that were under way in a crash; this says
 * whether the target can take over with nothing lost:
 *
 *   D(outdated) -> the answer to the first write, or flush, that the target was not given
 *
 * Memory: 2.2 MiB for a TiB, and 2 MiB more if it is watched. Any thread may call all of these but marks_close at any time.
 * Ranges lie inside the size.
 */
#ifndef TANDEMFS_MARKS_H
#define TANDEMFS_MARKS_H

#include <stdbool.h>
#include <stdint.h>

#define MARKS_REGION (64u << 10)
#define MARKS_AREA (4u << 20)

struct file;
struct marks;

/*
 * Makes a file's content, over whatever is there, and takes over `file` on success. all: everything
 * differs, and the target is outdated; else nothing, and it is not. Durable on return; before, marks_open finds that it is no such file.
 * -EFBIG: more than 500 TiB.
 */
int marks_create(struct file *file, uint32_t number, uint64_t size, bool all, struct marks **out);
/* Takes over `file` on success. -EIO: it is no such file, or that of another pair. */
int marks_open(struct file *file, uint32_t number, struct marks **out);
/* Closes the file as it is: what is active now differs when it is opened again. NULL is fine. */
void marks_close(struct marks *m);

/*
 * Before anything is written to either side in that range, and after it has ended on both. begin:
 * 0, and *turn is what end takes; -errno: nothing is to be written, and there is nothing to end.
 */
int marks_begin(struct marks *m, uint64_t off, uint64_t len, unsigned *turn);
void marks_end(struct marks *m, unsigned turn);

/* Between begin and end of that range: all regions that it touches differ. */
void marks_set(struct marks *m, uint64_t off, uint64_t len);
/*
 * Between begin and end of that range: the regions that lie in it altogether, up to the end of the
 * disk, are equal. The caller keeps writers out of them from before it copies until after this.
 */
void marks_clear(struct marks *m, uint64_t off, uint64_t len);

/*
 * From here on it is remembered which regions are set, until the next call. Whoever has begun before
 * it has ended when it returns; not between begin and end, nor in a round.
 */
void marks_watch(struct marks *m);
/* It has been made shorter since marks_watch. */
bool marks_were_cut(struct marks *m);
/*
 * As marks_clear, but for the regions that were set since marks_watch; so nobody has to keep
 * writers out, who set what they write first.
 */
void marks_clear_unset(struct marks *m, uint64_t off, uint64_t len);

/* Does the region at off differ? *run: so many bytes from there on, up to len (not 0), are alike. */
bool marks_differs(struct marks *m, uint64_t off, uint64_t len, uint64_t *run);
/* Where the first region that differs begins, of the one that off is in and those after it;
 * UINT64_MAX: none. */
uint64_t marks_next(struct marks *m, uint64_t off);
/* Bytes of the disk that differ. O(1). */
uint64_t marks_bytes(struct marks *m);
uint64_t marks_size(struct marks *m);

/* All that is active differs: one side was lost, and nobody knows what reached it. */
void marks_doubt(struct marks *m);
/* Everything differs, durably. After -errno it does in memory, and nobody knows what the file says. */
int marks_set_all(struct marks *m);
/*
 * Durable. Growing: what is new differs iff `differs`. Shrinking: nobody has begun behind the new
 * end. After a crash, or after a failure that a second one kept from being undone, the file may
 * have either size: who opens it compares, and resizes with `differs`.
 */
int marks_resize(struct marks *m, uint64_t size, bool differs);
/* Likewise, if it is not that long already: others may be at it. */
int marks_grow(struct marks *m, uint64_t size, bool differs);

enum outdated {
	UP_TO_DATE,
	OUTDATED, /* it lacks something, and nothing newer has come to it since */
	MIXED,    /* it may also have something newer than what it lacks */
};
/*
 * The target is that, at least: durable on return. To be called before what it lacks is answered; once
 * it is so that costs the test of a word, and all who come before share a flush. -errno: nothing of it
 * is to be answered.
 */
int marks_outdate(struct marks *m, enum outdated how);
enum outdated marks_outdated(struct marks *m);
/*
 * Once, at the beginning: fn is called before it is made MIXED, which it is not if fn fails. Anew
 * after each proof.
 */
void marks_on_mixed(struct marks *m, int (*fn)(void *arg), void *arg);
/*
 * Around the proof that the target lacks nothing: from begin on, who calls marks_outdate makes it so
 * anew. end: with `renewed` when the proof is recorded, durably; else it is what it was. What the file
 * says is taken back lazily.
 */
void marks_renew_begin(struct marks *m);
void marks_renew_end(struct marks *m, bool renewed);

/*
 * A round: what nobody has touched since the last one becomes inactive. Waits until all who have
 * begun before it have ended, then calls flush(arg), which makes both sides durable; not at all
 * when there is nothing to do. After -errno all that matters is as it was.
 *
 * all: nobody writes any more. Everything becomes inactive, and that is durable: a clean stop.
 * -EBUSY: somebody wrote.
 */
int marks_clean(struct marks *m, bool all, int (*flush)(void *arg), void *arg);
/* Is there anything for marks_clean to do, now or later? */
bool marks_any_active(struct marks *m);

#endif

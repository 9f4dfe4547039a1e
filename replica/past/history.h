/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The past of one disk: what happens to its writes while some moment of it is
 * kept, and what its blocks held then. Below it are the image, the write log and
 * the store (segments.h), and the catalogue's versions (versions.h).
 *
 * A write whose block's present content somebody needs is appended to the write
 * log and acknowledged; it is a pending piece of that block. The settler, in
 * batches and oldest first, saves what the image holds, and then brings the
 * pieces into the image. A block that was written since the newest moment, and
 * that no record of the log is about, is direct: its writes go to the image as if
 * there were no past.
 *
 * What is on disk before what, of one batch (D is durable):
 *
 *   D(log records), D(versions in the store) -> versions in the catalogue, one
 *   durable commit -> pieces into the image -> D(image) -> `settled` in the
 *   catalogue, a durable commit -> the log's space is free, the blocks are direct
 *
 * So replaying every record after `settled` gives what was acknowledged, however
 * often: pieces are absolute, a version that is there is not saved again, and no
 * block that a record is about was written directly.
 *
 * Nobody is stopped. The settler takes no range locks: it alone writes blocks that
 * have pieces, a reader of the present puts pieces over what it read of the image,
 * whichever of both that is, and a reader of the past looks for versions before and
 * after.
 *
 * Locks: a disk's ranges -> stages -> resizing -> history.lock; ranges or stages
 * -> disk.flushing. history.lock is held for a few instructions, and of several disks
 * only by generation_close(), in the order of their numbers. 0 or -errno.
 */
#ifndef TANDEMFS_HISTORY_H
#define TANDEMFS_HISTORY_H

#include "disk.h"
#include "growth.h"
#include "segments.h"
#include "versions.h"

struct history;

/* Unsettled bytes of one disk beyond which writers wait; less on a small file system. */
#define HISTORY_LOG_MAX (256ull << 20)

/*
 * Of a disk with this number, from what the catalogue has of it (-ENOENT: it has
 * no past) and what is in the two directories, which are taken over on success
 * only. What the log has that the image lacks is pending. Nobody uses the disk yet.
 */
int history_open(struct disk *d, struct segment_dir *log, struct segment_dir *store,
		 struct history **out);
/* The disk begins to have a past. Not durable: history_keep records it. */
int history_new(struct disk *d, uint32_t block_size, struct segment_dir *log,
		struct segment_dir *store, struct history **out);
/* Nothing is settled by it. NULL is fine. */
void history_close(struct history *h);

/* ---- for disk_io.c; between disk_open and disk_close ---- */

/* With the range locked for writing, inside of the disk. zero: buf is NULL. */
int history_write(struct history *h, const void *buf, uint64_t len, uint64_t off, unsigned io,
		  enum zero_mode mode);
/* With the range locked for reading. */
int history_read(struct history *h, void *buf, size_t len, uint64_t off, unsigned io);
/*
 * With the whole disk locked for writing. What is cut off is kept like what is
 * overwritten, and is zeros, durably, before the disk is shorter; the log has nothing
 * for behind the end.
 */
int history_resize(struct history *h, uint64_t size);
/* As lseek, of the present. */
int history_seek(struct history *h, uint64_t off, int whence, uint64_t *found);
/* The log is durable; the image is not flushed. */
int history_flush(struct history *h);
/*
 * Every piece that is pending now is in the image, durably. Waits. The image has
 * been started.
 */
int history_settle(struct history *h);
/* The last close, before the image rests: settles, and ends the settler. */
int history_rest(struct history *h);
/*
 * What it has is of nobody any more: nothing is settled or recorded of it from now on, and its
 * origin is let go of. With opening, all of the range, and history_pause.
 */
void history_abandon(struct history *h);

/* The log, or the store with the catalogue, found no space last. */
bool history_lacks_space(struct history *h);
/* Something was in the log, and is not any more: blocks with nothing in it need no space there. */
bool history_clear(struct history *h);
/*
 * The log's space in front of what is still needed is given back at once, instead of by the file.
 * false: there is none.
 */
bool history_trim(struct history *h);

/* ---- moments ---- */

enum moment_kind {
	MOMENT_NAMED,
	MOMENT_TICK,   /* of disks that were not written since their newest moment it is not kept */
	MOMENT_HIDDEN, /* of disks that are being restored; see history_restore */
	MOMENT_SENT,   /* hidden too, but of disks that are what they read as; see history_show */
};
/*
 * Ends the generation of the tandem, at one moment for all of these disks, and
 * keeps it of each of them, with names = 1 or, of another kind, 0. No write waits.
 * Nothing is recorded yet. kept[i] (may be NULL) tells of which it is kept. *g is its number.
 * -EBUSY: one of them is being restored, or shows a moment, so that it has none with a name.
 */
int generation_close(struct tandem *t, struct history *const *hs, size_t count,
		     enum moment_kind kind, uint64_t time_ms, bool *kept, uint64_t *g);
/* At the start, with the catalogue open, and at a clean stop, in its transaction. */
int generation_load(struct tandem *t);
int generation_save(struct tandem *t, struct catalogue_txn *txn);
/*
 * Every write of a generation <= g has ended. What it wrote is durable after a
 * flush that begins now.
 */
void history_await(struct history *h, uint64_t g);

/* The kept moments, oldest first; a copy, free() it. Those that are dropped are not in it. */
int history_moments(struct history *h, struct moment_record **out, size_t *count);
/* The newest kept moment with a generation <= g; -ENOENT. */
int history_moment(struct history *h, uint64_t g, struct moment_record *out);
/* The newest one that is not hidden with a generation <= g, or a time <= time_ms; -ENOENT. */
int history_moment_seen(struct history *h, uint64_t g, struct moment_record *out);
int history_moment_before(struct history *h, uint64_t time_ms, struct moment_record *out);
/* Of exactly this generation; -ESTALE: it was given up. */
int history_moment_kept(struct history *h, uint64_t g, struct moment_record *out);
/* The oldest kept moment with a generation >= g; -ENOENT. */
int history_moment_after(struct history *h, uint64_t g, struct moment_record *out);
/* Changes names, tick or dropped of a moment; -ENOENT. One that is dropped is not kept any more. */
int history_change_moment(struct history *h, const struct moment_record *m);
/*
 * The settler does not go by moments any more that were dropped before: what only
 * they needed is in the catalogue by now, or never will be. Waits for a batch.
 */
void history_barrier(struct history *h);
/*
 * Between these two no batch runs: whatever the store has is in the catalogue, or of nobody.
 * For short, with no transaction open.
 */
void history_pause(struct history *h);
void history_resume(struct history *h);
/* Likewise, and nobody reads the past: the image may become another. With all of its range locked. */
void history_hold_image(struct history *h);
void history_release_image(struct history *h);
/* A reader of a moment: a pinned one is not to be dropped. Waits as history_await. -ENOENT. */
int history_pin(struct history *h, uint64_t g);
void history_unpin(struct history *h, uint64_t g);
bool history_is_pinned(struct history *h, uint64_t g);
/*
 * Whoever has pinned it would rather have it than not, but it may be dropped; reading it then is
 * -ESTALE. And no more; before the unpin.
 */
void history_lend(struct history *h, uint64_t g, bool lend);
/* Pinned, and not only by such. */
bool history_is_needed(struct history *h, uint64_t g);

/*
 * What the disk held at the end of generation g, which is kept and pinned. The
 * disk is open. Zeros past the size it had then. -ESTALE: it was dropped.
 */
int history_read_at(struct history *h, uint64_t g, void *buf, size_t len, uint64_t off);
/*
 * That range of `to`, a file beside the disk's, gets what it held, by sharing its space. Waits for
 * a batch. -EOPNOTSUPP: it cannot be, and nothing was changed.
 */
int history_share_at(struct history *h, uint64_t g, struct file *to, uint64_t off, uint64_t len);
/* As lseek, of that moment. */
int history_seek_at(struct history *h, uint64_t g, uint64_t off, int whence, uint64_t *found);

/*
 * A restore to the kept moment `from`: while it runs, a block that was written
 * after `from` and up to the moment `before`, which was kept when it began, reads
 * as of `from`, until it is filled. A block is filled once it has a version with
 * last >= before: what it held at that moment. Before a write of a part of a block
 * the block is filled in the same record. Both moments are to be kept, and
 * no other may be made of this disk, as long as it runs.
 *
 * To abort it is to restore the moment `before`, and what marks a block as filled then
 * is a version since a moment that is kept for that alone: it is hidden, because what
 * the image holds at it the disk never was. That is a restore like any other.
 *
 * history_set_restore: with the whole range locked for writing and everything
 * settled; {0, 0}: it has ended. Not recorded; history_record has it.
 */
struct history_restore {
	uint64_t from, before; /* 0: none is running */
};
void history_set_restore(struct history *h, const struct history_restore *r);
struct history_restore history_restore(struct history *h);
/* Whether its moments are pinned though nobody fills it now; what was said before. */
bool history_keep_restore(struct history *h, bool kept);
/*
 * Fills every block that is to be, and settles; then the restore can be ended. The
 * disk is open. progress (of bytes) returns false to stop: -ECANCELED.
 */
int history_fill(struct history *h, bool (*progress)(void *arg, uint64_t bytes), void *arg);

/*
 * A clone: until a block is filled, what it holds, and held at every moment that is
 * kept of it, is what the source held at the end of that generation, which is kept
 * there for the clone; zeros behind its end. Before a write of a part of a
 * block all of it goes into the same record. A block that is filled is marked, and nobody asks for its
 * origin any more:
 *
 *   a write: the log has all of it -> the mark, in the commit that has its versions, D
 *   -> into the image, as above
 *   history_fill_step: into the image -> D(image) -> the mark, D
 *
 * While the disk is used its source is open, for reading.
 *
 * history_set_origin: nobody uses the disk yet. Takes a reference; marks are loaded.
 */
struct origin_record;
int history_set_origin(struct history *h, struct disk *source, const struct origin_record *r);
/* All is filled, and that recorded. The disk is open. */
void history_end_origin(struct history *h);
bool history_has_origin(struct history *h);
/* Under opening: the disk's first user comes; its last one has gone. */
int origin_open(struct history *h);
void origin_close(struct history *h);
/*
 * Fills about so much more; -ENOENT: all is filled. share: where the file system can, source and
 * image have the same space after it. The disk is open; one thread.
 */
int history_fill_step(struct history *h, uint64_t bytes, bool share);
/* Bytes that it has not come to. */
uint64_t history_lacking(struct history *h);
/* That had to be copied to fill it, since it was opened. */
uint64_t history_copied(struct history *h);

/*
 * What clients read of the disk is what it held at the end of that generation, which is kept and
 * pinned; what is written is not seen. 0: it is what it holds. Who has a range reads one of both.
 * Who has the disk open goes on seeing what he saw; see disk_show. Not recorded.
 */
void history_show(struct history *h, uint64_t shown, uint64_t seen);
/* What the disk shows; and what is seen of it as long as somebody has it open. */
uint64_t history_shown(struct history *h);
uint64_t history_seen(struct history *h);

/* A restore runs, or it is a clone. */
bool history_is_unfilled(struct history *h);
/* The range that a write of this one must have locked. */
void history_widen(struct history *h, uint64_t *off, uint64_t *len);

/* Kept history: what it is set to. */
struct history_window {
	uint64_t window_s; /* 0: none */
	uint64_t granularity_ms, limit;
};
struct history_window history_window(struct history *h);
void history_set_window(struct history *h, const struct history_window *w);
/*
 * Nothing is left in the store of what a crash left behind: of a new one, or after a sweep. Not
 * recorded.
 */
bool history_is_swept(struct history *h);
void history_set_swept(struct history *h);
/* What the catalogue has to remember, as it is now; in any transaction. */
void history_record(struct history *h, struct track_record *out);
uint32_t history_block_size(const struct history *h);
/* The store, for the collector. */
struct segments *history_store(struct history *h);

struct history_facts {
	uint64_t unsettled;        /* bytes that are in the write log only */
	uint64_t log_bytes, bytes; /* disk space of the log, of the store */
	size_t moments, ticks;     /* that are not hidden */
	int settle_error;          /* why the settler does not get on; 0 */
};
void history_facts(struct history *h, struct history_facts *out);
/* What the store takes now is remembered: done once in GROWTH_STEP_NS, its growth is known. */
void history_note_growth(struct history *h);
/* Of what the store takes, which are so many bytes now; as growth_rate. */
bool history_growth(struct history *h, uint64_t bytes, uint64_t at_least_ns,
		    struct growth_rate *out);

#endif

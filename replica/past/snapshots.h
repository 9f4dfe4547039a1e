/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots and kept history as an administrator knows them: names, moments,
 * what may be done with them. On top of history.h.
 *
 * The operations check everything first; `plan` stops there. All: 0, or -errno
 * with why set and nothing changed. Any thread, with no lock held. They may wait for the
 * store, never for a disk's other requests.
 */
#ifndef TANDEMFS_SNAPSHOTS_H
#define TANDEMFS_SNAPSHOTS_H

#include "history.h"
#include "tandem.h"

/* The numbers are those of CopyState. */
enum snapshot_state {
	SNAPSHOT_SYNCHRONIZED = 4,
	SNAPSHOT_BROKEN = 5,   /* its content had to be given up */
	SNAPSHOT_INACTIVE = 8, /* has no moment now */
	SNAPSHOT_SKEWED = 13,  /* its overlay was written: it is not what the disk was */
};

#define SNAPSHOT_NAME_MAX 200

struct snapshot_facts {
	uint32_t number; /* never given to another object */
	uint32_t disk;
	char name[SNAPSHOT_NAME_MAX + 1];
	char label[DISK_LABEL_MAX + 1 + SNAPSHOT_NAME_MAX + 1]; /* DISK@NAME: under replicas/ */
	enum snapshot_state state;
	uint64_t generation;              /* 0: none */
	uint64_t time_ms;                 /* of its moment */
	uint64_t size;                    /* of the disk then */
	char hold[SNAPSHOT_NAME_MAX + 1]; /* the tag; "": not held */
	uint32_t detaching;               /* number of the clone that takes its place; 0 */
	bool writable;                    /* it has an overlay */
	bool overlay_lost;                /* which could not be opened, or is Failed */
};

/* Calls fn for each, of one disk or (NULL) of all, sorted by name, until it returns false. */
void snapshots_list(struct tandem *t, struct disk *d,
		    bool (*fn)(void *arg, const struct snapshot_facts *s), void *arg);
/* -ENOENT. */
int snapshot_numbered(struct tandem *t, uint32_t number, struct snapshot_facts *out);
int snapshot_named(struct tandem *t, struct disk *d, const char *name, struct snapshot_facts *out);
/* By DISK@NAME. */
int snapshot_labelled(struct tandem *t, const char *label, struct snapshot_facts *out);
unsigned snapshots_count(const struct disk *d);
/* Bytes that are given back when this one is deleted: of the store, and its overlay. Reads the catalogue. */
int snapshot_exclusive(struct tandem *t, uint32_t number, uint64_t *bytes);
/* Goes up whenever something of a snapshot, or of kept history, is different. */
uint64_t snapshots_version(struct tandem *t);

/*
 * The disks as they are now, at one moment, all or none. name: NULL or "" makes
 * up DISK-N for each. It is durable when this returns. out (may be NULL) has room for count.
 */
int tandem_snapshot(struct tandem *t, struct disk *const *disks, size_t count, const char *name,
		    bool plan, struct snapshot_facts *out, struct why *why);
/* A name for a moment that is kept already. */
int tandem_snapshot_at(struct tandem *t, struct disk *d, const char *name, uint64_t generation,
		       bool plan, struct snapshot_facts *out, struct why *why);
/* Held: -EBUSY, open: -EBUSY. Its space comes back behind. */
int tandem_delete_snapshot(struct tandem *t, uint32_t number, bool force, bool plan,
			   struct why *why);
/* All or none; each of another disk. */
int tandem_delete_snapshots(struct tandem *t, const uint32_t *numbers, size_t count, bool force,
			    bool plan, struct why *why);
/* tag NULL: not held any more. */
int tandem_hold_snapshot(struct tandem *t, uint32_t number, const char *tag, bool plan,
			 struct why *why);
/*
 * A new moment, now: ResyncReplica; from Inactive: Activate. What was written to its overlay is
 * lost: -EPERM without force.
 */
int tandem_renew_snapshot(struct tandem *t, uint32_t number, bool force, bool plan,
			  struct why *why);
/* It has no moment any more, nor an overlay: Deactivate. Its overlay is open: -EBUSY without force. */
int tandem_deactivate_snapshot(struct tandem *t, uint32_t number, bool force, bool plan,
			       struct why *why);
/*
 * Activate ReadOnly=false. The snapshot can be written, through an overlay: a disk without a name
 * that is a clone of its moment, filled by what is written only. The first write makes the
 * snapshot Skewed. An Inactive one gets a moment with it.
 *
 *   the overlay's image, its past, empty, D -> snapshot, past and origin in the catalogue, one
 *   durable commit -> in the table ... Skewed, D -> the first write ... the snapshot without it,
 *   its past and origin gone, one durable commit -> its files go
 *
 * A crash leaves files that nobody knows of, which the next start removes.
 */
int tandem_make_snapshot_writable(struct tandem *t, uint32_t number, bool plan, struct why *why);
/* And back, to its moment: -EPERM without force when it was written, -EBUSY while it is open. */
int tandem_make_snapshot_read_only(struct tandem *t, uint32_t number, bool force, bool plan,
				   struct why *why);
/* A reference, or NULL: it has none, or that could not be opened. */
struct disk *snapshot_overlay(struct tandem *t, uint32_t number);
/* What it takes, on disk; 0: there is none. */
uint64_t snapshot_overlay_bytes(struct tandem *t, uint32_t number);
/* Less than before loses something: -EPERM without force. window_s 0: no more history. */
int tandem_keep_history(struct tandem *t, struct disk *d, const struct history_window *w,
			bool force, bool plan, struct why *why);
/* Moments of kept history before that generation are given up. */
int tandem_forget_history(struct tandem *t, struct disk *d, uint64_t before, bool force, bool plan,
			  struct why *why);
/*
 * Each disk is at once what it was at a kept moment of its own, and its image follows
 * behind; all or none, also over a crash. First what they are now becomes snapshots of
 * one moment and name; before has room for count. Open: -EBUSY without force. While
 * that runs nothing else may be done to their past.
 */
int tandem_restore(struct tandem *t, struct disk *const *disks, const uint64_t *generations,
		   size_t count, bool force, bool plan, struct snapshot_facts *before,
		   struct why *why);
/*
 * Disks that are being restored are at once what they were before, and their images
 * follow behind; all or none, also over a crash. What was written to them meanwhile is
 * lost: -EPERM without force. Open: -EBUSY without force. -EBUSY: nothing is to be
 * aborted, or it is already.
 */
int tandem_abort_restore(struct tandem *t, struct disk *const *disks, size_t count, bool force,
			 bool plan, struct why *why);
struct restore_facts {
	uint64_t from;        /* the moment that the disk is as of */
	uint32_t job;         /* 0: it has none */
	bool followed;        /* else nobody fills it, because that cannot be begun now */
	bool back;            /* it is the abort of one */
	bool written;         /* the disk was written since it began; or that is not known */
	uint64_t done, total; /* bytes */
};
/* false: there is none. */
bool restore_facts(struct disk *d, struct restore_facts *out);
/* The disk's image has everything. */
int tandem_settle_disk(struct tandem *t, struct disk *d, struct why *why);

/* How somebody names a moment. */
struct moment_spec {
	enum { MOMENT_NOW, MOMENT_GENERATION, MOMENT_TIME, MOMENT_SNAPSHOT } how;
	uint64_t value;   /* generation, or milliseconds since 1970 */
	const char *name; /* MOMENT_SNAPSHOT */
};
/*
 * The newest kept moment not later; -ENOENT. MOMENT_NOW has none: generation
 * UINT64_MAX. -ESTALE: the disk is Changed.
 */
int disk_moment(struct disk *d, const struct moment_spec *spec, struct moment_record *out);
/* Each kept moment, oldest first. snapshot: the name of one of it, or NULL. bytes: of versions
 * that only serve this moment or older ones... as many as ended with it. */
int disk_history(struct disk *d,
		 bool (*fn)(void *arg, const struct moment_record *m, uint64_t bytes,
			    const char *snapshot),
		 void *arg);
/*
 * Where the disk at moment b (UINT64_MAX: now) may differ from moment a: ascending, merged.
 * Perhaps more, never less. zero: it reads as zeros at b. The disk is open.
 */
int disk_changes(struct disk *d, uint64_t a, uint64_t b,
		 bool (*fn)(void *arg, uint64_t offset, uint64_t length, bool zero), void *arg);

/*
 * Somebody reads a moment: it stays as long as that. Counts as one that has the
 * disk open for reading. Verbs as of disk.h.
 */
int moment_open(struct disk *d, uint64_t generation);
void moment_close(struct disk *d, uint64_t generation);
int moment_read(struct disk *d, uint64_t generation, void *buf, size_t len, uint64_t off,
		size_t *done);
int moment_seek(struct disk *d, uint64_t generation, uint64_t off, int whence, uint64_t *found);

/* What status shows of a disk's past. */
struct past_facts {
	bool tracked;
	unsigned snapshots;
	uint32_t block_size;
	uint64_t generation;       /* newest moment */
	uint64_t oldest_ms;        /* of kept history; 0: none */
	uint64_t unsettled;        /* bytes */
	uint64_t bytes;            /* that old contents take */
	bool growth_known;         /* else they were not watched for long enough */
	struct growth_rate growth; /* of them */
	struct history_window window;
	size_t moments;
	int settle_error;
	bool restoring, aborting; /* aborting: it goes back to what it was before one */
	unsigned restored;        /* percent of either */
};
void disk_past(struct disk *d, struct past_facts *out);
/*
 * Of a disk without its image, listed or not: what is kept for that is in it; else why not. absent
 * says where it is: "is Missing".
 */
int past_check_absent(struct tandem *t, uint32_t number, const char *label, const char *absent,
		      struct why *why);
/* Something of its past is kept: its image is not to be lost, nor to be changed by others. */
bool disk_has_past(const struct disk *d);
/*
 * Whether its past lets it be deleted. -EPERM: only with force. -EBUSY: a snapshot is held, or
 * being made. Of a disk that is claimed already, so that no operation on it begins.
 */
int snapshots_check_delete(struct disk *d, bool force, struct why *why);

/* ---- for the rest of replica/ ---- */

/* Of an overlay that is to be written for the first time, with its range locked: that is recorded. */
int overlay_touch(struct disk *over);
/* With discovery held: the disk is not there any more, or is called otherwise. */
void overlays_detach(struct disk *source);
void overlays_relabel(struct disk *source);
/* Those of which a flush failed stay Failed, also over a restart. With no transaction. */
void overlays_record_failures(struct tandem *t);
/* References on all that are there; disks_free. At the stop; then the snapshots have them no more. */
struct disk **overlays_now(struct tandem *t, size_t *count);
void overlays_close(struct tandem *t);
/* At the start, before the scan; and at the stop. Ticker and collector are threads of these. */
int snapshots_load(struct tandem *t, struct why *why);
int snapshots_start(struct tandem *t);
/*
 * Instead, where nobody is served: what they would fill is filled. All that can be; the first that
 * cannot is told of.
 */
int snapshots_complete(struct tandem *t, struct why *why);
void snapshots_stop(struct tandem *t);
void snapshots_free(struct tandem *t);
/* With discovery held, of a disk that is not listed yet: it gets its past, which is completed. */
int snapshots_attach(struct tandem *t, struct disk *d, char reason[200]);
/*
 * A restore of it that was running when we were ended goes on. One that cannot, because its image
 * cannot be written now, keeps nobody from starting: Stalled is announced.
 */
void snapshots_resume(struct disk *d);
/*
 * With discovery held, and no transaction: its image is not what it was, so no moment is kept any
 * more and its snapshots are Broken. -EBUSY: somebody reads one.
 */
int snapshots_break(struct disk *d, struct why *why);
/* With discovery held, and no transaction: the disk is deleted, with what was kept of it. */
void snapshots_forget(struct tandem *t, struct disk *d);

#endif

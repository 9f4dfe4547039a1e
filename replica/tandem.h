/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole of one running tandemfs: its pools, disks, catalogue and events.
 *
 * discovery   held while the set of disks or pools is changed, or a name in a
 *             directory: by the watcher, commands, create, rename, unlink. May
 *             be held across directory I/O, so no reader ever takes it.
 * table       short; the lists below. Readers take only this one.
 */
#ifndef TANDEMFS_TANDEM_H
#define TANDEMFS_TANDEM_H

#include <sys/types.h>

#include "catalogue.h"
#include "disk.h"
#include "enumerations.h"
#include "events.h"
#include "pool.h"

struct crew;
struct rings;
struct groups;
struct jobs;
struct pairs;
struct snapshots;
struct watch;

/* What an administrator can set while it runs; recorded. See settings in tandem.c. */
struct tandem_settings {
	uint32_t block_size;        /* of disks that get tracked from now on */
	uint32_t rescan_interval_s; /* look through the directories again, unasked */
	uint32_t stop_timeout_s;
	uint32_t copy_rate;  /* bytes in a second, of all copies together; 0: any */
	uint32_t max_copies; /* at a time; 0: any number */
};

struct tandem {
	char disk_dir[PATH_MAX], state_dir[PATH_MAX]; /* absolute, for people */
	int state_dirfd, lock_fd;
	bool read_only;
	time_t started;             /* CLOCK_REALTIME */
	uint64_t started_ns;        /* CLOCK_MONOTONIC */
	int notes_dirfd;            /* STATE/notes: files called by numbers of disks */
	uint8_t boot[16];           /* this boot of the machine */
	bool had_children;          /* under discovery; see parents.c */
	unsigned requests_per_disk; /* limit of each disk's gate */
	pthread_mutex_t settings_lock;
	struct tandem_settings settings; /* under settings_lock */
	struct catalogue *catalogue;
	struct events *events;
	struct watch *watch;
	struct crew *crew;           /* for the settlers; NULL in some tests */
	struct rings *rings;         /* NULL: there is no io_uring here */
	struct snapshots *snapshots; /* see snapshots.h; NULL in tests without a catalogue */
	struct groups *groups;       /* see groups.h; likewise */
	struct pairs *pairs;         /* see pairs.h; likewise */
	struct jobs *jobs;           /* see jobs.h; NULL in some tests */

	bool was_clean;       /* the last stop was */
	_Atomic bool serving; /* tandem_start was reached; workers may ask before that */
	bool made_state;      /* there was no state directory before */
	pthread_mutex_t discovery;
	/* Under discovery: what this look has to record, committed at its end. LMDB's write
	 * lock is not recursive, so whoever holds discovery writes through this one. */
	struct catalogue_txn *txn;

	pthread_rwlock_t table;
	/* Under table. */
	struct disk **by_label, **by_number; /* the same disks, sorted */
	size_t disk_count, disk_room;
	struct pool **pools; /* pools[0] is DISKDIR */
	size_t pool_count, pool_room;

	pthread_mutex_t generation_lock; /* whoever ends one */
	_Atomic uint64_t generation;     /* the one that writes belong to now */
	uint64_t generation_reserved; /* under generation_lock: no number from here on was given */
	atomic_uint openers;          /* of all disks */
	pthread_mutex_t closes_lock;  /* a leaf, for these: see close_wait.h */
	pthread_cond_t closed;
	uint64_t closes;
	_Atomic uint64_t changes;
	_Atomic(void (*)(void *)) on_change;
	void *on_change_arg;
};

struct tandem_options {
	const char *disk_dir;
	const char *state_dir; /* NULL: DISKDIR/.tandem */
	bool known;            /* there must be a state */
	bool read_only;
	unsigned requests_per_disk;
	uint32_t block_size;                  /* 0: as recorded, else the default */
	uint32_t stop_timeout_s;              /* 0: as recorded, else the default */
	const char **pool_names, **pool_dirs; /* pool_count of each */
	size_t pool_count;
};

/* Locks, opens and scans everything. Starts no thread. why says what stands in the way. */
int tandem_open(const struct tandem_options *o, struct tandem **out, struct why *why);
/* Starts the watcher. After daemonising. */
int tandem_start(struct tandem *t, struct why *why);
/* Every image has what was written to it, durably; -EIO names one that can't have it. */
int tandem_settle(struct tandem *t, struct why *why);
/*
 * Instead of tandem_start: the same, and what a disk, or a clone that somebody fills, serves is in its
 * image too. All that can be; the first that cannot, or is not there, is named.
 */
int tandem_complete(struct tandem *t, struct why *why);
/* After that: calls fn for each file that is not whole by itself still. Whether there is any. */
bool tandem_tell_incomplete(struct tandem *t, void (*fn)(void *arg, const char *text), void *arg);
/* Flushes and closes every image, records a clean stop, releases the locks. */
void tandem_close(struct tandem *t);

/* The disks now, sorted by label, a reference on each; free with disks_free. */
struct disk **tandem_disks(struct tandem *t, size_t *count);
void disks_free(struct disk **disks, size_t count);
/* The pools now, DISKDIR first; likewise. */
struct pool **tandem_pools(struct tandem *t, size_t *count);
void pools_free(struct pool **pools, size_t count);

/* A reference, or NULL. Labels are FILE or POOL:FILE. */
struct disk *tandem_disk_numbered(struct tandem *t, uint32_t number);
struct disk *tandem_disk_labelled(struct tandem *t, const char *label);
/* By its name in the mount directory of a pool; only one that is served. */
struct disk *tandem_disk_mounted(struct tandem *t, const struct pool *pool, const char *name);
/* One that is listed is called so, served or not. */
bool tandem_name_is_known(struct tandem *t, const struct pool *pool, const char *name);
/* Either of the two names: what a command says (POOL:FILE, or POOL:FILE.raw). */
struct disk *tandem_disk_called(struct tandem *t, const char *name);
struct pool *tandem_pool_numbered(struct tandem *t, uint32_t number);
struct pool *tandem_pool_named(struct tandem *t, const char *name); /* "" is DISKDIR */

/* Something that a status shows is different now. d may be NULL. */
void tandem_changed(struct tandem *t, struct disk *d);
/* Called after each such change, from any thread; must not block. */
void tandem_set_listener(struct tandem *t, void (*fn)(void *), void *arg);

/*
 * The operations. Each checks everything first; `plan` stops there, with 0
 * meaning that it would be done. All: -errno with why set, and nothing changed.
 */

struct create_disk {
	const char *name;                 /* [POOL:]FILE */
	const char *format;               /* NULL: by ending */
	uint64_t size;                    /* 0: the parent's */
	uint32_t block_size, sector_size; /* 0: the format's choice */
	const char *parent;               /* the name of a disk, or NULL */
	uint32_t mode, uid, gid;          /* of the file */
	enum provisioning provisioning;
	/* By open(O_CREAT) in the mount: may be empty; a name that is not a raw disk's is -EPERM. */
	bool as_file;
	bool plan;
	/*
	 * The image is FILE.incomplete until somebody renames it. record (may be NULL) puts
	 * more into the transaction in which the disk is recorded, before it is listed.
	 */
	bool incomplete;
	int (*record)(void *arg, struct catalogue_txn *txn, struct disk *d);
	void *arg;
};
/* The disk is durable, in its state Ready, and in the mount. *out is a reference, NULL for a plan. */
int tandem_create_disk(struct tandem *t, const struct create_disk *c, struct disk **out,
		       struct why *why);
/*
 * -EBUSY while open. -EPERM: it has snapshots or history, or is in a group, and force was
 * not said.
 * `called` is the name that led to d: if it has another by now, -ENOENT. NULL:
 * whatever it is called.
 */
int tandem_delete_disk(struct tandem *t, struct disk *d, const char *called, bool force, bool plan,
		       struct why *why);
/* For who is no command: waits for a close that is on its way. With no lock held. */
int tandem_delete_patiently(struct tandem *t, struct disk *d, const char *called, bool force);
/* With its past; -EBUSY also if it is not the target of that relationship any more. */
int tandem_delete_clone(struct tandem *t, struct disk *d, uint32_t clone, bool plan,
			struct why *why);
/*
 * Renames the image too; snapshots and history stay with it. -EBUSY: over a disk that has some.
 * Within one pool; flags as renameat2's RENAME_NOREPLACE. Waits likewise.
 */
int tandem_rename_disk(struct tandem *t, struct disk *d, const char *called, const char *new_name,
		       unsigned flags, struct why *out);
int tandem_resize_disk(struct tandem *t, struct disk *d, uint64_t size, bool force, bool plan,
		       struct why *why);
int tandem_set_disk_read_only(struct tandem *t, struct disk *d, bool read_only, bool plan,
			      struct why *why);
/* The image as it is now is the truth. Only from Changed or Failed. */
int tandem_accept_disk(struct tandem *t, struct disk *d, bool force, bool plan, struct why *why);
int tandem_add_pool(struct tandem *t, const char *name, const char *dir, bool plan,
		    struct why *why);
/* -EBUSY while one of its disks is open. */
int tandem_remove_pool(struct tandem *t, const char *name, bool force, bool plan, struct why *why);
/* Looks through every directory now, and returns when done. */
int tandem_rescan(struct tandem *t, bool plan, struct why *why);
struct tandem_settings tandem_get_settings(struct tandem *t);
/* Checks and records; takes effect at once. */
int tandem_set(struct tandem *t, const struct tandem_settings *s, bool plan, struct why *why);

/* ---- for the rest of replica/ ---- */

/* The open transaction, begun when first needed; and its end. */
int tandem_txn(struct tandem *t, struct catalogue_txn **txn);
int tandem_commit(struct tandem *t);
/* Under discovery. The table takes its own reference; conflicts of names are resolved. */
int tandem_list_disk(struct tandem *t, struct disk *d);
void tandem_unlist_disk(struct tandem *t, struct disk *d);
/*
 * The two get what the other has, as swap does it: under table, so that no label is found twice
 * or never. `goes`: other is listed no more.
 */
void tandem_swap_listed(struct tandem *t, struct disk *d, struct disk *other,
			void (*swap)(struct disk *d, struct disk *other), bool goes);
/* A mount name may be free again. With no other lock held. */
void tandem_settle_names(struct tandem *t);
/* It was not served, and is now, unless another has its mount name by then. */
void tandem_serve_again(struct tandem *t, struct disk *d);
void tandem_rename_listed(struct tandem *t, struct disk *d, const char *file_name);
int tandem_list_pool(struct tandem *t, struct pool *p);
void tandem_unlist_pool(struct tandem *t, struct pool *p);
/* The disk of this pool whose image has this name, or will have; listed or not served; a reference. */
struct disk *tandem_disk_of_file(struct tandem *t, const struct pool *p, const char *file_name);

#endif

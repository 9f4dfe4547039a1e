/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files behind snapshots.h share; nobody else includes it.
 *
 * A change of moments or snapshots is made under `changing`: what is to be is
 * worked out, committed, and then set in memory. It is held across a commit, and
 * never across anything of a disk. Whoever takes it has no transaction open.
 *
 *   tandem.discovery -> changing -> LMDB's write lock
 *   changing -> snapshots.lock, dropping, collector.lock, history.lock: leaves
 *
 * A moment that is to be dropped is in `dropping` until it is dropped, and who
 * wants to read one pins it first and then looks there: so one of the two sees
 * the other.
 */
#ifndef TANDEMFS_SNAPSHOTS_INNER_H
#define TANDEMFS_SNAPSHOTS_INNER_H

#include "snapshots.h"

struct snapshot {
	uint32_t number; /* 0: it is being made, and only its name is taken */
	uint32_t disk;
	uint64_t generation, time_ms, size; /* of its moment; generation 0: it has none */
	enum snapshot_state state;
	bool busy;           /* it is being renewed, or made writable or the place of a clone */
	uint32_t detaching;  /* number of the clone that takes its place; 0 */
	uint32_t overlay;    /* number of the disk with what is written to it; 0: read-only */
	struct disk *over;   /* that one, a reference; NULL: it is not there */
	bool overlay_failed; /* it is recorded that a flush of it failed */
	char *hold;          /* NULL: not held */
	struct exclusive {
		uint64_t lower, upper, versions, bytes; /* what was found last; moments.c */
	} exclusive;
	char name[];
};

struct order {
	int (*compare)(const struct snapshot *s, const struct snapshot *key, const char *name);
	struct snapshot **list;
	size_t count, room;
};

struct collector;
struct ticker;
struct restorer;

struct snapshots {
	struct tandem *t;
	pthread_rwlock_t lock;
	/* Under lock. The same snapshots; those without a number are in by_name only. */
	struct order by_number, by_name, by_moment;
	_Atomic uint64_t version;

	pthread_mutex_t changing;
	_Atomic uint64_t last_ms; /* the latest time that a moment was given */

	pthread_mutex_t dropping_lock;
	struct dropping {
		uint32_t disk;
		uint64_t generation;
	} * dropping;
	size_t dropping_count, dropping_room;

	pthread_mutex_t restoring; /* a leaf */
	pthread_cond_t halted;     /* see restorer.h */
	struct restorer *restorers;
	_Atomic bool ending; /* what cannot be completed stays as it is */

	struct pool *overlays; /* STATE/overlays; without a directory until there is one */
	struct collector *collector;
	struct ticker *ticker;
	struct clones *clones; /* see clones.h */

	/* space.c */
	pthread_mutex_t making; /* room: one at a time; taken with nothing held */
	_Atomic uint64_t made;  /* goes up when there may be more than before */
	_Atomic bool low;       /* there is little */
	_Atomic bool out;       /* there was none, and there is little still */
	_Atomic uint64_t free;  /* bytes, when it was looked at last; UINT64_MAX: never yet */
	uint64_t watched_ns;    /* since then growth is */
};

/* ---- snapshot_table.c. Changes: under changing ---- */

int table_load(struct snapshots *s);
void table_free(struct snapshots *s);
/* Under lock: where the first is that is not before the key; what is there, or NULL. */
size_t order_position(const struct order *o, const struct snapshot *key, const char *name);
struct snapshot *order_at(const struct order *o, size_t i);
/* By name: where the first is that comes after it, whether that one is there or not. */
size_t order_after(const struct order *o, uint32_t disk, const char *name);
struct snapshot *table_named(struct snapshots *s, uint32_t disk, const char *name);

/* A name is taken. -EEXIST, -ENOMEM. */
int table_reserve(struct snapshots *s, uint32_t disk, const char *name, struct snapshot **out);
/* It gets its number, or another moment (m NULL: none), or state. Cannot fail. */
void table_set(struct snapshots *s, struct snapshot *sn, uint32_t number,
	       const struct moment_record *m, enum snapshot_state state);
/* At the start: of those that name this moment. */
void table_set_size(struct snapshots *s, uint32_t disk, const struct moment_record *m);
void table_hold(struct snapshots *s, struct snapshot *sn, char *hold); /* takes over hold */
/* Another clone, or 0, takes its place, if that one did. The snapshot may be gone. */
void table_detach(struct snapshots *s, uint32_t number, uint32_t from, uint32_t to);
/* With the moment that it has. */
void table_set_state(struct snapshots *s, struct snapshot *sn, enum snapshot_state state);
/* It has that overlay now, which is taken over, or (0, NULL) none; returns what it had. */
struct disk *table_overlay(struct snapshots *s, struct snapshot *sn, uint32_t number,
			   struct disk *over);
void table_remove(struct snapshots *s, struct snapshot *sn);
/* Under changing, or lock. NULL. */
struct snapshot *table_numbered(struct snapshots *s, uint32_t number);
/* The snapshot of this disk after that one by name; NULL: the first. Under changing. */
struct snapshot *table_next(struct snapshots *s, uint32_t disk, const struct snapshot *last);
/*
 * How many name this moment, or clone it; one's name goes to `name`, unless that is NULL. "" if
 * only clones need it.
 */
uint32_t table_names(struct snapshots *s, uint32_t disk, uint64_t generation,
		     char name[SNAPSHOT_NAME_MAX + 1]);
void table_record(const struct snapshot *sn, struct snapshot_record *out);

/* ---- snapshots.c ---- */

/* The first free one of DISK-N. Free for as long as changing is held. */
int table_make_up(struct snapshots *s, struct disk *d, char name[SNAPSHOT_NAME_MAX + 1]);
void table_facts(struct snapshots *s, const struct snapshot *sn, struct snapshot_facts *out);
/* Something of a past is different. d may be NULL. */
void snapshots_changed(struct tandem *t, struct disk *d);

/* ---- snapshot_make.c ---- */

/* Some snapshots that get a moment together. */
struct making {
	struct tandem *t;
	struct snapshots *s;
	struct disk *const *disks;
	size_t count;
	struct snapshot **made; /* NULL: its name is not taken yet */
	struct history **hs;
	struct moment_record *moments; /* generation 0: there is none yet */
	uint32_t *numbers;
	struct disk *over; /* the overlay that the only one gets; NULL: none has one any more */
};

/* The caller frees it also after a failure. */
int making_init(struct making *m, struct tandem *t, struct disk *const *disks, size_t count);
void making_free(struct making *m);
/* One moment, of all disks, durable. */
int making_take(struct making *m, struct why *why);
/* Nothing is recorded of it. The collector drops it, unless somebody has named it by then. */
void making_drop(struct making *m);
/* Under changing: moments and snapshots. less: a moment that loses a name by it, or NULL. */
int making_record(struct making *m, const struct moment_record *less);
/* Under changing: in the table. out may be NULL. */
void making_list(struct making *m, struct snapshot_facts *out);
const char *snapshot_state_name(enum snapshot_state s);
/* from, to: as in CopyState, "-" for none. */
void snapshot_announce(struct tandem *t, const struct snapshot_facts *f, const char *from,
		       const char *to);
int unrecorded(struct why *why, int err);

/* ---- snapshot_operations.c ---- */

/* A snapshot that an operation works on, under changing, and its disk. */
struct target {
	struct snapshots *s;
	struct snapshot *sn;
	struct disk *d; /* a reference */
	struct snapshot_facts before;
};
/* Takes changing; target_end lets go of it. */
int target_begin(struct tandem *t, uint32_t number, struct target *g, struct why *why);
void target_end(struct target *g, bool changed);
int check_not_held(const struct target *g, struct why *why);
int check_not_detaching(const struct target *g, struct why *why);
/*
 * What becomes of its moment without it: less->generation is 0 where it has none.
 * Until dropping_end or moment_changed nobody begins to read it.
 */
int leave_moment(const struct target *g, struct moment_record *less, struct why *why);
void moment_left(const struct target *g, const struct moment_record *less, int err);
/* to: what the snapshot is to be. An overlay that it has not any more is forgotten. */
int commit_change(const struct target *g, const struct moment_record *less,
		  const struct snapshot_record *to);

/*
 * Under changing: a clone of this moment may take the snapshot's place. Until detach_end nobody
 * does anything else to it; with plan, nothing changes.
 */
int snapshot_detach_begin(struct tandem *t, uint32_t number, uint64_t generation, bool plan,
			  struct why *why);
/* Likewise. clone 0: none was made. The snapshot may be gone. */
void snapshot_detach_end(struct tandem *t, uint32_t number, uint32_t clone);

/* ---- overlay.c ---- */

/* At the start, once the table is there: files of overlays that nobody knows of go. */
int overlays_load(struct snapshots *s);
void overlays_free(struct snapshots *s);
/* With discovery held, of a disk that is found: the overlays of its snapshots. */
void overlays_attach(struct disk *source);
/*
 * An empty one of a moment that stays meanwhile, with a number of its own: all that it needs is
 * durable, and nobody knows of it. overlay_remove takes it away again.
 */
int overlay_make(struct disk *source, const struct moment_record *m, struct disk **out);
/* Under changing: it is recorded, and can be opened. Takes it over. */
void overlay_list(const struct target *g, struct disk *over);
/* It is of nobody any more, and nobody has it open: its files go, and the reference. */
void overlay_remove(struct snapshots *s, uint32_t number, struct disk *over);
/* In the transaction in which a snapshot gets one, or loses it. */
int overlay_put(struct catalogue_txn *txn, const struct disk *over, const struct disk *source,
		const struct moment_record *m);
int overlay_forget(struct catalogue_txn *txn, uint32_t number);
/* Under changing. If so, what is refused for it is while_open(). */
bool overlay_is_open(struct snapshots *s, const struct snapshot *sn, struct why *why);
/* Its moment is lost, where the rest of it was: who reads or writes it gets EIO. */
void overlay_lose(struct snapshots *s, const struct snapshot *sn);

/*
 * Whoever takes away a snapshot's overlay holds it, from before changing until after it is
 * recorded: nobody opens it, and no request of it is under way. Of several they are held in the
 * order of the snapshots' numbers. -EBUSY without force: somebody has it open.
 */
struct overlay_hold {
	uint32_t number; /* of it; 0: there is none */
	struct disk *d;  /* a reference; NULL: none that could be opened */
	struct range whole;
};
int overlay_hold(struct snapshots *s, uint32_t snapshot, bool force, struct overlay_hold *hold,
		 struct why *why);
/* Under changing: that is what the snapshot has still; -EBUSY. */
int overlay_check_held(struct snapshots *s, struct overlay_hold *hold, const struct snapshot *sn,
		       struct why *why);
/* gone: it is not the snapshot's any more; who has it open gets EIO from now on. */
void overlay_let_go(struct snapshots *s, struct overlay_hold *hold, bool gone);

/* ---- past.c, past_facts.c ---- */

/* The disk's past; it begins to have one. May wait for the writes under way. */
int past_begin(struct disk *d, struct history **out, struct why *why);
/* What the catalogue has of it is brought up to date. */
int past_record(struct disk *d, struct history *h);
/* STATE/past/NUMBER is there, and empty: the catalogue may know of a past. */
int past_prepare(struct disk *d);
/* A past of a disk that nobody uses yet: an empty one there; or what the catalogue has of it. */
int past_make(struct disk *d, uint32_t block_size, struct history **out);
int past_reopen(struct disk *d, struct history **out);
/*
 * Of one whose image is not there: what its write log has that may not be in that. Nothing changes.
 * *torn: it ends with a record that cannot be read, which was perhaps not answered. -EIO: it is damaged.
 */
int past_unsettled(struct tandem *t, uint32_t number, uint64_t settled, uint64_t *bytes,
		   bool *torn);
/* STATE/past/NUMBER goes, durably. */
int past_remove_files(struct tandem *t, uint32_t number);
/* What a crash has kept from it, before anybody uses a disk. */
void past_remove_left_overs(struct tandem *t);
/* -EBUSY unless the disk is Ready or ReadOnly. */
int past_check_served(struct disk *d, struct why *why);
/* Nor is it being restored. */
int past_check_disk(struct disk *d, struct why *why);
/* Everything that was acknowledged is durable, as far as we are asked to care. */
int past_flush(struct disk *d);
/* CLOCK_REALTIME, but never before the moment before. */
uint64_t past_now(struct snapshots *s);

/* ---- changes of moments; under changing ---- */

/* A moment is not to be read any more; -EBUSY: somebody does. */
int dropping_begin(struct snapshots *s, struct disk *d, uint64_t generation);
/* The same, but for readers who can do without; they get ESTALE when it is dropped. */
int dropping_force(struct snapshots *s, struct disk *d, uint64_t generation);
void dropping_end(struct snapshots *s, struct disk *d, uint64_t generation);

/* The kept moment of exactly this generation; of a disk without its image, from the catalogue. */
int moment_exactly(struct disk *d, uint64_t generation, struct moment_record *out);
/* After the commit: in memory, and to the collector. Ends dropping. */
void moment_changed(struct snapshots *s, struct disk *d, const struct moment_record *m);

/* Generations of the kept moments before and after it; 0 and UINT64_MAX where there is none. */
void moment_neighbours(struct history *h, uint64_t generation, uint64_t *lower, uint64_t *upper);
/* A reader comes or goes; -ENOENT: it is not kept, or not for long. With nothing held. */
int moment_pin(struct disk *d, uint64_t generation);
void moment_unpin(struct disk *d, uint64_t generation);
bool moment_is_read(struct disk *d, uint64_t generation);

/* ---- collect.c ---- */

struct dropped {
	uint64_t generation;
	int err; /* 0: it is done, or there is nothing to do any more; -ECANCELED: stopped */
};
/* Dropped moments of a disk with its history; the list may be in another order then. */
void collect(struct tandem *t, struct disk *d, struct dropped *list, size_t count,
	     _Atomic bool *stop);
/* Whatever nobody needs. -ECANCELED: stopped. */
int collect_rest(struct tandem *t, struct disk *d, _Atomic bool *stop);

/* ---- sweep.c ---- */

/* Space that a crash before this start left in the store is given back. -ECANCELED: stopped. */
int sweep_store(struct tandem *t, struct disk *d, struct segments *store, _Atomic bool *stop);

/* ---- collector.c ---- */

int collector_new(struct tandem *t, struct collector **out);
int collector_start(struct collector *c);
/* NULL is fine. */
void collector_free(struct collector *c);
/* A dropped moment; 0: whatever nobody needs of that disk. */
void collector_add(struct collector *c, struct disk *d, uint64_t generation);
/* A moment was closed. */
void collector_wake(struct collector *c);
/* It has nothing to do for that disk. */
bool collector_is_idle(struct collector *c, uint32_t disk);
/* Waits until it has given some space back, or done all that it can. false: it had nothing to do. */
bool collector_await(struct collector *c);
void collector_gave(struct collector *c);

/* ---- history_operations.c ---- */

/*
 * Ticks of generations before that one are given up; but those that somebody reads
 * now. So many in one transaction that it stays short.
 */
int ticks_drop(struct disk *d, uint64_t before);

/* ---- restores.c ---- */

/* The disk is found, with a restore that was running when we were ended: what it is served from stays. */
void restore_keep(struct disk *d);
/* One that nobody follows goes on. */
int restore_resume(struct disk *d);
/*
 * The image becomes the truth: one that nobody follows is none from now on, in memory, and its
 * moments may go. What it was, for restore_remember where that could not be recorded.
 */
struct forgotten_restore {
	struct history_restore restore;
	bool kept; /* its moments were */
};
struct forgotten_restore restore_forget(struct disk *d);
void restore_remember(struct disk *d, const struct forgotten_restore *was);
/* All are complete; or why one is not: it goes on at the next start. */
int restores_end(struct snapshots *s);
/* Where nobody is served: both, of one disk that nothing else is done to. */
int restore_complete(struct disk *d);

/* ---- past_loss.c ---- */

/* How bad it is to lose a moment. */
enum importance {
	LOOSE,
	READ_NOW,     /* somebody reads it */
	HELD,         /* a snapshot of it is */
	INDISPENSABLE /* a restore is at it, or it is being made */
};
/* Under changing. The oldest kept moment of a disk that is no more important than that; 0: none. */
uint64_t oldest_to_lose(struct snapshots *s, struct disk *d, enum importance most);
/* Under changing: that moment and its snapshots, for want of space. Who reads it finds that out. */
int moment_lose(struct snapshots *s, struct disk *d, uint64_t generation);

/* ---- space.c ---- */

/* How much there is now: tells of it, and gives up some history if it is little. */
void space_look(struct snapshots *s);
/* The oldest ticks of a disk. Whether there were any. */
bool space_shed(struct disk *d);

/* ---- ticker.c ---- */

int ticker_new(struct tandem *t, struct ticker **out);
int ticker_start(struct ticker *k);
void ticker_free(struct ticker *k);
/* A window was set. */
void ticker_wake(struct ticker *k);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files behind pairs.h share; nobody else includes it.
 *
 * A pair has a keeper, a thread that copies, cleans marks, and makes of a lost leg
 * a Broken pair. A state is recorded and set under `changing` of the pair, which is
 * held across commits and the changes of its leg, and by one at a time.
 *
 *   tandem.discovery -> pair.changing -> LMDB's write lock
 *   pair.changing -> a disk's opening, ranges, flushing (mirror.h)
 *   pair.changing -> pair.applying -> the target's ranges, snapshots.making
 *   a disk's range -> pair.recording -> LMDB's write lock, pair.lock
 *   marks.writing, pair.recording -> pair.keeping -> tandem.table, pair.lock
 *
 * On disk, in this order:
 *
 *   STATE/pairs/NUMBER, everything differs, D -> pair (and target) in the catalogue, D
 *   -> its leg is in place: from now on every write of the source is marked
 *   ... copied, D(both) -> FILE.incomplete is called FILE -> Synchronized, D
 *   the pair goes from the catalogue, D -> its file goes
 */
#ifndef TANDEMFS_PAIRS_INNER_H
#define TANDEMFS_PAIRS_INNER_H

#include "beside.h"
#include "mirror.h"
#include "pair_records.h"
#include "pairs.h"
#include "tandem.h"

struct swap;

/* Asynchronous mirrors at a moment that all of them have; see pair_meet.c. */
struct meeting {
	enum meeting_state {
		MEETING_NONE,
		MEETING_CALLED,
		MEETING_HERE,
		MEETING_GO,
		MEETING_GOING, /* the keeper has taken over the pin */
		MEETING_READY, /* of a generation: the target has it, durably, and waits to be said so */
		MEETING_AGREED, /* likewise: that is being recorded */
		MEETING_MET,
		MEETING_OFF,        /* it does not get there */
		MEETING_CALLED_OFF, /* others do not; the keeper has not seen that yet */
	} is;
	uint64_t at; /* the moment, which it has a pin of */
};

struct pair {
	struct pair *next;
	struct pairs *of;
	uint32_t number; /* fixed, as in r */
	char name[SNAPSHOT_NAME_MAX + 1];
	struct leg leg;           /* fixed, but for what mirror.h says */
	bool thin;                /* fixed: what is zeros of its source is a hole of its target */
	pthread_mutex_t changing; /* see above */
	pthread_mutex_t
		recording;    /* held across the commit of its record; taken last but for lock */
	pthread_mutex_t lock; /* a leaf, for the record and what is said of the keeper */
	pthread_cond_t poked; /* with lock */
	pthread_cond_t set;   /* with lock: the state is another, or the keeper is to end */
	struct pair_record r; /* changed with changing and lock */
	bool gone;            /* likewise; only its number is known still */
	int error;            /* under lock: why copying does not get on */
	bool copying;         /* under lock */
	_Atomic bool stop;    /* its copying */
	_Atomic bool stopped_in_vain;      /* a stop was taken back, perhaps with its leg off */
	_Atomic unsigned rewrites;         /* how often a disk of it became another */
	_Atomic bool leave;                /* likewise its target: see pair_leave_target */
	_Atomic bool verify;               /* is asked for, or being done */
	_Atomic uint64_t verified, mended; /* bytes */
	uint32_t proof_job; /* its own, and set under changing while nobody verifies; 0: none yet */
	uint64_t proof_began_ms; /* likewise */
	/* Of an asynchronous one: see pair_async.c. */
	pthread_mutex_t applying; /* held while it writes to its target; taken after changing */
	unsigned stops;           /* under applying: how often that was stopped */
	enum drain { DRAIN_NONE, DRAIN_WANTED, DRAIN_DONE } drain; /* under lock */
	unsigned drain_asked;   /* likewise: the number of who wants it, or wanted it last */
	struct meeting meeting; /* likewise, while it is wanted, for an operation */
	/* Of a consistent group: see pair_joint.c. */
	struct meeting joint;     /* under lock: for a generation that all get, or none */
	struct cycle *ready;      /* likewise: what is to be concluded with others */
	_Atomic uint32_t jointly; /* the group without which it has no generation; 0: none */
	_Atomic bool behind;      /* its target lacks something, as far as its keeper knows */
	uint64_t read; /* under changing: who has its target open sees that generation of it; 0 */
	_Atomic uint64_t applied;    /* bytes of the next generation that the target has */
	_Atomic uint64_t in_step_ms; /* it had everything then; 0: see its record */
	uint64_t cycle_at;           /* the keeper's own: when the next generation is due */
	uint64_t fitted;             /* likewise: the size that the target was given last; 0 */
	bool missed;                 /* likewise: its objective, and that was told */
	/* What is kept beside its target: see pair_beside.h. */
	pthread_mutex_t keeping; /* held across I/O of that; taken last but for lock */
	struct beside beside;    /* under keeping: what the file says */
	bool beside_known;       /* likewise: that is so, of this image */
	uint32_t beside_pool;
	char beside_file[NAME_MAX + 1];
	unsigned taken_back;   /* likewise: how often a claim was to be */
	uint64_t beside_at;    /* likewise: when one was made last */
	bool beside_told;      /* by the keeper: that it cannot be kept */
	_Atomic bool mixed;    /* the target has something newer than what it lacks, or may */
	_Atomic bool has_past; /* somebody began with moments of the target */
	_Atomic bool taken;    /* somebody else went on in the target */
	/* Of an adaptive one, the keeper's own: see pair_adaptive.c. */
	uint64_t async_at, rest_until, rest_ns;
	/* The keeper; under managing. */
	pthread_t thread;
	bool runs;
	bool ending, poke;                     /* under lock */
	_Atomic bool interrupt;                /* its wait for a turn */
	struct disk *swapped[2];               /* under changing: references; see pair_roles.c */
	uint32_t job;                          /* its own; 0: none */
	uint64_t clean_at, retry_at, retry_ns; /* its own */
	bool clean_all;                        /* likewise: at once, also what was just written */
};

/* None is ever taken out of the list before the daemon ends. */
struct pairs {
	struct tandem *t;
	int dirfd;            /* STATE/pairs */
	pthread_mutex_t lock; /* a leaf */
	struct pair *list;
	uint8_t owner[BESIDE_OWNER]; /* this state, towards others: see beside.h */
	pthread_mutex_t managing;    /* who starts and ends keepers; none of them takes it */
	bool ending;
	struct joint_keeper *joint; /* NULL: nobody serves */
};

/* ---- pairs.c ---- */

struct pair *pair_of_number(struct pairs *ps, uint32_t number);
/* The one that is to be another after this. -ENOENT; -EROFS: none is, and none has a keeper. */
int pair_to_change(struct tandem *t, uint32_t number, struct pair **out, struct why *why);
/* The one after that, or NULL; of NULL the first. */
struct pair *pairs_after(struct pairs *ps, const struct pair *p);
bool pair_is_gone(struct pair *p);
/* Into the list; r is copied. marks are taken over on success. */
int pair_new(struct pairs *ps, const struct pair_record *r, struct marks *marks, struct pair **out);
/* STATE/pairs/NUMBER. */
int pairs_open_file(struct pairs *ps, uint32_t number, int flags, struct file **out);
/* That file, durable: all of it differs; outdated: because the target lacks it. See pair_make.c. */
int pair_make_marks(struct pairs *ps, uint32_t number, uint64_t size, bool outdated,
		    struct marks **out);
/* Its target is this disk. */
int pair_attach_target(struct pair *p, const struct pair_record *r, struct disk *d);
void pair_announce(struct pair *p, const char *from, const char *to);
bool pair_is_async(const struct pair_record *r);
/* What it holds is on the way from one generation to the next, or may be soon. */
bool is_target_of_async(const struct disk *d);
/* Something that is shown of it is different. */
void pair_changed(struct pair *p);
struct pair_record pair_record_of(struct pair *p);
/* Clients may do that with the target. */
enum target_use pair_target_use(const struct pair_record *r);
/* It copies, or writes to its target all the time. */
bool pair_writes(const struct pair_record *r);
/* The source, the target; a reference, or NULL. */
struct disk *pair_source(struct pair *p);
struct disk *pair_target(struct pair *p);

/* ---- pair_changed.c ---- */

/* For its leg, whose owner it is. */
int pair_skewed(void *owner);
/* By the keeper: others wrote its target, and nobody writes to it any more, or shows what it was. */
void pair_leave_target(struct pair *p);

/* ---- pair_state.c, and pair_steps.c up to pair_end_step; under changing ---- */

/*
 * Records, sets, announces. What it leads to is done by who calls. -EAGAIN: its state is not
 * `from` any more. Needs no changing, if who calls knows that the state stays what it makes it.
 */
int pair_set(struct pair *p, enum copy_state from, const struct pair_record *r);
/*
 * One operation on one mirror, in steps: it is checked, prepared (which may fail, and has then done
 * nothing), recorded, alone or with others, in one transaction, and ended, whether it was recorded
 * or not. So it is done to all of a group or to none.
 */
struct pair_step {
	struct pair *p;
	enum copy_state from; /* -EAGAIN: it is not in that any more */
	struct pair_record r; /* as it is, then as it is to be recorded */
	bool goes;            /* instead of that */
	struct swap *swap;    /* its disks are in each other's files then; NULL */
	bool forgets;         /* with that, the past of the source */
	struct roles *roles;  /* see pair_roles.c */
	/*
	 * NULL, or what is durable before it is recorded, and is right though more than needed if
	 * that fails: that all of some mirrors differs. All steps are prepared by then.
	 */
	int (*mark)(struct pair_step *s);
	void (*end)(struct pair_step *s, bool recorded);
};
/* By number. A state that is another is announced; one that goes, or whose disks swap, is not yet. */
int pair_record_steps(struct pair_step *steps, size_t count);
/* Of one that is prepared: it is recorded and ended. */
int pair_end_step(struct pair_step *s, struct why *why);

/* What `back` is refused; a copy that is to begin; an end. */
int pair_check_back(const struct pair_record *r, enum replica_operation op, struct why *why);
int pair_check_copy(struct pair *p, const struct pair_record *r, bool force, struct why *why);
int pair_check_end(const struct pair_record *r, bool force, struct why *why);
int pair_prepare_copy(struct pair_step *s, struct why *why);
int pair_prepare_stop(struct pair_step *s, enum copy_state to, struct why *why);
int pair_prepare_end(struct pair_step *s, bool force, struct why *why);
/* With no lock held. The keeper copies on until nothing differs; or for so long. */
int pair_drain(struct pair *p, struct why *why);
/* After its end, with no lock held: the target of a first copy that was not complete. */
void pair_delete_half(struct pair *p);

/* Likewise, with recording held; whoever holds that announces it then. */
int pair_set_locked(struct pair *p, enum copy_state from, const struct pair_record *r);
/* The target is opened, and gets what is written from now on. The source is open. */
int pair_engage(struct pair *p, struct disk *source, struct why *why);
/*
 * It only marks from now on. Whether the target is, at one instant and durably, what the source is;
 * of an asynchronous one, what it was.
 */
bool pair_stop_writing(struct pair *p);
/* Likewise, and clients may use the target as the state says. */
void pair_disengage(struct pair *p);
/* It goes, and its marks; its disks are like others. */
int pair_let_go(struct pair *p);
/* One that never began, recorded or not, and its new target. It has no keeper. */
void pair_abandon(struct pair *p);
/* The file of its marks goes: the catalogue has no such pair any more. */
void pair_drop_marks(struct pair *p);
/* Broken -> Unsynchronized. */
int pair_resume(struct pair *p, struct why *why);
/* r is what is recorded, but for what the state is to be, and may have changes. */
int pair_begin_copy(struct pair *p, struct pair_record r, bool force, bool plan, struct why *why);
int pair_stop_in(struct pair *p, struct pair_record r, enum copy_state to, struct why *why);

/* ---- pair_roles.c; with no lock held ---- */

/* One of Failover, Failback, ReverseRoles, RestoreFromReplica: as tandem_operate_pair. */
int pair_change_roles(struct pair *p, enum replica_operation op, enum copy_state from, bool force,
		      bool plan, struct why *why);
/*
 * By the keeper: what its source lacked is copied, and the images go back to where they were.
 * -EAGAIN: not just now. -ECANCELED: it cannot be; it is Failedover as before.
 */
int pair_turn_back(struct pair *p);
/*
 * The same in steps. Of a pair with s->p and s->from, as it is shown, with no lock held: what may
 * take long; met: after async_meet. NULL: out of memory. -errno: nothing is to be done but roles_free.
 */
struct roles *roles_new(struct pair *p, enum replica_operation op, bool force);
int roles_begin(struct roles *c, enum copy_state from, bool met, bool plan, struct why *why);
/* With discovery and changing, these three; roles_prepare may be the last of them, or be undone. */
int roles_check(struct roles *c, struct pair_step *s, struct why *why);
int roles_prepare(struct pair_step *s, struct why *why);
/* After its end: with discovery and nothing else. Requests go on already. */
void roles_finish(struct roles *c);
void roles_free(struct roles *c);
/* It is gone, or the daemon stops. */
void pair_forget_images(struct pair *p);

/* ---- pair_missing.c ---- */

/*
 * With discovery and changing. Failover of a source whose image is not there, so that nobody has
 * it open: checked, prepared and ended like any step. s->r is how the pair is to be recorded;
 * swap->d is the source, swap->other the target.
 */
int missing_check(struct pair *p, const struct swap *swap, bool force, struct why *why);
int missing_prepare(struct pair_step *s, struct swap *swap, struct why *why);

/* ---- pair_copy.c ---- */

/*
 * Until nothing differs. By the keeper; the source is open, and so is its target. -ECANCELED: it
 * was stopped, interrupted, or the leg is lost; else what of the source cannot be read.
 */
int pair_copy(struct pair *p, struct disk *source, struct disk *target);
/*
 * How much from there on is copied in the same way, as a hole or as data: of one that is thin pages
 * of zeros are holes, of others everything is data.
 */
size_t pair_next_run(const struct pair *p, const char *buf, size_t len, bool *zeros);

/* Nobody makes the source shorter or longer, and so its marks, until the range is unlocked. */
void pair_hold_size(struct disk *source, struct range *r);

/* ---- pair_async.c: by the keeper ---- */

/* The target becomes what the source is now. The source is open. -errno as pair_copy, or -EAGAIN. */
int async_cycle(struct pair *p, struct disk *source);
/* Under changing: what nobody reads any more may go. */
void async_look_at_readers(struct pair *p, struct disk *target);
/* Under changing: everybody reads what the target holds from now on. base: what it showed, or 0. */
void async_show_present(struct pair *p, struct disk *target, uint64_t base);
/* The next generation is due. Else *next is when to look again. */
bool async_is_due(struct pair *p, const struct pair_record *r, uint64_t *next);
/*
 * After a cycle, which began after it was looked at who wants one. Who asked since then may want what
 * was written since then.
 */
void async_cycle_ended(struct pair *p, unsigned asked, int err);
/*
 * Under changing, for a cycle whose target has all and is flushed: *r is what is to be recorded, or it
 * is not whole after all; and once it is recorded. shown: what the target showed.
 */
int async_check_conclusion(struct cycle *c, struct pair_record *r);
void async_concluded(struct cycle *c, uint64_t shown);
/* The number of who wants one; 0: nobody does. */
unsigned async_drain_asked(struct pair *p);
enum drain async_drain_wanted(struct pair *p);
/* It is to be verified now. */
bool async_is_to_prove(struct pair *p, const struct pair_record *r);

/* ---- pair_meet.c ---- */

/*
 * Before an operation, without changing, of asynchronous mirrors that follow their sources: the targets are
 * what these were at one moment, and stay it until async_release of each. -errno: none does;
 * pairs[*which] could not.
 */
int async_meet(struct tandem *t, struct pair *const *pairs, size_t count, size_t *which,
	       struct why *why);
/*
 * The next generation of each, or of none: recorded in one transaction. Writers wait for nobody. An
 * operation on one of them ends it. -errno: it did not come to that.
 */
int async_make_joint(struct tandem *t, struct pair *const *pairs, size_t count);
/* By the keeper, whose next moment is to be that of all; and that moment, with a pin. */
bool meeting_is_called(struct pair *p, struct meeting *m);
int meeting_attend(struct pair *p, struct meeting *m, struct disk *source,
		   struct moment_record *out);
/* Likewise: it has that generation, but for the record. 0: that is recorded, and concluded. */
int meeting_conclude(struct pair *p, struct cycle *c);
/* Under lock: the cycle has ended, well or not. */
void meeting_cycle_ended(struct pair *p);

/* ---- pair_joint.c ---- */

/* Before keepers start; and after they have ended. */
void joint_start(struct tandem *t);
void joint_stop(struct pairs *ps);

/* ---- pair_mode.c ---- */

/* Under lock: it follows its source, and so gets to another generation. */
bool async_can_drain(const struct pair *p);
/* Under lock: it is wanted, by the next number, and the keeper woken. -EBUSY: somebody else is at it. */
int async_ask_to_drain(struct pair *p);

/* The disk is listed with what it shows. Of its target, that is not listed yet. */
int async_attach_target(struct pair *p, const struct pair_record *r, struct disk *target);
/* -EOPNOTSUPP: an asynchronous one cannot do that. */
int async_check_operation(struct pair *p, enum replica_operation op, struct why *why);
/*
 * Before an operation, without changing: 0, or *drained: the target is a whole generation, and stays
 * it until async_release.
 */
int async_prepare(struct pair *p, enum replica_operation op, bool force, bool *drained,
		  struct why *why);
void async_release(struct pair *p);
int async_stop_cycles(struct pair *p, struct why *why);
/* That range differs, from before it is written on. */
int async_mark(struct pair *p, uint64_t off, uint64_t len);
/* Under changing: nothing is written to the target from here on. Whether it is a whole generation. */
bool async_halt(struct pair *p);
/* Under changing, and halted: the target holds what it shows, its last whole generation. */
int async_make_whole(struct pair *p, bool force, struct why *why);
/* Under changing: everybody reads what its target holds, whatever that is. */
void async_let_go(struct pair *p);
/* Under changing: ResetToSync, ResetToAsync, ResetToAdaptive. */
int pair_reset_mode(struct pair *p, enum sync_mode mode, bool plan, struct why *why);
/* Under changing, by itself: it is adaptive, and in the other mode. */
int pair_adapt(struct pair *p, enum sync_mode mode);
/* What an asynchronous one, and one that acknowledges at flush, tell beside what others do. */
void pair_add_async_facts(struct pair *p, const struct pair_record *r, struct pair_facts *f);
void pair_add_sent_facts(struct pair *p, struct pair_facts *f);
/* When the target had everything that was answered; now, but for what is on its way. */
uint64_t pair_had_all_ms(struct pair *p);

/* ---- pair_settings.c ---- */

/*
 * Under changing. Before it is recorded that it does not acknowledge at flush, and after it is that it
 * does: who finds the record after a crash knows so whether the target may lack what was answered.
 */
void pair_acknowledge(struct pair *p, bool at_flush);
/*
 * Before it is recorded that it is gone, after which nobody knows what its target lacks. -EBUSY: it lacks
 * something. Then, and if it is not recorded, its acknowledging is to be what it was.
 */
int pair_end_sending(struct pair_step *s, bool force, struct why *why);

/* ---- pair_adaptive.c ---- */

/* By the keeper: it is in another mode than before. */
bool adaptive_step(struct pair *p);

/* ---- pair_verify.c ---- */

/*
 * By the keeper: goes on with the proof that was asked for. -EAGAIN: it has something else to do
 * first, or nothing for now (*later); else the proof has ended.
 */
int pair_verify(struct pair *p, bool *later);
/*
 * Likewise of an asynchronous one, in a cycle: the target is what the source was at that moment,
 * which is kept, and nobody writes it.
 */
void pair_verify_moment(struct pair *p, struct disk *source, struct disk *target,
			const struct moment_record *m, unsigned stops, unsigned rewrites);
/* It cannot be made now. */
void pair_end_verify(struct pair *p, int err);

/* ---- pair_keeper.c ---- */

void keeper_start(struct pair *p);
void keeper_end(struct pair *p);
void keeper_poke(struct pair *p);
/* Under changing. The target failed, or was not there: -errno: that is not recorded yet. */
int keeper_lose(struct pair *p);
/* The daemon stops, or it is gone. */
bool keeper_is_ending(struct pair *p);
/* Marks that are not needed any more go, now and then. By itself, with the source open. */
void keeper_clean(struct pair *p);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk: one image of a pool, its identity, its state, and the verbs that
 * guests and copiers use on it.
 *
 * Locks, in this order: tandem.discovery, tandem.table, disk.lock. Range locks
 * are taken with none of them held. Nothing waits for I/O under table or lock.
 * A disk's opening is taken before its lock, and may be held across I/O.
 */
#ifndef TANDEMFS_DISK_H
#define TANDEMFS_DISK_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gate.h"
#include "identity.h"
#include "image.h"
#include "range_lock.h"
#include "rings.h"
#include "why.h"

enum disk_state {
	DISK_STATE_INVALID_VALUE, /* 0 is never right */
	DISK_READY,
	DISK_READ_ONLY,
	DISK_INVALID,  /* does not verify; reason says why */
	DISK_CONFLICT, /* another image has its mount name */
	DISK_MISSING,  /* somebody needs it and the image is gone */
	DISK_FAILED,   /* a flush failed: what was written before it is in doubt */
	DISK_CHANGED,  /* somebody else changed the image while it was in use */
	DISK_STATE_MAX
};

/* "Ready", "ReadOnly", ...; the words of status and metrics. */
const char *disk_state_name(enum disk_state s);

enum disk_op {
	DISK_OP_READ,
	DISK_OP_WRITE,
	DISK_OP_FLUSH,
	DISK_OP_ZERO,
	DISK_OP_RESIZE,
	DISK_OP_MAX
};
/* "read", "write", "flush", "zero", "resize". */
const char *disk_op_name(enum disk_op op);

/* Request times: bucket i counts those of at most disk_time_bounds_us[i]; the last all others. */
#define DISK_TIME_BOUNDS 9
extern const uint32_t disk_time_bounds_us[DISK_TIME_BOUNDS];

struct disk_op_counters {
	_Atomic uint64_t count, errors, bytes, nanoseconds;
	_Atomic uint64_t times[DISK_TIME_BOUNDS + 1];
};

/* "POOL:FILE" */
#define DISK_LABEL_MAX (200 + 1 + NAME_MAX)

struct history;
struct mirror;
struct tandem;
struct pool;

/* What clients may do with a disk that is the target of a mirror. */
enum target_use {
	TARGET_FREE,   /* it is none, or lets them write */
	TARGET_READS,  /* its source alone writes it */
	TARGET_HIDDEN, /* it is neither what it was nor what its source is */
};

/* A file that a disk is built upon. */
struct disk_ancestor {
	uint64_t dev, ino;
	uint8_t identity[16];
};

/* What an image is built upon; its own parent is the first. */
struct disk_ancestry {
	char parent[DISK_LABEL_MAX + 1]; /* as commands call it; "" */
	struct disk_ancestor list[IMAGE_PARENTS_MAX];
	unsigned count;
};

struct disk {
	/*
	 * Fixed for life. An image that gets another inode, or that could not be
	 * opened and now can, is another struct disk, so that nothing here needs
	 * a lock.
	 */
	uint32_t number; /* never given to another disk: node ids are made of it */
	uint8_t id[16];  /* its identity, for people and peers */
	struct tandem *tandem;
	/*
	 * Likewise, but for what gives a disk another image (pair_swap.h). What was here before stays in memory as long as the disk, so that
	 * whoever just looks (at a size, a name) needs no lock; its file is closed.
	 */
	_Atomic(struct pool *) pool;                 /* holds a reference */
	_Atomic(const struct image_format *) format; /* NULL: this build has none for it */
	_Atomic(struct image *) image;               /* NULL when it could not be opened */
	struct identity identity; /* unknown when it could not be opened; with discovery */
	uint32_t notes;       /* its image has its notes in STATE/notes/NUMBER; with discovery */
	uint64_t guest_bytes; /* as it is recorded, see catalogue.h; with discovery */
	struct disk *left;    /* has what was here before; a reference, or NULL */

	atomic_uint refs;
	struct range_lock ranges;
	struct gate gate;
	struct disk_op_counters ops[DISK_OP_MAX];
	_Atomic uint64_t changes;   /* goes up whenever its status changes in words */
	_Atomic uint64_t begun;     /* goes up before a request that may change the file */
	_Atomic uint64_t unflushed; /* goes up with every write; see disk_flush */
	_Atomic uint64_t flushed;   /* what unflushed was when the last good flush began */
	pthread_mutex_t flushing;   /* one at a time; see disk_flush */
	_Atomic bool broken_flush;  /* a flush failed: writes and flushes are refused */
	_Atomic(struct history *)
		history; /* its past; NULL: it has none. Stays as long as the disk */
	_Atomic(struct mirror *)
		mirror; /* what its writes have to do with others; NULL: nothing. Likewise */
	_Atomic enum target_use target_use;
	atomic_uint children; /* disks built upon this one: it is read-only */
	atomic_uint hurried;  /* copies of it that come before its guests, now */
	_Atomic bool unasked; /* libvhdi is to be asked again, by scan_settle */
	_Atomic bool lost;    /* the image is gone from its directory: I/O is refused */
	/* Number of the snapshot that it is the overlay of, until a first write is recorded; 0. */
	_Atomic uint32_t untouched;
	_Atomic uint64_t tick_ns, shed_ns;  /* when kept history goes on, and looks for old ones */
	_Atomic uint64_t error_event_ns[2]; /* when one was last announced: I/O error, no space */

	/* First open, last close and reload: the image's own fields change under it only. May be
	 * held while the store is waited for. */
	pthread_mutex_t opening;
	_Atomic enum file_use use; /* set under opening: what other programs are told */
	/* Who asks the file for its attributes holds it for reading: nothing else keeps it open for
	 * them. Before lock. */
	pthread_rwlock_t looking;
	bool shut; /* under looking: the file is closed, and of the pool there is the name only */
	bool closed_late; /* under opening: by the daemon before, perhaps; until it is open again */

	pthread_mutex_t lock;
	/* Under lock. */
	char file_name[NAME_MAX + 1];      /* FILE.incomplete of a clone that is not filled yet */
	char label[DISK_LABEL_MAX + 1];    /* FILE or POOL:FILE: its name under .replication/ */
	char mount_name[NAME_MAX + 1 + 4]; /* FILE or FILE.raw: its name in its mount directory */
	uint32_t mount_pool;               /* the number of the pool whose directory that is */
	char mount_dir[201];               /* its name */
	struct {
		char name[NAME_MAX + 1 + 4]; /* what mount_name is instead; "": nothing */
		uint32_t pool;
		char dir[201];
		bool known; /* there is such a pool */
	} kept_name;
	enum disk_state state;
	char reason[200];
	struct
	{ /* of the image, by disk_describe; the last one also where the image cannot be used */
		const char *kind;
		uint32_t sector_size, block_size;
		char opinion[IMAGE_REASON]; /* libvhdi's */
		struct file_stat asked;     /* what the image was when it was asked for that */
		uint64_t asked_writes;      /* likewise `unflushed` */
		char warning[2 * IMAGE_REASON + 4];
		struct disk_ancestry ancestry;
	} about;
	unsigned openers;
	unsigned apart;             /* of these, who are no clients */
	bool closing;               /* the last of them: its image is brought to rest */
	bool want_read_only;        /* Set ReadOnly=true, recorded */
	bool stalled;               /* Stalled was announced */
	bool listed;                /* in the tables of the tandem: can be opened */
	bool written_elsewhere;     /* not opened: another program is writing it */
	bool changed_unseen;        /* before it was listed: its mirrors are to be told */
	bool awaits_parent;         /* not opened: its parent is not there, or is being written */
	struct file_stat last_stat; /* stands in while the backing store is stuck */
	uint64_t last_stat_writes;  /* unflushed, before it was asked for */
	_Atomic uint64_t attributes_set; /* how often; an answer from before that is old */
	/* The image as it was last known to hold only what we wrote or looked at. */
	struct file_stat known;
	uint64_t known_begun;
};

/* What a status shows, at one moment. */
struct disk_facts {
	uint32_t number;
	uint8_t id[16];
	char label[DISK_LABEL_MAX + 1];
	char mount_name[NAME_MAX + 1 + 4];
	char file_name[NAME_MAX + 1];
	char pool[201];      /* "" for DISKDIR */
	char mount_dir[201]; /* the pool in whose directory of the mount it is; likewise */
	enum disk_state state;
	char reason[200];
	char warning[2 * IMAGE_REASON + 4]; /* what is wrong with it though it can be used; "" */
	char parent[DISK_LABEL_MAX + 1];    /* its image's, as commands call it; "" */
	unsigned children;                  /* disks built upon it */
	const char *format;                 /* NULL: unknown to this build */
	uint64_t size, allocated;
	uint32_t sector_size, block_size; /* block_size 0: not in blocks */
	unsigned openers;
	bool read_only;   /* cannot be written now, for whatever reason */
	uint64_t busy_ns; /* age of the oldest request in progress */
	bool stalled;     /* it is longer than anybody should wait, and was announced */
};
void disk_facts(struct disk *d, struct disk_facts *out);

struct disk *disk_ref(struct disk *d);
void disk_unref(struct disk *d);

enum disk_state disk_state(struct disk *d);
bool disk_is_open(struct disk *d);
/* Somebody has it open for writing. */
bool disk_is_written(struct disk *d);
/* It is in the mount: Ready or ReadOnly. The second one under lock. */
bool disk_is_served(struct disk *d);
bool disk_serves(const struct disk *d);

/*
 * A client opens it: -ENOENT when it is not served, -EROFS for writing to a
 * read-only one, -EIO of one that is hidden, -EBUSY when another program uses the image in a way that does
 * not go with it. May wait for the store. An open disk keeps its image, whatever happens in the
 * directory; disk_close may make a state final (a vanished image's disk goes).
 */
int disk_open(struct disk *d, bool write);
/* Its source opens it, for writing. */
int disk_open_target(struct disk *d);
/* Who fills it does, also where clients may not write. */
int disk_open_filler(struct disk *d);
/* It is open once more, whatever its state. -ENOENT: nobody has it open. */
int disk_join(struct disk *d);
void disk_close(struct disk *d);
/* Likewise, as disk_open_target and to read, and it is no client, nor one of what the disk shows. */
int disk_open_apart(struct disk *d);
int disk_read_apart(struct disk *d);
void disk_close_apart(struct disk *d);
/*
 * It shows that generation from now on (history_show), which is kept and pinned; 0: what it holds. A
 * client that has it open then goes on seeing what he saw, and so do others until all have closed it.
 */
enum disk_show {
	SHOW_SAME, /* of what is shown now: clients see no difference */
	SHOW_NEXT,
	SHOW_TO_ALL, /* also to those who have it open */
};
void disk_show(struct disk *d, uint64_t generation, enum disk_show how);
/* What an open for reading would say now, without what that has to prepare. */
int disk_look(struct disk *d);
unsigned disk_openers(struct disk *d);
/* Likewise, without those who are apart. */
unsigned disk_clients(struct disk *d);

/*
 * The verbs. Only between disk_open and disk_close. Any thread; they take the
 * range locks and may block for as long as the backing store does. 0 or -errno.
 */

/* Reads at most len bytes, up to the disk's end: *done may be smaller. */
int disk_read(struct disk *d, void *buf, size_t len, uint64_t off, unsigned io, size_t *done);
/* All or nothing; may pass the end where the format can grow by it. */
int disk_write(struct disk *d, const void *buf, size_t len, uint64_t off, unsigned io);
int disk_flush(struct disk *d);
/* Clipped to the disk's end. */
int disk_zero(struct disk *d, uint64_t off, uint64_t len, enum zero_mode mode);
int disk_allocate(struct disk *d, uint64_t off, uint64_t len, bool grow);
int disk_seek(struct disk *d, uint64_t off, int whence, uint64_t *found);
/* shrink: the caller knows that what is cut off is lost. Without it -EINVAL. */
int disk_resize(struct disk *d, uint64_t size, bool shrink);

uint64_t disk_size(struct disk *d);
/*
 * Attributes of the image for the mount: size is the disk's. Does not need an
 * open disk, and does not wait for a backing store that is stuck.
 */
int disk_stat(struct disk *d, struct file_stat *out);
/* chown, chmod, utimens on the image; what is not asked for is -1, or UTIME_OMIT. */
struct disk_attributes {
	uint32_t mode, uid, gid;
	struct timespec atime, mtime;
};
int disk_set_attributes(struct disk *d, const struct disk_attributes *a);

/* ---- for the rest of replica/ ---- */

/* What a request does to a range of a disk. */
struct change {
	const void *buf; /* NULL: zeros */
	uint64_t len, off;
	unsigned io;
	enum zero_mode mode;
};
/* To the disk itself, and nothing to its mirrors. With the range locked for writing. */
int disk_apply(struct disk *d, const struct change *c);
/* Without making room: who holds the range of another disk must not wait for that. */
int disk_write_once(struct disk *d, const void *buf, size_t len, uint64_t off, unsigned io);
int disk_zero_once(struct disk *d, uint64_t off, uint64_t len, enum zero_mode mode);
/*
 * disk_write_once() in two halves, for writes of several disks that go to the kernel together.
 * -EAGAIN: it takes more than a write of the image, or rings.h does not take it. After success
 * the caller does the request, and calls the other half.
 */
struct half_write {
	struct disk *disk;
	struct range range;
	uint64_t began;
	struct image_request request;
};
int disk_begin_write(struct disk *d, const struct change *c, struct half_write *w);
int disk_end_write(struct half_write *w);
/* What disk_apply() would do, if it is just that. */
bool disk_is_one_write(struct disk *d, const struct change *c, struct image_request *out);
/* disk_read and disk_seek, with the range locked already, and inside of the disk. */
int disk_read_locked(struct disk *d, void *buf, size_t len, uint64_t off, unsigned io);
int disk_seek_locked(struct disk *d, uint64_t off, int whence, uint64_t *found);
/* Clients may do that with it from now on; -EBUSY: one may write it now, or, to
 * hide it, has it open. */
int disk_set_target_use(struct disk *d, enum target_use use);

/* Under opening: what other programs are told from here on, at least. -EBUSY: one uses it. */
int disk_use_image(struct disk *d, enum file_use use);

/* A disk that is not listed yet; takes over image. Sets its names from file_name. */
int disk_new(struct tandem *t, struct pool *p, const char *file_name, uint32_t number,
	     const uint8_t id[16], struct image *image, struct disk **out);
/* Of a disk that is not listed, or with table held for writing: a label is read under table. */
void disk_set_names(struct disk *d, const char *file_name);
/* Likewise, before its names are set: what it is called in the mount, whatever its file is called. */
void disk_keep_name(struct disk *d, uint32_t pool, const char *mount_name);
/* It is called so in that directory of the mount; and keeps that name. */
bool disk_is_mounted_as(struct disk *d, uint32_t pool, const char *mount_name);
bool disk_keeps_name(struct disk *d);
/* Of a disk with an image that nothing else is wrong with. */
enum disk_state disk_natural_state(const struct disk *d);
/*
 * Somebody else changed the image of a disk that has a past: what is known of it does not fit
 * any more. `when` is "open", "closed" or "stopped". Only Accept ends that.
 */
void disk_is_changed(struct disk *d, const char *when, uint64_t size);
/* The one setter of the state: sets, announces. */
void disk_set_state(struct disk *d, enum disk_state state, const char *reason);
/* "disks/LABEL", for events. */
const char *disk_object(struct disk *d, char *buf, size_t size);
/* With discovery held. From here on nobody opens it; -EBUSY when somebody has. */
int disk_claim(struct disk *d, struct why *why);
void disk_unclaim(struct disk *d);
/*
 * Under opening, by whoever closes it last, or at the stop: the image is whole by
 * itself, and other programs are told that it is free. 0 or -errno: it lacks what is
 * still in the write log; or a flush failed, and it is Failed.
 */
int disk_rest(struct disk *d);
/*
 * Of a disk that is not listed yet: what its history has is brought into the image, after `with` (may be
 * NULL), which can use its verbs.
 */
int disk_complete(struct disk *d, int (*with)(void *arg), void *arg);
/* After a reload: the state is what the image is now. */
void disk_reloaded(struct disk *d);
/* An error of a flush is final: what was written since the last good one is in doubt. */
void disk_flush_failed(struct disk *d, int err);
/*
 * Under opening, or of a disk that is not listed: the image was opened or
 * reloaded. opinion: what else is to be said of it, or ""; NULL: as before.
 */
void disk_describe(struct disk *d, const char *opinion);
/* The image as it is now is what we know of it; and what that was. */
void disk_know(struct disk *d);
struct file_stat disk_known(struct disk *d);
/* libvhdi was asked what it is now; and whether it may be something else since. */
void disk_asked(struct disk *d);
bool disk_differs_from_asked(struct disk *d);

#endif

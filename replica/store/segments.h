/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records appended to the files of one directory, each of which describes
 * itself. A disk has two of these: the write log, whose records are new content
 * that is not in the image yet, and the store, whose records are old content.
 *
 * A place is the position of a record in the endless row of all that was ever
 * appended: segment number times SEGMENT_SIZE, plus the offset in that file. It
 * is never given twice, and it is the record's sequence number too. 0 is none.
 *
 * A record is whole and right, or not there: its header has its own place, the
 * length and the CRC of the data, and a CRC of itself. Appending is serialised:
 * a record is in the file before the next one begins, so that the death of the
 * daemon leaves all of them up to the last, and replay, which stops at the first
 * bad one, misses none that was acknowledged.
 *
 * Any thread, unless said otherwise. 0 or -errno.
 */
#ifndef TANDEMFS_SEGMENTS_H
#define TANDEMFS_SEGMENTS_H

#include "file.h"

#define SEGMENT_SIZE (64ull << 20)
/* The longest data of a record. */
#define RECORD_DATA_MAX (1u << 20)

/* A directory with files: the real one, or a test's that forgets what was not flushed. */
struct segment_dir;
struct segment_dir_ops {
	/* With `create` it must not exist yet, without it must. */
	int (*open)(struct segment_dir *d, const char *name, bool create, struct file **out);
	int (*remove)(struct segment_dir *d, const char *name);
	/* What disk space it has, without opening it. */
	int (*space)(struct segment_dir *d, const char *name, uint64_t *bytes);
	/* Calls fn for each name; a non-zero return stops and is returned. */
	int (*list)(struct segment_dir *d, int (*fn)(void *arg, const char *name), void *arg);
	/* Names made and removed before are durable. */
	int (*flush)(struct segment_dir *d);
	void (*close)(struct segment_dir *d);
};
struct segment_dir {
	const struct segment_dir_ops *ops;
};
/* Takes over dirfd on success only. */
int segment_dir_open(int dirfd, struct segment_dir **out);
/* Its files are opened for reading only: for who appends and gives back nothing. */
int segment_dir_open_to_read(int dirfd, struct segment_dir **out);

enum record_kind {
	RECORD_NONE,
	RECORD_WRITE,   /* the data is what the disk's range is from that generation on */
	RECORD_ZERO,    /* likewise zeros; no data */
	RECORD_VERSION, /* the data is what the range was up to and with that generation */
};

struct record {
	enum record_kind kind;
	uint64_t offset, length; /* the range of the flat disk; data is as long, or none */
	uint64_t generation;
};

enum segments_kind {
	SEGMENTS_LOG, /* what append returned for survives our death, at once */
	/*
	 * What append returned for may be in our memory only, until flush: many small
	 * records cost one call. Reading finds it nevertheless.
	 */
	SEGMENTS_STORE,
};

struct segments;

/*
 * Takes over dir on success only. Appends begin in a new segment, after every
 * file that is there and after `beyond`, a place.
 */
int segments_open(struct segment_dir *dir, enum segments_kind kind, uint64_t beyond,
		  struct segments **out);
/* Nothing is flushed. NULL is fine. */
void segments_close(struct segments *s);
/* The same, but the directory is the caller's again. */
void segments_release(struct segments *s);

/*
 * data is r->length bytes, or NULL for RECORD_ZERO. On failure nothing was appended;
 * where even that is in doubt, every later append and flush fails.
 */
int segments_append(struct segments *s, const struct record *r, const void *data, uint64_t *place);
/* All that was appended before is durable, the files' names included. An error is final. */
int segments_flush(struct segments *s);
/* The error that is final, or 0. */
int segments_broken(struct segments *s);
/* Where the next record would be, or later. Waits for nothing. */
uint64_t segments_end(struct segments *s);

/* Bytes [from, from + len) of the record's data, not verified. */
int segments_read(struct segments *s, uint64_t place, uint64_t from, void *buf, size_t len);
/* The whole record, verified; -EBADMSG. data has room for `room` bytes, may be NULL. */
int segments_check(struct segments *s, uint64_t place, struct record *r, void *data, size_t room);

/* What its head says, verified, but not the data; -EBADMSG. */
int segments_look(struct segments *s, uint64_t place, struct record *r);

/*
 * Calls fn for each good record from place `from` (or from the first that is
 * there) on, in order, until the first that is not. data is only there for the call; NULL for
 * RECORD_ZERO. A non-zero return stops and is returned. *end is where it ended. Before the
 * first append.
 */
int segments_replay(struct segments *s, uint64_t from,
		    int (*fn)(void *arg, uint64_t place, const struct record *r, const void *data),
		    void *arg, uint64_t *end);

/*
 * No record before that place is needed: files that hold nothing else are removed (not the one
 * that is appended to).
 */
int segments_drop_before(struct segments *s, uint64_t place);
/*
 * No record in [from, to), which are places, is needed: its space is given back. Of the store:
 * unless it is in memory only.
 */
int segments_free_range(struct segments *s, uint64_t from, uint64_t to);
/* Nothing in that segment (place / SEGMENT_SIZE) is needed. The current one is only emptied. */
int segments_drop(struct segments *s, uint64_t segment);
/* The smallest number of a segment that is there, and not smaller than this one; 0: none. */
uint64_t segments_number_from(struct segments *s, uint64_t number);
/* What a record takes in the file. */
uint64_t record_space(uint64_t length);
/* Bytes of disk space that all files have; and that one, 0 where there is none. */
uint64_t segments_allocated(struct segments *s);
uint64_t segments_allocated_in(struct segments *s, uint64_t segment);
/* Nothing has been appended, or will be, to segments before this one since segments_open(). */
uint64_t segments_own_from(const struct segments *s);

#endif

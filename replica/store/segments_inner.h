/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the sources of segments share.
 *
 * Locks, in this order: flushing -> appending -> opening -> table. A header of a
 * segment and of a record are 64 bytes each, and so is what places are a
 * multiple of.
 */
#ifndef TANDEMFS_SEGMENTS_INNER_H
#define TANDEMFS_SEGMENTS_INNER_H

#include "segments.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define SEGMENT_UNIT 64
#define SEGMENT_HEAD SEGMENT_UNIT
#define RECORD_HEAD SEGMENT_UNIT
/* Records end here at the latest, so that the place where one ends is always in its segment. */
#define SEGMENT_ROOM (SEGMENT_SIZE - SEGMENT_UNIT)
/* Names with a greater number are not ours: their places would not fit in 64 bits. */
#define SEGMENT_NUMBER_MAX ((1ull << 37) - 1)
#define SEGMENT_NAME 17

/* Before all places: replay has looked, and there was nothing. */
#define SEGMENTS_NOTHING 1

static inline uint64_t segments_place(uint64_t number, uint64_t offset)
{
	return number * SEGMENT_SIZE + offset;
}

/* At the start of each file. */
struct segment_head {
	uint64_t number;
	uint64_t writer;  /* at random for each segments_open(); in each record too */
	uint64_t follows; /* where the records before these end; 0: not known */
	uint64_t durable; /* all before this place was flushed when the file was made */
	uint64_t begin;   /* offset of the first record that counts */
};

struct segment {
	uint64_t number;
	/* Found when it is opened for the first time. */
	bool known, good;
	struct segment_head head;
	/* Under table: */
	struct file *file; /* NULL: not open now */
	TAILQ_ENTRY(segment) lru;
	unsigned refs;
	bool dropped;              /* not in the table; goes with the last reference */
	bool old;                  /* may hold what one before us wrote and did not flush */
	uint64_t changed, flushed; /* numbers of s->changes */
	uint64_t end;              /* place of the end of the last record; 0: not known */
	bool measured;
	uint64_t allocated; /* when measured */
	uint64_t punched;   /* how often space of it was given back */
};

/* Of s->buf. */
#define SEGMENTS_BUFFER (SEGMENT_HEAD + RECORD_HEAD + RECORD_DATA_MAX)

struct appender;

struct segments {
	struct segment_dir *dir;
	enum segments_kind kind;
	uint64_t writer;
	_Atomic int broken; /* a flush failed: what all others return */

	pthread_mutex_t flushing; /* one flush at a time */
	_Atomic uint64_t flushed; /* all up to this count of `appended` is durable */
	_Atomic uint64_t names_flushed;
	_Atomic uint64_t durable;      /* place; for heads */
	_Atomic uint64_t clean_before; /* number: no file before it has anything to flush */

	/* For a log: those who wait for their record to be appended, and who does it. */
	pthread_mutex_t queueing;
	struct appender *waiting, **last_waiting;
	bool led;

	pthread_mutex_t appending; /* held across writes */
	struct segment *current;   /* with a reference; NULL before the first append */
	uint64_t next;             /* number of the next file */
	uint64_t own_from;         /* what it was at first */
	uint64_t at;               /* offset of the next record in current: written + used */
	uint64_t written, used;    /* in the file; behind it, in buf */
	uint64_t reserved;         /* of the file's space */
	_Atomic uint64_t end;      /* where it ended last, for whoever has not the lock */
	uint64_t replayed;         /* where replay ended */
	uint8_t *buf;
	_Atomic uint64_t in_memory;  /* place: records from here on are in buf */
	_Atomic uint64_t appended;   /* records, and 1 for those before us */
	_Atomic uint64_t names_made; /* files created, and 1 for those before us */
	_Atomic unsigned begun;      /* files since the last good flush */

	pthread_mutex_t opening; /* held across the opening of a file */

	pthread_mutex_t table;
	struct segment **files; /* by number */
	size_t count, room;
	TAILQ_HEAD(, segment) open; /* those with a file, the one used last at the end */
	size_t open_count;
	uint64_t changes;
};

/* ---- segment_record.c: what is in the files; no locks ---- */

void segment_head_put(const struct segment_head *h, uint8_t out[SEGMENT_HEAD]);
/* Is it one, and of that file? */
bool segment_head_get(struct segment_head *h, uint64_t number, const uint8_t in[SEGMENT_HEAD]);

/* What a head says, with what only the files know. */
struct record_head {
	struct record record;
	uint64_t place, writer;
	uint32_t data_crc;
};
/* How much data comes with it. */
uint64_t record_data(const struct record *r);
/* May it be appended, or have been? */
bool record_valid(const struct record *r);
void record_head_put(const struct record_head *h, uint8_t out[RECORD_HEAD]);
/* Is it one, and of that place? */
bool record_head_get(struct record_head *h, uint64_t place, const uint8_t in[RECORD_HEAD]);

/* ---- segment_append.c; under appending ---- */

/* What is in buf goes into the file, or stays. */
int segments_write_out(struct segments *s);
uint64_t segments_end_place(const struct segments *s);

/* ---- segment_flush.c; under flushing ---- */

int segments_flush_names(struct segments *s);

/* ---- segment_read.c ---- */

/* May a record be there? */
bool segment_is_place(uint64_t place);

/* ---- segment_table.c ---- */

/* "000000000000002a" */
void segment_name(uint64_t number, char name[SEGMENT_NAME]);
/* Of all that are in the directory. */
int segment_table_load(struct segments *s);
void segment_table_free(struct segments *s);
/* Creates the file; a reference. Under appending. */
int segment_make(struct segments *s, uint64_t number, struct segment **out);
/* A reference, with the file open; -ENOENT. */
int segment_get(struct segments *s, uint64_t number, struct segment **out);
void segment_put(struct segments *s, struct segment *seg);
/* The greatest number that is there, and not greater than this one; 0: none. */
uint64_t segment_upto(struct segments *s, uint64_t number);
/* The smallest number that is there, and not smaller than this one; 0: none. */
uint64_t segment_from(struct segments *s, uint64_t number);
/* It was written. */
void segment_changed(struct segments *s, struct segment *seg);
/* The smallest number >= `number` of one that has something to flush; 0: none. */
uint64_t segment_unflushed(struct segments *s, uint64_t number);
/* What space it was last found to have; false: it is to be measured, and *since goes to set_measured. */
bool segment_measured(struct segments *s, uint64_t number, uint64_t *allocated, uint64_t *since);
/* It stays so if it was not punched since, and until it is, but for the last file, which grows. */
void segment_set_measured(struct segments *s, uint64_t number, uint64_t allocated, uint64_t since);
void segment_punched(struct segments *s, struct segment *seg);
/* Takes it out of the directory and the table. Fine if it is not there. */
int segment_remove(struct segments *s, uint64_t number);

#endif

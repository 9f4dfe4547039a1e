/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file of notes, for notes.c, whose head tells of it, and notes_replay.c. */
#ifndef TANDEMFS_NOTES_INNER_H
#define TANDEMFS_NOTES_INNER_H

#include <limits.h>
#include <pthread.h>

#include "notes.h"

#define NOTES_MAGIC "tdmnote1"
/* Where records begin. */
#define NOTES_FIRST 128

/* Of one boot, so in this machine's byte order. */
struct notes_head {
	char magic[8];
	uint8_t boot[16], binding[NOTES_BINDING];
	uint64_t base, start;
	uint32_t crc; /* of what is before it */
	uint32_t zero;
};
_Static_assert(sizeof(struct notes_head) == 80, "no padding");

struct notes_record {
	uint32_t crc; /* of the rest of this */
	uint32_t data_crc, len, kind;
	uint64_t position;
};
_Static_assert(sizeof(struct notes_record) == 24, "no padding");

struct notes {
	int dirfd;
	char name[NAME_MAX + 1];
	uint8_t boot[16], binding[NOTES_BINDING];
	bool ready;  /* there is a binding: records can be added */
	bool usable; /* fd is a file with a head of this boot and binding */
	pthread_mutex_t lock;
	/* Under lock. */
	int fd;                    /* or -1 */
	uint64_t base, start, end; /* positions */
	uint64_t punched;          /* offset in the file up to which there is no space */
	bool tail;                 /* there may be something behind end */
};

static inline uint64_t notes_offset(const struct notes *n, uint64_t position)
{
	return NOTES_FIRST + (position - n->base);
}

/* What there is room for behind the head of a file of that size. */
static inline uint64_t notes_room(uint64_t size)
{
	return size > NOTES_FIRST ? size - NOTES_FIRST : 0;
}

/* What a record takes in the file. */
static inline uint64_t notes_footprint(size_t len)
{
	return (sizeof(struct notes_record) + len + 7) & ~(uint64_t)7;
}

#endif

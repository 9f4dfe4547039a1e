/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is kept beside the target of a mirror, in its pool, for who has nothing but the pool: the
 * file .NAME.replica. It knows no disk.
 *
 * It is written whole to another name, and takes the place of the one before when it is durable. A
 * claim is made when it has become true, durably, and taken back before it becomes false. One that
 * is merely old is no claim that is false: a target that cannot be told of its loss was, at that time,
 * what it says.
 */
#ifndef TANDEMFS_BESIDE_H
#define TANDEMFS_BESIDE_H

#include <limits.h>

#include "identity.h"
#include "pair_records.h"

#define BESIDE_OWNER 16

enum beside_holds {
	BESIDE_NONE, /* 0 is never right; in memory: there is no such file */
	BESIDE_HALF, /* by itself it is no moment of its source: what makes it one is in the state */
	BESIDE_WHOLE, /* it is one, or is made one by the delta that goes on from `claim` */
	BESIDE_TAKEN, /* it is no replica any more: somebody went on in it */
};

struct beside {
	uint8_t owner[BESIDE_OWNER]; /* whose state has the mirror, or took it over */
	uint64_t claim;              /* random, and another one with each claim */
	enum beside_holds holds;
	struct pair_record pair;            /* its disks' numbers are the owner's */
	struct identity image;              /* the file that it is about */
	uint64_t size;                      /* of the disk in it, at least */
	char source[NAME_MAX + 1];          /* the file of its source */
	char source_name[NAME_MAX + 1 + 4]; /* how that is called in the mount */
};

/* Of the file of that name: "" if there can be none, because the name is too long. */
void beside_name(const char *file, const char *ending, char name[NAME_MAX + 1]);
#define BESIDE_STATE "replica"
#define BESIDE_DELTA "delta"
#define BESIDE_DELTA_NEW "delta.new"

/* Pure. */
#define BESIDE_MAX 2048
size_t beside_encode(const struct beside *b, uint8_t bytes[BESIDE_MAX]);
/* -EIO: it is none, or not whole. -EPROTO: that of a newer program. */
int beside_decode(const void *bytes, size_t len, struct beside *out);

/* The names there are durable on return. */
int beside_sync(int dirfd);
/* -ENOENT: there is none. */
int beside_read(int dirfd, const char *file, struct beside *out);
/* Durable on return; -errno: it is what it was, or that. */
int beside_write(int dirfd, const char *file, const struct beside *b);
/* Nothing is kept beside that file any more, nor a delta; durable on return. */
int beside_remove(int dirfd, const char *file);
/* A delta alone; it is not needed any more, so it need not be durable. */
void beside_drop_delta(int dirfd, const char *file);
/* What the name of something kept there says it is beside; false: it is no such name. */
bool beside_is_of(const char *name, char file[NAME_MAX + 1]);
/* What is kept beside a file follows its name, as far as possible. */
void beside_rename(int dirfd, const char *from, const char *to);

#endif

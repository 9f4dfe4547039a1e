/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tandemfs remembers, in LMDB: every disk's identity and number, the
 * pools, the settings. Each change is one transaction, durable when it returns.
 * All functions return 0 or -errno. Any thread; writers wait for each other.
 */
#ifndef TANDEMFS_CATALOGUE_H
#define TANDEMFS_CATALOGUE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "file.h"
#include "identity.h"
#include "pool_marker.h"
#include "why.h"

#define CATALOGUE_SCHEMA 5

struct catalogue;
struct catalogue_txn;

struct disk_record {
	uint32_t number;
	uint8_t id[16];
	uint32_t pool;
	bool read_only;
	bool failed;  /* a flush failed; until Accept */
	bool gone;    /* the image was not there when last looked */
	bool changed; /* by another program, and it has a past; until Accept */
	struct identity identity;
	struct file_stat stopped; /* the image at the last clean stop; mtime 0 when unknown */
	char file_name[NAME_MAX + 1];
	/* Its name in the mount, in the directory of that pool, if it is not that of its file; else "". */
	char mount_name[NAME_MAX + 1 + 4];
	uint32_t mount_pool;
	uint32_t
		notes; /* what its image's notes are called: the number of the disk that had it first */
	uint64_t
		guest_bytes; /* of its file, from the begin, when it was last opened (image_guest_bytes) */
};

struct pool_record {
	uint32_t number;
	char name[201];
	char dir[PATH_MAX];
	struct pool_id id;
};

struct group_record {
	uint32_t number;
	bool consistent;
	bool pending; /* what is made into it is not complete: the next start takes it back */
	char name[201];
};

/*
 * Opens STATE/catalogue. A schema that is newer than ours is -EPROTO, with the
 * reason in why. *clean tells whether the last stop was one; from now on it is not.
 */
int catalogue_open(const char *state_dir, struct catalogue **out, bool *clean, struct why *why);
/* How often it was opened after a stop that was not clean; the first time is one. */
uint64_t catalogue_crashes(const struct catalogue *c);
/*
 * The same to read only, and nothing of it is changed, not even a lock: the caller sees to it that
 * nobody else has it open. -ENOENT: there is none. An older schema is -EPROTO too.
 */
int catalogue_open_to_read(const char *state_dir, struct catalogue **out, bool *clean,
			   struct why *why);
void catalogue_close(struct catalogue *c);

/* One transaction: begin, any puts, then commit (on failure nothing was done) or abort. */
int catalogue_begin(struct catalogue *c, struct catalogue_txn **out);
/*
 * The same for so many versions, moments or snapshots that come. -ENOSPC: there is space only for
 * what gives something up, which the other one is for.
 */
int catalogue_begin_growing(struct catalogue *c, size_t records, struct catalogue_txn **out);
/* There was no space beyond that when it was asked for last: transactions are to be small. */
bool catalogue_is_scarce(struct catalogue *c);
int catalogue_commit(struct catalogue_txn *txn);
void catalogue_abort(struct catalogue_txn *txn);

/* A number never given before, for disks and pools alike. */
int catalogue_new_number(struct catalogue_txn *txn, uint32_t *number);
int catalogue_put_disk(struct catalogue_txn *txn, const struct disk_record *r);
int catalogue_del_disk(struct catalogue_txn *txn, uint32_t number);
int catalogue_put_pool(struct catalogue_txn *txn, const struct pool_record *r);
int catalogue_del_pool(struct catalogue_txn *txn, uint32_t number);
int catalogue_put_group(struct catalogue_txn *txn, const struct group_record *r);
int catalogue_del_group(struct catalogue_txn *txn, uint32_t number); /* its members stay */
/* A disk's number or a mirror's: no two are the same. */
int catalogue_put_member(struct catalogue_txn *txn, uint32_t group, uint32_t disk);
int catalogue_del_member(struct catalogue_txn *txn, uint32_t group, uint32_t disk);
/* Small values by name. */
int catalogue_put_setting(struct catalogue_txn *txn, const char *name, uint64_t value);
int catalogue_mark_clean(struct catalogue_txn *txn);

/* -ENOENT when there is none. */
int catalogue_disk_by_number(struct catalogue *c, uint32_t number, struct disk_record *out);
int catalogue_disk_by_identity(struct catalogue *c, const struct identity *id,
			       struct disk_record *out);
int catalogue_get_setting(struct catalogue *c, const char *name, uint64_t *value);
/* Calls fn for each; a non-zero return stops and is returned. fn must not write. */
int catalogue_each_disk(struct catalogue *c, int (*fn)(void *arg, const struct disk_record *r),
			void *arg);
int catalogue_each_pool(struct catalogue *c, int (*fn)(void *arg, const struct pool_record *r),
			void *arg);
int catalogue_each_group(struct catalogue *c, int (*fn)(void *arg, const struct group_record *r),
			 void *arg);
/* Sorted by group, then by disk. */
int catalogue_each_member(struct catalogue *c, int (*fn)(void *arg, uint32_t group, uint32_t disk),
			  void *arg);

#endif

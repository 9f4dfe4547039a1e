// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * LMDB with its default flags: every commit is durable, a power cut leaves the
 * state before or after it. Databases:
 *
 *   meta        name → u64: schema, clean, next_number, and the settings
 *   disks       number → disk record
 *   identities  file handle → number
 *   pools       number → pool record
 *
 * Numbers are big-endian, so that they sort. Records are record.c's.
 */
#include "catalogue.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "record.h"

/* Address space, not memory or disk: far more than the records of any number of disks. */
#define MAP_SIZE (16ull << 30)

/* Disk space kept ready beyond what is used, so that a full file system stops no commit. */
#define RESERVE (2ull << 20)

struct catalogue {
	MDB_env *env;
	_Atomic uint64_t reserved; /* bytes of the file that have their space */
	MDB_dbi meta, disks, identities, pools;
};

struct catalogue_txn {
	struct catalogue *c;
	MDB_txn *txn;
	int failed; /* the first error; commit returns it */
};

static int from_mdb(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_MAP_FULL:
		return -ENOSPC;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_PANIC:
	case MDB_INVALID:
		return -EIO;
	case MDB_VERSION_MISMATCH:
		return -EPROTO;
	default:
		return rc > 0 ? -rc : -EIO;
	}
}

static MDB_val val(const void *bytes, size_t len)
{
	return (MDB_val){ .mv_size = len, .mv_data = (void *)bytes };
}

/* ---- open ---- */

static int get_meta(struct catalogue *c, MDB_txn *txn, const char *name, uint64_t *value)
{
	MDB_val k = val(name, strlen(name)), v;
	int err = from_mdb(mdb_get(txn, c->meta, &k, &v));

	if (err)
		return err;
	if (v.mv_size != sizeof(*value))
		return -EIO;
	memcpy(value, v.mv_data, sizeof(*value));
	*value = le64toh(*value);
	return 0;
}

static int put_meta(struct catalogue *c, MDB_txn *txn, const char *name, uint64_t value)
{
	uint64_t le = htole64(value);
	MDB_val k = val(name, strlen(name)), v = val(&le, sizeof(le));

	return from_mdb(mdb_put(txn, c->meta, &k, &v, 0));
}

static int check_schema(struct catalogue *c, MDB_txn *txn, struct why *why)
{
	uint64_t schema;
	int err = get_meta(c, txn, "schema", &schema);

	if (err == -ENOENT)
		return put_meta(c, txn, "schema", CATALOGUE_SCHEMA);
	if (err)
		return err;
	if (schema > CATALOGUE_SCHEMA)
		return refuse(
			why, -EPROTO,
			"the state was written by a newer tandemfs (schema %llu, this one knows %d)",
			(unsigned long long)schema, CATALOGUE_SCHEMA);
	return 0;
}

static int open_databases(struct catalogue *c, MDB_txn *txn)
{
	const struct {
		const char *name;
		MDB_dbi *dbi;
	} list[] = { { "meta", &c->meta },
		     { "disks", &c->disks },
		     { "identities", &c->identities },
		     { "pools", &c->pools } };

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		int err = from_mdb(mdb_dbi_open(txn, list[i].name, MDB_CREATE, list[i].dbi));

		if (err)
			return err;
	}
	return 0;
}

static int prepare(struct catalogue *c, bool *clean, struct why *why)
{
	uint64_t was_clean = 0;
	MDB_txn *txn;
	int err = from_mdb(mdb_txn_begin(c->env, NULL, 0, &txn));

	if (err)
		return err;
	err = open_databases(c, txn);
	if (!err)
		err = check_schema(c, txn, why);
	if (!err) {
		err = get_meta(c, txn, "clean", &was_clean);
		if (err == -ENOENT)
			err = 0;
	}
	if (!err)
		err = put_meta(c, txn, "clean", 0);
	if (err) {
		mdb_txn_abort(txn);
		return err;
	}
	*clean = was_clean;
	return from_mdb(mdb_txn_commit(txn));
}

/* LMDB reads its map: what is missing at the end of the file would be a signal, not an error. */
static int check_whole(struct catalogue *c)
{
	MDB_envinfo info;
	MDB_stat st;
	struct stat file;
	int fd;

	mdb_env_info(c->env, &info);
	mdb_env_stat(c->env, &st);
	if (mdb_env_get_fd(c->env, &fd) || fstat(fd, &file))
		return -EIO;
	return (uint64_t)file.st_size < (info.me_last_pgno + 1) * (uint64_t)st.ms_psize ? -EIO : 0;
}

static int open_env(struct catalogue *c, const char *dir)
{
	int dead, err = from_mdb(mdb_env_create(&c->env));

	if (!err)
		err = from_mdb(mdb_env_set_maxdbs(c->env, 32));
	if (!err)
		err = from_mdb(mdb_env_set_mapsize(c->env, MAP_SIZE));
	if (!err)
		err = from_mdb(mdb_env_open(c->env, dir, MDB_NOTLS, 0600));
	if (!err)
		mdb_reader_check(c->env, &dead);
	return err ? err : check_whole(c);
}

/* A failure is no reason to stop: it means that the space is short already. */
static void reserve_space(struct catalogue *c)
{
	MDB_envinfo info;
	MDB_stat st;
	uint64_t used;
	int fd;

	mdb_env_info(c->env, &info);
	mdb_env_stat(c->env, &st);
	used = (info.me_last_pgno + 1) * (uint64_t)st.ms_psize;
	if (used + RESERVE / 2 <= c->reserved || mdb_env_get_fd(c->env, &fd))
		return;
	if (!fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, used + RESERVE))
		c->reserved = used + RESERVE;
}

int catalogue_open(const char *state_dir, struct catalogue **out, bool *clean, struct why *why)
{
	struct catalogue *c = calloc(1, sizeof(*c));
	char dir[PATH_MAX + 16];
	int err;

	if (!c)
		return -ENOMEM;
	why->message[0] = '\0';
	snprintf(dir, sizeof(dir), "%s/catalogue", state_dir);
	err = mkdir(dir, 0700) && errno != EEXIST ? -errno : 0;
	if (!err)
		err = open_env(c, dir);
	if (!err)
		err = prepare(c, clean, why);
	if (!err)
		reserve_space(c);
	if (err) {
		catalogue_close(c);
		if (!why->message[0])
			refuse(why, err, "the catalogue %s cannot be opened: %s", dir,
			       strerror(-err));
		return err;
	}
	*out = c;
	return 0;
}

void catalogue_close(struct catalogue *c)
{
	if (!c)
		return;
	if (c->env)
		mdb_env_close(c->env);
	free(c);
}

/* ---- transactions ---- */

int catalogue_begin(struct catalogue *c, struct catalogue_txn **out)
{
	struct catalogue_txn *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	t->c = c;
	reserve_space(c);
	err = from_mdb(mdb_txn_begin(c->env, NULL, 0, &t->txn));
	if (err) {
		free(t);
		return err;
	}
	*out = t;
	return 0;
}

int catalogue_commit(struct catalogue_txn *t)
{
	int err = t->failed;

	if (err)
		mdb_txn_abort(t->txn);
	else
		err = from_mdb(mdb_txn_commit(t->txn));
	free(t);
	return err;
}

void catalogue_abort(struct catalogue_txn *t)
{
	mdb_txn_abort(t->txn);
	free(t);
}

static int remember(struct catalogue_txn *t, int err)
{
	if (err && !t->failed)
		t->failed = err;
	return err;
}

int catalogue_new_number(struct catalogue_txn *t, uint32_t *number)
{
	uint64_t next = 1;
	int err = get_meta(t->c, t->txn, "next_number", &next);

	if (err && err != -ENOENT)
		return remember(t, err);
	if (next > UINT32_MAX)
		return remember(t, -EOVERFLOW);
	*number = next;
	return remember(t, put_meta(t->c, t->txn, "next_number", next + 1));
}

static int get_disk(struct catalogue *c, MDB_txn *txn, uint32_t number, struct disk_record *out)
{
	uint32_t be = htobe32(number);
	MDB_val k = val(&be, sizeof(be)), v;
	int err = from_mdb(mdb_get(txn, c->disks, &k, &v));

	return err ? err : record_decode_disk(v.mv_data, v.mv_size, out);
}

/* The identity that a disk had; unless it is another's by now. */
static int drop_identity(struct catalogue_txn *t, uint32_t number)
{
	uint32_t be = htobe32(number);
	struct disk_record old;
	MDB_val k, v;
	int err = get_disk(t->c, t->txn, number, &old);

	if (err || !old.identity.len)
		return err == -ENOENT ? 0 : err;
	k = val(old.identity.bytes, old.identity.len);
	err = from_mdb(mdb_get(t->txn, t->c->identities, &k, &v));
	if (!err && v.mv_size == sizeof(be) && !memcmp(v.mv_data, &be, sizeof(be)))
		err = from_mdb(mdb_del(t->txn, t->c->identities, &k, NULL));
	return err == -ENOENT ? 0 : err;
}

int catalogue_put_disk(struct catalogue_txn *t, const struct disk_record *r)
{
	uint32_t be = htobe32(r->number);
	struct record w;
	MDB_val k = val(&be, sizeof(be)), v;
	int err = drop_identity(t, r->number);

	if (err)
		return remember(t, err);
	record_encode_disk(&w, r);
	v = val(w.bytes, w.len);
	err = from_mdb(mdb_put(t->txn, t->c->disks, &k, &v, 0));
	if (!err && r->identity.len) {
		v = k;
		k = val(r->identity.bytes, r->identity.len);
		err = from_mdb(mdb_put(t->txn, t->c->identities, &k, &v, 0));
	}
	return remember(t, err);
}

int catalogue_del_disk(struct catalogue_txn *t, uint32_t number)
{
	uint32_t be = htobe32(number);
	MDB_val k = val(&be, sizeof(be));
	int err = drop_identity(t, number);

	if (!err)
		err = from_mdb(mdb_del(t->txn, t->c->disks, &k, NULL));
	return remember(t, err == -ENOENT ? 0 : err);
}

int catalogue_put_pool(struct catalogue_txn *t, const struct pool_record *r)
{
	uint32_t be = htobe32(r->number);
	struct record w;
	MDB_val k = val(&be, sizeof(be)), v;

	record_encode_pool(&w, r);
	v = val(w.bytes, w.len);
	return remember(t, from_mdb(mdb_put(t->txn, t->c->pools, &k, &v, 0)));
}

int catalogue_del_pool(struct catalogue_txn *t, uint32_t number)
{
	uint32_t be = htobe32(number);
	MDB_val k = val(&be, sizeof(be));
	int err = from_mdb(mdb_del(t->txn, t->c->pools, &k, NULL));

	return remember(t, err == -ENOENT ? 0 : err);
}

int catalogue_put_setting(struct catalogue_txn *t, const char *name, uint64_t value)
{
	char key[64];

	snprintf(key, sizeof(key), "set.%s", name);
	return remember(t, put_meta(t->c, t->txn, key, value));
}

int catalogue_mark_clean(struct catalogue_txn *t)
{
	return remember(t, put_meta(t->c, t->txn, "clean", 1));
}

/* ---- reading ---- */

static int begin_read(struct catalogue *c, MDB_txn **txn)
{
	return from_mdb(mdb_txn_begin(c->env, NULL, MDB_RDONLY, txn));
}

int catalogue_disk_by_number(struct catalogue *c, uint32_t number, struct disk_record *out)
{
	MDB_txn *txn;
	int err = begin_read(c, &txn);

	if (err)
		return err;
	err = get_disk(c, txn, number, out);
	mdb_txn_abort(txn);
	return err;
}

int catalogue_disk_by_identity(struct catalogue *c, const struct identity *id,
			       struct disk_record *out)
{
	MDB_val k = val(id->bytes, id->len), v;
	uint32_t be;
	MDB_txn *txn;
	int err;

	if (!id->len)
		return -ENOENT;
	err = begin_read(c, &txn);
	if (err)
		return err;
	err = from_mdb(mdb_get(txn, c->identities, &k, &v));
	if (!err && v.mv_size != sizeof(be))
		err = -EIO;
	if (!err) {
		memcpy(&be, v.mv_data, sizeof(be));
		err = get_disk(c, txn, be32toh(be), out);
	}
	mdb_txn_abort(txn);
	return err;
}

int catalogue_get_setting(struct catalogue *c, const char *name, uint64_t *value)
{
	char key[64];
	MDB_txn *txn;
	int err = begin_read(c, &txn);

	if (err)
		return err;
	snprintf(key, sizeof(key), "set.%s", name);
	err = get_meta(c, txn, key, value);
	mdb_txn_abort(txn);
	return err;
}

static int each(struct catalogue *c, MDB_dbi dbi, int (*fn)(void *, MDB_val), void *arg)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	MDB_txn *txn;
	int err = begin_read(c, &txn);

	if (err)
		return err;
	err = from_mdb(mdb_cursor_open(txn, dbi, &cursor));
	if (!err) {
		while (!(err = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_NEXT))))
			if ((err = fn(arg, v)))
				break;
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	return err == -ENOENT ? 0 : err;
}

struct disk_visit {
	int (*fn)(void *, const struct disk_record *);
	void *arg;
};

static int visit_disk(void *arg, MDB_val v)
{
	struct disk_visit *visit = arg;
	struct disk_record r;
	int err = record_decode_disk(v.mv_data, v.mv_size, &r);

	return err ? err : visit->fn(visit->arg, &r);
}

int catalogue_each_disk(struct catalogue *c, int (*fn)(void *arg, const struct disk_record *r),
			void *arg)
{
	struct disk_visit visit = { fn, arg };

	return each(c, c->disks, visit_disk, &visit);
}

struct pool_visit {
	int (*fn)(void *, const struct pool_record *);
	void *arg;
};

static int visit_pool(void *arg, MDB_val v)
{
	struct pool_visit *visit = arg;
	struct pool_record r;
	int err = record_decode_pool(v.mv_data, v.mv_size, &r);

	return err ? err : visit->fn(visit->arg, &r);
}

int catalogue_each_pool(struct catalogue *c, int (*fn)(void *arg, const struct pool_record *r),
			void *arg)
{
	struct pool_visit visit = { fn, arg };

	return each(c, c->pools, visit_pool, &visit);
}

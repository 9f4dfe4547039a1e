// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * LMDB with its default flags: every commit is durable, a power cut leaves the
 * state before or after it. Databases:
 *
 *   meta            name → u64: schema, clean, crashes, next_number, and the settings
 *   disks           number → disk record
 *   identities      file handle → number
 *   pools           number → pool record
 *   versions        disk, block, last → place, length (versions.c)
 *   by_last         disk, last, block → nothing
 *   totals          disk → bytes, count of its versions
 *   store_segments  disk, segment → bytes, count of the versions in it
 *   moments         disk, generation → moment record (moments.c)
 *   tracks          disk → track record
 *   snapshots       number → snapshot record
 *   origins         disk → origin record (origins.c)
 *   filled          disk, page → bits
 *   clones          number → clone record
 *   pairs           number → pair record
 *   groups          number → group record (group_records.c)
 *   members         group, disk or mirror → empty
 *
 * Numbers are big-endian, so that they sort; from versions on, keys are key.h's.
 * Records are record.c's. Schema 1 had the first four only, 2 all but those of clones,
 * 3 all but pairs, without which a mirror would be taken for what its source is; 4 wrote place
 * and length of versions in full, which is read still.
 * Groups did not change the schema: an older program that does not know them does no
 * harm to them, and its state is ours with no groups. Their records have a version of
 * their own.
 */
#include "catalogue_inner.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Address space, not memory or disk: room for billions of versions. */
#define MAP_SIZE (1ull << 40)
/* Where there is not so much (a limit, valgrind), less is tried, down to this. */
#define MAP_SIZE_LEAST (1ull << 30)

/* Each reader has a slot: more than there are threads. */
#define READERS_MAX 512

/*
 * Disk space kept ready beyond what is used: what gives something up is recorded in it when the
 * file system is full. What records more than there was before leaves it alone.
 */
#define RESERVE (2ull << 20)
#define RESERVE_STEP (1ull << 20)

/* ---- open ---- */

int catalogue_get_meta(struct catalogue *c, MDB_txn *txn, const char *name, uint64_t *value)
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

int catalogue_put_meta(struct catalogue *c, MDB_txn *txn, const char *name, uint64_t value)
{
	uint64_t le = htole64(value);
	MDB_val k = val(name, strlen(name)), v = val(&le, sizeof(le));

	return from_mdb(mdb_put(txn, c->meta, &k, &v, 0));
}

static int check_schema(struct catalogue *c, MDB_txn *txn, struct why *why)
{
	uint64_t schema;
	int err = catalogue_get_meta(c, txn, "schema", &schema);

	if (err && err != -ENOENT)
		return err;
	if (!err && schema > CATALOGUE_SCHEMA)
		return refuse(
			why, -EPROTO,
			"the state was written by a newer tandemfs (schema %llu, this one knows %d)",
			(unsigned long long)schema, CATALOGUE_SCHEMA);
	/* What an older one does not have is empty databases, which are there by now. */
	return catalogue_put_meta(c, txn, "schema", CATALOGUE_SCHEMA);
}

static int open_databases(struct catalogue *c, MDB_txn *txn, unsigned flags)
{
	const struct {
		const char *name;
		MDB_dbi *dbi;
	} list[] = { { "meta", &c->meta },
		     { "disks", &c->disks },
		     { "identities", &c->identities },
		     { "pools", &c->pools },
		     { "versions", &c->versions },
		     { "by_last", &c->by_last },
		     { "totals", &c->totals },
		     { "store_segments", &c->store_segments },
		     { "moments", &c->moments },
		     { "tracks", &c->tracks },
		     { "snapshots", &c->snapshots },
		     { "origins", &c->origins },
		     { "filled", &c->filled },
		     { "clones", &c->clones },
		     { "pairs", &c->pairs },
		     { "groups", &c->groups },
		     { "members", &c->members } };

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		int err = from_mdb(mdb_dbi_open(txn, list[i].name, flags, list[i].dbi));

		/* Those of groups came without a schema of their own. */
		if (err == -ENOENT && (list[i].dbi == &c->groups || list[i].dbi == &c->members))
			*list[i].dbi = NO_DATABASE;
		else if (err)
			return err;
	}
	return 0;
}

static int count_crash(struct catalogue *c, MDB_txn *txn, bool crash)
{
	int err = catalogue_get_meta(c, txn, "crashes", &c->crashes);

	if (err && err != -ENOENT)
		return err;
	c->crashes += crash;
	return crash ? catalogue_put_meta(c, txn, "crashes", c->crashes) : 0;
}

static int prepare(struct catalogue *c, bool *clean, struct why *why)
{
	uint64_t was_clean = 0;
	MDB_txn *txn;
	int err = from_mdb(mdb_txn_begin(c->env, NULL, 0, &txn));

	if (err)
		return err;
	err = open_databases(c, txn, MDB_CREATE);
	if (!err)
		err = check_schema(c, txn, why);
	if (!err) {
		err = catalogue_get_meta(c, txn, "clean", &was_clean);
		if (err == -ENOENT)
			err = 0;
	}
	if (!err)
		err = catalogue_put_meta(c, txn, "clean", 0);
	if (!err)
		err = count_crash(c, txn, !was_clean);
	if (err) {
		mdb_txn_abort(txn);
		return err;
	}
	*clean = was_clean;
	return from_mdb(mdb_txn_commit(txn));
}

uint64_t catalogue_crashes(const struct catalogue *c)
{
	return c->crashes;
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

static int open_mapped(struct catalogue *c, const char *dir, unsigned flags, uint64_t map_size)
{
	int err = from_mdb(mdb_env_create(&c->env));

	if (!err)
		err = from_mdb(mdb_env_set_maxdbs(c->env, 32));
	if (!err)
		err = from_mdb(mdb_env_set_maxreaders(c->env, READERS_MAX));
	if (!err)
		err = from_mdb(mdb_env_set_mapsize(c->env, map_size));
	if (!err)
		err = from_mdb(mdb_env_open(c->env, dir, MDB_NOTLS | flags, 0600));
	return err;
}

static void close_env(struct catalogue *c)
{
	if (c->env)
		mdb_env_close(c->env);
	c->env = NULL;
}

static int open_env(struct catalogue *c, const char *dir, unsigned flags)
{
	uint64_t size = MAP_SIZE;
	int dead, err = open_mapped(c, dir, flags, size);

	/* valgrind says EINVAL. */
	while ((err == -ENOMEM || err == -EINVAL) && size > MAP_SIZE_LEAST) {
		close_env(c);
		size /= 2;
		err = open_mapped(c, dir, flags, size);
	}
	if (err)
		return err;
	if (!(flags & MDB_NOLOCK))
		mdb_reader_check(c->env, &dead);
	return check_whole(c);
}

/*
 * A transaction does not write pages that it used and gave up again, so the file may end before
 * them: for check_whole it would be one that was cut off. So it is longer before it begins.
 */
static bool make_longer(int fd, uint64_t size)
{
	struct stat st;

	return !fstat(fd, &st) && ((uint64_t)st.st_size >= size || !ftruncate(fd, (off_t)size));
}

bool catalogue_reserve(struct catalogue *c, uint64_t more)
{
	MDB_envinfo info;
	MDB_stat st;
	bool scarce;
	uint64_t used;
	int fd;

	mdb_env_info(c->env, &info);
	mdb_env_stat(c->env, &st);
	used = (info.me_last_pgno + 1) * (uint64_t)st.ms_psize + more;
	if (used + RESERVE <= c->reserved || mdb_env_get_fd(c->env, &fd))
		return true;
	used += RESERVE + RESERVE_STEP;
	scarce = !make_longer(fd, used);
	if (!fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, used) ||
	    !fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, used -= RESERVE_STEP))
		c->reserved = used;
	else if (errno != EOPNOTSUPP) /* else nobody can know */
		scarce = true;
	atomic_store(&c->scarce, scarce);
	return !scarce;
}

bool catalogue_is_scarce(struct catalogue *c)
{
	return atomic_load(&c->scarce);
}

int catalogue_open(const char *state_dir, struct catalogue **out, bool *clean, struct why *why)
{
	struct catalogue *c = calloc(1, sizeof(*c));
	char dir[PATH_MAX + 16];
	int err;

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->idle_lock, NULL);
	why->message[0] = '\0';
	snprintf(dir, sizeof(dir), "%s/catalogue", state_dir);
	err = mkdir(dir, 0700) && errno != EEXIST ? -errno : 0;
	if (!err)
		err = open_env(c, dir, 0);
	if (!err)
		err = prepare(c, clean, why);
	if (!err)
		catalogue_reserve(c, 0);
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

/* Handles that a transaction opened are there for all once it is committed. */
static int open_all_to_read(struct catalogue *c, bool *clean, struct why *why)
{
	uint64_t schema = 0, was_clean = 0;
	MDB_txn *txn;
	int err = from_mdb(mdb_txn_begin(c->env, NULL, MDB_RDONLY, &txn));

	if (err)
		return err;
	err = from_mdb(mdb_dbi_open(txn, "meta", 0, &c->meta));
	if (!err)
		err = catalogue_get_meta(c, txn, "schema", &schema);
	if (!err && schema != CATALOGUE_SCHEMA)
		err = refuse(
			why, -EPROTO,
			"the state was written by %s tandemfs (schema %llu, this one knows %d)",
			schema > CATALOGUE_SCHEMA ? "a newer" : "an older",
			(unsigned long long)schema, CATALOGUE_SCHEMA);
	if (!err)
		err = open_databases(c, txn, 0);
	if (!err && catalogue_get_meta(c, txn, "clean", &was_clean))
		was_clean = 0;
	if (err) {
		mdb_txn_abort(txn);
		return err == -ENOENT ? -EIO : err; /* of what there must be */
	}
	*clean = was_clean;
	return from_mdb(mdb_txn_commit(txn));
}

int catalogue_open_to_read(const char *state_dir, struct catalogue **out, bool *clean,
			   struct why *why)
{
	struct catalogue *c = calloc(1, sizeof(*c));
	char dir[PATH_MAX + 16];
	int err;

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->idle_lock, NULL);
	why->message[0] = '\0';
	snprintf(dir, sizeof(dir), "%s/catalogue", state_dir);
	err = open_env(c, dir, MDB_RDONLY | MDB_NOLOCK);
	if (!err)
		err = open_all_to_read(c, clean, why);
	if (err) {
		catalogue_close(c);
		if (!why->message[0])
			refuse(why, err, "the catalogue %s cannot be read: %s", dir,
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
	for (size_t i = 0; i < c->idle_count; i++)
		mdb_txn_abort(c->idle[i]);
	close_env(c);
	pthread_mutex_destroy(&c->idle_lock);
	free(c);
}

/* ---- reading ---- */

int catalogue_begin_read(struct catalogue *c, MDB_txn **txn)
{
	MDB_txn *idle = NULL;
	int err;

	pthread_mutex_lock(&c->idle_lock);
	if (c->idle_count)
		idle = c->idle[--c->idle_count];
	pthread_mutex_unlock(&c->idle_lock);
	if (!idle)
		return from_mdb(mdb_txn_begin(c->env, NULL, MDB_RDONLY, txn));
	err = from_mdb(mdb_txn_renew(idle));
	if (err)
		mdb_txn_abort(idle);
	else
		*txn = idle;
	return err;
}

void catalogue_end_read(struct catalogue *c, MDB_txn *txn)
{
	mdb_txn_reset(txn);
	pthread_mutex_lock(&c->idle_lock);
	if (c->idle_count < IDLE_READS) {
		c->idle[c->idle_count++] = txn;
		txn = NULL;
	}
	pthread_mutex_unlock(&c->idle_lock);
	if (txn)
		mdb_txn_abort(txn);
}

/* *stopped is what fn returned, 0 at the end. */
static int each_from(MDB_cursor *cursor, const struct key *prefix,
		     int (*fn)(void *arg, MDB_val k, MDB_val v), void *arg, int *stopped)
{
	MDB_val k = key_val(prefix), v;
	int err = from_mdb(mdb_cursor_get(cursor, &k, &v, prefix->len ? MDB_SET_RANGE : MDB_FIRST));

	while (!err) {
		if (k.mv_size < prefix->len || memcmp(k.mv_data, prefix->bytes, prefix->len))
			return 0;
		*stopped = fn(arg, k, v);
		if (*stopped)
			return 0;
		err = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_NEXT));
	}
	return err == -ENOENT ? 0 : err;
}

int catalogue_each(struct catalogue *c, MDB_dbi dbi, const struct key *prefix,
		   int (*fn)(void *arg, MDB_val k, MDB_val v), void *arg)
{
	static const struct key all = { 0 };
	int stopped = 0, err;
	MDB_cursor *cursor;
	MDB_txn *txn;

	if (dbi == NO_DATABASE)
		return 0;
	err = catalogue_begin_read(c, &txn);
	if (err)
		return err;
	err = from_mdb(mdb_cursor_open(txn, dbi, &cursor));
	if (!err) {
		err = each_from(cursor, prefix ? prefix : &all, fn, arg, &stopped);
		mdb_cursor_close(cursor);
	}
	catalogue_end_read(c, txn);
	return err ? err : stopped;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "catalogue.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enumerations.h"
#include "origins.h"
#include "record.h"
#include "unit.h"
#include "versions.h"

static char dir[4096];
static struct catalogue *c;
static bool clean;
static struct why why;

static int try_to_open(void)
{
	memset(&why, 0, sizeof(why));
	c = NULL;
	return catalogue_open(dir, &c, &clean, &why);
}

static void setup(void)
{
	snprintf(dir, sizeof(dir), "%s", unit_dir());
	ck_assert_msg(!try_to_open(), "%s", why.message);
}

static void teardown(void)
{
	catalogue_close(c);
}

static void open_again(void)
{
	catalogue_close(c);
	ck_assert_msg(!try_to_open(), "%s", why.message);
}

static struct catalogue_txn *begun(void)
{
	struct catalogue_txn *txn;

	ck_assert_int_eq(catalogue_begin(c, &txn), 0);
	return txn;
}

static struct disk_record record(uint32_t number, const char *name)
{
	struct disk_record r = { .number = number, .pool = 3, .read_only = number & 1 };

	memset(r.id, (int)number, sizeof(r.id));
	r.identity.len = 5 + number % 100;
	memset(r.identity.bytes, (int)number, r.identity.len);
	memcpy(r.identity.bytes, &number, sizeof(number));
	r.stopped.size = 1ull << 40 | number;
	r.stopped.mtime = (struct timespec){ 1ll << 34, 999999999 };
	r.stopped.ctime = (struct timespec){ number, 5 };
	snprintf(r.file_name, sizeof(r.file_name), "%s", name);
	return r;
}

static void put(const struct disk_record *r)
{
	struct catalogue_txn *txn = begun();

	ck_assert_int_eq(catalogue_put_disk(txn, r), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
}

static void check_same(const struct disk_record *a, const struct disk_record *b)
{
	ck_assert_uint_eq(a->number, b->number);
	ck_assert_mem_eq(a->id, b->id, sizeof(a->id));
	ck_assert_uint_eq(a->pool, b->pool);
	ck_assert(a->read_only == b->read_only && a->gone == b->gone);
	ck_assert(identity_equal(&a->identity, &b->identity));
	ck_assert_uint_eq(a->stopped.size, b->stopped.size);
	ck_assert_mem_eq(&a->stopped.mtime, &b->stopped.mtime, sizeof(a->stopped.mtime));
	ck_assert_mem_eq(&a->stopped.ctime, &b->stopped.ctime, sizeof(a->stopped.ctime));
	ck_assert_str_eq(a->file_name, b->file_name);
	ck_assert_str_eq(a->mount_name, b->mount_name);
	ck_assert_uint_eq(a->mount_pool, b->mount_pool);
	ck_assert_uint_eq(a->notes ? a->notes : a->number, b->notes);
	ck_assert_uint_eq(a->guest_bytes, b->guest_bytes);
}

START_TEST(disks)
{
	char longest[NAME_MAX + 1];
	struct disk_record a, b, other, got;

	memset(longest, '\xff', NAME_MAX);
	longest[NAME_MAX] = '\0';
	a = record(1, "a b\n.img");
	b = record(0xfffffffe, longest);
	b.gone = true;
	b.identity.len = IDENTITY_MAX;
	memset(b.identity.bytes, 9, IDENTITY_MAX);
	memset(b.mount_name, 'x', sizeof(b.mount_name) - 1);
	b.mount_pool = 0xfffffffe;
	b.notes = 0xfffffffd;
	b.guest_bytes = UINT64_MAX;
	put(&a);
	put(&b);
	other = record(5, "c.img");
	other.notes = 1; /* and no name that it keeps */
	put(&other);
	open_again();
	ck_assert_int_eq(catalogue_disk_by_number(c, 1, &got), 0);
	check_same(&a, &got);
	ck_assert_int_eq(catalogue_disk_by_identity(c, &b.identity, &got), 0);
	check_same(&b, &got);
	ck_assert_int_eq(catalogue_disk_by_number(c, 5, &got), 0);
	check_same(&other, &got);
	other = record(6, "d.vhd");
	other.guest_bytes = 1 << 20; /* and nothing else that not all records have */
	put(&other);
	ck_assert_int_eq(catalogue_disk_by_number(c, 6, &got), 0);
	check_same(&other, &got);
	got.number = 77;
	ck_assert_int_eq(catalogue_disk_by_number(c, 2, &got), -ENOENT);
	ck_assert_uint_eq(got.number, 77);
}
END_TEST

START_TEST(identities_follow_their_disks)
{
	struct disk_record a = record(1, "a.img"), b = record(2, "b.img"), got;
	struct identity old = a.identity, none = { 0 };
	struct catalogue_txn *txn;

	put(&a);
	a.identity.bytes[4] ^= 1;
	put(&a);
	ck_assert_int_eq(catalogue_disk_by_identity(c, &old, &got), -ENOENT);
	ck_assert_int_eq(catalogue_disk_by_identity(c, &a.identity, &got), 0);
	ck_assert_int_eq(catalogue_disk_by_identity(c, &none, &got), -ENOENT);
	txn = begun();
	ck_assert_int_eq(catalogue_del_disk(txn, 1), 0);
	ck_assert_int_eq(catalogue_del_disk(txn, 5), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	ck_assert_int_eq(catalogue_disk_by_identity(c, &a.identity, &got), -ENOENT);
	/* One without any identity is kept, and found by its number. */
	b.identity.len = 0;
	put(&b);
	ck_assert_int_eq(catalogue_disk_by_number(c, 2, &got), 0);
	ck_assert_uint_eq(got.identity.len, 0);
}
END_TEST

/* The file is another disk's now: forgetting the old one does not take it away. */
START_TEST(an_identity_that_moved_on)
{
	struct disk_record a = record(1, "a.img"), b = record(2, "b.img"), got;
	struct catalogue_txn *txn;

	b.identity = a.identity;
	put(&a);
	put(&b);
	txn = begun();
	ck_assert_int_eq(catalogue_del_disk(txn, 1), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	ck_assert_int_eq(catalogue_disk_by_identity(c, &b.identity, &got), 0);
	ck_assert_uint_eq(got.number, 2);
}
END_TEST

START_TEST(all_or_nothing)
{
	struct disk_record a = record(1, "a.img"), got;
	struct catalogue_txn *txn = begun();
	uint32_t n, again;

	ck_assert_int_eq(catalogue_new_number(txn, &n), 0);
	ck_assert_int_eq(catalogue_put_disk(txn, &a), 0);
	ck_assert_int_eq(catalogue_put_setting(txn, "X", 5), 0);
	catalogue_abort(txn);
	ck_assert_int_eq(catalogue_disk_by_number(c, 1, &got), -ENOENT);
	txn = begun();
	ck_assert_int_eq(catalogue_new_number(txn, &again), 0);
	ck_assert_uint_eq(again, n);
	catalogue_abort(txn);
}
END_TEST

START_TEST(numbers_are_never_given_twice)
{
	struct catalogue_txn *txn;
	uint32_t last = 0, n;

	for (int i = 0; i < 20; i++) {
		txn = begun();
		ck_assert_int_eq(catalogue_new_number(txn, &n), 0);
		ck_assert_uint_gt(n, last);
		last = n;
		ck_assert_int_eq(catalogue_new_number(txn, &n), 0);
		ck_assert_uint_gt(n, last);
		last = n;
		ck_assert_int_eq(catalogue_commit(txn), 0);
		if (i % 5 == 0)
			open_again();
	}
}
END_TEST

struct seen {
	uint32_t numbers[10];
	size_t count;
	int stop_with;
};

static int see_disk(void *arg, const struct disk_record *r)
{
	struct seen *s = arg;

	s->numbers[s->count++] = r->number;
	return s->stop_with;
}

static int see_pool(void *arg, const struct pool_record *r)
{
	struct seen *s = arg;

	s->numbers[s->count++] = r->number;
	ck_assert_str_eq(r->name, r->number == 4 ? "fast" : "");
	ck_assert(pool_id_is_known(&r->id) == (r->number == 4));
	ck_assert(r->number != 4 || r->id.bytes[15] == 0xfe);
	return 0;
}

START_TEST(each_in_order)
{
	struct seen seen = { .count = 0 }, first = { .stop_with = -EINTR };
	static const uint32_t numbers[] = { 256, 2, 65536, 1 };

	ck_assert_int_eq(catalogue_each_disk(c, see_disk, &seen), 0);
	ck_assert_uint_eq(seen.count, 0);
	for (size_t i = 0; i < UNIT_LENGTH(numbers); i++) {
		struct disk_record r = record(numbers[i], "x.img");

		put(&r);
	}
	ck_assert_int_eq(catalogue_each_disk(c, see_disk, &seen), 0);
	ck_assert_uint_eq(seen.count, 4);
	ck_assert(seen.numbers[0] == 1 && seen.numbers[1] == 2 && seen.numbers[2] == 256 &&
		  seen.numbers[3] == 65536);
	ck_assert_int_eq(catalogue_each_disk(c, see_disk, &first), -EINTR);
	ck_assert_uint_eq(first.count, 1);
}
END_TEST

START_TEST(pools)
{
	struct pool_record fast = { .number = 4, .name = "fast" }, other = { .number = 5 };
	struct seen seen = { .count = 0 };
	struct catalogue_txn *txn = begun();

	memset(fast.dir, 'd', sizeof(fast.dir) - 1);
	fast.id.bytes[15] = 0xfe;
	ck_assert_int_eq(catalogue_put_pool(txn, &fast), 0);
	ck_assert_int_eq(catalogue_put_pool(txn, &other), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	open_again();
	ck_assert_int_eq(catalogue_each_pool(c, see_pool, &seen), 0);
	ck_assert_uint_eq(seen.count, 2);
	txn = begun();
	ck_assert_int_eq(catalogue_del_pool(txn, 4), 0);
	ck_assert_int_eq(catalogue_del_pool(txn, 99), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	seen.count = 0;
	ck_assert_int_eq(catalogue_each_pool(c, see_pool, &seen), 0);
	ck_assert_uint_eq(seen.count, 1);
	ck_assert_uint_eq(seen.numbers[0], 5);
}
END_TEST

START_TEST(settings)
{
	struct catalogue_txn *txn = begun();
	uint64_t v = 7;

	ck_assert_int_eq(catalogue_get_setting(c, "A", &v), -ENOENT);
	ck_assert_uint_eq(v, 7);
	ck_assert_int_eq(catalogue_put_setting(txn, "A", UINT64_MAX), 0);
	/* A setting can have the name of what we keep ourselves. */
	ck_assert_int_eq(catalogue_put_setting(txn, "schema", 99), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	open_again();
	ck_assert_int_eq(catalogue_get_setting(c, "A", &v), 0);
	ck_assert_uint_eq(v, UINT64_MAX);
}
END_TEST

START_TEST(clean_and_unclean)
{
	struct catalogue_txn *txn;

	ck_assert_msg(!clean, "a new one was never stopped");
	open_again();
	ck_assert(!clean);
	txn = begun();
	ck_assert_int_eq(catalogue_mark_clean(txn), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	open_again();
	ck_assert(clean);
	open_again();
	ck_assert_msg(!clean, "it was opened since");
}
END_TEST

/* Pages that were used and given up in one transaction are not written: the file may end before them. */
START_TEST(what_was_given_up_at_once)
{
	for (uint64_t round = 1; round <= 40; round++) {
		struct catalogue_txn *txn = begun();
		struct version v = { .last = round, .place = 4096, .length = 4096 };

		for (v.block = 0; v.block < 40 * round; v.block++)
			ck_assert_int_eq(version_put(txn, 1, &v), 0);
		while (v.block-- > 0)
			ck_assert_int_eq(version_del(txn, 1, v.block, v.last), 0);
		ck_assert_int_eq(catalogue_commit(txn), 0);
		open_again();
	}
}
END_TEST

/* ---- from anywhere ---- */

/* Through LMDB's own hands, with the catalogue closed. */
static void change(const char *database, const void *key, size_t key_len, const void *value,
		   size_t len)
{
	MDB_val k = { key_len, (void *)key }, v = { len, (void *)value };
	char path[5000];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	snprintf(path, sizeof(path), "%s/catalogue", dir);
	ck_assert_int_eq(mdb_env_create(&env), 0);
	ck_assert_int_eq(mdb_env_set_maxdbs(env, 32), 0);
	ck_assert_int_eq(mdb_env_set_mapsize(env, 1 << 30), 0);
	ck_assert_int_eq(mdb_env_open(env, path, 0, 0600), 0);
	ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	ck_assert_int_eq(mdb_dbi_open(txn, database, MDB_CREATE, &dbi), 0);
	ck_assert_int_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
	ck_assert_int_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

START_TEST(a_newer_schema)
{
	const uint8_t newer[8] = { CATALOGUE_SCHEMA + 1 }, bad[3] = { 1 };
	const uint8_t ours[8] = { CATALOGUE_SCHEMA };

	catalogue_close(c);
	change("meta", "schema", 6, newer, sizeof(newer));
	ck_assert_int_eq(try_to_open(), -EPROTO);
	ck_assert_ptr_null(c);
	ck_assert_ptr_nonnull(strstr(why.message, "newer tandemfs (schema 6"));
	change("meta", "schema", 6, bad, sizeof(bad));
	ck_assert_int_eq(try_to_open(), -EIO);
	ck_assert_str_ne(why.message, "");
	change("meta", "schema", 6, ours, sizeof(ours));
	ck_assert_int_eq(try_to_open(), 0);
}
END_TEST

/* Records of any length and content are refused or understood, never trusted. */
START_TEST(records_of_others)
{
	const uint8_t key[4] = { 0, 0, 0, 9 };
	struct disk_record got;
	uint8_t bytes[700];
	uint64_t seed = 1;

	for (unsigned i = 0; i < unit_scaled(300); i++) {
		size_t len = unit_below(&seed, sizeof(bytes));
		struct seen seen = { .count = 0 };
		int err;

		catalogue_close(c);
		for (size_t k = 0; k < len; k++)
			bytes[k] = unit_below(&seed, 3) ? 0 : unit_random(&seed);
		change(i & 1 ? "disks" : "pools", key, sizeof(key), bytes, len);
		ck_assert_int_eq(try_to_open(), 0);
		err = catalogue_disk_by_number(c, 9, &got);
		ck_assert_msg(err == 0 || err == -EIO || (err == -ENOENT && !i), "%d", err);
		if (!err)
			ck_assert_uint_le(strlen(got.file_name), NAME_MAX);
		err = catalogue_each_disk(c, see_disk, &seen);
		ck_assert(err == 0 || err == -EIO);
	}
}
END_TEST

/* The fixed fields, then an identity and a name that say they are so long. */
static int record_with(size_t identity, size_t says, size_t name, size_t name_says)
{
	const uint8_t key[4] = { 0, 0, 0, 9 };
	uint8_t bytes[60 + 2 + 400 + 2 + 400] = { 9 };
	struct disk_record got;
	size_t n = 60;

	bytes[n++] = says;
	bytes[n++] = says >> 8;
	memset(bytes + n, 1, identity);
	n += identity;
	bytes[n++] = name_says;
	bytes[n++] = name_says >> 8;
	memset(bytes + n, 'n', name);
	n += name;
	catalogue_close(c);
	change("disks", key, sizeof(key), bytes, n);
	ck_assert_int_eq(try_to_open(), 0);
	return catalogue_disk_by_number(c, 9, &got);
}

START_TEST(records_that_lie)
{
	ck_assert_int_eq(record_with(20, 20, 5, 5), 0);
	ck_assert_int_eq(record_with(IDENTITY_MAX, IDENTITY_MAX, NAME_MAX, NAME_MAX), 0);
	ck_assert_int_eq(record_with(IDENTITY_MAX + 1, IDENTITY_MAX + 1, 5, 5), -EIO);
	ck_assert_int_eq(record_with(20, 20, NAME_MAX + 1, NAME_MAX + 1), -EIO);
	ck_assert_int_eq(record_with(20, 20, 5, 6), -EIO);
	ck_assert_int_eq(record_with(20, 20, 5, 65535), -EIO);
	ck_assert_int_eq(record_with(20, 65535, 5, 5), -EIO);
	ck_assert_int_eq(record_with(0, 0, 0, 0), 0);
}
END_TEST

static void damage(off_t from, off_t len, int how, bool cut)
{
	uint64_t seed = 5;
	char path[5000];
	int fd;

	snprintf(path, sizeof(path), "%s/catalogue/data.mdb", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	for (off_t at = from; at < from + len; at++) {
		uint8_t byte = how < 0 ? (int)(unit_random(&seed) & 255) : how;

		ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	}
	if (cut)
		ck_assert_int_eq(ftruncate(fd, from), 0);
	close(fd);
}

static void refused_in_words(void)
{
	int err = try_to_open();

	ck_assert_int_lt(err, 0);
	ck_assert_ptr_null(c);
	ck_assert_ptr_nonnull(strstr(why.message, "catalogue"));
}

static void fill(void)
{
	for (uint32_t i = 1; i < 100; i++) {
		struct disk_record r = record(i, "x.img");
		struct catalogue_txn *txn = begun();

		ck_assert_int_eq(catalogue_put_disk(txn, &r), 0);
		ck_assert_int_eq(catalogue_commit(txn), 0);
	}
	catalogue_close(c);
}

START_TEST(no_catalogue_at_all)
{
	fill();
	damage(0, 16384, -1, false);
	refused_in_words();
}
END_TEST

START_TEST(zeros)
{
	fill();
	damage(0, 8192, 0, false);
	refused_in_words();
}
END_TEST

START_TEST(cut_off)
{
	fill();
	damage(8192, 0, 0, true);
	refused_in_words();
}
END_TEST

START_TEST(cut_in_the_middle)
{
	fill();
	damage(5 * 4096, 0, 0, true);
	refused_in_words();
}
END_TEST

START_TEST(not_a_file)
{
	char path[5000];

	catalogue_close(c);
	snprintf(path, sizeof(path), "%s/catalogue/data.mdb", dir);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	refused_in_words();
	ck_assert_int_eq(rmdir(path), 0);
	snprintf(path, sizeof(path), "%s/catalogue/lock.mdb", dir);
	ck_assert_int_eq(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/catalogue", dir);
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(symlink("/nowhere/at/all", path), 0);
	refused_in_words();
}
END_TEST

/* So much address space, besides what there is. */
static void limit_space(uint64_t bytes)
{
	unsigned long pages = 0;
	struct rlimit limit;
	FILE *f = fopen("/proc/self/statm", "re");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	limit.rlim_cur = limit.rlim_max = pages * (uint64_t)sysconf(_SC_PAGESIZE) + bytes;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

START_TEST(little_address_space)
{
	struct disk_record got;

	fill();
	limit_space(100ull << 30);
	ck_assert_msg(!try_to_open(), "%s", why.message);
	ck_assert_int_eq(catalogue_disk_by_number(c, 99, &got), 0);
	catalogue_close(c);
	limit_space(500ull << 20);
	refused_in_words();
}
END_TEST

/* ---- no space ---- */

/* A catalogue in a file system of its own, of so many bytes. */
static bool on_a_small_file_system(uint64_t bytes)
{
	char size[40];

	snprintf(size, sizeof(size), "size=%llu", (unsigned long long)bytes);
	catalogue_close(c);
	c = NULL;
	if (unshare(CLONE_NEWNS) || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", dir, "tmpfs", 0, size)) {
		printf("SKIP: the_reserve: cannot mount a tmpfs: %s\n", strerror(errno));
		return false;
	}
	ck_assert_msg(!try_to_open(), "%s", why.message);
	return true;
}

/* What others take. */
static void fill_the_file_system(void)
{
	char path[PATH_MAX + 16], block[4096] = "x";
	int fd;

	snprintf(path, sizeof(path), "%s/filler", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	while (write(fd, block, sizeof(block)) == sizeof(block))
		;
	ck_assert_int_eq(errno, ENOSPC);
	close(fd);
}

/* Until it is refused. */
static int put_something(void)
{
	static struct moment_record m = { .time_ms = 1 };
	struct catalogue_txn *txn;
	int err = catalogue_begin_growing(c, 100, &txn);

	for (int i = 0; i < 100 && !err; i++, m.generation++)
		err = moment_put(txn, 1, &m);
	return err ? err : catalogue_commit(txn);
}

/* What gives something up finds its space; what would take it is refused before. */
START_TEST(the_reserve)
{
	struct moment_record m = { .time_ms = 2 };
	struct catalogue_txn *txn;
	int err = 0;

	if (!on_a_small_file_system(8 << 20))
		return;
	ck_assert(!catalogue_is_scarce(c));
	ck_assert_int_eq(catalogue_begin_growing(c, 1, &txn), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	ck_assert_int_eq(catalogue_begin_growing(c, 100000, &txn), -ENOSPC);
	fill_the_file_system();
	for (unsigned i = 0; i < 1000 && !err; i++)
		err = put_something();
	ck_assert_int_eq(err, -ENOSPC);
	ck_assert(catalogue_is_scarce(c));
	for (unsigned i = 0; i < 300; i++) {
		txn = begun();
		for (m.generation = 10 * i; m.generation < 10 * (i + 1); m.generation++)
			ck_assert_int_eq(moment_put(txn, 2, &m), 0);
		ck_assert_int_eq(catalogue_commit(txn), 0);
	}
	ck_assert_int_eq(put_something(), -ENOSPC);
}
END_TEST

/* ---- threads ---- */

static unsigned rounds;
static atomic_uint wrong;

static void *writer(void *arg)
{
	uint32_t mine = (uint32_t)(uintptr_t)arg;

	for (unsigned i = 0; i < rounds; i++) {
		struct disk_record r = record(mine, "x.img");
		struct catalogue_txn *txn;

		r.stopped.size = i;
		if (catalogue_begin(c, &txn) || catalogue_put_disk(txn, &r) ||
		    catalogue_commit(txn))
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

static void *reader(void *arg)
{
	for (unsigned i = 0; i < 10 * rounds; i++) {
		struct seen seen = { .count = 0 };
		struct disk_record r;
		int err = catalogue_disk_by_number(c, 1 + i % 4, &r);

		if ((err && err != -ENOENT) || catalogue_each_disk(c, see_disk, &seen))
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

START_TEST(by_many_threads)
{
	pthread_t threads[8];

	rounds = unit_scaled(100);
	for (uintptr_t i = 0; i < 8; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, i < 4 ? writer : reader,
						(void *)(i + 1)),
				 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
}
END_TEST

static int count_clones(void *arg, const struct clone_record *r)
{
	++*(unsigned *)arg;
	return 0;
}

static void put_clone(const struct clone_record *r)
{
	struct catalogue_txn *txn = begun();

	ck_assert_int_eq(clone_put(txn, r), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
}

static void del_clone(uint32_t number)
{
	struct catalogue_txn *txn = begun();

	ck_assert_int_eq(clone_del(txn, number), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
}

/* What cannot be one. */
START_TEST(clones_that_lie)
{
	const struct clone_record good = { .number = 7,
					   .source = 1,
					   .copy_state = 3,
					   .priority = 1,
					   .methodology = 2,
					   .name = "one" };
	struct clone_record bad[6];
	unsigned count = 0;

	for (size_t i = 0; i < UNIT_LENGTH(bad); i++)
		bad[i] = good;
	bad[0].copy_state = 200;
	bad[1].priority = 200;
	bad[2].methodology = 200;
	bad[3].number = 0;
	bad[4].name[0] = '\0';
	bad[5].name[1] = '/';
	for (size_t i = 0; i < UNIT_LENGTH(bad); i++) {
		put_clone(&bad[i]);
		ck_assert_int_eq(clones_each(c, count_clones, &count), -EIO);
		del_clone(bad[i].number);
	}
	put_clone(&good);
	ck_assert_int_eq(clones_each(c, count_clones, &count), 0);
	ck_assert_uint_eq(count, 1);
}
END_TEST

static int keep_pair(void *arg, const struct pair_record *r)
{
	*(struct pair_record *)arg = *r;
	return 0;
}

static void check_pair(const struct pair_record *r)
{
	struct catalogue_txn *txn = begun();
	struct pair_record got;

	ck_assert_int_eq(pair_put(txn, r), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	ck_assert_int_eq(pairs_each(c, keep_pair, &got), 0);
	ck_assert(got.mode == r->mode && got.adaptive == r->adaptive && got.back == r->back);
	ck_assert_uint_eq(got.objective_s, r->objective_s);
	ck_assert_uint_eq(got.skew_limit, r->adaptive ? r->skew_limit : 0);
	ck_assert_uint_eq(got.of, r->of);
}

/* What is copied then an older program would take for the next generation. */
START_TEST(an_asynchronous_pair_that_goes_back)
{
	struct pair_record r = {
		.number = 7,
		.source = 1,
		.target = 2,
		.copy_state = COPY_UNSYNCHRONIZED,
		.mode = MODE_ASYNCHRONOUS,
		.priority = 1,
		.objective_s = 60,
		.skew_limit = 1 << 20,
		.name = "one",
	};
	struct record w;

	for (unsigned i = 0; i < 4; i++) {
		r.back = i & 1;
		r.adaptive = i & 2;
		r.of = i % 3 * 1000;
		check_pair(&r);
		record_encode_pair(&w, &r);
		ck_assert_int_eq(w.bytes[0] > 3, r.back);
	}
}
END_TEST

UNIT_MAIN("catalogue", setup, teardown, disks, identities_follow_their_disks,
	  an_identity_that_moved_on, all_or_nothing, numbers_are_never_given_twice, each_in_order,
	  pools, settings, clean_and_unclean, what_was_given_up_at_once, a_newer_schema,
	  records_of_others, records_that_lie, clones_that_lie, an_asynchronous_pair_that_goes_back,
	  no_catalogue_at_all, zeros, cut_off, cut_in_the_middle, not_a_file, little_address_space,
	  the_reserve, by_many_threads)

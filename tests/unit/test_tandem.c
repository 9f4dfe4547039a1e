// SPDX-License-Identifier: GPL-2.0-or-later
/* Starting, stopping, starting again; and finding what there is. */
#include "tandem.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "temp_tandem.h"
#include "unit.h"

#define SIZE (1u << 20)

static void setup(void)
{
	temp_tandem_begin();
}

static const char *last_start(void)
{
	if (temp_events("Started daemon") != 1)
		return "not one start";
	return temp_events("After=stop") ? "clean" : "unclean";
}

/* ---- start and stop ---- */

START_TEST(makes_its_state)
{
	struct stat st;

	temp_open();
	ck_assert_int_eq(stat(temp_path(".tandem"), &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0700);
	ck_assert_int_eq(stat(temp_path(".tandem/catalogue/data.mdb"), &st), 0);
	ck_assert_int_eq(st.st_mode & 077, 0);
	ck_assert_int_eq(stat(temp_path(".tandem/events"), &st), 0);
	ck_assert_str_eq(temp.t->disk_dir, temp.dir);
	ck_assert_uint_eq(temp_count(), 0);
}
END_TEST

START_TEST(a_state_directory_elsewhere)
{
	char state[PATH_MAX];
	struct stat st;

	snprintf(state, sizeof(state), "%s", unit_dir());
	temp.options.state_dir = state;
	temp_open();
	ck_assert_str_eq(temp.t->state_dir, state);
	ck_assert_int_lt(stat(temp_path(".tandem"), &st), 0);
	temp_close();
	temp.options.state_dir = "/proc/none";
	ck_assert_int_lt(temp_refused(&(struct why){ "", "" }), 0);
}
END_TEST

START_TEST(clean_and_unclean_starts)
{
	temp_open();
	ck_assert_str_eq(last_start(), "unclean");
	temp_forget();
	temp_close();
	temp_open();
	ck_assert_str_eq(last_start(), "clean");
	temp_forget();
	temp_close();
	temp_open_and_crash();
	temp.seen++; /* its own line */
	temp_open();
	ck_assert_str_eq(last_start(), "unclean");
}
END_TEST

/* A start that is refused is no stop of the one that crashed. */
START_TEST(a_crash_is_not_forgotten)
{
	static const char *name = "p";
	const char *dir = "/nowhere/at/all";
	struct why why;

	temp_open();
	temp_close();
	temp_open_and_crash();
	temp.options.pool_names = &name;
	temp.options.pool_dirs = &dir;
	temp.options.pool_count = 1;
	ck_assert_int_eq(temp_refused(&why), -ENOENT);
	temp.options.pool_count = 0;
	temp_open();
	ck_assert_uint_eq(temp_events("After=stop"), 1); /* of the second start */
}
END_TEST

START_TEST(one_at_a_time)
{
	struct why why;
	char pid[40];

	temp_open();
	snprintf(pid, sizeof(pid), "pid %d", getpid());
	ck_assert_int_eq(temp_refused(&why), -EBUSY);
	ck_assert_msg(strstr(why.message, pid) && strstr(why.message, temp.dir), "%s", why.message);
	/* The same state for other disks is refused too. */
	temp.options.state_dir = temp.t->state_dir;
	temp.options.disk_dir = unit_dir();
	ck_assert_int_eq(temp_refused(&why), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why.message, pid));
}
END_TEST

START_TEST(what_cannot_be_served)
{
	struct why why;

	temp_make("a.img", 512);
	temp.options.disk_dir = temp_path("a.img");
	ck_assert_int_eq(temp_refused(&why), -ENOTDIR);
	temp.options.disk_dir = temp_path("nothing");
	ck_assert_int_eq(temp_refused(&why), -ENOENT);
	ck_assert_ptr_nonnull(strstr(why.message, "no such directory"));
	temp.options.disk_dir = "";
	ck_assert_int_lt(temp_refused(&why), 0);
	/* A file where the state would be. */
	temp.options.disk_dir = temp.dir;
	temp_make(".tandem", 0);
	ck_assert_int_lt(temp_refused(&why), 0);
	ck_assert_ptr_nonnull(strstr(why.message, ".tandem"));
}
END_TEST

/* ---- a catalogue that is not ours ---- */

static void set_schema(uint64_t schema)
{
	MDB_val k = { 6, (void *)"schema" }, v = { sizeof(schema), &schema };
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	ck_assert_int_eq(mdb_env_create(&env), 0);
	ck_assert_int_eq(mdb_env_set_maxdbs(env, 32), 0);
	/* What it had is too much for valgrind. */
	ck_assert_int_eq(mdb_env_set_mapsize(env, 1 << 30), 0);
	ck_assert_int_eq(mdb_env_open(env, temp_path(".tandem/catalogue"), 0, 0600), 0);
	ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	ck_assert_int_eq(mdb_dbi_open(txn, "meta", 0, &dbi), 0);
	ck_assert_int_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
	ck_assert_int_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

START_TEST(a_newer_schema)
{
	struct why why;

	temp_open();
	temp_close();
	set_schema(77);
	ck_assert_int_eq(temp_refused(&why), -EPROTO);
	ck_assert_ptr_nonnull(strstr(why.message, "schema 77"));
	ck_assert_int_eq(temp_refused(&why), -EPROTO);
	set_schema(1);
	temp_open();
	ck_assert_msg(temp_events("After=stop") == 1, "being refused is no start");
}
END_TEST

START_TEST(a_broken_catalogue)
{
	char junk[3 * 4096];
	struct why why;
	int fd;

	temp_open();
	temp_close();
	memset(junk, 'x', sizeof(junk));
	fd = open(temp_path(".tandem/catalogue/data.mdb"), O_WRONLY | O_TRUNC | O_CLOEXEC);
	ck_assert_int_eq(write(fd, junk, sizeof(junk)), (ssize_t)sizeof(junk));
	close(fd);
	ck_assert_int_eq(temp_refused(&why), -EIO);
	ck_assert_ptr_nonnull(strstr(why.message, "catalogue"));
	ck_assert_ptr_nonnull(strstr(why.message, temp.dir));
}
END_TEST

/* ---- what is remembered ---- */

START_TEST(identities_survive_restarts)
{
	uint32_t a, b, c;
	uint8_t id[16];
	struct disk *d;

	temp_make("a.img", SIZE);
	temp_make("b.img", SIZE);
	temp_open();
	a = temp_number("a.img");
	b = temp_number("b.img");
	d = temp_disk("a.img");
	memcpy(id, d->id, sizeof(id));
	disk_unref(d);
	temp_close();
	/* Renamed, replaced and made while nobody looked. */
	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("x.img")), 0);
	temp_make("new.img", 512);
	ck_assert_int_eq(rename(temp_path("new.img"), temp_path("b.img")), 0);
	temp_make("a.img", 512);
	temp_open();
	d = temp_disk("x.img");
	ck_assert_uint_eq(d->number, a);
	ck_assert_mem_eq(d->id, id, sizeof(id));
	disk_unref(d);
	ck_assert_uint_ne(temp_number("b.img"), b);
	c = temp_number("a.img");
	ck_assert(c != a && c != b);
	temp_check_tables();
	temp_close();
	temp_open_and_crash();
	temp_open();
	ck_assert_uint_eq(temp_number("x.img"), a);
	ck_assert_uint_eq(temp_number("a.img"), c);
}
END_TEST

START_TEST(a_number_is_never_given_again)
{
	uint32_t last = 0;

	for (int i = 0; i < 4; i++) {
		temp_make("a.img", SIZE);
		temp_open();
		ck_assert_uint_gt(temp_number("a.img"), last);
		last = temp_number("a.img");
		temp_close();
		ck_assert_int_eq(unlink(temp_path("a.img")), 0);
		temp_open();
		temp_close();
	}
}
END_TEST

START_TEST(changed_while_stopped)
{
	temp_make("a.img", SIZE);
	temp_make("b.img", SIZE);
	temp_make("c.img", SIZE);
	temp_open();
	temp_close();
	temp_scribble("a.img");
	ck_assert_int_eq(truncate(temp_path("b.img"), 512), 0);
	temp_open();
	ck_assert_uint_eq(temp_events("Warning DiskChanged disks/a.img While=stopped"), 1);
	ck_assert_uint_eq(temp_events("Warning DiskChanged disks/b.img While=stopped"), 1);
	ck_assert_uint_eq(temp_events("DiskChanged"), 2);
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	temp_forget();
	temp_close();
	/* Once is enough. */
	temp_open();
	ck_assert_uint_eq(temp_events("DiskChanged"), 0);
}
END_TEST

START_TEST(our_last_writes_are_no_change)
{
	char buf[512] = "";
	struct disk *d;

	temp_make("a.img", SIZE);
	temp_open();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), 0);
	disk_close(d);
	disk_unref(d);
	temp_close();
	temp_open();
	ck_assert_uint_eq(temp_events("DiskChanged"), 0);
	ck_assert_uint_eq(temp_events("After=stop"), 1);
}
END_TEST

START_TEST(read_only)
{
	struct disk *d;
	struct why why;

	temp_make("a.img", SIZE);
	temp.options.read_only = true;
	temp_open();
	ck_assert_str_eq(temp_state("a.img"), "ReadOnly");
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), -EROFS);
	ck_assert_int_eq(disk_open(d, false), 0);
	disk_close(d);
	ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, false, false, &why), -EROFS);
	ck_assert_int_eq(tandem_rename_disk(temp.t, d, NULL, "b.img", 0, &why), -EROFS);
	disk_unref(d);
	temp_close();
	temp.options.read_only = false;
	temp_open();
	ck_assert_str_eq(temp_state("a.img"), "Ready");
}
END_TEST

/* ---- settings ---- */

START_TEST(settings)
{
	struct tandem_settings s, got;
	struct why why;

	temp_open();
	s = tandem_get_settings(temp.t);
	ck_assert(s.block_size == 8192 && s.rescan_interval_s == 60 && s.stop_timeout_s == 90);
	s = (struct tandem_settings){ .block_size = 65536,
				      .rescan_interval_s = 5,
				      .stop_timeout_s = 7 };
	ck_assert_int_eq(tandem_set(temp.t, &s, true, &why), 0);
	ck_assert_uint_eq(tandem_get_settings(temp.t).block_size, 8192);
	ck_assert_int_eq(tandem_set(temp.t, &s, false, &why), 0);
	temp_close();
	temp_open_and_crash();
	temp_open();
	got = tandem_get_settings(temp.t);
	ck_assert(got.block_size == 65536 && got.rescan_interval_s == 5 && got.stop_timeout_s == 7);
	temp_close();
	/* The command line is for this run. */
	temp.options.block_size = 4096;
	temp.options.stop_timeout_s = 3;
	temp_open();
	got = tandem_get_settings(temp.t);
	ck_assert(got.block_size == 4096 && got.rescan_interval_s == 5 && got.stop_timeout_s == 3);
}
END_TEST

START_TEST(wrong_settings)
{
	static const uint32_t sizes[] = { 0, 1, 2048, 4095, 4097, 12288, 2 << 20, UINT32_MAX };
	struct tandem_settings s;
	struct why why;

	temp_open();
	for (size_t i = 0; i < UNIT_LENGTH(sizes); i++) {
		s = tandem_get_settings(temp.t);
		s.block_size = sizes[i];
		ck_assert_int_eq(tandem_set(temp.t, &s, false, &why), -EINVAL);
		ck_assert_ptr_nonnull(strstr(why.message, "BlockSize"));
	}
	s = tandem_get_settings(temp.t);
	s.rescan_interval_s = 0;
	ck_assert_int_eq(tandem_set(temp.t, &s, false, &why), -EINVAL);
	ck_assert_uint_eq(tandem_get_settings(temp.t).block_size, 8192);
}
END_TEST

/* ---- finding ---- */

START_TEST(finding)
{
	struct pool *p;
	struct disk *d;

	temp_make("a.img", 512);
	temp_make("c.img", 512);
	temp_make("x.qcow2", 512);
	temp_open();
	d = tandem_disk_called(temp.t, "a.img");
	ck_assert_str_eq(d->label, "a.img");
	disk_unref(d);
	ck_assert_ptr_null(tandem_disk_labelled(temp.t, "b.img"));
	ck_assert_ptr_null(tandem_disk_labelled(temp.t, ""));
	ck_assert_ptr_null(tandem_disk_numbered(temp.t, 0));
	ck_assert_ptr_null(tandem_disk_numbered(temp.t, 4000));
	ck_assert_ptr_null(tandem_disk_called(temp.t, ":a.img:"));
	ck_assert_ptr_null(tandem_disk_called(temp.t, "nopool:a.img"));
	p = tandem_pool_named(temp.t, "");
	d = tandem_disk_mounted(temp.t, p, "c.img");
	ck_assert_str_eq(d->label, "c.img");
	disk_unref(d);
	/* It is known, but not in the mount. */
	ck_assert_ptr_null(tandem_disk_mounted(temp.t, p, "x.qcow2"));
	ck_assert_ptr_null(tandem_disk_mounted(temp.t, p, "x.qcow2.raw"));
	pool_unref(p);
	p = tandem_pool_numbered(temp.t, 0);
	ck_assert_str_eq(p->name, "");
	pool_unref(p);
	ck_assert_ptr_null(tandem_pool_named(temp.t, "fast"));
	ck_assert_ptr_null(tandem_pool_numbered(temp.t, 5));
}
END_TEST

UNIT_MAIN("tandem", setup, temp_tandem_end, makes_its_state, a_state_directory_elsewhere,
	  clean_and_unclean_starts, a_crash_is_not_forgotten, one_at_a_time, what_cannot_be_served,
	  a_newer_schema, a_broken_catalogue, identities_survive_restarts,
	  a_number_is_never_given_again, changed_while_stopped, our_last_writes_are_no_change,
	  read_only, settings, wrong_settings, finding)

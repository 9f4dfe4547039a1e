// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands: each checks everything first, and does all of it or nothing. */
#include "tandem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "temp_tandem.h"
#include "unit.h"

#define SIZE (1u << 20)

static struct why why;
static char second[PATH_MAX];

static void setup(void)
{
	temp_tandem_begin();
	temp_open();
	snprintf(second, sizeof(second), "%s", unit_dir());
}

static struct create_disk request(const char *name)
{
	return (struct create_disk){ .name = name,
				     .size = SIZE,
				     .mode = 0640,
				     .uid = geteuid(),
				     .gid = getegid() };
}

static int create(const struct create_disk *c)
{
	struct disk *d = NULL;
	int err = tandem_create_disk(temp.t, c, &d, &why);

	ck_assert((d != NULL) == (!err && !c->plan));
	if (d)
		ck_assert(disk_is_served(d) && disk_size(d) == c->size);
	disk_unref(d);
	temp_check_tables();
	return err;
}

static void created(const char *name)
{
	struct create_disk c = request(name);

	ck_assert_msg(!create(&c), "%s: %s", name, why.message);
}

static bool there_is(const char *name)
{
	struct stat st;

	return !lstat(temp_path(name), &st);
}

/* ---- CreateDisk ---- */

START_TEST(creates)
{
	struct create_disk c = request("a.img");
	struct stat st;

	c.plan = true;
	ck_assert_int_eq(create(&c), 0);
	ck_assert(!there_is("a.img"));
	ck_assert_uint_eq(temp_count(), 0);
	c.plan = false;
	ck_assert_int_eq(create(&c), 0);
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	ck_assert_int_eq(stat(temp_path("a.img"), &st), 0);
	ck_assert_int_eq(st.st_size, SIZE);
	ck_assert_int_eq(st.st_mode & 07777, 0640);
	ck_assert_uint_eq(temp_events("DiskAdded disks/a.img State=Ready"), 1);
	ck_assert_int_eq(create(&c), -EEXIST);
	created("noending");
	created("A.IMG");
}
END_TEST

START_TEST(names_that_are_refused)
{
	char huge[70000], longest[NAME_MAX + 2];
	// clang-format off
	const struct {
		const char *name;
		int err;
	} list[] = {
		{ "", -EINVAL }, { ".", -EINVAL }, { "..", -EINVAL }, { "../x.img", -EINVAL },
		{ "/x.img", -EINVAL }, { "a/b.img", -EINVAL }, { ".x.img", -EINVAL },
		{ ".tandem", -EINVAL }, { "-rf.img", -EINVAL }, { "a\nb.img", -EINVAL },
		{ "a\x7f.img", -EINVAL }, { "a.txt", -EINVAL }, { "a.avhd.x", -EINVAL },
		{ ":x.img", -ENOENT }, { "nopool:x.img", -ENOENT }, { longest, -EINVAL },
		{ huge, -EINVAL },
	};
	// clang-format on

	memset(longest, 'x', sizeof(longest));
	strcpy(longest + NAME_MAX - 3, ".img");
	memset(huge, 'x', sizeof(huge));
	strcpy(huge + sizeof(huge) - 5, ".img");
	for (size_t i = 0; i < UNIT_LENGTH(list); i++) {
		struct create_disk c = request(list[i].name);

		ck_assert_msg(create(&c) == list[i].err, "%.40s: %s", list[i].name, why.message);
		ck_assert_str_ne(why.message, "");
		c.plan = true;
		ck_assert_int_eq(create(&c), list[i].err);
	}
	ck_assert_uint_eq(temp_count(), 0);
	created("%s%n.img");
	created("\xff\xfe.img");
	created(longest + 1);
}
END_TEST

START_TEST(sizes_that_are_refused)
{
	static const uint64_t sizes[] = { 0, 1, 511, 513, UINT64_MAX, 1ull << 63 };

	for (size_t i = 0; i < UNIT_LENGTH(sizes); i++) {
		struct create_disk c = request("a.img");

		c.size = sizes[i];
		ck_assert_int_eq(create(&c), -EINVAL);
		ck_assert(!there_is("a.img"));
	}
}
END_TEST

/* What cannot be made leaves nothing behind. */
START_TEST(too_large_for_the_file_system)
{
	struct create_disk c = request("a.img");

	c.size = INT64_MAX / 512 * 512;
	ck_assert_int_lt(create(&c), 0);
	ck_assert(!there_is("a.img"));
	ck_assert_uint_eq(temp_count(), 0);
	created("a.img");
}
END_TEST

START_TEST(formats)
{
	struct create_disk c = request("a.img");

	c.format = "RAW";
	ck_assert_int_eq(create(&c), 0);
	c.name = "b.qcow2";
	c.format = "raw";
	ck_assert_int_eq(create(&c), -EINVAL);
	c.name = "b.img";
	c.format = "nothing";
	ck_assert_int_eq(create(&c), -EOPNOTSUPP);
}
END_TEST

START_TEST(a_name_that_is_taken)
{
	temp_make("a.img", 0);
	ck_assert_int_eq(symlink("nothing", temp_path("b.img")), 0);
	ck_assert_int_eq(mkdir(temp_path("c.img"), 0700), 0);
	for (const char *const *n = (const char *const[]){ "a.img", "b.img", "c.img", NULL }; *n;
	     n++) {
		struct create_disk c = request(*n);

		ck_assert_int_eq(create(&c), -EEXIST);
	}
}
END_TEST

START_TEST(as_files_are_made)
{
	struct create_disk c = request("a.img");

	c.as_file = true;
	c.size = 0;
	ck_assert_int_eq(create(&c), 0);
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	c.name = "noending";
	ck_assert_int_eq(create(&c), -EPERM);
	c.name = "x.txt";
	ck_assert_int_eq(create(&c), -EPERM);
	c.name = "x.vhdx";
	ck_assert_int_eq(create(&c), -EPERM);
}
END_TEST

/* ---- DeleteDisk ---- */

START_TEST(deletes)
{
	struct disk *d;
	uint32_t number;

	created("a.img");
	d = temp_disk("a.img");
	number = d->number;
	ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, false, true, &why), 0);
	ck_assert(there_is("a.img") && disk_is_served(d));
	ck_assert_int_eq(disk_open(d, false), 0);
	ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, false, false, &why), -EBUSY);
	ck_assert_str_eq(why.advice, "close it first");
	ck_assert(there_is("a.img") && disk_is_served(d));
	disk_close(d);
	ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, false, false, &why), 0);
	ck_assert(!there_is("a.img"));
	ck_assert_uint_eq(temp_count(), 0);
	ck_assert_int_eq(disk_open(d, false), -ENOENT);
	ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, false, false, &why), -ENOENT);
	ck_assert_uint_eq(temp_events("DiskRemoved disks/a.img By=command"), 1);
	disk_unref(d);
	temp_rescan();
	temp_close();
	temp_open();
	created("a.img");
	ck_assert_uint_ne(temp_number("a.img"), number);
}
END_TEST

/* Somebody put another file in its place, and we have not noticed yet. */
START_TEST(deletes_no_other_file)
{
	struct disk *d;

	created("a.img");
	d = temp_disk("a.img");
	temp_make("precious.img", 512);
	ck_assert_int_eq(rename(temp_path("precious.img"), temp_path("a.img")), 0);
	ck_assert_int_lt(tandem_delete_disk(temp.t, d, NULL, false, false, &why), 0);
	ck_assert(there_is("a.img"));
	disk_unref(d);
}
END_TEST

START_TEST(deletes_one_that_is_gone)
{
	struct disk *d;

	created("a.img");
	d = temp_disk("a.img");
	ck_assert_int_eq(unlink(temp_path("a.img")), 0);
	ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, false, false, &why), 0);
	ck_assert_uint_eq(temp_count(), 0);
	disk_unref(d);
}
END_TEST

/* ---- rename ---- */

static int rename_to(const char *from, const char *to, unsigned flags)
{
	struct disk *d = temp_disk(from);
	int err = tandem_rename_disk(temp.t, d, NULL, to, flags, &why);

	disk_unref(d);
	temp_check_tables();
	return err;
}

START_TEST(renames)
{
	uint32_t number;

	created("a.img");
	number = temp_number("a.img");
	ck_assert_int_eq(rename_to("a.img", "b.raw", 0), 0);
	ck_assert(there_is("b.raw") && !there_is("a.img"));
	ck_assert_uint_eq(temp_number("b.raw"), number);
	ck_assert_str_eq(temp_state("b.raw"), "Ready");
	ck_assert_uint_eq(temp_events("DiskRenamed disks/b.raw From=a.img"), 1);
	ck_assert_int_eq(rename_to("b.raw", "b.raw", 0), 0);
	temp_forget();
	temp_rescan();
	ck_assert_uint_eq(temp_events(""), 0);
	temp_close();
	temp_open();
	ck_assert_uint_eq(temp_number("b.raw"), number);
}
END_TEST

START_TEST(renames_over_another)
{
	struct disk *over;
	uint32_t number;

	created("a.img");
	created("b.img");
	number = temp_number("a.img");
	ck_assert_int_eq(rename_to("a.img", "b.img", RENAME_NOREPLACE), -EEXIST);
	ck_assert_int_eq(rename_to("a.img", "b.img", RENAME_EXCHANGE), -EINVAL);
	over = temp_disk("b.img");
	ck_assert_int_eq(disk_open(over, false), 0);
	ck_assert_int_eq(rename_to("a.img", "b.img", 0), -EBUSY);
	disk_close(over);
	ck_assert_uint_eq(temp_count(), 2);
	ck_assert_int_eq(rename_to("a.img", "b.img", 0), 0);
	ck_assert_uint_eq(temp_count(), 1);
	ck_assert_uint_eq(temp_number("b.img"), number);
	ck_assert_int_eq(disk_open(over, false), -ENOENT);
	disk_unref(over);
}
END_TEST

START_TEST(renames_that_are_refused)
{
	static const char *const names[] = { "a.txt",   "a",      "a.qcow2", "",        "..",
					     "x/y.img", ".a.img", "a:b.img", "a\n.img", "-a.img" };
	struct disk *d;

	created("a.img");
	created("open.img");
	for (size_t i = 0; i < UNIT_LENGTH(names); i++)
		ck_assert_msg(rename_to("a.img", names[i], 0) == -EPERM, "%s", names[i]);
	/* A file that is no disk of ours is never replaced. */
	ck_assert_int_eq(mkdir(temp_path("dir.img"), 0700), 0);
	ck_assert_int_eq(rename_to("a.img", "dir.img", 0), -EEXIST);
	temp_make("unseen.img", 512);
	ck_assert_int_eq(rename_to("a.img", "unseen.img", 0), -EEXIST);
	d = temp_disk("open.img");
	ck_assert_int_eq(disk_open(d, false), 0);
	ck_assert_int_eq(rename_to("open.img", "b.img", 0), -EBUSY);
	disk_close(d);
	disk_unref(d);
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	ck_assert_str_eq(temp_state("open.img"), "Ready");
}
END_TEST

/* ---- Resize ---- */

START_TEST(resizes)
{
	struct disk *d;

	created("a.img");
	d = temp_disk("a.img");
	ck_assert_int_eq(tandem_resize_disk(temp.t, d, 2 * SIZE, false, true, &why), 0);
	ck_assert_uint_eq(disk_size(d), SIZE);
	ck_assert_int_eq(tandem_resize_disk(temp.t, d, 2 * SIZE, false, false, &why), 0);
	ck_assert_uint_eq(disk_size(d), 2 * SIZE);
	ck_assert_int_eq(tandem_resize_disk(temp.t, d, SIZE, false, false, &why), -EPERM);
	ck_assert_ptr_nonnull(strstr(why.message, "1048576 bytes"));
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(tandem_resize_disk(temp.t, d, SIZE, true, false, &why), -EBUSY);
	ck_assert_int_eq(tandem_resize_disk(temp.t, d, 3 * SIZE, false, false, &why), 0);
	disk_close(d);
	ck_assert_int_eq(tandem_resize_disk(temp.t, d, SIZE, true, false, &why), 0);
	ck_assert_uint_eq(disk_size(d), SIZE);
	ck_assert_int_eq(tandem_resize_disk(temp.t, d, 0, true, false, &why), -EINVAL);
	ck_assert_int_eq(tandem_resize_disk(temp.t, d, 513, true, false, &why), -EINVAL);
	ck_assert_int_eq(tandem_resize_disk(temp.t, d, 1ull << 63, true, false, &why), -EINVAL);
	ck_assert(!disk_is_open(d));
	temp_forget();
	temp_rescan();
	ck_assert_msg(temp_events("DiskChanged") == 0, "we did it ourselves");
	disk_unref(d);
}
END_TEST

/* ---- Set ReadOnly ---- */

START_TEST(read_only)
{
	struct disk *d;

	created("a.img");
	d = temp_disk("a.img");
	ck_assert_int_eq(tandem_set_disk_read_only(temp.t, d, true, true, &why), 0);
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(tandem_set_disk_read_only(temp.t, d, true, false, &why), -EBUSY);
	disk_close(d);
	ck_assert_int_eq(tandem_set_disk_read_only(temp.t, d, true, false, &why), 0);
	ck_assert_str_eq(temp_state("a.img"), "ReadOnly");
	ck_assert_int_eq(disk_open(d, true), -EROFS);
	ck_assert_int_eq(tandem_resize_disk(temp.t, d, 2 * SIZE, false, false, &why), -EROFS);
	disk_unref(d);
	/* It stays so, whatever happens to its name. */
	temp_close();
	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("b.img")), 0);
	temp_open();
	ck_assert_str_eq(temp_state("b.img"), "ReadOnly");
	d = temp_disk("b.img");
	ck_assert_int_eq(tandem_set_disk_read_only(temp.t, d, false, false, &why), 0);
	ck_assert_str_eq(temp_state("b.img"), "Ready");
	disk_unref(d);
}
END_TEST

/* ---- Accept ---- */

START_TEST(accepts_a_failed_one)
{
	uint32_t number;
	struct disk *d;

	created("a.img");
	d = temp_disk("a.img");
	number = d->number;
	ck_assert_int_eq(tandem_accept_disk(temp.t, d, true, false, &why), -EBUSY);
	atomic_store(&d->broken_flush, true);
	disk_set_state(d, DISK_FAILED, "a flush failed");
	ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, false, true, &why), 0);
	ck_assert_int_eq(tandem_resize_disk(temp.t, d, 2 * SIZE, false, false, &why), -EBUSY);
	ck_assert_str_eq(why.advice, "Accept Force");
	ck_assert_int_eq(tandem_accept_disk(temp.t, d, false, false, &why), -EPERM);
	ck_assert_ptr_nonnull(strstr(why.message, "a flush failed"));
	ck_assert_int_eq(tandem_accept_disk(temp.t, d, true, true, &why), 0);
	ck_assert_str_eq(temp_state("a.img"), "Failed");
	ck_assert_int_eq(tandem_accept_disk(temp.t, d, true, false, &why), 0);
	ck_assert_msg(!strcmp(temp_state("a.img"), "Ready"), "%s: %s", temp_state("a.img"),
		      temp_reason("a.img"));
	disk_unref(d);
	ck_assert_uint_eq(temp_number("a.img"), number);
	temp_check_tables();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(disk_write(d, "x", 1, 0, 0), 0);
	ck_assert_int_eq(disk_flush(d), 0);
	disk_close(d);
	disk_unref(d);
}
END_TEST

/* Whoever has a raw disk open sees what is there anyway. */
START_TEST(accepts_an_open_one)
{
	struct disk *d;

	created("a.img");
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	disk_set_state(d, DISK_CHANGED, "somebody did");
	ck_assert_int_eq(truncate(temp_path("a.img"), 512), 0);
	ck_assert_int_eq(tandem_accept_disk(temp.t, d, true, false, &why), 0);
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	ck_assert_uint_eq(disk_size(d), 512);
	ck_assert(disk_is_open(d));
	disk_close(d);
	disk_unref(d);
}
END_TEST

/* ---- pools ---- */

static void make_in_second(const char *name)
{
	char path[PATH_MAX + 300];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", second, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	close(fd);
}

START_TEST(adds_and_removes_a_pool)
{
	uint32_t number;
	struct disk *d;

	make_in_second("a.img");
	created("a.img");
	ck_assert_int_eq(tandem_add_pool(temp.t, "fast", second, true, &why), 0);
	ck_assert_uint_eq(temp_count(), 1);
	ck_assert_int_eq(tandem_add_pool(temp.t, "fast", second, false, &why), 0);
	ck_assert_str_eq(temp_state("fast:a.img"), "Ready");
	ck_assert_uint_eq(temp_events("PoolAdded pools/fast Dir=/"), 1);
	number = temp_number("fast:a.img");
	created("fast:b.img");
	ck_assert_str_eq(temp_state("fast:b.img"), "Ready");
	d = tandem_disk_called(temp.t, "fast:a.img");
	ck_assert_uint_eq(d->number, number);
	ck_assert_int_eq(disk_open(d, false), 0);
	ck_assert_int_eq(tandem_remove_pool(temp.t, "fast", false, false, &why), -EBUSY);
	ck_assert_str_eq(temp_state("fast:b.img"), "Ready");
	ck_assert_int_eq(disk_open(d, false), 0);
	disk_close(d);
	disk_close(d);
	disk_unref(d);
	temp_check_tables();
	/* It comes back after a crash, with the numbers its disks had. */
	temp_close();
	temp_open_and_crash();
	temp_open();
	ck_assert_uint_eq(temp_number("fast:a.img"), number);
	ck_assert_int_eq(tandem_remove_pool(temp.t, "fast", false, true, &why), 0);
	ck_assert_str_eq(temp_state("fast:a.img"), "Ready");
	ck_assert_int_eq(tandem_remove_pool(temp.t, "fast", false, false, &why), 0);
	ck_assert_uint_eq(temp_count(), 1);
	ck_assert_uint_eq(temp_events("PoolRemoved pools/fast"), 1);
	ck_assert_int_eq(tandem_remove_pool(temp.t, "fast", false, false, &why), -ENOENT);
	ck_assert_int_eq(tandem_remove_pool(temp.t, "", false, false, &why), -ENOENT);
	ck_assert_int_eq(tandem_add_pool(temp.t, "again", second, false, &why), 0);
	ck_assert_uint_eq(temp_number("again:a.img"), number);
}
END_TEST

START_TEST(pools_that_are_refused)
{
	char inside[PATH_MAX + 20];

	created("disk");
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", "relative", false, &why), -EINVAL);
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", "/nowhere/at/all", false, &why), -ENOENT);
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", temp.dir, false, &why), -EEXIST);
	snprintf(inside, sizeof(inside), "%s/.tandem/", temp.dir);
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", inside, false, &why), -EINVAL);
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", temp_path("disk"), false, &why), -ENOTDIR);
	ck_assert_int_eq(tandem_add_pool(temp.t, "disk", second, false, &why), -EEXIST);
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", second, false, &why), 0);
	ck_assert_int_eq(tandem_add_pool(temp.t, "q", second, false, &why), -EEXIST);
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", unit_dir(), false, &why), -EEXIST);
	ck_assert_int_eq(tandem_remove_pool(temp.t, "p", false, false, &why), 0);
	/* Refused ones hold no locks. */
	ck_assert_int_eq(tandem_add_pool(temp.t, "q", second, false, &why), 0);
}
END_TEST

START_TEST(a_pool_that_is_served_elsewhere)
{
	struct tandem_options o = { .disk_dir = second, .requests_per_disk = 16 };
	struct tandem *other;
	char pid[40];

	ck_assert_int_eq(tandem_open(&o, &other, &why), 0);
	snprintf(pid, sizeof(pid), "pid %d", getpid());
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", second, false, &why), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why.message, pid));
	tandem_close(other);
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", second, false, &why), 0);
	ck_assert_int_eq(tandem_open(&o, &other, &why), -EBUSY);
}
END_TEST

/* A recorded pool whose directory is away is shown, and comes back with a rescan. */
START_TEST(a_pool_that_is_away)
{
	struct create_disk c = request("fast:b.img");
	char away[PATH_MAX + 10];
	struct pool *p;

	make_in_second("a.img");
	ck_assert_int_eq(tandem_add_pool(temp.t, "fast", second, false, &why), 0);
	temp_close();
	snprintf(away, sizeof(away), "%s.away", second);
	ck_assert_int_eq(rename(second, away), 0);
	temp_open();
	p = tandem_pool_named(temp.t, "fast");
	ck_assert_int_eq(p->dirfd, -1);
	pool_unref(p);
	ck_assert_str_eq(temp_state("fast:a.img"), "");
	ck_assert_int_eq(create(&c), -EBUSY);
	ck_assert_int_eq(rename(away, second), 0);
	temp_rescan();
	ck_assert_str_eq(temp_state("fast:a.img"), "Ready");
}
END_TEST

START_TEST(moved_between_pools)
{
	char path[PATH_MAX + 20];
	uint32_t number;

	created("a.img");
	number = temp_number("a.img");
	ck_assert_int_eq(tandem_add_pool(temp.t, "fast", second, false, &why), 0);
	snprintf(path, sizeof(path), "%s/a.img", second);
	ck_assert_int_eq(rename(temp_path("a.img"), path), 0);
	temp_rescan();
	ck_assert_uint_eq(temp_number("fast:a.img"), number);
	ck_assert_uint_eq(temp_count(), 1);
	ck_assert_int_eq(rename(path, temp_path("b.img")), 0);
	temp_rescan();
	temp_rescan();
	ck_assert_uint_eq(temp_number("b.img"), number);
	ck_assert_uint_eq(temp_count(), 1);
}
END_TEST

START_TEST(changed_in_a_pool_while_stopped)
{
	char path[PATH_MAX + 20];

	make_in_second("a.img");
	ck_assert_int_eq(tandem_add_pool(temp.t, "fast", second, false, &why), 0);
	temp_close();
	snprintf(path, sizeof(path), "%s/a.img", second);
	ck_assert_int_eq(truncate(path, 512), 0);
	temp_open();
	ck_assert_uint_eq(temp_events("DiskChanged disks/fast:a.img While=stopped"), 1);
}
END_TEST

/* ---- Conflict ---- */

START_TEST(a_pool_and_a_disk_of_one_name)
{
	ck_assert_int_eq(tandem_add_pool(temp.t, "fast", second, false, &why), 0);
	temp_make("fast", SIZE);
	temp_rescan();
	ck_assert_str_eq(temp_state("fast"), "Conflict");
	ck_assert_ptr_nonnull(strstr(temp_reason("fast"), "pool"));
	ck_assert_uint_eq(temp_events("DiskAdded disks/fast State=Conflict"), 1);
	temp_forget();
	temp_rescan();
	ck_assert_uint_eq(temp_events(""), 0);
	temp_close();
	temp_open();
	ck_assert_str_eq(temp_state("fast"), "Conflict");
	temp_close();
	temp_open();
	ck_assert_msg(temp_events("To=Ready") == 0, "stopping makes nothing Ready");
	ck_assert_int_eq(tandem_remove_pool(temp.t, "fast", false, false, &why), 0);
	ck_assert_str_eq(temp_state("fast"), "Ready");
	ck_assert_uint_eq(temp_events("StateChanged disks/fast From=Conflict To=Ready"), 1);
}
END_TEST

START_TEST(renamed_into_a_conflict)
{
	uint32_t number;

	ck_assert_int_eq(tandem_add_pool(temp.t, "fast", second, false, &why), 0);
	created("slow");
	number = temp_number("slow");
	ck_assert_int_eq(rename(temp_path("slow"), temp_path("fast")), 0);
	temp_rescan();
	ck_assert_str_eq(temp_state("fast"), "Conflict");
	ck_assert_uint_eq(temp_number("fast"), number);
	ck_assert_int_eq(rename(temp_path("fast"), temp_path("slow")), 0);
	temp_rescan();
	ck_assert_str_eq(temp_state("slow"), "Ready");
	ck_assert_uint_eq(temp_number("slow"), number);
}
END_TEST

UNIT_MAIN("operations", setup, temp_tandem_end, creates, names_that_are_refused,
	  sizes_that_are_refused, too_large_for_the_file_system, formats, a_name_that_is_taken,
	  as_files_are_made, deletes, deletes_no_other_file, deletes_one_that_is_gone, renames,
	  renames_over_another, renames_that_are_refused, resizes, read_only, accepts_a_failed_one,
	  accepts_an_open_one, adds_and_removes_a_pool, pools_that_are_refused,
	  a_pool_that_is_served_elsewhere, a_pool_that_is_away, moved_between_pools,
	  changed_in_a_pool_while_stopped, a_pool_and_a_disk_of_one_name, renamed_into_a_conflict)

// SPDX-License-Identifier: GPL-2.0-or-later
/* Chains of images: found where they may be, and kept as they are. */
#include "parents.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "temp_tandem.h"
#include "unit.h"
#include "vhd_layout.h"
#include "vhdx_build.h"

#define SIZE (8u << 20)

static struct why why;
static char second[PATH_MAX];

static void setup(void)
{
	temp_tandem_begin();
	temp_open();
	snprintf(second, sizeof(second), "%s", unit_dir());
}

START_TEST(paths)
{
	static const struct {
		const char *path, *dir, *name; /* dir NULL: none */
	} list[] = {
		{ "/a/b.vhd", "/a", "b.vhd" },
		{ "/a//./b.vhd", "/a", "b.vhd" },
		{ "/a/c/../b.vhd", "/a", "b.vhd" },
		{ "/../../b.vhd", "/", "b.vhd" },
		{ "/b.vhd", "/", "b.vhd" },
		{ "/a/b/", "/a", "b" },
		{ "/a/..", NULL, NULL },
		{ "/", NULL, NULL },
		{ "", NULL, NULL },
		{ "a/b.vhd", NULL, NULL },
		{ "C:/a/b.vhd", NULL, NULL },
		{ "//server/share/b.vhd", "/server/share", "b.vhd" },
	};
	char dir[PATH_MAX], tiny[8];
	const char *name;

	for (size_t i = 0; i < UNIT_LENGTH(list); i++) {
		bool has = parents_split(list[i].path, dir, sizeof(dir), &name);

		ck_assert_msg(has == !!list[i].dir, "%s", list[i].path);
		if (has)
			ck_assert_str_eq(dir, list[i].dir);
		if (has)
			ck_assert_str_eq(name, list[i].name);
	}
	ck_assert(!parents_split("/a/long.vhd", tiny, sizeof(tiny), &name));
}
END_TEST

static int create(const char *name, const char *parent)
{
	struct create_disk c = { .name = name,
				 .size = parent ? 0 : SIZE,
				 .parent = parent,
				 .mode = 0600,
				 .uid = geteuid(),
				 .gid = getegid() };
	struct disk *d = NULL;
	int err = tandem_create_disk(temp.t, &c, &d, &why);

	disk_unref(d);
	temp_check_tables();
	return err;
}

static void created(const char *name, const char *parent)
{
	ck_assert_msg(!create(name, parent), "%s: %s", name, why.message);
}

static void write_byte(const char *label, uint64_t off, char c)
{
	struct disk *d = temp_disk(label);

	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(disk_write(d, &c, 1, off, 0), 0);
	disk_close(d);
	disk_unref(d);
}

static char read_byte(const char *label, uint64_t off)
{
	struct disk *d = temp_disk(label);
	size_t done;
	char c;

	ck_assert_int_eq(disk_open(d, false), 0);
	ck_assert_int_eq(disk_read(d, &c, 1, off, 0, &done), 0);
	disk_close(d);
	disk_unref(d);
	return c;
}

static unsigned children(const char *label)
{
	struct disk *d = temp_disk(label);
	struct disk_facts facts;

	disk_facts(d, &facts);
	disk_unref(d);
	return facts.children;
}

START_TEST(a_chain)
{
	created("base.vhd", NULL);
	write_byte("base.vhd", 1, 'b');
	created("middle.vhd", "base.vhd");
	write_byte("middle.vhd", 70000, 'm');
	created("top.avhd", "middle.vhd.raw");
	write_byte("top.avhd", 5000000, 't');
	ck_assert_str_eq(temp_state("base.vhd"), "ReadOnly");
	ck_assert_str_eq(temp_reason("base.vhd"), "2 disks are built upon it");
	ck_assert_str_eq(temp_state("middle.vhd"), "ReadOnly");
	ck_assert_str_eq(temp_state("top.avhd"), "Ready");
	for (int again = 0; again < 2; again++) {
		ck_assert_int_eq(read_byte("top.avhd", 1), 'b');
		ck_assert_int_eq(read_byte("top.avhd", 70000), 'm');
		ck_assert_int_eq(read_byte("top.avhd", 5000000), 't');
		ck_assert_int_eq(read_byte("middle.vhd", 5000000), 0);
		temp_close();
		temp_open();
	}
	ck_assert_uint_eq(children("base.vhd"), 2);
}
END_TEST

START_TEST(a_parent_stays_as_it_is)
{
	struct disk *d;

	created("base.vhd", NULL);
	created("child.vhd", "base.vhd");
	d = temp_disk("base.vhd");
	ck_assert_int_eq(disk_open(d, true), -EROFS);
	ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, false, false, &why), -EBUSY);
	ck_assert_str_eq(why.message, "1 disk is built upon base.vhd");
	ck_assert_int_eq(tandem_resize_disk(temp.t, d, 2 * SIZE, false, false, &why), -EROFS);
	disk_unref(d);
	d = temp_disk("child.vhd");
	ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, false, false, &why), 0);
	disk_unref(d);
	ck_assert_str_eq(temp_state("base.vhd"), "Ready");
	write_byte("base.vhd", 0, 'x');
}
END_TEST

START_TEST(who_can_be_a_parent)
{
	struct disk *d;

	created("base.vhd", NULL);
	created("raw.img", NULL);
	created("x.vhdx", NULL);
	ck_assert_int_eq(create("child.vhd", "nothing.vhd"), -ENOENT);
	ck_assert_int_eq(create("child.vhd", "raw.img"), -EINVAL);
	ck_assert_int_eq(create("child.vhdx", "x.vhdx"), -EOPNOTSUPP);
	ck_assert_int_eq(create("child.img", "base.vhd"), -EOPNOTSUPP);
	d = temp_disk("base.vhd");
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(create("child.vhd", "base.vhd"), -EBUSY);
	disk_close(d);
	disk_unref(d);
	created("child.vhd", "base.vhd");
}
END_TEST

START_TEST(a_parent_that_is_not_there)
{
	char away[2 * PATH_MAX];

	created("base.vhd", NULL);
	created("child.vhd", "base.vhd");
	temp_close();
	snprintf(away, sizeof(away), "%s/base.vhd", second);
	ck_assert_int_eq(rename(temp_path("base.vhd"), away), 0);
	temp_open();
	ck_assert_str_eq(temp_state("child.vhd"), "Invalid");
	ck_assert_str_eq(temp_reason("child.vhd"), "its parent ./base.vhd is missing");
	/* Another disk with its name. */
	created("base.vhd", NULL);
	temp_rescan();
	ck_assert_str_eq(temp_reason("child.vhd"),
			 "the file with its parent's name is another disk");
	ck_assert_int_eq(rename(away, temp_path("base.vhd")), 0);
	temp_rescan();
	temp_rescan();
	ck_assert_str_eq(temp_state("child.vhd"), "Ready");
	ck_assert_str_eq(temp_state("base.vhd"), "ReadOnly");
}
END_TEST

/* A child that was moved away from its parent, to where another disk has that name. */
START_TEST(another_by_its_relative_name)
{
	char moved[2 * PATH_MAX];

	created("base.vhd", NULL);
	write_byte("base.vhd", 1, 'b');
	created("child.vhd", "base.vhd");
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", second, false, &why), 0);
	created("p:base.vhd", NULL);
	temp_close();
	snprintf(moved, sizeof(moved), "%s/child.vhd", second);
	ck_assert_int_eq(rename(temp_path("child.vhd"), moved), 0);
	temp_open();
	ck_assert_str_eq(temp_state("p:child.vhd"), "Ready");
	ck_assert_int_eq(read_byte("p:child.vhd", 1), 'b');
	ck_assert_str_eq(temp_state("base.vhd"), "ReadOnly");
	ck_assert_str_eq(temp_state("p:base.vhd"), "Ready");
	temp_close();
	ck_assert_int_eq(unlink(temp_path("base.vhd")), 0);
	temp_open();
	ck_assert_str_eq(temp_reason("p:child.vhd"),
			 "the file with its parent's name is another disk");
}
END_TEST

/* The longest chain, on a stack as small as a worker's; and one that is too long. */
static void *open_chain(void *arg)
{
	temp_open();
	return NULL;
}

START_TEST(the_longest_chain)
{
	char name[30] = "0.vhd", parent[30];
	pthread_attr_t small;
	pthread_t thread;

	created(name, NULL);
	for (int i = 1; i <= 16; i++) {
		memcpy(parent, name, sizeof(parent));
		snprintf(name, sizeof(name), "%d.vhd", i);
		created(name, parent);
	}
	ck_assert_int_eq(create("17.vhd", name), -EIO);
	ck_assert_ptr_nonnull(strstr(why.message, "it has more than 16 parents, or is its own"));
	temp_close();
	pthread_attr_init(&small);
	ck_assert_int_eq(pthread_attr_setstacksize(&small, 256 << 10), 0);
	ck_assert_int_eq(pthread_create(&thread, &small, open_chain, NULL), 0);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&small);
	ck_assert_str_eq(temp_state("16.vhd"), "Ready");
	ck_assert_uint_eq(children("0.vhd"), 16);
}
END_TEST

/* A child of the one before it, as another program may make it; of blocks it has none. */
static void save_vhd(unsigned n)
{
	struct vhd_footer footer = { .size = SIZE,
				     .header_offset = VHD_SECTOR,
				     .type = n ? VHD_DIFFERENCING : VHD_DYNAMIC };
	struct vhd_header header = { .table_offset = VHD_SECTOR + VHD_HEADER,
				     .entries = SIZE >> 21,
				     .block_size = 1 << 21 };
	uint8_t bytes[3 * VHD_SECTOR + VHD_HEADER];
	char name[20];
	int fd;

	memcpy(footer.uuid, &n, sizeof(n));
	footer.uuid[15] = 1;
	if (n) {
		memcpy(header.parent_uuid, footer.uuid, 16);
		memcpy(header.parent_uuid, &(unsigned){ n - 1 }, sizeof(n));
		header.parent_time = UINT32_MAX; /* it was not written after that */
		snprintf(header.parent_name, sizeof(header.parent_name), "%u.vhd", n - 1);
	}
	memset(bytes, 0xff, sizeof(bytes)); /* the table, too */
	vhd_footer_write(bytes, &footer, 0);
	vhd_header_write(bytes + VHD_SECTOR, &header);
	memcpy(bytes + sizeof(bytes) - VHD_SECTOR, bytes, VHD_SECTOR);
	snprintf(name, sizeof(name), "%u.vhd", n);
	fd = open(temp_path(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	close(fd);
}

/* So often this process has read from a file. */
static unsigned long long reads(void)
{
	FILE *f = fopen("/proc/self/io", "re");
	unsigned long long n = 0;
	char line[100];

	while (f && fgets(line, sizeof(line), f) && sscanf(line, "syscr: %llu", &n) != 1)
		;
	if (f)
		fclose(f);
	return n;
}

/* Nobody goes further along it than he may, to say that it is too long. */
START_TEST(a_thousand_parents)
{
	static const char too_long[] = "it has more than 16 parents, or is its own";
	struct pool *pool = tandem_pool_named(temp.t, "");
	unsigned long long before;

	for (unsigned n = 0; n <= 1000; n++)
		save_vhd(n);
	before = reads();
	ck_assert_int_eq(scan_name(temp.t, pool, "1000.vhd", SCAN_LOOK), 0);
	pool_unref(pool);
	ck_assert_uint_le(reads() - before, 1000);
	ck_assert_str_eq(temp_state("1000.vhd"), "Invalid");
	ck_assert_str_eq(temp_reason("1000.vhd"), too_long);
	before = reads();
	temp_rescan();
	ck_assert_uint_le(reads() - before, 200 * 1000);
	ck_assert_uint_eq(temp_count(), 1001);
	ck_assert_str_eq(temp_state("16.vhd"), "Ready");
	ck_assert_int_eq(read_byte("16.vhd", 5), 0);
	ck_assert_str_eq(temp_reason("17.vhd"), too_long);
	ck_assert_str_eq(temp_reason("999.vhd"), too_long);
	ck_assert_str_eq(temp_reason("1000.vhd"), too_long);
	ck_assert_uint_eq(children("0.vhd"), 16);
}
END_TEST

/* By the watcher, at once: nobody has to ask for it. */
START_TEST(comes_and_goes)
{
	char away[2 * PATH_MAX];
	struct disk *d;

	created("base.vhd", NULL);
	created("child.vhd", "base.vhd");
	temp_close();
	snprintf(away, sizeof(away), "%s/base.vhd", second);
	ck_assert_int_eq(rename(temp_path("base.vhd"), away), 0);
	temp_open();
	ck_assert_int_eq(tandem_start(temp.t, &why), 0);
	ck_assert_str_eq(temp_state("child.vhd"), "Invalid");
	temp_forget();
	ck_assert_int_eq(rename(away, temp_path("base.vhd")), 0);
	ck_assert(temp_event_comes("DiskAdded disks/child.vhd State=Ready"));
	/* Gone while it is needed. */
	ck_assert_int_eq(rename(temp_path("base.vhd"), away), 0);
	ck_assert(temp_event_comes("StateChanged disks/base.vhd From=ReadOnly To=Missing"));
	ck_assert_int_eq(read_byte("child.vhd", 0), 0);
	ck_assert_int_eq(rename(away, temp_path("base.vhd")), 0);
	ck_assert(temp_event_comes("StateChanged disks/base.vhd From=Missing To=ReadOnly"));
	/* Gone, and then not needed any more. */
	ck_assert_int_eq(rename(temp_path("base.vhd"), away), 0);
	ck_assert(temp_event_comes("StateChanged disks/base.vhd From=ReadOnly To=Missing"));
	d = temp_disk("child.vhd");
	ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, false, false, &why), 0);
	disk_unref(d);
	ck_assert(temp_event_comes("DiskRemoved disks/base.vhd"));
}
END_TEST

START_TEST(in_another_pool)
{
	struct disk_facts facts;
	struct disk *d;

	created("base.vhd", NULL);
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", second, false, &why), 0);
	created("p:child.vhd", "base.vhd");
	ck_assert_str_eq(temp_state("base.vhd"), "ReadOnly");
	temp_close();
	temp_open();
	ck_assert_str_eq(temp_state("p:child.vhd"), "Ready");
	ck_assert_str_eq(temp_state("base.vhd"), "ReadOnly");
	ck_assert_int_eq(tandem_remove_pool(temp.t, "p", false, false, &why), 0);
	ck_assert_str_eq(temp_state("base.vhd"), "Ready");
	/* The other way round it would be missed. */
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", second, false, &why), 0);
	created("p:gold.vhd", NULL);
	created("copy.vhd", "p:gold.vhd");
	d = temp_disk("copy.vhd");
	disk_facts(d, &facts);
	disk_unref(d);
	ck_assert_str_eq(facts.parent, "p:gold.vhd");
	ck_assert_int_eq(tandem_remove_pool(temp.t, "p", false, false, &why), -EBUSY);
	/* A setting does not make a parent writable. */
	d = temp_disk("p:gold.vhd");
	ck_assert_int_eq(tandem_set_disk_read_only(temp.t, d, true, false, &why), 0);
	ck_assert_int_eq(tandem_set_disk_read_only(temp.t, d, false, false, &why), 0);
	disk_unref(d);
	ck_assert_str_eq(temp_state("p:gold.vhd"), "ReadOnly");
	ck_assert_str_eq(temp_reason("p:gold.vhd"), "1 disk is built upon it");
}
END_TEST

/* A child that cannot be used now needs its parent as it is all the same. */
START_TEST(a_child_that_is_invalid)
{
	struct disk *d;
	int fd;

	created("base.vhd", NULL);
	created("middle.vhd", "base.vhd");
	created("child.vhd", "middle.vhd");
	for (int linked = 0; linked < 2; linked++) {
		temp_close();
		fd = open(temp_path("child.vhd"), (linked ? O_RDONLY : O_RDWR) | O_CLOEXEC);
		ck_assert_int_ge(fd, 0);
		if (linked)
			ck_assert_int_eq(link(temp_path("child.vhd"), temp_path("backup")), 0);
		temp_open();
		for (int again = 0; again < 2; again++) {
			ck_assert_str_eq(temp_state("child.vhd"), "Invalid");
			ck_assert_str_eq(temp_state("middle.vhd"), "ReadOnly");
			ck_assert_str_eq(temp_state("base.vhd"), "ReadOnly");
			ck_assert_str_eq(temp_reason("base.vhd"), "2 disks are built upon it");
			ck_assert_uint_eq(children("middle.vhd"), 1);
			d = temp_disk("middle.vhd");
			ck_assert_int_eq(disk_open(d, true), -EROFS);
			disk_unref(d);
			temp_rescan();
		}
		close(fd);
		if (linked)
			ck_assert_int_eq(unlink(temp_path("backup")), 0);
		temp_rescan();
		ck_assert_str_eq(temp_state("child.vhd"), "Ready");
		ck_assert_uint_eq(children("middle.vhd"), 1);
	}
	ck_assert_int_eq(unlink(temp_path("child.vhd")), 0);
	temp_rescan();
	ck_assert_str_eq(temp_state("middle.vhd"), "Ready");
}
END_TEST

/* It is found while its parent is away: what comes then is known to be needed. */
START_TEST(a_parent_of_one_that_is_invalid)
{
	char away[2 * PATH_MAX];
	int fd;

	created("base.vhd", NULL);
	created("child.vhd", "base.vhd");
	temp_close();
	snprintf(away, sizeof(away), "%s/base.vhd", second);
	ck_assert_int_eq(rename(temp_path("base.vhd"), away), 0);
	fd = open(temp_path("child.vhd"), O_RDWR | O_CLOEXEC);
	temp_open();
	ck_assert_str_eq(temp_reason("child.vhd"), "another program has it open for writing");
	ck_assert_int_eq(rename(away, temp_path("base.vhd")), 0);
	temp_rescan();
	ck_assert_str_eq(temp_reason("child.vhd"), "another program has it open for writing");
	ck_assert_str_eq(temp_state("base.vhd"), "ReadOnly");
	close(fd);
}
END_TEST

/* ---- VHDX, which names a parent in three ways ---- */

/* What vhdx_build.c calls each of them. */
#define NAMED "{d1d1d1d1-d1d1-d1d1-d1d1-d1d1d1d1d1d1}"

/* With a change that changes nothing, which is not in place. */
static void left_with_a_log(struct vhdx_build *b)
{
	const struct build_change zeros = { .at = BUILD_BAT_AT, .length = 4096 };

	build_log_guid(b, 0x55);
	build_log_entry(b, 0, 1, 0, &zeros, 1);
}

/* Which calls its parent so, and whose other names are `path`; without both it has none. */
static void saved(const char *name, const char *relative, const char *path, bool other)
{
	const char *pairs[] = { "parent_linkage",
				NAMED,
				"relative_path",
				relative,
				"absolute_win32_path",
				path,
				"volume_path",
				path,
				NULL };
	struct vhdx_build b;

	build_start(&b, SIZE, 1 << 20, 512, relative ? BUILD_CHILD : 0);
	if (relative)
		build_locator(&b, pairs);
	if (other) {
		memset(b.bytes + BUILD_HEADER(1) + 32, 0xd2, 16);
		build_seal(&b);
	}
	build_save(&b, name[0] == '/' ? name : temp_path(name));
	build_end(&b);
}

/* parent NULL: it has none. */
static void built(const char *name, const char *parent, const char *absolute, bool other)
{
	char relative[300], path[2 * PATH_MAX];

	snprintf(relative, sizeof(relative), ".\\%s", parent ? parent : "");
	snprintf(path, sizeof(path), "%s/%s", temp.dir, absolute ? absolute : "");
	saved(name, parent ? relative : NULL, path, other);
}

/* Looks at all of them, which takes no more than so many reads. */
static void look_in(unsigned long long most)
{
	unsigned long long before = reads();

	temp_rescan();
	ck_assert_uint_le(reads() - before, most);
}

START_TEST(vhdx_chain)
{
	built("base.vhdx", NULL, NULL, false);
	built("middle.vhdx", "base.vhdx", "base.vhdx", false);
	built("top.avhdx", "nowhere.vhdx", "middle.vhdx", false);
	look_in(1000);
	look_in(1000);
	ck_assert_str_eq(temp_state("top.avhdx"), "ReadOnly");
	ck_assert_uint_eq(children("base.vhdx"), 2);
	ck_assert_str_eq(temp_state("base.vhdx"), "ReadOnly");
	ck_assert_str_eq(temp_reason("base.vhdx"), "2 disks are built upon it");
	ck_assert_int_eq(read_byte("top.avhdx", 5000), 0);
}
END_TEST

/*
 * The name of another machine's file is a path of this one with two slashes, of which the right
 * parent may be there: it is still looked for in pools only, and relative to nothing.
 */
START_TEST(vhdx_parent_on_a_server)
{
	static const char outside[] = "lies outside of the disk directory and pools";
	char path[PATH_MAX + 10], server[PATH_MAX + 20];

	snprintf(path, sizeof(path), "%s/p.vhdx", second);
	saved(path, NULL, NULL, false);
	snprintf(server, sizeof(server), "\\%s", path);
	for (char *c = server; *c; c++)
		*c = *c == '/' ? '\\' : *c;
	ck_assert_int_eq(strncmp(server, "\\\\", 2), 0);
	saved("both.vhdx", server, server, false);
	saved("relative.vhdx", server, "\\\\?\\UNC\\server\\share\\p.vhdx", false);
	saved("server.vhdx", "\\\\server\\share\\p.vhdx", "\\\\server\\share\\p.vhdx", false);
	look_in(1000);
	ck_assert_ptr_nonnull(
		strstr(temp_reason("server.vhdx"), "its parent //server/share/p.vhdx"));
	ck_assert_ptr_nonnull(strstr(temp_reason("server.vhdx"), outside));
	ck_assert_ptr_nonnull(strstr(temp_reason("both.vhdx"), outside));
	ck_assert_ptr_nonnull(strstr(temp_reason("relative.vhdx"), "p.vhdx is missing"));
	/* Where it lies in a pool, that is right. */
	ck_assert_int_eq(tandem_add_pool(temp.t, "p", second, false, &why), 0);
	temp_rescan();
	ck_assert_str_eq(temp_state("both.vhdx"), "ReadOnly");
	ck_assert_str_eq(temp_state("relative.vhdx"), "Invalid");
	ck_assert_str_eq(temp_state("server.vhdx"), "Invalid");
}
END_TEST

START_TEST(vhdx_loops)
{
	built("own.vhdx", "own.vhdx", "own.vhdx", false);
	look_in(1000);
	ck_assert_str_eq(temp_reason("own.vhdx"), "it has more than 16 parents, or is its own");
	built("one.vhdx", "two.vhdx", "two.vhdx", false);
	built("two.vhdx", "one.vhdx", "one.vhdx", false);
	look_in(3000);
	ck_assert_str_eq(temp_reason("one.vhdx"), "it has more than 16 parents, or is its own");
	ck_assert_str_eq(temp_reason("two.vhdx"), "it has more than 16 parents, or is its own");
}
END_TEST

/* Each leads to the next with all of its names, and the last to nothing; then that comes. */
START_TEST(vhdx_without_its_first)
{
	struct pool *pool = tandem_pool_named(temp.t, "");
	char name[20], parent[20] = "0.vhdx";

	for (int i = 1; i <= 12; i++) {
		snprintf(name, sizeof(name), "%d.vhdx", i);
		built(name, parent, parent, false);
		memcpy(parent, name, sizeof(parent));
	}
	look_in(10000);
	ck_assert_ptr_nonnull(strstr(temp_reason("3.vhdx"), "0.vhdx is missing"));
	ck_assert_str_eq(temp_state("1.vhdx"), "Invalid");
	built("0.vhdx", NULL, NULL, false);
	ck_assert_int_eq(scan_name(temp.t, pool, "0.vhdx", SCAN_LOOK), 0);
	pool_unref(pool);
	ck_assert_str_eq(temp_state("12.vhdx"), "ReadOnly");
	ck_assert_uint_eq(children("0.vhdx"), 12);
}
END_TEST

/* Each names another disk first, which can be opened, and does so itself. */
START_TEST(vhdx_with_others_first)
{
	char right[20], wrong[20], right_parent[20] = "0.vhdx", wrong_parent[20] = "not-0.vhdx";

	built(right_parent, NULL, NULL, false);
	built(wrong_parent, NULL, NULL, true);
	for (int i = 1; i <= 10; i++) {
		snprintf(right, sizeof(right), "%d.vhdx", i);
		snprintf(wrong, sizeof(wrong), "not-%d.vhdx", i);
		built(right, wrong_parent, right_parent, false);
		built(wrong, wrong_parent, right_parent, true);
		memcpy(right_parent, right, sizeof(right));
		memcpy(wrong_parent, wrong, sizeof(wrong));
	}
	look_in(50000);
	ck_assert_str_eq(temp_state("4.vhdx"), "ReadOnly");
	ck_assert_str_eq(temp_reason("10.vhdx"), "the names of its parents lead to too many files");
}
END_TEST

/* What another program left in its log is no change: children know it as before. */
START_TEST(vhdx_is_mended_for_its_children)
{
	temp_close();
	/* Whatever the order of a directory is, some children are found before their parents. */
	for (int i = 0; i < 8; i++) {
		char child[20], parent[20];
		struct vhdx_build b;

		snprintf(child, sizeof(child), "%d-child.vhdx", i);
		snprintf(parent, sizeof(parent), "%d-base.vhdx", i);
		if (i % 2)
			built(child, parent, parent, false);
		build_start(&b, SIZE, 1 << 20, 512, 0);
		left_with_a_log(&b);
		build_save(&b, temp_path(parent));
		build_end(&b);
		if (!(i % 2))
			built(child, parent, parent, false);
	}
	temp_open_and_crash();
	for (int again = 0; again < 2; again++) {
		temp_open();
		for (int i = 0; i < 8; i++) {
			char name[20];

			snprintf(name, sizeof(name), "%d-child.vhdx", i);
			ck_assert_str_eq(temp_reason(name),
					 "a VHDX with a parent is only read by this version");
			snprintf(name, sizeof(name), "%d-base.vhdx", i);
			ck_assert_str_eq(temp_state(name), "ReadOnly");
			ck_assert_str_eq(temp_reason(name), "1 disk is built upon it");
		}
		temp_close();
	}
	temp_open();
}
END_TEST

UNIT_MAIN("parents", setup, temp_tandem_end, paths, a_chain, a_parent_stays_as_it_is,
	  who_can_be_a_parent, a_parent_that_is_not_there, another_by_its_relative_name,
	  the_longest_chain, a_thousand_parents, comes_and_goes, in_another_pool,
	  a_child_that_is_invalid, a_parent_of_one_that_is_invalid, vhdx_chain,
	  vhdx_parent_on_a_server, vhdx_loops, vhdx_without_its_first, vhdx_with_others_first,
	  vhdx_is_mended_for_its_children)

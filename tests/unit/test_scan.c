// SPDX-License-Identifier: GPL-2.0-or-later
/* What is found in a directory, and what becomes of it when others change it. */
#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "temp_tandem.h"
#include "unit.h"
#include "witness.h"

#define SIZE (1u << 20)

/* ---- libvhdi ---- */

static bool doubts; /* it sees something else in everything */
static unsigned asked;

int __wrap_witness_look(int fd, struct witness *out);
int __real_witness_look(int fd, struct witness *out);

int __wrap_witness_look(int fd, struct witness *out)
{
	asked++;
	if (!doubts)
		return __real_witness_look(fd, out);
	*out = (struct witness){ .why = "something" };
	return 0;
}

/* ---- */

static void setup(void)
{
	temp_tandem_begin();
}

/* As the watcher does when it hears that somebody closed a file. */
static void closed(const char *name)
{
	struct pool *p = tandem_pool_named(temp.t, "");

	pthread_mutex_lock(&temp.t->discovery);
	ck_assert_int_eq(scan_name(temp.t, p, name, SCAN_CLOSED), 0);
	pthread_mutex_unlock(&temp.t->discovery);
	pool_unref(p);
	temp_check_tables();
}

static void move(const char *from, const char *to)
{
	ck_assert_int_eq(rename(temp_path(from), temp_path(to)), 0);
}

static void state_is(const char *label, const char *state)
{
	ck_assert_msg(!strcmp(temp_state(label), state), "%s is '%s' (%s), not '%s'", label,
		      temp_state(label), temp_reason(label), state);
}

/* ---- what becomes a disk ---- */

START_TEST(what_is_a_disk)
{
	temp_make("a.img", SIZE);
	temp_make("B.RAW", 512);
	temp_make("cd.iso", 2048);
	temp_make("empty.img", 0);
	temp_make("odd.img", 513);
	temp_make("bare", 1024);
	temp_make("odd", 1025);
	temp_make("none", 0);
	temp_make("a.txt", SIZE);
	temp_make(".hidden.img", SIZE);
	temp_make("a.img.part", SIZE);
	temp_open();
	state_is("a.img", "Ready");
	state_is("B.RAW", "Ready");
	state_is("cd.iso", "Ready");
	state_is("empty.img", "Ready");
	state_is("odd.img", "Ready");
	state_is("bare", "Ready");
	ck_assert_uint_eq(temp_count(), 6);
	ck_assert_uint_eq(temp_events("DiskAdded"), 6);
	ck_assert_uint_eq(temp_events("Information DiskAdded disks/a.img State=Ready Size=1048576"),
			  1);
	temp_check_tables();
}
END_TEST

START_TEST(what_is_never_one)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), here = open(".", O_RDONLY);

	temp_make("real.txt", SIZE);
	ck_assert_int_eq(symlink("real.txt", temp_path("link.img")), 0);
	ck_assert_int_eq(symlink("nothing", temp_path("dangling.img")), 0);
	ck_assert_int_eq(symlink("/proc/self/mem", temp_path("mem.img")), 0);
	ck_assert_int_eq(mkdir(temp_path("dir.img"), 0700), 0);
	ck_assert_int_eq(mkfifo(temp_path("fifo.img"), 0600), 0);
	ck_assert_int_eq(chdir(temp.dir), 0);
	strcpy(address.sun_path, "socket.img");
	ck_assert_int_eq(bind(s, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(fchdir(here), 0);
	temp_open();
	temp_rescan();
	ck_assert_uint_eq(temp_count(), 0);
	close(s);
	close(here);
}
END_TEST

START_TEST(what_cannot_be_used)
{
	temp_make("x.qcow2", SIZE);
	temp_make("y.vhd", SIZE);
	temp_make("a:b.img", SIZE);
	temp_make("one.img", SIZE);
	ck_assert_int_eq(link(temp_path("one.img"), temp_path("two.img")), 0);
	temp_open();
	state_is("x.qcow2", "Invalid");
	ck_assert_str_ne(temp_reason("x.qcow2"), "");
	state_is("y.vhd", "Invalid");
	ck_assert_ptr_nonnull(strstr(temp_reason("y.vhd"), "no VHD footer"));
	state_is("a:b.img", "Invalid");
	ck_assert_ptr_nonnull(strstr(temp_reason("a:b.img"), "':'"));
	state_is("one.img", "Invalid");
	state_is("two.img", "Invalid");
	ck_assert_ptr_nonnull(strstr(temp_reason("one.img"), "more than one link"));
	temp_check_tables();
}
END_TEST

/* Two names of one file are two entries; each keeps its own number. */
START_TEST(hard_links_stay_apart)
{
	temp_make("one.img", SIZE);
	ck_assert_int_eq(link(temp_path("one.img"), temp_path("two.img")), 0);
	ck_assert_int_eq(link(temp_path("one.img"), temp_path("three.img")), 0);
	temp_open();
	for (int i = 0; i < 3; i++) {
		temp_rescan();
		ck_assert_uint_eq(temp_count(), 3);
	}
	/* One of them again: it can be used now. */
	ck_assert_int_eq(unlink(temp_path("two.img")), 0);
	ck_assert_int_eq(unlink(temp_path("three.img")), 0);
	temp_rescan();
	temp_rescan();
	state_is("one.img", "Ready");
	ck_assert_uint_eq(temp_count(), 1);
}
END_TEST

static int count_record(void *arg, const struct disk_record *r)
{
	++*(unsigned *)arg;
	return 0;
}

/* What can't be found again is not remembered, or the catalogue would grow with every start. */
START_TEST(hard_links_leave_no_records)
{
	unsigned records = 0;

	temp_make("one.img", SIZE);
	ck_assert_int_eq(link(temp_path("one.img"), temp_path("two.img")), 0);
	for (int i = 0; i < 5; i++) {
		temp_open();
		temp_rescan();
		temp_close();
	}
	temp_open();
	ck_assert_int_eq(catalogue_each_disk(temp.t->catalogue, count_record, &records), 0);
	ck_assert_uint_le(records, 2);
}
END_TEST

START_TEST(a_link_made_later)
{
	uint32_t number;

	temp_make("one.img", SIZE);
	temp_open();
	number = temp_number("one.img");
	ck_assert_int_eq(link(temp_path("one.img"), temp_path("two.img")), 0);
	temp_rescan();
	temp_rescan();
	state_is("two.img", "Invalid");
	ck_assert_int_eq(unlink(temp_path("two.img")), 0);
	temp_rescan();
	temp_rescan();
	state_is("one.img", "Ready");
	ck_assert_uint_eq(temp_number("one.img"), number);
	ck_assert_uint_eq(temp_count(), 1);
}
END_TEST

/* Whichever of the two names the directory has first. */
START_TEST(many_links_made_later)
{
	char one[32], two[32];

	for (int i = 0; i < 16; i++) {
		snprintf(one, sizeof(one), "one-%d.img", i);
		temp_make(one, SIZE);
	}
	temp_open();
	for (int i = 0; i < 16; i++) {
		snprintf(one, sizeof(one), "one-%d.img", i);
		snprintf(two, sizeof(two), "two-%d.img", i);
		ck_assert_int_eq(link(temp_path(one), temp_path(two)), 0);
	}
	temp_rescan();
	temp_check_tables();
	ck_assert_uint_eq(temp_count(), 32);
	for (int i = 0; i < 16; i++) {
		snprintf(two, sizeof(two), "two-%d.img", i);
		ck_assert_int_eq(unlink(temp_path(two)), 0);
	}
	temp_rescan();
	temp_check_tables();
	ck_assert_uint_eq(temp_count(), 16);
}
END_TEST

/* One that is not changed is not announced again each time somebody looks. */
START_TEST(looking_is_quiet)
{
	temp_make("a.img", SIZE);
	temp_make("bare", 1024);
	temp_make("x.qcow2", SIZE);
	temp_make("a:b.img", SIZE);
	temp_make("one.img", SIZE);
	ck_assert_int_eq(link(temp_path("one.img"), temp_path("two.img")), 0);
	temp_open();
	temp_forget();
	for (int i = 0; i < 3; i++)
		temp_rescan();
	ck_assert_uint_eq(temp_events(""), 0);
}
END_TEST

/* ---- files that others write ---- */

static int writer_of(const char *name)
{
	int fd = open(temp_path(name), O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	return fd;
}

START_TEST(not_before_its_writer_closes_it)
{
	int before = writer_of("before.img"), later;

	temp_open();
	state_is("before.img", "Invalid");
	ck_assert_ptr_nonnull(strstr(temp_reason("before.img"), "open for writing"));
	later = writer_of("later.img");
	temp_rescan();
	state_is("later.img", "Invalid");
	close(before);
	closed("before.img");
	state_is("before.img", "Ready");
	close(later);
	temp_rescan();
	state_is("later.img", "Ready");
}
END_TEST

START_TEST(readers_do_not_matter)
{
	int fd;

	temp_make("a.img", SIZE);
	fd = open(temp_path("a.img"), O_RDONLY | O_CLOEXEC);
	temp_open();
	state_is("a.img", "Ready");
	close(fd);
}
END_TEST

/* ---- appearing and vanishing ---- */

START_TEST(appears_and_vanishes)
{
	temp_open();
	temp_make("a.img", SIZE);
	temp_rescan();
	state_is("a.img", "Ready");
	ck_assert_int_eq(unlink(temp_path("a.img")), 0);
	temp_rescan();
	state_is("a.img", "");
	ck_assert_uint_eq(temp_events("Information DiskRemoved disks/a.img"), 1);
	temp_make("a.img", 512);
	temp_rescan();
	state_is("a.img", "Ready");
}
END_TEST

START_TEST(becomes_something_else)
{
	temp_make("a.img", SIZE);
	temp_make("b.img", SIZE);
	temp_open();
	ck_assert_int_eq(unlink(temp_path("a.img")), 0);
	ck_assert_int_eq(mkdir(temp_path("a.img"), 0700), 0);
	ck_assert_int_eq(unlink(temp_path("b.img")), 0);
	ck_assert_int_eq(symlink("/etc/passwd", temp_path("b.img")), 0);
	temp_rescan();
	ck_assert_uint_eq(temp_count(), 0);
}
END_TEST

/* Many that are new and many that are replaced, met in any order, in one pass. */
START_TEST(much_at_once)
{
	char name[40], other[40];
	uint32_t numbers[20];

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "old%d.img", i);
		temp_make(name, SIZE);
	}
	temp_open();
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "old%d.img", i);
		numbers[i] = temp_number(name);
		snprintf(other, sizeof(other), "new%d.img", i);
		temp_make(other, 512);
		if (i % 4 == 0) {
			temp_make("replacement.img", 1024);
			move("replacement.img", name);
		} else if (i % 4 == 1) {
			snprintf(other, sizeof(other), "moved%d.img", i);
			move(name, other);
		} else if (i % 4 == 2) {
			ck_assert_int_eq(unlink(temp_path(name)), 0);
		}
	}
	temp_rescan();
	ck_assert_uint_eq(temp_count(), 20 + 15);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), i % 4 == 1 ? "moved%d.img" : "old%d.img", i);
		state_is(name, i % 4 == 2 ? "" : "Ready");
		if (i % 4 == 0)
			ck_assert_uint_ne(temp_number(name), numbers[i]);
		else if (i % 4 != 2)
			ck_assert_uint_eq(temp_number(name), numbers[i]);
	}
}
END_TEST

/* ---- identity ---- */

START_TEST(renamed_is_the_same_disk)
{
	uint32_t number;

	temp_make("a.img", SIZE);
	temp_open();
	number = temp_number("a.img");
	move("a.img", "b.img");
	temp_rescan();
	state_is("a.img", "");
	state_is("b.img", "Ready");
	ck_assert_uint_eq(temp_number("b.img"), number);
	ck_assert_uint_eq(temp_events("DiskRenamed disks/b.img From=a.img"), 1);
	ck_assert_uint_eq(temp_events("DiskRemoved"), 0);
	ck_assert_uint_eq(temp_events("DiskAdded"), 1);
}
END_TEST

START_TEST(renamed_while_open)
{
	struct disk *d;
	char buf[512] = "";
	size_t done;

	temp_make("a.img", SIZE);
	temp_open();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	move("a.img", "b.img");
	temp_rescan();
	state_is("b.img", "Ready");
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), 0);
	ck_assert_int_eq(disk_read(d, buf, 512, 0, 0, &done), 0);
	disk_close(d);
	disk_unref(d);
	temp_rescan();
	state_is("b.img", "Ready");
}
END_TEST

START_TEST(swapped_names)
{
	uint32_t a, b;

	temp_make("a.img", SIZE);
	temp_make("b.img", 512);
	temp_open();
	a = temp_number("a.img");
	b = temp_number("b.img");
	ck_assert_int_eq(renameat2(AT_FDCWD, temp_path("a.img"), AT_FDCWD, temp_path("b.img"),
				   RENAME_EXCHANGE),
			 0);
	temp_rescan();
	temp_rescan();
	ck_assert_uint_eq(temp_number("a.img"), b);
	ck_assert_uint_eq(temp_number("b.img"), a);
	ck_assert_uint_eq(temp_count(), 2);
}
END_TEST

START_TEST(swapped_names_while_open)
{
	struct disk *a;
	char buf[512];
	size_t done;

	temp_make("a.img", SIZE);
	temp_make("b.img", 512);
	temp_open();
	a = temp_disk("a.img");
	ck_assert_int_eq(disk_open(a, true), 0);
	ck_assert_int_eq(renameat2(AT_FDCWD, temp_path("a.img"), AT_FDCWD, temp_path("b.img"),
				   RENAME_EXCHANGE),
			 0);
	temp_rescan();
	temp_rescan();
	state_is("a.img", "Ready");
	state_is("b.img", "Ready");
	ck_assert_uint_eq(temp_number("b.img"), a->number);
	ck_assert_int_eq(disk_read(a, buf, 512, 0, 0, &done), 0);
	disk_close(a);
	disk_unref(a);
}
END_TEST

START_TEST(replaced_is_another_disk)
{
	uint8_t id[16];
	uint32_t number;
	struct disk *d;

	temp_make("a.img", SIZE);
	temp_open();
	d = temp_disk("a.img");
	number = d->number;
	memcpy(id, d->id, sizeof(id));
	disk_unref(d);
	temp_make("new.img", 512);
	move("new.img", "a.img");
	temp_rescan();
	state_is("a.img", "Ready");
	d = temp_disk("a.img");
	ck_assert_uint_ne(d->number, number);
	ck_assert(memcmp(d->id, id, sizeof(id)) != 0);
	ck_assert_uint_eq(disk_size(d), 512);
	disk_unref(d);
}
END_TEST

/* The number of the deleted file's inode is given to the next one at once. */
START_TEST(a_reused_inode_is_another_disk)
{
	uint32_t number;

	temp_make("a.img", SIZE);
	temp_open();
	for (int i = 0; i < 5; i++) {
		number = temp_number("a.img");
		ck_assert_int_eq(unlink(temp_path("a.img")), 0);
		temp_rescan();
		temp_make("a.img", SIZE);
		temp_rescan();
		ck_assert_uint_ne(temp_number("a.img"), number);
	}
}
END_TEST

START_TEST(gone_and_back)
{
	char away[PATH_MAX + 10];
	uint32_t number;

	temp_make("a.img", SIZE);
	temp_open();
	number = temp_number("a.img");
	snprintf(away, sizeof(away), "%s.away", temp.dir);
	ck_assert_int_eq(rename(temp_path("a.img"), away), 0);
	temp_rescan();
	state_is("a.img", "");
	ck_assert_int_eq(rename(away, temp_path("c.img")), 0);
	temp_rescan();
	ck_assert_uint_eq(temp_number("c.img"), number);
}
END_TEST

/* ---- Missing ---- */

START_TEST(missing_while_open)
{
	struct disk *d;
	char buf[512] = "";
	size_t done;

	temp_make("a.img", SIZE);
	temp_open();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(unlink(temp_path("a.img")), 0);
	temp_rescan();
	state_is("a.img", "Missing");
	ck_assert_uint_eq(temp_events("Major StateChanged disks/a.img From=Ready To=Missing"), 1);
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), -EIO);
	ck_assert_int_eq(disk_read(d, buf, 512, 0, 0, &done), -EIO);
	ck_assert_int_eq(disk_open(d, false), -ENOENT);
	temp_rescan();
	state_is("a.img", "Missing");
	disk_close(d);
	temp_settle(d);
	state_is("a.img", "");
	disk_unref(d);
}
END_TEST

START_TEST(missing_and_back)
{
	char away[PATH_MAX + 10];
	struct disk *d;
	char buf[512];
	size_t done;

	temp_make("a.img", SIZE);
	temp_open();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	snprintf(away, sizeof(away), "%s.away", temp.dir);
	ck_assert_int_eq(rename(temp_path("a.img"), away), 0);
	temp_rescan();
	state_is("a.img", "Missing");
	ck_assert_int_eq(rename(away, temp_path("a.img")), 0);
	temp_rescan();
	state_is("a.img", "Ready");
	ck_assert_int_eq(disk_read(d, buf, 512, 0, 0, &done), 0);
	disk_close(d);
	disk_unref(d);
}
END_TEST

/* Another file has its name meanwhile: that is a disk of its own, and it is quiet. */
START_TEST(replaced_while_open)
{
	struct disk *d;

	temp_make("a.img", SIZE);
	temp_make("other.img", SIZE);
	temp_make("z.img", SIZE);
	temp_open();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	temp_make("new.img", 512);
	move("new.img", "a.img");
	for (int i = 0; i < 3; i++) {
		struct why why;

		ck_assert_int_eq(tandem_rescan(temp.t, false, &why), 0);
		if (i == 0)
			temp_forget();
	}
	ck_assert_int_eq(disk_state(d), DISK_MISSING);
	ck_assert_uint_eq(temp_events(""), 0);
	ck_assert_uint_eq(temp_count(), 4);
	disk_close(d);
	temp_settle(d);
	disk_unref(d);
	state_is("a.img", "Ready");
	temp_check_tables();
	ck_assert_uint_eq(temp_count(), 3);
}
END_TEST

/* ---- Changed ---- */

START_TEST(changed_while_closed)
{
	struct disk *d;
	char buf[1];
	size_t done;

	temp_make("a.img", SIZE);
	temp_open();
	temp_scribble("a.img");
	closed("a.img");
	state_is("a.img", "Ready");
	ck_assert_uint_eq(temp_events("Warning DiskChanged disks/a.img While=closed"), 1);
	ck_assert_int_eq(truncate(temp_path("a.img"), 2 * SIZE), 0);
	temp_rescan();
	state_is("a.img", "Ready");
	d = temp_disk("a.img");
	ck_assert_uint_eq(disk_size(d), 2 * SIZE);
	ck_assert_int_eq(disk_open(d, false), 0);
	ck_assert_int_eq(disk_read(d, buf, 1, 0, 0, &done), 0);
	ck_assert_int_eq(buf[0], 'x');
	disk_close(d);
	disk_unref(d);
	temp_forget();
	temp_rescan();
	ck_assert_uint_eq(temp_events(""), 0);
}
END_TEST

START_TEST(changed_while_open)
{
	struct disk *d;

	temp_make("a.img", SIZE);
	temp_open();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	temp_scribble("a.img");
	closed("a.img");
	state_is("a.img", "Changed");
	ck_assert_uint_eq(temp_events("Warning DiskChanged disks/a.img While=open"), 1);
	ck_assert_int_eq(disk_open(d, false), -ENOENT);
	temp_forget();
	closed("a.img");
	temp_rescan();
	ck_assert_uint_eq(temp_events(""), 0);
	disk_close(d);
	temp_settle(d);
	disk_unref(d);
	closed("a.img"); /* what the watcher hears when the last descriptor goes */
	state_is("a.img", "Ready");
}
END_TEST

/* Our own writes hide nobody else's: that somebody closed it tells. */
START_TEST(changed_while_we_write_too)
{
	char buf[512] = "";
	struct disk *d;

	temp_make("a.img", SIZE);
	temp_open();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(disk_write(d, buf, 512, 4096, 0), 0);
	temp_rescan();
	state_is("a.img", "Ready");
	temp_scribble("a.img");
	closed("a.img");
	state_is("a.img", "Changed");
	disk_close(d);
	disk_unref(d);
}
END_TEST

START_TEST(changed_after_we_wrote)
{
	char buf[512] = "";
	struct disk *d;

	temp_make("a.img", SIZE);
	temp_open();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(disk_write(d, buf, 512, 4096, 0), 0);
	disk_close(d);
	disk_unref(d);
	temp_scribble("a.img");
	temp_rescan();
	ck_assert_uint_eq(temp_events("DiskChanged disks/a.img While=closed"), 1);
}
END_TEST

START_TEST(our_own_writes_are_no_change)
{
	struct disk *d;
	char buf[512] = "";

	temp_make("a.img", SIZE);
	temp_open();
	temp_forget();
	d = temp_disk("a.img");
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(disk_open(d, true), 0);
		ck_assert_int_eq(disk_write(d, buf, 512, i * 512, 0), 0);
		temp_rescan();
		ck_assert_int_eq(disk_write(d, buf, 512, SIZE + i * 512, 0), 0);
		temp_rescan();
		disk_close(d);
		temp_rescan();
	}
	state_is("a.img", "Ready");
	ck_assert_uint_eq(temp_events("DiskChanged"), 0);
	disk_unref(d);
}
END_TEST

START_TEST(cut_while_open)
{
	struct disk *d;
	char buf[512] = "";

	temp_make("a.img", SIZE);
	temp_open();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), 0);
	ck_assert_int_eq(truncate(temp_path("a.img"), 512), 0);
	temp_rescan();
	state_is("a.img", "Changed");
	disk_close(d);
	disk_unref(d);
}
END_TEST

START_TEST(a_bare_name_that_loses_its_sectors)
{
	temp_make("bare", 1024);
	temp_open();
	state_is("bare", "Ready");
	ck_assert_int_eq(truncate(temp_path("bare"), 1000), 0);
	temp_rescan();
	ck_assert_int_eq(truncate(temp_path("bare"), 2048), 0);
	temp_rescan();
	state_is("bare", "Ready");
}
END_TEST

/* ---- many ---- */

START_TEST(a_thousand)
{
	unsigned n = unit_scaled(1000);
	uint64_t began;
	char name[40];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "disk%04u.img", i);
		temp_make(name, 512);
	}
	began = unit_now_ms();
	temp_open();
	ck_assert_uint_eq(temp_count(), n);
	temp_rescan();
	ck_assert_uint_eq(temp_events("DiskAdded"), n);
	temp_close();
	temp_open();
	ck_assert_uint_eq(temp_count(), n);
	temp_check_tables();
	for (unsigned i = 0; i < n; i++) {
		struct disk *d, *same;

		snprintf(name, sizeof(name), "disk%04u.img", i);
		d = temp_disk(name);
		ck_assert_ptr_nonnull(d);
		same = tandem_disk_numbered(temp.t, d->number);
		ck_assert_ptr_eq(d, same);
		disk_unref(same);
		disk_unref(d);
	}
	ck_assert_uint_lt(unit_now_ms() - began, 60000ull * unit_patience());
}
END_TEST

/* What it doubts it is asked about once for each change, however often that is opened. */
START_TEST(one_question_for_each_change)
{
	const struct create_disk c = { .name = "a.vhdx",
				       .format = "vhdx",
				       .size = SIZE,
				       .mode = 0600 };
	struct disk *d;
	struct why why;

	doubts = true;
	temp_open();
	ck_assert_msg(!tandem_create_disk(temp.t, &c, &d, &why), "%s", why.message);
	for (unsigned change = 0; change < 3; change++) {
		ck_assert_int_eq(disk_open(d, true), 0);
		ck_assert_int_eq(disk_write(d, "abc", 3, 1000 * change, 0), 0);
		disk_close(d);
		asked = 0;
		temp_settle(d);
		ck_assert_uint_eq(asked, 1);
		for (int i = 0; i < 5; i++) {
			ck_assert_int_eq(disk_open(d, i % 2), 0);
			disk_close(d);
			temp_settle(d);
		}
		ck_assert_uint_eq(asked, 1);
	}
	doubts = false;
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(disk_write(d, "abc", 3, 0, 0), 0);
	disk_close(d);
	temp_settle(d);
	ck_assert_str_eq(d->about.opinion, "");
	disk_unref(d);
}
END_TEST

UNIT_MAIN("scan", setup, temp_tandem_end, what_is_a_disk, what_is_never_one, what_cannot_be_used,
	  hard_links_stay_apart, hard_links_leave_no_records, a_link_made_later,
	  many_links_made_later, looking_is_quiet, not_before_its_writer_closes_it,
	  readers_do_not_matter, appears_and_vanishes, becomes_something_else, much_at_once,
	  renamed_is_the_same_disk, renamed_while_open, swapped_names, swapped_names_while_open,
	  replaced_is_another_disk, a_reused_inode_is_another_disk, gone_and_back,
	  missing_while_open, missing_and_back, replaced_while_open, changed_while_closed,
	  changed_while_open, changed_while_we_write_too, changed_after_we_wrote,
	  our_own_writes_are_no_change, cut_while_open, a_bare_name_that_loses_its_sectors,
	  a_thousand, one_question_for_each_change)

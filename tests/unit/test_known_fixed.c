// SPDX-License-Identifier: GPL-2.0-or-later
/* A fixed VHD is known as one, so that its guest cannot say later that it is something else. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "catalogue.h"
#include "temp_tandem.h"
#include "unit.h"

#define SIZE (1u << 20)

static void setup(void)
{
	temp_tandem_begin();
}

static void state_is(const char *label, const char *state)
{
	ck_assert_msg(!strcmp(temp_state(label), state), "%s is '%s' (%s), not '%s'", label,
		      temp_state(label), temp_reason(label), state);
}

static void create_upon(const char *name, const char *kind, uint64_t size, const char *parent)
{
	struct create_disk c = { .name = name,
				 .format = kind,
				 .size = size,
				 .parent = parent,
				 .mode = 0600,
				 .uid = geteuid(),
				 .gid = getegid() };
	struct disk *d;
	struct why why;

	ck_assert_msg(!tandem_create_disk(temp.t, &c, &d, &why), "%s", why.message);
	disk_unref(d);
}

static void create(const char *name, const char *kind, uint64_t size)
{
	create_upon(name, kind, size, NULL);
}

static uint64_t recorded(const char *label)
{
	struct disk_record r;

	ck_assert_int_eq(catalogue_disk_by_number(temp.t->catalogue, temp_number(label), &r), 0);
	return r.guest_bytes;
}

/* The first 64 KiB of one file, which is all of a small dynamic one, over those of another. */
static void copy_over(const char *from, const char *to, bool all)
{
	static uint8_t bytes[64 << 10];
	int in = open(temp_path(from), O_RDONLY | O_CLOEXEC);
	int out = open(temp_path(to), O_WRONLY | O_CLOEXEC | (all ? O_TRUNC : 0));
	ssize_t n = read(in, bytes, sizeof(bytes));

	ck_assert_int_gt(n, 0);
	ck_assert_int_lt(n, sizeof(bytes));
	ck_assert_int_eq(write(out, bytes, n), n);
	ck_assert_int_eq(close(in) | close(out), 0);
}

/* As a guest of the fixed disk does: the whole of another image. */
static void forge(const char *disk, const char *from)
{
	copy_over(from, disk, false);
}

static void cut(const char *name, off_t bytes)
{
	int fd = open(temp_path(name), O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(ftruncate(fd, lseek(fd, 0, SEEK_END) - bytes), 0);
	ck_assert_int_eq(close(fd), 0);
}

static void make_two(void)
{
	temp_open();
	create("small.vhd", "vhd", SIZE);
	create("fixed.vhd", "vhd-fixed", SIZE);
	ck_assert_uint_eq(recorded("fixed.vhd"), SIZE);
	ck_assert_uint_eq(recorded("small.vhd"), 0);
	forge("fixed.vhd", "small.vhd");
	temp_rescan();
	state_is("fixed.vhd", "Ready");
	ck_assert_uint_eq(recorded("fixed.vhd"), SIZE);
}

START_TEST(over_a_stop)
{
	make_two();
	temp_close();
	cut("fixed.vhd", 100);
	for (int start = 0; start < 2; start++) {
		temp_open();
		state_is("fixed.vhd", "Invalid");
		ck_assert_msg(strstr(temp_reason("fixed.vhd"), "it was fixed"), "%s",
			      temp_reason("fixed.vhd"));
		ck_assert_uint_eq(recorded("fixed.vhd"), SIZE);
		state_is("small.vhd", "Ready");
		temp_close();
	}
}
END_TEST

START_TEST(while_it_is_served)
{
	make_two();
	cut("fixed.vhd", 1);
	temp_rescan();
	temp_rescan(); /* nobody has the disk that it was */
	state_is("fixed.vhd", "Invalid");
	ck_assert_msg(strstr(temp_reason("fixed.vhd"), "it was fixed"), "%s",
		      temp_reason("fixed.vhd"));
	ck_assert_uint_eq(recorded("fixed.vhd"), SIZE);
}
END_TEST

/* A new file was never seen, whatever it holds. */
START_TEST(another_file)
{
	struct disk *d;
	struct why why;

	make_two();
	d = temp_disk("fixed.vhd");
	ck_assert_msg(!tandem_delete_disk(temp.t, d, NULL, false, false, &why), "%s", why.message);
	disk_unref(d);
	create("fixed.vhd", "vhd", SIZE);
	ck_assert_uint_eq(recorded("fixed.vhd"), 0);
	cut("fixed.vhd", 512);
	temp_rescan();
	state_is("fixed.vhd", "Ready");
}
END_TEST

START_TEST(another_kind)
{
	make_two();
	/* Shorter: it could be what its guest wrote, as the copy of a footer could. */
	copy_over("small.vhd", "fixed.vhd", true);
	temp_rescan();
	state_is("fixed.vhd", "Invalid");
	/* Of a disk that is not fixed, all is well. */
	create("other.vhd", "vhd", SIZE);
	copy_over("small.vhd", "other.vhd", true);
	temp_rescan();
	state_is("other.vhd", "Ready");
}
END_TEST

START_TEST(grows)
{
	struct disk *d;
	struct why why;

	make_two();
	d = temp_disk("fixed.vhd");
	ck_assert_msg(!tandem_resize_disk(temp.t, d, 2 * SIZE, false, false, &why), "%s",
		      why.message);
	temp_settle(d);
	disk_unref(d);
	ck_assert_uint_eq(recorded("fixed.vhd"), 2 * SIZE);
}
END_TEST

/* Of a state that an older program has written. */
START_TEST(learned_at_a_start)
{
	struct catalogue_txn *txn;
	struct disk_record r;
	struct catalogue *c;
	uint32_t number;
	struct why why;
	bool clean;

	make_two();
	number = temp_number("fixed.vhd");
	temp_close();
	ck_assert_int_eq(catalogue_open(temp_path(".tandem"), &c, &clean, &why), 0);
	ck_assert_int_eq(catalogue_disk_by_number(c, number, &r), 0);
	r.guest_bytes = 0;
	/* As after a crash: else it is recorded anew in any case. */
	r.stopped = (struct file_stat){ 0 };
	ck_assert_int_eq(catalogue_begin(c, &txn), 0);
	ck_assert_int_eq(catalogue_put_disk(txn, &r), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	catalogue_close(c);
	temp_open();
	ck_assert_uint_eq(recorded("fixed.vhd"), SIZE);
}
END_TEST

/* What it forged is called as the footer is, by which children know it. */
static void forge_identity(const char *name)
{
	enum { FOOTER = 512, SUM = 64, UUID = 68 };
	uint8_t tail[FOOTER], head[FOOTER];
	int fd = open(temp_path(name), O_RDWR | O_CLOEXEC);
	uint32_t sum = 0;

	ck_assert_int_eq(pread(fd, tail, FOOTER, lseek(fd, 0, SEEK_END) - FOOTER), FOOTER);
	ck_assert_int_eq(pread(fd, head, FOOTER, 0), FOOTER);
	memcpy(head + UUID, tail + UUID, 16);
	memset(head + SUM, 0, 4);
	for (size_t i = 0; i < FOOTER; i++)
		sum += head[i];
	put_be32(head + SUM, ~sum);
	ck_assert_int_eq(pwrite(fd, head, FOOTER, 0), FOOTER);
	close(fd);
}

START_TEST(as_a_parent)
{
	make_two();
	forge_identity("fixed.vhd");
	temp_rescan();
	create_upon("child.vhd", NULL, 0, "fixed.vhd");
	state_is("child.vhd", "Ready");
	temp_close();
	cut("fixed.vhd", 100);
	temp_open();
	state_is("child.vhd", "Invalid");
	ck_assert_msg(strstr(temp_reason("child.vhd"), "it was fixed"), "%s",
		      temp_reason("child.vhd"));
}
END_TEST

/* What it is built upon is looked for though it cannot be used; not by its guest's word. */
START_TEST(with_another_link)
{
	struct disk *d;
	struct why why;

	make_two();
	create_upon("child.vhd", NULL, 0, "small.vhd");
	forge("fixed.vhd", "child.vhd");
	d = temp_disk("child.vhd");
	ck_assert_msg(!tandem_delete_disk(temp.t, d, NULL, false, false, &why), "%s", why.message);
	disk_unref(d);
	temp_close();
	cut("fixed.vhd", 100);
	ck_assert_int_eq(link(temp_path("fixed.vhd"), temp_path("link.vhd")), 0);
	for (int start = 0; start < 2; start++) {
		temp_open();
		state_is("fixed.vhd", "Invalid");
		state_is("small.vhd", "Ready");
		temp_close();
	}
}
END_TEST

UNIT_MAIN("known_fixed", setup, temp_tandem_end, over_a_stop, while_it_is_served, another_file,
	  another_kind, grows, learned_at_a_start, as_a_parent, with_another_link)

// SPDX-License-Identifier: GPL-2.0-or-later
#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

static int dirfd_;

static void setup(void)
{
	dirfd_ = open(unit_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void teardown(void)
{
	close(dirfd_);
}

static int make(const char *name)
{
	int fd = openat(dirfd_, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static struct identity of(int fd)
{
	struct identity id;

	ck_assert_int_eq(identity_of(fd, &id), 0);
	ck_assert_uint_gt(id.len, 0);
	ck_assert_uint_le(id.len, IDENTITY_MAX);
	return id;
}

START_TEST(is_of_the_file_not_of_its_name)
{
	int a = make("a"), b = make("b"), again;
	struct identity ia = of(a), ib = of(b), ic;

	ck_assert(identity_equal(&ia, &ia));
	ck_assert(!identity_equal(&ia, &ib));
	ck_assert_int_eq(renameat(dirfd_, "a", dirfd_, "c"), 0);
	ck_assert_int_eq(write(a, "x", 1), 1);
	again = openat(dirfd_, "c", O_RDONLY | O_CLOEXEC);
	ic = of(again);
	ck_assert(identity_equal(&ia, &ic));
	close(again);
	close(a);
	close(b);
}
END_TEST

/* ext4 and others give the number of a deleted inode to the next file. */
START_TEST(a_reused_inode_is_another_file)
{
	struct stat st, st2;
	bool reused = false;

	for (int i = 0; i < 100 && !reused; i++) {
		int a = make("a"), b;
		struct identity ia = of(a), ib;

		ck_assert_int_eq(fstat(a, &st), 0);
		close(a);
		ck_assert_int_eq(unlinkat(dirfd_, "a", 0), 0);
		b = make("a");
		ib = of(b);
		ck_assert_int_eq(fstat(b, &st2), 0);
		ck_assert(!identity_equal(&ia, &ib));
		reused = st.st_ino == st2.st_ino;
		close(b);
		ck_assert_int_eq(unlinkat(dirfd_, "a", 0), 0);
	}
}
END_TEST

START_TEST(the_unknown_equals_nothing)
{
	struct identity none = { 0 }, one = { .len = 4, .bytes = "abc" }, two = one;

	ck_assert(!identity_equal(&none, &none));
	ck_assert(!identity_equal(&none, &one));
	ck_assert(identity_equal(&one, &two));
	two.len = 3;
	ck_assert(!identity_equal(&one, &two));
	two = one;
	two.bytes[0] = 'x';
	ck_assert(!identity_equal(&one, &two));
}
END_TEST

START_TEST(other_files)
{
	int mem = memfd_create("tandemfs-test", MFD_CLOEXEC), proc, file = make("a");
	struct identity a = of(file), b = of(mem), c, untouched = { .len = 7 };

	proc = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	c = of(proc); /* a file system without handles */
	ck_assert(!identity_equal(&a, &b) && !identity_equal(&b, &c));
	ck_assert_int_eq(identity_of(-1, &untouched), -EBADF);
	ck_assert_uint_eq(untouched.len, 7);
	close(mem);
	close(proc);
	close(file);
}
END_TEST

UNIT_MAIN("identity", setup, teardown, is_of_the_file_not_of_its_name,
	  a_reused_inode_is_another_file, the_unknown_equals_nothing, other_files)

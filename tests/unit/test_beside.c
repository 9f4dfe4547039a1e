// SPDX-License-Identifier: GPL-2.0-or-later
/* What is kept beside a target, as bytes and as a file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beside.h"
#include "crc32c.h"
#include "enumerations.h"
#include "temp_tandem.h"
#include "unit.h"

static struct beside some = {
	.claim = 77,
	.holds = BESIDE_WHOLE,
	.size = 1 << 20,
	.pair = { .number = 5,
		  .source = 3,
		  .target = 4,
		  .sync_time_ms = 1234567,
		  .copy_state = COPY_SYNCHRONIZED,
		  .mode = MODE_ASYNCHRONOUS,
		  .priority = PRIORITY_SAME,
		  .steady = true,
		  .objective_s = 60,
		  .name = "web" },
	.source = "a.img",
	.source_name = "a.img",
};
static uint8_t bytes[BESIDE_MAX];
static int dirfd;

static void setup(void)
{
	temp_tandem_begin();
	dirfd = open(temp.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	memset(some.owner, 9, sizeof(some.owner));
	some.image.len = 20;
	memset(some.image.bytes, 3, 20);
}

static void teardown(void)
{
	close(dirfd);
	temp_tandem_end();
}

static void check_same(const struct beside *b)
{
	uint8_t x[BESIDE_MAX], y[BESIDE_MAX];
	size_t len = beside_encode(&some, x);

	ck_assert_uint_eq(beside_encode(b, y), len);
	ck_assert_mem_eq(x, y, len);
	ck_assert_str_eq(b->pair.name, "web");
	ck_assert_int_eq(b->pair.mode, MODE_ASYNCHRONOUS);
	ck_assert_uint_eq(b->claim, 77);
}

START_TEST(as_bytes)
{
	size_t len = beside_encode(&some, bytes);
	struct beside b;

	ck_assert_int_eq(beside_decode(bytes, len, &b), 0);
	check_same(&b);
	for (size_t n = 0; n < len; n++)
		ck_assert_int_eq(beside_decode(bytes, n, &b), -EIO);
	ck_assert_int_eq(beside_decode(bytes, len + 1, &b), -EIO);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		bytes[bit / 8] ^= 1 << bit % 8;
		ck_assert_int_eq(beside_decode(bytes, len, &b), -EIO);
		bytes[bit / 8] ^= 1 << bit % 8;
	}
}
END_TEST

/* The longest of all. */
START_TEST(there_is_room)
{
	struct beside b = some, found;

	b.image.len = IDENTITY_MAX;
	memset(b.pair.name, 'n', 200);
	memset(b.source, 's', NAME_MAX);
	memset(b.source_name, 's', NAME_MAX + 4);
	ck_assert_uint_lt(beside_encode(&b, bytes), BESIDE_MAX);
	ck_assert_int_eq(beside_decode(bytes, beside_encode(&b, bytes), &found), 0);
	ck_assert_str_eq(found.source_name, b.source_name);
}
END_TEST

static int decode_with(const char *source, enum beside_holds holds)
{
	struct beside b = some, found;

	snprintf(b.source, sizeof(b.source), "%s", source);
	b.holds = holds;
	return beside_decode(bytes, beside_encode(&b, bytes), &found);
}

/* With a sum that is right. */
START_TEST(what_it_does_not_believe)
{
	size_t len = beside_encode(&some, bytes);
	struct beside b;
	uint32_t crc;

	ck_assert_int_eq(decode_with("a.img", BESIDE_HALF), 0);
	ck_assert_int_eq(decode_with("../a.img", BESIDE_WHOLE), -EIO);
	ck_assert_int_eq(decode_with("", BESIDE_WHOLE), -EIO);
	ck_assert_int_eq(decode_with(".hidden", BESIDE_WHOLE), -EIO);
	ck_assert_int_eq(decode_with("a.img", BESIDE_NONE), -EIO);
	ck_assert_int_eq(decode_with("a.img", BESIDE_TAKEN + 1), -EIO);
	beside_encode(&some, bytes);
	bytes[7] = '2';
	crc = crc32c(0, bytes, len - 4);
	for (int i = 0; i < 4; i++)
		bytes[len - 4 + i] = crc >> (8 * i);
	ck_assert_int_eq(beside_decode(bytes, len, &b), -EPROTO);
}
END_TEST

START_TEST(as_a_file)
{
	struct beside b, other = some;
	char name[NAME_MAX + 1];

	ck_assert_int_eq(beside_read(dirfd, "t.img", &b), -ENOENT);
	ck_assert_int_eq(beside_write(dirfd, "t.img", &some), 0);
	ck_assert_int_eq(beside_read(dirfd, "t.img", &b), 0);
	check_same(&b);
	/* Before its first copy it is called otherwise. */
	ck_assert_int_eq(beside_read(dirfd, "t.img.incomplete", &b), 0);
	other.claim = 78;
	ck_assert_int_eq(beside_write(dirfd, "t.img", &other), 0);
	ck_assert_int_eq(beside_read(dirfd, "t.img", &b), 0);
	ck_assert_uint_eq(b.claim, 78);
	ck_assert_int_ne(faccessat(dirfd, ".t.img.replica.new", F_OK, 0), 0);
	temp_make(".t.img.delta", 10);
	beside_rename(dirfd, "t.img", "u.img");
	ck_assert_int_eq(beside_read(dirfd, "t.img", &b), -ENOENT);
	ck_assert_int_eq(beside_read(dirfd, "u.img", &b), 0);
	ck_assert_int_eq(faccessat(dirfd, ".u.img.delta", F_OK, 0), 0);
	ck_assert_int_eq(beside_remove(dirfd, "u.img"), 0);
	ck_assert_int_eq(beside_read(dirfd, "u.img", &b), -ENOENT);
	ck_assert_int_ne(faccessat(dirfd, ".u.img.delta", F_OK, 0), 0);
	ck_assert_int_eq(beside_remove(dirfd, "u.img"), 0);
	beside_name("u.img", BESIDE_DELTA, name);
	ck_assert_str_eq(name, ".u.img.delta");
}
END_TEST

/* A link to elsewhere, a directory, a name that leaves no room for ours. */
START_TEST(in_the_way)
{
	char longest[NAME_MAX + 1];
	struct beside b;

	memset(longest, 'x', NAME_MAX);
	longest[NAME_MAX] = '\0';
	ck_assert_int_eq(beside_write(dirfd, longest, &some), -ENAMETOOLONG);
	ck_assert_int_eq(beside_read(dirfd, longest, &b), -ENOENT);
	ck_assert_int_eq(beside_remove(dirfd, longest), 0);
	temp_make("victim", 100);
	ck_assert_int_eq(symlink("victim", temp_path(".t.img.replica")), 0);
	ck_assert_int_ne(beside_read(dirfd, "t.img", &b), 0);
	ck_assert_int_eq(symlink("victim", temp_path(".t.img.replica.new")), 0);
	ck_assert_int_eq(beside_write(dirfd, "t.img", &some), 0);
	ck_assert_int_eq(beside_read(dirfd, "t.img", &b), 0);
	ck_assert_int_eq(mkdir(temp_path(".d.img.replica"), 0700), 0);
	ck_assert_int_ne(beside_write(dirfd, "d.img", &some), 0);
	ck_assert_int_ne(beside_read(dirfd, "d.img", &b), 0);
	ck_assert_int_ne(beside_remove(dirfd, "d.img"), 0);
}
END_TEST

UNIT_MAIN("beside", setup, teardown, as_bytes, there_is_room, what_it_does_not_believe, as_a_file,
	  in_the_way)

// SPDX-License-Identifier: GPL-2.0-or-later
#include "raw.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fake_file.h"
#include "unit.h"

#define SIZE (64u << 10)

static struct file *file;
static struct image *img;
static char buf[8192];

static void setup(void)
{
	char reason[IMAGE_REASON];
	struct image_around around = { 0 };

	file = fake_file_new(NULL, SIZE);
	ck_assert_int_eq(image_open(file, &raw_format, &around, &img, reason), 0);
}

static void teardown(void)
{
	image_close(img);
}

START_TEST(the_file_is_the_disk)
{
	ck_assert_uint_eq(img->size, SIZE);
	ck_assert_uint_eq(img->sector_size, 512);
	memset(buf, 'x', sizeof(buf));
	ck_assert_int_eq(raw_format.write(img, buf, 4096, 8192, 0), 0);
	memset(buf, 0, sizeof(buf));
	ck_assert_int_eq(file->ops->read(file, buf, 4096, 8192, 0), 0);
	ck_assert(buf[0] == 'x' && buf[4095] == 'x');
	ck_assert_int_eq(raw_format.zero(img, 8192, 4096, ZERO_PUNCH), 0);
	ck_assert_int_eq(raw_format.read(img, buf, 4096, 8192, 0), 0);
	ck_assert(!buf[0] && !buf[4095]);
	ck_assert_int_eq(raw_format.flush(img), 0);
	ck_assert_uint_eq(fake_calls(file, FAKE_FLUSH), 1);
}
END_TEST

START_TEST(grows_by_writing)
{
	ck_assert(raw_format.grows_by_write);
	ck_assert_int_eq(raw_format.write(img, buf, 100, SIZE + 1000, 0), 0);
	ck_assert_uint_eq(img->size, SIZE + 1100);
	ck_assert_int_eq(raw_format.write(img, buf, 100, SIZE, 0), 0);
	ck_assert_uint_eq(img->size, SIZE + 1100);
	/* Only when it was written. */
	fake_fail(file, FAKE_WRITE, 1, 1, ENOSPC);
	ck_assert_int_eq(raw_format.write(img, buf, 100, 2 * SIZE, 0), -ENOSPC);
	ck_assert_uint_eq(img->size, SIZE + 1100);
}
END_TEST

START_TEST(sizes)
{
	ck_assert_int_eq(raw_format.allocate(img, 0, 2 * SIZE, false), 0);
	ck_assert_uint_eq(img->size, SIZE);
	ck_assert_int_eq(raw_format.allocate(img, 0, 2 * SIZE, true), 0);
	ck_assert_uint_eq(img->size, 2 * SIZE);
	ck_assert_int_eq(raw_format.allocate(img, 0, SIZE, true), 0);
	ck_assert_uint_eq(img->size, 2 * SIZE);
	ck_assert_int_eq(raw_format.resize(img, 512), 0);
	ck_assert_uint_eq(img->size, 512);
	fake_fail(file, FAKE_RESIZE, 1, 1, EIO);
	ck_assert_int_eq(raw_format.resize(img, SIZE), -EIO);
	ck_assert_uint_eq(img->size, 512);
	fake_fail(file, FAKE_ALLOCATE, 1, 1, ENOSPC);
	ck_assert_int_eq(raw_format.allocate(img, 0, SIZE, true), -ENOSPC);
	ck_assert_uint_eq(img->size, 512);
}
END_TEST

START_TEST(creates)
{
	struct file *empty = fake_file_new(NULL, 0);
	struct image_create create = { .size = SIZE };
	char reason[IMAGE_REASON];
	struct file_stat st;

	ck_assert_int_eq(raw_format.create(empty, &create, reason), 0);
	ck_assert_int_eq(empty->ops->stat(empty, &st), 0);
	ck_assert_uint_eq(st.size, SIZE);
	fake_fail(empty, FAKE_RESIZE, 1, 1, EFBIG);
	ck_assert_int_eq(raw_format.create(empty, &create, reason), -EFBIG);
	create.sector_size = 4096;
	ck_assert_int_eq(raw_format.create(empty, &create, reason), -EINVAL);
	empty->ops->close(empty);
}
END_TEST

START_TEST(seeks)
{
	uint64_t at;

	ck_assert_int_eq(raw_format.write(img, buf, 1, 8192, 0), 0);
	ck_assert_int_eq(raw_format.seek(img, 0, SEEK_DATA, &at), 0);
	ck_assert_uint_eq(at, 8192);
	ck_assert_int_eq(raw_format.seek(img, SIZE, SEEK_DATA, &at), -ENXIO);
}
END_TEST

UNIT_MAIN("raw", setup, teardown, the_file_is_the_disk, grows_by_writing, sizes, creates, seeks)

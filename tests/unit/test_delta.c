// SPDX-License-Identifier: GPL-2.0-or-later
/* Deltas: what was written is read, and nothing else is. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crc32c.h"
#include "delta.h"
#include "unit.h"

#define DISK 65536

static const struct delta_head head = { .base = 0x1122334455667788, .time_ms = 42, .size = DISK };
static uint8_t stream[2 * DISK], disk[DISK];
static size_t len;
static unsigned calls;

static int a_file(const void *bytes, size_t size)
{
	int fd = memfd_create("delta", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, size), size);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* Data, zeros, data that ends the disk. */
static void make(void)
{
	struct delta_writer w;
	int fd = a_file("", 0);
	char data[300];

	memset(data, 'x', sizeof(data));
	ck_assert_int_eq(delta_begin(&w, fd, &head), 0);
	ck_assert_int_eq(delta_data(&w, data, 300, 100), 0);
	ck_assert_int_eq(delta_zeros(&w, 400, 4096), 0);
	memset(data, 'y', sizeof(data));
	ck_assert_int_eq(delta_data(&w, data, 200, DISK - 200), 0);
	ck_assert_int_eq(delta_end(&w), 0);
	len = pread(fd, stream, sizeof(stream), 0);
	close(fd);
}

static int apply(void *arg, const struct delta_record *r)
{
	calls++;
	ck_assert_uint_le(r->off + r->len, DISK);
	if (r->data)
		memcpy(disk + r->off, r->data, r->len);
	else
		memset(disk + r->off, 0, r->len);
	return arg ? *(int *)arg : 0;
}

static int read_it(const uint8_t *bytes, size_t size, bool applies)
{
	int fd = a_file(bytes, size);
	struct delta_head found;
	int err = delta_read(fd, &found, applies ? apply : NULL, NULL);

	close(fd);
	if (!err) {
		ck_assert_uint_eq(found.base, head.base);
		ck_assert_uint_eq(found.time_ms, 42);
		ck_assert_uint_eq(found.size, DISK);
	}
	return err;
}

START_TEST(is_read_as_written)
{
	int stop = -ENOSPC, fd;
	struct delta_head found;

	make();
	memset(disk, 'o', DISK);
	ck_assert_int_eq(read_it(stream, len, false), 0);
	ck_assert_int_eq(read_it(stream, len, true), 0);
	ck_assert_uint_eq(calls, 3);
	for (int i = 0; i < DISK; i++)
		ck_assert_int_eq(disk[i], i < 100          ? 'o'
					  : i < 400        ? 'x'
					  : i < 4496       ? 0
					  : i < DISK - 200 ? 'o'
							   : 'y');
	fd = a_file(stream, len);
	calls = 0;
	ck_assert_int_eq(delta_read(fd, &found, apply, &stop), -ENOSPC);
	ck_assert_uint_eq(calls, 1);
	close(fd);
}
END_TEST

START_TEST(half_of_one_is_none)
{
	make();
	for (size_t n = 0; n < len; n++)
		ck_assert_int_eq(read_it(stream, n, false), -EIO);
	stream[len] = 0;
	ck_assert_int_eq(read_it(stream, len + 1, false), -EIO);
}
END_TEST

START_TEST(a_bit_that_is_another)
{
	make();
	for (size_t bit = 0; bit < 8 * len; bit++) {
		stream[bit / 8] ^= 1 << bit % 8;
		ck_assert_int_eq(read_it(stream, len, false), -EIO);
		stream[bit / 8] ^= 1 << bit % 8;
	}
}
END_TEST

/* All sums are right. */
static int read_made(bool data_record, uint64_t off, uint64_t size)
{
	struct delta_writer w;
	int fd = a_file("", 0), err;
	char data[DELTA_DATA_MAX / 1024] = { 0 };
	struct delta_head found;

	ck_assert_int_eq(delta_begin(&w, fd, &head), 0);
	ck_assert_int_eq(delta_data(&w, data, 100, 1000), 0);
	ck_assert_int_eq(data_record ? delta_data(&w, data, size, off) : delta_zeros(&w, off, size),
			 0);
	ck_assert_int_eq(delta_end(&w), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	err = delta_read(fd, &found, NULL, NULL);
	close(fd);
	return err;
}

START_TEST(what_is_in_no_place)
{
	ck_assert_int_eq(read_made(0, 1100, 100), 0);
	ck_assert_int_eq(read_made(1, 1100, 100), 0);
	ck_assert_int_eq(read_made(0, 1099, 100), -EIO); /* over the one before */
	ck_assert_int_eq(read_made(1, 0, 100), -EIO);
	ck_assert_int_eq(read_made(0, 1100, 0), -EIO);
	ck_assert_int_eq(read_made(0, DISK - 10, 11), -EIO);
	ck_assert_int_eq(read_made(1, DISK - 10, 11), -EIO);
	ck_assert_int_eq(read_made(1, DISK - 10, 10), 0);
	ck_assert_int_eq(read_made(0, UINT64_MAX - 5, 10), -EIO);
	ck_assert_int_eq(read_made(0, 2000, UINT64_MAX - 1000), -EIO);
	ck_assert_int_eq(read_made(0, DISK, 1), -EIO);
}
END_TEST

/* Of another delta, with the same head but for its base. */
START_TEST(records_of_another)
{
	uint32_t crc;

	make();
	stream[8] ^= 1;
	crc = crc32c(0, stream, 32);
	for (int i = 0; i < 4; i++)
		stream[32 + i] = crc >> (8 * i);
	ck_assert_int_eq(read_it(stream, len, false), -EIO);
}
END_TEST

UNIT_MAIN("delta", NULL, NULL, is_read_as_written, half_of_one_is_none, a_bit_that_is_another,
	  what_is_in_no_place, records_of_another)

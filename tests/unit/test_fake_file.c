// SPDX-License-Identifier: GPL-2.0-or-later
/* The fake is what crash tests rest on, so it is tested like the product. */
#include "fake_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#define SIZE (64u << 10)

static struct file *f;
static uint8_t page[4096], got[SIZE];

static void setup(void)
{
	f = fake_file_new(NULL, SIZE);
}

static void teardown(void)
{
	f->ops->close(f);
}

static int put(uint8_t byte, uint64_t off, size_t len, unsigned io)
{
	memset(page, byte, sizeof(page));
	return f->ops->write(f, page, len, off, io);
}

static bool is_all(const uint8_t *p, size_t len, uint8_t byte)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != byte)
			return false;
	return true;
}

/* In how many of 200 power cuts the sector at `off` is all `byte`. */
static unsigned crashes_with(uint64_t off, uint8_t byte)
{
	unsigned n = 0;

	for (uint64_t seed = 0; seed < 200; seed++) {
		uint64_t size;
		uint8_t *image = fake_crash(f, seed, &size);

		n += off + 512 <= size && is_all(image + off, 512, byte);
		free(image);
	}
	return n;
}

START_TEST(reads_what_was_written)
{
	ck_assert_int_eq(put(7, 100, 1000, 0), 0);
	ck_assert_int_eq(f->ops->read(f, got, 1200, 0, 0), 0);
	ck_assert(is_all(got, 100, 0) && is_all(got + 100, 1000, 7) && is_all(got + 1100, 100, 0));
	ck_assert_int_eq(f->ops->read(f, got, 2, SIZE - 1, 0), -EIO);
}
END_TEST

START_TEST(unflushed_is_kept_or_lost_by_sector)
{
	unsigned one, two, both = 0;

	put(7, 0, 1024, 0);
	one = crashes_with(0, 7);
	two = crashes_with(512, 7);
	ck_assert(one > 40 && one < 160 && two > 40 && two < 160);
	ck_assert_uint_eq(one + crashes_with(0, 0), 200);
	for (uint64_t seed = 0; seed < 200; seed++) {
		uint64_t size;
		uint8_t *image = fake_crash(f, seed, &size);

		both += is_all(image, 512, 7) && is_all(image + 512, 512, 7);
		free(image);
	}
	ck_assert_msg(both < one && both < two, "torn at 512 bytes");
}
END_TEST

START_TEST(flushed_is_kept)
{
	put(7, 0, 512, 0);
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_uint_eq(crashes_with(0, 7), 200);
	put(8, 0, 512, 0);
	put(9, 0, 512, 0);
	ck_assert_uint_eq(crashes_with(0, 7) + crashes_with(0, 8) + crashes_with(0, 9), 200);
	ck_assert_uint_gt(crashes_with(0, 8), 0);
}
END_TEST

START_TEST(dsync_is_kept_and_no_older_write_comes_over_it)
{
	put(7, 0, 512, 0);
	put(8, 1024, 512, 0);
	ck_assert_int_eq(put(9, 0, 512, IO_DSYNC), 0);
	ck_assert_uint_eq(crashes_with(0, 9), 200);
	ck_assert_uint_lt(crashes_with(1024, 8), 200);
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_uint_eq(crashes_with(0, 9), 200);
	ck_assert_uint_eq(crashes_with(1024, 8), 200);
}
END_TEST

START_TEST(a_failed_flush_is_final)
{
	put(7, 0, 512, 0);
	fake_fail(f, FAKE_FLUSH, 1, 1, EIO);
	ck_assert_int_eq(f->ops->flush(f), -EIO);
	ck_assert_int_eq(f->ops->flush(f), -EIO);
	f->ops->forgive(f);
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_uint_lt(crashes_with(0, 7), 200);
	/* Written again, it is durable, and what was in doubt never comes back over it. */
	put(8, 0, 512, 0);
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_uint_eq(crashes_with(0, 8), 200);
}
END_TEST

START_TEST(sizes_in_their_order)
{
	struct file_stat st;

	put(7, 0, 512, 0);
	ck_assert_int_eq(f->ops->resize(f, 4096 + 100), 0);
	ck_assert_int_eq(put(9, SIZE, 512, 0), 0);
	ck_assert_int_eq(f->ops->stat(f, &st), 0);
	ck_assert_uint_eq(st.size, SIZE + 512);
	for (uint64_t seed = 0; seed < 100; seed++) {
		uint64_t size;
		uint8_t *image = fake_crash(f, seed, &size);

		ck_assert(size == SIZE || size == 4096 + 100 || size == SIZE + 512);
		if (size == SIZE + 512)
			ck_assert(is_all(image + 4196, SIZE - 4196, 0));
		free(image);
	}
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_uint_eq(crashes_with(SIZE, 9), 200);
	ck_assert_uint_eq(crashes_with(0, 7), 200);
}
END_TEST

START_TEST(a_cut_keeps_the_sector_it_goes_through)
{
	put(7, 0, 1024, 0);
	ck_assert_int_eq(f->ops->resize(f, 700), 0);
	ck_assert_int_eq(f->ops->flush(f), 0);
	for (uint64_t seed = 0; seed < 20; seed++) {
		uint64_t size;
		uint8_t *image = fake_crash(f, seed, &size);

		ck_assert_uint_eq(size, 700);
		ck_assert(is_all(image, 700, 7));
		free(image);
	}
}
END_TEST

START_TEST(a_crashed_file_is_what_a_crash_leaves)
{
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct file *left;
		struct file_stat st;
		uint64_t size;
		uint8_t *image;

		put(seed, seed * 700, 1500, 0);
		if (seed % 5 == 0)
			f->ops->resize(f, SIZE - 100 * seed);
		image = fake_crash(f, seed, &size);
		left = fake_crashed(f, seed);
		ck_assert_int_eq(left->ops->stat(left, &st), 0);
		ck_assert_uint_eq(st.size, size);
		ck_assert_int_eq(left->ops->read(left, got, size, 0, 0), 0);
		ck_assert_mem_eq(got, image, size);
		/* All of it is durable, and a change of one is not one of the other. */
		ck_assert_int_eq(left->ops->write(left, "x", 1, 100, 0), 0);
		free(image);
		image = fake_crash(f, seed, &size);
		ck_assert_mem_eq(image + 512, got + 512, size - 512);
		ck_assert_uint_eq(image[100], got[100]);
		free(image);
		left->ops->close(left);
	}
}
END_TEST

START_TEST(a_twin_has_what_is_pending)
{
	struct file *first = f;
	unsigned lost = 0;

	put(7, 0, 512, 0);
	f->ops->flush(f);
	put(8, 0, 512, 0);
	f->ops->zero(f, 4096, 4096, ZERO_PUNCH);
	f = fake_twin(first);
	first->ops->close(first);
	ck_assert_int_eq(f->ops->read(f, got, 512, 0, 0), 0);
	ck_assert(is_all(got, 512, 8));
	lost = crashes_with(0, 7);
	ck_assert(lost > 40 && lost < 160);
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_uint_eq(crashes_with(0, 8), 200);
}
END_TEST

/* In how many power cuts the file is longer than it was, and has not what was written there. */
static unsigned longer_without_content(void)
{
	unsigned n = 0;

	for (uint64_t seed = 0; seed < 200; seed++) {
		uint64_t size;
		uint8_t *image = fake_crash(f, seed, &size);

		n += size > SIZE && !is_all(image + SIZE + 512, 512, 7);
		free(image);
	}
	return n;
}

START_TEST(sizes_come_with_content_when_ordered)
{
	put(7, SIZE + 512, 512, 0);
	ck_assert_uint_gt(longer_without_content(), 0);
	fake_ordered(f);
	ck_assert_uint_eq(longer_without_content(), 0);
}
END_TEST

START_TEST(fails_the_nth_call)
{
	fake_fail(f, FAKE_WRITE, 2, 2, EIO);
	ck_assert_int_eq(put(1, 0, 512, 0), 0);
	ck_assert_int_eq(put(1, 0, 512, 0), -EIO);
	ck_assert_int_eq(put(1, 0, 512, 0), -EIO);
	ck_assert_int_eq(put(1, 0, 512, 0), 0);
	ck_assert_uint_eq(fake_calls(f, FAKE_WRITE), 4);
	fake_fail(f, FAKE_READ, 1, 1, ENOMEM);
	ck_assert_int_eq(f->ops->read(f, got, 1, 0, 0), -ENOMEM);
	ck_assert_int_eq(f->ops->read(f, got, 1, 0, 0), 0);
}
END_TEST

START_TEST(a_failed_write_is_torn)
{
	fake_fail(f, FAKE_WRITE, 1, 1, EIO);
	ck_assert_int_eq(put(7, 0, 1024, 0), -EIO);
	ck_assert_int_eq(f->ops->read(f, got, 1024, 0, 0), 0);
	ck_assert(is_all(got, 512, 7) && is_all(got + 512, 512, 0));
}
END_TEST

START_TEST(space_runs_out)
{
	struct file_stat st;

	fake_space(f, 2);
	ck_assert_int_eq(put(1, 0, 4096, 0), 0);
	ck_assert_int_eq(put(2, 0, 4096, 0), 0);
	ck_assert_int_eq(put(1, 8192, 1, 0), 0);
	ck_assert_int_eq(put(1, 4096, 1, 0), -ENOSPC);
	ck_assert_int_eq(f->ops->allocate(f, 4096, 1, false), -ENOSPC);
	ck_assert_int_eq(f->ops->zero(f, 4096, 10, ZERO_KEEP), -ENOSPC);
	ck_assert_int_eq(f->ops->zero(f, 0, 4096, ZERO_PUNCH), 0);
	ck_assert_int_eq(put(3, 4096, 1, 0), 0);
	ck_assert_int_eq(f->ops->stat(f, &st), 0);
	ck_assert_uint_eq(st.allocated, 8192);
}
END_TEST

START_TEST(seeks)
{
	uint64_t at;

	put(1, 8192, 1, 0);
	ck_assert_int_eq(f->ops->seek(f, 0, SEEK_DATA, &at), 0);
	ck_assert_uint_eq(at, 8192);
	ck_assert_int_eq(f->ops->seek(f, 8200, SEEK_HOLE, &at), 0);
	ck_assert_uint_eq(at, 12288);
	ck_assert_int_eq(f->ops->seek(f, 12288, SEEK_DATA, &at), -ENXIO);
	ck_assert_int_eq(f->ops->seek(f, SIZE, SEEK_HOLE, &at), -ENXIO);
}
END_TEST

START_TEST(waits)
{
	uint64_t began = unit_now_ms();

	fake_delay(f, FAKE_FLUSH, 30000);
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_uint_ge(unit_now_ms() - began, 29);
	fake_delay(f, FAKE_FLUSH, 0);
	fake_delay_return(f, FAKE_FLUSH, 30000);
	began = unit_now_ms();
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_uint_ge(unit_now_ms() - began, 29);
}
END_TEST

START_TEST(locks)
{
	ck_assert_int_eq(fake_use(f), FILE_UNUSED);
	ck_assert_int_eq(f->ops->lock(f, FILE_READ), 0);
	fake_fail(f, FAKE_LOCK, 1, 1, EBUSY);
	ck_assert_int_eq(f->ops->lock(f, FILE_WRITE), -EBUSY);
	ck_assert_int_eq(fake_use(f), FILE_READ);
	ck_assert_int_eq(f->ops->lock(f, FILE_WRITE), 0);
	ck_assert_int_eq(fake_use(f), FILE_WRITE);
	ck_assert_uint_eq(fake_calls(f, FAKE_LOCK), 3);
}
END_TEST

UNIT_MAIN("fake file", setup, teardown, reads_what_was_written, unflushed_is_kept_or_lost_by_sector,
	  flushed_is_kept, dsync_is_kept_and_no_older_write_comes_over_it, a_failed_flush_is_final,
	  sizes_in_their_order, a_cut_keeps_the_sector_it_goes_through,
	  a_crashed_file_is_what_a_crash_leaves, a_twin_has_what_is_pending,
	  sizes_come_with_content_when_ordered, fails_the_nth_call, a_failed_write_is_torn,
	  space_runs_out, seeks, waits, locks)

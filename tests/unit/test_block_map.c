// SPDX-License-Identifier: GPL-2.0-or-later
/* Places that are given up, and a flush that fails: in VHDs, whose map is the plainest. */
#include "block_map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "fake_file.h"
#include "notes.h"
#include "tap_file.h"
#include "unit.h"
#include "vhd.h"
#include "vhd_layout.h"

#define BLOCK ((uint64_t)64 << 10)
#define MIB ((uint64_t)1 << 20)
/* Where the table of a VHD that we made is. */
#define TABLE 1536

static char reason[IMAGE_REASON];
static struct image *img;

/* realloc is this in here: --wrap. */
static bool no_memory;
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
	return no_memory ? NULL : __real_realloc(old, size);
}

static void teardown(void)
{
	image_close(img);
	img = NULL;
}

static void create(struct file *f, uint64_t size, uint32_t block_size)
{
	struct image_create c = { .kind = "vhd", .size = size, .block_size = block_size };

	ck_assert_msg(!vhd_format.create(f, &c, reason), "%s", reason);
}

static void open_image(struct file *f, struct notes *notes)
{
	struct image_around around = { .notes = notes };

	ck_assert_msg(!image_open(f, &vhd_format, &around, &img, reason), "%s", reason);
}

/* A file of the host's, which may be longer than memory. */
static struct file *real_file(void)
{
	char path[4096];
	struct file *f;

	snprintf(path, sizeof(path), "%s/disk.vhd", unit_dir());
	ck_assert_int_eq(file_adopt(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), false, &f), 0);
	return f;
}

static int write_byte(uint64_t at)
{
	return vhd_format.write(img, "x", 1, at, 0);
}

static int discard(uint64_t at, uint64_t len)
{
	return vhd_format.zero(img, at, len, ZERO_PUNCH);
}

static uint64_t length(struct file *f)
{
	struct file_stat st;

	ck_assert_int_eq(f->ops->stat(f, &st), 0);
	return st.size;
}

/* ---- places ---- */

/* So many blocks at places that are that far apart, without data; and the footer. */
static void place_blocks(struct file *f, uint64_t count, uint64_t first, uint64_t apart,
			 uint64_t tail)
{
	uint8_t *table = malloc(count * 4), footer[VHD_SECTOR];

	for (uint64_t i = 0; i < count; i++)
		put_be32(table + i * 4, (first + i * apart) / VHD_SECTOR);
	ck_assert_int_eq(f->ops->write(f, table, count * 4, TABLE, 0), 0);
	free(table);
	ck_assert_int_eq(f->ops->read(f, footer, VHD_SECTOR, 0, 0), 0);
	ck_assert_int_eq(f->ops->write(f, footer, VHD_SECTOR, tail, 0), 0);
}

/* A file as long as any VHD's can be, with no place for another block. */
START_TEST(full_but_for_what_was_given_up)
{
	const uint64_t apart = 400 * MIB, count = ((uint64_t)2048 << 10) * MIB / apart - 1;
	struct file *f = real_file();
	char c;

	create(f, VHD_SIZE_MAX, 256 * MIB);
	place_blocks(f, count, MIB, apart, ((uint64_t)UINT32_MAX - 1) * VHD_SECTOR);
	open_image(f, NULL);
	for (uint64_t b = count; b < count + 4; b++) {
		int err = write_byte(b * 256 * MIB);

		if (err == -EFBIG)
			break;
		ck_assert_int_eq(err, 0);
		ck_assert_uint_lt(b, count + 3);
	}
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(write_byte((count + 10 + i) * 256 * MIB), -EFBIG);
		ck_assert_int_eq(discard(i * 256 * MIB, 256 * MIB), 0);
		ck_assert_int_eq(write_byte((count + 10 + i) * 256 * MIB), 0);
		ck_assert_int_eq(vhd_format.read(img, &c, 1, (count + 10 + i) * 256 * MIB, 0), 0);
		ck_assert_int_eq(c, 'x');
	}
}
END_TEST

/* Nobody flushes: still the file does not get longer and longer. */
START_TEST(writes_and_discards_in_turns)
{
	struct file *f = fake_file_new(NULL, 0);

	create(f, 8 * BLOCK, BLOCK);
	open_image(f, NULL);
	for (unsigned i = 0; i < 2000; i++) {
		ck_assert_int_eq(write_byte(i % 8 * BLOCK), 0);
		ck_assert_int_eq(discard(i % 8 * BLOCK, BLOCK), 0);
	}
	ck_assert_uint_lt(length(f), 200 * BLOCK);
	ck_assert_uint_lt(fake_calls(f, FAKE_FLUSH), 2000 / 10);
}
END_TEST

/* Nor do the notes. */
START_TEST(many_notes)
{
	uint64_t count = 600000, most = 0;
	uint8_t boot[16] = "this boot", ones[512];
	int dirfd = open(unit_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct file *f = real_file();
	struct notes *notes;

	memset(ones, 0xff, sizeof(ones));
	create(f, count * 4096, 4096);
	place_blocks(f, count, 4 * MIB, 8192, 4 * MIB + count * 8192);
	ck_assert_int_eq(notes_open(dirfd, "notes", boot, &notes), 0);
	open_image(f, notes);
	for (uint64_t b = 0; b < count; b++) {
		ck_assert_int_eq(discard(b * 4096, 4096), 0);
		if (notes_bytes(notes) > most)
			most = notes_bytes(notes);
	}
	ck_assert_uint_gt(most, 15 << 20);
	ck_assert_uint_lt(most, 17 << 20);
	teardown();
	close(dirfd);
}
END_TEST

/* ---- a flush that fails ---- */

static unsigned beside; /* blocks that are written while the next flush of the file runs */

static bool tapped(void *inner, const struct tap_call *call)
{
	if (call->call == FAKE_FLUSH && !call->after && beside) {
		for (unsigned n = beside, b = 200; n; n--, b++) {
			beside = 0;
			ck_assert_int_eq(write_byte(b * BLOCK), 0);
		}
		fake_fail(inner, FAKE_READ, 1, 1, EIO); /* of the table */
		no_memory = true;
	}
	return true;
}

/* Whatever memory there is, the next one brings in all that this one did not. */
START_TEST(a_failed_flush_without_memory)
{
	struct file *inner = fake_file_new(NULL, 0);
	uint64_t size;
	uint8_t *left;
	char c;

	create(inner, 300 * BLOCK, BLOCK);
	open_image(tap_file_new(inner, tapped, inner), NULL);
	for (unsigned b = 0; b < 64; b++)
		ck_assert_int_eq(write_byte(b * BLOCK), 0);
	beside = 20;
	ck_assert_int_eq(vhd_format.flush(img), -EIO);
	no_memory = false;
	ck_assert_int_eq(vhd_format.flush(img), 0);
	left = fake_crash(inner, 1, &size);
	teardown();
	open_image(fake_file_new(left, size), NULL);
	free(left);
	for (unsigned b = 0; b < 84; b++) {
		uint64_t at = (b < 64 ? b : 200 + b - 64) * BLOCK;

		ck_assert_int_eq(vhd_format.read(img, &c, 1, at, 0), 0);
		ck_assert_msg(c == 'x', "block %u is lost", b);
	}
}
END_TEST

UNIT_MAIN("block_map", NULL, teardown, full_but_for_what_was_given_up, writes_and_discards_in_turns,
	  many_notes, a_failed_flush_without_memory)

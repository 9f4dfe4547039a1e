// SPDX-License-Identifier: GPL-2.0-or-later
/* A flush that fails: in a VHD, whose map is the plainest. */
#include "block_map.h"

#include <errno.h>
#include <stdlib.h>

#include "fake_file.h"
#include "tap_file.h"
#include "unit.h"
#include "vhd.h"

#define BLOCK ((uint64_t)64 << 10)

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

static void open_image(struct file *f)
{
	struct image_around around = { 0 };

	ck_assert_msg(!image_open(f, &vhd_format, &around, &img, reason), "%s", reason);
}

static int write_byte(uint64_t at)
{
	return vhd_format.write(img, "x", 1, at, 0);
}

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
	open_image(tap_file_new(inner, tapped, inner));
	for (unsigned b = 0; b < 64; b++)
		ck_assert_int_eq(write_byte(b * BLOCK), 0);
	beside = 20;
	ck_assert_int_eq(vhd_format.flush(img), -EIO);
	no_memory = false;
	ck_assert_int_eq(vhd_format.flush(img), 0);
	left = fake_crash(inner, 1, &size);
	teardown();
	open_image(fake_file_new(left, size));
	free(left);
	for (unsigned b = 0; b < 84; b++) {
		uint64_t at = (b < 64 ? b : 200 + b - 64) * BLOCK;

		ck_assert_int_eq(vhd_format.read(img, &c, 1, at, 0), 0);
		ck_assert_msg(c == 'x', "block %u is lost", b);
	}
}
END_TEST

UNIT_MAIN("block_map", NULL, teardown, a_failed_flush_without_memory)

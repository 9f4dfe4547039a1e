// SPDX-License-Identifier: GPL-2.0-or-later
/* VHD: what is wrong is refused, or read as far as it is right. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "fake_file.h"
#include "unit.h"
#include "vhd.h"
#include "vhd_layout.h"

#define BLOCK (64u << 10)
#define SIZE (40ull * BLOCK + 512)

static struct file *file;
static struct image *img;
static char reason[IMAGE_REASON];

static struct file *make(const char *kind, uint64_t size, uint32_t block_size)
{
	struct image_create c = { .kind = kind, .size = size, .block_size = block_size };
	struct file *f = fake_file_new(NULL, 0);

	ck_assert_msg(!vhd_format.create(f, &c, reason), "%s", reason);
	ck_assert_int_eq(f->ops->flush(f), 0);
	return f;
}

static int open_image(struct file *f, struct image **out)
{
	struct image_around around = { 0 };

	return image_open(f, &vhd_format, &around, out, reason);
}

static void open_kind(const char *kind, uint32_t block_size)
{
	file = make(kind, SIZE, block_size);
	ck_assert_msg(!open_image(file, &img), "%s", reason);
}

static void teardown(void)
{
	image_close(img);
	img = NULL;
}

static uint64_t length(struct file *f)
{
	struct file_stat st;

	ck_assert_int_eq(f->ops->stat(f, &st), 0);
	return st.size;
}

static uint8_t bytes[64 << 10];
static size_t bytes_len;

static void read_bytes(void)
{
	bytes_len = length(file);
	ck_assert_uint_le(bytes_len, sizeof(bytes));
	ck_assert_int_eq(file->ops->read(file, bytes, bytes_len, 0, 0), 0);
}

static void seal(uint8_t *at, size_t len, size_t field)
{
	uint32_t sum = 0;

	put_be32(at + field, 0);
	for (size_t i = 0; i < len; i++)
		sum += at[i];
	put_be32(at + field, ~sum);
}

static void seal_all(void)
{
	seal(bytes, 512, 64);
	seal(bytes + 512, 1024, 36);
	memcpy(bytes + bytes_len - 512, bytes, 512);
}

/* Opens `bytes`: whether it did; and then everything can be read and written. */
static bool opens(void)
{
	struct file *f = fake_file_new(bytes, bytes_len);
	struct image *image;
	uint8_t data[4096];

	if (open_image(f, &image)) {
		ck_assert_str_ne(reason, "");
		f->ops->close(f);
		return false;
	}
	for (uint64_t off = 0; off + sizeof(data) <= image->size && off < 4 << 20; off += 9 * 4096)
		if (!vhd_format.read(image, data, sizeof(data), off, 0) && !image->read_only)
			vhd_format.write(image, data, sizeof(data), off, 0);
	vhd_format.rest(image);
	image_close(image);
	return true;
}

START_TEST(bad_footers)
{
	open_kind("vhd", BLOCK);
	read_bytes();
	ck_assert(opens());
	/* One of the two is enough, whichever. */
	bytes[bytes_len - 512] ^= 1;
	ck_assert(opens());
	bytes[0] ^= 1;
	ck_assert(!opens());
	bytes[bytes_len - 512] ^= 1;
	ck_assert(opens());
}
END_TEST

/* Cut off anywhere up to the last byte of its table; the footer's copy alone is no image. */
START_TEST(any_length)
{
	static const size_t lengths[] = { 0,    1,    511,  512,  513,  1022, 1023,
					  1024, 1025, 1535, 1536, 1537, 2047 };

	open_kind("vhd", BLOCK);
	read_bytes();
	for (size_t i = 0; i < UNIT_LENGTH(lengths); i++) {
		bytes_len = lengths[i];
		ck_assert_msg(!opens(), "%zu bytes were opened", lengths[i]);
		if (lengths[i] == 512 || lengths[i] == 513)
			ck_assert_str_eq(reason, "its VHD header lies outside of the file");
	}
	bytes_len = 2048;
	ck_assert(opens());
}
END_TEST

/* A fixed one has nothing but its footer behind the disk. */
START_TEST(a_fixed_footer_alone)
{
	open_kind("vhd-fixed", 0);
	ck_assert_int_eq(file->ops->read(file, bytes, 512, SIZE, 0), 0);
	for (bytes_len = 512; bytes_len <= 513; bytes_len++) {
		ck_assert(!opens());
		ck_assert_str_eq(reason, "the file is shorter than its disk");
	}
	/* Behind the one sector that it says there is. */
	memcpy(bytes + 512, bytes, 512);
	put_be64(bytes + 512 + 48, 512);
	seal(bytes + 512, 512, 64);
	bytes_len = 1024;
	ck_assert(opens());
}
END_TEST

/* A bit of the header that is not what its sum was made of, wherever it is: nothing of it counts. */
START_TEST(a_changed_header)
{
	static const size_t places[] = { 8, 16, 23, 28, 32, 36, 39, 40, 64, 576, 1023 };

	open_kind("vhd", BLOCK);
	read_bytes();
	for (size_t i = 0; i < UNIT_LENGTH(places); i++) {
		bytes[512 + places[i]] ^= 1;
		ck_assert_msg(!opens(), "byte %zu was changed", places[i]);
		ck_assert_str_eq(reason, "the checksum of its VHD header is wrong");
		bytes[512 + places[i]] ^= 1;
	}
	ck_assert(opens());
}
END_TEST

START_TEST(mends_footers)
{
	uint8_t data[512] = { 1 };
	struct image *again;

	open_kind("vhd", BLOCK);
	read_bytes();
	for (int end = 0; end < 2; end++) {
		struct file *f;

		read_bytes();
		bytes[end ? bytes_len - 512 : 0] ^= 1;
		f = fake_file_new(bytes, bytes_len);
		ck_assert_int_eq(open_image(f, &again), 0);
		ck_assert_int_eq(vhd_format.write(again, data, 512, 0, 0), 0);
		ck_assert_int_eq(vhd_format.rest(again), 0);
		bytes_len = length(f);
		ck_assert_uint_le(bytes_len, sizeof(bytes) + 2 * BLOCK);
		ck_assert_int_eq(f->ops->read(f, bytes, 512, 0, 0), 0);
		ck_assert_int_eq(f->ops->read(f, bytes + 512, 512, bytes_len - 512, 0), 0);
		ck_assert_mem_eq(bytes, bytes + 512, 512);
		ck_assert_mem_eq(bytes, "conectix", 8);
		image_close(again);
	}
}
END_TEST

START_TEST(bad_numbers)
{
	static const uint64_t numbers[] = {
		0,    1,          511,        513,        4095,
		1024, 1 << 30,    1u << 31,   UINT32_MAX, UINT32_MAX - 1,
		512,  1ull << 40, 1ull << 62, 1ull << 63, UINT64_MAX
	};
	static const struct {
		size_t at, len;
	} fields[] = { { 16, 8 },       { 48, 8 },       { 60, 4 },       { 12, 4 },
		       { 512 + 16, 8 }, { 512 + 28, 4 }, { 512 + 32, 4 }, { 512 + 24, 4 } };

	open_kind("vhd", BLOCK);
	for (size_t f = 0; f < UNIT_LENGTH(fields); f++)
		for (size_t n = 0; n < UNIT_LENGTH(numbers); n++) {
			read_bytes();
			if (fields[f].len == 8)
				put_be64(bytes + fields[f].at, numbers[n]);
			else
				put_be32(bytes + fields[f].at, numbers[n]);
			seal_all();
			opens(); /* or not, but nothing breaks */
		}
}
END_TEST

/* The footer moves when the file gets longer. */
START_TEST(tables_under_footer)
{
	open_kind("vhd", BLOCK);
	read_bytes();
	put_be64(bytes + 512 + 16, bytes_len - 512);
	seal_all();
	ck_assert(!opens());
	ck_assert_str_eq(reason, "its block table lies outside of the file");
	/* A header of which the second half is there. */
	read_bytes();
	memmove(bytes + bytes_len, bytes + bytes_len - 512, 512);
	memcpy(bytes + bytes_len - 512, bytes + 512, 512);
	put_be64(bytes + 16, bytes_len - 512);
	bytes_len += 512;
	seal(bytes, 512, 64);
	memcpy(bytes + bytes_len - 512, bytes, 512);
	seal(bytes + bytes_len - 1024, 1024, 36);
	ck_assert(!opens());
	ck_assert_str_eq(reason, "its VHD header lies outside of the file");
}
END_TEST

START_TEST(bad_tables)
{
	uint8_t data[512] = { 1 };
	struct image *again;

	open_kind("vhd", BLOCK);
	ck_assert_int_eq(vhd_format.write(img, data, 512, 0, 0), 0);
	ck_assert_int_eq(vhd_format.write(img, data, 512, BLOCK, 0), 0);
	ck_assert_int_eq(vhd_format.rest(img), 0);
	ck_assert_uint_gt(length(file), 2 * BLOCK);
	for (int i = 0; i < 4; i++) {
		static const uint32_t wrong[] = { 0, 1, 3, 0xfffffffe };
		uint64_t size;
		uint8_t *all = fake_crash(file, 1, &size);

		put_be32(all + 1536 + 4, wrong[i]);
		ck_assert_int_eq(open_image(fake_file_new(all, size), &again), 0);
		ck_assert_str_ne(again->complaint, "");
		/* Outside of the file: reads as zeros. Over a table or a block: read only. */
		ck_assert_int_eq(again->read_only, wrong[i] == 1 || wrong[i] == 3);
		image_close(again);
		put_be32(all + 1536 + 4, get_be32(all + 1536));
		ck_assert_int_eq(open_image(fake_file_new(all, size), &again), 0);
		ck_assert(again->read_only);
		ck_assert_int_eq(vhd_format.write(again, data, 512, 0, 0), -EROFS);
		image_close(again);
		free(all);
	}
}
END_TEST

/* Its table with another place for block 0 or 1. */
static void open_with_entry(int block, uint32_t sector, struct image **again)
{
	uint64_t size;
	uint8_t *all = fake_crash(file, 1, &size);

	put_be32(all + 1536 + 4 * block, sector);
	ck_assert_int_eq(open_image(fake_file_new(all, size), again), 0);
	free(all);
}

/* Two blocks that share no more than a sector or all but one; no table is under them. */
START_TEST(blocks_over_blocks)
{
	const uint32_t sectors = 1 + BLOCK / 512; /* with its bitmap */
	uint8_t data[512] = { 1 }, entries[8];
	uint32_t first, second;
	struct image *again;

	open_kind("vhd", BLOCK);
	ck_assert_int_eq(vhd_format.write(img, data, 512, 0, 0), 0);
	ck_assert_int_eq(vhd_format.write(img, data, 512, BLOCK, 0), 0);
	ck_assert_int_eq(vhd_format.rest(img), 0);
	ck_assert_int_eq(file->ops->read(file, entries, sizeof(entries), 1536, 0), 0);
	first = get_be32(entries);
	second = get_be32(entries + 4);
	ck_assert_uint_ge(second, first + sectors);
	for (int i = 0; i < 4; i++) {
		const uint32_t wrong[] = { second - 1, second - sectors + 1, first + 1,
					   first + sectors - 1 };

		open_with_entry(i / 2, wrong[i], &again);
		ck_assert_str_eq(again->complaint,
				 "two blocks lie at the same place: the image is damaged");
		ck_assert(again->read_only);
		ck_assert_int_eq(vhd_format.write(again, data, 512, 0, 0), -EROFS);
		ck_assert_int_eq(vhd_format.read(again, data, 512, 0, 0), 0);
		image_close(again);
		data[0] = 1;
	}
	/* Beside each other they are fine. */
	open_with_entry(1, first + sectors, &again);
	ck_assert_str_eq(again->complaint, "");
	ck_assert(!again->read_only);
	image_close(again);
}
END_TEST

/*
 * A block that ends in the sector that the file's last byte is in, behind that byte, is outside.
 * It stays so when a footer is written there and not all of the rest.
 */
START_TEST(outsiders_stay_outside)
{
	uint8_t data[BLOCK] = { 1 }, zeros[BLOCK] = { 0 };
	uint64_t size;
	uint8_t *all;

	open_kind("vhd", BLOCK);
	ck_assert_int_eq(vhd_format.write(img, data, BLOCK, 0, 0), 0);
	ck_assert_int_eq(vhd_format.rest(img), 0);
	all = realloc(fake_crash(file, 1, &size), length(file) + 1);
	all[size - 512] ^= 1;
	all[size] = 0;
	put_be32(all + 1536 + 4, (size + 512 - BLOCK - 512) / 512);
	for (unsigned nth = 1; nth <= 5; nth++) {
		struct file *f = fake_file_new(all, size + 1), *twin;
		struct image *again;

		ck_assert_int_eq(open_image(f, &again), 0);
		ck_assert_str_ne(again->complaint, "");
		ck_assert(!again->read_only);
		fake_fail(f, FAKE_WRITE, nth, 1, EIO);
		vhd_format.write(again, data, 512, 5 * BLOCK, 0);
		twin = fake_twin(f);
		image_close(again);
		ck_assert_int_eq(open_image(twin, &again), 0);
		ck_assert(!again->read_only);
		ck_assert_int_eq(vhd_format.read(again, data, BLOCK, BLOCK, 0), 0);
		ck_assert_mem_eq(data, zeros, BLOCK);
		image_close(again);
		data[0] = 1;
	}
	free(all);
}
END_TEST

/* ---- what a guest writes ---- */

/*
 * A fixed disk of SIZE bytes, whose guest has written another image into its first sectors, and
 * the footer of that into its last one.
 */
static void make_forged(void)
{
	uint8_t head[2048];
	struct file *other = make("vhd", SIZE, BLOCK);

	ck_assert_int_eq(other->ops->read(other, head, sizeof(head), 0, 0), 0);
	other->ops->close(other);
	open_kind("vhd-fixed", 0);
	ck_assert_int_eq(vhd_format.write(img, head, sizeof(head), 0, 0), 0);
	ck_assert_int_eq(vhd_format.write(img, head, 512, SIZE - 512, 0), 0);
	ck_assert_int_eq(vhd_format.flush(img), 0);
	ck_assert_uint_eq(length(file), SIZE + 512);
}

/* What it is opened as, where so much of it is known to be its guest's; "" if it is not. */
static const char *kind_as(struct file *f, uint64_t guest_bytes)
{
	struct image_around around = { .read_only = true, .guest_bytes = guest_bytes };
	struct file *twin = fake_twin(f);
	struct image *image;
	const char *kind;

	if (image_open(twin, &vhd_format, &around, &image, reason)) {
		twin->ops->close(twin);
		return "";
	}
	kind = image->kind;
	image_close(image);
	return kind;
}

START_TEST(guests_do_not_choose)
{
	uint8_t zeros[512] = { 0 };

	make_forged();
	ck_assert_uint_eq(image_guest_bytes(img->kind, img->size), SIZE);
	ck_assert_str_eq(kind_as(file, 0), "vhd-fixed");
	ck_assert_str_eq(kind_as(file, SIZE), "vhd-fixed");
	/* Torn: nothing is known of a file that was never seen. */
	ck_assert_int_eq(file->ops->write(file, zeros, 512, SIZE, 0), 0);
	ck_assert_str_eq(kind_as(file, 0), "vhd");
	ck_assert_str_eq(kind_as(file, SIZE), "");
	ck_assert_ptr_nonnull(strstr(reason, "its footer is damaged; it was fixed"));
	/* In part: then the last whole sector is the guest's. */
	for (uint64_t size = SIZE + 511; size >= SIZE; size -= 511) {
		ck_assert_int_eq(file->ops->resize(file, size), 0);
		ck_assert_str_eq(kind_as(file, 0), "vhd");
		ck_assert_str_eq(kind_as(file, SIZE), "");
		ck_assert_ptr_nonnull(strstr(reason, "its file ends within them"));
	}
	/* As it is when the file is read again. */
	ck_assert_int_eq(image_reload(img, reason), -EINVAL);
	ck_assert_ptr_nonnull(strstr(reason, "its file ends within them"));
}
END_TEST

/* Another image in its place says what it is itself, where the guest never wrote. */
START_TEST(another_kind_in_its_place)
{
	uint8_t data[512] = { 1 };

	open_kind("vhd", BLOCK);
	for (uint64_t block = 0; block < 3; block++)
		ck_assert_int_eq(vhd_format.write(img, data, 512, block * BLOCK, 0), 0);
	ck_assert_int_eq(vhd_format.rest(img), 0);
	ck_assert_uint_gt(length(file), 3 * BLOCK);
	ck_assert_str_eq(kind_as(file, 3 * BLOCK), "vhd");
	ck_assert_str_eq(kind_as(file, length(file) - 512), "vhd");
	ck_assert_str_eq(kind_as(file, length(file)), "");
	ck_assert_uint_eq(image_guest_bytes(img->kind, img->size), 0);
}
END_TEST

UNIT_MAIN("vhd_bad", NULL, teardown, bad_footers, any_length, a_fixed_footer_alone,
	  a_changed_header, mends_footers, bad_numbers, tables_under_footer, bad_tables,
	  blocks_over_blocks, outsiders_stay_outside, guests_do_not_choose,
	  another_kind_in_its_place)

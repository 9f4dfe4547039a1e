// SPDX-License-Identifier: GPL-2.0-or-later
/* VHDX files that nobody should make: refused with a reason, or read right, never more. */
#include "vhdx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "unit.h"
#include "vhdx_build.h"

#define MIB ((uint64_t)1 << 20)

static struct vhdx_build b;
static char reason[IMAGE_REASON];

static void setup(void)
{
	build_start(&b, 8 * MIB, 1 << 20, 512, 0);
	build_resize(&b, BUILD_DATA_AT + 2 * MIB);
	memset(b.bytes + BUILD_DATA_AT, 'x', 2 * MIB);
	build_bat(&b, 0, BUILD_DATA_AT, 6);
	build_bat(&b, 3, BUILD_DATA_AT + MIB, 6);
}

static void teardown(void)
{
	build_end(&b);
}

static void again(void)
{
	teardown();
	setup();
}

static struct image *open_built(void)
{
	struct image_around around = { 0 };
	struct image *img = NULL;
	struct file *f = build_file(&b);

	if (image_open(f, &vhdx_format, &around, &img, reason)) {
		f->ops->close(f);
		ck_assert_msg(reason[0], "refused without a reason");
		return NULL;
	}
	return img;
}

/* And the file is as before for the next case. */
static void ck_refused(const char *why)
{
	struct image *img = open_built();

	ck_assert_msg(!img, "was not refused: %s", why);
	ck_assert_msg(strstr(reason, why), "refused for '%s', not '%s'", reason, why);
	again();
}

static void ck_fine(void)
{
	struct image *img = open_built();
	char buf[2];

	ck_assert_msg(img, "%s", reason);
	ck_assert_msg(!img->complaint[0], "%s", img->complaint);
	ck_assert_int_eq(vhdx_format.read(img, buf, 2, MIB - 1, 0), 0);
	ck_assert(buf[0] == 'x' && !buf[1]);
	image_close(img);
	again();
}

static void ck_complains(const char *why, bool read_only)
{
	struct image *img = open_built();
	uint8_t *all = malloc(8 * MIB);

	ck_assert_msg(img, "%s", reason);
	ck_assert_msg(strstr(img->complaint, why), "complains '%s', not '%s'", img->complaint, why);
	ck_assert_int_eq(img->read_only, read_only);
	ck_assert_int_eq(vhdx_format.read(img, all, 8 * MIB, 0, 0), 0);
	free(all);
	image_close(img);
	again();
}

static uint8_t *header(int slot)
{
	return b.bytes + BUILD_HEADER(slot);
}

static uint8_t *metadata(uint32_t at)
{
	return b.bytes + BUILD_METADATA_AT + at;
}

START_TEST(any_length)
{
	static const uint64_t lengths[] = { 0,     1,          511,     512,     513,
					    65536, 65536 + 80, 131072,  196608,  MIB - 1,
					    MIB,   MIB + 1,    2 * MIB, 3 * MIB, 4 * MIB - 1 };

	for (size_t i = 0; i < UNIT_LENGTH(lengths); i++) {
		build_resize(&b, lengths[i] ? lengths[i] : 1);
		if (!lengths[i])
			b.size = 0;
		ck_assert_ptr_null(open_built());
		b.size = lengths[i] ? lengths[i] : 1;
		again();
	}
	ck_fine();
}
END_TEST

START_TEST(headers)
{
	b.bytes[0] = 'V';
	ck_refused("not a VHDX");
	/* One bad copy is fine, whichever. */
	header(0)[100]++;
	ck_fine();
	header(1)[100]++;
	ck_fine();
	header(0)[0] = 'H';
	ck_fine();
	header(0)[100]++;
	header(1)[100]++;
	ck_refused("both copies of its header");
	/* A sum of zeros is none. */
	memset(header(0), 0, 4096);
	memset(header(1), 0, 4096);
	ck_refused("both copies of its header");
	put_le64(header(0) + 8, 2);
	build_seal(&b);
	ck_refused("contradict");
	/* Some program makes two that are the same. */
	memcpy(header(0), header(1), 4096);
	ck_fine();
	put_le64(header(1) + 8, UINT64_MAX);
	build_seal(&b);
	ck_fine();
	for (int version = 0; version < 3; version += 2) {
		put_le16(header(1) + 66, version);
		build_seal(&b);
		ck_refused("version");
	}
	put_le16(header(1) + 64, 1);
	build_seal(&b);
	ck_refused("log is of version");
}
END_TEST

START_TEST(logs)
{
	static const struct {
		uint32_t length;
		uint64_t at;
		const char *why;
	} bad[] = {
		{ 0, BUILD_LOG_AT, "impossible" },
		{ 4096, BUILD_LOG_AT, "impossible" },
		{ MIB + 1, BUILD_LOG_AT, "impossible" },
		{ MIB, 0, "impossible" },
		{ MIB, 65536, "impossible" },
		{ MIB, MIB + 512, "impossible" },
		{ MIB, UINT64_MAX - MIB + 1, "cut off" },
		{ MIB, 6 * MIB, "cut off" },
		{ 8 * MIB, BUILD_LOG_AT, "cut off" },
		{ 0xfff00000, BUILD_LOG_AT, "cut off" },
		{ 2 * MIB, BUILD_LOG_AT, "overlap" },
		{ MIB, BUILD_BAT_AT, "overlap" },
	};

	for (size_t i = 0; i < UNIT_LENGTH(bad); i++) {
		put_le32(header(1) + 68, bad[i].length);
		put_le64(header(1) + 72, bad[i].at);
		build_seal(&b);
		ck_refused(bad[i].why);
	}
}
END_TEST

static void put_region(int which, uint64_t at, uint32_t length)
{
	for (int i = 0; i < 2; i++) {
		uint8_t *e = b.bytes + BUILD_REGIONS(i) + 16 + which * 32;

		put_le64(e + 16, at);
		put_le32(e + 24, length);
	}
	build_seal(&b);
}

START_TEST(region_tables)
{
	uint8_t unknown[16] = "something else!";

	b.bytes[BUILD_REGIONS(0) + 5000]++;
	ck_fine();
	b.bytes[BUILD_REGIONS(1) + 5000]++;
	ck_fine();
	b.bytes[BUILD_REGIONS(0) + 5000]++;
	b.bytes[BUILD_REGIONS(1) + 5000]++;
	ck_refused("both copies of its region table");
	for (int i = 0; i < 2; i++)
		put_le32(b.bytes + BUILD_REGIONS(i) + 8, 2048);
	build_seal(&b);
	ck_refused("both copies of its region table");
	for (int i = 0; i < 2; i++)
		put_le32(b.bytes + BUILD_REGIONS(i) + 8, 0xffffffff);
	build_seal(&b);
	ck_refused("both copies of its region table");
	for (int n = 0; n < 2; n++) {
		for (int i = 0; i < 2; i++)
			put_le32(b.bytes + BUILD_REGIONS(i) + 8, n);
		build_seal(&b);
		ck_refused("it has no ");
	}
	build_region(&b, b.bytes + BUILD_REGIONS(0) + 16, 8 * MIB, MIB, 1);
	build_seal(&b);
	ck_refused("twice");
	build_region(&b, unknown, 8 * MIB, MIB, 1);
	build_seal(&b);
	ck_refused("required");
	build_region(&b, unknown, 8 * MIB, MIB, 0);
	build_seal(&b);
	ck_fine();
	build_region(&b, unknown, BUILD_BAT_AT, MIB, 0);
	build_seal(&b);
	ck_refused("overlap");
	build_region(&b, unknown, BUILD_LOG_AT, MIB, 0);
	build_seal(&b);
	ck_refused("overlap");
	for (int i = 0; i < 2045; i++)
		build_region(&b, unknown, (100 + i) * MIB, MIB, 0);
	build_seal(&b);
	ck_complains("many regions", true);
}
END_TEST

START_TEST(region_places)
{
	static const struct {
		uint64_t at;
		uint32_t length;
		const char *why;
	} bad[] = {
		{ 0, MIB, "impossible" },
		{ 65536, MIB, "impossible" },
		{ MIB + 4096, MIB, "impossible" },
		{ 3 * MIB, 0, "impossible" },
		{ 3 * MIB, 4096, "impossible" },
		{ UINT64_MAX - MIB + 1, MIB, "impossible" },
		{ (uint64_t)INT64_MAX + 1, MIB, "impossible" },
		{ 64 * MIB, MIB, "cut off" },
		{ 3 * MIB, 4 * MIB, "cut off" },
		{ 3 * MIB, 0xfff00000, "cut off" },
		{ BUILD_LOG_AT, MIB, "overlap" },
	};

	for (size_t i = 0; i < UNIT_LENGTH(bad); i++)
		for (int which = 0; which < 2; which++) {
			put_region(which, bad[i].at, bad[i].length);
			ck_refused(bad[i].why);
		}
	put_region(0, BUILD_METADATA_AT, MIB);
	ck_refused("overlap");
}
END_TEST

START_TEST(metadata_tables)
{
	uint8_t unknown[16] = "something else!";
	static const struct {
		uint32_t at, length;
	} bad[] = { { 0, 8 },
		    { 65535, 8 },
		    { MIB, 8 },
		    { MIB - 4, 8 },
		    { 0xffffffff, 8 },
		    { 65536, 0 },
		    { 65536, 0x7fffffff },
		    { 65536, 0xffffffff },
		    { 65536, 3 } };

	metadata(0)[0] = 'M';
	ck_refused("damaged");
	put_le16(metadata(10), 2048);
	ck_refused("damaged");
	put_le16(metadata(10), 65535);
	ck_refused("damaged");
	for (int n = 0; n < 4; n++) {
		put_le16(metadata(10), n);
		ck_refused("missing");
	}
	build_item(&b, metadata(32), 65536 + 512, 8, 4);
	ck_refused("same metadata twice");
	build_item(&b, unknown, 65536 + 512, 8, 4);
	ck_refused("required");
	build_item(&b, unknown, 0xffffffff, 0xffffffff, 1);
	ck_fine();
	for (size_t i = 0; i < UNIT_LENGTH(bad); i++)
		for (int item = 0; item < 4; item++) {
			put_le32(metadata(32 + item * 32 + 16), bad[i].at);
			put_le32(metadata(32 + item * 32 + 20), bad[i].length);
			ck_refused("impossible");
		}
}
END_TEST

START_TEST(parameters)
{
	static const uint32_t blocks[] = { 0,       1,       512,      4096,     MIB - 1,
					   MIB + 1, 3 * MIB, 1u << 29, 1u << 31, 0xffffffff };
	static const uint32_t sectors[] = { 0, 1, 511, 513, 1024, 8192, 1u << 31, 0xffffffff };
	static const uint64_t sizes[] = { 0,          1,           511,
					  513,        8 * MIB + 1, (64ull << 40) + 512,
					  1ull << 63, UINT64_MAX,  UINT64_MAX - 511 };

	for (size_t i = 0; i < UNIT_LENGTH(blocks); i++) {
		put_le32(metadata(BUILD_PARAMETERS), blocks[i]);
		ck_refused("blocks have");
	}
	for (size_t i = 0; i < UNIT_LENGTH(sectors); i++) {
		put_le32(metadata(BUILD_LOGICAL), sectors[i]);
		ck_refused("sectors have");
	}
	for (size_t i = 0; i < UNIT_LENGTH(sizes); i++) {
		put_le64(metadata(BUILD_SIZE), sizes[i]);
		ck_refused("cannot have");
	}
	put_le64(metadata(BUILD_SIZE), 8 * MIB + 512);
	put_le32(metadata(BUILD_LOGICAL), 4096);
	ck_refused("cannot have");
	put_le64(metadata(BUILD_SIZE), 64ull << 40);
	ck_refused("too short for its size");
	/* One MiB of table is for 131072 entries. */
	put_le64(metadata(BUILD_SIZE), (131072ull - 131072 / 4097) << 20);
	ck_fine();
	put_le64(metadata(BUILD_SIZE), (131072ull - 131072 / 4097 + 1) << 20);
	ck_refused("too short for its size");
	put_le32(metadata(BUILD_PARAMETERS + 4), BUILD_CHILD);
	ck_refused("does not say which");
}
END_TEST

START_TEST(entries)
{
	static const uint64_t outside[] = { 0,       512ull << 20,      UINT64_MAX - MIB + 1,
					    6 * MIB, (uint64_t)1 << 63, BUILD_DATA_AT + 2 * MIB };

	for (size_t i = 0; i < UNIT_LENGTH(outside); i++) {
		build_bat(&b, 5, outside[i], 6);
		ck_complains("outside", false);
	}
	/* The same place twice, and one that is a table's. */
	build_bat(&b, 5, BUILD_DATA_AT, 6);
	ck_complains("damaged", true);
	build_bat(&b, 5, BUILD_BAT_AT, 6);
	ck_complains("damaged", true);
	build_bat(&b, 5, BUILD_LOG_AT, 6);
	ck_complains("damaged", true);
	for (unsigned state = 4; state < 8; state++)
		if (state != 6) {
			build_bat(&b, 5, BUILD_DATA_AT, state);
			ck_complains("does not exist", true);
		}
	/* Blocks without data may say a place, and bits 3 to 19 mean nothing. */
	for (unsigned state = 0; state < 4; state++) {
		build_bat(&b, 5, BUILD_DATA_AT, state);
		build_bat(&b, 6, UINT64_MAX - MIB + 1, state);
		ck_fine();
	}
	build_bat(&b, 0, BUILD_DATA_AT | 0xffff8, 6);
	ck_fine();
	/* Behind the last block. */
	build_bat(&b, 8, BUILD_DATA_AT, 6);
	build_bat(&b, 100, UINT64_MAX, 7);
	ck_fine();
}
END_TEST

/* A block of which the file has some only is outside as a whole, also after the file got longer. */
START_TEST(half_behind_the_end)
{
	static const uint64_t there[] = { 1, 512, MIB / 2, MIB - 512, MIB - 1 };
	uint8_t *data = malloc(MIB), *zeros = calloc(1, MIB);

	for (size_t i = 0; i < UNIT_LENGTH(there); i++) {
		struct image *img;

		b.size = BUILD_DATA_AT + MIB + there[i];
		img = open_built();
		ck_assert_msg(img, "%s", reason);
		ck_assert(strstr(img->complaint, "outside"));
		ck_assert(!img->read_only);
		for (unsigned written = 0; written < 2; written++) {
			ck_assert_int_eq(vhdx_format.read(img, data, MIB, 3 * MIB, 0), 0);
			ck_assert_mem_eq(data, zeros, MIB);
			ck_assert_int_eq(vhdx_format.write(img, data, MIB, 5 * MIB, 0), 0);
		}
		ck_assert_int_eq(vhdx_format.rest(img), 0);
		ck_assert_msg(!image_reload(img, reason), "%s", reason);
		ck_assert_str_eq(img->complaint, "");
		ck_assert_int_eq(vhdx_format.read(img, data, MIB, 3 * MIB, 0), 0);
		ck_assert_mem_eq(data, zeros, MIB);
		image_close(img);
		again();
	}
	free(zeros);
	free(data);
}
END_TEST

START_TEST(reads_fail)
{
	for (unsigned n = 1;; n++) {
		struct image_around around = { 0 };
		struct file *f = build_file(&b);
		struct image *img;
		int err;

		fake_fail(f, FAKE_READ, n, 1, EIO);
		err = image_open(f, &vhdx_format, &around, &img, reason);
		if (!err) {
			image_close(img);
			ck_assert_uint_gt(n, 6);
			break;
		}
		ck_assert_int_eq(err, -EIO);
		ck_assert(reason[0]);
		f->ops->close(f);
	}
	{
		struct image_around around = { 0 };
		struct file *f = build_file(&b);
		struct image *img;

		fake_fail(f, FAKE_STAT, 1, 1, EIO);
		ck_assert_int_eq(image_open(f, &vhdx_format, &around, &img, reason), -EIO);
		f->ops->close(f);
	}
}
END_TEST

/* Bytes changed anywhere in what is verified, sums made right again. */
START_TEST(noise)
{
	static const uint32_t where[] = { BUILD_HEADER(1), BUILD_REGIONS(0), BUILD_METADATA_AT,
					  BUILD_METADATA_AT + 65536, BUILD_BAT_AT };
	uint64_t seed = 3;
	uint8_t *buf = malloc(MIB);

	for (unsigned i = 0; i < unit_scaled(1500); i++) {
		uint32_t at = where[unit_below(&seed, UNIT_LENGTH(where))];
		struct image *img;

		for (uint64_t n = 1 + unit_below(&seed, 3); n; n--)
			b.bytes[at + unit_below(&seed, 208)] = unit_random(&seed) &
							       unit_random(&seed);
		build_seal(&b);
		img = open_built();
		if (img) {
			uint64_t n = img->size < MIB ? (uint64_t)img->size : MIB;

			ck_assert_int_eq(vhdx_format.read(img, buf, n, 0, 0), 0);
			if (!img->read_only && !vhdx_format.write(img, buf, 512, 0, 0))
				ck_assert_int_eq(vhdx_format.rest(img), 0);
			image_close(img);
		}
		if (i % 4 == 3)
			again();
	}
	free(buf);
}
END_TEST

UNIT_MAIN("vhdx_bad", setup, teardown, any_length, headers, logs, region_tables, region_places,
	  metadata_tables, parameters, entries, half_behind_the_end, reads_fail, noise)

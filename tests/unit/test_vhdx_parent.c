// SPDX-License-Identifier: GPL-2.0-or-later
/* Differencing VHDX: the right parent is found, and each sector comes from where it is. */
#include "vhdx.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "raw.h"
#include "unit.h"
#include "vhdx_build.h"

#define MIB ((uint64_t)1 << 20)
#define GUID_TEXT "{00112233-4455-6677-8899-AABBccddeeff}"

static const uint8_t guid[16] = "\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff";

static struct vhdx_build b;
static char reason[IMAGE_REASON];

/* ---- who finds parents ---- */

static struct {
	char relative[3][64], absolute[3][64];
	unsigned asked;
	unsigned found_at; /* by the nth question; 0: never */
	uint8_t identity[16];
	uint32_t sector;
	uint64_t size;
} library;

static void note(char to[64], const char *name)
{
	snprintf(to, 64, "%s", name ? name : "-");
}

static int find_parent(const struct image_parents *p, const struct parent_name *name,
		       struct image **out, char why[IMAGE_REASON])
{
	struct image_around around = { 0 };
	uint8_t *bytes;
	struct file *f;
	int err;

	ck_assert_uint_lt(library.asked, 3);
	note(library.relative[library.asked], name->relative);
	note(library.absolute[library.asked], name->absolute);
	if (++library.asked != library.found_at)
		return image_fail(why, -ENOENT, "question %u finds nothing", library.asked);
	bytes = malloc(library.size);
	for (uint64_t i = 0; i < library.size; i += 512)
		memset(bytes + i, 'a' + i / 512 % 16, 512);
	f = fake_file_new(bytes, library.size);
	free(bytes);
	err = image_open(f, &raw_format, &around, out, why);
	if (!err) {
		(*out)->sector_size = library.sector;
		memcpy((*out)->identity, library.identity, 16);
	}
	return err;
}

static const struct image_parents parents = { .open = find_parent };

static void setup(void)
{
	memset(&library, 0, sizeof(library));
	library.found_at = 1;
	library.sector = 512;
	library.size = 8 * MIB;
	memcpy(library.identity, guid, 16);
}

static void teardown(void)
{
	build_end(&b);
}

static int open_built(struct image **img)
{
	struct image_around around = { .parents = &parents };
	struct file *f = build_file(&b);
	int err = image_open(f, &vhdx_format, &around, img, reason);

	if (err) {
		f->ops->close(f);
		ck_assert_msg(reason[0], "refused without a reason");
	}
	return err;
}

static void locate(const char *const *pairs)
{
	build_locator(&b, pairs);
}

static void start_child(uint32_t sector)
{
	static const char *const usual[] = { "parent_linkage", GUID_TEXT, "relative_path",
					     "..\\base\\parent.vhdx", NULL };

	build_start(&b, 8 * MIB, 1 << 20, sector, BUILD_CHILD);
	library.sector = sector;
	locate(usual);
}

/* ---- reading ---- */

static uint8_t parent_byte(uint64_t at)
{
	return at < library.size ? 'a' + at / 512 % 16 : 0;
}

/* Which of the child's sectors in the partial block are there: any pattern will do. */
static bool is_there(uint32_t sector)
{
	return (sector * 7 + sector / 9) % 3 == 0;
}

/* Blocks: 0 absent, 1 zero, 2 whole, 3 partly, 4 undefined, 5 partly and full, 6 none of it, 7 0. */
static uint8_t wanted(uint64_t at, uint32_t sector)
{
	uint64_t block = at / MIB;

	switch (block) {
	case 1:
	case 4:
		return 0;
	case 2:
	case 5:
		return '2';
	case 3:
		return is_there(at % MIB / sector) ? '3' : parent_byte(at);
	default:
		return parent_byte(at);
	}
}

static void build_blocks(uint32_t sector)
{
	uint64_t bitmap_at = BUILD_DATA_AT, data_at = BUILD_DATA_AT + MIB;
	uint64_t ratio = ((uint64_t)sector << 23) / MIB;
	uint32_t bytes = MIB / sector / 8;
	uint8_t *bits;

	build_resize(&b, data_at + 4 * MIB);
	bits = b.bytes + bitmap_at;
	/* Blocks that are not partly there have bits, too: they mean nothing. */
	memset(bits, 0x5a, 8 * bytes);
	memset(bits + 3 * bytes, 0, bytes);
	memset(bits + 5 * bytes, 0xff, bytes);
	memset(bits + 6 * bytes, 0, bytes);
	for (uint32_t i = 0; i < bytes * 8; i++)
		if (is_there(i))
			bits[3 * bytes + i / 8] |= 1 << i % 8;
	memset(b.bytes + data_at, '2', MIB);
	memset(b.bytes + data_at + MIB, '3', MIB);
	memset(b.bytes + data_at + 2 * MIB, '2', MIB);
	memset(b.bytes + data_at + 3 * MIB, '6', MIB);
	build_bat(&b, 1, 0, 2);
	build_bat(&b, 2, data_at, 6);
	build_bat(&b, 3, data_at + MIB, 7);
	build_bat(&b, 4, 0, 3);
	build_bat(&b, 5, data_at + 2 * MIB, 7);
	build_bat(&b, 6, data_at + 3 * MIB, 7);
	build_bat(&b, ratio, bitmap_at, 6);
}

static void ck_disk(struct image *img, uint32_t sector)
{
	uint8_t *all = malloc(8 * MIB), *want = malloc(8 * MIB);
	uint64_t seed = 1;

	for (uint64_t i = 0; i < 8 * MIB; i += 512)
		memset(want + i, wanted(i, sector), 512);
	ck_assert_int_eq(vhdx_format.read(img, all, 8 * MIB, 0, 0), 0);
	for (uint64_t i = 0; i < 8 * MIB; i += 512)
		if (memcmp(all + i, want + i, 512))
			ck_abort_msg("at %llu is %02x, shall be %02x", (unsigned long long)i,
				     all[i], want[i]);
	for (int i = 0; i < 300; i++) {
		uint64_t off = unit_below(&seed, 8 * MIB), n = unit_below(&seed, 9000);

		if (n > 8 * MIB - off)
			n = 8 * MIB - off;
		ck_assert_int_eq(vhdx_format.read(img, all, n, off, 0), 0);
		ck_assert(!memcmp(all, want + off, n));
	}
	free(want);
	free(all);
}

static void read_child(uint32_t sector, uint64_t parent_size)
{
	struct image *img;
	char byte = 'x';

	library.size = parent_size;
	library.asked = 0;
	start_child(sector);
	build_blocks(sector);
	ck_assert_msg(!open_built(&img), "%s", reason);
	ck_assert_str_eq(img->kind, "vhdx-differencing");
	ck_assert_ptr_nonnull(img->parent);
	ck_assert(img->read_only);
	ck_assert(img->read_only_because && !img->complaint[0]);
	ck_disk(img, sector);
	ck_assert_int_eq(vhdx_format.write(img, &byte, 1, 0, 0), -EROFS);
	ck_assert_int_eq(vhdx_format.zero(img, 0, MIB, ZERO_PUNCH), -EROFS);
	ck_assert_int_eq(vhdx_format.resize(img, 16 * MIB), -EOPNOTSUPP);
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	image_close(img);
	teardown();
}

START_TEST(reads)
{
	read_child(512, 8 * MIB);
	read_child(4096, 8 * MIB);
	/* What a smaller parent lacks is zeros. */
	read_child(512, 3 * MIB + 512 * 7);
	read_child(512, 16 * MIB);
}
END_TEST

/* 2^23 sectors of 512 bytes are 4 GiB, 16 blocks of 256 MiB: the 18th is of the second chunk. */
START_TEST(second_chunk)
{
	struct image_around around = { .parents = &parents };
	uint64_t at = 17ull << 28, data_at = BUILD_DATA_AT + 2 * MIB;
	char path[256], data[512];
	struct image *img;
	struct file *f;
	uint8_t buf[2048];
	int fd;

	build_start(&b, 5ull << 30, 256 << 20, 512, BUILD_CHILD);
	locate((const char *const[]){ "parent_linkage", GUID_TEXT, "relative_path", "p", NULL });
	build_resize(&b, data_at);
	memset(b.bytes + BUILD_DATA_AT, 0xff, MIB);
	b.bytes[BUILD_DATA_AT + MIB + (256 << 20) / 512 / 8] = 4;
	build_bat(&b, 16, BUILD_DATA_AT, 6);
	build_bat(&b, 33, BUILD_DATA_AT + MIB, 6);
	build_bat(&b, 18, data_at, 7);
	snprintf(path, sizeof(path), "%s/child", unit_dir());
	build_save(&b, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(ftruncate(fd, data_at + (256 << 20)), 0);
	memset(data, 'd', sizeof(data));
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pwrite(fd, data, 512, data_at + i * 512), 512);
	ck_assert_int_eq(file_adopt(fd, false, &f), 0);
	ck_assert_msg(!image_open(f, &vhdx_format, &around, &img, reason), "%s", reason);
	ck_assert_int_eq(vhdx_format.read(img, buf, 2048, at, 0), 0);
	for (int i = 0; i < 2048; i++)
		ck_assert_int_eq(buf[i], i / 512 == 2 ? 'd' : 0);
	image_close(img);
}
END_TEST

/* A log that changes entries and bitmaps. */
START_TEST(reads_through_the_log)
{
	struct build_change c[2];
	uint8_t bat[4096], bits[4096];
	struct image *img;

	start_child(512);
	build_blocks(512);
	memcpy(bat, b.bytes + BUILD_BAT_AT, 4096);
	memcpy(bits, b.bytes + BUILD_DATA_AT, 4096);
	memset(b.bytes + BUILD_BAT_AT, 0xff, 4096);
	memset(b.bytes + BUILD_DATA_AT, 0xff, 4096);
	c[0] = (struct build_change){ BUILD_BAT_AT, bat, 0 };
	c[1] = (struct build_change){ BUILD_DATA_AT, bits, 0 };
	build_log_guid(&b, 9);
	build_log_entry(&b, 255, 1, 255, c, 2);
	ck_assert_msg(!open_built(&img), "%s", reason);
	ck_disk(img, 512);
	image_close(img);
}
END_TEST

START_TEST(bitmaps_are_missing)
{
	static const struct {
		uint64_t place;
		unsigned state;
	} bad[] = { { 0, 0 }, { 0, 6 }, { 64 * MIB, 6 }, { UINT64_MAX - MIB + 1, 6 } };

	for (size_t i = 0; i < UNIT_LENGTH(bad); i++) {
		struct image *img;
		uint8_t byte;

		library.asked = 0;
		start_child(512);
		build_blocks(512);
		build_bat(&b, 4096, bad[i].place, bad[i].state);
		ck_assert_msg(!open_built(&img), "%s", reason);
		ck_assert_msg(strstr(img->complaint, "bitmap"), "%s", img->complaint);
		ck_assert_int_eq(vhdx_format.read(img, &byte, 1, 3 * MIB, 0), 0);
		ck_assert_int_eq(byte, parent_byte(3 * MIB));
		image_close(img);
		teardown();
	}
	b.bytes = NULL;
}
END_TEST

/* ---- finding ---- */

static void ck_refused(const char *why)
{
	struct image *img;

	library.asked = 0;
	ck_assert_msg(open_built(&img), "was not refused: %s", why);
	ck_assert_msg(strstr(reason, why), "refused for '%s', not '%s'", reason, why);
}

START_TEST(asks_for_the_parent)
{
	static const char *const pairs[] = {
		"volume_path",
		"\\\\?\\Volume{1234}\\base\\p.vhdx",
		"parent_linkage",
		GUID_TEXT,
		"something_new",
		"x",
		"relative_path",
		".\\sub\\p.vhdx",
		"absolute_win32_path",
		"\\\\?\\C:\\base\\p.vhdx",
		NULL,
	};
	struct image *img;

	start_child(512);
	locate(pairs);
	ck_assert_msg(!open_built(&img), "%s", reason);
	image_close(img);
	ck_assert_uint_eq(library.asked, 1);
	ck_assert_str_eq(library.relative[0], "./sub/p.vhdx");
	ck_assert_str_eq(library.absolute[0], "-");

	library.asked = 0;
	library.found_at = 3;
	ck_assert_msg(!open_built(&img), "%s", reason);
	ck_assert_str_eq(reason, "");
	image_close(img);
	ck_assert_str_eq(library.absolute[1], "C:/base/p.vhdx");
	ck_assert_str_eq(library.absolute[2], "Volume{1234}/base/p.vhdx");
	ck_assert_str_eq(library.relative[1], "-");

	library.found_at = 0;
	ck_refused("question 1");
}
END_TEST

/* The names of another machine's file are passed on whole: who finds parents refuses them. */
START_TEST(asks_for_a_parent_on_a_server)
{
	struct image *img;

	start_child(512);
	locate((const char *const[]){ "parent_linkage", GUID_TEXT, "relative_path",
				      "\\\\server\\share\\p.vhdx", "absolute_win32_path",
				      "\\\\server\\share\\p.vhdx", "volume_path",
				      "\\\\?\\UNC\\server\\share\\p.vhdx", NULL });
	library.found_at = 3;
	ck_assert_msg(!open_built(&img), "%s", reason);
	image_close(img);
	ck_assert_uint_eq(library.asked, 3);
	ck_assert_str_eq(library.relative[0], "//server/share/p.vhdx");
	ck_assert_str_eq(library.absolute[1], "//server/share/p.vhdx");
	ck_assert_str_eq(library.absolute[2], "UNC/server/share/p.vhdx");
	library.found_at = 0;
	ck_refused("question 1");
}
END_TEST

START_TEST(wrong_parents)
{
	struct image *img;

	start_child(512);
	library.identity[15]++;
	ck_refused("was changed");
	library.identity[15]--;
	library.sector = 4096;
	ck_refused("sectors");
	library.sector = 512;
	/* Its name before it was merged counts as well. */
	locate((const char *const[]){ "parent_linkage", "{ffffffff-ffff-ffff-ffff-ffffffffffff}",
				      "parent_linkage2", GUID_TEXT, "relative_path", "p", NULL });
	library.asked = 0;
	ck_assert_msg(!open_built(&img), "%s", reason);
	image_close(img);
	/* A parent without a name is nobody's. */
	memset(library.identity, 0, 16);
	locate((const char *const[]){ "parent_linkage", "{00000000-0000-0000-0000-000000000000}",
				      "relative_path", "p", NULL });
	ck_refused("was changed");
}
END_TEST

START_TEST(nobody_finds_parents)
{
	struct image_around around = { 0 };
	struct image *img;
	struct file *f;

	start_child(512);
	f = build_file(&b);
	ck_assert_int_ne(image_open(f, &vhdx_format, &around, &img, reason), 0);
	ck_assert_msg(strstr(reason, "cannot be looked for"), "%s", reason);
	f->ops->close(f);
}
END_TEST

START_TEST(bad_locators)
{
	static const char *const texts[] = { "",
					     "{}",
					     "0011",
					     "{00112233-4455-6677-8899-AABBccddeef}",
					     "00112233445566778899AABBccddeeff",
					     "{00112233-4455-6677-8899-AABBccddeeff",
					     "{00112233-4455-6677-8899-AABBccddeeff}x",
					     "{0011223x-4455-6677-8899-AABBccddeeff}" };
	uint8_t *l;

	start_child(512);
	for (size_t i = 0; i < UNIT_LENGTH(texts); i++) {
		locate((const char *const[]){ "parent_linkage", texts[i], "relative_path", "p",
					      NULL });
		ck_refused("was changed");
	}
	locate((const char *const[]){ "relative_path", "p", NULL });
	ck_refused("was changed");
	locate((const char *const[]){ "parent_linkage", GUID_TEXT, NULL });
	ck_refused("does not say where");
	locate((const char *const[]){ "relative_path", "p", "relative_path", "q", NULL });
	ck_refused("damaged");

	l = b.bytes + BUILD_METADATA_AT + BUILD_LOCATOR;
	for (unsigned field = 0; field < 12; field++) {
		locate((const char *const[]){ "parent_linkage", GUID_TEXT, "relative_path", "p",
					      NULL });
		memset(l + 20 + field, 0xff, field == 8 || field == 10 ? 2 : 1);
		library.asked = 0;
		/* It names something else, or nothing. */
		ck_refused("");
	}
	locate((const char *const[]){ "parent_linkage", GUID_TEXT, "relative_path", "p", NULL });
	put_le16(l + 18, 65535);
	ck_refused("damaged");
	put_le16(l + 18, 0);
	ck_refused("does not say where");
	l[0]++;
	ck_refused("unknown way");
}
END_TEST

static void put_relative(const uint16_t *text, size_t length)
{
	uint8_t *l = b.bytes + BUILD_METADATA_AT + BUILD_LOCATOR;

	locate((const char *const[]){ "parent_linkage", GUID_TEXT, "relative_path", "p", NULL });
	for (size_t i = 0; i < length; i++)
		put_le16(l + 2048 + 2 * i, text[i]);
	put_le32(l + 20 + 12 + 4, 2048);
	put_le16(l + 20 + 12 + 10, 2 * length);
}

START_TEST(names_in_utf16)
{
	static const uint16_t good[] = { 'a', 0xe4, 0x20ac, '\\', 0xd83d, 0xde00 };
	static const uint16_t bad[][2] = { { 'a', 0 },
					   { 0xd83d, 'x' },
					   { 0xde00, 0xd83d },
					   { 'a', 0xd83d } };
	struct image *img;

	start_child(512);
	put_relative(good, 6);
	ck_assert_msg(!open_built(&img), "%s", reason);
	image_close(img);
	ck_assert_str_eq(library.relative[0], "a\xc3\xa4\xe2\x82\xac/\xf0\x9f\x98\x80");
	for (size_t i = 0; i < UNIT_LENGTH(bad); i++) {
		put_relative(bad[i], 2);
		ck_refused("damaged");
	}
	put_relative(good, 6);
	put_le16(b.bytes + BUILD_METADATA_AT + BUILD_LOCATOR + 20 + 12 + 10, 5);
	ck_refused("damaged");
}
END_TEST

UNIT_MAIN("vhdx_parent", setup, teardown, reads, second_chunk, reads_through_the_log,
	  bitmaps_are_missing, asks_for_the_parent, asks_for_a_parent_on_a_server, wrong_parents,
	  nobody_finds_parents, bad_locators, names_in_utf16)

// SPDX-License-Identifier: GPL-2.0-or-later
/* Notes beside an image that this program would not have written: what cannot be is not believed. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block_inner.h"
#include "fake_file.h"
#include "notes.h"
#include "unit.h"
#include "vhd.h"
#include "vhd_inner.h"
#include "vhdx.h"
#include "vhdx_build.h"
#include "vhdx_inner.h"

#define MIB ((uint64_t)1 << 20)
#define NAME "1"

static const uint8_t boot[16] = "this boot";
static char reason[IMAGE_REASON];
static struct vhdx_build b;
static int dirfd;

static void setup(void)
{
	build_start(&b, 8 * MIB, 1 << 20, 512, 0);
	build_resize(&b, BUILD_DATA_AT + 2 * MIB);
	memset(b.bytes + BUILD_DATA_AT, 'x', 2 * MIB);
	build_bat(&b, 0, BUILD_DATA_AT, 6);
	dirfd = open(unit_dir(), O_RDONLY | O_DIRECTORY);
	ck_assert_int_ge(dirfd, 0);
}

static void teardown(void)
{
	close(dirfd);
	build_end(&b);
}

static struct image *open_beside(struct file *f, const struct image_format *format,
				 struct notes *notes)
{
	struct image_around around = { .notes = notes };
	struct image *img;

	ck_assert_msg(!image_open(f, format, &around, &img, reason), "%s", reason);
	return img;
}

/* One note that is bound to the image, which is closed. */
static struct notes *notes_for(struct image *img, const struct block_tables *tables, uint32_t kind,
			       const void *note, size_t len)
{
	uint8_t binding[NOTES_BINDING] = { 0 };
	struct notes *notes;

	tables->binding(img, binding);
	image_close(img);
	ck_assert_int_eq(notes_open(dirfd, NAME, boot, &notes), 0);
	ck_assert_int_eq(notes_begin(notes, binding), 0);
	ck_assert_int_eq(notes_add(notes, kind, note, len, NULL, 0), 0);
	notes_close(notes);
	ck_assert_int_eq(notes_open(dirfd, NAME, boot, &notes), 0);
	return notes;
}

/* The VHDX, beside one note. */
static struct image *open_with(uint32_t kind, const void *note, size_t len)
{
	struct image *img = open_beside(build_file(&b), &vhdx_format, NULL);
	struct notes *notes = notes_for(img, &vhdx_tables, kind, note, len);

	return open_beside(build_file(&b), &vhdx_format, notes);
}

static void ck_reads(struct image *img)
{
	uint8_t *all = malloc(8 * MIB);

	ck_assert_int_eq(vhdx_format.read(img, all, 8 * MIB, 0, 0), 0);
	ck_assert_int_eq(all[0], 'x');
	free(all);
}

START_TEST(right_ones)
{
	struct note_entry note = { 5, BLOCK_ENTRY(BLOCK_PRESENT, BUILD_DATA_AT + MIB) };
	struct image *img = open_with(NOTE_ENTRY, &note, sizeof(note));
	char c;

	ck_assert(!img->in_doubt && !img->read_only);
	ck_assert_int_eq(vhdx_format.read(img, &c, 1, 5 * MIB, 0), 0);
	ck_assert_int_eq(c, 'x');
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	image_close(img);
}
END_TEST

START_TEST(wrong_entries)
{
	static const struct note_entry wrong[] = {
		{ 8, BLOCK_ENTRY(BLOCK_PRESENT, BUILD_DATA_AT + MIB) },
		{ UINT64_MAX, BLOCK_ENTRY(BLOCK_PRESENT, BUILD_DATA_AT + MIB) },
		{ 5, BLOCK_ENTRY(BLOCK_PRESENT, 0) },
		{ 5, BLOCK_ENTRY(BLOCK_PRESENT, BUILD_DATA_AT + MIB + 512) },
		{ 5, BLOCK_ENTRY(BLOCK_ZERO, 0) },
		/* In a VHDX nobody writes these: there is no bitmap that it could have. */
		{ 5, BLOCK_ENTRY(BLOCK_PARTIAL, BUILD_DATA_AT + MIB) },
	};

	for (size_t i = 0; i < UNIT_LENGTH(wrong); i++) {
		struct image *img = open_with(NOTE_ENTRY, &wrong[i], sizeof(wrong[i]));

		ck_assert_msg(img->in_doubt && img->read_only, "case %zu", i);
		ck_reads(img);
		image_close(img);
	}
}
END_TEST

START_TEST(wrong_bits)
{
	struct note_bits bits = { .block = 0, .first = 0, .count = 1 };
	struct image *img = open_with(NOTE_BITS, &bits, sizeof(bits));

	ck_assert(img->in_doubt && img->read_only);
	ck_reads(img);
	image_close(img);
}
END_TEST

#define PLACE 4096

/* A VHD of one block whose bitmap says that nothing of it is there. */
static uint8_t *empty_block(uint64_t *size)
{
	struct image_create c = { .kind = "vhd", .size = 65536, .block_size = 65536 };
	struct file *f = fake_file_new(NULL, 0);
	struct image *img;
	uint8_t *bytes;

	ck_assert_msg(!vhd_format.create(f, &c, reason), "%s", reason);
	img = open_beside(f, &vhd_format, NULL);
	ck_assert_int_eq(vhd_format.write(img, "old", 3, 512, 0), 0);
	ck_assert_int_eq(vhd_format.rest(img), 0);
	bytes = fake_crash(f, 1, size);
	image_close(img);
	ck_assert_uint_eq(bytes[PLACE - 512], 0xff);
	memset(bytes + PLACE - 512, 0, 512);
	return bytes;
}

/* The table of a VHD cannot say that a block is there as a whole: no note makes it so. */
START_TEST(bitmap_counts)
{
	struct note_entry note = { 0, BLOCK_ENTRY(BLOCK_PRESENT, PLACE) };
	uint64_t size;
	uint8_t *bytes = empty_block(&size), now[1024];
	struct file *f = fake_file_new(bytes, size);
	struct image *img = open_beside(fake_file_new(bytes, size), &vhd_format, NULL);
	struct notes *notes = notes_for(img, &vhd_tables, NOTE_ENTRY, &note, sizeof(note));

	free(bytes);
	img = open_beside(f, &vhd_format, notes);
	ck_assert(!img->in_doubt && !img->read_only);
	ck_assert_int_eq(vhd_format.write(img, "new", 3, 0, 0), 0);
	ck_assert_int_eq(vhd_format.rest(img), 0);
	bytes = fake_crash(f, 1, &size);
	image_close(img);
	img = open_beside(fake_file_new(bytes, size), &vhd_format, NULL);
	free(bytes);
	ck_assert_int_eq(vhd_format.read(img, now, sizeof(now), 0, 0), 0);
	ck_assert_mem_eq(now, "new", 3);
	ck_assert_uint_eq(now[512], 0);
	image_close(img);
}
END_TEST

/* ---- another program writes a VHD after we died ---- */

#define BLOCK (64u << 10)
#define TABLE 1536
#define THIRD (PLACE + 2 * (BLOCK + 4096))

static struct file *file;
static struct image *live;

static struct notes *open_notes(void)
{
	struct notes *notes;

	ck_assert_int_eq(notes_open(dirfd, NAME, boot, &notes), 0);
	return notes;
}

static void ck_writes(const char *text, unsigned block)
{
	ck_assert_int_eq(vhd_format.write(live, text, strlen(text), block * BLOCK, 0), 0);
}

static void ck_discards(unsigned block)
{
	ck_assert_int_eq(vhd_format.zero(live, block * BLOCK, BLOCK, ZERO_PUNCH), 0);
}

static void live_one(void)
{
	struct image_create c = { .kind = "vhd", .size = 8 * BLOCK, .block_size = BLOCK };

	file = fake_file_new(NULL, 0);
	ck_assert_msg(!vhd_format.create(file, &c, reason), "%s", reason);
	live = open_beside(file, &vhd_format, open_notes());
}

static void killed(void)
{
	struct file *left = fake_twin(file);

	image_close(live);
	file = left;
}

static void they_write(uint64_t at, const void *bytes, size_t len)
{
	ck_assert_int_eq(file->ops->write(file, bytes, len, at, 0), 0);
}

static void they_say(unsigned block, uint64_t place)
{
	uint8_t sector[4];

	put_be32(sector, (place - 512) / 512);
	they_write(TABLE + block * 4, sector, sizeof(sector));
}

/* "theirs", behind everything. */
static void they_add(unsigned block)
{
	uint8_t ones[512];

	memset(ones, 0xff, sizeof(ones));
	ck_assert_int_eq(file->ops->resize(file, THIRD + BLOCK), 0);
	they_write(THIRD - 512, ones, sizeof(ones));
	they_write(THIRD, "theirs", 7);
	they_say(block, THIRD);
}

static void start_again(void)
{
	live = open_beside(file, &vhd_format, open_notes());
}

static void ck_block(unsigned block, const char *text)
{
	char now[8] = "";

	ck_assert_int_eq(vhd_format.read(live, now, sizeof(now), block * BLOCK, 0), 0);
	ck_assert_str_eq(now, text);
}

static void ck_fits(void)
{
	ck_assert(!live->in_doubt && !live->read_only);
	ck_assert_int_eq(vhd_format.rest(live), 0);
	image_close(live);
	unlinkat(dirfd, NAME, 0);
}

static void ck_doubted(void)
{
	ck_assert(live->in_doubt && live->read_only);
	image_close(live);
	unlinkat(dirfd, NAME, 0);
}

/* Block 5 is at a place that the table names, and was discarded since. */
static void die_after_discard(void)
{
	live_one();
	ck_writes("old", 5);
	ck_assert_int_eq(vhd_format.rest(live), 0);
	ck_discards(5);
}

START_TEST(written_where_was_discarded)
{
	static const uint8_t zeros[BLOCK];

	die_after_discard();
	killed();
	start_again();
	ck_block(5, "");
	ck_fits();
	die_after_discard();
	killed();
	they_write(PLACE, zeros, BLOCK);
	start_again();
	ck_block(5, "");
	ck_fits();
	die_after_discard();
	killed();
	they_write(PLACE + BLOCK - 1, "q", 1);
	start_again();
	ck_doubted();
	die_after_discard();
	ck_writes("new", 5);
	killed();
	they_write(PLACE + 512, "q", 1);
	start_again();
	ck_doubted();
}
END_TEST

/* Block 5 is new, noted only, and at a place in front of others. */
static void die_after_write(void)
{
	live_one();
	ck_writes("low", 0);
	ck_writes("high", 1);
	ck_assert_int_eq(vhd_format.rest(live), 0);
	ck_discards(0);
	ck_assert_int_eq(vhd_format.flush(live), 0);
	ck_writes("new", 5);
	killed();
}

START_TEST(a_block_that_they_added_too)
{
	die_after_write();
	start_again();
	ck_block(5, "new");
	ck_fits();
	die_after_write();
	they_add(5);
	start_again();
	ck_doubted();
}
END_TEST

/* What they added is none of ours: both are there. */
START_TEST(a_block_that_they_added_alone)
{
	die_after_write();
	they_add(6);
	start_again();
	ck_block(5, "new");
	ck_block(6, "theirs");
	ck_block(1, "high");
	ck_fits();
}
END_TEST

/* We died when the tables had it, and the notes had not gone yet. */
START_TEST(tables_have_it_already)
{
	die_after_write();
	they_say(5, PLACE);
	start_again();
	ck_block(5, "new");
	ck_fits();
}
END_TEST

/* These do not tell what was before. */
START_TEST(notes_of_earlier_versions)
{
	struct note_entry note = { 5, BLOCK_ENTRY(BLOCK_ABSENT, 0), 0 };
	struct notes *notes;

	die_after_discard();
	killed();
	live = open_beside(fake_twin(file), &vhd_format, NULL);
	notes = notes_for(live, &vhd_tables, NOTE_ENTRY, &note, 16);
	live = open_beside(fake_twin(file), &vhd_format, notes);
	ck_block(5, "");
	ck_fits();
	live = open_beside(fake_twin(file), &vhd_format, NULL);
	notes = notes_for(live, &vhd_tables, NOTE_ENTRY, &note, 24);
	live = open_beside(file, &vhd_format, notes);
	ck_doubted();
}
END_TEST

UNIT_MAIN("block_load", setup, teardown, right_ones, wrong_entries, wrong_bits, bitmap_counts,
	  written_where_was_discarded, a_block_that_they_added_too, a_block_that_they_added_alone,
	  tables_have_it_already, notes_of_earlier_versions)

// SPDX-License-Identifier: GPL-2.0-or-later
/* Notes beside an image that this program would not have written: nothing of it is believed. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block_inner.h"
#include "notes.h"
#include "unit.h"
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

static struct image *open_beside(struct notes *notes)
{
	struct image_around around = { .notes = notes };
	struct image *img;

	ck_assert_msg(!image_open(build_file(&b), &vhdx_format, &around, &img, reason), "%s",
		      reason);
	return img;
}

/* The image, beside one note that is bound to it. */
static struct image *open_with(uint32_t kind, const void *note, size_t len)
{
	struct image *img = open_beside(NULL);
	uint8_t binding[NOTES_BINDING] = { 0 };
	struct notes *notes;

	vhdx_tables.binding(img, binding);
	image_close(img);
	ck_assert_int_eq(notes_open(dirfd, NAME, boot, &notes), 0);
	ck_assert_int_eq(notes_begin(notes, binding), 0);
	ck_assert_int_eq(notes_add(notes, kind, note, len, NULL, 0), 0);
	notes_close(notes);
	ck_assert_int_eq(notes_open(dirfd, NAME, boot, &notes), 0);
	return open_beside(notes);
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

UNIT_MAIN("block_load", setup, teardown, right_ones, wrong_entries, wrong_bits)

// SPDX-License-Identifier: GPL-2.0-or-later
#include "image.h"

#include <errno.h>
#include <string.h>

#include "fake_file.h"
#include "raw.h"
#include "unit.h"

START_TEST(names)
{
	// clang-format off
	static const struct {
		const char *name, *format; /* NULL: not called like a disk */
		bool needs_sectors;
	} list[] = {
		{ "a.img", "raw" }, { "a.raw", "raw" }, { "a.iso", "raw" }, { "A.IMG", "raw" },
		{ "a.Raw", "raw" }, { "a.b.img", "raw" }, { "a.img.raw", "raw" }, { "-rf.img", "raw" },
		{ "%s%n.img", "raw" }, { "a\n.img", "raw" }, { "\xff.img", "raw" }, { " .img", "raw" },
		{ "a.vhd", "vhd" }, { "a.avhd", "vhd" }, { "a.VHDX", "vhdx" }, { "a.avhdx", "vhdx" },
		{ "a.qcow2", "qcow2" }, { "a.VMDK", "vmdk" }, { "a.vdi", "vdi" },
		{ "a.hdd", "parallels" }, { "a.qed", "qed" },
		{ "a", "raw", true }, { "disk1", "raw", true }, { "-", "raw", true },
		{ "" }, { "." }, { ".." }, { ".img" }, { ".tandem" }, { ".a.img" }, { "a." },
		{ "a.img." }, { "a.img~" }, { "a.img.bak" }, { "a.txt" }, { "a.im" }, { "a.imgx" },
		{ "a.img " }, { "a.part" }, { "a.qcow" },
	};
	// clang-format on

	for (size_t i = 0; i < UNIT_LENGTH(list); i++) {
		struct image_name n = image_name_classify(list[i].name);

		ck_assert_msg(!!n.format == !!list[i].format, "%s", list[i].name);
		if (n.format)
			ck_assert_str_eq(n.format->name, list[i].format);
		ck_assert_msg(n.needs_sectors == list[i].needs_sectors, "%s", list[i].name);
	}
}
END_TEST

/* A member that says what it can't do is NULL; the others are there. */
START_TEST(every_format_keeps_the_contract)
{
	ck_assert_ptr_eq(image_formats[0], &raw_format);
	for (size_t i = 0; image_formats[i]; i++) {
		const struct image_format *f = image_formats[i];

		ck_assert_ptr_eq(image_format_named(f->kinds[0], NULL), f);
		ck_assert(f->open && f->close && f->read && f->write && f->flush && f->zero &&
			  f->seek);
		ck_assert_ptr_nonnull(f->endings[0]);
		for (const char *const *e = f->endings; *e; e++) {
			char name[40] = "x.";

			ck_assert_ptr_eq(image_name_classify(strcat(name, *e)).format, f);
		}
	}
	ck_assert_ptr_eq(image_format_named("RAW", NULL), &raw_format);
	ck_assert_ptr_null(image_format_named("", NULL));
	ck_assert_ptr_null(image_format_named("raw ", NULL));
	ck_assert_ptr_null(image_format_named("nothing", NULL));
}
END_TEST

START_TEST(opens_and_closes)
{
	struct file *file = fake_file_new(NULL, 8192);
	struct image_around around = { .read_only = true };
	char reason[IMAGE_REASON];
	struct image *img = NULL;

	fake_fail(file, FAKE_STAT, 1, 1, EIO);
	ck_assert_int_eq(image_open(file, &raw_format, &around, &img, reason), -EIO);
	ck_assert_ptr_null(img);
	ck_assert_str_ne(reason, "");
	/* The file is still the caller's. */
	ck_assert_int_eq(image_open(file, &raw_format, &around, &img, reason), 0);
	ck_assert(img->read_only && img->format == &raw_format && img->file == file);
	image_close(img);
	image_close(NULL);
}
END_TEST

UNIT_MAIN("image", NULL, NULL, names, every_format_keeps_the_contract, opens_and_closes)

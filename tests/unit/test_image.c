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
		const char *name, *ending; /* NULL: not called like a disk */
		bool served, needs_sectors;
	} list[] = {
		{ "a.img", "img", true }, { "a.raw", "raw", true }, { "a.iso", "iso", true },
		{ "A.IMG", "img", true }, { "a.Raw", "raw", true }, { "a.b.img", "img", true },
		{ "a.img.raw", "raw", true }, { "-rf.img", "img", true }, { "%s%n.img", "img", true },
		{ "a\n.img", "img", true }, { "\xff.img", "img", true }, { " .img", "img", true },
		{ "a.vhd", "vhd" }, { "a.avhd", "avhd" }, { "a.vhdx", "vhdx" }, { "a.avhdx", "avhdx" },
		{ "a.qcow2", "qcow2" }, { "a.VMDK", "vmdk" }, { "a.vdi", "vdi" },
		{ "a", "", true, true }, { "disk1", "", true, true }, { "-", "", true, true },
		{ "" }, { "." }, { ".." }, { ".img" }, { ".tandem" }, { ".a.img" }, { "a." },
		{ "a.img." }, { "a.img~" }, { "a.img.bak" }, { "a.txt" }, { "a.im" }, { "a.imgx" },
		{ "a.img " }, { "a.part" }, { "a.qcow" },
	};
	// clang-format on

	for (size_t i = 0; i < UNIT_LENGTH(list); i++) {
		struct image_name n = image_name_classify(list[i].name);

		ck_assert_msg(n.known == (list[i].ending != NULL), "%s", list[i].name);
		if (n.known)
			ck_assert_str_eq(n.ending, list[i].ending);
		ck_assert_msg(!!n.format == list[i].served, "%s", list[i].name);
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

		ck_assert_ptr_eq(image_format_named(f->name), f);
		ck_assert(f->open && f->close && f->read && f->write && f->flush && f->zero &&
			  f->seek);
		ck_assert_ptr_nonnull(f->endings[0]);
		for (const char *const *e = f->endings; *e; e++) {
			char name[40] = "x.";

			ck_assert_ptr_eq(image_name_classify(strcat(name, *e)).format, f);
		}
	}
	ck_assert_ptr_eq(image_format_named("RAW"), &raw_format);
	ck_assert_ptr_null(image_format_named(""));
	ck_assert_ptr_null(image_format_named("raw "));
	ck_assert_ptr_null(image_format_named("nothing"));
}
END_TEST

START_TEST(opens_and_closes)
{
	struct file *file = fake_file_new(NULL, 8192);
	const char *reason = "";
	struct image *img = NULL;

	fake_fail(file, FAKE_STAT, 1, 1, EIO);
	ck_assert_int_eq(image_open(file, &raw_format, true, &img, &reason), -EIO);
	ck_assert_ptr_null(img);
	ck_assert_str_ne(reason, "");
	/* The file is still the caller's. */
	ck_assert_int_eq(image_open(file, &raw_format, true, &img, &reason), 0);
	ck_assert(img->read_only && img->format == &raw_format && img->file == file);
	image_close(img);
	image_close(NULL);
}
END_TEST

UNIT_MAIN("image", NULL, NULL, names, every_format_keeps_the_contract, opens_and_closes)

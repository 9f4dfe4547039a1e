// SPDX-License-Identifier: GPL-2.0-or-later
/* VHD: what we make others read, and what others make we read. test_vhd_bad.c: what is wrong. */
#include "vhd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "fake_file.h"
#include "unit.h"
#include "vhd_inner.h"

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

/* The whole disk is what the twin is. */
static void ck_same(const struct image *image, const uint8_t *twin, uint64_t size)
{
	uint8_t *all = malloc(size);

	ck_assert_int_eq(image->format->read((struct image *)image, all, size, 0, 0), 0);
	for (uint64_t i = 0; memcmp(all, twin, size) && i < size; i++)
		if (all[i] != twin[i])
			ck_abort_msg("byte %llu: %d, not %d", (unsigned long long)i, all[i],
				     twin[i]);
	free(all);
}

/* Random work on the image and on a twin in memory. */
static void work(struct image *image, uint8_t *twin, uint64_t size, unsigned rounds, uint64_t seed)
{
	uint8_t *data = malloc(4 * BLOCK);

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t off = unit_below(&seed, size), len = 1 + unit_below(&seed, 3 * BLOCK);
		unsigned what = unit_below(&seed, 10);

		if (unit_below(&seed, 2)) {
			off &= ~511ull;
			len = (len + 511) & ~511ull;
		}
		if (what == 0) {
			off -= off % BLOCK;
			len = BLOCK * (1 + unit_below(&seed, 3));
		}
		if (len > size - off)
			len = size - off;
		memset(data, 1 + i % 255, len);
		if (what < 2) {
			ck_assert_int_eq(vhd_format.zero(image, off, len,
							 what ? ZERO_KEEP : ZERO_PUNCH),
					 0);
			memset(twin + off, 0, len);
		} else if (what == 2) {
			ck_assert_int_eq(vhd_format.flush(image), 0);
		} else {
			ck_assert_int_eq(vhd_format.write(image, data, len, off, 0), 0);
			memcpy(twin + off, data, len);
		}
	}
	free(data);
}

static void work_and_look(const char *kind, uint32_t block_size)
{
	uint8_t *twin = calloc(1, SIZE);
	struct image *again;
	uint64_t size;
	uint8_t *bytes;

	open_kind(kind, block_size);
	ck_assert_str_eq(img->kind, kind);
	ck_assert_uint_eq(img->size, SIZE);
	for (unsigned i = 0; i < 4; i++) {
		work(img, twin, SIZE, unit_scaled(200), i);
		ck_same(img, twin, SIZE);
		ck_assert_int_eq(vhd_format.rest(img), 0);
		bytes = fake_crash(file, i, &size);
		ck_assert_msg(!open_image(fake_file_new(bytes, size), &again), "%s", reason);
		ck_assert_str_eq(again->complaint, "");
		ck_same(again, twin, SIZE);
		image_close(again);
		free(bytes);
	}
	free(twin);
}

START_TEST(dynamic)
{
	work_and_look("vhd", BLOCK);
}
END_TEST

START_TEST(dynamic_small_blocks)
{
	work_and_look("vhd", 4096);
}
END_TEST

START_TEST(dynamic_large_blocks)
{
	work_and_look("vhd", 2 << 20);
}
END_TEST

START_TEST(fixed)
{
	work_and_look("vhd-fixed", 0);
}
END_TEST

static uint64_t taken(struct file *f)
{
	struct file_stat st;

	ck_assert_int_eq(f->ops->stat(f, &st), 0);
	return st.allocated;
}

static uint64_t length(struct file *f)
{
	struct file_stat st;

	ck_assert_int_eq(f->ops->stat(f, &st), 0);
	return st.size;
}

START_TEST(discards_give_space_back)
{
	uint8_t *data = malloc(SIZE);
	uint64_t before, empty;

	open_kind("vhd", BLOCK);
	memset(data, 7, SIZE);
	empty = length(file);
	ck_assert_int_eq(vhd_format.write(img, data, SIZE, 0, 0), 0);
	ck_assert_int_eq(vhd_format.rest(img), 0);
	before = length(file);
	ck_assert_int_eq(vhd_format.zero(img, 0, 20 * BLOCK, ZERO_PUNCH), 0);
	ck_assert_uint_lt(taken(file), before - 19 * BLOCK);
	/* Their places are used again, but only after a flush. */
	ck_assert_int_eq(vhd_format.flush(img), 0);
	ck_assert_int_eq(vhd_format.write(img, data, 20 * BLOCK, 0, 0), 0);
	ck_assert_int_eq(vhd_format.rest(img), 0);
	ck_assert_uint_eq(length(file), before);
	ck_assert_int_eq(vhd_format.zero(img, 0, SIZE, ZERO_PUNCH), 0);
	ck_assert_int_eq(vhd_format.rest(img), 0);
	ck_assert_uint_eq(length(file), empty);
	free(data);
}
END_TEST

static void grow_and_look(const char *kind, uint32_t block_size)
{
	uint8_t *twin = calloc(1, 3 * SIZE);
	struct image *again;

	open_kind(kind, block_size);
	work(img, twin, SIZE, unit_scaled(100), 5);
	ck_assert_int_eq(vhd_format.resize(img, SIZE - 512), -EOPNOTSUPP);
	ck_assert_int_eq(vhd_format.resize(img, SIZE + 1), -EINVAL);
	ck_assert_int_eq(vhd_format.resize(img, VHD_SIZE_MAX + 512), -EFBIG);
	ck_assert_uint_eq(img->size, SIZE);
	for (uint64_t size = SIZE + 512; size <= 3 * SIZE; size += SIZE / 3 / 512 * 512) {
		ck_assert_int_eq(vhd_format.resize(img, size), 0);
		ck_assert_uint_eq(img->size, size);
		ck_same(img, twin, size);
		work(img, twin, size, 20, size);
	}
	ck_assert_int_eq(vhd_format.rest(img), 0);
	ck_assert_int_eq(image_reload(img, reason), 0);
	ck_same(img, twin, img->size);
	again = img;
	ck_assert_str_eq(again->complaint, "");
	free(twin);
}

START_TEST(grows_dynamic)
{
	grow_and_look("vhd", BLOCK);
}
END_TEST

START_TEST(grows_fixed)
{
	grow_and_look("vhd-fixed", 0);
}
END_TEST

/* ---- differencing ---- */

static struct image *parent;

static int give_parent(const struct image_parents *p, const struct parent_name *name,
		       struct image **out, char why[IMAGE_REASON])
{
	/* The first is asked for alone. */
	if (!name->relative) {
		ck_assert_str_eq(name->absolute, "/images/base.vhd");
		return image_fail(why, -ENOENT, "it is not there");
	}
	ck_assert_str_eq(name->relative, "./base.vhd");
	ck_assert_ptr_null(name->absolute);
	*out = parent;
	return 0;
}

static const struct image_parents parents = { .open = give_parent };

static struct file *make_child(uint64_t size, uint32_t block_size)
{
	struct image_create c = {
		.kind = "vhd",
		.size = size,
		.block_size = block_size,
		.parent = parent,
		.parent_at = { .relative = "base.vhd", .absolute = "/images/base.vhd" },
	};
	struct file *f = fake_file_new(NULL, 0);

	ck_assert_msg(!vhd_format.create(f, &c, reason), "%s", reason);
	return f;
}

START_TEST(differencing)
{
	struct image_around around = { .parents = &parents };
	uint8_t *twin = calloc(1, SIZE + BLOCK), *below = calloc(1, SIZE);

	open_kind("vhd", BLOCK);
	work(img, below, SIZE, unit_scaled(100), 9);
	ck_assert_int_eq(vhd_format.rest(img), 0);
	memcpy(twin, below, SIZE);
	parent = img;
	file = make_child(SIZE + BLOCK, 16 << 10);
	ck_assert_msg(!image_open(file, &vhd_format, &around, &img, reason), "%s", reason);
	ck_assert_str_eq(img->kind, "vhd-differencing");
	ck_same(img, twin, SIZE + BLOCK);
	for (unsigned i = 0; i < 5; i++) {
		work(img, twin, SIZE + BLOCK, unit_scaled(100), i);
		ck_same(img, twin, SIZE + BLOCK);
		ck_assert_int_eq(vhd_format.rest(img), 0);
		/* The parent is closed by a reload, and opened again. */
		img->parent = NULL;
		ck_assert_msg(!image_reload(img, reason), "%s", reason);
		ck_same(img, twin, SIZE + BLOCK);
	}
	ck_same(parent, below, SIZE);
	free(twin);
	free(below);
}
END_TEST

/* A child that is shorter than its parent does not grow: the parent's end would show. */
START_TEST(grows_differencing)
{
	struct image_around around = { .parents = &parents };
	static const uint64_t sizes[] = { SIZE - BLOCK, SIZE - 512, SIZE, SIZE + BLOCK };

	for (size_t i = 0; i < UNIT_LENGTH(sizes); i++) {
		bool shorter = sizes[i] < SIZE;
		uint8_t *twin = calloc(1, SIZE + 2 * BLOCK);

		open_kind("vhd", BLOCK);
		memset(twin, 'p', SIZE);
		ck_assert_int_eq(vhd_format.write(img, twin, SIZE, 0, 0), 0);
		parent = img;
		file = make_child(sizes[i], BLOCK);
		ck_assert_msg(!image_open(file, &vhd_format, &around, &img, reason), "%s", reason);
		ck_same(img, twin, sizes[i]);
		ck_assert_int_eq(vhd_format.resize(img, SIZE + 2 * BLOCK),
				 shorter ? -EOPNOTSUPP : 0);
		ck_assert_uint_eq(img->size, shorter ? sizes[i] : SIZE + 2 * BLOCK);
		ck_same(img, twin, img->size);
		free(twin);
		image_close(img);
		img = NULL;
	}
}
END_TEST

START_TEST(wrong_parents)
{
	struct image_around around = { .parents = &parents }, alone = { 0 };
	struct image *child;
	struct file *f;

	open_kind("vhd", BLOCK);
	parent = img;
	f = make_child(SIZE + BLOCK, 16 << 10);
	ck_assert_int_eq(image_open(f, &vhd_format, &alone, &child, reason), -EINVAL);
	open_kind("vhd", BLOCK);
	image_close(parent);
	parent = img;
	img = NULL;
	/* It may come by its other name. */
	ck_assert_int_eq(image_open(f, &vhd_format, &around, &child, reason), -ENOENT);
	ck_assert_str_eq(reason, "the file with its parent's name is another disk");
	f->ops->close(f);
}
END_TEST

/* ---- many growths ---- */

static uint8_t letter(unsigned n)
{
	return 'a' + n % 26;
}

/* Each one needs a longer table, somewhere else. Whatever was written before is there. */
static void grow_often(void)
{
	const unsigned times = 40;
	uint64_t last[40], size;
	uint8_t c;

	for (unsigned i = 0; i < times; i++) {
		const struct vhd *v = img->private;
		uint64_t table = v->table_offset;

		size = ((uint64_t)v->table_entries + 1) * 4096;
		ck_assert_int_eq(vhd_format.resize(img, size), 0);
		ck_assert_uint_ne(v->table_offset, table);
		last[i] = size - 512;
		c = letter(i);
		ck_assert_int_eq(vhd_format.write(img, &c, 1, last[i], 0), 0);
	}
	for (unsigned again = 0; again < 2; again++) {
		for (unsigned i = 0; i < times; i++) {
			ck_assert_int_eq(vhd_format.read(img, &c, 1, last[i], 0), 0);
			ck_assert_int_eq(c, letter(i));
		}
		ck_assert_int_eq(vhd_format.rest(img), 0);
		/* A reload closes the parent, and opens it again. */
		img->parent = NULL;
		ck_assert_msg(!image_reload(img, reason), "%s", reason);
		ck_assert_str_eq(img->complaint, "");
	}
}

START_TEST(grows_often)
{
	file = make("vhd", 64 << 10, 4096);
	ck_assert_msg(!open_image(file, &img), "%s", reason);
	grow_often();
	/* Old tables take no space: the last one is a fifth of all that there were. */
	ck_assert_uint_lt(taken(file), 4 * ((struct vhd *)img->private)->table_bytes / 3);
}
END_TEST

START_TEST(child_grows_often)
{
	struct image_around around = { .parents = &parents };

	file = make("vhd", 64 << 10, 4096);
	ck_assert_msg(!open_image(file, &parent), "%s", reason);
	file = make_child(64 << 10, 4096);
	ck_assert_msg(!image_open(file, &vhd_format, &around, &img, reason), "%s", reason);
	grow_often();
}
END_TEST

/* Where an old table was, blocks are. */
START_TEST(blocks_where_a_table_was)
{
	struct vhd *v;
	uint64_t table, at;
	bool found = false;

	file = make("vhd", 64 << 10, 4096);
	ck_assert_msg(!open_image(file, &img), "%s", reason);
	v = img->private;
	ck_assert_int_eq(vhd_format.resize(img, 64 << 20), 0);
	table = v->table_offset;
	ck_assert_int_eq(vhd_format.resize(img, 128 << 20), 0);
	ck_assert_uint_ne(v->table_offset, table);
	for (unsigned b = 0; b < 64; b++) {
		uint8_t bytes[4096] = { 0 }, zeros[4096] = { 0 };

		ck_assert_int_eq(vhd_format.write(img, "new", 3, b * 4096, 0), 0);
		ck_assert_int_eq(vhd_format.read(img, bytes, 4096, b * 4096, 0), 0);
		ck_assert_mem_eq(bytes, "new", 3);
		ck_assert_mem_eq(bytes + 3, zeros, 4093);
		at = BLOCK_PLACE(v->map->entries[b]);
		found |= at > table && at < table + (64 << 20 >> 12) * 4;
	}
	ck_assert(found);
	ck_assert_int_eq(vhd_format.rest(img), 0);
	ck_assert_msg(!image_reload(img, reason), "%s", reason);
	ck_assert_str_eq(img->complaint, "");
}
END_TEST

/* ---- others ---- */

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *format, ...)
{
	char command[1000];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	return system(command);
}

static struct image *open_path(const char *path)
{
	struct image_around around = { 0 };
	struct image *image;
	struct file *f;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(file_adopt(fd, false, &f), 0);
	ck_assert_msg(!image_open(f, &vhd_format, &around, &image, reason), "%s", reason);
	return image;
}

static void write_twin(const char *path, const uint8_t *twin, uint64_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, twin, size), size);
	close(fd);
}

START_TEST(qemu_reads_ours)
{
	static const struct {
		const char *kind;
		uint32_t block_size;
	} kinds[] = { { "vhd", 0 }, { "vhd", 64 << 10 }, { "vhd", 512 << 10 }, { "vhd-fixed", 0 } };
	char path[4096], raw[4096];
	uint64_t size = 10 << 20;

	if (run("qemu-img --version >/dev/null 2>&1"))
		return;
	for (size_t i = 0; i < UNIT_LENGTH(kinds); i++) {
		struct image_create c = { .kind = kinds[i].kind,
					  .size = size,
					  .block_size = kinds[i].block_size };
		uint8_t *twin = calloc(1, 2 * size);
		struct file *f;

		snprintf(path, sizeof(path), "%s/ours%zu.vhd", unit_dir(), i);
		snprintf(raw, sizeof(raw), "%s/ours%zu.img", unit_dir(), i);
		ck_assert_int_eq(file_adopt(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), false,
					    &f),
				 0);
		ck_assert_int_eq(vhd_format.create(f, &c, reason), 0);
		f->ops->close(f);
		for (int grown = 0; grown < 2; grown++) {
			img = open_path(path);
			if (grown)
				ck_assert_int_eq(vhd_format.resize(img, 2 * size), 0);
			work(img, twin, img->size, unit_scaled(200), i);
			ck_assert_int_eq(vhd_format.rest(img), 0);
			write_twin(raw, twin, img->size);
			ck_assert_int_eq(run("qemu-img compare -f vpc -F raw '%s' '%s' >/dev/null",
					     path, raw),
					 0);
			image_close(img);
			img = NULL;
		}
		free(twin);
	}
}
END_TEST

START_TEST(we_read_qemus)
{
	static const char *const options[] = { "subformat=dynamic", "subformat=fixed",
					       "subformat=dynamic,force_size=on",
					       "subformat=fixed,force_size=on" };
	char path[4096];

	if (run("qemu-img --version >/dev/null 2>&1"))
		return;
	snprintf(path, sizeof(path), "%s/theirs.vhd", unit_dir());
	for (size_t i = 0; i < UNIT_LENGTH(options); i++) {
		uint8_t *twin, *again;

		ck_assert_int_eq(run("rm -f '%s'; qemu-img create -q -f vpc -o %s '%s' 12M", path,
				     options[i], path),
				 0);
		ck_assert_int_eq(run("qemu-io -f vpc -c 'write -P 3 0 5000' -c 'write -P 4 4M 1M' "
				     "-c 'write -P 5 11M 512' '%s' >/dev/null",
				     path),
				 0);
		img = open_path(path);
		ck_assert_str_eq(img->kind, i % 2 ? "vhd-fixed" : "vhd");
		twin = calloc(1, img->size);
		memset(twin, 3, 5000);
		memset(twin + (4 << 20), 4, 1 << 20);
		memset(twin + (11 << 20), 5, 512);
		ck_same(img, twin, img->size);
		work(img, twin, img->size, unit_scaled(100), i);
		ck_assert_int_eq(vhd_format.rest(img), 0);
		again = malloc(img->size);
		write_twin("/dev/null", twin, 0);
		ck_same(img, twin, img->size);
		free(again);
		free(twin);
		image_close(img);
		img = NULL;
	}
}
END_TEST

UNIT_MAIN("vhd", NULL, teardown, dynamic, dynamic_small_blocks, dynamic_large_blocks, fixed,
	  discards_give_space_back, grows_dynamic, grows_fixed, differencing, grows_differencing,
	  grows_often, child_grows_often, blocks_where_a_table_was, wrong_parents, qemu_reads_ours,
	  we_read_qemus)

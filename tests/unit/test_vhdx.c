// SPDX-License-Identifier: GPL-2.0-or-later
/* VHDX disks that we make: what is written is read, also after a power cut. */
#include "vhdx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "fake_file.h"
#include "pages.h"
#include "unit.h"
#include "vhdx_inner.h"
#include "vhdx_build.h"

#define MIB ((uint64_t)1 << 20)

static struct file *file;
static struct image *img;
static uint8_t *twin; /* what the disk shall hold */
static char reason[IMAGE_REASON];

static void open_file(struct file *f)
{
	struct image_around around = { 0 };

	file = f;
	ck_assert_msg(!image_open(f, &vhdx_format, &around, &img, reason), "%s", reason);
}

static void make(const char *kind, uint64_t size, uint32_t block, uint32_t sector)
{
	struct image_create c = { .kind = kind,
				  .size = size,
				  .block_size = block,
				  .sector_size = sector };

	file = fake_file_new(NULL, 0);
	ck_assert_msg(!vhdx_format.create(file, &c, reason), "%s", reason);
	ck_assert_int_eq(file->ops->flush(file), 0);
	open_file(file);
	twin = calloc(1, 64 * MIB);
}

static void teardown(void)
{
	image_close(img);
	free(twin);
}

static uint64_t file_size(void)
{
	struct file_stat st;

	ck_assert_int_eq(file->ops->stat(file, &st), 0);
	return st.size;
}

static uint8_t *contents(uint64_t *size)
{
	uint8_t *bytes;

	*size = file_size();
	bytes = malloc(*size);
	ck_assert_int_eq(file->ops->read(file, bytes, *size, 0, 0), 0);
	return bytes;
}

/* The same file as if it were opened anew. */
static void reopen(void)
{
	uint64_t size;
	uint8_t *bytes = contents(&size);

	image_close(img);
	open_file(fake_file_new(bytes, size));
	free(bytes);
}

static void ck_same(void)
{
	uint64_t size = img->size;
	uint8_t *all = malloc(size);

	ck_assert_int_eq(vhdx_format.read(img, all, size, 0, 0), 0);
	for (uint64_t i = memcmp(all, twin, size) ? 0 : size; i < size; i++)
		if (all[i] != twin[i])
			ck_abort_msg("byte %llu is %02x, shall be %02x", (unsigned long long)i,
				     all[i], twin[i]);
	free(all);
}

static void put(uint64_t off, size_t len, uint8_t fill)
{
	memset(twin + off, fill, len);
	ck_assert_int_eq(vhdx_format.write(img, twin + off, len, off, 0), 0);
}

static void zero(uint64_t off, uint64_t len, enum zero_mode mode)
{
	memset(twin + off, 0, len);
	ck_assert_int_eq(vhdx_format.zero(img, off, len, mode), 0);
}

/* ---- what is written is read ---- */

static void play(uint64_t *seed, unsigned rounds)
{
	while (rounds--) {
		uint64_t off = unit_below(seed, img->size / 512) * 512;
		uint64_t len = unit_below(seed, 3 * MIB) / 512 * 512 + 512;

		if (len > img->size - off)
			len = img->size - off;
		switch (unit_below(seed, 8)) {
		case 0:
			zero(off, len, ZERO_PUNCH);
			break;
		case 1:
			zero(off, len, ZERO_KEEP);
			break;
		case 2:
			ck_assert_int_eq(vhdx_format.flush(img), 0);
			break;
		case 3:
			off = off / img->block_size * img->block_size;
			len = off + img->block_size > img->size ? img->size - off : img->block_size;
			zero(off, len, ZERO_PUNCH);
			break;
		case 4:
			ck_assert_int_eq(vhdx_format.rest(img), 0);
			break;
		default:
			put(off, len, 1 + unit_below(seed, 255));
		}
	}
}

START_TEST(round_trips)
{
	static const struct {
		const char *kind;
		uint64_t size;
		uint32_t block, sector;
	} cases[] = {
		{ "vhdx", 12 * MIB, 1 << 20, 512 },
		{ "vhdx", 12 * MIB + 512, 1 << 20, 512 },
		{ "vhdx", 13 * MIB, 2 << 20, 4096 },
		{ "vhdx", 12 * MIB, 8 << 20, 512 },
		{ "vhdx-fixed", 12 * MIB, 1 << 20, 512 },
		{ "vhdx-fixed", 11 * MIB + 4096, 4 << 20, 4096 },
	};
	uint64_t seed = 7;

	for (size_t i = 0; i < UNIT_LENGTH(cases); i++) {
		make(cases[i].kind, cases[i].size, cases[i].block, cases[i].sector);
		ck_assert_str_eq(img->kind, cases[i].kind);
		ck_assert_uint_eq(img->size, cases[i].size);
		ck_assert_uint_eq(img->block_size, cases[i].block);
		ck_assert_uint_eq(img->sector_size, cases[i].sector);
		ck_assert(!img->read_only && !img->complaint[0]);
		ck_same();
		for (unsigned round = 0; round < unit_scaled(10); round++) {
			play(&seed, 10);
			ck_same();
			ck_assert_int_eq(vhdx_format.flush(img), 0);
			reopen();
			ck_same();
			ck_assert_msg(!img->complaint[0], "%s", img->complaint);
		}
		teardown();
	}
	img = NULL;
	twin = NULL;
}
END_TEST

static bool log_is_named(void)
{
	uint64_t size, a, b;
	uint8_t *bytes = contents(&size), zeros[16] = { 0 };
	bool named[2];

	a = get_le64(bytes + BUILD_HEADER(0) + 8);
	b = get_le64(bytes + BUILD_HEADER(1) + 8);
	for (int i = 0; i < 2; i++)
		named[i] = memcmp(bytes + BUILD_HEADER(i) + 48, zeros, 16);
	free(bytes);
	return named[b > a];
}

/* Looking changes nothing; the file of a disk at rest is whole by itself, and short. */
START_TEST(only_writers_change_the_file)
{
	uint8_t identity[16], first[16], buf[4096];
	unsigned writes;
	uint64_t empty;

	make("vhdx", 32 * MIB, 1 << 20, 512);
	empty = file_size();
	writes = fake_calls(file, FAKE_WRITE);
	memcpy(first, img->identity, 16);
	ck_assert_int_eq(vhdx_format.read(img, buf, 4096, 0, 0), 0);
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	ck_assert_uint_eq(fake_calls(file, FAKE_WRITE), writes);
	ck_assert(!log_is_named());

	put(5 * MIB, 4096, 'a');
	memcpy(identity, img->identity, 16);
	ck_assert(memcmp(identity, first, 16));
	ck_assert(log_is_named());
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	put(6 * MIB, 4096, 'b');
	ck_assert_mem_eq(identity, img->identity, 16);
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	ck_assert(!log_is_named());
	ck_assert_uint_eq(file_size(), empty + 2 * MIB);
	reopen();
	ck_assert_mem_eq(identity, img->identity, 16);
	ck_same();

	/* What is given up is used again, and the file is cut. */
	zero(5 * MIB, MIB, ZERO_PUNCH);
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	put(0, 4096, 'c');
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	ck_assert_uint_eq(file_size(), empty + 2 * MIB);
	zero(0, 32 * MIB, ZERO_PUNCH);
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	ck_assert_uint_eq(file_size(), empty);
	reopen();
	ck_same();
}
END_TEST

/* A flush makes two durable steps where it has something to bring into the table, else one. */
START_TEST(flushes_are_few)
{
	unsigned n;

	make("vhdx", 32 * MIB, 1 << 20, 512);
	put(0, 4096, 'a');
	for (int i = 1; i < 30; i++)
		put(i * MIB, 4096, 'a');
	n = fake_calls(file, FAKE_FLUSH);
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	ck_assert_uint_eq(fake_calls(file, FAKE_FLUSH), n + 2);
	put(0, 4096, 'b');
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	ck_assert_uint_eq(fake_calls(file, FAKE_FLUSH), n + 3);
}
END_TEST

START_TEST(seeks)
{
	uint64_t at;

	make("vhdx", 32 * MIB, 1 << 20, 512);
	ck_assert_int_eq(vhdx_format.seek(img, 0, SEEK_DATA, &at), -ENXIO);
	put(5 * MIB, 4096, 'a');
	ck_assert_int_eq(vhdx_format.seek(img, 0, SEEK_DATA, &at), 0);
	ck_assert_uint_eq(at, 5 * MIB);
	ck_assert_int_eq(vhdx_format.seek(img, 5 * MIB, SEEK_HOLE, &at), 0);
	ck_assert_uint_eq(at, 5 * MIB + 4096);
	ck_assert_int_eq(vhdx_format.seek(img, 32 * MIB, SEEK_HOLE, &at), -ENXIO);
}
END_TEST

/* ---- create ---- */

static int try_create(const char *kind, uint64_t size, uint32_t block, uint32_t sector)
{
	struct image_create c = { .kind = kind,
				  .size = size,
				  .block_size = block,
				  .sector_size = sector };
	struct file *f = fake_file_new(NULL, 0);
	int err = vhdx_format.create(f, &c, reason);

	f->ops->close(f);
	if (err)
		ck_assert(reason[0]);
	return err;
}

START_TEST(creates)
{
	ck_assert_int_eq(try_create("vhdx", 512, 0, 0), 0);
	ck_assert_int_eq(try_create("vhdx", 4096, 0, 4096), 0);
	ck_assert_int_eq(try_create("vhdx", 0, 0, 0), -EINVAL);
	ck_assert_int_eq(try_create("vhdx", 511, 0, 0), -EINVAL);
	ck_assert_int_eq(try_create("vhdx", 513, 0, 0), -EINVAL);
	ck_assert_int_eq(try_create("vhdx", 512, 0, 4096), -EINVAL);
	ck_assert_int_eq(try_create("vhdx", MIB, 0, 1024), -EINVAL);
	ck_assert_int_eq(try_create("vhdx", MIB, 512 << 10, 0), -EINVAL);
	ck_assert_int_eq(try_create("vhdx", MIB, 3 << 20, 0), -EINVAL);
	ck_assert_int_eq(try_create("vhdx", MIB, 512u << 20, 0), -EINVAL);
	ck_assert_int_eq(try_create("vhdx", MIB, 256u << 20, 0), 0);
	ck_assert_int_eq(try_create("vhdx", (64ull << 40) + 512, 0, 0), -EFBIG);
	ck_assert_int_eq(try_create("vhdx", 64ull << 40, 0, 0), 0);
	ck_assert_int_eq(try_create("vhdx-differencing", MIB, 0, 0), -EOPNOTSUPP);
	/* The file has no room for it. */
	ck_assert_int_eq(try_create("vhdx-fixed", PAGES_ROOM, 0, 0), -EFBIG);
}
END_TEST

START_TEST(create_fails)
{
	struct image_create c = { .kind = "vhdx-fixed", .size = 8 * MIB };

	for (unsigned n = 1;; n++) {
		struct file *f = fake_file_new(NULL, 0);
		int err;

		fake_fail(f, FAKE_WRITE, n, 1, EIO);
		err = vhdx_format.create(f, &c, reason);
		f->ops->close(f);
		ck_assert(!err || err == -EIO);
		if (!err) {
			ck_assert_uint_gt(n, 6);
			break;
		}
	}
}
END_TEST

/* ---- sizes ---- */

START_TEST(grows)
{
	make("vhdx", 8 * MIB + 512, 1 << 20, 512);
	put(8 * MIB, 512, 'a');
	ck_assert_int_eq(vhdx_format.resize(img, 8 * MIB), -EOPNOTSUPP);
	ck_assert_int_eq(vhdx_format.resize(img, 9 * MIB + 1), -EINVAL);
	ck_assert_int_eq(vhdx_format.resize(img, (64ull << 40) + 512), -EFBIG);
	ck_assert_int_eq(vhdx_format.resize(img, img->size), 0);
	ck_assert_int_eq(vhdx_format.resize(img, 20 * MIB), 0);
	ck_assert_uint_eq(img->size, 20 * MIB);
	ck_same();
	put(19 * MIB, MIB, 'b');
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	reopen();
	ck_assert_uint_eq(img->size, 20 * MIB);
	ck_same();

	/* The table has room for 131072 entries. */
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	ck_assert_int_eq(vhdx_format.resize(img, 1ull << 40), 0);
	ck_assert_uint_eq(img->size, 1ull << 40);
	ck_assert_int_eq(vhdx_format.write(img, twin + 19 * MIB, MIB, (1ull << 40) - MIB, 0), 0);
	put(MIB, 4096, 'c');
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	ck_assert_uint_gt(file_size(), 20 * MIB);
	reopen();
	ck_assert_uint_eq(img->size, 1ull << 40);
	ck_assert_msg(!img->complaint[0], "%s", img->complaint);
	ck_assert_int_eq(vhdx_format.read(img, twin, MIB, (1ull << 40) - MIB, 0), 0);
	ck_assert(twin[0] == 'b' && twin[MIB - 1] == 'b');
	ck_assert_int_eq(vhdx_format.read(img, twin, 8192, MIB, 0), 0);
	ck_assert(twin[0] == 'c' && twin[4095] == 'c' && !twin[4096]);
}
END_TEST

START_TEST(fixed_grows)
{
	uint64_t at, size;
	uint8_t *bytes;

	make("vhdx-fixed", 3 * MIB + 512, 1 << 20, 512);
	put(0, 3 * MIB + 512, 'a');
	ck_assert_int_eq(vhdx_format.resize(img, 6 * MIB), 0);
	ck_same();
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	bytes = contents(&size);
	for (int i = 0; i < 6; i++) {
		at = get_le64(bytes + BUILD_BAT_AT + i * 8);
		ck_assert_uint_eq(at & 7, 6);
		ck_assert_uint_le((at & ~(uint64_t)7) + MIB, size);
	}
	ck_assert_uint_eq(get_le64(bytes + BUILD_BAT_AT + 6 * 8), 0);
	free(bytes);
	put(3 * MIB + 512, 2 * MIB, 'b');
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	reopen();
	ck_assert_str_eq(img->kind, "vhdx-fixed");
	ck_same();
}
END_TEST

/* What stands behind the disk's end in its last block and in the table is not seen later. */
START_TEST(growing_shows_nothing_old)
{
	struct vhdx_build b;

	build_start(&b, 4096, 1 << 20, 512, 0);
	build_resize(&b, BUILD_DATA_AT + 2 * MIB);
	memset(b.bytes + BUILD_DATA_AT, 'x', 2 * MIB);
	build_bat(&b, 0, BUILD_DATA_AT, 6);
	build_bat(&b, 1, BUILD_DATA_AT + MIB, 6);
	build_seal(&b);
	open_file(build_file(&b));
	build_end(&b);
	twin = calloc(1, 4 * MIB);
	memset(twin, 'x', 4096);
	ck_assert_int_eq(vhdx_format.resize(img, 3 * MIB), 0);
	ck_same();
	put(2 * MIB, 4096, 'y');
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	reopen();
	ck_same();
	ck_assert_msg(!img->complaint[0], "%s", img->complaint);
}
END_TEST

/* ---- headers ---- */

/* No sequence is higher than the last one. */
START_TEST(the_last_sequence)
{
	static const uint64_t sequences[] = { UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 7 };

	for (size_t i = 0; i < UNIT_LENGTH(sequences); i++) {
		struct vhdx_build b;
		uint8_t identity[16];

		build_start(&b, 8 * MIB, 1 << 20, 512, 0);
		put_le64(b.bytes + BUILD_HEADER(0) + 8, sequences[i]);
		build_seal(&b);
		open_file(build_file(&b));
		build_end(&b);
		twin = calloc(1, 8 * MIB);
		put(MIB, 4096, 'a');
		ck_assert_int_eq(vhdx_format.flush(img), 0);
		memcpy(identity, img->identity, 16);
		reopen();
		ck_same();
		ck_assert_mem_eq(identity, img->identity, 16);
		put(MIB, 4096, 'b');
		ck_assert_int_eq(vhdx_format.rest(img), 0);
		reopen();
		ck_same();
		ck_assert(!img->complaint[0]);
		teardown();
	}
	img = NULL;
	twin = NULL;
}
END_TEST

/* An entry that names a place outside is gone for good when the place gets used. */
START_TEST(outsiders_are_dropped)
{
	struct vhdx_build b;

	build_start(&b, 8 * MIB, 1 << 20, 512, 0);
	build_resize(&b, BUILD_DATA_AT + MIB);
	memset(b.bytes + BUILD_DATA_AT, 'x', MIB);
	build_bat(&b, 0, BUILD_DATA_AT, 6);
	build_bat(&b, 1, BUILD_DATA_AT + MIB, 6);
	build_bat(&b, 2, BUILD_DATA_AT + 2 * MIB, 6);
	open_file(build_file(&b));
	build_end(&b);
	twin = calloc(1, 8 * MIB);
	memset(twin, 'x', MIB);
	ck_assert(strstr(img->complaint, "outside"));
	ck_assert(!img->read_only);
	ck_same();
	put(4 * MIB, MIB, 'y');
	put(5 * MIB, MIB, 'z');
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	reopen();
	ck_assert_msg(!img->complaint[0], "%s", img->complaint);
	ck_same();
}
END_TEST

/* A file may end where its disk does, in the middle of a block. */
START_TEST(file_ends_with_the_disk)
{
	struct vhdx_build b;

	build_start(&b, MIB + 4096, 1 << 20, 512, BUILD_FIXED);
	build_resize(&b, BUILD_DATA_AT + MIB + 4096);
	memset(b.bytes + BUILD_DATA_AT, 'x', MIB + 4096);
	build_bat(&b, 0, BUILD_DATA_AT, 6);
	build_bat(&b, 1, BUILD_DATA_AT + MIB, 6);
	open_file(build_file(&b));
	build_end(&b);
	twin = calloc(1, 8 * MIB);
	memset(twin, 'x', MIB + 4096);
	ck_assert_msg(!img->complaint[0], "%s", img->complaint);
	ck_same();
	put(MIB, 4096, 'y');
	ck_assert_uint_eq(file_size(), BUILD_DATA_AT + 2 * MIB);
	ck_assert_int_eq(vhdx_format.resize(img, 4 * MIB), 0);
	put(3 * MIB, MIB, 'z');
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	reopen();
	ck_same();
	ck_assert_msg(!img->complaint[0], "%s", img->complaint);
}
END_TEST

/* ---- power cuts ---- */

#define PAGES 24
#define BLOCKS 8

/* What a page may hold: what a flush promised, and all that was written since. */
struct page {
	uint64_t off;
	uint8_t may[64];
	unsigned count;
};

static struct page pages[PAGES];

static bool may_be(const struct page *p, uint8_t v)
{
	for (unsigned i = 0; i < p->count; i++)
		if (p->may[i] == v)
			return true;
	return false;
}

static void written(uint64_t off, uint64_t len, uint8_t v)
{
	for (int i = 0; i < PAGES; i++)
		if (pages[i].off >= off && pages[i].off < off + len) {
			ck_assert_uint_lt(pages[i].count, 64);
			pages[i].may[pages[i].count++] = v;
		}
}

static void flushed(void)
{
	for (int i = 0; i < PAGES; i++) {
		pages[i].may[0] = pages[i].may[pages[i].count - 1];
		pages[i].count = 1;
	}
}

/* Each sector holds something it may, and the disk is one of these sizes. */
static void ck_crash(uint64_t seed, uint64_t size, uint64_t or_size)
{
	struct image_around around = { 0 };
	struct file *f = fake_crashed(file, seed);
	struct image *after;
	uint8_t buf[4096];

	ck_assert_msg(!image_open(f, &vhdx_format, &around, &after, reason), "seed %llu: %s",
		      (unsigned long long)seed, reason);
	ck_assert_msg(!after->complaint[0], "seed %llu: %s", (unsigned long long)seed,
		      after->complaint);
	ck_assert(after->size == size || after->size == or_size);
	for (int i = 0; i < PAGES; i++) {
		if (pages[i].off >= after->size)
			continue;
		ck_assert_int_eq(vhdx_format.read(after, buf, 4096, pages[i].off, 0), 0);
		for (int s = 0; s < 4096; s++)
			if (!may_be(&pages[i], buf[s / 512 * 512]) || buf[s] != buf[s / 512 * 512])
				ck_abort_msg("seed %llu: page at %llu holds %02x",
					     (unsigned long long)seed,
					     (unsigned long long)pages[i].off, buf[s]);
	}
	/* And it can be written again, and rest. */
	if (seed % 4 == 0) {
		memset(buf, 1, sizeof(buf));
		ck_assert_int_eq(vhdx_format.write(after, buf, 4096, 0, 0), 0);
		ck_assert_int_eq(vhdx_format.rest(after), 0);
	}
	image_close(after);
}

static void crash_step(uint64_t *seed, uint8_t v)
{
	const struct page *p = &pages[unit_below(seed, PAGES)];
	uint8_t buf[4096];

	memset(buf, v, sizeof(buf));
	switch (unit_below(seed, 10)) {
	case 0:
	case 1:
		ck_assert_int_eq(vhdx_format.flush(img), 0);
		flushed();
		break;
	case 2:
		ck_assert_int_eq(vhdx_format.rest(img), 0);
		flushed();
		break;
	case 3:
	case 4:
		written(p->off / MIB * MIB, MIB, 0);
		ck_assert_int_eq(vhdx_format.zero(img, p->off / MIB * MIB, MIB, ZERO_PUNCH), 0);
		break;
	default:
		written(p->off, 4096, v);
		ck_assert_int_eq(vhdx_format.write(img, buf, 4096, p->off, 0), 0);
	}
}

static void start_pages(uint64_t *seed)
{
	for (int i = 0; i < PAGES; i++)
		pages[i] = (struct page){ .off = unit_below(seed, BLOCKS) * MIB +
						 unit_below(seed, 256) * 4096,
					  .count = 1 };
}

/* A page that is there twice would not know what it may hold. */
static void make_pages(uint64_t *seed)
{
	bool again = true;

	while (again) {
		start_pages(seed);
		again = false;
		for (int i = 0; i < PAGES; i++)
			for (int j = 0; j < i; j++)
				again |= pages[i].off == pages[j].off;
	}
}

START_TEST(power_cuts)
{
	for (uint64_t seed = 1; seed <= unit_scaled(60); seed++) {
		uint64_t s = seed;

		make("vhdx", BLOCKS * MIB, 1 << 20, 512);
		make_pages(&s);
		for (int step = 1; step < 30; step++) {
			crash_step(&s, step);
			ck_crash(unit_random(&s), img->size, img->size);
		}
		teardown();
	}
	img = NULL;
	twin = NULL;
}
END_TEST

/* At each durable step of an operation, by letting the file fail there. */
static void cut_within(const char *kind, uint64_t size, uint64_t to, enum fake_call call)
{
	uint64_t s = 11;

	for (unsigned n = 1; n < 60; n++) {
		uint8_t buf[4096];
		int err;

		make(kind, size, 1 << 20, 512);
		make_pages(&s);
		memset(buf, 'o', sizeof(buf));
		for (int i = 0; i < PAGES; i += 2) {
			if (pages[i].off >= BLOCKS / 2 * MIB)
				continue; /* so that blocks are new later */
			ck_assert_int_eq(vhdx_format.write(img, buf, 4096, pages[i].off, 0), 0);
			written(pages[i].off, 4096, 'o');
		}
		ck_assert_int_eq(vhdx_format.flush(img), 0);
		flushed();
		if (n % 2)
			ck_assert_int_eq(vhdx_format.rest(img), 0);
		for (int i = 1; i < PAGES; i += 2)
			written(pages[i].off, 4096, 'n');
		fake_fail(file, call, n, 1000, EIO);
		err = 0;
		memset(buf, 'n', sizeof(buf));
		for (int i = 1; i < PAGES && !err; i += 2)
			err = vhdx_format.write(img, buf, 4096, pages[i].off, 0);
		if (!err && to)
			err = vhdx_format.resize(img, to);
		if (!err)
			err = vhdx_format.flush(img);
		if (!err)
			flushed();
		if (!err)
			err = vhdx_format.rest(img);
		for (uint64_t seed = 0; seed < 12; seed++)
			ck_crash(seed, size, to ? to : size);
		teardown();
		if (!err)
			break;
	}
	img = NULL;
	twin = NULL;
}

START_TEST(cut_within_a_session)
{
	cut_within("vhdx", BLOCKS * MIB, 0, FAKE_FLUSH);
	cut_within("vhdx", BLOCKS * MIB, 0, FAKE_WRITE);
}
END_TEST

START_TEST(cut_while_growing)
{
	cut_within("vhdx", BLOCKS * MIB, 20 * MIB, FAKE_FLUSH);
	cut_within("vhdx", BLOCKS * MIB, 20 * MIB, FAKE_WRITE);
	cut_within("vhdx-fixed", BLOCKS * MIB, 20 * MIB, FAKE_FLUSH);
	cut_within("vhdx-fixed", BLOCKS * MIB, 20 * MIB, FAKE_WRITE);
	/* A longer table. */
	cut_within("vhdx", BLOCKS * MIB, (uint64_t)1 << 38, FAKE_FLUSH);
	cut_within("vhdx", BLOCKS * MIB, (uint64_t)1 << 38, FAKE_WRITE);
}
END_TEST

static void put_block(unsigned i, uint8_t fill)
{
	uint8_t buf[4096];

	memset(buf, fill, sizeof(buf));
	ck_assert_int_eq(vhdx_format.write(img, buf, sizeof(buf), i * MIB, 0), 0);
}

/* The blocks from `first` on begin with these letters, now or after any power cut. */
static void ck_blocks(unsigned first, const char *letters)
{
	struct image *here = img;
	struct file *f = file;

	for (unsigned seed = 1; seed <= 6; seed++) {
		open_file(fake_crashed(f, seed));
		ck_assert_msg(!img->complaint[0], "%s", img->complaint);
		for (unsigned i = 0; letters[i]; i++) {
			char c;

			ck_assert_int_eq(vhdx_format.read(img, &c, 1, (first + i) * MIB, 0), 0);
			ck_assert_int_eq(c, letters[i]);
		}
		image_close(img);
	}
	img = here;
	file = f;
}

/*
 * What could not be written in place is in the log, and in place before the next
 * entry. The first write is the entry; of one that fails the first half is done,
 * so the blocks are of the table's second.
 */
START_TEST(in_place_fails)
{
	make("vhdx", 300 * MIB, 1 << 20, 512);
	put_block(280, 'a');
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	put_block(281, 'b');
	fake_fail(file, FAKE_WRITE, 2, 1, EIO);
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	ck_blocks(280, "ab");
	put_block(282, 'c');
	fake_fail(file, FAKE_WRITE, 1, 1, EIO);
	ck_assert_int_eq(vhdx_format.flush(img), -EIO);
	ck_blocks(280, "ab");
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	ck_blocks(280, "abc");
	put_block(283, 'd');
	fake_fail(file, FAKE_WRITE, 2, 2, EIO);
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	ck_assert_int_eq(vhdx_format.rest(img), -EIO);
	ck_blocks(280, "abcd");
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	ck_blocks(280, "abcd");
}
END_TEST

/* Likewise where a flush has more of the table than an entry takes; it is called with what it would be. */
START_TEST(in_place_fails_of_many)
{
	struct block_change changes[130];
	struct image *here;

	make("vhdx", 130 * 512 * MIB, 1 << 20, 512);
	put_block(0, 'a');
	for (unsigned i = 0; i < 130; i++)
		changes[i] = (struct block_change){ i * 512 + 280, BLOCK_ENTRY(BLOCK_ZERO, 0) };
	fake_fail(file, FAKE_WRITE, 2, 1, EIO);
	ck_assert_int_eq(vhdx_save(img, changes, 130), 0);
	here = img;
	open_file(fake_crashed(file, 1));
	for (unsigned i = 0; i < 130; i++)
		ck_assert_int_eq(BLOCK_KIND(vhdx_of(img)->map->entries[changes[i].block]),
				 BLOCK_ZERO);
	image_close(img);
	img = here;
}
END_TEST

static void finish_and_fail(enum fake_call call, unsigned n)
{
	make("vhdx", 300 * MIB, 1 << 20, 512);
	put_block(279, '-');
	put_block(280, 'a');
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	/* It leaves something to be cut off. */
	ck_assert_int_eq(vhdx_format.zero(img, 279 * MIB, MIB, ZERO_PUNCH), 0);
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	put_block(281, 'b');
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	fake_fail(file, call, n, 1, EIO);
}

/* However far it came: whoever goes on writing, or grows it, has a log that counts. */
START_TEST(finishing_fails)
{
	static const enum fake_call calls[] = { FAKE_WRITE, FAKE_RESIZE };

	for (unsigned i = 0; i < 2 * UNIT_LENGTH(calls); i++) {
		int err = -EIO;

		for (unsigned n = 1; err; n++) {
			ck_assert_uint_lt(n, 20);
			finish_and_fail(calls[i / 2], n);
			err = vhdx_format.rest(img);
			fake_fail(file, calls[i / 2], 1, 0, EIO);
			/* A longer table, which both region tables are to name. */
			if (i % 2) {
				ck_assert_int_eq(vhdx_format.resize(img, (uint64_t)1 << 38), 0);
				ck_blocks(280, "ab");
			}
			put_block(282, 'c');
			ck_assert_int_eq(vhdx_format.flush(img), 0);
			ck_blocks(280, "abc");
			ck_assert_int_eq(vhdx_format.rest(img), 0);
			ck_blocks(280, "abc");
			teardown();
		}
	}
	img = NULL;
	twin = NULL;
}
END_TEST

/* The table has moved although the region tables could not be written. */
START_TEST(moving_fails_in_place)
{
	uint64_t size;
	uint8_t *bytes;

	make("vhdx", 300 * MIB, 1 << 20, 512);
	put_block(280, 'a');
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	put_block(281, 'b');
	/* The table is behind the entry; then comes the copy of the table. */
	fake_fail(file, FAKE_WRITE, 2, 2, EIO);
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	ck_assert_int_eq(vhdx_format.resize(img, (uint64_t)1 << 38), -EIO);
	ck_blocks(280, "ab");
	fake_fail(file, FAKE_WRITE, 4, 1, EIO);
	ck_assert_int_eq(vhdx_format.resize(img, (uint64_t)1 << 38), 0);
	put_block(282, 'c');
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	ck_blocks(280, "abc");
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	ck_blocks(280, "abc");
	bytes = contents(&size);
	ck_assert_mem_eq(bytes + BUILD_REGIONS(0), bytes + BUILD_REGIONS(1), 65536);
	free(bytes);
}
END_TEST

START_TEST(no_space)
{
	make("vhdx", 32 * MIB, 1 << 20, 512);
	fake_space(file, 4);
	ck_assert_int_eq(vhdx_format.write(img, twin, 4096, 0, 0), -ENOSPC);
	fake_space(file, 4 + 256 + 1 + 1);
	put(0, 4096, 'a');
	/* There is space for the log and the table. */
	fake_space(file, 0);
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	ck_assert_int_eq(vhdx_format.write(img, twin, 4096, MIB, 0), -ENOSPC);
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	reopen();
	ck_same();
}
END_TEST

UNIT_MAIN("vhdx", NULL, teardown, round_trips, only_writers_change_the_file, flushes_are_few, seeks,
	  creates, create_fails, grows, fixed_grows, growing_shows_nothing_old, the_last_sequence,
	  outsiders_are_dropped, file_ends_with_the_disk, power_cuts, cut_within_a_session,
	  cut_while_growing, in_place_fails, in_place_fails_of_many, finishing_fails,
	  moving_fails_in_place, no_space)

// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "subject.h"
#include "vhd.h"
#include "vhd_inner.h"

/* ---- images of our own ---- */

static const struct {
	uint64_t size;
	uint32_t block_size;
	bool fixed, has_parent;
} bases[] = {
	[1] = { .size = 65536, .fixed = true },
	[2] = { .size = 1 << 20, .block_size = 65536 },
	[3] = { .size = 100 << 20 },
	[4] = { .size = 1 << 20, .block_size = 65536, .has_parent = true },
	[5] = { .size = 61440 + 512, .block_size = 4096 },
	[6] = { .size = (uint64_t)1 << 40, .block_size = 256 << 20 },
	[7] = { .size = 100 << 20, .has_parent = true },
};

#define PARENT_SEED 77

static struct image *open_memory(struct memory *m, bool owned, bool read_only)
{
	struct image_around around = { .read_only = read_only, .parents = vhd_subject.parents };
	char reason[IMAGE_REASON];
	struct image *img;

	MUST(!image_open(memory_file(m, owned), &vhd_format, &around, &img, reason), "%s", reason);
	return img;
}

/* Some blocks are there, some are gone again, and of some a part is there. */
static void fill(struct memory *m)
{
	struct image *img = open_memory(m, false, false);
	uint64_t block = img->block_size ? img->block_size : 4096;
	uint8_t bytes[4096];
	int err = 0;

	for (unsigned n = 0; n < 6 && !err; n++) {
		uint64_t at = n * block + n * 512;

		memset(bytes, 'a' + n, sizeof(bytes));
		if (at + sizeof(bytes) <= img->size)
			err = vhd_format.write(img, bytes, sizeof(bytes), at, 0);
	}
	if (!err)
		err = vhd_format.zero(img, block, block, ZERO_PUNCH);
	if (!err)
		err = vhd_format.rest(img);
	MUST(!err, "error %d", err);
	image_close(img);
}

static struct memory *create(const struct image_create *c)
{
	struct memory *m = memory_new(0);
	struct file *f = memory_file(m, false);
	char reason[IMAGE_REASON];

	MUST(!vhd_format.create(f, c, reason), "%s", reason);
	f->ops->close(f);
	fill(m);
	return m;
}

static const struct memory *parent_memory(void)
{
	static struct memory *m;

	if (!m) {
		fuzz_steady(PARENT_SEED);
		m = create(&(struct image_create){ .kind = "vhd",
						   .size = 768 << 10,
						   .block_size = 65536 });
	}
	return m;
}

static int open_parent(const struct image_parents *p, const struct parent_name *name,
		       struct image **out, char reason[IMAGE_REASON])
{
	MUST(!name->relative || strlen(name->relative) < 4096, "a long name");
	MUST(!name->absolute || strlen(name->absolute) < 4096, "a long name");
	if (!name->relative && !name->absolute)
		return image_fail(reason, -ENOENT, "it has no name");
	*out = open_memory(memory_copy(parent_memory()), true, true);
	return 0;
}

static const struct image_parents parents = { open_parent };

static struct memory *build(unsigned n)
{
	struct image *parent = NULL;
	struct memory *m;

	if (bases[n].has_parent)
		parent = open_memory(memory_copy(parent_memory()), true, true);
	fuzz_steady(n);
	m = create(&(struct image_create){
		.kind = bases[n].fixed ? "vhd-fixed" : "vhd",
		.size = bases[n].size,
		.block_size = bases[n].block_size,
		.parent = parent,
		.parent_at = { .relative = "parent.vhd", .absolute = "/disks/parent.vhd" },
	});
	image_close(parent);
	return m;
}

/* ---- sums ---- */

enum { LEAVE_FOOTER = 1, LEAVE_COPY = 2, LEAVE_HEADER = 4 };

static void seal_at(struct memory *m, uint64_t at, size_t len, size_t field, const char *magic)
{
	uint8_t bytes[VHD_HEADER];
	uint32_t sum = 0;

	memory_get(m, at, bytes, len);
	if (memcmp(bytes, magic, 8))
		return;
	put_be32(bytes + field, 0);
	for (size_t i = 0; i < len; i++)
		sum += bytes[i];
	put_be32(bytes + field, ~sum);
	memory_put(m, at, bytes, len);
}

static void seal(struct memory *m, unsigned unsealed)
{
	uint64_t tail = memory_size(m) / VHD_SECTOR * VHD_SECTOR - VHD_SECTOR, headers[2];
	uint8_t bytes[8];

	if (memory_size(m) < VHD_SECTOR)
		return;
	memory_get(m, 16, bytes, 8);
	headers[0] = get_be64(bytes);
	memory_get(m, tail + 16, bytes, 8);
	headers[1] = get_be64(bytes);
	for (int i = 0; i < 2 && !(unsealed & LEAVE_HEADER); i++)
		if (headers[i] < memory_size(m))
			seal_at(m, headers[i], VHD_HEADER, 36, "cxsparse");
	if (!(unsealed & LEAVE_COPY))
		seal_at(m, 0, VHD_SECTOR, 64, "conectix");
	if (!(unsealed & LEAVE_FOOTER))
		seal_at(m, tail, VHD_SECTOR, 64, "conectix");
}

/* Both footers of a dynamic image are the same, and right. */
static const char *wrong(const struct memory *m)
{
	uint8_t tail[VHD_SECTOR], copy[VHD_SECTOR];
	struct vhd_footer footer;
	char reason[IMAGE_REASON];

	memory_get(m, memory_size(m) / VHD_SECTOR * VHD_SECTOR - VHD_SECTOR, tail, sizeof(tail));
	memory_get(m, 0, copy, sizeof(copy));
	if (vhd_footer_read(tail, &footer, reason))
		return "its footer is bad";
	return footer.type != VHD_FIXED && memcmp(tail, copy, sizeof(tail)) ? "its footers differ"
									    : NULL;
}

/* ---- what matters ---- */

#define FOOTER(offset, bytes)                                         \
	{ .space = SPACE_END, .at = 512 - (offset), .width = bytes }, \
	{                                                             \
		.space = SPACE_FILE, .at = offset, .width = bytes     \
	}
#define HEADER(offset, bytes, ...)                                                     \
	{                                                                              \
		.space = SPACE_FILE, .at = 512 + (offset), .width = bytes, __VA_ARGS__ \
	}

static const struct hot_field hot[] = {
	FOOTER(0, 8),
	FOOTER(12, 4),
	FOOTER(16, 8),
	FOOTER(48, 8),
	FOOTER(60, 4),
	FOOTER(68, 16),
	HEADER(0, 8),
	HEADER(16, 8),
	HEADER(24, 4),
	HEADER(28, 4),
	HEADER(32, 4),
	HEADER(40, 16),
	HEADER(56, 4),
	HEADER(64, 8, .count = 8, .stride = 8),
	/* Locators: code, space, length, offset. */
	HEADER(576, 4, .count = 8, .stride = 24),
	HEADER(580, 4, .count = 8, .stride = 24),
	HEADER(584, 4, .count = 8, .stride = 24),
	HEADER(592, 8, .count = 8, .stride = 24),
	/* The table, more often than the rest. */
	HEADER(1024, 4, .count = 16, .stride = 4),
	HEADER(1024, 4, .count = 16, .stride = 4),
	HEADER(1024, 4, .count = 16, .stride = 4),
	HEADER(1024, 4, .count = 4096, .stride = 4),
	/* Behind a short table: a bitmap, or a name of the parent. */
	HEADER(1536, 8, .count = 512, .stride = 8),
};

#define BASES (sizeof(bases) / sizeof(*bases))
static struct memory *built[BASES];

const struct subject vhd_subject = {
	.format = &vhd_format,
	.tables = &vhd_tables,
	.bases = BASES,
	.build = build,
	.built = built,
	.seal = seal,
	.wrong = wrong,
	.parents = &parents,
	.big_endian = true,
	.hot = hot,
	.hot_count = sizeof(hot) / sizeof(*hot),
};

// SPDX-License-Identifier: GPL-2.0-or-later
#include "vhdx_subject.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "crc32c.h"
#include "vhdx.h"
#include "vhdx_inner.h"

/* Where our own images have what. */
#define METADATA_AT (2 * VHDX_MIB)
#define ITEMS_AT (METADATA_AT + VHDX_TABLE)
#define LOCATOR_AT 4096u /* behind the items */
#define LOCATOR_ROOM 1024u
#define BAT_AT (3 * VHDX_MIB)

/* ---- images of our own ---- */

static const struct {
	uint64_t size;
	uint32_t block_size, sector_size;
	bool fixed, has_parent, has_log;
	bool full;      /* its table is not longer than needed */
	bool has_other; /* a region that nobody knows */
} bases[] = {
	[1] = { .size = 8 * VHDX_MIB, .block_size = 1 << 20 },
	[2] = { .size = 64 * VHDX_MIB, .block_size = 2 << 20, .sector_size = 4096 },
	[3] = { .size = 3 * VHDX_MIB, .block_size = 1 << 20, .fixed = true },
	[4] = { .size = (uint64_t)1 << 40, .block_size = 256 << 20 },
	[5] = { .size = 8 * VHDX_MIB, .block_size = 1 << 20, .has_parent = true },
	[6] = { .size = 64 * VHDX_MIB,
		.block_size = 2 << 20,
		.sector_size = 4096,
		.has_parent = true },
	[7] = { .size = 8 * VHDX_MIB, .block_size = 1 << 20, .has_log = true },
	[8] = { .size = (uint64_t)4 << 40, .block_size = 64 << 20 },
	[9] = { .size = 8 * VHDX_MIB + 512 * 7, .block_size = 2 << 20, .has_log = true },
	[10] = { .size = 8 * VHDX_MIB, .block_size = 1 << 20, .has_parent = true, .has_log = true },
	[11] = { .size = 64 * VHDX_MIB,
		 .block_size = 2 << 20,
		 .sector_size = 4096,
		 .has_log = true },
	[12] = { .size = 131039 * VHDX_MIB, .block_size = 1 << 20, .full = true },
	[13] = { .size = 8 * VHDX_MIB, .block_size = 1 << 20, .has_other = true },
};

#define PARENT_SEED 77

static struct image *open_memory(struct memory *m, bool owned, bool read_only)
{
	struct image_around around = { .read_only = read_only, .parents = vhdx_subject.parents };
	char reason[IMAGE_REASON];
	struct image *img;

	MUST(!image_open(memory_file(m, owned), &vhdx_format, &around, &img, reason), "%s", reason);
	return img;
}

/* Some blocks are there, and one is gone again. */
static void fill(struct memory *m)
{
	struct image *img = open_memory(m, false, false);
	uint8_t bytes[8192];
	int err = 0;

	for (unsigned n = 0; n < 3 && !err; n++) {
		memset(bytes, 'a' + n, sizeof(bytes));
		err = vhdx_format.write(img, bytes, sizeof(bytes),
					(uint64_t)n * img->block_size + n * 4096, 0);
	}
	if (!err)
		err = vhdx_format.zero(img, img->block_size, img->block_size, ZERO_PUNCH);
	if (!err)
		err = vhdx_format.rest(img);
	MUST(!err, "error %d", err);
	image_close(img);
}

static struct memory *create(const struct image_create *c)
{
	struct memory *m = memory_new(0);
	struct file *f = memory_file(m, false);
	char reason[IMAGE_REASON];

	MUST(!vhdx_format.create(f, c, reason), "%s", reason);
	f->ops->close(f);
	fill(m);
	return m;
}

/* ---- parents ---- */

static const struct memory *parent_memory(uint32_t sector_size)
{
	static struct memory *made[2];
	struct memory **m = &made[sector_size == 4096];

	if (!*m) {
		fuzz_steady(PARENT_SEED);
		*m = create(&(struct image_create){ .kind = "vhdx",
						    .size = 6 * VHDX_MIB,
						    .block_size = 1 << 20,
						    .sector_size = sector_size });
	}
	return *m;
}

static int open_parent(const struct image_parents *p, const struct parent_name *name,
		       struct image **out, char reason[IMAGE_REASON])
{
	const char *said = name->relative ? name->relative : name->absolute;

	MUST(said && strlen(said) < 65536 * 3, "no name");
	if (!strncmp(said, "none", 4))
		return image_fail(reason, -ENOENT, "there is no such file");
	*out = open_memory(memory_copy(parent_memory(strstr(said, "4096") ? 4096 : 512)), true,
			   true);
	return 0;
}

static const struct image_parents parents = { open_parent };

static size_t put_text(uint8_t *at, const char *text)
{
	size_t n = 0;

	for (; *text; text++, n += 2)
		put_le16(at + n, (uint8_t)*text);
	return n;
}

static void put_pair(uint8_t *locator, unsigned i, uint32_t *end, const char *key,
		     const char *value)
{
	uint8_t *pair = locator + 20 + i * 12;

	put_le32(pair, *end);
	put_le16(pair + 8, put_text(locator + *end, key));
	*end += get_le16(pair + 8);
	put_le32(pair + 4, *end);
	put_le16(pair + 10, put_text(locator + *end, value));
	*end += get_le16(pair + 10);
}

static void put_locator(struct memory *m, uint32_t sector_size)
{
	struct image *parent = open_memory(memory_copy(parent_memory(sector_size)), true, true);
	const uint8_t *g = parent->identity;
	uint8_t locator[LOCATOR_ROOM] = { 0 };
	uint32_t end = 20 + 3 * 12;
	char linkage[64];

	snprintf(linkage, sizeof(linkage),
		 "{%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x}", g[3],
		 g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13],
		 g[14], g[15]);
	image_close(parent);
	memcpy(locator, vhdx_guid_locator_type, 16);
	put_le16(locator + 18, 3);
	put_pair(locator, 0, &end, "parent_linkage", linkage);
	put_pair(locator, 1, &end, "relative_path", sector_size == 4096 ? "4096.vhdx" : "512.vhdx");
	put_pair(locator, 2, &end, "absolute_win32_path", "\\\\?\\C:\\disks\\512.vhdx");
	memory_put(m, ITEMS_AT + LOCATOR_AT, locator, sizeof(locator));
}

/* A disk of its own becomes one with a parent; its second block is partly there. */
static void make_child(struct memory *m, uint32_t sector_size, uint32_t block_size)
{
	uint64_t chunk = ((uint64_t)sector_size << 23) / block_size, at = memory_size(m);
	struct vhdx_metadata_entry e = { .at = VHDX_TABLE + LOCATOR_AT,
					 .length = LOCATOR_ROOM,
					 .flags = VHDX_REQUIRED };
	uint8_t bytes[8], bits[2048];

	memcpy(e.guid, vhdx_guid_locator, 16);
	memory_put(m, METADATA_AT + 32 + 5 * 32, &e, sizeof(e));
	put_le16(bytes, 6);
	memory_put(m, METADATA_AT + 10, bytes, 2);
	put_le32(bytes, VHDX_HAS_PARENT);
	memory_put(m, ITEMS_AT + 4, bytes, 4);
	put_locator(m, sector_size);
	memory_set_size(m, at + VHDX_MIB);
	for (size_t i = 0; i < sizeof(bits); i++)
		bits[i] = i * 37;
	memory_put(m, at, bits, sizeof(bits));
	put_le64(bytes, at | VHDX_PRESENT);
	memory_put(m, BAT_AT + chunk * 8, bytes, 8);
	memory_get(m, BAT_AT, bytes, 8);
	bytes[0] = (bytes[0] & ~7) | VHDX_PARTIAL;
	memory_put(m, BAT_AT, bytes, 8);
}

static void change_regions(struct memory *m, bool full, bool has_other)
{
	struct vhdx_region_entry other = { .guid = "nobody knows it", .length = VHDX_MIB };
	uint8_t bytes[4];

	if (has_other) {
		other.at = memory_size(m);
		memory_set_size(m, other.at + VHDX_MIB);
	}
	for (unsigned copy = 0; copy < 2; copy++) {
		put_le32(bytes, VHDX_MIB);
		if (full)
			memory_put(m, VHDX_REGIONS_AT(copy) + 16 + 24, bytes, 4);
		put_le32(bytes, 3);
		if (has_other) {
			memory_put(m, VHDX_REGIONS_AT(copy) + 8, bytes, 4);
			memory_put(m, VHDX_REGIONS_AT(copy) + 16 + 2 * 32, &other, sizeof(other));
		}
	}
}

static struct memory *build(unsigned n)
{
	uint32_t sector_size = bases[n].sector_size ? bases[n].sector_size : 512;
	struct memory *m = create(&(struct image_create){
		.kind = bases[n].fixed ? "vhdx-fixed" : "vhdx",
		.size = bases[n].size,
		.block_size = bases[n].block_size,
		.sector_size = bases[n].sector_size,
	});
	uint8_t guid[16];

	if (bases[n].has_parent)
		make_child(m, sector_size, bases[n].block_size);
	change_regions(m, bases[n].full, bases[n].has_other);
	memset(guid, 'l', sizeof(guid));
	for (unsigned slot = 0; slot < 2 && bases[n].has_log; slot++)
		memory_put(m, VHDX_HEADER_AT(slot) + 48, guid, sizeof(guid));
	return m;
}

/* ---- sums ---- */

enum { LEAVE_HEADER = 1, LEAVE_REGIONS = 4, LEAVE_LOG = 16 }; /* the first of two */

static void seal_at(struct memory *m, uint64_t at, size_t len, const char *magic)
{
	static uint8_t bytes[VHDX_TABLE];

	memory_get(m, at, bytes, len);
	if (memcmp(bytes, magic, 4))
		return;
	put_le32(bytes + 4, 0);
	put_le32(bytes + 4, crc32c(0, bytes, len));
	memory_put(m, at, bytes, 8);
}

static void seal(struct memory *m, unsigned unsealed)
{
	for (unsigned i = 0; i < 2; i++) {
		if (!(unsealed & LEAVE_HEADER << i))
			seal_at(m, VHDX_HEADER_AT(i), VHDX_PAGE, "head");
		if (!(unsealed & LEAVE_REGIONS << i))
			seal_at(m, VHDX_REGIONS_AT(i), VHDX_TABLE, "regi");
	}
	if (!(unsealed & LEAVE_LOG))
		vhdx_log_seal(m);
}

/* Both headers are right, and say that no log is in use. */
static const char *wrong(const struct memory *m)
{
	for (unsigned i = 0; i < 2; i++) {
		uint8_t header[VHDX_PAGE];
		uint32_t sum;

		memory_get(m, VHDX_HEADER_AT(i), header, sizeof(header));
		sum = get_le32(header + 4);
		put_le32(header + 4, 0);
		if (memcmp(header, "head", 4) || crc32c(0, header, sizeof(header)) != sum)
			return "a header is bad";
		if (memcmp(header + 48, vhdx_guid_none, 16))
			return "a header names a log";
	}
	return NULL;
}

/* ---- what matters ---- */

#define HEADERS(offset, bytes)                                                                  \
	{                                                                                       \
		.at = VHDX_HEADER_AT(0) + (offset), .width = bytes, .count = 2, .stride = 65536 \
	}
#define REGIONS(copy, offset, bytes)                                                     \
	{                                                                                \
		.at = VHDX_REGIONS_AT(copy) + 16 + (offset), .width = bytes, .count = 4, \
		.stride = 32                                                             \
	}
#define ENTRIES(offset, bytes)                                                              \
	{                                                                                   \
		.at = METADATA_AT + 32 + (offset), .width = bytes, .count = 8, .stride = 32 \
	}
#define ITEM(offset, bytes)                               \
	{                                                 \
		.at = ITEMS_AT + (offset), .width = bytes \
	}

static const struct hot_field hot[] = {
	{ .at = 0, .width = 8 },
	HEADERS(0, 4),
	HEADERS(8, 8),
	HEADERS(16, 16),
	HEADERS(32, 16),
	HEADERS(48, 16),
	HEADERS(64, 2),
	HEADERS(66, 2),
	HEADERS(68, 4),
	HEADERS(72, 8),
	{ .at = VHDX_REGIONS_AT(0), .width = 4, .count = 2, .stride = 65536 },
	{ .at = VHDX_REGIONS_AT(0) + 8, .width = 4, .count = 2, .stride = 65536 },
	REGIONS(0, 0, 16),
	REGIONS(0, 16, 8),
	REGIONS(0, 24, 4),
	REGIONS(0, 28, 4),
	REGIONS(1, 16, 8),
	{ .at = METADATA_AT, .width = 8 },
	{ .at = METADATA_AT + 10, .width = 2 },
	ENTRIES(0, 16),
	ENTRIES(16, 4),
	ENTRIES(20, 4),
	ENTRIES(24, 4),
	ITEM(0, 4),
	ITEM(4, 4),
	ITEM(8, 8),
	ITEM(32, 4),
	{ .at = ITEMS_AT + LOCATOR_AT, .width = 4, .count = 64, .stride = 4 },
	{ .at = ITEMS_AT + LOCATOR_AT + 20, .width = 2, .count = 64, .stride = 2 },
	/* The table, more often than the rest. */
	{ .at = BAT_AT, .width = 8, .count = 16, .stride = 8 },
	{ .at = BAT_AT, .width = 8, .count = 16, .stride = 8 },
	{ .at = BAT_AT, .width = 8, .count = 16, .stride = 8 },
	{ .at = BAT_AT, .width = 8, .count = 16, .stride = 8 },
	{ .at = BAT_AT, .width = 8, .count = 65536, .stride = 8 },
	/* The bitmap's entry, where a chunk has 4096, 16 or 16384 blocks. */
	{ .at = BAT_AT + 8 * 4096, .width = 8 },
	{ .at = BAT_AT + 8 * 16, .width = 8, .count = 16, .stride = 8 * 17 },
	{ .at = BAT_AT + 8 * 16384, .width = 8 },
};

static void put(struct memory *m, const struct script_patch *p)
{
	if (p->space == SPACE_LOG)
		vhdx_log_put(m, p);
}

#define BASES (sizeof(bases) / sizeof(*bases))
static struct memory *built[BASES];

const struct subject vhdx_subject = {
	.format = &vhdx_format,
	.tables = &vhdx_tables,
	.bases = BASES,
	.build = build,
	.built = built,
	.put = put,
	.seal = seal,
	.wrong = wrong,
	.parents = &parents,
	.hot = hot,
	.hot_count = sizeof(hot) / sizeof(*hot),
	.invent = vhdx_log_invent,
};

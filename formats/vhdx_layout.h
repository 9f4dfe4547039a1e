/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is where in a VHDX file:
 *
 *   0          who made it
 *   64, 128 K  the header, twice; the valid one with the higher sequence counts
 *   192, 256 K the region table, twice
 *   1 MiB      in units of 1 MiB: the log (found by the header), the metadata and
 *              the block table (found by the region table), blocks
 *
 * All numbers are little-endian. Nothing here trusts a number of the file.
 */
#ifndef TANDEMFS_VHDX_LAYOUT_H
#define TANDEMFS_VHDX_LAYOUT_H

#include "image.h"
#include "vhdx_overlay.h"

#define VHDX_MIB ((uint64_t)1 << 20)
#define VHDX_SIZE_MAX ((uint64_t)64 << 40)
#define VHDX_BLOCK_MAX (256u << 20)
#define VHDX_PAGE 4096u   /* the log and the headers come in these */
#define VHDX_TABLE 65536u /* a region table, a metadata table */
#define VHDX_HEADER_AT(slot) ((uint64_t)((slot) + 1) << 16)
#define VHDX_REGIONS_AT(copy) ((uint64_t)((copy) + 3) << 16)
/* Where the log may not write: it is found through what lies before this. */
#define VHDX_LOGGED_FROM VHDX_REGIONS_AT(0)

struct vhdx_header {
	uint64_t sequence;
	uint8_t file_write[16]; /* differs after each opening that wrote */
	uint8_t data_write[16]; /* differs when the disk may differ: what children know */
	uint8_t log[16];        /* of the entries that count; zeros: none do */
	uint64_t log_at;
	uint32_t log_length;
};

struct vhdx_range {
	uint64_t at, length;
};

#define VHDX_OTHERS 6

struct vhdx_layout {
	struct vhdx_header header;
	unsigned slot; /* of the header that counts */
	struct vhdx_range bat, metadata;
	/* Regions that this build need not know, to be left alone. */
	struct vhdx_range others[VHDX_OTHERS];
	size_t others_count;
	bool too_many_others;
	uint64_t size;
	uint32_t block_size, sector_size;
	bool fixed, has_parent;
	uint64_t size_at;          /* where the size is, in the file */
	struct vhdx_range locator; /* how to find the parent; length 0: none */
};

/* As on disk. */
struct vhdx_region_head {
	char signature[4];
	uint32_t checksum, count, reserved;
};

struct vhdx_region_entry {
	uint8_t guid[16];
	uint64_t at;
	uint32_t length, required;
};

struct vhdx_metadata_head {
	char signature[8];
	uint16_t reserved, count;
	uint32_t reserved2[5];
};

struct vhdx_metadata_entry {
	uint8_t guid[16];
	uint32_t at, length, flags, reserved;
};

enum { VHDX_FOR_DISK = 2, VHDX_REQUIRED = 4 };       /* flags of an item */
enum { VHDX_KEEPS_BLOCKS = 1, VHDX_HAS_PARENT = 2 }; /* of the file parameters */

extern const uint8_t vhdx_guid_bat[16], vhdx_guid_metadata[16], vhdx_guid_parameters[16],
	vhdx_guid_size[16], vhdx_guid_page83[16], vhdx_guid_logical[16], vhdx_guid_physical[16],
	vhdx_guid_locator[16], vhdx_guid_locator_type[16], vhdx_guid_none[16];

/* A new one. */
int vhdx_guid_make(uint8_t guid[16]);

/* The identifier and the two headers: sets header and slot. */
int vhdx_read_headers(struct file *file, uint64_t file_size, struct vhdx_layout *l,
		      char reason[IMAGE_REASON]);
/* Writes that copy; not durable yet. */
int vhdx_write_header(struct file *file, unsigned slot, const struct vhdx_header *h);
/* The region tables, seen through the log: sets bat, metadata, others. */
int vhdx_read_regions(struct file *file, const struct vhdx_overlay *o, struct vhdx_layout *l,
		      char reason[IMAGE_REASON]);
/* The valid region table, the first if both are. -EINVAL: none is. */
int vhdx_load_regions(struct file *file, const struct vhdx_overlay *o, uint8_t table[VHDX_TABLE]);
/* Both headers and both region tables; else a reason. */
bool vhdx_copies_are_whole(struct file *file, const struct vhdx_overlay *o,
			   char reason[IMAGE_REASON]);
/* Sets the checksum of a region table. */
void vhdx_seal_regions(uint8_t table[VHDX_TABLE]);
/* The metadata: sets the rest. */
int vhdx_read_metadata(struct file *file, const struct vhdx_overlay *o, struct vhdx_layout *l,
		       char reason[IMAGE_REASON]);

static inline uint64_t vhdx_round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

/* Of a valid layout: blocks that one bitmap block is for. */
static inline uint64_t vhdx_chunk(const struct vhdx_layout *l)
{
	return ((uint64_t)l->sector_size << 23) / l->block_size;
}

static inline uint64_t vhdx_blocks(const struct vhdx_layout *l, uint64_t size)
{
	return (size + l->block_size - 1) / l->block_size;
}

/* Where in the block table the entry of a block is: a bitmap's follows those of each chunk. */
static inline uint64_t vhdx_bat_index(const struct vhdx_layout *l, uint64_t block)
{
	return block + block / vhdx_chunk(l);
}

static inline uint64_t vhdx_bat_place(const struct vhdx_layout *l, uint64_t block)
{
	return l->bat.at + vhdx_bat_index(l, block) * sizeof(uint64_t);
}

/* How many entries a table for so many blocks has. */
static inline uint64_t vhdx_bat_count(const struct vhdx_layout *l, uint64_t blocks)
{
	uint64_t chunk = vhdx_chunk(l);

	if (l->has_parent)
		return (blocks + chunk - 1) / chunk * (chunk + 1);
	return blocks ? vhdx_bat_index(l, blocks - 1) + 1 : 0;
}

/* Entries of the block table. */
#define VHDX_ENTRY_STATE(e) ((unsigned)((e)&7))
#define VHDX_ENTRY_PLACE(e) ((e) & ~(VHDX_MIB - 1))

enum vhdx_state {
	VHDX_ABSENT = 0,
	VHDX_UNDEFINED = 1,
	VHDX_ZERO = 2,
	VHDX_UNMAPPED = 3,
	VHDX_PRESENT = 6,
	VHDX_PARTIAL = 7,
};

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VHDX file in memory, byte by byte, for tests that need one nobody would make:
 * damaged ones, with a log to be replayed, with a parent.
 */
#ifndef TESTS_VHDX_BUILD_H
#define TESTS_VHDX_BUILD_H

#include "fake_file.h"

#define BUILD_MIB (1u << 20)
#define BUILD_LOG_AT BUILD_MIB
#define BUILD_METADATA_AT (2 * BUILD_MIB)
#define BUILD_BAT_AT (3 * BUILD_MIB)
#define BUILD_DATA_AT (4 * BUILD_MIB)
#define BUILD_HEADER(slot) (((slot) + 1) << 16)
#define BUILD_REGIONS(copy) (((copy) + 3) << 16)
/* Items of the metadata, from its beginning. */
#define BUILD_PARAMETERS (65536 + 0)
#define BUILD_SIZE (65536 + 8)
#define BUILD_PAGE83 (65536 + 16)
#define BUILD_LOGICAL (65536 + 32)
#define BUILD_PHYSICAL (65536 + 36)
#define BUILD_LOCATOR (65536 + 4096)
#define BUILD_LOCATOR_ROOM 4096

enum { BUILD_FIXED = 1, BUILD_CHILD = 2 }; /* of the file parameters */

struct vhdx_build {
	uint8_t *bytes;
	uint64_t size; /* of the file */
	uint64_t disk;
	uint32_t block, sector;
	uint32_t entries; /* of the metadata */
};

/* A valid file without blocks; the header of slot 1 counts, its sequence is 2. */
void build_start(struct vhdx_build *b, uint64_t disk, uint32_t block, uint32_t sector,
		 uint32_t flags);
void build_end(struct vhdx_build *b);
/* The file gets this size, with zeros. */
void build_resize(struct vhdx_build *b, uint64_t size);
/* Makes the sums of both headers and region tables right. */
void build_seal(struct vhdx_build *b);
/* Entry `index` of the block table, bitmaps' ones counted. */
void build_bat(struct vhdx_build *b, uint64_t index, uint64_t place, unsigned state);
/* One more item. */
void build_item(struct vhdx_build *b, const uint8_t guid[16], uint32_t at, uint32_t length,
		uint32_t flags);
/* One more region, in both tables. */
void build_region(struct vhdx_build *b, const uint8_t guid[16], uint64_t at, uint32_t length,
		  uint32_t required);
/* Keys and values in turn, NULL at the end. */
void build_locator(struct vhdx_build *b, const char *const *pairs);
/* Both headers name it; zeros: there is none. */
void build_log_guid(struct vhdx_build *b, uint8_t fill);

/* What an entry of the log writes. */
struct build_change {
	uint64_t at;
	const uint8_t *page; /* NULL: zeros, `length` of them */
	uint64_t length;
};

/*
 * An entry at this page of the log, going on at the log's beginning where it
 * ends, with the guid that build_log_guid() gave. flushed and last: the file's
 * size. Returns the page behind it.
 */
uint32_t build_log_entry(struct vhdx_build *b, uint32_t page, uint64_t sequence, uint32_t tail_page,
			 const struct build_change *changes, uint32_t count);
/* Makes the sum of the entry at this page right, where its length is too. */
void build_log_seal(struct vhdx_build *b, uint32_t page);
/* That page of the log. */
uint8_t *build_log_page(struct vhdx_build *b, uint32_t page);

/* The file is in memory, or is written there. */
struct file *build_file(const struct vhdx_build *b);
void build_save(const struct vhdx_build *b, const char *path);

#endif

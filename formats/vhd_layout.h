/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is where in a VHD file, and whether it can be so. Big-endian. No I/O.
 *
 *   fixed       data, footer
 *   dynamic     copy of the footer, header, table and blocks in any order, footer
 *
 * A block is a bitmap, padded to 512 bytes, and its data; the table has the
 * sector number of each one's bitmap.
 */
#ifndef TANDEMFS_VHD_LAYOUT_H
#define TANDEMFS_VHD_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "image.h"

#define VHD_SECTOR 512
#define VHD_HEADER 1024
#define VHD_ABSENT 0xffffffffu
/* The largest disk: 2040 GiB. */
#define VHD_SIZE_MAX ((uint64_t)2040 << 30)

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

struct vhd_footer {
	uint64_t size;          /* of the disk */
	uint64_t header_offset; /* not for fixed ones */
	enum vhd_type type;
	uint8_t uuid[16];
};

/* What a name of the parent is in; in the file. */
struct vhd_locator {
	uint32_t code, length;
	uint64_t offset, space;
};
#define VHD_LOCATORS 8
#define VHD_RELATIVE 0x57327275u /* "W2ru" */
#define VHD_ABSOLUTE 0x57326b75u /* "W2ku" */

struct vhd_header {
	uint64_t table_offset;
	uint32_t entries, block_size;
	uint8_t parent_uuid[16];
	uint32_t parent_time;  /* seconds since 2000 */
	char parent_name[770]; /* UTF-8 */
	struct vhd_locator locators[VHD_LOCATORS];
};

/* 0, or -EINVAL with the reason. A footer of `bytes`; not whether it fits the file. */
int vhd_footer_read(const uint8_t bytes[VHD_SECTOR], struct vhd_footer *out,
		    char reason[IMAGE_REASON]);
/* A new one; vhd_footer_set_size for one that there is. Both leave a right checksum. */
void vhd_footer_write(uint8_t bytes[VHD_SECTOR], const struct vhd_footer *f, time_t now);
void vhd_footer_set_size(uint8_t bytes[VHD_SECTOR], uint64_t size);

int vhd_header_read(const uint8_t bytes[VHD_HEADER], struct vhd_header *out,
		    char reason[IMAGE_REASON]);
void vhd_header_write(uint8_t bytes[VHD_HEADER], const struct vhd_header *h);
/* Changes only the first 512 bytes. */
void vhd_header_set_table(uint8_t bytes[VHD_HEADER], uint64_t offset, uint32_t entries);

/* Bytes of a block's bitmap in the file. */
static inline uint32_t vhd_bitmap_size(uint32_t block_size)
{
	return (block_size / VHD_SECTOR / 8 + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
}

/* Seconds since 2000, as in footers. */
uint32_t vhd_time(time_t t);

/*
 * A file name as Windows writes it to one as we do, and back. UTF-8 that is cut
 * off or wrong becomes '?'. Both end with a NUL and never write past `size`.
 */
void vhd_name_from_utf16(const uint8_t *bytes, size_t len, bool big, char *out, size_t size);
/* Returns the bytes written, at most `size`; '/' becomes '\\'. */
size_t vhd_name_to_utf16(const char *name, bool big, uint8_t *out, size_t size);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vhd.c, vhd_open.c and vhd_make.c share. */
#ifndef TANDEMFS_VHD_INNER_H
#define TANDEMFS_VHD_INNER_H

#include "block_map.h"
#include "bytes.h"
#include "vhd_layout.h"

/* The table is read and written in pages. */
#define VHD_PAGE 4096
#define VHD_PAGE_ENTRIES (VHD_PAGE / 4)

struct vhd {
	struct block_map *map; /* NULL: fixed */
	uint8_t footer[VHD_SECTOR];
	uint64_t tail;       /* where the last footer is; changes under the map's locks */
	uint64_t old_tail;   /* a footer that is still there, where blocks will be; 0: none */
	bool has_tail, mend; /* one of the footers is to be written anew */
	bool outsiders;      /* the table names places outside of the file */
	uint64_t header_offset, table_offset, table_bytes;
	uint32_t table_entries;
	uint8_t header[VHD_HEADER];
};

extern const struct block_tables vhd_tables;

/* Members of vhd_format. */
int vhd_open(struct image *img, char reason[IMAGE_REASON]);
int vhd_resize(struct image *img, uint64_t size);
int vhd_create(struct file *file, const struct image_create *c, char reason[IMAGE_REASON]);

static inline uint64_t vhd_sectors(uint64_t bytes)
{
	return (bytes + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
}

/* Bytes of a table, to the end of its last sector. */
static inline uint64_t vhd_table_bytes(uint64_t entries)
{
	return vhd_sectors(entries * 4);
}

#endif

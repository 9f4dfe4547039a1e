/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the VHDX format share. */
#ifndef TANDEMFS_VHDX_INNER_H
#define TANDEMFS_VHDX_INNER_H

#include <pthread.h>
#include <stdatomic.h>

#include "block_map.h"
#include "vhdx_layout.h"
#include "vhdx_log.h"

extern const char *const vhdx_kinds[]; /* "vhdx", "vhdx-fixed", "vhdx-differencing" */

struct vhdx {
	/* bat, header and slot: under saving, once the image is open. */
	struct vhdx_layout layout;
	/* What the log of the file writes; without patches once that is in the file. */
	struct vhdx_overlay overlay;
	struct block_map *map;
	pthread_mutex_t saving;     /* behind the map's locks */
	struct vhdx_log log;        /* under saving */
	uint64_t *bitmaps;          /* differencing: place of the bitmap of each chunk; 0: none */
	_Atomic uint64_t file_size; /* grow() may run beside save() */
	uint64_t flushed;           /* so much of the file is durable for sure */
	uint64_t needed;            /* by what open found */
	uint64_t prepared;          /* the page of the block table that got space last */
	bool log_ended;             /* under saving: a header may say so already */
	bool outsiders;             /* the block table names places outside of the file */
};

static inline struct vhdx *vhdx_of(const struct image *img)
{
	return img->private;
}

extern const struct block_tables vhdx_tables;

/* Sets img->parent, verified. Of a differencing image whose layout is known. */
int vhdx_open_parent(struct image *img, char reason[IMAGE_REASON]);
/* Members of vhdx_tables. */
int vhdx_start_writing(struct image *img, bool resumed);
int vhdx_save(struct image *img, const struct block_change *changes, size_t count);
int vhdx_finish(struct image *img, uint64_t end);
/* Under saving. Everything written is durable, so that a log entry may follow. */
int vhdx_settle(struct image *img);
/* Under saving, before an entry of the log: a header names it, which a finish that failed may have ended. */
int vhdx_have_log(struct image *img);
/* The member of struct image_format. */
int vhdx_resize(struct image *img, uint64_t size);
int vhdx_create(struct file *file, const struct image_create *c, char reason[IMAGE_REASON]);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VHDX file as it will be when its log has been replayed, without a change of
 * the file: in order, what the log's entries write.
 */
#ifndef TANDEMFS_VHDX_OVERLAY_H
#define TANDEMFS_VHDX_OVERLAY_H

#include "file.h"

struct vhdx_patch {
	uint64_t at, length;
	uint8_t *data; /* NULL: zeros */
};

struct vhdx_overlay {
	struct vhdx_patch *patches;
	size_t count, room;
	uint64_t file_size; /* as it is */
	uint64_t end;       /* what the log says it has to be, or as it is */
};

/* Takes over `data` in any case. */
int vhdx_overlay_add(struct vhdx_overlay *o, uint64_t at, uint64_t length, uint8_t *data);
/* -EIO: it lies behind the end. */
int vhdx_overlay_read(const struct vhdx_overlay *o, struct file *file, void *buf, size_t len,
		      uint64_t off);
/* Writes all of it into the file; not durable yet. */
int vhdx_overlay_apply(const struct vhdx_overlay *o, struct file *file);
/* Forgets the patches. */
void vhdx_overlay_clear(struct vhdx_overlay *o);

#endif

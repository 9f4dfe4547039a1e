/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of other formats say of themselves, read and verified here
 * before any other program is asked to open them. QEMU opens whatever path an
 * image names, so an image that names any other file is refused.
 *
 * Nothing is believed: sizes, places and counts must fit each other and the
 * file. What is only checked by walking whole tables is left to QEMU.
 *
 * Pure but for reads of the file; any thread.
 */
#ifndef TANDEMFS_FOREIGN_HEADS_H
#define TANDEMFS_FOREIGN_HEADS_H

#include "image.h"

struct foreign_head {
	uint64_t size;       /* of the disk, a multiple of 512, not 0 */
	uint32_t block_size; /* in which it takes space */
	/* Whoever wrote to it did not close it: QEMU wants it checked before it writes. */
	bool unclean;
	/* It may only be read, and why. */
	bool read_only;
	char complaint[IMAGE_REASON]; /* empty: nothing is wrong with it */
};

/*
 * 0, or -errno and a reason: -EINVAL when it is damaged or not such an image,
 * -EOPNOTSUPP when it is whole but not served. *out is set on success only.
 */
typedef int foreign_head_read(struct file *f, struct foreign_head *out, char reason[IMAGE_REASON]);

foreign_head_read qcow2_head_read, vmdk_head_read, vdi_head_read, parallels_head_read,
	qed_head_read;

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The formats that are served through qemu-nbd and libnbd. Both are looked for
 * when a disk is used: without them an image can be opened, but not started.
 */
#ifndef TANDEMFS_QEMU_FORMATS_H
#define TANDEMFS_QEMU_FORMATS_H

#include "image.h"

extern const struct image_format qcow2_format, vmdk_format, vdi_format, parallels_format,
	qed_format;

#endif

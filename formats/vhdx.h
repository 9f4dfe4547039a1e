/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VHDX: fixed and dynamic disks are read and written, differencing ones read.
 * A log that another program left is replayed in memory, and into the file
 * before the first write.
 */
#ifndef TANDEMFS_VHDX_H
#define TANDEMFS_VHDX_H

#include "image.h"

extern const struct image_format vhdx_format;

#endif

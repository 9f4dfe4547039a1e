/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file is the disk. */
#ifndef TANDEMFS_RAW_H
#define TANDEMFS_RAW_H

#include "image.h"

extern const struct image_format raw_format;

#endif

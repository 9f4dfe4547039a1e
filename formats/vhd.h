/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHD images: fixed, dynamic and differencing. */
#ifndef TANDEMFS_VHD_H
#define TANDEMFS_VHD_H

#include "image.h"

extern const struct image_format vhd_format;

#endif

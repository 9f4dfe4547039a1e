// SPDX-License-Identifier: GPL-2.0-or-later
#include "target.h"

FUZZ_IMAGES(vhd_subject, NULL)

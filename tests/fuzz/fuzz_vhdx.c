// SPDX-License-Identifier: GPL-2.0-or-later
#include "target.h"

FUZZ_IMAGES(vhdx_subject, NULL)

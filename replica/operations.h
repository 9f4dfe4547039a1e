/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the operations of tandem.h share among their files. */
#ifndef TANDEMFS_OPERATIONS_H
#define TANDEMFS_OPERATIONS_H

#include "tandem.h"

/* What a file may be called that we make. -EINVAL, and why. */
int check_file_name(const char *name, struct why *why);
/* With discovery held, of a disk that is not used: its file is gone, and so is all that we know. */
void operations_forget(struct tandem *t, struct disk *d);
/*
 * FILE.incomplete is called FILE from now on. Only tries to get discovery, because whoever has it
 * may wait for the caller: -EBUSY.
 */
int operations_complete_name(struct disk *d);

#endif

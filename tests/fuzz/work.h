/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens an image, works on it as the script says, and looks all the time at
 * samples of the disk:
 *
 *   open changes nothing in the file; who cannot open it says why
 *   what is inside the disk can be read
 *   a write, or zeros, are read back; nothing else changes by them; where one
 *     fails there are old or new bytes; holes read as zeros
 *   after rest and open, after reload, after a kill with notes: the same disk,
 *     and no complaint that there was not before
 *   memory is taken for what the file has, not for what it says
 */
#ifndef FUZZ_WORK_H
#define FUZZ_WORK_H

#include "subject.h"

/* Notes that are there when the image is opened first: made in `dirfd`, called `name`. */
typedef void work_notes(const struct subject *s, const struct script *script, struct memory *m,
			int dirfd, const char *name);

#define WORK_BOOT "the same boot..." /* 16 bytes */

/* notes: NULL, no notes but those that the script asks for. */
void work(const struct subject *s, const struct script *script, work_notes *notes);

/* An empty directory in memory, for this process; removed at its end. */
int work_directory(void);

/* The size of the largest piece of memory that was asked for since the last call. */
size_t work_largest(void);

#endif

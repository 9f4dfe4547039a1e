/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which names may be given to snapshots, relationships, groups, pools and peers:
 * none that could be taken for a moment, or for a word of a command. Pure.
 */
#ifndef TANDEMFS_NAMES_H
#define TANDEMFS_NAMES_H

#include <stddef.h>

#include "why.h"

#define NAME_BYTES_MAX 200

/* -EINVAL, and why, when it may not be a name. */
int name_check(const char *name, struct why *why);
/* What goes before "-N" in a name made up for a disk: always the beginning of a valid one. */
void name_stem(const char *disk, char *stem, size_t size);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which names may be given to snapshots, relationships, groups, pools and peers:
 * none that could be taken for a moment, or for a word of a command. Pure.
 */
#ifndef TANDEMFS_NAMES_H
#define TANDEMFS_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "why.h"

#define NAME_BYTES_MAX 200

/* -EINVAL, and why, when it may not be a name. */
int name_check(const char *name, struct why *why);
/*
 * Of a file that is incomplete by itself: the name that it has once it is whole. False, and
 * the same, of others. whole has NAME_MAX + 1 bytes; name may be the same.
 */
#define INCOMPLETE ".incomplete"
bool name_whole(const char *name, char *whole);
/* What goes before "-N" in a name made up for a disk: always the beginning of a valid one. */
void name_stem(const char *disk, char *stem, size_t size);

#endif

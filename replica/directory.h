/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Directories by path, where the path may lead into a mount of our own: it was mounted over
 * them, or above. A daemon that follows another gets their descriptors from before, and never
 * takes such a path: it would wait for its own answer.
 */
#ifndef TANDEMFS_DIRECTORY_H
#define TANDEMFS_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The directory of this absolute path is behind fd, which is kept: O_PATH, or one that has a
 * lock, which directory_open() has then, too. At the start only. -ENOSPC.
 */
int directory_hidden(const char *path, int fd);
bool directory_is_hidden(const char *path);
/* As open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC): -1 with errno. */
int directory_open(const char *path);
/* As realpath(); resolved has PATH_MAX bytes. */
bool directory_resolve(const char *path, char *resolved);

#endif

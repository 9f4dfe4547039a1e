/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What another program may do, by Landlock. QEMU reads images that guests have written: if one of
 * them gets it to do what it likes, that is to read the system's programs and libraries, and to
 * use the descriptors it was given.
 */
#ifndef TANDEMFS_CONFINE_H
#define TANDEMFS_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

/* Can this kernel do that? */
bool confine_available(void);

/*
 * A ruleset, as a descriptor: path may be run, and the files behind the descriptors opened again as
 * they are open. Nothing else can be written, made, removed or connected to, and no process outside
 * be signalled, as far as this kernel can tell. -ENOSYS: the kernel cannot confine at all.
 */
int confine_make(const char *path, const int *fds, size_t count);

/* From now on, for this thread and what it runs. System calls only. 0 or an errno. */
int confine_self(int ruleset);

#endif

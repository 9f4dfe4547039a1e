/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a program may do, by Landlock. QEMU and the daemon read images that guests have written: if
 * one of them gets it to do what it likes, that is to read the system's programs and libraries, and
 * to use the descriptors it was given, or the directories that it serves.
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

/*
 * A ruleset for a daemon: everything that it does with files below these directories, and to run
 * these programs and those of the system. Lists end with NULL, paths are resolved. -ENOSYS: the
 * kernel cannot, or not all of it; -EOPNOTSUPP: it could, but that is turned off.
 */
int confine_make_server(const char *const *dirs, const char *const *programs);
/* One more, for who is not confined yet. fd: O_PATH will do. */
int confine_add_program(int ruleset, int fd);
/* It is below a directory of programs, or has one, or one of these, below it. */
bool confine_runs_from(const char *dir, const char *const *programs);

/* From now on, for this thread and what it runs. System calls only. 0 or an errno. */
int confine_self(int ruleset);
/* Those that a daemon has no use for are gone for good, before confine_self(). 0 or an errno. */
int confine_capabilities(void);

/* It is in force here, as can be seen. */
bool confine_holds(void);
/* It, and nothing else, is why this directory cannot be opened. */
bool confine_forbids(const char *dir);

#endif

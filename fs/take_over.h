/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A daemon goes on with the mount of the one before it, which is dead: the files that are open
 * in it, and the requests that were not answered.
 */
#ifndef TANDEMFS_TAKE_OVER_H
#define TANDEMFS_TAKE_OVER_H

struct mount;

/* Every open file, as far as it is there; for the rest see take_over_file(). 0 or -errno. */
int take_over_files(struct mount *m);
/*
 * The kernel learns that somebody answers again: who polls looks, and what was not answered is sent
 * again. After take_over_files(), before any thread reads requests. 0 or -errno.
 */
int take_over_requests(struct mount *m);

#endif

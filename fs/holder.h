/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The holder: a small process that starts the daemon, keeps /dev/fuse and the session's memory
 * (session.h), and starts the next daemon when that one dies. It serves nothing and reads no
 * request; it mounts and unmounts for a daemon that is confined. It ends with a daemon that was
 * stopped, or whose mount was taken away.
 *
 * It believes nothing of what a daemon says that would have it do more than that: where it mounts,
 * unmounts and is asked, and which file it starts, is of its own command line.
 *
 * Before it starts the next one, nothing of the last can still land: it is the subreaper of all
 * that a daemon starts, and has seen the end of each.
 */
#ifndef TANDEMFS_HOLDER_H
#define TANDEMFS_HOLDER_H

#include "held.h"
#include "options.h"
#include "why.h"

/*
 * Becomes the holder: in a child of it, which is the daemon, returns 0, with its end of the
 * socket; otherwise never returns. -errno, and why: it cannot. argv and o are kept.
 */
int holder_begin(char **argv, const struct options *o, struct held *daemon, struct why *why);

/*
 * What is asked of the holder of a mount, from outside: prints its answer. dir is DISKDIR or MOUNTPOINT.
 * The exit status.
 */
int holder_status(const char *dir);
/* The daemon hands its mount over to this program. Returns when that one serves, or does not. */
int holder_replace(const char *dir);

#endif

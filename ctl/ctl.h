/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Everything under .replication/, as text: the tree of files, what reading one
 * gives, what a command does. Knows no FUSE: fs/ asks here by node.
 *
 * A node is a row of the constant table of files (tree.c) and the number of the
 * object it belongs to, so it means the same after a restart and nothing
 * has to be remembered or forgotten for it. Any thread; nothing here waits
 * for the I/O of a disk.
 */
#ifndef TANDEMFS_CTL_H
#define TANDEMFS_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tandem.h"
#include "text.h"

struct ctl;

/* What only the mount knows, for `capabilities`: key and value of each line, NULL at the end. */
struct capability {
	const char *key, *value;
};

int ctl_new(struct tandem *t, struct ctl **out);
void ctl_free(struct ctl *c);
/* Kept, not copied; set once, before the first request. */
void ctl_set_capabilities(struct ctl *c, const struct capability *list);
/*
 * Called for SetLogLevel and Set LogLevel= with "error", "warning", "info" or
 * "debug". 0 or -EINVAL. Likewise.
 */
void ctl_set_log_level_hook(struct ctl *c, int (*fn)(const char *level));

struct node {
	uint8_t row;
	uint32_t object; /* number of the disk, pool, ...; 0 where there is none */
};

enum node_kind {
	NODE_NONE,
	NODE_DIR,
	NODE_TEXT,    /* rendered whole when read from offset 0 */
	NODE_CONTROL, /* takes commands, gives results */
	NODE_PIPE,    /* events_pipe: lines from now on, blocking */
};

extern const struct node node_root; /* .replication itself */

enum node_kind node_kind(struct node n);
uint32_t node_mode(struct node n); /* permission bits */
/* -ENOENT; names are any bytes. */
int node_lookup(struct ctl *c, struct node dir, const char *name, struct node *out);
/* The object still exists. */
bool node_exists(struct ctl *c, struct node n);
/* Calls fn for each name of a directory that is listed, until it returns false. */
int node_list(struct ctl *c, struct node dir,
	      bool (*fn)(void *arg, const char *name, struct node child), void *arg);
/* NODE_TEXT, and NODE_CONTROL for the last command on the object. Appends to out. 0 or -errno. */
int node_render(struct ctl *c, struct node n, struct text *out);
/* Another number when reading it again would tell of a change. */
uint64_t node_version(struct ctl *c, struct node n);

struct caller {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	uid_t owner; /* who mounted; he and root may command */
};

/*
 * Does one command, as the whole of one write. 0 or -errno by the manual's
 * table; either way its result is appended to result and is the object's last.
 */
int node_command(struct ctl *c, struct node control, const char *bytes, size_t len,
		 const struct caller *caller, struct text *result);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Everything under .replication/, as text: the tree of files, what reading one
 * gives, what a command does. Knows no FUSE: fs/ asks here by node.
 *
 * A node is a row of the constant table of files (tree.c) and the number of the
 * object it belongs to, so it means the same after a restart and nothing
 * has to be remembered or forgotten for it; but for what is looked up in at/,
 * changes/ and wait/, whose number is one of lookups.h. Any thread; nothing here
 * waits for the I/O of a disk, but commands that say so and NODE_CHANGES.
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
	const char *key;
	const char *_Atomic value; /* may be another one later */
};

int ctl_new(struct tandem *t, struct ctl **out);
void ctl_free(struct ctl *c);
/*
 * Keeps there, in CTL_MEMORY bytes, aligned as malloc does, what nodes need to mean the same to
 * another daemon: zeros, or what that one has left. Before the first request.
 */
#define CTL_MEMORY (64 << 10)
void ctl_use_memory(struct ctl *c, void *memory);
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
	NODE_LINK,    /* symbolic; rendering gives where it points */
	NODE_CONTENT, /* a disk at a kept moment: see node_content */
	NODE_CHANGES, /* text that maps a disk's content; rendering may wait for the disk */
	NODE_WAIT,    /* text that cannot be read yet, maybe */
};

extern const struct node node_root; /* .replication itself */

enum node_kind node_kind(struct node n);
uint32_t node_mode(struct node n); /* permission bits */
/* -ENOENT, -ESTALE; names are any bytes. */
int node_lookup(struct ctl *c, struct node dir, const char *name, struct node *out);
/* The object still exists. */
bool node_exists(struct ctl *c, struct node n);
/*
 * An open file: what was looked up for it stays known until node_close. -ENOENT;
 * -ESTALE when it has to be looked up again.
 */
int node_open(struct ctl *c, struct node n);
void node_close(struct ctl *c, struct node n);
/* Calls fn for each name of a directory that is listed, until it returns false. */
int node_list(struct ctl *c, struct node dir,
	      bool (*fn)(void *arg, const char *name, struct node child), void *arg);
/*
 * Appends to out; of a NODE_CONTROL the last result on the object. 0 or -errno.
 * Of a NODE_WAIT -EAGAIN when there is nothing to be read yet, which ends with
 * another node_version, and -ECANCELED or -ENODEV when it is in vain.
 */
int node_render(struct ctl *c, struct node n, struct text *out);
/*
 * Another number when reading it again would tell of a change; NODE_WAITS of a
 * NODE_WAIT that there is nothing to be read from.
 */
#define NODE_WAITS 1
uint64_t node_version(struct ctl *c, struct node n);

struct content {
	struct disk *disk; /* a reference; owner and mode are its own */
	uint64_t generation;
	uint64_t time_ms, size;
	uint64_t allocated;   /* bytes that only this one holds */
	struct disk *overlay; /* what is written to it, over that moment: a reference; or NULL */
};
/*
 * NODE_CONTENT, and NODE_CHANGES, which has only the disk. -ENOENT; -ESTALE:
 * the content had to be given up.
 */
int node_content(struct ctl *c, struct node n, struct content *out);

struct caller {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	uid_t owner; /* who mounted; he and root may command */
};

/* What a command that was accepted, and said `wait`, waits for. */
struct wait_for {
	bool any;         /* else nothing: it is done */
	struct node node; /* a NODE_WAIT, for node_render; node_close afterwards */
	uint64_t ms;      /* at most; UINT64_MAX: for ever */
};

/*
 * Does one command, as the whole of one write. 0 or -errno by the manual's
 * table; either way its result is appended to result and is the object's last.
 * On success sets *wait (NULL: nobody waits). -ECANCELED: it was accepted, and cannot be waited for.
 */
int node_command(struct ctl *c, struct node control, const char *bytes, size_t len,
		 const struct caller *caller, struct text *result, struct wait_for *wait);
/*
 * The same command, which the daemon before has begun, and perhaps done: it is not done again, and
 * its result says so. -EIO.
 */
int node_command_interrupted(struct ctl *c, struct node control, const char *bytes, size_t len,
			     const struct caller *caller, struct text *result);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tree of files and the commands over a real tandem in a directory of its own, without FUSE. */
#ifndef TESTS_TEMP_CTL_H
#define TESTS_TEMP_CTL_H

#include "ctl.h"
#include "events.h"

extern char dir[100];
extern struct tandem *tandem;
extern struct ctl *ctl;
extern struct text out; /* of the last cat, list or command */
extern const struct caller root;
extern char level[16]; /* of the log, as it was last set */

void setup(void);
void teardown(void);
/* A file of so many bytes in DISKDIR; before start(), to be found by it. */
void make(const char *name, off_t size);
void start(void);

/* "disks/a.img/status"; names in it hold no slash. */
int walk(const char *path, struct node *n);
struct node at(const char *path);
const char *cat(const char *path);
/* "control status disks/ ..." */
const char *list(const char *path);
bool add_name(void *arg, const char *name, struct node child);
int command_by(const char *path, const char *command, const struct caller *who);
int command(const char *path, const char *text);
/* It is in `out`. */
void expect(const char *line);

#endif

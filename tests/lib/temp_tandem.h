/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One tandem per test: a real one on a directory of its own and without any
 * mount, or a bare one that disks with fake files can live in.
 */
#ifndef TESTS_TEMP_TANDEM_H
#define TESTS_TEMP_TANDEM_H

#include "scan.h"
#include "tandem.h"
#include "watch.h"

struct temp_tandem {
	char dir[PATH_MAX];
	struct tandem_options options;
	struct tandem *t; /* NULL: not open */
	uint64_t seen;    /* the last event that was asked about */
};
extern struct temp_tandem temp;

/* A fresh directory; nothing is open yet. temp_tandem_end closes what is. */
void temp_tandem_begin(void);
void temp_tandem_end(void);
/* These fail the test when the tandem does. */
void temp_open(void);
void temp_close(void);
void temp_rescan(void);
/* As the watcher does after the last close of a disk that is not Ready. */
void temp_settle(struct disk *d);
/* What another open says: the error, and its reason in `why`. */
int temp_refused(struct why *why);
/* In a process of its own, which then is gone without having closed it. */
void temp_open_and_crash(void);

/* Path of a name in the directory; static, the last four stay. */
const char *temp_path(const char *name);
/* A new file of so many bytes, closed again. */
void temp_make(const char *name, uint64_t size);
/* Writes a byte behind everybody's back; the time of change is another one after it. */
void temp_scribble(const char *name);

/* A listed disk (a reference; the test frees it with disk_unref), or NULL. */
struct disk *temp_disk(const char *label);
/* What status would say: "Ready", "" when there is no such disk. */
const char *temp_state(const char *label);
const char *temp_reason(const char *label);
uint32_t temp_number(const char *label);
size_t temp_count(void);
/* No label, no number and no identity twice; sorted. */
void temp_check_tables(void);

/* So many events since temp_forget() (or the opening) contain the text. */
unsigned temp_events(const char *text);
void temp_forget(void);
/* Until there is one, for a few seconds; for tests with the watcher. */
bool temp_event_comes(const char *text);

/* No directory, no catalogue: just what verbs and states need. */
struct tandem *bare_tandem(void);
void bare_tandem_free(struct tandem *t);
/* Listed and Ready, its image a raw one on this file. A reference. */
struct disk *bare_disk(struct tandem *t, struct file *file);
unsigned bare_events(struct tandem *t, const char *text);

#endif

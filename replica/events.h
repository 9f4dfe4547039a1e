/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happened, a line each: SEQ TIME SEVERITY KIND OBJECT [Key=Value]...
 * The last EVENTS_KEPT lines stay, across restarts, in the file `events` of the
 * state directory. A line is in that file, in the page cache, before anybody
 * can read it here, so a number that was seen is never given to another event
 * after a crash of the daemon. A file that can't be written to costs
 * only that promise: the lines go on in memory.
 *
 * Any thread.
 */
#ifndef TANDEMFS_EVENTS_H
#define TANDEMFS_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#define EVENTS_KEPT 10000

enum event_severity {
	EVENT_INFORMATION = 1,
	EVENT_WARNING,
	EVENT_MINOR,
	EVENT_MAJOR,
	EVENT_CRITICAL
};

struct events;

int events_open(int state_dirfd, struct events **out);
void events_close(struct events *e);

/*
 * `kind` is a word of the manual's list; object is "disks/alpha.img", "pools/fast"
 * or "daemon" (blanks and control characters are escaped here); the
 * rest, "Key=Value Key=Value", may be "" and is taken as it is: use
 * event_word() for values that come from outside.
 */
__attribute__((format(printf, 5, 6))) void events_emit(struct events *e,
						       enum event_severity severity,
						       const char *kind, const char *object,
						       const char *fmt, ...);

/* Writes src with blanks, control characters and backslashes as \ooo; returns dst. */
char *event_word(char *dst, size_t size, const char *src);

/* The number of the newest line, 0 when there never was one. */
uint64_t events_last(struct events *e);

/*
 * The lines after `seq`, oldest first, newline at the end of each, as many as
 * fit in max bytes (0: all), malloc'd; *last is set to the number of the last
 * one returned. Returns NULL with *last = seq when there are none.
 */
char *events_after(struct events *e, uint64_t seq, size_t max, size_t *len, uint64_t *last);

/* Called, in the emitter's thread and with no lock held, after each event. Must not block. */
void events_set_listener(struct events *e, void (*fn)(void *arg), void *arg);

#endif

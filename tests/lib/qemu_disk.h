/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image of another format in use, beside a twin in memory: for tests of what
 * is done through qemu-nbd.
 */
#ifndef TESTS_QEMU_DISK_H
#define TESTS_QEMU_DISK_H

#include <sys/types.h>

#include "qemu_formats.h"

struct qemu_disk {
	const struct image_format *format;
	char dir[512], path[600]; /* of the notes; of the image */
	uint64_t size;
	uint8_t *twin;
	bool notes;        /* it has some */
	struct image *img; /* open and started, or NULL */
};

extern const struct image_format *const qemu_disk_formats[]; /* NULL at the end */

/* qemu-nbd, qemu-img or libnbd is not here: says SKIP. */
bool qemu_missing(const char *test);
/* A new image in a directory of its own, made by the format, and its twin of zeros. */
void qemu_disk_make(struct qemu_disk *q, const struct image_format *f, uint64_t size, bool notes);
/* Opens the file; NULL and a reason when that fails. */
struct image *qemu_disk_image(struct qemu_disk *q, bool read_only, char reason[IMAGE_REASON]);
/* Opens and starts it. */
void qemu_disk_open(struct qemu_disk *q);
/* Rests and closes it. No server is left. */
void qemu_disk_close(struct qemu_disk *q);
/* The disk reads like the twin. */
void qemu_disk_compare(struct qemu_disk *q);
/* Closed, it is whole, and what QEMU reads of it is the twin. */
void qemu_disk_verify(struct qemu_disk *q);
void qemu_disk_free(struct qemu_disk *q);

/* One random request inside [from, to), on both, that has to succeed. */
void qemu_disk_request(struct qemu_disk *q, uint64_t *seed, uint64_t from, uint64_t to);
/* The same on memory only; *off and *len: what it changes, len 0 if nothing. */
void qemu_twin_request(uint8_t *twin, uint64_t *seed, uint64_t from, uint64_t to, uint64_t *off,
		       uint64_t *len);

/* How many qemu-nbd that process started and has; *pid: of one of them, if there is any. */
unsigned qemu_find_server(pid_t parent, pid_t *pid);
/* Waits for one at most 5 s; 0. */
pid_t qemu_server_of(pid_t parent);
/* The command in that directory has to succeed. */
void qemu_shell(const char *dir, const char *command);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A delta: what makes of a disk at one of its generations the disk at a later one. A stream, written
 * and read from its beginning to its end, which knows no disk:
 *
 *   head     "TFDELTA1", base (64 bits), time (ms, 64), size (64), CRC-32C
 *   record   kind (32), number (32), offset (64), length (64), CRC-32C of that; for data also the
 *            bytes, and their CRC-32C
 *   ...
 *   end      a record of that kind; offset is the number of bytes of data before it
 *
 * Little-endian. Each CRC goes on from that before it, so that no record fits another delta, or
 * another place of the same one. Records ascend, do not overlap, and lie inside the size. A delta
 * is complete with its end, after which nothing follows; half of one is nothing.
 */
#ifndef TANDEMFS_DELTA_H
#define TANDEMFS_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of data in one record. */
#define DELTA_DATA_MAX (1u << 20)

struct delta_head {
	uint64_t base;          /* names the generation that it goes on from */
	uint64_t time_ms, size; /* of the one to which it leads */
};

struct delta_writer {
	int fd;
	uint32_t crc, count;
	uint64_t data;
};

/* 0 or -errno, after which it is of no use. */
int delta_begin(struct delta_writer *w, int fd, const struct delta_head *head);
int delta_data(struct delta_writer *w, const void *buf, uint32_t len, uint64_t off);
int delta_zeros(struct delta_writer *w, uint64_t off, uint64_t len);
int delta_end(struct delta_writer *w);

struct delta_record {
	uint64_t off, len;
	const void *data; /* NULL: zeros */
};
/*
 * Reads all of one, from the file's present position on, and calls fn (may be NULL) for each record
 * as it is found right; fn returns 0, or -errno, which ends it. -EIO: it is none, or not complete: who
 * must not do half of it reads it without fn first.
 */
int delta_read(int fd, struct delta_head *head, int (*fn)(void *arg, const struct delta_record *r),
	       void *arg);

/* It begins like one, whole or not. */
bool delta_is_one(int fd);

#endif

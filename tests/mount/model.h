/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the model share: the disk under test, the array that it must agree with, and
 * the request under way. Whatever disagrees ends the program, through fail().
 */
#ifndef MOUNT_MODEL_H
#define MOUNT_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define PAGE 4096UL
#define BLOCK 16384UL /* tandemfs's default block: where its own boundaries are */
#define MAX_IO (1UL << 20)
#define MAX_SEGMENTS 5
#define CHUNK (64UL << 10) /* in which the array knows where it is all zeros */

enum { PLAIN, DIRECT, FD_COUNT };

struct model {
	const char *path;
	int fd[FD_COUNT];
	uint8_t *want; /* limit bytes and MAX_IO; those past size are always zero */
	uint64_t size;
	uint64_t limit;  /* the disk never grows past it */
	bool *touched;   /* by CHUNK: false where want is all zeros */
	uint64_t block;  /* of the container that the disk is in; it keeps its size then. 0: none */
	uint8_t *memory; /* MAX_IO and PAGE, page-aligned: what buffer points into */
	uint64_t seed;
	uint64_t random;
	uint64_t step;
	bool direct_is_strict; /* unaligned O_DIRECT is EINVAL here, as on most file systems */
	bool no_shared_map;
	bool map_unsynced; /* a mapping was written that SEEK_DATA need not know of yet */

	/* the request under way */
	const char *op;
	int which;
	uint64_t offset;
	uint64_t length;
	uint8_t *buffer;
};

/* ---- model_request.c: making a request, judging its result ---- */

uint64_t min_of(uint64_t a, uint64_t b);
uint64_t below(struct model *m, uint64_t bound);
uint64_t pick_length(struct model *m);

/* Sets up a request called op: inside the disk as it is, and what this O_DIRECT can take. */
void choose(struct model *m, const char *op);
void choose_plain(struct model *m, const char *op);

/* The same for whole blocks of the container, perhaps a bit more or less. */
void choose_blocks(struct model *m, const char *op);

/* Fills the request's buffer with what it is to write. */
void fill(struct model *m);

/* Cuts the request into at most MAX_SEGMENTS pieces for a vector; returns how many. */
int cut(struct model *m, struct iovec *pieces);

__attribute__((format(printf, 2, 3), noreturn)) void fail(const struct model *m, const char *format,
							  ...);

/* The array has these bytes now: the buffer's, or zeros. */
void put(struct model *m, const uint8_t *bytes, uint64_t offset, uint64_t length);
void put_zeros(struct model *m, uint64_t offset, uint64_t length);

/* got is what a system call returned: an error, or anything but want, fails. */
void must_be(const struct model *m, int64_t got, uint64_t want);
void must_be_zero(const struct model *m, uint64_t from, uint64_t to);
void must_have_size(const struct model *m, const struct stat *st);
void compare(const struct model *m, const uint8_t *got, uint64_t offset, uint64_t length);

/* ---- model_ops.c: the operations ---- */

void open_all(struct model *m);
void close_all(struct model *m);

/* One operation, by chance. */
void do_any(struct model *m);

/* What a writer through a mapping has not synced is the kernel's alone: no hole can show it. */
void sync_mapped(struct model *m);

/* One hole and the data after it, from an offset on; returns where that data ends. */
uint64_t walk(struct model *m, uint64_t from);

#endif

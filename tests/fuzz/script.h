/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an input for the image fuzzers is: an image of our own that is changed in
 * places, and what is done with it. So an input is small, whatever it makes of the
 * image, and mutations meet what matters. All numbers are little-endian.
 *
 *   0   base, options, sums that are left wrong, call that fails, which one, how often,
 *       number of operations, 0
 *   8   size of the file, 64 bits; 0: the base's
 *   16  the operations: kind, mode, length (16 bits), position (64 bits)
 *   ... patches up to the end: place (48 bits), length (12 bits), space (4 bits), bytes
 *
 * Every input is a script: what is cut off or too much is not there.
 */
#ifndef FUZZ_SCRIPT_H
#define FUZZ_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRIPT_OPS 16
#define SCRIPT_PATCHES 48
#define SCRIPT_HEAD 16
#define SCRIPT_OP 12
#define SCRIPT_PATCH 8
#define SCRIPT_LENGTH 4095 /* of a patch */

enum script_option {
	SCRIPT_NOTES = 1 << 0,      /* there are notes beside the image */
	SCRIPT_READ_ONLY = 1 << 1,  /* it is opened for reading */
	SCRIPT_NO_PARENTS = 1 << 2, /* nobody looks for parents */
};

enum script_kind {
	OP_READ,
	OP_WRITE,
	OP_ZERO,      /* punched */
	OP_ZERO_KEEP, /* with its space */
	OP_FLUSH,
	OP_SEEK,
	OP_GROW,
	OP_REST,
	OP_REOPEN,   /* rest, close, open */
	OP_RELOAD,   /* rest, image_reload */
	OP_KILL,     /* close without rest, open; with notes only */
	OP_COMPLETE, /* image_complete, as after a crash */
	OP_KINDS
};

/* Of an operation's mode. Bits 0 and 1: aligned to 1, 512, 4096, the block size. */
enum {
	MODE_UNIT = 3 << 2, /* of the length: 1, 512, 4096, a quarter of a block */
	MODE_END = 1 << 4,  /* the position counts from the disk's end */
	MODE_DATA = 1 << 5, /* it is in a block that had data when the image was opened */
	MODE_DIRECT = 1 << 6,
};

/* Where a patch goes. What others are is up to the kind of image. */
enum { SPACE_FILE, SPACE_END /* backwards from the end, in whole sectors */ };

struct script_op {
	uint8_t kind, mode;
	uint16_t length;
	uint64_t position;
};

struct script_patch {
	uint8_t space;
	uint16_t length;
	uint64_t at;
	const uint8_t *bytes;
};

struct script {
	uint8_t base, options, unsealed, fail_call, fail_nth, fail_times;
	uint64_t file_size;
	unsigned op_count, patch_count;
	struct script_op ops[SCRIPT_OPS];
	struct script_patch patches[SCRIPT_PATCHES];
};

/* The patches point into data. */
void script_read(struct script *s, const uint8_t *data, size_t size);
/* Returns the length; the last patches are left out when there is no room for them. */
size_t script_write(const struct script *s, uint8_t *data, size_t room);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest of a disk whose power is cut (power_cut.h). Each of his writes has a number, and fills its
 * blocks with it; each makes an image, of what the disk is from then on. So he knows of what is left what
 * each sector may be.
 */
#ifndef TESTS_CUT_GUEST_H
#define TESTS_CUT_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "disk.h"

#define GUEST_BLOCK 4096u
#define GUEST_BLOCKS 256u
#define GUEST_SIZE (GUEST_BLOCK * GUEST_BLOCKS)
#define GUEST_SECTOR 512u
#define GUEST_WRITES 100u
#define GUEST_FLUSHES 60u

/* Zeros, then guest_make_image. In memory that processes share. */
struct cut_guest {
	unsigned count; /* of images, but for the first, which is what was there before */
	struct {
		uint64_t began, ended; /* in calls; UINT64_MAX: not at all */
		uint64_t ended_ms;
	} writes[GUEST_WRITES];
	uint16_t images[GUEST_WRITES][GUEST_BLOCKS];
	unsigned flushes;
	struct {
		unsigned has; /* image */
		uint64_t ended;
	} flushed[GUEST_FLUSHES];
};

/* A new raw one, partly written. */
void guest_make_image(struct cut_guest *g, const char *name);
/* Something, somewhere; nothing any more after GUEST_WRITES. */
void guest_writes(struct cut_guest *g, struct disk *d, uint64_t *seed);
void guest_flushes(struct cut_guest *g, struct disk *d);

void guest_fill(char *buf, unsigned blocks, uint16_t stamp);
/* All of it; false: it cannot be opened, or read. */
bool guest_reads(struct disk *d, char *bytes);
/* The newest image that these are, not older than low; or -1. */
int guest_find(const struct cut_guest *g, const char *bytes, unsigned low, unsigned high);

/* Images: what was flushed and what had begun, after so many calls. */
struct guest_left {
	unsigned flushed, begun;
};
struct guest_left guest_left(const struct cut_guest *g, uint64_t calls);
/* Each sector by itself is not older than that, nor newer, nor torn. Else it is wrong, with that of `of`. */
void guest_check(const struct cut_guest *g, struct guest_left left, const char *of,
		 const char *bytes);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two disks of a tandem whose power is cut (power_cut.h), and snapshots of both: what they were written
 * with, and what they may hold after it. Whatever is written is in every sector the number of its
 * write, or zeros. All of it is in memory that those share who live and who look.
 */
#ifndef TESTS_CUT_DISKS_H
#define TESTS_CUT_DISKS_H

#include "power_cut.h"
#include "snapshots.h"

#define CUT_DISKS 2
#define CUT_BLOCK 4096u
#define CUT_SECTOR 512u
#define CUT_SECTORS 320u
#define CUT_SIZE (CUT_SECTOR * CUT_SECTORS)
#define CUT_IMAGES 120u
#define CUT_FLOORS 120u
#define CUT_TAKEN 30u
#define CUT_NEVER UINT64_MAX

/* What something that is written holds after each write; first it is images[0]. */
struct cut_content {
	unsigned count;             /* the last one of those */
	uint64_t began[CUT_IMAGES]; /* in calls; of the write that made it */
	uint16_t images[CUT_IMAGES][CUT_SECTORS];
	unsigned floors;
	struct {
		unsigned has; /* it is not older than that, from then on */
		uint64_t ended;
	} floor[CUT_FLOORS];
};

extern struct cut_disks {
	uint16_t stamp; /* the last one that was written, anywhere */
	struct cut_content of[CUT_DISKS];
	unsigned count;
	struct cut_taken {
		char name[SNAPSHOT_NAME_MAX + 1];
		unsigned images[CUT_DISKS];
		uint32_t numbers[CUT_DISKS];
		uint64_t generations[CUT_DISKS];
		uint64_t began, ended, goes, gone; /* CUT_NEVER */
	} taken[CUT_TAKEN];
} * cut;
/* Between cut_start and cut_stop: open for writing. */
extern struct disk *cut_open[CUT_DISKS];

/* As power_cut's begin; then, where a seed is given, of numbers that cut_below makes of it. */
void cut_begin(void);
void cut_seed(uint64_t *seed);
unsigned cut_below(unsigned bound);
/* The images, empty, and no tandem yet. */
void cut_make(void);
void cut_start(void);
void cut_stop(void);
/* What there is by now is durable, and was before everything. */
void cut_made(void);

/* ---- who lives ---- */

/* Another image, to be changed, whose write begins now; NULL: there is no room. */
uint16_t *cut_next(struct cut_content *c);
/* It never was: nothing was written. */
void cut_take_back(struct cut_content *c);
/* From now on nothing before that image is seen. */
void cut_reached(struct cut_content *c, unsigned image);
/* Some sectors, at random. */
void cut_write(struct disk *d, struct cut_content *c);
void cut_flush(struct disk *d, struct cut_content *c);
/* An entry of what the disks hold now, which is to be taken; NULL: there is no room. */
struct cut_taken *cut_taking(void);
void cut_took(struct cut_taken *s, const struct snapshot_facts made[CUT_DISKS]);
/* One of both, made; any one deleted. Neither is, if -EBUSY is what somebody says. */
void cut_take(void);
void cut_delete(void);
/* Any one that nobody deleted; NULL. */
struct cut_taken *cut_any(void);
void cut_settle(void);

/* ---- who looks ---- */

/* The first image that it may hold after so many calls, and the last one. */
unsigned cut_first(const struct cut_content *c, uint64_t calls);
unsigned cut_last(const struct cut_content *c, uint64_t calls);
/* Each sector is of one of these; else *sector is one that is not. */
bool cut_fits(const struct cut_content *c, const char *bytes, unsigned first, unsigned last,
	      unsigned *sector);
/* CUT_SIZE bytes, of a disk that is open. */
void cut_read(struct disk *d, char *bytes);
/* Snapshots are there, of both or of none, to the byte, or gone. */
void cut_check_taken(uint64_t calls);
/* Another one can be made, and everything written over. */
void cut_write_over(void);

#endif

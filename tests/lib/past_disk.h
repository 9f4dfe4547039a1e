/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk of temp's tandem beside a copy of it in memory, and copies of what its
 * moments held: what is read is compared with them byte for byte.
 */
#ifndef TESTS_PAST_DISK_H
#define TESTS_PAST_DISK_H

#include "snapshots.h"
#include "temp_tandem.h"

#define PAST_BLOCK 4096
#define PAST_KEPT 64

struct past_disk {
	struct disk *d; /* a reference; open, if `open` */
	bool open;
	char label[64];
	uint64_t size;
	uint8_t *now;
	uint64_t seed;
	struct past_moment {
		char name[32];
		uint32_t number;
		uint64_t generation;
		uint8_t *bytes;
		uint8_t *over; /* what the snapshot reads as, with its overlay; NULL: it has none */
	} kept[PAST_KEPT];
	size_t count;
};

/* A new image of zeros, or the one that is there: found again after temp_open(). */
void past_disk_begin(struct past_disk *p, const char *label, uint64_t size);
void past_disk_again(struct past_disk *p);
/* Closed, and no reference is held: before temp_close(). */
void past_disk_let_go(struct past_disk *p);
void past_disk_end(struct past_disk *p);

void past_open(struct past_disk *p);
void past_close(struct past_disk *p);
/* The same byte everywhere in the range; 0 by disk_zero. Open or not. */
void past_write(struct past_disk *p, uint64_t off, uint64_t len, uint8_t byte);
/* Random bytes or zeros somewhere. */
void past_scribble(struct past_disk *p);
/* A snapshot, at the end of the list. */
struct past_moment *past_snapshot(struct past_disk *p, const char *name);
/* It is in the list with what the disk holds now. */
struct past_moment *past_keep(struct past_disk *p, const struct snapshot_facts *f);
void past_delete(struct past_disk *p, size_t i);
/* Out of the list; the snapshot is another's business. */
void past_forget(struct past_disk *p, size_t i);
/* It has got an overlay, which is written as past_write does it; it has none any more. */
void past_overlay(struct past_moment *m, uint64_t size);
void past_write_over(struct past_moment *m, uint64_t off, uint64_t len, uint8_t byte);
void past_forget_overlay(struct past_moment *m);

void past_check_now(struct past_disk *p);
void past_check(struct past_disk *p, const struct past_moment *m);
void past_check_all(struct past_disk *p);
/* Until the collector is done: no version is left, and the store is a file without records. */
bool past_is_empty(struct past_disk *p);

#endif

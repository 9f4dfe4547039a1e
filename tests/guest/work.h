/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the guest's work share. */
#ifndef GUEST_WORK_H
#define GUEST_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR 512
#define WORDS (SECTOR / 8)

/* Says on stderr what is wrong, the first few times in a process. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How often complain() was called in this process: 0 means that all is well. */
int complaint_count(void);

/* Enough said: going on would bring no more lines. */
bool complained_enough(void);

/* One random number out of another; every seed, also a small one, gives an unrelated stream. */
uint64_t mix(uint64_t x);
uint64_t next_random(uint64_t *state);

/* The content of the sector at offset that write number sequence of seed makes. */
void fill_sector(uint64_t *sector, uint64_t seed, uint64_t offset, uint64_t sequence);
bool is_filled(const uint64_t *sector, uint64_t seed, uint64_t offset, uint64_t sequence);
bool is_zero(const uint64_t *sector);

/*
 * Whether a sector is one of ours, and whose. is_at_home() is also true for what is not ours: a
 * sector of ours must be whole and at its own offset.
 */
bool is_of_seed(const uint64_t *sector, uint64_t seed);
bool is_at_home(const uint64_t *sector, uint64_t offset);

/* What a wrong sector looks like; valid until the next call. */
const char *describe_sector(const uint64_t *sector);

/* The works. True: done, and right; a summary is on stdout. Else complain() has said why. */
bool do_pattern(const char *path, uint64_t seed);
bool do_verify(const char *path, uint64_t seed);
bool do_tree_write(const char *dir, uint64_t seed);
bool do_tree_verify(const char *dir, uint64_t seed);
bool do_records_write(const char *dir, uint64_t seconds);
bool do_records_verify(const char *dir, uint64_t told);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Generations that can be told. One writer stamps blocks of a.img with numbers that go up; so a
 * generation is what some number of those writes, from the first on, leave behind.
 */
#ifndef TESTS_STAMPS_H
#define TESTS_STAMPS_H

#include "temp_pair.h"

/* Shared with a child that is killed. */
extern struct journal {
	_Atomic uint64_t begun, done;
	_Atomic bool stop;
} * journal;

/* As setup of temp_pair.h. */
void stamps_setup(void);
int stamp(uint64_t n);
void stamp_some(unsigned count);
/* A thread: until journal->stop. */
void *stamper(void *arg);
/* The number of the generation that the disk reads as, open all the while; fails if it is none. */
uint64_t generation_of(struct disk *d);
uint64_t generation_in(const char *file);
uint64_t target_generation(void); /* b.img's */
/* The target gets what is written now, by itself; fails if it does not. */
void follows(void);
/* b.img, called m, with RecoveryPointObjective 1. */
void make_async(void);

#endif

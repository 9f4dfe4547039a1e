/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random numbers that a seed brings back: the same on every machine, so that a failure replays. */
#ifndef MOUNT_RANDOM_H
#define MOUNT_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

/* splitmix64: every seed, also a small one, gives an unrelated stream. */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

/* 0 to bound - 1; bound is not 0. The bias of the remainder does not matter to a test. */
static inline uint64_t random_below(uint64_t *state, uint64_t bound)
{
	return next_random(state) % bound;
}

static inline bool one_in(uint64_t *state, uint64_t bound)
{
	return random_below(state, bound) == 0;
}

#endif

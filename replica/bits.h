/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ranges of bits in an array of words. Callers lock. */
#ifndef TANDEMFS_BITS_H
#define TANDEMFS_BITS_H

#include <stdbool.h>
#include <stdint.h>

/* Which bits of word `i` are in [first, end), of which some are. */
static inline uint64_t bits_mask(uint64_t i, uint64_t first, uint64_t end)
{
	uint64_t low = i == first / 64 ? first % 64 : 0;
	uint64_t high = i == end / 64 ? 64 - end % 64 : 0;

	return UINT64_MAX << low & UINT64_MAX >> high;
}

/* Returns how many of [first, end) were not `value` before. */
static inline uint64_t bits_assign(uint64_t *words, uint64_t first, uint64_t end, bool value)
{
	uint64_t changed = 0;

	for (uint64_t i = first / 64; first < end && i <= (end - 1) / 64; i++) {
		uint64_t mask = bits_mask(i, first, end);

		changed += __builtin_popcountll((value ? ~words[i] : words[i]) & mask);
		words[i] = value ? words[i] | mask : words[i] & ~mask;
	}
	return changed;
}

/* The first of [first, end) that is `value`; end: none. */
static inline uint64_t bits_find(const uint64_t *words, uint64_t first, uint64_t end, bool value)
{
	for (uint64_t i = first / 64; first < end && i <= (end - 1) / 64; i++) {
		uint64_t hits = (value ? words[i] : ~words[i]) & bits_mask(i, first, end);

		if (hits)
			return i * 64 + __builtin_ctzll(hits);
	}
	return end;
}

static inline uint64_t bits_count(const uint64_t *words, uint64_t count)
{
	uint64_t set = 0;

	for (uint64_t i = 0; i < count; i++)
		set += __builtin_popcountll(words[i]);
	return set;
}

#endif

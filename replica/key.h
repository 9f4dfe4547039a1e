/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys of several numbers that sort, byte by byte, as the numbers do. Each is a
 * byte that says how many follow, then these, big-endian and without zeros in
 * front: most numbers are small, and there may be a billion keys.
 */
#ifndef TANDEMFS_KEY_H
#define TANDEMFS_KEY_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KEY_NUMBERS_MAX 3

struct key {
	size_t len;
	uint8_t bytes[KEY_NUMBERS_MAX * 9];
};

static inline void key_add(struct key *k, uint64_t number)
{
	uint64_t be = htobe64(number);
	size_t len = number ? 8 - (size_t)__builtin_clzll(number) / 8 : 0;

	k->bytes[k->len++] = len;
	memcpy(k->bytes + k->len, (const uint8_t *)&be + sizeof(be) - len, len);
	k->len += len;
}

static inline struct key key_of1(uint64_t a)
{
	struct key k = { 0 };

	key_add(&k, a);
	return k;
}

static inline struct key key_of2(uint64_t a, uint64_t b)
{
	struct key k = key_of1(a);

	key_add(&k, b);
	return k;
}

static inline struct key key_of3(uint64_t a, uint64_t b, uint64_t c)
{
	struct key k = key_of2(a, b);

	key_add(&k, c);
	return k;
}

/* False when the bytes are no key of exactly `count` numbers; whatever they are. */
static inline bool key_read(const void *bytes, size_t left, uint64_t *numbers, size_t count)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < count; i++) {
		size_t len = left ? *at : 9;
		uint64_t n = 0;

		if (len > 8 || len >= left || (len && !at[1]))
			return false;
		for (size_t b = 1; b <= len; b++)
			n = n << 8 | at[b];
		numbers[i] = n;
		at += 1 + len;
		left -= 1 + len;
	}
	return !left;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers in the bytes of a file, of either order, at any address. */
#ifndef TANDEMFS_BYTES_H
#define TANDEMFS_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BYTES_NUMBER(bits, order)                                             \
	static inline uint##bits##_t get_##order##bits(const void *at)        \
	{                                                                     \
		uint##bits##_t v;                                             \
                                                                              \
		memcpy(&v, at, sizeof(v));                                    \
		return order##bits##toh(v);                                   \
	}                                                                     \
	static inline void put_##order##bits(void *at, uint##bits##_t number) \
	{                                                                     \
		uint##bits##_t v = hto##order##bits(number);                  \
                                                                              \
		memcpy(at, &v, sizeof(v));                                    \
	}

BYTES_NUMBER(16, be)
BYTES_NUMBER(32, be)
BYTES_NUMBER(64, be)
BYTES_NUMBER(16, le)
BYTES_NUMBER(32, le)
BYTES_NUMBER(64, le)

#undef BYTES_NUMBER

#endif

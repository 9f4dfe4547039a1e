// SPDX-License-Identifier: GPL-2.0-or-later
#include "crc32c.h"

#include <string.h>

#include "unit.h"

static uint8_t buf[8192];

/* From RFC 3720, B.4. */
START_TEST(known_sums)
{
	memset(buf, 0, 32);
	ck_assert_uint_eq(crc32c(0, buf, 32), 0x8a9136aa);
	memset(buf, 0xff, 32);
	ck_assert_uint_eq(crc32c(0, buf, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		buf[i] = i;
	ck_assert_uint_eq(crc32c(0, buf, 32), 0x46dd794e);
	ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
	ck_assert_uint_eq(crc32c_portable(0, "123456789", 9), 0xe3069283);
	ck_assert_uint_eq(crc32c(0, "", 0), 0);
}
END_TEST

/* Whatever the length, the place in memory, and where it is cut in two. */
START_TEST(both_ways_are_the_same)
{
	uint64_t seed = 1;

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = unit_random(&seed);
	for (size_t len = 0; len < 80; len++)
		for (size_t at = 0; at < 9; at++)
			ck_assert_uint_eq(crc32c(0, buf + at, len),
					  crc32c_portable(0, buf + at, len));
	for (int i = 0; i < 1000; i++) {
		size_t len = unit_below(&seed, sizeof(buf)), cut = unit_below(&seed, len + 1);
		uint32_t whole = crc32c(0, buf, len);

		ck_assert_uint_eq(crc32c_portable(0, buf, len), whole);
		ck_assert_uint_eq(crc32c(crc32c(0, buf, cut), buf + cut, len - cut), whole);
		ck_assert_uint_eq(crc32c_portable(crc32c_portable(0, buf, cut), buf + cut,
						  len - cut),
				  whole);
	}
}
END_TEST

UNIT_MAIN("crc32c", NULL, NULL, known_sums, both_ways_are_the_same)

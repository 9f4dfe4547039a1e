// SPDX-License-Identifier: GPL-2.0-or-later
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "changes.h"

static struct text out;
static struct changes c;

static void begin(uint64_t size, size_t limit)
{
	text_free(&out);
	c = (struct changes){ .out = &out, .size = size, .limit = limit };
}

static const char *ended(void)
{
	changes_end(&c);
	return out.bytes ? out.bytes : "";
}

START_TEST(lines)
{
	begin(1 << 30, CHANGES_TEXT_MAX);
	ck_assert_str_eq(ended(), "");
	begin(1 << 30, CHANGES_TEXT_MAX);
	changes_add(&c, 0, 4096, false);
	changes_add(&c, 8192, 4096, true);
	changes_add(&c, 16384, 0, false);
	changes_add(&c, UINT64_C(1) << 40, 512, false);
	ck_assert_str_eq(ended(), "0 4096 data\n8192 4096 zero\n1099511627776 512 data\n");
}
END_TEST

/* Only what is alike becomes one, as long as there is room. */
START_TEST(neighbours)
{
	begin(1 << 30, CHANGES_TEXT_MAX);
	changes_add(&c, 0, 512, false);
	changes_add(&c, 512, 512, false);
	changes_add(&c, 1024, 512, true);
	changes_add(&c, 1536, 512, true);
	changes_add(&c, 2560, 512, true);
	ck_assert_str_eq(ended(), "0 1024 data\n1024 1024 zero\n2560 512 zero\n");
}
END_TEST

/*
 * Every other block of a disk that has far too many: the text keeps its bound,
 * and each block is in some line; a zero line has nothing else in it.
 */
static void check_bound(size_t blocks, size_t limit, unsigned zeros)
{
	uint64_t size = blocks * UINT64_C(8192), at = 0, offset, length, covered = 0;
	char kind[8];
	int used;

	begin(size, limit);
	for (size_t i = 0; i < blocks; i++)
		changes_add(&c, i * UINT64_C(8192), 4096, zeros && i % zeros != 0);
	ended();
	ck_assert_uint_le(out.len, limit);
	for (const char *s = out.bytes; *s; s += used) {
		ck_assert_int_eq(sscanf(s, "%" SCNu64 " %" SCNu64 " %7s\n%n", &offset, &length,
					kind, &used),
				 3);
		ck_assert_uint_ge(offset, at);
		/* What lies between two lines is between two blocks. */
		ck_assert_uint_eq(offset % 8192, 0);
		ck_assert_uint_le(offset - at, 4096);
		if (strcmp(kind, "zero") == 0)
			ck_assert_uint_eq(length, 4096);
		at = offset + length;
		covered += (length + 4096) / 8192;
	}
	ck_assert_uint_eq(covered, blocks);
	ck_assert_uint_eq(at, size - 4096);
}

START_TEST(bounded)
{
	check_bound(10, 4096, 0);
	check_bound(100000, 4096, 0);
	check_bound(100000, 100000, 3);
	check_bound(1000000, 1 << 20, 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl changes");
	TCase *t = tcase_create("changes");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, lines);
	tcase_add_test(t, neighbours);
	tcase_add_test(t, bounded);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	text_free(&out);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

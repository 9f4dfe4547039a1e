// SPDX-License-Identifier: GPL-2.0-or-later
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "values.h"

#define LENGTH(a) (sizeof(a) / sizeof(*(a)))

// clang-format off
static const char *const nonsense[] = {
	"", " ", "-1", "+1", "1e9", "0x10", " 5", "5 ", "5x", "x5", "NaN", "1.5", "5KB", "5KiB",
	"5 K", "K", "18446744073709551616", "99999999999999999999999", "\n5", "5\n",
};
// clang-format on

START_TEST(sizes)
{
	// clang-format off
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 }, { "010", 10 }, { "512", 512 }, { "16K", 16384 }, { "1M", 1 << 20 },
		{ "10G", 10ULL << 30 }, { "10g", 10ULL << 30 }, { "3T", 3ULL << 40 },
		{ "18446744073709551615", UINT64_MAX }, { "16777215T", 16777215ULL << 40 },
	};
	// clang-format on
	uint64_t n = 7;

	for (size_t i = 0; i < LENGTH(good); i++) {
		ck_assert_int_eq(value_size(good[i].text, &n), 0);
		ck_assert_uint_eq(n, good[i].bytes);
	}
	n = 7;
	for (size_t i = 0; i < LENGTH(nonsense); i++)
		ck_assert_msg(value_size(nonsense[i], &n) == -EINVAL, "%s", nonsense[i]);
	ck_assert_int_eq(value_size("16777216T", &n), -EINVAL);
	ck_assert_int_eq(value_size("18446744073709551615K", &n), -EINVAL);
	ck_assert_uint_eq(n, 7);
}
END_TEST

START_TEST(durations)
{
	// clang-format off
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {
		{ "500ms", 500 }, { "0s", 0 }, { "30s", 30000 }, { "15m", 900000 },
		{ "24h", 86400000 }, { "7d", 604800000 }, { "7D", 604800000 },
	};
	// clang-format on
	uint64_t n = 7;

	for (size_t i = 0; i < LENGTH(good); i++) {
		ck_assert_int_eq(value_duration(good[i].text, &n), 0);
		ck_assert_uint_eq(n, good[i].ms);
	}
	n = 7;
	for (size_t i = 0; i < LENGTH(nonsense); i++)
		ck_assert_msg(value_duration(nonsense[i], &n) == -EINVAL, "%s", nonsense[i]);
	ck_assert_int_eq(value_duration("30", &n), -EINVAL);
	ck_assert_int_eq(value_duration("1h30m", &n), -EINVAL);
	ck_assert_int_eq(value_duration("18446744073709551615s", &n), -EINVAL);
	ck_assert_uint_eq(n, 7);
}
END_TEST

START_TEST(numbers_have_a_maximum)
{
	uint64_t n;

	ck_assert_int_eq(value_number("4294967295", UINT32_MAX, &n), 0);
	ck_assert_int_eq(value_number("4294967296", UINT32_MAX, &n), -EINVAL);
	ck_assert_int_eq(value_number("5K", UINT32_MAX, &n), -EINVAL);
}
END_TEST

START_TEST(names_and_numbers_of_enumerations)
{
	static const struct enum_value list[] = { { "Split", 21 }, { "Fracture", 12 }, { NULL } };

	ck_assert_uint_eq(value_enum(list, "12")->number, 12);
	ck_assert_uint_eq(value_enum(list, "sPLIT")->number, 21);
	ck_assert_ptr_null(value_enum(list, "13"));
	ck_assert_ptr_null(value_enum(list, "Spli"));
	ck_assert_ptr_null(value_enum(list, ""));
	ck_assert_ptr_null(value_enum(list, "4294967308"));
}
END_TEST

START_TEST(booleans)
{
	bool b;

	ck_assert(!value_bool("true", &b) && b);
	ck_assert(!value_bool("False", &b) && !b);
	ck_assert(!value_bool("1", &b) && b);
	ck_assert(!value_bool("0", &b) && !b);
	ck_assert_int_eq(value_bool("2", &b), -EINVAL);
	ck_assert_int_eq(value_bool("yes", &b), -EINVAL);
}
END_TEST

START_TEST(sizes_for_people)
{
	// clang-format off
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0" }, { 1, "1" }, { 1023, "1023" }, { 1024, "1K" }, { 1025, "1.0K" },
		{ 1536, "1.5K" }, { 10ULL << 30, "10G" }, { (1 << 20) - 1, "1.0M" },
		{ 1536ULL << 20, "1.5G" }, { UINT64_MAX, "16777216.0T" },
	};
	// clang-format on
	char buf[VALUE_TEXT_MAX];

	for (size_t i = 0; i < LENGTH(cases); i++)
		ck_assert_str_eq(value_human_size(buf, cases[i].bytes), cases[i].text);
}
END_TEST

START_TEST(ages)
{
	char buf[VALUE_TEXT_MAX];

	ck_assert_str_eq(value_age(buf, 0), "0s");
	ck_assert_str_eq(value_age(buf, 59), "59s");
	ck_assert_str_eq(value_age(buf, 60), "1m");
	ck_assert_str_eq(value_age(buf, 65), "1m5s");
	ck_assert_str_eq(value_age(buf, 3600 + 59), "1h");
	ck_assert_str_eq(value_age(buf, 3 * 86400 + 4 * 3600 + 59), "3d4h");
	ck_assert_str_eq(value_seconds(buf, 12345678901), "12.3s");
}
END_TEST

START_TEST(identities)
{
	static const uint8_t id[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255 };
	char buf[VALUE_TEXT_MAX];

	ck_assert_str_eq(value_uuid(buf, id), "00010203-0405-0607-0809-0a0b0c0d0eff");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl values");
	TCase *c = tcase_create("values");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, sizes);
	tcase_add_test(c, durations);
	tcase_add_test(c, numbers_have_a_maximum);
	tcase_add_test(c, names_and_numbers_of_enumerations);
	tcase_add_test(c, booleans);
	tcase_add_test(c, sizes_for_people);
	tcase_add_test(c, ages);
	tcase_add_test(c, identities);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

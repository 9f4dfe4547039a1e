// SPDX-License-Identifier: GPL-2.0-or-later
/* Times, moments and names: what is one of them is not another. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moment.h"
#include "rfc3339.h"

#define LENGTH(a) (sizeof(a) / sizeof(*(a)))

START_TEST(times_in)
{
	// clang-format off
	static const struct {
		const char *text;
		time_t sec;
		long nsec;
	} good[] = {
		{ "1970-01-01T00:00:00Z", 0, 0 },
		{ "2026-11-20T16:50:03.217Z", 1795193403, 217000000 },
		{ "2026-11-20t17:50:03.2+01:00", 1795193403, 200000000 },
		{ "2026-11-20T11:20:03.1234567899-05:30", 1795193403, 123456789 },
		{ "2000-02-29T00:00:00z", 951782400, 0 },
		{ "2016-12-31T23:59:60.9Z", 1483228800, 0 },
		{ "0000-01-01T00:00:00Z", -62167219200, 0 },
		{ "9999-12-31T23:59:59Z", 253402300799, 0 }, { "1969-12-31T23:59:59-00:00", -1, 0 },
	};
	// clang-format on
	// clang-format off
	static const char *const bad[] = {
		"", "2026-11-20", "2026-11-20T16:50:03", "2026-11-20T16:50Z",
		"2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2100-02-29T00:00:00Z",
		"2026-00-10T00:00:00Z", "2026-11-20T24:00:00Z", "2026-11-20T16:60:00Z",
		"2026-11-20T16:50:61Z", "2026-11-20T16:50:03.Z", "2026-11-20T16:50:03Zx",
		"2026-11-20T16:50:03+1:00", "2026-11-20T16:50:03+24:00", "2026-11-20 16:50:03Z",
		"026-11-20T16:50:03Z", " 2026-11-20T16:50:03Z", "2026-11-20T16:50:03 Z",
		"-026-11-20T16:50:03Z",
	};
	// clang-format on
	struct timespec t;

	for (size_t i = 0; i < LENGTH(good); i++) {
		ck_assert_msg(!rfc3339_parse(good[i].text, true, &t), "%s", good[i].text);
		ck_assert_int_eq(t.tv_sec, good[i].sec);
		ck_assert_int_eq(t.tv_nsec, good[i].nsec);
	}
	for (size_t i = 0; i < LENGTH(bad); i++)
		ck_assert_msg(rfc3339_parse(bad[i], true, &t) == -EINVAL, "%s", bad[i]);
	ck_assert_int_eq(rfc3339_parse("2026-11-20T16:50Z", false, &t), 0);
	ck_assert_int_eq(t.tv_sec, 1795193400);
}
END_TEST

START_TEST(times_out_agree_with_the_library)
{
	char ours[RFC3339_MAX], theirs[80];

	for (int64_t sec = -62167219200; sec < 253402300800; sec += 86400 * 17 + 4321) {
		struct timespec t = { .tv_sec = sec, .tv_nsec = 999999999 }, back;
		struct tm tm;

		gmtime_r(&t.tv_sec, &tm);
		snprintf(theirs, sizeof(theirs), "%04d-%02d-%02dT%02d:%02d:%02d.999Z",
			 (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
			 tm.tm_min, tm.tm_sec);
		ck_assert_str_eq(rfc3339_format(ours, &t), theirs);
		ck_assert_int_eq(rfc3339_parse(ours, true, &back), 0);
		ck_assert_int_eq(back.tv_sec, sec);
	}
	ck_assert_str_eq(rfc3339_format(ours, &(struct timespec){ .tv_sec = 253402300800 }), "-");
	ck_assert_str_eq(rfc3339_format(ours, &(struct timespec){ .tv_sec = INT64_MAX }), "-");
	ck_assert_str_eq(rfc3339_format(ours, &(struct timespec){ .tv_sec = INT64_MIN }), "-");
}
END_TEST

START_TEST(moments)
{
	struct why why;
	struct moment m;

	ck_assert(!moment_parse("now", &m, &why) && m.form == FORM_NOW);
	ck_assert(!moment_parse("g12", &m, &why) && m.form == FORM_GENERATION);
	ck_assert_uint_eq(m.generation, 12);
	ck_assert(!moment_parse("-15m", &m, &why) && m.form == FORM_AGO);
	ck_assert_uint_eq(m.ago_ms, 900000);
	ck_assert(!moment_parse("@1795193403.25", &m, &why) && m.form == FORM_TIME);
	ck_assert_int_eq(m.time.tv_sec, 1795193403);
	ck_assert_int_eq(m.time.tv_nsec, 250000000);
	ck_assert(!moment_parse("2026-11-20T17:50+01:00", &m, &why) && m.form == FORM_TIME);
	ck_assert_int_eq(m.time.tv_sec, 1795193400);
	ck_assert(!moment_parse("before patch", &m, &why) && m.form == FORM_SNAPSHOT);
	ck_assert_str_eq(m.snapshot, "before patch");
	ck_assert(!moment_parse("g12a", &m, &why) && m.form == FORM_SNAPSHOT);
}
END_TEST

START_TEST(no_moments)
{
	// clang-format off
	static const char *const bad[] = {
		"", "-", "-5", "-5x", "@", "@x", "@-1", "@1.", "@1.1234567890",
		"@9223372036854775808", "@1e9", "g18446744073709551616", "2026-11-20T16:50",
		"2026-11-20T16:50:00", "a/b", "..", "force", "wait", ".x", "\xff", "a\nb",
	};
	// clang-format on

	for (size_t i = 0; i < LENGTH(bad); i++) {
		struct moment m = { .form = FORM_NOW };
		struct why why = { 0 };

		ck_assert_msg(moment_parse(bad[i], &m, &why) == -EINVAL, "%s", bad[i]);
		ck_assert_str_ne(why.message, "");
		ck_assert_int_eq(m.form, FORM_NOW);
	}
}
END_TEST

START_TEST(names)
{
	// clang-format off
	static const char *const good[] = {
		"a", "before patch", "web-dr", "a.b", "Übung", "日本", "g", "gx", "g1x", "nowhere",
		"15m", "a%s%n", "a\\b", "2026-11-20", "\xf0\x9f\x98\x80", "x-", "x.",
	};
	// clang-format on
	// clang-format off
	static const char *const bad[] = {
		"", ".", "..", ".a", "-a", "-rf", "a..b", "a/b", "../x", "/x", "a@b", "a:b", "now",
		"NOW", "Force", "wait", "g1", "G12", "g99999999999999999999", "a\nb", "a\tb",
		"\x7f", "a\xc2\x85", "\xff", "a\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
		"\xe2\x82", "\x80", "2026-11-20T16:50Z",
	};
	// clang-format on
	char longest[NAME_BYTES_MAX + 2];

	for (size_t i = 0; i < LENGTH(good); i++)
		ck_assert_msg(!name_check(good[i], NULL), "%s", good[i]);
	for (size_t i = 0; i < LENGTH(bad); i++) {
		struct why why = { 0 };

		ck_assert_msg(name_check(bad[i], &why) == -EINVAL, "%s", bad[i]);
		ck_assert_str_ne(why.message, "");
	}
	memset(longest, 'x', sizeof(longest));
	longest[NAME_BYTES_MAX + 1] = '\0';
	ck_assert_int_eq(name_check(longest, NULL), -EINVAL);
	longest[NAME_BYTES_MAX] = '\0';
	ck_assert_int_eq(name_check(longest, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl moment");
	TCase *c = tcase_create("moment");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, times_in);
	tcase_add_test(c, times_out_agree_with_the_library);
	tcase_add_test(c, moments);
	tcase_add_test(c, no_moments);
	tcase_add_test(c, names);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Text that grows, tables, JSON: nothing that a name holds can break them. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "table.h"
#include "text.h"
#include "utf8.h"

static struct text t;

static void done(void)
{
	text_free(&t);
}

START_TEST(grows)
{
	char block[1000];

	memset(block, 'x', sizeof(block));
	text_add(&t, "", 0);
	ck_assert_uint_eq(t.len, 0);
	for (int i = 0; i < 100; i++)
		text_addf(&t, "%d:%.1000s\n", i % 10, block);
	ck_assert(text_ok(&t));
	ck_assert_uint_eq(t.len, 100 * 1003);
	ck_assert_uint_eq(strlen(t.bytes), t.len);
	ck_assert_int_eq(memcmp(t.bytes + 99 * 1003, "9:xxx", 5), 0);
}
END_TEST

START_TEST(failure_stays)
{
	text_add(&t, "a", 1);
	text_add(&t, "b", SIZE_MAX - 1);
	ck_assert(!text_ok(&t));
	text_add(&t, "c", 1);
	text_addf(&t, "%d", 5);
	ck_assert_str_eq(t.bytes, "a");
}
END_TEST

START_TEST(escapes)
{
	text_add_word(&t, "a b\\\n\x7f\xff");
	text_add_word(&t, "");
	text_add(&t, "|", 1);
	text_add_line(&t, "a b\\\n");
	text_add(&t, "|", 1);
	text_add_prose(&t, "a b\\040\n");
	ck_assert_str_eq(t.bytes, "a\\040b\\134\\012\\177\xff-|a b\\134\\012|a b\\040\\012");
	text_free(&t);
	text_add_field(&t, "Name", "x\ny");
	text_add_fieldf(&t, "Size", "%d", 5);
	text_add_field(&t, "Reason", "");
	ck_assert_str_eq(t.bytes, "Name: x\\012y\nSize: 5\nReason: -\n");
}
END_TEST

START_TEST(aligned)
{
	struct table table;

	table_begin(&table, "A BB C");
	table_add(&table, "x y");
	table_add(&table, "");
	table_add(&table, "last");
	table_add(&table, "\xc3\x9c");
	table_add(&table, "1");
	table_add(&table, "2");
	table_end(&table, &t);
	ck_assert_str_eq(t.bytes, "A      BB C\n"
				  "x\\040y -  last\n"
				  "\xc3\x9c      1  2\n");
}
END_TEST

START_TEST(json)
{
	struct json j = { .out = &t };

	json_object(&j);
	json_uint_at(&j, "n", 5);
	json_string_at(&j, "s\"", "a\\\n\x7f\xc3\xbc\xff\xed\xa0\x80");
	json_string_at(&j, "none", NULL);
	json_known_at(&j, "known", false, 3);
	json_key(&j, "list");
	json_array(&j);
	json_bool(&j, true);
	json_null(&j);
	json_seconds(&j, 12034);
	json_object(&j);
	json_object_end(&j);
	json_array_end(&j);
	json_object_at(&j, "empty");
	json_object_end(&j);
	json_object_end(&j);
	ck_assert_str_eq(t.bytes,
			 "{\"n\":5,\"s\\\"\":\"a\\\\\\u000a\\u007f\xc3\xbc\\udcff\\udced\\udca0"
			 "\\udc80\",\"none\":null,\"known\":null,"
			 "\"list\":[true,null,12.034,{}],\"empty\":{}}");
}
END_TEST

START_TEST(utf8)
{
	uint32_t code;

	ck_assert_uint_eq(utf8_char("", &code), 0);
	ck_assert(utf8_char("a", &code) == 1 && code == 'a');
	ck_assert(utf8_char("\xc3\xbc", &code) == 2 && code == 0xfc);
	ck_assert(utf8_char("\xe2\x82\xac", &code) == 3 && code == 0x20ac);
	ck_assert(utf8_char("\xf4\x8f\xbf\xbf", &code) == 4 && code == 0x10ffff);
	/* overlong, surrogate, too large, cut off, a byte from the middle */
	ck_assert_uint_eq(utf8_char("\xc1\xbf", &code), 0);
	ck_assert_uint_eq(utf8_char("\xe0\x9f\xbf", &code), 0);
	ck_assert_uint_eq(utf8_char("\xf0\x8f\xbf\xbf", &code), 0);
	ck_assert_uint_eq(utf8_char("\xed\xbf\xbf", &code), 0);
	ck_assert_uint_eq(utf8_char("\xf4\x90\x80\x80", &code), 0);
	ck_assert_uint_eq(utf8_char("\xe2\x82", &code), 0);
	ck_assert_uint_eq(utf8_char("\xbf", &code), 0);
	ck_assert_uint_eq(utf8_char("\xf8\x88\x80\x80\x80", &code), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl text");
	TCase *c = tcase_create("text");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(c, NULL, done);
	tcase_add_test(c, grows);
	tcase_add_test(c, failure_stays);
	tcase_add_test(c, escapes);
	tcase_add_test(c, aligned);
	tcase_add_test(c, json);
	tcase_add_test(c, utf8);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* The grammar of commands, and words held against a table. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

#define LENGTH(a) (sizeof(a) / sizeof(*(a)))

static struct words words;
static struct why why;

static int split(const char *command)
{
	memset(&why, 0, sizeof(why));
	return words_split(command, strlen(command), &words, &why);
}

START_TEST(operation_keys_and_flags)
{
	ck_assert_int_eq(split(" \n CreateDisk\tName=a.img  size=10G force WAIT=30s \n\r\n"), 0);
	ck_assert_str_eq(words.operation, "CreateDisk");
	ck_assert_uint_eq(words.count, 2);
	ck_assert_str_eq(words.list[0].key, "Name");
	ck_assert_str_eq(words.list[0].value, "a.img");
	ck_assert_str_eq(words.list[1].key, "size");
	ck_assert_str_eq(words.list[1].value, "10G");
	ck_assert(words.force && words.wait && !words.plan);
	ck_assert_uint_eq(words.wait_ms, 30000);

	ck_assert_int_eq(split("Rescan wait"), 0);
	ck_assert_uint_eq(words.wait_ms, WAIT_FOREVER);
	ck_assert_int_eq(split("12"), 0);
	ck_assert_str_eq(words.operation, "12");
	ck_assert(!words.force && !words.wait && words.count == 0);
}
END_TEST

START_TEST(quotes)
{
	ck_assert_int_eq(split("x Name=\"a b\\\"c\\\\d\" \"force\" \"k=v\" y=a=b z= w=\"\""), 0);
	ck_assert_uint_eq(words.count, 6);
	ck_assert_str_eq(words.list[0].value, "a b\"c\\d");
	ck_assert_ptr_null(words.list[1].key);
	ck_assert_str_eq(words.list[1].value, "force");
	ck_assert(!words.force);
	ck_assert_ptr_null(words.list[2].key);
	ck_assert_str_eq(words.list[2].value, "k=v");
	ck_assert_str_eq(words.list[3].value, "a=b");
	ck_assert_str_eq(words.list[4].value, "");
	ck_assert_str_eq(words.list[5].value, "");
	ck_assert_int_eq(split("x Name=a\\b\xff"), 0);
	ck_assert_str_eq(words.list[0].value, "a\\b\xff");
}
END_TEST

START_TEST(plans)
{
	ck_assert_int_eq(split("plan Resize Size=1G Force"), 0);
	ck_assert(words.plan && words.force);
	ck_assert_str_eq(words.operation, "Resize");
	ck_assert_int_eq(split("Plan"), -EINVAL);
}
END_TEST

START_TEST(refused)
{
	// clang-format off
	static const char *const bad[] = {
		"", " ", "\n", "\n\n \t\r\n", "a\nb", "a\rb", "Name=x", "=x", "x =y", "\"x\"",
		"x a\"b", "x \"a", "x Name=\"a", "x Name=\"a\"b", "x Name=a\"b\"", "x \"a\\",
		"x \"a\\n\"", "x \"a\tb\"", "x force Force", "x wait wait=3s", "x wait=3",
		"x wait=", "x wait=-1s", "x a\x01" "b", "x \x7f", "\x1b[A",
	};
	// clang-format on

	for (size_t i = 0; i < LENGTH(bad); i++) {
		ck_assert_msg(split(bad[i]) == -EINVAL, "%s", bad[i]);
		ck_assert_str_ne(why.message, "");
		ck_assert_ptr_nonnull(words.operation);
	}
	ck_assert_int_eq(words_split("a\0b", 3, &words, &why), -EINVAL);
	ck_assert_int_eq(words_split("a\0", 2, &words, &why), -EINVAL);
	ck_assert_int_eq(words_split("\0", 1, &words, &why), -EINVAL);
}
END_TEST

START_TEST(lengths)
{
	char long_command[COMMAND_MAX + 1];

	memset(long_command, 'x', sizeof(long_command));
	ck_assert_int_eq(words_split(long_command, COMMAND_MAX, &words, &why), 0);
	ck_assert_uint_eq(strlen(words.operation), COMMAND_MAX);
	ck_assert_int_eq(words_split(long_command, COMMAND_MAX + 1, &words, &why), -E2BIG);
	memset(long_command, '"', sizeof(long_command));
	ck_assert_int_eq(words_split(long_command, COMMAND_MAX, &words, &why), -EINVAL);
	for (size_t i = 0; i < COMMAND_MAX; i++)
		long_command[i] = i % 2 ? ' ' : 'x';
	ck_assert_int_eq(words_split(long_command, COMMAND_MAX, &words, &why), -EINVAL);
	ck_assert_uint_eq(words.count, WORDS_MAX);
}
END_TEST

/* Whatever comes, every word lies in the buffer and ends in it. */
START_TEST(random_bytes)
{
	static const char alphabet[] = "ab=\"\\ \t\nPlan force wait=3s";
	unsigned seed = 1;

	for (int round = 0; round < 200000; round++) {
		char bytes[24];
		size_t len = rand_r(&seed) % sizeof(bytes);

		for (size_t i = 0; i < len; i++)
			bytes[i] = alphabet[rand_r(&seed) % sizeof(alphabet)];
		if (words_split(bytes, len, &words, &why))
			continue;
		for (unsigned i = 0; i < words.count; i++) {
			const char *v = words.list[i].value;

			ck_assert(v >= words.bytes && v + strlen(v) <= words.bytes + len);
		}
	}
}
END_TEST

static const struct enum_value levels[] = { { "error", 1 }, { "debug", 4 }, { NULL } };

// clang-format off
static const struct parameter parameters[] = {
	{ "Name", VALUE_NAME, .required = true }, { "Size", VALUE_SIZE },
	{ "Every", VALUE_SECONDS }, { "ReadOnly", VALUE_BOOL },
	{ "Level", VALUE_ENUM, .values = levels }, { "Parent", VALUE_LATER }, { NULL },
};
// clang-format on

// clang-format off
static const struct command table[] = {
	{ .name = "snapshot", .number = 7, .parameters = parameters, .positional = "Name" },
	{ .name = "Set", .parameters = parameters + 1, .needs_any = true, .force = true }, { NULL },
};
// clang-format on

static struct argument args[PARAMETERS_MAX];

static int bind(const char *command)
{
	const struct command *c;

	ck_assert_int_eq(split(command), 0);
	c = command_find(table, words.operation);
	ck_assert_ptr_nonnull(c);
	return command_bind(c, &words, args, &why);
}

START_TEST(bound)
{
	ck_assert_int_eq(bind("SNAPSHOT size=1K name=x EVERY=2m readonly=true level=4"), 0);
	ck_assert_str_eq(args[0].text, "x");
	ck_assert_uint_eq(args[1].number, 1024);
	ck_assert_uint_eq(args[2].number, 120);
	ck_assert_uint_eq(args[3].number, 1);
	ck_assert_uint_eq(args[4].number, 4);
	ck_assert_str_eq(args[4].text, "debug");
	ck_assert(args[4].given && !args[5].given);
	ck_assert_int_eq(bind("7 \"before patch\""), 0);
	ck_assert_str_eq(args[0].text, "before patch");
	ck_assert_int_eq(bind("Set Size=0 Force"), 0);
}
END_TEST

START_TEST(not_bound)
{
	// clang-format off
	static const char *const bad[] = {
		"snapshot", "snapshot x Name=y", "snapshot x y", "snapshot Name=", "snapshot now",
		"snapshot x Size=5x", "snapshot x Size=", "snapshot x Every=500ms",
		"snapshot x ReadOnly=maybe", "snapshot x Level=2", "snapshot x Nam=1",
		"snapshot x Force", "snapshot x Force=true", "Set", "Set x",
	};
	// clang-format on

	for (size_t i = 0; i < LENGTH(bad); i++) {
		ck_assert_msg(bind(bad[i]) == -EINVAL, "%s", bad[i]);
		ck_assert_str_ne(why.message, "");
	}
	ck_assert_int_eq(bind("snapshot x Parent=y"), -EOPNOTSUPP);
	ck_assert_ptr_null(command_find(table, "8"));
	ck_assert_ptr_null(command_find(table, "0"));
	ck_assert_ptr_null(command_find(table, ""));
}
END_TEST

/* No row is half filled, and no word is both had and not had. */
START_TEST(tables)
{
	for (int kind = 0; kind < OBJECT_MAX; kind++) {
		const struct command *c = command_tables[kind].commands;

		for (; c && c->name; c++) {
			size_t count = 0;

			ck_assert_ptr_nonnull(c->run);
			ck_assert_ptr_nonnull(c->help);
			ck_assert_ptr_null(command_of_later(c->name));
			for (; c->parameters && c->parameters[count].key; count++)
				ck_assert_int_ne(c->parameters[count].type, VALUE_INVALID);
			ck_assert_uint_le(count, PARAMETERS_MAX);
		}
	}
	ck_assert_str_eq(command_of_later("addpeer"), "AddPeer");
	ck_assert_ptr_null(command_of_later("failove"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl words");
	TCase *c = tcase_create("words");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, operation_keys_and_flags);
	tcase_add_test(c, quotes);
	tcase_add_test(c, plans);
	tcase_add_test(c, refused);
	tcase_add_test(c, lengths);
	tcase_add_test(c, random_bytes);
	tcase_add_test(c, bound);
	tcase_add_test(c, not_bound);
	tcase_add_test(c, tables);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

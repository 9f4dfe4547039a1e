// SPDX-License-Identifier: GPL-2.0-or-later
/* Mirrors in groups: who may join, and that a mirror that ends is in none, over stops and crashes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groups.h"
#include "temp_pair.h"
#include "unit.h"

static uint32_t group;
static uint32_t first, second; /* a.img -> b.img, c.img -> d.img */

static uint32_t create(const char *name)
{
	struct group_facts f;

	ck_assert_int_eq(tandem_create_group(temp.t, name, false, &why), 0);
	ck_assert_int_eq(group_named(temp.t, name, &f), 0);
	return f.number;
}

static uint32_t make_pair(const char *from, struct pair_request q)
{
	struct disk *d = temp_disk(from);
	struct pair_facts f;

	q.mode = q.mode ? q.mode : MODE_SYNCHRONOUS;
	q.mode_bits = 0600;
	ck_assert_msg(!tandem_mirror(temp.t, d, &q, &f, &why), "%s", why.message);
	disk_unref(d);
	number = f.number;
	await(COPY_SYNCHRONIZED);
	return f.number;
}

static void pairs_setup(void)
{
	seed = 3;
	source = NULL;
	temp_tandem_begin();
	temp_make("a.img", MIB);
	temp_make("c.img", MIB);
	temp_make("e.img", MIB);
	begin();
	group = create("db");
	first = make_pair("a.img", (struct pair_request){ .target = "b.img", .name = "one" });
	second = make_pair("c.img", (struct pair_request){ .target = "d.img", .name = "two" });
}

static int add(uint32_t pair)
{
	return tandem_add_pair_to_group(temp.t, group, pair, false, &why);
}

static int take_out(uint32_t pair)
{
	return tandem_remove_pair_from_group(temp.t, group, pair, false, &why);
}

/* "one two" */
static const char *members(void)
{
	static char text[200];
	uint32_t *pairs;
	size_t count, len = 0;

	ck_assert_int_eq(group_pairs(temp.t, group, &pairs, &count), 0);
	text[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		struct pair_facts f;

		ck_assert_int_eq(pair_numbered(temp.t, pairs[i], &f), 0);
		len += snprintf(text + len, sizeof(text) - len, "%s%s", i ? " " : "", f.name);
	}
	free(pairs);
	return text;
}

static int operate_on(uint32_t pair, enum replica_operation op)
{
	number = pair;
	return operate(op, false);
}

START_TEST(they_come_and_go)
{
	ck_assert_int_eq(add(second), 0);
	ck_assert_int_eq(add(first), 0);
	ck_assert_str_eq(members(), "one two");
	ck_assert_int_eq(add(first), -EEXIST);
	ck_assert_int_eq(tandem_remove_pair_from_group(temp.t, group, first, true, &why), 0);
	ck_assert_str_eq(members(), "one two");
	ck_assert_int_eq(take_out(first), 0);
	ck_assert_int_eq(take_out(first), -ENOENT);
	ck_assert_int_eq(tandem_add_pair_to_group(temp.t, group, first, true, &why), 0);
	ck_assert_str_eq(members(), "two");
	ck_assert_int_eq(add(12345), -ENOENT);
	ck_assert_uint_eq(temp_events("GroupChanged groups/db Added=replicas/one"), 1);
	ck_assert_uint_eq(temp_events("GroupChanged groups/db Removed=replicas/one"), 1);
	ck_assert_int_eq(tandem_delete_group(temp.t, "db", false, &why), 0);
	group = create("db");
	ck_assert_str_eq(members(), "");
	ck_assert_int_eq(add(first), 0);
}
END_TEST

START_TEST(they_are_recorded)
{
	struct disk *e = temp_disk("e.img");
	struct group_facts f;

	ck_assert_int_eq(tandem_add_to_group(temp.t, group, e, false, &why), 0);
	disk_unref(e);
	ck_assert_int_eq(add(first), 0);
	ck_assert_int_eq(add(second), 0);
	temp_close();
	begin();
	ck_assert_str_eq(members(), "one two");
	temp_close();
	temp_open_and_crash();
	begin();
	ck_assert_str_eq(members(), "one two");
	ck_assert_int_eq(group_numbered(temp.t, group, &f), 0);
	ck_assert(f.disks == 1 && f.pairs == 2 && !f.absent);
}
END_TEST

/* In the transaction in which it ends. */
START_TEST(one_that_ends_leaves)
{
	uint32_t db = group;

	ck_assert_int_eq(add(first), 0);
	ck_assert_int_eq(add(second), 0);
	group = create("web");
	ck_assert_int_eq(add(first), 0);
	number = first;
	do_it(OP_DETACH);
	ck_assert_str_eq(members(), "");
	group = db;
	ck_assert_str_eq(members(), "two");
	ck_assert_uint_eq(temp_events("GroupChanged groups/db Removed=replicas/one"), 1);
	ck_assert_uint_eq(temp_events("GroupChanged groups/web Removed=replicas/one"), 1);
	ck_assert_int_eq(add(first), -ENOENT);
	temp_close();
	begin();
	ck_assert_str_eq(members(), "two");
}
END_TEST

START_TEST(other_modes)
{
	struct group_facts f;

	ck_assert_int_eq(add(first), 0);
	ck_assert_int_eq(operate_on(second, OP_RESET_TO_ASYNC), 0);
	ck_assert_int_eq(add(second), -EINVAL);
	ck_assert_str_eq(why.message, "it is Asynchronous, and one is Synchronous");
	ck_assert_str_eq(why.advice, "ResetToSync");
	ck_assert_int_eq(operate_on(second, OP_RESET_TO_SYNC), 0);
	await(COPY_SYNCHRONIZED);
	ck_assert_int_eq(add(second), 0);
	ck_assert_int_eq(operate_on(first, OP_RESET_TO_ASYNC), 0);
	ck_assert_int_eq(tandem_set_group_consistent(temp.t, group, true, false, &why), -EBUSY);
	ck_assert_int_eq(group_numbered(temp.t, group, &f), 0);
	ck_assert(!f.consistent);
}
END_TEST

START_TEST(who_does_not_go_with_others)
{
	uint32_t chained;
	struct pair_facts f;

	ck_assert_int_eq(add(first), 0);
	chained = make_pair("b.img", (struct pair_request){ .target = "f.img", .name = "three" });
	ck_assert_int_eq(add(chained), -EINVAL);
	ck_assert_str_eq(why.message, "its source is the target of one");
	ck_assert_int_eq(take_out(first), 0);
	ck_assert_int_eq(add(chained), 0);
	ck_assert_int_eq(add(first), -EINVAL);
	ck_assert_str_eq(why.message, "its target is the source of three");
	chained = make_pair("e.img", (struct pair_request){ .target = "g.img", .moves = true });
	ck_assert_int_eq(add(chained), -EBUSY);
	ck_assert_str_eq(why.advice, "BreakMirrorVirtualDisk");
	ck_assert_int_eq(pair_numbered(temp.t, chained, &f), 0);
	ck_assert_str_eq(members(), "three");
}
END_TEST

UNIT_MAIN("group pairs", pairs_setup, teardown, they_come_and_go, they_are_recorded,
	  one_that_ends_leaves, other_modes, who_does_not_go_with_others)

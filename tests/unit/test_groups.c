// SPDX-License-Identifier: GPL-2.0-or-later
/* Groups of disks: who is in one, through names, stops, crashes, and images that are gone. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "catalogue.h"
#include "groups.h"
#include "temp_tandem.h"
#include "unit.h"

static struct why why;
static uint32_t group;

static uint32_t create(const char *name)
{
	struct group_facts f;

	ck_assert_int_eq(tandem_create_group(temp.t, name, false, &why), 0);
	ck_assert_int_eq(group_named(temp.t, name, &f), 0);
	return f.number;
}

static int add(const char *label)
{
	struct disk *d = temp_disk(label);
	int err = tandem_add_to_group(temp.t, group, d, false, &why);

	disk_unref(d);
	return err;
}

static void setup(void)
{
	temp_tandem_begin();
	temp_make("a.img", 1 << 20);
	temp_make("b.img", 1 << 20);
	temp_open();
	group = create("db");
	ck_assert_int_eq(add("b.img"), 0);
	ck_assert_int_eq(add("a.img"), 0);
}

/* "a.img Ready, b.img Missing"; of the group that has this number. */
static const char *members(void)
{
	static char text[500];
	struct group_member *list;
	size_t count, len = 0;

	ck_assert_int_eq(group_members(temp.t, group, &list, &count), 0);
	text[0] = '\0';
	for (size_t i = 0; i < count; i++)
		len += snprintf(text + len, sizeof(text) - len, "%s%s %s", i ? ", " : "",
				list[i].label, disk_state_name(list[i].state));
	free(list);
	return text;
}

static size_t groups(void)
{
	struct group_facts *list;
	size_t count;

	ck_assert_int_eq(groups_list(temp.t, &list, &count), 0);
	for (size_t i = 1; i < count; i++)
		ck_assert_int_lt(strcmp(list[i - 1].name, list[i].name), 0);
	free(list);
	return count;
}

START_TEST(made_and_deleted)
{
	struct group_facts f;

	ck_assert_int_eq(tandem_create_group(temp.t, "db", false, &why), -EEXIST);
	ck_assert_int_eq(tandem_create_group(temp.t, "a/b", false, &why), -EINVAL);
	ck_assert_int_eq(tandem_create_group(temp.t, "web", true, &why), 0);
	ck_assert_uint_eq(groups(), 1);
	for (char name[] = "x"; name[0] >= 'a'; name[0]--)
		create(name);
	ck_assert_uint_eq(groups(), 25);
	ck_assert_int_eq(tandem_delete_group(temp.t, "none", false, &why), -ENOENT);
	ck_assert_int_eq(tandem_delete_group(temp.t, "db", true, &why), 0);
	ck_assert_int_eq(group_numbered(temp.t, group, &f), 0);
	ck_assert_int_eq(tandem_delete_group(temp.t, "db", false, &why), 0);
	ck_assert_int_eq(group_numbered(temp.t, group, &f), -ENOENT);
	ck_assert_int_eq(add("a.img"), -ENOENT);
	temp_close();
	temp_open();
	ck_assert_uint_eq(groups(), 24);
	/* Another one of its name has none of its disks. */
	group = create("db");
	ck_assert_str_eq(members(), "");
	ck_assert_uint_eq(temp_events("GroupRemoved groups/db"), 1);
}
END_TEST

START_TEST(members_come_and_go)
{
	struct disk *a = temp_disk("a.img");
	struct group_facts f;

	ck_assert_str_eq(members(), "a.img Ready, b.img Ready");
	ck_assert_int_eq(add("a.img"), -EEXIST);
	ck_assert_int_eq(tandem_remove_from_group(temp.t, group, a->number, true, &why), 0);
	ck_assert_str_eq(members(), "a.img Ready, b.img Ready");
	ck_assert_int_eq(tandem_remove_from_group(temp.t, group, a->number, false, &why), 0);
	ck_assert_int_eq(tandem_remove_from_group(temp.t, group, a->number, false, &why), -ENOENT);
	ck_assert_str_eq(members(), "b.img Ready");
	ck_assert_int_eq(tandem_add_to_group(temp.t, group, a, true, &why), 0);
	ck_assert_str_eq(members(), "b.img Ready");
	ck_assert_int_eq(tandem_set_group_consistent(temp.t, group, true, true, &why), 0);
	ck_assert_int_eq(group_numbered(temp.t, group, &f), 0);
	ck_assert(!f.consistent && f.disks == 1 && !f.absent);
	ck_assert_int_eq(tandem_set_group_consistent(temp.t, group, true, false, &why), 0);
	ck_assert_int_eq(group_numbered(temp.t, group, &f), 0);
	ck_assert(f.consistent);
	ck_assert_uint_eq(temp_events("GroupChanged groups/db Added=a.img"), 1);
	ck_assert_uint_eq(temp_events("GroupChanged groups/db Removed=a.img"), 1);
	ck_assert_uint_eq(temp_events("GroupChanged groups/db Consistent=true"), 1);
	disk_unref(a);
}
END_TEST

/* What a command said is done is there after a death that nobody could prepare for. */
START_TEST(survive_a_crash)
{
	struct group_facts f;

	ck_assert_int_eq(tandem_set_group_consistent(temp.t, group, true, false, &why), 0);
	temp_close();
	temp_open_and_crash();
	temp_open();
	ck_assert_int_eq(group_named(temp.t, "db", &f), 0);
	ck_assert(f.number == group && f.consistent && f.disks == 2);
	ck_assert_str_eq(members(), "a.img Ready, b.img Ready");
}
END_TEST

START_TEST(renames_keep_members)
{
	struct disk *a = temp_disk("a.img");

	ck_assert_int_eq(tandem_rename_disk(temp.t, a, NULL, "z.img", 0, &why), 0);
	disk_unref(a);
	ck_assert_str_eq(members(), "b.img Ready, z.img Ready");
	ck_assert_int_eq(rename(temp_path("z.img"), temp_path("y.img")), 0);
	temp_rescan();
	ck_assert_str_eq(members(), "b.img Ready, y.img Ready");
	temp_close();
	ck_assert_int_eq(rename(temp_path("y.img"), temp_path("x.img")), 0);
	temp_open();
	ck_assert_str_eq(members(), "b.img Ready, x.img Ready");
}
END_TEST

static void missing(void)
{
	struct disk **disks;
	size_t count;

	ck_assert_str_eq(members(), "a.img Ready, b.img Missing");
	ck_assert_str_eq(temp_reason("b.img"), MISSING_MEMBER);
	ck_assert_int_eq(group_disks(temp.t, group, &disks, &count, &why), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why.message, "b.img is Missing"));
}

START_TEST(a_member_that_is_gone)
{
	uint32_t number = temp_number("b.img");
	struct group_facts f;

	ck_assert_int_eq(rename(temp_path("b.img"), temp_path(".away")), 0);
	temp_rescan();
	missing();
	ck_assert_int_eq(group_numbered(temp.t, group, &f), 0);
	ck_assert(f.disks == 2 && f.absent == 1);
	temp_close();
	temp_open();
	missing();
	ck_assert_int_eq(rename(temp_path(".away"), temp_path("b.img")), 0);
	temp_rescan();
	ck_assert_str_eq(members(), "a.img Ready, b.img Ready");
	ck_assert_uint_eq(temp_number("b.img"), number);
}
END_TEST

/* Then nothing keeps it, and it goes. */
START_TEST(a_gone_one_that_leaves)
{
	uint32_t b = temp_number("b.img");

	ck_assert_int_eq(unlink(temp_path("a.img")), 0);
	ck_assert_int_eq(unlink(temp_path("b.img")), 0);
	temp_rescan();
	ck_assert_str_eq(members(), "a.img Missing, b.img Missing");
	ck_assert_int_eq(tandem_remove_from_group(temp.t, group, b, false, &why), 0);
	ck_assert_str_eq(temp_state("b.img"), "");
	ck_assert_str_eq(temp_state("a.img"), "Missing");
	ck_assert_int_eq(tandem_delete_group(temp.t, "db", false, &why), 0);
	ck_assert_uint_eq(temp_count(), 0);
}
END_TEST

START_TEST(deleted_disks_leave)
{
	struct disk *a = temp_disk("a.img"), *b = temp_disk("b.img");

	ck_assert_int_eq(tandem_delete_disk(temp.t, a, "a.img", false, false, &why), -EPERM);
	ck_assert_ptr_nonnull(strstr(why.message, "in the group db"));
	/* A rename over it cannot say Force. */
	ck_assert_int_eq(tandem_rename_disk(temp.t, b, "b.img", "a.img", 0, &why), -EBUSY);
	ck_assert_str_eq(members(), "a.img Ready, b.img Ready");
	ck_assert_int_eq(tandem_delete_disk(temp.t, a, "a.img", true, false, &why), 0);
	ck_assert_str_eq(members(), "b.img Ready");
	ck_assert_int_eq(tandem_add_to_group(temp.t, group, a, false, &why), -ENOENT);
	disk_unref(a);
	disk_unref(b);
	temp_close();
	temp_make("a.img", 1 << 20);
	temp_open();
	ck_assert_str_eq(members(), "b.img Ready");
}
END_TEST

/* As an older program leaves it, or a crash. */
START_TEST(records_of_nobody)
{
	struct catalogue_txn *txn;

	ck_assert_int_eq(catalogue_begin(temp.t->catalogue, &txn), 0);
	ck_assert_int_eq(catalogue_put_member(txn, group, 99999), 0);
	ck_assert_int_eq(catalogue_put_member(txn, 99998, temp_number("a.img")), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	temp_close();
	temp_open();
	ck_assert_str_eq(members(), "a.img Ready, b.img Ready");
	ck_assert_uint_eq(groups(), 1);
}
END_TEST

START_TEST(of_a_removed_pool)
{
	const struct create_disk create = { .name = "fast:c.img", .size = 1 << 20, .mode = 0600 };
	struct disk *made;
	char pool[PATH_MAX];

	snprintf(pool, sizeof(pool), "%s", unit_dir());
	ck_assert_int_eq(tandem_add_pool(temp.t, "fast", pool, false, &why), 0);
	ck_assert_int_eq(tandem_create_disk(temp.t, &create, &made, &why), 0);
	disk_unref(made);
	ck_assert_int_eq(add("fast:c.img"), 0);
	ck_assert_str_eq(members(), "a.img Ready, b.img Ready, fast:c.img Ready");
	ck_assert_int_eq(tandem_remove_pool(temp.t, "fast", false, false, &why), 0);
	ck_assert_str_eq(members(), "a.img Ready, b.img Ready, c.img Missing");
	ck_assert_int_eq(tandem_add_pool(temp.t, "fast", pool, false, &why), 0);
	ck_assert_str_eq(members(), "a.img Ready, b.img Ready, fast:c.img Ready");
}
END_TEST

START_TEST(read_only_mount)
{
	temp_close();
	temp.options.read_only = true;
	temp_open();
	ck_assert_str_eq(members(), "a.img ReadOnly, b.img ReadOnly");
	ck_assert_int_eq(tandem_create_group(temp.t, "x", false, &why), -EROFS);
	ck_assert_int_eq(tandem_delete_group(temp.t, "db", false, &why), -EROFS);
	ck_assert_int_eq(add("a.img"), -EROFS);
}
END_TEST

UNIT_MAIN("groups", setup, temp_tandem_end, made_and_deleted, members_come_and_go, survive_a_crash,
	  renames_keep_members, a_member_that_is_gone, a_gone_one_that_leaves, deleted_disks_leave,
	  records_of_nobody, of_a_removed_pool, read_only_mount)

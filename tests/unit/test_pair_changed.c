// SPDX-License-Identifier: GPL-2.0-or-later
/* Mirrors of which another program changes an image: nothing of that is lost, nor said to be equal. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "operations.h"
#include "pairs_inner.h"
#include "stamps.h"
#include "unit.h"

static struct pair *the_pair(void)
{
	return pair_of_number(temp.t->pairs, number);
}

static void synchronize(void)
{
	change_much(source, 50);
	make();
	await(COPY_SYNCHRONIZED);
}

static bool nobody_has_them(void *arg)
{
	struct disk *a = temp_disk("a.img"), *b = temp_disk("b.img");
	bool none = !disk_is_open(a) && !disk_is_open(b) &&
		    !marks_any_active(the_pair()->leg.marks);

	(void)arg;
	disk_unref(a);
	disk_unref(b);
	return none;
}

/* Nor does its keeper, which cleans marks: what is changed just before it closes them is its own. */
static void close_both(void)
{
	close_source();
	ck_assert(unit_until(nobody_has_them, NULL, 10));
}

/* As the watcher does when it hears that somebody closed the file. */
static void heard(const char *name)
{
	struct pool *p = tandem_pool_named(temp.t, "");

	pthread_mutex_lock(&temp.t->discovery);
	ck_assert_int_eq(scan_name(temp.t, p, name, SCAN_CLOSED), 0);
	pthread_mutex_unlock(&temp.t->discovery);
	pool_unref(p);
}

static void change_file(const char *name)
{
	temp_scribble(name);
	heard(name);
}

/* What the watcher makes of a Changed disk that nobody has open any more. */
static bool is_ready(void *arg)
{
	struct disk *d = temp_disk(arg);
	bool ready;

	temp_settle(d);
	ready = disk_state(d) == DISK_READY;
	disk_unref(d);
	return ready;
}

static bool is_marked(void *arg)
{
	(void)arg;
	return facts().differs == SIZE;
}

static char first_byte(const char *name)
{
	FILE *f = fopen(temp_path(name), "r");
	char c = 0;

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fread(&c, 1, 1, f), 1);
	fclose(f);
	return c;
}

/* Not only because its keeper closes it a moment later. */
static bool is_refused(void *err)
{
	*(int *)err = operate(OP_RESYNC_REPLICA, false);
	return *(int *)err != -EBUSY;
}

/* Skewed for good, until somebody says that what others wrote may go. */
static void is_skewed(void)
{
	int err;

	ck_assert_int_eq(facts().state, COPY_SKEWED);
	ck_assert(facts().rewritten);
	ck_assert(unit_until(is_marked, NULL, 5));
	ck_assert(unit_until(is_ready, (void *)"b.img", 10));
	ck_assert_int_eq(first_byte("b.img"), 'x');
	ck_assert(unit_until(is_refused, &err, 10));
	ck_assert_int_eq(err, -EPERM);
	again();
	ck_assert_int_eq(facts().state, COPY_SKEWED);
	ck_assert_uint_eq(facts().differs, SIZE);
	ck_assert(unit_until(is_refused, &err, 10));
	ck_assert_int_eq(err, -EPERM);
	ck_assert_int_eq(first_byte("b.img"), 'x');
	ck_assert_msg(!operate(OP_RESYNC_REPLICA, true), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	ck_assert(!facts().rewritten);
	ck_assert(is_same("a.img", "b.img"));
}

/* Nothing goes over what others wrote before somebody says that this may go. */
static void accept(const char *name)
{
	struct disk *d = temp_disk(name);

	ck_assert_int_eq(disk_state(d), DISK_CHANGED);
	ck_assert_int_eq(first_byte(name), 'x');
	ck_assert_msg(!tandem_accept_disk(temp.t, d, true, false, &why), "%s", why.message);
	disk_unref(d);
}

/* ---- the target ---- */

START_TEST(a_target_in_step)
{
	synchronize();
	change_file("b.img");
	ck_assert_uint_eq(
		temp_events("Warning StateChanged replicas/a.img-1 From=Synchronized To=Skewed"),
		1);
	ck_assert_uint_eq(temp_events("DiskChanged disks/b.img While=open"), 1);
	ck_assert_int_eq(change(source, 0, 4096), 0); /* goes nowhere else */
	is_skewed();
}
END_TEST

START_TEST(a_target_that_is_closed)
{
	synchronize();
	close_both();
	change_file("b.img");
	ck_assert_uint_eq(temp_events("DiskChanged disks/b.img While=closed"), 1);
	open_source();
	is_skewed();
}
END_TEST

/* Its source is opened before anybody has heard of it. */
START_TEST(a_target_found_changed)
{
	synchronize();
	close_both();
	temp_scribble("b.img");
	open_source();
	ck_assert_int_eq(change(source, 0, MIB), 0);
	is_skewed();
}
END_TEST

START_TEST(a_target_while_stopped)
{
	synchronize();
	close_both();
	temp_close();
	temp_scribble("b.img");
	begin();
	ck_assert_uint_eq(temp_events("DiskChanged disks/b.img While=stopped"), 1);
	open_source();
	is_skewed();
}
END_TEST

START_TEST(a_target_that_was_away)
{
	synchronize();
	close_both();
	ck_assert_int_eq(rename(temp_path("b.img"), temp_path("away")), 0);
	heard("b.img");
	ck_assert(temp_event_comes("StateChanged replicas/a.img-1 From=Synchronized To=Broken"));
	temp_scribble("away");
	ck_assert_int_eq(rename(temp_path("away"), temp_path("b.img")), 0);
	heard("b.img");
	open_source();
	accept("b.img");
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

START_TEST(a_target_that_is_fractured_or_split)
{
	static const enum replica_operation ops[] = { OP_FRACTURE, OP_SPLIT };

	for (size_t i = 0; i < UNIT_LENGTH(ops); i++) {
		if (i)
			do_it(OP_DETACH);
		if (i)
			ck_assert_msg(!mirror("b.img", (struct pair_request){ .existing = true,
									      .force = true }),
				      "%s", why.message);
		else
			synchronize();
		await(COPY_SYNCHRONIZED);
		do_it(ops[i]);
		change_file("b.img");
		is_skewed();
	}
}
END_TEST

START_TEST(in_other_states_all_differs)
{
	synchronize();
	do_it(OP_SUSPEND);
	ck_assert(facts().whole);
	change_file("b.img");
	ck_assert_int_eq(facts().state, COPY_SUSPENDED);
	ck_assert(!facts().whole && !facts().rewritten);
	ck_assert_uint_eq(facts().differs, SIZE);
	ck_assert_int_eq(operate(OP_RESUME, false), -ENOENT);
	accept("b.img");
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

START_TEST(a_crash_before_it_is_marked)
{
	struct marks *marks;
	unsigned turn;

	synchronize();
	close_both();
	change_file("b.img");
	ck_assert_int_eq(facts().state, COPY_SKEWED);
	marks = the_pair()->leg.marks;
	ck_assert_int_eq(marks_begin(marks, 0, SIZE, &turn), 0);
	marks_clear(marks, 0, SIZE);
	marks_end(marks, turn);
	again();
	is_skewed();
}
END_TEST

START_TEST(a_target_of_an_asynchronous_one)
{
	stamp_some(100);
	make_async();
	await(COPY_SYNCHRONIZED);
	follows();
	stamp_some(100);
	change_file("b.img");
	ck_assert_int_eq(facts().state, COPY_SKEWED);
	ck_assert(unit_until(is_marked, NULL, 5));
	ck_assert_uint_eq(facts().shows, 0);
	ck_assert_int_eq(operate(OP_RESYNC_REPLICA, false), -ENOENT);
	/* Its past does not fit it any more, which is the disk's. */
	accept("b.img");
	ck_assert_int_eq(facts().state, COPY_SKEWED);
	ck_assert_int_eq(operate(OP_RESYNC_REPLICA, false), -EPERM);
	ck_assert_msg(!operate(OP_RESYNC_REPLICA, true), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	follows();
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

/* ---- the source ---- */

/* Nothing of it is copied before somebody says that it is right; then all of it. */
static void is_copied_after_accept(void)
{
	ck_assert_int_eq(facts().state, COPY_UNSYNCHRONIZED);
	ck_assert(unit_until(is_marked, NULL, 5));
	ck_assert_int_ne(first_byte("b.img"), 'x');
	accept("a.img");
	await(COPY_SYNCHRONIZED);
	ck_assert_int_eq(first_byte("a.img"), 'x');
	ck_assert(is_same("a.img", "b.img"));
}

START_TEST(a_source_that_is_closed)
{
	synchronize();
	ck_assert_int_eq(disk_zero(source, 0, 4096, ZERO_KEEP), 0);
	close_both();
	change_file("a.img");
	is_copied_after_accept();
}
END_TEST

START_TEST(a_source_in_use)
{
	synchronize();
	ck_assert_int_eq(disk_zero(source, 0, 4096, ZERO_KEEP), 0);
	change_file("a.img");
	is_copied_after_accept();
}
END_TEST

START_TEST(a_source_while_stopped)
{
	synchronize();
	ck_assert_int_eq(disk_zero(source, 0, 4096, ZERO_KEEP), 0);
	close_both();
	temp_close();
	temp_scribble("a.img");
	begin();
	is_copied_after_accept();
}
END_TEST

START_TEST(nothing_is_claimed)
{
	struct disk *target;

	synchronize();
	change_much(source, 20);
	close_both();
	heard("a.img");
	heard("b.img");
	open_source();
	heard("a.img");
	heard("b.img");
	temp_rescan();
	change_much(source, 20);
	temp_rescan();
	close_both();
	target = temp_disk("b.img");
	ck_assert_int_eq(disk_open(target, false), 0);
	disk_close(target);
	disk_unref(target);
	again();
	ck_assert_int_eq(facts().state, COPY_SYNCHRONIZED);
	ck_assert_uint_eq(facts().differs, 0);
	ck_assert_uint_eq(temp_events("DiskChanged"), 0);
}
END_TEST

UNIT_MAIN("pair changed", stamps_setup, teardown, a_target_in_step, a_target_that_is_closed,
	  a_target_found_changed, a_target_while_stopped, a_target_that_was_away,
	  a_target_that_is_fractured_or_split, in_other_states_all_differs,
	  a_crash_before_it_is_marked, a_target_of_an_asynchronous_one, a_source_that_is_closed,
	  a_source_in_use, a_source_while_stopped, nothing_is_claimed)

// SPDX-License-Identifier: GPL-2.0-or-later
/* Another program changes the image of a disk that has a past. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "past_disk.h"
#include "unit.h"

#define SIZE (16 * PAST_BLOCK)

static struct past_disk p;
static struct why why;

static void setup(void)
{
	temp_tandem_begin();
	temp.options.block_size = PAST_BLOCK;
	temp_open();
	ck_assert_int_eq(snapshots_start(temp.t), 0);
	past_disk_begin(&p, "a.img", SIZE);
	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "one");
	past_write(&p, 0, SIZE / 2, 2);
}

static void teardown(void)
{
	past_disk_end(&p);
	temp_tandem_end();
}

static void stop(void)
{
	past_disk_let_go(&p);
	temp_close();
}

static void go_on(void)
{
	temp_open();
	ck_assert_int_eq(snapshots_start(temp.t), 0);
	past_disk_again(&p);
}

static void is_changed(void)
{
	uint32_t number = p.kept[0].number;
	struct snapshot_facts f;

	ck_assert_str_eq(temp_state("a.img"), "Changed");
	ck_assert_int_eq(moment_open(p.d, p.kept[0].generation), -ESTALE);
	ck_assert_int_eq(tandem_snapshot(temp.t, &p.d, 1, "x", false, NULL, &why), -EBUSY);
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, number, false, false, &why), -EBUSY);
	ck_assert_int_eq(snapshot_numbered(temp.t, number, &f), 0);
	ck_assert_uint_eq(f.state, SNAPSHOT_SYNCHRONIZED);
}

static void accept(void)
{
	uint32_t number = p.kept[0].number;
	struct snapshot_facts f;

	ck_assert_int_eq(tandem_accept_disk(temp.t, p.d, false, false, &why), -EPERM);
	ck_assert_int_eq(tandem_accept_disk(temp.t, p.d, true, true, &why), 0);
	is_changed();
	ck_assert_int_eq(tandem_accept_disk(temp.t, p.d, true, false, &why), 0);
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	ck_assert_uint_eq(temp_events("Major SnapshotLost replicas/a.img@one"), 1);
	ck_assert_int_eq(snapshot_numbered(temp.t, number, &f), 0);
	ck_assert_uint_eq(f.state, SNAPSHOT_BROKEN);
	ck_assert_uint_eq(f.generation, 0);
	ck_assert(past_is_empty(&p));
	p.now[0] = 'x';
	past_check_now(&p);
	past_forget(&p, 0);
	stop();
	go_on();
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	ck_assert_int_eq(snapshot_numbered(temp.t, number, &f), 0);
	ck_assert_uint_eq(f.state, SNAPSHOT_BROKEN);
	past_snapshot(&p, "two");
	past_write(&p, 0, SIZE, 5);
	past_check_all(&p);
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, number, false, false, &why), 0);
}

START_TEST(while_closed)
{
	temp_scribble("a.img");
	temp_rescan();
	is_changed();
	temp_rescan();
	temp_settle(p.d);
	is_changed();
	accept();
}
END_TEST

/* Nobody has heard of it yet. */
START_TEST(found_by_an_open)
{
	temp_scribble("a.img");
	ck_assert_int_eq(disk_open(p.d, true), -ENOENT);
	is_changed();
	accept();
}
END_TEST

START_TEST(found_by_a_snapshot)
{
	temp_scribble("a.img");
	ck_assert_int_eq(tandem_snapshot(temp.t, &p.d, 1, "x", false, NULL, &why), -EBUSY);
	is_changed();
	accept();
}
END_TEST

START_TEST(while_stopped)
{
	stop();
	temp_scribble("a.img");
	go_on();
	ck_assert_uint_eq(temp_events("DiskChanged disks/a.img While=stopped"), 1);
	is_changed();
	stop();
	go_on();
	is_changed();
	accept();
}
END_TEST

START_TEST(while_away)
{
	char away[PATH_MAX + 10];

	snprintf(away, sizeof(away), "%s.away", temp.dir);
	stop();
	temp_scribble("a.img");
	ck_assert_int_eq(rename(temp_path("a.img"), away), 0);
	go_on();
	ck_assert_str_eq(temp_state("a.img"), "Missing");
	past_disk_let_go(&p);
	ck_assert_int_eq(rename(away, temp_path("a.img")), 0);
	temp_rescan();
	past_disk_again(&p);
	is_changed();
	accept();
}
END_TEST

/* Who has it open goes on; that it was changed is not forgotten with the last close. */
START_TEST(while_open)
{
	past_open(&p);
	temp_scribble("a.img");
	temp_rescan();
	is_changed();
	past_close(&p);
	temp_settle(p.d);
	is_changed();
	accept();
}
END_TEST

/* Without a moment there is nothing that would not fit. */
START_TEST(without_a_past)
{
	past_delete(&p, 0);
	temp_scribble("a.img");
	temp_rescan();
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	p.now[0] = 'x';
	past_check_now(&p);
}
END_TEST

UNIT_MAIN("past_changed", setup, teardown, while_closed, found_by_an_open, found_by_a_snapshot,
	  while_stopped, while_away, while_open, without_a_past)

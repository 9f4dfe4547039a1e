// SPDX-License-Identifier: GPL-2.0-or-later
/* With the real inotify: what happens in the directory is heard, without anybody asking. */
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "temp_tandem.h"
#include "unit.h"

#define SIZE (1u << 20)

static struct why why;

static void setup(void)
{
	temp_tandem_begin();
}

/* Opened and watching; nothing that happened before counts. */
static void start(void)
{
	temp_open();
	ck_assert_int_eq(tandem_start(temp.t, &why), 0);
	temp_forget();
}

static void move(const char *from, const char *to)
{
	ck_assert_int_eq(rename(temp_path(from), temp_path(to)), 0);
}

struct want {
	const char *label, *state;
};

static bool is_so(void *arg)
{
	const struct want *w = arg;

	return !strcmp(temp_state(w->label), w->state);
}

static void becomes(const char *label, const char *state)
{
	struct want w = { label, state };

	ck_assert_msg(unit_until(is_so, &w, 10), "%s is '%s' (%s), not '%s'", label,
		      temp_state(label), temp_reason(label), state);
}

START_TEST(appears_and_vanishes)
{
	start();
	temp_make("a.img", SIZE);
	ck_assert(temp_event_comes("DiskAdded disks/a.img"));
	becomes("a.img", "Ready");
	ck_assert_int_eq(unlink(temp_path("a.img")), 0);
	ck_assert(temp_event_comes("DiskRemoved disks/a.img"));
	becomes("a.img", "");
}
END_TEST

START_TEST(not_before_it_is_closed)
{
	int fd;

	start();
	fd = open(temp_path("a.img"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	/* A file that is made later is there first: nothing was heard of this one. */
	temp_make("b.img", SIZE);
	becomes("b.img", "Ready");
	ck_assert_str_ne(temp_state("a.img"), "Ready");
	close(fd);
	becomes("a.img", "Ready");
}
END_TEST

START_TEST(renamed)
{
	uint32_t number;

	temp_make("a.img", SIZE);
	start();
	number = temp_number("a.img");
	for (int i = 0; i < 5; i++) {
		move("a.img", "b.img");
		becomes("b.img", "Ready");
		move("b.img", "a.img");
		becomes("a.img", "Ready");
	}
	ck_assert_uint_eq(temp_number("a.img"), number);
	ck_assert_uint_eq(temp_events("DiskRemoved"), 0);
	ck_assert_uint_eq(temp_events("DiskAdded"), 0);
	ck_assert_uint_eq(temp_events("DiskRenamed"), 10);
}
END_TEST

START_TEST(renamed_while_open)
{
	struct disk *d;
	char buf[512];
	size_t done;

	temp_make("a.img", SIZE);
	start();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	move("a.img", "b.img");
	ck_assert(temp_event_comes("DiskRenamed disks/b.img From=a.img"));
	/* Once more and back, so that what was put off for the old name is over. */
	temp_make("c.img", 512);
	move("c.img", "d.img");
	becomes("d.img", "Ready");
	ck_assert_int_eq(unlink(temp_path("d.img")), 0);
	becomes("d.img", "");
	becomes("b.img", "Ready");
	ck_assert_int_eq(disk_read(d, buf, 512, 0, 0, &done), 0);
	disk_close(d);
	disk_unref(d);
}
END_TEST

START_TEST(moved_in_and_out)
{
	char away[PATH_MAX + 10];

	start();
	snprintf(away, sizeof(away), "%s.away", temp.dir);
	temp_make("a.img", SIZE);
	becomes("a.img", "Ready");
	ck_assert_int_eq(rename(temp_path("a.img"), away), 0);
	ck_assert(temp_event_comes("DiskRemoved disks/a.img"));
	becomes("a.img", "");
	ck_assert_int_eq(rename(away, temp_path("b.img")), 0);
	becomes("b.img", "Ready");
}
END_TEST

/* Nobody closes it and nothing is moved: only CREATE tells of it. */
START_TEST(published_by_link)
{
	temp_make("a.part", SIZE);
	start();
	ck_assert_int_eq(link(temp_path("a.part"), temp_path("a.img")), 0);
	ck_assert_int_eq(unlink(temp_path("a.part")), 0);
	becomes("a.img", "Ready");
}
END_TEST

/* Only MOVED_TO tells of it. */
START_TEST(replaced)
{
	uint32_t number;

	temp_make("a.img", SIZE);
	start();
	number = temp_number("a.img");
	temp_make("a.img.new", 512);
	move("a.img.new", "a.img");
	ck_assert(temp_event_comes("DiskAdded disks/a.img State=Ready Size=512"));
	becomes("a.img", "Ready");
	ck_assert_uint_ne(temp_number("a.img"), number);
}
END_TEST

START_TEST(changed)
{
	struct disk *d;

	temp_make("a.img", SIZE);
	start();
	temp_scribble("a.img");
	ck_assert(temp_event_comes("DiskChanged disks/a.img While=closed"));
	becomes("a.img", "Ready");
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	temp_forget();
	temp_scribble("a.img");
	ck_assert(temp_event_comes("DiskChanged disks/a.img While=open"));
	becomes("a.img", "Changed");
	disk_close(d);
	disk_unref(d);
	becomes("a.img", "Ready");
}
END_TEST

START_TEST(our_own_writes_are_not_heard)
{
	char buf[512] = "";
	struct disk *d;

	temp_make("a.img", SIZE);
	start();
	d = temp_disk("a.img");
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(disk_open(d, true), 0);
		ck_assert_int_eq(disk_write(d, buf, 512, i * 512, 0), 0);
		ck_assert_int_eq(disk_flush(d), 0);
		disk_close(d);
	}
	/* What came before this one has been heard, too. */
	temp_make("b.img", SIZE);
	becomes("b.img", "Ready");
	ck_assert_uint_eq(temp_events("DiskChanged"), 0);
	ck_assert_uint_eq(temp_events("a.img"), 0);
	disk_unref(d);
}
END_TEST

/* The kernel closes what a dead daemon had open a little after its end, when the next one listens. */
START_TEST(closed_late_by_the_one_before)
{
	char buf[512] = "";
	struct disk *d;
	int before;

	temp_make("a.img", SIZE);
	temp_open_and_crash();
	start();
	before = open(temp_path("a.img"), O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(before, 0);
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), 0);
	close(before);
	temp_make("b.img", SIZE);
	becomes("b.img", "Ready");
	ck_assert_uint_eq(temp_events("DiskChanged"), 0);
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	disk_close(d);
	disk_unref(d);
}
END_TEST

START_TEST(missing_until_closed)
{
	struct disk *d;

	temp_make("a.img", SIZE);
	start();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, false), 0);
	ck_assert_int_eq(unlink(temp_path("a.img")), 0);
	becomes("a.img", "Missing");
	disk_close(d);
	becomes("a.img", "");
	disk_unref(d);
}
END_TEST

START_TEST(in_a_second_pool)
{
	char dir[PATH_MAX], path[PATH_MAX + 20], other[PATH_MAX + 20];
	int fd;

	start();
	snprintf(dir, sizeof(dir), "%s", unit_dir());
	ck_assert_int_eq(tandem_add_pool(temp.t, "fast", dir, false, &why), 0);
	snprintf(path, sizeof(path), "%s/a.img", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	close(fd);
	becomes("fast:a.img", "Ready");
	snprintf(other, sizeof(other), "%s/b.img", dir);
	ck_assert_int_eq(rename(path, other), 0);
	becomes("fast:b.img", "Ready");
	ck_assert_int_eq(tandem_remove_pool(temp.t, "fast", false, false, &why), 0);
	temp_forget();
	ck_assert_int_eq(rename(other, path), 0);
	temp_make("c.img", 512);
	becomes("c.img", "Ready");
	ck_assert_uint_eq(temp_events("fast"), 0);
}
END_TEST

/* ---- what falls out of a queue that is too short ---- */

static long read_limit(void)
{
	FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
	long n = 0;

	if (!f || fscanf(f, "%ld", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

static bool write_limit(long n)
{
	FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "we");
	bool done = f && fprintf(f, "%ld\n", n) > 0;

	if (f && fclose(f))
		done = false;
	return done;
}

static bool all_there(void *arg)
{
	return temp_count() == *(unsigned *)arg;
}

START_TEST(overflow)
{
	unsigned n = 40;
	long before = read_limit();
	char name[40];

	/* The limit is read when the queue is made. */
	if (!before || !write_limit(8))
		return; /* not root */
	temp_open();
	write_limit(before);
	ck_assert_int_eq(tandem_start(temp.t, &why), 0);
	pthread_mutex_lock(&temp.t->discovery); /* it reads nothing meanwhile */
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%u.img", i);
		temp_make(name, 512);
	}
	pthread_mutex_unlock(&temp.t->discovery);
	ck_assert(temp_event_comes("Warning WatchOverflow daemon Action=Rescan"));
	ck_assert_msg(unit_until(all_there, &n, 10), "%zu of %u", temp_count(), n);
}
END_TEST

/* ---- now and then ---- */

START_TEST(looks_again_by_itself)
{
	struct tandem_settings s;

	start();
	s = tandem_get_settings(temp.t);
	s.rescan_interval_s = 1; /* at once, not after the minute that was set before */
	ck_assert_int_eq(tandem_set(temp.t, &s, false, &why), 0);
	temp_make("a.img", SIZE);
	becomes("a.img", "Ready");
	/* Nothing is heard of a change of the size without a close. */
	ck_assert_int_eq(truncate(temp_path("a.img"), 2 * SIZE), 0);
	ck_assert(temp_event_comes("DiskChanged disks/a.img While=closed Size=2097152"));
}
END_TEST

START_TEST(stalled)
{
	struct gate_item stuck;
	struct disk *d;

	temp_make("a.img", SIZE);
	start();
	d = temp_disk("a.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert(gate_enter(&d->gate, &stuck));
	ck_assert(temp_event_comes("Warning Stalled disks/a.img Seconds="));
	gate_leave(&d->gate, &stuck);
	ck_assert_uint_eq(temp_events("Stalled"), 1);
	disk_close(d);
	disk_unref(d);
}
END_TEST

START_TEST(stops_in_the_middle)
{
	char name[40];

	start();
	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "%u.img", i);
		temp_make(name, 512);
		if (i % 2)
			ck_assert_int_eq(rename(temp_path(name), temp_path("moved.img")), 0);
	}
	temp_close();
	start();
	ck_assert_uint_eq(temp_count(), 26);
	temp_check_tables();
}
END_TEST

UNIT_MAIN("watch", setup, temp_tandem_end, appears_and_vanishes, not_before_it_is_closed, renamed,
	  renamed_while_open, moved_in_and_out, published_by_link, replaced, changed,
	  our_own_writes_are_not_heard, closed_late_by_the_one_before, missing_until_closed,
	  in_a_second_pool, overflow, looks_again_by_itself, stalled, stops_in_the_middle)

// SPDX-License-Identifier: GPL-2.0-or-later
/* The past of a disk over stops, deaths, and what happens to its image. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "catalogue_check.h"
#include "past_disk.h"
#include "unit.h"

#define SIZE (64 * PAST_BLOCK)

static struct past_disk p;
static struct why why;

static void begin(void)
{
	temp_open();
	ck_assert_int_eq(snapshots_start(temp.t), 0);
}

static void setup(void)
{
	temp_tandem_begin();
	temp.options.block_size = PAST_BLOCK;
	begin();
	past_disk_begin(&p, "a.img", SIZE);
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
	begin();
	past_disk_again(&p);
}

static void make_some(void)
{
	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "one");
	past_write(&p, PAST_BLOCK / 2, PAST_BLOCK, 2);
	past_snapshot(&p, "two");
	past_write(&p, 4 * PAST_BLOCK, SIZE / 2, 3);
}

START_TEST(a_stop)
{
	make_some();
	for (unsigned i = 0; i < 3; i++) {
		stop();
		go_on();
		past_check_all(&p);
		past_write(&p, i * 9000, 5000, 4 + i);
	}
	past_check_all(&p);
}
END_TEST

/* Still open, and nothing settled: what was acknowledged is there after a death. */
static void die_after_writes(void)
{
	pid_t pid;
	int status;

	stop();
	pid = fork();
	if (pid == 0) {
		go_on();
		past_open(&p);
		past_snapshot(&p, "three");
		past_write(&p, 0, 3 * PAST_BLOCK, 7);
		past_snapshot(&p, "four");
		past_write(&p, PAST_BLOCK, PAST_BLOCK, 8);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	for (unsigned i = 0; i < 2; i++) { /* as the child knows it */
		struct snapshot_facts f = { .generation = 0 };

		snprintf(f.name, sizeof(f.name), i ? "four" : "three");
		past_keep(&p, &f);
		if (i)
			memset(p.now + PAST_BLOCK, 8, PAST_BLOCK);
		else
			memset(p.now, 7, 3 * PAST_BLOCK);
	}
}

static void find_generations(void)
{
	for (size_t i = 0; i < p.count; i++) {
		struct snapshot_facts f;

		ck_assert_int_eq(snapshot_named(temp.t, p.d, p.kept[i].name, &f), 0);
		p.kept[i].generation = f.generation;
		p.kept[i].number = f.number;
		ck_assert_uint_eq(f.size, SIZE);
	}
}

/* It stays in the list, whoever looks at it; and comes back. */
START_TEST(without_its_image)
{
	char away[PATH_MAX + NAME_MAX + 2];
	struct disk *d;

	make_some();
	stop();
	snprintf(away, sizeof(away), "%s.away", temp_path("a.img"));
	ck_assert_int_eq(rename(temp_path("a.img"), away), 0);
	begin();
	for (int i = 0; i < 2; i++) {
		d = temp_disk("a.img");
		ck_assert_ptr_nonnull(d);
		ck_assert_str_eq(temp_state("a.img"), "Missing");
		temp_settle(d);
		disk_unref(d);
	}
	ck_assert_int_eq(rename(away, temp_path("a.img")), 0);
	temp_rescan();
	past_disk_again(&p);
	past_check_all(&p);
}
END_TEST

START_TEST(a_death)
{
	struct past_facts facts;

	make_some();
	die_after_writes();
	go_on();
	find_generations();
	/* The image is whole while nobody has it open. */
	disk_past(p.d, &facts);
	ck_assert_uint_eq(facts.unsettled, 0);
	ck_assert_uint_eq(facts.snapshots, 4);
	ck_assert_uint_eq(facts.moments, 4);
	past_check_all(&p);
	past_write(&p, 0, SIZE, 9);
	past_check_all(&p);
	while (p.count)
		past_delete(&p, 0);
	ck_assert(past_is_empty(&p));
}
END_TEST

static bool there_is(const char *name)
{
	struct stat st;

	return !lstat(temp_path(name), &st);
}

START_TEST(deletes_the_disk)
{
	uint32_t number = p.d->number;
	struct snapshot_facts f;
	struct track_record track;
	char path[64];

	make_some();
	snprintf(path, sizeof(path), ".tandem/past/%u", number);
	ck_assert(there_is(path));
	ck_assert_int_eq(tandem_delete_disk(temp.t, p.d, NULL, false, false, &why), -EPERM);
	ck_assert_str_ne(why.advice, "");
	ck_assert_int_eq(tandem_delete_disk(temp.t, p.d, NULL, true, true, &why), 0);
	ck_assert_int_eq(tandem_hold_snapshot(temp.t, p.kept[0].number, "x", false, &why), 0);
	ck_assert_int_eq(tandem_delete_disk(temp.t, p.d, NULL, true, false, &why), -EBUSY);
	ck_assert_int_eq(tandem_hold_snapshot(temp.t, p.kept[0].number, NULL, false, &why), 0);
	past_check_all(&p);
	ck_assert_int_eq(tandem_delete_disk(temp.t, p.d, NULL, true, false, &why), 0);
	ck_assert(!there_is(path));
	ck_assert(!there_is("a.img"));
	ck_assert_int_eq(snapshot_numbered(temp.t, p.kept[0].number, &f), -ENOENT);
	ck_assert_int_eq(track_get(temp.t->catalogue, number, &track), -ENOENT);
	ck_assert_int_eq(tandem_snapshot(temp.t, &p.d, 1, "x", false, NULL, &why), -ENOENT);
}
END_TEST

static bool dies_removing;

int unlinkat(int dirfd, const char *name, int flags)
{
	int (*real)(int, const char *, int) = dlsym(RTLD_NEXT, "unlinkat");

	if (dies_removing && flags & AT_REMOVEDIR)
		_exit(0);
	return real(dirfd, name, flags);
}

static void is_bad(void *arg, const char *database, const char *key, const char *what)
{
	ck_abort_msg("%s/%s %s", database, key, what);
}

static void check_catalogue(void)
{
	struct catalogue *c;
	uint64_t records;
	bool clean;

	ck_assert_int_eq(catalogue_open_to_read(temp_path(".tandem"), &c, &clean, &why), 0);
	ck_assert_int_eq(catalogue_check(c, is_bad, NULL, &records), 0);
	ck_assert_uint_gt(records, 0);
	catalogue_close(c);
}

/* Its records are gone by then, and nothing is left of its files after the next start. */
START_TEST(deletes_the_disk_and_dies)
{
	uint32_t number = p.d->number;
	char path[64];
	pid_t pid;
	int status;

	make_some();
	stop();
	pid = fork();
	if (pid == 0) {
		go_on();
		dies_removing = true;
		tandem_delete_disk(temp.t, p.d, NULL, true, false, &why);
		_exit(1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	snprintf(path, sizeof(path), ".tandem/past/%u", number);
	ck_assert(there_is(path));
	check_catalogue();
	begin();
	ck_assert_ptr_null(temp_disk("a.img"));
	ck_assert(!there_is(path));
	ck_assert_uint_eq(track_gone(temp.t->catalogue, 0), 0);
}
END_TEST

/* Without snapshots it is a disk like any other again. */
START_TEST(deletes_the_disk_later)
{
	make_some();
	while (p.count)
		past_delete(&p, 0);
	ck_assert_int_eq(tandem_delete_disk(temp.t, p.d, NULL, false, false, &why), 0);
}
END_TEST

START_TEST(renames)
{
	struct snapshot_facts f;

	make_some();
	temp_make("b.img", SIZE);
	temp_rescan();
	{
		struct disk *b = temp_disk("b.img");

		ck_assert_int_eq(tandem_rename_disk(temp.t, b, NULL, "a.img", 0, &why), -EBUSY);
		disk_unref(b);
	}
	ck_assert_int_eq(tandem_rename_disk(temp.t, p.d, NULL, "c.img", 0, &why), 0);
	ck_assert_int_eq(snapshot_labelled(temp.t, "c.img@one", &f), 0);
	ck_assert_str_eq(f.label, "c.img@one");
	past_check_all(&p);
	strcpy(p.label, "c.img");
	stop();
	ck_assert_int_eq(rename(temp_path("c.img"), temp_path("d.img")), 0);
	strcpy(p.label, "d.img");
	go_on();
	past_check_all(&p);
}
END_TEST

static void is_missing(void)
{
	ck_assert_str_eq(temp_state("a.img"), "Missing");
	ck_assert_int_eq(moment_open(p.d, p.kept[0].generation), -ENOENT);
	ck_assert_int_eq(tandem_snapshot(temp.t, &p.d, 1, "x", false, NULL, &why), -EBUSY);
}

START_TEST(the_image_is_gone)
{
	char away[PATH_MAX + 10];
	uint32_t number = p.d->number;

	make_some();
	snprintf(away, sizeof(away), "%s.away", temp.dir);
	ck_assert_int_eq(rename(temp_path("a.img"), away), 0);
	temp_rescan();
	is_missing();
	temp_rescan();
	is_missing();
	ck_assert_int_eq(rename(away, temp_path("a.img")), 0);
	temp_rescan();
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	past_check_all(&p);
	ck_assert_int_eq(rename(temp_path("a.img"), away), 0);
	stop();
	go_on();
	ck_assert_uint_eq(p.d->number, number);
	is_missing();
	/* One can go meanwhile. */
	past_delete(&p, 1);
	past_disk_let_go(&p);
	ck_assert_int_eq(rename(away, temp_path("a.img")), 0);
	temp_rescan();
	past_disk_again(&p);
	ck_assert_uint_eq(p.d->number, number);
	past_check_all(&p);
	stop();
	go_on();
	past_check_all(&p);
	past_delete(&p, 0);
	ck_assert(past_is_empty(&p));
}
END_TEST

/* Another image has the name of a Missing one. */
START_TEST(another_has_its_name)
{
	char away[PATH_MAX + 10];
	uint32_t number = p.d->number;
	struct disk *d;

	make_some();
	snprintf(away, sizeof(away), "%s.away", temp.dir);
	ck_assert_int_eq(rename(temp_path("a.img"), away), 0);
	stop();
	temp_make("a.img", 512);
	begin();
	ck_assert_uint_ne(temp_number("a.img"), number);
	d = tandem_disk_numbered(temp.t, number);
	ck_assert_ptr_nonnull(d);
	ck_assert_uint_eq(disk_state(d), DISK_MISSING);
	ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, false, false, &why), -EPERM);
	ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, true, false, &why), 0);
	disk_unref(d);
	ck_assert(there_is("a.img"));
	past_disk_again(&p);
	stop();
	temp_open();
	d = tandem_disk_numbered(temp.t, number);
	ck_assert_ptr_null(d);
	past_disk_again(&p);
	unlink(away);
}
END_TEST

UNIT_MAIN("past", setup, teardown, a_stop, without_its_image, a_death, deletes_the_disk,
	  deletes_the_disk_and_dies, deletes_the_disk_later, renames, the_image_is_gone,
	  another_has_its_name)

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Roles change while something that was answered is in the notes of a container only: these go with
 * the image that they are of, whichever disk has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faulty.h"
#include "snapshots.h"
#include "temp_pair.h"
#include "unit.h"

static const char *was; /* the source's file, then its target's */
static uint32_t source_number, target_number;
static char *answered; /* what the source held at last */

static void prepare(void)
{
	setenv("TANDEMFS_IO_URING", "off", 1); /* what it does never fails: see faulty.h */
	answered = malloc(SIZE);
	temp_tandem_begin();
	begin();
}

static void clean(void)
{
	faulty_heal();
	teardown();
	free(answered);
}

/* With a disk that cannot be completed. */
static void begin_anyway(void)
{
	ck_assert_int_eq(tandem_open(&temp.options, &temp.t, &why), 0);
	tandem_settle(temp.t, &why);
	ck_assert_int_eq(snapshots_start(temp.t), 0);
	pairs_start(temp.t);
}

static void open_it(void)
{
	source = tandem_disk_numbered(temp.t, source_number);
	ck_assert_ptr_nonnull(source);
	ck_assert_int_eq(disk_open(source, true), 0);
}

static void read_disk(uint32_t disk, char *buf)
{
	struct disk *d = tandem_disk_numbered(temp.t, disk);
	size_t done;
	int err;

	ck_assert_ptr_nonnull(d);
	err = disk_open(d, false);
	ck_assert_msg(!err, "%d: %s is %s: %s", err, d->label, disk_state_name(disk_state(d)),
		      d->reason);
	ck_assert_int_eq(disk_read(d, buf, SIZE, 0, 0, &done), 0);
	ck_assert_uint_eq(done, SIZE);
	disk_close(d);
	disk_unref(d);
}

static bool holds(uint32_t disk, const char *what)
{
	char *is = malloc(SIZE);
	bool same;

	read_disk(disk, is);
	same = !memcmp(is, what, SIZE);
	free(is);
	return same;
}

static void make_mirror(const char *from, const char *to, enum sync_mode mode)
{
	struct create_disk c = { .name = from, .size = SIZE, .mode = 0600, .gid = getgid() };
	struct disk *d;

	was = from;
	c.uid = getuid();
	ck_assert_msg(!tandem_create_disk(temp.t, &c, &d, &why), "%s", why.message);
	source_number = d->number;
	disk_unref(d);
	open_it();
	ck_assert_int_eq(change(source, 2 * MIB, 4096), 0);
	ck_assert_msg(!mirror(to, (struct pair_request){ .mode = mode }), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	target_number = temp_number(to);
	ck_assert_int_eq(disk_flush(source), 0);
}

static bool has_notes(uint32_t disk)
{
	char path[40];

	snprintf(path, sizeof(path), ".tandem/notes/%u", disk);
	return !access(temp_path(path), F_OK);
}

/* Where nothing was: what the file lacks is where it is. */
static void write_new(void)
{
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(change(source, (7 + 5 * i) * MIB, 8192), 0);
	read_disk(source_number, answered);
}

/* What it wrote is in memory that is shared with nobody: it is read from the image. */
static void write_and_die(const char *away)
{
	pid_t pid;

	close_source();
	temp_close();
	pid = fork();
	if (!pid) {
		begin();
		if (facts().mode == MODE_SYNCHRONOUS)
			await(COPY_SYNCHRONIZED);
		open_it();
		write_new();
		raise(SIGKILL);
	}
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert(has_notes(source_number));
	ck_assert_int_eq(rename(temp_path(was), temp_path(away)), 0);
	begin_anyway();
	ck_assert_str_eq(temp_state(was), "Missing");
}

/* The writes of the child, done again by who knows what they were. */
static void know_what_was_answered(uint64_t from)
{
	char *kept = malloc(SIZE);

	memcpy(kept, answered, SIZE);
	seed = from;
	for (unsigned i = 0; i < 3; i++)
		for (size_t k = 0; k < 8192; k += 8) {
			uint64_t r = unit_random(&seed);

			memcpy(kept + (7 + 5 * i) * MIB + k, &r, 8);
		}
	memcpy(answered, kept, SIZE);
	free(kept);
}

static void detach(void)
{
	close_source();
	ck_assert_msg(!operate(OP_DETACH, true), "%s", why.message);
}

static void takes_over_from(const char *from, const char *to, enum sync_mode mode)
{
	bool async = mode == MODE_ASYNCHRONOUS;
	char *before = malloc(SIZE);
	uint64_t at;

	make_mirror(from, to, mode);
	read_disk(source_number, answered);
	memcpy(before, answered, SIZE);
	at = seed;
	if (async) /* nothing more of it is copied, and no moment is kept */
		do_it(OP_SUSPEND);
	write_and_die("s.away");
	know_what_was_answered(at);
	do_it(OP_FAILOVER);
	ck_assert(holds(source_number, async ? before : answered));
	/* There it goes on with notes of its own. */
	open_it();
	ck_assert_int_eq(change(source, 20 * MIB, 4096), 0);
	close_source();
	ck_assert_int_eq(rename(temp_path("s.away"), temp_path(was)), 0);
	temp_rescan();
	ck_assert_str_eq(temp_state(was), "Ready");
	detach();
	ck_assert_msg(holds(target_number, answered), "what was answered is not in %s any more",
		      was);
	temp_close();
	begin();
	ck_assert(holds(target_number, answered));
	free(before);
}

START_TEST(a_source_that_is_gone)
{
	takes_over_from("s.vhdx", "t.vhdx", MODE_SYNCHRONOUS);
}
END_TEST

START_TEST(another_format)
{
	takes_over_from("s.vhd", "t.vhdx", MODE_SYNCHRONOUS);
}
END_TEST

START_TEST(a_source_that_is_gone_and_was_followed)
{
	takes_over_from("s.vhdx", "t.vhdx", MODE_ASYNCHRONOUS);
}
END_TEST

START_TEST(another_format_that_was_followed)
{
	takes_over_from("s.vhd", "t.vhd", MODE_ASYNCHRONOUS);
}
END_TEST

/* It is there, and takes no flush any more. */
START_TEST(a_source_that_cannot_be_flushed)
{
	struct disk *d;

	make_mirror("s.vhdx", "t.vhdx", MODE_SYNCHRONOUS);
	do_it(OP_SUSPEND);
	write_new();
	ck_assert(has_notes(source_number));
	faulty_file(0, temp_path(was), FAULT_FLUSH);
	ck_assert_int_eq(disk_flush(source), -EIO);
	close_source();
	ck_assert_msg(!operate(OP_FAILOVER, false), "%s", why.message);
	ck_assert_int_eq(facts().state, COPY_FAILEDOVER);
	open_it();
	ck_assert_int_eq(change(source, 20 * MIB, 4096), 0);
	close_source();
	temp_close();
	faulty_heal();
	begin_anyway();
	d = tandem_disk_numbered(temp.t, target_number);
	ck_assert_str_eq(disk_state_name(disk_state(d)), "Failed");
	ck_assert_msg(!tandem_accept_disk(temp.t, d, true, false, &why), "%s", why.message);
	disk_unref(d);
	detach();
	ck_assert(holds(target_number, answered));
}
END_TEST

UNIT_MAIN("notes when roles change", prepare, clean, a_source_that_is_gone, another_format,
	  a_source_that_is_gone_and_was_followed, another_format_that_was_followed,
	  a_source_that_cannot_be_flushed)

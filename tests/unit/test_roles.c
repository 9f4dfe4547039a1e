// SPDX-License-Identifier: GPL-2.0-or-later
/* Failover and its like: the source goes on in the other image, and nobody who uses it notices. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jobs.h"
#include "operations.h"
#include "temp_pair.h"
#include "unit.h"

#define WRITERS 3

static char *content;        /* what the source holds */
static bool only_remembered; /* it was written by a daemon that is dead */

/* ---- a file that fails, and where a daemon dies ---- */

static _Atomic ino_t bad;          /* the file; 0: none */
static atomic_int calls_left = -1; /* of those that make something durable; -1: it does not die */

/* Also for the libraries: what the catalogue makes durable, LMDB does. */
#define OURS __attribute__((visibility("default")))

static bool fails(int fd)
{
	struct stat st;

	return atomic_load(&bad) && !fstat(fd, &st) && st.st_ino == atomic_load(&bad);
}

static void maybe_die(void)
{
	if (atomic_load(&calls_left) >= 0 && atomic_fetch_sub(&calls_left, 1) == 0)
		raise(SIGKILL);
}

OURS ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	errno = EIO;
	return fails(fd) ? -1 : syscall(SYS_pread64, fd, buf, len, off);
}

OURS ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	errno = EIO;
	return fails(fd) ? -1 : syscall(SYS_pwrite64, fd, buf, len, off);
}

OURS int fallocate(int fd, int mode, off_t off, off_t len)
{
	errno = EIO;
	return fails(fd) ? -1 : syscall(SYS_fallocate, fd, mode, off, len);
}

OURS int fdatasync(int fd)
{
	maybe_die();
	errno = EIO;
	return fails(fd) ? -1 : syscall(SYS_fdatasync, fd);
}

OURS int fsync(int fd)
{
	maybe_die();
	errno = EIO;
	return fails(fd) ? -1 : syscall(SYS_fsync, fd);
}

static void break_file(const char *name)
{
	struct stat st;

	ck_assert_int_eq(stat(temp_path(name), &st), 0);
	atomic_store(&bad, st.st_ino);
}

/* ---- a pair ---- */

/* By the name in the mount, which it keeps. */
static void open_named(void)
{
	struct pool *p = tandem_pool_named(temp.t, "");

	source = tandem_disk_mounted(temp.t, p, "a.img");
	pool_unref(p);
	ck_assert_ptr_nonnull(source);
	ck_assert_int_eq(disk_open(source, true), 0);
}

static void restart(void)
{
	close_source();
	temp_close();
	begin();
	open_named();
}

/* With a disk that cannot be settled. */
static void restart_with_failed(void)
{
	close_source();
	temp_close();
	ck_assert_int_eq(tandem_open(&temp.options, &temp.t, &why), 0);
	ck_assert_int_eq(snapshots_start(temp.t), 0);
	pairs_start(temp.t);
	open_named();
}

static void prepare(void)
{
	content = calloc(1, SIZE);
	atomic_store(&bad, 0);
	setup();
}

static void clean(void)
{
	atomic_store(&bad, 0);
	teardown();
	free(content);
}

static int write_at(uint64_t off, size_t len, uint64_t *from)
{
	char *buf = malloc(len);
	int err;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t r = unit_random(from);

		memcpy(buf + i, &r, 8);
	}
	err = only_remembered ? 0 : disk_write(source, buf, len, off, 0);
	if (!err)
		memcpy(content + off, buf, len);
	free(buf);
	return err;
}

/* Somewhere in its share of the disk. */
static int write_one(unsigned share, unsigned shares, uint64_t *from)
{
	uint64_t size = SIZE / shares, off = share * size + unit_below(from, size / 512 - 64) * 512;

	off -= off % 512;
	return write_at(off, (1 + unit_below(from, 64)) * 512, from);
}

static void write_much(unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		ck_assert_int_eq(write_one(0, 1, &seed), 0);
}

static bool holds(struct disk *d, const char *what)
{
	char *buf = malloc(SIZE);
	size_t done;
	bool same;

	ck_assert_int_eq(disk_open(d, false), 0);
	ck_assert_int_eq(disk_read(d, buf, SIZE, 0, 0, &done), 0);
	disk_close(d);
	same = done == SIZE && !memcmp(buf, what, SIZE);
	free(buf);
	return same;
}

static void check_content(void)
{
	ck_assert(holds(source, content));
}

/* Where the source is, and its target; and what both are called in the mount. */
static void check_images(const char *image, const char *other)
{
	struct disk *d = temp_disk(image), *o = temp_disk(other);
	struct disk_facts f;

	ck_assert_ptr_eq(d, source);
	disk_facts(source, &f);
	ck_assert_str_eq(f.mount_name, "a.img");
	ck_assert_int_eq(f.state, DISK_READY);
	ck_assert_ptr_nonnull(o);
	disk_facts(o, &f);
	ck_assert_str_eq(f.mount_name, "b.img");
	ck_assert_str_eq(facts().source, image);
	ck_assert_str_eq(facts().target, other);
	temp_check_tables();
	disk_unref(d);
	disk_unref(o);
}

static void synchronize(void)
{
	write_much(50);
	make();
	await(COPY_SYNCHRONIZED);
}

static void check_in_step(void)
{
	await(COPY_SYNCHRONIZED);
	check_content();
	ck_assert(is_same("a.img", "b.img"));
}

static void check_target_is_hidden(const char *label)
{
	struct disk *t = temp_disk(label);

	ck_assert_int_eq(disk_open(t, false), -EIO);
	disk_unref(t);
}

/* ---- what each does ---- */

START_TEST(roles_change_places)
{
	uint32_t was = source->number;

	synchronize();
	temp_forget();
	do_it(OP_REVERSE_ROLES);
	ck_assert_int_eq(facts().state, COPY_SYNCHRONIZED);
	ck_assert_uint_eq(temp_events("DiskRenamed disks/b.img From=a.img"), 1);
	ck_assert_uint_eq(temp_events("DiskRenamed disks/a.img From=b.img"), 1);
	check_images("b.img", "a.img");
	ck_assert_uint_eq(source->number, was);
	write_much(50);
	check_in_step();
	restart();
	check_images("b.img", "a.img");
	ck_assert_uint_eq(source->number, was);
	check_in_step();
	do_it(OP_REVERSE_ROLES);
	check_images("a.img", "b.img");
	write_much(50);
	check_in_step();
	/* Also while nobody has it open. */
	close_source();
	do_it(OP_REVERSE_ROLES);
	open_named();
	check_images("b.img", "a.img");
	write_much(50);
	check_in_step();
	restart();
	check_in_step();
}
END_TEST

static _Atomic bool enough;
static _Atomic uint64_t writes;

struct writer {
	unsigned share;
	uint64_t seed;
	pthread_t thread;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&enough)) {
		ck_assert_int_eq(write_one(w->share, WRITERS, &w->seed), 0);
		if (!unit_below(&w->seed, 20))
			ck_assert_int_eq(disk_flush(source), 0);
		atomic_fetch_add(&writes, 1);
	}
	return NULL;
}

static bool has_written(void *arg)
{
	return atomic_load(&writes) > *(uint64_t *)arg;
}

static void await_writes(void)
{
	uint64_t from = atomic_load(&writes);

	ck_assert(unit_until(has_written, &from, 20));
}

/* While somebody writes it may be different just now. */
static bool is_done(void *arg)
{
	int err = operate(*(enum replica_operation *)arg, false);

	ck_assert_msg(!err || err == -EBUSY || err == -EAGAIN, "%d: %s", err, why.message);
	return !err;
}

static void do_under_writers(enum replica_operation op)
{
	ck_assert_msg(unit_until(is_done, &op, 20), "%s", why.message);
	await_writes();
}

START_TEST(under_writers)
{
	struct writer w[WRITERS];

	synchronize();
	atomic_store(&enough, false);
	for (unsigned i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .share = i, .seed = i + 1 };
		ck_assert_int_eq(pthread_create(&w[i].thread, NULL, write_on, &w[i]), 0);
	}
	for (unsigned i = 0; i < 3; i++) {
		do_under_writers(OP_REVERSE_ROLES);
		await(COPY_SYNCHRONIZED);
		do_under_writers(OP_FAILOVER);
		ck_assert_int_eq(facts().state, COPY_FAILEDOVER);
		do_under_writers(OP_FAILBACK);
		await(COPY_SYNCHRONIZED);
		do_under_writers(OP_FAILOVER);
		do_under_writers(OP_REVERSE_ROLES);
		await(COPY_SYNCHRONIZED);
	}
	atomic_store(&enough, true);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(w[i].thread, NULL);
	check_in_step();
	restart();
	check_in_step();
}
END_TEST

START_TEST(failover_and_failback)
{
	struct disk *target;

	synchronize();
	do_it(OP_FAILOVER);
	ck_assert_int_eq(facts().state, COPY_FAILEDOVER);
	check_images("b.img", "a.img");
	check_target_is_hidden("a.img");
	ck_assert_uint_eq(facts().differs, 0);
	ck_assert_int_eq(write_at(5 * REGION, REGION, &seed), 0);
	ck_assert_uint_eq(facts().differs, REGION);
	check_content();
	restart();
	ck_assert_int_eq(facts().state, COPY_FAILEDOVER);
	write_much(20);
	check_content();
	do_it(OP_FAILBACK);
	check_in_step();
	restart();
	check_in_step();
	target = temp_disk(facts().target);
	ck_assert_int_eq(disk_open(target, true), -EROFS);
	disk_unref(target);
}
END_TEST

START_TEST(restored_from_its_replica)
{
	char *then = malloc(SIZE);
	uint64_t before;

	synchronize();
	do_it(OP_SPLIT);
	memcpy(then, content, SIZE);
	ck_assert_int_eq(write_at(3 * REGION, 2 * REGION, &seed), 0);
	ck_assert_int_eq(operate(OP_RESTORE_FROM_REPLICA, false), -EBUSY);
	ck_assert_int_eq(facts().state, COPY_SPLIT);
	check_content();
	close_source();
	before = facts().differs;
	ck_assert_uint_eq(before, 2 * REGION);
	do_it(OP_RESTORE_FROM_REPLICA);
	open_named();
	memcpy(content, then, SIZE); /* at once */
	check_content();
	write_much(10);
	check_in_step();
	check_images("a.img", "b.img");
	free(then);
}
END_TEST

/* ---- a source that fails ---- */

/* The file is in order again, and somebody says so. */
static void accept_again(const char *name)
{
	struct disk *d = temp_disk(name);

	atomic_store(&bad, 0);
	if (disk_state(d) == DISK_FAILED)
		ck_assert_msg(!tandem_accept_disk(temp.t, d, true, false, &why), "%s", why.message);
	disk_unref(d);
}

/* All that was answered is there; what was not may be, or not. */
static void check_source_goes_on(const char *state_of_old)
{
	ck_assert_int_eq(facts().state, COPY_FAILEDOVER);
	check_images("b.img", "a.img");
	ck_assert_str_eq(temp_state("a.img"), state_of_old);
	check_content();
	write_much(20);
	ck_assert_int_eq(disk_flush(source), 0);
	check_content();
}

START_TEST(the_source_gives_errors)
{
	char buf[512];
	size_t done;

	synchronize();
	break_file("a.img");
	ck_assert_int_eq(disk_read(source, buf, 512, 0, 0, &done), -EIO);
	do_it(OP_FAILOVER);
	/* Nothing is known to be lost there, unless its keeper has flushed it meanwhile. */
	check_source_goes_on(strcmp(temp_state("a.img"), "Failed") ? "Ready" : "Failed");
}
END_TEST

START_TEST(a_write_fails_first)
{
	synchronize();
	break_file("a.img");
	/* Twice, so that the second finds it marked. */
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(write_at(7 * REGION, 4096, &seed), -EIO);
	await(COPY_UNSYNCHRONIZED);
	ck_assert_int_eq(disk_flush(source), -EIO);
	ck_assert_int_eq(disk_state(source), DISK_FAILED);
	do_it(OP_FAILOVER);
	/* What was not answered is as it may be. */
	ck_assert_int_eq(write_at(7 * REGION, 4096, &seed), 0);
	check_source_goes_on("Failed");
	restart_with_failed();
	check_source_goes_on("Failed");
	accept_again("a.img");
	do_it(OP_FAILBACK);
	check_in_step();
	check_images("a.img", "b.img");
}
END_TEST

/* Only some of it, so that writes to what is marked are answered, and the target lacks them. */
START_TEST(the_target_lacks_what_was_answered)
{
	synchronize();
	break_file("a.img");
	ck_assert_int_eq(write_at(7 * REGION, 4096, &seed), -EIO);
	break_file("b.img"); /* so that it stays marked */
	ck_assert_int_eq(write_at(7 * REGION, 8192, &seed), 0);
	/* Unless a copy has found b.img broken before the write did; then its marks tell that. */
	ck_assert(!facts().whole || facts().state == COPY_BROKEN);
	atomic_store(&bad, 0);
}
END_TEST

START_TEST(the_source_vanishes)
{
	synchronize();
	ck_assert_int_eq(unlink(temp_path("a.img")), 0);
	temp_rescan();
	ck_assert_str_eq(temp_state("a.img"), "Missing");
	ck_assert_int_eq(write_at(0, 512, &seed), -EIO);
	do_it(OP_FAILOVER);
	check_source_goes_on("Missing");
	ck_assert_int_eq(operate(OP_FAILBACK, false), -ETIMEDOUT);
	restart();
	check_content();
	write_much(20);
	check_content();
}
END_TEST

/* It is gone before anybody could open it; and comes back. */
static void start_without_source(bool crash)
{
	close_source();
	if (crash) {
		pid_t pid;

		temp_close();
		pid = fork();
		if (!pid) {
			begin();
			open_named();
			await(COPY_SYNCHRONIZED);
			write_much(5);
			raise(SIGKILL);
		}
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		only_remembered = true;
		write_much(5);
		only_remembered = false;
	} else {
		temp_close();
	}
	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.away")), 0);
	begin();
	ck_assert_str_eq(temp_state("a.img"), "Missing");
	ck_assert_int_eq(facts().state, COPY_UNSYNCHRONIZED);
	ck_assert_str_eq(facts().source, "a.img");
}

static void take_over_without_source(bool crash)
{
	uint32_t was = source->number;

	synchronize();
	start_without_source(crash);
	if (crash) { /* it stays possible */
		temp_close();
		begin();
		ck_assert_int_eq(facts().state, COPY_UNSYNCHRONIZED);
	}
	do_it(OP_FAILOVER);
	open_named();
	ck_assert_uint_eq(source->number, was);
	check_source_goes_on("Missing");
	ck_assert_int_eq(operate(OP_FAILBACK, false), -ETIMEDOUT);
	restart();
	check_source_goes_on("Missing");
	ck_assert_int_eq(rename(temp_path("a.away"), temp_path("a.img")), 0);
	temp_rescan();
	check_images("b.img", "a.img");
	check_target_is_hidden("a.img");
	do_it(OP_FAILBACK);
	check_in_step();
	check_images("a.img", "b.img");
	ck_assert_uint_eq(source->number, was);
}

START_TEST(a_start_without_the_source)
{
	take_over_without_source(false);
}
END_TEST

START_TEST(a_start_without_the_source_after_a_crash)
{
	take_over_without_source(true);
}
END_TEST

/* Somebody uses it elsewhere while it is away. */
START_TEST(the_source_comes_back_changed)
{
	struct disk *d;
	int fd;

	synchronize();
	start_without_source(false);
	do_it(OP_FAILOVER);
	open_named();
	fd = open(temp_path("a.away"), O_WRONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, "another", 7, 9 * REGION), 7);
	ck_assert_int_eq(close(fd), 0);
	ck_assert_int_eq(rename(temp_path("a.away"), temp_path("a.img")), 0);
	temp_rescan();
	ck_assert_str_eq(temp_state("a.img"), "Changed");
	ck_assert_int_eq(operate(OP_FAILBACK, false), -ETIMEDOUT);
	d = temp_disk("a.img");
	ck_assert_msg(!tandem_accept_disk(temp.t, d, true, false, &why), "%s", why.message);
	disk_unref(d);
	do_it(OP_FAILBACK);
	check_in_step();
}
END_TEST

/* Or it comes back before. */
START_TEST(the_source_is_away_for_a_while)
{
	synchronize();
	start_without_source(false);
	ck_assert_int_eq(rename(temp_path("a.away"), temp_path("a.img")), 0);
	temp_rescan();
	open_named();
	check_in_step();
	write_much(5);
	check_in_step();
	check_images("a.img", "b.img");
}
END_TEST

/* What it has of before cannot be looked at. */
START_TEST(a_start_without_a_source_that_has_a_past)
{
	uint64_t generation;
	struct snapshot_facts f;
	char *then = malloc(SIZE), *buf = malloc(SIZE);
	size_t done;

	synchronize();
	ck_assert_int_eq(tandem_snapshot(temp.t, &source, 1, "s", false, &f, &why), 0);
	generation = f.generation;
	memcpy(then, content, SIZE);
	write_much(20);
	start_without_source(false);
	do_it(OP_FAILOVER);
	open_named();
	check_source_goes_on("Missing");
	ck_assert_int_eq(moment_open(source, generation), 0);
	ck_assert_int_eq(moment_read(source, generation, buf, SIZE, 0, &done), 0);
	ck_assert_int_eq(memcmp(buf, then, SIZE), 0);
	moment_close(source, generation);
	free(then);
	free(buf);
}
END_TEST

/* ---- what is refused ---- */

static void check_refused(enum replica_operation op, bool force, int err, const char *says)
{
	struct pair_facts before = facts(), after;

	why = (struct why){ 0 };
	ck_assert_int_eq(operate(op, force), err);
	ck_assert_msg(strstr(why.message, says) != NULL, "%s", why.message);
	after = facts();
	ck_assert_int_eq(before.state, after.state);
	ck_assert_str_eq(before.source, after.source);
	check_content();
}

START_TEST(refused)
{
	struct disk *target;

	synchronize();
	target = temp_disk("b.img");
	ck_assert_int_eq(disk_open(target, false), 0);
	check_refused(OP_FAILOVER, true, -EBUSY, "b.img is open");
	check_refused(OP_REVERSE_ROLES, false, -EBUSY, "b.img is open");
	disk_close(target);
	/* An older one, under somebody who would not notice. */
	do_it(OP_SPLIT);
	write_much(5);
	check_refused(OP_FAILOVER, false, -EBUSY, "a.img is open");
	check_refused(OP_REVERSE_ROLES, true, -EBUSY, "a.img is open");
	close_source();
	ck_assert_int_eq(operate(OP_REVERSE_ROLES, false), -EPERM);
	ck_assert_int_eq(facts().state, COPY_SPLIT);
	open_named();
	check_content();
	/* It has a past of what it holds now. */
	ck_assert_int_eq(tandem_snapshot(temp.t, &source, 1, "s", false, NULL, &why), 0);
	check_refused(OP_FAILOVER, true, -EBUSY, "snapshots");
	/* Which goes with it if nothing differs. */
	do_it(OP_RESYNC_REPLICA);
	await(COPY_SYNCHRONIZED);
	write_much(5);
	do_it(OP_FAILOVER);
	write_much(5);
	check_content();
	do_it(OP_FAILBACK);
	check_in_step();
	disk_unref(target);
}
END_TEST

START_TEST(what_the_old_source_has_alone)
{
	char *then = malloc(SIZE);

	synchronize();
	do_it(OP_SPLIT);
	memcpy(then, content, SIZE);
	write_much(5);
	close_source();
	do_it(OP_FAILOVER);
	open_named();
	ck_assert(holds(source, then));
	memcpy(content, then, SIZE);
	check_refused(OP_FAILBACK, false, -EPERM, "a.img");
	check_refused(OP_REVERSE_ROLES, false, -EPERM, "a.img");
	write_much(5);
	ck_assert_msg(!operate(OP_FAILBACK, true), "%s", why.message);
	check_in_step();
	check_images("a.img", "b.img");
	free(then);
}
END_TEST

START_TEST(half_a_copy_is_nothing_to_go_on_with)
{
	synchronize();
	do_it(OP_SUSPEND);
	ck_assert(facts().whole);
	write_much(50);
	break_file("a.img"); /* so that the copy does not get on */
	do_it(OP_RESUME);
	ck_assert_int_eq(facts().state, COPY_UNSYNCHRONIZED);
	ck_assert(!facts().whole);
	atomic_store(&bad, 0);
	check_in_step();
	ck_assert(facts().whole);
}
END_TEST

/* Failedover; it may be done before it is told to wait. */
static void suspend_going_back(void)
{
	for (unsigned i = 0; i < 50; i++) {
		ck_assert_int_eq(write_at(0, SIZE, &seed), 0);
		do_it(OP_FAILBACK);
		do_it(OP_SUSPEND);
		if (facts().back)
			return;
		do_it(OP_RESUME);
		await(COPY_SYNCHRONIZED);
		do_it(OP_FAILOVER);
	}
	ck_abort_msg("it is always faster");
}

/* The copy back ends where it is, and the source goes on with what it has. */
START_TEST(a_failback_that_fails)
{
	synchronize();
	do_it(OP_FAILOVER);
	write_much(20);
	break_file("a.img");
	do_it(OP_FAILBACK);
	await(COPY_FAILEDOVER);
	check_content();
	write_much(5);
	check_content();
	ck_assert_int_eq(facts().error, -EIO);
	accept_again("a.img");
	do_it(OP_FAILBACK);
	check_in_step();
	check_images("a.img", "b.img");
	/* Or somebody ends it. */
	do_it(OP_FAILOVER);
	write_much(20);
	suspend_going_back();
	check_refused(OP_DETACH, true, -EBUSY, "goes back");
	do_it(OP_FAILOVER);
	ck_assert_int_eq(facts().state, COPY_FAILEDOVER);
	check_content();
	do_it(OP_FAILBACK);
	check_in_step();
}
END_TEST

static void mirror_old_source(void)
{
	struct pair_request q = {
		.target = "c.img",
		.mode = MODE_SYNCHRONOUS,
		.mode_bits = 0600,
	};
	struct disk *old = temp_disk("a.img");
	struct pair_facts f;

	ck_assert_int_eq(tandem_mirror(temp.t, old, &q, &f, &why), 0);
	disk_unref(old);
}

static bool is_told(void *error)
{
	return facts().error == *(int *)error;
}

START_TEST(a_failback_that_cannot_end)
{
	int busy = -EBUSY;

	synchronize();
	do_it(OP_FAILOVER);
	suspend_going_back();
	mirror_old_source();
	do_it(OP_RESUME);
	await(COPY_FAILEDOVER);
	ck_assert(unit_until(is_told, &busy, 20)); /* a moment after its state */
	check_images("b.img", "a.img");
	write_much(20);
	check_content();
}
END_TEST

/* Nor does it begin where something lasts that would keep it from its end. */
START_TEST(a_failback_that_could_not_end)
{
	synchronize();
	do_it(OP_FAILOVER);
	write_much(20);
	mirror_old_source();
	check_refused(OP_FAILBACK, false, -EBUSY, "mirrors of its own");
	do_it(OP_REVERSE_ROLES);
	check_in_step();
	check_refused(OP_FAILOVER, false, -EBUSY, "mirrors of its own");
}
END_TEST

/* ---- crashes ---- */

/* Dies at the so-many-th call that makes something durable. False: it came to its end. */
static bool do_and_die(enum replica_operation op, int calls)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		begin();
		open_named();
		await(COPY_SYNCHRONIZED);
		if (op == OP_FAILBACK)
			do_it(OP_FAILOVER);
		if (op == OP_RESTORE_FROM_REPLICA)
			do_it(OP_SPLIT);
		write_much(5);
		ck_assert_int_eq(disk_flush(source), 0);
		if (op == OP_RESTORE_FROM_REPLICA)
			close_source();
		atomic_store(&calls_left, calls);
		do_it(op);
		if (facts().state == COPY_UNSYNCHRONIZED)
			await(COPY_SYNCHRONIZED);
		raise(SIGUSR1); /* no exit, at which sanitizers look around */
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGUSR1);
	return WTERMSIG(status) == SIGKILL;
}

/* As it was, or as it was to be. */
static bool is_after(enum replica_operation op, const char *was, const char *then)
{
	begin();
	open_named();
	temp_check_tables();
	if (op == OP_RESTORE_FROM_REPLICA && facts().state != COPY_SPLIT)
		memcpy(content, then, SIZE);
	check_content();
	switch (op) {
	case OP_REVERSE_ROLES:
		return strcmp(was, facts().source) != 0;
	case OP_FAILOVER:
		return facts().state == COPY_FAILEDOVER;
	case OP_FAILBACK:
		return facts().state != COPY_FAILEDOVER;
	default:
		return facts().state != COPY_SPLIT;
	}
}

static void synchronize_again(void)
{
	if (facts().state == COPY_FAILEDOVER)
		do_it(OP_FAILBACK);
	if (facts().state == COPY_SPLIT)
		do_it(OP_RESYNC_REPLICA);
	check_in_step();
}

static void crash_everywhere(enum replica_operation op)
{
	char *then = malloc(SIZE), label[DISK_LABEL_MAX + 1];
	unsigned before = 0, after = 0;
	bool died = true;

	synchronize();
	for (int calls = 0; died; calls++) {
		bool came;

		memcpy(then, content, SIZE);
		snprintf(label, sizeof(label), "%s", facts().source);
		close_source();
		temp_close();
		died = do_and_die(op, calls);
		only_remembered = true;
		write_much(5);
		only_remembered = false;
		came = is_after(op, label, then);
		ck_assert(came || died);
		before += !came;
		after += came;
		synchronize_again();
	}
	ck_assert_uint_gt(before, 0);
	ck_assert_uint_gt(after, 0);
	free(then);
}

START_TEST(crashes_of_reverse_roles)
{
	crash_everywhere(OP_REVERSE_ROLES);
}
END_TEST

START_TEST(crashes_of_failover)
{
	crash_everywhere(OP_FAILOVER);
}
END_TEST

START_TEST(crashes_of_failback)
{
	crash_everywhere(OP_FAILBACK);
}
END_TEST

START_TEST(crashes_of_restores)
{
	crash_everywhere(OP_RESTORE_FROM_REPLICA);
}
END_TEST

START_TEST(split_after_the_rest_is_copied)
{
	synchronize();
	do_it(OP_SUSPEND);
	write_much(50);
	do_it(OP_RESUME);
	do_it(OP_SPLIT); /* whichever state it finds */
	ck_assert_int_eq(facts().state, COPY_SPLIT);
	ck_assert_uint_eq(facts().differs, 0);
	ck_assert(is_same("a.img", "b.img"));
	/* What cannot be copied. */
	write_much(5);
	break_file("a.img");
	do_it(OP_RESYNC_REPLICA);
	ck_assert_int_eq(operate(OP_SPLIT, false), -ETIMEDOUT);
	ck_assert_int_eq(facts().state, COPY_UNSYNCHRONIZED);
	ck_assert_ptr_nonnull(strstr(why.message, "still to be copied"));
	accept_again("a.img");
	do_it(OP_SPLIT);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

/* ---- other mirrors of the same source ---- */

/* Number of the first; of the second, to c.img, when that is in step, too. */
static uint32_t make_two(void)
{
	uint32_t first;

	synchronize();
	first = number;
	ck_assert_msg(!mirror("c.img", (struct pair_request){ 0 }), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	return first;
}

/* After so much of a copy it waits for a minute. */
static void slow_down(void)
{
	jobs_set_limits(temp.t->jobs, 64 << 10, 4);
}

static void hurry_again(void)
{
	jobs_set_limits(temp.t->jobs, 0, 4);
}

/* It goes on in an older image than the other has. */
static void fall_back(uint32_t first, uint32_t second, bool missing)
{
	char *then = malloc(SIZE);

	number = first;
	do_it(OP_SPLIT);
	memcpy(then, content, SIZE);
	write_much(50);
	number = second;
	await(COPY_SYNCHRONIZED);
	number = first;
	close_source();
	if (missing) {
		temp_close();
		ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.away")), 0);
		begin();
	} else {
		slow_down();
	}
	do_it(OP_FAILOVER);
	open_named();
	memcpy(content, then, SIZE);
	check_content();
	number = second;
	free(then);
}

static bool is_engaged(void *arg)
{
	uint64_t differs = facts().differs;

	(void)arg;
	return differs && differs < SIZE;
}

START_TEST(another_mirror_of_a_source_that_is_not_there)
{
	uint32_t first = make_two(), second = number;

	fall_back(first, second, true);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("b.img", "c.img"));
}
END_TEST

START_TEST(another_mirror_is_half_a_copy)
{
	uint32_t first = make_two(), second = number;

	fall_back(first, second, false);
	ck_assert_int_eq(facts().state, COPY_UNSYNCHRONIZED);
	ck_assert(!facts().whole);
	ck_assert_int_eq(operate(OP_FAILOVER, false), -EPERM);
	hurry_again();
	await(COPY_SYNCHRONIZED);
	ck_assert(facts().whole);
	ck_assert(is_same("b.img", "c.img"));
}
END_TEST

static sem_t is_held, is_enough;

/* Nobody begins to copy meanwhile. */
static void *hold_opening(void *arg)
{
	pthread_mutex_lock(&source->opening);
	sem_post(&is_held);
	sem_wait(&is_enough);
	pthread_mutex_unlock(&source->opening);
	return arg;
}

/* What is written after somebody said Resume, and before the target is given what is written. */
START_TEST(written_before_the_copy_begins)
{
	pthread_t holder;

	synchronize();
	do_it(OP_SUSPEND);
	ck_assert_uint_eq(facts().differs, 0);
	slow_down();
	ck_assert(!sem_init(&is_held, 0, 0) && !sem_init(&is_enough, 0, 0));
	ck_assert(!pthread_create(&holder, NULL, hold_opening, NULL));
	sem_wait(&is_held);
	do_it(OP_RESUME);
	for (unsigned i = 0; i < SIZE / MIB; i++)
		ck_assert_int_eq(write_at(i * MIB, MIB, &seed), 0);
	sem_post(&is_enough);
	pthread_join(holder, NULL);
	ck_assert_int_eq(facts().state, COPY_UNSYNCHRONIZED);
	ck_assert(unit_until(is_engaged, NULL, 20));
	ck_assert(!facts().whole);
	ck_assert_int_eq(operate(OP_FAILOVER, false), -EPERM);
	check_content();
	hurry_again();
	check_in_step();
	ck_assert(facts().whole);
}
END_TEST

/* It has copied what it may for now. */
static bool waits(void *arg)
{
	(void)arg;
	return facts().differs < SIZE;
}

START_TEST(a_stop_while_the_copy_waits)
{
	struct timespec began, ended;

	synchronize();
	do_it(OP_SUSPEND);
	for (unsigned i = 0; i < SIZE / MIB; i++)
		ck_assert_int_eq(write_at(i * MIB, MIB, &seed), 0);
	slow_down();
	do_it(OP_RESUME);
	ck_assert(unit_until(waits, NULL, 20));
	close_source();
	clock_gettime(CLOCK_MONOTONIC, &began);
	temp_close();
	clock_gettime(CLOCK_MONOTONIC, &ended);
	ck_assert_int_lt(ended.tv_sec - began.tv_sec, 15 * unit_patience());
	begin();
	open_named();
	check_in_step();
}
END_TEST

/* ---- its past ---- */

/* What its snapshot needs is in an image that cannot be read. */
START_TEST(a_snapshot_that_is_not_settled)
{
	struct snapshot_facts f;
	char *then = malloc(SIZE), *buf = malloc(SIZE);
	size_t done;

	synchronize();
	ck_assert_int_eq(tandem_snapshot(temp.t, &source, 1, "s", false, &f, &why), 0);
	memcpy(then, content, SIZE);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(write_at(i * MIB, 4096, &seed), 0);
	break_file("a.img");
	ck_assert_int_eq(disk_flush(source), -EIO);
	ck_assert_int_ne(operate(OP_FAILOVER, true), 0);
	ck_assert_ptr_nonnull(strstr(why.message, "write log"));
	ck_assert_int_ne(facts().state, COPY_FAILEDOVER);
	accept_again("a.img");
	ck_assert_int_eq(moment_open(source, f.generation), 0);
	ck_assert_int_eq(moment_read(source, f.generation, buf, SIZE, 0, &done), 0);
	ck_assert_int_eq(memcmp(buf, then, SIZE), 0);
	moment_close(source, f.generation);
	check_content();
	free(then);
	free(buf);
}
END_TEST

UNIT_MAIN("roles", prepare, clean, roles_change_places, under_writers, failover_and_failback,
	  restored_from_its_replica, the_source_gives_errors, a_write_fails_first,
	  the_target_lacks_what_was_answered, the_source_vanishes, a_start_without_the_source,
	  a_start_without_the_source_after_a_crash, the_source_comes_back_changed,
	  the_source_is_away_for_a_while, a_start_without_a_source_that_has_a_past, refused,
	  what_the_old_source_has_alone, half_a_copy_is_nothing_to_go_on_with,
	  a_failback_that_fails, a_failback_that_cannot_end, a_failback_that_could_not_end,
	  split_after_the_rest_is_copied, crashes_of_reverse_roles, crashes_of_failover,
	  crashes_of_failback, crashes_of_restores, another_mirror_of_a_source_that_is_not_there,
	  another_mirror_is_half_a_copy, written_before_the_copy_begins,
	  a_stop_while_the_copy_waits, a_snapshot_that_is_not_settled)

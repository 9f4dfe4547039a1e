// SPDX-License-Identifier: GPL-2.0-or-later
/* Mirrors: the target is what the source is, whatever happens meanwhile, or says that it is not. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jobs.h"
#include "temp_pair.h"
#include "unit.h"

START_TEST(first_copy)
{
	struct stat st;

	change_much(source, 20);
	ck_assert_int_eq(disk_zero(source, 8 * MIB, 8 * MIB, ZERO_PUNCH), 0);
	make();
	ck_assert_int_eq(mirror("b.img", (struct pair_request){ 0 }), -EEXIST);
	await(COPY_SYNCHRONIZED);
	ck_assert_uint_eq(facts().percent, 100);
	ck_assert_uint_gt(facts().sync_time_ms, 0);
	ck_assert(is_same("a.img", "b.img"));
	ck_assert_int_eq(stat(temp_path("b.img"), &st), 0);
	ck_assert_uint_le(st.st_blocks * 512ull, SIZE - 7 * MIB);
	ck_assert_int_ne(access(temp_path("b.img.incomplete"), F_OK), 0);
}
END_TEST

static void *writer(void *arg)
{
	struct disk *d = arg;
	_Alignas(4096) char buf[4096];
	uint64_t mine = (uintptr_t)&buf ^ (uintptr_t)pthread_self();

	for (unsigned i = 0; i < unit_scaled(400); i++) {
		memset(buf, unit_below(&mine, 256), sizeof(buf));
		ck_assert_int_eq(disk_write(d, buf, sizeof(buf),
					    unit_below(&mine, SIZE / 4096) * 4096,
					    i % 2 ? IO_DIRECT : 0),
				 0);
	}
	return NULL;
}

static void write_at_once(void)
{
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, writer, source);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

START_TEST(written_while_it_is_copied)
{
	change_much(source, 200);
	make();
	write_at_once();
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
	write_at_once();
	ck_assert_int_eq(facts().state, COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

START_TEST(only_what_changed_is_copied)
{
	change_much(source, 100);
	make();
	await(COPY_SYNCHRONIZED);
	do_it(OP_SUSPEND);
	ck_assert_int_eq(facts().state, COPY_SUSPENDED);
	ck_assert_uint_eq(facts().differs, 0);
	ck_assert_int_eq(change(source, 5 * REGION + 100, 200), 0);
	ck_assert_int_eq(change(source, 9 * REGION - 512, 1024), 0);
	ck_assert_uint_eq(facts().differs, 3 * REGION);
	ck_assert(!is_same("a.img", "b.img"));
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

START_TEST(a_split_target_is_a_disk)
{
	struct disk *target;

	change_much(source, 50);
	make();
	await(COPY_SYNCHRONIZED);
	target = temp_disk("b.img");
	ck_assert_int_eq(disk_open(target, true), -EROFS);
	do_it(OP_SPLIT);
	ck_assert_int_eq(disk_open(target, true), 0);
	ck_assert_int_eq(facts().state, COPY_SPLIT);
	change_much(target, 10);
	ck_assert_int_eq(facts().state, COPY_SKEWED);
	change_much(source, 10);
	ck_assert_int_eq(operate(OP_RESYNC_REPLICA, true), -EBUSY);
	disk_close(target);
	ck_assert_int_eq(operate(OP_RESYNC_REPLICA, false), -EPERM);
	ck_assert_int_eq(facts().state, COPY_SKEWED);
	ck_assert_msg(!operate(OP_RESYNC_REPLICA, true), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
	ck_assert_int_eq(disk_open(target, true), -EROFS);
	disk_unref(target);
}
END_TEST

START_TEST(a_clean_stop_leaves_nothing_to_copy)
{
	change_much(source, 50);
	make();
	await(COPY_SYNCHRONIZED);
	change_much(source, 50);
	again();
	ck_assert_int_eq(facts().state, COPY_SYNCHRONIZED);
	change_much(source, 50);
	do_it(OP_FRACTURE);
	change_much(source, 5);
	again();
	ck_assert_int_eq(facts().state, COPY_FRACTURED);
	do_it(OP_RESYNC_REPLICA);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

/* A daemon that writes, and is gone in the middle of it. */
static void write_and_die(unsigned writes)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		begin();
		open_source();
		for (unsigned i = 0; i < writes; i++)
			change_somewhere(source);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
}

START_TEST(after_a_crash_what_was_written_is_copied)
{
	change_much(source, 50);
	make();
	await(COPY_SYNCHRONIZED);
	close_source();
	temp_close();
	for (unsigned i = 0; i < unit_scaled(10); i++) {
		seed = i;
		write_and_die(1 + i);
		begin();
		open_source();
		await(COPY_SYNCHRONIZED);
		ck_assert(is_same("a.img", "b.img"));
		close_source();
		temp_close();
	}
	begin();
	open_source();
}
END_TEST

START_TEST(sizes)
{
	make();
	await(COPY_SYNCHRONIZED);
	ck_assert_int_eq(disk_resize(source, SIZE + 100 * 512, false), 0);
	ck_assert_int_eq(change(source, SIZE + 50 * 512, 50 * 512), 0);
	ck_assert_int_eq(change(source, SIZE + 100 * 512, 3 * REGION), 0); /* it grows by it */
	await(COPY_SYNCHRONIZED); /* its keeper may have looked in between */
	ck_assert(is_same("a.img", "b.img"));
	do_it(OP_SUSPEND);
	ck_assert_int_eq(disk_resize(source, SIZE, true), 0);
	ck_assert_int_eq(disk_resize(source, SIZE + 8 * REGION, false), 0);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
	ck_assert_int_eq(disk_resize(source, SIZE - REGION, true), 0);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

START_TEST(a_lost_target_is_no_loss_of_the_source)
{
	make();
	await(COPY_SYNCHRONIZED);
	ck_assert_int_eq(rename(temp_path("b.img"), temp_path("b.txt")), 0);
	temp_rescan();
	change_much(source, 20);
	await(COPY_BROKEN);
	ck_assert_int_ne(facts().error, 0);
	change_much(source, 20);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert_int_eq(rename(temp_path("b.txt"), temp_path("b.img")), 0);
	temp_rescan();
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

START_TEST(detached)
{
	struct pair_facts f;
	struct disk *target;

	make();
	await(COPY_SYNCHRONIZED);
	change_much(source, 20);
	target = temp_disk("b.img");
	ck_assert_int_eq(tandem_delete_disk(temp.t, target, NULL, true, false, &why), -EBUSY);
	ck_assert(is_same("a.img", "b.img"));
	do_it(OP_DETACH);
	ck_assert_int_eq(pair_numbered(temp.t, number, &f), -ENOENT);
	ck_assert(is_same("a.img", "b.img"));
	change_much(source, 20);
	ck_assert_int_eq(disk_open(target, true), 0);
	change_much(target, 20);
	disk_close(target);
	ck_assert_msg(!tandem_delete_disk(temp.t, target, NULL, false, false, &why), "%s",
		      why.message);
	disk_unref(target);
	again();
	ck_assert_int_eq(pair_numbered(temp.t, number, &f), -ENOENT);
}
END_TEST

START_TEST(an_existing_target)
{
	const struct pair_request existing = { .existing = true };
	const struct pair_request force = { .existing = true, .force = true };
	struct disk *d;

	change_much(source, 20);
	temp_make("b.img", SIZE / 2);
	temp_rescan();
	d = temp_disk("b.img");
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(mirror("b.img", force), -EBUSY);
	change_much(source, 3);
	ck_assert_int_eq(change(d, 512, 512), 0);
	disk_close(d);
	ck_assert_int_eq(mirror("b.img", existing), -EPERM);
	ck_assert_int_eq(mirror("a.img", force), -EINVAL);
	ck_assert_int_eq(disk_open(d, true), 0);
	disk_close(d);
	ck_assert_msg(!mirror("b.img", force), "%s", why.message);
	ck_assert_int_eq(mirror("b.img", force), -EBUSY);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
	disk_unref(d);
}
END_TEST

/* A byte or a sector more or less: a target that is flat gets its source's size. */
START_TEST(an_existing_target_of_another_size)
{
	const struct pair_request force = { .existing = true, .force = true };
	static const int more[] = { -512, -1, 1, 512 };

	change_much(source, 20);
	for (size_t i = 0; i < UNIT_LENGTH(more); i++) {
		char name[20];

		snprintf(name, sizeof(name), "%zu.img", i);
		temp_make(name, SIZE + more[i]);
		temp_rescan();
		ck_assert_msg(!mirror(name, force), "%d more: %s", more[i], why.message);
		await(COPY_SYNCHRONIZED);
		ck_assert(is_same("a.img", name));
		do_it(OP_DETACH);
	}
}
END_TEST

static void make_container(const char *name, uint64_t size)
{
	struct create_disk c = { .name = name, .size = size, .mode = 0600 };
	struct disk *d = NULL;

	c.uid = geteuid();
	c.gid = getegid();
	ck_assert_msg(!tandem_create_disk(temp.t, &c, &d, &why), "%s", why.message);
	disk_unref(d);
}

/* It stays longer. What it holds behind its source's end is nothing that a longer source has there. */
START_TEST(a_longer_container_as_a_target)
{
	const struct pair_request force = { .existing = true, .force = true };
	static const char *const names[] = { "b.vhd", "b.vhdx" };

	change_much(source, 20);
	for (size_t i = 0; i < UNIT_LENGTH(names); i++) {
		struct disk *d;

		make_container(names[i], SIZE + REGION);
		d = temp_disk(names[i]);
		ck_assert_int_eq(disk_open(d, true), 0);
		ck_assert_int_eq(change(d, SIZE, REGION), 0);
		disk_close(d);
		ck_assert_msg(!mirror(names[i], force), "%s", why.message);
		await(COPY_SYNCHRONIZED);
		ck_assert_uint_eq(disk_size(d), SIZE + REGION);
		ck_assert_int_eq(disk_resize(source, SIZE + REGION, false), 0);
		await(COPY_SYNCHRONIZED);
		ck_assert(is_same("a.img", names[i]));
		do_it(OP_DETACH);
		ck_assert_int_eq(disk_resize(source, SIZE, true), 0);
		disk_unref(d);
	}
}
END_TEST

/* What the disk shall go on in has its size; only of a flat file the rest can be cut off. */
START_TEST(a_disk_moves_to_its_own_size)
{
	const struct pair_request moves = { .existing = true, .force = true, .moves = true };
	static const struct {
		const char *name;
		int more;
	} refused[] = { { "1.img", -512 },
			{ "2.img", -1 },
			{ "3.vhd", -512 },
			{ "4.vhd", 512 },
			{ "5.vhdx", 512 } };

	change_much(source, 20);
	for (size_t i = 0; i < UNIT_LENGTH(refused); i++) {
		char says[100];

		if (strstr(refused[i].name, ".vhd"))
			make_container(refused[i].name, SIZE + refused[i].more);
		else
			temp_make(refused[i].name, SIZE + refused[i].more);
		temp_rescan();
		ck_assert_int_eq(mirror(refused[i].name, moves), -EINVAL);
		snprintf(says, sizeof(says), "%s has not the size of a.img", refused[i].name);
		ck_assert_str_eq(why.message, says);
	}
	for (int more = 1; more <= 512; more += 511) {
		char name[20];

		snprintf(name, sizeof(name), "longer-%d.img", more);
		temp_make(name, SIZE + more);
		temp_rescan();
		ck_assert_msg(!mirror(name, moves), "%s: %s", name, why.message);
		await(COPY_SYNCHRONIZED);
		ck_assert(is_same("a.img", name));
		do_it(OP_DETACH);
	}
}
END_TEST

START_TEST(an_existing_target_that_is_read_only)
{
	const struct pair_request force = { .existing = true, .force = true };
	const struct pair_request existing = { .existing = true };
	struct disk *d;

	temp_make("b.img", SIZE);
	temp_rescan();
	d = temp_disk("b.img");
	ck_assert_int_eq(tandem_set_disk_read_only(temp.t, d, true, false, &why), 0);
	ck_assert_int_eq(mirror("b.img", existing), -EROFS);
	ck_assert_int_eq(mirror("b.img", force), -EROFS);
	ck_assert_str_eq(why.message, "b.img is read-only");
	ck_assert_str_eq(temp_state("b.img"), "ReadOnly");
	ck_assert_int_eq(tandem_set_disk_read_only(temp.t, d, false, false, &why), 0);
	disk_unref(d);
	ck_assert_msg(!mirror("b.img", existing), "%s", why.message);
	await(COPY_SYNCHRONIZED);
}
END_TEST

START_TEST(two_targets_and_one_behind)
{
	struct disk *middle;
	uint32_t first;

	make();
	first = number;
	ck_assert_msg(!mirror("c.vhdx", (struct pair_request){ 0 }), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	number = first;
	await(COPY_SYNCHRONIZED);
	middle = source;
	source = temp_disk("b.img");
	ck_assert_msg(!mirror("d.img", (struct pair_request){ 0 }), "%s", why.message);
	disk_unref(source);
	source = middle;
	change_much(source, 100);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
	ck_assert(is_same("a.img", "c.vhdx"));
	ck_assert(is_same("a.img", "d.img"));
}
END_TEST

/* In its first copy, which takes a second for each region. */
static void make_and_suspend(const char *target)
{
	jobs_set_limits(temp.t->jobs, 64 << 10, 0);
	ck_assert_msg(!mirror(target, (struct pair_request){ 0 }), "%s", why.message);
	ck_assert_msg(facts().first, "it was copied at once");
	do_it(OP_SUSPEND);
	jobs_set_limits(temp.t->jobs, 0, 0);
}

START_TEST(a_first_copy_goes_on_after_a_restart)
{
	struct pair_facts f;

	change_much(source, 50);
	make_and_suspend("b.img");
	again();
	ck_assert_int_eq(facts().state, COPY_SUSPENDED);
	ck_assert_str_eq(facts().target, "b.img");
	ck_assert(facts().first);
	ck_assert_int_eq(access(temp_path("b.img.incomplete"), F_OK), 0);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
	make_and_suspend("c.img");
	ck_assert_int_eq(operate(OP_DETACH, false), -EPERM);
	ck_assert_msg(!operate(OP_DETACH, true), "%s", why.message);
	ck_assert_int_eq(pair_numbered(temp.t, number, &f), -ENOENT);
	ck_assert_int_ne(access(temp_path("c.img.incomplete"), F_OK), 0);
	ck_assert_ptr_null(temp_disk("c.img"));
}
END_TEST

static bool is_verified(void *arg)
{
	return !facts().verifying;
}

START_TEST(verified)
{
	struct disk *d;
	uint32_t job;
	int fd;

	change_much(source, 50);
	make();
	await(COPY_SYNCHRONIZED);
	ck_assert_uint_eq(facts().verified_ms, 0);
	ck_assert_msg(!tandem_verify_pair(temp.t, number, false, &job, &why), "%s", why.message);
	write_at_once();
	ck_assert(unit_until(is_verified, NULL, 20));
	ck_assert_uint_gt(facts().verified_ms, 0);
	ck_assert_uint_eq(facts().mended, 0);
	/* One bit, behind everybody's back. */
	d = temp_disk("b.img");
	fd = openat(d->pool->dirfd, "b.img", O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(pwrite(fd, "?", 1, 7 * REGION), 1);
	ck_assert_int_eq(fsync(fd), 0);
	close(fd);
	ck_assert(!is_same("a.img", "b.img"));
	ck_assert_msg(!tandem_verify_pair(temp.t, number, false, &job, &why), "%s", why.message);
	ck_assert(unit_until(is_verified, NULL, 20));
	ck_assert_uint_eq(facts().mended, REGION);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
	disk_unref(d);
}
END_TEST

UNIT_MAIN("pairs", setup, teardown, first_copy, written_while_it_is_copied,
	  only_what_changed_is_copied, a_split_target_is_a_disk,
	  a_clean_stop_leaves_nothing_to_copy, after_a_crash_what_was_written_is_copied, sizes,
	  a_lost_target_is_no_loss_of_the_source, detached, an_existing_target,
	  an_existing_target_of_another_size, a_longer_container_as_a_target,
	  a_disk_moves_to_its_own_size, an_existing_target_that_is_read_only,
	  a_first_copy_goes_on_after_a_restart, verified, two_targets_and_one_behind)

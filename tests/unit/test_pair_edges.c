// SPDX-License-Identifier: GPL-2.0-or-later
/* Mirrors, where something else happens at the same time, or went wrong before. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pairs_inner.h"
#include "temp_pair.h"
#include "unit.h"

/* Nothing can be recorded; how often somebody tried. */
static _Atomic bool unrecorded;
static atomic_uint tries;

int mdb_txn_commit(MDB_txn *txn)
{
	int (*real)(MDB_txn *) = dlsym(RTLD_NEXT, "mdb_txn_commit");

	if (!atomic_load(&unrecorded))
		return real(txn);
	atomic_fetch_add(&tries, 1);
	mdb_txn_abort(txn);
	return ENOSPC;
}

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

/* Synchronized, and rightly so. */
static void check_same(const char *target)
{
	await(COPY_SYNCHRONIZED);
	ck_assert_msg(is_same("a.img", target), "Synchronized, and not the same");
}

/* A split target, open for writing. */
static struct disk *split(void)
{
	struct disk *target;

	synchronize();
	do_it(OP_SPLIT);
	target = temp_disk("b.img");
	ck_assert_int_eq(disk_open(target, true), 0);
	return target;
}

static void let_go(struct disk *d)
{
	disk_close(d);
	disk_unref(d);
}

static void resync_needs_force(void)
{
	ck_assert_int_eq(facts().state, COPY_SKEWED);
	ck_assert_int_eq(operate(OP_RESYNC_REPLICA, false), -EPERM);
	ck_assert_msg(!operate(OP_RESYNC_REPLICA, true), "%s", why.message);
	check_same("b.img");
}

/* ---- a target that two want ---- */

/* Who looks whether it holds something waits before he opens it. */
static atomic_bool holds_looking;
static atomic_uint looking;

__attribute__((visibility("default"))) int posix_memalign(void **out, size_t align, size_t size)
{
	if (atomic_load(&holds_looking)) {
		atomic_fetch_add(&looking, 1);
		while (atomic_load(&holds_looking))
			usleep(1000);
	}
	*out = aligned_alloc(align, (size + align - 1) / align * align);
	return *out ? 0 : ENOMEM;
}

static bool looks(void *arg)
{
	(void)arg;
	return atomic_load(&looking) > 0;
}

struct wish {
	bool plan;
	int err;
	struct pair_facts made;
};

static void *take_b(void *arg)
{
	struct wish *w = arg;
	const struct pair_request q = { .target = "b.img",
					.mode = MODE_SYNCHRONOUS,
					.existing = true,
					.plan = w->plan };
	struct why ignored = { 0 };

	w->err = tandem_mirror(temp.t, source, &q, &w->made, &ignored);
	return NULL;
}

/* Only the one who claimed it may say that it is anybody's. */
static void two_want_it(bool plan)
{
	const struct pair_request q = { .existing = true, .force = true };
	struct wish first = { .plan = plan };
	struct disk *b = temp_disk("b.img");
	pthread_t thread;

	atomic_store(&looking, 0);
	atomic_store(&holds_looking, true);
	ck_assert(!pthread_create(&thread, NULL, take_b, &first));
	ck_assert(unit_until(looks, NULL, 20));
	ck_assert_int_eq(mirror("b.img", q), -EBUSY);
	ck_assert_str_eq(why.message, "b.img is about to be the target of another mirror");
	ck_assert_int_ne(disk_open(b, true), 0);
	atomic_store(&holds_looking, false);
	pthread_join(thread, NULL);
	ck_assert_int_eq(first.err, 0);
	if (plan) {
		ck_assert_int_eq(disk_open(b, true), 0);
		disk_close(b);
	} else {
		ck_assert_int_ne(disk_open(b, true), 0);
		number = first.made.number;
		check_same("b.img");
	}
	disk_unref(b);
}

START_TEST(two_want_one_target)
{
	temp_make("b.img", SIZE);
	temp_rescan();
	two_want_it(true);
	two_want_it(false);
}
END_TEST

/* ---- a target that clients have ---- */

START_TEST(a_split_target_is_shrunk)
{
	struct disk *target = split();

	ck_assert_int_eq(disk_resize(target, SIZE / 2, true), 0);
	let_go(target);
	resync_needs_force();
}
END_TEST

static void *append(void *arg)
{
	uint64_t mine = (uintptr_t)&mine;

	for (unsigned i = 0; i < 100; i++) {
		char buf[512] = { i };

		disk_write(arg, buf, sizeof(buf), SIZE + MIB + unit_below(&mine, 90000) * 512, 0);
	}
	return NULL;
}

START_TEST(a_split_target_grows)
{
	struct disk *target = split();
	pthread_t threads[4];

	ck_assert_int_eq(change(target, SIZE, 512), 0);
	ck_assert_int_eq(disk_resize(target, SIZE + 60 * MIB, false), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, append, target);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	let_go(target);
	resync_needs_force();
}
END_TEST

/* Then what it has there is no end of a longer disk any more. */
START_TEST(its_source_grows_to_what_a_split_target_has)
{
	struct disk *target = split();

	ck_assert_int_eq(change(target, SIZE + MIB, 512), 0);
	ck_assert_int_eq(disk_resize(source, SIZE + 4 * MIB, false), 0);
	ck_assert_int_eq(change(target, SIZE + 3 * MIB, 512), 0);
	let_go(target);
	resync_needs_force();
}
END_TEST

START_TEST(a_target_in_use_is_not_taken_away)
{
	struct disk *target = split();

	ck_assert_int_eq(operate(OP_UNPREPARE, true), -EBUSY);
	ck_assert_int_eq(operate(OP_DEACTIVATE, true), -EBUSY);
	ck_assert_int_eq(facts().state, COPY_SPLIT);
	change_much(target, 20);
	let_go(target);
	resync_needs_force();
}
END_TEST

START_TEST(unprepared)
{
	struct disk *target = split();

	let_go(target);
	do_it(OP_UNPREPARE);
	ck_assert_uint_eq(facts().differs, SIZE);
	do_it(OP_ACTIVATE);
	check_same("b.img");
}
END_TEST

START_TEST(a_reader_of_the_target_is_in_nobodys_way)
{
	struct disk *target;

	synchronize();
	target = temp_disk("b.img");
	ck_assert_int_eq(disk_open(target, false), 0);
	do_it(OP_SUSPEND);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	let_go(target);
}
END_TEST

START_TEST(a_split_target_goes_back)
{
	struct snapshot_facts f, before;
	struct disk *target;

	synchronize();
	target = temp_disk("b.img");
	ck_assert_msg(!tandem_snapshot(temp.t, &target, 1, "s", false, &f, &why), "%s",
		      why.message);
	change_much(source, 30);
	do_it(OP_SPLIT);
	ck_assert_msg(!tandem_restore(temp.t, &target, &f.generation, 1, true, false, &before,
				      &why),
		      "%s", why.message);
	disk_unref(target);
	ck_assert_int_eq(facts().state, COPY_SKEWED);
	ck_assert_uint_eq(facts().differs, SIZE);
}
END_TEST

/* ---- marks ---- */

static bool is_clean(void *arg)
{
	return !marks_any_active(the_pair()->leg.marks);
}

START_TEST(an_idle_mirror_is_cleaned)
{
	unsigned turn;

	synchronize();
	ck_assert(unit_until(is_clean, NULL, 30));
	change_much(source, 5);
	ck_assert(!is_clean(NULL));
	ck_assert(unit_until(is_clean, NULL, 30));
	/* As when a write of the source fails. */
	ck_assert_int_eq(marks_begin(the_pair()->leg.marks, 0, 4096, &turn), 0);
	marks_set(the_pair()->leg.marks, 0, 4096);
	marks_end(the_pair()->leg.marks, turn);
	ck_assert_int_eq(facts().state, COPY_UNSYNCHRONIZED);
	await(COPY_SYNCHRONIZED);
}
END_TEST

START_TEST(marks_that_are_lost)
{
	char name[16];
	int fd;

	synchronize();
	close_source();
	snprintf(name, sizeof(name), "%u", number);
	fd = openat(temp.t->pairs->dirfd, name, O_RDWR | O_CLOEXEC);
	temp_close();
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	close(fd);
	begin();
	open_source();
	check_same("b.img");
	close_source();
	ck_assert_int_eq(unlinkat(temp.t->pairs->dirfd, name, 0), 0);
	temp_close();
	begin();
	open_source();
	check_same("b.img");
}
END_TEST

START_TEST(a_file_of_marks_without_a_mirror)
{
	char name[16];

	for (unsigned i = 1; i < 12; i++) {
		snprintf(name, sizeof(name), "%u", source->number + i);
		close(openat(temp.t->pairs->dirfd, name, O_CREAT | O_RDWR, 0600));
	}
	synchronize();
	check_same("b.img");
}
END_TEST

/* ---- sizes ---- */

/* The source got that size, its marks too, and then everything ended. */
static void die_in_a_resize(uint64_t size)
{
	pid_t pid;

	close_source();
	temp_close();
	pid = fork();
	if (!pid) {
		begin();
		open_source();
		source->image->format->resize(source->image, size);
		marks_resize(the_pair()->leg.marks, size, false);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	begin();
	open_source();
}

START_TEST(a_crash_in_a_resize)
{
	synchronize();
	die_in_a_resize(SIZE + MIB);
	check_same("b.img");
	ck_assert_int_eq(change(source, SIZE - MIB, 2 * MIB), 0);
	check_same("b.img");
	die_in_a_resize(SIZE - MIB);
	check_same("b.img");
	ck_assert_int_eq(disk_resize(source, SIZE, false), 0);
	check_same("b.img");
}
END_TEST

START_TEST(a_target_that_cannot_shrink)
{
	ck_assert_int_eq(change(source, SIZE - 4 * MIB, 4 * MIB), 0);
	ck_assert_msg(!mirror("c.vhdx", (struct pair_request){ 0 }), "%s", why.message);
	check_same("c.vhdx");
	ck_assert_int_eq(disk_resize(source, SIZE - 4 * MIB, true), 0);
	await(COPY_SYNCHRONIZED);
	ck_assert_int_eq(disk_resize(source, SIZE, false), 0);
	check_same("c.vhdx");
}
END_TEST

/* ---- what is lost ---- */

START_TEST(a_host_that_stops_with_its_target)
{
	ck_assert_int_eq(mirror("b.img", (struct pair_request){ .stops_host_io = true }), 0);
	ck_assert_int_eq(change(source, 0, 4096), 0);
	await(COPY_SYNCHRONIZED);
	do_it(OP_SUSPEND);
	ck_assert_int_eq(change(source, 0, 4096), 0);
	ck_assert_int_eq(change(source, SIZE + MIB, 4096), 0);
	do_it(OP_RESUME);
	check_same("b.img");
	ck_assert_int_eq(rename(temp_path("b.img"), temp_path("b.txt")), 0);
	temp_rescan();
	await(COPY_BROKEN);
	ck_assert_int_eq(change(source, 0, 4096), -EIO);
	ck_assert_int_eq(rename(temp_path("b.txt"), temp_path("b.img")), 0);
	temp_rescan();
	check_same("b.img");
	ck_assert_int_eq(change(source, 0, 4096), 0);
}
END_TEST

/* It can be made one, and cease to be, while its target is away. */
START_TEST(whether_the_host_stops_is_set)
{
	struct pair_settings stops = { .has_stops = true, .stops_host_io = true };

	synchronize();
	ck_assert_int_eq(rename(temp_path("b.img"), temp_path("b.txt")), 0);
	temp_rescan();
	await(COPY_BROKEN);
	ck_assert_int_eq(change(source, 0, 4096), 0);
	ck_assert_int_eq(tandem_set_pair(temp.t, number, &stops, true, &why), 0);
	ck_assert_int_eq(change(source, 0, 4096), 0);
	ck_assert_int_eq(tandem_set_pair(temp.t, number, &stops, false, &why), 0);
	ck_assert(facts().stops_host_io);
	ck_assert_int_eq(change(source, 0, 4096), -EIO);
	again();
	ck_assert(facts().stops_host_io);
	ck_assert_int_eq(change(source, 0, 4096), -EIO);
	stops.stops_host_io = false;
	atomic_store(&unrecorded, true);
	ck_assert_int_lt(tandem_set_pair(temp.t, number, &stops, false, &why), 0);
	ck_assert(facts().stops_host_io);
	ck_assert_int_eq(change(source, 0, 4096), -EIO);
	atomic_store(&unrecorded, false);
	ck_assert_int_eq(tandem_set_pair(temp.t, number, &stops, false, &why), 0);
	ck_assert_int_eq(change(source, 0, 4096), 0);
	ck_assert_int_eq(rename(temp_path("b.txt"), temp_path("b.img")), 0);
	temp_rescan();
	check_same("b.img");
}
END_TEST

static bool has_tried(void *arg)
{
	return atomic_load(&tries) >= 3;
}

/* What is true is said at once; that it cannot be recorded costs a try now and then. */
START_TEST(a_loss_that_cannot_be_recorded)
{
	uint64_t began;

	synchronize();
	atomic_store(&unrecorded, true);
	leg_lose(&the_pair()->leg, -EIO);
	ck_assert_int_eq(facts().state, COPY_BROKEN);
	began = unit_now_ms();
	ck_assert(unit_until(has_tried, NULL, 30));
	ck_assert_uint_ge(unit_now_ms() - began, 1000);
	change_much(source, 5);
	ck_assert_int_eq(facts().state, COPY_BROKEN);
	ck_assert_int_eq(operate(OP_RESYNC_REPLICA, false), -ENOSPC);
	ck_assert_int_eq(facts().state, COPY_BROKEN);
	atomic_store(&unrecorded, false);
	check_same("b.img");
}
END_TEST

START_TEST(what_cannot_be_recorded_is_not_done)
{
	static const enum replica_operation all[] = { OP_SUSPEND,    OP_SPLIT,     OP_FRACTURE,
						      OP_DEACTIVATE, OP_UNPREPARE, OP_DETACH };
	struct disk *target;

	synchronize();
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		atomic_store(&unrecorded, true);
		ck_assert_int_eq(operate(all[i], true), -ENOSPC);
		atomic_store(&unrecorded, false);
		await(COPY_SYNCHRONIZED);
		change_much(source, 5);
		check_same("b.img");
		target = temp_disk("b.img");
		ck_assert_int_eq(disk_open(target, true), -EROFS);
		disk_unref(target);
	}
}
END_TEST

START_TEST(stopped_with_clients)
{
	synchronize();
	/* A container is at rest only once, whoever of the two is stopped first. */
	ck_assert_msg(!mirror("c.vhdx", (struct pair_request){ 0 }), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	change_much(source, 20);
	disk_unref(source);
	source = NULL;
	temp_close();
	begin();
	open_source();
	ck_assert_int_eq(facts().state, COPY_SYNCHRONIZED);
	check_same("b.img");
	check_same("c.vhdx");
}
END_TEST

static unsigned descriptors(void)
{
	unsigned n = 0;

	for (int i = 0; i < 1024; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

static bool has_let_go(void *arg)
{
	return descriptors() <= *(unsigned *)arg;
}

START_TEST(nothing_stays_of_those_that_go)
{
	unsigned before;

	for (unsigned i = 0; i < 5; i++) {
		struct disk *target;

		make();
		await(COPY_SYNCHRONIZED);
		do_it(OP_DETACH);
		target = temp_disk("b.img");
		ck_assert_int_eq(tandem_delete_disk(temp.t, target, NULL, false, false, &why), 0);
		disk_unref(target);
		if (!i)
			before = descriptors();
	}
	ck_assert(unit_until(has_let_go, &before, 10));
}
END_TEST

static bool is_let_go(void *target)
{
	return !disk_is_open(target) && !atomic_load(&((struct disk *)target)->target_use);
}

/* Whatever its keeper is about to do just then. */
START_TEST(one_that_goes_at_once_leaves_its_target)
{
	struct disk *target;
	int err;

	temp_make("b.img", SIZE);
	temp_rescan();
	target = temp_disk("b.img");
	for (unsigned i = 0; i < 200; i++) {
		ck_assert_msg(!mirror("b.img",
				      (struct pair_request){ .existing = true, .force = true }),
			      "after %u of them: %s", i, why.message);
		usleep(unit_below(&seed, 1000));
		do
			err = operate(OP_DETACH, true);
		while (err == -EBUSY);
		ck_assert_msg(!err, "%s", why.message);
		ck_assert(unit_until(is_let_go, target, 10));
	}
	disk_unref(target);
}
END_TEST

UNIT_MAIN("pair_edges", setup, teardown, two_want_one_target, a_split_target_is_shrunk,
	  a_split_target_grows, its_source_grows_to_what_a_split_target_has,
	  a_target_in_use_is_not_taken_away, unprepared, a_reader_of_the_target_is_in_nobodys_way,
	  a_split_target_goes_back, an_idle_mirror_is_cleaned, marks_that_are_lost,
	  a_file_of_marks_without_a_mirror, a_crash_in_a_resize, a_target_that_cannot_shrink,
	  a_host_that_stops_with_its_target, whether_the_host_stops_is_set,
	  a_loss_that_cannot_be_recorded, what_cannot_be_recorded_is_not_done, stopped_with_clients,
	  nothing_stays_of_those_that_go, one_that_goes_at_once_leaves_its_target)

// SPDX-License-Identifier: GPL-2.0-or-later
/* Snapshots come and go in any order: those that stay hold what they held, and nothing is left. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "history.h"
#include "past_disk.h"
#include "segments.h"
#include "snapshots_inner.h"
#include "unit.h"

#define BLOCKS 192
#define SIZE (BLOCKS * PAST_BLOCK)

static struct past_disk p;

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

static struct version_totals totals(void)
{
	struct version_totals t;

	ck_assert_int_eq(version_totals(temp.t->catalogue, p.d->number, &t), 0);
	return t;
}

static bool collected(void *arg)
{
	(void)arg;
	return collector_is_idle(temp.t->snapshots->collector, p.d->number);
}

static void settle_and_collect(void)
{
	struct why why;

	ck_assert_int_eq(tandem_settle_disk(temp.t, p.d, &why), 0);
	ck_assert(unit_until(collected, NULL, 10));
}

static void delete_all(void)
{
	while (p.count)
		past_delete(&p, unit_below(&p.seed, p.count));
}

START_TEST(one)
{
	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "one");
	past_write(&p, 0, SIZE / 2, 2);
	settle_and_collect();
	ck_assert_uint_eq(totals().count, BLOCKS / 2);
	past_check_all(&p);
	delete_all();
	ck_assert(past_is_empty(&p));
	past_check_now(&p);
}
END_TEST

/* What two moments share goes with the second of them, whichever that is. */
START_TEST(shared)
{
	for (unsigned first = 0; first < 2; first++) {
		past_write(&p, 0, SIZE, 1 + 3 * first);
		past_snapshot(&p, "older");
		past_write(&p, 0, PAST_BLOCK, 2 + 3 * first); /* only older has what was there */
		past_snapshot(&p, "newer");
		past_write(&p, 0, 4 * PAST_BLOCK, 3 + 3 * first);
		settle_and_collect();
		ck_assert_uint_eq(totals().count, 5);
		past_delete(&p, first);
		settle_and_collect();
		/* Without older, its block 0 is of nobody; without newer, newer's is. */
		ck_assert_uint_eq(totals().count, 4);
		past_check_all(&p);
		delete_all();
		ck_assert(past_is_empty(&p));
	}
}
END_TEST

START_TEST(exclusive)
{
	uint64_t bytes;

	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "a");
	past_write(&p, 0, PAST_BLOCK, 2);
	past_snapshot(&p, "b");
	past_write(&p, 0, 4 * PAST_BLOCK, 3);
	past_snapshot(&p, "c");
	settle_and_collect();
	for (unsigned twice = 0; twice < 2; twice++) {
		static const uint64_t is[] = { 1, 1, 0 }; /* blocks 1 to 3 are a's and b's */

		for (size_t i = 0; i < 3; i++) {
			ck_assert_int_eq(snapshot_exclusive(temp.t, p.kept[i].number, &bytes), 0);
			ck_assert_uint_eq(bytes, is[i] * PAST_BLOCK);
		}
	}
	past_delete(&p, 1); /* the last takes its place */
	settle_and_collect();
	ck_assert_int_eq(snapshot_exclusive(temp.t, p.kept[0].number, &bytes), 0);
	ck_assert_uint_eq(bytes, 4 * PAST_BLOCK);
}
END_TEST

static void step(void)
{
	switch (unit_below(&p.seed, 12)) {
	case 0:
	case 1:
		if (p.count < 20)
			past_snapshot(&p, NULL);
		break;
	case 2:
		if (p.count)
			past_delete(&p, unit_below(&p.seed, p.count));
		break;
	case 3:
		if (p.count)
			past_check(&p, &p.kept[unit_below(&p.seed, p.count)]);
		break;
	case 4:
		if (p.open)
			past_close(&p);
		else
			past_open(&p);
		break;
	default:
		past_scribble(&p);
	}
}

static void again(void)
{
	past_disk_let_go(&p);
	temp_close();
	begin();
	past_disk_again(&p);
}

START_TEST(model)
{
	for (unsigned round = 0; round < unit_scaled(20); round++) {
		for (unsigned i = 0; i < 150; i++)
			step();
		past_check_all(&p);
		if (round % 4 == 3)
			again();
		if (round % 8 == 7) {
			delete_all();
			ck_assert(past_is_empty(&p));
		}
	}
	past_check_all(&p);
	delete_all();
	ck_assert_msg(past_is_empty(&p), "%llu versions are left",
		      (unsigned long long)totals().count);
	past_check_now(&p);
}
END_TEST

/* A moment that somebody reads stays whole, and cannot be deleted. */
START_TEST(read_meanwhile)
{
	struct why why;
	uint8_t byte;
	size_t done;

	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "a");
	ck_assert_int_eq(moment_open(p.d, p.kept[0].generation), 0);
	past_write(&p, 0, SIZE, 2);
	ck_assert_int_eq(tandem_delete_snapshot(temp.t, p.kept[0].number, true, false, &why),
			 -EBUSY);
	settle_and_collect();
	ck_assert_int_eq(moment_read(p.d, p.kept[0].generation, &byte, 1, SIZE - 1, &done), 0);
	ck_assert_uint_eq(byte, 1);
	moment_close(p.d, p.kept[0].generation);
	past_delete(&p, 0);
	ck_assert(past_is_empty(&p));
}
END_TEST

static size_t store_files(void)
{
	char pattern[PATH_MAX + 64];
	glob_t found;
	size_t count;

	snprintf(pattern, sizeof(pattern), "%s/.tandem/past/%u/store/*", temp.dir, p.d->number);
	ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
	count = found.gl_pathc;
	globfree(&found);
	return count;
}

/* The file that is appended to is only emptied, and after a stop it is another one. */
START_TEST(files_go_over_stops)
{
	for (unsigned i = 0; i < 4; i++) {
		if (i)
			again();
		past_write(&p, 0, SIZE, 1 + 2 * i);
		past_snapshot(&p, "a");
		past_write(&p, 0, SIZE, 2 + 2 * i);
		settle_and_collect();
		ck_assert_uint_le(store_files(), 2);
		delete_all();
		ck_assert(past_is_empty(&p));
		ck_assert(unit_until(collected, NULL, 10));
		ck_assert_uint_eq(store_files(), 1);
	}
}
END_TEST

/* What was dropped and not collected is collected after a stop. */
START_TEST(goes_on_after_a_stop)
{
	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "a");
	past_write(&p, 0, SIZE, 2);
	past_disk_let_go(&p);
	temp_close();
	temp_open(); /* without a collector */
	past_disk_again(&p);
	delete_all();
	ck_assert_uint_eq(totals().count, BLOCKS);
	again();
	ck_assert(past_is_empty(&p));
	past_check_now(&p);
}
END_TEST

/* Some moment that is kept is after `before`, and not after v. */
static bool is_needed(const struct version *v, uint64_t before)
{
	for (size_t i = 0; i < p.count; i++)
		if (p.kept[i].generation > before && p.kept[i].generation <= v->last)
			return true;
	return false;
}

static void check_that_all_are_needed(void)
{
	struct version v[64], last = { 0 }, after = { 0 };
	size_t count;

	do {
		ck_assert_int_eq(versions_of_blocks(temp.t->catalogue, p.d->number, 0,
						    after.last ? &after : NULL, v, UNIT_LENGTH(v),
						    &count),
				 0);
		for (size_t i = 0; i < count; i++) {
			bool first = !last.last || last.block != v[i].block;

			ck_assert_msg(is_needed(&v[i], first ? 0 : last.last),
				      "block %llu has a version until %llu that nobody needs",
				      (unsigned long long)v[i].block,
				      (unsigned long long)v[i].last);
			last = after = v[i];
		}
	} while (count);
}

/* Many are dropped before the first is collected, with some between them that stay. */
START_TEST(many_at_once)
{
	for (unsigned round = 0; round < unit_scaled(5); round++) {
		while (p.count < 50) {
			past_scribble(&p);
			past_scribble(&p);
			past_snapshot(&p, NULL);
		}
		past_scribble(&p);
		settle_and_collect();
		past_disk_let_go(&p);
		temp_close();
		temp_open(); /* without a collector */
		past_disk_again(&p);
		while (p.count > 8)
			past_delete(&p, unit_below(&p.seed, p.count));
		again();
		settle_and_collect();
		past_check_all(&p);
		check_that_all_are_needed();
	}
	delete_all();
	ck_assert(past_is_empty(&p));
}
END_TEST

/* ---- a death between the catalogue and the space ---- */

#define BIG (3072ull * PAST_BLOCK)

static _Atomic bool dies_at_space;

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	int (*real)(int, int, off_t, off_t) = dlsym(RTLD_NEXT, "fallocate");

	if (mode & FALLOC_FL_PUNCH_HOLE && atomic_load(&dies_at_space))
		raise(SIGKILL);
	return real(fd, mode, offset, len);
}

static uint64_t taken(void)
{
	return segments_allocated(history_store(atomic_load(&p.d->history)));
}

static bool has_given_back(void *least)
{
	return collected(NULL) && taken() <= *(uint64_t *)least;
}

/* In the only segment are the versions of another moment, too. */
START_TEST(space_that_a_crash_left)
{
	uint64_t least = BIG / 4 + (1 << 20);
	pid_t pid;
	int status;

	past_disk_end(&p);
	past_disk_begin(&p, "big.img", BIG);
	past_write(&p, 0, BIG, 1);
	past_snapshot(&p, "one");
	past_write(&p, 0, BIG, 2);
	past_snapshot(&p, "two");
	for (uint64_t off = 0; off < BIG; off += 4 * PAST_BLOCK)
		past_write(&p, off, PAST_BLOCK, 3);
	settle_and_collect();
	past_disk_let_go(&p);
	temp_close();
	pid = fork();
	if (pid == 0) {
		begin();
		past_disk_again(&p);
		atomic_store(&dies_at_space, true);
		past_delete(&p, 0);
		pause();
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	past_forget(&p, 0);
	temp_open(); /* without a collector */
	past_disk_again(&p);
	ck_assert_uint_eq(totals().count, BIG / PAST_BLOCK / 4);
	ck_assert_uint_ge(taken(), BIG);
	ck_assert(!history_is_swept(atomic_load(&p.d->history)));
	/* A clean stop before it has been looked for changes nothing. */
	past_disk_let_go(&p);
	temp_close();
	begin();
	past_disk_again(&p);
	ck_assert_msg(unit_until(has_given_back, &least, 10), "it takes %llu bytes",
		      (unsigned long long)taken());
	past_disk_let_go(&p);
	temp_close();
	begin();
	past_disk_again(&p);
	ck_assert(history_is_swept(atomic_load(&p.d->history)));
	past_check_all(&p);
	delete_all();
	ck_assert(past_is_empty(&p));
}
END_TEST

UNIT_MAIN("collector", setup, teardown, one, shared, exclusive, model, read_meanwhile,
	  files_go_over_stops, goes_on_after_a_stop, many_at_once, space_that_a_crash_left)

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a target lacks is known before it is answered: whenever the daemon dies then, no Failover
 * loses it unasked.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "temp_pair.h"
#include "unit.h"

/* ---- files that fail, and where a daemon dies ---- */

static _Atomic ino_t bad[2];       /* 0: none */
static atomic_bool slow;           /* the catalogue is */
static atomic_bool flushes_only;   /* what fails takes writes */
static atomic_int calls_left = -1; /* of those that make something durable; -1: it does not die */

/* Also for the libraries: what the catalogue makes durable, LMDB does. */
#define OURS __attribute__((visibility("default")))

static bool fails(int fd)
{
	struct stat st;

	for (size_t i = 0; i < 2; i++)
		if (atomic_load(&bad[i]) && !fstat(fd, &st) && st.st_ino == atomic_load(&bad[i]))
			return true;
	return false;
}

static void maybe_die(void)
{
	if (atomic_load(&calls_left) >= 0 && atomic_fetch_sub(&calls_left, 1) == 0)
		raise(SIGKILL);
}

OURS ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	errno = EIO;
	return fails(fd) && !atomic_load(&flushes_only) ? -1
							: syscall(SYS_pwrite64, fd, buf, len, off);
}

/* Who commits is late. */
static void be_slow(int fd)
{
	char link[40], path[PATH_MAX];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = atomic_load(&slow) ? readlink(link, path, sizeof(path)) : 0;
	if (len > 8 && !memcmp(path + len - 8, "data.mdb", 8))
		usleep(300000);
}

OURS int fdatasync(int fd)
{
	be_slow(fd);
	maybe_die();
	errno = EIO;
	return fails(fd) ? -1 : syscall(SYS_fdatasync, fd);
}

static void break_file(size_t i, const char *name)
{
	struct stat st;

	ck_assert_int_eq(stat(temp_path(name), &st), 0);
	atomic_store(&bad[i], st.st_ino);
}

static void mend_files(void)
{
	atomic_store(&bad[0], 0);
	atomic_store(&bad[1], 0);
	atomic_store(&flushes_only, false);
}

static void clean(void)
{
	mend_files();
	teardown();
}

/* ---- a daemon that dies ---- */

static _Atomic uint64_t *answered; /* the last one; shared with it */

static void prepare(void)
{
	answered = mmap(NULL, sizeof(*answered), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	ck_assert(answered != MAP_FAILED);
	setup();
	make();
	await(COPY_SYNCHRONIZED);
}

static bool is_recorded(void *arg)
{
	(void)arg;
	return temp_events("To=Broken") > 0;
}

#define PLACE (9 * REGION)

/* One write after the other, which can be told. */
static int write_next(void)
{
	uint64_t buf[512] = { atomic_load(answered) + 1 };
	int err = disk_write(source, buf, sizeof(buf), PLACE, 0);

	if (!err)
		atomic_store(answered, buf[0]);
	return err;
}

/* In its file, because nobody reads the disk of one that is Broken. */
static uint64_t written(const char *name)
{
	int fd = open(temp_path(name), O_RDONLY);
	uint64_t n;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &n, sizeof(n), PLACE), sizeof(n));
	close(fd);
	return n;
}

static void write_some(void)
{
	for (unsigned i = 0; i < 3; i++)
		write_next();
}

static void lose_target(void)
{
	break_file(0, "b.img");
	write_some();
	ck_assert(unit_until(is_recorded, NULL, 20));
}

static void *write_on(void *arg)
{
	for (;;)
		write_next();
	return arg;
}

/* It is stopped, which is recorded behind, too. */
static void suspend_and_write(void)
{
	uint64_t last = atomic_load(answered);
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, write_on, NULL), 0);
	do_it(OP_SUSPEND);
	while (atomic_load(answered) < last + 100)
		sched_yield();
}

/* Something is marked, because the source failed, and what is written there the target does not get. */
static void lose_source_and_write(void)
{
	break_file(0, "a.img");
	ck_assert_int_eq(write_next(), -EIO);
	break_file(1, "b.img"); /* so that it stays marked */
	atomic_store(&bad[0], 0);
	write_some();
	ck_assert(unit_until(is_recorded, NULL, 20));
}

/* Dies at the so-many-th call that makes something durable. False: it came to its end. */
static bool do_and_die(void (*fn)(void), int calls)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		begin();
		open_source();
		await(COPY_SYNCHRONIZED);
		temp_forget();
		atomic_store(&slow, true);
		atomic_store(&calls_left, calls);
		fn();
		raise(SIGUSR1); /* no exit, at which sanitizers look around */
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGUSR1);
	return WTERMSIG(status) == SIGKILL;
}

static int would_fail_over(bool force)
{
	why = (struct why){ 0 };
	return tandem_operate_pair(temp.t, number, OP_FAILOVER, facts().state, force, true, &why);
}

/* Whether the target lacks something. Then nobody goes on in it unasked, unless he has stopped it. */
static bool check_without_source(void)
{
	bool lacks;

	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.away")), 0);
	begin();
	lacks = written("b.img") < atomic_load(answered);
	if (lacks && facts().state != COPY_SUSPENDED)
		ck_assert_int_eq(would_fail_over(false), -EPERM);
	ck_assert_int_eq(would_fail_over(true), 0);
	temp_close();
	ck_assert_int_eq(rename(temp_path("a.away"), temp_path("a.img")), 0);
	return lacks;
}

static void synchronize_again(void)
{
	begin();
	open_source();
	if (facts().state == COPY_SUSPENDED)
		do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
	ck_assert_int_eq(write_next(), 0);
}

static void die_everywhere(void (*fn)(void))
{
	unsigned lacked = 0, all = 0;
	bool died = true;

	for (int calls = 0; died; calls++) {
		close_source();
		temp_close();
		died = do_and_die(fn, calls);
		all++;
		lacked += check_without_source();
		synchronize_again();
	}
	printf("after %u of %u deaths the target lacked something\n", lacked, all);
	ck_assert_uint_gt(lacked, 0);
	ck_assert_uint_gt(all, lacked);
}

START_TEST(a_lost_target)
{
	die_everywhere(lose_target);
}
END_TEST

START_TEST(a_stopped_target)
{
	die_everywhere(suspend_and_write);
}
END_TEST

START_TEST(what_differs_is_written)
{
	die_everywhere(lose_source_and_write);
}
END_TEST

/* ---- who fails over, and comes back ---- */

/* With something that only the source has, which is not recorded. */
static void end_in_the_middle(void)
{
	for (int calls = 0; calls < 100; calls++) {
		close_source();
		temp_close();
		if (do_and_die(lose_target, calls) && written("b.img") < atomic_load(answered))
			return;
		begin();
		open_source();
		await(COPY_SYNCHRONIZED);
	}
	ck_abort_msg("it is never in the middle");
}

START_TEST(with_force_and_back)
{
	struct disk *old;

	end_in_the_middle();
	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.away")), 0);
	begin();
	ck_assert(facts().whole); /* an older one */
	ck_assert_int_eq(operate(OP_FAILOVER, false), -EPERM);
	ck_assert_ptr_nonnull(strstr(why.message, "lacks what was written to a.img"));
	ck_assert_int_eq(facts().state, COPY_BROKEN);
	ck_assert_msg(!operate(OP_FAILOVER, true), "%s", why.message);
	ck_assert_int_eq(facts().state, COPY_FAILEDOVER);
	ck_assert_int_eq(rename(temp_path("a.away"), temp_path("a.img")), 0);
	temp_rescan();
	/* The old source has what was answered. */
	ck_assert_int_eq(operate(OP_FAILBACK, false), -EPERM);
	ck_assert_msg(!operate(OP_FAILBACK, true), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
	/* And now it lacks nothing. */
	do_it(OP_FAILOVER);
	old = temp_disk("a.img");
	ck_assert_ptr_nonnull(old);
	disk_unref(old);
}
END_TEST

/* It lacks nothing that anybody was told of. */
START_TEST(nothing_was_written_since)
{
	close_source();
	ck_assert_int_eq(rename(temp_path("b.img"), temp_path("b.away")), 0);
	temp_rescan();
	ck_assert(unit_until(is_recorded, NULL, 20));
	temp_close();
	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.away")), 0);
	ck_assert_int_eq(rename(temp_path("b.away"), temp_path("b.img")), 0);
	begin();
	ck_assert_int_eq(facts().state, COPY_BROKEN);
	do_it(OP_FAILOVER);
	ck_assert_int_eq(rename(temp_path("a.away"), temp_path("a.img")), 0);
	temp_rescan();
	do_it(OP_FAILBACK);
	await(COPY_SYNCHRONIZED);
}
END_TEST

/* ---- and if it cannot be made so ---- */

static void break_marks(void)
{
	char name[40];

	snprintf(name, sizeof(name), ".tandem/pairs/%u", number);
	break_file(1, name);
}

static bool wrote(void *arg)
{
	(void)arg;
	return !write_next();
}

START_TEST(what_cannot_be_remembered_is_not_answered)
{
	ck_assert_int_eq(write_next(), 0); /* so that it is active */
	break_file(0, "b.img");
	break_marks();
	ck_assert_int_eq(write_next(), -EIO);
	ck_assert_int_eq(disk_flush(source), -EIO);
	ck_assert(!atomic_load(&source->broken_flush)); /* it is durable there */
	ck_assert_int_eq(disk_resize(source, SIZE - MIB, true), -EIO);
	atomic_store(&bad[1], 0);
	ck_assert(unit_until(wrote, NULL, 20));
	ck_assert_int_eq(disk_flush(source), 0);
	mend_files();
}
END_TEST

/* ---- what cannot be flushed is lost like what cannot be written ---- */

static void flush_source(void)
{
	ck_assert_int_eq(change(source, 0, REGION), 0);
	ck_assert_int_eq(disk_flush(source), 0);
}

static void flush_target(void)
{
	struct disk *target = temp_disk("b.img");

	ck_assert_int_eq(change(source, 0, REGION), 0);
	ck_assert_int_eq(disk_open(target, false), 0);
	ck_assert_int_eq(disk_flush(target), -EIO);
	disk_close(target);
	disk_unref(target);
}

static void copy_a_generation(void)
{
	struct pair_settings soon = { .has_objective = true, .objective_s = 1 };

	ck_assert_int_eq(tandem_set_pair(temp.t, number, &soon, false, &why), 0);
	ck_assert_int_eq(change(source, 0, REGION), 0);
}

static void only_write(void)
{
	ck_assert_int_eq(change(source, 0, REGION), 0);
}

/* It is Broken, its source notices nothing, and says what makes it whole again. */
static void cannot_be_flushed(void (*finds)(void))
{
	struct disk *target = temp_disk("b.img");

	atomic_store(&flushes_only, true);
	break_file(0, "b.img");
	finds();
	await(COPY_BROKEN);
	ck_assert_str_eq(temp_state("b.img"), "Failed");
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	ck_assert_int_eq(change(source, 2 * REGION, REGION), 0);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert_uint_ge(facts().differs, 2 * REGION);
	mend_files();
	ck_assert_int_eq(operate(OP_RESYNC_REPLICA, false), -ENOENT);
	ck_assert_str_eq(why.message, "b.img is Failed");
	ck_assert_str_eq(why.advice, "Accept Force of it, after which all of it is copied");
	ck_assert_int_eq(tandem_accept_disk(temp.t, target, true, false, &why), 0);
	disk_unref(target);
	await(COPY_SYNCHRONIZED);
	do_it(OP_SPLIT);
	ck_assert(is_same("a.img", "b.img"));
}

START_TEST(not_with_its_source)
{
	cannot_be_flushed(flush_source);
}
END_TEST

START_TEST(not_by_others)
{
	cannot_be_flushed(flush_target);
}
END_TEST

START_TEST(not_by_the_keeper)
{
	cannot_be_flushed(only_write);
}
END_TEST

START_TEST(not_as_a_generation)
{
	do_it(OP_RESET_TO_ASYNC);
	cannot_be_flushed(copy_a_generation);
}
END_TEST

UNIT_MAIN("outdated targets", prepare, clean, a_lost_target, a_stopped_target,
	  what_differs_is_written, with_force_and_back, nothing_was_written_since,
	  what_cannot_be_remembered_is_not_answered, not_with_its_source, not_by_others,
	  not_by_the_keeper, not_as_a_generation)

// SPDX-License-Identifier: GPL-2.0-or-later
/* A restore is aborted while its image follows: the disk is what it was before. */
#include <dlfcn.h>
#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "past_disk.h"
#include "snapshots_inner.h"
#include "unit.h"

#define SIZE (64 * PAST_BLOCK)

static struct past_disk p;
static struct why why;
static pthread_t tester;

/* ---- fakes ---- */

/* Whoever fills asks the catalogue for each block, and gets its answer late. */
static _Atomic bool slow;

int mdb_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor)
{
	static const struct timespec late = { .tv_nsec = 3000000 };
	int (*real)(MDB_txn *, MDB_dbi, MDB_cursor **) = dlsym(RTLD_NEXT, "mdb_cursor_open");

	if (atomic_load(&slow) && !pthread_equal(pthread_self(), tester))
		nanosleep(&late, NULL);
	return real(txn, dbi, cursor);
}

/* The test's own commits; the one that is 0 fails. */
static int commits_left = -1;

int mdb_txn_commit(MDB_txn *txn)
{
	int (*real)(MDB_txn *) = dlsym(RTLD_NEXT, "mdb_txn_commit");

	if (pthread_equal(pthread_self(), tester) && commits_left >= 0 && commits_left-- == 0) {
		mdb_txn_abort(txn);
		return ENOSPC;
	}
	return real(txn);
}

/* ---- */

static void begin(void)
{
	temp_open();
	ck_assert_int_eq(snapshots_start(temp.t), 0);
}

static void setup(void)
{
	tester = pthread_self();
	temp_tandem_begin();
	temp.options.block_size = PAST_BLOCK;
	begin();
	past_disk_begin(&p, "a.img", SIZE);
}

static void teardown(void)
{
	atomic_store(&slow, false);
	past_disk_end(&p);
	temp_tandem_end();
}

static void now_is(const struct past_moment *m)
{
	memcpy(p.now, m->bytes, p.size);
}

static bool is_running(bool back)
{
	struct restore_facts f;

	return restore_facts(p.d, &f) && f.back == back;
}

static void await_end(void)
{
	struct restore_facts f;

	atomic_store(&slow, false);
	for (int i = 0; restore_facts(p.d, &f); i++) {
		ck_assert_int_lt(i, 10000);
		usleep(1000);
	}
}

/* To the first moment; the last one is what was before. */
static void restore(void)
{
	struct snapshot_facts before;
	int err;

	atomic_store(&slow, true);
	err = tandem_restore(temp.t, &p.d, &p.kept[0].generation, 1, true, false, &before, &why);
	ck_assert_msg(!err, "%s", why.message);
	past_keep(&p, &before);
	now_is(&p.kept[0]);
}

/* Some of it is filled by now, and some is not. */
static void begin_to_restore(void)
{
	struct restore_facts f = { 0 };

	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "one");
	past_write(&p, 0, SIZE, 2);
	restore();
	while (restore_facts(p.d, &f) && !f.done)
		usleep(1000);
	ck_assert(f.done > 0 && f.done < f.total && is_running(false));
}

static int abort_it(bool force)
{
	return tandem_abort_restore(temp.t, &p.d, 1, force, false, &why);
}

static bool count_moment(void *arg, const struct moment_record *m, uint64_t bytes,
			 const char *snapshot)
{
	*(size_t *)arg += 1;
	ck_assert_ptr_nonnull(snapshot);
	return true;
}

/* Nobody sees more moments than there are snapshots. */
static void check_moments(void)
{
	struct moment_spec last = { .how = MOMENT_GENERATION,
				    .value = atomic_load(&temp.t->generation) - 1 };
	uint64_t newest = p.kept[p.count - 1].generation;
	struct past_facts f;
	struct moment_record m;
	size_t count = 0;

	ck_assert_int_eq(disk_history(p.d, count_moment, &count), 0);
	ck_assert_uint_eq(count, p.count);
	disk_past(p.d, &f);
	ck_assert_uint_eq(f.moments, p.count);
	ck_assert_uint_eq(f.generation, newest);
	ck_assert_int_eq(disk_moment(p.d, &last, &m), 0);
	ck_assert_uint_eq(m.generation, newest);
	last = (struct moment_spec){ .how = MOMENT_TIME, .value = past_now(temp.t->snapshots) };
	ck_assert_int_eq(disk_moment(p.d, &last, &m), 0);
	ck_assert_uint_eq(m.generation, newest);
}

static void check_that_nothing_is_left(void)
{
	await_end();
	past_check_all(&p);
	while (p.count)
		past_delete(&p, 0);
	ck_assert(past_is_empty(&p));
	past_check_now(&p);
}

START_TEST(it_is_as_before)
{
	char text[100];
	struct past_facts f;

	begin_to_restore();
	ck_assert_int_eq(tandem_abort_restore(temp.t, &p.d, 1, false, true, &why), 0);
	past_check_now(&p);
	ck_assert_int_eq(abort_it(false), 0);
	ck_assert(is_running(true));
	now_is(&p.kept[1]);
	past_check_all(&p);
	check_moments();
	disk_past(p.d, &f);
	ck_assert(f.aborting && !f.restoring);
	ck_assert_int_eq(abort_it(true), -EBUSY);
	ck_assert_int_eq(tandem_snapshot(temp.t, &p.d, 1, "x", false, NULL, &why), -EBUSY);
	/* It is the guest's again at once. */
	past_write(&p, 3 * PAST_BLOCK, 7 * PAST_BLOCK + 100, 3);
	past_write(&p, 60 * PAST_BLOCK + 7, 3 * PAST_BLOCK, 0);
	past_check_all(&p);
	await_end();
	snprintf(text, sizeof(text),
		 "JobEnded disks/a.img Operation=RestoreTo Moment=g%llu JobState=Terminated",
		 (unsigned long long)p.kept[0].generation);
	ck_assert_uint_eq(temp_events(text), 1);
	ck_assert_uint_eq(temp_events("JobStarted disks/a.img Operation=Abort"), 1);
	ck_assert(temp_event_comes("Operation=Abort"));
	check_moments();
	past_snapshot(&p, "two");
	check_moments();
	past_write(&p, 0, SIZE, 4);
	check_that_nothing_is_left();
}
END_TEST

START_TEST(what_was_written_since_is_lost)
{
	begin_to_restore();
	past_write(&p, PAST_BLOCK / 2, 2 * PAST_BLOCK, 5);
	past_write(&p, 50 * PAST_BLOCK, 10 * PAST_BLOCK, 6);
	past_write(&p, 63 * PAST_BLOCK, PAST_BLOCK, 0);
	ck_assert_int_eq(abort_it(false), -EPERM);
	ck_assert(is_running(false));
	past_check_all(&p);
	ck_assert_int_eq(abort_it(true), 0);
	now_is(&p.kept[1]);
	past_check_all(&p);
	check_that_nothing_is_left();
}
END_TEST

START_TEST(who_has_it_open_is_asked)
{
	begin_to_restore();
	past_open(&p);
	ck_assert_int_eq(abort_it(false), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why.message, "is open (1)"));
	past_check_all(&p);
	ck_assert_int_eq(abort_it(true), 0);
	now_is(&p.kept[1]);
	past_check_all(&p);
	past_close(&p);
	check_that_nothing_is_left();
}
END_TEST

START_TEST(there_must_be_one)
{
	ck_assert_int_eq(abort_it(true), -EBUSY);
	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "one");
	ck_assert_int_eq(abort_it(true), -EBUSY);
	past_write(&p, 0, SIZE, 2);
	restore();
	await_end();
	ck_assert_int_eq(abort_it(true), -EBUSY);
	past_check_all(&p);
	check_that_nothing_is_left();
}
END_TEST

/* Whatever cannot be recorded: the restore goes on, and can be aborted then. */
START_TEST(what_cannot_be_recorded)
{
	int failures = 0, err;

	begin_to_restore();
	do {
		commits_left = failures;
		err = abort_it(true);
		if (err) {
			ck_assert_int_eq(err, -ENOSPC);
			ck_assert(is_running(false));
			past_check_now(&p);
			check_moments();
		}
		failures += commits_left < 0;
	} while (err);
	ck_assert_int_ge(failures, 1);
	commits_left = -1;
	ck_assert(is_running(true));
	now_is(&p.kept[1]);
	past_check_all(&p);
	check_that_nothing_is_left();
}
END_TEST

/* In a process that is gone then: what it has done is for us to find. */
static void die_restoring(bool aborted)
{
	struct snapshot_facts f;
	pid_t pid;
	int status;

	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "one");
	past_write(&p, 0, SIZE, 2);
	past_disk_let_go(&p);
	temp_close();
	pid = fork();
	if (pid == 0) {
		tester = pthread_self();
		begin();
		past_disk_again(&p);
		restore();
		usleep(100000); /* some of it; any will do */
		_exit(aborted ? abort_it(true) || !is_running(true) : !is_running(false));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	atomic_store(&slow, true);
	begin();
	past_disk_again(&p);
	f = (struct snapshot_facts){ .generation = 0 };
	past_keep(&p, &f);
}

static bool find_before(void *arg, const struct snapshot_facts *s)
{
	if (!strncmp(s->name, "before-restore-", 15)) {
		p.kept[1].generation = s->generation;
		p.kept[1].number = s->number;
	}
	return true;
}

START_TEST(a_death)
{
	die_restoring(true);
	ck_assert(is_running(true));
	snapshots_list(temp.t, p.d, find_before, NULL);
	past_check_all(&p);
	check_moments();
	ck_assert_int_eq(abort_it(true), -EBUSY);
	check_that_nothing_is_left();
}
END_TEST

/* Nobody knows whether it was written since. */
START_TEST(after_a_death)
{
	die_restoring(false);
	snapshots_list(temp.t, p.d, find_before, NULL);
	ck_assert(is_running(false));
	ck_assert_int_eq(abort_it(false), -EPERM);
	ck_assert_int_eq(abort_it(true), 0);
	past_check_all(&p);
	check_that_nothing_is_left();
}
END_TEST

static int is_moment(void *arg, const struct moment_record *m)
{
	return m->generation == *(uint64_t *)arg;
}

/* A death came between the end of an abort and that of its hidden moment. */
START_TEST(a_hidden_moment_of_no_restore_goes)
{
	struct moment_record m = { .size = SIZE, .hidden = true };
	struct catalogue_txn *txn;
	int left = 10000;

	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "one");
	past_write(&p, 0, SIZE, 2);
	m.generation = atomic_load(&temp.t->generation);
	m.time_ms = past_now(temp.t->snapshots);
	ck_assert_int_eq(catalogue_begin(temp.t->catalogue, &txn), 0);
	ck_assert_int_eq(moment_put(txn, p.d->number, &m), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	past_disk_let_go(&p);
	temp_close();
	begin();
	past_disk_again(&p);
	while (left && moments_each(temp.t->catalogue, p.d->number, is_moment, &m.generation)) {
		usleep(1000);
		left--;
	}
	ck_assert_int_gt(left, 0);
	check_that_nothing_is_left();
}
END_TEST

UNIT_MAIN("restore abort", setup, teardown, it_is_as_before, what_was_written_since_is_lost,
	  who_has_it_open_is_asked, there_must_be_one, what_cannot_be_recorded, a_death,
	  after_a_death, a_hidden_moment_of_no_restore_goes)

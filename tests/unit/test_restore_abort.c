// SPDX-License-Identifier: GPL-2.0-or-later
/* A restore is aborted while its image follows: the disk is what it was before. */
#include <dlfcn.h>
#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "jobs.h"
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
	static const struct timespec late = { .tv_nsec = 30000000 };
	int (*real)(MDB_txn *, MDB_dbi, MDB_cursor **) = dlsym(RTLD_NEXT, "mdb_cursor_open");

	if (atomic_load(&slow) && !pthread_equal(pthread_self(), tester))
		nanosleep(&late, NULL);
	return real(txn, dbi, cursor);
}

/* So many of the test's own commits fail, from the end of that generation on. */
static uint64_t fail_from;
static int failures;

int mdb_txn_commit(MDB_txn *txn)
{
	int (*real)(MDB_txn *) = dlsym(RTLD_NEXT, "mdb_txn_commit");

	if (pthread_equal(pthread_self(), tester) && failures &&
	    atomic_load(&temp.t->generation) > fail_from) {
		failures--;
		mdb_txn_abort(txn);
		return ENOSPC;
	}
	return real(txn);
}

/* So many of the test's own threads cannot be started. */
static int threads_fail;

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *),
		    void *) = dlsym(RTLD_NEXT, "pthread_create");

	if (threads_fail && pthread_equal(pthread_self(), tester)) {
		threads_fail--;
		return EAGAIN;
	}
	return real(thread, attr, fn, arg);
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

static bool has_ended(void *arg)
{
	struct restore_facts f;

	return !restore_facts(p.d, &f);
}

static void await_end(void)
{
	atomic_store(&slow, false);
	ck_assert(unit_until(has_ended, NULL, 20));
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
	struct history *h;
	uint32_t job;
	uint64_t g;

	begin_to_restore();
	job = job_of_disk(temp.t->jobs, p.d->number, false);
	/* However late somebody comes who began to make a snapshot before. */
	h = atomic_load(&p.d->history);
	ck_assert_int_eq(generation_close(temp.t, &h, 1, MOMENT_NAMED, 0, NULL, &g), -EBUSY);
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
		 "JobEnded disks/a.img Operation=RestoreTo Moment=g%llu Job=%u JobState=Terminated",
		 (unsigned long long)p.kept[0].generation, job);
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

static bool sum(void *arg, uint64_t offset, uint64_t length, bool zero)
{
	*(uint64_t *)arg += length;
	return true;
}

static void all_has_changed_since(uint64_t generation)
{
	uint64_t bytes = 0;

	ck_assert_int_eq(disk_changes(p.d, generation, UINT64_MAX, sum, &bytes), 0);
	ck_assert_uint_eq(bytes, SIZE);
}

START_TEST(what_is_not_filled_is_a_change)
{
	begin_to_restore();
	all_has_changed_since(p.kept[1].generation);
	ck_assert_int_eq(abort_it(false), 0);
	all_has_changed_since(p.kept[0].generation);
	await_end();
	all_has_changed_since(p.kept[0].generation);
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

static enum job_state state_of(uint32_t job)
{
	struct job_facts f;

	ck_assert_int_eq(job_numbered(temp.t->jobs, job, &f), 0);
	return f.state;
}

static bool waits(void *arg)
{
	struct job_facts f;

	return !job_numbered(temp.t->jobs, *(uint32_t *)arg, &f) &&
	       !strcmp(f.waits_for, "CopyRate");
}

static bool is_completed(void *arg)
{
	return state_of(*(uint32_t *)arg) == JOB_COMPLETED;
}

/* One that waits for its turn is aborted, too, and the way back is not suspended. */
START_TEST(it_waits)
{
	struct jobs *js = temp.t->jobs;
	struct job_facts f;
	uint32_t job, back;

	jobs_set_limits(js, 1, 0);
	begin_to_restore();
	job = job_of_disk(js, p.d->number, false);
	ck_assert(unit_until(waits, &job, 10));
	job_suspend(js, job, true);
	ck_assert_int_eq(abort_it(false), 0);
	ck_assert_int_eq(state_of(job), JOB_TERMINATED);
	back = job_of_disk(js, p.d->number, false);
	ck_assert_uint_ne(back, job);
	ck_assert_int_eq(job_numbered(js, back, &f), 0);
	ck_assert_str_eq(f.operation, "Abort");
	ck_assert(!f.ended && f.state != JOB_SUSPENDED);
	now_is(&p.kept[1]);
	past_check_all(&p);
	jobs_set_limits(js, 0, 0);
	check_that_nothing_is_left();
	ck_assert(unit_until(is_completed, &back, 10));
}
END_TEST

/* It is refused, and the restore goes on. */
static void abort_in_vain(int count)
{
	fail_from = atomic_load(&temp.t->generation);
	failures = count;
	ck_assert_int_eq(abort_it(true), -ENOSPC);
	ck_assert_int_eq(failures, 0);
	ck_assert(is_running(false));
	past_check_all(&p);
	check_moments();
	past_write(&p, 40 * PAST_BLOCK + 5, 3 * PAST_BLOCK, 7);
	past_check_all(&p);
}

/* The hidden moment that was made for nothing goes at once. */
START_TEST(it_cannot_be_recorded)
{
	begin_to_restore();
	abort_in_vain(1);
	ck_assert_int_eq(abort_it(true), 0);
	now_is(&p.kept[1]);
	past_check_all(&p);
	await_end();
	past_delete(&p, 1);
	past_write(&p, 0, SIZE, 2);
	restore();
	abort_in_vain(1);
	check_that_nothing_is_left();
}
END_TEST

/* It may be what somebody has recorded, and stays until the next start. */
START_TEST(nor_can_that)
{
	begin_to_restore();
	abort_in_vain(2);
	await_end();
	past_check_all(&p);
	past_disk_let_go(&p);
	temp_close();
	begin();
	past_disk_again(&p);
	check_that_nothing_is_left();
}
END_TEST

/* In a process that is gone then: what it has done is for us to find. */
static void die_in_the_middle(bool aborted)
{
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
		usleep(300000); /* some of it; any will do */
		if (!(aborted && abort_it(true)) && is_running(aborted))
			raise(SIGKILL);
		_exit(1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	atomic_store(&slow, true);
}

static void die_restoring(bool aborted)
{
	struct snapshot_facts f;

	die_in_the_middle(aborted);
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

/* Its thread could not be started. */
START_TEST(nobody_fills_it)
{
	struct restore_facts f;
	struct past_facts past;

	die_in_the_middle(false);
	temp_open();
	threads_fail = 1;
	ck_assert_int_eq(snapshots_start(temp.t), 0);
	ck_assert_int_eq(threads_fail, 0);
	ck_assert_uint_eq(temp_events("Stalled disks/a.img"), 1);
	past_disk_again(&p);
	past_keep(&p, &(struct snapshot_facts){ .generation = 0 });
	snapshots_list(temp.t, p.d, find_before, NULL);
	now_is(&p.kept[0]);
	past_check_all(&p);
	memcpy(p.now, p.kept[1].bytes, SIZE);
	ck_assert(restore_facts(p.d, &f) && !f.followed && !f.back && f.written);
	ck_assert_uint_eq(f.from, p.kept[0].generation);
	disk_past(p.d, &past);
	ck_assert(past.restoring && !past.aborting);
	ck_assert_uint_eq(past.restored, 0);
	/* What it is served from stays. */
	ck_assert(moment_is_read(p.d, f.from) && moment_is_read(p.d, p.kept[1].generation));
	ck_assert_int_eq(tandem_abort_restore(temp.t, &p.d, 1, true, true, &why), 0);
	threads_fail = 1;
	ck_assert_int_eq(abort_it(true), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(why.message, "the restore of a.img cannot go on"));
	ck_assert(restore_facts(p.d, &f) && !f.followed);
	ck_assert(moment_is_read(p.d, f.from));
	/* It goes on first, as its threads can be started now. */
	ck_assert_int_eq(abort_it(false), -EPERM);
	ck_assert(restore_facts(p.d, &f) && f.followed);
	ck_assert_int_eq(abort_it(true), 0);
	ck_assert(is_running(true));
	past_check_all(&p);
	check_that_nothing_is_left();
}
END_TEST

/* What it is restored from was kept meanwhile, and it is filled as at a start. */
START_TEST(its_image_comes_back)
{
	die_in_the_middle(false);
	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.txt")), 0);
	begin();
	ck_assert_str_eq(temp_state("a.img"), "Missing");
	ck_assert_int_eq(rename(temp_path("a.txt"), temp_path("a.img")), 0);
	temp_rescan();
	past_disk_again(&p);
	past_keep(&p, &(struct snapshot_facts){ .generation = 0 });
	snapshots_list(temp.t, p.d, find_before, NULL);
	now_is(&p.kept[0]);
	ck_assert(is_running(false));
	ck_assert(moment_is_read(p.d, p.kept[0].generation));
	past_check_all(&p);
	check_that_nothing_is_left();
}
END_TEST

static void now_is_the_image(void)
{
	FILE *image = fopen(temp_path("a.img"), "re");

	ck_assert_uint_eq(fread(p.now, 1, SIZE, image), SIZE);
	fclose(image);
}

/* Another program wrote to it, and what it holds now is what it is: nothing more is restored. */
START_TEST(what_is_accepted_is_no_restore)
{
	uint64_t generation;

	die_in_the_middle(false);
	temp_open(); /* what is in the write log gets into the image */
	temp_close();
	temp.options.read_only = true; /* so that nobody goes on with it */
	begin();
	past_disk_again(&p);
	temp_scribble("a.img");
	temp_rescan();
	generation = p.kept[0].generation;
	past_forget(&p, 0);
	ck_assert_str_eq(temp_state("a.img"), "Changed");
	ck_assert(moment_is_read(p.d, generation));
	/* What cannot be recorded changes nothing. */
	fail_from = 0;
	failures = 1;
	ck_assert_int_eq(tandem_accept_disk(temp.t, p.d, true, false, &why), -ENOSPC);
	ck_assert_str_eq(temp_state("a.img"), "Changed");
	ck_assert(moment_is_read(p.d, generation));
	ck_assert_uint_ne(history_restore(atomic_load(&p.d->history)).before, 0);
	ck_assert_int_eq(tandem_accept_disk(temp.t, p.d, true, false, &why), 0);
	now_is_the_image();
	past_disk_let_go(&p);
	temp_close();
	temp.options.read_only = false;
	begin();
	past_disk_again(&p);
	past_check_now(&p);
	past_write(&p, SIZE / 2 + 100, 1000, 9);
	past_check_now(&p);
	for (int again = 0; again < 2; again++) {
		past_disk_let_go(&p);
		temp_close();
		begin();
		past_disk_again(&p);
		past_check_now(&p);
		past_snapshot(&p, NULL);
	}
	past_check_all(&p);
}
END_TEST

static int is_moment(void *arg, const struct moment_record *m)
{
	return m->generation == *(uint64_t *)arg;
}

static bool is_no_moment(void *generation)
{
	return !moments_each(temp.t->catalogue, p.d->number, is_moment, generation);
}

/* A death came between the end of an abort and that of its hidden moment. */
START_TEST(a_hidden_moment_of_no_restore_goes)
{
	struct moment_record m = { .size = SIZE, .hidden = true };
	struct catalogue_txn *txn;

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
	ck_assert(unit_until(is_no_moment, &m.generation, 20));
	check_that_nothing_is_left();
}
END_TEST

/* What each replaces has a name that tells when, and nobody else's. */
START_TEST(several_in_a_millisecond)
{
	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "one");
	past_write(&p, 0, SIZE, 2);
	/* Until then it is always the same. */
	atomic_store(&temp.t->snapshots->last_ms, clock_ms() + 3600000);
	for (unsigned i = 0; i < 3; i++) {
		restore();
		await_end();
	}
	ck_assert_uint_eq(snapshots_count(p.d), 4);
	past_check_all(&p);
}
END_TEST

UNIT_MAIN("restore abort", setup, teardown, several_in_a_millisecond, it_is_as_before,
	  what_is_not_filled_is_a_change, what_was_written_since_is_lost, who_has_it_open_is_asked,
	  there_must_be_one, it_cannot_be_recorded, nor_can_that, a_death, after_a_death,
	  what_is_accepted_is_no_restore, a_hidden_moment_of_no_restore_goes, it_waits,
	  nobody_fills_it, its_image_comes_back)

// SPDX-License-Identifier: GPL-2.0-or-later
/* The proof that a target is what its source is, as a job, and what it finds. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs.h"
#include "stamps.h"
#include "unit.h"

static uint32_t job;

static void synchronize(void)
{
	change_much(source, 50);
	make();
	await(COPY_SYNCHRONIZED);
}

static void verify(void)
{
	ck_assert_msg(!tandem_verify_pair(temp.t, number, false, &job, &why), "%s", why.message);
	ck_assert_uint_ne(job, 0);
}

/* Slow enough to be seen, or as fast as it goes. */
static void slow(bool is)
{
	jobs_set_limits(temp.t->jobs, is ? 1 << 20 : 0, 0);
}

static bool has_ended(void *arg)
{
	(void)arg;
	return !facts().verifying;
}

static void await_end(void)
{
	ck_assert_msg(unit_until(has_ended, NULL, 30), "%u %%", facts().verified);
}

static struct job_facts job_facts(void)
{
	struct job_facts f;

	ck_assert_int_eq(job_numbered(temp.t->jobs, job, &f), 0);
	return f;
}

static bool has_begun(void *arg)
{
	(void)arg;
	return job_facts().percent > 0;
}

/* What nobody is told of. */
static void spoil(const char *name, off_t off)
{
	int fd = open(temp_path(name), O_RDWR | O_CLOEXEC);
	struct timespec times[2] = { { 0, UTIME_OMIT } };
	struct stat st;
	char byte;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(pread(fd, &byte, 1, off), 1);
	byte ^= 1;
	ck_assert_int_eq(pwrite(fd, &byte, 1, off), 1);
	times[1] = st.st_mtim;
	ck_assert_int_eq(futimens(fd, times), 0);
	close(fd);
}

START_TEST(a_proof)
{
	synchronize();
	change_much(source, 20);
	verify();
	await_end();
	ck_assert_uint_gt(facts().verified_ms, 0);
	ck_assert_uint_eq(facts().mended, 0);
	ck_assert_int_eq(job_facts().state, JOB_COMPLETED);
	ck_assert_uint_eq(job_facts().percent, 100);
	ck_assert_uint_eq(temp_events("Information JobEnded replicas/a.img-1 Operation=Verify"), 1);
	ck_assert_uint_eq(temp_events("JobState=Completed Differed=0"), 1);
}
END_TEST

START_TEST(a_difference)
{
	synchronize();
	spoil("b.img", 5 * MIB + 17);
	verify();
	await_end();
	ck_assert_uint_eq(facts().mended, REGION);
	ck_assert_uint_eq(facts().verified_ms, 0);
	ck_assert_uint_eq(temp_events("Major JobEnded replicas/a.img-1 Operation=Verify"), 1);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
	verify();
	await_end();
	ck_assert_uint_gt(facts().verified_ms, 0);
}
END_TEST

START_TEST(suspended)
{
	unsigned percent;

	synchronize();
	slow(true);
	verify();
	ck_assert_int_eq(tandem_verify_pair(temp.t, number, false, &job, &why), -EBUSY);
	ck_assert(unit_until(has_begun, NULL, 20));
	job_suspend(temp.t->jobs, job, true);
	ck_assert_int_eq(job_facts().state, JOB_SUSPENDED);
	do_it(OP_SUSPEND);
	await_end(); /* what is not Synchronized cannot be proved */
	ck_assert_int_eq(job_facts().state, JOB_TERMINATED);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert_uint_eq(facts().verified_ms, 0);
	verify();
	ck_assert(unit_until(has_begun, NULL, 20));
	job_suspend(temp.t->jobs, job, true);
	slow(false);
	change_much(source, 5); /* nobody waits for it */
	percent = job_facts().percent;
	ck_assert(facts().verifying && percent < 100);
	job_suspend(temp.t->jobs, job, false);
	await_end();
	ck_assert_int_eq(job_facts().state, JOB_COMPLETED);
	ck_assert_uint_gt(facts().verified_ms, 0);
}
END_TEST

START_TEST(ended)
{
	static const enum job_state as[] = { JOB_TERMINATED, JOB_KILLED };

	synchronize();
	slow(true);
	for (size_t i = 0; i < UNIT_LENGTH(as); i++) {
		verify();
		if (i)
			job_suspend(temp.t->jobs, job, true);
		else
			ck_assert(unit_until(has_begun, NULL, 20));
		tandem_end_verify(temp.t, job, as[i]);
		ck_assert_int_eq(job_facts().state, as[i]);
		await_end();
	}
	ck_assert_uint_eq(facts().verified_ms, 0);
	again();
	ck_assert(!facts().verifying);
}
END_TEST

START_TEST(over_a_restart)
{
	synchronize();
	slow(true);
	verify();
	ck_assert(unit_until(has_begun, NULL, 20));
	again();
	await_end();
	ck_assert_uint_gt(facts().verified_ms, 0);
	ck_assert_uint_eq(temp_events("JobStarted replicas/a.img-1 Operation=Verify"), 2);
}
END_TEST

/* ---- asynchronous ones ---- */

START_TEST(of_what_the_source_was)
{
	pthread_t thread;

	stamp_some(300);
	make_async();
	await(COPY_SYNCHRONIZED);
	pthread_create(&thread, NULL, stamper, NULL);
	verify();
	await_end();
	atomic_store(&journal->stop, true);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(facts().mended, 0);
	ck_assert_uint_gt(facts().verified_ms, 0);
	ck_assert_int_eq(job_facts().state, JOB_COMPLETED);
	follows();
}
END_TEST

static bool is_mended(void *arg)
{
	(void)arg;
	return !facts().differs && !facts().shows;
}

START_TEST(of_one_that_is_idle)
{
	stamp_some(300);
	make_async();
	await(COPY_SYNCHRONIZED);
	follows();
	spoil("b.img", 3 * MIB);
	verify();
	await_end();
	ck_assert_uint_eq(facts().mended, REGION);
	ck_assert_uint_eq(facts().verified_ms, 0);
	ck_assert(unit_until(is_mended, NULL, 20));
	stamp_some(1);
	follows();
	verify();
	await_end();
	ck_assert_uint_eq(facts().mended, 0);
	ck_assert_uint_gt(facts().verified_ms, 0);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

START_TEST(nobody_waits_for_it)
{
	stamp_some(300);
	make_async();
	await(COPY_SYNCHRONIZED);
	slow(true);
	verify();
	ck_assert(unit_until(has_begun, NULL, 20));
	stamp_some(100);
	follows();
	ck_assert(facts().verifying);
	do_it(OP_SPLIT);
	await_end();
	ck_assert_int_eq(job_facts().state, JOB_TERMINATED);
	ck_assert_uint_eq(facts().verified_ms, 0);
}
END_TEST

/* Though others have all the turns that there are. */
START_TEST(it_waits_for_its_turn)
{
	const struct job_spec other = { .id = 4000, .operation = "Clone", .object = "disks/x.img" };

	stamp_some(300);
	make_async();
	await(COPY_SYNCHRONIZED);
	ck_assert_int_eq(job_begin(temp.t->jobs, &other), 0);
	jobs_set_limits(temp.t->jobs, 0, 1);
	ck_assert(job_pause_point(temp.t->jobs, other.id, 0, NULL));
	verify();
	for (int i = 0; i < 3; i++) {
		stamp_some(100);
		follows();
	}
	ck_assert(facts().verifying && job_facts().percent == 0);
	job_end(temp.t->jobs, other.id, JOB_COMPLETED, 0);
	await_end();
	ck_assert_uint_gt(facts().verified_ms, 0);
}
END_TEST

UNIT_MAIN("proofs of mirrors", stamps_setup, teardown, a_proof, a_difference, suspended, ended,
	  over_a_restart, of_what_the_source_was, of_one_that_is_idle, nobody_waits_for_it,
	  it_waits_for_its_turn)

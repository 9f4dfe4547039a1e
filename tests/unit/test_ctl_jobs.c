// SPDX-License-Identifier: GPL-2.0-or-later
/* jobs/ID: what its files say, and what it can be told. What its copies do is in tests/mount/jobs.test. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "jobs.h"
#include "temp_ctl.h"
#include "unit.h"

/* A job of a kind that has no relationship. */
static void begin(uint32_t id)
{
	const struct job_spec spec = {
		.id = id,
		.operation = "RestoreTo",
		.object = "disks/a b.img",
		.priority = PRIORITY_LOW,
	};

	start();
	ck_assert_int_eq(job_begin(tandem->jobs, &spec), 0);
}

START_TEST(files)
{
	struct node n;

	begin(12);
	ck_assert_str_eq(list("jobs"), "12/ ");
	ck_assert_str_eq(list("jobs/12"), "control status status.json percent ");
	ck_assert_int_eq(node_kind(at("jobs/12/wait")), NODE_WAIT);
	ck_assert_int_eq(walk("jobs/1", &n), -ENOENT);
	ck_assert_int_eq(walk("jobs/012", &n), -ENOENT);
	ck_assert_int_eq(walk("jobs/12x", &n), -ENOENT);
	ck_assert_int_eq(walk("jobs/4294967308", &n), -ENOENT);
	ck_assert_str_eq(cat("jobs/12/percent"), "0\n");
	cat("jobs/12/status");
	expect("Job: 12\nObject: disks/a b.img\nOperation: RestoreTo\nJobState: New (2)\n"
	       "CopyPriority: Low (1)\nPercentComplete: 0\nBytesDone: 0 (0)\nBytesTotal: -\n"
	       "BytesPerSecond: -\nTimeLeft: -\nWaitsFor: -\n");
	expect("\nStartTime: -\n");
	expect("\nElapsedTime: -\nErrorCode: -\nErrorDescription: -\nDeleteOnCompletion: true\n"
	       "TimeBeforeRemoval: 5m\n");
	job_progress(tandem->jobs, 12, 1 << 20, 4 << 20);
	ck_assert_str_eq(cat("jobs/12/percent"), "25\n");
	job_wait_for(tandem->jobs, 12, "No space left on device");
	cat("status");
	expect("\n12  disks/a\\040b.img RestoreTo New   25      -    -    "
	       "No\\040space\\040left\\040on\\040device\n");
	cat("status.json");
	expect("\"Jobs\":{\"12\":{\"Object\":\"disks/a b.img\",\"Operation\":\"RestoreTo\","
	       "\"JobState\":\"New\",\"CopyPriority\":\"Low\",\"PercentComplete\":25,"
	       "\"BytesDone\":1048576,\"BytesTotal\":4194304,\"BytesPerSecond\":null,"
	       "\"TimeLeft\":null,\"WaitsFor\":\"No space left on device\",");
	expect("\"StartTime\":null,");
	expect("\"ElapsedTime\":null,\"ErrorCode\":null,\"ErrorDescription\":null,"
	       "\"DeleteOnCompletion\":true,\"TimeBeforeRemoval\":300}},\"Pools\"");
	cat("jobs/12/status.json");
	expect("\"Job\":12,\"Object\":\"disks/a b.img\",");
}
END_TEST

START_TEST(waited_for)
{
	struct text text = { 0 };
	struct node wait;

	begin(12);
	wait = at("jobs/12/wait");
	ck_assert_int_eq(node_render(ctl, wait, &text), -EAGAIN);
	ck_assert_uint_eq(node_version(ctl, wait), NODE_WAITS);
	job_progress(tandem->jobs, 12, 1, 2);
	ck_assert_uint_eq(node_version(ctl, wait), NODE_WAITS);
	job_end(tandem->jobs, 12, JOB_EXCEPTION, -EIO);
	ck_assert_uint_ne(node_version(ctl, wait), NODE_WAITS);
	ck_assert_str_eq(cat("jobs/12/wait"), "Exception\n");
	cat("jobs/12/status");
	expect("\nErrorCode: 5\nErrorDescription: Input/output error\n");
	cat("jobs/12/status.json");
	expect("\"ErrorCode\":5,\"ErrorDescription\":\"Input/output error\",");
	text_free(&text);
}
END_TEST

START_TEST(versions)
{
	uint64_t before, whole;

	begin(12);
	before = node_version(ctl, at("jobs/12/percent"));
	whole = node_version(ctl, at("status"));
	job_progress(tandem->jobs, 12, 1, 2);
	ck_assert_uint_ne(node_version(ctl, at("jobs/12/percent")), before);
	ck_assert_uint_ne(node_version(ctl, at("status")), whole);
}
END_TEST

START_TEST(told)
{
	begin(12);
	ck_assert_int_eq(command("jobs/12/control", "Start"), 0);
	expect("Message: JobState is New already; nothing was done\n");
	ck_assert_int_eq(command("jobs/12/control", "Plan Suspend"), 0);
	expect("Message: would not go on until Start, or a restart of the daemon\n");
	cat("jobs/12/status");
	expect("JobState: New (2)\n");
	ck_assert_int_eq(command("jobs/12/control", "suspend"), 0);
	expect("ReturnValue: 0 Success\nMessage: does not go on until Start, or a restart of the "
	       "daemon\n");
	cat("jobs/12/status");
	expect("JobState: Suspended (5)\n");
	expect("WaitsFor: Start\n");
	ck_assert_int_eq(command("jobs/12/control", "Plan Start"), 0);
	cat("jobs/12/status");
	expect("JobState: Suspended (5)\n");
	ck_assert_int_eq(command("jobs/12/control", "Start"), 0);
	cat("jobs/12/status");
	expect("JobState: New (2)\n");
	cat("events");
	expect("CommandDone jobs/12 Operation=Start ");
	ck_assert_int_eq(command("jobs/12/control", "Plan Set CopyPriority=High"), 0);
	cat("jobs/12/status");
	expect("CopyPriority: Low (1)\n");
	ck_assert_int_eq(command("jobs/12/control", "Set CopyPriority=High"), 0);
	expect("Message: now CopyPriority=High\n");
	cat("jobs/12/status");
	expect("CopyPriority: High (3)\n");
}
END_TEST

START_TEST(refused)
{
	struct wait_for wait;
	struct node control;

	begin(12);
	control = at("jobs/12/control");
	/* There is no restore behind it. */
	ck_assert_int_eq(command("jobs/12/control", "Terminate Force"), -EBUSY);
	ck_assert_int_eq(command("jobs/12/control", "Kill"), -EBUSY);
	cat("jobs/12/status");
	expect("JobState: New (2)\n");
	ck_assert_int_eq(command("jobs/12/control", "Suspend Force"), -EINVAL);
	ck_assert_int_eq(command("jobs/12/control", "Suspend x"), -EINVAL);
	ck_assert_int_eq(command("jobs/12/control", "Set"), -EINVAL);
	ck_assert_int_eq(command("jobs/12/control", "Set CopyPriority=Highest"), -EINVAL);
	ck_assert_int_eq(command("jobs/12/control", "Rescan"), -EINVAL);
	expect("Rescan is for .replication/control; here there are Suspend, Start, Terminate, "
	       "Kill, Set, Plan\n");
	job_end(tandem->jobs, 12, JOB_COMPLETED, 0);
	ck_assert_int_eq(command("jobs/12/control", "Suspend"), -EBUSY);
	expect("Message: JobState is Completed; nothing is running\n");
	ck_assert_int_eq(command("jobs/12/control", "Start"), -EBUSY);
	ck_assert_int_eq(command("jobs/12/control", "Terminate Force"), -EBUSY);
	control.object = 13;
	ck_assert_int_eq(node_command(ctl, control, "Start", 5, &root, &out, &wait), -ENOENT);
	ck_assert_int_eq(command("control", "Start"), -EINVAL);
	expect("Start is for jobs/ID/control; ");
}
END_TEST

UNIT_MAIN("ctl_jobs", setup, teardown, files, waited_for, versions, told, refused)

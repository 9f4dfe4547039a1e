// SPDX-License-Identifier: GPL-2.0-or-later
/* Mirrors that acknowledge at flush: what is answered, what a flush waits for, what a crash leaves. */
#include <errno.h>
#include <stdio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "marks_inner.h"
#include "pairs_inner.h"
#include "sender.h"
#include "slow_target.h"
#include "unit.h"
#include "watch.h"

/* ---- what is answered ---- */

START_TEST(a_write_waits_for_the_source_alone)
{
	struct pair_facts f;

	synchronize((struct pair_request){ 0 });
	slow_gate(true);
	ck_assert_int_eq(change(source, 5 * REGION, 4096), 0);
	ck_assert_int_eq(change(source, 9 * REGION, 512), 0);
	ck_assert(!files_are_same(5 * REGION, 4096));
	f = facts();
	ck_assert_int_eq(f.state, COPY_SYNCHRONIZED);
	ck_assert_uint_eq(f.sent, 4096 + 512);
	/* It is on its way without a flush. */
	ck_assert(unit_until(somebody_waits, NULL, 20));
	slow_gate(false);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert_uint_eq(facts().sent, 0);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

struct flush {
	unsigned io; /* of a write; 0: a flush */
	atomic_bool answered;
	bool same;
	uint64_t sent; /* afterwards */
};

static void *flush(void *arg)
{
	struct flush *f = arg;
	char buf[512] = { 1 };
	int err = f->io ? disk_write(source, buf, sizeof(buf), 3 * REGION, f->io)
			: disk_flush(source);

	ck_assert_int_eq(err, 0);
	f->sent = facts().sent;
	atomic_store(&f->answered, true);
	f->same = files_are_same(0, SIZE);
	return NULL;
}

static bool all_threads_wait(void *arg)
{
	(void)arg;
	return slow_waiting() == SENDER_THREADS;
}

/* The threads of the sender wait for the target, and one more: whoever flushes does it, too. */
static bool it_waits_or_not(void *arg)
{
	struct flush *f = arg;

	return atomic_load(&f->answered) || slow_waiting() > SENDER_THREADS;
}

static void check_flush(unsigned io)
{
	struct flush f = { .io = io };
	pthread_t thread;

	synchronize((struct pair_request){ 0 });
	slow_gate(true);
	write_regions(20);
	pthread_create(&thread, NULL, flush, &f);
	ck_assert(unit_until(it_waits_or_not, &f, 20));
	ck_assert(!atomic_load(&f.answered));
	slow_gate(false);
	pthread_join(thread, NULL);
	ck_assert(f.same);
}

START_TEST(a_flush_waits_for_the_target)
{
	check_flush(0);
}
END_TEST

START_TEST(a_synchronous_write_waits_for_the_target)
{
	check_flush(IO_DSYNC);
}
END_TEST

/* What has come to the target is flushed there, too: it comes first. */
START_TEST(a_flush_flushes_what_it_waited_for)
{
	synchronize((struct pair_request){ 0 });
	slow_delay(2000);
	for (unsigned i = 0; i < 10; i++) {
		write_regions(20);
		ck_assert_int_eq(disk_flush(source), 0);
		ck_assert(!slow_is_dirty());
	}
	ck_assert(files_are_same(0, SIZE));
}
END_TEST

/* Of whatever delay; what keeps them in order is in test_sender.c. */
START_TEST(overlapping_writes_arrive)
{
	synchronize((struct pair_request){ 0 });
	slow_delay(500);
	for (unsigned i = 0; i < 600; i++)
		ck_assert_int_eq(change(source, unit_below(&seed, 16) * 1024,
					1024 * (1 + unit_below(&seed, 4))),
				 0);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert(files_are_same(0, SIZE));
}
END_TEST

START_TEST(it_takes_no_more_memory_than_it_says)
{
	uint64_t most = 0;

	synchronize((struct pair_request){ 0 });
	slow_gate(true);
	slow_delay(2000);
	for (unsigned i = 0; i < 40; i++) {
		uint64_t bytes;

		if (i == 15) /* there is no room for more */
			slow_gate(false);
		ck_assert_int_eq(change(source, unit_below(&seed, SIZE - 3 * MIB), MIB / 2 + 8 * i),
				 0);
		if (i == 30) /* this is more than is sent in one piece */
			ck_assert_int_eq(change(source, 0, 3 * MIB), 0);
		bytes = sender_bytes(the_pair()->leg.sender);
		most = bytes > most ? bytes : most;
	}
	ck_assert_uint_le(most, SENDER_ROOM);
	ck_assert_uint_gt(most, SENDER_ROOM / 2);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert(files_are_same(0, SIZE));
}
END_TEST

/* ---- what fails on its way ---- */

static void fail_on_the_way(void)
{
	slow_gate(true);
	ck_assert_int_eq(change(source, 5 * REGION, 4096), 0);
	ck_assert_int_eq(change(source, 7 * REGION, 4096), 0);
	slow_fail(true);
	slow_gate(false);
}

START_TEST(a_target_that_fails_is_told_before_a_flush_is_answered)
{
	struct marks *marks;
	struct pair_facts f;
	uint64_t run;

	synchronize((struct pair_request){ .manual = true });
	marks = the_pair()->leg.marks;
	fail_on_the_way();
	ck_assert_int_eq(disk_flush(source), 0);
	f = facts();
	ck_assert_int_eq(f.state, COPY_BROKEN);
	ck_assert(!f.whole);
	ck_assert_uint_eq(f.sent, 0);
	ck_assert(marks_differs(marks, 5 * REGION, 4096, &run));
	ck_assert(marks_differs(marks, 7 * REGION, 4096, &run));
	ck_assert_int_eq(marks_outdated(marks), MIXED);
	slow_mend();
	do_it(OP_RESYNC_REPLICA);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

/* Where that cannot be made durable no flush is answered, until it is. */
START_TEST(what_is_missed_is_known_before_a_flush_is_answered)
{
	synchronize((struct pair_request){ .manual = true });
	ck_assert_int_eq(change(source, 5 * REGION, 4096), 0);
	ck_assert_int_eq(disk_flush(source), 0);
	break_marks();
	fail_on_the_way();
	ck_assert_int_eq(disk_flush(source), -EIO);
	ck_assert(!atomic_load(&source->broken_flush)); /* it is durable there */
	slow_break(0);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert_int_eq(marks_outdated(the_pair()->leg.marks), MIXED);
}
END_TEST

START_TEST(a_host_that_stops_gets_no_flush)
{
	synchronize((struct pair_request){ .stops_host_io = true, .manual = true });
	fail_on_the_way();
	ck_assert_int_eq(disk_flush(source), -EIO);
	ck_assert_int_eq(disk_flush(source), -EIO);
	ck_assert_int_eq(change(source, 0, 4096), -EIO);
	await(COPY_BROKEN);
	slow_mend();
	do_it(OP_RESYNC_REPLICA);
	await(COPY_SYNCHRONIZED);
	ck_assert_int_eq(change(source, 0, 4096), 0);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

static bool only_those_at_the_gate(void *arg)
{
	struct flush *f = arg;

	return atomic_load(&f->answered) || facts().sent == SENDER_THREADS * 4096;
}

/* Whatever lost it: what is on its way then may be missing, and something newer be there. */
START_TEST(a_flush_waits_for_what_a_lost_target_misses)
{
	struct flush f = { 0 };
	struct marks *marks;
	pthread_t thread;

	synchronize((struct pair_request){ .manual = true });
	marks = the_pair()->leg.marks;
	slow_gate(true);
	write_regions(20);
	ck_assert(unit_until(all_threads_wait, NULL, 20));
	pthread_mutex_lock(&the_pair()->changing); /* its keeper would wait, too */
	leg_lose(&the_pair()->leg, -ENOSPC);
	pthread_create(&thread, NULL, flush, &f);
	ck_assert(unit_until(only_those_at_the_gate, &f, 20));
	ck_assert(!atomic_load(&f.answered));
	pthread_mutex_unlock(&the_pair()->changing);
	slow_gate(false);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(f.sent, 0);
	ck_assert_int_eq(marks_outdated(marks), MIXED);
	await(COPY_BROKEN);
	ck_assert(!facts().whole);
	/* As it was recorded. */
	ck_assert(!pair_record_of(the_pair()).whole);
}
END_TEST

static bool is_recorded_broken(void *arg)
{
	return pair_record_of(the_pair()).copy_state == COPY_BROKEN;
}

/* Some of what was sent is not even tried by then. */
START_TEST(a_loss_is_recorded_with_what_it_misses)
{
	synchronize((struct pair_request){ .manual = true });
	slow_gate(true);
	write_regions(20);
	ck_assert(unit_until(all_threads_wait, NULL, 20));
	leg_lose(&the_pair()->leg, -ENOSPC);
	/* Its keeper does that. */
	ck_assert(unit_until(only_those_at_the_gate, &(struct flush){ 0 }, 20));
	slow_gate(false);
	ck_assert(unit_until(is_recorded_broken, NULL, 20));
	ck_assert(!pair_record_of(the_pair()).whole);
}
END_TEST

/* Its host has been told nothing yet, and goes on when the target is copied to. */
START_TEST(a_host_that_stops_is_told_later)
{
	synchronize((struct pair_request){ .stops_host_io = true, .manual = true });
	fail_on_the_way();
	ck_assert(unit_until(is_recorded_broken, NULL, 20)); /* nothing is on its way */
	slow_fail(false);
	slow_gate(true); /* the copy does not get on */
	do_it(OP_RESYNC_REPLICA);
	ck_assert(unit_until(somebody_waits, NULL, 20));
	ck_assert_int_eq(disk_flush(source), -EIO);
	slow_mend();
	await(COPY_SYNCHRONIZED);
	ck_assert(!atomic_load(&the_pair()->leg.missed));
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

static void *suspend(void *arg)
{
	do_it(OP_SUSPEND);
	return arg;
}

static bool is_to_stop(void *arg)
{
	(void)arg;
	return atomic_load(&the_pair()->stop);
}

/* And not at all when somebody stops its mirror: then writes are the source's alone, and so are flushes. */
START_TEST(a_host_goes_on_without_a_mirror_that_is_stopped)
{
	pthread_t thread;

	synchronize((struct pair_request){ .stops_host_io = true, .manual = true });
	fail_on_the_way();
	ck_assert(unit_until(is_recorded_broken, NULL, 20));
	slow_fail(false);
	slow_gate(true);
	do_it(OP_RESYNC_REPLICA);
	ck_assert(unit_until(somebody_waits, NULL, 20));
	ck_assert_int_eq(disk_flush(source), -EIO);
	pthread_create(&thread, NULL, suspend, NULL);
	ck_assert(unit_until(is_to_stop, NULL, 20));
	slow_mend();
	pthread_join(thread, NULL);
	ck_assert_int_eq(facts().state, COPY_SUSPENDED);
	ck_assert_int_eq(change(source, 0, 4096), 0);
	ck_assert_int_eq(disk_flush(source), 0);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

/* It is asked for before that is known. */
START_TEST(a_failover_does_not_lose_what_does_not_arrive)
{
	synchronize((struct pair_request){ .manual = true });
	slow_gate(true);
	write_regions(3);
	ck_assert(unit_until(somebody_waits, NULL, 20));
	slow_fail(true);
	slow_gate(false);
	ck_assert_int_ne(operate(OP_FAILOVER, false), 0);
	ck_assert_str_eq(facts().source, "a.img");
	slow_mend();
	await(COPY_BROKEN);
	ck_assert_int_eq(operate(OP_FAILOVER, false), -EPERM);
	do_it(OP_RESYNC_REPLICA);
	await(COPY_SYNCHRONIZED);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

/* ---- a daemon that dies ---- */

/* It did what it should, and then no more. */
static void check_died(pid_t pid)
{
	int status = 1;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
}

START_TEST(a_crash_leaves_marks)
{
	struct pair_facts f;
	pid_t pid;

	synchronize((struct pair_request){ .manual = true });
	close_source();
	temp_close();
	pid = fork();
	if (!pid) {
		begin();
		open_source();
		slow_gate(true);
		if (change(source, 5 * REGION, 4096) || change(source, SIZE - REGION, 4096))
			_exit(1);
		_exit(0);
	}
	check_died(pid);
	ck_assert(!files_are_same(5 * REGION, 4096));
	ck_assert(!files_are_same(SIZE - REGION, 4096));
	begin();
	open_source();
	await(COPY_SUSPENDED);
	f = facts();
	ck_assert(f.at_flush);
	ck_assert_uint_gt(f.differs, 0);
	ck_assert_uint_le(f.differs, 2 * MARKS_AREA);
	ck_assert(!f.whole);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

static atomic_uint rounds;

static int flush_nothing(void *arg)
{
	return 0;
}

static void *let_go_of_areas(void *arg)
{
	for (unsigned i = 0; i < 3; i++) {
		marks_clean(arg, false, flush_nothing, NULL);
		atomic_fetch_add(&rounds, 1);
	}
	return NULL;
}

/* Somebody has begun before the round, and not ended; or nobody has. */
static bool it_waits_for_him_or_not(void *arg)
{
	struct marks *m = arg;
	bool waits;

	pthread_mutex_lock(&m->lock);
	waits = m->running[!m->turn] > 0;
	pthread_mutex_unlock(&m->lock);
	return waits || atomic_load(&rounds) == 3;
}

/* However long that takes: no round of the marks ends before. */
START_TEST(what_is_on_its_way_stays_marked)
{
	pthread_t thread;
	pid_t pid;

	synchronize((struct pair_request){ .manual = true });
	close_source();
	temp_close();
	pid = fork();
	if (!pid) {
		begin();
		open_source();
		slow_gate(true);
		if (change(source, 5 * REGION, 4096))
			_exit(1);
		pthread_create(&thread, NULL, let_go_of_areas, the_pair()->leg.marks);
		_exit(unit_until(it_waits_for_him_or_not, the_pair()->leg.marks, 20) ? 0 : 2);
	}
	check_died(pid);
	ck_assert(!files_are_same(5 * REGION, 4096));
	begin();
	open_source();
	await(COPY_SUSPENDED);
	do_it(OP_RESUME);
	await(COPY_SYNCHRONIZED);
	ck_assert_int_eq(disk_flush(source), 0);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

static void start_without_source(void)
{
	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.away")), 0);
	begin();
	ck_assert_int_ne(facts().state, COPY_SYNCHRONIZED);
	ck_assert(!facts().whole);
	ck_assert_int_eq(operate(OP_FAILOVER, false), -EPERM);
	ck_assert_str_eq(facts().source, "a.img");
}

/* Nothing of it, unless somebody says so: what the source had answered may be gone with it. */
START_TEST(a_crash_that_takes_the_source_asks_for_force)
{
	pid_t pid;

	synchronize((struct pair_request){ 0 });
	close_source();
	temp_close();
	pid = fork();
	if (!pid) {
		begin();
		open_source();
		slow_gate(true);
		_exit(change(source, 5 * REGION, 4096) ? 1 : 0);
	}
	check_died(pid);
	start_without_source();
	temp_close(); /* a clean stop does not make it true */
	ck_assert_int_eq(rename(temp_path("a.away"), temp_path("a.img")), 0);
	start_without_source();
	ck_assert_int_eq(operate(OP_FAILOVER, true), 0);
	ck_assert_int_eq(facts().state, COPY_FAILEDOVER);
	/* And back only with Force: what it has alone would be lost. */
	ck_assert_int_eq(rename(temp_path("a.away"), temp_path("a.img")), 0);
	temp_rescan();
	ck_assert_int_eq(operate(OP_FAILBACK, false), -EPERM);
}
END_TEST

/* That is recorded after all has arrived. */
START_TEST(nothing_is_asked_of_one_that_was_set_to_write)
{
	struct pair_settings s = { .has_acknowledge = true };
	pid_t pid;

	synchronize((struct pair_request){ 0 });
	close_source();
	temp_close();
	pid = fork();
	if (!pid) {
		begin();
		open_source();
		slow_delay(2000);
		for (unsigned i = 0; i < 20; i++)
			if (change(source, i * REGION, 4096))
				_exit(1);
		_exit(tandem_set_pair(temp.t, number, &s, false, &why) ? 2 : 0);
	}
	check_died(pid);
	ck_assert(files_are_same(0, SIZE));
	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.away")), 0);
	begin();
	ck_assert(facts().whole);
	do_it(OP_FAILOVER);
}
END_TEST

/* ---- one that does not get on ---- */

static bool is_stalled(void *arg)
{
	return temp_events("Stalled disks/b.img") > 0;
}

START_TEST(a_target_that_does_not_answer_is_told_of)
{
	synchronize((struct pair_request){ 0 });
	ck_assert_int_eq(watch_start(temp.t->watch), 0);
	slow_gate(true);
	write_regions(1);
	ck_assert(unit_until(is_stalled, NULL, 20));
	ck_assert_uint_eq(facts().sent, 4096);
	ck_assert_uint_eq(temp_events("Stalled disks/a.img"), 0);
	slow_gate(false);
	ck_assert_int_eq(disk_flush(source), 0);
}
END_TEST

UNIT_MAIN("pair_flush", setup, slow_end, a_write_waits_for_the_source_alone,
	  a_flush_waits_for_the_target, a_flush_flushes_what_it_waited_for,
	  a_synchronous_write_waits_for_the_target, overlapping_writes_arrive,
	  it_takes_no_more_memory_than_it_says, a_target_that_does_not_answer_is_told_of,
	  a_target_that_fails_is_told_before_a_flush_is_answered, a_host_that_stops_gets_no_flush,
	  what_is_missed_is_known_before_a_flush_is_answered,
	  a_flush_waits_for_what_a_lost_target_misses, a_loss_is_recorded_with_what_it_misses,
	  a_host_that_stops_is_told_later, a_host_goes_on_without_a_mirror_that_is_stopped,
	  a_failover_does_not_lose_what_does_not_arrive, what_is_on_its_way_stays_marked,
	  a_crash_that_takes_the_source_asks_for_force,
	  nothing_is_asked_of_one_that_was_set_to_write, a_crash_leaves_marks)

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Three disks, written in turn with increasing numbers, and their asynchronous mirrors in a consistent
 * group: whenever it is looked, the targets show what the three held at one moment, which is three
 * numbers that follow each other; also after deaths, and when one source is lost.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.h"
#include "pairs_inner.h"
#include "temp_pair.h"
#include "unit.h"

#define DISKS 3u
#define SECTOR 512u
#define STEP \
	MIB /* between the places that are written, so that a generation has something to copy */

static const char *const sources[DISKS] = { "a.img", "b.img", "c.img" };
static const char *const targets[DISKS] = { "x.img", "y.img", "z.img" };
static uint32_t group, pairs[DISKS];

static void start(void)
{
	begin();
	for (size_t i = 0; i < DISKS; i++) {
		struct disk *d = temp_disk(sources[i]);
		struct pair_request q = { .target = targets[i],
					  .mode = MODE_ASYNCHRONOUS,
					  .objective_s = 1,
					  .mode_bits = 0600 };
		struct pair_facts f;

		ck_assert_msg(!tandem_mirror(temp.t, d, &q, &f, &why), "%s", why.message);
		disk_unref(d);
		pairs[i] = number = f.number;
		await(COPY_SYNCHRONIZED);
	}
}

static void gather(void)
{
	struct group_facts f;

	ck_assert_int_eq(tandem_create_group(temp.t, "db", false, &why), 0);
	ck_assert_int_eq(group_named(temp.t, "db", &f), 0);
	group = f.number;
	for (size_t i = 0; i < DISKS; i++)
		ck_assert_int_eq(tandem_add_pair_to_group(temp.t, group, pairs[i], false, &why), 0);
	ck_assert_int_eq(tandem_set_group_consistent(temp.t, group, true, false, &why), 0);
}

static void joint_setup(void)
{
	seed = 7;
	source = NULL;
	temp_tandem_begin();
	for (size_t i = 0; i < DISKS; i++)
		temp_make(sources[i], SIZE);
}

/* ---- who writes ---- */

static uint64_t number_in(const char *label)
{
	_Alignas(4096) char buf[SECTOR];
	struct disk *d = temp_disk(label);
	int err = d ? disk_open(d, false) : -ENOENT;
	uint64_t n;
	size_t done;

	ck_assert_msg(!err, "%s is %s: %d", label, temp_state(label), err);
	ck_assert(!disk_read(d, buf, SECTOR, 0, 0, &done) && done == SECTOR);
	disk_close(d);
	disk_unref(d);
	memcpy(&n, buf, sizeof(n));
	return n;
}

static uint64_t newest_of(const char *const *labels)
{
	uint64_t newest = 0;

	for (size_t i = 0; i < DISKS; i++) {
		uint64_t n = number_in(labels[i]);

		newest = n > newest ? n : newest;
	}
	return newest;
}

static struct writer {
	pthread_t thread;
	struct disk *disks[DISKS];
	_Atomic bool stop;
	uint64_t first; /* number */
} w;

/* At every place in turn, so that what is to be copied is the whole disk now and then. */
static void *write_on(void *arg)
{
	_Alignas(4096) char buf[SECTOR] = "";

	(void)arg;
	for (uint64_t n = w.first; !atomic_load(&w.stop); n++) {
		memcpy(buf, &n, sizeof(n));
		ck_assert_int_eq(disk_write(w.disks[n % DISKS], buf, SECTOR, 0, 0), 0);
		ck_assert_int_eq(disk_write(w.disks[n % DISKS], buf, SECTOR,
					    STEP + n / DISKS * STEP % (SIZE - STEP), 0),
				 0);
	}
	return NULL;
}

static void begin_writing(void)
{
	atomic_store(&w.stop, false);
	w.first = newest_of(sources) + 1;
	for (size_t i = 0; i < DISKS; i++) {
		w.disks[i] = temp_disk(sources[i]);
		ck_assert_int_eq(disk_open(w.disks[i], true), 0);
	}
	ck_assert_int_eq(pthread_create(&w.thread, NULL, write_on, NULL), 0);
}

static void end_writing(void)
{
	atomic_store(&w.stop, true);
	pthread_join(w.thread, NULL);
	for (size_t i = 0; i < DISKS; i++) {
		disk_close(w.disks[i]);
		disk_unref(w.disks[i]);
	}
}

/* ---- what the targets show ---- */

/* Returns the newest of them. */
static uint64_t are_of_one_moment(void)
{
	uint64_t n[DISKS], newest = 0;

	for (size_t i = 0; i < DISKS; i++) {
		n[i] = number_in(targets[i]);
		newest = n[i] > newest ? n[i] : newest;
	}
	for (size_t i = 0; i < DISKS; i++)
		ck_assert_msg(!newest || n[i] + DISKS > newest, "%llu, %llu and %llu",
			      (unsigned long long)n[0], (unsigned long long)n[1],
			      (unsigned long long)n[2]);
	return newest;
}

static struct pair *pair_at(size_t i)
{
	return pair_of_number(temp.t->pairs, pairs[i]);
}

/* While nothing is recorded of them. */
static uint64_t look(uint64_t *of)
{
	uint64_t newest = 0;

	for (size_t i = 0; i < DISKS; i++)
		pthread_mutex_lock(&pair_at(i)->changing);
	*of = pair_record_of(pair_at(0)).of;
	for (size_t i = 1; i < DISKS; i++)
		ck_assert_uint_eq(pair_record_of(pair_at(i)).of, *of);
	newest = are_of_one_moment();
	for (size_t i = DISKS; i-- > 0;)
		pthread_mutex_unlock(&pair_at(i)->changing);
	return newest;
}

static bool are_joint(void *arg)
{
	uint64_t of = pair_record_of(pair_at(0)).of;

	(void)arg;
	for (size_t i = 1; i < DISKS; i++)
		if (pair_record_of(pair_at(i)).of != of)
			return false;
	return of;
}

struct progress {
	uint64_t of;
	unsigned generations;
};

static bool has_more(void *arg)
{
	struct progress *p = arg;
	uint64_t of;

	look(&of);
	p->generations += of != p->of;
	p->of = of;
	return p->generations >= 5;
}

/* Nobody sees one without the others, and they go on; also with one who asks for its own. */
START_TEST(all_or_none)
{
	struct progress p = { 0 };

	start();
	gather();
	ck_assert(unit_until(are_joint, NULL, 20));
	begin_writing();
	ck_assert_msg(unit_until(has_more, &p, 30), "%u generations", p.generations);
	number = pairs[1];
	ck_assert_int_eq(operate(OP_SUSPEND, false), 0);
	ck_assert_int_eq(operate(OP_RESUME, false), 0);
	await(COPY_SYNCHRONIZED);
	ck_assert(unit_until(are_joint, NULL, 20));
	p = (struct progress){ 0 };
	ck_assert_msg(unit_until(has_more, &p, 30), "%u generations", p.generations);
	end_writing();
}
END_TEST

/* One of another mode, or that is suspended, or no group: each has its own. */
static bool has_own(void *arg)
{
	const uint64_t *was = arg;
	struct pair_record r = pair_record_of(pair_at(0));

	return r.of != *was && r.of != pair_record_of(pair_at(1)).of;
}

START_TEST(each_by_itself)
{
	uint64_t was;

	start();
	gather();
	ck_assert(unit_until(are_joint, NULL, 20));
	begin_writing();
	number = pairs[2];
	ck_assert_int_eq(operate(OP_SUSPEND, false), 0);
	was = pair_record_of(pair_at(0)).of;
	ck_assert(unit_until(has_own, &was, 20));
	ck_assert_int_eq(operate(OP_RESUME, false), 0);
	await(COPY_SYNCHRONIZED);
	ck_assert(unit_until(are_joint, NULL, 20));
	ck_assert_int_eq(tandem_set_group_consistent(temp.t, group, false, false, &why), 0);
	was = pair_record_of(pair_at(0)).of;
	ck_assert(unit_until(has_own, &was, 20));
	ck_assert_int_eq(tandem_delete_group(temp.t, "db", false, &why), 0);
	end_writing();
}
END_TEST

/* ---- deaths ---- */

/* In a process of its own, until it is killed. */
static void live(int ready)
{
	begin();
	if (unit_until(are_joint, NULL, 30)) {
		begin_writing();
		if (write(ready, "r", 1) != 1)
			_exit(1);
	}
	for (;;)
		pause();
}

static void live_and_die(void)
{
	const struct timespec some = { .tv_nsec = 50000000 + unit_below(&seed, 900000000) };
	int ends[2], status;
	pid_t pid;
	char byte;

	ck_assert_int_eq(pipe(ends), 0);
	pid = fork();
	if (!pid) {
		close(ends[0]);
		live(ends[1]);
	}
	close(ends[1]);
	ck_assert_int_eq(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	nanosleep(&some, NULL);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
}

/* As often as a command does: something of them may just change. */
static bool failed_over(void *arg)
{
	struct group_step steps[DISKS];
	int *err = arg;

	for (size_t i = 0; i < DISKS; i++) {
		struct pair_facts f;

		ck_assert_int_eq(pair_numbered(temp.t, pairs[i], &f), 0);
		steps[i] = (struct group_step){ .pair = pairs[i], .from = f.state };
	}
	*err = tandem_operate_group(temp.t, group, OP_FAILOVER, steps, DISKS, true, false, &why);
	return *err != -EAGAIN;
}

static void fail_over(void)
{
	int err;

	ck_assert(unit_until(failed_over, &err, 20));
	ck_assert_msg(!err, "%s", why.message);
}

/* Whatever was lost, all take over as of one moment, which is what the targets showed. */
static void lose_and_take_over(void)
{
	size_t lost = unit_below(&seed, DISKS);
	uint64_t showed = are_of_one_moment();

	temp_close();
	ck_assert_int_eq(unlink(temp_path(sources[lost])), 0);
	begin();
	ck_assert_str_eq(temp_state(sources[lost]), "Missing");
	fail_over();
	for (size_t i = 0; i < DISKS; i++) {
		number = pairs[i];
		await(COPY_FAILEDOVER);
	}
	ck_assert_uint_eq(are_of_one_moment(), showed);
	temp_close();
}

START_TEST(deaths_and_a_loss)
{
	unsigned rounds = unit_scaled(10);

	for (unsigned round = 0; round < rounds; round++) {
		uint64_t newest = 0;

		seed = 100 + round;
		start();
		gather();
		ck_assert(unit_until(are_joint, NULL, 20));
		temp_close();
		for (unsigned i = 0; i < 4; i++) {
			live_and_die();
			temp_open();
			ck_assert(are_joint(NULL));
			newest = are_of_one_moment();
			if (i < 3)
				temp_close();
		}
		(void)newest;
		lose_and_take_over();
		temp_tandem_end();
		joint_setup();
	}
}
END_TEST

UNIT_MAIN("joint generations", joint_setup, temp_tandem_end, all_or_none, each_by_itself,
	  deaths_and_a_loss)

// SPDX-License-Identifier: GPL-2.0-or-later
/* CreateReplica of a group of disks makes all mirrors or none, over refusals and deaths. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.h"
#include "temp_pair.h"
#include "unit.h"

static _Atomic int commits_left; /* the last of these fails; 0 and less: none */
static _Atomic bool dies;        /* it is done then, and all ends */

int mdb_txn_commit(MDB_txn *txn)
{
	int (*real)(MDB_txn *) = dlsym(RTLD_NEXT, "mdb_txn_commit");

	if (atomic_fetch_sub(&commits_left, 1) != 1)
		return real(txn);
	if (atomic_load(&dies)) {
		real(txn);
		raise(SIGKILL);
	}
	mdb_txn_abort(txn);
	return ENOSPC;
}

static void replicas_setup(void)
{
	seed = 3;
	source = NULL;
	temp_tandem_begin();
	temp_make("a.img", MIB);
	temp_make("c.img", MIB);
	temp_make("e.img", MIB);
	begin();
}

static void write_to(const char *label)
{
	struct disk *d = temp_disk(label);

	ck_assert_msg(!disk_open(d, true), "%s is %s", label, temp_state(label));
	ck_assert_int_eq(change(d, 8192, 4096), 0);
	disk_close(d);
	disk_unref(d);
}

static int mirror_a_and_c(const struct pair_request all[2])
{
	struct disk *disks[2] = { temp_disk("a.img"), temp_disk("c.img") };
	struct group_replicas q = {
		.disks = disks,
		.count = 2,
		.name = "new",
		.consistent = true,
		.mirrors = all,
	};
	struct pair_facts made[2];
	int err = tandem_mirror_group(temp.t, &q, made, &why);

	number = made[0].number;
	disk_unref(disks[0]);
	disk_unref(disks[1]);
	return err;
}

static void nothing_is_new(void)
{
	struct group_facts g;

	ck_assert_int_eq(group_named(temp.t, "new", &g), -ENOENT);
	ck_assert(!pairs_have(temp.t, "new-a.img") && !pairs_have(temp.t, "new-c.img"));
}

/* What was there before is there still, and is no target. */
START_TEST(an_existing_target_stays)
{
	const struct pair_request all[2] = {
		{ .target = "e.img", .mode = MODE_SYNCHRONOUS, .existing = true, .force = true },
		{ .target = "none.img", .mode = MODE_SYNCHRONOUS, .existing = true },
	};
	char had[4096], has[4096];
	struct disk *e;
	int fd;

	write_to("e.img");
	fd = open(temp_path("e.img"), O_RDONLY);
	ck_assert_int_eq(pread(fd, had, sizeof(had), 8192), sizeof(had));
	ck_assert_int_eq(mirror_a_and_c(all), -ENOENT);
	nothing_is_new();
	ck_assert_int_eq(access(temp_path("e.img"), F_OK), 0);
	ck_assert_int_eq(pread(fd, has, sizeof(has), 8192), sizeof(has));
	ck_assert_mem_eq(had, has, sizeof(had));
	close(fd);
	e = temp_disk("e.img");
	ck_assert(disk_is_served(e) && !disk_is_paired(e));
	disk_unref(e);
	write_to("e.img");
}
END_TEST

/* Whatever cannot be recorded: all is as it was. */
START_TEST(all_or_nothing_is_made)
{
	const struct pair_request all[2] = {
		{ .target = "x.img", .mode = MODE_SYNCHRONOUS, .mode_bits = 0600 },
		{ .target = "y.img", .mode = MODE_SYNCHRONOUS, .mode_bits = 0600 },
	};
	int err = -ENOSPC, tries = 0;

	while (err) {
		ck_assert_int_lt(++tries, 30);
		atomic_store(&commits_left, tries);
		err = mirror_a_and_c(all);
		atomic_store(&commits_left, 0);
		if (!err)
			break;
		ck_assert_int_eq(err, -ENOSPC);
		nothing_is_new();
		ck_assert_int_ne(access(temp_path("x.img"), F_OK), 0);
		ck_assert_int_ne(access(temp_path("x.img.incomplete"), F_OK), 0);
		ck_assert_int_ne(access(temp_path("y.img.incomplete"), F_OK), 0);
	}
	ck_assert_int_gt(tries, 6);
	await(COPY_SYNCHRONIZED);
}
END_TEST

/* Whether it died before all was done. */
static bool mirror_and_die(const struct pair_request all[2], int commits)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		begin();
		temp_forget();
		atomic_store(&dies, true);
		atomic_store(&commits_left, commits);
		mirror_a_and_c(all);
		raise(SIGUSR1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGUSR1);
	return WTERMSIG(status) == SIGKILL;
}

static bool all_are_there(void)
{
	struct group_facts g;

	if (group_named(temp.t, "new", &g)) {
		nothing_is_new();
		return false;
	}
	ck_assert(g.pairs == 2 && g.disks == 2 && g.consistent);
	ck_assert(pairs_have(temp.t, "new-a.img") && pairs_have(temp.t, "new-c.img"));
	return true;
}

/* After each commit; and the next start changes nothing more. */
static void die_while_made(enum copy_state state)
{
	const struct pair_request all[2] = {
		{ .target = "x.img", .mode = MODE_SYNCHRONOUS, .mode_bits = 0600, .state = state },
		{ .target = "y.img", .mode = MODE_SYNCHRONOUS, .mode_bits = 0600, .state = state },
	};
	unsigned none = 0;
	int commits = 0;

	do {
		ck_assert_int_lt(++commits, 30);
		temp_close();
		mirror_and_die(all, commits);
		begin();
		none += !all_are_there();
		if (!pairs_have(temp.t, "new-a.img")) {
			ck_assert_int_ne(access(temp_path("x.img.incomplete"), F_OK), 0);
			ck_assert_int_ne(access(temp_path("y.img.incomplete"), F_OK), 0);
		}
		temp_close();
		begin();
	} while (!all_are_there());
	ck_assert_uint_gt(none, 5);
}

START_TEST(all_or_nothing_after_a_death)
{
	struct pair_facts f;

	die_while_made(0);
	ck_assert_int_eq(pair_named(temp.t, "new-c.img", &f), 0);
	number = f.number;
	await(COPY_SYNCHRONIZED);
}
END_TEST

START_TEST(all_or_nothing_that_is_to_wait)
{
	die_while_made(COPY_PREPARED);
}
END_TEST

UNIT_MAIN("group replicas", replicas_setup, teardown, an_existing_target_stays,
	  all_or_nothing_is_made, all_or_nothing_after_a_death, all_or_nothing_that_is_to_wait)

// SPDX-License-Identifier: GPL-2.0-or-later
/* Mirrors in groups: who may join, and that a mirror that ends is in none, over stops and crashes. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "groups.h"
#include "notes.h"
#include "pairs_inner.h"
#include "temp_pair.h"
#include "unit.h"

static uint32_t group;
static uint32_t first, second; /* a.img -> b.img, c.img -> d.img */

static uint32_t create(const char *name)
{
	struct group_facts f;

	ck_assert_int_eq(tandem_create_group(temp.t, name, false, &why), 0);
	ck_assert_int_eq(group_named(temp.t, name, &f), 0);
	return f.number;
}

static uint32_t make_pair(const char *from, struct pair_request q)
{
	struct disk *d = temp_disk(from);
	struct pair_facts f;

	q.mode = q.mode ? q.mode : MODE_SYNCHRONOUS;
	q.mode_bits = 0600;
	ck_assert_msg(!tandem_mirror(temp.t, d, &q, &f, &why), "%s", why.message);
	disk_unref(d);
	number = f.number;
	await(COPY_SYNCHRONIZED);
	return f.number;
}

static void pairs_setup(void)
{
	seed = 3;
	source = NULL;
	temp_tandem_begin();
	temp_make("a.img", MIB);
	temp_make("c.img", MIB);
	temp_make("e.img", MIB);
	begin();
	group = create("db");
	first = make_pair("a.img", (struct pair_request){ .target = "b.img", .name = "one" });
	second = make_pair("c.img", (struct pair_request){ .target = "d.img", .name = "two" });
}

static int add(uint32_t pair)
{
	return tandem_add_pair_to_group(temp.t, group, pair, false, &why);
}

static int take_out(uint32_t pair)
{
	return tandem_remove_pair_from_group(temp.t, group, pair, false, &why);
}

/* "one two" */
static const char *members(void)
{
	static char text[200];
	uint32_t *pairs;
	size_t count, len = 0;

	ck_assert_int_eq(group_pairs(temp.t, group, &pairs, &count), 0);
	text[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		struct pair_facts f;

		ck_assert_int_eq(pair_numbered(temp.t, pairs[i], &f), 0);
		len += snprintf(text + len, sizeof(text) - len, "%s%s", i ? " " : "", f.name);
	}
	free(pairs);
	return text;
}

static int operate_on(uint32_t pair, enum replica_operation op)
{
	number = pair;
	return operate(op, false);
}

START_TEST(they_come_and_go)
{
	ck_assert_int_eq(add(second), 0);
	ck_assert_int_eq(add(first), 0);
	ck_assert_str_eq(members(), "one two");
	ck_assert_int_eq(add(first), -EEXIST);
	ck_assert_int_eq(tandem_remove_pair_from_group(temp.t, group, first, true, &why), 0);
	ck_assert_str_eq(members(), "one two");
	ck_assert_int_eq(take_out(first), 0);
	ck_assert_int_eq(take_out(first), -ENOENT);
	ck_assert_int_eq(tandem_add_pair_to_group(temp.t, group, first, true, &why), 0);
	ck_assert_str_eq(members(), "two");
	ck_assert_int_eq(add(12345), -ENOENT);
	ck_assert_uint_eq(temp_events("GroupChanged groups/db Added=replicas/one"), 1);
	ck_assert_uint_eq(temp_events("GroupChanged groups/db Removed=replicas/one"), 1);
	ck_assert_int_eq(tandem_delete_group(temp.t, "db", false, &why), 0);
	group = create("db");
	ck_assert_str_eq(members(), "");
	ck_assert_int_eq(add(first), 0);
}
END_TEST

START_TEST(they_are_recorded)
{
	struct disk *e = temp_disk("e.img");
	struct group_facts f;

	ck_assert_int_eq(tandem_add_to_group(temp.t, group, e, false, &why), 0);
	disk_unref(e);
	ck_assert_int_eq(add(first), 0);
	ck_assert_int_eq(add(second), 0);
	temp_close();
	begin();
	ck_assert_str_eq(members(), "one two");
	temp_close();
	temp_open_and_crash();
	begin();
	ck_assert_str_eq(members(), "one two");
	ck_assert_int_eq(group_numbered(temp.t, group, &f), 0);
	ck_assert(f.disks == 1 && f.pairs == 2 && !f.absent);
}
END_TEST

/* In the transaction in which it ends. */
START_TEST(one_that_ends_leaves)
{
	uint32_t db = group;

	ck_assert_int_eq(add(first), 0);
	ck_assert_int_eq(add(second), 0);
	group = create("web");
	ck_assert_int_eq(add(first), 0);
	number = first;
	do_it(OP_DETACH);
	ck_assert_str_eq(members(), "");
	group = db;
	ck_assert_str_eq(members(), "two");
	ck_assert_uint_eq(temp_events("GroupChanged groups/db Removed=replicas/one"), 1);
	ck_assert_uint_eq(temp_events("GroupChanged groups/web Removed=replicas/one"), 1);
	ck_assert_int_eq(add(first), -ENOENT);
	temp_close();
	begin();
	ck_assert_str_eq(members(), "two");
}
END_TEST

START_TEST(other_modes)
{
	struct group_facts f;

	ck_assert_int_eq(add(first), 0);
	ck_assert_int_eq(operate_on(second, OP_RESET_TO_ASYNC), 0);
	ck_assert_int_eq(add(second), -EINVAL);
	ck_assert_str_eq(why.message, "it is Asynchronous, and one is Synchronous");
	ck_assert_str_eq(why.advice, "ResetToSync");
	ck_assert_int_eq(operate_on(second, OP_RESET_TO_SYNC), 0);
	await(COPY_SYNCHRONIZED);
	ck_assert_int_eq(add(second), 0);
	ck_assert_int_eq(operate_on(first, OP_RESET_TO_ASYNC), 0);
	ck_assert_int_eq(tandem_set_group_consistent(temp.t, group, true, false, &why), -EBUSY);
	ck_assert_int_eq(group_numbered(temp.t, group, &f), 0);
	ck_assert(!f.consistent);
}
END_TEST

/* What counts is what was asked for, not the mode that they have just now. */
START_TEST(adaptive_ones)
{
	ck_assert_int_eq(operate_on(first, OP_RESET_TO_ADAPTIVE), 0);
	ck_assert_int_eq(add(first), 0);
	ck_assert_int_eq(add(second), -EINVAL);
	ck_assert_str_eq(why.message, "it is Synchronous, and one is Adaptive");
	ck_assert_str_eq(why.advice, "ResetToAdaptive");
	ck_assert_int_eq(operate_on(second, OP_RESET_TO_ADAPTIVE), 0);
	ck_assert_int_eq(add(second), 0);
	ck_assert_int_eq(tandem_set_group_consistent(temp.t, group, true, false, &why), 0);
}
END_TEST

START_TEST(who_does_not_go_with_others)
{
	uint32_t chained;
	struct pair_facts f;

	ck_assert_int_eq(add(first), 0);
	chained = make_pair("b.img", (struct pair_request){ .target = "f.img", .name = "three" });
	ck_assert_int_eq(add(chained), -EINVAL);
	ck_assert_str_eq(why.message, "its source is the target of one");
	ck_assert_int_eq(take_out(first), 0);
	ck_assert_int_eq(add(chained), 0);
	ck_assert_int_eq(add(first), -EINVAL);
	ck_assert_str_eq(why.message, "its target is the source of three");
	chained = make_pair("e.img", (struct pair_request){ .target = "g.img", .moves = true });
	ck_assert_int_eq(add(chained), -EBUSY);
	ck_assert_str_eq(why.advice, "BreakMirrorVirtualDisk");
	ck_assert_int_eq(pair_numbered(temp.t, chained, &f), 0);
	ck_assert_str_eq(members(), "three");
}
END_TEST

/* ---- what is done to all ---- */

static _Atomic bool failing;

int mdb_txn_commit(MDB_txn *txn)
{
	int (*real)(MDB_txn *) = dlsym(RTLD_NEXT, "mdb_txn_commit");

	if (!atomic_load(&failing))
		return real(txn);
	mdb_txn_abort(txn);
	return ENOSPC;
}

static struct disk *_Atomic unflushable;

/* Also for the libraries. */
__attribute__((visibility("default"))) int fdatasync(int fd)
{
	struct disk *d = atomic_load(&unflushable);

	errno = EIO;
	return d && fd == file_fd(d->image->file) ? -1 : syscall(SYS_fdatasync, fd);
}

static int operate_all(enum replica_operation op)
{
	struct group_step steps[8] = { 0 };
	uint32_t *pairs;
	size_t count;
	int err;

	ck_assert_int_eq(group_pairs(temp.t, group, &pairs, &count), 0);
	for (size_t i = 0; i < count; i++) {
		struct pair_facts f;

		ck_assert_int_eq(pair_numbered(temp.t, pairs[i], &f), 0);
		steps[i] = (struct group_step){ .pair = pairs[i], .from = f.state };
	}
	free(pairs);
	err = tandem_operate_group(temp.t, group, op, steps, count, false, false, &why);
	return err;
}

static enum copy_state state_of(uint32_t pair)
{
	struct pair_facts f;

	ck_assert_int_eq(pair_numbered(temp.t, pair, &f), 0);
	return f.state;
}

static void both_are(enum copy_state state)
{
	number = first;
	await(state);
	number = second;
	await(state);
}

static void make_consistent(void)
{
	ck_assert_int_eq(add(first), 0);
	ck_assert_int_eq(add(second), 0);
	ck_assert_int_eq(tandem_set_group_consistent(temp.t, group, true, false, &why), 0);
}

static void write_to(const char *label)
{
	struct disk *d = temp_disk(label);

	ck_assert_msg(!disk_open(d, true), "%s is %s", label, temp_state(label));
	ck_assert_int_eq(change(d, 8192, 4096), 0);
	disk_close(d);
	disk_unref(d);
}

/* What cannot be recorded is done to none, and all go on. */
START_TEST(unrecorded)
{
	static const struct {
		enum replica_operation op;
		enum copy_state from;
	} cases[] = {
		{ OP_SPLIT, COPY_SYNCHRONIZED },  { OP_SUSPEND, COPY_SYNCHRONIZED },
		{ OP_DETACH, COPY_SYNCHRONIZED }, { OP_FAILOVER, COPY_SYNCHRONIZED },
		{ OP_RESUME, COPY_SUSPENDED },    { OP_RESYNC_REPLICA, COPY_SPLIT },
		{ OP_FAILBACK, COPY_FAILEDOVER },
	};

	make_consistent();
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		both_are(COPY_SYNCHRONIZED);
		if (cases[i].from == COPY_SUSPENDED)
			ck_assert_int_eq(operate_all(OP_SUSPEND), 0);
		if (cases[i].from == COPY_SPLIT)
			ck_assert_int_eq(operate_all(OP_SPLIT), 0);
		if (cases[i].from == COPY_FAILEDOVER)
			ck_assert_int_eq(operate_all(OP_FAILOVER), 0);
		atomic_store(&failing, true);
		ck_assert_msg(operate_all(cases[i].op) == -ENOSPC, "%d: %s", cases[i].op,
			      why.message);
		atomic_store(&failing, false);
		both_are(cases[i].from);
		ck_assert_str_eq(members(), "one two");
		/* A disk is called as the file that it is in. */
		write_to(cases[i].from == COPY_FAILEDOVER ? "b.img" : "a.img");
		write_to(cases[i].from == COPY_FAILEDOVER ? "d.img" : "c.img");
		if (cases[i].from != COPY_SYNCHRONIZED)
			ck_assert_int_eq(operate_all(cases[i].op), 0);
		both_are(COPY_SYNCHRONIZED);
		ck_assert(is_same("a.img", "b.img") && is_same("c.img", "d.img"));
	}
	ck_assert_int_eq(operate_all(OP_DETACH), 0);
	ck_assert_str_eq(members(), "");
}
END_TEST

/* Nobody writes, and what stopped for nothing goes on all the same. */
/* Its members' keepers may be at work. */
static bool is_split(void *arg)
{
	int err = operate_all(OP_SPLIT);

	ck_assert_msg(!err || err == -EBUSY || err == -EAGAIN, "%d: %s", err, why.message);
	return !err;
}

START_TEST(unrecorded_and_idle)
{
	make_consistent();
	both_are(COPY_SYNCHRONIZED);
	atomic_store(&failing, true);
	ck_assert_int_eq(operate_all(OP_SPLIT), -ENOSPC);
	atomic_store(&failing, false);
	ck_assert_msg(unit_until(is_split, NULL, 20), "%s", why.message);
	both_are(COPY_SPLIT);
	ck_assert(is_same("a.img", "b.img") && is_same("c.img", "d.img"));
}
END_TEST

/* The second is found to be impossible when the first is prepared already. */
START_TEST(prepared_and_taken_back)
{
	struct snapshot_facts s;
	struct disk *c = temp_disk("c.img");

	make_consistent();
	ck_assert_int_eq(operate_on(second, OP_SPLIT), 0);
	ck_assert_int_eq(tandem_snapshot(temp.t, &c, 1, "old", false, &s, &why), 0);
	disk_unref(c);
	write_to("c.img");
	ck_assert_int_eq(operate_all(OP_FAILOVER), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why.message, "two: c.img and d.img differ"));
	ck_assert_int_eq(state_of(first), COPY_SYNCHRONIZED);
	ck_assert_int_eq(state_of(second), COPY_SPLIT);
	write_to("a.img");
	ck_assert(is_same("a.img", "b.img"));
	/* Of what somebody did meanwhile nothing is done. */
	ck_assert_int_eq(operate_on(second, OP_RESYNC_REPLICA), 0);
	both_are(COPY_SYNCHRONIZED);
	ck_assert_int_eq(operate_all(OP_FAILOVER), 0);
	both_are(COPY_FAILEDOVER);
}
END_TEST

/* Of a source that cannot be flushed, what was answered is in its notes only. */
START_TEST(notes_of_one_that_is_taken_back)
{
	struct snapshot_facts s;
	struct disk *c = temp_disk("c.img"), *a = temp_disk("a.img");
	static const uint8_t boot[16] = "a boot", binding[NOTES_BINDING] = "an image";
	struct notes *notes;
	int dirfd = open(temp.dir, O_RDONLY | O_DIRECTORY);

	make_consistent();
	ck_assert_int_eq(operate_on(second, OP_SPLIT), 0);
	ck_assert_int_eq(tandem_snapshot(temp.t, &c, 1, "old", false, &s, &why), 0);
	write_to("c.img");
	ck_assert_int_eq(notes_open(dirfd, "a.notes", boot, &notes), 0);
	ck_assert_int_eq(notes_begin(notes, binding), 0);
	ck_assert_int_eq(notes_add(notes, 1, "note", 4, NULL, 0), 0);
	ck_assert_int_eq(disk_open(a, true), 0);
	ck_assert_ptr_null(a->image->notes);
	a->image->notes = notes;
	atomic_store(&unflushable, a);
	ck_assert_int_eq(operate_all(OP_FAILOVER), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why.message, "two: c.img and d.img differ"));
	ck_assert_uint_gt(notes_bytes(notes), 0);
	atomic_store(&unflushable, NULL);
	a->image->notes = NULL;
	notes_close(notes);
	ck_assert_int_eq(faccessat(dirfd, "a.notes", F_OK, 0), 0);
	disk_close(a);
	disk_unref(a);
	disk_unref(c);
	close(dirfd);
}
END_TEST

/* As after the loss of what the sources were on. */
START_TEST(missing_sources)
{
	make_consistent();
	write_to("a.img");
	write_to("c.img");
	temp_close();
	ck_assert_int_eq(unlink(temp_path("a.img")), 0);
	ck_assert_int_eq(unlink(temp_path("c.img")), 0);
	begin();
	ck_assert_str_eq(temp_state("a.img"), "Missing");
	ck_assert_int_eq(operate_all(OP_FAILOVER), 0);
	both_are(COPY_FAILEDOVER);
	ck_assert_str_eq(temp_state("b.img"), "Ready");
	ck_assert_str_eq(temp_state("d.img"), "Ready");
	temp_close();
	begin();
	both_are(COPY_FAILEDOVER);
	ck_assert_str_eq(members(), "one two");
}
END_TEST

START_TEST(what_has_no_one_instant)
{
	uint32_t behind;

	make_consistent();
	ck_assert_int_eq(operate_on(first, OP_RESET_TO_ASYNC), 0);
	ck_assert_int_eq(operate_all(OP_SPLIT), -EBUSY);
	ck_assert_str_eq(why.message, "two is Synchronous, and one is Asynchronous");
	ck_assert_int_eq(operate_on(first, OP_RESET_TO_SYNC), 0);
	both_are(COPY_SYNCHRONIZED);
	/* f.img is a target itself: who writes e.img waits for it. */
	make_pair("e.img", (struct pair_request){ .target = "f.img", .name = "x" });
	behind = make_pair("f.img", (struct pair_request){ .target = "g.img", .name = "behind" });
	ck_assert_int_eq(add(behind), 0);
	ck_assert_int_eq(operate_all(OP_SPLIT), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why.message, "behind: f.img is the target of another mirror"));
	both_are(COPY_SYNCHRONIZED);
	ck_assert_int_eq(operate_all(OP_FAILOVER), -EBUSY);
	both_are(COPY_SYNCHRONIZED);
	ck_assert_int_eq(tandem_set_group_consistent(temp.t, group, false, false, &why), 0);
	ck_assert_int_eq(operate_all(OP_SPLIT), 0);
	both_are(COPY_SPLIT);
}
END_TEST

static uint64_t met_at(uint32_t pair)
{
	return pair_of_number(temp.t->pairs, pair)->meeting.at;
}

static void make_async(void)
{
	ck_assert_int_eq(operate_on(first, OP_RESET_TO_ASYNC), 0);
	ck_assert_int_eq(operate_on(second, OP_RESET_TO_ASYNC), 0);
	make_consistent();
	both_are(COPY_SYNCHRONIZED);
}

static void is_one_moment(enum copy_state state)
{
	both_are(state);
	ck_assert_uint_gt(met_at(first), 0);
	ck_assert_uint_eq(met_at(first), met_at(second));
	ck_assert(is_same("a.img", "b.img") && is_same("c.img", "d.img"));
}

/* Also where one of them lacks nothing. */
START_TEST(asynchronous_ones_stop_at_one_moment)
{
	make_async();
	write_to("a.img");
	write_to("c.img");
	ck_assert_int_eq(operate_all(OP_SPLIT), 0);
	is_one_moment(COPY_SPLIT);
	ck_assert_int_eq(operate_all(OP_RESYNC_REPLICA), 0);
	both_are(COPY_SYNCHRONIZED);
	write_to("c.img");
	ck_assert_int_eq(operate_all(OP_SUSPEND), 0);
	is_one_moment(COPY_SUSPENDED);
	ck_assert_int_eq(operate_all(OP_RESUME), 0);
	both_are(COPY_SYNCHRONIZED);
	/* They go on as before. */
	write_to("a.img");
	ck_assert_int_eq(operate_on(first, OP_SPLIT), 0);
	ck_assert(is_same("a.img", "b.img"));
}
END_TEST

/* Of the one source that both have one moment is taken. */
START_TEST(asynchronous_ones_of_one_source)
{
	uint32_t third;

	make_async();
	third = make_pair("a.img", (struct pair_request){ .target = "x.img",
							  .name = "third",
							  .mode = MODE_ASYNCHRONOUS });
	ck_assert_int_eq(add(third), 0);
	write_to("a.img");
	ck_assert_int_eq(operate_all(OP_SPLIT), 0);
	is_one_moment(COPY_SPLIT);
	ck_assert_int_eq(state_of(third), COPY_SPLIT);
	ck_assert_uint_eq(met_at(third), met_at(first));
	ck_assert(is_same("a.img", "x.img"));
}
END_TEST

/* One that does not come keeps all from stopping, and none from going on. */
START_TEST(one_that_does_not_get_there)
{
	struct pair *p;

	make_async();
	p = pair_of_number(temp.t->pairs, second);
	write_to("a.img");
	ck_assert_int_eq(async_stop_cycles(p, &why), 0);
	ck_assert_int_eq(operate_all(OP_SPLIT), -EBUSY);
	ck_assert_str_eq(why.message, "two: another operation waits for its next generation");
	async_release(p);
	both_are(COPY_SYNCHRONIZED);
	ck_assert_int_eq(pair_of_number(temp.t->pairs, first)->drain, DRAIN_NONE);
	ck_assert_msg(!operate_all(OP_SPLIT), "%s", why.message);
	is_one_moment(COPY_SPLIT);
}
END_TEST

/* Which goes without a pause of who writes, and is copied first. */
START_TEST(asynchronous_ones_take_over)
{
	make_async();
	write_to("a.img");
	write_to("c.img");
	ck_assert_msg(!operate_all(OP_FAILOVER), "%s", why.message);
	both_are(COPY_FAILEDOVER);
	ck_assert_uint_gt(met_at(first), 0);
	ck_assert_uint_eq(met_at(first), met_at(second));
	ck_assert_int_eq(pair_of_number(temp.t->pairs, first)->drain, DRAIN_NONE);
	write_to("b.img");
	write_to("d.img");
	ck_assert_int_eq(operate_all(OP_FAILBACK), 0);
	both_are(COPY_SYNCHRONIZED);
	/* Once more, as asynchronous ones that came back. */
	write_to("a.img");
	ck_assert_msg(!operate_all(OP_FAILOVER), "%s", why.message);
	both_are(COPY_FAILEDOVER);
	ck_assert_int_eq(operate_all(OP_REVERSE_ROLES), 0);
	both_are(COPY_SYNCHRONIZED);
}
END_TEST

static unsigned stops_of(uint32_t pair)
{
	return pair_of_number(temp.t->pairs, pair)->stops;
}

/* Each followed its source for itself: it is refused before any of them is stopped. */
START_TEST(asynchronous_ones_of_different_moments)
{
	unsigned stops;

	make_async();
	write_to("a.img");
	ck_assert_int_eq(operate_on(first, OP_SPLIT), 0);
	write_to("c.img");
	ck_assert_int_eq(operate_on(second, OP_SPLIT), 0);
	write_to("a.img");
	stops = stops_of(first);
	ck_assert_int_eq(operate_all(OP_FAILOVER), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(why.message, "different moments"));
	ck_assert_ptr_nonnull(strstr(why.advice, "DeactivateConsistency"));
	ck_assert_int_eq(operate_all(OP_REVERSE_ROLES), -EOPNOTSUPP);
	ck_assert_uint_eq(stops_of(first), stops);
	both_are(COPY_SPLIT);
	ck_assert_int_eq(tandem_set_group_consistent(temp.t, group, false, false, &why), 0);
	ck_assert_int_eq(operate_all(OP_FAILOVER), 0);
	both_are(COPY_FAILEDOVER);
}
END_TEST

static void lose_sources(void)
{
	temp_close();
	ck_assert_int_eq(unlink(temp_path("a.img")), 0);
	ck_assert_int_eq(unlink(temp_path("c.img")), 0);
	begin();
	ck_assert_str_eq(temp_state("a.img"), "Missing");
}

/* The moment at which they stopped is known without their sources, and after a restart. */
START_TEST(asynchronous_ones_without_their_sources)
{
	make_async();
	write_to("a.img");
	write_to("c.img");
	ck_assert_int_eq(operate_all(OP_SUSPEND), 0);
	lose_sources();
	ck_assert_msg(!operate_all(OP_FAILOVER), "%s", why.message);
	both_are(COPY_FAILEDOVER);
	ck_assert_str_eq(temp_state("b.img"), "Ready");
	ck_assert_str_eq(temp_state("d.img"), "Ready");
}
END_TEST

static bool lack_nothing(void *arg)
{
	struct pair_facts f, s;

	ck_assert(!pair_numbered(temp.t, first, &f) && !pair_numbered(temp.t, second, &s));
	return !f.differs && !s.differs && !f.shows && !s.shows;
}

/* Whenever each of them got there: nothing was written since. */
START_TEST(asynchronous_ones_that_lack_nothing)
{
	struct pair_settings soon = { .has_objective = true, .objective_s = 1 };

	make_async();
	ck_assert_int_eq(tandem_set_pair(temp.t, first, &soon, false, &why), 0);
	write_to("a.img");
	ck_assert(unit_until(lack_nothing, NULL, 20));
	ck_assert_int_eq(tandem_set_pair(temp.t, second, &soon, false, &why), 0);
	write_to("c.img");
	ck_assert(unit_until(lack_nothing, NULL, 20));
	lose_sources();
	ck_assert_msg(!operate_all(OP_FAILOVER), "%s", why.message);
	both_are(COPY_FAILEDOVER);
}
END_TEST

START_TEST(lost_at_different_moments)
{
	make_async();
	write_to("a.img");
	ck_assert_int_eq(operate_on(first, OP_SUSPEND), 0);
	write_to("c.img");
	lose_sources();
	ck_assert_int_eq(operate_all(OP_FAILOVER), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(why.message, "different moments"));
	ck_assert_int_eq(state_of(first), COPY_SUSPENDED);
}
END_TEST

/* ---- who holds what several disks have ---- */

static void *fail_over_all(void *err)
{
	*(int *)err = operate_all(OP_FAILOVER);
	return NULL;
}

static bool has_waiter(struct disk *d)
{
	bool has;

	pthread_mutex_lock(&d->ranges.mutex);
	has = d->ranges.waiting > 0;
	pthread_mutex_unlock(&d->ranges.mutex);
	return has;
}

static bool is_held(struct disk *d)
{
	bool held;

	pthread_mutex_lock(&d->ranges.mutex);
	held = d->ranges.first != NULL;
	pthread_mutex_unlock(&d->ranges.mutex);
	return held;
}

/* The source with the greater number is that of the mirror with the smaller one. */
static void make_crosswise(struct disk **low, struct disk **high)
{
	struct disk *a = temp_disk("a.img"), *e = temp_disk("e.img");
	bool ordered = a->number < e->number;

	*low = ordered ? a : e;
	*high = ordered ? e : a;
	operate_on(first, OP_DETACH);
	ck_assert_int_eq(add(make_pair((*high)->label, (struct pair_request){ .target = "x.img" })),
			 0);
	ck_assert_int_eq(add(make_pair((*low)->label, (struct pair_request){ .target = "y.img" })),
			 0);
}

/* As restores of several disks do, which have nothing else in common with it. */
START_TEST(sources_by_number)
{
	struct disk *low, *high;
	struct range whole;
	pthread_t thread;
	int err = -1;

	make_crosswise(&low, &high);
	range_lock_write(&low->ranges, &whole, 0, UINT64_MAX);
	ck_assert(!pthread_create(&thread, NULL, fail_over_all, &err));
	while (!has_waiter(low))
		usleep(1000);
	ck_assert(!is_held(high));
	range_unlock(&low->ranges, &whole);
	pthread_join(thread, NULL);
	ck_assert_msg(!err, "%s", why.message);
	disk_unref(low);
	disk_unref(high);
}
END_TEST

UNIT_MAIN("group pairs", pairs_setup, teardown, they_come_and_go, they_are_recorded,
	  one_that_ends_leaves, other_modes, adaptive_ones, who_does_not_go_with_others, unrecorded,
	  unrecorded_and_idle, prepared_and_taken_back, notes_of_one_that_is_taken_back,
	  missing_sources, what_has_no_one_instant, asynchronous_ones_stop_at_one_moment,
	  asynchronous_ones_of_one_source, one_that_does_not_get_there, asynchronous_ones_take_over,
	  asynchronous_ones_of_different_moments, asynchronous_ones_without_their_sources,
	  asynchronous_ones_that_lack_nothing, lost_at_different_moments, sources_by_number)

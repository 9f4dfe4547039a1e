// SPDX-License-Identifier: GPL-2.0-or-later
/* groups/NAME: its files, its operations, what is refused, and that a refusal is of all. */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshots.h"
#include "temp_ctl.h"
#include "unit.h"

static const char control[] = "groups/db/control";

static void make_group(void)
{
	make("a.img", 1 << 20);
	make("b.img", 1 << 20);
	make("c.img", 1 << 20);
	start();
	ck_assert_int_eq(command("control", "CreateGroup Name=db"), 0);
	ck_assert_int_eq(command(control, "AddDisk Name=b.img"), 0);
	ck_assert_int_eq(command(control, "adddisk name=a.img"), 0);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "a.img@x/ b.img@x/ ", sorted: disks have their numbers in the order of the directory. */
static const char *replicas(void)
{
	static char sorted[1000];
	char copy[1000], *words[20], *save, *word;
	size_t count = 0, len = 0;

	snprintf(copy, sizeof(copy), "%s", list("replicas"));
	for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		words[count++] = word;
	qsort(words, count, sizeof(*words), compare);
	sorted[0] = '\0';
	for (size_t i = 0; i < count; i++)
		len += snprintf(sorted + len, sizeof(sorted) - len, "%s ", words[i]);
	return sorted;
}

static uint64_t generation(const char *label)
{
	struct snapshot_facts s;

	ck_assert_msg(!snapshot_labelled(tandem, label, &s), "%s", label);
	return s.generation;
}

/* One byte all over a disk, or whether it is that. */
static void fill(const char *label, char byte)
{
	struct disk *d = tandem_disk_labelled(tandem, label);
	char buf[4096];

	memset(buf, byte, sizeof(buf));
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(disk_write(d, buf, sizeof(buf), 0, 0), 0);
	disk_close(d);
	disk_unref(d);
}

static char first_byte(const char *label)
{
	struct disk *d = tandem_disk_labelled(tandem, label);
	size_t done;
	char byte;

	ck_assert_int_eq(disk_open(d, false), 0);
	ck_assert_int_eq(disk_read(d, &byte, 1, 0, 0, &done), 0);
	disk_close(d);
	disk_unref(d);
	return byte;
}

START_TEST(files)
{
	uint64_t version;
	struct node n;

	make_group();
	ck_assert_str_eq(list("groups"), "db/ ");
	ck_assert_str_eq(list("groups/db"),
			 "control status status.json members ConsistentPointInTime SyncTime "
			 "SyncMaintained CopyState RequestedCopyState SyncType SyncMode "
			 "ProgressStatus PercentSynced CopyType ReplicaType SyncState CopyPriority "
			 "CopyMethodology RecoveryPointObjective wait/ ");
	ck_assert_str_eq(cat("groups/db/members"), "a.img\nb.img\n");
	ck_assert_str_eq(cat("groups/db/ConsistentPointInTime"), "false\n");
	ck_assert_str_eq(cat("groups/db/status"),
			 "Name: db\nConsistentPointInTime: false\nDisks: 2\nAbsent: 0\nPairs: 0\n"
			 "SyncTime: -\nSyncMaintained: false\nCopyState: Not Applicable (15)\n"
			 "RequestedCopyState: Not Applicable (15)\nSyncType: -\nSyncMode: -\n"
			 "ProgressStatus: Not Applicable (15)\nPercentSynced: -\nCopyType: -\n"
			 "ReplicaType: -\nSyncState: -\nCopyPriority: -\nCopyMethodology: -\n"
			 "RecoveryPointObjective: -\n");
	cat("groups/db/status.json");
	expect("\"Name\":\"db\",\"ConsistentPointInTime\":false,\"Absent\":0,"
	       "\"Members\":[\"a.img\",\"b.img\"],\"SyncTime\":null,");
	expect(",\"RecoveryPointObjective\":null}\n");
	cat("status.json");
	expect(",\"Groups\":{\"db\":{\"ConsistentPointInTime\":false,\"Absent\":0,"
	       "\"Members\":[\"a.img\",\"b.img\"],\"SyncTime\":null,");
	expect(",\"RecoveryPointObjective\":null}},\"Jobs\"");
	cat("metrics");
	expect("\ntandemfs_group_disks{group=\"db\"} 2\n");
	expect("\ntandemfs_group_absent_disks{group=\"db\"} 0\n");
	version = node_version(ctl, at("groups/db/members"));
	ck_assert_int_eq(command(control, "RemoveDisk Name=a.img"), 0);
	ck_assert_uint_ne(node_version(ctl, at("groups/db/members")), version);
	ck_assert_str_eq(cat("groups/db/members"), "b.img\n");
	n = at(control);
	version = node_version(ctl, at("groups"));
	ck_assert_int_eq(command("control", "DeleteGroup Name=db"), 0);
	ck_assert_uint_ne(node_version(ctl, at("groups")), version);
	ck_assert_str_eq(list("groups"), "");
	ck_assert_int_eq(walk("groups/db", &n), -ENOENT);
	cat("events");
	expect(" CommandDone groups/db Operation=RemoveDisk ");
}
END_TEST

START_TEST(that_are_no_more)
{
	struct node status, gone;

	make_group();
	status = at("groups/db/status");
	gone = at(control);
	ck_assert_int_eq(command("control", "DeleteGroup Name=db"), 0);
	ck_assert_int_eq(command("control", "CreateGroup Name=db"), 0);
	ck_assert(!node_exists(ctl, status));
	ck_assert_uint_eq(node_version(ctl, status), 0);
	text_free(&out);
	ck_assert_int_eq(node_render(ctl, status, &out), -ENOENT);
	ck_assert_int_eq(node_command(ctl, gone, "snapshot x", 10, &root, &out, NULL), -ENOENT);
	expect("\nMessage: the group is gone\n");
}
END_TEST

START_TEST(refused)
{
	// clang-format off
	static const struct {
		const char *where, *command;
		int err;
	} cases[] = {
		{ "control", "CreateGroup Name=db", -EEXIST },
		{ "control", "CreateGroup Name=a/b", -EINVAL },
		{ "control", "CreateGroup", -EINVAL },
		{ "control", "DeleteGroup Name=none", -ENOENT },
		{ "control", "AddDisk Name=a.img", -EINVAL },
		{ control, "AddDisk Name=a.img", -EEXIST },
		{ control, "AddDisk Name=none", -ENOENT },
		{ control, "AddDisk", -EINVAL },
		{ control, "RemoveDisk Name=c.img", -ENOENT },
		{ control, "RemoveDisk Name=none", -ENOENT },
		{ control, "snapshot", -EINVAL },
		{ control, "snapshot now", -EINVAL },
		{ control, "unsnapshot none", -ENOENT },
		{ control, "CreateReplica SyncType=Snapshot", -EINVAL },
		{ control, "CreateReplica SyncType=Mirror", -EINVAL },
		{ control, "CreateReplica SyncType=Mirror ElementName=db", -EEXIST },
		{ control, "CreateReplica SyncType=Clone ElementName=db", -EEXIST },
		{ control, "CreateReplica SyncType=Mirror ElementName=x TargetStorageVolume=y.img", -EINVAL },
		{ control, "CreateReplica SyncType=Mirror ElementName=x TargetStoragePool=none", -ENOENT },
		{ control, "CreateReplica SyncType=Mirror ElementName=x TargetElementSupplier=1", -EOPNOTSUPP },
		{ control, "CreateReplica SyncType=Mirror ElementName=x TargetElementSupplier=3", -EOPNOTSUPP },
		{ control, "CreateReplica SyncType=Mirror ElementName=x AcknowledgeAt=Flush Mode=Asynchronous", -EOPNOTSUPP },
		{ control, "CreateReplica SyncType=Clone ElementName=x CopyMethodology=9", -EOPNOTSUPP },
		{ control, "CreateReplica SyncType=Clone ElementName=x Mode=Synchronous", -EOPNOTSUPP },
		{ control, "CreateReplica SyncType=TokenizedClone ElementName=x", -EOPNOTSUPP },
		{ control, "CreateReplica SyncType=Snapshot ElementName=x ReadOnly=false", -EOPNOTSUPP },
		{ control, "CreateReplica SyncType=Snapshot ElementName=x Password=y", -EACCES },
		{ control, "RestoreTo At=g999", -ENOENT },
		{ control, "RestoreTo At=none", -ENOENT },
		{ control, "RestoreTo", -EINVAL },
		{ control, "KeepHistory Window=1h Granularity=2h", -EINVAL },
		{ control, "AddSyncPair Name=x", -ENOENT },
		{ control, "AddSyncPair Name=b.img@taken", -EOPNOTSUPP },
		{ control, "RemoveSyncPair Name=x", -ENOENT },
		{ control, "5", -EINVAL },
		{ control, "ReturnToResourcePool", -EOPNOTSUPP },
		{ control, "SetReplicationRelationship Operation=Fracture", -EOPNOTSUPP },
		{ control, "SetReplicationRelationship Operation=AddSyncPair", -EINVAL },
		{ control, "Resize Size=1M", -EINVAL },
	};
	// clang-format on

	make_group();
	ck_assert_int_eq(command("disks/b.img/control", "snapshot taken"), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int err = command(cases[i].where, cases[i].command);

		ck_assert_msg(err == cases[i].err, "%s: %d", cases[i].command, err);
		expect("\nMessage: ");
	}
	ck_assert_str_eq(cat("groups/db/members"), "a.img\nb.img\n");
	ck_assert_str_eq(replicas(), "b.img@taken/ ");
	ck_assert_int_eq(command("control", "CreateGroup Name=empty"), 0);
	ck_assert_int_eq(command("groups/empty/control", "snapshot x"), -EBUSY);
	expect("\nRecommendedActions: AddDisk Name=\n");
}
END_TEST

START_TEST(plans)
{
	// clang-format off
	static const struct {
		const char *where, *command;
	} cases[] = {
		{ "control", "Plan CreateGroup Name=x" }, { "control", "Plan DeleteGroup Name=db" },
		{ control, "Plan AddDisk Name=c.img" }, { control, "Plan RemoveDisk Name=a.img" },
		{ control, "Plan ActivateConsistency" }, { control, "Plan snapshot two" },
		{ control, "Plan unsnapshot one" }, { control, "Plan RestoreTo At=one" },
		{ control, "Plan KeepHistory Window=1h" },
		{ control, "Plan CreateReplica SyncType=Snapshot ElementName=two" },
		{ control, "Plan CreateReplica SyncType=Mirror ElementName=two" },
		{ control, "Plan CreateReplica SyncType=Clone ElementName=two Format=vhdx" },
	};
	// clang-format on

	make_group();
	ck_assert_int_eq(command(control, "snapshot one"), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		ck_assert_msg(!command(cases[i].where, cases[i].command), "%s", cases[i].command);
		expect("\nMessage: ");
		expect("would ");
	}
	ck_assert_str_eq(list("groups"), "db/ ");
	ck_assert_str_eq(cat("groups/db/members"), "a.img\nb.img\n");
	ck_assert_str_eq(cat("groups/db/ConsistentPointInTime"), "false\n");
	ck_assert_str_eq(replicas(), "a.img@one/ b.img@one/ ");
	cat("disks/a.img/status");
	expect("\nHistoryWindow: -\n");
}
END_TEST

START_TEST(snapshots_of_all)
{
	make_group();
	ck_assert_int_eq(command(control, "snapshot each"), 0);
	ck_assert_uint_ne(generation("a.img@each"), generation("b.img@each"));
	ck_assert_int_eq(command(control, "3"), 0);
	ck_assert_str_eq(cat("groups/db/ConsistentPointInTime"), "true\n");
	ck_assert_int_eq(command(control, "createreplica synctype=7 elementname=together"), 0);
	expect("\nMessage: together is 2 disks as of ");
	ck_assert_uint_eq(generation("a.img@together"), generation("b.img@together"));
	ck_assert_int_eq(command(control,
				 "SetReplicationRelationship Operation=DeactivateConsistency"),
			 0);
	ck_assert_str_eq(cat("groups/db/ConsistentPointInTime"), "false\n");
	ck_assert_int_eq(command(control, "unsnapshot each"), 0);
	ck_assert_str_eq(replicas(), "a.img@together/ b.img@together/ ");
}
END_TEST

/* One disk refuses: nothing is done to any. */
static void all_or_none(void)
{
	ck_assert_int_eq(command("disks/b.img/control", "snapshot taken"), 0);
	ck_assert_int_eq(command(control, "snapshot taken"), -EEXIST);
	ck_assert_str_eq(replicas(), "b.img@taken/ ");
	ck_assert_int_eq(command(control, "snapshot one"), 0);
	ck_assert_int_eq(command("replicas/b.img@one/control", "Hold Tag=backup"), 0);
	ck_assert_int_eq(command(control, "unsnapshot one"), -EBUSY);
	expect("\nMessage: b.img@one is held: backup\n");
	ck_assert_str_eq(replicas(), "a.img@one/ b.img@one/ b.img@taken/ ");
	ck_assert_int_eq(command("replicas/b.img@one/control", "Unhold Tag=backup"), 0);
	ck_assert_int_eq(command(control, "unsnapshot one"), 0);
	/* A disk that has none is where it leads already. */
	ck_assert_int_eq(command(control, "unsnapshot taken"), 0);
	expect("\nMessage: deleted taken of 1 disk, ");
	ck_assert_str_eq(replicas(), "");
}

START_TEST(all_or_none_of_each)
{
	make_group();
	all_or_none();
}
END_TEST

START_TEST(all_or_none_together)
{
	make_group();
	ck_assert_int_eq(command(control, "ActivateConsistency"), 0);
	all_or_none();
}
END_TEST

START_TEST(restores)
{
	struct disk *b;

	make_group();
	ck_assert_int_eq(command(control, "ActivateConsistency"), 0);
	fill("a.img", 'a');
	fill("b.img", 'b');
	ck_assert_int_eq(command(control, "snapshot one"), 0);
	fill("a.img", 'x');
	fill("b.img", 'y');
	b = tandem_disk_labelled(tandem, "b.img");
	ck_assert_int_eq(disk_open(b, false), 0);
	ck_assert_int_eq(command(control, "RestoreTo At=one"), -EBUSY);
	expect("\nMessage: b.img is open (1)");
	ck_assert(first_byte("a.img") == 'x' && first_byte("b.img") == 'y');
	ck_assert_str_eq(replicas(), "a.img@one/ b.img@one/ ");
	ck_assert_int_eq(command(control, "RestoreTo At=one Force"), 0);
	expect("\nMessage: 2 disks are those of g");
	ck_assert(first_byte("a.img") == 'a' && first_byte("b.img") == 'b');
	disk_close(b);
	disk_unref(b);
	ck_assert_ptr_nonnull(strstr(list("disks/a.img/snapshots"), "before-restore-"));
	ck_assert_ptr_nonnull(strstr(list("disks/b.img/snapshots"), "before-restore-"));
}
END_TEST

/* What was made of each for itself is of no one moment, unless nothing was written between. */
START_TEST(restores_to_one_moment)
{
	const char *first, *second;
	char later[100];

	make_group();
	fill("a.img", 'a');
	fill("b.img", 'b');
	ck_assert_int_eq(command(control, "snapshot each"), 0);
	first = generation("a.img@each") < generation("b.img@each") ? "a.img" : "b.img";
	second = *first == 'a' ? "b.img" : "a.img";
	ck_assert_int_eq(command(control, "ActivateConsistency"), 0);
	ck_assert_int_eq(command(control, "Plan RestoreTo At=each"), 0);
	fill(second, 'y');
	ck_assert_int_eq(command(control, "Plan RestoreTo At=each"), 0);
	fill(first, 'x');
	ck_assert_int_eq(command(control, "RestoreTo At=each"), -ENOENT);
	expect("\nMessage: no moment of all disks: ");
	expect("\nRecommendedActions: DeactivateConsistency\n");
	ck_assert(first_byte(first) == 'x' && first_byte(second) == 'y');
	ck_assert_int_eq(command(control, "snapshot one"), 0);
	fill("a.img", '1');
	fill("b.img", '2');
	snprintf(later, sizeof(later), "disks/%s/control", second);
	ck_assert_int_eq(command(later, "snapshot later"), 0);
	ck_assert_int_eq(command(control, "RestoreTo At=now"), -ENOENT);
	snprintf(later, sizeof(later), "\nRecommendedActions: RestoreTo At=g%llu\n",
		 (unsigned long long)generation("a.img@one"));
	expect(later);
	ck_assert_int_eq(command(control, "DeactivateConsistency"), 0);
	ck_assert_int_eq(command(control, "RestoreTo At=each"), 0);
	expect("\nMessage: 2 disks are what each was; ");
	ck_assert(first_byte("a.img") == 'a' && first_byte("b.img") == 'b');
}
END_TEST

/* Whoever fills asks the catalogue for each block, and gets its answer late. */
static _Atomic bool slow;
static pthread_t tester;

int mdb_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor)
{
	static const struct timespec late = { .tv_nsec = 50000000 };
	int (*real)(MDB_txn *, MDB_dbi, MDB_cursor **) = dlsym(RTLD_NEXT, "mdb_cursor_open");

	if (atomic_load(&slow) && !pthread_equal(pthread_self(), tester))
		nanosleep(&late, NULL);
	return real(txn, dbi, cursor);
}

static void fill_all(const char *label, char byte)
{
	struct disk *d = tandem_disk_labelled(tandem, label);
	char *buf = malloc(1 << 20);

	memset(buf, byte, 1 << 20);
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(disk_write(d, buf, 1 << 20, 0, 0), 0);
	disk_close(d);
	disk_unref(d);
	free(buf);
}

static bool is_aborting(const char *label)
{
	struct disk *d = tandem_disk_labelled(tandem, label);
	struct restore_facts f;
	bool aborting = restore_facts(d, &f) && f.back;

	disk_unref(d);
	return aborting;
}

static void make_restored(void)
{
	make_group();
	fill_all("a.img", 'a');
	fill_all("b.img", 'b');
	ck_assert_int_eq(command(control, "snapshot one"), 0);
	fill_all("a.img", 'x');
	fill_all("b.img", 'y');
	tester = pthread_self();
	atomic_store(&slow, true);
	ck_assert_int_eq(command(control, "RestoreTo At=one"), 0);
	ck_assert(first_byte("a.img") == 'a' && first_byte("b.img") == 'b');
}

START_TEST(restores_are_aborted)
{
	make_group();
	ck_assert_int_eq(command(control, "Abort"), -EBUSY);
	expect("\nMessage: no disk of the group is being restored\n");
	teardown();
	setup();
	make_restored();
	ck_assert_int_eq(command(control, "Plan Abort"), 0);
	expect("\nMessage: 2 disks would be at once what they were before the restore; ");
	fill("b.img", 'z');
	ck_assert_int_eq(command(control, "Abort"), -EPERM);
	ck_assert(first_byte("a.img") == 'a' && !is_aborting("a.img"));
	ck_assert_int_eq(command(control, "Abort Force"), 0);
	expect("\nMessage: 2 disks are at once what they were before the restore; "
	       "what was written since is lost\n");
	ck_assert(first_byte("a.img") == 'x' && first_byte("b.img") == 'y');
	ck_assert(is_aborting("a.img") && is_aborting("b.img"));
	cat("disks/a.img/status");
	expect("\nRestoring: -\nAborting: ");
	cat("disks/a.img/status.json");
	expect("\"RestoringPercent\":null,\"AbortingPercent\":");
	ck_assert_int_eq(command(control, "Abort Force"), -EBUSY);
	ck_assert_int_eq(command(control, "snapshot two"), -EBUSY);
	atomic_store(&slow, false);
}
END_TEST

/* It is made writable, too. */
static void write_snapshot(const char *label, const char *name)
{
	struct disk *d = tandem_disk_labelled(tandem, label), *over;
	struct snapshot_facts s;
	struct why why;

	ck_assert_int_eq(snapshot_named(tandem, d, name, &s), 0);
	ck_assert_int_eq(tandem_make_snapshot_writable(tandem, s.number, false, &why), 0);
	over = snapshot_overlay(tandem, s.number);
	ck_assert_int_eq(disk_open(over, true), 0);
	ck_assert_int_eq(disk_write(over, "x", 1, 0, 0), 0);
	disk_close(over);
	disk_unref(over);
	disk_unref(d);
}

/* From the snapshot that it is restored from; the others have nothing to abort. */
START_TEST(one_restore_is_aborted)
{
	make_restored();
	write_snapshot("a.img", "one");
	ck_assert_str_eq(cat("replicas/a.img@one/CopyState"), "Skewed\n");
	ck_assert_int_eq(command("replicas/a.img@one/control", "Abort"), 0);
	ck_assert_str_eq(cat("replicas/a.img@one/CopyState"), "Skewed\n");
	ck_assert(first_byte("a.img") == 'x' && is_aborting("a.img"));
	ck_assert(first_byte("b.img") == 'b' && !is_aborting("b.img"));
	ck_assert_int_eq(command("replicas/a.img@one/control", "Abort Force"), -EBUSY);
	expect("\nMessage: nothing is running; its source is not being restored from it\n");
	ck_assert_int_eq(command("disks/a.img/control", "Abort Force"), -EBUSY);
	expect("\nMessage: the restore of a.img is aborted already\n");
	/* Those that there are. */
	ck_assert_int_eq(command(control, "Abort"), 0);
	expect("\nMessage: 1 disk is at once what it was before the restore; ");
	ck_assert(first_byte("b.img") == 'y' && is_aborting("b.img"));
	atomic_store(&slow, false);
}
END_TEST

/* How many threads can be made; beyond that none. */
static _Atomic int threads_left = INT_MAX;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
		   void *arg)
{
	int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *),
		    void *) = dlsym(RTLD_NEXT, "pthread_create");

	if (threads_left == 0)
		return EAGAIN;
	threads_left--;
	return real(thread, attributes, run, arg);
}

/* Some have begun when one cannot: they go on as if nothing had been. */
START_TEST(restores_are_taken_back)
{
	int err;

	make_group();
	fill("a.img", 'a');
	fill("b.img", 'b');
	ck_assert_int_eq(command(control, "snapshot one"), 0);
	fill("a.img", 'x');
	fill("b.img", 'y');
	ck_assert_int_eq(command("control", "Settle"), 0);
	threads_left = 1;
	err = command(control, "RestoreTo At=one");
	threads_left = INT_MAX;
	ck_assert_int_eq(err, -ENOMEM);
	ck_assert(first_byte("a.img") == 'x' && first_byte("b.img") == 'y');
	ck_assert_str_eq(replicas(), "a.img@one/ b.img@one/ ");
	cat("disks/a.img/status");
	expect("\nRestoring: -\n");
	expect("\nOpeners: 0\n");
	ck_assert_int_eq(command(control, "RestoreTo At=one"), 0);
	ck_assert(first_byte("a.img") == 'a' && first_byte("b.img") == 'b');
}
END_TEST

START_TEST(history_of_all)
{
	make_group();
	ck_assert_int_eq(command(control, "KeepHistory Window=1h Limit=1G"), 0);
	expect("\nMessage: keeps 1h of history, a moment each 1000 ms, in at most 1G\n");
	cat("disks/a.img/status");
	expect("\nHistoryWindow: 1h\n");
	cat("disks/b.img/status");
	expect("\nHistoryWindow: 1h\n");
	ck_assert_int_eq(command("disks/a.img/control", "KeepHistory Window=0s Force"), 0);
	ck_assert_int_eq(command(control, "KeepHistory Window=1m"), -EPERM);
	expect("\nMessage: b.img: less than before");
	cat("disks/a.img/status");
	expect("\nHistoryWindow: -\n");
	ck_assert_int_eq(command(control, "KeepHistory Window=1m Force"), 0);
}
END_TEST

START_TEST(a_disk_that_is_gone)
{
	char from[200], to[200];

	make_group();
	snprintf(from, sizeof(from), "%s/b.img", dir);
	snprintf(to, sizeof(to), "%s/.away", dir);
	ck_assert_int_eq(rename(from, to), 0);
	ck_assert_int_eq(command("control", "Rescan"), 0);
	ck_assert_int_eq(command(control, "snapshot x"), -EBUSY);
	expect("\nMessage: b.img is Missing; this needs all disks of the group\n");
	ck_assert_str_eq(replicas(), "");
	cat("groups/db/status");
	expect("\nAbsent: 1\n");
	cat("status.json");
	expect("{\"Object\":\"groups/db\",\"Severity\":\"Warning\",\"Message\":\"Incomplete: ");
	ck_assert_int_eq(command(control, "RemoveDisk Name=b.img"), 0);
	ck_assert_int_eq(command(control, "snapshot x"), 0);
	ck_assert_str_eq(replicas(), "a.img@x/ ");
}
END_TEST

/* ---- what is made of all disks ---- */

static bool is_group_in(void *state)
{
	return !strcmp(cat("groups/r/CopyState"), state);
}

static void await_group(const char *state)
{
	ck_assert_msg(unit_until(is_group_in, (void *)state, 20), "%s, not %s", out.bytes, state);
}

START_TEST(mirrors_of_all)
{
	make_group();
	fill("a.img", 'a');
	fill("b.img", 'b');
	ck_assert_int_eq(command(control, "CreateReplica SyncType=Mirror ElementName=r "
					  "WaitForCopyState=Initialized"),
			 0);
	expect("\nElementName: r\n");
	ck_assert_str_eq(list("groups"), "db/ r/ ");
	ck_assert_str_eq(replicas(), "r-a.img/ r-b.img/ ");
	cat("groups/r/members");
	expect("a-r.img\nb-r.img\nreplicas/r-");
	expect("\nreplicas/r-a.img\n");
	expect("\nreplicas/r-b.img\n");
	ck_assert_str_eq(cat("groups/db/members"), "a.img\nb.img\n");
	ck_assert_str_eq(cat("groups/r/ConsistentPointInTime"), "false\n");
	ck_assert_str_eq(cat("groups/r/CopyState"), "Initialized\n");
	ck_assert_int_eq(command("replicas/r-a.img/control", "Activate"), 0);
	ck_assert_int_eq(command("replicas/r-b.img/control", "Activate"), 0);
	await_group("Synchronized\n");
	ck_assert_int_eq(command("groups/r/control", "Split"), 0);
	ck_assert_int_eq(first_byte("a-r.img"), 'a');
	ck_assert_int_eq(first_byte("b-r.img"), 'b');
	ck_assert_int_eq(command("groups/r/control", "Detach"), 0);
	ck_assert_int_eq(command("control", "DeleteGroup Name=r"), 0);
	/* What is called so by now has a number. */
	ck_assert_int_eq(command(control, "CreateReplica SyncType=Mirror ElementName=r "
					  "ConsistentPointInTime=true ThinProvisioningPolicy=3"),
			 0);
	await_group("Synchronized\n");
	cat("groups/r/members");
	expect("a-r-2.img\nb-r-2.img\nreplicas/r-");
	expect("\nreplicas/r-a.img\n");
	expect("\nreplicas/r-b.img\n");
	ck_assert_str_eq(cat("groups/r/ConsistentPointInTime"), "true\n");
	cat("replicas/r-b.img/status");
	expect("\nThinProvisioningPolicy: Copy thin source to full target\n");
}
END_TEST

START_TEST(clones_of_all)
{
	uint64_t g;

	make_group();
	fill("a.img", 'a');
	fill("b.img", 'b');
	ck_assert_int_eq(command(control, "CreateReplica SyncType=Clone ElementName=r "
					  "ConsistentPointInTime=true CopyMethodology=7"),
			 0);
	expect(" is 2 clones as of ");
	fill("a.img", 'x');
	ck_assert_int_eq(first_byte("a-r.img"), 'a');
	ck_assert_int_eq(first_byte("b-r.img"), 'b');
	ck_assert_str_eq(cat("groups/r/members"), "a-r.img\nb-r.img\n");
	ck_assert_str_eq(replicas(), "r-a.img/ r-b.img/ ");
	cat("replicas/r-a.img/status");
	g = strtoull(strstr(out.bytes, "\nGeneration: g") + 14, NULL, 10);
	ck_assert_uint_gt(g, 0);
	cat("replicas/r-b.img/status");
	ck_assert_uint_eq(strtoull(strstr(out.bytes, "\nGeneration: g") + 14, NULL, 10), g);
	ck_assert_int_eq(command(control, "CreateReplica SyncType=Clone ElementName=s "
					  "CopyMethodology=7"),
			 0);
	expect(" each as of a moment of its own");
	cat("replicas/s-a.img/status");
	g = strtoull(strstr(out.bytes, "\nGeneration: g") + 14, NULL, 10);
	cat("replicas/s-b.img/status");
	ck_assert_uint_ne(strtoull(strstr(out.bytes, "\nGeneration: g") + 14, NULL, 10), g);
}
END_TEST

START_TEST(snapshots_of_one_moment)
{
	make_group();
	ck_assert_int_eq(command(control, "CreateReplica SyncType=Snapshot ElementName=x"), 0);
	ck_assert_uint_ne(generation("a.img@x"), generation("b.img@x"));
	ck_assert_int_eq(command(control, "CreateReplica SyncType=Snapshot ElementName=y "
					  "ConsistentPointInTime=true"),
			 0);
	ck_assert_uint_eq(generation("a.img@y"), generation("b.img@y"));
	ck_assert_str_eq(cat("groups/db/ConsistentPointInTime"), "false\n");
}
END_TEST

/* One cannot: what was made for the others is no more. */
START_TEST(none_of_all)
{
	static const char *const types[] = { "SyncType=Mirror", "SyncType=Clone" };
	char words[200], before[1000], disks[1000];

	make_group();
	for (int i = 0; i < 8; i++) {
		snprintf(words, sizeof(words),
			 "CreateReplica SyncType=Mirror TargetStorageVolume=b%d.img "
			 "WaitForCopyState=Initialized",
			 i);
		ck_assert_int_eq(command("disks/b.img/control", words), 0);
	}
	snprintf(before, sizeof(before), "%s", replicas());
	snprintf(disks, sizeof(disks), "%s", list("disks"));
	ck_assert_int_eq(command(control, "CreateReplica SyncType=Mirror ElementName=r"), -EBUSY);
	expect("\nMessage: b.img: b.img has 8 mirrors already\n");
	ck_assert_str_eq(replicas(), before);
	ck_assert_str_eq(list("groups"), "db/ ");
	ck_assert_str_eq(list("disks"), disks);
	/* The last one is too large for a VHD; so are none of the others clones. */
	make("z.img", (off_t)3 << 40);
	ck_assert_int_eq(command("control", "Rescan"), 0);
	ck_assert_int_eq(command(control, "RemoveDisk Name=b.img"), 0);
	ck_assert_int_eq(command(control, "AddDisk Name=z.img"), 0);
	snprintf(disks, sizeof(disks), "%s", list("disks"));
	for (size_t i = 0; i < 2; i++) {
		snprintf(words, sizeof(words), "CreateReplica %s ElementName=r Format=vhd",
			 types[i]);
		ck_assert_int_eq(command(control, words), -EINVAL);
		expect("\nMessage: z.img: ");
		ck_assert_str_eq(replicas(), before);
		ck_assert_str_eq(list("groups"), "db/ ");
		ck_assert_str_eq(list("disks"), disks);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl groups");
	TCase *c = tcase_create("groups");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, files);
	tcase_add_test(c, that_are_no_more);
	tcase_add_test(c, refused);
	tcase_add_test(c, plans);
	tcase_add_test(c, mirrors_of_all);
	tcase_add_test(c, clones_of_all);
	tcase_add_test(c, snapshots_of_one_moment);
	tcase_add_test(c, none_of_all);
	tcase_add_test(c, snapshots_of_all);
	tcase_add_test(c, all_or_none_of_each);
	tcase_add_test(c, all_or_none_together);
	tcase_add_test(c, restores);
	tcase_add_test(c, restores_to_one_moment);
	tcase_add_test(c, restores_are_taken_back);
	tcase_add_test(c, restores_are_aborted);
	tcase_add_test(c, one_restore_is_aborted);
	tcase_add_test(c, history_of_all);
	tcase_add_test(c, a_disk_that_is_gone);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

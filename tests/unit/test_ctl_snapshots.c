// SPDX-License-Identifier: GPL-2.0-or-later
/* Snapshots, kept moments and their relationships below .replication/, without FUSE. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "temp_ctl.h"

static void make_snapshots(void)
{
	make("a.img", 1 << 20);
	start();
	ck_assert_int_eq(command("disks/a.img/control", "snapshot one"), 0);
	expect("\nElementName: a.img@one\n");
	ck_assert_int_eq(command("disks/a.img/control", "CreateReplica SyncType=7 ElementName=two"),
			 0);
	expect("\nElementName: a.img@two\n");
}

START_TEST(snapshots_are_files)
{
	struct content content;

	make_snapshots();
	ck_assert_str_eq(list("disks/a.img/snapshots"), "one.raw two.raw ");
	ck_assert_str_eq(list("disks/a.img/at"), "");
	ck_assert_str_eq(list("disks/a.img/changes"), "");
	ck_assert_str_eq(list("replicas"), "a.img@one/ a.img@two/ ");
	ck_assert_int_eq(node_kind(at("disks/a.img/snapshots/one.raw")), NODE_CONTENT);
	ck_assert_int_eq(node_content(ctl, at("disks/a.img/snapshots/one.raw"), &content), 0);
	ck_assert_uint_eq(content.size, 1 << 20);
	ck_assert_uint_ne(content.generation, 0);
	ck_assert_uint_ne(content.time_ms, 0);
	disk_unref(content.disk);
	ck_assert_int_eq(node_content(ctl, at("disks/a.img/status"), &content), -EINVAL);
	ck_assert_ptr_nonnull(strstr(cat("disks/a.img/history"), " one\n"));
	ck_assert_ptr_nonnull(strstr(cat("disks/a.img/history"), " two\n"));
	ck_assert_int_eq(command("disks/a.img/control", "snapshot"), 0);
	expect("\nElementName: a.img@a.img-");
	ck_assert_int_eq(command("disks/a.img/control", "unsnapshot one"), 0);
	ck_assert_int_eq(command("disks/a.img/control", "unsnapshot one"), -ENOENT);
	ck_assert_ptr_null(strstr(list("disks/a.img/snapshots"), "one.raw"));
	cat("disks/a.img/status");
	expect("\nSnapshots: 2\n");
	expect("\nTrackedBlockSize: 8192\n");
	cat("status");
	expect("\na.img Ready 1M ");
	cat("metrics");
	expect("\ntandemfs_disk_snapshots{disk=\"a.img\"} 2\n");
	cat("status.json");
	expect("\"Snapshots\":{\"a.img-1\":{\"CopyState\":\"Synchronized\",\"Generation\":");
	expect("\"Replicas\":{\"a.img@a.img-1\":{\"SourceVirtualDisk\":\"a.img\",");
	cat("disks/a.img/status.json");
	expect("\"two\":{\"CopyState\":\"Synchronized\",");
}
END_TEST

START_TEST(properties)
{
	// clang-format off
	static const char *const values[][2] = {
		{ "SourceVirtualDisk", "a.img\n" }, { "TargetVirtualDisk", "a.img@one\n" },
		{ "SyncMaintained", "false\n" }, { "CopyState", "Synchronized\n" },
		{ "RequestedCopyState", "Not Applicable\n" }, { "SyncType", "Snapshot\n" },
		{ "SyncMode", "NULL\n" }, { "ProgressStatus", "Completed\n" },
		{ "PercentSynced", "100\n" }, { "CopyType", "UnSyncAssoc\n" },
		{ "ReplicaType", "After Delta\n" }, { "SyncState", "Idle\n" },
		{ "CopyPriority", "Not Managed\n" }, { "CopyMethodology", "Copy-On-Write\n" },
		{ "RecoveryPointObjective", "NULL\n" },
		{ "source", "../../../a.img" }, { "target", "../../disks/a.img/snapshots/one.raw" },
	};
	// clang-format on
	char path[100];

	make_snapshots();
	ck_assert_str_eq(list("replicas/a.img@one"),
			 "control status status.json SourceVirtualDisk TargetVirtualDisk SyncTime "
			 "SyncMaintained CopyState RequestedCopyState SyncType SyncMode "
			 "ProgressStatus PercentSynced CopyType ReplicaType SyncState CopyPriority "
			 "CopyMethodology RecoveryPointObjective source target wait/ ");
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		snprintf(path, sizeof(path), "replicas/a.img@one/%s", values[i][0]);
		ck_assert_str_eq(cat(path), values[i][1]);
	}
	ck_assert_ptr_nonnull(strstr(cat("replicas/a.img@one/SyncTime"), "Z\n"));
	cat("replicas/a.img@one/status");
	expect("Name: a.img@one\n");
	expect("\nCopyState: Synchronized (4)\n");
	expect("\nSyncMode: -\n");
	expect("\nHold: -\n");
	cat("replicas/a.img@one/status.json");
	expect("\"PercentSynced\":100,");
	expect("\"SyncMode\":null,");
	ck_assert_int_eq(node_kind(at("replicas/a.img@one/source")), NODE_LINK);
}
END_TEST

START_TEST(operations_on_a_snapshot)
{
	static const char control[] = "replicas/a.img@one/control";
	uint64_t version;
	struct node n;

	make_snapshots();
	ck_assert_int_eq(command(control, "Plan 19"), 0);
	ck_assert_int_eq(command(control, "22"), -EOPNOTSUPP);
	expect("Operation: Suspend\nReturnValue: 1 Not Supported\n");
	ck_assert_int_eq(command(control, "Resume"), -EBUSY);
	expect("\nMessage: CopyState is Synchronized; Resume needs Suspended\n");
	ck_assert_int_eq(command(control, "Activate"), 0);
	version = node_version(ctl, at("replicas/a.img@one/status"));
	ck_assert_int_eq(command(control, "7"), 0);
	ck_assert_uint_ne(node_version(ctl, at("replicas/a.img@one/status")), version);
	ck_assert_str_eq(cat("replicas/a.img@one/CopyState"), "Inactive\n");
	ck_assert_str_eq(cat("replicas/a.img@one/ProgressStatus"), "Dormant\n");
	ck_assert_str_eq(cat("replicas/a.img@one/SyncState"), "Idle\n");
	ck_assert_int_eq(walk("replicas/a.img@one/target", &n), -ENOENT);
	ck_assert_int_eq(walk("disks/a.img/snapshots/one.raw", &n), -ENOENT);
	ck_assert_str_eq(list("disks/a.img/snapshots"), "two.raw ");
	ck_assert_int_eq(command(control, "ResyncReplica"), -EBUSY);
	expect("\nRecommendedActions: Activate\n");
	ck_assert_int_eq(command(control, "setreplicationrelationship operation=activate"), 0);
	ck_assert_str_eq(list("disks/a.img/snapshots"), "one.raw two.raw ");
	ck_assert_int_eq(command(control, "14"), 0);
	ck_assert_int_eq(command(control, "Hold Tag=backup"), 0);
	ck_assert_int_eq(command(control, "Hold Tag=other"), -EBUSY);
	ck_assert_int_eq(command(control, "ReturnToResourcePool"), -EBUSY);
	ck_assert_int_eq(command(control, "Unhold Tag=other"), -ENOENT);
	ck_assert_int_eq(command(control, "Unhold Tag=backup"), 0);
	n = at(control);
	ck_assert_int_eq(command(control, "19"), 0);
	ck_assert_int_eq(node_command(ctl, n, "19", 2, &root, &out, NULL), -ENOENT);
	cat("events");
	expect(" CommandDone replicas/a.img@one Operation=Deactivate ");
}
END_TEST

static struct content content_of(const char *path)
{
	struct content c;

	ck_assert_int_eq(node_content(ctl, at(path), &c), 0);
	disk_unref(c.disk);
	disk_unref(c.overlay); /* the snapshot has one still */
	return c;
}

static void write_a_byte(const char *path)
{
	struct disk *over = content_of(path).overlay;

	ck_assert_int_eq(disk_open(over, true), 0);
	ck_assert_int_eq(disk_write(over, "x", 1, 0, 0), 0);
	disk_close(over);
}

START_TEST(writing_to_a_snapshot)
{
	static const char control[] = "replicas/a.img@one/control",
			  file[] = "disks/a.img/snapshots/one.raw";

	make_snapshots();
	ck_assert_int_eq(command(control, "Plan Activate ReadOnly=false"), 0);
	expect("\nMessage: it could be written, and its moment stays\n");
	ck_assert_ptr_null(content_of(file).overlay);
	cat("replicas/a.img@one/status");
	expect("\nOverlay: -\n");
	ck_assert_int_eq(command(control, "Activate ReadOnly=maybe"), -EINVAL);
	ck_assert_int_eq(command(control, "Activate ReadOnly=false"), 0);
	expect("\nMessage: it can be written, and its moment stays\n");
	ck_assert_ptr_nonnull(content_of(file).overlay);
	ck_assert_ptr_null(content_of("disks/a.img/at/one.raw").overlay);
	ck_assert_str_eq(cat("replicas/a.img@one/CopyState"), "Synchronized\n");
	/* It is so already, also for who does not say what he wants. */
	ck_assert_int_eq(command(control, "Activate ReadOnly=false"), 0);
	ck_assert_int_eq(command(control, "Activate"), 0);
	ck_assert_int_eq(command(control, "Detach"), -EBUSY);
	expect("\nRecommendedActions: Activate ReadOnly=true\n");
	write_a_byte(file);
	ck_assert_str_eq(cat("replicas/a.img@one/CopyState"), "Skewed\n");
	ck_assert_str_eq(cat("replicas/a.img@one/SyncState"), "Broken\n");
	ck_assert_str_eq(cat("replicas/a.img@one/ProgressStatus"), "Completed\n");
	ck_assert_str_eq(cat("replicas/a.img@one/RequestedCopyState"), "Not Applicable\n");
	ck_assert_str_eq(cat("replicas/a.img@one/PercentSynced"), "0\n");
	ck_assert_str_eq(cat("replicas/a.img@one/wait/Skewed"), "Skewed\n");
	ck_assert_uint_ge(content_of(file).allocated, 4096);
	cat("replicas/a.img@one/status.json");
	expect("\"Writable\":true,");
	ck_assert_ptr_null(strstr(out.bytes, "\"OverlayBytes\":null"));
	cat("replicas/a.img@two/status.json");
	expect("\"Writable\":false,");
	expect("\"OverlayBytes\":null");
	/* What would lose it, and what would not be what one sees. */
	ck_assert_int_eq(command(control, "RestoreFromReplica Force"), -EBUSY);
	expect("\nMessage: CopyState is Skewed; RestoreFromReplica needs Synchronized\n");
	expect("\nRecommendedActions: Activate ReadOnly=true with Force\n");
	ck_assert_int_eq(command(control, "Detach"), -EBUSY);
	ck_assert_int_eq(command(control, "ResyncReplica"), -EPERM);
	ck_assert_int_eq(command(control, "Activate ReadOnly=true"), -EPERM);
	expect("\nRecommendedActions: Activate ReadOnly=true with Force\n");
	ck_assert_int_eq(command(control, "Plan Activate ReadOnly=true Force"), 0);
	ck_assert_str_eq(cat("replicas/a.img@one/CopyState"), "Skewed\n");
	ck_assert_int_eq(command(control, "Activate ReadOnly=true Force"), 0);
	expect("\nMessage: it holds its moment again; what was written to it is lost\n");
	ck_assert_ptr_null(content_of(file).overlay);
	ck_assert_str_eq(cat("replicas/a.img@one/CopyState"), "Synchronized\n");
	/* From Inactive, and back to it. */
	ck_assert_int_eq(command(control, "Deactivate"), 0);
	ck_assert_int_eq(command(control, "Activate ReadOnly=false"), 0);
	write_a_byte(file);
	ck_assert_int_eq(command(control, "Deactivate"), 0);
	expect("; what was written to it is lost\n");
	ck_assert_str_eq(cat("replicas/a.img@one/CopyState"), "Inactive\n");
	ck_assert_int_eq(command(control, "Activate ReadOnly=true"), 0);
	ck_assert_ptr_null(content_of(file).overlay);
	ck_assert_int_eq(command(control, "Activate ReadOnly=false"), 0);
	write_a_byte(file);
	ck_assert_int_eq(command(control, "ResyncReplica Force"), 0);
	expect("; what was written to it is lost\n");
	ck_assert_ptr_null(content_of(file).overlay);
	ck_assert_int_eq(command(control, "Activate ReadOnly=false"), 0);
	write_a_byte(file);
	ck_assert_int_eq(command("disks/a.img/control", "unsnapshot one"), 0);
	expect("; what was written to it is lost\n");
}
END_TEST

/* The made-up names of what takes its place, and what stands in its way. */
START_TEST(detaching)
{
	static const char control[] = "replicas/a.img@one/control";

	make_snapshots();
	ck_assert_int_eq(command(control, "Plan Detach"), 0);
	expect("\nTargetStorageVolume: a-one.img\n");
	ck_assert_int_eq(command(control, "Plan SetReplicationRelationship Operation=8"), 0);
	expect("\nTargetStorageVolume: a-one.img\n");
	make("a-one.img", 512);
	make("a-one-2.img.incomplete", 512);
	ck_assert_int_eq(command(control, "Plan Detach"), 0);
	expect("\nTargetStorageVolume: a-one-3.img\n");
	ck_assert_int_eq(command(control, "Plan Detach TargetStorageVolume=b.vhd"), 0);
	expect("\nTargetStorageVolume: b.vhd\n");
	ck_assert_int_eq(command(control, "Detach TargetStorageVolume=a-one.img"), -EEXIST);
	ck_assert_int_eq(command(control, "Detach TargetStorageVolume=none:b.img"), -ENOENT);
	ck_assert_int_eq(command(control, "Detach Target=b.img"), -EINVAL);
	ck_assert_str_eq(cat("replicas/a.img@one/ProgressStatus"), "Completed\n");
	ck_assert_int_eq(command(control, "Hold Tag=backup"), 0);
	ck_assert_int_eq(command(control, "Plan Detach"), -EBUSY);
	ck_assert_int_eq(command(control, "Detach"), -EBUSY);
	expect("\nRecommendedActions: Unhold\n");
	ck_assert_int_eq(command(control, "Unhold Tag=backup"), 0);
	ck_assert_int_eq(command(control, "Dissolve"), -EOPNOTSUPP);
	expect("\nRecommendedActions: Detach\n");
	ck_assert_int_eq(command(control, "Deactivate"), 0);
	ck_assert_int_eq(command(control, "Detach"), -EBUSY);
	ck_assert_str_eq(list("replicas"), "a.img@one/ a.img@two/ ");
}
END_TEST

START_TEST(refused_snapshots)
{
	// clang-format off
	static const struct {
		const char *command;
		int err;
	} cases[] = {
		{ "snapshot one", -EEXIST }, { "snapshot now", -EINVAL }, { "snapshot g5", -EINVAL },
		{ "snapshot a/b", -EINVAL }, { "snapshot a@b", -EINVAL }, { "snapshot ..", -EINVAL },
		{ "snapshot \"\"", -EINVAL }, { "snapshot x y", -EINVAL },
		{ "snapshot x At=-", -EINVAL }, { "snapshot x At=none", -ENOENT },
		{ "snapshot x At=@1", -ENOENT }, { "snapshot x At=2999-01-01T00:00:00Z", -ENOENT },
		{ "snapshot x Force", -EINVAL }, { "unsnapshot", -EINVAL },
		{ "unsnapshot none", -ENOENT }, { "CreateReplica", -EINVAL },
		{ "CreateReplica SyncType=Nonsense", -EINVAL },
		{ "CreateReplica SyncType=8", -EINVAL },
		{ "CreateReplica SyncType=8 TargetStoragePool=none", -ENOENT },
		{ "CreateReplica SyncType=7 TargetStoragePool=none", -EOPNOTSUPP },
		{ "CreateReplica SyncType=9 Token=x", -EINVAL },
		{ "CreateReplica SyncType=9 Token=x TargetStorageVolume=c.img", -ENOENT },
		{ "CreateReplica SyncType=Clone TargetStorageVolume=c.img Mode=Synchronous", -EOPNOTSUPP },
		{ "CreateReplica SyncType=Clone TargetStorageVolume=c.img CopyMethodology=6", -EOPNOTSUPP },
		{ "CreateReplica SyncType=Snapshot TargetStorageVolume=c.img", -EOPNOTSUPP },
		{ "clone", -EINVAL }, { "clone c.txt", -EINVAL }, { "clone a.img", -EEXIST },
		{ "clone .c.img", -EINVAL }, { "clone none:c.img", -ENOENT },
		{ "clone /nowhere/c.img", -EACCES }, { "clone c.img At=g999", -ENOENT },
		{ "clone c.img Force", -EINVAL },
		{ "CreateReplica SyncType=Snapshot Mode=Synchronous", -EOPNOTSUPP },
		{ "CreateReplica SyncType=Snapshot CopyPriority=High", -EOPNOTSUPP },
		{ "CreateReplica SyncType=Snapshot CopyMethodology=\"Full Copy\"", -EOPNOTSUPP },
		{ "CreateReplica SyncType=Snapshot Password=x", -EACCES },
		{ "KeepHistory", -EINVAL }, { "KeepHistory Window=5", -EINVAL },
		{ "KeepHistory Window=1h Granularity=0s", -EINVAL },
		{ "KeepHistory Window=1h Limit=0", -EINVAL }, { "ForgetHistory", -EINVAL },
		{ "ForgetHistory Before=@1", -ENOENT }, { "Settle Force", -EINVAL },
		{ "RestoreTo At=g99", -ENOENT },    { "Hold Tag=x", -EINVAL },
	};
	// clang-format on

	make_snapshots();
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int err = command("disks/a.img/control", cases[i].command);

		ck_assert_msg(err == cases[i].err, "%s: %d", cases[i].command, err);
		expect("\nMessage: ");
	}
	ck_assert_str_eq(list("disks/a.img/snapshots"), "one.raw two.raw ");
	ck_assert_int_eq(command("disks/a.img/control", "Plan snapshot three"), 0);
	ck_assert_int_eq(command("disks/a.img/control", "Plan clone c.img"), 0);
	expect("\nMessage: would make c.img, which can be used at once and is filled behind\n");
	ck_assert_str_eq(list("disks"), "a.img/ ");
	ck_assert_str_eq(list("disks/a.img/snapshots"), "one.raw two.raw ");
	ck_assert_int_eq(command("disks/a.img/control", "snapshot copy At=one"), 0);
	ck_assert_str_eq(list("disks/a.img/snapshots"), "copy.raw one.raw two.raw ");
	ck_assert_int_eq(command("disks/a.img/control", "KeepHistory Window=1h Limit=1G"), 0);
	expect("\nMessage: keeps 1h of history, a moment each 1000 ms, in at most 1G\n");
	ck_assert_int_eq(command("disks/a.img/control", "KeepHistory Window=1m"), -EPERM);
	ck_assert_int_eq(command("disks/a.img/control", "Settle"), 0);
	ck_assert_int_eq(command("control", "Settle"), 0);
}
END_TEST

/* What is looked up by name in at/ and changes/. */
START_TEST(moments)
{
	// clang-format off
	static const char *const absent[] = {
		"at/one", "at/.raw", "at/none.raw", "at/@1.raw", "at/2999-01-01T00:00Z.raw",
		"at/-1000d.raw", "at/-.raw", "at/g0.raw", "at/g99999.raw",
		"at/g18446744073709551615.raw", "changes/one", "changes/..",
		"changes/one..", "changes/..one", "changes/two..one", "changes/now..one",
		"changes/one..none", "changes/one..2999-01-01T00:00Z",
	};
	// clang-format on
	struct content one, content;
	char path[64];
	struct node n;

	make_snapshots();
	for (size_t i = 0; i < sizeof(absent) / sizeof(*absent); i++) {
		snprintf(path, sizeof(path), "disks/a.img/%s", absent[i]);
		ck_assert_msg(walk(path, &n) == -ENOENT, "%s", path);
	}
	ck_assert_int_eq(node_content(ctl, at("disks/a.img/at/one.raw"), &one), 0);
	disk_unref(one.disk);
	snprintf(path, sizeof(path), "disks/a.img/at/g%llu.raw",
		 (unsigned long long)one.generation);
	n = at(path);
	ck_assert_uint_eq(at("disks/a.img/at/one.raw").object, n.object);
	ck_assert_int_eq(node_content(ctl, at("disks/a.img/at/now.raw"), &content), 0);
	ck_assert_uint_gt(content.generation, one.generation);
	disk_unref(content.disk);
	ck_assert_int_eq(node_kind(at("disks/a.img/changes/one..now")), NODE_CHANGES);
	ck_assert_str_eq(cat("disks/a.img/changes/one..one"), "");
	ck_assert_str_eq(cat("disks/a.img/changes/one..two"), "");
	ck_assert_str_eq(cat("disks/a.img/changes/now..now"), "");
	/* It is not the older one in its place once it is given up. */
	n = at("disks/a.img/at/two.raw");
	ck_assert_int_eq(command("disks/a.img/control", "unsnapshot two"), 0);
	ck_assert_int_eq(node_content(ctl, n, &content), -ESTALE);
}
END_TEST

START_TEST(waits)
{
	// clang-format off
	static const char *const absent[] = {
		"none", "0", "16", "", ",", "Broken,", ",Broken", "Broken,,Split", "Broken, Split",
	};
	// clang-format on
	struct node n, reached;

	make_snapshots();
	ck_assert_str_eq(list("replicas/a.img@one/wait"), "");
	for (size_t i = 0; i < sizeof(absent) / sizeof(*absent); i++)
		ck_assert_msg(node_lookup(ctl, at("replicas/a.img@one/wait"), absent[i], &n) ==
				      -ENOENT,
			      "%s", absent[i]);
	reached = at("replicas/a.img@one/wait/Synchronized");
	ck_assert_uint_ne(node_version(ctl, reached), NODE_WAITS);
	ck_assert_str_eq(cat("replicas/a.img@one/wait/4"), "Synchronized\n");
	n = at("replicas/a.img@one/wait/broken,8");
	ck_assert_int_eq(node_kind(n), NODE_WAIT);
	ck_assert_int_eq(node_open(ctl, n), 0);
	ck_assert_uint_eq(node_version(ctl, n), NODE_WAITS);
	text_free(&out);
	ck_assert_int_eq(node_render(ctl, n, &out), -EAGAIN);
	ck_assert_int_eq(command("replicas/a.img@one/control", "Deactivate"), 0);
	ck_assert_uint_ne(node_version(ctl, n), NODE_WAITS);
	ck_assert_str_eq(cat("replicas/a.img@one/wait/broken,8"), "Inactive\n");
	ck_assert_int_eq(command("replicas/a.img@one/control", "19"), 0);
	ck_assert_int_eq(node_render(ctl, n, &out), -ENODEV);
	ck_assert_int_eq(node_render(ctl, reached, &out), -ENODEV);
	node_close(ctl, n);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl snapshots");
	TCase *c = tcase_create("snapshots");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, snapshots_are_files);
	tcase_add_test(c, properties);
	tcase_add_test(c, operations_on_a_snapshot);
	tcase_add_test(c, writing_to_a_snapshot);
	tcase_add_test(c, detaching);
	tcase_add_test(c, refused_snapshots);
	tcase_add_test(c, moments);
	tcase_add_test(c, waits);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

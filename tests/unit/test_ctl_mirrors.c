// SPDX-License-Identifier: GPL-2.0-or-later
/* Mirrors below .replication/, without FUSE: what is shown of them, and their commands. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "replica_facts.h"
#include "temp_ctl.h"
#include "unit.h"

/* ---- what is shown together ---- */

static struct replica_facts shown(const struct pair_facts *p)
{
	struct replica_facts r;

	memset(&r, 0xff, sizeof(r));
	replica_facts_of_pair(p, &r);
	return r;
}

// clang-format off
static const struct {
	enum copy_state state;
	enum progress_status progress; /* as the pair says */
	enum sync_state sync_state;
	enum progress_status shown;
} states[] = {
	{ COPY_INITIALIZED, PROGRESS_INITIALIZING, SYNC_INITIALIZED, PROGRESS_INITIALIZING },
	{ COPY_INITIALIZED, 0, SYNC_INITIALIZED, PROGRESS_REQUIRES_ACTIVATE },
	{ COPY_PREPARED, PROGRESS_PREPARING, SYNC_PREPARE_IN_PROGRESS, PROGRESS_PREPARING },
	{ COPY_PREPARED, 0, SYNC_PREPARED, PROGRESS_REQUIRES_ACTIVATE },
	{ COPY_UNSYNCHRONIZED, PROGRESS_RESYNCING, SYNC_RESYNC_IN_PROGRESS, PROGRESS_RESYNCING },
	{ COPY_UNSYNCHRONIZED, PROGRESS_RESTORING, SYNC_RESTORE_IN_PROGRESS, PROGRESS_RESTORING },
	{ COPY_UNSYNCHRONIZED, 0, SYNC_RESYNC_IN_PROGRESS, PROGRESS_RESYNCING },
	{ COPY_SYNCHRONIZED, 0, SYNC_SYNCHRONIZED, PROGRESS_COMPLETED },
	{ COPY_BROKEN, 0, SYNC_BROKEN, PROGRESS_COMPLETED },
	{ COPY_FRACTURED, PROGRESS_FRACTURING, SYNC_FRACTURE_IN_PROGRESS, PROGRESS_FRACTURING },
	{ COPY_FRACTURED, 0, SYNC_FRACTURED, PROGRESS_COMPLETED },
	{ COPY_SPLIT, PROGRESS_SPLITTING, SYNC_FRACTURE_IN_PROGRESS, PROGRESS_SPLITTING },
	{ COPY_SPLIT, 0, SYNC_FRACTURED, PROGRESS_COMPLETED },
	{ COPY_INACTIVE, 0, SYNC_QUIESCED, PROGRESS_DORMANT },
	{ COPY_SUSPENDED, PROGRESS_SUSPENDING, SYNC_QUIESCE_IN_PROGRESS, PROGRESS_SUSPENDING },
	{ COPY_SUSPENDED, 0, SYNC_QUIESCED, PROGRESS_DORMANT },
	{ COPY_FAILEDOVER, PROGRESS_FAILING_OVER, SYNC_BROKEN, PROGRESS_FAILING_OVER },
	{ COPY_FAILEDOVER, 0, SYNC_BROKEN, PROGRESS_COMPLETED },
	{ COPY_ABORTED, PROGRESS_ABORTING, SYNC_BROKEN, PROGRESS_ABORTING },
	{ COPY_ABORTED, 0, SYNC_BROKEN, PROGRESS_REQUIRES_RESYNC },
	{ COPY_SKEWED, 0, SYNC_BROKEN, PROGRESS_COMPLETED },
};
// clang-format on

/* Every property in every state has a name, and SyncMaintained goes with Synchronized alone. */
START_TEST(facts_of_every_state)
{
	const struct property *p;
	uint32_t seen = 0;

	for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++) {
		struct pair_facts pair = {
			.name = "m",
			.source = "a.img",
			.target = "b.img",
			.sync_time_ms = 5,
			.state = states[i].state,
			.progress = states[i].progress,
			.mode = MODE_SYNCHRONOUS,
			.percent = 100,
			.copying = true,
		};
		struct replica_facts r = shown(&pair);

		seen |= 1u << states[i].state;
		ck_assert_int_eq(r.copy_state, states[i].state);
		ck_assert_int_eq(r.progress, states[i].shown);
		ck_assert_int_eq(r.sync_state, states[i].sync_state);
		ck_assert_uint_eq(r.percent, states[i].state == COPY_SYNCHRONIZED ? 100 : 99);
		for (p = replica_properties; p->name; p++) {
			struct text value = { 0 };

			ck_assert_msg(property_value(p, &r, true, &value), "%s", p->name);
			if (!strcmp(p->name, "SyncMaintained"))
				ck_assert_str_eq(value.bytes, states[i].state == COPY_SYNCHRONIZED
								      ? "true"
								      : "false");
			text_free(&value);
		}
	}
	for (uint32_t s = COPY_INITIALIZED; s < COPY_MIXED; s++)
		ck_assert_msg(seen & 1u << s, "%s", enum_name(copy_states, s));
}
END_TEST

START_TEST(facts_of_a_copy)
{
	struct pair_facts pair = {
		.number = 7,
		.name = "m",
		.source = "a.img",
		.target = "b.img",
		.state = COPY_UNSYNCHRONIZED,
		.requested = COPY_SYNCHRONIZED,
		.mode = MODE_SYNCHRONOUS,
		.priority = PRIORITY_LOW,
		.first = true,
		.copying = true,
		.size = 1000,
		.differs = 300,
		.percent = 70,
		.manual = true,
	};
	struct replica_facts r = shown(&pair);
	uint64_t lag;

	ck_assert_uint_eq(r.number, 7);
	ck_assert_str_eq(r.label, "m");
	ck_assert_int_eq(r.sync_type, SYNC_MIRROR);
	ck_assert_int_eq(r.sync_mode, MODE_SYNCHRONOUS);
	ck_assert_int_eq(r.copy_type, COPY_SYNC);
	ck_assert_int_eq(r.replica_type, REPLICA_FULL_COPY);
	ck_assert_int_eq(r.requested, COPY_SYNCHRONIZED);
	ck_assert_int_eq(r.progress, PROGRESS_SYNCHRONIZING);
	ck_assert_int_eq(r.methodology, METHOD_FULL_COPY);
	ck_assert_int_eq(r.priority, PRIORITY_LOW);
	ck_assert_uint_eq(r.objective_s, 0);
	ck_assert_uint_eq(r.percent, 70);
	ck_assert_uint_eq(r.behind, 300);
	ck_assert_uint_eq(r.size, 1000);
	ck_assert(r.manual && !r.stops_host_io);
	/* It never was what its source was. */
	ck_assert(!replica_lag(&r, 9000, &lag));
	pair.copying = false;
	ck_assert_int_eq(shown(&pair).progress, PROGRESS_PENDING);
	pair.copying = true;
	pair.error = -EIO;
	ck_assert_int_eq(shown(&pair).progress, PROGRESS_PENDING);
	pair.error = 0;
	pair.first = false;
	pair.sync_time_ms = 4000;
	pair.requested = 0;
	r = shown(&pair);
	ck_assert_int_eq(r.progress, PROGRESS_RESYNCING);
	ck_assert_int_eq(r.methodology, METHOD_DELTA_UPDATE);
	ck_assert_int_eq(r.requested, COPY_NOT_APPLICABLE);
	ck_assert(replica_lag(&r, 9000, &lag) && lag == 5000);
	/* A clock that was set back is no reason for a lag of centuries. */
	ck_assert(replica_lag(&r, 1000, &lag) && lag == 0);
	pair.state = COPY_SUSPENDED;
	r = shown(&pair);
	ck_assert(replica_lag(&r, 9000, &lag) && lag == 5000);
	/* Nothing was written since. */
	pair.differs = 0;
	r = shown(&pair);
	ck_assert(replica_lag(&r, 9000, &lag) && lag == 0);
	pair.mode = MODE_ASYNCHRONOUS;
	pair.objective_s = 4;
	pair.state = COPY_SYNCHRONIZED;
	r = shown(&pair);
	ck_assert_int_eq(r.copy_type, COPY_ASYNC);
	ck_assert_int_eq(r.sync_mode, MODE_ASYNCHRONOUS);
	ck_assert_uint_eq(r.objective_s, 4);
	ck_assert(!replica_misses_objective(&r, 9000));
	/* It has all of the next generation, and shows the one before. */
	pair.shows = 7;
	pair.applied = 100;
	r = shown(&pair);
	ck_assert_uint_eq(r.behind, 100);
	ck_assert(replica_lag(&r, 9000, &lag) && lag == 5000);
	ck_assert(replica_misses_objective(&r, 9000));
	ck_assert(!replica_misses_objective(&r, 8000));
}
END_TEST

/* ---- commands ---- */

#define DISK "disks/a.img/control"
#define MIRROR "replicas/m/control"

static bool is_in(void *state)
{
	return !strcmp(cat("replicas/m/CopyState"), state);
}

static bool has_no_job(void *arg)
{
	return strstr(cat("replicas/m/status.json"), "\"Job\":null");
}

/* Commands return before the copy has ended. */
static void await_state(const char *state)
{
	ck_assert_msg(unit_until(is_in, (void *)state, 20), "%s, not %s", out.bytes, state);
}

static void make_mirror(void)
{
	make("a.img", 1 << 20);
	make("other.img", 1 << 20);
	start();
	ck_assert_int_eq(command(DISK, "CreateReplica SyncType=Mirror TargetStorageVolume=b.img "
				       "ElementName=m CopyPriority=Low CopyRecoveryMode=Manual"),
			 0);
	expect("\nElementName: m\nTargetStorageVolume: b.img\n");
	await_state("Synchronized\n");
	ck_assert(unit_until(has_no_job, NULL, 20)); /* its job ends after that */
}

START_TEST(a_mirror_is_shown)
{
	// clang-format off
	static const char *const values[][2] = {
		{ "SourceVirtualDisk", "a.img\n" }, { "TargetVirtualDisk", "b.img\n" },
		{ "SyncMaintained", "true\n" }, { "CopyState", "Synchronized\n" },
		{ "RequestedCopyState", "Not Applicable\n" }, { "SyncType", "Mirror\n" },
		{ "SyncMode", "Synchronous\n" }, { "ProgressStatus", "Completed\n" },
		{ "PercentSynced", "100\n" }, { "CopyType", "Sync\n" },
		{ "ReplicaType", "Full Copy\n" }, { "SyncState", "Synchronized\n" },
		{ "CopyPriority", "Low\n" }, { "CopyMethodology", "Delta-Update\n" },
		{ "RecoveryPointObjective", "0\n" }, { "source", "../../../a.img" },
		{ "target", "../../../b.img" }, { "wait/Synchronized", "Synchronized\n" },
	};
	// clang-format on
	char path[64];

	make_mirror();
	ck_assert_str_eq(list("replicas"), "m/ ");
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		snprintf(path, sizeof(path), "replicas/m/%s", values[i][0]);
		ck_assert_str_eq(cat(path), values[i][1]);
	}
	ck_assert_ptr_nonnull(strstr(cat("replicas/m/SyncTime"), "Z\n"));
	cat("replicas/m/status");
	expect("Name: m\n");
	expect("\nBehind: 0 (0)\nLag: 0s\nFailedCopyStopsHostIO: false\nCopyRecoveryMode: Manual\n"
	       "RequestedMode: Synchronous (2)\nSkewLimit: -\nAcknowledgeAt: Write\nVerified: -\nVerifying: -\nDiffered: 0 (0)\n"
	       "ThinProvisioningPolicy: Implementation decides\nReadOnly: false\n");
	cat("replicas/m/status.json");
	expect("\"LagSeconds\":0.000,\"BehindBytes\":0,\"BehindWrites\":0,"
	       "\"FailedCopyStopsHostIO\":false,\"CopyRecoveryMode\":\"Manual\","
	       "\"RequestedMode\":\"Synchronous\",\"SkewLimit\":null,\"AcknowledgeAt\":\"Write\",\"Verified\":null,"
	       "\"VerifyingPercent\":null,\"Differed\":0,\"ThinProvisioningPolicy\":\"Implementation decides\","
	       "\"ReadOnly\":false,\"Job\":null,\"Exclusive\":");
	cat("status");
	expect("\nREPLICA TYPE   MODE        SOURCE TARGET COPYSTATE    PROGRESS  PERCENT BEHIND RPO\n"
	       "m       Mirror Synchronous a.img  b.img  Synchronized Completed 100     0      0s\n");
	cat("metrics");
	expect("\ntandemfs_replica_copy_state{replica=\"m\",state=\"Synchronized\"} 1\n");
	expect("\ntandemfs_replica_copy_state{replica=\"m\",state=\"Broken\"} 0\n");
	expect("\ntandemfs_replica_synced_ratio{replica=\"m\"} 1\n");
	expect("\ntandemfs_replica_behind_bytes{replica=\"m\"} 0\n");
	cat("status.json");
	expect("\"m\":{\"SourceVirtualDisk\":\"a.img\",\"TargetVirtualDisk\":\"b.img\",");
}
END_TEST

START_TEST(one_that_waits_for_activate)
{
	make("a.img", 1 << 20);
	start();
	ck_assert_int_eq(command("disks/a.img/control",
				 "CreateReplica SyncType=Mirror TargetStorageVolume=w.img "
				 "ElementName=m WaitForCopyState=Initialized"),
			 0);
	expect("after Activate\n");
	ck_assert_str_eq(cat("replicas/m/CopyState"), "Initialized\n");
	ck_assert_str_eq(cat("replicas/m/ProgressStatus"), "Requires activate\n");
	ck_assert_str_eq(cat("replicas/m/SyncState"), "Initialized\n");
	ck_assert_int_eq(command("replicas/m/control", "Failover"), -EBUSY);
	ck_assert_int_eq(command("replicas/m/control", "24"), 0);
	ck_assert_str_eq(cat("replicas/m/CopyState"), "Prepared\n");
	ck_assert_int_eq(command("replicas/m/control", "Prepare"), 0);
	expect("\nMessage: CopyState is Prepared already; nothing was done\n");
	ck_assert_int_eq(command("replicas/m/control", "Activate"), 0);
	await_state("Synchronized\n");
}
END_TEST

START_TEST(operations_on_a_mirror)
{
	struct node n;
	uint64_t version;

	make_mirror();
	ck_assert_int_eq(command(MIRROR, "Resume"), -EBUSY);
	expect("\nMessage: CopyState is Synchronized; Resume needs Suspended\n");
	ck_assert_int_eq(command(MIRROR, "Failback"), -EBUSY);
	expect("\nMessage: CopyState is Synchronized; Failback needs Failedover\n");
	ck_assert_int_eq(command(MIRROR, "Plan Failover"), 0);
	expect("\nMessage: would be Failedover; the source is what the target was");
	ck_assert_str_eq(cat("replicas/m/SourceVirtualDisk"), "a.img\n");
	ck_assert_int_eq(command(MIRROR, "Failover"), 0);
	ck_assert_str_eq(cat("replicas/m/CopyState"), "Failedover\n");
	ck_assert_str_eq(cat("replicas/m/SyncState"), "Broken\n");
	ck_assert_str_eq(cat("replicas/m/SourceVirtualDisk"), "b.img\n");
	ck_assert_int_eq(command(MIRROR, "10"), 0);
	expect("\nMessage: CopyState is Failedover already; nothing was done\n");
	n = at("replicas/m/wait/Synchronized");
	ck_assert_int_eq(node_open(ctl, n), 0);
	ck_assert_int_eq(node_render(ctl, n, &out), -ECANCELED);
	ck_assert_int_eq(command(MIRROR, "Failback"), 0);
	await_state("Synchronized\n");
	ck_assert_int_eq(command(MIRROR, "ReverseRoles"), 0);
	ck_assert_str_eq(cat("replicas/m/SourceVirtualDisk"), "b.img\n");
	ck_assert_int_eq(command(MIRROR, "20"), 0);
	ck_assert_str_eq(cat("replicas/m/SourceVirtualDisk"), "a.img\n");
	ck_assert_int_eq(command(MIRROR, "ReturnToResourcePool"), -EOPNOTSUPP);
	ck_assert_int_eq(command(MIRROR, "17"), 0);
	expect("\nMessage: SyncMode is Synchronous already; nothing was done\n");
	ck_assert_int_eq(command(MIRROR, "Plan Suspend"), 0);
	expect("\nMessage: would be Suspended; ");
	ck_assert_str_eq(cat("replicas/m/CopyState"), "Synchronized\n");
	version = node_version(ctl, at("replicas/m/status"));
	ck_assert_int_eq(command(MIRROR, "22"), 0);
	ck_assert_uint_ne(node_version(ctl, at("replicas/m/status")), version);
	ck_assert_str_eq(cat("replicas/m/SyncState"), "Quiesced\n");
	ck_assert_str_eq(cat("replicas/m/SyncMaintained"), "false\n");
	ck_assert_int_eq(command(MIRROR, "suspend"), 0);
	expect("\nMessage: CopyState is Suspended already; nothing was done\n");
	n = at("replicas/m/wait/Synchronized");
	ck_assert_int_eq(node_open(ctl, n), 0);
	ck_assert_uint_eq(node_version(ctl, n), NODE_WAITS);
	ck_assert_int_eq(command(MIRROR, "Abort"), 0);
	text_free(&out);
	ck_assert_int_eq(node_render(ctl, n, &out), -ECANCELED);
	ck_assert_str_eq(cat("replicas/m/wait/12"), "Aborted\n");
	ck_assert_int_eq(command(MIRROR, "setreplicationrelationship operation=resyncreplica"), 0);
	await_state("Synchronized\n");
	ck_assert_int_eq(command(MIRROR, "Split"), 0);
	ck_assert_str_eq(cat("replicas/m/CopyState"), "Split\n");
	ck_assert_int_eq(command(MIRROR, "ResyncReplica"), 0);
	await_state("Synchronized\n");
	ck_assert_int_eq(command(MIRROR, "Deactivate"), 0);
	ck_assert_int_eq(command(MIRROR, "Dissolve"), -EBUSY);
	expect("\nRecommendedActions: Activate\n");
	ck_assert_int_eq(command(MIRROR, "Detach"), 0);
	expect("\nMessage: is gone; the target is a disk by itself\n");
	ck_assert_str_eq(list("replicas"), "");
	text_free(&out);
	ck_assert_int_eq(node_render(ctl, n, &out), -ENODEV);
	node_close(ctl, n);
	ck_assert_str_eq(list("disks"), "a.img/ b.img/ other.img/ ");
	cat("events");
	expect(" CommandDone replicas/m Operation=Detach ");
}
END_TEST

START_TEST(settings)
{
	make_mirror();
	ck_assert_int_eq(command(MIRROR, "Plan Set CopyPriority=High"), 0);
	ck_assert_str_eq(cat("replicas/m/CopyPriority"), "Low\n");
	ck_assert_int_eq(command(MIRROR, "Set CopyPriority=High CopyRecoveryMode=2 "
					 "FailedCopyStopsHostIO=true RecoveryPointObjective=0"),
			 0);
	ck_assert_str_eq(cat("replicas/m/CopyPriority"), "High\n");
	cat("replicas/m/status");
	expect("\nFailedCopyStopsHostIO: true\nCopyRecoveryMode: Automatic\n");
	ck_assert_int_eq(command(MIRROR, "Set CopyRecoveryMode=Manual"), 0);
	cat("replicas/m/status.json");
	expect("\"FailedCopyStopsHostIO\":true,\"CopyRecoveryMode\":\"Manual\"");
	ck_assert_str_eq(cat("replicas/m/CopyPriority"), "High\n");
	ck_assert_int_eq(command(MIRROR, "Set AcknowledgeAt=Flush"), 0);
	cat("replicas/m/status");
	expect("\nAcknowledgeAt: Flush\n");
	ck_assert_int_eq(command(MIRROR, "Set AcknowledgeAt=3"), -EINVAL);
	ck_assert_int_eq(command(MIRROR, "Set"), -EINVAL);
	ck_assert_int_eq(command(MIRROR, "Set CopyRecoveryMode=4"), -EINVAL);
	ck_assert_int_eq(command(MIRROR, "Set CopyPriority=Low RecoveryPointObjective=5"),
			 -EOPNOTSUPP);
	ck_assert_str_eq(cat("replicas/m/CopyPriority"), "High\n");
	ck_assert_int_eq(command(MIRROR, "ResetToAsync"), 0);
	ck_assert_int_eq(command(MIRROR, "Set AcknowledgeAt=Flush"), -EOPNOTSUPP);
	ck_assert_int_eq(command(MIRROR, "Set RecoveryPointObjective=7"), 0);
	ck_assert_str_eq(cat("replicas/m/RecoveryPointObjective"), "7\n");
	ck_assert_int_eq(command(MIRROR, "Set RecoveryPointObjective=0"), -EINVAL);
	ck_assert_int_eq(command(MIRROR, "Set RecoveryPointObjective=604801"), -EINVAL);
	ck_assert_int_eq(command(MIRROR, "Set RecoveryPointObjective=4294967303"), -EINVAL);
	ck_assert_str_eq(cat("replicas/m/RecoveryPointObjective"), "7\n");
	ck_assert_int_eq(command("disks/other.img/control", "snapshot one"), 0);
	ck_assert_int_eq(command("replicas/other.img@one/control", "Set CopyPriority=Low"),
			 -EOPNOTSUPP);
}
END_TEST

START_TEST(refused_mirrors)
{
	// clang-format off
	static const struct {
		const char *command;
		int err;
	} cases[] = {
		{ "mirror", -EINVAL }, { "mirror c.img Mode=Nonsense", -EINVAL },
		{ "mirror c.img Force", -EINVAL }, { "mirror other.img", -EEXIST },
		{ "CreateReplica SyncType=6", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img SkewLimit=1M", -EOPNOTSUPP },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img Mode=Asynchronous SkewLimit=1M", -EOPNOTSUPP },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img Mode=Adaptive SkewLimit=0", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img Mode=Adaptive RecoveryPointObjective=0", -EINVAL },
		{ "CreateReplica SyncType=7 SkewLimit=1M", -EOPNOTSUPP },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img Mode=Adaptive AcknowledgeAt=Flush", -EOPNOTSUPP },
		{ "CreateReplica SyncType=7 AcknowledgeAt=Write", -EOPNOTSUPP },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img Token=x", -EOPNOTSUPP },
		{ "CreateReplica SyncType=6 TargetStoragePool=x", -ENOENT },
		{ "CreateReplica SyncType=6 TargetStoragePool=x TargetStorageVolume=y.img", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStoragePool=x TargetElementSupplier=1", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img RecoveryPointObjective=9", -EOPNOTSUPP },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img Mode=3 RecoveryPointObjective=0", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img Mode=3 RecoveryPointObjective=604801", -EINVAL },
		{ "CreateReplica SyncType=7 RecoveryPointObjective=9", -EOPNOTSUPP },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img CopyMethodology=6", -EOPNOTSUPP },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img TargetElementSupplier=6", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img FailedCopyStopsHostIO=2", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img CopyRecoveryMode=1", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img Force", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img ElementName=m", -EEXIST },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img TargetElementSupplier=1", -ENOENT },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img TargetElementSupplier=5", -ENOENT },
		{ "CreateReplica SyncType=6 TargetStorageVolume=a.img TargetElementSupplier=3", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=b.img TargetElementSupplier=3 Force", -EBUSY },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img ReadOnly=false", -EOPNOTSUPP },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img ReadOnly=2", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img ConsistentPointInTime=2", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.qcow2 ThinProvisioningPolicy=3", -EOPNOTSUPP },
		{ "CreateReplica SyncType=8 TargetStorageVolume=c.vmdk ThinProvisioningPolicy=3", -EOPNOTSUPP },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.vhdx Format=vhdx ThinProvisioningPolicy=3", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.vhd Format=vhd ThinProvisioningPolicy=3", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.vhdx Format=vhdx-fixed ThinProvisioningPolicy=4", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=other.img ThinProvisioningPolicy=3 TargetElementSupplier=1", -EINVAL },
		{ "CreateReplica SyncType=8 TargetStorageVolume=c.img ThinProvisioningPolicy=6", -EINVAL },
		{ "CreateReplica SyncType=8 TargetStorageVolume=c.img TargetElementSupplier=3", -EOPNOTSUPP },
		{ "CreateReplica SyncType=8 TargetStorageVolume=c.img TargetElementSupplier=5", -EOPNOTSUPP },
		{ "CreateReplica SyncType=9 ReadOnly=true", -EINVAL },
		{ "CreateReplica SyncType=9 ThinProvisioningPolicy=4", -EINVAL },
		{ "CreateReplica SyncType=7 TargetElementSupplier=2", -EOPNOTSUPP },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img ThinProvisioningPolicy=1", -EINVAL },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img ReplicationQuorum=1", -EOPNOTSUPP },
		{ "CreateReplica SyncType=7 ThinProvisioningPolicy=2", -EOPNOTSUPP },
		{ "CreateReplica SyncType=6 TargetStorageVolume=c.img Password=x", -EACCES },
		{ "CreateReplica SyncType=8 TargetStorageVolume=c.img ElementName=m", -EEXIST },
		{ "CreateReplica SyncType=9 ElementName=m", -EEXIST },
		{ "CreateReplica SyncType=8 TargetStorageVolume=c.img TargetElementSupplier=1", -EOPNOTSUPP },
		{ "CreateReplica SyncType=7 CopyRecoveryMode=2", -EOPNOTSUPP },
		{ "CreateReplica SyncType=7 Force", -EINVAL },
	};
	// clang-format on

	make_mirror();
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int err = command(DISK, cases[i].command);

		ck_assert_msg(err == cases[i].err, "%s: %d", cases[i].command, err);
		expect("\nMessage: ");
	}
	ck_assert_int_eq(command(DISK, "Plan mirror c.img"), 0);
	expect("\nMessage: would make c.img, copy about ");
	ck_assert_int_eq(command(DISK,
				 "Plan CreateReplica SyncType=6 TargetStorageVolume=c.img "
				 "RecoveryPointObjective=0 Mode=Synchronous CopyMethodology=8 "
				 "TargetElementSupplier=4 ThinProvisioningPolicy=2"),
			 0);
	ck_assert_int_eq(command(DISK, "Plan CreateReplica SyncType=6 TargetElementSupplier=5 "
				       "TargetStorageVolume=other.img"),
			 0);
	expect("\nMessage: other.img would lose what it holds");
	ck_assert_str_eq(list("disks"), "a.img/ b.img/ other.img/ ");
	ck_assert_str_eq(list("replicas"), "m/ ");
	/* A name of a clone is no mirror's. */
	ck_assert_int_eq(command(DISK, "CreateReplica SyncType=9 ElementName=token"), 0);
	ck_assert_int_eq(
		command("disks/other.img/control",
			"CreateReplica SyncType=6 TargetStorageVolume=c.img ElementName=token"),
		-EEXIST);
}
END_TEST

/* ---- the target that is asked for ---- */

/* Its place is reserved in the plan, too, and given back. */
START_TEST(targets_that_are_full)
{
	static const char *const targets[][2] = {
		{ "c.img", "raw" },
		{ "c.vhd", "vhd-fixed" },
		{ "c.vhdx", "vhdx-fixed" },
	};
	char words[200], path[200];
	struct stat st;

	make("a.img", 4 << 20);
	start();
	for (size_t i = 0; i < 3; i++) {
		snprintf(words, sizeof(words),
			 "Plan CreateReplica SyncType=6 ThinProvisioningPolicy=3 "
			 "TargetStorageVolume=%s ElementName=m",
			 targets[i][0]);
		ck_assert_int_eq(command(DISK, words), 0);
		expect(", with all of its space, copy about ");
		ck_assert_int_eq(command(DISK, words + strlen("Plan ")), 0);
		await_state("Synchronized\n");
		snprintf(path, sizeof(path), "%s/%s", dir, targets[i][0]);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_int_ge(st.st_blocks * 512, 4 << 20);
		snprintf(path, sizeof(path), "disks/%s/status", targets[i][0]);
		snprintf(words, sizeof(words), "\nFormat: %s\n", targets[i][1]);
		cat(path);
		expect(words);
		cat("replicas/m/status");
		expect("\nThinProvisioningPolicy: Copy thin source to full target\n");
		ck_assert_int_eq(command(MIRROR, "Detach"), 0);
	}
}
END_TEST

/* More than any file system of these machines has: nothing of it is begun. */
START_TEST(a_full_target_that_has_no_place)
{
	make("a.img", (off_t)8 << 40);
	start();
	ck_assert_int_eq(command(DISK, "Plan mirror c.img"), 0);
	ck_assert_int_eq(command(DISK, "CreateReplica SyncType=6 TargetStorageVolume=c.img "
				       "ThinProvisioningPolicy=3"),
			 -ENOSPC);
	ck_assert_int_eq(command(DISK, "CreateReplica SyncType=8 TargetStorageVolume=c.img "
				       "ThinProvisioningPolicy=3"),
			 -ENOSPC);
	ck_assert_str_eq(list("replicas"), "");
	ck_assert_str_eq(list("disks"), "a.img/ ");
}
END_TEST

static bool is_made(const char *name)
{
	char path[200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return !stat(path, &st);
}

START_TEST(a_target_that_may_be_there)
{
	static const char words[] = "CreateReplica SyncType=6 TargetElementSupplier=3 "
				    "ElementName=m TargetStorageVolume=%s";
	char text[200];

	make("a.img", 1 << 20);
	make("other.img", 1 << 20);
	start();
	snprintf(text, sizeof(text), words, "new.img");
	ck_assert_int_eq(command(DISK, text), 0);
	await_state("Synchronized\n");
	ck_assert(is_made("new.img"));
	ck_assert_int_eq(command(MIRROR, "Detach"), 0);
	memcpy(text, "Plan ", 5);
	snprintf(text + 5, sizeof(text) - 5, words, "other.img");
	ck_assert_int_eq(command(DISK, text), 0);
	expect("\nMessage: other.img would lose what it holds");
	ck_assert_int_eq(command(DISK, text + 5), 0);
	await_state("Synchronized\n");
	ck_assert_str_eq(cat("replicas/m/TargetVirtualDisk"), "other.img\n");
	ck_assert_int_eq(command(MIRROR, "Detach"), 0);
	ck_assert_str_eq(list("disks"), "a.img/ new.img/ other.img/ ");
}
END_TEST

START_TEST(targets_that_stay_read_only)
{
	struct disk *d, *source;

	make("a.img", 1 << 20);
	start();
	ck_assert_int_eq(command(DISK, "CreateReplica SyncType=6 TargetStorageVolume=b.img "
				       "ElementName=m ReadOnly=true ConsistentPointInTime=true"),
			 0);
	await_state("Synchronized\n");
	cat("replicas/m/status");
	expect("\nReadOnly: true\n");
	ck_assert_int_eq(command(MIRROR, "Split"), 0);
	d = tandem_disk_labelled(tandem, "b.img");
	source = tandem_disk_labelled(tandem, "a.img");
	ck_assert_int_eq(disk_open(d, true), -EROFS);
	ck_assert_int_eq(disk_open(d, false), 0);
	disk_close(d);
	ck_assert_int_eq(command(MIRROR, "ResyncReplica"), 0);
	await_state("Synchronized\n");
	/* What goes on in the other file is the source. */
	ck_assert_int_eq(command(MIRROR, "Failover"), 0);
	ck_assert_int_eq(disk_open(source, true), 0);
	disk_close(source);
	ck_assert_int_eq(command(MIRROR, "Failback"), 0);
	await_state("Synchronized\n");
	ck_assert_int_eq(command(MIRROR, "Detach"), 0);
	ck_assert_int_eq(disk_open(d, true), 0);
	disk_close(d);
	disk_unref(source);
	disk_unref(d);
}
END_TEST

/* What a command with `wait` waits for is a wait/ file. */
START_TEST(a_command_waits)
{
	static const char suspend[] = "Suspend wait", resume[] = "Resume wait=3s";
	struct wait_for wait = { 0 };
	struct node control;

	make_mirror();
	control = at(MIRROR);
	ck_assert_int_eq(node_command(ctl, control, suspend, strlen(suspend), &root, &out, &wait),
			 0);
	ck_assert(!wait.any);
	ck_assert_int_eq(node_command(ctl, control, "Plan Resume wait", 16, &root, &out, &wait), 0);
	ck_assert(!wait.any);
	ck_assert_int_eq(node_command(ctl, control, resume, strlen(resume), &root, &out, &wait), 0);
	ck_assert(wait.any);
	ck_assert_uint_eq(wait.ms, 3000);
	ck_assert_int_eq(node_kind(wait.node), NODE_WAIT);
	await_state("Synchronized\n");
	text_free(&out);
	ck_assert_int_eq(node_render(ctl, wait.node, &out), 0);
	node_close(ctl, wait.node);
	ck_assert_int_eq(node_command(ctl, control, resume, strlen(resume), &root, &out, &wait),
			 -EBUSY);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl mirrors");
	TCase *c = tcase_create("facts"), *commands = tcase_create("commands");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, facts_of_every_state);
	tcase_add_test(c, facts_of_a_copy);
	suite_add_tcase(s, c);
	tcase_add_checked_fixture(commands, setup, teardown);
	tcase_add_test(commands, a_mirror_is_shown);
	tcase_add_test(commands, one_that_waits_for_activate);
	tcase_add_test(commands, operations_on_a_mirror);
	tcase_add_test(commands, settings);
	tcase_add_test(commands, refused_mirrors);
	tcase_add_test(commands, a_command_waits);
	tcase_add_test(commands, targets_that_are_full);
	tcase_add_test(commands, a_full_target_that_has_no_place);
	tcase_add_test(commands, a_target_that_may_be_there);
	tcase_add_test(commands, targets_that_stay_read_only);
	suite_add_tcase(s, commands);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

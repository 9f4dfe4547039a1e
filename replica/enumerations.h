/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The values of the properties of a relationship, and of the operations on it:
 * numbers and names, as in MSFT_VirtualDiskToVirtualDisk and
 * SetReplicationRelationship. The numbers are recorded and never change.
 */
#ifndef TANDEMFS_ENUMERATIONS_H
#define TANDEMFS_ENUMERATIONS_H

#include <stdint.h>

/* How much space an image takes. */
enum provisioning {
	PROVISION_AS_IT_COMES,
	PROVISION_FULL, /* all of it, before anything is written */
	PROVISION_THIN, /* what is written, and is not zeros */
};

struct enum_value {
	const char *name;
	uint32_t number;
};

/* The name of a number; NULL when it is not in the list, which ends with a NULL name. */
const char *enum_name(const struct enum_value *list, uint32_t number);

enum copy_state {
	COPY_INITIALIZED = 2,
	COPY_UNSYNCHRONIZED,
	COPY_SYNCHRONIZED,
	COPY_BROKEN,
	COPY_FRACTURED,
	COPY_SPLIT,
	COPY_INACTIVE,
	COPY_SUSPENDED,
	COPY_FAILEDOVER,
	COPY_PREPARED,
	COPY_ABORTED,
	COPY_SKEWED,
	COPY_MIXED,
	COPY_NOT_APPLICABLE,
	COPY_STATE_MAX
};

enum sync_type { SYNC_MIRROR = 6, SYNC_SNAPSHOT, SYNC_CLONE, SYNC_TOKENIZED_CLONE };

/* Mode of CreateReplica, and SyncMode, which has no Adaptive. */
enum sync_mode { MODE_UNKNOWN, MODE_SYNCHRONOUS = 2, MODE_ASYNCHRONOUS, MODE_ADAPTIVE };

enum progress_status {
	PROGRESS_UNKNOWN,
	PROGRESS_COMPLETED = 2,
	PROGRESS_DORMANT,
	PROGRESS_INITIALIZING,
	PROGRESS_PREPARING,
	PROGRESS_SYNCHRONIZING,
	PROGRESS_RESYNCING,
	PROGRESS_RESTORING,
	PROGRESS_FRACTURING,
	PROGRESS_SPLITTING,
	PROGRESS_FAILING_OVER,
	PROGRESS_FAILING_BACK,
	PROGRESS_ABORTING,
	PROGRESS_MIXED,
	PROGRESS_NOT_APPLICABLE,
	PROGRESS_SUSPENDING,
	PROGRESS_REQUIRES_FRACTURE,
	PROGRESS_REQUIRES_RESYNC,
	PROGRESS_REQUIRES_ACTIVATE,
	PROGRESS_PENDING,
	PROGRESS_DETACHING
};

enum copy_type { COPY_ASYNC = 2, COPY_SYNC, COPY_UNSYNC_ASSOC, COPY_UNSYNC_UNASSOC };

enum replica_type {
	REPLICA_NOT_SPECIFIED,
	REPLICA_FULL_COPY = 2,
	REPLICA_BEFORE_DELTA,
	REPLICA_AFTER_DELTA,
	REPLICA_LOG
};

enum sync_state {
	SYNC_INITIALIZED = 2,
	SYNC_PREPARE_IN_PROGRESS,
	SYNC_PREPARED,
	SYNC_RESYNC_IN_PROGRESS,
	SYNC_SYNCHRONIZED,
	SYNC_FRACTURE_IN_PROGRESS,
	SYNC_QUIESCE_IN_PROGRESS,
	SYNC_QUIESCED,
	SYNC_RESTORE_IN_PROGRESS,
	SYNC_IDLE,
	SYNC_BROKEN,
	SYNC_FRACTURED,
	SYNC_FROZEN,
	SYNC_COPY_IN_PROGRESS
};

enum copy_priority { PRIORITY_NOT_MANAGED, PRIORITY_LOW, PRIORITY_SAME, PRIORITY_HIGH };

enum copy_methodology {
	METHOD_NOT_SPECIFIED,
	METHOD_OTHER,
	METHOD_IMPLEMENTATION_DECIDES,
	METHOD_FULL_COPY,
	METHOD_INCREMENTAL_COPY,
	METHOD_DIFFERENTIAL_COPY,
	METHOD_COPY_ON_WRITE,
	METHOD_COPY_ON_ACCESS,
	METHOD_DELTA_UPDATE,
	METHOD_SNAP_AND_CLONE
};

/* CopyRecoveryMode of ReplicationSettings. */
enum recovery_mode { RECOVERY_AUTOMATIC = 2, RECOVERY_MANUAL };

/* ThinProvisioningPolicy of CreateReplica. */
enum thin_policy {
	THIN_TO_THIN = 2,
	THIN_TO_FULL,
	FULL_TO_THIN,
	THIN_AS_SOURCE,
	THIN_WE_DECIDE = 7
};

/* Our own: what of a synchronous mirror waits until the target has it, too. */
enum acknowledge_point { ACKNOWLEDGE_WRITE = 1, ACKNOWLEDGE_FLUSH };

/* Of SetReplicationRelationship; the last two are of GetSupportedOperations. */
enum replica_operation {
	OP_ABORT = 2,
	OP_ACTIVATE_CONSISTENCY,
	OP_ACTIVATE,
	OP_ADD_SYNC_PAIR,
	OP_DEACTIVATE_CONSISTENCY,
	OP_DEACTIVATE,
	OP_DETACH,
	OP_DISSOLVE,
	OP_FAILOVER,
	OP_FAILBACK,
	OP_FRACTURE,
	OP_REMOVE_SYNC_PAIR,
	OP_RESYNC_REPLICA,
	OP_RESTORE_FROM_REPLICA,
	OP_RESUME,
	OP_RESET_TO_SYNC,
	OP_RESET_TO_ASYNC,
	OP_RETURN_TO_RESOURCE_POOL,
	OP_REVERSE_ROLES,
	OP_SPLIT,
	OP_SUSPEND,
	OP_UNPREPARE,
	OP_PREPARE,
	OP_RESET_TO_ADAPTIVE,
	OP_MAX
};

/* JobState of MSFT_StorageJob. */
enum job_state {
	JOB_NEW = 2,
	JOB_STARTING,
	JOB_RUNNING,
	JOB_SUSPENDED,
	JOB_SHUTTING_DOWN,
	JOB_COMPLETED,
	JOB_TERMINATED,
	JOB_KILLED,
	JOB_EXCEPTION,
	JOB_SERVICE,
	JOB_QUERY_PENDING
};

/* The names, by property. */
extern const struct enum_value copy_states[], sync_types[], sync_modes[], create_modes[],
	progress_statuses[], copy_types[], replica_types[], sync_states[], copy_priorities[],
	copy_methodologies[], recovery_modes[], thin_policies[], acknowledge_points[],
	replica_operations[], job_states[];

#endif

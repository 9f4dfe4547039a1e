// SPDX-License-Identifier: GPL-2.0-or-later
#include "enumerations.h"

#include <stddef.h>

const char *enum_name(const struct enum_value *list, uint32_t number)
{
	for (; list->name; list++) {
		if (list->number == number)
			return list->name;
	}
	return NULL;
}

// clang-format off
const struct enum_value copy_states[] = {
	{ "Initialized", COPY_INITIALIZED },
	{ "Unsynchronized", COPY_UNSYNCHRONIZED },
	{ "Synchronized", COPY_SYNCHRONIZED },
	{ "Broken", COPY_BROKEN },
	{ "Fractured", COPY_FRACTURED },
	{ "Split", COPY_SPLIT },
	{ "Inactive", COPY_INACTIVE },
	{ "Suspended", COPY_SUSPENDED },
	{ "Failedover", COPY_FAILEDOVER },
	{ "Prepared", COPY_PREPARED },
	{ "Aborted", COPY_ABORTED },
	{ "Skewed", COPY_SKEWED },
	{ "Mixed", COPY_MIXED },
	{ "Not Applicable", COPY_NOT_APPLICABLE },
	{ NULL },
};

const struct enum_value sync_types[] = {
	{ "Mirror", SYNC_MIRROR },
	{ "Snapshot", SYNC_SNAPSHOT },
	{ "Clone", SYNC_CLONE },
	{ "TokenizedClone", SYNC_TOKENIZED_CLONE },
	{ NULL },
};

const struct enum_value sync_modes[] = {
	{ "Unknown", MODE_UNKNOWN },
	{ "Synchronous", MODE_SYNCHRONOUS },
	{ "Asynchronous", MODE_ASYNCHRONOUS },
	{ NULL },
};

const struct enum_value create_modes[] = {
	{ "Synchronous", MODE_SYNCHRONOUS },
	{ "Asynchronous", MODE_ASYNCHRONOUS },
	{ "Adaptive", MODE_ADAPTIVE },
	{ NULL },
};

/* The class pages differ from 13 on; these are the later one's, and CIM's. */
const struct enum_value progress_statuses[] = {
	{ "Unknown", PROGRESS_UNKNOWN },
	{ "Completed", PROGRESS_COMPLETED },
	{ "Dormant", PROGRESS_DORMANT },
	{ "Initializing", PROGRESS_INITIALIZING },
	{ "Preparing", PROGRESS_PREPARING },
	{ "Synchronizing", PROGRESS_SYNCHRONIZING },
	{ "Resyncing", PROGRESS_RESYNCING },
	{ "Restoring", PROGRESS_RESTORING },
	{ "Fracturing", PROGRESS_FRACTURING },
	{ "Splitting", PROGRESS_SPLITTING },
	{ "Failing over", PROGRESS_FAILING_OVER },
	{ "Failing back", PROGRESS_FAILING_BACK },
	{ "Aborting", PROGRESS_ABORTING },
	{ "Mixed", PROGRESS_MIXED },
	{ "Not Applicable", PROGRESS_NOT_APPLICABLE },
	{ "Suspending", PROGRESS_SUSPENDING },
	{ "Requires fracture", PROGRESS_REQUIRES_FRACTURE },
	{ "Requires resync", PROGRESS_REQUIRES_RESYNC },
	{ "Requires activate", PROGRESS_REQUIRES_ACTIVATE },
	{ "Pending", PROGRESS_PENDING },
	{ "Detaching", PROGRESS_DETACHING },
	{ NULL },
};

const struct enum_value copy_types[] = {
	{ "Async", COPY_ASYNC },
	{ "Sync", COPY_SYNC },
	{ "UnSyncAssoc", COPY_UNSYNC_ASSOC },
	{ "UnSyncUnAssoc", COPY_UNSYNC_UNASSOC },
	{ NULL },
};

const struct enum_value replica_types[] = {
	{ "Not Specified", REPLICA_NOT_SPECIFIED },
	{ "Full Copy", REPLICA_FULL_COPY },
	{ "Before Delta", REPLICA_BEFORE_DELTA },
	{ "After Delta", REPLICA_AFTER_DELTA },
	{ "Log", REPLICA_LOG },
	{ NULL },
};

const struct enum_value sync_states[] = {
	{ "Initialized", SYNC_INITIALIZED },
	{ "PrepareInProgress", SYNC_PREPARE_IN_PROGRESS },
	{ "Prepared", SYNC_PREPARED },
	{ "ResyncInProgress", SYNC_RESYNC_IN_PROGRESS },
	{ "Synchronized", SYNC_SYNCHRONIZED },
	{ "Fracture In Progress", SYNC_FRACTURE_IN_PROGRESS },
	{ "QuiesceInProgress", SYNC_QUIESCE_IN_PROGRESS },
	{ "Quiesced", SYNC_QUIESCED },
	{ "Restore In Progress", SYNC_RESTORE_IN_PROGRESS },
	{ "Idle", SYNC_IDLE },
	{ "Broken", SYNC_BROKEN },
	{ "Fractured", SYNC_FRACTURED },
	{ "Frozen", SYNC_FROZEN },
	{ "Copy In Progress", SYNC_COPY_IN_PROGRESS },
	{ NULL },
};

const struct enum_value copy_priorities[] = {
	{ "Not Managed", PRIORITY_NOT_MANAGED },
	{ "Low", PRIORITY_LOW },
	{ "Same", PRIORITY_SAME },
	{ "High", PRIORITY_HIGH },
	{ NULL },
};

const struct enum_value acknowledge_points[] = {
	{ "Write", ACKNOWLEDGE_WRITE },
	{ "Flush", ACKNOWLEDGE_FLUSH },
	{ NULL },
};

const struct enum_value thin_policies[] = {
	{ "Copy thin source to thin target", THIN_TO_THIN },
	{ "Copy thin source to full target", THIN_TO_FULL },
	{ "Copy full source to thin target", FULL_TO_THIN },
	{ "Provisioning of target same as source", THIN_AS_SOURCE },
	{ "Implementation decides", THIN_WE_DECIDE },
	{ NULL },
};

const struct enum_value recovery_modes[] = {
	{ "Automatic", RECOVERY_AUTOMATIC },
	{ "Manual", RECOVERY_MANUAL },
	{ NULL },
};

const struct enum_value copy_methodologies[] = {
	{ "Not Specified", METHOD_NOT_SPECIFIED },
	{ "Other", METHOD_OTHER },
	{ "Implementation decides", METHOD_IMPLEMENTATION_DECIDES },
	{ "Full Copy", METHOD_FULL_COPY },
	{ "Incremental-Copy", METHOD_INCREMENTAL_COPY },
	{ "Differential-Copy", METHOD_DIFFERENTIAL_COPY },
	{ "Copy-On-Write", METHOD_COPY_ON_WRITE },
	{ "Copy-On-Access", METHOD_COPY_ON_ACCESS },
	{ "Delta-Update", METHOD_DELTA_UPDATE },
	{ "Snap-And-Clone", METHOD_SNAP_AND_CLONE },
	{ NULL },
};

const struct enum_value job_states[] = {
	{ "New", JOB_NEW },
	{ "Starting", JOB_STARTING },
	{ "Running", JOB_RUNNING },
	{ "Suspended", JOB_SUSPENDED },
	{ "Shutting Down", JOB_SHUTTING_DOWN },
	{ "Completed", JOB_COMPLETED },
	{ "Terminated", JOB_TERMINATED },
	{ "Killed", JOB_KILLED },
	{ "Exception", JOB_EXCEPTION },
	{ "Service", JOB_SERVICE },
	{ "Query Pending", JOB_QUERY_PENDING },
	{ NULL },
};

const struct enum_value replica_operations[] = {
	{ "Abort", OP_ABORT },
	{ "ActivateConsistency", OP_ACTIVATE_CONSISTENCY },
	{ "Activate", OP_ACTIVATE },
	{ "AddSyncPair", OP_ADD_SYNC_PAIR },
	{ "DeactivateConsistency", OP_DEACTIVATE_CONSISTENCY },
	{ "Deactivate", OP_DEACTIVATE },
	{ "Detach", OP_DETACH },
	{ "Dissolve", OP_DISSOLVE },
	{ "Failover", OP_FAILOVER },
	{ "Failback", OP_FAILBACK },
	{ "Fracture", OP_FRACTURE },
	{ "RemoveSyncPair", OP_REMOVE_SYNC_PAIR },
	{ "ResyncReplica", OP_RESYNC_REPLICA },
	{ "RestoreFromReplica", OP_RESTORE_FROM_REPLICA },
	{ "Resume", OP_RESUME },
	{ "ResetToSync", OP_RESET_TO_SYNC },
	{ "ResetToAsync", OP_RESET_TO_ASYNC },
	{ "ReturnToResourcePool", OP_RETURN_TO_RESOURCE_POOL },
	{ "ReverseRoles", OP_REVERSE_ROLES },
	{ "Split", OP_SPLIT },
	{ "Suspend", OP_SUSPEND },
	{ "Unprepare", OP_UNPREPARE },
	{ "Prepare", OP_PREPARE },
	{ "ResetToAdaptive", OP_RESET_TO_ADAPTIVE },
	{ NULL },
};
// clang-format on

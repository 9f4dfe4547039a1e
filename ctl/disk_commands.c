// SPDX-License-Identifier: GPL-2.0-or-later
/* The operations of disks/DISK/control. */
#include "inner.h"

#include <errno.h>
#include <inttypes.h>

/* How a plan speaks of those who would notice. */
static const char *openers_of(const struct disk_facts *facts)
{
	if (facts->openers == 0)
		return "nobody has it open";
	return facts->openers == 1 ? "it is open once" : "it is open more than once";
}

enum { RESIZE_SIZE };

static const struct parameter resize_parameters[] = {
	[RESIZE_SIZE] = { "Size", VALUE_SIZE, .required = true },
	{ NULL },
};

static int resize(const struct request *r)
{
	uint64_t size = r->args[RESIZE_SIZE].number;
	char from[VALUE_TEXT_MAX], to[VALUE_TEXT_MAX];
	struct disk_facts facts;
	int err;

	disk_facts(r->disk, &facts);
	err = tandem_resize_disk(r->ctl->tandem, r->disk, size, r->force, r->plan, &r->result->why);
	if (err)
		return err;
	value_human_size(from, facts.size);
	value_human_size(to, size);
	if (r->plan && size < facts.size)
		result_say(r->result,
			   "would shrink from %s to %s, losing the last %" PRIu64 " bytes; %s",
			   from, to, facts.size - size, openers_of(&facts));
	else if (r->plan)
		result_say(r->result, "would grow from %s to %s (%" PRIu64 " bytes); %s", from, to,
			   size, openers_of(&facts));
	else
		result_say(r->result, "was %s, is %s (%" PRIu64 " bytes)", from, to, size);
	return 0;
}

static int accept_image(const struct request *r)
{
	struct disk_facts facts;
	int err;

	disk_facts(r->disk, &facts);
	err = tandem_accept_disk(r->ctl->tandem, r->disk, r->force, r->plan, &r->result->why);
	if (err)
		return err;
	if (r->plan)
		result_say(r->result, "would take the image as it is for the truth; it is %s",
			   disk_state_name(facts.state));
	else
		result_say(r->result, "the image as it is is the truth; it was %s",
			   disk_state_name(facts.state));
	return 0;
}

enum { SET_READ_ONLY };

static const struct parameter set_parameters[] = {
	[SET_READ_ONLY] = { "ReadOnly", VALUE_BOOL },
	{ NULL },
};

static int set_settings(const struct request *r)
{
	bool read_only = r->args[SET_READ_ONLY].number;
	int err = tandem_set_disk_read_only(r->ctl->tandem, r->disk, read_only, r->plan,
					    &r->result->why);

	if (err)
		return err;
	result_say(r->result, "%s ReadOnly=%s", r->plan ? "would have" : "now",
		   read_only ? "true" : "false");
	return 0;
}

static int refuse_verify(const struct request *r)
{
	return refuse(&r->result->why, -EOPNOTSUPP,
		      "tandemfs %s verifies mirrors, in replicas/NAME/control, and no disk alone",
		      TANDEMFS_VERSION);
}

// clang-format off
const struct command disk_commands[] = {
	{ .name = "Resize", .parameters = resize_parameters, .force = true, .run = resize,
	  .help = "to shrink loses its end: Force" },
	{ .name = "Accept", .force = true, .run = accept_image,
	  .help = "a Changed or Failed image is the truth as it is" },
	{ .name = "snapshot", .parameters = snapshot_parameters, .positional = "Name",
	  .run = disk_snapshot, .help = "the disk as it is now, or was" },
	{ .name = "unsnapshot", .parameters = unsnapshot_parameters, .positional = "Name",
	  .force = true, .run = disk_unsnapshot, .help = "deletes it" },
	{ .name = "clone", .parameters = clone_parameters, .positional = "Target",
	  .run = disk_clone, .help = "a disk of its own that is the same, now or then" },
	{ .name = "mirror", .parameters = mirror_parameters, .positional = "Target",
	  .run = disk_mirror, .help = "a disk that is the same from now on" },
	{ .name = "CreateReplica", .parameters = create_replica_parameters, .force = true,
	  .run = disk_create_replica, .help = "SyncType=Snapshot is snapshot, Clone is clone" },
	{ .name = "MirrorVirtualDisk", .parameters = mirror_virtual_disk_parameters, .force = true,
	  .run = disk_mirror_virtual_disk, .help = "to another file, to go on there" },
	{ .name = "BreakMirrorVirtualDisk", .run = disk_break_mirror,
	  .help = "goes on there, under its name" },
	{ .name = "CancelIo", .run = disk_cancel_io, .help = "stays here" },
	{ .name = "GetVirtualDiskOperationProgress", .run = disk_operation_progress,
	  .help = "how much is there" },
	{ .name = "KeepHistory", .parameters = keep_history_parameters, .force = true,
	  .run = disk_keep_history, .help = "moments of so long ago; less than before: Force" },
	{ .name = "ForgetHistory", .parameters = forget_history_parameters, .force = true,
	  .run = disk_forget_history, .help = "gives up older moments" },
	{ .name = "RestoreTo", .parameters = restore_parameters, .force = true,
	  .run = disk_restore, .help = "is what it was; open: Force" },
	{ .name = "Abort", .force = true, .run = disk_abort,
	  .help = "a restore goes back; open or written: Force" },
	{ .name = "Settle", .run = disk_settle, .help = "the image has everything" },
	{ .name = "Verify", .run = refuse_verify, .refused = true, .help = "of mirrors" },
	{ .name = "Set", .parameters = set_parameters, .needs_any = true, .run = set_settings,
	  .help = "settings" },
	{ NULL },
};
// clang-format on

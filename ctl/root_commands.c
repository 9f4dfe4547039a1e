// SPDX-License-Identifier: GPL-2.0-or-later
/* The operations of .replication/control. */
#include "inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum {
	CREATE_NAME,
	CREATE_SIZE,
	CREATE_FORMAT,
	CREATE_PARENT,
	CREATE_BLOCK_SIZE,
	CREATE_SECTOR_SIZE,
};

// clang-format off
static const struct parameter create_disk_parameters[] = {
	[CREATE_NAME]   = { "Name", VALUE_TEXT, .required = true },
	[CREATE_SIZE]   = { "Size", VALUE_SIZE },
	[CREATE_FORMAT] = { "Format", VALUE_TEXT },
	[CREATE_PARENT] = { "Parent", VALUE_TEXT },
	[CREATE_BLOCK_SIZE]  = { "BlockSize", VALUE_SIZE },
	[CREATE_SECTOR_SIZE] = { "LogicalSectorSize", VALUE_SIZE },
	{ NULL },
};
// clang-format on

/* Whether a format can have them is the format's to say; here they only have to fit. */
static int set_geometry(const struct argument *a, struct create_disk *create, struct why *why)
{
	if (a[CREATE_SIZE].given ? !create->size : !create->parent)
		return refuse(why, -EINVAL, "Size is missing, or 0");
	if (a[CREATE_BLOCK_SIZE].number > 256 << 20)
		return refuse(why, -EINVAL, "BlockSize is at most 256M");
	if (a[CREATE_SECTOR_SIZE].given && a[CREATE_SECTOR_SIZE].number != 512 &&
	    a[CREATE_SECTOR_SIZE].number != 4096)
		return refuse(why, -EINVAL, "LogicalSectorSize is 512 or 4096");
	create->block_size = a[CREATE_BLOCK_SIZE].number;
	create->sector_size = a[CREATE_SECTOR_SIZE].number;
	return 0;
}

static int create_disk(const struct request *r)
{
	const struct argument *a = r->args;
	struct create_disk create = {
		.name = a[CREATE_NAME].text,
		.format = argument_text(&a[CREATE_FORMAT]),
		.parent = argument_text(&a[CREATE_PARENT]),
		.size = a[CREATE_SIZE].number,
		/*
		 * For its owner alone: a disk holds the files of all users of a
		 * guest, and what somebody has read cannot be taken back by
		 * the chmod that opens it on purpose.
		 */
		.mode = 0600,
		.uid = r->caller->uid,
		.gid = r->caller->gid,
		.plan = r->plan,
	};
	char size[2 * VALUE_TEXT_MAX], human[VALUE_TEXT_MAX];
	struct disk_facts facts;
	struct disk *disk = NULL;
	int err = set_geometry(a, &create, &r->result->why);

	if (!err)
		err = tandem_create_disk(r->ctl->tandem, &create, &disk, &r->result->why);
	if (err)
		return err;
	if (r->plan) {
		if (create.size)
			snprintf(size, sizeof(size), "%s (%" PRIu64 " bytes)",
				 value_human_size(human, create.size), create.size);
		else
			snprintf(size, sizeof(size), "the size of its parent");
		result_say(r->result, "would create %s with %s, of uid %u", create.name, size,
			   (unsigned)create.uid);
		return 0;
	}
	disk_facts(disk, &facts);
	disk_unref(disk);
	value_human_size(size, facts.size);
	snprintf(r->result->element_name, sizeof(r->result->element_name), "%s", facts.label);
	result_say(r->result, "created %s with %s, format %s", facts.label, size, facts.format);
	return 0;
}

enum { DELETE_NAME };

static const struct parameter delete_disk_parameters[] = {
	[DELETE_NAME] = { "Name", VALUE_TEXT, .required = true },
	{ NULL },
};

static int delete_disk(const struct request *r)
{
	const char *name = r->args[DELETE_NAME].text;
	struct disk *disk = tandem_disk_called(r->ctl->tandem, name);
	char size[VALUE_TEXT_MAX];
	struct disk_facts facts;
	int err;

	if (!disk)
		return refuse(&r->result->why, -ENOENT, "there is no disk %.200s", name);
	disk_facts(disk, &facts);
	err = tandem_delete_disk(r->ctl->tandem, disk, name, r->force, r->plan, &r->result->why);
	disk_unref(disk);
	if (err)
		return err;
	result_say(r->result, "%s %s with its image, %s", r->plan ? "would delete" : "deleted",
		   facts.label, value_human_size(size, facts.size));
	return 0;
}

enum { ADD_POOL_NAME, ADD_POOL_DIR };

static const struct parameter add_pool_parameters[] = {
	[ADD_POOL_NAME] = { "Name", VALUE_NAME, .required = true },
	[ADD_POOL_DIR] = { "Dir", VALUE_TEXT, .required = true },
	{ NULL },
};

static int add_pool(const struct request *r)
{
	const char *name = r->args[ADD_POOL_NAME].text, *dir = r->args[ADD_POOL_DIR].text;
	int err = tandem_add_pool(r->ctl->tandem, name, dir, r->plan, &r->result->why);

	if (err)
		return err;
	result_say(r->result, "%s the pool %s at %.150s", r->plan ? "would add" : "added", name,
		   dir);
	return 0;
}

enum { REMOVE_POOL_NAME };

static const struct parameter remove_pool_parameters[] = {
	[REMOVE_POOL_NAME] = { "Name", VALUE_TEXT, .required = true },
	{ NULL },
};

static int remove_pool(const struct request *r)
{
	const char *name = r->args[REMOVE_POOL_NAME].text;
	int err = tandem_remove_pool(r->ctl->tandem, name, r->force, r->plan, &r->result->why);

	if (err)
		return err;
	result_say(r->result, "%s the pool %s; its images stay where they are",
		   r->plan ? "would remove" : "removed", name);
	return 0;
}

static int rescan(const struct request *r)
{
	int err = tandem_rescan(r->ctl->tandem, r->plan, &r->result->why);

	if (err)
		return err;
	result_say(r->result, "%s every directory",
		   r->plan ? "would look through" : "looked through");
	return 0;
}

/* Names and numbers as the daemon's --log-level has them. */
static const struct enum_value log_levels[] = {
	{ "error", 1 }, { "warning", 2 }, { "info", 3 }, { "debug", 4 }, { NULL },
};

static int apply_log_level(const struct request *r, const char *level)
{
	int (*set)(const char *) = r->ctl->set_log_level;

	if (!set)
		return refuse(&r->result->why, -EOPNOTSUPP, "this program has no log");
	if (!r->plan && set(level))
		return refuse(&r->result->why, -EINVAL, "the log has no level %s", level);
	return 0;
}

enum {
	SET_LOG_LEVEL,
	SET_BLOCK_SIZE,
	SET_RESCAN_INTERVAL,
	SET_STOP_TIMEOUT,
	SET_COPY_RATE,
	SET_MAX_COPIES
};

// clang-format off
static const struct parameter set_parameters[] = {
	[SET_LOG_LEVEL]       = { "LogLevel", VALUE_ENUM, .values = log_levels },
	[SET_BLOCK_SIZE]      = { "BlockSize", VALUE_SIZE },
	[SET_RESCAN_INTERVAL] = { "RescanInterval", VALUE_SECONDS },
	[SET_STOP_TIMEOUT]    = { "StopTimeout", VALUE_SECONDS },
	[SET_COPY_RATE]       = { "CopyRate", VALUE_SIZE },
	[SET_MAX_COPIES]      = { "MaxCopies", VALUE_NUMBER },
	{ NULL },
};
// clang-format on

/* Leaves *setting as it is when nothing was given. */
static int take_setting(const struct request *r, int which, uint32_t *setting)
{
	const struct argument *a = &r->args[which];

	if (!a->given)
		return 0;
	if (a->number > UINT32_MAX)
		return refuse(&r->result->why, -EINVAL, "%s=%.60s is too much",
			      set_parameters[which].key, a->text);
	*setting = a->number;
	return 0;
}

static int change_settings(const struct request *r, struct tandem_settings *s)
{
	const char *level = argument_text(&r->args[SET_LOG_LEVEL]);
	int err = take_setting(r, SET_BLOCK_SIZE, &s->block_size);

	if (!err)
		err = take_setting(r, SET_RESCAN_INTERVAL, &s->rescan_interval_s);
	if (!err)
		err = take_setting(r, SET_STOP_TIMEOUT, &s->stop_timeout_s);
	if (!err)
		err = take_setting(r, SET_COPY_RATE, &s->copy_rate);
	if (!err)
		err = take_setting(r, SET_MAX_COPIES, &s->max_copies);
	if (!err)
		err = tandem_set(r->ctl->tandem, s, r->plan, &r->result->why);
	/* Last, as it was checked already and cannot fail when there is a log. */
	if (!err && level)
		err = apply_log_level(r, level);
	return err;
}

static int set_settings(const struct request *r)
{
	const char *level = argument_text(&r->args[SET_LOG_LEVEL]);
	struct tandem_settings s;
	int err;

	pthread_mutex_lock(&r->ctl->settings);
	s = tandem_get_settings(r->ctl->tandem);
	err = change_settings(r, &s);
	pthread_mutex_unlock(&r->ctl->settings);
	if (err)
		return err;
	result_say(
		r->result,
		"%s BlockSize=%u RescanInterval=%us StopTimeout=%us CopyRate=%u MaxCopies=%u%s%s",
		r->plan ? "would have" : "now", s.block_size, s.rescan_interval_s, s.stop_timeout_s,
		s.copy_rate, s.max_copies, level ? " LogLevel=" : "", level ? level : "");
	return 0;
}

enum { LEVEL_LEVEL };

static const struct parameter log_level_parameters[] = {
	[LEVEL_LEVEL] = { "Level", VALUE_ENUM, .required = true, .values = log_levels },
	{ NULL },
};

static int set_log_level(const struct request *r)
{
	const char *level = r->args[LEVEL_LEVEL].text;
	int err = apply_log_level(r, level);

	if (err)
		return err;
	result_say(r->result, "%s LogLevel=%s", r->plan ? "would have" : "now", level);
	return 0;
}

static const struct parameter group_parameters[] = {
	{ "Name", VALUE_NAME, .required = true },
	{ NULL },
};

// clang-format off
const struct command root_commands[] = {
	{ .name = "CreateDisk", .parameters = create_disk_parameters, .run = create_disk,
	  .help = "an empty disk; raw, or by the ending of its name" },
	{ .name = "DeleteDisk", .parameters = delete_disk_parameters, .force = true,
	  .run = delete_disk, .help = "the disk and its image" },
	{ .name = "CreateGroup", .parameters = group_parameters, .run = create_group,
	  .help = "disks that belong together" },
	{ .name = "DeleteGroup", .parameters = group_parameters, .run = delete_group,
	  .help = "its disks stay" },
	{ .name = "AddPool", .parameters = add_pool_parameters, .run = add_pool,
	  .help = "a second directory of images" },
	{ .name = "RemovePool", .parameters = remove_pool_parameters, .force = true,
	  .run = remove_pool, .help = "its images stay" },
	{ .name = "Rescan", .run = rescan, .help = "look for images now" },
	{ .name = "Settle", .run = settle_all, .help = "every image has everything" },
	{ .name = "Set", .parameters = set_parameters, .needs_any = true, .run = set_settings,
	  .help = "settings" },
	{ .name = "SetLogLevel", .parameters = log_level_parameters, .run = set_log_level,
	  .help = "of the daemon" },
	{ NULL },
};
// clang-format on

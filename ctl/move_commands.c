// SPDX-License-Identifier: GPL-2.0-or-later
/* A disk goes on in another file: MirrorVirtualDisk and what ends it. */
#include "inner.h"

#include <errno.h>
#include <stdio.h>

#include "pairs.h"

enum { FLAG_NONE, FLAG_EXISTING_FILE };

static const struct enum_value flags[] = {
	{ "None", FLAG_NONE },
	{ "ExistingFile", FLAG_EXISTING_FILE },
	{ NULL },
};

enum { MOVE_PATH, MOVE_FLAGS };

const struct parameter mirror_virtual_disk_parameters[] = {
	[MOVE_PATH] = { "MirrorVirtualDiskPath", VALUE_TEXT, .required = true },
	[MOVE_FLAGS] = { "Flags", VALUE_ENUM, .values = flags },
	{ NULL },
};

int disk_mirror_virtual_disk(const struct request *r)
{
	struct pair_request q = {
		.target = r->args[MOVE_PATH].text,
		.mode = MODE_SYNCHRONOUS,
		.moves = true,
		.existing = r->args[MOVE_FLAGS].number == FLAG_EXISTING_FILE,
		.force = r->force,
	};

	if (r->force && !q.existing)
		return refuse(&r->result->why, -EINVAL,
			      "Force is for a file that is there: Flags=ExistingFile");
	return make_mirror(r, &q);
}

/* The mirror of the disk that is an operation; or a refusal. */
static int find(const struct request *r, struct pair_facts *p)
{
	return pair_moving(r->disk, p)
		       ? refuse_advise(&r->result->why, -ENOENT, "MirrorVirtualDisk",
				       "the disk is not being mirrored by "
				       "MirrorVirtualDisk")
		       : 0;
}

int disk_break_mirror(const struct request *r)
{
	char left[DISK_LABEL_MAX + 1] = "";
	struct pair_facts p;
	int err = find(r, &p);

	if (!err)
		err = tandem_break_mirror(r->disk, r->plan, left, &r->result->why);
	if (err)
		return err;
	if (r->plan)
		result_say(
			r->result,
			"would go on in %.255s, for whoever has it open, and leave the file %.255s",
			p.target, p.source);
	else if (*left)
		result_say(r->result, "the disk is %.255s; the file where it was is %.255s",
			   p.target, left);
	else
		result_say(r->result,
			   "the disk is %.255s; the file where it was could not be renamed, and is "
			   "%.255s still: remove it",
			   p.target, p.source);
	return 0;
}

int disk_cancel_io(const struct request *r)
{
	struct pair_facts p;
	int err = find(r, &p);

	if (!err)
		err = tandem_operate_pair(r->ctl->tandem, p.number, OP_DETACH, p.state, true,
					  r->plan, &r->result->why);
	if (err)
		return err;
	result_say(r->result, "%s %.255s, which %s",
		   r->plan ? "would not mirror to" : "not mirrored to", p.target,
		   p.first ? "was not complete, and goes" : "is a disk of its own");
	return 0;
}

int disk_operation_progress(const struct request *r)
{
	struct progress *out = &r->result->progress;
	struct pair_facts p;
	int err = find(r, &p);

	if (err || r->plan)
		return err;
	out->status = OPERATION_IN_PROGRESS;
	out->completion = p.size;
	out->current = p.size > p.differs ? p.size - p.differs : 0;
	/* The same only when all that is written goes to both. */
	if (p.state != COPY_SYNCHRONIZED && out->current == p.size && p.size)
		out->current--;
	return 0;
}

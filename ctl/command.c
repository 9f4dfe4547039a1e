// SPDX-License-Identifier: GPL-2.0-or-later
/* One command from its bytes to its result, its event and its errno. */
#include "inner.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "close_wait.h"
#include "groups.h"
#include "jobs.h"
#include "replica_facts.h"

// clang-format off
const struct command_table command_tables[OBJECT_MAX] = {
	[OBJECT_ROOT] = { ".replication/control", root_commands },
	[OBJECT_DISK] = { "disks/DISK/control", disk_commands },
	[OBJECT_REPLICA] = { "replicas/NAME/control", replica_commands },
	[OBJECT_GROUP] = { "groups/NAME/control", group_commands },
	[OBJECT_JOB] = { "jobs/ID/control", job_commands },
};
// clang-format on

/* Whoever opened the file may have passed it on: the caller himself must be allowed. */
static int check_caller(const struct caller *caller, struct why *why)
{
	if (caller->uid == 0 || caller->uid == caller->owner)
		return 0;
	return refuse(why, -EACCES, "only root and the one who mounted, uid %u, give commands",
		      (unsigned)caller->owner);
}

/* "CreateDisk, DeleteDisk, ..., Plan" */
static const char *list_operations(const struct command *table, char *buf, size_t size)
{
	size_t len = 0;

	for (; table->name && len < size; table++) {
		if (!table->refused)
			len += snprintf(buf + len, size - len, "%s, ", table->name);
	}
	if (len < size)
		snprintf(buf + len, size - len, "Plan");
	return buf;
}

static int refuse_operation(const struct command_table *table, const char *word, struct why *why)
{
	const char *later = command_of_later(word);
	char list[256];

	if (!strcasecmp(word, "Plan"))
		return refuse(why, -EINVAL, "Plan once; then the operation");
	if (later)
		return refuse(why, -EOPNOTSUPP, "tandemfs %s has no %s", TANDEMFS_VERSION, later);
	list_operations(table->commands, list, sizeof(list));
	for (int kind = OBJECT_NONE + 1; kind < OBJECT_MAX; kind++) {
		const struct command_table *other = &command_tables[kind];
		const struct command *command;

		if (!other->commands || other == table)
			continue;
		command = command_find(other->commands, word);
		if (command)
			return refuse(why, -EINVAL, "%s is for %s; here there are %s",
				      command->name, other->control, list);
	}
	return refuse_advise(why, -EINVAL, "cat .replication/help",
			     "'%.64s' is no operation; here there are %s", word, list);
}

/* `counted` is set to a constant name as soon as there is one. */
static int run_command(struct request *r, enum object_kind kind, const struct words *words,
		       const char **counted)
{
	const struct command_table *table = &command_tables[kind];
	const struct command *command = command_find(table->commands, words->operation);
	struct argument args[PARAMETERS_MAX];
	struct why *why = &r->result->why;
	struct replica_facts facts;
	struct group_facts group;
	int err;

	if (!command) {
		const char *later = command_of_later(words->operation);

		*counted = later ? later : *counted;
		return refuse_operation(table, words->operation, why);
	}
	*counted = command->name;
	snprintf(r->result->operation, OPERATION_MAX, "%s", command->name);
	err = command_bind(command, words, args, why);
	if (err)
		return err;
	if (kind == OBJECT_DISK && !r->disk)
		return refuse(why, -ENOENT, "the disk is gone");
	if (kind == OBJECT_REPLICA && replica_facts(r->ctl->tandem, r->replica, &facts))
		return refuse(why, -ENOENT, "the relationship is gone");
	if (kind == OBJECT_GROUP && group_numbered(r->ctl->tandem, r->group, &group))
		return refuse(why, -ENOENT, "the group is gone");
	r->command = command;
	r->args = args;
	return command->run(r);
}

/* As long as he may be on his way out who has a disk open. */
static int run_patiently(struct request *r, enum object_kind kind, const struct words *words,
			 const char **counted)
{
	const struct result blank = *r->result;
	struct close_wait wait;
	int err;

	close_wait_begin(&wait, r->ctl->tandem);
	for (;;) {
		err = run_command(r, kind, words, counted);
		if (!close_wait_again(&wait, err, &r->result->why))
			return err;
		*r->result = blank;
	}
}

/* Takes `object` as it is called now; afterwards it may be gone. */
static void name_object(const struct request *r, char *buf, size_t size)
{
	struct replica_facts replica;
	struct group_facts group;
	struct job_facts job;
	struct disk_facts facts;

	snprintf(buf, size, "daemon");
	if (r->disk) {
		disk_facts(r->disk, &facts);
		snprintf(buf, size, "disks/%s", facts.label);
	} else if (r->replica && !replica_facts(r->ctl->tandem, r->replica, &replica)) {
		snprintf(buf, size, "replicas/%s", replica.label);
	} else if (r->group && !group_numbered(r->ctl->tandem, r->group, &group)) {
		snprintf(buf, size, "groups/%s", group.name);
	} else if (r->job && !job_numbered(r->ctl->tandem->jobs, r->job, &job)) {
		snprintf(buf, size, "jobs/%u", job.id);
	}
}

static void announce(struct ctl *c, const struct result *result, const struct caller *caller,
		     const char *object)
{
	bool done = result->code->err == 0;
	char word[4 * OPERATION_MAX];

	events_emit(c->tandem->events, done ? EVENT_INFORMATION : EVENT_WARNING,
		    done ? "CommandDone" : "CommandRefused", object,
		    "Operation=%s%s Uid=%u Pid=%d ReturnValue=%u",
		    *result->operation ? event_word(word, sizeof(word), result->operation) : "-",
		    result->plan ? " Plan=true" : "", (unsigned)caller->uid, (int)caller->pid,
		    result->code->value);
}

static int begin_wait(struct ctl *c, const struct result *result, const struct words *words,
		      struct wait_for *out)
{
	bool copies = result->copy;
	int err = 0;

	*out = (struct wait_for){ .ms = words->wait_ms };
	if (!words->wait || words->plan || !(copies || result->first_job))
		return 0;
	if (copies)
		err = wait_node(c, result->copy, 1u << COPY_SYNCHRONIZED, 0, &out->node);
	else
		err = wait_node(c, result->jobs_of, 0, result->first_job, &out->node);
	if (err)
		return -ECANCELED;
	out->any = true;
	return 0;
}

static void find_object(struct request *r, struct node control, char *name, size_t size)
{
	enum object_kind kind = node_object_kind(control);

	if (kind == OBJECT_DISK)
		r->disk = tandem_disk_numbered(r->ctl->tandem, control.object);
	if (kind == OBJECT_REPLICA)
		r->replica = control.object;
	if (kind == OBJECT_GROUP)
		r->group = control.object;
	if (kind == OBJECT_JOB)
		r->job = control.object;
	name_object(r, name, size);
}

/* Its result for everybody who may ask; the errno. */
static int finish(struct request *r, struct node control, const char *object, const char *counted,
		  int err, struct text *out)
{
	struct result *result = r->result;
	struct ctl *c = r->ctl;
	struct text text = { 0 };

	result->code = !err && *result->job ? return_code_started() : return_code(err);
	result_render(result, &text);
	if (text_ok(&text)) {
		ledger_put(c->ledger, node_object_kind(control), control.object, text.bytes,
			   text.len);
		text_add(out, text.bytes, text.len);
	}
	text_free(&text);
	ledger_count(c->ledger, result->plan ? "Plan" : counted, result->code);
	announce(c, result, r->caller, object);
	return -result->code->err;
}

int node_command(struct ctl *c, struct node control, const char *bytes, size_t len,
		 const struct caller *caller, struct text *out, struct wait_for *wait)
{
	enum object_kind kind = node_object_kind(control);
	struct result result = { .uid = caller->uid };
	struct request r = { .ctl = c, .caller = caller, .result = &result };
	const char *counted = "unknown";
	char object[sizeof("replicas/") + REPLICA_LABEL_MAX];
	struct words words;
	int split, err;

	if (node_kind(control) != NODE_CONTROL)
		return -EINVAL;
	clock_gettime(CLOCK_REALTIME, &result.time);
	find_object(&r, control, object, sizeof(object));
	split = words_split(bytes, len, &words, &result.why);
	snprintf(result.operation, sizeof(result.operation), "%s", words.operation);
	r.force = words.force;
	r.plan = result.plan = words.plan;
	err = check_caller(caller, &result.why);
	if (!err)
		err = split;
	if (!err)
		err = run_patiently(&r, kind, &words, &counted);
	disk_unref(r.disk);
	err = finish(&r, control, object, counted, err, out);
	if (err)
		return err;
	return wait ? begin_wait(c, &result, &words, wait) : 0;
}

int node_command_interrupted(struct ctl *c, struct node control, const char *bytes, size_t len,
			     const struct caller *caller, struct text *out)
{
	struct result result = { .uid = caller->uid };
	struct request r = { .ctl = c, .caller = caller, .result = &result };
	char object[sizeof("replicas/") + REPLICA_LABEL_MAX];
	struct words words;
	struct why ignored;
	int err;

	if (node_kind(control) != NODE_CONTROL)
		return -EINVAL;
	clock_gettime(CLOCK_REALTIME, &result.time);
	find_object(&r, control, object, sizeof(object));
	words_split(bytes, len, &words, &ignored);
	snprintf(result.operation, sizeof(result.operation), "%s", words.operation);
	result.plan = words.plan;
	err = refuse_advise(&result.why, -EIO, "look at status, then give it again if need be",
			    "the daemon died while it did this; it may be done, or not");
	disk_unref(r.disk);
	return finish(&r, control, object, "unknown", err, out);
}

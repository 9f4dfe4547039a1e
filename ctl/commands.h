/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands: a constant table for each kind of object, and how the words of
 * a command are held against a row of it.
 */
#ifndef TANDEMFS_COMMANDS_H
#define TANDEMFS_COMMANDS_H

#include "ctl.h"
#include "result.h"
#include "snapshots.h"
#include "values.h"
#include "words.h"

enum object_kind {
	OBJECT_NONE,
	OBJECT_ROOT,
	OBJECT_DISK,
	OBJECT_POOL,
	OBJECT_REPLICA,
	/* Files that are objects of their own: content of a snapshot, what lookups.h has. */
	OBJECT_SNAPSHOT,
	OBJECT_MOMENT,
	OBJECT_CHANGES,
	OBJECT_WAIT,
	OBJECT_GROUP,
	OBJECT_JOB,
	OBJECT_MAX
};

enum value_type {
	VALUE_INVALID,
	VALUE_TEXT,     /* any bytes, not empty */
	VALUE_NAME,     /* one that we may give: name_check */
	VALUE_SIZE,     /* number: bytes */
	VALUE_NUMBER,   /* number: decimal, of 32 bits */
	VALUE_SECONDS,  /* a duration of whole seconds; number: these */
	VALUE_DURATION, /* number: milliseconds */
	VALUE_MOMENT,   /* how one is written: moment_parse */
	VALUE_BOOL,     /* number: 0 or 1 */
	VALUE_ENUM,     /* a name or number of .values; number: which; text: its name */
	VALUE_LATER,    /* the manual has it, this version does not */
};

struct parameter {
	const char *key;
	enum value_type type;
	bool required;
	bool hidden; /* not told of: it is always refused, with a reason of its own */
	const struct enum_value *values;
};

#define PARAMETERS_MAX 24

/* One for each parameter, in the order of the table. */
struct argument {
	bool given;
	const char *text;
	uint64_t number;
};

/* What a handler works on. Everything is borrowed. */
struct request {
	struct ctl *ctl;
	struct disk *disk; /* NULL for others */
	uint32_t replica;  /* number of the relationship; 0 for others */
	uint32_t group;    /* likewise */
	uint32_t job;      /* likewise */
	const struct command *command;
	const struct caller *caller;
	const struct argument *args;
	bool force, plan;
	struct result *result; /* for the message and the out parameters */
};

struct command {
	const char *name;
	uint32_t number;                    /* as SetReplicationRelationship numbers it; 0: none */
	const struct parameter *parameters; /* a NULL key at the end; NULL: none */
	const char *positional; /* the key that a value by itself is for; NULL: refused */
	bool needs_any;         /* one parameter at least */
	bool force;             /* may be said */
	bool refused;           /* known, with a reason why this version does not do it */
	/* 0 or -errno with result->why. When request->plan, checks and says, and does nothing. */
	int (*run)(const struct request *r);
	const char *help;
};

/* Text of a parameter, NULL when it was not given. */
static inline const char *argument_text(const struct argument *a)
{
	return a->given ? a->text : NULL;
}

/* A NULL name at the end. */
extern const struct command root_commands[], disk_commands[], replica_commands[], group_commands[],
	job_commands[];

/* clone_commands.c */
struct clone_request;
extern const struct parameter clone_parameters[];
int disk_clone(const struct request *r);
int make_clone(const struct request *r, struct clone_request *q);
int make_token(const struct request *r, struct clone_request *q);
int redeem_token(const struct request *r, const char *token, struct clone_request *q);
int snap_and_clone(const struct request *r, struct clone_request *q);

/* mirror_commands.c */
struct pair_request;
extern const struct parameter mirror_parameters[];
int disk_mirror(const struct request *r);
int make_mirror(const struct request *r, struct pair_request *q);
enum sync_mode mirror_mode(const struct argument *mode);

/* move_commands.c */
extern const struct parameter mirror_virtual_disk_parameters[];
int disk_mirror_virtual_disk(const struct request *r);
int disk_break_mirror(const struct request *r);
int disk_cancel_io(const struct request *r);
int disk_operation_progress(const struct request *r);

/* create_replica.c */
extern const struct parameter create_replica_parameters[];
int disk_create_replica(const struct request *r);
/* What its words ask for, of r->disk, or of each disk of a group; refuses what does not go together. */
int create_replica_check(const struct request *r);
int create_replica_clone(const struct request *r, struct clone_request *out);
int create_replica_mirror(const struct request *r, struct pair_request *out);
int create_replica_check_group(const struct request *r);
enum sync_type create_replica_type(const struct request *r);
const char *create_replica_name(const struct request *r); /* NULL: none was given */
/* ConsistentPointInTime was asked for. */
bool create_replica_is_consistent(const struct request *r);

/* group_replicas.c */
int group_create_replica(const struct request *r);
/* group_commands.c. consistent: of one moment, also if the group is not consistent. */
int group_make_snapshots(const struct request *r, const char *name, bool consistent);

/* group_pair_commands.c */
int group_add_pair(const struct request *r);
int group_remove_pair(const struct request *r);
/* The operation of the command's number, on all mirrors. */
int group_operate(const struct request *r);

/* history_commands.c, for the tables of others */
extern const struct parameter snapshot_parameters[], unsnapshot_parameters[],
	keep_history_parameters[], forget_history_parameters[], restore_parameters[];
/* name NULL: one is made up. at NULL: now. */
int make_snapshot(const struct request *r, const char *name, const char *at);
/* From the words of KeepHistory; and what it did. */
int keep_history_window(const struct request *r, struct history_window *out);
void keep_history_say(const struct request *r, const struct history_window *w);
int disk_snapshot(const struct request *r);
int disk_unsnapshot(const struct request *r);
int disk_keep_history(const struct request *r);
int disk_forget_history(const struct request *r);
int disk_restore(const struct request *r);
int restore_disk(const struct request *r, struct disk *d, uint64_t generation);
int disk_abort(const struct request *r);
int abort_restores(const struct request *r, struct disk *const *disks, size_t count);
/* What goes with it, for the result: "", or "; what ...". */
const char *snapshot_loses(const struct snapshot_facts *s);
int disk_settle(const struct request *r);
int settle_all(const struct request *r);

/* replica_commands.c */
int operate_replica(const struct request *r, enum replica_operation op);
/* What is so after it. */
const char *replica_operation_means(enum replica_operation op);
extern const struct parameter relationship_parameters[];
/* replica_settings.c */
extern const struct parameter replica_set_parameters[];
int set_replica(const struct request *r);
/* group_commands.c */
int create_group(const struct request *r);
int delete_group(const struct request *r);

struct command_table {
	const char *control; /* which file takes them, for messages */
	const struct command *commands;
};
/* .commands is NULL for a kind that takes none. */
extern const struct command_table command_tables[OBJECT_MAX];

/* By name in any case, or by number; NULL when there is none. */
const struct command *command_find(const struct command *table, const char *word);
/*
 * -EINVAL, with the usage as advice, or -EOPNOTSUPP. args has PARAMETERS_MAX
 * elements and points into the words. why is not NULL.
 */
int command_bind(const struct command *command, const struct words *words, struct argument *args,
		 struct why *why);
/* "CreateDisk Name= Size= [Format=]", appended to out. */
void command_usage(const struct command *command, struct text *out);
/* The same without Force. */
void command_words(const struct command *command, unsigned most, struct text *out);
/* The manual's name of an operation that this version does not have, or NULL. */
const char *command_of_later(const char *word);

#endif

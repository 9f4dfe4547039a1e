/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands: a constant table for each kind of object, and how the words of
 * a command are held against a row of it.
 */
#ifndef TANDEMFS_COMMANDS_H
#define TANDEMFS_COMMANDS_H

#include "ctl.h"
#include "result.h"
#include "values.h"
#include "words.h"

enum object_kind { OBJECT_NONE, OBJECT_ROOT, OBJECT_DISK, OBJECT_POOL, OBJECT_MAX };

enum value_type {
	VALUE_INVALID,
	VALUE_TEXT,    /* any bytes, not empty */
	VALUE_NAME,    /* one that we may give: name_check */
	VALUE_SIZE,    /* number: bytes */
	VALUE_SECONDS, /* a duration of whole seconds; number: these */
	VALUE_BOOL,    /* number: 0 or 1 */
	VALUE_ENUM,    /* a name or number of .values; number: which; text: its name */
	VALUE_LATER,   /* the manual has it, this version does not */
};

struct parameter {
	const char *key;
	enum value_type type;
	bool required;
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
	struct disk *disk; /* NULL for the root */
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
	/* 0 or -errno with result->why. When request->plan, checks and says, and does nothing. */
	int (*run)(const struct request *r);
	const char *help;
};

/* A NULL name at the end. */
extern const struct command root_commands[], disk_commands[];

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
/* The manual's name of an operation that this version does not have, or NULL. */
const char *command_of_later(const char *word);

#endif

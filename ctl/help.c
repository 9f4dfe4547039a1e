// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The grammar on one screen: 24 lines of 80 columns. The operations come from
 * the tables; a unit test counts the lines.
 */
#include "inner.h"

#include <string.h>

#define COLUMNS 79
#define INDENT 2
/* Of one operation, and one less where there are many; the manual has all. */
#define KEYS_TOLD 3

/* Behind what is there, or on a new line where this one is full. */
static void add_piece(struct text *out, size_t *column, const char *piece, size_t len)
{
	if (*column > INDENT && *column + 1 + len > COLUMNS) {
		text_addf(out, "\n%*s", INDENT, "");
		*column = INDENT;
	} else if (*column > INDENT) {
		text_add(out, " ", 1);
		++*column;
	}
	text_add(out, piece, len);
	*column += len;
}

static void add_pieces(struct text *out, const char *control, const struct text *text)
{
	const char *at = text_ok(text) ? text->bytes : "";
	size_t column = strlen(control);

	text_addf(out, "%s", control);
	while (*at) {
		size_t len = strcspn(at, " ");

		add_piece(out, &column, at, len);
		at += len;
		at += *at == ' ';
	}
	text_add(out, "\n", 1);
	out->failed |= text->failed;
}

/* It is the same there, and told of there. */
static bool is_above(const struct command *command, const struct command *table)
{
	const struct command *above = command_find(table, command->name);

	return above && !above->refused;
}

static bool is_of_others(const struct command *command, const struct command *table)
{
	if (table != group_commands)
		return false;
	return is_above(command, disk_commands) || is_above(command, replica_commands);
}

/* Those that a `control` takes, one after the other, a semicolon between. */
static void add_operations(struct text *out, const char *control, const struct command *table)
{
	struct text list = { 0 };
	const char *before = "";

	for (const struct command *c = table; c->name; c++) {
		if (c->refused || is_of_others(c, table))
			continue;
		text_addf(&list, "%s", before);
		command_words(c, table == replica_commands ? KEYS_TOLD - 1 : KEYS_TOLD, &list);
		text_addf(&list, c->force ? " !" : "");
		before = "; ";
	}
	before = "; as above:";
	for (const struct command *c = table; c->name; c++) {
		/* That one only does the others. */
		if (c->refused || !is_of_others(c, table) ||
		    c->parameters == relationship_parameters)
			continue;
		text_addf(&list, "%s %s", before, c->name);
		before = ",";
	}
	add_pieces(out, control, &list);
	text_free(&list);
}

static const char grammar[] =
	"Write to a `control`: [Plan] OPERATION [Key=Value]... [Force] [wait[=DURATION]]\n"
	"Plan only tells; ! takes Force. 10G, 30s 7d, moments now gN NAME -15m @SECONDS.\n";

static const char traps[] =
	"$? is the errno, `control` has why: exec 3<>control; echo Rescan >&3; cat <&3\n"
	"One in each write. Quote: printf '%s\\n' 'snapshot \"a b\"' > control, not echo.\n";

int help_render(struct ctl *c, uint32_t object, struct text *out)
{
	text_add(out, grammar, strlen(grammar));
	add_operations(out, "control", root_commands);
	add_operations(out, "disks/*", disk_commands);
	add_operations(out, "replicas/*", replica_commands);
	add_operations(out, "groups/*", group_commands);
	add_operations(out, "jobs/*", job_commands);
	text_add(out, traps, strlen(traps));
	return 0;
}

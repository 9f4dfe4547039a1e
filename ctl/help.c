// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The grammar on one screen: 24 lines of 80 columns. The operations come from
 * the tables; a unit test counts the lines.
 */
#include "inner.h"

#include <string.h>

#define COLUMNS 79
#define INDENT 11

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

/* It is broken only if it is longer than a line. */
static void add_usage(struct text *out, size_t *column, const char *usage)
{
	size_t len = strlen(usage);

	if (len > COLUMNS - INDENT)
		len = strcspn(usage, " ");
	for (; len; len = strcspn(usage, " ")) {
		add_piece(out, column, usage, len);
		usage += len;
		usage += *usage == ' ';
	}
}

/* Those that a `control` below takes, one after the other, a dash between. */
static void add_operations(struct text *out, const char *control, const struct command *table)
{
	size_t column = INDENT;

	const char *dash = "";

	text_addf(out, "%-*s", INDENT, control);
	for (; table->name; table++) {
		struct text usage = { 0 };

		if (table->refused)
			continue;
		text_addf(&usage, "%s", dash);
		dash = "- ";
		command_usage(table, &usage);
		if (text_ok(&usage))
			add_usage(out, &column, usage.bytes);
		out->failed |= usage.failed;
		text_free(&usage);
	}
	text_add(out, "\n", 1);
}

static const char grammar[] =
	"Commands are written to a `control`, one per write, 4096 bytes at most:\n"
	"    [Plan] OPERATION [Key=Value]... [Force] [wait[=DURATION]]\n"
	"Words in any case. Plan only tells, Force agrees to a loss, wait waits for the\n"
	"end. Sizes 10G, durations 30s 7d, moments now gN NAME -15m 2026-11-20T16:50Z.\n";

static const char traps[] =
	"The errno is echo's $?, the reason is in `control`; of your own command alone:\n"
	"    exec 3<>control; echo Rescan >&3; cat <&3; exec 3>&-\n"
	"Quote: printf '%s\\n' 'CreateDisk Name=\"a b.img\" Size=1G' > control; dash's\n"
	"echo changes \\n \\t \\\\. >> and > are the same. Two lines at once are refused.\n";

int help_render(struct ctl *c, uint32_t object, struct text *out)
{
	text_add(out, grammar, strlen(grammar));
	add_operations(out, "control", root_commands);
	add_operations(out, "disks/*", disk_commands);
	add_operations(out, "replicas/*", replica_commands);
	text_add(out, traps, strlen(traps));
	return 0;
}

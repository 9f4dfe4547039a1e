// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The grammar on one screen: 24 lines of 80 columns. The operations come from
 * the tables; a unit test counts the lines.
 */
#include "inner.h"

#include <string.h>

#define COLUMNS 79
#define INDENT 16

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

/* One after the other, a dash between. */
static void add_operations(struct text *out, const char *control, const struct command *table)
{
	size_t column = INDENT;

	text_addf(out, "%-*s", INDENT, control);
	for (; table->name; table++) {
		struct text usage = { 0 };

		command_usage(table, &usage);
		text_addf(&usage, "%s", table[1].name ? " -" : "");
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
	"Words in any case. Sizes like 10G, durations 500ms 30s 15m 24h 7d, true false.\n"
	"A value with blanks: Name=\"a b.img\", and in it \\\" and \\\\. Plan does nothing but\n"
	"tell. Force agrees to a loss. With wait the write returns when all is done.\n\n";

static const char traps[] =
	"\nResults:  echo Rescan > control || cat control\n"
	"  The errno of the write is echo's error and $?; the reason is in `control`.\n"
	"  cat shows the last command on that object, of anybody. For your own:\n"
	"      exec 3<>control; echo Rescan >&3; cat <&3; exec 3>&-\n"
	"  The shell takes quotes and backslashes first, so quote the whole:\n"
	"      printf '%s\\n' 'CreateDisk Name=\"a b.img\" Size=1G' > control\n"
	"  The echo of dash also changes \\n \\t \\\\ in it; printf '%s\\n' does not.\n"
	"  >> and > are the same. Two lines in one write are refused, nothing done.\n"
	"See status, status.json, events, metrics, capabilities, disks/*/status.\n";

int help_render(struct ctl *c, uint32_t object, struct text *out)
{
	text_add(out, grammar, strlen(grammar));
	add_operations(out, "control", root_commands);
	add_operations(out, "disks/*/control", disk_commands);
	text_add(out, traps, strlen(traps));
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The grammar on one screen: 24 lines of 80 columns. The operations come from
 * the tables; a unit test counts the lines.
 */
#include "inner.h"

#include <string.h>

#define COLUMNS 79
#define INDENT 16

/* One after the other, a dot between, broken where the line is full. */
static void add_operations(struct text *out, const char *control, const struct command *table)
{
	size_t column = INDENT;

	text_addf(out, "%-*s", INDENT, control);
	for (bool first = true; table->name; table++, first = false) {
		struct text usage = { 0 };

		command_usage(table, &usage);
		if (!first && column + 3 + usage.len > COLUMNS) {
			text_addf(out, "\n%*s", INDENT, "");
			column = INDENT;
		} else if (!first) {
			text_addf(out, " - ");
			column += 3;
		}
		text_add(out, usage.bytes, usage.len);
		column += usage.len;
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

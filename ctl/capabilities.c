// SPDX-License-Identifier: GPL-2.0-or-later
/* What this build, this kernel and this machine can do: `key: value, value` lines. */
#include "inner.h"

#include <lmdb.h>

static void add_formats(struct text *out)
{
	text_addf(out, "formats:");
	for (const struct image_format *const *f = image_formats; *f; f++)
		text_addf(out, "%s %s", f == image_formats ? "" : ",", (*f)->name);
	text_add(out, "\n", 1);
}

static void add_operations(struct text *out, const char *key, const struct command *table)
{
	text_addf(out, "%s:", key);
	for (; table->name; table++)
		text_addf(out, " %s,", table->name);
	text_addf(out, " Plan\n");
}

int capabilities_render(struct ctl *c, uint32_t object, struct text *out)
{
	const struct capability *more = c->capabilities;
	int major, minor, patch;

	text_addf(out, "version: %s\n", TANDEMFS_VERSION);
	add_formats(out);
	add_operations(out, "operations", root_commands);
	add_operations(out, "disk-operations", disk_commands);
	mdb_version(&major, &minor, &patch);
	text_addf(out, "libraries: lmdb %d.%d.%d\n", major, minor, patch);
	for (; more && more->key; more++)
		text_addf(out, "%s: %s\n", more->key, more->value);
	return 0;
}

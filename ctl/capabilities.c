// SPDX-License-Identifier: GPL-2.0-or-later
/* What this build, this kernel and this machine can do: `key: value, value` lines. */
#include "inner.h"

#include <libvhdi.h>
#include <lmdb.h>

#include "confine.h"
#include "nbd.h"

/* Those that other programs serve are only here when these are. */
static void add_formats(struct text *out, bool qemu)
{
	const char *comma = "";

	text_addf(out, "formats:");
	for (const struct image_format *const *f = image_formats; *f; f++) {
		if ((*f)->locks_itself && !qemu)
			continue;
		for (const char *const *kind = (*f)->kinds; *kind; kind++, comma = ",")
			text_addf(out, "%s %s", comma, *kind);
	}
	text_add(out, "\n", 1);
}

static void add_operations(struct text *out, const char *key, const struct command *table)
{
	text_addf(out, "%s:", key);
	for (; table->name; table++) {
		if (!table->refused)
			text_addf(out, " %s,", table->name);
	}
	text_addf(out, " Plan\n");
}

static void add_libraries(struct text *out)
{
	int major, minor, patch;

	mdb_version(&major, &minor, &patch);
	text_addf(out, "libraries: lmdb %d.%d.%d, libvhdi %s\n", major, minor, patch,
		  libvhdi_get_version());
}

int capabilities_render(struct ctl *c, uint32_t object, struct text *out)
{
	const struct capability *more = c->capabilities;
	char qemu[200];
	int err = nbd_available(qemu, sizeof(qemu));

	text_addf(out, "version: %s\n", TANDEMFS_VERSION);
	add_formats(out, !err);
	text_addf(out, "qemu: %s%s\n", err ? "no, " : "", qemu);
	add_operations(out, "operations", root_commands);
	add_operations(out, "disk-operations", disk_commands);
	add_operations(out, "replica-operations", replica_commands);
	add_operations(out, "group-operations", group_commands);
	add_operations(out, "job-operations", job_commands);
	add_libraries(out);
	text_addf(out, "landlock: %s\n", confine_available() ? "yes" : "no");
	text_addf(out, "io-uring: %s\n", c->tandem->rings ? "yes" : "no");
	for (; more && more->key; more++)
		text_addf(out, "%s: %s\n", more->key, more->value);
	return 0;
}

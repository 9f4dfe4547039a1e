/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The work of the test guest: writes that can be judged afterwards.
 *
 *	work pattern DEVICE SEED	write all over a block device, then verify it
 *	work verify DISK SEED		verify what a pattern with that seed left
 *	work tree-write DIR SEED	write a tree of files
 *	work tree-verify DIR SEED	verify it
 *	work records-write DIR SECONDS	write and sync records, and say RECORD N after each
 *	work records-verify DIR N	verify those up to N
 *
 * "verify" also takes a plain file: the image, on the host.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "work.h"

static const struct {
	const char *name;
	bool (*run)(const char *path, uint64_t seed);
} works[] = {
	{ "pattern", do_pattern },
	{ "verify", do_verify },
	{ "tree-write", do_tree_write },
	{ "tree-verify", do_tree_verify },
	{ "records-write", do_records_write },
	{ "records-verify", do_records_verify },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 4 && i < sizeof(works) / sizeof(*works); i++)
		if (!strcmp(argv[1], works[i].name))
			return !works[i].run(argv[2], strtoull(argv[3], NULL, 10));
	fputs("usage: work pattern|verify|tree-...|records-... PATH NUMBER\n", stderr);
	return 2;
}

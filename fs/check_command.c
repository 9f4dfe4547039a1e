// SPDX-License-Identifier: GPL-2.0-or-later
#include "check_command.h"

#include <getopt.h>
#include <stdio.h>

#include "state_check.h"

static int usage(void)
{
	fprintf(stderr, "tandemfs: usage: %s\n", CHECK_USAGE_LINE);
	return CHECK_USAGE;
}

int check_command(int argc, char **argv)
{
	static const struct option options[] = { { "state", required_argument, NULL, 's' },
						 { "data", no_argument, NULL, 'd' },
						 { "quiet", no_argument, NULL, 'q' },
						 { "json", no_argument, NULL, 'j' },
						 { NULL } };
	struct state_check_options o = { 0 };
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "q", options, NULL)) != -1) {
		switch (option) {
		case 's':
			o.state_dir = optarg;
			break;
		case 'd':
			o.data = true;
			break;
		case 'q':
			o.quiet = true;
			break;
		case 'j':
			o.json = true;
			break;
		default:
			return usage();
		}
	}
	if (optind != argc - 1)
		return usage();
	o.disk_dir = argv[optind];
	return state_check(&o, stdout, stderr);
}

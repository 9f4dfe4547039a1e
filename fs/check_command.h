/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tandemfs check [OPTIONS] DISKDIR */
#ifndef TANDEMFS_CHECK_COMMAND_H
#define TANDEMFS_CHECK_COMMAND_H

#define CHECK_USAGE_LINE "tandemfs check [--state DIR] [--data] [--quiet] [--json] DISKDIR"

/* argv[0] is "check". The exit status. */
int check_command(int argc, char **argv);

#endif

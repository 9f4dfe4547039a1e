/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line, and the options that mount(8) passes on. */
#ifndef TANDEMFS_OPTIONS_H
#define TANDEMFS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_POOLS 64

struct options {
	const char *disk_dir, *mount_point;
	const char *state_dir;
	const char *log_level;
	const char *pool_names[OPTIONS_POOLS], *pool_dirs[OPTIONS_POOLS];
	size_t pool_count;
	uint32_t block_size, stop_timeout_s;
	unsigned threads;
	bool settle; /* tandemfs settle DISKDIR */
	bool read_only, foreground, confine;
	enum { RESTART_USUAL, RESTART_YES, RESTART_NO } restart; /* usual: in the background */
	bool replace, ask_status;                                /* of a mount that there is */
	bool help, version;      /* asked for; nothing else matters then */
	char fuse_options[1024]; /* for libfuse, separated by commas */
};

/*
 * False: wrong, and the reason, one line, is in error. Strings of argv are
 * kept, and split in place.
 */
bool options_parse(int argc, char **argv, struct options *o, char *error, size_t size);
void options_print_help(void);

#endif

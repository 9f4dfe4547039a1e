/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a moment of a disk is written (`at/`, `changes/`, At=), and which names
 * may be given to snapshots, relationships, groups, pools and peers: none that
 * could be taken for a moment. Pure.
 */
#ifndef TANDEMFS_MOMENT_H
#define TANDEMFS_MOMENT_H

#include <stdint.h>
#include <time.h>

#include "why.h"

#define NAME_BYTES_MAX 200

/* -EINVAL, and why, when it may not be a name. */
int name_check(const char *name, struct why *why);

enum moment_kind {
	MOMENT_NOW = 1,
	MOMENT_GENERATION, /* gN */
	MOMENT_AGO,        /* -15m */
	MOMENT_TIME,       /* @EPOCHSECONDS[.FRACTION], RFC 3339 with or without seconds */
	MOMENT_SNAPSHOT,   /* any other valid name */
};

struct moment {
	enum moment_kind kind;
	uint64_t generation;
	uint64_t ago_ms;
	struct timespec time;
	char snapshot[NAME_BYTES_MAX + 1];
};

/* -EINVAL when it is none, with why. */
int moment_parse(const char *s, struct moment *out, struct why *why);

#endif

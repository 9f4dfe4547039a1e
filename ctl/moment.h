/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a moment of a disk is written (`at/`, `changes/`, At=). Names are none that
 * could be taken for one. Pure.
 */
#ifndef TANDEMFS_MOMENT_H
#define TANDEMFS_MOMENT_H

#include <stdint.h>
#include <time.h>

#include "names.h"
#include "why.h"

enum moment_form {
	FORM_NOW = 1,
	FORM_GENERATION, /* gN */
	FORM_AGO,        /* -15m */
	FORM_TIME,       /* @EPOCHSECONDS[.FRACTION], RFC 3339 with or without seconds */
	FORM_SNAPSHOT,   /* any other valid name */
};

struct moment {
	enum moment_form form;
	uint64_t generation;
	uint64_t ago_ms;
	struct timespec time;
	char snapshot[NAME_BYTES_MAX + 1];
};

/* -EINVAL when it is none, with why. */
int moment_parse(const char *s, struct moment *out, struct why *why);

#endif

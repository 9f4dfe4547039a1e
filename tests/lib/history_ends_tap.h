/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of a life, which tell of each call that changes them. */
#ifndef TESTS_HISTORY_ENDS_TAP_H
#define TESTS_HISTORY_ENDS_TAP_H

#include "history_ends_inner.h"

/* Around l's fakes; closing one closes the fake. */
struct file *tap_image(struct life *l);
struct segment_dir *tap_log(struct life *l);
struct segment_dir *tap_store(struct life *l);

/* ---- history_ends.c ---- */

/* Such a call; a name that is made or removed comes as FAKE_STAT. False: it is left out. */
bool life_point(struct life *l, const char *name, enum history_file file,
		const struct tap_call *call);

#endif

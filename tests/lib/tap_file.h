/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file around another: tells of every call that may change it, before and
 * after, and can leave one out, so that a test can break an order on purpose.
 */
#ifndef TESTS_TAP_FILE_H
#define TESTS_TAP_FILE_H

#include "fake_file.h"

struct tap_call {
	enum fake_call call; /* write, flush, zero, allocate or resize */
	bool after;
	const void *buf;   /* of a write */
	uint64_t off, len; /* off is a resize's new size */
	enum zero_mode mode;
};

/*
 * fn is called in the thread of the call, with no lock held. False, before: the
 * call is left out and answered with success. After: of no meaning. Closing it
 * closes `inner`.
 */
struct file *tap_file_new(struct file *inner, bool (*fn)(void *arg, const struct tap_call *call),
			  void *arg);

#endif

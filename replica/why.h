/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Why something was refused, for people: what is so, and what would help. */
#ifndef TANDEMFS_WHY_H
#define TANDEMFS_WHY_H

#include <stdbool.h>

struct why {
	char message[400];
	char advice[320]; /* empty: none */
	/* Only set, by close_wait.h: somebody has something open, whose close is under way. */
	bool open, closing;
};

/* Sets the message (w may be NULL) and returns err, a -errno, for `return refuse(...)`. */
__attribute__((format(printf, 3, 4))) int refuse(struct why *w, int err, const char *fmt, ...);
/* The same, with the operation that would help. */
__attribute__((format(printf, 4, 5))) int refuse_advise(struct why *w, int err, const char *advice,
							const char *fmt, ...);

#endif

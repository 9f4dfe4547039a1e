/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is each record of the catalogue one, and do the databases fit each other? Nothing is changed. */
#ifndef TANDEMFS_CATALOGUE_CHECK_H
#define TANDEMFS_CATALOGUE_CHECK_H

#include "catalogue.h"

/* key: for people, "" for the whole of it; what: a sentence without an end. */
typedef void catalogue_bad(void *arg, const char *database, const char *key, const char *what);

/*
 * Calls bad for everything that is wrong. *records: how many there are. LMDB believes its own
 * pages: damage of these may end the process, so that whoever is to outlive it walks in another one
 * first. 0 or -errno: it could not be read to its end.
 */
int catalogue_check(struct catalogue *c, catalogue_bad *bad, void *arg, uint64_t *records);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What commands leave behind: the last result of each object, and how many
 * ended how. Not kept across restarts. Any thread.
 */
#ifndef TANDEMFS_LEDGER_H
#define TANDEMFS_LEDGER_H

#include "commands.h"

/* Results kept; beyond that the object whose command is longest ago loses its. */
#define LEDGER_RESULTS 1024

struct ledger;

int ledger_new(struct ledger **out);
void ledger_free(struct ledger *l);

/* Replaces the object's last result. Best effort: without memory the older one stays. */
void ledger_put(struct ledger *l, enum object_kind kind, uint32_t object, const char *bytes,
		size_t len);
/* Appends it to out; nothing when there is none. */
void ledger_get(struct ledger *l, enum object_kind kind, uint32_t object, struct text *out);
/* Goes up with every result of the object; 0 when there is none. */
uint64_t ledger_version(struct ledger *l, enum object_kind kind, uint32_t object);

/* `operation` is a constant of a table: it is kept, not copied. */
void ledger_count(struct ledger *l, const char *operation, const struct return_code *code);
/* Calls fn, under the lock of the ledger, for each pair that ever was counted. */
void ledger_each_count(struct ledger *l,
		       void (*fn)(void *arg, const char *operation, unsigned value,
				  const char *name, uint64_t count),
		       void *arg);

#endif

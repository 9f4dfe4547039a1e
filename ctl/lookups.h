/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What was looked up by name below .replication/ and is no object of its own: a
 * kept moment in at/, two of them in changes/, the states of a wait/. Each gets a
 * number, for its node id. The same again has the same number, as long as it is
 * remembered: at most LOOKUPS_MAX, then the one that was used longest ago goes,
 * of those that nobody holds. A number is never given twice. Any thread.
 */
#ifndef TANDEMFS_LOOKUPS_H
#define TANDEMFS_LOOKUPS_H

#include <stdbool.h>
#include <stdint.h>

#define LOOKUPS_MAX 1024

struct lookup {
	uint8_t row;     /* of the tree of files */
	uint32_t object; /* to which it belongs */
	uint64_t a, b;   /* as the row has them */
};

struct lookups;

int lookups_new(struct lookups **out);
void lookups_free(struct lookups *l);

/*
 * Goes on in the caller's memory, zeros or what an earlier one has left there, of which nobody
 * holds anything; before the first use.
 */
#define LOOKUPS_MEMORY (64 << 10)
void lookups_use_memory(struct lookups *l, void *memory);

/* Its number, never 0. -EAGAIN: there are too many, and all are held. */
int lookups_put(struct lookups *l, const struct lookup *what, uint32_t *number);
/* False: it is forgotten. */
bool lookups_get(struct lookups *l, uint32_t number, struct lookup *out);
/* It is not forgotten until lookups_drop. False: it is already. */
bool lookups_hold(struct lookups *l, uint32_t number);
void lookups_drop(struct lookups *l, uint32_t number);

#endif

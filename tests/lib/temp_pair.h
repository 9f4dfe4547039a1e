/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One tandem with a disk a.img, and mirrors of it, for a test at a time. */
#ifndef TESTS_TEMP_PAIR_H
#define TESTS_TEMP_PAIR_H

#include "pairs.h"
#include "temp_tandem.h"

#define MIB (1u << 20)
#define SIZE (24 * MIB)
#define REGION (64u << 10)

extern struct why why;
extern uint64_t seed;
extern uint32_t number;     /* of the mirror that was made last */
extern struct disk *source; /* a.img, open for writing; or NULL */

void begin(void);
void open_source(void);
void close_source(void);
void setup(void);
void teardown(void);
void again(void);
/* Random content; as disk_write. */
int change(struct disk *d, uint64_t off, size_t len);
void change_somewhere(struct disk *d);
void change_much(struct disk *d, unsigned times);
/* Both read the same, and are as long. */
bool is_same(const char *a, const char *b);
struct pair_facts facts(void);
/* Until it is in that state; the test fails if it does not get there. */
void await(enum copy_state state);
int mirror(const char *target, struct pair_request q);
void make(void);
int operate(enum replica_operation op, bool force);
void do_it(enum replica_operation op);

/* Somebody waits for a range of that disk. */
bool is_held_up(void *disk);

#endif

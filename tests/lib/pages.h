/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes from 0 to PAGES_ROOM, zeros where nothing was written. A copy costs
 * next to nothing: the two share what neither has changed since.
 *
 * One is used by one thread at a time; it and its copies in any.
 */
#ifndef TESTS_PAGES_H
#define TESTS_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGES_ROOM (256u << 20)

struct pages;

struct pages *pages_new(void);
struct pages *pages_copy(const struct pages *p);
void pages_free(struct pages *p);
/* Ranges lie inside PAGES_ROOM. */
void pages_read(const struct pages *p, void *buf, size_t len, uint64_t off);
void pages_write(struct pages *p, const void *buf, size_t len, uint64_t off);
void pages_zero(struct pages *p, uint64_t off, uint64_t end);
/* May there be anything but zeros in the 4 KiB around off? */
bool pages_written(const struct pages *p, uint64_t off);

#endif

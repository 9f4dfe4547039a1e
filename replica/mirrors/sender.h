/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a leg that acknowledges at flush has been sent and its target has not yet. The writer of the
 * source is answered before; who flushes the source waits for it.
 *
 *   D(mark: somebody writes there) -> source -> sent, a copy -> reply
 *   a flush: all that was sent before it is on the target, or is marked and the target outdated,
 *            D -> reply
 *
 * Overlapping writes are sent, with the range of the source held, in the order of the source, and
 * reach the target in it: one is given to the target when none that was sent before it overlaps it.
 * Others reach it in any order, as they reach a disk with a cache. The marks' begin of a write ends
 * when the target has it, so that after a crash its region is copied.
 *
 * A few threads give it to the target. Whoever waits does so, too: with the source's locks that it
 * holds, which come before the target's. Without any thread who sends does it; so nothing hangs
 * upon one.
 *
 * Memory: SENDER_ROOM for a leg, whatever its target does; above it a writer waits.
 */
#ifndef TANDEMFS_SENDER_H
#define TANDEMFS_SENDER_H

#include <stdbool.h>
#include <stdint.h>

#define SENDER_ROOM (8u << 20)
/* What is more in one piece is not sent, but written while its client waits. */
#define SENDER_MOST (2u << 20)
#define SENDER_THREADS 4

struct change;
struct leg;
struct sender;

int sender_new(struct leg *leg, struct sender **out);
/* Nobody sends any more: its threads end. What tells of it can still be asked. */
void sender_end(struct sender *s);
/* Likewise, and nobody asks. NULL is fine. */
void sender_free(struct sender *s);

/*
 * With the range of the source locked for writing, where nothing differs, no more than SENDER_MOST,
 * and inside of the target. Whether it is sent; then the marks' turn is ended here. Else there is no
 * memory.
 */
bool sender_send(struct sender *s, const struct change *c, unsigned turn);
/*
 * All that was sent before the call is on the target, or the leg is lost and where it was differs.
 * The leg's target stays what it is until then: who changes it waits first, and keeps writers out.
 * NULL: nothing was.
 */
void sender_wait(struct sender *s);
/* Likewise, what was sent of that range. */
void sender_wait_range(struct sender *s, uint64_t off, uint64_t len);
/* What is sent, and not there yet. NULL is fine. */
uint64_t sender_bytes(struct sender *s);
/* So long ago the first of that was sent, in ns; 0: nothing is. Likewise. */
uint64_t sender_behind(struct sender *s);
/* And so long the target has not answered what it was given. */
uint64_t sender_busy(struct sender *s);

#endif

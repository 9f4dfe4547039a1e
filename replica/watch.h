/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One thread that hears what happens in the directories (inotify), looks at
 * them again now and then, and notices what takes too long.
 */
#ifndef TANDEMFS_WATCH_H
#define TANDEMFS_WATCH_H

#include "tandem.h"

int watch_new(struct tandem *t, struct watch **out);
/* Nobody closes an image any more. */
void watch_free(struct watch *w);
int watch_start(struct watch *w);
/* Ends its threads; the rest can be told things still. */
void watch_stop(struct watch *w);
/* Before the first scan of the pool, so that nothing falls between. */
int watch_pool(struct watch *w, struct pool *p);
void watch_forget(struct watch *w, struct pool *p);
/*
 * We are about to close a descriptor that could write this file. What is heard
 * of a close under that name in the next moments is ours. w may be NULL. Any thread.
 */
void watch_own_close(struct watch *w, const struct pool *p, const char *name);
/* Likewise, but the daemon before had it open, and died: the kernel closes it a little later. */
void watch_late_close(struct watch *w, const struct pool *p, const char *name);
/* One of the two was said of this name a moment ago. */
bool watch_is_own_close(struct watch *w, const struct pool *p, const char *name);
/* From any thread, never blocks: look through everything soon. */
void watch_look(struct watch *w);
/* From any thread, never blocks: a disk that is not Ready was closed, or became Failed. */
void watch_poke(struct watch *w);

#endif

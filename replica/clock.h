/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Time, for all that decides by it or waits for it. A test that makes time pass itself has these
 * functions of its own, all of them (tests/lib/fake_clock.h). Any thread.
 */
#ifndef TANDEMFS_CLOCK_H
#define TANDEMFS_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* CLOCK_MONOTONIC: what waits and intervals are told in. */
uint64_t monotonic_ns(void);
/* CLOCK_REALTIME, since 1970: what people are told. */
uint64_t clock_ms(void);
/* As pthread_cond_wait, but no longer than until then. false: that time has come. */
bool clock_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t until_ns);

#endif

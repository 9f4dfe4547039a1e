/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Time that only passes when a test lets it pass: instead of replica/clock.c, for the whole
 * program. It starts at the same moment each time. Where the thread that calls clock_pass()
 * waits for a time itself, that lets time pass, too.
 */
#ifndef TESTS_FAKE_CLOCK_H
#define TESTS_FAKE_CLOCK_H

#include "clock.h"

/* This thread is the one. How much time has passed is there, which must stay; NULL: none has. */
void clock_begin(_Atomic uint64_t *passed_ns);
/* So much later. Whoever waited for a time that has come since has gone on when it returns. */
void clock_pass(uint64_t ns);
/* Somebody waits there, for a time that has not come. */
bool clock_is_waited_for(pthread_cond_t *cond);

#endif

// SPDX-License-Identifier: GPL-2.0-or-later
#include "clock.h"

#include <errno.h>
#include <time.h>

#define SECOND 1000000000u

uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + ts.tv_nsec;
}

uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

bool clock_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t until_ns)
{
	const struct timespec until = { until_ns / SECOND, until_ns % SECOND };

	return pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &until) != ETIMEDOUT;
}

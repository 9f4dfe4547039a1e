/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast something grows, from what was seen of it lately: so many samples that those of an hour
 * are there. Pure; the caller has the clock, and the lock.
 */
#ifndef TANDEMFS_GROWTH_H
#define TANDEMFS_GROWTH_H

#include <stdbool.h>
#include <stdint.h>

#define GROWTH_STEP_NS (60ull * 1000000000)
#define GROWTH_SPAN_NS (60 * GROWTH_STEP_NS)
/* What was watched for less says nothing. */
#define GROWTH_LEAST_NS (2 * GROWTH_STEP_NS)
#define GROWTH_SAMPLES 61

struct growth {
	struct growth_sample {
		uint64_t at_ns, bytes;
	} samples[GROWTH_SAMPLES]; /* a ring */
	unsigned count, next;
};

struct growth_rate {
	int64_t per_hour; /* bytes; less than 0: it shrinks */
	uint64_t span_ns; /* that it was watched for, at most GROWTH_SPAN_NS */
};

/* So much it is now. A sample that comes before a step has passed since the last one is left out. */
void growth_note(struct growth *g, uint64_t now_ns, uint64_t bytes);
/*
 * Up to now. As if it had been watched for at_least_ns, if that is longer: of something that began
 * since, that is its part in what grew in that time. false: it was not seen before.
 */
bool growth_rate(const struct growth *g, uint64_t now_ns, uint64_t bytes, uint64_t at_least_ns,
		 struct growth_rate *out);

#endif

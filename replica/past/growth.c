// SPDX-License-Identifier: GPL-2.0-or-later
#include "growth.h"

#include <stddef.h>

#define HOUR_NS 3600e9

/* i 0: the oldest one. */
static const struct growth_sample *sample(const struct growth *g, unsigned i)
{
	return &g->samples[(g->next + GROWTH_SAMPLES - g->count + i) % GROWTH_SAMPLES];
}

void growth_note(struct growth *g, uint64_t now_ns, uint64_t bytes)
{
	if (g->count && now_ns - sample(g, g->count - 1)->at_ns < GROWTH_STEP_NS)
		return;
	g->samples[g->next] = (struct growth_sample){ now_ns, bytes };
	g->next = (g->next + 1) % GROWTH_SAMPLES;
	g->count += g->count < GROWTH_SAMPLES;
}

/* Not older than the span, which samples that come late may be. */
static const struct growth_sample *oldest(const struct growth *g, uint64_t now_ns)
{
	for (unsigned i = 0; i < g->count; i++)
		if (now_ns - sample(g, i)->at_ns <= GROWTH_SPAN_NS)
			return sample(g, i);
	return NULL;
}

bool growth_rate(const struct growth *g, uint64_t now_ns, uint64_t bytes, uint64_t at_least_ns,
		 struct growth_rate *out)
{
	const struct growth_sample *from = oldest(g, now_ns);
	uint64_t span, divisor;

	if (!from)
		return false;
	span = now_ns - from->at_ns;
	divisor = span > at_least_ns ? span : at_least_ns;
	if (!divisor)
		return false;
	out->span_ns = span;
	out->per_hour = ((double)bytes - (double)from->bytes) * HOUR_NS / divisor;
	return true;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "subject.h"

#include <string.h>
#include <sys/types.h>
#include <time.h>

/* What getrandom and time are in these programs: --wrap. */
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
time_t __wrap_time(time_t *out);

/* As long as files are anywhere. */
#define FILE_MAX ((uint64_t)1 << 56)

static uint64_t steady = 1;

uint64_t fuzz_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed * 0x2545f4914f6cdd1d;
}

void fuzz_steady(uint64_t seed)
{
	steady = seed;
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = fuzz_random(&steady) >> 56;
	return len;
}

time_t __wrap_time(time_t *out)
{
	time_t t = 1600000000;

	if (out)
		*out = t;
	return t;
}

static const struct memory *base_of(const struct subject *s, unsigned n)
{
	struct memory **base = &s->built[n];

	if (!*base) {
		fuzz_steady(n + 1);
		*base = n ? s->build(n) : memory_new(0);
	}
	return *base;
}

static void put(const struct subject *s, struct memory *m, const struct script_patch *p)
{
	uint64_t end = memory_size(m) / 512 * 512;

	if (p->space == SPACE_FILE)
		memory_put(m, p->at, p->bytes, p->length);
	else if (p->space == SPACE_END && p->at <= end)
		memory_put(m, end - p->at, p->bytes, p->length);
	else if (p->space > SPACE_END && s->put)
		s->put(m, p);
}

struct memory *subject_make(const struct subject *s, const struct script *script)
{
	struct memory *m = memory_copy(base_of(s, script->base % s->bases));

	if (script->file_size)
		memory_set_size(m, script->file_size % FILE_MAX);
	for (unsigned i = 0; i < script->patch_count; i++)
		put(s, m, &script->patches[i]);
	s->seal(m, script->unsealed);
	return m;
}

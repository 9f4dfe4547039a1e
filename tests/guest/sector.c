/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every sector that is written describes itself: whose it is (seed), where it belongs (offset),
 * which write made it (sequence), and a checksum. The rest of it follows from these. So a sector
 * that is wrong also tells what it is: older content, another place's content, or torn.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "work.h"

#define MAGIC UINT64_C(0x31736674736554ff)
#define MAX_COMPLAINTS 5

/* The words of a sector. */
enum { W_MAGIC, W_SEED, W_OFFSET, W_SEQUENCE, W_CHECKSUM, W_CONTENT };

static int complaints;

void complain(const char *format, ...)
{
	char text[512];
	va_list args;

	if (++complaints > MAX_COMPLAINTS)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* One write: the other workers use the same console. */
	dprintf(STDERR_FILENO, "BAD: %s\n", text);
}

int complaint_count(void)
{
	return complaints;
}

bool complained_enough(void)
{
	return complaints > MAX_COMPLAINTS;
}

/* splitmix64 */
uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

uint64_t next_random(uint64_t *state)
{
	return mix(*state += UINT64_C(0x9e3779b97f4a7c15));
}

static uint64_t checksum(const uint64_t *sector)
{
	uint64_t sum = 0;

	for (int i = 0; i < WORDS; i++)
		if (i != W_CHECKSUM)
			sum = (sum ^ sector[i]) * UINT64_C(0x100000001b3);
	return sum;
}

void fill_sector(uint64_t *sector, uint64_t seed, uint64_t offset, uint64_t sequence)
{
	uint64_t x = mix(seed) ^ mix(offset) ^ mix(~sequence);

	sector[W_MAGIC] = MAGIC;
	sector[W_SEED] = seed;
	sector[W_OFFSET] = offset;
	sector[W_SEQUENCE] = sequence;
	for (int i = W_CONTENT; i < WORDS; i++)
		sector[i] = x = x * UINT64_C(6364136223846793005) + 1;
	sector[W_CHECKSUM] = checksum(sector);
}

bool is_filled(const uint64_t *sector, uint64_t seed, uint64_t offset, uint64_t sequence)
{
	uint64_t right[WORDS];

	fill_sector(right, seed, offset, sequence);
	return memcmp(sector, right, SECTOR) == 0;
}

bool is_zero(const uint64_t *sector)
{
	return !sector[0] && !memcmp(sector, sector + 1, SECTOR - 8);
}

bool is_of_seed(const uint64_t *sector, uint64_t seed)
{
	return sector[W_MAGIC] == MAGIC && sector[W_SEED] == seed;
}

bool is_at_home(const uint64_t *sector, uint64_t offset)
{
	return sector[W_MAGIC] != MAGIC ||
	       (sector[W_OFFSET] == offset && sector[W_CHECKSUM] == checksum(sector));
}

const char *describe_sector(const uint64_t *sector)
{
	static char text[160];

	if (is_zero(sector))
		return "zeros";
	if (sector[W_MAGIC] != MAGIC)
		return "foreign bytes";
	snprintf(text, sizeof(text),
		 "%s sector of seed %" PRIu64 " offset %" PRIu64 " sequence %" PRIu64,
		 checksum(sector) == sector[W_CHECKSUM] ? "a whole" : "a torn", sector[W_SEED],
		 sector[W_OFFSET], sector[W_SEQUENCE]);
	return text;
}

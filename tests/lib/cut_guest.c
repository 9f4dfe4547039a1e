// SPDX-License-Identifier: GPL-2.0-or-later
#include "cut_guest.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "power_cut.h"
#include "unit.h"

#define MOST 8u /* blocks of a write */
#define BEFORE 7

/* ---- what he does ---- */

void guest_fill(char *buf, unsigned blocks, uint16_t stamp)
{
	for (size_t at = 0; at < blocks * GUEST_BLOCK; at += sizeof(stamp))
		memcpy(buf + at, &stamp, sizeof(stamp));
}

void guest_make_image(struct cut_guest *g, const char *name)
{
	char bytes[GUEST_BLOCK];
	int fd = open(temp_path(name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	guest_fill(bytes, 1, BEFORE);
	if (fd < 0 || ftruncate(fd, GUEST_SIZE))
		power_cut_wrong("no image");
	for (unsigned b = 0; b < GUEST_BLOCKS; b += 3) {
		if (pwrite(fd, bytes, GUEST_BLOCK, (off_t)b * GUEST_BLOCK) != GUEST_BLOCK)
			power_cut_wrong("no image");
		g->images[0][b] = BEFORE;
	}
	close(fd);
}

static void begin_write(struct cut_guest *g, unsigned first, unsigned blocks, uint16_t stamp)
{
	unsigned n = g->count + 1;

	memcpy(g->images[n], g->images[n - 1], sizeof(g->images[n]));
	for (unsigned b = first; b < first + blocks; b++)
		g->images[n][b] = stamp;
	g->writes[n].began = power_cut_now();
	g->writes[n].ended = UINT64_MAX;
	g->count = n;
}

/* Half of them in a few regions, so that what was not flushed is written again. */
void guest_writes(struct cut_guest *g, struct disk *d, uint64_t *seed)
{
	static _Alignas(4096) char buf[MOST * GUEST_BLOCK];
	unsigned blocks = 1 + unit_below(seed, MOST), how = unit_below(seed, 8);
	unsigned first = unit_below(seed, unit_below(seed, 2) ? GUEST_BLOCKS - MOST : 24);
	uint64_t off = (uint64_t)first * GUEST_BLOCK;
	int err;

	if (g->count + 1 == GUEST_WRITES)
		return;
	begin_write(g, first, blocks, how ? g->count + 1 : 0);
	guest_fill(buf, blocks, g->count);
	err = how ? disk_write(d, buf, blocks * GUEST_BLOCK, off, how % 2 ? IO_DIRECT : 0)
		  : disk_zero(d, off, blocks * GUEST_BLOCK, ZERO_PUNCH);
	if (err)
		power_cut_wrong("a write fails: %d", err);
	g->writes[g->count].ended_ms = clock_ms();
	g->writes[g->count].ended = power_cut_now();
}

void guest_flushes(struct cut_guest *g, struct disk *d)
{
	unsigned has = g->count, n = g->flushes;

	if (n == GUEST_FLUSHES)
		return;
	if (disk_flush(d))
		power_cut_wrong("a flush fails");
	g->flushed[n].has = has;
	g->flushed[n].ended = power_cut_now();
	g->flushes = n + 1;
}

/* ---- what is left of it ---- */

bool guest_reads(struct disk *d, char *bytes)
{
	size_t done = 0;
	bool read = d && !disk_open(d, false);

	if (!read)
		return false;
	read = !disk_read(d, bytes, GUEST_SIZE, 0, 0, &done) && done == GUEST_SIZE;
	disk_close(d);
	return read;
}

int guest_find(const struct cut_guest *g, const char *bytes, unsigned low, unsigned high)
{
	char block[GUEST_BLOCK];

	for (unsigned n = high + 1; n-- > low;) {
		unsigned b = 0;

		for (; b < GUEST_BLOCKS; b++) {
			guest_fill(block, 1, g->images[n][b]);
			if (memcmp(block, bytes + b * GUEST_BLOCK, GUEST_BLOCK) != 0)
				break;
		}
		if (b == GUEST_BLOCKS)
			return n;
	}
	return -1;
}

struct guest_left guest_left(const struct cut_guest *g, uint64_t calls)
{
	struct guest_left left = { 0 };

	for (unsigned n = 1; n <= g->count && g->writes[n].began < calls; n++)
		left.begun = n;
	for (unsigned n = 0; n < g->flushes; n++)
		if (g->flushed[n].ended <= calls)
			left.flushed = g->flushed[n].has;
	return left;
}

void guest_check(const struct cut_guest *g, struct guest_left left, const char *of,
		 const char *bytes)
{
	for (unsigned at = 0; at < GUEST_SIZE; at += GUEST_SECTOR) {
		unsigned n = left.flushed;
		uint16_t value;

		memcpy(&value, bytes + at, sizeof(value));
		if (memcmp(bytes + at, bytes + at + 2, GUEST_SECTOR - 2) != 0)
			power_cut_wrong("sector %u of the %s is torn", at / GUEST_SECTOR, of);
		while (n <= left.begun && g->images[n][at / GUEST_BLOCK] != value)
			n++;
		if (n > left.begun)
			power_cut_wrong("sector %u of the %s is %u, and nothing of images %u to %u",
					at / GUEST_SECTOR, of, value, left.flushed, left.begun);
	}
}

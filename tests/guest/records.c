/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a database does: a record is appended to a log, its slot in a table is written again, and a
 * file that names it takes the place of the one before; all three are synced before the record is
 * told of. What was told is there, in this file system or in a copy of it from any moment since.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "work.h"

#define SEED 1
#define SLOTS 64

static bool failed(const char *what)
{
	complain("%s: %s", what, strerror(errno));
	return false;
}

static bool write_sector(int fd, uint64_t offset, uint64_t number)
{
	uint64_t sector[WORDS];

	fill_sector(sector, SEED, offset, number);
	return pwrite(fd, sector, SECTOR, offset) == SECTOR && !fdatasync(fd);
}

static bool replace_head(int dir, uint64_t number)
{
	int fd = openat(dir, "head.new", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	bool good = fd >= 0 && write_sector(fd, 0, number);

	if (fd >= 0)
		close(fd);
	return good && !renameat(dir, "head.new", dir, "head") && !fsync(dir);
}

static bool write_records(int dir, int log, int table, time_t until)
{
	for (uint64_t number = 1; time(NULL) < until; number++) {
		if (!write_sector(log, (number - 1) * SECTOR, number))
			return failed("log");
		if (!write_sector(table, number % SLOTS * SECTOR, number))
			return failed("table");
		if (!replace_head(dir, number))
			return failed("head");
		printf("RECORD %" PRIu64 "\n", number);
		fflush(stdout);
	}
	return true;
}

bool do_records_write(const char *path, uint64_t seconds)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY);
	int log = openat(dir, "log", O_RDWR | O_CREAT, 0600);
	int table = openat(dir, "table", O_RDWR | O_CREAT, 0600);

	if (dir < 0 || log < 0 || table < 0 || fsync(dir))
		return failed(path);
	return write_records(dir, log, table, time(NULL) + (time_t)seconds);
}

/* The number of the record that made this sector: at least `least`, as far as `step` goes. */
static bool is_since(int fd, uint64_t offset, uint64_t least, uint64_t step)
{
	uint64_t sector[WORDS];

	if (pread(fd, sector, SECTOR, offset) != SECTOR)
		return false;
	for (uint64_t number = least; number < least + 100 * step * SLOTS; number += step)
		if (is_filled(sector, SEED, offset, number))
			return true;
	return false;
}

static void verify_table(int table, uint64_t told)
{
	for (uint64_t slot = 0; slot < SLOTS && slot < told; slot++) {
		uint64_t least = told - (told - slot) % SLOTS;

		if (least && !is_since(table, slot * SECTOR, least, SLOTS))
			complain("table: slot %" PRIu64 " is older than record %" PRIu64, slot,
				 least);
	}
}

bool do_records_verify(const char *path, uint64_t told)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY), head = openat(dir, "head", O_RDONLY);
	int log = openat(dir, "log", O_RDONLY), table = openat(dir, "table", O_RDONLY);
	uint64_t sector[WORDS];

	if (!told)
		return true;
	if (log < 0 || table < 0 || head < 0)
		return failed(path);
	for (uint64_t number = 1; number <= told && !complained_enough(); number++) {
		uint64_t offset = (number - 1) * SECTOR;

		if (pread(log, sector, SECTOR, offset) != SECTOR ||
		    !is_filled(sector, SEED, offset, number))
			complain("log: record %" PRIu64 " of %" PRIu64 " is not there", number,
				 told);
	}
	verify_table(table, told);
	if (!is_since(head, 0, told, 1))
		complain("head: it is older than record %" PRIu64, told);
	return complaint_count() == 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pattern is a stream of operations that follows from the seed and the size of the disk alone.
 * To verify in a later boot, the same stream is played into a model of the disk without any I/O.
 *
 * Several processes work at once, each in a region of its own. The regions' borders lie inside a
 * 4 KiB page and are written often: whoever below reads, modifies and writes whole pages or blocks
 * without a lock loses a neighbour's write there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "work.h"

#define MAX_SECTORS 2048    /* 1 MiB, the largest request */
#define BORDER_SECTORS 4096 /* 2 MiB, a block of most image formats */
#define WORKERS 4
#define OPERATIONS 250 /* of each worker */

/* Aligned for O_DIRECT, zeroed, and never given back: the process ends with its work. */
static void *xalloc(size_t size)
{
	void *memory;

	if (posix_memalign(&memory, 4096, size)) {
		fputs("BAD: out of memory\n", stderr);
		exit(1);
	}
	memset(memory, 0, size);
	return memory;
}

/* --- the model: what each sector must hold --- */

enum kind {
	UNTOUCHED, /* not by this pattern: what earlier ones left */
	DATA,
	ZEROED
};

struct mark {
	uint32_t sequence;
	uint8_t kind;
	/* A discarded sector reads as before or as zeros, both are right. */
	bool discarded;
};

struct region {
	uint64_t seed;
	uint64_t first; /* sector on the disk */
	uint64_t count;
	struct mark *marks; /* of each sector in the region */
	bool complete;      /* the whole stream is in the marks */
};

static void region_init(struct region *region, uint64_t seed, uint64_t sectors, int worker)
{
	uint64_t share = sectors / WORKERS;
	/* An odd border: neighbours share a page. */
	uint64_t first = worker ? worker * share | 1 : 0;
	uint64_t end = worker < WORKERS - 1 ? (worker + 1) * share | 1 : sectors;

	region->seed = seed;
	region->first = first;
	region->count = end - first;
	region->marks = xalloc(region->count * sizeof(*region->marks));
}

/*
 * An untouched sector may hold whatever an earlier pattern left there, but nothing that belongs
 * elsewhere. The earlier one may have had the same seed, so only when this one is complete is a
 * sector of this seed known to be a stray write.
 */
static bool untouched_is_right(const struct region *region, const uint64_t *sector, uint64_t offset)
{
	if (region->complete && is_of_seed(sector, region->seed))
		return false;
	return is_at_home(sector, offset);
}

static bool sector_is_right(const struct region *region, const uint64_t *sector, uint64_t offset,
			    const struct mark *mark)
{
	if (mark->discarded && is_zero(sector))
		return true;
	switch (mark->kind) {
	case DATA:
		return is_filled(sector, region->seed, offset, mark->sequence);
	case ZEROED:
		return is_zero(sector);
	default:
		return untouched_is_right(region, sector, offset);
	}
}

static void verify_sector(const struct region *region, uint64_t at, const uint64_t *sector)
{
	static const char *const names[] = { "nothing of ours", "data", "zeros" };
	const struct mark *mark = &region->marks[at];
	uint64_t offset = (region->first + at) * SECTOR;

	if (!sector_is_right(region, sector, offset, mark))
		complain("offset %" PRIu64 ": expected %s%s of sequence %" PRIu32 ", found %s",
			 offset, names[mark->kind], mark->discarded ? " or zeros" : "",
			 mark->sequence, describe_sector(sector));
}

/* --- the stream of operations --- */

enum verb { WRITE, READ, ZERO, DISCARD };

struct operation {
	enum verb verb;
	uint64_t at; /* sector in the region */
	uint64_t count;
	uint32_t sequence;
};

struct stream {
	uint64_t random;
	uint32_t sequence;
};

static enum verb choose_verb(uint64_t percent)
{
	if (percent < 66)
		return WRITE;
	if (percent < 84)
		return READ;
	return percent < 92 ? ZERO : DISCARD;
}

/* Moves a request back to lie across the border before it, if that is in the region. */
static uint64_t across_border(uint64_t at, uint64_t before, const struct region *region,
			      uint64_t room)
{
	uint64_t sector = region->first + at;
	uint64_t moved = sector - sector % BORDER_SECTORS - before;

	if (moved < region->first || moved - region->first > room)
		return at;
	return moved - region->first;
}

/*
 * Half of the time anywhere; else where mistakes are likely: at the region's ends and across the
 * border of a block.
 */
static uint64_t choose_place(uint64_t *random, const struct region *region, uint64_t count)
{
	uint64_t room = region->count - count;
	uint64_t anywhere = next_random(random) % (room + 1);
	uint64_t before = next_random(random) % (count + 1);

	switch (next_random(random) % 8) {
	case 0:
		return 0;
	case 1:
		return room;
	case 2:
	case 3:
		return across_border(anywhere, before, region, room);
	default:
		return anywhere;
	}
}

/* Small ones are as likely as large ones; now and then the largest. */
static uint64_t choose_count(uint64_t *random)
{
	uint64_t limit = UINT64_C(1) << next_random(random) % 12;

	if (next_random(random) % 16 == 0)
		return MAX_SECTORS;
	return 1 + next_random(random) % limit;
}

static struct operation next_operation(struct stream *stream, const struct region *region)
{
	struct operation op;

	op.sequence = ++stream->sequence;
	op.verb = choose_verb(next_random(&stream->random) % 100);
	op.count = choose_count(&stream->random);
	op.at = choose_place(&stream->random, region, op.count);
	return op;
}

static void model_apply(struct region *region, const struct operation *op)
{
	for (uint64_t i = op->at; i < op->at + op->count; i++) {
		struct mark *mark = &region->marks[i];

		switch (op->verb) {
		case WRITE:
			*mark = (struct mark){ op->sequence, DATA, false };
			break;
		case ZERO:
			*mark = (struct mark){ op->sequence, ZEROED, false };
			break;
		case DISCARD:
			mark->discarded = true;
			break;
		case READ:
			break;
		}
	}
}

/* --- the disk --- */

struct tally {
	uint64_t writes, reads, zeros, discards, flushes, bytes;
	bool no_discard;
};

struct worker {
	int fd;
	struct region region;
	struct tally *tally;
	uint64_t *buffer; /* MAX_SECTORS */
};

static bool transfer_failed(const char *what, uint64_t sector, uint64_t count)
{
	complain("%s of %" PRIu64 " sectors at offset %" PRIu64 ": %s", what, count,
		 sector * SECTOR, strerror(errno));
	return false;
}

/* A short transfer is an error of its own: a disk has no end of file inside. */
static bool transfer_is_whole(ssize_t done, uint64_t count)
{
	if (done >= 0 && (uint64_t)done != count * SECTOR) {
		errno = ENODATA;
		return false;
	}
	return done >= 0;
}

static bool disk_write(struct worker *worker, const struct operation *op)
{
	uint64_t sector = worker->region.first + op->at;

	for (uint64_t i = 0; i < op->count; i++)
		fill_sector(worker->buffer + i * WORDS, worker->region.seed, (sector + i) * SECTOR,
			    op->sequence);
	if (!transfer_is_whole(pwrite(worker->fd, worker->buffer, op->count * SECTOR,
				      sector * SECTOR),
			       op->count))
		return transfer_failed("write", sector, op->count);
	worker->tally->writes++;
	worker->tally->bytes += op->count * SECTOR;
	return true;
}

static bool disk_verify(struct worker *worker, uint64_t at, uint64_t count)
{
	uint64_t sector = worker->region.first + at;

	if (!transfer_is_whole(pread(worker->fd, worker->buffer, count * SECTOR, sector * SECTOR),
			       count))
		return transfer_failed("read", sector, count);
	for (uint64_t i = 0; i < count; i++)
		verify_sector(&worker->region, at + i, worker->buffer + i * WORDS);
	worker->tally->reads++;
	return complaint_count() == 0;
}

static bool disk_zero(struct worker *worker, const struct operation *op)
{
	uint64_t sector = worker->region.first + op->at;
	uint64_t range[2] = { sector * SECTOR, op->count * SECTOR };

	if (ioctl(worker->fd, BLKZEROOUT, range))
		return transfer_failed("zeroing", sector, op->count);
	worker->tally->zeros++;
	return true;
}

static bool disk_discard(struct worker *worker, const struct operation *op)
{
	uint64_t sector = worker->region.first + op->at;
	uint64_t range[2] = { sector * SECTOR, op->count * SECTOR };

	if (!ioctl(worker->fd, BLKDISCARD, range)) {
		worker->tally->discards++;
		return true;
	}
	if (errno != EOPNOTSUPP)
		return transfer_failed("discard", sector, op->count);
	worker->tally->no_discard = true;
	return true;
}

static bool disk_flush(struct worker *worker)
{
	if (fsync(worker->fd))
		return transfer_failed("flush", worker->region.first, 0);
	worker->tally->flushes++;
	return true;
}

static bool disk_do(struct worker *worker, const struct operation *op)
{
	switch (op->verb) {
	case WRITE:
		return disk_write(worker, op);
	case READ:
		return disk_verify(worker, op->at, op->count);
	case ZERO:
		return disk_zero(worker, op);
	default:
		return disk_discard(worker, op);
	}
}

static bool verify_region(struct worker *worker)
{
	for (uint64_t at = 0; at < worker->region.count; at += MAX_SECTORS) {
		uint64_t left = worker->region.count - at;

		/* Goes on after a wrong sector: all complaints together show the pattern. */
		disk_verify(worker, at, left < MAX_SECTORS ? left : MAX_SECTORS);
		if (complained_enough())
			break;
	}
	return complaint_count() == 0;
}

/* Plays the stream: into the disk and the model, or (not on_disk) into the model alone. */
static bool play(struct worker *worker, int number, bool on_disk)
{
	struct stream stream = { mix(worker->region.seed) + number, 0 };

	for (int i = 0; i < OPERATIONS; i++) {
		struct operation op = next_operation(&stream, &worker->region);

		if (on_disk && !disk_do(worker, &op))
			return false;
		model_apply(&worker->region, &op);
		if (on_disk && i % 16 == 15 && !disk_flush(worker))
			return false;
	}
	worker->region.complete = true;
	return !on_disk || disk_flush(worker);
}

/* O_DIRECT past the guest's page cache: what is read back comes from the disk. */
static int disk_open(const char *path, bool write)
{
	int access = write ? O_RDWR : O_RDONLY;
	struct stat st;

	if (stat(path, &st))
		return -1;
	return open(path, S_ISBLK(st.st_mode) ? access | O_DIRECT : access);
}

static bool work_in_region(const char *path, uint64_t seed, int number, bool write,
			   struct tally *tally)
{
	struct worker worker = { .tally = tally };
	off_t size;

	worker.fd = disk_open(path, write);
	size = worker.fd < 0 ? -1 : lseek(worker.fd, 0, SEEK_END);
	if (size < 0) {
		complain("%s: %s", path, strerror(errno));
		return false;
	}
	if (size < WORKERS * 4 * MAX_SECTORS * SECTOR) {
		complain("%s is too small", path);
		return false;
	}
	worker.buffer = xalloc(MAX_SECTORS * SECTOR);
	region_init(&worker.region, seed, size / SECTOR, number);
	return play(&worker, number, write) && verify_region(&worker);
}

static bool reap_all(void)
{
	bool good = true;
	int status;

	while (wait(&status) > 0)
		good &= status == 0;
	return good;
}

static void print_tallies(const struct tally *tallies)
{
	struct tally sum = { 0 };

	for (const struct tally *t = tallies; t < tallies + WORKERS; t++) {
		sum.writes += t->writes;
		sum.reads += t->reads;
		sum.zeros += t->zeros;
		sum.discards += t->discards;
		sum.flushes += t->flushes;
		sum.bytes += t->bytes;
		sum.no_discard |= t->no_discard;
	}
	printf("writes=%" PRIu64 " bytes=%" PRIu64 " reads=%" PRIu64 " zeros=%" PRIu64
	       " discards=%" PRIu64 "%s flushes=%" PRIu64 "\n",
	       sum.writes, sum.bytes, sum.reads, sum.zeros, sum.discards,
	       sum.no_discard ? "(unsupported)" : "", sum.flushes);
}

static bool work_on_disk(const char *path, uint64_t seed, bool write)
{
	struct tally *tallies = mmap(NULL, WORKERS * sizeof(*tallies), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool good;

	if (tallies == MAP_FAILED)
		return false;
	for (int i = 0; i < WORKERS; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(!work_in_region(path, seed, i, write, tallies + i));
		if (child < 0) {
			complain("fork: %s", strerror(errno));
			return reap_all() && false;
		}
	}
	good = reap_all();
	if (good)
		print_tallies(tallies);
	return good;
}

bool do_pattern(const char *path, uint64_t seed)
{
	return work_on_disk(path, seed, true);
}

bool do_verify(const char *path, uint64_t seed)
{
	return work_on_disk(path, seed, false);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests on the same bytes of a disk at the same time: each must happen wholly, at one moment.
 *
 *	race [--seed N] [--rounds N] DISK
 *
 * First, in each round THREADS threads write overlapping ranges, every write with a stamp of its
 * own, some rounds with a punched hole among them. Afterwards each byte names the write that came
 * last there, so that this one came after all others that cover the byte. These "after"s, with the
 * order that each thread kept itself, must be free of circles: only then a serial order of the
 * writes explains what is there, and no two of them are mixed.
 *
 * Then one thread writes a range again and again, each time with the next number all over, and
 * others read it: every answer must hold one number, not older than the last one acknowledged
 * before the read and not newer than the last one begun.
 *
 * Every request is at most MAX_WRITE bytes of page-aligned memory: one request to the daemon.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "random.h"

#define PAGE 4096UL
#define REGION (256UL << 10)
#define MAX_WRITE (64UL << 10)
#define MAX_READ REGION
#define THREADS 8
#define WRITES_EACH 4
#define WRITES (THREADS * WRITES_EACH) /* of a round: bits of a mask */
#define BEFORE_ALL 0xff                /* the stamp of the region before a round */
#define READERS 3

struct write {
	uint64_t offset;
	uint64_t length;
	uint8_t stamp; /* 0: a punched hole */
	bool direct;
};

struct race {
	uint64_t seed;
	uint64_t random;
	uint64_t round;
	int plain;
	int direct;
	bool strict; /* O_DIRECT wants whole pages here */
	pthread_barrier_t start;
	pthread_barrier_t end;
	bool over;
	struct write writes[WRITES]; /* those of thread n from n * WRITES_EACH on */

	/* of the second part */
	uint64_t offset;
	uint64_t length;
	_Atomic uint64_t begun;
	_Atomic uint64_t acknowledged;
	atomic_bool written;
};

static struct race race;

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "seed %" PRIu64 ", round %" PRIu64 ": %s\n", race.seed, race.round, what);
	exit(1);
}

static _Noreturn void fail_at(const char *what, uint64_t offset, uint64_t length)
{
	int error = errno;

	fprintf(stderr,
		"seed %" PRIu64 ", round %" PRIu64 ": %s at %" PRIu64 ", %" PRIu64 " bytes: %s\n",
		race.seed, race.round, what, offset, length, error ? strerror(error) : "short");
	exit(1);
}

static uint8_t *pages(uint64_t bytes)
{
	void *at;

	if (posix_memalign(&at, PAGE, bytes))
		fail("no memory");
	return at;
}

static void write_all(int fd, const uint8_t *from, uint64_t length, uint64_t offset)
{
	errno = 0;
	if (pwrite(fd, from, length, offset) != (ssize_t)length)
		fail_at("pwrite", offset, length);
}

static void read_all(int fd, uint8_t *to, uint64_t length, uint64_t offset)
{
	errno = 0;
	if (pread(fd, to, length, offset) != (ssize_t)length)
		fail_at("pread", offset, length);
}

/* ---- Overlapping writers ---- */

static void do_write(const struct write *w, uint8_t *buffer)
{
	int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	if (w->stamp == 0) {
		if (fallocate(race.plain, hole, w->offset, w->length))
			fail_at("fallocate PUNCH_HOLE", w->offset, w->length);
		return;
	}
	memset(buffer, w->stamp, w->length);
	write_all(w->direct ? race.direct : race.plain, buffer, w->length, w->offset);
}

static void *writer(void *first_write)
{
	const struct write *w = first_write;
	uint8_t *buffer = pages(MAX_WRITE);

	for (;;) {
		pthread_barrier_wait(&race.start);
		if (race.over)
			break;
		for (int i = 0; i < WRITES_EACH; i++)
			do_write(w + i, buffer);
		pthread_barrier_wait(&race.end);
	}
	free(buffer);
	return NULL;
}

/* Two rounds of three use whole pages, the third any byte; every fourth has one hole. */
static void plan_round(void)
{
	bool whole_pages = race.round % 3 != 0;
	int hole = race.round % 4 ? -1 : (int)random_below(&race.random, WRITES);

	for (int i = 0; i < WRITES; i++) {
		struct write *w = &race.writes[i];
		uint64_t room;

		w->offset = random_below(&race.random, REGION);
		w->length = 1 + random_below(&race.random, MAX_WRITE);
		if (whole_pages) {
			w->offset &= ~(PAGE - 1);
			w->length = (w->length + PAGE - 1) & ~(PAGE - 1);
		}
		room = REGION - w->offset;
		w->length = w->length < room ? w->length : room;
		w->direct = one_in(&race.random, 2) && (whole_pages || !race.strict);
		w->stamp = i == hole ? 0 : i + 1;
	}
}

static void list_writes(uint32_t which)
{
	for (int i = 0; i < WRITES; i++)
		if (which & (1U << i))
			fprintf(stderr,
				"  write %d by thread %d: %" PRIu64 " bytes at %" PRIu64 "%s\n", i,
				i / WRITES_EACH, race.writes[i].length, race.writes[i].offset,
				race.writes[i].stamp == 0 ? ", punched"
				: race.writes[i].direct   ? ", O_DIRECT"
							  : "");
}

/* The number of the write whose stamp a byte carries; WRITES or more for none. */
static unsigned int owner_of(uint8_t stamp)
{
	unsigned int i;

	if (stamp)
		return stamp - 1;
	for (i = 0; i < WRITES && race.writes[i].stamp; i++)
		;
	return i;
}

/* Which writes cover each byte of the region. */
static void mark_covers(uint32_t *cover)
{
	memset(cover, 0, REGION * sizeof(*cover));
	for (int i = 0; i < WRITES; i++)
		for (uint64_t b = 0; b < race.writes[i].length; b++)
			cover[race.writes[i].offset + b] |= 1U << i;
}

/* before[n]: the writes that must have come before n, as the region shows. */
static void collect_before(const uint8_t *got, const uint32_t *cover, uint32_t *before)
{
	for (int i = 0; i < WRITES; i++)
		before[i] = i % WRITES_EACH ? 1U << (i - 1) : 0;
	for (uint64_t b = 0; b < REGION; b++) {
		unsigned int owner = owner_of(got[b]);

		if (cover[b] == 0 && got[b] == BEFORE_ALL)
			continue;
		if (owner >= WRITES || !(cover[b] & (1U << owner))) {
			fprintf(stderr, "byte %" PRIu64 " is 0x%02x; these cover it:\n", b, got[b]);
			list_writes(cover[b]);
			fail("a byte is none of the writes that cover it");
		}
		before[owner] |= cover[b] & ~(1U << owner);
	}
}

/* Takes away what nothing left must come before, as long as there is such a write. */
static uint32_t without_order(const uint32_t *before)
{
	uint32_t left = ~0U;
	bool progress = true;

	while (left && progress) {
		progress = false;
		for (int i = 0; i < WRITES; i++) {
			if ((left & (1U << i)) && !(before[i] & left)) {
				left &= ~(1U << i);
				progress = true;
			}
		}
	}
	return left;
}

static void judge_round(const uint8_t *got, uint32_t *cover)
{
	uint32_t before[WRITES];
	uint32_t left;

	mark_covers(cover);
	collect_before(got, cover, before);
	left = without_order(before);
	if (left == 0)
		return;
	for (uint64_t b = 0; b < REGION; b++) {
		bool same = b && cover[b] == cover[b - 1] && got[b] == got[b - 1];

		if (!same && (cover[b] & left))
			fprintf(stderr, "  from %" PRIu64 " on: write %u\n", b, owner_of(got[b]));
	}
	list_writes(left);
	fail("no order of these writes explains the bytes");
}

static void race_writers(uint64_t rounds)
{
	pthread_t threads[THREADS];
	uint8_t *region = pages(REGION);
	uint32_t *cover = (uint32_t *)pages(REGION * sizeof(*cover));

	pthread_barrier_init(&race.start, NULL, THREADS + 1);
	pthread_barrier_init(&race.end, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, writer, &race.writes[i * WRITES_EACH]))
			fail("no threads");
	for (race.round = 1; race.round <= rounds; race.round++) {
		memset(region, BEFORE_ALL, REGION);
		write_all(race.plain, region, REGION, 0);
		plan_round();
		pthread_barrier_wait(&race.start);
		pthread_barrier_wait(&race.end);
		read_all(race.plain, region, REGION, 0);
		judge_round(region, cover);
	}
	race.over = true;
	pthread_barrier_wait(&race.start);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	free(region);
	free(cover);
}

/* ---- One writer, many readers ---- */

static void judge_read(const uint64_t *words, uint64_t count, uint64_t oldest, uint64_t newest)
{
	for (uint64_t i = 1; i < count; i++) {
		if (words[i] != words[0]) {
			fprintf(stderr,
				"%" PRIu64 " bytes at %" PRIu64 ": number %" PRIu64
				" at first, %" PRIu64 " from byte %" PRIu64 " on\n",
				race.length, race.offset, words[0], words[i], i * sizeof(*words));
			fail("a read saw a write half done");
		}
	}
	if (words[0] < oldest || words[0] > newest) {
		fprintf(stderr,
			"number %" PRIu64 " was read; %" PRIu64 " was acknowledged before, %" PRIu64
			" begun after\n",
			words[0], oldest, newest);
		fail("a read saw another write than the last one");
	}
}

static void *reader(void *seed)
{
	uint64_t random = (uintptr_t)seed;
	uint8_t *buffer = pages(MAX_READ);

	while (!race.written) {
		uint64_t oldest = race.acknowledged;
		bool direct = !race.strict && one_in(&random, 2);

		read_all(direct ? race.direct : race.plain, buffer, race.length, race.offset);
		judge_read((uint64_t *)buffer, race.length / sizeof(uint64_t), oldest, race.begun);
	}
	free(buffer);
	return NULL;
}

static void write_number(uint64_t *buffer, uint64_t number)
{
	bool direct = !race.strict && number % 2;

	for (uint64_t i = 0; i < race.length / sizeof(*buffer); i++)
		buffer[i] = number;
	race.begun = number;
	write_all(direct ? race.direct : race.plain, (uint8_t *)buffer, race.length, race.offset);
	race.acknowledged = number;
}

static void race_readers(uint64_t offset, uint64_t length, uint64_t rounds)
{
	pthread_t threads[READERS];
	uint64_t *buffer = (uint64_t *)pages(length);

	race.offset = offset;
	race.length = length;
	race.round = 0;
	write_number(buffer, 0);
	race.written = false;
	for (uintptr_t i = 0; i < READERS; i++)
		if (pthread_create(&threads[i], NULL, reader, (void *)(race.seed + i)))
			fail("no threads");
	for (race.round = 1; race.round <= rounds; race.round++)
		write_number(buffer, race.round);
	race.written = true;
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	free(buffer);
}

/* ---- The whole ---- */

static int open_disk(const char *path, int flags)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | flags);

	if (fd < 0)
		fail_at(path, 0, 0);
	return fd;
}

/* Also makes sure that the disk has the bytes we use: the last one is written. */
static void open_both(const char *path)
{
	uint8_t *page = pages(2 * PAGE);

	race.plain = open_disk(path, 0);
	race.direct = open_disk(path, O_DIRECT);
	memset(page, 0, 2 * PAGE);
	write_all(race.plain, page, 1, 2 * REGION);
	race.strict = pwrite(race.direct, page + 1, 1, 1) < 0;
	if (race.strict)
		printf("skipped: unaligned O_DIRECT: %s\n", strerror(errno));
	free(page);
}

/* Sizes and places that fit one block of ours, lie across two, or hold many. */
static void race_all_readers(uint64_t rounds)
{
	static const struct {
		uint64_t offset;
		uint64_t length;
	} ranges[] = {
		{ 0, 512 },       { 4096, 4096 },  { 16384 - 2048, 4096 },
		{ 16384, 16384 }, { 3000, 65536 }, { 65536, REGION },
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(*ranges); i++)
		race_readers(ranges[i].offset, ranges[i].length, rounds);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "rounds", required_argument, NULL, 'n' },
		{ 0 },
	};
	uint64_t rounds = 1500;
	int option;

	race.seed = time(NULL);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == '?')
			return 2;
		*(option == 's' ? &race.seed : &rounds) = strtoull(optarg, NULL, 0);
	}
	if (optind != argc - 1) {
		fputs("usage: race [--seed N] [--rounds N] DISK\n", stderr);
		return 2;
	}
	race.random = race.seed;
	printf("seed %" PRIu64 "\n", race.seed);
	fflush(stdout);
	open_both(argv[optind]);
	race_writers(rounds);
	race_all_readers(rounds);
	printf("%" PRIu64 " rounds of %d writes and 6 times %" PRIu64 " of one\n", rounds, WRITES,
	       rounds);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Remembers, outside of a disk, which writes to it were acknowledged; then looks for them.
 *
 *	stamped write JOURNAL DISK SEED [SPREAD]	say "open", write until an error comes, say how far
 *	stamped verify JOURNAL DISK [SPREAD]	is every acknowledged block there, and whole?
 *
 * Every block carries the number of its last write, all over. The journal is a mapped file with two
 * numbers for each block: begun, stored before the request, and acknowledged, stored after it. It
 * is in the page cache, so that it outlives the writer as well as the daemon. A block must hold the
 * acknowledged number; where a newer one was begun that may have come through, or not.
 *
 * The blocks lie side by side; or SPREAD bytes apart, so that a container takes and gives up one of
 * its own blocks for nearly each: then many writes are punches, of all that lies between, too, and
 * some are flushed.
 *
 * verify takes what it found for acknowledged, so that write can go on from there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "random.h"

#define BLOCK 4096UL
#define BLOCKS 4096UL
#define THREADS 4
#define BLOCKS_EACH (BLOCKS / THREADS)
#define MAX_BLOCKS 16UL             /* of one write */
#define PUNCHED (UINT64_C(1) << 63) /* in a number: the block was punched, it reads as zeros */

struct entry {
	_Atomic uint64_t begun;
	_Atomic uint64_t acknowledged;
};

struct stripe {
	pthread_t thread;
	uint64_t first; /* of the blocks that only this thread writes */
	uint64_t random;
	uint64_t number; /* of the last write */
	uint64_t done;
	int error;
};

static struct entry *journal;
static int plain;
static int direct;
static uint64_t spread = BLOCK;

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		die(path);
	return fd;
}

static void map_journal(const char *path)
{
	int fd = open_or_die(path, O_RDWR | O_CREAT);

	if (ftruncate(fd, BLOCKS * sizeof(*journal)))
		die(path);
	journal = mmap(NULL, BLOCKS * sizeof(*journal), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (journal == MAP_FAILED)
		die(path);
	close(fd);
}

/* ---- Writing ---- */

static ssize_t do_write(struct stripe *s, uint64_t first, uint64_t count, uint64_t *buffer)
{
	int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	if (s->number & PUNCHED)
		return fallocate(plain, hole, first * spread, count * spread) ? -1 : 0;
	for (uint64_t i = 0; i < count * BLOCK / sizeof(*buffer); i++)
		buffer[i] = s->number;
	return pwrite(one_in(&s->random, 2) ? direct : plain, buffer, count * BLOCK,
		      first * spread);
}

/* Returns whether the write was acknowledged. */
static bool write_once(struct stripe *s, uint64_t *buffer)
{
	uint64_t count = one_in(&s->random, 4) ? 1 + random_below(&s->random, MAX_BLOCKS) : 1;
	uint64_t first = s->first + random_below(&s->random, BLOCKS_EACH - count + 1);
	bool spreads = spread != BLOCK;
	ssize_t result;

	s->number = (s->number & ~PUNCHED) + 1;
	if (one_in(&s->random, spreads ? 4 : 16))
		s->number |= PUNCHED;
	else if (spreads)
		count = 1;
	for (uint64_t b = first; b < first + count; b++)
		journal[b].begun = s->number;
	result = do_write(s, first, count, buffer);
	if (result < 0) {
		s->error = errno;
		return false;
	}
	if (result && (uint64_t)result != count * BLOCK) {
		s->error = 0;
		return false;
	}
	for (uint64_t b = first; b < first + count; b++)
		journal[b].acknowledged = s->number;
	s->done++;
	if (spreads && one_in(&s->random, 256) && fdatasync(plain)) {
		s->error = errno;
		return false;
	}
	return true;
}

static void *write_stripe(void *stripe)
{
	uint64_t *buffer = aligned_alloc(BLOCK, MAX_BLOCKS * BLOCK);

	while (buffer && write_once(stripe, buffer))
		;
	free(buffer);
	return NULL;
}

static void start(struct stripe *s, uint64_t seed, int n)
{
	s->first = n * BLOCKS_EACH;
	s->random = seed * THREADS + n;
	for (uint64_t b = s->first; b < s->first + BLOCKS_EACH; b++) {
		uint64_t number = journal[b].acknowledged & ~PUNCHED;

		s->number = number > s->number ? number : s->number;
	}
	if (pthread_create(&s->thread, NULL, write_stripe, s))
		die("pthread_create");
}

static int do_write_all(uint64_t seed)
{
	struct stripe stripes[THREADS] = { 0 };
	uint64_t done = 0;

	for (int n = 0; n < THREADS; n++)
		start(&stripes[n], seed, n);
	for (int n = 0; n < THREADS; n++) {
		pthread_join(stripes[n].thread, NULL);
		done += stripes[n].done;
	}
	printf("%" PRIu64 " writes, until: %s\n", done,
	       stripes[0].error ? strerror(stripes[0].error) : "a short write");
	return 0;
}

/* ---- Verifying ---- */

static bool holds(const uint64_t *block, uint64_t number)
{
	uint64_t word = number & PUNCHED ? 0 : number;

	for (size_t i = 0; i < BLOCK / sizeof(*block); i++)
		if (block[i] != word)
			return false;
	return true;
}

static bool verify_block(uint64_t b, const uint64_t *block)
{
	struct entry *e = &journal[b];
	uint64_t last = BLOCK / sizeof(*block) - 1;

	if (holds(block, e->begun)) {
		e->acknowledged = e->begun;
		return true;
	}
	if (holds(block, e->acknowledged)) {
		e->begun = e->acknowledged;
		return true;
	}
	fprintf(stderr,
		"block %" PRIu64 ": write %" PRIu64 "%s was acknowledged, %" PRIu64
		"%s begun; it holds %" PRIu64 " to %" PRIu64 "\n",
		b, e->acknowledged & ~PUNCHED, e->acknowledged & PUNCHED ? " (a punch)" : "",
		e->begun & ~PUNCHED, e->begun & PUNCHED ? " (a punch)" : "", block[0], block[last]);
	return false;
}

static int do_verify(void)
{
	static uint64_t block[BLOCK / sizeof(uint64_t)];
	uint64_t written = 0;
	uint64_t wrong = 0;

	for (uint64_t b = 0; b < BLOCKS; b++) {
		if (pread(plain, block, BLOCK, b * spread) != (ssize_t)BLOCK)
			die("pread");
		written += journal[b].begun != 0;
		wrong += !verify_block(b, block);
	}
	printf("%" PRIu64 " of %lu blocks were written, %" PRIu64 " are wrong\n", written, BLOCKS,
	       wrong);
	return wrong != 0;
}

int main(int argc, char **argv)
{
	bool writing = argc >= 5 && argc <= 6 && !strcmp(argv[1], "write");
	int count = writing ? 5 : 4;

	if (!writing && (argc < 4 || argc > 5 || strcmp(argv[1], "verify"))) {
		fputs("usage: stamped write JOURNAL DISK SEED [SPREAD]\n"
		      "       stamped verify JOURNAL DISK [SPREAD]\n",
		      stderr);
		return 2;
	}
	if (argc > count)
		spread = strtoull(argv[count], NULL, 0);
	map_journal(argv[2]);
	plain = open_or_die(argv[3], writing ? O_RDWR : O_RDONLY);
	if (!writing)
		return do_verify();
	direct = open_or_die(argv[3], O_RDWR | O_DIRECT);
	puts("open");
	fflush(stdout);
	return do_write_all(strtoull(argv[4], NULL, 0));
}

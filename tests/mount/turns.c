/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes increasing numbers to disks in turn, each after the one before was acknowledged; and looks
 * whether other files, of what these disks held, are of one moment.
 *
 *	turns write DISK...	says "open"; until an error comes, or SIGTERM ends it; then how many
 *				there were, and how long the slowest took
 *	turns verify FILE...	the same order; says how many writes are in them
 *
 * Number n goes to disk n % DISKS, and there to block n / DISKS % BLOCKS, all over. So the greatest
 * number that is found tells what every block has to hold at that moment. Half of the disks are
 * written with O_DIRECT, the others with O_DSYNC.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096UL
#define BLOCKS 64UL
#define WORDS (BLOCK / sizeof(uint64_t))
#define DISKS_MAX 64

static uint64_t block[WORDS] __attribute__((aligned(4096)));
static int fds[DISKS_MAX];
static uint64_t disks;

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static void open_all(char **paths, bool writing)
{
	for (; paths[disks]; disks++) {
		int flags = writing ? O_RDWR | (disks % 2 ? O_DSYNC : O_DIRECT) : O_RDONLY;

		if (disks == DISKS_MAX) {
			fprintf(stderr, "more than %d disks\n", DISKS_MAX);
			exit(2);
		}
		fds[disks] = open(paths[disks], flags | O_CLOEXEC);
		if (fds[disks] < 0)
			die(paths[disks]);
	}
}

static uint64_t read_number(uint64_t disk, uint64_t place)
{
	ssize_t done = pread(fds[disk], block, BLOCK, place * BLOCK);

	if (done != (ssize_t)BLOCK)
		die("pread");
	for (size_t i = 1; i < WORDS; i++) {
		if (block[i] != block[0]) {
			fprintf(stderr, "disk %" PRIu64 ", block %" PRIu64 ": half a write\n", disk,
				place);
			exit(1);
		}
	}
	return block[0];
}

static uint64_t greatest(void)
{
	uint64_t most = 0;

	for (uint64_t d = 0; d < disks; d++)
		for (uint64_t place = 0; place < BLOCKS; place++) {
			uint64_t n = read_number(d, place);

			most = n > most ? n : most;
		}
	return most;
}

/* The last one up to `most` that went there, 0 if none did. */
static uint64_t expected(uint64_t disk, uint64_t place, uint64_t most)
{
	uint64_t round = disks * BLOCKS, first = place * disks + disk;

	if (most < first)
		return 0;
	return first + (most - first) / round * round;
}

static int verify(void)
{
	uint64_t most = greatest();
	int wrong = 0;

	for (uint64_t d = 0; d < disks; d++)
		for (uint64_t place = 0; place < BLOCKS; place++) {
			uint64_t n = read_number(d, place), want = expected(d, place, most);

			if (n == want)
				continue;
			fprintf(stderr,
				"%" PRIu64 " is there, and disk %" PRIu64 ", block %" PRIu64
				" has %" PRIu64 " instead of %" PRIu64 "\n",
				most, d, place, n, want);
			wrong = 1;
		}
	printf("%" PRIu64 "\n", most);
	return wrong;
}

static volatile sig_atomic_t ended;

static void end(int signal)
{
	ended = 1;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * UINT64_C(1000000) + t.tv_nsec / 1000;
}

/* Goes on where it was. */
static int write_turns(void)
{
	uint64_t n = greatest(), slowest = 0;

	sigaction(SIGTERM, &(struct sigaction){ .sa_handler = end, .sa_flags = SA_RESTART }, NULL);
	puts("open");
	fflush(stdout);
	while (!ended) {
		uint64_t began = now_us();

		n++;
		for (size_t i = 0; i < WORDS; i++)
			block[i] = n;
		if (pwrite(fds[n % disks], block, BLOCK, n / disks % BLOCKS * BLOCK) !=
		    (ssize_t)BLOCK) {
			printf("%" PRIu64 " writes, until: %s\n", n - 1, strerror(errno));
			return 0;
		}
		began = now_us() - began;
		slowest = began > slowest ? began : slowest;
	}
	printf("%" PRIu64 " writes, the slowest took %" PRIu64 " us\n", n, slowest);
	return 0;
}

int main(int argc, char **argv)
{
	bool writing = argc > 2 && !strcmp(argv[1], "write");

	if (!writing && (argc <= 2 || strcmp(argv[1], "verify"))) {
		fputs("usage: turns write DISK...\n"
		      "       turns verify FILE...\n",
		      stderr);
		return 2;
	}
	open_all(argv + 2, writing);
	return writing ? write_turns() : verify();
}

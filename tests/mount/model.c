/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random operations on one disk file, and on a plain array that must agree with it at every step.
 *
 *	model [--seed N] [--ops N] [--limit BYTES | --container BLOCK] [--save FILE] DISK
 *
 * The disk is used through two descriptors, one of them O_DIRECT, and through shared mappings. It
 * only grows, to --limit at most; with --container, the size of its blocks in bytes, it keeps its
 * size, and requests meet at the edges of blocks, and empty whole ones. At the end all of it is
 * compared through both descriptors; --save leaves the array as a file, for comparing it with the
 * image once nobody serves it any more.
 *
 * One thread, and nothing but the seed decides: the same seed does the same again on the same mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "model.h"

static void compare_all(struct model *m)
{
	for (m->which = 0; m->which < FD_COUNT; m->which++) {
		m->op = "comparing the whole";
		m->length = MAX_IO;
		for (m->offset = 0; m->offset < m->size; m->offset += MAX_IO) {
			uint64_t left = min_of(MAX_IO, m->size - m->offset);

			must_be(m, pread(m->fd[m->which], m->memory, MAX_IO, m->offset), left);
			compare(m, m->memory, m->offset, left);
		}
	}
	m->which = PLAIN;
	m->op = "walking the whole";
	sync_mapped(m);
	for (uint64_t at = 0; at < m->size;)
		at = walk(m, at);
}

static void *memory_of(const struct model *m, uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		fail(m, "no memory");
	return at;
}

/* The array starts as what is there. */
static void load(struct model *m)
{
	struct stat st;

	m->op = "loading";
	must_be(m, fstat(m->fd[PLAIN], &st), 0);
	m->size = st.st_size;
	if (m->block)
		m->limit = m->size;
	if (m->size < PAGE || m->size > m->limit)
		fail(m, "the disk should have from %lu to %" PRIu64 " bytes", PAGE, m->limit);
	m->want = memory_of(m, m->limit + MAX_IO);
	m->touched = memory_of(m, m->limit / CHUNK + 1);
	for (m->offset = 0; m->offset < m->size; m->offset += CHUNK) {
		uint64_t left = min_of(CHUNK, m->size - m->offset);

		must_be(m, pread(m->fd[PLAIN], m->memory, CHUNK, m->offset), left);
		if (m->memory[0] || memcmp(m->memory, m->memory + 1, left - 1))
			put(m, m->memory, m->offset, left);
	}
	m->offset = 0;
}

/* Writes one byte that is there already. */
static void try_unaligned_direct(struct model *m)
{
	m->op = "trying";
	m->memory[1] = m->want[1];
	m->direct_is_strict = pwrite(m->fd[DIRECT], m->memory + 1, 1, 1) < 0;
	if (m->direct_is_strict && errno != EINVAL)
		fail(m, "unaligned O_DIRECT: %s", strerror(errno));
	if (m->direct_is_strict)
		printf("skipped: unaligned O_DIRECT: %s\n", strerror(errno));
}

static void save(struct model *m, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	m->op = "saving";
	if (fd < 0)
		fail(m, "%s: %s", path, strerror(errno));
	must_be(m, ftruncate(fd, m->size), 0);
	for (m->offset = 0; m->offset < m->size; m->offset += CHUNK) {
		m->length = min_of(CHUNK, m->size - m->offset);
		if (m->touched[m->offset / CHUNK])
			must_be(m, pwrite(fd, m->want + m->offset, m->length, m->offset),
				m->length);
	}
	must_be(m, close(fd), 0);
}

/* Returns whether the command line was right; the rest of m is made from it. */
static bool read_options(struct model *m, int argc, char **argv, uint64_t *ops, const char **saved)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "ops", required_argument, NULL, 'n' },
		{ "limit", required_argument, NULL, 'l' },
		{ "container", required_argument, NULL, 'c' },
		{ "save", required_argument, NULL, 'o' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			m->seed = strtoull(optarg, NULL, 0);
		else if (option == 'n')
			*ops = strtoull(optarg, NULL, 0);
		else if (option == 'l')
			m->limit = strtoull(optarg, NULL, 0);
		else if (option == 'c')
			m->block = strtoull(optarg, NULL, 0);
		else if (option == 'o')
			*saved = optarg;
		else
			return false;
	}
	m->path = argv[optind];
	return optind == argc - 1;
}

int main(int argc, char **argv)
{
	struct model m = { .op = "start", .seed = time(NULL), .limit = 64UL << 20 };
	uint64_t ops = 200000;
	const char *saved = NULL;

	if (!read_options(&m, argc, argv, &ops, &saved)) {
		fputs("usage: model [--seed N] [--ops N] [--limit BYTES | --container BLOCK] "
		      "[--save FILE] DISK\n",
		      stderr);
		return 2;
	}
	printf("seed %" PRIu64 "\n", m.seed);
	fflush(stdout);
	m.random = m.seed;
	m.memory = memory_of(&m, MAX_IO + PAGE);
	open_all(&m);
	load(&m);
	try_unaligned_direct(&m);
	for (m.step = 1; m.step <= ops; m.step++)
		do_any(&m);
	compare_all(&m);
	if (saved)
		save(&m, saved);
	close_all(&m);
	printf("%" PRIu64 " operations, %" PRIu64 " bytes at the end\n", ops, m.size);
	return 0;
}

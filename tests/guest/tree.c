/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tree of files that follows from the seed: whole and sparse ones, some written twice, renamed or
 * deleted, some synced, some not. Verified by rendering each file again and comparing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "work.h"

#define FILES 128
#define FILES_PER_DIR 16
#define MAX_FILE (1024 * 1024)
#define CHUNK_SECTORS 64 /* a hole in a sparse file, or a part that is written again */

struct file {
	char path[96]; /* relative to the tree */
	uint64_t id;
	size_t size;
	bool deleted, sparse, rewritten, renamed;
};

static uint64_t rendered[MAX_FILE / 8]; /* a file as it must be */
static uint64_t found[MAX_FILE / 8];    /* a file as it is */

static struct file file_of(uint64_t seed, int number)
{
	uint64_t random = mix(seed) + number;
	struct file file = { .id = number };

	/* Many small ones; the sizes are not whole sectors. */
	file.size = 1 + next_random(&random) % (MAX_FILE >> next_random(&random) % 6);
	file.deleted = next_random(&random) % 6 == 0;
	file.sparse = next_random(&random) % 4 == 0;
	file.rewritten = next_random(&random) % 4 == 0;
	file.renamed = next_random(&random) % 4 == 0;
	snprintf(file.path, sizeof(file.path), "dir%d/file%d%s", number / FILES_PER_DIR, number,
		 file.renamed ? ".renamed" : "");
	return file;
}

static bool in_odd_chunk(size_t sector)
{
	return sector / CHUNK_SECTORS % 2;
}

/* Rounded up to sectors. */
static void render_file(const struct file *file, uint64_t seed)
{
	for (size_t i = 0; i * SECTOR < file->size; i++) {
		uint64_t *sector = rendered + i * WORDS;
		bool odd = in_odd_chunk(i);

		if (file->sparse && odd)
			memset(sector, 0, SECTOR);
		else
			fill_sector(sector, seed, file->id << 32 | i * SECTOR,
				    file->rewritten && !odd ? 2 : 1);
	}
}

static bool tree_failed(const char *what, const char *path)
{
	complain("%s %s: %s", what, path, strerror(errno));
	return false;
}

/* Chunk by chunk, so that holes stay holes. */
static bool write_rendered(int fd, const struct file *file)
{
	const size_t chunk = CHUNK_SECTORS * SECTOR;

	for (size_t at = 0; at < file->size; at += chunk) {
		size_t length = file->size - at < chunk ? file->size - at : chunk;

		if (file->sparse && in_odd_chunk(at / SECTOR))
			continue;
		if (pwrite(fd, (const char *)rendered + at, length, at) != (ssize_t)length)
			return false;
	}
	return ftruncate(fd, file->size) == 0;
}

static bool write_once(const char *path, const struct file *file, uint64_t seed)
{
	int fd = open(path, O_RDWR | O_CREAT, 0644);
	bool good;

	if (fd < 0)
		return tree_failed("create", path);
	render_file(file, seed);
	good = write_rendered(fd, file) && (file->id % 8 || !fsync(fd));
	if (close(fd) || !good)
		return tree_failed("write", path);
	return true;
}

static bool tree_write_file(const struct file *file, uint64_t seed)
{
	const char *first_path = file->renamed ? "renamed-later" : file->path;
	struct file first = *file;

	first.rewritten = false;
	if (!write_once(first_path, &first, seed))
		return false;
	if (file->rewritten && !write_once(first_path, file, seed))
		return false;
	if (file->renamed && rename(first_path, file->path))
		return tree_failed("rename to", file->path);
	return true;
}

static bool tree_verify_file(const struct file *file, uint64_t seed)
{
	int fd = open(file->path, O_RDONLY);
	ssize_t size;

	if (file->deleted) {
		if (fd < 0 && errno == ENOENT)
			return true;
		complain("%s is there again", file->path);
		return false;
	}
	if (fd < 0)
		return tree_failed("open", file->path);
	size = pread(fd, found, MAX_FILE, 0);
	close(fd);
	if (size < 0)
		return tree_failed("read", file->path);
	render_file(file, seed);
	if ((size_t)size != file->size || memcmp(found, rendered, size)) {
		complain("%s is not what was written", file->path);
		return false;
	}
	return true;
}

static bool tree_enter(const char *dir)
{
	return chdir(dir) ? tree_failed("enter", dir) : true;
}

static bool tree_make_dirs(void)
{
	char name[32];

	for (int i = 0; i < FILES; i += FILES_PER_DIR) {
		snprintf(name, sizeof(name), "dir%d", i / FILES_PER_DIR);
		if (mkdir(name, 0755) && errno != EEXIST)
			return tree_failed("mkdir", name);
	}
	return true;
}

/* Last, so that what they occupied is free for a trim. */
static bool tree_delete_files(uint64_t seed)
{
	for (int i = 0; i < FILES; i++) {
		struct file file = file_of(seed, i);

		if (file.deleted && unlink(file.path))
			return tree_failed("unlink", file.path);
	}
	return true;
}

bool do_tree_write(const char *dir, uint64_t seed)
{
	if (!tree_enter(dir) || !tree_make_dirs())
		return false;
	for (int i = 0; i < FILES; i++) {
		struct file file = file_of(seed, i);

		if (!tree_write_file(&file, seed))
			return false;
	}
	return tree_delete_files(seed);
}

bool do_tree_verify(const char *dir, uint64_t seed)
{
	uint64_t bytes = 0;

	if (!tree_enter(dir))
		return false;
	for (int i = 0; i < FILES; i++) {
		struct file file = file_of(seed, i);

		tree_verify_file(&file, seed);
		bytes += file.deleted ? 0 : file.size;
	}
	printf("files=%d bytes=%" PRIu64 "\n", FILES, bytes);
	return complaint_count() == 0;
}

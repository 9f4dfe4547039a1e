// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * recorder MOUNTPOINT IMAGE LOG: a file `device` that holds what IMAGE does, and LOG has what is written to it, and its
 * flushes, in their order, before they are answered. So the length of LOG is a moment: what was answered until then is
 * below it.
 *
 * recorder --cut OUT LOG END SEED SECTOR: OUT is what IMAGE was before LOG, and becomes what a device may have whose power went
 * when LOG had END bytes: all until its last flush, and of what came later any sectors of so many bytes.
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "random.h"

#define DEVICE "/device"
#define BUFFER (1 << 20)

enum { WRITE = 1, ZEROS, FLUSH };

struct entry {
	uint64_t kind, offset, length; /* WRITE: then so many bytes */
};

static int image, record;

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static int write_all(int fd, const void *bytes, size_t length, off_t offset)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = offset < 0 ? write(fd, (const char *)bytes + done, length - done)
				       : pwrite(fd, (const char *)bytes + done, length - done,
						offset + (off_t)done);

		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

static int zero(int fd, uint64_t offset, uint64_t length)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
			 (off_t)length)
		       ? -errno
		       : 0;
}

/* Done, then written down; one after the other. */
static int change(struct entry e, const void *bytes)
{
	size_t follow = e.kind == WRITE ? e.length : 0;
	int err = 0;

	if (e.kind == WRITE)
		err = write_all(image, bytes, e.length, (off_t)e.offset);
	else if (e.kind == ZEROS)
		err = zero(image, e.offset, e.length);
	if (!err)
		err = write_all(record, &e, sizeof(e), -1);
	if (!err)
		err = write_all(record, bytes, follow, -1);
	return err;
}

static int get(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	if (!strcmp(path, "/")) {
		st->st_mode = S_IFDIR | 0755;
		st->st_nlink = 2;
		return 0;
	}
	if (strcmp(path, DEVICE))
		return -ENOENT;
	if (fstat(image, st))
		return -errno;
	st->st_mode = S_IFREG | 0600;
	st->st_nlink = 1;
	return 0;
}

static int list(const char *path, void *buf, fuse_fill_dir_t fill, off_t offset,
		struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	fill(buf, DEVICE + 1, NULL, 0, 0);
	return 0;
}

/* Nothing of it in a page cache that would be written later, or never. */
static int open_it(const char *path, struct fuse_file_info *fi)
{
	fi->direct_io = 1;
	return strcmp(path, DEVICE) ? -ENOENT : 0;
}

static int read_it(const char *path, char *buf, size_t length, off_t offset,
		   struct fuse_file_info *fi)
{
	ssize_t n = pread(image, buf, length, offset);

	return n < 0 ? -errno : (int)n;
}

static int write_it(const char *path, const char *buf, size_t length, off_t offset,
		    struct fuse_file_info *fi)
{
	int err = change((struct entry){ WRITE, (uint64_t)offset, length }, buf);

	return err ? err : (int)length;
}

static int flush_it(const char *path, int datasync, struct fuse_file_info *fi)
{
	return change((struct entry){ .kind = FLUSH }, NULL);
}

static int zero_it(const char *path, int mode, off_t offset, off_t length,
		   struct fuse_file_info *fi)
{
	if (!(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		return -EOPNOTSUPP;
	return change((struct entry){ ZEROS, (uint64_t)offset, (uint64_t)length }, NULL);
}

static int serve(char *mount_point, const char *image_path, const char *log_path)
{
	static const struct fuse_operations operations = {
		.getattr = get,
		.readdir = list,
		.open = open_it,
		.read = read_it,
		.write = write_it,
		.fsync = flush_it,
		.fallocate = zero_it,
	};
	char name[] = "recorder", foreground[] = "-f", one_thread[] = "-s";
	char *args[] = { name, foreground, one_thread, mount_point, NULL };

	image = open(image_path, O_RDWR | O_CLOEXEC);
	record = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (image < 0 || record < 0)
		die("recorder");
	return fuse_main(4, args, &operations, NULL);
}

static uint64_t sector;

/* All of it, or of each of its sectors what `some` says of a hundred. */
static void play(int out, const struct entry *e, const char *bytes, uint64_t *seed, unsigned some)
{
	for (uint64_t at = 0; at < e->length;) {
		uint64_t step = some >= 100 ? e->length : sector;

		if (step > e->length - at)
			step = e->length - at;
		if (some >= 100 || random_below(seed, 100) < some) {
			int err = e->kind == WRITE ? write_all(out, bytes + at, step,
							       (off_t)(e->offset + at))
						   : zero(out, e->offset + at, step);

			if (err)
				die("recorder: playing");
		}
		at += step;
	}
}

static int cut(const char *out_path, const char *log_path, uint64_t end, uint64_t seed)
{
	static const unsigned parts[] = { 0, 10, 50, 90, 100 };
	int out = open(out_path, O_RDWR | O_CLOEXEC);
	int from = open(log_path, O_RDONLY | O_CLOEXEC);
	uint64_t flushed = 0, left = 0;
	struct stat st;
	const char *all;

	if (out < 0 || from < 0 || fstat(from, &st))
		die("recorder");
	if (end > (uint64_t)st.st_size)
		end = (uint64_t)st.st_size;
	all = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, from, 0);
	if (all == MAP_FAILED)
		die("recorder");
	for (int pass = 0; pass < 2; pass++)
		for (uint64_t at = 0, next; at + sizeof(struct entry) <= end; at = next) {
			struct entry e;

			memcpy(&e, all + at, sizeof(e));
			next = at + sizeof(e) + (e.kind == WRITE ? e.length : 0);
			if (next > end)
				break;
			if (!pass && e.kind == FLUSH)
				flushed = at;
			if (!pass || e.kind == FLUSH)
				continue;
			left += at > flushed;
			/* Whole writes are missing more often than parts of one. */
			play(out, &e, all + at + sizeof(e), &seed,
			     at < flushed
				     ? 100
				     : parts[random_below(&seed, sizeof(parts) / sizeof(*parts))]);
		}
	printf("%ju changes after the last flush\n", (uintmax_t)left);
	return close(out) ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc == 7 && !strcmp(argv[1], "--cut")) {
		sector = strtoull(argv[6], NULL, 10);
		return cut(argv[2], argv[3], strtoull(argv[4], NULL, 10),
			   strtoull(argv[5], NULL, 10));
	}
	if (argc == 4)
		return serve(argv[1], argv[2], argv[3]);
	fprintf(stderr, "recorder MOUNTPOINT IMAGE LOG | --cut OUT LOG END SEED SECTOR\n");
	return 2;
}

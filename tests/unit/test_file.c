// SPDX-License-Identifier: GPL-2.0-or-later
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "unit.h"

#define SIZE (256u << 10)

static int dirfd_;
static char *buf, *back;

static void setup(void)
{
	dirfd_ = open(unit_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(dirfd_, 0);
	buf = aligned_alloc(4096, SIZE);
	back = aligned_alloc(4096, SIZE);
	memset(buf, 'b', SIZE);
	memset(back, 0, SIZE);
}

static void teardown(void)
{
	close(dirfd_);
	free(buf);
	free(back);
}

static void make(const char *name, off_t size)
{
	int fd = openat(dirfd_, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	close(fd);
}

static struct file *opened(const char *name)
{
	bool ro = false;
	struct file *f;

	ck_assert_int_eq(file_open(dirfd_, name, &ro, &f), 0);
	ck_assert(!ro);
	return f;
}

static int refused(const char *name)
{
	struct file *f = NULL;
	bool ro = false;
	int err = file_open(dirfd_, name, &ro, &f);

	ck_assert_ptr_null(f);
	return err;
}

START_TEST(only_regular_files_with_one_name)
{
	make("a", 512);
	ck_assert_int_eq(symlinkat("a", dirfd_, "link"), 0);
	ck_assert_int_eq(symlinkat("nothing", dirfd_, "dangling"), 0);
	ck_assert_int_eq(mkdirat(dirfd_, "dir", 0700), 0);
	ck_assert_int_eq(mkfifoat(dirfd_, "fifo", 0600), 0);
	ck_assert_int_eq(refused("link"), -ELOOP);
	ck_assert_int_eq(refused("dangling"), -ELOOP);
	ck_assert_int_lt(refused("dir"), 0);
	ck_assert_int_lt(refused("."), 0);
	ck_assert_int_eq(refused("fifo"), -EINVAL);
	ck_assert_int_eq(refused("nothing"), -ENOENT);
	ck_assert_int_eq(linkat(dirfd_, "a", dirfd_, "b", 0), 0);
	ck_assert_int_eq(refused("a"), -EMLINK);
}
END_TEST

START_TEST(reads_and_writes)
{
	/* Aligned and not, direct and not, durable at once and not: always the same bytes. */
	static const struct {
		size_t len;
		uint64_t off;
		unsigned io;
		size_t shift; /* of the buffer */
	} list[] = {
		{ 4096, 0, IO_DIRECT, 0 },       { 4096, 4096, 0, 0 },
		{ 1000, 77, IO_DIRECT, 0 },      { 4096, 8192, IO_DIRECT, 1 },
		{ 65536, 16384, IO_DIRECT, 0 },  { 512, 12288, IO_DIRECT | IO_DSYNC, 0 },
		{ 100, SIZE - 50, IO_DSYNC, 0 }, { 8192, SIZE + 4096, IO_DIRECT, 0 },
		{ 1, 2 * SIZE, 0, 3 },
	};
	struct file *f;

	make("a", SIZE);
	f = opened("a");
	for (size_t i = 0; i < UNIT_LENGTH(list); i++) {
		memset(buf, 'A' + (int)i, SIZE);
		ck_assert_int_eq(f->ops->write(f, buf + list[i].shift, list[i].len, list[i].off,
					       list[i].io),
				 0);
		for (unsigned direct = 0; direct <= IO_DIRECT; direct += IO_DIRECT) {
			memset(back, 0, SIZE);
			ck_assert_int_eq(f->ops->read(f, back + list[i].shift, list[i].len,
						      list[i].off, direct),
					 0);
			ck_assert(!memcmp(buf, back + list[i].shift, list[i].len));
		}
	}
	ck_assert_int_eq(f->ops->flush(f), 0);
	f->ops->close(f);
}
END_TEST

START_TEST(a_read_past_the_end_fails)
{
	struct file *f;

	make("a", 5000);
	f = opened("a");
	ck_assert_int_eq(f->ops->read(f, back, 5000, 0, 0), 0);
	ck_assert_int_eq(f->ops->read(f, back, 5001, 0, 0), -EIO);
	ck_assert_int_eq(f->ops->read(f, back, 8192, 0, IO_DIRECT), -EIO);
	ck_assert_int_eq(f->ops->read(f, back, 4096, 1 << 20, IO_DIRECT), -EIO);
	f->ops->close(f);
}
END_TEST

static void stat_of(struct file *f, struct file_stat *st)
{
	ck_assert_int_eq(f->ops->stat(f, st), 0);
}

START_TEST(zeros_and_space)
{
	struct file_stat full, st;
	struct file *f;

	make("a", SIZE);
	f = opened("a");
	ck_assert_int_eq(f->ops->write(f, buf, SIZE, 0, 0), 0);
	ck_assert_int_eq(f->ops->flush(f), 0);
	stat_of(f, &full);
	ck_assert_int_eq(f->ops->zero(f, 1000, SIZE - 1000, ZERO_KEEP), 0);
	ck_assert_int_eq(f->ops->read(f, back, SIZE, 0, 0), 0);
	ck_assert(back[999] == 'b' && !back[1000] && !back[SIZE - 1]);
	stat_of(f, &st);
	ck_assert_uint_ge(st.allocated, full.allocated);
	ck_assert_int_eq(f->ops->zero(f, 0, SIZE, ZERO_PUNCH), 0);
	stat_of(f, &st);
	ck_assert_uint_lt(st.allocated, full.allocated);
	ck_assert_uint_eq(st.size, SIZE);
	ck_assert_int_eq(f->ops->read(f, back, 1000, 0, IO_DIRECT), 0);
	ck_assert(!back[0] && !back[999]);
	f->ops->close(f);
}
END_TEST

static void zero_past_the_end(struct file *f, enum zero_mode mode)
{
	struct file_stat st;

	ck_assert_int_eq(f->ops->resize(f, 8192), 0);
	ck_assert_int_eq(f->ops->write(f, buf, 8192, 0, 0), 0);
	ck_assert_int_eq(f->ops->zero(f, 4096, 65536, mode), 0);
	stat_of(f, &st);
	ck_assert_uint_eq(st.size, 8192);
	ck_assert_int_eq(f->ops->read(f, back, 8192, 0, 0), 0);
	ck_assert(back[4095] == 'b' && !back[4096] && !back[8191]);
}

START_TEST(zeros_never_grow_the_file)
{
	struct file *f;

	make("a", 8192);
	f = opened("a");
	zero_past_the_end(f, ZERO_PUNCH);
	zero_past_the_end(f, ZERO_KEEP);
	f->ops->close(f);
}
END_TEST

/* A file system that has no ZERO_RANGE: zeros are written there. */
START_TEST(zeros_on_tmpfs)
{
	int fd = memfd_create("tandemfs-test", MFD_CLOEXEC);
	struct file *f;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(file_adopt(fd, false, &f), 0);
	zero_past_the_end(f, ZERO_PUNCH);
	zero_past_the_end(f, ZERO_KEEP);
	f->ops->close(f);
}
END_TEST

START_TEST(allocates_and_resizes)
{
	struct file_stat st;
	struct file *f;

	make("a", 4096);
	f = opened("a");
	ck_assert_int_eq(f->ops->allocate(f, 0, SIZE, false), 0);
	stat_of(f, &st);
	ck_assert_uint_eq(st.size, 4096);
	ck_assert_uint_ge(st.allocated, SIZE);
	ck_assert_int_eq(f->ops->allocate(f, 0, SIZE, true), 0);
	stat_of(f, &st);
	ck_assert_uint_eq(st.size, SIZE);
	ck_assert_int_eq(f->ops->allocate(f, 0, 0, true), -EINVAL);
	ck_assert_int_eq(f->ops->resize(f, 100), 0);
	stat_of(f, &st);
	ck_assert_uint_eq(st.size, 100);
	ck_assert_uint_eq(st.nlink, 1);
	ck_assert_uint_eq(st.mode, S_IFREG | 0644);
	ck_assert_int_lt(f->ops->resize(f, UINT64_MAX), 0);
	f->ops->close(f);
}
END_TEST

START_TEST(seeks)
{
	uint64_t at = 7;
	struct file *f;

	make("a", SIZE);
	f = opened("a");
	ck_assert_int_eq(f->ops->seek(f, 0, SEEK_DATA, &at), -ENXIO);
	ck_assert_uint_eq(at, 7);
	ck_assert_int_eq(f->ops->write(f, buf, 4096, 65536, 0), 0);
	ck_assert_int_eq(f->ops->seek(f, 0, SEEK_DATA, &at), 0);
	ck_assert_uint_eq(at, 65536);
	ck_assert_int_eq(f->ops->seek(f, 65536, SEEK_HOLE, &at), 0);
	ck_assert_uint_eq(at, 65536 + 4096);
	ck_assert_int_eq(f->ops->seek(f, SIZE, SEEK_HOLE, &at), -ENXIO);
	f->ops->close(f);
}
END_TEST

START_TEST(asked_for_reading_only)
{
	bool ro = true;
	struct file *f;

	make("a", SIZE);
	ck_assert_int_eq(file_open(dirfd_, "a", &ro, &f), 0);
	ck_assert(ro);
	ck_assert_int_eq(f->ops->read(f, back, 4096, 0, IO_DIRECT), 0);
	ck_assert_int_eq(f->ops->write(f, buf, 4096, 0, 0), -EBADF);
	ck_assert_int_eq(f->ops->write(f, buf, 4096, 0, IO_DIRECT), -EBADF);
	f->ops->close(f);
}
END_TEST

static bool set_immutable(const char *name, bool on)
{
	int fd = openat(dirfd_, name, O_RDONLY | O_CLOEXEC), flags;
	bool done = !ioctl(fd, FS_IOC_GETFLAGS, &flags);

	if (done) {
		flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
		done = !ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
	close(fd);
	return done;
}

START_TEST(what_cannot_be_written_is_read_only)
{
	bool ro = false;
	struct file *f;
	int err;

	make("a", SIZE);
	if (!set_immutable("a", true))
		return; /* not root, or a file system without such a flag */
	err = file_open(dirfd_, "a", &ro, &f);
	set_immutable("a", false);
	ck_assert_int_eq(err, 0);
	ck_assert(ro);
	f->ops->close(f);
}
END_TEST

START_TEST(a_full_file_system_says_so)
{
	/* /dev/full is no file of ours, but fails like one. */
	int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	struct file *f;

	ck_assert_int_eq(file_adopt(fd, false, &f), 0);
	ck_assert_int_eq(f->ops->write(f, buf, 4096, 0, 0), -ENOSPC);
	ck_assert_int_eq(file_fd(f), fd);
	f->ops->close(f);
}
END_TEST

/* ---- errors of write-back ---- */

/* One that happened, and who was told: each open file is once, by whatever asks. */
static bool lost, told_of[1024], without_direct;
static struct file *
	meanwhile; /* its write-back fails, and it is flushed while somebody waits for it, or is not */
static bool flushes;
static int flushed;

static int ask(int fd)
{
	if (!lost || told_of[fd])
		return 0;
	told_of[fd] = true;
	errno = EIO;
	return -1;
}

int sync_file_range(int fd, off64_t off, off64_t len, unsigned flags)
{
	int err = 0;

	lost |= meanwhile != NULL;
	if (flags & (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER))
		err = ask(fd);
	if (meanwhile && flushes)
		flushed = meanwhile->ops->flush(meanwhile);
	errno = EIO;
	return err;
}

int fdatasync(int fd)
{
	return ask(fd);
}

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict sx)
{
	errno = ENOSYS;
	if (without_direct) { /* as a file system says it that has none: an alignment of 0 */
		memset(sx, 0, sizeof(*sx));
		sx->stx_mask = mask;
		return 0;
	}
	return syscall(SYS_statx, fd, path, flags, mask, sx);
}

static void lose_in_write_back(const char *name, bool direct, bool flush)
{
	struct file *f;

	lost = false;
	memset(told_of, 0, sizeof(told_of));
	without_direct = !direct;
	make(name, SIZE);
	f = opened(name);
	meanwhile = f;
	flushes = flush;
	flushed = 0;
	f->ops->write(f, buf, SIZE, 0, IO_COPY);
	meanwhile = NULL;
	ck_assert_int_eq(flushed, flush ? -EIO : 0);
	ck_assert_int_eq(f->ops->flush(f), -EIO);
	/* It is not told of once more. */
	f->ops->forgive(f);
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_int_eq(f->ops->write(f, buf, SIZE, 0, IO_COPY), 0);
	ck_assert_int_eq(f->ops->flush(f), 0);
	f->ops->close(f);
}

/* Nor is a copy told of what a flush was. */
START_TEST(a_copy_after_a_flush_that_fails)
{
	struct file *f;

	make("image", SIZE);
	f = opened("image");
	lost = true;
	ck_assert_int_eq(f->ops->flush(f), -EIO);
	f->ops->forgive(f);
	ck_assert_int_eq(f->ops->write(f, buf, SIZE, 0, IO_COPY), 0);
	ck_assert_int_eq(f->ops->flush(f), 0);
	f->ops->close(f);
}
END_TEST

START_TEST(a_flush_beside_write_back_that_fails)
{
	lose_in_write_back("direct", true, true);
	lose_in_write_back("cached", false, true);
	lose_in_write_back("direct before", true, false);
	lose_in_write_back("cached before", false, false);
}
END_TEST

UNIT_MAIN("file", setup, teardown, only_regular_files_with_one_name, reads_and_writes,
	  a_read_past_the_end_fails, zeros_and_space, zeros_never_grow_the_file, zeros_on_tmpfs,
	  allocates_and_resizes, seeks, asked_for_reading_only, what_cannot_be_written_is_read_only,
	  a_full_file_system_says_so, a_copy_after_a_flush_that_fails,
	  a_flush_beside_write_back_that_fails)

// SPDX-License-Identifier: GPL-2.0-or-later
#include "rings.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "fake_file.h"
#include "raw.h"
#include "unit.h"

#define BLOCK 4096u
#define BLOCKS 256u
#define THREADS 4

static struct rings *rings;
static struct image *img;
static int backing;
static char *content, *back;

static struct image *opened(struct file *f)
{
	char reason[IMAGE_REASON];
	struct image_around none = { 0 };
	struct image *out;

	ck_assert_int_eq(image_open(f, &raw_format, &none, &out, reason), 0);
	return out;
}

static void setup(void)
{
	char path[4200];
	struct file *f;
	int err = rings_new(-1, &rings);

	if (err)
		rings = NULL; /* everything is to work without, too */
	snprintf(path, sizeof(path), "%s/x", unit_dir());
	backing = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(backing, 0);
	ck_assert_int_eq(ftruncate(backing, BLOCKS * BLOCK), 0);
	ck_assert_int_eq(file_adopt(dup(backing), false, &f), 0);
	img = opened(f);
	content = aligned_alloc(BLOCK, BLOCKS * BLOCK);
	back = aligned_alloc(BLOCK, BLOCKS * BLOCK);
	for (size_t i = 0; i < BLOCKS * BLOCK; i++)
		content[i] = i / BLOCK * 7 + i % 251;
	memset(back, 0, BLOCKS * BLOCK);
}

static void teardown(void)
{
	image_close(img);
	rings_free(rings);
	close(backing);
	free(content);
	free(back);
}

static struct image_request request(bool write, size_t block, char *buf, unsigned io)
{
	return (struct image_request){ .image = img,
				       .write = write,
				       .buf = buf + block * BLOCK,
				       .len = BLOCK,
				       .off = block * BLOCK,
				       .io = io,
				       .err = -EDOM };
}

static void fill(struct image_request *all, bool write, char *buf, unsigned io)
{
	for (size_t i = 0; i < BLOCKS; i++)
		all[i] = request(write, i, buf, io);
}

static void check_all(const struct image_request *all, int err)
{
	for (size_t i = 0; i < BLOCKS; i++)
		ck_assert_int_eq(all[i].err, err);
}

static void write_and_read(struct rings *r, unsigned io)
{
	struct image_request all[BLOCKS];

	fill(all, true, content, io);
	rings_do(r, all, BLOCKS);
	check_all(all, 0);
	ck_assert_int_eq(pread(backing, back, BLOCKS * BLOCK, 0), BLOCKS * BLOCK);
	ck_assert(!memcmp(back, content, BLOCKS * BLOCK));
	memset(back, 0, BLOCKS * BLOCK);
	fill(all, false, back, io);
	rings_do(r, all, BLOCKS);
	check_all(all, 0);
	ck_assert(!memcmp(back, content, BLOCKS * BLOCK));
}

/* More than a ring takes at once. */
START_TEST(all_of_many)
{
	write_and_read(rings, IO_DIRECT);
}
END_TEST

START_TEST(cached_ones_and_no_rings)
{
	write_and_read(rings, 0);
	ck_assert_int_eq(ftruncate(backing, 0), 0);
	ck_assert_int_eq(ftruncate(backing, BLOCKS * BLOCK), 0);
	write_and_read(NULL, IO_DIRECT);
}
END_TEST

/* One that fails is no trouble of the others'. */
START_TEST(each_has_its_own_result)
{
	struct image_request all[BLOCKS];

	fill(all, true, content, IO_DIRECT);
	rings_do(rings, all, BLOCKS);
	ck_assert_int_eq(ftruncate(backing, 3 * BLOCK), 0); /* somebody else did */
	fill(all, false, back, IO_DIRECT);
	rings_do(rings, all, BLOCKS);
	for (size_t i = 0; i < BLOCKS; i++)
		ck_assert_int_eq(all[i].err, i < 3 ? 0 : -EIO);
	ck_assert(!memcmp(back, content, 3 * BLOCK));
}
END_TEST

START_TEST(what_does_not_fit_goes_its_own_way)
{
	struct image_request odd[4] = {
		request(true, 1, content, IO_DIRECT),
		request(true, 2, content, IO_DIRECT),
		request(true, BLOCKS, content, IO_DIRECT), /* it grows */
		request(true, 5, content, IO_DIRECT),
	};

	odd[0].len = 100;  /* no direct request */
	odd[1].buf = NULL; /* a hole */
	odd[2].buf = content;
	ck_assert_int_eq(pwrite(backing, content, BLOCKS * BLOCK, 0), BLOCKS * BLOCK);
	ck_assert(!rings_take(rings, &odd[0]));
	ck_assert(!rings_take(rings, &odd[1]));
	ck_assert(!rings_take(rings, &odd[2]));
	ck_assert(rings_take(rings, &odd[3]) == (rings != NULL));
	ck_assert(!rings_take(NULL, &odd[3]));
	rings_do(rings, odd, 4);
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(odd[i].err, 0);
	ck_assert_uint_eq(img->size, (BLOCKS + 1) * BLOCK);
	memset(content + 2 * BLOCK, 0, BLOCK);
	ck_assert_int_eq(pread(backing, back, BLOCKS * BLOCK, 0), BLOCKS * BLOCK);
	ck_assert(!memcmp(back, content, BLOCKS * BLOCK));
}
END_TEST

START_TEST(a_file_that_is_none)
{
	struct image_request all[BLOCKS];
	struct image *real = img;

	img = opened(fake_file_new(NULL, BLOCKS * BLOCK));
	fill(all, true, content, IO_DIRECT);
	ck_assert(!rings_take(rings, &all[0]));
	rings_do(rings, all, BLOCKS);
	check_all(all, 0);
	fill(all, false, back, IO_DIRECT);
	rings_do(rings, all, BLOCKS);
	ck_assert(!memcmp(back, content, BLOCKS * BLOCK));
	image_close(img);
	img = real;
}
END_TEST

static void *work(void *arg)
{
	struct image_request all[BLOCKS / THREADS];
	size_t first = (size_t)(uintptr_t)arg * (BLOCKS / THREADS);

	for (unsigned round = 0; round < unit_scaled(50); round++) {
		for (size_t i = 0; i < BLOCKS / THREADS; i++)
			all[i] = request(round % 2 == 0, first + i, round % 2 ? back : content,
					 IO_DIRECT);
		rings_do(rings, all, BLOCKS / THREADS);
		for (size_t i = 0; i < BLOCKS / THREADS; i++)
			ck_assert_int_eq(all[i].err, 0);
		if (round % 2)
			ck_assert(!memcmp(back + first * BLOCK, content + first * BLOCK,
					  BLOCKS / THREADS * BLOCK));
	}
	return NULL;
}

START_TEST(threads_at_once)
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, work, (void *)i), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

static bool is_free(void *arg)
{
	return !flock(*(int *)arg, LOCK_EX | LOCK_NB);
}

/* What is locked through it stays so, also when the descriptor is closed here; until the end. */
START_TEST(a_descriptor_stays_open)
{
	char path[4200];
	struct rings *holding;
	int fd, other;

	snprintf(path, sizeof(path), "%s/lock", unit_dir());
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	other = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
	if (rings_new(fd, &holding)) {
		close(other);
		close(fd);
		return; /* no io_uring: no request outlives us */
	}
	close(fd);
	ck_assert(!is_free(&other));
	rings_free(holding);
	ck_assert(is_free(&other));
	close(other);
}
END_TEST

START_TEST(it_can_be_told_not_to)
{
	struct rings *none = NULL;

	setenv("TANDEMFS_IO_URING", "off", 1);
	ck_assert_int_eq(rings_new(-1, &none), -ENOSYS);
	ck_assert_ptr_null(none);
	rings_free(none);
}
END_TEST

UNIT_MAIN("rings", setup, teardown, all_of_many, cached_ones_and_no_rings, each_has_its_own_result,
	  what_does_not_fit_goes_its_own_way, a_file_that_is_none, threads_at_once,
	  a_descriptor_stays_open, it_can_be_told_not_to)

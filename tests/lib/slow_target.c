// SPDX-License-Identifier: GPL-2.0-or-later
#include "slow_target.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pairs_inner.h"
#include "unit.h"

static _Atomic ino_t target_file; /* 0: writes of it are like others */
static _Atomic ino_t bad_file;    /* another one, that cannot be written; or 0 */
static atomic_bool fails;
static atomic_bool is_dirty; /* it was written since it was flushed last */
static atomic_uint delay_us; /* at most */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static bool shut;
static size_t held; /* what is shorter is */
static atomic_uint waiting;

#define OURS __attribute__((visibility("default")))

OURS ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	static _Thread_local uint64_t mine;
	struct stat st;

	if (!atomic_load(&target_file) || fstat(fd, &st))
		return syscall(SYS_pwrite64, fd, buf, len, off);
	errno = EIO;
	if (st.st_ino == bad_file)
		return -1;
	if (st.st_ino != target_file)
		return syscall(SYS_pwrite64, fd, buf, len, off);
	pthread_mutex_lock(&gate);
	atomic_fetch_add(&waiting, 1);
	while (shut && len < held)
		pthread_cond_wait(&opened, &gate);
	atomic_fetch_sub(&waiting, 1);
	pthread_mutex_unlock(&gate);
	mine = mine ? mine : (uintptr_t)&mine;
	if (atomic_load(&delay_us))
		usleep(unit_below(&mine, delay_us));
	errno = EIO;
	atomic_store(&is_dirty, true);
	return atomic_load(&fails) ? -1 : syscall(SYS_pwrite64, fd, buf, len, off);
}

OURS int fdatasync(int fd)
{
	struct stat st;

	if (atomic_load(&target_file) && !fstat(fd, &st) && st.st_ino == target_file)
		atomic_store(&is_dirty, false);
	return syscall(SYS_fdatasync, fd);
}

static void set_gate(bool to_shut, size_t most)
{
	pthread_mutex_lock(&gate);
	shut = to_shut;
	held = most;
	pthread_cond_broadcast(&opened);
	pthread_mutex_unlock(&gate);
}

void slow_gate(bool to_shut)
{
	set_gate(to_shut, SIZE_MAX);
}

void slow_gate_of_sent(bool to_shut)
{
	set_gate(to_shut, REGION);
}

unsigned slow_waiting(void)
{
	return atomic_load(&waiting);
}

void slow_delay(unsigned us)
{
	atomic_store(&delay_us, us);
}

void slow_fail(bool to_fail)
{
	atomic_store(&fails, to_fail);
}

void slow_break(ino_t other)
{
	atomic_store(&bad_file, other);
}

void break_marks(void)
{
	char name[40];
	struct stat st;

	snprintf(name, sizeof(name), ".tandem/pairs/%u", number);
	ck_assert_int_eq(stat(temp_path(name), &st), 0);
	atomic_store(&bad_file, st.st_ino);
}

bool slow_is_dirty(void)
{
	return atomic_load(&is_dirty);
}

void slow_watch(void)
{
	struct stat st;

	ck_assert_int_eq(stat(temp_path(facts().target), &st), 0);
	atomic_store(&target_file, st.st_ino);
}

void slow_mend(void)
{
	slow_gate(false);
	atomic_store(&delay_us, 0);
	atomic_store(&fails, false);
	atomic_store(&bad_file, 0);
	atomic_store(&target_file, 0);
}

void slow_end(void)
{
	slow_mend();
	teardown();
}

static bool is_clean(void *unused)
{
	return !marks_any_active(the_pair()->leg.marks);
}

void synchronize(struct pair_request q)
{
	q.at_flush = true;
	change_much(source, 20);
	ck_assert_msg(!mirror("b.img", q), "%s", why.message);
	await(COPY_SYNCHRONIZED);
	/* The round after a copy waits for what is sent, and nothing is copied until it has ended. */
	ck_assert(unit_until(is_clean, NULL, 20));
	ck_assert(facts().at_flush);
	slow_watch();
}

struct pair *the_pair(void)
{
	return pair_of_number(temp.t->pairs, number);
}

bool files_are_same(uint64_t off, size_t len)
{
	char *a = malloc(len), *b = malloc(len);
	int fd[2] = { open(temp_path("a.img"), O_RDONLY), open(temp_path("b.img"), O_RDONLY) };
	bool same;

	ck_assert_int_eq(pread(fd[0], a, len, off), len);
	ck_assert_int_eq(pread(fd[1], b, len, off), len);
	same = !memcmp(a, b, len);
	close(fd[0]);
	close(fd[1]);
	free(a);
	free(b);
	return same;
}

bool somebody_waits(void *unused)
{
	return atomic_load(&waiting) > 0;
}

void write_regions(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		ck_assert_int_eq(change(source, i * REGION, 4096), 0);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

START_TEST(opens_and_locks)
{
	struct pool *a, *b;
	struct why why = { 0 };
	struct pool_status status;
	struct stat st;

	ck_assert_int_eq(pool_new(7, "fast", unit_dir(), &a), 0);
	ck_assert_int_eq(pool_new(8, "also", a->dir, &b), 0);
	ck_assert_int_eq(a->dirfd, -1);
	ck_assert_int_eq(a->watch, -1);
	ck_assert_int_eq(pool_open(a, &why), 0);
	pool_status(a, &status);
	ck_assert(status.ready && !status.problem[0] && status.space_known && status.size);
	ck_assert_int_eq(fstat(a->dirfd, &st), 0);
	ck_assert(S_ISDIR(st.st_mode));
	ck_assert_int_ne(fcntl(a->dirfd, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(pool_open(b, &why), -EBUSY);
	ck_assert_int_eq(b->dirfd, -1);
	pool_status(b, &status);
	ck_assert(!status.ready && !status.space_known);
	ck_assert_str_eq(status.problem, why.message);
	ck_assert_ptr_nonnull(strstr(why.message, a->dir));
	/* The last reference gives the lock back. */
	ck_assert_ptr_eq(pool_ref(a), a);
	pool_unref(a);
	ck_assert_int_eq(pool_open(b, &why), -EBUSY);
	pool_unref(a);
	ck_assert_int_eq(pool_open(b, &why), 0);
	pool_unref(b);
	pool_unref(NULL);
}
END_TEST

START_TEST(what_is_not_there)
{
	struct why why = { 0 };
	char path[5000];
	struct pool *p;
	int fd;

	snprintf(path, sizeof(path), "%s/no", unit_dir());
	ck_assert_int_eq(pool_new(1, "p", path, &p), 0);
	ck_assert_int_eq(pool_open(p, &why), -ENOENT);
	ck_assert_ptr_nonnull(strstr(why.message, path));
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	ck_assert_int_eq(pool_open(p, &why), -ENOTDIR);
	ck_assert_int_eq(p->dirfd, -1);
	pool_unref(p);
}
END_TEST

START_TEST(is_known_by_its_marker)
{
	struct pool_id id = { 0 }, again = { 0 };
	struct pool_status status;
	struct why why = { 0 };
	struct pool *p;
	int fd;

	ck_assert_int_eq(pool_new(1, "p", unit_dir(), &p), 0);
	ck_assert_int_eq(pool_open(p, &why), 0);
	ck_assert_int_eq(pool_marker_read(p->dirfd, &id), -ENOENT);
	/* What who died in between has left. */
	fd = openat(p->dirfd, POOL_MARKER ".new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	ck_assert_int_eq(pool_marker_make(p->dirfd, &id), 0);
	ck_assert(pool_id_is_known(&id));
	ck_assert_int_eq(faccessat(p->dirfd, POOL_MARKER ".new", F_OK, 0), -1);
	ck_assert_int_eq(pool_marker_make(p->dirfd, &again), 0);
	ck_assert_mem_eq(&id, &again, sizeof(id));
	pool_close(p, "closed");
	pool_status(p, &status);
	ck_assert(!status.ready && !status.space_known);
	ck_assert_str_eq(status.problem, "closed");

	p->id = id;
	ck_assert_int_eq(pool_open(p, &why), 0);
	pool_close(p, "closed");
	p->id.bytes[3] ^= 1;
	ck_assert_int_eq(pool_open(p, &why), -ESTALE);
	ck_assert_int_eq(p->dirfd, -1);
	p->id = (struct pool_id){ 0 };
	ck_assert_int_eq(pool_open(p, &why), 0);
	fd = openat(p->dirfd, POOL_MARKER, O_WRONLY | O_APPEND | O_CLOEXEC);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	close(fd);
	ck_assert_int_eq(pool_marker_make(p->dirfd, &id), -EIO); /* what is no marker stays */
	pool_unref(p);
}
END_TEST

UNIT_MAIN("pool", NULL, NULL, opens_and_locks, what_is_not_there, is_known_by_its_marker)

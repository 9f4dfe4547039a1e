// SPDX-License-Identifier: GPL-2.0-or-later
#include "unit.h"

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEST_SECONDS 120

static char root[PATH_MAX];

static unsigned number_of(const char *variable, unsigned by_default)
{
	const char *s = getenv(variable);
	int n = s ? atoi(s) : 0;

	return n > 0 ? (unsigned)n : by_default;
}

unsigned unit_patience(void)
{
	return number_of("TANDEMFS_PATIENCE", 1);
}

unsigned unit_scaled(unsigned n)
{
	uint64_t scaled = (uint64_t)n * number_of("TANDEMFS_SCALE", 100) / 100;

	return scaled ? scaled : 1;
}

uint64_t unit_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

bool unit_until(bool (*is_true)(void *arg), void *arg, unsigned seconds)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	uint64_t end = unit_now_ms() + (uint64_t)seconds * unit_patience() * 1000;

	while (!is_true(arg)) {
		if (unit_now_ms() > end)
			return is_true(arg);
		nanosleep(&pause, NULL);
	}
	return true;
}

const char *unit_dir(void)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.*s/%d-XXXXXX", PATH_MAX - 32, root, getpid());
	ck_assert_ptr_nonnull(mkdtemp(path));
	return path;
}

uint64_t unit_random(uint64_t *seed)
{
	uint64_t x = *seed += 0x9e3779b97f4a7c15;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

uint64_t unit_below(uint64_t *seed, uint64_t bound)
{
	return unit_random(seed) % bound;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	remove(path);
	return 0;
}

void unit_remove(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static bool make_root(void)
{
	const char *dir = getenv("TMPDIR");

	snprintf(root, sizeof(root), "%s/tandemfs-unit-XXXXXX",
		 dir && dir[0] == '/' ? dir : "/tmp");
	return mkdtemp(root);
}

int unit_run(const char *name, void (*setup)(void), void (*teardown)(void),
	     const TTest *const *tests, size_t count)
{
	Suite *s = suite_create(name);
	TCase *c = tcase_create(name);
	SRunner *r;
	int failed;

	if (!make_root()) {
		perror(root);
		return EXIT_FAILURE;
	}
	if (setup)
		tcase_add_checked_fixture(c, setup, teardown);
	for (size_t i = 0; i < count; i++)
		tcase_add_test(c, tests[i]);
	tcase_set_timeout(c, TEST_SECONDS * unit_patience());
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	unit_remove(root);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

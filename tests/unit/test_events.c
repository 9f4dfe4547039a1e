// SPDX-License-Identifier: GPL-2.0-or-later
#include "events.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include "unit.h"

static int dirfd_;
static struct events *e;

static void open_them(void)
{
	ck_assert_int_eq(events_open(dirfd_, &e), 0);
}

static void setup(void)
{
	dirfd_ = open(unit_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	open_them();
}

static void teardown(void)
{
	events_close(e);
	close(dirfd_);
}

static void open_again(void)
{
	events_close(e);
	open_them();
}

static void emit(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		events_emit(e, EVENT_INFORMATION, "Word", "daemon", "N=%u", i);
}

static char *after(uint64_t seq, size_t max, uint64_t *last)
{
	size_t len;
	char *lines = events_after(e, seq, max, &len, last);

	ck_assert_uint_eq(len, lines ? strlen(lines) : 0);
	return lines;
}

static void put_file(const char *text)
{
	int fd = openat(dirfd_, "events", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

START_TEST(a_line)
{
	unsigned year, month, day, h, m, s, ms;
	uint64_t last;
	char *line;
	int end = 0;

	ck_assert_uint_eq(events_last(e), 0);
	ck_assert_ptr_null(after(0, 0, &last));
	ck_assert_uint_eq(last, 0);
	events_emit(e, EVENT_MAJOR, "DiskFailed", "disks/a b\n\\.img", "Error=%d Why=%s", 5, "x");
	line = after(0, 0, &last);
	ck_assert_uint_eq(last, 1);
	ck_assert_int_eq(sscanf(line, "1 %4u-%2u-%2uT%2u:%2u:%2u.%3uZ %n", &year, &month, &day, &h,
				&m, &s, &ms, &end),
			 7);
	ck_assert_str_eq(line + end,
			 "Major DiskFailed disks/a\\040b\\012\\134.img Error=5 Why=x\n");
	free(line);
	events_emit(e, EVENT_CRITICAL, "Word", "daemon", "%s", "");
	line = after(1, 0, &last);
	ck_assert_ptr_nonnull(strstr(line, "Z Critical Word daemon"));
	free(line);
}
END_TEST

START_TEST(words)
{
	char buf[40];

	ck_assert_str_eq(event_word(buf, sizeof(buf), "a b\tc\x7f\\d"), "a\\040b\\011c\\177\\134d");
	ck_assert_str_eq(event_word(buf, sizeof(buf), "\xc3\xa4\xff"), "\xc3\xa4\xff");
	ck_assert_str_eq(event_word(buf, sizeof(buf), ""), "");
	/* Never half of an escape, never past the end. */
	ck_assert_str_eq(event_word(buf, 4, "abcdef"), "abc");
	ck_assert_str_eq(event_word(buf, 4, "\nabc"), "");
	ck_assert_str_eq(event_word(buf, 5, "\nabc"), "\\012");
	ck_assert_str_eq(event_word(buf, 6, "a\n"), "a\\012");
	ck_assert_str_eq(event_word(buf, 5, "a\n"), "a");
	ck_assert_str_eq(event_word(buf, 1, "abc"), "");
}
END_TEST

START_TEST(as_many_as_fit)
{
	uint64_t last;
	char *all, *some;
	size_t line;

	emit(9); /* of one length */
	all = after(0, 0, &last);
	line = strlen(all) / 9;
	free(all);
	some = after(0, 3 * line + 1, &last);
	ck_assert_uint_eq(last, 3);
	ck_assert_uint_eq(strlen(some), 3 * line);
	free(some);
	some = after(3, 2 * line, &last);
	ck_assert_uint_eq(last, 5);
	ck_assert_int_eq(strncmp(some, "4 ", 2), 0);
	free(some);
	ck_assert_ptr_null(after(9, 0, &last));
	ck_assert_uint_eq(last, 9);
	/* Numbers that were never given. */
	ck_assert_ptr_null(after(12345, 0, &last));
	ck_assert_uint_eq(last, 12345);
	ck_assert_ptr_null(after(UINT64_MAX, 0, &last));
	ck_assert_uint_eq(last, UINT64_MAX);
}
END_TEST

START_TEST(stay_across_restarts)
{
	uint64_t last;
	char *before, *then;

	emit(5);
	before = after(0, 0, &last);
	open_again();
	ck_assert_uint_eq(events_last(e), 5);
	then = after(0, 0, &last);
	ck_assert_str_eq(before, then);
	emit(1);
	ck_assert_uint_eq(events_last(e), 6);
	free(before);
	free(then);
}
END_TEST

/* A line is in the file before anybody can have read it. */
START_TEST(survive_a_crash)
{
	struct events *other;

	emit(3);
	/* As a daemon that starts after this one was killed; ours has closed nothing. */
	ck_assert_int_eq(events_open(dirfd_, &other), 0);
	ck_assert_uint_eq(events_last(other), 3);
	events_close(other);
}
END_TEST

START_TEST(a_torn_line_ends_nothing)
{
	uint64_t last;
	char *lines;

	put_file("1 t Information A daemon\n2 t Information B daemon\n3 t Infor");
	open_again();
	ck_assert_uint_eq(events_last(e), 2);
	emit(1);
	open_again();
	ck_assert_uint_eq(events_last(e), 3);
	lines = after(2, 0, &last);
	ck_assert_ptr_nonnull(strstr(lines, "Word daemon N=0\n"));
	free(lines);
}
END_TEST

START_TEST(a_foreign_file)
{
	uint64_t last;
	char *lines, *big;

	put_file("hello\n\n 7 x\n-1 y\n7\n8 a\n9 b\n9 c\n3 d\n12 e\n13 f\n");
	open_again();
	ck_assert_uint_eq(events_last(e), 13);
	lines = after(0, 0, &last);
	/* After a gap: the run that leads to the end. */
	ck_assert_str_eq(lines, "12 e\n13 f\n");
	free(lines);
	big = malloc(100001);
	memset(big, 'x', 100000);
	memcpy(big, "1 ", 2);
	memcpy(big + 99990, "\n2 y\n3 z\n", 10);
	put_file(big);
	free(big);
	open_again();
	ck_assert_uint_eq(events_last(e), 3);
}
END_TEST

START_TEST(only_the_newest_are_kept)
{
	struct stat st;
	uint64_t last;
	char *lines;

	emit(2 * EVENTS_KEPT + 50);
	ck_assert_uint_eq(events_last(e), 2 * EVENTS_KEPT + 50);
	lines = after(0, 100, &last);
	ck_assert_uint_eq(strtoull(lines, NULL, 10), EVENTS_KEPT + 51);
	free(lines);
	ck_assert_int_eq(fstatat(dirfd_, "events", &st, 0), 0);
	ck_assert_int_lt(st.st_size, 2 * EVENTS_KEPT * 60);
	open_again();
	ck_assert_uint_eq(events_last(e), 2 * EVENTS_KEPT + 50);
	lines = after(0, 100, &last);
	ck_assert_uint_eq(strtoull(lines, NULL, 10), EVENTS_KEPT + 51);
	free(lines);
}
END_TEST

START_TEST(long_ones_are_cut)
{
	char *text = malloc(20001), *line;
	uint64_t last;

	memset(text, '\n', 20000);
	text[20000] = '\0';
	events_emit(e, EVENT_WARNING, "Word", text, "%s", "");
	memset(text, 'y', 20000);
	events_emit(e, EVENT_WARNING, "Word", text, "Key=%s", text);
	line = after(0, 0, &last);
	ck_assert_uint_eq(last, 2);
	ck_assert_ptr_eq(strrchr(line, '\n'), line + strlen(line) - 1);
	free(line);
	free(text);
	emit(1);
	open_again();
	ck_assert_uint_eq(events_last(e), 3);
	ck_assert_ptr_nonnull(line = after(0, 0, &last));
	ck_assert_uint_eq(strtoull(line, NULL, 10), 1);
	free(line);
}
END_TEST

/* A file that can't be written to: the lines go on in memory, and it gets well again. */
START_TEST(a_full_file_system)
{
	struct rlimit limit, small = { 0 };
	char *lines, *again;
	struct stat st;
	uint64_t last;

	signal(SIGXFSZ, SIG_IGN);
	emit(1);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(fstatat(dirfd_, "events", &st, 0), 0);
	small.rlim_cur = st.st_size + 20; /* a line is torn */
	small.rlim_max = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	emit(2);
	ck_assert_uint_eq(events_last(e), 3);
	lines = after(0, 0, &last);
	ck_assert_uint_eq(last, 3);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	emit(2);
	open_again();
	/* What could not be written then was written later. */
	ck_assert_uint_eq(events_last(e), 5);
	again = after(0, 0, &last);
	ck_assert_int_eq(strncmp(again, lines, strlen(lines)), 0);
	free(lines);
	free(again);
}
END_TEST

START_TEST(a_start_on_a_full_file_system)
{
	struct rlimit limit, small;
	struct stat before, then;

	signal(SIGXFSZ, SIG_IGN);
	emit(5);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(fstatat(dirfd_, "events", &before, 0), 0);
	small = (struct rlimit){ before.st_size / 2, limit.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	open_again();
	ck_assert_uint_eq(events_last(e), 5);
	emit(1);
	ck_assert_uint_eq(events_last(e), 6);
	ck_assert_int_eq(fstatat(dirfd_, "events", &then, 0), 0);
	ck_assert_int_eq(then.st_size, before.st_size);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	emit(1);
	open_again();
	ck_assert_uint_eq(events_last(e), 7);
}
END_TEST

START_TEST(no_place_for_them)
{
	struct events *other = NULL;
	int fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_lt(events_open(fd, &other), 0);
	ck_assert_ptr_null(other);
	close(fd);
	/* Never through a symbolic link. */
	ck_assert_int_eq(unlinkat(dirfd_, "events", 0), 0);
	ck_assert_int_eq(symlinkat("/etc/passwd", dirfd_, "events"), 0);
	ck_assert_int_eq(events_open(dirfd_, &other), -ELOOP);
	events_close(NULL);
}
END_TEST

static atomic_uint heard;

static void listener(void *arg)
{
	/* With no lock held: it may ask. */
	if (events_last(arg))
		atomic_fetch_add(&heard, 1);
}

START_TEST(listeners)
{
	events_set_listener(e, listener, e);
	emit(3);
	ck_assert_uint_eq(atomic_load(&heard), 3);
	events_set_listener(e, NULL, NULL);
	emit(1);
	ck_assert_uint_eq(atomic_load(&heard), 3);
}
END_TEST

static unsigned rounds;
static atomic_uint wrong;

static void *emitter(void *arg)
{
	for (unsigned i = 0; i < rounds; i++)
		emit(1);
	return NULL;
}

static void *reader(void *arg)
{
	uint64_t seen = 0, total = *(uint64_t *)arg;

	while (seen < total) {
		uint64_t last;
		size_t len;
		char *lines = events_after(e, seen, 4096, &len, &last);

		if (lines && strtoull(lines, NULL, 10) != seen + 1)
			atomic_fetch_add(&wrong, 1);
		if (!lines)
			usleep(100);
		seen = last;
		free(lines);
	}
	return NULL;
}

START_TEST(by_many_threads)
{
	pthread_t threads[8];
	uint64_t total;

	rounds = unit_scaled(1500);
	total = (uint64_t)rounds * 6;
	events_set_listener(e, listener, e);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, i < 2 ? reader : emitter,
						&total),
				 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
	ck_assert_uint_eq(atomic_load(&heard), total);
	open_again();
	ck_assert_uint_eq(events_last(e), total);
}
END_TEST

UNIT_MAIN("events", setup, teardown, a_line, words, as_many_as_fit, stay_across_restarts,
	  survive_a_crash, a_torn_line_ends_nothing, a_foreign_file, only_the_newest_are_kept,
	  long_ones_are_cut, a_full_file_system, a_start_on_a_full_file_system, no_place_for_them,
	  listeners, by_many_threads)

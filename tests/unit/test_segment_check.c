// SPDX-License-Identifier: GPL-2.0-or-later
/* What is wrong with a log as a whole: a file in the middle that is gone, or without a head. */
#include "segment_check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_dir.h"
#include "segments_inner.h"
#include "unit.h"

static struct segment_dir *dir;
static struct segments *s;
static uint64_t bad_number;
static enum segment_trouble bad_trouble;
static unsigned bad_count;
static uint64_t last_place;

static void append(uint64_t files)
{
	static uint8_t data[RECORD_DATA_MAX];
	struct record r = { RECORD_WRITE, 0, sizeof(data), 1 };

	while (segments_end(s) / SEGMENT_SIZE < files)
		ck_assert_int_eq(segments_append(s, &r, data, &last_place), 0);
	ck_assert_int_eq(segments_flush(s), 0);
}

static void setup(void)
{
	dir = fake_dir_new();
	ck_assert_int_eq(segments_open(dir, SEGMENTS_LOG, 0, &s), 0);
	append(3);
	bad_count = 0;
}

static void teardown(void)
{
	segments_close(s);
}

static void open_again(void)
{
	struct segment_dir *left = fake_dir_twin(dir);

	segments_close(s);
	dir = left;
	ck_assert_int_eq(segments_open(dir, SEGMENTS_LOG, 0, &s), 0);
}

static void bad(void *arg, uint64_t number, enum segment_trouble trouble)
{
	bad_number = number;
	bad_trouble = trouble;
	bad_count++;
}

static void survey(uint64_t from)
{
	ck_assert_int_eq(segments_survey(s, from, bad, NULL), 0);
}

static void name_of(uint64_t number, char name[17])
{
	snprintf(name, 17, "%016llx", (unsigned long long)number);
}

static void take_away(uint64_t number)
{
	char name[17];

	name_of(number, name);
	ck_assert_int_eq(dir->ops->remove(dir, name), 0);
	open_again();
}

START_TEST(whole)
{
	open_again();
	survey(0);
	survey(2 * SEGMENT_SIZE + 64);
	survey(4 * SEGMENT_SIZE);
	ck_assert_uint_eq(bad_count, 0);
	ck_assert(segments_flushed_before(s) / SEGMENT_SIZE <= 3);
	ck_assert_uint_eq(segments_number_from(s, 2), 2);
	ck_assert_uint_eq(segments_number_from(s, 4), 0);
}
END_TEST

START_TEST(one_is_gone)
{
	take_away(2);
	survey(SEGMENT_SIZE + 64);
	ck_assert(bad_count == 1 && bad_number == 2 && bad_trouble == SEGMENT_MISSING);
	/* Nobody needs it any more. */
	survey(3 * SEGMENT_SIZE + 64);
	ck_assert_uint_eq(bad_count, 1);
}
END_TEST

START_TEST(the_first_is_gone)
{
	take_away(1);
	survey(SEGMENT_SIZE + 64);
	ck_assert(bad_count == 1 && bad_number == 1 && bad_trouble == SEGMENT_MISSING);
	survey(2 * SEGMENT_SIZE);
	ck_assert_uint_eq(bad_count, 1);
}
END_TEST

START_TEST(one_has_no_head)
{
	struct file *f;
	char name[17];
	bool has;

	name_of(2, name);
	f = fake_dir_file(dir, name);
	ck_assert_int_eq(f->ops->write(f, "?", 1, 9, 0), 0);
	open_again();
	survey(SEGMENT_SIZE + 64);
	ck_assert(bad_count == 1 && bad_number == 2 && bad_trouble == SEGMENT_HEADLESS);
	ck_assert(!segments_has_head(s, 2, &has) && !has);
	ck_assert(!segments_has_head(s, 3, &has) && has);
	ck_assert_int_eq(segments_has_head(s, 4, &has), -ENOENT);
}
END_TEST

START_TEST(dropped)
{
	ck_assert_int_eq(segments_drop_before(s, 3 * SEGMENT_SIZE + 64), 0);
	open_again();
	ck_assert_uint_eq(segments_number_from(s, 1), 3);
	survey(3 * SEGMENT_SIZE + 64);
	ck_assert_uint_eq(bad_count, 0);
}
END_TEST

START_TEST(torn)
{
	struct record r;
	struct file *f;
	char name[17];

	ck_assert_int_eq(segments_look(s, last_place, &r), 0);
	ck_assert(!segments_is_torn(s, last_place));
	name_of(last_place / SEGMENT_SIZE, name);
	f = fake_dir_file(dir, name);
	ck_assert_int_eq(f->ops->write(f, "?", 1, last_place % SEGMENT_SIZE + 20, 0), 0);
	open_again();
	ck_assert_int_eq(segments_look(s, last_place, &r), -EBADMSG);
	ck_assert(segments_is_torn(s, last_place));
	ck_assert(!segments_is_torn(s, 9 * SEGMENT_SIZE + 64));
}
END_TEST

/* Its head is one still. */
START_TEST(torn_data)
{
	struct file *f;
	char name[17];

	name_of(last_place / SEGMENT_SIZE, name);
	f = fake_dir_file(dir, name);
	ck_assert_int_eq(f->ops->write(f, "?", 1, last_place % SEGMENT_SIZE + RECORD_HEAD, 0), 0);
	open_again();
	ck_assert(segments_is_torn(s, last_place));
}
END_TEST

UNIT_MAIN("segment_check", setup, teardown, whole, one_is_gone, the_first_is_gone, one_has_no_head,
	  dropped, torn, torn_data)

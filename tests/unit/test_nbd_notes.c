// SPDX-License-Identifier: GPL-2.0-or-later
#include "nbd_notes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#define SIZE (256u << 10)

static const uint8_t boot[16] = { 1 }, binding[NOTES_BINDING] = { 2 }, other[NOTES_BINDING] = { 3 };
static struct notes *notes;
static int dirfd;
/* What the writes made, what doing them again makes, and how often each byte was written. */
static uint8_t twin[SIZE], again[SIZE], times[SIZE];
static unsigned calls, fail_at;

static void open_notes(void)
{
	ck_assert_int_eq(notes_open(dirfd, "notes", boot, &notes), 0);
}

static void setup(void)
{
	dirfd = open(unit_dir(), O_RDONLY | O_DIRECTORY);
	open_notes();
	ck_assert_int_eq(notes_begin(notes, binding), 0);
}

static void teardown(void)
{
	notes_close(notes);
	close(dirfd);
}

static int count(uint64_t off, uint64_t len)
{
	ck_assert(len > 0 && off + len <= SIZE);
	for (uint64_t i = 0; i < len; i++)
		times[off + i]++;
	return ++calls == fail_at ? -ENOSPC : 0;
}

static int write_again(void *arg, const void *buf, size_t len, uint64_t off)
{
	memcpy(again + off, buf, len);
	return count(off, len);
}

static int zero_again(void *arg, uint64_t off, uint64_t len, bool keep)
{
	memset(again + off, 0, len);
	return count(off, len);
}

static int replay(const uint8_t *of, bool *any)
{
	const struct nbd_replay to = { .write = write_again, .zero = zero_again };

	calls = 0;
	memset(again, 0xee, SIZE);
	memset(times, 0, SIZE);
	return nbd_notes_replay(notes, of, SIZE, &to, any);
}

static void write_both(uint64_t off, uint8_t byte, uint64_t len)
{
	memset(twin + off, byte, len);
	ck_assert_int_eq(nbd_note_write(notes, off, twin + off, len), 0);
}

static void zero_both(uint64_t off, uint64_t len)
{
	memset(twin + off, 0, len);
	ck_assert_int_eq(nbd_note_zero(notes, off, len, false), 0);
}

static void assert_like_twin(void)
{
	for (size_t i = 0; i < SIZE; i++)
		if (times[i] > 1 || (times[i] && again[i] != twin[i]) ||
		    (!times[i] && twin[i] != 0xee))
			ck_abort_msg("at %zu: %u times, %02x, %02x", i, times[i], again[i],
				     twin[i]);
}

START_TEST(none)
{
	bool any = true;

	ck_assert_int_eq(replay(binding, &any), 0);
	ck_assert(!any);
	ck_assert_uint_eq(calls, 0);
}
END_TEST

START_TEST(newest_wins)
{
	bool any = false;

	memset(twin, 0xee, SIZE);
	write_both(1000, 'a', 1000);
	write_both(1200, 'b', 100);
	zero_both(1250, 1000);
	write_both(5000, 'c', 1);
	write_both(5000, 'd', 1);
	ck_assert_int_eq(replay(binding, &any), 0);
	ck_assert(any);
	assert_like_twin();
	/* a from 1000 to 1200, b to 1250, zeros to 2250, d. */
	ck_assert_uint_eq(calls, 4);
}
END_TEST

START_TEST(any_order)
{
	uint64_t seed = 11;

	for (unsigned round = 0; round < unit_scaled(30); round++) {
		unsigned records = 1 + unit_below(&seed, 400);
		bool any;

		ck_assert_int_eq(notes_begin(notes, binding), 0);
		memset(twin, 0xee, SIZE);
		for (unsigned i = 0; i < records; i++) {
			uint64_t len = 1 + unit_below(&seed, unit_below(&seed, 5) ? 600 : 100000);
			uint64_t off = unit_below(&seed, SIZE - len + 1);

			if (unit_below(&seed, 4))
				write_both(off, 1 + unit_below(&seed, 200), len);
			else
				zero_both(off, len);
		}
		/* By this process, and by a later one. */
		ck_assert_int_eq(replay(binding, &any), 0);
		assert_like_twin();
		notes_close(notes);
		open_notes();
		ck_assert_int_eq(replay(binding, &any), 0);
		assert_like_twin();
	}
}
END_TEST

/* What failed leaves what was there before it. */
START_TEST(voids)
{
	bool any;

	memset(twin, 0xee, SIZE);
	write_both(0, 'a', 4096);
	ck_assert_int_eq(nbd_note_write(notes, 0, again, 4096), 0);
	ck_assert_int_eq(nbd_note_void(notes, 0, 4096), 0);
	ck_assert_int_eq(nbd_note_zero(notes, 8192, 512, true), 0);
	ck_assert_int_eq(nbd_note_void(notes, 8192, 512), 0);
	/* Of nothing. */
	ck_assert_int_eq(nbd_note_void(notes, 1, 2), 0);
	write_both(100, 'b', 100);
	ck_assert_int_eq(replay(binding, &any), 0);
	assert_like_twin();
}
END_TEST

START_TEST(only_voids)
{
	bool any;

	ck_assert_int_eq(nbd_note_zero(notes, 0, 512, false), 0);
	ck_assert_int_eq(nbd_note_void(notes, 0, 512), 0);
	ck_assert_int_eq(replay(binding, &any), 0);
	ck_assert_uint_eq(calls, 0);
}
END_TEST

START_TEST(failures)
{
	bool any;

	write_both(0, 'a', 512);
	write_both(1024, 'b', 512);
	for (fail_at = 1; fail_at <= 2; fail_at++)
		ck_assert_int_eq(replay(binding, &any), -ENOSPC);
	fail_at = 0;
	ck_assert_int_eq(replay(other, &any), -ESTALE);
	ck_assert_uint_eq(calls, 0);
	ck_assert_int_eq(replay(binding, &any), 0);
	ck_assert_uint_eq(calls, 2);
}
END_TEST

START_TEST(not_such_notes)
{
	const struct {
		uint32_t kind;
		uint64_t off, len;
		size_t data;
	} bad[] = {
		{ 0, 0, 512, 0 },
		{ 4, 0, 512, 0 },
		{ 1, 0, 512, 511 },
		{ 1, 0, 512, 0 },
		{ 1, SIZE - 511, 512, 512 },
		{ 2, SIZE, 1, 0 },
		{ 2, UINT64_MAX, 2, 0 },
		{ 2, 1, UINT64_MAX, 0 },
	};

	for (size_t i = 0; i < UNIT_LENGTH(bad); i++) {
		uint64_t head[3] = { bad[i].off, bad[i].len, 0 };
		bool any;

		ck_assert_int_eq(notes_begin(notes, binding), 0);
		ck_assert_int_eq(nbd_note_zero(notes, 0, 512, false), 0);
		ck_assert_int_eq(notes_add(notes, bad[i].kind, head, sizeof(head), twin,
					   bad[i].data),
				 0);
		ck_assert_int_eq(replay(binding, &any), -EINVAL);
		ck_assert_uint_eq(calls, 0);
	}
	ck_assert_int_eq(notes_begin(notes, binding), 0);
	ck_assert_int_eq(notes_add(notes, 2, twin, 23, NULL, 0), 0);
	ck_assert_int_eq(replay(binding, &(bool){ false }), -EINVAL);
}
END_TEST

UNIT_MAIN("nbd_notes", setup, teardown, none, newest_wins, any_order, voids, only_voids, failures,
	  not_such_notes)

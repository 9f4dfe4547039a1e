// SPDX-License-Identifier: GPL-2.0-or-later
/* Kept history: ticks that come and go, moments as they are asked for, and changes between them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "past_disk.h"
#include "unit.h"

#define BLOCKS 64
#define SIZE (BLOCKS * PAST_BLOCK)

static struct past_disk p;
static struct why why;

static void setup(void)
{
	temp_tandem_begin();
	temp.options.block_size = PAST_BLOCK;
	temp_open();
	ck_assert_int_eq(snapshots_start(temp.t), 0);
	past_disk_begin(&p, "a.img", SIZE);
}

static void teardown(void)
{
	past_disk_end(&p);
	temp_tandem_end();
}

static void keep(uint64_t window_s, uint64_t granularity_ms, uint64_t limit)
{
	const struct history_window w = { window_s, granularity_ms, limit };

	ck_assert_msg(!tandem_keep_history(temp.t, p.d, &w, true, false, &why), "%s", why.message);
}

static size_t ticks(void)
{
	struct history_facts f;

	history_facts(atomic_load(&p.d->history), &f);
	return f.ticks;
}

static bool has_ticks(void *count)
{
	return ticks() >= *(size_t *)count;
}

static bool has_at_most(void *count)
{
	return ticks() <= *(size_t *)count;
}

static void tick_comes(size_t count)
{
	ck_assert(unit_until(has_ticks, &count, 10));
}

static void newest(struct moment_record *m)
{
	ck_assert_int_eq(history_moment(atomic_load(&p.d->history), UINT64_MAX, m), 0);
}

static void keep_newest(const char *name)
{
	struct snapshot_facts f = { .number = 0 };
	struct moment_record m;

	newest(&m);
	strcpy(f.name, name);
	f.generation = m.generation;
	past_keep(&p, &f);
}

/* One for each time that something was written, and no more. */
START_TEST(ticks_come)
{
	keep(3600, 100, 0);
	for (size_t i = 0; i < 4; i++) {
		tick_comes(i + 1);
		usleep(250000);
		ck_assert_uint_eq(ticks(), i + 1);
		keep_newest("tick");
		past_write(&p, i * PAST_BLOCK, 3 * PAST_BLOCK, i + 1);
	}
	past_check_all(&p);
	past_disk_let_go(&p);
	temp_close();
	temp_open();
	past_disk_again(&p);
	ck_assert_uint_eq(history_window(atomic_load(&p.d->history)).window_s, 3600);
	past_check_all(&p);
}
END_TEST

START_TEST(ends)
{
	struct history_window less = { 60, 1000, 0 }, none = { 0 };

	keep(3600, 100, 0);
	past_write(&p, 0, SIZE, 1);
	tick_comes(1);
	past_snapshot(&p, "one");
	past_write(&p, 0, SIZE, 2);
	tick_comes(2);
	ck_assert_int_eq(tandem_keep_history(temp.t, p.d, &less, false, false, &why), -EPERM);
	ck_assert_int_eq(tandem_keep_history(temp.t, p.d, &none, false, false, &why), -EPERM);
	ck_assert_int_eq(tandem_keep_history(temp.t, p.d, &none, true, true, &why), 0);
	ck_assert_uint_ge(ticks(), 2);
	ck_assert_int_eq(tandem_delete_disk(temp.t, p.d, NULL, false, false, &why), -EPERM);
	keep(0, 0, 0);
	ck_assert_uint_eq(ticks(), 0);
	past_check_all(&p);
	past_delete(&p, 0);
	ck_assert(past_is_empty(&p));
	ck_assert_int_eq(tandem_delete_disk(temp.t, p.d, NULL, false, true, &why), 0);
}
END_TEST

START_TEST(windows_that_are_refused)
{
	static const struct history_window bad[] = { { 10, 0, 0 },
						     { 10, 99, 0 },
						     { 10, 10001, 0 },
						     { 1ull << 33, 1000, 0 } };

	for (size_t i = 0; i < UNIT_LENGTH(bad); i++)
		ck_assert_int_eq(tandem_keep_history(temp.t, p.d, &bad[i], true, false, &why),
				 -EINVAL);
	ck_assert_ptr_null(atomic_load(&p.d->history));
}
END_TEST

/* What is older than the window goes, but for what the disk was when it begins. */
START_TEST(a_window)
{
	size_t most = 3;

	keep(1, 100, 0);
	for (size_t i = 0; i < 10; i++) {
		past_write(&p, 0, PAST_BLOCK, i + 1);
		usleep(120000);
	}
	ck_assert(unit_until(has_at_most, &most, 10));
	past_write(&p, 0, PAST_BLOCK, 77);
	usleep(1500000);
	ck_assert_uint_ge(ticks(), 1);
	past_check_now(&p);
}
END_TEST

START_TEST(a_limit)
{
	size_t few = 12;

	keep(3600, 100, 4 * SIZE);
	for (size_t i = 0; i < 16; i++) {
		past_write(&p, 0, SIZE, i + 1);
		tick_comes(1);
		usleep(120000);
	}
	ck_assert(unit_until(has_at_most, &few, 10));
	past_check_now(&p);
}
END_TEST

START_TEST(forgets)
{
	struct moment_record m;

	keep(3600, 100, 0);
	tick_comes(1); /* of the beginning */
	for (size_t i = 0; i < 3; i++) {
		past_write(&p, 0, SIZE, i + 1);
		tick_comes(i + 2);
	}
	keep_newest("last");
	newest(&m);
	ck_assert_int_eq(tandem_forget_history(temp.t, p.d, m.generation, false, false, &why),
			 -EPERM);
	ck_assert_int_eq(tandem_forget_history(temp.t, p.d, m.generation, true, true, &why), 0);
	ck_assert_uint_ge(ticks(), 3);
	ck_assert_int_eq(tandem_forget_history(temp.t, p.d, m.generation, true, false, &why), 0);
	ck_assert_uint_eq(ticks(), 1);
	past_check_all(&p);
}
END_TEST

static int ask(int how, uint64_t value, const char *name, struct moment_record *m)
{
	const struct moment_spec spec = { .how = how, .value = value, .name = name };

	return disk_moment(p.d, &spec, m);
}

START_TEST(moments_as_asked)
{
	struct moment_record m, one, two;

	ck_assert_int_eq(ask(MOMENT_NOW, 0, NULL, &m), 0);
	ck_assert_uint_eq(m.generation, UINT64_MAX);
	ck_assert_int_eq(ask(MOMENT_GENERATION, 0, NULL, &m), -ENOENT);
	past_snapshot(&p, "one");
	newest(&one);
	usleep(5000);
	past_snapshot(&p, "two");
	newest(&two);
	ck_assert_int_eq(ask(MOMENT_SNAPSHOT, 0, "one", &m), 0);
	ck_assert_uint_eq(m.generation, one.generation);
	ck_assert_int_eq(ask(MOMENT_SNAPSHOT, 0, "three", &m), -ENOENT);
	ck_assert_int_eq(ask(MOMENT_GENERATION, two.generation - 1, NULL, &m), 0);
	ck_assert_uint_eq(m.generation, one.generation);
	ck_assert_int_eq(ask(MOMENT_GENERATION, two.generation, NULL, &m), 0);
	ck_assert_uint_eq(m.generation, two.generation);
	ck_assert_int_eq(ask(MOMENT_GENERATION, two.generation + 1, NULL, &m), -ENOENT);
	ck_assert_int_eq(ask(MOMENT_GENERATION, one.generation - 1, NULL, &m), -ENOENT);
	ck_assert_int_eq(ask(MOMENT_TIME, two.time_ms - 1, NULL, &m), 0);
	ck_assert_uint_eq(m.generation, one.generation);
	ck_assert_int_eq(ask(MOMENT_TIME, one.time_ms - 1, NULL, &m), -ENOENT);
	ck_assert_int_eq(ask(MOMENT_TIME, two.time_ms + 3600000, NULL, &m), -ENOENT);
	disk_set_state(p.d, DISK_CHANGED, "for a test");
	ck_assert_int_eq(ask(MOMENT_SNAPSHOT, 0, "one", &m), -ESTALE);
	ck_assert_int_eq(moment_open(p.d, one.generation), -ESTALE);
}
END_TEST

/* ---- changes ---- */

struct told {
	uint64_t end; /* of the last range */
	bool data[BLOCKS], zero[BLOCKS];
};

static bool tell(void *arg, uint64_t offset, uint64_t length, bool zero)
{
	struct told *t = arg;

	ck_assert_uint_ge(offset, t->end);
	ck_assert_uint_gt(length, 0);
	ck_assert_uint_eq(offset % PAST_BLOCK + length % PAST_BLOCK, 0);
	t->end = offset + length;
	ck_assert_uint_le(t->end, SIZE);
	for (uint64_t b = offset / PAST_BLOCK; b < t->end / PAST_BLOCK; b++)
		*(zero ? &t->zero[b] : &t->data[b]) = true;
	return true;
}

static void check_changes(uint64_t a, const uint8_t *from, uint64_t b, const uint8_t *to)
{
	struct told t = { 0 };

	ck_assert_int_eq(disk_changes(p.d, a, b, tell, &t), 0);
	for (uint64_t i = 0; i < BLOCKS; i++) {
		const uint8_t *x = from + i * PAST_BLOCK, *y = to + i * PAST_BLOCK;
		static const uint8_t zeros[PAST_BLOCK];

		if (memcmp(x, y, PAST_BLOCK))
			ck_assert_msg(t.data[i] || t.zero[i], "block %llu is missing",
				      (unsigned long long)i);
		if (t.zero[i])
			ck_assert(!memcmp(y, zeros, PAST_BLOCK));
	}
}

START_TEST(changes)
{
	struct told t = { 0 };

	ck_assert_int_eq(disk_changes(p.d, 1, 2, tell, &t), -ESTALE);
	past_write(&p, 0, SIZE / 2, 1);
	past_snapshot(&p, "a");
	past_write(&p, 0, PAST_BLOCK, 0);
	past_write(&p, SIZE - PAST_BLOCK, PAST_BLOCK, 5);
	past_snapshot(&p, "b");
	past_open(&p);
	ck_assert_int_eq(disk_changes(p.d, p.kept[0].generation, p.kept[1].generation, tell, &t),
			 0);
	for (size_t i = 0; i < BLOCKS; i++) {
		ck_assert_int_eq(t.zero[i], i == 0);
		ck_assert_int_eq(t.data[i], i == BLOCKS - 1);
	}
	ck_assert_int_eq(disk_changes(p.d, p.kept[1].generation + 1, UINT64_MAX, tell, &t),
			 -ESTALE);
}
END_TEST

START_TEST(changes_at_random)
{
	past_write(&p, 0, SIZE, 1);
	past_open(&p);
	for (unsigned round = 0; round < unit_scaled(40); round++) {
		for (uint64_t n = unit_below(&p.seed, 6); n; n--)
			past_scribble(&p);
		if (p.count > 6)
			past_delete(&p, unit_below(&p.seed, p.count));
		past_snapshot(&p, NULL);
		for (uint64_t n = unit_below(&p.seed, 3); n; n--)
			past_scribble(&p);
		for (size_t i = 0; i < p.count; i++) {
			const struct past_moment *a = &p.kept[i],
						 *b = &p.kept[unit_below(&p.seed, p.count)];

			check_changes(a->generation, a->bytes, b->generation, b->bytes);
			check_changes(a->generation, a->bytes, UINT64_MAX, p.now);
			check_changes(UINT64_MAX, p.now, b->generation, b->bytes);
		}
	}
}
END_TEST

/* ---- the list ---- */

struct listed {
	size_t count;
	uint64_t last, bytes, names;
};

static bool list_one(void *arg, const struct moment_record *m, uint64_t bytes, const char *name)
{
	struct listed *l = arg;

	ck_assert_uint_gt(m->generation, l->last);
	l->last = m->generation;
	l->bytes = l->bytes * 1000 + bytes / PAST_BLOCK;
	l->names += name && !strcmp(name, p.kept[l->count].name);
	l->count++;
	return true;
}

START_TEST(lists)
{
	struct listed l = { 0 };

	ck_assert_int_eq(disk_history(p.d, list_one, &l), 0);
	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "a");
	past_write(&p, 0, 3 * PAST_BLOCK, 2);
	past_snapshot(&p, "b");
	past_write(&p, 0, 5 * PAST_BLOCK, 3);
	past_snapshot(&p, "c");
	ck_assert_int_eq(tandem_settle_disk(temp.t, p.d, &why), 0);
	ck_assert_int_eq(disk_history(p.d, list_one, &l), 0);
	ck_assert_uint_eq(l.count, 3);
	ck_assert_uint_eq(l.names, 3);
	ck_assert_uint_eq(l.bytes, 3005000);
}
END_TEST

UNIT_MAIN("kept_history", setup, teardown, ticks_come, ends, windows_that_are_refused, a_window,
	  a_limit, forgets, moments_as_asked, changes, changes_at_random, lists)

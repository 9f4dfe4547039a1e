// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A disk's past against whole copies of it: random work of one thread, with the
 * settler now and then beside it, restarts and kills.
 */
#include "history.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_dir.h"
#include "history_inner.h"
#include "history_model.h"
#include "unit.h"

#define MOMENTS 8

struct work {
	struct world w;
	struct history_model m;
	struct file *image; /* fakes, which the world owns */
	struct segment_dir *log, *store;
	uint32_t bs;
	uint64_t seed;
	uint8_t *buf;
	struct history_restore restore;
	bool aborted; /* its second moment is hidden */
};

static uint64_t below(struct work *k, uint64_t bound)
{
	return unit_below(&k->seed, bound);
}

static void open_world(struct work *k)
{
	ck_assert_int_eq(world_open(&k->w, k->image, k->log, k->store, k->bs), 0);
}

static void begin(struct work *k, uint32_t bs, uint64_t size, uint64_t max, uint64_t seed)
{
	*k = (struct work){ .bs = bs, .seed = seed, .image = fake_file_new(NULL, size) };
	k->log = fake_dir_new();
	k->store = fake_dir_new();
	k->buf = malloc(max);
	world_new(&k->w);
	copies_new(&k->m, size, max);
	open_world(k);
}

static void end(struct work *k)
{
	k->m.doing = "the end";
	copies_check_all(&k->m, &k->w);
	ck_assert_int_eq(world_close(&k->w), 0);
	world_free(&k->w);
	copies_free(&k->m);
	free(k->buf);
}

/* ---- operations ---- */

/* A range: of any alignment, of sectors, of pages, of blocks; seldom past the end. */
static void choose(struct work *k, bool grow, uint64_t *off, uint64_t *len)
{
	static const uint32_t units[] = { 1, 1, 512, 4096 };
	uint64_t unit = below(k, 5), end = grow ? k->m.max : k->m.size, most;

	unit = unit == 4 ? k->bs : units[unit];
	*off = below(k, end) / unit * unit;
	most = below(k, 4) ? k->bs : 5 * (uint64_t)k->bs;
	*len = (1 + below(k, most)) / unit * unit;
	if (!*len)
		*len = unit;
	if (*len > end - *off)
		*len = end - *off;
}

/* Bytes that say little of where they are would hide a mistake. */
static void fill(struct work *k, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += 8) {
		uint64_t word = unit_random(&k->seed);

		memcpy(k->buf + i, &word, len - i < 8 ? len - i : 8);
	}
}

static void write_some(struct work *k)
{
	uint64_t off, len;

	choose(k, !below(k, 200), &off, &len);
	if (below(k, 8))
		fill(k, len);
	else
		memset(k->buf, 0, len);
	ck_assert_int_eq(disk_write(k->w.d, k->buf, len, off, 0), 0);
	copies_write(&k->m, k->buf, len, off);
}

static void zero_some(struct work *k)
{
	enum zero_mode mode = below(k, 2) ? ZERO_PUNCH : ZERO_KEEP;
	uint64_t off, len;

	choose(k, false, &off, &len);
	if (!below(k, 20))
		len += below(k, k->m.max);
	ck_assert_int_eq(disk_zero(k->w.d, off, len, mode), 0);
	copies_zero(&k->m, len, off);
}

static void resize_some(struct work *k)
{
	uint64_t size = 1 + below(k, k->m.max);

	if (below(k, 2))
		size = k->m.max - below(k, k->bs * 2ull);
	ck_assert_int_eq(disk_resize(k->w.d, size, true), 0);
	copies_resize(&k->m, size);
}

static void drop_some(struct work *k)
{
	size_t i;

	if (!k->m.count)
		return;
	i = below(k, k->m.count);
	/* A restore needs these two. */
	if (k->restore.before && (k->m.kept[i].generation == k->restore.from ||
				  k->m.kept[i].generation == k->restore.before))
		return;
	ck_assert_int_eq(world_drop(&k->w, k->m.kept[i].generation), 0);
	copies_drop(&k->m, i);
}

static void moment(struct work *k, bool tick)
{
	uint64_t g;

	if (k->restore.before)
		return;
	while (k->m.count >= MOMENTS)
		drop_some(k);
	ck_assert_int_eq(tick ? world_tick(&k->w, &g) : world_snapshot(&k->w, &g), 0);
	if (g)
		copies_keep(&k->m, g);
}

/* What the disk was at that moment is there at once. */
static void begin_restore(struct work *k, const struct history_copy *to, enum moment_kind kind)
{
	struct history_restore r = { .from = to->generation };
	struct range whole;

	if (to->size > k->m.size) {
		ck_assert_int_eq(disk_resize(k->w.d, to->size, false), 0);
		copies_resize(&k->m, to->size);
	}
	range_lock_write(&k->w.d->ranges, &whole, 0, UINT64_MAX);
	ck_assert_int_eq(history_settle(k->w.h), 0);
	ck_assert_int_eq(generation_close(k->w.t, &k->w.h, 1, kind, unit_now_ms(), NULL, &r.before),
			 0);
	history_set_restore(k->w.h, &r);
	ck_assert_int_eq(world_record_moment(&k->w, r.before), 0);
	range_unlock(&k->w.d->ranges, &whole);
	if (kind == MOMENT_NAMED)
		copies_keep(&k->m, r.before);
	copies_restore(&k->m, r.from);
	k->restore = r;
	k->aborted = kind == MOMENT_HIDDEN;
}

static void restore_some(struct work *k)
{
	if (!k->restore.before && k->m.count)
		begin_restore(k, &k->m.kept[below(k, k->m.count)], MOMENT_NAMED);
}

/* It is what it was before the restore. */
static void abort_some(struct work *k)
{
	size_t i = 0;

	if (!k->restore.before || k->aborted)
		return;
	while (k->m.kept[i].generation != k->restore.before)
		i++;
	begin_restore(k, &k->m.kept[i], MOMENT_HIDDEN);
}

static bool go_on(void *arg, uint64_t bytes)
{
	struct work *k = arg;

	return !arg || below(k, 8);
}

/* All of it, or some, until it is stopped. */
static void fill_some(struct work *k)
{
	static const struct history_restore none;
	struct range whole;
	bool all = below(k, 2);
	int err;

	if (!k->restore.before)
		return;
	err = history_fill(k->w.h, go_on, all ? NULL : k);
	if (err == -ECANCELED && !all)
		return;
	ck_assert_int_eq(err, 0);
	range_lock_write(&k->w.d->ranges, &whole, 0, UINT64_MAX);
	history_set_restore(k->w.h, &none);
	range_unlock(&k->w.d->ranges, &whole);
	ck_assert_int_eq(world_record_moment(&k->w, k->restore.before), 0);
	if (k->aborted)
		ck_assert_int_eq(world_drop(&k->w, k->restore.before), 0);
	k->restore = none;
}

static void hurry(struct work *k)
{
	pthread_mutex_lock(&k->w.h->lock);
	settler_wake(k->w.h, true);
	pthread_mutex_unlock(&k->w.h->lock);
}

/* The daemon dies, or stops; and comes again. */
static void restart(struct work *k, bool die)
{
	struct file *image;
	struct segment_dir *log, *store;

	if (!die) {
		disk_close(k->w.d);
		ck_assert(!k->w.h->pending.first);
	}
	world_stop_settler(&k->w);
	image = fake_twin(k->image);
	log = fake_dir_twin(k->log);
	store = fake_dir_twin(k->store);
	world_abandon(&k->w);
	k->image = image;
	k->log = log;
	k->store = store;
	open_world(k);
}

static void read_some(struct work *k)
{
	uint64_t off, len;

	choose(k, false, &off, &len);
	copies_check(&k->m, &k->w, below(k, k->m.count + 1), off, len);
	if (!below(k, 20))
		copies_check_holes(&k->m, &k->w, below(k, k->m.count + 1));
}

static void flush(struct work *k)
{
	ck_assert_int_eq(disk_flush(k->w.d), 0);
}

static void settle(struct work *k)
{
	ck_assert_int_eq(history_settle(k->w.h), 0);
}

static void snapshot(struct work *k)
{
	moment(k, false);
}

static void tick(struct work *k)
{
	moment(k, true);
}

static void stop(struct work *k)
{
	restart(k, false);
}

static void die(struct work *k)
{
	restart(k, true);
}

static const struct {
	const char *name;
	void (*fn)(struct work *k);
	unsigned weight;
} works[] = {
	{ "write", write_some, 420 },   { "zero", zero_some, 120 },   { "read", read_some, 240 },
	{ "flush", flush, 40 },         { "snapshot", snapshot, 30 }, { "tick", tick, 40 },
	{ "drop", drop_some, 20 },      { "settle", settle, 40 },     { "hurry", hurry, 30 },
	{ "restore", restore_some, 8 }, { "fill", fill_some, 8 },     { "abort", abort_some, 4 },
	{ "resize", resize_some, 6 },   { "stop", stop, 3 },          { "death", die, 5 },
};

static void work_once(struct work *k)
{
	unsigned sum = 0, what = 0, at;

	for (size_t i = 0; i < UNIT_LENGTH(works); i++)
		sum += works[i].weight;
	for (at = below(k, sum); at >= works[what].weight; what++)
		at -= works[what].weight;
	k->m.doing = works[what].name;
	k->m.step++;
	works[what].fn(k);
}

static void work(uint32_t bs, uint64_t size, uint64_t max, unsigned steps, unsigned every)
{
	static struct work k;
	unsigned disks = 1 + steps / 5000;

	for (unsigned i = 0; i < disks; i++) {
		begin(&k, bs, size, max, i + bs);
		for (unsigned n = 0; n < steps / disks; n++) {
			work_once(&k);
			if (n % every == 0)
				copies_check_all(&k.m, &k.w);
		}
		end(&k);
	}
}

START_TEST(blocks_of_4k)
{
	work(4096, 64 * 4096, 64 * 4096, unit_scaled(40000), 20);
	work(4096, 63 * 4096 + 1537, 70 * 4096 + 100, unit_scaled(30000), 20);
}
END_TEST

/* Small ones, of which all moments are compared after each step. */
START_TEST(after_each_step)
{
	work(8192, 12 * 8192, 12 * 8192, unit_scaled(20000), 1);
	work(8192, 9 * 8192 + 3000, 13 * 8192 + 512, unit_scaled(20000), 1);
	work(4096, 10 * 4096 + 700, 14 * 4096, unit_scaled(20000), 1);
}
END_TEST

START_TEST(blocks_of_16k)
{
	work(16384, 64 * 16384, 64 * 16384, unit_scaled(20000), 40);
	work(16384, 13 * 16384 + 5000, 17 * 16384 + 512, unit_scaled(40000), 20);
}
END_TEST

START_TEST(blocks_of_1m)
{
	work(1 << 20, 4 << 20, 4 << 20, unit_scaled(1500), 40);
	work(1 << 20, (2 << 20) + 70000, (4 << 20) + 3, unit_scaled(1500), 40);
}
END_TEST

/* The newest moment goes; what the disk held since then is of the next tick. */
/* The pace of writes when the log is nearly full; 1 ms for each MiB that is settled. */
START_TEST(the_last_room_is_given_away_slowly)
{
	const uint64_t mib = 1 << 20, slow = HISTORY_LOG_MAX - HISTORY_LOG_MAX / 8;
	struct history h = { .log_max = HISTORY_LOG_MAX, .ns_per_mib = 1000000 };

	ck_assert_uint_eq(write_pause(&h, mib, 1000), 0);
	h.pending.bytes = slow;
	ck_assert_uint_eq(write_pause(&h, mib, 1000), 0);
	/* Half of it is left: just as fast as it gets free. Each waits for those before it. */
	h.pending.bytes = slow + HISTORY_LOG_MAX / 16;
	ck_assert_uint_eq(write_pause(&h, mib, 1000), 0);
	ck_assert_uint_eq(write_pause(&h, mib, 1000), 1000000);
	ck_assert_uint_eq(write_pause(&h, mib / 2, 1000), 2000000);
	ck_assert_uint_eq(write_pause(&h, mib, 2001000), 500000);
	/* Less is left: slower, with a limit, also if nothing is left or nothing is known. */
	h.admit_ns = 0;
	h.pending.bytes = slow + HISTORY_LOG_MAX / 32 * 3;
	write_pause(&h, mib, 0);
	ck_assert_uint_eq(write_pause(&h, mib, 0), 3000000);
	h.admit_ns = 0;
	h.pending.bytes = HISTORY_LOG_MAX;
	write_pause(&h, mib, 0);
	ck_assert_uint_eq(write_pause(&h, mib, 0), 3000000);
	h.admit_ns = h.ns_per_mib = 0;
	write_pause(&h, mib, 0);
	ck_assert_uint_eq(write_pause(&h, mib, 0), 1000000);
	/* A discard of the whole disk is no reason for others to wait for hours. */
	h.ns_per_mib = 1000000;
	h.admit_ns = 0;
	write_pause(&h, 1ull << 46, 0);
	ck_assert_uint_eq(write_pause(&h, mib, 0), 3000000);
	/* Nobody waits for what does not come. */
	h.settle_error = -ENOSPC;
	ck_assert_uint_eq(write_pause(&h, mib, 0), 0);
}
END_TEST

START_TEST(a_tick_after_the_newest_is_dropped)
{
	static struct work k;
	uint64_t g;

	begin(&k, 4096, 16 * 4096, 16 * 4096, 1);
	write_some(&k);
	tick(&k);
	write_some(&k);
	snapshot(&k);
	ck_assert_int_eq(world_tick(&k.w, &g), 0);
	ck_assert_uint_eq(g, 0);
	ck_assert_int_eq(world_drop(&k.w, k.m.kept[1].generation), 0);
	copies_drop(&k.m, 1);
	tick(&k);
	ck_assert_uint_eq(k.m.count, 2);
	write_some(&k);
	end(&k);
}
END_TEST

/* A whole disk is zeroed, in many pieces. */
START_TEST(a_long_zero)
{
	static struct work k;
	uint64_t size = 9000 * 4096 + 100;

	begin(&k, 4096, size, size, 1);
	fill(&k, size);
	for (uint64_t off = 0; off < size; off += 700000) {
		uint64_t len = size - off < 650000 ? size - off : 650000;

		ck_assert_int_eq(disk_write(k.w.d, k.buf + off, len, off, 0), 0);
		copies_write(&k.m, k.buf + off, len, off);
	}
	snapshot(&k);
	ck_assert_int_eq(disk_zero(k.w.d, 5000, size, ZERO_PUNCH), 0);
	copies_zero(&k.m, size, 5000);
	copies_check_all(&k.m, &k.w);
	settle(&k);
	copies_check_all(&k.m, &k.w);
	stop(&k);
	end(&k);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { blocks_of_4k,
				       after_each_step,
				       blocks_of_16k,
				       blocks_of_1m,
				       the_last_room_is_given_away_slowly,
				       a_tick_after_the_newest_is_dropped,
				       a_long_zero };

	if (!access("/dev/shm", W_OK))
		setenv("TMPDIR", "/dev/shm", 1);
	return unit_run("history", NULL, NULL, tests, UNIT_LENGTH(tests));
}

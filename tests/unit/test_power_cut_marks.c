// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The power goes, after every write and flush of the file of marks and of both sides: wherever the
 * sides may differ then, the marks say so.
 *
 * The model: some regions of a disk, at the borders of pages and areas of the marks. A side has a
 * number in each, its content; a write that was not flushed may be there after a cut or not, in any
 * order. So a region may differ unless both sides can only have one content, and the same. The
 * marks are asked on several images of their file that the cut may leave.
 *
 * Beside that: where something that was answered is not on the target, the marks say that it is
 * outdated; or mixed, if something newer came to it since.
 *
 * What keeps the order is broken on purpose at the end, and found.
 */
#include "marks_inner.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "bits.h"
#include "tap_file.h"
#include "unit.h"

#define REGION ((uint64_t)MARKS_REGION)
#define AREA ((uint64_t)MARKS_AREA)
#define DIFFERS_AT (16u << 20)
#define NUMBER 3

enum mistake {
	NONE,
	NO_BEGIN,      /* writes, and nobody is told */
	ENDS_EARLY,    /* ends, and then writes */
	ONE_SIDE,      /* a round makes only one side durable */
	CLEARS_EARLY,  /* says equal, and ends, and then copies */
	NO_SET,        /* a side was left out, and nobody is told */
	NO_DOUBT,      /* or lost */
	ACTIVE_LATE,   /* the file's flushes are left out where areas become active */
	DIFFERS_NEVER, /* writes of what differs are left out */
	DIFFERS_LATE,  /* they are written, and not flushed before areas become inactive */
	NO_OUTDATE,    /* answers what the target was not given, and nobody is told */
	OUTDATED_LATE, /* or that is not flushed */
	NO_MIXED,      /* the target gets something newer, and nobody is told */
	RENEWS_EARLY,  /* says that the target has everything, before it does */
	MISTAKES
};

/* Of what cuts are made; sizes in the middle of a region and an area. */
static const uint64_t small_size = 33000 * AREA + 5 * REGION + 7;
static const uint64_t big_size = 33100 * AREA + 9;

/* Region numbers. */
static const uint64_t places[] = {
	0,
	1,
	63,
	64,
	65,
	130,
	200,
	511 * 64 + 63,
	512 * 64,
	512 * 64 + 1,
	700 * 64,
	701 * 64,
	702 * 64 + 5,
	32767 * 64,
	32767 * 64 + 63,
	32768 * 64ull,
	32768 * 64 + 7,
	32769 * 64ull,
	33000 * 64ull,
	33000 * 64 + 5,
	33000 * 64 + 6,
	33001 * 64ull,
	33050 * 64ull,
	33100 * 64ull,
};

#define PLACES UNIT_LENGTH(places)
#define PENDING 16

/* What one side has in one place. */
struct content {
	uint64_t durable, pending[PENDING];
	unsigned count;
};

/* A write that goes on. */
struct going {
	bool is_going;
	size_t first, end; /* places */
	uint64_t off, len;
	unsigned turn;
	unsigned sides_done;
	bool set;
	uint64_t value[PLACES];
};

static struct world {
	uint64_t seed, numbers, cuts, missed;
	struct file *file;
	struct marks *m;
	struct content side[2][PLACES];
	uint64_t size;    /* of the disk */
	uint64_t growing; /* it may have that one already */
	struct going going[3];
	bool target_lost, in_tap, fails;
	enum mistake mistake;
	bool saving;          /* a round is at the file */
	bool outdating;       /* it is being told that the target is outdated */
	bool lacking[PLACES]; /* something that was answered is on the source alone */
	bool newer;           /* and something newer on the target */
} w;

static uint64_t below(uint64_t bound)
{
	return unit_below(&w.seed, bound);
}

/* ---- the sides ---- */

static uint64_t current(int side, size_t i)
{
	const struct content *c = &w.side[side][i];

	return c->count ? c->pending[c->count - 1] : c->durable;
}

static bool is_there(size_t i)
{
	return places[i] * REGION < w.size;
}

/* After a cut now. */
static bool may_differ(size_t i)
{
	for (int side = 0; side < 2; side++)
		for (unsigned p = 0; p < w.side[side][i].count; p++)
			if (w.side[side][i].pending[p] != w.side[0][i].durable)
				return true;
	return w.side[0][i].durable != w.side[1][i].durable;
}

static void check_cut(void);

static bool lacks_any(void)
{
	bool any = false;

	for (size_t i = 0; i < PLACES; i++)
		any |= w.lacking[i] && is_there(i);
	return any;
}

static void put(int side, size_t i, uint64_t value)
{
	struct content *c = &w.side[side][i];

	if (c->count == PENDING) {
		c->durable = current(side, i);
		c->count = 0;
	}
	c->pending[c->count++] = value;
	check_cut();
}

static void make_durable(int side)
{
	for (size_t i = 0; i < PLACES; i++) {
		w.side[side][i].durable = current(side, i);
		w.side[side][i].count = 0;
	}
	check_cut();
}

/* What the cut leaves. */
static void lose(int side)
{
	for (size_t i = 0; i < PLACES; i++) {
		struct content *c = &w.side[side][i];
		uint64_t which = below(c->count + 1);

		c->durable = which ? c->pending[which - 1] : c->durable;
		c->count = 0;
	}
}

/* ---- cuts ---- */

static void check_image(uint64_t seed)
{
	struct file *left = fake_crashed(w.file, seed);
	struct marks *after;
	uint64_t run, size;

	ck_assert_int_eq(marks_open(left, NUMBER, &after), 0);
	if (lacks_any() && marks_outdated(after) < (w.newer ? MIXED : OUTDATED))
		w.missed++;
	/* While it changes, and if undoing failed: as who opens it does. */
	if (marks_size(after) < w.size)
		ck_assert_int_eq(marks_resize(after, w.size, true), 0);
	size = w.growing && marks_size(after) == w.growing ? w.growing : w.size;
	for (size_t i = 0; i < PLACES; i++)
		if (places[i] * REGION < size && may_differ(i) &&
		    !marks_differs(after, places[i] * REGION, 1, &run))
			w.missed++;
	marks_close(after);
	w.cuts++;
}

static void check_cut(void)
{
	bool fails = w.fails;

	w.fails = false;
	for (int i = 0; i < 2; i++)
		check_image(unit_random(&w.seed));
	w.fails = fails;
	if (w.mistake == NONE)
		ck_assert_uint_eq(w.missed, 0);
}

/* ---- writers ---- */

/* Some neighbours among the places; all of their regions, or a part. */
static void choose(struct going *g)
{
	uint64_t last;

	do
		g->first = below(PLACES);
	while (!is_there(g->first));
	g->end = g->first + 1;
	while (g->end < PLACES && is_there(g->end) && places[g->end] - places[g->first] < 130 &&
	       below(2))
		g->end++;
	g->off = places[g->first] * REGION;
	last = (places[g->end - 1] + 1) * REGION;
	g->len = (last < w.size ? last : w.size) - g->off;
}

/* One number for both where they are equal: they are afterwards. */
static void write_side(struct going *g, int side)
{
	for (size_t i = g->first; i < g->end; i++) {
		bool equal = g->sides_done ? g->value[i] : current(0, i) == current(1, i);

		if (!g->sides_done)
			g->value[i] = equal ? ++w.numbers : 0;
		put(side, i, equal ? g->value[i] : ++w.numbers);
	}
	w.newer |= side && lacks_any();
	g->sides_done |= 1 << side;
}

/* False: nothing is answered, nor given to the target. */
static bool outdate(enum outdated how)
{
	int err;

	if (w.mistake == NO_OUTDATE || (w.mistake == NO_MIXED && how == MIXED))
		return true;
	w.outdating = true;
	err = marks_outdate(w.m, how);
	w.outdating = false;
	return !err;
}

/* The target was not given it, because it is lost, or because something differs there. */
static void answer(const struct going *g)
{
	/* Who has the locks of marks is no client. */
	if (w.in_tap || g->sides_done != 1 || !outdate(w.target_lost ? OUTDATED : MIXED))
		return;
	for (size_t i = g->first; i < g->end; i++)
		w.lacking[i] = true;
}

static bool is_lone(const struct going *g)
{
	for (size_t i = 0; i < UNIT_LENGTH(w.going); i++)
		if (w.going[i].is_going && &w.going[i] != g && w.going[i].first < g->end &&
		    g->first < w.going[i].end)
			return false;
	return true;
}

static bool begin_write(struct going *g)
{
	choose(g);
	/* The range lock of the disk. */
	if (!is_lone(g))
		return false;
	g->sides_done = 0;
	g->turn = 2;
	if (w.mistake != NO_BEGIN && marks_begin(w.m, g->off, g->len, &g->turn))
		return false;
	if (w.mistake == ENDS_EARLY) {
		marks_end(w.m, g->turn);
		g->turn = 2;
	}
	g->is_going = true;
	return true;
}

static void end_write(struct going *g)
{
	/* Only one side was written. */
	if ((g->sides_done != 3) && w.mistake != NO_SET && g->sides_done && g->turn < 2)
		marks_set(w.m, g->off, g->len);
	answer(g);
	if (g->turn < 2)
		marks_end(w.m, g->turn);
	g->is_going = false;
	check_cut();
}

/* One step of it; the side that comes first is any. */
static void go_on(struct going *g)
{
	int side = g->sides_done ? g->sides_done != 2 : (int)below(2);

	if (w.target_lost)
		side = 0;
	if (g->sides_done >> side & 1 || below(20) == 0)
		end_write(g);
	else
		write_side(g, side);
}

static void end_all(void)
{
	for (size_t i = 0; i < UNIT_LENGTH(w.going); i++)
		while (w.going[i].is_going)
			go_on(&w.going[i]);
}

static void write_a_little(void)
{
	struct going *g = &w.going[below(UNIT_LENGTH(w.going))];

	if (g->is_going || begin_write(g))
		go_on(g);
}

/* Inside of a call of marks, where its locks are held: only what needs no other. */
static void write_in_active(void)
{
	struct going g = { 0 };

	choose(&g);
	if (!is_lone(&g) || bits_find(w.m->maps.active, g.off / AREA, marks_areas(g.off + g.len),
				      false) < marks_areas(g.off + g.len))
		return;
	ck_assert_int_eq(marks_begin(w.m, g.off, g.len, &g.turn), 0);
	g.is_going = true;
	while (g.is_going)
		go_on(&g);
}

static void clean(void);

/* The copier: what differs of a place. */
static void copy(void)
{
	struct going g = { 0 };
	uint64_t run;
	unsigned turn;

	choose(&g);
	g.end = g.first + 1;
	g.len = REGION < w.size - g.off ? REGION : w.size - g.off;
	if (w.target_lost || !is_lone(&g) || !marks_differs(w.m, g.off, g.len, &run) ||
	    marks_begin(w.m, g.off, g.len, &turn))
		return;
	if (w.mistake == CLEARS_EARLY) {
		marks_clear(w.m, g.off, g.len);
		marks_end(w.m, turn);
		clean();
		clean();
		put(1, g.first, current(0, g.first));
		return;
	}
	put(1, g.first, current(0, g.first));
	w.lacking[g.first] = false;
	w.newer |= lacks_any();
	marks_clear(w.m, g.off, g.len);
	check_cut();
	marks_end(w.m, turn);
}

/* Nothing differs any more: the target has everything. */
static void renew(void)
{
	bool same;

	end_all();
	marks_renew_begin(w.m);
	same = w.mistake == RENEWS_EARLY || (!w.target_lost && !marks_bytes(w.m));
	if (same && w.mistake != RENEWS_EARLY) {
		ck_assert(!lacks_any());
		w.newer = false;
	}
	if (below(2))
		write_a_little(); /* while it is recorded */
	marks_renew_end(w.m, same);
	check_cut();
}

/* All that differs, so that there is something to renew. */
static void copy_all(void)
{
	uint64_t run;

	end_all();
	for (size_t i = 0; i < PLACES; i++) {
		uint64_t off = places[i] * REGION,
			 len = w.size - off < REGION ? w.size - off : REGION;
		unsigned turn;

		if (w.target_lost || !is_there(i) || !marks_differs(w.m, off, len, &run) ||
		    marks_begin(w.m, off, len, &turn))
			continue;
		put(1, i, current(0, i));
		w.lacking[i] = false;
		w.newer |= lacks_any();
		marks_clear(w.m, off, len);
		marks_end(w.m, turn);
	}
}

/* ---- rounds and the rest ---- */

static int flush_sides(void *arg)
{
	bool writes = !w.mistake || below(2);

	if (w.fails && below(10) == 0)
		return -EIO;
	if (writes && below(2))
		write_a_little();
	make_durable(0);
	if (writes && below(3) == 0)
		write_a_little();
	if (w.mistake != ONE_SIDE)
		make_durable(1);
	if (writes && below(2))
		write_a_little();
	w.saving = true;
	return 0;
}

static void clean(void)
{
	bool all = below(8) == 0;
	int err;

	end_all();
	err = marks_clean(w.m, all, flush_sides, NULL);
	w.saving = false;
	if (!err && all)
		ck_assert(!marks_any_active(w.m));
}

/* What was on its way to the target got there or not, and nobody knows. */
static void lose_target(void)
{
	if (w.mistake != NO_DOUBT)
		marks_doubt(w.m);
	lose(1);
	check_cut();
}

static bool at_file(void *arg, const struct tap_call *call)
{
	/* A new one, or another world's. */
	if (!w.m || w.in_tap)
		return true;
	if (!call->after) {
		if (w.mistake == ACTIVE_LATE && call->call == FAKE_FLUSH && !w.saving)
			return false;
		if (w.mistake == DIFFERS_NEVER && call->call == FAKE_WRITE &&
		    call->off >= DIFFERS_AT)
			return false;
		if (w.mistake == OUTDATED_LATE && call->call == FAKE_FLUSH && w.outdating)
			return false;
		return w.mistake != DIFFERS_LATE || call->call != FAKE_FLUSH || !w.saving;
	}
	w.in_tap = true;
	check_cut();
	if (below(3) == 0)
		write_in_active();
	if (below(20) == 0)
		lose_target();
	w.in_tap = false;
	return true;
}

/* Of each region that is new, or only partly: on both sides the same, or not. */
static void fill(uint64_t from, uint64_t size, bool equal)
{
	for (size_t i = 0; i < PLACES; i++)
		if (places[i] * REGION >= from && places[i] * REGION < size) {
			w.lacking[i] = false; /* it was cut off */
			for (int side = 0; side < 2; side++)
				w.side[side][i] = (struct content){
					.durable = equal && side ? w.numbers : ++w.numbers
				};
		}
}

static void grow(uint64_t size)
{
	uint64_t old = w.size, new_from = (old + REGION - 1) / REGION * REGION;
	bool differs = below(2);

	/* The disk is longer by then. */
	w.growing = size;
	fill(new_from, size, !differs);
	if (!marks_resize(w.m, size, differs)) {
		if (differs)
			fill(old / REGION * REGION, new_from, false);
		w.size = size;
	}
	w.growing = 0;
}

static void shrink(uint64_t size)
{
	uint64_t old = w.size;

	w.size = size;
	if (marks_resize(w.m, size, below(2)))
		w.size = old;
}

static void resize(void)
{
	end_all();
	if (w.size == small_size)
		grow(big_size);
	else
		shrink(small_size);
	ck_assert_uint_eq(marks_size(w.m), w.size);
	check_cut();
}

static void take_up(struct file *left)
{
	struct marks *old = w.m;

	w.m = NULL;
	for (size_t i = 0; i < UNIT_LENGTH(w.going); i++)
		if (w.going[i].is_going && w.going[i].turn < 2)
			marks_end(old, w.going[i].turn);
	memset(w.going, 0, sizeof(w.going));
	marks_close(old);
	w.file = left;
	ck_assert_int_eq(marks_open(tap_file_new(left, at_file, NULL), NUMBER, &w.m), 0);
	if (marks_size(w.m) != w.size)
		ck_assert_int_eq(marks_resize(w.m, w.size, true), 0);
	w.target_lost = lacks_any() && !outdate(MIXED);
	check_cut();
}

/* We die, or the power goes, and life goes on. */
static void crash(void)
{
	if (below(2)) {
		take_up(fake_twin(w.file));
	} else {
		struct file *left = fake_crashed(w.file, unit_random(&w.seed));

		lose(0);
		lose(1);
		take_up(left);
	}
}

/* Gone, and back again. */
static void switch_target(void)
{
	if (w.target_lost)
		w.target_lost = lacks_any() && !outdate(MIXED);
	else
		w.target_lost = true;
	if (w.target_lost)
		lose_target();
}

static void something(void)
{
	uint64_t what = below(100);

	if (w.fails && below(12) == 0)
		fake_fail(w.file, below(2) ? FAKE_WRITE : FAKE_FLUSH, 1 + below(3), 1, EIO);
	if (what < 45)
		write_a_little();
	else if (what < 65)
		copy();
	else if (what < 83)
		clean();
	else if (what < 88)
		renew();
	else if (what < 91)
		make_durable(below(2));
	else if (what < 93)
		switch_target();
	else if (what < 96)
		crash();
	else if (what < 98)
		resize();
	else if (what < 99)
		copy_all();
	else
		marks_set_all(w.m);
}

/* So many steps of a new world. Returns how often something that may differ was not marked. */
static uint64_t live(uint64_t seed, enum mistake mistake, bool fails, unsigned steps)
{
	struct file *file = fake_file_new(NULL, 0);
	struct marks *m;

	memset(&w, 0, sizeof(w));
	w.seed = seed;
	w.size = small_size;
	w.file = file;
	w.mistake = mistake;
	w.fails = fails;
	ck_assert_int_eq(marks_create(tap_file_new(file, at_file, NULL), NUMBER, w.size, false, &m),
			 0);
	w.m = m;
	while (steps-- && !(mistake && w.missed))
		something();
	end_all();
	m = w.m;
	w.m = NULL;
	marks_close(m);
	return w.missed;
}

START_TEST(whatever_may_differ_is_marked)
{
	uint64_t cuts = 0;

	for (unsigned i = 0; i < unit_scaled(30); i++) {
		live(i, NONE, false, 100);
		cuts += w.cuts;
	}
	printf("%llu cuts\n", (unsigned long long)cuts);
}
END_TEST

START_TEST(also_when_the_file_fails)
{
	for (unsigned i = 0; i < unit_scaled(15); i++)
		live(100000 + i, NONE, true, 100);
}
END_TEST

START_TEST(a_broken_order_is_found)
{
	for (enum mistake mistake = NO_BEGIN; mistake < MISTAKES; mistake++) {
		unsigned i = 0;

		while (!live(i, mistake, false, 100))
			ck_assert_msg(++i < 100, "mistake %d", mistake);
	}
}
END_TEST

/* Each cut takes the same large pieces of memory; not from the kernel each time. */
static void keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

UNIT_MAIN("power cut, marks", keep_memory, NULL, whatever_may_differ_is_marked,
	  also_when_the_file_fails, a_broken_order_is_found)

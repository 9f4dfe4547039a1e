// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Everything that a past can do, at random, on some disks of one tandem: writes, punches, snapshots
 * of one disk or of all, kept moments, restores that end or are aborted, clones of any moment and of
 * clones, filled or not, overlays; they go again in any order, and the tandem stops and starts. After
 * each step all disks, snapshots and overlays, and some of the other moments, are compared with whole
 * copies. What runs behind (settling, filling, collecting) runs beside that as fast, or slow, as it likes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clones.h"
#include "jobs.h"
#include "past_disk.h"
#include "snapshots_inner.h"
#include "unit.h"

#define STEPS 12500 /* of each life */
#define DISKS 5
#define FIRST 2 /* those that are no clones, and stay */
#define SIZE (15 * PAST_BLOCK + 1536)
#define SNAPSHOTS 4
#define TICKS 6

static struct one {
	struct past_disk p;
	bool there;
	uint32_t clone;  /* its relationship, as long as it is filled */
	uint8_t *undone; /* what an abort brings back, if its restore can still be aborted */
} all[DISKS];

static struct why why;
static uint64_t seed = 1;
static unsigned clones_made;
static const char *doing = "";

/* Of the test's own process, for the one that tells of what failed. */
#define LIVES 8
static struct life {
	uint64_t steps;
	const char *doing; /* NULL: it is over, and all was right */
} * lives;
static struct life *life;
static pid_t teller;

static uint64_t below(uint64_t bound)
{
	return unit_below(&seed, bound);
}

static void say(void)
{
	for (size_t i = 0; i < LIVES && getpid() == teller; i++)
		if (lives[i].doing)
			fprintf(stderr, "life %zu failed in step %llu: %s\n", i + 1,
				(unsigned long long)lives[i].steps, lives[i].doing);
}

__attribute__((constructor)) static void share_lives(void)
{
	lives = mmap(NULL, LIVES * sizeof(*lives), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (lives == MAP_FAILED)
		abort();
	teller = getpid();
	atexit(say);
}

/* ---- what there is ---- */

static struct one *any(void)
{
	struct one *o;

	do
		o = &all[below(DISKS)];
	while (!o->there);
	return o;
}

static size_t count_kept(const struct one *o, bool snapshots)
{
	size_t n = 0;

	for (size_t i = 0; i < o->p.count; i++)
		n += (o->p.kept[i].number != 0) == snapshots;
	return n;
}

static bool is_snapshot(const struct past_moment *m)
{
	return m->number != 0;
}

static bool has_no_overlay(const struct past_moment *m)
{
	return is_snapshot(m) && !m->over;
}

static bool has_overlay(const struct past_moment *m)
{
	return m->over != NULL;
}

static bool is_moment(const struct past_moment *m)
{
	return m->generation != 0;
}

static struct past_moment *any_moment(struct one *o, bool (*fits)(const struct past_moment *m))
{
	struct past_moment *found = NULL;
	size_t n = 0;

	for (size_t i = 0; i < o->p.count; i++)
		if (fits(&o->p.kept[i]) && !below(++n))
			found = &o->p.kept[i];
	return found;
}

static uint8_t *copy(const uint8_t *bytes)
{
	uint8_t *made = malloc(SIZE);

	memcpy(made, bytes, SIZE);
	return made;
}

/* While a restore runs, a clone is filled or has to be, and so on: then nothing may have changed. */
static bool done(int err)
{
	ck_assert_msg(!err || err == -EBUSY, "%s: %d, %s", doing, err, why.message);
	return !err;
}

/* ---- what is done; true: it was ---- */

static bool write_some(void)
{
	past_scribble(&any()->p);
	return true;
}

static bool open_or_close(void)
{
	struct one *o = any();

	if (o->p.open)
		past_close(&o->p);
	else
		past_open(&o->p);
	return true;
}

static bool settle(void)
{
	return done(tandem_settle_disk(temp.t, any()->p.d, &why));
}

static bool snapshot(void)
{
	bool together = !below(3);
	struct one *one = any();
	struct snapshot_facts facts[DISKS];
	struct disk *disks[DISKS];
	struct one *of[DISKS];
	size_t count = 0;

	for (size_t i = 0; i < DISKS; i++)
		if (all[i].there && (together || one == &all[i]) &&
		    count_kept(&all[i], true) < SNAPSHOTS) {
			of[count] = &all[i];
			disks[count++] = all[i].p.d;
		}
	if (!count || !done(tandem_snapshot(temp.t, disks, count, NULL, false, facts, &why)))
		return false;
	for (size_t i = 0; i < count; i++)
		past_keep(&of[i]->p, &facts[i]);
	return true;
}

static bool delete_snapshot(void)
{
	struct one *o = any();
	struct past_moment *m = any_moment(o, is_snapshot);

	if (!m || !done(tandem_delete_snapshot(temp.t, m->number, true, false, &why)))
		return false;
	past_forget(&o->p, m - o->p.kept);
	return true;
}

/* As the ticker does it, whose clock would say when. */
static bool tick(void)
{
	struct one *o = any();
	struct history *h = atomic_load(&o->p.d->history);
	struct snapshots *s = temp.t->snapshots;
	struct snapshot_facts f = { .name = "tick" };
	struct catalogue_txn *txn;
	struct moment_record m;
	bool kept;

	if (!h || count_kept(o, false) == TICKS ||
	    !done(generation_close(temp.t, &h, 1, MOMENT_TICK, past_now(s), &kept,
				   &f.generation)) ||
	    !kept)
		return false;
	pthread_mutex_lock(&s->changing);
	ck_assert_int_eq(moment_exactly(o->p.d, f.generation, &m), 0);
	ck_assert_int_eq(catalogue_begin(temp.t->catalogue, &txn), 0);
	ck_assert_int_eq(moment_put(txn, o->p.d->number, &m), 0);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	pthread_mutex_unlock(&s->changing);
	past_keep(&o->p, &f);
	return true;
}

static bool forget_ticks(void)
{
	struct one *o = any();
	struct past_moment *m = any_moment(o, is_moment);
	uint64_t before = m ? m->generation + below(2) : 0;

	if (!m || !done(tandem_forget_history(temp.t, o->p.d, before, true, false, &why)))
		return false;
	for (size_t i = o->p.count; i-- > 0;)
		if (!is_snapshot(&o->p.kept[i]) && o->p.kept[i].generation < before)
			past_forget(&o->p, i);
	return true;
}

static bool restore(void)
{
	struct one *o = any();
	struct past_moment *m = any_moment(o, is_moment);
	struct snapshot_facts before;
	uint8_t *then;

	if (!m || count_kept(o, true) > SNAPSHOTS)
		return false;
	if (!done(tandem_restore(temp.t, &o->p.d, &m->generation, 1, true, false, &before, &why)))
		return false;
	then = copy(m->bytes);
	past_keep(&o->p, &before);
	free(o->undone);
	o->undone = o->p.now;
	o->p.now = then;
	return true;
}

static bool abort_restore(void)
{
	struct one *o = any();
	bool aborted;

	if (!o->undone)
		return false;
	aborted = done(tandem_abort_restore(temp.t, &o->p.d, 1, true, false, &why));
	if (aborted) /* else it has ended */
		memcpy(o->p.now, o->undone, SIZE);
	free(o->undone);
	o->undone = NULL;
	return aborted;
}

static bool make_clone(void)
{
	static const char *const endings[] = { "img", "img", "img", "vhdx" };
	struct one *o = any(), *made = NULL;
	struct past_moment *m = below(3) ? any_moment(o, is_moment) : NULL;
	struct clone_request q = {
		.generation = m ? m->generation : UINT64_MAX,
		.methodology = below(3) ? METHOD_FULL_COPY : METHOD_COPY_ON_ACCESS,
		.mode = 0644,
		.share = below(2),
	};
	struct clone_facts c;
	char label[sizeof(o->p.label)];

	for (size_t i = 0; i < DISKS && !made; i++)
		if (!all[i].there)
			made = &all[i];
	if (!made)
		return false;
	snprintf(label, sizeof(label), "c%u.%s", clones_made++, endings[below(4)]);
	q.target = label;
	if (!done(tandem_clone(temp.t, o->p.d, &q, &c, &why)))
		return false;
	*made = (struct one){ .p = { .size = SIZE, .seed = seed },
			      .there = true,
			      .clone = c.number };
	strcpy(made->p.label, label);
	made->p.now = copy(m ? m->bytes : o->p.now);
	past_disk_again(&made->p);
	return true;
}

static bool delete_clone(void)
{
	struct one *o = &all[FIRST + below(DISKS - FIRST)];
	int err;

	if (!o->there || disk_is_cloned(o->p.d)) /* by those that would be lost with it */
		return false;
	past_close(&o->p);
	err = disk_is_clone(o->p.d) ? tandem_abort_clone(temp.t, o->clone, false, &why)
				    : tandem_delete_disk(temp.t, o->p.d, NULL, true, false, &why);
	if (!done(err == -ENOENT ? -EBUSY : err)) /* it was filled just now */
		return false;
	past_disk_end(&o->p);
	free(o->undone);
	*o = (struct one){ .there = false };
	return true;
}

static bool make_overlay(void)
{
	struct past_moment *m = any_moment(any(), has_no_overlay);

	if (!m || !done(tandem_make_snapshot_writable(temp.t, m->number, false, &why)))
		return false;
	past_overlay(m, SIZE);
	return true;
}

static bool write_overlay(void)
{
	struct past_moment *m = any_moment(any(), has_overlay);
	uint64_t off = below(SIZE), len = 1 + below(3 * PAST_BLOCK);

	if (!m)
		return false;
	if (below(2))
		off &= ~(uint64_t)(PAST_BLOCK - 1);
	past_write_over(m, off, len < SIZE - off ? len : SIZE - off, below(5) ? below(256) : 0);
	return true;
}

static bool drop_overlay(void)
{
	struct past_moment *m = any_moment(any(), has_overlay);

	if (!m || !done(tandem_make_snapshot_read_only(temp.t, m->number, true, false, &why)))
		return false;
	past_forget_overlay(m);
	return true;
}

/* What is copied behind stands still, or hardly does. */
static bool change_pace(void)
{
	static const uint32_t rates[] = { 0, 0, 1, 256 << 10 };

	jobs_set_limits(temp.t->jobs, rates[below(4)], 0);
	return true;
}

static void start(void)
{
	temp_open();
	ck_assert_int_eq(snapshots_start(temp.t), 0);
}

static bool restart(void)
{
	for (size_t i = 0; i < DISKS; i++)
		if (all[i].there)
			past_disk_let_go(&all[i].p);
	temp_close();
	start();
	for (size_t i = 0; i < DISKS; i++)
		if (all[i].there)
			past_disk_again(&all[i].p);
	return true;
}

static struct action {
	bool (*act)(void);
	const char *what;
	unsigned weight; /* of 1,000 */
	uint64_t count;
} actions[] = {
	{ write_some, "write", 400 },
	{ open_or_close, "open or close", 30 },
	{ settle, "settle", 60 },
	{ snapshot, "snapshot", 90 },
	{ delete_snapshot, "delete a snapshot", 60 },
	{ tick, "tick", 60 },
	{ forget_ticks, "forget history", 20 },
	{ restore, "restore", 40 },
	{ abort_restore, "abort", 60 },
	{ make_clone, "clone", 50 },
	{ delete_clone, "delete a clone", 30 },
	{ make_overlay, "make an overlay", 20 },
	{ write_overlay, "write an overlay", 40 },
	{ drop_overlay, "drop an overlay", 10 },
	{ change_pace, "change the pace", 25 },
	{ restart, "restart", 5 },
};

static struct action *choose(void)
{
	unsigned at = below(1000);

	for (size_t i = 0;; i++) {
		if (at < actions[i].weight)
			return &actions[i];
		at -= actions[i].weight;
	}
}

/* ---- the whole ---- */

static void check_all(void)
{
	for (size_t i = 0; i < DISKS; i++) {
		struct past_disk *p = &all[i].p;

		if (!all[i].there)
			continue;
		past_check_now(p);
		for (size_t m = 0; m < p->count; m++)
			if (is_snapshot(&p->kept[m]) || !below(2))
				past_check(p, &p->kept[m]);
	}
}

static bool are_gone(void *arg)
{
	bool left = false;

	(void)arg;
	for (size_t i = 0; i < DISKS; i++) {
		delete_clone();
		for (size_t m = all[i].p.count; m-- > 0 && all[i].there;) {
			struct past_moment *kept = &all[i].p.kept[m];

			if (!is_snapshot(kept) ||
			    done(tandem_delete_snapshot(temp.t, kept->number, true, false, &why)))
				past_forget(&all[i].p, m);
		}
		left |= all[i].there && (i >= FIRST || all[i].p.count);
	}
	return !left;
}

static void keep_history(struct past_disk *p, uint64_t window_s)
{
	const struct history_window w = { window_s, 3600 * 1000, 0 };

	ck_assert_msg(!tandem_keep_history(temp.t, p->d, &w, true, false, &why), "%s", why.message);
}

static void end(void)
{
	doing = life->doing = "delete all";
	jobs_set_limits(temp.t->jobs, 0, 0);
	ck_assert(unit_until(are_gone, NULL, 30));
	for (size_t i = 0; i < FIRST; i++) {
		past_check_now(&all[i].p);
		keep_history(&all[i].p, 0);
		ck_assert_msg(past_is_empty(&all[i].p), "something is left of %s", all[i].p.label);
		past_check_now(&all[i].p);
		past_disk_end(&all[i].p);
		free(all[i].undone);
		all[i] = (struct one){ .there = false };
	}
}

static void live(unsigned number)
{
	uint64_t most = unit_scaled(STEPS);

	life = &lives[number - 1];
	seed = number;
	for (size_t i = 0; i < FIRST; i++) {
		past_disk_begin(&all[i].p, i ? "b.img" : "a.img", SIZE);
		all[i].p.seed = i + 1;
		all[i].there = true;
		past_open(&all[i].p);
		keep_history(&all[i].p, 3600);
	}
	for (life->steps = 0; life->steps < most; life->steps++) {
		struct action *a = choose();

		doing = life->doing = a->what;
		a->count += a->act();
		check_all();
	}
	for (size_t i = 0; i < UNIT_LENGTH(actions); i++)
		ck_assert_msg(most < 2500 || actions[i].count, "nothing did %s", actions[i].what);
	end();
	life->doing = NULL;
}

/* Each in its own time, and none goes on for long. */
#define LIFE(number)              \
	START_TEST(life_##number) \
	{                         \
		live(number);     \
	}                         \
	END_TEST

LIFE(1)
LIFE(2)
LIFE(3)
LIFE(4)
LIFE(5)
LIFE(6)
LIFE(7)
LIFE(8)

static void setup(void)
{
	temp_tandem_begin();
	temp.options.block_size = PAST_BLOCK;
	start();
}

UNIT_MAIN("past model", setup, temp_tandem_end, life_1, life_2, life_3, life_4, life_5, life_6,
	  life_7, life_8)

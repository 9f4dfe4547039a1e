// SPDX-License-Identifier: GPL-2.0-or-later
/* What is given up when there is no space: in which order, what of it is told, and what never is. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clones.h"
#include "history_inner.h"
#include "past_disk.h"
#include "snapshots_inner.h"
#include "space.h"
#include "unit.h"

#define BLOCKS 64
#define SIZE (BLOCKS * PAST_BLOCK)

static struct past_disk p;
static struct why why;

static void begin(void)
{
	temp_open();
	ck_assert_int_eq(snapshots_start(temp.t), 0);
}

static void setup(void)
{
	temp_tandem_begin();
	temp.options.block_size = PAST_BLOCK;
	begin();
	past_disk_begin(&p, "a.img", SIZE);
}

static void teardown(void)
{
	past_disk_end(&p);
	temp_tandem_end();
}

/* A write of the disk found no space; how often room could be made for it. */
static unsigned room(unsigned most)
{
	struct space_attempts a = space_attempts(temp.t);
	unsigned times = 0;

	past_open(&p);
	do
		atomic_store(&atomic_load(&p.d->history)->log_starved, true);
	while (times < most && !space_make(p.d, -ENOSPC, &a) && ++times);
	return times;
}

static enum snapshot_state state_of(const char *name)
{
	struct snapshot_facts f;

	ck_assert_int_eq(snapshot_named(temp.t, p.d, name, &f), 0);
	ck_assert_int_eq(f.generation == 0, f.state == SNAPSHOT_BROKEN);
	return f.state;
}

static void hold(const char *name)
{
	struct snapshot_facts f;

	ck_assert_int_eq(snapshot_named(temp.t, p.d, name, &f), 0);
	ck_assert_int_eq(tandem_hold_snapshot(temp.t, f.number, "tag", false, &why), 0);
}

/* Only the first `lost` of these names are Broken; the others are what they were. */
static void lost_are(unsigned lost, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		ck_assert_msg((state_of(names[i]) == SNAPSHOT_BROKEN) == (i < lost),
			      "%u are lost, %s is not as it should be", lost, names[i]);
	for (size_t i = 0; i < p.count; i++)
		if (state_of(p.kept[i].name) != SNAPSHOT_BROKEN)
			past_check(&p, &p.kept[i]);
		else
			ck_assert_int_eq(moment_open(p.d, p.kept[i].generation), -ENOENT);
	past_check_now(&p);
}

/* Until one more snapshot is lost: what comes before is settling, and waiting for space. */
static void lose_one(void)
{
	unsigned before = temp_events("SnapshotLost");

	while (temp_events("SnapshotLost") == before)
		ck_assert_uint_eq(room(1), 1);
	ck_assert_uint_eq(temp_events("SnapshotLost"), before + 1);
}

START_TEST(what_becomes_a_clone)
{
	static const char *const names[] = { "later", "needed" };
	struct clone_request q = { .name = "token" };
	struct clone_facts f;

	past_write(&p, 0, SIZE, 1);
	q.generation = past_snapshot(&p, "needed")->generation;
	past_write(&p, 0, SIZE, 2);
	past_snapshot(&p, "later");
	past_write(&p, 0, SIZE, 3);
	ck_assert_int_eq(tandem_tokenize(temp.t, p.d, &q, &f, &why), 0);
	lose_one();
	lost_are(1, names, 2);
	ck_assert_uint_lt(room(100), 100);
	lost_are(1, names, 2);
	ck_assert_int_eq(tandem_drop_token(temp.t, f.number, false, &why), 0);
	lose_one();
	lost_are(2, names, 2);
}
END_TEST

START_TEST(order)
{
	static const char *const names[] = { "b", "d", "read", "held" };
	uint64_t read_at;

	for (size_t i = 0; i < 4; i++) {
		static const char *const in_time[] = { "held", "b", "read", "d" };

		past_write(&p, 0, SIZE, i + 1);
		read_at = past_snapshot(&p, in_time[i])->generation;
		if (i == 2)
			ck_assert_int_eq(moment_open(p.d, read_at), 0);
	}
	read_at = p.kept[2].generation;
	past_write(&p, 0, SIZE, 77);
	hold("held");
	for (unsigned lost = 1; lost <= 4; lost++) {
		uint8_t byte;
		size_t done;

		lose_one();
		lost_are(lost, names, 4);
		ck_assert_int_eq(moment_read(p.d, read_at, &byte, 1, 0, &done),
				 lost < 3 ? 0 : -ESTALE);
	}
	ck_assert_uint_eq(temp_events("Major SnapshotLost replicas/a.img@b Reason=NoSpace"), 1);
	ck_assert_uint_eq(temp_events("Critical SnapshotLost replicas/a.img@held"), 1);
	ck_assert_uint_eq(temp_events("SpaceLow daemon"), 1);
	moment_close(p.d, read_at);
	/* Nothing is left, and the disk is as if it had no past. */
	ck_assert_uint_lt(room(100), 100);
	ck_assert_uint_eq(room(1), 0);
	ck_assert(past_is_empty(&p));
	past_write(&p, 0, SIZE, 78);
	ck_assert_uint_eq(atomic_load(&p.d->history)->pending.pieces, 0);
	past_disk_let_go(&p);
	temp_close();
	begin();
	past_disk_again(&p);
	lost_are(4, names, 4);
}
END_TEST

/* Ticks are no snapshots: they go first, and no event names them. */
START_TEST(history_first)
{
	const struct history_window w = { 3600, 100, 0 };
	struct history *h;
	struct history_facts f;
	uint64_t generation;
	bool kept;

	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "one");
	ck_assert_int_eq(tandem_keep_history(temp.t, p.d, &w, false, false, &why), 0);
	h = atomic_load(&p.d->history);
	past_write(&p, 0, SIZE, 2);
	ck_assert_int_eq(generation_close(temp.t, &h, 1, MOMENT_TICK, past_now(temp.t->snapshots),
					  &kept, &generation),
			 0);
	past_write(&p, 0, SIZE, 3);
	history_facts(h, &f);
	ck_assert_uint_ge(f.ticks, 1);
	while (f.ticks) {
		ck_assert_uint_eq(temp_events("SnapshotLost"), 0);
		ck_assert_uint_eq(room(1), 1);
		history_facts(h, &f);
	}
	lose_one();
	ck_assert_int_eq(state_of("one"), SNAPSHOT_BROKEN);
	past_check_now(&p);
}
END_TEST

/* Of two disks, that which has more old content loses something first. */
START_TEST(the_larger_first)
{
	struct past_disk q;

	past_disk_begin(&q, "b.img", SIZE);
	past_write(&q, 0, SIZE, 1);
	past_snapshot(&q, "small");
	past_write(&q, 0, PAST_BLOCK, 2);
	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "large");
	past_write(&p, 0, SIZE, 2);
	ck_assert_int_eq(tandem_settle_disk(temp.t, p.d, &why), 0);
	ck_assert_int_eq(tandem_settle_disk(temp.t, q.d, &why), 0);
	lose_one();
	ck_assert_int_eq(state_of("large"), SNAPSHOT_BROKEN);
	past_check_all(&q);
	lose_one();
	ck_assert_uint_eq(temp_events("SnapshotLost replicas/b.img@small"), 1);
	past_disk_end(&q);
}
END_TEST

/* A restore needs both of its moments: they are the disk's present content. */
START_TEST(a_restore)
{
	struct history *h;
	struct history_restore r;

	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "from");
	past_write(&p, 0, SIZE, 2);
	past_snapshot(&p, "before");
	h = atomic_load(&p.d->history);
	r = (struct history_restore){ p.kept[0].generation, p.kept[1].generation };
	ck_assert_int_eq(history_pin(h, r.from), 0);
	ck_assert_int_eq(history_pin(h, r.before), 0);
	ck_assert_uint_lt(room(100), 100);
	ck_assert_uint_eq(temp_events("SnapshotLost"), 0);
	past_check_all(&p);
	history_unpin(h, r.before);
	lose_one();
	ck_assert_int_eq(state_of("before"), SNAPSHOT_BROKEN);
	history_unpin(h, r.from);
}
END_TEST

/* An error that is none of space, or an image on a file system that is not full: nothing goes. */
START_TEST(nothing_for_nothing)
{
	struct space_attempts a = space_attempts(temp.t);
	unsigned vain = 0;

	past_write(&p, 0, SIZE, 1);
	past_snapshot(&p, "one");
	past_open(&p);
	ck_assert_int_eq(space_make(p.d, -EIO, &a), -EIO);
	/* It is done again a few times: what was in its way may have gone meanwhile. */
	while (!space_make(p.d, -ENOSPC, &a))
		ck_assert_uint_lt(vain++, 100);
	ck_assert_int_eq(space_make(p.d, -ENOSPC, &a), -ENOSPC);
	ck_assert_int_eq(space_make(p.d, -EDQUOT, &a), -EDQUOT);
	ck_assert_int_eq(state_of("one"), SNAPSHOT_SYNCHRONIZED);
}
END_TEST

UNIT_MAIN("space", setup, teardown, order, what_becomes_a_clone, history_first, the_larger_first,
	  a_restore, nothing_for_nothing)

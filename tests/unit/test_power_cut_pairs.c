// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The power goes, after any call that changes a file of a disk with a mirror: image, target, marks,
 * past of both, catalogue. A guest writes, flushes and reads the target, beside the mirror's own threads;
 * what is left is opened, and held against what he knows:
 *
 *   the source             each sector is as it was at some time since the last flush that was answered
 *   a synchronous target   so is each of it, and where it differs from the source it is marked;
 *                          so a Failover that is not forced loses nothing that was flushed
 *   an asynchronous one    is, as clients read it, the source after one of his writes, whole; not
 *                          an older one than SyncTime says, nor than anybody has read there before
 *
 * Then it goes on: both get the same without a change of the source, and of a synchronous
 * one no more is written than was marked. Or it fails over, and the source is what is said above.
 *
 * Without the flushes of a file something is lost: that is tried at the end. Each of these was broken on
 * purpose, once, and was found by a fifth of this:
 *
 *   the target is not flushed before the record says that it shows the next generation
 *   a region that was set since the moment is not marked any more
 *   that what the target shows is a moment is not in the catalogue
 *   the target shows what it holds while that changes
 *   a flush is one of the source only, of one that acknowledges at write
 *
 * Found by nothing here: clients are shown the next generation before that is recorded, and a watch of the
 * marks that begins after the moment of the source; both are a matter of microseconds. Nor what only
 * a death of the daemon shows, as what was acknowledged and not flushed: see pair_sim.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cut_guest.h"
#include "fake_clock.h"
#include "pairs_inner.h"
#include "power_cut.h"
#include "snapshots_inner.h"
#include "unit.h"

#define SECOND 1000000000ull
#define EVENTS 60u

static struct guest {
	_Atomic uint64_t passed;
	enum sync_mode mode;
	bool at_flush;
	uint32_t source, pair; /* numbers; 0: not known yet */
	struct cut_guest g;
	unsigned reads; /* of the target */
	struct {
		unsigned had;
		uint64_t ended;
	} read[EVENTS];
	/* After a cut, if there is to be another one while it is taken up: what a target may become. */
	bool fails_over;
	char found[GUEST_SIZE];
} * guest;

/* Of both. */
struct kind {
	const char *source, *target;
	bool is_container;
	uint32_t block_size; /* 0: the format's choice */
};
static const struct kind raw = { "a.img", "b.img" },
			 vhd = { "a.vhd", "b.vhd", true, 16 * GUEST_BLOCK },
			 vhdx = { "a.vhdx", "b.vhdx", true };

static struct why why;
static uint64_t *seed;
static struct disk *source;
static const struct kind *kind;
static enum sync_mode mode;
static bool at_flush;

static unsigned below(unsigned bound)
{
	return unit_below(seed, bound);
}

/* ---- a tandem ---- */

static void start(void)
{
	clock_begin(&guest->passed);
	if (tandem_open(&temp.options, &temp.t, &why))
		power_cut_wrong("it does not start: %s", why.message);
	tandem_settle(temp.t, &why);
	if (snapshots_start(temp.t))
		power_cut_wrong("snapshots do not start");
}

static void open_source(void)
{
	int err;

	source = guest->source ? tandem_disk_numbered(temp.t, guest->source)
			       : temp_disk(kind->source);
	err = source ? disk_open(source, true) : -ENOENT;
	if (err)
		power_cut_wrong("the source does not open: %d", err);
	guest->source = source->number;
}

static struct pair *the_pair(void)
{
	return pair_of_number(temp.t->pairs, guest->pair);
}

static struct pair_facts facts(void)
{
	struct pair_facts f;

	if (pair_numbered(temp.t, guest->pair, &f))
		power_cut_wrong("the mirror is gone");
	return f;
}

static bool rests(void *arg)
{
	struct pair *p = the_pair();
	bool poked;

	pthread_mutex_lock(&p->lock);
	poked = p->poke;
	pthread_mutex_unlock(&p->lock);
	if (!poked && clock_is_waited_for(&p->poked))
		return true;
	clock_pass(SECOND / 1000);
	return false;
}

static void settle(void)
{
	if (guest->pair && !unit_until(rests, NULL, 20))
		power_cut_wrong("its keeper does not come to rest");
}

/* ---- the guest ---- */

static bool read_target(char *bytes)
{
	struct pair_facts f = facts();
	struct disk *d = temp_disk(f.target);
	bool read = guest_reads(d, bytes);

	disk_unref(d);
	return read;
}

/* Who has seen something there sees nothing older later. */
static void guest_looks_at_target(void)
{
	static char bytes[GUEST_SIZE];
	unsigned n = guest->reads;
	int had;

	if (!guest->pair || guest->mode != MODE_ASYNCHRONOUS || n == EVENTS || facts().first ||
	    !facts().whole || !read_target(bytes))
		return;
	had = guest_find(&guest->g, bytes, 0, guest->g.count);
	if (had < 0)
		power_cut_wrong("its target is none of %u images", guest->g.count + 1);
	guest->read[n].had = had;
	guest->read[n].ended = power_cut_now();
	guest->reads = n + 1;
}

static void make(void)
{
	struct pair_request q = {
		.target = kind->target,
		.existing = kind->is_container,
		.force = kind->is_container,
		.mode = guest->mode,
		.at_flush = guest->at_flush,
		.objective_s = guest->mode == MODE_ASYNCHRONOUS ? 2 : 0,
		.mode_bits = 0600,
	};
	struct pair_facts f;

	if (tandem_mirror(temp.t, source, &q, &f, &why))
		power_cut_wrong("no mirror: %s", why.message);
	guest->pair = f.number;
}

static void something(void)
{
	unsigned n = below(100);

	if (n < 48)
		guest_writes(&guest->g, source, seed);
	else if (n < 60)
		guest_flushes(&guest->g, source);
	else if (n < 66)
		guest_looks_at_target();
	else if (n < 80)
		clock_pass(SECOND / 10 * (1 + below(20)));
	else if (n < 92)
		settle();
	else
		clock_pass(6 * SECOND); /* areas that nobody touched become inactive */
}

/* ---- a life ---- */

static void begin(void)
{
	guest = power_cut_memory(sizeof(*guest));
	setenv("TANDEMFS_IO_URING", "off", 1);
}

static void create(const char *name)
{
	struct create_disk c = {
		.name = name,
		.size = GUEST_SIZE,
		.block_size = kind->block_size,
		.mode = 0600,
		.uid = geteuid(),
		.gid = getegid(),
	};
	struct disk *d;

	if (tandem_create_disk(temp.t, &c, &d, &why))
		power_cut_wrong("no disk: %s", why.message);
	disk_unref(d);
}

/* Every third block. */
static void write_first(void)
{
	static _Alignas(4096) char bytes[GUEST_BLOCK];

	guest_fill(bytes, 1, 7);
	for (unsigned b = 0; b < GUEST_BLOCKS; b += 3) {
		if (disk_write(source, bytes, GUEST_BLOCK, (uint64_t)b * GUEST_BLOCK, 0))
			power_cut_wrong("no content");
		guest->g.images[0][b] = 7;
	}
	if (disk_flush(source))
		power_cut_wrong("no content");
}

/* Every fourth begins without its mirror. */
static void prepare(uint64_t *from)
{
	struct guest new = { .mode = mode, .at_flush = at_flush };

	seed = from;
	*guest = new;
	if (!kind->is_container)
		guest_make_image(&guest->g, kind->source);
	start();
	if (kind->is_container) {
		create(kind->source);
		create(kind->target);
	}
	pairs_start(temp.t);
	open_source();
	if (kind->is_container)
		write_first();
	if (below(4)) {
		make();
		clock_pass(SECOND);
		settle();
	}
	disk_close(source);
	disk_unref(source);
	tandem_close(temp.t);
}

static void live(uint64_t *from)
{
	unsigned events = EVENTS;

	seed = from;
	start();
	pairs_start(temp.t);
	open_source();
	while (events--) {
		if (!guest->pair && !below(6))
			make();
		something();
	}
	if (below(2))
		return;
	disk_close(source);
	disk_unref(source);
	tandem_close(temp.t);
}

/* ---- what is left of it ---- */

static struct guest_left left;
static unsigned seen; /* an image */

static void find_left(uint64_t calls)
{
	left = guest_left(&guest->g, calls);
	seen = 0;
	for (unsigned n = 0; n < guest->reads; n++)
		if (guest->read[n].ended <= calls && guest->read[n].had > seen)
			seen = guest->read[n].had;
}

/* Of an asynchronous one: what it is as old as at most. */
static unsigned oldest(const struct pair_facts *f)
{
	unsigned n = seen;

	while (n < left.begun && guest->g.writes[n + 1].ended != UINT64_MAX &&
	       guest->g.writes[n + 1].ended_ms < f->sync_time_ms)
		n++;
	return n;
}

static void check_moment(const struct pair_facts *f, const char *of, const char *bytes)
{
	unsigned low = oldest(f);

	if (power_cut_again() && !memcmp(bytes, guest->found, GUEST_SIZE))
		return;
	if (guest_find(&guest->g, bytes, low, left.begun) < 0)
		power_cut_wrong("the %s is none of images %u to %u%s", of, low, left.begun,
				guest_find(&guest->g, bytes, 0, left.begun) < 0
					? ", nor an older one"
					: "");
}

static void check_marked(const struct pair_facts *f, const char *s, const char *t)
{
	struct marks *marks = the_pair()->leg.marks;
	uint64_t run;

	for (unsigned at = 0; at < GUEST_SIZE; at += GUEST_SECTOR)
		if (memcmp(s + at, t + at, GUEST_SECTOR) != 0 &&
		    !marks_differs(marks, at, GUEST_SECTOR, &run))
			power_cut_wrong("sector %u differs, and is not marked; it is %d",
					at / GUEST_SECTOR, f->state);
	if (f->state == COPY_SYNCHRONIZED && memcmp(s, t, GUEST_SIZE) != 0)
		power_cut_wrong("it is Synchronized, and differs");
}

static char was[GUEST_SIZE], is[GUEST_SIZE], target[GUEST_SIZE];

/* Before anybody copies: what is recorded is true. */
static void check_left(const struct pair_facts *f)
{
	if (f->first || !f->whole)
		return;
	if (!read_target(target))
		power_cut_wrong("the target cannot be read");
	if (f->mode == MODE_ASYNCHRONOUS) {
		check_moment(f, "target", target);
		return;
	}
	guest_check(&guest->g, left, "target", target);
	check_marked(f, was, target);
}

static void fail_over(const struct pair_facts *f)
{
	struct pair_facts now = facts();

	guest->fails_over = true;
	if (tandem_operate_pair(temp.t, guest->pair, OP_FAILOVER, now.state, false, false, &why))
		return;
	if (!guest_reads(source, is))
		power_cut_wrong("what it failed over to cannot be read");
	/* By now it may have got what is left of the source, which need not be what that was at any time. */
	if (now.mode != MODE_ASYNCHRONOUS)
		guest_check(&guest->g, left, "new source", is);
	else if (memcmp(is, was, GUEST_SIZE) != 0)
		check_moment(f, "new source", is);
	_exit(0);
}

static void go_on(const struct pair_facts *f)
{
	uint64_t bytes = 0, marked = f->differs;

	clock_pass(SECOND);
	settle();
	for (unsigned i = 0; i < 20 && facts().state != COPY_SYNCHRONIZED; i++) {
		clock_pass(3 * SECOND);
		settle();
	}
	if (facts().state != COPY_SYNCHRONIZED)
		power_cut_wrong("it stays %d: %d", facts().state, facts().error);
	if (facts().mode == MODE_ASYNCHRONOUS) {
		clock_pass(61 * SECOND);
		settle();
	}
	if (!guest_reads(source, is) || !read_target(target))
		power_cut_wrong("one of them cannot be read at the end");
	if (memcmp(is, was, GUEST_SIZE) != 0)
		power_cut_wrong("the source was changed");
	if (memcmp(is, target, GUEST_SIZE) != 0)
		power_cut_wrong("they are not the same at the end");
	if (power_cut_may_come())
		bytes = power_cut_written(kind->target);
	/* A container's own tables are written, too. */
	if (facts().mode == MODE_SYNCHRONOUS && !kind->is_container && bytes > marked)
		power_cut_wrong("%llu bytes were copied, and %llu were marked",
				(unsigned long long)bytes, (unsigned long long)marked);
}

static void find_pair(void)
{
	struct pair_facts f;
	uint32_t n;

	for (n = 1; n < 100 && pair_numbered(temp.t, n, &f);)
		n++;
	guest->pair = n < 100 ? n : 0;
}

static void look(uint64_t calls, uint64_t *from)
{
	struct pair_facts f;

	seed = from;
	find_left(calls);
	start();
	open_source();
	if (!guest_reads(source, was))
		power_cut_wrong("the source cannot be read");
	guest_check(&guest->g, left, "source", was);
	if (power_cut_may_come()) {
		guest->fails_over = false;
		memcpy(guest->found, was, GUEST_SIZE);
	} else if (power_cut_again() && !guest->fails_over &&
		   memcmp(was, guest->found, GUEST_SIZE) != 0) {
		power_cut_wrong("the source was changed by being taken up");
	}
	find_pair();
	if (!guest->pair)
		return;
	f = facts();
	if (power_cut_again() && f.state == COPY_FAILEDOVER) {
		if (f.mode == MODE_ASYNCHRONOUS)
			check_moment(&f, "new source", was);
		return;
	}
	check_left(&f);
	if (below(2))
		return;
	pairs_start(temp.t);
	if (!f.first && below(2))
		fail_over(&f);
	go_on(&f);
}

static const struct power_cut lives = { begin, prepare, live, look, 30 };

static void holds(const struct kind *of, enum sync_mode in, bool acknowledges_at_flush,
		  unsigned first, unsigned states)
{
	char said[POWER_CUT_WHY];

	kind = of;
	mode = in;
	at_flush = acknowledges_at_flush;
	ck_assert_msg(power_cut(&lives, first, unit_scaled(states), NULL, said), "%s", said);
}

START_TEST(synchronous)
{
	holds(&raw, MODE_SYNCHRONOUS, false, 1000, 1000);
}
END_TEST

START_TEST(acknowledged_at_flush)
{
	holds(&raw, MODE_SYNCHRONOUS, true, 2000, 1000);
}
END_TEST

START_TEST(asynchronous)
{
	holds(&raw, MODE_ASYNCHRONOUS, false, 3000, 1000);
}
END_TEST

START_TEST(synchronous_vhd)
{
	holds(&vhd, MODE_SYNCHRONOUS, false, 6000, 500);
}
END_TEST

START_TEST(asynchronous_vhd)
{
	holds(&vhd, MODE_ASYNCHRONOUS, false, 7000, 500);
}
END_TEST

START_TEST(synchronous_vhdx)
{
	holds(&vhdx, MODE_SYNCHRONOUS, false, 8000, 500);
}
END_TEST

START_TEST(asynchronous_vhdx)
{
	holds(&vhdx, MODE_ASYNCHRONOUS, false, 9000, 500);
}
END_TEST

/* Without the flushes of that file something is lost, or said that is not so. */
static void is_needed(const struct kind *of, enum sync_mode in, const char *file)
{
	char said[POWER_CUT_WHY];

	kind = of;
	mode = in;
	at_flush = false;
	ck_assert_msg(!power_cut(&lives, 5000, 3000, file, said),
		      "nothing is lost without flushes of %s", file);
}

START_TEST(flushes_are_needed_by_synchronous_ones)
{
	is_needed(&raw, MODE_SYNCHRONOUS, "/pairs/");
	is_needed(&raw, MODE_SYNCHRONOUS, "/a.img");
	is_needed(&raw, MODE_SYNCHRONOUS, "/b.img");
}
END_TEST

START_TEST(and_by_asynchronous_ones)
{
	is_needed(&raw, MODE_ASYNCHRONOUS, "/pairs/");
	is_needed(&raw, MODE_ASYNCHRONOUS, "/b.img");
	is_needed(&raw, MODE_ASYNCHRONOUS, "/log/");
}
END_TEST

START_TEST(and_of_containers)
{
	is_needed(&vhd, MODE_SYNCHRONOUS, "/a.vhd");
	is_needed(&vhd, MODE_SYNCHRONOUS, "/b.vhd");
	is_needed(&vhdx, MODE_ASYNCHRONOUS, "/b.vhdx");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { synchronous,
				       acknowledged_at_flush,
				       asynchronous,
				       synchronous_vhd,
				       asynchronous_vhd,
				       synchronous_vhdx,
				       asynchronous_vhdx,
				       flushes_are_needed_by_synchronous_ones,
				       and_by_asynchronous_ones,
				       and_of_containers };

	if (!access("/dev/shm", W_OK))
		setenv("TMPDIR", "/dev/shm", 1);
	return unit_run("power cut, mirrors", NULL, NULL, tests, UNIT_LENGTH(tests));
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The power goes, after any call that changes a file of a whole tandem, while snapshots of two disks are
 * made writable, written, flushed, made read-only again, and deleted, and the disks are written, too.
 *
 * What was made writable is so, and what was taken back, or deleted with its snapshot, is gone, with its
 * files. What is written to a snapshot is not older than what was flushed of it; nothing is in it unless
 * the snapshot is Skewed. The moment is to the byte what it was, under it and without it. Then both
 * are written over, and all overlays go.
 *
 * Broken on purpose, once each, and found by a fifth of this: that a snapshot is Skewed is not recorded;
 * an overlay's image has no flush before it is recorded; its files go before that is; its past stays
 * recorded; a flush without the log. Found when this was new: of an overlay that goes, the image was gone and its
 * past was not.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cut_disks.h"
#include "unit.h"

#define EVENTS 90u
#define OVERLAYS 24u

/* In memory that is shared. */
static struct told {
	unsigned count;
	struct overlay {
		unsigned taken, disk; /* the snapshot */
		uint32_t number;      /* its own */
		struct cut_content c;
		uint64_t began, ended, goes, gone;
		char found[CUT_SIZE]; /* by the first one who took up what is left */
	} overlays[OVERLAYS];
	bool writes; /* that one did, then */
} * told;

/* Of this process: those that are open for writing, or NULL. */
static struct disk *opened[OVERLAYS];
static struct why why;

static void begin(void)
{
	cut_begin();
	told = power_cut_memory(sizeof(*told));
}

/* ---- who lives ---- */

static void prepare(uint64_t *from)
{
	cut_seed(from);
	memset(told, 0, sizeof(*told));
	cut_make();
	cut_start();
	for (unsigned i = 0; i < CUT_DISKS; i++)
		for (unsigned w = 3; w; w--)
			cut_write(cut_open[i], &cut->of[i]);
	cut_take();
	cut_stop();
	cut_made();
}

static uint32_t snapshot_of(const struct overlay *o)
{
	return cut->taken[o->taken].numbers[o->disk];
}

static struct disk *open_one(const struct overlay *o)
{
	struct disk *d = snapshot_overlay(temp.t, snapshot_of(o));

	if (!d || disk_open(d, true))
		power_cut_wrong("the overlay %u does not open", o->number);
	return d;
}

static void close_one(unsigned n)
{
	if (!opened[n])
		return;
	disk_close(opened[n]);
	disk_unref(opened[n]);
	opened[n] = NULL;
}

/* The one of that snapshot; told->count: it has none. */
static unsigned overlay_of(unsigned taken, unsigned disk)
{
	unsigned n = 0;

	while (n < told->count &&
	       (told->overlays[n].taken != taken || told->overlays[n].disk != disk ||
		told->overlays[n].goes != CUT_NEVER))
		n++;
	return n;
}

static void make_writable(void)
{
	struct overlay *o = &told->overlays[told->count];
	struct cut_taken *s = cut_any();
	unsigned i = cut_below(CUT_DISKS);
	struct disk *d;

	if (!s || told->count == OVERLAYS || overlay_of(s - cut->taken, i) != told->count)
		return;
	memset(o, 0, sizeof(*o));
	o->taken = s - cut->taken;
	o->disk = i;
	o->ended = o->goes = o->gone = CUT_NEVER;
	memcpy(o->c.images[0], cut->of[i].images[s->images[i]], sizeof(o->c.images[0]));
	o->began = power_cut_now();
	if (tandem_make_snapshot_writable(temp.t, s->numbers[i], false, &why))
		power_cut_wrong("it does not become writable: %s", why.message);
	o->ended = power_cut_now();
	d = snapshot_overlay(temp.t, s->numbers[i]);
	o->number = d->number;
	disk_unref(d);
	told->count++;
}

/* Any that is there, open; OVERLAYS: none. */
static unsigned any_open(void)
{
	unsigned n = told->count ? cut_below(told->count) : 0;

	if (!told->count || told->overlays[n].goes != CUT_NEVER)
		return OVERLAYS;
	if (!opened[n])
		opened[n] = open_one(&told->overlays[n]);
	return n;
}

static void write_one(void)
{
	unsigned n = any_open();

	if (n < OVERLAYS)
		cut_write(opened[n], &told->overlays[n].c);
}

static void flush_one(void)
{
	unsigned n = any_open();

	if (n < OVERLAYS)
		cut_flush(opened[n], &told->overlays[n].c);
}

static void close_any(void)
{
	if (told->count)
		close_one(cut_below(told->count));
}

/* Whether it is open or not. */
static void make_read_only(void)
{
	unsigned n = told->count ? cut_below(told->count) : 0;
	struct overlay *o = &told->overlays[n];

	if (!told->count || o->goes != CUT_NEVER)
		return;
	o->goes = power_cut_now();
	if (tandem_make_snapshot_read_only(temp.t, snapshot_of(o), true, false, &why))
		power_cut_wrong("it does not become read-only: %s", why.message);
	o->gone = power_cut_now();
	close_one(n);
}

/* What was written to it goes with it, unless that is open. */
static void delete_one(void)
{
	cut_delete();
	for (unsigned n = 0; n < told->count; n++) {
		struct overlay *o = &told->overlays[n];
		const struct cut_taken *s = &cut->taken[o->taken];

		if (o->goes == CUT_NEVER && s->gone != CUT_NEVER) {
			o->goes = s->goes;
			o->gone = s->gone;
		}
	}
}

static void live(uint64_t *from)
{
	cut_seed(from);
	cut_start();
	for (unsigned events = EVENTS; events; events--) {
		unsigned what = cut_below(100), i = cut_below(CUT_DISKS);

		if (what < 15)
			cut_write(cut_open[i], &cut->of[i]);
		else if (what < 18)
			cut_flush(cut_open[i], &cut->of[i]);
		else if (what < 23)
			cut_take();
		else if (what < 26)
			cut_settle();
		else if (what < 40)
			make_writable();
		else if (what < 68)
			write_one();
		else if (what < 80)
			flush_one();
		else if (what < 86)
			close_any();
		else if (what < 93)
			make_read_only();
		else
			delete_one();
	}
	for (unsigned n = 0; n < told->count; n++)
		close_one(n);
	if (cut_below(2))
		cut_stop();
}

/* ---- who looks ---- */

static uint64_t now;               /* in calls */
static bool is_there[OVERLAYS];    /* of those that were told of */
static uint32_t numbers[OVERLAYS]; /* of all that are there */
static unsigned there;

/* It is one of those that were begun, and of that snapshot. */
static unsigned which(unsigned taken, unsigned disk, uint32_t number)
{
	for (unsigned n = 0; n < told->count; n++) {
		const struct overlay *o = &told->overlays[n];

		if (o->number == number && o->taken == taken && o->disk == disk && o->began < now)
			return n;
	}
	power_cut_wrong("%s has an overlay that was never made", cut->taken[taken].name);
}

static void check_content(struct overlay *o, enum snapshot_state state)
{
	static char bytes[CUT_SIZE];
	unsigned first = cut_first(&o->c, now), last = cut_last(&o->c, now), sector;
	struct disk *d = open_one(o);

	cut_read(d, bytes);
	disk_close(d);
	disk_unref(d);
	if (power_cut_again()) {
		if (memcmp(bytes, o->found, CUT_SIZE) != 0)
			power_cut_wrong("it is not what it was before the second cut");
		return;
	}
	memcpy(o->found, bytes, CUT_SIZE);
	if (state == SNAPSHOT_SYNCHRONIZED && first)
		power_cut_wrong("it was flushed, and is not Skewed");
	if (state == SNAPSHOT_SKEWED && !last)
		power_cut_wrong("it was not written, and is Skewed");
	if (state == SNAPSHOT_SYNCHRONIZED)
		last = 0;
	if (!cut_fits(&o->c, bytes, first, last, &sector))
		power_cut_wrong("sector %u of the overlay %u is %u, and nothing of images %u to %u",
				sector, o->number,
				*(const uint16_t *)(bytes + (size_t)sector * CUT_SECTOR), first,
				last);
}

static void check_snapshot(unsigned taken, unsigned disk)
{
	const struct cut_taken *s = &cut->taken[taken];
	struct snapshot_facts f;
	struct disk *d;
	unsigned n;

	if (snapshot_named(temp.t, cut_open[disk], s->name, &f))
		return;
	d = snapshot_overlay(temp.t, f.number);
	if (f.overlay_lost || f.writable != (d != NULL))
		power_cut_wrong("what was written to %s is lost", s->name);
	if (!d)
		return;
	numbers[there++] = d->number;
	n = which(taken, disk, d->number);
	disk_unref(d);
	is_there[n] = true;
	if (!told->writes || !power_cut_again())
		check_content(&told->overlays[n], f.state);
}

static void check_overlays(void)
{
	for (unsigned n = 0; n < told->count; n++)
		is_there[n] = false;
	there = 0;
	for (unsigned n = 0; n < cut->count; n++)
		for (unsigned i = 0; i < CUT_DISKS; i++)
			check_snapshot(n, i);
	for (unsigned n = 0; n < told->count; n++) {
		const struct overlay *o = &told->overlays[n];

		if (!is_there[n] && o->ended <= now && o->goes >= now &&
		    !(power_cut_again() && told->writes))
			power_cut_wrong("the overlay %u is gone", o->number);
		if (is_there[n] && o->gone <= now)
			power_cut_wrong("the overlay %u went, and is back", o->number);
	}
}

static bool is_known(uint32_t number)
{
	bool known = number == cut_open[0]->number || number == cut_open[1]->number;

	for (unsigned n = 0; n < there; n++)
		known = known || numbers[n] == number;
	return known;
}

/* Nothing is left of those that are gone. */
static void check_files(const char *name)
{
	DIR *dir = opendir(temp_path(name));
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.' && !is_known(strtoul(e->d_name, NULL, 10)))
			power_cut_wrong("%s/%s is left over", name, e->d_name);
	if (dir)
		closedir(dir);
}

/* Those that are there are written over, and read as that; then they go. */
static void end_all(void)
{
	static _Alignas(4096) char zeros[CUT_SIZE], bytes[CUT_SIZE];

	for (unsigned n = 0; n < told->count; n++) {
		struct overlay *o = &told->overlays[n];
		struct disk *d;

		if (!is_there[n])
			continue;
		d = open_one(o);
		if (disk_write(d, zeros, CUT_SIZE, 0, 0) || disk_flush(d))
			power_cut_wrong("the overlay %u cannot be written", o->number);
		cut_read(d, bytes);
		disk_close(d);
		disk_unref(d);
		if (memcmp(bytes, zeros, CUT_SIZE) != 0)
			power_cut_wrong("the overlay %u is not what is written", o->number);
		cut_check_taken(now);
		if (tandem_make_snapshot_read_only(temp.t, snapshot_of(o), true, false, &why))
			power_cut_wrong("it does not become read-only: %s", why.message);
	}
	there = 0;
	check_files(".tandem/overlays");
	check_files(".tandem/past");
}

static void look(uint64_t calls, uint64_t *from)
{
	cut_seed(from);
	now = calls;
	if (!power_cut_again())
		told->writes = false;
	cut_start();
	cut_check_taken(now);
	check_overlays();
	check_files(".tandem/overlays");
	check_files(".tandem/past");
	if (cut_below(2)) {
		told->writes = told->writes || !power_cut_again();
		cut_write_over();
		cut_check_taken(now);
		end_all();
		cut_check_taken(now);
	}
	if (cut_below(2))
		cut_stop();
}

static const struct power_cut overlays = { begin, prepare, live, look, 60 };

START_TEST(snapshots_that_are_written)
{
	char said[POWER_CUT_WHY];

	ck_assert_msg(power_cut(&overlays, 9000, unit_scaled(1200), NULL, said), "%s", said);
}
END_TEST

START_TEST(flushes_are_needed_for_them)
{
	static const char *const files[] = { "/overlays/", "/log/", "/store/", "data.mdb" };
	char said[POWER_CUT_WHY];

	for (size_t i = 0; i < UNIT_LENGTH(files); i++)
		ck_assert_msg(!power_cut(&overlays, 10000, 3000, files[i], said),
			      "nothing is lost without flushes of %s", files[i]);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { snapshots_that_are_written, flushes_are_needed_for_them };

	if (!access("/dev/shm", W_OK))
		setenv("TMPDIR", "/dev/shm", 1);
	return unit_run("power cut, overlays", NULL, NULL, tests, UNIT_LENGTH(tests));
}

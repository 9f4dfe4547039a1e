// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The power goes, after any call that changes a file of a whole tandem, while two disks are restored
 * together, to snapshots of both: what follows behind is quick, slow or stands still, guests write
 * meanwhile, and some restores are aborted, also after the cut.
 *
 * Both disks are what they were restored to, or none is; so with an Abort. What was answered is there,
 * whatever the guests did not flush; what they did flush is, too. The snapshot of what was replaced is
 * of both or of none, and it and all others hold to the byte what they held. A restore goes on, is
 * aborted to the byte or followed by the images to theirs, and then everything is written over.
 *
 * Broken on purpose, once each, and found by a fifth of this: the restores are recorded one disk after
 * the other, or not at all; nothing is settled before the disks are switched; what was filled is not
 * settled before the restore's record goes. By all of it: Aborts are recorded one after the other. Not
 * found: restore_quiet does nothing, which it takes guests to see that write while the disks are switched.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cut_disks.h"
#include "jobs.h"
#include "unit.h"

#define EVENTS 80u
#define SWITCHES 40u

/* In memory that is shared. */
static struct told {
	unsigned count;
	/* Restores and their Aborts, which switch some disks at one instant. */
	struct {
		bool back;
		bool of[CUT_DISKS];
		unsigned to[CUT_DISKS];          /* the image that each is from then on */
		unsigned before[CUT_DISKS];      /* what an Abort of this one brings back */
		uint64_t generations[CUT_DISKS]; /* of that */
		uint64_t ended;
	} switches[SWITCHES];
	/* What the first one found who took up what is left, and what he did then. */
	char found[CUT_DISKS][CUT_SIZE], aborted[CUT_DISKS][CUT_SIZE];
	bool aborts, writes;
} * told;

static struct why why;

static void begin(void)
{
	cut_begin();
	told = power_cut_memory(sizeof(*told));
}

/* ---- who lives ---- */

/* Until somebody waits for an end. */
static void change_pace(void)
{
	static const uint32_t rates[] = { 0, 1, 64 << 10 };

	jobs_set_limits(temp.t->jobs, rates[cut_below(3)], 0);
}

/* Of who looks: slow enough that there is something to abort. */
static void set_pace(void)
{
	struct tandem_settings s = tandem_get_settings(temp.t);

	s.copy_rate = cut_below(3) ? 64 << 10 : 0;
	if (tandem_set(temp.t, &s, false, &why))
		power_cut_wrong("no CopyRate: %s", why.message);
}

static void prepare(uint64_t *from)
{
	cut_seed(from);
	memset(told, 0, sizeof(*told));
	cut_make();
	cut_start();
	for (unsigned n = 2; n; n--) {
		for (unsigned i = 0; i < CUT_DISKS; i++)
			for (unsigned w = cut_below(6); w; w--)
				cut_write(cut_open[i], &cut->of[i]);
		cut_take();
	}
	set_pace();
	cut_stop();
	cut_made();
}

static bool is_running(unsigned i, bool back)
{
	struct restore_facts f;

	return restore_facts(cut_open[i], &f) && f.back == back;
}

static bool have_ended(void *arg)
{
	struct restore_facts f;

	return !restore_facts(cut_open[0], &f) && !restore_facts(cut_open[1], &f);
}

static void await_end(void)
{
	jobs_set_limits(temp.t->jobs, 0, 0);
	if (!unit_until(have_ended, NULL, 20))
		power_cut_wrong("a restore does not end");
}

/* Those disks are what they held at these images. */
static bool begin_switch(bool back, const bool of[CUT_DISKS], const unsigned images[CUT_DISKS])
{
	unsigned n = told->count;

	for (unsigned i = 0; i < CUT_DISKS; i++)
		if (n == SWITCHES || cut->of[i].count + 1 == CUT_IMAGES)
			return false;
	told->switches[n].back = back;
	told->switches[n].ended = CUT_NEVER;
	for (unsigned i = 0; i < CUT_DISKS; i++) {
		struct cut_content *c = &cut->of[i];

		told->switches[n].of[i] = of[i];
		told->switches[n].before[i] = c->count;
		if (of[i])
			memcpy(cut_next(c), c->images[images[i]], sizeof(c->images[0]));
		told->switches[n].to[i] = c->count;
	}
	told->count++;
	return true;
}

static void end_switch(bool done)
{
	unsigned n = told->count - 1;

	for (unsigned i = 0; i < CUT_DISKS; i++)
		if (told->switches[n].of[i] && done)
			cut_reached(&cut->of[i], told->switches[n].to[i]);
		else if (told->switches[n].of[i])
			cut_take_back(&cut->of[i]);
	told->switches[n].ended = power_cut_now();
	if (!done)
		told->count--;
}

static void restore(void)
{
	static const bool both[CUT_DISKS] = { true, true };
	struct cut_taken *to = cut_any(), *made;
	struct snapshot_facts before[CUT_DISKS];
	int err;

	if (cut_below(3))
		await_end();
	change_pace();
	made = to ? cut_taking() : NULL;
	if (!made)
		return;
	if (!begin_switch(false, both, to->images)) {
		cut->count--;
		return;
	}
	err = tandem_restore(temp.t, cut_open, to->generations, CUT_DISKS, true, false, before,
			     &why);
	if (err && err != -EBUSY)
		power_cut_wrong("no restore: %s", why.message);
	end_switch(!err);
	for (unsigned i = 0; i < CUT_DISKS && !err; i++)
		told->switches[told->count - 1].generations[i] = before[i].generation;
	if (err)
		cut->count--;
	else
		cut_took(made, before);
}

/* A restore of that disk can be aborted, and that brings *image back. */
static bool can_go_back(unsigned i, unsigned *image)
{
	/* First: it may end meanwhile. */
	struct history_restore r = history_restore(atomic_load(&cut_open[i]->history));
	unsigned n = 0;

	if (!r.before || !is_running(i, false))
		return false;
	while (n < told->count &&
	       (told->switches[n].back || told->switches[n].generations[i] != r.before))
		n++;
	if (n == told->count)
		power_cut_wrong("disk %u is being restored, unasked", i);
	*image = told->switches[n].before[i];
	return true;
}

/* As the group's Abort: those that are being restored. */
static void abort_it(void)
{
	bool of[CUT_DISKS];
	unsigned images[CUT_DISKS] = { 0 };
	struct disk *running[CUT_DISKS];
	size_t count = 0;
	int err;

	for (unsigned i = 0; i < CUT_DISKS; i++) {
		of[i] = can_go_back(i, &images[i]);
		if (of[i])
			running[count++] = cut_open[i];
	}
	if (!count || !begin_switch(true, of, images))
		return;
	err = tandem_abort_restore(temp.t, running, count, true, false, &why);
	if (err && err != -EBUSY) /* it has ended just now */
		power_cut_wrong("no abort: %s", why.message);
	end_switch(!err);
}

static void live(uint64_t *from)
{
	cut_seed(from);
	cut_start();
	for (unsigned events = EVENTS; events; events--) {
		unsigned what = cut_below(100), i = cut_below(CUT_DISKS);

		if (what < 40)
			cut_write(cut_open[i], &cut->of[i]);
		else if (what < 47)
			cut_flush(cut_open[i], &cut->of[i]);
		else if (what < 53)
			cut_take();
		else if (what < 57)
			cut_delete();
		else if (what < 63)
			cut_settle();
		else if (what < 82)
			restore();
		else if (what < 92)
			abort_it();
		else if (what < 96)
			await_end();
		else
			change_pace();
	}
	if (cut_below(2))
		cut_stop();
}

/* ---- who looks ---- */

static char bytes[CUT_DISKS][CUT_SIZE];
static uint64_t now; /* in calls */

static void read_both(void)
{
	for (unsigned i = 0; i < CUT_DISKS; i++)
		cut_read(cut_open[i], bytes[i]);
}

/* The images that each disk may be of. */
struct span {
	unsigned first[CUT_DISKS], last[CUT_DISKS];
};

static bool both_fit(const struct span *s)
{
	unsigned sector;

	return cut_fits(&cut->of[0], bytes[0], s->first[0], s->last[0], &sector) &&
	       cut_fits(&cut->of[1], bytes[1], s->first[1], s->last[1], &sector);
}

static unsigned answered(void)
{
	unsigned n = 0;

	while (n < told->count && told->switches[n].ended <= now)
		n++;
	return n;
}

/* Unless that switch happened, if there is one. */
static struct span span_before(unsigned n)
{
	struct span s;

	for (unsigned i = 0; i < CUT_DISKS; i++) {
		s.first[i] = cut_first(&cut->of[i], now);
		s.last[i] = cut_last(&cut->of[i], now);
		if (n < told->count && told->switches[n].of[i] &&
		    s.last[i] >= told->switches[n].to[i])
			s.last[i] = told->switches[n].before[i];
	}
	return s;
}

/* It happened: then nothing was written since. */
static bool has_happened(unsigned n, struct span s)
{
	bool began = true;

	for (unsigned i = 0; i < CUT_DISKS; i++)
		if (told->switches[n].of[i]) {
			s.first[i] = s.last[i] = told->switches[n].to[i];
			began = began && cut_last(&cut->of[i], now) >= s.last[i];
		}
	return began && both_fit(&s);
}

/* Every switch that was answered has happened, and the next one, for which calls were made, perhaps. */
static void check_present(void)
{
	unsigned n = answered(), sector;
	struct span s = span_before(n);

	if (both_fit(&s) || (n < told->count && has_happened(n, s)))
		return;
	for (unsigned i = 0; i < CUT_DISKS; i++)
		if (!cut_fits(&cut->of[i], bytes[i], s.first[i], s.last[i], &sector))
			power_cut_wrong("sector %u of disk %u is %u, and nothing of images %u to "
					"%u; %u switches were answered",
					sector, i,
					*(const uint16_t *)(bytes[i] + (size_t)sector * CUT_SECTOR),
					s.first[i], s.last[i], n);
}

/* It is what it was for who took it up before, or what he aborted it to. */
static void check_again(void)
{
	bool same = !memcmp(bytes, told->found, sizeof(bytes));

	if (!same && !(told->aborts && !memcmp(bytes, told->aborted, sizeof(bytes))))
		power_cut_wrong("they are not what they were before the second cut");
}

static void must_be(const char expected[CUT_DISKS][CUT_SIZE], const char *when)
{
	read_both();
	for (unsigned i = 0; i < CUT_DISKS; i++)
		if (memcmp(bytes[i], expected[i], CUT_SIZE) != 0)
			power_cut_wrong("disk %u is another one %s", i, when);
}

static void image_to_bytes(const struct cut_content *c, unsigned image, char *to)
{
	for (unsigned at = 0; at < CUT_SIZE; at += sizeof(uint16_t))
		memcpy(to + at, &c->images[image][at / CUT_SECTOR], sizeof(uint16_t));
}

/* Each that is being restored; what they are then is in told->aborted, before it begins. */
static void abort_what_runs(void)
{
	struct disk *running[CUT_DISKS];
	unsigned image;
	size_t count = 0;
	int err;

	memcpy(told->aborted, bytes, sizeof(bytes));
	for (unsigned i = 0; i < CUT_DISKS; i++) {
		if (!can_go_back(i, &image))
			continue;
		image_to_bytes(&cut->of[i], image, told->aborted[i]);
		running[count++] = cut_open[i];
	}
	if (!count)
		return;
	told->aborts = !power_cut_again();
	err = tandem_abort_restore(temp.t, running, count, true, false, &why);
	if (err && (err != -EBUSY || (is_running(0, false) && is_running(1, false))))
		power_cut_wrong("no abort afterwards: %s", why.message);
	must_be(err ? told->found : told->aborted, "after the abort");
}

/* The images have followed, and everything is in them. */
static void end_all(void)
{
	static char expected[CUT_DISKS][CUT_SIZE], is[CUT_SIZE];
	static const char *const labels[CUT_DISKS] = { "a.img", "b.img" };

	memcpy(expected, bytes, sizeof(bytes));
	await_end();
	must_be(expected, "after it was followed");
	for (unsigned i = 0; i < CUT_DISKS; i++) {
		int fd = open(temp_path(labels[i]), O_RDONLY | O_CLOEXEC);

		if (tandem_settle_disk(temp.t, cut_open[i], &why))
			power_cut_wrong("it does not settle: %s", why.message);
		if (fd < 0 || pread(fd, is, CUT_SIZE, 0) != CUT_SIZE || close(fd))
			power_cut_wrong("no image");
		if (memcmp(is, expected[i], CUT_SIZE) != 0)
			power_cut_wrong("the image of disk %u has not followed", i);
	}
}

/* One of them may have ended. */
static void check_running(void)
{
	struct restore_facts f[CUT_DISKS];

	if (restore_facts(cut_open[0], &f[0]) && restore_facts(cut_open[1], &f[1]) &&
	    f[0].back != f[1].back)
		power_cut_wrong("one disk goes back, and the other one does not");
}

static void look(uint64_t calls, uint64_t *from)
{
	cut_seed(from);
	now = calls;
	if (!power_cut_again())
		told->aborts = told->writes = false;
	cut_start();
	check_running();
	cut_check_taken(now);
	read_both();
	if (!power_cut_again()) {
		check_present();
		memcpy(told->found, bytes, sizeof(bytes));
	} else if (!told->writes) {
		check_again();
	}
	if (!power_cut_again() && cut_below(2))
		abort_what_runs();
	end_all();
	cut_check_taken(now);
	if (cut_below(2)) {
		told->writes = told->writes || !power_cut_again();
		cut_write_over();
		cut_check_taken(now);
	}
	if (cut_below(2))
		cut_stop();
}

static const struct power_cut restores = { begin, prepare, live, look, 60 };

START_TEST(restores_of_two_disks)
{
	char said[POWER_CUT_WHY];

	ck_assert_msg(power_cut(&restores, 7000, unit_scaled(1200), NULL, said), "%s", said);
}
END_TEST

START_TEST(flushes_are_needed_for_them)
{
	static const char *const files[] = { "a.img", "/log/", "/store/", "data.mdb" };
	char said[POWER_CUT_WHY];

	for (size_t i = 0; i < UNIT_LENGTH(files); i++)
		ck_assert_msg(!power_cut(&restores, 8000, 3000, files[i], said),
			      "nothing is lost without flushes of %s", files[i]);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { restores_of_two_disks, flushes_are_needed_for_them };

	if (!access("/dev/shm", W_OK))
		setenv("TMPDIR", "/dev/shm", 1);
	return unit_run("power cut, restores", NULL, NULL, tests, UNIT_LENGTH(tests));
}

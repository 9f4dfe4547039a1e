// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The power goes, after any call that changes a file of a disk that moves to another file under a guest,
 * and on from there to a third one; or does not, as it is cancelled. What is left is opened, and held
 * against what he knows:
 *
 *   the disk        has its number, and its name in the mount; it is in the new file when that was
 *                   answered, in the old one before that was asked; each sector is as it was at some
 *                   time since the last flush that was answered; a snapshot of it is what it was
 *   the mirror      is there as long as it was neither cancelled nor completed, and where the target
 *                   differs it is marked
 *   the old file    is called FILE.left-TIME when that was answered, else perhaps FILE, as a disk like
 *                   others, in Conflict if the one that moved has that name. It is that disk, whole, at
 *                   one moment of the move
 *   the new file    of one that was cancelled is gone, or a disk of its own, which has what was flushed
 *
 * Then it goes on: the move is completed, or cancelled and begun again; the disk is written over, flushed
 * and read, also after a stop.
 *
 * Without the flushes of a file something is lost: that is tried at the end. Broken on purpose, once, and
 * found by two fifths of this:
 *
 *   the two are not flushed once more while nobody uses them, before the move is recorded
 *   that the target has everything is recorded before it is flushed
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
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
#define MOVES 4u
#define NEVER UINT64_MAX

/* Each is to a file of its own. Times are in calls. */
struct move {
	char from[16], target[16];
	uint64_t begins, made, breaks, broken, cancels, cancelled;
	unsigned least, most; /* images: what the old file may be */
	bool stays, complete; /* the target of one that was cancelled: as a disk; with everything */
	struct guest_left has;
};

static struct guest {
	_Atomic uint64_t passed;
	uint32_t number;   /* of the disk */
	uint64_t snapshot; /* its generation; 0: there is none */
	struct cut_guest g;
	unsigned count;
	struct move moves[MOVES];
	/* After a cut, if there is to be another one while it is taken up. */
	struct {
		char from[16], target[16];
		char bytes[GUEST_SIZE];
		uint16_t fresh; /* 0: nothing was written over it */
	} found;
} * guest;

static struct why why;
static uint64_t *seed;
static struct disk *disk; /* open */

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
	disk = guest->number ? tandem_disk_numbered(temp.t, guest->number) : temp_disk("a.img");
	if (!disk || disk_state(disk) != DISK_READY)
		power_cut_wrong("the disk is %s: %s",
				disk ? disk_state_name(disk_state(disk)) : "gone",
				disk ? disk->reason : "");
	if (disk_open(disk, true))
		power_cut_wrong("the disk does not open");
	guest->number = disk->number;
}

static void stop(void)
{
	disk_close(disk);
	disk_unref(disk);
	tandem_close(temp.t);
	temp.t = NULL;
}

static bool rests(void *arg)
{
	struct pair *p = arg;
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
	struct pair_facts f;

	if (!pair_moving(disk, &f) &&
	    !unit_until(rests, pair_of_number(temp.t->pairs, f.number), 20))
		power_cut_wrong("its keeper does not come to rest");
}

/* ---- moves ---- */

static enum how { TO_RAW, TO_CONTAINERS, TO_THOSE_THERE } how;

static void name_target(char name[16], char letter)
{
	snprintf(name, 16, "%c.%s", letter, how == TO_CONTAINERS && below(3) ? "vhdx" : "img");
}

static void mirror_to(const char *target)
{
	bool there = !access(temp_path(target), F_OK);
	struct pair_request q = {
		.target = target,
		.mode = MODE_SYNCHRONOUS,
		.moves = true,
		.existing = there,
		.force = there,
		.mode_bits = 0600,
	};
	struct pair_facts f;

	if (tandem_mirror(temp.t, disk, &q, &f, &why))
		power_cut_wrong("no mirror to %s: %s", target, why.message);
}

static void begin_move(void)
{
	struct move *m = &guest->moves[guest->count];

	if (guest->count == MOVES)
		return;
	memset(m, 0, sizeof(*m));
	memcpy(m->from, disk->file_name, strlen(disk->file_name) + 1);
	name_target(m->target, 'b' + guest->count);
	m->begins = power_cut_now();
	m->made = m->breaks = m->broken = m->cancels = m->cancelled = NEVER;
	guest->count++;
	mirror_to(m->target);
	m->made = power_cut_now();
}

/* Something may just be to be copied again. */
static bool complete(void)
{
	char left[DISK_LABEL_MAX + 1];
	int err = tandem_break_mirror(disk, false, left, &why);

	if (err && err != -EBUSY)
		power_cut_wrong("it does not move: %s", why.message);
	if (!err && !left[0])
		power_cut_wrong("the old file keeps its name");
	return !err;
}

static _Atomic bool done;

static void *mover(void *arg)
{
	struct move *m = arg;

	m->breaks = power_cut_now();
	if (complete())
		m->broken = power_cut_now();
	else
		m->breaks = NEVER;
	atomic_store(&done, true);
	return NULL;
}

/* He writes meanwhile. */
static void complete_move(struct move *m)
{
	unsigned writes = below(6);
	pthread_t thread;

	m->least = guest->g.count;
	atomic_store(&done, false);
	if (pthread_create(&thread, NULL, mover, m))
		power_cut_wrong("no thread");
	while (!atomic_load(&done)) {
		if (writes && writes--) {
			guest_writes(&guest->g, disk, seed);
		} else {
			usleep(500);
			clock_pass(SECOND / 1000);
		}
	}
	pthread_join(thread, NULL);
	m->most = guest->g.count;
}

/* As it was then. Its state may have become another one just before. */
static struct pair_facts cancel(void)
{
	struct pair_facts f;
	int err;

	do {
		if (pair_moving(disk, &f))
			power_cut_wrong("the mirror is gone");
		err = tandem_operate_pair(temp.t, f.number, OP_DETACH, f.state, true, false, &why);
	} while (err == -EBUSY);
	if (err)
		power_cut_wrong("it cannot be cancelled: %s", why.message);
	return f;
}

static void cancel_move(struct move *m)
{
	const struct cut_guest *g = &guest->g;
	struct disk *d;

	if (below(2))
		settle();
	m->has.begun = g->count;
	m->has.flushed = g->flushes ? g->flushed[g->flushes - 1].has : 0;
	m->cancels = power_cut_now();
	m->complete = cancel().state == COPY_SYNCHRONIZED;
	m->cancelled = power_cut_now();
	d = temp_disk(m->target);
	m->stays = d;
	disk_unref(d);
}

static void move(void)
{
	struct move *m = guest->count ? &guest->moves[guest->count - 1] : NULL;
	struct pair_facts f;

	if (!m || pair_moving(disk, &f))
		begin_move();
	else if (!below(5))
		cancel_move(m);
	else
		complete_move(m);
}

/* ---- a life ---- */

static void begin(void)
{
	guest = power_cut_memory(sizeof(*guest));
	setenv("TANDEMFS_IO_URING", "off", 1);
}

static void take_snapshot(void)
{
	struct snapshot_facts made;

	if (tandem_snapshot(temp.t, &disk, 1, "s", false, &made, &why))
		power_cut_wrong("no snapshot: %s", why.message);
	guest->snapshot = made.generation;
}

static void make_targets(void)
{
	static char bytes[GUEST_SIZE];
	char name[16];

	guest_fill(bytes, GUEST_BLOCKS, 9);
	for (unsigned i = 0; i < MOVES; i++) {
		FILE *f;

		name_target(name, 'b' + i);
		f = fopen(temp_path(name), "wx");
		if (!f || fwrite(bytes, sizeof(bytes), 1, f) != 1 || fclose(f))
			power_cut_wrong("no target");
	}
}

/* All of what was done is there in any case. */
static void make_sure(void)
{
	for (unsigned i = 0; i < guest->count; i++)
		guest->moves[i].begins = guest->moves[i].made = 0;
}

/* Every second has a past, and is in the middle of a move. */
static void prepare(uint64_t *from)
{
	seed = from;
	memset(guest, 0, sizeof(*guest));
	guest_make_image(&guest->g, "a.img");
	if (how == TO_THOSE_THERE)
		make_targets();
	start();
	pairs_start(temp.t);
	if (below(2))
		take_snapshot();
	if (below(2)) {
		begin_move();
		clock_pass(SECOND);
		settle();
	}
	stop();
	make_sure();
}

static void something(void)
{
	unsigned n = below(100);

	if (n < 45)
		guest_writes(&guest->g, disk, seed);
	else if (n < 57)
		guest_flushes(&guest->g, disk);
	else if (n < 68)
		move();
	else if (n < 80)
		clock_pass(SECOND / 10 * (1 + below(20)));
	else if (n < 92)
		settle();
	else if (tandem_settle_disk(temp.t, disk, &why))
		power_cut_wrong("it does not settle: %s", why.message);
}

static void live(uint64_t *from)
{
	seed = from;
	start();
	pairs_start(temp.t);
	for (unsigned events = EVENTS; events; events--)
		something();
	if (below(2))
		stop();
}

/* ---- what is left of it ---- */

static uint64_t now; /* in calls */
static struct guest_left left;
static char was[GUEST_SIZE], is[GUEST_SIZE], expected[GUEST_SIZE];

/* The last that had begun, or NULL. */
static const struct move *last_move(void)
{
	unsigned n = guest->count;

	while (n && guest->moves[n - 1].begins >= now)
		n--;
	return n ? &guest->moves[n - 1] : NULL;
}

static bool has_moved(const struct move *m)
{
	return m->broken <= now || (m->breaks < now && !strcmp(disk->file_name, m->target));
}

static void check_file(const struct move *m)
{
	const char *file = m && has_moved(m) ? m->target : m ? m->from : "a.img";

	if (strcmp(disk->file_name, file) != 0)
		power_cut_wrong("the disk is in %s instead of %s", disk->file_name, file);
}

/* Nobody else is called so, whatever the files are called. */
static void check_name(void)
{
	struct pool *p = tandem_pool_named(temp.t, "");
	struct disk *d = tandem_disk_mounted(temp.t, p, "a.img");

	if (d != disk)
		power_cut_wrong("a.img in the mount is %s", d ? d->label : "nothing");
	disk_unref(d);
	pool_unref(p);
}

/* The file that is about to be left may be called still as the disk is in the mount. */
static void check_others(const struct move *m)
{
	size_t count;
	struct disk **disks = tandem_disks(temp.t, &count);

	for (size_t i = 0; i < count; i++) {
		const struct disk *d = disks[i];
		enum disk_state state = disk_state(disks[i]);
		bool is_left = m && has_moved(m) && m->broken > now && !strcmp(d->label, "a.img");

		if (state != (is_left ? DISK_CONFLICT : DISK_READY))
			power_cut_wrong("%s is %s: %s", d->label, disk_state_name(state),
					d->reason);
	}
	disks_free(disks, count);
}

static void check_snapshot(void)
{
	struct snapshot_facts f;
	size_t read = 0;

	if (!guest->snapshot)
		return;
	if (snapshot_named(temp.t, disk, "s", &f) || f.generation != guest->snapshot ||
	    moment_open(disk, f.generation))
		power_cut_wrong("the snapshot is gone");
	if (moment_read(disk, f.generation, is, GUEST_SIZE, 0, &read) || read != GUEST_SIZE ||
	    guest_find(&guest->g, is, 0, 0) != 0)
		power_cut_wrong("the snapshot is not what it was");
	moment_close(disk, f.generation);
}

static bool is_there(const char *label)
{
	struct disk *d = temp_disk(label);

	disk_unref(d);
	return d;
}

static bool read_labelled(const char *label, char *bytes)
{
	struct disk *d = temp_disk(label);
	bool read = guest_reads(d, bytes);

	disk_unref(d);
	return read;
}

/* Before anybody copies: what is recorded is true. */
static void check_marks(const struct pair_facts *f)
{
	struct marks *marks = pair_of_number(temp.t->pairs, f->number)->leg.marks;
	uint64_t run;

	if (f->first || !f->whole)
		return;
	if (!read_labelled(f->target, is))
		power_cut_wrong("the target cannot be read");
	guest_check(&guest->g, left, "target", is);
	for (unsigned at = 0; at < GUEST_SIZE; at += GUEST_SECTOR)
		if (memcmp(was + at, is + at, GUEST_SECTOR) != 0 &&
		    !marks_differs(marks, at, GUEST_SECTOR, &run))
			power_cut_wrong("sector %u differs, and is not marked", at / GUEST_SECTOR);
}

static void check_mirror(const struct move *m)
{
	struct pair_facts f;
	bool there = !pair_moving(disk, &f), gone = !m || has_moved(m) || m->cancelled <= now;

	if (there && gone)
		power_cut_wrong("there is a mirror to %s", f.target);
	if (!there && !gone && m->made <= now && m->cancels >= now)
		power_cut_wrong("the mirror to %s is gone", m->target);
	if (there && (strcmp(f.target, m->target) != 0 || strcmp(f.source, m->from) != 0))
		power_cut_wrong("it is mirrored from %s to %s", f.source, f.target);
	if (there)
		check_marks(&f);
}

static void check_cancelled(const struct move *m)
{
	if (m->cancelled > now)
		return;
	if (is_there(m->target) != m->stays)
		power_cut_wrong("%s %s", m->target, m->stays ? "is gone" : "is there");
	if (m->stays && !read_labelled(m->target, is))
		power_cut_wrong("%s cannot be read", m->target);
	if (m->stays && m->complete)
		guest_check(&guest->g, m->has, "target of one that was cancelled", is);
}

/* "": there is none. */
static void find_left_file(const struct move *m, char name[NAME_MAX + 1])
{
	char begins[32];
	size_t length = snprintf(begins, sizeof(begins), "%s.left-", m->from);
	DIR *dir = opendir(temp.dir);

	name[0] = '\0';
	for (struct dirent *e; (e = readdir(dir));)
		if (!strncmp(e->d_name, begins, length))
			snprintf(name, NAME_MAX + 1, "%s", e->d_name);
	closedir(dir);
}

/* As the manual says: it is called otherwise, and a disk like others. */
static void check_old_file(const struct move *m)
{
	char name[NAME_MAX + 1], other[32];
	unsigned most = m->broken <= now ? m->most : left.begun;

	if (!has_moved(m))
		return;
	find_left_file(m, name);
	if (!name[0] && m->broken <= now)
		power_cut_wrong("what %s left is gone", m->from);
	snprintf(other, sizeof(other), "old-%s", m->from);
	if (rename(temp_path(name[0] ? name : m->from), temp_path(other)) ||
	    tandem_rescan(temp.t, false, &why))
		power_cut_wrong("%s cannot be renamed", m->from);
	if (!read_labelled(other, is))
		power_cut_wrong("what %s left cannot be read", m->from);
	if (guest_find(&guest->g, is, m->least, most) < 0)
		power_cut_wrong("what %s left is none of images %u to %u", m->from, m->least, most);
}

static void check_left(void)
{
	const struct move *m = last_move();

	check_file(m);
	guest_check(&guest->g, left, "disk", was);
	check_others(m);
	check_mirror(m);
	for (unsigned i = 0; m && &guest->moves[i] <= m; i++)
		check_cancelled(&guest->moves[i]);
	if (power_cut_may_come())
		return;
	for (unsigned i = 0; m && &guest->moves[i] <= m; i++)
		check_old_file(&guest->moves[i]);
}

/* ---- it goes on ---- */

static void await_copy(void)
{
	struct pair_facts f;

	for (unsigned i = 0; i < 20; i++) {
		settle();
		if (pair_moving(disk, &f))
			power_cut_wrong("the mirror is gone");
		if (f.state == COPY_SYNCHRONIZED)
			return;
		clock_pass(3 * SECOND);
	}
	power_cut_wrong("it stays %d: %d", f.state, f.error);
}

static void check_is(const char *when)
{
	if (!guest_reads(disk, is) || memcmp(is, expected, GUEST_SIZE) != 0)
		power_cut_wrong("the disk is not what was written, %s", when);
	check_snapshot();
	check_name();
}

static void write_over(void)
{
	static _Alignas(4096) char buf[GUEST_BLOCK];
	uint16_t fresh = 60000 + below(1000);

	memcpy(expected, was, GUEST_SIZE);
	guest_fill(buf, 1, fresh);
	if (power_cut_may_come())
		guest->found.fresh = fresh;
	for (unsigned b = below(3); b < GUEST_BLOCKS; b += 1 + below(3)) {
		if (disk_write(disk, buf, GUEST_BLOCK, (uint64_t)b * GUEST_BLOCK, 0))
			power_cut_wrong("it cannot be written over");
		memcpy(expected + b * GUEST_BLOCK, buf, GUEST_BLOCK);
	}
	if (disk_flush(disk))
		power_cut_wrong("it cannot be flushed");
	check_is("after a flush");
}

static void go_on(void)
{
	char target[16];
	struct pair_facts f;

	pairs_start(temp.t);
	clock_pass(SECOND);
	if (!pair_moving(disk, &f) && below(2))
		cancel();
	name_target(target, power_cut_again() ? 'z' : 'y');
	if (!pair_moving(disk, &f))
		snprintf(target, sizeof(target), "%.15s", f.target);
	if (power_cut_may_come())
		memcpy(guest->found.target, target, sizeof(target));
	if (pair_moving(disk, &f))
		mirror_to(target);
	if (below(2))
		await_copy();
	write_over();
	await_copy();
	if (!complete() || strcmp(disk->file_name, target) != 0)
		power_cut_wrong("it does not go on in %s", target);
	check_is("in its new file");
	if (below(2)) {
		stop();
		start();
		check_is("after a stop");
	}
}

/* What is found may be cut again. */
static void remember(void)
{
	guest->found.fresh = 0;
	memcpy(guest->found.from, disk->file_name, strlen(disk->file_name) + 1);
	memcpy(guest->found.target, disk->file_name, strlen(disk->file_name) + 1);
	memcpy(guest->found.bytes, was, GUEST_SIZE);
}

/* Each sector is what it was, or what it was made then. */
static void check_again(void)
{
	char sector[GUEST_SECTOR];

	if (strcmp(disk->file_name, guest->found.from) != 0 &&
	    strcmp(disk->file_name, guest->found.target) != 0)
		power_cut_wrong("the disk is in %s", disk->file_name);
	for (unsigned i = 0; i < GUEST_SECTOR; i += 2)
		memcpy(sector + i, &guest->found.fresh, 2);
	for (unsigned at = 0; at < GUEST_SIZE; at += GUEST_SECTOR)
		if (memcmp(was + at, guest->found.bytes + at, GUEST_SECTOR) != 0 &&
		    (!guest->found.fresh || memcmp(was + at, sector, GUEST_SECTOR) != 0))
			power_cut_wrong("sector %u was changed by being taken up",
					at / GUEST_SECTOR);
}

static void look(uint64_t calls, uint64_t *from)
{
	seed = from;
	now = calls;
	left = guest_left(&guest->g, calls);
	start();
	if (!guest_reads(disk, was))
		power_cut_wrong("the disk cannot be read");
	check_name();
	check_snapshot();
	if (power_cut_again())
		check_again();
	else
		check_left();
	if (power_cut_may_come())
		remember();
	if (power_cut_may_come() || below(2))
		go_on();
}

static const struct power_cut lives = { begin, prepare, live, look, 30 };

static void holds(enum how of, unsigned first, unsigned states)
{
	char said[POWER_CUT_WHY];

	how = of;
	ck_assert_msg(power_cut(&lives, first, unit_scaled(states), NULL, said), "%s", said);
}

START_TEST(to_new_files)
{
	holds(TO_RAW, 1000, 500);
}
END_TEST

START_TEST(to_containers_and_back)
{
	holds(TO_CONTAINERS, 2000, 300);
}
END_TEST

START_TEST(to_files_that_are_there)
{
	holds(TO_THOSE_THERE, 3000, 400);
}
END_TEST

/* Without the flushes of that file something is lost, or said that is not so. */
static void is_needed(enum how of, const char *file)
{
	char said[POWER_CUT_WHY];

	how = of;
	ck_assert_msg(!power_cut(&lives, 5000, 3000, file, said),
		      "nothing is lost without flushes of %s", file);
}

START_TEST(flushes_are_needed)
{
	is_needed(TO_RAW, "/a.img");
	is_needed(TO_RAW, "/b.img");
	is_needed(TO_RAW, "/pairs/");
	is_needed(TO_CONTAINERS, ".vhdx");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { to_new_files, to_containers_and_back,
				       to_files_that_are_there, flushes_are_needed };

	if (!access("/dev/shm", W_OK))
		setenv("TMPDIR", "/dev/shm", 1);
	return unit_run("power cut, moves", NULL, NULL, tests, UNIT_LENGTH(tests));
}

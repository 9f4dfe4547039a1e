// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The power goes, after any call that changes a file of a whole tandem.
 *
 * A catalogue that grows: it has what the last commit left that was done, or the one that was under
 * way; all of that, and nothing else.
 *
 * Snapshots of two disks at once, made and deleted while both are written: what was made is there, of
 * both or of none, and holds to the byte what both held then; what was deleted is gone, of both; and
 * what both hold now is not older than what was flushed. Then life goes on: everything is
 * written over, another one is made, and the older ones are what they were.
 *
 * Broken on purpose, once, and found by a tenth of this: a snapshot without a flush, LMDB with MDB_NOSYNC.
 * Not found: the file of the catalogue is not made longer ahead, which it takes pages to see that a
 * transaction uses and gives up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "catalogue_inner.h"
#include "groups.h"
#include "power_cut.h"
#include "snapshots.h"
#include "unit.h"

static uint64_t *seed;
static struct why why;

static unsigned below(unsigned bound)
{
	return unit_below(seed, bound);
}

static void holds(const struct power_cut *lives, uint64_t first, unsigned states)
{
	char said[POWER_CUT_WHY];

	ck_assert_msg(power_cut(lives, first, unit_scaled(states), NULL, said), "%s", said);
}

static void is_needed(const struct power_cut *lives, const char *file)
{
	char said[POWER_CUT_WHY];

	ck_assert_msg(!power_cut(lives, 5000, 3000, file, said),
		      "nothing is lost without flushes of %s", file);
}

/* ---- a catalogue that grows ---- */

#define COMMITS 60u
#define KEYS 40u
#define LARGEST (96u << 10)

static struct book {
	unsigned count;
	struct {
		uint64_t began, ended;
		uint32_t lengths[KEYS]; /* of the value of each key; 0: there is none */
	} commits[COMMITS + 1];
} * book;

static struct catalogue *catalogue;

static void begin_book(void)
{
	book = power_cut_memory(sizeof(*book));
}

static void open_catalogue(void)
{
	bool clean;

	if (catalogue_open(temp.dir, &catalogue, &clean, &why))
		power_cut_wrong("it does not open: %s", why.message);
}

static void make_catalogue(uint64_t *from)
{
	memset(book, 0, sizeof(*book));
	open_catalogue();
	catalogue_close(catalogue);
}

/* What a value of that length is. */
static void fill(char *buf, uint32_t length)
{
	for (uint32_t i = 0; i < length; i++)
		buf[i] = (char)(length >> (8 * (i % 3)));
}

static int change_one(struct catalogue_txn *txn, uint32_t *lengths)
{
	static char buf[LARGEST];
	uint32_t key = below(KEYS), length = below(4) ? 1 + below(LARGEST) : 0;
	MDB_val k = val(&key, sizeof(key)), v = val(buf, length);
	int err;

	lengths[key] = length;
	fill(buf, length);
	if (length)
		return mdb_put(txn->txn, catalogue->disks, &k, &v, 0);
	err = mdb_del(txn->txn, catalogue->disks, &k, NULL);
	return err == MDB_NOTFOUND ? 0 : err;
}

static void grow(uint64_t *from)
{
	seed = from;
	open_catalogue();
	for (unsigned n = 1; n <= COMMITS; n++) {
		struct catalogue_txn *txn;
		int err = 0;

		memcpy(book->commits[n].lengths, book->commits[n - 1].lengths,
		       sizeof(book->commits[n].lengths));
		if (catalogue_begin(catalogue, &txn))
			power_cut_wrong("no transaction");
		for (unsigned i = 1 + below(4); i && !err; i--)
			err = change_one(txn, book->commits[n].lengths);
		book->commits[n].began = power_cut_now();
		book->count = n;
		if (err || catalogue_commit(txn))
			power_cut_wrong("a commit fails: %d", err);
		book->commits[n].ended = power_cut_now();
	}
}

static int look_at_one(void *arg, MDB_val k, MDB_val v)
{
	static char buf[LARGEST];
	uint32_t *lengths = arg, key;

	memcpy(&key, k.mv_data, sizeof(key));
	if (key >= KEYS || v.mv_size > LARGEST)
		return -EIO;
	lengths[key] = v.mv_size;
	fill(buf, v.mv_size);
	return memcmp(buf, v.mv_data, v.mv_size) ? -EIO : 0;
}

static void look_at_catalogue(uint64_t calls, uint64_t *from)
{
	uint32_t lengths[KEYS] = { 0 };
	unsigned least = 0, most = 0;

	while (least < book->count && book->commits[least + 1].ended <= calls)
		least++;
	most = least;
	if (most < book->count && book->commits[most + 1].began < calls)
		most++;
	open_catalogue();
	if (catalogue_each(catalogue, catalogue->disks, NULL, look_at_one, lengths))
		power_cut_wrong("a record is not what anybody wrote");
	if (memcmp(lengths, book->commits[least].lengths, sizeof(lengths)) != 0 &&
	    memcmp(lengths, book->commits[most].lengths, sizeof(lengths)) != 0)
		power_cut_wrong("it is neither commit %u nor %u", least, most);
	catalogue_close(catalogue);
}

static const struct power_cut growing = { begin_book, make_catalogue, grow, look_at_catalogue, 50 };

START_TEST(a_catalogue_that_grows)
{
	holds(&growing, 1000, 2000);
}
END_TEST

START_TEST(flushes_of_it_are_needed)
{
	is_needed(&growing, "data.mdb");
}
END_TEST

/* ---- snapshots of two disks ---- */

#define DISKS 2
#define BLOCK 4096u
#define BLOCKS 40u
#define SIZE (BLOCK * BLOCKS)
#define SECTOR 512u
#define WRITES 120u
#define EVENTS 70u
#define TAKEN 30u

static struct guest {
	uint32_t disks[DISKS];
	unsigned count;
	uint64_t began[WRITES]; /* in calls; of the write that made the image */
	uint16_t images[WRITES][DISKS][BLOCKS];
	unsigned flushes;
	struct {
		unsigned disk, has;
		uint64_t ended;
	} flushed[EVENTS];
	unsigned snapshots;
	struct taken {
		unsigned image;
		uint32_t numbers[DISKS];
		uint64_t began, ended, goes, gone; /* UINT64_MAX: never */
	} taken[TAKEN];
} * guest;

static struct disk *disks[DISKS];
static const char *const labels[DISKS] = { "a.img", "b.img" };

static void begin_guest(void)
{
	guest = power_cut_memory(sizeof(*guest));
	setenv("TANDEMFS_IO_URING", "off", 1);
}

static void start(void)
{
	temp.options.block_size = BLOCK;
	if (tandem_open(&temp.options, &temp.t, &why))
		power_cut_wrong("it does not start: %s", why.message);
	tandem_settle(temp.t, &why);
	if (snapshots_start(temp.t))
		power_cut_wrong("snapshots do not start");
	for (unsigned i = 0; i < DISKS; i++) {
		disks[i] = temp_disk(labels[i]);
		if (!disks[i] || disk_open(disks[i], true))
			power_cut_wrong("%s does not open", labels[i]);
	}
}

static void stop(void)
{
	for (unsigned i = 0; i < DISKS; i++) {
		disk_close(disks[i]);
		disk_unref(disks[i]);
	}
	tandem_close(temp.t);
}

static void fill_blocks(char *buf, unsigned count, uint16_t stamp)
{
	for (size_t at = 0; at < count * BLOCK; at += sizeof(stamp))
		memcpy(buf + at, &stamp, sizeof(stamp));
}

static void write_some(unsigned i, unsigned first, unsigned blocks)
{
	static _Alignas(4096) char buf[SIZE];
	unsigned n = guest->count + 1;

	if (n == WRITES)
		return;
	memcpy(guest->images[n], guest->images[n - 1], sizeof(guest->images[n]));
	for (unsigned b = first; b < first + blocks; b++)
		guest->images[n][i][b] = n;
	guest->began[n] = power_cut_now();
	guest->count = n;
	fill_blocks(buf, blocks, n);
	if (disk_write(disks[i], buf, blocks * BLOCK, first * BLOCK, below(2) ? IO_DIRECT : 0))
		power_cut_wrong("a write fails");
}

static void flush_one(void)
{
	unsigned n = guest->flushes, i = below(DISKS), has = guest->count;

	if (n == EVENTS)
		return;
	if (disk_flush(disks[i]))
		power_cut_wrong("a flush fails");
	guest->flushed[n].disk = i;
	guest->flushed[n].has = has;
	guest->flushed[n].ended = power_cut_now();
	guest->flushes = n + 1;
}

static void take(void)
{
	struct taken *s = &guest->taken[guest->snapshots];
	struct snapshot_facts made[DISKS];
	char name[16];

	if (guest->snapshots == TAKEN)
		return;
	*s = (struct taken){ guest->count, { 0 },      power_cut_now(),
			     UINT64_MAX,   UINT64_MAX, UINT64_MAX };
	snprintf(name, sizeof(name), "s%u", guest->snapshots);
	guest->snapshots++;
	if (tandem_snapshot(temp.t, disks, DISKS, name, false, made, &why))
		power_cut_wrong("no snapshot: %s", why.message);
	for (unsigned i = 0; i < DISKS; i++)
		s->numbers[i] = made[i].number;
	s->ended = power_cut_now();
}

static void delete_one(void)
{
	struct taken *s;

	if (!guest->snapshots)
		return;
	s = &guest->taken[below(guest->snapshots)];
	if (s->goes != UINT64_MAX)
		return;
	s->goes = power_cut_now();
	if (tandem_delete_snapshots(temp.t, s->numbers, DISKS, false, false, &why))
		power_cut_wrong("it is not deleted: %s", why.message);
	s->gone = power_cut_now();
}

static void settle_one(void)
{
	if (tandem_settle_disk(temp.t, disks[below(DISKS)], &why))
		power_cut_wrong("it does not settle: %s", why.message);
}

static void prepare(uint64_t *from)
{
	seed = from;
	memset(guest, 0, sizeof(*guest));
	for (unsigned i = 0; i < DISKS; i++) {
		int fd = open(temp_path(labels[i]), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

		if (fd < 0 || ftruncate(fd, SIZE) || close(fd))
			power_cut_wrong("no image");
	}
	start();
	if (tandem_create_group(temp.t, "db", false, &why))
		power_cut_wrong("no group: %s", why.message);
	if (below(2))
		take();
	stop();
	/* All of that is there in any case. */
	for (unsigned n = 0; n < guest->snapshots; n++)
		guest->taken[n].began = guest->taken[n].ended = 0;
}

static void live(uint64_t *from)
{
	seed = from;
	start();
	for (unsigned events = EVENTS; events; events--) {
		unsigned what = below(100), first = below(BLOCKS);

		if (what < 55)
			write_some(below(DISKS), first,
				   1 + below(below(2) ? 3 : BLOCKS - first) % (BLOCKS - first));
		else if (what < 65)
			flush_one();
		else if (what < 78)
			take();
		else if (what < 88)
			delete_one();
		else
			settle_one();
	}
	if (below(2))
		stop();
}

/* ---- what is left ---- */

static uint64_t now; /* in calls */
static unsigned begun;

static void check_present(unsigned i)
{
	static char bytes[SIZE];
	unsigned flushed = 0;
	size_t done;

	for (unsigned n = 0; n < guest->flushes; n++)
		if (guest->flushed[n].disk == i && guest->flushed[n].ended <= now)
			flushed = guest->flushed[n].has;
	if (disk_read(disks[i], bytes, SIZE, 0, 0, &done) || done != SIZE)
		power_cut_wrong("%s cannot be read", labels[i]);
	for (unsigned at = 0; at < SIZE; at += SECTOR) {
		unsigned n = flushed;
		uint16_t value;

		memcpy(&value, bytes + at, sizeof(value));
		while (n <= begun && guest->images[n][i][at / BLOCK] != value)
			n++;
		if (n > begun || memcmp(bytes + at, bytes + at + 2, SECTOR - 2) != 0)
			power_cut_wrong("sector %u of %s is %u, and nothing of images %u to %u",
					at / SECTOR, labels[i], value, flushed, begun);
	}
}

static bool check_content(unsigned i, const struct snapshot_facts *f, unsigned image)
{
	static char bytes[SIZE], block[BLOCK];
	size_t done;
	bool right = !moment_open(disks[i], f->generation);

	if (!right)
		return false;
	right = !moment_read(disks[i], f->generation, bytes, SIZE, 0, &done) && done == SIZE;
	moment_close(disks[i], f->generation);
	for (unsigned b = 0; right && b < BLOCKS; b++) {
		fill_blocks(block, 1, guest->images[image][i][b]);
		right = !memcmp(block, bytes + b * BLOCK, BLOCK);
	}
	return right;
}

static void check_one(unsigned n)
{
	const struct taken *s = &guest->taken[n];
	struct snapshot_facts f[DISKS];
	unsigned there = 0;
	char name[16];

	snprintf(name, sizeof(name), "s%u", n);
	for (unsigned i = 0; i < DISKS; i++) {
		if (snapshot_named(temp.t, disks[i], name, &f[there]))
			continue;
		if (f[there].state != SNAPSHOT_SYNCHRONIZED ||
		    !check_content(i, &f[there], s->image))
			power_cut_wrong("%s of %s is not what it was", name, labels[i]);
		there++;
	}
	if (there == 1)
		power_cut_wrong("%s is of one disk only", name);
	if (there && f[0].generation != f[1].generation)
		power_cut_wrong("%s is of two moments", name);
	if (!there && s->ended <= now && s->goes >= now)
		power_cut_wrong("%s is gone", name);
	if (there && s->gone <= now)
		power_cut_wrong("%s was deleted, and is back", name);
	if (there && s->began > now)
		power_cut_wrong("%s was never made", name);
}

static void check_all(void)
{
	for (unsigned n = 0; n < guest->snapshots; n++)
		check_one(n);
}

/* The group was made long before. */
static void check_group(void)
{
	struct group_facts f;

	if (group_named(temp.t, "db", &f))
		power_cut_wrong("the group is gone");
}

static void go_on(void)
{
	static _Alignas(4096) char buf[SIZE];
	struct snapshot_facts made[DISKS];

	if (tandem_snapshot(temp.t, disks, DISKS, NULL, false, made, &why))
		power_cut_wrong("no snapshot afterwards: %s", why.message);
	for (unsigned i = 0; i < DISKS; i++)
		if (disk_write(disks[i], buf, SIZE, 0, 0) ||
		    tandem_settle_disk(temp.t, disks[i], &why))
			power_cut_wrong("it cannot be written over");
	check_all();
}

static void look(uint64_t calls, uint64_t *from)
{
	seed = from;
	now = calls;
	for (begun = 0; begun < guest->count && guest->began[begun + 1] < calls; begun++)
		;
	start();
	check_group();
	check_all();
	/* Else they are what this made of them. */
	for (unsigned i = 0; i < DISKS && !power_cut_again(); i++)
		check_present(i);
	if (power_cut_may_come() || below(2))
		go_on();
}

static const struct power_cut guests = { begin_guest, prepare, live, look, 40 };

START_TEST(snapshots_of_two_disks)
{
	holds(&guests, 2000, 1500);
}
END_TEST

START_TEST(flushes_are_needed_for_them)
{
	is_needed(&guests, "a.img");
	is_needed(&guests, "/log/");
	is_needed(&guests, "/store/");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { a_catalogue_that_grows, flushes_of_it_are_needed,
				       snapshots_of_two_disks, flushes_are_needed_for_them };

	if (!access("/dev/shm", W_OK))
		setenv("TMPDIR", "/dev/shm", 1);
	return unit_run("power cut, state", NULL, NULL, tests, UNIT_LENGTH(tests));
}

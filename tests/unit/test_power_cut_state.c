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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "catalogue_inner.h"
#include "cut_disks.h"
#include "groups.h"
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

#define EVENTS 70u

static void prepare(uint64_t *from)
{
	cut_seed(from);
	cut_make();
	cut_start();
	if (tandem_create_group(temp.t, "db", false, &why))
		power_cut_wrong("no group: %s", why.message);
	if (cut_below(2))
		cut_take();
	cut_stop();
	cut_made();
}

static void live(uint64_t *from)
{
	cut_seed(from);
	cut_start();
	for (unsigned events = EVENTS; events; events--) {
		unsigned what = cut_below(100), i = cut_below(CUT_DISKS);

		if (what < 55)
			cut_write(cut_open[i], &cut->of[i]);
		else if (what < 65)
			cut_flush(cut_open[i], &cut->of[i]);
		else if (what < 78)
			cut_take();
		else if (what < 88)
			cut_delete();
		else
			cut_settle();
	}
	if (cut_below(2))
		cut_stop();
}

/* ---- what is left ---- */

static void check_present(unsigned i, uint64_t calls)
{
	static char bytes[CUT_SIZE];
	const struct cut_content *c = &cut->of[i];
	unsigned first = cut_first(c, calls), last = cut_last(c, calls), sector;

	cut_read(cut_open[i], bytes);
	if (!cut_fits(c, bytes, first, last, &sector))
		power_cut_wrong("sector %u of disk %u is %u, and nothing of images %u to %u",
				sector, i, *(const uint16_t *)(bytes + (size_t)sector * CUT_SECTOR),
				first, last);
}

/* The group was made long before. */
static void check_group(void)
{
	struct group_facts f;

	if (group_named(temp.t, "db", &f))
		power_cut_wrong("the group is gone");
}

static void look(uint64_t calls, uint64_t *from)
{
	cut_seed(from);
	cut_start();
	check_group();
	cut_check_taken(calls);
	/* Else they are what this made of them. */
	for (unsigned i = 0; i < CUT_DISKS && !power_cut_again(); i++)
		check_present(i, calls);
	if (power_cut_may_come() || cut_below(2)) {
		cut_write_over();
		cut_check_taken(calls);
	}
}

static const struct power_cut guests = { cut_begin, prepare, live, look, 40 };

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

// SPDX-License-Identifier: GPL-2.0-or-later
/* Names, states and openers of a disk, and its verbs where nothing fails. */
#include "disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_file.h"
#include "temp_tandem.h"
#include "unit.h"

#define SIZE (1u << 20)

static struct tandem *t;
static struct file *file;
static struct disk *d;
static uint8_t buf[65536], back[65536];

static void setup(void)
{
	t = bare_tandem();
	file = fake_file_new(NULL, SIZE);
	d = bare_disk(t, file);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = i * 7 + 1;
}

static void teardown(void)
{
	disk_unref(d);
	bare_tandem_free(t);
}

START_TEST(words)
{
	for (int s = DISK_READY; s < DISK_STATE_MAX; s++)
		ck_assert_str_ne(disk_state_name(s), "");
	for (int o = 0; o < DISK_OP_MAX; o++)
		ck_assert_str_ne(disk_op_name(o), "");
}
END_TEST

START_TEST(names)
{
	const uint8_t id[16] = { 2 };
	struct disk *other;
	struct pool *p;
	char object[DISK_LABEL_MAX + 8];

	ck_assert_int_eq(pool_new(5, "fast", "/nowhere", &p), 0);
	ck_assert_int_eq(disk_new(t, p, "b.vhdx", 9, id, NULL, &other), 0);
	ck_assert_str_eq(other->label, "fast:b.vhdx");
	ck_assert_str_eq(other->mount_name, "b.vhdx.raw");
	ck_assert_str_eq(disk_object(other, object, sizeof(object)), "disks/fast:b.vhdx");
	ck_assert_str_eq(d->label, "a.img");
	ck_assert_str_eq(d->mount_name, "a.img");
	disk_set_names(d, "c.img");
	ck_assert_str_eq(d->label, "c.img");
	ck_assert_str_eq(disk_object(d, object, sizeof(object)), "disks/c.img");
	pool_unref(p);
	disk_unref(other);
	disk_unref(NULL);
}
END_TEST

START_TEST(openers)
{
	ck_assert(!disk_is_open(d));
	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(disk_open(d, false), 0);
	ck_assert(disk_is_open(d));
	ck_assert_uint_eq(d->openers, 2);
	ck_assert_uint_eq(atomic_load(&t->openers), 1);
	disk_close(d);
	ck_assert(disk_is_open(d));
	disk_close(d);
	ck_assert(!disk_is_open(d));
	ck_assert_uint_eq(atomic_load(&t->openers), 0);
}
END_TEST

START_TEST(who_may_open)
{
	for (int s = DISK_READY; s < DISK_STATE_MAX; s++) {
		bool served = s == DISK_READY || s == DISK_READ_ONLY;
		int reading = served ? 0 : -ENOENT;

		disk_set_state(d, s, "why");
		ck_assert_int_eq(disk_is_served(d), served);
		ck_assert_int_eq(disk_open(d, false), reading);
		ck_assert_int_eq(disk_open(d, true), s == DISK_READ_ONLY ? -EROFS : reading);
		while (disk_is_open(d))
			disk_close(d);
	}
	disk_set_state(d, DISK_READY, "");
	d->listed = false;
	ck_assert_int_eq(disk_open(d, false), -ENOENT);
}
END_TEST

static unsigned told;

static void listener(void *arg)
{
	told++;
}

START_TEST(states_are_announced)
{
	uint64_t changes = atomic_load(&d->changes);

	tandem_set_listener(t, listener, NULL);
	disk_set_state(d, DISK_FAILED, "a b");
	ck_assert_uint_eq(told, 1);
	ck_assert_uint_gt(atomic_load(&d->changes), changes);
	ck_assert_uint_eq(bare_events(t, "Major StateChanged disks/a.img From=Ready To=Failed "
					 "Reason=a\\040b"),
			  1);
	disk_set_state(d, DISK_FAILED, "again");
	ck_assert_uint_eq(bare_events(t, "StateChanged"), 1);
	disk_set_state(d, DISK_READY, "");
	ck_assert_uint_eq(bare_events(t,
				      "Information StateChanged disks/a.img From=Failed To=Ready"),
			  1);
	tandem_set_listener(t, NULL, NULL);
}
END_TEST

START_TEST(reads_and_writes)
{
	size_t done = 7;

	ck_assert_int_eq(disk_write(d, buf, 10000, 5000, 0), 0);
	ck_assert_int_eq(disk_read(d, back, 10000, 5000, 0, &done), 0);
	ck_assert_uint_eq(done, 10000);
	ck_assert(!memcmp(buf, back, 10000));
	/* Up to the disk's end. */
	ck_assert_int_eq(disk_read(d, back, 4096, SIZE - 100, 0, &done), 0);
	ck_assert_uint_eq(done, 100);
	ck_assert_int_eq(disk_read(d, back, 4096, SIZE, 0, &done), 0);
	ck_assert_uint_eq(done, 0);
	ck_assert_int_eq(disk_read(d, back, 4096, UINT64_MAX - 10, 0, &done), 0);
	ck_assert_uint_eq(done, 0);
	ck_assert_int_eq(disk_write(d, buf, 4096, UINT64_MAX - 10, 0), -EFBIG);
	ck_assert_int_eq(disk_write(d, buf, 4096, INT64_MAX - 4095, 0), -EFBIG);
	ck_assert_uint_eq(disk_size(d), SIZE);
}
END_TEST

START_TEST(grows)
{
	size_t done;

	ck_assert_int_eq(disk_write(d, buf, 1000, SIZE + 5000, 0), 0);
	ck_assert_uint_eq(disk_size(d), SIZE + 6000);
	memset(back, 1, sizeof(back));
	ck_assert_int_eq(disk_read(d, back, 5000, SIZE, 0, &done), 0);
	ck_assert(done == 5000 && !back[0] && !back[4999]);
	ck_assert_int_eq(disk_allocate(d, 0, 2 * SIZE, false), 0);
	ck_assert_uint_eq(disk_size(d), SIZE + 6000);
	ck_assert_int_eq(disk_allocate(d, 0, 2 * SIZE, true), 0);
	ck_assert_uint_eq(disk_size(d), 2 * SIZE);
	ck_assert_int_eq(disk_allocate(d, UINT64_MAX, 2, true), -EFBIG);
	/* An empty write changes nothing, wherever it is. */
	ck_assert_int_eq(disk_write(d, buf, 0, 3 * SIZE, 0), 0);
	ck_assert_uint_eq(disk_size(d), 2 * SIZE);
}
END_TEST

START_TEST(zeroes)
{
	size_t done;

	ck_assert_int_eq(disk_write(d, buf, 65536, SIZE - 65536, 0), 0);
	ck_assert_int_eq(disk_zero(d, SIZE - 65536 + 100, UINT64_MAX, ZERO_PUNCH), 0);
	ck_assert_int_eq(disk_read(d, back, 65536, SIZE - 65536, 0, &done), 0);
	ck_assert(back[99] == buf[99] && !back[100] && !back[65535]);
	ck_assert_uint_eq(disk_size(d), SIZE);
	ck_assert_int_eq(disk_zero(d, SIZE + 1, 100, ZERO_KEEP), 0);
	ck_assert_uint_eq(disk_size(d), SIZE);
}
END_TEST

START_TEST(seeks)
{
	uint64_t at;

	ck_assert_int_eq(disk_write(d, buf, 1, 8192, 0), 0);
	ck_assert_int_eq(disk_seek(d, 0, SEEK_DATA, &at), 0);
	ck_assert_uint_eq(at, 8192);
	ck_assert_int_eq(disk_seek(d, SIZE, SEEK_DATA, &at), -ENXIO);
	ck_assert_int_eq(disk_seek(d, UINT64_MAX, SEEK_HOLE, &at), -ENXIO);
}
END_TEST

START_TEST(resizes)
{
	ck_assert_int_eq(disk_resize(d, 2 * SIZE, false), 0);
	ck_assert_uint_eq(disk_size(d), 2 * SIZE);
	ck_assert_int_eq(disk_resize(d, SIZE, false), -EINVAL);
	ck_assert_uint_eq(disk_size(d), 2 * SIZE);
	ck_assert_int_eq(disk_resize(d, SIZE, true), 0);
	ck_assert_uint_eq(disk_size(d), SIZE);
	ck_assert_int_eq(disk_resize(d, (uint64_t)INT64_MAX + 1, false), -EFBIG);
	ck_assert_int_eq(disk_resize(d, SIZE, false), 0);
}
END_TEST

START_TEST(read_only_ones)
{
	size_t done;

	d->want_read_only = true;
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), -EROFS);
	ck_assert_int_eq(disk_zero(d, 0, 512, ZERO_PUNCH), -EROFS);
	ck_assert_int_eq(disk_allocate(d, 0, 512, true), -EROFS);
	ck_assert_int_eq(disk_resize(d, 2 * SIZE, false), -EROFS);
	ck_assert_int_eq(disk_read(d, back, 512, 0, 0, &done), 0);
	ck_assert_int_eq(disk_flush(d), 0);
	d->want_read_only = false;
	d->image->read_only = true;
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), -EROFS);
	ck_assert_uint_eq(fake_calls(file, FAKE_WRITE) + fake_calls(file, FAKE_ZERO) +
				  fake_calls(file, FAKE_ALLOCATE) + fake_calls(file, FAKE_RESIZE),
			  0);
}
END_TEST

static uint64_t sum_of_times(const struct disk_op_counters *c)
{
	uint64_t n = 0;

	for (int i = 0; i <= DISK_TIME_BOUNDS; i++)
		n += atomic_load(&c->times[i]);
	return n;
}

START_TEST(counts)
{
	const struct disk_op_counters *w = &d->ops[DISK_OP_WRITE], *r = &d->ops[DISK_OP_READ];
	size_t done;

	fake_delay(file, FAKE_READ, 2000);
	fake_fail(file, FAKE_WRITE, 2, 1, EIO);
	ck_assert_int_eq(disk_write(d, buf, 1000, 0, 0), 0);
	ck_assert_int_eq(disk_write(d, buf, 1000, 0, 0), -EIO);
	ck_assert_int_eq(disk_write(d, buf, 500, 0, 0), 0);
	ck_assert_int_eq(disk_read(d, back, 1000, SIZE - 100, 0, &done), 0);
	ck_assert(w->count == 3 && w->errors == 1 && w->bytes == 1500 && sum_of_times(w) == 3);
	ck_assert(r->count == 1 && !r->errors && r->bytes == 100 && sum_of_times(r) == 1);
	ck_assert_uint_ge(r->nanoseconds, 2000000);
	ck_assert_msg(!r->times[0] && !r->times[1] && !r->times[2] && !r->times[3],
		      "2 ms is over 1 ms");
}
END_TEST

START_TEST(facts_of_one)
{
	struct disk_facts facts;

	ck_assert_int_eq(disk_open(d, true), 0);
	ck_assert_int_eq(disk_write(d, buf, 8192, 0, 0), 0);
	disk_facts(d, &facts);
	ck_assert_str_eq(facts.label, "a.img");
	ck_assert_str_eq(facts.format, "raw");
	ck_assert_str_eq(facts.pool, "");
	ck_assert(facts.number == 1 && facts.state == DISK_READY && facts.size == SIZE &&
		  facts.allocated == 8192 && facts.sector_size == 512 && facts.openers == 1 &&
		  !facts.read_only && !facts.busy_ns);
	disk_close(d);
}
END_TEST

/* Whoever looks does not wait for a backing store that is stuck. */
START_TEST(a_stuck_store_is_not_asked)
{
	struct gate_item stuck;
	struct file_stat st;
	struct disk_facts facts;

	ck_assert_int_eq(disk_stat(d, &st), 0);
	ck_assert(gate_enter(&d->gate, &stuck));
	stuck.since -= 600000000;
	fake_fail(file, FAKE_STAT, 1, 1000, EIO);
	ck_assert_int_eq(disk_stat(d, &st), 0);
	ck_assert_uint_eq(st.size, SIZE);
	disk_facts(d, &facts);
	ck_assert_uint_ge(facts.busy_ns, 600000000);
	gate_leave(&d->gate, &stuck);
	ck_assert_int_eq(disk_stat(d, &st), -EIO);
}
END_TEST

START_TEST(without_an_image)
{
	const uint8_t id[16] = { 3 };
	struct disk_attributes none = { UINT32_MAX,
					UINT32_MAX,
					UINT32_MAX,
					{ 0, UTIME_OMIT },
					{ 0, UTIME_OMIT } };
	struct disk_facts facts;
	struct file_stat st;
	struct disk *bad;

	ck_assert_int_eq(disk_new(t, d->pool, "x.qcow2", 3, id, NULL, &bad), 0);
	disk_set_state(bad, DISK_INVALID, "this build has nothing for it");
	ck_assert_int_eq(disk_stat(bad, &st), -ENOENT);
	ck_assert_int_eq(disk_set_attributes(bad, &none), -ENOENT);
	ck_assert_uint_eq(disk_size(bad), 0);
	disk_facts(bad, &facts);
	ck_assert(!strcmp(facts.format, "qcow2") && !facts.size && facts.read_only);
	ck_assert_str_eq(facts.reason, "this build has nothing for it");
	ck_assert_int_eq(disk_open(bad, false), -ENOENT);
	disk_unref(bad);
}
END_TEST

UNIT_MAIN("disk", setup, teardown, words, names, openers, who_may_open, states_are_announced,
	  reads_and_writes, grows, zeroes, seeks, resizes, read_only_ones, counts, facts_of_one,
	  a_stuck_store_is_not_asked, without_an_image)

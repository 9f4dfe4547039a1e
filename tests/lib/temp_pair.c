// SPDX-License-Identifier: GPL-2.0-or-later
#include "temp_pair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

struct why why;
uint64_t seed;
uint32_t number;
struct disk *source;

/* ---- a tandem with a source ---- */

void begin(void)
{
	temp_open();
	ck_assert_int_eq(snapshots_start(temp.t), 0);
	pairs_start(temp.t);
}

void open_source(void)
{
	source = temp_disk("a.img");
	ck_assert_int_eq(disk_open(source, true), 0);
}

void close_source(void)
{
	if (!source)
		return;
	disk_close(source);
	disk_unref(source);
	source = NULL;
}

void setup(void)
{
	seed = 7;
	temp_tandem_begin();
	temp_make("a.img", SIZE);
	begin();
	open_source();
}

void teardown(void)
{
	close_source();
	temp_tandem_end();
}

void again(void)
{
	close_source();
	temp_close();
	begin();
	open_source();
}

/* ---- what is in them ---- */

static void fill(char *buf, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t r = unit_random(&seed);

		memcpy(buf + i, &r, 8);
	}
}

int change(struct disk *d, uint64_t off, size_t len)
{
	char *buf = malloc(len);
	int err;

	fill(buf, len);
	err = disk_write(d, buf, len, off, 0);
	free(buf);
	return err;
}

void change_somewhere(struct disk *d)
{
	uint64_t off = unit_below(&seed, SIZE / 512 - 256) * 512;
	size_t len = (1 + unit_below(&seed, 256)) * 512;

	if (unit_below(&seed, 4))
		ck_assert_int_eq(change(d, off, len), 0);
	else
		ck_assert_int_eq(disk_zero(d, off, len,
					   unit_below(&seed, 2) ? ZERO_PUNCH : ZERO_KEEP),
				 0);
}

void change_much(struct disk *d, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		change_somewhere(d);
}

bool is_same(const char *a, const char *b)
{
	struct disk *x = temp_disk(a), *y = temp_disk(b);
	char *p = malloc(MIB), *q = malloc(MIB);
	size_t n = 1, m = 1;
	bool same = disk_size(x) == disk_size(y);

	ck_assert_int_eq(disk_open(x, false), 0);
	ck_assert_int_eq(disk_open(y, false), 0);
	for (uint64_t off = 0; same && n; off += n) {
		ck_assert_int_eq(disk_read(x, p, MIB, off, 0, &n), 0);
		ck_assert_int_eq(disk_read(y, q, MIB, off, 0, &m), 0);
		same = n == m && !memcmp(p, q, n);
	}
	disk_close(x);
	disk_close(y);
	disk_unref(x);
	disk_unref(y);
	free(p);
	free(q);
	return same;
}

/* ---- mirrors ---- */

struct pair_facts facts(void)
{
	struct pair_facts f;

	ck_assert_int_eq(pair_numbered(temp.t, number, &f), 0);
	return f;
}

static bool is_in(void *arg)
{
	return facts().state == *(enum copy_state *)arg;
}

void await(enum copy_state state)
{
	bool came = unit_until(is_in, &state, 20);
	struct pair_facts f = facts();

	ck_assert_msg(came, "it is %d, %d to go, error %d", f.state, (int)f.differs, f.error);
}

int mirror(const char *target, struct pair_request q)
{
	struct pair_facts f;
	int err;

	q.target = target;
	q.mode = q.mode ? q.mode : MODE_SYNCHRONOUS;
	q.mode_bits = 0600;
	err = tandem_mirror(temp.t, source, &q, &f, &why);
	if (!err)
		number = f.number;
	return err;
}

void make(void)
{
	ck_assert_msg(!mirror("b.img", (struct pair_request){ 0 }), "%s", why.message);
}

int operate(enum replica_operation op, bool force)
{
	return tandem_operate_pair(temp.t, number, op, facts().state, force, false, &why);
}

void do_it(enum replica_operation op)
{
	ck_assert_msg(!operate(op, false), "%s", why.message);
}

bool is_held_up(void *arg)
{
	struct disk *d = arg;
	bool is;

	pthread_mutex_lock(&d->ranges.mutex);
	is = d->ranges.waiting > 0;
	pthread_mutex_unlock(&d->ranges.mutex);
	return is;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Groups in the catalogue: a record for each, and a key for each of its members. */
#include "catalogue_inner.h"
#include "record.h"

int catalogue_put_group(struct catalogue_txn *t, const struct group_record *r)
{
	struct key key = key_of1(r->number);
	struct record w;

	record_encode_group(&w, r);
	return catalogue_put_record(t, t->c->groups, &key, &w);
}

int catalogue_del_group(struct catalogue_txn *t, uint32_t number)
{
	struct key key = key_of1(number);

	return catalogue_del_record(t, t->c->groups, &key);
}

int catalogue_put_member(struct catalogue_txn *t, uint32_t group, uint32_t disk)
{
	struct key key = key_of2(group, disk);
	struct record nothing;

	nothing.len = 0;
	return catalogue_put_record(t, t->c->members, &key, &nothing);
}

int catalogue_del_member(struct catalogue_txn *t, uint32_t group, uint32_t disk)
{
	struct key key = key_of2(group, disk);

	return catalogue_del_record(t, t->c->members, &key);
}

/* ---- reading ---- */

struct group_visit {
	int (*fn)(void *, const struct group_record *);
	void *arg;
};

static int visit_group(void *arg, MDB_val k, MDB_val v)
{
	struct group_visit *visit = arg;
	struct group_record r;
	int err = record_decode_group(v.mv_data, v.mv_size, &r);

	return err ? err : visit->fn(visit->arg, &r);
}

int catalogue_each_group(struct catalogue *c, int (*fn)(void *arg, const struct group_record *r),
			 void *arg)
{
	struct group_visit visit = { fn, arg };

	return catalogue_each(c, c->groups, NULL, visit_group, &visit);
}

struct member_visit {
	int (*fn)(void *, uint32_t, uint32_t);
	void *arg;
};

static int visit_member(void *arg, MDB_val k, MDB_val v)
{
	struct member_visit *visit = arg;
	uint64_t numbers[2]; /* group, disk */

	if (!key_read(k.mv_data, k.mv_size, numbers, 2) || numbers[0] > UINT32_MAX ||
	    numbers[1] > UINT32_MAX)
		return -EIO;
	return visit->fn(visit->arg, numbers[0], numbers[1]);
}

int catalogue_each_member(struct catalogue *c, int (*fn)(void *arg, uint32_t group, uint32_t disk),
			  void *arg)
{
	struct member_visit visit = { fn, arg };

	return catalogue_each(c, c->members, NULL, visit_member, &visit);
}

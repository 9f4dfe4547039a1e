// SPDX-License-Identifier: GPL-2.0-or-later
#include "pair_records.h"

#include <string.h>

#include "catalogue_inner.h"
#include "record.h"

int pair_put(struct catalogue_txn *t, const struct pair_record *r)
{
	struct key key = key_of1(r->number);
	struct record w;

	record_encode_pair(&w, r);
	return catalogue_put_record(t, t->c->pairs, &key, &w);
}

int pair_del(struct catalogue_txn *t, uint32_t number)
{
	struct key key = key_of1(number);

	return catalogue_del_record(t, t->c->pairs, &key);
}

bool pair_record_is(const struct pair_record *a, const struct pair_record *b)
{
	struct record x, y;

	record_encode_pair(&x, a);
	record_encode_pair(&y, b);
	return x.len == y.len && !memcmp(x.bytes, y.bytes, x.len);
}

struct visit {
	int (*fn)(void *, const struct pair_record *);
	void *arg;
};

static int visit(void *arg, MDB_val k, MDB_val v)
{
	struct visit *to = arg;
	struct pair_record r;
	int err = record_decode_pair(v.mv_data, v.mv_size, &r);

	return err ? err : to->fn(to->arg, &r);
}

int pairs_each(struct catalogue *c, int (*fn)(void *arg, const struct pair_record *r), void *arg)
{
	struct visit to = { fn, arg };

	return catalogue_each(c, c->pairs, NULL, visit, &to);
}

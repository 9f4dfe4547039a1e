// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A walk through every record of every database, in one read transaction. Of each: do the bytes
 * make a record, is it that of its key, is there what it needs to be there? What a disk's versions
 * hold together is compared with what is counted of them.
 */
#include "catalogue_check.h"

#include <stdio.h>
#include <string.h>

#include "catalogue_inner.h"
#include "record.h"

/* Of LMDB. */
#define KEY_BYTES_MAX 511

struct walk {
	struct catalogue *c;
	MDB_txn *txn;
	catalogue_bad *bad;
	void *arg;
	const char *database;
	uint64_t next_number, generation; /* that nobody has yet; UINT64_MAX: not known */
	uint64_t records;
	/* Of the versions: the disk that the walk is at, and what it has had of it. */
	uint64_t disk;
	struct version_totals sum;
};

/* ---- keys ---- */

static void key_text(MDB_val k, char *text, size_t size)
{
	uint64_t n[KEY_NUMBERS_MAX];
	size_t count = 1, len = 0;

	while (count <= KEY_NUMBERS_MAX && !key_read(k.mv_data, k.mv_size, n, count))
		count++;
	text[0] = '\0';
	for (size_t i = 0; count <= KEY_NUMBERS_MAX && i < count; i++)
		len += snprintf(text + len, size - len, "%s%llu", i ? "." : "",
				(unsigned long long)n[i]);
	for (size_t i = 0; count > KEY_NUMBERS_MAX && i < k.mv_size && len + 3 < size; i++)
		len += snprintf(text + len, size - len, "%02x", ((uint8_t *)k.mv_data)[i]);
}

static void say(struct walk *w, MDB_val k, const char *what)
{
	char text[100];

	key_text(k, text, sizeof(text));
	w->bad(w->arg, w->database, text, what);
}

static bool is_there(struct walk *w, MDB_dbi dbi, MDB_val k)
{
	MDB_val v;

	return !mdb_get(w->txn, dbi, &k, &v);
}

static bool has(struct walk *w, MDB_dbi dbi, struct key k)
{
	return is_there(w, dbi, key_val(&k));
}

static bool has_past(struct walk *w, uint32_t disk)
{
	struct track_record t = { 0 };

	return catalogue_read_track(w->c, w->txn, disk, &t) != -ENOENT && !t.gone;
}

static bool has_disk(struct walk *w, uint32_t number)
{
	uint32_t be = htobe32(number);

	return is_there(w, w->c->disks, val(&be, sizeof(be)));
}

/* A number of four bytes, as keys were before there were packed ones. */
static uint32_t plain_number(MDB_val k)
{
	uint32_t be = 0;

	if (k.mv_size == sizeof(be))
		memcpy(&be, k.mv_data, sizeof(be));
	return be32toh(be);
}

static bool is_number(struct walk *w, uint64_t number)
{
	return number && number < w->next_number;
}

/* Of a relationship or an object: its key is its own number. */
static bool is_own(struct walk *w, MDB_val k, uint64_t number)
{
	uint64_t n;

	return key_read(k.mv_data, k.mv_size, &n, 1) && n == number && is_number(w, n);
}

static bool is_name(const char *name)
{
	return name[0] && !strchr(name, '/');
}

/* ---- one record: what is wrong with it, or NULL ---- */

static const char *look_meta(struct walk *w, MDB_val k, MDB_val v)
{
	return v.mv_size == 8 ? NULL : "is no number";
}

static const char *look_disk(struct walk *w, MDB_val k, MDB_val v)
{
	struct disk_record r;

	if (record_decode_disk(v.mv_data, v.mv_size, &r) || !is_name(r.file_name))
		return "is no record of a disk";
	if (r.number != plain_number(k) || !is_number(w, r.number))
		return "has another number than its key";
	if (r.identity.len && !is_there(w, w->c->identities, val(r.identity.bytes, r.identity.len)))
		return "has an identity that leads to no disk";
	return NULL;
}

static const char *look_identity(struct walk *w, MDB_val k, MDB_val v)
{
	struct disk_record r;
	MDB_val disk = v, found;

	if (v.mv_size != sizeof(uint32_t) || mdb_get(w->txn, w->c->disks, &disk, &found))
		return "leads to a disk that is not there";
	if (record_decode_disk(found.mv_data, found.mv_size, &r))
		return NULL; /* said already */
	if (r.identity.len != k.mv_size || memcmp(r.identity.bytes, k.mv_data, k.mv_size))
		return "leads to a disk with another identity";
	return NULL;
}

static const char *look_pool(struct walk *w, MDB_val k, MDB_val v)
{
	struct pool_record r;

	if (record_decode_pool(v.mv_data, v.mv_size, &r) || !is_name(r.name) || r.dir[0] != '/')
		return "is no record of a pool";
	return r.number == plain_number(k) && is_number(w, r.number) ? NULL
								     : "has another number than "
								       "its key";
}

/* All versions of the disk that they were of have been seen. */
static void end_disk(struct walk *w)
{
	struct key key = key_of1(w->disk);
	MDB_val k = key_val(&key), v;
	struct version_totals t = { 0 };

	if (!w->disk)
		return;
	if (!mdb_get(w->txn, w->c->totals, &k, &v) && v.mv_size == 16) {
		t.bytes = get_le(v.mv_data, 8);
		t.count = get_le((const uint8_t *)v.mv_data + 8, 8);
	}
	if (t.bytes != w->sum.bytes || t.count != w->sum.count)
		say(w, k, "is another number of versions, or of their bytes, than is counted");
	w->sum = (struct version_totals){ 0 };
}

static const char *look_version(struct walk *w, MDB_val k, MDB_val v)
{
	uint64_t n[3], place, length;

	if (!key_read(k.mv_data, k.mv_size, n, 3) || !version_value_read(v, &place, &length))
		return "is no record of a version";
	if (n[0] != w->disk) {
		end_disk(w);
		w->disk = n[0];
		if (!has_past(w, n[0]))
			return "is of a disk without a past";
	}
	w->sum.count++;
	w->sum.bytes += place ? length : 0;
	if (!n[2] || n[2] >= w->generation)
		return "is of a generation that was not reached";
	if (!length)
		return "has no length";
	if (!has(w, w->c->by_last, key_of3(n[0], n[2], n[1])))
		return "is not among the versions by generation";
	return NULL;
}

/* That each is a version follows from their count, and from those above. */
static const char *look_by_last(struct walk *w, MDB_val k, MDB_val v)
{
	uint64_t n[3];

	return key_read(k.mv_data, k.mv_size, n, 3) && !v.mv_size ? NULL : "is no key of a version";
}

static const char *look_totals(struct walk *w, MDB_val k, MDB_val v)
{
	uint64_t n;

	if (!key_read(k.mv_data, k.mv_size, &n, 1) || v.mv_size != 16 ||
	    !get_le((const uint8_t *)v.mv_data + 8, 8))
		return "is no record of totals";
	return has_past(w, n) ? NULL : "is of a disk without a past";
}

static const char *look_store_segment(struct walk *w, MDB_val k, MDB_val v)
{
	uint64_t n[2];

	if (!key_read(k.mv_data, k.mv_size, n, 2) || v.mv_size != 16 ||
	    !get_le((const uint8_t *)v.mv_data + 8, 8))
		return "is no record of totals";
	return has(w, w->c->totals, key_of1(n[0])) ? NULL : "is of a disk without versions";
}

static const char *look_moment(struct walk *w, MDB_val k, MDB_val v)
{
	struct moment_record m;
	uint64_t n[2];

	if (!key_read(k.mv_data, k.mv_size, n, 2) || record_decode_moment(v.mv_data, v.mv_size, &m))
		return "is no record of a moment";
	if (m.generation != n[1])
		return "is of another generation than its key";
	if (!n[1] || n[1] >= w->generation)
		return "is of a generation that was not reached";
	return has_past(w, n[0]) ? NULL : "is of a disk without a past";
}

static const char *look_track(struct walk *w, MDB_val k, MDB_val v)
{
	struct track_record t;
	uint64_t n;

	if (!key_read(k.mv_data, k.mv_size, &n, 1) || !is_number(w, n) ||
	    record_decode_track(v.mv_data, v.mv_size, &t))
		return "is no record of a past";
	if (t.gone)
		return NULL;
	if (t.block_size < 4096 || t.block_size > 1 << 20 || t.block_size & (t.block_size - 1))
		return "has blocks of a size that there is not";
	return NULL;
}

static const char *look_snapshot(struct walk *w, MDB_val k, MDB_val v)
{
	struct snapshot_record s;

	if (record_decode_snapshot(v.mv_data, v.mv_size, &s) || !is_name(s.name))
		return "is no record of a snapshot";
	if (!is_own(w, k, s.number))
		return "has another number than its key";
	return NULL;
}

static const char *look_origin(struct walk *w, MDB_val k, MDB_val v)
{
	struct origin_record o;
	uint64_t n;

	if (!key_read(k.mv_data, k.mv_size, &n, 1) ||
	    record_decode_origin(v.mv_data, v.mv_size, &o))
		return "is no record of an origin";
	if (!has_past(w, n))
		return "is of a disk without a past";
	return o.source != n ? NULL : "is the disk itself";
}

static const char *look_filled(struct walk *w, MDB_val k, MDB_val v)
{
	uint64_t n[2];

	if (!key_read(k.mv_data, k.mv_size, n, 2) || v.mv_size != FILLED_PAGE_BYTES)
		return "is no page of marks";
	return has(w, w->c->origins, key_of1(n[0])) ? NULL : "is of a disk without an origin";
}

static const char *look_clone(struct walk *w, MDB_val k, MDB_val v)
{
	struct clone_record r;

	if (record_decode_clone(v.mv_data, v.mv_size, &r))
		return "is no record of a clone";
	return is_own(w, k, r.number) ? NULL : "has another number than its key";
}

static const char *look_pair(struct walk *w, MDB_val k, MDB_val v)
{
	struct pair_record r;

	if (record_decode_pair(v.mv_data, v.mv_size, &r))
		return "is no record of a mirror";
	return is_own(w, k, r.number) ? NULL : "has another number than its key";
}

static const char *look_group(struct walk *w, MDB_val k, MDB_val v)
{
	struct group_record r;

	if (record_decode_group(v.mv_data, v.mv_size, &r) || !is_name(r.name))
		return "is no record of a group";
	return is_own(w, k, r.number) ? NULL : "has another number than its key";
}

static const char *look_member(struct walk *w, MDB_val k, MDB_val v)
{
	uint64_t n[2];

	if (!key_read(k.mv_data, k.mv_size, n, 2))
		return "is no member of a group";
	if (!has(w, w->c->groups, key_of1(n[0])))
		return "is of a group that is not there";
	if ((n[1] <= UINT32_MAX && has_disk(w, n[1])) || has(w, w->c->pairs, key_of1(n[1])))
		return NULL;
	return "is neither a disk nor a mirror";
}

/* ---- all of them ---- */

#define DATABASE(d, l)                               \
	{                                            \
#d, offsetof(struct catalogue, d), l \
	}

static const struct database {
	const char *name;
	size_t handle;
	const char *(*look)(struct walk *w, MDB_val k, MDB_val v);
} databases[] = {
	DATABASE(meta, look_meta),           DATABASE(disks, look_disk),
	DATABASE(identities, look_identity), DATABASE(pools, look_pool),
	DATABASE(tracks, look_track),        DATABASE(moments, look_moment),
	DATABASE(versions, look_version),    DATABASE(by_last, look_by_last),
	DATABASE(totals, look_totals),       DATABASE(store_segments, look_store_segment),
	DATABASE(snapshots, look_snapshot),  DATABASE(origins, look_origin),
	DATABASE(filled, look_filled),       DATABASE(clones, look_clone),
	DATABASE(pairs, look_pair),          DATABASE(groups, look_group),
	DATABASE(members, look_member),
};

static MDB_dbi handle_of(const struct catalogue *c, const struct database *d)
{
	return *(const MDB_dbi *)((const char *)c + d->handle);
}

struct last_key {
	uint8_t bytes[KEY_BYTES_MAX];
	size_t len;
};

static bool is_behind(MDB_val k, const struct last_key *last)
{
	size_t common = k.mv_size < last->len ? k.mv_size : last->len;
	int order = memcmp(k.mv_data, last->bytes, common);

	return order > 0 || (!order && k.mv_size > last->len);
}

/* A page that leads back to one before it would else never end: there are only so many records. */
static int walk(struct walk *w, const struct database *d, MDB_cursor *cursor, uint64_t entries)
{
	struct last_key last = { .len = 0 };
	uint64_t count = 0;
	MDB_val k, v;
	int err = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_FIRST));

	for (; !err && count < entries; count++) {
		const char *wrong = d->look(w, k, v);

		if (k.mv_size > KEY_BYTES_MAX || (count && !is_behind(k, &last)))
			wrong = "is not in its order";
		if (wrong)
			say(w, k, wrong);
		if (k.mv_size <= KEY_BYTES_MAX) {
			memcpy(last.bytes, k.mv_data, k.mv_size);
			last.len = k.mv_size;
		}
		err = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_NEXT));
	}
	w->records += count;
	if (err && err != -ENOENT)
		return err;
	if (!err || count != entries)
		w->bad(w->arg, w->database, "", "has more records, or fewer, than LMDB counts");
	return 0;
}

static int walk_database(struct walk *w, const struct database *d)
{
	MDB_dbi dbi = handle_of(w->c, d);
	MDB_cursor *cursor;
	MDB_stat st;
	int err;

	w->database = d->name;
	if (dbi == NO_DATABASE)
		return 0;
	err = from_mdb(mdb_stat(w->txn, dbi, &st));
	if (!err)
		err = from_mdb(mdb_cursor_open(w->txn, dbi, &cursor));
	if (err)
		return err;
	err = walk(w, d, cursor, st.ms_entries);
	mdb_cursor_close(cursor);
	return err;
}

static void compare_counts(struct walk *w)
{
	MDB_stat versions, by_last;

	w->database = "by_last";
	if (!mdb_stat(w->txn, w->c->versions, &versions) &&
	    !mdb_stat(w->txn, w->c->by_last, &by_last) && versions.ms_entries != by_last.ms_entries)
		w->bad(w->arg, w->database, "",
		       "has another number of keys than there are versions");
}

int catalogue_check(struct catalogue *c, catalogue_bad *bad, void *arg, uint64_t *records)
{
	struct walk w = { .c = c, .bad = bad, .arg = arg };
	int err = catalogue_begin_read(c, &w.txn);

	if (err)
		return err;
	w.next_number = w.generation = UINT64_MAX;
	catalogue_get_meta(c, w.txn, "next_number", &w.next_number);
	catalogue_get_meta(c, w.txn, "set.Generation", &w.generation);
	for (size_t i = 0; i < sizeof(databases) / sizeof(databases[0]) && !err; i++) {
		err = walk_database(&w, &databases[i]);
		if (databases[i].look == look_version)
			end_disk(&w);
	}
	if (!err)
		compare_counts(&w);
	catalogue_end_read(c, w.txn);
	if (err)
		bad(arg, w.database, "", "cannot be read to its end");
	*records = w.records;
	return err;
}

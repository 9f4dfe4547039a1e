// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * edit_catalogue STATE count DATABASE          how many records there are
 * edit_catalogue STATE del DATABASE N          takes away the N-th, from 0 on
 * edit_catalogue STATE flip DATABASE N OFFSET  changes a byte of its value
 * edit_catalogue STATE copy DATABASE N M       the M-th gets the value of the N-th
 * edit_catalogue STATE cut DATABASE N          its value loses its last byte
 *
 * Damages a catalogue for a test, as no program does that knows what is in it.
 */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static MDB_txn *txn;

static void must(int rc, const char *what)
{
	if (!rc)
		return;
	fprintf(stderr, "edit_catalogue: %s: %s\n", what, mdb_strerror(rc));
	exit(1);
}

/* The n-th record; the value is a copy, which stays when another one is asked for. */
static MDB_cursor *find(MDB_dbi dbi, unsigned long n, MDB_val *k, MDB_val *v)
{
	static unsigned char copies[2][16384];
	static int copied;
	unsigned char *copy = copies[copied++ % 2];
	MDB_cursor *cursor;

	must(mdb_cursor_open(txn, dbi, &cursor), "cursor");
	must(mdb_cursor_get(cursor, k, v, MDB_FIRST), "no record");
	while (n--)
		must(mdb_cursor_get(cursor, k, v, MDB_NEXT), "no such record");
	must(v->mv_size > sizeof(copies[0]) ? MDB_BAD_VALSIZE : 0, "a record");
	memcpy(copy, v->mv_data, v->mv_size);
	v->mv_data = copy;
	return cursor;
}

static void edit(MDB_dbi dbi, const char *how, unsigned long n, unsigned long more)
{
	MDB_val k, v, ignored;
	MDB_cursor *cursor = find(dbi, n, &k, &v);

	if (!strcmp(how, "del")) {
		must(mdb_cursor_del(cursor, 0), how);
		return;
	}
	if (!strcmp(how, "copy"))
		find(dbi, more, &k, &ignored);
	else if (!strcmp(how, "flip") && more < v.mv_size)
		((unsigned char *)v.mv_data)[more] ^= 0x55;
	else if (!strcmp(how, "cut") && v.mv_size)
		v.mv_size--;
	else
		must(MDB_NOTFOUND, how);
	must(mdb_put(txn, dbi, &k, &v, 0), how);
}

int main(int argc, char **argv)
{
	char path[4096];
	MDB_env *env;
	MDB_stat st;
	MDB_dbi dbi;

	if (argc < 4)
		return 2;
	snprintf(path, sizeof(path), "%s/catalogue", argv[1]);
	must(mdb_env_create(&env), "env");
	mdb_env_set_maxdbs(env, 32);
	mdb_env_set_mapsize(env, 1ull << 30);
	must(mdb_env_open(env, path, 0, 0600), path);
	must(mdb_txn_begin(env, NULL, 0, &txn), "txn");
	must(mdb_dbi_open(txn, argv[3], 0, &dbi), argv[3]);
	if (argc > 4)
		edit(dbi, argv[2], strtoul(argv[4], NULL, 10),
		     argc > 5 ? strtoul(argv[5], NULL, 10) : 0);
	must(mdb_stat(txn, dbi, &st), "stat");
	if (argc == 4)
		printf("%zu\n", st.ms_entries);
	must(mdb_txn_commit(txn), "commit");
	mdb_env_close(env);
	return 0;
}

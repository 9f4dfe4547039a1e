// SPDX-License-Identifier: GPL-2.0-or-later
/* What is written to a snapshot: it is there, also after kills, and the moment is what it was. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clones_inner.h"
#include "past_disk.h"
#include "unit.h"

#define SIZE (64 * PAST_BLOCK)

static struct past_disk p;
static struct why why;
static struct past_moment *one;
static struct disk *over;  /* open for writing, or NULL */
static uint8_t held[SIZE]; /* what the snapshot reads as */

/* ---- where it dies, and what fails ---- */

/* Also for the libraries: what the catalogue makes durable, LMDB does. */
#define OURS __attribute__((visibility("default")))

static int calls_left = -1;  /* of those that make something durable, or remove a file; -1 */
static _Atomic int failures; /* so many commits */

static void maybe_die(void)
{
	if (calls_left >= 0 && calls_left-- == 0)
		raise(SIGKILL);
}

static bool flushes_fail;

OURS int fdatasync(int fd)
{
	maybe_die();
	if (flushes_fail) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_fdatasync, fd);
}

OURS int fsync(int fd)
{
	maybe_die();
	return syscall(SYS_fsync, fd);
}

OURS int unlinkat(int fd, const char *name, int flags)
{
	maybe_die();
	return syscall(SYS_unlinkat, fd, name, flags);
}

OURS int mdb_txn_commit(MDB_txn *txn)
{
	int (*real)(MDB_txn *) = (int (*)(MDB_txn *))dlsym(RTLD_NEXT, "mdb_txn_commit");

	if (atomic_load(&failures) > 0 && atomic_fetch_sub(&failures, 1) == 1) {
		mdb_txn_abort(txn);
		return EIO;
	}
	return real(txn);
}

/* ---- */

static void begin(void)
{
	temp_open();
	ck_assert_int_eq(snapshots_start(temp.t), 0);
}

static void setup(void)
{
	temp_tandem_begin();
	temp.options.block_size = PAST_BLOCK;
	begin();
	past_disk_begin(&p, "a.img", SIZE);
	past_write(&p, 0, SIZE / 2, 1);
	one = past_snapshot(&p, "one");
	memcpy(held, p.now, SIZE);
}

static void open_over(void)
{
	over = snapshot_overlay(temp.t, one->number);
	ck_assert_ptr_nonnull(over);
	ck_assert_int_eq(disk_open(over, true), 0);
}

static void close_over(void)
{
	if (!over)
		return;
	disk_close(over);
	disk_unref(over);
	over = NULL;
}

static void teardown(void)
{
	close_over();
	past_disk_end(&p);
	temp_tandem_end();
}

static void stop(void)
{
	close_over();
	past_disk_let_go(&p);
	temp_close();
}

static void go_on(void)
{
	begin();
	past_disk_again(&p);
}

static struct snapshot_facts facts(void)
{
	struct snapshot_facts f;

	ck_assert_int_eq(snapshot_numbered(temp.t, one->number, &f), 0);
	return f;
}

static void make_writable(void)
{
	int err = tandem_make_snapshot_writable(temp.t, one->number, false, &why);

	ck_assert_msg(!err, "%s", why.message);
	ck_assert(facts().writable);
}

static int make_read_only(bool force)
{
	return tandem_make_snapshot_read_only(temp.t, one->number, force, false, &why);
}

/* The same byte everywhere; 0 by disk_zero. */
static void write_over(uint64_t off, uint64_t len, uint8_t byte)
{
	memset(held + off, byte, len);
	if (byte)
		ck_assert_int_eq(disk_write(over, held + off, len, off, 0), 0);
	else
		ck_assert_int_eq(disk_zero(over, off, len, ZERO_PUNCH), 0);
}

static void scribble_over(void)
{
	uint64_t off = unit_below(&p.seed, SIZE), len = 1 + unit_below(&p.seed, 5 * PAST_BLOCK);

	write_over(off, len < SIZE - off ? len : SIZE - off,
		   unit_below(&p.seed, 6) ? unit_random(&p.seed) | 1 : 0);
}

static void check_held(void)
{
	static uint8_t buf[SIZE];
	bool was = over;
	size_t done;

	if (!was)
		open_over();
	ck_assert_int_eq(disk_read(over, buf, SIZE, 0, 0, &done), 0);
	ck_assert_uint_eq(done, SIZE);
	ck_assert_int_eq(memcmp(buf, held, SIZE), 0);
	if (!was)
		close_over();
}

/* Files that are there for overlays. */
static unsigned files(void)
{
	DIR *dir = opendir(temp_path(".tandem/overlays"));
	unsigned count = 0;
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		count += e->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return count;
}

static unsigned pasts(void)
{
	DIR *dir = opendir(temp_path(".tandem/past"));
	unsigned count = 0;
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		count += e->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return count;
}

/* Nothing is left of it, and its moment is what it was. */
static void check_gone(enum snapshot_state state)
{
	ck_assert_uint_eq(facts().state, state);
	ck_assert(!facts().writable);
	ck_assert_ptr_null(snapshot_overlay(temp.t, one->number));
	ck_assert_uint_eq(files(), 0);
	ck_assert_uint_eq(pasts(), 1);
	past_check_all(&p);
	past_check_now(&p);
}

START_TEST(written_and_thrown_away)
{
	uint64_t bytes, more;

	ck_assert_int_eq(snapshot_exclusive(temp.t, one->number, &bytes), 0);
	ck_assert_int_eq(tandem_make_snapshot_writable(temp.t, one->number, true, &why), 0);
	check_gone(SNAPSHOT_SYNCHRONIZED);
	make_writable();
	ck_assert_uint_eq(facts().state, SNAPSHOT_SYNCHRONIZED);
	check_held();
	ck_assert_uint_eq(facts().state, SNAPSHOT_SYNCHRONIZED);
	past_write(&p, 0, SIZE, 2);
	check_held();
	open_over();
	write_over(5000, 3, 7);
	ck_assert_uint_eq(facts().state, SNAPSHOT_SKEWED);
	ck_assert_uint_eq(temp_events(
				  "StateChanged replicas/a.img@one From=Synchronized To=Skewed"),
			  1);
	for (int i = 0; i < 300; i++) {
		scribble_over();
		past_scribble(&p);
		if (i % 50 == 0) {
			check_held();
			past_check_all(&p);
		}
	}
	ck_assert_uint_eq(temp_events("To=Skewed"), 1);
	ck_assert_int_eq(snapshot_exclusive(temp.t, one->number, &more), 0);
	ck_assert_uint_ge(more, bytes + snapshot_overlay_bytes(temp.t, one->number));
	ck_assert_uint_gt(snapshot_overlay_bytes(temp.t, one->number), 0);
	close_over();
	check_held();
	make_writable(); /* it is, and nothing of it is lost */
	check_held();
	past_check_all(&p);
	ck_assert_int_eq(make_read_only(false), -EPERM);
	check_held();
	ck_assert_int_eq(make_read_only(true), 0);
	check_gone(SNAPSHOT_SYNCHRONIZED);
	ck_assert_int_eq(make_read_only(false), 0);
	/* Again, from its moment. */
	memcpy(held, one->bytes, SIZE);
	make_writable();
	check_held();
	ck_assert_int_eq(make_read_only(false), 0);
	check_gone(SNAPSHOT_SYNCHRONIZED);
}
END_TEST

START_TEST(over_restarts)
{
	make_writable();
	stop();
	go_on();
	ck_assert_uint_eq(facts().state, SNAPSHOT_SYNCHRONIZED);
	check_held();
	for (int i = 0; i < 10; i++) {
		open_over();
		for (int k = 0; k < 20; k++) {
			scribble_over();
			past_scribble(&p);
		}
		check_held();
		stop();
		go_on();
		ck_assert_uint_eq(facts().state, SNAPSHOT_SKEWED);
		check_held();
		past_check_all(&p);
	}
	ck_assert_int_eq(tandem_delete_snapshot(temp.t, one->number, false, false, &why), 0);
	past_forget(&p, 0);
	ck_assert_uint_eq(files(), 0);
	ck_assert_uint_eq(pasts(), 1);
	ck_assert(past_is_empty(&p));
}
END_TEST

START_TEST(refused)
{
	uint32_t number = one->number;
	const struct clone_request q = { .generation = one->generation, .replaces = number };
	struct clone_facts c;

	make_writable();
	ck_assert_int_eq(tandem_clone(temp.t, p.d, &q, &c, &why), -EBUSY); /* Detach */
	open_over();
	ck_assert_int_eq(make_read_only(false), -EBUSY);
	ck_assert_int_eq(tandem_deactivate_snapshot(temp.t, number, false, false, &why), -EBUSY);
	ck_assert_int_eq(tandem_delete_snapshot(temp.t, number, true, false, &why), -EBUSY);
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, number, true, false, &why), -EBUSY);
	write_over(0, SIZE, 9);
	close_over();
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, number, false, false, &why), -EPERM);
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, number, true, true, &why), 0);
	ck_assert_int_eq(tandem_deactivate_snapshot(temp.t, number, false, true, &why), 0);
	ck_assert_int_eq(tandem_delete_snapshot(temp.t, number, false, true, &why), 0);
	ck_assert_int_eq(tandem_make_snapshot_read_only(temp.t, number, true, true, &why), 0);
	check_held();
	ck_assert_uint_eq(facts().state, SNAPSHOT_SKEWED);
	/* Held: its moment stays, and what was written to it does. */
	ck_assert_int_eq(tandem_hold_snapshot(temp.t, number, "x", false, &why), 0);
	ck_assert_int_eq(tandem_deactivate_snapshot(temp.t, number, true, false, &why), -EBUSY);
	ck_assert_int_eq(tandem_delete_snapshot(temp.t, number, true, false, &why), -EBUSY);
	check_held();
	past_check_all(&p);
	ck_assert_int_eq(tandem_hold_snapshot(temp.t, number, NULL, false, &why), 0);
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, number, true, false, &why), 0);
	past_forget(&p, 0);
	ck_assert_uint_eq(files(), 0);
	ck_assert(!facts().writable);
	ck_assert_uint_eq(facts().state, SNAPSHOT_SYNCHRONIZED);
}
END_TEST

/* Who has it open gets errors, and no harm comes of what he does then. */
START_TEST(taken_away_from_who_writes)
{
	struct origin_record origin;
	struct track_record track;
	uint32_t number;
	char byte = 1;
	size_t done;

	for (int deactivate = 0; deactivate < 2; deactivate++) {
		make_writable();
		open_over();
		for (int i = 0; i < 50; i++)
			scribble_over();
		if (deactivate)
			ck_assert_int_eq(tandem_deactivate_snapshot(temp.t, one->number, true,
								    false, &why),
					 0);
		else
			ck_assert_int_eq(make_read_only(true), 0);
		number = over->number;
		ck_assert_int_eq(disk_openers(p.d), 0);
		ck_assert_int_eq(disk_read(over, &byte, 1, 0, 0, &done), -EIO);
		ck_assert_int_eq(disk_write(over, &byte, 1, 0, 0), -EIO);
		ck_assert_int_eq(disk_zero(over, 0, 1, ZERO_PUNCH), -EIO);
		ck_assert_int_eq(disk_flush(over), -EIO);
		ck_assert_int_eq(disk_open(over, false), -ENOENT);
		if (!deactivate)
			check_gone(SNAPSHOT_SYNCHRONIZED);
		close_over();
		ck_assert_int_eq(track_get(temp.t->catalogue, number, &track), -ENOENT);
		ck_assert_int_eq(origin_get(temp.t->catalogue, number, &origin), -ENOENT);
		ck_assert_uint_eq(files(), 0);
		ck_assert_uint_eq(pasts(), 1);
	}
	past_forget(&p, 0);
	check_gone(SNAPSHOT_INACTIVE);
	/* With a moment of its own, now. */
	make_writable();
	ck_assert_uint_eq(facts().state, SNAPSHOT_SYNCHRONIZED);
	memcpy(held, p.now, SIZE);
	past_write(&p, 0, SIZE, 3);
	check_held();
	open_over();
	write_over(100, 100, 4);
	stop();
	go_on();
	check_held();
	past_check_now(&p);
}
END_TEST

/* The first write is not done before it is known that there is one. */
START_TEST(it_cannot_be_recorded)
{
	char byte = 1;

	for (int n = 1; n <= 2; n++) { /* its number, and then itself */
		atomic_store(&failures, n);
		ck_assert_int_eq(tandem_make_snapshot_writable(temp.t, one->number, false, &why),
				 -EIO);
		ck_assert_int_eq(failures, 0);
		check_gone(SNAPSHOT_SYNCHRONIZED);
	}
	make_writable();
	open_over();
	atomic_store(&failures, 1);
	ck_assert_int_eq(disk_write(over, &byte, 1, 0, 0), -EIO);
	ck_assert_int_eq(failures, 0);
	ck_assert_uint_eq(facts().state, SNAPSHOT_SYNCHRONIZED);
	check_held();
	write_over(0, 1, 9);
	ck_assert_uint_eq(facts().state, SNAPSHOT_SKEWED);
	/* Nothing is lost of it, whoever has it open. */
	atomic_store(&failures, 1);
	ck_assert_int_eq(make_read_only(true), -EIO);
	check_held();
	scribble_over();
	check_held();
	close_over();
	atomic_store(&failures, 1);
	ck_assert_int_eq(tandem_delete_snapshot(temp.t, one->number, false, false, &why), -EIO);
	atomic_store(&failures, 1);
	ck_assert_int_eq(tandem_deactivate_snapshot(temp.t, one->number, false, false, &why), -EIO);
	check_held();
	ck_assert_uint_eq(facts().state, SNAPSHOT_SKEWED);
	ck_assert_int_eq(make_read_only(true), 0);
	check_gone(SNAPSHOT_SYNCHRONIZED);
}
END_TEST

/* With its moment, which space was needed for, all of it is gone; and the rest with the snapshot. */
START_TEST(its_moment_is_lost)
{
	struct snapshots *s = temp.t->snapshots;
	char byte;
	size_t done;

	make_writable();
	open_over();
	write_over(0, 10, 9);
	pthread_mutex_lock(&s->changing);
	ck_assert_uint_eq(oldest_to_lose(s, p.d, READ_NOW), 0);
	ck_assert_uint_eq(oldest_to_lose(s, p.d, HELD), one->generation);
	ck_assert_int_eq(moment_lose(s, p.d, one->generation), 0);
	pthread_mutex_unlock(&s->changing);
	ck_assert_int_eq(disk_read(over, &byte, 1, 0, 0, &done), -EIO);
	ck_assert_uint_eq(facts().state, SNAPSHOT_BROKEN);
	ck_assert_int_eq(tandem_make_snapshot_writable(temp.t, one->number, false, &why), -EBUSY);
	stop();
	go_on();
	ck_assert_uint_eq(facts().state, SNAPSHOT_BROKEN);
	open_over();
	ck_assert_int_eq(disk_read(over, &byte, 1, 0, 0, &done), -EIO);
	close_over();
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, one->number, false, false, &why), 0);
	past_forget(&p, 0);
	check_gone(SNAPSHOT_SYNCHRONIZED);
}
END_TEST

START_TEST(with_the_disk)
{
	make_writable();
	open_over();
	write_over(0, 10, 9);
	ck_assert_int_eq(tandem_delete_disk(temp.t, p.d, NULL, true, false, &why), -EBUSY);
	close_over();
	ck_assert_int_eq(tandem_delete_disk(temp.t, p.d, NULL, true, false, &why), 0);
	ck_assert_uint_eq(files(), 0);
	ck_assert_uint_eq(pasts(), 0);
}
END_TEST

/* The image goes from its directory, and comes back. */
START_TEST(its_source_is_away)
{
	make_writable();
	open_over();
	write_over(100, 5000, 9);
	stop();
	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.txt")), 0);
	begin();
	ck_assert_str_eq(temp_state("a.img"), "Missing");
	ck_assert_uint_eq(files(), 1);
	ck_assert_int_eq(rename(temp_path("a.txt"), temp_path("a.img")), 0);
	temp_rescan();
	past_disk_again(&p);
	check_held();
	past_check_all(&p);
	ck_assert_uint_eq(facts().state, SNAPSHOT_SKEWED);
	/* Also while we live. */
	past_disk_let_go(&p);
	ck_assert_int_eq(rename(temp_path("a.img"), temp_path("a.txt")), 0);
	temp_rescan();
	ck_assert_str_eq(temp_state("a.img"), "Missing");
	ck_assert_int_eq(rename(temp_path("a.txt"), temp_path("a.img")), 0);
	temp_rescan();
	past_disk_again(&p);
	check_held();
	/* Its name is told of when it is another. */
	ck_assert_int_eq(tandem_rename_disk(temp.t, p.d, "a.img", "b.img", 0, &why), 0);
	open_over();
	ck_assert_int_eq(make_read_only(true) ?: make_read_only(false), 0);
	ck_assert_str_eq(over->label, "b.img/snapshots/one.raw");
}
END_TEST

/* Of what is open in that directory. */
static unsigned open_below(const char *path)
{
	char link[32], to[PATH_MAX];
	unsigned count = 0;
	ssize_t len;

	for (int fd = 0; fd < 1024; fd++) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		len = readlink(link, to, sizeof(to) - 1);
		to[len < 0 ? 0 : len] = '\0';
		count += !strncmp(to, path, strlen(path));
	}
	return count;
}

/* What was written stays, and nothing of it keeps the pool. */
START_TEST(its_pool_goes_and_comes_back)
{
	char pool[PATH_MAX];
	struct snapshot_facts f;
	struct disk *d;
	uint8_t byte;
	size_t done;

	snprintf(pool, sizeof(pool), "%s", temp_path("pool"));
	ck_assert_int_eq(mkdir(pool, 0700), 0);
	temp_make("pool/c.img", SIZE);
	ck_assert_int_eq(tandem_add_pool(temp.t, "fast", pool, false, &why), 0);
	for (int i = 0; i < 3; i++) {
		d = temp_disk("fast:c.img");
		if (!i) {
			ck_assert_int_eq(tandem_snapshot(temp.t, &d, 1, "one", false, &f, &why), 0);
			ck_assert_int_eq(tandem_make_snapshot_writable(temp.t, f.number, false,
								       &why),
					 0);
		}
		over = snapshot_overlay(temp.t, f.number);
		ck_assert_int_eq(disk_open(over, true), 0);
		ck_assert_int_eq(disk_read(over, &byte, 1, 5, 0, &done), 0);
		ck_assert_uint_eq(byte, i);
		byte = i + 1;
		ck_assert_int_eq(disk_write(over, &byte, 1, 5, 0), 0);
		ck_assert_int_eq(tandem_remove_pool(temp.t, "fast", false, false, &why), -EBUSY);
		close_over();
		disk_unref(d);
		ck_assert_uint_gt(open_below(pool), 0);
		ck_assert_int_eq(tandem_remove_pool(temp.t, "fast", false, false, &why), 0);
		ck_assert_ptr_null(snapshot_overlay(temp.t, f.number));
		ck_assert_uint_eq(open_below(pool), 0);
		ck_assert_int_eq(tandem_add_pool(temp.t, "fast", pool, false, &why), 0);
	}
}
END_TEST

/* Of its image nothing is there: that is told, and can be ended. */
START_TEST(it_cannot_be_opened)
{
	char name[64];

	make_writable();
	over = snapshot_overlay(temp.t, one->number);
	snprintf(name, sizeof(name), ".tandem/overlays/%u", over->number);
	disk_unref(over);
	over = NULL;
	stop();
	ck_assert_int_eq(unlink(temp_path(name)), 0);
	go_on();
	ck_assert(facts().writable && facts().overlay_lost);
	ck_assert_int_eq(tandem_make_snapshot_writable(temp.t, one->number, false, &why), -EIO);
	ck_assert_int_eq(make_read_only(true), 0);
	check_gone(SNAPSHOT_SYNCHRONIZED);
}
END_TEST

START_TEST(a_flush_fails)
{
	char byte;
	size_t done;

	make_writable();
	open_over();
	write_over(0, 100, 9);
	flushes_fail = true;
	ck_assert_int_eq(disk_flush(over), -EIO);
	flushes_fail = false;
	ck_assert_int_eq(disk_write(over, "", 1, 0, 0), -EIO);
	for (int i = 0; i < 2; i++) {
		ck_assert(facts().writable && facts().overlay_lost);
		ck_assert_int_eq(tandem_make_snapshot_writable(temp.t, one->number, false, &why),
				 -EIO);
		if (i) { /* it is that since the stop, or what the watcher does before */
			over = snapshot_overlay(temp.t, one->number);
			ck_assert_int_eq(disk_open(over, false), -ENOENT);
			disk_unref(over);
			over = NULL;
			break;
		}
		ck_assert_int_eq(disk_read(over, &byte, 1, 0, 0, &done), 0);
		overlays_record_failures(temp.t);
		stop();
		go_on();
	}
	ck_assert_str_eq(temp_state("a.img"), "Ready");
	ck_assert_int_eq(make_read_only(true), 0);
	memcpy(held, one->bytes, SIZE);
	check_gone(SNAPSHOT_SYNCHRONIZED);
	make_writable();
	check_held();
}
END_TEST

/* ---- at once ---- */

static void *first_write(void *arg)
{
	uint64_t i = (uintptr_t)arg;

	ck_assert_int_eq(disk_write(over, held + i * PAST_BLOCK, PAST_BLOCK, i * PAST_BLOCK, 0), 0);
	return NULL;
}

START_TEST(first_writes_at_once)
{
	pthread_t threads[8];

	for (int round = 0; round < 20; round++) {
		memcpy(held, one->bytes, SIZE);
		make_writable();
		open_over();
		memset(held, 10 + round, 8 * PAST_BLOCK);
		for (uintptr_t i = 0; i < 8; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, first_write, (void *)i),
					 0);
		for (int i = 0; i < 8; i++)
			pthread_join(threads[i], NULL);
		ck_assert_uint_eq(facts().state, SNAPSHOT_SKEWED);
		check_held();
		close_over();
		ck_assert_int_eq(make_read_only(true), 0);
	}
	ck_assert_uint_eq(temp_events("From=Synchronized To=Skewed"), 20);
}
END_TEST

static void *writes_on(void *arg)
{
	char byte = 5;
	int err = 0;

	for (uint64_t i = 0; !err; i++)
		err = disk_write(over, &byte, 1, i * 7919 % SIZE, 0);
	return (void *)(intptr_t)err;
}

/* Whatever the writers are at, and the settler. */
START_TEST(taken_away_beside_writers)
{
	pthread_t threads[4];
	void *err;

	for (int round = 0; round < 10; round++) {
		make_writable();
		open_over();
		for (int i = 0; i < 4; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, writes_on, NULL), 0);
		while (facts().state != SNAPSHOT_SKEWED)
			usleep(100);
		usleep(1000 * round);
		ck_assert_int_eq(make_read_only(true), 0);
		for (int i = 0; i < 4; i++) {
			pthread_join(threads[i], &err);
			ck_assert_int_eq((intptr_t)err, -EIO);
		}
		close_over();
		check_gone(SNAPSHOT_SYNCHRONIZED);
	}
}
END_TEST

static void *plans_to_delete(void *arg)
{
	for (unsigned i = 0; i < unit_scaled(50000); i++) {
		struct why reason;

		ck_assert_int_eq(tandem_delete_snapshots(temp.t, arg, 2, false, true, &reason), 0);
	}
	return NULL;
}

/* Whatever the order in which they are named. */
START_TEST(several_are_held_at_once)
{
	uint32_t numbers[3];
	pthread_t thread;

	make_writable();
	numbers[0] = numbers[2] = one->number;
	numbers[1] = past_snapshot(&p, "two")->number;
	ck_assert_int_eq(tandem_make_snapshot_writable(temp.t, numbers[1], false, &why), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, plans_to_delete, numbers), 0);
	plans_to_delete(numbers + 1);
	pthread_join(thread, NULL);
}
END_TEST

/* ---- crashes ---- */

enum { WRITES = 6 };

static struct progress {
	int made, writes, dropped;
} * progress;

/* Each a piece of two blocks, so that some of it is filled. */
static void write_number(int i)
{
	uint64_t off = i * 3 * PAST_BLOCK + 1000;
	static uint8_t bytes[PAST_BLOCK];

	memset(bytes, 100 + i, sizeof(bytes));
	ck_assert_int_eq(disk_write(over, bytes, sizeof(bytes), off, 0), 0);
}

static bool is_written(int i)
{
	uint8_t byte;
	size_t done;

	ck_assert_int_eq(disk_read(over, &byte, 1, i * 3 * PAST_BLOCK + 1000, 0, &done), 0);
	return byte == 100 + i;
}

/* Dies at the so-many-th call. False: it came to its end. */
static bool live_and_die(int calls)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		go_on();
		calls_left = calls;
		make_writable();
		progress->made = 1;
		open_over();
		for (int i = 0; i < WRITES; i++) {
			write_number(i);
			progress->writes = i + 1;
			if (i == WRITES / 2) { /* and some of it goes into the image */
				ck_assert_int_eq(history_settle(atomic_load(&over->history)), 0);
				ck_assert_int_eq(disk_flush(over), 0);
			}
		}
		close_over();
		ck_assert_int_eq(make_read_only(true), 0);
		progress->dropped = 1;
		raise(SIGUSR1); /* no exit, at which sanitizers look around */
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGUSR1);
	return WTERMSIG(status) == SIGKILL;
}

/* Everything that was acknowledged, and nothing that was not begun. */
static void check_writes(void)
{
	int present = 0;

	open_over();
	while (present < WRITES && is_written(present))
		present++;
	ck_assert_int_ge(present, progress->writes);
	ck_assert_int_le(present, progress->writes + 1);
	memcpy(held, one->bytes, SIZE);
	for (int i = 0; i < present; i++)
		memset(held + i * 3 * PAST_BLOCK + 1000, 100 + i, PAST_BLOCK);
	check_held();
	if (present)
		ck_assert_uint_eq(facts().state, SNAPSHOT_SKEWED);
	close_over();
}

START_TEST(crashes)
{
	unsigned without = 0, untouched = 0, written = 0, gone = 0;
	bool died = true;

	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	for (int calls = 0; died; calls++) {
		stop();
		*progress = (struct progress){ 0 };
		died = live_and_die(calls);
		go_on();
		ck_assert(!progress->dropped || !facts().writable);
		ck_assert(!progress->made || facts().writable || progress->writes == WRITES);
		if (facts().writable) {
			check_writes();
			ck_assert_uint_eq(files(), 1);
			ck_assert_uint_eq(pasts(), 2);
			written += progress->writes > 0;
			untouched += !progress->writes;
			ck_assert_int_eq(make_read_only(true), 0);
		} else {
			without += !progress->made;
			gone += progress->made;
		}
		check_gone(SNAPSHOT_SYNCHRONIZED);
	}
	ck_assert_uint_gt(without, 3);
	ck_assert_uint_gt(untouched, 0);
	ck_assert_uint_gt(written, 3);
	ck_assert_uint_gt(gone, 3);
	munmap(progress, sizeof(*progress));
}
END_TEST

UNIT_MAIN("overlay", setup, teardown, written_and_thrown_away, over_restarts, refused,
	  taken_away_from_who_writes, it_cannot_be_recorded, its_moment_is_lost, with_the_disk,
	  its_source_is_away, its_pool_goes_and_comes_back, it_cannot_be_opened, a_flush_fails,
	  first_writes_at_once, taken_away_beside_writers, several_are_held_at_once, crashes)

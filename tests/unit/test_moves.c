// SPDX-License-Identifier: GPL-2.0-or-later
/* A disk goes on in another file, and nobody who uses it notices. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jobs.h"
#include "pairs.h"
#include "temp_tandem.h"
#include "unit.h"

#define MIB (1u << 20)
#define SIZE (16 * MIB)
#define WRITERS 3

static struct why why;
static uint64_t seed;
static uint32_t number;
static struct disk *source; /* open for writing, or NULL */
static char *content;       /* what it holds */

/* ---- where it dies ---- */

static int calls_left = -1; /* of those below; -1: it does not die */

/* Also for the libraries: what the catalogue makes durable, LMDB does. */
#define OURS __attribute__((visibility("default")))

static void maybe_die(void)
{
	if (calls_left >= 0 && calls_left-- == 0)
		raise(SIGKILL);
}

OURS int fdatasync(int fd)
{
	maybe_die();
	return syscall(SYS_fdatasync, fd);
}

OURS int fsync(int fd)
{
	maybe_die();
	return syscall(SYS_fsync, fd);
}

OURS int renameat2(int from_dir, const char *from, int dir, const char *to, unsigned flags)
{
	maybe_die();
	return syscall(SYS_renameat2, from_dir, from, dir, to, flags);
}

OURS int unlinkat(int dir, const char *name, int flags)
{
	maybe_die();
	return syscall(SYS_unlinkat, dir, name, flags);
}

/* ---- a tandem with a disk ---- */

static void begin(void)
{
	temp_open();
	ck_assert_int_eq(snapshots_start(temp.t), 0);
	pairs_start(temp.t);
}

static struct disk *mounted(const char *name)
{
	struct pool *p = tandem_pool_named(temp.t, "");
	struct disk *d = tandem_disk_mounted(temp.t, p, name);

	pool_unref(p);
	return d;
}

/* By the name that it has in the mount, wherever it is. */
static void open_source(void)
{
	source = mounted("a.img");
	ck_assert_ptr_nonnull(source);
	ck_assert_int_eq(disk_open(source, true), 0);
}

static void close_source(void)
{
	if (!source)
		return;
	disk_close(source);
	disk_unref(source);
	source = NULL;
}

static void setup(void)
{
	seed = 11;
	content = calloc(1, SIZE);
	temp_tandem_begin();
	temp_make("a.img", SIZE);
	begin();
	open_source();
}

static void teardown(void)
{
	close_source();
	temp_tandem_end();
	free(content);
}

static void again(void)
{
	close_source();
	temp_close();
	begin();
	open_source();
}

/* ---- what is in it ---- */

static void fill(char *buf, size_t len, uint64_t *from)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t r = unit_random(from);

		memcpy(buf + i, &r, 8);
	}
}

static void change(uint64_t off, size_t len, uint64_t *from)
{
	fill(content + off, len, from);
	ck_assert_int_eq(disk_write(source, content + off, len, off, 0), 0);
}

/* Somewhere in its share of the disk; zeros, now and then. */
static void change_one(unsigned share, unsigned shares, uint64_t *from)
{
	uint64_t size = SIZE / shares, off = share * size + unit_below(from, size / 512 - 64) * 512;
	size_t len = (1 + unit_below(from, 64)) * 512;

	off -= off % 512;
	if (unit_below(from, 5)) {
		change(off, len, from);
		return;
	}
	memset(content + off, 0, len);
	ck_assert_int_eq(disk_zero(source, off, len, unit_below(from, 2) ? ZERO_PUNCH : ZERO_KEEP),
			 0);
}

static void change_much(unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		change_one(0, 1, &seed);
}

static void check_content(void)
{
	char *buf = malloc(SIZE);
	size_t done;

	ck_assert_uint_eq(disk_size(source), SIZE);
	ck_assert_int_eq(disk_read(source, buf, SIZE, 0, 0, &done), 0);
	ck_assert_uint_eq(done, SIZE);
	for (size_t i = 0; i < SIZE; i += 512)
		ck_assert_msg(!memcmp(buf + i, content + i, 512), "at %zu it is different", i);
	free(buf);
}

static uint64_t snap(const char *name, char **then)
{
	struct snapshot_facts f;

	ck_assert_msg(!tandem_snapshot(temp.t, &source, 1, name, false, &f, &why), "%s",
		      why.message);
	*then = malloc(SIZE);
	memcpy(*then, content, SIZE);
	return f.generation;
}

static void check_snapshot(uint64_t generation, const char *then)
{
	char *buf = malloc(SIZE);
	size_t done;

	ck_assert_int_eq(moment_open(source, generation), 0);
	ck_assert_int_eq(moment_read(source, generation, buf, SIZE, 0, &done), 0);
	ck_assert_uint_eq(done, SIZE);
	for (size_t i = 0; i < SIZE; i += 512)
		ck_assert_msg(!memcmp(buf + i, then + i, 512), "at %zu it was different", i);
	moment_close(source, generation);
	free(buf);
}

/* ---- moving ---- */

static struct pair_facts facts(void)
{
	struct pair_facts f;

	ck_assert_int_eq(pair_numbered(temp.t, number, &f), 0);
	return f;
}

static bool is_synchronized(void *arg)
{
	(void)arg;
	return facts().state == COPY_SYNCHRONIZED;
}

static int start(const char *target, struct pair_request q)
{
	struct pair_facts f;
	int err;

	q.target = target;
	q.mode = MODE_SYNCHRONOUS;
	q.mode_bits = 0600;
	err = tandem_mirror(temp.t, source, &q, &f, &why);
	if (!err)
		number = f.number;
	return err;
}

static void start_moving(const char *target)
{
	ck_assert_msg(!start(target, (struct pair_request){ .moves = true }), "%s", why.message);
	ck_assert(unit_until(is_synchronized, NULL, 20));
}

static char left[DISK_LABEL_MAX + 1];

static int break_it(bool plan)
{
	why = (struct why){ 0 };
	return tandem_break_mirror(source, plan, left, &why);
}

/* Also while somebody writes, so that it may be different just now. */
static bool is_broken(void *arg)
{
	int err = break_it(false);

	ck_assert_msg(!err || err == -EBUSY, "%d: %s", err, why.message);
	*(int *)arg = err;
	return !err;
}

static void move(const char *target)
{
	int err = -1;

	start_moving(target);
	ck_assert_msg(unit_until(is_broken, &err, 20), "%s", why.message);
}

static void check_is(const char *label)
{
	struct disk *d = tandem_disk_called(temp.t, "a.img"), *l = temp_disk(label);
	struct disk_facts f;

	ck_assert_ptr_nonnull(d);
	ck_assert_ptr_eq(d, l);
	disk_facts(d, &f);
	ck_assert_str_eq(f.mount_name, "a.img");
	ck_assert_str_eq(f.mount_dir, "");
	ck_assert_str_eq(f.label, label);
	ck_assert_int_eq(f.state, DISK_READY);
	disk_unref(d);
	disk_unref(l);
	temp_check_tables();
}

START_TEST(to_a_container_and_back)
{
	uint32_t was = source->number;
	uint64_t before, after;
	char *then, *since, *file = malloc(SIZE);
	struct stat st;
	int fd;

	change_much(100);
	ck_assert_int_eq(chmod(temp_path("a.img"), 0640), 0);
	before = snap("before", &then);
	change_much(100);
	temp_forget();
	move("b.vhdx");
	check_is("b.vhdx");
	ck_assert_uint_eq(source->number, was);
	ck_assert_uint_eq(temp_events("DiskRenamed disks/b.vhdx From=a.img Left=a.img.left-"), 1);
	ck_assert_int_eq(strncmp(left, "a.img.left-", 11), 0);
	ck_assert_uint_eq(temp_count(), 1);
	ck_assert_int_eq(stat(temp_path("b.vhdx"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	/* The old file is as it was then, by itself. */
	fd = open(temp_path(left), O_RDONLY);
	ck_assert_int_eq(pread(fd, file, SIZE, 0), SIZE);
	close(fd);
	ck_assert_int_eq(memcmp(file, content, SIZE), 0);
	check_content();
	check_snapshot(before, then);
	change_much(100);
	after = snap("after", &since);
	change_much(100);
	check_content();
	check_snapshot(before, then);
	again();
	check_is("b.vhdx");
	ck_assert_uint_eq(source->number, was);
	check_content();
	check_snapshot(before, then);
	check_snapshot(after, since);
	change_much(50);
	move("c.img");
	check_is("c.img");
	ck_assert_int_eq(strncmp(left, "b.vhdx.left-", 12), 0);
	check_content();
	check_snapshot(before, then);
	check_snapshot(after, since);
	again();
	check_is("c.img");
	check_content();
	check_snapshot(before, then);
	check_snapshot(after, since);
	ck_assert_uint_eq(temp_count(), 1);
	free(then);
	free(since);
	free(file);
}
END_TEST

struct writer {
	unsigned share;
	uint64_t seed;
	pthread_t thread;
};
static _Atomic bool enough;
static _Atomic uint64_t writes;

static void *write_on(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&enough)) {
		change_one(w->share, WRITERS, &w->seed);
		if (!unit_below(&w->seed, 20))
			ck_assert_int_eq(disk_flush(source), 0);
		atomic_fetch_add(&writes, 1);
	}
	return NULL;
}

static void *look_on(void *arg)
{
	struct disk_facts f;
	struct file_stat st;
	size_t count;

	while (!atomic_load(&enough)) {
		struct disk **disks = tandem_disks(temp.t, &count);

		for (size_t i = 0; i < count; i++) {
			disk_facts(disks[i], &f);
			disk_stat(disks[i], &st);
			ck_assert_uint_eq(disk_size(disks[i]), SIZE);
		}
		disks_free(disks, count);
		disk_facts(source, &f);
		ck_assert_str_eq(f.mount_name, "a.img");
		ck_assert_int_eq(disk_stat(source, &st), 0);
		usleep(1000);
	}
	return arg;
}

static bool has_written(void *arg)
{
	return atomic_load(&writes) > *(uint64_t *)arg;
}

/* What only some formats have. */
static void *reserve_on(void *arg)
{
	while (!atomic_load(&enough)) {
		int err = disk_allocate(source, 0, SIZE, true);

		ck_assert_msg(!err || err == -EOPNOTSUPP, "%d", err);
	}
	return NULL;
}

START_TEST(under_writers)
{
	static const char *const targets[] = { "b.vhdx", "c.img", "d.vhd", "e.img" };
	struct writer w[WRITERS];
	uint64_t before, from;
	pthread_t looker, reserver;
	char *then;

	change_much(50);
	before = snap("before", &then);
	for (unsigned i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .share = i, .seed = i + 1 };
		ck_assert_int_eq(pthread_create(&w[i].thread, NULL, write_on, &w[i]), 0);
	}
	ck_assert_int_eq(pthread_create(&looker, NULL, look_on, NULL), 0);
	ck_assert_int_eq(pthread_create(&reserver, NULL, reserve_on, NULL), 0);
	for (unsigned i = 0; i < 4; i++) {
		from = atomic_load(&writes);
		move(targets[i]);
		check_is(targets[i]);
		ck_assert(unit_until(has_written, &from, 20));
	}
	atomic_store(&enough, true);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(w[i].thread, NULL);
	pthread_join(looker, NULL);
	pthread_join(reserver, NULL);
	check_content();
	check_snapshot(before, then);
	again();
	check_is("e.img");
	check_content();
	check_snapshot(before, then);
	free(then);
}
END_TEST

START_TEST(refused)
{
	struct disk *b;
	struct pair_facts f;
	char *then;

	ck_assert_int_eq(break_it(false), -ENOENT);
	change_much(50);
	ck_assert_int_eq(start("m.img", (struct pair_request){ 0 }), 0);
	ck_assert_int_eq(break_it(false), -ENOENT);
	jobs_set_limits(temp.t->jobs, 64 << 10, 0); /* a second for each region */
	ck_assert_msg(!start("b.img", (struct pair_request){ .moves = true }), "%s", why.message);
	ck_assert(facts().first);
	ck_assert_int_eq(tandem_operate_pair(temp.t, number, OP_SUSPEND, COPY_UNSYNCHRONIZED, false,
					     false, &why),
			 0);
	jobs_set_limits(temp.t->jobs, 0, 0);
	ck_assert_int_eq(break_it(false), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why.message, "% ") ?: strstr(why.message, "%"));
	ck_assert_int_eq(start("c.img", (struct pair_request){ .moves = true }), -EBUSY);
	ck_assert_int_eq(tandem_operate_pair(temp.t, number, OP_RESUME, COPY_SUSPENDED, false,
					     false, &why),
			 0);
	ck_assert(unit_until(is_synchronized, NULL, 20));
	b = temp_disk("b.img");
	/* Somebody reads it. */
	ck_assert_int_eq(disk_open(b, false), 0);
	ck_assert_int_eq(break_it(true), -EBUSY);
	ck_assert_int_eq(break_it(false), -EBUSY);
	disk_close(b);
	/* It has a past. */
	snap("s", &then);
	ck_assert_int_eq(tandem_snapshot(temp.t, &b, 1, "t", false, NULL, &why), 0);
	ck_assert_int_eq(break_it(false), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why.message, "past"));
	ck_assert(is_synchronized(NULL));
	change_much(50);
	check_content();
	ck_assert_ptr_eq(temp_disk("a.img"), source);
	disk_unref(source);
	disk_unref(b);
	ck_assert_int_eq(pair_moving(source, &f), 0);
	ck_assert_int_eq(tandem_operate_pair(temp.t, number, OP_DETACH, f.state, true, false, &why),
			 0);
	ck_assert_int_eq(pair_moving(source, &f), -ENOENT);
	/* A plan moves nothing. */
	start_moving("d.img");
	ck_assert_int_eq(break_it(true), 0);
	ck_assert_str_eq(facts().target, "d.img");
	ck_assert_int_eq(pair_moving(source, &f), 0);
	free(then);
}
END_TEST

START_TEST(another_mirror_goes_on)
{
	uint32_t other;
	struct disk *m;
	char *buf = malloc(SIZE);
	size_t done;

	change_much(50);
	ck_assert_msg(!start("m.img", (struct pair_request){ 0 }), "%s", why.message);
	other = number;
	ck_assert(unit_until(is_synchronized, NULL, 20));
	move("b.vhdx");
	number = other;
	ck_assert_str_eq(facts().source, "b.vhdx");
	change_much(100);
	ck_assert(unit_until(is_synchronized, NULL, 20));
	again();
	ck_assert(unit_until(is_synchronized, NULL, 20));
	change_much(100);
	check_content();
	m = temp_disk("m.img");
	ck_assert_int_eq(disk_open(m, false), 0);
	ck_assert_int_eq(disk_read(m, buf, SIZE, 0, 0, &done), 0);
	ck_assert_int_eq(memcmp(buf, content, SIZE), 0);
	disk_close(m);
	disk_unref(m);
	free(buf);
}
END_TEST

START_TEST(to_a_pool_and_back)
{
	struct disk_facts f;
	struct pool *p;
	char dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s", temp_path("fast"));
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	ck_assert_int_eq(tandem_add_pool(temp.t, "fast", dir, false, &why), 0);
	change_much(100);
	move("fast:a.img");
	check_is("fast:a.img");
	change_much(50);
	again();
	check_is("fast:a.img");
	check_content();
	p = tandem_pool_named(temp.t, "fast");
	ck_assert_ptr_null(tandem_disk_mounted(temp.t, p, "a.img"));
	pool_unref(p);
	move("b.img");
	check_is("b.img");
	check_content();
	/* Its name is that of the pool from here on, if that is where it is called so. */
	ck_assert_int_eq(tandem_remove_pool(temp.t, "fast", false, false, &why), 0);
	again();
	disk_facts(source, &f);
	ck_assert_str_eq(f.mount_dir, "");
	check_content();
}
END_TEST

START_TEST(its_name_is_taken)
{
	struct create_disk c = { .name = "a.img", .size = MIB, .mode = 0600 };
	struct disk *d;

	move("b.img");
	c.uid = geteuid();
	c.gid = getegid();
	ck_assert_int_eq(tandem_create_disk(temp.t, &c, &d, &why), -EEXIST);
	c.name = "x.img";
	ck_assert_int_eq(tandem_create_disk(temp.t, &c, &d, &why), 0);
	ck_assert_int_eq(tandem_rename_disk(temp.t, d, "x.img", "a.img", 0, &why), -EEXIST);
	/* Nor does it go under the name of its file. */
	close_source();
	ck_assert_int_eq(tandem_rename_disk(temp.t, d, "x.img", "b.img", 0, &why), -EEXIST);
	ck_assert_str_eq(temp_state("b.img"), "Ready");
	open_source();
	disk_unref(d);
	ck_assert_int_eq(start("a.img", (struct pair_request){ 0 }), -EEXIST);
	/* A file that comes with it stays outside, also when it is found first. */
	temp_make("a.img", SIZE);
	temp_rescan();
	ck_assert_str_eq(temp_state("a.img"), "Conflict");
	again();
	ck_assert_str_eq(temp_state("a.img"), "Conflict");
	ck_assert_str_eq(temp_state("b.img"), "Ready");
	/* Nor while it is away, over a restart. */
	close_source();
	temp_close();
	ck_assert_int_eq(rename(temp_path("b.img"), temp_path("b.txt")), 0);
	begin();
	ck_assert_str_eq(temp_state("b.img"), "Missing");
	ck_assert_str_eq(temp_state("a.img"), "Conflict");
	ck_assert_int_eq(rename(temp_path("b.txt"), temp_path("b.img")), 0);
	temp_rescan();
	ck_assert_str_eq(temp_state("b.img"), "Ready");
	ck_assert_str_eq(temp_state("a.img"), "Conflict");
	open_source();
	ck_assert_int_eq(unlink(temp_path("a.img")), 0);
	temp_rescan();
	close_source();
	d = temp_disk("b.img");
	ck_assert_int_eq(tandem_rename_disk(temp.t, d, "a.img", "y.img", 0, &why), -EPERM);
	ck_assert_msg(!tandem_delete_disk(temp.t, d, "a.img", false, false, &why), "%s",
		      why.message);
	disk_unref(d);
	c.name = "a.img";
	ck_assert_msg(!tandem_create_disk(temp.t, &c, &d, &why), "%s", why.message);
	disk_unref(d);
}
END_TEST

/* ---- crashes ---- */

/* Dies at the so-many-th call that makes something durable. False: it came to its end. */
static bool move_and_die(int calls, bool container)
{
	pid_t pid = fork();
	int status, err = -1;

	if (!pid) {
		begin();
		open_source();
		start_moving(container ? "b.vhdx" : "b.img");
		change_much(20);
		ck_assert_int_eq(disk_flush(source), 0);
		calls_left = calls;
		is_broken(&err);
		raise(err ? SIGABRT : SIGUSR1); /* no exit, at which sanitizers look around */
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGUSR1);
	return WTERMSIG(status) == SIGKILL;
}

static void remove_left(void)
{
	DIR *dir = opendir(temp.dir);
	struct dirent *e;

	while ((e = readdir(dir)))
		if (strstr(e->d_name, ".left-"))
			unlink(temp_path(e->d_name));
	closedir(dir);
}

/* It may become Synchronized just now. */
static bool is_detached(void *arg)
{
	struct pair_facts f;
	int err = pair_moving(source, &f);

	(void)arg;
	ck_assert_int_eq(err, 0);
	err = tandem_operate_pair(temp.t, f.number, OP_DETACH, f.state, true, false, &why);
	ck_assert(!err || err == -EBUSY);
	return !err;
}

static void crash_everywhere(bool container)
{
	unsigned moved = 0, stayed = 0, conflicts = 0;
	bool died = true;

	change_much(50);
	for (int calls = 0; died; calls++) {
		struct disk *d;
		struct pair_facts f;
		uint64_t same = seed;

		close_source();
		temp_close();
		died = move_and_die(calls, container);
		/* What it wrote before. */
		seed = same;
		begin();
		open_source();
		change_much(20);
		again();
		check_content();
		d = temp_disk(container ? "b.vhdx" : "b.img");
		if (pair_moving(source, &f)) {
			moved++;
			ck_assert_ptr_eq(d, source);
			conflicts += !strcmp(temp_state("a.img"), "Conflict");
			disk_unref(d);
			close_source();
			/* As at the beginning. */
			temp_close();
			remove_left();
			unlink(temp_path("a.img"));
			begin();
			open_source();
			move("c.img");
			check_content();
			close_source();
			d = temp_disk("c.img");
			ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, true, false, &why), 0);
			disk_unref(d);
			remove_left();
			temp_make("a.img", SIZE);
			temp_rescan();
			open_source();
			ck_assert_int_eq(disk_write(source, content, SIZE, 0, 0), 0);
			continue;
		}
		stayed++;
		disk_unref(d);
		ck_assert(unit_until(is_detached, NULL, 20));
		d = temp_disk(container ? "b.vhdx" : "b.img");
		ck_assert_int_eq(tandem_delete_disk(temp.t, d, NULL, true, false, &why), 0);
		disk_unref(d);
		remove_left();
	}
	ck_assert_uint_gt(moved, 1);
	ck_assert_uint_gt(stayed, 0);
	ck_assert_uint_gt(conflicts, 0);
}

START_TEST(crashes)
{
	crash_everywhere(false);
}
END_TEST

START_TEST(crashes_of_containers)
{
	crash_everywhere(true);
}
END_TEST

UNIT_MAIN("moves", setup, teardown, to_a_container_and_back, under_writers, refused,
	  another_mirror_goes_on, to_a_pool_and_back, its_name_is_taken, crashes,
	  crashes_of_containers)
